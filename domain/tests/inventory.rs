//! Stock: promises that are kept, and the ledger that explains every number.

use chrono::{DateTime, Duration, Utc};
use cqrs_es::test::TestFramework;
use domain::inventory::{
    BackInStock, HoldOwner, LowStockReached, OutOfStock, Part, ReservationExpired, ReservationReleased, Reserve, SafetyStock,
    StockAdjusted, StockAllocated, StockCommand, StockEvent, StockItem, StockItemOpened, StockPolicy, StockReceived, StockRejection,
    StockReserved, StockReturned, StockShipped, StockShortfall, StockTransferDispatched, StockTransferReceived,
};
use uuid::Uuid;

#[path = "inventory/books.rs"]
mod books;

fn id<T: From<Uuid>>(n: u128) -> T {
    T::from(Uuid::from_u128(n))
}

fn at(minute: i64) -> DateTime<Utc> {
    DateTime::UNIX_EPOCH + Duration::minutes(minute)
}

const SHELF: u128 = 1;
const CELLAR: u128 = 2;

fn opened(policy: StockPolicy) -> StockEvent {
    StockEvent::StockItemOpened(StockItemOpened { policy, low_stock_threshold: None })
}

fn received(location: u128, quantity: u32) -> StockEvent {
    let location_id = id(location);
    StockEvent::StockReceived(StockReceived { receipt_id: id(1), location_id, quantity, unit_cost: None })
}

fn receive(location: u128, quantity: u32) -> StockCommand {
    let location_id = id(location);
    StockCommand::Receive { receipt_id: id(1), location_id, quantity, unit_cost: None }
}

fn part(location: u128, quantity: u32) -> Part {
    Part { location_id: id(location), quantity, backordered: false }
}

fn backordered(location: u128, quantity: u32) -> Part {
    Part { backordered: true, ..part(location, quantity) }
}

fn owner(n: u128) -> HoldOwner {
    HoldOwner::order(id(n), id(1))
}

/// Reserves for the n-th owner, from the shelf and then the cellar, without a clock.
fn reserve(n: u128, quantity: u32) -> Reserve {
    Reserve { hold_id: id(n), owner: owner(n), quantity, expires_at: None, allocation_order: vec![id(SHELF), id(CELLAR)], now: at(0) }
}

fn reserved(n: u128, parts: Vec<Part>, expires_at: Option<DateTime<Utc>>) -> StockEvent {
    StockEvent::StockReserved(StockReserved { hold_id: id(n), owner: owner(n), parts, expires_at })
}

fn allocated(n: u128, parts: Vec<Part>) -> StockEvent {
    StockEvent::StockAllocated(StockAllocated { allocation_id: id(n), hold_id: Some(id(n)), order_id: id(n), line_id: id(1), parts })
}

fn low(available: i64) -> StockEvent {
    StockEvent::LowStockReached(LowStockReached { available, threshold: 5 })
}

fn out() -> StockEvent {
    StockEvent::OutOfStock(OutOfStock {})
}

fn stock(events: Vec<StockEvent>) -> cqrs_es::test::AggregateTestExecutor<StockItem> {
    TestFramework::<StockItem>::with(()).given(vec![opened(StockPolicy::Deny)]).and(events)
}

fn fold(events: Vec<StockEvent>) -> StockItem {
    let mut item = StockItem::default();
    item.apply(&opened(StockPolicy::Deny));
    for event in events {
        item.apply(&event);
    }
    item
}

#[test]
fn stock_that_is_not_kept_can_not_be_reserved() {
    TestFramework::<StockItem>::with(())
        .given_no_previous_events()
        .when(StockCommand::Reserve(reserve(1, 1)))
        .then_expect_error(StockRejection::NotFound);
}

#[test]
fn a_first_receipt_is_not_back_in_stock() {
    stock(vec![]).when(receive(SHELF, 10)).then_expect_events(vec![received(SHELF, 10)]);
}

#[test]
fn a_reservation_takes_its_parts_in_the_order_of_locations() {
    stock(vec![received(CELLAR, 20), received(SHELF, 3)]).when(StockCommand::Reserve(reserve(1, 5))).then_expect_events(vec![reserved(
        1,
        vec![part(SHELF, 3), part(CELLAR, 2)],
        None,
    )]);
}

