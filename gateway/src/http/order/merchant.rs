//! Orders for merchants: lists, money taken, let go of and given back, units cancelled, holds.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::extract::{Path, State};
use chrono::{DateTime, Utc};
use commands::answer::Position;
use commands::order::{self, Cancel, CancelUnits, Ship};
use commands::payment::{self, Capture, Refund, RefundOf};
use commands::streams::Streams;
use commands::whole_order::WholeOrder;
use domain::id::{CancellationId, FulfilmentId, LineId, OperationId, OrderId, PaymentId};
use domain::order::{FulfilmentStatus, Order};
use domain::payment::PaymentStatus;
use projections::order::Filter;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::{IntoParams, ToSchema};

use super::super::body::{Body, Query};
use super::super::caller::{Sees, Serves, Ships, Staff};
use super::super::money::AmountDraft;
use super::super::page::{Items, Page, invalid_cursor, limit};
use super::super::problem::Problem;
use super::super::reading::{Read, Wrote};
use super::attempt::PaymentDetail;
use super::render::{OrderBody, render};
use crate::app::App;

/// Longest reason.
const REASON_CHARS_MAX: usize = 64;

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct ListQuery {
    /// `pending_payment`, `confirmed`, `completed`, `cancelled`, `expired`.
    status: Option<String>,
    /// `none`, `pending`, `requires_action`, `authorized`, `partially_paid`, `paid`, `partially_refunded`, `refunded`, `voided`,
    /// `failed`, `disputed`.
    payment_status: Option<String>,
    /// `unfulfilled`, `partially_fulfilled`, `fulfilled`, `delivered`, `cancelled`.
    fulfilment_status: Option<String>,
    on_hold: Option<bool>,
    /// The order's own, whole.
    number: Option<String>,
    /// RFC 3339.
    placed_from: Option<DateTime<Utc>>,
    /// RFC 3339, exclusive.
    placed_to: Option<DateTime<Utc>>,
    cursor: Option<String>,
    /// 1 to 200; 50 unless given.
    #[param(minimum = 1, maximum = 200)]
    limit: Option<usize>,
    token_position: Option<String>,
}

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct PaymentsQuery {
    /// A position, a token or a time (RFC 3339); now unless given.
    as_of: Option<String>,
    token_position: Option<String>,
}

#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ReasonBody {
    reason: String,
}

#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CancelBody {
    /// All of the order unless given.
    #[serde(default)]
    lines: Option<Vec<LineUnits>>,
    reason: String,
    /// For people of the shop; personal.
    #[serde(default)]
    note: Option<String>,
}

#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct LineUnits {
    /// The line's id or its sku.
    line_id: String,
    #[schema(minimum = 1)]
    quantity: u32,
}

#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ShipBody {
    /// All that is left unless given.
    #[serde(default)]
    lines: Option<Vec<LineUnits>>,
    /// The carrier's number or address of the parcel.
    #[serde(default)]
    tracking: Option<String>,
}

#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CaptureBody {
    /// Minor units or money; all that the order lacks unless given.
    #[serde(default)]
    #[schema(value_type = Option<AmountDraft>)]
    amount: Option<Value>,
    /// No other capture follows: the provider lets go of the rest. False where an amount is given, unless this says otherwise.
    #[serde(default, rename = "final")]
    is_final: Option<bool>,
}

#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct RefundBody {
    /// Minor units or money. Either this, or `lines`, or neither: all that is left.
    #[serde(default)]
    #[schema(value_type = Option<AmountDraft>)]
    amount: Option<Value>,
    /// Units of lines, shipping lines among them (one unit each): what they were paid, to the last cent over all refunds.
    #[serde(default)]
    lines: Option<Vec<LineUnits>>,
    reason: String,
}

/// Orders, the newest first: all, or those for which all that is named holds.
#[utoipa::path(get, path = "/admin/orders", tag = "merchants", params(ListQuery),
    responses((status = 200, body = Page<OrderBody>)))]
