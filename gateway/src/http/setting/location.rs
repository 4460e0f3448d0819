//! Where stock lies.

use std::sync::Arc;

use axum::extract::{Path, State};
use axum::http::StatusCode;
use domain::id::LocationId;
use domain::setting::{Location, LocationAddress, LocationChange, NewLocation, SettingCommand, Settings};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{Set, id_of};
use crate::app::App;
use crate::http::body::{Body, Query};
use crate::http::caller::{Manages, Staff};
use crate::http::page::{Page, PageQuery, page};
use crate::http::problem::Problem;
use crate::http::reading::{Read, Wrote};

/// Where a location is.
#[derive(Debug, Clone, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct AddressBody {
    line1: Option<String>,
    line2: Option<String>,
    postal_code: Option<String>,
    city: Option<String>,
    region: Option<String>,
    /// ISO 3166-1 alpha-2.
    country: Option<String>,
}

impl From<AddressBody> for LocationAddress {
    fn from(AddressBody { line1, line2, postal_code, city, region, country }: AddressBody) -> Self {
        Self { line1, line2, postal_code, city, region, country }
    }
}

impl From<LocationAddress> for AddressBody {
    fn from(LocationAddress { line1, line2, postal_code, city, region, country }: LocationAddress) -> Self {
        Self { line1, line2, postal_code, city, region, country }
    }
}

#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewLocationBody {
    /// What people call it by, unique: letters, digits, `-`, `_`, `.`.
    #[schema(example = "berlin")]
    code: String,
    title: String,
    address: Option<AddressBody>,
    /// Stock is sold from the location with the lowest one first; last unless given.
    priority: Option<u32>,
}

/// What is absent stays; an address is replaced as a whole.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct LocationPatch {
    code: Option<String>,
    title: Option<String>,
    address: Option<AddressBody>,
    priority: Option<u32>,
}

#[derive(Debug, Serialize, ToSchema)]
pub struct LocationBody {
    id: String,
    code: String,
    title: String,
    address: AddressBody,
    priority: u32,
    /// `active` or `closed`.
    status: &'static str,
}

/// The store's locations, in the order in which stock is sold from them; then the closed ones.
#[utoipa::path(
    get, path = "/admin/locations", operation_id = "list_locations", tag = "merchants",
    params(PageQuery),
    responses(
        (status = 200, body = Page<LocationBody>),
        (status = 400, description = "invalid_parameter or invalid_cursor"),
    ),
)]
pub async fn list(
    State(app): State<Arc<App>>,
    caller: Staff<Manages>,
    Query(query): Query<PageQuery>,
) -> Result<Read<Page<LocationBody>>, Problem> {
    let found = app.settings_now(&caller, query.token_position.as_deref()).await?;
    let mut all: Vec<&Location> = found.settings.open_locations();
    all.extend(found.settings.locations.iter().filter(|location| location.is_closed));
    let body = page(&all, &query, |location| location.facts.location_id.to_string(), |location| body(location))?;
    Ok(found.read(body, &caller))
}

/// Adds a location.
#[utoipa::path(
    post, path = "/admin/locations", operation_id = "add_location", tag = "merchants",
    request_body = NewLocationBody,
    responses(
        (status = 201, body = LocationBody),
        (status = 409, description = "already_exists: another location has the code; version_conflict"),
        (status = 422, description = "validation_failed"),
    ),
)]
pub async fn add(
    State(app): State<Arc<App>>,
    caller: Staff<Manages>,
    Body(new): Body<NewLocationBody>,
) -> Result<Wrote<LocationBody>, Problem> {
    let idempotency = caller.idempotency(&new, false)?;
    let location_id = id_of(idempotency.as_ref()).into();
    let address = new.address.unwrap_or_default().into();
    let command = NewLocation { location_id, code: new.code, title: new.title, address, priority: new.priority };
    let done = app.set(&caller, idempotency, StatusCode::CREATED, SettingCommand::AddLocation(command)).await?;
    answer(done, location_id)
}

/// Changes a location's code, title, address or priority.
#[utoipa::path(
    patch, path = "/admin/locations/{location}", operation_id = "change_location", tag = "merchants",
    params(("location" = String, Path, description = "A location's code or id")),
    request_body = LocationPatch,
    responses(
        (status = 200, body = LocationBody),
        (status = 404, description = "not_found"),
        (status = 409, description = "already_exists, location_closed, version_conflict"),
        (status = 422, description = "validation_failed"),
    ),
)]
pub async fn change(
    State(app): State<Arc<App>>,
    caller: Staff<Manages>,
    Path(location): Path<String>,
    Body(patch): Body<LocationPatch>,
) -> Result<Wrote<LocationBody>, Problem> {
    let location_id = named(&app, &caller, &location).await?;
    let idempotency = caller.idempotency(&patch, false)?;
    let address = patch.address.map(Into::into);
    let change = LocationChange { code: patch.code, title: patch.title, address, priority: patch.priority };
    let done = app.set(&caller, idempotency, StatusCode::OK, SettingCommand::ChangeLocation { location_id, change }).await?;
    answer(done, location_id)
}

/// Closes a location for good: nothing is sold from it or comes to it any more. Refused while stock lies there, is promised
/// there or is on its way there, since it would count as stock that nobody can buy: transfer it first. What comes in at the
/// very moment of closing is not sold, and can still be transferred, counted and shipped.
#[utoipa::path(
    delete, path = "/admin/locations/{location}", operation_id = "close_location", tag = "merchants",
    params(("location" = String, Path, description = "A location's code or id")),
    responses(
        (status = 200, body = LocationBody),
        (status = 404, description = "not_found"),
        (status = 409, description = "location_in_use {variants}; invalid_state: it is the last one; version_conflict"),
        (status = 503, description = "read_model_behind: repeat, what lies there is not known yet"),
    ),
)]
pub async fn close(
    State(app): State<Arc<App>>,
    caller: Staff<Manages>,
    Path(location): Path<String>,
) -> Result<Wrote<LocationBody>, Problem> {
    let location_id = named(&app, &caller, &location).await?;
    let idempotency = caller.idempotency(&(), false)?;
    app.reach_head("stock").await?;
    let variants_there = projections::stock::variants_at(&app.pool, location_id).await?;
    let done = app.set(&caller, idempotency, StatusCode::OK, SettingCommand::CloseLocation { location_id, variants_there }).await?;
    answer(done, location_id)
}

/// Which location a path means; what it may not be changed to, the decision says.
async fn named(app: &App, caller: &Staff<Manages>, location: &str) -> Result<LocationId, Problem> {
    let found = app.settings_now(caller, None).await?;
    let location = found.settings.location(location).ok_or_else(|| Problem::not_found("location"))?;
    Ok(location.facts.location_id)
}

fn answer(done: Set, location_id: LocationId) -> Result<Wrote<LocationBody>, Problem> {
    let is_meant = |location: &&Location| location.facts.location_id == location_id;
    let Settings { locations, .. } = &done.found.settings;
    let body = locations.iter().find(is_meant).map(body).ok_or_else(|| Problem::not_found("location"))?;
    Ok(done.wrote(body))
}

fn body(location: &Location) -> LocationBody {
    let facts = &location.facts;
    LocationBody {
        id: facts.location_id.to_string(),
        code: facts.code.clone(),
        title: facts.title.clone(),
        address: facts.address.clone().into(),
        priority: facts.priority,
        status: if location.is_closed { "closed" } else { "active" },
    }
}
