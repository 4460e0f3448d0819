//! A customer's cart.

use std::sync::Arc;

use axum::extract::{Path, State};
use axum::http::StatusCode;
use commands::answer::CommandError;
use commands::cart;
use domain::cart::{Cart, CartStage};
use domain::claim::{Claim, ClaimKey};
use domain::id::{CartKey, CustomerId};

use super::super::body::Query;
use super::super::caller::Caller;
use super::super::problem::Problem;
use super::super::reading::{Read, Wrote};
use super::render::CartBody;
use super::{CartQuery, settled};
use crate::app::App;
use crate::auth::Role;

/// The customer of the token takes the cart; an open cart that the customer has already takes its lines and is answered instead.
#[utoipa::path(post, path = "/carts/{id}/claim", operation_id = "claim_cart", tag = "shoppers", params(("id" = String, Path, description = "the guest's cart")),
    responses((status = 200, body = CartBody, description = "the customer's cart, with the id to use from now on"), (status = 401, description = "unauthenticated"), (status = 403, description = "forbidden: only shoppers have carts"),
        (status = 404, description = "not_found: also the cart of another customer"), (status = 409, description = "cart_closed, version_conflict"), (status = 422, description = "validation_failed: the carts are in different currencies")), security(("bearer" = [])))]
pub async fn claim(State(app): State<Arc<App>>, caller: Caller, Path(id): Path<String>) -> Result<Wrote<CartBody>, Problem> {
    let customer_id = customer_of(&caller)?;
    let (at, limits) = (app.cart_at(&caller, &id)?, app.settings.terms.cart_limits);
    let guest_key = at.key.clone();
    let idempotency = caller.idempotency(&(), false)?;
    let decide = move |streams: &mut commands::streams::Streams<'_>| cart::claim(streams, &at, customer_id, limits);
    let (position, key, (state, version), replayed) = match app.writer.execute(caller.origin(), idempotency, decide).await {
        Ok(done) => (done.position, done.output.key, done.output.outcome, false),
        Err(CommandError::Replayed(recorded)) => {
            let recorded = settled(*recorded)?;
            let key = CartKey::new(recorded.aggregate.map(|(_, id)| id).unwrap_or_default());
            let outcome = app.loader.load_as_of::<Cart>(key.as_str(), recorded.position.position).await?;
            (recorded.position, key, outcome, true)
        }
        Err(error) => return Err(error.into()),
    };
    if !replayed {
        app.cache.keep_cart(&key, &state, version, position.position);
    }
    let id = if key == guest_key { id } else { app.own_cart_id(&key) };
    let body = app.render_landed(&id, &state, None).await.map_err(|problem| problem.at(position))?;
    Ok(Wrote { status: StatusCode::OK, body: Some(body), position, version: Some(version), replayed })
}

/// The customer's cart, on any device.
#[utoipa::path(get, path = "/me/cart", operation_id = "my_cart", tag = "shoppers",
    responses((status = 200, body = CartBody, description = "the cart, with an id that works as any cart's"), (status = 401, description = "unauthenticated"), (status = 403, description = "forbidden: only shoppers have carts"), (status = 404, description = "not_found: the customer has none")), security(("bearer" = [])))]
pub async fn mine(State(app): State<Arc<App>>, caller: Caller, Query(query): Query<CartQuery>) -> Result<Read<CartBody>, Problem> {
    let customer_id = customer_of(&caller)?;
    let at = app.read_position(&caller, query.token_position.as_deref(), "cart").await?;
    let (claim, _) = app.loader.load::<Claim>(&ClaimKey::customer_cart(customer_id).stream_id()).await?;
    let key = claim.holder.map(CartKey::new).ok_or_else(|| Problem::not_found("cart"))?;
    let (state, version) = app.loader.load::<Cart>(key.as_str()).await?;
    if !matches!(state.stage, CartStage::Open | CartStage::Completing { .. }) {
        return Err(Problem::not_found("cart"));
    }
    let body = app.render_cart(&app.own_cart_id(&key), &state, query.lang.as_deref(), at.position).await?;
    Ok(Read::personal(body, at).version(version, &caller))
}

fn customer_of(caller: &Caller) -> Result<CustomerId, Problem> {
    let claims = caller.require(|role| role == Role::Shopper)?;
    claims.sub.parse().map_err(|_| Problem::new("forbidden", "the token's subject is not the id of a customer; log in as one"))
}
