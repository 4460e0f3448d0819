//! Settings: written down once, refused where nobody could reckon with them, in the order in which stock is sold.

#![expect(clippy::unwrap_used, reason = "a test whose facts can't be made should fail")]

use cqrs_es::test::{AggregateTestExecutor, TestFramework};
use domain::id::{LocationId, MethodId, TaxId};
use domain::money::{Money, Rounding};
use domain::pricing::{AmountTier, ShippingMethod, ShippingRates, TaxRate, WeightTier};
use domain::setting::{
    LocationAddress, LocationChange, LocationClosed, LocationFacts, NewLocation, SettingCommand, SettingEvent, SettingRejection, Settings,
    ShippingMethodRemoved, StoreFacts, StoreTermsSet, TAX_RATES_MAX, TaxRateRemoved,
};
use uuid::Uuid;

fn id<T: From<Uuid>>(n: u128) -> T {
    T::from(Uuid::from_u128(n))
}

fn eur(amount: i64) -> Money {
    Money::new(amount, "EUR".parse().unwrap()).unwrap()
}

const MAIN: u128 = 1;
const SHOP: u128 = 2;

fn facts(n: u128, code: &str, priority: u32) -> LocationFacts {
    LocationFacts { location_id: id(n), code: code.to_owned(), title: "Place".to_owned(), address: LocationAddress::default(), priority }
}

fn added(n: u128, code: &str, priority: u32) -> SettingEvent {
    SettingEvent::LocationAdded(facts(n, code, priority))
}

fn add(n: u128, code: &str, priority: Option<u32>) -> SettingCommand {
    let LocationFacts { location_id, code, title, address, .. } = facts(n, code, 0);
    SettingCommand::AddLocation(NewLocation { location_id, code, title, address, priority })
}

fn close(n: u128, variants_there: u64) -> SettingCommand {
    SettingCommand::CloseLocation { location_id: id(n), variants_there }
}

fn closed(n: u128) -> SettingEvent {
    SettingEvent::LocationClosed(LocationClosed { location_id: id(n) })
}

fn rate(n: u128) -> TaxRate {
    TaxRate {
        tax_id: id(n),
        title: "VAT".to_owned(),
        country: "DE".to_owned(),
        region: None,
        category: "standard".to_owned(),
        rate_ppm: 190_000,
        compound: false,
        applies_to_shipping: true,
    }
}

fn method(n: u128) -> ShippingMethod {
    ShippingMethod {
        method_id: id(n),
        title: "Parcel".to_owned(),
        countries: vec!["DE".to_owned()],
        prices: vec![eur(490)],
        tax_category: "standard".to_owned(),
        free_from: vec![],
        rates: None,
    }
}

fn terms() -> StoreTermsSet {
    StoreTermsSet { prices_include_tax: true, rounding: Rounding::HalfUp }
}

fn given(events: Vec<SettingEvent>) -> AggregateTestExecutor<Settings> {
    TestFramework::<Settings>::with(()).given(events)
}

fn fold(events: &[SettingEvent]) -> Settings {
    let mut settings = Settings::default();
    for event in events {
        settings.apply(event);
    }
    settings
}

