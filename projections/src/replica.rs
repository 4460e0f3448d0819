//! The search index of one process, kept true to the log.
//!
//! Two followers with a tail each: [`facts`] keeps in memory what takes effect at once, which is what changes with every sale
//! (price, stock, popularity) and what a merchant says about results (rules, synonyms), and is never held up; [`documents`] puts
//! texts and commits them on a timer, so a long import can't delay the news that the last unit is sold. Relies on the log only: read models are taken as snapshots that the log is read on from. Holds no keys:
//! what is sealed stays so.

mod documents;
mod facts;
mod recent;
#[cfg(test)]
mod tests;

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use chrono::{DateTime, Utc};
use infra::event_log;
use infra::feed::Feed;
use infra::task::CancellationToken;
use sqlx::PgPool;
use tokio::sync::{Notify, watch};
use tokio::task::{JoinError, spawn_blocking};

use crate::search::{SearchAnswer, SearchError, SearchIndex, SearchRequest};
use documents::Documents;
use facts::Facts;

/// Wait after a failure.
const RETRY: Duration = Duration::from_millis(500);

#[derive(Debug, thiserror::Error)]
pub enum ReplicaError {
    #[error(transparent)]
    Search(#[from] SearchError),
    #[error("the log or a read model can't be read")]
    Database(#[from] sqlx::Error),
    #[error("work on the index ended by a panic")]
    Panic(#[from] JoinError),
}

/// The index, its two followers, and who waits for them.
pub struct SearchReplica {
    index: Arc<SearchIndex>,
    pool: PgPool,
    feed: Feed,
    /// Of the log when the process started; a new one needs a new index.
    epoch: i32,
    /// What [`Self::run`] begins with; taken by it.
    start: Mutex<Option<Start>>,
    reached: watch::Sender<Reached>,
    /// Where an index that was begun anew is the catalogue; 0 once it was. See [`Self::is_filled`].
    filled_at: AtomicI64,
    /// The furthest position that anybody waits for.
    wanted: AtomicI64,
    commit_wish: Notify,
    rebuild_wish: Notify,
}

/// The last positions whose effect queries see.
#[derive(Debug, Clone, Copy)]
struct Reached {
    facts: i64,
    documents: i64,
}

impl Reached {
    fn both(&self) -> i64 {
        self.facts.min(self.documents)
    }
}

struct Start {
    facts: Facts,
    facts_after: i64,
    documents: Documents,
    documents_after: i64,
}

impl std::fmt::Debug for SearchReplica {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "SearchReplica({:?})", self.position())
    }
}

impl SearchReplica {
    /// Opens the index of this log below `dir`, which may be deleted at any time, and loads the columns. The read models
    /// must have been migrated.
    pub async fn open(dir: &Path, pool: PgPool, feed: Feed) -> Result<Self, ReplicaError> {
        let head = event_log::head(&pool).await?;
        let dir = log_dir(dir, &pool, head.epoch).await?;
        let index = Arc::new(spawn_blocking(move || open_index(&dir, head.position)).await??);
        let start = load(&pool, &index).await?;
        let reached = Reached { facts: start.facts_after, documents: index.position().1 };
        let filled_at = if reached.documents == 0 { start.facts_after } else { 0 };
        tracing::info!(
            products = index.product_count(),
            facts_position = reached.facts,
            documents_position = reached.documents,
            "the search index is open"
        );
        Ok(Self {
            index,
            pool,
            feed,
            epoch: head.epoch,
            start: Mutex::new(Some(start)),
            reached: watch::Sender::new(reached),
            filled_at: AtomicI64::new(filled_at),
            wanted: AtomicI64::new(0),
            commit_wish: Notify::new(),
            rebuild_wish: Notify::new(),
        })
    }

    /// Follows the log until `stop`, then commits what is left. Only the first call does anything.
    pub async fn run(self: Arc<Self>, stop: CancellationToken) {
        let start = self.start.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(Start { facts, facts_after, documents, documents_after }) = start {
            tokio::join!(facts.follow(&self, facts_after, &stop), documents.follow(&self, documents_after, &stop));
        }
    }

    /// Epoch and position up to which queries see everything, in texts and in columns.
    #[must_use]
    pub fn position(&self) -> (i32, i64) {
        (self.epoch, self.reached.borrow().both())
    }

    /// Whether what queries see is the catalogue, if not its newest state: an index that was begun anew is not, until it has come to
    /// where the read models were when it was opened. A rebuild later on takes nothing out of it.
    #[must_use]
    pub fn is_filled(&self) -> bool {
        self.filled_at.load(Ordering::Acquire) == 0
    }

