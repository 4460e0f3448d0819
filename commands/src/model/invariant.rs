//! What must hold at every position of the log, and what once nothing is left to do.

use domain::cart::CartStage;
use domain::order::{OrderStage, PlacedOrder};
use domain::payment::{CaptureMode, Operation, OperationKind, Outcome, Payment};

use super::action::Action;
use super::goods::{self, TOTAL, cart_name, order_name, payment_name};
use super::shop::{ATTEMPTS, CARTS, CHECKOUTS, Decision, ORDERS, PAYMENTS, Shop, order_of};
use super::state::State;
use crate::payment::{NOTHING_TO_VOID, is_given_up};

/// One promise of the program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Rule {
    /// No unit is promised twice.
    Units,
    /// A confirmed order has its units, a pending one holds them, one that has ended holds nothing.
    Holdings,
    /// Nobody is charged more than the order comes to.
    Charge,
    /// An authorised payment has a decided fate.
    Fate,
    /// Only one attempt to pay an order is under way.
    Attempts,
    /// A cart is bought once.
    Cart,
    /// No decision fails, and what the provider says is never refused.
    Answers,
    /// When nothing is left to do, all is settled and the provider's books equal ours.
    End,
}

/// All of them.
pub(super) const RULES: &[Rule] =
    &[Rule::Units, Rule::Holdings, Rule::Charge, Rule::Fate, Rule::Attempts, Rule::Cart, Rule::Answers, Rule::End];

/// How the state breaks the rule, if it does.
pub(super) fn wrong_with(rule: Rule, shop: &Shop, state: &State) -> Option<String> {
    match rule {
        Rule::Units => units(shop, state),
        Rule::Holdings => (0..ORDERS).find_map(|order| holdings(shop, state, order)),
        Rule::Charge => (0..ORDERS).find_map(|order| charge(shop, state, order)),
        Rule::Fate => (0..PAYMENTS).find_map(|payment| fate(shop, state, payment)),
        Rule::Attempts => (0..ORDERS).find_map(|order| attempts(shop, state, order)),
        Rule::Cart => (0..CARTS).find_map(|cart| bought_once(shop, state, cart)),
        // Looked at elsewhere: at the steps, and when none is left.
        Rule::Answers | Rule::End => None,
    }
}

/// What is left unsettled in a state in which nothing can happen any more.
pub(super) fn wrong_at_the_end(shop: &Shop, state: &State) -> Option<String> {
    for payment in 0..PAYMENTS {
        let ours = shop.payment(&state.values, payment);
        let theirs = &state.accounts[payment];
        if let Some(open) = ours.operations.iter().find(|operation| operation.outcome.is_open()) {
            return Some(format!("the {} of payment {} has no end", open.kind.as_str(), payment_name(payment)));
        }
        let (captured, refunded) = (ours.captured(), ours.refunded());
        if (captured, refunded) != (i64::from(theirs.captured), i64::from(theirs.refunded)) {
            return Some(format!(
                "payment {}: we have {captured} captured and {refunded} refunded, the provider says {theirs:?}",
                payment_name(payment)
            ));
        }
        if ours.voided() != (theirs.voided > 0 && theirs.captured == 0) && theirs.authorized > 0 {
            return Some(format!("payment {}: voided here is {}, the provider says {theirs:?}", payment_name(payment), ours.voided()));
        }
    }
    (0..ORDERS).find_map(|order| unsettled(shop, state, order))
}

/// What nobody will settle any more, and no person is told of: an order on hold has somebody to look at it, and so has a void
/// or a refund that the provider refused.
fn unsettled(shop: &Shop, state: &State, order: usize) -> Option<String> {
    let placed = shop.order(&state.values, order)?;
    let name = order_name(order);
    let ended = matches!(placed.stage, OrderStage::Cancelled { .. } | OrderStage::Expired { .. });
    let (mut kept, mut capturable) = (0, 0);
    let mut refunded = false;
    for payment in payments(order) {
        let (ours, theirs) = (shop.payment(&state.values, payment), &state.accounts[payment]);
        refunded |= ours.refunded() > 0;
        kept += if ended && failed(ours, OperationKind::Refund) { 0 } else { theirs.kept() };
        // One that could not be voided lapses by itself, unless it is of use after all.
        capturable += if failed(ours, OperationKind::Void) && !is_live(placed, payment) { 0 } else { theirs.capturable() };
    }
    if !ended && placed.on_hold.is_some() {
        return None;
    }
    match placed.stage {
        OrderStage::PendingPayment => Some(format!("order {name} waits for ever")),
        OrderStage::Confirmed { .. } | OrderStage::Completed { .. } => {
            let waiting = if placed.live_payment.is_some() { capturable } else { 0 };
            let is_paid = kept == TOTAL || kept + waiting == TOTAL || refunded;
            (!is_paid || capturable > waiting)
                .then(|| format!("order {name} is confirmed, {kept} of {TOTAL} are paid and {capturable} set aside"))
        }
        OrderStage::Cancelled { .. } | OrderStage::Expired { .. } => {
            let status = placed.stage.as_str();
            let is_settled = kept == 0 && capturable == 0 && placed.live_payment.is_none();
            (!is_settled).then(|| format!("order {name} is {status}, {kept} are kept and {capturable} set aside for it"))
        }
    }
}

