//! The roles of one process: what is started, in which order, and how it is stopped.
//!
//! `daybook up` and `daybook serve` both come here: what the laptop runs is what production runs.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail};
use commands::loader::Loader;
use commands::provider::PaymentProvider;
use commands::reactor::Reactor;
use commands::writer::{Limits, Writer};
use infra::config::Config;
use infra::event_store::EventStore;
use infra::feed::{self, Feed};
use infra::leadership::{self, Leading};
use infra::sealing::{MasterKey, Sealer};
use infra::task::{CancellationToken, TaskGroup};
use infra::{event_log, history, postgres, relay, stream};
use projections::cache::ReadCache;
use projections::projector::Progress;
use projections::query_log::QueryLog;
use projections::replica::SearchReplica;
use tokio::net::TcpListener;
use tokio::sync::watch;

use crate::app::App;
use crate::auth::Tokens;
use crate::cart_expiry;
use crate::http;
use crate::http::reading::Checkpoints;
use crate::observe;
use crate::server;
use crate::settings::Settings;

/// How often a start looks whether the read models have caught up.
const CATCH_UP_POLL: Duration = Duration::from_millis(10);
/// Longest that a start waits for the read models.
const CATCH_UP_WAIT: Duration = Duration::from_secs(30);

/// What a process may do; see ARCHITECTURE.md for how each scales.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, clap::ValueEnum)]
pub enum Role {
    Gateway,
    Commands,
    Relay,
    Projector,
    Search,
    Reactor,
}

/// All of them, as `daybook up` runs them.
pub const ALL: [Role; 6] = [Role::Gateway, Role::Commands, Role::Relay, Role::Projector, Role::Search, Role::Reactor];

/// A running process's parts and the tasks behind them.
#[derive(Debug)]
pub struct Running {
    pub app: Arc<App>,
    pub address: SocketAddr,
    /// The log's epoch when the roles were started.
    epoch: i32,
    /// Answer requests; stopped first.
    outside: TaskGroup,
    /// The writer; stopped when nobody can send to it any more.
    writing: TaskGroup,
    /// Follow the log; stopped last.
    following: TaskGroup,
}

/// Roles that only work together must come together, for now.
pub fn check(roles: &BTreeSet<Role>) -> anyhow::Result<()> {
    if roles.is_empty() {
        bail!("name at least one role: --roles gateway,commands,relay,projector,search,reactor");
    }
    if roles.contains(&Role::Gateway) != roles.contains(&Role::Commands) {
        bail!("the roles gateway and commands share a process: name both or neither");
    }
    if roles.contains(&Role::Gateway) && !roles.contains(&Role::Search) {
        bail!("the role gateway answers searches from its own index: add the role search");
    }
    if roles.contains(&Role::Reactor) != roles.contains(&Role::Commands) {
        bail!("the role reactor carries out what the process decides that writes: name commands and reactor both, or neither");
    }
    Ok(())
}

