//! Pools and migrations.

use std::str::FromStr;
use std::time::Duration;

use sqlx::migrate::Migrator;
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use sqlx::{Connection, PgPool};

/// The log's own migrations; read models bring theirs.
pub static MIGRATOR: Migrator = sqlx::migrate!("./migrations");

/// Longest wait for a free connection.
const ACQUIRE_TIMEOUT: Duration = Duration::from_secs(5);
/// Rest after which a connection is asked whether it still answers.
const RESTED: Duration = Duration::from_secs(1);
/// Longest that a reader's statement may take, in milliseconds.
const STATEMENT_TIMEOUT_MS: &str = "30000";

/// Opens a pool; `search_path` names the schemas of the read models, the log's own comes last. Connections are called what
/// the URL's `application_name` says, else `daybook`.
pub async fn connect(url: &str, connections_max: u32, search_path: &[&str]) -> Result<PgPool, sqlx::Error> {
    pool(connections_max, options(url, search_path)?).await
}

/// For those who follow the log and can do again what they did: a commit does not wait for the disk. What a crash takes away
/// goes with its checkpoint, and comes again.
pub async fn connect_for_followers(url: &str, connections_max: u32, search_path: &[&str]) -> Result<PgPool, sqlx::Error> {
    pool(connections_max, options(url, search_path)?.options([("synchronous_commit", "off")])).await
}

fn options(url: &str, search_path: &[&str]) -> Result<PgConnectOptions, sqlx::Error> {
    let mut path: Vec<&str> = search_path.to_vec();
    path.push("public");
    let options = PgConnectOptions::from_str(url)?;
    let name = options.get_application_name().unwrap_or("daybook").to_owned();
    Ok(options.application_name(&name).options([
        ("search_path", path.join(",").as_str()),
        ("statement_timeout", STATEMENT_TIMEOUT_MS),
        ("timezone", "UTC"),
    ]))
}

async fn pool(connections_max: u32, options: PgConnectOptions) -> Result<PgPool, sqlx::Error> {
    let pool = PgPoolOptions::new().max_connections(connections_max).acquire_timeout(ACQUIRE_TIMEOUT);
    // Asked whether it still answers only where it has rested: to ask before each statement costs as much as the statement.
    let pool = pool.test_before_acquire(false).before_acquire(|connection, usage| {
        Box::pin(async move {
            if usage.idle_for > RESTED {
                connection.ping().await?;
            }
            Ok(true)
        })
    });
    pool.connect_with(options).await
}

/// The three settings without which an acknowledged event can be lost, as `(name, value)`.
pub async fn durability(pool: &PgPool) -> Result<Vec<(String, String)>, sqlx::Error> {
    sqlx::query_as(
        "SELECT name, setting FROM pg_settings
         WHERE name IN ('fsync', 'full_page_writes', 'synchronous_commit') ORDER BY name",
    )
    .fetch_all(pool)
    .await
}
