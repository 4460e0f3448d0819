//! What takes effect at once: follows prices and stock, and sets the columns; follows what a merchant says about results, and
//! puts it in force.

use std::collections::{BTreeSet, HashMap};
use std::time::Duration;

use chrono::{DateTime, Utc};
use cqrs_es::Aggregate;
use domain::catalog::Product;
use domain::inventory::StockItem;
use domain::merchandising::{Merchandising, STORE};
use domain::money::Currency;
use infra::clock;
use infra::event_log::{self, StoredEvent};
use infra::task::CancellationToken;
use sqlx::{PgConnection, PgPool};
use uuid::Uuid;

use super::documents::Documents;
use super::recent::{Recent, decoded};
use super::{ReplicaError, SearchReplica};
use crate::product::is_published;
use crate::search::{Columns, SearchIndex};
use crate::stock;

/// Rows of a read model that are read at once: a statement for all of a large shop would take too long.
const PAGE_ROWS: i64 = 10_000;
/// Longest time until the clock is looked at for prices that begin or end.
const PRICE_CLOCK_MAX: Duration = Duration::from_mins(1);

/// What the columns are computed from. Small: a whole product is in memory only while it changes.
pub(super) struct Facts {
    products: HashMap<Uuid, ProductFacts>,
    variants: HashMap<Uuid, VariantFacts>,
    /// When a price of a product begins or ends.
    price_changes: BTreeSet<(DateTime<Utc>, Uuid)>,
    recent_products: Recent<Product>,
    recent_items: Recent<StockItem>,
    merchandising: Merchandising,
    /// Of its stream.
    merchandising_version: i64,
}

#[derive(Debug, Default)]
struct ProductFacts {
    version: i64,
    variants: Vec<Uuid>,
    prices: Vec<PriceFacts>,
}

/// A price of one unit, in minor units.
#[derive(Debug, Clone, Copy)]
struct PriceFacts {
    currency: Currency,
    amount: i64,
    valid_from: Option<DateTime<Utc>>,
    valid_until: Option<DateTime<Utc>>,
}

#[derive(Debug, Default)]
struct VariantFacts {
    product_id: Option<Uuid>,
    is_tracked: bool,
    /// Of the newest event that the fields below know of.
    stock_version: i64,
    has_stock: bool,
    sold: i64,
}

impl Default for Facts {
    fn default() -> Self {
        Self {
            products: HashMap::new(),
            variants: HashMap::new(),
            price_changes: BTreeSet::new(),
            recent_products: Recent::of("product"),
            recent_items: Recent::of("stock"),
            merchandising: Merchandising::default(),
            merchandising_version: 0,
        }
    }
}

impl Facts {
    /// Takes all facts from the read models and rules and synonyms from the log; tells `documents` which products there are, so
    /// that they are read once.
    pub(super) async fn load(
        &mut self,
        connection: &mut PgConnection,
        documents: &mut Documents,
        index: &SearchIndex,
    ) -> Result<(), sqlx::Error> {
        let columns = index.columns();
        let said: Vec<StoredEvent> = event_log::stream(&mut *connection, (Merchandising::TYPE, STORE), 0, i64::MAX).await?;
        if self.take_merchandising(&said) {
            index.set_merchandising(&self.merchandising);
        }
        let mut last = String::new();
        loop {
            let items: Vec<(String, i64, i64, i64)> =
                sqlx::query_as("SELECT id, version, available, sold FROM stock WHERE id > $1 ORDER BY id LIMIT $2")
                    .bind(&last)
                    .bind(PAGE_ROWS)
                    .fetch_all(&mut *connection)
                    .await?;
            let Some((id, ..)) = items.last() else { break };
            last.clone_from(id);
            for (id, version, available, sold) in items {
                if let Some(variant) = self.variant(&id) {
                    variant.stock_version = version;
                    variant.has_stock = available > 0;
                    variant.sold = sold;
                }
            }
        }
        let now = clock::now();
        last.clear();
        loop {
            let products: Vec<(String, i64, String)> =
                sqlx::query_as("SELECT id, version, state::text FROM product WHERE id > $1 ORDER BY id LIMIT $2")
                    .bind(&last)
                    .bind(PAGE_ROWS)
                    .fetch_all(&mut *connection)
                    .await?;
            let Some((id, ..)) = products.last() else { break };
            last.clone_from(id);
            for (_, version, state) in products {
                let product: Product = serde_json::from_str(&state).map_err(|error| sqlx::Error::Decode(Box::new(error)))?;
                self.set_product(version, &product, now, columns);
                documents.note_categories(&product);
            }
        }
        Ok(())
    }

