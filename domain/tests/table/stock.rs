//! Stock of one variant, from the first receipt to the last shipment.

use chrono::{DateTime, Duration, Utc};
use domain::inventory::{
    AllocationReleased, HoldOwner, Part, Reserve, SafetyStock, StockAllocated, StockCommand, StockCounted, StockEvent, StockItem,
    StockItemOpened, StockPolicy, StockReceived, StockRejection, StockReserved, StockReturned, StockShipped, StockTransferDispatched,
    StockTransferReceived,
};

use crate::{Table, id};

variants!(StockCommand:
    Open, ChangePolicy, Receive, Count, Adjust, Reserve, ExtendReservation, ReleaseReservation, ExpireReservations, Allocate,
    ReleaseAllocation, Ship, Return, DispatchTransfer, ReceiveTransfer, Transfer,
);
variants!(StockRejection:
    NotFound, InsufficientStock, QuantityZero, QuantityTooLarge, NotOnHand, ReasonMissing, LocationMissing, HoldExists, HoldNotFound,
    HoldExpired, AllocationNotFound, NotAllocated, TransferExists, TransferNotFound, TransferQuantity, TransferToItself,
);

/// It is minute 10. The shelf has 10 units where there are any, hold 1 is 4 of them for owner 1 (in
/// `cart_held` until minute 30, in `dead` until minute 5), allocation 1 is 4 units, transfer 1 takes 4 from the
/// shelf to the cellar. `backordered`: 2 are there, 5 may be promised beyond, hold 1 is 2 + 2;
/// `owing`: the same as an allocation. `short`: of the 4 that are allocated 3 were found.
const TABLE: &str = "
opened = empty in_stock held cart_held dead sold_out allocated sent_one shipped released moving moved backordered owing short

Open
    StockItemOpened                                            | absent
    -                                                          | opened

ChangePolicy to deny
    stock_not_found                                            | absent
    -                                                          | opened but backordered owing
    StockPolicyChanged                                         | backordered owing

ChangePolicy to preorder
    stock_not_found                                            | absent
    StockPolicyChanged                                         | opened

ChangePolicy to a higher threshold
    stock_not_found                                            | absent
    StockPolicyChanged                                         | opened

ChangePolicy to a safety stock of 8
    stock_not_found                                            | absent
    StockPolicyChanged                                         | empty
    StockPolicyChanged LowStockReached                         | in_stock released moved
    StockPolicyChanged StockShortfall LowStockReached OutOfStock | held cart_held dead allocated sent_one
    StockPolicyChanged StockShortfall                          | sold_out backordered owing short
    StockPolicyChanged LowStockReached OutOfStock              | shipped moving

Receive 5
    stock_not_found                                            | absent
    StockReceived                                              | opened but sold_out backordered owing short
    StockReceived BackInStock                                  | sold_out backordered owing short

Receive 0
    stock_not_found                                            | absent
    quantity_zero                                              | opened

Receive as many as fit beside 10
    stock_not_found                                            | absent
    StockReceived                                              | opened but sold_out backordered owing short
    StockReceived BackInStock                                  | sold_out backordered owing short

Receive more than fits
    stock_not_found                                            | absent
    StockReceived                                              | empty
    quantity_too_large                                         | opened but empty

Count 3
    stock_not_found                                            | absent
    StockCounted                                               | empty moved backordered owing short
    StockCounted LowStockReached                               | in_stock shipped released moving
    StockCounted StockShortfall LowStockReached OutOfStock     | held cart_held dead allocated
    StockCounted StockShortfall                                | sold_out
    StockCounted LowStockReached OutOfStock                    | sent_one

Count 20
    stock_not_found                                            | absent
    StockCounted                                               | opened but sold_out backordered owing short
    StockCounted BackInStock                                   | sold_out backordered owing short

Count without a reason
    stock_not_found                                            | absent
    reason_missing                                             | opened

Adjust by 2
    stock_not_found                                            | absent
    StockAdjusted                                              | opened but sold_out short
    StockAdjusted BackInStock                                  | sold_out short

