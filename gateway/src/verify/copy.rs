//! The stream against the log: every message of `JetStream` is the event whose position is its sequence.

use std::time::Duration;

use async_nats::jetstream::consumer::DeliverPolicy;
use async_nats::jetstream::consumer::pull::{Ordered, OrderedConfig};
use async_nats::jetstream::{self, Message};
use futures::StreamExt;
use infra::cloud_event;
use infra::event_log::{self, Epoch, StoredEvent};
use infra::stream::{CLAIM_CHECK_HEADER, METADATA_HEADER, PARTITION_HEADER, STREAM};
use sqlx::PgPool;
use tokio::time::{Instant, sleep, timeout};

use super::{Check, Discrepancy, Report};

/// Longest wait for the relay to bring the stream to the head.
const CATCH_UP_TIMEOUT: Duration = Duration::from_secs(10);
const CATCH_UP_POLL: Duration = Duration::from_millis(100);
/// Longest wait for one answer or message of NATS.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(5);

/// A walk along the stream, driven by the events in position order.
pub(super) struct Copy {
    epochs: Vec<Epoch>,
    /// The sequences that the stream has; empty when there is nothing to compare.
    first: i64,
    last: i64,
    messages: Option<Ordered>,
    /// A message that came before the event that it is to be compared with.
    held: Option<(i64, Message)>,
}

impl Copy {
    /// Waits, within a bound, until the stream has come to `head`.
    pub(super) async fn begin(
        pool: &PgPool,
        nats: Option<&async_nats::Client>,
        head: i64,
        report: &mut Report,
    ) -> Result<Self, sqlx::Error> {
        let mut copy = Self { epochs: event_log::epochs(pool).await?, first: 1, last: 0, messages: None, held: None };
        let Some(nats) = nats else {
            report.unchecked.push("the stream: NATS does not answer".to_owned());
            return Ok(copy);
        };
        match copy.open(nats, head).await {
            Err(reason) => report.unchecked.push(format!("the stream: {reason}")),
            Ok(last) => {
                let newest = event_log::head(pool).await?.position;
                if last < head {
                    report
                        .add([beyond(last + 1, format!("the stream ends at {last}, the log at {head}, and the relay does not catch up"))]);
                }
                if last > newest {
                    report.add([beyond(newest + 1, format!("the stream goes on to {last}, the log ends at {newest}"))]);
                }
            }
        }
        Ok(copy)
    }

    /// Begins to read; answers the stream's last sequence.
    async fn open(&mut self, nats: &async_nats::Client, head: i64) -> Result<i64, String> {
        let context = jetstream::new(nats.clone());
        let mut stream = within(context.get_stream(STREAM)).await?;
        let until = Instant::now() + CATCH_UP_TIMEOUT;
        let (first, last) = loop {
            let state = &within(stream.info()).await?.state;
            let at = |sequence: u64| i64::try_from(sequence).unwrap_or(i64::MAX);
            if at(state.last_sequence) >= head || Instant::now() >= until {
                break (state.first_sequence, at(state.last_sequence));
            }
            sleep(CATCH_UP_POLL).await;
        };
        if last > 0 {
            let start_sequence = first.max(1);
            let config = OrderedConfig { deliver_policy: DeliverPolicy::ByStartSequence { start_sequence }, ..OrderedConfig::default() };
            let consumer = within(stream.create_consumer(config)).await?;
            self.messages = Some(within(consumer.messages()).await?);
            self.first = i64::try_from(start_sequence).unwrap_or(i64::MAX);
            self.last = last.min(head);
        }
        Ok(last)
    }

    /// Compares the next event of the log with its message.
    pub(super) async fn take(&mut self, event: &StoredEvent, report: &mut Report) {
        if event.position < self.first {
            return;
        }
        while self.messages.is_some() && event.position <= self.last {
            let (sequence, message) = match self.next().await {
                Ok(next) => next,
                Err(reason) => {
                    report.unchecked.push(format!("the stream from {} on: {reason}", event.position));
                    self.messages = None;
                    return;
                }
            };
            report.messages += 1;
            match sequence.cmp(&event.position) {
                std::cmp::Ordering::Less => {
                    report.add([beyond(sequence, "the log has no event there".to_owned())]);
                }
                std::cmp::Ordering::Equal => {
                    report.add(self.difference(event, &message).map(|detail| beyond(sequence, detail)));
                    return;
                }
                std::cmp::Ordering::Greater => {
                    report.messages -= 1;
                    report.add([beyond(event.position, "the stream has lost the message".to_owned())]);
                    self.held = Some((sequence, message));
                    return;
                }
            }
        }
    }

    /// Nothing is left to compare.
    pub(super) fn finish(self, report: &mut Report) {
        if let Some((sequence, _)) = self.held.filter(|(sequence, _)| *sequence <= self.last) {
            report.add([beyond(sequence, "the log has no event there".to_owned())]);
        }
    }

    async fn next(&mut self) -> Result<(i64, Message), String> {
        if let Some(held) = self.held.take() {
            return Ok(held);
        }
        let messages = self.messages.as_mut().ok_or("it is not open")?;
        let message = timeout(ANSWER_TIMEOUT, messages.next()).await.map_err(|_elapsed| "NATS does not answer".to_owned())?;
        let message = message.ok_or("its consumer ended")?.map_err(|error| error.to_string())?;
        let sequence = message.info().map_err(|error| error.to_string())?.stream_sequence;
        Ok((i64::try_from(sequence).unwrap_or(i64::MAX), message))
    }

    /// What a message says otherwise than the log.
    fn difference(&self, event: &StoredEvent, message: &Message) -> Option<String> {
        let header = |name: &str| message.headers.as_ref()?.get(name).map(|value| value.as_str().to_owned());
        if let Some(claimed) = header(CLAIM_CHECK_HEADER) {
            return (claimed != event.event_id.to_string()).then(|| format!("the message stands for the event {claimed}"));
        }
        let (Some(partition), Some(metadata)) = (header(PARTITION_HEADER).and_then(|p| p.parse().ok()), header(METADATA_HEADER)) else {
            return Some("the message lacks the headers of an event".to_owned());
        };
        let (epoch, copied) = match cloud_event::from_json(&message.payload, partition, metadata) {
            Ok(read) => read,
            Err(error) => return Some(format!("the message can't be read: {error}")),
        };
        if copied.event_id != event.event_id {
            return Some(format!("the message is the event {}, the log has {}", copied.event_id, event.event_id));
        }
        let expected = event_log::epoch_at(&self.epochs, event.position);
        if epoch != expected {
            return Some(format!("the message is of epoch {epoch}, the log of {expected}"));
        }
        (copied != *event).then(|| "the message has the event's id and other contents".to_owned())
    }
}

fn beyond(sequence: i64, detail: String) -> Discrepancy {
    Discrepancy::new(Check::Copy, format!("position {sequence}"), detail)
}

async fn within<T, E: std::fmt::Display>(answer: impl Future<Output = Result<T, E>>) -> Result<T, String> {
    let answered = timeout(ANSWER_TIMEOUT, answer).await.map_err(|_elapsed| "NATS does not answer".to_owned())?;
    answered.map_err(|error| error.to_string())
}
