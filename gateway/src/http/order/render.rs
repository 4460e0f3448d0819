//! An order as answers show it.

use chrono::{DateTime, Utc};
use commands::answer::Position;
use commands::reactor::secret;
use domain::id::{ProductId, VariantId};
use domain::order::{LineOption, OrderLine, OrderStage, PlacedOrder, Shipment};
use domain::payment::{OperationKind, Outcome, Payment, PaymentStatus, order_payment_status};
use domain::pricing::ShippingLine;
use serde::Serialize;
use utoipa::ToSchema;
use uuid::Uuid;

use super::super::cart::render::{DiscountBody, TaxLineBody};
use super::super::contact::ContactBody;
use super::super::money::MoneyBody;
use super::super::problem::Problem;
use crate::app::App;

/// An order with its payments.
#[derive(Debug, Serialize, ToSchema)]
pub struct OrderBody {
    id: Uuid,
    /// For people.
    #[schema(example = "7KQ2M9XWA")]
    number: String,
    /// `pending_payment`, `confirmed`, `completed`, `cancelled`, `expired`.
    status: &'static str,
    /// Nothing of it is to leave for now.
    on_hold: bool,
    #[schema(example = "capture_failed")]
    hold_reason: Option<String>,
    /// `none`, `pending`, `requires_action`, `authorized`, `partially_paid`, `paid`, `partially_refunded`, `refunded`, `voided`,
    /// `failed`, `disputed`.
    payment_status: &'static str,
    /// `unfulfilled`, `partially_fulfilled`, `fulfilled`, `delivered`, `cancelled`.
    fulfilment_status: &'static str,
    /// `none`.
    return_status: &'static str,
    prices_include_tax: bool,
    /// ISO 4217.
    #[schema(example = "EUR")]
    currency: String,
    lines: Vec<OrderLineBody>,
    shipping_lines: Vec<ShippingLineBody>,
    tax_lines: Vec<TaxLineBody>,
    discounts: Vec<DiscountBody>,
    totals: OrderTotalsBody,
    contact: OrderContact,
    /// The first attempt first.
    payments: Vec<OrderPaymentBody>,
    fulfilments: Vec<FulfilmentBody>,
    placed_at: DateTime<Utc>,
    /// The token that the answer is as of.
    #[schema(example = "1.1200")]
    read_position: String,
    /// By which a guest sees it, and changes it; only where it is placed or paid.
    #[serde(skip_serializing_if = "Option::is_none")]
    order_token: Option<String>,
}

#[derive(Debug, Serialize, ToSchema)]
pub struct OrderLineBody {
    line_id: Uuid,
    variant_id: Option<Uuid>,
    product_id: Option<Uuid>,
    sku: Option<String>,
    title: String,
    options: Vec<LineOptionBody>,
    #[schema(minimum = 1)]
    quantity: u32,
    unit_price: MoneyBody,
    /// What is taken off the line, its share of the order's discounts too.
    discount: MoneyBody,
    tax: MoneyBody,
    /// With tax, less what is discounted.
    total: MoneyBody,
    /// Units that have left.
    fulfilled: u32,
    /// Units that were cancelled.
    cancelled: u32,
    /// Units that came back.
    returned: u32,
}

/// An option as it was shown.
#[derive(Debug, Serialize, ToSchema)]
pub struct LineOptionBody {
    #[schema(example = "Colour")]
    name: String,
    #[schema(example = "red")]
    value: String,
}

#[derive(Debug, Serialize, ToSchema)]
pub struct ShippingLineBody {
    line_id: Uuid,
    title: String,
    tax: MoneyBody,
    /// With tax, less what is discounted.
    total: MoneyBody,
}

