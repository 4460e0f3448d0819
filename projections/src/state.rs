//! Read models that keep the aggregate itself: the rows' `state` is the fold of the stream, made by `domain`'s own `apply`.
//!
//! A table of this kind has the columns `id`, `version`, `position` (of its newest event) and `state`, and whatever else
//! its queries need, taken from the state.

use std::collections::{BTreeMap, HashMap, HashSet};

use chrono::{DateTime, Utc};
use cqrs_es::Aggregate;
use domain::customer::{Subject, SubjectEvent};
use domain::event::{Event, Root};
use infra::event_log::StoredEvent;
use serde_json::Value;
use sqlx::{PgConnection, PgPool};
use uuid::Uuid;

use crate::projector::ApplyError;

/// Bytes of states, as JSON and counted at each write, after which they do not stay in memory: all are let go and read again when needed.
const HELD_BYTES_MAX: usize = 16 << 20;
/// Most rows and bytes of states of one statement.
const ROWS_MAX: usize = 1_000;
const ROWS_BYTES_MAX: usize = 1 << 20;

/// Aggregates of one kind as a projector has folded them: those that its rows do not show yet, and those lately written,
/// which save reading their rows again.
///
/// Holds while nobody else writes the rows: the checkpoint fences every write, and a projector that begins anew holds none.
#[derive(Debug)]
pub struct Folded<A> {
    held: HashMap<String, Held<A>>,
    unwritten: HashSet<String>,
    bytes: usize,
}

#[derive(Debug)]
struct Held<A> {
    version: i64,
    position: i64,
    first_recorded_at: DateTime<Utc>,
    recorded_at: DateTime<Utc>,
    state: A,
}

/// An aggregate that its row does not show yet.
#[derive(Debug)]
pub struct Changed<'a, A> {
    pub id: &'a str,
    pub version: i64,
    /// Of its newest event.
    pub position: i64,
    /// When its first event was recorded, if it began since the last write, and its newest.
    pub first_recorded_at: DateTime<Utc>,
    pub recorded_at: DateTime<Utc>,
    pub state: &'a A,
    /// The state as its row keeps it.
    pub json: String,
}

impl<A> Default for Folded<A> {
    fn default() -> Self {
        Self { held: HashMap::new(), unwritten: HashSet::new(), bytes: 0 }
    }
}

impl<A: Root> Folded<A> {
    /// Folds the events of `A`'s type onto what is held, and for the rest onto the rows of `table`, in one read.
    pub async fn fold(&mut self, events: &[StoredEvent], connection: &mut PgConnection, table: &str) -> Result<(), ApplyError> {
        let mut by_id: BTreeMap<&str, Vec<&StoredEvent>> = BTreeMap::new();
        for event in events.iter().filter(|e| e.aggregate_type == A::TYPE) {
            by_id.entry(&event.aggregate_id).or_default().push(event);
        }
        // An aggregate that begins here has no row.
        let unseen = by_id.iter().filter(|(id, events)| events[0].sequence > 1 && !self.held.contains_key(**id));
        self.read(&unseen.map(|(id, events)| (*id, (events[0].position, events[0].recorded_at))).collect(), connection, table).await?;
        for (id, events) in by_id {
            let begins = || Held {
                version: 0,
                position: 0,
                first_recorded_at: events[0].recorded_at,
                recorded_at: events[0].recorded_at,
                state: A::default(),
            };
            let held = self.held.entry(id.to_owned()).or_insert_with(begins);
            for event in events.iter().filter(|event| event.sequence > held.version).collect::<Vec<_>>() {
                held.apply(event).map_err(|reason| ApplyError::Poison { position: event.position, reason })?;
                if !self.unwritten.contains(id) {
                    self.unwritten.insert(id.to_owned());
                }
            }
        }
        Ok(())
    }

    /// Reads the rows of those that are not held yet; one without a row stays absent.
    pub async fn hold(&mut self, ids: &[&str], position: i64, connection: &mut PgConnection, table: &str) -> Result<(), ApplyError> {
        let unseen = ids.iter().filter(|id| !self.held.contains_key(**id));
        self.read(&unseen.map(|id| (*id, (position, DateTime::UNIX_EPOCH))).collect(), connection, table).await
    }