#[test]
fn a_location_named_twice_is_taken_from_once() {
    let mut wish = reserve(1, 5);
    wish.allocation_order = vec![id(SHELF), id(SHELF)];
    stock(vec![received(SHELF, 3), received(CELLAR, 20)])
        .when(StockCommand::Reserve(wish))
        .then_expect_error(StockRejection::InsufficientStock { available: 3 });
}

#[test]
fn reserving_more_than_available_is_refused_with_what_there_is() {
    stock(vec![received(SHELF, 3), reserved(1, vec![part(SHELF, 1)], None)])
        .when(StockCommand::Reserve(reserve(2, 3)))
        .then_expect_error(StockRejection::InsufficientStock { available: 2 });
}

#[test]
fn the_same_reservation_twice_holds_once() {
    stock(vec![received(SHELF, 3), reserved(1, vec![part(SHELF, 2)], None)])
        .when(StockCommand::Reserve(reserve(1, 2)))
        .then_expect_events(vec![]);
}

#[test]
fn a_hold_of_another_size_under_the_same_id_is_refused() {
    stock(vec![received(SHELF, 3), reserved(1, vec![part(SHELF, 2)], None)])
        .when(StockCommand::Reserve(reserve(1, 3)))
        .then_expect_error(StockRejection::HoldExists { hold_id: id(1) });
}

#[test]
fn the_owner_of_a_hold_is_not_blocked_by_it() {
    let again = Reserve { hold_id: id(7), ..reserve(1, 3) };
    let released =
        StockEvent::ReservationReleased(ReservationReleased { hold_id: id(1), parts: vec![part(SHELF, 3)], reason: "replaced".to_owned() });
    let held = StockEvent::StockReserved(StockReserved { hold_id: id(7), owner: owner(1), parts: vec![part(SHELF, 3)], expires_at: None });
    stock(vec![received(SHELF, 3), reserved(1, vec![part(SHELF, 3)], None)])
        .when(StockCommand::Reserve(again))
        .then_expect_events(vec![released, held]);
}

#[test]
fn a_hold_that_is_dead_by_the_clock_of_the_command_is_expired_first() {
    let wish = Reserve { now: at(15), ..reserve(2, 3) };
    let expired = StockEvent::ReservationExpired(ReservationExpired { hold_id: id(1), parts: vec![part(SHELF, 3)] });
    stock(vec![received(SHELF, 3), reserved(1, vec![part(SHELF, 3)], Some(at(15)))])
        .when(StockCommand::Reserve(wish))
        .then_expect_events(vec![expired, reserved(2, vec![part(SHELF, 3)], None)]);
}

#[test]
fn a_hold_that_still_lives_is_in_the_way() {
    let wish = Reserve { now: at(14), ..reserve(2, 3) };
    stock(vec![received(SHELF, 3), reserved(1, vec![part(SHELF, 3)], Some(at(15)))])
        .when(StockCommand::Reserve(wish))
        .then_expect_error(StockRejection::InsufficientStock { available: 0 });
}

#[test]
fn a_dead_hold_can_not_be_extended() {
    let extend = |minute| StockCommand::ExtendReservation { hold_id: id(1), expires_at: at(60), now: at(minute) };
    let held = vec![received(SHELF, 3), reserved(1, vec![part(SHELF, 3)], Some(at(15)))];
    stock(held.clone()).when(extend(15)).then_expect_error(StockRejection::HoldExpired { hold_id: id(1) });
    let item = fold(held);
    assert_eq!(item.decide(extend(14)).unwrap().len(), 1);
}

#[test]
fn an_extended_hold_lives_on() {
    let mut item = fold(vec![received(SHELF, 3), reserved(1, vec![part(SHELF, 3)], Some(at(15)))]);
    let extend = StockCommand::ExtendReservation { hold_id: id(1), expires_at: at(60), now: at(1) };
    for event in item.decide(extend).unwrap() {
        item.apply(&event);
    }
    assert_eq!(item.decide(StockCommand::ExpireReservations { now: at(59) }), Ok(vec![]));
    assert_eq!(item.decide(StockCommand::ExpireReservations { now: at(60) }).unwrap().len(), 2);
}

#[test]
fn safety_stock_is_not_sold() {
    let safety = vec![SafetyStock { location_id: id(SHELF), quantity: 2 }];
    let mut item = fold(vec![received(SHELF, 3)]);
    let change = StockCommand::ChangePolicy { policy: StockPolicy::Deny, safety, low_stock_threshold: None };
    for event in item.decide(change.clone()).unwrap() {
        item.apply(&event);
    }
    assert_eq!(item.available(), 1);
    assert_eq!(item.decide(change), Ok(vec![]));
    assert_eq!(item.decide(StockCommand::Reserve(reserve(1, 2))), Err(StockRejection::InsufficientStock { available: 1 }));
}

