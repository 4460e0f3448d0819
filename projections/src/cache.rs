//! Rows lately read, in memory: each search shows twenty whole products with their stock and each cart its own, most of
//! them the same from one answer to the next.
//!
//! A reader says from which position on an answer must be right. The cache follows the log and takes out what changes; it
//! answers only when it has come to that position, and keeps a row only if nothing it knows of has changed it since.

use std::collections::HashMap;
use std::hash::Hash;
use std::str::FromStr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use cqrs_es::Aggregate;
use domain::cart::{Cart, CartLine};
use domain::catalog::{Category, Product, Stage};
use domain::claim::ClaimKey;
use domain::customer::Subject;
use domain::id::{CartKey, CategoryId, ProductId, PromotionId, VariantId};
use domain::inventory::StockItem;
use domain::promotion::Promotion;
use domain::setting::{STORE, Settings};
use infra::event_log;
use infra::feed::Feed;
use infra::task::CancellationToken;
use sqlx::PgPool;

use crate::product;
use crate::promotion;
use crate::state::{Row, decode_row};
use crate::stock::{self, StockLevel};

/// Most bytes of each kind that are kept, counted as they come; beyond it all are let go and read again when asked for.
const KEPT_BYTES_MAX: usize = 32 << 20;
/// Longest that a row is kept: a parked stream that was released changes it without an event.
const KEPT_MAX: Duration = Duration::from_secs(30);
/// Most rows whose last change is remembered, and most names of variants.
const CHANGED_MAX: usize = 10_000;
const NAMES_MAX: usize = 100_000;
/// Most automatic promotions that carts are offered, the oldest ones.
const AUTOMATIC_MAX: i64 = 500;
/// The key of the one list of them, and what changes it; uses of coupons, which are many, don't.
const AUTOMATIC: &str = "automatic";
const LIST_CHANGES: [&str; 3] = ["PromotionCreated", "PromotionChanged", "PromotionEnded"];
/// Wait after a failure.
const RETRY: Duration = Duration::from_millis(500);

/// Reads products and stock for a process. Shared by its handlers.
#[derive(Debug)]
pub struct ReadCache {
    pool: PgPool,
    feed: Feed,
    products: Mutex<Kept<ProductId, Arc<Row<Product>>>>,
    /// `None`: there is no stock of it.
    levels: Mutex<Kept<VariantId, Option<StockLevel>>>,
    /// Handles; `None`: it is archived or was never there.
    categories: Mutex<Kept<CategoryId, Option<String>>>,
    names: Mutex<Names>,
    /// Carts as commands have left them, with their versions.
    carts: Mutex<Kept<CartKey, Arc<(Cart, i64)>>>,
    /// The store's settings with their version: every cart is shown by them.
    settings: Mutex<Kept<String, Arc<(Settings, i64)>>>,
    promotions: Mutex<Kept<PromotionId, Arc<Promotion>>>,
    /// Those that are automatic and have not ended.
    automatic: Mutex<Kept<String, Arc<Vec<Promotion>>>>,
}

/// Where a variant, a sku, a handle was last seen; whether it still is there, its product says.
#[derive(Debug, Default)]
struct Names {
    variants: HashMap<VariantId, ProductId>,
    skus: HashMap<String, VariantId>,
    handles: HashMap<String, ProductId>,
}

impl ReadCache {
    #[must_use]
    pub fn new(pool: PgPool, feed: Feed) -> Self {
        Self {
            pool,
            feed,
            products: Mutex::default(),
            levels: Mutex::default(),
            categories: Mutex::default(),
            names: Mutex::default(),
            carts: Mutex::default(),
            settings: Mutex::default(),
            promotions: Mutex::default(),
            automatic: Mutex::default(),
        }
    }

    /// Takes out what changes, until `stop`.
    pub async fn run(self: Arc<Self>, stop: CancellationToken) {
        while !stop.is_cancelled() {
            let ended = tokio::select! { () = stop.cancelled() => return, ended = self.follow() => ended };
            if let Err(error) = ended {
                tracing::warn!(error = &error as &dyn std::error::Error, "rows are read from the database until the log can be read");
            }
            tokio::select! { () = stop.cancelled() => return, () = tokio::time::sleep(RETRY) => {} }
        }
    }

