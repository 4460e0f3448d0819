//! People: erasing what the shop knows of one.

use std::sync::Arc;

use axum::extract::{Path, State};
use axum::http::StatusCode;
use commands::customer;
use domain::id::SubjectId;
use domain::personal::Purpose;
use infra::sealing::KeyScope;
use serde::Serialize;
use utoipa::ToSchema;
use uuid::Uuid;

use super::caller::{Manages, Staff};
use super::problem::Problem;
use super::reading::Wrote;
use crate::app::App;

/// A person of whom nothing can be read any more.
#[derive(Debug, Serialize, ToSchema)]
pub struct ErasedBody {
    subject_id: Uuid,
    /// What was kept of it: `account`, `order`.
    #[schema(value_type = Vec<String>)]
    erased: [&'static str; 2],
}

/// Erases a person: the keys of all personal data are destroyed, in every copy of the log at once.
#[utoipa::path(post, path = "/admin/customers/{subject_id}/erase", tag = "merchants", params(("subject_id" = String, Path, description = "the subject's id, in its orders' events")),
    responses((status = 200, body = ErasedBody, description = "erased; read models follow"), (status = 404, description = "not_found: nothing was ever kept of such a person"), (status = 409, description = "orders_open")))]
pub async fn erase(State(app): State<Arc<App>>, caller: Staff<Manages>, Path(id): Path<String>) -> Result<Wrote<ErasedBody>, Problem> {
    let subject_id: SubjectId = id.parse().map_err(|_| Problem::not_found("person"))?;
    if !app.sealer.knows(subject_id.uuid()).await.map_err(commands::answer::Failure::from)? {
        return Err(Problem::not_found("person"));
    }
    if projections::order::has_open(&app.pool, subject_id.uuid()).await? {
        return Err(Problem::new("orders_open", "this person has orders that are not over; ship or cancel them first"));
    }
    let done = app.writer.execute(caller.origin(), None, move |streams| customer::erase(streams, subject_id)).await?;
    for purpose in [Purpose::Account, Purpose::Order] {
        let scope = KeyScope { subject_id: subject_id.uuid(), purpose: purpose.as_str() };
        app.sealer.destroy(scope).await.map_err(commands::answer::Failure::from)?;
    }
    let body = ErasedBody { subject_id: subject_id.uuid(), erased: [Purpose::Account, Purpose::Order].map(Purpose::as_str) };
    Ok(Wrote { status: StatusCode::OK, body: Some(body), position: done.position, version: None, replayed: false })
}
