//! Promotions and their coupons, from nothing to the end.

use chrono::{DateTime, Utc};
use domain::promotion::{
    Benefit, COUPONS_MAX, CouponCreated, CouponUse, Dates, Filter, Promotion, PromotionChanged, PromotionCommand, PromotionCreated,
    PromotionEnded, PromotionEvent, PromotionRejection, Rule, Target,
};
use uuid::Uuid;

use crate::{Table, eur, id};

variants!(PromotionCommand: Create, Change, End, CreateCoupons, Reserve, Redeem, Release);
variants!(PromotionRejection:
    NotFound, Exists, Ended, TitleInvalid, PercentInvalid, AmountsInvalid, FilterInvalid, MinimumInvalid, DatesInvalid, Automatic,
    CouponsTooMany, CouponExists, LimitInvalid, PerSubjectInvalid, Unusable,
);

/// Coupon 50 can be used once; orders 1 and 2 want it.
const TABLE: &str = "
on = fresh automatic couponed over reserved released redeemed
gone = ended ended_reserved
there = fresh automatic couponed over reserved released redeemed ended ended_reserved

Create
    PromotionCreated                                           | absent
    promotion_exists                                           | there

Create without a title
    title_invalid                                              | absent
    promotion_exists                                           | there

Create of no percent
    percent_invalid                                            | absent
    promotion_exists                                           | there

Create of no amount
    amounts_invalid                                            | absent
    promotion_exists                                           | there

Create with a filter on the order
    filter_invalid                                             | absent
    promotion_exists                                           | there

Create with a negative minimum
    minimum_invalid                                            | absent
    promotion_exists                                           | there

Create that ends as it starts
    dates_invalid                                              | absent
    promotion_exists                                           | there

Change to what it is
    promotion_not_found                                        | absent
    -                                                          | on
    promotion_ended                                            | gone

Change of the priority
    promotion_not_found                                        | absent
    PromotionChanged                                           | on
    promotion_ended                                            | gone

Change to amounts below zero
    promotion_not_found                                        | absent
    amounts_invalid                                            | on
    promotion_ended                                            | gone

End
    promotion_not_found                                        | absent
    PromotionEnded                                             | on
    -                                                          | gone

CreateCoupons, two others
    promotion_not_found                                        | absent
    CouponCreated CouponCreated                                | fresh couponed over reserved released redeemed
    promotion_automatic                                        | automatic
    promotion_ended                                            | gone

CreateCoupons, one that may be there
    promotion_not_found                                        | absent
    CouponCreated                                              | fresh
    promotion_automatic                                        | automatic
    coupon_exists                                              | couponed over reserved released redeemed
    promotion_ended                                            | gone

CreateCoupons, too many
    promotion_not_found                                        | absent
    coupons_too_many                                           | fresh couponed over reserved released redeemed
    promotion_automatic                                        | automatic
    promotion_ended                                            | gone

CreateCoupons for no use
    promotion_not_found                                        | absent
    limit_invalid                                              | fresh couponed over reserved released redeemed
    promotion_automatic                                        | automatic
    promotion_ended                                            | gone

CreateCoupons for no use by anybody
    promotion_not_found                                        | absent
    per_subject_invalid                                        | fresh couponed over reserved released redeemed
    promotion_automatic                                        | automatic
    promotion_ended                                            | gone

Reserve for order 1
    promotion_not_found                                        | absent
    coupon_unusable                                            | fresh automatic over redeemed ended
    CouponReserved                                             | couponed released
    -                                                          | reserved ended_reserved

Reserve for order 2
    promotion_not_found                                        | absent
    coupon_unusable                                            | fresh automatic over reserved redeemed gone
    CouponReserved                                             | couponed released

Redeem of order 1
    promotion_not_found                                        | absent
    -                                                          | fresh automatic couponed over released redeemed ended
    CouponRedeemed                                             | reserved ended_reserved

Release of order 1
    promotion_not_found                                        | absent
    -                                                          | fresh automatic couponed over released redeemed ended
    CouponReleased                                             | reserved ended_reserved
";

fn now() -> DateTime<Utc> {
    "2026-11-10T12:00:00Z".parse().unwrap()
}

fn terms() -> PromotionCreated {
    let rule = Rule { benefit: Benefit::Percent { ppm: 100_000 }, target: Target::Order, filter: Filter::default() };
    PromotionCreated {
        promotion_id: id(1),
        title: "Ten percent".to_owned(),
        rule,
        minimum: vec![],
        dates: Dates::default(),
        automatic: false,
        exclusive: false,
        priority: 0,
    }
}

fn create(change: fn(&mut PromotionCreated)) -> PromotionCommand {
    let mut created = terms();
    change(&mut created);
    PromotionCommand::Create(Box::new(created))
}

fn change(changed: PromotionChanged) -> PromotionCommand {
    PromotionCommand::Change(Box::new(changed))
}

