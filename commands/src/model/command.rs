//! The calls of the program that the model makes, as small values: the same call is the same value.

use domain::id::{OperationId, RefundId};

use super::action::At;
use super::provider::Amount;
use super::unsafe_variant;

/// What the provider says became of an operation, or what its silence means.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Said {
    Authorized,
    Declined,
    ActionRequired,
    Captured,
    CaptureFailed,
    Voided,
    VoidFailed,
    Refunded,
    RefundFailed,
    Unknown,
    /// Given up, and the provider has never heard of it.
    NeverArrived,
    NothingToVoid,
}

/// How far an order's time has gone.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(super) enum Passed {
    #[default]
    Nothing,
    /// Its payment deadline.
    Deadline,
    /// Also what an unknown outcome is waited for, and what late money may take.
    Patience,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Told {
    pub(super) payment: usize,
    pub(super) operation_id: OperationId,
    pub(super) refund_id: Option<RefundId>,
    pub(super) said: Said,
    pub(super) amount: Amount,
    pub(super) passed: Passed,
}

/// One call of the program. Ids are made of the numbers, so that the same call is the same always.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Command {
    Place(Placing),
    /// Another attempt.
    Pay(usize),
    Cancel(usize),
    Expire(usize, Passed),
    Record(Told),
    /// The outcome of an operation is waited for no longer.
    Park(usize, OperationId),
    /// What a merchant asks for; the operation gets this place in the payment.
    Capture(At),
    Void(At),
    Refund(At),
    /// Not the program's: what the unsafe variants do instead.
    Unsafe(unsafe_variant::Command),
}

/// A checkout of a cart that would make this order, and pay it so.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Placing {
    pub(super) cart: usize,
    pub(super) order: usize,
    pub(super) payment: Option<usize>,
}
