//! Whether what is to be set can be reckoned with.

use std::collections::BTreeSet;

use super::{LocationFacts, SettingRejection};
use crate::cart::{FieldError, is_country};
use crate::id::LocationId;
use crate::money::Money;
use crate::pricing::{ShippingMethod, ShippingRates, TaxRate};

/// The longest title or field of an address, in characters.
const TEXT_CHARS_MAX: usize = 200;
const CODE_CHARS_MAX: usize = 50;
/// The whole price once more: no tax is higher.
const RATE_PPM_MAX: u32 = 1_000_000;
const TIERS_MAX: usize = 100;

pub(super) fn fields(errors: Vec<FieldError>) -> Result<(), SettingRejection> {
    if errors.is_empty() { Ok(()) } else { Err(SettingRejection::Invalid { errors }) }
}

pub(super) fn location_errors(facts: &LocationFacts) -> Vec<FieldError> {
    let mut errors = Vec::new();
    let is_plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    let length = facts.code.chars().count();
    // A code that reads like an id could mean two locations.
    if !(1..=CODE_CHARS_MAX).contains(&length) || !facts.code.chars().all(is_plain) || facts.code.parse::<LocationId>().is_ok() {
        errors.push(FieldError::new("/code", "invalid", "1 to 50 letters, digits, `-`, `_` or `.`, and no UUID"));
    }
    title(&mut errors, &facts.title);
    let address = &facts.address;
    let texts = [
        ("line1", &address.line1),
        ("line2", &address.line2),
        ("postal_code", &address.postal_code),
        ("city", &address.city),
        ("region", &address.region),
    ];
    for (name, text) in texts {
        if text.as_ref().is_some_and(|text| text.chars().count() > TEXT_CHARS_MAX) {
            errors.push(FieldError::new(format!("/address/{name}"), "too_long", "at most 200 characters"));
        }
    }
    if address.country.as_ref().is_some_and(|code| !is_country(code)) {
        errors.push(country("/address/country"));
    }
    errors
}

pub(super) fn tax_rate_errors(rate: &TaxRate) -> Vec<FieldError> {
    let mut errors = Vec::new();
    title(&mut errors, &rate.title);
    if !is_country(&rate.country) {
        errors.push(country("/country"));
    }
    if rate.region.as_ref().is_some_and(|region| region.trim().is_empty() || region.chars().count() > TEXT_CHARS_MAX) {
        errors.push(FieldError::new("/region", "invalid", "1 to 200 characters, or left out for the whole country"));
    }
    category(&mut errors, "/category", &rate.category);
    if rate.rate_ppm > RATE_PPM_MAX {
        errors.push(FieldError::new("/rate_ppm", "too_large", "parts per million, at most 1000000, which is 100 %"));
    }
    errors
}

pub(super) fn shipping_method_errors(method: &ShippingMethod) -> Vec<FieldError> {
    let mut errors = Vec::new();
    title(&mut errors, &method.title);
    for (index, code) in method.countries.iter().enumerate() {
        if !is_country(code) {
            errors.push(country(&format!("/countries/{index}")));
        }
    }
    category(&mut errors, "/tax_category", &method.tax_category);
    amounts(&mut errors, "/free_from", &method.free_from);
    match &method.rates {
        None => prices(&mut errors, "/prices", &method.prices),
        Some(_) if !method.prices.is_empty() => {
            errors.push(FieldError::new("/prices", "ambiguous", "either one price or rates, not both"));
        }
        Some(rates) => rates_errors(&mut errors, rates),
    }
    errors
}

fn rates_errors(errors: &mut Vec<FieldError>, rates: &ShippingRates) {
    let count = match rates {
        ShippingRates::Amount { tiers } => tiers.len(),
        ShippingRates::Weight { tiers, .. } => tiers.len(),
    };
    if !(1..=TIERS_MAX).contains(&count) {
        errors.push(FieldError::new("/rates/tiers", "invalid", "1 to 100 tiers"));
    }
    match rates {
        ShippingRates::Amount { tiers } => {
            let mut froms = BTreeSet::new();
            for (index, tier) in tiers.iter().enumerate() {
                let place = format!("/rates/tiers/{index}");
                amounts(errors, &format!("{place}/from"), &[tier.from]);
                amounts(errors, &format!("{place}/price"), &[tier.price]);
                if tier.from.currency() != tier.price.currency() {
                    errors.push(FieldError::new(format!("{place}/price"), "currency_mismatch", "in the currency of `from`"));
                }
                if !froms.insert((tier.from.currency(), tier.from.amount())) {
                    errors.push(FieldError::new(format!("{place}/from"), "duplicate", "each tier begins at another amount"));
                }
            }
        }
        ShippingRates::Weight { tiers, grams_max } => {
            let mut froms = BTreeSet::new();
            for (index, tier) in tiers.iter().enumerate() {
                let place = format!("/rates/tiers/{index}");
                prices(errors, &format!("{place}/prices"), &tier.prices);
                if !froms.insert(tier.from_grams) {
                    errors.push(FieldError::new(format!("{place}/from_grams"), "duplicate", "each tier begins at another weight"));
                }
                if grams_max.is_some_and(|max| tier.from_grams > max) {
                    errors.push(FieldError::new(format!("{place}/from_grams"), "too_large", "heavier than `grams_max` is not shipped"));
                }
            }
        }
    }
}

/// At least one, and none negative or in a currency that was named before.
fn prices(errors: &mut Vec<FieldError>, pointer: &str, prices: &[Money]) {
    if prices.is_empty() {
        errors.push(FieldError::new(pointer, "required", "at least one price; one for each currency"));
    }
    amounts(errors, pointer, prices);
}

fn amounts(errors: &mut Vec<FieldError>, pointer: &str, amounts: &[Money]) {
    let mut currencies = BTreeSet::new();
    for amount in amounts {
        if amount.is_negative() {
            errors.push(FieldError::new(pointer, "price_negative", "an amount can't be negative"));
        }
        if !currencies.insert(amount.currency()) {
            errors.push(FieldError::new(pointer, "duplicate", "one amount for each currency"));
        }
    }
}

fn title(errors: &mut Vec<FieldError>, text: &str) {
    if text.trim().is_empty() || text.chars().count() > TEXT_CHARS_MAX {
        errors.push(FieldError::new("/title", "invalid", "1 to 200 characters"));
    }
}

fn category(errors: &mut Vec<FieldError>, pointer: &str, text: &str) {
    if text.trim().is_empty() || text.chars().count() > TEXT_CHARS_MAX {
        errors.push(FieldError::new(pointer, "invalid", "1 to 200 characters, as the products' `tax_category`"));
    }
}

fn country(pointer: &str) -> FieldError {
    FieldError::new(pointer, "country_invalid", "a country is an ISO 3166-1 alpha-2 code such as DE")
}
