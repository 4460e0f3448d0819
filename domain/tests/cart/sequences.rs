//! Whatever is done to a cart in whatever order, it keeps to its limits and its stages.

use std::collections::BTreeSet;

use domain::cart::{Cart, CartCommand, CartCreated, CartEvent, CartLimits, CartLine, CartSettingsChanged, CartStage, ContactDraft};
use domain::id::{CartKey, LineId};
use domain::money::{Currency, Money};
use domain::personal::Personal;
use proptest::prelude::*;
use proptest::sample::Index;

use crate::{contact, created, id, line};

const LIMITS: CartLimits = CartLimits { lines_max: 4, line_quantity_max: 9 };

fn any_currency() -> impl Strategy<Value = Currency> {
    prop_oneof![9 => Just("EUR"), 1 => Just("JPY")].prop_map(|code| code.parse().unwrap())
}

fn any_money() -> impl Strategy<Value = Money> {
    (any_currency(), 0..10_000_i64).prop_map(|(currency, amount)| Money::new(amount, currency).unwrap())
}

fn any_line() -> impl Strategy<Value = CartLine> {
    let parent = prop_oneof![3 => Just(None), 1 => (1..8_u128).prop_map(|n| Some(id::<LineId>(n)))];
    let engraved = prop_oneof![3 => Just(None), 1 => Just(Some(Personal::Known([("engraving".to_owned(), "Ada".to_owned())].into())))];
    (1..8_u128, 1..5_u128, 0..11_u32, any_money(), parent, engraved).prop_map(
        |(n, variant, quantity, price_seen, parent_line_id, properties)| CartLine {
            variant_id: id(variant),
            price_seen,
            parent_line_id,
            properties,
            ..line(n, quantity)
        },
    )
}

/// The lines of a cart as another one has them: some of them hang on others.
fn other_carts_lines() -> impl Strategy<Value = Vec<CartLine>> {
    prop::collection::vec(any_line(), 0..6).prop_map(|lines| {
        let mut cart = Cart { currency: "EUR".parse().ok(), ..Cart::default() };
        cart.apply(&CartEvent::CartCreated(created()));
        for (n, line) in (21..).zip(lines) {
            let parent_line_id = line.parent_line_id.and(cart.lines.last().map(|last| last.line_id));
            let line = CartLine { line_id: id(n), parent_line_id, ..line };
            let limits = CartLimits::default();
            for event in cart.decide(CartCommand::AddLine { line, limits }).unwrap_or_default() {
                cart.apply(&event);
            }
        }
        cart.lines
    })
}

fn any_command() -> impl Strategy<Value = CartCommand> {
    let line_id = || (1..8_u128).prop_map(id::<LineId>);
    let few = || 1..4_u128;
    let email = prop_oneof![Just("ada@example.com"), Just("ada@example.org"), Just("ada")];
    let settings = (prop::option::of(any_currency()), prop::option::of(prop_oneof![Just("DE"), Just("GB"), Just("x")]));
    prop_oneof![
        1 => any_currency().prop_map(|currency| CartCommand::Create(CartCreated { currency, ..created() })),
        8 => any_line().prop_map(|line| CartCommand::AddLine { line, limits: LIMITS }),
        3 => (line_id(), 0..11_u32).prop_map(|(line_id, quantity)| CartCommand::SetQuantity { line_id, quantity, limits: LIMITS }),
        2 => line_id().prop_map(|line_id| CartCommand::RemoveLine { line_id, reason: "shopper".to_owned() }),
        1 => few().prop_map(|n| CartCommand::ApplyCoupon { promotion_id: id(1), coupon_id: id(n) }),
        1 => few().prop_map(|n| CartCommand::RemoveCoupon { coupon_id: id(n), reason: None }),
        3 => email.prop_map(|email| CartCommand::SetContact(Box::new(ContactDraft { email: email.to_owned(), ..contact() }))),
        3 => (few(), any_money()).prop_map(|(n, price_seen)| CartCommand::ChooseShippingOption { option_id: id(n), price_seen }),
        1 => settings.prop_map(|(currency, country)| {
            let country = country.map(str::to_owned);
            CartCommand::ChangeSettings(CartSettingsChanged { currency, country, language: None })
        }),
        1 => few().prop_map(|n| CartCommand::Claim { customer_id: id(n), subject_id: id(n) }),
        2 => other_carts_lines().prop_map(|lines| CartCommand::Merge { from_cart: CartKey::new("b0b0"), lines, limits: LIMITS }),
        3 => (few(), any_money(), any::<bool>()).prop_map(|(n, total, requires_shipping)| {
            CartCommand::StartCheckout { order_id: id(n), total, requires_shipping }
        }),
        2 => few().prop_map(|n| CartCommand::Reopen { order_id: id(n), reason: "order_expired".to_owned() }),
        1 => few().prop_map(|n| CartCommand::Complete { order_id: id(n) }),
        1 => Just(CartCommand::Expire),
    ]
}

