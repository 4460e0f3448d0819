//! Quotes: discounts, tax and shipping, summed line by line.
//!
//! Pure: prices, rates and shipping methods are handed in, the same request gives the same quote for
//! ever. The order of things: unit price × quantity, line discounts, order discounts allocated to the
//! lines by largest remainder, tax per line and tax, shipping as one more line. Every total is a sum
//! of values that are stored with a line, never a calculation on a sum.

mod tax;

use std::collections::{BTreeSet, HashMap};

use serde::{Deserialize, Serialize};

use crate::cart::ShipTo;
use crate::id::{CouponId, DiscountId, LineId, MethodId, PromotionId, TaxId};
use crate::money::{self, Currency, Money, MoneyError, Rounding};
use tax::{TaxSums, rates_for, tax_on};

/// Everything that a quote depends on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QuoteRequest {
    pub currency: Currency,
    /// Of unit prices, shipping prices and discounts alike.
    pub prices_include_tax: bool,
    pub rounding: Rounding,
    /// Without a destination there is no tax.
    pub ship_to: Option<ShipTo>,
    pub lines: Vec<LineRequest>,
    /// With the amounts that are wanted; line discounts first, each kind in this order.
    pub discounts: Vec<Discount>,
    pub tax_rates: Vec<TaxRate>,
    pub shipping: Option<ShippingOption>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LineRequest {
    pub line_id: LineId,
    pub unit_price: Money,
    pub quantity: u32,
    pub tax_category: String,
    pub requires_shipping: bool,
}

/// A rate of one tax, as the shop configures it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TaxRate {
    pub tax_id: TaxId,
    pub title: String,
    pub country: String,
    /// Without one the rate is the whole country's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub region: Option<String>,
    /// The tax category of the goods it is on.
    pub category: String,
    /// Parts per million: 190000 is 19 %.
    pub rate_ppm: u32,
    /// On top of the taxes that aren't compound.
    #[serde(default)]
    pub compound: bool,
    #[serde(default)]
    pub applies_to_shipping: bool,
}

/// A way of delivery, as the shop configures it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ShippingMethod {
    pub method_id: MethodId,
    pub title: String,
    /// Empty: everywhere.
    pub countries: Vec<String>,
    /// One per currency; none in a currency: not offered in it. Empty where `rates` say what it costs.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub prices: Vec<Money>,
    pub tax_category: String,
    /// From which value of goods on it costs nothing, one per currency.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub free_from: Vec<Money>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rates: Option<ShippingRates>,
}

/// Prices that rise with what is shipped: the highest tier that the goods reach holds. Below the lowest one it is not offered.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "by", rename_all = "snake_case")]
pub enum ShippingRates {
    /// By the value of the goods, as prices are shown, before discounts.
    Amount { tiers: Vec<AmountTier> },
    /// By the weight of what needs shipping; what has no known weight weighs nothing. Above `grams_max` it is not offered.
    Weight {
        tiers: Vec<WeightTier>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        grams_max: Option<u64>,
    },
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AmountTier {
    pub from: Money,
    pub price: Money,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WeightTier {
    pub from_grams: u64,
    /// One per currency.
    pub prices: Vec<Money>,
}

/// What of the goods in a cart decides what their delivery costs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Goods {
    pub value: Money,
    pub grams: u64,
}

/// A way of delivery as it is offered for one cart.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ShippingOption {
    pub method_id: MethodId,
    pub title: String,
    pub price: Money,
    pub tax_category: String,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Quote {
    pub currency: Currency,
    pub prices_include_tax: bool,
    pub rounding: Rounding,
    pub lines: Vec<QuoteLine>,
    pub shipping_lines: Vec<ShippingLine>,
    /// With the amounts that were granted.
    pub discounts: Vec<Discount>,
    pub taxes: Vec<Tax>,
    pub totals: Totals,
}

/// The amounts of one line. `net + tax = gross`; `subtotal − discounts` is the gross when prices
/// include tax and the net when they don't.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QuoteLine {
    pub line_id: LineId,
    pub unit_price: Money,
    pub quantity: u32,
    pub tax_category: String,
    pub requires_shipping: bool,
    pub subtotal: Money,
    pub discounts: Vec<LineDiscount>,
    pub taxes: Vec<LineTax>,
    pub net: Money,
    pub tax: Money,
    pub gross: Money,
}

