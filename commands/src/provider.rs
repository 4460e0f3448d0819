//! The seam to a payment provider: five calls, one list to reconcile with, and the check of what it sends by itself.
//!
//! Relies on a provider that keeps an idempotency key: the same key is never carried out twice. Promises that an error says
//! which of three things is true: surely not sent ([`ProviderError::Unreachable`]), refused ([`ProviderError::Rejected`]),
//! or nobody can know ([`ProviderError::Unknown`]). Direct answers, webhooks and reconciliation all become the same
//! [`ProviderFact`], so that the payment's stream records an outcome the same way wherever it came from.
//! Knows no aggregate: money here is plain minor units and an ISO 4217 code.

mod webhook;
mod wire;

use std::fmt;
use std::time::Duration;

use chrono::{DateTime, Utc};
use reqwest::{Client, Method, RequestBuilder, Response, StatusCode};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

pub use self::webhook::{WEBHOOK_TOLERANCE, WebhookError, WebhookEvent, WebhookHeaders, verify_webhook};
use self::wire::{
    AuthorizeBody, CaptureBody, ErrorBody, FoundBody, FoundItem, ListedBody, NotOurs, OpenedBody, OperatedBody, OperationBody, RefundBody,
    VoidBody, fact,
};

/// How long a call may take until its outcome is [`ProviderError::Unknown`].
pub const PROVIDER_TIMEOUT: Duration = Duration::from_secs(10);
/// How long connecting may take; what fails in it was surely not sent.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);
/// Shorter than servers keep an idle connection: reusing one that the server is closing would make a sure outcome unknown.
const POOL_IDLE_TIMEOUT: Duration = Duration::from_secs(5);
/// The longest answer that is read; a longer one is treated like none.
const ANSWER_BYTES_MAX: usize = 8 * 1024 * 1024;
/// The most entries of a reconciliation page.
pub const OPERATIONS_PAGE_MAX: u32 = 1_000;

/// A client of one provider. Cheap to clone; all clones share the connection pool.
#[derive(Clone, Debug)]
pub struct PaymentProvider {
    base_url: String,
    http: Client,
}

/// Start a payment: reserve the amount on the shopper's method, and take it at once where `capture` says so.
#[derive(Clone)]
pub struct AuthorizeRequest {
    /// Our payment id; the provider keeps it as `merchant_reference`.
    pub payment_id: Uuid,
    pub idempotency_key: String,
    /// What the provider's form gave the shopper's browser. A bearer secret: never printed.
    pub token: String,
    /// Minor units, above zero.
    pub amount: i64,
    /// ISO 4217.
    pub currency: String,
    pub capture: bool,
    /// Where the shopper is sent after an action (3-D Secure).
    pub return_url: Option<String>,
}

/// Take (part of) an authorised amount.
#[derive(Clone, Debug)]
pub struct CaptureRequest {
    pub provider_ref: String,
    pub idempotency_key: String,
    /// Minor units, above zero.
    pub amount: i64,
    /// No other capture follows: the provider lets go of the rest.
    pub is_final: bool,
}

/// Let go of what is authorised and not captured.
#[derive(Clone, Debug)]
pub struct VoidRequest {
    pub provider_ref: String,
    pub idempotency_key: String,
}

/// Give back (part of) a captured amount.
#[derive(Clone, Debug)]
pub struct RefundRequest {
    pub provider_ref: String,
    pub idempotency_key: String,
    /// Minor units, above zero.
    pub amount: i64,
    /// Our refund id; the provider keeps it as `refund_reference`.
    pub refund_id: Uuid,
}

/// What the provider answered: what became of our operation, and how the payment stands after it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProviderAnswer {
    pub fact: ProviderFact,
    pub payment: ProviderPayment,
}

