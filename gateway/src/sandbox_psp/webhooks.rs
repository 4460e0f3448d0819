//! Sends the letters of the outbox to the shop, signed as Standard Webhooks say, until each is accepted or given up.
//!
//! A letter that was accepted is entered in the ledger after the fact: a crash in between sends it again, with the same id.
//! No order is promised.

use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use chrono::{DateTime, Utc};
use hmac::{Hmac, KeyInit, Mac};
use reqwest::{Client, Url};
use sha2::Sha256;
use tokio::sync::Notify;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::SandboxError;
use super::answer::{Event, Refusal};
use super::desk::{Desk, sleep_until};
use super::entry::Entry;
use super::ledger::Ledger;
use super::outbox::{Letter, Retries};

/// Webhooks that are being sent at the same time.
const SENDING_MAX: usize = 16;
/// How long the shop may take to accept one.
const SEND_TIMEOUT: Duration = Duration::from_secs(10);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
/// Shorter than servers keep an idle connection.
const POOL_IDLE_TIMEOUT: Duration = Duration::from_secs(5);

/// Makes the three headers. Never printed.
#[derive(Clone)]
pub(super) struct Signer {
    key: Arc<[u8]>,
}

/// What sending needs, the same for all letters.
#[derive(Clone)]
struct Sender {
    http: Client,
    url: Url,
    signer: Signer,
    now: fn() -> DateTime<Utc>,
}

pub(super) struct Postman {
    desk: Desk,
    sender: Sender,
    retries: Retries,
    written: Arc<Notify>,
}

/// Whether the shop accepted it.
struct Sent {
    letter: Letter,
    accepted: Result<(), String>,
}

impl Signer {
    /// From `whsec_` and base64.
    pub fn new(secret: &str) -> Option<Self> {
        let key = STANDARD.decode(secret.strip_prefix("whsec_")?).ok()?;
        Some(Self { key: key.into() }).filter(|signer| !signer.key.is_empty())
    }

    /// `None` can't happen: an HMAC takes a key of any length.
    fn sign(&self, id: &str, timestamp: i64, body: &[u8]) -> Option<String> {
        let mut mac = Hmac::<Sha256>::new_from_slice(&self.key).ok()?;
        mac.update(format!("{id}.{timestamp}.").as_bytes());
        mac.update(body);
        Some(format!("v1,{}", STANDARD.encode(mac.finalize().into_bytes())))
    }
}

impl Postman {
    pub fn new(
        desk: Desk,
        url: Url,
        signer: Signer,
        retries: Retries,
        now: fn() -> DateTime<Utc>,
        written: Arc<Notify>,
    ) -> Result<Self, SandboxError> {
        let http = Client::builder()
            .timeout(SEND_TIMEOUT)
            .connect_timeout(CONNECT_TIMEOUT)
            .pool_idle_timeout(POOL_IDLE_TIMEOUT)
            .redirect(reqwest::redirect::Policy::none())
            .no_proxy()
            .build()?;
        Ok(Self { desk, sender: Sender { http, url, signer, now }, retries, written })
    }

    /// Until `stop`; then what is being sent is finished (at most [`SEND_TIMEOUT`]) and entered.
    pub async fn run(self, stop: CancellationToken) -> Result<(), SandboxError> {
        let mut sending = JoinSet::new();
        let mut sent = Vec::new();
        loop {
            let Ok((letters, next_due)) = self.report(&mut sent, SENDING_MAX - sending.len()).await else {
                break;
            };
            for (letter, event) in letters {
                sending.spawn(self.sender.clone().send(letter, event));
            }
            // While nothing is free, only an end of sending can change anything.
            let next_due = if sending.len() < SENDING_MAX { next_due } else { None };
            tokio::select! {
                () = stop.cancelled() => break,
                Some(ended) = sending.join_next() => sent.push(ended?),
                () = self.written.notified() => {}
                () = sleep_until(next_due, self.sender.now) => {}
            }
            while let Some(ended) = sending.try_join_next() {
                sent.push(ended?);
            }
        }
        while let Some(ended) = sending.join_next().await {
            sent.push(ended?);
        }
        // A desk that is gone: they are sent again after the next start.
        let _ = self.report(&mut sent, 0).await;
        Ok(())
    }

    /// Enters what became of the letters sent, and takes up to `free` new ones.
    async fn report(&self, sent: &mut Vec<Sent>, free: usize) -> Result<Due, Refusal> {
        let (sent, retries) = (std::mem::take(sent), self.retries);
        let report = move |ledger: &mut Ledger, now| {
            for sent in sent {
                enter(ledger, now, sent, &retries);
            }
            take_due(ledger, now, free)
        };
        self.desk.ask(report).await
    }
}

/// Letters to be sent now, and when the next one will be.
type Due = (Vec<(Letter, Event)>, Option<DateTime<Utc>>);

fn enter(ledger: &mut Ledger, now: DateTime<Utc>, sent: Sent, retries: &Retries) {
    let Sent { letter, accepted } = sent;
    match accepted {
        Ok(()) => ledger.enter(now, Entry::WebhookDelivered(letter)),
        Err(reason) if ledger.outbox.put_back(letter, now, retries) => {
            tracing::debug!(letter.outcome, reason, "the shop did not accept a webhook");
        }
        Err(reason) => {
            tracing::error!(letter.outcome, reason, "a webhook is given up: never accepted");
            ledger.enter(now, Entry::WebhookAbandoned(letter));
        }
    }
}

fn take_due(ledger: &mut Ledger, now: DateTime<Utc>, max: usize) -> Due {
    let (letters, next_due) = ledger.outbox.take_due(now, max);
    let events = letters.into_iter().filter_map(|letter| Some((letter, ledger.event(letter)?)));
    (events.collect(), next_due)
}

impl Sender {
    async fn send(self, letter: Letter, event: Event) -> Sent {
        Sent { letter, accepted: self.try_send(&event).await }
    }

    async fn try_send(&self, event: &Event) -> Result<(), String> {
        let body = serde_json::to_vec(event).map_err(|error| error.to_string())?;
        let timestamp = (self.now)().timestamp();
        let signature = self.signer.sign(&event.id, timestamp, &body).unwrap_or_default();
        let request = self
            .http
            .post(self.url.clone())
            .header("content-type", "application/json")
            .header("webhook-id", &event.id)
            .header("webhook-timestamp", timestamp)
            .header("webhook-signature", signature)
            .body(body);
        let response = request.send().await.map_err(|error| error.to_string())?;
        if response.status().is_success() {
            return Ok(());
        }
        Err(format!("HTTP {}", response.status().as_u16()))
    }
}
