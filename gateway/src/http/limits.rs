//! What every request passes: an id, a rate, a time-out, one line in the log.

use std::net::{IpAddr, SocketAddr};
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::extract::{ConnectInfo, MatchedPath, Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use governor::clock::{Clock, DefaultClock};
use governor::middleware::{StateInformationMiddleware, StateSnapshot};
use governor::state::keyed::DefaultKeyedStateStore;
use governor::{Quota, RateLimiter};
use serde_json::json;

use super::caller::RequestId;
use super::problem::{Problem, ProblemBody};
use crate::app::App;

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
/// Longest request id that is taken over from the caller, in characters.
const REQUEST_ID_CHARS_MAX: usize = 64;
/// Keys kept before those that have recovered are dropped.
const KEYS_MAX: usize = 100_000;

type Limiter = RateLimiter<String, DefaultKeyedStateStore<String>, DefaultClock, StateInformationMiddleware>;

/// Counts requests by principal and by address.
#[derive(Debug)]
pub struct Rates {
    principal: Limiter,
    address: Limiter,
    coupon: Limiter,
    exempt_loopback: bool,
    trusted_proxies: Vec<IpAddr>,
}

impl Rates {
    pub fn new(config: &infra::config::Config) -> Self {
        let limiter = |per_minute: u32| {
            let quota = Quota::per_minute(NonZeroU32::new(per_minute).unwrap_or(NonZeroU32::MAX));
            RateLimiter::keyed(quota).with_middleware::<StateInformationMiddleware>()
        };
        Self {
            principal: limiter(config.rate.principal_per_minute),
            address: limiter(config.rate.address_per_minute),
            coupon: limiter(config.rate.coupon_per_minute),
            exempt_loopback: config.rate.exempt_loopback,
            trusted_proxies: config.http.trusted_proxies.iter().filter_map(|text| text.parse().ok()).collect(),
        }
    }

    /// The address that a request really comes from: a trusted proxy's word, otherwise the peer.
    fn address(&self, peer: Option<IpAddr>, headers: &HeaderMap) -> Option<IpAddr> {
        let peer = peer?;
        if !self.trusted_proxies.contains(&peer) {
            return Some(peer);
        }
        let forwarded = headers.get("x-forwarded-for").and_then(|v| v.to_str().ok());
        forwarded.and_then(|list| list.rsplit(',').find_map(|part| part.trim().parse().ok())).or(Some(peer))
    }
}

/// Refuses what comes too often: 429 with the wait.
pub async fn rate(State((app, rates)): State<(Arc<App>, Arc<Rates>)>, request: Request, next: Next) -> Response {
    let peer = request.extensions().get::<ConnectInfo<SocketAddr>>().map(|info| info.0.ip());
    let address = rates.address(peer, request.headers());
    if rates.exempt_loopback && address.is_some_and(|a| a.is_loopback()) {
        return next.run(request).await;
    }
    let bearer = request.headers().get("authorization").and_then(|v| v.to_str().ok()).and_then(|t| t.get(7..));
    let principal = bearer.and_then(|token| app.tokens.check(token.trim()).ok()).map(|claims| claims.sub);
    let address_key = address.map_or_else(|| "unknown".to_owned(), |a| a.to_string());
    let (limiter, key) = match principal {
        Some(subject) => (&rates.principal, subject),
        None => (&rates.address, address_key),
    };
    if is_coupon_try(&request)
        && let Err(refused) = check(&rates.coupon, &key)
    {
        return refused;
    }
    match check(limiter, &key) {
        Ok(snapshot) => {
            let mut response = next.run(request).await;
            let headers = response.headers_mut();
            headers.insert("ratelimit-limit", HeaderValue::from(snapshot.quota().burst_size().get()));
            headers.insert("ratelimit-remaining", HeaderValue::from(snapshot.remaining_burst_capacity()));
            response
        }
        Err(refused) => refused,
    }
}

/// A guess at a code, right or wrong: there are few enough that one must not try many.
fn is_coupon_try(request: &Request) -> bool {
    let route = request.extensions().get::<MatchedPath>().map(MatchedPath::as_str);
    request.method() == Method::POST && route == Some("/v1/carts/{id}/coupons")
}

/// Counts a request, or answers it with the wait.
fn check(limiter: &Limiter, key: &String) -> Result<StateSnapshot, Response> {
    if limiter.len() > KEYS_MAX {
        limiter.retain_recent();
    }
    limiter.check_key(key).map_err(|refused| {
        let wait = refused.wait_time_from(DefaultClock::default().now());
        let mut response = Problem::new("too_many_requests", "too many requests; wait as long as Retry-After says").into_response();
        response.headers_mut().insert("retry-after", HeaderValue::from(wait.as_secs() + 1));
        response
    })
}

/// Gives the request its id, logs one line, and writes the id into a problem's body.
pub async fn identify(mut request: Request, next: Next) -> Response {
    let given = request.headers().get(&REQUEST_ID).and_then(|v| v.to_str().ok());
    let valid = given.filter(|id| {
        !id.is_empty() && id.len() <= REQUEST_ID_CHARS_MAX && id.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
    });
    let id = valid.map_or_else(|| infra::clock::new_id().simple().to_string(), str::to_owned);
    request.extensions_mut().insert(RequestId(id.clone()));
    let traceparent = request.headers().get("traceparent").cloned();
    let method = request.method().clone();
    // Cart ids are secrets and queries may hold order tokens: the log has the route, not the path.
    let route = request.extensions().get::<MatchedPath>().map_or_else(|| "-".to_owned(), |p| p.as_str().to_owned());
    let began = Instant::now();
    // No text that is stored or compared has U+0000, and Postgres takes none.
    let mut response = if request.uri().to_string().contains("%00") {
        Problem::new("invalid_parameter", "the URL must not contain the character U+0000").into_response()
    } else {
        next.run(request).await
    };
    let status = response.status().as_u16();
    let duration_ms = began.elapsed().as_secs_f64() * 1_000.0;
    tracing::debug!(method = %method, route, status, duration_ms, request_id = id, "request");
    metrics::histogram!("daybook_http_request_seconds", "method" => method.to_string(), "route" => route, "status" => status.to_string())
        .record(began.elapsed().as_secs_f64());
    if let Some(ProblemBody(mut body)) = response.extensions_mut().remove::<ProblemBody>() {
        body.insert("request_id".to_owned(), json!(id));
        let (mut parts, _) = response.into_parts();
        parts.headers.remove("content-length");
        response = Response::from_parts(parts, serde_json::to_vec(&body).unwrap_or_default().into());
    }
    let headers = response.headers_mut();
    if let Ok(value) = HeaderValue::from_str(&id) {
        headers.insert(REQUEST_ID, value);
    }
    if let Some(traceparent) = traceparent {
        headers.insert("traceparent", traceparent);
    }
    headers.insert("referrer-policy", HeaderValue::from_static("no-referrer"));
    headers.insert("x-content-type-options", HeaderValue::from_static("nosniff"));
    response
}

/// Ends an ordinary request that takes too long; what it began to write may still land.
pub async fn time_out(State(limit): State<Duration>, request: Request, next: Next) -> Response {
    match tokio::time::timeout(limit, next.run(request)).await {
        Ok(response) => response,
        Err(_elapsed) => {
            Problem::new("request_timeout", "the request took too long; repeat it with the same Idempotency-Key").into_response()
        }
    }
}
