//! Orders after they are placed: expiry, cancelling, holds, shipping. Each function is a decision, to be run by the writer.

pub(crate) mod promise;

use std::collections::BTreeMap;

use chrono::{DateTime, Duration, Utc};
use domain::cart::{Cart, CartCommand};
use domain::id::{CancellationId, FulfilmentId, LineId, OperationId, OrderId, RefundId};
use domain::money::Money;
use domain::order::{CancelLines, Order, OrderCommand, OrderEvent, OrderStage, PAY_LATER, PlacedOrder};
use domain::payment::{Payment, PaymentCommand, RefundRequested};
use domain::personal::Personal;
use uuid::Uuid;

use crate::answer::Refusal;
use crate::cart;
use crate::catalog::check_version;
use crate::checkout::{order_key, scope};
use crate::payment::{self, CAPTURE_FAILED, PAYMENT_UNKNOWN, PAYMENT_VOIDED, let_go, order_refusal};
use crate::promotion;
use crate::streams::{Stop, Streams};
use crate::whole_order::WholeOrder;

/// What is to be done with a payment deadline that was looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Due {
    /// Nothing more: the order is paid, over, or waits for a person.
    Done,
    LookAgain(DateTime<Utc>),
}

/// The payment deadline has passed. A live attempt is let go of first, and its outcome lets the order expire; one whose outcome can't
/// be had for `unknown_max` leaves the order to a person, its stock held.
pub fn expire(streams: &mut Streams<'_>, order_id: OrderId, unknown_max: Duration) -> Result<Due, Stop> {
    let order = streams.get::<Order>(&order_key(order_id))?.clone();
    let Some(placed) = order.placed().filter(|placed| placed.stage == OrderStage::PendingPayment) else { return Ok(Due::Done) };
    let Some(live) = &placed.live_payment else {
        end(streams, placed, expired(), "expired")?;
        return Ok(Due::Done);
    };
    if placed.on_hold.is_some() {
        return Ok(Due::Done);
    }
    let id = live.payment_id.to_string();
    let events = let_go(streams.get::<Payment>(&id)?, live.payment_id, "payment_deadline");
    let given_up_at = placed.facts.payment_deadline.unwrap_or(placed.facts.placed_at) + unknown_max;
    if events.is_empty() && given_up_at <= streams.now {
        hold_for_payment(streams, placed, PAYMENT_UNKNOWN)?;
        return Ok(Due::Done);
    }
    streams.emit::<Payment>(&id, events, Some(scope(placed.facts.subject_id.uuid())))?;
    Ok(Due::LookAgain(given_up_at.max(streams.now + Duration::seconds(1))))
}

/// Who cancels, and why.
#[derive(Debug, Clone)]
pub struct Cancel {
    /// `shopper`, `staff`.
    pub by: &'static str,
    pub reason: String,
    pub if_match: Option<i64>,
}

/// Gives an order up of which nothing has left: its stock is free, its cart, if it was not paid, open again, its money let go of or
/// on its way back.
pub fn cancel(streams: &mut Streams<'_>, order_id: OrderId, cancel: &Cancel) -> Result<WholeOrder, Stop> {
    let id = order_key(order_id);
    check_version(cancel.if_match, streams.version::<Order>(&id)?)?;
    let order = streams.get::<Order>(&id)?.clone();
    let placed = order.placed().ok_or_else(|| Refusal::not_found("order"))?;
    if !matches!(placed.stage, OrderStage::Cancelled { .. }) {
        let command = OrderCommand::Cancel { reason: cancel.reason.clone(), by: cancel.by.to_owned() };
        end(streams, placed, command, "cancelled")?;
        let_all_go(streams, placed, "the order is cancelled")?;
    }
    streams.answer_with::<Order>(200, &id);
    WholeOrder::after(streams, order_id)
}

