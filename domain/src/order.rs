//! Orders, from placing to completion.
//!
//! An order copies everything it was made of (lines, prices, taxes, addresses), so that later changes
//! elsewhere never reach it. Its life is `PendingPayment → Confirmed → Completed | Cancelled |
//! Expired`, and back from `Expired` when late money can still be used. Payments have streams of their
//! own; the order knows which attempt is live, so that there is never more than one.

mod cancel;
mod event;
mod pay;
mod place;
mod ship;

pub use event::{
    CancelledLine, Cover, Fee, LineOption, OrderCancelled, OrderCompleted, OrderConfirmed, OrderContactCorrected, OrderCoupon, OrderEvent,
    OrderExpired, OrderHeld, OrderHold, OrderItem, OrderLine, OrderLinesCancelled, OrderLinesShipped, OrderPaymentClosed,
    OrderPaymentOpened, OrderPlaced, OrderReinstated, OrderReleased, OrderShipmentDelivered, ShippedLine, Tender,
};

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::event::Root;
use crate::id::{CancellationId, FulfilmentId, LineId, PaymentId};
use crate::money::{Money, MoneyError};
use crate::personal::Personal;

/// Terms under which an order is confirmed before anything is paid.
pub const PAY_LATER: &str = "pay_later";

/// Terms under which an order waits for its payment.
pub const PREPAID: &str = "prepaid";

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OrderCommand {
    /// Confirms at once what needs no payment first: a total of zero, or terms to pay later.
    Place(Box<OrderPlaced>),
    OpenPayment {
        payment_id: PaymentId,
        amount: Money,
    },
    /// Closing what isn't live is a no-op.
    ClosePayment {
        payment_id: PaymentId,
        outcome: String,
    },
    Confirm {
        covered_by: Vec<Cover>,
    },
    Expire {
        reason: String,
    },
    /// Late money revives an expired order; stock and coupons are had again in the same append.
    Reinstate {
        payment_id: PaymentId,
        covered_by: Vec<Cover>,
    },
    CancelLines(CancelLines),
    Cancel {
        reason: String,
        by: String,
    },
    Hold {
        reason: String,
    },
    Release {
        reason: String,
    },
    CorrectContact(Box<OrderContactCorrected>),
    /// Shipping the same again is a no-op.
    Ship {
        fulfilment_id: FulfilmentId,
        lines: BTreeMap<LineId, u32>,
        tracking: Option<Personal<String>>,
    },
    Deliver {
        fulfilment_id: FulfilmentId,
    },
    Complete,
}

/// Cancels units. When none are left the order is cancelled as well.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CancelLines {
    pub cancellation_id: CancellationId,
    pub lines: BTreeMap<LineId, u32>,
    pub reason: String,
    pub note: Option<Personal<String>>,
    pub by: String,
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OrderRejection {
    #[error("there is no such order")]
    NotFound,
    #[error("the order exists already")]
    Exists,
    #[error("an order needs a line")]
    NoLines,
    #[error("the totals are not the sums of the lines")]
    TotalsWrong,
    #[error("the tenders don't sum to the total")]
    TendersWrong,
    #[error("the order is {status} and this isn't possible any more or not yet")]
    WrongStatus { status: &'static str },
    #[error("the payment {payment_id} is in progress")]
    PaymentInProgress { payment_id: PaymentId },
    #[error("{covered} of {total} are covered")]
    NotCovered { covered: Money, total: Money },
    #[error("the order has no line {line_id}")]
    LineNotFound { line_id: LineId },
    #[error("only {cancellable} of the line {line_id} can be cancelled")]
    NotCancellable { line_id: LineId, cancellable: u32 },
    #[error("a part of the order has left already")]
    Shipped,
    #[error("only {shippable} of the line {line_id} can be shipped")]
    NotShippable { line_id: LineId, shippable: u32 },
    #[error("the order has no shipment {fulfilment_id}")]
    ShipmentNotFound { fulfilment_id: FulfilmentId },
    #[error("a quantity must be at least one")]
    QuantityZero,
    #[error("the order is on hold")]
    OnHold,
    #[error(transparent)]
    Money(#[from] MoneyError),
}

impl OrderRejection {
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::NotFound => "order_not_found",
            Self::Exists => "order_exists",
            Self::NoLines => "order_without_lines",
            Self::TotalsWrong => "totals_wrong",
            Self::TendersWrong => "tenders_wrong",
            Self::WrongStatus { .. } => "order_status",
            Self::PaymentInProgress { .. } => "payment_in_progress",
            Self::NotCovered { .. } => "order_not_covered",
            Self::LineNotFound { .. } => "line_not_found",
            Self::NotCancellable { .. } => "line_not_cancellable",
            Self::Shipped => "order_shipped",
            Self::NotShippable { .. } => "line_not_shippable",
            Self::ShipmentNotFound { .. } => "shipment_not_found",
            Self::QuantityZero => "quantity_zero",
            Self::OnHold => "order_on_hold",
            Self::Money(error) => error.code(),
        }
    }
}

