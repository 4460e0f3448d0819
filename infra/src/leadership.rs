//! One at a time: which of several processes is active in a role.
//!
//! A session-level advisory lock on a connection of its own: it ends with the process or its connection, and whoever stands
//! by takes over within [`POLL_INTERVAL`] of that. Nothing rests on it for correctness (appends check versions, the stream
//! checks its chain): two that are active for a moment are slower, not wrong.

use std::time::Duration;

use chrono::{DateTime, Utc};
use sqlx::{Connection, PgConnection, PgPool};
use tokio::sync::watch;
use tokio::time::{sleep, timeout};

use crate::task::CancellationToken;

/// How often a standby asks, and how often the holder looks whether it still holds.
pub const POLL_INTERVAL: Duration = Duration::from_millis(500);
/// Longest wait for an answer of Postgres.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(2);

/// What only one process does at a time. The number is the lock's key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Leading {
    Writer = 0x6461_7901,
    Relay = 0x6461_7902,
}

/// The answer of a process that asks nobody: it leads.
#[must_use]
pub fn alone() -> watch::Receiver<bool> {
    watch::channel(true).1
}

/// A connection that holds a lock, or asks for it.
struct Candidate {
    connection: PgConnection,
    backend: Backend,
    leads: bool,
}

/// A server process of Postgres; process ids come again, with another start.
type Backend = (i32, DateTime<Utc>);

/// Keeps on asking until `stop`; `active` says whether this process leads. While Postgres can't be reached nobody else can
/// lead either, so the last answer holds.
pub async fn run(pool: PgPool, role: Leading, active: watch::Sender<bool>, stop: CancellationToken) {
    let mut candidate: Option<Candidate> = None;
    let mut former = None;
    loop {
        match timeout(ANSWER_TIMEOUT, ask(&pool, role, &mut candidate, former)).await {
            Ok(Ok(leads)) => {
                former = candidate.as_ref().map(|candidate| candidate.backend);
                if active.send_if_modified(|active| std::mem::replace(active, leads) != leads) {
                    tracing::info!(role = ?role, leads, "this process is {}", if leads { "active" } else { "standing by" });
                }
            }
            // The connection is gone, and with it the lock.
            Ok(Err(_)) | Err(_) => candidate = None,
        }
        tokio::select! { () = stop.cancelled() => return, () = sleep(POLL_INTERVAL) => {} }
    }
}

/// Whether this process leads now. `former` is the backend of a connection that was lost: should it still hold the lock, it
/// does so for nobody.
async fn ask(pool: &PgPool, role: Leading, candidate: &mut Option<Candidate>, former: Option<Backend>) -> Result<bool, sqlx::Error> {
    if candidate.is_none() {
        let mut connection = PgConnection::connect_with(&pool.connect_options()).await?;
        if let Some((pid, started)) = former {
            sqlx::query("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid = $1 AND backend_start = $2")
                .bind(pid)
                .bind(started)
                .execute(&mut connection)
                .await?;
        }
        let backend = sqlx::query_as("SELECT pid, backend_start FROM pg_stat_activity WHERE pid = pg_backend_pid()")
            .fetch_one(&mut connection)
            .await?;
        *candidate = Some(Candidate { connection, backend, leads: false });
    }
    let Some(candidate) = candidate else { return Ok(false) };
    if candidate.leads {
        sqlx::query("SELECT 1").execute(&mut candidate.connection).await?;
    } else {
        let lock = sqlx::query_scalar("SELECT pg_try_advisory_lock($1)").bind(role as i64);
        candidate.leads = lock.fetch_one(&mut candidate.connection).await?;
    }
    Ok(candidate.leads)
}
