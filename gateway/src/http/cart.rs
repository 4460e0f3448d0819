//! Carts and checkout.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::{Path, State};
use axum::http::StatusCode;
use commands::answer::{CommandError, Position, Recorded};
use commands::cart::{self, CartAt, LineRef, Sellable};
use commands::quote;
use commands::writer::Idempotency;
use domain::cart::{Cart, CartCommand, CartCreated, CartSettingsChanged, ContactDraft};
use domain::catalog::{Product, STOREFRONT};
use domain::id::{CartKey, LineId, MethodId, ProductId, SubjectId, VariantId};
use domain::personal::Purpose;
use infra::sealing::KeyScope;
use projections::state::Row;
use serde::{Deserialize, Serialize};
use tokio::time::Instant;
use utoipa::ToSchema;

use super::body::{Body, Query};
use super::caller::{Caller, new_secret};
use super::contact::ContactDraftBody;
use super::page::Items;
use super::problem::Problem;
use super::reading::{Read, Wrote};
use crate::app::App;

pub mod claim;
pub mod coupon;
pub(super) mod render;

use render::{CartBody, ShippingOptionBody};

/// How often the answer to a command that has landed is tried, while a read model that it shows is made anew.
const LANDED_INTERVAL: Duration = Duration::from_millis(20);

/// What a cart is for: its currency, and where it will probably go.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct NewCart {
    /// ISO 4217, one of the store's.
    currency: String,
    /// ISO 3166-1 alpha-2; gives an estimate of tax and shipping until the address is known.
    country: Option<String>,
    /// BCP 47.
    language: Option<String>,
}

#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct CartSettings {
    currency: Option<String>,
    country: Option<String>,
    language: Option<String>,
}

/// A variant by its SKU or id.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct NewLine {
    sku: Option<String>,
    variant_id: Option<String>,
    /// 1 to 999.
    quantity: u32,
}

#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct LineQuantity {
    /// 0 removes the line.
    quantity: u32,
}

#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct ChosenOption {
    id: String,
}

#[derive(Debug, Deserialize)]
pub struct CartQuery {
    token_position: Option<String>,
    as_of: Option<String>,
    lang: Option<String>,
}

/// Makes a cart. Its id is a secret: who has it, has the cart.
#[utoipa::path(post, path = "/carts", tag = "shoppers", request_body = NewCart,
    responses((status = 201, body = CartBody, description = "the cart"), (status = 422, description = "unsupported_currency, validation_failed")))]
pub async fn create(State(app): State<Arc<App>>, caller: Caller, Body(new): Body<NewCart>) -> Result<Wrote<CartBody>, Problem> {
    let currency = app.settings.currency(&new.currency).ok_or_else(|| unsupported(&app, &new.currency))?;
    // With an idempotency key a repetition must find the same cart: its secret is derived from the key.
    let idempotency = caller.idempotency(&new, false)?;
    if caller.role().is_none() && caller.header("idempotency-key").is_some_and(|key| key.parse::<uuid::Uuid>().is_err()) {
        // A guest is known by nothing else: a guessable key would hand one guest's cart to another.
        return Err(Problem::new("invalid_parameter", "a guest's Idempotency-Key for a new cart must be a random UUID"));
    }
    let id = match &idempotency {
        Some(key) => app.master.hash_secret("cart_of_key", &key.key.to_string()),
        None => new_secret()?,
    };
    let key = app.cart_key(&id);
    let created = CartCreated {
        subject_id: SubjectId::new(infra::clock::new_id()),
        customer_id: None,
        channel: STOREFRONT.to_owned(),
        currency,
        country: new.country.clone(),
        language: new.language.clone(),
    };
    let decide = {
        let key = key.clone();
        move |streams: &mut commands::streams::Streams<'_>| cart::create(streams, &key, &created)
    };
    let done = app.writer.execute(caller.origin(), idempotency, decide).await;
    app.cart_answer(&id, &key, StatusCode::CREATED, new.language.as_deref(), done).await
}

