//! The log from outside: events as stored, streams as of any position, the schemas of payloads.
//!
//! Reads Postgres alone, so nothing is skipped whatever NATS does. An answer is made page by page while the caller reads
//! it; a whole ndjson answer ends with the line `{"scanned_to": …}`, one without it was cut off. Personal fields of events
//! stay sealed; in a stream's state they are open for roles that may open them.

mod walk;

use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::{HeaderValue, header};
use axum::response::sse::{KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use chrono::{DateTime, Utc};
use commands::answer::Position;
use commands::loader::Loader;
use domain::cart::Cart;
use domain::catalog::{Category, Product};
use domain::claim::Claim;
use domain::customer::Subject;
use domain::event::Root;
use domain::inventory::StockItem;
use domain::merchandising::Merchandising;
use domain::order::Order;
use domain::payment::Payment;
use domain::promotion::Promotion;
use domain::setting::Settings;
use futures::StreamExt;
use infra::cloud_event;
use infra::event_log::{self, PAGE_EVENTS_MAX};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use serde_json::{Value, json};
use sqlx::PgPool;
use utoipa::{IntoParams, ToSchema};

use super::body::Query;
use super::caller::{Analyses, Caller, Staff};
use super::problem::Problem;
use super::reading::{Read, check_token};
use crate::app::App;

pub use walk::Filter;
use walk::Scan;

/// Silence after which an event stream says that it still lives.
const KEEP_ALIVE: Duration = Duration::from_secs(15);

const NDJSON: &str = "application/x-ndjson";
const EVENT_STREAM: &str = "text/event-stream";
const PARQUET: &str = "application/vnd.apache.parquet";

#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct EventsQuery {
    /// Events after this position or token; the log's beginning unless given.
    #[param(value_type = Option<String>, example = "1.1200")]
    after: Option<String>,
    /// Events up to this position or token.
    #[param(value_type = Option<String>, example = "1.1300")]
    until: Option<String>,
    /// Most events that are answered.
    #[param(minimum = 1)]
    limit: Option<u64>,
    /// Contexts, separated by commas.
    #[param(example = "order,payment")]
    context: Option<String>,
    /// Event types, separated by commas.
    #[serde(rename = "type")]
    #[param(example = "OrderPlaced")]
    kind: Option<String>,
    /// An aggregate type, or one stream: `order` or `order/⟨id⟩`.
    stream: Option<String>,
    /// Events recorded at this time or later (RFC 3339).
    #[param(example = "2026-11-01T00:00:00Z")]
    from: Option<String>,
    /// Events recorded before this time (RFC 3339).
    #[param(example = "2026-12-01T00:00:00Z")]
    to: Option<String>,
    /// A consistency token that the log must have.
    token_position: Option<String>,
}

#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct StreamQuery {
    /// A position, a token or a time (RFC 3339); now unless given.
    as_of: Option<String>,
    /// Events after this version of the stream.
    after: Option<i64>,
    /// A consistency token that the log must have.
    token_position: Option<String>,
}

/// A stream as of a position.
#[derive(Debug, Serialize, ToSchema)]
pub struct StreamBody {
    #[serde(rename = "type")]
    #[schema(example = "order")]
    kind: String,
    id: String,
    version: i64,
    /// The position that the state is as of.
    #[schema(example = "1.1200")]
    as_of: String,
    /// The fold of its events; `{"sealed": true}` stands for what the role may not open.
    #[schema(value_type = Object)]
    state: Value,
    /// `CloudEvents` 1.0, as stored, in order.
    #[schema(value_type = Vec<Object>)]
    events: Vec<Box<RawValue>>,
    /// There are more events: ask for those `after` this version.
    next_after: Option<i64>,
}

/// A place in the log as callers write it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    Position(i64),
    Token(Position),
    Time(DateTime<Utc>),
}

impl Place {
    pub fn parse(text: &str) -> Option<Self> {
        let position = text.parse().ok().filter(|&position| position >= 0).map(Self::Position);
        let token = || text.parse().ok().map(Self::Token);
        position.or_else(token).or_else(|| parse_time(text).map(Self::Time))
    }
}

