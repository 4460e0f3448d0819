//! The floor below which no event store on Postgres can go: the same rows, inserted without asking anything.
//!
//! No lock, no version checked, no head read, no hash: plain `INSERT … SELECT FROM unnest(…)`, on one connection.

use std::collections::HashMap;
use std::time::Duration;

use chrono::{DateTime, Utc};
use domain::event::Event;
use domain::inventory::{StockEvent, StockItemOpened, StockPolicy};
use infra::event_store::{AppendCommand, EventStore, IdempotencyRecord, NewEvent, Outcome, StreamId, StreamVersion, partition_of};
use sqlx::postgres::PgConnectOptions;
use sqlx::{Connection, PgConnection};
use tokio::time::Instant;
use uuid::Uuid;

use super::measure::Measured;
use super::workload::{self, AGGREGATES};

/// What a command of a batch writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shape {
    /// One event of a new stream.
    One,
    /// One of a new stream, three of streams that are there.
    Four,
}

/// Prepared batches: building them is not measured, for nobody.
pub struct Batches {
    shape: Shape,
    versions: HashMap<String, i64>,
    scattered: u64,
    payload: String,
    metadata: String,
}

impl Batches {
    pub fn new(shape: Shape) -> anyhow::Result<Self> {
        let opened = StockEvent::StockItemOpened(StockItemOpened { policy: StockPolicy::Deny, low_stock_threshold: None });
        Ok(Self {
            shape,
            versions: HashMap::new(),
            scattered: 0,
            payload: opened.to_payload()?,
            metadata: serde_json::to_string(&workload::origin())?,
        })
    }

    pub fn next(&mut self, commands: usize) -> Vec<AppendCommand> {
        (0..commands).map(|_| self.command()).collect()
    }

    fn command(&mut self) -> AppendCommand {
        let mut ids = vec![infra::clock::new_id().to_string()];
        if self.shape == Shape::Four {
            for _ in 0..3 {
                self.scattered = self.scattered.wrapping_add(0x9e37_79b9_7f4a_7c15);
                ids.push(format!("existing-{}", (self.scattered >> 32) % AGGREGATES));
            }
            ids.sort_unstable();
            ids.dedup();
        }
        let mut command = AppendCommand::default();
        for id in ids {
            let version = self.versions.entry(id.clone()).or_insert(0);
            let stream = StreamId { aggregate_type: "stock", aggregate_id: id };
            command.decided_on.push(StreamVersion { stream: stream.clone(), version: *version });
            *version += 1;
            command.events.push(NewEvent {
                partition: partition_of(&stream.aggregate_id),
                stream,
                sequence: *version,
                event_id: infra::clock::new_id(),
                event_type: "StockItemOpened",
                event_version: 1,
                payload: self.payload.clone(),
                metadata: self.metadata.clone(),
            });
        }
        command.idempotency = Some(IdempotencyRecord {
            key: infra::clock::new_id(),
            fingerprint: [7; 32],
            running: false,
            status: 201,
            problem: None,
            aggregate: command.decided_on.first().cloned(),
        });
        if self.shape == Shape::One {
            // Streams that are never written again need no memory.
            self.versions.clear();
        }
        command
    }
}

/// Appends prepared batches, one after the other.
pub async fn append(store: &mut EventStore, batches: Vec<Vec<AppendCommand>>) -> anyhow::Result<Measured> {
    let (mut took, mut commands) = (Vec::with_capacity(batches.len()), 0);
    let began = Instant::now();
    for batch in &batches {
        let sent = Instant::now();
        let appended = store.append(batch).await?;
        anyhow::ensure!(appended.outcomes.iter().all(|outcome| *outcome == Outcome::Landed), "a prepared batch met a conflict");
        took.push(micros(sent.elapsed()));
        commands += batch.len();
    }
    Ok(per_command(Measured::of(took, 0, began.elapsed()), commands, began.elapsed()))
}

/// A connection that inserts.
pub struct Raw {
    connection: PgConnection,
    position: i64,
    batch: i64,
    writer_id: Uuid,
}

/// Which rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rows {
    /// Of every table that the append writes, in one transaction.
    All,
    /// Of `events` alone.
    Events,
}

impl Raw {
    pub async fn new(options: &PgConnectOptions) -> Result<Self, sqlx::Error> {
        Ok(Self { connection: PgConnection::connect_with(options).await?, position: 0, batch: 0, writer_id: infra::clock::new_id() })
    }

