//! What changes slowly: follows products and categories, puts their texts, commits on a timer.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use chrono::{DateTime, Utc};
use cqrs_es::Aggregate;
use domain::catalog::{Category, CategoryEvent, CategoryFacts, Product, ProductOption, Text};
use domain::id::CategoryId;
use infra::event_log::StoredEvent;
use infra::task::CancellationToken;
use sqlx::{PgConnection, PgPool};
use tokio::task::spawn_blocking;
use tokio::time::{Instant, sleep_until};
use uuid::Uuid;

use super::recent::{Recent, decoded};
use super::{ReplicaError, SearchReplica};
use crate::product::{attribute_text, is_published, live_facts, plain_text};
use crate::search::{ProductDocument, SearchError, SearchIndex};

/// Longest that a text waits to be seen.
const COMMIT_INTERVAL: Duration = Duration::from_millis(200);
/// As long as the log has whole pages that were not read: nobody sees the newest text anyway, and each commit is a segment that
/// has to be merged with others.
const BEHIND_COMMIT_INTERVAL: Duration = Duration::from_secs(2);
/// Shortest time between two commits when somebody waits.
const AWAITED_COMMIT_INTERVAL: Duration = Duration::from_millis(20);
/// Documents after which a commit comes at once.
const COMMIT_DOCUMENTS_MAX: usize = 5_000;
/// Events without a text after which a commit moves the position, so that a restart reads few again.
const COMMIT_EVENTS_MAX: i64 = 50_000;
/// So many events behind, and twice as many as there are products, texts are taken from the read model, which has each product
/// once.
const SNAPSHOT_EVENTS_MIN: i64 = 100;
/// Products that are then read at once.
const SNAPSHOT_PAGE_PRODUCTS: i64 = 5_000;
/// Products that are read at once when their category has changed.
const CATEGORY_PAGE_PRODUCTS: usize = 500;
/// Categories from a leaf to its root; a longer way is a circle.
const CATEGORY_DEPTH_MAX: usize = 32;
/// The language whose names become facets where an option has several.
const FACET_LANGUAGE: &str = "en";

/// What documents are made from.
pub(super) struct Documents {
    categories: HashMap<CategoryId, CategoryFacts>,
    /// Of every product that is in some.
    categories_of: HashMap<Uuid, Vec<CategoryId>>,
    /// Events up to here are in the index already; they only tell of categories.
    indexed: i64,
    recent: Recent<Product>,
}

enum Change {
    Put(Box<ProductDocument>),
    Remove(Uuid),
}

/// What was put since the last commit.
struct Uncommitted {
    documents: usize,
    since: Instant,
    committed_at: Instant,
    committed_position: i64,
}

impl Documents {
    /// The tree of categories as the read model has it.
    pub(super) async fn load(connection: &mut PgConnection, indexed: i64) -> Result<Self, sqlx::Error> {
        let states: Vec<String> = sqlx::query_scalar("SELECT state::text FROM category").fetch_all(connection).await?;
        let mut categories = HashMap::new();
        for state in states {
            let state: Category = serde_json::from_str(&state).map_err(|error| sqlx::Error::Decode(Box::new(error)))?;
            categories.extend(live_facts(state).map(|facts| (facts.category_id, facts)));
        }
        Ok(Self { categories, categories_of: HashMap::new(), indexed, recent: Recent::of("product") })
    }

    /// Remembers which categories a product is in.
    pub(super) fn note_categories(&mut self, product: &Product) {
        let product_id = product.product_id.uuid();
        if product.category_ids.is_empty() {
            self.categories_of.remove(&product_id);
        } else {
            self.categories_of.insert(product_id, product.category_ids.clone());
        }
    }

    /// Follows the log until `stop`; commits what was put.
    pub(super) async fn follow(mut self, replica: &SearchReplica, mut after: i64, stop: &CancellationToken) {
        let after = loop {
            match self.take_read_model(replica, stop).await {
                Ok(taken) => break taken.unwrap_or(after),
                // It knows a part of the products now: should the read model not be believed any more, the log says all.
                Err(error) if SearchReplica::may_retry(&error, stop).await => {
                    self.begin_anew(replica);
                    after = 0;
                }
                Err(_) => return,
            }
        };
        let mut tail = replica.feed.tail(after);
        let now = Instant::now();
        let mut uncommitted = Uncommitted { documents: 0, since: now, committed_at: now, committed_position: self.indexed };
        loop {
            let at = tail.position();
            let due = uncommitted.due(at, replica.wanted.load(Ordering::Relaxed), tail.is_behind());
            let done = tokio::select! {
                biased;
                () = stop.cancelled() => break,
                () = sleep_until(due.unwrap_or_else(Instant::now)), if due.is_some() => {
                    uncommitted.commit(replica, at).await
                }
                () = replica.commit_wish.notified(), if uncommitted.documents > 0 => continue,
                () = replica.rebuild_wish.notified() => {
                    tail = replica.feed.tail(0);
                    self.begin_anew(replica);
                    uncommitted.committed_position = 0;
                    continue;
                }
                batch = tail.next() => match batch {
                    Ok(batch) => self.apply(replica, &batch, &mut uncommitted).await,
                    Err(error) => Err(error.into()),
                },
            };
            match done {
                Ok(()) if uncommitted.documents == 0 => replica.documents_reached(tail.position()),
                Ok(()) => {}
                Err(error) => {
                    if !SearchReplica::may_retry(&error, stop).await {
                        break;
                    }
                    tail = replica.feed.tail(at);
                }
            }
        }
        if uncommitted.documents > 0
            && let Err(error) = uncommitted.commit(replica, tail.position()).await
        {
            tracing::warn!(
                projection = "search",
                error = &error as &dyn std::error::Error,
                "the last texts are put again at the next start"
            );
        }
    }