fn coupon(n: u128) -> CouponCreated {
    CouponCreated {
        coupon_id: id(n),
        promotion_id: id(1),
        code_hash: n.to_string(),
        limit: Some(1),
        per_subject: None,
        valid_from: None,
        valid_until: None,
    }
}

fn coupon_use(order: u128) -> CouponUse {
    let reservation_id = Uuid::from_u128(1_000 + order);
    CouponUse { coupon_id: id(50), reservation_id, order_id: id(order), subject_ref: "a1".to_owned(), reason: None }
}

fn after(events: &[PromotionEvent]) -> Promotion {
    let mut promotion = Promotion::default();
    for event in events {
        promotion.apply(event);
    }
    promotion
}

fn states() -> Vec<(&'static str, Promotion)> {
    let created = |terms| PromotionEvent::PromotionCreated(Box::new(terms));
    let ended = PromotionEvent::PromotionEnded(PromotionEnded { ended_at: now() });
    let couponed = vec![created(terms()), PromotionEvent::CouponCreated(coupon(50))];
    let and = |events: &[PromotionEvent], next: &[PromotionEvent]| after(&[events, next].concat());
    let reserved = PromotionEvent::CouponReserved(coupon_use(1));
    let over = Dates { starts_at: None, ends_at: Some(now()) };
    vec![
        ("absent", after(&[])),
        ("fresh", after(&[created(terms())])),
        ("automatic", after(&[created(PromotionCreated { automatic: true, ..terms() })])),
        ("couponed", after(&couponed)),
        ("over", after(&[created(PromotionCreated { dates: over, ..terms() }), couponed[1].clone()])),
        ("reserved", and(&couponed, std::slice::from_ref(&reserved))),
        ("released", and(&couponed, &[reserved.clone(), PromotionEvent::CouponReleased(coupon_use(1))])),
        ("redeemed", and(&couponed, &[reserved.clone(), PromotionEvent::CouponRedeemed(coupon_use(1))])),
        ("ended", and(&couponed, std::slice::from_ref(&ended))),
        ("ended_reserved", and(&couponed, &[reserved, ended])),
    ]
}

fn commands() -> Vec<(&'static str, PromotionCommand)> {
    let fixed = |amounts| Rule { benefit: Benefit::Fixed { amounts }, target: Target::Order, filter: Filter::default() };
    let reserve = |order| PromotionCommand::Reserve { coupon_use: coupon_use(order), now: now() };
    let reservation_id = coupon_use(1).reservation_id;
    let coupons = PromotionCommand::CreateCoupons;
    vec![
        ("Create", create(|_| {})),
        ("Create without a title", create(|t| t.title = String::new())),
        ("Create of no percent", create(|t| t.rule.benefit = Benefit::Percent { ppm: 0 })),
        ("Create of no amount", create(|t| t.rule.benefit = Benefit::Fixed { amounts: vec![] })),
        ("Create with a filter on the order", create(|t| t.rule.filter.product_ids = [id(9)].into())),
        ("Create with a negative minimum", create(|t| t.minimum = vec![eur(-1)])),
        ("Create that ends as it starts", create(|t| t.dates = Dates { starts_at: Some(now()), ends_at: Some(now()) })),
        ("Change to what it is", change(PromotionChanged { priority: Some(0), ..PromotionChanged::default() })),
        ("Change of the priority", change(PromotionChanged { priority: Some(7), ..PromotionChanged::default() })),
        ("Change to amounts below zero", change(PromotionChanged { rule: Some(fixed(vec![eur(-5)])), ..PromotionChanged::default() })),
        ("End", PromotionCommand::End { at: now() }),
        ("CreateCoupons, two others", coupons(vec![coupon(51), coupon(52)])),
        ("CreateCoupons, one that may be there", coupons(vec![coupon(50)])),
        ("CreateCoupons, too many", coupons((0..=COUPONS_MAX as u128).map(|n| coupon(100 + n)).collect())),
        ("CreateCoupons for no use", coupons(vec![CouponCreated { limit: Some(0), ..coupon(51) }])),
        ("CreateCoupons for no use by anybody", coupons(vec![CouponCreated { per_subject: Some(0), ..coupon(51) }])),
        ("Reserve for order 1", reserve(1)),
        ("Reserve for order 2", reserve(2)),
        ("Redeem of order 1", PromotionCommand::Redeem { reservation_id }),
        ("Release of order 1", PromotionCommand::Release { reservation_id, reason: "expired".to_owned() }),
    ]
}

#[test]
fn a_promotion_in_every_state() {
    Table {
        text: TABLE,
        states: states(),
        commands: commands(),
        decide: Promotion::decide,
        code: PromotionRejection::code,
        events_elsewhere: &[],
        refusals_elsewhere: &[],
    }
    .check();
}
