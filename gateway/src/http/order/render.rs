//! An order as answers show it.

use commands::answer::Position;
use commands::reactor::secret;
use domain::money::Money;
use domain::order::{OrderStage, PlacedOrder};
use domain::payment::{OperationKind, Outcome, Payment, PaymentStatus, order_payment_status};
use serde_json::{Value, json};

use super::super::cart::render::discount_json;
use super::super::cart::{contact_json, money};
use super::super::problem::Problem;
use crate::app::App;

/// Leaves of who buys that it is sealed, as the log shows it to those who may not open it.
pub(super) fn seal_contact(body: &mut Value, shows_contact: bool) {
    if !shows_contact {
        body["contact"] = json!({ "sealed": true });
        for shipment in body["fulfilments"].as_array_mut().into_iter().flatten() {
            shipment["tracking"] = Value::Null;
        }
    }
}

/// An order as answers show it.
pub fn render(order: &PlacedOrder, payments: &[&Payment], at: Position, order_token: Option<&str>) -> Value {
    let facts = &order.facts;
    let total = facts.totals.total;
    let currency = facts.currency;
    let amount = |minor: i64| Money::new(minor, currency).map(money).unwrap_or_default();
    let paid: i64 = payments.iter().map(|payment| payment.captured()).sum();
    let refunded: i64 = payments.iter().map(|payment| payment.refunded()).sum();
    let covering: i64 = payments.iter().map(|payment| payment.covering()).sum();
    let owed = order.amount_owed().map_or(total.amount(), Money::amount);
    let is_due = matches!(order.stage, OrderStage::PendingPayment | OrderStage::Confirmed { .. });
    let status = order_payment_status(order.amount_owed().unwrap_or(total), payments.iter().copied());
    let lines: Vec<Value> = facts
        .lines
        .iter()
        .map(|line| {
            let discount: i64 = line.discounts.iter().map(|d| d.amount.amount()).sum();
            json!({
                "line_id": line.line_id, "variant_id": line.variant_id, "product_id": line.product_id, "sku": line.sku, "title": line.title,
                "options": line.options, "quantity": line.quantity, "unit_price": money(line.unit_price), "discount": amount(discount),
                "tax": money(line.tax), "total": money(line.gross), "fulfilled": order.shipped_units(line.line_id), "cancelled": order.cancelled_units(line.line_id), "returned": 0,
            })
        })
        .collect();
    let mut body = json!({
        "id": facts.order_id, "number": facts.number, "status": order.stage.as_str(), "on_hold": order.on_hold.is_some(), "hold_reason": order.on_hold,
        "payment_status": status.as_str(), "fulfilment_status": order.fulfilment_status().as_str(), "return_status": "none",
        "prices_include_tax": facts.prices_include_tax, "currency": currency.as_str(), "lines": lines,
        "shipping_lines": facts.shipping_lines.iter().map(|l| json!({ "line_id": l.line_id, "title": l.title, "tax": money(l.tax), "total": money(l.gross) })).collect::<Vec<_>>(),
        "tax_lines": facts.taxes.iter().map(|t| json!({ "title": t.title, "rate_ppm": t.rate_ppm, "included": t.included, "taxable": money(t.taxable), "amount": money(t.amount) })).collect::<Vec<_>>(),
        "discounts": facts.discounts.iter().map(discount_json).collect::<Vec<_>>(),
        "totals": {
            "subtotal": money(facts.totals.subtotal), "discount": money(facts.totals.discount), "shipping": money(facts.totals.shipping),
            "tax": money(facts.totals.tax), "total": money(total), "paid": amount(paid), "refunded": amount(refunded),
            "amount_due": amount(if is_due { (owed - covering).max(0) } else { 0 }),
        },
        "contact": contact_json(&facts.email, facts.phone.as_ref(), &facts.shipping_address, facts.billing_address.as_ref()),
        "payments": payments.iter().filter_map(|p| {
            let created = p.created.as_ref()?;
            Some(json!({
                "id": created.payment_id, "provider": created.provider, "status": p.status().as_str(), "amount": money(created.amount),
                "captured": amount(p.captured()), "refunded": amount(p.refunded()),
            }))
        }).collect::<Vec<_>>(),
        "fulfilments": order.shipments.iter().map(|(id, shipment)| json!({
            "id": id, "status": if shipment.delivered { "delivered" } else { "shipped" },
            "tracking": shipment.tracking.as_ref().and_then(|tracking| tracking.known()),
            "lines": shipment.lines.iter().map(|line| json!({ "line_id": line.line_id, "quantity": line.quantity })).collect::<Vec<_>>(),
        })).collect::<Vec<_>>(),
        "placed_at": facts.placed_at,
        "read_position": at.to_string(),
    });
    if let Some(token) = order_token {
        body["order_token"] = json!(token);
    }
    body
}

impl App {
    /// Says where the shopper has to go for a payment that waits for it.
    pub(super) async fn add_actions(&self, body: &mut Value, payments: &[&Payment]) -> Result<(), Problem> {
        for (index, payment) in payments.iter().enumerate().filter(|(_, payment)| payment.status() == PaymentStatus::RequiresAction) {
            let Some(created) = &payment.created else { continue };
            let kept = secret::find(&self.writer, created.payment_id).await?;
            if let Some(url) = kept.and_then(|kept| kept.action_url) {
                body["payments"][index]["next_action"] = json!({ "kind": action_kind(payment), "url": url });
            }
        }
        Ok(())
    }
}

/// What kind of thing the shopper has to do, in the provider's word.
fn action_kind(payment: &Payment) -> &str {
    let last = payment.of_kind(OperationKind::Authorize).last().map(|operation| &operation.outcome);
    match last {
        Some(Outcome::ActionRequired { kind }) => kind,
        _ => "redirect",
    }
}
