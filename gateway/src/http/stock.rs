//! Stock for merchants: what lies where, who was promised what, what is on its way, and the ledger behind it.

use std::sync::Arc;

use axum::extract::{Path, State};
use chrono::{DateTime, Utc};
use commands::answer::Position;
use commands::loader::version_number;
use domain::event::Event;
use domain::id::{LocationId, VariantId};
use domain::inventory::{Level, Part, StockEvent, StockItem, StockPolicy};
use domain::setting::Settings;
use infra::event_log;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::body::Query;
use super::caller::{Sees, Staff};
use super::event::resolve;
use super::problem::Problem;
use super::reading::Read;
use crate::app::App;
use ledger::{LedgerEntry, entries};

mod ledger;
pub mod movement;

/// Newest events that an answer's ledger shows; `GET /v1/streams/stock/{variant_id}` has all.
pub const LEDGER_EVENTS_MAX: i64 = 1_000;
/// Most holds, and most allocations, that an answer shows.
const PROMISES_SHOWN_MAX: usize = 1_000;

#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct StockQuery {
    /// A position, a token or a time (RFC 3339); now unless given.
    as_of: Option<String>,
    /// A consistency token that the answer must have seen.
    token_position: Option<String>,
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
    /// On the way between two locations.
    incoming: i64,
    /// `deny`, `backorder` or `preorder`.
    policy: &'static str,
    /// Most units that may be promised beyond what is there; without one there is no bound.
    limit: Option<u32>,
    /// From how many available units down it counts as low.
    low_stock_threshold: u32,
    /// Open locations in the order in which stock is sold from them, then closed ones where something was.
    levels: Vec<LevelBody>,
    /// By their ids; as many as fit an answer.
    holds: Vec<HoldBody>,
    holds_omitted: usize,
    /// By their ids; as many as fit an answer.
    allocations: Vec<AllocationBody>,
    allocations_omitted: usize,
    /// On their way.
    transfers: Vec<TransferBody>,
    /// Oldest first.
    ledger: Vec<LedgerEntry>,
    /// Older events that the ledger leaves out.
    ledger_omitted: i64,
}

#[derive(Debug, Serialize, ToSchema)]
pub struct LevelBody {
    /// The location's id.
    location: String,
    code: Option<String>,
    on_hand: i64,
    allocated: i64,
    reserved: i64,
    safety: i64,
    available: i64,
    /// On the way here.
    incoming: i64,
    /// Of what is allocated and reserved: promised beyond what is there.
    backordered: i64,
}

/// Units at one location.
#[derive(Debug, Serialize, ToSchema)]
pub struct PartBody {
    location: String,
    quantity: u32,
    /// Promised, but not there.
    backordered: bool,
}

#[derive(Debug, Serialize, ToSchema)]
pub struct HoldBody {
    hold_id: String,
    owner: OwnerBody,
    parts: Vec<PartBody>,
    /// Without one it lasts until its owner gives it up.
    expires_at: Option<DateTime<Utc>>,
}

#[derive(Debug, Serialize, ToSchema)]
pub struct OwnerBody {
    /// `order` or `cart`.
    kind: String,
    id: String,
    line_id: Option<String>,
}

#[derive(Debug, Serialize, ToSchema)]
pub struct AllocationBody {
    allocation_id: String,
    order_id: String,
    line_id: String,
    parts: Vec<PartBody>,
}

#[derive(Debug, Serialize, ToSchema)]
pub struct TransferBody {
    transfer_id: String,
    /// The location's id.
    from: String,
    /// The location's id.
    to: String,
    quantity: u32,
}

/// A variant's stock at every location, now or as of a position or time.
#[utoipa::path(
    get, path = "/admin/stock/{variant}", operation_id = "show_stock", tag = "merchants",
    params(("variant" = String, Path, description = "A variant's id or sku"), StockQuery),
    responses(
        (status = 200, body = StockBody),
        (status = 304, description = "Nothing has changed since `If-None-Match`"),
        (status = 404, description = "not_found"),
        (status = 503, description = "read_model_behind"),
    ),
)]
pub async fn show(
    State(app): State<Arc<App>>,
    caller: Staff<Sees>,
    Path(variant): Path<String>,
    Query(query): Query<StockQuery>,
) -> Result<Read<StockBody>, Problem> {
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
    let (settings, settings_version) = app.settings_as_of(read.position).await?;
    let body = body(&app, variant_id, &row.state, &settings, (row.version, row.position)).await?;
    let mut answer = Read::personal(body, read).version(row.version, &caller);
    // The version is the item's, as `If-Match` of a command means it; locations that came since are news all the same.
    if answer.if_none_match.is_some() && app.settings_as_of(row.position).await?.1 != settings_version {
        answer.if_none_match = None;
    }
    Ok(answer)
}

