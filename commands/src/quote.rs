//! What a cart costs now: live prices, tax for where it goes, the chosen shipping. Used to show a cart and to place its
//! order, so that both say the same.

use std::borrow::Cow;
use std::collections::HashMap;

use chrono::{DateTime, Utc};
use domain::cart::{Cart, CartCoupon, CartLine, ShipTo};
use domain::catalog::{Product, Variant};
use domain::id::VariantId;
use domain::money::Money;
use domain::pricing::{self, Goods, LineRequest, Quote, QuoteRequest, ShippingOption};
use domain::promotion::offer::{self, Basket, Offer};
use domain::promotion::{Inapplicable, PromotionCreated};

use crate::answer::Refusal;
use crate::cart::{price_of, sellable_variant};
use crate::terms::Terms;

/// A quote, and what it was made of.
#[derive(Debug)]
pub struct Quoted {
    pub quote: Quote,
    /// The prices on which the cart was filled: what the shopper has seen.
    pub total_seen: Money,
    pub requires_shipping: bool,
    /// `None` when the chosen one is not offered to this address.
    pub shipping: Option<ShippingOption>,
    /// What needs shipping weighs so much, as far as its weight is known.
    pub grams: u64,
    /// Lines whose variant can't be bought any more.
    pub gone: Vec<VariantId>,
    /// What became of each of the cart's coupons, in their order.
    pub coupons: Vec<CouponOutcome>,
}

/// A promotion that a cart is offered: automatically, or by one of its coupons.
#[derive(Debug, Clone)]
pub struct Offered<'a> {
    /// Absent where the promotion can't be found.
    pub terms: Option<Cow<'a, PromotionCreated>>,
    pub coupon: Option<CartCoupon>,
    /// Whether it is on, whatever is in the cart.
    pub standing: Result<(), Inapplicable>,
    /// Which of the uses that one person may make it would be; known at checkout.
    pub use_no: Option<u32>,
}

/// A coupon of a cart, and what it takes off, or why it doesn't.
#[derive(Debug, Clone)]
pub struct CouponOutcome {
    pub coupon: CartCoupon,
    pub title: Option<String>,
    pub discount: Result<Money, Inapplicable>,
    pub use_no: Option<u32>,
}

/// The products of a cart's lines, by variant.
pub type Products<'a> = HashMap<VariantId, &'a Product>;

pub fn quote(cart: &Cart, products: &Products<'_>, offered: &[Offered<'_>], terms: &Terms, now: DateTime<Utc>) -> Result<Quoted, Refusal> {
    let currency = cart.currency.ok_or_else(|| Refusal::not_found("cart"))?;
    let ship_to = ship_to(cart);
    let (mut gone, mut grams) = (Vec::new(), 0);
    let (mut live, mut seen, mut sold) = (Vec::new(), Vec::new(), Vec::new());
    for line in &cart.lines {
        let product = products.get(&line.variant_id);
        let found = product.and_then(|p| Some((*p, sellable_variant(p, line.variant_id).ok()?)));
        let priced = found.and_then(|(p, v)| Some((p, v, price_of(v, currency, line.quantity, now).ok()?.price)));
        let Some((product, variant, price)) = priced else {
            gone.push(line.variant_id);
            continue;
        };
        if variant.requires_shipping {
            grams += u64::from(variant.weight_g.unwrap_or(0)) * u64::from(line.quantity);
        }
        live.push(request_line(line, product, variant, price));
        seen.push(request_line(line, product, variant, line.price_seen));
        sold.push((line.variant_id, product));
    }
    let requires_shipping = live.iter().any(|line| line.requires_shipping);
    let mut request = QuoteRequest {
        currency,
        prices_include_tax: terms.prices_include_tax,
        rounding: terms.rounding,
        ship_to: ship_to.clone(),
        lines: live,
        discounts: Vec::new(),
        tax_rates: terms.tax_rates.clone(),
        shipping: None,
    };
    let options = match &ship_to {
        Some(ship_to) if requires_shipping => options(&request, ship_to, grams, terms)?,
        _ => Vec::new(),
    };
    let chosen = cart.shipping_option.as_ref();
    let shipping = chosen.and_then(|chosen| options.into_iter().find(|option| option.method_id == chosen.option_id));
    request.shipping.clone_from(&shipping);
    let coupons = take_off(&mut request, &sold, offered)?;
    let quote = pricing::price(&request).map_err(|e| unpriceable(&e))?;
    request.lines = seen;
    if let (Some(option), Some(chosen)) = (&mut request.shipping, chosen) {
        option.price = chosen.price_seen;
    }
    take_off(&mut request, &sold, offered)?;
    let total_seen = pricing::price(&request).map_err(|e| unpriceable(&e))?.totals.total;
    Ok(Quoted { quote, total_seen, requires_shipping, shipping, grams, gone, coupons })
}

