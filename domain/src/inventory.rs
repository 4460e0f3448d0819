//! Stock of one variant over all its locations: holds, allocations, the ledger.
//!
//! A variant's stock is one stream, so that "is it there" and "it is yours" are one decision. What is
//! available is `on_hand − allocated − reserved − safety`, summed over the locations; a hold takes it
//! away for a while, an allocation for an order that is confirmed. No command that sells takes more
//! than the policy allows; a count may find less than was promised, which is a fact and no error.

mod alert;
mod event;
mod level;
mod promise;
mod shelf;

pub use event::{
    AllocationReleased, BackInStock, HoldOwner, LowStockReached, OutOfStock, Part, ReservationExpired, ReservationExtended,
    ReservationReleased, SafetyStock, StockAdjusted, StockAllocated, StockCounted, StockEvent, StockItemOpened, StockPolicy,
    StockPolicyChanged, StockReceived, StockReserved, StockReturned, StockShipped, StockShortfall, StockTransferDispatched,
    StockTransferReceived,
};
pub use level::{Level, Levels};

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use crate::event::Root;
use crate::id::{AllocationId, FulfilmentId, HoldId, LineId, LocationId, OrderId, ReceiptId, TransferId};
use crate::money::Money;
use crate::personal::Personal;

/// At how many available units a variant counts as low, unless its item says otherwise.
pub const LOW_STOCK_THRESHOLD: u32 = 5;

/// The most units that a location holds.
pub const ON_HAND_MAX: i64 = u32::MAX as i64;

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StockCommand {
    /// Opening an open item is a no-op.
    Open {
        policy: StockPolicy,
        low_stock_threshold: Option<u32>,
    },
    ChangePolicy {
        policy: StockPolicy,
        safety: Vec<SafetyStock>,
        low_stock_threshold: Option<u32>,
    },
    Receive {
        receipt_id: ReceiptId,
        location_id: LocationId,
        quantity: u32,
        unit_cost: Option<Money>,
    },
    Count {
        location_id: LocationId,
        counted: u32,
        reason: String,
    },
    Adjust {
        location_id: LocationId,
        delta: i64,
        reason: String,
        note: Option<Personal<String>>,
    },
    Reserve(Reserve),
    ExtendReservation {
        hold_id: HoldId,
        expires_at: DateTime<Utc>,
        now: DateTime<Utc>,
    },
    /// Releasing what isn't held is a no-op.
    ReleaseReservation {
        hold_id: HoldId,
        reason: String,
    },
    ExpireReservations {
        now: DateTime<Utc>,
    },
    /// Turns a hold into an allocation.
    Allocate {
        allocation_id: AllocationId,
        hold_id: HoldId,
        order_id: OrderId,
        line_id: LineId,
    },
    /// Without a quantity: all that is left of it.
    ReleaseAllocation {
        allocation_id: AllocationId,
        quantity: Option<u32>,
        reason: String,
    },
    Ship {
        allocation_id: AllocationId,
        fulfilment_id: FulfilmentId,
        quantity: u32,
        forced: bool,
    },
    Return(StockReturned),
    /// Dispatched and received at once: nothing is on its way in between, and the variant's sum stays what it is.
    Transfer(StockTransferDispatched),
    DispatchTransfer(StockTransferDispatched),
    ReceiveTransfer(StockTransferReceived),
}

/// Holds units for an owner, from the locations in this order. Earlier holds of the same owner count
/// as free and are released by it; holds that are dead at `now` count as free for everyone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reserve {
    pub hold_id: HoldId,
    pub owner: HoldOwner,
    pub quantity: u32,
    pub expires_at: Option<DateTime<Utc>>,
    pub allocation_order: Vec<LocationId>,
    pub now: DateTime<Utc>,
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StockRejection {
    #[error("no stock is kept of this variant")]
    NotFound,
    #[error("only {available} can be had")]
    InsufficientStock { available: i64 },
    #[error("a quantity must be at least one")]
    QuantityZero,
    #[error("a location holds no more than {max}")]
    QuantityTooLarge { max: i64 },
    #[error("only {on_hand} are at the location {location_id}")]
    NotOnHand { location_id: LocationId, on_hand: i64 },
    #[error("a reason is needed")]
    ReasonMissing,
    #[error("no location to take stock from is given")]
    LocationMissing,
    #[error("the hold {hold_id} exists already and is another one")]
    HoldExists { hold_id: HoldId },
    #[error("there is no hold {hold_id}")]
    HoldNotFound { hold_id: HoldId },
    #[error("the hold {hold_id} has expired")]
    HoldExpired { hold_id: HoldId },
    #[error("there is no allocation {allocation_id}")]
    AllocationNotFound { allocation_id: AllocationId },
    #[error("only {allocated} are allocated")]
    NotAllocated { allocated: i64 },
    #[error("the transfer {transfer_id} exists already")]
    TransferExists { transfer_id: TransferId },
    #[error("there is no transfer {transfer_id} on its way")]
    TransferNotFound { transfer_id: TransferId },
    #[error("the transfer is of {dispatched} units")]
    TransferQuantity { dispatched: u32 },
    #[error("a transfer needs two locations")]
    TransferToItself,
}

