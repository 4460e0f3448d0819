//! A payment provider to try the shop with: another company's server, so it shares no type with the rest of Daybook.
//!
//! It keeps its own books (`ledger.jsonl` in its data directory, on the disk before it answers), honours idempotency keys,
//! sends signed webhooks until they are accepted, and misbehaves as the token of a payment says (`token.rs`).
//! Relies on a data directory of its own; promises that a `kill -9` loses nothing it has answered. No real money, no
//! authentication: it listens where only the shop and its shoppers reach it.
//!
//! In reading order: `token` what is asked for, `operations` and `rules` what is decided, `entry` and `ledger` what is known,
//! `desk` and `journal` how it gets on the disk, `outbox` and `webhooks` how the shop is told, `api` the routes.

mod answer;
mod api;
mod desk;
mod entry;
mod journal;
mod ledger;
mod operations;
mod outbox;
mod rules;
mod token;
mod webhooks;

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use chrono::{DateTime, TimeDelta, Utc};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

/// Connections that are served at the same time; further ones wait in the listener's backlog.
const CONNECTIONS_MAX: usize = 1_024;
/// How long a client may take over its headers, and how long a connection may be idle.
const HEADER_TIMEOUT: Duration = Duration::from_secs(30);
/// The wait after the system refused a connection (no file descriptors left).
const ACCEPT_RETRY: Duration = Duration::from_millis(100);
/// How long connections may take to finish after the stop.
const SHUTDOWN_MAX: Duration = Duration::from_secs(5);

const HOLD: Duration = Duration::from_secs(15);
const LATE_DELAY: Duration = Duration::from_secs(2);
const WITHHOLD: Duration = Duration::from_secs(10);
const WEBHOOK_RETRY_FIRST: Duration = Duration::from_millis(250);
const WEBHOOK_RETRY_LONGEST: Duration = Duration::from_secs(30);
/// About an hour at the longest wait.
const WEBHOOK_ATTEMPTS_MAX: u32 = 128;

/// How a sandbox runs. [`SandboxConfig::new`] has the defaults.
#[derive(Clone)]
pub struct SandboxConfig {
    /// Made if it isn't there; one sandbox at a time.
    pub data_dir: PathBuf,
    /// Where webhooks are sent.
    pub webhook_url: String,
    /// `whsec_` and base64 (Standard Webhooks).
    pub webhook_secret: String,
    /// How a shopper's browser reaches the sandbox, for the page of a required action; else the listener's address.
    pub public_url: Option<String>,
    /// The clock.
    pub now: fn() -> DateTime<Utc>,
    /// How long a client is left without an answer by `timeout_…`; longer than its time-out. Default 15 s.
    pub hold: Duration,
    /// When a pending outcome (`late_webhook`, `…_pending`) is decided. Default 2 s.
    pub late_delay: Duration,
    /// How long `out_of_order` keeps the webhook of an authorisation back when no capture comes. Default 10 s.
    pub withhold: Duration,
    /// How many requests with the same key `timeout_lost` swallows before one gets through; `None`, the default: all.
    pub lost_requests: Option<u32>,
    /// The wait after a webhook was first refused; it doubles up to `webhook_retry_longest`. Default 250 ms.
    pub webhook_retry_first: Duration,
    /// Default 30 s.
    pub webhook_retry_longest: Duration,
    /// After this many, a webhook is given up (an error is logged, reconciliation is left). Default 128.
    pub webhook_attempts_max: u32,
}

