//! Walks over the log: which events are wanted, how far was looked, and how an answer goes on from there.

use std::fmt::Write;
use std::time::Duration;

use axum::body::Bytes;
use axum::response::sse;
use chrono::{DateTime, TimeDelta, Utc};
use commands::answer::Position;
use futures::stream::{self, Stream, TryStreamExt};
use infra::cloud_event;
use infra::event_log::{self, Epoch, Head, PAGE_EVENTS_MAX, StoredEvent};
use infra::feed::{Feed, Tail};
use sqlx::PgPool;
use tokio::time::{Instant, timeout};

use super::{EventsQuery, resolve, time};
use crate::app::App;
use crate::http::problem::Problem;

/// Most bytes that are handed on at once: a slow caller is one that takes longer than the idle time-out for so many.
const PIECE_BYTES_MAX: usize = 64 << 10;

/// Which events are wanted.
#[derive(Debug, Clone, Default)]
pub struct Filter {
    /// Empty: all.
    contexts: Vec<String>,
    kinds: Vec<String>,
    /// An aggregate type, and one of its ids.
    stream: Option<(String, Option<String>)>,
}

impl Filter {
    #[must_use]
    pub fn new(contexts: Option<&str>, kinds: Option<&str>, stream: Option<&str>) -> Self {
        let list = |text: Option<&str>| text.map_or_else(Vec::new, |t| t.split(',').map(|part| part.trim().to_owned()).collect());
        let stream = stream.map(|text| match text.split_once('/') {
            Some((kind, id)) => (kind.to_owned(), Some(id.to_owned())),
            None => (text.to_owned(), None),
        });
        Self { contexts: list(contexts), kinds: list(kinds), stream }
    }

    #[must_use]
    pub fn wants(&self, event: &StoredEvent) -> bool {
        let context = cloud_event::context_of(&event.aggregate_type);
        (self.contexts.is_empty() || self.contexts.iter().any(|c| c == context))
            && (self.kinds.is_empty() || self.kinds.contains(&event.event_type))
            && self
                .stream
                .as_ref()
                .is_none_or(|(kind, id)| *kind == event.aggregate_type && id.as_ref().is_none_or(|id| *id == event.aggregate_id))
    }
}

/// A walk over the log; knows how far it has looked.
pub(super) struct Scan {
    pool: PgPool,
    filter: Filter,
    epochs: Vec<Epoch>,
    after: i64,
    until: i64,
    from: Option<DateTime<Utc>>,
    to: Option<DateTime<Utc>>,
    /// Events that may still be answered.
    left: u64,
    answered: u64,
}

impl Scan {
    pub(super) async fn new(app: &App, query: &EventsQuery, resume: Option<&str>, head: &Head) -> Result<Self, Problem> {
        if query.limit == Some(0) {
            return Err(Problem::new("invalid_parameter", "limit must be at least 1; leave it out for all events"));
        }
        let mut after = match (resume, &query.after) {
            (Some(token), _) => resolve(&app.pool, "Last-Event-ID", token).await?,
            (None, Some(text)) => resolve(&app.pool, "after", text).await?,
            (None, None) => 0,
        };
        let mut until = match &query.until {
            Some(text) => resolve(&app.pool, "until", text).await?,
            None => i64::MAX,
        };
        let (from, to) = (time("from", query.from.as_deref())?, time("to", query.to.as_deref())?);
        if let Some(from) = from {
            after = after.max(event_log::position_at(&app.pool, from - TimeDelta::microseconds(1)).await?);
        }
        if let Some(to) = to.filter(|to| *to <= head.recorded_at) {
            until = until.min(event_log::position_at(&app.pool, to - TimeDelta::microseconds(1)).await?);
        }
        let filter = Filter::new(query.context.as_deref(), query.kind.as_deref(), query.stream.as_deref());
        let epochs = event_log::epochs(&app.pool).await?;
        let left = query.limit.unwrap_or(u64::MAX);
        Ok(Self { pool: app.pool.clone(), filter, epochs, after, until, from, to, left, answered: 0 })
    }

    /// Up to `head` as ndjson.
    pub(super) fn lines(self, head: i64, idle_timeout: Duration) -> impl Stream<Item = Result<Bytes, CutOff>> {
        let scan = Self { until: self.until.min(head), ..self };
        let lines = Lines { scan, pending: Bytes::new(), ended: false, asked: Instant::now(), idle_timeout };
        stream::try_unfold(lines, |mut lines| async move { Ok(lines.next().await?.map(|piece| (piece, lines))) }).inspect_err(CutOff::log)
    }

    /// Up to the head and on, as server-sent events.
    pub(super) fn follow(self, feed: &Feed) -> impl Stream<Item = Result<sse::Event, CutOff>> + use<> {
        let follow = Follow { tail: feed.tail(self.after), scan: self };
        stream::try_unfold(follow, |mut follow| async move {
            let messages = follow.next().await?;
            Ok::<_, CutOff>(messages.map(|messages| (stream::iter(messages.into_iter().map(Ok)), follow)))
        })
        .try_flatten()
        .inspect_err(CutOff::log)
    }

