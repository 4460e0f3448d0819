//! The ledger of a variant's stock: its events, and the shapes that they carry.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use crate::id::{AllocationId, CartKey, FulfilmentId, HoldId, LineId, LocationId, OrderId, ReceiptId, ReturnId, TransferId};
use crate::money::Money;
use crate::personal::Personal;

/// What happens when more is wanted than is there. A limit is how many units may be promised beyond
/// that; without one there is no bound.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum StockPolicy {
    #[default]
    Deny,
    Backorder {
        #[serde(default, skip_serializing_if = "Option::is_none")]
        limit: Option<u32>,
    },
    Preorder {
        #[serde(default, skip_serializing_if = "Option::is_none")]
        limit: Option<u32>,
    },
}

/// For whom a hold is: a line of a cart or of an order.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HoldOwner {
    pub kind: String,
    pub id: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub line_id: Option<LineId>,
}

impl HoldOwner {
    #[must_use]
    pub fn cart(cart: &CartKey, line_id: LineId) -> Self {
        Self { kind: "cart".to_owned(), id: cart.to_string(), line_id: Some(line_id) }
    }

    #[must_use]
    pub fn order(order_id: OrderId, line_id: LineId) -> Self {
        Self { kind: "order".to_owned(), id: order_id.to_string(), line_id: Some(line_id) }
    }

    pub(super) fn key(&self) -> String {
        let line = self.line_id.map(|line_id| line_id.to_string()).unwrap_or_default();
        format!("{}/{}/{line}", self.kind, self.id)
    }
}

/// Units of a hold or an allocation at one location. Backordered units are promised, but not there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Part {
    pub location_id: LocationId,
    pub quantity: u32,
    pub backordered: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SafetyStock {
    pub location_id: LocationId,
    pub quantity: u32,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StockItemOpened {
    pub policy: StockPolicy,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub low_stock_threshold: Option<u32>,
}

/// `safety` names only the locations whose safety stock changed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StockPolicyChanged {
    pub policy: StockPolicy,
    pub safety: Vec<SafetyStock>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub low_stock_threshold: Option<u32>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StockReceived {
    pub receipt_id: ReceiptId,
    pub location_id: LocationId,
    pub quantity: u32,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unit_cost: Option<Money>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StockCounted {
    pub location_id: LocationId,
    pub counted: u32,
    pub previous: u32,
    pub reason: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StockAdjusted {
    pub location_id: LocationId,
    pub delta: i64,
    pub reason: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub note: Option<Personal<String>>,
}

/// Without `expires_at` the hold lasts until its owner gives it up.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StockReserved {
    pub hold_id: HoldId,
    pub owner: HoldOwner,
    pub parts: Vec<Part>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<DateTime<Utc>>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReservationExtended {
    pub hold_id: HoldId,
    pub expires_at: DateTime<Utc>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReservationReleased {
    pub hold_id: HoldId,
    pub parts: Vec<Part>,
    pub reason: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReservationExpired {
    pub hold_id: HoldId,
    pub parts: Vec<Part>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StockAllocated {
    pub allocation_id: AllocationId,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hold_id: Option<HoldId>,
    pub order_id: OrderId,
    pub line_id: LineId,
    pub parts: Vec<Part>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AllocationReleased {
    pub allocation_id: AllocationId,
    pub parts: Vec<Part>,
    pub reason: String,
}

/// `forced`: shipped although the books said that it wasn't there.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StockShipped {
    pub allocation_id: AllocationId,
    pub fulfilment_id: FulfilmentId,
    pub parts: Vec<Part>,
    pub forced: bool,
}

/// Only what is `sellable` goes back on the shelf.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StockReturned {
    pub return_id: ReturnId,
    pub order_id: OrderId,
    pub line_id: LineId,
    pub location_id: LocationId,
    pub quantity: u32,
    pub condition: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StockTransferDispatched {
    pub transfer_id: TransferId,
    pub from: LocationId,
    pub to: LocationId,
    pub quantity: u32,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StockTransferReceived {
    pub transfer_id: TransferId,
    pub received: u32,
    pub lost: u32,
}

/// This many promised units are not there.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StockShortfall {
    pub quantity: u32,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub location_id: Option<LocationId>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LowStockReached {
    pub available: i64,
    pub threshold: u32,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OutOfStock {}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BackInStock {
    pub available: i64,
}

events! {
    /// The ledger of one variant's stock.
    pub enum StockEvent {
        StockItemOpened(StockItemOpened) = "StockItemOpened", 1;
        StockPolicyChanged(StockPolicyChanged) = "StockPolicyChanged", 1;
        StockReceived(StockReceived) = "StockReceived", 1;
        StockCounted(StockCounted) = "StockCounted", 1;
        StockAdjusted(StockAdjusted) = "StockAdjusted", 1;
        StockReserved(StockReserved) = "StockReserved", 1;
        ReservationExtended(ReservationExtended) = "ReservationExtended", 1;
        ReservationReleased(ReservationReleased) = "ReservationReleased", 1;
        ReservationExpired(ReservationExpired) = "ReservationExpired", 1;
        StockAllocated(StockAllocated) = "StockAllocated", 1;
        AllocationReleased(AllocationReleased) = "AllocationReleased", 1;
        StockShipped(StockShipped) = "StockShipped", 1;
        StockReturned(StockReturned) = "StockReturned", 1;
        StockTransferDispatched(StockTransferDispatched) = "StockTransferDispatched", 1;
        StockTransferReceived(StockTransferReceived) = "StockTransferReceived", 1;
        StockShortfall(StockShortfall) = "StockShortfall", 1;
        LowStockReached(LowStockReached) = "LowStockReached", 1;
        OutOfStock(OutOfStock) = "OutOfStock", 1;
        BackInStock(BackInStock) = "BackInStock", 1;
    }
}
