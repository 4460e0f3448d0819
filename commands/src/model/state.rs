//! What a state of the model is made of, and how many there may be.

use domain::order::{OrderStage, PlacedOrder};
use domain::payment::CaptureMode;

use super::command::{Passed, Said};
use super::provider::Account;
use super::shop::{self, Id, ORDERS, PAYMENTS, Values};

/// How large a model is, and what its provider may do.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bounds {
    pub(super) units: u32,
    /// How often each cart is checked out at most; 0: there is no such shopper.
    pub(super) checkouts: [u32; shop::CARTS],
    /// To pay an order of each cart.
    pub(super) attempts: [usize; shop::CARTS],
    /// An authorisation may stay pending, or ask for the shopper, before it is decided; and captures, voids and refunds may go
    /// without an answer until nobody waits any more, as authorisations always may.
    pub(super) slow: bool,
    /// Captures, voids and refunds that are possible may be refused all the same.
    pub(super) refuses: bool,
    /// Money is taken by hand.
    pub(super) capture: CaptureMode,
    /// A merchant may void and refund.
    pub(super) merchant: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct State {
    pub(super) values: Values,
    pub(super) accounts: [Account; PAYMENTS],
    /// Of each order; of one that time does nothing to any more, as in the beginning.
    pub(super) clocks: [Clock; ORDERS],
    /// What an unsafe program keeps in mind between two appends.
    pub(super) seen_stock: [Option<Id>; shop::CARTS],
    pub(super) to_conclude: Option<PutOff>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct Clock {
    pub(super) passed: Passed,
    /// Its deadline is not looked at any more.
    pub(super) is_done: bool,
}

/// An outcome whose consequence was not appended yet, and the payment before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct PutOff {
    pub(super) payment: u8,
    pub(super) place: u8,
    pub(super) said: Said,
    pub(super) before: Id,
}

/// Deadlines are of orders that are not paid, and late money of those that have expired.
pub(super) const fn time_matters(order: &PlacedOrder) -> bool {
    matches!(order.stage, OrderStage::PendingPayment | OrderStage::Expired { .. })
}
