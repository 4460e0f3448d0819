//! The storefront's files, built into the program.

use axum::extract::{OriginalUri, Path};
use axum::http::header;
use axum::response::{IntoResponse, Redirect, Response};
use rust_embed::RustEmbed;

use super::problem::Problem;

#[derive(RustEmbed)]
#[folder = "assets"]
struct Assets;

/// Scripts and styles come from here only; pictures may lie elsewhere.
const POLICY: &str = "default-src 'self'; img-src 'self' https: data:; style-src 'self' 'unsafe-inline'; frame-ancestors 'none'";

/// `GET /`
pub async fn storefront() -> Result<Response, Problem> {
    file("index.html")
}

/// `GET /p/{handle}`: an address without a fragment, which feeds and search engines keep; the page shows the product.
pub async fn product(OriginalUri(address): OriginalUri) -> Redirect {
    Redirect::temporary(&format!("/#{}", address.path()))
}

/// `GET /assets/{file}`
pub async fn asset(Path(name): Path<String>) -> Result<Response, Problem> {
    file(&name)
}

fn file(name: &str) -> Result<Response, Problem> {
    let found = Assets::get(name).ok_or_else(|| Problem::not_found("file"))?;
    let kind = match name.rsplit_once('.').map(|(_, extension)| extension) {
        Some("html") => "text/html; charset=utf-8",
        Some("css") => "text/css; charset=utf-8",
        Some("js") => "text/javascript; charset=utf-8",
        _ => "application/octet-stream",
    };
    let headers = [(header::CONTENT_TYPE, kind), (header::CACHE_CONTROL, "public, max-age=60"), (header::CONTENT_SECURITY_POLICY, POLICY)];
    Ok((headers, found.data).into_response())
}
