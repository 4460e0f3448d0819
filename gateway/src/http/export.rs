//! Exports over HTTP: files that are written while the caller reads them.
//!
//! One that can't be finished is broken off, so that nobody takes a part for the whole.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use commands::answer::Position;
use domain::catalog::CategoryFacts;
use domain::id::CategoryId;
use domain::setting::{Location, LocationAddress, LocationFacts};
use futures::Stream;
use infra::event_log;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::body::Query;
use super::caller::{Caller, Manages, Staff};
use super::import::Formulas;
use super::problem::Problem;
use super::reading::Read;
use crate::app::App;
use crate::export::{CutOff, Feed, FeedRequest, ProductFile, StockFile};

const CSV: &str = "text/csv; charset=utf-8";
const XML: &str = "application/rss+xml; charset=utf-8";

#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct ExportQuery {
    /// `escape`: what a spreadsheet would take for a formula gets an apostrophe, which an import takes off; `raw`: as it is.
    #[serde(default)]
    formulas: Formulas,
    /// A consistency token that the answer must have seen.
    token_position: Option<String>,
}

#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct ListExportQuery {
    /// A consistency token that the answer must have seen.
    token_position: Option<String>,
}

#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct FeedQuery {
    /// BCP 47; the store's first one unless given.
    language: Option<String>,
    /// ISO 4217; the store's first one unless given.
    currency: Option<String>,
    /// A product's page, with `{handle}` in it; the storefront's own unless given.
    #[param(example = "https://shop.example/products/{handle}")]
    link: Option<String>,
    /// A consistency token that the answer must have seen.
    token_position: Option<String>,
}

/// All products that are not archived, with everything that is known of them, as CSV that can be imported again.
#[utoipa::path(
    get, path = "/admin/exports/products", operation_id = "export_products", tag = "merchants",
    params(ExportQuery),
    responses(
        (status = 200, description = "Shopify's columns, and ours for what Shopify has none for; by handle. An answer that breaks off is not whole", body = String, content_type = "text/csv"),
        (status = 503, description = "read_model_behind"),
    ),
)]
pub async fn products(State(app): State<Arc<App>>, caller: Staff<Manages>, Query(query): Query<ExportQuery>) -> Result<Response, Problem> {
    let position = position(&app, &caller, query.token_position.as_deref()).await?;
    let (settings, _) = app.settings_as_of(event_log::head(&app.pool).await?.position).await?;
    let file = ProductFile::begin(&app, &settings, query.formulas == Formulas::Raw).await.map_err(|cut_off| refused(&cut_off))?;
    let pieces = futures::stream::try_unfold(file, async |mut file| Ok(file.next().await?.map(|piece| (piece, file))));
    Ok(attachment("products.csv", CSV, position, pieces))
}

/// What lies where of every variant, as CSV.
#[utoipa::path(
    get, path = "/admin/exports/stock", operation_id = "export_stock", tag = "merchants",
    params(ExportQuery),
    responses(
        (status = 200, description = "A row for each variant and location; by handle. An answer that breaks off is not whole", body = String, content_type = "text/csv"),
        (status = 503, description = "read_model_behind"),
    ),
)]
pub async fn stock(State(app): State<Arc<App>>, caller: Staff<Manages>, Query(query): Query<ExportQuery>) -> Result<Response, Problem> {
    let position = position(&app, &caller, query.token_position.as_deref()).await?;
    let (settings, _) = app.settings_as_of(event_log::head(&app.pool).await?.position).await?;
    let file = StockFile::begin(&app, &settings, query.formulas == Formulas::Raw).map_err(|cut_off| refused(&cut_off))?;
    let pieces = futures::stream::try_unfold(file, async |mut file| Ok(file.next().await?.map(|piece| (piece, file))));
    Ok(attachment("stock.csv", CSV, position, pieces))
}

/// What is on sale, as Google Merchant Center fetches it: RSS 2.0. For anybody, as the catalogue is.
#[utoipa::path(
    get, path = "/exports/google.xml", operation_id = "export_google", tag = "shoppers",
    params(FeedQuery),
    responses(
        (status = 200, description = "An item for each variant that is on sale. An answer that breaks off is not whole", body = String, content_type = "application/rss+xml"),
        (status = 400, description = "invalid_parameter"),
        (status = 422, description = "unsupported_currency"),
        (status = 503, description = "read_model_behind"),
    ),
)]
pub async fn google(State(app): State<Arc<App>>, caller: Caller, Query(query): Query<FeedQuery>) -> Result<Response, Problem> {
    let position = position(&app, &caller, query.token_position.as_deref()).await?;
    let settings = &app.settings;
    let currency = match &query.currency {
        None => settings.default_currency(),
        Some(code) => settings.currency(code).ok_or_else(|| {
            let offered = app.config.store.currencies.join(", ");
            Problem::new("unsupported_currency", format!("`currency` may be {offered}, not {code:?}"))
        })?,
    };
    let http = &app.config.http;
    let shop_url = if http.public_url.is_empty() { format!("http://{}", http.listen) } else { http.public_url.clone() };
    let shop_url = shop_url.trim_end_matches('/').to_owned();
    let link = query.link.unwrap_or_else(|| format!("{shop_url}/p/{{handle}}"));
    if !link.contains("{handle}") {
        return Err(Problem::new("invalid_parameter", "`link` is a product's page with `{handle}` in it"));
    }
    let language = query.language.unwrap_or_else(|| settings.default_language().to_owned());
    let feed = Feed::begin(&app, FeedRequest { language, currency, shop_url, link });
    let pieces = futures::stream::try_unfold(feed, async |mut feed| Ok(feed.next().await?.map(|piece| (piece, feed))));
    Ok(attachment("google.xml", XML, position, pieces))
}

