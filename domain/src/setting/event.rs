//! What was set, and the shapes that it has. A change carries the whole thing as it is after it.

use serde::{Deserialize, Serialize};

use crate::id::{LocationId, MethodId, TaxId};
use crate::money::Rounding;
use crate::pricing::{ShippingMethod, TaxRate};

/// How prices are meant and how amounts are rounded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoreTermsSet {
    pub prices_include_tax: bool,
    pub rounding: Rounding,
}

/// A location as it is: of `LocationAdded` and `LocationChanged`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LocationFacts {
    pub location_id: LocationId,
    /// What people call it by; no two open locations have the same, without regard to case.
    pub code: String,
    pub title: String,
    #[serde(default, skip_serializing_if = "LocationAddress::is_empty")]
    pub address: LocationAddress,
    /// Stock is sold from the location with the lowest one first.
    pub priority: u32,
}

impl LocationFacts {
    #[must_use]
    pub fn has_code(&self, code: &str) -> bool {
        self.code.to_lowercase() == code.trim().to_lowercase()
    }
}

/// Where a location is. A place of business, so nothing personal.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LocationAddress {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub line1: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub line2: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub postal_code: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub city: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub region: Option<String>,
    /// ISO 3166-1 alpha-2.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub country: Option<String>,
}

impl LocationAddress {
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// Nothing is sold from it any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LocationClosed {
    pub location_id: LocationId,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TaxRateRemoved {
    pub tax_id: TaxId,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ShippingMethodRemoved {
    pub method_id: MethodId,
}

events! {
    /// What the store's owner has set.
    pub enum SettingEvent {
        StoreTermsSet(StoreTermsSet) = "StoreTermsSet", 1;
        LocationAdded(LocationFacts) = "LocationAdded", 1;
        LocationChanged(LocationFacts) = "LocationChanged", 1;
        LocationClosed(LocationClosed) = "LocationClosed", 1;
        TaxRateSet(TaxRate) = "TaxRateSet", 1;
        TaxRateRemoved(TaxRateRemoved) = "TaxRateRemoved", 1;
        ShippingMethodSet(ShippingMethod) = "ShippingMethodSet", 1;
        ShippingMethodRemoved(ShippingMethodRemoved) = "ShippingMethodRemoved", 1;
    }
}