pub async fn list(
    State(app): State<Arc<App>>,
    caller: Staff<Sees>,
    Query(query): Query<ListQuery>,
) -> Result<Read<Page<OrderBody>>, Problem> {
    let limit = limit(query.limit)?;
    let among = |name: &str, value: Option<&String>, known: &[&str]| match value {
        Some(value) if !known.contains(&value.as_str()) => {
            Err(Problem::new("invalid_parameter", format!("{name} must be one of {}", known.join(", "))))
        }
        _ => Ok(()),
    };
    among("status", query.status.as_ref(), &["pending_payment", "confirmed", "completed", "cancelled", "expired"])?;
    among("payment_status", query.payment_status.as_ref(), &PaymentStatus::ALL.map(PaymentStatus::as_str))?;
    among("fulfilment_status", query.fulfilment_status.as_ref(), &FulfilmentStatus::ALL.map(FulfilmentStatus::as_str))?;
    if query.cursor.as_deref().is_some_and(|cursor| cursor.parse::<OrderId>().is_err()) {
        return Err(invalid_cursor());
    }
    let at = app.read_position(&caller, query.token_position.as_deref(), "order").await?;
    let filter = Filter {
        status: query.status,
        payment_status: query.payment_status,
        fulfilment_status: query.fulfilment_status,
        on_hold: query.on_hold,
        number: query.number,
        placed_from: query.placed_from,
        placed_to: query.placed_to,
    };
    let rows = projections::order::list(&app.pool, &filter, query.cursor.as_deref(), i64::try_from(limit).unwrap_or(i64::MAX)).await?;
    let full = rows.len() == limit;
    let next_cursor = rows.last().filter(|_| full).map(|row| row.id.clone());
    let ids: Vec<String> = rows.iter().map(|row| row.id.clone()).collect();
    let payments = projections::order::payments_of(&app.pool, &ids).await?;
    let of = |id: &str| payments.get(id).into_iter().flatten().collect::<Vec<_>>();
    let mut items: Vec<OrderBody> = rows.iter().filter_map(|row| Some(render(row.state.placed()?, &of(&row.id), at, None))).collect();
    let shows_contact = caller.role().sees_contact();
    for body in &mut items {
        body.seal_contact(shows_contact);
    }
    Ok(Read::personal(Page { items, next_cursor }, at))
}

/// Payments of an order, the first attempt first, with every operation that was asked of the provider.
#[utoipa::path(get, path = "/admin/orders/{id}/payments", tag = "merchants", operation_id = "list_payments", params(("id" = String, Path), PaymentsQuery),
    responses((status = 200, body = Items<PaymentDetail>),
        (status = 404, description = "not_found")))]
pub async fn payments(
    State(app): State<Arc<App>>,
    caller: Staff<Sees>,
    Path(id): Path<String>,
    Query(query): Query<PaymentsQuery>,
) -> Result<Read<Items<PaymentDetail>>, Problem> {
    let order_id = order_id(&id)?;
    let token = query.token_position.as_deref();
    let at = app.read_position(&caller, token, "order").await?;
    if let Some(as_of) = &query.as_of {
        let position = super::super::event::resolve(&app.pool, "as_of", as_of).await?;
        let order = WholeOrder::load_as_of(&app.loader, order_id, position).await?;
        order.order.placed().ok_or_else(|| Problem::not_found("order"))?;
        let items = order.payments().filter_map(PaymentDetail::new).collect();
        return Ok(Read::personal(Items { items }, Position { position, ..at }));
    }
    let at = app.rows_position::<Order>(&caller, token, "order", &[order_id.to_string()], at).await?;
    let row = projections::order::find(&app.pool, &order_id.to_string()).await?.ok_or_else(|| Problem::not_found("order"))?;
    let items = row.payments.iter().filter_map(|payment| PaymentDetail::new(&payment.state)).collect();
    Ok(Read::personal(Items { items }, at))
}

/// Takes (part of) an authorised amount.
#[utoipa::path(post, path = "/admin/orders/{id}/payments/{payment}/capture", tag = "merchants", operation_id = "capture_payment",
    params(("id" = String, Path), ("payment" = String, Path)), request_body = CaptureBody,
    responses((status = 200, body = OrderBody, description = "the order; the outcome comes later"), (status = 404, description = "not_found"),
        (status = 409, description = "payment_not_capturable, order_status, version_conflict"), (status = 422, description = "validation_failed")))]