    async fn follow(&self) -> Result<(), sqlx::Error> {
        let head = event_log::head(&self.pool).await?.position;
        *lock(&self.products) = Kept::from(head);
        *lock(&self.levels) = Kept::from(head);
        *lock(&self.categories) = Kept::from(head);
        *lock(&self.carts) = Kept::from(head);
        *lock(&self.settings) = Kept::from(head);
        *lock(&self.promotions) = Kept::from(head);
        *lock(&self.automatic) = Kept::from(head);
        let mut tail = self.feed.tail(head);
        loop {
            let batch = tail.next().await?;
            let of_type =
                |name| batch.iter().filter(move |event| event.aggregate_type == name).map(|e| (e.aggregate_id.as_str(), e.position));
            lock(&self.products).change(of_type(Product::TYPE), tail.position());
            lock(&self.levels).change(of_type(StockItem::TYPE), tail.position());
            lock(&self.categories).change(of_type(Category::TYPE), tail.position());
            lock(&self.carts).change(of_type(Cart::TYPE), tail.position());
            lock(&self.settings).change(of_type(Settings::TYPE), tail.position());
            lock(&self.promotions).change(of_type(Promotion::TYPE), tail.position());
            let listed = batch.iter().filter(|event| LIST_CHANGES.contains(&event.event_type.as_str()));
            lock(&self.automatic).change(listed.map(|event| (AUTOMATIC, event.position)), tail.position());
            // Carts hold personal data: erased ones are nowhere, nor is one kept that was decided before.
            if batch.iter().any(|event| event.aggregate_type == Subject::TYPE && event.event_type == "SubjectErased") {
                *lock(&self.carts) = Kept::from(tail.position());
            }
        }
    }

    /// Everything is read again: a read model was changed by hand.
    pub fn forget(&self) {
        lock(&self.products).forget();
        lock(&self.levels).forget();
        lock(&self.categories).forget();
        lock(&self.promotions).forget();
        lock(&self.automatic).forget();
    }

    /// The automatic promotions that have not ended, as the read model had them at `position` or later.
    pub async fn automatic_promotions(&self, position: i64) -> Result<Arc<Vec<Promotion>>, sqlx::Error> {
        let key = AUTOMATIC.to_owned();
        if let Some(kept) = lock(&self.automatic).get_all(std::slice::from_ref(&key), position).0.remove(&key) {
            return Ok(kept);
        }
        let read: Vec<Promotion> = promotion::automatic(&self.pool, AUTOMATIC_MAX).await?.into_iter().map(|row| row.state).collect();
        let read = Arc::new(read);
        lock(&self.automatic).insert(key, Arc::clone(&read), read.len() * size_of::<Promotion>(), position);
        Ok(read)
    }

    /// Those of these promotions that are there, as the read model had them at `position` or later.
    pub async fn promotions(&self, ids: &[PromotionId], position: i64) -> Result<HashMap<PromotionId, Arc<Promotion>>, sqlx::Error> {
        let (mut found, missing) = lock(&self.promotions).get_all(ids, position);
        if !missing.is_empty() {
            let ids: Vec<String> = missing.iter().map(ToString::to_string).collect();
            let read = promotion::find(&self.pool, &ids).await?;
            let mut kept = lock(&self.promotions);
            for row in read {
                let Some(terms) = &row.state.terms else { continue };
                let (id, coupons) = (terms.promotion_id, row.state.coupons.len() + row.state.reservations.len());
                let promotion = Arc::new(row.state);
                kept.insert(id, Arc::clone(&promotion), size_of::<Promotion>() * (1 + coupons), position);
                found.insert(id, promotion);
            }
        }
        Ok(found)
    }

    /// A cart as the last command of this process has left it, and its version, unless another has changed it since; up to
    /// `position` at least, surely.
    #[must_use]
    pub fn cart(&self, key: &CartKey, position: i64) -> Option<Arc<(Cart, i64)>> {
        lock(&self.carts).get_all(std::slice::from_ref(key), position).0.remove(key)
    }

