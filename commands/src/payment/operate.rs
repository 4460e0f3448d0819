//! What a merchant asks for: take the money, let go of it, give it back. Each asks the provider for one operation more; its
//! outcome comes later.

use domain::id::{LineId, OperationId, OrderId, PaymentId, RefundId};
use domain::money::{Currency, Money, MoneyError};
use domain::order::{Order, PlacedOrder};
use domain::payment::{Payment, PaymentCommand, PaymentRejection, RefundAllocation, RefundRequested, RefundedLine};

use super::{covering, is_confirmed, payment_refusal};
use crate::answer::Refusal;
use crate::catalog::check_version;
use crate::checkout::{order_key, scope};
use crate::streams::{Stop, Streams};
use crate::whole_order::WholeOrder;

/// Takes (part of) an authorised amount.
#[derive(Debug, Clone, Copy)]
pub struct Capture {
    pub operation_id: OperationId,
    /// Minor units; all that the order still needs unless given.
    pub amount: Option<i64>,
    /// No other capture follows: the provider lets go of the rest.
    pub is_final: bool,
    pub if_match: Option<i64>,
}

/// Gives money back.
#[derive(Debug, Clone)]
pub struct Refund {
    pub operation_id: OperationId,
    pub of: RefundOf,
    pub reason: String,
    pub if_match: Option<i64>,
}

#[derive(Debug, Clone)]
pub enum RefundOf {
    /// Minor units.
    Amount(i64),
    /// So many units of each line; a shipping line is one unit. Parts of a line are cut from its running total, so that however
    /// many refunds there are they sum to exactly the line.
    Lines(Vec<(LineId, u32)>),
    /// All that is left.
    Rest,
}

/// `POST /admin/orders/{id}/payments/{payment}/capture`
pub fn capture(streams: &mut Streams<'_>, order_id: OrderId, payment_id: PaymentId, wanted: Capture) -> Result<WholeOrder, Stop> {
    let order = of_order(streams, order_id, payment_id, wanted.if_match)?;
    if !is_confirmed(&order) {
        let detail = format!("the order is {}; money is taken for confirmed orders only", order.stage.as_str());
        return Err(Refusal::new("order_status", detail).into());
    }
    let currency = order.facts.currency;
    let key = payment_id.to_string();
    let payment = streams.get::<Payment>(&key)?.clone();
    // Another attempt than the live one was given up: its money is on its way back.
    let is_live = order.live_payment.as_ref().is_some_and(|live| live.payment_id == payment_id);
    if !is_live || payment.capturable() == 0 {
        let detail = "nothing of this payment can be taken now; see its operations, and the order's other payments";
        return Err(Refusal::new("payment_not_capturable", detail).fact("capturable", 0).into());
    }
    let under_way: i64 = payment.authorized() - payment.captured() - payment.capturable();
    let lacking = (order.amount_owed().map_or(0, Money::amount) - covering(streams, &order, None)? - under_way.max(0)).max(0);
    let amount = wanted.amount.unwrap_or_else(|| lacking.min(payment.capturable()));
    if amount > lacking || lacking == 0 {
        let detail = format!("the order lacks {} only; capture no more", show(lacking, currency));
        return Err(Refusal::new("payment_not_capturable", detail).fact("capturable", lacking.min(payment.capturable())).into());
    }
    let amount = Money::new(amount, currency).map_err(|e| Refusal::invalid("/amount", e.code(), e.to_string()))?;
    let idempotency_key = wanted.operation_id.to_string();
    let command = PaymentCommand::RequestCapture { operation_id: wanted.operation_id, idempotency_key, amount, is_final: wanted.is_final };
    let events = payment.decide(command).map_err(|e| payment_refusal(&e))?;
    streams.emit::<Payment>(&key, events, Some(scope(order.facts.subject_id.uuid())))?;
    answer(streams, order_id)
}