pub async fn capture(
    State(app): State<Arc<App>>,
    caller: Staff<Serves>,
    Path((id, payment)): Path<(String, String)>,
    Body(body): Body<CaptureBody>,
) -> Result<Wrote<OrderBody>, Problem> {
    let (order_id, payment_id) = (order_id(&id)?, payment_id(&payment)?);
    let amount = app.amount(order_id, body.amount.as_ref()).await?;
    let operation_id = OperationId::new(infra::clock::new_id());
    let wanted = Capture { operation_id, amount, is_final: body.is_final.unwrap_or(amount.is_none()), if_match: caller.if_match()? };
    let idempotency = caller.idempotency(&body, false)?;
    let decide = move |streams: &mut Streams<'_>| payment::capture(streams, order_id, payment_id, wanted);
    app.order_command(&caller, order_id, idempotency, decide).await
}

/// Lets go of an authorised amount. A confirmed order that lacks it then is on hold until it is paid anew or cancelled.
#[utoipa::path(post, path = "/admin/orders/{id}/payments/{payment}/void", tag = "merchants", operation_id = "void_payment",
    params(("id" = String, Path), ("payment" = String, Path)),
    responses((status = 200, body = OrderBody, description = "the order; the outcome comes later"), (status = 404, description = "not_found"),
        (status = 409, description = "payment_not_voidable, payment_already_captured, payment_capture_in_progress, version_conflict")))]
pub async fn void(
    State(app): State<Arc<App>>,
    caller: Staff<Serves>,
    Path((id, payment)): Path<(String, String)>,
) -> Result<Wrote<OrderBody>, Problem> {
    let (order_id, payment_id) = (order_id(&id)?, payment_id(&payment)?);
    let (operation_id, if_match) = (OperationId::new(infra::clock::new_id()), caller.if_match()?);
    let idempotency = caller.idempotency(&(), false)?;
    let decide = move |streams: &mut Streams<'_>| payment::void(streams, order_id, payment_id, operation_id, if_match);
    app.order_command(&caller, order_id, idempotency, decide).await
}

/// Gives money back: an amount, units of lines, or all that is left.
#[utoipa::path(post, path = "/admin/orders/{id}/refunds", tag = "merchants", operation_id = "refund_order", params(("id" = String, Path)), request_body = RefundBody,
    responses((status = 200, body = OrderBody, description = "the order; the outcome comes later"), (status = 404, description = "not_found"),
        (status = 409, description = "payment_not_refundable {refundable}, line_not_refundable {line_id, refundable}, dispute_open, version_conflict"), (status = 422, description = "validation_failed")))]
pub async fn refund(
    State(app): State<Arc<App>>,
    caller: Staff<Serves>,
    Path(id): Path<String>,
    Body(body): Body<RefundBody>,
) -> Result<Wrote<OrderBody>, Problem> {
    let order_id = order_id(&id)?;
    check_reason(&body.reason)?;
    let of = match (&body.amount, &body.lines) {
        (None, None) => RefundOf::Rest,
        (amount @ Some(_), None) => RefundOf::Amount(app.amount(order_id, amount.as_ref()).await?.unwrap_or_default()),
        (None, Some(lines)) => RefundOf::Lines(app.lines_of(order_id, lines).await?),
        (Some(_), Some(_)) => {
            let detail = "name either an amount or lines";
            return Err(Problem::invalid("/lines", "invalid", detail));
        }
    };
    let operation_id = OperationId::new(infra::clock::new_id());
    let wanted = Refund { operation_id, of, reason: body.reason.clone(), if_match: caller.if_match()? };
    let idempotency = caller.idempotency(&body, false)?;
    let decide = move |streams: &mut Streams<'_>| payment::refund(streams, order_id, &wanted);
    app.order_command(&caller, order_id, idempotency, decide).await
}

/// Cancels an order, or units of its lines: their stock is free, what was paid for them goes back.
#[utoipa::path(post, path = "/admin/orders/{id}/cancel", tag = "merchants", operation_id = "cancel_lines", params(("id" = String, Path)), request_body = CancelBody,
    responses((status = 200, body = OrderBody, description = "the order"), (status = 404, description = "not_found"),
        (status = 409, description = "order_status, order_shipped, line_not_cancellable, version_conflict"), (status = 422, description = "validation_failed")))]
