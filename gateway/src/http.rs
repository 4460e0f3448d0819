//! Every route on one screen, grouped by who calls it; and what every request passes on its way.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::http::{HeaderName, HeaderValue, Method};
use axum::middleware;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use tower_http::catch_panic::CatchPanicLayer;
use tower_http::compression::CompressionLayer;
use tower_http::compression::predicate::{DefaultPredicate, NotForContentType, Predicate};
use tower_http::cors::{AllowOrigin, CorsLayer};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::app::App;

mod asset;
mod body;
mod caller;
mod cart;
mod contact;
mod customer;
mod document;
pub mod event;
mod export;
mod import;
mod limits;
mod merchandising;
mod money;
mod openapi;
pub mod ops;
mod order;
mod page;
pub mod problem;
mod product;
mod promotion;
pub mod reading;
mod setting;
mod stock;
mod webhook;

/// Requests that end by themselves soon.
fn ordinary() -> OpenApiRouter<Arc<App>> {
    OpenApiRouter::new()
        // Shoppers
        .routes(routes!(product::store))
        .routes(routes!(product::list))
        .routes(routes!(product::show))
        .routes(routes!(product::categories))
        .routes(routes!(product::suggest))
        .routes(routes!(merchandising::queries::clicked))
        .routes(routes!(cart::create))
        .routes(routes!(cart::show, cart::change))
        .routes(routes!(cart::add_line))
        .routes(routes!(cart::set_line, cart::remove_line))
        .routes(routes!(cart::coupon::apply))
        .routes(routes!(cart::coupon::remove))
        .routes(routes!(cart::claim::claim))
        .routes(routes!(cart::claim::mine))
        .routes(routes!(cart::set_contact))
        .routes(routes!(cart::shipping_options))
        .routes(routes!(cart::choose_shipping))
        .routes(routes!(order::place))
        .routes(routes!(order::show))
        .routes(routes!(order::events))
        .routes(routes!(order::pay))
        .routes(routes!(order::cancel))
        // Payment providers
        .routes(routes!(webhook::receive))
        // Merchants
        .routes(routes!(order::merchant::list))
        .routes(routes!(order::merchant::cancel))
        .routes(routes!(order::merchant::ship))
        .routes(routes!(order::merchant::deliver))
        .routes(routes!(order::merchant::hold))
        .routes(routes!(order::merchant::release))
        .routes(routes!(order::merchant::payments))
        .routes(routes!(order::merchant::capture))
        .routes(routes!(order::merchant::void))
        .routes(routes!(order::merchant::refund))
        .routes(routes!(stock::show))
        .routes(routes!(stock::movement::receive))
        .routes(routes!(stock::movement::count))
        .routes(routes!(stock::movement::adjust))
        .routes(routes!(stock::movement::transfer))
        .routes(routes!(stock::movement::dispatch))
        .routes(routes!(stock::movement::receive_transfer))
        .routes(routes!(stock::movement::change_policy))
        .routes(routes!(setting::show, setting::change))
        .routes(routes!(setting::location::list, setting::location::add))
        .routes(routes!(setting::location::change, setting::location::close))
        .routes(routes!(setting::tax_rate::list, setting::tax_rate::add))
        .routes(routes!(setting::tax_rate::show, setting::tax_rate::change, setting::tax_rate::remove))
        .routes(routes!(setting::shipping_method::list, setting::shipping_method::add))
        .routes(routes!(setting::shipping_method::show, setting::shipping_method::change, setting::shipping_method::remove))
        .routes(routes!(promotion::list, promotion::create))
        .routes(routes!(promotion::show, promotion::change))
        .routes(routes!(promotion::end))
        .routes(routes!(promotion::coupons, promotion::create_coupons))
        .routes(routes!(merchandising::list, merchandising::create))
        .routes(routes!(merchandising::show, merchandising::change))
        .routes(routes!(merchandising::end))
        .routes(routes!(merchandising::synonyms::list))
        .routes(routes!(merchandising::synonyms::show, merchandising::synonyms::put, merchandising::synonyms::remove))
        .routes(routes!(merchandising::queries::list))
        .routes(routes!(customer::erase))
        .routes(routes!(export::categories))
        .routes(routes!(export::locations))
        // Analysts
        .routes(routes!(event::show))
        .routes(routes!(event::stream))
        .routes(routes!(event::schema))
        // Operators
        .routes(routes!(ops::status))
        .routes(routes!(ops::act))
        .routes(routes!(ops::parked::list))
        .routes(routes!(ops::parked::act))
        .routes(routes!(ops::unmatched::list))
        .routes(routes!(ops::unmatched::settle))
        .routes(routes!(ops::livez))
        .routes(routes!(ops::readyz))
}

