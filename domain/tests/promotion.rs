//! Promotions: what a merchant may say, how often a coupon is used, and what is taken off, to the cent.

#![expect(clippy::unwrap_used, reason = "a test whose facts can't be made should fail")]

use std::collections::BTreeSet;

use chrono::{DateTime, Duration, Utc};
use cqrs_es::test::TestFramework;
use domain::id::{CategoryId, CouponId, LineId, OrderId, ProductId, PromotionId, VariantId};
use domain::money::{Currency, Money, Rounding};
use domain::pricing::{DiscountTarget, LineRequest, QuoteRequest, ShippingOption, price};
use domain::promotion::offer::{Basket, COMBINED_MAX, Goods, Offer, Outcomes, evaluate, in_order};
use domain::promotion::{
    Benefit, COUPONS_MAX, CouponCreated, CouponUse, Dates, FILTER_MAX, Filter, Inapplicable, Promotion, PromotionChanged, PromotionCommand,
    PromotionCreated, PromotionEnded, PromotionEvent, PromotionRejection, Rule, TITLE_CHARS_MAX, Target,
};
use proptest::prelude::*;
use uuid::Uuid;

fn uuid(n: u128) -> Uuid {
    Uuid::from_u128(n)
}

fn euro() -> Currency {
    "EUR".parse().unwrap()
}

fn eur(amount: i64) -> Money {
    Money::new(amount, euro()).unwrap()
}

fn now() -> DateTime<Utc> {
    "2026-11-10T12:00:00Z".parse().unwrap()
}

fn percent(ppm: u32, target: Target) -> Rule {
    Rule { benefit: Benefit::Percent { ppm }, target, filter: Filter::default() }
}

fn fixed(amount: i64, target: Target) -> Rule {
    Rule { benefit: Benefit::Fixed { amounts: vec![eur(amount)] }, target, filter: Filter::default() }
}

fn terms(n: u128, rule: Rule) -> PromotionCreated {
    PromotionCreated {
        promotion_id: PromotionId::new(uuid(n)),
        title: format!("Promotion {n}"),
        rule,
        minimum: vec![],
        dates: Dates::default(),
        automatic: false,
        exclusive: false,
        priority: 0,
    }
}

fn created(terms: PromotionCreated) -> PromotionEvent {
    PromotionEvent::PromotionCreated(Box::new(terms))
}

fn coupon(limit: Option<u32>) -> CouponCreated {
    CouponCreated {
        coupon_id: CouponId::new(uuid(50)),
        promotion_id: PromotionId::new(uuid(1)),
        code_hash: "5f".to_owned(),
        limit,
        per_subject: None,
        valid_from: None,
        valid_until: None,
    }
}

fn coupon_use(order: u128) -> CouponUse {
    CouponUse {
        coupon_id: CouponId::new(uuid(50)),
        reservation_id: uuid(1_000 + order),
        order_id: OrderId::new(uuid(order)),
        subject_ref: "a1".to_owned(),
        reason: None,
    }
}

/// A promotion with one coupon.
fn with_coupon(coupon: CouponCreated) -> Vec<PromotionEvent> {
    vec![created(terms(1, percent(100_000, Target::Order))), PromotionEvent::CouponCreated(coupon)]
}

fn promotion(events: &[PromotionEvent]) -> Promotion {
    let mut promotion = Promotion::default();
    for event in events {
        promotion.apply(event);
    }
    promotion
}

#[test]
fn what_makes_no_sense_is_refused() {
    let refused = |change: fn(&mut PromotionCreated)| {
        let mut wrong = terms(1, percent(100_000, Target::Order));
        change(&mut wrong);
        Promotion::default().decide(PromotionCommand::Create(Box::new(wrong))).unwrap_err()
    };
    assert_eq!(refused(|t| t.title = " ".to_owned()), PromotionRejection::TitleInvalid);
    assert_eq!(refused(|t| t.rule = percent(0, Target::Order)), PromotionRejection::PercentInvalid);
    assert_eq!(refused(|t| t.rule = percent(1_000_001, Target::Order)), PromotionRejection::PercentInvalid);
    assert_eq!(refused(|t| t.rule = fixed(0, Target::Order)), PromotionRejection::AmountsInvalid);
    assert_eq!(refused(|t| t.rule.benefit = Benefit::Fixed { amounts: vec![eur(1), eur(2)] }), PromotionRejection::AmountsInvalid);
    assert_eq!(refused(|t| t.minimum = vec![eur(-1)]), PromotionRejection::MinimumInvalid);
    assert_eq!(refused(|t| t.rule.filter.product_ids = [ProductId::new(uuid(9))].into()), PromotionRejection::FilterInvalid);
    assert_eq!(refused(|t| t.dates = Dates { starts_at: Some(now()), ends_at: Some(now()) }), PromotionRejection::DatesInvalid);
}

