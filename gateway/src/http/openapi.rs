//! The `OpenAPI` document: made from the handlers, completed by what all of them say alike.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::Router;
use axum::http::StatusCode;
use utoipa::OpenApi as _;
use utoipa::openapi::path::Operation;
use utoipa::openapi::schema::ArrayItems;
use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityRequirement, SecurityScheme};
use utoipa::openapi::{Content, OpenApi, Ref, RefOr, Response, Schema};
use utoipa_axum::router::OpenApiRouter;

use super::problem::ProblemDocument;
use crate::app::App;

/// Of those who call with a token of the staff; their other routes are probes, which need none.
const STAFF_TAGS: [&str; 3] = ["merchants", "analysts", "operators"];
const PROBES: [&str; 2] = ["livez", "readyz"];
/// What the schemas of lists begin with.
const LISTS: [&str; 2] = ["Page_", "Items_"];
/// The security scheme that a route names when it needs a token.
const BEARER: &str = "bearer";

#[derive(utoipa::OpenApi)]
#[openapi(
    info(
        title = "Daybook",
        description = "An event-sourced commerce engine. Money is in integer minor units; errors are RFC 9457 problem documents whose `code` is stable; \
                       every command answers a `Consistency-Token` that a later read can wait for.",
        license(name = "Apache-2.0", identifier = "Apache-2.0")
    ),
    tags(
        (name = "shoppers", description = "Search, carts, orders"),
        (name = "merchants", description = "Catalogue, stock, orders; needs a staff role"),
        (name = "analysts", description = "The event log, as stored"),
        (name = "operators", description = "Health, projections, verification"),
        (name = "providers", description = "What payment providers call")
    ),
    components(schemas(ProblemDocument))
)]
struct Document;

/// The routes, and the document that is made from their handlers.
pub fn documented(routes: OpenApiRouter<Arc<App>>) -> (Router<Arc<App>>, OpenApi) {
    let (serving, mut api) = OpenApiRouter::with_openapi(Document::openapi()).nest("/v1", routes).split_for_parts();
    complete(&mut api);
    (serving, api)
}

/// Adds what all operations say alike: that the staff's need a token and refuse whoever has none, and that every refusal is a
/// [`problem`](super::problem).
fn complete(api: &mut OpenApi) {
    let scheme = HttpBuilder::new().scheme(HttpAuthScheme::Bearer).bearer_format("JWT").build();
    api.components.get_or_insert_default().add_security_scheme(BEARER, SecurityScheme::Http(scheme));
    name_items(&mut api.components.get_or_insert_default().schemas);
    for item in api.paths.paths.values_mut() {
        for operation in [&mut item.get, &mut item.post, &mut item.put, &mut item.patch, &mut item.delete].into_iter().flatten() {
            if is_for_staff(operation) {
                operation.security = Some(vec![SecurityRequirement::new(BEARER, Vec::<String>::new())]);
                let refused = |code: &str| RefOr::T(Response::new(code));
                operation.responses.responses.entry("401".to_owned()).or_insert_with(|| refused("unauthenticated, invalid_token"));
                operation.responses.responses.entry("403".to_owned()).or_insert_with(|| refused("forbidden"));
            }
            let otherwise = || RefOr::T(Response::new("any other refusal, or a failure"));
            operation.responses.responses.entry("default".to_owned()).or_insert_with(otherwise);
            for (status, response) in &mut operation.responses.responses {
                let RefOr::T(response) = response else { continue };
                if response.description.is_empty() {
                    let reason = status.parse().ok().and_then(|status: StatusCode| status.canonical_reason());
                    reason.unwrap_or_default().clone_into(&mut response.description);
                }
                if status.starts_with(['4', '5', 'd']) && response.content.is_empty() {
                    let problem = Content::new(Some(Ref::from_schema_name("Problem")));
                    response.content.insert("application/problem+json".to_owned(), RefOr::T(problem));
                }
            }
        }
    }
}

/// Lists name what they are of: the schema of a generic answer has its parameter's written out once more.
fn name_items(schemas: &mut BTreeMap<String, RefOr<Schema>>) {
    let lists: Vec<String> = schemas.keys().filter(|name| LISTS.iter().any(|list| name.starts_with(list))).cloned().collect();
    for name in lists {
        let Some((_, of)) = name.split_once('_') else { continue };
        let Some(RefOr::T(Schema::Object(list))) = schemas.get_mut(&name) else { continue };
        let Some(RefOr::T(Schema::Array(items))) = list.properties.get_mut("items") else { continue };
        let named = ArrayItems::RefOrSchema(Box::new(Ref::from_schema_name(of).into()));
        if let ArrayItems::RefOrSchema(written_out) = std::mem::replace(&mut items.items, named) {
            schemas.entry(of.to_owned()).or_insert(*written_out);
        }
    }
}

fn is_for_staff(operation: &Operation) -> bool {
    let is_probe = operation.operation_id.as_deref().is_some_and(|id| PROBES.contains(&id));
    operation.tags.iter().flatten().any(|tag| STAFF_TAGS.contains(&tag.as_str())) && !is_probe
}
