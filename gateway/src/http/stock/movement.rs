//! What changes stock: goods that come in, are counted, found, lost or sent elsewhere, and how far it is sold.

use std::sync::Arc;

use axum::extract::{Path, State};
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use commands::answer::CommandError;
use commands::inventory::{self, Policy, Target, Transfer};
use commands::streams::{Stop, Streams};
use commands::writer::Idempotency;
use domain::id::TransferId;
use domain::inventory::StockPolicy;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{StockBody, as_of_position, find};
use crate::app::App;
use crate::http::body::Body;
use crate::http::caller::{Manages, Staff};
use crate::http::problem::Problem;
use crate::http::reading::Wrote;
use crate::http::setting::id_of;

/// Why a count happened when nobody says.
const COUNT_REASON: &str = "count";
/// Most locations whose safety stock one request sets.
const SAFETY_MAX: usize = 100;

#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ReceiveBody {
    /// A location's code or id; the store's first one unless given.
    #[serde(default)]
    location: Option<String>,
    #[schema(minimum = 1)]
    quantity: u32,
}

#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CountBody {
    /// A location's code or id; the store's first one unless given.
    #[serde(default)]
    location: Option<String>,
    /// What lies there.
    quantity: u32,
    #[serde(default)]
    reason: Option<String>,
}

#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct AdjustBody {
    /// A location's code or id; the store's first one unless given.
    #[serde(default)]
    location: Option<String>,
    /// Units found, or lost where negative.
    delta: i64,
    #[schema(example = "damaged")]
    reason: String,
}

#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct TransferDraft {
    /// A location's code or id.
    from: String,
    /// A location's code or id.
    to: String,
    #[schema(minimum = 1)]
    quantity: u32,
}

#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ArrivalBody {
    /// Units that have arrived; the rest of the transfer is lost.
    received: u32,
}

#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PolicyBody {
    policy: PolicyKind,
    /// Most units that may be promised beyond what is there; without one there is no bound. Not with `deny`.
    limit: Option<u32>,
    /// Units that are never sold; locations that are not named keep what they have.
    #[serde(default)]
    safety: Vec<SafetyBody>,
    /// From how many available units down the variant counts as low; as it is unless given.
    low_stock_threshold: Option<u32>,
}

#[derive(Debug, Clone, Copy, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum PolicyKind {
    Deny,
    Backorder,
    Preorder,
}

#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct SafetyBody {
    /// A location's code or id.
    location: String,
    quantity: u32,
}

/// Goods have come in.
#[utoipa::path(
    post, path = "/admin/stock/{variant}/receive", operation_id = "receive_stock", tag = "merchants",
    params(("variant" = String, Path, description = "A variant's id or sku")),
    request_body = ReceiveBody,
    responses(
        (status = 200, body = StockBody),
        (status = 404, description = "not_found"),
        (status = 409, description = "location_closed, version_conflict"),
        (status = 422, description = "location_unknown, quantity_too_large, validation_failed"),
    ),
)]
pub async fn receive(
    State(app): State<Arc<App>>,
    caller: Staff<Manages>,
    Path(variant): Path<String>,
    Body(body): Body<ReceiveBody>,
) -> Result<Response, Problem> {
    let at = target(&app, &caller, &variant).await?;
    let idempotency = caller.idempotency(&body, false)?;
    let receipt_id = infra::clock::new_id().into();
    let decide = move |streams: &mut Streams<'_>| inventory::receive(streams, at, body.location.as_deref(), receipt_id, body.quantity);
    execute(&app, &caller, idempotency, (StatusCode::OK, at), decide).await
}

/// Somebody has counted what lies there. What was promised beyond it stays promised: a shortfall is said, no order is undone.
#[utoipa::path(
    post, path = "/admin/stock/{variant}/count", operation_id = "count_stock", tag = "merchants",
    params(("variant" = String, Path, description = "A variant's id or sku")),
    request_body = CountBody,
    responses(
        (status = 200, body = StockBody),
        (status = 404, description = "not_found"),
        (status = 409, description = "version_conflict"),
        (status = 422, description = "location_unknown, validation_failed"),
    ),
)]
pub async fn count(
    State(app): State<Arc<App>>,
    caller: Staff<Manages>,
    Path(variant): Path<String>,
    Body(body): Body<CountBody>,
) -> Result<Response, Problem> {
    let at = target(&app, &caller, &variant).await?;
    let idempotency = caller.idempotency(&body, false)?;
    let reason = body.reason.unwrap_or_else(|| COUNT_REASON.to_owned());
    let decide = move |streams: &mut Streams<'_>| inventory::count(streams, at, body.location.as_deref(), body.quantity, &reason);
    execute(&app, &caller, idempotency, (StatusCode::OK, at), decide).await
}

