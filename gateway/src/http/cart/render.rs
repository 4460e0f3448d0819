//! A cart as answers show it.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::Arc;

use chrono::{DateTime, Utc};
use commands::checkout::PromotionsSeen;
use commands::quote::{self, CouponOutcome, Offered};
use cqrs_es::Aggregate;
use domain::cart::Cart;
use domain::catalog::Product;
use domain::id::{CartKey, PromotionId, VariantId};
use domain::pricing::{Discount, DiscountTarget};
use domain::promotion::{Inapplicable, Promotion};
use serde_json::{Value, json};

use super::super::problem::Problem;
use super::{contact_json, exists, money};
use crate::app::App;

/// The promotions that a cart is offered.
pub struct Promotions {
    automatic: Arc<Vec<Promotion>>,
    of_coupons: HashMap<PromotionId, Arc<Promotion>>,
}

impl Promotions {
    fn offered(&self, cart: &Cart, now: DateTime<Utc>) -> Vec<Offered<'_>> {
        let automatic = self.automatic.iter().filter_map(|promotion| Offered::automatic(promotion, now));
        let of_coupons = cart.coupons.iter().map(|coupon| {
            let promotion = self.of_coupons.get(&coupon.promotion_id).map(Arc::as_ref);
            Offered::by_coupon(promotion, cart, coupon, now)
        });
        automatic.chain(of_coupons).collect()
    }
}

impl App {
    /// The automatic promotions that have not ended, and those of the cart's coupons.
    async fn promotions_of(&self, cart: &Cart) -> Result<Promotions, Problem> {
        let at = self.checkpoints.of("promotion").await?;
        let automatic = self.cache.automatic_promotions(at.position).await?;
        let ids: Vec<PromotionId> = cart.coupons.iter().map(|coupon| coupon.promotion_id).collect();
        let mut of_coupons = self.cache.promotions(&ids, at.position).await?;
        for id in ids {
            // One that was just made may be ahead of the read model: the log knows it.
            if let Entry::Vacant(unknown) = of_coupons.entry(id) {
                unknown.insert(Arc::new(self.loader.load::<Promotion>(&id.to_string()).await?.0));
            }
        }
        Ok(Promotions { automatic, of_coupons })
    }

    /// The automatic promotions that a checkout has to look up.
    pub(in crate::http) async fn automatic_promotions(&self) -> Result<Vec<PromotionId>, Problem> {
        let at = self.checkpoints.of("promotion").await?;
        let automatic = self.cache.automatic_promotions(at.position).await?;
        Ok(automatic.iter().filter_map(|promotion| Some(promotion.terms.as_ref()?.promotion_id)).collect())
    }