fn products(count: usize) -> BTreeSet<ProductId> {
    (1..).take(count).map(|n| ProductId::new(uuid(n))).collect()
}

#[test]
fn what_is_just_within_the_bounds_is_allowed() {
    let decided = |change: fn(&mut PromotionCreated)| {
        let mut terms = terms(1, percent(100_000, Target::Line));
        change(&mut terms);
        let allowed = vec![created(terms.clone())];
        let decided = Promotion::default().decide(PromotionCommand::Create(Box::new(terms)));
        decided.map(|events| assert_eq!(events, allowed))
    };
    assert_eq!(decided(|t| t.title = "é".repeat(TITLE_CHARS_MAX)), Ok(()));
    assert_eq!(decided(|t| t.title = "é".repeat(TITLE_CHARS_MAX + 1)), Err(PromotionRejection::TitleInvalid));
    assert_eq!(decided(|t| t.rule = percent(1_000_000, Target::Order)), Ok(()));
    assert_eq!(decided(|t| t.rule = fixed(1, Target::Order)), Ok(()));
    assert_eq!(decided(|t| t.minimum = vec![eur(0)]), Ok(()));
    assert_eq!(decided(|t| t.minimum = vec![eur(1), eur(2)]), Err(PromotionRejection::MinimumInvalid));
    assert_eq!(decided(|t| t.dates = Dates { starts_at: Some(now()), ends_at: Some(now() + Duration::days(1)) }), Ok(()));
    assert_eq!(decided(|t| t.rule.filter.product_ids = products(FILTER_MAX)), Ok(()));
    assert_eq!(decided(|t| t.rule.filter.product_ids = products(FILTER_MAX + 1)), Err(PromotionRejection::FilterInvalid));
}

#[test]
fn each_of_the_terms_changes_alone() {
    let before = terms(1, percent(100_000, Target::Order));
    let nothing = PromotionChanged::default;
    let as_it_is = PromotionChanged {
        title: Some(before.title.clone()),
        rule: Some(before.rule.clone()),
        minimum: Some(before.minimum.clone()),
        dates: Some(before.dates),
        exclusive: Some(before.exclusive),
        priority: Some(before.priority),
    };
    let dates = Dates { starts_at: Some(now()), ends_at: None };
    let changes = [
        PromotionChanged { title: Some("Other".to_owned()), ..nothing() },
        PromotionChanged { rule: Some(fixed(100, Target::Order)), ..nothing() },
        PromotionChanged { minimum: Some(vec![eur(100)]), ..nothing() },
        PromotionChanged { dates: Some(dates), ..nothing() },
        PromotionChanged { exclusive: Some(true), ..nothing() },
        PromotionChanged { priority: Some(1), ..nothing() },
    ];
    for changed in changes {
        // The rest is named in the wish as it is, so that it is not in the event.
        let rest = as_it_is.clone();
        let wanted = PromotionChanged {
            title: changed.title.clone().or(rest.title),
            rule: changed.rule.clone().or(rest.rule),
            minimum: changed.minimum.clone().or(rest.minimum),
            dates: changed.dates.or(rest.dates),
            exclusive: changed.exclusive.or(rest.exclusive),
            priority: changed.priority.or(rest.priority),
        };
        let mut promotion = promotion(&[created(before.clone())]);
        let events = promotion.decide(PromotionCommand::Change(Box::new(wanted.clone()))).unwrap();
        assert_eq!(events, [PromotionEvent::PromotionChanged(Box::new(changed))]);
        promotion.apply(&events[0]);
        assert_eq!(promotion.decide(PromotionCommand::Change(Box::new(wanted))), Ok(vec![]), "it is what was wanted then");
    }
}

