//! The store's settings, from nothing to as many as there may be.

use domain::id::{LocationId, TaxId};
use domain::money::Rounding;
use domain::pricing::{ShippingMethod, TaxRate};
use domain::setting::{
    LOCATIONS_MAX, LocationAddress, LocationChange, LocationClosed, LocationFacts, NewLocation, SHIPPING_METHODS_MAX, SettingCommand,
    SettingEvent, SettingRejection, Settings, StoreFacts, StoreTermsSet, TAX_RATES_MAX,
};

use crate::{Table, eur, id};

variants!(SettingCommand:
    Seed, ChangeTerms, AddLocation, ChangeLocation, CloseLocation, AddTaxRate, ChangeTaxRate, RemoveTaxRate, AddShippingMethod,
    ChangeShippingMethod, RemoveShippingMethod,
);
variants!(SettingRejection:
    LocationNotFound, TaxRateNotFound, ShippingMethodNotFound, LocationCodeTaken, TaxRateExists, LocationClosed, LocationInUse, LastLocation,
    TooMany, Invalid,
);

/// Location 1 is "main", location 2 is "shop"; tax 1 and shipping method 1 are there or to be there.
const TABLE: &str = "
any = nothing one_place two_places one_closed taxed shipped full
written = one_place two_places one_closed taxed shipped full
without_2 = nothing one_place taxed shipped
with_2 = two_places full

Seed
    StoreTermsSet LocationAdded TaxRateSet ShippingMethodSet   | nothing
    -                                                          | written

ChangeTerms of the rounding
    StoreTermsSet                                              | any

ChangeTerms to prices with tax
    StoreTermsSet                                              | nothing
    -                                                          | written

ChangeTerms of nothing
    -                                                          | any

AddLocation attic
    LocationAdded                                              | any but full
    too_many                                                   | full

AddLocation with the code of the shop
    LocationAdded                                              | one_closed without_2
    location_code_taken                                        | two_places
    too_many                                                   | full

AddLocation without a title
    invalid                                                    | any but full
    too_many                                                   | full

AddLocation 2 once more
    LocationAdded                                              | without_2
    -                                                          | two_places one_closed
    too_many                                                   | full

AddLocation 2 as another one
    LocationAdded                                              | without_2
    location_code_taken                                        | two_places one_closed
    too_many                                                   | full

ChangeLocation 2 in its title
    location_not_found                                         | without_2
    LocationChanged                                            | with_2
    location_closed                                            | one_closed

ChangeLocation 2 to what it is
    location_not_found                                         | without_2
    -                                                          | with_2
    location_closed                                            | one_closed

ChangeLocation 2 to the code of the first
    location_not_found                                         | without_2
    location_code_taken                                        | with_2
    location_closed                                            | one_closed

ChangeLocation 2 to no code
    location_not_found                                         | without_2
    invalid                                                    | with_2
    location_closed                                            | one_closed

CloseLocation 2, where nothing is
    location_not_found                                         | without_2
    LocationClosed                                             | with_2
    -                                                          | one_closed

CloseLocation 2, where one variant is
    location_not_found                                         | without_2
    location_in_use                                            | with_2
    -                                                          | one_closed

CloseLocation 1, where nothing is
    location_not_found                                         | nothing
    last_location                                              | written but two_places full
    LocationClosed                                             | with_2

AddTaxRate 1
    TaxRateSet                                                 | any but taxed full
    -                                                          | taxed
    too_many                                                   | full

AddTaxRate 5000, the same tax as 1
    TaxRateSet                                                 | any but taxed full
    tax_rate_exists                                            | taxed
    too_many                                                   | full

AddTaxRate of more than all
    invalid                                                    | any but full
    too_many                                                   | full

ChangeTaxRate 1 to another rate
    tax_rate_not_found                                         | any but taxed full
    TaxRateSet                                                 | taxed full

ChangeTaxRate 1 to what it may be
    tax_rate_not_found                                         | any but taxed full
    -                                                          | taxed
    TaxRateSet                                                 | full

RemoveTaxRate 1
    tax_rate_not_found                                         | any but taxed full
    TaxRateRemoved                                             | taxed full

AddShippingMethod 1
    ShippingMethodSet                                          | any but shipped full
    -                                                          | shipped
    too_many                                                   | full

AddShippingMethod without a price
    invalid                                                    | any but full
    too_many                                                   | full

ChangeShippingMethod 1 in its title
    shipping_method_not_found                                  | any but shipped full
    ShippingMethodSet                                          | shipped full

ChangeShippingMethod 1 to what it is
    shipping_method_not_found                                  | any but shipped full
    -                                                          | shipped full

ChangeShippingMethod 1 to no price
    shipping_method_not_found                                  | any but shipped full
    invalid                                                    | shipped full

RemoveShippingMethod 1
    shipping_method_not_found                                  | any but shipped full
    ShippingMethodRemoved                                      | shipped full
";

fn terms() -> StoreTermsSet {
    StoreTermsSet { prices_include_tax: true, rounding: Rounding::HalfUp }
}

fn location(n: u128, code: &str) -> LocationFacts {
    LocationFacts { location_id: id(n), code: code.to_owned(), title: "Place".to_owned(), address: LocationAddress::default(), priority: 0 }
}

