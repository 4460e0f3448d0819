//! Quotes: the five golden orders, single rules, and what holds for every quote.

#![expect(clippy::unwrap_used, reason = "a test whose facts can't be made should fail")]

use domain::cart::ShipTo;
use domain::id::{DiscountId, LineId, MethodId, TaxId};
use domain::money::{Currency, Money, Rounding};
use domain::pricing::{
    AmountTier, Discount, DiscountTarget, Goods, LineRequest, PricingError, QuoteRequest, ShippingMethod, ShippingOption, ShippingRates,
    TaxRate, WeightTier, price, shipping_options,
};
use serde_json::Value;
use uuid::Uuid;

#[path = "pricing/carts.rs"]
mod carts;

fn uuid(n: usize) -> Uuid {
    Uuid::from_u128(n as u128)
}

fn int(value: &Value) -> i64 {
    value.as_i64().unwrap()
}

fn discount(n: usize, target: DiscountTarget, amount: Money) -> Discount {
    Discount {
        discount_id: DiscountId::new(uuid(n)),
        source: "promotion".to_owned(),
        promotion_id: None,
        coupon_id: None,
        title: "Spring".to_owned(),
        target,
        amount,
    }
}

fn rate(n: usize, category: &str, rate_ppm: u32) -> TaxRate {
    TaxRate {
        tax_id: TaxId::new(uuid(n)),
        title: format!("{rate_ppm} ppm"),
        country: "DE".to_owned(),
        region: None,
        category: category.to_owned(),
        rate_ppm,
        compound: false,
        applies_to_shipping: true,
    }
}

fn request(currency: &str, prices_include_tax: bool) -> QuoteRequest {
    QuoteRequest {
        currency: currency.parse().unwrap(),
        prices_include_tax,
        rounding: Rounding::HalfUp,
        ship_to: Some(ShipTo { country: "DE".to_owned(), region: None }),
        lines: vec![],
        discounts: vec![],
        tax_rates: vec![],
        shipping: None,
    }
}

fn line(n: usize, unit_price: Money, quantity: u32, tax_category: &str) -> LineRequest {
    LineRequest { line_id: LineId::new(uuid(n)), unit_price, quantity, tax_category: tax_category.to_owned(), requires_shipping: true }
}

/// A golden order as a request. Its shipping is taxed by a rate that gives the vector's tax.
fn golden_request(order: &Value) -> QuoteRequest {
    let currency: Currency = order["currency"].as_str().unwrap().parse().unwrap();
    let money = |value: &Value| Money::new(int(value), currency).unwrap();
    let mut request = request(currency.as_str(), order["prices_include_tax"].as_bool().unwrap());
    let mut order_discount = 0;
    for (n, wanted) in order["lines"].as_array().unwrap().iter().enumerate() {
        let category = format!("category {}", wanted["ppm"]);
        let quantity = u32::try_from(int(&wanted["qty"])).unwrap();
        request.lines.push(line(n, money(&wanted["unit"]), quantity, &category));
        if !request.tax_rates.iter().any(|rate| rate.category == category) {
            let ppm = u32::try_from(int(&wanted["ppm"])).unwrap();
            request.tax_rates.push(rate(n, &category, ppm));
        }
        if int(&wanted["line_discount"]) > 0 {
            let target = DiscountTarget::Line { line_id: LineId::new(uuid(n)) };
            request.discounts.push(discount(100 + n, target, money(&wanted["line_discount"])));
        }
        order_discount += int(&wanted["order_discount"]);
    }
    // The order's discount comes first in the request: line discounts count first all the same.
    if order_discount > 0 {
        let amount = Money::new(order_discount, currency).unwrap();
        request.discounts.insert(0, discount(99, DiscountTarget::Order, amount));
    }
    let shipping = &order["shipping"];
    let taxed = int(&shipping["tax"]) > 0;
    let price = if request.prices_include_tax { &shipping["gross"] } else { &shipping["net"] };
    request.shipping = Some(ShippingOption {
        method_id: MethodId::new(uuid(500)),
        title: "Parcel".to_owned(),
        price: money(price),
        tax_category: if taxed { request.lines[0].tax_category.clone() } else { "none".to_owned() },
    });
    request
}