/// The codes of the fields that a command is refused for.
fn wrong(command: SettingCommand) -> Vec<String> {
    match fold(&[added(MAIN, "main", 0)]).decide(command) {
        Err(SettingRejection::Invalid { errors }) => errors.into_iter().map(|error| error.pointer).collect(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn the_configuration_is_written_down_once_and_before_anything_else() {
    let configured =
        StoreFacts { terms: terms(), locations: vec![facts(MAIN, "main", 0)], tax_rates: vec![rate(1)], shipping_methods: vec![method(1)] };
    let written = vec![
        SettingEvent::StoreTermsSet(terms()),
        added(MAIN, "main", 0),
        SettingEvent::TaxRateSet(rate(1)),
        SettingEvent::ShippingMethodSet(method(1)),
    ];
    let seed = SettingCommand::Seed(Box::new(configured));
    TestFramework::<Settings>::with(()).given_no_previous_events().when(seed.clone()).then_expect_events(written.clone());
    given(written).when(seed).then_expect_events(vec![]);
}

#[test]
fn terms_change_as_far_as_they_are_named() {
    let there = vec![SettingEvent::StoreTermsSet(terms())];
    let change = |prices_include_tax, rounding| SettingCommand::ChangeTerms { prices_include_tax, rounding };
    let exclusive = StoreTermsSet { prices_include_tax: false, ..terms() };
    given(there.clone()).when(change(Some(false), None)).then_expect_events(vec![SettingEvent::StoreTermsSet(exclusive)]);
    given(there).when(change(Some(true), Some(Rounding::HalfUp))).then_expect_events(vec![]);
}

#[test]
fn locations_are_sold_from_by_priority_and_a_new_one_comes_last() {
    given(vec![added(MAIN, "main", 0), added(SHOP, "shop", 7)]).when(add(3, "attic", None)).then_expect_events(vec![added(3, "attic", 8)]);
    let change = LocationChange { priority: Some(0), ..LocationChange::default() };
    let mut settings = fold(&[added(MAIN, "main", 1), added(SHOP, "shop", 7), added(3, "attic", 7)]);
    for event in settings.decide(SettingCommand::ChangeLocation { location_id: id(3), change }).unwrap() {
        settings.apply(&event);
    }
    let order: Vec<LocationId> = settings.open_locations().iter().map(|location| location.facts.location_id).collect();
    assert_eq!(order, [id(3), id(MAIN), id(SHOP)]);
}

#[test]
fn the_first_location_is_the_open_one_with_the_least_priority() {
    let first = |events: &[SettingEvent]| fold(events).first_location().map(|location| location.facts.code.clone());
    assert_eq!(first(&[]), None);
    let three = [added(1, "main", 2), added(2, "north", 0), added(3, "south", 1)];
    assert_eq!(first(&three).as_deref(), Some("north"));
    let one_closed: Vec<SettingEvent> = three.into_iter().chain([closed(2)]).collect();
    assert_eq!(first(&one_closed).as_deref(), Some("south"));
}

#[test]
fn a_code_is_of_one_open_location_and_free_again_when_that_is_closed() {
    given(vec![added(MAIN, "main", 0)])
        .when(add(SHOP, "Main", None))
        .then_expect_error(SettingRejection::LocationCodeTaken { code: "Main".to_owned() });
    let rename = LocationChange { code: Some("main".to_owned()), ..LocationChange::default() };
    given(vec![added(MAIN, "main", 0), added(SHOP, "shop", 1)])
        .when(SettingCommand::ChangeLocation { location_id: id(SHOP), change: rename })
        .then_expect_error(SettingRejection::LocationCodeTaken { code: "main".to_owned() });
    let before = vec![added(MAIN, "main", 0), added(SHOP, "shop", 1), closed(SHOP)];
    given(before.clone()).when(add(3, "shop", None)).then_expect_events(vec![added(3, "shop", 1)]);
    let settings = fold(&before);
    assert!(settings.location("SHOP").unwrap().is_closed);
    let again = fold(&[before, vec![added(3, "shop", 1)]].concat());
    assert_eq!(again.location("shop").unwrap().facts.location_id, id(3));
    let old: LocationId = id(SHOP);
    assert!(again.location(&old.to_string()).unwrap().is_closed);
}

#[test]
fn a_location_is_closed_when_nothing_is_there_and_another_one_is_open() {
    let two = vec![added(MAIN, "main", 0), added(SHOP, "shop", 1)];
    given(two.clone()).when(close(SHOP, 2)).then_expect_error(SettingRejection::LocationInUse { variants: 2 });
    given(two.clone()).when(close(SHOP, 0)).then_expect_events(vec![closed(SHOP)]);
    given(two.clone()).when(close(9, 0)).then_expect_error(SettingRejection::LocationNotFound);
    let one = [two, vec![closed(SHOP)]].concat();
    given(one.clone()).when(close(SHOP, 2)).then_expect_events(vec![]);
    given(one.clone()).when(close(MAIN, 0)).then_expect_error(SettingRejection::LastLocation);
    given(one)
        .when(SettingCommand::ChangeLocation { location_id: id(SHOP), change: LocationChange::default() })
        .then_expect_error(SettingRejection::LocationClosed { code: "shop".to_owned() });
}

#[test]
fn the_same_tax_can_not_be_charged_twice() {
    let there = vec![SettingEvent::TaxRateSet(rate(1))];
    given(there.clone()).when(SettingCommand::AddTaxRate(rate(2))).then_expect_error(SettingRejection::TaxRateExists { tax_id: id(1) });
    let of_a_region = TaxRate { region: Some("BY".to_owned()), ..rate(2) };
    given(there.clone())
        .when(SettingCommand::AddTaxRate(of_a_region.clone()))
        .then_expect_events(vec![SettingEvent::TaxRateSet(of_a_region)]);
    given(there.clone()).when(SettingCommand::ChangeTaxRate(rate(1))).then_expect_events(vec![]);
    given(there.clone()).when(SettingCommand::ChangeTaxRate(rate(2))).then_expect_error(SettingRejection::TaxRateNotFound);
    let removed = SettingEvent::TaxRateRemoved(TaxRateRemoved { tax_id: id(1) });
    given(there).when(SettingCommand::RemoveTaxRate { tax_id: id(1) }).then_expect_events(vec![removed]);
    given(vec![]).when(SettingCommand::RemoveTaxRate { tax_id: id::<TaxId>(1) }).then_expect_error(SettingRejection::TaxRateNotFound);
}

#[test]
fn a_changed_rate_stays_in_its_place() {
    let dearer = TaxRate { rate_ppm: 200_000, ..rate(1) };
    let other = TaxRate { title: "City".to_owned(), ..rate(2) };
    let settings =
        fold(&[SettingEvent::TaxRateSet(rate(1)), SettingEvent::TaxRateSet(other.clone()), SettingEvent::TaxRateSet(dearer.clone())]);
    assert_eq!(settings.tax_rates, [dearer, other]);
}

#[test]
fn what_is_changed_or_removed_is_the_one_that_was_meant() {
    let both = vec![
        added(MAIN, "main", 0),
        added(SHOP, "shop", 1),
        SettingEvent::TaxRateSet(rate(1)),
        SettingEvent::TaxRateSet(rate(2)),
        SettingEvent::ShippingMethodSet(method(1)),
        SettingEvent::ShippingMethodSet(method(2)),
    ];
    let renamed = ShippingMethod { title: "Letter".to_owned(), ..method(2) };
    let settings = fold(&[both.clone(), vec![SettingEvent::ShippingMethodSet(renamed.clone())]].concat());
    assert_eq!(settings.shipping_methods, [method(1), renamed]);
    let removed = vec![
        SettingEvent::TaxRateRemoved(TaxRateRemoved { tax_id: id(1) }),
        SettingEvent::ShippingMethodRemoved(ShippingMethodRemoved { method_id: id(2) }),
        SettingEvent::LocationChanged(facts(SHOP, "store", 2)),
        closed(MAIN),
    ];
    let settings = fold(&[both, removed].concat());
    assert_eq!((settings.tax_rates, settings.shipping_methods), (vec![rate(2)], vec![method(1)]));
    let places: Vec<_> = settings.locations.iter().map(|place| (place.facts.code.as_str(), place.is_closed)).collect();
    assert_eq!(places, [("main", true), ("store", false)]);
}

#[test]
fn what_is_just_within_the_bounds_is_set() {
    let settings = fold(&[added(MAIN, "main", 0)]);
    let allowed = |command: SettingCommand| settings.decide(command).map(|events| events.len()) == Ok(1);
    let long = "é".repeat(200);
    let too_long = "é".repeat(201);

    let place = |code: &str, title: &str, address: LocationAddress| {
        let LocationFacts { location_id, .. } = facts(SHOP, code, 0);
        SettingCommand::AddLocation(NewLocation { location_id, code: code.to_owned(), title: title.to_owned(), address, priority: None })
    };
    let address = |text: &str, country: &str| {
        let text = Some(text.to_owned());
        let [line1, line2, postal_code, city, region] = [const { None::<String> }; 5].map(|_| text.clone());
        LocationAddress { line1, line2, postal_code, city, region, country: Some(country.to_owned()) }
    };
    assert!(allowed(place(&"a-Z_0.".repeat(8), &long, address(&long, "DE"))));
    assert!(allowed(place(&"x".repeat(50), "Shop", LocationAddress::default())));
    assert_eq!(wrong(place(&"x".repeat(51), &too_long, LocationAddress::default())), ["/code", "/title"]);
    assert_eq!(wrong(place("", " ", LocationAddress::default())), ["/code", "/title"]);
    let fields = ["line1", "line2", "postal_code", "city", "region"].map(|field| format!("/address/{field}"));
    assert_eq!(wrong(place("shop", "Shop", address(&too_long, "DE"))), fields);

    let tax = |text: &str, rate_ppm| {
        let (title, region, category) = (text.to_owned(), Some(text.to_owned()), text.to_owned());
        SettingCommand::AddTaxRate(TaxRate { title, region, category, rate_ppm, ..rate(1) })
    };
    assert!(allowed(tax(&long, 1_000_000)));
    assert_eq!(wrong(tax(&too_long, 0)), ["/title", "/region", "/category"]);
    assert_eq!(wrong(tax(" ", 0)), ["/title", "/region", "/category"]);

    let shipping = |change: fn(&mut ShippingMethod)| {
        let mut method = method(1);
        change(&mut method);
        SettingCommand::AddShippingMethod(Box::new(method))
    };
    assert!(allowed(shipping(|m| m.prices = vec![eur(0), Money::new(5, "JPY".parse().unwrap()).unwrap()])));
    assert!(allowed(shipping(|m| m.free_from = vec![eur(0)])));
    assert_eq!(wrong(shipping(|m| m.prices = vec![eur(-1)])), ["/prices"]);
    let amounts = |count| {
        let tiers = (0..count).map(|from| AmountTier { from: eur(from), price: eur(5) }).collect();
        Some(ShippingRates::Amount { tiers })
    };
    let by_amount =
        |count| SettingCommand::AddShippingMethod(Box::new(ShippingMethod { prices: vec![], rates: amounts(count), ..method(1) }));
    assert!(allowed(by_amount(1)));
    assert!(allowed(by_amount(100)));
    assert_eq!(wrong(by_amount(101)), ["/rates/tiers"]);
    assert_eq!(wrong(by_amount(0)), ["/rates/tiers"]);
    let by_weight = |prices: Vec<Money>, grams_max| {
        let tiers = vec![WeightTier { from_grams: 0, prices: prices.clone() }, WeightTier { from_grams: 9, prices }];
        let rates = Some(ShippingRates::Weight { tiers, grams_max });
        SettingCommand::AddShippingMethod(Box::new(ShippingMethod { prices: vec![], rates, ..method(1) }))
    };
    assert!(allowed(by_weight(vec![eur(5)], Some(9))));
    assert!(allowed(by_weight(vec![eur(5)], None)));
    assert_eq!(wrong(by_weight(vec![], None)), ["/rates/tiers/0/prices", "/rates/tiers/1/prices"]);
}

#[test]
fn there_is_a_bound_to_what_a_cart_has_to_look_through() {
    let full: Vec<_> =
        (1..=TAX_RATES_MAX as u128).map(|n| SettingEvent::TaxRateSet(TaxRate { title: format!("{n}"), ..rate(n) })).collect();
    given(full)
        .when(SettingCommand::AddTaxRate(TaxRate { title: "one more".to_owned(), ..rate(0) }))
        .then_expect_error(SettingRejection::TooMany { max: TAX_RATES_MAX });
}

#[test]
fn what_nobody_could_reckon_with_is_refused_with_its_place() {
    let mut at = facts(SHOP, "no space", 0);
    at.address.country = Some("Germany".to_owned());
    let new = NewLocation { location_id: at.location_id, code: at.code, title: String::new(), address: at.address, priority: None };
    assert_eq!(wrong(SettingCommand::AddLocation(new)), ["/code", "/title", "/address/country"]);
    assert_eq!(wrong(add(SHOP, &Uuid::from_u128(7).to_string(), None)), ["/code"]);

    let rates = TaxRate { country: "de".to_owned(), region: Some(" ".to_owned()), category: String::new(), rate_ppm: 1_000_001, ..rate(1) };
    assert_eq!(wrong(SettingCommand::AddTaxRate(rates)), ["/country", "/region", "/category", "/rate_ppm"]);

    let shipping = |change: fn(&mut ShippingMethod)| {
        let mut method = method(1);
        change(&mut method);
        wrong(SettingCommand::AddShippingMethod(Box::new(method)))
    };
    assert_eq!(shipping(|m| m.prices = vec![]), ["/prices"]);
    assert_eq!(shipping(|m| m.prices = vec![eur(1), eur(2)]), ["/prices"]);
    assert_eq!(shipping(|m| m.free_from = vec![eur(-1)]), ["/free_from"]);
    assert_eq!(shipping(|m| m.countries = vec!["DE".to_owned(), "EU1".to_owned()]), ["/countries/1"]);
    assert_eq!(shipping(|m| m.rates = Some(ShippingRates::Amount { tiers: vec![] })), ["/prices"]);
    let tiers = |m: &mut ShippingMethod| {
        m.prices = vec![];
        let tier = |from, price| AmountTier { from: eur(from), price };
        let yen = Money::new(5, "JPY".parse().unwrap()).unwrap();
        m.rates = Some(ShippingRates::Amount { tiers: vec![tier(0, eur(5)), tier(0, yen)] });
    };
    assert_eq!(shipping(tiers), ["/rates/tiers/1/price", "/rates/tiers/1/from"]);
    let weights = |m: &mut ShippingMethod| {
        m.prices = vec![];
        let tier = |from_grams| WeightTier { from_grams, prices: vec![eur(5)] };
        m.rates = Some(ShippingRates::Weight { tiers: vec![tier(0), tier(0), tier(9)], grams_max: Some(8) });
    };
    assert_eq!(shipping(weights), ["/rates/tiers/1/from_grams", "/rates/tiers/2/from_grams"]);
    assert_eq!(
        fold(&[]).decide(SettingCommand::RemoveShippingMethod { method_id: id::<MethodId>(1) }),
        Err(SettingRejection::ShippingMethodNotFound)
    );
}
