//! What leaves an order, and when nothing is left to be done.

use std::collections::BTreeMap;

use super::{
    FulfilmentStatus, OrderEvent, OrderLinesShipped, OrderRejection, OrderShipmentDelivered, OrderStage, PlacedOrder, ShippedLine,
};
use crate::id::{FulfilmentId, LineId};
use crate::personal::Personal;

impl PlacedOrder {
    /// Only what is covered and not on hold leaves, and never more than was ordered.
    pub(super) fn ship(
        &self,
        fulfilment_id: FulfilmentId,
        lines: &BTreeMap<LineId, u32>,
        tracking: Option<Personal<String>>,
    ) -> Result<Vec<OrderEvent>, OrderRejection> {
        if self.shipments.contains_key(&fulfilment_id) {
            return Ok(vec![]);
        }
        let OrderStage::Confirmed { .. } = self.stage else {
            return Err(self.wrong_status());
        };
        if self.on_hold.is_some() {
            return Err(OrderRejection::OnHold);
        }
        let mut shipped = Vec::with_capacity(lines.len());
        for (line_id, quantity) in lines {
            let line = self.line(*line_id).ok_or(OrderRejection::LineNotFound { line_id: *line_id })?;
            let shippable = self.unshipped_units(line.line_id);
            if *quantity == 0 {
                return Err(OrderRejection::QuantityZero);
            }
            if *quantity > shippable {
                return Err(OrderRejection::NotShippable { line_id: *line_id, shippable });
            }
            shipped.push(ShippedLine { line_id: *line_id, quantity: *quantity });
        }
        if shipped.is_empty() {
            return Err(OrderRejection::QuantityZero);
        }
        Ok(vec![OrderEvent::OrderLinesShipped(OrderLinesShipped { fulfilment_id, lines: shipped, tracking })])
    }

    pub(super) fn deliver(&self, fulfilment_id: FulfilmentId) -> Result<Vec<OrderEvent>, OrderRejection> {
        let shipment = self.shipments.get(&fulfilment_id).ok_or(OrderRejection::ShipmentNotFound { fulfilment_id })?;
        let delivered = OrderEvent::OrderShipmentDelivered(OrderShipmentDelivered { fulfilment_id });
        Ok(if shipment.delivered { vec![] } else { vec![delivered] })
    }

    /// The units of a line that have left.
    #[must_use]
    pub fn shipped_units(&self, line_id: LineId) -> u32 {
        let lines = self.shipments.values().flat_map(|shipment| &shipment.lines);
        lines.filter(|line| line.line_id == line_id).map(|line| line.quantity).sum()
    }

    /// The units of a line that have neither left nor were cancelled.
    #[must_use]
    pub fn unshipped_units(&self, line_id: LineId) -> u32 {
        let ordered = self.line(line_id).map_or(0, |line| line.quantity);
        ordered.saturating_sub(self.cancelled_units(line_id)).saturating_sub(self.shipped_units(line_id))
    }

    /// Whether nothing that is to be sent is still here.
    #[must_use]
    pub fn is_all_shipped(&self) -> bool {
        let to_send = self.facts.lines.iter().filter(|line| line.requires_shipping);
        to_send.clone().all(|line| self.unshipped_units(line.line_id) == 0)
    }

    #[must_use]
    pub fn fulfilment_status(&self) -> FulfilmentStatus {
        if matches!(self.stage, OrderStage::Cancelled { .. }) {
            return FulfilmentStatus::Cancelled;
        }
        if self.shipments.is_empty() {
            return FulfilmentStatus::Unfulfilled;
        }
        if !self.is_all_shipped() {
            return FulfilmentStatus::PartiallyFulfilled;
        }
        if self.shipments.values().all(|shipment| shipment.delivered) { FulfilmentStatus::Delivered } else { FulfilmentStatus::Fulfilled }
    }
}