/// Starts the roles; returns when all of them run.
pub async fn start(
    config: Config,
    roles: &BTreeSet<Role>,
    listener: Option<TcpListener>,
    stop: &CancellationToken,
) -> anyhow::Result<Running> {
    check(roles)?;
    let paths = projections::search_path();
    let paths: Vec<&str> = paths.iter().map(String::as_str).collect();
    let pool = postgres::connect(&config.database_url, config.postgres.connections_max, &paths)
        .await
        .context("can't connect to Postgres; check DATABASE_URL")?;
    let nats = stream::connect(&config.nats_url).await.context("can't connect to NATS; check NATS_URL")?;
    let master = MasterKey::parse(&config.master_key).context("master_key")?;
    // Before anything is appended: positions that the stream has seen must not be given again.
    let context = async_nats::jetstream::new(nats.clone());
    let reconciled = history::reconcile(&pool, &context).await;
    if let Err(error) = &reconciled {
        tracing::error!(error = error as &dyn std::error::Error, "the stream can't be held against the log; commands wait until it can");
    }
    let epoch = event_log::head(&pool).await?.epoch;
    let sealer = Sealer::new(pool.clone(), master.clone());
    let loader = Loader::new(pool.clone(), sealer.clone());
    let feed = Feed::new(pool.clone());
    let mut following = TaskGroup::under(&CancellationToken::new());
    let stop_following = following.stop_signal();
    following.spawn("feed", feed::run(feed.clone(), nats.clone(), stop_following.clone()));
    if roles.contains(&Role::Relay) {
        following.spawn("relay", relay::run(pool.clone(), nats.clone(), stop_following.clone()));
    }
    let progress = Progress::default();
    if roles.contains(&Role::Projector) {
        let write_pool = postgres::connect_for_followers(&config.database_url, projections::CONNECTIONS_MAX, &paths).await?;
        projections::spawn_all(&mut following, &write_pool, &feed, &sealer, &progress);
    }
    let search = Arc::new(SearchReplica::open(&config.search_dir, pool.clone(), feed.clone()).await?);
    if roles.contains(&Role::Search) {
        following.spawn("search", Arc::clone(&search).run(stop_following.clone()));
    }
    let mut writing = TaskGroup::under(&CancellationToken::new());
    let store = EventStore::new(pool.clone(), infra::clock::new_id());
    let (leads, active) = watch::channel(false);
    if roles.contains(&Role::Commands) {
        let (pool, stop, is_one) = (pool.clone(), writing.stop_signal(), reconciled.is_ok());
        writing.spawn("leadership", async move {
            if is_one || history::until_reconciled(&pool, &context, &stop).await {
                leadership::run(pool, Leading::Writer, leads, stop).await;
            }
        });
    }
    let (writer, task) = Writer::new(loader.clone(), store, Some(nats.clone()), Limits::from(&config.writer), active);
    writing.spawn("writer", commands::writer::run_until(task, writing.stop_signal()));
    let provider = if config.payments.sandbox {
        let timeout = Duration::from_millis(config.payments.provider_timeout_ms);
        Some(PaymentProvider::new(&config.payments.sandbox_url, timeout)?)
    } else {
        None
    };
    let mut outside = TaskGroup::under(stop);
    if roles.contains(&Role::Reactor) {
        let own_pool = postgres::connect_for_followers(&config.database_url, commands::reactor::CONNECTIONS_MAX, &[]).await?;
        let reactor = Reactor::new(own_pool, writer.clone(), provider.clone(), feed.clone(), &config);
        outside.spawn("reactor", reactor.run(outside.stop_signal()));
        let ttl = Duration::from_secs(config.store.cart_ttl_s);
        outside.spawn("carts", cart_expiry::run(pool.clone(), writer.clone(), ttl, outside.stop_signal()));
    }
    let cache = Arc::new(ReadCache::new(pool.clone(), feed.clone()));
    following.spawn("cache", Arc::clone(&cache).run(stop_following.clone()));
    let query_log = Arc::new(QueryLog::new(pool.clone(), config.search.clone()));
    if roles.contains(&Role::Gateway) {
        following.spawn("query log", Arc::clone(&query_log).run(stop_following.clone()));
    }
    let checkpoints = Arc::new(Checkpoints::new(pool.clone(), progress));
    following.spawn("checkpoints", Arc::clone(&checkpoints).run(stop_following.clone()));
    following.spawn("lag", observe::export_lag(pool.clone(), Arc::clone(&search), stop_following));
    let app = Arc::new(App {
        settings: Settings::try_from(&config)?,
        tokens: Tokens::new(&config.token_key)?,
        pool,
        loader,
        sealer,
        master,
        writer,
        feed,
        search,
        cache,
        query_log,
        provider,
        nats: Some(nats),
        checkpoints: Arc::clone(&checkpoints),
        stop: stop.clone(),
        config,
    });
    let mut address = app.config.http.listen.parse()?;
    if roles.contains(&Role::Gateway) {
        let listener = match listener {
            Some(listener) => listener,
            None => bind(address).await?,
        };
        address = listener.local_addr()?;
        let bounds = server::Bounds::from(&app.config.http);
        outside.spawn("http", server::serve(listener, http::router(&app), bounds, outside.stop_signal()));
    }
    Ok(Running { app, address, epoch, outside, writing, following })
}

/// Binds a listener; a taken port is met with its fix.
pub async fn bind(address: SocketAddr) -> anyhow::Result<TcpListener> {
    TcpListener::bind(address).await.map_err(|error| match error.kind() {
        std::io::ErrorKind::AddrInUse => {
            anyhow::anyhow!("port {} is taken: stop what listens there, or choose another with --port", address.port())
        }
        std::io::ErrorKind::PermissionDenied => {
            anyhow::anyhow!("port {} needs root's permission: choose one above 1023 with --port", address.port())
        }
        _ => anyhow::anyhow!("can't listen on {address}: {error}"),
    })
}

impl Running {
    /// Waits, bounded, until every read model and the index have seen the log's present head.
    pub async fn until_caught_up(&self) -> anyhow::Result<()> {
        let pool = &self.app.pool;
        let head = event_log::head(pool).await?.position;
        let until = tokio::time::Instant::now() + CATCH_UP_WAIT;
        loop {
            let behind: i64 = sqlx::query_scalar("SELECT count(*) FROM checkpoint WHERE position < $1 AND status <> 'paused'")
                .bind(head)
                .fetch_one(pool)
                .await?;
            let left = until.saturating_duration_since(tokio::time::Instant::now());
            if behind == 0 && self.app.search.wait_for(head, left).await {
                return Ok(());
            }
            if left.is_zero() {
                tracing::warn!(position = head, "the read models are still behind the log; `daybook projections` shows how far");
                return Ok(());
            }
            tokio::time::sleep(CATCH_UP_POLL).await;
        }
    }

    /// Completes when the log has gone into another epoch: what this process has in memory may be of a lost future, so its
    /// roles must be shut down and started again.
    pub async fn until_history_changes(&self) {
        history::until_changed(&self.app.pool, self.epoch).await;
    }

    /// Answers what was asked, lands what was taken, applies what landed.
    pub async fn shut_down(self) {
        self.outside.shut_down().await;
        drop(self.app);
        self.writing.shut_down().await;
        self.following.shut_down().await;
    }
}
