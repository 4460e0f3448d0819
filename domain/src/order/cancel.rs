//! Cancelling units or the whole order, before they leave.

use super::{
    CancelLines, CancelledLine, OrderCancelled, OrderEvent, OrderLine, OrderLinesCancelled, OrderRejection, OrderStage, PlacedOrder,
};

impl PlacedOrder {
    pub(super) fn cancel_lines(&self, cancel: CancelLines) -> Result<Vec<OrderEvent>, OrderRejection> {
        let (OrderStage::PendingPayment | OrderStage::Confirmed { .. }) = self.stage else {
            return Err(self.wrong_status());
        };
        let mut lines = Vec::new();
        for (line_id, quantity) in &cancel.lines {
            let line = self.line(*line_id).ok_or(OrderRejection::LineNotFound { line_id: *line_id })?;
            lines.push(self.cancelled_part(line, *quantity)?);
        }
        if lines.is_empty() {
            return Err(OrderRejection::QuantityZero);
        }
        let all_gone = self.facts.lines.iter().all(|line| {
            let now = cancel.lines.get(&line.line_id).copied().unwrap_or_default();
            self.cancelled_units(line.line_id) + now == line.quantity
        });
        let order_cancelled = if all_gone { self.cancelled(cancel.reason.clone(), cancel.by) } else { vec![] };
        let lines_cancelled = OrderEvent::OrderLinesCancelled(OrderLinesCancelled {
            cancellation_id: cancel.cancellation_id,
            lines,
            reason: cancel.reason,
            note: cancel.note,
        });
        Ok(std::iter::once(lines_cancelled).chain(order_cancelled).collect())
    }

    pub(super) fn cancel(&self, reason: String, by: String) -> Result<Vec<OrderEvent>, OrderRejection> {
        match self.stage {
            OrderStage::Cancelled { .. } => Ok(vec![]),
            OrderStage::PendingPayment | OrderStage::Confirmed { .. } => {
                if !self.shipments.is_empty() {
                    return Err(OrderRejection::Shipped);
                }
                Ok(self.cancelled(reason, by))
            }
            OrderStage::Completed { .. } | OrderStage::Expired { .. } => Err(self.wrong_status()),
        }
    }

    /// The attempt that is under way is given up with it; what it brings yet goes back.
    fn cancelled(&self, reason: String, by: String) -> Vec<OrderEvent> {
        let live = self.live_payment.as_ref();
        let closed = live.and_then(|live| self.close_payment(live.payment_id, "cancelled".to_owned()));
        closed.into_iter().chain([OrderEvent::OrderCancelled(OrderCancelled { reason, by })]).collect()
    }

    pub(super) fn add_cancelled(&mut self, lines: &[CancelledLine]) {
        for line in lines {
            match self.cancelled.get_mut(&line.line_id) {
                None => {
                    self.cancelled.insert(line.line_id, line.clone());
                }
                Some(sum) => {
                    sum.quantity += line.quantity;
                    // Parts of a line never exceed it, so that these sums exist.
                    sum.net = sum.net.plus(line.net).unwrap_or(sum.net);
                    sum.tax = sum.tax.plus(line.tax).unwrap_or(sum.tax);
                    sum.gross = sum.gross.plus(line.gross).unwrap_or(sum.gross);
                }
            }
        }
    }

    /// The next `quantity` units of the line with their share of its amounts: cut from the running
    /// total, so that all cancellations of a line sum to exactly the line.
    fn cancelled_part(&self, line: &OrderLine, quantity: u32) -> Result<CancelledLine, OrderRejection> {
        let from = self.cancelled_units(line.line_id);
        // What has left comes back by a return, not by a cancellation.
        let cancellable = self.unshipped_units(line.line_id);
        if quantity == 0 {
            return Err(OrderRejection::QuantityZero);
        }
        if quantity > cancellable {
            return Err(OrderRejection::NotCancellable { line_id: line.line_id, cancellable });
        }
        let gross = line.gross.of_units(line.quantity, from, from + quantity)?;
        let tax = line.tax.of_units(line.quantity, from, from + quantity)?;
        Ok(CancelledLine { line_id: line.line_id, quantity, net: gross.minus(tax)?, tax, gross })
    }
}
