//! The projector: follows the log and keeps read models true to it.
//!
//! A batch of events and the checkpoint behind it are one transaction, so every event takes effect exactly once whatever
//! dies. A stream whose event can't be applied is parked; all others go on. A projector of a second process is fenced by
//! the checkpoint's own position. Partition leases will stand where [`Projector::begin`] reads the checkpoint today.

use std::collections::{HashMap, HashSet};
use std::future::Future;
use std::marker::PhantomData;
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use infra::event_log::{self, StoredEvent, Stretch};
use infra::feed::Feed;
use infra::sealing::{SealError, Sealer};
use infra::task::CancellationToken;
use sqlx::pool::PoolConnection;
use sqlx::postgres::PgArguments;
use sqlx::query::QueryScalar;
use sqlx::{Connection, PgConnection, PgPool, Postgres};
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, timeout_at};

use crate::parked;

/// Wait after a failure; doubled up to [`RETRY_MAX`].
const RETRY_MIN: Duration = Duration::from_millis(50);
const RETRY_MAX: Duration = Duration::from_secs(5);
/// Between two transactions a projection rests three times as long as the last one took, within these bounds: under load several
/// batches become one, the more the busier the database is. What comes after a rest, or what a reader of this process waits for,
/// is applied at once.
const REST: u32 = 3;
const REST_MIN: Duration = Duration::from_millis(5);
const REST_MAX: Duration = Duration::from_millis(20);
/// Most events that are gathered for one transaction.
const GATHERED_MAX: usize = 1_000;
/// Far behind, the log is read in stretches of so many positions, so many of them ahead of what is folded; rows are written
/// only after so many events or bytes of them, each once.
const STRETCH: i64 = 1_000;
const STRETCHES_AHEAD: usize = 4;
const UNWRITTEN_EVENTS_MAX: usize = 100_000;
const UNWRITTEN_BYTES_MAX: usize = 32 << 20;
/// How often a projection with nothing to do looks whether it was paused or set back.
const CHECK_INTERVAL: Duration = Duration::from_millis(500);
/// How often a paused projection looks whether it may go on.
const PAUSE_POLL: Duration = Duration::from_millis(250);
/// Between saying that a read model is being made anew and emptying it: whoever has looked before has read by then.
const NOTICE: Duration = Duration::from_millis(500);

/// Rows of some thousand bytes are compressed by lz4, which takes a fraction of pglz's time. Not every server has it.
const COMPRESSION: &str = "
    DO $$
    DECLARE
        t regclass;
    BEGIN
        FOR t IN SELECT attrelid FROM pg_attribute JOIN pg_class ON pg_class.oid = attrelid
                 WHERE relnamespace = 'SCHEMA'::regnamespace AND relkind = 'r' AND attname = 'state' AND attcompression <> 'l'
        LOOP
            EXECUTE format('ALTER TABLE %s ALTER COLUMN state SET COMPRESSION lz4', t);
        END LOOP;
    EXCEPTION WHEN feature_not_supported THEN
        NULL;
    END
    $$";

/// A read model: which events it takes, and what it makes of them.
pub trait Projection: Send + Sync + 'static {
    /// Also the first part of its schema's name.
    const NAME: &'static str;
    /// Counted up when its tables or their meaning change; the schema is `<name>_v<version>`.
    const VERSION: i32;
    /// Its tables, created in its schema.
    const DDL: &'static str;

    /// Its tables that keep an aggregate's fold, by aggregate type.
    const TABLES: &'static [(&'static str, &'static str)];

    /// Aggregate types whose events it wants; others only move its checkpoint.
    const TYPES: &'static [&'static str];

    /// What it has folded and not written, and what it remembers of its rows.
    type States: Default + Send + Sync;

    /// Folds events of wanted types, in position order. A state that is not held is read from its row.
    fn fold(
        events: &[StoredEvent],
        states: &mut Self::States,
        connection: &mut PgConnection,
    ) -> impl Future<Output = Result<(), ApplyError>> + Send;

    /// Writes what was folded, within the transaction that also moves the checkpoint.
    fn write(states: &mut Self::States, connection: &mut PgConnection) -> impl Future<Output = Result<(), ApplyError>> + Send;

    /// As [`Self::write`], in one statement that takes the step too, and says whether it was taken. `None`: one statement does not
    /// do, nothing was written.
    fn write_with(
        states: &mut Self::States,
        step: &Step,
        connection: &mut PgConnection,
    ) -> impl Future<Output = Result<Option<bool>, ApplyError>> + Send {
        let _ = (states, step, connection);
        async { Ok(None) }
    }
}