pub async fn cancel(
    State(app): State<Arc<App>>,
    caller: Staff<Serves>,
    Path(id): Path<String>,
    Body(body): Body<CancelBody>,
) -> Result<Wrote<OrderBody>, Problem> {
    let order_id = order_id(&id)?;
    check_reason(&body.reason)?;
    let cancel = Cancel { by: "staff", reason: body.reason.clone(), if_match: caller.if_match()? };
    let idempotency = caller.idempotency(&body, false)?;
    let Some(lines) = &body.lines else {
        let decide = move |streams: &mut Streams<'_>| order::cancel(streams, order_id, &cancel);
        return app.order_command(&caller, order_id, idempotency, decide).await;
    };
    let units = app.units_of(order_id, lines).await?;
    let cancellation_id = CancellationId::new(infra::clock::new_id());
    let wanted = CancelUnits { cancellation_id, lines: units, note: body.note.clone(), cancel };
    let decide = move |streams: &mut Streams<'_>| order::cancel_lines(streams, order_id, &wanted);
    app.order_command(&caller, order_id, idempotency, decide).await
}

/// Units leave together; all that is left unless lines are named. With the last of a paid order it is complete.
#[utoipa::path(post, path = "/admin/orders/{id}/fulfilments", tag = "merchants", operation_id = "ship_order", params(("id" = String, Path)), request_body = ShipBody,
    responses((status = 200, body = OrderBody, description = "the order"), (status = 404, description = "not_found"),
        (status = 409, description = "order_status, order_on_hold, line_not_shippable {line_id, shippable}, not_on_hand {line_id, on_hand}, version_conflict"),
        (status = 422, description = "validation_failed")))]
pub async fn ship(
    State(app): State<Arc<App>>,
    caller: Staff<Ships>,
    Path(id): Path<String>,
    Body(body): Body<ShipBody>,
) -> Result<Wrote<OrderBody>, Problem> {
    let order_id = order_id(&id)?;
    let lines = match &body.lines {
        None => None,
        Some(lines) => Some(app.units_of(order_id, lines).await?),
    };
    let wanted = Ship {
        fulfilment_id: FulfilmentId::new(infra::clock::new_id()),
        lines,
        tracking: body.tracking.clone(),
        if_match: caller.if_match()?,
    };
    let idempotency = caller.idempotency(&body, false)?;
    let decide = move |streams: &mut Streams<'_>| order::ship(streams, order_id, &wanted);
    app.order_command(&caller, order_id, idempotency, decide).await
}

/// What had left has arrived.
#[utoipa::path(post, path = "/admin/orders/{id}/fulfilments/{fulfilment}/deliver", tag = "merchants", operation_id = "deliver_fulfilment",
    params(("id" = String, Path), ("fulfilment" = String, Path)),
    responses((status = 200, body = OrderBody, description = "the order"), (status = 404, description = "not_found"), (status = 409, description = "version_conflict")))]
pub async fn deliver(
    State(app): State<Arc<App>>,
    caller: Staff<Ships>,
    Path((id, fulfilment)): Path<(String, String)>,
) -> Result<Wrote<OrderBody>, Problem> {
    let order_id = order_id(&id)?;
    let fulfilment_id: FulfilmentId = fulfilment.parse().map_err(|_| Problem::not_found("shipment"))?;
    let if_match = caller.if_match()?;
    let idempotency = caller.idempotency(&(), false)?;
    let decide = move |streams: &mut Streams<'_>| order::deliver(streams, order_id, fulfilment_id, if_match);
    app.order_command(&caller, order_id, idempotency, decide).await
}

/// Nothing of the order is to leave for now.
#[utoipa::path(post, path = "/admin/orders/{id}/hold", tag = "merchants", operation_id = "hold_order", params(("id" = String, Path)), request_body = ReasonBody,
    responses((status = 200, body = OrderBody, description = "the order"), (status = 404, description = "not_found"), (status = 409, description = "order_status, version_conflict")))]
pub async fn hold(
    State(app): State<Arc<App>>,
    caller: Staff<Serves>,
    Path(id): Path<String>,
    Body(body): Body<ReasonBody>,
) -> Result<Wrote<OrderBody>, Problem> {
    let order_id = order_id(&id)?;
    check_reason(&body.reason)?;
    let (reason, if_match) = (body.reason.clone(), caller.if_match()?);
    let idempotency = caller.idempotency(&body, false)?;
    let decide = move |streams: &mut Streams<'_>| order::hold(streams, order_id, &reason, if_match);
    app.order_command(&caller, order_id, idempotency, decide).await
}

