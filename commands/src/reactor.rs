//! The reactor: carries out what events ask of the outside, and what is due at a time.
//!
//! It follows the log; each event that asks for a call becomes a row of `effect` in the transaction that moves its
//! checkpoint. A row stays until the outcome is in the log, so whatever dies is tried again, with the event's own
//! idempotency key: the provider carries it out once. Nothing here decides; outcomes go through the writer.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};
use domain::customer::SubjectEvent;
use domain::event::Event;
use domain::id::{OperationId, OrderId, PaymentId};
use domain::payment::{Evidence, Operation, OperationKind, Payment, PaymentEvent, ProviderFact};
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

use crate::answer::{CommandError, Failure, Origin};
use crate::checkout::PAYMENT_DEADLINE;
use crate::order;
use crate::payment::{self, Completes, Reported};
use crate::provider::{AuthorizeRequest, CaptureRequest, PaymentProvider, ProviderAnswer, ProviderError, RefundRequest, VoidRequest};
use crate::writer::Writer;

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
/// Deadlines taken up at once.
const DEADLINES_MAX: i64 = 100;
/// When a deadline whose order is still being paid is looked at again.
const DEADLINE_AGAIN_S: i64 = 30;
/// How long a command's repetition is recognised, in hours.
const IDEMPOTENCY_KEPT_H: i64 = 48;
/// Old records deleted at once, and how often.
const KEYS_FORGOTTEN_MAX: i64 = 1_000;
/// Age at which a token without a payment was surely left behind by a request that died; no append is on its way that long.
const TOKEN_ORPHANED_H: i64 = 1;
const FORGET_INTERVAL: Duration = Duration::from_mins(1);
/// Namespace of the ids of the reactor's own commands.
const COMMANDS: Uuid = Uuid::from_u128(0x8d3c_5b1e_0f7a_4c56_b9d2_7265_6163_746f);

