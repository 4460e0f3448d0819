//! Payments of an order as merchants see them: every operation that was asked of the provider.

use chrono::{DateTime, Utc};
use domain::id::RefundId;
use domain::payment::{CaptureMode, Dispute, DisputeOutcome, Operation, Outcome, Payment, RefundAllocation};
use serde::Serialize;
use utoipa::ToSchema;
use uuid::Uuid;

use super::super::money::MoneyBody;

/// One attempt to pay with all its operations.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Payment)]
pub struct PaymentDetail {
    id: Uuid,
    order_id: Uuid,
    #[schema(example = "sandbox")]
    provider: String,
    /// In the words of an order's `payment_status`.
    status: &'static str,
    /// The provider's own id.
    provider_ref: Option<String>,
    amount: MoneyBody,
    /// When the money is taken: `automatic` with the order's confirmation, `manual` when somebody says so.
    capture: &'static str,
    authorized: MoneyBody,
    captured: MoneyBody,
    /// What can be taken now.
    capturable: MoneyBody,
    refunded: MoneyBody,
    /// What can be given back now.
    refundable: MoneyBody,
    /// When the authorisation lapses.
    expires_at: Option<DateTime<Utc>>,
    /// In the order in which they were asked for.
    operations: Vec<OperationBody>,
    disputes: Vec<DisputeBody>,
}

#[derive(Debug, Serialize, ToSchema)]
pub struct OperationBody {
    id: Uuid,
    /// `authorize`, `capture`, `void`, `refund`.
    kind: &'static str,
    /// Asked for, until the provider says how much it was.
    amount: MoneyBody,
    /// `requested`, `pending`, `requires_action`, `succeeded`, `failed`, `reversed`, `unknown`.
    outcome: &'static str,
    /// Why it failed, or what the shopper has to do.
    code: Option<String>,
    refund_id: Option<Uuid>,
    /// Of a refund: what of it is for which line.
    lines: Vec<RefundLineBody>,
}

#[derive(Debug, Serialize, ToSchema)]
pub struct RefundLineBody {
    line_id: Uuid,
    /// Null where it is for no certain units.
    quantity: Option<u32>,
    net: MoneyBody,
    tax: MoneyBody,
}

/// The shopper's bank has asked for the money back.
#[derive(Debug, Serialize, ToSchema)]
pub struct DisputeBody {
    dispute_id: Uuid,
    amount: MoneyBody,
    /// `open`, `won`, `lost`.
    outcome: &'static str,
}

impl PaymentDetail {
    pub fn new(payment: &Payment) -> Option<Self> {
        let created = payment.created.as_ref()?;
        let amount = |minor: i64| MoneyBody::new(minor, created.amount.currency());
        Some(Self {
            id: created.payment_id.uuid(),
            order_id: created.order_id.uuid(),
            provider: created.provider.clone(),
            status: payment.status().as_str(),
            provider_ref: payment.provider_ref().map(str::to_owned),
            amount: created.amount.into(),
            capture: match created.capture {
                CaptureMode::Automatic => "automatic",
                CaptureMode::Manual => "manual",
            },
            authorized: amount(payment.authorized()),
            captured: amount(payment.captured()),
            capturable: amount(payment.capturable()),
            refunded: amount(payment.refunded()),
            refundable: amount(payment.refundable()),
            expires_at: payment.expires_at,
            operations: payment.operations.iter().map(Into::into).collect(),
            disputes: payment.disputes.iter().map(Into::into).collect(),
        })
    }
}

impl From<&Operation> for OperationBody {
    fn from(operation: &Operation) -> Self {
        let (outcome, code) = match &operation.outcome {
            Outcome::Requested => ("requested", None),
            Outcome::Pending => ("pending", None),
            Outcome::ActionRequired { kind } => ("requires_action", Some(kind)),
            Outcome::Succeeded => ("succeeded", None),
            Outcome::Failed { code } => ("failed", Some(code)),
            Outcome::Reversed => ("reversed", None),
            Outcome::Unknown => ("unknown", None),
        };
        Self {
            id: operation.operation_id.uuid(),
            kind: operation.kind.as_str(),
            amount: operation.amount.into(),
            outcome,
            code: code.cloned(),
            refund_id: operation.refund_id.map(RefundId::uuid),
            lines: operation.allocation.iter().map(Into::into).collect(),
        }
    }
}

impl From<&RefundAllocation> for RefundLineBody {
    fn from(part: &RefundAllocation) -> Self {
        Self { line_id: part.line_id.uuid(), quantity: part.quantity, net: part.net.into(), tax: part.tax.into() }
    }
}

impl From<&Dispute> for DisputeBody {
    fn from(dispute: &Dispute) -> Self {
        let outcome = match dispute.outcome {
            DisputeOutcome::Open => "open",
            DisputeOutcome::Won => "won",
            DisputeOutcome::Lost => "lost",
        };
        Self { dispute_id: dispute.dispute_id.uuid(), amount: dispute.amount.into(), outcome }
    }
}
