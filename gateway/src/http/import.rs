//! Imports over HTTP: a file streamed in, its progress streamed out.

use std::convert::Infallible;
use std::sync::Arc;

use axum::Json;
use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use utoipa::{IntoParams, ToSchema};

use super::body::Query;
use super::caller::{Manages, Staff};
use super::problem::Problem;
use crate::app::App;
use crate::import::tree::{self, ListOutcome, ListRequest};
use crate::import::{Format, Import, MAPPING_BYTES_MAX, Progress, Request};

const CSV: &str = "text/csv";
const NDJSON: &str = "application/x-ndjson";

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct ImportQuery {
    /// ISO 4217 code of the file's prices; the store's first currency unless given.
    #[param(example = "EUR")]
    currency: Option<String>,
    /// `create`: stock is taken for new variants only; `overwrite`: for all.
    #[serde(default)]
    stock: StockMode,
    /// Only say what would be done.
    #[serde(default)]
    dry_run: bool,
    /// Whose columns the file has, unless `map` says which is what.
    #[serde(default)]
    format: FileFormat,
    /// A mapping file: TOML that says which column is what; at most 8 KiB.
    map: Option<String>,
    /// BCP 47 tag of the file's texts; the store's first language unless given.
    #[param(example = "de")]
    language: Option<String>,
    /// `escape`: an apostrophe before what a spreadsheet would take for a formula is taken off; `raw`: cells are as they are.
    #[serde(default)]
    formulas: Formulas,
}

/// Whose columns a file has.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum FileFormat {
    #[default]
    Shopify,
    WooCommerce,
}

/// Whether cells are written so that a spreadsheet runs none as a formula.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Formulas {
    #[default]
    Escape,
    Raw,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum StockMode {
    #[default]
    Create,
    Overwrite,
}

/// Imports products from Shopify's or `WooCommerce`'s CSV, or from any other by a mapping file. Needs no `Idempotency-Key`: what was imported already appends nothing.
#[utoipa::path(
    post, path = "/admin/imports", operation_id = "import_products", tag = "merchants",
    params(ImportQuery),
    request_body(content = String, content_type = "text/csv", description = "Streamed; at most 1 GiB"),
    responses(
        (status = 200, description = "Progress, one line at a time; the last line has `done` and the `position` to wait for, or the `problem` that ended it", body = Progress, content_type = "application/x-ndjson"),
        (status = 400, description = "invalid_parameter"),
        (status = 415, description = "unsupported_media_type"),
        (status = 422, description = "unsupported_currency or validation_failed: the header is not the format's, or the mapping file doesn't fit it"),
    ),
)]
pub async fn import_products(
    State(app): State<Arc<App>>,
    caller: Staff<Manages>,
    Query(query): Query<ImportQuery>,
    body: Body,
) -> Result<Response, Problem> {
    let content_type = caller.header("content-type").unwrap_or_default();
    if !content_type.split(';').next().is_some_and(|kind| kind.trim().eq_ignore_ascii_case(CSV)) {
        return Err(Problem::new("unsupported_media_type", format!("send the file as `Content-Type: {CSV}`")));
    }
    let format = match (query.map, query.format) {
        (Some(map), _) if map.len() > MAPPING_BYTES_MAX => {
            return Err(Problem::new("invalid_parameter", format!("`map` may have {MAPPING_BYTES_MAX} bytes, this one has {}", map.len())));
        }
        (Some(map), _) => Format::Mapped(map),
        (None, FileFormat::WooCommerce) => Format::WooCommerce,
        (None, FileFormat::Shopify) => Format::Shopify,
    };
    let request = Request {
        format,
        language: query.language,
        raw_cells: query.formulas == Formulas::Raw,
        currency: query.currency.unwrap_or_else(|| app.settings.default_currency().to_string()),
        overwrite_stock: query.stock == StockMode::Overwrite,
        dry_run: query.dry_run,
    };
    let import = Import::begin(app, caller.origin().clone(), request, body).await?;
    let lines = futures::stream::unfold(import, async |mut import| {
        let progress = import.next_line().await?;
        let mut line = serde_json::to_vec(&progress).unwrap_or_default();
        line.push(b'\n');
        Some((Ok::<_, Infallible>(Bytes::from(line)), import))
    });
    let headers = [(header::CONTENT_TYPE, NDJSON), (header::CACHE_CONTROL, "no-store")];
    Ok((headers, Body::from_stream(lines)).into_response())
}

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct ListQuery {
    /// BCP 47 tag of the file's words; the store's first language unless given.
    #[param(example = "en")]
    language: Option<String>,
    /// ISO 3166-1 alpha-2; of locations that don't say theirs.
    #[param(example = "US")]
    country: Option<String>,
    /// Only say what would be done.
    #[serde(default)]
    dry_run: bool,
}

