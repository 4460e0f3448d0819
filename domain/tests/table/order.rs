//! Orders, from placing to the last unit.

use std::collections::BTreeMap;

use domain::id::{LineId, TenderId};
use domain::money::Money;
use domain::order::{
    CancelLines, CancelledLine, Cover, Order, OrderCancelled, OrderCommand, OrderCompleted, OrderConfirmed, OrderContactCorrected,
    OrderEvent, OrderExpired, OrderHeld, OrderLinesCancelled, OrderPaymentClosed, OrderPaymentOpened, OrderPlaced, OrderReinstated,
    OrderRejection, OrderReleased, OrderStage, PAY_LATER,
};
use domain::personal::Personal;

use crate::{Table, check_reached, eur, id};

variants!(OrderCommand:
    Place, OpenPayment, ClosePayment, Confirm, Expire, Reinstate, CancelLines, Cancel, Hold, Release, CorrectContact, Complete,
);
variants!(OrderRejection:
    NotFound, Exists, NoLines, TotalsWrong, TendersWrong, WrongStatus, PaymentInProgress, NotCovered, LineNotFound, NotCancellable,
    Shipped, QuantityZero, OnHold, Money,
);
variants!(OrderStage: PendingPayment, Confirmed, Completed, Cancelled, Expired);

/// An order of 3 units of one line and a parcel, 56.18 EUR. Attempt 1 is the live one where there is
/// one, and failed in `failed` and `expired`. One unit is cancelled in `part_cancelled`.
const TABLE: &str = "
waiting = pending pending_held live failed
in_hand = confirmed confirmed_live held released part_cancelled reinstated
over = completed cancelled expired
placed = pending pending_held live failed confirmed confirmed_live held released part_cancelled completed cancelled expired reinstated

Place
    OrderPlaced                                                | absent
    order_exists                                               | placed

Place to be paid later
    OrderPlaced OrderConfirmed                                 | absent
    order_exists                                               | placed

Place without lines
    order_without_lines                                        | absent
    order_exists                                               | placed

Place with a total that isn't the sum
    totals_wrong                                               | absent
    order_exists                                               | placed

Place without a tender
    tenders_wrong                                              | absent
    order_exists                                               | placed

Place with a line in yen
    currency_mismatch                                          | absent
    order_exists                                               | placed

OpenPayment 1
    order_not_found                                            | absent
    OrderPaymentOpened                                         | confirmed held released part_cancelled waiting but live
    -                                                          | live confirmed_live reinstated
    order_status                                               | over

OpenPayment 2
    order_not_found                                            | absent
    OrderPaymentOpened                                         | confirmed held released part_cancelled waiting but live
    payment_in_progress                                        | live confirmed_live reinstated
    order_status                                               | over

ClosePayment 1
    order_not_found                                            | absent
    -                                                          | placed but live confirmed_live reinstated
    OrderPaymentClosed                                         | live confirmed_live reinstated

ClosePayment 2
    order_not_found                                            | absent
    -                                                          | placed

Confirm, covered
    order_not_found                                            | absent
    OrderConfirmed                                             | waiting
    -                                                          | in_hand
    order_status                                               | over

Confirm, covered but for a cent
    order_not_found                                            | absent
    order_not_covered                                          | waiting
    -                                                          | in_hand
    order_status                                               | over

Expire
    order_not_found                                            | absent
    OrderExpired                                               | waiting but live
    payment_in_progress                                        | live
    order_status                                               | completed cancelled in_hand
    -                                                          | expired

Reinstate by payment 1
    order_not_found                                            | absent
    order_status                                               | placed but expired
    OrderReinstated OrderConfirmed                             | expired

Reinstate by a part
    order_not_found                                            | absent
    order_status                                               | placed but expired
    order_not_covered                                          | expired

CancelLines, 1 unit
    order_not_found                                            | absent
    OrderLinesCancelled                                        | placed but completed cancelled expired
    order_status                                               | over

CancelLines, 2 units
    order_not_found                                            | absent
    OrderLinesCancelled                                        | placed but part_cancelled completed cancelled expired
    OrderLinesCancelled OrderCancelled                         | part_cancelled
    order_status                                               | over

CancelLines, 3 units
    order_not_found                                            | absent
    OrderLinesCancelled OrderCancelled                         | confirmed held released waiting but live
    OrderLinesCancelled OrderPaymentClosed OrderCancelled      | live confirmed_live reinstated
    line_not_cancellable                                       | part_cancelled
    order_status                                               | over