    /// One that is held, as it is folded.
    #[must_use]
    pub fn get(&self, id: &str) -> Option<&A> {
        self.held.get(id).map(|held| &held.state)
    }

    /// The ids of those that their rows do not show yet.
    pub fn unwritten_ids(&self) -> impl Iterator<Item = &str> {
        self.unwritten.iter().map(String::as_str)
    }

    /// Its row is to be written again, since what it shows of others has changed.
    pub fn touch(&mut self, id: &str) {
        if self.held.contains_key(id) && !self.unwritten.contains(id) {
            self.unwritten.insert(id.to_owned());
        }
    }

    /// `wanted`: ids, and the event that each is read for.
    async fn read(
        &mut self,
        wanted: &HashMap<&str, (i64, DateTime<Utc>)>,
        connection: &mut PgConnection,
        table: &str,
    ) -> Result<(), ApplyError> {
        if wanted.is_empty() {
            return Ok(());
        }
        let rows: Vec<(String, i64, i64, String)> =
            sqlx::query_as(&format!("SELECT id, version, position, state::text FROM {table} WHERE id = ANY ($1)"))
                .bind(wanted.keys().copied().collect::<Vec<_>>())
                .fetch_all(connection)
                .await?;
        for (id, version, position, json) in rows {
            let Some((wanted_at, recorded_at)) = wanted.get(id.as_str()).copied() else { continue };
            let poison = |e: serde_json::Error| ApplyError::Poison { position: wanted_at, reason: e.to_string() };
            let state = serde_json::from_str(&json).map_err(poison)?;
            self.held.insert(id, Held { version, position, first_recorded_at: recorded_at, recorded_at, state });
        }
        Ok(())
    }

    /// What its rows do not show yet, in the order of the ids.
    pub fn unwritten(&self) -> Result<Vec<Changed<'_, A>>, ApplyError> {
        let mut ids: Vec<&String> = self.unwritten.iter().collect();
        ids.sort_unstable();
        let changed = ids.into_iter().filter_map(|id| Some((id, self.held.get(id)?))).map(|(id, held)| {
            let json = serde_json::to_string(&held.state)
                .map_err(|error| ApplyError::Poison { position: held.position, reason: error.to_string() })?;
            let Held { version, position, first_recorded_at, recorded_at, state } = held;
            let (version, position, first_recorded_at, recorded_at) = (*version, *position, *first_recorded_at, *recorded_at);
            Ok(Changed { id, version, position, first_recorded_at, recorded_at, state, json })
        });
        changed.collect()
    }

    /// Everything is written, in so many bytes.
    pub fn written(&mut self, bytes: usize) {
        self.unwritten.clear();
        self.bytes += bytes;
        if self.bytes > HELD_BYTES_MAX {
            *self = Self::default();
        }
    }
}

impl<A: Root> Held<A> {
    fn apply(&mut self, event: &StoredEvent) -> Result<(), String> {
        if event.sequence != self.version + 1 {
            return Err(format!("version {} follows {}", event.sequence, self.version));
        }
        let number = event.event_version.parse().unwrap_or(u16::MAX);
        let decoded = A::Event::from_payload(&event.event_type, number, &event.payload).map_err(|e| e.to_string())?;
        self.state.apply(decoded);
        (self.version, self.position, self.recorded_at) = (event.sequence, event.position, event.recorded_at);
        Ok(())
    }
}

/// What is written by one statement each.
pub fn strides<'c, 'a, A>(changed: &'c [Changed<'a, A>]) -> impl Iterator<Item = &'c [Changed<'a, A>]> {
    let (mut rows, mut bytes) = (0, 0);
    changed.chunk_by(move |_, next| {
        rows += 1;
        bytes += next.json.len();
        let fits = rows < ROWS_MAX && bytes < ROWS_BYTES_MAX;
        if !fits {
            (rows, bytes) = (0, 0);
        }
        fits
    })
}

