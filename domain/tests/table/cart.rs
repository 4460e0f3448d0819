//! Carts, from nothing to an order and back.

use domain::cart::{
    Address, Cart, CartCheckoutStarted, CartClaimed, CartCommand, CartCompleted, CartContactSet, CartCoupon, CartCreated, CartEvent,
    CartExpired, CartLimits, CartLine, CartRejection, CartReopened, CartSettingsChanged, CartShippingOptionChosen, CartStage, ContactDraft,
};
use domain::id::{CartKey, LineId};
use domain::money::Money;
use domain::personal::Personal;

use crate::{Table, check_reached, eur, id};

variants!(CartCommand:
    Create, AddLine, SetQuantity, RemoveLine, ApplyCoupon, RemoveCoupon, SetContact, ChooseShippingOption, ChangeSettings, Claim, Merge,
    StartCheckout, Reopen, Complete, Expire,
);
variants!(CartRejection:
    NotFound, Exists, CheckoutInProgress, Completed, Expired, LineNotFound, LineExists, QuantityZero, QuantityLimit, LineLimit,
    CouponLimit, CurrencyMismatch, CurrencyFixed, CountryInvalid, ContactInvalid, OtherCustomer, CheckoutIncomplete, OtherOrder,
);
variants!(CartStage: Absent, Open, Completing, Completed, Expired);

/// Two units of variant 101 are line 1, which line 2 hangs on; carts hold three lines of nine units.
/// Orders 1 and 2 are of this cart where it was checked out, order 9 is of another one.
const TABLE: &str = "
open = empty filled full couponed contact ready claimed reopened
frozen = completing again
gone = expired expired_reopened

Create
    CartCreated                                                | absent
    cart_exists                                                | completing again completed expired expired_reopened open

Create for a country that is none
    country_invalid                                            | absent
    cart_exists                                                | completing again completed expired expired_reopened open

AddLine of another variant
    cart_not_found                                             | absent
    CartLineAdded                                              | open but full
    line_limit                                                 | full
    checkout_in_progress                                       | frozen
    cart_completed                                             | completed
    cart_expired                                               | gone

AddLine of the same variant
    cart_not_found                                             | absent
    CartLineAdded                                              | empty
    CartLineQuantityChanged                                    | open but empty
    checkout_in_progress                                       | frozen
    cart_completed                                             | completed
    cart_expired                                               | gone

AddLine of the same variant, beyond the limit
    cart_not_found                                             | absent
    CartLineAdded                                              | empty
    quantity_limit                                             | open but empty
    checkout_in_progress                                       | frozen
    cart_completed                                             | completed
    cart_expired                                               | gone

AddLine of another variant, beyond the limit
    cart_not_found                                             | absent
    quantity_limit                                             | open
    checkout_in_progress                                       | frozen
    cart_completed                                             | completed
    cart_expired                                               | gone

AddLine of another variant under a known id
    cart_not_found                                             | absent
    CartLineAdded                                              | empty
    line_exists                                                | open but empty
    checkout_in_progress                                       | frozen
    cart_completed                                             | completed
    cart_expired                                               | gone

AddLine that hangs on no line
    cart_not_found                                             | absent
    line_not_found                                             | open
    checkout_in_progress                                       | frozen
    cart_completed                                             | completed
    cart_expired                                               | gone

AddLine of nothing
    cart_not_found                                             | absent
    quantity_zero                                              | open
    checkout_in_progress                                       | frozen
    cart_completed                                             | completed
    cart_expired                                               | gone

AddLine with a price in yen
    cart_not_found                                             | absent
    currency_mismatch                                          | open
    checkout_in_progress                                       | frozen
    cart_completed                                             | completed
    cart_expired                                               | gone

SetQuantity of line 1 to what it is
    cart_not_found                                             | absent
    line_not_found                                             | empty
    -                                                          | open but empty
    checkout_in_progress                                       | frozen
    cart_completed                                             | completed
    cart_expired                                               | gone

SetQuantity of line 1 to 9
    cart_not_found                                             | absent
    line_not_found                                             | empty
    CartLineQuantityChanged                                    | open but empty
    checkout_in_progress                                       | frozen
    cart_completed                                             | completed
    cart_expired                                               | gone

