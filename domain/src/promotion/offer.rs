//! How much the promotions take off a cart: pure, and linear in its lines.
//!
//! By priority, the higher one first; of the same, one that came with a coupon before an automatic one, then the older one. The
//! first that takes effect decides whether it stands alone: an exclusive one lets nothing follow, and none that is exclusive
//! follows another. What is taken off lines comes before what is taken off the order; each is computed once, on what is left,
//! and never more than that.

use std::cmp::Reverse;

use super::{Benefit, Filter, PromotionCreated, Target, in_currency};
use crate::id::{CategoryId, CouponId, DiscountId, LineId, ProductId, VariantId};
use crate::money::{self, Currency, Money, MoneyError, Rounding};
use crate::pricing::{Discount, DiscountTarget};

/// The most promotions that combine in one cart, so that an order stays an event of bounded size.
pub const COMBINED_MAX: usize = 8;

/// A promotion that is on, and the coupon that it came with.
#[derive(Clone, Copy, Debug)]
pub struct Offer<'a> {
    pub terms: &'a PromotionCreated,
    pub coupon_id: Option<CouponId>,
}

/// A line of a cart as a promotion sees it.
#[derive(Clone, Copy, Debug)]
pub struct Goods<'a> {
    pub line_id: LineId,
    pub variant_id: VariantId,
    pub product_id: ProductId,
    pub category_ids: &'a [CategoryId],
    pub subtotal: Money,
}

/// What promotions are offered to.
#[derive(Clone, Debug)]
pub struct Basket<'a> {
    pub currency: Currency,
    pub rounding: Rounding,
    pub goods: Vec<Goods<'a>>,
    /// Absent until a way of delivery is chosen.
    pub shipping: Option<Money>,
}

/// Why a promotion or coupon takes nothing off.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Inapplicable {
    NotStarted,
    Ended,
    /// All uses that it was made for are reserved or redeemed.
    Exhausted,
    /// This person has used it as often as one may.
    UsedBySubject,
    MinimumNotReached {
        minimum: Money,
    },
    CurrencyNotOffered,
    /// No line is of what it is for.
    NoMatchingLines,
    /// Another promotion stands alone, or it does and another came first.
    NotCombinable,
    /// There is nothing (left) that it could be taken off.
    NothingToDiscount,
}

impl Inapplicable {
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::NotStarted => "not_started",
            Self::Ended => "expired",
            Self::Exhausted => "exhausted",
            Self::UsedBySubject => "used",
            Self::MinimumNotReached { .. } => "minimum_not_reached",
            Self::CurrencyNotOffered => "currency_not_offered",
            Self::NoMatchingLines => "no_matching_lines",
            Self::NotCombinable => "not_combinable",
            Self::NothingToDiscount => "nothing_to_discount",
        }
    }
}

/// What becomes of each offer, in the order in which they were handed in.
pub type Outcomes = Vec<Result<Discount, Inapplicable>>;

/// Computes what is taken off. The discounts, put into a quote in the order of [`in_order`], are granted as they are.
pub fn evaluate(basket: &Basket<'_>, offers: &[Offer<'_>]) -> Result<Outcomes, MoneyError> {
    let total = Money::sum(basket.currency, basket.goods.iter().map(|goods| goods.subtotal))?;
    let mut outcomes: Vec<_> =
        offers.iter().map(|offer| Err(qualifies(offer, basket, total).err().unwrap_or(Inapplicable::NotCombinable))).collect();
    let mut chosen: Vec<usize> = (0..offers.len()).filter(|index| outcomes[*index] == Err(Inapplicable::NotCombinable)).collect();
    chosen.sort_by_key(|index| {
        let Offer { terms, coupon_id } = &offers[*index];
        (Reverse(terms.priority), coupon_id.is_none(), terms.promotion_id, *coupon_id)
    });
    let mut taken: Vec<usize> = Vec::new();
    for index in chosen {
        let terms = offers[index].terms;
        let stands_alone = taken.first().is_some_and(|first| offers[*first].terms.exclusive);
        let is_there = taken.iter().any(|other| offers[*other].terms.promotion_id == terms.promotion_id);
        let fits = taken.is_empty() || !(stands_alone || terms.exclusive || is_there);
        if fits && taken.len() < COMBINED_MAX {
            taken.push(index);
        }
    }
    taken.sort_by_key(|index| offers[*index].terms.rule.target);
    let mut left = Left::new(basket);
    for index in taken {
        outcomes[index] = left.take(&offers[index], basket)?;
    }
    Ok(outcomes)
}

