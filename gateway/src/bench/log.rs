//! `daybook bench log`: how fast the log is written, copied and read; alone and together; and how soon a commit is seen.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use commands::loader::Loader;
use commands::writer::{Limits, Writer};
use infra::event_log;
use infra::event_store::EventStore;
use infra::feed::{self, Feed};
use infra::sealing::{MasterKey, Sealer};
use infra::task::{CancellationToken, TaskGroup};
use infra::{leadership, relay, stream};
use projections::order::OrderProjection;
use projections::projector::{Progress, Projection, Projector};
use projections::stock::StockProjection;
use serde::Serialize;
use sqlx::PgPool;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep};

use super::measure::{Measured, drive};
use super::workload::{Commands, Kind};
use super::{Server, report};

/// Clients that write at once.
const CLIENTS: usize = 64;
/// Connections of everything together.
const CONNECTIONS: u32 = 24;
/// Events a second at which it is measured how soon a commit is seen.
const PACE: u64 = 2_000;
/// How often positions are looked at.
const POLL: Duration = Duration::from_millis(5);
/// Longest wait for somebody who follows.
const FOLLOW_TIMEOUT: Duration = Duration::from_mins(10);

#[derive(Debug, Clone, Copy)]
pub struct Options {
    pub seconds: f64,
    pub json: bool,
}

/// Everything that was measured; speeds are events of the log a second.
#[derive(Debug, Serialize)]
pub struct Report {
    pub settings: Vec<(String, String)>,
    /// Events that the writer left for the others.
    pub events: i64,
    pub writer: f64,
    pub relay: f64,
    pub rebuild_stock: f64,
    pub rebuild_order: f64,
    pub rebuild_both: f64,
    pub together_writer: f64,
    /// From the first command to the last checkpoint.
    pub together_all: f64,
    /// From the commit's own time to a reader of the stream, at `pace` events a second.
    pub seen: Measured,
    pub pace: u64,
}

struct Bench {
    pool: PgPool,
    nats: async_nats::Client,
    sealer: Sealer,
    feed: Feed,
    seconds: f64,
}

pub async fn run(options: Options) -> anyhow::Result<()> {
    let mut server = Server::start(true).await?;
    let measured = measure(&mut server, options).await;
    let settings = server.settings.clone();
    server.stop().await?;
    let report = Report { settings, ..measured? };
    report::print(&report, options.json, report::log)
}

async fn measure(server: &mut Server, options: Options) -> anyhow::Result<Report> {
    let database = server.database("log").await?;
    let paths = projections::search_path().join(",") + ",public";
    let pool = super::pool(&database.options([("search_path", paths.as_str())]), CONNECTIONS).await?;
    infra::postgres::MIGRATOR.run(&pool).await?;
    projections::migrate_all(&pool).await?;
    let nats = stream::connect(server.nats_url()?).await.context("can't connect to NATS")?;
    let sealer = Sealer::new(pool.clone(), MasterKey::parse(&MasterKey::generate()?)?);
    let bench = Bench { feed: Feed::new(pool.clone()), pool, nats, sealer, seconds: options.seconds };

    eprintln!("  the writer alone");
    let (writer, events) = bench.write(false).await?;
    eprintln!("  the relay alone, {events} events");
    let relay = bench.relay(events).await?;
    eprintln!("  the projections, from the beginning");
    let rebuild_stock = bench.rebuild(events, true, false).await?;
    let rebuild_order = bench.rebuild(events, false, true).await?;
    let rebuild_both = bench.rebuild(events, true, true).await?;
    eprintln!("  all together");
    let (together_writer, together_all) = bench.together().await?;
    eprintln!("  from commit to reader at {PACE} events a second");
    let seen = bench.seen().await?;
    bench.pool.close().await;
    Ok(Report {
        settings: Vec::new(),
        events,
        writer,
        relay,
        rebuild_stock,
        rebuild_order,
        rebuild_both,
        together_writer,
        together_all,
        seen,
        pace: PACE,
    })
}

