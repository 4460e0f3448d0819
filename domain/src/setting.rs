//! The store's settings: where stock lies and in which order it is sold, what is taxed and how, how goods are delivered.
//!
//! One stream, so that an order is placed by exactly the settings in force: who decides by them asserts its version. As
//! long as it is empty the configuration is in force; the first change begins with [`SettingCommand::Seed`], which writes
//! the configuration down, and from then on the stream is the truth.

mod check;
mod event;

pub use event::{LocationAddress, LocationClosed, LocationFacts, SettingEvent, ShippingMethodRemoved, StoreTermsSet, TaxRateRemoved};

use serde::{Deserialize, Serialize};

use crate::cart::FieldError;
use crate::event::Root;
use crate::id::{LocationId, MethodId, TaxId};
use crate::money::Rounding;
use crate::pricing::{ShippingMethod, TaxRate};

/// The id of the one stream.
pub const STORE: &str = "store";

/// Most locations, tax rates and shipping methods of a store: each cart looks through all of them. A chain of 1,565 shops,
/// each of which sells from its own stock, is a store.
pub const LOCATIONS_MAX: usize = 2_000;
pub const TAX_RATES_MAX: usize = 1_000;
pub const SHIPPING_METHODS_MAX: usize = 200;

/// Everything that is set, as it was before the first change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoreFacts {
    pub terms: StoreTermsSet,
    pub locations: Vec<LocationFacts>,
    pub tax_rates: Vec<TaxRate>,
    pub shipping_methods: Vec<ShippingMethod>,
}

/// A location to be added; without a priority it comes last.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewLocation {
    pub location_id: LocationId,
    pub code: String,
    pub title: String,
    pub address: LocationAddress,
    pub priority: Option<u32>,
}

/// What is to be different at a location; what is absent stays.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LocationChange {
    pub code: Option<String>,
    pub title: Option<String>,
    pub address: Option<LocationAddress>,
    pub priority: Option<u32>,
}

/// Wishes that are fulfilled already are no-ops.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SettingCommand {
    Seed(Box<StoreFacts>),
    /// What is absent stays.
    ChangeTerms {
        prices_include_tax: Option<bool>,
        rounding: Option<Rounding>,
    },
    AddLocation(NewLocation),
    ChangeLocation {
        location_id: LocationId,
        change: LocationChange,
    },
    /// `variants_there`: of how many variants something lies there, is promised, kept back or on its way there.
    CloseLocation {
        location_id: LocationId,
        variants_there: u64,
    },
    AddTaxRate(TaxRate),
    ChangeTaxRate(TaxRate),
    RemoveTaxRate {
        tax_id: TaxId,
    },
    AddShippingMethod(Box<ShippingMethod>),
    ChangeShippingMethod(Box<ShippingMethod>),
    RemoveShippingMethod {
        method_id: MethodId,
    },
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SettingRejection {
    #[error("there is no such location")]
    LocationNotFound,
    #[error("there is no such tax rate")]
    TaxRateNotFound,
    #[error("there is no such shipping method")]
    ShippingMethodNotFound,
    #[error("another location has the code {code}")]
    LocationCodeTaken { code: String },
    #[error("the same tax is there already")]
    TaxRateExists { tax_id: TaxId },
    #[error("the location {code} is closed for good")]
    LocationClosed { code: String },
    #[error("stock of {variants} variants lies at the location, is promised, kept back or on its way there")]
    LocationInUse { variants: u64 },
    #[error("a store needs a location")]
    LastLocation,
    #[error("no more than {max} of this kind can be set")]
    TooMany { max: usize },
    #[error("some fields are missing or wrong")]
    Invalid { errors: Vec<FieldError> },
}