/// An order as it is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Order {
    #[default]
    Absent,
    Placed(Box<PlacedOrder>),
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlacedOrder {
    /// As placed, with the contact as corrected since.
    pub facts: OrderPlaced,
    pub stage: OrderStage,
    /// The attempt to pay that is under way; at most one.
    pub live_payment: Option<OrderPaymentOpened>,
    /// All attempts, the first one first.
    pub payments: Vec<PaymentId>,
    /// Units cancelled so far, by line, with their worth.
    pub cancelled: BTreeMap<LineId, CancelledLine>,
    /// Why nothing of it is to be shipped now.
    pub on_hold: Option<String>,
    /// What has left.
    #[serde(default)]
    pub shipments: BTreeMap<FulfilmentId, Shipment>,
}

/// Units that have left together.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Shipment {
    pub lines: Vec<ShippedLine>,
    pub tracking: Option<Personal<String>>,
    pub delivered: bool,
}

/// How much of an order has left: the words of the interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FulfilmentStatus {
    Unfulfilled,
    PartiallyFulfilled,
    Fulfilled,
    Delivered,
    Cancelled,
}

impl FulfilmentStatus {
    pub const ALL: [Self; 5] = [Self::Unfulfilled, Self::PartiallyFulfilled, Self::Fulfilled, Self::Delivered, Self::Cancelled];

    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Unfulfilled => "unfulfilled",
            Self::PartiallyFulfilled => "partially_fulfilled",
            Self::Fulfilled => "fulfilled",
            Self::Delivered => "delivered",
            Self::Cancelled => "cancelled",
        }
    }
}

/// Where an order is in its life, with what is known only there.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "stage", rename_all = "snake_case")]
pub enum OrderStage {
    PendingPayment,
    Confirmed { covered_by: Vec<Cover> },
    Completed { covered_by: Vec<Cover> },
    Cancelled { reason: String, by: String },
    Expired { reason: String },
}

impl OrderStage {
    /// The word of the interface.
    #[must_use]
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::PendingPayment => "pending_payment",
            Self::Confirmed { .. } => "confirmed",
            Self::Completed { .. } => "completed",
            Self::Cancelled { .. } => "cancelled",
            Self::Expired { .. } => "expired",
        }
    }
}

impl Order {
    pub fn decide(&self, command: OrderCommand) -> Result<Vec<OrderEvent>, OrderRejection> {
        if let OrderCommand::Place(facts) = command {
            return match self {
                Self::Absent => place::place(facts),
                Self::Placed(_) => Err(OrderRejection::Exists),
            };
        }
        self.placed().ok_or(OrderRejection::NotFound)?.decide(command)
    }

    pub fn apply(&mut self, event: &OrderEvent) {
        if let OrderEvent::OrderPlaced(facts) = event {
            *self = Self::Placed(Box::new(PlacedOrder {
                facts: (**facts).clone(),
                stage: OrderStage::PendingPayment,
                live_payment: None,
                payments: vec![],
                cancelled: BTreeMap::new(),
                on_hold: None,
                shipments: BTreeMap::new(),
            }));
        } else if let Self::Placed(order) = self {
            order.apply(event);
        }
    }

