//! The store's settings for its managers: prices and rounding here, locations, tax rates and shipping methods beside it.
//!
//! All of them are one stream, so that they have one version: `If-Match` of any of these answers holds for all. They are
//! read from the log itself, so that an answer is never behind a change.

use std::sync::Arc;

use axum::extract::State;
use axum::http::StatusCode;
use commands::answer::{CommandError, Position};
use commands::setting::{self, Change};
use commands::terms::Terms;
use commands::writer::Idempotency;
use cqrs_es::Aggregate;
use domain::cart::Cart;
use domain::id::CartKey;
use domain::money::{Currency, Rounding};
use domain::setting::{STORE, SettingCommand, Settings};
use infra::event_log;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;

use super::body::{Body, Query};
use super::caller::{Manages, Staff};
use super::cart::settled;
use super::problem::Problem;
use super::reading::{Read, TokenQuery, Wrote};
use crate::app::App;

pub mod location;
pub mod shipping_method;
pub mod tax_rate;

#[derive(Debug, Serialize, ToSchema)]
pub struct SettingsBody {
    /// Whether prices and shipping prices are meant with tax.
    prices_include_tax: bool,
    /// How halves are rounded: `half_up` or `half_even`.
    #[schema(value_type = String)]
    rounding: Rounding,
    /// Of the configuration, as everything below; the first one is the default.
    #[schema(value_type = Vec<String>)]
    currencies: Vec<Currency>,
    countries: Vec<String>,
    languages: Vec<String>,
    /// Whether the settings are in the log; until the first change the configuration is in force.
    is_written: bool,
}

#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct SettingsPatch {
    /// Changes what every price means; the prices stay as they are.
    prices_include_tax: Option<bool>,
    /// `half_up` or `half_even`; orders keep the one that they were placed with.
    #[schema(value_type = Option<String>)]
    rounding: Option<Rounding>,
}

/// How prices are meant, how amounts are rounded; what the configuration says beside.
#[utoipa::path(
    get, path = "/admin/settings", operation_id = "show_settings", tag = "merchants",
    params(TokenQuery),
    responses(
        (status = 200, body = SettingsBody),
        (status = 304, description = "Nothing has changed since `If-None-Match`"),
    ),
)]
pub async fn show(
    State(app): State<Arc<App>>,
    caller: Staff<Manages>,
    Query(query): Query<TokenQuery>,
) -> Result<Read<SettingsBody>, Problem> {
    let found = app.settings_now(&caller, query.token_position.as_deref()).await?;
    let body = body(&app, &found.settings, found.version);
    Ok(found.read(body, &caller))
}

/// Changes how prices are meant or amounts are rounded.
#[utoipa::path(
    patch, path = "/admin/settings", operation_id = "change_settings", tag = "merchants",
    request_body = SettingsPatch,
    responses(
        (status = 200, body = SettingsBody),
        (status = 409, description = "version_conflict"),
        (status = 422, description = "validation_failed"),
    ),
)]
pub async fn change(
    State(app): State<Arc<App>>,
    caller: Staff<Manages>,
    Body(patch): Body<SettingsPatch>,
) -> Result<Wrote<SettingsBody>, Problem> {
    let idempotency = caller.idempotency(&patch, false)?;
    let command = SettingCommand::ChangeTerms { prices_include_tax: patch.prices_include_tax, rounding: patch.rounding };
    let done = app.set(&caller, idempotency, StatusCode::OK, command).await?;
    let body = body(&app, &done.found.settings, done.found.version);
    Ok(done.wrote(body))
}

fn body(app: &App, settings: &Settings, version: i64) -> SettingsBody {
    SettingsBody {
        prices_include_tax: settings.prices_include_tax,
        rounding: settings.rounding,
        currencies: app.settings.currencies.clone(),
        countries: app.settings.countries.clone(),
        languages: app.settings.languages.clone(),
        is_written: version > 0,
    }
}

/// Settings in force, with the version that their stream has.
#[derive(Debug)]
pub(super) struct Found {
    pub(super) settings: Settings,
    pub(super) version: i64,
    pub(super) position: Position,
}

impl Found {
    pub(super) fn read<T>(&self, body: T, caller: &Staff<Manages>) -> Read<T> {
        Read::personal(body, self.position).version(self.version, caller)
    }
}

/// A change that has landed.
#[derive(Debug)]
pub(super) struct Set {
    pub(super) found: Found,
    status: StatusCode,
    replayed: bool,
}

