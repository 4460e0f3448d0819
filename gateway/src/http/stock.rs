//! Stock for merchants: what lies where, the ledger behind it, and goods coming in, counted, found or lost.

use std::sync::Arc;

use axum::extract::{Path, State};
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use chrono::{DateTime, Utc};
use commands::answer::{CommandError, Position};
use commands::inventory::{self, FIRST_LOCATION, Target};
use commands::loader::version_number;
use commands::streams::{Stop, Streams};
use domain::event::Event;
use domain::id::{LocationId, OrderId, VariantId};
use domain::inventory::{Level, Part, StockEvent, StockItem, StockPolicy};
use infra::event_log::{self, StoredEvent};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::body::{Body, Query};
use super::caller::Caller;
use super::event::resolve;
use super::problem::Problem;
use super::reading::{Read, Wrote};
use crate::app::App;
use crate::auth::Role;

/// Newest events that an answer's ledger shows; `GET /v1/streams/stock/{variant_id}` has all.
pub const LEDGER_EVENTS_MAX: i64 = 1_000;
/// Why a count happened when nobody says.
const COUNT_REASON: &str = "count";

#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct StockQuery {
    /// A position, a token or a time (RFC 3339); now unless given.
    as_of: Option<String>,
    /// A consistency token that the answer must have seen.
    token_position: Option<String>,
}

#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ReceiveBody {
    /// Name or id; the store's first one, `main`, unless given.
    #[serde(default)]
    location: Option<String>,
    #[schema(minimum = 1)]
    quantity: u32,
}

#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CountBody {
    /// Name or id; the store's first one, `main`, unless given.
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
    /// Name or id; the store's first one, `main`, unless given.
    #[serde(default)]
    location: Option<String>,
    /// Units found, or lost where negative.
    delta: i64,
    #[schema(example = "damaged")]
    reason: String,
}

#[derive(Debug, Serialize, ToSchema)]
pub struct StockBody {
    variant_id: String,
    sku: Option<String>,
    on_hand: i64,
    /// Promised to confirmed orders.
    allocated: i64,
    /// Held for orders that wait for their payment.
    reserved: i64,
    /// Never sold.
    safety: i64,
    /// What can still be sold; negative when more is promised than there is.
    available: i64,
    /// `deny`, `backorder` or `preorder`.
    policy: &'static str,
    levels: Vec<LevelBody>,
    /// Oldest first.
    ledger: Vec<LedgerEntry>,
    /// Older events that the ledger leaves out.
    ledger_omitted: i64,
}

#[derive(Debug, Serialize, ToSchema)]
pub struct LevelBody {
    location: String,
    on_hand: i64,
    allocated: i64,
    reserved: i64,
    safety: i64,
    available: i64,
}

/// One movement at one location.
#[derive(Debug, Default, PartialEq, Eq, Serialize, ToSchema)]
pub struct LedgerEntry {
    at: DateTime<Utc>,
    position: i64,
    #[schema(example = "StockReceived")]
    event: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    location: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    quantity: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    order_id: Option<String>,
}

/// A variant's stock, now or as of a position or time.
#[utoipa::path(
    get, path = "/admin/stock/{variant}", operation_id = "show_stock", tag = "merchants",
    params(("variant" = String, Path, description = "A variant's id or sku"), StockQuery),
    responses(
        (status = 200, body = StockBody),
        (status = 304, description = "Nothing has changed since `If-None-Match`"),
        (status = 401, description = "unauthenticated"),
        (status = 403, description = "forbidden"),
        (status = 404, description = "not_found"),
        (status = 503, description = "read_model_behind"),
    ),
    security(("bearer" = [])),
)]
pub async fn show(
    State(app): State<Arc<App>>,
    caller: Caller,
    Path(variant): Path<String>,
    Query(query): Query<StockQuery>,
) -> Result<Read<StockBody>, Problem> {
    caller.require(Role::is_staff)?;
    let read = app.read_position(&caller, query.token_position.as_deref(), "stock").await?;
    app.read_position(&caller, query.token_position.as_deref(), "product").await?;
    let variant_id = find(&app, &variant).await?;
    if let Some(as_of) = &query.as_of {
        let position = resolve(&app.pool, "as_of", as_of).await?;
        let (body, version) = as_of_position(&app, variant_id, position).await?;
        return Ok(Read::personal(body, Position { position, ..read }).version(version, &caller));
    }
    let token = query.token_position.as_deref();
    let read = app.rows_position::<StockItem>(&caller, token, "stock", &[variant_id.to_string()], read).await?;
    let row = projections::state::row::<StockItem>(&app.pool, "stock", &variant_id.to_string()).await?;
    let row = row.ok_or_else(|| Problem::not_found("stock item"))?;
    let body = body(&app, variant_id, &row.state, row.version, row.position).await?;
    Ok(Read::personal(body, read).version(row.version, &caller))
}

