//! Checkout: a cart becomes an order. Reserve before money, all of it in one append.
//!
//! The order, the stock of each line, the order's number, the frozen cart and the intent to pay land together or not at
//! all; there is no moment at which a unit is promised to two.

use std::collections::HashMap;
use std::sync::Arc;

use chrono::{DateTime, Utc};
use domain::cart::{Cart, CartCommand, CartContactSet, CartStage};
use domain::catalog::Product;
use domain::claim::{Claim, ClaimCommand, ClaimKey};
use domain::id::{CartKey, HoldId, OperationId, OrderId, PaymentId, ProductId, PromotionId, TenderId, VariantId};
use domain::inventory::{HoldOwner, Reserve, StockCommand, StockEvent, StockItem, StockRejection};
use domain::money::Money;
use domain::order::{LineOption, Order, OrderCommand, OrderCoupon, OrderHold, OrderItem, OrderLine, OrderPlaced, PREPAID, Tender};
use domain::payment::CaptureMode;
use domain::personal::Purpose;
use domain::promotion::{Inapplicable, Promotion};
use infra::sealing::{KeyScope, MasterKey};
use serde_json::json;
use uuid::Uuid;

use crate::answer::Refusal;
use crate::cart::{self, CartAt, sellable_variant};
use crate::catalog::check_version;
use crate::order::promise;
use crate::payment;
use crate::promotion;
use crate::quote::{self, Quoted};
use crate::setting;
use crate::streams::{Stop, Streams};
use crate::terms::Terms;
use crate::whole_order::WholeOrder;

/// The deadline at which an unpaid order gives its stock back.
pub const PAYMENT_DEADLINE: &str = "order_payment";

/// Everything a checkout needs that is not in the log: fresh ids, the shop's terms, what the shopper agreed to.
#[derive(Debug, Clone)]
pub struct Checkout {
    pub cart: CartAt,
    /// Which product each of the cart's variants is of; `None`: looked up, and of none any more.
    pub products: HashMap<VariantId, Option<ProductId>>,
    pub order_id: OrderId,
    /// Candidates for the order's number; the first free one is taken.
    pub numbers: Vec<String>,
    pub tender_id: TenderId,
    /// How it is paid; absent for a total of zero, or to pay later through the order.
    pub attempt: Option<Attempt>,
    /// The total that the shopper has agreed to, in minor units.
    pub expected_total: Option<i64>,
    /// The automatic promotions that are known; what they are is looked up in their streams.
    pub promotions: Vec<PromotionId>,
    /// Hashes the buyer's e-mail address, by which the uses of coupons by one person are counted.
    pub master: MasterKey,
    /// As configured; the store's settings count before it.
    pub terms: Arc<Terms>,
    /// What was in force when the cart last changed, if the settings have changed since: its total was answered by that.
    pub terms_seen: Option<Arc<Terms>>,
    /// The same of automatic promotions.
    pub promotions_seen: Option<PromotionsSeen>,
}

/// When a cart last changed, and as they were then the promotions that have changed since.
#[derive(Debug, Clone)]
pub struct PromotionsSeen {
    pub at: DateTime<Utc>,
    pub changed: Arc<Vec<Promotion>>,
}

/// One attempt to pay, with its fresh ids. The provider's token lies sealed under the payment's id.
#[derive(Debug, Clone)]
pub struct Attempt {
    pub payment_id: PaymentId,
    pub operation_id: OperationId,
    pub provider: String,
    /// Whether the money is taken as soon as the order is confirmed.
    pub capture: CaptureMode,
    /// Most attempts of one order.
    pub attempts_max: usize,
}

/// The order that a cart has become.
#[derive(Debug, Clone)]
pub struct Placed {
    pub order: WholeOrder,
    /// The attempt that this call started; `None` when the call found the order as it is.
    pub started: Option<PaymentId>,
}

