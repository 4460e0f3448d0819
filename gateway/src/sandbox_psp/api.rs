//! The HTTP face of the sandbox: reads requests, asks the desk, and leaves a client without an answer where its token says so.

use std::time::Duration;

use axum::extract::rejection::{JsonRejection, QueryRejection};
use axum::extract::{DefaultBodyLimit, Path, Query, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{Html, IntoResponse, Redirect, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use serde::Deserialize;
use serde_json::json;
use tokio_util::sync::CancellationToken;

use super::answer::{Items, Opened, Operated, PaymentDetail, PaymentStatus, Refusal};
use super::desk::Desk;
use super::operations::{ActionResult, OpenPayment, Request, Verdict};

const BODY_BYTES_MAX: usize = 64 * 1024;
const IDEMPOTENCY_KEY_CHARS_MAX: usize = 255;
const OPERATIONS_PAGE: usize = 100;
const OPERATIONS_PAGE_MAX: usize = 1_000;
const LEDGER_PAGE: usize = 1_000;
const LEDGER_PAGE_MAX: usize = 10_000;

#[derive(Clone)]
pub(super) struct Api {
    pub desk: Desk,
    /// How long a client is left waiting.
    pub hold: Duration,
    /// Ends every wait.
    pub stop: CancellationToken,
}

pub(super) fn router(api: Api) -> Router {
    Router::new()
        .route("/livez", get(async || "ok"))
        .route("/v1/payments", post(open).get(find))
        .route("/v1/payments/{id}", get(show))
        .route("/v1/payments/{id}/capture", post(capture))
        .route("/v1/payments/{id}/void", post(void))
        .route("/v1/payments/{id}/refunds", post(refund))
        .route("/v1/payments/{id}/action", get(action_page).post(act))
        .route("/v1/operations", get(operations))
        .route("/v1/ledger", get(totals))
        .layer(DefaultBodyLimit::max(BODY_BYTES_MAX))
        .with_state(api)
}

/// A refusal, or silence.
enum Failure {
    Refused(Refusal),
    /// What the client sees if it waits longer than the hold.
    NoAnswer,
}

impl From<Refusal> for Failure {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }
}

impl From<JsonRejection> for Failure {
    fn from(rejection: JsonRejection) -> Self {
        Self::Refused(Refusal::InvalidRequest(rejection.body_text()))
    }
}

impl From<QueryRejection> for Failure {
    fn from(rejection: QueryRejection) -> Self {
        Self::Refused(Refusal::InvalidRequest(rejection.body_text()))
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        let (status, code, message) = match self {
            Self::Refused(refusal) => (refusal.status(), refusal.code(), refusal.to_string()),
            Self::NoAnswer => (504, "no_answer", "this answer is late on purpose".to_owned()),
        };
        let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let body = json!({ "error": { "code": code, "message": message } });
        (status, Json(body)).into_response()
    }
}

type Body<T> = Result<Json<T>, JsonRejection>;
type Asked<T> = Result<Query<T>, QueryRejection>;

async fn open(State(api): State<Api>, headers: HeaderMap, body: Body<OpenPayment>) -> Result<Response, Failure> {
    let key = idempotency_key(&headers)?;
    let Json(request) = body?;
    let verdict = api.desk.ask(move |ledger, now| ledger.open_payment(now, &key, &request)).await?;
    let Operated { operation, payment } = api.answer(verdict?).await?;
    Ok((StatusCode::CREATED, Json(Opened { payment, operation })).into_response())
}

#[derive(Deserialize)]
struct CaptureBody {
    amount: i64,
    #[serde(default, rename = "final")]
    is_final: bool,
}

async fn capture(
    State(api): State<Api>,
    Path(id): Path<String>,
    headers: HeaderMap,
    body: Body<CaptureBody>,
) -> Result<Json<Operated>, Failure> {
    let Json(CaptureBody { amount, is_final }) = body?;
    api.operate(id, &headers, Request::Capture { amount, is_final }).await
}

async fn void(State(api): State<Api>, Path(id): Path<String>, headers: HeaderMap) -> Result<Json<Operated>, Failure> {
    api.operate(id, &headers, Request::Void).await
}

#[derive(Deserialize)]
struct RefundBody {
    amount: i64,
    refund_reference: String,
}

async fn refund(
    State(api): State<Api>,
    Path(id): Path<String>,
    headers: HeaderMap,
    body: Body<RefundBody>,
) -> Result<Json<Operated>, Failure> {
    let Json(RefundBody { amount, refund_reference }) = body?;
    api.operate(id, &headers, Request::Refund { amount, refund_reference }).await
}

async fn show(State(api): State<Api>, Path(id): Path<String>) -> Result<Json<PaymentDetail>, Failure> {
    let found = api.desk.ask(move |ledger, _| Ok(ledger.detail(ledger.payment_no(&id)?)));
    let found: Result<PaymentDetail, Refusal> = found.await?;
    Ok(Json(found?))
}

#[derive(Deserialize)]
struct FindQuery {
    merchant_reference: String,
}

async fn find(State(api): State<Api>, query: Asked<FindQuery>) -> Result<Json<Items<PaymentDetail>>, Failure> {
    let Query(FindQuery { merchant_reference }) = query?;
    let items = api.desk.ask(move |ledger, _| ledger.by_reference(&merchant_reference)).await?;
    Ok(Json(Items { items }))
}

#[derive(Deserialize)]
struct PageQuery {
    #[serde(default)]
    after: usize,
    limit: Option<usize>,
}

async fn operations(State(api): State<Api>, query: Asked<PageQuery>) -> Result<Response, Failure> {
    let Query(PageQuery { after, limit }) = query?;
    let limit = limit.unwrap_or(OPERATIONS_PAGE).clamp(1, OPERATIONS_PAGE_MAX);
    let page = api.desk.ask(move |ledger, _| ledger.outcomes_after(after, limit)).await?;
    Ok(Json(page?).into_response())
}

async fn totals(State(api): State<Api>, query: Asked<PageQuery>) -> Result<Response, Failure> {
    let Query(PageQuery { after, limit }) = query?;
    let limit = limit.unwrap_or(LEDGER_PAGE).clamp(1, LEDGER_PAGE_MAX);
    let page = api.desk.ask(move |ledger, _| ledger.totals_after(after, limit)).await?;
    Ok(Json(page).into_response())
}

#[derive(Deserialize)]
struct Act {
    result: ActionResult,
}

/// By a program with JSON, by the page's buttons with a form; a person is sent back to the shop.
async fn act(State(api): State<Api>, Path(id): Path<String>, headers: HeaderMap, body: axum::body::Bytes) -> Result<Response, Failure> {
    let content_type = headers.get(header::CONTENT_TYPE).map(header::HeaderValue::as_bytes);
    let is_form = content_type.is_some_and(|content_type| content_type.starts_with(b"application/x-www-form-urlencoded"));
    let result = match body.as_ref() {
        b"result=success" if is_form => ActionResult::Success,
        b"result=failure" if is_form => ActionResult::Failure,
        json => match serde_json::from_slice(json) {
            Ok(Act { result }) => result,
            Err(error) => return Err(Refusal::InvalidRequest(error.to_string()).into()),
        },
    };
    let acted = api.desk.ask(move |ledger, now| {
        let detail = ledger.act(now, &id, result)?;
        let return_url = ledger.payments[ledger.payment_no(&id)?].opened.return_url.clone();
        Ok((detail, return_url))
    });
    let acted: Result<(PaymentDetail, Option<String>), Refusal> = acted.await?;
    Ok(match acted? {
        (_, Some(return_url)) if is_form => Redirect::to(&return_url).into_response(),
        (_, None) if is_form => page("Thank you. You can close this page.", ""),
        (detail, _) => Json(detail).into_response(),
    })
}

const BUTTONS: &str = "<form method=\"post\">\
    <button name=\"result\" value=\"success\">Approve</button> \
    <button name=\"result\" value=\"failure\">Refuse</button></form>";

async fn action_page(State(api): State<Api>, Path(id): Path<String>) -> Result<Response, Failure> {
    let Json(PaymentDetail { payment, .. }) = show(State(api), Path(id)).await?;
    if payment.balance.status != PaymentStatus::RequiresAction {
        return Ok(page("This payment does not wait for you any more.", ""));
    }
    // Nothing here is free text: an amount, and a currency of three capital letters.
    let asks = format!("Pay {} {} (minor units)?", payment.amount, payment.currency);
    Ok(page(&asks, BUTTONS))
}

fn page(text: &str, form: &str) -> Response {
    let html = format!(
        "<!doctype html><html lang=\"en\"><meta charset=\"utf-8\"><title>Sandbox bank</title>\
         <body style=\"font:1.2rem sans-serif;margin:4rem\"><h1>Sandbox bank</h1>\
         <p>{text}</p>{form}</body></html>"
    );
    ([(header::CACHE_CONTROL, "no-store")], Html(html)).into_response()
}

impl Api {
    async fn operate(&self, id: String, headers: &HeaderMap, request: Request) -> Result<Json<Operated>, Failure> {
        let key = idempotency_key(headers)?;
        let verdict = self.desk.ask(move |ledger, now| ledger.operate(now, &id, &key, request));
        Ok(Json(self.answer(verdict.await??).await?))
    }

    /// Silence lasts until the hold is over or the sandbox stops; then there is no answer either.
    async fn answer(&self, verdict: Verdict) -> Result<Operated, Failure> {
        match verdict {
            Verdict::Answer(operated) => Ok(*operated),
            Verdict::Silence => {
                tokio::select! {
                    () = tokio::time::sleep(self.hold) => {}
                    () = self.stop.cancelled() => {}
                }
                Err(Failure::NoAnswer)
            }
        }
    }
}

fn idempotency_key(headers: &HeaderMap) -> Result<String, Refusal> {
    let key = headers.get("idempotency-key").and_then(|key| key.to_str().ok());
    let key = key.filter(|key| (1..=IDEMPOTENCY_KEY_CHARS_MAX).contains(&key.len()));
    key.map(str::to_owned).ok_or(Refusal::IdempotencyKeyMissing)
}