#[test]
fn a_backorder_is_promised_up_to_its_limit_and_flagged() {
    let policy = StockPolicy::Backorder { limit: Some(4) };
    let given = vec![opened(policy), received(SHELF, 3)];
    TestFramework::<StockItem>::with(())
        .given(given.clone())
        .when(StockCommand::Reserve(reserve(1, 5)))
        .then_expect_events(vec![reserved(1, vec![part(SHELF, 3), backordered(SHELF, 2)], None), out()]);
    TestFramework::<StockItem>::with(())
        .given(given)
        .and(vec![reserved(1, vec![part(SHELF, 3), backordered(SHELF, 2)], None)])
        .when(StockCommand::Reserve(reserve(2, 3)))
        .then_expect_error(StockRejection::InsufficientStock { available: 2 });
}

#[test]
fn the_last_unit_for_two_shoppers_goes_to_one() {
    let mut item = fold(vec![received(SHELF, 1)]);
    for event in item.decide(StockCommand::Reserve(reserve(1, 1))).unwrap() {
        item.apply(&event);
    }
    assert_eq!(item.decide(StockCommand::Reserve(reserve(2, 1))), Err(StockRejection::InsufficientStock { available: 0 }));
}

#[test]
fn each_line_is_crossed_once() {
    stock(vec![received(SHELF, 10)])
        .when(StockCommand::Reserve(reserve(1, 5)))
        .then_expect_events(vec![reserved(1, vec![part(SHELF, 5)], None), low(5)]);
    stock(vec![received(SHELF, 10), reserved(1, vec![part(SHELF, 5)], None), low(5)])
        .when(StockCommand::Reserve(reserve(2, 4)))
        .then_expect_events(vec![reserved(2, vec![part(SHELF, 4)], None)]);
    stock(vec![received(SHELF, 10)]).when(StockCommand::Reserve(reserve(1, 10))).then_expect_events(vec![
        reserved(1, vec![part(SHELF, 10)], None),
        low(0),
        out(),
    ]);
}

#[test]
fn stock_that_comes_back_is_said_to_be_back() {
    let back = StockEvent::BackInStock(BackInStock { available: 2 });
    stock(vec![received(SHELF, 1), reserved(1, vec![part(SHELF, 1)], None), out()])
        .when(receive(CELLAR, 2))
        .then_expect_events(vec![received(CELLAR, 2), back]);
}

#[test]
fn a_hold_becomes_an_allocation_without_being_free_in_between() {
    let allocate = StockCommand::Allocate { allocation_id: id(1), hold_id: id(1), order_id: id(1), line_id: id(1) };
    let held = vec![received(SHELF, 1), reserved(1, vec![part(SHELF, 1)], None)];
    stock(held.clone()).when(allocate.clone()).then_expect_events(vec![allocated(1, vec![part(SHELF, 1)])]);
    let item = fold([held, vec![allocated(1, vec![part(SHELF, 1)])]].concat());
    assert!(item.holds.is_empty());
    assert_eq!(item.available(), 0);
    assert_eq!(item.decide(allocate), Ok(vec![]));
}

#[test]
fn a_hold_that_is_gone_can_not_be_allocated() {
    stock(vec![received(SHELF, 1)])
        .when(StockCommand::Allocate { allocation_id: id(1), hold_id: id(1), order_id: id(1), line_id: id(1) })
        .then_expect_error(StockRejection::HoldNotFound { hold_id: id(1) });
}

#[test]
fn a_hold_is_dead_from_the_very_instant_of_its_end() {
    let item = fold(vec![received(SHELF, 3), reserved(1, vec![part(SHELF, 2)], Some(at(10)))]);
    let again = |now| item.decide(StockCommand::Reserve(Reserve { quantity: 3, now, ..reserve(1, 3) }));
    assert_eq!(again(at(10) - Duration::seconds(1)), Err(StockRejection::HoldExists { hold_id: id(1) }));
    let expired = StockEvent::ReservationExpired(ReservationExpired { hold_id: id(1), parts: vec![part(SHELF, 2)] });
    assert_eq!(again(at(10)).unwrap()[..2], [expired.clone(), reserved(1, vec![part(SHELF, 3)], None)]);

    let of_its_owner = Reserve { owner: owner(1), now: at(10), ..reserve(2, 3) };
    assert_eq!(item.decide(StockCommand::Reserve(of_its_owner)).unwrap()[0], expired);

    let extend = |expires_at, now| item.decide(StockCommand::ExtendReservation { hold_id: id(1), expires_at, now });
    assert_eq!(extend(at(10), at(9)), Ok(vec![]), "it lasts as long already");
    assert_eq!(extend(at(11), at(10)), Err(StockRejection::HoldExpired { hold_id: id(1) }));
}

