//! The projector: follows the log and keeps read models true to it.
//!
//! A batch of events and the checkpoint behind it are one transaction, so every event takes effect exactly once whatever
//! dies. A stream whose event can't be applied is parked; all others go on. A projector of a second process is fenced by
//! the checkpoint's own position. Partition leases will stand where [`Projector::begin`] reads the checkpoint today.

use std::collections::HashSet;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use infra::event_log::StoredEvent;
use infra::feed::{Feed, Tail};
use infra::sealing::{SealError, Sealer};
use infra::task::CancellationToken;
use sqlx::{PgConnection, PgPool};
use tokio::time::{Instant, timeout_at};

use crate::parked;

/// Wait after a failure; doubled up to [`RETRY_MAX`].
const RETRY_MIN: Duration = Duration::from_millis(50);
const RETRY_MAX: Duration = Duration::from_secs(5);
/// Shortest time between two transactions: under load several batches become one. An event that comes after a rest is applied
/// at once.
const APPLY_INTERVAL: Duration = Duration::from_millis(5);
/// Most events that are gathered for one transaction.
const GATHERED_MAX: usize = 1_000;
/// How often a projection with nothing to do looks whether it was paused or set back.
const CHECK_INTERVAL: Duration = Duration::from_millis(500);
/// How often a paused projection looks whether it may go on.
const PAUSE_POLL: Duration = Duration::from_millis(250);

/// A read model: which events it takes, and what it makes of them.
pub trait Projection: Send + Sync + 'static {
    /// Also the first part of its schema's name.
    const NAME: &'static str;
    /// Counted up when its tables or their meaning change; the schema is `<name>_v<version>`.
    const VERSION: i32;
    /// Its tables, created in its schema.
    const DDL: &'static str;

    /// Its tables that keep an aggregate's fold, by aggregate type.
    const TABLES: &'static [(&'static str, &'static str)];

    /// Whether it wants events of this aggregate type; others only move its checkpoint.
    fn takes(aggregate_type: &str) -> bool;

    /// Applies events of wanted types, in position order, within the transaction that also moves the checkpoint.
    fn apply(&self, events: &[StoredEvent], connection: &mut PgConnection) -> impl Future<Output = Result<(), ApplyError>> + Send;
}

