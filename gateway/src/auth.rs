//! Who calls: bearer tokens (JWT, `EdDSA`) with roles, the keys to check them, and order tokens of guests.

use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair};
use base64::Engine;
use base64::engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD};
use chrono::{DateTime, Duration, Utc};
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

/// The longest life of a token.
pub const TOKEN_TTL_MAX_H: i64 = 24 * 30;
const ISSUER: &str = "daybook";
/// Seconds by which clocks may differ.
const LEEWAY_S: u64 = 5;

/// What a caller may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    Shopper,
    Support,
    Fulfilment,
    Manager,
    Owner,
    Analyst,
    Operator,
}

impl Role {
    /// Sees orders, stock and histories of the shop.
    #[must_use]
    pub fn is_staff(self) -> bool {
        self != Self::Shopper
    }

    /// Acts for shoppers: cancels and pays their orders.
    #[must_use]
    pub fn serves(self) -> bool {
        matches!(self, Self::Support | Self::Manager | Self::Owner)
    }

    /// Reads personal data in the log and in read models.
    #[must_use]
    pub fn opens_personal(self) -> bool {
        self.serves()
    }

    /// Reads where an order goes.
    #[must_use]
    pub fn sees_contact(self) -> bool {
        self.opens_personal() || self == Self::Fulfilment
    }

    /// Sends orders.
    #[must_use]
    pub fn ships(self) -> bool {
        self.manages() || self == Self::Fulfilment
    }

    /// Changes catalogue and stock.
    #[must_use]
    pub fn manages(self) -> bool {
        matches!(self, Self::Manager | Self::Owner)
    }

    /// Reads the event log.
    #[must_use]
    pub fn analyses(self) -> bool {
        matches!(self, Self::Analyst | Self::Manager | Self::Owner | Self::Operator)
    }

    /// Runs the machine: projections, verification.
    #[must_use]
    pub fn operates(self) -> bool {
        matches!(self, Self::Operator | Self::Owner)
    }
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Claims {
    pub iss: String,
    /// Opaque id of the person or program.
    pub sub: String,
    pub role: Role,
    pub iat: i64,
    pub nbf: i64,
    pub exp: i64,
}

#[derive(Debug, thiserror::Error)]
pub enum TokenError {
    #[error("`token_key` must be an Ed25519 private key (PKCS#8, base64); `daybook up` makes one")]
    Key,
    #[error("a token may live from 1 minute to {TOKEN_TTL_MAX_H} hours")]
    Ttl,
    #[error("the token is not valid")]
    Invalid(#[from] jsonwebtoken::errors::Error),
}

/// Signs and checks bearer tokens.
pub struct Tokens {
    encoding: EncodingKey,
    decoding: DecodingKey,
    public: String,
    key_id: String,
}

impl std::fmt::Debug for Tokens {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Tokens({})", self.key_id)
    }
}

impl Tokens {
    pub fn new(key: &str) -> Result<Self, TokenError> {
        let der = STANDARD_NO_PAD.decode(key.trim().trim_end_matches('=')).map_err(|_| TokenError::Key)?;
        let pair = Ed25519KeyPair::from_pkcs8(&der).map_err(|_| TokenError::Key)?;
        let public = URL_SAFE_NO_PAD.encode(pair.public_key().as_ref());
        let key_id = blake3::hash(public.as_bytes()).to_hex()[..16].to_owned();
        Ok(Self { encoding: EncodingKey::from_ed_der(&der), decoding: DecodingKey::from_ed_components(&public)?, public, key_id })
    }

    /// A fresh signing key as text.
    pub fn generate_key() -> Result<String, TokenError> {
        let pair = Ed25519KeyPair::generate().map_err(|_| TokenError::Key)?;
        let der = pair.to_pkcs8v1().map_err(|_| TokenError::Key)?;
        Ok(STANDARD_NO_PAD.encode(der.as_ref()))
    }

    pub fn issue(&self, role: Role, subject: &str, now: DateTime<Utc>, ttl: Duration) -> Result<String, TokenError> {
        if ttl < Duration::minutes(1) || ttl > Duration::hours(TOKEN_TTL_MAX_H) {
            return Err(TokenError::Ttl);
        }
        let mut header = Header::new(Algorithm::EdDSA);
        header.kid = Some(self.key_id.clone());
        let at = now.timestamp();
        let exp = (now + ttl).timestamp();
        let claims = Claims { iss: ISSUER.to_owned(), sub: subject.to_owned(), role, iat: at, nbf: at, exp };
        Ok(jsonwebtoken::encode(&header, &claims, &self.encoding)?)
    }

    pub fn check(&self, token: &str) -> Result<Claims, TokenError> {
        let mut validation = Validation::new(Algorithm::EdDSA);
        validation.leeway = LEEWAY_S;
        validation.validate_nbf = true;
        validation.set_issuer(&[ISSUER]);
        validation.set_required_spec_claims(&["exp", "nbf", "iss", "sub"]);
        validation.validate_aud = false;
        Ok(jsonwebtoken::decode::<Claims>(token, &self.decoding, &validation)?.claims)
    }

    /// The key set (RFC 7517) that others check our tokens with.
    #[must_use]
    pub fn jwks(&self) -> Value {
        json!({ "keys": [{ "kty": "OKP", "crv": "Ed25519", "alg": "EdDSA", "use": "sig", "kid": self.key_id, "x": self.public }] })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_good_until_it_expires_and_only_under_its_key() {
        let tokens = Tokens::new(&Tokens::generate_key().unwrap()).unwrap();
        let now = infra::clock::now();
        let good = tokens.issue(Role::Owner, "ada", now, Duration::hours(1)).unwrap();
        assert_eq!(tokens.check(&good).unwrap().role, Role::Owner);
        let old = tokens.issue(Role::Owner, "ada", now - Duration::hours(2), Duration::hours(1)).unwrap();
        assert!(tokens.check(&old).is_err());
        let other = Tokens::new(&Tokens::generate_key().unwrap()).unwrap();
        assert!(other.check(&good).is_err());
    }
}
