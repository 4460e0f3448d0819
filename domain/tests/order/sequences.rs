//! Whatever is done to an order in whatever order: it is paid once, and its parts sum to the whole.

use std::collections::BTreeSet;

use domain::order::{CancelLines, Cover, Order, OrderCommand, OrderContactCorrected, OrderEvent, OrderStage, PlacedOrder};
use domain::personal::Personal;
use proptest::prelude::*;
use proptest::sample::Index;

use crate::{cancel_lines, eur, facts, id, order_of, place, placed};

/// The order has three lines: what they cost in parts doesn't come out even.
fn wanted() -> domain::order::OrderPlaced {
    order_of(&[(1999, 3), (501, 7), (1, 2)])
}

fn any_command() -> impl Strategy<Value = OrderCommand> {
    let payment = || 1..5_u128;
    let cover =
        || prop_oneof![2 => Just(10_000_i64), 1 => 0..8000_i64].prop_map(|amount| vec![Cover { tender_id: id(1), amount: eur(amount) }]);
    let reason = || "any".to_owned();
    let lines = prop::collection::btree_map(1..5_u128, 0..4_u32, 0..4);
    let some_lines = lines.clone().prop_map(|lines| lines.into_iter().map(|(n, units)| (id(n), units)).collect());
    let cancel = lines.prop_map(|lines| {
        let lines: Vec<_> = lines.into_iter().collect();
        OrderCommand::CancelLines(CancelLines { ..cancel_lines(&lines) })
    });
    let email = prop_oneof![Just("ada@example.com"), Just("ada@example.org")];
    let contact = email
        .prop_map(|email| OrderContactCorrected { email: Some(Personal::Known(email.to_owned())), ..OrderContactCorrected::default() });
    prop_oneof![
        1 => Just(place(wanted())),
        3 => (payment(), 1..8000_i64).prop_map(|(n, amount)| OrderCommand::OpenPayment { payment_id: id(n), amount: eur(amount) }),
        3 => payment().prop_map(|n| OrderCommand::ClosePayment { payment_id: id(n), outcome: "failed".to_owned() }),
        2 => cover().prop_map(|covered_by| OrderCommand::Confirm { covered_by }),
        1 => Just(OrderCommand::Expire { reason: reason() }),
        2 => (payment(), cover()).prop_map(|(n, covered_by)| OrderCommand::Reinstate { payment_id: id(n), covered_by }),
        6 => cancel,
        1 => Just(OrderCommand::Cancel { reason: reason(), by: "shopper".to_owned() }),
        1 => Just(OrderCommand::Hold { reason: reason() }),
        1 => Just(OrderCommand::Release { reason: reason() }),
        1 => contact.prop_map(|contact| OrderCommand::CorrectContact(Box::new(contact))),
        5 => (1..4_u128, some_lines).prop_map(|(n, lines)| OrderCommand::Ship { fulfilment_id: id(n), lines, tracking: None }),
        1 => (1..4_u128).prop_map(|n| OrderCommand::Deliver { fulfilment_id: id(n) }),
        1 => Just(OrderCommand::Complete),
    ]
}

fn assert_adds_up(order: &PlacedOrder) {
    let mut cancelled = 0;
    for line in &order.facts.lines {
        let (left, gone) = (order.shipped_units(line.line_id), order.cancelled_units(line.line_id));
        assert_eq!(left + gone + order.unshipped_units(line.line_id), line.quantity, "a unit is here, has left or was cancelled");
        let Some(part) = order.cancelled.get(&line.line_id) else { continue };
        cancelled += part.gross.amount();
        assert_eq!(part.net.plus(part.tax), Ok(part.gross));
        let share = |of: domain::money::Money| of.of_units(line.quantity, 0, part.quantity).unwrap();
        assert_eq!((part.tax, part.gross), (share(line.tax), share(line.gross)), "parts sum to what all their units are worth");
    }
    assert!(order.cancelled.keys().all(|line_id| order.line(*line_id).is_some()));
    let owed = order.amount_owed().unwrap();
    assert_eq!(owed.amount(), order.facts.totals.total.amount() - cancelled);
    assert!(!owed.is_negative());
}