/// One outcome, the same whether it came as an answer, by webhook, by query or by reconciliation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProviderFact {
    /// The provider's id of this outcome; equal in answer, webhook and list, so that it is applied once.
    pub provider_event_id: Option<String>,
    /// Our payment id.
    pub merchant_reference: Uuid,
    /// The provider's payment id.
    pub provider_ref: String,
    /// The provider's operation id.
    pub provider_operation_ref: String,
    /// The key our operation was sent with; with the operation in `kind` it names our operation.
    /// (A capture made by `capture: true` carries the key of its authorisation.)
    pub idempotency_key: String,
    pub kind: FactKind,
    /// Minor units of this operation.
    pub amount: i64,
    /// ISO 4217.
    pub currency: String,
    /// Why it failed; an open set of words.
    pub code: Option<String>,
    /// What the shopper must do; only with [`FactKind::ActionRequired`].
    pub next_action: Option<NextAction>,
    /// When the authorisation (or the required action) lapses.
    pub expires_at: Option<DateTime<Utc>>,
    pub method: Option<PaymentMethod>,
    /// Our refund id; only with the refund kinds.
    pub refund_reference: Option<String>,
}

/// What became of an operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FactKind {
    Authorized,
    Declined,
    ActionRequired,
    AuthorizationPending,
    Captured,
    CapturePending,
    CaptureFailed,
    Voided,
    VoidPending,
    VoidFailed,
    RefundSucceeded,
    RefundPending,
    RefundFailed,
}

/// Something only the shopper can do, in a browser.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NextAction {
    /// `redirect`.
    pub kind: String,
    pub url: String,
}

/// How the shopper pays. `last4` is personal.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PaymentMethod {
    pub kind: String,
    pub brand: Option<String>,
    pub last4: Option<String>,
}

/// How the provider's books say a payment stands. All amounts in minor units of `currency`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProviderPayment {
    /// The provider's payment id.
    #[serde(rename = "id")]
    pub provider_ref: String,
    /// Our payment id, if the payment is ours at all.
    pub merchant_reference: String,
    pub status: ProviderStatus,
    pub amount: i64,
    pub currency: String,
    pub authorized: i64,
    pub captured: i64,
    pub refunded: i64,
    pub voided: i64,
    pub decline_code: Option<String>,
    pub next_action: Option<NextAction>,
    pub expires_at: Option<DateTime<Utc>>,
    pub method: Option<PaymentMethod>,
}

/// How the authorisation of a payment stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ProviderStatus {
    Authorized,
    Declined,
    RequiresAction,
    Pending,
    /// Let go of before anything was captured.
    Voided,
}

/// A payment as the provider has it now, with the present outcome of each of its operations, oldest first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FoundPayment {
    pub payment: ProviderPayment,
    pub facts: Vec<ProviderFact>,
}

impl FoundPayment {
    /// The outcome of the operation that was sent with this key; `None`: the provider never carried it out.
    #[must_use]
    pub fn fact_of(&self, idempotency_key: &str) -> Option<&ProviderFact> {
        self.facts.iter().find(|fact| fact.idempotency_key == idempotency_key)
    }
}

/// A page of the provider's list of outcomes, in the order in which they happened; an operation that was pending is there twice.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OperationsPage {
    pub facts: Vec<ProviderFact>,
    /// Outcomes of payments whose reference is no payment id of ours: money nobody asked for.
    pub foreign: Vec<ForeignOperation>,
    /// What to ask after next time.
    pub next_cursor: u64,
    pub has_more: bool,
}

/// An outcome at the provider that cannot belong to any of our payments.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ForeignOperation {
    pub provider_ref: String,
    pub merchant_reference: String,
    pub amount: i64,
    pub currency: String,
    /// Whether any of it is set aside or taken.
    pub moves_money: bool,
}

