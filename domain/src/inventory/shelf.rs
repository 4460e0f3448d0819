//! Goods that come, go and are counted.

use super::{
    ON_HAND_MAX, SafetyStock, StockAdjusted, StockCounted, StockEvent, StockItem, StockPolicy, StockPolicyChanged, StockReceived,
    StockRejection, StockReturned, StockTransferDispatched, StockTransferReceived, check_quantity, count,
};
use crate::id::LocationId;

impl StockItem {
    pub(super) fn receive(&self, received: StockReceived) -> Result<Vec<StockEvent>, StockRejection> {
        self.check_adding(received.location_id, received.quantity)?;
        Ok(vec![StockEvent::StockReceived(received)])
    }

    /// Also a count that finds what was expected is a fact.
    pub(super) fn count(&self, location_id: LocationId, counted: u32, reason: String) -> Result<Vec<StockEvent>, StockRejection> {
        check_reason(&reason)?;
        let previous = count(self.levels.at(location_id).on_hand);
        let counted = StockCounted { location_id, counted, previous, reason };
        Ok(vec![StockEvent::StockCounted(counted)])
    }

    pub(super) fn take_back(&self, returned: StockReturned) -> Result<Vec<StockEvent>, StockRejection> {
        self.check_adding(returned.location_id, returned.quantity)?;
        Ok(vec![StockEvent::StockReturned(returned)])
    }

    pub(super) fn change_policy(
        &self,
        policy: StockPolicy,
        safety: Vec<SafetyStock>,
        low_stock_threshold: Option<u32>,
    ) -> Option<StockEvent> {
        let safety: Vec<_> =
            safety.into_iter().filter(|wanted| self.levels.at(wanted.location_id).safety != i64::from(wanted.quantity)).collect();
        let low_stock_threshold = low_stock_threshold.filter(|wanted| *wanted != self.low_stock_threshold);
        let same = policy == self.policy && safety.is_empty() && low_stock_threshold.is_none();
        let changed = StockPolicyChanged { policy, safety, low_stock_threshold };
        (!same).then_some(StockEvent::StockPolicyChanged(changed))
    }

    pub(super) fn adjust(&self, adjusted: StockAdjusted) -> Result<Vec<StockEvent>, StockRejection> {
        check_reason(&adjusted.reason)?;
        if adjusted.delta == 0 {
            return Err(StockRejection::QuantityZero);
        }
        let location_id = adjusted.location_id;
        let on_hand = self.levels.at(location_id).on_hand;
        match on_hand.checked_add(adjusted.delta) {
            Some(0..=ON_HAND_MAX) => Ok(vec![StockEvent::StockAdjusted(adjusted)]),
            Some(..0) => Err(StockRejection::NotOnHand { location_id, on_hand }),
            _ => Err(StockRejection::QuantityTooLarge { max: ON_HAND_MAX }),
        }
    }

    pub(super) fn transfer(&self, transfer: StockTransferDispatched) -> Result<Vec<StockEvent>, StockRejection> {
        self.check_adding(transfer.to, transfer.quantity)?;
        let received = StockTransferReceived { transfer_id: transfer.transfer_id, received: transfer.quantity, lost: 0 };
        let mut events = self.dispatch(transfer)?;
        events.push(StockEvent::StockTransferReceived(received));
        Ok(events)
    }

    /// Only what nobody was promised can leave a location.
    pub(super) fn dispatch(&self, transfer: StockTransferDispatched) -> Result<Vec<StockEvent>, StockRejection> {
        check_quantity(transfer.quantity)?;
        if self.transfers.contains_key(&transfer.transfer_id) {
            return Err(StockRejection::TransferExists { transfer_id: transfer.transfer_id });
        }
        if transfer.from == transfer.to {
            return Err(StockRejection::TransferToItself);
        }
        let available = self.levels.at(transfer.from).available().max(0);
        if i64::from(transfer.quantity) > available {
            return Err(StockRejection::InsufficientStock { available });
        }
        Ok(vec![StockEvent::StockTransferDispatched(transfer)])
    }

    pub(super) fn receive_transfer(&self, received: StockTransferReceived) -> Result<Vec<StockEvent>, StockRejection> {
        let Some(transfer) = self.transfers.get(&received.transfer_id) else {
            return Err(StockRejection::TransferNotFound { transfer_id: received.transfer_id });
        };
        if received.received.checked_add(received.lost) != Some(transfer.quantity) {
            return Err(StockRejection::TransferQuantity { dispatched: transfer.quantity });
        }
        if received.received > 0 {
            self.check_adding(transfer.to, received.received)?;
        }
        Ok(vec![StockEvent::StockTransferReceived(received)])
    }

    fn check_adding(&self, location_id: LocationId, quantity: u32) -> Result<(), StockRejection> {
        check_quantity(quantity)?;
        if self.levels.at(location_id).on_hand + i64::from(quantity) > ON_HAND_MAX {
            return Err(StockRejection::QuantityTooLarge { max: ON_HAND_MAX });
        }
        Ok(())
    }
}

fn check_reason(reason: &str) -> Result<(), StockRejection> {
    if reason.trim().is_empty() { Err(StockRejection::ReasonMissing) } else { Ok(()) }
}
