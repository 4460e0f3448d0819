//! `daybook bench`: what the engine reaches on this machine, beside what others reach on the same servers.
//!
//! Every figure is a median of rounds in which the sides take turns, so that a machine that warms up or slows down does so
//! for all of them. Nothing is measured on a server that could lose what it acknowledged.

mod cart;
mod growth;
mod http;
mod log;
mod measure;
mod raw;
mod report;
mod search;
mod store;
mod workload;

use std::path::PathBuf;

use anyhow::{Context, bail};
use infra::child_server::{self, ChildServers, Tools};
use infra::config;
use sqlx::postgres::PgConnectOptions;
use sqlx::{Connection, PgConnection, PgPool};

pub use cart::{Options as CartOptions, run as run_cart};
pub use growth::{Options as GrowthOptions, run as run_growth};
pub use http::{Options as HttpOptions, run as run_http};
pub use log::{Options as LogOptions, run as run_log};
pub use search::{Options as SearchOptions, run as run_search};
pub use store::{Options as StoreOptions, run as run_store};

/// A server to measure on, and the databases that were made there.
pub struct Server {
    /// Without a database's name.
    options: PgConnectOptions,
    nats_url: String,
    /// The server that was started for this; `None` when `DATABASE_URL` names one.
    child: Option<ChildServers>,
    /// Its data.
    folder: Option<PathBuf>,
    databases: Vec<String>,
    /// What it is and how it is set, for the report's header.
    pub settings: Vec<(String, String)>,
}

/// What is written to a private server before anything is measured: its log then has segments to use again, as that of a
/// server that has run for a while; to make a new one holds up whichever commit needs it.
const WARM_UP_MB: u32 = 2_048;

/// Settings that a reader needs to know to believe the figures.
const SETTINGS_SHOWN: [&str; 11] = [
    "server_version",
    "fsync",
    "full_page_writes",
    "synchronous_commit",
    "shared_buffers",
    "max_wal_size",
    "min_wal_size",
    "wal_level",
    "wal_sync_method",
    "commit_delay",
    "max_connections",
];

impl Server {
    /// The servers that `DATABASE_URL` and `NATS_URL` name, or private ones in a folder of their own. Refuses a Postgres that
    /// is not durable.
    pub async fn start(with_nats: bool) -> anyhow::Result<Self> {
        let config = config::load(None)?;
        let mut server = if config.database_url.is_empty() {
            let folder = std::env::temp_dir().join(format!("daybook-bench-{}", infra::clock::new_id().simple()));
            std::fs::create_dir_all(&folder).with_context(|| format!("can't make {}", folder.display()))?;
            let tools = Tools {
                postgres_bin_dir: config::variable("DAYBOOK_PG_BIN_DIR").map(PathBuf::from),
                nats_server: config::variable("DAYBOOK_NATS_SERVER").map(PathBuf::from),
            };
            let theirs = child_server::Running { database_url: None, nats_url: (!with_nats).then(String::new) };
            let child = ChildServers::start(&folder, &tools, &theirs, |step| eprintln!("  {step}")).await?;
            // By TCP, as the processes of a deployment are connected, and not by the private server's socket.
            let (by_tcp, _socket) = child.database_url.split_once("&host=").unwrap_or((&child.database_url, ""));
            let options = by_tcp.parse()?;
            let nats_url = child.nats_url.clone();
            Self { options, nats_url, child: Some(child), folder: Some(folder), databases: Vec::new(), settings: Vec::new() }
        } else {
            let options = config.database_url.parse()?;
            anyhow::ensure!(!with_nats || !config.nats_url.is_empty(), "DATABASE_URL is set: set NATS_URL too, to an empty server");
            Self { options, nats_url: config.nats_url, child: None, folder: None, databases: Vec::new(), settings: Vec::new() }
        };
        if let Err(error) = server.look().await {
            server.stop().await?;
            return Err(error);
        }
        Ok(server)
    }

    async fn look(&mut self) -> anyhow::Result<()> {
        let mut connection = PgConnection::connect_with(&self.options).await.context("can't connect to Postgres")?;
        self.settings = sqlx::query_as("SELECT name, current_setting(name) FROM pg_settings WHERE name = ANY ($1) ORDER BY name")
            .bind(SETTINGS_SHOWN.as_slice())
            .fetch_all(&mut connection)
            .await?;
        for name in ["fsync", "full_page_writes", "synchronous_commit"] {
            let value = self.settings.iter().find(|(known, _)| known == name).map_or("", |(_, value)| value.as_str());
            if !matches!(value, "on" | "remote_apply") {
                bail!("{name} is {value:?} on this server: figures of a server that loses data mean nothing; set it to on");
            }
        }
        if self.child.is_some() {
            eprintln!("  writing {WARM_UP_MB} MB, so that the server's log has segments to use again");
            for _ in 0..WARM_UP_MB {
                sqlx::raw_sql("SELECT pg_logical_emit_message(false, 'bench', repeat('-', 1048576))").execute(&mut connection).await?;
            }
            sqlx::raw_sql("CHECKPOINT").execute(&mut connection).await?;
            self.settings.push(("warmed up with".to_owned(), format!("{WARM_UP_MB}MB")));
            self.settings.push(("connected by".to_owned(), "TCP".to_owned()));
        }
        Ok(())
    }

    /// Where NATS is.
    pub fn nats_url(&self) -> anyhow::Result<&str> {
        anyhow::ensure!(!self.nats_url.is_empty(), "NATS is needed");
        Ok(&self.nats_url)
    }

    /// An empty database; its name begins with `prefix`.
    pub async fn database(&mut self, prefix: &str) -> anyhow::Result<PgConnectOptions> {
        let name = format!("daybook_bench_{prefix}_{}", infra::clock::new_id().simple());
        let mut connection = PgConnection::connect_with(&self.options).await?;
        sqlx::raw_sql(&format!("CREATE DATABASE {name}")).execute(&mut connection).await?;
        self.databases.push(name.clone());
        Ok(self.options.clone().database(&name))
    }

    /// Drops what was made here.
    pub async fn stop(self) -> anyhow::Result<()> {
        if let Some(child) = self.child {
            child.stop().await?;
        } else {
            let mut connection = PgConnection::connect_with(&self.options).await?;
            for name in &self.databases {
                sqlx::raw_sql(&format!("DROP DATABASE IF EXISTS {name} WITH (FORCE)")).execute(&mut connection).await?;
            }
        }
        if let Some(folder) = self.folder {
            std::fs::remove_dir_all(&folder).with_context(|| format!("can't remove {}", folder.display()))?;
        }
        Ok(())
    }
}

/// A pool of `connections` to a database.
async fn pool(options: &PgConnectOptions, connections: u32) -> Result<PgPool, sqlx::Error> {
    sqlx::postgres::PgPoolOptions::new().max_connections(connections).min_connections(connections).connect_with(options.clone()).await
}