    /// Puts all texts from the read model and answers the position they are as of at least: the log goes on from there, and what a
    /// row knew already is put again. `None` where the log is not far ahead, or the read model does not say all that the log
    /// says.
    pub(super) async fn take_read_model(&mut self, replica: &SearchReplica, stop: &CancellationToken) -> Result<Option<i64>, ReplicaError> {
        let pool = &replica.pool;
        let before = Standing::of(pool).await?;
        let events = before.position - self.indexed;
        if !before.is_whole || events < SNAPSHOT_EVENTS_MIN.max(2 * before.products) {
            return Ok(None);
        }
        // What is indexed counts from before until all of it is there.
        *self = Self::load(&mut *pool.acquire().await?, self.indexed).await?;
        let (began, mut products, mut last) = (Instant::now(), 0, String::new());
        loop {
            let rows: Vec<(String, DateTime<Utc>, String)> =
                sqlx::query_as("SELECT id, created_at, state::text FROM product WHERE id > $1 ORDER BY id LIMIT $2")
                    .bind(&last)
                    .bind(SNAPSHOT_PAGE_PRODUCTS)
                    .fetch_all(pool)
                    .await?;
            let Some((id, ..)) = rows.last() else { break };
            last.clone_from(id);
            products += rows.len();
            let mut changes = Vec::with_capacity(rows.len());
            for (_, created_at, state) in rows {
                let product: Product = serde_json::from_str(&state).map_err(|error| sqlx::Error::Decode(Box::new(error)))?;
                self.note_categories(&product);
                changes.push(self.change(&product, created_at));
            }
            let index = Arc::clone(&replica.index);
            spawn_blocking(move || put(&index, &changes)).await??;
            if stop.is_cancelled() {
                return Ok(Some(before.position));
            }
        }
        if Standing::of(pool).await?.revision != before.revision {
            tracing::info!(projection = "search", "the read model was made anew meanwhile; texts are read from the log");
            self.begin_anew(replica);
            return Ok(Some(0));
        }
        let (index, epoch) = (Arc::clone(&replica.index), replica.epoch);
        spawn_blocking(move || index.commit(epoch, before.position)).await??;
        replica.documents_reached(before.position);
        self.indexed = before.position;
        let seconds = began.elapsed().as_secs_f64();
        tracing::info!(projection = "search", position = before.position, products, seconds, "texts were taken from the read model");
        Ok(Some(before.position))
    }

    /// Every text is put again; what is there stays to be found meanwhile.
    pub(super) fn begin_anew(&mut self, replica: &SearchReplica) {
        self.indexed = 0;
        self.recent = Recent::of("product");
        replica.reached.send_modify(|at| at.documents = 0);
    }

    async fn apply(&mut self, replica: &SearchReplica, batch: &[StoredEvent], uncommitted: &mut Uncommitted) -> Result<(), ReplicaError> {
        let changes = self.changes(&replica.pool, batch).await?;
        if changes.is_empty() {
            return Ok(());
        }
        uncommitted.count(changes.len());
        let index = Arc::clone(&replica.index);
        spawn_blocking(move || put(&index, &changes)).await??;
        Ok(())
    }

