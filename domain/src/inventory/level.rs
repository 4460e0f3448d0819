//! The numbers of a variant's stock, by location.
//!
//! Kept apart from who holds what: levels follow from the events alone and are small, so that a
//! decision can look at the levels after it without copying thousands of holds.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{Part, StockEvent, Transfer};
use crate::id::{LocationId, TransferId};

/// The stock at one location, in units.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Level {
    pub on_hand: i64,
    /// Promised to confirmed orders.
    pub allocated: i64,
    /// Held for carts and for orders that wait for their payment.
    pub reserved: i64,
    /// Never sold.
    pub safety: i64,
    /// On the way here.
    pub incoming: i64,
    /// Of what is allocated and reserved: the units that were promised beyond what is there.
    pub backordered: i64,
}

impl Level {
    #[must_use]
    pub const fn available(&self) -> i64 {
        self.on_hand - self.allocated - self.reserved - self.safety
    }

    /// Units that were promised as being here and aren't, the safety stock being kept.
    #[must_use]
    pub fn shortfall(&self) -> i64 {
        let promised = self.allocated + self.reserved - self.backordered;
        (promised + self.safety - self.on_hand).clamp(0, promised.max(0))
    }
}

/// The levels of all locations that ever had stock.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Levels(BTreeMap<LocationId, Level>);

impl Levels {
    #[must_use]
    pub fn available(&self) -> i64 {
        self.0.values().map(Level::available).sum()
    }

    /// The level of a location; of one that never had stock, zeros.
    #[must_use]
    pub fn at(&self, location_id: LocationId) -> Level {
        self.0.get(&location_id).copied().unwrap_or_default()
    }

    pub fn iter(&self) -> impl Iterator<Item = (&LocationId, &Level)> {
        self.0.iter()
    }

    pub(super) fn apply(&mut self, event: &StockEvent, transfers: &BTreeMap<TransferId, Transfer>) {
        match event {
            StockEvent::StockPolicyChanged(changed) => {
                for safety in &changed.safety {
                    self.edit(safety.location_id).safety = i64::from(safety.quantity);
                }
            }
            StockEvent::StockReceived(received) => {
                self.edit(received.location_id).on_hand += i64::from(received.quantity);
            }
            StockEvent::StockCounted(counted) => {
                self.edit(counted.location_id).on_hand = i64::from(counted.counted);
            }
            StockEvent::StockAdjusted(adjusted) => {
                self.edit(adjusted.location_id).on_hand += adjusted.delta;
            }
            StockEvent::StockReserved(reserved) => self.reserve(&reserved.parts, 1),
            StockEvent::ReservationReleased(released) => self.reserve(&released.parts, -1),
            StockEvent::ReservationExpired(expired) => self.reserve(&expired.parts, -1),
            StockEvent::StockAllocated(allocated) => {
                if allocated.hold_id.is_some() {
                    self.reserve(&allocated.parts, -1);
                }
                self.allocate(&allocated.parts, 1);
            }
            StockEvent::AllocationReleased(released) => self.allocate(&released.parts, -1),
            StockEvent::StockShipped(shipped) => {
                self.allocate(&shipped.parts, -1);
                for part in &shipped.parts {
                    self.edit(part.location_id).on_hand -= i64::from(part.quantity);
                }
            }
            StockEvent::StockReturned(returned) if returned.condition == "sellable" => {
                self.edit(returned.location_id).on_hand += i64::from(returned.quantity);
            }
            StockEvent::StockTransferDispatched(dispatched) => {
                self.edit(dispatched.from).on_hand -= i64::from(dispatched.quantity);
                self.edit(dispatched.to).incoming += i64::from(dispatched.quantity);
            }
            StockEvent::StockTransferReceived(received) => {
                if let Some(transfer) = transfers.get(&received.transfer_id) {
                    let level = self.edit(transfer.to);
                    level.incoming -= i64::from(transfer.quantity);
                    level.on_hand += i64::from(received.received);
                }
            }
            StockEvent::StockItemOpened(_)
            | StockEvent::ReservationExtended(_)
            | StockEvent::StockReturned(_)
            | StockEvent::StockShortfall(_)
            | StockEvent::LowStockReached(_)
            | StockEvent::OutOfStock(_)
            | StockEvent::BackInStock(_) => {}
        }
    }

    fn reserve(&mut self, parts: &[Part], sign: i64) {
        for part in parts {
            let units = sign * i64::from(part.quantity);
            let level = self.edit(part.location_id);
            level.reserved += units;
            level.backordered += if part.backordered { units } else { 0 };
        }
    }

    fn allocate(&mut self, parts: &[Part], sign: i64) {
        for part in parts {
            let units = sign * i64::from(part.quantity);
            let level = self.edit(part.location_id);
            level.allocated += units;
            level.backordered += if part.backordered { units } else { 0 };
        }
    }

    fn edit(&mut self, location_id: LocationId) -> &mut Level {
        self.0.entry(location_id).or_default()
    }
}
