//! The golden vectors of money, and what holds for every amount.

#![expect(clippy::unwrap_used, reason = "a test whose facts can't be made should fail")]

use domain::money::{AMOUNT_MAX, Currency, Money, MoneyError, Rounding, allocate, split, tax_exclusive, tax_inclusive};
use proptest::prelude::*;
use serde_json::Value;

fn vectors(section: &str) -> Vec<Value> {
    let all: Value = serde_json::from_str(include_str!("../golden/money_vectors.json")).unwrap();
    all[section].as_array().unwrap().clone()
}

fn int(value: &Value) -> i64 {
    value.as_i64().unwrap()
}

fn ints(value: &Value) -> Vec<i64> {
    value.as_array().unwrap().iter().map(int).collect()
}

fn ppm(value: &Value) -> u32 {
    u32::try_from(int(value)).unwrap()
}

fn eur(amount: i64) -> Money {
    Money::new(amount, "EUR".parse().unwrap()).unwrap()
}

#[test]
fn allocation_follows_the_golden_vectors() {
    for vector in vectors("allocate") {
        let parts = allocate(int(&vector["amount"]), &ints(&vector["weights"])).unwrap();
        assert_eq!(parts, ints(&vector["expect"]), "{vector}");
    }
}

#[test]
fn tax_on_top_follows_the_golden_vectors() {
    for vector in vectors("tax_exclusive") {
        let (net, rate) = (int(&vector["net"]), ppm(&vector["ppm"]));
        assert_eq!(tax_exclusive(net, rate, Rounding::HalfUp).unwrap(), int(&vector["half_up"]), "{vector}");
        assert_eq!(tax_exclusive(net, rate, Rounding::HalfEven).unwrap(), int(&vector["half_even"]), "{vector}");
    }
}

#[test]
fn included_tax_follows_the_golden_vectors() {
    for vector in vectors("tax_inclusive") {
        let (gross, rate) = (int(&vector["gross"]), ppm(&vector["ppm"]));
        assert_eq!(tax_inclusive(gross, rate, Rounding::HalfUp).unwrap(), int(&vector["half_up"]), "{vector}");
        assert_eq!(tax_inclusive(gross, rate, Rounding::HalfEven).unwrap(), int(&vector["half_even"]), "{vector}");
    }
}

#[test]
fn unit_parts_follow_the_golden_vectors() {
    for vector in vectors("unit_split") {
        let line = eur(int(&vector["line_total"]));
        let quantity = ppm(&vector["qty"]);
        for (until, sum) in (0..).zip(ints(&vector["cumulative"])) {
            assert_eq!(line.of_units(quantity, 0, until).unwrap().amount(), sum, "{vector}");
        }
        for (unit, part) in (0..).zip(ints(&vector["per_unit"])) {
            assert_eq!(line.of_units(quantity, unit, unit + 1).unwrap().amount(), part, "{vector}");
        }
    }
}

#[test]
fn nothing_below_zero_is_cut_into_parts() {
    for (amount, weights) in [(-1, [1, 2]), (1, [-1, 2]), (1, [2, -1])] {
        assert_eq!(split(amount, &weights), Err(MoneyError::Negative), "{amount} {weights:?}");
        assert_eq!(allocate(amount, &weights), Err(MoneyError::Negative), "{amount} {weights:?}");
    }
    assert_eq!(split(0, &[0, 1]), Ok(vec![0, 0]));
    assert_eq!(split(7, &[0, 0]), Ok(vec![0, 0]), "there is nobody to give it to");
}

#[test]
fn halves_of_negative_amounts_round_away_from_zero() {
    assert_eq!(tax_exclusive(-50, 10_000, Rounding::HalfUp).unwrap(), -1);
    assert_eq!(tax_exclusive(-50, 10_000, Rounding::HalfEven).unwrap(), 0);
}

