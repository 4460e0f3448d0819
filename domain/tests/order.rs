//! Orders: placed, paid, cancelled, revived.

#![expect(clippy::unwrap_used, reason = "a test whose facts can't be made should fail")]

use std::collections::BTreeMap;

use cqrs_es::test::{AggregateTestExecutor, TestFramework};
use domain::cart::{Address, ShipTo};
use domain::event::{Event, Root};
use domain::money::{Money, Rounding};
use domain::order::{
    CancelLines, Cover, Order, OrderCancelled, OrderCommand, OrderCompleted, OrderConfirmed, OrderContactCorrected, OrderEvent,
    OrderExpired, OrderHeld, OrderItem, OrderLine, OrderLinesShipped, OrderPaymentClosed, OrderPaymentOpened, OrderPlaced, OrderReinstated,
    OrderRejection, OrderReleased, OrderShipmentDelivered, OrderStage, PAY_LATER, PREPAID, ShippedLine, Tender,
};
use domain::personal::Personal;
use domain::pricing::{LineRequest, QuoteRequest, ShippingOption, TaxRate, price};
use proptest::prelude::*;
use uuid::Uuid;

#[path = "order/sequences.rs"]
mod sequences;

fn id<T: From<Uuid>>(n: u128) -> T {
    T::from(Uuid::from_u128(n))
}

fn eur(amount: i64) -> Money {
    Money::new(amount, "EUR".parse().unwrap()).unwrap()
}

fn quote_request(lines: &[(i64, u32)]) -> QuoteRequest {
    let lines = (1..).zip(lines).map(|(n, (unit, quantity))| LineRequest {
        line_id: id(n),
        unit_price: eur(*unit),
        quantity: *quantity,
        tax_category: "standard".to_owned(),
        requires_shipping: true,
    });
    QuoteRequest {
        currency: "EUR".parse().unwrap(),
        prices_include_tax: true,
        rounding: Rounding::HalfUp,
        ship_to: Some(ShipTo { country: "DE".to_owned(), region: None }),
        lines: lines.collect(),
        discounts: vec![],
        tax_rates: vec![TaxRate {
            tax_id: id(1),
            title: "VAT 19 %".to_owned(),
            country: "DE".to_owned(),
            region: None,
            category: "standard".to_owned(),
            rate_ppm: 190_000,
            compound: false,
            applies_to_shipping: true,
        }],
        shipping: Some(ShippingOption {
            method_id: id(1),
            title: "Parcel".to_owned(),
            price: eur(490),
            tax_category: "standard".to_owned(),
        }),
    }
}

/// An order of these (unit price, quantity), quoted as a checkout does it.
fn order_of(lines: &[(i64, u32)]) -> OrderPlaced {
    let quote = price(&quote_request(lines)).unwrap();
    let item = OrderItem {
        kind: "product".to_owned(),
        variant_id: Some(id(1)),
        product_id: Some(id(1)),
        sku: None,
        title: "Moka pot".to_owned(),
        options: vec![],
        parent_line_id: None,
        price_source: "price_list".to_owned(),
    };
    let total = quote.totals.total;
    OrderPlaced {
        order_id: id(1),
        number: "7Q2M4XK9D".to_owned(),
        source: "checkout".to_owned(),
        channel: "storefront".to_owned(),
        cart: None,
        checkout_no: Some(1),
        subject_id: id(1),
        customer_id: None,
        placed_at: "2026-11-22T10:00:00Z".parse().unwrap(),
        language: "en".to_owned(),
        currency: quote.currency,
        prices_include_tax: quote.prices_include_tax,
        rounding: quote.rounding,
        ship_to: ShipTo { country: "DE".to_owned(), region: None },
        lines: quote.lines.into_iter().map(|line| OrderLine::new(item.clone(), line)).collect(),
        shipping_lines: quote.shipping_lines,
        discounts: quote.discounts,
        coupons: vec![],
        taxes: quote.taxes,
        fees: vec![],
        totals: quote.totals,
        holds: vec![],
        tenders: vec![Tender { tender_id: id(1), kind: "payment".to_owned(), reference: "sandbox".to_owned(), amount: total }],
        terms: PREPAID.to_owned(),
        payment_deadline: None,
        email: Personal::Known("ada@example.com".to_owned()),
        phone: None,
        shipping_address: Personal::Known(Address::default()),
        billing_address: None,
        note: None,
    }
}