CancelLines, 2 units, when 2 have left
    order_not_found                                            | absent
    line_not_cancellable                                       | placed but completed cancelled expired
    order_status                                               | over

CancelLines, 0 units
    order_not_found                                            | absent
    quantity_zero                                              | placed but completed cancelled expired
    order_status                                               | over

CancelLines of no line
    order_not_found                                            | absent
    line_not_found                                             | placed but completed cancelled expired
    order_status                                               | over

Cancel
    order_not_found                                            | absent
    OrderCancelled                                             | confirmed held released part_cancelled waiting but live
    OrderPaymentClosed OrderCancelled                          | live confirmed_live reinstated
    order_status                                               | completed expired
    -                                                          | cancelled

Cancel when one unit has left
    order_not_found                                            | absent
    order_shipped                                              | placed but completed cancelled expired
    order_status                                               | completed expired
    -                                                          | cancelled

Hold
    order_not_found                                            | absent
    OrderHeld                                                  | pending live failed in_hand but held
    -                                                          | pending_held held
    order_status                                               | over

Release
    order_not_found                                            | absent
    -                                                          | placed but pending_held held
    OrderReleased                                              | pending_held held

CorrectContact
    order_not_found                                            | absent
    OrderContactCorrected                                      | placed

CorrectContact to what it is
    order_not_found                                            | absent
    -                                                          | placed

Complete
    order_not_found                                            | absent
    order_status                                               | cancelled expired waiting
    OrderCompleted                                             | in_hand but held
    order_on_hold                                              | held
    -                                                          | completed
";

/// The golden order.
fn facts() -> OrderPlaced {
    serde_json::from_str(include_str!("../../golden/OrderPlaced.v1.json")).unwrap()
}

fn line() -> LineId {
    facts().lines[0].line_id
}

fn tender() -> TenderId {
    facts().tenders[0].tender_id
}

fn cover(amount: i64) -> Vec<Cover> {
    vec![Cover { tender_id: tender(), amount: eur(amount) }]
}

const TOTAL: i64 = 5618;

fn states() -> Vec<(&'static str, Order)> {
    let place = OrderEvent::OrderPlaced(Box::new(facts()));
    let open = OrderEvent::OrderPaymentOpened(OrderPaymentOpened { payment_id: id(1), amount: eur(TOTAL) });
    let close = |outcome: &str| OrderEvent::OrderPaymentClosed(OrderPaymentClosed { payment_id: id(1), outcome: outcome.to_owned() });
    let confirm = OrderEvent::OrderConfirmed(OrderConfirmed { covered_by: cover(TOTAL) });
    let hold = OrderEvent::OrderHeld(OrderHeld { reason: "fraud_review".to_owned() });
    let release = OrderEvent::OrderReleased(OrderReleased { reason: "reviewed".to_owned() });
    let part = OrderEvent::OrderLinesCancelled(OrderLinesCancelled {
        cancellation_id: id(1),
        lines: vec![CancelledLine { line_id: line(), quantity: 1, net: eur(1436), tax: eur(273), gross: eur(1709) }],
        reason: "changed_mind".to_owned(),
        note: None,
    });
    let complete = OrderEvent::OrderCompleted(OrderCompleted {});
    let cancel = OrderEvent::OrderCancelled(OrderCancelled { reason: "changed_mind".to_owned(), by: "shopper".to_owned() });
    let expire = OrderEvent::OrderExpired(OrderExpired { reason: "payment_deadline".to_owned() });
    let reinstate = OrderEvent::OrderReinstated(OrderReinstated { payment_id: id(1) });
    let after = |events: &[&OrderEvent]| {
        let mut order = Order::default();
        for event in events {
            order.apply(event);
        }
        order
    };
    let (authorized, failed) = (close("authorized"), close("failed"));
    vec![
        ("absent", after(&[])),
        ("pending", after(&[&place])),
        ("pending_held", after(&[&place, &hold])),
        ("live", after(&[&place, &open])),
        ("failed", after(&[&place, &open, &failed])),
        ("confirmed", after(&[&place, &open, &authorized, &confirm])),
        ("confirmed_live", after(&[&place, &open, &confirm])),
        ("held", after(&[&place, &open, &authorized, &confirm, &hold])),
        ("released", after(&[&place, &open, &authorized, &confirm, &hold, &release])),
        ("part_cancelled", after(&[&place, &open, &authorized, &confirm, &part])),
        ("completed", after(&[&place, &open, &authorized, &confirm, &complete])),
        ("cancelled", after(&[&place, &cancel])),
        ("expired", after(&[&place, &open, &failed, &expire])),
        ("reinstated", after(&[&place, &open, &failed, &expire, &reinstate, &confirm])),
    ]
}

