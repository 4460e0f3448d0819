//! The writer: one task that owns the cached aggregates, decides what waits in sequence, and lands it as one batch.
//!
//! Relies on the append checking every version that a decision was made on; the cache is only ever a guess. Promises that
//! nothing is answered, a refusal neither, before the append has confirmed it.

mod job;
mod task;

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use domain::event::Root;
use futures::FutureExt;
use infra::event_store::EventStore;
use infra::task::CancellationToken;
use sqlx::Row;
use tokio::sync::{Notify, mpsc, oneshot, watch};
use uuid::Uuid;

use crate::answer::{CommandError, Done, Failure, Origin, Position, Recorded};
use crate::loader::Loader;
use crate::snapshot;
use crate::streams::{Stop, Streams};
use job::{Decision, Glimpse, Job};
use task::Task;

/// Longest that the writer finishes what it has taken, at shutdown.
const DRAIN_WAIT: Duration = Duration::from_secs(10);
/// Longest that a command waits for this process to become the active writer: a start or a take-over.
const STANDBY_WAIT: Duration = Duration::from_secs(2);

/// The writer's bounds; see `infra::config::Writer`.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    pub queue_max: usize,
    pub batch_commands_max: usize,
    pub batch_events_max: usize,
    pub batch_bytes_max: usize,
    pub event_bytes_max: usize,
    pub cache_aggregates_max: usize,
    pub conflict_retries_max: u32,
    pub command_timeout: Duration,
}

impl From<&infra::config::Writer> for Limits {
    fn from(config: &infra::config::Writer) -> Self {
        Self {
            queue_max: config.queue_max,
            batch_commands_max: config.batch_commands_max,
            batch_events_max: config.batch_events_max,
            batch_bytes_max: config.batch_bytes_max,
            event_bytes_max: config.event_bytes_max,
            cache_aggregates_max: config.cache_aggregates_max,
            conflict_retries_max: config.conflict_retries_max,
            command_timeout: Duration::from_millis(config.command_timeout_ms),
        }
    }
}

/// The key of a command that must be done once; the hash of its principal, method, path and key.
#[derive(Debug, Clone, Copy)]
pub struct Idempotency {
    pub key: Uuid,
    /// Hash of the request's body.
    pub fingerprint: [u8; 32],
    /// The command begins something that a later one completes.
    pub running: bool,
}

/// Hands commands to the writer. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Writer {
    queue: mpsc::Sender<Box<dyn Job>>,
    loader: Loader,
    active: watch::Receiver<bool>,
    timeout: Duration,
}

impl Writer {
    /// The handle and the task to be run. `active` says whether this process writes ([`infra::leadership`]); should a second
    /// one write too, the version checks keep both correct.
    pub fn new(
        loader: Loader,
        store: EventStore,
        nats: Option<async_nats::Client>,
        limits: Limits,
        active: watch::Receiver<bool>,
    ) -> (Self, impl Future<Output = ()> + Send) {
        let (queue, receiver) = mpsc::channel(limits.queue_max);
        let handle = Self { queue, loader: loader.clone(), active: active.clone(), timeout: limits.command_timeout };
        let landed = Arc::new(Notify::new());
        let (to_keep, snapshots) = snapshot::keeping(loader.pool().clone());
        let task = Task::new(loader, store, Arc::clone(&landed), to_keep, limits, active);
        let run = async move {
            let snapshots = infra::task::spawn(snapshots);
            tokio::select! {
                ended = AssertUnwindSafe(task.run(receiver)).catch_unwind() => if ended.is_err() {
                    tracing::error!("the writer ended by a panic: this process ends, so that another one writes");
                    std::process::abort();
                },
                () = wake_relay(nats, &landed) => {}
            }
            let _kept = snapshots.await;
        };
        (handle, run)
    }

    #[must_use]
    pub fn loader(&self) -> &Loader {
        &self.loader
    }

    /// Whether this process is the one that writes.
    #[must_use]
    pub fn is_active(&self) -> bool {
        *self.active.borrow()
    }

    /// Waits until this process is the one that writes, or is not any more.
    pub async fn until_active(&self, active: bool) {
        let mut now = self.active.clone();
        if now.wait_for(|now| *now == active).await.is_err() {
            // Nobody decides it any more: it stays as it is.
            std::future::pending::<()>().await;
        }
    }

