//! The writer: one task that owns the cached aggregates, decides what waits in sequence, and lands it as one batch.
//!
//! Relies on the append checking every version that a decision was made on; the cache is only ever a guess. Promises that
//! nothing is answered, a refusal neither, before the append has confirmed it.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

use futures::future::try_join_all;
use infra::event_store::{AppendCommand, AppendError, Appended, EventStore, IdempotencyRecord, Outcome, StreamVersion};
use infra::sealing::PERSONAL_MARK;
use infra::task::CancellationToken;
use sqlx::Row;
use tokio::sync::{Notify, mpsc, oneshot};
use uuid::Uuid;

use crate::answer::{CommandError, Done, Failure, Origin, Position, Recorded, Refusal};
use crate::loader::Loader;
use crate::streams::{Cache, Decided, Load, Stop, Streams};

/// Wait between two attempts to learn what became of a batch.
const RESOLVE_RETRY: Duration = Duration::from_millis(200);
/// Most attempts to learn it before the commands are answered 503; the writer goes on asking before its next batch.
const RESOLVE_ATTEMPTS_MAX: u32 = 50;
/// Longest that the writer finishes what it has taken, at shutdown.
const DRAIN_WAIT: Duration = Duration::from_secs(10);
/// Rounds of loading that one decision may need.
const LOAD_ROUNDS_MAX: u32 = 64;

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
    timeout: Duration,
}

impl Writer {
    /// The handle and the task to be run; one task to a database, any second one is kept correct by the version checks.
    pub fn new(
        loader: Loader,
        store: EventStore,
        nats: Option<async_nats::Client>,
        limits: Limits,
    ) -> (Self, impl Future<Output = ()> + Send) {
        let (queue, receiver) = mpsc::channel(limits.queue_max);
        let handle = Self { queue, loader: loader.clone(), timeout: limits.command_timeout };
        let landed = Arc::new(Notify::new());
        let cache = Cache::new(limits.cache_aggregates_max);
        let task = Task { loader, store, landed: Arc::clone(&landed), limits, cache, unresolved: false };
        let run = async move {
            tokio::select! {
                () = task.run(receiver) => {}
                () = wake_relay(nats, &landed) => {}
            }
        };
        (handle, run)
    }

    #[must_use]
    pub fn loader(&self) -> &Loader {
        &self.loader
    }