#[test]
fn a_promotion_says_whether_it_is_on() {
    let day = Duration::days(1);
    let status = |starts_at, ends_at| {
        let terms = PromotionCreated { dates: Dates { starts_at, ends_at }, ..terms(1, percent(100_000, Target::Order)) };
        promotion(&[created(terms)]).status(now())
    };
    assert_eq!(status(None, None), "active");
    assert_eq!(status(Some(now()), Some(now() + day)), "active", "the start is included");
    assert_eq!(status(Some(now() + day), None), "scheduled");
    assert_eq!(status(None, Some(now())), "ended", "the end is not included");
    let ended = PromotionEvent::PromotionEnded(PromotionEnded { ended_at: now() });
    let by_itself = created(PromotionCreated { automatic: true, ..terms(1, percent(100_000, Target::Order)) });
    assert!(promotion(std::slice::from_ref(&by_itself)).is_automatic());
    let over = promotion(&[by_itself, ended]);
    assert_eq!((over.is_automatic(), over.status(now())), (false, "ended"));
    let by_coupon = promotion(&with_coupon(coupon(None)));
    assert_eq!((by_coupon.is_automatic(), by_coupon.status(now())), (false, "active"));
}

#[test]
fn only_what_changed_is_in_the_event_and_an_ended_promotion_does_not_change() {
    let begun = vec![created(terms(1, percent(100_000, Target::Order)))];
    let same = PromotionChanged { title: Some("Promotion 1".to_owned()), priority: Some(0), ..PromotionChanged::default() };
    assert_eq!(promotion(&begun).decide(PromotionCommand::Change(Box::new(same))), Ok(vec![]));
    let wanted = PromotionChanged { title: Some("Promotion 1".to_owned()), priority: Some(3), ..PromotionChanged::default() };
    let changed = PromotionChanged { priority: Some(3), ..PromotionChanged::default() };
    TestFramework::<Promotion>::with(())
        .given(begun.clone())
        .when(PromotionCommand::Change(Box::new(wanted.clone())))
        .then_expect_events(vec![PromotionEvent::PromotionChanged(Box::new(changed))]);
    let ended = PromotionEvent::PromotionEnded(PromotionEnded { ended_at: now() });
    let ended = promotion(&[begun[0].clone(), ended]);
    assert_eq!(ended.decide(PromotionCommand::Change(Box::new(wanted))), Err(PromotionRejection::Ended));
    assert_eq!(ended.decide(PromotionCommand::End { at: now() }), Ok(vec![]));
    assert_eq!(ended.decide(PromotionCommand::CreateCoupons(vec![coupon(None)])), Err(PromotionRejection::Ended));
}

#[test]
fn coupons_are_for_promotions_that_are_not_automatic_and_have_bounds() {
    let automatic = promotion(&[created(PromotionCreated { automatic: true, ..terms(1, fixed(100, Target::Order)) })]);
    assert_eq!(automatic.decide(PromotionCommand::CreateCoupons(vec![coupon(None)])), Err(PromotionRejection::Automatic));
    let there = promotion(&with_coupon(coupon(None)));
    let make = |coupons| there.decide(PromotionCommand::CreateCoupons(coupons));
    assert_eq!(make(vec![coupon(None)]), Err(PromotionRejection::CouponExists));
    let another = |n: u128| CouponCreated { coupon_id: CouponId::new(uuid(n)), ..coupon(None) };
    assert_eq!(make(vec![another(60), another(60)]), Err(PromotionRejection::CouponExists));
    assert_eq!(make(vec![CouponCreated { limit: Some(0), ..another(60) }]), Err(PromotionRejection::LimitInvalid));
    assert_eq!(make(vec![CouponCreated { per_subject: Some(21), ..another(60) }]), Err(PromotionRejection::PerSubjectInvalid));
    // One is there already.
    let many = |count: usize| (100..).take(count).map(another).collect();
    assert_eq!(make(many(COUPONS_MAX)), Err(PromotionRejection::CouponsTooMany));
    assert_eq!(make(many(COUPONS_MAX - 1)).map(|events| events.len()), Ok(COUPONS_MAX - 1));
    let valid = |until| vec![CouponCreated { valid_from: Some(now()), valid_until: Some(until), ..another(60) }];
    assert_eq!(make(valid(now())), Err(PromotionRejection::DatesInvalid));
    assert_eq!(make(valid(now() + Duration::seconds(1))).map(|events| events.len()), Ok(1));
    let per_person = |uses| vec![CouponCreated { per_subject: Some(uses), ..another(60) }];
    assert_eq!(make(per_person(0)), Err(PromotionRejection::PerSubjectInvalid));
    assert_eq!(make(per_person(20)).map(|events| events.len()), Ok(1));
}

