//! What a cart costs now: live prices, tax for where it goes, the chosen shipping. Used to show a cart and to place its
//! order, so that both say the same.

use std::collections::HashMap;

use chrono::{DateTime, Utc};
use domain::cart::{Cart, CartLine, ShipTo};
use domain::catalog::{Product, Variant};
use domain::id::VariantId;
use domain::money::Money;
use domain::pricing::{self, Goods, LineRequest, Quote, QuoteRequest, ShippingOption};

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
}

/// The products of a cart's lines, by variant.
pub type Products<'a> = HashMap<VariantId, &'a Product>;

pub fn quote(cart: &Cart, products: &Products<'_>, terms: &Terms, now: DateTime<Utc>) -> Result<Quoted, Refusal> {
    let currency = cart.currency.ok_or_else(|| Refusal::not_found("cart"))?;
    let ship_to = ship_to(cart);
    let (mut gone, mut grams) = (Vec::new(), 0);
    let (mut live, mut seen) = (Vec::new(), Vec::new());
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
    let quote = pricing::price(&request).map_err(|e| unpriceable(&e))?;
    request.lines = seen;
    if let (Some(option), Some(chosen)) = (&mut request.shipping, chosen) {
        option.price = chosen.price_seen;
    }
    let total_seen = pricing::price(&request).map_err(|e| unpriceable(&e))?.totals.total;
    Ok(Quoted { quote, total_seen, requires_shipping, shipping, grams, gone })
}

/// The ways to ship a cart, cheapest first as configured.
pub fn shipping_options(cart: &Cart, products: &Products<'_>, terms: &Terms, now: DateTime<Utc>) -> Result<Vec<ShippingOption>, Refusal> {
    let Some(ship_to) = ship_to(cart) else {
        return Ok(Vec::new());
    };
    let quoted = quote(cart, products, terms, now)?;
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
    Refusal::new("validation_failed", format!("the cart can't be priced: {error}; lower its quantities"))
}
