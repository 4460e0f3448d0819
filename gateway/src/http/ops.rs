//! For operators: is it alive, is it ready, how far behind is what; rebuild, pause, resume, verify.
//!
//! The status is read from the checkpoints in one statement, so that its numbers belong together. What NATS can't say in
//! time is `null`, never a guess.

pub mod parked;
pub mod unmatched;

use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::extract::{Path, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use commands::answer::Position;
use infra::event_log;
use infra::postgres::MIGRATOR;
use infra::stream::STREAM;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use sqlx::{FromRow, PgPool};
use tokio::sync::Semaphore;
use tokio::time::{Instant, sleep, timeout};
use utoipa::ToSchema;

use super::caller::{Operates, Staff};
use super::problem::{Problem, RETRY_AFTER_S};
use super::reading::Read;
use crate::app::App;
use crate::verify::{self, Report};

/// The search replica as a projection.
pub const SEARCH: &str = "search";
/// Longest wait for NATS to say how far the stream is.
const RELAY_TIMEOUT: Duration = Duration::from_secs(1);
/// Longest wait for the database before this process counts as not ready.
const READY_TIMEOUT: Duration = Duration::from_secs(2);
/// Time over which a projection's speed is measured.
const SPEED_SAMPLE: Duration = Duration::from_millis(100);
/// Longest wait for the search replica to begin a rebuild; a small log may be read anew between two looks.
const BEGIN_TIMEOUT: Duration = Duration::from_millis(500);
const BEGIN_POLL: Duration = Duration::from_millis(2);
/// Longest wait for a projector to empty its read model; without one it is emptied when one runs again.
const EMPTIED_TIMEOUT: Duration = Duration::from_secs(3);
const EMPTIED_POLL: Duration = Duration::from_millis(20);
/// Verifications at the same time: each reads the whole log.
static VERIFYING: Semaphore = Semaphore::const_new(1);

#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct StatusBody {
    pub epoch: i32,
    pub head_position: i64,
    /// The last position that is in `JetStream`; null while NATS does not say.
    pub relay_position: Option<i64>,
    pub projections: Vec<ProjectionStatus>,
}

#[derive(Debug, Clone, Serialize, Deserialize, ToSchema, FromRow)]
pub struct ProjectionStatus {
    pub name: String,
    pub version: i32,
    /// `live`, `rebuilding` or `paused`.
    pub status: String,
    /// The last position that it has applied.
    pub checkpoint: i64,
    pub lag_events: i64,
    /// Age of the first batch that it has not applied; 0 when it has caught up.
    pub lag_ms: i64,
    #[sqlx(default)]
    pub events_per_second: i64,
    /// Who works on which partition; empty while each projection has one worker.
    #[sqlx(skip)]
    pub partitions: Vec<PartitionOwner>,
    /// Events that could not be applied, or wait behind one.
    pub parked: i64,
}

#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct PartitionOwner {
    pub partition: i16,
    pub owner: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Action {
    Rebuild,
    Pause,
    Resume,
}

/// What a projection was told, and the head then: it has caught up when its checkpoint is there.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct ActionBody {
    pub name: String,
    pub status: String,
    pub head_position: i64,
}

/// The process lives.
#[derive(Debug, Serialize, ToSchema)]
pub struct AliveBody {
    /// `alive`.
    status: &'static str,
}

/// Whether the process can do its work.
#[derive(Debug, Serialize, ToSchema)]
pub struct ReadyBody {
    /// `ready`, `not_ready`.
    status: &'static str,
    /// What is missing; empty when nothing is.
    not_ready: Vec<Lack>,
}

/// What keeps the process from working.
#[derive(Debug, Serialize, ToSchema)]
pub struct Lack {
    /// `database`, `schema`, `projection`, `writer`, `nats`.
    what: &'static str,
    /// And how to mend it.
    detail: String,
}

/// The process answers.
#[utoipa::path(get, path = "/livez", operation_id = "livez", tag = "operators", responses((status = 200, body = AliveBody)))]
pub async fn livez() -> Json<AliveBody> {
    Json(AliveBody { status: "alive" })
}

/// The process can do its work: database, schema, NATS, read models.
#[utoipa::path(
    get, path = "/readyz", operation_id = "readyz", tag = "operators",
    responses((status = 200, body = ReadyBody), (status = 503, description = "`not_ready` lists what is missing", body = ReadyBody)),
)]
pub async fn readyz(State(app): State<Arc<App>>) -> Response {
    let not_ready = not_ready(&app).await;
    if not_ready.is_empty() {
        return Json(ReadyBody { status: "ready", not_ready }).into_response();
    }
    let body = ReadyBody { status: "not_ready", not_ready };
    (StatusCode::SERVICE_UNAVAILABLE, [(header::RETRY_AFTER, RETRY_AFTER_S.to_string())], Json(body)).into_response()
}