    #[must_use]
    pub fn placed(&self) -> Option<&PlacedOrder> {
        match self {
            Self::Absent => None,
            Self::Placed(order) => Some(order),
        }
    }

    /// The word of the interface; an order that doesn't exist has none.
    #[must_use]
    pub fn status(&self) -> &'static str {
        self.placed().map_or("", |order| order.stage.as_str())
    }
}

impl PlacedOrder {
    fn decide(&self, command: OrderCommand) -> Result<Vec<OrderEvent>, OrderRejection> {
        match command {
            // Answered by the caller.
            OrderCommand::Place(_) => Ok(vec![]),
            OrderCommand::OpenPayment { payment_id, amount } => self.open_payment(payment_id, amount),
            OrderCommand::ClosePayment { payment_id, outcome } => Ok(self.close_payment(payment_id, outcome).into_iter().collect()),
            OrderCommand::Confirm { covered_by } => self.confirm(covered_by),
            OrderCommand::Expire { reason } => self.expire(reason),
            OrderCommand::Reinstate { payment_id, covered_by } => self.reinstate(payment_id, covered_by),
            OrderCommand::CancelLines(cancel) => self.cancel_lines(cancel),
            OrderCommand::Cancel { reason, by } => self.cancel(reason, by),
            OrderCommand::Hold { reason } => match (&self.stage, &self.on_hold) {
                // One that isn't paid may have to wait for a person too: its payment's outcome can't be had.
                (OrderStage::PendingPayment | OrderStage::Confirmed { .. }, None) => Ok(vec![OrderEvent::OrderHeld(OrderHeld { reason })]),
                (OrderStage::PendingPayment | OrderStage::Confirmed { .. }, Some(_)) => Ok(vec![]),
                _ => Err(self.wrong_status()),
            },
            OrderCommand::Release { reason } => {
                let released = self.on_hold.is_some().then_some(OrderReleased { reason });
                Ok(released.into_iter().map(OrderEvent::OrderReleased).collect())
            }
            OrderCommand::CorrectContact(contact) => Ok(self.correct_contact(*contact).into_iter().collect()),
            OrderCommand::Ship { fulfilment_id, lines, tracking } => self.ship(fulfilment_id, &lines, tracking),
            OrderCommand::Deliver { fulfilment_id } => self.deliver(fulfilment_id),
            OrderCommand::Complete => self.complete(),
        }
    }

    fn apply(&mut self, event: &OrderEvent) {
        match event {
            // Applied by the caller.
            OrderEvent::OrderPlaced(_) => {}
            OrderEvent::OrderPaymentOpened(opened) => self.attempt(opened.clone()),
            OrderEvent::OrderPaymentClosed(closed) => {
                self.live_payment.take_if(|live| live.payment_id == closed.payment_id);
            }
            OrderEvent::OrderConfirmed(confirmed) => {
                self.stage = OrderStage::Confirmed { covered_by: confirmed.covered_by.clone() };
            }
            OrderEvent::OrderExpired(expired) => {
                self.stage = OrderStage::Expired { reason: expired.reason.clone() };
                self.on_hold = None;
            }
            OrderEvent::OrderReinstated(reinstated) => {
                self.stage = OrderStage::PendingPayment;
                // The attempt that revived it is the live one again.
                if let Ok(amount) = self.amount_owed() {
                    self.attempt(OrderPaymentOpened { payment_id: reinstated.payment_id, amount });
                }
            }
            OrderEvent::OrderLinesCancelled(cancelled) => self.add_cancelled(&cancelled.lines),
            OrderEvent::OrderCancelled(cancelled) => {
                self.stage = OrderStage::Cancelled { reason: cancelled.reason.clone(), by: cancelled.by.clone() };
                self.on_hold = None;
            }
            OrderEvent::OrderHeld(held) => self.on_hold = Some(held.reason.clone()),
            OrderEvent::OrderReleased(_) => self.on_hold = None,
            OrderEvent::OrderContactCorrected(corrected) => self.take_contact(corrected),
            OrderEvent::OrderLinesShipped(shipped) => {
                let shipment = Shipment { lines: shipped.lines.clone(), tracking: shipped.tracking.clone(), delivered: false };
                self.shipments.insert(shipped.fulfilment_id, shipment);
            }
            OrderEvent::OrderShipmentDelivered(delivered) => {
                if let Some(shipment) = self.shipments.get_mut(&delivered.fulfilment_id) {
                    shipment.delivered = true;
                }
            }
            OrderEvent::OrderCompleted(_) => {
                let covered_by = match &self.stage {
                    OrderStage::Confirmed { covered_by } => covered_by.clone(),
                    _ => vec![],
                };
                self.stage = OrderStage::Completed { covered_by };
            }
        }
    }

