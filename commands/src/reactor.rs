//! The reactor: carries out what events ask of the outside, and what is due at a time.
//!
//! It follows the log; each event that asks for a call becomes a row of `effect` in the transaction that moves its
//! checkpoint. A row stays until the outcome is in the log, so whatever dies is tried again, with the event's own
//! idempotency key: the provider carries it out once. Nothing here decides; outcomes go through the writer.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use domain::customer::SubjectEvent;
use domain::event::Event;
use domain::id::{OperationId, PaymentId};
use domain::payment::PaymentEvent;
use futures::stream::{FuturesUnordered, StreamExt};
use infra::config::Config;
use infra::event_log::StoredEvent;
use infra::feed::{Feed, Tail};
use infra::sealing::KeyScope;
use infra::task::CancellationToken;
use sqlx::{PgConnection, PgPool, Row};
use tokio::sync::{Mutex, Notify, mpsc};
use tokio::time::MissedTickBehavior;
use uuid::Uuid;

use crate::payment::Late;
use crate::provider::PaymentProvider;
use crate::writer::Writer;

mod call;
mod deadline;
mod outcome;
mod reconcile;
pub mod secret;

pub use outcome::record_told;
pub use reconcile::{moves_money, park_unmatched, unmatched};

/// Its row in the table of checkpoints.
pub const NAME: &str = "reactor";
/// Connections of its pool.
pub const CONNECTIONS_MAX: u32 = 8;
/// Calls to the provider at once.
const CALLS_MAX: usize = 64;
/// Longest that events which ask for nothing wait for the checkpoint: most of them do.
const CHECKPOINT_INTERVAL: Duration = Duration::from_millis(500);
/// Most rows that are done and wait to be deleted with the next move of the checkpoint.
const FINISHED_MAX: usize = 1_000;
/// Longest wait before due rows are looked for anyway.
const POLL_INTERVAL: Duration = Duration::from_millis(500);
/// Wait before a call that could not be made is made again; doubled with each attempt up to [`RETRY_MAX_MS`].
const RETRY_MIN_MS: i64 = 500;
const RETRY_MAX_MS: i64 = 60_000;
/// How long a command's repetition is recognised, in hours.
const IDEMPOTENCY_KEPT_H: i64 = 48;
/// Old records deleted at once, and how often.
const KEYS_FORGOTTEN_MAX: i64 = 1_000;
/// Age at which a token without a payment was surely left behind by a request that died; no append is on its way that long.
const TOKEN_ORPHANED_H: i64 = 1;
const FORGET_INTERVAL: Duration = Duration::from_mins(1);

pub struct Reactor {
    pool: PgPool,
    writer: Writer,
    /// `None`: nothing can be paid, so nothing has to be called.
    provider: Option<PaymentProvider>,
    feed: Feed,
    query_after: chrono::Duration,
    lease: chrono::Duration,
    unknown_max: chrono::Duration,
    late: Late,
    reconcile_interval: Duration,
    return_url: Option<String>,
    wake: Arc<Notify>,
    /// Calls that were taken from the log and are made at once.
    fresh: mpsc::Sender<Effect>,
    taken: Mutex<mpsc::Receiver<Effect>>,
    /// Rows whose outcome is in the log. One that is not deleted comes due again, and is found done.
    finished: std::sync::Mutex<Vec<Uuid>>,
}

/// A row of `effect`.
#[derive(Debug, Clone)]
struct Effect {
    operation_id: OperationId,
    payment_id: PaymentId,
    correlation_id: Uuid,
    causation_id: Uuid,
    attempts: i32,
}

/// A call that is to be made, and the room to make it at once.
struct Call<'e> {
    effect: Effect,
    kind: &'e str,
    permit: Option<mpsc::OwnedPermit<Effect>>,
}