#[derive(Debug, thiserror::Error)]
pub enum ApplyError {
    /// The read model can't be written now; the batch is tried again.
    #[error("the read model can't be written")]
    Database(#[from] sqlx::Error),
    #[error("personal data can't be opened")]
    Seal(#[from] SealError),
    /// One event can't be applied, ever, by this program: its stream is parked.
    #[error("the event at position {position} can't be applied: {reason}")]
    Poison { position: i64, reason: String },
    /// Another projector moved the checkpoint.
    #[error("another projector has the checkpoint at {0}")]
    Fenced(i64),
}

impl ApplyError {
    /// Why the event can't be applied by this program, ever; the error itself where trying again may help. Never the
    /// database's own text, nor that of a decoder: both quote values, which may be personal.
    pub(crate) fn poison(self) -> Result<String, Self> {
        match self {
            Self::Poison { reason, .. } => Ok(reason),
            Self::Seal(SealError::Broken) => Ok(SealError::Broken.to_string()),
            Self::Seal(SealError::Payload(error)) => Ok(format!("the payload is not JSON: {:?}", error.classify())),
            Self::Database(sqlx::Error::Database(error)) if error.code().is_some_and(|code| is_of_the_data(&code)) => {
                let code = error.code().unwrap_or_default().into_owned();
                let constraint = error.constraint().map_or_else(String::new, |name| format!(", constraint {name}"));
                Ok(format!("the read model's table refuses it: SQLSTATE {code}{constraint}"))
            }
            error => Err(error),
        }
    }
}

/// Data exceptions and violated constraints come again with the same rows.
fn is_of_the_data(sqlstate: &str) -> bool {
    sqlstate.starts_with("22") || sqlstate.starts_with("23")
}

/// Where a projector goes on from.
struct Place {
    tail: Tail,
    /// What is parked, as of this revision of the checkpoint.
    parked: HashSet<(String, String)>,
    revision: i64,
}

/// Runs one projection.
#[derive(Debug)]
pub struct Projector<P> {
    projection: P,
    pool: PgPool,
    feed: Feed,
    sealer: Sealer,
}

/// The schema of a projection's version.
#[must_use]
pub fn schema<P: Projection>() -> String {
    format!("{}_v{}", P::NAME, P::VERSION)
}

/// Creates a projection's schema, tables and checkpoint where they are missing.
pub async fn migrate<P: Projection>(pool: &PgPool) -> Result<(), sqlx::Error> {
    let schema = schema::<P>();
    let mut transaction = pool.begin().await?;
    let lock = sqlx::query("SELECT pg_advisory_xact_lock(hashtext($1))").bind(&schema);
    lock.execute(&mut *transaction).await?;
    let known: bool = sqlx::query_scalar("SELECT EXISTS (SELECT FROM pg_namespace WHERE nspname = $1)")
        .bind(&schema)
        .fetch_one(&mut *transaction)
        .await?;
    if !known {
        sqlx::raw_sql(&format!("CREATE SCHEMA {schema}; SET LOCAL search_path = {schema}; {}", P::DDL)).execute(&mut *transaction).await?;
        sqlx::query("DELETE FROM public.checkpoint WHERE projection = $1").bind(P::NAME).execute(&mut *transaction).await?;
        sqlx::query("DELETE FROM public.parked_event WHERE projection = $1").bind(P::NAME).execute(&mut *transaction).await?;
    }
    sqlx::query("INSERT INTO public.checkpoint (projection, version, position) VALUES ($1, $2, 0) ON CONFLICT DO NOTHING")
        .bind(P::NAME)
        .bind(P::VERSION)
        .execute(&mut *transaction)
        .await?;
    transaction.commit().await
}

impl<P: Projection> Projector<P> {
    pub fn new(projection: P, pool: PgPool, feed: Feed, sealer: Sealer) -> Self {
        Self { projection, pool, feed, sealer }
    }

    /// Follows the log until `stop`; a batch that was begun is finished.
    pub async fn run(self, stop: CancellationToken) {
        let mut wait = RETRY_MIN;
        while !stop.is_cancelled() {
            match self.follow(&stop, &mut wait).await {
                Ok(()) => {}
                Err(ApplyError::Poison { position, reason }) => {
                    tracing::error!(projection = P::NAME, position, reason, "a stream is parked");
                    if let Err(error) = parked::park::<P>(&self.pool, position, &reason).await {
                        tracing::error!(projection = P::NAME, error = &error as &dyn std::error::Error, "parking failed");
                    }
                }
                Err(error) => {
                    tracing::warn!(
                        projection = P::NAME,
                        error = &error as &dyn std::error::Error,
                        "the projection is behind; trying again"
                    );
                    tokio::select! { () = stop.cancelled() => return, () = tokio::time::sleep(wait) => {} }
                    wait = (wait * 2).min(RETRY_MAX);
                }
            }
        }
    }

    async fn follow(&self, stop: &CancellationToken, wait: &mut Duration) -> Result<(), ApplyError> {
        let Some(mut place) = self.begin(stop).await? else {
            return Ok(());
        };
        let mut applied_at = Instant::now();
        loop {
            let before = place.tail.position();
            let next = tokio::select! {
                () = stop.cancelled() => return Ok(()),
                next = tokio::time::timeout(CHECK_INTERVAL, place.tail.next()) => next,
            };
            let Ok(events) = next else {
                // Nothing new: somebody may have paused this projection, set it back or released a stream meanwhile.
                if self.checkpoint().await? == (before, place.revision, false) {
                    continue;
                }
                return Ok(());
            };
            let events = gather(events?, &mut place.tail, applied_at + APPLY_INTERVAL, stop).await?;
            if !self.apply_or_find(&events, before, &place).await? {
                return Ok(());
            }
            applied_at = Instant::now();
            *wait = RETRY_MIN;
        }
    }

    /// The place to go on from, and the streams that are parked. `None`: asked to stop while paused.
    async fn begin(&self, stop: &CancellationToken) -> Result<Option<Place>, ApplyError> {
        self.until_resumed(stop).await?;
        if stop.is_cancelled() {
            return Ok(None);
        }
        // The revision first: what is parked later than it is noticed by the next batch.
        let (position, revision, _paused) = self.checkpoint().await?;
        let parked: Vec<(String, String)> =
            sqlx::query_as("SELECT DISTINCT aggregate_type, aggregate_id FROM parked_event WHERE projection = $1")
                .bind(P::NAME)
                .fetch_all(&self.pool)
                .await?;
        Ok(Some(Place { tail: self.feed.tail(position), parked: parked.into_iter().collect(), revision }))
    }

    /// Where the checkpoint stands, its revision, and whether the projection is paused.
    async fn checkpoint(&self) -> Result<(i64, i64, bool), sqlx::Error> {
        sqlx::query_as("SELECT position, revision, status = 'paused' FROM checkpoint WHERE projection = $1")
            .bind(P::NAME)
            .fetch_one(&self.pool)
            .await
    }

    async fn until_resumed(&self, stop: &CancellationToken) -> Result<(), sqlx::Error> {
        while !stop.is_cancelled() {
            let status: String =
                sqlx::query_scalar("SELECT status FROM checkpoint WHERE projection = $1").bind(P::NAME).fetch_one(&self.pool).await?;
            if status != "paused" {
                return Ok(());
            }
            tokio::select! { () = stop.cancelled() => {}, () = tokio::time::sleep(PAUSE_POLL) => {} }
        }
        Ok(())
    }

    /// Applies a batch; where it holds something that can't be applied, event by event up to that one, which is named.
    async fn apply_or_find(&self, batch: &[StoredEvent], mut before: i64, place: &Place) -> Result<bool, ApplyError> {
        match self.apply(batch, before, place).await.map_err(ApplyError::poison) {
            Ok(applied) => return Ok(applied),
            Err(Err(error)) => return Err(error),
            Err(Ok(_reason)) => {}
        }
        for event in batch {
            match self.apply(std::slice::from_ref(event), before, place).await.map_err(ApplyError::poison) {
                Ok(true) => before = event.position,
                Ok(false) => return Ok(false),
                Err(Ok(reason)) => return Err(ApplyError::Poison { position: event.position, reason }),
                Err(Err(error)) => return Err(error),
            }
        }
        Ok(true)
    }

    /// Applies a batch and moves the checkpoint. `false`: the projection was paused or set back, begin anew.
    async fn apply(&self, batch: &[StoredEvent], before: i64, place: &Place) -> Result<bool, ApplyError> {
        let Some(last) = batch.last() else {
            return Ok(true);
        };
        let (mut wanted, waiting): (Vec<StoredEvent>, Vec<StoredEvent>) = batch
            .iter()
            .filter(|e| P::takes(&e.aggregate_type))
            .cloned()
            .partition(|e| place.parked.is_empty() || !place.parked.contains(&(e.aggregate_type.clone(), e.aggregate_id.clone())));
        self.sealer.open_all(&mut wanted).await?;
        let mut transaction = self.pool.begin().await?;
        let moved = sqlx::query(
            "UPDATE checkpoint SET position = $2, updated_at = $4,
                                   status = CASE WHEN $2 >= (SELECT last_position FROM event_batch ORDER BY batch DESC LIMIT 1)
                                                 THEN 'live' ELSE status END
             WHERE projection = $1 AND position = $3 AND revision = $5 AND status <> 'paused'",
        )
        .bind(P::NAME)
        .bind(last.position)
        .bind(before)
        .bind(infra::clock::now())
        .bind(place.revision)
        .execute(&mut *transaction)
        .await?;
        if moved.rows_affected() == 0 {
            return Ok(false);
        }
        for event in &waiting {
            parked::insert(&mut transaction, P::NAME, event, "waits behind a parked event of its stream").await?;
        }
        if !wanted.is_empty() {
            self.projection.apply(&wanted, &mut transaction).await?;
        }
        transaction.commit().await?;
        metrics::gauge!("daybook_projection_position", "projection" => P::NAME).set(position_metric(last.position));
        Ok(true)
    }
}

/// A batch and what comes until `due`; what was there already even when it is past.
async fn gather(
    first: Arc<Vec<StoredEvent>>,
    tail: &mut Tail,
    due: Instant,
    stop: &CancellationToken,
) -> Result<Arc<Vec<StoredEvent>>, sqlx::Error> {
    let mut gathered = first;
    while gathered.len() < GATHERED_MAX {
        let more = tokio::select! { () = stop.cancelled() => break, more = timeout_at(due, tail.next()) => more };
        let Ok(more) = more else { break };
        Arc::make_mut(&mut gathered).extend_from_slice(&more?);
    }
    Ok(gathered)
}

/// Empties a projection and sets it back to the log's beginning; its projector then reads the whole log anew.
pub async fn rebuild<P: Projection>(pool: &PgPool) -> Result<(), sqlx::Error> {
    let mut transaction = pool.begin().await?;
    sqlx::query(
        "UPDATE checkpoint SET position = 0, revision = revision + 1,
                               status = CASE WHEN EXISTS (SELECT FROM events) THEN 'rebuilding' ELSE 'live' END
         WHERE projection = $1",
    )
    .bind(P::NAME)
    .execute(&mut *transaction)
    .await?;
    let tables: Vec<String> = sqlx::query_scalar("SELECT tablename::text FROM pg_tables WHERE schemaname = $1")
        .bind(schema::<P>())
        .fetch_all(&mut *transaction)
        .await?;
    for table in tables {
        sqlx::query(&format!("TRUNCATE {}.\"{table}\"", schema::<P>())).execute(&mut *transaction).await?;
    }
    sqlx::query("DELETE FROM parked_event WHERE projection = $1").bind(P::NAME).execute(&mut *transaction).await?;
    transaction.commit().await
}

#[expect(clippy::cast_precision_loss, reason = "a gauge; positions stay below 2^53")]
fn position_metric(position: i64) -> f64 {
    position as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_is_given_up_for_what_is_its_own_fault_alone() {
        assert!(ApplyError::Seal(SealError::Broken).poison().is_ok());
        assert!(ApplyError::Seal(SealError::Key).poison().is_err(), "with the right master key it is applied");
        assert!(ApplyError::Database(sqlx::Error::PoolTimedOut).poison().is_err());
    }
}
