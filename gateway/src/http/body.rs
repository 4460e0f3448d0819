//! JSON bodies and queries, with problems that name the place of an error.

use axum::body::Bytes;
use axum::extract::{FromRequest, FromRequestParts, Request};
use axum::http::request::Parts;
use axum::http::{StatusCode, header};
use serde::de::DeserializeOwned;
use serde_json::Value;

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
        if let Some(refused) = unstorable(text) {
            return Err(refused);
        }
        // serde takes an array for an object by the order of its fields, which nobody can mean.
        if text.iter().find(|byte| !byte.is_ascii_whitespace()) == Some(&b'[') {
            let what = "an array, expected an object";
            return Err(
                Problem::new("validation_failed", format!("the body is not what this route takes: {what}")).error("", "invalid", what)
            );
        }
        let mut reader = serde_json::Deserializer::from_slice(text);
        let read = serde_path_to_error::deserialize(&mut reader).map_err(|error| refused(error.path(), error.inner()))?;
        reader.end().map(|()| Self(read)).map_err(|error| Problem::new("invalid_json", format!("the body is not JSON: {error}")))
    }
}

/// Refuses U+0000, which Postgres stores nowhere, and says where it is.
fn unstorable(text: &[u8]) -> Option<Problem> {
    // In JSON it is always escaped, and hardly ever there: only then is the body looked through.
    if !text.windows(6).any(|six| six == b"\\u0000") {
        return None;
    }
    let body = serde_json::from_slice(text).ok()?;
    let detail = "texts must not contain the character U+0000; remove it";
    pointer_to_nul(&body).map(|pointer| Problem::new("invalid_text", detail).error(&pointer, "invalid_text", detail))
}

fn pointer_to_nul(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => text.contains('\0').then(String::new),
        Value::Array(items) => {
            let mut below = items.iter().enumerate().filter_map(|(index, item)| Some(format!("/{index}{}", pointer_to_nul(item)?)));
            below.next()
        }
        Value::Object(fields) => fields.iter().find_map(|(name, value)| {
            let below = if name.contains('\0') { Some(String::new()) } else { pointer_to_nul(value) };
            Some(format!("/{}{}", escaped(name), below?))
        }),
        _ => None,
    }
}

/// A name as a part of a JSON pointer (RFC 6901 §3).
fn escaped(name: &str) -> String {
    name.replace('~', "~0").replace('/', "~1")
}

/// What is wrong with a body, and where; a value's type in the words of JSON.
fn refused(path: &serde_path_to_error::Path, error: &serde_json::Error) -> Problem {
    if error.classify() != serde_json::error::Category::Data {
        return Problem::new("invalid_json", format!("the body is not JSON: {error}"));
    }
    let text = error.to_string();
    let what = text.rsplit_once(" at line ").map_or(text.as_str(), |(what, _)| what);
    let what = match what.split_once(", expected ") {
        Some((found, "u32" | "u64" | "usize")) => format!("{found}, expected a whole number that is not negative"),
        Some((found, "i32" | "i64")) => format!("{found}, expected a whole number"),
        Some((found, kind)) if kind.starts_with("struct ") => format!("{found}, expected an object"),
        _ => what.to_owned(),
    };
    let pointer = path.iter().fold(String::new(), |pointer, segment| match segment {
        serde_path_to_error::Segment::Seq { index } => format!("{pointer}/{index}"),
        serde_path_to_error::Segment::Map { key } => format!("{pointer}/{}", escaped(key)),
        _ => pointer,
    });
    let code = if what.starts_with("missing field") { "required" } else { "invalid" };
    Problem::new("validation_failed", format!("the body is not what this route takes: {what}")).error(&pointer, code, &what)
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

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_can_not_be_stored_is_named_by_its_place() {
        let pointer = |body: Value| pointer_to_nul(&body);
        assert_eq!(pointer(json!({ "a": ["b", { "c/d~": "e\0" }] })).as_deref(), Some("/a/1/c~1d~0"));
        assert_eq!(pointer(json!({ "a": "b" })), None);
        assert!(unstorable(br#"{"a": "\u0000"}"#).is_some());
        // A backslash and five characters.
        assert!(unstorable(br#"{"a": "\\u0000"}"#).is_none());
    }
}
