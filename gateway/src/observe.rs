//! Logs for a person at night, metrics for Prometheus.

use std::io::IsTerminal;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use infra::task::CancellationToken;
use metrics_exporter_prometheus::PrometheusBuilder;
use projections::replica::SearchReplica;
use sqlx::PgPool;
use tracing_subscriber::EnvFilter;

use crate::http::ops::{ProjectionStatus, projections};

/// How often the lag of the read models is looked at for `/metrics`.
const LAG_INTERVAL: Duration = Duration::from_secs(5);

/// What is logged unless `DAYBOOK_LOG` says otherwise.
const LOG_DEFAULT: &str = "info,sqlx=warn,tantivy=warn,async_nats=warn,hyper=warn";

/// Starts logging to stderr: text for a terminal, JSON with `DAYBOOK_LOG_FORMAT=json`.
pub fn start_logging() {
    let filter = infra::config::variable("DAYBOOK_LOG").unwrap_or_else(|| LOG_DEFAULT.to_owned());
    let subscriber = tracing_subscriber::fmt()
        .with_env_filter(EnvFilter::new(filter))
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal());
    if infra::config::variable("DAYBOOK_LOG_FORMAT").as_deref() == Some("json") {
        subscriber.json().init();
    } else {
        subscriber.with_target(false).init();
    }
}

/// Exports how far each read model is behind, and what it could not apply, until `stop`.
pub async fn export_lag(pool: PgPool, search: Arc<SearchReplica>, stop: CancellationToken) {
    loop {
        match projections(&pool, Some(search.position().1)).await {
            Ok(found) => found.into_iter().for_each(|projection| {
                let ProjectionStatus { name, lag_events, lag_ms, parked, .. } = projection;
                metrics::gauge!("daybook_projection_lag_events", "projection" => name.clone()).set(number(lag_events));
                metrics::gauge!("daybook_projection_lag_seconds", "projection" => name.clone()).set(number(lag_ms) / 1_000.0);
                metrics::gauge!("daybook_projection_parked_events", "projection" => name).set(number(parked));
            }),
            Err(error) => tracing::debug!(error = &error as &dyn std::error::Error, "the read models' lag is not known"),
        }
        tokio::select! { () = stop.cancelled() => return, () = tokio::time::sleep(LAG_INTERVAL) => {} }
    }
}

#[expect(clippy::cast_precision_loss, reason = "a gauge; counts stay below 2^53")]
fn number(count: i64) -> f64 {
    count as f64
}

/// Serves `/metrics` on a port of its own; answers its URL. Port 0 takes a free one.
pub fn serve_metrics(address: SocketAddr) -> anyhow::Result<String> {
    let address = if address.port() == 0 { std::net::TcpListener::bind(address)?.local_addr()? } else { address };
    PrometheusBuilder::new().with_http_listener(address).install()?;
    Ok(format!("http://{address}/metrics"))
}
