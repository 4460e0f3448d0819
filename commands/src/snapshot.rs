//! Snapshots: the state of a long-lived aggregate every so many events, so that loading it costs the same after years.
//!
//! The state is the one that the writer decides on, written down as it crosses a multiple of the interval and kept, off the
//! append's path, once the events behind it have landed. Nothing relies on snapshots: one that other rules have folded is not
//! believed, one that is missing costs a longer replay, and `verify` compares each with the fold of its stream.

use std::time::Duration;

use domain::event::{FINGERPRINT, Root};
use infra::event_store::StreamId;
use sqlx::PgPool;
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout_at};
use uuid::Uuid;

use crate::answer::Failure;

/// Events of a stream between two snapshots; a load reads at most so many and those of the last append.
pub const INTERVAL_EVENTS: i64 = 100;
/// A longer state is not kept.
pub const STATE_BYTES_MAX: usize = 1 << 20;
/// Snapshots that wait to be kept; one that finds no place is left to the next time.
const WAITING_MAX: usize = 1_024;
/// Snapshots that are kept by one statement, and how long they gather for it.
const BATCH_MAX: usize = 64;
const GATHER: Duration = Duration::from_millis(100);

/// The state of an aggregate as of a version.
#[derive(Debug)]
pub(crate) struct Snapshot {
    pub(crate) stream: StreamId,
    pub(crate) version: i64,
    /// The event of this version: should the log be set back meanwhile, another one may stand there.
    pub(crate) event_id: Uuid,
    /// As JSON.
    pub(crate) state: String,
}

/// Whether a stream that grew from one version to another is due for a snapshot.
pub(crate) fn is_due(from: i64, to: i64) -> bool {
    from / INTERVAL_EVENTS < to / INTERVAL_EVENTS
}

/// Where the writer hands over the snapshots of what has landed.
pub(crate) type Landed = mpsc::Sender<Snapshot>;

/// The hand-over, and the task that keeps what comes until [`Landed`] is dropped.
pub(crate) fn keeping(pool: PgPool) -> (Landed, impl Future<Output = ()> + Send) {
    let (sender, mut landed) = mpsc::channel::<Snapshot>(WAITING_MAX);
    let task = async move {
        let mut batch = Vec::with_capacity(BATCH_MAX);
        while landed.recv_many(&mut batch, BATCH_MAX).await > 0 {
            let until = Instant::now() + GATHER;
            while batch.len() < BATCH_MAX {
                let room = BATCH_MAX - batch.len();
                if !matches!(timeout_at(until, landed.recv_many(&mut batch, room)).await, Ok(1..)) {
                    break;
                }
            }
            if let Err(error) = keep(&pool, &batch).await {
                tracing::warn!(error = &error as &dyn std::error::Error, "{} snapshots were not kept", batch.len());
            }
            batch.clear();
        }
    };
    (sender, task)
}

/// Those of the same streams that other rules have folded go. Nobody waits for the disk: it is the append's, and a snapshot that a
/// crash takes along costs a longer replay.
async fn keep(pool: &PgPool, batch: &[Snapshot]) -> Result<(), sqlx::Error> {
    let types: Vec<&str> = batch.iter().map(|snapshot| snapshot.stream.aggregate_type).collect();
    let ids: Vec<&str> = batch.iter().map(|snapshot| snapshot.stream.aggregate_id.as_str()).collect();
    let versions: Vec<i64> = batch.iter().map(|snapshot| snapshot.version).collect();
    let event_ids: Vec<Uuid> = batch.iter().map(|snapshot| snapshot.event_id).collect();
    let states: Vec<&str> = batch.iter().map(|snapshot| snapshot.state.as_str()).collect();
    sqlx::query(
        "WITH local AS (SELECT set_config('synchronous_commit', 'off', true)),
         new AS (
             SELECT * FROM unnest($1::text[], $2::text[], $3::bigint[], $4::uuid[], $5::text[])
                               AS n(aggregate_type, aggregate_id, version, event_id, state)),
         outdated AS (
             DELETE FROM snapshot s USING new n
             WHERE s.aggregate_type = n.aggregate_type AND s.aggregate_id = n.aggregate_id
               AND s.fingerprint <> $6 AND s.version <> n.version)
         INSERT INTO snapshot (aggregate_type, aggregate_id, version, position, fingerprint, state)
         SELECT aggregate_type, aggregate_id, version, e.position, $6, n.state::json
         FROM local, new n JOIN events e USING (aggregate_type, aggregate_id)
         WHERE e.sequence = n.version AND e.event_id = n.event_id
         ON CONFLICT ON CONSTRAINT snapshot_pk DO UPDATE SET fingerprint = EXCLUDED.fingerprint, state = EXCLUDED.state",
    )
    .bind(types)
    .bind(ids)
    .bind(versions)
    .bind(event_ids)
    .bind(states)
    .bind(FINGERPRINT)
    .execute(pool)
    .await?;
    Ok(())
}

/// The newest state that was kept at or before a position, and its version; the default at version 0 where there is none.
pub(crate) async fn newest<A: Root>(pool: &PgPool, id: &str, position: i64) -> Result<(A, i64), Failure> {
    if !A::LONG_LIVED {
        return Ok((A::default(), 0));
    }
    let found: Option<(String, i64)> = sqlx::query_as(
        "SELECT state::text, version FROM snapshot
         WHERE aggregate_type = $1 AND aggregate_id = $2 AND position <= $3 AND fingerprint = $4 ORDER BY version DESC LIMIT 1",
    )
    .bind(A::TYPE)
    .bind(id)
    .bind(position)
    .bind(FINGERPRINT)
    .fetch_optional(pool)
    .await?;
    found.map_or_else(|| Ok((A::default(), 0)), |(state, version)| Ok((serde_json::from_str(&state)?, version)))
}
