//! Money at the payment provider that belongs to no payment of ours: parked until a person has settled it there.

use std::sync::Arc;

use axum::extract::{Path, State};
use axum::http::StatusCode;
use chrono::{DateTime, Utc};
use domain::money::{Currency, Money};
use serde::Serialize;
use serde_json::{Value, json};
use sqlx::FromRow;

use super::super::caller::{Operates, Reconciles, Staff};
use super::super::cart::money;
use super::super::problem::Problem;
use crate::app::App;

/// Most that a list shows, the newest first.
const SHOWN_MAX: i64 = 200;

#[derive(Debug, FromRow, Serialize)]
struct Unmatched {
    provider: String,
    provider_ref: String,
    merchant_reference: String,
    amount: i64,
    currency: String,
    first_seen_at: DateTime<Utc>,
    settled_at: Option<DateTime<Utc>>,
    settled_by: Option<String>,
}

/// What was parked, the newest first; settled ones are shown too.
#[utoipa::path(get, path = "/ops/unmatched", tag = "operators", operation_id = "list_unmatched",
    responses((status = 200, description = "items: provider, provider_ref, merchant_reference, amount, first_seen_at, settled_at, settled_by")))]
pub async fn list(State(app): State<Arc<App>>, _: Staff<Reconciles>) -> Result<axum::Json<Value>, Problem> {
    let rows: Vec<Unmatched> = sqlx::query_as(
        "SELECT provider, provider_ref, merchant_reference, amount, currency, first_seen_at, settled_at, settled_by
         FROM unmatched_payment ORDER BY first_seen_at DESC, provider_ref LIMIT $1",
    )
    .bind(SHOWN_MAX)
    .fetch_all(&app.pool)
    .await?;
    let items: Vec<Value> = rows
        .iter()
        .map(|row| {
            let currency = row.currency.parse::<Currency>().ok();
            let amount = currency.and_then(|currency| Money::new(row.amount, currency).ok()).map(money);
            let mut item = json!(row);
            item["amount"] = amount.unwrap_or_else(|| json!({ "amount": row.amount, "currency": row.currency }));
            item
        })
        .collect();
    Ok(axum::Json(json!({ "items": items })))
}

/// Says that it was settled at the provider: refunded there, or found to be right. `verify` then counts it no more.
#[utoipa::path(post, path = "/ops/unmatched/{provider_ref}/settle", tag = "operators", operation_id = "settle_unmatched",
    params(("provider_ref" = String, Path, description = "the provider's own id of the payment")),
    responses((status = 204, description = "settled; again is no change"), (status = 404, description = "not_found")))]
pub async fn settle(State(app): State<Arc<App>>, caller: Staff<Operates>, Path(provider_ref): Path<String>) -> Result<StatusCode, Problem> {
    let settled = sqlx::query(
        "UPDATE unmatched_payment SET settled_at = coalesce(settled_at, $2), settled_by = coalesce(settled_by, $3) WHERE provider_ref = $1",
    )
    .bind(&provider_ref)
    .bind(infra::clock::now())
    .bind(caller.principal())
    .execute(&app.pool)
    .await?;
    if settled.rows_affected() == 0 { Err(Problem::not_found("unmatched payment")) } else { Ok(StatusCode::NO_CONTENT) }
}