/// Puts into a request what the promotions take off; says what became of the coupons.
fn take_off(request: &mut QuoteRequest, sold: &[(VariantId, &Product)], offered: &[Offered<'_>]) -> Result<Vec<CouponOutcome>, Refusal> {
    let overflow = |e: domain::money::MoneyError| unpriceable(&e.into());
    let lines = request.lines.iter().zip(sold);
    let goods = lines.map(|(line, (variant_id, product))| {
        Ok(offer::Goods {
            line_id: line.line_id,
            variant_id: *variant_id,
            product_id: product.product_id,
            category_ids: &product.category_ids,
            subtotal: line.unit_price.times(line.quantity)?,
        })
    });
    let basket = Basket {
        currency: request.currency,
        rounding: request.rounding,
        goods: goods.collect::<Result<_, _>>().map_err(overflow)?,
        shipping: request.shipping.as_ref().map(|option| option.price),
    };
    let on = |offered: &&Offered<'_>| offered.standing.is_ok() && offered.terms.is_some();
    let offers: Vec<Offer<'_>> = offered
        .iter()
        .filter(on)
        .filter_map(|offered| Some(Offer { terms: offered.terms.as_deref()?, coupon_id: offered.coupon.as_ref().map(|c| c.coupon_id) }))
        .collect();
    let outcomes = offer::evaluate(&basket, &offers).map_err(overflow)?;
    request.discounts = offer::in_order(&offers, &outcomes);
    let mut outcomes = outcomes.into_iter();
    let mut coupons = Vec::new();
    for offered in offered {
        let outcome = if on(&offered) { outcomes.next() } else { None };
        let Some(coupon) = &offered.coupon else { continue };
        let discount = match (outcome, offered.standing) {
            (Some(outcome), _) => outcome.map(|discount| discount.amount),
            (None, standing) => Err(standing.err().unwrap_or(Inapplicable::Ended)),
        };
        let title = offered.terms.as_ref().map(|terms| terms.title.clone());
        coupons.push(CouponOutcome { coupon: coupon.clone(), title, discount, use_no: offered.use_no });
    }
    Ok(coupons)
}

/// The ways to ship a cart, cheapest first as configured.
pub fn shipping_options(cart: &Cart, products: &Products<'_>, terms: &Terms, now: DateTime<Utc>) -> Result<Vec<ShippingOption>, Refusal> {
    let Some(ship_to) = ship_to(cart) else {
        return Ok(Vec::new());
    };
    let quoted = quote(cart, products, &[], terms, now)?;
    let goods = Goods { value: quoted.quote.totals.subtotal, grams: quoted.grams };
    Ok(pricing::shipping_options(&terms.shipping_methods, &ship_to, goods))
}

fn options(request: &QuoteRequest, ship_to: &ShipTo, grams: u64, terms: &Terms) -> Result<Vec<ShippingOption>, Refusal> {
    let value = pricing::price(request).map_err(|e| unpriceable(&e))?.totals.subtotal;
    Ok(pricing::shipping_options(&terms.shipping_methods, ship_to, Goods { value, grams }))
}

/// The delivery address once it is known; before, the country the cart was made for gives an estimate.
fn ship_to(cart: &Cart) -> Option<ShipTo> {
    let estimate = || cart.country.clone().map(|country| ShipTo { country, region: None });
    cart.ship_to().cloned().or_else(estimate)
}

fn request_line(line: &CartLine, product: &Product, variant: &Variant, unit_price: Money) -> LineRequest {
    LineRequest {
        line_id: line.line_id,
        unit_price,
        quantity: line.quantity,
        tax_category: product.tax_category.clone(),
        requires_shipping: variant.requires_shipping,
    }
}

fn unpriceable(error: &pricing::PricingError) -> Refusal {
    Refusal::invalid("", error.code(), format!("the cart can't be priced: {error}; lower its quantities"))
}