/// A variant by its id or sku.
async fn find(app: &App, variant: &str) -> Result<VariantId, Problem> {
    if let Ok(variant_id) = variant.parse() {
        return Ok(variant_id);
    }
    let found = projections::product::variants_by_skus(&app.pool, &[variant.to_owned()]).await?;
    found.first().map(|(variant_id, _)| *variant_id).ok_or_else(|| Problem::not_found("variant"))
}

/// The stock and its version as of a position, from the log.
async fn as_of_position(app: &App, variant_id: VariantId, position: i64) -> Result<(StockBody, i64), Problem> {
    let (item, version) = app.loader.load_as_of::<StockItem>(&variant_id.to_string(), position).await?;
    if version == 0 {
        return Err(Problem::not_found("stock item"));
    }
    let (settings, _) = app.settings_as_of(position).await?;
    Ok((body(app, variant_id, &item, &settings, (version, position)).await?, version))
}

/// An item with the ledger that led to it.
async fn body(
    app: &App,
    variant_id: VariantId,
    item: &StockItem,
    settings: &Settings,
    (version, position): (i64, i64),
) -> Result<StockBody, Problem> {
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
    let levels = levels(item, settings);
    let sum = |of: fn(&LevelBody) -> i64| levels.iter().map(of).sum();
    let (policy, limit) = match item.policy {
        StockPolicy::Deny => ("deny", None),
        StockPolicy::Backorder { limit } => ("backorder", limit),
        StockPolicy::Preorder { limit } => ("preorder", limit),
    };
    Ok(StockBody {
        variant_id: variant_id.to_string(),
        sku,
        on_hand: sum(|level| level.on_hand),
        allocated: sum(|level| level.allocated),
        reserved: sum(|level| level.reserved),
        safety: sum(|level| level.safety),
        available: item.available(),
        incoming: sum(|level| level.incoming),
        policy,
        limit,
        low_stock_threshold: item.low_stock_threshold,
        levels,
        holds: holds(item),
        holds_omitted: item.holds.len().saturating_sub(PROMISES_SHOWN_MAX),
        allocations: allocations(item),
        allocations_omitted: item.allocations.len().saturating_sub(PROMISES_SHOWN_MAX),
        transfers: transfers(item),
        ledger,
        ledger_omitted: omitted,
    })
}

/// Every open location, and every other one that the item knows.
fn levels(item: &StockItem, settings: &Settings) -> Vec<LevelBody> {
    let code = |id: LocationId| settings.locations.iter().find(|l| l.facts.location_id == id).map(|l| l.facts.code.clone());
    let render = |location_id: LocationId, level: Level| LevelBody {
        location: location_id.to_string(),
        code: code(location_id),
        on_hand: level.on_hand,
        allocated: level.allocated,
        reserved: level.reserved,
        safety: level.safety,
        available: level.available(),
        incoming: level.incoming,
        backordered: level.backordered,
    };
    let open: Vec<LocationId> = settings.open_locations().iter().map(|location| location.facts.location_id).collect();
    let shown = open.iter().map(|id| render(*id, item.levels.at(*id)));
    let others = item.levels.iter().filter(|(id, _)| !open.contains(id)).map(|(id, level)| render(*id, *level));
    shown.chain(others).collect()
}

fn holds(item: &StockItem) -> Vec<HoldBody> {
    let shown = item.holds.iter().take(PROMISES_SHOWN_MAX).map(|(hold_id, hold)| HoldBody {
        hold_id: hold_id.to_string(),
        owner: OwnerBody {
            kind: hold.owner.kind.clone(),
            id: hold.owner.id.clone(),
            line_id: hold.owner.line_id.map(|line_id| line_id.to_string()),
        },
        parts: parts(&hold.parts),
        expires_at: hold.expires_at,
    });
    shown.collect()
}

fn allocations(item: &StockItem) -> Vec<AllocationBody> {
    let shown = item.allocations.iter().take(PROMISES_SHOWN_MAX).map(|(allocation_id, allocation)| AllocationBody {
        allocation_id: allocation_id.to_string(),
        order_id: allocation.order_id.to_string(),
        line_id: allocation.line_id.to_string(),
        parts: parts(&allocation.parts),
    });
    shown.collect()
}

fn transfers(item: &StockItem) -> Vec<TransferBody> {
    let shown = item.transfers.iter().map(|(transfer_id, transfer)| TransferBody {
        transfer_id: transfer_id.to_string(),
        from: transfer.from.to_string(),
        to: transfer.to.to_string(),
        quantity: transfer.quantity,
    });
    shown.collect()
}

fn parts(parts: &[Part]) -> Vec<PartBody> {
    let shown = parts.iter().map(|part| PartBody {
        location: part.location_id.to_string(),
        quantity: part.quantity,
        backordered: part.backordered,
    });
    shown.collect()
}
