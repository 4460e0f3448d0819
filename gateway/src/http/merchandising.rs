//! What merchants say about search results: rules here, synonyms and what shoppers search for beside them.
//!
//! Read from the log itself, so that an answer is never behind a change; searches have seen it when their `Read-Position` has.

use std::sync::Arc;

use axum::extract::{Path, State};
use axum::http::StatusCode;
use chrono::{DateTime, Utc};
use commands::answer::{CommandError, Done, Position};
use commands::merchandising::{self, Patch, RuleAt};
use domain::id::{ProductId, SearchRuleId};
use domain::merchandising::{Boost, Condition, Merchandising, Pin, STORE, SearchRule, VersionedRule};
use infra::event_log;
use serde::{Deserialize, Deserializer, Serialize};
use utoipa::ToSchema;

use super::body::{Body, Query};
use super::caller::{Manages, Sees, Staff};
use super::cart::settled;
use super::page::{Page, PageQuery, page};
use super::problem::Problem;
use super::reading::{Read, TokenQuery, Wrote};
use super::setting::id_of;
use crate::app::App;

pub mod queries;
pub mod synonyms;

/// A rule about search results. It must pin, hide or boost something.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewSearchRule {
    #[schema(example = "Lamps for winter")]
    title: String,
    /// `{kind: "everywhere"}`, `{kind: "category", handle}`, or `{kind: "query", text, matching}` with `matching` `exact` (the query
    /// is the text) or `contains` (the query has all its words). Case and white space don't count.
    #[schema(value_type = Object, example = json!({ "kind": "query", "text": "desk lamp", "matching": "exact" }))]
    condition: Condition,
    #[serde(default)]
    valid_from: Option<DateTime<Utc>>,
    /// Not included.
    #[serde(default)]
    valid_until: Option<DateTime<Utc>>,
    /// `{product_id, position}`: at this place, from 1 to 100, among the products of the result; also where the words don't match.
    #[serde(default)]
    #[schema(value_type = Vec<Object>)]
    pins: Vec<Pin>,
    /// Products that are in no page, total or facet.
    #[serde(default)]
    #[schema(value_type = Vec<String>)]
    hidden: Vec<ProductId>,
    /// `{kind: "brand", brand, percent}`, `{kind: "category", handle, percent}` or `{kind: "product", product_id, percent}`: their
    /// relevance is multiplied, by 1 to 1000 percent.
    #[serde(default)]
    #[schema(value_type = Vec<Object>)]
    boosts: Vec<Boost>,
}

/// What is named is changed; a date that is null is taken away.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[expect(clippy::option_option, reason = "absent and null mean different things")]
pub struct SearchRulePatch {
    #[serde(default)]
    title: Option<String>,
    #[serde(default)]
    #[schema(value_type = Option<Object>)]
    condition: Option<Condition>,
    #[serde(default, deserialize_with = "named", skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<DateTime<Utc>>)]
    valid_from: Option<Option<DateTime<Utc>>>,
    #[serde(default, deserialize_with = "named", skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<DateTime<Utc>>)]
    valid_until: Option<Option<DateTime<Utc>>>,
    #[serde(default)]
    #[schema(value_type = Option<Vec<Object>>)]
    pins: Option<Vec<Pin>>,
    #[serde(default)]
    #[schema(value_type = Option<Vec<String>>)]
    hidden: Option<Vec<ProductId>>,
    #[serde(default)]
    #[schema(value_type = Option<Vec<Object>>)]
    boosts: Option<Vec<Boost>>,
}

#[derive(Debug, Serialize, ToSchema)]
pub struct SearchRuleBody {
    #[schema(value_type = String)]
    id: SearchRuleId,
    title: String,
    #[schema(value_type = Object)]
    condition: Condition,
    valid_from: Option<DateTime<Utc>>,
    valid_until: Option<DateTime<Utc>>,
    /// `scheduled`, `active` or `over`.
    #[schema(value_type = String)]
    status: &'static str,
    #[schema(value_type = Vec<Object>)]
    pins: Vec<Pin>,
    #[schema(value_type = Vec<String>)]
    hidden: Vec<ProductId>,
    #[schema(value_type = Vec<Object>)]
    boosts: Vec<Boost>,
    /// What `If-Match` names.
    version: i64,
}

