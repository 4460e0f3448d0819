//! Pages for people who write programs: the API reference and what each problem means.

use askama::Template;
use axum::Json;
use axum::extract::{Path, State};
use axum::http::header;
use axum::response::{Html, IntoResponse, Response};
use std::sync::Arc;
use utoipa::openapi::OpenApi;

use super::problem::{CODES, Problem};

#[derive(Template)]
#[template(path = "reference.html")]
struct Reference<'a> {
    title: &'a str,
    groups: Vec<Group>,
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
    responses: Vec<(String, String)>,
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
    let page = Reference { title: &api.info.title, groups: groups(&document) };
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

fn groups(document: &serde_json::Value) -> Vec<Group> {
    let text = |value: &serde_json::Value, name: &str| value[name].as_str().unwrap_or_default().to_owned();
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
                responses: responses.map(|(status, r)| (status.clone(), text(r, "description"))).collect(),
            };
            match groups.iter_mut().find(|g| g.name == tag) {
                Some(group) => group.operations.push(entry),
                None => groups.push(Group { name: tag, operations: vec![entry] }),
            }
        }
    }
    groups
}