fn assert_one_attempt(before: Option<&PlacedOrder>, after: &PlacedOrder) {
    let live = |order: &PlacedOrder| order.live_payment.as_ref().map(|live| live.payment_id);
    if let (Some(was), Some(is)) = (before.and_then(live), live(after)) {
        assert_eq!(was, is, "an attempt is closed before another one is opened");
    }
    assert!(live(after).is_none() || !matches!(after.stage, OrderStage::Expired { .. }), "what may yet bring money doesn't expire");
    let attempts: BTreeSet<_> = after.payments.iter().collect();
    assert_eq!(attempts.len(), after.payments.len(), "an attempt is counted once");
    assert!(live(after).is_none_or(|live| attempts.contains(&live)));
}

/// The stages follow each other as they may, and what was placed stays.
fn assert_in_order(before: &PlacedOrder, after: &PlacedOrder) {
    use OrderStage::{Cancelled, Completed, Confirmed, Expired, PendingPayment};
    match (&before.stage, &after.stage) {
        (PendingPayment, PendingPayment | Expired { .. })
        | (PendingPayment | Confirmed { .. }, Cancelled { .. })
        | (Confirmed { .. }, Confirmed { .. } | Completed { .. })
        | (Completed { .. }, Completed { .. })
        | (Cancelled { .. }, Cancelled { .. })
        | (Expired { .. }, Expired { .. }) => {}
        (PendingPayment | Expired { .. }, Confirmed { covered_by }) => {
            let covered: i64 = covered_by.iter().map(|cover| cover.amount.amount()).sum();
            assert!(covered >= after.amount_owed().unwrap().amount(), "what is confirmed is covered");
        }
        (from, to) => panic!("{from:?} became {to:?}"),
    }
    if !matches!(before.stage, PendingPayment | Confirmed { .. }) {
        assert_eq!(before.cancelled, after.cancelled);
    }
    if before.on_hold.is_some() || !matches!(before.stage, Confirmed { .. }) {
        let all = |order: &PlacedOrder| order.facts.lines.iter().map(|line| order.shipped_units(line.line_id)).sum::<u32>();
        assert_eq!(all(before), all(after), "only what is confirmed and not on hold leaves");
    }
    assert!(!matches!(after.stage, Cancelled { .. }) || after.shipments.is_empty());
    let facts = |order: &PlacedOrder| domain::order::OrderPlaced { email: Personal::Erased, ..order.facts.clone() };
    assert_eq!(facts(before), facts(after), "an order is what was placed");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn any_sequence_of_commands_keeps_an_order_whole(commands in prop::collection::vec(any_command(), 1..50)) {
        let mut order = Order::default();
        let mut log = Vec::new();
        for command in [vec![place(wanted())], commands].concat() {
            let before = order.clone();
            let Ok(events) = order.decide(command) else { continue };
            for event in &events {
                order.apply(event);
            }
            log.extend(events);
            let after = order.placed().unwrap();
            assert_adds_up(after);
            assert_one_attempt(before.placed(), after);
            if let Some(before) = before.placed() {
                assert_in_order(before, after);
            }
        }
        let mut again = Order::default();
        for event in &log {
            again.apply(event);
        }
        prop_assert_eq!(&again, &order);
        let json = serde_json::to_string(&order).unwrap();
        prop_assert_eq!(serde_json::from_str::<Order>(&json).unwrap(), order);
    }

    /// Whatever order events are read in, also before their order is placed, nothing panics.
    #[test]
    fn every_event_is_believed(commands in prop::collection::vec(any_command(), 1..40), sequence in prop::collection::vec(any::<Index>(), 1..60)) {
        let mut order = Order::default();
        let mut log = vec![placed(facts())];
        for command in commands {
            for event in order.decide(command).unwrap_or_default() {
                order.apply(&event);
                log.push(event);
            }
        }
        let mut other = Order::default();
        for index in &sequence {
            other.apply(index.get::<OrderEvent>(&log));
        }
        let _ = (other.placed().map(PlacedOrder::amount_owed), other.decide(OrderCommand::Complete));
    }
}