fn time(name: &str, text: Option<&str>) -> Result<Option<DateTime<Utc>>, Problem> {
    let Some(text) = text else { return Ok(None) };
    let refused = || Problem::new("invalid_parameter", format!("{name} must be an RFC 3339 time, not {text:?}"));
    parse_time(text).map(Some).ok_or_else(refused)
}

fn parse_time(text: &str) -> Option<DateTime<Utc>> {
    // `+` of an offset arrives as a space where it was not percent-encoded.
    text.replace(' ', "+").parse().ok()
}

/// The position that `text`, the parameter `name`, means: a position, a token or a time; refuses what this log does not have.
pub async fn resolve(pool: &PgPool, name: &str, text: &str) -> Result<i64, Problem> {
    let place = Place::parse(text).ok_or_else(|| {
        Problem::new("invalid_parameter", format!("{name} must be a position, a token or an RFC 3339 time, not {text:?}"))
    })?;
    find(pool, name, place).await
}

/// As [`resolve`], of a place that was parsed.
pub async fn find(pool: &PgPool, name: &str, place: Place) -> Result<i64, Problem> {
    match place {
        Place::Time(at) => Ok(event_log::position_at(pool, at).await?),
        Place::Token(token) => check_token(pool, token).await.map(|()| token.position),
        Place::Position(position) => {
            let head = event_log::head(pool).await?;
            if position > head.position {
                let detail = format!("{name} is {position}, the log ends at {}", head.position);
                return Err(Problem::new("position_unknown", detail));
            }
            Ok(position)
        }
    }
}

/// The log, from a place on: ndjson up to the head, or a stream that follows it.
#[utoipa::path(
    get, path = "/events", operation_id = "list_events", tag = "analysts",
    params(EventsQuery, ("Last-Event-ID" = Option<String>, Header, description = "Resume a `text/event-stream` after this id")),
    responses(
        (status = 200,
            description = "CloudEvents, one a line, the last line is `{\"scanned_to\": …, \"events\": …}`; or as server-sent events that follow the head",
            content((String = "application/x-ndjson"), (String = "text/event-stream"))),
        (status = 400, description = "invalid_parameter"),
        (status = 409, description = "position_unknown or write_lost"),
    ),
)]
pub async fn list(State(app): State<Arc<App>>, caller: Staff<Analyses>, Query(query): Query<EventsQuery>) -> Result<Response, Problem> {
    has_seen(&app, &caller, query.token_position.as_deref()).await?;
    let format = format_of(caller.header("accept"))?;
    let head = event_log::head(&app.pool).await?;
    let resume = caller.header("last-event-id").filter(|_| format == EVENT_STREAM);
    let scan = Scan::new(&app, &query, resume, &head).await?;
    let mut response = if format == EVENT_STREAM {
        Sse::new(scan.follow(&app.feed).take_until(app.stop.clone().cancelled_owned()))
            .keep_alive(KeepAlive::new().interval(KEEP_ALIVE))
            .into_response()
    } else {
        let idle_timeout = Duration::from_millis(app.config.http.stream_idle_timeout_ms);
        ([(header::CONTENT_TYPE, NDJSON)], Body::from_stream(scan.lines(head.position, idle_timeout))).into_response()
    };
    let position = Position { epoch: head.epoch, position: head.position };
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    if let Ok(value) = HeaderValue::from_str(&position.to_string()) {
        response.headers_mut().insert("read-position", value);
    }
    Ok(response)
}

/// One event by its position or token.
#[utoipa::path(
    get, path = "/events/{position}", operation_id = "show_event", tag = "analysts",
    params(("position" = String, Path, description = "A position or token", example = "1.1200")),
    responses(
        (status = 200, description = "CloudEvents 1.0, as stored", body = Object),
        (status = 400, description = "invalid_parameter"),
        (status = 404, description = "not_found"),
        (status = 409, description = "position_unknown or write_lost"),
    ),
)]
pub async fn show(State(app): State<Arc<App>>, _: Staff<Analyses>, Path(position): Path<String>) -> Result<Read<Box<RawValue>>, Problem> {
    if matches!(Place::parse(&position), Some(Place::Time(_))) {
        return Err(Problem::new("invalid_parameter", "name an event by its position or token; a time may have many"));
    }
    let position = resolve(&app.pool, "position", &position).await?;
    let found = event_log::page(&app.pool, position - 1, position, 1).await?;
    let event = found.first().ok_or_else(|| Problem::not_found("event"))?;
    let epoch = event_log::epoch_at(&event_log::epochs(&app.pool).await?, position);
    let body = RawValue::from_string(cloud_event::to_json(event, epoch)?)?;
    Ok(Read::personal(body, Position { epoch, position }))
}