/// A move of a checkpoint. It is taken only if the checkpoint is where its projector has left it.
#[derive(Debug)]
pub struct Step {
    projection: &'static str,
    from: i64,
    to: i64,
    revision: i64,
}

impl Step {
    /// For statements within a transaction that has taken its step.
    pub const TAKEN: Self = Self { projection: "", from: 0, to: 0, revision: 0 };

    /// A statement that takes a step, then writes. Each of `writes`, common table expressions, must be `WHERE (SELECT is_taken
    /// FROM step)`; their parameters begin with `$6`.
    #[must_use]
    pub fn statement(writes: &str) -> String {
        format!(
            "WITH moved AS (
                 UPDATE public.checkpoint
                 SET position = $2, updated_at = $4,
                     status = CASE WHEN status = 'live'
                                     OR $2 >= (SELECT last_position FROM public.event_batch ORDER BY batch DESC LIMIT 1)
                                   THEN 'live' ELSE status END
                 WHERE projection = $1 AND position = $3 AND revision = $5 AND status <> 'paused' RETURNING position),
             step AS (SELECT $1 = '' OR EXISTS (SELECT FROM moved) AS is_taken),
             {writes}
             SELECT is_taken FROM step"
        )
    }

    /// A statement of [`Self::statement`], this step's parameters bound.
    pub fn bind<'q>(&self, statement: &'q str) -> QueryScalar<'q, Postgres, bool, PgArguments> {
        sqlx::query_scalar(statement).bind(self.projection).bind(self.to).bind(self.from).bind(infra::clock::now()).bind(self.revision)
    }

    /// Takes the step alone.
    async fn take(&self, connection: &mut PgConnection) -> Result<bool, sqlx::Error> {
        static TAKE: LazyLock<String> = LazyLock::new(|| Step::statement("nothing AS (SELECT)"));
        self.bind(&TAKE).fetch_one(connection).await
    }
}

