//! What read models could not apply: listed, tried again, passed over.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, State};
use chrono::{DateTime, Utc};
use projections::parked::{Action, ParkedError};
use projections::projector::ApplyError;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::{IntoParams, ToSchema};

use crate::app::App;
use crate::http::body::Query;
use crate::http::caller::{Operates, Staff};
use crate::http::problem::Problem;

/// Parked events on one page, unless asked for less or more, and at most.
const PAGE_DEFAULT: i64 = 50;
const PAGE_MAX: i64 = 200;

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct ParkedQuery {
    /// Only of this projection.
    projection: Option<String>,
    /// 1 to 200; 50 unless given.
    limit: Option<i64>,
    /// `next_cursor` of the previous answer.
    cursor: Option<String>,
}

#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct ParkedBody {
    pub items: Vec<ParkedEvent>,
    pub next_cursor: Option<String>,
}

/// An event that a projection could not apply, or that waits behind such a one.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct ParkedEvent {
    /// `⟨projection⟩:⟨position⟩`
    pub id: String,
    pub projection: String,
    pub position: i64,
    /// `⟨aggregate_type⟩/⟨aggregate_id⟩`
    pub stream: String,
    pub error: String,
    pub parked_at: DateTime<Utc>,
}

/// What became of a parked stream.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct ReleasedBody {
    /// The stream's events that were applied or passed over.
    pub released: u64,
    /// The event at which it stopped; the stream is parked from there on. Absent when all of it was applied.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stopped_at: Option<String>,
    /// Why.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

/// The events that projections could not apply.
#[utoipa::path(
    get, path = "/ops/parked", operation_id = "list_parked", tag = "operators",
    params(ParkedQuery),
    responses(
        (status = 200, body = ParkedBody),
        (status = 400, description = "invalid_parameter or invalid_cursor"),
    ),
)]
pub async fn list(State(app): State<Arc<App>>, _: Staff<Operates>, Query(query): Query<ParkedQuery>) -> Result<Json<ParkedBody>, Problem> {
    let limit = query.limit.unwrap_or(PAGE_DEFAULT);
    if !(1..=PAGE_MAX).contains(&limit) {
        return Err(Problem::new("invalid_parameter", format!("limit must be 1 to {PAGE_MAX}")));
    }
    let (after_projection, after_position) = match query.cursor.as_deref() {
        None => ("", 0),
        Some(cursor) => {
            parse_id(cursor).ok_or_else(|| Problem::new("invalid_cursor", "use next_cursor of the previous answer as it is"))?
        }
    };
    let rows: Vec<(String, i64, String, String, DateTime<Utc>)> = sqlx::query_as(
        r#"SELECT projection, position, aggregate_type || '/' || aggregate_id, error, parked_at FROM parked_event
           WHERE (projection COLLATE "C", position) > ($1, $2) AND ($3::text IS NULL OR projection = $3)
           ORDER BY projection COLLATE "C", position LIMIT $4"#,
    )
    .bind(after_projection)
    .bind(after_position)
    .bind(query.projection.as_deref())
    .bind(limit + 1)
    .fetch_all(&app.pool)
    .await?;
    let more = i64::try_from(rows.len()).is_ok_and(|length| length > limit);
    let mut items: Vec<ParkedEvent> = rows
        .into_iter()
        .map(|(projection, position, stream, error, parked_at)| {
            let id = format!("{projection}:{position}");
            ParkedEvent { id, projection, position, stream, error, parked_at }
        })
        .collect();
    if more {
        items.pop();
    }
    let next_cursor = items.last().filter(|_| more).map(|last| last.id.clone());
    Ok(Json(ParkedBody { items, next_cursor }))
}

/// Applies the events of a parked stream after all, from this one on (`retry`), or passes this one over and applies those
/// behind it (`discard`).
///
/// The stream's row keeps the state that it has when an event is passed over: `verify` then names it, for it is not the fold
/// of its stream any more; a rebuild tries the event again.
#[utoipa::path(
    post, path = "/ops/parked/{id}/{action}", operation_id = "act_on_parked", tag = "operators",
    params(("id" = String, Path, example = "order:17"), ("action" = String, Path, example = "retry")),
    responses(
        (status = 200, body = ReleasedBody),
        (status = 404, description = "not_found: nothing of this id is parked"),
        (status = 409, description = "invalid_state: it still can't be applied, or another event of its stream is parked before it"),
    ),
)]
pub async fn act(
    State(app): State<Arc<App>>,
    _: Staff<Operates>,
    Path((id, action)): Path<(String, String)>,
) -> Result<Json<ReleasedBody>, Problem> {
    let action: Action = serde_json::from_value(Value::String(action)).map_err(|_| Problem::not_found("action"))?;
    let (projection, position) = parse_id(&id).ok_or_else(|| Problem::not_found("parked event"))?;
    let released =
        projections::release(&app.pool, &app.sealer, projection, position, action).await.map_err(|error| refused(projection, error))?;
    tracing::info!(projection, position, ?action, released = released.released, "an operator released a parked stream");
    match released.stopped {
        Some((position, reason)) if released.released == 0 => {
            Err(Problem::new("invalid_state", format!("the event at position {position} still can't be applied: {reason}")))
        }
        stopped => {
            let (stopped_at, error) = stopped.map(|(position, reason)| (format!("{projection}:{position}"), reason)).unzip();
            Ok(Json(ReleasedBody { released: released.released, stopped_at, error }))
        }
    }
}

fn refused(projection: &str, error: ParkedError) -> Problem {
    match error {
        ParkedError::NotParked => Problem::not_found("parked event"),
        ParkedError::NotFirst(first) => {
            Problem::new("invalid_state", format!("an event of the same stream is parked before it: begin with {projection}:{first}"))
        }
        ParkedError::Begins => Problem::new("invalid_state", error.to_string()),
        ParkedError::Apply(ApplyError::Database(error)) => error.into(),
        ParkedError::Apply(error) => {
            tracing::error!(error = &error as &dyn std::error::Error, "a parked stream can't be released now");
            Problem::new("unavailable", "the read model can't be written now; repeat the request")
        }
    }
}

fn parse_id(text: &str) -> Option<(&str, i64)> {
    let (projection, position) = text.rsplit_once(':')?;
    Some((projection, position.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_parked_event_is_named_by_projection_and_position() {
        assert_eq!(parse_id("order:17"), Some(("order", 17)));
        assert_eq!(parse_id("order"), None);
    }
}
