//! The events of a payment.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use crate::id::{DisputeId, LineId, OperationId, OrderId, PaymentId, RefundId, TenderId};
use crate::money::Money;
use crate::personal::Personal;

/// When the money is taken.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CaptureMode {
    /// With the order's confirmation.
    #[default]
    Automatic,
    /// When a person says so.
    Manual,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PaymentCreated {
    pub payment_id: PaymentId,
    pub order_id: OrderId,
    pub tender_id: TenderId,
    pub provider: String,
    pub amount: Money,
    pub capture: CaptureMode,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AuthorizationRequested {
    pub operation_id: OperationId,
    pub idempotency_key: String,
    pub amount: Money,
}

/// Where an outcome is known from, and of which operation it is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Evidence {
    pub operation_id: OperationId,
    /// `response`, `webhook`, `query`, `reconciliation`.
    pub source: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub provider_event_id: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub provider_ref: Option<String>,
}

/// The shopper has to do something, such as a 3-D Secure challenge.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PaymentActionRequired {
    #[serde(flatten)]
    pub evidence: Evidence,
    pub kind: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<DateTime<Utc>>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PaymentAuthorized {
    #[serde(flatten)]
    pub evidence: Evidence,
    pub amount: Money,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<DateTime<Utc>>,
    pub method: PaymentMethod,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last4: Option<Personal<String>>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PaymentMethod {
    /// `card`, `wallet`, `bank`.
    pub kind: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub brand: Option<String>,
}

/// The authorisation was refused.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PaymentFailed {
    #[serde(flatten)]
    pub evidence: Evidence,
    pub code: String,
    /// `declined`, `invalid`, `provider`.
    pub category: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CaptureRequested {
    pub operation_id: OperationId,
    pub idempotency_key: String,
    pub amount: Money,
    /// No other capture follows; what is left of the authorisation is given up.
    #[serde(rename = "final")]
    pub is_final: bool,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PaymentCaptured {
    #[serde(flatten)]
    pub evidence: Evidence,
    pub amount: Money,
    #[serde(rename = "final")]
    pub is_final: bool,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CaptureFailed {
    #[serde(flatten)]
    pub evidence: Evidence,
    pub code: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct VoidRequested {
    pub operation_id: OperationId,
    pub idempotency_key: String,
    pub reason: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PaymentVoided {
    #[serde(flatten)]
    pub evidence: Evidence,
    pub amount: Money,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct VoidFailed {
    #[serde(flatten)]
    pub evidence: Evidence,
    pub code: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AuthorizationExpired {
    #[serde(flatten)]
    pub evidence: Evidence,
    pub amount: Money,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RefundRequested {
    pub operation_id: OperationId,
    pub refund_id: RefundId,
    pub idempotency_key: String,
    pub amount: Money,
    pub reason: String,
    pub allocation: Vec<RefundAllocation>,
}

/// Which lines a refund is for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RefundAllocation {
    pub line_id: LineId,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub quantity: Option<u32>,
    pub net: Money,
    pub tax: Money,
}

/// What became of a refund; the event's type says which.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RefundOutcome {
    #[serde(flatten)]
    pub evidence: Evidence,
    pub refund_id: RefundId,
    pub amount: Money,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub code: Option<String>,
}

/// No answer came, or none that says what happened. A query or a webhook will tell.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OperationOutcomeUnknown {
    #[serde(flatten)]
    pub evidence: Evidence,
    /// `authorize`, `capture`, `void`, `refund`.
    pub operation: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DisputeOpened {
    #[serde(flatten)]
    pub evidence: Evidence,
    pub dispute_id: DisputeId,
    pub amount: Money,
    pub reason: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub due_at: Option<DateTime<Utc>>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DisputeWon {
    #[serde(flatten)]
    pub evidence: Evidence,
    pub dispute_id: DisputeId,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DisputeLost {
    #[serde(flatten)]
    pub evidence: Evidence,
    pub dispute_id: DisputeId,
    pub amount: Money,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fee: Option<Money>,
}

events! {
    /// What was asked of the provider, and what became of it.
    pub enum PaymentEvent {
        PaymentCreated(PaymentCreated) = "PaymentCreated", 1;
        AuthorizationRequested(AuthorizationRequested) = "AuthorizationRequested", 1;
        PaymentActionRequired(PaymentActionRequired) = "PaymentActionRequired", 1;
        PaymentAuthorized(PaymentAuthorized) = "PaymentAuthorized", 1;
        PaymentFailed(PaymentFailed) = "PaymentFailed", 1;
        CaptureRequested(CaptureRequested) = "CaptureRequested", 1;
        PaymentCaptured(PaymentCaptured) = "PaymentCaptured", 1;
        CaptureFailed(CaptureFailed) = "CaptureFailed", 1;
        VoidRequested(VoidRequested) = "VoidRequested", 1;
        PaymentVoided(PaymentVoided) = "PaymentVoided", 1;
        VoidFailed(VoidFailed) = "VoidFailed", 1;
        AuthorizationExpired(AuthorizationExpired) = "AuthorizationExpired", 1;
        RefundRequested(RefundRequested) = "RefundRequested", 1;
        RefundPending(RefundOutcome) = "RefundPending", 1;
        RefundSucceeded(RefundOutcome) = "RefundSucceeded", 1;
        RefundFailed(RefundOutcome) = "RefundFailed", 1;
        RefundReversed(RefundOutcome) = "RefundReversed", 1;
        OperationOutcomeUnknown(OperationOutcomeUnknown) = "OperationOutcomeUnknown", 1;
        DisputeOpened(DisputeOpened) = "DisputeOpened", 1;
        DisputeWon(DisputeWon) = "DisputeWon", 1;
        DisputeLost(DisputeLost) = "DisputeLost", 1;
    }
}
