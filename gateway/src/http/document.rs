//! Pages for people who write programs: the API reference and what each problem means.

use askama::Template;
use axum::Json;
use axum::extract::{Path, State};
use axum::http::header;
use axum::response::{Html, IntoResponse, Response};
use serde_json::Value;
use std::sync::Arc;
use utoipa::openapi::OpenApi;

use super::problem::{CODES, Problem};

#[derive(Template)]
#[template(path = "reference.html")]
struct Reference<'a> {
    title: &'a str,
    groups: Vec<Group>,
    schemas: Vec<Named>,
}

struct Group {
    name: String,
    operations: Vec<Operation>,
}

struct Operation {
    method: String,
    path: String,
    summary: String,
    detail: String,
    parameters: Vec<Parameter>,
    body: Vec<Piece>,
    responses: Vec<Answer>,
}

struct Answer {
    status: String,
    shape: Vec<Piece>,
    detail: String,
}

/// A schema that others refer to.
struct Named {
    name: String,
    detail: String,
    fields: Vec<Field>,
    /// Of one that is no object.
    shape: Vec<Piece>,
}

struct Field {
    name: String,
    required: bool,
    shape: Vec<Piece>,
    detail: String,
}

/// A part of a shape in words: text, or another schema's name.
#[derive(Clone)]
enum Piece {
    Words(String),
    Schema(String),
}

struct Parameter {
    name: String,
    place: String,
    required: bool,
    detail: String,
}

#[derive(Template)]
#[template(path = "problem.html")]
struct ProblemPage<'a> {
    problems: Vec<&'a (&'a str, u16, &'a str, &'a str)>,
}

/// `GET /openapi.json`
pub async fn openapi(State(api): State<Arc<OpenApi>>) -> impl IntoResponse {
    ([(header::CACHE_CONTROL, "public, max-age=60")], Json(api.as_ref().clone()))
}

/// `GET /docs`: the same document as a page; nothing is loaded from elsewhere.
pub async fn reference(State(api): State<Arc<OpenApi>>) -> Result<Response, Problem> {
    let document = serde_json::to_value(api.as_ref())?;
    let page = Reference { title: &api.info.title, groups: groups(&document), schemas: schemas(&document) };
    Ok(Html(page.render().map_err(|e| Problem::failure(&e))?).into_response())
}

/// `GET /problems/{code}`: what it means and what to do.
pub async fn problem(Path(code): Path<String>) -> Result<Response, Problem> {
    let problems: Vec<_> = CODES.iter().filter(|(known, ..)| *known == code).collect();
    if problems.is_empty() {
        return Err(Problem::not_found("problem"));
    }
    Ok(Html(ProblemPage { problems }.render().map_err(|e| Problem::failure(&e))?).into_response())
}

/// `GET /problems`: all of them.
pub async fn problems() -> Result<Response, Problem> {
    let page = ProblemPage { problems: CODES.iter().collect() };
    Ok(Html(page.render().map_err(|e| Problem::failure(&e))?).into_response())
}

fn text(value: &Value, name: &str) -> String {
    value[name].as_str().unwrap_or_default().to_owned()
}

fn groups(document: &Value) -> Vec<Group> {
    let mut groups: Vec<Group> = Vec::new();
    for (path, methods) in document["paths"].as_object().into_iter().flatten() {
        for (method, operation) in methods.as_object().into_iter().flatten() {
            let tag = operation["tags"][0].as_str().unwrap_or("other").to_owned();
            let parameters = operation["parameters"].as_array().into_iter().flatten().map(|p| Parameter {
                name: text(p, "name"),
                place: text(p, "in"),
                required: p["required"].as_bool().unwrap_or(false),
                detail: text(p, "description"),
            });
            let responses = operation["responses"].as_object().into_iter().flatten();
            let entry = Operation {
                method: method.to_uppercase(),
                path: path.clone(),
                summary: text(operation, "summary"),
                detail: text(operation, "description"),
                parameters: parameters.collect(),
                body: content(&operation["requestBody"]),
                responses: responses
                    .map(|(status, r)| Answer { status: status.clone(), shape: content(r), detail: text(r, "description") })
                    .collect(),
            };
            match groups.iter_mut().find(|g| g.name == tag) {
                Some(group) => group.operations.push(entry),
                None => groups.push(Group { name: tag, operations: vec![entry] }),
            }
        }
    }
    groups
}

