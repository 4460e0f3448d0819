//! The append: the only way anything gets into the log.
//!
//! Relies on the functions `append_whole` (`migrations/0008_append_whole.sql`), `append` (`0004_append.sql`) and
//! `append_resolve` (`0002_append.sql`), which check every stream that a command was decided on and give positions in commit
//! order. Promises: an outcome per command, or an
//! error that says whether the batch may still land.

use std::collections::HashMap;
use std::time::Duration;

use chrono::{DateTime, Utc};
use sha2::{Digest, Sha256};
use sqlx::encode::IsNull;
use sqlx::error::BoxDynError;
use sqlx::postgres::{PgArgumentBuffer, PgArguments, PgDatabaseError, PgHasArrayType, PgTypeInfo};
use sqlx::{Arguments, Connection, Encode, PgConnection, PgPool, Postgres, Row, Type};
use uuid::Uuid;

use crate::history;

/// Longest wait for the log's lock inside the append, in milliseconds; past it nothing was written.
pub const APPEND_LOCK_TIMEOUT_MS: u64 = 3_000;
/// Longest wait for the append's answer; past it the outcome is unknown and must be resolved.
pub const APPEND_ANSWER_TIMEOUT: Duration = Duration::from_secs(5);

/// Most events of other writers, between two batches, that are looked through.
const OTHERS_EVENTS_MAX: i64 = 4_096;

/// Streams whose version is known to have landed; more than that are forgotten.
const LANDED_STREAMS_MAX: usize = 65_536;

/// A stream: `aggregate_type/aggregate_id`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct StreamId {
    pub aggregate_type: &'static str,
    pub aggregate_id: String,
}

impl std::fmt::Display for StreamId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.aggregate_type, self.aggregate_id)
    }
}

/// A stream at the version a decision was made on; 0 is a stream that is not there yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StreamVersion {
    pub stream: StreamId,
    pub version: i64,
}

#[derive(Debug, Clone)]
pub struct NewEvent {
    pub stream: StreamId,
    /// Place in the stream, from 1.
    pub sequence: i64,
    pub event_id: Uuid,
    pub event_type: &'static str,
    pub event_version: u16,
    /// Exact JSON text; personal fields are sealed already.
    pub payload: String,
    pub metadata: String,
    /// 0..64, see [`partition_of`].
    pub partition: i16,
}

/// What a command with an idempotency key leaves behind for its repetition.
#[derive(Debug, Clone)]
pub struct IdempotencyRecord {
    pub key: Uuid,
    pub fingerprint: [u8; 32],
    /// More is to come: a later command `completes` it.
    pub running: bool,
    pub status: u16,
    /// The problem document's facts, when the answer was a refusal.
    pub problem: Option<String>,
    /// The aggregate that the answer is rendered from, and its version.
    pub aggregate: Option<StreamVersion>,
}

#[derive(Debug, Clone)]
pub struct NewDeadline {
    pub deadline_id: Uuid,
    pub kind: &'static str,
    pub stream: StreamId,
    pub due_at: DateTime<Utc>,
}

/// One decided command. Without events it is a refusal or a no-op, which only asserts what it read.
#[derive(Debug, Clone, Default)]
pub struct AppendCommand {
    /// Every stream that was written or only read, at the version before this command.
    pub decided_on: Vec<StreamVersion>,
    pub events: Vec<NewEvent>,
    pub idempotency: Option<IdempotencyRecord>,
    /// The idempotency key of an earlier, running command that this one finishes.
    pub completes: Option<Uuid>,
    pub deadlines: Vec<NewDeadline>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// Its events are in the log.
    Landed,
    /// A stream that it was decided on has changed: decide again.
    Conflict,
    /// The key was answered before with the same request.
    Replayed,
    /// The key was answered before with another request.
    KeyReused,
    /// No events; what it read still holds.
    Confirmed,
}