#[test]
fn parts_at_one_place_are_taken_one_after_the_other() {
    let parts = vec![part(SHELF, 2), part(SHELF, 4)];
    let mut item = fold(vec![received(SHELF, 6), reserved(1, parts.clone(), None), allocated(1, parts)]);
    item.apply(&shipped(5, false));
    assert_eq!(item.allocations[&id(1)].parts, [part(SHELF, 1)]);
}

#[test]
fn releasing_what_is_not_held_is_no_error() {
    stock(vec![received(SHELF, 1)])
        .when(StockCommand::ReleaseReservation { hold_id: id(1), reason: "cart_expired".to_owned() })
        .then_expect_events(vec![]);
}

#[test]
fn a_part_of_an_allocation_is_given_back_backorders_first() {
    let policy = StockPolicy::Backorder { limit: None };
    let mut item = StockItem::default();
    let parts = vec![part(SHELF, 3), backordered(SHELF, 2)];
    for event in [opened(policy), received(SHELF, 3), reserved(1, parts.clone(), None), allocated(1, parts)] {
        item.apply(&event);
    }
    let release = StockCommand::ReleaseAllocation { allocation_id: id(1), quantity: Some(3), reason: "lines_cancelled".to_owned() };
    let events = item.decide(release).unwrap();
    let StockEvent::AllocationReleased(released) = &events[0] else {
        panic!("{events:?}");
    };
    assert_eq!(released.parts, [backordered(SHELF, 2), part(SHELF, 1)]);
    for event in &events {
        item.apply(event);
    }
    assert_eq!(item.allocations[&id(1)].parts, [part(SHELF, 2)]);
    assert_eq!(item.available(), 1);
}

fn ship(quantity: u32, forced: bool) -> StockCommand {
    StockCommand::Ship { allocation_id: id(1), fulfilment_id: id(1), quantity, forced }
}

fn shipped(quantity: u32, forced: bool) -> StockEvent {
    StockEvent::StockShipped(StockShipped { allocation_id: id(1), fulfilment_id: id(1), parts: vec![part(SHELF, quantity)], forced })
}

#[test]
fn shipping_takes_from_the_shelf_what_was_allocated() {
    let given = vec![received(SHELF, 3), reserved(1, vec![part(SHELF, 2)], None), allocated(1, vec![part(SHELF, 2)])];
    stock(given.clone()).when(ship(1, false)).then_expect_events(vec![shipped(1, false)]);
    stock(given.clone()).when(ship(3, false)).then_expect_error(StockRejection::NotAllocated { allocated: 2 });
    let item = fold([given, vec![shipped(2, false)]].concat());
    assert!(item.allocations.is_empty());
    let level = item.levels.at(id(SHELF));
    assert_eq!((level.on_hand, level.allocated, item.available()), (1, 0, 1));
}

#[test]
fn what_the_books_do_not_have_ships_only_by_force_and_the_ledger_closes() {
    let short = vec![
        received(SHELF, 2),
        reserved(1, vec![part(SHELF, 2)], None),
        allocated(1, vec![part(SHELF, 2)]),
        StockEvent::StockAdjusted(StockAdjusted { location_id: id(SHELF), delta: -1, reason: "damaged".to_owned(), note: None }),
    ];
    stock(short.clone()).when(ship(2, false)).then_expect_error(StockRejection::NotOnHand { location_id: id(SHELF), on_hand: 1 });
    let correction =
        StockEvent::StockAdjusted(StockAdjusted { location_id: id(SHELF), delta: 1, reason: "forced_shipment".to_owned(), note: None });
    stock(short).when(ship(2, true)).then_expect_events(vec![correction, shipped(2, true)]);
}