/// Goods have come in.
#[utoipa::path(
    post, path = "/admin/stock/{variant}/receive", operation_id = "receive_stock", tag = "merchants",
    params(("variant" = String, Path, description = "A variant's id or sku")),
    request_body = ReceiveBody,
    responses(
        (status = 200, body = StockBody),
        (status = 401, description = "unauthenticated"),
        (status = 403, description = "forbidden"),
        (status = 404, description = "not_found"),
        (status = 409, description = "version_conflict"),
        (status = 422, description = "validation_failed"),
    ),
    security(("bearer" = [])),
)]
pub async fn receive(
    State(app): State<Arc<App>>,
    caller: Caller,
    Path(variant): Path<String>,
    Body(body): Body<ReceiveBody>,
) -> Result<Response, Problem> {
    let at = target(&app, &caller, &variant, body.location.as_deref()).await?;
    let receipt_id = infra::clock::new_id().into();
    let quantity = body.quantity;
    execute(&app, &caller, &body, at, move |streams| inventory::receive(streams, &at, receipt_id, quantity)).await
}

/// Somebody has counted what lies there.
#[utoipa::path(
    post, path = "/admin/stock/{variant}/count", operation_id = "count_stock", tag = "merchants",
    params(("variant" = String, Path, description = "A variant's id or sku")),
    request_body = CountBody,
    responses(
        (status = 200, body = StockBody),
        (status = 401, description = "unauthenticated"),
        (status = 403, description = "forbidden"),
        (status = 404, description = "not_found"),
        (status = 409, description = "version_conflict"),
        (status = 422, description = "validation_failed"),
    ),
    security(("bearer" = [])),
)]
pub async fn count(
    State(app): State<Arc<App>>,
    caller: Caller,
    Path(variant): Path<String>,
    Body(body): Body<CountBody>,
) -> Result<Response, Problem> {
    let at = target(&app, &caller, &variant, body.location.as_deref()).await?;
    let reason = body.reason.clone().unwrap_or_else(|| COUNT_REASON.to_owned());
    let quantity = body.quantity;
    execute(&app, &caller, &body, at, move |streams| inventory::count(streams, &at, quantity, &reason)).await
}

/// Units were found or lost.
#[utoipa::path(
    post, path = "/admin/stock/{variant}/adjust", operation_id = "adjust_stock", tag = "merchants",
    params(("variant" = String, Path, description = "A variant's id or sku")),
    request_body = AdjustBody,
    responses(
        (status = 200, body = StockBody),
        (status = 401, description = "unauthenticated"),
        (status = 403, description = "forbidden"),
        (status = 404, description = "not_found"),
        (status = 409, description = "version_conflict"),
        (status = 422, description = "validation_failed"),
    ),
    security(("bearer" = [])),
)]
pub async fn adjust(
    State(app): State<Arc<App>>,
    caller: Caller,
    Path(variant): Path<String>,
    Body(body): Body<AdjustBody>,
) -> Result<Response, Problem> {
    let at = target(&app, &caller, &variant, body.location.as_deref()).await?;
    let (delta, reason) = (body.delta, body.reason.clone());
    execute(&app, &caller, &body, at, move |streams| inventory::adjust(streams, &at, delta, &reason)).await
}

/// Who may, which variant, where, and at which version.
async fn target(app: &App, caller: &Caller, variant: &str, location: Option<&str>) -> Result<Target, Problem> {
    caller.require(Role::manages)?;
    let location_id = location_id(location)?;
    Ok(Target { variant_id: find(app, variant).await?, location_id, expected_version: caller.if_match()? })
}