impl Outcome {
    /// Whether what was decided is so.
    #[must_use]
    pub fn stands(self) -> bool {
        matches!(self, Self::Landed | Self::Confirmed)
    }
}

/// What became of a batch.
#[derive(Debug, Clone)]
pub struct Appended {
    pub epoch: i32,
    pub batch: i64,
    /// One past the head before, also when nothing landed.
    pub first_position: i64,
    pub last_position: i64,
    pub recorded_at: DateTime<Utc>,
    pub outcomes: Vec<Outcome>,
    pub others: Others,
}

/// What other writers have added to the log since this one's last batch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Others {
    /// To these streams, each by its type and id; none as long as one process writes.
    Streams(Vec<(String, String)>),
    /// More than is looked through, or it could not be read.
    Unknown,
}

impl Others {
    const NOTHING: Self = Self::Streams(Vec::new());
}

impl Appended {
    /// Whether every command of the batch landed, or had nothing to land, and nobody else has written meanwhile.
    #[must_use]
    pub fn is_as_decided(&self) -> bool {
        self.others == Others::NOTHING && self.outcomes.iter().all(|outcome| outcome.stands())
    }
}

#[derive(Debug, thiserror::Error)]
pub enum AppendError {
    /// The batch may have landed, or may land yet: call [`EventStore::resolve`] before anything else.
    #[error("the outcome of the append is unknown")]
    Unknown(#[source] Option<sqlx::Error>),
    /// Nothing was written; trying later may help.
    #[error("the log can't be written now")]
    Unavailable(#[source] sqlx::Error),
    /// Nothing was written: the log has lost what this writer knows to have landed. A new epoch is open; whatever is in
    /// memory may be of the lost future.
    #[error("the log was set back; epoch {epoch} begins")]
    SetBack { epoch: i32 },
    /// Nothing was written; the same batch will fail again.
    #[error("the database refuses the batch")]
    Refused(#[source] sqlx::Error),
}

/// One writer's connection to the log. Not shared: a batch has one sender.
#[derive(Debug)]
pub struct EventStore {
    pool: PgPool,
    connection: Option<PgConnection>,
    writer_id: Uuid,
    batch_no: i64,
    /// The newest batch that is known to have landed.
    landed: Option<Landed>,
    /// The newest versions that landed over this connection. They are not lost while it lasts, so that the append need not
    /// look for them: should another writer have added to the stream meanwhile, the next event clashes by itself.
    streams: HashMap<StreamId, i64>,
    /// The epoch that was opened since the log had lost it; whoever sends the next batch is told.
    set_back: Option<i32>,
}

#[derive(Debug, Clone, Copy)]
struct Landed {
    epoch: i32,
    batch: i64,
    batch_no: i64,
    last_position: i64,
}

impl EventStore {
    #[must_use]
    pub fn new(pool: PgPool, writer_id: Uuid) -> Self {
        Self { pool, connection: None, writer_id, batch_no: 0, landed: None, streams: HashMap::new(), set_back: None }
    }

    /// Lands a batch: one round trip, one commit.
    pub async fn append(&mut self, commands: &[AppendCommand]) -> Result<Appended, AppendError> {
        self.batch_no += 1;
        let (writer_id, batch_no) = (self.writer_id, self.batch_no);
        self.connect().await.map_err(AppendError::Unavailable)?;
        if let Some(epoch) = self.set_back.take() {
            return Err(AppendError::SetBack { epoch });
        }
        let batch = Columns::of(commands, &self.streams);
        let outcomes = batch.outcomes();
        let whole = batch.whole(writer_id, batch_no, &outcomes);
        let connection = self.connect().await.map_err(AppendError::Unavailable)?;
        let mut answer = tokio::time::timeout(APPEND_ANSWER_TIMEOUT, call(connection, APPEND_WHOLE, whole, Some(&outcomes))).await;
        if matches!(&answer, Ok(Err(error)) if is_clash(error)) {
            // Nothing was written; each command is looked at for itself.
            let each = batch.each(writer_id, batch_no);
            answer = tokio::time::timeout(APPEND_ANSWER_TIMEOUT, call(connection, APPEND, each, None)).await;
        }
        let error = match answer {
            Ok(Ok(mut appended)) => {
                let Appended { epoch, batch, first_position, last_position, .. } = appended;
                if let Some(before) = self.landed.replace(Landed { epoch, batch, batch_no, last_position }) {
                    appended.others = self.others(before.last_position, first_position).await;
                }
                self.remember(commands, &appended);
                return Ok(appended);
            }
            Ok(Err(error)) => Some(error),
            Err(_elapsed) => None,
        };
        Err(match error {
            // An error that the server sent means that it rolled back, and the connection is sound.
            Some(error) if is_lock_timeout(&error) => AppendError::Unavailable(error),
            Some(error) if is_answer(&error) => AppendError::Refused(error),
            error => {
                self.connection = None;
                AppendError::Unknown(error)
            }
        })
    }

    /// What others have written between two positions.
    async fn others(&mut self, after: i64, before: i64) -> Others {
        if before <= after + 1 {
            return Others::NOTHING;
        }
        let Some(connection) = self.connection.as_mut().filter(|_| before - after <= OTHERS_EVENTS_MAX) else { return Others::Unknown };
        let streams = sqlx::query_as("SELECT DISTINCT aggregate_type, aggregate_id FROM events WHERE position > $1 AND position < $2")
            .bind(after)
            .bind(before)
            .fetch_all(connection);
        if let Ok(Ok(streams)) = tokio::time::timeout(APPEND_ANSWER_TIMEOUT, streams).await {
            Others::Streams(streams)
        } else {
            self.connection = None;
            Others::Unknown
        }
    }

    fn remember(&mut self, commands: &[AppendCommand], appended: &Appended) {
        if self.streams.len() > LANDED_STREAMS_MAX {
            self.streams.clear();
        }
        let landed = commands.iter().zip(&appended.outcomes).filter(|(_, outcome)| **outcome == Outcome::Landed);
        for event in landed.flat_map(|(command, _)| &command.events) {
            match self.streams.get_mut(&event.stream) {
                Some(version) => *version = event.sequence,
                None => {
                    self.streams.insert(event.stream.clone(), event.sequence);
                }
            }
        }
    }

    /// What became of the newest batch; `None` when it did not land and now never will.
    pub async fn resolve(&mut self) -> Result<Option<Appended>, sqlx::Error> {
        let (writer_id, batch_no) = (self.writer_id, self.batch_no);
        let connection = self.connect().await?;
        let resolved = async {
            let row = sqlx::query("SELECT * FROM append_resolve($1, $2)").bind(writer_id).bind(batch_no).fetch_one(connection).await?;
            appended(&row, &row.try_get::<Vec<i16>, _>("o_outcomes")?)
        };
        match tokio::time::timeout(APPEND_ANSWER_TIMEOUT, resolved).await {
            Ok(Ok(found)) => Ok((!found.outcomes.is_empty()).then_some(found)),
            Ok(Err(error)) => {
                self.connection = None;
                Err(error)
            }
            Err(_elapsed) => {
                self.connection = None;
                Err(sqlx::Error::PoolTimedOut)
            }
        }
    }

    async fn connect(&mut self) -> Result<&mut PgConnection, sqlx::Error> {
        if self.connection.is_none() {
            let options = self.pool.connect_options();
            let connect = PgConnection::connect_with(&options);
            let mut connection =
                tokio::time::timeout(APPEND_ANSWER_TIMEOUT, connect).await.map_err(|_elapsed| sqlx::Error::PoolTimedOut)??;
            sqlx::query(
                "SELECT set_config('lock_timeout', $1, false), set_config('plan_cache_mode', 'force_generic_plan', false),
                        set_config('enable_seqscan', 'off', false)",
            )
            .bind(APPEND_LOCK_TIMEOUT_MS.to_string())
            .execute(&mut connection)
            .await?;
            self.check_landed(&mut connection).await?;
            self.streams.clear();
            self.connection = Some(connection);
        }
        self.connection.as_mut().ok_or(sqlx::Error::PoolClosed)
    }

    /// The server that answers now must have what the one before had acknowledged; if not, a new epoch is opened.
    async fn check_landed(&mut self, connection: &mut PgConnection) -> Result<(), sqlx::Error> {
        let Some(Landed { epoch, batch, batch_no, .. }) = self.landed else { return Ok(()) };
        let known: bool =
            sqlx::query_scalar("SELECT EXISTS (SELECT FROM event_batch WHERE batch = $1 AND writer_id = $2 AND batch_no = $3)")
                .bind(batch)
                .bind(self.writer_id)
                .bind(batch_no)
                .fetch_one(connection)
                .await?;
        if !known {
            self.set_back = Some(history::open(&self.pool, epoch, "a writer's last batch is not in the log").await?.epoch);
            self.landed = None;
        }
        Ok(())
    }
}

/// FNV-1a (32 bit) of the partition key, modulo 64: fixed for the life of a log.
#[must_use]
pub fn partition_of(key: &str) -> i16 {
    let hash = key.bytes().fold(0x811c_9dc5_u32, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193));
    (hash % 64) as i16
}

/// The digest of one event as the hash chain takes it: exact texts, stream, place in it, id; each part with its length.
#[must_use]
pub fn event_digest(stream: (&str, &str), sequence: i64, event_id: Uuid, kind: (&str, &str), payload: &str, metadata: &str) -> [u8; 32] {
    let mut hash = Sha256::new();
    for part in [stream.0, stream.1, kind.0, kind.1, payload, metadata] {
        hash.update((part.len() as u64).to_be_bytes());
        hash.update(part);
    }
    hash.update(sequence.to_be_bytes());
    hash.update(event_id.as_bytes());
    hash.finalize().into()
}

/// Whether the next event of a stream, which the command writes, says all that there is to check: it clashes where another
/// writer was faster, and what it follows on is there.
fn checks_itself(command: &AppendCommand, at: &StreamVersion, landed: &HashMap<StreamId, i64>) -> bool {
    command.events.iter().any(|event| event.sequence == at.version + 1 && event.stream == at.stream)
        && (at.version == 0 || landed.get(&at.stream) == Some(&at.version))
}

fn is_answer(error: &sqlx::Error) -> bool {
    // Class 57 (operator intervention) and 08 come with a dying connection.
    matches!(error, sqlx::Error::Database(e) if e.code().is_some_and(|code| !code.starts_with("57") && !code.starts_with("08")))
}

const APPEND_WHOLE: &str = "SELECT * FROM append_whole($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17,
    $18, $19, $20, $21, $22, $23, $24, $25, $26, $27, $28, $29, $30, $31)";
const APPEND: &str = "SELECT * FROM append($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19,
    $20, $21, $22, $23, $24, $25, $26, $27, $28, $29, $30, $31, $32, $33)";