#[derive(Debug, Serialize, ToSchema)]
pub struct OrderTotalsBody {
    /// The goods, before discounts.
    subtotal: MoneyBody,
    discount: MoneyBody,
    shipping: MoneyBody,
    /// In `total`, whether prices include it or not.
    tax: MoneyBody,
    total: MoneyBody,
    /// Money that was taken.
    paid: MoneyBody,
    refunded: MoneyBody,
    /// What is neither taken nor authorised; 0 once nothing is to be paid any more.
    amount_due: MoneyBody,
}

/// Who buys; sealed for those of the staff who don't need to know.
#[derive(Debug, Serialize, ToSchema)]
#[serde(untagged)]
pub enum OrderContact {
    Open(Box<ContactBody>),
    Sealed(Sealed),
}

#[derive(Debug, Serialize, ToSchema)]
pub struct Sealed {
    /// Always true.
    sealed: bool,
}

/// An attempt to pay.
#[derive(Debug, Serialize, ToSchema)]
pub struct OrderPaymentBody {
    id: Uuid,
    #[schema(example = "sandbox")]
    provider: String,
    /// Of this attempt, in the words of `payment_status`.
    status: &'static str,
    amount: MoneyBody,
    captured: MoneyBody,
    refunded: MoneyBody,
    /// What the shopper has to do, while the attempt waits for it.
    #[serde(skip_serializing_if = "Option::is_none")]
    next_action: Option<ActionBody>,
}

#[derive(Debug, Serialize, ToSchema)]
#[schema(as = NextAction)]
pub struct ActionBody {
    /// In the provider's word.
    #[schema(example = "redirect")]
    kind: String,
    /// Where the shopper has to go: a secret.
    url: String,
}

/// Units that left together.
#[derive(Debug, Serialize, ToSchema)]
pub struct FulfilmentBody {
    id: Uuid,
    /// `shipped`, `delivered`.
    status: &'static str,
    /// The carrier's; null also for those who may not see where it goes.
    tracking: Option<String>,
    lines: Vec<FulfilmentLineBody>,
}

#[derive(Debug, Serialize, ToSchema)]
pub struct FulfilmentLineBody {
    line_id: Uuid,
    #[schema(minimum = 1)]
    quantity: u32,
}

impl OrderBody {
    /// Leaves of who buys that it is sealed, as the log shows it to those who may not open it.
    pub(super) fn seal_contact(&mut self, shows_contact: bool) {
        if !shows_contact {
            self.contact = OrderContact::Sealed(Sealed { sealed: true });
            for shipment in &mut self.fulfilments {
                shipment.tracking = None;
            }
        }
    }
}

/// An order as answers show it.
pub fn render(order: &PlacedOrder, payments: &[&Payment], at: Position, order_token: Option<&str>) -> OrderBody {
    let facts = &order.facts;
    let total = facts.totals.total;
    let amount = |minor: i64| MoneyBody::new(minor, facts.currency);
    let sum = |of: fn(&Payment) -> i64| payments.iter().map(|payment| of(payment)).sum::<i64>();
    let owed = order.amount_owed().unwrap_or(total);
    let is_due = matches!(order.stage, OrderStage::PendingPayment | OrderStage::Confirmed { .. });
    let due = if is_due { (owed.amount() - sum(Payment::covering)).max(0) } else { 0 };
    OrderBody {
        id: facts.order_id.uuid(),
        number: facts.number.clone(),
        status: order.stage.as_str(),
        on_hold: order.on_hold.is_some(),
        hold_reason: order.on_hold.clone(),
        payment_status: order_payment_status(owed, payments.iter().copied()).as_str(),
        fulfilment_status: order.fulfilment_status().as_str(),
        return_status: "none",
        prices_include_tax: facts.prices_include_tax,
        currency: facts.currency.to_string(),
        lines: facts.lines.iter().map(|line| render_line(order, line)).collect(),
        shipping_lines: facts.shipping_lines.iter().map(Into::into).collect(),
        tax_lines: facts.taxes.iter().map(Into::into).collect(),
        discounts: facts.discounts.iter().map(Into::into).collect(),
        totals: OrderTotalsBody {
            subtotal: facts.totals.subtotal.into(),
            discount: facts.totals.discount.into(),
            shipping: facts.totals.shipping.into(),
            tax: facts.totals.tax.into(),
            total: total.into(),
            paid: amount(sum(Payment::captured)),
            refunded: amount(sum(Payment::refunded)),
            amount_due: amount(due),
        },
        contact: OrderContact::Open(Box::new(ContactBody::new(
            &facts.email,
            facts.phone.as_ref(),
            &facts.shipping_address,
            facts.billing_address.as_ref(),
        ))),
        payments: payments.iter().filter_map(|payment| render_payment(payment)).collect(),
        fulfilments: order.shipments.iter().map(|(id, shipment)| render_shipment(id.uuid(), shipment)).collect(),
        placed_at: facts.placed_at,
        read_position: at.to_string(),
        order_token: order_token.map(str::to_owned),
    }
}

