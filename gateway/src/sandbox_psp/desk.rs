//! The one task that uses the ledger. Requests wait in a bounded queue, are decided one after the other in memory and land
//! together with one fsync; only then is anybody answered, the one who only asked too. So no answer tells of what a crash
//! could undo, and a request whose client goes away is still carried out whole or not at all.

use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};
use tokio::sync::{Notify, mpsc, oneshot};

use super::SandboxError;
use super::answer::Refusal;
use super::journal::Journal;
use super::ledger::Ledger;

/// Requests that wait for the ledger; further ones wait in their connection.
const JOBS_MAX: usize = 1_024;
/// Requests that share one fsync.
const JOBS_PER_WRITE_MAX: usize = 256;
/// Pending operations that come to their end in one write.
const SETTLEMENTS_PER_WRITE_MAX: usize = 256;
/// The longest sleep: a clock that was set is noticed after this.
const SLEEP_MAX: Duration = Duration::from_mins(1);

/// Decides, and returns how to answer once the decision is on the disk.
type Job = Box<dyn FnOnce(&mut Ledger, DateTime<Utc>) -> Answer + Send>;
type Answer = Box<dyn FnOnce() + Send>;

/// How the other tasks reach the ledger.
#[derive(Clone)]
pub(super) struct Desk {
    jobs: mpsc::Sender<Job>,
}

/// The task's side of the [`Desk`]; ends when the last desk is gone.
pub(super) struct Clerk {
    pub ledger: Ledger,
    pub journal: Journal,
    pub now: fn() -> DateTime<Utc>,
    /// Told after each write: there may be something to announce.
    pub written: Arc<Notify>,
    jobs: mpsc::Receiver<Job>,
}

impl Desk {
    pub fn new(ledger: Ledger, journal: Journal, now: fn() -> DateTime<Utc>, written: Arc<Notify>) -> (Self, Clerk) {
        let (sender, jobs) = mpsc::channel(JOBS_MAX);
        (Self { jobs: sender }, Clerk { ledger, journal, now, written, jobs })
    }

    /// Runs `decide` on the ledger and returns what it returned once it is on the disk.
    pub async fn ask<R: Send + 'static>(
        &self,
        decide: impl FnOnce(&mut Ledger, DateTime<Utc>) -> R + Send + 'static,
    ) -> Result<R, Refusal> {
        let (sender, answer) = oneshot::channel();
        let job: Job = Box::new(move |ledger, now| {
            let decided = decide(ledger, now);
            Box::new(move || {
                // Nobody may be waiting any more: the client has given up.
                let _ = sender.send(decided);
            })
        });
        self.jobs.send(job).await.map_err(|_| Refusal::Stopping)?;
        answer.await.map_err(|_| Refusal::Stopping)
    }
}

impl Clerk {
    /// After an error the memory is ahead of the file, and the task ends without answering: only a new start is right.
    pub async fn run(mut self) -> Result<(), SandboxError> {
        let mut jobs = Vec::with_capacity(JOBS_PER_WRITE_MAX);
        loop {
            let due = self.ledger.next_settlement().map(|(due, _)| due);
            tokio::select! {
                received = self.jobs.recv_many(&mut jobs, JOBS_PER_WRITE_MAX) => if received == 0 {
                    return Ok(());
                },
                () = sleep_until(due, self.now) => {}
            }
            let mut records = Vec::new();
            let now = (self.now)();
            for _ in 0..SETTLEMENTS_PER_WRITE_MAX {
                if !self.ledger.settle_next(now) {
                    break;
                }
                records.extend(self.ledger.take_record(now));
            }
            let mut answers = Vec::with_capacity(jobs.len());
            for job in jobs.drain(..) {
                answers.push(job(&mut self.ledger, now));
                records.extend(self.ledger.take_record(now));
            }
            if !records.is_empty() {
                let mut journal = self.journal;
                let write = move || journal.append(&records).map(|()| journal);
                self.journal = tokio::task::spawn_blocking(write).await??;
                self.written.notify_one();
            }
            for answer in answers {
                answer();
            }
        }
    }
}

/// Sleeps until `due` by the given clock, at most [`SLEEP_MAX`]; for ever without one.
pub(super) async fn sleep_until(due: Option<DateTime<Utc>>, now: fn() -> DateTime<Utc>) {
    match due {
        Some(due) => {
            // A time that is past is no duration: zero.
            let wait = (due - now()).to_std().unwrap_or_default();
            tokio::time::sleep(wait.min(SLEEP_MAX)).await;
        }
        None => std::future::pending().await,
    }
}