#[test]
fn what_is_reserved_counts_until_it_is_released_and_what_is_redeemed_counts_for_ever() {
    let mut single = promotion(&with_coupon(coupon(Some(1))));
    let mut run = |command| {
        let events = single.decide(command);
        for event in events.iter().flatten() {
            single.apply(event);
        }
        events
    };
    let reserve = |order| PromotionCommand::Reserve { coupon_use: coupon_use(order), now: now() };
    let exhausted = Err(PromotionRejection::Unusable(Inapplicable::Exhausted));
    assert_eq!(run(reserve(1)), Ok(vec![PromotionEvent::CouponReserved(coupon_use(1))]));
    assert_eq!(run(reserve(1)), Ok(vec![]), "the same use again is no other use");
    assert_eq!(run(reserve(2)), exhausted);
    let released = CouponUse { reason: Some("expired".to_owned()), ..coupon_use(1) };
    let release = PromotionCommand::Release { reservation_id: coupon_use(1).reservation_id, reason: "expired".to_owned() };
    assert_eq!(run(release.clone()), Ok(vec![PromotionEvent::CouponReleased(released)]));
    assert_eq!(run(release), Ok(vec![]));
    assert_eq!(run(reserve(2)), Ok(vec![PromotionEvent::CouponReserved(coupon_use(2))]));
    let reservation_id = coupon_use(2).reservation_id;
    assert_eq!(run(PromotionCommand::End { at: now() }).map(|events| events.len()), Ok(1));
    assert_eq!(run(PromotionCommand::Redeem { reservation_id }), Ok(vec![PromotionEvent::CouponRedeemed(coupon_use(2))]));
    assert_eq!(run(PromotionCommand::Redeem { reservation_id }), Ok(vec![]), "a second webhook redeems nothing");
    assert_eq!(run(PromotionCommand::Release { reservation_id, reason: "cancelled".to_owned() }), Ok(vec![]));
    assert_eq!(run(reserve(3)), Err(PromotionRejection::Unusable(Inapplicable::Ended)));
}

#[test]
fn a_coupon_is_valid_between_its_dates_and_those_of_its_promotion() {
    let day = Duration::days(1);
    let standing = |promotion_dates, valid_from, valid_until| {
        let terms = PromotionCreated { dates: promotion_dates, ..terms(1, percent(100_000, Target::Order)) };
        let coupon = CouponCreated { valid_from, valid_until, ..coupon(None) };
        promotion(&[created(terms), PromotionEvent::CouponCreated(coupon)]).coupon_standing(CouponId::new(uuid(50)), now())
    };
    let always = Dates::default();
    assert_eq!(standing(always, None, None), Ok(()));
    assert_eq!(standing(always, Some(now()), Some(now() + day)), Ok(()));
    assert_eq!(standing(always, Some(now() + day), None), Err(Inapplicable::NotStarted));
    assert_eq!(standing(always, None, Some(now())), Err(Inapplicable::Ended), "the end is not included");
    assert_eq!(standing(Dates { starts_at: Some(now() + day), ends_at: None }, None, None), Err(Inapplicable::NotStarted));
    assert_eq!(standing(Dates { starts_at: None, ends_at: Some(now()) }, None, None), Err(Inapplicable::Ended));
}

/// A basket with lines of these subtotals; line n is of product and category n.
fn basket<'a>(subtotals: &[i64], categories: &'a [CategoryId], shipping: Option<i64>) -> Basket<'a> {
    let goods = subtotals.iter().zip(1_u128..).map(|(subtotal, n)| Goods {
        line_id: LineId::new(uuid(n)),
        variant_id: VariantId::new(uuid(n)),
        product_id: ProductId::new(uuid(n)),
        category_ids: &categories[usize::try_from(n).unwrap() - 1..usize::try_from(n).unwrap()],
        subtotal: eur(*subtotal),
    });
    Basket { currency: euro(), rounding: Rounding::HalfUp, goods: goods.collect(), shipping: shipping.map(eur) }
}

fn categories() -> Vec<CategoryId> {
    (1..=100).map(|n| CategoryId::new(uuid(n))).collect()
}