/// Two lines and shipping: 3 × 19.99 + 2 × 5.00 + 4.90 = 74.87.
fn facts() -> OrderPlaced {
    order_of(&[(1999, 3), (500, 2)])
}

const TOTAL: i64 = 7487;

fn placed(facts: OrderPlaced) -> OrderEvent {
    OrderEvent::OrderPlaced(Box::new(facts))
}

fn place(facts: OrderPlaced) -> OrderCommand {
    OrderCommand::Place(Box::new(facts))
}

fn cover(amount: i64) -> Vec<Cover> {
    vec![Cover { tender_id: id(1), amount: eur(amount) }]
}

fn confirmed() -> OrderEvent {
    OrderEvent::OrderConfirmed(OrderConfirmed { covered_by: cover(TOTAL) })
}

fn opened(payment: u128) -> OrderEvent {
    OrderEvent::OrderPaymentOpened(OrderPaymentOpened { payment_id: id(payment), amount: eur(TOTAL) })
}

fn open(payment: u128) -> OrderCommand {
    OrderCommand::OpenPayment { payment_id: id(payment), amount: eur(TOTAL) }
}

fn closed(payment: u128, outcome: &str) -> OrderEvent {
    OrderEvent::OrderPaymentClosed(OrderPaymentClosed { payment_id: id(payment), outcome: outcome.to_owned() })
}

fn expire() -> OrderCommand {
    OrderCommand::Expire { reason: "payment_deadline".to_owned() }
}

fn expired() -> OrderEvent {
    OrderEvent::OrderExpired(OrderExpired { reason: "payment_deadline".to_owned() })
}

fn shipped(fulfilment: u128, line: u128, quantity: u32) -> OrderEvent {
    let lines = vec![ShippedLine { line_id: id(line), quantity }];
    OrderEvent::OrderLinesShipped(OrderLinesShipped { fulfilment_id: id(fulfilment), lines, tracking: None })
}

fn cancel_lines(lines: &[(u128, u32)]) -> CancelLines {
    CancelLines {
        cancellation_id: id(1),
        lines: lines.iter().map(|(line, quantity)| (id(*line), *quantity)).collect(),
        reason: "changed_mind".to_owned(),
        note: None,
        by: "shopper".to_owned(),
    }
}

fn order(events: Vec<OrderEvent>) -> AggregateTestExecutor<Order> {
    TestFramework::<Order>::with(()).given(vec![placed(facts())]).and(events)
}

fn fold(events: Vec<OrderEvent>) -> Order {
    let mut order = Order::default();
    for event in events {
        order.apply(&event);
    }
    order
}

#[test]
fn a_placed_order_waits_for_its_payment() {
    TestFramework::<Order>::with(()).given_no_previous_events().when(place(facts())).then_expect_events(vec![placed(facts())]);
    assert_eq!(fold(vec![placed(facts())]).status(), "pending_payment");
    order(vec![]).when(place(facts())).then_expect_error(OrderRejection::Exists);
}

#[test]
fn an_order_of_nothing_to_pay_is_confirmed_at_once() {
    let mut free = order_of(&[(0, 1)]);
    let mut request = quote_request(&[(0, 1)]);
    request.shipping = None;
    let quote = price(&request).unwrap();
    free.shipping_lines = vec![];
    free.totals = quote.totals;
    free.taxes = quote.taxes;
    free.tenders = vec![];
    let confirmed = OrderEvent::OrderConfirmed(OrderConfirmed { covered_by: vec![] });
    TestFramework::<Order>::with(()).given_no_previous_events().when(place(free.clone())).then_expect_events(vec![placed(free), confirmed]);
}

#[test]
fn an_order_to_be_paid_later_is_confirmed_at_once() {
    let later = OrderPlaced { terms: PAY_LATER.to_owned(), ..facts() };
    TestFramework::<Order>::with(())
        .given_no_previous_events()
        .when(place(later.clone()))
        .then_expect_events(vec![placed(later), confirmed()]);
}

