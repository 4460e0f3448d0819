//! Reading the log: pages in position order, the head, epochs, and what a time was the position of.

use chrono::{DateTime, Utc};
use sqlx::{FromRow, PgConnection, PgExecutor, PgPool};
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
pub async fn batches(reader: impl PgExecutor<'_>, first: i64, last: i64) -> Result<Vec<Batch>, sqlx::Error> {
    sqlx::query_as(
        "SELECT batch, first_position, last_position, encode(chain, 'hex') AS chain, epoch
         FROM event_batch
         WHERE last_position BETWEEN $1 AND coalesce(
                   (SELECT b.last_position FROM event_batch b WHERE b.last_position >= $2 ORDER BY b.last_position LIMIT 1), $2)
           AND last_position >= first_position ORDER BY last_position",
    )
    .bind(first)
    .bind(last)
    .fetch_all(reader)
    .await
}

/// The events after `after`, at most `limit` and never past `until`, in position order.
pub async fn page(reader: impl PgExecutor<'_>, after: i64, until: i64, limit: i64) -> Result<Vec<StoredEvent>, sqlx::Error> {
    sqlx::query_as(
        "SELECT position, partition, aggregate_type, aggregate_id, sequence, event_id, event_type, event_version,
                payload::text AS payload, metadata::text AS metadata, recorded_at
         FROM events WHERE position > $1 AND position <= $2 ORDER BY position LIMIT $3",
    )
    .bind(after)
    .bind(until)
    .bind(limit)
    .fetch_all(reader)
    .await
}

/// An event and the commit that it came in.
#[derive(Debug, Clone, FromRow)]
pub struct Committed {
    #[sqlx(flatten)]
    pub event: StoredEvent,
    #[sqlx(flatten)]
    pub batch: Batch,
}

/// The events from `first` on, with their commits, as the relay reads them: a gap is an error. A commit without events ends where
/// the one before it does and is nobody's.
pub async fn committed(reader: impl PgExecutor<'_>, first: i64, limit: i64) -> Result<Vec<Committed>, sqlx::Error> {
    let found: Vec<Committed> = sqlx::query_as(
        "SELECT position, partition, aggregate_type, aggregate_id, sequence, event_id, event_type, event_version,
                payload::text AS payload, metadata::text AS metadata, e.recorded_at,
                batch, first_position, last_position, encode(chain, 'hex') AS chain, epoch
         FROM events e, LATERAL (SELECT * FROM event_batch b
                                 WHERE b.last_position >= e.position AND b.last_position >= b.first_position
                                 ORDER BY b.last_position LIMIT 1) b
         WHERE position >= $1 ORDER BY position LIMIT $2",
    )
    .bind(first)
    .bind(limit)
    .fetch_all(reader)
    .await?;
    is_gapless(first, found.iter().map(|committed| committed.event.position))?;
    Ok(found)
}

fn is_gapless(first: i64, positions: impl Iterator<Item = i64>) -> Result<(), sqlx::Error> {
    for (missing, next) in (first..).zip(positions) {
        if next != missing {
            return Err(sqlx::Error::Decode(Box::new(Gap { missing, next })));
        }
    }
    Ok(())
}

/// The events right after `after`, as every follower of the log reads them: a gap is an error and never skipped.
pub async fn following(reader: impl PgExecutor<'_>, after: i64, limit: i64) -> Result<Vec<StoredEvent>, sqlx::Error> {
    let events = page(reader, after, i64::MAX, limit).await?;
    is_gapless(after + 1, events.iter().map(|event| event.position))?;
    Ok(events)
}

/// The events of some aggregate types in a stretch of the log, and the stretch's last position.
#[derive(Debug)]
pub struct Stretch {
    pub events: Vec<StoredEvent>,
    pub last_position: i64,
}

/// The stretch right after `after`, of at most `positions`, as whoever makes a read model anew reads it: a gap is an error
/// there, too. `None` at the log's end.
pub async fn stretch(reader: &mut PgConnection, after: i64, positions: i64, types: &[&str]) -> Result<Option<Stretch>, sqlx::Error> {
    let (count, last_position): (i64, i64) =
        sqlx::query_as("SELECT count(*), coalesce(max(position), 0) FROM events WHERE position > $1 AND position <= $1 + $2")
            .bind(after)
            .bind(positions)
            .fetch_one(&mut *reader)
            .await?;
    if count == 0 || last_position - after != count {
        // The log's end, or a gap, which this says.
        following(&mut *reader, after, positions).await?;
        return Ok(None);
    }
    // `IS TRUE` keeps the index of streams out of it, which has all events of a type.
    let events = sqlx::query_as(
        "SELECT position, partition, aggregate_type, aggregate_id, sequence, event_id, event_type, event_version,
                payload::text AS payload, metadata::text AS metadata, recorded_at
         FROM events WHERE position > $1 AND position <= $2 AND (aggregate_type = ANY ($3)) IS TRUE ORDER BY position",
    )
    .bind(after)
    .bind(last_position)
    .bind(types)
    .fetch_all(reader)
    .await?;
    Ok(Some(Stretch { events, last_position }))
}

/// One stream's events after the version `after` and up to the position `until`.
pub async fn stream(reader: impl PgExecutor<'_>, stream: (&str, &str), after: i64, until: i64) -> Result<Vec<StoredEvent>, sqlx::Error> {
    sqlx::query_as(
        "SELECT position, partition, aggregate_type, aggregate_id, sequence, event_id, event_type, event_version,
                payload::text AS payload, metadata::text AS metadata, recorded_at
         FROM events WHERE aggregate_type = $1 AND aggregate_id = $2 AND sequence > $3 AND position <= $4 ORDER BY sequence",
    )
    .bind(stream.0)
    .bind(stream.1)
    .bind(after)
    .bind(until)
    .fetch_all(reader)
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