/// Shows a cart with live prices.
#[utoipa::path(get, path = "/carts/{id}", tag = "shoppers", params(("id" = String, Path, description = "the cart's id"),
        ("as_of" = Option<String>, Query, description = "position or RFC 3339 time")),
    responses((status = 200, body = CartBody, description = "the cart"), (status = 404, description = "not_found")))]
pub async fn show(
    State(app): State<Arc<App>>,
    caller: Caller,
    Path(id): Path<String>,
    Query(query): Query<CartQuery>,
) -> Result<Read<CartBody>, Problem> {
    let key = app.cart_key(&id);
    if let Some(as_of) = &query.as_of {
        let position = super::event::resolve(&app.pool, "as_of", as_of).await?;
        let (state, version) = app.loader.load_as_of::<Cart>(key.as_str(), position).await?;
        exists(&state)?;
        let at = Position { epoch: infra::event_log::head(&app.pool).await?.epoch, position };
        return Ok(Read::personal(app.render_cart(&id, &state, query.lang.as_deref(), 0).await?, at).version(version, &caller));
    }
    let token = query.token_position.as_deref();
    let at = app.read_position(&caller, token, "cart").await?;
    let at = app.rows_position::<Cart>(&caller, token, "cart", &[key.as_str().to_owned()], at).await?;
    let found = projections::cart::find(&app.pool, key.as_str()).await?;
    let (state, version) = if let Some(row) = found {
        (row.state, row.version)
    } else {
        // A cart that was just made may be ahead of the read model: the log knows it.
        app.loader.load::<Cart>(key.as_str()).await?
    };
    exists(&state)?;
    Ok(Read::personal(app.render_cart(&id, &state, query.lang.as_deref(), at.position).await?, at).version(version, &caller))
}

/// Changes country, language, or, while it is empty, the currency.
#[utoipa::path(patch, path = "/carts/{id}", tag = "shoppers", params(("id" = String, Path)), request_body = CartSettings,
    responses((status = 200, body = CartBody, description = "the cart"), (status = 409, description = "cart_closed, version_conflict"), (status = 422, description = "validation_failed")))]
pub async fn change(
    State(app): State<Arc<App>>,
    caller: Caller,
    Path(id): Path<String>,
    Body(wanted): Body<CartSettings>,
) -> Result<Wrote<CartBody>, Problem> {
    let currency = match &wanted.currency {
        Some(code) => Some(app.settings.currency(code).ok_or_else(|| unsupported(&app, code))?),
        None => None,
    };
    let command = CartSettingsChanged { currency, country: wanted.country.clone(), language: wanted.language.clone() };
    app.cart_command(&caller, &id, &wanted, CartCommand::ChangeSettings(command)).await
}

/// Adds units; they join a line of the same variant.
#[utoipa::path(post, path = "/carts/{id}/lines", tag = "shoppers", params(("id" = String, Path)), request_body = NewLine,
    responses((status = 200, body = CartBody, description = "the cart"), (status = 404, description = "not_found"), (status = 409, description = "cart_closed"), (status = 422, description = "validation_failed")))]
pub async fn add_line(
    State(app): State<Arc<App>>,
    caller: Caller,
    Path(id): Path<String>,
    Body(new): Body<NewLine>,
) -> Result<Wrote<CartBody>, Problem> {
    let sellable = app.sellable(&new).await?;
    let (at, limits, quantity) = (app.cart_at(&caller, &id)?, app.settings.terms.cart_limits, new.quantity);
    let line_id = LineId::new(infra::clock::new_id());
    let idempotency = caller.idempotency(&new, false)?;
    let key = at.key.clone();
    let decide = move |streams: &mut commands::streams::Streams<'_>| cart::add_line(streams, &at, sellable, line_id, quantity, limits);
    let done = app.writer.execute(caller.origin(), idempotency, decide).await;
    app.cart_answer(&id, &key, StatusCode::OK, None, done).await
}

/// Sets a line's quantity; the line by its id or SKU.
#[utoipa::path(patch, path = "/carts/{id}/lines/{line}", tag = "shoppers", params(("id" = String, Path), ("line" = String, Path, description = "line id or SKU")),
    request_body = LineQuantity, responses((status = 200, body = CartBody, description = "the cart"), (status = 404, description = "not_found"), (status = 409, description = "ambiguous_line, cart_closed")))]