#[test]
fn a_count_that_finds_less_than_was_promised_is_a_fact() {
    let count = StockCommand::Count { location_id: id(SHELF), counted: 1, reason: "stocktaking".to_owned() };
    let item = fold(vec![received(SHELF, 3), reserved(1, vec![part(SHELF, 3)], None)]);
    let events = item.decide(count).unwrap();
    let shortfall = StockEvent::StockShortfall(StockShortfall { quantity: 2, location_id: Some(id(SHELF)) });
    assert_eq!(events[1..], [shortfall]);
}

#[test]
fn nothing_is_sold_while_the_variant_owes_more_than_it_has() {
    let mut item = fold(vec![received(SHELF, 3), received(CELLAR, 1), reserved(1, vec![part(SHELF, 3)], None)]);
    let count = StockCommand::Count { location_id: id(SHELF), counted: 1, reason: "stocktaking".to_owned() };
    for event in item.decide(count).unwrap() {
        item.apply(&event);
    }
    assert_eq!(item.available(), -1);
    assert_eq!(item.decide(StockCommand::Reserve(reserve(2, 1))), Err(StockRejection::InsufficientStock { available: 0 }));
}

#[test]
fn a_return_goes_on_the_shelf_only_if_it_can_be_sold() {
    let returned = |condition: &str| StockReturned {
        return_id: id(1),
        order_id: id(1),
        line_id: id(1),
        location_id: id(SHELF),
        quantity: 1,
        condition: condition.to_owned(),
    };
    let after = |condition| fold(vec![StockEvent::StockReturned(returned(condition))]).available();
    assert_eq!((after("sellable"), after("damaged")), (1, 0));
}

#[test]
fn a_transfer_moves_only_what_nobody_was_promised() {
    let dispatch = |quantity| StockTransferDispatched { transfer_id: id(1), from: id(SHELF), to: id(CELLAR), quantity };
    let given = vec![received(SHELF, 10), reserved(1, vec![part(SHELF, 4)], None)];
    stock(given.clone())
        .when(StockCommand::DispatchTransfer(dispatch(7)))
        .then_expect_error(StockRejection::InsufficientStock { available: 6 });

    let mut item = fold(given);
    item.apply(&StockEvent::StockTransferDispatched(dispatch(6)));
    assert_eq!((item.available(), item.levels.at(id(CELLAR)).incoming), (0, 6));
    let arrive = |received, lost| StockCommand::ReceiveTransfer(StockTransferReceived { transfer_id: id(1), received, lost });
    assert_eq!(item.decide(arrive(5, 0)), Err(StockRejection::TransferQuantity { dispatched: 6 }));
    for event in item.decide(arrive(5, 1)).unwrap() {
        item.apply(&event);
    }
    let cellar = item.levels.at(id(CELLAR));
    assert_eq!((cellar.on_hand, cellar.incoming, item.available()), (5, 0, 5));
    assert_eq!(item.decide(arrive(5, 1)), Err(StockRejection::TransferNotFound { transfer_id: id(1) }));
}

#[test]
fn a_transfer_arrives_only_where_it_fits() {
    let dispatched = StockTransferDispatched { transfer_id: id(1), from: id(SHELF), to: id(CELLAR), quantity: 2 };
    let item = fold(vec![received(SHELF, 2), received(CELLAR, u32::MAX - 1), StockEvent::StockTransferDispatched(dispatched)]);
    let arrive = |received, lost| item.decide(StockCommand::ReceiveTransfer(StockTransferReceived { transfer_id: id(1), received, lost }));
    assert_eq!(arrive(2, 0), Err(StockRejection::QuantityTooLarge { max: i64::from(u32::MAX) }));
    assert!(arrive(1, 1).is_ok() && arrive(0, 2).is_ok());
}

#[test]
fn a_transfer_at_once_is_both_ends_and_crosses_no_line() {
    let transfer = StockTransferDispatched { transfer_id: id(1), from: id(SHELF), to: id(CELLAR), quantity: 6 };
    let arrived = StockTransferReceived { transfer_id: id(1), received: 6, lost: 0 };
    stock(vec![received(SHELF, 6)])
        .when(StockCommand::Transfer(transfer.clone()))
        .then_expect_events(vec![StockEvent::StockTransferDispatched(transfer.clone()), StockEvent::StockTransferReceived(arrived)]);
    stock(vec![received(SHELF, 6), reserved(1, vec![part(SHELF, 1)], None)])
        .when(StockCommand::Transfer(transfer.clone()))
        .then_expect_error(StockRejection::InsufficientStock { available: 5 });
    let back = StockTransferDispatched { to: id(SHELF), ..transfer };
    stock(vec![received(SHELF, 6)]).when(StockCommand::Transfer(back)).then_expect_error(StockRejection::TransferToItself);
}

