//! The names of things. An id of one kind can't be passed where another is meant.
//!
//! Ids are UUIDs (version 7 where the program makes them), made outside this crate and handed in by
//! commands. In JSON they are plain strings.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

macro_rules! ids {
    ($($(#[$doc:meta])* $name:ident),+ $(,)?) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(Uuid);

        impl $name {
            #[must_use]
            pub const fn new(uuid: Uuid) -> Self {
                Self(uuid)
            }

            #[must_use]
            pub const fn uuid(self) -> Uuid {
                self.0
            }
        }

        impl From<Uuid> for $name {
            fn from(uuid: Uuid) -> Self {
                Self(uuid)
            }
        }

        impl FromStr for $name {
            type Err = uuid::Error;

            fn from_str(text: &str) -> Result<Self, Self::Err> {
                Uuid::parse_str(text).map(Self)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
    )+};
}

ids! {
    ProductId,
    /// An option of a product ("colour").
    OptionId,
    /// A value of an option ("red").
    ValueId,
    MediaId,
    /// What is sold: a product in one combination of its options. Also the name of its stock item.
    VariantId,
    CategoryId,
    /// A list of prices in one currency.
    PriceListId,
    /// A place where stock lies.
    LocationId,
    ReceiptId,
    TransferId,
    /// A reservation of stock.
    HoldId,
    /// Stock promised to a line of a confirmed order.
    AllocationId,
    OrderId,
    /// A line of a cart; the order's line keeps the id.
    LineId,
    CancellationId,
    /// One attempt to pay.
    PaymentId,
    /// One call to the payment provider: authorise, capture, void or refund.
    OperationId,
    RefundId,
    DisputeId,
    /// A part of an order's total and how it is to be paid.
    TenderId,
    /// A person whom personal facts are about; guests have one, too.
    SubjectId,
    CustomerId,
    DiscountId,
    TaxId,
    /// A shipping method.
    MethodId,
    FulfilmentId,
    ReturnId,
    PromotionId,
    CouponId,
    SearchRuleId,
}

/// The keyed hash of a cart's public id, in hex. The public id is a secret and never stored.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct CartKey(String);

impl CartKey {
    #[must_use]
    pub fn new(hex: impl Into<String>) -> Self {
        Self(hex.into())
    }

    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for CartKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl std::str::FromStr for CartKey {
    type Err = std::convert::Infallible;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Ok(Self(text.to_owned()))
    }
}

impl From<String> for CartKey {
    fn from(hex: String) -> Self {
        Self(hex)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_carts_key_is_read_as_it_is_written() {
        let key = CartKey::new("5f0e");
        assert_eq!((key.as_str(), key.to_string().as_str()), ("5f0e", "5f0e"));
        assert_eq!(serde_json::to_string(&key).unwrap(), "\"5f0e\"");
        assert_eq!(["5f0e".parse().unwrap(), CartKey::from("5f0e".to_owned())], [key.clone(), key]);
    }
}
