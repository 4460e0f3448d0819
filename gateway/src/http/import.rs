//! Imports over HTTP: a file streamed in, its progress streamed out.

use std::convert::Infallible;
use std::sync::Arc;

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
use crate::import::{Import, Progress, Request};

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
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum StockMode {
    #[default]
    Create,
    Overwrite,
}

/// Imports products from Shopify's CSV. Needs no `Idempotency-Key`: what was imported already appends nothing.
#[utoipa::path(
    post, path = "/admin/imports", operation_id = "import_products", tag = "merchants",
    params(ImportQuery),
    request_body(content = String, content_type = "text/csv", description = "Streamed; at most 1 GiB"),
    responses(
        (status = 200, description = "Progress, one line at a time; the last line has `done` and the `position` to wait for, or the `problem` that ended it", body = Progress, content_type = "application/x-ndjson"),
        (status = 415, description = "unsupported_media_type"),
        (status = 422, description = "unsupported_currency or validation_failed: the header is not Shopify's"),
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
    let request = Request {
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
