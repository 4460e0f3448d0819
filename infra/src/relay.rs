//! The relay: publishes the log to JetStream, in order, once.
//!
//! Stream sequence = position. Every message expects its predecessor as the stream's last, so a duplicate, a gap or a
//! second relay is refused by the server. The relay keeps no state: it resumes at the stream's own tail, which also heals
//! a stream that lost messages or was deleted.

use std::time::Duration;

use async_nats::jetstream::{self, message::PublishMessage};
use futures::StreamExt;
use sqlx::PgPool;
use tokio::time::{Instant, timeout};

use crate::cloud_event;
use crate::event_log::{self, StoredEvent};
use crate::stream::{self, METADATA_HEADER, PARTITION_HEADER, WAKE_SUBJECT};
use crate::task::CancellationToken;

/// Messages in flight before the first acknowledgement is awaited.
pub const PUBLISH_WINDOW: i64 = 500;
/// Longest wait for a wake-up before the log is looked at anyway.
pub const POLL_INTERVAL: Duration = Duration::from_millis(50);
/// Longest wait for one acknowledgement.
pub const ACK_TIMEOUT: Duration = Duration::from_secs(5);
/// How often an idle relay looks whether the stream still ends where it left it.
pub const CHECK_INTERVAL: Duration = Duration::from_secs(1);
/// Wait after a failure; doubled up to [`RETRY_MAX`].
pub const RETRY_MIN: Duration = Duration::from_millis(50);
pub const RETRY_MAX: Duration = Duration::from_secs(2);

#[derive(Debug, thiserror::Error)]
pub enum RelayError {
    #[error("the log can't be read")]
    Log(#[from] sqlx::Error),
    #[error(transparent)]
    Stream(#[from] stream::StreamError),
    #[error("the stream refused a message or did not acknowledge it")]
    Publish(#[source] Box<dyn std::error::Error + Send + Sync>),
    #[error("an event can't be written as CloudEvent")]
    Event(#[from] serde_json::Error),
    #[error("the stream ends at {stream}, the relay left it at {left}: somebody else changed it")]
    Changed { stream: i64, left: i64 },
    #[error("the stream can't be looked at")]
    Look(#[from] jetstream::context::RequestError),
    #[error("the stream is at {stream}, ahead of the log at {log}: the log was restored from an older state")]
    StreamAhead { stream: i64, log: i64 },
}

/// Runs until `stop`; failures are logged once, waited out with bounded back-off, and resumed from the stream's tail.
pub async fn run(pool: PgPool, client: async_nats::Client, stop: CancellationToken) {
    let mut wait = RETRY_MIN;
    let mut failing = false;
    while !stop.is_cancelled() {
        let ended = tokio::select! {
            () = stop.cancelled() => return,
            ended = publish_from_tail(&pool, &client, &mut wait, &mut failing) => ended,
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
    let stream = stream::ensure(&context).await?;
    let mut tail = last_sequence(stream.cached_info());
    let head = event_log::head(pool).await?;
    if tail > head.position {
        return Err(RelayError::StreamAhead { stream: tail, log: head.position });
    }
    let epochs = event_log::epochs(pool).await?;
    let publish_error = |e| RelayError::Publish(Box::new(e));
    let mut wake = client.subscribe(WAKE_SUBJECT).await.map_err(|e| RelayError::Publish(Box::new(e)))?;
    tracing::info!(position = tail, "the relay publishes from the stream's tail");
    let mut checked = Instant::now();
    loop {
        let events = event_log::following(pool, tail, PUBLISH_WINDOW).await?;
        if events.is_empty() {
            let _woken = timeout(POLL_INTERVAL, wake.next()).await;
            if checked.elapsed() > CHECK_INTERVAL {
                checked = Instant::now();
                // A stream that was lost or cut off is healed at once, and not with the next event.
                let found = last_sequence(&stream.get_info().await?);
                if found < tail {
                    return Err(RelayError::Changed { stream: found, left: tail });
                }
            }
            continue;
        }
        let mut acknowledgements = Vec::with_capacity(events.len());
        for event in &events {
            let epoch = event_log::epoch_at(&epochs, event.position);
            acknowledgements.push(context.send_publish(subject_of(event, epoch), message(event, epoch)?).await.map_err(publish_error)?);
        }
        for acknowledgement in acknowledgements {
            let stored = acknowledgement.await.map_err(publish_error)?;
            tail = i64::try_from(stored.sequence).unwrap_or(i64::MAX);
        }
        metrics::gauge!("daybook_relay_position").set(position_metric(tail));
        *wait = RETRY_MIN;
        if std::mem::take(failing) {
            tracing::info!(position = tail, "the relay publishes again");
        }
    }
}

fn last_sequence(info: &jetstream::stream::Info) -> i64 {
    i64::try_from(info.state.last_sequence).unwrap_or(i64::MAX)
}

fn subject_of(event: &StoredEvent, epoch: i32) -> String {
    stream::subject(epoch, event.partition, cloud_event::context_of(&event.aggregate_type), &event.event_type)
}

fn message(event: &StoredEvent, epoch: i32) -> Result<PublishMessage, serde_json::Error> {
    let body = cloud_event::to_json(event, epoch)?;
    let previous = u64::try_from(event.position - 1).unwrap_or(0);
    Ok(PublishMessage::build()
        .payload(body.into())
        .expected_last_sequence(previous)
        .header("Nats-Msg-Id", event.event_id.to_string())
        .header(PARTITION_HEADER, event.partition.to_string())
        .header(METADATA_HEADER, event.metadata.as_str()))
}

#[expect(clippy::cast_precision_loss, reason = "a gauge; positions stay below 2^53")]
fn position_metric(position: i64) -> f64 {
    position as f64
}