fn tax(n: u128, title: &str) -> TaxRate {
    TaxRate {
        tax_id: id(n),
        title: title.to_owned(),
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

fn states() -> Vec<(&'static str, Settings)> {
    let after = |events: &[SettingEvent]| {
        let mut settings = Settings::default();
        for event in events {
            settings.apply(event);
        }
        settings
    };
    let at = |n, code: &str| SettingEvent::LocationAdded(location(n, code));
    let one = vec![SettingEvent::StoreTermsSet(terms()), at(1, "main")];
    let two = [one.clone(), vec![at(2, "shop")]].concat();
    let closed = SettingEvent::LocationClosed(LocationClosed { location_id: id(2) });
    let and = |events: &[SettingEvent], next: Vec<SettingEvent>| after(&[events, next.as_slice()].concat());
    let full = {
        let locations = (3..=LOCATIONS_MAX as u128).map(|n| at(n, &format!("place-{n}")));
        let rates = (1..=TAX_RATES_MAX as u128).map(|n| SettingEvent::TaxRateSet(tax(n, &format!("VAT {n}"))));
        let methods = (1..=SHIPPING_METHODS_MAX as u128).map(|n| SettingEvent::ShippingMethodSet(method(n)));
        locations.chain(rates).chain(methods).collect()
    };
    vec![
        ("nothing", after(&[])),
        ("one_place", after(&one)),
        ("two_places", after(&two)),
        ("one_closed", and(&two, vec![closed])),
        ("taxed", and(&one, vec![SettingEvent::TaxRateSet(tax(1, "VAT"))])),
        ("shipped", and(&one, vec![SettingEvent::ShippingMethodSet(method(1))])),
        ("full", and(&two, full)),
    ]
}

fn commands() -> Vec<(&'static str, SettingCommand)> {
    use SettingCommand::{
        AddLocation, AddShippingMethod, AddTaxRate, ChangeLocation, ChangeShippingMethod, ChangeTaxRate, ChangeTerms, CloseLocation,
        RemoveShippingMethod, RemoveTaxRate, Seed,
    };
    let configured = |locations, tax_rates, shipping_methods| StoreFacts { terms: terms(), locations, tax_rates, shipping_methods };
    let add = |n, code: &str, title: &str| {
        let LocationFacts { location_id, code, address, priority, .. } = location(n, code);
        AddLocation(NewLocation { location_id, code, title: title.to_owned(), address, priority: Some(priority) })
    };
    let change = |change: LocationChange| ChangeLocation { location_id: id(2), change };
    let close = |n, variants_there| CloseLocation { location_id: id::<LocationId>(n), variants_there };
    let some = |text: &str| Some(text.to_owned());
    vec![
        ("Seed", Seed(Box::new(configured(vec![location(1, "main")], vec![tax(1, "VAT")], vec![method(1)])))),
        ("ChangeTerms of the rounding", ChangeTerms { prices_include_tax: None, rounding: Some(Rounding::HalfEven) }),
        ("ChangeTerms to prices with tax", ChangeTerms { prices_include_tax: Some(true), rounding: None }),
        ("ChangeTerms of nothing", ChangeTerms { prices_include_tax: None, rounding: None }),
        ("AddLocation attic", add(1_000, "attic", "Place")),
        ("AddLocation with the code of the shop", add(1_000, "Shop", "Place")),
        ("AddLocation without a title", add(1_000, "attic", "")),
        ("AddLocation 2 once more", add(2, "shop", "Place")),
        ("AddLocation 2 as another one", add(2, "attic", "Place")),
        ("ChangeLocation 2 in its title", change(LocationChange { title: some("Shop"), ..LocationChange::default() })),
        ("ChangeLocation 2 to what it is", change(LocationChange { code: some("shop"), ..LocationChange::default() })),
        ("ChangeLocation 2 to the code of the first", change(LocationChange { code: some("MAIN"), ..LocationChange::default() })),
        ("ChangeLocation 2 to no code", change(LocationChange { code: some(""), ..LocationChange::default() })),
        ("CloseLocation 2, where nothing is", close(2, 0)),
        ("CloseLocation 2, where one variant is", close(2, 1)),
        ("CloseLocation 1, where nothing is", close(1, 0)),
        ("AddTaxRate 1", AddTaxRate(tax(1, "VAT"))),
        ("AddTaxRate 5000, the same tax as 1", AddTaxRate(tax(5_000, "VAT"))),
        ("AddTaxRate of more than all", AddTaxRate(TaxRate { rate_ppm: 1_000_001, ..tax(5_000, "Levy") })),
        ("ChangeTaxRate 1 to another rate", ChangeTaxRate(TaxRate { rate_ppm: 70_000, ..tax(1, "VAT 1") })),
        ("ChangeTaxRate 1 to what it may be", ChangeTaxRate(tax(1, "VAT"))),
        ("RemoveTaxRate 1", RemoveTaxRate { tax_id: id::<TaxId>(1) }),
        ("AddShippingMethod 1", AddShippingMethod(Box::new(method(1)))),
        ("AddShippingMethod without a price", AddShippingMethod(Box::new(ShippingMethod { prices: vec![], ..method(5_000) }))),
        ("ChangeShippingMethod 1 in its title", ChangeShippingMethod(Box::new(ShippingMethod { title: "Letter".to_owned(), ..method(1) }))),
        ("ChangeShippingMethod 1 to what it is", ChangeShippingMethod(Box::new(method(1)))),
        ("ChangeShippingMethod 1 to no price", ChangeShippingMethod(Box::new(ShippingMethod { prices: vec![], ..method(1) }))),
        ("RemoveShippingMethod 1", RemoveShippingMethod { method_id: id(1) }),
    ]
}

#[test]
fn settings_in_every_state() {
    Table {
        text: TABLE,
        states: states(),
        commands: commands(),
        decide: Settings::decide,
        code: SettingRejection::code,
        events_elsewhere: &[],
        refusals_elsewhere: &[],
    }
    .check();
}