#[test]
fn sums_that_do_not_add_up_are_never_written() {
    let refused = |change: fn(&mut OrderPlaced)| {
        let mut facts = facts();
        change(&mut facts);
        Order::default().decide(place(facts)).unwrap_err().code()
    };
    assert_eq!(refused(|facts| facts.totals.total = eur(1)), "totals_wrong");
    assert_eq!(refused(|facts| facts.totals.tax = eur(1)), "totals_wrong");
    assert_eq!(refused(|facts| facts.lines[0].quantity = 4), "totals_wrong");
    assert_eq!(refused(|facts| facts.lines[0].net = eur(1)), "totals_wrong");
    assert_eq!(refused(|facts| facts.tenders.clear()), "tenders_wrong");
    assert_eq!(refused(|facts| facts.lines.clear()), "order_without_lines");
}

#[test]
fn there_is_one_live_payment_at_a_time() {
    order(vec![]).when(open(1)).then_expect_events(vec![opened(1)]);
    order(vec![opened(1)]).when(open(1)).then_expect_events(vec![]);
    order(vec![opened(1)]).when(open(2)).then_expect_error(OrderRejection::PaymentInProgress { payment_id: id(1) });
    order(vec![opened(1), closed(1, "failed")]).when(open(2)).then_expect_events(vec![opened(2)]);
}

#[test]
fn a_payment_is_closed_once() {
    let close = OrderCommand::ClosePayment { payment_id: id(1), outcome: "failed".to_owned() };
    order(vec![opened(1)]).when(close.clone()).then_expect_events(vec![closed(1, "failed")]);
    order(vec![opened(1), closed(1, "failed")]).when(close).then_expect_events(vec![]);
}

#[test]
fn an_order_is_confirmed_when_it_is_covered_and_only_once() {
    let confirm = |amount| OrderCommand::Confirm { covered_by: cover(amount) };
    order(vec![]).when(confirm(TOTAL)).then_expect_events(vec![confirmed()]);
    order(vec![confirmed()]).when(confirm(TOTAL)).then_expect_events(vec![]);
    order(vec![]).when(confirm(TOTAL - 1)).then_expect_error(OrderRejection::NotCovered { covered: eur(TOTAL - 1), total: eur(TOTAL) });
}

#[test]
fn an_order_does_not_expire_while_a_payment_is_under_way() {
    order(vec![opened(1)]).when(expire()).then_expect_error(OrderRejection::PaymentInProgress { payment_id: id(1) });
    order(vec![opened(1), closed(1, "voided")]).when(expire()).then_expect_events(vec![expired()]);
    order(vec![confirmed()]).when(expire()).then_expect_error(OrderRejection::WrongStatus { status: "confirmed" });
}

#[test]
fn late_money_revives_an_expired_order() {
    let reinstate = OrderCommand::Reinstate { payment_id: id(1), covered_by: cover(TOTAL) };
    let reinstated = OrderEvent::OrderReinstated(OrderReinstated { payment_id: id(1) });
    order(vec![expired()]).when(reinstate.clone()).then_expect_events(vec![reinstated.clone(), confirmed()]);
    assert_eq!(fold(vec![placed(facts()), expired(), reinstated, confirmed()]).status(), "confirmed");
    order(vec![]).when(reinstate).then_expect_error(OrderRejection::WrongStatus { status: "pending_payment" });
}

#[test]
fn an_order_is_cancelled_until_something_has_left() {
    let cancel = || OrderCommand::Cancel { reason: "changed_mind".to_owned(), by: "shopper".to_owned() };
    let cancelled = OrderEvent::OrderCancelled(OrderCancelled { reason: "changed_mind".to_owned(), by: "shopper".to_owned() });
    for given in [vec![], vec![confirmed()]] {
        order(given).when(cancel()).then_expect_events(vec![cancelled.clone()]);
    }
    // The attempt that is under way is given up with it.
    order(vec![opened(1)]).when(cancel()).then_expect_events(vec![closed(1, "cancelled"), cancelled.clone()]);
    order(vec![cancelled]).when(cancel()).then_expect_events(vec![]);
    order(vec![confirmed(), shipped(1, 1, 1)]).when(cancel()).then_expect_error(OrderRejection::Shipped);
    order(vec![expired()]).when(cancel()).then_expect_error(OrderRejection::WrongStatus { status: "expired" });
}