/// A category as a file has it.
#[derive(Debug, Serialize, ToSchema)]
pub struct CategoryLine {
    handle: String,
    /// By language.
    title: BTreeMap<String, String>,
    /// The handle of the one above.
    parent: Option<String>,
    position: u32,
}

/// A location as a file has it.
#[derive(Debug, Serialize, ToSchema)]
pub struct LocationLine {
    code: String,
    title: String,
    #[schema(value_type = Object)]
    address: LocationAddress,
    priority: u32,
}

/// The tree of categories as a list that can be imported again; by handle.
#[utoipa::path(
    get, path = "/admin/exports/categories", operation_id = "export_categories", tag = "merchants",
    params(ListExportQuery),
    responses(
        (status = 200, body = Vec<CategoryLine>),
        (status = 503, description = "read_model_behind"),
    ),
)]
pub async fn categories(
    State(app): State<Arc<App>>,
    caller: Staff<Manages>,
    Query(query): Query<ListExportQuery>,
) -> Result<Read<Vec<CategoryLine>>, Problem> {
    let position = app.read_position(&caller, query.token_position.as_deref(), "product").await?;
    let mut all = projections::product::categories(&app.pool).await?;
    all.sort_by(|a, b| a.handle.cmp(&b.handle));
    let handles: HashMap<CategoryId, String> = all.iter().map(|facts| (facts.category_id, facts.handle.clone())).collect();
    let line = |CategoryFacts { handle, title, parent_id, position, .. }: CategoryFacts| CategoryLine {
        handle,
        title,
        parent: parent_id.and_then(|id| handles.get(&id).cloned()),
        position,
    };
    Ok(Read::personal(all.into_iter().map(line).collect(), position))
}

/// The open locations as a list that can be imported again, in the order in which stock is sold from them.
#[utoipa::path(
    get, path = "/admin/exports/locations", operation_id = "export_locations", tag = "merchants",
    params(ListExportQuery),
    responses(
        (status = 200, body = Vec<LocationLine>),
    ),
)]
pub async fn locations(
    State(app): State<Arc<App>>,
    caller: Staff<Manages>,
    Query(query): Query<ListExportQuery>,
) -> Result<Read<Vec<LocationLine>>, Problem> {
    let found = app.settings_now(&caller, query.token_position.as_deref()).await?;
    let line = |location: &Location| {
        let LocationFacts { code, title, address, priority, .. } = location.facts.clone();
        LocationLine { code, title, address, priority }
    };
    let lines = found.settings.open_locations().into_iter().map(line).collect();
    Ok(found.read(lines, &caller))
}

/// Both read models have at least this.
async fn position(app: &App, caller: &Caller, token: Option<&str>) -> Result<Position, Problem> {
    let products = app.read_position(caller, token, "product").await?;
    let stock = app.read_position(caller, token, "stock").await?;
    Ok(if stock.position < products.position { stock } else { products })
}

fn refused(cut_off: &CutOff) -> Problem {
    match cut_off {
        CutOff::BeingMade => Problem::new("read_model_behind", "a read model is being made anew; repeat shortly"),
        CutOff::TooWide => {
            Problem::new("invalid_state", "the products have more different attributes than a table may have columns; use the event log")
        }
        _ => Problem::failure(cut_off),
    }
}

fn attachment(
    name: &str,
    kind: &'static str,
    position: Position,
    pieces: impl Stream<Item = Result<Bytes, CutOff>> + Send + 'static,
) -> Response {
    use futures::TryStreamExt;
    let pieces = pieces.inspect_err(|cut_off| tracing::warn!(error = cut_off as &dyn std::error::Error, "an export was cut off"));
    let headers = [
        (header::CONTENT_TYPE.as_str(), kind.to_owned()),
        (header::CONTENT_DISPOSITION.as_str(), format!("attachment; filename=\"{name}\"")),
        (header::CACHE_CONTROL.as_str(), "no-store".to_owned()),
        ("read-position", position.to_string()),
    ];
    (headers, Body::from_stream(pieces)).into_response()
}
