//! The lines of the ledger file: facts, in the order in which they happened.
//!
//! Payments, operations and outcomes are referred to by number: they count from 0 in the order in which they were entered.
//! Additive changes only, or old data directories can't be opened.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use super::answer::{Balance, OperationKind, OperationStatus};
use super::outbox::Letter;
use super::token::Behaviour;

/// One line: what one request, or one settlement, made happen. All of it or nothing.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Record {
    /// Counts from 1 without gaps.
    pub seq: u64,
    pub at: DateTime<Utc>,
    pub entries: Vec<Entry>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(tag = "entry", rename_all = "snake_case")]
pub(super) enum Entry {
    PaymentOpened(PaymentOpened),
    OperationStarted(OperationStarted),
    OutcomeReached(OutcomeReached),
    Answered(Answered),
    /// A request that was swallowed: nothing was done.
    RequestLost {
        idempotency_key: String,
    },
    WebhookDelivered(Letter),
    /// The attempts are used up.
    WebhookAbandoned(Letter),
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct PaymentOpened {
    pub id: String,
    pub merchant_reference: String,
    pub behaviour: Behaviour,
    pub amount: i64,
    pub currency: String,
    /// Capture as soon as it is authorised.
    pub capture: bool,
    pub return_url: Option<String>,
    pub action_expires_at: DateTime<Utc>,
    pub expires_at: DateTime<Utc>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct OperationStarted {
    pub id: String,
    pub payment: usize,
    pub kind: OperationKind,
    pub idempotency_key: String,
    pub amount: i64,
    /// Of a capture: the rest is let go.
    pub is_final: bool,
    pub refund_reference: Option<String>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct OutcomeReached {
    pub operation: usize,
    pub event_id: String,
    pub status: OperationStatus,
    pub amount: i64,
    pub code: Option<String>,
    /// The payment's totals after this outcome.
    pub balance: Balance,
    /// When a pending operation comes to its end by itself.
    pub settles_at: Option<DateTime<Utc>>,
    pub announcement: Option<Announcement>,
}

/// How an outcome is announced by webhook.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(super) struct Announcement {
    pub copies: u8,
    pub not_before: DateTime<Utc>,
}

/// What was answered under an idempotency key, so that it can be answered again as it was.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Answered {
    pub idempotency_key: String,
    /// Of the request that the key stands for.
    pub fingerprint: String,
    /// The outcome that was told.
    pub operation: usize,
    /// The outcome after which the payment was shown.
    pub payment: usize,
}
