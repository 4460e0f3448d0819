//! Carts: filled, checked out, given up.

#![expect(clippy::unwrap_used, reason = "a test whose facts can't be made should fail")]

use cqrs_es::test::{AggregateTestExecutor, TestFramework};
use domain::cart::{
    Address, COUPONS_MAX, Cart, CartCheckoutStarted, CartClaimed, CartCommand, CartCompleted, CartContactSet, CartCoupon, CartCreated,
    CartEvent, CartExpired, CartLimits, CartLine, CartLineQuantityChanged, CartLineRemoved, CartMerged, CartRejection, CartReopened,
    CartSettingsChanged, CartShippingOptionChosen, ContactDraft, ShipTo,
};
use domain::id::{CartKey, LineId};
use domain::money::Money;
use domain::personal::Personal;
use uuid::Uuid;

#[path = "cart/sequences.rs"]
mod sequences;

fn id<T: From<Uuid>>(n: u128) -> T {
    T::from(Uuid::from_u128(n))
}

fn eur(amount: i64) -> Money {
    Money::new(amount, "EUR".parse().unwrap()).unwrap()
}

fn created() -> CartCreated {
    CartCreated {
        subject_id: id(1),
        customer_id: None,
        channel: "storefront".to_owned(),
        currency: "EUR".parse().unwrap(),
        country: None,
        language: None,
    }
}

fn line(n: u128, quantity: u32) -> CartLine {
    CartLine { line_id: id(n), variant_id: id(100 + n), sku: None, quantity, price_seen: eur(1999), parent_line_id: None, properties: None }
}

fn add(line: CartLine) -> CartCommand {
    CartCommand::AddLine { line, limits: CartLimits::default() }
}

fn set(n: u128, quantity: u32) -> CartCommand {
    CartCommand::SetQuantity { line_id: id(n), quantity, limits: CartLimits::default() }
}

fn added(line: CartLine) -> CartEvent {
    CartEvent::CartLineAdded(line.into())
}

fn changed(n: u128, quantity: u32) -> CartEvent {
    CartEvent::CartLineQuantityChanged(CartLineQuantityChanged { line_id: id(n), quantity })
}

fn removed(n: u128, reason: &str) -> CartEvent {
    CartEvent::CartLineRemoved(CartLineRemoved { line_id: id(n), reason: reason.to_owned() })
}

fn contact() -> ContactDraft {
    ContactDraft {
        email: "ada@example.com".to_owned(),
        phone: None,
        shipping_address: Address {
            name: "Ada Lovelace".to_owned(),
            line1: "St James's Square 12".to_owned(),
            city: "London".to_owned(),
            postal_code: "SW1Y 4JH".to_owned(),
            country: "GB".to_owned(),
            ..Address::default()
        },
        billing_address: None,
    }
}

fn contact_set() -> CartEvent {
    CartEvent::CartContactSet(Box::new(CartContactSet {
        subject_id: id(1),
        ship_to: ShipTo { country: "GB".to_owned(), region: None },
        email: Personal::Known(contact().email),
        phone: None,
        shipping_address: Personal::Known(contact().shipping_address),
        billing_address: None,
    }))
}

fn shipping_chosen() -> CartEvent {
    CartEvent::CartShippingOptionChosen(CartShippingOptionChosen { option_id: id(1), price_seen: eur(490) })
}

fn started(order: u128, checkout_no: u32) -> CartEvent {
    CartEvent::CartCheckoutStarted(CartCheckoutStarted { order_id: id(order), checkout_no, total: eur(2489) })
}

fn reopened(order: u128) -> CartEvent {
    CartEvent::CartReopened(CartReopened { order_id: id(order), reason: "order_expired".to_owned() })
}

fn start(order: u128) -> CartCommand {
    CartCommand::StartCheckout { order_id: id(order), total: eur(2489), requires_shipping: true }
}

fn cart(events: Vec<CartEvent>) -> AggregateTestExecutor<Cart> {
    TestFramework::<Cart>::with(()).given(vec![CartEvent::CartCreated(created())]).and(events)
}