/// Calls one of the functions that append; `outcomes` are known before where it lands all or nothing.
async fn call(
    connection: &mut PgConnection,
    sql: &'static str,
    arguments: Result<PgArguments, BoxDynError>,
    outcomes: Option<&[i16]>,
) -> Result<Appended, sqlx::Error> {
    let row = sqlx::query_with(sql, arguments.map_err(sqlx::Error::Encode)?).fetch_one(connection).await?;
    match outcomes {
        Some(outcomes) => appended(&row, outcomes),
        None => appended(&row, &row.try_get::<Vec<i16>, _>("o_outcomes")?),
    }
}

fn is_clash(error: &sqlx::Error) -> bool {
    matches!(error, sqlx::Error::Database(e) if e.is_unique_violation())
}

fn is_lock_timeout(error: &sqlx::Error) -> bool {
    matches!(error, sqlx::Error::Database(e) if e.downcast_ref::<PgDatabaseError>().code() == "55P03")
}

fn appended(row: &sqlx::postgres::PgRow, outcomes: &[i16]) -> Result<Appended, sqlx::Error> {
    Ok(Appended {
        epoch: row.try_get("o_epoch")?,
        batch: row.try_get("o_batch")?,
        first_position: row.try_get("o_first_position")?,
        last_position: row.try_get("o_last_position")?,
        recorded_at: row.try_get("o_recorded_at")?,
        others: Others::NOTHING,
        outcomes: outcomes
            .iter()
            .map(|code| match *code {
                LANDED => Outcome::Landed,
                2 => Outcome::Replayed,
                3 => Outcome::KeyReused,
                CONFIRMED => Outcome::Confirmed,
                _ => Outcome::Conflict,
            })
            .collect(),
    })
}

