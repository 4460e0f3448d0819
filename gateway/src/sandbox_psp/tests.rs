//! The sandbox as the shop sees it: over HTTP through the seam of `commands`, with a shop that takes its webhooks.

mod behaviours;
mod books;
mod crashes;
mod rules;

use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::routing::post;
use chrono::{DateTime, TimeDelta, Utc};
use commands::provider::{
    AuthorizeRequest, CaptureRequest, PaymentProvider, ProviderAnswer, ProviderError, RefundRequest, VoidRequest, WEBHOOK_TOLERANCE,
    WebhookEvent, WebhookHeaders, verify_webhook,
};
use serde_json::Value;
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::{SandboxConfig, SandboxError, serve};

const SECRET: &str = "whsec_plJ3nmyCDGBKInavdOK15jsl";
/// The client of the tests is more patient than this, so that a slow machine changes nothing: it sees the 504.
const HOLD: Duration = Duration::from_millis(100);
const LATE_DELAY: Duration = Duration::from_millis(100);
/// The longest that a test waits for something that must come.
const PATIENCE: Duration = Duration::from_secs(20);
const WEBHOOKS_MAX: usize = 10_000;

/// A clock that begins with the test run.
fn now() -> DateTime<Utc> {
    static START: OnceLock<tokio::time::Instant> = OnceLock::new();
    let elapsed = START.get_or_init(tokio::time::Instant::now).elapsed();
    DateTime::from_timestamp(1_767_225_600, 0).unwrap() + TimeDelta::from_std(elapsed).unwrap()
}

/// A directory that goes with the test.
struct DataDir(PathBuf);

impl DataDir {
    fn new() -> Self {
        Self(std::env::temp_dir().join(format!("sandbox-psp-{}", Uuid::new_v4())))
    }
}

impl Drop for DataDir {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// Takes webhooks, checks them as the shop does, and refuses as many as it is told to.
struct Shop {
    url: String,
    webhooks: mpsc::Receiver<WebhookEvent>,
    refuse: Arc<AtomicU32>,
    _server: JoinSet<()>,
}

impl Shop {
    async fn start() -> Self {
        let (sender, webhooks) = mpsc::channel(WEBHOOKS_MAX);
        let refuse = Arc::new(AtomicU32::new(0));
        let state = (sender, Arc::clone(&refuse));
        let router = axum::Router::new().route("/hook", post(take_webhook)).with_state(state);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/hook", listener.local_addr().unwrap());
        let mut server = JoinSet::new();
        server.spawn(async move { axum::serve(listener, router).await.unwrap() });
        Self { url, webhooks, refuse, _server: server }
    }

    async fn webhook(&mut self) -> WebhookEvent {
        tokio::time::timeout(PATIENCE, self.webhooks.recv()).await.unwrap().unwrap()
    }

    async fn webhook_types(&mut self, count: usize) -> Vec<String> {
        let mut types = Vec::new();
        for _ in 0..count {
            types.push(self.webhook().await.event_type);
        }
        types
    }
}

async fn take_webhook(
    State((sender, refuse)): State<(mpsc::Sender<WebhookEvent>, Arc<AtomicU32>)>,
    headers: HeaderMap,
    body: Bytes,
) -> StatusCode {
    let header = |name: &str| headers[name].to_str().unwrap();
    let headers =
        WebhookHeaders { id: header("webhook-id"), timestamp: header("webhook-timestamp"), signature: header("webhook-signature") };
    let event = verify_webhook(SECRET, &headers, &body, now(), WEBHOOK_TOLERANCE).unwrap();
    let less = |left: u32| left.checked_sub(1);
    if refuse.fetch_update(Ordering::SeqCst, Ordering::SeqCst, less).is_ok() {
        return StatusCode::SERVICE_UNAVAILABLE;
    }
    sender.try_send(event).unwrap();
    StatusCode::NO_CONTENT
}

/// A running sandbox, and the shop's client of it.
struct Sandbox {
    url: String,
    provider: PaymentProvider,
    stop: CancellationToken,
    server: JoinSet<Result<(), SandboxError>>,
}

impl Sandbox {
    async fn start(data_dir: &DataDir, shop: &Shop) -> Self {
        Self::start_with(config(data_dir, shop)).await
    }

    async fn start_with(config: SandboxConfig) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let stop = CancellationToken::new();
        let mut server = JoinSet::new();
        server.spawn(serve(listener, config, stop.clone().cancelled_owned()));
        let provider = PaymentProvider::new(&url, PATIENCE).unwrap();
        Self { url, provider, stop, server }
    }

    /// Waits until everything has ended, as `serve` promises.
    async fn stop(mut self) {
        self.stop.cancel();
        self.server.join_next().await.unwrap().unwrap().unwrap();
    }

    async fn authorize(&self, token: &str) -> Result<ProviderAnswer, ProviderError> {
        self.provider.authorize(&request(token)).await
    }

    async fn get(&self, path: &str) -> Value {
        let response = reqwest::get(format!("{}{path}", self.url)).await.unwrap();
        response.json().await.unwrap()
    }

    /// Status and body of a request that the seam would never send.
    async fn post(&self, path: &str, key: Option<&str>, body: &Value) -> (u16, Value) {
        let mut request = reqwest::Client::new().post(format!("{}{path}", self.url)).json(body);
        if let Some(key) = key {
            request = request.header("idempotency-key", key);
        }
        let response = request.send().await.unwrap();
        (response.status().as_u16(), response.json().await.unwrap())
    }
}

fn config(data_dir: &DataDir, shop: &Shop) -> SandboxConfig {
    SandboxConfig {
        hold: HOLD,
        late_delay: LATE_DELAY,
        withhold: PATIENCE * 2,
        webhook_retry_first: Duration::from_millis(10),
        webhook_retry_longest: Duration::from_millis(40),
        ..SandboxConfig::new(data_dir.0.clone(), shop.url.clone(), SECRET.to_owned(), now)
    }
}

fn request(token: &str) -> AuthorizeRequest {
    AuthorizeRequest {
        payment_id: Uuid::new_v4(),
        idempotency_key: Uuid::new_v4().to_string(),
        token: token.to_owned(),
        amount: 1000,
        currency: "EUR".to_owned(),
        capture: false,
        return_url: None,
    }
}

fn capture(provider_ref: &str, amount: i64, is_final: bool) -> CaptureRequest {
    let idempotency_key = Uuid::new_v4().to_string();
    CaptureRequest { provider_ref: provider_ref.to_owned(), idempotency_key, amount, is_final }
}

fn void(provider_ref: &str) -> VoidRequest {
    let idempotency_key = Uuid::new_v4().to_string();
    VoidRequest { provider_ref: provider_ref.to_owned(), idempotency_key }
}

fn refund(provider_ref: &str, amount: i64) -> RefundRequest {
    let idempotency_key = Uuid::new_v4().to_string();
    let refund_id = Uuid::new_v4();
    RefundRequest { provider_ref: provider_ref.to_owned(), idempotency_key, amount, refund_id }
}

fn is_unknown(outcome: &Result<ProviderAnswer, ProviderError>) -> bool {
    matches!(outcome, Err(ProviderError::Unknown { .. }))
}

fn rejected(outcome: Result<ProviderAnswer, ProviderError>) -> String {
    match outcome {
        Err(ProviderError::Rejected { code }) => code,
        other => panic!("not rejected: {other:?}"),
    }
}
