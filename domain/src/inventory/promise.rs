//! Promising stock: holds, allocations, shipments.

use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, Utc};

use super::{
    AllocationReleased, Hold, Levels, Part, ReservationExpired, ReservationExtended, ReservationReleased, Reserve, StockAdjusted,
    StockAllocated, StockEvent, StockItem, StockPolicy, StockRejection, StockReserved, StockShipped, check_quantity, count,
};
use crate::id::{AllocationId, FulfilmentId, HoldId, LineId, LocationId, OrderId};

impl StockItem {
    /// How many units this owner could have at this time from these locations.
    #[must_use]
    pub fn obtainable(&self, reserve: &Reserve) -> i64 {
        let freed = self.freed_for(reserve);
        let locations = distinct(&reserve.allocation_order);
        Room::new(&self.levels_after(&freed), &locations, self.policy).total()
    }

    pub(super) fn reserve(&self, reserve: Reserve) -> Result<Vec<StockEvent>, StockRejection> {
        check_quantity(reserve.quantity)?;
        if reserve.allocation_order.is_empty() {
            return Err(StockRejection::LocationMissing);
        }
        if let Some(hold) = self.holds.get(&reserve.hold_id)
            && hold.expires_at.is_none_or(|expires_at| reserve.now < expires_at)
        {
            let same = hold.owner == reserve.owner && units(&hold.parts) == i64::from(reserve.quantity);
            let exists = StockRejection::HoldExists { hold_id: reserve.hold_id };
            return if same { Ok(vec![]) } else { Err(exists) };
        }
        let mut events = self.freed_for(&reserve);
        let levels = self.levels_after(&events);
        let locations = distinct(&reserve.allocation_order);
        let room = Room::new(&levels, &locations, self.policy);
        if i64::from(reserve.quantity) > room.total() {
            return Err(StockRejection::InsufficientStock { available: room.total() });
        }
        events.push(StockEvent::StockReserved(StockReserved {
            hold_id: reserve.hold_id,
            owner: reserve.owner,
            parts: fill(&levels, &locations, i64::from(reserve.quantity), room.there),
            expires_at: reserve.expires_at,
        }));
        Ok(events)
    }

    pub(super) fn extend_reservation(
        &self,
        hold_id: HoldId,
        expires_at: DateTime<Utc>,
        now: DateTime<Utc>,
    ) -> Result<Vec<StockEvent>, StockRejection> {
        let hold = self.holds.get(&hold_id).ok_or(StockRejection::HoldNotFound { hold_id })?;
        match hold.expires_at {
            Some(current) if current <= now => Err(StockRejection::HoldExpired { hold_id }),
            Some(current) if current < expires_at => Ok(vec![StockEvent::ReservationExtended(ReservationExtended { hold_id, expires_at })]),
            // It lasts at least as long already.
            _ => Ok(vec![]),
        }
    }

    pub(super) fn release_reservation(&self, hold_id: HoldId, reason: String) -> Option<StockEvent> {
        let parts = self.holds.get(&hold_id)?.parts.clone();
        Some(StockEvent::ReservationReleased(ReservationReleased { hold_id, parts, reason }))
    }

    /// A hold is dead by the clock of the command, not when somebody sweeps.
    pub(super) fn expired(&self, now: DateTime<Utc>) -> Vec<StockEvent> {
        let dead = self.deadlines.iter().take_while(|(expires_at, _)| *expires_at <= now);
        let events = dead.filter_map(|(_, hold_id)| {
            let parts = self.holds.get(hold_id)?.parts.clone();
            Some(StockEvent::ReservationExpired(ReservationExpired { hold_id: *hold_id, parts }))
        });
        events.collect()
    }