impl QuoteLine {
    pub fn discount(&self) -> Result<Money, MoneyError> {
        Money::sum(self.subtotal.currency(), self.discounts.iter().map(|discount| discount.amount))
    }
}

/// The share of a discount that falls on a line.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LineDiscount {
    pub discount_id: DiscountId,
    pub amount: Money,
}

/// One tax on one line.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LineTax {
    pub tax_id: TaxId,
    pub amount: Money,
}

/// Shipping is a line like any other. Its id is the method's, as a quote has no other.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ShippingLine {
    pub line_id: LineId,
    pub method_id: MethodId,
    pub title: String,
    pub subtotal: Money,
    pub discounts: Vec<LineDiscount>,
    pub taxes: Vec<LineTax>,
    pub net: Money,
    pub tax: Money,
    pub gross: Money,
}

/// A discount, wanted or granted. Amounts are positive and taken off.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Discount {
    pub discount_id: DiscountId,
    /// `promotion`, `coupon`, `manual`.
    pub source: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub promotion_id: Option<PromotionId>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub coupon_id: Option<CouponId>,
    pub title: String,
    pub target: DiscountTarget,
    pub amount: Money,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum DiscountTarget {
    Line {
        line_id: LineId,
    },
    /// Allocated to these lines, as that of an order to all.
    Lines {
        line_ids: Vec<LineId>,
    },
    Order,
    Shipping,
}

/// One tax over all lines. `taxable` is what it is on, without tax.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tax {
    pub tax_id: TaxId,
    pub title: String,
    pub jurisdiction: Jurisdiction,
    pub rate_ppm: u32,
    pub compound: bool,
    /// In the prices.
    pub included: bool,
    pub taxable: Money,
    pub amount: Money,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Jurisdiction {
    pub country: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub region: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub code: Option<String>,
}

/// Sums of line values. `subtotal`, `discount` and `shipping` are as prices are shown, with or without
/// tax; `total` is what is paid.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Totals {
    pub subtotal: Money,
    pub discount: Money,
    pub shipping: Money,
    pub fees: Money,
    pub tax: Money,
    pub total: Money,
}

impl Totals {
    /// Sums the lines of a quote or an order up: each argument is the stored values of all lines.
    pub fn of<'a>(
        currency: Currency,
        lines: impl IntoIterator<Item = LineAmounts<'a>>,
        shipping_lines: &'a [ShippingLine],
        fees: impl IntoIterator<Item = (Money, Money)>,
    ) -> Result<Self, MoneyError> {
        let zero = Money::zero(currency);
        let mut totals = Self { subtotal: zero, discount: zero, shipping: zero, fees: zero, tax: zero, total: zero };
        for line in lines {
            totals.subtotal = totals.subtotal.plus(line.subtotal)?;
            totals.add(&line)?;
        }
        for line in shipping_lines {
            totals.shipping = totals.shipping.plus(line.subtotal)?;
            totals.add(&LineAmounts { subtotal: line.subtotal, discounts: &line.discounts, tax: line.tax, gross: line.gross })?;
        }
        for (tax, gross) in fees {
            totals.fees = totals.fees.plus(gross)?;
            totals.tax = totals.tax.plus(tax)?;
            totals.total = totals.total.plus(gross)?;
        }
        Ok(totals)
    }

    fn add(&mut self, line: &LineAmounts<'_>) -> Result<(), MoneyError> {
        for discount in line.discounts {
            self.discount = self.discount.plus(discount.amount)?;
        }
        self.tax = self.tax.plus(line.tax)?;
        self.total = self.total.plus(line.gross)?;
        Ok(())
    }
}

/// What of a line goes into the totals.
#[derive(Clone, Copy, Debug)]
pub struct LineAmounts<'a> {
    pub subtotal: Money,
    pub discounts: &'a [LineDiscount],
    pub tax: Money,
    pub gross: Money,
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PricingError {
    #[error(transparent)]
    Money(#[from] MoneyError),
    #[error("the line {line_id} has no quantity")]
    QuantityZero { line_id: LineId },
    #[error("the line {line_id} has a negative price")]
    PriceNegative { line_id: LineId },
    #[error("the discount {discount_id} is negative")]
    DiscountNegative { discount_id: DiscountId },
    #[error("the discount {discount_id} is on a line that isn't there")]
    DiscountTargetMissing { discount_id: DiscountId },
}

impl PricingError {
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Money(error) => error.code(),
            Self::QuantityZero { .. } => "quantity_zero",
            Self::PriceNegative { .. } => "price_negative",
            Self::DiscountNegative { .. } => "discount_negative",
            Self::DiscountTargetMissing { .. } => "discount_target_missing",
        }
    }
}

