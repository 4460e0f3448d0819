//! Facts about people, which can be erased from a log that never forgets.
//!
//! In JSON a known fact is `{"$personal": value}` and an erased one `{"$erased": true}`. Outside of
//! this crate the former is sealed under the person's key before it is stored and opened after it is
//! loaded; when the key is gone it loads as the latter. Nothing personal is ever printed: `Debug`
//! shows only whether the fact is known.

use std::fmt;

use serde::{Deserialize, Serialize};

/// A fact about a person: known, or erased for ever.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "Stored<T>", into = "Stored<T>", bound(serialize = "T: Clone + Serialize"))]
pub enum Personal<T> {
    Known(T),
    Erased,
}

impl<T> Personal<T> {
    /// The fact, unless it was erased.
    #[must_use]
    pub const fn known(&self) -> Option<&T> {
        match self {
            Self::Known(value) => Some(value),
            Self::Erased => None,
        }
    }

    #[must_use]
    pub fn into_known(self) -> Option<T> {
        match self {
            Self::Known(value) => Some(value),
            Self::Erased => None,
        }
    }
}

impl<T> From<T> for Personal<T> {
    fn from(value: T) -> Self {
        Self::Known(value)
    }
}

impl<T> fmt::Debug for Personal<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Known(_) => "Known(..)",
            Self::Erased => "Erased",
        })
    }
}

/// What a key is for: erasing an account doesn't erase the orders that the law wants kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Purpose {
    Account,
    Order,
}

impl Purpose {
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Account => "account",
            Self::Order => "order",
        }
    }
}

/// The JSON form; two shapes of which exactly one fits.
#[derive(Serialize, Deserialize)]
#[serde(untagged)]
enum Stored<T> {
    Known {
        #[serde(rename = "$personal")]
        value: T,
    },
    Erased {
        #[serde(rename = "$erased")]
        erased: bool,
    },
}

impl<T> From<Stored<T>> for Personal<T> {
    fn from(stored: Stored<T>) -> Self {
        match stored {
            Stored::Known { value } => Self::Known(value),
            Stored::Erased { .. } => Self::Erased,
        }
    }
}

impl<T> From<Personal<T>> for Stored<T> {
    fn from(personal: Personal<T>) -> Self {
        match personal {
            Personal::Known(value) => Self::Known { value },
            Personal::Erased => Self::Erased { erased: true },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_known_fact_is_marked_as_personal_in_json() {
        let email = Personal::Known("ada@example.com".to_owned());
        let json = serde_json::to_string(&email).unwrap();
        assert_eq!(json, r#"{"$personal":"ada@example.com"}"#);
        assert_eq!(serde_json::from_str::<Personal<String>>(&json).unwrap(), email);
    }

    #[test]
    fn an_erased_fact_stays_erased() {
        let json = serde_json::to_string(&Personal::<String>::Erased).unwrap();
        assert_eq!(json, r#"{"$erased":true}"#);
        assert_eq!(serde_json::from_str::<Personal<String>>(&json).unwrap(), Personal::Erased);
    }

    #[test]
    fn a_sealed_fact_is_not_read_as_anything() {
        assert!(serde_json::from_str::<Personal<String>>(r#"{"$sealed":"…"}"#).is_err());
    }

    #[test]
    fn printing_shows_nothing_personal() {
        let email = Personal::Known("ada@example.com".to_owned());
        assert_eq!(format!("{email:?}"), "Known(..)");
        assert_eq!(format!("{:?}", Personal::<String>::Erased), "Erased");
    }

    #[test]
    fn a_fact_is_known_until_it_is_erased() {
        let email = Personal::from("ada@example.com");
        assert_eq!((email.known(), email.clone().into_known()), (Some(&"ada@example.com"), Some("ada@example.com")));
        assert_eq!((Personal::<i32>::Erased.known(), Personal::<i32>::Erased.into_known()), (None, None));
        assert_eq!([Purpose::Account, Purpose::Order].map(Purpose::as_str), ["account", "order"]);
    }
}
