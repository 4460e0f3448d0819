//! JSON bodies and queries, with problems that name the place of an error.

use axum::body::Bytes;
use axum::extract::{FromRequest, FromRequestParts, Request};
use axum::http::request::Parts;
use axum::http::{StatusCode, header};
use serde::de::DeserializeOwned;

use super::problem::Problem;

/// A JSON body.
#[derive(Debug)]
pub struct Body<T>(pub T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequest<S> for Body<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, state: &S) -> Result<Self, Problem> {
        let content_type = request.headers().get(header::CONTENT_TYPE).and_then(|v| v.to_str().ok()).unwrap_or_default();
        let is_json = content_type.split(';').next().is_some_and(|t| t.trim() == "application/json" || t.trim().ends_with("+json"));
        let bytes = Bytes::from_request(request, state).await.map_err(|rejection| {
            if rejection.status() == StatusCode::PAYLOAD_TOO_LARGE {
                return Problem::new("payload_too_large", "the body is larger than 1 MiB; send less at once");
            }
            Problem::new("invalid_json", "the body could not be read to its end; send it again")
        })?;
        if !is_json && !bytes.is_empty() {
            return Err(Problem::new("unsupported_media_type", "send the body as `Content-Type: application/json`"));
        }
        let text = if bytes.is_empty() { b"{}".as_slice() } else { &bytes };
        serde_json::from_slice(text).map(Self).map_err(|error| {
            let detail = format!("the body is not what this route takes: {error}");
            match error.classify() {
                serde_json::error::Category::Data => Problem::new("validation_failed", detail),
                _ => Problem::new("invalid_json", detail),
            }
        })
    }
}

/// The query string.
#[derive(Debug)]
pub struct Query<T>(pub T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequestParts<S> for Query<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let query = axum::extract::Query::<T>::from_request_parts(parts, state).await;
        query.map(|q| Self(q.0)).map_err(|error| Problem::new("invalid_parameter", error.body_text()))
    }
}