    async fn changes(&mut self, pool: &PgPool, batch: &[StoredEvent]) -> Result<Vec<Change>, sqlx::Error> {
        let Some(last) = batch.last() else {
            return Ok(Vec::new());
        };
        let moved = self.apply_categories(batch);
        let texts = batch.iter().filter(|event| event.aggregate_type == Product::TYPE && changes_text(&event.event_type));
        // By product, whether the index has yet to see it.
        let mut touched: HashMap<&str, bool> = HashMap::new();
        for event in texts {
            *touched.entry(&event.aggregate_id).or_default() |= event.position > self.indexed;
        }
        let mut changes = Vec::with_capacity(touched.len());
        let of_touched = batch.iter().filter(|event| touched.contains_key(event.aggregate_id.as_str()));
        for id in self.recent.follow(pool, of_touched).await? {
            let Some(held) = self.recent.get(id).cloned() else {
                continue;
            };
            self.note_categories(&held.state);
            if touched.get(id).is_some_and(|is_fresh| *is_fresh) {
                changes.push(self.change(&held.state, held.created_at));
            }
        }
        let below: Vec<String> = self.products_below(&moved).iter().map(ToString::to_string).collect();
        for page in below.chunks(CATEGORY_PAGE_PRODUCTS) {
            let page: Vec<&str> = page.iter().map(String::as_str).collect();
            self.recent.bring_up(pool, &page, last.position).await?;
            let held = page.iter().filter_map(|id| self.recent.get(id));
            changes.extend(held.map(|held| self.change(&held.state, held.created_at)));
        }
        Ok(changes)
    }

    /// Brings the tree up to a batch, and answers which categories have changed in a way that the index has yet to see.
    fn apply_categories(&mut self, batch: &[StoredEvent]) -> BTreeSet<CategoryId> {
        let mut changed = BTreeSet::new();
        for event in batch.iter().filter(|event| event.aggregate_type == Category::TYPE) {
            let category_id = match decoded::<Category>(event) {
                Ok(CategoryEvent::CategoryArchived(facts)) => {
                    self.categories.remove(&facts.category_id);
                    facts.category_id
                }
                Ok(CategoryEvent::CategoryCreated(facts) | CategoryEvent::CategoryChanged(facts) | CategoryEvent::CategoryMoved(facts)) => {
                    let category_id = facts.category_id;
                    self.categories.insert(category_id, facts);
                    category_id
                }
                Err(reason) => {
                    let position = event.position;
                    tracing::error!(projection = "search", position, reason, "a category's event can't be applied and is left out");
                    continue;
                }
            };
            if event.position > self.indexed {
                changed.insert(category_id);
            }
        }
        changed
    }

    /// The products in any of these categories or their descendants.
    fn products_below(&self, categories: &BTreeSet<CategoryId>) -> Vec<Uuid> {
        if categories.is_empty() {
            return Vec::new();
        }
        let is_below = |id: &CategoryId| categories.contains(id) || self.way_up(*id).any(|c| categories.contains(&c.category_id));
        let products = self.categories_of.iter().filter(|(_, of_product)| of_product.iter().any(is_below));
        products.map(|(product_id, _)| *product_id).collect()
    }

    /// A category and its ancestors, as far as they are there.
    fn way_up(&self, from: CategoryId) -> impl Iterator<Item = &CategoryFacts> {
        let first = self.categories.get(&from);
        std::iter::successors(first, |facts| self.categories.get(&facts.parent_id?)).take(CATEGORY_DEPTH_MAX)
    }

    fn change(&self, product: &Product, created_at: DateTime<Utc>) -> Change {
        if !is_published(product) {
            return Change::Remove(product.product_id.uuid());
        }
        let categories = product.category_ids.iter().flat_map(|id| self.way_up(*id));
        let variants = || product.variants.iter();
        let mut attributes: Vec<(String, String)> = product
            .attributes
            .iter()
            .chain(variants().flat_map(|variant| &variant.attributes))
            .map(|attribute| (attribute.key.clone(), attribute_text(attribute)))
            .collect();
        attributes.extend(option_attributes(product));
        attributes.sort_unstable();
        attributes.dedup();
        let codes = variants().flat_map(|variant| [&variant.sku, &variant.barcode]).flatten();
        let not_empty = |text: &str| (!text.is_empty()).then(|| text.to_owned());
        Change::Put(Box::new(ProductDocument {
            product_id: product.product_id.uuid(),
            handle: product.handle.clone(),
            title: product.title.clone(),
            description: product.description.iter().map(|(lang, text)| (lang.clone(), plain_text(text))).collect(),
            brand: not_empty(&product.brand),
            kind: not_empty(&product.kind),
            tags: product.tags.iter().cloned().chain(translations(product)).collect(),
            categories: categories.map(|facts| facts.handle.clone()).collect(),
            attributes,
            skus: codes.cloned().collect(),
            created_at_us: created_at.timestamp_micros(),
        }))
    }
}

/// Where the read model of products stands.
struct Standing {
    position: i64,
    products: i64,
    /// Changes with each rebuild and whenever an event is parked or let go.
    revision: (i64, String),
    /// Neither being made anew nor without some product's events.
    is_whole: bool,
}