/// `POST /admin/orders/{id}/payments/{payment}/void`: a confirmed order that lacks this money then waits, on hold.
pub fn void(
    streams: &mut Streams<'_>,
    order_id: OrderId,
    payment_id: PaymentId,
    operation_id: OperationId,
    if_match: Option<i64>,
) -> Result<WholeOrder, Stop> {
    let order = of_order(streams, order_id, payment_id, if_match)?;
    let is_live = order.live_payment.as_ref().is_some_and(|live| live.payment_id == payment_id);
    if is_live && !order.shipments.is_empty() {
        let detail = "a part of the order has left on this money; capture it, and refund what is to go back";
        return Err(Refusal::new("order_shipped", detail).into());
    }
    let key = payment_id.to_string();
    let payment = streams.get::<Payment>(&key)?;
    let idempotency_key = operation_id.to_string();
    let command = PaymentCommand::RequestVoid { operation_id, idempotency_key, reason: "merchant".to_owned() };
    let events = payment.decide(command).map_err(|e| payment_refusal(&e))?;
    streams.emit::<Payment>(&key, events, Some(scope(order.facts.subject_id.uuid())))?;
    answer(streams, order_id)
}

/// `POST /admin/orders/{id}/refunds`: from its payments in turn, the first attempt first; units of lines from the first that has as much.
pub fn refund(streams: &mut Streams<'_>, order_id: OrderId, wanted: &Refund) -> Result<WholeOrder, Stop> {
    let id = order_key(order_id);
    check_version(wanted.if_match, streams.version::<Order>(&id)?)?;
    let order = streams.get::<Order>(&id)?.placed().ok_or_else(|| Refusal::not_found("order"))?.clone();
    let currency = order.facts.currency;
    let payments = payments(streams, &order)?;
    let all: i64 = payments.iter().map(|(_, payment)| payment.refundable()).sum();
    let (amount, allocation) = match &wanted.of {
        RefundOf::Amount(amount) => (*amount, Vec::new()),
        RefundOf::Rest => (all, Vec::new()),
        RefundOf::Lines(lines) => of_lines(&order, &payments, lines)?,
    };
    let one = payments.iter().map(|(_, payment)| payment.refundable()).max().unwrap_or_default();
    let refundable = if allocation.is_empty() { all } else { one };
    if amount > refundable || refundable == 0 {
        let detail = match refundable {
            0 => "nothing of this order's payments can be given back now; see its payments".to_owned(),
            _ => format!("at most {} can be given back at once now; refund no more", show(refundable, currency)),
        };
        return Err(Refusal::new("payment_not_refundable", detail).fact("refundable", refundable).into());
    }
    if amount <= 0 {
        return Err(payment_refusal(&PaymentRejection::AmountNotPositive).into());
    }
    let mut left = amount;
    for (nth, (payment_id, payment)) in (0..).zip(payments) {
        let takes_all = payment.refundable() >= amount;
        let part = if allocation.is_empty() || takes_all { left.min(payment.refundable()) } else { 0 };
        if part <= 0 {
            continue;
        }
        left -= part;
        let operation_id = part_of(wanted.operation_id, nth);
        let request = RefundRequested {
            operation_id,
            refund_id: RefundId::new(operation_id.uuid()),
            idempotency_key: operation_id.to_string(),
            amount: Money::new(part, currency).map_err(|e| Refusal::invalid("/amount", e.code(), e.to_string()))?,
            reason: wanted.reason.clone(),
            allocation: allocation.clone(),
        };
        let events = payment.decide(PaymentCommand::RequestRefund(request)).map_err(|e| payment_refusal(&e))?;
        streams.emit::<Payment>(&payment_id.to_string(), events, Some(scope(order.facts.subject_id.uuid())))?;
    }
    answer(streams, order_id)
}

/// The id of a refund's part from the `nth` payment: its own, so that it is told from those that follow by rule.
fn part_of(operation_id: OperationId, nth: u8) -> OperationId {
    let mut bytes = *operation_id.uuid().as_bytes();
    bytes[15] ^= nth;
    OperationId::new(uuid::Uuid::from_bytes(bytes))
}