impl Set {
    pub(super) fn wrote<T>(self, body: T) -> Wrote<T> {
        let Self { found, status, replayed } = self;
        Wrote { status, body: Some(body), position: found.position, version: Some(found.version), replayed }
    }

    /// What was removed is shown no more.
    pub(super) fn removed(self) -> Wrote<()> {
        let Self { found, status, replayed } = self;
        Wrote { status, body: None, position: found.position, version: Some(found.version), replayed }
    }
}

impl App {
    /// The terms in force as of `position` or later; of 0: as they were a moment ago, and a command still decides on its own.
    pub(crate) async fn terms(&self, position: i64) -> Result<Arc<Terms>, Problem> {
        if let Some(kept) = self.cache.settings(position) {
            return Ok(setting::terms(&kept.0, &self.settings.terms));
        }
        let loaded = Arc::new(self.loader.load::<Settings>(STORE).await?);
        self.cache.keep_settings(&loaded, position);
        Ok(setting::terms(&loaded.0, &self.settings.terms))
    }

    /// The terms that were in force when a cart last changed; `None` when they are still. What was only shown since is not
    /// known: who has seen it says so with the total that is expected.
    pub(super) async fn terms_seen(&self, cart: &CartKey) -> Result<Option<Arc<Terms>>, Problem> {
        // A shop that never changed its settings pays nothing for this.
        if self.cache.settings(0).is_some_and(|kept| !kept.0.is_written) {
            return Ok(None);
        }
        let changed: Option<i64> = sqlx::query_scalar(
            "SELECT c.position FROM
                 (SELECT position FROM events WHERE aggregate_type = $1 AND aggregate_id = $2 ORDER BY sequence DESC LIMIT 1) c,
                 (SELECT position FROM events WHERE aggregate_type = $3 AND aggregate_id = $4 ORDER BY sequence DESC LIMIT 1) s
             WHERE s.position > c.position",
        )
        .bind(Cart::TYPE)
        .bind(cart.as_str())
        .bind(Settings::TYPE)
        .bind(STORE)
        .fetch_optional(&self.pool)
        .await?;
        let Some(position) = changed else { return Ok(None) };
        let (settings, _) = self.loader.load_as_of::<Settings>(STORE, position).await?;
        Ok(Some(setting::terms(&settings, &self.settings.terms)))
    }

    /// The settings in force as of a position of the log.
    pub async fn settings_as_of(&self, position: i64) -> Result<(Settings, i64), Problem> {
        let (settings, version) = self.loader.load_as_of::<Settings>(STORE, position).await?;
        Ok((setting::effective(&settings, &self.settings.terms).into_owned(), version))
    }

    /// The settings in force, for those who may see them.
    pub(super) async fn settings_now(&self, caller: &Staff<Manages>, token: Option<&str>) -> Result<Found, Problem> {
        if let Some(token) = caller.token(token)? {
            self.checkpoints.check(token).await?;
        }
        let head = event_log::head(&self.pool).await?;
        let (settings, version) = self.settings_as_of(head.position).await?;
        Ok(Found { settings, version, position: Position { epoch: head.epoch, position: head.position } })
    }

    /// Lands a change; answers the settings as they were right after it, also when it is asked for again.
    pub(super) async fn set(
        &self,
        caller: &Staff<Manages>,
        idempotency: Option<Idempotency>,
        status: StatusCode,
        command: SettingCommand,
    ) -> Result<Set, Problem> {
        let change =
            Change { command, configured: Arc::clone(&self.settings.terms), expected_version: caller.if_match()?, status: status.as_u16() };
        let done = self.writer.execute(caller.origin(), idempotency, move |streams| setting::change(streams, &change)).await;
        let (position, (settings, version), replayed) = match done {
            Ok(done) => (done.position, done.output, false),
            Err(CommandError::Replayed(recorded)) => {
                let position = settled(*recorded)?.position;
                (position, self.settings_as_of(position.position).await?, true)
            }
            Err(error) => return Err(error.into()),
        };
        Ok(Set { found: Found { settings, version, position }, status, replayed })
    }
}

/// The id of what a command makes; the same when the command is repeated under its key.
pub(super) fn id_of(idempotency: Option<&Idempotency>) -> Uuid {
    idempotency.map_or_else(infra::clock::new_id, |known| Uuid::new_v5(&known.key, b"id"))
}
