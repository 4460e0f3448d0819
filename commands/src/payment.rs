//! Payments: what the provider says, and what follows from it, in one append.
//!
//! An authorised payment without a decided fate exists at no position of the log: the append that records an outcome also
//! confirms the order and takes its stock, or gives the money back. Whoever is second (answer, webhook, query) finds it
//! recorded and appends nothing. Money that the order doesn't need goes back by the same append that shows it is not needed.

mod attempt;
mod operate;
mod reported;

pub use attempt::pay;
pub(crate) use attempt::{open, start_again};
pub(crate) use operate::payments;
pub use operate::{Capture, Refund, RefundOf, capture, refund, void};
pub use reported::{Completes, Reported, reported};

use chrono::Duration;
use domain::cart::{Cart, CartCommand, CartStage};
use domain::id::{OperationId, PaymentId, RefundId};
use domain::money::Money;
use domain::order::{Cover, Order, OrderCommand, OrderRejection, OrderStage, PlacedOrder};
use domain::payment::{
    CaptureMode, Operation, OperationKind, Outcome, Payment, PaymentCommand, PaymentEvent, PaymentRejection, ProviderFact, RefundRequested,
};
use infra::sealing::KeyScope;
use uuid::Uuid;

use crate::answer::Refusal;
use crate::cart;
use crate::checkout::{order_key, scope};
use crate::order::{self, promise};
use crate::promotion;
use crate::streams::{Stop, Streams};

/// Why an order is on hold whose money can't be taken.
pub const CAPTURE_FAILED: &str = "capture_failed";
/// Why an order is on hold of whose payment nobody knows what became of it.
pub const PAYMENT_UNKNOWN: &str = "payment_unknown";
/// Why a confirmed order is on hold whose money was let go of.
pub const PAYMENT_VOIDED: &str = "payment_voided";

/// Why a void came to nothing: the provider had never heard of the payment when it was asked.
pub(crate) const NOTHING_TO_VOID: &str = "nothing_to_void";

/// How long an expired order may still be revived by money that comes late.
#[derive(Debug, Clone, Copy)]
pub struct Late {
    pub reinstate_window: Duration,
}

/// Records an outcome and all that follows from it.
pub fn record(streams: &mut Streams<'_>, reported: &Reported, late: Late) -> Result<(), Stop> {
    let key = reported.payment_id.to_string();
    let payment = streams.get::<Payment>(&key)?;
    let Some(created) = payment.created.clone() else {
        return Err(Refusal::not_found("payment").into());
    };
    let mut payment = payment.clone();
    if reported.evidence.provider_ref.as_ref().is_some_and(|theirs| payment.is_another(theirs)) {
        return Err(Refusal::not_found("payment").into());
    }
    let command = PaymentCommand::Record { evidence: reported.evidence.clone(), fact: reported.fact.clone() };
    let events = payment.decide(command).map_err(|e| payment_refusal(&e))?;
    if events.is_empty() {
        return Ok(());
    }
    let order = streams.get::<Order>(&order_key(created.order_id))?.clone();
    let placed = order.placed().ok_or_else(|| Refusal::not_found("order"))?;
    let completes = match reported.completes {
        Completes::Nothing => None,
        Completes::Checkout(key) => Some(key),
        // What confirmed the order has completed its checkout.
        Completes::NotLookedUp if is_confirmed(placed) && is_after_authorization(&reported.fact) => None,
        Completes::NotLookedUp => return Err(Stop::Stale),
    };
    for event in &events {
        payment.apply(event);
    }
    let people = scope(placed.facts.subject_id.uuid());
    streams.emit::<Payment>(&key, events, Some(people))?;
    let mut outcome = Consequence { streams, order: placed, payment, payment_id: reported.payment_id, people, late };
    let consequence = match &reported.fact {
        ProviderFact::Authorized { .. } => outcome.authorized()?,
        ProviderFact::Captured { .. } => outcome.captured()?,
        ProviderFact::AuthorizationFailed { .. } => outcome.unpaid("failed")?,
        ProviderFact::Voided { .. } | ProviderFact::AuthorizationExpired { .. } => outcome.unpaid("voided")?,
        ProviderFact::CaptureFailed { .. } => outcome.capture_failed()?,
        ProviderFact::VoidFailed { code } => outcome.void_failed(code)?,
        _ => Vec::new(),
    };
    if !matches!(reported.fact, ProviderFact::Unknown { .. }) {
        streams.complete(completes);
    }
    streams.emit::<Payment>(&key, consequence, Some(people))
}