    #[must_use]
    pub fn line(&self, line_id: LineId) -> Option<&OrderLine> {
        self.facts.lines.iter().find(|line| line.line_id == line_id)
    }

    /// The units of a line that were cancelled.
    #[must_use]
    pub fn cancelled_units(&self, line_id: LineId) -> u32 {
        self.cancelled.get(&line_id).map_or(0, |line| line.quantity)
    }

    /// What is to be paid: the total without what was cancelled.
    pub fn amount_owed(&self) -> Result<Money, MoneyError> {
        let cancelled = self.cancelled.values().map(|line| line.gross);
        self.facts.totals.total.minus(Money::sum(self.facts.currency, cancelled)?)
    }

    /// One that was over may be the live one again; it is counted once.
    fn attempt(&mut self, opened: OrderPaymentOpened) {
        if !self.payments.contains(&opened.payment_id) {
            self.payments.push(opened.payment_id);
        }
        self.live_payment = Some(opened);
    }

    fn complete(&self) -> Result<Vec<OrderEvent>, OrderRejection> {
        match self.stage {
            OrderStage::Confirmed { .. } if self.on_hold.is_some() => Err(OrderRejection::OnHold),
            OrderStage::Confirmed { .. } => Ok(vec![OrderEvent::OrderCompleted(OrderCompleted {})]),
            OrderStage::Completed { .. } => Ok(vec![]),
            _ => Err(self.wrong_status()),
        }
    }

    fn correct_contact(&self, wanted: OrderContactCorrected) -> Option<OrderEvent> {
        let facts = &self.facts;
        let corrected = OrderContactCorrected {
            email: wanted.email.filter(|email| *email != facts.email),
            phone: wanted.phone.filter(|phone| Some(phone) != facts.phone.as_ref()),
            shipping_address: wanted.shipping_address.filter(|address| *address != facts.shipping_address),
            billing_address: wanted.billing_address.filter(|address| Some(address) != facts.billing_address.as_ref()),
        };
        let nothing = corrected == OrderContactCorrected::default();
        (!nothing).then_some(OrderEvent::OrderContactCorrected(Box::new(corrected)))
    }

    fn take_contact(&mut self, corrected: &OrderContactCorrected) {
        let facts = &mut self.facts;
        if let Some(email) = &corrected.email {
            facts.email = email.clone();
        }
        if let Some(address) = &corrected.shipping_address {
            facts.shipping_address = address.clone();
        }
        facts.phone = corrected.phone.clone().or(facts.phone.take());
        facts.billing_address = corrected.billing_address.clone().or(facts.billing_address.take());
    }

    const fn wrong_status(&self) -> OrderRejection {
        OrderRejection::WrongStatus { status: self.stage.as_str() }
    }
}

aggregate!(Order = "order", OrderCommand => OrderEvent, OrderRejection);

/// An order's own id is its partition key; its payments use it, too.
impl Root for Order {
    const CONTEXT: &'static str = "order";
}
