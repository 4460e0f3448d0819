//! The rules that a product keeps to, whoever changes it.

use std::collections::{BTreeMap, BTreeSet};

use super::product::{Price, Variant};
use super::{ProductOption, ProductRejection, Text};
use crate::claim::ClaimKey;
use crate::id::VariantId;

/// The longest handle, in bytes; it is a part of a URL.
pub const HANDLE_BYTES_MAX: usize = 255;

pub(super) fn check_title(title: &Text) -> Result<(), ProductRejection> {
    if title.values().any(|text| !text.trim().is_empty()) { Ok(()) } else { Err(ProductRejection::TitleMissing) }
}

pub(super) fn check_handle(handle: &str) -> Result<(), ProductRejection> {
    if handle_fits_a_url(handle) { Ok(()) } else { Err(ProductRejection::HandleInvalid { handle: handle.to_owned() }) }
}

/// A handle is one segment of a path: letters and digits of any script, and `-_.~`.
pub(super) fn handle_fits_a_url(handle: &str) -> bool {
    let fits = |c: char| c.is_alphanumeric() || "-_.~".contains(c);
    !handle.is_empty() && handle.len() <= HANDLE_BYTES_MAX && handle.chars().all(fits)
}

/// The rules over all variants of a product together: each has values of known options only, and no
/// two share a sku or all their options.
pub(super) fn check_variants(options: &[ProductOption], variants: &[&Variant]) -> Result<(), ProductRejection> {
    let mut skus = BTreeSet::new();
    let mut combinations: BTreeMap<_, VariantId> = BTreeMap::new();
    for variant in variants {
        let variant_id = variant.variant_id;
        if let Some(sku) = &variant.sku
            && !skus.insert(ClaimKey::sku(sku))
        {
            return Err(ProductRejection::SkuDuplicate { sku: sku.clone() });
        }
        if let Some(first) = combinations.insert(&variant.option_values, variant_id) {
            return Err(ProductRejection::OptionsDuplicate { first, second: variant_id });
        }
        for (option_id, value_id) in &variant.option_values {
            let known = options.iter().filter(|option| option.option_id == *option_id);
            if !known.flat_map(|option| &option.values).any(|value| value.value_id == *value_id) {
                return Err(ProductRejection::OptionUnknown { variant_id });
            }
        }
        for price in &variant.prices {
            check_price(variant_id, price)?;
        }
    }
    Ok(())
}

pub(super) fn check_price(variant_id: VariantId, price: &Price) -> Result<(), ProductRejection> {
    let amounts = [Some(price.price), price.compare_at];
    if amounts.iter().flatten().any(|amount| amount.is_negative()) {
        return Err(ProductRejection::PriceNegative { variant_id });
    }
    if price.compare_at.is_some_and(|compare_at| compare_at.currency() != price.price.currency()) {
        return Err(ProductRejection::PriceCurrencies { variant_id });
    }
    Ok(())
}
