//! Orders: checkout, status, history, further payments, cancelling.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::sse::{Event as SseEvent, KeepAlive, Sse};
use chrono::{DateTime, Utc};
use commands::answer::{CommandError, Position};
use commands::checkout::{self, Attempt, Checkout};
use commands::order::Cancel;
use commands::reactor::secret::{self, Kept};
use commands::streams::{Stop, Streams};
use commands::whole_order::WholeOrder;
use commands::writer::Idempotency;
use commands::{order, payment};
use domain::cart::Cart;
use domain::id::{OperationId, OrderId, PaymentId, TenderId};
use domain::money::Currency;
use domain::order::Order;
use domain::payment::Payment;
use domain::personal::Purpose;
use futures::{Stream, StreamExt};
use infra::cloud_event;
use infra::event_log::{self, StoredEvent};
use infra::fail_point;
use infra::feed::Listening;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio::time::Instant;
use utoipa::ToSchema;
use uuid::Uuid;

use super::body::{Body, Query};
use super::caller::Caller;
use super::cart::{exists, settled};
use super::money::AmountDraft;
use super::page::Items;
use super::problem::Problem;
use super::reading::{Read, Wrote};
use crate::app::App;
use crate::auth::Role;

mod attempt;
pub mod merchant;
mod render;

use render::{OrderBody, render};

/// The provider that `up` and `payments.sandbox = true` offer.
pub const SANDBOX: &str = "sandbox";
/// How often a waiting checkout looks whether the payment's outcome is known.
const OUTCOME_INTERVAL: Duration = Duration::from_millis(4);
/// Longest wait for the rest of a batch whose beginning was seen.
const BATCH_WAIT: Duration = Duration::from_secs(1);
/// Times that a checkout looks up its cart's products when lines are added meanwhile.
const LOOKUPS_MAX: usize = 5;
/// Candidates for an order's number; two in a row being taken is not to be expected in the life of a shop.
const NUMBER_CANDIDATES: usize = 3;
/// Crockford's base 32: no I, L, O, U.
const NUMBER_ALPHABET: &[u8; 32] = b"0123456789ABCDEFGHJKMNPQRSTVWXYZ";
const NUMBER_CHARS: usize = 9;
/// Longest address that a shopper is sent back to.
const RETURN_URL_BYTES_MAX: usize = 2_048;

#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct CheckoutBody {
    payment: Option<PaymentBody>,
    /// The total that the shopper agrees to, in minor units or as money; without it a total above the one shown is refused.
    #[schema(value_type = Option<AmountDraft>)]
    expected_total: Option<Value>,
}

#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct PaymentBody {
    /// `sandbox`.
    provider: String,
    /// What the provider's form gave the shopper; for the sandbox `tok_approve`, `tok_decline`, `tok_3ds` and others.
    token: String,
    /// Where the shopper comes back to from the bank's page (3-D Secure); the shop's own address unless given.
    return_url: Option<String>,
}

#[derive(Debug, Deserialize)]
pub struct OrderQuery {
    /// The order's own token, for guests.
    token: Option<String>,
    token_position: Option<String>,
    as_of: Option<String>,
}

/// Something that happened to an order.
#[derive(Debug, Serialize, ToSchema)]
pub struct OrderEventBody {
    #[serde(rename = "type")]
    #[schema(example = "order.OrderPlaced")]
    kind: String,
    id: Uuid,
    /// In the log: 20 digits.
    #[schema(example = "00000000000000001200")]
    position: String,
    time: DateTime<Utc>,
    /// What all that came of one request have in common.
    #[schema(value_type = Option<Uuid>)]
    correlationid: Value,
    /// The event or command that led to it.
    #[schema(value_type = Option<Uuid>)]
    causationid: Value,
}

impl OrderEventBody {
    fn new(event: &StoredEvent) -> Self {
        let metadata: Value = serde_json::from_str(&event.metadata).unwrap_or_default();
        Self {
            kind: format!("{}.{}", cloud_event::context_of(&event.aggregate_type), event.event_type),
            id: event.event_id,
            position: format!("{:020}", event.position),
            time: event.recorded_at,
            correlationid: metadata["correlation_id"].clone(),
            causationid: metadata["causation_id"].clone(),
        }
    }
}

