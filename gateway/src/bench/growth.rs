//! `daybook bench growth`: whether the log is as fast when it is long as when it was short: on a fresh database, at marks up to
//! ten million events, and while somebody holds a snapshot of the database open for an export.

use std::time::Duration;

use infra::event_log;
use infra::event_store::EventStore;
use infra::task::{CancellationToken, TaskGroup};
use serde::Serialize;
use sqlx::postgres::PgConnectOptions;
use sqlx::{Connection, PgConnection, PgPool};
use tokio::time::{Instant, sleep};

use super::measure::{Measured, drive_with_pauses};
use super::raw::{self, Batches, Shape};
use super::workload::{Commands, Kind};
use super::{Server, report, store};

/// Sizes of the log, in events, at which it is measured.
const MARKS: [i64; 5] = [100_000, 1_000_000, 2_000_000, 5_000_000, 10_000_000];
/// The first appends of a fresh database, and how many are looked at together.
const FIRST: usize = 20_000;
const FIRST_CHUNK: usize = 2_000;
/// Commands to a batch while the log grows.
const GROWING: usize = 256;
/// Measurements of each kind at a mark.
const SAMPLES: usize = 2_000;
/// Events of a page, as those who follow the log read them.
const PAGE: i64 = 500;
/// Shoppers while the snapshot is open, and how long each waits before its next order: the disk must hold what they buy.
const SHOPPERS: usize = 8;
const PAUSE: Duration = Duration::from_millis(10);
/// How often the export reads a page.
const EXPORT_PAUSE: Duration = Duration::from_millis(50);
const CONNECTIONS: u32 = 8;

#[derive(Debug, Clone, Copy)]
pub struct Options {
    /// The log's size at the end.
    pub events: i64,
    /// How long the snapshot is open.
    pub minutes: u32,
    pub json: bool,
}

#[derive(Debug, Serialize)]
pub struct Report {
    pub settings: Vec<(String, String)>,
    /// Single appends, in their order.
    pub first: Vec<Measured>,
    pub first_chunk: usize,
    pub marks: Vec<Mark>,
    /// Orders placed by the writer, minute by minute; the first without the snapshot.
    pub export: Vec<Measured>,
}

/// Latencies at a size of the log.
#[derive(Debug, Serialize)]
pub struct Mark {
    pub events: i64,
    /// Events a second on the way here.
    pub growing: f64,
    /// A command of four streams.
    pub append: Measured,
    /// A batch of 64 of them.
    pub append_64: Measured,
    pub read_stream: Measured,
    pub read_page: Measured,
}

pub async fn run(options: Options) -> anyhow::Result<()> {
    let mut server = Server::start(false).await?;
    let measured = measure(&mut server, options).await;
    let settings = server.settings.clone();
    server.stop().await?;
    let report = Report { settings, ..measured? };
    report::print(&report, options.json, report::growth)
}

async fn measure(server: &mut Server, options: Options) -> anyhow::Result<Report> {
    let database = server.database("growth").await?;
    store::migrate(&database).await?;
    let pool = super::pool(&database, CONNECTIONS).await?;
    let mut log = EventStore::new(pool.clone(), infra::clock::new_id());
    let mut batches = Batches::new(Shape::Four)?;
    eprintln!("  the first {FIRST} appends");
    let mut first = Vec::new();
    for _ in 0..FIRST / FIRST_CHUNK {
        first.push(singles(&mut log, &mut batches, FIRST_CHUNK).await?);
    }
    let mut marks = Vec::new();
    for mark in MARKS.into_iter().filter(|mark| *mark <= options.events) {
        eprintln!("  up to {mark} events");
        let growing = grow(&pool, &mut log, &mut batches, mark).await?;
        marks.push(Mark {
            events: mark,
            growing,
            append: singles(&mut log, &mut batches, SAMPLES).await?,
            append_64: raw::append(&mut log, (0..SAMPLES / 10).map(|_| batches.next(64)).collect()).await?,
            read_stream: read_streams(&pool, mark).await?,
            read_page: read_pages(&pool, mark).await?,
        });
    }
    pool.close().await;
    let export = export(&database, options.minutes).await?;
    Ok(Report { settings: Vec::new(), first, first_chunk: FIRST_CHUNK, marks, export })
}

/// Appends commands one at a time.
async fn singles(log: &mut EventStore, batches: &mut Batches, count: usize) -> anyhow::Result<Measured> {
    raw::append(log, (0..count).map(|_| batches.next(1)).collect()).await
}