pub struct Reactor {
    pool: PgPool,
    writer: Writer,
    /// `None`: nothing can be paid, so nothing has to be called.
    provider: Option<PaymentProvider>,
    feed: Feed,
    query_after: chrono::Duration,
    lease: chrono::Duration,
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
        tokio::join!(following, working);
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
                ("payment", "PaymentAuthorized" | "PaymentFailed") => spent.extend(event.aggregate_id.parse::<Uuid>().ok()),
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
        for Call { effect, permit, .. } in calls {
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

    async fn carry_out(&self, effect: Effect) {
        let result = self.call_and_record(&effect).await;
        if let Err(error) = result {
            tracing::warn!(payment.id = %effect.payment_id, attempts = effect.attempts, error = &error as &dyn std::error::Error, "a payment operation is tried again later");
            if let Err(error) = self.put_off(&effect).await {
                tracing::warn!(error = &error as &dyn std::error::Error, "a payment operation waits for its lease to end");
            }
        }
    }

    async fn call_and_record(&self, effect: &Effect) -> Result<(), CommandError> {
        let payment = self.payment(effect).await.map_err(CommandError::Internal)?;
        let open = payment.operation(effect.operation_id).filter(|operation| operation.outcome.is_open()).cloned();
        let Some(operation) = open else {
            self.done(effect);
            return Ok(());
        };
        let (token, completes) = match operation.kind {
            OperationKind::Authorize => self.token_and_checkout(&payment, effect.payment_id).await.map_err(CommandError::Internal)?,
            _ => (None, Completes::NotLookedUp),
        };
        let fact = match self.ask(effect, &payment, &operation, token).await {
            Ok(Some(fact)) => fact,
            Ok(None) => return self.again(effect).await,
            Err(ProviderError::Unreachable(cause)) => {
                tracing::warn!(error = ?cause, "the payment provider can't be reached");
                return self.put_off(effect).await.map_err(|e| CommandError::Internal(e.into()));
            }
            Err(ProviderError::Rejected { code }) => rejected(&operation, code),
            Err(ProviderError::Unknown { reason }) => {
                tracing::warn!(payment.id = %effect.payment_id, reason, "the outcome of a payment operation is unknown; it will be asked for");
                (unknown(&operation), None)
            }
        };
        let evidence = Evidence {
            operation_id: effect.operation_id,
            source: "response".to_owned(),
            provider_event_id: None,
            provider_ref: fact.1.clone(),
        };
        let reported = match fact.0 {
            Told::Fact(reported) => Reported { completes, ..*reported },
            Told::Domain(fact) => Reported { payment_id: effect.payment_id, evidence, fact, completes },
        };
        let is_open = matches!(reported.fact, ProviderFact::Unknown { .. } | ProviderFact::ActionRequired { .. });
        record_outcome(&self.writer, &self.pool, reported, effect.correlation_id, effect.causation_id).await?;
        if is_open {
            return self.again(effect).await;
        }
        self.done(effect);
        Ok(())
    }

    /// The payment that a call is of. Should it be closed meanwhile, the provider knows the call again and nothing new is recorded.
    async fn payment(&self, effect: &Effect) -> Result<Payment, Failure> {
        let id = effect.payment_id.to_string();
        let is_open = |payment: &Payment| payment.operation(effect.operation_id).is_some_and(|operation| operation.outcome.is_open());
        match self.writer.glimpse::<Payment>(&id).await.filter(is_open) {
            Some(payment) => Ok(payment),
            None => Ok(self.writer.loader().load::<Payment>(&id).await?.0),
        }
    }

    /// Calls the provider; after the first attempt it is asked what became of the call before.
    async fn ask(
        &self,
        effect: &Effect,
        payment: &Payment,
        operation: &Operation,
        token: Option<String>,
    ) -> Result<Option<(Told, Option<String>)>, ProviderError> {
        let provider = self.provider.as_ref().ok_or(ProviderError::Unreachable(None))?;
        if effect.attempts > 1
            && let Some(found) = provider.find_by_reference(effect.payment_id.uuid()).await?
            && let Some(fact) = found.fact_of(&effect.operation_id.to_string())
        {
            return Ok(payment::reported(fact, "query").map(|reported| (Told::Fact(Box::new(reported)), None)));
        }
        let answer = self.call(provider, payment, operation, token).await?;
        Ok(payment::reported(&answer.fact, "response").map(|reported| (Told::Fact(Box::new(reported)), None)))
    }

    async fn call(
        &self,
        provider: &PaymentProvider,
        payment: &Payment,
        operation: &Operation,
        token: Option<String>,
    ) -> Result<ProviderAnswer, ProviderError> {
        let idempotency_key = operation.idempotency_key.clone().unwrap_or_else(|| operation.operation_id.to_string());
        let amount = operation.amount.amount();
        let provider_ref = || {
            let known = payment.operations.iter().find_map(|o| o.provider_ref.clone());
            known.ok_or(ProviderError::Rejected { code: "never_authorized".to_owned() })
        };
        match operation.kind {
            OperationKind::Authorize => {
                let created = payment.created.as_ref().ok_or(ProviderError::Rejected { code: "not_created".to_owned() })?;
                let token = token.ok_or(ProviderError::Rejected { code: "token_missing".to_owned() })?;
                let request = AuthorizeRequest {
                    payment_id: created.payment_id.uuid(),
                    idempotency_key,
                    token,
                    amount,
                    currency: operation.amount.currency().as_str().to_owned(),
                    capture: false,
                    return_url: self.return_url.clone(),
                };
                provider.authorize(&request).await
            }
            OperationKind::Capture => {
                provider.capture(&CaptureRequest { provider_ref: provider_ref()?, idempotency_key, amount, is_final: true }).await
            }
            OperationKind::Void => provider.void(&VoidRequest { provider_ref: provider_ref()?, idempotency_key }).await,
            OperationKind::Refund => {
                let refund_id = operation.refund_id.map_or(operation.operation_id.uuid(), domain::id::RefundId::uuid);
                provider.refund(&RefundRequest { provider_ref: provider_ref()?, idempotency_key, amount, refund_id }).await
            }
        }
    }

    /// What an authorisation needs: the provider's token, and the checkout that waits for the outcome.
    async fn token_and_checkout(&self, payment: &Payment, payment_id: PaymentId) -> Result<(Option<String>, Completes), Failure> {
        let order_id = payment.created.as_ref().map(|created| created.order_id.to_string());
        let (sealed, checkout): (Option<Vec<u8>>, Option<Uuid>) = sqlx::query_as(
            "SELECT (SELECT sealed FROM sealed_secret WHERE secret_id = $1),
                    (SELECT key FROM idempotency WHERE state = 'running' AND aggregate_type = 'order' AND aggregate_id = $2 LIMIT 1)",
        )
        .bind(payment_id.uuid())
        .bind(order_id)
        .fetch_one(&self.pool)
        .await?;
        let open = |sealed: Vec<u8>| self.writer.loader().sealer().master().open_bytes(&sealed, &payment_id.to_string());
        let token = match sealed.map(open).transpose() {
            Ok(token) => token.map(|token| String::from_utf8_lossy(&token).into_owned()),
            Err(error) => {
                tracing::error!(error = &error as &dyn std::error::Error, "a provider's token can't be opened");
                None
            }
        };
        Ok((token, checkout.map_or(Completes::Nothing, Completes::Checkout)))
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

    /// The outcome is still to come: ask in a while.
    async fn again(&self, effect: &Effect) -> Result<(), CommandError> {
        self.schedule(effect, infra::clock::now() + self.query_after).await.map_err(|e| CommandError::Internal(e.into()))
    }

    async fn put_off(&self, effect: &Effect) -> Result<(), sqlx::Error> {
        let exponent = u32::try_from(effect.attempts.clamp(0, 16)).unwrap_or(0);
        let wait_ms = RETRY_MIN_MS.saturating_mul(1_i64 << exponent).min(RETRY_MAX_MS);
        self.schedule(effect, infra::clock::now() + chrono::Duration::milliseconds(wait_ms)).await
    }

    async fn schedule(&self, effect: &Effect, at: DateTime<Utc>) -> Result<(), sqlx::Error> {
        let update = sqlx::query("UPDATE effect SET next_attempt_at = $2 WHERE effect_id = $1");
        update.bind(effect.operation_id.uuid()).bind(at).execute(&self.pool).await.map(|_| ())
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
        sweep_tokens(&self.pool, now - chrono::Duration::hours(TOKEN_ORPHANED_H)).await
    }

    /// Expires orders whose payment is overdue; a deadline is deleted after its consequence has landed. It is due when this
    /// clock and the database's say so: one that jumps ahead takes nobody's time.
    async fn fire_deadlines(&self) -> Result<(), sqlx::Error> {
        let now = infra::clock::now();
        let due: Vec<(Uuid, String, String)> = sqlx::query_as(
            "SELECT deadline_id, kind, aggregate_id FROM deadline WHERE due_at <= least($1, clock_timestamp()) ORDER BY due_at LIMIT $2",
        )
        .bind(now)
        .bind(DEADLINES_MAX)
        .fetch_all(&self.pool)
        .await?;
        for (deadline_id, kind, id) in due {
            if kind != PAYMENT_DEADLINE {
                tracing::error!(kind, "a deadline of an unknown kind is due");
                continue;
            }
            let Ok(order_id) = id.parse::<OrderId>() else {
                continue;
            };
            let origin = Origin::system(NAME, Uuid::new_v5(&COMMANDS, deadline_id.as_bytes()), order_id.uuid(), deadline_id);
            match self.writer.execute(&origin, None, move |streams| order::expire(streams, order_id)).await {
                Ok(done) if done.output => {
                    sqlx::query("DELETE FROM deadline WHERE deadline_id = $1").bind(deadline_id).execute(&self.pool).await?;
                }
                Ok(_) => {
                    let later = now + chrono::Duration::seconds(DEADLINE_AGAIN_S);
                    sqlx::query("UPDATE deadline SET due_at = $2 WHERE deadline_id = $1")
                        .bind(deadline_id)
                        .bind(later)
                        .execute(&self.pool)
                        .await?;
                }
                Err(error) => {
                    tracing::warn!(order.id = id, error = &error as &dyn std::error::Error, "an order could not be expired; trying again");
                }
            }
        }
        Ok(())
    }
}

fn log_panic(ended: Result<(), tokio::task::JoinError>) {
    if let Err(error) = ended {
        tracing::error!(error = &error as &dyn std::error::Error, "a call to the provider ended by a panic; its row is tried again");
    }
}

/// What became of a call: the provider's own statement, or what its silence means.
enum Told {
    Fact(Box<Reported>),
    Domain(ProviderFact),
}

fn rejected(operation: &Operation, code: String) -> (Told, Option<String>) {
    let fact = match operation.kind {
        OperationKind::Authorize => ProviderFact::AuthorizationFailed { code, category: "rejected".to_owned() },
        OperationKind::Capture => ProviderFact::CaptureFailed { code },
        OperationKind::Void => ProviderFact::VoidFailed { code },
        OperationKind::Refund => {
            ProviderFact::RefundFailed { refund_id: operation.refund_id.unwrap_or_default(), amount: operation.amount, code: Some(code) }
        }
    };
    (Told::Domain(fact), None)
}

fn unknown(operation: &Operation) -> Told {
    Told::Domain(ProviderFact::Unknown { operation: operation.kind })
}

/// Records what a webhook says. Mostly the answer to our own call has said it before.
pub async fn record_webhook(writer: &Writer, pool: &PgPool, mut reported: Reported) -> Result<(), CommandError> {
    let payment_id = reported.payment_id.uuid();
    reported.completes = Completes::NotLookedUp;
    record_outcome(writer, pool, reported, payment_id, payment_id).await
}

/// Looks the checkout up that an outcome completes where it turns out to be needed.
async fn record_outcome(
    writer: &Writer,
    pool: &PgPool,
    mut reported: Reported,
    correlation_id: Uuid,
    causation_id: Uuid,
) -> Result<(), CommandError> {
    let origin = Origin::system("payments", infra::clock::new_id(), correlation_id, causation_id);
    let record = |reported: Reported| writer.execute(&origin, None, move |streams| payment::record(streams, &reported));
    match record(reported.clone()).await {
        Err(CommandError::Stale) => {
            reported.completes = running_checkout(pool, reported.payment_id).await?;
            record(reported).await.map(|_| ())
        }
        recorded => recorded.map(|_| ()),
    }
}

/// The checkout that waits for a payment, if it was called with an idempotency key.
async fn running_checkout(pool: &PgPool, payment_id: PaymentId) -> Result<Completes, CommandError> {
    let key: Option<Uuid> = sqlx::query_scalar(
        "SELECT i.key FROM idempotency i
         WHERE i.state = 'running' AND i.aggregate_type = 'order'
           AND i.aggregate_id = (SELECT e.payload->>'order_id' FROM events e
                                 WHERE e.aggregate_type = 'payment' AND e.aggregate_id = $1 AND e.sequence = 1) LIMIT 1",
    )
    .bind(payment_id.to_string())
    .fetch_optional(pool)
    .await
    .map_err(|e| CommandError::Internal(e.into()))?;
    Ok(key.map_or(Completes::Nothing, Completes::Checkout))
}

/// Keeps a provider's token sealed until the payment has it no more.
pub async fn keep_token(writer: &Writer, payment_id: PaymentId, token: &str) -> Result<(), Failure> {
    let sealed = writer.loader().sealer().master().seal_bytes(token.as_bytes(), &payment_id.to_string())?;
    sqlx::query("INSERT INTO sealed_secret (secret_id, sealed) VALUES ($1, $2)")
        .bind(payment_id.uuid())
        .bind(sealed)
        .execute(writer.loader().pool())
        .await?;
    Ok(())
}

/// Drops the tokens kept before `before` that no payment was started with.
pub async fn sweep_tokens(pool: &PgPool, before: DateTime<Utc>) -> Result<(), sqlx::Error> {
    sqlx::query(
        "DELETE FROM sealed_secret s
         WHERE s.created_at < $1
           AND NOT EXISTS (SELECT FROM events e
                           WHERE e.aggregate_type = 'payment' AND e.aggregate_id = s.secret_id::text AND e.sequence = 1)",
    )
    .bind(before)
    .execute(pool)
    .await?;
    Ok(())
}

/// Drops a token that no payment was started with.
pub async fn drop_token(writer: &Writer, payment_id: PaymentId) -> Result<(), Failure> {
    sqlx::query("DELETE FROM sealed_secret WHERE secret_id = $1").bind(payment_id.uuid()).execute(writer.loader().pool()).await?;
    Ok(())
}