#[derive(Debug, thiserror::Error)]
pub enum ApplyError {
    /// The read model can't be written now; the batch is tried again.
    #[error("the read model can't be written")]
    Database(#[from] sqlx::Error),
    #[error("personal data can't be opened")]
    Seal(#[from] SealError),
    /// One event can't be applied, ever, by this program: its stream is parked.
    #[error("the event at position {position} can't be applied: {reason}")]
    Poison { position: i64, reason: String },
}

impl ApplyError {
    fn is_poison(&self) -> bool {
        match self {
            Self::Poison { .. } | Self::Seal(SealError::Broken | SealError::Payload) => true,
            Self::Database(sqlx::Error::Database(error)) => error.code().is_some_and(|code| is_of_the_data(&code)),
            Self::Database(_) | Self::Seal(_) => false,
        }
    }

    /// Why the event can't be applied by this program, ever; the error itself where trying again may help. Never the
    /// database's own text, nor that of a decoder: both quote values, which may be personal.
    pub(crate) fn poison(self) -> Result<String, Self> {
        match self {
            Self::Poison { reason, .. } => Ok(reason),
            Self::Seal(SealError::Broken) => Ok(SealError::Broken.to_string()),
            Self::Seal(SealError::Payload) => Ok(SealError::Payload.to_string()),
            Self::Database(sqlx::Error::Database(error)) if error.code().is_some_and(|code| is_of_the_data(&code)) => {
                let code = error.code().unwrap_or_default().into_owned();
                let constraint = error.constraint().map_or_else(String::new, |name| format!(", constraint {name}"));
                Ok(format!("the read model's table refuses it: SQLSTATE {code}{constraint}"))
            }
            error => Err(error),
        }
    }
}

/// Data exceptions and violated constraints come again with the same rows.
fn is_of_the_data(sqlstate: &str) -> bool {
    sqlstate.starts_with("22") || sqlstate.starts_with("23")
}

/// What is read ahead of the fold.
type Stretches = mpsc::Receiver<Result<Stretch, sqlx::Error>>;

/// Where a projector goes on from.
struct Place<P: Projection> {
    /// Its checkpoint.
    position: i64,
    /// What is parked, as of this revision of the checkpoint.
    parked: HashSet<(String, String)>,
    revision: i64,
    states: P::States,
}

impl<P: Projection> Place<P> {
    fn step(&self, to: i64) -> Step {
        Step { projection: P::NAME, from: self.position, to, revision: self.revision }
    }

    fn is_parked(&self, event: &StoredEvent) -> bool {
        !self.parked.is_empty() && self.parked.contains(&(event.aggregate_type.clone(), event.aggregate_id.clone()))
    }
}

/// Runs one projection.
#[derive(Debug)]
pub struct Projector<P> {
    pool: PgPool,
    feed: Feed,
    sealer: Sealer,
    progress: Progress,
    projection: PhantomData<P>,
}

/// How far the projectors of this process have come, for those who wait: the checkpoints then need no asking; and how far they
/// are waited for.
#[derive(Debug, Clone, Default)]
pub struct Progress {
    reached: watch::Sender<HashMap<&'static str, i64>>,
    awaited: watch::Sender<HashMap<String, i64>>,
}

impl Progress {
    fn reached(&self, projection: &'static str, position: i64) {
        self.reached.send_if_modified(|reached| reached.insert(projection, position) != Some(position));
    }

    /// Whether this process has projectors.
    #[must_use]
    pub fn is_known(&self) -> bool {
        !self.reached.borrow().is_empty()
    }

    /// Waits until a projector of this process has come to a position.
    pub async fn reach(&self, projection: &str, position: i64) {
        self.awaited.send_if_modified(|awaited| match awaited.get_mut(projection) {
            Some(known) if *known >= position => false,
            Some(known) => {
                *known = position;
                true
            }
            None => awaited.insert(projection.to_owned(), position).is_none(),
        });
        let mut reached = self.reached.subscribe();
        let has_come = |reached: &HashMap<&str, i64>| reached.get(projection).is_some_and(|at| *at >= position);
        if reached.wait_for(has_come).await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}

/// The schema of a projection's version.
#[must_use]
pub fn schema<P: Projection>() -> String {
    format!("{}_v{}", P::NAME, P::VERSION)
}

/// Creates a projection's schema, tables and checkpoint where they are missing.
pub async fn migrate<P: Projection>(pool: &PgPool) -> Result<(), sqlx::Error> {
    let schema = schema::<P>();
    let mut transaction = pool.begin().await?;
    let lock = sqlx::query("SELECT pg_advisory_xact_lock(hashtext($1))").bind(&schema);
    lock.execute(&mut *transaction).await?;
    let known: bool = sqlx::query_scalar("SELECT EXISTS (SELECT FROM pg_namespace WHERE nspname = $1)")
        .bind(&schema)
        .fetch_one(&mut *transaction)
        .await?;
    if !known {
        sqlx::raw_sql(&format!("CREATE SCHEMA {schema}; SET LOCAL search_path = {schema}; {}", P::DDL)).execute(&mut *transaction).await?;
        sqlx::query("DELETE FROM public.checkpoint WHERE projection = $1").bind(P::NAME).execute(&mut *transaction).await?;
        sqlx::query("DELETE FROM public.parked_event WHERE projection = $1").bind(P::NAME).execute(&mut *transaction).await?;
    }
    sqlx::raw_sql(&COMPRESSION.replace("SCHEMA", &schema)).execute(&mut *transaction).await?;
    sqlx::query("INSERT INTO public.checkpoint (projection, version, position) VALUES ($1, $2, 0) ON CONFLICT DO NOTHING")
        .bind(P::NAME)
        .bind(P::VERSION)
        .execute(&mut *transaction)
        .await?;
    transaction.commit().await
}

impl<P: Projection> Projector<P> {
    #[must_use]
    pub fn new(pool: PgPool, feed: Feed, sealer: Sealer, progress: Progress) -> Self {
        Self { pool, feed, sealer, progress, projection: PhantomData }
    }

    fn reached(&self, place: &mut Place<P>, position: i64) {
        place.position = position;
        self.progress.reached(P::NAME, position);
        metrics::gauge!("daybook_projection_position", "projection" => P::NAME).set(position_metric(position));
    }

    /// Follows the log until `stop`; a batch that was begun is finished.
    pub async fn run(self, stop: CancellationToken) {
        let (mut wait, mut far) = (RETRY_MIN, true);
        while !stop.is_cancelled() {
            let followed = if far { self.catch_up(&stop).await } else { Ok(()) };
            let error = match (followed, far) {
                // Something can't be applied: in short strides it is found.
                (Err(error), true) if error.is_poison() => {
                    far = false;
                    continue;
                }
                (Ok(()), _) => match self.follow(&stop, &mut wait, far).await {
                    Ok(()) => continue,
                    Err(error) => error,
                },
                (Err(error), _) => error,
            };
            match error {
                ApplyError::Poison { position, reason } => {
                    tracing::error!(projection = P::NAME, position, reason, "a stream is parked");
                    if let Err(error) = parked::park::<P>(&self.pool, position, &reason).await {
                        tracing::error!(projection = P::NAME, error = &error as &dyn std::error::Error, "parking failed");
                    }
                    far = true;
                }
                error => {
                    tracing::warn!(
                        projection = P::NAME,
                        error = &error as &dyn std::error::Error,
                        "the projection is behind; trying again"
                    );
                    tokio::select! { () = stop.cancelled() => return, () = tokio::time::sleep(wait) => {} }
                    wait = (wait * 2).min(RETRY_MAX);
                }
            }
        }
    }

    /// Comes up to the log's end, however far that is: reading is ahead of folding, and each row is written once for many
    /// events.
    async fn catch_up(&self, stop: &CancellationToken) -> Result<(), ApplyError> {
        let Some(mut place) = self.begin(stop).await? else {
            return Ok(());
        };
        let (sender, stretches) = mpsc::channel(STRETCHES_AHEAD);
        let reading = infra::task::spawn(read_ahead(self.pool.acquire().await?, place.position, P::TYPES, sender));
        let caught_up = self.fold_ahead(&mut place, stretches, stop).await;
        // Ends by itself, now that nobody listens; a panic was logged by its hook.
        let _read = reading.await;
        caught_up
    }

    /// Folds what is read, and writes it whenever it has become much, and at the end.
    async fn fold_ahead(&self, place: &mut Place<P>, mut stretches: Stretches, stop: &CancellationToken) -> Result<(), ApplyError> {
        let mut connection = self.pool.acquire().await?;
        let (mut to, mut waiting, mut events, mut bytes) = (place.position, Vec::new(), 0, 0);
        loop {
            let stretch = tokio::select! { () = stop.cancelled() => None, stretch = stretches.recv() => stretch };
            let ended = stretch.is_none();
            if let Some(Stretch { events: stretch, last_position }) = stretch.transpose()? {
                let (parked, mut wanted): (Vec<_>, Vec<_>) = stretch.into_iter().partition(|event| place.is_parked(event));
                waiting.extend(parked);
                self.sealer.open_all(&mut wanted).await?;
                P::fold(&wanted, &mut place.states, &mut connection).await?;
                events += wanted.len();
                bytes += wanted.iter().map(|event| event.payload.len()).sum::<usize>();
                to = last_position;
            }
            if to > place.position && (ended || events >= UNWRITTEN_EVENTS_MAX || bytes >= UNWRITTEN_BYTES_MAX) {
                let last = place.step(to);
                if !write_all::<P>(&mut place.states, &last, &waiting, &mut connection).await? {
                    return Ok(());
                }
                self.reached(place, to);
                waiting.clear();
                (events, bytes) = (0, 0);
            }
            if ended {
                return Ok(());
            }
        }
    }

    /// Follows the log's end. Returns when the projection was paused or set back, or has fallen behind again and may go far.
    async fn follow(&self, stop: &CancellationToken, wait: &mut Duration, may_go_far: bool) -> Result<(), ApplyError> {
        let Some(mut place) = self.begin(stop).await? else {
            return Ok(());
        };
        let mut tail = self.feed.tail(place.position);
        // Kept, so that it is not asked at each use whether it still answers.
        let mut connection = self.pool.acquire().await?;
        let mut awaited = self.progress.awaited.subscribe();
        let mut rested_at = Instant::now();
        loop {
            let next = tokio::select! {
                () = stop.cancelled() => return Ok(()),
                next = tokio::time::timeout(CHECK_INTERVAL, tail.next()) => next,
            };
            let Ok(events) = next else {
                // Nothing new: somebody may have paused this projection, set it back or released a stream meanwhile.
                if self.checkpoint().await? == (place.position, place.revision, false) {
                    continue;
                }
                return Ok(());
            };
            let mut events = events?;
            while events.len() < GATHERED_MAX {
                let is_awaited = |at: &i64| *at > place.position && *at <= tail.position();
                if awaited.borrow_and_update().get(P::NAME).is_some_and(is_awaited) {
                    break;
                }
                // What was there already is taken even when the rest is over.
                let more = tokio::select! {
                    () = stop.cancelled() => break,
                    Ok(()) = awaited.changed() => continue,
                    more = timeout_at(rested_at, tail.next()) => more,
                };
                let Ok(more) = more else { break };
                Arc::make_mut(&mut events).extend_from_slice(&more?);
            }
            let began = Instant::now();
            if !self.apply_or_find(&events, &mut place, &mut connection).await? || (may_go_far && tail.is_behind()) {
                return Ok(());
            }
            rested_at = Instant::now() + (began.elapsed() * REST).clamp(REST_MIN, REST_MAX);
            *wait = RETRY_MIN;
        }
    }

    /// The place to go on from, and the streams that are parked. `None`: asked to stop while paused.
    async fn begin(&self, stop: &CancellationToken) -> Result<Option<Place<P>>, ApplyError> {
        self.until_resumed(stop).await?;
        if !stop.is_cancelled() && self.is_to_be_emptied().await? {
            tokio::select! { () = stop.cancelled() => {}, () = tokio::time::sleep(NOTICE) => empty::<P>(&self.pool).await? }
        }
        if stop.is_cancelled() {
            return Ok(None);
        }
        // The revision first: what is parked later than it is noticed by the next batch.
        let (position, revision, _paused) = self.checkpoint().await?;
        let parked: Vec<(String, String)> =
            sqlx::query_as("SELECT DISTINCT aggregate_type, aggregate_id FROM parked_event WHERE projection = $1")
                .bind(P::NAME)
                .fetch_all(&self.pool)
                .await?;
        self.progress.reached(P::NAME, position);
        Ok(Some(Place { position, parked: parked.into_iter().collect(), revision, states: P::States::default() }))
    }

    /// Where the checkpoint stands, its revision, and whether the projection is paused.
    async fn checkpoint(&self) -> Result<(i64, i64, bool), sqlx::Error> {
        sqlx::query_as("SELECT position, revision, status = 'paused' FROM checkpoint WHERE projection = $1")
            .bind(P::NAME)
            .fetch_one(&self.pool)
            .await
    }

    async fn is_to_be_emptied(&self) -> Result<bool, sqlx::Error> {
        sqlx::query_scalar("SELECT to_be_emptied FROM checkpoint WHERE projection = $1").bind(P::NAME).fetch_one(&self.pool).await
    }

    async fn until_resumed(&self, stop: &CancellationToken) -> Result<(), sqlx::Error> {
        while !stop.is_cancelled() {
            let status: String =
                sqlx::query_scalar("SELECT status FROM checkpoint WHERE projection = $1").bind(P::NAME).fetch_one(&self.pool).await?;
            if status != "paused" {
                return Ok(());
            }
            tokio::select! { () = stop.cancelled() => {}, () = tokio::time::sleep(PAUSE_POLL) => {} }
        }
        Ok(())
    }

    /// Applies a batch; where it holds something that can't be applied, event by event up to that one, which is named.
    async fn apply_or_find(&self, batch: &[StoredEvent], place: &mut Place<P>, connection: &mut PgConnection) -> Result<bool, ApplyError> {
        match self.apply(batch, place, connection).await.map_err(ApplyError::poison) {
            Ok(applied) => return Ok(applied),
            Err(Err(error)) => return Err(error),
            Err(Ok(_reason)) => {}
        }
        for event in batch {
            // What was folded before the failure is in no row.
            place.states = P::States::default();
            match self.apply(std::slice::from_ref(event), place, connection).await.map_err(ApplyError::poison) {
                Ok(true) => {}
                Ok(false) => return Ok(false),
                Err(Ok(reason)) => return Err(ApplyError::Poison { position: event.position, reason }),
                Err(Err(error)) => return Err(error),
            }
        }
        Ok(true)
    }

    /// Applies a batch and moves the checkpoint. `false`: the projection was paused or set back, begin anew.
    async fn apply(&self, batch: &[StoredEvent], place: &mut Place<P>, connection: &mut PgConnection) -> Result<bool, ApplyError> {
        let Some(last) = batch.last() else {
            return Ok(true);
        };
        let wanted = batch.iter().filter(|event| P::TYPES.contains(&event.aggregate_type.as_str())).cloned();
        let (waiting, mut wanted): (Vec<_>, Vec<_>) = wanted.partition(|event| place.is_parked(event));
        let step = place.step(last.position);
        let taken = if wanted.is_empty() && waiting.is_empty() {
            step.take(connection).await?
        } else {
            self.sealer.open_all(&mut wanted).await?;
            // Rows are read before the step is taken: should somebody write them in between, it is not.
            P::fold(&wanted, &mut place.states, connection).await?;
            let written = if waiting.is_empty() { P::write_with(&mut place.states, &step, connection).await? } else { None };
            match written {
                Some(taken) => taken,
                None => write_all::<P>(&mut place.states, &step, &waiting, connection).await?,
            }
        };
        if taken {
            self.reached(place, last.position);
        }
        Ok(taken)
    }
}

/// Writes what was folded, and parks what waits behind something parked, in one transaction with the step. `false`: it was not
/// taken, nothing is written.
async fn write_all<P: Projection>(
    states: &mut P::States,
    step: &Step,
    waiting: &[StoredEvent],
    connection: &mut PgConnection,
) -> Result<bool, ApplyError> {
    let mut transaction = connection.begin().await?;
    if !step.take(&mut transaction).await? {
        return Ok(false);
    }
    park_behind::<P>(waiting, &mut transaction).await?;
    P::write(states, &mut transaction).await?;
    transaction.commit().await?;
    Ok(true)
}

/// Reads the log ahead of whoever folds it, until its end or an error.
async fn read_ahead(
    mut reader: PoolConnection<Postgres>,
    mut after: i64,
    types: &'static [&'static str],
    stretches: mpsc::Sender<Result<Stretch, sqlx::Error>>,
) {
    while let Some(stretch) = event_log::stretch(&mut reader, after, STRETCH, types).await.transpose() {
        after = stretch.as_ref().map_or(after, |stretch| stretch.last_position);
        let failed = stretch.is_err();
        if stretches.send(stretch).await.is_err() || failed {
            return;
        }
    }
}

async fn park_behind<P: Projection>(waiting: &[StoredEvent], connection: &mut PgConnection) -> Result<(), sqlx::Error> {
    for event in waiting {
        parked::insert(connection, P::NAME, event, "waits behind a parked event of its stream").await?;
    }
    Ok(())
}

/// Has a projection made anew: its projector empties it in a moment, then reads the whole log again.
pub async fn rebuild<P: Projection>(pool: &PgPool) -> Result<(), sqlx::Error> {
    sqlx::query(
        "UPDATE checkpoint SET status = 'rebuilding', to_be_emptied = true, revision = revision + 1
         WHERE projection = $1 AND EXISTS (SELECT FROM events)",
    )
    .bind(P::NAME)
    .execute(pool)
    .await?;
    Ok(())
}

/// Empties a projection that is to be, and sets it back to the log's beginning.
async fn empty<P: Projection>(pool: &PgPool) -> Result<(), sqlx::Error> {
    let mut transaction = pool.begin().await?;
    let set_back = sqlx::query(
        "UPDATE checkpoint SET position = 0, to_be_emptied = false, revision = revision + 1
         WHERE projection = $1 AND to_be_emptied",
    );
    if set_back.bind(P::NAME).execute(&mut *transaction).await?.rows_affected() == 0 {
        return Ok(());
    }
    let tables: Vec<String> = sqlx::query_scalar("SELECT tablename::text FROM pg_tables WHERE schemaname = $1")
        .bind(schema::<P>())
        .fetch_all(&mut *transaction)
        .await?;
    for table in tables {
        sqlx::query(&format!("TRUNCATE {}.\"{table}\"", schema::<P>())).execute(&mut *transaction).await?;
    }
    sqlx::query("DELETE FROM parked_event WHERE projection = $1").bind(P::NAME).execute(&mut *transaction).await?;
    transaction.commit().await
}

#[expect(clippy::cast_precision_loss, reason = "a gauge; positions stay below 2^53")]
fn position_metric(position: i64) -> f64 {
    position as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_is_given_up_for_what_is_its_own_fault_alone() {
        assert!(ApplyError::Seal(SealError::Broken).poison().is_ok());
        assert!(ApplyError::Seal(SealError::Key).poison().is_err(), "with the right master key it is applied");
        assert!(ApplyError::Database(sqlx::Error::PoolTimedOut).poison().is_err());
    }
}
