//! Reads that know what they have seen: waiting for a token, saying the position, answering 304.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use commands::answer::Position;
use infra::event_log;
use infra::task::CancellationToken;
use serde::Serialize;
use sqlx::PgPool;
use tokio::sync::{Notify, watch};
use tokio::time::Instant;

use super::caller::Caller;
use super::problem::Problem;
use crate::app::App;

/// How often the checkpoints are looked at while somebody waits for one.
const CHECK_INTERVAL: Duration = Duration::from_millis(2);

/// How old the checkpoints may be that a read goes by.
const FRESH: Duration = Duration::from_millis(5);

/// The checkpoints as one task reads them for all that wait: many waiting reads cost as many queries as one.
#[derive(Debug)]
pub struct Checkpoints {
    pool: PgPool,
    wanted: Notify,
    seen: watch::Sender<Seen>,
}

/// The checkpoints as they were read last. Whoever reads a row later reads it at these positions or beyond.
#[derive(Debug, Default)]
struct Seen {
    read_at: Option<Instant>,
    epoch: i32,
    /// By projection: its position, and whether it is being made anew.
    projections: HashMap<String, (i64, bool)>,
}

impl Checkpoints {
    pub fn new(pool: PgPool) -> Self {
        Self { pool, wanted: Notify::new(), seen: watch::channel(Seen::default()).0 }
    }

    /// Reads the checkpoints as long as somebody waits, until `stop`.
    pub async fn run(self: Arc<Self>, stop: CancellationToken) {
        loop {
            tokio::select! { () = stop.cancelled() => return, () = self.wanted.notified() => {} }
            while self.seen.receiver_count() > 0 && !stop.is_cancelled() {
                if let Err(error) = self.look().await {
                    tracing::warn!(error = &error as &dyn std::error::Error, "the checkpoints can't be read");
                }
                tokio::time::sleep(CHECK_INTERVAL).await;
            }
        }
    }

    async fn look(&self) -> Result<(), sqlx::Error> {
        let read_at = Instant::now();
        let rows: Vec<(i32, String, i64, bool)> = sqlx::query_as(
            "SELECT (SELECT epoch FROM event_batch ORDER BY batch DESC LIMIT 1), projection, position, status = 'rebuilding' FROM checkpoint",
        )
        .fetch_all(&self.pool)
        .await?;
        let epoch = rows.first().map_or(0, |row| row.0);
        let projections = rows.into_iter().map(|(_, projection, position, rebuilding)| (projection, (position, rebuilding))).collect();
        self.seen.send_replace(Seen { read_at: Some(read_at), epoch, projections });
        Ok(())
    }

    /// Where a projection stands, in the log's epoch; what was read a moment ago will do.
    pub async fn of(&self, projection: &str) -> Result<Position, Problem> {
        let is_fresh = self.seen.borrow().read_at.is_some_and(|read_at| read_at.elapsed() < FRESH);
        if !is_fresh {
            self.look().await?;
        }
        let seen = self.seen.borrow();
        match seen.projections.get(projection) {
            Some((position, false)) => Ok(Position { epoch: seen.epoch, position: *position }),
            _ => Err(Problem::new("read_model_behind", format!("the read model {projection} is being made anew; repeat shortly"))),
        }
    }

    /// The next read looks again: a read model was emptied.
    pub fn forget(&self) {
        self.seen.send_modify(|seen| seen.read_at = None);
    }

    /// Waits until a projection has seen a position. `false`: not before `until`.
    async fn reach(&self, projection: &str, position: i64, until: Instant) -> bool {
        let mut seen = self.seen.subscribe();
        self.wanted.notify_one();
        let reached = seen.wait_for(|seen| seen.projections.get(projection).is_some_and(|(at, _)| *at >= position));
        matches!(tokio::time::timeout_at(until, reached).await, Ok(Ok(_)))
    }
}

/// Refuses a token that this log can't honour: of a lost future, or never written.
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
        check_token(&self.pool, token).await?;
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