#[test]
fn only_what_is_left_of_a_line_can_be_cancelled() {
    let left = fold(vec![placed(facts()), confirmed(), shipped(1, 1, 2)]);
    assert_eq!(
        left.decide(OrderCommand::CancelLines(cancel_lines(&[(1, 2)]))),
        Err(OrderRejection::NotCancellable { line_id: id(1), cancellable: 1 })
    );
    let order = fold(vec![placed(facts()), confirmed()]);
    assert_eq!(
        order.decide(OrderCommand::CancelLines(cancel_lines(&[(1, 4)]))),
        Err(OrderRejection::NotCancellable { line_id: id(1), cancellable: 3 })
    );
    assert_eq!(order.decide(OrderCommand::CancelLines(cancel_lines(&[(9, 1)]))), Err(OrderRejection::LineNotFound { line_id: id(9) }));
    assert_eq!(order.decide(OrderCommand::CancelLines(cancel_lines(&[]))), Err(OrderRejection::QuantityZero));
}

#[test]
fn cancelling_the_last_units_cancels_the_order() {
    let mut order = fold(vec![placed(facts()), confirmed()]);
    for lines in [&[(1, 1)][..], &[(1, 2)]] {
        let events = order.decide(OrderCommand::CancelLines(cancel_lines(lines))).unwrap();
        assert_eq!(events.len(), 1);
        for event in events {
            order.apply(&event);
        }
    }
    let events = order.decide(OrderCommand::CancelLines(cancel_lines(&[(2, 2)]))).unwrap();
    assert_eq!(events[1].name(), "OrderCancelled");
    for event in events {
        order.apply(&event);
    }
    assert_eq!(order.status(), "cancelled");
}

#[test]
fn an_order_on_hold_is_not_completed() {
    let held = OrderEvent::OrderHeld(OrderHeld { reason: "fraud_review".to_owned() });
    let released = OrderEvent::OrderReleased(OrderReleased { reason: "reviewed".to_owned() });
    let completed = OrderEvent::OrderCompleted(OrderCompleted {});
    let wish = OrderCommand::Hold { reason: "fraud_review".to_owned() };
    order(vec![confirmed()]).when(wish.clone()).then_expect_events(vec![held.clone()]);
    order(vec![confirmed(), held.clone()]).when(wish.clone()).then_expect_events(vec![]);
    order(vec![]).when(wish.clone()).then_expect_events(vec![held.clone()]);
    order(vec![expired()]).when(wish).then_expect_error(OrderRejection::WrongStatus { status: "expired" });
    order(vec![confirmed(), held.clone()]).when(OrderCommand::Complete).then_expect_error(OrderRejection::OnHold);
    order(vec![confirmed(), held.clone()])
        .when(OrderCommand::Release { reason: "reviewed".to_owned() })
        .then_expect_events(vec![released.clone()]);
    order(vec![confirmed(), held, released]).when(OrderCommand::Complete).then_expect_events(vec![completed]);
}

#[test]
fn only_what_differs_in_a_contact_is_corrected() {
    let email = Personal::Known("ada@example.org".to_owned());
    let corrected = OrderContactCorrected { email: Some(email.clone()), ..OrderContactCorrected::default() };
    let wish = OrderContactCorrected { shipping_address: Some(Personal::Known(Address::default())), ..corrected.clone() };
    let event = OrderEvent::OrderContactCorrected(Box::new(corrected));
    order(vec![]).when(OrderCommand::CorrectContact(Box::new(wish.clone()))).then_expect_events(vec![event.clone()]);
    order(vec![event.clone()]).when(OrderCommand::CorrectContact(Box::new(wish))).then_expect_events(vec![]);
    let order = fold(vec![placed(facts()), event]);
    assert_eq!(order.placed().unwrap().facts.email, email);
    // What was left empty is corrected, too, and is known from then on.
    let filled_in = OrderContactCorrected {
        phone: Some(Personal::Known("+49 30 1234".to_owned())),
        billing_address: Some(Personal::Known(Address::default())),
        ..OrderContactCorrected::default()
    };
    for wish in [OrderContactCorrected { billing_address: None, ..filled_in.clone() }, filled_in] {
        let mut order = order.clone();
        let events = order.decide(OrderCommand::CorrectContact(Box::new(wish.clone()))).unwrap();
        assert_eq!(events, [OrderEvent::OrderContactCorrected(Box::new(wish.clone()))]);
        order.apply(&events[0]);
        let facts = &order.placed().unwrap().facts;
        assert_eq!((&facts.phone, &facts.billing_address), (&wish.phone, &wish.billing_address));
        assert_eq!(order.decide(OrderCommand::CorrectContact(Box::new(wish))), Ok(vec![]));
    }
}