SetQuantity of line 1 to 10
    cart_not_found                                             | absent
    line_not_found                                             | empty
    quantity_limit                                             | open but empty
    checkout_in_progress                                       | frozen
    cart_completed                                             | completed
    cart_expired                                               | gone

SetQuantity of line 1 to 0
    cart_not_found                                             | absent
    line_not_found                                             | empty
    CartLineRemoved CartLineRemoved                            | open but empty
    checkout_in_progress                                       | frozen
    cart_completed                                             | completed
    cart_expired                                               | gone

SetQuantity of no line
    cart_not_found                                             | absent
    line_not_found                                             | open
    checkout_in_progress                                       | frozen
    cart_completed                                             | completed
    cart_expired                                               | gone

RemoveLine 2
    cart_not_found                                             | absent
    line_not_found                                             | empty
    CartLineRemoved                                            | open but empty
    checkout_in_progress                                       | frozen
    cart_completed                                             | completed
    cart_expired                                               | gone

RemoveLine that isn't there
    cart_not_found                                             | absent
    line_not_found                                             | open
    checkout_in_progress                                       | frozen
    cart_completed                                             | completed
    cart_expired                                               | gone

ApplyCoupon
    cart_not_found                                             | absent
    CartCouponApplied                                          | open but couponed
    -                                                          | couponed
    checkout_in_progress                                       | frozen
    cart_completed                                             | completed
    cart_expired                                               | gone

RemoveCoupon
    cart_not_found                                             | absent
    -                                                          | open but couponed
    CartCouponRemoved                                          | couponed
    checkout_in_progress                                       | frozen
    cart_completed                                             | completed
    cart_expired                                               | gone

SetContact
    cart_not_found                                             | absent
    CartContactSet                                             | empty filled full couponed
    -                                                          | contact ready claimed reopened
    checkout_in_progress                                       | frozen
    cart_completed                                             | completed
    cart_expired                                               | gone

SetContact with another address
    cart_not_found                                             | absent
    CartContactSet                                             | open
    checkout_in_progress                                       | frozen
    cart_completed                                             | completed
    cart_expired                                               | gone

SetContact without an address
    cart_not_found                                             | absent
    contact_invalid                                            | open
    checkout_in_progress                                       | frozen
    cart_completed                                             | completed
    cart_expired                                               | gone

ChooseShippingOption
    cart_not_found                                             | absent
    CartShippingOptionChosen                                   | open but ready claimed reopened
    -                                                          | ready claimed reopened
    checkout_in_progress                                       | frozen
    cart_completed                                             | completed
    cart_expired                                               | gone

ChooseShippingOption in yen
    cart_not_found                                             | absent
    currency_mismatch                                          | open
    checkout_in_progress                                       | frozen
    cart_completed                                             | completed
    cart_expired                                               | gone

ChangeSettings to what they are
    cart_not_found                                             | absent
    -                                                          | open
    checkout_in_progress                                       | frozen
    cart_completed                                             | completed
    cart_expired                                               | gone

ChangeSettings to the country it is
    cart_not_found                                             | absent
    -                                                          | open
    checkout_in_progress                                       | frozen
    cart_completed                                             | completed
    cart_expired                                               | gone

ChangeSettings to another country
    cart_not_found                                             | absent
    CartSettingsChanged                                        | open
    checkout_in_progress                                       | frozen
    cart_completed                                             | completed
    cart_expired                                               | gone

ChangeSettings to yen
    cart_not_found                                             | absent
    CartSettingsChanged                                        | empty
    currency_fixed                                             | open but empty
    checkout_in_progress                                       | frozen
    cart_completed                                             | completed
    cart_expired                                               | gone

ChangeSettings to French
    cart_not_found                                             | absent
    CartSettingsChanged                                        | open
    checkout_in_progress                                       | frozen
    cart_completed                                             | completed
    cart_expired                                               | gone

ChangeSettings to a country that is none
    cart_not_found                                             | absent
    country_invalid                                            | open
    checkout_in_progress                                       | frozen
    cart_completed                                             | completed
    cart_expired                                               | gone