    pub(super) fn allocate(
        &self,
        allocation_id: AllocationId,
        hold_id: HoldId,
        order_id: OrderId,
        line_id: LineId,
    ) -> Result<Vec<StockEvent>, StockRejection> {
        if self.allocations.contains_key(&allocation_id) {
            return Ok(vec![]);
        }
        let hold = self.holds.get(&hold_id).ok_or(StockRejection::HoldNotFound { hold_id })?;
        Ok(vec![StockEvent::StockAllocated(StockAllocated {
            allocation_id,
            hold_id: Some(hold_id),
            order_id,
            line_id,
            parts: hold.parts.clone(),
        })])
    }

    pub(super) fn release_allocation(
        &self,
        allocation_id: AllocationId,
        quantity: Option<u32>,
        reason: String,
    ) -> Result<Vec<StockEvent>, StockRejection> {
        let Some(allocation) = self.allocations.get(&allocation_id) else {
            return Ok(vec![]);
        };
        let mut last_first = allocation.parts.clone();
        last_first.reverse();
        // What isn't there is given up before what is.
        last_first.sort_by_key(|part| !part.backordered);
        let parts = take(&last_first, quantity.unwrap_or(u32::MAX));
        if let Some(quantity) = quantity {
            check_quantity(quantity)?;
            check_allocated(&parts, quantity)?;
        }
        Ok(vec![StockEvent::AllocationReleased(AllocationReleased { allocation_id, parts, reason })])
    }

    /// Ships from where it was allocated. A forced shipment of what the books don't have corrects the
    /// books first: the shelf was right, and the ledger must close.
    pub(super) fn ship(
        &self,
        allocation_id: AllocationId,
        fulfilment_id: FulfilmentId,
        quantity: u32,
        forced: bool,
    ) -> Result<Vec<StockEvent>, StockRejection> {
        check_quantity(quantity)?;
        let allocation = self.allocations.get(&allocation_id).ok_or(StockRejection::AllocationNotFound { allocation_id })?;
        let parts = take(&allocation.parts, quantity);
        check_allocated(&parts, quantity)?;

        let mut events = Vec::new();
        let mut by_location: BTreeMap<LocationId, i64> = BTreeMap::new();
        for part in &parts {
            *by_location.entry(part.location_id).or_default() += i64::from(part.quantity);
        }
        for (location_id, needed) in by_location {
            let on_hand = self.levels.at(location_id).on_hand;
            if needed <= on_hand {
                continue;
            }
            if !forced {
                return Err(StockRejection::NotOnHand { location_id, on_hand });
            }
            events.push(StockEvent::StockAdjusted(StockAdjusted {
                location_id,
                delta: needed - on_hand,
                reason: "forced_shipment".to_owned(),
                note: None,
            }));
        }
        events.push(StockEvent::StockShipped(StockShipped { allocation_id, fulfilment_id, parts, forced }));
        Ok(events)
    }

    pub(super) fn hold(&mut self, reserved: &StockReserved) {
        if let Some(expires_at) = reserved.expires_at {
            self.deadlines.insert((expires_at, reserved.hold_id));
        }
        self.holds_of.entry(reserved.owner.key()).or_default().insert(reserved.hold_id);
        let hold = Hold { owner: reserved.owner.clone(), parts: reserved.parts.clone(), expires_at: reserved.expires_at };
        self.holds.insert(reserved.hold_id, hold);
    }

    pub(super) fn extend(&mut self, extended: &ReservationExtended) {
        if let Some(hold) = self.holds.get_mut(&extended.hold_id) {
            if let Some(expires_at) = hold.expires_at {
                self.deadlines.remove(&(expires_at, extended.hold_id));
            }
            hold.expires_at = Some(extended.expires_at);
            self.deadlines.insert((extended.expires_at, extended.hold_id));
        }
    }

    pub(super) fn drop_hold(&mut self, hold_id: HoldId) {
        let Some(hold) = self.holds.remove(&hold_id) else {
            return;
        };
        if let Some(expires_at) = hold.expires_at {
            self.deadlines.remove(&(expires_at, hold_id));
        }
        let owner = hold.owner.key();
        if let Some(holds) = self.holds_of.get_mut(&owner) {
            holds.remove(&hold_id);
            if holds.is_empty() {
                self.holds_of.remove(&owner);
            }
        }
    }