/// Prices a cart or an order.
pub fn price(request: &QuoteRequest) -> Result<Quote, PricingError> {
    let mut lines = request.lines.iter().map(priced).collect::<Result<Vec<_>, _>>()?;
    let mut shipping: Option<Priced> = request.shipping.as_ref().map(|option| Priced::new(option.price));
    let discounts = grant(&request.discounts, request, &mut lines, shipping.as_mut())?;

    let mut taxes = TaxSums::new(request);
    let mut quoted = Vec::with_capacity(lines.len());
    for (wanted, line) in request.lines.iter().zip(lines) {
        let rates = rates_for(request, &wanted.tax_category, |_| true);
        let amounts = tax_on(request, line.left, &rates)?;
        taxes.add(&amounts, &rates)?;
        quoted.push(QuoteLine {
            line_id: wanted.line_id,
            unit_price: wanted.unit_price,
            quantity: wanted.quantity,
            tax_category: wanted.tax_category.clone(),
            requires_shipping: wanted.requires_shipping,
            subtotal: line.subtotal,
            discounts: line.discounts,
            taxes: amounts.taxes,
            net: amounts.net,
            tax: amounts.tax,
            gross: amounts.gross,
        });
    }
    let mut shipping_lines = Vec::new();
    if let (Some(option), Some(line)) = (&request.shipping, shipping) {
        let rates = rates_for(request, &option.tax_category, |rate| rate.applies_to_shipping);
        let amounts = tax_on(request, line.left, &rates)?;
        taxes.add(&amounts, &rates)?;
        shipping_lines.push(ShippingLine {
            line_id: LineId::new(option.method_id.uuid()),
            method_id: option.method_id,
            title: option.title.clone(),
            subtotal: line.subtotal,
            discounts: line.discounts,
            taxes: amounts.taxes,
            net: amounts.net,
            tax: amounts.tax,
            gross: amounts.gross,
        });
    }
    let amounts =
        quoted.iter().map(|line| LineAmounts { subtotal: line.subtotal, discounts: &line.discounts, tax: line.tax, gross: line.gross });
    let totals = Totals::of(request.currency, amounts, &shipping_lines, [])?;
    Ok(Quote {
        currency: request.currency,
        prices_include_tax: request.prices_include_tax,
        rounding: request.rounding,
        lines: quoted,
        shipping_lines,
        discounts,
        taxes: taxes.sums,
        totals,
    })
}

/// The ways of delivery that a shop offers to this destination for these goods.
#[must_use]
pub fn shipping_options(methods: &[ShippingMethod], ship_to: &ShipTo, goods: Goods) -> Vec<ShippingOption> {
    let reaches = |method: &ShippingMethod| method.countries.is_empty() || method.countries.contains(&ship_to.country);
    let offered = methods.iter().filter(|method| reaches(method)).filter_map(|method| {
        Some(ShippingOption {
            method_id: method.method_id,
            title: method.title.clone(),
            price: method.price_for(goods)?,
            tax_category: method.tax_category.clone(),
        })
    });
    offered.collect()
}

impl ShippingMethod {
    /// What it costs to ship these goods; `None` where it is not offered for them.
    fn price_for(&self, goods: Goods) -> Option<Money> {
        let currency = goods.value.currency();
        let in_currency = |amounts: &[Money]| amounts.iter().copied().find(|amount| amount.currency() == currency);
        let price = match &self.rates {
            None => in_currency(&self.prices),
            Some(ShippingRates::Amount { tiers }) => {
                let reached = tiers.iter().filter(|tier| tier.from.currency() == currency && tier.from.amount() <= goods.value.amount());
                reached.max_by_key(|tier| tier.from.amount()).map(|tier| tier.price)
            }
            Some(ShippingRates::Weight { grams_max: Some(max), .. }) if goods.grams > *max => None,
            Some(ShippingRates::Weight { tiers, .. }) => {
                let reached = tiers.iter().filter(|tier| tier.from_grams <= goods.grams);
                reached.max_by_key(|tier| tier.from_grams).and_then(|tier| in_currency(&tier.prices))
            }
        }?;
        let is_free = in_currency(&self.free_from).is_some_and(|from| goods.value.amount() >= from.amount());
        Some(if is_free { Money::zero(currency) } else { price })
    }
}

