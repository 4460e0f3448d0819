//! Reads that know what they have seen: waiting for a token, saying the position, answering 304.

use std::collections::HashMap;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use commands::answer::Position;
use domain::event::Root;
use infra::event_log::{self, Epoch};
use infra::task::CancellationToken;
use projections::projector::Progress;
use serde::{Deserialize, Serialize};
use sqlx::pool::PoolConnection;
use sqlx::{PgPool, Postgres};
use tokio::sync::{Notify, watch};
use tokio::time::Instant;
use utoipa::IntoParams;

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
    projections: HashMap<String, Standing>,
    /// Looks that have failed.
    failures: u64,
}

/// How a projection stands.
#[derive(Debug, Clone, Copy)]
struct Standing {
    position: i64,
    is_being_made: bool,
    has_parked: bool,
}

impl Seen {
    fn has_reached(&self, projection: &str, position: i64) -> bool {
        self.projections.get(projection).is_some_and(|standing| standing.position >= position)
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
        let rows: Vec<(i32, i64, String, i64, bool, bool)> = sqlx::query_as(
            "SELECT head.epoch, head.last_position, projection, position, status = 'rebuilding',
                    EXISTS (SELECT FROM parked_event p WHERE p.projection = checkpoint.projection)
             FROM checkpoint, (SELECT epoch, last_position FROM event_batch ORDER BY batch DESC LIMIT 1) head",
        )
        .fetch_all(&mut *connection)
        .await?;
        let (epoch, head) = rows.first().map_or((0, 0), |row| (row.0, row.1));
        let of = |(_, _, projection, position, is_being_made, has_parked)| (projection, Standing { position, is_being_made, has_parked });
        let projections = rows.into_iter().map(of).collect();
        self.seen.send_modify(|seen| *seen = Seen { read_at: Some(read_at), epoch, head, projections, failures: seen.failures });
        Ok(connection)
    }

    /// Where a projection stands, in the log's epoch; what was read a moment ago will do.
    pub async fn of(&self, projection: &str) -> Result<Position, Problem> {
        self.refresh().await?;
        let seen = self.seen.borrow();
        match seen.projections.get(projection) {
            Some(Standing { position, is_being_made: false, .. }) => Ok(Position { epoch: seen.epoch, position: *position }),
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

    fn has_parked(&self, projection: &str) -> bool {
        self.seen.borrow().projections.get(projection).is_some_and(|standing| standing.has_parked)
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
    match is_kept(token, &event_log::epochs(pool).await?) {
        Some(true) => Ok(()),
        Some(false) => Err(Problem::new("write_lost", "the log was restored from before this write; read again and repeat the write")),
        None => Err(Problem::new("position_unknown", "the token names a position that was never written; leave it out")),
    }
}

/// Whether what a token of an earlier epoch has seen is in the log still; `None`: its epoch has not been. Its own epoch may have
/// gone with what was lost: the next one that is left begins where the log was cut off.
fn is_kept(token: Position, epochs: &[Epoch]) -> Option<bool> {
    let next = epochs.iter().find(|epoch| epoch.epoch > token.epoch)?;
    Some(token.position < next.first_position)
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

    /// Waits until `projection` has applied all that the log has now, parked streams too.
    pub async fn reach_head(&self, projection: &str) -> Result<(), Problem> {
        let head = event_log::head(&self.pool).await?;
        let until = Instant::now() + Duration::from_millis(self.config.http.read_wait_max_ms);
        let at = self.checkpoints.of(projection).await?;
        if at.position < head.position && !self.checkpoints.reach(projection, head.position, until).await {
            let detail = format!("the read model {projection} is at {at}, the log is at {}; repeat shortly", head.position);
            return Err(Problem::new("read_model_behind", detail));
        }
        if self.checkpoints.has_parked(projection) {
            let detail = format!("the read model {projection} has parked streams; repeat when an operator has released them");
            return Err(Problem::new("read_model_behind", detail));
        }
        Ok(())
    }
}

impl App {
    /// Where the rows of these aggregates stand in a projection that stands at `at`: where an event of one is parked, before it.
    /// Refuses a token of beyond.
    pub async fn rows_position<A: Root>(
        &self,
        caller: &Caller,
        query: Option<&str>,
        projection: &str,
        ids: &[String],
        at: Position,
    ) -> Result<Position, Problem> {
        if !self.checkpoints.has_parked(projection) {
            return Ok(at);
        }
        let parked: Option<i64> = sqlx::query_scalar(
            "SELECT min(position) FROM parked_event WHERE projection = $1 AND aggregate_type = $2 AND aggregate_id = ANY ($3)",
        )
        .bind(projection)
        .bind(A::TYPE)
        .bind(ids)
        .fetch_one(&self.pool)
        .await?;
        let Some(parked) = parked else { return Ok(at) };
        let at = Position { position: at.position.min(parked - 1), ..at };
        match caller.token(query)? {
            Some(token) if token.position > at.position => {
                let detail = format!(
                    "the read model {projection} can't apply position {parked}, which it needs to show this as of {token}; \
                     read without the token, or with as_of, until an operator has released it"
                );
                Err(Problem::new("read_model_behind", detail))
            }
            _ => Ok(at),
        }
    }
}

#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct TokenQuery {
    /// A consistency token that the answer must have seen.
    pub token_position: Option<String>,
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_of_a_lost_future_is_known_for_one_when_its_epoch_is_lost_too() {
        // Restored to position 100 in epoch 1, which began epoch 2; then restored to 100 again.
        let epochs = [Epoch { epoch: 1, first_position: 1 }, Epoch { epoch: 3, first_position: 101 }];
        let is_kept = |epoch, position| is_kept(Position { epoch, position }, &epochs);
        assert_eq!((is_kept(1, 100), is_kept(1, 101)), (Some(true), Some(false)));
        assert_eq!((is_kept(2, 100), is_kept(2, 101)), (Some(true), Some(false)));
        assert_eq!((is_kept(3, 101), is_kept(4, 1)), (None, None));
    }
}