/// Reserves the stock, places the order and starts the payment, all or nothing; then waits for the payment's outcome.
#[utoipa::path(post, path = "/carts/{id}/checkout", tag = "shoppers", params(("id" = String, Path, description = "the cart's id")), request_body = CheckoutBody,
    responses((status = 201, body = OrderBody, description = "the order, with order_token; a second call answers the same order"),
        (status = 409, description = "insufficient_stock {lines}, cart_changed {current_total}, coupon_exhausted, coupon_expired, coupon_not_applicable {reason, coupon_id, current_total}, cart_closed"), (status = 422, description = "cart_incomplete, shipping_unavailable")))]
pub async fn place(
    State(app): State<Arc<App>>,
    caller: Caller,
    Path(id): Path<String>,
    Body(body): Body<CheckoutBody>,
) -> Result<Wrote<OrderBody>, Problem> {
    let until = app.outcome_until(&caller);
    let idempotency = caller.idempotency(&body, true)?;
    let mut cart = app.cart(&app.cart_key(&id), 0).await?;
    exists(&cart)?;
    let expected_total = expected_total(body.expected_total.as_ref(), cart.currency)?;
    let (attempt, ()) = tokio::join!(app.attempt(body.payment.as_ref(), "/payment"), app.have_key(cart.subject_id, Purpose::Order));
    let attempt = attempt?;
    let mut checkout = Checkout {
        cart: app.cart_at(&caller, &id)?,
        products: HashMap::new(),
        order_id: OrderId::new(infra::clock::new_id()),
        numbers: numbers()?,
        tender_id: TenderId::new(infra::clock::new_id()),
        attempt: attempt.clone(),
        expected_total,
        promotions: app.automatic_promotions().await?,
        master: app.master.clone(),
        terms: Arc::clone(&app.settings.terms),
        terms_seen: if expected_total.is_none() { app.terms_seen(&app.cart_key(&id)).await? } else { None },
        promotions_seen: if expected_total.is_none() { app.promotions_seen(&app.cart_key(&id), &cart).await? } else { None },
    };
    let listening = app.feed.listen();
    let mut done = Err(CommandError::Stale);
    for _ in 0..LOOKUPS_MAX {
        checkout.products = app.product_ids_of(&cart).await?;
        let wanted = checkout.clone();
        done = app.writer.execute(caller.origin(), idempotency, move |streams| checkout::place(streams, &wanted)).await;
        if !matches!(done, Err(CommandError::Stale)) {
            break;
        }
        (cart, _) = app.loader.load::<Cart>(checkout.cart.key.as_str()).await?;
    }
    fail_point::after("checkout.placed");
    if let Some(attempt) = attempt {
        let needed = match &done {
            Ok(done) => done.output.started == Some(attempt.payment_id),
            Err(error) => error.may_have_landed(),
        };
        if !needed {
            secret::drop(&app.writer, attempt.payment_id).await?;
        }
    }
    match done {
        Ok(done) => app.placed(done.output.order, done.position, idempotency, listening, until).await,
        Err(CommandError::Replayed(_)) => app.replayed(idempotency, until).await,
        Err(error) => Err(error.into()),
    }
}

/// Shows an order to its buyer (with its token) or to staff.
#[utoipa::path(get, path = "/orders/{id}", tag = "shoppers", params(("id" = String, Path), ("token" = Option<String>, Query, description = "the order_token; or header Order-Token"),
        ("as_of" = Option<String>, Query, description = "position or RFC 3339 time")),
    responses((status = 200, body = OrderBody, description = "the order"), (status = 404, description = "not_found: also the order of somebody else")))]
