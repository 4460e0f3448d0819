//! Coupons: made for a promotion, reserved, redeemed, released.

use std::collections::BTreeSet;

use chrono::{DateTime, Utc};
use uuid::Uuid;

use super::{
    COUPONS_MAX, Coupon, CouponCreated, CouponUse, Inapplicable, PER_SUBJECT_MAX, Promotion, PromotionCreated, PromotionEvent,
    PromotionRejection,
};
use crate::id::CouponId;

impl Promotion {
    /// Whether the promotion itself is on.
    pub fn standing(&self, now: DateTime<Utc>) -> Result<(), Inapplicable> {
        let Some(terms) = &self.terms else { return Err(Inapplicable::Ended) };
        if self.ended_at.is_some() || terms.dates.ends_at.is_some_and(|end| end <= now) {
            return Err(Inapplicable::Ended);
        }
        if terms.dates.starts_at.is_some_and(|start| start > now) {
            return Err(Inapplicable::NotStarted);
        }
        Ok(())
    }

    /// Whether a coupon can be used once more by somebody.
    pub fn coupon_standing(&self, coupon_id: CouponId, now: DateTime<Utc>) -> Result<(), Inapplicable> {
        let coupon = self.coupons.get(&coupon_id).ok_or(Inapplicable::Ended)?;
        self.standing(now)?;
        if coupon.valid_until.is_some_and(|end| end <= now) {
            return Err(Inapplicable::Ended);
        }
        if coupon.valid_from.is_some_and(|start| start > now) {
            return Err(Inapplicable::NotStarted);
        }
        if coupon.limit.is_some_and(|limit| coupon.uses() >= limit) {
            return Err(Inapplicable::Exhausted);
        }
        Ok(())
    }

    /// All of them or none.
    pub(super) fn create_coupons(
        &self,
        terms: &PromotionCreated,
        coupons: Vec<CouponCreated>,
    ) -> Result<Vec<PromotionEvent>, PromotionRejection> {
        if self.ended_at.is_some() {
            return Err(PromotionRejection::Ended);
        }
        if terms.automatic {
            return Err(PromotionRejection::Automatic);
        }
        if self.coupons.len() + coupons.len() > COUPONS_MAX {
            return Err(PromotionRejection::CouponsTooMany);
        }
        let mut ids = BTreeSet::new();
        for coupon in &coupons {
            if self.coupons.contains_key(&coupon.coupon_id) || !ids.insert(coupon.coupon_id) {
                return Err(PromotionRejection::CouponExists);
            }
            if coupon.limit == Some(0) {
                return Err(PromotionRejection::LimitInvalid);
            }
            if coupon.per_subject.is_some_and(|uses| !(1..=PER_SUBJECT_MAX).contains(&uses)) {
                return Err(PromotionRejection::PerSubjectInvalid);
            }
            if let (Some(from), Some(until)) = (coupon.valid_from, coupon.valid_until)
                && until <= from
            {
                return Err(PromotionRejection::DatesInvalid);
            }
        }
        Ok(coupons.into_iter().map(PromotionEvent::CouponCreated).collect())
    }

    /// Uses by one person are counted elsewhere, each as a key of its own: a state that named everybody would grow for ever.
    pub(super) fn reserve(&self, coupon_use: CouponUse, now: DateTime<Utc>) -> Result<Vec<PromotionEvent>, PromotionRejection> {
        if self.reservations.contains_key(&coupon_use.reservation_id) {
            return Ok(vec![]);
        }
        self.coupon_standing(coupon_use.coupon_id, now).map_err(PromotionRejection::Unusable)?;
        Ok(vec![PromotionEvent::CouponReserved(coupon_use)])
    }

    pub(super) fn redeem(&self, reservation_id: Uuid) -> Vec<PromotionEvent> {
        let reserved = self.reservations.get(&reservation_id).cloned();
        reserved.into_iter().map(PromotionEvent::CouponRedeemed).collect()
    }

    pub(super) fn release(&self, reservation_id: Uuid, reason: String) -> Vec<PromotionEvent> {
        let reserved = self.reservations.get(&reservation_id).cloned();
        let released = reserved.map(|reserved| CouponUse { reason: Some(reason), ..reserved });
        released.into_iter().map(PromotionEvent::CouponReleased).collect()
    }
}

impl From<&CouponCreated> for Coupon {
    fn from(created: &CouponCreated) -> Self {
        Self {
            limit: created.limit,
            per_subject: created.per_subject,
            valid_from: created.valid_from,
            valid_until: created.valid_until,
            redeemed: 0,
            reserved: 0,
        }
    }
}
