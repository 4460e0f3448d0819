//! The task behind the writer: it decides on cached aggregates while the batch before is being committed.
//!
//! What is decided meanwhile stands on the assumption that the batch under way lands as a whole, and that nobody else writes.
//! Where that is not so, the streams concerned are forgotten and what was decided meanwhile on one of them is decided anew,
//! refusals too: nothing that stands on a batch is answered before that batch is known to have landed.

use std::collections::{HashSet, VecDeque};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;
use futures::future::{join_all, try_join_all};
use infra::event_store::{
    AppendCommand, AppendError, Appended, EventStore, IdempotencyRecord, NewEvent, Others, Outcome, StreamId, StreamVersion,
};
use infra::sealing::{KeyScope, PERSONAL_MARK, Sealer};
use tokio::sync::{Notify, mpsc, watch};

use crate::answer::{CommandError, Failure, Position, Recorded, Refusal};
use crate::loader::Loader;
use crate::snapshot::{Landed, Snapshot};
use crate::streams::{Cache, Decided, Load, Stop};

use super::job::Job;
use super::{Idempotency, Limits};

/// Wait between two attempts to learn what became of a batch.
const RESOLVE_RETRY: Duration = Duration::from_millis(200);
/// Most attempts to learn it before the commands are answered 503; the writer goes on asking before its next batch.
const RESOLVE_ATTEMPTS_MAX: u32 = 50;
/// Commands that are decided between two looks at the batch under way.
const DECIDED_AT_ONCE_MAX: usize = 16;
/// Rounds of loading that one decision may need.
const LOAD_ROUNDS_MAX: u32 = 64;

pub(super) type Waiting = mpsc::Receiver<Box<dyn Job>>;

/// A command, decided.
struct Ready {
    job: Box<dyn Job>,
    append: AppendCommand,
    /// To be kept when it has landed.
    snapshots: Vec<Snapshot>,
}

/// What came of running a decision.
enum Attempt {
    Decided(Box<dyn Job>, Decided),
    /// These streams must be loaded first.
    Lacks(Box<dyn Job>, Vec<Load>),
}

/// Decided commands that are sent together.
#[derive(Default)]
struct Batch {
    ready: Vec<Ready>,
    events: usize,
    bytes: usize,
}

impl Batch {
    fn has_room(&self, limits: &Limits) -> bool {
        self.ready.len() < limits.batch_commands_max && self.events < limits.batch_events_max && self.bytes < limits.batch_bytes_max
    }

    fn push(&mut self, ready: Ready) {
        self.events += ready.append.events.len();
        self.bytes += ready.append.events.iter().map(|event| event.payload.len()).sum::<usize>();
        self.ready.push(ready);
    }
}

/// What became of a batch that was sent.
enum Sent {
    Appended(Appended),
    /// It did not land and never will.
    Void,
    /// Nothing was written, or nobody can say now.
    Unavailable,
    /// The log is not the one that the commands were decided on.
    SetBack,
    Refused(sqlx::Error),
}

/// A batch that was sent. It is driven by the writer's own task: a task of its own would cost two wake-ups a batch.
struct UnderWay {
    jobs: Vec<Waits>,
    sending: Pin<Box<dyn Future<Output = Ended> + Send>>,
    /// Set when the end came with the first step.
    ended: Option<Ended>,
}

/// A command without what was sent of it.
type Waits = (Box<dyn Job>, Vec<Snapshot>);

/// The store, what it was given, and what became of it come back together.
type Ended = (Store, Vec<AppendCommand>, Sent);

/// The one sender of batches.
struct Store {
    events: EventStore,
    /// The newest batch's outcome is not known yet: nothing may be sent before it is.
    unresolved: bool,
}