pub async fn show(
    State(app): State<Arc<App>>,
    caller: Caller,
    Path(id): Path<String>,
    Query(query): Query<OrderQuery>,
) -> Result<Read<OrderBody>, Problem> {
    let order_id = app.may_see(&caller, &id, query.token.as_deref())?;
    let shows_contact = app.shows_contact(&caller, order_id, query.token.as_deref());
    if let Some(as_of) = &query.as_of {
        let position = super::event::resolve(&app.pool, "as_of", as_of).await?;
        let at = Position { epoch: event_log::head(&app.pool).await?.epoch, position };
        let order = WholeOrder::load_as_of(&app.loader, order_id, position).await?;
        let (mut body, version) = app.render_order(&order, at, false).await?;
        body.seal_contact(shows_contact);
        return Ok(Read::personal(body, at).version(version, &caller));
    }
    let token = query.token_position.as_deref();
    let reached = app.read_position(&caller, token, "order").await?;
    let at = app.rows_position::<Order>(&caller, token, "order", &[order_id.to_string()], reached).await?;
    let Some(row) = projections::order::find(&app.pool, &order_id.to_string()).await? else {
        if at != reached {
            return Err(Problem::new("read_model_behind", "the read model can't show this order until an operator has released it"));
        }
        return Err(Problem::not_found("order"));
    };
    let payments: Vec<&Payment> = row.payments.iter().map(|p| &p.state).collect();
    let placed = row.order.state.placed().ok_or_else(|| Problem::not_found("order"))?;
    let ids: Vec<String> = placed.payments.iter().map(ToString::to_string).collect();
    let at = app.rows_position::<Payment>(&caller, token, "order", &ids, at).await?;
    let position = row.order.position.max(at.position);
    let mut body = render(placed, &payments, Position { epoch: at.epoch, position }, None);
    app.add_actions(&mut body, &payments).await?;
    body.seal_contact(shows_contact);
    Ok(Read::personal(body, at).version(row.order.version, &caller))
}

/// What happened to an order, one entry an event: types, times and causes, nothing personal.
#[utoipa::path(get, path = "/orders/{id}/events", tag = "shoppers", params(("id" = String, Path), ("token" = Option<String>, Query)),
    responses((status = 200, body = Items<OrderEventBody>, description = "oldest first"), (status = 404, description = "not_found")))]
pub async fn events(
    State(app): State<Arc<App>>,
    caller: Caller,
    Path(id): Path<String>,
    Query(query): Query<OrderQuery>,
) -> Result<Read<Items<OrderEventBody>>, Problem> {
    let order_id = app.may_see(&caller, &id, query.token.as_deref())?;
    let at = app.read_position(&caller, query.token_position.as_deref(), "order").await?;
    let (order, _) = app.loader.load::<Order>(&order_id.to_string()).await?;
    let placed = order.placed().ok_or_else(|| Problem::not_found("order"))?;
    let mut stored = event_log::stream(&app.pool, ("order", &order_id.to_string()), 0, i64::MAX).await?;
    for payment_id in &placed.payments {
        stored.extend(event_log::stream(&app.pool, ("payment", &payment_id.to_string()), 0, i64::MAX).await?);
    }
    stored.sort_by_key(|event| event.position);
    let items = stored.iter().map(OrderEventBody::new).collect();
    Ok(Read::personal(Items { items }, at))
}

/// Follows an order's status as server-sent events; each is the order as it is then.
#[utoipa::path(get, path = "/orders/{id}/live", tag = "shoppers", params(("id" = String, Path), ("token" = Option<String>, Query)),
    responses((status = 200, body = OrderBody, content_type = "text/event-stream", description = "each event's data is the order"), (status = 404, description = "not_found")))]