/// Places the order, or finds the one that the cart became; a pending order without a live attempt gets a new one.
pub fn place(streams: &mut Streams<'_>, checkout: &Checkout) -> Result<Placed, Stop> {
    let key = checkout.cart.key.as_str();
    let version = streams.version::<Cart>(key)?;
    let cart = streams.get::<Cart>(key)?.clone();
    match cart.stage {
        CartStage::Absent => return Err(Refusal::not_found("cart").into()),
        CartStage::Expired => {
            return Err(Refusal::new("cart_closed", "the cart has expired; start a new one").into());
        }
        CartStage::Completing { order_id, .. } | CartStage::Completed { order_id } => {
            return retry(streams, checkout, order_id);
        }
        CartStage::Open => check_version(checkout.cart.if_match, version)?,
    }
    let email = cart.contact.as_ref().and_then(|contact| contact.email.known());
    let subject_ref = email.filter(|_| !cart.coupons.is_empty()).map(|email| promotion::subject_ref(&checkout.master, email));
    let terms = setting::in_force(streams, &checkout.terms)?;
    let quoted = priced(streams, checkout, &terms, &cart, subject_ref.as_deref())?;
    agreed(&quoted, checkout.expected_total)?;
    let (holds, stock_events) = reserve(streams, checkout, &terms, &cart)?;
    let coupons = promotion::reserve(streams, checkout.order_id, &quoted.coupons, &subject_ref.unwrap_or_default())?;
    let number = claim_number(streams, checkout)?;
    let facts = facts(streams, checkout, &cart, quoted, Promised { holds, coupons }, number)?;
    let total = facts.totals.total;
    let requires_shipping = facts.lines.iter().any(|line| line.requires_shipping);
    for (variant_id, events) in stock_events {
        streams.emit::<StockItem>(&variant_id.to_string(), events, None)?;
    }
    let frozen = CartCommand::StartCheckout { order_id: checkout.order_id, total, requires_shipping };
    let mut after = cart.clone();
    let mut cart_events = cart.decide(frozen).map_err(cart::refusal)?;
    let subject_id = cart.subject_id;
    let order_scope = scope(subject_id.uuid());
    let placed = streams.create::<Order>(&order_key(checkout.order_id))?.decide(OrderCommand::Place(Box::new(facts.clone())));
    let mut order_events = placed.map_err(|e| payment::order_refusal(&e))?;
    let mut order = Order::Absent;
    for event in &order_events {
        order.apply(event);
    }
    let mut opened = None;
    if order.status() == "confirmed" {
        for event in &cart_events {
            after.apply(event);
        }
        cart_events.extend(after.decide(CartCommand::Complete { order_id: checkout.order_id }).map_err(cart::refusal)?);
        promise::allocate(streams, &facts)?;
        promotion::redeem(streams, &facts)?;
    } else if let Some(attempt) = &checkout.attempt {
        let mut opening = payment::open(streams, &order, checkout.order_id, attempt, total)?;
        order_events.append(&mut opening.order_events);
        opened = Some(opening);
    }
    cart::emit(streams, &checkout.cart.key, subject_id, cart_events)?;
    streams.emit::<Order>(&order_key(checkout.order_id), order_events, Some(order_scope))?;
    let started = opened.as_ref().and(checkout.attempt.as_ref()).map(|attempt| attempt.payment_id);
    if let Some(opened) = opened {
        opened.emit_payment(streams)?;
    }
    if let Some(due_at) = facts.payment_deadline {
        streams.deadline::<Order>(PAYMENT_DEADLINE, &order_key(checkout.order_id), due_at);
    }
    streams.answer_with::<Order>(201, &order_key(checkout.order_id));
    Ok(Placed { order: WholeOrder::after(streams, checkout.order_id)?, started })
}

/// A second call: the same order; if nothing is being paid, a new attempt.
fn retry(streams: &mut Streams<'_>, checkout: &Checkout, order_id: OrderId) -> Result<Placed, Stop> {
    let started = match &checkout.attempt {
        Some(attempt) => payment::start_again(streams, order_id, attempt)?.then_some(attempt.payment_id),
        None => None,
    };
    let order = WholeOrder::after(streams, order_id)?;
    streams.answer_with::<Order>(201, &order_key(order_id));
    Ok(Placed { order, started })
}

fn priced(streams: &mut Streams<'_>, checkout: &Checkout, terms: &Terms, cart: &Cart, subject_ref: Option<&str>) -> Result<Quoted, Stop> {
    streams.need::<Product>(checkout.products.values().flatten().map(ToString::to_string))?;
    let mut products = HashMap::new();
    for line in &cart.lines {
        // A line that was added after the caller had looked the products up.
        let Some(found) = checkout.products.get(&line.variant_id) else { return Err(Stop::Stale) };
        let Some(product_id) = found else { continue };
        products.insert(line.variant_id, streams.get::<Product>(&product_id.to_string())?.clone());
    }
    let by_variant = products.iter().map(|(variant_id, product)| (*variant_id, product)).collect();
    let offers = promotion::offers(streams, &checkout.promotions, cart, subject_ref)?;
    let mut quoted = quote::quote(cart, &by_variant, &offers, terms, streams.now)?;
    if checkout.terms_seen.is_some() || checkout.promotions_seen.is_some() {
        let seen = match &checkout.promotions_seen {
            Some(seen) => promotion::offers_seen(streams, &checkout.promotions, cart, seen, &offers)?,
            None => offers,
        };
        let terms = checkout.terms_seen.as_deref().unwrap_or(terms);
        quoted.total_seen = quote::quote(cart, &by_variant, &seen, terms, streams.now)?.total_seen;
    }
    let missing = cart.missing(quoted.requires_shipping);
    if !missing.is_empty() {
        let detail = format!("the cart lacks {}; supply it, then check out", missing.join(", "));
        return Err(Refusal::new("cart_incomplete", detail).fact("missing", missing).into());
    }
    if !quoted.gone.is_empty() {
        let lines: Vec<_> = unavailable(cart, &quoted.gone);
        return Err(Refusal::new("insufficient_stock", "some lines are not sold any more; remove them").fact("lines", lines).into());
    }
    if quoted.requires_shipping && quoted.shipping.is_none() {
        return Err(
            Refusal::new("shipping_unavailable", "the chosen shipping option is not offered to this address; choose another").into()
        );
    }
    Ok(quoted)
}