impl SettingRejection {
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::LocationNotFound => "location_not_found",
            Self::TaxRateNotFound => "tax_rate_not_found",
            Self::ShippingMethodNotFound => "shipping_method_not_found",
            Self::LocationCodeTaken { .. } => "location_code_taken",
            Self::TaxRateExists { .. } => "tax_rate_exists",
            Self::LocationClosed { .. } => "location_closed",
            Self::LocationInUse { .. } => "location_in_use",
            Self::LastLocation => "last_location",
            Self::TooMany { .. } => "too_many",
            Self::Invalid { .. } => "invalid",
        }
    }
}

/// A place where stock lies.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Location {
    #[serde(flatten)]
    pub facts: LocationFacts,
    /// Sold from and filled up no more; its code is free for another one.
    pub is_closed: bool,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Settings {
    /// Whether anything was ever set.
    pub is_written: bool,
    pub prices_include_tax: bool,
    pub rounding: Rounding,
    /// As they were added.
    pub locations: Vec<Location>,
    pub tax_rates: Vec<TaxRate>,
    pub shipping_methods: Vec<ShippingMethod>,
}

impl Settings {
    pub fn decide(&self, command: SettingCommand) -> Result<Vec<SettingEvent>, SettingRejection> {
        match command {
            SettingCommand::Seed(facts) => Ok(if self.is_written { vec![] } else { seed(*facts) }),
            SettingCommand::ChangeTerms { prices_include_tax, rounding } => {
                let current = StoreTermsSet { prices_include_tax: self.prices_include_tax, rounding: self.rounding };
                let wanted = StoreTermsSet {
                    prices_include_tax: prices_include_tax.unwrap_or(current.prices_include_tax),
                    rounding: rounding.unwrap_or(current.rounding),
                };
                Ok(if wanted == current { vec![] } else { vec![SettingEvent::StoreTermsSet(wanted)] })
            }
            SettingCommand::AddLocation(new) => self.add_location(new),
            SettingCommand::ChangeLocation { location_id, change } => self.change_location(location_id, change),
            SettingCommand::CloseLocation { location_id, variants_there } => self.close_location(location_id, variants_there),
            SettingCommand::AddTaxRate(rate) => {
                room(self.tax_rates.len(), TAX_RATES_MAX)?;
                self.set_tax_rate(rate)
            }
            SettingCommand::ChangeTaxRate(rate) => {
                self.tax_rate(rate.tax_id).ok_or(SettingRejection::TaxRateNotFound)?;
                self.set_tax_rate(rate)
            }
            SettingCommand::RemoveTaxRate { tax_id } => {
                self.tax_rate(tax_id).ok_or(SettingRejection::TaxRateNotFound)?;
                Ok(vec![SettingEvent::TaxRateRemoved(TaxRateRemoved { tax_id })])
            }
            SettingCommand::AddShippingMethod(method) => {
                room(self.shipping_methods.len(), SHIPPING_METHODS_MAX)?;
                self.set_shipping_method(*method)
            }
            SettingCommand::ChangeShippingMethod(method) => {
                self.shipping_method(method.method_id).ok_or(SettingRejection::ShippingMethodNotFound)?;
                self.set_shipping_method(*method)
            }
            SettingCommand::RemoveShippingMethod { method_id } => {
                self.shipping_method(method_id).ok_or(SettingRejection::ShippingMethodNotFound)?;
                Ok(vec![SettingEvent::ShippingMethodRemoved(ShippingMethodRemoved { method_id })])
            }
        }
    }