/// Outcomes as `event_batch` has them; 1 is a conflict, 2 a replay, 3 a key that was used for another request.
const LANDED: i16 = 0;
const CONFIRMED: i16 = 4;

/// JSON that is known to be well-formed, sent as the text that it is.
struct JsonText<'a>(&'a str);

impl Type<Postgres> for JsonText<'_> {
    fn type_info() -> PgTypeInfo {
        PgTypeInfo::with_name("json")
    }
}

impl PgHasArrayType for JsonText<'_> {
    fn array_type_info() -> PgTypeInfo {
        PgTypeInfo::with_name("_json")
    }
}

impl Encode<'_, Postgres> for JsonText<'_> {
    fn encode_by_ref(&self, buffer: &mut PgArgumentBuffer) -> Result<IsNull, BoxDynError> {
        buffer.extend_from_slice(self.0.as_bytes());
        Ok(IsNull::No)
    }
}

/// A batch as the parallel arrays of `append` and `append_whole`.
#[derive(Default)]
struct Columns<'a> {
    cmd_key: Vec<Option<Uuid>>,
    cmd_fingerprint: Vec<Option<&'a [u8]>>,
    cmd_state: Vec<&'static str>,
    cmd_status: Vec<i16>,
    cmd_problem: Vec<Option<&'a str>>,
    cmd_aggregate_type: Vec<Option<&'a str>>,
    cmd_aggregate_id: Vec<Option<&'a str>>,
    cmd_version: Vec<Option<i64>>,
    cmd_completes: Vec<Option<Uuid>>,
    cmd_events_end: Vec<i32>,
    at_cmd: Vec<i32>,
    at_type: Vec<&'a str>,
    at_id: Vec<&'a str>,
    at_version: Vec<i64>,
    /// Which of them a batch that lands as a whole must have looked for: not those that it writes itself.
    at_before: Vec<usize>,
    ev_cmd: Vec<i32>,
    ev_type: Vec<&'a str>,
    ev_id: Vec<&'a str>,
    ev_sequence: Vec<i64>,
    ev_event_id: Vec<Uuid>,
    ev_event_type: Vec<&'a str>,
    ev_event_version: Vec<String>,
    ev_payload: Vec<JsonText<'a>>,
    ev_metadata: Vec<JsonText<'a>>,
    ev_partition: Vec<i16>,
    ev_digest: Vec<[u8; 32]>,
    dl_cmd: Vec<i32>,
    dl_id: Vec<Uuid>,
    dl_kind: Vec<&'a str>,
    dl_type: Vec<&'a str>,
    dl_aggregate: Vec<&'a str>,
    dl_due: Vec<DateTime<Utc>>,
}

