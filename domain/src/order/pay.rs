//! What payments do to an order: it is confirmed, or expires, or comes back.

use super::{
    Cover, OrderConfirmed, OrderEvent, OrderExpired, OrderPaymentClosed, OrderPaymentOpened, OrderReinstated, OrderRejection, OrderStage,
    PlacedOrder,
};
use crate::id::PaymentId;
use crate::money::Money;

impl PlacedOrder {
    pub(super) fn open_payment(&self, payment_id: PaymentId, amount: Money) -> Result<Vec<OrderEvent>, OrderRejection> {
        match &self.live_payment {
            Some(live) if live.payment_id == payment_id => return Ok(vec![]),
            Some(live) => {
                return Err(OrderRejection::PaymentInProgress { payment_id: live.payment_id });
            }
            None => {}
        }
        match self.stage {
            OrderStage::PendingPayment | OrderStage::Confirmed { .. } => {
                Ok(vec![OrderEvent::OrderPaymentOpened(OrderPaymentOpened { payment_id, amount })])
            }
            _ => Err(self.wrong_status()),
        }
    }

    pub(super) fn close_payment(&self, payment_id: PaymentId, outcome: String) -> Option<OrderEvent> {
        let live = self.live_payment.as_ref()?.payment_id == payment_id;
        live.then_some(OrderEvent::OrderPaymentClosed(OrderPaymentClosed { payment_id, outcome }))
    }

    pub(super) fn confirm(&self, covered_by: Vec<Cover>) -> Result<Vec<OrderEvent>, OrderRejection> {
        match self.stage {
            OrderStage::PendingPayment => {
                self.check_covered(&covered_by)?;
                Ok(vec![OrderEvent::OrderConfirmed(OrderConfirmed { covered_by })])
            }
            OrderStage::Confirmed { .. } => Ok(vec![]),
            _ => Err(self.wrong_status()),
        }
    }

    /// An attempt that is under way may yet bring the money: it is voided first.
    pub(super) fn expire(&self, reason: String) -> Result<Vec<OrderEvent>, OrderRejection> {
        match (&self.stage, &self.live_payment) {
            (OrderStage::PendingPayment, Some(live)) => Err(OrderRejection::PaymentInProgress { payment_id: live.payment_id }),
            (OrderStage::PendingPayment, None) => Ok(vec![OrderEvent::OrderExpired(OrderExpired { reason })]),
            (OrderStage::Expired { .. }, _) => Ok(vec![]),
            _ => Err(self.wrong_status()),
        }
    }

    pub(super) fn reinstate(&self, payment_id: PaymentId, covered_by: Vec<Cover>) -> Result<Vec<OrderEvent>, OrderRejection> {
        let OrderStage::Expired { .. } = self.stage else {
            return Err(self.wrong_status());
        };
        self.check_covered(&covered_by)?;
        Ok(vec![OrderEvent::OrderReinstated(OrderReinstated { payment_id }), OrderEvent::OrderConfirmed(OrderConfirmed { covered_by })])
    }

    fn check_covered(&self, covered_by: &[Cover]) -> Result<(), OrderRejection> {
        let total = self.amount_owed()?;
        let covered = Money::sum(self.facts.currency, covered_by.iter().map(|cover| cover.amount))?;
        if covered.amount() < total.amount() {
            return Err(OrderRejection::NotCovered { covered, total });
        }
        Ok(())
    }
}