/// What a caller must tell apart when a call brought no answer.
#[derive(Debug, thiserror::Error)]
pub enum ProviderError {
    /// It was sent, and what became of it is not known: never try again with another key.
    #[error("the provider's outcome is unknown: {reason}")]
    Unknown { reason: String },
    /// The provider read it and refused it: nothing happened there.
    #[error("the provider refused the request: {code}")]
    Rejected { code: String },
    /// It was surely not sent: safe to try again.
    #[error("the provider can't be reached")]
    Unreachable(#[source] Option<reqwest::Error>),
}

impl PaymentProvider {
    /// `base_url` without a path, `http://127.0.0.1:4010`; `timeout`: usually [`PROVIDER_TIMEOUT`].
    pub fn new(base_url: &str, timeout: Duration) -> Result<Self, reqwest::Error> {
        let http = Client::builder()
            .timeout(timeout)
            .connect_timeout(CONNECT_TIMEOUT.min(timeout))
            .pool_idle_timeout(POOL_IDLE_TIMEOUT)
            // A redirect would send money commands somewhere else; a proxy would answer in the provider's place.
            .redirect(reqwest::redirect::Policy::none())
            .no_proxy()
            .build()?;
        Ok(Self { base_url: base_url.trim_end_matches('/').to_owned(), http })
    }

    pub async fn authorize(&self, request: &AuthorizeRequest) -> Result<ProviderAnswer, ProviderError> {
        let body = AuthorizeBody {
            merchant_reference: request.payment_id,
            token: &request.token,
            amount: request.amount,
            currency: &request.currency,
            capture: request.capture,
            return_url: request.return_url.as_deref(),
        };
        let opened: OpenedBody = self.command("/v1/payments", &request.idempotency_key, &body).await?;
        answer(opened.payment, opened.operation)
    }

    pub async fn capture(&self, request: &CaptureRequest) -> Result<ProviderAnswer, ProviderError> {
        let body = CaptureBody { amount: request.amount, is_final: request.is_final };
        self.operate(&request.provider_ref, "capture", &request.idempotency_key, &body).await
    }

    pub async fn void(&self, request: &VoidRequest) -> Result<ProviderAnswer, ProviderError> {
        self.operate(&request.provider_ref, "void", &request.idempotency_key, &VoidBody {}).await
    }

    pub async fn refund(&self, request: &RefundRequest) -> Result<ProviderAnswer, ProviderError> {
        let body = RefundBody { amount: request.amount, refund_reference: request.refund_id };
        self.operate(&request.provider_ref, "refunds", &request.idempotency_key, &body).await
    }

    /// What the provider has under our payment id; `None`: it never carried out an authorisation of it.
    /// A call that timed out is resolved by this. An error here only means: ask again.
    pub async fn find_by_reference(&self, payment_id: Uuid) -> Result<Option<FoundPayment>, ProviderError> {
        let path = format!("/v1/payments?merchant_reference={payment_id}");
        let found: FoundBody = self.query(&path).await?;
        if found.items.len() > 1 {
            // Two payments under one reference: the list of operations shows the second as one that we never asked for.
            tracing::error!(payment.id = %payment_id, payments = found.items.len(), "the provider has several payments for one reference");
        }
        let Some(FoundItem { payment, operations }) = found.items.into_iter().next() else {
            return Ok(None);
        };
        let facts = operations.into_iter().map(|operation| fact(&payment, operation)).collect::<Result<_, _>>();
        Ok(Some(FoundPayment { facts: facts.map_err(|NotOurs| not_understood())?, payment }))
    }

    /// Outcomes after `cursor` (0: from the start), at most `limit` (1 to [`OPERATIONS_PAGE_MAX`]).
    /// `Rejected { code: "cursor_unknown" }`: the provider's list is shorter than that; it isn't the one we read before.
    pub async fn operations_after(&self, cursor: u64, limit: u32) -> Result<OperationsPage, ProviderError> {
        let limit = limit.clamp(1, OPERATIONS_PAGE_MAX);
        let listed: ListedBody = self.query(&format!("/v1/operations?after={cursor}&limit={limit}")).await?;
        let mut page = OperationsPage { facts: Vec::new(), foreign: Vec::new(), next_cursor: listed.next_after, has_more: listed.has_more };
        for item in listed.items {
            match fact(&item.payment, item.operation) {
                Ok(fact) => page.facts.push(fact),
                Err(NotOurs) => page.foreign.push(ForeignOperation {
                    provider_ref: item.payment.provider_ref,
                    merchant_reference: item.payment.merchant_reference,
                    amount: item.payment.amount,
                    currency: item.payment.currency,
                    moves_money: item.payment.authorized > 0 || item.payment.captured > 0,
                }),
            }
        }
        Ok(page)
    }