impl<'a> Columns<'a> {
    #[expect(clippy::cast_possible_truncation, clippy::cast_possible_wrap, reason = "a batch is bounded far below i32")]
    fn of(commands: &'a [AppendCommand], landed: &HashMap<StreamId, i64>) -> Self {
        let mut columns = Self::default();
        let mut written: HashMap<&StreamId, i64> = HashMap::new();
        for (command, number) in commands.iter().zip(1_i32..) {
            columns.push_command(command);
            for at in command.decided_on.iter().filter(|at| !checks_itself(command, at, landed)) {
                if written.get(&at.stream) != Some(&at.version) {
                    columns.at_before.push(columns.at_cmd.len());
                }
                columns.at_cmd.push(number);
                columns.at_type.push(at.stream.aggregate_type);
                columns.at_id.push(&at.stream.aggregate_id);
                columns.at_version.push(at.version);
            }
            for event in &command.events {
                columns.ev_cmd.push(number);
                columns.push_event(event);
                written.insert(&event.stream, event.sequence);
            }
            for deadline in &command.deadlines {
                columns.dl_cmd.push(number);
                columns.dl_id.push(deadline.deadline_id);
                columns.dl_kind.push(deadline.kind);
                columns.dl_type.push(deadline.stream.aggregate_type);
                columns.dl_aggregate.push(&deadline.stream.aggregate_id);
                columns.dl_due.push(deadline.due_at);
            }
            columns.cmd_events_end.push(columns.ev_cmd.len() as i32);
        }
        columns
    }

