//! What a decision sees and does: aggregates at their newest known version, events to be appended.
//!
//! A decision may run more than once (a stream was not loaded, or changed meanwhile), so it must be a function of the
//! streams and of the values it was given. Events take effect on the aggregates only once the whole decision stands.

use std::any::Any;
use std::collections::HashMap;
use std::future::Future;
use std::pin::Pin;

use chrono::{DateTime, Utc};
use domain::event::{Event, Root};
use infra::event_store::{NewDeadline, NewEvent, StreamId, StreamVersion, partition_of};
use infra::sealing::{KeyScope, PERSONAL_MARK};
use uuid::Uuid;

use crate::answer::{Failure, Refusal};
use crate::loader::Loader;
use crate::snapshot::{self, Snapshot};

/// Why a decision ended early.
#[derive(Debug)]
pub enum Stop {
    /// These streams must be loaded first; the decision is then run again.
    Missing(Vec<Load>),
    Refused(Box<Refusal>),
    /// What the caller brought along does not fit the streams any more: nothing is recorded, the caller asks again.
    Stale,
    /// The caller has been answered; nothing is decided.
    Answered,
    Failed(Failure),
}

impl From<Refusal> for Stop {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(Box::new(refusal))
    }
}

impl From<serde_json::Error> for Stop {
    fn from(error: serde_json::Error) -> Self {
        Self::Failed(error.into())
    }
}

type Loading = Pin<Box<dyn Future<Output = Result<Entry, Failure>> + Send>>;

/// A stream to be loaded, and how.
#[derive(Debug)]
pub struct Load {
    pub(crate) stream: StreamId,
    pub(crate) load: fn(Loader, String) -> Loading,
}

/// An aggregate in memory.
pub(crate) struct Entry {
    pub(crate) aggregate: Box<dyn Any + Send + Sync>,
    pub(crate) version: i64,
    pub(crate) used: u64,
}

impl Entry {
    pub(crate) fn new<A: Root + 'static>(aggregate: A, version: i64) -> Self {
        Self { aggregate: Box::new(aggregate), version, used: 0 }
    }
}

/// Aggregates by stream, bounded; the least recently used go first.
pub(crate) struct Cache {
    entries: HashMap<StreamId, Entry>,
    /// The types that entries have had.
    types: Vec<&'static str>,
    tick: u64,
    max: usize,
}

impl Cache {
    pub(crate) fn new(max: usize) -> Self {
        Self { entries: HashMap::new(), types: Vec::new(), tick: 0, max }
    }

    pub(crate) fn insert(&mut self, stream: StreamId, mut entry: Entry) {
        if self.entries.len() >= self.max {
            let mut used: Vec<u64> = self.entries.values().map(|e| e.used).collect();
            let tenth = used.len() / 10;
            let (_, oldest_kept, _) = used.select_nth_unstable(tenth);
            let limit = *oldest_kept;
            self.entries.retain(|_, e| e.used > limit);
        }
        if !self.types.contains(&stream.aggregate_type) {
            self.types.push(stream.aggregate_type);
        }
        self.tick += 1;
        entry.used = self.tick;
        self.entries.insert(stream, entry);
    }

    /// A stream that the log names; `None` when no stream of its type was ever here.
    pub(crate) fn known(&self, (aggregate_type, aggregate_id): (String, String)) -> Option<StreamId> {
        let aggregate_type = self.types.iter().copied().find(|known| *known == aggregate_type)?;
        Some(StreamId { aggregate_type, aggregate_id })
    }

    pub(crate) fn remove(&mut self, stream: &StreamId) {
        self.entries.remove(stream);
    }

    pub(crate) fn clear(&mut self) {
        self.entries.clear();
    }

    /// An aggregate, if it is here.
    pub(crate) fn peek<A: Root + 'static>(&self, id: &str) -> Option<&A> {
        self.entries.get(&stream_id::<A>(id)).and_then(|entry| entry.aggregate.downcast_ref())
    }

    fn get(&mut self, stream: &StreamId) -> Option<&mut Entry> {
        self.tick += 1;
        let tick = self.tick;
        let entry = self.entries.get_mut(stream)?;
        entry.used = tick;
        Some(entry)
    }
}

/// An event of a decision, and whose personal data it holds.
pub(crate) struct Pending {
    pub(crate) event: NewEvent,
    pub(crate) scope: Option<KeyScope>,
}

/// What a decision will do to one cached aggregate.
trait Effect: Send + Sync {
    fn stream(&self) -> &StreamId;
    fn apply(&self, aggregate: &mut (dyn Any + Send + Sync));
    fn count(&self) -> i64;
    /// The aggregate's state, where it is of a kind that snapshots are kept of.
    fn state(&self, aggregate: &(dyn Any + Send + Sync)) -> Option<String>;
}

struct Applied<A: Root> {
    stream: StreamId,
    events: Vec<A::Event>,
}

