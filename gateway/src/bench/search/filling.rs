//! Fills a shop's folder through the log: products are put as an import puts them, then stream, read models and index are made
//! from what was written, each step timed for itself.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, ensure};
use commands::catalog;
use commands::loader::Loader;
use commands::writer::{Limits, Writer};
use futures::{StreamExt, TryStreamExt};
use infra::child_server::{self, ChildServers, Tools};
use infra::config::{self, Config};
use infra::event_store::EventStore;
use infra::feed::{self, Feed};
use infra::sealing::{MasterKey, Sealer};
use infra::task::{CancellationToken, TaskGroup};
use infra::{event_log, leadership, postgres, relay, stream};
use projections::projector::Progress;
use projections::replica::SearchReplica;
use projections::search::SearchIndex;
use serde::Serialize;
use sqlx::{Connection, PgConnection, PgPool};
use tokio::time::{Instant, sleep};

use super::catalogue::Catalogue;
use crate::bench::workload;
use crate::migrate;
use crate::shop::SecretsFile;

/// Products that are with the writer at once, as of an import.
const PUTS_IN_FLIGHT: usize = 512;
/// Documents of a commit, where the index is measured alone: as many as the replica puts before it commits at once.
const COMMIT_DOCUMENTS: u64 = 5_000;
/// Products after which a line says how far the load is.
const TOLD_PRODUCTS: u64 = 100_000;
const CONNECTIONS: u32 = 16;
/// Longest wait for those who follow the log to come to its head.
const FOLLOW_WAIT: Duration = Duration::from_hours(1);
const POLL: Duration = Duration::from_millis(20);

/// How fast a shop was filled.
#[derive(Debug, Serialize)]
pub struct Filled {
    pub events: i64,
    /// Written by the writer; nobody follows meanwhile.
    pub events_written_per_s: f64,
    /// Copied to the stream and applied to all read models, together.
    pub events_followed_per_s: f64,
    /// Until the index's replica is open: it loads prices and stock of all products from the read models.
    pub replica_open_s: f64,
    /// From the open replica on an empty index to everything being found, by the log.
    pub documents_indexed_per_s: f64,
    /// Documents put and committed alone, without the log.
    pub documents_put_per_s: f64,
    pub index_mb: f64,
    pub database_mb: f64,
    pub seconds: f64,
}

/// Fills the folder, and leaves it as a shop that was stopped.
pub async fn fill(folder: &Path, catalogue: &Arc<Catalogue>, products: u64) -> anyhow::Result<Filled> {
    std::fs::create_dir_all(folder).with_context(|| format!("can't make {}", folder.display()))?;
    let secrets = SecretsFile::read_or_make(folder)?;
    let tools = Tools {
        postgres_bin_dir: config::variable("DAYBOOK_PG_BIN_DIR").map(Into::into),
        nats_server: config::variable("DAYBOOK_NATS_SERVER").map(Into::into),
    };
    let nothing_runs = child_server::Running { database_url: None, nats_url: None };
    let servers = ChildServers::start(folder, &tools, &nothing_runs, |step| eprintln!("  {step}")).await?;
    let filled = fill_running(folder, catalogue, products, &servers, &secrets).await;
    servers.stop().await?;
    filled
}

async fn fill_running(
    folder: &Path,
    catalogue: &Arc<Catalogue>,
    products: u64,
    servers: &ChildServers,
    secrets: &SecretsFile,
) -> anyhow::Result<Filled> {
    let began = Instant::now();
    let config = Config { database_url: servers.database_url.clone(), ..Config::default() };
    migrate::run(&config).await?;
    let paths = projections::search_path();
    let paths: Vec<&str> = paths.iter().map(String::as_str).collect();
    let pool = postgres::connect(&servers.database_url, CONNECTIONS, &paths).await?;
    let sealer = Sealer::new(pool.clone(), MasterKey::parse(&secrets.master_key)?);

    let (events, events_written_per_s) = write(&pool, &sealer, catalogue, products).await?;
    eprintln!("  {events} events go into stream and read models");
    let feed = Feed::new(pool.clone());
    let mut tasks = TaskGroup::under(&CancellationToken::new());
    let followed = Instant::now();
    let nats = stream::connect(&servers.nats_url).await.context("can't connect to NATS")?;
    tasks.spawn("relay", relay::run(pool.clone(), nats.clone(), tasks.stop_signal()));
    tasks.spawn("feed", feed::run(feed.clone(), nats.clone(), tasks.stop_signal()));
    let followers = postgres::connect_for_followers(&servers.database_url, projections::CONNECTIONS_MAX, &paths).await?;
    projections::spawn_all(&mut tasks, &followers, &feed, &sealer, &Progress::default());
    until_followed(&pool, &nats, events).await?;
    let events_followed_per_s = rate(events, followed.elapsed());

    // As after a quiet night: otherwise it happens while queries are measured.
    eprintln!("  vacuum");
    let mut connection = PgConnection::connect(&servers.database_url).await?;
    for statement in ["VACUUM ANALYZE", "CHECKPOINT"] {
        sqlx::raw_sql(statement).execute(&mut connection).await?;
    }
    let database_bytes: i64 = sqlx::query_scalar("SELECT pg_database_size(current_database())").fetch_one(&mut connection).await?;
    connection.close().await?;

    eprintln!("  the index, from the log");
    let index_dir = folder.join("search");
    let opening = Instant::now();
    let replica = Arc::new(SearchReplica::open(&index_dir, pool.clone(), feed.clone()).await?);
    let replica_open_s = opening.elapsed().as_secs_f64();
    let indexing = Instant::now();
    tasks.spawn("search", Arc::clone(&replica).run(tasks.stop_signal()));
    ensure!(replica.wait_for(events, FOLLOW_WAIT).await, "the index does not come to the log's head");
    let documents_indexed_per_s = rate(i64::try_from(products)?, indexing.elapsed());
    tasks.shut_down().await;
    drop(replica);
    pool.close().await;
    followers.close().await;

    eprintln!("  the index alone");
    let documents_put_per_s = put_alone(folder, Arc::clone(catalogue), products).await?;
    Ok(Filled {
        events,
        events_written_per_s,
        events_followed_per_s,
        replica_open_s,
        documents_indexed_per_s,
        documents_put_per_s,
        index_mb: megabytes(bytes_below(&index_dir)?),
        database_mb: megabytes(u64::try_from(database_bytes)?),
        seconds: began.elapsed().as_secs_f64(),
    })
}

