//! One log, one history: what the stream has seen must be what the log has.
//!
//! After a failover or a restore Postgres may lack what it had acknowledged. The stream, search indexes and clients have seen
//! it; positions that are given again would mean two things. So the log gets a new epoch before anything is appended to it,
//! the stream is begun anew where the epoch begins, and every process that finds itself in an older epoch starts over.

use std::time::Duration;

use async_nats::jetstream::{self, stream::Stream};
use sqlx::PgPool;

use crate::event_log;
use crate::stream::{self, BATCH_HEADER, CHAIN_HEADER, EPOCH_HEADER, StreamError};
use crate::task::CancellationToken;

/// How often a process looks whether its epoch is still the log's.
pub const WATCH_INTERVAL: Duration = Duration::from_millis(500);

#[derive(Debug, thiserror::Error)]
pub enum HistoryError {
    #[error("the log can't be read")]
    Log(#[from] sqlx::Error),
    #[error(transparent)]
    Stream(#[from] StreamError),
    #[error("the stream's last message can't be read")]
    LastMessage(#[from] jetstream::stream::LastRawMessageError),
    #[error("the stream can't be begun anew")]
    Delete(#[from] jetstream::context::DeleteStreamError),
}

/// A batch as somebody has seen it: its number, its link of the hash chain in hex, its epoch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seen {
    pub batch: i64,
    pub chain: String,
    pub epoch: i32,
}

/// An epoch and where it begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Opened {
    pub epoch: i32,
    pub first_position: i64,
}

/// Whether the log has a batch as it was seen.
pub async fn has(pool: &PgPool, seen: &Seen) -> Result<bool, sqlx::Error> {
    sqlx::query_scalar("SELECT EXISTS (SELECT FROM event_batch WHERE batch = $1 AND encode(chain, 'hex') = $2)")
        .bind(seen.batch)
        .bind(&seen.chain)
        .fetch_one(pool)
        .await
}

/// Opens an epoch after `seen_epoch`, unless one is open already; an alarm either way.
pub async fn open(pool: &PgPool, seen_epoch: i32, reason: &str) -> Result<Opened, sqlx::Error> {
    let (epoch, first_position): (i32, i64) =
        sqlx::query_as("SELECT o_epoch, o_first_position FROM open_epoch($1, $2)").bind(seen_epoch).bind(reason).fetch_one(pool).await?;
    metrics::counter!("daybook_history_lost_total").increment(1);
    tracing::error!(epoch, position = first_position - 1, reason, "the log has lost its newest events; a new epoch begins");
    Ok(Opened { epoch, first_position })
}

/// The stream, its last message held against the log. Where the two tell different histories, a new epoch is opened and
/// the stream begun anew.
pub async fn reconcile(pool: &PgPool, context: &jetstream::Context) -> Result<Stream, HistoryError> {
    let stream = stream::ensure(context, 1).await?;
    let last = stream.cached_info().state.last_sequence;
    let head = event_log::head(pool).await?;
    if last == 0 || stream.cached_info().state.messages == 0 {
        return Ok(stream);
    }
    let message = stream.get_raw_message(last).await?;
    let header = |name: &str| message.headers.get(name).map(|value| value.as_str().to_owned());
    let number = |name: &str| header(name).and_then(|text| text.parse::<i64>().ok());
    let seen_epoch = number(EPOCH_HEADER).and_then(|epoch| i32::try_from(epoch).ok()).unwrap_or(head.epoch);
    let joins = match (number(BATCH_HEADER), header(CHAIN_HEADER)) {
        (Some(batch), Some(chain)) => has(pool, &Seen { batch, chain, epoch: seen_epoch }).await?,
        // A message of before batches were told.
        _ => i64::try_from(last).unwrap_or(i64::MAX) <= head.position,
    };
    if joins {
        return Ok(stream);
    }
    let reason = format!("the stream has events up to {last} that the log, at {}, does not have", head.position);
    let opened = open(pool, seen_epoch, &reason).await?;
    context.delete_stream(stream::STREAM).await?;
    Ok(stream::ensure(context, u64::try_from(opened.first_position).unwrap_or(1)).await?)
}

/// Tries until log and stream are known to tell one history. `false`: stopped before.
pub async fn until_reconciled(pool: &PgPool, context: &jetstream::Context, stop: &CancellationToken) -> bool {
    loop {
        tokio::select! { () = stop.cancelled() => return false, () = tokio::time::sleep(WATCH_INTERVAL) => {} }
        let reconciled = tokio::select! { () = stop.cancelled() => return false, reconciled = reconcile(pool, context) => reconciled };
        if reconciled.is_ok() {
            return true;
        }
    }
}

/// Completes when the log is in another epoch than `epoch`: whatever is in memory may be of a lost future.
pub async fn until_changed(pool: &PgPool, epoch: i32) {
    loop {
        tokio::time::sleep(WATCH_INTERVAL).await;
        if event_log::head(pool).await.is_ok_and(|head| head.epoch != epoch) {
            return;
        }
    }
}
