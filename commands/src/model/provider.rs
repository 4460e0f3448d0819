//! The provider of the model: its own books, and the requests that are on their way to it.
//!
//! Rules as the sandbox has them. What it has decided may be heard at any time, any number of times and in any order: as the
//! call's answer, by webhook, by query; so an outcome, once reached, stays there to be heard.

use domain::payment::OperationKind;

use super::command::Said;

/// Operations of one payment.
pub(super) const OPERATIONS: usize = 5;

/// In minor units; narrow, since there are many states.
pub(super) type Amount = u16;

/// How it stands with a payment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(super) enum Standing {
    #[default]
    NeverHeardOf,
    Pending,
    /// The shopper has to do something.
    ActionRequired,
    Authorized,
    Declined,
    Voided,
}

/// How far a request has come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(super) enum Request {
    #[default]
    Unsent,
    /// On its way: it may arrive after we have ceased to wait, or never.
    Sent,
    Pending,
    Succeeded,
    Failed,
}

/// What it may do with a request, or with one that is pending.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Answer {
    Approve,
    Decline,
    Wait,
    AskShopper,
}

/// One payment in its books.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct Account {
    pub(super) standing: Standing,
    pub(super) authorized: Amount,
    pub(super) captured: Amount,
    pub(super) refunded: Amount,
    pub(super) voided: Amount,
    /// By the place of the operation in our payment; the first is the authorisation.
    pub(super) requests: [Request; OPERATIONS],
    /// The operations, a bit each, for which it was asked what it knows of the payment and knew nothing; not recorded yet.
    pub(super) not_found: u8,
}

impl Account {
    /// What can still be taken from the shopper.
    pub(super) const fn capturable(&self) -> Amount {
        self.authorized - self.captured - self.voided
    }

    /// What was taken and not given back.
    pub(super) const fn kept(&self) -> Amount {
        self.captured - self.refunded
    }

    /// It gets a request, or comes to an end with one that is pending.
    pub(super) fn carry_out(mut self, place: usize, kind: OperationKind, amount: Amount, answer: Answer) -> Self {
        self.requests[place] = match (kind, answer) {
            (OperationKind::Authorize, _) => return self.authorize(place, amount, answer),
            (_, Answer::Wait | Answer::AskShopper) => Request::Pending,
            (OperationKind::Capture, Answer::Approve) if self.standing == Standing::Authorized && amount <= self.capturable() => {
                self.captured += amount;
                self.voided += self.capturable();
                Request::Succeeded
            }
            (OperationKind::Refund, Answer::Approve) if amount <= self.kept() => {
                self.refunded += amount;
                Request::Succeeded
            }
            (OperationKind::Void, Answer::Approve) => self.void(),
            (_, Answer::Approve | Answer::Decline) => Request::Failed,
        };
        self
    }

    /// What it says of an operation; `None`: nothing yet.
    pub(super) fn says(&self, place: usize, kind: OperationKind) -> Option<Said> {
        match (self.requests[place], kind) {
            (Request::Pending, OperationKind::Authorize) if self.standing == Standing::ActionRequired => Some(Said::ActionRequired),
            (Request::Unsent | Request::Sent | Request::Pending, _) => None,
            (Request::Succeeded, OperationKind::Authorize) => Some(Said::Authorized),
            (Request::Failed, OperationKind::Authorize) => Some(Said::Declined),
            (Request::Succeeded, OperationKind::Capture) => Some(Said::Captured),
            (Request::Failed, OperationKind::Capture) => Some(Said::CaptureFailed),
            (Request::Succeeded, OperationKind::Void) => Some(Said::Voided),
            (Request::Failed, OperationKind::Void) => Some(Said::VoidFailed),
            (Request::Succeeded, OperationKind::Refund) => Some(Said::Refunded),
            (Request::Failed, OperationKind::Refund) => Some(Said::RefundFailed),
        }
    }

    fn authorize(mut self, place: usize, amount: Amount, answer: Answer) -> Self {
        (self.standing, self.requests[place]) = match answer {
            Answer::Approve => (Standing::Authorized, Request::Succeeded),
            Answer::Decline => (Standing::Declined, Request::Failed),
            Answer::Wait => (Standing::Pending, Request::Pending),
            Answer::AskShopper => (Standing::ActionRequired, Request::Pending),
        };
        self.authorized = if answer == Answer::Approve { amount } else { 0 };
        self
    }

    /// An authorisation that is still open fails by it.
    fn void(&mut self) -> Request {
        match self.standing {
            Standing::Pending | Standing::ActionRequired => self.requests[0] = Request::Failed,
            Standing::Authorized if self.captured == 0 && self.capturable() > 0 => self.voided += self.capturable(),
            _ => return Request::Failed,
        }
        self.standing = Standing::Voided;
        Request::Succeeded
    }
}
