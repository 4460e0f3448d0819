//! Which words mean the same.

use std::sync::Arc;

use axum::extract::{Path, State};
use axum::http::StatusCode;
use commands::answer::CommandError;
use commands::merchandising;
use domain::merchandising::{Merchandising, STORE, SynonymSet, Synonyms};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::gone;
use crate::app::App;
use crate::http::body::{Body, Query};
use crate::http::caller::{Manages, Sees, Staff};
use crate::http::cart::settled;
use crate::http::page::{Page, PageQuery, page};
use crate::http::problem::Problem;
use crate::http::reading::{Read, TokenQuery, Wrote};

/// A set of synonyms: `{kind: "two_way", phrases}`, each of which finds what the others find, or `{kind: "one_way", from, to}`: who
/// looks for one of `from` finds the products of `to`, too.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct SynonymsDraft {
    /// BCP 47; for all languages unless given.
    #[serde(default)]
    #[schema(example = "en")]
    language: Option<String>,
    #[serde(flatten)]
    #[schema(value_type = Object, example = json!({ "kind": "two_way", "phrases": ["tv", "television set"] }))]
    synonyms: Synonyms,
}

#[derive(Debug, Serialize, ToSchema)]
pub struct SynonymsBody {
    key: String,
    language: Option<String>,
    #[serde(flatten)]
    #[schema(value_type = Object)]
    synonyms: Synonyms,
}

/// All sets of synonyms, by their keys.
#[utoipa::path(
    get, path = "/admin/synonyms", operation_id = "list_synonyms", tag = "merchants", params(PageQuery),
    responses(
        (status = 200, body = Page<SynonymsBody>),
        (status = 400, description = "invalid_parameter or invalid_cursor"),
    ),
)]
pub async fn list(
    State(app): State<Arc<App>>,
    caller: Staff<Sees>,
    Query(query): Query<PageQuery>,
) -> Result<Read<Page<SynonymsBody>>, Problem> {
    let (state, position) = app.merchandising(&caller, query.token_position.as_deref()).await?;
    let sets: Vec<&SynonymSet> = state.synonyms.values().collect();
    Ok(Read::personal(page(&sets, &query, |set| set.key.clone(), |set| body((*set).clone()))?, position))
}

/// One set of synonyms.
#[utoipa::path(
    get, path = "/admin/synonyms/{key}", operation_id = "show_synonyms", tag = "merchants",
    params(("key" = String, Path), TokenQuery),
    responses(
        (status = 200, body = SynonymsBody),
        (status = 404, description = "not_found"),
    ),
)]
pub async fn show(
    State(app): State<Arc<App>>,
    caller: Staff<Sees>,
    Path(key): Path<String>,
    Query(query): Query<TokenQuery>,
) -> Result<Read<SynonymsBody>, Problem> {
    let (mut state, position) = app.merchandising(&caller, query.token_position.as_deref()).await?;
    let set = state.synonyms.remove(&key).ok_or_else(missing)?;
    Ok(Read::personal(body(set), position))
}

/// Adds a set of synonyms under a key of the caller's, or puts it in the place of the one that is there.
#[utoipa::path(
    put, path = "/admin/synonyms/{key}", operation_id = "put_synonyms", tag = "merchants",
    params(("key" = String, Path, description = "Letters, digits, `-`, `_` or `.`")), request_body = SynonymsDraft,
    responses(
        (status = 200, body = SynonymsBody),
        (status = 409, description = "invalid_state: there are as many as there may be"),
        (status = 422, description = "validation_failed"),
    ),
)]
pub async fn put(
    State(app): State<Arc<App>>,
    caller: Staff<Manages>,
    Path(key): Path<String>,
    Body(draft): Body<SynonymsDraft>,
) -> Result<Wrote<SynonymsBody>, Problem> {
    let idempotency = caller.idempotency(&draft, false)?;
    let set = SynonymSet { key: key.clone(), language: draft.language, synonyms: draft.synonyms };
    let done = app.writer.execute(caller.origin(), idempotency, move |streams| merchandising::define_synonyms(streams, &set)).await;
    let (position, set, replayed) = match done {
        Ok(done) => (done.position, done.output, false),
        Err(CommandError::Replayed(recorded)) => {
            let position = settled(*recorded)?.position;
            let (mut state, _) = app.loader.load_as_of::<Merchandising>(STORE, position.position).await?;
            (position, state.synonyms.remove(&key).ok_or_else(missing)?, true)
        }
        Err(error) => return Err(error.into()),
    };
    Ok(Wrote { status: StatusCode::OK, body: Some(body(set)), position, version: None, replayed })
}

/// Removes a set of synonyms.
#[utoipa::path(
    delete, path = "/admin/synonyms/{key}", operation_id = "remove_synonyms", tag = "merchants", params(("key" = String, Path)),
    responses(
        (status = 204, description = "Removed"),
        (status = 404, description = "not_found"),
    ),
)]
pub async fn remove(State(app): State<Arc<App>>, caller: Staff<Manages>, Path(key): Path<String>) -> Result<Wrote<()>, Problem> {
    let idempotency = caller.idempotency(&(), false)?;
    gone(app.writer.execute(caller.origin(), idempotency, move |streams| merchandising::remove_synonyms(streams, &key)).await)
}

fn missing() -> Problem {
    Problem::not_found("set of synonyms")
}

fn body(set: SynonymSet) -> SynonymsBody {
    SynonymsBody { key: set.key, language: set.language, synonyms: set.synonyms }
}
