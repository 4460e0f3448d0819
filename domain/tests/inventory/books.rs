//! Whatever is asked of it in whatever order, the books of an item are right.

use std::collections::BTreeMap;

use domain::id::{AllocationId, FulfilmentId, HoldId, LineId, LocationId, OrderId, ReceiptId, TransferId};
use domain::inventory::{
    Part, Reserve, SafetyStock, StockCommand, StockEvent, StockItem, StockPolicy, StockReturned, StockTransferDispatched,
    StockTransferReceived,
};
use proptest::prelude::*;
use proptest::sample::Index;
use uuid::Uuid;

use crate::{SHELF, at, fold, id, owner, received, reserve};

fn any_policy() -> impl Strategy<Value = StockPolicy> {
    prop_oneof![
        Just(StockPolicy::Deny),
        prop::option::of(0..6_u32).prop_map(|limit| StockPolicy::Backorder { limit }),
        (0..6_u32).prop_map(|limit| StockPolicy::Preorder { limit: Some(limit) }),
    ]
}

/// Valid and not; each is of a few ids, so that they meet.
fn any_command() -> impl Strategy<Value = StockCommand> {
    let location = || (1..4_u128).prop_map(id::<LocationId>);
    let few = || 0..12_u32;
    let n = || 1..8_u128;
    prop_oneof![
        (location(), few()).prop_map(|(location_id, quantity)| StockCommand::Receive {
            receipt_id: ReceiptId::from(Uuid::nil()),
            location_id,
            quantity,
            unit_cost: None
        }),
        (location(), 0..12_u32).prop_map(|(location_id, counted)| StockCommand::Count {
            location_id,
            counted,
            reason: "stocktaking".to_owned()
        }),
        (location(), -5..5_i64).prop_map(|(location_id, delta)| StockCommand::Adjust {
            location_id,
            delta,
            reason: "found".to_owned(),
            note: None
        }),
        (n(), n(), few(), prop::option::of(0..30_i64), 0..30_i64).prop_map(|(hold, of, quantity, expires, now)| {
            StockCommand::Reserve(Reserve {
                hold_id: id(hold),
                owner: owner(of),
                quantity,
                expires_at: expires.map(at),
                allocation_order: vec![id(1), id(2), id(3)],
                now: at(now),
            })
        }),
        (n(), 0..60_i64, 0..30_i64).prop_map(|(hold, expires, now)| {
            StockCommand::ExtendReservation { hold_id: id(hold), expires_at: at(expires), now: at(now) }
        }),
        n().prop_map(|hold| StockCommand::ReleaseReservation { hold_id: id(hold), reason: "x".to_owned() }),
        (0..40_i64).prop_map(|now| StockCommand::ExpireReservations { now: at(now) }),
        (n(), n()).prop_map(|(allocation, hold)| StockCommand::Allocate {
            allocation_id: id(allocation),
            hold_id: id(hold),
            order_id: OrderId::from(Uuid::nil()),
            line_id: LineId::from(Uuid::nil())
        }),
        (n(), prop::option::of(few())).prop_map(|(allocation, quantity)| {
            StockCommand::ReleaseAllocation { allocation_id: id(allocation), quantity, reason: "x".to_owned() }
        }),
        (n(), few(), any::<bool>()).prop_map(|(allocation, quantity, forced)| StockCommand::Ship {
            allocation_id: id(allocation),
            fulfilment_id: FulfilmentId::from(Uuid::nil()),
            quantity,
            forced
        }),
        (n(), location(), location(), few(), any::<bool>()).prop_map(|(transfer, from, to, quantity, at_once)| {
            let transfer = StockTransferDispatched { transfer_id: id(transfer), from, to, quantity };
            if at_once { StockCommand::Transfer(transfer) } else { StockCommand::DispatchTransfer(transfer) }
        }),
        (n(), location(), location(), few()).prop_map(|(transfer, from, to, quantity)| {
            let transfer_id = id(transfer);
            StockCommand::Transfer(StockTransferDispatched { transfer_id, from, to, quantity })
        }),
        (n(), few(), 0..3_u32).prop_map(|(transfer, received, lost)| {
            let transfer_id: TransferId = id(transfer);
            StockCommand::ReceiveTransfer(StockTransferReceived { transfer_id, received, lost })
        }),
        (location(), few(), any::<bool>()).prop_map(|(location_id, quantity, sellable)| {
            let condition = if sellable { "sellable" } else { "damaged" }.to_owned();
            let (return_id, order_id, line_id) = (id(1), OrderId::from(Uuid::nil()), LineId::from(Uuid::nil()));
            StockCommand::Return(StockReturned { return_id, order_id, line_id, location_id, quantity, condition })
        }),
        (location(), 0..4_u32, any_policy(), prop::option::of(0..9_u32)).prop_map(
            |(location_id, quantity, policy, low_stock_threshold)| {
                StockCommand::ChangePolicy { policy, safety: vec![SafetyStock { location_id, quantity }], low_stock_threshold }
            }
        ),
        any_policy().prop_map(|policy| StockCommand::Open { policy, low_stock_threshold: None }),
    ]
}