/// The outcome of an operation can't be had for too long: the order waits for a person, its stock held. What the provider says
/// later is believed all the same, and lets the order go on.
pub fn park(streams: &mut Streams<'_>, payment_id: PaymentId, operation_id: OperationId) -> Result<(), Stop> {
    let payment = streams.get::<Payment>(&payment_id.to_string())?.clone();
    let (Some(created), Some(operation)) = (&payment.created, payment.operation(operation_id)) else { return Ok(()) };
    if operation.kind != OperationKind::Capture || !operation.outcome.is_open() {
        // An authorisation waits for the order's deadline; what gives money back keeps no order waiting.
        return Ok(());
    }
    let order = streams.get::<Order>(&order_key(created.order_id))?.clone();
    let live = |order: &&PlacedOrder| order.live_payment.as_ref().is_some_and(|live| live.payment_id == payment_id);
    match order.placed().filter(live) {
        Some(placed) if is_confirmed(placed) => order::hold_for_payment(streams, placed, PAYMENT_UNKNOWN),
        _ => Ok(()),
    }
}

fn is_confirmed(order: &PlacedOrder) -> bool {
    matches!(order.stage, OrderStage::Confirmed { .. } | OrderStage::Completed { .. })
}

fn is_after_authorization(fact: &ProviderFact) -> bool {
    matches!(
        fact,
        ProviderFact::Captured { .. }
            | ProviderFact::CaptureFailed { .. }
            | ProviderFact::RefundPending { .. }
            | ProviderFact::RefundSucceeded { .. }
            | ProviderFact::RefundFailed { .. }
    )
}

/// What an outcome means for the order. Each function emits what the order, its stock and its cart say, and returns what the
/// payment says, which comes last.
struct Consequence<'s, 'c, 'o> {
    streams: &'s mut Streams<'c>,
    order: &'o PlacedOrder,
    /// With the outcome.
    payment: Payment,
    payment_id: PaymentId,
    people: KeyScope,
    late: Late,
}

