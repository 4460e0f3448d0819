//! Orders, from placing to the last unit.

use std::collections::BTreeMap;

use domain::id::{LineId, TenderId};
use domain::money::Money;
use domain::order::{
    CancelLines, CancelledLine, Cover, FulfilmentStatus, Order, OrderCancelled, OrderCommand, OrderCompleted, OrderConfirmed,
    OrderContactCorrected, OrderEvent, OrderExpired, OrderHeld, OrderLinesCancelled, OrderLinesShipped, OrderPaymentClosed,
    OrderPaymentOpened, OrderPlaced, OrderReinstated, OrderRejection, OrderReleased, OrderShipmentDelivered, OrderStage, PAY_LATER,
    PlacedOrder, ShippedLine,
};
use domain::personal::Personal;

use crate::{Table, check_reached, eur, id};

variants!(OrderCommand:
    Place, OpenPayment, ClosePayment, Confirm, Expire, Reinstate, CancelLines, Cancel, Hold, Release, CorrectContact, Ship,
    Deliver, Complete,
);
variants!(OrderRejection:
    NotFound, Exists, NoLines, TotalsWrong, TendersWrong, WrongStatus, PaymentInProgress, NotCovered, LineNotFound, NotCancellable,
    Shipped, NotShippable, ShipmentNotFound, QuantityZero, OnHold, Money,
);
variants!(FulfilmentStatus: Unfulfilled, PartiallyFulfilled, Fulfilled, Delivered, Cancelled);
variants!(OrderStage: PendingPayment, Confirmed, Completed, Cancelled, Expired);

/// An order of 3 units of one line and a parcel, 56.18 EUR. Attempt 1 is the live one where there is
/// one, and failed in `failed` and `expired`. One unit is cancelled in `part_cancelled`; shipment 1 is of
/// one unit in `sent_one`, else of all three.
const TABLE: &str = "
placed = pending pending_held live failed confirmed confirmed_live held released part_cancelled sent_one sent delivered completed cancelled expired reinstated
waiting = pending pending_held live failed
in_hand = confirmed confirmed_live held released part_cancelled reinstated
leaving = sent_one sent delivered
over = completed cancelled expired

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
    OrderPaymentOpened                                         | placed but live confirmed_live completed cancelled expired reinstated
    -                                                          | live confirmed_live reinstated
    order_status                                               | over

OpenPayment 2
    order_not_found                                            | absent
    OrderPaymentOpened                                         | placed but live confirmed_live completed cancelled expired reinstated
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
    -                                                          | sent_one sent delivered in_hand
    order_status                                               | over

Confirm, covered but for a cent
    order_not_found                                            | absent
    order_not_covered                                          | waiting
    -                                                          | sent_one sent delivered in_hand
    order_status                                               | over

Expire
    order_not_found                                            | absent
    OrderExpired                                               | waiting but live
    payment_in_progress                                        | live
    order_status                                               | placed but pending pending_held live failed expired
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
    OrderLinesCancelled                                        | pending pending_held live failed sent_one in_hand
    line_not_cancellable                                       | sent delivered
    order_status                                               | over

CancelLines, 2 units
    order_not_found                                            | absent
    OrderLinesCancelled                                        | confirmed confirmed_live held released sent_one reinstated waiting
    OrderLinesCancelled OrderCancelled                         | part_cancelled
    line_not_cancellable                                       | sent delivered
    order_status                                               | over

CancelLines, 3 units
    order_not_found                                            | absent
    OrderLinesCancelled OrderCancelled                         | confirmed held released waiting but live
    OrderLinesCancelled OrderPaymentClosed OrderCancelled      | live confirmed_live reinstated
    line_not_cancellable                                       | part_cancelled leaving
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
    order_shipped                                              | leaving
    order_status                                               | completed expired
    -                                                          | cancelled

Hold
    order_not_found                                            | absent
    OrderHeld                                                  | placed but pending_held held completed cancelled expired
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

Ship 1 unit as 7
    order_not_found                                            | absent
    order_status                                               | completed cancelled expired waiting
    OrderLinesShipped                                          | sent_one in_hand but held
    order_on_hold                                              | held
    line_not_shippable                                         | sent delivered

Ship 2 units as 7
    order_not_found                                            | absent
    order_status                                               | completed cancelled expired waiting
    OrderLinesShipped                                          | sent_one in_hand but held
    order_on_hold                                              | held
    line_not_shippable                                         | sent delivered

Ship 3 units as 7
    order_not_found                                            | absent
    order_status                                               | completed cancelled expired waiting
    OrderLinesShipped                                          | in_hand but held part_cancelled
    order_on_hold                                              | held
    line_not_shippable                                         | part_cancelled leaving

Ship 0 units as 7
    order_not_found                                            | absent
    order_status                                               | completed cancelled expired waiting
    quantity_zero                                              | sent_one sent delivered in_hand but held
    order_on_hold                                              | held