pub(super) struct Task {
    loader: Loader,
    /// Absent while a batch is under way. One at a time: a second one would wait at the log's lock behind the first, and the
    /// commands that could have joined it with it.
    store: Option<Store>,
    /// Told after each batch with events.
    landed: Arc<Notify>,
    snapshots: Landed,
    limits: Limits,
    cache: Cache,
    /// Keys that were destroyed when `cache` was last emptied for it: what they sealed stands open in it.
    destroyed: u64,
    /// Whether this process is the one that writes.
    active: watch::Receiver<bool>,
    /// To be decided before anything that is new, in this order.
    again: VecDeque<Box<dyn Job>>,
}

impl Task {
    pub(super) fn new(
        loader: Loader,
        events: EventStore,
        landed: Arc<Notify>,
        snapshots: Landed,
        limits: Limits,
        active: watch::Receiver<bool>,
    ) -> Self {
        let store = Some(Store { events, unresolved: false });
        let cache = Cache::new(limits.cache_aggregates_max);
        let destroyed = loader.sealer().destroyed();
        Self { loader, store, landed, snapshots, limits, cache, destroyed, active, again: VecDeque::new() }
    }

    /// Runs until every sender is gone and all that was taken is answered.
    pub(super) async fn run(mut self, mut queue: Waiting) {
        let mut next = Batch::default();
        let mut under_way: Option<UnderWay> = None;
        let mut open = true;
        loop {
            self.fill(&mut next, &mut queue).await;
            if under_way.is_none() {
                under_way = self.send(&mut next);
            }
            let more = open && next.has_room(&self.limits);
            tokio::select! {
                biased;
                Some((batch, store, sent)) = ended(&mut under_way) => {
                    self.store = Some(store);
                    under_way = None;
                    match sent {
                        Sent::Appended(appended) if appended.is_as_decided() => {
                            // What was decided meanwhile stands: it is on its way before anybody is answered.
                            under_way = self.send(&mut next);
                            self.answer(batch, &appended);
                        }
                        sent => self.settle(batch, sent, &mut next).await,
                    }
                }
                job = queue.recv(), if more => match job {
                    Some(job) => self.again.push_back(job),
                    None => open = false,
                },
                else => return,
            }
        }
    }

    /// Decides what waits, as long as there is room; not so much that the end of the batch under way goes unnoticed.
    async fn fill(&mut self, next: &mut Batch, queue: &mut Waiting) {
        let destroyed = self.loader.sealer().destroyed();
        if destroyed != self.destroyed || self.active.has_changed().unwrap_or(false) {
            // Answers are made from what is decided on: what is erased is read again, as erased. Another process may have
            // written, and erased, before this one became the active writer.
            self.cache.clear();
            self.undo(streams(&next.ready), next);
            self.destroyed = destroyed;
            self.active.mark_unchanged();
        }
        let room = self.limits.batch_commands_max.saturating_sub(next.ready.len()).min(DECIDED_AT_ONCE_MAX);
        if !next.has_room(&self.limits) {
            return;
        }
        let mut jobs: Vec<Box<dyn Job>> =
            std::iter::from_fn(|| self.again.pop_front().or_else(|| queue.try_recv().ok())).take(room).collect();
        for _ in 0..LOAD_ROUNDS_MAX {
            let mut lacking = Vec::new();
            let mut left = Vec::new();
            for job in jobs {
                if !next.has_room(&self.limits) {
                    left.push(job);
                    continue;
                }
                match self.decide(job) {
                    Some(Attempt::Decided(job, decided)) => {
                        if let Some(ready) = self.prepare(job, decided).await {
                            next.push(ready);
                        }
                    }
                    Some(Attempt::Lacks(job, loads)) => lacking.push((job, loads)),
                    None => {}
                }
            }
            left.into_iter().rev().for_each(|job| self.again.push_front(job));
            if lacking.is_empty() {
                return;
            }
            jobs = self.load(lacking).await;
        }
        for job in jobs {
            failed(job, Failure::Repository("a decision asks for more and more streams".to_owned()));
        }
    }