pub async fn live(
    State(app): State<Arc<App>>,
    caller: Caller,
    Path(id): Path<String>,
    Query(query): Query<OrderQuery>,
) -> Result<Sse<impl Stream<Item = Result<SseEvent, axum::Error>>>, Problem> {
    let order_id = app.may_see(&caller, &id, query.token.as_deref())?;
    let head = event_log::head(&app.pool).await?;
    let order = WholeOrder::load_as_of(&app.loader, order_id, head.position).await?;
    if order.order.placed().is_none() {
        return Err(Problem::not_found("order"));
    }
    let tail = app.feed.tail(head.position);
    let idle = Duration::from_millis(app.config.http.stream_idle_timeout_ms);
    let shows_contact = app.shows_contact(&caller, order_id, query.token.as_deref());
    let stop = app.stop.clone();
    let first = Some(Position { epoch: head.epoch, position: head.position });
    let stream = futures::stream::unfold((app, order, tail, first), move |(app, mut order, mut tail, first)| async move {
        let until = Instant::now() + idle;
        let at = match first {
            Some(at) => at,
            None => loop {
                let events = tokio::time::timeout_at(until, tail.next()).await.ok()?.ok()?;
                let position = app.follow(&mut order, &events, 0).await.ok()?;
                if position > 0 {
                    break Position { epoch: event_log::head(&app.pool).await.ok()?.epoch, position };
                }
            },
        };
        let (mut body, _) = app.render_order(&order, at, false).await.ok()?;
        body.seal_contact(shows_contact);
        let event = SseEvent::default().id(at.to_string()).event("order").data(serde_json::to_string(&body).ok()?);
        Some((Ok(event), (app, order, tail, None)))
    });
    Ok(Sse::new(stream.take_until(stop.cancelled_owned())).keep_alive(KeepAlive::default()))
}

/// Pays a pending order with another attempt.
#[utoipa::path(post, path = "/orders/{id}/payments", tag = "shoppers", params(("id" = String, Path), ("token" = Option<String>, Query)), request_body = PaymentBody,
    responses((status = 201, body = OrderBody, description = "the order"), (status = 403, description = "forbidden: of staff, support, manager and owner may"),
        (status = 409, description = "payment_in_progress, order_needs_no_payment, payment_attempts_exhausted")))]
pub async fn pay(
    State(app): State<Arc<App>>,
    caller: Caller,
    Path(id): Path<String>,
    Query(query): Query<OrderQuery>,
    Body(body): Body<PaymentBody>,
) -> Result<Wrote<OrderBody>, Problem> {
    let order_id = app.may_change(&caller, &id, query.token.as_deref())?;
    let until = app.outcome_until(&caller);
    let idempotency = caller.idempotency(&body, true)?;
    let Some(attempt) = app.attempt(Some(&body), "").await? else {
        return Err(Problem::internal());
    };
    let wanted = attempt.clone();
    let listening = app.feed.listen();
    let done = app.writer.execute(caller.origin(), idempotency, move |streams| payment::pay(streams, order_id, &wanted)).await;
    match done {
        Ok(done) => app.placed(done.output.order, done.position, idempotency, listening, until).await,
        Err(error) => {
            if !error.may_have_landed() {
                secret::drop(&app.writer, attempt.payment_id).await?;
            }
            if matches!(error, CommandError::Replayed(_)) {
                return app.replayed(idempotency, until).await;
            }
            Err(error.into())
        }
    }
}

/// Gives an order up of which nothing has left: its stock is free again, its money on its way back.
#[utoipa::path(post, path = "/orders/{id}/cancel", tag = "shoppers", params(("id" = String, Path), ("token" = Option<String>, Query)),
    responses((status = 200, body = OrderBody, description = "the order"), (status = 403, description = "forbidden: of staff, support, manager and owner may"),
        (status = 409, description = "order_status, order_shipped")))]
pub async fn cancel(
    State(app): State<Arc<App>>,
    caller: Caller,
    Path(id): Path<String>,
    Query(query): Query<OrderQuery>,
) -> Result<Wrote<OrderBody>, Problem> {
    let order_id = app.may_change(&caller, &id, query.token.as_deref())?;
    let by = if caller.is_staff() { "staff" } else { "shopper" };
    let cancel = Cancel { by, reason: "cancelled".to_owned(), if_match: caller.if_match()? };
    let idempotency = caller.idempotency(&(), false)?;
    let decide = move |streams: &mut Streams<'_>| order::cancel(streams, order_id, &cancel);
    app.order_command(&caller, order_id, idempotency, decide).await
}

