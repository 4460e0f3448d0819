//! Reads that know what they have seen: waiting for a token, saying the position, answering 304.

use std::collections::HashMap;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use commands::answer::Position;
use infra::event_log;
use infra::task::CancellationToken;
use projections::projector::Progress;
use serde::Serialize;
use sqlx::pool::PoolConnection;
use sqlx::{PgPool, Postgres};
use tokio::sync::{Notify, watch};
use tokio::time::Instant;

use super::caller::Caller;
use super::problem::Problem;
use crate::app::App;

/// How often the checkpoints are looked at while somebody waits for one; and where this process's own projectors say so when
/// they move.
const CHECK_INTERVAL: Duration = Duration::from_millis(2);
const OWN_CHECK_INTERVAL: Duration = Duration::from_millis(50);

/// Longest wait for a look.
const LOOK_TIMEOUT: Duration = Duration::from_secs(6);

/// How old the checkpoints may be that a read goes by.
const FRESH: Duration = Duration::from_millis(20);

/// The checkpoints as one task reads them for all that wait: many waiting reads cost as many queries as one.
#[derive(Debug)]
pub struct Checkpoints {
    pool: PgPool,
    progress: Progress,
    /// Somebody needs a look at once.
    wanted: Notify,
    /// Somebody waits for a projection to come somewhere.
    waiting: Notify,
    seen: watch::Sender<Seen>,
}

/// The checkpoints as they were read last. Whoever reads a row later reads it at these positions or beyond.
#[derive(Debug, Default)]
struct Seen {
    read_at: Option<Instant>,
    epoch: i32,
    /// The log's last position.
    head: i64,
    /// By projection: its position, and whether it is being made anew.
    projections: HashMap<String, (i64, bool)>,
    /// Looks that have failed.
    failures: u64,
}

impl Seen {
    fn has_reached(&self, projection: &str, position: i64) -> bool {
        self.projections.get(projection).is_some_and(|(at, _)| *at >= position)
    }
}

impl Checkpoints {
    pub fn new(pool: PgPool, progress: Progress) -> Self {
        Self { pool, progress, wanted: Notify::new(), waiting: Notify::new(), seen: watch::channel(Seen::default()).0 }
    }

    /// Reads the checkpoints when it is asked to, and as long as somebody waits, until `stop`.
    pub async fn run(self: Arc<Self>, stop: CancellationToken) {
        let mut kept = None;
        let mut looked_at = Instant::now();
        loop {
            let interval = if self.progress.is_known() { OWN_CHECK_INTERVAL } else { CHECK_INTERVAL };
            tokio::select! {
                () = stop.cancelled() => return,
                () = self.wanted.notified() => {}
                () = self.waiting.notified() => continue,
                () = tokio::time::sleep_until(looked_at + interval), if self.seen.receiver_count() > 0 => {}
            }
            looked_at = Instant::now();
            // A connection is kept, so that it is not asked at each use whether it still answers.
            let looked = match kept.take() {
                Some(connection) => self.look(connection).await,
                None => match self.pool.acquire().await {
                    Ok(connection) => self.look(connection).await,
                    Err(error) => Err(error),
                },
            };
            match looked {
                Ok(connection) => kept = Some(connection),
                Err(error) => {
                    self.seen.send_modify(|seen| seen.failures += 1);
                    tracing::warn!(error = &error as &dyn std::error::Error, "the checkpoints can't be read");
                }
            }
        }
    }

    async fn look(&self, mut connection: PoolConnection<Postgres>) -> Result<PoolConnection<Postgres>, sqlx::Error> {
        let read_at = Instant::now();
        let rows: Vec<(i32, i64, String, i64, bool)> = sqlx::query_as(
            "SELECT head.epoch, head.last_position, projection, position, status = 'rebuilding'
             FROM checkpoint, (SELECT epoch, last_position FROM event_batch ORDER BY batch DESC LIMIT 1) head",
        )
        .fetch_all(&mut *connection)
        .await?;
        let (epoch, head) = rows.first().map_or((0, 0), |row| (row.0, row.1));
        let of = |(_, _, projection, position, rebuilding)| (projection, (position, rebuilding));
        let projections = rows.into_iter().map(of).collect();
        self.seen.send_modify(|seen| *seen = Seen { read_at: Some(read_at), epoch, head, projections, failures: seen.failures });
        Ok(connection)
    }