/// The rules that have not been ended, the oldest first: of two of the same kind that meet, the older one goes before.
#[utoipa::path(
    get, path = "/admin/search-rules", operation_id = "list_search_rules", tag = "merchants", params(PageQuery),
    responses(
        (status = 200, body = Page<SearchRuleBody>),
        (status = 400, description = "invalid_parameter or invalid_cursor"),
    ),
)]
pub async fn list(
    State(app): State<Arc<App>>,
    caller: Staff<Sees>,
    Query(query): Query<PageQuery>,
) -> Result<Read<Page<SearchRuleBody>>, Problem> {
    let (state, position) = app.merchandising(&caller, query.token_position.as_deref()).await?;
    let rules = state.oldest_first();
    Ok(Read::personal(page(&rules, &query, |known| known.rule.rule_id.to_string(), |known| render(known))?, position))
}

/// Makes a rule; searches follow it as soon as they have seen it.
#[utoipa::path(
    post, path = "/admin/search-rules", operation_id = "create_search_rule", tag = "merchants", request_body = NewSearchRule,
    responses(
        (status = 201, body = SearchRuleBody),
        (status = 409, description = "invalid_state: there are as many as there may be"),
        (status = 422, description = "validation_failed"),
    ),
)]
pub async fn create(
    State(app): State<Arc<App>>,
    caller: Staff<Manages>,
    Body(new): Body<NewSearchRule>,
) -> Result<Wrote<SearchRuleBody>, Problem> {
    let idempotency = caller.idempotency(&new, false)?;
    let rule_id = id_of(idempotency.as_ref()).into();
    let NewSearchRule { title, condition, valid_from, valid_until, pins, hidden, boosts } = new;
    let rule = SearchRule { rule_id, title, condition, valid_from, valid_until, pins, hidden, boosts };
    let done = app.writer.execute(caller.origin(), idempotency, move |streams| merchandising::create_rule(streams, &rule)).await;
    answer(&app, StatusCode::CREATED, rule_id, done).await
}

/// Shows a rule.
#[utoipa::path(
    get, path = "/admin/search-rules/{id}", operation_id = "show_search_rule", tag = "merchants",
    params(("id" = String, Path), TokenQuery),
    responses(
        (status = 200, body = SearchRuleBody),
        (status = 404, description = "not_found: there is none, or it was ended"),
    ),
)]
pub async fn show(
    State(app): State<Arc<App>>,
    caller: Staff<Sees>,
    Path(id): Path<String>,
    Query(query): Query<TokenQuery>,
) -> Result<Read<SearchRuleBody>, Problem> {
    let (state, position) = app.merchandising(&caller, query.token_position.as_deref()).await?;
    let known = state.rules.get(&rule_id(&id)?).ok_or_else(missing)?;
    Ok(Read::personal(render(known), position).version(known.version, &caller))
}

/// Changes a rule.
#[utoipa::path(
    patch, path = "/admin/search-rules/{id}", operation_id = "change_search_rule", tag = "merchants",
    params(("id" = String, Path)), request_body = SearchRulePatch,
    responses(
        (status = 200, body = SearchRuleBody),
        (status = 404, description = "not_found"),
        (status = 409, description = "version_conflict"),
        (status = 422, description = "validation_failed"),
    ),
)]
pub async fn change(
    State(app): State<Arc<App>>,
    caller: Staff<Manages>,
    Path(id): Path<String>,
    Body(wanted): Body<SearchRulePatch>,
) -> Result<Wrote<SearchRuleBody>, Problem> {
    let idempotency = caller.idempotency(&wanted, false)?;
    let at = RuleAt { rule_id: rule_id(&id)?, if_match: caller.if_match()? };
    let SearchRulePatch { title, condition, valid_from, valid_until, pins, hidden, boosts } = wanted;
    let patch = Patch { title, condition, valid_from, valid_until, pins, hidden, boosts };
    let done = app.writer.execute(caller.origin(), idempotency, move |streams| merchandising::change_rule(streams, at, &patch)).await;
    answer(&app, StatusCode::OK, at.rule_id, done).await
}

