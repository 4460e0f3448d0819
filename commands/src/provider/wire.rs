//! What goes over the wire to and from the provider, and how it becomes a [`ProviderFact`].

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::{FactKind, ProviderFact, ProviderPayment, ProviderStatus};

#[derive(Serialize)]
pub(super) struct AuthorizeBody<'a> {
    pub(super) merchant_reference: Uuid,
    pub(super) token: &'a str,
    pub(super) amount: i64,
    pub(super) currency: &'a str,
    pub(super) capture: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) return_url: Option<&'a str>,
}

#[derive(Serialize)]
pub(super) struct CaptureBody {
    pub(super) amount: i64,
    #[serde(rename = "final")]
    pub(super) is_final: bool,
}

#[derive(Serialize)]
pub(super) struct VoidBody {}

#[derive(Serialize)]
pub(super) struct RefundBody {
    pub(super) amount: i64,
    pub(super) refund_reference: Uuid,
}

#[derive(Deserialize)]
pub(super) struct OpenedBody {
    #[serde(flatten)]
    pub(super) payment: ProviderPayment,
    pub(super) operation: OperationBody,
}

#[derive(Deserialize)]
pub(super) struct OperatedBody {
    pub(super) payment: ProviderPayment,
    pub(super) operation: OperationBody,
}

#[derive(Deserialize)]
pub(super) struct OperationBody {
    pub(super) id: String,
    pub(super) kind: OperationKind,
    pub(super) idempotency_key: String,
    pub(super) status: OperationStatus,
    pub(super) amount: i64,
    pub(super) code: Option<String>,
    pub(super) event_id: Option<String>,
    pub(super) refund_reference: Option<String>,
}

#[derive(Clone, Copy, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum OperationKind {
    Authorize,
    Capture,
    Void,
    Refund,
}

#[derive(Clone, Copy, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum OperationStatus {
    Pending,
    Succeeded,
    Failed,
}

#[derive(Deserialize)]
pub(super) struct FoundBody {
    pub(super) items: Vec<FoundItem>,
}

#[derive(Deserialize)]
pub(super) struct FoundItem {
    #[serde(flatten)]
    pub(super) payment: ProviderPayment,
    pub(super) operations: Vec<OperationBody>,
}

#[derive(Deserialize)]
pub(super) struct ListedBody {
    pub(super) items: Vec<OperatedBody>,
    pub(super) next_after: u64,
    pub(super) has_more: bool,
}

#[derive(Deserialize)]
pub(super) struct ErrorBody {
    pub(super) error: ErrorCode,
}

#[derive(Deserialize)]
pub(super) struct ErrorCode {
    pub(super) code: String,
}

#[derive(Deserialize)]
pub(super) struct EventBody {
    #[serde(rename = "type")]
    pub(super) event_type: String,
    pub(super) id: String,
    pub(super) created: DateTime<Utc>,
    pub(super) data: OperatedBody,
}

/// The reference is no UUID, so the payment was never one of ours.
pub(super) struct NotOurs;

pub(super) fn fact(payment: &ProviderPayment, operation: OperationBody) -> Result<ProviderFact, NotOurs> {
    let merchant_reference = payment.merchant_reference.parse().map_err(|_| NotOurs)?;
    let kind = kind(operation.kind, operation.status, payment.status);
    let next_action = if kind == FactKind::ActionRequired { payment.next_action.clone() } else { None };
    Ok(ProviderFact {
        provider_event_id: operation.event_id,
        merchant_reference,
        provider_ref: payment.provider_ref.clone(),
        provider_operation_ref: operation.id,
        idempotency_key: operation.idempotency_key,
        kind,
        amount: operation.amount,
        currency: payment.currency.clone(),
        code: operation.code,
        next_action,
        expires_at: payment.expires_at,
        method: payment.method.clone(),
        refund_reference: operation.refund_reference,
    })
}

fn kind(operation: OperationKind, status: OperationStatus, payment: ProviderStatus) -> FactKind {
    match (operation, status) {
        (OperationKind::Authorize, OperationStatus::Succeeded) => FactKind::Authorized,
        (OperationKind::Authorize, OperationStatus::Failed) => FactKind::Declined,
        (OperationKind::Authorize, OperationStatus::Pending) if payment == ProviderStatus::RequiresAction => FactKind::ActionRequired,
        (OperationKind::Authorize, OperationStatus::Pending) => FactKind::AuthorizationPending,
        (OperationKind::Capture, OperationStatus::Succeeded) => FactKind::Captured,
        (OperationKind::Capture, OperationStatus::Pending) => FactKind::CapturePending,
        (OperationKind::Capture, OperationStatus::Failed) => FactKind::CaptureFailed,
        (OperationKind::Void, OperationStatus::Succeeded) => FactKind::Voided,
        (OperationKind::Void, OperationStatus::Pending) => FactKind::VoidPending,
        (OperationKind::Void, OperationStatus::Failed) => FactKind::VoidFailed,
        (OperationKind::Refund, OperationStatus::Succeeded) => FactKind::RefundSucceeded,
        (OperationKind::Refund, OperationStatus::Pending) => FactKind::RefundPending,
        (OperationKind::Refund, OperationStatus::Failed) => FactKind::RefundFailed,
    }
}
