//! What a sandbox token asks for: `tok_<authorise>[+capture_X][+void_X][+refund_X]`, the suffixes in any order, each once.

use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::answer::OperationKind;

/// How a payment behaves for its whole life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Behaviour {
    pub authorise: Authorise,
    pub capture: Operate,
    pub void: Operate,
    pub refund: Operate,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Authorise {
    Approve,
    Decline,
    ThreeDs,
    /// Carried out, but the answer comes after the client has given up.
    TimeoutDone,
    /// Never carried out, never answered.
    TimeoutLost,
    /// The answer is `pending`; the outcome comes by webhook.
    LateWebhook,
    /// Approved; each webhook comes twice.
    DuplicateWebhook,
    /// Approved; the webhook of the capture comes before that of the authorisation.
    OutOfOrder,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Operate {
    Succeed,
    Decline,
    Pending,
    TimeoutDone,
    TimeoutLost,
}

/// The token is none of the sandbox's.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct UnknownToken;

impl Behaviour {
    /// The behaviour of an operation after the authorisation; `Succeed` for the authorisation itself.
    pub fn operate(self, kind: OperationKind) -> Operate {
        match kind {
            OperationKind::Authorize => Operate::Succeed,
            OperationKind::Capture => self.capture,
            OperationKind::Void => self.void,
            OperationKind::Refund => self.refund,
        }
    }

    /// The last digits of the card behind the token: a declined one is not the approved one.
    pub fn last4(self) -> &'static str {
        match self.authorise {
            Authorise::Decline => "0002",
            Authorise::ThreeDs => "3220",
            _ => "4242",
        }
    }
}

impl FromStr for Behaviour {
    type Err = UnknownToken;

    fn from_str(token: &str) -> Result<Self, UnknownToken> {
        let mut parts = token.strip_prefix("tok_").ok_or(UnknownToken)?.split('+');
        let authorise = match parts.next().unwrap_or_default() {
            "approve" => Authorise::Approve,
            "decline" => Authorise::Decline,
            "3ds" => Authorise::ThreeDs,
            "timeout_done" => Authorise::TimeoutDone,
            "timeout_lost" => Authorise::TimeoutLost,
            "late_webhook" => Authorise::LateWebhook,
            "duplicate_webhook" => Authorise::DuplicateWebhook,
            "out_of_order" => Authorise::OutOfOrder,
            _ => return Err(UnknownToken),
        };
        let (mut capture, mut void, mut refund) = (None, None, None);
        for part in parts {
            let (operation, word) = part.split_once('_').ok_or(UnknownToken)?;
            let slot = match operation {
                "capture" => &mut capture,
                "void" => &mut void,
                "refund" => &mut refund,
                _ => return Err(UnknownToken),
            };
            if slot.replace(operate(word)?).is_some() {
                return Err(UnknownToken);
            }
        }
        let [capture, void, refund] = [capture, void, refund].map(|asked| asked.unwrap_or(Operate::Succeed));
        Ok(Self { authorise, capture, void, refund })
    }
}

fn operate(word: &str) -> Result<Operate, UnknownToken> {
    match word {
        "decline" => Ok(Operate::Decline),
        "pending" => Ok(Operate::Pending),
        "timeout_done" => Ok(Operate::TimeoutDone),
        "timeout_lost" => Ok(Operate::TimeoutLost),
        _ => Err(UnknownToken),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_names_the_behaviour_of_each_operation() {
        let behaviour: Behaviour = "tok_3ds+refund_timeout_lost+capture_pending".parse().unwrap();
        assert_eq!(behaviour.authorise, Authorise::ThreeDs);
        assert_eq!(behaviour.capture, Operate::Pending);
        assert_eq!(behaviour.void, Operate::Succeed);
        assert_eq!(behaviour.refund, Operate::TimeoutLost);
    }

    #[test]
    fn anything_else_is_no_token() {
        for token in [
            "",
            "approve",
            "tok_",
            "tok_approved",
            "tok_approve+",
            "tok_approve+capture",
            "tok_approve+capture_approve",
            "tok_approve+capture_decline+capture_pending",
            "tok_approve+settle_decline",
        ] {
            assert_eq!(token.parse::<Behaviour>(), Err(UnknownToken), "{token}");
        }
    }
}