fn expected_total(value: Option<&Value>, currency: Option<Currency>) -> Result<Option<i64>, Problem> {
    let Some(value) = value else { return Ok(None) };
    let amount = value.as_i64().or_else(|| value["amount"].as_i64());
    let named = value.get("currency").and_then(Value::as_str);
    let exponent = value.get("exponent");
    let fits = named.is_none_or(|named| currency.is_some_and(|currency| currency.as_str() == named))
        && exponent.is_none_or(|named| currency.is_some_and(|currency| *named == currency.exponent()));
    amount.filter(|_| fits).map(Some).ok_or_else(|| {
        Problem::new("validation_failed", "expected_total must be money in the cart's currency, like its totals.total").error(
            "/expected_total",
            "invalid",
            "must be money in the cart's currency",
        )
    })
}

/// Fresh candidates for an order's number.
fn numbers() -> Result<Vec<String>, Problem> {
    let mut bytes = [0_u8; NUMBER_CHARS * NUMBER_CANDIDATES];
    aws_lc_rs::rand::fill(&mut bytes).map_err(|_| Problem::internal())?;
    let number = |chunk: &[u8]| chunk.iter().map(|byte| char::from(NUMBER_ALPHABET[usize::from(byte % 32)])).collect();
    Ok(bytes.chunks(NUMBER_CHARS).map(number).collect())
}

