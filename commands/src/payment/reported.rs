//! A provider's statement, as the domain takes it.

use domain::id::{OperationId, PaymentId, RefundId};
use domain::money::{Currency, Money};
use domain::payment::{Evidence, PaymentMethod, ProviderFact};
use domain::personal::Personal;
use uuid::Uuid;

use crate::provider::{FactKind, ProviderFact as Fact};

/// An outcome as it reached us.
#[derive(Debug, Clone)]
pub struct Reported {
    pub payment_id: PaymentId,
    pub evidence: Evidence,
    pub fact: ProviderFact,
    pub completes: Completes,
    /// Where the shopper is sent to; kept apart, since it is a secret.
    pub action_url: Option<String>,
}

/// The checkout that waits for an outcome.
#[derive(Debug, Clone, Copy)]
pub enum Completes {
    Nothing,
    /// By its idempotency key.
    Checkout(Uuid),
    /// Needed only if the outcome is news: recording news without it is refused as stale.
    NotLookedUp,
}

/// `None` where it says nothing that changes anything yet.
#[must_use]
pub fn reported(fact: &Fact, source: &str) -> Option<Reported> {
    let operation_id: OperationId = fact.idempotency_key.parse().ok()?;
    let currency: Currency = fact.currency.parse().ok()?;
    let amount = Money::new(fact.amount, currency).ok()?;
    let code = || fact.code.clone().unwrap_or_else(|| "unknown".to_owned());
    let refund_id = || fact.refund_reference.as_ref().and_then(|text| text.parse::<RefundId>().ok());
    let domain_fact = match fact.kind {
        FactKind::Authorized => ProviderFact::Authorized { amount, expires_at: fact.expires_at, method: method(fact), last4: last4(fact) },
        FactKind::Declined => ProviderFact::AuthorizationFailed { code: code(), category: "declined".to_owned() },
        FactKind::ActionRequired => action(fact),
        FactKind::Captured => ProviderFact::Captured { amount, is_final: true },
        FactKind::CaptureFailed => ProviderFact::CaptureFailed { code: code() },
        FactKind::Voided => ProviderFact::Voided { amount },
        FactKind::VoidFailed => ProviderFact::VoidFailed { code: code() },
        FactKind::RefundSucceeded => ProviderFact::RefundSucceeded { refund_id: refund_id()?, amount },
        FactKind::RefundPending => ProviderFact::RefundPending { refund_id: refund_id()?, amount },
        FactKind::RefundFailed => ProviderFact::RefundFailed { refund_id: refund_id()?, amount, code: fact.code.clone() },
        FactKind::AuthorizationPending | FactKind::CapturePending | FactKind::VoidPending => {
            return None;
        }
    };
    let evidence = Evidence {
        operation_id,
        source: source.to_owned(),
        provider_event_id: fact.provider_event_id.clone(),
        provider_ref: Some(fact.provider_ref.clone()),
    };
    Some(Reported {
        payment_id: PaymentId::new(fact.merchant_reference),
        evidence,
        fact: domain_fact,
        completes: Completes::Nothing,
        action_url: fact.next_action.as_ref().map(|action| action.url.clone()),
    })
}

fn action(fact: &Fact) -> ProviderFact {
    let kind = fact.next_action.as_ref().map_or_else(|| "redirect".to_owned(), |action| action.kind.clone());
    ProviderFact::ActionRequired { kind, expires_at: fact.expires_at }
}

fn method(fact: &Fact) -> PaymentMethod {
    fact.method.as_ref().map_or_else(PaymentMethod::default, |m| PaymentMethod { kind: m.kind.clone(), brand: m.brand.clone() })
}

fn last4(fact: &Fact) -> Option<Personal<String>> {
    fact.method.as_ref()?.last4.clone().map(Personal::Known)
}
