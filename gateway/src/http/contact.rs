//! Who buys and where it goes, as carts and orders show it.

use domain::cart::Address;
use domain::personal::Personal;
use serde::Serialize;
use utoipa::ToSchema;

/// Who buys and where it goes; what was erased is null.
#[derive(Debug, Serialize, ToSchema)]
pub struct ContactBody {
    #[schema(required = true, example = "mira.okafor@example.org")]
    email: Option<String>,
    #[schema(required = true)]
    phone: Option<String>,
    #[schema(required = true)]
    shipping_address: Option<PostalAddress>,
    /// Null: the one it is shipped to.
    #[schema(required = true)]
    billing_address: Option<PostalAddress>,
}

impl ContactBody {
    pub fn new(
        email: &Personal<String>,
        phone: Option<&Personal<String>>,
        shipping: &Personal<Address>,
        billing: Option<&Personal<Address>>,
    ) -> Self {
        let address = |address: &Personal<Address>| address.known().cloned().map(PostalAddress::from);
        Self {
            email: email.known().cloned(),
            phone: phone.and_then(Personal::known).cloned(),
            shipping_address: address(shipping),
            billing_address: billing.and_then(address),
        }
    }
}

#[derive(Debug, Serialize, ToSchema)]
pub struct PostalAddress {
    name: String,
    line1: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    line2: Option<String>,
    city: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    region: Option<String>,
    postal_code: String,
    /// ISO 3166-1 alpha-2.
    #[schema(example = "DE")]
    country: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    phone: Option<String>,
}

impl From<Address> for PostalAddress {
    fn from(Address { name, line1, line2, city, region, postal_code, country, phone }: Address) -> Self {
        Self { name, line1, line2, city, region, postal_code, country, phone }
    }
}

/// A contact as it comes in.
#[derive(ToSchema)]
#[expect(dead_code, reason = "the schema of `domain`'s ContactDraft, which knows no HTTP")]
pub struct ContactDraftBody {
    #[schema(example = "mira.okafor@example.org", max_length = 254)]
    email: String,
    phone: Option<String>,
    shipping_address: PostalAddress,
    /// The one it is shipped to unless given.
    billing_address: Option<PostalAddress>,
}