impl App {
    /// Runs a decision on an order, and answers the order as it leaves it.
    async fn order_command(
        &self,
        caller: &Caller,
        order_id: OrderId,
        idempotency: Option<Idempotency>,
        decide: impl Fn(&mut Streams<'_>) -> Result<WholeOrder, Stop> + Send + 'static,
    ) -> Result<Wrote<OrderBody>, Problem> {
        let (order, position, replayed) = match self.writer.execute(caller.origin(), idempotency, decide).await {
            Ok(done) => {
                fail_point::after("order.commanded");
                (done.output, done.position, false)
            }
            Err(CommandError::Replayed(recorded)) => {
                let position = settled(*recorded)?.position;
                (WholeOrder::load_as_of(&self.loader, order_id, position.position).await?, position, true)
            }
            Err(error) => return Err(error.into()),
        };
        let (body, version) = self.render_order(&order, position, false).await?;
        Ok(Wrote { status: StatusCode::OK, body: Some(body), position, version: Some(version), replayed })
    }

    /// The token by which a guest sees an order; it is derived, so nothing is stored.
    fn order_token(&self, order_id: OrderId) -> String {
        self.master.hash_secret("order_token", &order_id.to_string())
    }

    /// Staff see every order, others those whose token they have; nobody learns whether an order exists.
    fn may_see(&self, caller: &Caller, id: &str, token: Option<&str>) -> Result<OrderId, Problem> {
        let order_id: OrderId = id.parse().map_err(|_| Problem::not_found("order"))?;
        let may = caller.is_staff() || self.has_token(caller, order_id, token);
        if may { Ok(order_id) } else { Err(Problem::not_found("order")) }
    }

    fn has_token(&self, caller: &Caller, order_id: OrderId, token: Option<&str>) -> bool {
        let expected = self.order_token(order_id);
        let given = token.or_else(|| caller.header("order-token")).unwrap_or_default();
        // Hashes are compared, so that the time says nothing about the token.
        blake3::hash(given.as_bytes()) == blake3::hash(expected.as_bytes())
    }

    /// Shoppers change their orders, by the token; of staff those who serve them.
    fn may_change(&self, caller: &Caller, id: &str, token: Option<&str>) -> Result<OrderId, Problem> {
        let order_id = self.may_see(caller, id, token)?;
        if !self.has_token(caller, order_id, token) {
            caller.require(Role::serves)?;
        }
        Ok(order_id)
    }

    /// Whether an answer says who buys: to those with the order's token, and to staff who need to know.
    fn shows_contact(&self, caller: &Caller, order_id: OrderId, token: Option<&str>) -> bool {
        caller.role().is_some_and(Role::sees_contact) || self.has_token(caller, order_id, token)
    }

    fn outcome_until(&self, caller: &Caller) -> Instant {
        let http = &self.config.http;
        let wait = caller.wait_s().map_or(http.checkout_wait_ms, |s| s.saturating_mul(1_000)).min(http.read_wait_max_ms);
        Instant::now() + Duration::from_millis(wait)
    }

    /// A fresh attempt to pay, its token already kept where the reactor finds it; `at` is where the payment stands in the body.
    async fn attempt(&self, payment: Option<&PaymentBody>, at: &str) -> Result<Option<Attempt>, Problem> {
        let Some(payment) = payment else {
            return Ok(None);
        };
        if payment.provider != SANDBOX || self.provider.is_none() {
            let detail = format!("{:?} is not a payment provider of this store; see GET /v1/store", payment.provider);
            return Err(Problem::new("validation_failed", detail).error(&format!("{at}/provider"), "unknown", "is not offered"));
        }
        if payment.token.is_empty() || payment.token.len() > 1_000 {
            return Err(Problem::new("validation_failed", "the payment's token must have 1 to 1000 characters").error(
                &format!("{at}/token"),
                "invalid",
                "must have 1 to 1000 characters",
            ));
        }
        let payment_id = PaymentId::new(infra::clock::new_id());
        let return_url = payment.return_url.as_deref().map(|url| self.return_url(url, &format!("{at}/return_url"))).transpose()?;
        let kept = Kept { token: payment.token.clone(), return_url, action_url: None };
        secret::keep(&self.writer, payment_id, &kept).await?;
        fail_point::after("checkout.token_kept");
        Ok(Some(Attempt {
            payment_id,
            operation_id: OperationId::new(infra::clock::new_id()),
            provider: payment.provider.clone(),
            capture: self.settings.capture,
            attempts_max: self.settings.payment_attempts_max,
        }))
    }

    /// Where a shopper may be sent back to: the shop's own pages and those of the configured origins, so that nobody is led elsewhere
    /// from a bank's page.
    fn return_url(&self, url: &str, pointer: &str) -> Result<String, Problem> {
        let http = &self.config.http;
        let ours = || http.cors_origins.iter().chain([&http.public_url]).filter(|origin| !origin.is_empty());
        let is_under = |origin: &String| {
            let rest = url.strip_prefix(origin.trim_end_matches('/'));
            rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(['/', '?', '#']))
        };
        let is_plain = url.len() <= RETURN_URL_BYTES_MAX && url.bytes().all(|byte| byte.is_ascii_graphic());
        if is_plain && ours().any(is_under) {
            return Ok(url.to_owned());
        }
        let detail = "return_url must be an address of this shop or of one of its origins (http.public_url, http.cors_origins)";
        Err(Problem::invalid(pointer, "invalid", detail))
    }

    /// The answer to a checkout: waits, bounded, for the outcome of what is being paid.
    async fn placed(
        &self,
        mut order: WholeOrder,
        position: Position,
        idempotency: Option<Idempotency>,
        listening: Listening,
        until: Instant,
    ) -> Result<Wrote<OrderBody>, Problem> {
        let at = self.outcome(&mut order, position, listening, until).await?;
        if let Some(key) = idempotency {
            // The first to settle the record wins: whoever repeats the call is answered as of the same position.
            self.writer.settle(key.key, at.position).await?;
            fail_point::after("checkout.settled");
            let settled = commands::writer::recorded(&self.pool, key.key).await?.map_or(at, |recorded| recorded.position);
            if settled != at {
                return self.order_answer(order.order_id, settled, false).await;
            }
        }
        self.answer_order(&order, at, false).await
    }

