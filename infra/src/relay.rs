//! The relay: publishes the log to JetStream, in order, once.
//!
//! Stream sequence = position. Every message expects its predecessor as the stream's last, so a duplicate, a gap or a
//! second relay is refused by the server. The relay keeps no state: it resumes at the stream's own tail, which also heals
//! a stream that lost messages or was deleted. Each page that it reads must join the last batch that it published.

use std::time::Duration;

use async_nats::jetstream::{self, message::PublishMessage, stream::Stream};
use futures::{FutureExt, StreamExt};
use sqlx::PgPool;
use tokio::sync::watch;
use tokio::time::{Instant, timeout};

use crate::cloud_event;
use crate::event_log::{self, Batch, Committed, StoredEvent};
use crate::history::{self, HistoryError, Seen};
use crate::leadership::{self, Leading};
use crate::stream::{self, BATCH_HEADER, CHAIN_HEADER, CLAIM_CHECK_HEADER, EPOCH_HEADER, METADATA_HEADER, PARTITION_HEADER, WAKE_SUBJECT};
use crate::task::CancellationToken;

/// Messages in flight before the first acknowledgement is awaited.
pub const PUBLISH_WINDOW: i64 = 500;
/// Longest wait for a wake-up before the log is looked at anyway.
pub const POLL_INTERVAL: Duration = Duration::from_millis(50);
/// Longest wait for one acknowledgement.
pub const ACK_TIMEOUT: Duration = Duration::from_secs(5);
/// How often an idle relay looks whether stream and log are still as it left them.
pub const CHECK_INTERVAL: Duration = Duration::from_secs(1);
/// Wait after a failure; doubled up to [`RETRY_MAX`].
pub const RETRY_MIN: Duration = Duration::from_millis(50);
pub const RETRY_MAX: Duration = Duration::from_secs(2);
/// Room for a message's headers and subject within the server's largest payload, in bytes.
const HEADERS_BYTES: usize = 4_096;