fn schemas(document: &Value) -> Vec<Named> {
    let all = document["components"]["schemas"].as_object().into_iter().flatten();
    let named = all.map(|(name, schema)| Named {
        name: name.clone(),
        detail: text(schema, "description"),
        fields: fields(schema),
        shape: if schema["properties"].is_object() { Vec::new() } else { shape(schema) },
    });
    named.collect()
}

/// The fields of an object.
fn fields(schema: &Value) -> Vec<Field> {
    let required = |name: &str| schema["required"].as_array().into_iter().flatten().any(|required| required == name);
    let properties = schema["properties"].as_object().into_iter().flatten();
    let own = properties.map(|(name, property)| Field {
        name: name.clone(),
        required: required(name),
        shape: shape(property),
        detail: described(property),
    });
    own.collect()
}

/// What a field means: a reference that may be null carries its description inside.
fn described(property: &Value) -> String {
    let inside = property["oneOf"].as_array().into_iter().flatten().find_map(|one| one["description"].as_str());
    property["description"].as_str().or(inside).unwrap_or_default().to_owned()
}

/// The schema of a body, as a shape.
fn content(of: &Value) -> Vec<Piece> {
    of["content"].as_object().and_then(|kinds| kinds.values().next()).map(|content| shape(&content["schema"])).unwrap_or_default()
}

/// A schema in words: what it refers to, or its type, format and range.
fn shape(schema: &Value) -> Vec<Piece> {
    if let Some(name) = schema["$ref"].as_str().and_then(|place| place.rsplit('/').next()) {
        return vec![Piece::Schema(name.to_owned())];
    }
    if let Some(several) = schema["oneOf"].as_array() {
        let each: Vec<Vec<Piece>> = several.iter().map(shape).collect();
        return each.join(&Piece::Words(" or ".to_owned()));
    }
    let mut words = match &schema["type"] {
        Value::Array(types) => types.iter().filter_map(Value::as_str).collect::<Vec<_>>().join(" or "),
        one => one.as_str().unwrap_or("anything").to_owned(),
    };
    if let Some(values) = schema["enum"].as_array() {
        words = values.iter().map(|value| format!("`{}`", value.as_str().unwrap_or_default())).collect::<Vec<_>>().join(", ");
    }
    if words.starts_with("array") {
        let mut pieces = vec![Piece::Words("list of ".to_owned())];
        pieces.extend(shape(&schema["items"]));
        pieces.extend(words.strip_prefix("array").filter(|rest| !rest.is_empty()).map(|rest| Piece::Words(rest.to_owned())));
        return pieces;
    }
    let format = schema["format"].as_str().filter(|format| !format.starts_with("int")).map(|format| format!(", {format}"));
    let range = match (schema["minimum"].as_i64(), schema["maximum"].as_i64()) {
        (Some(least), Some(most)) => format!(", {least} to {most}"),
        (Some(least), None) => format!(", at least {least}"),
        (None, Some(most)) => format!(", at most {most}"),
        (None, None) => String::new(),
    };
    vec![Piece::Words(format!("{words}{}{range}", format.unwrap_or_default()))]
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_shape_says_type_format_range_and_what_it_refers_to() {
        let words = |schema: Value| {
            let pieces = shape(&schema).into_iter().map(|piece| match piece {
                Piece::Words(words) => words,
                Piece::Schema(name) => format!("<{name}>"),
            });
            pieces.collect::<String>()
        };
        let money = json!({ "$ref": "#/components/schemas/MoneyBody" });
        assert_eq!(words(json!({ "type": "integer", "format": "int32", "minimum": 1, "maximum": 200 })), "integer, 1 to 200");
        assert_eq!(words(json!({ "type": ["string", "null"], "format": "uuid" })), "string or null, uuid");
        assert_eq!(words(json!({ "type": "array", "items": money })), "list of <MoneyBody>");
        assert_eq!(words(json!({ "oneOf": [money, { "type": "null" }] })), "<MoneyBody> or null");
        assert_eq!(words(json!({ "type": "string", "enum": ["amount"] })), "`amount`");
    }
}