fn units(shop: &Shop, state: &State) -> Option<String> {
    let stock = shop.stock(&state.values);
    let parts = |parts: &[domain::inventory::Part]| parts.iter().map(|part| i64::from(part.quantity)).sum::<i64>();
    let held: i64 = stock.holds.values().map(|hold| parts(&hold.parts)).sum();
    let allocated: i64 = stock.allocations.values().map(|allocation| parts(&allocation.parts)).sum();
    let reserved: i64 = stock.levels.iter().map(|(_, level)| level.reserved).sum();
    let promised: i64 = stock.levels.iter().map(|(_, level)| level.allocated).sum();
    for (_, level) in stock.levels.iter() {
        if level.allocated + level.reserved > level.on_hand {
            return Some(format!("{} units are on hand, {} allocated, {} reserved", level.on_hand, level.allocated, level.reserved));
        }
    }
    ((held, allocated) != (reserved, promised))
        .then(|| format!("{held} are held and {allocated} allocated, the levels say {reserved} and {promised}"))
}

fn holdings(shop: &Shop, state: &State, order: usize) -> Option<String> {
    let stock = shop.stock(&state.values);
    let order_id = goods::order_id(order);
    let held = stock.holds.values().filter(|hold| hold.owner.kind == "order" && hold.owner.id == order_id.to_string()).count();
    let allocated = stock.allocations.values().filter(|allocation| allocation.order_id == order_id).count();
    let placed = shop.order(&state.values, order);
    let due = match placed.map(|placed| &placed.stage) {
        None | Some(OrderStage::Cancelled { .. } | OrderStage::Expired { .. }) => (0, 0),
        Some(OrderStage::PendingPayment) => (1, 0),
        Some(OrderStage::Confirmed { .. } | OrderStage::Completed { .. }) => (0, 1),
    };
    let status = placed.map_or("not placed", |placed| placed.stage.as_str());
    ((held, allocated) != due).then(|| format!("order {} is {status}, holds {held} and has {allocated} allocated", order_name(order)))
}

/// At the provider: never more than the total at once. In our books: at most one attempt's money that is not on its way back.
fn charge(shop: &Shop, state: &State, order: usize) -> Option<String> {
    let placed = shop.order(&state.values, order)?;
    let going_back = |payment: &Payment| amounts(payment, OperationKind::Refund, Outcome::is_open);
    let charged = payments(order).map(|payment| {
        let kept = i64::from(state.accounts[payment].kept());
        kept - going_back(shop.payment(&state.values, payment)).min(kept)
    });
    let charged: i64 = charged.sum();
    if charged > i64::from(TOTAL) {
        return Some(format!("{charged} are charged for order {}, which comes to {TOTAL}", order_name(order)));
    }
    let kept = payments(order).filter(|payment| {
        let payment = shop.payment(&state.values, *payment);
        let refunding = amounts(payment, OperationKind::Refund, |outcome| outcome.is_open() || *outcome == Outcome::Succeeded);
        let is_captured = payment.captured() > refunding && !failed(payment, OperationKind::Refund);
        // An authorisation that could not be voided lapses by itself.
        is_captured || (payment.capturable() > 0 && !failed(payment, OperationKind::Void))
    });
    let kept = kept.count();
    let ended = matches!(placed.stage, OrderStage::Cancelled { .. } | OrderStage::Expired { .. });
    (kept > usize::from(!ended))
        .then(|| format!("order {} is {} and money of {kept} attempts is kept for it", order_name(order), placed.stage.as_str()))
}

