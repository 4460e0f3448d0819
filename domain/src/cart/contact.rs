//! Who buys and where it goes, and whether that is written so that a parcel and an e-mail arrive.

use serde::{Deserialize, Serialize};

/// The longest field of an address, in characters.
pub const ADDRESS_FIELD_CHARS_MAX: usize = 200;

/// The longest e-mail address, in bytes (RFC 5321 §4.5.3.1.3, without the angle brackets).
pub const EMAIL_BYTES_MAX: usize = 254;

/// A postal address. `country` is ISO 3166-1 alpha-2.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Address {
    pub name: String,
    pub line1: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub line2: Option<String>,
    pub city: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub region: Option<String>,
    pub postal_code: String,
    pub country: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub phone: Option<String>,
}

/// As much of an address as tax and shipping need; not personal.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ShipTo {
    pub country: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub region: Option<String>,
}

/// One thing wrong with one field. `pointer` is a JSON pointer (RFC 6901) into the request's body.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FieldError {
    pub pointer: String,
    pub code: String,
    pub detail: String,
}

impl FieldError {
    #[must_use]
    pub fn new(pointer: impl Into<String>, code: &str, detail: &str) -> Self {
        Self { pointer: pointer.into(), code: code.to_owned(), detail: detail.to_owned() }
    }
}

impl Address {
    #[must_use]
    pub fn ship_to(&self) -> ShipTo {
        ShipTo { country: self.country.clone(), region: self.region.clone() }
    }

    /// Everything that is wrong with it; `pointer` is where the address stands in the body.
    #[must_use]
    pub fn errors(&self, pointer: &str) -> Vec<FieldError> {
        let mut errors = Vec::new();
        let required = [
            ("name", &self.name),
            ("line1", &self.line1),
            ("city", &self.city),
            ("postal_code", &self.postal_code),
            ("country", &self.country),
        ];
        for (field, text) in required {
            if text.trim().is_empty() {
                errors.push(FieldError::new(format!("{pointer}/{field}"), "required", "is needed"));
            }
        }
        let optional = [("line2", &self.line2), ("region", &self.region), ("phone", &self.phone)];
        let present = optional.into_iter().filter_map(|(field, text)| Some((field, text.as_ref()?)));
        for (field, text) in required.into_iter().chain(present) {
            if text.chars().count() > ADDRESS_FIELD_CHARS_MAX {
                let detail = format!("is longer than {ADDRESS_FIELD_CHARS_MAX} characters");
                errors.push(FieldError::new(format!("{pointer}/{field}"), "too_long", &detail));
            }
        }
        if !self.country.trim().is_empty() && !is_country(&self.country) {
            let detail = "is not an ISO 3166-1 alpha-2 code such as DE";
            errors.push(FieldError::new(format!("{pointer}/country"), "country_invalid", detail));
        }
        errors
    }
}

/// Two capital letters, as ISO 3166-1 alpha-2 has them.
#[must_use]
pub fn is_country(code: &str) -> bool {
    code.len() == 2 && code.bytes().all(|b| b.is_ascii_uppercase())
}

/// Everything that is wrong with an e-mail address. Whether it exists only a message can tell; this
/// finds what no server would take.
#[must_use]
pub fn email_errors(email: &str, pointer: &str) -> Vec<FieldError> {
    if email.trim().is_empty() {
        return vec![FieldError::new(pointer, "required", "is needed")];
    }
    if is_email(email) {
        return vec![];
    }
    vec![FieldError::new(pointer, "email_invalid", "is not an e-mail address such as ada@example.com")]
}