#[test]
fn goods_on_their_way_are_not_sold_and_what_is_lost_of_them_never_comes() {
    let sent = StockTransferDispatched { transfer_id: id(1), from: id(SHELF), to: id(CELLAR), quantity: 6 };
    let dispatched = StockEvent::StockTransferDispatched(sent.clone());
    stock(vec![received(SHELF, 6)]).when(StockCommand::DispatchTransfer(sent)).then_expect_events(vec![dispatched.clone(), low(0), out()]);
    let arrived = StockTransferReceived { transfer_id: id(1), received: 4, lost: 2 };
    let item = fold(vec![received(SHELF, 6), dispatched, low(0), out()]);
    assert_eq!(item.decide(StockCommand::Reserve(reserve(1, 1))), Err(StockRejection::InsufficientStock { available: 0 }));
    let back = StockEvent::BackInStock(BackInStock { available: 4 });
    assert_eq!(item.decide(StockCommand::ReceiveTransfer(arrived.clone())).unwrap(), [StockEvent::StockTransferReceived(arrived), back]);
}

#[test]
fn what_is_counted_away_from_a_promise_is_a_shortfall_and_the_promise_stands() {
    let mut item = fold(vec![received(SHELF, 3), reserved(1, vec![part(SHELF, 3)], None), low(0), out()]);
    let count = |counted| StockCommand::Count { location_id: id(SHELF), counted, reason: "stocktaking".to_owned() };
    let short = |quantity| StockEvent::StockShortfall(StockShortfall { quantity, location_id: Some(id(SHELF)) });
    let events = item.decide(count(1)).unwrap();
    assert_eq!(events[1..], [short(2)]);
    for event in &events {
        item.apply(event);
    }
    // Said once: a count that finds the same again, or more, adds nothing to it.
    assert_eq!(item.decide(count(1)).unwrap().len(), 1);
    assert_eq!(item.decide(count(2)).unwrap().len(), 1);
    let allocate = StockCommand::Allocate { allocation_id: id(1), hold_id: id(1), order_id: id(1), line_id: id(1) };
    assert_eq!(item.decide(allocate).unwrap(), [allocated(1, vec![part(SHELF, 3)])]);
}

#[test]
fn a_preorder_is_promised_without_any_stock_and_what_comes_in_later_is_owed_first() {
    let mut item = StockItem::default();
    item.apply(&opened(StockPolicy::Preorder { limit: Some(3) }));
    let run = |item: &mut StockItem, command| -> Result<usize, StockRejection> {
        let events = item.decide(command)?;
        for event in &events {
            item.apply(event);
        }
        Ok(events.len())
    };
    assert_eq!(run(&mut item, StockCommand::Reserve(reserve(1, 2))), Ok(1));
    assert_eq!(run(&mut item, StockCommand::Reserve(reserve(2, 2))), Err(StockRejection::InsufficientStock { available: 1 }));
    run(&mut item, receive(CELLAR, 2)).unwrap();
    assert_eq!((item.available(), item.levels.at(id(SHELF)).backordered), (0, 2));
    assert_eq!(run(&mut item, StockCommand::Reserve(reserve(3, 4))), Err(StockRejection::InsufficientStock { available: 3 }));
}

#[test]
fn an_adjustment_needs_a_reason_and_leaves_no_negative_shelf() {
    let adjust = |delta, reason: &str| StockCommand::Adjust { location_id: id(SHELF), delta, reason: reason.to_owned(), note: None };
    stock(vec![received(SHELF, 3)]).when(adjust(1, " ")).then_expect_error(StockRejection::ReasonMissing);
    stock(vec![received(SHELF, 3)])
        .when(adjust(-4, "damaged"))
        .then_expect_error(StockRejection::NotOnHand { location_id: id(SHELF), on_hand: 3 });
    stock(vec![received(SHELF, 3)])
        .when(adjust(i64::MAX, "found"))
        .then_expect_error(StockRejection::QuantityTooLarge { max: i64::from(u32::MAX) });
}

#[test]
fn an_opened_item_is_not_opened_again() {
    stock(vec![]).when(StockCommand::Open { policy: StockPolicy::Deny, low_stock_threshold: None }).then_expect_events(vec![]);
}
