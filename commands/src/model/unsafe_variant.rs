//! Ways to sell that are unsafe. The search has to find what is wrong with each, or it proves nothing about the safe one.
//!
//! Each takes the program's own decisions and breaks one rule of theirs: mostly, what was read is not what is there when the
//! events land, and nobody checks.

use domain::cart::CartStage;
use domain::order::{Order, OrderPaymentOpened, OrderStage};
use domain::payment::{Payment, PaymentCommand};

use super::command::{Said, Told};
use super::goods::{self, Goods};
use super::shop::{self, Id, Shop, Values};
use crate::answer::Refusal;
use crate::payment;
use crate::streams::{Stop, Streams};

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum UnsafeVariant {
    /// Availability is looked at first; the stock is taken later, without another look.
    CheckThenTake,
    /// An outcome is appended first, what follows from it later; a crash between the two forgets the rest.
    OutcomeThenConsequence,
    /// A second attempt may begin beside the first, and each that is authorised is captured.
    TwoLiveAttempts,
    /// Late money reinstates an order although its cart was checked out again.
    ReinstateRebought,
}

/// Decisions that the program does not have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Command {
    RecordAlone(Told),
    /// Another attempt.
    PayBeside(usize),
}

/// What a decision reads in place of what is there, and how many of its events are left out.
#[derive(Debug, Default)]
pub(super) struct Misread {
    pub(super) reads: Vec<(usize, Id)>,
    pub(super) events_not_landed: usize,
}

impl Misread {
    pub(super) fn read_as(&self, slot: usize) -> Option<Id> {
        self.reads.iter().find(|(read, _)| *read == slot).map(|(_, id)| *id)
    }
}

pub(super) fn decide(streams: &mut Streams<'_>, goods: &Goods, command: Command) -> Result<(), Stop> {
    match command {
        Command::RecordAlone(told) => record_alone(streams, &told),
        Command::PayBeside(payment) => pay_beside(streams, goods, payment),
    }
}

/// The outcome, and nothing of what follows from it.
fn record_alone(streams: &mut Streams<'_>, told: &Told) -> Result<(), Stop> {
    let reported = goods::reported(told);
    let key = reported.payment_id.to_string();
    let command = PaymentCommand::Record { evidence: reported.evidence, fact: reported.fact };
    let events = streams.get::<Payment>(&key)?.decide(command).map_err(|e| Refusal::new("invalid_state", e.to_string()))?;
    streams.emit::<Payment>(&key, events, None)
}

/// Another attempt, whether or not one is live.
fn pay_beside(streams: &mut Streams<'_>, goods: &Goods, payment: usize) -> Result<(), Stop> {
    let order_id = goods::order_id(shop::order_of(payment));
    let mut order = streams.get::<Order>(&order_id.to_string())?.clone();
    let Order::Placed(placed) = &mut order else { return Err(Refusal::not_found("order").into()) };
    if placed.stage != OrderStage::PendingPayment {
        return Ok(());
    }
    placed.live_payment = None;
    let total = placed.facts.totals.total;
    let mut opened = payment::open(streams, &order, order_id, &goods.attempt(payment), total)?;
    streams.emit::<Order>(&order_id.to_string(), std::mem::take(&mut opened.order_events), None)?;
    opened.emit_payment(streams)
}

impl UnsafeVariant {
    /// What the recording of an outcome takes for the truth.
    pub(super) fn misread(self, shop: &mut Shop, values: &Values, told: &Told) -> Option<Misread> {
        let order = shop::order_of(told.payment);
        let placed = shop.order(values, order)?.clone();
        match (self, told.said) {
            (Self::TwoLiveAttempts, _) if matches!(placed.stage, OrderStage::Cancelled { .. } | OrderStage::Expired { .. }) => None,
            (Self::TwoLiveAttempts, Said::Authorized | Said::Captured) => {
                let opened = placed.live_payment.clone();
                let total = placed.facts.totals.total;
                let payment_id = goods::payment_id(told.payment);
                let read = shop.order_but(values, order, |order| {
                    // An attempt that is authorised takes itself for the one that the order waits for.
                    if told.said == Said::Authorized {
                        order.stage = OrderStage::PendingPayment;
                    }
                    let mut live = opened.unwrap_or(OrderPaymentOpened { payment_id, amount: total });
                    live.payment_id = payment_id;
                    order.live_payment = Some(live);
                });
                Some(Misread { reads: vec![(shop::order_slot(order), read)], events_not_landed: 0 })
            }
            (Self::ReinstateRebought, _) if matches!(placed.stage, OrderStage::Expired { .. }) => {
                let cart = shop::cart_of(order);
                let read = shop.cart_but(values, cart, |cart| {
                    // As if it had not been checked out again.
                    cart.stage = CartStage::Open;
                    cart.order_id = Some(placed.facts.order_id);
                    cart.checkouts = placed.facts.checkout_no.unwrap_or_default();
                });
                Some(Misread { reads: vec![(shop::cart_slot(cart), read)], events_not_landed: 0 })
            }
            _ => None,
        }
    }
}