/// All that a checkout needs.
fn ready() -> Vec<CartEvent> {
    vec![added(line(1, 1)), contact_set(), shipping_chosen()]
}

fn fold(events: Vec<CartEvent>) -> Cart {
    let mut cart = Cart::default();
    cart.apply(&CartEvent::CartCreated(created()));
    for event in events {
        cart.apply(&event);
    }
    cart
}

#[test]
fn a_cart_is_created_once() {
    TestFramework::<Cart>::with(())
        .given_no_previous_events()
        .when(CartCommand::Create(created()))
        .then_expect_events(vec![CartEvent::CartCreated(created())]);
    cart(vec![]).when(CartCommand::Create(created())).then_expect_error(CartRejection::Exists);
}

#[test]
fn nothing_can_be_put_into_a_cart_that_does_not_exist() {
    TestFramework::<Cart>::with(()).given_no_previous_events().when(add(line(1, 1))).then_expect_error(CartRejection::NotFound);
}

#[test]
fn a_variant_that_is_there_already_grows_its_line() {
    let more = CartLine { line_id: id(9), ..line(1, 2) };
    cart(vec![added(line(1, 1))]).when(add(more)).then_expect_events(vec![changed(1, 3)]);
}

#[test]
fn a_variant_with_other_properties_is_a_line_of_its_own() {
    let engraved =
        CartLine { line_id: id(9), properties: Some(Personal::Known([("engraving".to_owned(), "Ada".to_owned())].into())), ..line(1, 1) };
    cart(vec![added(line(1, 1))]).when(add(engraved.clone())).then_expect_events(vec![added(engraved)]);
}

#[test]
fn a_line_grows_to_its_limit_and_no_further() {
    cart(vec![added(line(1, 998))]).when(add(line(1, 1))).then_expect_events(vec![changed(1, 999)]);
    cart(vec![added(line(1, 998))]).when(add(line(1, 2))).then_expect_error(CartRejection::QuantityLimit { max: 999 });
    cart(vec![]).when(add(line(1, 1000))).then_expect_error(CartRejection::QuantityLimit { max: 999 });
}

#[test]
fn a_cart_takes_a_hundred_lines_and_no_more() {
    let full: Vec<_> = (1..=100).map(|n| added(line(n, 1))).collect();
    cart(full.clone()).when(add(line(101, 1))).then_expect_error(CartRejection::LineLimit { max: 100 });
    cart(full).when(add(line(100, 1))).then_expect_events(vec![changed(100, 2)]);
}

#[test]
fn a_price_of_another_currency_is_refused() {
    let dollars = Money::new(1, "USD".parse().unwrap()).unwrap();
    cart(vec![])
        .when(add(CartLine { price_seen: dollars, ..line(1, 1) }))
        .then_expect_error(CartRejection::CurrencyMismatch { currency: "EUR".parse().unwrap() });
}

#[test]
fn a_quantity_is_set_and_zero_removes() {
    cart(vec![added(line(1, 1))]).when(set(1, 5)).then_expect_events(vec![changed(1, 5)]);
    cart(vec![added(line(1, 5))]).when(set(1, 5)).then_expect_events(vec![]);
    cart(vec![added(line(1, 1))]).when(set(1, 0)).then_expect_events(vec![removed(1, "quantity_zero")]);
    cart(vec![]).when(set(1, 1)).then_expect_error(CartRejection::LineNotFound { line_id: id(1) });
}

#[test]
fn a_line_goes_with_those_that_hang_on_it() {
    let child = |n, parent| CartLine { parent_line_id: Some(id(parent)), ..line(n, 1) };
    let remove = CartCommand::RemoveLine { line_id: id(1), reason: "shopper".to_owned() };
    cart(vec![added(line(1, 1)), added(child(2, 1)), added(child(3, 2)), added(line(4, 1))]).when(remove).then_expect_events(vec![
        removed(1, "shopper"),
        removed(2, "shopper"),
        removed(3, "shopper"),
    ]);
}