    /// Keeps a cart as a command has left it.
    pub fn keep_cart(&self, key: &CartKey, cart: &Cart, version: i64, position: i64) {
        let bytes = size_of::<Cart>() + cart.lines.len() * size_of::<CartLine>();
        lock(&self.carts).insert(key.clone(), Arc::new((cart.clone(), version)), bytes, position);
    }

    /// The store's settings and their version, as the log had them at `position` or later.
    #[must_use]
    pub fn settings(&self, position: i64) -> Option<Arc<(Settings, i64)>> {
        lock(&self.settings).get_all(&[STORE.to_owned()], position).0.remove(STORE)
    }

    /// Keeps settings that were read after the log had come to `position`.
    pub fn keep_settings(&self, settings: &Arc<(Settings, i64)>, position: i64) {
        lock(&self.settings).insert(STORE.to_owned(), Arc::clone(settings), size_of::<Settings>(), position);
    }

    /// The products of these ids that are there, in no order, as the read model had them at `position` or later. The read
    /// model must have come to it.
    pub async fn products(&self, ids: &[ProductId], position: i64) -> Result<Vec<Arc<Row<Product>>>, sqlx::Error> {
        let (found, missing) = lock(&self.products).get_all(ids, position);
        let mut found: Vec<_> = found.into_values().collect();
        if !missing.is_empty() {
            let rows = sqlx::query_as("SELECT id, version, position, state::text FROM product WHERE id = ANY ($1)");
            let ids: Vec<String> = missing.iter().map(ToString::to_string).collect();
            found.extend(self.keep(rows.bind(ids).fetch_all(&self.pool).await?, position)?);
        }
        Ok(found)
    }

    /// A product by its id or its handle, as [`Self::products`].
    pub async fn product(&self, id_or_handle: &str, position: i64) -> Result<Option<Arc<Row<Product>>>, sqlx::Error> {
        if let Ok(id) = id_or_handle.parse()
            && let Some(row) = self.products(&[id], position).await?.pop()
        {
            return Ok(Some(row));
        }
        let key = ClaimKey::handle(id_or_handle).key;
        let known = lock(&self.names).handles.get(&key).copied();
        let kept = known.and_then(|id| lock(&self.products).get_all(&[id], position).0.remove(&id));
        if let Some(row) = kept.filter(|row| row.state.stage == Stage::Live && ClaimKey::handle(&row.state.handle).key == key) {
            return Ok(Some(row));
        }
        let found = product::named(&self.pool, id_or_handle).await?;
        Ok(self.keep(found.into_iter().collect(), position)?.pop())
    }

    /// As [`Self::products`], those that have these variants.
    pub async fn products_of(&self, variant_ids: &[VariantId], position: i64) -> Result<Vec<Arc<Row<Product>>>, sqlx::Error> {
        let known: Vec<ProductId> = {
            let names = lock(&self.names);
            variant_ids.iter().filter_map(|id| names.variants.get(id).copied()).collect()
        };
        let (mut found, _) = lock(&self.products).get_all(&known, position);
        let is_there = |id: &VariantId| found.values().any(|row| row.state.variant(*id).is_some());
        let missing: Vec<String> = variant_ids.iter().filter(|id| !is_there(id)).map(ToString::to_string).collect();
        if !missing.is_empty() {
            let rows = sqlx::query_as(
                "SELECT id, version, position, state::text FROM product
                 WHERE id IN (SELECT product_id FROM variant WHERE variant_id = ANY ($1))",
            );
            let rows = self.keep(rows.bind(missing).fetch_all(&self.pool).await?, position)?;
            found.extend(rows.into_iter().map(|row| (row.state.product_id, row)));
        }
        Ok(found.into_values().collect())
    }

    /// The products that have these variants now.
    pub async fn product_ids_of(&self, variant_ids: &[VariantId], position: i64) -> Result<HashMap<VariantId, ProductId>, sqlx::Error> {
        let mut found: HashMap<VariantId, ProductId> = {
            let names = lock(&self.names);
            variant_ids.iter().filter_map(|id| Some((*id, *names.variants.get(id)?))).collect()
        };
        let known: Vec<ProductId> = found.values().copied().collect();
        let (rows, _) = lock(&self.products).get_all(&known, position);
        found.retain(|id, product_id| {
            rows.get(product_id).is_some_and(|row| row.state.stage == Stage::Live && row.state.variant(*id).is_some())
        });
        let missing: Vec<VariantId> = variant_ids.iter().filter(|id| !found.contains_key(id)).copied().collect();
        if !missing.is_empty() {
            found.extend(product::of_variants(&self.pool, &missing).await?);
        }
        Ok(found)
    }