    /// Where a projection stands, in the log's epoch; what was read a moment ago will do.
    pub async fn of(&self, projection: &str) -> Result<Position, Problem> {
        self.refresh().await?;
        let seen = self.seen.borrow();
        match seen.projections.get(projection) {
            Some((position, false)) => Ok(Position { epoch: seen.epoch, position: *position }),
            _ => Err(Problem::new("read_model_behind", format!("the read model {projection} is being made anew; repeat shortly"))),
        }
    }

    /// Sees to it that what was seen is fresh: all who ask at once are answered by one look.
    async fn refresh(&self) -> Result<(), Problem> {
        let mut seen = self.seen.subscribe();
        let asked_at = Instant::now();
        let is_fresh = |seen: &Seen| seen.read_at.is_some_and(|read_at| read_at + FRESH > asked_at);
        let (failures, fresh) = {
            let seen = seen.borrow();
            (seen.failures, is_fresh(&seen))
        };
        if fresh {
            return Ok(());
        }
        self.wanted.notify_one();
        let looked = seen.wait_for(|seen| is_fresh(seen) || seen.failures != failures);
        match tokio::time::timeout(LOOK_TIMEOUT, looked).await {
            Ok(Ok(seen)) if seen.failures == failures => Ok(()),
            _ => Err(Problem::new("unavailable", "the database does not answer; repeat shortly")),
        }
    }

    /// Refuses a token that this log can't honour: of a lost future, or never written.
    pub async fn check(&self, token: Position) -> Result<(), Problem> {
        self.refresh().await?;
        let is_written = {
            let seen = self.seen.borrow();
            token.epoch == seen.epoch && token.position <= seen.head
        };
        if is_written { Ok(()) } else { check_token(&self.pool, token).await }
    }

    /// The next read looks again: a read model was emptied.
    pub fn forget(&self) {
        self.seen.send_modify(|seen| seen.read_at = None);
    }

    /// Waits until a projection has seen a position. `false`: not before `until`.
    async fn reach(&self, projection: &str, position: i64, until: Instant) -> bool {
        let mut seen = self.seen.subscribe();
        let mut looked = pin!(seen.wait_for(|seen| seen.has_reached(projection, position)));
        let own = async {
            self.progress.reach(projection, position).await;
            // Its word is confirmed by a look, since somebody may have set it back.
            self.wanted.notify_one();
            std::future::pending::<()>().await;
        };
        self.waiting.notify_one();
        let reached = async {
            tokio::select! { () = own => false, seen = &mut looked => seen.is_ok() }
        };
        matches!(tokio::time::timeout_at(until, reached).await, Ok(true))
    }
}

/// As [`Checkpoints::check`], by the log itself.
pub async fn check_token(pool: &PgPool, token: Position) -> Result<(), Problem> {
    let head = event_log::head(pool).await?;
    if token.epoch == head.epoch && token.position <= head.position {
        return Ok(());
    }
    let epochs = event_log::epochs(pool).await?;
    let next = epochs.iter().find(|e| e.epoch > token.epoch);
    if let (Some(next), true) = (next, epochs.iter().any(|e| e.epoch == token.epoch)) {
        if token.position < next.first_position {
            return Ok(());
        }
        return Err(Problem::new("write_lost", "the log was restored from before this write; read again and repeat the write"));
    }
    Err(Problem::new("position_unknown", "the token names a position that was never written; leave it out"))
}