/// Units of a confirmed order to be cancelled, with fresh ids for what follows from it.
#[derive(Debug, Clone)]
pub struct CancelUnits {
    pub cancellation_id: CancellationId,
    pub lines: BTreeMap<LineId, u32>,
    pub note: Option<String>,
    pub cancel: Cancel,
}

/// Cancels units: their stock is free, and what was paid for them goes back. With the last unit the order is cancelled as a whole.
pub fn cancel_lines(streams: &mut Streams<'_>, order_id: OrderId, wanted: &CancelUnits) -> Result<WholeOrder, Stop> {
    let id = order_key(order_id);
    check_version(wanted.cancel.if_match, streams.version::<Order>(&id)?)?;
    let order = streams.get::<Order>(&id)?.clone();
    let placed = order.placed().ok_or_else(|| Refusal::not_found("order"))?;
    if placed.stage == OrderStage::PendingPayment {
        let detail = "the order is not paid yet; cancel all of it, or wait for its payment";
        return Err(Refusal::new("order_status", detail).into());
    }
    let command = OrderCommand::CancelLines(CancelLines {
        cancellation_id: wanted.cancellation_id,
        lines: wanted.lines.clone(),
        reason: wanted.cancel.reason.clone(),
        note: wanted.note.clone().map(Personal::Known),
        by: wanted.cancel.by.to_owned(),
    });
    let events = order.decide(command).map_err(|e| order_refusal(&e))?;
    let is_whole = events.iter().any(|event| matches!(event, OrderEvent::OrderCancelled(_)));
    let people = scope(placed.facts.subject_id.uuid());
    streams.emit::<Order>(&id, events, Some(people))?;
    promise::give_back_units(streams, &placed.facts, &wanted.lines, "cancelled")?;
    if is_whole {
        let_all_go(streams, placed, "the order is cancelled")?;
    } else {
        refund_excess(streams, order_id, wanted)?;
        complete_if_done(streams, placed)?;
    }
    streams.answer_with::<Order>(200, &id);
    WholeOrder::after(streams, order_id)
}

/// What leaves together.
#[derive(Debug, Clone)]
pub struct Ship {
    pub fulfilment_id: FulfilmentId,
    /// All that is left unless given.
    pub lines: Option<BTreeMap<LineId, u32>>,
    pub tracking: Option<String>,
    pub if_match: Option<i64>,
}

/// Units leave: out of the stock, and with the last of a paid order it is complete.
pub fn ship(streams: &mut Streams<'_>, order_id: OrderId, wanted: &Ship) -> Result<WholeOrder, Stop> {
    let id = order_key(order_id);
    check_version(wanted.if_match, streams.version::<Order>(&id)?)?;
    let order = streams.get::<Order>(&id)?.clone();
    let placed = order.placed().ok_or_else(|| Refusal::not_found("order"))?;
    let all = || placed.facts.lines.iter().map(|line| (line.line_id, placed.unshipped_units(line.line_id))).filter(|(_, left)| *left > 0);
    let lines: BTreeMap<LineId, u32> = wanted.lines.clone().unwrap_or_else(|| all().collect());
    if wanted.lines.is_none() && lines.is_empty() && matches!(placed.stage, OrderStage::Confirmed { .. }) {
        return Err(Refusal::new("line_not_shippable", "all of the order has left or was cancelled; nothing is to be shipped").into());
    }
    let tracking = wanted.tracking.clone().map(Personal::Known);
    let command = OrderCommand::Ship { fulfilment_id: wanted.fulfilment_id, lines: lines.clone(), tracking };
    let events = order.decide(command).map_err(|e| order_refusal(&e))?;
    check_covered(streams, placed)?;
    streams.emit::<Order>(&id, events, Some(scope(placed.facts.subject_id.uuid())))?;
    promise::ship(streams, &placed.facts, wanted.fulfilment_id, &lines)?;
    complete_if_done(streams, placed)?;
    streams.answer_with::<Order>(200, &id);
    WholeOrder::after(streams, order_id)
}

