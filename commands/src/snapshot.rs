//! Snapshots: the state of a long-lived aggregate every so many events, so that loading it costs the same after years.
//!
//! Taken after the append and off its path, by a task that loads the aggregate as anybody does. Nothing relies on them: one
//! that other rules have folded is not believed, one that is missing costs a longer replay, and `verify` compares each with
//! the fold of its stream.

use domain::catalog::Product;
use domain::event::{FINGERPRINT, Root};
use domain::inventory::StockItem;
use infra::event_store::{NewEvent, StreamId};
use infra::sealing::PERSONAL_MARK;
use sqlx::PgPool;
use tokio::sync::mpsc;

use crate::answer::Failure;
use crate::loader::Loader;

/// Events of a stream between two snapshots; a load reads at most so many and what came while the last one was taken.
pub const INTERVAL_EVENTS: i64 = 100;
/// Streams that wait for their snapshot; for more it is left to the next time.
const WAITING_MAX: usize = 1_024;

/// Where the writer tells which streams have grown. Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct Due(mpsc::Sender<StreamId>);

impl Due {
    /// Notes streams that have come to a multiple of the interval.
    pub(crate) fn landed(&self, events: &[NewEvent]) {
        for event in events.iter().filter(|event| event.sequence % INTERVAL_EVENTS == 0) {
            let _full = self.0.try_send(event.stream.clone());
        }
    }
}

/// The notice board, and the task that takes snapshots until every [`Due`] is gone.
pub(crate) fn taking(loader: Loader) -> (Due, impl Future<Output = ()> + Send) {
    let (sender, mut due) = mpsc::channel::<StreamId>(WAITING_MAX);
    let task = async move {
        while let Some(stream) = due.recv().await {
            let taken = match stream.aggregate_type {
                <StockItem as cqrs_es::Aggregate>::TYPE => take::<StockItem>(&loader, &stream.aggregate_id).await,
                <Product as cqrs_es::Aggregate>::TYPE => take::<Product>(&loader, &stream.aggregate_id).await,
                _ => Ok(()),
            };
            if let Err(error) = taken {
                tracing::warn!(error = &error as &dyn std::error::Error, stream = %stream, "a snapshot was not taken");
            }
        }
    };
    (Due(sender), task)
}

/// Keeps an aggregate's newest state; those that other rules have folded go.
pub async fn take<A: Root>(loader: &Loader, id: &str) -> Result<(), Failure> {
    let (aggregate, version) = loader.load::<A>(id).await?;
    let state = serde_json::to_string(&aggregate)?;
    if state.contains(PERSONAL_MARK) {
        return Err(Failure::Poison(format!("the state of a {} holds personal data, which is never kept unsealed", A::TYPE)));
    }
    sqlx::query(
        "WITH outdated AS (
             DELETE FROM snapshot WHERE aggregate_type = $1 AND aggregate_id = $2 AND fingerprint <> $4 AND version <> $3)
         INSERT INTO snapshot (aggregate_type, aggregate_id, version, position, fingerprint, state)
         SELECT $1, $2, $3, position, $4, $5::json FROM events WHERE aggregate_type = $1 AND aggregate_id = $2 AND sequence = $3
         ON CONFLICT ON CONSTRAINT snapshot_pk DO UPDATE SET fingerprint = EXCLUDED.fingerprint, state = EXCLUDED.state",
    )
    .bind(A::TYPE)
    .bind(id)
    .bind(version)
    .bind(FINGERPRINT)
    .bind(state)
    .execute(loader.pool())
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