Claim by customer 1
    cart_not_found                                             | absent
    CartClaimed                                                | open but claimed
    -                                                          | claimed
    checkout_in_progress                                       | frozen
    cart_completed                                             | completed
    cart_expired                                               | gone

Claim by customer 2
    cart_not_found                                             | absent
    CartClaimed                                                | open but claimed
    cart_of_other_customer                                     | claimed
    checkout_in_progress                                       | frozen
    cart_completed                                             | completed
    cart_expired                                               | gone

Merge of one more unit
    cart_not_found                                             | absent
    CartMerged                                                 | open
    checkout_in_progress                                       | frozen
    cart_completed                                             | completed
    cart_expired                                               | gone

Merge of two more lines
    cart_not_found                                             | absent
    CartMerged                                                 | open but full
    -                                                          | full
    checkout_in_progress                                       | frozen
    cart_completed                                             | completed
    cart_expired                                               | gone

Merge of nothing
    cart_not_found                                             | absent
    -                                                          | open
    checkout_in_progress                                       | frozen
    cart_completed                                             | completed
    cart_expired                                               | gone

Merge of a line of no units
    cart_not_found                                             | absent
    -                                                          | open
    checkout_in_progress                                       | frozen
    cart_completed                                             | completed
    cart_expired                                               | gone

Merge of yen
    cart_not_found                                             | absent
    currency_mismatch                                          | open
    checkout_in_progress                                       | frozen
    cart_completed                                             | completed
    cart_expired                                               | gone

StartCheckout as order 1
    cart_not_found                                             | absent
    checkout_incomplete                                        | open but ready claimed reopened
    CartCheckoutStarted                                        | ready claimed reopened
    -                                                          | completing
    checkout_in_progress                                       | again
    cart_completed                                             | completed
    cart_expired                                               | gone

StartCheckout as order 2
    cart_not_found                                             | absent
    checkout_incomplete                                        | open but ready claimed reopened
    CartCheckoutStarted                                        | ready claimed reopened
    checkout_in_progress                                       | completing
    -                                                          | again
    cart_completed                                             | completed
    cart_expired                                               | gone

StartCheckout as order 2, without a delivery
    cart_not_found                                             | absent
    checkout_incomplete                                        | empty filled full couponed
    CartCheckoutStarted                                        | contact ready claimed reopened
    checkout_in_progress                                       | completing
    -                                                          | again
    cart_completed                                             | completed
    cart_expired                                               | gone

StartCheckout in yen
    cart_not_found                                             | absent
    currency_mismatch                                          | open
    checkout_in_progress                                       | completing
    -                                                          | again
    cart_completed                                             | completed
    cart_expired                                               | gone

Reopen after order 1
    cart_not_found                                             | absent
    -                                                          | again completed expired expired_reopened open
    CartReopened                                               | completing

Reopen after order 9
    cart_not_found                                             | absent
    -                                                          | completing again completed expired expired_reopened open

Complete by order 1
    cart_not_found                                             | absent
    order_of_other_cart                                        | again expired open but reopened
    CartCompleted                                              | completing reopened gone but expired
    -                                                          | completed

Complete by order 2
    cart_not_found                                             | absent
    order_of_other_cart                                        | completing completed expired expired_reopened open
    CartCompleted                                              | again

Complete by order 9
    cart_not_found                                             | absent
    order_of_other_cart                                        | completing again completed expired expired_reopened open

Expire
    cart_not_found                                             | absent
    CartExpired                                                | open
    checkout_in_progress                                       | frozen
    cart_completed                                             | completed
    -                                                          | gone
";

const LIMITS: CartLimits = CartLimits { lines_max: 3, line_quantity_max: 9 };

fn line(n: u128, quantity: u32) -> CartLine {
    CartLine { line_id: id(n), variant_id: id(100 + n), sku: None, quantity, price_seen: eur(1999), parent_line_id: None, properties: None }
}

fn engraving() -> CartLine {
    CartLine { parent_line_id: Some(id(1)), ..line(2, 1) }
}

fn yen() -> Money {
    Money::new(300, "JPY".parse().unwrap()).unwrap()
}

fn created() -> CartCreated {
    CartCreated {
        subject_id: id(1),
        customer_id: None,
        channel: "storefront".to_owned(),
        currency: "EUR".parse().unwrap(),
        country: Some("DE".to_owned()),
        language: None,
    }
}