#[test]
fn whole_orders_follow_the_golden_vectors() {
    let vectors: Value = serde_json::from_str(include_str!("../golden/money_vectors.json")).unwrap();
    let orders = vectors["orders"].as_array().unwrap();
    assert_eq!(orders.len(), 5);
    for order in orders {
        let request = golden_request(order);
        assert_eq!(i64::from(request.currency.exponent()), int(&order["exponent"]));
        let quote = price(&request).unwrap();
        for (n, (line, wanted)) in quote.lines.iter().zip(order["lines"].as_array().unwrap()).enumerate() {
            let of_order = line.discounts.iter().filter(|d| d.discount_id == DiscountId::new(uuid(99)));
            let of_line = line.discounts.iter().filter(|d| d.discount_id == DiscountId::new(uuid(100 + n)));
            assert_eq!(line.subtotal.amount(), int(&wanted["subtotal"]), "{wanted}");
            assert_eq!(of_line.map(|d| d.amount.amount()).sum::<i64>(), int(&wanted["line_discount"]), "{wanted}");
            assert_eq!(of_order.map(|d| d.amount.amount()).sum::<i64>(), int(&wanted["order_discount"]), "{wanted}");
            let taxable = line.subtotal.minus(line.discount().unwrap()).unwrap();
            assert_eq!(taxable.amount(), int(&wanted["taxable"]), "{wanted}");
            assert_eq!(line.tax.amount(), int(&wanted["tax"]), "{wanted}");
            assert_eq!(line.net.amount(), int(&wanted["net"]), "{wanted}");
            assert_eq!(line.gross.amount(), int(&wanted["gross"]), "{wanted}");
        }
        let shipping = &quote.shipping_lines[0];
        assert_eq!(shipping.net.amount(), int(&order["shipping"]["net"]), "{order}");
        assert_eq!(shipping.tax.amount(), int(&order["shipping"]["tax"]), "{order}");
        assert_eq!(shipping.gross.amount(), int(&order["shipping"]["gross"]), "{order}");
        assert_eq!(quote.totals.discount.amount(), int(&order["discount_total"]), "{order}");
        assert_eq!(quote.totals.tax.amount(), int(&order["tax_total"]), "{order}");
        assert_eq!(quote.totals.total.amount(), int(&order["total"]), "{order}");
    }
}

fn eur(amount: i64) -> Money {
    Money::new(amount, "EUR".parse().unwrap()).unwrap()
}

#[test]
fn without_a_destination_there_is_no_tax() {
    let mut request = request("EUR", true);
    request.lines = vec![line(1, eur(11_999), 1, "standard")];
    request.tax_rates = vec![rate(1, "standard", 190_000)];
    request.ship_to = None;
    let quote = price(&request).unwrap();
    assert_eq!((quote.totals.tax, quote.totals.total), (eur(0), eur(11_999)));
    assert!(quote.taxes.is_empty());
}

#[test]
fn taxes_of_country_and_region_are_both_on_the_line() {
    let mut request = request("CAD", false);
    let cad = |amount| Money::new(amount, "CAD".parse().unwrap()).unwrap();
    request.ship_to = Some(ShipTo { country: "CA".to_owned(), region: Some("QC".to_owned()) });
    let of_canada = |n, region: Option<&str>, ppm, compound| TaxRate {
        country: "CA".to_owned(),
        region: region.map(str::to_owned),
        compound,
        ..rate(n, "standard", ppm)
    };
    request.tax_rates =
        vec![of_canada(2, Some("QC"), 99_750, true), of_canada(1, None, 50_000, false), of_canada(3, Some("ON"), 80_000, false)];
    request.lines = vec![line(1, cad(10_000), 1, "standard")];
    let quote = price(&request).unwrap();
    let amounts: Vec<_> = quote.taxes.iter().map(|tax| (tax.tax_id, tax.amount.amount())).collect();
    // 5 % of 100.00, then 9.975 % of 105.00.
    assert_eq!(amounts, [(TaxId::new(uuid(1)), 500), (TaxId::new(uuid(2)), 1047)]);
    assert_eq!(quote.totals.total, cad(11_547));
}

#[test]
fn several_included_taxes_share_what_was_rounded_once() {
    let mut request = request("EUR", true);
    request.lines = vec![line(1, eur(10_000), 1, "standard")];
    let compound = TaxRate { compound: true, ..rate(3, "standard", 100_000) };
    request.tax_rates = vec![compound, rate(1, "standard", 50_000), rate(2, "standard", 50_000)];
    let quote = price(&request).unwrap();
    // 10 % are in 100.00 as 9.09; in the other 90.91 two times 5 % are 8.26.
    let amounts: Vec<_> = quote.taxes.iter().map(|tax| tax.amount.amount()).collect();
    assert_eq!(amounts, [413, 413, 909]);
    assert_eq!(quote.totals.total, eur(10_000));
    assert_eq!(quote.lines[0].net, eur(10_000 - 413 - 413 - 909));
}

