//! Payments: one attempt, its operations, and what the provider said about them.
//!
//! Every call to the provider is an operation whose intent and idempotency key are an event before the
//! call is made. Its outcome may come from the answer, a webhook, a query or the reconciliation, once
//! or many times and in any order; all of them are facts and none is refused. The payment's status is
//! a fold of its operations.

mod event;
mod outcome;
mod request;
mod status;

pub use event::{
    AuthorizationExpired, AuthorizationRequested, CaptureFailed, CaptureMode, CaptureRequested, DisputeLost, DisputeOpened, DisputeWon,
    Evidence, OperationOutcomeUnknown, PaymentActionRequired, PaymentAuthorized, PaymentCaptured, PaymentCreated, PaymentEvent,
    PaymentFailed, PaymentMethod, PaymentVoided, RefundAllocation, RefundOutcome, RefundRequested, VoidFailed, VoidRequested,
};
pub use status::{PaymentStatus, RefundedLine, order_payment_status};

use std::collections::BTreeSet;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use crate::event::Root;
use crate::id::{DisputeId, OperationId, OrderId, PaymentId, RefundId, TenderId};
use crate::money::{Money, MoneyError};
use crate::personal::Personal;

/// The start of an attempt: the payment and its first operation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Start {
    pub payment_id: PaymentId,
    pub order_id: OrderId,
    pub tender_id: TenderId,
    pub provider: String,
    pub amount: Money,
    pub capture: CaptureMode,
    pub operation_id: OperationId,
    pub idempotency_key: String,
}

/// What the provider said about an operation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ProviderFact {
    ActionRequired { kind: String, expires_at: Option<DateTime<Utc>> },
    Authorized { amount: Money, expires_at: Option<DateTime<Utc>>, method: PaymentMethod, last4: Option<Personal<String>> },
    AuthorizationFailed { code: String, category: String },
    AuthorizationExpired { amount: Money },
    Captured { amount: Money, is_final: bool },
    CaptureFailed { code: String },
    Voided { amount: Money },
    VoidFailed { code: String },
    RefundPending { refund_id: RefundId, amount: Money },
    RefundSucceeded { refund_id: RefundId, amount: Money },
    RefundFailed { refund_id: RefundId, amount: Money, code: Option<String> },
    RefundReversed { refund_id: RefundId, amount: Money, code: Option<String> },
    Unknown { operation: OperationKind },
    DisputeOpened { dispute_id: DisputeId, amount: Money, reason: String, due_at: Option<DateTime<Utc>> },
    DisputeWon { dispute_id: DisputeId },
    DisputeLost { dispute_id: DisputeId, amount: Money, fee: Option<Money> },
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PaymentCommand {
    /// Starting the same attempt again is a no-op.
    Start(Start),
    /// Never refused once the payment exists; what is known already appends nothing.
    Record {
        evidence: Evidence,
        fact: ProviderFact,
    },
    RequestCapture {
        operation_id: OperationId,
        idempotency_key: String,
        amount: Money,
        is_final: bool,
    },
    RequestVoid {
        operation_id: OperationId,
        idempotency_key: String,
        reason: String,
    },
    RequestRefund(RefundRequested),
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PaymentRejection {
    #[error("there is no such payment")]
    NotFound,
    #[error("the payment exists already and is another one")]
    Exists,
    #[error("an amount must be more than nothing")]
    AmountNotPositive,
    #[error("only {capturable} can be captured")]
    NotCapturable { capturable: Money },
    #[error("a part of it is captured: refund it")]
    AlreadyCaptured,
    #[error("a capture is under way: wait for its outcome")]
    CaptureInProgress,
    #[error("there is nothing to void")]
    NothingToVoid,
    #[error("only {refundable} can be refunded")]
    NotRefundable { refundable: Money },
    #[error("the refund's lines don't sum to its amount")]
    AllocationWrong,
    #[error("a dispute is open")]
    DisputeOpen,
    #[error(transparent)]
    Money(#[from] MoneyError),
}

impl PaymentRejection {
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::NotFound => "payment_not_found",
            Self::Exists => "payment_exists",
            Self::AmountNotPositive => "amount_not_positive",
            Self::NotCapturable { .. } => "payment_not_capturable",
            Self::AlreadyCaptured => "payment_already_captured",
            Self::CaptureInProgress => "payment_capture_in_progress",
            Self::NothingToVoid => "payment_not_voidable",
            Self::NotRefundable { .. } => "payment_not_refundable",
            Self::AllocationWrong => "refund_allocation_wrong",
            Self::DisputeOpen => "dispute_open",
            Self::Money(error) => error.code(),
        }
    }
}

/// What an operation asks of the provider.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OperationKind {
    Authorize,
    Capture,
    Void,
    Refund,
}

impl OperationKind {
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Authorize => "authorize",
            Self::Capture => "capture",
            Self::Void => "void",
            Self::Refund => "refund",
        }
    }
}

