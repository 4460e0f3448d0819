//! Logs for a person at night, metrics for Prometheus.

use std::io::IsTerminal;
use std::net::SocketAddr;

use metrics_exporter_prometheus::PrometheusBuilder;
use tracing_subscriber::EnvFilter;

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

/// Serves `/metrics` on a port of its own; answers its URL. Port 0 takes a free one.
pub fn serve_metrics(address: SocketAddr) -> anyhow::Result<String> {
    let address = if address.port() == 0 { std::net::TcpListener::bind(address)?.local_addr()? } else { address };
    PrometheusBuilder::new().with_http_listener(address).install()?;
    Ok(format!("http://{address}/metrics"))
}