    /// Reads one page and writes what is wanted of it; `false` when it was the last.
    async fn page(&mut self, text: &mut String) -> Result<bool, CutOff> {
        let (events, last) = if let Some((kind, Some(id))) = &self.filter.stream {
            // One stream is as long as what folds it anyway; its index beats a walk over the log.
            let mut events = event_log::stream(&self.pool, (kind, id), 0, self.until).await?;
            events.retain(|event| event.position > self.after);
            (events, true)
        } else {
            let events = event_log::page(&self.pool, self.after, self.until, PAGE_EVENTS_MAX).await?;
            let full = i64::try_from(events.len()).is_ok_and(|length| length == PAGE_EVENTS_MAX);
            (events, !full)
        };
        for event in &events {
            if let Some(json) = self.take(event)? {
                let _infallible = writeln!(text, "{json}");
            }
            if self.left == 0 {
                return Ok(false);
            }
        }
        if last {
            self.after = self.after.max(self.until);
        }
        Ok(!last)
    }

    /// Moves past an event; its JSON when it is wanted.
    fn take(&mut self, event: &StoredEvent) -> Result<Option<String>, serde_json::Error> {
        self.after = event.position;
        if self.from.is_some_and(|from| event.recorded_at < from) || !self.filter.wants(event) {
            return Ok(None);
        }
        self.left -= 1;
        self.answered += 1;
        cloud_event::to_json(event, event_log::epoch_at(&self.epochs, event.position)).map(Some)
    }

    /// The place up to which everything was looked at.
    fn token(&self) -> String {
        Position { epoch: event_log::epoch_at(&self.epochs, self.after), position: self.after }.to_string()
    }
}

/// A walk up to the head as ndjson.
struct Lines {
    scan: Scan,
    pending: Bytes,
    ended: bool,
    asked: Instant,
    idle_timeout: Duration,
}

impl Lines {
    /// The next piece. It is asked for when the caller has room for it, so one that does not read holds no connection to
    /// the database and one page at most.
    async fn next(&mut self) -> Result<Option<Bytes>, CutOff> {
        if self.asked.elapsed() > self.idle_timeout {
            return Err(CutOff::Idle);
        }
        if self.pending.is_empty() && !self.ended {
            self.pending = timeout(self.idle_timeout, self.fill()).await.map_err(|_elapsed| CutOff::Idle)??;
        }
        let piece = self.pending.split_to(self.pending.len().min(PIECE_BYTES_MAX));
        self.asked = Instant::now();
        Ok((!piece.is_empty()).then_some(piece))
    }

    async fn fill(&mut self) -> Result<Bytes, CutOff> {
        let mut text = String::new();
        while text.is_empty() && !self.ended {
            self.ended = !self.scan.page(&mut text).await?;
        }
        if self.ended {
            let (token, answered) = (self.scan.token(), self.scan.answered);
            let _infallible = writeln!(text, r#"{{"scanned_to":"{token}","events":{answered}}}"#);
        }
        Ok(Bytes::from(text))
    }
}

/// A walk that goes on at the head, as server-sent events.
struct Follow {
    tail: Tail,
    scan: Scan,
}

impl Follow {
    /// One message an event. A batch without wanted events has its id alone, so that nobody scans it again.
    async fn next(&mut self) -> Result<Option<Vec<sse::Event>>, CutOff> {
        let scan = &mut self.scan;
        if scan.left == 0 || scan.after >= scan.until {
            return Ok(None);
        }
        let mut messages = Vec::new();
        for event in self.tail.next().await?.iter() {
            if event.position > scan.until || scan.to.is_some_and(|to| event.recorded_at >= to) {
                scan.until = scan.after;
            }
            if scan.left == 0 || scan.after >= scan.until {
                break;
            }
            if let Some(json) = scan.take(event)? {
                messages.push(sse::Event::default().id(scan.token()).data(json));
            }
        }
        if messages.is_empty() {
            messages.push(sse::Event::default().id(scan.token()));
        }
        Ok(Some(messages))
    }
}

/// Why an answer was cut off after it had begun.
#[derive(Debug, thiserror::Error)]
pub(super) enum CutOff {
    #[error("the log can't be read")]
    Log(#[from] sqlx::Error),
    #[error("an event can't be written as CloudEvent")]
    Event(#[from] serde_json::Error),
    #[error("nothing moved for too long")]
    Idle,
}

impl CutOff {
    fn log(&self) {
        tracing::warn!(error = self as &dyn std::error::Error, "an answer with events was cut off");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(aggregate_type: &str, event_type: &str) -> StoredEvent {
        StoredEvent {
            position: 7,
            partition: 0,
            aggregate_type: aggregate_type.to_owned(),
            aggregate_id: "a/1".to_owned(),
            sequence: 1,
            event_id: uuid::Uuid::nil(),
            event_type: event_type.to_owned(),
            event_version: "1".to_owned(),
            payload: "{}".to_owned(),
            metadata: "{}".to_owned(),
            recorded_at: DateTime::UNIX_EPOCH,
        }
    }

    #[test]
    fn a_filter_without_parts_wants_everything() {
        assert!(Filter::default().wants(&event("order", "OrderPlaced")));
        assert!(Filter::new(Some("catalog,order"), None, None).wants(&event("product", "PriceSet")));
        assert!(!Filter::new(Some("cart"), None, None).wants(&event("product", "PriceSet")));
        assert!(!Filter::new(None, Some("OrderPlaced"), None).wants(&event("order", "OrderConfirmed")));
        assert!(Filter::new(None, None, Some("claim/a/1")).wants(&event("claim", "Claimed")));
        assert!(!Filter::new(None, None, Some("claim/b")).wants(&event("claim", "Claimed")));
    }
}