/// Nothing leaves for which there is no money, taken or set aside.
fn check_covered(streams: &mut Streams<'_>, order: &PlacedOrder) -> Result<(), Stop> {
    if order.facts.terms == PAY_LATER {
        return Ok(());
    }
    // Where a merchant gave some of it back, that was for what is shipped all the same; where all of it, nothing is to leave. What is
    // being let go of covers nothing any more, nor does what nobody knows the outcome of.
    let set_aside = |payment: &Payment| {
        let taken = if payment.refundable() > 0 { payment.captured() } else { 0 };
        taken + payment.capturable() + payment.being_captured()
    };
    let covered: i64 = payment::payments(streams, order)?.iter().map(|(_, payment)| set_aside(payment)).sum();
    let owed = order.amount_owed().map_or(i64::MAX, Money::amount);
    if covered >= owed {
        return Ok(());
    }
    let detail = "the order's money was let go of or given back; have it paid anew, then ship it";
    Err(Refusal::new("order_not_covered", detail).fact("covered", covered).fact("owed", owed).into())
}

/// What had left has arrived.
pub fn deliver(
    streams: &mut Streams<'_>,
    order_id: OrderId,
    fulfilment_id: FulfilmentId,
    if_match: Option<i64>,
) -> Result<WholeOrder, Stop> {
    simply(streams, order_id, OrderCommand::Deliver { fulfilment_id }, if_match)
}

/// An order is complete when all of it has left and all of its money has come.
pub(crate) fn complete_if_done(streams: &mut Streams<'_>, order: &PlacedOrder) -> Result<(), Stop> {
    let now = streams.after::<Order>(&order_key(order.facts.order_id))?;
    let Some(placed) = now.placed().filter(|placed| matches!(placed.stage, OrderStage::Confirmed { .. })) else { return Ok(()) };
    if placed.on_hold.is_some() || placed.shipments.is_empty() || !placed.is_all_shipped() {
        return Ok(());
    }
    let is_paid = placed.facts.terms == PAY_LATER || {
        let payments = payment::payments(streams, placed)?;
        let captured: i64 = payments.iter().map(|(_, payment)| payment.captured()).sum();
        captured >= placed.amount_owed().map_or(i64::MAX, Money::amount)
    };
    if is_paid { decide_after(streams, order, OrderCommand::Complete) } else { Ok(()) }
}

/// Nothing of it is to leave for now.
pub fn hold(streams: &mut Streams<'_>, order_id: OrderId, reason: &str, if_match: Option<i64>) -> Result<WholeOrder, Stop> {
    simply(streams, order_id, OrderCommand::Hold { reason: reason.to_owned() }, if_match)
}

/// It may leave again.
pub fn release(streams: &mut Streams<'_>, order_id: OrderId, reason: &str, if_match: Option<i64>) -> Result<WholeOrder, Stop> {
    simply(streams, order_id, OrderCommand::Release { reason: reason.to_owned() }, if_match)
}

fn simply(streams: &mut Streams<'_>, order_id: OrderId, command: OrderCommand, if_match: Option<i64>) -> Result<WholeOrder, Stop> {
    let id = order_key(order_id);
    check_version(if_match, streams.version::<Order>(&id)?)?;
    let order = streams.get::<Order>(&id)?;
    let subject_id = order.placed().ok_or_else(|| Refusal::not_found("order"))?.facts.subject_id;
    let events = order.decide(command).map_err(|e| order_refusal(&e))?;
    streams.emit::<Order>(&id, events, Some(scope(subject_id.uuid())))?;
    streams.answer_with::<Order>(200, &id);
    WholeOrder::after(streams, order_id)
}

/// An order waits for a person because of its payment; one that waits already goes on waiting for what it waits for.
pub(crate) fn hold_for_payment(streams: &mut Streams<'_>, order: &PlacedOrder, reason: &str) -> Result<(), Stop> {
    decide_after(streams, order, OrderCommand::Hold { reason: reason.to_owned() })
}