/// Puts categories and products through a writer; answers the head and events a second.
async fn write(pool: &PgPool, sealer: &Sealer, catalogue: &Arc<Catalogue>, products: u64) -> anyhow::Result<(i64, f64)> {
    let loader = Loader::new(pool.clone(), sealer.clone());
    let store = EventStore::new(pool.clone(), infra::clock::new_id());
    let (writer, task) = Writer::new(loader, store, None, Limits::from(&Config::default().writer), leadership::alone());
    let mut tasks = TaskGroup::under(&CancellationToken::new());
    tasks.spawn("writer", commands::writer::run_until(task, tasks.stop_signal()));
    let began = Instant::now();
    for category in catalogue.categories() {
        let category = category.clone();
        writer.execute(&workload::origin(), None, move |streams| catalog::put_category(streams, &category)).await?;
    }
    let puts = futures::stream::iter(0..products).map(|number| {
        let (writer, catalogue) = (writer.clone(), Arc::clone(catalogue));
        async move {
            let put = catalogue.product(number)?;
            writer.execute(&workload::origin(), None, move |streams| catalog::put_product(streams, &put)).await?;
            if number > 0 && number.is_multiple_of(TOLD_PRODUCTS) {
                eprintln!("  {number} products are written");
            }
            anyhow::Ok(())
        }
    });
    puts.buffer_unordered(PUTS_IN_FLIGHT).try_collect::<()>().await?;
    let elapsed = began.elapsed();
    drop(writer);
    tasks.shut_down().await;
    let head = event_log::head(pool).await?.position;
    Ok((head, rate(head, elapsed)))
}

async fn until_followed(pool: &PgPool, nats: &async_nats::Client, head: i64) -> anyhow::Result<()> {
    let context = async_nats::jetstream::new(nats.clone());
    let until = Instant::now() + FOLLOW_WAIT;
    loop {
        let behind: i64 = sqlx::query_scalar("SELECT count(*) FROM checkpoint WHERE position < $1").bind(head).fetch_one(pool).await?;
        if behind == 0
            && let Ok(stream) = context.get_stream(stream::STREAM).await
            && stream.cached_info().state.last_sequence >= u64::try_from(head)?
        {
            return Ok(());
        }
        ensure!(Instant::now() < until, "those who follow the log do not come to its head");
        sleep(POLL).await;
    }
}

/// Documents a second of an index of its own, which is removed again.
async fn put_alone(folder: &Path, catalogue: Arc<Catalogue>, products: u64) -> anyhow::Result<f64> {
    let dir = folder.join("index-alone");
    let took = tokio::task::spawn_blocking(move || {
        let index = SearchIndex::open(&dir)?;
        let mut took = Duration::ZERO;
        let mut number = 0;
        while number < products {
            let end = (number + COMMIT_DOCUMENTS).min(products);
            // To make them up is no part of the work.
            let documents: Vec<_> = (number..end).map(|number| catalogue.document(number)).collect();
            let began = Instant::now();
            for document in &documents {
                index.put(document)?;
            }
            index.commit(1, i64::try_from(end)?)?;
            took += began.elapsed();
            number = end;
        }
        ensure!(index.product_count() == products, "the index has {} of {products} products", index.product_count());
        index.close()?;
        std::fs::remove_dir_all(&dir)?;
        anyhow::Ok(took)
    });
    Ok(rate(i64::try_from(products)?, took.await??))
}

fn bytes_below(dir: &Path) -> std::io::Result<u64> {
    let mut bytes = 0;
    for entry in std::fs::read_dir(dir)? {
        let entry = entry?;
        bytes += if entry.file_type()?.is_dir() { bytes_below(&entry.path())? } else { entry.metadata()?.len() };
    }
    Ok(bytes)
}

#[expect(clippy::cast_precision_loss, reason = "sizes stay far below 2^52")]
fn megabytes(bytes: u64) -> f64 {
    bytes as f64 / f64::from(1 << 20)
}

#[expect(clippy::cast_precision_loss, reason = "counts stay far below 2^52")]
fn rate(count: i64, elapsed: Duration) -> f64 {
    count as f64 / elapsed.as_secs_f64()
}