    fn push_command(&mut self, command: &'a AppendCommand) {
        let record = command.idempotency.as_ref();
        let aggregate = record.and_then(|r| r.aggregate.as_ref());
        self.cmd_key.push(record.map(|r| r.key));
        self.cmd_fingerprint.push(record.map(|r| r.fingerprint.as_slice()));
        self.cmd_state.push(if record.is_some_and(|r| r.running) { "running" } else { "done" });
        self.cmd_status.push(record.map_or(0, |r| i16::try_from(r.status).unwrap_or(0)));
        self.cmd_problem.push(record.and_then(|r| r.problem.as_deref()));
        self.cmd_aggregate_type.push(aggregate.map(|a| a.stream.aggregate_type));
        self.cmd_aggregate_id.push(aggregate.map(|a| a.stream.aggregate_id.as_str()));
        self.cmd_version.push(aggregate.map(|a| a.version));
        self.cmd_completes.push(command.completes);
    }

    fn push_event(&mut self, event: &'a NewEvent) {
        let version = event.event_version.to_string();
        let stream = (event.stream.aggregate_type, event.stream.aggregate_id.as_str());
        let kind = (event.event_type, version.as_str());
        let digest = event_digest(stream, event.sequence, event.event_id, kind, &event.payload, &event.metadata);
        self.ev_type.push(stream.0);
        self.ev_id.push(stream.1);
        self.ev_sequence.push(event.sequence);
        self.ev_event_id.push(event.event_id);
        self.ev_event_type.push(event.event_type);
        self.ev_event_version.push(version);
        self.ev_payload.push(JsonText(&event.payload));
        self.ev_metadata.push(JsonText(&event.metadata));
        self.ev_partition.push(event.partition);
        self.ev_digest.push(digest);
    }