impl<A: Root + 'static> Effect for Applied<A> {
    fn stream(&self) -> &StreamId {
        &self.stream
    }

    fn apply(&self, aggregate: &mut (dyn Any + Send + Sync)) {
        if let Some(aggregate) = aggregate.downcast_mut::<A>() {
            for event in &self.events {
                cqrs_es::Aggregate::apply(aggregate, event.clone());
            }
        }
    }

    fn count(&self) -> i64 {
        i64::try_from(self.events.len()).unwrap_or(0)
    }

    fn state(&self, aggregate: &(dyn Any + Send + Sync)) -> Option<String> {
        let aggregate = aggregate.downcast_ref::<A>().filter(|_| A::LONG_LIVED)?;
        // What is personal is never kept unsealed.
        serde_json::to_string(aggregate).ok().filter(|state| state.len() <= snapshot::STATE_BYTES_MAX && !state.contains(PERSONAL_MARK))
    }
}

/// What one run of a decision produced.
#[derive(Default)]
pub(crate) struct Decided {
    pub(crate) rests_on: Vec<StreamVersion>,
    pub(crate) events: Vec<Pending>,
    pub(crate) deadlines: Vec<NewDeadline>,
    /// Status and stream of the answer, for its repetition.
    pub(crate) answer: Option<(u16, StreamId)>,
    pub(crate) completes: Option<Uuid>,
    effects: Vec<Box<dyn Effect>>,
}

impl Decided {
    /// Applies the events to the cached aggregates; returns the snapshots that are to be kept if the events land.
    pub(crate) fn take_effect(&mut self, cache: &mut Cache) -> Vec<Snapshot> {
        let mut snapshots = Vec::new();
        for effect in self.effects.drain(..) {
            let Some(entry) = cache.get(effect.stream()) else { continue };
            let before = entry.version;
            entry.version += effect.count();
            effect.apply(entry.aggregate.as_mut());
            let (stream, version) = (effect.stream(), entry.version);
            if snapshot::is_due(before, version)
                && let Some(state) = effect.state(entry.aggregate.as_ref())
                && let Some(last) = self.events.iter().find(|p| p.event.sequence == version && p.event.stream == *stream)
            {
                snapshots.push(Snapshot { stream: stream.clone(), version, event_id: last.event.event_id, state });
            }
        }
        snapshots
    }

    /// What remains of a decision that ended in a refusal: what it rests on.
    pub(crate) fn only_read(self) -> Self {
        Self { rests_on: self.rests_on, ..Self::default() }
    }

    /// The version that a stream has after this decision.
    pub(crate) fn version_after(&self, stream: &StreamId) -> i64 {
        let read = self.rests_on.iter().find(|at| at.stream == *stream).map_or(0, |at| at.version);
        let written = self.events.iter().filter(|p| p.event.stream == *stream).count();
        read + i64::try_from(written).unwrap_or(0)
    }
}

/// The streams as one decision sees them.
pub struct Streams<'a> {
    cache: &'a mut Cache,
    /// When the decision is made: the only clock it may look at.
    pub now: DateTime<Utc>,
    metadata: &'a str,
    /// Decided again after a conflict: nothing is believed to be absent unseen.
    again: bool,
    decided: Decided,
}

impl<'a> Streams<'a> {
    pub(crate) fn new(cache: &'a mut Cache, now: DateTime<Utc>, metadata: &'a str, again: bool) -> Self {
        Self { cache, now, metadata, again, decided: Decided::default() }
    }

    pub(crate) fn finish(self) -> Decided {
        self.decided
    }