Adjust by -2
    stock_not_found                                            | absent
    not_on_hand                                                | empty
    StockAdjusted                                              | in_stock released moved
    StockAdjusted LowStockReached                              | held cart_held dead allocated sent_one shipped moving
    StockAdjusted StockShortfall                               | sold_out backordered owing short

Adjust by -20
    stock_not_found                                            | absent
    not_on_hand                                                | opened

Adjust by 0
    stock_not_found                                            | absent
    quantity_zero                                              | opened

Adjust by more than fits
    stock_not_found                                            | absent
    quantity_too_large                                         | opened

Adjust without a reason
    stock_not_found                                            | absent
    reason_missing                                             | opened

Reserve 2 for owner 7
    stock_not_found                                            | absent
    insufficient_stock                                         | empty sold_out short
    StockReserved                                              | in_stock released moved backordered owing
    StockReserved LowStockReached                              | held cart_held allocated sent_one shipped moving
    ReservationExpired StockReserved                           | dead

Reserve 8 for owner 7
    stock_not_found                                            | absent
    insufficient_stock                                         | opened but in_stock dead released moved
    StockReserved LowStockReached                              | in_stock released moved
    ReservationExpired StockReserved LowStockReached           | dead

Reserve 20 for owner 7
    stock_not_found                                            | absent
    insufficient_stock                                         | opened

Reserve 0 for owner 7
    stock_not_found                                            | absent
    quantity_zero                                              | opened

Reserve nowhere
    stock_not_found                                            | absent
    location_missing                                           | opened

Reserve 4 for owner 1 as hold 1
    stock_not_found                                            | absent
    insufficient_stock                                         | empty owing short
    StockReserved                                              | in_stock released moved
    -                                                          | held cart_held backordered
    ReservationExpired StockReserved                           | dead
    hold_exists                                                | sold_out
    StockReserved LowStockReached                              | allocated sent_one shipped moving

Reserve 5 for owner 1 as hold 1
    stock_not_found                                            | absent
    insufficient_stock                                         | empty owing short
    StockReserved LowStockReached                              | in_stock allocated sent_one shipped released moving moved
    hold_exists                                                | held cart_held sold_out backordered
    ReservationExpired StockReserved LowStockReached           | dead

Reserve 8 for owner 1 as hold 7
    stock_not_found                                            | absent
    insufficient_stock                                         | opened but in_stock held cart_held dead sold_out released moved
    StockReserved LowStockReached                              | in_stock released moved
    ReservationReleased StockReserved LowStockReached          | held cart_held
    ReservationExpired StockReserved LowStockReached           | dead
    ReservationReleased StockReserved BackInStock              | sold_out

ExtendReservation 1 to minute 60
    stock_not_found                                            | absent
    hold_not_found                                             | opened but held cart_held dead sold_out backordered
    -                                                          | held sold_out backordered
    ReservationExtended                                        | cart_held
    hold_expired                                               | dead

ExtendReservation 1 to minute 20
    stock_not_found                                            | absent
    hold_not_found                                             | opened but held cart_held dead sold_out backordered
    -                                                          | held cart_held sold_out backordered
    hold_expired                                               | dead

ExtendReservation 9
    stock_not_found                                            | absent
    hold_not_found                                             | opened

ReleaseReservation 1
    stock_not_found                                            | absent
    -                                                          | opened but held cart_held dead sold_out backordered
    ReservationReleased                                        | held cart_held dead
    ReservationReleased BackInStock                            | sold_out backordered

ExpireReservations
    stock_not_found                                            | absent
    -                                                          | opened but dead
    ReservationExpired                                         | dead

Allocate hold 1 as allocation 1
    stock_not_found                                            | absent
    hold_not_found                                             | empty in_stock shipped released moving moved
    StockAllocated                                             | held cart_held dead sold_out backordered
    -                                                          | allocated sent_one owing short