impl StockRejection {
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::NotFound => "stock_not_found",
            Self::InsufficientStock { .. } => "insufficient_stock",
            Self::QuantityZero => "quantity_zero",
            Self::QuantityTooLarge { .. } => "quantity_too_large",
            Self::NotOnHand { .. } => "not_on_hand",
            Self::ReasonMissing => "reason_missing",
            Self::LocationMissing => "location_missing",
            Self::HoldExists { .. } => "hold_exists",
            Self::HoldNotFound { .. } => "hold_not_found",
            Self::HoldExpired { .. } => "hold_expired",
            Self::AllocationNotFound { .. } => "allocation_not_found",
            Self::NotAllocated { .. } => "not_allocated",
            Self::TransferExists { .. } => "transfer_exists",
            Self::TransferNotFound { .. } => "transfer_not_found",
            Self::TransferQuantity { .. } => "transfer_quantity",
            Self::TransferToItself => "transfer_to_itself",
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hold {
    pub owner: HoldOwner,
    pub parts: Vec<Part>,
    pub expires_at: Option<DateTime<Utc>>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Allocation {
    pub order_id: OrderId,
    pub line_id: LineId,
    pub parts: Vec<Part>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Transfer {
    pub from: LocationId,
    pub to: LocationId,
    pub quantity: u32,
}

impl Transfer {
    fn of(dispatched: &StockTransferDispatched) -> Self {
        Self { from: dispatched.from, to: dispatched.to, quantity: dispatched.quantity }
    }
}

/// The stock of one variant as it is. Sets of holds are indexed, since a hot product has thousands.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct StockItem {
    pub opened: bool,
    pub policy: StockPolicy,
    pub low_stock_threshold: u32,
    pub levels: Levels,
    pub holds: BTreeMap<HoldId, Hold>,
    pub allocations: BTreeMap<AllocationId, Allocation>,
    /// On their way between two locations.
    pub transfers: BTreeMap<TransferId, Transfer>,
    /// The holds that have a clock, by when it runs out.
    deadlines: BTreeSet<(DateTime<Utc>, HoldId)>,
    holds_of: BTreeMap<String, BTreeSet<HoldId>>,
    /// Whether it ever had stock: what is new is not back.
    stocked: bool,
}

impl StockItem {
    pub fn decide(&self, command: StockCommand) -> Result<Vec<StockEvent>, StockRejection> {
        let mut events = self.decide_movement(command)?;
        if events.is_empty() {
            return Ok(events);
        }
        let after = self.levels_after(&events);
        events.extend(self.shortfalls(&after));
        events.extend(self.crossings(&events, &after));
        Ok(events)
    }

    pub fn apply(&mut self, event: &StockEvent) {
        self.levels.apply(event, &self.transfers);
        match event {
            StockEvent::StockItemOpened(opened) => {
                self.opened = true;
                self.policy = opened.policy;
                self.low_stock_threshold = opened.low_stock_threshold.unwrap_or(LOW_STOCK_THRESHOLD);
            }
            StockEvent::StockPolicyChanged(changed) => {
                self.policy = changed.policy;
                self.low_stock_threshold = changed.low_stock_threshold.unwrap_or(self.low_stock_threshold);
            }
            StockEvent::StockReserved(reserved) => self.hold(reserved),
            StockEvent::ReservationExtended(extended) => self.extend(extended),
            StockEvent::ReservationReleased(released) => self.drop_hold(released.hold_id),
            StockEvent::ReservationExpired(expired) => self.drop_hold(expired.hold_id),
            StockEvent::StockAllocated(allocated) => {
                if let Some(hold_id) = allocated.hold_id {
                    self.drop_hold(hold_id);
                }
                let allocation = Allocation { order_id: allocated.order_id, line_id: allocated.line_id, parts: allocated.parts.clone() };
                self.allocations.insert(allocated.allocation_id, allocation);
            }
            StockEvent::AllocationReleased(released) => {
                self.drop_allocated(released.allocation_id, &released.parts);
            }
            StockEvent::StockShipped(shipped) => {
                self.drop_allocated(shipped.allocation_id, &shipped.parts);
            }
            StockEvent::StockTransferDispatched(dispatched) => {
                self.transfers.insert(dispatched.transfer_id, Transfer::of(dispatched));
            }
            StockEvent::StockTransferReceived(received) => {
                self.transfers.remove(&received.transfer_id);
            }
            StockEvent::StockReceived(_)
            | StockEvent::StockCounted(_)
            | StockEvent::StockAdjusted(_)
            | StockEvent::StockReturned(_)
            | StockEvent::StockShortfall(_)
            | StockEvent::LowStockReached(_)
            | StockEvent::OutOfStock(_)
            | StockEvent::BackInStock(_) => {}
        }
        self.stocked |= self.levels.available() > 0;
    }

    /// What can be sold without promising what isn't there; negative when more is promised already.
    #[must_use]
    pub fn available(&self) -> i64 {
        self.levels.available()
    }

    fn decide_movement(&self, command: StockCommand) -> Result<Vec<StockEvent>, StockRejection> {
        if let StockCommand::Open { policy, low_stock_threshold } = command {
            let opened = StockEvent::StockItemOpened(StockItemOpened { policy, low_stock_threshold });
            return Ok(if self.opened { vec![] } else { vec![opened] });
        }
        if !self.opened {
            return Err(StockRejection::NotFound);
        }
        match command {
            // Answered above.
            StockCommand::Open { .. } => Ok(vec![]),
            StockCommand::ChangePolicy { policy, safety, low_stock_threshold } => {
                Ok(self.change_policy(policy, safety, low_stock_threshold).into_iter().collect())
            }
            StockCommand::Receive { receipt_id, location_id, quantity, unit_cost } => {
                self.receive(StockReceived { receipt_id, location_id, quantity, unit_cost })
            }
            StockCommand::Count { location_id, counted, reason } => self.count(location_id, counted, reason),
            StockCommand::Adjust { location_id, delta, reason, note } => self.adjust(StockAdjusted { location_id, delta, reason, note }),
            StockCommand::Reserve(reserve) => self.reserve(reserve),
            StockCommand::ExtendReservation { hold_id, expires_at, now } => self.extend_reservation(hold_id, expires_at, now),
            StockCommand::ReleaseReservation { hold_id, reason } => Ok(self.release_reservation(hold_id, reason).into_iter().collect()),
            StockCommand::ExpireReservations { now } => Ok(self.expired(now)),
            StockCommand::Allocate { allocation_id, hold_id, order_id, line_id } => {
                self.allocate(allocation_id, hold_id, order_id, line_id)
            }
            StockCommand::ReleaseAllocation { allocation_id, quantity, reason } => self.release_allocation(allocation_id, quantity, reason),
            StockCommand::Ship { allocation_id, fulfilment_id, quantity, forced } => {
                self.ship(allocation_id, fulfilment_id, quantity, forced)
            }
            StockCommand::Return(returned) => self.take_back(returned),
            StockCommand::Transfer(transfer) => self.transfer(transfer),
            StockCommand::DispatchTransfer(transfer) => self.dispatch(transfer),
            StockCommand::ReceiveTransfer(received) => self.receive_transfer(received),
        }
    }

    fn levels_after(&self, events: &[StockEvent]) -> Levels {
        let mut levels = self.levels.clone();
        let mut transfers = Cow::Borrowed(&self.transfers);
        for event in events {
            levels.apply(event, &transfers);
            if let StockEvent::StockTransferDispatched(dispatched) = event {
                transfers.to_mut().insert(dispatched.transfer_id, Transfer::of(dispatched));
            }
        }
        levels
    }
}

aggregate!(StockItem = "stock", StockCommand => StockEvent, StockRejection);

impl Root for StockItem {
    const CONTEXT: &'static str = "inventory";
    const LONG_LIVED: bool = true;
}

fn check_quantity(quantity: u32) -> Result<(), StockRejection> {
    if quantity == 0 { Err(StockRejection::QuantityZero) } else { Ok(()) }
}

/// A number of units as events write it; state keeps to the range that makes this exact.
fn count(units: i64) -> u32 {
    u32::try_from(units.max(0)).unwrap_or(u32::MAX)
}