/// Discounts as a quote is to take them off: those of lines, of the order, of shipping, each kind as it was computed.
#[must_use]
pub fn in_order(offers: &[Offer<'_>], outcomes: &Outcomes) -> Vec<Discount> {
    let mut granted: Vec<_> = offers.iter().zip(outcomes).filter_map(|(offer, outcome)| Some((offer, outcome.as_ref().ok()?))).collect();
    granted.sort_by_key(|(Offer { terms, coupon_id }, _)| {
        (terms.rule.target, Reverse(terms.priority), coupon_id.is_none(), terms.promotion_id, *coupon_id)
    });
    granted.into_iter().map(|(_, discount)| discount.clone()).collect()
}

/// Whether a promotion could take effect in this cart if it were the only one.
fn qualifies(offer: &Offer<'_>, basket: &Basket<'_>, total: Money) -> Result<(), Inapplicable> {
    let PromotionCreated { rule, minimum, .. } = offer.terms;
    if let Benefit::Fixed { amounts } = &rule.benefit
        && in_currency(amounts, basket.currency).is_none()
    {
        return Err(Inapplicable::CurrencyNotOffered);
    }
    match in_currency(minimum, basket.currency) {
        Some(minimum) if total.amount() < minimum.amount() => return Err(Inapplicable::MinimumNotReached { minimum }),
        None if !minimum.is_empty() => return Err(Inapplicable::CurrencyNotOffered),
        _ => {}
    }
    match rule.target {
        Target::Line if !basket.goods.iter().any(|goods| rule.filter.matches(goods)) => Err(Inapplicable::NoMatchingLines),
        Target::Order if total.is_zero() => Err(Inapplicable::NothingToDiscount),
        Target::Shipping if basket.shipping.is_none_or(Money::is_zero) => Err(Inapplicable::NothingToDiscount),
        _ => Ok(()),
    }
}

impl Filter {
    fn matches(&self, goods: &Goods<'_>) -> bool {
        self.is_empty()
            || self.product_ids.contains(&goods.product_id)
            || self.variant_ids.contains(&goods.variant_id)
            || goods.category_ids.iter().any(|category_id| self.category_ids.contains(category_id))
    }
}

/// What is left of each line and of shipping.
struct Left {
    lines: Vec<i64>,
    shipping: i64,
}

impl Left {
    fn new(basket: &Basket<'_>) -> Self {
        let lines = basket.goods.iter().map(|goods| goods.subtotal.amount()).collect();
        Self { lines, shipping: basket.shipping.map_or(0, Money::amount) }
    }

    fn take(&mut self, offer: &Offer<'_>, basket: &Basket<'_>) -> Result<Result<Discount, Inapplicable>, MoneyError> {
        let rule = &offer.terms.rule;
        let target = match rule.target {
            Target::Shipping => DiscountTarget::Shipping,
            Target::Order => DiscountTarget::Order,
            Target::Line => {
                let lines = basket.goods.iter().filter(|goods| rule.filter.matches(goods));
                DiscountTarget::Lines { line_ids: lines.map(|goods| goods.line_id).collect() }
            }
        };
        let weights: Vec<i64> = match rule.target {
            Target::Shipping => vec![self.shipping],
            Target::Order => self.lines.clone(),
            Target::Line => {
                let matching = basket.goods.iter().zip(&self.lines);
                matching.map(|(goods, left)| if rule.filter.matches(goods) { *left } else { 0 }).collect()
            }
        };
        let base =
            Money::sum(basket.currency, weights.iter().map(|left| Money::new(*left, basket.currency)).collect::<Result<Vec<_>, _>>()?)?;
        let wanted = match &rule.benefit {
            Benefit::Percent { ppm } => money::part(base.amount(), *ppm, basket.rounding)?,
            Benefit::Fixed { amounts } => in_currency(amounts, basket.currency).map_or(0, Money::amount),
        };
        let amount = Money::new(wanted.min(base.amount()), basket.currency)?;
        if amount.is_zero() {
            return Ok(Err(Inapplicable::NothingToDiscount));
        }
        let parts = money::allocate(amount.amount(), &weights)?;
        match rule.target {
            Target::Shipping => self.shipping -= amount.amount(),
            Target::Line | Target::Order => {
                for (left, part) in self.lines.iter_mut().zip(parts) {
                    *left -= part;
                }
            }
        }
        let promotion_id = offer.terms.promotion_id;
        Ok(Ok(Discount {
            discount_id: DiscountId::new(promotion_id.uuid()),
            source: if offer.coupon_id.is_some() { "coupon" } else { "promotion" }.to_owned(),
            promotion_id: Some(promotion_id),
            coupon_id: offer.coupon_id,
            title: offer.terms.title.clone(),
            target,
            amount,
        }))
    }
}