    /// The variant that has this sku now, with its product.
    pub async fn variant_of_sku(&self, sku: &str, position: i64) -> Result<Option<(VariantId, ProductId)>, sqlx::Error> {
        let key = ClaimKey::sku(sku).key;
        let known = {
            let names = lock(&self.names);
            names.skus.get(&key).and_then(|variant_id| Some((*variant_id, *names.variants.get(variant_id)?)))
        };
        if let Some((variant_id, product_id)) = known
            && let Some(row) = lock(&self.products).get_all(&[product_id], position).0.get(&product_id)
            && row.state.stage == Stage::Live
            && row.state.variant(variant_id).and_then(|variant| variant.sku.as_deref()).is_some_and(|own| ClaimKey::sku(own).key == key)
        {
            return Ok(Some((variant_id, product_id)));
        }
        Ok(product::variants_by_skus(&self.pool, &[sku.to_owned()]).await?.pop())
    }

    /// The numbers of these variants, as the read model had them at `position` or later; those without stock are not in it.
    pub async fn levels(&self, variant_ids: &[VariantId], position: i64) -> Result<HashMap<VariantId, StockLevel>, sqlx::Error> {
        let (mut found, missing) = lock(&self.levels).get_all(variant_ids, position);
        if !missing.is_empty() {
            let mut read = stock::levels(&self.pool, &missing).await?;
            let mut kept = lock(&self.levels);
            for id in missing {
                let level = read.remove(&id);
                kept.insert(id, level.clone(), size_of::<StockLevel>(), position);
                found.insert(id, level);
            }
        }
        Ok(found.into_iter().filter_map(|(id, level)| Some((id, level?))).collect())
    }

    /// The handles of those of these categories that are not archived, as the read model had them at `position` or later.
    pub async fn category_handles(&self, ids: &[CategoryId], position: i64) -> Result<HashMap<CategoryId, String>, sqlx::Error> {
        let (mut found, missing) = lock(&self.categories).get_all(ids, position);
        if !missing.is_empty() {
            let mut read = product::category_handles(&self.pool, &missing).await?;
            let mut kept = lock(&self.categories);
            for id in missing {
                let handle = read.remove(&id);
                kept.insert(id, handle.clone(), size_of::<CategoryId>() + handle.as_ref().map_or(0, String::len), position);
                found.insert(id, handle);
            }
        }
        Ok(found.into_iter().filter_map(|(id, handle)| Some((id, handle?))).collect())
    }