/// Requests that stream, in or out: an idle time-out of their own, no other.
fn streaming() -> OpenApiRouter<Arc<App>> {
    OpenApiRouter::new()
        .routes(routes!(event::list))
        .routes(routes!(order::live))
        .routes(routes!(import::import_products))
        .routes(routes!(export::products))
        .routes(routes!(export::stock))
        .routes(routes!(export::google))
        .routes(routes!(import::import_categories))
        .routes(routes!(import::import_locations))
        .routes(routes!(ops::verify))
}

pub fn router(app: &Arc<App>) -> Router {
    let http = &app.config.http;
    let ordinary = ordinary()
        .layer(DefaultBodyLimit::max(http.body_bytes_max))
        .layer(middleware::from_fn_with_state(Duration::from_millis(http.request_timeout_ms), limits::time_out));
    let (api, document) = openapi::documented(ordinary.merge(streaming()));
    let document = Arc::new(document);
    let tokens = Arc::clone(app);
    let pages = Router::new()
        .route("/", get(asset::storefront))
        .route("/p/{handle}", get(asset::product))
        .route("/assets/{file}", get(asset::asset))
        .route("/problems", get(document::problems))
        .route("/problems/{code}", get(document::problem))
        .route("/.well-known/jwks.json", get(move || async move { axum::Json(tokens.tokens.jwks()) }));
    let documents =
        Router::new().route("/openapi.json", get(document::openapi)).route("/docs", get(document::reference)).with_state(document);
    let probes = Router::new()
        .route("/livez", get(ops::livez))
        .route("/readyz", get(ops::readyz))
        // Where an event's `dataschema` points.
        .route("/schemas/{type}/{version}", get(event::schema));
    let rates = Arc::new(limits::Rates::new(&app.config));
    // Answers to streams are not compressed: they would be held back.
    let compressed = DefaultPredicate::new().and(NotForContentType::new("application/x-ndjson"));
    api.merge(probes)
        .layer(middleware::from_fn_with_state((Arc::clone(app), rates), limits::rate))
        .with_state(Arc::clone(app))
        .merge(pages)
        .merge(documents)
        .fallback(nowhere)
        .method_not_allowed_fallback(not_this_method)
        .layer(cors(&app.config.http.cors_origins))
        .layer(CatchPanicLayer::custom(panicked))
        .layer(middleware::from_fn(limits::identify))
        .layer(CompressionLayer::new().compress_when(compressed))
}

async fn nowhere() -> problem::Problem {
    problem::Problem::new("not_found", "there is no such route; see /docs")
}

async fn not_this_method(method: Method) -> problem::Problem {
    problem::Problem::new("method_not_allowed", format!("this route does not take {method}; see /docs"))
}

fn panicked(_: Box<dyn std::any::Any + Send>) -> Response {
    tracing::error!("a handler panicked");
    problem::Problem::internal().into_response()
}

fn cors(origins: &[String]) -> CorsLayer {
    let origins: Vec<HeaderValue> = origins.iter().filter_map(|origin| origin.parse().ok()).collect();
    let exposed = [
        "consistency-token",
        "read-position",
        "etag",
        "idempotent-replayed",
        "retry-after",
        "ratelimit-limit",
        "ratelimit-remaining",
        "x-request-id",
    ];
    CorsLayer::new()
        .allow_origin(AllowOrigin::list(origins))
        .allow_methods([Method::GET, Method::POST, Method::PUT, Method::PATCH, Method::DELETE])
        .allow_headers(
            [
                "authorization",
                "content-type",
                "idempotency-key",
                "if-match",
                "if-none-match",
                "consistency-token",
                "prefer",
                "order-token",
                "traceparent",
            ]
            .map(HeaderName::from_static),
        )
        .expose_headers(exposed.map(HeaderName::from_static))
}

#[cfg(test)]
mod tests {
    #![expect(clippy::disallowed_methods, reason = "a test may read its own switch")]

    /// The committed document is the one that the handlers make; `DAYBOOK_TEST_WRITE=1` writes it anew.
    #[test]
    fn the_committed_openapi_document_is_the_generated_one() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/openapi.json");
        let generated =
            serde_json::to_string_pretty(&super::openapi::documented(super::ordinary().merge(super::streaming())).1).unwrap() + "\n";
        if std::env::var("DAYBOOK_TEST_WRITE").is_ok() {
            std::fs::write(path, &generated).unwrap();
        }
        assert_eq!(std::fs::read_to_string(path).unwrap_or_default(), generated, "run it with DAYBOOK_TEST_WRITE=1 and commit");
    }
}