    /// Runs a decision and lands it. May be called again with the same idempotency key to get the same answer.
    pub async fn execute<T, F>(&self, origin: &Origin, idempotency: Option<Idempotency>, decide: F) -> Result<Done<T>, CommandError>
    where
        T: Clone + Send + 'static,
        F: Fn(&mut Streams<'_>) -> Result<T, Stop> + Send + 'static,
    {
        let metadata = serde_json::to_string(origin).map_err(|e| CommandError::Internal(e.into()))?;
        let (reply, answer) = oneshot::channel();
        let job = Decision { decide, metadata, idempotency, output: None, reply: Some(reply), attempts: 0 };
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

/// A waiting command, its output type erased.
trait Job: Send {
    fn decide(&mut self, cache: &mut Cache) -> Result<Decided, Stop>;
    fn idempotency(&self) -> Option<Idempotency>;
    /// The refusal that the decision ended in, if it did.
    fn refusal(&self) -> Option<&Refusal>;
    /// Counts one more attempt.
    fn again(&mut self) -> u32;
    fn succeed(self: Box<Self>, position: Position);
    fn fail(self: Box<Self>, error: CommandError);
}

struct Decision<T, F> {
    decide: F,
    metadata: String,
    idempotency: Option<Idempotency>,
    output: Option<Result<T, Box<Refusal>>>,
    reply: Option<oneshot::Sender<Result<Done<T>, CommandError>>>,
    attempts: u32,
}

impl<T, F> Job for Decision<T, F>
where
    T: Send + 'static,
    F: Fn(&mut Streams<'_>) -> Result<T, Stop> + Send + 'static,
{
    fn decide(&mut self, cache: &mut Cache) -> Result<Decided, Stop> {
        let mut streams = Streams::new(cache, infra::clock::now(), &self.metadata, self.attempts > 0);
        match (self.decide)(&mut streams) {
            Ok(output) => {
                self.output = Some(Ok(output));
                Ok(streams.finish())
            }
            Err(Stop::Refused(refusal)) => {
                self.output = Some(Err(refusal));
                Ok(streams.finish().only_read())
            }
            Err(stop) => Err(stop),
        }
    }

    fn idempotency(&self) -> Option<Idempotency> {
        self.idempotency
    }

    fn refusal(&self) -> Option<&Refusal> {
        self.output.as_ref().and_then(|output| output.as_ref().err()).map(AsRef::as_ref)
    }

    fn again(&mut self) -> u32 {
        self.attempts += 1;
        self.attempts
    }

    fn succeed(mut self: Box<Self>, position: Position) {
        let answer = match self.output.take() {
            Some(Ok(output)) => Ok(Done { output, position }),
            Some(Err(refusal)) => Err(CommandError::Refused(refusal, position)),
            None => Err(CommandError::Internal(Failure::Stopped)),
        };
        self.send(answer);
    }

    fn fail(mut self: Box<Self>, error: CommandError) {
        self.send(Err(error));
    }
}

impl<T, F> Decision<T, F> {
    fn send(&mut self, answer: Result<Done<T>, CommandError>) {
        if let Some(reply) = self.reply.take() {
            // The caller may have given up; what landed has landed all the same.
            let _gone = reply.send(answer);
        }
    }
}

/// A command of the current batch, decided.
struct Ready {
    job: Box<dyn Job>,
    append: AppendCommand,
}

struct Task {
    loader: Loader,
    store: EventStore,
    /// Told after each batch with events.
    landed: Arc<Notify>,
    limits: Limits,
    cache: Cache,
    /// The newest batch's outcome is not known yet: nothing may be sent before it is.
    unresolved: bool,
}

impl Task {
    async fn run(mut self, mut queue: mpsc::Receiver<Box<dyn Job>>) {
        while let Some(first) = queue.recv().await {
            let mut waiting = vec![first];
            while waiting.len() < self.limits.batch_commands_max {
                let Ok(job) = queue.try_recv() else { break };
                waiting.push(job);
            }
            metrics::histogram!("daybook_writer_batch_commands").record(u32::try_from(waiting.len()).unwrap_or(u32::MAX));
            while !waiting.is_empty() {
                waiting = self.round(waiting).await;
            }
        }
    }

    /// Decides and lands what waits; returns what must be decided again.
    async fn round(&mut self, waiting: Vec<Box<dyn Job>>) -> Vec<Box<dyn Job>> {
        if self.unresolved && self.resolve().await.is_err() {
            for job in waiting {
                job.fail(CommandError::Unavailable);
            }
            return Vec::new();
        }
        let mut batch: Vec<Ready> = Vec::with_capacity(waiting.len());
        let mut later = Vec::new();
        let (mut events, mut bytes) = (0, 0);
        for job in waiting {
            if events >= self.limits.batch_events_max || bytes >= self.limits.batch_bytes_max {
                later.push(job);
                continue;
            }
            if let Some(ready) = self.decide(job).await {
                events += ready.append.events.len();
                bytes += ready.append.events.iter().map(|e| e.payload.len()).sum::<usize>();
                batch.push(ready);
            }
        }
        if !batch.is_empty() {
            later.extend(self.land(batch).await);
        }
        later
    }

    /// Runs one decision, loading what it lacks; answers it at once where it can't be appended.
    async fn decide(&mut self, mut job: Box<dyn Job>) -> Option<Ready> {
        for _ in 0..LOAD_ROUNDS_MAX {
            // A decision only reads the cache; what it was about to do goes with the panic.
            let cache = &mut self.cache;
            let decided = catch_unwind(AssertUnwindSafe(|| job.decide(cache)));
            match decided.unwrap_or(Err(Stop::Failed(Failure::Panicked))) {
                Ok(decided) => return self.prepare(job, decided).await,
                Err(Stop::Missing(loads)) => {
                    if let Err(failure) = self.load(loads).await {
                        return failed(job, failure);
                    }
                }
                Err(Stop::Failed(failure)) => return failed(job, failure),
                Err(Stop::Stale) => {
                    job.fail(CommandError::Stale);
                    return None;
                }
                Err(Stop::Refused(_)) => return failed(job, Failure::Stopped),
            }
        }
        failed(job, Failure::Repository("a decision asks for more and more streams".to_owned()))
    }

    async fn load(&mut self, loads: Vec<Load>) -> Result<(), Failure> {
        let loading = loads.into_iter().map(|wanted| {
            let loader = self.loader.clone();
            async move {
                let entry = (wanted.load)(loader, wanted.stream.aggregate_id.clone()).await?;
                Ok::<_, Failure>((wanted.stream, entry))
            }
        });
        for (stream, entry) in try_join_all(loading).await? {
            self.cache.insert(stream, entry);
        }
        Ok(())
    }

    /// Seals and bounds a decision's events, then lets them take effect on the cache.
    async fn prepare(&mut self, job: Box<dyn Job>, mut decided: Decided) -> Option<Ready> {
        for pending in &mut decided.events {
            if pending.event.payload.contains(PERSONAL_MARK) {
                let Some(scope) = pending.scope else {
                    return failed(job, Failure::Poison(format!("{} has personal data of nobody", pending.event.event_type)));
                };
                let key = match self.loader.sealer().key_for(scope).await {
                    Ok(key) => key,
                    Err(error) => return failed(job, error.into()),
                };
                let stream = pending.event.stream.to_string();
                match self.loader.sealer().seal(&pending.event.payload, &key, &stream, pending.event.sequence) {
                    Ok(sealed) => pending.event.payload = sealed,
                    Err(error) => return failed(job, error.into()),
                }
            }
            if pending.event.payload.len() > self.limits.event_bytes_max {
                let detail = format!("an event would be {} bytes; shorten the texts", pending.event.payload.len());
                job.fail(CommandError::Refused(Box::new(Refusal::new("too_large", detail)), Position { epoch: 1, position: 0 }));
                return None;
            }
            if pending.event.payload.contains("\\u0000") {
                let refusal = Refusal::new("invalid_text", "texts must not contain the character U+0000; remove it");
                job.fail(CommandError::Refused(Box::new(refusal), Position { epoch: 1, position: 0 }));
                return None;
            }
        }
        let append = AppendCommand {
            decided_on: decided.rests_on.clone(),
            events: decided.events.iter().map(|p| p.event.clone()).collect(),
            idempotency: job.idempotency().map(|key| record(key, job.refusal(), &decided)),
            completes: decided.completes,
            deadlines: std::mem::take(&mut decided.deadlines),
        };
        decided.take_effect(&mut self.cache);
        Some(Ready { job, append })
    }

    async fn land(&mut self, batch: Vec<Ready>) -> Vec<Box<dyn Job>> {
        let commands: Vec<AppendCommand> = batch.iter().map(|ready| ready.append.clone()).collect();
        let appended = match self.store.append(&commands).await {
            Ok(appended) => Some(appended),
            Err(AppendError::Unknown(cause)) => {
                tracing::warn!(error = ?cause, commands = commands.len(), "the outcome of a batch is unknown; asking for it");
                self.unresolved = true;
                if let Ok(appended) = self.resolve().await {
                    appended
                } else {
                    self.forget(&batch);
                    for ready in batch {
                        ready.job.fail(CommandError::Unavailable);
                    }
                    return Vec::new();
                }
            }
            Err(AppendError::Unavailable(cause)) => {
                tracing::error!(error = &cause as &dyn std::error::Error, "the log can't be written");
                self.forget(&batch);
                for ready in batch {
                    ready.job.fail(CommandError::Unavailable);
                }
                return Vec::new();
            }
            Err(AppendError::Refused(cause)) => return self.bisect(batch, &cause).await,
        };
        let Some(appended) = appended else {
            // It did not land and never will: decide all of it again.
            self.forget(&batch);
            return batch.into_iter().map(|ready| ready.job).collect();
        };
        if appended.last_position >= appended.first_position {
            self.landed.notify_one();
        }
        self.answer(batch, &appended)
    }

    /// A batch that the database refuses is halved until the command that it refuses stands alone.
    async fn bisect(&mut self, mut batch: Vec<Ready>, cause: &sqlx::Error) -> Vec<Box<dyn Job>> {
        self.forget(&batch);
        if batch.len() == 1 {
            for ready in batch {
                tracing::error!(error = cause as &dyn std::error::Error, "the database refuses a command");
                ready.job.fail(CommandError::Internal(Failure::Poison(cause.to_string())));
            }
            return Vec::new();
        }
        let second = batch.split_off(batch.len() / 2);
        let mut again = Vec::new();
        for half in [batch, second] {
            // Later halves were decided on states that are gone; conflicts among them are decided again.
            again.extend(Box::pin(self.land(half)).await);
        }
        again
    }

    fn answer(&mut self, batch: Vec<Ready>, appended: &Appended) -> Vec<Box<dyn Job>> {
        let mut position = appended.first_position - 1;
        let mut again = Vec::new();
        for (mut ready, outcome) in batch.into_iter().zip(&appended.outcomes) {
            match outcome {
                Outcome::Landed | Outcome::Confirmed => {
                    position += i64::try_from(ready.append.events.len()).unwrap_or(0);
                    ready.job.succeed(Position { epoch: appended.epoch, position });
                    continue;
                }
                Outcome::Replayed => ready.job.fail(CommandError::Replayed(Box::new(Recorded {
                    running: false,
                    status: 0,
                    refusal: None,
                    aggregate: None,
                    position: Position { epoch: appended.epoch, position },
                }))),
                Outcome::KeyReused => ready.job.fail(CommandError::KeyReused),
                Outcome::Conflict => {
                    metrics::counter!("daybook_writer_conflicts_total").increment(1);
                    if ready.job.again() > self.limits.conflict_retries_max {
                        ready.job.fail(CommandError::Contended);
                    } else {
                        again.push(ready.job);
                    }
                }
            }
            forget(&mut self.cache, &ready.append.decided_on);
        }
        again
    }

    /// What became of the newest batch: `None` when it never landed. `Err` while nobody can say.
    async fn resolve(&mut self) -> Result<Option<Appended>, ()> {
        for attempt in 1..=RESOLVE_ATTEMPTS_MAX {
            match self.store.resolve().await {
                Ok(found) => {
                    self.unresolved = false;
                    return Ok(found);
                }
                Err(error) if attempt == RESOLVE_ATTEMPTS_MAX => {
                    tracing::error!(error = &error as &dyn std::error::Error, "can't learn what became of a batch");
                }
                Err(_) => tokio::time::sleep(RESOLVE_RETRY).await,
            }
        }
        Err(())
    }

    fn forget(&mut self, batch: &[Ready]) {
        for ready in batch {
            forget(&mut self.cache, &ready.append.decided_on);
        }
    }
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

fn forget(cache: &mut Cache, streams: &[StreamVersion]) {
    for at in streams {
        cache.remove(&at.stream);
    }
}

fn failed(job: Box<dyn Job>, failure: Failure) -> Option<Ready> {
    tracing::error!(error = &failure as &dyn std::error::Error, "a command failed");
    job.fail(match failure {
        Failure::Database(_) | Failure::Repository(_) => CommandError::Unavailable,
        failure => CommandError::Internal(failure),
    });
    None
}

fn record(idempotency: Idempotency, refusal: Option<&Refusal>, decided: &Decided) -> IdempotencyRecord {
    let answer = decided.answer.as_ref();
    IdempotencyRecord {
        key: idempotency.key,
        fingerprint: idempotency.fingerprint,
        running: idempotency.running && refusal.is_none(),
        status: answer.map_or(0, |(status, _)| *status),
        problem: refusal.and_then(|refusal| serde_json::to_string(refusal).ok()),
        aggregate: answer.map(|(_, stream)| StreamVersion { stream: stream.clone(), version: decided.version_after(stream) }),
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