fn unavailable(cart: &Cart, gone: &[VariantId]) -> Vec<serde_json::Value> {
    let lines = cart.lines.iter().filter(|line| gone.contains(&line.variant_id));
    lines.map(|line| json!({ "sku": line.sku, "line_id": line.line_id, "available": 0 })).collect()
}

/// Refuses a total that the shopper has not agreed to: another than expected, or above the one that was seen. A coupon that takes
/// nothing off is refused, too, unless the total without it is the expected one.
fn agreed(quoted: &Quoted, expected: Option<i64>) -> Result<(), Refusal> {
    let total = quoted.quote.totals.total;
    let current = json!({ "amount": total.amount(), "currency": total.currency().as_str(), "exponent": total.currency().exponent() });
    if expected == Some(total.amount()) {
        return Ok(());
    }
    for coupon in &quoted.coupons {
        match coupon.discount {
            Ok(_) | Err(Inapplicable::NothingToDiscount) => {}
            Err(reason) => {
                let fix = "remove it, or check out with current_total as expected_total";
                let refused = promotion::unusable(reason, fix).fact("coupon_id", coupon.coupon.coupon_id.to_string());
                return Err(refused.fact("current_total", current));
            }
        }
    }
    if expected.is_none() && total.amount() <= quoted.total_seen.amount() {
        return Ok(());
    }
    let detail = "the cart's total has changed; show current_total and check out with it as expected_total";
    Err(Refusal::new("cart_changed", detail).fact("current_total", current))
}

/// What was reserved for an order.
struct Promised {
    holds: Vec<OrderHold>,
    coupons: Vec<OrderCoupon>,
}

type Reserved = (Vec<OrderHold>, Vec<(VariantId, Vec<StockEvent>)>);

/// Reserves every line, or says of all that fall short what is left.
fn reserve(streams: &mut Streams<'_>, checkout: &Checkout, terms: &Terms, cart: &Cart) -> Result<Reserved, Stop> {
    streams.need::<StockItem>(cart.lines.iter().map(|line| line.variant_id.to_string()))?;
    let (mut holds, mut written, mut short) = (Vec::new(), Vec::<(VariantId, Vec<StockEvent>)>::new(), Vec::new());
    for line in &cart.lines {
        let now = streams.now;
        let stock = streams.get::<StockItem>(&line.variant_id.to_string())?;
        let hold_id = HoldId::new(Uuid::new_v5(&checkout.order_id.uuid(), line.line_id.uuid().as_bytes()));
        let reserve = Reserve {
            hold_id,
            owner: HoldOwner::order(checkout.order_id, line.line_id),
            quantity: line.quantity,
            expires_at: None,
            allocation_order: terms.allocation_order.clone(),
            now,
        };
        // Two lines of one variant: the second is decided on what the first has left.
        let earlier = written.iter().position(|(variant_id, _)| *variant_id == line.variant_id);
        let decided = match earlier {
            None => stock.decide(StockCommand::Reserve(reserve)),
            Some(index) => {
                let mut after = stock.clone();
                for event in &written[index].1 {
                    after.apply(event);
                }
                after.decide(StockCommand::Reserve(reserve))
            }
        };
        match decided {
            Ok(events) => {
                let parts = events.iter().find_map(|event| match event {
                    StockEvent::StockReserved(reserved) if reserved.hold_id == hold_id => Some(reserved.parts.clone()),
                    _ => None,
                });
                holds.push(OrderHold { line_id: line.line_id, hold_id, parts: parts.unwrap_or_default() });
                match earlier {
                    None => written.push((line.variant_id, events)),
                    Some(index) => written[index].1.extend(events),
                }
            }
            Err(StockRejection::InsufficientStock { available }) => {
                short.push(json!({ "sku": line.sku, "line_id": line.line_id, "available": available.max(0) }));
            }
            Err(StockRejection::NotFound) => short.push(json!({ "sku": line.sku, "line_id": line.line_id, "available": 0 })),
            Err(rejection) => {
                return Err(Refusal::invalid("", rejection.code(), rejection.to_string()).into());
            }
        }
    }
    if short.is_empty() {
        return Ok((holds, written));
    }
    Err(Refusal::new("insufficient_stock", "not enough in stock; lower the quantities of the lines named").fact("lines", short).into())
}

