//! What may happen next, and how it is told.

use std::fmt;

use super::goods;
use super::provider::Answer;

/// An operation of a payment, by its place in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct At {
    pub(super) payment: usize,
    pub(super) place: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Action {
    /// A cart, by the shopper, or again in another tab.
    CheckOut(usize),
    /// An order, by a new attempt.
    Pay(usize),
    Cancel(usize),
    /// An order's time goes on.
    Pass(usize),
    /// The reactor looks at an order whose deadline has passed.
    Deadline(usize),
    /// The reactor makes a call; of its answer nothing is said yet.
    Call(At),
    /// The reactor asks what the provider knows of the payment: nothing.
    AskInVain(At),
    /// And concludes from it.
    GiveUp(At),
    /// The request never arrives.
    Lose(At),
    Answer(At, Answer),
    /// The reactor waits no longer for an answer.
    TimeOut(At),
    /// The reactor leaves a capture whose outcome it can't get to a person.
    Park(At),
    /// An outcome is heard of: by answer, webhook or query, for the first time or again.
    Hear(At),
    /// A merchant captures a payment by hand, voids it, refunds it.
    Capture(usize),
    Void(usize),
    Refund(usize),
    /// Unsafe ones: the checkout of a cart looks at the stock; what was put off is carried out; it is forgotten.
    Look(usize),
    Conclude,
    Crash,
}

impl Action {
    /// Nobody may rely on a shopper who comes back, or on a merchant who is awake.
    pub(super) const fn is_voluntary(self) -> bool {
        let shopper = matches!(self, Self::CheckOut(_) | Self::Pay(_) | Self::Cancel(_) | Self::Look(_));
        let merchant = matches!(self, Self::Capture(_) | Self::Void(_) | Self::Refund(_));
        shopper || merchant
    }
}

impl fmt::Display for At {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.place {
            0 => write!(f, "the authorisation of {}", goods::payment_name(self.payment)),
            place => write!(f, "operation {} of {}", place + 1, goods::payment_name(self.payment)),
        }
    }
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::CheckOut(cart) => write!(f, "cart {} is checked out", goods::cart_name(cart)),
            Self::Pay(order) => write!(f, "the shopper pays order {} again", goods::order_name(order)),
            Self::Cancel(order) => write!(f, "the shopper cancels order {}", goods::order_name(order)),
            Self::Pass(order) => write!(f, "time passes for order {}", goods::order_name(order)),
            Self::Deadline(order) => write!(f, "the reactor looks at the deadline of order {}", goods::order_name(order)),
            Self::Call(at) => write!(f, "{at} is sent"),
            Self::AskInVain(at) => write!(f, "for {at} the provider is asked and knows nothing"),
            Self::GiveUp(at) => write!(f, "{at} is given up"),
            Self::Lose(at) => write!(f, "{at} is lost on its way"),
            Self::Answer(at, answer) => write!(f, "the provider decides on {at}: {answer:?}"),
            Self::TimeOut(at) => write!(f, "{at} is waited for no longer"),
            Self::Park(at) => write!(f, "{at} is left to a person"),
            Self::Hear(at) => write!(f, "the outcome of {at} is heard"),
            Self::Capture(payment) => write!(f, "the merchant captures {}", goods::payment_name(payment)),
            Self::Void(payment) => write!(f, "the merchant voids {}", goods::payment_name(payment)),
            Self::Refund(payment) => write!(f, "the merchant refunds {}", goods::payment_name(payment)),
            Self::Look(cart) => write!(f, "the checkout of cart {} looks at the stock", goods::cart_name(cart)),
            Self::Conclude => write!(f, "what follows is appended"),
            Self::Crash => write!(f, "the process dies"),
        }
    }
}
