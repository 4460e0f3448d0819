//! Reading the log: pages in position order, the head, epochs, and what a time was the position of.

use chrono::{DateTime, Utc};
use sqlx::{FromRow, PgPool};
use uuid::Uuid;

/// Most events that one page may hold.
pub const PAGE_EVENTS_MAX: i64 = 1_000;

/// An event as it stands in the log: sealed, not upcast.
#[derive(Debug, Clone, PartialEq, Eq, FromRow)]
pub struct StoredEvent {
    pub position: i64,
    pub partition: i16,
    pub aggregate_type: String,
    pub aggregate_id: String,
    pub sequence: i64,
    pub event_id: Uuid,
    pub event_type: String,
    pub event_version: String,
    pub payload: String,
    pub metadata: String,
    pub recorded_at: DateTime<Utc>,
}

/// The newest row of the chain of commits.
#[derive(Debug, Clone, PartialEq, Eq, FromRow)]
pub struct Head {
    pub epoch: i32,
    #[sqlx(rename = "last_position")]
    pub position: i64,
    pub recorded_at: DateTime<Utc>,
    pub chain: Vec<u8>,
}

/// An epoch and the first position that was written in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, FromRow)]
pub struct Epoch {
    pub epoch: i32,
    pub first_position: i64,
}

pub async fn head(pool: &PgPool) -> Result<Head, sqlx::Error> {
    sqlx::query_as("SELECT epoch, last_position, recorded_at, chain FROM event_batch ORDER BY batch DESC LIMIT 1").fetch_one(pool).await
}

/// The epochs of this log, oldest first.
pub async fn epochs(pool: &PgPool) -> Result<Vec<Epoch>, sqlx::Error> {
    sqlx::query_as("SELECT epoch, first_position FROM log_epoch ORDER BY epoch").fetch_all(pool).await
}

/// A reader came to a position that the log does not have, while it has later ones.
#[derive(Debug, thiserror::Error)]
#[error("the log has no position {missing} and goes on at {next}: run `daybook verify`")]
pub struct Gap {
    pub missing: i64,
    pub next: i64,
}

/// The epoch that a position was written in.
#[must_use]
pub fn epoch_at(epochs: &[Epoch], position: i64) -> i32 {
    epochs.iter().rev().find(|e| e.first_position <= position).map_or(1, |e| e.epoch)
}

/// A commit with events, and its link of the hash chain in hex.
#[derive(Debug, Clone, PartialEq, Eq, FromRow)]
pub struct Batch {
    pub batch: i64,
    pub first_position: i64,
    pub last_position: i64,
    pub chain: String,
    pub epoch: i32,
}

/// The commits that the positions from `first` to `last` came in, in order.
pub async fn batches(pool: &PgPool, first: i64, last: i64) -> Result<Vec<Batch>, sqlx::Error> {
    sqlx::query_as(
        "SELECT batch, first_position, last_position, encode(chain, 'hex') AS chain, epoch
         FROM event_batch
         WHERE last_position BETWEEN $1 AND coalesce(
                   (SELECT b.last_position FROM event_batch b WHERE b.last_position >= $2 ORDER BY b.last_position LIMIT 1), $2)
           AND last_position >= first_position ORDER BY last_position",
    )
    .bind(first)
    .bind(last)
    .fetch_all(pool)
    .await
}

/// The events after `after`, at most `limit` and never past `until`, in position order.
pub async fn page(pool: &PgPool, after: i64, until: i64, limit: i64) -> Result<Vec<StoredEvent>, sqlx::Error> {
    sqlx::query_as(
        "SELECT position, partition, aggregate_type, aggregate_id, sequence, event_id, event_type, event_version,
                payload::text AS payload, metadata::text AS metadata, recorded_at
         FROM events WHERE position > $1 AND position <= $2 ORDER BY position LIMIT $3",
    )
    .bind(after)
    .bind(until)
    .bind(limit)
    .fetch_all(pool)
    .await
}

/// The events right after `after`, as every follower of the log reads them: a gap is an error and never skipped.
pub async fn following(pool: &PgPool, after: i64, limit: i64) -> Result<Vec<StoredEvent>, sqlx::Error> {
    let events = page(pool, after, i64::MAX, limit).await?;
    for (missing, event) in (after + 1..).zip(&events) {
        if event.position != missing {
            return Err(sqlx::Error::Decode(Box::new(Gap { missing, next: event.position })));
        }
    }
    Ok(events)
}

/// One stream's events after the version `after` and up to the position `until`.
pub async fn stream(pool: &PgPool, stream: (&str, &str), after: i64, until: i64) -> Result<Vec<StoredEvent>, sqlx::Error> {
    sqlx::query_as(
        "SELECT position, partition, aggregate_type, aggregate_id, sequence, event_id, event_type, event_version,
                payload::text AS payload, metadata::text AS metadata, recorded_at
         FROM events WHERE aggregate_type = $1 AND aggregate_id = $2 AND sequence > $3 AND position <= $4 ORDER BY sequence",
    )
    .bind(stream.0)
    .bind(stream.1)
    .bind(after)
    .bind(until)
    .fetch_all(pool)
    .await
}

/// The last position that was recorded at or before a time; 0 when nothing was.
pub async fn position_at(pool: &PgPool, at: DateTime<Utc>) -> Result<i64, sqlx::Error> {
    let found: Option<i64> =
        sqlx::query_scalar("SELECT last_position FROM event_batch WHERE recorded_at <= $1 ORDER BY recorded_at DESC LIMIT 1")
            .bind(at)
            .fetch_optional(pool)
            .await?;
    Ok(found.unwrap_or(0))
}
