//! Payments: what the provider says, and what follows from it, in one append.
//!
//! An authorised payment without a decided fate exists at no position of the log: the append that records an outcome also
//! confirms the order and takes its stock, or gives the money back. Whoever is second (answer, webhook, query) finds it
//! recorded and appends nothing.

use chrono::{DateTime, Utc};
use domain::cart::{Cart, CartCommand};
use domain::id::{AllocationId, OperationId, OrderId, PaymentId, RefundId};
use domain::inventory::{StockCommand, StockItem};
use domain::money::{Currency, Money};
use domain::order::{Cover, Order, OrderCommand, OrderEvent, OrderPlaced, OrderRejection, OrderStage, PlacedOrder};
use domain::payment::{
    CaptureMode, Evidence, Payment, PaymentCommand, PaymentEvent, PaymentMethod, PaymentRejection, ProviderFact, RefundRequested, Start,
};
use domain::personal::Personal;
use infra::sealing::KeyScope;
use uuid::Uuid;

use crate::answer::{Failure, Refusal};
use crate::cart;
use crate::checkout::{Attempt, Placed, order_key, scope};
use crate::provider::{FactKind, ProviderFact as Fact};
use crate::streams::{Stop, Streams};
use crate::whole_order::WholeOrder;

/// An attempt that begins: what the order and what the payment say of it, to be emitted in this order.
pub(crate) struct Opened {
    pub(crate) order_events: Vec<OrderEvent>,
    payment_events: Vec<PaymentEvent>,
    payment_id: PaymentId,
}

impl Opened {
    pub(crate) fn emit_payment(self, streams: &mut Streams<'_>) -> Result<(), Stop> {
        streams.emit::<Payment>(&self.payment_id.to_string(), self.payment_events, None)
    }
}

/// Opens an attempt; nothing is emitted yet.
pub(crate) fn open(streams: &mut Streams<'_>, order: &Order, order_id: OrderId, attempt: &Attempt, amount: Money) -> Result<Opened, Stop> {
    let payment_id = attempt.payment_id;
    let order_events = order.decide(OrderCommand::OpenPayment { payment_id, amount }).map_err(|e| order_refusal(&e))?;
    let placed = order.placed().ok_or_else(|| Refusal::not_found("order"))?;
    let tender = placed.facts.tenders.first().ok_or_else(|| Refusal::new("invalid_state", "the order needs no payment"))?;
    let start = Start {
        payment_id,
        order_id,
        tender_id: tender.tender_id,
        provider: attempt.provider.clone(),
        amount,
        capture: CaptureMode::Automatic,
        operation_id: attempt.operation_id,
        idempotency_key: attempt.operation_id.to_string(),
    };
    let payment = streams.create::<Payment>(&payment_id.to_string())?;
    let payment_events = payment.decide(PaymentCommand::Start(start)).map_err(|e| payment_refusal(&e))?;
    Ok(Opened { order_events, payment_events, payment_id })
}

/// A new attempt for a pending order that has no live one; otherwise nothing.
pub(crate) fn start_again(streams: &mut Streams<'_>, order_id: OrderId, attempt: &Attempt) -> Result<Option<PaymentId>, Stop> {
    let key = order_key(order_id);
    let order = streams.get::<Order>(&key)?.clone();
    let placed = order.placed().ok_or_else(|| Refusal::not_found("order"))?;
    if placed.stage != OrderStage::PendingPayment || placed.live_payment.is_some() {
        return Ok(None);
    }
    let amount = placed.amount_owed().map_err(|e| Refusal::new("invalid_state", e.to_string()))?;
    let subject_id = placed.facts.subject_id.uuid();
    let mut opened = open(streams, &order, order_id, attempt, amount)?;
    streams.emit::<Order>(&key, std::mem::take(&mut opened.order_events), Some(scope(subject_id)))?;
    opened.emit_payment(streams)?;
    Ok(Some(attempt.payment_id))
}

/// `POST /orders/{id}/payments`: another attempt, unless one is live.
pub fn pay(streams: &mut Streams<'_>, order_id: OrderId, attempt: &Attempt) -> Result<Placed, Stop> {
    let key = order_key(order_id);
    let order = streams.get::<Order>(&key)?;
    let placed = order.placed().ok_or_else(|| Refusal::not_found("order"))?;
    if placed.live_payment.is_some() {
        return Err(Refusal::new("payment_in_progress", "a payment of this order is in progress; wait for its outcome").into());
    }
    let status = order.status();
    let started = start_again(streams, order_id, attempt)?;
    if started.is_none() {
        return Err(Refusal::new("invalid_state", format!("the order is {status}; it needs no payment")).into());
    }
    streams.answer_with::<Order>(201, &key);
    Ok(Placed { order: WholeOrder::after(streams, order_id)?, started })
}

