//! Attempts to pay: one is live at a time. Whoever begins another gives the one before up, in the same append.

use domain::id::OrderId;
use domain::money::Money;
use domain::order::{Order, OrderCommand, OrderEvent, OrderStage, PlacedOrder};
use domain::payment::{OperationKind, Outcome, Payment, PaymentCommand, PaymentEvent, Start};

use super::{covering, let_go, order_refusal, payment_refusal};
use crate::answer::Refusal;
use crate::checkout::{Attempt, Placed, order_key, scope};
use crate::streams::{Stop, Streams};
use crate::whole_order::WholeOrder;

/// An attempt that begins: what the order and what the payment say of it, to be emitted in this order.
pub(crate) struct Opened {
    pub(crate) order_events: Vec<OrderEvent>,
    payment_events: Vec<PaymentEvent>,
    payment_id: domain::id::PaymentId,
}

impl Opened {
    pub(crate) fn emit_payment(self, streams: &mut Streams<'_>) -> Result<(), Stop> {
        streams.emit::<Payment>(&self.payment_id.to_string(), self.payment_events, None)
    }
}

/// Opens an attempt; nothing is emitted yet.
pub(crate) fn open(streams: &mut Streams<'_>, order: &Order, order_id: OrderId, attempt: &Attempt, amount: Money) -> Result<Opened, Stop> {
    let payment_id = attempt.payment_id;
    let order_events = order.decide(OrderCommand::OpenPayment { payment_id, amount }).map_err(|e| order_refusal(&e))?;
    let placed = order.placed().ok_or_else(|| Refusal::not_found("order"))?;
    let tender = placed.facts.tenders.first().ok_or_else(|| Refusal::new("invalid_state", "the order needs no payment"))?;
    let start = Start {
        payment_id,
        order_id,
        tender_id: tender.tender_id,
        provider: attempt.provider.clone(),
        amount,
        capture: attempt.capture,
        operation_id: attempt.operation_id,
        idempotency_key: attempt.operation_id.to_string(),
    };
    let payment = streams.create::<Payment>(&payment_id.to_string())?;
    let payment_events = payment.decide(PaymentCommand::Start(start)).map_err(|e| payment_refusal(&e))?;
    Ok(Opened { order_events, payment_events, payment_id })
}

/// A new attempt for an order that waits for money and has no live one; otherwise nothing.
pub(crate) fn start_again(streams: &mut Streams<'_>, order_id: OrderId, attempt: &Attempt) -> Result<bool, Stop> {
    let key = order_key(order_id);
    let order = streams.after::<Order>(&key)?;
    let placed = order.placed().ok_or_else(|| Refusal::not_found("order"))?;
    if placed.live_payment.is_some() {
        return Ok(false);
    }
    let amount = match still_owed(streams, placed)? {
        Some(amount) if amount.amount() > 0 => amount,
        _ => return Ok(false),
    };
    let attempts = placed.payments.len();
    if attempts >= attempt.attempts_max {
        let detail = format!("{attempts} attempts to pay this order were made, and no more are; cancel it and order anew");
        return Err(Refusal::new("payment_attempts_exhausted", detail).into());
    }
    let subject_id = placed.facts.subject_id.uuid();
    let mut opened = open(streams, &order, order_id, attempt, amount)?;
    streams.emit::<Order>(&key, std::mem::take(&mut opened.order_events), Some(scope(subject_id)))?;
    opened.emit_payment(streams)?;
    Ok(true)
}

/// `POST /orders/{id}/payments`: another attempt. One that waits for the shopper or for the provider's late word is given up for it;
/// one that is being asked for right now is not.
pub fn pay(streams: &mut Streams<'_>, order_id: OrderId, attempt: &Attempt) -> Result<Placed, Stop> {
    let key = order_key(order_id);
    let order = streams.get::<Order>(&key)?.clone();
    let placed = order.placed().ok_or_else(|| Refusal::not_found("order"))?;
    if let Some(live) = &placed.live_payment {
        let id = live.payment_id.to_string();
        let payment = streams.get::<Payment>(&id)?.clone();
        let authorization = payment.of_kind(OperationKind::Authorize).last().map(|operation| &operation.outcome);
        let waits = matches!(authorization, Some(Outcome::ActionRequired { .. } | Outcome::Pending | Outcome::Unknown));
        if payment.authorized() > 0 {
            return Err(Refusal::new("order_needs_no_payment", "the order's money is authorised; nothing more is to be paid").into());
        }
        if !waits {
            let detail = "a payment of this order is being made; wait for its outcome, then try again if it failed";
            return Err(Refusal::new("payment_in_progress", detail).into());
        }
        let people = scope(placed.facts.subject_id.uuid());
        let close = OrderCommand::ClosePayment { payment_id: live.payment_id, outcome: "superseded".to_owned() };
        let closed = order.decide(close).map_err(|e| order_refusal(&e))?;
        streams.emit::<Order>(&key, closed, Some(people))?;
        let given_up = let_go(&payment, live.payment_id, "superseded");
        streams.emit::<Payment>(&id, given_up, Some(people))?;
    }
    let status = order.status();
    if !start_again(streams, order_id, attempt)? {
        return Err(Refusal::new("order_needs_no_payment", format!("the order is {status}; it needs no payment")).into());
    }
    streams.answer_with::<Order>(201, &key);
    Ok(Placed { order: WholeOrder::after(streams, order_id)?, started: Some(attempt.payment_id) })
}

/// What an order that may still be paid lacks; `None`: its time is over.
fn still_owed(streams: &mut Streams<'_>, placed: &PlacedOrder) -> Result<Option<Money>, Stop> {
    if !matches!(placed.stage, OrderStage::PendingPayment | OrderStage::Confirmed { .. }) {
        return Ok(None);
    }
    let owed = placed.amount_owed().map_err(|e| Refusal::new("invalid_state", e.to_string()))?;
    let paid = if placed.payments.is_empty() { 0 } else { covering(streams, placed, None)? };
    Ok(Money::new((owed.amount() - paid).max(0), owed.currency()).ok())
}