impl Consequence<'_, '_, '_> {
    /// The order waits for this money: confirm and capture. It does not: let go of it.
    fn authorized(&mut self) -> Result<Vec<PaymentEvent>, Stop> {
        if is_given_up(&self.payment) || self.payment.voided() {
            // It is being let go of already, and the void's own outcome says what becomes of the order; or this word is an old one.
            return Ok(Vec::new());
        }
        let order = self.order;
        let has_use = match order.stage {
            OrderStage::PendingPayment if self.is_live() => {
                self.confirm()?;
                true
            }
            OrderStage::Confirmed { .. } if self.is_live() => {
                order::release_from_payment_hold(self.streams, self.order)?;
                true
            }
            OrderStage::Expired { .. } => self.reinstate()?,
            _ => false,
        };
        if !has_use {
            let reason = format!("the order is {}", self.order.stage.as_str());
            return Ok(let_go(&self.payment, self.payment_id, &reason));
        }
        Ok(self.capture_authorized())
    }

    /// Money has come. Usually the order was confirmed before; if not, it is now, or what it doesn't need goes back.
    fn captured(&mut self) -> Result<Vec<PaymentEvent>, Stop> {
        let order = self.order;
        let is_needed = match order.stage {
            OrderStage::PendingPayment if self.is_live() => {
                self.confirm()?;
                true
            }
            OrderStage::Confirmed { .. } | OrderStage::Completed { .. } => true,
            OrderStage::Expired { .. } => self.reinstate()?,
            OrderStage::PendingPayment | OrderStage::Cancelled { .. } => false,
        };
        let needed = if is_needed { self.owed() } else { 0 };
        let covering = self.covering()?;
        if needed > 0 && covering >= needed {
            order::release_from_payment_hold(self.streams, self.order)?;
        }
        let is_all = self.payment.capturable() == 0 && !self.payment.awaits(OperationKind::Capture);
        if is_all || covering >= needed {
            self.close("captured")?;
        }
        order::complete_if_done(self.streams, self.order)?;
        let reason = format!("the order is {} and does not need it", self.order.stage.as_str());
        Ok(refund_of(&self.payment, self.payment_id, covering - needed, &reason))
    }

    /// No money will come of this attempt. An order whose time is over expires with it; one that was confirmed on it waits.
    fn unpaid(&mut self, outcome: &str) -> Result<Vec<PaymentEvent>, Stop> {
        if !self.is_live() {
            return Ok(Vec::new());
        }
        self.close(outcome)?;
        let (order, covering) = (self.order, self.covering()?);
        match order.stage {
            OrderStage::PendingPayment => {
                let is_over = self.order.facts.payment_deadline.is_some_and(|deadline| deadline <= self.streams.now);
                if is_over {
                    order::end(self.streams, self.order, order::expired(), "expired")?;
                } else {
                    order::release_from_payment_hold(self.streams, self.order)?;
                }
            }
            OrderStage::Confirmed { .. } if covering < self.owed() => {
                order::hold_for_payment(self.streams, order, PAYMENT_VOIDED)?;
            }
            _ => {}
        }
        Ok(Vec::new())
    }

    /// A confirmed order does not leave unpaid; what nobody wants any more is let go of.
    fn capture_failed(&mut self) -> Result<Vec<PaymentEvent>, Stop> {
        if is_confirmed(self.order) && self.is_live() {
            order::hold_for_payment(self.streams, self.order, CAPTURE_FAILED)?;
            return Ok(Vec::new());
        }
        let reason = format!("the order is {}", self.order.stage.as_str());
        Ok(let_go(&self.payment, self.payment_id, &reason))
    }

    /// The money could not be let go of. Where the order still waits it is used after all; where nothing is authorised yet, a
    /// person has to look. A provider that had never heard of the payment may have authorised it since: that void was never sent,
    /// and another one is.
    fn void_failed(&mut self, code: &str) -> Result<Vec<PaymentEvent>, Stop> {
        if self.order.stage != OrderStage::PendingPayment || !self.is_live() {
            let has_come_since = code == NOTHING_TO_VOID && self.payment.authorized() > 0;
            let reason = format!("the order is {}", self.order.stage.as_str());
            return Ok(if has_come_since { let_go(&self.payment, self.payment_id, &reason) } else { Vec::new() });
        }
        if self.payment.authorized() > 0 {
            self.confirm()?;
            return Ok(self.capture_authorized());
        }
        if self.payment.awaits(OperationKind::Authorize) {
            order::hold_for_payment(self.streams, self.order, PAYMENT_UNKNOWN)?;
        }
        Ok(Vec::new())
    }

    /// Confirmed, its stock allocated, its cart done: one append with the outcome that allows it.
    fn confirm(&mut self) -> Result<(), Stop> {
        let covered_by = self.cover()?;
        let id = order_key(self.order.facts.order_id);
        let events = self.streams.get::<Order>(&id)?.decide(OrderCommand::Confirm { covered_by }).map_err(|e| order_refusal(&e))?;
        self.streams.emit::<Order>(&id, events, Some(self.people))?;
        promise::allocate(self.streams, &self.order.facts)?;
        promotion::redeem(self.streams, &self.order.facts)?;
        order::release_from_payment_hold(self.streams, self.order)?;
        self.complete_cart()
    }

    /// Late money revives an order that has expired, if all it was made of can be had again. `false`: it can't.
    fn reinstate(&mut self) -> Result<bool, Stop> {
        let facts = &self.order.facts;
        let is_late = facts.payment_deadline.is_none_or(|deadline| deadline + self.late.reinstate_window < self.streams.now);
        let covers = self.payment.created.as_ref().is_some_and(|created| created.amount.amount() >= self.owed());
        if is_late || !covers {
            return Ok(false);
        }
        if let Some(key) = &facts.cart {
            // A cart that was checked out again is paid for again: once is enough.
            let cart = self.streams.get::<Cart>(key.as_str())?;
            let is_as_it_was = Some(cart.checkouts) == facts.checkout_no && cart.order_id == Some(facts.order_id);
            if !is_as_it_was || !matches!(cart.stage, CartStage::Open | CartStage::Expired) {
                return Ok(false);
            }
        }
        let Some(coupons) = promotion::have_again(self.streams, facts)? else { return Ok(false) };
        if !promise::have_again(self.streams, facts)? {
            return Ok(false);
        }
        coupons.redeem(self.streams, facts)?;
        let id = order_key(facts.order_id);
        let command = OrderCommand::Reinstate { payment_id: self.payment_id, covered_by: self.cover()? };
        let events = self.streams.get::<Order>(&id)?.decide(command).map_err(|e| order_refusal(&e))?;
        self.streams.emit::<Order>(&id, events, Some(self.people))?;
        self.complete_cart()?;
        Ok(true)
    }

    fn cover(&self) -> Result<Vec<Cover>, Stop> {
        let created = self.payment.created.as_ref().ok_or_else(|| Refusal::not_found("payment"))?;
        Ok(vec![Cover { tender_id: created.tender_id, amount: created.amount }])
    }

    fn complete_cart(&mut self) -> Result<(), Stop> {
        let order_id = self.order.facts.order_id;
        let Some(key) = &self.order.facts.cart else { return Ok(()) };
        let state = self.streams.get::<Cart>(key.as_str())?;
        let subject_id = state.subject_id;
        let events = state.decide(CartCommand::Complete { order_id }).map_err(cart::refusal)?;
        cart::emit(self.streams, key, subject_id, events)
    }

    /// Takes the money at once, unless the store takes it by hand.
    fn capture_authorized(&self) -> Vec<PaymentEvent> {
        let Some(created) = self.payment.created.as_ref().filter(|created| created.capture == CaptureMode::Automatic) else {
            return Vec::new();
        };
        let operation_id = nth_operation(&self.payment, self.payment_id, OperationKind::Capture);
        let idempotency_key = operation_id.to_string();
        let capture = PaymentCommand::RequestCapture { operation_id, idempotency_key, amount: created.amount, is_final: true };
        self.payment.decide(capture).unwrap_or_default()
    }

    fn close(&mut self, outcome: &str) -> Result<(), Stop> {
        let id = order_key(self.order.facts.order_id);
        let command = OrderCommand::ClosePayment { payment_id: self.payment_id, outcome: outcome.to_owned() };
        let events = self.streams.after::<Order>(&id)?.decide(command).map_err(|e| order_refusal(&e))?;
        self.streams.emit::<Order>(&id, events, Some(self.people))
    }

    fn is_live(&self) -> bool {
        self.order.live_payment.as_ref().is_some_and(|live| live.payment_id == self.payment_id)
    }

    fn owed(&self) -> i64 {
        self.order.amount_owed().map_or(0, Money::amount)
    }

    fn covering(&mut self) -> Result<i64, Stop> {
        covering(self.streams, self.order, Some((self.payment_id, &self.payment)))
    }
}