fn claim_number(streams: &mut Streams<'_>, checkout: &Checkout) -> Result<String, Stop> {
    for number in &checkout.numbers {
        let key = ClaimKey::order_number(number).stream_id();
        let by = checkout.order_id.to_string();
        if let Ok(events) = streams.create::<Claim>(&key)?.decide(ClaimCommand::Take { by }) {
            streams.emit::<Claim>(&key, events, None)?;
            return Ok(number.clone());
        }
    }
    Err(Refusal::new("conflict", "no order number was free; repeat").into())
}

fn facts(
    streams: &mut Streams<'_>,
    checkout: &Checkout,
    cart: &Cart,
    quoted: Quoted,
    promised: Promised,
    number: String,
) -> Result<OrderPlaced, Stop> {
    let contact = cart.contact.as_ref().ok_or_else(|| Refusal::new("cart_incomplete", "the cart lacks contact"))?;
    let language = cart.language.clone().unwrap_or_else(|| checkout.terms.language.clone());
    let mut lines = Vec::with_capacity(quoted.quote.lines.len());
    for quote_line in quoted.quote.lines {
        let wanted = cart.line(quote_line.line_id).ok_or_else(|| Refusal::not_found("line"))?;
        let item = item(streams, checkout, wanted.variant_id, &language)?;
        lines.push(OrderLine::new(item, quote_line));
    }
    let total = quoted.quote.totals.total;
    let CartContactSet { ship_to, email, phone, shipping_address, billing_address, .. } = contact.clone();
    let tender = Tender { tender_id: checkout.tender_id, kind: "payment".to_owned(), reference: provider(checkout), amount: total };
    Ok(OrderPlaced {
        order_id: checkout.order_id,
        number,
        source: "checkout".to_owned(),
        channel: cart.channel.clone(),
        cart: Some(CartKey::new(checkout.cart.key.as_str())),
        checkout_no: Some(cart.next_checkout_no()),
        subject_id: cart.subject_id,
        customer_id: cart.customer_id,
        placed_at: streams.now,
        language,
        currency: quoted.quote.currency,
        prices_include_tax: quoted.quote.prices_include_tax,
        rounding: quoted.quote.rounding,
        ship_to,
        lines,
        shipping_lines: quoted.quote.shipping_lines,
        discounts: quoted.quote.discounts,
        coupons: promised.coupons,
        taxes: quoted.quote.taxes,
        fees: Vec::new(),
        totals: quoted.quote.totals,
        holds: promised.holds,
        tenders: vec![tender],
        terms: PREPAID.to_owned(),
        payment_deadline: needs_payment(total).then(|| streams.now + checkout.terms.payment_window),
        email,
        phone,
        shipping_address,
        billing_address,
        note: None,
    })
}

fn needs_payment(total: Money) -> bool {
    !total.is_zero()
}

fn provider(checkout: &Checkout) -> String {
    checkout.attempt.as_ref().map_or_else(|| "none".to_owned(), |attempt| attempt.provider.clone())
}

/// What a line says of its variant, for ever: later changes of the product do not reach the order.
fn item(streams: &mut Streams<'_>, checkout: &Checkout, variant_id: VariantId, language: &str) -> Result<OrderItem, Stop> {
    let product_id = checkout.products.get(&variant_id).copied().flatten().ok_or_else(|| Refusal::not_found("product"))?;
    let product = streams.get::<Product>(&product_id.to_string())?;
    let variant = sellable_variant(product, variant_id)?;
    let text = |texts: &domain::catalog::Text| texts.get(language).or_else(|| texts.values().next()).cloned().unwrap_or_default();
    let options = product.options.iter().filter_map(|option| {
        let value_id = variant.option_values.get(&option.option_id)?;
        let value = option.values.iter().find(|value| value.value_id == *value_id)?;
        Some(LineOption { name: text(&option.name), value: text(&value.label) })
    });
    Ok(OrderItem {
        kind: "product".to_owned(),
        variant_id: Some(variant_id),
        product_id: Some(product_id),
        sku: variant.sku.clone(),
        title: text(&product.title),
        options: options.collect(),
        parent_line_id: None,
        price_source: "price_list".to_owned(),
    })
}

/// The scope of an order's personal data.
pub(crate) fn scope(subject_id: Uuid) -> KeyScope {
    KeyScope { subject_id, purpose: Purpose::Order.as_str() }
}

pub(crate) fn order_key(order_id: OrderId) -> String {
    order_id.to_string()
}