/// The addresses that people have: one `@`, a local part without quotes, a domain with a dot
/// (RFC 5321 without its quoted strings and address literals; UTF-8 as in RFC 6531).
fn is_email(email: &str) -> bool {
    let Some((local, domain)) = email.split_once('@') else {
        return false;
    };
    let local_char = |c: char| !c.is_ascii() || c.is_ascii_alphanumeric() || "!#$%&'*+-/=?^_`{|}~.".contains(c);
    let dots_fit = |text: &str| !text.starts_with('.') && !text.ends_with('.') && !text.contains("..");
    let label = |label: &str| {
        let inside = |c: char| !c.is_ascii() || c.is_ascii_alphanumeric() || c == '-';
        !label.is_empty() && label.len() <= 63 && !label.starts_with('-') && !label.ends_with('-') && label.chars().all(inside)
    };
    email.len() <= EMAIL_BYTES_MAX
        && !email.chars().any(|c| c.is_whitespace() || c.is_control())
        && (1..=64).contains(&local.len())
        && local.chars().all(local_char)
        && dots_fit(local)
        && domain.contains('.')
        && domain.split('.').all(label)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ordinary_email_addresses_are_taken() {
        for email in ["ada@example.com", "ada.l+shop@mail.example.co.uk", "jürgen@müller.example"] {
            assert_eq!(email_errors(email, "/email"), vec![], "{email}");
        }
    }

    #[test]
    fn what_no_server_would_take_is_refused() {
        for email in ["ada", "ada@", "@example.com", "a b@example.com", "ada@example", "ada@@example.com"] {
            assert_eq!(email_errors(email, "/email")[0].code, "email_invalid", "{email}");
        }
        assert_eq!(email_errors(" ", "/email")[0].code, "required");
    }

    #[test]
    fn each_part_of_an_email_address_is_looked_at() {
        let long = |local: usize, label: usize| format!("{}@{}.example", "a".repeat(local), "b".repeat(label));
        // 64 + 1 + 63 + 1 + 63 + 1 + 57 + 4 = 254 bytes.
        let longest = format!("{}@{}.{}.{}.com", "a".repeat(64), "b".repeat(63), "c".repeat(63), "d".repeat(57));
        for email in ["a@b.c", "a.b@c-d.e", "{a}@b.c", &long(64, 63), &longest] {
            assert_eq!(email_errors(email, "/email"), vec![], "{email}");
        }
        let too_long = longest.replace(".com", "e.com");
        let local = [".a@b.c", "a.@b.c", "a..b@c.d", "(a)@b.c", "a\u{7f}@b.c", "a\u{a0}b@c.d", &long(65, 1), &too_long];
        let domain = ["a@b..c", "a@.b", "a@b.", "a@-b.c", "a@b-.c", "a@b_c.d", "a@b\u{a0}c.d", "a@b\u{85}.c", &long(1, 64)];
        for email in local.into_iter().chain(domain) {
            assert_eq!(email_errors(email, "/email")[0].code, "email_invalid", "{email}");
        }
    }

    #[test]
    fn an_address_is_as_long_as_a_label_holds() {
        let address = |chars: usize| Address {
            name: "ä".repeat(chars),
            line1: "1".to_owned(),
            city: "c".to_owned(),
            postal_code: "p".to_owned(),
            country: "DE".to_owned(),
            ..Address::default()
        };
        assert_eq!(address(ADDRESS_FIELD_CHARS_MAX).errors(""), vec![]);
        let codes: Vec<_> = address(ADDRESS_FIELD_CHARS_MAX + 1).errors("").into_iter().map(|error| error.code).collect();
        assert_eq!(codes, ["too_long"]);
        let unlikely = Address { region: Some("r".repeat(ADDRESS_FIELD_CHARS_MAX + 1)), ..address(1) };
        assert_eq!(unlikely.errors("/to")[0].pointer, "/to/region");
    }

    #[test]
    fn every_missing_field_of_an_address_is_named_by_its_pointer() {
        let address = Address { country: "Germany".to_owned(), ..Address::default() };
        let errors = address.errors("/shipping_address");
        let pointers: Vec<_> = errors.iter().map(|error| error.pointer.as_str()).collect();
        assert_eq!(
            pointers,
            [
                "/shipping_address/name",
                "/shipping_address/line1",
                "/shipping_address/city",
                "/shipping_address/postal_code",
                "/shipping_address/country",
            ]
        );
        assert_eq!(errors[4].code, "country_invalid");
    }
}