#[test]
fn a_contact_is_personal_and_its_destination_is_not() {
    cart(vec![]).when(CartCommand::SetContact(Box::new(contact()))).then_expect_events(vec![contact_set()]);
    cart(vec![contact_set()]).when(CartCommand::SetContact(Box::new(contact()))).then_expect_events(vec![]);
    let printed = format!("{:?}", contact_set());
    assert!(!printed.contains("ada") && !printed.contains("Lovelace"), "{printed}");
}

#[test]
fn all_that_is_wrong_with_a_contact_is_said_at_once() {
    let wrong = ContactDraft { email: "ada".to_owned(), shipping_address: Address::default(), ..contact() };
    let refused = fold(vec![]).decide(CartCommand::SetContact(Box::new(wrong))).unwrap_err();
    assert_eq!(refused.code(), "contact_invalid");
    let CartRejection::ContactInvalid { errors } = refused else {
        panic!("{refused:?}");
    };
    assert_eq!(errors.len(), 6);
    assert_eq!((errors[0].pointer.as_str(), errors[0].code.as_str()), ("/email", "email_invalid"));
}

#[test]
fn a_checkout_says_all_that_it_still_needs() {
    let missing = vec!["lines", "contact", "shipping_option"];
    cart(vec![]).when(start(1)).then_expect_error(CartRejection::CheckoutIncomplete { missing });
    let digital = CartCommand::StartCheckout { order_id: id(1), total: eur(2489), requires_shipping: false };
    cart(vec![added(line(1, 1)), contact_set()]).when(digital).then_expect_events(vec![started(1, 1)]);
}

#[test]
fn an_erased_contact_has_to_be_given_again() {
    let CartEvent::CartContactSet(mut erased) = contact_set() else { unreachable!() };
    erased.email = Personal::Erased;
    let cart = fold(vec![added(line(1, 1)), CartEvent::CartContactSet(erased), shipping_chosen()]);
    assert_eq!(cart.missing(true), ["contact"]);
}

#[test]
fn a_checkout_freezes_the_cart() {
    cart(ready()).when(start(1)).then_expect_events(vec![started(1, 1)]);
    let frozen = [ready(), vec![started(1, 1)]].concat();
    for command in [add(line(2, 1)), set(1, 2), start(2), CartCommand::Expire] {
        cart(frozen.clone()).when(command).then_expect_error(CartRejection::CheckoutInProgress { order_id: id(1) });
    }
    cart(frozen).when(start(1)).then_expect_events(vec![]);
}

#[test]
fn a_reopened_cart_can_be_checked_out_again_under_the_next_number() {
    let frozen = [ready(), vec![started(1, 1)]].concat();
    let reopen = |order| CartCommand::Reopen { order_id: id(order), reason: "order_expired".to_owned() };
    cart(frozen.clone()).when(reopen(1)).then_expect_events(vec![reopened(1)]);
    cart(frozen.clone()).when(reopen(2)).then_expect_events(vec![]);
    cart([frozen, vec![reopened(1)]].concat()).when(start(2)).then_expect_events(vec![started(2, 2)]);
}

#[test]
fn a_cart_is_completed_by_its_order_only() {
    let complete = |order| CartCommand::Complete { order_id: id(order) };
    let completed = |order| CartEvent::CartCompleted(CartCompleted { order_id: id(order) });
    let frozen = [ready(), vec![started(1, 1)]].concat();
    cart(frozen.clone()).when(complete(1)).then_expect_events(vec![completed(1)]);
    cart(frozen.clone()).when(complete(2)).then_expect_error(CartRejection::OtherOrder { order_id: id(2) });
    let done = [frozen.clone(), vec![completed(1)]].concat();
    cart(done.clone()).when(complete(1)).then_expect_events(vec![]);
    cart(done).when(add(line(2, 1))).then_expect_error(CartRejection::Completed { order_id: id(1) });
    // Late money revives the order of a cart that was reopened, but not once it is checked out anew.
    let reopened = [frozen, vec![reopened(1)]].concat();
    cart(reopened.clone()).when(complete(1)).then_expect_events(vec![completed(1)]);
    cart([reopened, vec![started(2, 2)]].concat()).when(complete(1)).then_expect_error(CartRejection::OtherOrder { order_id: id(1) });
}