/// How far the log is, and how far everything that follows it.
#[utoipa::path(
    get, path = "/ops/status", operation_id = "show_status", tag = "operators",
    responses(
        (status = 200, body = StatusBody),
    ),
)]
pub async fn status(State(app): State<Arc<App>>, _: Staff<Operates>) -> Result<Read<StatusBody>, Problem> {
    let before = projections(&app.pool, Some(app.search.position().1)).await?;
    let began = Instant::now();
    let (relay_position, ()) = tokio::join!(relay_position(&app), sleep(SPEED_SAMPLE));
    let head = event_log::head(&app.pool).await?;
    let mut projections = projections(&app.pool, Some(app.search.position().1)).await?;
    for projection in &mut projections {
        let earlier = before.iter().find(|b| b.name == projection.name).map_or(projection.checkpoint, |b| b.checkpoint);
        projection.events_per_second = per_second(projection.checkpoint - earlier, began.elapsed());
    }
    let position = Position { epoch: head.epoch, position: head.position };
    Ok(Read::personal(StatusBody { epoch: head.epoch, head_position: head.position, relay_position, projections }, position))
}

/// Makes a read model anew from the log, or stops and resumes it.
#[utoipa::path(
    post, path = "/ops/projections/{name}/{action}", operation_id = "act_on_projection", tag = "operators",
    params(("name" = String, Path, example = "product"), ("action" = Action, Path)),
    responses(
        (status = 202, body = ActionBody),
        (status = 404, description = "not_found"),
        (status = 409, description = "invalid_state: it is not paused, or can't be"),
    ),
)]
pub async fn act(
    State(app): State<Arc<App>>,
    _: Staff<Operates>,
    Path((name, action)): Path<(String, String)>,
) -> Result<(StatusCode, Json<ActionBody>), Problem> {
    let action: Action = serde_json::from_value(Value::String(action)).map_err(|_| Problem::not_found("action"))?;
    let head = event_log::head(&app.pool).await?;
    let status = match (name.as_str(), action) {
        (SEARCH, Action::Rebuild) => rebuild_search(&app, head.position).await,
        (SEARCH, _) => {
            return Err(Problem::new("invalid_state", "the search replica can't be paused; stop the role search instead"));
        }
        // Other readers of the log keep a checkpoint, too; what they did can't be done anew.
        (name, _) if !projections::NAMES.contains(&name) => return Err(Problem::not_found("projection")),
        (_, Action::Rebuild) => rebuild(&app.pool, &name, head.position).await?,
        (_, Action::Pause) => pause(&app.pool, &name).await?,
        (_, Action::Resume) => resume(&app.pool, &name).await?,
    };
    app.checkpoints.forget();
    app.cache.forget();
    tracing::info!(projection = name, status, "an operator changed a projection");
    Ok((StatusCode::ACCEPTED, Json(ActionBody { name, status, head_position: head.position })))
}

/// Checks that the log is whole, the stream its copy, every read model its fold, the provider's ledger ours.
#[utoipa::path(
    post, path = "/ops/verify", operation_id = "verify", tag = "operators",
    responses(
        (status = 200, description = "`discrepancies` is empty when all is well", body = Report),
        (status = 503, description = "overloaded: another verification runs"),
    ),
)]
pub async fn verify(State(app): State<Arc<App>>, _: Staff<Operates>) -> Result<Json<Report>, Problem> {
    let _alone = VERIFYING.try_acquire().map_err(|_| Problem::new("overloaded", "another verification runs; repeat when it has ended"))?;
    let subject = verify::Subject {
        pool: app.pool.clone(),
        sealer: app.sealer.clone(),
        nats: app.nats.clone(),
        sandbox_url: Some(app.config.payments.sandbox_url.clone()).filter(|url| !url.is_empty()),
    };
    Ok(Json(verify::verify(&subject, &|_| {}).await?))
}

/// The checkpoints and how far each is behind the head, with the search replica at the position it is given.
pub async fn projections(pool: &PgPool, search: Option<i64>) -> Result<Vec<ProjectionStatus>, sqlx::Error> {
    sqlx::query_as(
        "WITH head AS (SELECT last_position FROM event_batch ORDER BY batch DESC LIMIT 1),
              reader AS (SELECT projection, version, status, position FROM checkpoint
                         UNION ALL SELECT $2, 1, 'live', $1 WHERE $1 IS NOT NULL)
         SELECT projection AS name, version, status, position AS checkpoint,
                greatest(0, last_position - position) AS lag_events,
                coalesce((SELECT greatest(0, extract(epoch FROM clock_timestamp() - recorded_at) * 1000)
                          FROM event_batch b WHERE b.last_position > reader.position
                          ORDER BY b.last_position, b.batch LIMIT 1), 0)::bigint AS lag_ms,
                (SELECT count(*) FROM parked_event p WHERE p.projection = reader.projection) AS parked
         FROM reader CROSS JOIN head ORDER BY projection",
    )
    .bind(search)
    .bind(SEARCH)
    .fetch_all(pool)
    .await
}