    /// Follows an order, as of `position`, until its payment has an outcome or time is up; answers the position that it is
    /// then as of.
    async fn outcome(&self, order: &mut WholeOrder, position: Position, listening: Listening, until: Instant) -> Result<Position, Problem> {
        let mut tail = listening.after(position.position);
        let mut newest = position.position;
        while order.waits_for_payment() && Instant::now() < until {
            let Ok(events) = tokio::time::timeout_at(until, tail.next()).await else { break };
            newest = self.follow(order, &events?, newest).await?;
        }
        if newest == position.position {
            return Ok(position);
        }
        // The end of the batch that its newest event came in: the rest of that decision is there too.
        let end = event_log::batches(&self.pool, newest, newest).await?.pop().map_or(newest, |batch| batch.last_position);
        let until = Instant::now() + BATCH_WAIT;
        while tail.position() < end {
            match tokio::time::timeout_at(until, tail.next()).await {
                // What comes after the batch belongs to another answer.
                Ok(events) => drop(self.follow(order, up_to(&events?, end), newest).await?),
                Err(_elapsed) => {
                    *order = WholeOrder::load_as_of(&self.loader, order.order_id, end).await?;
                    break;
                }
            }
        }
        Ok(Position { epoch: position.epoch, position: end })
    }

    /// Takes an order's own events in; answers the position of the newest.
    async fn follow(&self, order: &mut WholeOrder, events: &[StoredEvent], newest: i64) -> Result<i64, Problem> {
        let mut newest = newest;
        for event in events {
            if !order.has(event) {
                continue;
            }
            let mut own = [event.clone()];
            self.sealer.open_all(&mut own).await.map_err(|error| Problem::failure(&error))?;
            if !order.apply(&own[0])? {
                *order = WholeOrder::load_as_of(&self.loader, order.order_id, event.position).await?;
            }
            newest = event.position;
        }
        Ok(newest)
    }

    /// The answer to a repeated call: the first one's, once that has ended.
    async fn replayed(&self, idempotency: Option<Idempotency>, until: Instant) -> Result<Wrote<OrderBody>, Problem> {
        let Some(idempotency) = idempotency else {
            return Err(Problem::internal());
        };
        let limit = Instant::now() + Duration::from_millis(self.config.http.idempotency_wait_ms);
        loop {
            let recorded = commands::writer::recorded(&self.pool, idempotency.key).await?.ok_or_else(Problem::internal)?;
            let recorded = settled(recorded)?;
            if !recorded.running {
                let order_id = recorded.aggregate.and_then(|(_, id)| id.parse().ok()).ok_or_else(Problem::internal)?;
                return self.order_answer(order_id, recorded.position, true).await;
            }
            if Instant::now() >= limit.min(until.max(Instant::now())) {
                return Err(Problem::new("idempotency_in_progress", "the first call with this key is still running; repeat shortly"));
            }
            tokio::time::sleep(OUTCOME_INTERVAL).await;
        }
    }

    async fn order_answer(&self, order_id: OrderId, at: Position, replayed: bool) -> Result<Wrote<OrderBody>, Problem> {
        let order = WholeOrder::load_as_of(&self.loader, order_id, at.position).await?;
        self.answer_order(&order, at, replayed).await
    }

    async fn answer_order(&self, order: &WholeOrder, at: Position, replayed: bool) -> Result<Wrote<OrderBody>, Problem> {
        let (body, version) = self.render_order(order, at, true).await?;
        Ok(Wrote { status: StatusCode::CREATED, body: Some(body), position: at, version: Some(version), replayed })
    }

    /// An order and its payments as of a position: the same bytes for ever, but for what is erased, and for where the shopper was
    /// to go for a payment that has ended.
    async fn render_order(&self, order: &WholeOrder, at: Position, with_token: bool) -> Result<(OrderBody, i64), Problem> {
        let placed = order.order.placed().ok_or_else(|| Problem::not_found("order"))?;
        let payments: Vec<&Payment> = order.payments().collect();
        let token = with_token.then(|| self.order_token(order.order_id));
        let mut body = render(placed, &payments, at, token.as_deref());
        self.add_actions(&mut body, &payments).await?;
        Ok((body, order.version))
    }
}

/// Those of a batch's events that are not beyond a position.
fn up_to(events: &[StoredEvent], position: i64) -> &[StoredEvent] {
    &events[..events.iter().take_while(|event| event.position <= position).count()]
}
