//! The ledger of a variant's stock: what moved, where and why.

use chrono::{DateTime, Utc};
use domain::id::{LocationId, OrderId};
use domain::inventory::{Part, StockEvent};
use infra::event_log::StoredEvent;
use serde::Serialize;
use utoipa::ToSchema;

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

/// One entry per location that the event is about; one without a location where it is about none.
pub(super) fn entries(stored: &StoredEvent, event: &StockEvent) -> Vec<LedgerEntry> {
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
    use commands::inventory;
    use domain::inventory::StockAdjusted;

    use super::*;

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
}
