//! What is taxed, where, and how much.

use std::sync::Arc;

use axum::extract::{Path, State};
use axum::http::StatusCode;
use domain::id::TaxId;
use domain::pricing::TaxRate;
use domain::setting::SettingCommand;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{Set, id_of};
use crate::app::App;
use crate::http::body::{Body, Query};
use crate::http::caller::{Manages, Staff};
use crate::http::page::{Page, PageQuery, page};
use crate::http::problem::Problem;
use crate::http::reading::{Read, TokenQuery, Wrote};

/// One tax. All that fit a line's category and its destination are on it.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct TaxRateDraft {
    #[schema(example = "VAT")]
    title: String,
    /// ISO 3166-1 alpha-2.
    #[schema(example = "DE")]
    country: String,
    /// As addresses name it; the whole country unless given.
    region: Option<String>,
    /// The products' `tax_category`.
    #[schema(example = "standard")]
    category: String,
    /// Parts per million: 190000 is 19 %.
    #[schema(example = 190_000, maximum = 1_000_000)]
    rate_ppm: u32,
    /// On top of the taxes that aren't compound.
    #[serde(default)]
    compound: bool,
    #[serde(default)]
    applies_to_shipping: bool,
}

#[derive(Debug, Serialize, ToSchema)]
pub struct TaxRateBody {
    id: String,
    title: String,
    country: String,
    region: Option<String>,
    category: String,
    rate_ppm: u32,
    compound: bool,
    applies_to_shipping: bool,
}

/// The taxes, in the order in which they were added.
#[utoipa::path(
    get, path = "/admin/tax-rates", operation_id = "list_tax_rates", tag = "merchants",
    params(PageQuery),
    responses(
        (status = 200, body = Page<TaxRateBody>),
        (status = 400, description = "invalid_parameter or invalid_cursor"),
    ),
)]
pub async fn list(
    State(app): State<Arc<App>>,
    caller: Staff<Manages>,
    Query(query): Query<PageQuery>,
) -> Result<Read<Page<TaxRateBody>>, Problem> {
    let found = app.settings_now(&caller, query.token_position.as_deref()).await?;
    let body = page(&found.settings.tax_rates, &query, |rate| rate.tax_id.to_string(), body)?;
    Ok(found.read(body, &caller))
}

/// One tax.
#[utoipa::path(
    get, path = "/admin/tax-rates/{id}", operation_id = "show_tax_rate", tag = "merchants",
    params(("id" = String, Path), TokenQuery),
    responses(
        (status = 200, body = TaxRateBody),
        (status = 404, description = "not_found"),
    ),
)]
pub async fn show(
    State(app): State<Arc<App>>,
    caller: Staff<Manages>,
    Path(id): Path<String>,
    Query(query): Query<TokenQuery>,
) -> Result<Read<TaxRateBody>, Problem> {
    let found = app.settings_now(&caller, query.token_position.as_deref()).await?;
    let rate = found.settings.tax_rate(tax_id(&id)?).ok_or_else(missing)?;
    Ok(found.read(body(rate), &caller))
}

/// Adds a tax. It is on every cart from now on; orders that are placed stay as they are.
#[utoipa::path(
    post, path = "/admin/tax-rates", operation_id = "add_tax_rate", tag = "merchants",
    request_body = TaxRateDraft,
    responses(
        (status = 201, body = TaxRateBody),
        (status = 409, description = "already_exists: the same title for the same place and category; version_conflict"),
        (status = 422, description = "validation_failed"),
    ),
)]
pub async fn add(
    State(app): State<Arc<App>>,
    caller: Staff<Manages>,
    Body(draft): Body<TaxRateDraft>,
) -> Result<Wrote<TaxRateBody>, Problem> {
    let idempotency = caller.idempotency(&draft, false)?;
    let tax_id = id_of(idempotency.as_ref()).into();
    let command = SettingCommand::AddTaxRate(rate(tax_id, draft));
    let done = app.set(&caller, idempotency, StatusCode::CREATED, command).await?;
    answer(done, tax_id)
}

/// Replaces a tax.
#[utoipa::path(
    put, path = "/admin/tax-rates/{id}", operation_id = "change_tax_rate", tag = "merchants",
    params(("id" = String, Path)),
    request_body = TaxRateDraft,
    responses(
        (status = 200, body = TaxRateBody),
        (status = 404, description = "not_found"),
        (status = 409, description = "already_exists, version_conflict"),
        (status = 422, description = "validation_failed"),
    ),
)]
pub async fn change(
    State(app): State<Arc<App>>,
    caller: Staff<Manages>,
    Path(id): Path<String>,
    Body(draft): Body<TaxRateDraft>,
) -> Result<Wrote<TaxRateBody>, Problem> {
    let idempotency = caller.idempotency(&draft, false)?;
    let tax_id = tax_id(&id)?;
    let done = app.set(&caller, idempotency, StatusCode::OK, SettingCommand::ChangeTaxRate(rate(tax_id, draft))).await?;
    answer(done, tax_id)
}

/// Removes a tax.
#[utoipa::path(
    delete, path = "/admin/tax-rates/{id}", operation_id = "remove_tax_rate", tag = "merchants",
    params(("id" = String, Path)),
    responses(
        (status = 204, description = "Removed"),
        (status = 404, description = "not_found"),
        (status = 409, description = "version_conflict"),
    ),
)]
pub async fn remove(State(app): State<Arc<App>>, caller: Staff<Manages>, Path(id): Path<String>) -> Result<Wrote<()>, Problem> {
    let idempotency = caller.idempotency(&(), false)?;
    let command = SettingCommand::RemoveTaxRate { tax_id: tax_id(&id)? };
    Ok(app.set(&caller, idempotency, StatusCode::NO_CONTENT, command).await?.removed())
}

fn tax_id(id: &str) -> Result<TaxId, Problem> {
    id.parse().map_err(|_| missing())
}

fn missing() -> Problem {
    Problem::not_found("tax rate")
}

fn rate(tax_id: TaxId, draft: TaxRateDraft) -> TaxRate {
    let TaxRateDraft { title, country, region, category, rate_ppm, compound, applies_to_shipping } = draft;
    TaxRate { tax_id, title, country, region, category, rate_ppm, compound, applies_to_shipping }
}

fn answer(done: Set, tax_id: TaxId) -> Result<Wrote<TaxRateBody>, Problem> {
    let body = done.found.settings.tax_rate(tax_id).map(body).ok_or_else(missing)?;
    Ok(done.wrote(body))
}

fn body(rate: &TaxRate) -> TaxRateBody {
    TaxRateBody {
        id: rate.tax_id.to_string(),
        title: rate.title.clone(),
        country: rate.country.clone(),
        region: rate.region.clone(),
        category: rate.category.clone(),
        rate_ppm: rate.rate_ppm,
        compound: rate.compound,
        applies_to_shipping: rate.applies_to_shipping,
    }
}