/// One stream: its state and its events, now or as of a position, token or time.
#[utoipa::path(
    get, path = "/streams/{type}/{id}", operation_id = "show_stream", tag = "analysts",
    params(("type" = String, Path, description = "The aggregate type", example = "order"), ("id" = String, Path), StreamQuery),
    responses(
        (status = 200, body = StreamBody),
        (status = 400, description = "invalid_parameter"),
        (status = 404, description = "not_found: no such stream, or not yet at `as_of`"),
        (status = 409, description = "position_unknown or write_lost"),
    ),
)]
pub async fn stream(
    State(app): State<Arc<App>>,
    caller: Staff<Analyses>,
    Path((kind, id)): Path<(String, String)>,
    Query(query): Query<StreamQuery>,
) -> Result<Read<StreamBody>, Problem> {
    let role = caller.role();
    has_seen(&app, &caller, query.token_position.as_deref()).await?;
    let position = match &query.as_of {
        Some(text) => resolve(&app.pool, "as_of", text).await?,
        None => event_log::head(&app.pool).await?.position,
    };
    let Some((mut state, version)) = state_of(&app.loader, &kind, &id, position).await? else {
        return Err(Problem::not_found("stream"));
    };
    if !role.opens_personal() {
        seal_personal(&mut state);
    }
    let mut stored = event_log::stream(&app.pool, (&kind, &id), query.after.unwrap_or(0), position).await?;
    let page_max = usize::try_from(PAGE_EVENTS_MAX).unwrap_or(usize::MAX);
    let more = stored.len() > page_max;
    stored.truncate(page_max);
    let epochs = event_log::epochs(&app.pool).await?;
    let epoch = event_log::epoch_at(&epochs, position);
    let mut events = Vec::with_capacity(stored.len());
    for event in &stored {
        let json = cloud_event::to_json(event, event_log::epoch_at(&epochs, event.position))?;
        events.push(RawValue::from_string(json)?);
    }
    let at = Position { epoch, position };
    let next_after = stored.last().filter(|_| more).map(|last| last.sequence);
    Ok(Read::personal(StreamBody { kind, id, version, as_of: at.to_string(), state, events, next_after }, at))
}

/// The payloads of every event type and version that was ever written, as `domain` keeps them.
#[derive(rust_embed::RustEmbed)]
#[folder = "../domain/golden"]
struct Golden;

/// What the payload of an event type looks like, in every version there ever was.
#[utoipa::path(
    get, path = "/schemas/{type}/{version}", operation_id = "show_schema", tag = "analysts",
    params(("type" = String, Path, example = "OrderPlaced"), ("version" = u16, Path, example = 1)),
    responses(
        (status = 200, description = "A JSON schema with example payloads", body = Object),
        (status = 404, description = "not_found"),
    ),
)]
pub async fn schema(_: Staff<Analyses>, Path((kind, version)): Path<(String, String)>) -> Result<Json<Value>, Problem> {
    schema_of(&kind, &version)?.map(Json).ok_or_else(|| Problem::not_found("event type and version"))
}

fn schema_of(kind: &str, version: &str) -> Result<Option<Value>, Problem> {
    let (true, Ok(version)) = (kind.bytes().all(|b| b.is_ascii_alphanumeric()), version.parse::<u16>()) else {
        return Ok(None);
    };
    let Some(file) = Golden::get(&format!("{kind}.v{version}.json")) else {
        return Ok(None);
    };
    let golden: Value = serde_json::from_slice(&file.data)?;
    let examples = match golden {
        Value::Array(examples) => examples,
        example => vec![example],
    };
    Ok(Some(json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": format!("/schemas/{kind}/{version}"),
        "title": kind,
        "description": "A payload as it is stored. Fields may be added with defaults; personal fields ({\"$personal\": …} here) are sealed in the log.",
        "type": "object",
        "additionalProperties": true,
        "examples": examples,
    })))
}