/// Units were found or lost.
#[utoipa::path(
    post, path = "/admin/stock/{variant}/adjust", operation_id = "adjust_stock", tag = "merchants",
    params(("variant" = String, Path, description = "A variant's id or sku")),
    request_body = AdjustBody,
    responses(
        (status = 200, body = StockBody),
        (status = 404, description = "not_found"),
        (status = 409, description = "not_on_hand {on_hand}, version_conflict"),
        (status = 422, description = "location_unknown, quantity_too_large, validation_failed"),
    ),
)]
pub async fn adjust(
    State(app): State<Arc<App>>,
    caller: Staff<Manages>,
    Path(variant): Path<String>,
    Body(body): Body<AdjustBody>,
) -> Result<Response, Problem> {
    let at = target(&app, &caller, &variant).await?;
    let idempotency = caller.idempotency(&body, false)?;
    let decide = move |streams: &mut Streams<'_>| inventory::adjust(streams, at, body.location.as_deref(), body.delta, &body.reason);
    execute(&app, &caller, idempotency, (StatusCode::OK, at), decide).await
}

/// Moves units that nobody was promised to another location, at once.
#[utoipa::path(
    post, path = "/admin/stock/{variant}/transfer", operation_id = "transfer_stock", tag = "merchants",
    params(("variant" = String, Path, description = "A variant's id or sku")),
    request_body = TransferDraft,
    responses(
        (status = 200, body = StockBody),
        (status = 404, description = "not_found"),
        (status = 409, description = "insufficient_stock {available}, location_closed, version_conflict"),
        (status = 422, description = "location_unknown, quantity_too_large, validation_failed"),
    ),
)]
pub async fn transfer(
    State(app): State<Arc<App>>,
    caller: Staff<Manages>,
    Path(variant): Path<String>,
    Body(body): Body<TransferDraft>,
) -> Result<Response, Problem> {
    let at = target(&app, &caller, &variant).await?;
    let idempotency = caller.idempotency(&body, false)?;
    let wanted = sent(body, idempotency.as_ref());
    execute(&app, &caller, idempotency, (StatusCode::OK, at), move |streams| inventory::transfer(streams, at, &wanted)).await
}

/// Sends units that nobody was promised on their way to another location; they are sold again when they are received there.
#[utoipa::path(
    post, path = "/admin/stock/{variant}/transfers", operation_id = "dispatch_transfer", tag = "merchants",
    params(("variant" = String, Path, description = "A variant's id or sku")),
    request_body = TransferDraft,
    responses(
        (status = 201, body = StockBody, description = "`transfers` has it"),
        (status = 404, description = "not_found"),
        (status = 409, description = "insufficient_stock {available}, location_closed, version_conflict"),
        (status = 422, description = "location_unknown, validation_failed"),
    ),
)]
pub async fn dispatch(
    State(app): State<Arc<App>>,
    caller: Staff<Manages>,
    Path(variant): Path<String>,
    Body(body): Body<TransferDraft>,
) -> Result<Response, Problem> {
    let at = target(&app, &caller, &variant).await?;
    let idempotency = caller.idempotency(&body, false)?;
    let wanted = sent(body, idempotency.as_ref());
    let decide = move |streams: &mut Streams<'_>| inventory::dispatch(streams, at, &wanted);
    execute(&app, &caller, idempotency, (StatusCode::CREATED, at), decide).await
}