fn render_line(order: &PlacedOrder, line: &OrderLine) -> OrderLineBody {
    let discount: i64 = line.discounts.iter().map(|d| d.amount.amount()).sum();
    let option = |option: &LineOption| LineOptionBody { name: option.name.clone(), value: option.value.clone() };
    OrderLineBody {
        line_id: line.line_id.uuid(),
        variant_id: line.variant_id.map(VariantId::uuid),
        product_id: line.product_id.map(ProductId::uuid),
        sku: line.sku.clone(),
        title: line.title.clone(),
        options: line.options.iter().map(option).collect(),
        quantity: line.quantity,
        unit_price: line.unit_price.into(),
        discount: MoneyBody::new(discount, order.facts.currency),
        tax: line.tax.into(),
        total: line.gross.into(),
        fulfilled: order.shipped_units(line.line_id),
        cancelled: order.cancelled_units(line.line_id),
        returned: 0,
    }
}

impl From<&ShippingLine> for ShippingLineBody {
    fn from(line: &ShippingLine) -> Self {
        Self { line_id: line.line_id.uuid(), title: line.title.clone(), tax: line.tax.into(), total: line.gross.into() }
    }
}

fn render_payment(payment: &Payment) -> Option<OrderPaymentBody> {
    let created = payment.created.as_ref()?;
    let amount = |minor: i64| MoneyBody::new(minor, created.amount.currency());
    Some(OrderPaymentBody {
        id: created.payment_id.uuid(),
        provider: created.provider.clone(),
        status: payment.status().as_str(),
        amount: created.amount.into(),
        captured: amount(payment.captured()),
        refunded: amount(payment.refunded()),
        next_action: None,
    })
}

fn render_shipment(id: Uuid, shipment: &Shipment) -> FulfilmentBody {
    let lines = shipment.lines.iter().map(|line| FulfilmentLineBody { line_id: line.line_id.uuid(), quantity: line.quantity });
    FulfilmentBody {
        id,
        status: if shipment.delivered { "delivered" } else { "shipped" },
        tracking: shipment.tracking.as_ref().and_then(|tracking| tracking.known()).cloned(),
        lines: lines.collect(),
    }
}

impl App {
    /// Says where the shopper has to go for a payment that waits for it.
    pub(super) async fn add_actions(&self, body: &mut OrderBody, payments: &[&Payment]) -> Result<(), Problem> {
        for payment in payments.iter().filter(|payment| payment.status() == PaymentStatus::RequiresAction) {
            let Some(created) = &payment.created else { continue };
            let kept = secret::find(&self.writer, created.payment_id).await?;
            let shown = body.payments.iter_mut().find(|shown| shown.id == created.payment_id.uuid());
            if let (Some(shown), Some(url)) = (shown, kept.and_then(|kept| kept.action_url)) {
                shown.next_action = Some(ActionBody { kind: action_kind(payment).to_owned(), url });
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
