//! How goods are delivered, and what that costs.

use std::sync::Arc;

use axum::extract::{Path, State};
use axum::http::StatusCode;
use domain::id::MethodId;
use domain::money::Money;
use domain::pricing::{AmountTier, ShippingMethod, ShippingRates, WeightTier};
use domain::setting::SettingCommand;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{Set, id_of};
use crate::app::App;
use crate::http::body::{Body, Query};
use crate::http::caller::{Manages, Staff};
use crate::http::money::{Amount, MoneyBody, MoneyDraft, amounts};
use crate::http::page::{Page, PageQuery, page};
use crate::http::problem::Problem;
use crate::http::reading::{Read, TokenQuery, Wrote};

/// A way of delivery: with a price for each currency, or with rates.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ShippingMethodDraft {
    title: String,
    /// ISO 3166-1 alpha-2; everywhere when empty.
    #[serde(default)]
    countries: Vec<String>,
    /// One for each currency; in others it is not offered.
    #[serde(default)]
    #[schema(value_type = Vec<MoneyDraft>, example = json!([{"amount": 490, "currency": "EUR"}]))]
    prices: Vec<Amount>,
    /// What shipping is taxed as; `standard` unless given.
    tax_category: Option<String>,
    /// From which value of goods on it costs nothing, one for each currency.
    #[serde(default)]
    #[schema(value_type = Vec<MoneyDraft>)]
    free_from: Vec<Amount>,
    /// In place of `prices`.
    rates: Option<RatesDraft>,
}

/// The highest tier that the goods reach holds; below the lowest one the method is not offered.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(tag = "by", rename_all = "snake_case")]
pub enum RatesDraft {
    /// By the value of the goods as prices are shown, before discounts.
    Amount { tiers: Vec<AmountTierDraft> },
    /// By the weight of what needs shipping; what has no known weight weighs nothing.
    Weight {
        tiers: Vec<WeightTierDraft>,
        /// Heavier carts are not offered it.
        grams_max: Option<u64>,
    },
}

#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct AmountTierDraft {
    #[schema(value_type = MoneyDraft)]
    from: Amount,
    /// In the currency of `from`.
    #[schema(value_type = MoneyDraft)]
    price: Amount,
}

#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct WeightTierDraft {
    from_grams: u64,
    /// One for each currency.
    #[schema(value_type = Vec<MoneyDraft>)]
    prices: Vec<Amount>,
}

#[derive(Debug, Serialize, ToSchema)]
pub struct ShippingMethodBody {
    id: String,
    title: String,
    countries: Vec<String>,
    prices: Vec<MoneyBody>,
    tax_category: String,
    free_from: Vec<MoneyBody>,
    rates: Option<RatesBody>,
}

#[derive(Debug, Serialize, ToSchema)]
#[serde(tag = "by", rename_all = "snake_case")]
pub enum RatesBody {
    Amount { tiers: Vec<AmountTierBody> },
    Weight { tiers: Vec<WeightTierBody>, grams_max: Option<u64> },
}

#[derive(Debug, Serialize, ToSchema)]
pub struct AmountTierBody {
    from: MoneyBody,
    price: MoneyBody,
}

#[derive(Debug, Serialize, ToSchema)]
pub struct WeightTierBody {
    from_grams: u64,
    prices: Vec<MoneyBody>,
}

/// The ways of delivery, in the order in which carts are offered them.
#[utoipa::path(
    get, path = "/admin/shipping-methods", operation_id = "list_shipping_methods", tag = "merchants",
    params(PageQuery),
    responses(
        (status = 200, body = Page<ShippingMethodBody>),
        (status = 400, description = "invalid_parameter or invalid_cursor"),
    ),
)]
pub async fn list(
    State(app): State<Arc<App>>,
    caller: Staff<Manages>,
    Query(query): Query<PageQuery>,
) -> Result<Read<Page<ShippingMethodBody>>, Problem> {
    let found = app.settings_now(&caller, query.token_position.as_deref()).await?;
    let body = page(&found.settings.shipping_methods, &query, |method| method.method_id.to_string(), body)?;
    Ok(found.read(body, &caller))
}

/// One way of delivery.
#[utoipa::path(
    get, path = "/admin/shipping-methods/{id}", operation_id = "show_shipping_method", tag = "merchants",
    params(("id" = String, Path), TokenQuery),
    responses(
        (status = 200, body = ShippingMethodBody),
        (status = 404, description = "not_found"),
    ),
)]
pub async fn show(
    State(app): State<Arc<App>>,
    caller: Staff<Manages>,
    Path(id): Path<String>,
    Query(query): Query<TokenQuery>,
) -> Result<Read<ShippingMethodBody>, Problem> {
    let found = app.settings_now(&caller, query.token_position.as_deref()).await?;
    let method = found.settings.shipping_method(method_id(&id)?).ok_or_else(missing)?;
    Ok(found.read(body(method), &caller))
}

