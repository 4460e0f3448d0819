//! Promotions and coupons. Each public function is a decision, to be run by the writer.
//!
//! A coupon's code is known by its keyed hash, which is a key of its own held by promotion and coupon: finding a code needs no
//! read model. A use of a coupon is reserved in the append that places the order, redeemed in the one that confirms it and
//! released in the one that ends it; so are the uses that one person may make of it, each a key held by the order.

use std::borrow::Cow;

use chrono::{DateTime, Utc};
use domain::cart::{Cart, CartCommand, CartCoupon, CartStage};
use domain::claim::{Claim, ClaimCommand, ClaimEvent, ClaimKey};
use domain::id::{CouponId, OrderId, PromotionId};
use domain::order::{OrderCoupon, OrderPlaced};
use domain::promotion::{
    CouponCreated, CouponUse, Dates, Inapplicable, Promotion, PromotionChanged, PromotionCommand, PromotionCreated, PromotionEvent,
    PromotionRejection,
};
use serde_json::json;
use uuid::Uuid;

use crate::answer::{Failure, Refusal};
use crate::cart::{self, CartAt};
use crate::catalog::check_version;
use crate::checkout::PromotionsSeen;
use crate::quote::{CouponOutcome, Offered};
use crate::streams::{Stop, Streams};

/// Most coupons that one command makes: each is two events.
pub const COUPONS_AT_ONCE_MAX: usize = 200;

/// A promotion as a command has left it, and its version.
pub type Outcome = (Promotion, i64);

/// A promotion that must be there, at the version that the caller has seen if it said one.
#[derive(Debug, Clone, Copy)]
pub struct PromotionAt {
    pub promotion_id: PromotionId,
    pub if_match: Option<i64>,
}

/// Which coupon of a cart a caller means.
#[derive(Debug, Clone)]
pub enum CouponRef {
    Id(CouponId),
    CodeHash(String),
}

/// Who uses a coupon: the keyed hash of the buyer's e-mail address, in small letters and without the space around it.
#[must_use]
pub fn subject_ref(master: &infra::sealing::MasterKey, email: &str) -> String {
    master.hash_secret("coupon_subject", &email.trim().to_lowercase())
}

/// A code as it is stored and compared: people type it in capitals or not.
#[must_use]
pub fn code_hash(master: &infra::sealing::MasterKey, code: &str) -> String {
    master.hash_secret("coupon", &code.trim().to_uppercase())
}

pub fn create(streams: &mut Streams<'_>, created: &PromotionCreated) -> Result<Outcome, Stop> {
    let id = created.promotion_id.to_string();
    let command = PromotionCommand::Create(Box::new(created.clone()));
    let events = streams.create::<Promotion>(&id)?.decide(command).map_err(|e| refusal(&e, "/ends_at"))?;
    streams.emit::<Promotion>(&id, events, None)?;
    streams.answer_with::<Promotion>(201, &id);
    streams.outcome(&id)
}

/// What a merchant changes; of the dates, those that are named.
#[derive(Debug, Clone, Default)]
pub struct Patch {
    pub changed: PromotionChanged,
    pub starts_at: Option<Option<DateTime<Utc>>>,
    pub ends_at: Option<Option<DateTime<Utc>>>,
}

pub fn change(streams: &mut Streams<'_>, at: PromotionAt, patch: &Patch) -> Result<Outcome, Stop> {
    let terms = streams.get::<Promotion>(&at.promotion_id.to_string())?.terms.as_ref();
    let dates = terms.ok_or_else(|| Refusal::not_found("promotion"))?.dates;
    let dates = Dates { starts_at: patch.starts_at.unwrap_or(dates.starts_at), ends_at: patch.ends_at.unwrap_or(dates.ends_at) };
    let changed = PromotionChanged { dates: Some(dates), ..patch.changed.clone() };
    decide(streams, at, PromotionCommand::Change(Box::new(changed)))
}

/// Ends it now and for ever; ending it again does nothing.
pub fn end(streams: &mut Streams<'_>, at: PromotionAt) -> Result<Outcome, Stop> {
    let now = streams.now;
    decide(streams, at, PromotionCommand::End { at: now })
}