    pub fn apply(&mut self, event: &SettingEvent) {
        self.is_written = true;
        match event {
            SettingEvent::StoreTermsSet(terms) => {
                self.prices_include_tax = terms.prices_include_tax;
                self.rounding = terms.rounding;
            }
            SettingEvent::LocationAdded(facts) => self.locations.push(Location { facts: facts.clone(), is_closed: false }),
            SettingEvent::LocationChanged(facts) => {
                if let Some(location) = self.locations.iter_mut().find(|location| location.facts.location_id == facts.location_id) {
                    location.facts = facts.clone();
                }
            }
            SettingEvent::LocationClosed(closed) => {
                let location = self.locations.iter_mut().find(|location| location.facts.location_id == closed.location_id);
                if let Some(location) = location {
                    location.is_closed = true;
                }
            }
            SettingEvent::TaxRateSet(rate) => put(&mut self.tax_rates, rate, |known| known.tax_id == rate.tax_id),
            SettingEvent::TaxRateRemoved(removed) => self.tax_rates.retain(|rate| rate.tax_id != removed.tax_id),
            SettingEvent::ShippingMethodSet(method) => {
                put(&mut self.shipping_methods, method, |known| known.method_id == method.method_id);
            }
            SettingEvent::ShippingMethodRemoved(removed) => {
                self.shipping_methods.retain(|method| method.method_id != removed.method_id);
            }
        }
    }

    /// Open locations, first to be sold from first: by priority, then as they were added.
    #[must_use]
    pub fn open_locations(&self) -> Vec<&Location> {
        let mut open: Vec<&Location> = self.locations.iter().filter(|location| !location.is_closed).collect();
        open.sort_by_key(|location| location.facts.priority);
        open
    }

    /// The open location that is sold from first.
    #[must_use]
    pub fn first_location(&self) -> Option<&Location> {
        self.locations.iter().filter(|location| !location.is_closed).min_by_key(|location| location.facts.priority)
    }

    /// A location by its id or its code; of several that had the code the one that has it now, else the last.
    #[must_use]
    pub fn location(&self, id_or_code: &str) -> Option<&Location> {
        if let Ok(location_id) = id_or_code.parse::<LocationId>() {
            return self.locations.iter().find(|location| location.facts.location_id == location_id);
        }
        let named = || self.locations.iter().rev().filter(|location| location.facts.has_code(id_or_code));
        named().find(|location| !location.is_closed).or_else(|| named().next())
    }

    #[must_use]
    pub fn tax_rate(&self, tax_id: TaxId) -> Option<&TaxRate> {
        self.tax_rates.iter().find(|rate| rate.tax_id == tax_id)
    }

    #[must_use]
    pub fn shipping_method(&self, method_id: MethodId) -> Option<&ShippingMethod> {
        self.shipping_methods.iter().find(|method| method.method_id == method_id)
    }

    fn add_location(&self, new: NewLocation) -> Result<Vec<SettingEvent>, SettingRejection> {
        let open = || self.locations.iter().filter(|location| !location.is_closed);
        room(open().count(), LOCATIONS_MAX)?;
        let last = || open().map(|location| location.facts.priority).max().map_or(0, |priority| priority.saturating_add(1));
        let facts = LocationFacts {
            location_id: new.location_id,
            code: new.code,
            title: new.title,
            address: new.address,
            priority: new.priority.unwrap_or_else(last),
        };
        if let Some(known) = self.locations.iter().find(|location| location.facts.location_id == facts.location_id) {
            return if known.facts == facts { Ok(vec![]) } else { Err(SettingRejection::LocationCodeTaken { code: facts.code }) };
        }
        self.check_location(&facts)?;
        Ok(vec![SettingEvent::LocationAdded(facts)])
    }

    fn change_location(&self, location_id: LocationId, change: LocationChange) -> Result<Vec<SettingEvent>, SettingRejection> {
        let current = self.open_location(location_id)?;
        let facts = LocationFacts {
            location_id,
            code: change.code.unwrap_or_else(|| current.code.clone()),
            title: change.title.unwrap_or_else(|| current.title.clone()),
            address: change.address.unwrap_or_else(|| current.address.clone()),
            priority: change.priority.unwrap_or(current.priority),
        };
        self.check_location(&facts)?;
        Ok(if facts == *current { vec![] } else { vec![SettingEvent::LocationChanged(facts)] })
    }