/// Whether the provider has refused it; then a person sees it. What was never sent was not refused.
fn failed(payment: &Payment, kind: OperationKind) -> bool {
    let refused = |operation: &Operation| matches!(&operation.outcome, Outcome::Failed { code } if code != NOTHING_TO_VOID);
    of_kind(payment, kind).any(refused)
}

fn fate(shop: &Shop, state: &State, payment: usize) -> Option<String> {
    let ours = shop.payment(&state.values, payment);
    let authorized = of_kind(ours, OperationKind::Authorize).any(|operation| operation.outcome == Outcome::Succeeded);
    let decided = ours.operations.iter().any(|operation| matches!(operation.kind, OperationKind::Capture | OperationKind::Void));
    // What is captured by hand is for the order that it confirmed.
    let by_hand = ours.created.as_ref().is_some_and(|created| created.capture == CaptureMode::Manual);
    let placed = shop.order(&state.values, order_of(payment));
    let waits = placed.is_some_and(|placed| matches!(placed.stage, OrderStage::Confirmed { .. }) && is_live(placed, payment));
    (authorized && !decided && !(by_hand && waits))
        .then(|| format!("payment {} is authorised, and neither capture nor void was decided", payment_name(payment)))
}

fn attempts(shop: &Shop, state: &State, order: usize) -> Option<String> {
    let placed = shop.order(&state.values, order)?;
    let live = |payment: &usize| {
        let payment = shop.payment(&state.values, *payment);
        payment.awaits(OperationKind::Authorize) && !is_given_up(payment) && !failed(payment, OperationKind::Void)
    };
    let live: Vec<_> = payments(order).filter(live).collect();
    let unknown_to_order = live.iter().any(|payment| !is_live(placed, *payment));
    (live.len() > 1 || unknown_to_order).then(|| format!("order {} has {} live attempts", order_name(order), live.len()))
}

fn bought_once(shop: &Shop, state: &State, cart: usize) -> Option<String> {
    let orders = cart * CHECKOUTS..(cart + 1) * CHECKOUTS;
    let is_bought = |order: &usize| {
        let its = shop.order(&state.values, *order).map(|placed| &placed.stage);
        matches!(its, Some(OrderStage::PendingPayment | OrderStage::Confirmed { .. } | OrderStage::Completed { .. }))
    };
    let bought: Vec<_> = orders.filter(is_bought).collect();
    if bought.len() > 1 {
        return Some(format!("cart {} is being bought or was bought {} times", cart_name(cart), bought.len()));
    }
    let pending = bought.iter().any(|order| shop.order(&state.values, *order).is_some_and(|o| o.stage == OrderStage::PendingPayment));
    let now = shop.cart(&state.values, cart).stage;
    let fits = match now {
        CartStage::Open => bought.is_empty(),
        CartStage::Completing { .. } => pending,
        CartStage::Completed { .. } => !pending,
        CartStage::Absent | CartStage::Expired => false,
    };
    (!fits).then(|| format!("cart {} is {} and {} orders of it are pending or confirmed", cart_name(cart), now.as_str(), bought.len()))
}

fn is_live(placed: &PlacedOrder, payment: usize) -> bool {
    placed.live_payment.as_ref().is_some_and(|live| live.payment_id == goods::payment_id(payment))
}

fn payments(order: usize) -> std::ops::Range<usize> {
    order * ATTEMPTS..(order + 1) * ATTEMPTS
}

fn of_kind(payment: &Payment, kind: OperationKind) -> impl Iterator<Item = &Operation> {
    payment.operations.iter().filter(move |operation| operation.kind == kind)
}

fn amounts(payment: &Payment, kind: OperationKind, counts: impl Fn(&Outcome) -> bool) -> i64 {
    of_kind(payment, kind).filter(|operation| counts(&operation.outcome)).map(|operation| operation.amount.amount()).sum()
}

/// A decision never fails, and what the provider says is never refused.
pub(super) fn fault(action: Action, decision: &Decision) -> Option<String> {
    let heard = matches!(action, Action::Hear(_) | Action::TimeOut(_) | Action::GiveUp(_) | Action::Deadline(_));
    match (&decision.failed, &decision.refused) {
        (Some(failed), _) => Some(format!("a decision fails: {failed}")),
        (_, Some(refused)) if heard => Some(format!("a fact is refused: {refused}")),
        _ => None,
    }
}