#[test]
fn an_expired_cart_stays_expired() {
    let expired = CartEvent::CartExpired(CartExpired {});
    cart(vec![]).when(CartCommand::Expire).then_expect_events(vec![expired.clone()]);
    cart(vec![expired.clone()]).when(CartCommand::Expire).then_expect_events(vec![]);
    cart(vec![expired]).when(add(line(1, 1))).then_expect_error(CartRejection::Expired);
}

#[test]
fn a_guests_cart_is_claimed_by_one_customer() {
    let claim = |customer| CartCommand::Claim { customer_id: id(customer), subject_id: id(7) };
    let claimed = CartEvent::CartClaimed(CartClaimed { customer_id: id(1), subject_id: id(7) });
    cart(vec![]).when(claim(1)).then_expect_events(vec![claimed.clone()]);
    cart(vec![claimed.clone()]).when(claim(1)).then_expect_events(vec![]);
    cart(vec![claimed]).when(claim(2)).then_expect_error(CartRejection::OtherCustomer);
}

#[test]
fn a_merge_adds_quantities_and_cuts_them_off_at_the_limit() {
    let lines = vec![line(1, 998), CartLine { line_id: id(21), ..line(2, 3) }];
    let merge = CartCommand::Merge { from_cart: CartKey::new("aa"), lines, limits: CartLimits::default() };
    let merged = CartEvent::CartMerged(CartMerged {
        from_cart: CartKey::new("aa"),
        lines: vec![line(1, 999), CartLine { line_id: id(21), ..line(2, 3) }],
    });
    cart(vec![added(line(1, 5))]).when(merge).then_expect_events(vec![merged.clone()]);
    let quantities: Vec<_> = fold(vec![added(line(1, 5)), merged]).lines.iter().map(|line| line.quantity).collect();
    assert_eq!(quantities, [999, 3]);
}

#[test]
fn a_merge_takes_no_more_lines_than_fit() {
    let limits = CartLimits { lines_max: 2, line_quantity_max: 9 };
    let lines = vec![line(2, 1), line(3, 1), line(1, 1)];
    let events = fold(vec![added(line(1, 1))]).decide(CartCommand::Merge { from_cart: CartKey::new("aa"), lines, limits }).unwrap();
    let CartEvent::CartMerged(merged) = &events[0] else { panic!("{events:?}") };
    let ids: Vec<LineId> = merged.lines.iter().map(|line| line.line_id).collect();
    assert_eq!(ids, [id(2), id(1)]);
}

#[test]
fn a_merged_line_hangs_on_what_its_parent_has_become() {
    let engraving = |n, parent| CartLine { parent_line_id: Some(id(parent)), ..line(n, 1) };
    let lines = vec![CartLine { line_id: id(21), ..line(1, 1) }, engraving(22, 21), line(3, 1), engraving(24, 3)];
    let limits = CartLimits { lines_max: 2, line_quantity_max: 9 };
    let merge = CartCommand::Merge { from_cart: CartKey::new("aa"), lines, limits };
    let merged = CartMerged { from_cart: CartKey::new("aa"), lines: vec![line(1, 2), engraving(22, 1)] };
    cart(vec![added(line(1, 1))]).when(merge).then_expect_events(vec![CartEvent::CartMerged(merged)]);
}

#[test]
fn a_cart_keeps_what_it_was_created_with_until_that_is_changed() {
    let from_germany =
        CartCreated { customer_id: Some(id(7)), country: Some("DE".to_owned()), language: Some("de".to_owned()), ..created() };
    let mut cart = Cart::default();
    assert_eq!(cart.stage.as_str(), "");
    cart.apply(&CartEvent::CartCreated(from_germany));
    assert_eq!((cart.customer_id, cart.channel.as_str(), cart.ship_to()), (Some(id(7)), "storefront", None));
    assert_eq!((cart.country.as_deref(), cart.language.as_deref(), cart.stage.as_str()), (Some("DE"), Some("de"), "open"));
    let french = CartSettingsChanged { language: Some("fr".to_owned()), ..CartSettingsChanged::default() };
    cart.apply(&CartEvent::CartSettingsChanged(french));
    cart.apply(&contact_set());
    assert_eq!((cart.country.as_deref(), cart.language.as_deref(), cart.currency), (Some("DE"), Some("fr"), "EUR".parse().ok()));
    assert_eq!(cart.ship_to().map(|there| there.country.as_str()), Some("GB"));
    let words = [started(1, 1), CartEvent::CartCompleted(CartCompleted { order_id: id(1) }), CartEvent::CartExpired(CartExpired {})];
    let words = words.map(|event| {
        cart.apply(&event);
        cart.stage.as_str()
    });
    assert_eq!(words, ["completing", "completed", "expired"]);
}