/// A line on its way: what it costs before and after the discounts so far.
struct Priced {
    subtotal: Money,
    left: Money,
    discounts: Vec<LineDiscount>,
}

impl Priced {
    const fn new(subtotal: Money) -> Self {
        Self { subtotal, left: subtotal, discounts: Vec::new() }
    }

    /// Takes a discount off; a part of zero leaves no trace.
    fn take(&mut self, discount_id: DiscountId, amount: Money) -> Result<(), MoneyError> {
        if !amount.is_zero() {
            self.left = self.left.minus(amount)?;
            self.discounts.push(LineDiscount { discount_id, amount });
        }
        Ok(())
    }
}

fn priced(line: &LineRequest) -> Result<Priced, PricingError> {
    if line.quantity == 0 {
        return Err(PricingError::QuantityZero { line_id: line.line_id });
    }
    if line.unit_price.is_negative() {
        return Err(PricingError::PriceNegative { line_id: line.line_id });
    }
    Ok(Priced::new(line.unit_price.times(line.quantity)?))
}

/// Takes all discounts off, line discounts first, and answers them with what was granted: never more
/// than is left.
fn grant(
    wanted: &[Discount],
    request: &QuoteRequest,
    lines: &mut [Priced],
    mut shipping: Option<&mut Priced>,
) -> Result<Vec<Discount>, PricingError> {
    let on_a_line = |discount: &&Discount| matches!(discount.target, DiscountTarget::Line { .. } | DiscountTarget::Lines { .. });
    let line_discounts = wanted.iter().filter(on_a_line);
    let others = wanted.iter().filter(|discount| !on_a_line(discount));
    let places: HashMap<LineId, usize> = request.lines.iter().enumerate().map(|(index, line)| (line.line_id, index)).collect();
    let mut granted = Vec::new();
    for discount in line_discounts.chain(others) {
        let discount_id = discount.discount_id;
        if discount.amount.is_negative() {
            return Err(PricingError::DiscountNegative { discount_id });
        }
        // A wrong currency is an error, not something to take off.
        Money::zero(request.currency).plus(discount.amount)?;
        let place = |line_id: &LineId| places.get(line_id).copied().ok_or(PricingError::DiscountTargetMissing { discount_id });
        let amount = match &discount.target {
            DiscountTarget::Line { line_id } => take_at_most(&mut lines[place(line_id)?], discount)?,
            DiscountTarget::Lines { line_ids } => {
                let among = line_ids.iter().map(place).collect::<Result<BTreeSet<usize>, _>>()?;
                allocate(lines, discount, |index| among.contains(&index))?
            }
            DiscountTarget::Order => allocate(lines, discount, |_| true)?,
            DiscountTarget::Shipping => match shipping.as_deref_mut() {
                Some(line) => take_at_most(line, discount)?,
                None => Money::zero(request.currency),
            },
        };
        granted.push(Discount { amount, ..discount.clone() });
    }
    Ok(granted)
}

fn take_at_most(line: &mut Priced, discount: &Discount) -> Result<Money, MoneyError> {
    let amount = discount.amount.amount().min(line.left.amount());
    let amount = Money::new(amount, discount.amount.currency())?;
    line.take(discount.discount_id, amount)?;
    Ok(amount)
}

fn allocate(lines: &mut [Priced], discount: &Discount, among: impl Fn(usize) -> bool) -> Result<Money, MoneyError> {
    let currency = discount.amount.currency();
    let weights: Vec<i64> = lines.iter().enumerate().map(|(index, line)| if among(index) { line.left.amount() } else { 0 }).collect();
    let mut granted = Money::zero(currency);
    for (line, part) in lines.iter_mut().zip(money::allocate(discount.amount.amount(), &weights)?) {
        let part = Money::new(part, currency)?;
        line.take(discount.discount_id, part)?;
        granted = granted.plus(part)?;
    }
    Ok(granted)
}