#[test]
fn a_discount_takes_no_more_than_there_is() {
    let mut request = request("EUR", true);
    request.lines = vec![line(1, eur(1000), 1, "standard"), line(2, eur(500), 1, "standard")];
    request.shipping = Some(ShippingOption {
        method_id: MethodId::new(uuid(9)),
        title: "Parcel".to_owned(),
        price: eur(490),
        tax_category: "standard".to_owned(),
    });
    let first = DiscountTarget::Line { line_id: LineId::new(uuid(1)) };
    request.discounts = vec![
        discount(3, DiscountTarget::Shipping, eur(9999)),
        discount(2, DiscountTarget::Order, eur(9999)),
        discount(1, first, eur(9999)),
    ];
    let quote = price(&request).unwrap();
    let granted: Vec<_> = quote.discounts.iter().map(|d| d.amount.amount()).collect();
    assert_eq!(granted, [1000, 490, 500]);
    assert_eq!(quote.totals.total, eur(0));
    assert_eq!(quote.totals.discount, eur(1990));
}

#[test]
fn a_line_without_quantity_is_refused() {
    let mut request = request("EUR", true);
    request.lines = vec![line(1, eur(100), 0, "standard")];
    assert_eq!(price(&request), Err(PricingError::QuantityZero { line_id: LineId::new(uuid(1)) }));
}

#[test]
fn a_price_of_another_currency_is_refused() {
    let mut request = request("EUR", true);
    let yen = Money::new(100, "JPY".parse().unwrap()).unwrap();
    request.lines = vec![line(1, yen, 1, "standard")];
    assert_eq!(price(&request).unwrap_err().code(), "currency_mismatch");
}

#[test]
fn shipping_is_offered_where_it_goes_and_in_the_currency() {
    let method = |n, countries: &[&str]| ShippingMethod {
        method_id: MethodId::new(uuid(n)),
        title: "Parcel".to_owned(),
        countries: countries.iter().map(|&country| country.to_owned()).collect(),
        prices: vec![eur(490)],
        tax_category: "standard".to_owned(),
        free_from: vec![eur(5000)],
        rates: None,
    };
    let methods = [method(1, &["DE"]), method(2, &["FR"]), method(3, &[])];
    let germany = ShipTo { country: "DE".to_owned(), region: None };
    let offered = |value| -> Vec<_> {
        let options = shipping_options(&methods, &germany, Goods { value, grams: 0 });
        options.into_iter().map(|option| (option.method_id, option.price.amount())).collect()
    };
    let (first, third) = (MethodId::new(uuid(1)), MethodId::new(uuid(3)));
    assert_eq!(offered(eur(4999)), [(first, 490), (third, 490)]);
    assert_eq!(offered(eur(5000)), [(first, 0), (third, 0)]);
    assert_eq!(offered(Money::new(5000, "USD".parse().unwrap()).unwrap()), []);
}

#[test]
fn shipping_by_amount_and_by_weight_costs_what_the_highest_tier_reached_says() {
    let method = |rates| ShippingMethod {
        method_id: MethodId::new(uuid(1)),
        title: "Parcel".to_owned(),
        countries: vec![],
        prices: vec![],
        tax_category: "standard".to_owned(),
        free_from: vec![eur(20_000)],
        rates: Some(rates),
    };
    let offered = |method: &ShippingMethod, value, grams| {
        let anywhere = ShipTo { country: "DE".to_owned(), region: None };
        shipping_options(std::slice::from_ref(method), &anywhere, Goods { value, grams }).pop().map(|option| option.price.amount())
    };
    let tier = |from, price| AmountTier { from: eur(from), price: eur(price) };
    let by_amount = method(ShippingRates::Amount { tiers: vec![tier(5_000, 290), tier(1_000, 490)] });
    assert_eq!(
        [999, 1_000, 4_999, 5_000, 19_999].map(|value| offered(&by_amount, eur(value), 0)),
        [None, Some(490), Some(490), Some(290), Some(290)]
    );
    assert_eq!(offered(&by_amount, eur(20_000), 0), Some(0));
    assert_eq!(offered(&by_amount, Money::new(5_000, "USD".parse().unwrap()).unwrap(), 0), None);

    let tier = |from_grams, price| WeightTier { from_grams, prices: vec![eur(price)] };
    let by_weight = method(ShippingRates::Weight { tiers: vec![tier(0, 490), tier(2_001, 790)], grams_max: Some(31_500) });
    assert_eq!(
        [0, 2_000, 2_001, 31_500, 31_501].map(|grams| offered(&by_weight, eur(100), grams)),
        [Some(490), Some(490), Some(790), Some(790), None]
    );
    assert_eq!(offered(&by_weight, Money::new(100, "USD".parse().unwrap()).unwrap(), 0), None);
}