/// What each promotion takes off, and what lines and shipping cost in the quote that grants it.
fn priced(subtotals: &[i64], shipping: Option<i64>, promotions: &[&PromotionCreated]) -> (Vec<Result<i64, Inapplicable>>, Vec<i64>, i64) {
    let categories = categories();
    let basket = basket(subtotals, &categories, shipping);
    let offers: Vec<_> = promotions.iter().map(|terms| Offer { terms, coupon_id: None }).collect();
    let outcomes = evaluate(&basket, &offers).unwrap();
    let quote = price(&request(subtotals, shipping, &offers, &outcomes)).unwrap();
    let granted: Vec<_> = quote.discounts.iter().map(|d| d.amount).collect();
    let wanted: Vec<_> = in_order(&offers, &outcomes).iter().map(|d| d.amount).collect();
    assert_eq!(granted, wanted, "what was computed is what is granted");
    let lines = quote.lines.iter().map(|line| line.gross.amount()).chain(quote.shipping_lines.iter().map(|line| line.gross.amount()));
    let outcomes = outcomes.into_iter().map(|outcome| outcome.map(|discount| discount.amount.amount())).collect();
    (outcomes, lines.collect(), quote.totals.total.amount())
}

fn request(subtotals: &[i64], shipping: Option<i64>, offers: &[Offer<'_>], outcomes: &Outcomes) -> QuoteRequest {
    let lines = subtotals.iter().zip(1_u128..).map(|(subtotal, n)| LineRequest {
        line_id: LineId::new(uuid(n)),
        unit_price: eur(*subtotal),
        quantity: 1,
        tax_category: "standard".to_owned(),
        requires_shipping: true,
    });
    QuoteRequest {
        currency: euro(),
        prices_include_tax: true,
        rounding: Rounding::HalfUp,
        ship_to: None,
        lines: lines.collect(),
        discounts: in_order(offers, outcomes),
        tax_rates: vec![],
        shipping: shipping.map(|amount| ShippingOption {
            method_id: uuid(1).into(),
            title: "Parcel".to_owned(),
            price: eur(amount),
            tax_category: "standard".to_owned(),
        }),
    }
}

#[test]
fn a_percentage_is_computed_once_and_allocated_by_largest_remainder() {
    let tenth = terms(1, percent(100_000, Target::Order));
    assert_eq!(priced(&[999, 999, 999], None, &[&tenth]), (vec![Ok(300)], vec![899, 899, 899], 2_697));
    // 10 % of 25 is 2.5, rounded by the shop's mode once: 3, of which the first of two equal lines gets one more.
    assert_eq!(priced(&[12, 13], None, &[&tenth]).0, [Ok(3)]);
}

#[test]
fn no_more_is_taken_off_than_is_left() {
    let (ten, five) = (terms(1, fixed(1_000, Target::Order)), terms(2, fixed(500, Target::Order)));
    assert_eq!(priced(&[700, 500], None, &[&ten, &five]), (vec![Ok(1_000), Ok(200)], vec![0, 0], 0));
    let three = terms(3, fixed(300, Target::Order));
    assert_eq!(priced(&[700, 500], None, &[&ten, &five, &three]).0, [Ok(1_000), Ok(200), Err(Inapplicable::NothingToDiscount)]);
    let free = terms(4, percent(1_000_000, Target::Shipping));
    assert_eq!(priced(&[700], Some(490), &[&free]), (vec![Ok(490)], vec![700, 0], 700));
    assert_eq!(priced(&[700], None, &[&free]).0, [Err(Inapplicable::NothingToDiscount)]);
}

#[test]
fn lines_of_the_filter_are_discounted_before_the_order() {
    let mut half_of_two = terms(2, percent(500_000, Target::Line));
    half_of_two.rule.filter.category_ids = [CategoryId::new(uuid(2))].into();
    // The order's higher priority does not put it before the lines.
    let tenth = PromotionCreated { priority: 9, ..terms(1, percent(100_000, Target::Order)) };
    assert_eq!(priced(&[1_000, 2_000], None, &[&tenth, &half_of_two]), (vec![Ok(200), Ok(1_000)], vec![900, 900], 1_800));
    let categories = categories();
    let outcome = evaluate(&basket(&[1_000, 2_000], &categories, None), &[Offer { terms: &half_of_two, coupon_id: None }]).unwrap();
    assert_eq!(outcome[0].as_ref().unwrap().target, DiscountTarget::Lines { line_ids: vec![LineId::new(uuid(2))] });
    half_of_two.rule.filter.category_ids = [CategoryId::new(uuid(77))].into();
    assert_eq!(priced(&[1_000, 2_000], None, &[&half_of_two]).0, [Err(Inapplicable::NoMatchingLines)]);
}

#[test]
fn a_filter_means_lines_by_product_variant_or_category_and_all_when_it_names_none() {
    let categories = categories();
    let basket = basket(&[1_000, 2_000, 3_000], &categories, None);
    let lines = |filter| {
        let half = terms(1, Rule { filter, ..percent(500_000, Target::Line) });
        let outcomes = evaluate(&basket, &[Offer { terms: &half, coupon_id: None }]).unwrap();
        outcomes[0].as_ref().map(|discount| (discount.target.clone(), discount.amount)).map_err(|reason| *reason)
    };
    let of = |ids: &[u128]| DiscountTarget::Lines { line_ids: ids.iter().map(|n| LineId::new(uuid(*n))).collect() };
    let by_product = Filter { product_ids: [ProductId::new(uuid(1))].into(), ..Filter::default() };
    let by_variant = Filter { variant_ids: [VariantId::new(uuid(2))].into(), ..Filter::default() };
    let by_category = Filter { category_ids: [CategoryId::new(uuid(3))].into(), ..Filter::default() };
    assert_eq!(lines(by_product.clone()), Ok((of(&[1]), eur(500))));
    assert_eq!(lines(by_variant.clone()), Ok((of(&[2]), eur(1_000))));
    assert_eq!(lines(by_category.clone()), Ok((of(&[3]), eur(1_500))));
    let any = Filter { product_ids: by_product.product_ids, category_ids: by_category.category_ids, ..by_variant };
    assert_eq!(lines(any), Ok((of(&[1, 2, 3]), eur(3_000))));
    assert_eq!(lines(Filter::default()), Ok((of(&[1, 2, 3]), eur(3_000))));
}

#[test]
fn a_minimum_is_of_the_goods_before_discounts_and_of_their_currency() {
    let first = PromotionCreated { priority: 1, ..terms(1, fixed(900, Target::Order)) };
    let from_ten = PromotionCreated { minimum: vec![eur(1_000)], ..terms(2, fixed(100, Target::Order)) };
    assert_eq!(priced(&[1_000], Some(490), &[&first, &from_ten]).0, [Ok(900), Ok(100)]);
    assert_eq!(priced(&[999], Some(490), &[&from_ten]).0, [Err(Inapplicable::MinimumNotReached { minimum: eur(1_000) })]);
    let dollars = Money::new(100, "USD".parse().unwrap()).unwrap();
    let in_dollars = Rule { benefit: Benefit::Fixed { amounts: vec![dollars] }, ..fixed(1, Target::Order) };
    assert_eq!(priced(&[999], None, &[&terms(3, in_dollars)]).0, [Err(Inapplicable::CurrencyNotOffered)]);
    let from_dollars = PromotionCreated { minimum: vec![dollars], ..terms(4, fixed(100, Target::Order)) };
    assert_eq!(priced(&[999], None, &[&from_dollars]).0, [Err(Inapplicable::CurrencyNotOffered)]);
}

#[test]
fn an_exclusive_promotion_stands_alone_when_it_comes_first_and_else_not_at_all() {
    let ordinary = terms(1, fixed(100, Target::Order));
    let exclusive = |priority| PromotionCreated { exclusive: true, priority, ..terms(2, fixed(300, Target::Order)) };
    let not_combinable = Err(Inapplicable::NotCombinable);
    assert_eq!(priced(&[1_000], None, &[&ordinary, &exclusive(1)]).0, [not_combinable, Ok(300)]);
    assert_eq!(priced(&[1_000], None, &[&ordinary, &exclusive(-1)]).0, [Ok(100), not_combinable]);
    // One that can't take effect stands in nobody's way.
    let out_of_reach = PromotionCreated { minimum: vec![eur(5_000)], ..exclusive(1) };
    assert_eq!(priced(&[1_000], None, &[&ordinary, &out_of_reach]).0[0], Ok(100));
    // Nor does one that has nothing to take off: goods that cost nothing, a delivery that isn't chosen or is free.
    let nothing = Err(Inapplicable::NothingToDiscount);
    let of_shipping = PromotionCreated { exclusive: true, priority: 1, ..terms(3, percent(1_000_000, Target::Shipping)) };
    assert_eq!(priced(&[1_000], None, &[&ordinary, &of_shipping]).0, [Ok(100), nothing]);
    assert_eq!(priced(&[1_000], Some(0), &[&ordinary, &of_shipping]).0, [Ok(100), nothing]);
    let ordinary_shipping = terms(4, percent(500_000, Target::Shipping));
    assert_eq!(priced(&[0], Some(490), &[&exclusive(1), &ordinary_shipping]).0, [nothing, Ok(245)]);
}

#[test]
fn why_nothing_is_taken_off_has_a_word() {
    let words = [
        (Inapplicable::NotStarted, "not_started"),
        (Inapplicable::Ended, "expired"),
        (Inapplicable::Exhausted, "exhausted"),
        (Inapplicable::UsedBySubject, "used"),
        (Inapplicable::MinimumNotReached { minimum: eur(1) }, "minimum_not_reached"),
        (Inapplicable::CurrencyNotOffered, "currency_not_offered"),
        (Inapplicable::NoMatchingLines, "no_matching_lines"),
        (Inapplicable::NotCombinable, "not_combinable"),
        (Inapplicable::NothingToDiscount, "nothing_to_discount"),
    ];
    for (reason, word) in words {
        assert_eq!(reason.as_str(), word);
    }
}

#[test]
fn a_coupon_comes_before_an_automatic_promotion_of_the_same_priority_and_counts_once() {
    let categories = categories();
    let basket = basket(&[1_000], &categories, None);
    let (automatic, by_code) =
        (terms(1, fixed(100, Target::Order)), PromotionCreated { exclusive: true, ..terms(2, fixed(300, Target::Order)) });
    let coupon = |n| Offer { terms: &by_code, coupon_id: Some(CouponId::new(uuid(n))) };
    let outcomes = evaluate(&basket, &[Offer { terms: &automatic, coupon_id: None }, coupon(51), coupon(50)]).unwrap();
    let amounts: Vec<_> = outcomes.iter().map(|outcome| outcome.as_ref().map(|d| d.amount.amount()).map_err(|e| *e)).collect();
    assert_eq!(amounts, [Err(Inapplicable::NotCombinable), Err(Inapplicable::NotCombinable), Ok(300)]);
}

fn any_promotion(n: u128) -> impl Strategy<Value = PromotionCreated> {
    let benefit = prop_oneof![
        (1_u32..=1_000_000).prop_map(|ppm| Benefit::Percent { ppm }),
        (1_i64..5_000).prop_map(|amount| Benefit::Fixed { amounts: vec![eur(amount)] })
    ];
    let target = prop_oneof![Just(Target::Line), Just(Target::Order), Just(Target::Shipping)];
    let filter = proptest::option::of(1_u128..6);
    (benefit, target, filter, -2_i32..3, prop::bool::weighted(0.1)).prop_map(move |(benefit, target, product, priority, exclusive)| {
        let product_ids = product.filter(|_| target == Target::Line).map(|product| ProductId::new(uuid(product)));
        let filter = Filter { product_ids: product_ids.into_iter().collect(), ..Filter::default() };
        PromotionCreated { exclusive, priority, ..terms(n, Rule { benefit, target, filter }) }
    })
}

proptest! {
    #[test]
    fn whatever_combines_nothing_costs_less_than_nothing_and_all_sums_are_exact(
        subtotals in prop::collection::vec(0_i64..20_000, 1..6),
        shipping in proptest::option::of(0_i64..2_000),
        promotions in prop::collection::vec(any::<u8>(), 0..14).prop_flat_map(|seeds| {
            (1_u128..).zip(seeds).map(|(n, _)| any_promotion(n)).collect::<Vec<_>>()
        }),
    ) {
        let (outcomes, lines, total) = priced(&subtotals, shipping, &promotions.iter().collect::<Vec<_>>());
        let before: i64 = subtotals.iter().sum::<i64>() + shipping.unwrap_or(0);
        let taken: i64 = outcomes.iter().flatten().sum();
        prop_assert_eq!(total, before - taken);
        prop_assert_eq!(lines.iter().sum::<i64>(), total);
        prop_assert!(lines.iter().all(|line| *line >= 0));
        prop_assert!(outcomes.iter().flatten().all(|amount| *amount > 0));
        prop_assert!(outcomes.iter().flatten().count() <= COMBINED_MAX);
    }
}