/// Makes coupons, all or none; a code belongs to one coupon of the shop.
pub fn create_coupons(streams: &mut Streams<'_>, at: PromotionAt, coupons: &[CouponCreated]) -> Result<Outcome, Stop> {
    let mut claimed = Vec::with_capacity(coupons.len());
    for (index, coupon) in coupons.iter().enumerate() {
        let key = ClaimKey::coupon(&coupon.code_hash).stream_id();
        let by = format!("{}/{}", coupon.promotion_id, coupon.coupon_id);
        let claim = streams.create::<Claim>(&key)?;
        if claim.holder.is_some() || claimed.iter().any(|(other, _)| *other == key) {
            let detail = "a coupon has this code already; choose another";
            return Err(Refusal::new("already_exists", detail).fact("index", index).into());
        }
        let events = claim.decide(ClaimCommand::Take { by }).map_err(|e| Refusal::new("already_exists", e.to_string()))?;
        claimed.push((key, events));
    }
    let outcome = decide(streams, at, PromotionCommand::CreateCoupons(coupons.to_vec()))?;
    for (key, events) in claimed {
        streams.emit::<Claim>(&key, events, None)?;
    }
    streams.answer_with::<Promotion>(201, &at.promotion_id.to_string());
    Ok(outcome)
}

/// Puts a coupon into a cart. One that can't take effect yet stays there and says why.
pub fn apply_coupon(streams: &mut Streams<'_>, cart: &CartAt, code_hash: &str) -> Result<cart::Outcome, Stop> {
    if streams.get::<Cart>(cart.key.as_str())?.currency.is_none() {
        return Err(Refusal::not_found("cart").into());
    }
    let (promotion_id, coupon_id) = coupon_of(streams, code_hash)?.ok_or_else(unknown)?;
    let now = streams.now;
    let promotion = streams.get::<Promotion>(&promotion_id.to_string())?;
    if let Err(reason) = promotion.coupon_standing(coupon_id, now) {
        return Err(unusable(reason, "use another").into());
    }
    cart::change(streams, cart, CartCommand::ApplyCoupon { promotion_id, coupon_id })
}

/// Takes a coupon out of a cart.
pub fn remove_coupon(streams: &mut Streams<'_>, cart: &CartAt, coupon: &CouponRef) -> Result<cart::Outcome, Stop> {
    let coupon_id = match coupon {
        CouponRef::Id(coupon_id) => *coupon_id,
        CouponRef::CodeHash(code_hash) => coupon_of(streams, code_hash)?.ok_or_else(unknown)?.1,
    };
    let state = streams.get::<Cart>(cart.key.as_str())?;
    if state.currency.is_some() && state.coupons.iter().all(|applied| applied.coupon_id != coupon_id) {
        return Err(unknown().into());
    }
    cart::change(streams, cart, CartCommand::RemoveCoupon { coupon_id, reason: Some("shopper".to_owned()) })
}

/// What a checkout's cart is offered, by the promotions' own streams: each was read and must still be so when the order lands.
pub(crate) fn offers(
    streams: &mut Streams<'_>,
    automatic: &[PromotionId],
    cart: &Cart,
    subject_ref: Option<&str>,
) -> Result<Vec<Offered<'static>>, Stop> {
    let coupons = cart.coupons.iter().map(|coupon| coupon.promotion_id);
    streams.need::<Promotion>(automatic.iter().copied().chain(coupons).map(|id| id.to_string()))?;
    let now = streams.now;
    let mut offers = Vec::with_capacity(automatic.len() + cart.coupons.len());
    for promotion_id in automatic {
        offers.extend(Offered::automatic(streams.get::<Promotion>(&promotion_id.to_string())?, now).map(Offered::into_owned));
    }
    for coupon in &cart.coupons {
        let promotion = streams.get::<Promotion>(&coupon.promotion_id.to_string())?;
        let per_subject = promotion.coupons.get(&coupon.coupon_id).and_then(|coupon| coupon.per_subject);
        let mut offered = Offered::by_coupon(Some(promotion), cart, coupon, now).into_owned();
        if let (Some(uses), Some(subject_ref), Ok(())) = (per_subject, subject_ref, offered.standing) {
            offered.use_no = free_use(streams, coupon.coupon_id, subject_ref, uses)?;
            if offered.use_no.is_none() {
                offered.standing = Err(Inapplicable::UsedBySubject);
            }
        }
        offers.push(offered);
    }
    Ok(offers)
}