pub async fn set_line(
    State(app): State<Arc<App>>,
    caller: Caller,
    Path((id, line)): Path<(String, String)>,
    Body(wanted): Body<LineQuantity>,
) -> Result<Wrote<CartBody>, Problem> {
    app.set_quantity(&caller, &id, &line, wanted.quantity).await
}

/// Removes a line.
#[utoipa::path(delete, path = "/carts/{id}/lines/{line}", tag = "shoppers", params(("id" = String, Path), ("line" = String, Path, description = "line id or SKU")),
    responses((status = 200, body = CartBody, description = "the cart"), (status = 404, description = "not_found")))]
pub async fn remove_line(
    State(app): State<Arc<App>>,
    caller: Caller,
    Path((id, line)): Path<(String, String)>,
) -> Result<Wrote<CartBody>, Problem> {
    app.set_quantity(&caller, &id, &line, 0).await
}

/// Says who buys and where it goes.
#[utoipa::path(put, path = "/carts/{id}/contact", tag = "shoppers", params(("id" = String, Path)), request_body = ContactDraftBody,
    responses((status = 200, body = CartBody, description = "the cart"), (status = 409, description = "cart_closed"), (status = 422, description = "validation_failed: errors names each field")))]
pub async fn set_contact(
    State(app): State<Arc<App>>,
    caller: Caller,
    Path(id): Path<String>,
    Body(contact): Body<ContactDraft>,
) -> Result<Wrote<CartBody>, Problem> {
    if let Some(kept) = app.cache.cart(&app.cart_key(&id), 0) {
        app.have_key(kept.0.subject_id, Purpose::Account).await;
    }
    let command = CartCommand::SetContact(Box::new(contact.clone()));
    app.cart_command(&caller, &id, &contact, command).await
}

/// The ways to ship this cart to its address.
#[utoipa::path(get, path = "/carts/{id}/shipping-options", tag = "shoppers", params(("id" = String, Path)),
    responses((status = 200, body = Items<ShippingOptionBody>), (status = 404, description = "not_found")))]
pub async fn shipping_options(
    State(app): State<Arc<App>>,
    caller: Caller,
    Path(id): Path<String>,
    Query(query): Query<CartQuery>,
) -> Result<Read<Items<ShippingOptionBody>>, Problem> {
    let at = app.read_position(&caller, query.token_position.as_deref(), "cart").await?;
    let state = app.cart(&app.cart_key(&id), at.position).await?;
    exists(&state)?;
    let products = app.products_of(&state).await?;
    let by_variant = products.iter().map(|(variant_id, row)| (*variant_id, &row.state)).collect();
    let terms = app.terms(at.position).await?;
    let options = quote::shipping_options(&state, &by_variant, &terms, infra::clock::now())?;
    Ok(Read::personal(Items { items: options.iter().map(Into::into).collect() }, at))
}

/// Chooses how it is shipped.
#[utoipa::path(put, path = "/carts/{id}/shipping-option", tag = "shoppers", params(("id" = String, Path)), request_body = ChosenOption,
    responses((status = 200, body = CartBody, description = "the cart"), (status = 422, description = "shipping_unavailable")))]
pub async fn choose_shipping(
    State(app): State<Arc<App>>,
    caller: Caller,
    Path(id): Path<String>,
    Body(chosen): Body<ChosenOption>,
) -> Result<Wrote<CartBody>, Problem> {
    let unavailable = || {
        let detail = "choose one of GET …/shipping-options; it needs an address first";
        Problem::new("shipping_unavailable", detail).error("/id", "shipping_unavailable", detail)
    };
    let option_id: MethodId = chosen.id.parse().map_err(|_| unavailable())?;
    let state = app.cart(&app.cart_key(&id), 0).await?;
    exists(&state)?;
    let products = app.products_of(&state).await?;
    let by_variant = products.iter().map(|(variant_id, row)| (*variant_id, &row.state)).collect();
    let terms = app.terms(0).await?;
    let options = quote::shipping_options(&state, &by_variant, &terms, infra::clock::now())?;
    let option = options.into_iter().find(|o| o.method_id == option_id).ok_or_else(unavailable)?;
    app.cart_command(&caller, &id, &chosen, CartCommand::ChooseShippingOption { option_id, price_seen: option.price }).await
}