/// What is known of an operation.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "outcome", rename_all = "snake_case")]
pub enum Outcome {
    /// The call was decided; no answer yet.
    #[default]
    Requested,
    Pending,
    /// Waits for the shopper.
    ActionRequired {
        kind: String,
    },
    Succeeded,
    Failed {
        code: String,
    },
    /// A refund that came back.
    Reversed,
    Unknown,
}

impl Outcome {
    /// Whether the last word may still be to come.
    #[must_use]
    pub const fn is_open(&self) -> bool {
        matches!(self, Self::Requested | Self::Pending | Self::ActionRequired { .. } | Self::Unknown)
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Operation {
    pub operation_id: OperationId,
    pub kind: OperationKind,
    /// None for what the provider did without being asked by us.
    pub idempotency_key: Option<String>,
    /// Asked for, until the provider says how much it was.
    pub amount: Money,
    pub outcome: Outcome,
    pub provider_ref: Option<String>,
    pub refund_id: Option<RefundId>,
    /// Of a capture: no other follows, what is left of the authorisation is given up.
    #[serde(default, skip_serializing_if = "is_false")]
    pub is_final: bool,
    /// Of a refund: the lines it is for.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub allocation: Vec<RefundAllocation>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Dispute {
    pub dispute_id: DisputeId,
    pub amount: Money,
    pub outcome: DisputeOutcome,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DisputeOutcome {
    Open,
    Won,
    Lost,
}

/// One attempt to pay, as it is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Payment {
    /// Absent before the payment exists.
    pub created: Option<PaymentCreated>,
    /// In the order in which they were first heard of.
    pub operations: Vec<Operation>,
    /// Void of the provider's own accord, by time.
    pub authorization_expired: bool,
    /// Until when the authorisation holds.
    pub expires_at: Option<DateTime<Utc>>,
    pub disputes: Vec<Dispute>,
    /// The provider's own ids of what it told, so that a repetition is known as one.
    seen: BTreeSet<String>,
}

impl Operation {
    /// Whether it is a refund of what the order did not need. Such a refund follows from something, which its id is made of (RFC 9562
    /// version 5); a merchant's has an id of its own.
    #[must_use]
    pub fn is_surplus(&self) -> bool {
        self.refund_id.is_some_and(|refund_id| refund_id.uuid().get_version_num() == 5)
    }
}

impl Payment {
    pub fn decide(&self, command: PaymentCommand) -> Result<Vec<PaymentEvent>, PaymentRejection> {
        if let PaymentCommand::Start(start) = command {
            return self.start(start);
        }
        let created = self.created.as_ref().ok_or(PaymentRejection::NotFound)?;
        match command {
            // Answered above.
            PaymentCommand::Start(_) => Ok(vec![]),
            PaymentCommand::Record { evidence, fact } => Ok(self.record(evidence, fact).into_iter().collect()),
            PaymentCommand::RequestCapture { operation_id, idempotency_key, amount, is_final } => {
                let wanted = CaptureRequested { operation_id, idempotency_key, amount, is_final };
                self.request_capture(created, wanted)
            }
            PaymentCommand::RequestVoid { operation_id, idempotency_key, reason } => {
                self.request_void(VoidRequested { operation_id, idempotency_key, reason })
            }
            PaymentCommand::RequestRefund(refund) => self.request_refund(created, refund),
        }
    }

    #[must_use]
    pub fn operation(&self, operation_id: OperationId) -> Option<&Operation> {
        self.operations.iter().find(|operation| operation.operation_id == operation_id)
    }

    /// The operations that may need a query: their last word may still be to come.
    pub fn open_operations(&self) -> impl Iterator<Item = &Operation> {
        self.operations.iter().filter(|operation| operation.outcome.is_open())
    }

    /// The operations of a kind, the first one first.
    pub fn of_kind(&self, kind: OperationKind) -> impl Iterator<Item = &Operation> {
        self.operations.iter().filter(move |operation| operation.kind == kind)
    }

    /// The provider's own id of the payment, once it has said one.
    #[must_use]
    pub fn provider_ref(&self) -> Option<&str> {
        self.operations.iter().find_map(|operation| operation.provider_ref.as_deref())
    }

    /// Whether the provider speaks of another payment than ours: a second one under our reference, which nobody of ours asked for.
    #[must_use]
    pub fn is_another(&self, provider_ref: &str) -> bool {
        self.provider_ref().is_some_and(|ours| ours != provider_ref)
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde hands a reference")]
const fn is_false(value: &bool) -> bool {
    !*value
}

aggregate!(Payment = "payment", PaymentCommand => PaymentEvent, PaymentRejection);

impl Root for Payment {
    const CONTEXT: &'static str = "payment";

    /// A payment is read together with its order.
    fn partition_key(&self, id: &str) -> String {
        self.created.as_ref().map_or_else(|| id.to_owned(), |created| created.order_id.to_string())
    }
}