/// What all of an order's payments cover of its price, in minor units; `newer` is one of them as it is after what is being decided.
pub(crate) fn covering(streams: &mut Streams<'_>, order: &PlacedOrder, newer: Option<(PaymentId, &Payment)>) -> Result<i64, Stop> {
    let mut covering = newer.map_or(0, |(_, payment)| payment.covering());
    let others = || order.payments.iter().filter(|id| newer.is_none_or(|(newer, _)| newer != **id));
    streams.need::<Payment>(others().map(ToString::to_string))?;
    for payment_id in others() {
        covering += streams.after::<Payment>(&payment_id.to_string())?.covering();
    }
    Ok(covering)
}

/// Decides the fate of an attempt that nobody wants any more: what was taken is refunded, what is authorised, or may yet be, is
/// voided. What is being taken right now is left to the capture's outcome.
pub(crate) fn let_go(payment: &Payment, payment_id: PaymentId, reason: &str) -> Vec<PaymentEvent> {
    if payment.captured() > 0 {
        return refund_of(payment, payment_id, payment.refundable(), reason);
    }
    let operation_id = nth_operation(payment, payment_id, OperationKind::Void);
    let void = PaymentCommand::RequestVoid { operation_id, idempotency_key: operation_id.to_string(), reason: reason.to_owned() };
    // Nothing is to be let go of, or it is being let go of.
    payment.decide(void).unwrap_or_default()
}