fn assert_within_limits(cart: &Cart) {
    assert!(cart.lines.len() <= LIMITS.lines_max);
    let ids: BTreeSet<_> = cart.lines.iter().map(|line| line.line_id).collect();
    assert_eq!(ids.len(), cart.lines.len(), "a line's id is its own");
    for (n, line) in cart.lines.iter().enumerate() {
        assert!((1..=LIMITS.line_quantity_max).contains(&line.quantity));
        assert_eq!(Some(line.price_seen.currency()), cart.currency);
        assert!(
            line.parent_line_id.is_none_or(|parent| ids.contains(&parent) && parent != line.line_id),
            "a line hangs on one that is there"
        );
        let same = |other: &&CartLine| {
            (other.variant_id, other.parent_line_id, &other.properties) == (line.variant_id, line.parent_line_id, &line.properties)
        };
        assert_eq!(cart.lines[n..].iter().filter(same).count(), 1, "what is the same is one line");
    }
    let coupons: BTreeSet<_> = cart.coupons.iter().map(|coupon| coupon.coupon_id).collect();
    assert_eq!(coupons.len(), cart.coupons.len());
    if let Some(chosen) = &cart.shipping_option {
        assert_eq!(Some(chosen.price_seen.currency()), cart.currency);
    }
}

/// The stages follow each other as they may, and what is not open doesn't change.
fn assert_in_order(before: &Cart, after: &Cart) {
    use CartStage::{Absent, Completed, Completing, Expired, Open};
    match (before.stage, after.stage) {
        (Absent, Absent | Open) | (Open, Open | Expired) | (Expired, Expired) | (Completing { .. }, Open) => {}
        (Open, Completing { order_id, .. }) => {
            assert_eq!((after.checkouts, after.order_id), (before.checkouts + 1, Some(order_id)));
            assert!(before.missing(false).is_empty());
        }
        (Completing { order_id: of, .. }, Completing { order_id, .. }) => assert_eq!(of, order_id),
        // By late money too, as long as no other checkout came after.
        (Completing { .. } | Open | Expired, Completed { order_id }) => assert_eq!(before.order_id, Some(order_id)),
        (Completed { order_id: by }, Completed { order_id }) => assert_eq!(by, order_id),
        (from, to) => panic!("{from:?} became {to:?}"),
    }
    if !matches!(before.stage, Absent | Open) {
        let frozen = Cart { stage: before.stage, ..after.clone() };
        assert_eq!(&frozen, before);
    }
}

proptest! {
    #[test]
    fn any_sequence_of_commands_keeps_a_cart_in_order(commands in prop::collection::vec(any_command(), 1..60)) {
        let mut cart = Cart::default();
        let mut log = Vec::new();
        for command in commands {
            let before = cart.clone();
            let Ok(events) = cart.decide(command.clone()) else { continue };
            for event in &events {
                cart.apply(event);
            }
            log.extend(events);
            assert_within_limits(&cart);
            assert_in_order(&before, &cart);
        }
        let mut again = Cart::default();
        for event in &log {
            again.apply(event);
        }
        prop_assert_eq!(&again, &cart);
        let json = serde_json::to_string(&cart).unwrap();
        prop_assert_eq!(serde_json::from_str::<Cart>(&json).unwrap(), cart);
    }

    /// Whatever order events are read in, nothing panics.
    #[test]
    fn every_event_is_believed(commands in prop::collection::vec(any_command(), 1..40), order in prop::collection::vec(any::<Index>(), 1..60)) {
        let mut cart = Cart::default();
        let mut log = vec![CartEvent::CartCreated(created())];
        for command in commands {
            for event in cart.decide(command).unwrap_or_default() {
                cart.apply(&event);
                log.push(event);
            }
        }
        let mut other = Cart::default();
        for index in &order {
            other.apply(index.get(&log));
        }
        let _ = (other.missing(true), other.decide(CartCommand::Expire));
    }
}