/// The levels say what the holds and the allocations say.
fn assert_levels_match(item: &StockItem) {
    let mut promised: BTreeMap<LocationId, (i64, i64, i64)> = BTreeMap::new();
    let holds = item.holds.values().flat_map(|hold| &hold.parts).map(|part| (part, true));
    let allocations = item.allocations.values().flat_map(|a| &a.parts).map(|part| (part, false));
    for (part, is_hold) in holds.chain(allocations) {
        let sums = promised.entry(part.location_id).or_default();
        let units = i64::from(part.quantity);
        if is_hold {
            sums.0 += units;
        } else {
            sums.1 += units;
        }
        sums.2 += if part.backordered { units } else { 0 };
    }
    for (location_id, level) in item.levels.iter() {
        let sums = promised.remove(location_id).unwrap_or_default();
        assert_eq!((level.reserved, level.allocated, level.backordered), sums);
        assert!(level.on_hand >= 0 && level.incoming >= 0 && level.safety >= 0, "{level:?}");
    }
    assert!(promised.is_empty());
}

/// The ledger by hand: what lies at each location and what is on the way there, event by event.
#[derive(Default)]
struct Ledger {
    shelves: BTreeMap<LocationId, (i64, i64)>,
    moving: BTreeMap<TransferId, (LocationId, u32)>,
}

impl Ledger {
    fn enter(&mut self, event: &StockEvent) {
        let parts: &[Part] = match event {
            StockEvent::StockReserved(e) => &e.parts,
            StockEvent::AllocationReleased(e) => &e.parts,
            StockEvent::StockShipped(e) => &e.parts,
            _ => &[],
        };
        assert!(parts.iter().all(|part| part.quantity > 0), "a part is of something: {event:?}");
        let mut add = |location_id, units: i64| self.shelves.entry(location_id).or_default().0 += units;
        match event {
            StockEvent::StockReceived(e) => add(e.location_id, i64::from(e.quantity)),
            StockEvent::StockAdjusted(e) => add(e.location_id, e.delta),
            StockEvent::StockCounted(e) => {
                add(e.location_id, i64::from(e.counted) - i64::from(e.previous));
                assert_eq!(self.shelves[&e.location_id].0, i64::from(e.counted), "a count says what the books had");
            }
            StockEvent::StockReturned(e) if e.condition == "sellable" => add(e.location_id, i64::from(e.quantity)),
            StockEvent::StockShipped(e) => e.parts.iter().for_each(|part| add(part.location_id, -i64::from(part.quantity))),
            StockEvent::StockTransferDispatched(e) => {
                add(e.from, -i64::from(e.quantity));
                self.shelves.entry(e.to).or_default().1 += i64::from(e.quantity);
                self.moving.insert(e.transfer_id, (e.to, e.quantity));
            }
            StockEvent::StockTransferReceived(e) => {
                let (to, quantity) = self.moving.remove(&e.transfer_id).expect("only what is on its way arrives");
                assert_eq!(e.received + e.lost, quantity);
                add(to, i64::from(e.received));
                self.shelves.entry(to).or_default().1 -= i64::from(quantity);
            }
            _ => {}
        }
    }

    fn assert_closes(&self, item: &StockItem) {
        for (location_id, level) in item.levels.iter() {
            let entered = self.shelves.get(location_id).copied().unwrap_or_default();
            assert_eq!((level.on_hand, level.incoming), entered, "{location_id}");
        }
        assert!(self.shelves.keys().all(|known| item.levels.iter().any(|(location_id, _)| location_id == known)));
    }
}

/// How far below nothing a sale may go.
fn limit(policy: StockPolicy) -> i64 {
    match policy {
        StockPolicy::Deny => 0,
        StockPolicy::Backorder { limit } | StockPolicy::Preorder { limit } => i64::from(limit.unwrap_or(u32::MAX)),
    }
}

/// No command promises what isn't there: only what somebody finds, or decides, makes less of it.
fn assert_not_oversold(before: &StockItem, command: &StockCommand, events: &[StockEvent], after: &StockItem) {
    let (had, has) = (before.available(), after.available());
    if events.iter().any(|event| matches!(event, StockEvent::StockReserved(_))) {
        assert!(has >= -limit(after.policy), "{command:?} sold from {had} to {has}");
    }
    match command {
        StockCommand::Count { .. } | StockCommand::Adjust { .. } | StockCommand::ChangePolicy { .. } => return,
        StockCommand::DispatchTransfer(transfer) => {
            // Its own location gives only what is free there, though another one may owe more than is left.
            assert!(events.is_empty() || after.levels.at(transfer.from).available() >= 0);
        }
        StockCommand::Transfer(_) => assert_eq!(had, has, "what is moved at once is there before and after"),
        StockCommand::Reserve(_) => assert!(has >= 0 || has >= had || has >= -limit(after.policy)),
        _ => assert!(has >= had, "{command:?} took from {had} to {has}"),
    }
    let short = events.iter().find(|event| matches!(event, StockEvent::StockShortfall(_)));
    assert!(short.is_none(), "{command:?} broke a promise");
}