    /// Inserts prepared batches, one after the other.
    pub async fn insert(&mut self, batches: Vec<Vec<AppendCommand>>, rows: Rows) -> anyhow::Result<Measured> {
        let (mut took, mut commands) = (Vec::with_capacity(batches.len()), 0);
        let began = Instant::now();
        for batch in &batches {
            let sent = Instant::now();
            let now = infra::clock::now();
            let first = self.position + 1;
            match rows {
                Rows::Events => self.position = events(&mut self.connection, batch, first, now).await?,
                Rows::All => {
                    let mut transaction = self.connection.begin().await?;
                    self.position = events(&mut transaction, batch, first, now).await?;
                    records(&mut transaction, batch, self.position, now).await?;
                    self.batch += 1;
                    sqlx::query(
                        "INSERT INTO event_batch (batch, writer_id, batch_no, first_position, last_position, recorded_at, digest,
                                                  chain, epoch, outcomes) VALUES ($1, $2, $1, $3, $4, $5, $6, $6, 1, $7)",
                    )
                    .bind(self.batch)
                    .bind(self.writer_id)
                    .bind(first)
                    .bind(self.position)
                    .bind(now)
                    .bind([7_u8; 32].as_slice())
                    .bind(vec![0_i16; batch.len()])
                    .execute(&mut *transaction)
                    .await?;
                    transaction.commit().await?;
                }
            }
            took.push(micros(sent.elapsed()));
            commands += batch.len();
        }
        Ok(per_command(Measured::of(took, 0, began.elapsed()), commands, began.elapsed()))
    }

    /// One row, one statement, one commit: what a single command can cost at least.
    pub async fn insert_one(&mut self, batches: Vec<Vec<AppendCommand>>) -> anyhow::Result<Measured> {
        let (mut took, began) = (Vec::with_capacity(batches.len()), Instant::now());
        for event in batches.iter().flatten().flat_map(|command| &command.events) {
            let sent = Instant::now();
            self.position += 1;
            sqlx::query(
                "INSERT INTO events (aggregate_type, aggregate_id, sequence, event_type, event_version, payload, metadata,
                                     position, partition, event_id, recorded_at)
                 VALUES ($1, $2, $3, $4, $5, $6::text::json, $7::text::json, $8, $9, $10, $11)",
            )
            .bind(event.stream.aggregate_type)
            .bind(&event.stream.aggregate_id)
            .bind(event.sequence)
            .bind(event.event_type)
            .bind(event.event_version.to_string())
            .bind(&event.payload)
            .bind(&event.metadata)
            .bind(self.position)
            .bind(event.partition)
            .bind(event.event_id)
            .bind(infra::clock::now())
            .execute(&mut self.connection)
            .await?;
            took.push(micros(sent.elapsed()));
        }
        Ok(Measured::of(took, 0, began.elapsed()))
    }
}

async fn events(connection: &mut PgConnection, batch: &[AppendCommand], first: i64, now: DateTime<Utc>) -> Result<i64, sqlx::Error> {
    let events: Vec<&NewEvent> = batch.iter().flat_map(|command| &command.events).collect();
    let last = first - 1 + i64::try_from(events.len()).unwrap_or(0);
    sqlx::query(
        "INSERT INTO events (aggregate_type, aggregate_id, sequence, event_type, event_version, payload, metadata,
                             position, partition, event_id, recorded_at)
         SELECT t, i, s, et, ev, p::json, m::json, po, pa, id, $11
         FROM unnest($1::text[], $2::text[], $3::bigint[], $4::text[], $5::text[], $6::text[], $7::text[], $8::bigint[],
                     $9::smallint[], $10::uuid[]) AS e(t, i, s, et, ev, p, m, po, pa, id)",
    )
    .bind(events.iter().map(|e| e.stream.aggregate_type).collect::<Vec<_>>())
    .bind(events.iter().map(|e| e.stream.aggregate_id.as_str()).collect::<Vec<_>>())
    .bind(events.iter().map(|e| e.sequence).collect::<Vec<_>>())
    .bind(events.iter().map(|e| e.event_type).collect::<Vec<_>>())
    .bind(events.iter().map(|e| e.event_version.to_string()).collect::<Vec<_>>())
    .bind(events.iter().map(|e| e.payload.as_str()).collect::<Vec<_>>())
    .bind(events.iter().map(|e| e.metadata.as_str()).collect::<Vec<_>>())
    .bind((first..=last).collect::<Vec<_>>())
    .bind(events.iter().map(|e| e.partition).collect::<Vec<_>>())
    .bind(events.iter().map(|e| e.event_id).collect::<Vec<_>>())
    .bind(now)
    .execute(connection)
    .await?;
    Ok(last)
}

async fn records(connection: &mut PgConnection, batch: &[AppendCommand], last: i64, now: DateTime<Utc>) -> Result<(), sqlx::Error> {
    let records: Vec<&IdempotencyRecord> = batch.iter().filter_map(|command| command.idempotency.as_ref()).collect();
    let aggregate = |r: &IdempotencyRecord| r.aggregate.clone().map(|at| (at.stream.aggregate_type, at.stream.aggregate_id, at.version));
    let (mut types, mut ids, mut versions) = (Vec::new(), Vec::new(), Vec::new());
    for (kind, id, version) in records.iter().filter_map(|r| aggregate(r)) {
        types.push(kind);
        ids.push(id);
        versions.push(version);
    }
    sqlx::query(
        "INSERT INTO idempotency (key, fingerprint, state, status, problem, aggregate_type, aggregate_id, version, last_position,
                                  created_at)
         SELECT k, f, 'done', 201, NULL, t, i, v, $6, $7
         FROM unnest($1::uuid[], $2::bytea[], $3::text[], $4::text[], $5::bigint[]) AS r(k, f, t, i, v)",
    )
    .bind(records.iter().map(|r| r.key).collect::<Vec<_>>())
    .bind(records.iter().map(|r| r.fingerprint.as_slice()).collect::<Vec<_>>())
    .bind(types)
    .bind(ids)
    .bind(versions)
    .bind(last)
    .bind(now)
    .execute(connection)
    .await?;
    Ok(())
}

pub fn micros(elapsed: Duration) -> u32 {
    u32::try_from(elapsed.as_micros()).unwrap_or(u32::MAX)
}

/// Rates are of commands, latencies of batches.
#[expect(clippy::cast_precision_loss, reason = "counts stay far below 2^52")]
fn per_command(measured: Measured, commands: usize, elapsed: Duration) -> Measured {
    Measured { per_second: commands as f64 / elapsed.as_secs_f64(), count: commands as u64, ..measured }
}
