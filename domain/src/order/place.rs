//! Placing: the last look at the sums before they are written for ever.

use super::{Cover, OrderConfirmed, OrderEvent, OrderPlaced, OrderRejection, PAY_LATER};
use crate::money::Money;
use crate::pricing::{LineAmounts, Totals};

pub(super) fn place(facts: Box<OrderPlaced>) -> Result<Vec<OrderEvent>, OrderRejection> {
    if facts.lines.is_empty() {
        return Err(OrderRejection::NoLines);
    }
    if sums(&facts)? != facts.totals || !lines_add_up(&facts)? {
        return Err(OrderRejection::TotalsWrong);
    }
    let tendered = Money::sum(facts.currency, facts.tenders.iter().map(|tender| tender.amount))?;
    if tendered != facts.totals.total {
        return Err(OrderRejection::TendersWrong);
    }
    let confirmed = needs_no_payment_first(&facts).then(|| {
        let covered_by = facts.tenders.iter();
        let covered_by = covered_by.map(|tender| Cover { tender_id: tender.tender_id, amount: tender.amount });
        OrderEvent::OrderConfirmed(OrderConfirmed { covered_by: covered_by.collect() })
    });
    Ok(std::iter::once(OrderEvent::OrderPlaced(facts)).chain(confirmed).collect())
}

fn needs_no_payment_first(facts: &OrderPlaced) -> bool {
    facts.totals.total.is_zero() || facts.terms == PAY_LATER
}

fn sums(facts: &OrderPlaced) -> Result<Totals, OrderRejection> {
    let lines = facts.lines.iter().map(|line| LineAmounts {
        subtotal: line.subtotal,
        discounts: &line.discounts,
        tax: line.tax,
        gross: line.gross,
    });
    let fees = facts.fees.iter().map(|fee| (fee.tax, fee.gross));
    Ok(Totals::of(facts.currency, lines, &facts.shipping_lines, fees)?)
}

fn lines_add_up(facts: &OrderPlaced) -> Result<bool, OrderRejection> {
    for line in &facts.lines {
        let priced = line.unit_price.times(line.quantity)? == line.subtotal;
        if !priced || line.net.plus(line.tax)? != line.gross {
            return Ok(false);
        }
    }
    for line in &facts.shipping_lines {
        if line.net.plus(line.tax)? != line.gross {
            return Ok(false);
        }
    }
    Ok(true)
}