Ship no line as 7
    order_not_found                                            | absent
    order_status                                               | completed cancelled expired waiting
    line_not_found                                             | sent_one sent delivered in_hand but held
    order_on_hold                                              | held

Ship nothing as 7
    order_not_found                                            | absent
    order_status                                               | completed cancelled expired waiting
    quantity_zero                                              | sent_one sent delivered in_hand but held
    order_on_hold                                              | held

Ship 1 unit as 1
    order_not_found                                            | absent
    order_status                                               | cancelled expired waiting
    OrderLinesShipped                                          | in_hand but held
    order_on_hold                                              | held
    -                                                          | completed leaving

Deliver 1
    order_not_found                                            | absent
    shipment_not_found                                         | placed but sent_one sent delivered completed
    OrderShipmentDelivered                                     | sent_one sent
    -                                                          | delivered completed

Deliver 7
    order_not_found                                            | absent
    shipment_not_found                                         | placed

Complete
    order_not_found                                            | absent
    order_status                                               | cancelled expired waiting
    OrderCompleted                                             | sent_one sent delivered in_hand but held
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
    let ship = |quantity| {
        let lines = vec![ShippedLine { line_id: line(), quantity }];
        OrderEvent::OrderLinesShipped(OrderLinesShipped { fulfilment_id: id(1), lines, tracking: None })
    };
    let (ship_one, ship_all) = (ship(1), ship(3));
    let deliver = OrderEvent::OrderShipmentDelivered(OrderShipmentDelivered { fulfilment_id: id(1) });
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
        ("sent_one", after(&[&place, &open, &authorized, &confirm, &ship_one])),
        ("sent", after(&[&place, &open, &authorized, &confirm, &ship_all])),
        ("delivered", after(&[&place, &open, &authorized, &confirm, &ship_all, &deliver])),
        ("completed", after(&[&place, &open, &authorized, &confirm, &ship_all, &deliver, &complete])),
        ("cancelled", after(&[&place, &cancel])),
        ("expired", after(&[&place, &open, &failed, &expire])),
        ("reinstated", after(&[&place, &open, &failed, &expire, &reinstate, &confirm])),
    ]
}

fn commands() -> Vec<(&'static str, OrderCommand)> {
    use OrderCommand::{
        Cancel, ClosePayment, Complete, Confirm, CorrectContact, Deliver, Expire, Hold, OpenPayment, Place, Reinstate, Release, Ship,
    };
    let place = |change: fn(&mut OrderPlaced)| {
        let mut facts = facts();
        change(&mut facts);
        Place(Box::new(facts))
    };
    let open = |n, amount| OpenPayment { payment_id: id(n), amount: eur(amount) };
    let close = |n| ClosePayment { payment_id: id(n), outcome: "failed".to_owned() };
    let ship = |n, line_id, units| Ship { fulfilment_id: id(n), lines: BTreeMap::from([(line_id, units)]), tracking: None };
    let cancel_lines = |line_id, units| {
        OrderCommand::CancelLines(CancelLines {
            cancellation_id: id(7),
            lines: BTreeMap::from([(line_id, units)]),
            reason: "changed_mind".to_owned(),
            note: None,
            by: "shopper".to_owned(),
        })
    };
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
        ("CancelLines, 1 unit", cancel_lines(line(), 1)),
        ("CancelLines, 2 units", cancel_lines(line(), 2)),
        ("CancelLines, 3 units", cancel_lines(line(), 3)),
        ("CancelLines, 0 units", cancel_lines(line(), 0)),
        ("CancelLines of no line", cancel_lines(id(9), 1)),
        ("Cancel", Cancel { reason: "changed_mind".to_owned(), by: "shopper".to_owned() }),
        ("Hold", Hold { reason: "fraud_review".to_owned() }),
        ("Release", Release { reason: "reviewed".to_owned() }),
        ("CorrectContact", email("ada@example.org")),
        ("CorrectContact to what it is", email("ada@example.com")),
        ("Ship 1 unit as 7", ship(7, line(), 1)),
        ("Ship 2 units as 7", ship(7, line(), 2)),
        ("Ship 3 units as 7", ship(7, line(), 3)),
        ("Ship 0 units as 7", ship(7, line(), 0)),
        ("Ship no line as 7", ship(7, id(9), 1)),
        ("Ship nothing as 7", Ship { fulfilment_id: id(7), lines: BTreeMap::new(), tracking: None }),
        ("Ship 1 unit as 1", ship(1, line(), 1)),
        ("Deliver 1", Deliver { fulfilment_id: id(1) }),
        ("Deliver 7", Deliver { fulfilment_id: id(7) }),
        ("Complete", Complete),
    ]
}

#[test]
fn an_order_in_every_state() {
    check_reached(states().into_iter().filter_map(|(_, order)| order.placed().map(|order| order.stage.clone())));
    check_reached(states().into_iter().filter_map(|(_, order)| order.placed().map(PlacedOrder::fulfilment_status)));
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
