//! Loading an aggregate: the newest snapshot and the events after it, from `PostgresEventRepository`, opened, upcast, folded.

use cqrs_es::persist::{PersistedEventRepository, SerializedEvent};
use domain::event::{Event, Root};
use infra::event_log::{self, StoredEvent};
use infra::sealing::Sealer;
use postgres_es::PostgresEventRepository;
use sqlx::PgPool;

use crate::answer::Failure;
use crate::snapshot;

/// Cheap to clone.
#[derive(Debug, Clone)]
pub struct Loader {
    pool: PgPool,
    sealer: Sealer,
}

impl Loader {
    #[must_use]
    pub fn new(pool: PgPool, sealer: Sealer) -> Self {
        Self { pool, sealer }
    }

    #[must_use]
    pub fn pool(&self) -> &PgPool {
        &self.pool
    }

    #[must_use]
    pub fn sealer(&self) -> &Sealer {
        &self.sealer
    }

    /// The newest state and version; an absent stream is the default at version 0.
    pub async fn load<A: Root>(&self, id: &str) -> Result<(A, i64), Failure> {
        let (mut aggregate, kept): (A, i64) = snapshot::newest(&self.pool, id, i64::MAX).await?;
        let events = self.events_after::<A>(id, kept).await?;
        let version = kept + i64::try_from(events.len()).unwrap_or(i64::MAX);
        fold(&mut aggregate, events);
        Ok((aggregate, version))
    }

    /// The state as of a position of the log, and the version it had.
    pub async fn load_as_of<A: Root>(&self, id: &str, position: i64) -> Result<(A, i64), Failure> {
        let (mut aggregate, kept): (A, i64) = snapshot::newest(&self.pool, id, position).await?;
        let stored = event_log::stream(&self.pool, (A::TYPE, id), kept, position).await?;
        let version = stored.last().map_or(kept, |e| e.sequence);
        fold(&mut aggregate, self.decode::<A>(stored).await?);
        Ok((aggregate, version))
    }

    /// All events of a stream, opened and upcast.
    pub async fn events<A: Root>(&self, id: &str) -> Result<Vec<A::Event>, Failure> {
        self.events_after::<A>(id, 0).await
    }

    async fn events_after<A: Root>(&self, id: &str, version: i64) -> Result<Vec<A::Event>, Failure> {
        let repository = PostgresEventRepository::new(self.pool.clone());
        let version = usize::try_from(version).unwrap_or(0);
        let serialized = repository.get_last_events::<A>(id, version).await.map_err(|error| Failure::Repository(error.to_string()))?;
        self.decode::<A>(serialized.into_iter().map(stored).collect()).await
    }

    async fn decode<A: Root>(&self, mut stored: Vec<StoredEvent>) -> Result<Vec<A::Event>, Failure> {
        self.sealer.open_all(&mut stored).await?;
        let decoded: Result<Vec<A::Event>, _> =
            stored.iter().map(|e| A::Event::from_payload(&e.event_type, version_number(&e.event_version), &e.payload)).collect();
        Ok(decoded?)
    }
}

/// The stored version text as a number; what isn't one decodes as unknown.
#[must_use]
pub fn version_number(text: &str) -> u16 {
    text.parse().unwrap_or(u16::MAX)
}

fn fold<A: Root>(aggregate: &mut A, events: Vec<A::Event>) {
    for event in events {
        aggregate.apply(event);
    }
}

/// The repository knows no position; opening and folding need none.
fn stored(event: SerializedEvent) -> StoredEvent {
    StoredEvent {
        position: 0,
        partition: 0,
        aggregate_type: event.aggregate_type,
        aggregate_id: event.aggregate_id,
        sequence: i64::try_from(event.sequence).unwrap_or(i64::MAX),
        event_id: uuid::Uuid::nil(),
        event_type: event.event_type,
        event_version: event.event_version,
        payload: event.payload.to_string(),
        metadata: String::new(),
        recorded_at: chrono::DateTime::UNIX_EPOCH,
    }
}