impl Standing {
    async fn of(pool: &PgPool) -> Result<Self, sqlx::Error> {
        let row: Option<(i64, i64, i64, String, bool)> = sqlx::query_as(
            "SELECT position, (SELECT count(*) FROM product), revision, status, EXISTS (SELECT FROM parked_event WHERE projection = 'product')
             FROM checkpoint WHERE projection = 'product'",
        )
        .fetch_optional(pool)
        .await?;
        let (position, products, revision, status, has_parked) = row.unwrap_or_default();
        Ok(Self { position, products, is_whole: status == "live" && !has_parked, revision: (revision, status) })
    }
}

impl Uncommitted {
    fn count(&mut self, documents: usize) {
        if self.documents == 0 {
            self.since = Instant::now();
        }
        self.documents += documents;
    }

    /// When the next commit is to begin; `None` while nothing asks for one.
    fn due(&self, position: i64, wanted: i64, is_behind: bool) -> Option<Instant> {
        if self.documents == 0 {
            let is_far = position - self.committed_position >= COMMIT_EVENTS_MAX;
            return is_far.then(Instant::now);
        }
        // Somebody waits for no more than what was put.
        let is_awaited = self.committed_position < wanted && wanted <= position;
        Some(match () {
            () if self.documents >= COMMIT_DOCUMENTS_MAX => self.committed_at,
            () if is_awaited => self.committed_at + AWAITED_COMMIT_INTERVAL,
            () if is_behind => self.since + BEHIND_COMMIT_INTERVAL,
            () => self.since + COMMIT_INTERVAL,
        })
    }

    async fn commit(&mut self, replica: &SearchReplica, position: i64) -> Result<(), ReplicaError> {
        let (index, epoch) = (Arc::clone(&replica.index), replica.epoch);
        let begun = Instant::now();
        spawn_blocking(move || index.commit(epoch, position)).await??;
        metrics::histogram!("daybook_search_commit_seconds").record(begun.elapsed());
        *self = Self { documents: 0, since: begun, committed_at: Instant::now(), committed_position: position };
        Ok(())
    }
}

fn put(index: &SearchIndex, changes: &[Change]) -> Result<(), SearchError> {
    for change in changes {
        match change {
            Change::Put(document) => index.put(document)?,
            Change::Remove(product_id) => index.remove(*product_id),
        }
    }
    Ok(())
}

/// Prices are columns; they change more often than anything that is written.
fn changes_text(event_type: &str) -> bool {
    !matches!(event_type, "PriceSet" | "PriceRemoved")
}

/// Options as attributes, so that `attr.colour` finds a colour wherever the merchant keeps it. Only values of variants.
fn option_attributes(product: &Product) -> impl Iterator<Item = (String, String)> {
    product.options.iter().flat_map(|option| {
        let key = option_key(option);
        used_labels(product, option).map(move |label| (key.clone(), facet_text(label).to_owned()))
    })
}

/// The labels of options in the languages that are no facets: to be found, not to be counted twice.
fn translations(product: &Product) -> impl Iterator<Item = String> {
    let labels = product.options.iter().flat_map(|option| used_labels(product, option));
    labels.flat_map(|label| label.values().filter(move |text| text.as_str() != facet_text(label)).cloned())
}

fn used_labels<'a>(product: &'a Product, option: &'a ProductOption) -> impl Iterator<Item = &'a Text> {
    let is_used = |value_id| product.variants.iter().any(|v| v.option_values.get(&option.option_id) == Some(value_id));
    option.values.iter().filter(move |value| is_used(&value.value_id)).map(|value| &value.label)
}

/// The name of an option as a key: `Frame colour` is `frame_colour`.
fn option_key(option: &ProductOption) -> String {
    facet_text(&option.name).trim().to_lowercase().split_whitespace().collect::<Vec<_>>().join("_")
}

fn facet_text(text: &Text) -> &str {
    text.get(FACET_LANGUAGE).or_else(|| text.values().next()).map(String::as_str).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commits_are_rarer_while_the_log_is_far_ahead_unless_somebody_waits() {
        let now = Instant::now();
        let some = Uncommitted { documents: 1, since: now, committed_at: now, committed_position: 10 };
        assert_eq!(some.due(20, 0, false), Some(now + COMMIT_INTERVAL));
        assert_eq!(some.due(20, 0, true), Some(now + BEHIND_COMMIT_INTERVAL));
        assert_eq!(some.due(20, 15, true), Some(now + AWAITED_COMMIT_INTERVAL));
        let many = Uncommitted { documents: COMMIT_DOCUMENTS_MAX, ..some };
        assert_eq!(many.due(20, 0, true), Some(now));
        let none = Uncommitted { documents: 0, ..many };
        assert_eq!((none.due(20, 0, false), none.due(10 + COMMIT_EVENTS_MAX, 0, true).is_some()), (None, true));
    }
}