impl Bench {
    fn writer(&self, tasks: &mut TaskGroup, wakes: bool) -> Writer {
        let loader = Loader::new(self.pool.clone(), self.sealer.clone());
        let store = EventStore::new(self.pool.clone(), infra::clock::new_id());
        let limits = Limits::from(&infra::config::Config::default().writer);
        let (writer, task) = Writer::new(loader, store, wakes.then(|| self.nats.clone()), limits, leadership::alone());
        let stop = tasks.stop_signal();
        tasks.spawn("writer", commands::writer::run_until(task, stop));
        writer
    }

    async fn head(&self) -> Result<i64, sqlx::Error> {
        Ok(event_log::head(&self.pool).await?.position)
    }

    /// Places orders; answers events a second and the head.
    async fn write(&self, wakes: bool) -> anyhow::Result<(f64, i64)> {
        let mut tasks = TaskGroup::under(&CancellationToken::new());
        let writer = self.writer(&mut tasks, wakes);
        let commands = Commands::new(Kind::PlaceOrder)?;
        commands.prepare(&writer).await?;
        let (before, began) = (self.head().await?, Instant::now());
        drive(CLIENTS, Duration::from_secs_f64(self.seconds), move |_, number| {
            let (commands, writer) = (commands.clone(), writer.clone());
            async move { commands.ours(&writer, number).await }
        })
        .await?;
        let (head, elapsed) = (self.head().await?, began.elapsed());
        tasks.shut_down().await;
        Ok((rate(head - before, elapsed), head))
    }

    async fn relay(&self, head: i64) -> anyhow::Result<f64> {
        let mut tasks = TaskGroup::under(&CancellationToken::new());
        let began = Instant::now();
        tasks.spawn("relay", relay::run(self.pool.clone(), self.nats.clone(), tasks.stop_signal()));
        let context = async_nats::jetstream::new(self.nats.clone());
        let reached = async || {
            let Ok(stream) = context.get_stream(stream::STREAM).await else { return Ok(false) };
            Ok(stream.cached_info().state.last_sequence >= u64::try_from(head)?)
        };
        until(reached).await?;
        let elapsed = began.elapsed();
        tasks.shut_down().await;
        Ok(rate(head, elapsed))
    }

    /// Makes read models anew, as `daybook rebuild` does.
    async fn rebuild(&self, head: i64, stock: bool, order: bool) -> anyhow::Result<f64> {
        let mut names = Vec::new();
        if stock {
            names.push(StockProjection::NAME);
        }
        if order {
            names.push(OrderProjection::NAME);
        }
        for name in &names {
            projections::rebuild(&self.pool, name).await?;
        }
        let mut tasks = TaskGroup::under(&CancellationToken::new());
        self.project(&mut tasks, stock, order);
        // Readers are given notice before the tables are emptied; that is no part of the work.
        until(async || self.are_emptied(&names).await).await?;
        let began = Instant::now();
        until(async || self.reached(&names, head).await).await?;
        let elapsed = began.elapsed();
        tasks.shut_down().await;
        Ok(rate(head, elapsed))
    }

    fn project(&self, tasks: &mut TaskGroup, stock: bool, order: bool) {
        let stop = tasks.stop_signal();
        if stock {
            let projector =
                Projector::<StockProjection>::new(self.pool.clone(), self.feed.clone(), self.sealer.clone(), Progress::default());
            tasks.spawn(StockProjection::NAME, projector.run(stop.clone()));
        }
        if order {
            let projector =
                Projector::<OrderProjection>::new(self.pool.clone(), self.feed.clone(), self.sealer.clone(), Progress::default());
            tasks.spawn(OrderProjection::NAME, projector.run(stop));
        }
    }

    async fn are_emptied(&self, names: &[&str]) -> anyhow::Result<bool> {
        let emptied = "SELECT NOT bool_or(to_be_emptied) FROM checkpoint WHERE projection = ANY ($1)";
        Ok(sqlx::query_scalar(emptied).bind(names).fetch_one(&self.pool).await?)
    }