/// What the cart was offered when it last changed.
pub(crate) fn offers_seen(
    streams: &mut Streams<'_>,
    automatic: &[PromotionId],
    cart: &Cart,
    seen: &PromotionsSeen,
    offers: &[Offered<'static>],
) -> Result<Vec<Offered<'static>>, Stop> {
    let id_of = |promotion: &Promotion| promotion.terms.as_ref().map(|terms| terms.promotion_id);
    let changed: Vec<PromotionId> = seen.changed.iter().filter_map(id_of).collect();
    let mut then: Vec<Offered<'static>> =
        seen.changed.iter().filter_map(|promotion| Offered::automatic(promotion, seen.at)).map(Offered::into_owned).collect();
    for promotion_id in automatic.iter().filter(|id| !changed.contains(id)) {
        then.extend(Offered::automatic(streams.get::<Promotion>(&promotion_id.to_string())?, seen.at).map(Offered::into_owned));
    }
    for offered in offers {
        let Some(coupon) = &offered.coupon else { continue };
        let before = seen.changed.iter().find(|promotion| id_of(promotion) == Some(coupon.promotion_id));
        let seen_then = before.map(|promotion| Offered::by_coupon(Some(promotion), cart, coupon, seen.at).into_owned());
        then.push(seen_then.unwrap_or_else(|| offered.clone()));
    }
    Ok(then)
}

/// Reserves the coupons that take effect in an order.
pub(crate) fn reserve(
    streams: &mut Streams<'_>,
    order_id: OrderId,
    coupons: &[CouponOutcome],
    subject_ref: &str,
) -> Result<Vec<OrderCoupon>, Stop> {
    let mut reserved = Vec::new();
    for CouponOutcome { coupon, use_no, .. } in coupons.iter().filter(|coupon| coupon.discount.is_ok()) {
        let reserving = OrderCoupon {
            promotion_id: coupon.promotion_id,
            coupon_id: coupon.coupon_id,
            reservation_id: Uuid::new_v5(&order_id.uuid(), format!("coupon:{}", coupon.coupon_id).as_bytes()),
            subject_ref: subject_ref.to_owned(),
            use_no: *use_no,
        };
        let now = streams.now;
        let events = reserving_events(streams, order_id, &reserving, now)?;
        let events = events.map_err(|reason| unusable(reason, "remove it, then check out"))?;
        emit(streams, &reserving, events)?;
        reserved.push(reserving);
    }
    Ok(reserved)
}

/// An order is confirmed: its coupons are used for good.
pub(crate) fn redeem(streams: &mut Streams<'_>, facts: &OrderPlaced) -> Result<(), Stop> {
    for coupon in &facts.coupons {
        let command = PromotionCommand::Redeem { reservation_id: coupon.reservation_id };
        let events = decided(streams, coupon, command)?;
        streams.emit::<Promotion>(&coupon.promotion_id.to_string(), events, None)?;
    }
    Ok(())
}

/// An order has come to nothing: others may have its coupons.
pub(crate) fn release(streams: &mut Streams<'_>, facts: &OrderPlaced, reason: &str) -> Result<(), Stop> {
    for coupon in &facts.coupons {
        let command = PromotionCommand::Release { reservation_id: coupon.reservation_id, reason: reason.to_owned() };
        let events = decided(streams, coupon, command)?;
        // What was redeemed stays used, also by the person.
        if events.is_empty() {
            continue;
        }
        streams.emit::<Promotion>(&coupon.promotion_id.to_string(), events, None)?;
        if let Some(key) = use_key(coupon) {
            let command = ClaimCommand::Release { by: facts.order_id.to_string() };
            let events = streams.get::<Claim>(&key)?.decide(command).map_err(|e| broken(&key, &e))?;
            streams.emit::<Claim>(&key, events, None)?;
        }
    }
    Ok(())
}

/// The coupons of an ended order that can all be had again; nothing is emitted yet.
pub(crate) struct Again(Vec<(OrderCoupon, Reserving)>);

/// Looks whether an ended order can have its coupons again: all of them, or `None`. The dates are looked at as of its placing: who
/// paid late came in time.
pub(crate) fn have_again(streams: &mut Streams<'_>, facts: &OrderPlaced) -> Result<Option<Again>, Stop> {
    let mut again = Vec::with_capacity(facts.coupons.len());
    for coupon in &facts.coupons {
        match reserving_events(streams, facts.order_id, coupon, facts.placed_at)? {
            Ok(events) => again.push((coupon.clone(), events)),
            Err(_) => return Ok(None),
        }
    }
    Ok(Some(Again(again)))
}

impl Again {
    /// Reserves them, and redeems them: the order is reinstated.
    pub(crate) fn redeem(self, streams: &mut Streams<'_>, facts: &OrderPlaced) -> Result<(), Stop> {
        for (coupon, events) in self.0 {
            emit(streams, &coupon, events)?;
        }
        redeem(streams, facts)
    }
}

