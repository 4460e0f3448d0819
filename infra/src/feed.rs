//! The log as readers follow it: every event once, in position order, for ever.
//!
//! A process has one unfiltered ordered consumer on the stream ([`run`]); each reader has a [`Tail`] with a position of its
//! own. What is not exactly the next position is read from Postgres instead: a rebuild, a reader that fell behind, a
//! stream that lost messages, NATS being down are all the same case.

use std::sync::Arc;
use std::time::Duration;

use async_nats::jetstream::{self, consumer::DeliverPolicy, consumer::pull::OrderedConfig};
use futures::StreamExt;
use sqlx::PgPool;
use tokio::sync::broadcast;
use tokio::time::timeout;

use crate::cloud_event;
use crate::event_log::{self, PAGE_EVENTS_MAX, StoredEvent};
use crate::stream::{self, CLAIM_CHECK_HEADER, METADATA_HEADER, PARTITION_HEADER};
use crate::task::CancellationToken;

/// Batches that wait for a slow reader; one that falls further behind reads Postgres.
pub const FEED_BATCHES_MAX: usize = 256;
/// Most messages handed on at once.
pub const FEED_BATCH_EVENTS_MAX: usize = 500;
/// Longest silence of the stream before a reader looks into Postgres.
pub const POLL_INTERVAL: Duration = Duration::from_millis(200);
/// Wait before the consumer is made anew after a failure.
const RETRY: Duration = Duration::from_millis(500);

type Batch = Arc<Vec<StoredEvent>>;

/// Where readers get their tails from. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Feed {
    pool: PgPool,
    sender: broadcast::Sender<Batch>,
}

impl Feed {
    #[must_use]
    pub fn new(pool: PgPool) -> Self {
        Self { pool, sender: broadcast::channel(FEED_BATCHES_MAX).0 }
    }

    /// Hears all that comes from now on, for a reader whose place is not known yet.
    #[must_use]
    pub fn listen(&self) -> Listening {
        Listening(Tail { behind: false, ..self.tail(0) })
    }

    /// A reader that has seen everything up to `position`.
    #[must_use]
    pub fn tail(&self, position: i64) -> Tail {
        Tail { pool: self.pool.clone(), receiver: self.sender.subscribe(), position, behind: true }
    }
}

/// A reader whose place is not known yet.
#[derive(Debug)]
pub struct Listening(Tail);

impl Listening {
    /// A reader that has seen everything up to `position`, which was appended since it began to listen.
    #[must_use]
    pub fn after(self, position: i64) -> Tail {
        Tail { position, ..self.0 }
    }
}

/// One reader's place in the log.
#[derive(Debug)]
pub struct Tail {
    pool: PgPool,
    receiver: broadcast::Receiver<Batch>,
    position: i64,
    behind: bool,
}

impl Tail {
    #[must_use]
    pub fn position(&self) -> i64 {
        self.position
    }

    /// Whether Postgres has more of the log than was read, as far as is known.
    #[must_use]
    pub fn is_behind(&self) -> bool {
        self.behind
    }

    /// The next events, at least one; waits for them. Dropping the future loses nothing.
    pub async fn next(&mut self) -> Result<Batch, sqlx::Error> {
        loop {
            if self.behind {
                let page = event_log::following(&self.pool, self.position, PAGE_EVENTS_MAX).await?;
                self.behind = page.len() == usize::try_from(PAGE_EVENTS_MAX).unwrap_or(usize::MAX);
                if let Some(last) = page.last() {
                    self.position = last.position;
                    return Ok(Arc::new(page));
                }
            }
            match timeout(POLL_INTERVAL, self.receiver.recv()).await {
                Ok(Ok(batch)) => {
                    if let Some(next) = self.following(batch) {
                        return Ok(next);
                    }
                }
                Ok(Err(_)) | Err(_) => self.behind = true,
            }
            if self.receiver.is_closed() {
                tokio::time::sleep(POLL_INTERVAL).await;
            }
        }
    }

    /// The part of a batch that comes right after our position; a hole before it sends us to Postgres.
    fn following(&mut self, batch: Batch) -> Option<Batch> {
        let (first, last) = (batch.first()?.position, batch.last()?.position);
        if last <= self.position {
            return None;
        }
        if first > self.position + 1 {
            self.behind = true;
            return None;
        }
        let known = batch.iter().take_while(|e| e.position <= self.position).count();
        self.position = last;
        Some(if known == 0 { batch } else { Arc::new(batch[known..].to_vec()) })
    }
}

/// Follows the stream and hands its events to the tails until `stop`.
pub async fn run(feed: Feed, client: async_nats::Client, stop: CancellationToken) {
    while !stop.is_cancelled() {
        let ended = tokio::select! {
            () = stop.cancelled() => return,
            ended = follow(&feed, &client) => ended,
        };
        if let Err(error) = ended {
            tracing::warn!(error, "the stream can't be followed; readers use Postgres until it can");
        }
        tokio::select! { () = stop.cancelled() => return, () = tokio::time::sleep(RETRY) => {} }
    }
}

async fn follow(feed: &Feed, client: &async_nats::Client) -> Result<(), String> {
    let context = jetstream::new(client.clone());
    let stream = stream::ensure(&context, 1).await.map_err(|e| e.to_string())?;
    let epoch = event_log::head(&feed.pool).await.map_err(|e| e.to_string())?.epoch;
    let config = OrderedConfig { deliver_policy: DeliverPolicy::New, ..OrderedConfig::default() };
    let consumer = stream.create_consumer(config).await.map_err(|e| e.to_string())?;
    let messages = consumer.messages().await.map_err(|e| e.to_string())?;
    let mut chunks = messages.ready_chunks(FEED_BATCH_EVENTS_MAX);
    let mut expected: Option<u64> = None;
    while let Some(chunk) = chunks.next().await {
        let mut batch = Vec::with_capacity(chunk.len());
        for message in chunk {
            let message = message.map_err(|e| e.to_string())?;
            let sequence = message.info().map_err(|e| e.to_string())?.stream_sequence;
            if expected.is_some_and(|e| e != sequence) {
                hand_on(feed, &mut batch);
                return Err(format!("sequence {sequence} came instead of {}", expected.unwrap_or(0)));
            }
            expected = Some(sequence + 1);
            if message.headers.as_ref().is_some_and(|headers| headers.get(CLAIM_CHECK_HEADER).is_some()) {
                // Readers find the hole and fill it from Postgres.
                hand_on(feed, &mut batch);
                continue;
            }
            let (message_epoch, event) = read(&message).map_err(|e| e.to_string())?;
            if message_epoch != epoch {
                return Err(format!("a message of epoch {message_epoch} came in epoch {epoch}"));
            }
            batch.push(event);
        }
        hand_on(feed, &mut batch);
    }
    Err("the consumer ended".to_owned())
}

fn hand_on(feed: &Feed, batch: &mut Vec<StoredEvent>) {
    if !batch.is_empty() {
        // No reader is no error: the next one starts from Postgres.
        let _readers = feed.sender.send(Arc::new(std::mem::take(batch)));
    }
}

fn read(message: &jetstream::Message) -> Result<(i32, StoredEvent), cloud_event::ReadError> {
    let header = |name: &str| message.headers.as_ref().and_then(|h| h.get(name)).map(|v| v.as_str().to_owned());
    let partition = header(PARTITION_HEADER).and_then(|p| p.parse().ok()).unwrap_or(0);
    cloud_event::from_json(&message.payload, partition, header(METADATA_HEADER).unwrap_or_else(|| "{}".to_owned()))
}