    /// Decodes rows that were read after the read model had come to `position`, and keeps those that are still right.
    fn keep(&self, rows: Vec<(String, i64, i64, String)>, position: i64) -> Result<Vec<Arc<Row<Product>>>, sqlx::Error> {
        let sizes: Vec<usize> = rows.iter().map(|(_, _, _, state)| state.len()).collect();
        let rows = rows.into_iter().map(|row| decode_row(row).map(Arc::new)).collect::<Result<Vec<Arc<Row<Product>>>, _>>()?;
        let mut names = lock(&self.names);
        let mut kept = lock(&self.products);
        for (row, bytes) in rows.iter().zip(sizes) {
            if names.variants.len().max(names.skus.len()).max(names.handles.len()) >= NAMES_MAX {
                *names = Names::default();
            }
            names.handles.insert(ClaimKey::handle(&row.state.handle).key, row.state.product_id);
            for variant in &row.state.variants {
                names.variants.insert(variant.variant_id, row.state.product_id);
                names.skus.extend(variant.sku.as_deref().map(|sku| (ClaimKey::sku(sku).key, variant.variant_id)));
            }
            kept.insert(row.state.product_id, Arc::clone(row), bytes, position);
        }
        Ok(rows)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Rows of one kind.
#[derive(Debug)]
struct Kept<K, V> {
    /// Each with the position that it was read at, at least, and when.
    rows: HashMap<K, (V, i64, Instant)>,
    bytes: usize,
    /// Whatever changed up to here was taken out.
    position: i64,
    /// When rows have last changed, of all changes after `changed_after`.
    changed: HashMap<K, i64>,
    changed_after: i64,
}

impl<K, V> Default for Kept<K, V> {
    fn default() -> Self {
        Self { rows: HashMap::new(), bytes: 0, position: 0, changed: HashMap::new(), changed_after: i64::MAX }
    }
}

impl<K: Clone + Eq + Hash + FromStr, V: Clone> Kept<K, V> {
    /// Knows nothing, from this position on.
    fn from(position: i64) -> Self {
        Self { position, changed_after: position, ..Self::default() }
    }

    fn get_all(&self, ids: &[K], position: i64) -> (HashMap<K, V>, Vec<K>) {
        let (mut found, mut missing) = (HashMap::with_capacity(ids.len()), Vec::new());
        for id in ids {
            let kept = self.rows.get(id).filter(|(_, _, since)| self.position >= position && since.elapsed() < KEPT_MAX);
            match kept {
                Some((row, ..)) => drop(found.insert(id.clone(), row.clone())),
                None => missing.push(id.clone()),
            }
        }
        (found, missing)
    }

    /// Keeps a row that was read after the read model had come to `position`, unless it may have changed since.
    fn insert(&mut self, id: K, row: V, bytes: usize, position: i64) {
        let is_older = self.rows.get(&id).is_some_and(|(_, read_at, _)| *read_at > position);
        if is_older || position < self.changed_after || self.changed.get(&id).is_some_and(|changed| *changed > position) {
            return;
        }
        if self.bytes + bytes > KEPT_BYTES_MAX {
            self.forget();
        }
        self.bytes += bytes;
        self.rows.insert(id, (row, position, Instant::now()));
    }

    /// Takes out what has changed, all of it up to `position`.
    fn change<'e>(&mut self, changes: impl Iterator<Item = (&'e str, i64)>, position: i64) {
        for (id, at) in changes {
            let Ok(id) = id.parse() else { continue };
            if self.rows.get(&id).is_some_and(|(_, read_at, _)| *read_at < at) {
                self.rows.remove(&id);
            }
            if self.changed.len() >= CHANGED_MAX {
                self.changed.clear();
                self.changed_after = at;
            }
            self.changed.insert(id, at);
        }
        self.position = position;
    }

    fn forget(&mut self) {
        self.rows.clear();
        self.bytes = 0;
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    const ID: Uuid = Uuid::from_u128(7);

    fn kept(version: i64, position: i64) -> Kept<Uuid, i64> {
        let mut kept = Kept::from(10);
        kept.insert(ID, version, 100, position);
        kept
    }

    fn version(kept: &Kept<Uuid, i64>, position: i64) -> Option<i64> {
        kept.get_all(&[ID], position).0.get(&ID).copied()
    }

    #[test]
    fn a_reader_who_has_seen_more_than_the_cache_reads_the_database() {
        let kept = kept(1, 10);
        assert_eq!(version(&kept, 10), Some(1));
        assert_eq!(version(&kept, 11), None, "position 11 may have changed the row");
    }

    #[test]
    fn a_row_that_was_read_before_a_change_is_not_kept_after_it() {
        let mut kept = kept(1, 10);
        kept.change([(ID.to_string().as_str(), 11)].into_iter(), 12);
        assert_eq!(version(&kept, 10), None);
        // Read at checkpoint 10, when the read model had not come to 11.
        kept.insert(ID, 1, 100, 10);
        assert_eq!(version(&kept, 10), None);
        kept.insert(ID, 2, 100, 11);
        assert_eq!(version(&kept, 12), Some(2));
    }

    #[test]
    fn changes_that_are_forgotten_count_as_changes_of_all() {
        let mut kept = kept(1, 10);
        let ids: Vec<String> = (100..=100 + CHANGED_MAX as u128).map(|n| Uuid::from_u128(n).to_string()).collect();
        kept.change(ids.iter().map(|id| (id.as_str(), 11)), 11);
        assert_eq!(version(&kept, 11), Some(1));
        kept.insert(ID, 2, 100, 10);
        assert_eq!(version(&kept, 11), Some(1), "a row of position 10 is too old to be kept");
    }
}