    /// An aggregate as of its newest known version; absent streams are `A::default()` at version 0.
    pub fn get<A: Root + 'static>(&mut self, id: &str) -> Result<&A, Stop> {
        let stream = stream_id::<A>(id);
        let Some(entry) = self.cache.get(&stream) else {
            return Err(Stop::Missing(vec![Load { stream, load: load::<A> }]));
        };
        assert_version(&mut self.decided, stream, entry.version);
        downcast(entry)
    }

    /// An aggregate with the events that this decision has emitted so far; a copy, for decisions in several steps.
    pub fn after<A: Root + 'static>(&mut self, id: &str) -> Result<A, Stop> {
        let mut aggregate = self.get::<A>(id)?.clone();
        let stream = stream_id::<A>(id);
        for effect in self.decided.effects.iter().filter(|effect| *effect.stream() == stream) {
            effect.apply(&mut aggregate);
        }
        Ok(aggregate)
    }

    /// An aggregate and its version as they are once this decision lands: what its answer is made from, without a read.
    pub fn outcome<A: Root + 'static>(&mut self, id: &str) -> Result<(A, i64), Stop> {
        let aggregate = self.after::<A>(id)?;
        Ok((aggregate, self.decided.version_after(&stream_id::<A>(id))))
    }

    /// Whether this decision has emitted events of a stream.
    #[must_use]
    pub fn touched<A: Root>(&self, id: &str) -> bool {
        let stream = stream_id::<A>(id);
        self.decided.effects.iter().any(|effect| *effect.stream() == stream)
    }

    /// Asks for several streams at once, so that they are loaded together.
    pub fn need<A: Root + 'static>(&mut self, ids: impl IntoIterator<Item = String>) -> Result<(), Stop> {
        let missing: Vec<Load> = ids
            .into_iter()
            .map(|id| stream_id::<A>(&id))
            .filter(|stream| self.cache.get(stream).is_none())
            .map(|stream| Load { stream, load: load::<A> })
            .collect();
        if missing.is_empty() { Ok(()) } else { Err(Stop::Missing(missing)) }
    }

    /// As [`Self::need`], of streams that [`Self::create`] believes absent: nothing is asked for until the append has said otherwise.
    pub fn need_created<A: Root + 'static>(&mut self, ids: impl IntoIterator<Item = String>) -> Result<(), Stop> {
        if self.again { self.need::<A>(ids) } else { Ok(()) }
    }

    /// The version of a stream that [`Self::get`] has seen.
    pub fn version<A: Root + 'static>(&mut self, id: &str) -> Result<i64, Stop> {
        self.get::<A>(id)?;
        let stream = stream_id::<A>(id);
        Ok(self.decided.rests_on.iter().find(|at| at.stream == stream).map_or(0, |at| at.version))
    }

    /// An aggregate that is most likely absent (its id is fresh, its name is new): believed so without a read, and
    /// loaded only when the append says otherwise.
    pub fn create<A: Root + 'static>(&mut self, id: &str) -> Result<&A, Stop> {
        let stream = stream_id::<A>(id);
        if !self.again && self.cache.get(&stream).is_none() {
            self.cache.insert(stream, Entry::new(A::default(), 0));
        }
        self.get::<A>(id)
    }

    /// Adds events to a stream that was read or created. `scope` names whose personal data they hold.
    pub fn emit<A: Root + 'static>(&mut self, id: &str, events: Vec<A::Event>, scope: Option<KeyScope>) -> Result<(), Stop> {
        if events.is_empty() {
            return Ok(());
        }
        let stream = stream_id::<A>(id);
        let version = self.decided.version_after(&stream);
        let partition = partition_of(&self.partition_key::<A>(id, &events)?);
        for (event, sequence) in events.iter().zip(version + 1..) {
            let event = NewEvent {
                stream: stream.clone(),
                sequence,
                event_id: infra::clock::new_id(),
                event_type: event.name(),
                event_version: event.version(),
                payload: event.to_payload()?,
                metadata: self.metadata.to_owned(),
                partition,
            };
            self.decided.events.push(Pending { event, scope });
        }
        self.decided.effects.push(Box::new(Applied::<A> { stream, events }));
        Ok(())
    }

    /// Names the aggregate that the answer is rendered from, and the answer's status.
    pub fn answer_with<A: Root>(&mut self, status: u16, id: &str) {
        self.decided.answer = Some((status, stream_id::<A>(id)));
    }

    /// Finishes an earlier command that was left running under this idempotency key.
    pub fn complete(&mut self, key: Option<Uuid>) {
        self.decided.completes = key;
    }

    pub fn deadline<A: Root>(&mut self, kind: &'static str, id: &str, due_at: DateTime<Utc>) {
        let deadline_id = infra::clock::new_id();
        self.decided.deadlines.push(NewDeadline { deadline_id, kind, stream: stream_id::<A>(id), due_at });
    }

    /// The key by which the stream's events are partitioned; a stream that begins here has it only after its first event.
    fn partition_key<A: Root + 'static>(&mut self, id: &str, events: &[A::Event]) -> Result<String, Stop> {
        let Some(entry) = self.cache.get(&stream_id::<A>(id)) else {
            return Err(Stop::Missing(vec![Load { stream: stream_id::<A>(id), load: load::<A> }]));
        };
        if entry.version > 0 {
            return Ok(downcast::<A>(entry)?.partition_key(id));
        }
        let mut begun = A::default();
        if let Some(first) = events.first() {
            begun.apply(first.clone());
        }
        Ok(begun.partition_key(id))
    }
}

fn assert_version(decided: &mut Decided, stream: StreamId, version: i64) {
    if decided.rests_on.iter().all(|at| at.stream != stream) {
        decided.rests_on.push(StreamVersion { stream, version });
    }
}

fn downcast<A: Root + 'static>(entry: &Entry) -> Result<&A, Stop> {
    entry.aggregate.downcast_ref().ok_or_else(|| Stop::Failed(Failure::Repository(format!("{} has two types", A::TYPE))))
}

pub(crate) fn stream_id<A: Root>(id: &str) -> StreamId {
    StreamId { aggregate_type: A::TYPE, aggregate_id: id.to_owned() }
}

fn load<A: Root + 'static>(loader: Loader, id: String) -> Loading {
    Box::pin(async move {
        let (aggregate, version) = loader.load::<A>(&id).await?;
        Ok(Entry::new(aggregate, version))
    })
}
