//! From a cart to an order and, when that comes to nothing, back.

use super::{Cart, CartCheckoutStarted, CartCompleted, CartEvent, CartRejection, CartReopened, CartStage};
use crate::id::OrderId;
use crate::money::Money;

impl Cart {
    pub(super) fn start_checkout(&self, order_id: OrderId, total: Money, requires_shipping: bool) -> Result<Vec<CartEvent>, CartRejection> {
        match self.stage {
            CartStage::Completing { order_id: started, .. } if started == order_id => return Ok(vec![]),
            _ => self.check_open()?,
        }
        self.check_currency(total)?;
        let missing = self.missing(requires_shipping);
        if !missing.is_empty() {
            return Err(CartRejection::CheckoutIncomplete { missing });
        }
        let started = CartCheckoutStarted { order_id, checkout_no: self.next_checkout_no(), total };
        Ok(vec![CartEvent::CartCheckoutStarted(started)])
    }

    /// A cart that isn't frozen for this order (any more) needs no reopening.
    pub(super) fn reopen(&self, order_id: OrderId, reason: String) -> Result<Vec<CartEvent>, CartRejection> {
        match self.stage {
            CartStage::Absent => Err(CartRejection::NotFound),
            CartStage::Completing { order_id: started, .. } if started == order_id => {
                Ok(vec![CartEvent::CartReopened(CartReopened { order_id, reason })])
            }
            _ => Ok(vec![]),
        }
    }

    /// Late money may revive an order after its cart was reopened, unless that was checked out again.
    pub(super) fn complete(&self, order_id: OrderId) -> Result<Vec<CartEvent>, CartRejection> {
        match self.stage {
            CartStage::Absent => Err(CartRejection::NotFound),
            CartStage::Completed { order_id: completed } if completed == order_id => Ok(vec![]),
            CartStage::Completing { .. } | CartStage::Open | CartStage::Expired if self.order_id == Some(order_id) => {
                Ok(vec![CartEvent::CartCompleted(CartCompleted { order_id })])
            }
            _ => Err(CartRejection::OtherOrder { order_id }),
        }
    }
}