    /// Puts what was decided on its way, unless there is nothing or a batch is under way.
    fn send(&mut self, next: &mut Batch) -> Option<UnderWay> {
        if next.ready.is_empty() {
            return None;
        }
        let mut store = self.store.take()?;
        let ready = std::mem::take(next).ready;
        metrics::histogram!("daybook_writer_batch_commands").record(u32::try_from(ready.len()).unwrap_or(u32::MAX));
        let (jobs, commands): (_, Vec<AppendCommand>) = ready.into_iter().map(|ready| ((ready.job, ready.snapshots), ready.append)).unzip();
        let mut sending: Pin<Box<dyn Future<Output = Ended> + Send>> = Box::pin(async move {
            let sent = store.append(&commands).await;
            (store, commands, sent)
        });
        let ended = (&mut sending).now_or_never();
        Some(UnderWay { jobs, sending, ended })
    }

    /// Of a batch that went otherwise than assumed, answers what can be answered, and sees to it that the rest is decided again.
    async fn settle(&mut self, batch: Vec<Ready>, sent: Sent, next: &mut Batch) {
        match sent {
            Sent::Appended(appended) => {
                let mut wrong =
                    streams(batch.iter().zip(&appended.outcomes).filter(|(_, outcome)| !outcome.stands()).map(|(ready, _)| ready));
                self.answer(batch, &appended);
                match appended.others {
                    Others::Streams(others) => wrong.extend(others.into_iter().filter_map(|other| self.cache.known(other))),
                    Others::Unknown => {
                        self.cache.clear();
                        wrong.extend(streams(&next.ready));
                    }
                }
                self.undo(wrong, next);
            }
            Sent::Void => {
                self.undo(streams(&batch), next);
                self.again.extend(batch.into_iter().map(|ready| ready.job));
            }
            Sent::Unavailable => {
                self.undo(streams(&batch), next);
                refuse(batch);
            }
            Sent::SetBack => {
                self.cache.clear();
                self.undo(streams(&next.ready), next);
                refuse(batch);
            }
            Sent::Refused(cause) => {
                self.undo(streams(&batch), next);
                self.bisect(batch, &cause, next).await;
            }
        }
    }

    /// Forgets streams that are not as the cache has them. What was decided meanwhile on one of them is decided again, and with
    /// it all that has a stream in common: a stream may not be loaded while something that is still to be sent stands on it.
    fn undo(&mut self, mut wrong: HashSet<StreamId>, next: &mut Batch) {
        let meanwhile = std::mem::take(next).ready;
        let mut stands = vec![true; meanwhile.len()];
        loop {
            let known = wrong.len();
            for (ready, stands) in meanwhile.iter().zip(&mut stands).filter(|(_, stands)| **stands) {
                if ready.append.decided_on.iter().any(|at| wrong.contains(&at.stream)) {
                    *stands = false;
                    wrong.extend(ready.append.decided_on.iter().map(|at| at.stream.clone()));
                }
            }
            if wrong.len() == known {
                break;
            }
        }
        for stream in &wrong {
            self.cache.remove(stream);
        }
        for (ready, stands) in meanwhile.into_iter().zip(stands) {
            if stands {
                next.push(ready);
            } else {
                self.again.push_back(ready.job);
            }
        }
    }

    /// A batch that the database refuses is halved until the command that it refuses stands alone. Its streams are forgotten.
    async fn bisect(&mut self, mut batch: Vec<Ready>, cause: &sqlx::Error, next: &mut Batch) {
        if batch.len() == 1 {
            for ready in batch {
                tracing::error!(error = cause as &dyn std::error::Error, "the database refuses a command");
                ready.job.fail(CommandError::Internal(Failure::Poison(cause.to_string())));
            }
            return;
        }
        let second = batch.split_off(batch.len() / 2);
        for half in [batch, second] {
            // A later half was decided on states that are gone; conflicts among them are decided again.
            let mut under_way = self.send(&mut Batch { ready: half, ..Batch::default() });
            if let Some((batch, store, sent)) = ended(&mut under_way).await {
                self.store = Some(store);
                Box::pin(self.settle(batch, sent, next)).await;
            }
        }
    }