    /// What `append_whole` is told: lands all of the batch or nothing.
    fn whole(&self, writer_id: Uuid, batch_no: i64, outcomes: &[i16]) -> Result<PgArguments, BoxDynError> {
        let keyed: Vec<usize> = (0..self.cmd_key.len()).filter(|command| self.cmd_key[*command].is_some()).collect();
        let digest = self.ev_digest.iter().fold(Sha256::new(), Digest::chain_update).finalize();
        let mut arguments = PgArguments::default();
        arguments.add(writer_id)?;
        arguments.add(batch_no)?;
        arguments.add(outcomes)?;
        arguments.add(digest.as_slice())?;
        arguments.add(of(&keyed, &self.cmd_key))?;
        arguments.add(of(&keyed, &self.cmd_fingerprint))?;
        arguments.add(of(&keyed, &self.cmd_state))?;
        arguments.add(of(&keyed, &self.cmd_status))?;
        arguments.add(of(&keyed, &self.cmd_problem))?;
        arguments.add(of(&keyed, &self.cmd_aggregate_type))?;
        arguments.add(of(&keyed, &self.cmd_aggregate_id))?;
        arguments.add(of(&keyed, &self.cmd_version))?;
        arguments.add(of(&keyed, &self.cmd_events_end))?;
        arguments.add(self.cmd_completes.iter().flatten().copied().collect::<Vec<Uuid>>())?;
        arguments.add(of(&self.at_before, &self.at_type))?;
        arguments.add(of(&self.at_before, &self.at_id))?;
        arguments.add(of(&self.at_before, &self.at_version))?;
        arguments.add(&self.ev_type)?;
        arguments.add(&self.ev_id)?;
        arguments.add(&self.ev_sequence)?;
        arguments.add(&self.ev_event_id)?;
        arguments.add(&self.ev_event_type)?;
        arguments.add(&self.ev_event_version)?;
        arguments.add(&self.ev_payload)?;
        arguments.add(&self.ev_metadata)?;
        arguments.add(&self.ev_partition)?;
        arguments.add(&self.dl_id)?;
        arguments.add(&self.dl_kind)?;
        arguments.add(&self.dl_type)?;
        arguments.add(&self.dl_aggregate)?;
        arguments.add(&self.dl_due)?;
        Ok(arguments)
    }

    /// What `append` is told: lands what can land, each command with an outcome of its own.
    fn each(&self, writer_id: Uuid, batch_no: i64) -> Result<PgArguments, BoxDynError> {
        let mut arguments = PgArguments::default();
        arguments.add(writer_id)?;
        arguments.add(batch_no)?;
        arguments.add(&self.cmd_key)?;
        arguments.add(&self.cmd_fingerprint)?;
        arguments.add(&self.cmd_state)?;
        arguments.add(&self.cmd_status)?;
        arguments.add(&self.cmd_problem)?;
        arguments.add(&self.cmd_aggregate_type)?;
        arguments.add(&self.cmd_aggregate_id)?;
        arguments.add(&self.cmd_version)?;
        arguments.add(&self.cmd_completes)?;
        arguments.add(&self.cmd_events_end)?;
        arguments.add(&self.at_cmd)?;
        arguments.add(&self.at_type)?;
        arguments.add(&self.at_id)?;
        arguments.add(&self.at_version)?;
        arguments.add(&self.ev_cmd)?;
        arguments.add(&self.ev_type)?;
        arguments.add(&self.ev_id)?;
        arguments.add(&self.ev_sequence)?;
        arguments.add(&self.ev_event_id)?;
        arguments.add(&self.ev_event_type)?;
        arguments.add(&self.ev_event_version)?;
        arguments.add(self.ev_payload.iter().map(|json| json.0).collect::<Vec<_>>())?;
        arguments.add(self.ev_metadata.iter().map(|json| json.0).collect::<Vec<_>>())?;
        arguments.add(&self.ev_partition)?;
        arguments.add(self.ev_digest.iter().map(<[u8; 32]>::as_slice).collect::<Vec<_>>())?;
        arguments.add(&self.dl_cmd)?;
        arguments.add(&self.dl_id)?;
        arguments.add(&self.dl_kind)?;
        arguments.add(&self.dl_type)?;
        arguments.add(&self.dl_aggregate)?;
        arguments.add(&self.dl_due)?;
        Ok(arguments)
    }

    /// The outcomes of a batch that lands as a whole.
    fn outcomes(&self) -> Vec<i16> {
        let starts = std::iter::once(0).chain(self.cmd_events_end.iter().copied());
        starts.zip(&self.cmd_events_end).map(|(start, end)| if start < *end { LANDED } else { CONFIRMED }).collect()
    }
}

/// A column's values at these places.
fn of<T: Copy>(places: &[usize], column: &[T]) -> Vec<T> {
    places.iter().map(|place| column[*place]).collect()
}