/// What the next units of these lines are worth: the running total, up to them, of what is not cancelled of the line, without what
/// refunds have given back of it.
pub(crate) fn of_lines(
    order: &PlacedOrder,
    payments: &[(PaymentId, Payment)],
    lines: &[(LineId, u32)],
) -> Result<(i64, Vec<RefundAllocation>), Refusal> {
    let (mut sum, mut allocation) = (0_i64, Vec::with_capacity(lines.len()));
    for (line_id, quantity) in lines {
        let invalid = |e: MoneyError| Refusal::invalid("/lines", e.code(), e.to_string());
        let line = amounts_of(order, *line_id).map_err(invalid)?.ok_or_else(|| Refusal::not_found("line"))?;
        let before = payments.iter().map(|(_, payment)| payment.refunded_of(*line_id)).fold(RefundedLine::default(), |sum, part| {
            RefundedLine { units: sum.units + part.units, net: sum.net + part.net, tax: sum.tax + part.tax }
        });
        let left = line.quantity.saturating_sub(before.units);
        if *quantity == 0 || *quantity > left || allocation.iter().any(|part: &RefundAllocation| part.line_id == *line_id) {
            let detail = format!("{left} of the line can still be refunded; name each line once, with 1 to as many units");
            return Err(Refusal::new("line_not_refundable", detail).fact("line_id", line_id.to_string()).fact("refundable", left));
        }
        let until = before.units + quantity;
        let tax = line.tax.of_units(line.quantity, 0, until).map_err(invalid)?.amount() - before.tax;
        let gross = line.gross.of_units(line.quantity, 0, until).map_err(invalid)?.amount() - before.net - before.tax;
        let money = |amount: i64| Money::new(amount, order.facts.currency).map_err(invalid);
        sum += gross;
        allocation.push(RefundAllocation { line_id: *line_id, quantity: Some(*quantity), net: money(gross - tax)?, tax: money(tax)? });
    }
    Ok((sum, allocation))
}

/// What is not cancelled of a line of goods or of shipping.
struct Amounts {
    quantity: u32,
    tax: Money,
    gross: Money,
}

fn amounts_of(order: &PlacedOrder, line_id: LineId) -> Result<Option<Amounts>, MoneyError> {
    if let Some(line) = order.line(line_id) {
        let Some(cancelled) = order.cancelled.get(&line_id) else {
            return Ok(Some(Amounts { quantity: line.quantity, tax: line.tax, gross: line.gross }));
        };
        let quantity = line.quantity.saturating_sub(cancelled.quantity);
        return Ok(Some(Amounts { quantity, tax: line.tax.minus(cancelled.tax)?, gross: line.gross.minus(cancelled.gross)? }));
    }
    let shipping = order.facts.shipping_lines.iter().find(|line| line.line_id == line_id);
    Ok(shipping.map(|line| Amounts { quantity: 1, tax: line.tax, gross: line.gross }))
}

/// An order's payments, the first attempt first.
pub(crate) fn payments(streams: &mut Streams<'_>, order: &PlacedOrder) -> Result<Vec<(PaymentId, Payment)>, Stop> {
    streams.need::<Payment>(order.payments.iter().map(ToString::to_string))?;
    let mut payments = Vec::with_capacity(order.payments.len());
    for payment_id in &order.payments {
        payments.push((*payment_id, streams.after::<Payment>(&payment_id.to_string())?));
    }
    Ok(payments)
}

fn of_order(streams: &mut Streams<'_>, order_id: OrderId, payment_id: PaymentId, if_match: Option<i64>) -> Result<PlacedOrder, Stop> {
    let id = order_key(order_id);
    check_version(if_match, streams.version::<Order>(&id)?)?;
    let order = streams.get::<Order>(&id)?.placed().ok_or_else(|| Refusal::not_found("order"))?.clone();
    if !order.payments.contains(&payment_id) {
        return Err(Refusal::not_found("payment").into());
    }
    Ok(order)
}

fn answer(streams: &mut Streams<'_>, order_id: OrderId) -> Result<WholeOrder, Stop> {
    streams.answer_with::<Order>(200, &order_key(order_id));
    WholeOrder::after(streams, order_id)
}

fn show(amount: i64, currency: Currency) -> String {
    Money::new(amount, currency).map_or_else(|_| amount.to_string(), |money| money.to_string())
}
