//! What shoppers search for and choose: clicks in, sums out.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use chrono::{Days, NaiveDate};
use domain::id::ProductId;
use projections::product::is_published;
use projections::query_log::{CLICK_POSITION_MAX, QueryCount, QueryFilter, QuerySort};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use uuid::Uuid;

use crate::app::App;

use crate::http::body::{Body, Query};
use crate::http::caller::{Sees, Staff};
use crate::http::problem::Problem;

/// Most queries on one page, and how many unless the caller says.
const PAGE_MAX: i64 = 200;
const PAGE_DEFAULT: i64 = 50;
/// Days that are looked at unless the caller says, today included.
const DAYS_DEFAULT: u64 = 30;

#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Click {
    /// Of the answer to the search.
    query_id: Uuid,
    product_id: Uuid,
    /// The product's place among all results, from 1.
    #[schema(minimum = 1, maximum = 10_000)]
    position: u32,
}

#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct QueriesQuery {
    /// The first day (UTC); thirty days are shown unless given.
    from: Option<NaiveDate>,
    /// The last day (UTC), included; today unless given.
    to: Option<NaiveDate>,
    /// Only queries that found nothing at least once.
    zero_results: Option<bool>,
    /// `count` (searches) or `ctr` (clicks by searches), the most first; `count` unless given.
    sort: Option<String>,
    /// 1 to 200; 50 unless given.
    limit: Option<i64>,
    /// `next_cursor` of the previous answer.
    cursor: Option<String>,
}

#[derive(Debug, Serialize, ToSchema)]
pub struct QueryList {
    from: NaiveDate,
    to: NaiveDate,
    items: Vec<QueryBody>,
    next_cursor: Option<String>,
}

#[derive(Debug, Serialize, ToSchema)]
pub struct QueryBody {
    /// In small letters, one space between words.
    query: String,
    language: String,
    /// First pages that were asked for.
    count: i64,
    /// Those of them that found nothing.
    zero_results: i64,
    clicks: i64,
    /// Clicks by searches; above 1 where several results of one search were clicked.
    click_through_rate: f64,
    /// Null while nothing was clicked.
    mean_click_position: Option<f64>,
}

/// Says that a shopper has chosen a product from the results of a search. Nothing is kept of who it was.
#[utoipa::path(
    post, path = "/search-clicks", operation_id = "count_click", tag = "shoppers", request_body = Click,
    responses(
        (status = 202, description = "Counted, if the search was"),
        (status = 404, description = "not_found: there is no such product in the shop"),
        (status = 422, description = "validation_failed"),
    ),
)]
pub async fn clicked(State(app): State<Arc<App>>, Body(click): Body<Click>) -> Result<StatusCode, Problem> {
    if !(1..=CLICK_POSITION_MAX).contains(&click.position) {
        let detail = format!("a place from 1 to {CLICK_POSITION_MAX}");
        return Err(Problem::new("validation_failed", format!("/position: {detail}")).error("/position", "invalid", detail));
    }
    let at = app.checkpoints.of("product").await?;
    let found = app.cache.products(&[ProductId::new(click.product_id)], at.position).await?;
    if !found.iter().any(|row| is_published(&row.state)) {
        return Err(Problem::not_found("product"));
    }
    app.query_log.clicked(click.query_id, click.product_id, click.position);
    Ok(StatusCode::ACCEPTED)
}

/// What shoppers searched for, what they found and what they chose, by query.
#[utoipa::path(
    get, path = "/admin/search-queries", operation_id = "list_search_queries", tag = "merchants", params(QueriesQuery),
    responses(
        (status = 200, body = QueryList),
        (status = 400, description = "invalid_parameter or invalid_cursor"),
    ),
)]
pub async fn list(
    State(app): State<Arc<App>>,
    _caller: Staff<Sees>,
    Query(query): Query<QueriesQuery>,
) -> Result<impl IntoResponse + use<>, Problem> {
    let filter = filter(&query)?;
    let found = app.query_log.queries(&filter).await?;
    let is_full = i64::try_from(found.len()).unwrap_or(0) == filter.limit;
    let next_cursor = found.last().filter(|_| is_full).map(cursor);
    let body = QueryList { from: filter.from, to: filter.to, items: found.into_iter().map(body).collect(), next_cursor };
    Ok(([(header::CACHE_CONTROL, "no-store")], Json(body)))
}

fn filter(query: &QueriesQuery) -> Result<QueryFilter, Problem> {
    let invalid = |detail: &str| Err(Problem::new("invalid_parameter", detail));
    let to = query.to.unwrap_or_else(|| infra::clock::now().date_naive());
    let from = query.from.or_else(|| to.checked_sub_days(Days::new(DAYS_DEFAULT - 1))).unwrap_or(to);
    if from > to {
        return invalid("from must not be after to");
    }
    let sort = match query.sort.as_deref() {
        None | Some("count") => QuerySort::Searches,
        Some("ctr") => QuerySort::ClickThrough,
        Some(_) => return invalid("sort must be count or ctr"),
    };
    let limit = query.limit.unwrap_or(PAGE_DEFAULT);
    if !(1..=PAGE_MAX).contains(&limit) {
        return invalid(&format!("limit must be 1 to {PAGE_MAX}"));
    }
    let after = query.cursor.as_deref().map(|text| {
        let known: Option<(i64, String, String)> = URL_SAFE_NO_PAD.decode(text).ok().and_then(|json| serde_json::from_slice(&json).ok());
        let is_text = |text: &String| !text.contains('\0');
        known.filter(|(_, lang, query)| is_text(lang) && is_text(query))
    });
    let after = match after {
        Some(None) => return Err(Problem::new("invalid_cursor", "cursor must be the next_cursor of the page before")),
        after => after.flatten(),
    };
    Ok(QueryFilter { from, to, zero_results: query.zero_results.unwrap_or(false), sort, after, limit })
}

fn cursor(last: &QueryCount) -> String {
    URL_SAFE_NO_PAD.encode(serde_json::json!([last.rank, last.lang, last.query]).to_string())
}

#[expect(clippy::cast_precision_loss, reason = "rates of counts that stay below 2^53")]
fn body(count: QueryCount) -> QueryBody {
    let by = |sum: i64, number: i64| (number > 0).then(|| (sum as f64 / number as f64 * 1_000.0).round() / 1_000.0);
    QueryBody {
        count: count.searches,
        zero_results: count.zero_results,
        clicks: count.clicks,
        click_through_rate: by(count.clicks, count.searches).unwrap_or_default(),
        mean_click_position: by(count.positions, count.clicks),
        query: count.query,
        language: count.lang,
    }
}
