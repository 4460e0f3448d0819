//! Orders after they are placed: expiry and cancelling. Each function is a decision, to be run by the writer.

use domain::cart::{Cart, CartCommand};
use domain::id::OrderId;
use domain::order::{Order, OrderCommand, OrderStage};

use crate::answer::Refusal;
use crate::cart;
use crate::catalog::check_version;
use crate::checkout::{order_key, scope};
use crate::payment::{order_refusal, release};
use crate::streams::{Stop, Streams};
use crate::whole_order::WholeOrder;

/// The payment deadline has passed. An order that is paid, or being paid, is left alone; `false` says: look again later.
pub fn expire(streams: &mut Streams<'_>, order_id: OrderId) -> Result<bool, Stop> {
    let order = streams.get::<Order>(&order_key(order_id))?.clone();
    let Some(placed) = order.placed() else {
        return Ok(true);
    };
    if placed.stage != OrderStage::PendingPayment {
        return Ok(true);
    }
    if placed.live_payment.is_some() {
        return Ok(false);
    }
    end(streams, order_id, OrderCommand::Expire { reason: "payment_deadline".to_owned() }, "expired")?;
    Ok(true)
}

/// The shopper gives up an order that is not paid.
pub fn cancel(streams: &mut Streams<'_>, order_id: OrderId, by: &str, reason: &str, if_match: Option<i64>) -> Result<WholeOrder, Stop> {
    check_version(if_match, streams.version::<Order>(&order_key(order_id))?)?;
    let order = streams.get::<Order>(&order_key(order_id))?.clone();
    let placed = order.placed().ok_or_else(|| Refusal::not_found("order"))?;
    if placed.live_payment.is_some() {
        return Err(Refusal::new("payment_in_progress", "a payment of this order is in progress; wait for its outcome").into());
    }
    match placed.stage {
        OrderStage::Cancelled { .. } => {}
        OrderStage::PendingPayment => {
            let command = OrderCommand::Cancel { reason: reason.to_owned(), by: by.to_owned(), shipped: std::collections::BTreeMap::new() };
            end(streams, order_id, command, "cancelled")?;
        }
        _ => {
            let detail = format!("the order is {}; only unpaid orders can be cancelled here", placed.stage.as_str());
            return Err(Refusal::new("invalid_state", detail).into());
        }
    }
    streams.answer_with::<Order>(200, &order_key(order_id));
    WholeOrder::after(streams, order_id)
}

/// Ends a pending order: its stock is free again, its cart open.
fn end(streams: &mut Streams<'_>, order_id: OrderId, command: OrderCommand, reason: &str) -> Result<(), Stop> {
    let id = order_key(order_id);
    let order = streams.get::<Order>(&id)?.clone();
    let placed = order.placed().ok_or_else(|| Refusal::not_found("order"))?;
    let events = order.decide(command).map_err(|e| order_refusal(&e))?;
    streams.emit::<Order>(&id, events, Some(scope(placed.facts.subject_id.uuid())))?;
    release(streams, &placed.facts, reason)?;
    if let Some(key) = &placed.facts.cart {
        let state = streams.get::<Cart>(key.as_str())?;
        let subject_id = state.subject_id;
        let events = state.decide(CartCommand::Reopen { order_id, reason: reason.to_owned() }).map_err(cart::refusal)?;
        cart::emit(streams, key, subject_id, events)?;
    }
    Ok(())
}
