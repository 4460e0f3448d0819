//! `daybook bench store`: commands a second of our writer, of the stock postgres-es, and of plain inserts.

use std::sync::Arc;
use std::time::Duration;

use commands::loader::Loader;
use commands::writer::{Limits, Writer};
use infra::event_store::EventStore;
use infra::sealing::{MasterKey, Sealer};
use infra::task::TaskGroup;
use serde::Serialize;
use sqlx::postgres::PgConnectOptions;

use super::measure::{Measured, Summary, drive};
use super::raw::{Batches, Raw, Rows, Shape, append};
use super::workload::{Commands, Kind, Theirs};
use super::{Server, pool, report};

/// Connections for loading beside the writer's own one.
const LOADING_CONNECTIONS: u32 = 8;
/// Commands to a prepared batch, where the append is measured against plain inserts.
const BATCH_SIZES: [usize; 2] = [64, 256];
/// Prepared batches of one measurement.
const BATCHES: usize = 150;
/// Single commands of one measurement.
const SINGLES: usize = 1_500;

#[derive(Debug, Clone)]
pub struct Options {
    /// At least five, so that the median means something.
    pub rounds: usize,
    pub seconds: f64,
    pub clients: Vec<usize>,
    pub json: bool,
}

/// Everything that was measured.
#[derive(Debug, Serialize)]
pub struct Report {
    pub settings: Vec<(String, String)>,
    pub rounds: usize,
    pub seconds: f64,
    pub commands: Vec<Row>,
    pub batches: Vec<BatchRow>,
    pub single: Single,
}

/// One kind of command at one number of clients.
#[derive(Debug, Serialize)]
pub struct Row {
    pub kind: Kind,
    pub clients: usize,
    pub ours: Summary,
    pub postgres_es: Summary,
    /// Our rate over theirs, medians.
    pub ratio: f64,
}

/// The append against plain inserts of the same rows.
#[derive(Debug, Serialize)]
pub struct BatchRow {
    pub streams: usize,
    pub commands_a_batch: usize,
    pub append: Summary,
    pub raw: Summary,
    pub raw_events_only: Summary,
    /// Our rate over that of plain inserts: 1 is the most that can be had.
    pub of_raw: f64,
    pub of_raw_events_only: f64,
}

/// One command at a time.
#[derive(Debug, Serialize)]
pub struct Single {
    pub writer: Summary,
    pub insert: Summary,
    /// How much longer a command takes than one inserted row, by the medians of p50.
    pub longer_percent: f64,
}

pub async fn run(options: &Options) -> anyhow::Result<()> {
    anyhow::ensure!(options.rounds >= 5, "--rounds must be at least 5: a median of fewer says little");
    let mut server = Server::start(false).await?;
    let measured = measure(&mut server, options).await;
    server.stop().await?;
    let report = measured?;
    report::print(&report, options.json, report::store)
}

async fn measure(server: &mut Server, options: &Options) -> anyhow::Result<Report> {
    let ours = server.database("ours").await?;
    migrate(&ours).await?;
    let theirs = server.database("theirs").await?;
    let connection = pool(&theirs, 1).await?;
    sqlx::raw_sql(Theirs::DDL).execute(&connection).await?;
    connection.close().await;
    let mut commands = Vec::new();
    for kind in Kind::ALL {
        for &clients in &options.clients {
            eprintln!("  {}, {clients} at once", kind.title());
            commands.push(row(&ours, &theirs, kind, clients, options).await?);
        }
    }
    let mut batches = Vec::new();
    for shape in [Shape::One, Shape::Four] {
        for size in BATCH_SIZES {
            eprintln!("  batches of {size} commands");
            batches.push(batch_row(server, shape, size, options.rounds).await?);
        }
    }
    eprintln!("  one command at a time");
    let single = single(server, options.rounds).await?;
    Ok(Report { settings: server.settings.clone(), rounds: options.rounds, seconds: options.seconds, commands, batches, single })
}

pub async fn migrate(options: &PgConnectOptions) -> anyhow::Result<()> {
    let connection = pool(options, 1).await?;
    infra::postgres::MIGRATOR.run(&connection).await?;
    connection.close().await;
    Ok(())
}

async fn row(ours: &PgConnectOptions, theirs: &PgConnectOptions, kind: Kind, clients: usize, options: &Options) -> anyhow::Result<Row> {
    let duration = Duration::from_secs_f64(options.seconds);
    let (mut our_rounds, mut their_rounds) = (Vec::new(), Vec::new());
    for round in 0..options.rounds {
        // The sides take turns at going first.
        for side in [round % 2, (round + 1) % 2] {
            if side == 0 {
                our_rounds.push(our_round(ours, kind, clients, duration).await?);
            } else {
                their_rounds.push(their_round(theirs, kind, clients, duration).await?);
            }
        }
    }
    let (ours, postgres_es) = (Summary::of(&our_rounds), Summary::of(&their_rounds));
    Ok(Row { kind, clients, ratio: ours.per_second / postgres_es.per_second, ours, postgres_es })
}