    pub(super) fn drop_allocated(&mut self, allocation_id: AllocationId, gone: &[Part]) {
        let Some(allocation) = self.allocations.get_mut(&allocation_id) else {
            return;
        };
        for gone in gone {
            let mut left = gone.quantity;
            for part in &mut allocation.parts {
                if part.location_id == gone.location_id && part.backordered == gone.backordered {
                    let taken = part.quantity.min(left);
                    part.quantity -= taken;
                    left -= taken;
                }
            }
        }
        allocation.parts.retain(|part| part.quantity > 0);
        if allocation.parts.is_empty() {
            self.allocations.remove(&allocation_id);
        }
    }

    /// The facts that free stock for this wish: whatever is dead by now, and what the owner has.
    fn freed_for(&self, reserve: &Reserve) -> Vec<StockEvent> {
        let mut events = self.expired(reserve.now);
        let own = self.holds_of.get(&reserve.owner.key()).into_iter().flatten();
        for hold_id in own {
            let hold = &self.holds[hold_id];
            if hold.expires_at.is_none_or(|expires_at| reserve.now < expires_at) {
                events.push(StockEvent::ReservationReleased(ReservationReleased {
                    hold_id: *hold_id,
                    parts: hold.parts.clone(),
                    reason: "replaced".to_owned(),
                }));
            }
        }
        events
    }
}

/// What a reservation may take: units that are there, and units beyond them.
struct Room {
    there: i64,
    beyond: i64,
}

impl Room {
    /// A location whose books are short takes from the variant's sum, wherever the rest lies: what is
    /// owed there can still be sent from here.
    fn new(levels: &Levels, locations: &[LocationId], policy: StockPolicy) -> Self {
        let reachable: i64 = locations.iter().map(|id| levels.at(*id).available().max(0)).sum();
        let available = levels.available();
        let limit = match policy {
            StockPolicy::Deny => 0,
            StockPolicy::Backorder { limit } | StockPolicy::Preorder { limit } => i64::from(limit.unwrap_or(u32::MAX)),
        };
        Self { there: available.clamp(0, reachable), beyond: (limit - (-available).max(0)).max(0) }
    }

    fn total(&self) -> i64 {
        self.there + self.beyond
    }
}

fn distinct(locations: &[LocationId]) -> Vec<LocationId> {
    let mut seen = BTreeSet::new();
    locations.iter().copied().filter(|location_id| seen.insert(*location_id)).collect()
}

/// Takes `there` units from the locations in order; the rest is promised at the first of them.
fn fill(levels: &Levels, locations: &[LocationId], quantity: i64, there: i64) -> Vec<Part> {
    let mut parts = Vec::new();
    let mut left = quantity.min(there);
    for location_id in locations {
        let taken = levels.at(*location_id).available().clamp(0, left);
        if taken > 0 {
            parts.push(Part { location_id: *location_id, quantity: count(taken), backordered: false });
            left -= taken;
        }
    }
    let beyond = quantity - quantity.min(there);
    if let (Some(location_id), true) = (locations.first(), beyond > 0) {
        parts.push(Part { location_id: *location_id, quantity: count(beyond), backordered: true });
    }
    parts
}

/// The first `quantity` units of the parts, or all if they are fewer.
fn take(parts: &[Part], quantity: u32) -> Vec<Part> {
    let mut left = quantity;
    let mut taken = Vec::new();
    for part in parts {
        let quantity = part.quantity.min(left);
        if quantity > 0 {
            taken.push(Part { quantity, ..*part });
            left -= quantity;
        }
    }
    taken
}

fn check_allocated(taken: &[Part], wanted: u32) -> Result<(), StockRejection> {
    let allocated = units(taken);
    if allocated < i64::from(wanted) { Err(StockRejection::NotAllocated { allocated }) } else { Ok(()) }
}

fn units(parts: &[Part]) -> i64 {
    parts.iter().map(|part| i64::from(part.quantity)).sum()
}