fn unsupported(app: &App, code: &str) -> Problem {
    let offered: Vec<String> = app.settings.currencies.iter().map(ToString::to_string).collect();
    let detail = format!("{code} is not offered; use one of {}", offered.join(", "));
    Problem::new("unsupported_currency", detail.clone()).error("/currency", "unsupported_currency", detail)
}

pub(super) fn exists(cart: &Cart) -> Result<(), Problem> {
    if cart.currency.is_some() { Ok(()) } else { Err(Problem::not_found("cart")) }
}

impl App {
    /// The stream's id of a cart: a keyed hash of its public one, or what an id of [`Self::own_cart_id`] says.
    pub(crate) fn cart_key(&self, id: &str) -> CartKey {
        if let Some((key, tag)) = id.split_once('.') {
            let expected = self.master.hash_secret("own_cart", key);
            if aws_lc_rs::constant_time::verify_slices_are_equal(expected.as_bytes(), tag.as_bytes()).is_ok() {
                return CartKey::new(key);
            }
        }
        CartKey::new(self.master.hash_secret("cart", id))
    }

    /// A public id of a cart whose first one is not known any more, since only its hash is kept: a customer's, on another device.
    pub(in crate::http) fn own_cart_id(&self, key: &CartKey) -> String {
        format!("{key}.{}", self.master.hash_secret("own_cart", key.as_str()))
    }

    /// Has the key at hand that a command will seal with, so that the writer need not make it while others wait. Where it can't be
    /// had, the command says so.
    pub(super) async fn have_key(&self, subject_id: SubjectId, purpose: Purpose) {
        let _had = self.loader.sealer().key_for(KeyScope { subject_id: subject_id.uuid(), purpose: purpose.as_str() }).await;
    }

    /// A cart as of `position` or later; of 0: as it was a moment ago, and a command must still decide on it.
    pub(super) async fn cart(&self, key: &CartKey, position: i64) -> Result<Cart, Problem> {
        match self.cache.cart(key, position) {
            Some(kept) => Ok(kept.0.clone()),
            None => Ok(self.loader.load::<Cart>(key.as_str()).await?.0),
        }
    }

    pub(super) fn cart_at(&self, caller: &Caller, id: &str) -> Result<CartAt, Problem> {
        Ok(CartAt { key: self.cart_key(id), if_match: caller.if_match()? })
    }

    async fn cart_command(
        &self,
        caller: &Caller,
        id: &str,
        body: &impl Serialize,
        command: CartCommand,
    ) -> Result<Wrote<CartBody>, Problem> {
        let at = self.cart_at(caller, id)?;
        let key = at.key.clone();
        let idempotency = caller.idempotency(body, false)?;
        let decide = move |streams: &mut commands::streams::Streams<'_>| cart::change(streams, &at, command.clone());
        let done = self.writer.execute(caller.origin(), idempotency, decide).await;
        self.cart_answer(id, &key, StatusCode::OK, None, done).await
    }

    async fn set_quantity(&self, caller: &Caller, id: &str, line: &str, quantity: u32) -> Result<Wrote<CartBody>, Problem> {
        let (at, limits) = (self.cart_at(caller, id)?, self.settings.terms.cart_limits);
        let line = line.parse::<LineId>().map_or_else(|_| LineRef::Sku(line.to_owned()), LineRef::Id);
        let key = at.key.clone();
        let decide = move |streams: &mut commands::streams::Streams<'_>| cart::set_quantity(streams, &at, &line, quantity, limits);
        let done = self.writer.execute(caller.origin(), None::<Idempotency>, decide).await;
        self.cart_answer(id, &key, StatusCode::OK, None, done).await
    }