    /// What lies at a closed location could be neither sold nor filled up, and still count as stock: it is moved first.
    fn close_location(&self, location_id: LocationId, variants_there: u64) -> Result<Vec<SettingEvent>, SettingRejection> {
        match self.open_location(location_id) {
            Err(SettingRejection::LocationClosed { .. }) => return Ok(vec![]),
            Err(rejection) => return Err(rejection),
            Ok(_) => {}
        }
        if self.open_locations().len() == 1 {
            return Err(SettingRejection::LastLocation);
        }
        if variants_there > 0 {
            return Err(SettingRejection::LocationInUse { variants: variants_there });
        }
        Ok(vec![SettingEvent::LocationClosed(LocationClosed { location_id })])
    }

    fn open_location(&self, location_id: LocationId) -> Result<&LocationFacts, SettingRejection> {
        let location = self.locations.iter().find(|location| location.facts.location_id == location_id);
        let location = location.ok_or(SettingRejection::LocationNotFound)?;
        if location.is_closed {
            return Err(SettingRejection::LocationClosed { code: location.facts.code.clone() });
        }
        Ok(&location.facts)
    }

    fn check_location(&self, facts: &LocationFacts) -> Result<(), SettingRejection> {
        check::fields(check::location_errors(facts))?;
        let is_taken = |location: &&Location| location.facts.location_id != facts.location_id && location.facts.has_code(&facts.code);
        match self.locations.iter().filter(|location| !location.is_closed).find(is_taken) {
            Some(_) => Err(SettingRejection::LocationCodeTaken { code: facts.code.clone() }),
            None => Ok(()),
        }
    }

    /// The same tax twice would be charged twice.
    fn set_tax_rate(&self, rate: TaxRate) -> Result<Vec<SettingEvent>, SettingRejection> {
        check::fields(check::tax_rate_errors(&rate))?;
        let is_same_tax = |known: &&TaxRate| {
            known.tax_id != rate.tax_id
                && (&known.title, &known.country, &known.region, &known.category)
                    == (&rate.title, &rate.country, &rate.region, &rate.category)
        };
        if let Some(known) = self.tax_rates.iter().find(is_same_tax) {
            return Err(SettingRejection::TaxRateExists { tax_id: known.tax_id });
        }
        Ok(if self.tax_rate(rate.tax_id) == Some(&rate) { vec![] } else { vec![SettingEvent::TaxRateSet(rate)] })
    }

    fn set_shipping_method(&self, method: ShippingMethod) -> Result<Vec<SettingEvent>, SettingRejection> {
        check::fields(check::shipping_method_errors(&method))?;
        let same = self.shipping_method(method.method_id) == Some(&method);
        Ok(if same { vec![] } else { vec![SettingEvent::ShippingMethodSet(method)] })
    }
}

aggregate!(Settings = "setting", SettingCommand => SettingEvent, SettingRejection);

impl Root for Settings {
    const CONTEXT: &'static str = "setting";
    const LONG_LIVED: bool = true;
}

fn seed(facts: StoreFacts) -> Vec<SettingEvent> {
    let mut events = vec![SettingEvent::StoreTermsSet(facts.terms)];
    events.extend(facts.locations.into_iter().map(SettingEvent::LocationAdded));
    events.extend(facts.tax_rates.into_iter().map(SettingEvent::TaxRateSet));
    events.extend(facts.shipping_methods.into_iter().map(SettingEvent::ShippingMethodSet));
    events
}

/// Replaces what is meant where it stands, or adds it at the end.
fn put<T: Clone>(items: &mut Vec<T>, item: &T, is_meant: impl Fn(&T) -> bool) {
    match items.iter_mut().find(|known| is_meant(known)) {
        Some(known) => known.clone_from(item),
        None => items.push(item.clone()),
    }
}

fn room(count: usize, max: usize) -> Result<(), SettingRejection> {
    if count < max { Ok(()) } else { Err(SettingRejection::TooMany { max }) }
}
