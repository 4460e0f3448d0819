//! Parked streams: events that a projection could not apply, and those of the same stream that wait behind them.
//!
//! They are applied after all when the program was mended (retry), or the first one is passed over (discard). Both hold the
//! checkpoint's row, so that the projector adds nothing meanwhile; it then begins anew, by the checkpoint's `revision`.

use infra::event_log::StoredEvent;
use infra::sealing::Sealer;
use serde::{Deserialize, Serialize};
use sqlx::{Connection, PgConnection, PgPool};

use crate::projector::{ApplyError, Projection};

/// Events of one transaction: the projector waits for so long.
const EVENTS_MAX: i64 = 500;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Action {
    /// Apply the stream's events from this one on.
    Retry,
    /// Pass this one over, then apply those behind it.
    Discard,
}

/// What became of a parked stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Released {
    /// Events that were applied or passed over.
    pub released: u64,
    /// The event at which it stopped, and why; the stream stays parked from there on.
    pub stopped: Option<(i64, String)>,
}

#[derive(Debug, thiserror::Error)]
pub enum ParkedError {
    #[error("no event at this position is parked")]
    NotParked,
    #[error("the event at position {0} is parked before it: begin there")]
    NotFirst(i64),
    /// What follows would have nothing to follow on.
    #[error("the first event of a stream can't be passed over: mend what it fails on, then retry")]
    Begins,
    #[error(transparent)]
    Apply(#[from] ApplyError),
}

impl From<sqlx::Error> for ParkedError {
    fn from(error: sqlx::Error) -> Self {
        Self::Apply(error.into())
    }
}

/// Parks an event that can't be applied.
pub(crate) async fn park<P: Projection>(pool: &PgPool, position: i64, reason: &str) -> Result<(), sqlx::Error> {
    let mut transaction = pool.begin().await?;
    revise(&mut transaction, P::NAME).await?;
    for event in infra::event_log::page(pool, position - 1, position, 1).await? {
        insert(&mut transaction, P::NAME, &event, reason).await?;
    }
    transaction.commit().await
}

/// Holds the checkpoint, and makes its projector begin anew.
async fn revise(connection: &mut PgConnection, projection: &str) -> Result<(), sqlx::Error> {
    sqlx::query("UPDATE checkpoint SET revision = revision + 1 WHERE projection = $1").bind(projection).execute(connection).await?;
    Ok(())
}

pub(crate) async fn insert(connection: &mut PgConnection, projection: &str, event: &StoredEvent, error: &str) -> Result<(), sqlx::Error> {
    sqlx::query(
        "INSERT INTO parked_event (projection, aggregate_type, aggregate_id, position, error) VALUES ($1, $2, $3, $4, $5)
         ON CONFLICT ON CONSTRAINT parked_event_pk DO NOTHING",
    )
    .bind(projection)
    .bind(&event.aggregate_type)
    .bind(&event.aggregate_id)
    .bind(event.position)
    .bind(error)
    .execute(connection)
    .await?;
    Ok(())
}

/// Applies a parked stream from `position` on, which must be its first parked one.
pub(crate) async fn release<P: Projection>(pool: &PgPool, sealer: &Sealer, position: i64, action: Action) -> Result<Released, ParkedError> {
    let (mut from, mut action, mut released) = (position, action, 0);
    loop {
        let mut transaction = pool.begin().await?;
        revise(&mut transaction, P::NAME).await?;
        let waiting = waiting::<P>(&mut transaction, from).await?;
        let mut stopped = None;
        for (place, event) in waiting.iter().enumerate() {
            if place == 0 && action == Action::Discard {
                pass_over::<P>(&mut transaction, event).await?;
            } else if let Some(reason) = apply::<P>(sealer, event, &mut transaction).await? {
                blame(&mut transaction, P::NAME, event.position, &reason).await?;
                stopped = Some((event.position, reason));
                break;
            }
            remove(&mut transaction, P::NAME, event.position).await?;
            released += 1;
        }
        let next = next::<P>(&mut transaction, from).await?;
        transaction.commit().await?;
        match next {
            Some(next) if stopped.is_none() => (from, action) = (next, Action::Retry),
            _ => return Ok(Released { released, stopped }),
        }
    }
}

/// The parked events of the stream that begins to be parked at `position`.
async fn waiting<P: Projection>(connection: &mut PgConnection, position: i64) -> Result<Vec<StoredEvent>, ParkedError> {
    let first: Option<i64> = sqlx::query_scalar(
        "SELECT min(other.position) FROM parked_event this
         JOIN parked_event other USING (projection, aggregate_type, aggregate_id)
         WHERE this.projection = $1 AND this.position = $2",
    )
    .bind(P::NAME)
    .bind(position)
    .fetch_one(&mut *connection)
    .await?;
    match first {
        None => return Err(ParkedError::NotParked),
        Some(first) if first < position => return Err(ParkedError::NotFirst(first)),
        Some(_) => {}
    }
    let events = sqlx::query_as(
        "SELECT e.position, e.partition, e.aggregate_type, e.aggregate_id, e.sequence, e.event_id, e.event_type, e.event_version,
                e.payload::text AS payload, e.metadata::text AS metadata, e.recorded_at
         FROM parked_event this
         JOIN parked_event p USING (projection, aggregate_type, aggregate_id)
         JOIN events e ON e.position = p.position
         WHERE this.projection = $1 AND this.position = $2 ORDER BY e.position LIMIT $3",
    )
    .bind(P::NAME)
    .bind(position)
    .bind(EVENTS_MAX)
    .fetch_all(connection)
    .await?;
    Ok(events)
}

/// The first event that is still parked of the stream of an event that was.
async fn next<P: Projection>(connection: &mut PgConnection, released: i64) -> Result<Option<i64>, sqlx::Error> {
    sqlx::query_scalar(
        "SELECT min(p.position) FROM events e JOIN parked_event p USING (aggregate_type, aggregate_id)
         WHERE e.position = $2 AND p.projection = $1",
    )
    .bind(P::NAME)
    .bind(released)
    .fetch_one(connection)
    .await
}

/// Applies one event; answers why it can't be applied, if so.
async fn apply<P: Projection>(sealer: &Sealer, event: &StoredEvent, transaction: &mut PgConnection) -> Result<Option<String>, ApplyError> {
    let mut opened = vec![event.clone()];
    let mut attempt = transaction.begin().await?;
    let applied = match sealer.open_all(&mut opened).await {
        Ok(()) => write::<P>(&opened, &mut attempt).await,
        Err(error) => Err(error.into()),
    };
    match applied {
        Ok(()) => attempt.commit().await?,
        Err(error) => match error.poison() {
            Ok(reason) => {
                attempt.rollback().await?;
                return Ok(Some(reason));
            }
            Err(error) => return Err(error),
        },
    }
    Ok(None)
}

async fn write<P: Projection>(events: &[StoredEvent], connection: &mut PgConnection) -> Result<(), ApplyError> {
    let mut states = P::States::default();
    P::fold(events, &mut states, connection).await?;
    P::write(&mut states, connection).await
}

/// Takes an event for applied: the row of its stream keeps the state that it has.
async fn pass_over<P: Projection>(connection: &mut PgConnection, event: &StoredEvent) -> Result<(), ParkedError> {
    let Some((_, table)) = P::TABLES.iter().find(|(aggregate_type, _)| *aggregate_type == event.aggregate_type) else {
        return Ok(());
    };
    let passed = sqlx::query(&format!("UPDATE {table} SET version = $2, position = $3 WHERE id = $1 AND version = $2 - 1"))
        .bind(&event.aggregate_id)
        .bind(event.sequence)
        .bind(event.position)
        .execute(connection)
        .await?;
    if passed.rows_affected() == 0 { Err(ParkedError::Begins) } else { Ok(()) }
}

/// Notes why an event that is parked can't be applied.
async fn blame(connection: &mut PgConnection, projection: &str, position: i64, error: &str) -> Result<(), sqlx::Error> {
    sqlx::query("UPDATE parked_event SET error = $3 WHERE projection = $1 AND position = $2")
        .bind(projection)
        .bind(position)
        .bind(error)
        .execute(connection)
        .await?;
    Ok(())
}

async fn remove(connection: &mut PgConnection, projection: &str, position: i64) -> Result<(), sqlx::Error> {
    sqlx::query("DELETE FROM parked_event WHERE projection = $1 AND position = $2")
        .bind(projection)
        .bind(position)
        .execute(connection)
        .await?;
    Ok(())
}
