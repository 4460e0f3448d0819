//! The model check: orders, attempts to pay and units of stock, over every order in which shopper, second tab, reactor,
//! provider, webhook, deadline and crash can come.
//!
//! The decisions are the program's own, run in memory; only the world around them is a model. A crash, a late word and a
//! repetition are ordinary states here, so that what must hold "at every position of the log" is looked at in each of them. The
//! unsafe variants at the end show that the search would find what it looks for.

mod action;
mod command;
mod goods;
mod invariant;
mod provider;
mod search;
mod shop;
mod state;
mod unsafe_variant;
mod world;

use domain::payment::CaptureMode;

use self::invariant::{RULES, Rule};
use self::search::{Explored, Violation, explore};
use self::state::Bounds;
use self::unsafe_variant::UnsafeVariant;
use self::world::World;

/// One shopper, who may check out twice and pay each order twice.
const ONE: Bounds =
    Bounds { units: 1, checkouts: [2, 0], attempts: [2, 0], slow: false, refuses: false, capture: CaptureMode::Automatic, merchant: false };

/// Two shoppers, one unit.
const LAST_UNIT: Bounds = Bounds { checkouts: [1, 1], attempts: [1, 1], ..ONE };

fn run(name: &str, bounds: Bounds, variant: Option<UnsafeVariant>, rules: &'static [Rule]) -> Explored {
    let started = std::time::Instant::now();
    let mut world = World::new(bounds, variant, rules);
    let explored = explore(&mut world);
    println!("{name}: {explored} ({} values of streams, {} ms)", world.shop.distinct(), started.elapsed().as_millis());
    explored
}

fn assert_safe(name: &str, bounds: Bounds) {
    let explored = run(name, bounds, None, RULES);
    if let Some(violation) = &explored.violation {
        panic!("{name}: {violation}");
    }
    assert!(explored.ends > 0, "{name}: something always remains to be done");
}

fn find(name: &str, bounds: Bounds, variant: UnsafeVariant, rules: &'static [Rule]) -> Violation {
    let explored = run(name, bounds, Some(variant), rules);
    explored.violation.unwrap_or_else(|| panic!("{name}: the search finds nothing wrong with it"))
}

#[test]
fn two_shoppers_for_the_last_unit_are_served_once_and_charged_once() {
    assert_safe("the last unit", LAST_UNIT);
}

#[test]
fn a_shopper_who_pays_again_is_charged_once() {
    assert_safe("one order, two attempts", Bounds { checkouts: [1, 0], ..ONE });
}

#[test]
fn a_shopper_who_checks_out_again_is_charged_once() {
    assert_safe("two orders of one cart", Bounds { attempts: [1, 0], ..ONE });
}

#[test]
fn a_slow_provider_that_refuses_leaves_nothing_unsettled() {
    let bounds = Bounds { slow: true, refuses: true, checkouts: [1, 0], attempts: [1, 0], ..ONE };
    assert_safe("slow, silent and refusing", bounds);
}

#[test]
fn a_merchant_who_captures_voids_and_refunds_by_hand_charges_nobody_twice() {
    let bounds = Bounds { capture: CaptureMode::Manual, merchant: true, refuses: true, checkouts: [1, 0], attempts: [1, 0], ..ONE };
    assert_safe("by hand, refusing", bounds);
}

#[test]
fn checking_the_stock_and_then_taking_it_sells_a_unit_twice() {
    let found = find("check then take", LAST_UNIT, UnsafeVariant::CheckThenTake, RULES);
    assert!(found.what.contains("1 units are on hand"), "{found}");
}

#[test]
fn an_outcome_apart_from_its_consequence_leaves_money_without_a_fate() {
    let found = find("outcome, then consequence", ONE, UnsafeVariant::OutcomeThenConsequence, &[Rule::Fate]);
    assert!(found.what.contains("neither capture nor void was decided"), "{found}");
    let found = find(
        "outcome, crash, no consequence",
        Bounds { checkouts: [1, 0], attempts: [1, 0], ..ONE },
        UnsafeVariant::OutcomeThenConsequence,
        &[Rule::End],
    );
    assert!(found.trace.iter().any(|step| step.contains("the process dies")), "{found}");
}

#[test]
fn two_live_attempts_charge_an_order_twice() {
    let found = find("two live attempts", Bounds { checkouts: [1, 0], ..ONE }, UnsafeVariant::TwoLiveAttempts, &[Rule::Charge]);
    assert!(found.what.contains("charged for order A1"), "{found}");
}

#[test]
fn reinstating_an_order_whose_cart_was_bought_again_sells_it_twice() {
    let found = find(
        "reinstate although bought again",
        Bounds { units: 2, attempts: [1, 0], ..ONE },
        UnsafeVariant::ReinstateRebought,
        &[Rule::Cart],
    );
    assert!(found.what.contains("cart A is being bought or was bought 2 times"), "{found}");
}