    /// The cart as of the command's own position, also when the command was only repeated.
    async fn cart_answer(
        &self,
        id: &str,
        key: &CartKey,
        status: StatusCode,
        lang: Option<&str>,
        done: Result<commands::answer::Done<cart::Outcome>, CommandError>,
    ) -> Result<Wrote<CartBody>, Problem> {
        let (position, (state, version), replayed) = match done {
            Ok(done) => (done.position, done.output, false),
            Err(CommandError::Replayed(recorded)) => {
                let position = settled(*recorded)?.position;
                (position, self.loader.load_as_of::<Cart>(key.as_str(), position.position).await?, true)
            }
            Err(error) => return Err(error.into()),
        };
        if !replayed {
            self.cache.keep_cart(key, &state, version, position.position);
        }
        let body = self.render_landed(id, &state, lang).await.map_err(|problem| problem.at(position))?;
        Ok(Wrote { status, body: Some(body), position, version: Some(version), replayed })
    }

    /// A cart that a command has changed. What has landed is not answered by a refusal that would be repeated: while a read model is
    /// made anew, its answer waits.
    async fn render_landed(&self, id: &str, cart: &Cart, lang: Option<&str>) -> Result<CartBody, Problem> {
        let until = Instant::now() + Duration::from_millis(self.config.http.read_wait_max_ms);
        loop {
            match self.render_cart(id, cart, lang, 0).await {
                Err(problem) if problem.code() == "read_model_behind" && Instant::now() < until => {
                    tokio::time::sleep(LANDED_INTERVAL).await;
                }
                rendered => return rendered,
            }
        }
    }

    /// Which variant a new line means.
    async fn sellable(&self, new: &NewLine) -> Result<Sellable, Problem> {
        let at = self.checkpoints.of("product").await?;
        let missing = || Problem::not_found("product on sale");
        if let Some(sku) = &new.sku {
            let (variant_id, product_id) = self.cache.variant_of_sku(sku, at.position).await?.ok_or_else(missing)?;
            return Ok(Sellable { product_id, variant_id });
        }
        let text = new.variant_id.as_ref().ok_or_else(|| {
            Problem::new("validation_failed", "name the variant by sku or variant_id").error("/sku", "required", "is needed, or variant_id")
        })?;
        let variant_id: VariantId = text.parse().map_err(|_| missing())?;
        let product_id = self.cache.product_ids_of(&[variant_id], at.position).await?.remove(&variant_id).ok_or_else(missing)?;
        Ok(Sellable { product_id, variant_id })
    }

    /// The products of a cart's lines, from the read model.
    pub(super) async fn products_of(&self, cart: &Cart) -> Result<HashMap<VariantId, Arc<Row<Product>>>, Problem> {
        let at = self.checkpoints.of("product").await?;
        let variants: Vec<VariantId> = cart.lines.iter().map(|line| line.variant_id).collect();
        let rows = self.cache.products_of(&variants, at.position).await?;
        let mut products = HashMap::with_capacity(variants.len());
        for row in rows {
            let own = row.state.variants.iter().map(|variant| variant.variant_id).filter(|own| variants.contains(own));
            products.extend(own.map(|own| (own, Arc::clone(&row))));
        }
        Ok(products)
    }

    /// Which product each of the cart's variants is of, if it still is of one.
    pub(super) async fn product_ids_of(&self, cart: &Cart) -> Result<HashMap<VariantId, Option<ProductId>>, Problem> {
        let at = self.checkpoints.of("product").await?;
        let variants: Vec<VariantId> = cart.lines.iter().map(|line| line.variant_id).collect();
        let found = self.cache.product_ids_of(&variants, at.position).await?;
        if variants.iter().any(|variant_id| !found.contains_key(variant_id)) {
            // What is gone is refused, and the refusal kept: not because the read model is just being made anew.
            self.checkpoints.forget();
            self.checkpoints.of("product").await?;
        }
        Ok(variants.into_iter().map(|variant_id| (variant_id, found.get(&variant_id).copied())).collect())
    }
}

/// What the first call was answered, if that was not a refusal: a refusal is repeated as it was.
pub(super) fn settled(recorded: Recorded) -> Result<Recorded, Problem> {
    if let Some(refusal) = recorded.refusal {
        return Err(Problem::from(refusal).at(recorded.position).replayed());
    }
    Ok(recorded)
}
