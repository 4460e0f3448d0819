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
use domain::id::{CartKey, CouponId, OrderId, PromotionId, VariantId};
use domain::pricing::{Discount, DiscountTarget, ShippingOption, Tax};
use domain::promotion::{Inapplicable, Promotion};
use serde::Serialize;
use serde_json::{Map, Value};
use utoipa::ToSchema;
use uuid::Uuid;

use super::super::contact::ContactBody;
use super::super::money::MoneyBody;
use super::super::problem::Problem;
use super::exists;
use crate::app::App;

/// A cart: what it costs now, and what checkout still needs.
#[derive(Debug, Serialize, ToSchema)]
pub struct CartBody {
    /// A secret: who has it, has the cart.
    id: String,
    /// ISO 4217.
    #[schema(example = "EUR")]
    currency: String,
    /// ISO 3166-1 alpha-2: where it will probably go.
    country: Option<String>,
    /// BCP 47.
    language: Option<String>,
    /// `open`, `completing`, `completed`, `expired`.
    status: &'static str,
    prices_include_tax: bool,
    lines: Vec<CartLineBody>,
    coupons: Vec<CartCouponBody>,
    contact: Option<ContactBody>,
    /// The chosen one, if it is offered to this cart.
    shipping_option: Option<ShippingOptionBody>,
    /// An estimate until the address is known.
    tax_lines: Vec<TaxLineBody>,
    discounts: Vec<DiscountBody>,
    totals: CartTotalsBody,
    /// What checkout lacks: `lines`, `contact`, `shipping_option`.
    missing: Vec<&'static str>,
    /// What it has become.
    order_id: Option<Uuid>,
}

#[derive(Debug, Serialize, ToSchema)]
pub struct CartLineBody {
    line_id: Uuid,
    variant_id: Uuid,
    sku: Option<String>,
    /// Null when the product is gone, as are `handle` and `image`.
    title: Option<String>,
    handle: Option<String>,
    image: Option<String>,
    /// Labels by the name of the option.
    #[schema(value_type = HashMap<String, String>)]
    options: Map<String, Value>,
    #[schema(minimum = 1)]
    quantity: u32,
    /// Units that can be had now; the shop admits to a bounded number. 0 when it is not on sale.
    #[schema(minimum = 0)]
    available: i64,
    /// Whether it costs something else than when it was put in, or is not on sale any more.
    price_changed: bool,
    unit_price: MoneyBody,
    /// Null when it is not on sale, as are `tax` and `total`.
    discount: Option<MoneyBody>,
    tax: Option<MoneyBody>,
    /// With tax, less what is discounted.
    total: Option<MoneyBody>,
}

/// A coupon of a cart: what it takes off, or why it doesn't. Its code is not known any more.
#[derive(Debug, Serialize, ToSchema)]
pub struct CartCouponBody {
    coupon_id: Uuid,
    promotion_id: Uuid,
    title: Option<String>,
    applied: bool,
    /// What it takes off; null unless it is applied.
    discount: Option<MoneyBody>,
    /// Why it takes nothing off; null where it does.
    #[schema(example = "minimum_not_reached")]
    reason: Option<&'static str>,
    /// What the goods must be worth, where they are not.
    minimum: Option<MoneyBody>,
}

/// A way to ship a cart.
#[derive(Debug, Serialize, ToSchema)]
pub struct ShippingOptionBody {
    id: Uuid,
    title: String,
    price: MoneyBody,
}

/// The sum of one tax.
#[derive(Debug, Serialize, ToSchema)]
pub struct TaxLineBody {
    title: String,
    /// Parts per million: 190000 is 19 %.
    #[schema(example = 190_000, maximum = 1_000_000)]
    rate_ppm: u32,
    /// Whether prices include it.
    included: bool,
    /// What it is of.
    taxable: MoneyBody,
    amount: MoneyBody,
}

#[derive(Debug, Serialize, ToSchema)]
pub struct DiscountBody {
    promotion_id: Option<Uuid>,
    coupon_id: Option<Uuid>,
    /// `promotion`, `coupon`, `manual`.
    source: String,
    title: String,
    /// `line`, `order`, `shipping`.
    target: &'static str,
    /// What it takes off: not negative.
    amount: MoneyBody,
}

#[derive(Debug, Serialize, ToSchema)]
pub struct CartTotalsBody {
    /// The goods, before discounts.
    subtotal: MoneyBody,
    discount: MoneyBody,
    shipping: MoneyBody,
    /// In `total`, whether prices include it or not.
    tax: MoneyBody,
    total: MoneyBody,
}

impl From<&ShippingOption> for ShippingOptionBody {
    fn from(option: &ShippingOption) -> Self {
        Self { id: option.method_id.uuid(), title: option.title.clone(), price: option.price.into() }
    }
}