/// Gives back what of a payment is too much, as far as it can be.
fn refund_of(payment: &Payment, payment_id: PaymentId, excess: i64, reason: &str) -> Vec<PaymentEvent> {
    let currency = payment.created.as_ref().map(|created| created.amount.currency());
    let amount = currency.and_then(|currency| Money::new(excess.min(payment.refundable()), currency).ok());
    let Some(amount) = amount.filter(|amount| amount.amount() > 0) else { return Vec::new() };
    let operation_id = nth_operation(payment, payment_id, OperationKind::Refund);
    let refund = RefundRequested {
        operation_id,
        refund_id: RefundId::new(operation_id.uuid()),
        idempotency_key: operation_id.to_string(),
        amount,
        reason: reason.to_owned(),
        allocation: Vec::new(),
    };
    // A dispute that is open takes the money by itself.
    payment.decide(PaymentCommand::RequestRefund(refund)).unwrap_or_default()
}

/// The id of a payment's next operation of a kind, the same however often the decision is made.
fn nth_operation(payment: &Payment, payment_id: PaymentId, kind: OperationKind) -> OperationId {
    let before = payment.of_kind(kind).count();
    let name = if before == 0 { kind.as_str().to_owned() } else { format!("{}/{before}", kind.as_str()) };
    OperationId::new(Uuid::new_v5(&payment_id.uuid(), name.as_bytes()))
}

/// Whether a payment is being let go of, or was: then it is asked for no more.
pub(crate) fn is_given_up(payment: &Payment) -> bool {
    let given_up = |void: &Operation| void.outcome.is_open() || void.outcome == Outcome::Succeeded;
    payment.of_kind(OperationKind::Void).any(given_up)
}

pub(crate) fn order_refusal(rejection: &OrderRejection) -> Refusal {
    let detail = rejection.to_string();
    match rejection {
        OrderRejection::NotFound => Refusal::not_found("order"),
        OrderRejection::LineNotFound { .. } => Refusal::not_found("line"),
        OrderRejection::Exists => Refusal::new("already_exists", detail),
        OrderRejection::PaymentInProgress { .. } => Refusal::new(rejection.code(), format!("{detail}; wait for its outcome")),
        OrderRejection::NoLines => Refusal::new("cart_empty", detail),
        OrderRejection::NotCancellable { line_id, cancellable } => {
            let refusal = Refusal::new(rejection.code(), format!("{detail}; cancel no more, and take back what has left by a return"));
            refusal.fact("line_id", line_id.to_string()).fact("cancellable", *cancellable)
        }
        OrderRejection::NotShippable { line_id, shippable } => {
            let refusal = Refusal::new(rejection.code(), format!("{detail}; ship no more"));
            refusal.fact("line_id", line_id.to_string()).fact("shippable", *shippable)
        }
        OrderRejection::ShipmentNotFound { .. } => Refusal::not_found("shipment"),
        OrderRejection::Shipped => Refusal::new(rejection.code(), format!("{detail}; cancel the lines that are left, or take it back")),
        OrderRejection::OnHold => Refusal::new(rejection.code(), format!("{detail}; release it first")),
        OrderRejection::QuantityZero => Refusal::invalid("/lines", rejection.code(), detail),
        OrderRejection::Money(_) => Refusal::invalid("", rejection.code(), detail),
        OrderRejection::WrongStatus { .. } | OrderRejection::NotCovered { .. } => Refusal::new(rejection.code(), detail),
        OrderRejection::TotalsWrong | OrderRejection::TendersWrong => Refusal::new("invalid_state", detail),
    }
}

fn payment_refusal(rejection: &PaymentRejection) -> Refusal {
    let detail = rejection.to_string();
    match rejection {
        PaymentRejection::NotFound => Refusal::not_found("payment"),
        PaymentRejection::Exists => Refusal::new("already_exists", detail),
        PaymentRejection::NotCapturable { capturable } => Refusal::new(rejection.code(), detail).fact("capturable", capturable.amount()),
        PaymentRejection::NotRefundable { refundable } => Refusal::new(rejection.code(), detail).fact("refundable", refundable.amount()),
        PaymentRejection::AlreadyCaptured
        | PaymentRejection::CaptureInProgress
        | PaymentRejection::NothingToVoid
        | PaymentRejection::DisputeOpen => Refusal::new(rejection.code(), detail),
        PaymentRejection::AmountNotPositive | PaymentRejection::Money(_) => Refusal::invalid("/amount", rejection.code(), detail),
        PaymentRejection::AllocationWrong => Refusal::invalid("/lines", rejection.code(), detail),
    }
}