    fn answer(&mut self, batch: Vec<Ready>, appended: &Appended) {
        if appended.last_position >= appended.first_position {
            self.landed.notify_one();
        }
        let mut position = appended.first_position - 1;
        for (mut ready, outcome) in batch.into_iter().zip(&appended.outcomes) {
            match outcome {
                Outcome::Landed | Outcome::Confirmed => {
                    position += i64::try_from(ready.append.events.len()).unwrap_or(0);
                    for snapshot in ready.snapshots {
                        let _no_place = self.snapshots.try_send(snapshot);
                    }
                    ready.job.succeed(Position { epoch: appended.epoch, position });
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
                        self.again.push_back(ready.job);
                    }
                }
            }
        }
    }

    /// Runs one decision; answers it at once where it can't be appended.
    fn decide(&mut self, mut job: Box<dyn Job>) -> Option<Attempt> {
        // A decision only reads the cache; what it was about to do goes with the panic.
        let cache = &mut self.cache;
        let decided = catch_unwind(AssertUnwindSafe(|| job.decide(cache)));
        match decided.unwrap_or(Err(Stop::Failed(Failure::Panicked))) {
            Ok(decided) => return Some(Attempt::Decided(job, decided)),
            Err(Stop::Missing(loads)) => return Some(Attempt::Lacks(job, loads)),
            Err(Stop::Answered) => {}
            Err(Stop::Failed(failure)) => failed(job, failure),
            Err(Stop::Refused(_) | Stop::Stale) => failed(job, Failure::Stopped),
        }
        None
    }

    /// Loads what decisions lack, all at the same time and each stream once; answers those that can go on.
    async fn load(&mut self, lacking: Vec<(Box<dyn Job>, Vec<Load>)>) -> Vec<Box<dyn Job>> {
        let mut asked = HashSet::new();
        let loading = lacking.into_iter().map(|(job, mut loads)| {
            loads.retain(|wanted| asked.insert(wanted.stream.clone()));
            let loader = self.loader.clone();
            async move {
                let entries = try_join_all(loads.into_iter().map(|wanted| {
                    let loader = loader.clone();
                    async move { Ok::<_, Failure>(((wanted.load)(loader, wanted.stream.aggregate_id.clone()).await?, wanted.stream)) }
                }));
                (job, entries.await)
            }
        });
        let mut jobs = Vec::new();
        for (job, entries) in join_all(loading).await {
            match entries {
                Ok(entries) => {
                    for (entry, stream) in entries {
                        self.cache.insert(stream, entry);
                    }
                    jobs.push(job);
                }
                Err(failure) => failed(job, failure),
            }
        }
        jobs
    }

    /// Seals and bounds a decision's events, then lets them take effect on the cache.
    async fn prepare(&mut self, job: Box<dyn Job>, mut decided: Decided) -> Option<Ready> {
        for pending in &mut decided.events {
            // Looked for before it is sealed: a read model, where it stands open, can't hold it.
            if pending.event.payload.contains("\\u0000") {
                let detail = "texts must not contain the character U+0000; remove it";
                let refusal = Refusal::new("invalid_text", detail).error("", "invalid_text", detail);
                job.fail(CommandError::Refused(Box::new(refusal), Position { epoch: 1, position: 0 }));
                return None;
            }
            if pending.event.payload.contains(PERSONAL_MARK) {
                let Some(scope) = pending.scope else {
                    failed(job, Failure::Poison(format!("{} has personal data of nobody", pending.event.event_type)));
                    return None;
                };
                match seal(self.loader.sealer(), &pending.event, scope).await {
                    Ok(sealed) => pending.event.payload = sealed,
                    Err(failure) => {
                        failed(job, failure);
                        return None;
                    }
                }
            }
            if pending.event.payload.len() > self.limits.event_bytes_max {
                let detail = format!("an event would be {} bytes; shorten the texts", pending.event.payload.len());
                let refusal = Refusal::new("too_large", detail.clone()).error("", "too_large", detail);
                job.fail(CommandError::Refused(Box::new(refusal), Position { epoch: 1, position: 0 }));
                return None;
            }
        }
        let idempotency = job.idempotency().map(|key| record(key, job.refusal(), &decided));
        let snapshots = decided.take_effect(&mut self.cache);
        let append = AppendCommand {
            decided_on: decided.rests_on,
            events: decided.events.into_iter().map(|pending| pending.event).collect(),
            idempotency,
            completes: decided.completes,
            deadlines: decided.deadlines,
        };
        Some(Ready { job, append, snapshots })
    }
}