/// The order may leave again.
#[utoipa::path(post, path = "/admin/orders/{id}/release", tag = "merchants", operation_id = "release_order", params(("id" = String, Path)), request_body = ReasonBody,
    responses((status = 200, body = OrderBody, description = "the order"), (status = 404, description = "not_found"), (status = 409, description = "version_conflict")))]
pub async fn release(
    State(app): State<Arc<App>>,
    caller: Staff<Serves>,
    Path(id): Path<String>,
    Body(body): Body<ReasonBody>,
) -> Result<Wrote<OrderBody>, Problem> {
    let order_id = order_id(&id)?;
    check_reason(&body.reason)?;
    let (reason, if_match) = (body.reason.clone(), caller.if_match()?);
    let idempotency = caller.idempotency(&body, false)?;
    let decide = move |streams: &mut Streams<'_>| order::release(streams, order_id, &reason, if_match);
    app.order_command(&caller, order_id, idempotency, decide).await
}

impl App {
    /// Minor units of a request: a whole number, or money in the order's currency.
    async fn amount(&self, order_id: OrderId, value: Option<&Value>) -> Result<Option<i64>, Problem> {
        let Some(value) = value else { return Ok(None) };
        let (order, _) = self.loader.load::<Order>(&order_id.to_string()).await?;
        let currency = order.placed().ok_or_else(|| Problem::not_found("order"))?.facts.currency;
        let amount = value.as_i64().or_else(|| value["amount"].as_i64());
        let is_ours = value.get("currency").is_none_or(|named| named == currency.as_str())
            && value.get("exponent").is_none_or(|named| named == currency.exponent());
        amount.filter(|amount| is_ours && *amount > 0).map(Some).ok_or_else(|| {
            let detail = format!("amount must be minor units above zero, or money in {currency}");
            Problem::invalid("/amount", "invalid", detail)
        })
    }

    /// Units by line; a line that is named twice counts twice.
    async fn units_of(&self, order_id: OrderId, wanted: &[LineUnits]) -> Result<BTreeMap<LineId, u32>, Problem> {
        let mut units: BTreeMap<LineId, u32> = BTreeMap::new();
        for (line_id, quantity) in self.lines_of(order_id, wanted).await? {
            let sum = units.entry(line_id).or_default();
            *sum = sum.saturating_add(quantity);
        }
        Ok(units)
    }

    /// The ids of an order's lines that a request names by id or sku.
    async fn lines_of(&self, order_id: OrderId, wanted: &[LineUnits]) -> Result<Vec<(LineId, u32)>, Problem> {
        let (order, _) = self.loader.load::<Order>(&order_id.to_string()).await?;
        let facts = &order.placed().ok_or_else(|| Problem::not_found("order"))?.facts;
        let mut lines = Vec::with_capacity(wanted.len());
        for units in wanted {
            let line_id = if let Ok(line_id) = units.line_id.parse::<LineId>() {
                line_id
            } else {
                let mut of_sku = facts.lines.iter().filter(|line| line.sku.as_deref() == Some(&units.line_id));
                let line = of_sku.next().ok_or_else(|| Problem::not_found("line"))?;
                if of_sku.next().is_some() {
                    return Err(Problem::new("ambiguous_line", "several lines of the order have this sku; name the line by its id"));
                }
                line.line_id
            };
            lines.push((line_id, units.quantity));
        }
        Ok(lines)
    }
}

fn order_id(id: &str) -> Result<OrderId, Problem> {
    id.parse().map_err(|_| Problem::not_found("order"))
}

fn payment_id(id: &str) -> Result<PaymentId, Problem> {
    id.parse().map_err(|_| Problem::not_found("payment"))
}

/// A reason stands in the log for ever, in clear: a code, and nothing about anybody.
fn check_reason(reason: &str) -> Result<(), Problem> {
    let is_plain = reason.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b" _-".contains(&byte));
    if is_plain && (1..=REASON_CHARS_MAX).contains(&reason.trim().len()) {
        return Ok(());
    }
    let detail = format!("a reason of 1 to {REASON_CHARS_MAX} small letters, digits, spaces, _ and - is needed, such as out_of_stock");
    Err(Problem::invalid("/reason", "invalid", detail))
}
