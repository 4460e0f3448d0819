//! Our log under the traits of `cqrs_es`, so that its stock `CqrsFramework` works over it.
//!
//! One aggregate at a time, without idempotency and without cache; the shop's own commands go through the `writer`.
//! The snapshot and aggregate stores of cqrs-es 0.5.0 are not used: they apply every event twice.

use std::collections::HashMap;

use cqrs_es::{AggregateContext, AggregateError, EventEnvelope, EventStore};
use domain::event::{Event, Root};
use infra::event_store::{AppendCommand, AppendError, NewEvent, Outcome, StreamVersion, partition_of};
use infra::sealing::{KeyScope, PERSONAL_MARK};
use tokio::sync::Mutex;

use crate::loader::Loader;
use crate::streams::stream_id;

/// An `EventStore` over the append function. Personal fields are sealed for `scope`.
#[derive(Debug)]
pub struct CqrsEventStore {
    loader: Loader,
    store: Mutex<infra::event_store::EventStore>,
    scope: Option<KeyScope>,
}

impl CqrsEventStore {
    #[must_use]
    pub fn new(loader: Loader, store: infra::event_store::EventStore, scope: Option<KeyScope>) -> Self {
        Self { loader, store: Mutex::new(store), scope }
    }

    async fn sealed<E>(&self, payload: String, stream: &str, sequence: i64) -> Result<String, AggregateError<E>>
    where
        E: std::error::Error,
    {
        if !payload.contains(PERSONAL_MARK) {
            return Ok(payload);
        }
        let scope = self.scope.ok_or_else(|| unexpected("personal data of nobody"))?;
        let sealer = self.loader.sealer();
        let key = sealer.key_for(scope).await.map_err(unexpected)?;
        sealer.seal(&payload, &key, stream, sequence).map_err(unexpected)
    }
}

/// An aggregate and the version it was loaded at.
#[derive(Debug)]
pub struct CqrsContext<A> {
    id: String,
    aggregate: A,
    version: i64,
}

impl<A: Root> AggregateContext<A> for CqrsContext<A> {
    fn aggregate(&mut self) -> &mut A {
        &mut self.aggregate
    }
}

impl<A: Root> EventStore<A> for CqrsEventStore {
    type AC = CqrsContext<A>;

    async fn load_events(&self, id: &str) -> Result<Vec<EventEnvelope<A>>, AggregateError<A::Error>> {
        let events = self.loader.events::<A>(id).await.map_err(unexpected)?;
        let envelope = |(payload, sequence)| EventEnvelope { aggregate_id: id.to_owned(), sequence, payload, metadata: HashMap::new() };
        Ok(events.into_iter().zip(1..).map(envelope).collect())
    }

    async fn load_aggregate(&self, id: &str) -> Result<Self::AC, AggregateError<A::Error>> {
        let (aggregate, version) = self.loader.load::<A>(id).await.map_err(unexpected)?;
        Ok(CqrsContext { id: id.to_owned(), aggregate, version })
    }

    /// The context's aggregate has the events applied already: `cqrs_es` does it while it handles the command.
    async fn commit(
        &self,
        events: Vec<A::Event>,
        context: Self::AC,
        metadata: HashMap<String, String>,
    ) -> Result<Vec<EventEnvelope<A>>, AggregateError<A::Error>> {
        let stream = stream_id::<A>(&context.id);
        let partition = partition_of(&context.aggregate.partition_key(&context.id));
        let metadata_text = serde_json::to_string(&metadata).map_err(unexpected)?;
        let mut command = AppendCommand {
            decided_on: vec![StreamVersion { stream: stream.clone(), version: context.version }],
            ..AppendCommand::default()
        };
        let mut envelopes = Vec::with_capacity(events.len());
        for (payload, sequence) in events.into_iter().zip(context.version + 1..) {
            let text = payload.to_payload().map_err(unexpected)?;
            command.events.push(NewEvent {
                stream: stream.clone(),
                sequence,
                event_id: infra::clock::new_id(),
                event_type: payload.name(),
                event_version: payload.version(),
                payload: self.sealed(text, &stream.to_string(), sequence).await?,
                metadata: metadata_text.clone(),
                partition,
            });
            let sequence = usize::try_from(sequence).map_err(unexpected)?;
            envelopes.push(EventEnvelope { aggregate_id: context.id.clone(), sequence, payload, metadata: metadata.clone() });
        }
        let mut store = self.store.lock().await;
        let appended = match store.append(&[command]).await {
            Ok(appended) => Some(appended),
            Err(AppendError::Unknown(_)) => store.resolve().await.map_err(unexpected)?,
            Err(error) => return Err(unexpected(error)),
        };
        match appended.as_ref().and_then(|a| a.outcomes.first()) {
            Some(Outcome::Landed | Outcome::Confirmed) => Ok(envelopes),
            _ => Err(AggregateError::AggregateConflict),
        }
    }
}

fn unexpected<E: std::error::Error>(error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> AggregateError<E> {
    AggregateError::UnexpectedError(error.into())
}
