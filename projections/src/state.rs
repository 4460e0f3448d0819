//! Read models that keep the aggregate itself: the rows' `state` is the fold of the stream, made by `domain`'s own `apply`.
//!
//! A table of this kind has the columns `id`, `version`, `position` (of its newest event) and `state`, and whatever else
//! its queries need, taken from the state.

use std::collections::HashMap;

use chrono::{DateTime, Utc};
use cqrs_es::Aggregate;
use domain::customer::{Subject, SubjectEvent};
use domain::event::{Event, Root};
use infra::event_log::StoredEvent;
use serde_json::Value;
use sqlx::{PgConnection, PgPool};
use uuid::Uuid;

use crate::projector::ApplyError;

/// An aggregate after the events of a batch.
#[derive(Debug)]
pub struct Changed<A> {
    pub id: String,
    pub version: i64,
    pub position: i64,
    /// When its first and its newest event of this batch were recorded.
    pub first_recorded_at: DateTime<Utc>,
    pub recorded_at: DateTime<Utc>,
    pub state: A,
    /// The aggregate before this batch; `None` when it begins in it.
    pub before: Option<A>,
}

impl<A: Root> Changed<A> {
    pub fn state_json(&self) -> Result<String, ApplyError> {
        serde_json::to_string(&self.state).map_err(|error| ApplyError::Poison { position: self.position, reason: error.to_string() })
    }
}

/// Folds the events of `A`'s type in a batch onto the rows of `table`, in one read. Nothing is written yet.
pub async fn fold_onto<A: Root>(events: &[StoredEvent], connection: &mut PgConnection, table: &str) -> Result<Vec<Changed<A>>, ApplyError> {
    let mut order: Vec<&str> = Vec::new();
    let mut by_id: HashMap<&str, Vec<&StoredEvent>> = HashMap::new();
    for event in events.iter().filter(|e| e.aggregate_type == A::TYPE) {
        let of_id = by_id.entry(&event.aggregate_id).or_default();
        if of_id.is_empty() {
            order.push(&event.aggregate_id);
        }
        of_id.push(event);
    }
    if order.is_empty() {
        return Ok(Vec::new());
    }
    order.sort_unstable();
    let rows: Vec<(String, i64, String)> = sqlx::query_as(&format!("SELECT id, version, state::text FROM {table} WHERE id = ANY ($1)"))
        .bind(&order)
        .fetch_all(connection)
        .await?;
    let mut known: HashMap<String, (i64, String)> = rows.into_iter().map(|(id, version, state)| (id, (version, state))).collect();
    let mut changed = Vec::with_capacity(order.len());
    for id in order {
        let Some(of_id) = by_id.remove(id) else {
            continue;
        };
        let before = known.remove(id);
        changed.extend(fold::<A>(id, &of_id, before)?);
    }
    Ok(changed)
}

fn fold<A: Root>(id: &str, events: &[&StoredEvent], before: Option<(i64, String)>) -> Result<Option<Changed<A>>, ApplyError> {
    let (Some(first), Some(last)) = (events.first(), events.last()) else {
        return Ok(None);
    };
    let poison = |position: i64, reason: String| ApplyError::Poison { position, reason };
    let (mut version, before) = match before {
        None => (0, None),
        Some((version, state)) => {
            let state: A = serde_json::from_str(&state).map_err(|e| poison(first.position, e.to_string()))?;
            (version, Some(state))
        }
    };
    if last.sequence <= version {
        return Ok(None);
    }
    let mut state = before.clone().unwrap_or_default();
    for event in events.iter().filter(|e| e.sequence > version).collect::<Vec<_>>() {
        if event.sequence != version + 1 {
            return Err(poison(event.position, format!("version {} follows {version}", event.sequence)));
        }
        version = event.sequence;
        let number = event.event_version.parse().unwrap_or(u16::MAX);
        let decoded =
            A::Event::from_payload(&event.event_type, number, &event.payload).map_err(|e| poison(event.position, e.to_string()))?;
        state.apply(decoded);
    }
    Ok(Some(Changed {
        id: id.to_owned(),
        version,
        position: last.position,
        first_recorded_at: first.recorded_at,
        recorded_at: last.recorded_at,
        state,
        before,
    }))
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