    async fn operate(
        &self,
        provider_ref: &str,
        operation: &str,
        key: &str,
        body: &impl Serialize,
    ) -> Result<ProviderAnswer, ProviderError> {
        let path = format!("/v1/payments/{provider_ref}/{operation}");
        let operated: OperatedBody = self.command(&path, key, body).await?;
        answer(operated.payment, operated.operation)
    }

    async fn command<A: DeserializeOwned>(&self, path: &str, key: &str, body: &impl Serialize) -> Result<A, ProviderError> {
        let request = self.http.request(Method::POST, format!("{}{path}", self.base_url));
        exchange(request.header("idempotency-key", key).json(body)).await
    }

    async fn query<A: DeserializeOwned>(&self, path: &str) -> Result<A, ProviderError> {
        exchange(self.http.request(Method::GET, format!("{}{path}", self.base_url))).await
    }
}

impl fmt::Debug for AuthorizeRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AuthorizeRequest")
            .field("payment_id", &self.payment_id)
            .field("idempotency_key", &self.idempotency_key)
            .field("amount", &self.amount)
            .field("currency", &self.currency)
            .field("capture", &self.capture)
            .finish_non_exhaustive()
    }
}

/// One request, one answer; every way to fail is sorted here and nowhere else.
async fn exchange<A: DeserializeOwned>(request: RequestBuilder) -> Result<A, ProviderError> {
    let response = request.send().await.map_err(|error| {
        if error.is_builder() {
            ProviderError::Rejected { code: "unsendable".to_owned() }
        } else if error.is_connect() {
            ProviderError::Unreachable(Some(error.without_url()))
        } else {
            unknown(&error)
        }
    })?;
    let status = response.status();
    let body = read(response).await?;
    if status.is_success() {
        return serde_json::from_slice(&body).map_err(|_| not_understood());
    }
    Err(refusal(status, &body))
}

fn refusal(status: StatusCode, body: &[u8]) -> ProviderError {
    if status == StatusCode::TOO_MANY_REQUESTS {
        return ProviderError::Unreachable(None);
    }
    // A 408, a redirect or a 5xx may come from something between us and a provider that did it.
    if !status.is_client_error() || status == StatusCode::REQUEST_TIMEOUT {
        return ProviderError::Unknown { reason: format!("HTTP {}", status.as_u16()) };
    }
    match serde_json::from_slice::<ErrorBody>(body) {
        Ok(refused) => ProviderError::Rejected { code: refused.error.code },
        Err(_) => ProviderError::Rejected { code: format!("http_{}", status.as_u16()) },
    }
}

async fn read(mut response: Response) -> Result<Vec<u8>, ProviderError> {
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(|error| unknown(&error))? {
        if body.len() + chunk.len() > ANSWER_BYTES_MAX {
            return Err(ProviderError::Unknown { reason: "the answer is too long".to_owned() });
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body)
}

fn unknown(error: &reqwest::Error) -> ProviderError {
    let reason = if error.is_timeout() { "no answer within the time-out" } else { "the connection was lost" };
    ProviderError::Unknown { reason: reason.to_owned() }
}

fn not_understood() -> ProviderError {
    ProviderError::Unknown { reason: "the answer was not understood".to_owned() }
}

fn answer(payment: ProviderPayment, operation: OperationBody) -> Result<ProviderAnswer, ProviderError> {
    let fact = fact(&payment, operation).map_err(|NotOurs| not_understood())?;
    Ok(ProviderAnswer { fact, payment })
}

#[cfg(test)]
mod tests;
