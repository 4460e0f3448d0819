//! What leaves the sandbox: payments, operations, events and refusals as JSON.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum OperationKind {
    Authorize,
    Capture,
    Void,
    Refund,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum OperationStatus {
    Pending,
    Succeeded,
    Failed,
}

/// How the authorisation of a payment stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum PaymentStatus {
    Pending,
    RequiresAction,
    Authorized,
    Declined,
    /// Let go of before anything was captured.
    Voided,
}

/// How a payment stands: its totals in minor units. `captured + voided <= authorized`, `refunded <= captured`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Balance {
    pub status: PaymentStatus,
    pub authorized: i64,
    pub captured: i64,
    pub refunded: i64,
    pub voided: i64,
}

impl Balance {
    /// Of a payment that was just asked for.
    pub fn new() -> Self {
        Self { status: PaymentStatus::Pending, authorized: 0, captured: 0, refunded: 0, voided: 0 }
    }
}

#[derive(Clone, Debug, Serialize)]
pub(super) struct PaymentView {
    pub id: String,
    pub merchant_reference: String,
    pub amount: i64,
    pub currency: String,
    #[serde(flatten)]
    pub balance: Balance,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub decline_code: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next_action: Option<NextAction>,
    pub created: DateTime<Utc>,
    pub expires_at: DateTime<Utc>,
    pub method: MethodView,
}

#[derive(Clone, Debug, Serialize)]
pub(super) struct NextAction {
    pub kind: &'static str,
    pub url: String,
}

#[derive(Clone, Debug, Serialize)]
pub(super) struct MethodView {
    pub kind: &'static str,
    pub brand: &'static str,
    pub last4: &'static str,
}

#[derive(Clone, Debug, Serialize)]
pub(super) struct OperationView {
    pub id: String,
    pub kind: OperationKind,
    pub idempotency_key: String,
    pub status: OperationStatus,
    pub amount: i64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub code: Option<String>,
    /// The id of the outcome: what the webhook about it carries as its own.
    pub event_id: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub refund_reference: Option<String>,
}

/// The answer to capture, void and refund, and what an event tells.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Operated {
    pub operation: OperationView,
    pub payment: PaymentView,
}

/// The answer to a new payment: the payment itself, and its authorisation.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Opened {
    #[serde(flatten)]
    pub payment: PaymentView,
    pub operation: OperationView,
}

/// A payment as it is now, with all its operations.
#[derive(Clone, Debug, Serialize)]
pub(super) struct PaymentDetail {
    #[serde(flatten)]
    pub payment: PaymentView,
    pub operations: Vec<OperationView>,
}

#[derive(Clone, Debug, Serialize)]
pub(super) struct Items<T> {
    pub items: Vec<T>,
}

#[derive(Clone, Debug, Serialize)]
pub(super) struct ListedOutcome {
    /// The place in the list: what `after` takes.
    pub cursor: usize,
    pub at: DateTime<Utc>,
    #[serde(flatten)]
    pub operated: Operated,
}

/// Outcomes in the order of the ledger.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Outcomes {
    pub items: Vec<ListedOutcome>,
    pub next_after: usize,
    pub has_more: bool,
}

#[derive(Clone, Debug, Serialize)]
pub(super) struct PaymentTotals {
    pub id: String,
    pub merchant_reference: String,
    pub currency: String,
    pub amount: i64,
    #[serde(flatten)]
    pub balance: Balance,
}

/// A page of the books: each payment's totals.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Totals {
    pub payments: Vec<PaymentTotals>,
    pub next_after: Option<usize>,
}

/// The body of a webhook.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Event {
    #[serde(rename = "type")]
    pub name: &'static str,
    pub id: String,
    pub created: DateTime<Utc>,
    pub data: Operated,
}

/// The name under which an outcome is announced; `None`: it isn't (the answer already said `pending`).
pub(super) fn event_type(kind: OperationKind, status: OperationStatus, payment: PaymentStatus) -> Option<&'static str> {
    match (kind, status) {
        (OperationKind::Authorize, OperationStatus::Succeeded) => Some("payment.authorized"),
        (OperationKind::Authorize, OperationStatus::Failed) => Some("payment.declined"),
        (OperationKind::Authorize, OperationStatus::Pending) => {
            (payment == PaymentStatus::RequiresAction).then_some("payment.requires_action")
        }
        (OperationKind::Capture, OperationStatus::Succeeded) => Some("payment.captured"),
        (OperationKind::Capture, OperationStatus::Failed) => Some("capture.failed"),
        (OperationKind::Void, OperationStatus::Succeeded) => Some("payment.voided"),
        (OperationKind::Void, OperationStatus::Failed) => Some("void.failed"),
        (OperationKind::Capture | OperationKind::Void, OperationStatus::Pending) => None,
        (OperationKind::Refund, OperationStatus::Succeeded) => Some("refund.succeeded"),
        (OperationKind::Refund, OperationStatus::Failed) => Some("refund.failed"),
        (OperationKind::Refund, OperationStatus::Pending) => Some("refund.pending"),
    }
}

/// Everything that the sandbox can refuse; nothing has happened then.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Refusal {
    #[error("the token is not one of the sandbox's")]
    InvalidToken,
    #[error("{0}")]
    InvalidRequest(String),
    #[error("the header Idempotency-Key is needed: 1 to 255 characters")]
    IdempotencyKeyMissing,
    #[error("the idempotency key was used with another request")]
    IdempotencyKeyReused,
    #[error("there is no such payment")]
    PaymentNotFound,
    #[error("the payment does not wait for this action")]
    ActionNotPossible,
    #[error("the list of operations is shorter than the cursor")]
    CursorUnknown,
    #[error("the payment has too many operations")]
    OperationsFull,
    #[error("the ledger is full: use a new data directory")]
    LedgerFull,
    #[error("the sandbox is stopping")]
    Stopping,
}

impl Refusal {
    pub fn code(&self) -> &'static str {
        match self {
            Self::InvalidToken => "invalid_token",
            Self::InvalidRequest(_) => "invalid_request",
            Self::IdempotencyKeyMissing => "idempotency_key_missing",
            Self::IdempotencyKeyReused => "idempotency_key_reused",
            Self::PaymentNotFound => "payment_not_found",
            Self::ActionNotPossible => "action_not_possible",
            Self::CursorUnknown => "cursor_unknown",
            Self::OperationsFull => "operations_full",
            Self::LedgerFull => "ledger_full",
            Self::Stopping => "stopping",
        }
    }

    pub fn status(&self) -> u16 {
        match self {
            Self::InvalidToken | Self::InvalidRequest(_) | Self::IdempotencyKeyMissing => 400,
            Self::PaymentNotFound => 404,
            Self::ActionNotPossible | Self::CursorUnknown | Self::OperationsFull => 409,
            Self::IdempotencyKeyReused => 422,
            Self::LedgerFull | Self::Stopping => 503,
        }
    }
}