fn contact(email: &str) -> ContactDraft {
    ContactDraft {
        email: email.to_owned(),
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

fn after(steps: &[&[CartEvent]]) -> Cart {
    let mut cart = Cart::default();
    for event in steps.iter().copied().flatten() {
        cart.apply(event);
    }
    cart
}

fn states() -> Vec<(&'static str, Cart)> {
    let create = [CartEvent::CartCreated(created())];
    let lines = [CartEvent::CartLineAdded(line(1, 2).into()), CartEvent::CartLineAdded(engraving().into())];
    let more = [CartEvent::CartLineAdded(line(3, 9).into())];
    let coupon = [CartEvent::CartCouponApplied(CartCoupon { promotion_id: id(1), coupon_id: id(1), reason: None })];
    let draft = contact("ada@example.com");
    let contact = [CartEvent::CartContactSet(Box::new(CartContactSet {
        subject_id: id(1),
        ship_to: draft.shipping_address.ship_to(),
        email: Personal::Known(draft.email),
        phone: None,
        shipping_address: Personal::Known(draft.shipping_address),
        billing_address: None,
    }))];
    let shipping = [CartEvent::CartShippingOptionChosen(CartShippingOptionChosen { option_id: id(1), price_seen: eur(490) })];
    let claim = [CartEvent::CartClaimed(CartClaimed { customer_id: id(1), subject_id: id(1) })];
    let start = |n| [CartEvent::CartCheckoutStarted(CartCheckoutStarted { order_id: id(u128::from(n)), checkout_no: n, total: eur(6487) })];
    let reopen = [CartEvent::CartReopened(CartReopened { order_id: id(1), reason: "order_expired".to_owned() })];
    let complete = [CartEvent::CartCompleted(CartCompleted { order_id: id(1) })];
    let expire = [CartEvent::CartExpired(CartExpired {})];
    let ready: [&[CartEvent]; 4] = [&create, &lines, &contact, &shipping];
    let then = |steps: &[&[CartEvent]]| after(&[&ready[..], steps].concat());
    vec![
        ("absent", after(&[])),
        ("empty", after(&[&create])),
        ("filled", after(&[&create, &lines])),
        ("full", after(&[&create, &lines, &more])),
        ("couponed", after(&[&create, &lines, &coupon])),
        ("contact", after(&[&create, &lines, &contact])),
        ("ready", then(&[])),
        ("claimed", then(&[&claim])),
        ("completing", then(&[&start(1)])),
        ("reopened", then(&[&start(1), &reopen])),
        ("again", then(&[&start(1), &reopen, &start(2)])),
        ("completed", then(&[&start(1), &complete])),
        ("expired", after(&[&create, &lines, &expire])),
        ("expired_reopened", then(&[&start(1), &reopen, &expire])),
    ]
}

fn commands() -> Vec<(&'static str, CartCommand)> {
    use CartCommand::{
        AddLine, ApplyCoupon, ChangeSettings, ChooseShippingOption, Claim, Complete, Create, Expire, Merge, RemoveCoupon, RemoveLine,
        Reopen, SetContact, SetQuantity, StartCheckout,
    };
    let add = |line| AddLine { line, limits: LIMITS };
    let set = |n, quantity| SetQuantity { line_id: id(n), quantity, limits: LIMITS };
    let merge = |lines| Merge { from_cart: CartKey::new("b0b0"), lines, limits: LIMITS };
    let choose = |price_seen| ChooseShippingOption { option_id: id(1), price_seen };
    let change = |change: fn(&mut CartSettingsChanged)| {
        let mut settings = CartSettingsChanged::default();
        change(&mut settings);
        ChangeSettings(settings)
    };
    let start = |n, requires_shipping| StartCheckout { order_id: id(n), total: eur(6487), requires_shipping };
    let missing_parent: Option<LineId> = Some(id(9));
    vec![
        ("Create", Create(created())),
        ("Create for a country that is none", Create(CartCreated { country: Some("Germany".to_owned()), ..created() })),
        ("AddLine of another variant", add(line(7, 1))),
        ("AddLine of the same variant", add(CartLine { line_id: id(7), ..line(1, 3) })),
        ("AddLine of the same variant, beyond the limit", add(CartLine { line_id: id(7), ..line(1, 8) })),
        ("AddLine of another variant, beyond the limit", add(line(7, 10))),
        ("AddLine of another variant under a known id", add(CartLine { variant_id: id(109), ..line(1, 1) })),
        ("AddLine that hangs on no line", add(CartLine { parent_line_id: missing_parent, ..line(7, 1) })),
        ("AddLine of nothing", add(line(7, 0))),
        ("AddLine with a price in yen", add(CartLine { price_seen: yen(), ..line(7, 1) })),
        ("SetQuantity of line 1 to what it is", set(1, 2)),
        ("SetQuantity of line 1 to 9", set(1, 9)),
        ("SetQuantity of line 1 to 10", set(1, 10)),
        ("SetQuantity of line 1 to 0", set(1, 0)),
        ("SetQuantity of no line", set(9, 1)),
        ("RemoveLine 2", RemoveLine { line_id: id(2), reason: "shopper".to_owned() }),
        ("RemoveLine that isn't there", RemoveLine { line_id: id(9), reason: "shopper".to_owned() }),
        ("ApplyCoupon", ApplyCoupon { promotion_id: id(1), coupon_id: id(1) }),
        ("RemoveCoupon", RemoveCoupon { coupon_id: id(1), reason: None }),
        ("SetContact", SetContact(Box::new(contact("ada@example.com")))),
        ("SetContact with another address", SetContact(Box::new(contact("ada@example.org")))),
        ("SetContact without an address", SetContact(Box::new(contact("")))),
        ("ChooseShippingOption", choose(eur(490))),
        ("ChooseShippingOption in yen", choose(yen())),
        ("ChangeSettings to what they are", change(|settings| settings.currency = "EUR".parse().ok())),
        ("ChangeSettings to the country it is", change(|settings| settings.country = Some("DE".to_owned()))),
        ("ChangeSettings to another country", change(|settings| settings.country = Some("GB".to_owned()))),
        ("ChangeSettings to yen", change(|settings| settings.currency = "JPY".parse().ok())),
        ("ChangeSettings to French", change(|settings| settings.language = Some("fr".to_owned()))),
        ("ChangeSettings to a country that is none", change(|settings| settings.country = Some("fr".to_owned()))),
        ("Claim by customer 1", Claim { customer_id: id(1), subject_id: id(1) }),
        ("Claim by customer 2", Claim { customer_id: id(2), subject_id: id(2) }),
        ("Merge of one more unit", merge(vec![CartLine { line_id: id(7), ..line(1, 1) }])),
        ("Merge of two more lines", merge(vec![line(7, 1), line(8, 1)])),
        ("Merge of nothing", merge(vec![])),
        ("Merge of a line of no units", merge(vec![line(7, 0)])),
        ("Merge of yen", merge(vec![CartLine { price_seen: yen(), ..line(7, 1) }])),
        ("StartCheckout as order 1", start(1, true)),
        ("StartCheckout as order 2", start(2, true)),
        ("StartCheckout as order 2, without a delivery", start(2, false)),
        ("StartCheckout in yen", StartCheckout { order_id: id(2), total: yen(), requires_shipping: true }),
        ("Reopen after order 1", Reopen { order_id: id(1), reason: "order_expired".to_owned() }),
        ("Reopen after order 9", Reopen { order_id: id(9), reason: "order_expired".to_owned() }),
        ("Complete by order 1", Complete { order_id: id(1) }),
        ("Complete by order 2", Complete { order_id: id(2) }),
        ("Complete by order 9", Complete { order_id: id(9) }),
        ("Expire", Expire),
    ]
}

#[test]
fn a_cart_in_every_state() {
    check_reached(states().into_iter().map(|(_, cart)| cart.stage));
    Table {
        text: TABLE,
        states: states(),
        commands: commands(),
        decide: Cart::decide,
        code: CartRejection::code,
        events_elsewhere: &[],
        refusals_elsewhere: &[("CouponLimit", "no state of the table has ten coupons; see the tests of carts")],
    }
    .check();
}