async fn grow(pool: &PgPool, log: &mut EventStore, batches: &mut Batches, to: i64) -> anyhow::Result<f64> {
    let (before, began) = (event_log::head(pool).await?.position, Instant::now());
    let mut head = before;
    while head < to {
        head = log.append(&batches.next(GROWING)).await?.last_position;
    }
    #[expect(clippy::cast_precision_loss, reason = "counts stay far below 2^52")]
    let events = (head - before) as f64;
    Ok(events / began.elapsed().as_secs_f64())
}

/// Positions all over the log, the same for each size.
fn scattered(head: i64) -> impl Iterator<Item = i64> {
    (1_i64..).take(SAMPLES).map(move |number| (number * 7_919 * 104_729) % (head - PAGE))
}

/// The streams of orders, say: a few events each.
async fn read_streams(pool: &PgPool, head: i64) -> anyhow::Result<Measured> {
    let mut ids = Vec::with_capacity(SAMPLES);
    for position in scattered(head) {
        let near = event_log::page(pool, position, position + 8, 8).await?;
        ids.extend(near.into_iter().find(|event| !event.aggregate_id.starts_with("existing")).map(|event| event.aggregate_id));
    }
    let (mut took, began) = (Vec::with_capacity(ids.len()), Instant::now());
    for id in &ids {
        let sent = Instant::now();
        let events = event_log::stream(pool, ("stock", id), 0, i64::MAX).await?;
        anyhow::ensure!(!events.is_empty(), "the stream {id} is gone");
        took.push(raw::micros(sent.elapsed()));
    }
    Ok(Measured::of(took, 0, began.elapsed()))
}

async fn read_pages(pool: &PgPool, head: i64) -> anyhow::Result<Measured> {
    let (mut took, began) = (Vec::with_capacity(SAMPLES), Instant::now());
    for position in scattered(head) {
        let sent = Instant::now();
        event_log::following(pool, position, PAGE).await?;
        took.push(raw::micros(sent.elapsed()));
    }
    Ok(Measured::of(took, 0, began.elapsed()))
}

/// Orders are placed, minute by minute, while an export reads the log from a snapshot that stays open.
async fn export(options: &PgConnectOptions, minutes: u32) -> anyhow::Result<Vec<Measured>> {
    let (writer, tasks) = store::writer(options).await?;
    let stop = CancellationToken::new();
    let mut exporting = TaskGroup::under(&stop);
    let mut measured = Vec::new();
    for minute in 0..=minutes {
        eprintln!("  minute {minute} of {minutes} with a snapshot open");
        if minute == 1 {
            let connection = PgConnection::connect_with(options).await?;
            let stop = exporting.stop_signal();
            exporting.spawn("export", async move {
                if let Err(error) = hold(connection, &stop).await {
                    tracing::error!(error = &error as &dyn std::error::Error, "the export failed");
                }
            });
        }
        // On stock of its own: nothing is shipped here, so that holds pile up, and a later minute would decide on more of them.
        let (commands, writer) = (Commands::new(Kind::PlaceOrder)?, writer.clone());
        commands.prepare(&writer).await?;
        let orders = drive_with_pauses(SHOPPERS, Duration::from_mins(1), PAUSE, move |_, number| {
            let (commands, writer) = (commands.clone(), writer.clone());
            async move { commands.ours(&writer, number).await }
        });
        measured.push(orders.await?);
    }
    exporting.shut_down().await;
    drop(writer);
    tasks.shut_down().await;
    Ok(measured)
}

/// Reads the log page by page in one transaction, and over again, until `stop`.
async fn hold(mut connection: PgConnection, stop: &CancellationToken) -> Result<(), sqlx::Error> {
    sqlx::query("BEGIN ISOLATION LEVEL REPEATABLE READ, READ ONLY").execute(&mut connection).await?;
    let mut after = 0_i64;
    while !stop.is_cancelled() {
        let read: Option<i64> = sqlx::query_scalar(
            "SELECT max(position) FROM (SELECT position, length(payload::text) FROM events WHERE position > $1 ORDER BY position LIMIT $2) p",
        )
        .bind(after)
        .bind(PAGE)
        .fetch_one(&mut connection)
        .await?;
        after = read.unwrap_or(0);
        tokio::select! { () = stop.cancelled() => {}, () = sleep(EXPORT_PAUSE) => {} }
    }
    connection.close().await
}