/// The log is the truth itself: a token that it has needs no waiting.
async fn has_seen(app: &App, caller: &Caller, query: Option<&str>) -> Result<(), Problem> {
    match caller.token(query)? {
        Some(token) => check_token(&app.pool, token).await,
        None => Ok(()),
    }
}

/// The first format of `Accept` that we have.
fn format_of(accept: Option<&str>) -> Result<&'static str, Problem> {
    for wanted in accept.unwrap_or("*/*").split(',') {
        match wanted.split(';').next().unwrap_or_default().trim() {
            EVENT_STREAM => return Ok(EVENT_STREAM),
            NDJSON | "*/*" | "application/*" | "application/json" => return Ok(NDJSON),
            PARQUET => {
                let detail = format!("Accept: {PARQUET} is not offered yet; use {NDJSON} or {EVENT_STREAM}");
                return Err(Problem::new("invalid_parameter", detail));
            }
            _ => {}
        }
    }
    Ok(NDJSON)
}

fn seal_personal(value: &mut Value) {
    match value {
        Value::Object(object) if object.contains_key("$personal") => {
            *value = json!({ "sealed": true });
        }
        Value::Object(object) => object.values_mut().for_each(seal_personal),
        Value::Array(items) => items.iter_mut().for_each(seal_personal),
        _ => {}
    }
}

/// The state and version of any stream; `None` where there is nothing yet, or no such type.
async fn state_of(loader: &Loader, kind: &str, id: &str, position: i64) -> Result<Option<(Value, i64)>, Problem> {
    async fn fold<A: Root>(loader: &Loader, id: &str, position: i64) -> Result<(Value, i64), Problem> {
        let (state, version) = loader.load_as_of::<A>(id, position).await?;
        Ok((serde_json::to_value(state)?, version))
    }
    let (state, version) = match kind {
        "product" => fold::<Product>(loader, id, position).await?,
        "category" => fold::<Category>(loader, id, position).await?,
        "stock" => fold::<StockItem>(loader, id, position).await?,
        "cart" => fold::<Cart>(loader, id, position).await?,
        "order" => fold::<Order>(loader, id, position).await?,
        "payment" => fold::<Payment>(loader, id, position).await?,
        "setting" => fold::<Settings>(loader, id, position).await?,
        "promotion" => fold::<Promotion>(loader, id, position).await?,
        "merchandising" => fold::<Merchandising>(loader, id, position).await?,
        "subject" => fold::<Subject>(loader, id, position).await?,
        "claim" => fold::<Claim>(loader, id, position).await?,
        _ => return Ok(None),
    };
    Ok((version > 0).then_some((state, version)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_a_position_a_token_or_a_time() {
        assert_eq!(Place::parse("12"), Some(Place::Position(12)));
        assert_eq!(Place::parse("1.12"), Some(Place::Token(Position { epoch: 1, position: 12 })));
        assert_eq!(Place::parse("1970-01-01T01:00:00 01:00"), Some(Place::Time(DateTime::UNIX_EPOCH)));
        assert_eq!(Place::parse("-1"), None);
        assert_eq!(Place::parse("yesterday"), None);
    }

    #[test]
    fn the_first_known_format_of_accept_is_taken_and_parquet_is_refused() {
        assert_eq!(format_of(None).unwrap(), NDJSON);
        assert_eq!(format_of(Some("text/html, text/event-stream;q=0.9")).unwrap(), EVENT_STREAM);
        assert_eq!(format_of(Some(PARQUET)).unwrap_err().code(), "invalid_parameter");
    }

    #[test]
    fn what_is_personal_is_not_shown_to_everybody() {
        let mut state = json!({ "contact": { "email": { "$personal": "ada@example.com" } }, "notes": [{ "$erased": true }] });
        seal_personal(&mut state);
        assert_eq!(state, json!({ "contact": { "email": { "sealed": true } }, "notes": [{ "$erased": true }] }));
    }

    #[test]
    fn an_unknown_type_has_no_schema() {
        assert!(schema_of("../iso4217", "1").unwrap().is_none());
        assert!(schema_of("NeverHappened", "1").unwrap().is_none());
    }
}
