//! The shop's settings as the domain's own values, checked once at start.
//!
//! The configuration speaks of names and codes; what has an id in events gets it from its name, so that the same
//! configuration means the same things for ever. Tax, shipping, rounding and what prices mean are in force as long as the
//! store's own settings are not in the log (`commands::setting`).

use std::collections::BTreeSet;
use std::sync::Arc;

use commands::inventory::first_location;
use commands::terms::Terms;
use domain::cart::CartLimits;
use domain::money::{Currency, Money, Rounding};
use domain::payment::CaptureMode;
use domain::pricing::{ShippingMethod, TaxRate};
use infra::config::{Config, ConfigError, Shipping, Tax};
use uuid::Uuid;

/// The root of ids that are made from names of the configuration.
const NAMESPACE: Uuid = Uuid::from_u128(0x0d3c_2b7e_94a1_4f0b_8c55_73e2_1c9a_6b10);
/// What shipping is taxed as.
pub const SHIPPING_TAX_CATEGORY: &str = "standard";

#[derive(Debug, Clone)]
pub struct Settings {
    /// The first one is the default.
    pub currencies: Vec<Currency>,
    /// ISO 3166-1 alpha-2; where the store ships to.
    pub countries: Vec<String>,
    /// BCP 47; the first one is the default.
    pub languages: Vec<String>,
    /// What carts are priced and orders are placed by.
    pub terms: Arc<Terms>,
    /// Most units that an answer admits to have.
    pub available_shown_max: i64,
    /// Whether money is taken as soon as an order is confirmed.
    pub capture: CaptureMode,
    /// Most attempts to pay one order.
    pub payment_attempts_max: usize,
}

impl Settings {
    /// The currency that an answer is in unless another is asked for.
    #[must_use]
    pub fn default_currency(&self) -> Currency {
        self.currencies[0]
    }

    /// The language that an answer is in unless another is asked for.
    #[must_use]
    pub fn default_language(&self) -> &str {
        &self.languages[0]
    }

    /// An offered currency by its code, in any case.
    #[must_use]
    pub fn currency(&self, code: &str) -> Option<Currency> {
        self.currencies.iter().copied().find(|currency| currency.as_str().eq_ignore_ascii_case(code.trim()))
    }
}

impl TryFrom<&Config> for Settings {
    type Error = ConfigError;

    fn try_from(config: &Config) -> Result<Self, ConfigError> {
        let mut check = Check::default();
        let store = &config.store;
        let currencies: Vec<Currency> = store.currencies.iter().filter_map(|code| check.currency("store.currencies", code)).collect();
        check.must(!currencies.is_empty(), || "`store.currencies` must name at least one ISO 4217 code".to_owned());
        check.must(!store.languages.is_empty() && store.languages.iter().all(|tag| !tag.is_empty()), || {
            "`store.languages` must name at least one language, and none may be empty".to_owned()
        });
        for country in &store.countries {
            check.country("store.countries", country);
        }
        check.must(store.cart_lines_max > 0, || "`store.cart_lines_max` must be at least 1".to_owned());
        check.must(store.line_quantity_max > 0, || "`store.line_quantity_max` must be at least 1".to_owned());
        check.must(store.available_shown_max > 0, || "`store.available_shown_max` must be at least 1".to_owned());
        let payment_window = i64::try_from(store.payment_window_s).ok().and_then(chrono::Duration::try_seconds);
        check.must(payment_window.is_some_and(|window| !window.is_zero()), || "`store.payment_window_s` must be at least 1".to_owned());
        let tax_rates = config.tax.iter().map(|tax| check.tax_rate(tax)).collect();
        let shipping_methods = check.shipping_methods(&config.shipping);
        check.result()?;
        let terms = Terms {
            prices_include_tax: store.prices_include_tax,
            rounding: rounding(&store.rounding),
            tax_rates,
            shipping_methods,
            cart_limits: CartLimits {
                lines_max: usize::try_from(store.cart_lines_max).unwrap_or(usize::MAX),
                line_quantity_max: store.line_quantity_max,
            },
            allocation_order: vec![first_location()],
            payment_window: payment_window.unwrap_or_default(),
            language: store.languages[0].clone(),
        };
        Ok(Self {
            currencies,
            countries: store.countries.clone(),
            languages: store.languages.clone(),
            terms: Arc::new(terms),
            available_shown_max: store.available_shown_max,
            capture: if config.payments.capture == "manual" { CaptureMode::Manual } else { CaptureMode::Automatic },
            payment_attempts_max: usize::try_from(config.payments.attempts_max).unwrap_or(usize::MAX),
        })
    }
}