Allocate hold 1 as allocation 7
    stock_not_found                                            | absent
    hold_not_found                                             | opened but held cart_held dead sold_out backordered
    StockAllocated                                             | held cart_held dead sold_out backordered

ReleaseAllocation 1
    stock_not_found                                            | absent
    -                                                          | opened but allocated sent_one owing short
    AllocationReleased                                         | allocated sent_one
    AllocationReleased BackInStock                             | owing short

ReleaseAllocation 1 by 2
    stock_not_found                                            | absent
    -                                                          | opened but allocated sent_one owing short
    AllocationReleased                                         | allocated sent_one owing
    AllocationReleased BackInStock                             | short

ReleaseAllocation 1 by 9
    stock_not_found                                            | absent
    -                                                          | opened but allocated sent_one owing short
    not_allocated                                              | allocated sent_one owing short

ReleaseAllocation 1 by 0
    stock_not_found                                            | absent
    -                                                          | opened but allocated sent_one owing short
    quantity_zero                                              | allocated sent_one owing short

Ship 3
    stock_not_found                                            | absent
    allocation_not_found                                       | opened but allocated sent_one owing short
    StockShipped                                               | allocated sent_one short
    not_on_hand                                                | owing

Ship 4
    stock_not_found                                            | absent
    allocation_not_found                                       | opened but allocated sent_one owing short
    StockShipped                                               | allocated
    not_allocated                                              | sent_one
    not_on_hand                                                | owing short

Ship 4 by force
    stock_not_found                                            | absent
    allocation_not_found                                       | opened but allocated sent_one owing short
    StockShipped                                               | allocated
    not_allocated                                              | sent_one
    StockAdjusted StockShipped                                 | owing short

Ship 9 by force
    stock_not_found                                            | absent
    allocation_not_found                                       | opened but allocated sent_one owing short
    not_allocated                                              | allocated sent_one owing short

Ship 0
    stock_not_found                                            | absent
    quantity_zero                                              | opened

Return 1 to sell
    stock_not_found                                            | absent
    StockReturned                                              | opened but sold_out
    StockReturned BackInStock                                  | sold_out

Return 1 damaged
    stock_not_found                                            | absent
    StockReturned                                              | opened

Return 0
    stock_not_found                                            | absent
    quantity_zero                                              | opened

DispatchTransfer 7 of 3
    stock_not_found                                            | absent
    insufficient_stock                                         | empty sold_out backordered owing short
    StockTransferDispatched                                    | in_stock released moved
    StockTransferDispatched LowStockReached                    | held cart_held dead allocated sent_one shipped moving

DispatchTransfer 7 of 8
    stock_not_found                                            | absent
    insufficient_stock                                         | opened but in_stock released
    StockTransferDispatched LowStockReached                    | in_stock released

DispatchTransfer 7 of 10
    stock_not_found                                            | absent
    insufficient_stock                                         | opened but in_stock released
    StockTransferDispatched LowStockReached OutOfStock         | in_stock released

DispatchTransfer 7 of 0
    stock_not_found                                            | absent
    quantity_zero                                              | opened

DispatchTransfer 7 to where it is
    stock_not_found                                            | absent
    transfer_to_itself                                         | opened

DispatchTransfer 1 of 3
    stock_not_found                                            | absent
    insufficient_stock                                         | empty sold_out backordered owing short
    StockTransferDispatched                                    | in_stock released moved
    StockTransferDispatched LowStockReached                    | held cart_held dead allocated sent_one shipped
    transfer_exists                                            | moving

ReceiveTransfer of 4
    stock_not_found                                            | absent
    transfer_not_found                                         | opened but moving
    StockTransferReceived                                      | moving

ReceiveTransfer of 3, one lost
    stock_not_found                                            | absent
    transfer_not_found                                         | opened but moving
    StockTransferReceived                                      | moving

ReceiveTransfer of 0, all lost
    stock_not_found                                            | absent
    transfer_not_found                                         | opened but moving
    StockTransferReceived                                      | moving

