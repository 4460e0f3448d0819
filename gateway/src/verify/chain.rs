//! The log against itself: positions without gaps, batches end to end, digests and chain as the append computes them
//! (`infra/migrations/0002_append.sql`).

use std::collections::VecDeque;

use chrono::{DateTime, Utc};
use infra::event_log::StoredEvent;
use infra::event_store::event_digest;
use sha2::{Digest, Sha256};
use sqlx::{FromRow, PgPool};

use super::{Check, Discrepancy, Report};

/// Batches that are read at once.
const PAGE_BATCHES_MAX: i64 = 1_000;

#[derive(Debug, Clone, FromRow)]
struct Batch {
    #[sqlx(rename = "batch")]
    number: i64,
    first_position: i64,
    last_position: i64,
    recorded_at: DateTime<Utc>,
    digest: Vec<u8>,
    chain: Vec<u8>,
    epoch: i32,
}

/// A walk along the chain, driven by the events in position order.
pub(super) struct Chain {
    /// The last batch that was checked.
    closed: Batch,
    waiting: VecDeque<Batch>,
    /// Hashes the events of the batch after `closed`.
    hash: Sha256,
    position: i64,
}

impl Chain {
    /// Stands before the first event: at the batch 0 that every log begins with.
    pub(super) async fn begin(pool: &PgPool) -> Result<Self, sqlx::Error> {
        let mut waiting = batches(pool, -1).await?;
        let genesis = waiting.pop_front().ok_or(sqlx::Error::RowNotFound)?;
        Ok(Self { closed: genesis, waiting, hash: Sha256::new(), position: 0 })
    }

    /// The next event of the log.
    pub(super) async fn take(&mut self, pool: &PgPool, event: &StoredEvent, report: &mut Report) -> Result<(), sqlx::Error> {
        if event.position != self.position + 1 {
            let detail = format!("it follows {}; what was between is missing", self.position);
            report.add([at(event.position, detail)]);
        }
        self.position = event.position;
        while self.current(pool).await?.is_some_and(|batch| batch.last_position < event.position) {
            self.close(report);
        }
        let recorded_at = match self.waiting.front() {
            Some(batch) if batch.first_position <= event.position => batch.recorded_at,
            _ => {
                report.add([at(event.position, "no batch has it")]);
                return Ok(());
            }
        };
        if event.recorded_at != recorded_at {
            report.add([at(event.position, "it was recorded at another time than its batch")]);
        }
        let stream = (event.aggregate_type.as_str(), event.aggregate_id.as_str());
        let kind = (event.event_type.as_str(), event.event_version.as_str());
        self.hash.update(event_digest(stream, event.sequence, event.event_id, kind, &event.payload, &event.metadata));
        Ok(())
    }

    /// Closes the batches up to `head`, also those without events.
    pub(super) async fn finish(&mut self, pool: &PgPool, head: i64, report: &mut Report) -> Result<(), sqlx::Error> {
        while self.current(pool).await?.is_some_and(|batch| batch.last_position <= head) {
            self.close(report);
        }
        if self.position != head {
            report.add([at(head, format!("the head says so, the last event is at {}", self.position))]);
        }
        Ok(())
    }

    async fn current(&mut self, pool: &PgPool) -> Result<Option<&Batch>, sqlx::Error> {
        if self.waiting.is_empty() {
            self.waiting = batches(pool, self.closed.number).await?;
        }
        Ok(self.waiting.front())
    }

    /// Compares the batch after `closed` with it and with the events that it has.
    fn close(&mut self, report: &mut Report) {
        let Some(batch) = self.waiting.pop_front() else {
            return;
        };
        let digest = self.hash.finalize_reset();
        report.batches += 1;
        report.add(faults(&self.closed, &batch, &digest).into_iter().map(|fault| {
            Discrepancy::new(
                Check::Log,
                format!("batch {} (positions {}–{})", batch.number, batch.first_position, batch.last_position),
                fault,
            )
        }));
        self.closed = batch;
    }
}

/// What is wrong with a batch after the one before it. The stored chain before it is believed, so that one wrong row is
/// one discrepancy and not one for each row after it.
fn faults(before: &Batch, batch: &Batch, digest: &[u8]) -> Vec<&'static str> {
    let link = Sha256::new()
        .chain_update(&before.chain)
        .chain_update(&batch.digest)
        .chain_update(batch.first_position.to_be_bytes())
        .chain_update(batch.last_position.to_be_bytes())
        .finalize();
    let holds = [
        (batch.number == before.number + 1, "a batch before it is missing"),
        (batch.first_position == before.last_position + 1, "it does not begin where the one before ends"),
        (batch.last_position >= before.last_position, "it ends before it begins"),
        (batch.recorded_at > before.recorded_at, "it was recorded before the one before"),
        (batch.epoch >= before.epoch, "its epoch is older than the one before"),
        (batch.digest == digest, "its events are not those that were appended: the digest differs"),
        (batch.chain == link.as_slice(), "the chain is broken: its hash does not follow from the one before"),
    ];
    holds.into_iter().filter(|(holds, _)| !holds).map(|(_, fault)| fault).collect()
}

fn at(position: i64, detail: impl Into<String>) -> Discrepancy {
    Discrepancy::new(Check::Log, format!("position {position}"), detail)
}

async fn batches(pool: &PgPool, after: i64) -> Result<VecDeque<Batch>, sqlx::Error> {
    let batches: Vec<Batch> = sqlx::query_as(
        "SELECT batch, first_position, last_position, recorded_at, digest, chain, epoch
         FROM event_batch WHERE batch > $1 ORDER BY batch LIMIT $2",
    )
    .bind(after)
    .bind(PAGE_BATCHES_MAX)
    .fetch_all(pool)
    .await?;
    Ok(batches.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn batch(number: i64, first_position: i64, last_position: i64) -> Batch {
        let recorded_at = DateTime::from_timestamp(number, 0).unwrap();
        Batch { number, first_position, last_position, recorded_at, digest: vec![1], chain: vec![0; 32], epoch: 1 }
    }

    fn linked(before: &Batch, mut batch: Batch) -> Batch {
        let link = [
            before.chain.clone(),
            batch.digest.clone(),
            batch.first_position.to_be_bytes().into(),
            batch.last_position.to_be_bytes().into(),
        ];
        batch.chain = Sha256::digest(link.concat()).to_vec();
        batch
    }

    #[test]
    fn a_batch_that_follows_from_the_one_before_has_no_fault() {
        let before = batch(0, 1, 0);
        let next = linked(&before, batch(1, 1, 3));
        assert!(faults(&before, &next, &[1]).is_empty());
        assert!(faults(&next, &linked(&next, batch(2, 4, 3)), &[1]).is_empty(), "a batch of refusals has no events");
    }

    #[test]
    fn a_changed_event_is_one_fault_and_a_changed_batch_breaks_the_chain() {
        let before = batch(0, 1, 0);
        let next = linked(&before, batch(1, 1, 3));
        assert_eq!(faults(&before, &next, &[2]).len(), 1);
        let changed = Batch { last_position: 2, ..next };
        assert_eq!(faults(&before, &changed, &[1]), ["the chain is broken: its hash does not follow from the one before"]);
    }
}