fn crossings(events: &[StockEvent]) -> (usize, usize, usize) {
    let count = |matches: fn(&StockEvent) -> bool| events.iter().filter(|event| matches(event)).count();
    (
        count(|event| matches!(event, StockEvent::LowStockReached(_))),
        count(|event| matches!(event, StockEvent::OutOfStock(_))),
        count(|event| matches!(event, StockEvent::BackInStock(_))),
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn any_sequence_of_commands_keeps_the_books(commands in prop::collection::vec(any_command(), 1..60)) {
        let mut item = fold(vec![]);
        let mut log = Vec::new();
        let mut ledger = Ledger::default();
        let mut stocked = false;
        for command in commands {
            let before = item.clone();
            let Ok(events) = item.decide(command.clone()) else { continue };
            let was_stocked = stocked;
            for event in &events {
                item.apply(event);
                ledger.enter(event);
                // Also between two events of one decision: what a hold gives up before it is replaced was there.
                stocked |= item.available() > 0;
            }
            log.extend(events.clone());
            assert_levels_match(&item);
            ledger.assert_closes(&item);
            assert_not_oversold(&before, &command, &events, &item);
            let (had, has, low) = (before.available(), item.available(), i64::from(item.low_stock_threshold));
            let expected = (
                usize::from(had > low && has <= low),
                usize::from(had > 0 && has <= 0),
                usize::from(had <= 0 && has > 0 && was_stocked),
            );
            prop_assert_eq!(crossings(&events), expected, "{:?}", command);
        }
        prop_assert_eq!(&fold(log), &item);
        let json = serde_json::to_string(&item).unwrap();
        prop_assert_eq!(serde_json::from_str::<StockItem>(&json).unwrap(), item);
    }
}

proptest! {
    /// What is obtainable is what a reservation gets, to the unit.
    #[test]
    fn a_wish_is_granted_exactly_if_it_is_obtainable(commands in prop::collection::vec(any_command(), 1..40), of in 1..8_u128, now in 0..40_i64) {
        let mut item = fold(vec![]);
        for command in commands {
            for event in item.decide(command).unwrap_or_default() {
                item.apply(&event);
            }
        }
        let wish = |quantity| Reserve { quantity, owner: owner(of), now: at(now), hold_id: id(99), ..reserve(99, 1) };
        let obtainable = u32::try_from(item.obtainable(&wish(1))).unwrap_or(u32::MAX);
        if obtainable > 0 {
            let granted = item.decide(StockCommand::Reserve(wish(obtainable))).unwrap();
            let parts = granted.iter().find_map(|event| if let StockEvent::StockReserved(reserved) = event { Some(&reserved.parts) } else { None });
            prop_assert_eq!(parts.unwrap().iter().map(|part| part.quantity).sum::<u32>(), obtainable);
        }
        if obtainable < u32::MAX {
            let refused = item.decide(StockCommand::Reserve(wish(obtainable + 1))).map_err(|refusal| refusal.code());
            prop_assert_eq!(refused, Err("insufficient_stock"));
        }
    }

    /// Whatever order the events of several histories are read in, nothing panics.
    #[test]
    fn every_event_is_believed(commands in prop::collection::vec(any_command(), 1..60), order in prop::collection::vec(any::<Index>(), 1..80)) {
        let mut item = fold(vec![]);
        let mut log = Vec::new();
        for command in commands {
            for event in item.decide(command).unwrap_or_default() {
                item.apply(&event);
                log.push(event);
            }
        }
        let mut other = StockItem::default();
        for index in order.iter().filter(|_| !log.is_empty()) {
            other.apply(index.get(&log));
        }
        let _ = (other.available(), other.decide(StockCommand::ExpireReservations { now: at(99) }));
    }

    #[test]
    fn however_many_try_no_unit_is_sold_twice(stock in 0..20_u32, wishes in prop::collection::vec(1..5_u32, 1..30)) {
        let mut item = fold(if stock > 0 { vec![received(SHELF, stock)] } else { vec![] });
        let mut sold = 0;
        for (n, wish) in (1..).zip(wishes) {
            if let Ok(events) = item.decide(StockCommand::Reserve(reserve(n, wish))) {
                for event in &events {
                    item.apply(event);
                }
                let allocation_id: AllocationId = id(n);
                let hold_id: HoldId = id(n);
                let allocate =
                    StockCommand::Allocate { allocation_id, hold_id, order_id: id(n), line_id: id(1) };
                for event in item.decide(allocate).unwrap() {
                    item.apply(&event);
                }
                sold += wish;
            } else {
                prop_assert!(sold + wish > stock);
            }
        }
        prop_assert!(sold <= stock);
    }
}