type Reserving = (Vec<PromotionEvent>, Option<(String, Vec<ClaimEvent>)>);

fn reserving_events(
    streams: &mut Streams<'_>,
    order_id: OrderId,
    coupon: &OrderCoupon,
    at: DateTime<Utc>,
) -> Result<Result<Reserving, Inapplicable>, Stop> {
    let OrderCoupon { coupon_id, reservation_id, .. } = *coupon;
    let coupon_use = CouponUse { coupon_id, reservation_id, order_id, subject_ref: coupon.subject_ref.clone(), reason: None };
    let id = coupon.promotion_id.to_string();
    let events = match streams.get::<Promotion>(&id)?.decide(PromotionCommand::Reserve { coupon_use, now: at }) {
        Ok(events) => events,
        Err(PromotionRejection::Unusable(reason)) => return Ok(Err(reason)),
        Err(_) => return Ok(Err(Inapplicable::Ended)),
    };
    let Some(key) = use_key(coupon) else { return Ok(Ok((events, None))) };
    match streams.create::<Claim>(&key)?.decide(ClaimCommand::Take { by: order_id.to_string() }) {
        Ok(claimed) => Ok(Ok((events, Some((key, claimed))))),
        Err(_) => Ok(Err(Inapplicable::UsedBySubject)),
    }
}

fn emit(streams: &mut Streams<'_>, coupon: &OrderCoupon, (events, claimed): Reserving) -> Result<(), Stop> {
    streams.emit::<Promotion>(&coupon.promotion_id.to_string(), events, None)?;
    match claimed {
        Some((key, events)) => streams.emit::<Claim>(&key, events, None),
        None => Ok(()),
    }
}

/// The first use of a coupon that a person still has.
fn free_use(streams: &mut Streams<'_>, coupon_id: CouponId, subject_ref: &str, uses: u32) -> Result<Option<u32>, Stop> {
    for n in 1..=uses {
        let key = ClaimKey::coupon_use(coupon_id, subject_ref, n).stream_id();
        if streams.create::<Claim>(&key)?.holder.is_none() {
            return Ok(Some(n));
        }
    }
    Ok(None)
}

fn use_key(coupon: &OrderCoupon) -> Option<String> {
    coupon.use_no.map(|n| ClaimKey::coupon_use(coupon.coupon_id, &coupon.subject_ref, n).stream_id())
}

/// Decides on a promotion that this decision may have changed already.
fn decided(streams: &mut Streams<'_>, coupon: &OrderCoupon, command: PromotionCommand) -> Result<Vec<PromotionEvent>, Stop> {
    let id = coupon.promotion_id.to_string();
    let events = if streams.touched::<Promotion>(&id) {
        streams.after::<Promotion>(&id)?.decide(command)
    } else {
        streams.get::<Promotion>(&id)?.decide(command)
    };
    events.map_err(|e| broken(&id, &e))
}

fn broken(id: &str, error: &impl std::fmt::Display) -> Stop {
    Stop::Failed(Failure::Repository(format!("the coupon of an order, {id}: {error}")))
}

fn decide(streams: &mut Streams<'_>, at: PromotionAt, command: PromotionCommand) -> Result<Outcome, Stop> {
    let id = at.promotion_id.to_string();
    let version = streams.version::<Promotion>(&id)?;
    check_version(at.if_match, version)?;
    let dates = if matches!(command, PromotionCommand::CreateCoupons(_)) { "/valid_until" } else { "/ends_at" };
    let events = streams.get::<Promotion>(&id)?.decide(command).map_err(|e| refusal(&e, dates))?;
    streams.emit::<Promotion>(&id, events, None)?;
    streams.answer_with::<Promotion>(200, &id);
    streams.outcome(&id)
}

/// The promotion and coupon that have a code.
fn coupon_of(streams: &mut Streams<'_>, code_hash: &str) -> Result<Option<(PromotionId, CouponId)>, Stop> {
    let claim = streams.get::<Claim>(&ClaimKey::coupon(code_hash).stream_id())?;
    let ids = claim.holder.as_deref().and_then(|by| by.split_once('/'));
    Ok(ids.and_then(|(promotion, coupon)| Some((promotion.parse().ok()?, coupon.parse().ok()?))))
}

fn unknown() -> Refusal {
    Refusal::new("coupon_unknown", "there is no such coupon; check how the code is written")
}

