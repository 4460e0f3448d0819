//! Promotions: what is taken off, from what, when, and for whom; coupons, and how often each may be used.
//!
//! A promotion is automatic, or it takes effect by its coupons. A use of a coupon is reserved with the order, redeemed when that
//! is confirmed and released when it comes to nothing; what is reserved counts against the limit, so that a single use is never
//! promised to two. Uses write to the promotion's stream: an automatic promotion has none, and checkouts that only read it don't
//! clash. How much a promotion takes off a cart is in [`offer`].

mod change;
mod coupon;
pub mod offer;

use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::event::Root;
use crate::id::{CategoryId, CouponId, OrderId, ProductId, PromotionId, VariantId};
use crate::money::{Currency, Money};

pub use offer::Inapplicable;

/// The most coupons of one promotion: its whole state is written with each use of one.
pub const COUPONS_MAX: usize = 1_000;

/// The most uses of a coupon by one person that a limit may allow: each is a key of its own.
pub const PER_SUBJECT_MAX: u32 = 20;

/// The longest title, in characters.
pub const TITLE_CHARS_MAX: usize = 200;

/// The most entries of each kind in a filter.
pub const FILTER_MAX: usize = 500;

/// 100 %, in parts per million.
const WHOLE_PPM: u32 = 1_000_000;

/// What is taken off, and from what.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rule {
    #[serde(flatten)]
    pub benefit: Benefit,
    pub target: Target,
    /// For the target `line`: which lines. Empty: all.
    #[serde(flatten)]
    pub filter: Filter,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Benefit {
    /// Parts per million: 100000 is 10 %.
    Percent { ppm: u32 },
    /// Once to a cart, one amount per currency; none in a currency: not to be had in it.
    Fixed { amounts: Vec<Money> },
}

/// What a benefit is taken off. `Line`: the lines of the filter together, before anything is taken off the order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Target {
    Line,
    Order,
    Shipping,
}

/// Lines of these products, variants or categories; one match is enough. A category stands for itself, not for those below it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Filter {
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub product_ids: BTreeSet<ProductId>,
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub variant_ids: BTreeSet<VariantId>,
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub category_ids: BTreeSet<CategoryId>,
}

impl Filter {
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.product_ids.is_empty() && self.variant_ids.is_empty() && self.category_ids.is_empty()
    }
}

/// From when, and until when (not included); without an end, for ever.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Dates {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub starts_at: Option<DateTime<Utc>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ends_at: Option<DateTime<Utc>>,
}

/// A promotion as it was made; its dates stand beside the rest.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PromotionCreated {
    pub promotion_id: PromotionId,
    pub title: String,
    pub rule: Rule,
    /// The goods that a cart must have, before any discount, one amount per currency. Without one in a currency: any.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub minimum: Vec<Money>,
    #[serde(flatten)]
    pub dates: Dates,
    /// Takes effect without a coupon.
    pub automatic: bool,
    /// Takes effect alone or not at all.
    #[serde(default)]
    pub exclusive: bool,
    /// The higher one comes first.
    #[serde(default)]
    pub priority: i32,
}

/// Only the fields that changed are there.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PromotionChanged {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub title: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rule: Option<Rule>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub minimum: Option<Vec<Money>>,
    /// Both of them, as they are now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dates: Option<Dates>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exclusive: Option<bool>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub priority: Option<i32>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PromotionEnded {
    pub ended_at: DateTime<Utc>,
}

/// `code_hash` is the keyed hash of the code, which is a secret of those who have it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CouponCreated {
    pub coupon_id: CouponId,
    pub promotion_id: PromotionId,
    pub code_hash: String,
    /// Uses by everybody together.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<u32>,
    /// Uses by one person.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub per_subject: Option<u32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub valid_from: Option<DateTime<Utc>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub valid_until: Option<DateTime<Utc>>,
}

/// One use of a coupon by one order. `subject_ref` is the keyed hash of the buyer's e-mail address.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CouponUse {
    pub coupon_id: CouponId,
    pub reservation_id: Uuid,
    pub order_id: OrderId,
    pub subject_ref: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

