//! Aggregates as of the newest batch that a follower has seen, for a while.
//!
//! An aggregate that begins in a batch is folded from it. Any other is taken from the read model, whatever version that has
//! reached, and brought up to the batch from the log: the read model saves reading a long stream, it decides nothing.

use std::collections::{BTreeMap, HashMap};

use chrono::{DateTime, Utc};
use domain::event::{Event, Root};
use infra::event_log::StoredEvent;
use serde_json::{Value, json};
use sqlx::PgPool;

/// Most aggregates that are kept; beyond it all are let go and read again when needed.
const HELD_MAX: usize = 2_048;

#[derive(Debug, Clone)]
pub(super) struct Held<A> {
    pub(super) version: i64,
    /// When its first event was recorded.
    pub(super) created_at: DateTime<Utc>,
    pub(super) state: A,
}

#[derive(Debug)]
pub(super) struct Recent<A> {
    table: &'static str,
    held: HashMap<String, Held<A>>,
}

impl<A: Root> Recent<A> {
    /// `table` has `id`, `version`, `state` and `created_at`.
    pub(super) fn of(table: &'static str) -> Self {
        Self { table, held: HashMap::new() }
    }

    pub(super) fn get(&self, id: &str) -> Option<&Held<A>> {
        self.held.get(id)
    }

    /// Brings every aggregate that these events are of up to them, and answers their ids. One that can't be folded is left
    /// out: it is logged, and stays in the index as it was.
    pub(super) async fn follow<'e>(
        &mut self,
        pool: &PgPool,
        events: impl Iterator<Item = &'e StoredEvent>,
    ) -> Result<Vec<&'e str>, sqlx::Error> {
        let mut by_id: BTreeMap<&str, Vec<&StoredEvent>> = BTreeMap::new();
        for event in events.filter(|event| event.aggregate_type == A::TYPE) {
            by_id.entry(&event.aggregate_id).or_default().push(event);
        }
        let Some(until) = by_id.values().flatten().map(|event| event.position).max() else {
            return Ok(Vec::new());
        };
        let begun_before = by_id.iter().filter(|(_, events)| events[0].sequence > 1).map(|(id, _)| *id);
        self.load(pool, &begun_before.collect::<Vec<_>>()).await?;
        let follows = |id: &str, first: &StoredEvent| first.sequence <= self.version(id) + 1;
        let (following, behind): (Vec<_>, Vec<_>) = by_id.iter().partition(|(id, events)| follows(id, events[0]));
        self.read_on(pool, &behind.iter().map(|(id, _)| **id).collect::<Vec<_>>(), until).await?;
        for event in following.into_iter().flat_map(|(_, events)| events) {
            self.apply(event);
        }
        Ok(by_id.into_keys().filter(|id| self.held.contains_key(*id)).collect())
    }

    /// Brings these aggregates up to a position, whether or not anything happened to them.
    pub(super) async fn bring_up(&mut self, pool: &PgPool, ids: &[&str], until: i64) -> Result<(), sqlx::Error> {
        self.load(pool, ids).await?;
        self.read_on(pool, ids, until).await
    }

    fn version(&self, id: &str) -> i64 {
        self.held.get(id).map_or(0, |held| held.version)
    }

    /// Reads those of these aggregates that are not held from the read model, as far as it has them.
    async fn load(&mut self, pool: &PgPool, ids: &[&str]) -> Result<(), sqlx::Error> {
        if self.held.len() > HELD_MAX {
            self.held.clear();
        }
        let missing: Vec<&str> = ids.iter().filter(|id| !self.held.contains_key(**id)).copied().collect();
        if missing.is_empty() {
            return Ok(());
        }
        let table = self.table;
        let rows: Vec<(String, i64, DateTime<Utc>, String)> =
            sqlx::query_as(&format!("SELECT id, version, created_at, state::text FROM {table} WHERE id = ANY ($1)"))
                .bind(missing)
                .fetch_all(pool)
                .await?;
        for (id, version, created_at, state) in rows {
            // A row of another shape saves nothing: the log is read from its beginning.
            if let Ok(state) = serde_json::from_str(&state) {
                self.held.insert(id, Held { version, created_at, state });
            }
        }
        Ok(())
    }

    /// Applies what the log has of these aggregates after their versions and up to a position.
    async fn read_on(&mut self, pool: &PgPool, ids: &[&str], until: i64) -> Result<(), sqlx::Error> {
        if ids.is_empty() {
            return Ok(());
        }
        let versions: Vec<i64> = ids.iter().map(|id| self.version(id)).collect();
        let events: Vec<StoredEvent> = sqlx::query_as(
            "SELECT position, partition, aggregate_type, aggregate_id, sequence, event_id, event_type, event_version,
                    payload::text AS payload, metadata::text AS metadata, recorded_at
             FROM events JOIN unnest($2::text[], $3::bigint[]) AS known(id, version) ON aggregate_id = known.id
             WHERE aggregate_type = $1 AND sequence > known.version AND position <= $4
             ORDER BY aggregate_id, sequence",
        )
        .bind(A::TYPE)
        .bind(ids)
        .bind(versions)
        .bind(until)
        .fetch_all(pool)
        .await?;
        for event in &events {
            self.apply(event);
        }
        Ok(())
    }

    fn apply(&mut self, event: &StoredEvent) {
        let begins = event.sequence == 1;
        if begins && !self.held.contains_key(&event.aggregate_id) {
            let held = Held { version: 0, created_at: event.recorded_at, state: A::default() };
            self.held.insert(event.aggregate_id.clone(), held);
        }
        // Without one, an earlier event of it could not be applied.
        let Some(held) = self.held.get_mut(&event.aggregate_id) else {
            return;
        };
        if let Err(reason) = held.apply(event) {
            let position = event.position;
            tracing::error!(projection = "search", position, reason, "an event can't be applied; its product is left as it was");
            metrics::counter!("daybook_search_events_left_out").increment(1);
            self.held.remove(&event.aggregate_id);
        }
    }
}

impl<A: Root> Held<A> {
    fn apply(&mut self, event: &StoredEvent) -> Result<(), String> {
        if event.sequence <= self.version {
            return Ok(());
        }
        if event.sequence != self.version + 1 {
            return Err(format!("version {} follows {}", event.sequence, self.version));
        }
        self.state.apply(decoded::<A>(event)?);
        self.version = event.sequence;
        Ok(())
    }
}

/// An event of `A` as it stands in the log; what is sealed in it is read as erased, since search has no keys.
pub(super) fn decoded<A: Root>(event: &StoredEvent) -> Result<A::Event, String> {
    let version = event.event_version.parse().unwrap_or(u16::MAX);
    let mut payload = std::borrow::Cow::from(&event.payload);
    if payload.contains("\"$sealed\"") {
        let mut value: Value = serde_json::from_str(&payload).map_err(|error| error.to_string())?;
        erase_sealed(&mut value);
        payload = value.to_string().into();
    }
    A::Event::from_payload(&event.event_type, version, &payload).map_err(|error| error.to_string())
}

fn erase_sealed(value: &mut Value) {
    match value {
        Value::Object(object) if object.contains_key("$sealed") => *value = json!({ "$erased": true }),
        Value::Object(object) => object.values_mut().for_each(erase_sealed),
        Value::Array(items) => items.iter_mut().for_each(erase_sealed),
        _ => {}
    }
}