impl From<&Tax> for TaxLineBody {
    fn from(tax: &Tax) -> Self {
        let (taxable, amount) = (tax.taxable.into(), tax.amount.into());
        Self { title: tax.title.clone(), rate_ppm: tax.rate_ppm, included: tax.included, taxable, amount }
    }
}

impl From<&Discount> for DiscountBody {
    fn from(discount: &Discount) -> Self {
        let target = match discount.target {
            DiscountTarget::Line { .. } | DiscountTarget::Lines { .. } => "line",
            DiscountTarget::Order => "order",
            DiscountTarget::Shipping => "shipping",
        };
        Self {
            promotion_id: discount.promotion_id.map(PromotionId::uuid),
            coupon_id: discount.coupon_id.map(CouponId::uuid),
            source: discount.source.clone(),
            title: discount.title.clone(),
            target,
            amount: discount.amount.into(),
        }
    }
}

impl From<&CouponOutcome> for CartCouponBody {
    fn from(outcome: &CouponOutcome) -> Self {
        let reason = outcome.discount.err();
        let minimum = match reason {
            Some(Inapplicable::MinimumNotReached { minimum }) => Some(minimum.into()),
            _ => None,
        };
        Self {
            coupon_id: outcome.coupon.coupon_id.uuid(),
            promotion_id: outcome.coupon.promotion_id.uuid(),
            title: outcome.title.clone(),
            applied: outcome.discount.is_ok(),
            discount: outcome.discount.ok().map(Into::into),
            reason: reason.map(Inapplicable::as_str),
            minimum,
        }
    }
}

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
    pub(in crate::http) async fn render_cart(&self, id: &str, cart: &Cart, lang: Option<&str>, position: i64) -> Result<CartBody, Problem> {
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
        let lines = cart.lines.iter().map(|line| {
            let product = products.get(&line.variant_id).map(|row| &row.state);
            let priced = quote.lines.iter().find(|q| q.line_id == line.line_id);
            let available = levels.get(&line.variant_id).map_or(0, |level| level.available).clamp(0, shown_max);
            CartLineBody {
                line_id: line.line_id.uuid(),
                variant_id: line.variant_id.uuid(),
                sku: line.sku.clone(),
                title: product.map(|p| text(&p.title)),
                handle: product.map(|p| p.handle.clone()),
                image: product.and_then(|p| p.media.first()).map(|media| media.url.clone()),
                options: product.map(|p| chosen_options(p, line.variant_id, &text)).unwrap_or_default(),
                quantity: line.quantity,
                available: if priced.is_some() { available } else { 0 },
                price_changed: priced.is_none_or(|q| q.unit_price != line.price_seen),
                unit_price: priced.map_or(line.price_seen, |q| q.unit_price).into(),
                discount: priced.and_then(|q| q.discount().ok()).map(Into::into),
                tax: priced.map(|q| q.tax.into()),
                total: priced.map(|q| q.gross.into()),
            }
        });
        let lines = lines.collect();
        let mut missing = cart.missing(quoted.requires_shipping);
        if quoted.requires_shipping && cart.shipping_option.is_some() && quoted.shipping.is_none() {
            missing.push("shipping_option");
        }
        let contact = cart.contact.as_ref();
        let totals = &quote.totals;
        Ok(CartBody {
            id: id.to_owned(),
            currency: quote.currency.to_string(),
            country: cart.country.clone(),
            language: cart.language.clone(),
            status: cart.stage.as_str(),
            prices_include_tax: quote.prices_include_tax,
            lines,
            coupons: quoted.coupons.iter().map(Into::into).collect(),
            contact: contact.map(|c| ContactBody::new(&c.email, c.phone.as_ref(), &c.shipping_address, c.billing_address.as_ref())),
            shipping_option: quoted.shipping.as_ref().map(Into::into),
            tax_lines: quote.taxes.iter().map(Into::into).collect(),
            discounts: quote.discounts.iter().map(Into::into).collect(),
            totals: CartTotalsBody {
                subtotal: totals.subtotal.into(),
                discount: totals.discount.into(),
                shipping: totals.shipping.into(),
                tax: totals.tax.into(),
                total: totals.total.into(),
            },
            missing,
            order_id: cart.order_id.map(OrderId::uuid),
        })
    }
}

fn chosen_options(product: &Product, variant_id: VariantId, text: &impl Fn(&domain::catalog::Text) -> String) -> Map<String, Value> {
    let Some(variant) = product.variant(variant_id) else {
        return Map::new();
    };
    let chosen = product.options.iter().filter_map(|option| {
        let value_id = variant.option_values.get(&option.option_id)?;
        let value = option.values.iter().find(|value| value.value_id == *value_id)?;
        Some((text(&option.name), Value::String(text(&value.label))))
    });
    chosen.collect()
}