fn commands() -> Vec<(&'static str, OrderCommand)> {
    use OrderCommand::{Cancel, ClosePayment, Complete, Confirm, CorrectContact, Expire, Hold, OpenPayment, Place, Reinstate, Release};
    let place = |change: fn(&mut OrderPlaced)| {
        let mut facts = facts();
        change(&mut facts);
        Place(Box::new(facts))
    };
    let open = |n, amount| OpenPayment { payment_id: id(n), amount: eur(amount) };
    let close = |n| ClosePayment { payment_id: id(n), outcome: "failed".to_owned() };
    let shipped = |units| BTreeMap::from([(line(), units)]);
    let cancel_lines = |line_id, units, left| {
        OrderCommand::CancelLines(CancelLines {
            cancellation_id: id(7),
            lines: BTreeMap::from([(line_id, units)]),
            shipped: shipped(left),
            reason: "changed_mind".to_owned(),
            note: None,
            by: "shopper".to_owned(),
        })
    };
    let cancel = |left| Cancel { reason: "changed_mind".to_owned(), by: "shopper".to_owned(), shipped: shipped(left) };
    let email = |email: &str| {
        CorrectContact(Box::new(OrderContactCorrected {
            email: Some(Personal::Known(email.to_owned())),
            ..OrderContactCorrected::default()
        }))
    };
    vec![
        ("Place", place(|_| {})),
        ("Place to be paid later", place(|facts| facts.terms = PAY_LATER.into())),
        ("Place without lines", place(|facts| facts.lines.clear())),
        ("Place with a total that isn't the sum", place(|facts| facts.totals.total = eur(1))),
        ("Place without a tender", place(|facts| facts.tenders.clear())),
        ("Place with a line in yen", place(|facts| facts.lines[0].gross = Money::new(5128, "JPY".parse().unwrap()).unwrap())),
        ("OpenPayment 1", open(1, TOTAL)),
        ("OpenPayment 2", open(2, TOTAL)),
        ("ClosePayment 1", close(1)),
        ("ClosePayment 2", close(2)),
        ("Confirm, covered", Confirm { covered_by: cover(TOTAL) }),
        ("Confirm, covered but for a cent", Confirm { covered_by: cover(TOTAL - 1) }),
        ("Expire", Expire { reason: "payment_deadline".to_owned() }),
        ("Reinstate by payment 1", Reinstate { payment_id: id(1), covered_by: cover(TOTAL) }),
        ("Reinstate by a part", Reinstate { payment_id: id(1), covered_by: cover(1) }),
        ("CancelLines, 1 unit", cancel_lines(line(), 1, 0)),
        ("CancelLines, 2 units", cancel_lines(line(), 2, 0)),
        ("CancelLines, 3 units", cancel_lines(line(), 3, 0)),
        ("CancelLines, 2 units, when 2 have left", cancel_lines(line(), 2, 2)),
        ("CancelLines, 0 units", cancel_lines(line(), 0, 0)),
        ("CancelLines of no line", cancel_lines(id(9), 1, 0)),
        ("Cancel", cancel(0)),
        ("Cancel when one unit has left", cancel(1)),
        ("Hold", Hold { reason: "fraud_review".to_owned() }),
        ("Release", Release { reason: "reviewed".to_owned() }),
        ("CorrectContact", email("ada@example.org")),
        ("CorrectContact to what it is", email("ada@example.com")),
        ("Complete", Complete),
    ]
}

#[test]
fn an_order_in_every_state() {
    check_reached(states().into_iter().filter_map(|(_, order)| order.placed().map(|order| order.stage.clone())));
    Table {
        text: TABLE,
        states: states(),
        commands: commands(),
        decide: Order::decide,
        code: OrderRejection::code,
        events_elsewhere: &[],
        refusals_elsewhere: &[],
    }
    .check();
}