/// A transfer has arrived. What is missing of it is lost.
#[utoipa::path(
    post, path = "/admin/stock/{variant}/transfers/{transfer}/receive", operation_id = "receive_transfer", tag = "merchants",
    params(("variant" = String, Path, description = "A variant's id or sku"), ("transfer" = String, Path, description = "The transfer's id")),
    request_body = ArrivalBody,
    responses(
        (status = 200, body = StockBody),
        (status = 404, description = "not_found: it has arrived already, or never left"),
        (status = 409, description = "version_conflict"),
        (status = 422, description = "transfer_quantity {dispatched}, quantity_too_large"),
    ),
)]
pub async fn receive_transfer(
    State(app): State<Arc<App>>,
    caller: Staff<Manages>,
    Path((variant, transfer)): Path<(String, String)>,
    Body(body): Body<ArrivalBody>,
) -> Result<Response, Problem> {
    let at = target(&app, &caller, &variant).await?;
    let idempotency = caller.idempotency(&body, false)?;
    let transfer_id: TransferId = transfer.parse().map_err(|_| Problem::not_found("transfer on its way"))?;
    let decide = move |streams: &mut Streams<'_>| inventory::receive_transfer(streams, at, transfer_id, body.received);
    execute(&app, &caller, idempotency, (StatusCode::OK, at), decide).await
}

/// Says how far a variant is sold beyond what is there, what is kept back, and from when on it counts as low.
#[utoipa::path(
    post, path = "/admin/stock/{variant}/policy", operation_id = "change_stock_policy", tag = "merchants",
    params(("variant" = String, Path, description = "A variant's id or sku")),
    request_body = PolicyBody,
    responses(
        (status = 200, body = StockBody),
        (status = 404, description = "not_found"),
        (status = 409, description = "version_conflict"),
        (status = 422, description = "location_unknown, validation_failed"),
    ),
)]
pub async fn change_policy(
    State(app): State<Arc<App>>,
    caller: Staff<Manages>,
    Path(variant): Path<String>,
    Body(body): Body<PolicyBody>,
) -> Result<Response, Problem> {
    let at = target(&app, &caller, &variant).await?;
    let idempotency = caller.idempotency(&body, false)?;
    let wanted = policy(body)?;
    execute(&app, &caller, idempotency, (StatusCode::OK, at), move |streams| inventory::change_policy(streams, at, &wanted)).await
}

fn policy(body: PolicyBody) -> Result<Policy, Problem> {
    let limit = body.limit;
    let policy = match body.policy {
        PolicyKind::Deny if limit.is_some() => {
            let detail = "with `deny` nothing is promised beyond what is there; leave `limit` out";
            return Err(Problem::invalid("/limit", "invalid", detail));
        }
        PolicyKind::Deny => StockPolicy::Deny,
        PolicyKind::Backorder => StockPolicy::Backorder { limit },
        PolicyKind::Preorder => StockPolicy::Preorder { limit },
    };
    if body.safety.len() > SAFETY_MAX {
        let detail = format!("at most {SAFETY_MAX} locations at once");
        return Err(Problem::invalid("/safety", "too_many", detail));
    }
    let safety = body.safety.into_iter().map(|safety| (safety.location, safety.quantity)).collect();
    Ok(Policy { policy, safety, low_stock_threshold: body.low_stock_threshold })
}

fn sent(body: TransferDraft, idempotency: Option<&Idempotency>) -> Transfer {
    Transfer { transfer_id: id_of(idempotency).into(), from: body.from, to: body.to, quantity: body.quantity }
}

/// Who may, which variant, and at which version.
async fn target(app: &App, caller: &Staff<Manages>, variant: &str) -> Result<Target, Problem> {
    Ok(Target { variant_id: find(app, variant).await?, expected_version: caller.if_match()? })
}

/// Lands a movement and answers with the stock as it was right after it, also when it is asked for again.
async fn execute<F>(
    app: &App,
    caller: &Staff<Manages>,
    idempotency: Option<Idempotency>,
    (status, at): (StatusCode, Target),
    decide: F,
) -> Result<Response, Problem>
where
    F: Fn(&mut Streams<'_>) -> Result<(), Stop> + Send + 'static,
{
    let (position, replayed) = match app.writer.execute(caller.origin(), idempotency, decide).await {
        Ok(done) => (done.position, false),
        Err(CommandError::Replayed(recorded)) => match recorded.refusal {
            None => (recorded.position, true),
            Some(refusal) => {
                let mut response = Problem::from(refusal).at(recorded.position).into_response();
                response.headers_mut().insert("idempotent-replayed", HeaderValue::from_static("true"));
                return Ok(response);
            }
        },
        Err(error) => return Err(error.into()),
    };
    let (body, version) = as_of_position(app, at.variant_id, position.position).await?;
    Ok(Wrote { status, body: Some(body), position, version: Some(version), replayed }.into_response())
}