/// Turns an order's holds into allocations.
pub(crate) fn allocate(streams: &mut Streams<'_>, facts: &OrderPlaced) -> Result<(), Stop> {
    let variants = facts.lines.iter().filter_map(|line| line.variant_id);
    streams.need::<StockItem>(variants.map(|variant_id| variant_id.to_string()))?;
    for hold in &facts.holds {
        let line = facts.lines.iter().find(|line| line.line_id == hold.line_id);
        let Some(variant_id) = line.and_then(|line| line.variant_id) else {
            continue;
        };
        let allocation_id = AllocationId::new(Uuid::new_v5(&facts.order_id.uuid(), format!("allocation:{}", hold.line_id).as_bytes()));
        let command = StockCommand::Allocate { allocation_id, hold_id: hold.hold_id, order_id: facts.order_id, line_id: hold.line_id };
        stock(streams, &variant_id.to_string(), command)?;
    }
    Ok(())
}

/// Gives an order's holds back.
pub(crate) fn release(streams: &mut Streams<'_>, facts: &OrderPlaced, reason: &str) -> Result<(), Stop> {
    let variants = facts.lines.iter().filter_map(|line| line.variant_id);
    streams.need::<StockItem>(variants.map(|variant_id| variant_id.to_string()))?;
    for hold in &facts.holds {
        let line = facts.lines.iter().find(|line| line.line_id == hold.line_id);
        let Some(variant_id) = line.and_then(|line| line.variant_id) else {
            continue;
        };
        let command = StockCommand::ReleaseReservation { hold_id: hold.hold_id, reason: reason.to_owned() };
        stock(streams, &variant_id.to_string(), command)?;
    }
    Ok(())
}

fn stock(streams: &mut Streams<'_>, id: &str, command: StockCommand) -> Result<(), Stop> {
    let invalid = |e: domain::inventory::StockRejection| Stop::Failed(Failure::Repository(format!("stock/{id}: {e}")));
    let events = if streams.touched::<StockItem>(id) {
        streams.after::<StockItem>(id)?.decide(command).map_err(invalid)?
    } else {
        streams.get::<StockItem>(id)?.decide(command).map_err(invalid)?
    };
    streams.emit::<StockItem>(id, events, None)
}

/// An outcome as it reached us.
#[derive(Debug, Clone)]
pub struct Reported {
    pub payment_id: PaymentId,
    pub evidence: Evidence,
    pub fact: ProviderFact,
    pub completes: Completes,
}

/// The checkout that waits for an outcome.
#[derive(Debug, Clone, Copy)]
pub enum Completes {
    Nothing,
    /// By its idempotency key.
    Checkout(Uuid),
    /// Needed only if the outcome is news: recording news without it is refused as stale.
    NotLookedUp,
}

/// Records an outcome and all that follows from it.
pub fn record(streams: &mut Streams<'_>, reported: &Reported) -> Result<(), Stop> {
    let key = reported.payment_id.to_string();
    let payment = streams.get::<Payment>(&key)?;
    let Some(created) = payment.created.clone() else {
        return Err(Refusal::not_found("payment").into());
    };
    let mut payment = payment.clone();
    let command = PaymentCommand::Record { evidence: reported.evidence.clone(), fact: reported.fact.clone() };
    let events = payment.decide(command).map_err(|e| payment_refusal(&e))?;
    if events.is_empty() {
        return Ok(());
    }
    let order_id = order_key(created.order_id);
    let order = streams.get::<Order>(&order_id)?.clone();
    let placed = order.placed().ok_or_else(|| Refusal::not_found("order"))?;
    let is_confirmed = matches!(placed.stage, OrderStage::Confirmed { .. } | OrderStage::Completed { .. });
    let completes = match reported.completes {
        Completes::Nothing => None,
        Completes::Checkout(key) => Some(key),
        // What confirmed the order has completed its checkout.
        Completes::NotLookedUp if matches!(reported.fact, ProviderFact::Captured { .. }) && is_confirmed => None,
        Completes::NotLookedUp => return Err(Stop::Stale),
    };
    apply(&mut payment, &events);
    let people = scope(placed.facts.subject_id.uuid());
    streams.emit::<Payment>(&key, events, Some(people))?;
    let consequence = match &reported.fact {
        ProviderFact::Authorized { .. } => authorized(streams, placed, &payment, reported.payment_id, people)?,
        ProviderFact::Captured { .. } => captured(streams, placed, &payment, reported.payment_id, people)?,
        ProviderFact::AuthorizationFailed { .. } => close(streams, placed, reported.payment_id, "failed", people)?,
        ProviderFact::Voided { .. } => close(streams, placed, reported.payment_id, "voided", people)?,
        _ => Vec::new(),
    };
    if !matches!(reported.fact, ProviderFact::Unknown { .. }) {
        streams.complete(completes);
    }
    streams.emit::<Payment>(&key, consequence, Some(people))
}