/// Imports a tree of categories: a JSON list of `{handle, title, parent, position}`, as an export writes it, or of
/// `{id, name, path}`. What equals what is there appends nothing.
#[utoipa::path(
    post, path = "/admin/imports/categories", operation_id = "import_categories", tag = "merchants",
    params(ListQuery),
    request_body(content = String, content_type = "application/json", description = "At most 16 MiB"),
    responses(
        (status = 200, description = "Objects that could not be taken are in `errors`", body = ListOutcome),
        (status = 400, description = "invalid_json"),
        (status = 413, description = "payload_too_large"),
        (status = 422, description = "validation_failed: the shop would have too many categories"),
        (status = 503, description = "read_model_behind"),
    ),
)]
pub async fn import_categories(
    State(app): State<Arc<App>>,
    caller: Staff<Manages>,
    Query(query): Query<ListQuery>,
    body: Body,
) -> Result<Json<ListOutcome>, Problem> {
    let items = list_of(&app, body).await?;
    let outcome = tree::put_categories(&app, caller.origin(), items, &list_request(&app, query)).await?;
    Ok(Json(outcome))
}

/// Imports locations: a JSON list of `{code, title, address, priority}`, as an export writes it, or of `{id, name, address,
/// city, state, zip}`. One whose code is there is changed.
#[utoipa::path(
    post, path = "/admin/imports/locations", operation_id = "import_locations", tag = "merchants",
    params(ListQuery),
    request_body(content = String, content_type = "application/json", description = "At most 16 MiB"),
    responses(
        (status = 200, description = "Objects that could not be taken are in `errors`", body = ListOutcome),
        (status = 400, description = "invalid_json"),
        (status = 413, description = "payload_too_large"),
    ),
)]
pub async fn import_locations(
    State(app): State<Arc<App>>,
    caller: Staff<Manages>,
    Query(query): Query<ListQuery>,
    body: Body,
) -> Result<Json<ListOutcome>, Problem> {
    let items = list_of(&app, body).await?;
    let outcome = tree::put_locations(&app, caller.origin(), items, &list_request(&app, query)).await?;
    Ok(Json(outcome))
}

fn list_request(app: &App, query: ListQuery) -> ListRequest {
    let language = query.language.unwrap_or_else(|| app.settings.default_language().to_owned());
    ListRequest { language, country: query.country, dry_run: query.dry_run }
}

async fn list_of<T: serde::de::DeserializeOwned>(app: &App, body: Body) -> Result<Vec<T>, Problem> {
    let idle = std::time::Duration::from_millis(app.config.http.stream_idle_timeout_ms);
    let too_large = || Problem::new("payload_too_large", format!("the list is larger than {} bytes; split it", tree::FILE_BYTES_MAX));
    let read = tokio::time::timeout(idle, axum::body::to_bytes(body, tree::FILE_BYTES_MAX)).await;
    let bytes = read
        .map_err(|_elapsed| Problem::new("invalid_json", "the list did not come to its end; send it again"))?
        .map_err(|_| too_large())?;
    serde_json::from_slice(&bytes).map_err(|error| Problem::new("invalid_json", format!("the body is no list of such objects: {error}")))
}