ReceiveTransfer of 3
    stock_not_found                                            | absent
    transfer_not_found                                         | opened but moving
    transfer_quantity                                          | moving

Transfer 7 of 3
    stock_not_found                                            | absent
    insufficient_stock                                         | empty sold_out backordered owing short
    StockTransferDispatched StockTransferReceived              | opened but empty sold_out backordered owing short

Transfer 7 of 0
    stock_not_found                                            | absent
    quantity_zero                                              | opened

Transfer 7 to where it is
    stock_not_found                                            | absent
    transfer_to_itself                                         | opened

Transfer 1 of 3
    stock_not_found                                            | absent
    insufficient_stock                                         | empty sold_out backordered owing short
    StockTransferDispatched StockTransferReceived              | in_stock held cart_held dead allocated sent_one shipped released moved
    transfer_exists                                            | moving
";

const SHELF: u128 = 1;
const CELLAR: u128 = 2;

fn at(minute: i64) -> DateTime<Utc> {
    DateTime::UNIX_EPOCH + Duration::minutes(minute)
}

fn now() -> DateTime<Utc> {
    at(10)
}

fn shelf(quantity: u32) -> Part {
    Part { location_id: id(SHELF), quantity, backordered: false }
}

fn owed(quantity: u32) -> Part {
    Part { backordered: true, ..shelf(quantity) }
}

fn owner(n: u128) -> HoldOwner {
    HoldOwner::order(id(n), id(1))
}

fn after(events: &[StockEvent]) -> StockItem {
    let mut item = StockItem::default();
    for event in events {
        item.apply(event);
    }
    item
}

fn states() -> Vec<(&'static str, StockItem)> {
    let open = |policy| StockEvent::StockItemOpened(StockItemOpened { policy, low_stock_threshold: None });
    let receive =
        |quantity| StockEvent::StockReceived(StockReceived { receipt_id: id(1), location_id: id(SHELF), quantity, unit_cost: None });
    let hold = |parts: &[Part], expires_at| {
        StockEvent::StockReserved(StockReserved { hold_id: id(1), owner: owner(1), parts: parts.to_vec(), expires_at })
    };
    let allocate = |parts: &[Part]| {
        let (allocation_id, hold_id) = (id(1), Some(id(1)));
        StockEvent::StockAllocated(StockAllocated { allocation_id, hold_id, order_id: id(1), line_id: id(1), parts: parts.to_vec() })
    };
    let ship = |quantity| {
        let parts = vec![shelf(quantity)];
        StockEvent::StockShipped(StockShipped { allocation_id: id(1), fulfilment_id: id(1), parts, forced: false })
    };
    let release = StockEvent::AllocationReleased(AllocationReleased {
        allocation_id: id(1),
        parts: vec![shelf(4)],
        reason: "order_cancelled".to_owned(),
    });
    let dispatch =
        StockEvent::StockTransferDispatched(StockTransferDispatched { transfer_id: id(1), from: id(SHELF), to: id(CELLAR), quantity: 4 });
    let arrive = StockEvent::StockTransferReceived(StockTransferReceived { transfer_id: id(1), received: 4, lost: 0 });
    let count =
        StockEvent::StockCounted(StockCounted { location_id: id(SHELF), counted: 3, previous: 10, reason: "stocktaking".to_owned() });
    let deny = || vec![open(StockPolicy::Deny), receive(10)];
    let backorder = || vec![open(StockPolicy::Backorder { limit: Some(5) }), receive(2), hold(&[shelf(2), owed(2)], None)];
    let allocated = || [deny(), vec![hold(&[shelf(4)], None), allocate(&[shelf(4)])]].concat();
    let then = |mut before: Vec<StockEvent>, events: &[StockEvent]| {
        before.extend_from_slice(events);
        after(&before)
    };
    vec![
        ("absent", after(&[])),
        ("empty", after(&[open(StockPolicy::Deny)])),
        ("in_stock", after(&deny())),
        ("held", then(deny(), &[hold(&[shelf(4)], None)])),
        ("cart_held", then(deny(), &[hold(&[shelf(4)], Some(at(30)))])),
        ("dead", then(deny(), &[hold(&[shelf(4)], Some(at(5)))])),
        ("sold_out", then(deny(), &[hold(&[shelf(10)], None)])),
        ("allocated", after(&allocated())),
        ("sent_one", then(allocated(), &[ship(1)])),
        ("shipped", then(allocated(), &[ship(4)])),
        ("released", then(allocated(), &[release])),
        ("moving", then(deny(), std::slice::from_ref(&dispatch))),
        ("moved", then(deny(), &[dispatch, arrive])),
        ("backordered", after(&backorder())),
        ("owing", then(backorder(), &[allocate(&[shelf(2), owed(2)])])),
        ("short", then(allocated(), &[count])),
    ]
}