/// The order is waiting for this money: confirm and capture. It is not: let go of it.
fn authorized(
    streams: &mut Streams<'_>,
    order: &PlacedOrder,
    payment: &Payment,
    payment_id: PaymentId,
    people: KeyScope,
) -> Result<Vec<PaymentEvent>, Stop> {
    let live = order.live_payment.as_ref().is_some_and(|live| live.payment_id == payment_id);
    let operation = |kind: &str| OperationId::new(Uuid::new_v5(&payment_id.uuid(), kind.as_bytes()));
    if live && order.stage == OrderStage::PendingPayment {
        confirm(streams, order, payment, people)?;
        let operation_id = operation("capture");
        let amount = order.live_payment.as_ref().map_or(order.facts.totals.total, |live| live.amount);
        let capture = PaymentCommand::RequestCapture { operation_id, idempotency_key: operation_id.to_string(), amount, is_final: true };
        return Ok(payment.decide(capture).map_err(|e| payment_refusal(&e))?);
    }
    let operation_id = operation("void");
    let reason = format!("the order is {}", order.stage.as_str());
    let void = PaymentCommand::RequestVoid { operation_id, idempotency_key: operation_id.to_string(), reason };
    Ok(payment.decide(void).unwrap_or_default())
}

/// Money has come. Usually the order was confirmed before; if not, it is now, or the money goes back.
fn captured(
    streams: &mut Streams<'_>,
    order: &PlacedOrder,
    payment: &Payment,
    payment_id: PaymentId,
    people: KeyScope,
) -> Result<Vec<PaymentEvent>, Stop> {
    let live = order.live_payment.as_ref().is_some_and(|live| live.payment_id == payment_id);
    match order.stage {
        OrderStage::Confirmed { .. } | OrderStage::Completed { .. } if live => close(streams, order, payment_id, "captured", people),
        OrderStage::PendingPayment if live => {
            confirm(streams, order, payment, people)?;
            Ok(Vec::new())
        }
        _ => {
            let operation_id = OperationId::new(Uuid::new_v5(&payment_id.uuid(), b"refund"));
            let refundable = payment.refundable();
            let currency = order.facts.currency;
            let Ok(amount) = Money::new(refundable, currency) else {
                return Ok(Vec::new());
            };
            let refund = RefundRequested {
                operation_id,
                refund_id: RefundId::new(operation_id.uuid()),
                idempotency_key: operation_id.to_string(),
                amount,
                reason: format!("the order is {}", order.stage.as_str()),
                allocation: Vec::new(),
            };
            Ok(payment.decide(PaymentCommand::RequestRefund(refund)).unwrap_or_default())
        }
    }
}

/// Confirmed, its stock allocated, its cart done: one append with the outcome that allows it.
fn confirm(streams: &mut Streams<'_>, order: &PlacedOrder, payment: &Payment, people: KeyScope) -> Result<(), Stop> {
    let Some(created) = &payment.created else {
        return Err(Refusal::not_found("payment").into());
    };
    let covered_by = vec![Cover { tender_id: created.tender_id, amount: created.amount }];
    let id = order_key(order.facts.order_id);
    let events = streams.get::<Order>(&id)?.decide(OrderCommand::Confirm { covered_by }).map_err(|e| order_refusal(&e))?;
    streams.emit::<Order>(&id, events, Some(people))?;
    allocate(streams, &order.facts)?;
    if let Some(key) = &order.facts.cart {
        let state = streams.get::<Cart>(key.as_str())?;
        let subject_id = state.subject_id;
        let events = state.decide(CartCommand::Complete { order_id: order.facts.order_id }).map_err(cart::refusal)?;
        cart::emit(streams, key, subject_id, events)?;
    }
    Ok(())
}

