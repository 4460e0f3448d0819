//! Recording what the provider said, however it reached us.

use domain::id::PaymentId;
use sqlx::PgPool;
use uuid::Uuid;

use super::secret;
use crate::answer::{CommandError, Origin};
use crate::payment::{self, Completes, Late, Reported};
use crate::writer::Writer;

/// Records what a webhook or the provider's list says. Mostly the answer to our own call has said it before.
pub async fn record_told(writer: &Writer, pool: &PgPool, mut reported: Reported, late: Late) -> Result<(), CommandError> {
    let payment_id = reported.payment_id.uuid();
    reported.completes = Completes::NotLookedUp;
    record_outcome(writer, pool, reported, payment_id, payment_id, late).await
}

/// Looks the checkout up that an outcome completes where it turns out to be needed.
pub(super) async fn record_outcome(
    writer: &Writer,
    pool: &PgPool,
    mut reported: Reported,
    correlation_id: Uuid,
    causation_id: Uuid,
    late: Late,
) -> Result<(), CommandError> {
    if let Some(url) = reported.action_url.take() {
        secret::keep_action(writer, reported.payment_id, &url).await.map_err(CommandError::Internal)?;
    }
    let origin = Origin::system("payments", infra::clock::new_id(), correlation_id, causation_id);
    let record = |reported: Reported| writer.execute(&origin, None, move |streams| payment::record(streams, &reported, late));
    match record(reported.clone()).await {
        Err(CommandError::Stale) => {
            reported.completes = running_checkout(pool, reported.payment_id).await?;
            record(reported).await.map(|_| ())
        }
        recorded => recorded.map(|_| ()),
    }
}

/// The checkout that waits for a payment, if it was called with an idempotency key.
async fn running_checkout(pool: &PgPool, payment_id: PaymentId) -> Result<Completes, CommandError> {
    let key: Option<Uuid> = sqlx::query_scalar(
        "SELECT i.key FROM idempotency i
         WHERE i.state = 'running' AND i.aggregate_type = 'order'
           AND i.aggregate_id = (SELECT e.payload->>'order_id' FROM events e
                                 WHERE e.aggregate_type = 'payment' AND e.aggregate_id = $1 AND e.sequence = 1) LIMIT 1",
    )
    .bind(payment_id.to_string())
    .fetch_optional(pool)
    .await
    .map_err(|e| CommandError::Internal(e.into()))?;
    Ok(key.map_or(Completes::Nothing, Completes::Checkout))
}