/// Adds a way of delivery.
#[utoipa::path(
    post, path = "/admin/shipping-methods", operation_id = "add_shipping_method", tag = "merchants",
    request_body = ShippingMethodDraft,
    responses(
        (status = 201, body = ShippingMethodBody),
        (status = 409, description = "version_conflict"),
        (status = 422, description = "validation_failed"),
    ),
)]
pub async fn add(
    State(app): State<Arc<App>>,
    caller: Staff<Manages>,
    Body(draft): Body<ShippingMethodDraft>,
) -> Result<Wrote<ShippingMethodBody>, Problem> {
    let idempotency = caller.idempotency(&draft, false)?;
    let method_id = id_of(idempotency.as_ref()).into();
    let command = SettingCommand::AddShippingMethod(Box::new(method(method_id, draft)));
    let done = app.set(&caller, idempotency, StatusCode::CREATED, command).await?;
    answer(done, method_id)
}

/// Replaces a way of delivery. Carts that chose it are shown its new price; what costs more than was seen must be agreed to anew.
#[utoipa::path(
    put, path = "/admin/shipping-methods/{id}", operation_id = "change_shipping_method", tag = "merchants",
    params(("id" = String, Path)),
    request_body = ShippingMethodDraft,
    responses(
        (status = 200, body = ShippingMethodBody),
        (status = 404, description = "not_found"),
        (status = 409, description = "version_conflict"),
        (status = 422, description = "validation_failed"),
    ),
)]
pub async fn change(
    State(app): State<Arc<App>>,
    caller: Staff<Manages>,
    Path(id): Path<String>,
    Body(draft): Body<ShippingMethodDraft>,
) -> Result<Wrote<ShippingMethodBody>, Problem> {
    let idempotency = caller.idempotency(&draft, false)?;
    let method_id = method_id(&id)?;
    let command = SettingCommand::ChangeShippingMethod(Box::new(method(method_id, draft)));
    let done = app.set(&caller, idempotency, StatusCode::OK, command).await?;
    answer(done, method_id)
}

/// Removes a way of delivery; carts that chose it must choose another one.
#[utoipa::path(
    delete, path = "/admin/shipping-methods/{id}", operation_id = "remove_shipping_method", tag = "merchants",
    params(("id" = String, Path)),
    responses(
        (status = 204, description = "Removed"),
        (status = 404, description = "not_found"),
        (status = 409, description = "version_conflict"),
    ),
)]
pub async fn remove(State(app): State<Arc<App>>, caller: Staff<Manages>, Path(id): Path<String>) -> Result<Wrote<()>, Problem> {
    let idempotency = caller.idempotency(&(), false)?;
    let command = SettingCommand::RemoveShippingMethod { method_id: method_id(&id)? };
    Ok(app.set(&caller, idempotency, StatusCode::NO_CONTENT, command).await?.removed())
}

fn method_id(id: &str) -> Result<MethodId, Problem> {
    id.parse().map_err(|_| missing())
}

fn missing() -> Problem {
    Problem::not_found("shipping method")
}

fn method(method_id: MethodId, draft: ShippingMethodDraft) -> ShippingMethod {
    let given = |amounts: Vec<Amount>| amounts.into_iter().map(|Amount(money)| money).collect::<Vec<Money>>();
    let rates = draft.rates.map(|rates| match rates {
        RatesDraft::Amount { tiers } => {
            let tier = |tier: AmountTierDraft| AmountTier { from: tier.from.0, price: tier.price.0 };
            ShippingRates::Amount { tiers: tiers.into_iter().map(tier).collect() }
        }
        RatesDraft::Weight { tiers, grams_max } => {
            let tier = |tier: WeightTierDraft| WeightTier { from_grams: tier.from_grams, prices: given(tier.prices) };
            ShippingRates::Weight { tiers: tiers.into_iter().map(tier).collect(), grams_max }
        }
    });
    ShippingMethod {
        method_id,
        title: draft.title,
        countries: draft.countries,
        prices: given(draft.prices),
        tax_category: draft.tax_category.unwrap_or_else(|| crate::settings::SHIPPING_TAX_CATEGORY.to_owned()),
        free_from: given(draft.free_from),
        rates,
    }
}

fn answer(done: Set, method_id: MethodId) -> Result<Wrote<ShippingMethodBody>, Problem> {
    let body = done.found.settings.shipping_method(method_id).map(body).ok_or_else(missing)?;
    Ok(done.wrote(body))
}

fn body(method: &ShippingMethod) -> ShippingMethodBody {
    let rates = method.rates.as_ref().map(|rates| match rates {
        ShippingRates::Amount { tiers } => {
            let tier = |tier: &AmountTier| AmountTierBody { from: tier.from.into(), price: tier.price.into() };
            RatesBody::Amount { tiers: tiers.iter().map(tier).collect() }
        }
        ShippingRates::Weight { tiers, grams_max } => {
            let tier = |tier: &WeightTier| WeightTierBody { from_grams: tier.from_grams, prices: amounts(&tier.prices) };
            RatesBody::Weight { tiers: tiers.iter().map(tier).collect(), grams_max: *grams_max }
        }
    });
    ShippingMethodBody {
        id: method.method_id.to_string(),
        title: method.title.clone(),
        countries: method.countries.clone(),
        prices: amounts(&method.prices),
        tax_category: method.tax_category.clone(),
        free_from: amounts(&method.free_from),
        rates,
    }
}