    /// Follows the log until `stop`.
    pub(super) async fn follow(mut self, replica: &SearchReplica, after: i64, stop: &CancellationToken) {
        let index = &*replica.index;
        let columns = index.columns();
        let mut tail = replica.feed.tail(after);
        loop {
            let before = tail.position();
            let done = tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(self.until_price_change()) => {
                    self.pass_price_changes(columns);
                    Ok(())
                }
                batch = tail.next() => match batch {
                    Ok(batch) => self.apply(&replica.pool, &batch, index).await,
                    Err(error) => Err(error),
                },
            };
            match done {
                Ok(()) => replica.facts_reached(tail.position()),
                Err(error) => {
                    if !SearchReplica::may_retry(&ReplicaError::from(error), stop).await {
                        return;
                    }
                    tail = replica.feed.tail(before);
                }
            }
        }
    }

    async fn apply(&mut self, pool: &PgPool, batch: &[StoredEvent], index: &SearchIndex) -> Result<(), sqlx::Error> {
        let (now, columns) = (clock::now(), index.columns());
        if self.take_merchandising(batch) {
            index.set_merchandising(&self.merchandising);
        }
        for id in self.recent_products.follow(pool, batch.iter()).await? {
            if let Some(held) = self.recent_products.get(id).cloned() {
                self.set_product(held.version, &held.state, now, columns);
            }
        }
        // Items first: the events below are counted up to the version that these are at.
        let items = self.recent_items.follow(pool, batch.iter()).await?;
        let mut touched = BTreeSet::new();
        for event in batch.iter().filter(|event| event.aggregate_type == StockItem::TYPE) {
            let Some(variant) = self.variant(&event.aggregate_id) else {
                continue;
            };
            if event.sequence > variant.stock_version {
                variant.stock_version = event.sequence;
                // What can't be decoded was reported with its item.
                variant.sold += stock::allocated(event).unwrap_or(0);
            }
            touched.extend(variant.product_id);
        }
        for id in items {
            let available = self.recent_items.get(id).map(|held| (held.version, held.state.available()));
            if let (Some((version, available)), Some(variant)) = (available, self.variant(id))
                && version >= variant.stock_version
            {
                variant.has_stock = available > 0;
            }
        }
        for product_id in touched {
            self.set_stock(product_id, columns);
        }
        Ok(())
    }

    /// Folds what was said about results and is not known yet; whether anything was.
    fn take_merchandising(&mut self, events: &[StoredEvent]) -> bool {
        let before = self.merchandising_version;
        for event in events.iter().filter(|event| event.aggregate_type == Merchandising::TYPE && event.aggregate_id == STORE) {
            if event.sequence <= self.merchandising_version {
                continue;
            }
            self.merchandising_version = event.sequence;
            match decoded::<Merchandising>(event) {
                Ok(event) => self.merchandising.apply(&event),
                Err(reason) => {
                    let position = event.position;
                    tracing::error!(projection = "search", position, reason, "an event of merchandising can't be applied and is left out");
                    metrics::counter!("daybook_search_events_left_out").increment(1);
                }
            }
        }
        self.merchandising_version > before
    }

    /// Does nothing for a version that is known already.
    fn set_product(&mut self, version: i64, product: &Product, now: DateTime<Utc>, columns: &Columns) {
        let product_id = product.product_id.uuid();
        let before = self.products.remove(&product_id).unwrap_or_default();
        if before.version >= version {
            self.products.insert(product_id, before);
            return;
        }
        let variants: Vec<Uuid> = product.variants.iter().map(|variant| variant.variant_id.uuid()).collect();
        for gone in before.variants.iter().filter(|id| !variants.contains(id)) {
            if let Some(variant) = self.variants.get_mut(gone).filter(|facts| facts.product_id == Some(product_id)) {
                variant.product_id = None;
            }
        }
        for variant in &product.variants {
            let facts = self.variants.entry(variant.variant_id.uuid()).or_default();
            facts.product_id = Some(product_id);
            facts.is_tracked = variant.track_stock;
        }
        columns.set_published(product_id, is_published(product));
        for price in &before.prices {
            columns.set_price(product_id, price.currency.as_str(), None);
        }
        let facts = ProductFacts { version, variants, prices: unit_prices(product) };
        self.set_prices(product_id, &facts, now, columns);
        self.products.insert(product_id, facts);
        self.set_stock(product_id, columns);
    }

    fn set_prices(&mut self, product_id: Uuid, facts: &ProductFacts, now: DateTime<Utc>, columns: &Columns) {
        let mut lowest: HashMap<Currency, Option<i64>> = HashMap::new();
        for price in &facts.prices {
            let lowest = lowest.entry(price.currency).or_default();
            if price.holds_at(now) {
                *lowest = Some(lowest.map_or(price.amount, |amount| amount.min(price.amount)));
            }
        }
        for (currency, amount) in lowest {
            columns.set_price(product_id, currency.as_str(), amount);
        }
        let changes = facts.prices.iter().flat_map(|price| [price.valid_from, price.valid_until]).flatten();
        self.price_changes.extend(changes.filter(|at| *at > now).min().map(|at| (at, product_id)));
    }

    fn set_stock(&self, product_id: Uuid, columns: &Columns) {
        let Some(product) = self.products.get(&product_id) else {
            return;
        };
        let variants = || product.variants.iter().filter_map(|id| self.variants.get(id));
        columns.set_stock(product_id, variants().any(|variant| !variant.is_tracked || variant.has_stock));
        let sold: i64 = variants().map(|variant| variant.sold).sum();
        columns.set_popularity(product_id, u32::try_from(sold.max(0)).unwrap_or(u32::MAX));
    }

    fn until_price_change(&self) -> Duration {
        let next = self.price_changes.first().map(|(at, _)| *at - clock::now());
        next.map_or(PRICE_CLOCK_MAX, |wait| wait.to_std().unwrap_or_default()).min(PRICE_CLOCK_MAX)
    }

    /// Sets the prices anew of products that have one beginning or ending by now.
    fn pass_price_changes(&mut self, columns: &Columns) {
        let now = clock::now();
        while self.price_changes.first().is_some_and(|(at, _)| *at <= now) {
            let Some((_, product_id)) = self.price_changes.pop_first() else {
                return;
            };
            if let Some(facts) = self.products.remove(&product_id) {
                self.set_prices(product_id, &facts, now, columns);
                self.products.insert(product_id, facts);
            }
        }
    }

    fn variant(&mut self, id: &str) -> Option<&mut VariantFacts> {
        Some(self.variants.entry(id.parse().ok()?).or_default())
    }
}

impl PriceFacts {
    fn holds_at(&self, at: DateTime<Utc>) -> bool {
        self.valid_from.is_none_or(|from| from <= at) && self.valid_until.is_none_or(|until| at < until)
    }
}

/// The prices at which one unit of any variant is sold, now or at other times.
fn unit_prices(product: &Product) -> Vec<PriceFacts> {
    let prices = product.variants.iter().flat_map(|variant| &variant.prices);
    let of_one = prices.filter(|price| price.min_quantity <= 1).map(|price| PriceFacts {
        currency: price.price.currency(),
        amount: price.price.amount(),
        valid_from: price.valid_from,
        valid_until: price.valid_until,
    });
    of_one.collect()
}