/// Why a coupon isn't taken, and what to do about it.
pub(crate) fn unusable(reason: Inapplicable, fix: &str) -> Refusal {
    let refused = |code: &str, why: &str| Refusal::new(code, format!("{why}; {fix}")).fact("reason", reason.as_str());
    match reason {
        Inapplicable::Ended => refused("coupon_expired", "the coupon is not valid any more"),
        Inapplicable::NotStarted => refused("coupon_not_applicable", "the coupon is not valid yet"),
        Inapplicable::Exhausted => refused("coupon_exhausted", "all uses of the coupon are taken").fact("limit", "total"),
        Inapplicable::UsedBySubject => {
            refused("coupon_exhausted", "this e-mail address has used the coupon as often as one may").fact("limit", "per_subject")
        }
        Inapplicable::MinimumNotReached { minimum } => {
            let money =
                json!({ "amount": minimum.amount(), "currency": minimum.currency().as_str(), "exponent": minimum.currency().exponent() });
            refused("coupon_not_applicable", "the goods are below the coupon's minimum").fact("minimum", money)
        }
        Inapplicable::CurrencyNotOffered => refused("coupon_not_applicable", "the coupon can't be had in this currency"),
        Inapplicable::NoMatchingLines => refused("coupon_not_applicable", "the coupon is for other products"),
        Inapplicable::NotCombinable => refused("coupon_not_applicable", "the coupon can't be combined with the other discounts"),
        Inapplicable::NothingToDiscount => refused("coupon_not_applicable", "there is nothing that the coupon could be taken off"),
    }
}

/// A domain's "no" in the words of the interface; `dates` is the field that says until when.
fn refusal(rejection: &PromotionRejection, dates: &str) -> Refusal {
    let pointer = match rejection {
        PromotionRejection::NotFound => return Refusal::not_found("promotion"),
        PromotionRejection::Exists | PromotionRejection::CouponExists => return Refusal::new("already_exists", rejection.to_string()),
        PromotionRejection::Ended | PromotionRejection::Automatic => {
            return Refusal::new("invalid_state", format!("{rejection}; make another promotion"));
        }
        PromotionRejection::CouponsTooMany => {
            return Refusal::new("invalid_state", format!("{rejection}; make another promotion for more"));
        }
        PromotionRejection::Unusable(reason) => return unusable(*reason, "use another"),
        PromotionRejection::TitleInvalid => "/title",
        PromotionRejection::PercentInvalid => "/rule/ppm",
        PromotionRejection::AmountsInvalid => "/rule/amounts",
        PromotionRejection::FilterInvalid => "/rule/target",
        PromotionRejection::MinimumInvalid => "/minimum",
        PromotionRejection::DatesInvalid => dates,
        PromotionRejection::LimitInvalid => "/limit",
        PromotionRejection::PerSubjectInvalid => "/per_subject",
    };
    let detail = rejection.to_string();
    Refusal::new("validation_failed", format!("{pointer}: {detail}")).error(pointer, rejection.code(), detail)
}

impl<'a> Offered<'a> {
    /// An automatic promotion that is on.
    #[must_use]
    pub fn automatic(promotion: &'a Promotion, now: DateTime<Utc>) -> Option<Self> {
        let is_on = promotion.is_automatic() && promotion.standing(now).is_ok();
        is_on.then(|| Self { terms: promotion.terms.as_ref().map(Cow::Borrowed), coupon: None, standing: Ok(()), use_no: None })
    }

    /// The promotion of a cart's coupon, on or not. Once the cart is checked out its own use may be the last one.
    #[must_use]
    pub fn by_coupon(promotion: Option<&'a Promotion>, cart: &Cart, coupon: &CartCoupon, now: DateTime<Utc>) -> Self {
        let standing = match promotion {
            Some(promotion) if cart.stage == CartStage::Open => promotion.coupon_standing(coupon.coupon_id, now),
            Some(_) => Ok(()),
            None => Err(Inapplicable::Ended),
        };
        let terms = promotion.and_then(|promotion| promotion.terms.as_ref()).map(Cow::Borrowed);
        Self { terms, coupon: Some(coupon.clone()), standing, use_no: None }
    }

    fn into_owned(self) -> Offered<'static> {
        Offered {
            terms: self.terms.map(|terms| Cow::Owned(terms.into_owned())),
            coupon: self.coupon,
            standing: self.standing,
            use_no: self.use_no,
        }
    }
}