fn close(
    streams: &mut Streams<'_>,
    order: &PlacedOrder,
    payment_id: PaymentId,
    outcome: &str,
    people: KeyScope,
) -> Result<Vec<PaymentEvent>, Stop> {
    let id = order_key(order.facts.order_id);
    let command = OrderCommand::ClosePayment { payment_id, outcome: outcome.to_owned() };
    let events = streams.after::<Order>(&id)?.decide(command).map_err(|e| order_refusal(&e))?;
    streams.emit::<Order>(&id, events, Some(people))?;
    Ok(Vec::new())
}

fn apply(payment: &mut Payment, events: &[PaymentEvent]) {
    for event in events {
        payment.apply(event);
    }
}

/// A provider's statement as the domain takes it; `None` where it says nothing that changes anything yet.
#[must_use]
pub fn reported(fact: &Fact, source: &str) -> Option<Reported> {
    let operation_id: OperationId = fact.idempotency_key.parse().ok()?;
    let currency: Currency = fact.currency.parse().ok()?;
    let amount = Money::new(fact.amount, currency).ok()?;
    let code = || fact.code.clone().unwrap_or_else(|| "unknown".to_owned());
    let refund_id = || fact.refund_reference.as_ref().and_then(|text| text.parse::<RefundId>().ok());
    let domain_fact = match fact.kind {
        FactKind::Authorized => ProviderFact::Authorized { amount, expires_at: fact.expires_at, method: method(fact), last4: last4(fact) },
        FactKind::Declined => ProviderFact::AuthorizationFailed { code: code(), category: "declined".to_owned() },
        FactKind::ActionRequired => action(fact, fact.expires_at),
        FactKind::Captured => ProviderFact::Captured { amount, is_final: true },
        FactKind::CaptureFailed => ProviderFact::CaptureFailed { code: code() },
        FactKind::Voided => ProviderFact::Voided { amount },
        FactKind::VoidFailed => ProviderFact::VoidFailed { code: code() },
        FactKind::RefundSucceeded => ProviderFact::RefundSucceeded { refund_id: refund_id()?, amount },
        FactKind::RefundPending => ProviderFact::RefundPending { refund_id: refund_id()?, amount },
        FactKind::RefundFailed => ProviderFact::RefundFailed { refund_id: refund_id()?, amount, code: fact.code.clone() },
        FactKind::AuthorizationPending | FactKind::CapturePending | FactKind::VoidPending => {
            return None;
        }
    };
    let evidence = Evidence {
        operation_id,
        source: source.to_owned(),
        provider_event_id: fact.provider_event_id.clone(),
        provider_ref: Some(fact.provider_ref.clone()),
    };
    Some(Reported { payment_id: PaymentId::new(fact.merchant_reference), evidence, fact: domain_fact, completes: Completes::Nothing })
}

fn action(fact: &Fact, expires_at: Option<DateTime<Utc>>) -> ProviderFact {
    let kind = fact.next_action.as_ref().map_or_else(|| "redirect".to_owned(), |action| action.kind.clone());
    ProviderFact::ActionRequired { kind, expires_at }
}

fn method(fact: &Fact) -> PaymentMethod {
    fact.method.as_ref().map_or_else(PaymentMethod::default, |m| PaymentMethod { kind: m.kind.clone(), brand: m.brand.clone() })
}

fn last4(fact: &Fact) -> Option<Personal<String>> {
    fact.method.as_ref()?.last4.clone().map(Personal::Known)
}

pub(crate) fn order_refusal(rejection: &OrderRejection) -> Refusal {
    let detail = rejection.to_string();
    match rejection {
        OrderRejection::NotFound => Refusal::not_found("order"),
        OrderRejection::LineNotFound { .. } => Refusal::not_found("line"),
        OrderRejection::Exists => Refusal::new("already_exists", detail),
        OrderRejection::PaymentInProgress { .. } => Refusal::new("payment_in_progress", detail),
        OrderRejection::NoLines => Refusal::new("cart_empty", detail),
        _ => Refusal::new("invalid_state", detail),
    }
}

fn payment_refusal(rejection: &PaymentRejection) -> Refusal {
    match rejection {
        PaymentRejection::NotFound => Refusal::not_found("payment"),
        PaymentRejection::Exists => Refusal::new("already_exists", rejection.to_string()),
        _ => Refusal::new("invalid_state", rejection.to_string()),
    }
}