#[derive(Debug, thiserror::Error)]
enum ReactorError {
    #[error("the database can't be used")]
    Database(#[from] sqlx::Error),
    #[error("an event can't be read")]
    Event(#[from] domain::event::DecodeError),
    #[error("metadata is not JSON")]
    Metadata(#[from] serde_json::Error),
    #[error("a key can't be destroyed")]
    Seal(#[from] infra::sealing::SealError),
}

impl Reactor {
    #[must_use]
    pub fn new(pool: PgPool, writer: Writer, provider: Option<PaymentProvider>, feed: Feed, config: &Config) -> Self {
        let (fresh, taken) = mpsc::channel(CALLS_MAX);
        let ms = |ms: u64| chrono::Duration::milliseconds(i64::try_from(ms).unwrap_or(i64::MAX / 2));
        Self {
            pool,
            writer,
            provider,
            feed,
            query_after: ms(config.payments.query_after_ms),
            lease: ms(config.payments.provider_timeout_ms) + chrono::Duration::seconds(5),
            unknown_max: seconds(config.payments.unknown_max_s),
            late: late(config),
            reconcile_interval: reconcile::interval(config.payments.reconcile_interval_s),
            return_url: Some(&config.http.public_url).filter(|url| !url.is_empty()).map(|url| format!("{url}/")),
            wake: Arc::new(Notify::new()),
            fresh,
            taken: Mutex::new(taken),
            finished: std::sync::Mutex::default(),
        }
    }

    /// Runs until `stop`; calls in progress are finished or left to their rows.
    pub async fn run(self, stop: CancellationToken) {
        let reactor = Arc::new(self);
        let following = reactor.follow(&stop);
        let working = Arc::clone(&reactor).work(&stop);
        let reconciling = reactor.reconcile(&stop);
        tokio::join!(following, working, reconciling);
    }

    async fn follow(&self, stop: &CancellationToken) {
        while !stop.is_cancelled() {
            // Calls are for the process that can record their outcomes.
            tokio::select! { () = stop.cancelled() => return, () = self.writer.until_active(true) => {} }
            let ended = tokio::select! {
                () = stop.cancelled() => return,
                () = self.writer.until_active(false) => continue,
                ended = self.follow_log() => ended,
            };
            if let Err(error) = ended {
                tracing::warn!(error = &error as &dyn std::error::Error, "the reactor is behind; trying again");
            }
            tokio::select! { () = stop.cancelled() => return, () = tokio::time::sleep(POLL_INTERVAL) => {} }
        }
    }

    async fn follow_log(&self) -> Result<(), ReactorError> {
        sqlx::query("INSERT INTO checkpoint (projection, version, position) VALUES ($1, 1, 0) ON CONFLICT DO NOTHING")
            .bind(NAME)
            .execute(&self.pool)
            .await?;
        let position: i64 =
            sqlx::query_scalar("SELECT position FROM checkpoint WHERE projection = $1").bind(NAME).fetch_one(&self.pool).await?;
        let mut tail: Tail = self.feed.tail(position);
        // Kept, so that it is not asked at each use whether it still answers.
        let mut connection = self.pool.acquire().await?;
        let (mut before, mut saved_at) = (position, tokio::time::Instant::now());
        loop {
            let events = match tokio::time::timeout(CHECKPOINT_INTERVAL, tail.next()).await {
                Ok(events) => events?,
                Err(_silence) if tail.position() == before && self.finished().is_empty() => continue,
                Err(_silence) => Arc::default(),
            };
            let asks = events.iter().any(|event| matches!(event.aggregate_type.as_str(), "payment" | "subject"));
            if !asks && !events.is_empty() && saved_at.elapsed() < CHECKPOINT_INTERVAL {
                continue;
            }
            if !self.take(&events, before, tail.position(), &mut connection).await? {
                return Ok(());
            }
            (before, saved_at) = (tail.position(), tokio::time::Instant::now());
        }
    }

    /// Turns the events that ask for something, of those up to `position`, into rows to be worked on, deletes the rows that are
    /// done, and moves the checkpoint, in one statement. `false`: somebody else has moved it.
    async fn take(&self, events: &[StoredEvent], before: i64, position: i64, connection: &mut PgConnection) -> Result<bool, ReactorError> {
        let (mut calls, mut spent) = (Vec::new(), Vec::new());
        for event in events {
            match (event.aggregate_type.as_str(), event.event_type.as_str()) {
                ("payment", "PaymentAuthorized" | "PaymentFailed" | "PaymentVoided") => {
                    spent.extend(event.aggregate_id.parse::<Uuid>().ok());
                }
                ("payment", _) => calls.extend(self.asked(event)?),
                ("subject", _) => self.destroy_key(event).await?,
                _ => {}
            }
        }
        let now = infra::clock::now();
        let finished = std::mem::take(&mut *self.finished());
        let due = |call: &Call| if call.permit.is_some() { now + self.lease } else { now };
        let (moved, inserted): (bool, Vec<Uuid>) = sqlx::query_as(
            "WITH moved AS (
                 UPDATE checkpoint SET position = $2, updated_at = $4 WHERE projection = $1 AND position = $3 RETURNING position),
             spent AS (
                 DELETE FROM sealed_secret WHERE secret_id = ANY ($5) AND EXISTS (SELECT FROM moved)),
             finished AS (
                 DELETE FROM effect WHERE effect_id = ANY ($13)),
             inserted AS (
                 INSERT INTO effect (effect_id, kind, aggregate_type, aggregate_id, correlation_id, causation_id, attempts,
                                     next_attempt_at)
                 SELECT id, kind, 'payment', payment, correlation, causation, attempts, due
                 FROM unnest($6::uuid[], $7::text[], $8::text[], $9::uuid[], $10::uuid[], $11::int[], $12::timestamptz[])
                      AS new (id, kind, payment, correlation, causation, attempts, due)
                 WHERE EXISTS (SELECT FROM moved)
                 ON CONFLICT ON CONSTRAINT effect_pk DO NOTHING RETURNING effect_id)
             SELECT EXISTS (SELECT FROM moved), ARRAY (SELECT effect_id FROM inserted)",
        )
        .bind(NAME)
        .bind(position)
        .bind(before)
        .bind(now)
        .bind(spent)
        .bind(calls.iter().map(|call| call.effect.operation_id.uuid()).collect::<Vec<_>>())
        .bind(calls.iter().map(|call| call.kind).collect::<Vec<_>>())
        .bind(calls.iter().map(|call| call.effect.payment_id.to_string()).collect::<Vec<_>>())
        .bind(calls.iter().map(|call| call.effect.correlation_id).collect::<Vec<_>>())
        .bind(calls.iter().map(|call| call.effect.causation_id).collect::<Vec<_>>())
        .bind(calls.iter().map(|call| call.effect.attempts).collect::<Vec<_>>())
        .bind(calls.iter().map(due).collect::<Vec<_>>())
        .bind(finished)
        .fetch_one(connection)
        .await?;
        for Call { effect, kind, permit } in calls {
            infra::fail_point::after_of(operation_kind(kind), "taken");
            match permit {
                // The row is there, so that the call comes again should this process die in it.
                Some(permit) if inserted.contains(&effect.operation_id.uuid()) => drop(permit.send(effect)),
                Some(_) => {}
                None => self.wake.notify_one(),
            }
        }
        Ok(moved)
    }

    /// The call that a payment's event asks for; without room for one its row is due at once.
    fn asked<'e>(&self, event: &'e StoredEvent) -> Result<Option<Call<'e>>, ReactorError> {
        let number = event.event_version.parse().unwrap_or(u16::MAX);
        // Only ids and kinds are looked at: what is sealed stays sealed.
        let operation_id = match event.event_type.as_str() {
            "AuthorizationRequested" | "CaptureRequested" | "VoidRequested" | "RefundRequested" => {
                match PaymentEvent::from_payload(&event.event_type, number, &event.payload)? {
                    PaymentEvent::AuthorizationRequested(e) => e.operation_id,
                    PaymentEvent::CaptureRequested(e) => e.operation_id,
                    PaymentEvent::VoidRequested(e) => e.operation_id,
                    PaymentEvent::RefundRequested(e) => e.operation_id,
                    _ => return Ok(None),
                }
            }
            _ => return Ok(None),
        };
        let metadata: HashMap<String, serde_json::Value> = serde_json::from_str(&event.metadata)?;
        let id = |name: &str| metadata.get(name).and_then(|v| v.as_str()).and_then(|t| t.parse::<Uuid>().ok());
        let permit = self.fresh.clone().try_reserve_owned().ok();
        let effect = Effect {
            operation_id,
            payment_id: event.aggregate_id.parse().unwrap_or_default(),
            correlation_id: id("correlation_id").unwrap_or(event.event_id),
            causation_id: event.event_id,
            attempts: i32::from(permit.is_some()),
        };
        Ok(Some(Call { effect, kind: &event.event_type, permit }))
    }

    async fn destroy_key(&self, event: &StoredEvent) -> Result<(), ReactorError> {
        let number = event.event_version.parse().unwrap_or(u16::MAX);
        if let SubjectEvent::SubjectErased(erased) = SubjectEvent::from_payload(&event.event_type, number, &event.payload)?
            && let Ok(subject_id) = event.aggregate_id.parse()
        {
            let scope = KeyScope { subject_id, purpose: erased.purpose.as_str() };
            self.writer.loader().sealer().destroy(scope).await?;
        }
        Ok(())
    }

    /// Each call is a task of its own: one that holds a connection goes on while this loop waits for one.
    async fn work(self: Arc<Self>, stop: &CancellationToken) {
        let mut calls = FuturesUnordered::new();
        let mut taken = self.taken.lock().await;
        let make = |effect: Effect| {
            let reactor = Arc::clone(&self);
            infra::task::spawn(async move { reactor.carry_out(effect).await })
        };
        let (mut forgotten_at, mut fired_at) = (tokio::time::Instant::now(), None::<tokio::time::Instant>);
        // Rows that died with an earlier process, were put off, or had no room when they were taken.
        let mut look = true;
        let mut polls = tokio::time::interval(POLL_INTERVAL);
        polls.set_missed_tick_behavior(MissedTickBehavior::Delay);
        while !stop.is_cancelled() {
            if look && self.writer.is_active() {
                let room = CALLS_MAX.saturating_sub(calls.len());
                match self.due(room).await {
                    Ok(effects) => calls.extend(effects.into_iter().map(make)),
                    Err(error) => tracing::warn!(error = &error as &dyn std::error::Error, "due calls can't be read"),
                }
            }
            let is_full = calls.len() >= CALLS_MAX;
            if forgotten_at.elapsed() > FORGET_INTERVAL {
                forgotten_at = tokio::time::Instant::now();
                if let Err(error) = self.forget().await {
                    tracing::warn!(error = &error as &dyn std::error::Error, "old idempotency keys and tokens stay for now");
                }
            }
            if self.writer.is_active() && fired_at.is_none_or(|fired_at| fired_at.elapsed() > POLL_INTERVAL) {
                fired_at = Some(tokio::time::Instant::now());
                if let Err(error) = self.fire_deadlines().await {
                    tracing::warn!(error = &error as &dyn std::error::Error, "deadlines can't be read");
                }
            }
            look = tokio::select! {
                () = stop.cancelled() => false,
                Some(effect) = taken.recv(), if !is_full => {
                    calls.push(make(effect));
                    false
                }
                () = self.wake.notified(), if !is_full => true,
                _ = polls.tick() => true,
                Some(ended) = calls.next(), if !calls.is_empty() => {
                    log_panic(ended);
                    is_full
                }
            };
        }
        while let Ok(effect) = taken.try_recv() {
            calls.push(make(effect));
        }
        while let Some(ended) = calls.next().await {
            log_panic(ended);
        }
    }

    /// Takes due rows; each is put off by its lease, so that it comes again if we die.
    async fn due(&self, room: usize) -> Result<Vec<Effect>, sqlx::Error> {
        if room == 0 {
            return Ok(Vec::new());
        }
        let now = infra::clock::now();
        let rows = sqlx::query(
            "UPDATE effect SET attempts = attempts + 1, next_attempt_at = $2
             WHERE effect_id IN (SELECT effect_id FROM effect WHERE next_attempt_at <= $1
                                 ORDER BY next_attempt_at LIMIT $3 FOR UPDATE SKIP LOCKED)
             RETURNING effect_id, aggregate_id, correlation_id, causation_id, attempts",
        )
        .bind(now)
        .bind(now + self.lease)
        .bind(i64::try_from(room).unwrap_or(1))
        .fetch_all(&self.pool)
        .await?;
        rows.iter()
            .map(|row| {
                Ok(Effect {
                    operation_id: OperationId::new(row.try_get("effect_id")?),
                    payment_id: row.try_get::<String, _>("aggregate_id")?.parse().unwrap_or_default(),
                    correlation_id: row.try_get("correlation_id")?,
                    causation_id: row.try_get("causation_id")?,
                    attempts: row.try_get("attempts")?,
                })
            })
            .collect()
    }

    /// The outcome is in the log: nothing is left to do.
    fn done(&self, effect: &Effect) {
        let mut finished = self.finished();
        if finished.len() < FINISHED_MAX {
            finished.push(effect.operation_id.uuid());
        }
    }

    fn finished(&self) -> std::sync::MutexGuard<'_, Vec<Uuid>> {
        self.finished.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// Forgets old idempotency records, few at a time, and the tokens of requests that died before their append.
    async fn forget(&self) -> Result<(), sqlx::Error> {
        let now = infra::clock::now();
        sqlx::query(
            "DELETE FROM idempotency WHERE key IN (SELECT key FROM idempotency WHERE created_at < $1 ORDER BY created_at LIMIT $2)",
        )
        .bind(now - chrono::Duration::hours(IDEMPOTENCY_KEPT_H))
        .bind(KEYS_FORGOTTEN_MAX)
        .execute(&self.pool)
        .await?;
        secret::sweep(&self.pool, now - chrono::Duration::hours(TOKEN_ORPHANED_H)).await
    }
}

fn seconds(seconds: u64) -> chrono::Duration {
    i64::try_from(seconds).ok().and_then(chrono::Duration::try_seconds).unwrap_or(chrono::Duration::MAX)
}

/// How long late money may revive an order, as the store says.
#[must_use]
pub fn late(config: &Config) -> Late {
    Late { reinstate_window: seconds(config.store.reinstate_window_s) }
}

/// The operation that an event asks for, in the word of the interface.
fn operation_kind(event_type: &str) -> &'static str {
    match event_type {
        "AuthorizationRequested" => "authorize",
        "CaptureRequested" => "capture",
        "VoidRequested" => "void",
        _ => "refund",
    }
}

fn log_panic(ended: Result<(), tokio::task::JoinError>) {
    if let Err(error) = ended {
        tracing::error!(error = &error as &dyn std::error::Error, "a call to the provider ended by a panic; its row is tried again");
    }
}
