//! What payment providers tell us: signed, believed once, never refused.

use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use chrono::TimeDelta;
use commands::answer::CommandError;
use commands::payment;
use commands::provider::{WebhookError, WebhookHeaders, verify_webhook};
use commands::reactor;
use infra::fail_point;

use super::caller::Caller;
use super::order::SANDBOX;
use super::problem::Problem;
use crate::app::App;

/// Takes a provider's signed statement (Standard Webhooks). One that belongs to nothing of ours is taken and parked for a person.
#[utoipa::path(post, path = "/webhooks/payments/{provider}", tag = "providers", params(("provider" = String, Path)), request_body(content = String, description = "the signed statement", content_type = "application/json"),
    responses((status = 204, description = "taken"), (status = 202, description = "taken, but it matches nothing of ours"), (status = 401, description = "invalid_webhook")))]
pub async fn receive(
    State(app): State<Arc<App>>,
    caller: Caller,
    Path(provider): Path<String>,
    body: Bytes,
) -> Result<StatusCode, Problem> {
    if provider != SANDBOX || !app.config.payments.sandbox {
        return Err(Problem::not_found("payment provider"));
    }
    let header = |name: &str| caller.header(name).unwrap_or_default();
    let headers =
        WebhookHeaders { id: header("webhook-id"), timestamp: header("webhook-timestamp"), signature: header("webhook-signature") };
    let tolerance = TimeDelta::seconds(i64::try_from(app.config.payments.webhook_tolerance_s).unwrap_or(300));
    let event = match verify_webhook(&app.config.payments.sandbox_webhook_secret, &headers, &body, infra::clock::now(), tolerance) {
        Ok(event) => event,
        Err(WebhookError::NotUnderstood) => {
            tracing::warn!("a signed webhook is not understood; it was taken and changes nothing");
            return Ok(StatusCode::ACCEPTED);
        }
        Err(error) => return Err(Problem::new("invalid_webhook", error.to_string())),
    };
    let Some(reported) = payment::reported(&event.fact, "webhook") else {
        return Ok(StatusCode::NO_CONTENT);
    };
    match reactor::record_told(&app.writer, &app.pool, reported, reactor::late(&app.config)).await {
        Ok(()) => {
            fail_point::after("webhook.recorded");
            Ok(StatusCode::NO_CONTENT)
        }
        Err(CommandError::Refused(refusal, _)) if refusal.code == "not_found" => {
            if !reactor::moves_money(&event.fact) {
                return Ok(StatusCode::ACCEPTED);
            }
            reactor::park_unmatched(&app.pool, &reactor::unmatched(&event.fact)).await?;
            Ok(StatusCode::ACCEPTED)
        }
        Err(error) => Err(error.into()),
    }
}