/// Whether one statement writes all of it.
#[must_use]
pub fn is_one_stride<A>(changed: &[Changed<'_, A>]) -> bool {
    strides(changed).nth(1).is_none()
}

/// How much the rows of these states hold.
#[must_use]
pub fn json_bytes<A>(changed: &[Changed<'_, A>]) -> usize {
    changed.iter().map(|changed| changed.json.len()).sum()
}

/// A row as queries read it.
#[derive(Debug, Clone)]
pub struct Row<A> {
    pub id: String,
    pub version: i64,
    pub position: i64,
    pub state: A,
}

/// The rows of the given ids, in no order.
pub async fn rows<A: Root>(pool: &PgPool, table: &str, ids: &[String]) -> Result<Vec<Row<A>>, sqlx::Error> {
    let found: Vec<(String, i64, i64, String)> =
        sqlx::query_as(&format!("SELECT id, version, position, state::text FROM {table} WHERE id = ANY ($1)"))
            .bind(ids)
            .fetch_all(pool)
            .await?;
    found.into_iter().map(decode_row).collect()
}

/// One row by its id.
pub async fn row<A: Root>(pool: &PgPool, table: &str, id: &str) -> Result<Option<Row<A>>, sqlx::Error> {
    Ok(rows(pool, table, &[id.to_owned()]).await?.pop())
}

pub(crate) fn decode_row<A: Root>((id, version, position, state): (String, i64, i64, String)) -> Result<Row<A>, sqlx::Error> {
    let state = serde_json::from_str(&state).map_err(|error| sqlx::Error::Decode(Box::new(error)))?;
    Ok(Row { id, version, position, state })
}

/// The subjects whose data for a purpose was erased in this batch.
pub(crate) fn erased_subjects(events: &[StoredEvent], purpose: &str) -> Result<Vec<Uuid>, ApplyError> {
    let mut erased = Vec::new();
    for event in events.iter().filter(|event| event.aggregate_type == Subject::TYPE) {
        let poison = |reason: String| ApplyError::Poison { position: event.position, reason };
        let number = event.event_version.parse().unwrap_or(u16::MAX);
        let decoded = SubjectEvent::from_payload(&event.event_type, number, &event.payload).map_err(|e| poison(e.to_string()))?;
        if let SubjectEvent::SubjectErased(of) = decoded
            && of.purpose.as_str() == purpose
        {
            erased.push(event.aggregate_id.parse().map_err(|_| poison("the subject's id is not a UUID".to_owned()))?);
        }
    }
    Ok(erased)
}

/// Scrubs the rows that `select` finds by their subjects: every personal field becomes an erased one. The log needs no
/// such thing, its keys are gone; rows hold clear text.
pub(crate) async fn erase_personal(connection: &mut PgConnection, table: &str, select: &str, subjects: &[Uuid]) -> Result<(), ApplyError> {
    if subjects.is_empty() {
        return Ok(());
    }
    let rows: Vec<(String, String)> = sqlx::query_as(select).bind(subjects).fetch_all(&mut *connection).await?;
    let (mut ids, mut states) = (Vec::with_capacity(rows.len()), Vec::with_capacity(rows.len()));
    for (id, state) in rows {
        let mut state: Value = serde_json::from_str(&state).map_err(|e| sqlx::Error::Decode(Box::new(e)))?;
        erase(&mut state);
        ids.push(id);
        states.push(state.to_string());
    }
    let update = format!(
        "UPDATE \"{table}\" t SET state = new.state::json FROM unnest($1::text[], $2::text[]) AS new (id, state) WHERE t.id = new.id"
    );
    sqlx::query(&update).bind(ids).bind(states).execute(connection).await?;
    Ok(())
}

fn erase(value: &mut Value) {
    match value {
        Value::Object(object) if object.contains_key("$personal") => *value = serde_json::json!({ "$erased": true }),
        Value::Object(object) => object.values_mut().for_each(erase),
        Value::Array(items) => items.iter_mut().for_each(erase),
        _ => {}
    }
}