/// Gathers what is wrong, so that everything is said at once.
#[derive(Default)]
struct Check(Vec<String>);

impl Check {
    fn must(&mut self, holds: bool, message: impl FnOnce() -> String) {
        if !holds {
            self.0.push(message());
        }
    }

    fn currency(&mut self, key: &str, code: &str) -> Option<Currency> {
        code.parse().map_err(|error| self.0.push(format!("`{key}`: {error}"))).ok()
    }

    fn country(&mut self, key: &str, code: &str) {
        let is_code = code.len() == 2 && code.bytes().all(|byte| byte.is_ascii_uppercase());
        self.must(is_code, || format!("`{key}`: {code:?} is no ISO 3166-1 alpha-2 code like `DE`"));
    }

    fn tax_rate(&mut self, tax: &Tax) -> TaxRate {
        self.country("tax.country", &tax.country);
        self.must(!tax.shipping || tax.category == SHIPPING_TAX_CATEGORY, || {
            format!("`tax.shipping`: shipping is taxed as {SHIPPING_TAX_CATEGORY:?}, so it can't be set for {:?}", tax.category)
        });
        let region = tax.region.as_deref().unwrap_or_default();
        TaxRate {
            tax_id: named_id("tax", &format!("{}/{region}/{}/{}", tax.country, tax.category, tax.title)).into(),
            title: tax.title.clone(),
            country: tax.country.clone(),
            region: tax.region.clone(),
            category: tax.category.clone(),
            rate_ppm: tax.rate_ppm,
            compound: false,
            applies_to_shipping: tax.shipping,
        }
    }

    fn shipping_methods(&mut self, methods: &[Shipping]) -> Vec<ShippingMethod> {
        let mut ids = BTreeSet::new();
        methods
            .iter()
            .map(|method| {
                self.must(ids.insert(&method.id), || format!("`shipping.id`: {:?} is there twice", method.id));
                self.shipping_method(method)
            })
            .collect()
    }

    fn shipping_method(&mut self, method: &Shipping) -> ShippingMethod {
        let mut prices = Vec::with_capacity(method.price.len());
        for (code, amount) in &method.price {
            let Some(currency) = self.currency("shipping.price", code) else {
                continue;
            };
            match Money::new(*amount, currency) {
                Ok(price) => prices.push(price),
                Err(error) => self.0.push(format!("`shipping.price`: {code} of {:?}: {error}", method.id)),
            }
        }
        for country in &method.countries {
            self.country("shipping.countries", country);
        }
        ShippingMethod {
            method_id: named_id("shipping_method", &method.id).into(),
            title: method.title.clone(),
            countries: method.countries.clone(),
            prices,
            tax_category: SHIPPING_TAX_CATEGORY.to_owned(),
            free_from: Vec::new(),
            rates: None,
        }
    }

    fn result(self) -> Result<(), ConfigError> {
        if self.0.is_empty() { Ok(()) } else { Err(ConfigError(self.0)) }
    }
}

/// Other names were refused when the configuration was loaded.
fn rounding(name: &str) -> Rounding {
    match name {
        "half_even" => Rounding::HalfEven,
        _ => Rounding::HalfUp,
    }
}

fn named_id(kind: &str, name: &str) -> Uuid {
    Uuid::new_v5(&NAMESPACE, format!("{kind}:{name}").as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_are_settings_and_ids_come_from_names() {
        let mut config = Config::default();
        let settings = Settings::try_from(&config).unwrap();
        assert_eq!(settings.default_currency().as_str(), "EUR");
        assert_eq!(settings.currency("usd").map(|currency| currency.to_string()).as_deref(), Some("USD"));
        assert_eq!(settings.terms.shipping_methods[0].prices[0].amount(), 490);
        config.tax[0].rate_ppm = 160_000;
        config.shipping.reverse();
        let changed = Settings::try_from(&config).unwrap();
        assert_eq!(changed.terms.tax_rates[0].tax_id, settings.terms.tax_rates[0].tax_id);
        assert_eq!(changed.terms.shipping_methods[1].method_id, settings.terms.shipping_methods[0].method_id);
    }

    #[test]
    fn all_errors_are_said_at_once() {
        let mut config = Config::default();
        config.store.currencies = vec!["EUR".to_owned(), "XXQ".to_owned()];
        config.store.countries = vec!["Germany".to_owned()];
        config.shipping[1].id = config.shipping[0].id.clone();
        let ConfigError(errors) = Settings::try_from(&config).unwrap_err();
        assert_eq!(errors.len(), 3, "{errors:?}");
    }
}