/// Ends a rule for ever: it is out of the list, the log remembers it.
#[utoipa::path(
    post, path = "/admin/search-rules/{id}/end", operation_id = "end_search_rule", tag = "merchants", params(("id" = String, Path)),
    responses(
        (status = 204, description = "Ended"),
        (status = 404, description = "not_found"),
        (status = 409, description = "version_conflict"),
    ),
)]
pub async fn end(State(app): State<Arc<App>>, caller: Staff<Manages>, Path(id): Path<String>) -> Result<Wrote<()>, Problem> {
    let idempotency = caller.idempotency(&(), false)?;
    let at = RuleAt { rule_id: rule_id(&id)?, if_match: caller.if_match()? };
    gone(app.writer.execute(caller.origin(), idempotency, move |streams| merchandising::end_rule(streams, at)).await)
}

impl App {
    /// What is said about results now, for staff.
    async fn merchandising(&self, caller: &Staff<Sees>, token: Option<&str>) -> Result<(Merchandising, Position), Problem> {
        if let Some(token) = caller.token(token)? {
            self.checkpoints.check(token).await?;
        }
        let head = event_log::head(&self.pool).await?;
        let (state, _) = self.loader.load_as_of::<Merchandising>(STORE, head.position).await?;
        Ok((state, Position { epoch: head.epoch, position: head.position }))
    }
}

async fn answer(
    app: &App,
    status: StatusCode,
    rule_id: SearchRuleId,
    done: Result<Done<VersionedRule>, CommandError>,
) -> Result<Wrote<SearchRuleBody>, Problem> {
    let (position, known, replayed) = match done {
        Ok(done) => (done.position, done.output, false),
        Err(CommandError::Replayed(recorded)) => {
            let position = settled(*recorded)?.position;
            let (mut state, _) = app.loader.load_as_of::<Merchandising>(STORE, position.position).await?;
            (position, state.rules.remove(&rule_id).ok_or_else(missing)?, true)
        }
        Err(error) => return Err(error.into()),
    };
    Ok(Wrote { status, body: Some(render(&known)), position, version: Some(known.version), replayed })
}

/// Nothing is left to be shown.
fn gone(done: Result<Done<()>, CommandError>) -> Result<Wrote<()>, Problem> {
    let (position, replayed) = match done {
        Ok(done) => (done.position, false),
        Err(CommandError::Replayed(recorded)) => (settled(*recorded)?.position, true),
        Err(error) => return Err(error.into()),
    };
    Ok(Wrote { status: StatusCode::NO_CONTENT, body: None, position, version: None, replayed })
}

fn rule_id(id: &str) -> Result<SearchRuleId, Problem> {
    id.parse().map_err(|_| missing())
}

fn missing() -> Problem {
    Problem::not_found("search rule")
}

/// A field that is there, also as null.
#[expect(clippy::option_option, reason = "absent and null mean different things")]
fn named<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Option<DateTime<Utc>>>, D::Error> {
    Option::deserialize(deserializer).map(Some)
}

fn render(known: &VersionedRule) -> SearchRuleBody {
    let SearchRule { rule_id, title, condition, valid_from, valid_until, pins, hidden, boosts } = known.rule.clone();
    let status = known.rule.status(infra::clock::now());
    SearchRuleBody { id: rule_id, title, condition, valid_from, valid_until, status, pins, hidden, boosts, version: known.version }
}