    async fn reached(&self, names: &[&str], head: i64) -> anyhow::Result<bool> {
        let behind: i64 = sqlx::query_scalar("SELECT count(*) FROM checkpoint WHERE projection = ANY ($1) AND position < $2")
            .bind(names)
            .bind(head)
            .fetch_one(&self.pool)
            .await?;
        Ok(behind == 0)
    }

    /// Writer, relay, consumer and projections at the same time.
    async fn together(&self) -> anyhow::Result<(f64, f64)> {
        let mut tasks = TaskGroup::under(&CancellationToken::new());
        tasks.spawn("relay", relay::run(self.pool.clone(), self.nats.clone(), tasks.stop_signal()));
        tasks.spawn("feed", feed::run(self.feed.clone(), self.nats.clone(), tasks.stop_signal()));
        self.project(&mut tasks, true, true);
        let (before, began) = (self.head().await?, Instant::now());
        let (writer, head) = self.write(true).await?;
        until(async || self.reached(&[StockProjection::NAME, OrderProjection::NAME], head).await).await?;
        let elapsed = began.elapsed();
        tasks.shut_down().await;
        Ok((writer, rate(head - before, elapsed)))
    }

    /// Commands at an even pace; a reader of the stream notes how old each event is when it comes.
    async fn seen(&self) -> anyhow::Result<Measured> {
        let mut tasks = TaskGroup::under(&CancellationToken::new());
        tasks.spawn("relay", relay::run(self.pool.clone(), self.nats.clone(), tasks.stop_signal()));
        tasks.spawn("feed", feed::run(self.feed.clone(), self.nats.clone(), tasks.stop_signal()));
        let writer = self.writer(&mut tasks, true);
        let commands = Arc::new(Commands::new(Kind::New)?);
        sleep(Duration::from_secs(1)).await;
        let mut tail = self.feed.tail(self.head().await?);
        let reading = infra::task::spawn(async move {
            let mut took = Vec::new();
            let began = Instant::now();
            while let Ok(Ok(batch)) = tokio::time::timeout(Duration::from_secs(1), tail.next()).await {
                let now = infra::clock::now();
                let age = |recorded_at: chrono::DateTime<chrono::Utc>| {
                    (now - recorded_at).num_microseconds().and_then(|us| u32::try_from(us).ok()).unwrap_or(0)
                };
                took.extend(batch.iter().map(|event| age(event.recorded_at)));
            }
            Measured::of(took, 0, began.elapsed())
        });
        let mut ticks = interval(Duration::from_millis(1));
        ticks.set_missed_tick_behavior(MissedTickBehavior::Burst);
        let began = Instant::now();
        let (mut number, mut under_way) = (0, tokio::task::JoinSet::new());
        while began.elapsed().as_secs_f64() < self.seconds {
            ticks.tick().await;
            for _ in 0..PACE / 1_000 {
                number += 1;
                let (commands, writer, number) = (Arc::clone(&commands), writer.clone(), number);
                under_way.spawn(async move { commands.ours(&writer, number).await });
            }
            while let Some(done) = under_way.try_join_next() {
                done??;
            }
        }
        while let Some(done) = under_way.join_next().await {
            done??;
        }
        drop(writer);
        let seen = reading.await?;
        tasks.shut_down().await;
        Ok(seen)
    }
}

async fn until(reached: impl AsyncFn() -> anyhow::Result<bool>) -> anyhow::Result<()> {
    let until = Instant::now() + FOLLOW_TIMEOUT;
    while !reached().await? {
        anyhow::ensure!(Instant::now() < until, "somebody who follows the log does not come to its head");
        sleep(POLL).await;
    }
    Ok(())
}

#[expect(clippy::cast_precision_loss, reason = "counts stay far below 2^52")]
fn rate(events: i64, elapsed: Duration) -> f64 {
    events as f64 / elapsed.as_secs_f64()
}
