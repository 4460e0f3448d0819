//! Whatever is asked of it in whatever order, the books of an item are right.

use std::collections::BTreeMap;

use domain::id::{AllocationId, FulfilmentId, HoldId, LineId, LocationId, OrderId, ReceiptId, TransferId};
use domain::inventory::{
    Reserve, SafetyStock, StockCommand, StockEvent, StockItem, StockPolicy, StockTransferDispatched, StockTransferReceived,
};
use proptest::prelude::*;
use uuid::Uuid;

use crate::{SHELF, at, fold, id, owner, received, reserve};

fn any_command() -> impl Strategy<Value = StockCommand> {
    let location = || (1..4_u128).prop_map(id::<LocationId>);
    let few = || 1..12_u32;
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
        (n(), location(), location(), few()).prop_map(|(transfer, from, to, quantity)| {
            let transfer_id = id(transfer);
            StockCommand::DispatchTransfer(StockTransferDispatched { transfer_id, from, to, quantity })
        }),
        (n(), few(), 0..3_u32).prop_map(|(transfer, received, lost)| {
            let transfer_id: TransferId = id(transfer);
            StockCommand::ReceiveTransfer(StockTransferReceived { transfer_id, received, lost })
        }),
        (location(), 0..4_u32).prop_map(|(location_id, quantity)| StockCommand::ChangePolicy {
            policy: StockPolicy::Deny,
            safety: vec![SafetyStock { location_id, quantity }],
            low_stock_threshold: None
        }),
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

/// Whether a command sells: such a one never promises what isn't there.
const fn sells(command: &StockCommand) -> bool {
    matches!(command, StockCommand::Reserve(_) | StockCommand::Allocate { .. } | StockCommand::Ship { .. })
}

/// Whether a command may find that a promise can't be kept.
const fn counts(command: &StockCommand) -> bool {
    matches!(command, StockCommand::Count { .. } | StockCommand::Adjust { .. } | StockCommand::ChangePolicy { .. })
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
        let mut ever = false;
        for command in commands {
            let before = item.available();
            let Ok(events) = item.decide(command.clone()) else { continue };
            for event in &events {
                item.apply(event);
            }
            assert_levels_match(&item);
            let now = item.available();
            if sells(&command) && !events.is_empty() {
                prop_assert!(now >= 0 || now >= before, "{command:?} took from {before} to {now}");
            }
            if !counts(&command) {
                let short = events.iter().find(|event| matches!(event, StockEvent::StockShortfall(_)));
                prop_assert!(short.is_none(), "{command:?} broke a promise");
            }
            let expected = (
                usize::from(before > 5 && now <= 5),
                usize::from(before > 0 && now <= 0),
                usize::from(before <= 0 && now > 0 && ever),
            );
            prop_assert_eq!(crossings(&events), expected);
            ever |= now > 0;
            log.extend(events);
        }
        prop_assert_eq!(&fold(log), &item);
        let json = serde_json::to_string(&item).unwrap();
        prop_assert_eq!(serde_json::from_str::<StockItem>(&json).unwrap(), item);
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