fn per_second(events: i64, elapsed: Duration) -> i64 {
    let elapsed_ms = i64::try_from(elapsed.as_millis()).unwrap_or(i64::MAX).max(1);
    events.max(0).saturating_mul(1_000) / elapsed_ms
}

async fn relay_position(app: &App) -> Option<i64> {
    let context = async_nats::jetstream::new(app.nats.clone()?);
    let stream = timeout(RELAY_TIMEOUT, context.get_stream(STREAM)).await.ok()?.ok()?;
    i64::try_from(stream.cached_info().state.last_sequence).ok()
}

/// Returns when the replica has begun, so that whoever watches its position does not see the old one.
async fn rebuild_search(app: &App, head: i64) -> String {
    app.search.rebuild();
    let until = Instant::now() + BEGIN_TIMEOUT;
    while app.search.position().1 >= head && head > 0 && Instant::now() < until {
        sleep(BEGIN_POLL).await;
    }
    "rebuilding".to_owned()
}

/// As [`rebuild_search`], of a projection.
async fn rebuild(pool: &PgPool, name: &str, head: i64) -> Result<String, Problem> {
    if !projections::rebuild(pool, name).await? {
        return Err(Problem::not_found("projection"));
    }
    let until = Instant::now() + EMPTIED_TIMEOUT;
    let is_to_begin = "SELECT to_be_emptied FROM checkpoint WHERE projection = $1";
    while head > 0 && Instant::now() < until && sqlx::query_scalar(is_to_begin).bind(name).fetch_one(pool).await? {
        sleep(EMPTIED_POLL).await;
    }
    Ok("rebuilding".to_owned())
}

async fn pause(pool: &PgPool, name: &str) -> Result<String, Problem> {
    let paused: Option<String> =
        sqlx::query_scalar("UPDATE checkpoint SET status = 'paused' WHERE projection = $1 AND status <> 'rebuilding' RETURNING status")
            .bind(name)
            .fetch_optional(pool)
            .await?;
    paused.ok_or_else(|| Problem::new("invalid_state", "the projection is being made anew; pause it when it is live again"))
}

async fn resume(pool: &PgPool, name: &str) -> Result<String, Problem> {
    let status: Option<String> =
        sqlx::query_scalar("UPDATE checkpoint SET status = 'live' WHERE projection = $1 AND status = 'paused' RETURNING status")
            .bind(name)
            .fetch_optional(pool)
            .await?;
    status.ok_or_else(|| Problem::new("invalid_state", "the projection is not paused"))
}

/// What keeps this process from working, each with its fix.
async fn not_ready(app: &App) -> Vec<Lack> {
    let mut missing = Vec::new();
    let mut lacks = |what: &'static str, detail: String| missing.push(Lack { what, detail });
    match timeout(READY_TIMEOUT, schema(&app.pool)).await {
        Ok(Ok((version, checkpoints))) => {
            let needed = MIGRATOR.iter().map(|migration| migration.version).max().unwrap_or(0);
            if version < needed {
                lacks("schema", format!("the log's schema is at {version}, {needed} is needed: run `daybook migrate`"));
            }
            for name in projections::NAMES.iter().filter(|name| !checkpoints.iter().any(|known| known == *name)) {
                lacks("projection", format!("the read model {name} is not there: run `daybook migrate`"));
            }
        }
        Ok(Err(error)) if is_missing_table(&error) => lacks("schema", "the log's schema is not there: run `daybook migrate`".to_owned()),
        Ok(Err(_)) | Err(_) => lacks("database", "Postgres does not answer: check it and DATABASE_URL".to_owned()),
    }
    if !app.writer.is_active() {
        let detail = "another process writes and this one stands by, or JetStream could not be asked yet what it has of the log";
        lacks("writer", format!("{detail}: `daybook doctor` says which"));
    }
    if !app.search.is_filled() {
        lacks("search", "the search index is being filled from the catalogue; `daybook projections` shows how far it is".to_owned());
    }
    let connected = app.nats.as_ref().is_some_and(|nats| nats.connection_state() == async_nats::connection::State::Connected);
    if !connected {
        lacks("nats", "NATS does not answer: check it and NATS_URL".to_owned());
    }
    missing
}

async fn schema(pool: &PgPool) -> Result<(i64, Vec<String>), sqlx::Error> {
    let version: Option<i64> = sqlx::query_scalar("SELECT max(version) FROM _sqlx_migrations WHERE success").fetch_one(pool).await?;
    let checkpoints = sqlx::query_scalar("SELECT projection FROM checkpoint").fetch_all(pool).await?;
    Ok((version.unwrap_or(0), checkpoints))
}

fn is_missing_table(error: &sqlx::Error) -> bool {
    error.as_database_error().and_then(sqlx::error::DatabaseError::code).is_some_and(|code| code == "42P01")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_speed_is_events_by_time_and_never_negative() {
        assert_eq!(per_second(250, Duration::from_millis(100)), 2_500);
        assert_eq!(per_second(-250, Duration::from_millis(100)), 0);
        assert_eq!(per_second(1, Duration::ZERO), 1_000);
    }
}
