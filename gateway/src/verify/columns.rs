//! What the columns beside a row's state must say: from the domain's folds alone, never by the projection's own code.

use domain::cart::Cart;
use domain::catalog::{Product, Stage};
use domain::inventory::{StockEvent, StockItem, StockPolicy};
use domain::order::Order;
use domain::payment::Payment;
use domain::promotion::Promotion;
use infra::event_log::StoredEvent;
use serde_json::{Value, json};

/// The columns of one row as an object; those that are not named are not compared. `sold`: units allocated by the stream.
pub(super) type Columns<A> = fn(&A, i64) -> Value;

pub(super) fn product(product: &Product, _sold: i64) -> Value {
    json!({ "published": product.stage == Stage::Live && product.channels.contains("storefront") })
}

pub(super) fn none<A>(_aggregate: &A, _sold: i64) -> Value {
    json!({})
}

pub(super) fn stock(item: &StockItem, sold: i64) -> Value {
    let mut columns = json!({ "on_hand": 0, "allocated": 0, "reserved": 0 });
    for (_, level) in item.levels.iter() {
        for (name, units) in [("on_hand", level.on_hand), ("allocated", level.allocated), ("reserved", level.reserved)] {
            columns[name] = json!(columns[name].as_i64().unwrap_or(0) + units);
        }
    }
    let (policy, beyond) = match item.policy {
        StockPolicy::Deny => ("deny", Some(0)),
        StockPolicy::Backorder { limit } => ("backorder", limit),
        StockPolicy::Preorder { limit } => ("preorder", limit),
    };
    let left = i64::from(beyond.unwrap_or(u32::MAX)) + item.available().min(0);
    columns["available"] = json!(item.available());
    columns["policy"] = json!(policy);
    columns["backorder_left"] = json!(left.max(0));
    columns["sold"] = json!(sold);
    columns
}

pub(super) fn cart(cart: &Cart, _sold: i64) -> Value {
    json!({ "status": cart.stage.as_str(), "subject_id": cart.subject_id })
}

pub(super) fn order(order: &Order, _sold: i64) -> Value {
    let facts = order.placed().map(|placed| &placed.facts);
    json!({
        "status": order.status(), "number": facts.map(|f| &f.number), "subject_id": facts.map(|f| f.subject_id),
        "fulfilment_status": order.placed().map(domain::order::PlacedOrder::fulfilment_status),
        "on_hold": order.placed().map(|placed| placed.on_hold.is_some()),
    })
}

pub(super) fn payment(payment: &Payment, _sold: i64) -> Value {
    json!({ "order_id": payment.created.as_ref().map(|created| created.order_id) })
}

pub(super) fn promotion(promotion: &Promotion, _sold: i64) -> Value {
    let is_automatic = promotion.ended_at.is_none() && promotion.terms.as_ref().is_some_and(|terms| terms.automatic);
    json!({ "is_automatic": is_automatic })
}

/// Units that an event of stock gives to an order.
pub(super) fn units_allocated(event: &StoredEvent) -> i64 {
    if event.event_type != "StockAllocated" {
        return 0;
    }
    let number = commands::loader::version_number(&event.event_version);
    match domain::event::Event::from_payload(&event.event_type, number, &event.payload) {
        Ok(StockEvent::StockAllocated(allocated)) => allocated.parts.iter().map(|part| i64::from(part.quantity)).sum(),
        // An event that can't be read is reported where it is folded.
        _ => 0,
    }
}
