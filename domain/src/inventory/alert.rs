//! What a decision means for others: promises that can't be kept, and lines that were crossed.

use super::{BackInStock, Levels, LowStockReached, OutOfStock, StockEvent, StockItem, StockShortfall, count};

impl StockItem {
    /// Promises that this decision leaves without goods, beyond those that were so before.
    pub(super) fn shortfalls(&self, after: &Levels) -> Vec<StockEvent> {
        let grown = after.iter().filter_map(|(location_id, level)| {
            let shortfall = level.shortfall();
            (shortfall > self.levels.at(*location_id).shortfall()).then_some((*location_id, shortfall))
        });
        let events = grown.map(|(location_id, shortfall)| {
            StockEvent::StockShortfall(StockShortfall { quantity: count(shortfall), location_id: Some(location_id) })
        });
        events.collect()
    }

    /// The lines that the variant's sum crosses by this decision as a whole: each is said once, since
    /// only the way from before to after counts.
    pub(super) fn crossings(&self, events: &[StockEvent], after: &Levels) -> Vec<StockEvent> {
        let threshold = match events.first() {
            Some(StockEvent::StockPolicyChanged(changed)) => changed.low_stock_threshold,
            _ => None,
        };
        let threshold = threshold.unwrap_or(self.low_stock_threshold);
        let (before, available) = (self.levels.available(), after.available());
        let low = i64::from(threshold);
        let mut crossings = Vec::new();
        if before > low && available <= low {
            crossings.push(StockEvent::LowStockReached(LowStockReached { available, threshold }));
        }
        if before > 0 && available <= 0 {
            crossings.push(StockEvent::OutOfStock(OutOfStock {}));
        }
        if before <= 0 && available > 0 && self.stocked {
            crossings.push(StockEvent::BackInStock(BackInStock { available }));
        }
        crossings
    }
}