#[test]
fn every_currency_of_the_table_knows_its_exponent() {
    let table: Value = serde_json::from_str(include_str!("../golden/iso4217.json")).unwrap();
    let table = table.as_object().unwrap();
    assert_eq!(table.len(), 178);
    for (code, row) in table {
        let Some(exponent) = row["exponent"].as_u64() else {
            assert_eq!(
                code.parse::<Currency>(),
                Err(MoneyError::NoMinorUnit { code: code.clone() }),
                "gold is not a currency to charge in"
            );
            continue;
        };
        let currency: Currency = code.parse().unwrap();
        assert_eq!((format!("{currency}"), format!("{currency:?}")), (code.clone(), code.clone()));
        assert_eq!(u64::from(currency.exponent()), exponent, "{code}");
        assert_eq!(u64::from(currency.numeric()), row["numeric"].as_u64().unwrap(), "{code}");
        assert_eq!(currency.name(), row["name"], "{code}");
        let json = serde_json::to_string(&currency).unwrap();
        assert_eq!(json, format!("\"{code}\""));
        assert_eq!(serde_json::from_str::<Currency>(&json).unwrap(), currency);
    }
    assert_eq!(Currency::all().count(), 165);
}

#[test]
fn an_unknown_currency_is_refused() {
    assert!("EURO".parse::<Currency>().is_err());
    assert!("eur".parse::<Currency>().is_err());
    assert!(serde_json::from_str::<Money>(r#"{"amount": 1, "currency": "ZZZ"}"#).is_err());
}

#[test]
fn money_may_name_its_exponent_if_it_is_the_currencys() {
    let read = |exponent: &str, code: &str| {
        let json = format!(r#"{{"amount": 1299, "currency": "{code}"{exponent}}}"#);
        serde_json::from_str::<Money>(&json).map_err(|error| error.to_string())
    };
    for (code, right, wrong) in [("EUR", 2, 0), ("JPY", 0, 2), ("KWD", 3, 2)] {
        let currency: Currency = code.parse().unwrap();
        let money = Money::new(1299, currency).unwrap();
        assert_eq!(read("", code), Ok(money));
        assert_eq!(read(&format!(r#", "exponent": {right}"#), code), Ok(money));
        let refused = MoneyError::ExponentWrong { currency, exponent: right };
        assert_eq!(refused.code(), "exponent_wrong");
        assert_eq!(read(&format!(r#", "exponent": {wrong}"#), code), Err(refused.to_string()));
    }
    assert!(!serde_json::to_string(&eur(1299)).unwrap().contains("exponent"), "stored money doesn't name it");
}

#[test]
fn an_amount_that_json_readers_would_lose_is_refused() {
    assert_eq!(AMOUNT_MAX, 9_007_199_254_740_991);
    assert!(Money::new(AMOUNT_MAX, "EUR".parse().unwrap()).is_ok());
    assert_eq!(Money::new(AMOUNT_MAX + 1, "EUR".parse().unwrap()), Err(MoneyError::Overflow));
    assert_eq!(eur(AMOUNT_MAX).plus(eur(1)), Err(MoneyError::Overflow));
    assert_eq!(eur(AMOUNT_MAX).times(2), Err(MoneyError::Overflow));
    assert!(serde_json::from_str::<Money>(r#"{"amount": 9007199254740992, "currency": "EUR"}"#).is_err());
}

#[test]
fn two_currencies_are_never_added_up() {
    let yen = Money::new(1, "JPY".parse().unwrap()).unwrap();
    assert!(matches!(eur(1).plus(yen), Err(MoneyError::CurrencyMismatch { .. })));
}

#[test]
fn prices_are_read_as_people_write_them() {
    let read = |text: &str, code: &str| Money::parse_decimal(text, code.parse().unwrap()).map(Money::amount);
    assert_eq!(read("49.95", "EUR"), Ok(4995));
    assert_eq!(read(" 49.9 ", "EUR"), Ok(4990));
    assert_eq!(read("49", "EUR"), Ok(4900));
    assert_eq!(read("0.001", "KWD"), Ok(1));
    assert_eq!(read("1980", "JPY"), Ok(1980));
    assert_eq!(read("1980.00", "JPY"), Ok(1980));
    assert_eq!(read("49.9500", "EUR"), Ok(4995));
}

#[test]
fn each_way_to_write_a_price_wrong_has_its_own_error() {
    let eur: Currency = "EUR".parse().unwrap();
    let read = |text: &str| Money::parse_decimal(text, eur).map_err(|error| error.code());
    for text in ["", "x", "1,299.00", "1.299,00", "1.2.3", ".5", "5.", "+5", "1e3", "€5", "٣"] {
        assert_eq!(read(text), Err("price_not_a_number"), "{text}");
    }
    assert_eq!(read("49.995"), Err("price_too_many_decimals"));
    assert_eq!(read("-1.00"), Err("price_negative"));
    assert_eq!(read("99999999999999999999"), Err("money_overflow"));
    assert_eq!(read("90071992547409.92"), Err("money_overflow"));
}

#[test]
fn amounts_are_shown_with_the_decimals_of_their_currency() {
    let shown = |amount, code: &str| Money::new(amount, code.parse().unwrap()).unwrap().to_string();
    assert_eq!(shown(1299, "EUR"), "12.99 EUR");
    assert_eq!(shown(-5, "EUR"), "-0.05 EUR");
    assert_eq!(shown(0, "EUR"), "0.00 EUR");
    assert_eq!(shown(1299, "JPY"), "1299 JPY");
    assert_eq!(shown(1, "KWD"), "0.001 KWD");
}

proptest! {
    #[test]
    fn what_is_shown_can_be_read_back(amount in 0..=AMOUNT_MAX, pick in any::<prop::sample::Index>()) {
        let currencies: Vec<_> = Currency::all().collect();
        let money = Money::new(amount, currencies[pick.index(currencies.len())]).unwrap();
        let shown = money.to_string();
        let text = shown.split(' ').next().unwrap();
        prop_assert_eq!(Money::parse_decimal(text, money.currency()).unwrap(), money);
    }

    #[test]
    fn an_allocation_sums_to_the_amount_and_no_part_exceeds_its_weight(
        amount in 0..2_000_000_000_i64,
        weights in prop::collection::vec(0..1_000_000_000_i64, 0..20),
    ) {
        let parts = allocate(amount, &weights).unwrap();
        prop_assert_eq!(parts.iter().sum::<i64>(), amount.min(weights.iter().sum()));
        for (part, weight) in parts.iter().zip(&weights) {
            prop_assert!((0..=*weight).contains(part));
        }
    }

    #[test]
    fn a_split_is_exact_whatever_the_weights(
        amount in 0..AMOUNT_MAX,
        weights in prop::collection::vec(1..AMOUNT_MAX, 1..20),
    ) {
        prop_assert_eq!(split(amount, &weights).unwrap().iter().sum::<i64>(), amount);
    }

    #[test]
    fn parts_of_a_line_sum_to_the_line_however_they_are_cut(
        total in 0..=AMOUNT_MAX,
        cuts in prop::collection::vec(1..50_u32, 1..20),
    ) {
        let quantity = cuts.iter().sum();
        let mut from = 0;
        let mut sum = 0;
        for cut in cuts {
            sum += eur(total).of_units(quantity, from, from + cut).unwrap().amount();
            from += cut;
        }
        prop_assert_eq!(sum, total);
    }

    #[test]
    fn included_tax_is_the_tax_on_the_net(gross in 0..1_000_000_000_i64, rate in 0..1_000_000_u32) {
        let tax = tax_inclusive(gross, rate, Rounding::HalfUp).unwrap();
        let again = tax_exclusive(gross - tax, rate, Rounding::HalfUp).unwrap();
        prop_assert!((tax - again).abs() <= 1, "{tax} or {again}");
    }
}