fn commands() -> Vec<(&'static str, StockCommand)> {
    use StockCommand::{
        Adjust, Allocate, ChangePolicy, Count, DispatchTransfer, ExpireReservations, ExtendReservation, Open, Receive, ReceiveTransfer,
        ReleaseAllocation, ReleaseReservation, Return, Ship, Transfer,
    };
    let policy = |policy, low_stock_threshold| ChangePolicy { policy, safety: vec![], low_stock_threshold };
    let receive = |quantity| Receive { receipt_id: id(7), location_id: id(SHELF), quantity, unit_cost: None };
    let count = |counted, reason: &str| Count { location_id: id(SHELF), counted, reason: reason.to_owned() };
    let adjust = |delta, reason: &str| Adjust { location_id: id(SHELF), delta, reason: reason.to_owned(), note: None };
    let wish = |hold, of, quantity| Reserve {
        hold_id: id(hold),
        owner: owner(of),
        quantity,
        expires_at: None,
        allocation_order: vec![id(SHELF), id(CELLAR)],
        now: now(),
    };
    let reserve = |hold, of, quantity| StockCommand::Reserve(wish(hold, of, quantity));
    let extend = |hold, minute| ExtendReservation { hold_id: id(hold), expires_at: at(minute), now: now() };
    let allocate = |allocation, hold| Allocate { allocation_id: id(allocation), hold_id: id(hold), order_id: id(1), line_id: id(1) };
    let release = |quantity| ReleaseAllocation { allocation_id: id(1), quantity, reason: "order_cancelled".to_owned() };
    let ship = |quantity, forced| Ship { allocation_id: id(1), fulfilment_id: id(7), quantity, forced };
    let back = |quantity, condition: &str| {
        let condition = condition.to_owned();
        Return(StockReturned { return_id: id(7), order_id: id(1), line_id: id(1), location_id: id(SHELF), quantity, condition })
    };
    let dispatch = |transfer, to, quantity| {
        DispatchTransfer(StockTransferDispatched { transfer_id: id(transfer), from: id(SHELF), to: id(to), quantity })
    };
    let transfer =
        |transfer, to, quantity| Transfer(StockTransferDispatched { transfer_id: id(transfer), from: id(SHELF), to: id(to), quantity });
    let arrive = |received, lost| ReceiveTransfer(StockTransferReceived { transfer_id: id(1), received, lost });
    vec![
        ("Open", Open { policy: StockPolicy::Deny, low_stock_threshold: None }),
        ("ChangePolicy to deny", policy(StockPolicy::Deny, None)),
        ("ChangePolicy to preorder", policy(StockPolicy::Preorder { limit: None }, None)),
        ("ChangePolicy to a higher threshold", policy(StockPolicy::Deny, Some(6))),
        (
            "ChangePolicy to a safety stock of 8",
            ChangePolicy {
                policy: StockPolicy::Deny,
                safety: vec![SafetyStock { location_id: id(SHELF), quantity: 8 }],
                low_stock_threshold: None,
            },
        ),
        ("Receive 5", receive(5)),
        ("Receive 0", receive(0)),
        ("Receive as many as fit beside 10", receive(u32::MAX - 10)),
        ("Receive more than fits", receive(u32::MAX)),
        ("Count 3", count(3, "stocktaking")),
        ("Count 20", count(20, "stocktaking")),
        ("Count without a reason", count(3, " ")),
        ("Adjust by 2", adjust(2, "found")),
        ("Adjust by -2", adjust(-2, "damaged")),
        ("Adjust by -20", adjust(-20, "damaged")),
        ("Adjust by 0", adjust(0, "found")),
        ("Adjust by more than fits", adjust(i64::MAX, "found")),
        ("Adjust without a reason", adjust(2, "")),
        ("Reserve 2 for owner 7", reserve(7, 7, 2)),
        ("Reserve 8 for owner 7", reserve(7, 7, 8)),
        ("Reserve 20 for owner 7", reserve(7, 7, 20)),
        ("Reserve 0 for owner 7", reserve(7, 7, 0)),
        ("Reserve nowhere", StockCommand::Reserve(Reserve { allocation_order: vec![], ..wish(7, 7, 2) })),
        ("Reserve 4 for owner 1 as hold 1", reserve(1, 1, 4)),
        ("Reserve 5 for owner 1 as hold 1", reserve(1, 1, 5)),
        ("Reserve 8 for owner 1 as hold 7", reserve(7, 1, 8)),
        ("ExtendReservation 1 to minute 60", extend(1, 60)),
        ("ExtendReservation 1 to minute 20", extend(1, 20)),
        ("ExtendReservation 9", extend(9, 60)),
        ("ReleaseReservation 1", ReleaseReservation { hold_id: id(1), reason: "order_expired".to_owned() }),
        ("ExpireReservations", ExpireReservations { now: now() }),
        ("Allocate hold 1 as allocation 1", allocate(1, 1)),
        ("Allocate hold 1 as allocation 7", allocate(7, 1)),
        ("ReleaseAllocation 1", release(None)),
        ("ReleaseAllocation 1 by 2", release(Some(2))),
        ("ReleaseAllocation 1 by 9", release(Some(9))),
        ("ReleaseAllocation 1 by 0", release(Some(0))),
        ("Ship 3", ship(3, false)),
        ("Ship 4", ship(4, false)),
        ("Ship 4 by force", ship(4, true)),
        ("Ship 9 by force", ship(9, true)),
        ("Ship 0", ship(0, false)),
        ("Return 1 to sell", back(1, "sellable")),
        ("Return 1 damaged", back(1, "damaged")),
        ("Return 0", back(0, "sellable")),
        ("DispatchTransfer 7 of 3", dispatch(7, CELLAR, 3)),
        ("DispatchTransfer 7 of 8", dispatch(7, CELLAR, 8)),
        ("DispatchTransfer 7 of 10", dispatch(7, CELLAR, 10)),
        ("DispatchTransfer 7 of 0", dispatch(7, CELLAR, 0)),
        ("DispatchTransfer 7 to where it is", dispatch(7, SHELF, 3)),
        ("DispatchTransfer 1 of 3", dispatch(1, CELLAR, 3)),
        ("Transfer 7 of 3", transfer(7, CELLAR, 3)),
        ("Transfer 7 of 0", transfer(7, CELLAR, 0)),
        ("Transfer 7 to where it is", transfer(7, SHELF, 3)),
        ("Transfer 1 of 3", transfer(1, CELLAR, 3)),
        ("ReceiveTransfer of 4", arrive(4, 0)),
        ("ReceiveTransfer of 3, one lost", arrive(3, 1)),
        ("ReceiveTransfer of 0, all lost", arrive(0, 4)),
        ("ReceiveTransfer of 3", arrive(3, 0)),
    ]
}

#[test]
fn stock_in_every_state() {
    Table {
        text: TABLE,
        states: states(),
        commands: commands(),
        decide: StockItem::decide,
        code: StockRejection::code,
        events_elsewhere: &[],
        refusals_elsewhere: &[],
    }
    .check();
}
