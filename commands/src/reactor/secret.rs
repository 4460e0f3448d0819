//! What a running payment needs and no event may hold: the provider's token, where the shopper comes back to, where the shopper is
//! sent to. Sealed in a table of its own, deleted with the authorisation's end.

use chrono::{DateTime, Utc};
use domain::id::PaymentId;
use serde::{Deserialize, Serialize};
use sqlx::PgPool;

use crate::answer::Failure;
use crate::writer::Writer;

/// One payment's secrets.
#[derive(Clone, Serialize, Deserialize)]
pub struct Kept {
    /// What the provider's form gave the shopper's browser.
    pub token: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub return_url: Option<String>,
    /// Where the shopper does what the bank asks for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub action_url: Option<String>,
}

/// Keeps a payment's secrets sealed until the payment has no use for them.
pub async fn keep(writer: &Writer, payment_id: PaymentId, kept: &Kept) -> Result<(), Failure> {
    let sealed = sealed(writer, payment_id, kept)?;
    sqlx::query("INSERT INTO sealed_secret (secret_id, sealed) VALUES ($1, $2)")
        .bind(payment_id.uuid())
        .bind(sealed)
        .execute(writer.loader().pool())
        .await?;
    Ok(())
}

/// A payment's secrets, as long as it needs them.
pub async fn find(writer: &Writer, payment_id: PaymentId) -> Result<Option<Kept>, Failure> {
    let sealed: Option<Vec<u8>> = sqlx::query_scalar("SELECT sealed FROM sealed_secret WHERE secret_id = $1")
        .bind(payment_id.uuid())
        .fetch_optional(writer.loader().pool())
        .await?;
    Ok(sealed.and_then(|sealed| opened(writer, payment_id, &sealed)))
}

/// Adds where the shopper is sent to; of a payment that has ended nothing is kept.
pub(super) async fn keep_action(writer: &Writer, payment_id: PaymentId, url: &str) -> Result<(), Failure> {
    let Some(kept) = find(writer, payment_id).await? else { return Ok(()) };
    if kept.action_url.as_deref() == Some(url) {
        return Ok(());
    }
    let sealed = sealed(writer, payment_id, &Kept { action_url: Some(url.to_owned()), ..kept })?;
    sqlx::query("UPDATE sealed_secret SET sealed = $2 WHERE secret_id = $1")
        .bind(payment_id.uuid())
        .bind(sealed)
        .execute(writer.loader().pool())
        .await?;
    Ok(())
}

/// Drops the secrets kept before `before` that no payment was started with.
pub async fn sweep(pool: &PgPool, before: DateTime<Utc>) -> Result<(), sqlx::Error> {
    sqlx::query(
        "DELETE FROM sealed_secret s
         WHERE s.created_at < $1
           AND NOT EXISTS (SELECT FROM events e
                           WHERE e.aggregate_type = 'payment' AND e.aggregate_id = s.secret_id::text AND e.sequence = 1)",
    )
    .bind(before)
    .execute(pool)
    .await?;
    Ok(())
}

/// Drops secrets that no payment was started with.
pub async fn drop(writer: &Writer, payment_id: PaymentId) -> Result<(), Failure> {
    sqlx::query("DELETE FROM sealed_secret WHERE secret_id = $1").bind(payment_id.uuid()).execute(writer.loader().pool()).await?;
    Ok(())
}

fn sealed(writer: &Writer, payment_id: PaymentId, kept: &Kept) -> Result<Vec<u8>, Failure> {
    let text = serde_json::to_vec(kept)?;
    Ok(writer.loader().sealer().master().seal_bytes(&text, &payment_id.to_string())?)
}

pub(super) fn opened(writer: &Writer, payment_id: PaymentId, sealed: &[u8]) -> Option<Kept> {
    match writer.loader().sealer().master().open_bytes(sealed, &payment_id.to_string()) {
        // Earlier versions kept the token alone.
        Ok(text) => Some(serde_json::from_slice(&text).unwrap_or_else(|_| Kept {
            token: String::from_utf8_lossy(&text).into_owned(),
            return_url: None,
            action_url: None,
        })),
        Err(error) => {
            tracing::error!(error = &error as &dyn std::error::Error, "a payment's secrets can't be opened");
            None
        }
    }
}