#[test]
fn a_completed_order_still_says_what_covered_it() {
    let order = fold(vec![placed(facts()), confirmed(), OrderEvent::OrderCompleted(OrderCompleted {})]);
    assert_eq!(order.placed().unwrap().stage, OrderStage::Completed { covered_by: cover(TOTAL) });
}

#[test]
fn an_order_is_its_own_partition() {
    assert_eq!(Order::default().partition_key("o-1"), "o-1");
}

#[test]
fn an_order_survives_its_snapshot() {
    let order = fold(vec![placed(facts()), opened(1), closed(1, "authorized"), confirmed()]);
    let json = serde_json::to_string(&order).unwrap();
    assert_eq!(serde_json::from_str::<Order>(&json).unwrap(), order);
}

proptest! {
    #[test]
    fn cancellations_sum_to_exactly_the_line(unit in 0..100_000_i64, cuts in prop::collection::vec(1..20_u32, 1..8)) {
        let facts = order_of(&[(unit, cuts.iter().sum()), (100, 1)]);
        let line = facts.lines[0].clone();
        let total = facts.totals.total;
        let mut order = fold(vec![placed(facts)]);
        for cut in cuts {
            for event in order.decide(OrderCommand::CancelLines(cancel_lines(&[(1, cut)]))).unwrap() {
                order.apply(&event);
            }
        }
        let order = order.placed().unwrap();
        let cancelled = &order.cancelled[&line.line_id];
        prop_assert_eq!((cancelled.net, cancelled.tax, cancelled.gross), (line.net, line.tax, line.gross));
        prop_assert_eq!(order.amount_owed().unwrap(), total.minus(line.gross).unwrap());
    }
}

#[test]
fn what_is_confirmed_and_not_on_hold_leaves_once_and_no_more_than_was_ordered() {
    let ship = |fulfilment: u128, line: u128, quantity: u32| OrderCommand::Ship {
        fulfilment_id: id(fulfilment),
        lines: BTreeMap::from([(id(line), quantity)]),
        tracking: None,
    };
    order(vec![confirmed()]).when(ship(1, 1, 2)).then_expect_events(vec![shipped(1, 1, 2)]);
    order(vec![confirmed(), shipped(1, 1, 2)]).when(ship(1, 1, 2)).then_expect_events(vec![]);
    order(vec![confirmed(), shipped(1, 1, 2)])
        .when(ship(2, 1, 2))
        .then_expect_error(OrderRejection::NotShippable { line_id: id(1), shippable: 1 });
    order(vec![confirmed()]).when(ship(1, 1, 0)).then_expect_error(OrderRejection::QuantityZero);
    order(vec![]).when(ship(1, 1, 1)).then_expect_error(OrderRejection::WrongStatus { status: "pending_payment" });
    let held = OrderEvent::OrderHeld(OrderHeld { reason: "fraud".to_owned() });
    order(vec![confirmed(), held]).when(ship(1, 1, 1)).then_expect_error(OrderRejection::OnHold);

    let status = |events: Vec<OrderEvent>| {
        let events = [placed(facts()), confirmed()].into_iter().chain(events).collect();
        fold(events).placed().unwrap().fulfilment_status().as_str()
    };
    let delivered = |n: u128| OrderEvent::OrderShipmentDelivered(OrderShipmentDelivered { fulfilment_id: id(n) });
    let rest = facts().lines[1..].iter().map(|line| ShippedLine { line_id: line.line_id, quantity: line.quantity }).collect();
    let all =
        vec![shipped(1, 1, 3), OrderEvent::OrderLinesShipped(OrderLinesShipped { fulfilment_id: id(2), lines: rest, tracking: None })];
    assert_eq!(status(vec![]), "unfulfilled");
    assert_eq!(status(vec![shipped(1, 1, 1), delivered(1)]), "partially_fulfilled");
    assert_eq!(status(all.clone()), "fulfilled");
    assert_eq!(status([all, vec![delivered(1), delivered(2)]].concat()), "delivered");
    order(vec![confirmed(), shipped(1, 1, 1)]).when(OrderCommand::Deliver { fulfilment_id: id(1) }).then_expect_events(vec![delivered(1)]);
    order(vec![confirmed()])
        .when(OrderCommand::Deliver { fulfilment_id: id(9) })
        .then_expect_error(OrderRejection::ShipmentNotFound { fulfilment_id: id(9) });
}