#[derive(Debug, thiserror::Error)]
pub enum RelayError {
    #[error("the log can't be read")]
    Log(#[from] sqlx::Error),
    #[error(transparent)]
    History(#[from] HistoryError),
    #[error("the stream refused a message or did not acknowledge it")]
    Publish(#[source] Box<dyn std::error::Error + Send + Sync>),
    #[error("an event can't be written as CloudEvent")]
    Event(#[from] serde_json::Error),
    #[error("the stream ends at {stream}, the relay left it at {left}: somebody else changed it")]
    Changed { stream: i64, left: i64 },
    #[error("the stream can't be looked at")]
    Look(#[from] jetstream::context::RequestError),
    #[error("the log does not have what was published up to {position}")]
    Lost { position: i64 },
}

/// Runs until `stop`, once this process is the active one; failures are logged once, waited out with bounded back-off, and
/// resumed from the stream's tail.
pub async fn run(pool: PgPool, client: async_nats::Client, stop: CancellationToken) {
    let (sender, mut active) = watch::channel(false);
    let leading = leadership::run(pool.clone(), Leading::Relay, sender, stop.clone());
    tokio::select! { () = leading => {}, () = publish(&pool, &client, &mut active, &stop) => {} }
}

async fn publish(pool: &PgPool, client: &async_nats::Client, active: &mut watch::Receiver<bool>, stop: &CancellationToken) {
    let mut wait = RETRY_MIN;
    let mut failing = false;
    while !stop.is_cancelled() {
        tokio::select! { () = stop.cancelled() => return, _ = active.wait_for(|active| *active) => {} }
        let ended = tokio::select! {
            () = stop.cancelled() => return,
            _ = active.wait_for(|active| !*active) => continue,
            ended = publish_from_tail(pool, client, &mut wait, &mut failing) => ended,
        };
        if let Err(error) = ended {
            if !failing {
                tracing::error!(error = &error as &dyn std::error::Error, "the relay stopped; it resumes at the stream's tail");
            }
            failing = true;
        }
        tokio::select! { () = stop.cancelled() => return, () = tokio::time::sleep(wait) => {} }
        wait = (wait * 2).min(RETRY_MAX);
    }
}

async fn publish_from_tail(pool: &PgPool, client: &async_nats::Client, wait: &mut Duration, failing: &mut bool) -> Result<(), RelayError> {
    let context = jetstream::context::ContextBuilder::new().ack_timeout(ACK_TIMEOUT).build(client.clone());
    let stream = history::reconcile(pool, &context).await?;
    let mut tail = last_sequence(stream.cached_info());
    // Kept, so that it is not asked at each use whether it still answers.
    let mut reader = pool.acquire().await?;
    let mut published = event_log::batches(&mut *reader, tail, tail).await?.pop();
    let publish_error = |e| RelayError::Publish(Box::new(e));
    let mut wake = client.subscribe(WAKE_SUBJECT).await.map_err(|e| RelayError::Publish(Box::new(e)))?;
    let payload_max = client.server_info().max_payload.saturating_sub(HEADERS_BYTES);
    tracing::info!(position = tail, "the relay publishes from the stream's tail");
    let mut checked = Instant::now();
    loop {
        // From the last event that was published on: it is still there, in the same commit.
        let read = event_log::committed(&mut *reader, tail.max(1), PUBLISH_WINDOW).await?;
        let new = if tail == 0 {
            read.as_slice()
        } else {
            let (last, new) = read.split_first().ok_or(RelayError::Lost { position: tail })?;
            if published.as_ref().is_some_and(|published| last.batch != *published) {
                return Err(RelayError::Lost { position: tail });
            }
            new
        };
        if new.is_empty() {
            wait_for_more(&mut wake).await;
            if checked.elapsed() > CHECK_INTERVAL {
                checked = Instant::now();
                check(pool, &stream, tail, published.as_ref()).await?;
            }
            continue;
        }
        let mut acknowledgements = Vec::with_capacity(new.len());
        for Committed { event, batch } in new {
            let message = message(event, batch, payload_max)?;
            acknowledgements.push(context.send_publish(subject_of(event, batch.epoch), message).await.map_err(publish_error)?);
        }
        for acknowledgement in acknowledgements {
            let stored = acknowledgement.await.map_err(publish_error)?;
            tail = i64::try_from(stored.sequence).unwrap_or(i64::MAX);
        }
        let is_full = read.len() >= usize::try_from(PUBLISH_WINDOW).unwrap_or(usize::MAX);
        published = read.into_iter().next_back().map(|committed| committed.batch);
        metrics::gauge!("daybook_relay_position").set(position_metric(tail));
        *wait = RETRY_MIN;
        if std::mem::take(failing) {
            tracing::info!(position = tail, "the relay publishes again");
        }
        if !is_full {
            wait_for_more(&mut wake).await;
        }
    }
}

/// Waits, bounded, for a commit that was not looked for yet; one look is enough for all that have come.
async fn wait_for_more(wake: &mut async_nats::Subscriber) {
    let _woken = timeout(POLL_INTERVAL, wake.next()).await;
    while wake.next().now_or_never().flatten().is_some() {}
}

/// A stream that was lost or cut off is healed at once, and not with the next event; a log that was set back is noticed.
async fn check(pool: &PgPool, stream: &Stream, tail: i64, published: Option<&Batch>) -> Result<(), RelayError> {
    let found = last_sequence(&stream.get_info().await?);
    if found < tail {
        return Err(RelayError::Changed { stream: found, left: tail });
    }
    if let Some(batch) = published {
        let seen = Seen { batch: batch.batch, chain: batch.chain.clone(), epoch: batch.epoch };
        if !history::has(pool, &seen).await? {
            return Err(RelayError::Lost { position: tail });
        }
    }
    Ok(())
}

fn last_sequence(info: &jetstream::stream::Info) -> i64 {
    i64::try_from(info.state.last_sequence).unwrap_or(i64::MAX)
}

fn subject_of(event: &StoredEvent, epoch: i32) -> String {
    stream::subject(epoch, event.partition, cloud_event::context_of(&event.aggregate_type), &event.event_type)
}

/// The event as a message; one that the server would refuse for its size goes as a claim check, so that it blocks nobody.
fn message(event: &StoredEvent, batch: &Batch, payload_max: usize) -> Result<PublishMessage, serde_json::Error> {
    let body = cloud_event::to_json(event, batch.epoch)?;
    let previous = u64::try_from(event.position - 1).unwrap_or(0);
    let message = PublishMessage::build()
        .expected_last_sequence(previous)
        .header("Nats-Msg-Id", event.event_id.to_string())
        .header(PARTITION_HEADER, event.partition.to_string())
        .header(EPOCH_HEADER, batch.epoch.to_string())
        .header(BATCH_HEADER, batch.batch.to_string())
        .header(CHAIN_HEADER, batch.chain.as_str());
    if body.len() + event.metadata.len() > payload_max {
        return Ok(message.header(CLAIM_CHECK_HEADER, event.event_id.to_string()));
    }
    Ok(message.header(METADATA_HEADER, event.metadata.as_str()).payload(body.into()))
}

#[expect(clippy::cast_precision_loss, reason = "a gauge; positions stay below 2^53")]
fn position_metric(position: i64) -> f64 {
    position as f64
}