impl App {
    /// Waits until `projection` has seen the caller's token, and says where it stands.
    pub async fn read_position(&self, caller: &Caller, query: Option<&str>, projection: &str) -> Result<Position, Problem> {
        let Some(token) = caller.token(query)? else {
            return self.checkpoints.of(projection).await;
        };
        self.checkpoints.check(token).await?;
        let http = &self.config.http;
        let wait = caller.wait_s().map_or(http.read_wait_ms, |s| s.saturating_mul(1_000)).min(http.read_wait_max_ms);
        let until = Instant::now() + Duration::from_millis(wait);
        let at = self.checkpoints.of(projection).await?;
        if at.position >= token.position {
            return Ok(at);
        }
        let reached = self.checkpoints.reach(projection, token.position, until).await;
        let at = self.checkpoints.of(projection).await?;
        if reached {
            return Ok(at);
        }
        let detail = format!("the read model {projection} is at {at}, the token is {token}; repeat shortly");
        Err(Problem::new("read_model_behind", detail))
    }
}

/// An answer of a read: its body, the position it was read at, and its version for `ETag`.
#[derive(Debug)]
pub struct Read<T> {
    pub body: T,
    pub position: Position,
    pub version: Option<i64>,
    /// Seconds that anybody may keep the answer; personal answers are not kept at all.
    pub public_s: Option<u32>,
    pub if_none_match: Option<String>,
}

impl<T> Read<T> {
    pub fn personal(body: T, position: Position) -> Self {
        Self { body, position, version: None, public_s: None, if_none_match: None }
    }

    pub fn public(body: T, position: Position, seconds: u32) -> Self {
        Self { public_s: Some(seconds), ..Self::personal(body, position) }
    }

    #[must_use]
    pub fn version(mut self, version: i64, caller: &Caller) -> Self {
        self.version = Some(version);
        self.if_none_match = caller.header("if-none-match").map(str::to_owned);
        self
    }
}

impl<T: Serialize> IntoResponse for Read<T> {
    fn into_response(self) -> Response {
        let mut headers = HeaderMap::new();
        set(&mut headers, "read-position", &self.position.to_string());
        let cache = self.public_s.map_or_else(|| "no-store".to_owned(), |seconds| format!("public, max-age={seconds}"));
        set(&mut headers, header::CACHE_CONTROL.as_str(), &cache);
        set(&mut headers, header::VARY.as_str(), "authorization, accept-language, accept-encoding, consistency-token");
        if let Some(version) = self.version {
            let tag = format!("\"{version}\"");
            set(&mut headers, header::ETAG.as_str(), &tag);
            if self.if_none_match.as_deref().is_some_and(|known| known.split(',').any(|t| t.trim() == tag || t.trim() == "*")) {
                return (StatusCode::NOT_MODIFIED, headers).into_response();
            }
        }
        (headers, Json(self.body)).into_response()
    }
}

/// An answer of a command: status, body, and the token that a later read waits for.
#[derive(Debug)]
pub struct Wrote<T> {
    pub status: StatusCode,
    pub body: Option<T>,
    pub position: Position,
    pub version: Option<i64>,
    pub replayed: bool,
}

impl<T: Serialize> IntoResponse for Wrote<T> {
    fn into_response(self) -> Response {
        let mut headers = HeaderMap::new();
        set(&mut headers, "consistency-token", &self.position.to_string());
        set(&mut headers, header::CACHE_CONTROL.as_str(), "no-store");
        if let Some(version) = self.version {
            set(&mut headers, header::ETAG.as_str(), &format!("\"{version}\""));
        }
        if self.replayed {
            set(&mut headers, "idempotent-replayed", "true");
        }
        match self.body {
            Some(body) => (self.status, headers, Json(body)).into_response(),
            None => (self.status, headers).into_response(),
        }
    }
}

fn set(headers: &mut HeaderMap, name: &str, value: &str) {
    if let (Ok(name), Ok(value)) = (header::HeaderName::try_from(name), HeaderValue::from_str(value)) {
        headers.insert(name, value);
    }
}