/// The store has one location, and stock at another could be shown but not sold.
fn location_id(location: Option<&str>) -> Result<LocationId, Problem> {
    let first = inventory::first_location();
    match location {
        None | Some(FIRST_LOCATION) => Ok(first),
        Some(text) if text.parse() == Ok(first) => Ok(first),
        Some(text) => {
            let detail = format!("the store has no location {text:?}; leave `location` out, or name `{FIRST_LOCATION}`");
            Err(Problem::new("validation_failed", detail.clone()).error("/location", "location_unknown", detail))
        }
    }
}

/// A variant by its id or sku.
async fn find(app: &App, variant: &str) -> Result<VariantId, Problem> {
    if let Ok(variant_id) = variant.parse() {
        return Ok(variant_id);
    }
    let found = projections::product::variants_by_skus(&app.pool, &[variant.to_owned()]).await?;
    found.first().map(|(variant_id, _)| *variant_id).ok_or_else(|| Problem::not_found("variant"))
}

/// Lands a movement and answers with the stock as it was right after it, also when it is asked for again.
async fn execute<F>(app: &App, caller: &Caller, request: &impl Serialize, at: Target, decide: F) -> Result<Response, Problem>
where
    F: Fn(&mut Streams<'_>) -> Result<(), Stop> + Send + 'static,
{
    let idempotency = caller.idempotency(request, false)?;
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
    Ok(Wrote { status: StatusCode::OK, body: Some(body), position, version: Some(version), replayed }.into_response())
}

/// The stock and its version as of a position, from the log.
async fn as_of_position(app: &App, variant_id: VariantId, position: i64) -> Result<(StockBody, i64), Problem> {
    let (item, version) = app.loader.load_as_of::<StockItem>(&variant_id.to_string(), position).await?;
    if version == 0 {
        return Err(Problem::not_found("stock item"));
    }
    Ok((body(app, variant_id, &item, version, position).await?, version))
}

/// An item with the ledger that led to it.
async fn body(app: &App, variant_id: VariantId, item: &StockItem, version: i64, position: i64) -> Result<StockBody, Problem> {
    let omitted = (version - LEDGER_EVENTS_MAX).max(0);
    let stored = event_log::stream(&app.pool, ("stock", &variant_id.to_string()), omitted, position).await?;
    let mut ledger = Vec::with_capacity(stored.len());
    for event in &stored {
        let version = version_number(&event.event_version);
        let decoded = StockEvent::from_payload(&event.event_type, version, &event.payload).map_err(|e| Problem::failure(&e))?;
        ledger.extend(entries(event, &decoded));
    }
    let at = app.checkpoints.of("product").await?;
    let product = app.cache.products_of(&[variant_id], at.position).await?.pop();
    let sku = product.and_then(|row| row.state.variant(variant_id).and_then(|variant| variant.sku.clone()));
    let level = |(location_id, level): (&LocationId, &Level)| LevelBody {
        location: location_id.to_string(),
        on_hand: level.on_hand,
        allocated: level.allocated,
        reserved: level.reserved,
        safety: level.safety,
        available: level.available(),
    };
    let levels: Vec<LevelBody> = item.levels.iter().map(level).collect();
    let sum = |of: fn(&LevelBody) -> i64| levels.iter().map(of).sum();
    Ok(StockBody {
        variant_id: variant_id.to_string(),
        sku,
        on_hand: sum(|level| level.on_hand),
        allocated: sum(|level| level.allocated),
        reserved: sum(|level| level.reserved),
        safety: sum(|level| level.safety),
        available: item.available(),
        policy: match item.policy {
            StockPolicy::Deny => "deny",
            StockPolicy::Backorder { .. } => "backorder",
            StockPolicy::Preorder { .. } => "preorder",
        },
        levels,
        ledger,
        ledger_omitted: omitted,
    })
}

/// One entry per location that the event is about; one without a location where it is about none.
fn entries(stored: &StoredEvent, event: &StockEvent) -> Vec<LedgerEntry> {
    let entry =
        || LedgerEntry { at: stored.recorded_at, position: stored.position, event: stored.event_type.clone(), ..LedgerEntry::default() };
    let at = |location_id: LocationId, quantity: i64| LedgerEntry {
        location: Some(location_id.to_string()),
        quantity: Some(quantity),
        ..entry()
    };
    let because = |entry: LedgerEntry, reason: &str| LedgerEntry { reason: Some(reason.to_owned()), ..entry };
    let of = |entry: LedgerEntry, order_id: OrderId| LedgerEntry { order_id: Some(order_id.to_string()), ..entry };
    let each = |parts: &[Part]| -> Vec<LedgerEntry> { parts.iter().map(|part| at(part.location_id, i64::from(part.quantity))).collect() };
    match event {
        StockEvent::StockReceived(received) => {
            vec![at(received.location_id, i64::from(received.quantity))]
        }
        StockEvent::StockCounted(counted) => vec![because(at(counted.location_id, i64::from(counted.counted)), &counted.reason)],
        StockEvent::StockAdjusted(adjusted) => vec![because(at(adjusted.location_id, adjusted.delta), &adjusted.reason)],
        StockEvent::StockReserved(reserved) => {
            let order_id = (reserved.owner.kind == "order").then(|| reserved.owner.id.clone());
            each(&reserved.parts).into_iter().map(|entry| LedgerEntry { order_id: order_id.clone(), ..entry }).collect()
        }
        StockEvent::ReservationReleased(released) => {
            each(&released.parts).into_iter().map(|entry| because(entry, &released.reason)).collect()
        }
        StockEvent::ReservationExpired(expired) => each(&expired.parts),
        StockEvent::StockAllocated(allocated) => each(&allocated.parts).into_iter().map(|entry| of(entry, allocated.order_id)).collect(),
        StockEvent::AllocationReleased(released) => {
            each(&released.parts).into_iter().map(|entry| because(entry, &released.reason)).collect()
        }
        StockEvent::StockShipped(shipped) => each(&shipped.parts),
        StockEvent::StockReturned(returned) => {
            vec![of(because(at(returned.location_id, i64::from(returned.quantity)), &returned.condition), returned.order_id)]
        }
        StockEvent::StockTransferDispatched(dispatched) => {
            let quantity = i64::from(dispatched.quantity);
            vec![at(dispatched.from, -quantity), at(dispatched.to, quantity)]
        }
        StockEvent::StockTransferReceived(received) => {
            vec![LedgerEntry { quantity: Some(i64::from(received.received)), ..entry() }]
        }
        StockEvent::StockShortfall(shortfall) => {
            let location = shortfall.location_id.map(|location_id| location_id.to_string());
            vec![LedgerEntry { location, quantity: Some(i64::from(shortfall.quantity)), ..entry() }]
        }
        StockEvent::StockItemOpened(_)
        | StockEvent::StockPolicyChanged(_)
        | StockEvent::ReservationExtended(_)
        | StockEvent::LowStockReached(_)
        | StockEvent::OutOfStock(_)
        | StockEvent::BackInStock(_) => vec![entry()],
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use domain::inventory::StockAdjusted;

    #[test]
    fn an_adjustment_is_one_entry_with_its_sign_and_reason() {
        let stored = StoredEvent {
            position: 7,
            partition: 0,
            aggregate_type: "stock".to_owned(),
            aggregate_id: "v".to_owned(),
            sequence: 2,
            event_id: uuid::Uuid::nil(),
            event_type: "StockAdjusted".to_owned(),
            event_version: "1".to_owned(),
            payload: String::new(),
            metadata: String::new(),
            recorded_at: DateTime::UNIX_EPOCH,
        };
        let location_id = inventory::first_location();
        let adjusted = StockAdjusted { location_id, delta: -2, reason: "damaged".to_owned(), note: None };
        let expected = LedgerEntry {
            position: 7,
            event: "StockAdjusted".to_owned(),
            location: Some(location_id.to_string()),
            quantity: Some(-2),
            reason: Some("damaged".to_owned()),
            ..LedgerEntry::default()
        };
        assert_eq!(entries(&stored, &StockEvent::StockAdjusted(adjusted)), [expected]);
    }

    #[test]
    fn a_location_that_is_not_there_is_refused() {
        assert!(location_id(Some("attic")).is_err());
        assert_eq!(location_id(Some(FIRST_LOCATION)).unwrap(), inventory::first_location());
    }
}
