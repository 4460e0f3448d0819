//! Coupons of a cart.

use std::sync::Arc;

use axum::extract::{Path, State};
use axum::http::StatusCode;
use commands::promotion::{self, CouponRef};
use domain::id::CouponId;
use serde::{Deserialize, Serialize};
use serde_json::json;
use utoipa::ToSchema;

use super::super::body::Body;
use super::super::caller::Caller;
use super::super::problem::Problem;
use super::super::reading::Wrote;
use super::render::CartBody;
use crate::app::App;

#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct CouponBody {
    /// In capitals or not.
    code: String,
}

/// Puts a coupon into the cart. One that can't take effect yet stays there and says why.
#[utoipa::path(post, path = "/carts/{id}/coupons", operation_id = "apply_coupon", tag = "shoppers", params(("id" = String, Path)), request_body = CouponBody,
    responses((status = 200, body = CartBody, description = "the cart; its coupons say what each takes off, or why it doesn't"), (status = 404, description = "not_found, coupon_unknown"),
        (status = 409, description = "coupon_expired, coupon_exhausted, coupon_not_applicable, cart_closed"), (status = 429, description = "too_many_requests: 20 tries a minute unless configured otherwise")))]
pub async fn apply(
    State(app): State<Arc<App>>,
    caller: Caller,
    Path(id): Path<String>,
    Body(body): Body<CouponBody>,
) -> Result<Wrote<CartBody>, Problem> {
    let at = app.cart_at(&caller, &id)?;
    let key = at.key.clone();
    let code_hash = promotion::code_hash(&app.master, &body.code);
    // What is kept of the body must not tell the code.
    let idempotency = caller.idempotency(&json!({ "code_hash": code_hash }), false)?;
    let decide = move |streams: &mut commands::streams::Streams<'_>| promotion::apply_coupon(streams, &at, &code_hash);
    let done = app.writer.execute(caller.origin(), idempotency, decide).await;
    app.cart_answer(&id, &key, StatusCode::OK, None, done).await
}

/// Takes a coupon out of the cart, by its code or its id.
#[utoipa::path(delete, path = "/carts/{id}/coupons/{code}", operation_id = "remove_coupon", tag = "shoppers",
    params(("id" = String, Path), ("code" = String, Path, description = "the code, or the coupon_id that the cart shows")),
    responses((status = 200, body = CartBody, description = "the cart"), (status = 404, description = "not_found, coupon_unknown: also one that the cart doesn't have"), (status = 409, description = "cart_closed")))]
pub async fn remove(
    State(app): State<Arc<App>>,
    caller: Caller,
    Path((id, code)): Path<(String, String)>,
) -> Result<Wrote<CartBody>, Problem> {
    let at = app.cart_at(&caller, &id)?;
    let key = at.key.clone();
    let coupon = code.parse::<CouponId>().map_or_else(|_| CouponRef::CodeHash(promotion::code_hash(&app.master, &code)), CouponRef::Id);
    let decide = move |streams: &mut commands::streams::Streams<'_>| promotion::remove_coupon(streams, &at, &coupon);
    let done = app.writer.execute(caller.origin(), None, decide).await;
    app.cart_answer(&id, &key, StatusCode::OK, None, done).await
}