events! {
    /// What happened to a promotion and its coupons.
    pub enum PromotionEvent {
        PromotionCreated(Box<PromotionCreated>) = "PromotionCreated", 1;
        PromotionChanged(Box<PromotionChanged>) = "PromotionChanged", 1;
        PromotionEnded(PromotionEnded) = "PromotionEnded", 1;
        CouponCreated(CouponCreated) = "CouponCreated", 1;
        CouponReserved(CouponUse) = "CouponReserved", 1;
        CouponRedeemed(CouponUse) = "CouponRedeemed", 1;
        CouponReleased(CouponUse) = "CouponReleased", 1;
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PromotionCommand {
    Create(Box<PromotionCreated>),
    Change(Box<PromotionChanged>),
    /// For ever; coupons of orders that were placed are redeemed or released as ever.
    End {
        at: DateTime<Utc>,
    },
    CreateCoupons(Vec<CouponCreated>),
    Reserve {
        coupon_use: CouponUse,
        now: DateTime<Utc>,
    },
    /// A use that isn't reserved (any more) needs nothing.
    Redeem {
        reservation_id: Uuid,
    },
    Release {
        reservation_id: Uuid,
        reason: String,
    },
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PromotionRejection {
    #[error("there is no such promotion")]
    NotFound,
    #[error("the promotion exists already")]
    Exists,
    #[error("the promotion has ended")]
    Ended,
    #[error("a title must have from 1 to {TITLE_CHARS_MAX} characters")]
    TitleInvalid,
    #[error("a percentage must be from 1 to {WHOLE_PPM} parts per million")]
    PercentInvalid,
    #[error("amounts must be above zero, one per currency")]
    AmountsInvalid,
    #[error("a filter is for the target line, and has at most {FILTER_MAX} entries of a kind")]
    FilterInvalid,
    #[error("the minimum must not be negative, one per currency")]
    MinimumInvalid,
    #[error("the end must be after the start")]
    DatesInvalid,
    #[error("an automatic promotion takes effect without coupons")]
    Automatic,
    #[error("a promotion has at most {COUPONS_MAX} coupons")]
    CouponsTooMany,
    #[error("the coupon exists already")]
    CouponExists,
    #[error("a limit must be at least one")]
    LimitInvalid,
    #[error("a person may use a coupon 1 to {PER_SUBJECT_MAX} times")]
    PerSubjectInvalid,
    #[error("the coupon can't be used: {}", .0.as_str())]
    Unusable(Inapplicable),
}

impl PromotionRejection {
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::NotFound => "promotion_not_found",
            Self::Exists => "promotion_exists",
            Self::Ended => "promotion_ended",
            Self::TitleInvalid => "title_invalid",
            Self::PercentInvalid => "percent_invalid",
            Self::AmountsInvalid => "amounts_invalid",
            Self::FilterInvalid => "filter_invalid",
            Self::MinimumInvalid => "minimum_invalid",
            Self::DatesInvalid => "dates_invalid",
            Self::Automatic => "promotion_automatic",
            Self::CouponsTooMany => "coupons_too_many",
            Self::CouponExists => "coupon_exists",
            Self::LimitInvalid => "limit_invalid",
            Self::PerSubjectInvalid => "per_subject_invalid",
            Self::Unusable(_) => "coupon_unusable",
        }
    }
}

/// A coupon and its uses; those that are redeemed are only counted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Coupon {
    pub limit: Option<u32>,
    pub per_subject: Option<u32>,
    pub valid_from: Option<DateTime<Utc>>,
    pub valid_until: Option<DateTime<Utc>>,
    pub redeemed: u32,
    pub reserved: u32,
}

impl Coupon {
    #[must_use]
    pub const fn uses(&self) -> u32 {
        self.redeemed.saturating_add(self.reserved)
    }
}

/// A promotion as it is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Promotion {
    /// Absent only before the promotion exists.
    pub terms: Option<PromotionCreated>,
    pub ended_at: Option<DateTime<Utc>>,
    pub coupons: BTreeMap<CouponId, Coupon>,
    /// By reservation, those that are neither redeemed nor released.
    pub reservations: BTreeMap<Uuid, CouponUse>,
}