/// What it waited for has come.
pub(crate) fn release_from_payment_hold(streams: &mut Streams<'_>, order: &PlacedOrder) -> Result<(), Stop> {
    match order.on_hold.as_deref() {
        Some(CAPTURE_FAILED | PAYMENT_UNKNOWN | PAYMENT_VOIDED) => {
            decide_after(streams, order, OrderCommand::Release { reason: "payment".to_owned() })
        }
        _ => Ok(()),
    }
}

pub(crate) fn expired() -> OrderCommand {
    OrderCommand::Expire { reason: "payment_deadline".to_owned() }
}

/// Ends an order: its stock is free again, its cart, if it has not become the order for good, open.
pub(crate) fn end(streams: &mut Streams<'_>, order: &PlacedOrder, command: OrderCommand, reason: &str) -> Result<(), Stop> {
    let facts = &order.facts;
    decide_after(streams, order, command)?;
    promise::give_back(streams, facts, reason)?;
    promotion::release(streams, facts, reason)?;
    if let Some(key) = &facts.cart {
        let state = streams.get::<Cart>(key.as_str())?;
        let subject_id = state.subject_id;
        let reopen = CartCommand::Reopen { order_id: facts.order_id, reason: reason.to_owned() };
        let events = state.decide(reopen).map_err(cart::refusal)?;
        cart::emit(streams, key, subject_id, events)?;
    }
    Ok(())
}

fn decide_after(streams: &mut Streams<'_>, order: &PlacedOrder, command: OrderCommand) -> Result<(), Stop> {
    let id = order_key(order.facts.order_id);
    let events = streams.after::<Order>(&id)?.decide(command).map_err(|e| order_refusal(&e))?;
    streams.emit::<Order>(&id, events, Some(scope(order.facts.subject_id.uuid())))
}

/// The fate of all money of an order that is over.
fn let_all_go(streams: &mut Streams<'_>, order: &PlacedOrder, reason: &str) -> Result<(), Stop> {
    for (payment_id, payment) in payment::payments(streams, order)? {
        let events = let_go(&payment, payment_id, reason);
        streams.emit::<Payment>(&payment_id.to_string(), events, Some(scope(order.facts.subject_id.uuid())))?;
    }
    Ok(())
}

/// What was paid for cancelled units goes back, from the order's payments in turn.
fn refund_excess(streams: &mut Streams<'_>, order_id: OrderId, wanted: &CancelUnits) -> Result<(), Stop> {
    let order = streams.after::<Order>(&order_key(order_id))?;
    let placed = order.placed().ok_or_else(|| Refusal::not_found("order"))?;
    let owed = placed.amount_owed().map_or(i64::MAX, Money::amount);
    let payments = payment::payments(streams, placed)?;
    let mut excess = payments.iter().map(|(_, payment)| payment.covering()).sum::<i64>().saturating_sub(owed);
    for (payment_id, payment) in payments {
        let part = excess.min(payment.refundable());
        let Some(amount) = Money::new(part, placed.facts.currency).ok().filter(|amount| amount.amount() > 0) else { continue };
        excess -= part;
        let operation_id = OperationId::new(Uuid::new_v5(&wanted.cancellation_id.uuid(), format!("refund:{payment_id}").as_bytes()));
        let refund = RefundRequested {
            operation_id,
            refund_id: RefundId::new(operation_id.uuid()),
            idempotency_key: operation_id.to_string(),
            amount,
            reason: wanted.cancel.reason.clone(),
            allocation: Vec::new(),
        };
        let events = payment.decide(PaymentCommand::RequestRefund(refund)).unwrap_or_default();
        streams.emit::<Payment>(&payment_id.to_string(), events, Some(scope(placed.facts.subject_id.uuid())))?;
    }
    Ok(())
}