    /// Runs a decision and lands it. May be called again with the same idempotency key to get the same answer.
    pub async fn execute<T, F>(&self, origin: &Origin, idempotency: Option<Idempotency>, decide: F) -> Result<Done<T>, CommandError>
    where
        T: Clone + Send + 'static,
        F: Fn(&mut Streams<'_>) -> Result<T, Stop> + Send + 'static,
    {
        if !self.is_active() {
            let mut active = self.active.clone();
            let activated = tokio::time::timeout(STANDBY_WAIT, active.wait_for(|active| *active)).await;
            if !matches!(activated, Ok(Ok(_))) {
                return Err(CommandError::Standby);
            }
        }
        let metadata = serde_json::to_string(origin).map_err(|e| CommandError::Internal(e.into()))?;
        let (reply, answer) = oneshot::channel();
        let job = Decision::new(decide, metadata, idempotency, reply);
        self.queue.try_send(Box::new(job)).map_err(|error| match error {
            mpsc::error::TrySendError::Full(_) => CommandError::Overloaded,
            mpsc::error::TrySendError::Closed(_) => CommandError::Unavailable,
        })?;
        match tokio::time::timeout(self.timeout, answer).await {
            Ok(Ok(Err(CommandError::Replayed(_)))) => Err(self.recorded(idempotency).await),
            Ok(Ok(answer)) => answer,
            Ok(Err(_)) => Err(CommandError::Internal(Failure::Stopped)),
            Err(_elapsed) => Err(CommandError::Unavailable),
        }
    }

    /// An aggregate as this process's writer has it in memory, with what is still on its way to the log. It is a guess: whoever
    /// acts on one must be right too when it is wrong.
    pub async fn glimpse<A: Root + 'static>(&self, id: &str) -> Option<A> {
        if !self.is_active() {
            return None;
        }
        let (reply, answer) = oneshot::channel();
        self.queue.try_send(Box::new(Glimpse::<A> { id: id.to_owned(), reply: Some(reply) })).ok()?;
        tokio::time::timeout(self.timeout, answer).await.ok()?.ok()?
    }

    /// What the first call with a key was answered.
    pub async fn recorded(&self, idempotency: Option<Idempotency>) -> CommandError {
        let Some(idempotency) = idempotency else {
            return CommandError::Internal(Failure::Stopped);
        };
        match recorded(self.loader.pool(), idempotency.key).await {
            Ok(Some(recorded)) => CommandError::Replayed(Box::new(recorded)),
            Ok(None) => CommandError::Unavailable,
            Err(error) => CommandError::Internal(error),
        }
    }

    /// Settles the record of a running command at the position its caller is answered from; the first to settle wins.
    pub async fn settle(&self, key: Uuid, position: i64) -> Result<(), Failure> {
        sqlx::query("UPDATE idempotency SET state = 'done', last_position = $2 WHERE key = $1 AND state = 'running'")
            .bind(key)
            .bind(position)
            .execute(self.loader.pool())
            .await?;
        Ok(())
    }
}

/// The record of a key, if there is one.
pub async fn recorded(pool: &sqlx::PgPool, key: Uuid) -> Result<Option<Recorded>, Failure> {
    let row = sqlx::query(
        "SELECT i.state, i.status, i.problem::text AS problem, i.aggregate_type, i.aggregate_id, i.last_position,
                (SELECT max(epoch) FROM log_epoch WHERE first_position <= i.last_position + 1) AS epoch
         FROM idempotency i WHERE key = $1",
    )
    .bind(key)
    .fetch_optional(pool)
    .await?;
    let Some(row) = row else { return Ok(None) };
    let problem: Option<String> = row.try_get("problem")?;
    let kind: Option<String> = row.try_get("aggregate_type")?;
    let id: Option<String> = row.try_get("aggregate_id")?;
    Ok(Some(Recorded {
        running: row.try_get::<String, _>("state")? == "running",
        status: u16::try_from(row.try_get::<i16, _>("status")?).unwrap_or(0),
        refusal: problem.map(|text| serde_json::from_str(&text)).transpose()?,
        aggregate: kind.zip(id),
        position: Position { epoch: row.try_get("epoch")?, position: row.try_get("last_position")? },
    }))
}

/// Wakes the relay after a commit, for ever; many commits while NATS is slow are one wake-up. The relay polls too: a
/// wake-up that is lost costs its poll interval, nothing else.
async fn wake_relay(nats: Option<async_nats::Client>, landed: &Notify) {
    loop {
        landed.notified().await;
        if let Some(nats) = &nats
            && let Err(error) = nats.publish(infra::stream::WAKE_SUBJECT, bytes::Bytes::new()).await
        {
            tracing::debug!(error = &error as &dyn std::error::Error, "the relay was not woken");
        }
    }
}

/// Owns the writer's task until it is drained: closing the queue is dropping every [`Writer`].
pub async fn run_until(task: impl Future<Output = ()> + Send, stop: CancellationToken) {
    let mut task = std::pin::pin!(task);
    tokio::select! {
        () = &mut task => {}
        () = stop.cancelled() => {
            // What was taken is finished; what still waits is answered when its sender gives up.
            let _drained = tokio::time::timeout(DRAIN_WAIT, task).await;
        }
    }
}