async fn seal(sealer: &Sealer, event: &NewEvent, scope: KeyScope) -> Result<String, Failure> {
    let key = sealer.key_for(scope).await?;
    Ok(sealer.seal(&event.payload, &key, &event.stream.to_string(), event.sequence)?)
}

/// Drives the batch that is under way to its end; `None` when there is none.
async fn ended(under_way: &mut Option<UnderWay>) -> Option<(Vec<Ready>, Store, Sent)> {
    let UnderWay { jobs, sending, ended } = under_way.as_mut()?;
    let (store, commands, sent) = match ended.take() {
        Some(ended) => ended,
        None => sending.as_mut().await,
    };
    let batch = std::mem::take(jobs).into_iter().zip(commands);
    Some((batch.map(|((job, snapshots), append)| Ready { job, append, snapshots }).collect(), store, sent))
}

impl Store {
    /// Sends a batch and learns what became of it.
    async fn append(&mut self, batch: &[AppendCommand]) -> Sent {
        if self.unresolved && self.resolve().await.is_err() {
            return Sent::Unavailable;
        }
        match self.events.append(batch).await {
            Ok(appended) => Sent::Appended(appended),
            Err(AppendError::Unknown(cause)) => {
                tracing::warn!(error = ?cause, commands = batch.len(), "the outcome of a batch is unknown; asking for it");
                self.unresolved = true;
                match self.resolve().await {
                    Ok(Some(appended)) => Sent::Appended(appended),
                    Ok(None) => Sent::Void,
                    Err(()) => Sent::Unavailable,
                }
            }
            Err(AppendError::Unavailable(cause)) => {
                tracing::error!(error = &cause as &dyn std::error::Error, "the log can't be written");
                Sent::Unavailable
            }
            Err(AppendError::SetBack { epoch }) => {
                tracing::error!(epoch, "the log was set back; what the writer knew is forgotten");
                Sent::SetBack
            }
            Err(AppendError::Refused(cause)) => Sent::Refused(cause),
        }
    }

    /// What became of the newest batch: `None` when it never landed. `Err` while nobody can say.
    async fn resolve(&mut self) -> Result<Option<Appended>, ()> {
        for attempt in 1..=RESOLVE_ATTEMPTS_MAX {
            match self.events.resolve().await {
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
}

/// The streams that commands were decided on.
fn streams<'a>(commands: impl IntoIterator<Item = &'a Ready>) -> HashSet<StreamId> {
    commands.into_iter().flat_map(|ready| &ready.append.decided_on).map(|at| at.stream.clone()).collect()
}

fn refuse(batch: Vec<Ready>) {
    for ready in batch {
        ready.job.fail(CommandError::Unavailable);
    }
}

fn failed(job: Box<dyn Job>, failure: Failure) {
    tracing::error!(error = &failure as &dyn std::error::Error, "a command failed");
    job.fail(match failure {
        Failure::Database(_) | Failure::Repository(_) => CommandError::Unavailable,
        failure => CommandError::Internal(failure),
    });
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
