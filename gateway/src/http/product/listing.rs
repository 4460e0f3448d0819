//! What a listing is asked for: `GET /products?…` read into a search.
//!
//! Read by hand, since attributes are parameters of their own (`attr.colour=red,blue`). Unknown parameters are let pass:
//! links to a shop carry campaign names.

use std::collections::BTreeMap;

use domain::money::Currency;
use projections::search::{LIMIT_MAX, SearchRequest, Sort};

use crate::http::problem::Problem;
use crate::settings::Settings;

/// Items on one page unless asked for more or less.
const LIMIT_DEFAULT: usize = 50;
/// Most skus that one request may name.
pub const SKUS_MAX: usize = 200;

/// The parameters of a listing, checked.
#[derive(Debug)]
pub struct Listing {
    pub search: SearchRequest,
    pub currency: Currency,
    pub lang: Option<String>,
    pub skus: Vec<String>,
    pub token: Option<String>,
}

impl Listing {
    /// Refuses the first value that no request may have.
    pub fn parse(parameters: &[(String, String)], settings: &Settings) -> Result<Self, Problem> {
        let mut search = SearchRequest { limit: LIMIT_DEFAULT, ..SearchRequest::default() };
        let mut listing =
            Self { search: SearchRequest::default(), currency: settings.default_currency(), lang: None, skus: Vec::new(), token: None };
        for (name, value) in parameters.iter().filter(|(_, value)| !value.is_empty()) {
            match name.as_str() {
                "q" => search.q = Some(value.clone()),
                "category" => search.category = Some(value.clone()),
                "brand" => search.brands.extend(values(value)),
                "sku" => listing.skus.extend(values(value)),
                "price_min" => search.price_min = Some(amount(name, value)?),
                "price_max" => search.price_max = Some(amount(name, value)?),
                "in_stock" => search.in_stock = Some(flag(name, value)?),
                "sort" => search.sort = sort(value)?,
                "currency" => listing.currency = currency(value, settings)?,
                "lang" => listing.lang = Some(value.clone()),
                "facets" => search.facets.extend(values(value)),
                "limit" => search.limit = limit(value)?,
                "cursor" => search.cursor = Some(value.clone()),
                "token_position" => listing.token = Some(value.clone()),
                _ => {
                    if let Some(key) = name.strip_prefix("attr.").filter(|key| !key.is_empty()) {
                        search.attributes.entry(key.to_owned()).or_default().extend(values(value));
                    }
                }
            }
        }
        if listing.skus.len() > SKUS_MAX {
            return Err(Problem::new("invalid_parameter", format!("sku may name at most {SKUS_MAX} at once")));
        }
        search.currency = listing.currency.to_string();
        listing.search = search;
        Ok(listing)
    }
}

/// The offered currency of this code.
pub fn currency(code: &str, settings: &Settings) -> Result<Currency, Problem> {
    settings.currency(code).ok_or_else(|| {
        let offered: Vec<&str> = settings.currencies.iter().map(Currency::as_str).collect();
        let detail = format!("{code:?} is not offered; use one of {}", offered.join(", "));
        Problem::new("unsupported_currency", detail.clone()).error("?currency", "unsupported_currency", detail)
    })
}

/// The values of a parameter: separated by commas, where `\,` is a comma within a value.
fn values(text: &str) -> Vec<String> {
    let mut values = vec![String::new()];
    let mut characters = text.chars();
    while let Some(character) = characters.next() {
        match character {
            '\\' => match characters.next() {
                Some(escaped @ (',' | '\\')) => push(&mut values, escaped),
                other => ['\\'].into_iter().chain(other).for_each(|c| push(&mut values, c)),
            },
            ',' => values.push(String::new()),
            other => push(&mut values, other),
        }
    }
    values.retain(|value| !value.is_empty());
    values
}

fn push(values: &mut [String], character: char) {
    if let Some(last) = values.last_mut() {
        last.push(character);
    }
}

fn amount(name: &str, text: &str) -> Result<i64, Problem> {
    text.parse().ok().filter(|amount| *amount >= 0).ok_or_else(|| {
        Problem::new("invalid_parameter", format!("{name} must be an amount in minor units, like 1299 for 12.99, not {text:?}"))
    })
}

fn flag(name: &str, text: &str) -> Result<bool, Problem> {
    text.parse().map_err(|_| Problem::new("invalid_parameter", format!("{name} must be true or false, not {text:?}")))
}

fn limit(text: &str) -> Result<usize, Problem> {
    text.parse()
        .ok()
        .filter(|limit| (1..=LIMIT_MAX).contains(limit))
        .ok_or_else(|| Problem::new("invalid_parameter", format!("limit must be 1 to {LIMIT_MAX}, not {text:?}")))
}

fn sort(text: &str) -> Result<Sort, Problem> {
    let sorts: BTreeMap<&str, Sort> = [
        ("relevance", Sort::Relevance),
        ("price_asc", Sort::PriceAsc),
        ("price_desc", Sort::PriceDesc),
        ("newest", Sort::Newest),
        ("popular", Sort::Popular),
    ]
    .into();
    sorts.get(text).copied().ok_or_else(|| {
        let known: Vec<&str> = sorts.keys().copied().collect();
        Problem::new("invalid_parameter", format!("sort must be one of {}, not {text:?}", known.join(", ")))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use infra::config::Config;

    fn parse(parameters: &[(&str, &str)]) -> Result<Listing, Problem> {
        let settings = Settings::try_from(&Config::default()).unwrap();
        let parameters: Vec<_> = parameters.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        Listing::parse(&parameters, &settings)
    }

    #[test]
    fn attributes_are_parameters_of_their_own() {
        let listing = parse(&[("attr.colour", r"red,black\, matt"), ("attr.colour", "blue"), ("q", "lamp"), ("utm_source", "x")]);
        let search = listing.unwrap().search;
        assert_eq!(search.attributes["colour"], ["red", "black, matt", "blue"]);
        assert_eq!((search.q.as_deref(), search.limit, search.currency.as_str()), (Some("lamp"), LIMIT_DEFAULT, "EUR"));
    }

    #[test]
    fn a_value_that_can_not_be_is_refused() {
        for (name, value) in
            [("limit", "0"), ("limit", "201"), ("sort", "best"), ("in_stock", "yes"), ("price_min", "1.5"), ("price_max", "-1")]
        {
            assert_eq!(parse(&[(name, value)]).unwrap_err().code(), "invalid_parameter", "{name}={value}");
        }
        assert_eq!(parse(&[("currency", "XXQ")]).unwrap_err().code(), "unsupported_currency");
        assert_eq!(parse(&[("currency", "usd")]).unwrap().currency.as_str(), "USD");
    }
}