/// Why a sandbox does not start, or stops by itself.
#[derive(Debug, thiserror::Error)]
pub enum SandboxError {
    #[error("the webhook secret is not whsec_ and base64")]
    WebhookSecret,
    #[error("the webhook url is not an http url: {url}")]
    WebhookUrl { url: String },
    #[error("another sandbox uses {}", path.display())]
    InUse { path: PathBuf },
    #[error("line {line} of {} can't be read", path.display())]
    Corrupt { path: PathBuf, line: u64 },
    #[error("the sandbox's ledger can't be written or read")]
    Io(#[from] std::io::Error),
    #[error("the webhook client can't be built")]
    WebhookClient(#[from] reqwest::Error),
    #[error("a task of the sandbox failed")]
    Task(#[from] tokio::task::JoinError),
}

impl SandboxConfig {
    #[must_use]
    pub fn new(data_dir: PathBuf, webhook_url: String, webhook_secret: String, now: fn() -> DateTime<Utc>) -> Self {
        Self {
            data_dir,
            webhook_url,
            webhook_secret,
            public_url: None,
            now,
            hold: HOLD,
            late_delay: LATE_DELAY,
            withhold: WITHHOLD,
            lost_requests: None,
            webhook_retry_first: WEBHOOK_RETRY_FIRST,
            webhook_retry_longest: WEBHOOK_RETRY_LONGEST,
            webhook_attempts_max: WEBHOOK_ATTEMPTS_MAX,
        }
    }

    fn terms(&self, listener: &TcpListener) -> Result<ledger::Terms, SandboxError> {
        let public_url = match &self.public_url {
            Some(url) => url.trim_end_matches('/').to_owned(),
            None => format!("http://{}", listener.local_addr()?),
        };
        Ok(ledger::Terms {
            public_url,
            hold: delta(self.hold),
            late_delay: delta(self.late_delay),
            withhold: delta(self.withhold),
            lost_requests: self.lost_requests,
        })
    }
}

impl fmt::Debug for SandboxConfig {
    /// Without the secret.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SandboxConfig")
            .field("data_dir", &self.data_dir)
            .field("webhook_url", &self.webhook_url)
            .field("public_url", &self.public_url)
            .finish_non_exhaustive()
    }
}

/// Serves until `shutdown`, then finishes what was begun (at most a few seconds): each task has ended when this returns.
/// An error after the start means that the ledger could not be written; nobody was answered then.
pub async fn serve(listener: TcpListener, config: SandboxConfig, shutdown: impl Future<Output = ()>) -> Result<(), SandboxError> {
    let signer = webhooks::Signer::new(&config.webhook_secret).ok_or(SandboxError::WebhookSecret)?;
    let url = webhook_url(&config.webhook_url)?;
    let terms = config.terms(&listener)?;
    let data_dir = config.data_dir.clone();
    let open = tokio::task::spawn_blocking(move || journal::open(&data_dir, terms));
    let (journal, ledger) = open.await??;
    tracing::info!(
        address = %listener.local_addr()?,
        payments = ledger.payments.len(),
        "the sandbox payment provider is open: no real money"
    );

    let retries = outbox::Retries {
        first: delta(config.webhook_retry_first),
        longest: delta(config.webhook_retry_longest),
        attempts_max: config.webhook_attempts_max,
    };
    let stop = CancellationToken::new();
    let written = Arc::new(Notify::new());
    let (desk, clerk) = desk::Desk::new(ledger, journal, config.now, Arc::clone(&written));
    let postman = webhooks::Postman::new(desk.clone(), url, signer, retries, config.now, written)?;
    let router = api::router(api::Api { desk, hold: config.hold, stop: stop.clone() });

    let mut tasks = JoinSet::new();
    tasks.spawn(clerk.run());
    tasks.spawn(postman.run(stop.clone()));
    tasks.spawn(accept(listener, router, stop.clone()));
    let mut outcome = tokio::select! {
        () = shutdown => Ok(()),
        Some(ended) = tasks.join_next() => flatten(ended),
    };
    stop.cancel();
    while let Some(ended) = tasks.join_next().await {
        outcome = outcome.and(flatten(ended));
    }
    outcome
}

/// Owns every connection, and waits for them at the end.
async fn accept(listener: TcpListener, router: Router, stop: CancellationToken) -> Result<(), SandboxError> {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            () = stop.cancelled() => break,
            Some(_) = connections.join_next() => {}
            accepted = listener.accept(), if connections.len() < CONNECTIONS_MAX => match accepted {
                Ok((stream, _)) => {
                    connections.spawn(serve_connection(stream, router.clone(), stop.clone()));
                }
                Err(error) => {
                    tracing::warn!(%error, "the sandbox could not accept a connection");
                    tokio::time::sleep(ACCEPT_RETRY).await;
                }
            },
        }
    }
    drop(listener);
    let finish = async { while connections.join_next().await.is_some() {} };
    if tokio::time::timeout(SHUTDOWN_MAX, finish).await.is_err() {
        connections.shutdown().await;
    }
    Ok(())
}

async fn serve_connection(stream: TcpStream, router: Router, stop: CancellationToken) {
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder.http1().timer(TokioTimer::new()).header_read_timeout(HEADER_TIMEOUT);
    let service = TowerToHyperService::new(router);
    let connection = builder.serve_connection(TokioIo::new(stream), service);
    tokio::pin!(connection);
    // How a connection ends is the client's affair: it may have given up on purpose.
    tokio::select! {
        _ = connection.as_mut() => return,
        () = stop.cancelled() => connection.as_mut().graceful_shutdown(),
    }
    let _ = connection.await;
}

fn webhook_url(url: &str) -> Result<reqwest::Url, SandboxError> {
    let parsed = reqwest::Url::parse(url).ok();
    let web = parsed.filter(|parsed| matches!(parsed.scheme(), "http" | "https"));
    web.ok_or_else(|| SandboxError::WebhookUrl { url: url.to_owned() })
}

fn delta(duration: Duration) -> TimeDelta {
    // The longest possible wait is far beyond what anybody configures.
    TimeDelta::from_std(duration).unwrap_or(TimeDelta::days(1))
}

fn flatten(ended: Result<Result<(), SandboxError>, tokio::task::JoinError>) -> Result<(), SandboxError> {
    ended.unwrap_or_else(|failed| Err(failed.into()))
}

#[cfg(test)]
mod tests;