    /// Waits until queries see everything up to `position`, at most `wait`; makes the next commit come early.
    pub async fn wait_for(&self, position: i64, wait: Duration) -> bool {
        let mut reached = self.reached.subscribe();
        if reached.borrow().both() >= position {
            return true;
        }
        self.wanted.fetch_max(position, Ordering::Relaxed);
        self.commit_wish.notify_one();
        matches!(tokio::time::timeout(wait, reached.wait_for(|at| at.both() >= position)).await, Ok(Ok(_)))
    }

    /// Puts every text again, from the log's beginning. The columns are as fresh as the process and stay.
    pub fn rebuild(&self) {
        self.rebuild_wish.notify_one();
    }

    /// A filter on a category finds its descendants' products, too: documents name all their ancestors.
    pub async fn search(&self, request: SearchRequest) -> Result<SearchAnswer, ReplicaError> {
        let index = Arc::clone(&self.index);
        Ok(spawn_blocking(move || index.search(&request)).await??)
    }

    fn facts_reached(&self, position: i64) {
        self.reached.send_modify(|at| at.facts = at.facts.max(position));
        self.report();
    }

    fn documents_reached(&self, position: i64) {
        if let Err(error) = self.index.reached(self.epoch, position) {
            tracing::warn!(projection = "search", error = &error as &dyn std::error::Error, "the index is not shown yet");
            return;
        }
        self.reached.send_modify(|at| at.documents = at.documents.max(position));
        if position >= self.filled_at.load(Ordering::Acquire) {
            self.filled_at.store(0, Ordering::Release);
        }
        self.report();
    }

    fn report(&self) {
        metrics::gauge!("daybook_projection_position", "projection" => "search").set(position_metric(self.position().1));
    }

    /// Waits before another try; `false` when there is to be none.
    async fn may_retry(error: &ReplicaError, stop: &CancellationToken) -> bool {
        tracing::warn!(projection = "search", error = error as &dyn std::error::Error, "search is behind; trying again");
        tokio::select! { () = stop.cancelled() => false, () = tokio::time::sleep(RETRY) => true }
    }
}

/// An index belongs to one log and epoch, so its folder is named by both: a folder that is pointed at another database, or
/// kept through a failover, never mixes histories.
async fn log_dir(dir: &Path, pool: &PgPool, epoch: i32) -> Result<PathBuf, sqlx::Error> {
    let begun: DateTime<Utc> = sqlx::query_scalar("SELECT recorded_at FROM event_batch WHERE batch = 0").fetch_one(pool).await?;
    Ok(dir.join(format!("{}-{epoch}", begun.timestamp_micros())))
}

/// An index that is ahead of its log has seen what was lost since: it is made anew.
fn open_index(dir: &Path, head: i64) -> Result<SearchIndex, SearchError> {
    let index = SearchIndex::open(dir)?;
    if index.position().1.max(index.built().1) <= head {
        return Ok(index);
    }
    tracing::warn!(position = index.position().1, head, "the search index is ahead of the log and is made anew");
    drop(index);
    std::fs::remove_dir_all(dir)?;
    SearchIndex::open(dir)
}

/// Columns and category tree from one snapshot of the read models, rules and synonyms from the log, and the positions to follow
/// the log from.
async fn load(pool: &PgPool, index: &SearchIndex) -> Result<Start, sqlx::Error> {
    let mut transaction = pool.begin().await?;
    sqlx::query("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY").execute(&mut *transaction).await?;
    // Before the snapshot is taken: a rebuild empties its tables for every snapshot, older ones too.
    sqlx::query("LOCK TABLE product, category, stock IN ACCESS SHARE MODE").execute(&mut *transaction).await?;
    let at: Vec<(String, i64)> = sqlx::query_as("SELECT projection, position FROM checkpoint WHERE projection IN ('product', 'stock')")
        .fetch_all(&mut *transaction)
        .await?;
    let checkpoint = |name: &str| at.iter().find(|(known, _)| known == name).map_or(0, |(_, position)| *position);
    let mut facts = Facts::default();
    let mut documents = Documents::load(&mut transaction, index.built().1).await?;
    facts.load(&mut transaction, &mut documents, index).await?;
    transaction.commit().await?;
    Ok(Start {
        facts,
        facts_after: checkpoint("product").min(checkpoint("stock")),
        documents,
        // The category tree is as of the checkpoint, even where the index is further.
        documents_after: checkpoint("product").min(index.built().1),
    })
}

#[expect(clippy::cast_precision_loss, reason = "a gauge; positions stay below 2^53")]
fn position_metric(position: i64) -> f64 {
    position as f64
}