#[test]
fn what_is_changed_or_removed_is_that_and_nothing_beside_it() {
    let coupon = |n| CartCoupon { promotion_id: id(1), coupon_id: id(n), reason: None };
    let both = [1, 2].map(|n| CartEvent::CartCouponApplied(coupon(n)));
    let lines = [line(1, 1), line(2, 1), line(3, 1)].map(added);
    let cart = fold([&lines[..], &both, &[changed(2, 5), removed(3, "shopper"), CartEvent::CartCouponRemoved(coupon(1))]].concat());
    assert_eq!(cart.lines, [line(1, 1), line(2, 5)]);
    assert_eq!(cart.coupons, [coupon(2)]);
}

#[test]
fn a_coupon_is_applied_once() {
    let coupon = CartCoupon { promotion_id: id(1), coupon_id: id(2), reason: None };
    let apply = CartCommand::ApplyCoupon { promotion_id: id(1), coupon_id: id(2) };
    let applied = CartEvent::CartCouponApplied(coupon.clone());
    cart(vec![]).when(apply.clone()).then_expect_events(vec![applied.clone()]);
    cart(vec![applied.clone()]).when(apply).then_expect_events(vec![]);
    let reason = Some("exhausted".to_owned());
    cart(vec![applied])
        .when(CartCommand::RemoveCoupon { coupon_id: id(2), reason: reason.clone() })
        .then_expect_events(vec![CartEvent::CartCouponRemoved(CartCoupon { reason, ..coupon })]);
}

#[test]
fn a_cart_holds_a_bounded_number_of_coupons() {
    let mut events = vec![CartEvent::CartCreated(created())];
    events.extend(
        (0..COUPONS_MAX as u128)
            .map(|n| CartEvent::CartCouponApplied(CartCoupon { promotion_id: id(1), coupon_id: id(2 + n), reason: None })),
    );
    let another = CartCommand::ApplyCoupon { promotion_id: id(1), coupon_id: id(500) };
    TestFramework::<Cart>::with(()).given(events.clone()).when(another).then_expect_error(CartRejection::CouponLimit);
    let again = CartCommand::ApplyCoupon { promotion_id: id(1), coupon_id: id(2) };
    TestFramework::<Cart>::with(()).given(events).when(again).then_expect_events(vec![]);
}

#[test]
fn the_currency_is_fixed_once_prices_were_seen() {
    let dollars = CartSettingsChanged { currency: Some("USD".parse().unwrap()), ..CartSettingsChanged::default() };
    cart(vec![])
        .when(CartCommand::ChangeSettings(dollars.clone()))
        .then_expect_events(vec![CartEvent::CartSettingsChanged(dollars.clone())]);
    cart(vec![added(line(1, 1))]).when(CartCommand::ChangeSettings(dollars)).then_expect_error(CartRejection::CurrencyFixed);
    let nowhere = CartSettingsChanged { country: Some("Utopia".to_owned()), ..CartSettingsChanged::default() };
    cart(vec![])
        .when(CartCommand::ChangeSettings(nowhere))
        .then_expect_error(CartRejection::CountryInvalid { country: "Utopia".to_owned() });
}

#[test]
fn a_cart_survives_its_snapshot() {
    let cart = fold([ready(), vec![started(1, 1)]].concat());
    let json = serde_json::to_string(&cart).unwrap();
    assert_eq!(serde_json::from_str::<Cart>(&json).unwrap(), cart);
    assert!(json.contains(r#"{"$personal":"ada@example.com"}"#), "{json}");
}