    /// When a cart last changed, and the promotions that have changed since, as they were then; `None` in a shop without any.
    pub(in crate::http) async fn promotions_seen(&self, cart: &CartKey, state: &Cart) -> Result<Option<PromotionsSeen>, Problem> {
        let seen: Option<(i64, DateTime<Utc>, Vec<String>)> = sqlx::query_as(
            "SELECT c.position, c.recorded_at, ARRAY (SELECT p.id FROM promotion p
                    WHERE p.position > c.position AND ((p.state->'terms'->>'automatic')::boolean OR p.id = ANY ($3)))
             FROM (SELECT position, recorded_at FROM events WHERE aggregate_type = $1 AND aggregate_id = $2
                   ORDER BY sequence DESC LIMIT 1) c
             WHERE EXISTS (SELECT FROM promotion)",
        )
        .bind(Cart::TYPE)
        .bind(cart.as_str())
        .bind(state.coupons.iter().map(|coupon| coupon.promotion_id.to_string()).collect::<Vec<_>>())
        .fetch_optional(&self.pool)
        .await?;
        let Some((position, at, ids)) = seen else { return Ok(None) };
        let mut changed = Vec::with_capacity(ids.len());
        for id in ids {
            changed.push(self.loader.load_as_of::<Promotion>(&id, position).await?.0);
        }
        Ok(Some(PromotionsSeen { at, changed: Arc::new(changed) }))
    }

    /// A cart as answers show it: what it costs now, by the settings as of `position` or later, and what checkout still needs.
    pub(in crate::http) async fn render_cart(&self, id: &str, cart: &Cart, lang: Option<&str>, position: i64) -> Result<Value, Problem> {
        exists(cart)?;
        let lang = lang.or(cart.language.as_deref()).unwrap_or(self.settings.default_language());
        let products = self.products_of(cart).await?;
        let by_variant = products.iter().map(|(variant_id, row)| (*variant_id, &row.state)).collect();
        let variants: Vec<VariantId> = cart.lines.iter().map(|line| line.variant_id).collect();
        let levels = self.cache.levels(&variants, self.checkpoints.of("stock").await?.position).await?;
        let promotions = self.promotions_of(cart).await?;
        let now = infra::clock::now();
        let terms = self.terms(position).await?;
        let quoted = quote::quote(cart, &by_variant, &promotions.offered(cart, now), &terms, now)?;
        let quote = &quoted.quote;
        let shown_max = self.settings.available_shown_max;
        let text = |texts: &domain::catalog::Text| texts.get(lang).or_else(|| texts.values().next()).cloned().unwrap_or_default();
        let lines: Vec<Value> = cart
            .lines
            .iter()
            .map(|line| {
                let product = products.get(&line.variant_id).map(|row| &row.state);
                let priced = quote.lines.iter().find(|q| q.line_id == line.line_id);
                let available = levels.get(&line.variant_id).map_or(0, |level| level.available).clamp(0, shown_max);
                let options: serde_json::Map<String, Value> =
                    product.map(|p| chosen_options(p, line.variant_id, &text)).unwrap_or_default();
                json!({
                    "line_id": line.line_id,
                    "variant_id": line.variant_id,
                    "sku": line.sku,
                    "title": product.map(|p| text(&p.title)),
                    "handle": product.map(|p| p.handle.clone()),
                    "image": product.and_then(|p| p.media.first()).map(|media| media.url.clone()),
                    "options": options,
                    "quantity": line.quantity,
                    "available": if priced.is_some() { available } else { 0 },
                    "price_changed": priced.is_none_or(|q| q.unit_price != line.price_seen),
                    "unit_price": money(priced.map_or(line.price_seen, |q| q.unit_price)),
                    "discount": priced.and_then(|q| q.discount().ok()).map(money),
                    "tax": priced.map(|q| money(q.tax)),
                    "total": priced.map(|q| money(q.gross)),
                })
            })
            .collect();
        let mut missing = cart.missing(quoted.requires_shipping);
        if quoted.requires_shipping && cart.shipping_option.is_some() && quoted.shipping.is_none() {
            missing.push("shipping_option");
        }
        let contact = cart.contact.as_ref();
        let totals = &quote.totals;
        Ok(json!({
            "id": id,
            "currency": quote.currency.as_str(),
            "country": cart.country,
            "language": cart.language,
            "status": cart.stage.as_str(),
            "prices_include_tax": quote.prices_include_tax,
            "lines": lines,
            "coupons": quoted.coupons.iter().map(coupon_json).collect::<Vec<_>>(),
            "contact": contact.map(|c| contact_json(&c.email, c.phone.as_ref(), &c.shipping_address, c.billing_address.as_ref())),
            "shipping_option": quoted.shipping.as_ref().map(|o| json!({ "id": o.method_id, "title": o.title, "price": money(o.price) })),
            "tax_lines": quote.taxes.iter().map(|t| json!({ "title": t.title, "rate_ppm": t.rate_ppm, "included": t.included, "taxable": money(t.taxable), "amount": money(t.amount) })).collect::<Vec<_>>(),
            "discounts": quote.discounts.iter().map(discount_json).collect::<Vec<_>>(),
            "totals": { "subtotal": money(totals.subtotal), "discount": money(totals.discount), "shipping": money(totals.shipping), "tax": money(totals.tax), "total": money(totals.total) },
            "missing": missing,
            "order_id": cart.order_id,
        }))
    }
}

/// A coupon of a cart: what it takes off, or why it doesn't. Its code is not known any more.
fn coupon_json(outcome: &CouponOutcome) -> Value {
    let reason = outcome.discount.err();
    let minimum = match reason {
        Some(Inapplicable::MinimumNotReached { minimum }) => Some(money(minimum)),
        _ => None,
    };
    json!({
        "coupon_id": outcome.coupon.coupon_id,
        "promotion_id": outcome.coupon.promotion_id,
        "title": outcome.title,
        "applied": outcome.discount.is_ok(),
        "discount": outcome.discount.ok().map(money),
        "reason": reason.map(Inapplicable::as_str),
        "minimum": minimum,
    })
}

/// A discount of a cart or an order.
pub(in crate::http) fn discount_json(discount: &Discount) -> Value {
    let target = match discount.target {
        DiscountTarget::Line { .. } | DiscountTarget::Lines { .. } => "line",
        DiscountTarget::Order => "order",
        DiscountTarget::Shipping => "shipping",
    };
    json!({
        "promotion_id": discount.promotion_id,
        "coupon_id": discount.coupon_id,
        "source": discount.source,
        "title": discount.title,
        "target": target,
        "amount": money(discount.amount),
    })
}

fn chosen_options(
    product: &Product,
    variant_id: VariantId,
    text: &impl Fn(&domain::catalog::Text) -> String,
) -> serde_json::Map<String, Value> {
    let Some(variant) = product.variant(variant_id) else {
        return serde_json::Map::new();
    };
    let chosen = product.options.iter().filter_map(|option| {
        let value_id = variant.option_values.get(&option.option_id)?;
        let value = option.values.iter().find(|value| value.value_id == *value_id)?;
        Some((text(&option.name), json!(text(&value.label))))
    });
    chosen.collect()
}