impl Promotion {
    pub fn decide(&self, command: PromotionCommand) -> Result<Vec<PromotionEvent>, PromotionRejection> {
        match (command, &self.terms) {
            (PromotionCommand::Create(created), None) => self.create(*created),
            (PromotionCommand::Create(_), Some(_)) => Err(PromotionRejection::Exists),
            (_, None) => Err(PromotionRejection::NotFound),
            (PromotionCommand::Change(changed), Some(terms)) => self.change(terms, *changed),
            (PromotionCommand::End { .. }, Some(_)) if self.ended_at.is_some() => Ok(vec![]),
            (PromotionCommand::End { at }, Some(_)) => Ok(vec![PromotionEvent::PromotionEnded(PromotionEnded { ended_at: at })]),
            (PromotionCommand::CreateCoupons(coupons), Some(terms)) => self.create_coupons(terms, coupons),
            (PromotionCommand::Reserve { coupon_use, now }, Some(_)) => self.reserve(coupon_use, now),
            (PromotionCommand::Redeem { reservation_id }, Some(_)) => Ok(self.redeem(reservation_id)),
            (PromotionCommand::Release { reservation_id, reason }, Some(_)) => Ok(self.release(reservation_id, reason)),
        }
    }

    pub fn apply(&mut self, event: &PromotionEvent) {
        match event {
            PromotionEvent::PromotionCreated(created) => self.terms = Some((**created).clone()),
            PromotionEvent::PromotionChanged(changed) => {
                if let Some(terms) = &mut self.terms {
                    terms.take(changed);
                }
            }
            PromotionEvent::PromotionEnded(ended) => self.ended_at = Some(ended.ended_at),
            PromotionEvent::CouponCreated(created) => {
                self.coupons.insert(created.coupon_id, Coupon::from(created));
            }
            PromotionEvent::CouponReserved(coupon_use) => {
                if self.reservations.insert(coupon_use.reservation_id, coupon_use.clone()).is_none() {
                    self.count(coupon_use.coupon_id, |coupon| coupon.reserved += 1);
                }
            }
            PromotionEvent::CouponRedeemed(coupon_use) => {
                if self.reservations.remove(&coupon_use.reservation_id).is_some() {
                    self.count(coupon_use.coupon_id, |coupon| coupon.reserved = coupon.reserved.saturating_sub(1));
                }
                self.count(coupon_use.coupon_id, |coupon| coupon.redeemed += 1);
            }
            PromotionEvent::CouponReleased(coupon_use) => {
                if self.reservations.remove(&coupon_use.reservation_id).is_some() {
                    self.count(coupon_use.coupon_id, |coupon| coupon.reserved = coupon.reserved.saturating_sub(1));
                }
            }
        }
    }

    /// Whether it takes effect without a coupon and hasn't ended; its dates are looked at when a cart is priced.
    #[must_use]
    pub fn is_automatic(&self) -> bool {
        self.ended_at.is_none() && self.terms.as_ref().is_some_and(|terms| terms.automatic)
    }

    /// `scheduled`, `active` or `ended`.
    #[must_use]
    pub fn status(&self, now: DateTime<Utc>) -> &'static str {
        match self.standing(now) {
            Ok(()) => "active",
            Err(Inapplicable::NotStarted) => "scheduled",
            Err(_) => "ended",
        }
    }

    fn count(&mut self, coupon_id: CouponId, change: impl FnOnce(&mut Coupon)) {
        if let Some(coupon) = self.coupons.get_mut(&coupon_id) {
            change(coupon);
        }
    }
}

aggregate!(Promotion = "promotion", PromotionCommand => PromotionEvent, PromotionRejection);

impl Root for Promotion {
    const CONTEXT: &'static str = "promotion";
    const LONG_LIVED: bool = true;
}

/// The amount of a list that is in this currency.
#[must_use]
pub fn in_currency(amounts: &[Money], currency: Currency) -> Option<Money> {
    amounts.iter().copied().find(|amount| amount.currency() == currency)
}
