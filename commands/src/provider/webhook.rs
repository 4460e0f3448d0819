//! What the provider sends by itself, signed as Standard Webhooks say. Promises that nothing of a body is believed before its
//! signature and its time are right.
//!
//! <https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md>

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use chrono::{DateTime, TimeDelta, Utc};
use hmac::{Hmac, KeyInit, Mac};
use serde::{Deserialize, Serialize};
use sha2::Sha256;

use super::ProviderFact;
use super::wire::{EventBody, fact};

/// How old or how far ahead a webhook's timestamp may be (Standard Webhooks recommends five minutes).
pub const WEBHOOK_TOLERANCE: TimeDelta = TimeDelta::minutes(5);
/// Signatures tried in one `webhook-signature` header (several while a secret is being rotated).
const SIGNATURES_MAX: usize = 8;

/// The three headers of Standard Webhooks, as they arrived.
#[derive(Clone, Copy, Debug)]
pub struct WebhookHeaders<'a> {
    /// `webhook-id`
    pub id: &'a str,
    /// `webhook-timestamp`: seconds since 1970.
    pub timestamp: &'a str,
    /// `webhook-signature`: `v1,<base64>`, several separated by spaces.
    pub signature: &'a str,
}

/// A message that the provider surely sent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WebhookEvent {
    /// Equal in each delivery of the same event.
    pub id: String,
    /// `payment.authorized`, …; for people: what happened is in `fact`.
    pub event_type: String,
    pub created: DateTime<Utc>,
    pub fact: ProviderFact,
}

/// Why a webhook is not believed, or not understood.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WebhookError {
    #[error("the webhook secret is not whsec_ and base64")]
    SecretInvalid,
    #[error("the webhook headers are missing or malformed")]
    HeadersInvalid,
    #[error("the webhook is older or newer than the tolerance")]
    OutsideTolerance,
    #[error("no signature of the webhook is right")]
    SignatureInvalid,
    /// Signed, so it is a fact, but not one that we know: to be parked, never refused.
    #[error("the webhook is signed and not understood")]
    NotUnderstood,
}

/// Checks the signature in constant time, then the time, then reads the body.
pub fn verify_webhook(
    secret: &str,
    headers: &WebhookHeaders<'_>,
    body: &[u8],
    now: DateTime<Utc>,
    tolerance: TimeDelta,
) -> Result<WebhookEvent, WebhookError> {
    let key = secret.strip_prefix("whsec_").and_then(|key| STANDARD.decode(key).ok());
    let key = key.filter(|key| !key.is_empty()).ok_or(WebhookError::SecretInvalid)?;
    let seconds: i64 = headers.timestamp.parse().map_err(|_| WebhookError::HeadersInvalid)?;
    let sent_at = DateTime::from_timestamp(seconds, 0).ok_or(WebhookError::HeadersInvalid)?;
    if headers.id.is_empty() {
        return Err(WebhookError::HeadersInvalid);
    }
    let mut signed = Hmac::<Sha256>::new_from_slice(&key).map_err(|_| WebhookError::SecretInvalid)?;
    signed.update(headers.id.as_bytes());
    signed.update(b".");
    signed.update(headers.timestamp.as_bytes());
    signed.update(b".");
    signed.update(body);
    let candidates = headers.signature.split(' ').take(SIGNATURES_MAX).filter_map(|one| one.strip_prefix("v1,"));
    let mut decoded = candidates.filter_map(|one| STANDARD.decode(one).ok());
    if !decoded.any(|signature| signed.clone().verify_slice(&signature).is_ok()) {
        return Err(WebhookError::SignatureInvalid);
    }
    if (now - sent_at).abs() > tolerance {
        return Err(WebhookError::OutsideTolerance);
    }
    read_event(headers.id, body).ok_or(WebhookError::NotUnderstood)
}

fn read_event(id: &str, body: &[u8]) -> Option<WebhookEvent> {
    let event: EventBody = serde_json::from_slice(body).ok()?;
    if event.id != id {
        return None;
    }
    let mut fact = fact(&event.data.payment, event.data.operation).ok()?;
    fact.provider_event_id = Some(event.id.clone());
    Some(WebhookEvent { id: event.id, event_type: event.event_type, created: event.created, fact })
}
