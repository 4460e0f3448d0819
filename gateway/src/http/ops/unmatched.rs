//! Money at the payment provider that belongs to no payment of ours: parked until a person has settled it there.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use chrono::{DateTime, Utc};
use domain::money::Currency;
use serde::Serialize;
use sqlx::FromRow;
use utoipa::ToSchema;

use super::super::caller::{Operates, Reconciles, Staff};
use super::super::page::Items;
use super::super::problem::Problem;
use crate::app::App;

/// Most that a list shows, the newest first.
const SHOWN_MAX: i64 = 200;

/// As it is stored; the amount in minor units of the currency.
#[derive(Debug, FromRow)]
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

/// Money at the provider that belongs to no payment of ours.
#[derive(Debug, Serialize, ToSchema)]
pub struct UnmatchedBody {
    #[schema(example = "sandbox")]
    provider: String,
    /// The provider's own id of the payment.
    provider_ref: String,
    /// What the provider was told that it is for.
    merchant_reference: String,
    amount: ProviderMoney,
    /// ISO 4217.
    currency: String,
    first_seen_at: DateTime<Utc>,
    settled_at: Option<DateTime<Utc>>,
    /// Role and subject of who said so.
    settled_by: Option<String>,
}

/// An amount in the provider's words.
#[derive(Debug, Serialize, ToSchema)]
pub struct ProviderMoney {
    /// In minor units.
    amount: i64,
    currency: String,
    /// Decimals of the currency; left out where it is none that the shop knows.
    #[serde(skip_serializing_if = "Option::is_none")]
    exponent: Option<u8>,
}

impl From<Unmatched> for UnmatchedBody {
    fn from(row: Unmatched) -> Self {
        let exponent = row.currency.parse::<Currency>().ok().map(Currency::exponent);
        Self {
            provider: row.provider,
            provider_ref: row.provider_ref,
            merchant_reference: row.merchant_reference,
            amount: ProviderMoney { amount: row.amount, currency: row.currency.clone(), exponent },
            currency: row.currency,
            first_seen_at: row.first_seen_at,
            settled_at: row.settled_at,
            settled_by: row.settled_by,
        }
    }
}

/// What was parked, the newest first; settled ones are shown too.
#[utoipa::path(get, path = "/ops/unmatched", tag = "operators", operation_id = "list_unmatched",
    responses((status = 200, body = Items<UnmatchedBody>)))]
pub async fn list(State(app): State<Arc<App>>, _: Staff<Reconciles>) -> Result<Json<Items<UnmatchedBody>>, Problem> {
    let rows: Vec<Unmatched> = sqlx::query_as(
        "SELECT provider, provider_ref, merchant_reference, amount, currency, first_seen_at, settled_at, settled_by
         FROM unmatched_payment ORDER BY first_seen_at DESC, provider_ref LIMIT $1",
    )
    .bind(SHOWN_MAX)
    .fetch_all(&app.pool)
    .await?;
    Ok(Json(Items { items: rows.into_iter().map(Into::into).collect() }))
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