/// A writer of its own for each round: it begins with nothing cached.
async fn our_round(options: &PgConnectOptions, kind: Kind, clients: usize, duration: Duration) -> anyhow::Result<Measured> {
    let (writer, tasks) = writer(options).await?;
    let commands = Commands::new(kind)?;
    commands.prepare(&writer).await?;
    let before: i64 = sqlx::query_scalar("SELECT max(batch) FROM event_batch").fetch_one(writer.loader().pool()).await?;
    let measured = drive(clients, duration, move |_, number| {
        let (commands, writer) = (commands.clone(), writer.clone());
        async move { commands.ours(&writer, number).await }
    })
    .await;
    tasks.shut_down().await;
    let connections = pool(options, 1).await?;
    let conflicts: i64 = sqlx::query_scalar("SELECT count(*) FROM event_batch WHERE 1 = ANY (outcomes) AND batch > $1")
        .bind(before)
        .fetch_one(&connections)
        .await?;
    connections.close().await;
    Ok(Measured { retries: u64::try_from(conflicts)?, ..measured? })
}

async fn their_round(options: &PgConnectOptions, kind: Kind, clients: usize, duration: Duration) -> anyhow::Result<Measured> {
    let connections = pool(options, u32::try_from(clients)?).await?;
    let theirs = Arc::new(Theirs::new(&connections));
    let commands = Commands::new(kind)?;
    commands.prepare_theirs(&theirs).await?;
    let measured = drive(clients, duration, move |_, number| {
        let (commands, theirs) = (commands.clone(), Arc::clone(&theirs));
        async move { commands.theirs(&theirs, number).await }
    })
    .await;
    connections.close().await;
    measured
}

pub async fn writer(options: &PgConnectOptions) -> anyhow::Result<(Writer, TaskGroup)> {
    let connections = pool(options, LOADING_CONNECTIONS).await?;
    let sealer = Sealer::new(connections.clone(), MasterKey::parse(&MasterKey::generate()?)?);
    let loader = Loader::new(connections.clone(), sealer);
    let store = EventStore::new(connections, infra::clock::new_id());
    let limits = Limits::from(&infra::config::Config::default().writer);
    let (writer, task) = Writer::new(loader, store, None, limits, infra::leadership::alone());
    let mut tasks = TaskGroup::under(&infra::task::CancellationToken::new());
    let stop = tasks.stop_signal();
    tasks.spawn("writer", commands::writer::run_until(task, stop));
    Ok((writer, tasks))
}

async fn batch_row(server: &mut Server, shape: Shape, size: usize, rounds: usize) -> anyhow::Result<BatchRow> {
    let (ours, raw, events) = (server.database("append").await?, server.database("raw").await?, server.database("rows").await?);
    for database in [&ours, &raw, &events] {
        migrate(database).await?;
    }
    let connections = pool(&ours, 1).await?;
    let mut store = EventStore::new(connections.clone(), infra::clock::new_id());
    let (mut all, mut only) = (Raw::new(&raw).await?, Raw::new(&events).await?);
    let mut made = [Batches::new(shape)?, Batches::new(shape)?, Batches::new(shape)?];
    let mut measured: [Vec<Measured>; 3] = Default::default();
    for round in 0..rounds {
        for turn in 0..3 {
            let who = (round + turn) % 3;
            let batches = (0..BATCHES).map(|_| made[who].next(size)).collect();
            measured[who].push(match who {
                0 => append(&mut store, batches).await?,
                1 => all.insert(batches, Rows::All).await?,
                _ => only.insert(batches, Rows::Events).await?,
            });
        }
    }
    connections.close().await;
    let [append, raw, raw_events_only] = measured.map(|rounds| Summary::of(&rounds));
    Ok(BatchRow {
        streams: if shape == Shape::One { 1 } else { 4 },
        commands_a_batch: size,
        of_raw: append.per_second / raw.per_second,
        of_raw_events_only: append.per_second / raw_events_only.per_second,
        append,
        raw,
        raw_events_only,
    })
}

async fn single(server: &mut Server, rounds: usize) -> anyhow::Result<Single> {
    let (ours, rows) = (server.database("writer").await?, server.database("row").await?);
    migrate(&ours).await?;
    migrate(&rows).await?;
    let mut raw = Raw::new(&rows).await?;
    let mut made = Batches::new(Shape::One)?;
    let (mut our_rounds, mut insert_rounds) = (Vec::new(), Vec::new());
    for round in 0..rounds {
        for side in [round % 2, (round + 1) % 2] {
            if side == 0 {
                our_rounds.push(our_round(&ours, Kind::New, 1, Duration::from_secs(1)).await?);
            } else {
                insert_rounds.push(raw.insert_one(vec![made.next(SINGLES)]).await?);
            }
        }
    }
    let (writer, insert) = (Summary::of(&our_rounds), Summary::of(&insert_rounds));
    let longer_percent = (f64::from(writer.p50_us) / f64::from(insert.p50_us) - 1.0) * 100.0;
    Ok(Single { writer, insert, longer_percent })
}
