//! What changes with every sale: price, stock, popularity; and whether a product is on sale. Kept in memory by product and joined to the
//! index when a query runs, so that a change costs one store and needs no commit.
//!
//! A product's place, its *slot*, is given at first sight and kept while the process lives. A column is
//! a list of fixed blocks of atomics: queries hold the list and read without a lock, writers store in
//! place, and only growth replaces the list.

use std::{
    collections::HashMap,
    sync::{
        Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard,
        atomic::{AtomicI64, AtomicU64, Ordering},
    },
};

use uuid::Uuid;

/// Slots in a block: 32 KiB, so that a small shop pays little and a million products are 250 blocks.
const BLOCK_SLOTS: usize = 4096;
/// What a price column holds for a product that has none in its currency.
const NO_PRICE: i64 = i64::MIN;

/// The volatile facts of all products. All methods may be called from any thread.
pub struct Columns {
    slots: RwLock<HashMap<Uuid, u32>>,
    /// By currency, the lowest price of a product's variants in minor units.
    prices: RwLock<HashMap<String, Arc<Column>>>,
    in_stock: Column,
    popularity: Column,
    /// 1 for what was taken off sale and is yet to leave the index.
    withdrawn: Column,
    /// Counts changes of the column above: what was counted before one may be wrong after it.
    withdrawals: AtomicU64,
}

impl Default for Columns {
    fn default() -> Self {
        Self {
            slots: RwLock::default(),
            prices: RwLock::default(),
            in_stock: Column::new(0),
            popularity: Column::new(0),
            withdrawn: Column::new(0),
            withdrawals: AtomicU64::new(0),
        }
    }
}

impl Columns {
    /// The lowest price of the product in minor units of `currency`; `None` when it has none.
    pub fn set_price(&self, product_id: Uuid, currency: &str, amount: Option<i64>) {
        let known = read(&self.prices).get(currency).map(Arc::clone);
        let prices = known.unwrap_or_else(|| {
            let mut prices = write(&self.prices);
            let column = prices.entry(currency.to_owned()).or_insert_with(|| Arc::new(Column::new(NO_PRICE)));
            Arc::clone(column)
        });
        prices.set(self.slot(product_id), amount.unwrap_or(NO_PRICE));
    }

    /// Whether any variant can be had; `false` until it is set.
    pub fn set_stock(&self, product_id: Uuid, in_stock: bool) {
        self.in_stock.set(self.slot(product_id), i64::from(in_stock));
    }

    /// Any measure that grows with demand; 0 until it is set.
    pub fn set_popularity(&self, product_id: Uuid, popularity: u32) {
        self.popularity.set(self.slot(product_id), i64::from(popularity));
    }

    /// Whether a product that is in the index is shown; it is until this is set.
    pub fn set_published(&self, product_id: Uuid, published: bool) {
        let slot = self.slot(product_id);
        let withdrawn = i64::from(!published);
        if self.withdrawn.reader().get(slot) != withdrawn {
            self.withdrawn.set(slot, withdrawn);
            self.withdrawals.fetch_add(1, Ordering::Release);
        }
    }

    /// The place of a product, given at first sight.
    pub(super) fn slot(&self, product_id: Uuid) -> u32 {
        if let Some(&slot) = read(&self.slots).get(&product_id) {
            return slot;
        }
        let mut slots = write(&self.slots);
        let next = u32::try_from(slots.len()).unwrap_or(u32::MAX);
        *slots.entry(product_id).or_insert(next)
    }

    /// The facts that one query needs. Later changes show through: a query is over in milliseconds.
    pub(super) fn facts(&self, currency: &str) -> Facts {
        Facts {
            prices: read(&self.prices).get(currency).map(|column| column.reader()),
            in_stock: self.in_stock.reader(),
            popularity: self.popularity.reader(),
            withdrawals: self.withdrawals.load(Ordering::Acquire),
            withdrawn: self.withdrawn.reader(),
        }
    }
}

/// The columns as one query reads them.
#[derive(Clone)]
pub(super) struct Facts {
    prices: Option<ColumnReader>,
    in_stock: ColumnReader,
    popularity: ColumnReader,
    withdrawn: ColumnReader,
    /// How often products had been taken off or put on sale.
    pub(super) withdrawals: u64,
}

impl Facts {
    pub(super) fn price(&self, slot: u32) -> Option<i64> {
        let price = self.prices.as_ref()?.get(slot);
        (price != NO_PRICE).then_some(price)
    }

    pub(super) fn in_stock(&self, slot: u32) -> bool {
        self.in_stock.get(slot) != 0
    }

    pub(super) fn published(&self, slot: u32) -> bool {
        self.withdrawn.get(slot) == 0
    }

    pub(super) fn popularity(&self, slot: u32) -> i64 {
        self.popularity.get(slot)
    }
}

type Block = [AtomicI64; BLOCK_SLOTS];

struct Column {
    blocks: RwLock<Arc<Vec<Arc<Block>>>>,
    absent: i64,
}

impl Column {
    fn new(absent: i64) -> Self {
        Self { blocks: RwLock::default(), absent }
    }

    fn reader(&self) -> ColumnReader {
        ColumnReader { blocks: Arc::clone(&read(&self.blocks)), absent: self.absent }
    }

    fn set(&self, slot: u32, value: i64) {
        let (block, place) = place_of(slot);
        if let Some(block) = read(&self.blocks).get(block) {
            block[place].store(value, Ordering::Relaxed);
            return;
        }
        let mut blocks = write(&self.blocks);
        let grown = Arc::make_mut(&mut blocks);
        while grown.len() <= block {
            let absent = self.absent;
            grown.push(Arc::new(std::array::from_fn(|_| AtomicI64::new(absent))));
        }
        grown[block][place].store(value, Ordering::Relaxed);
    }
}

#[derive(Clone)]
struct ColumnReader {
    blocks: Arc<Vec<Arc<Block>>>,
    absent: i64,
}

impl ColumnReader {
    fn get(&self, slot: u32) -> i64 {
        let (block, place) = place_of(slot);
        match self.blocks.get(block) {
            Some(block) => block[place].load(Ordering::Relaxed),
            None => self.absent,
        }
    }
}

fn place_of(slot: u32) -> (usize, usize) {
    let slot = usize::try_from(slot).unwrap_or(usize::MAX);
    (slot / BLOCK_SLOTS, slot % BLOCK_SLOTS)
}

/// A value is whole whatever happened to the thread that held the lock.
fn read<T>(lock: &RwLock<T>) -> RwLockReadGuard<'_, T> {
    lock.read().unwrap_or_else(PoisonError::into_inner)
}

fn write<T>(lock: &RwLock<T>) -> RwLockWriteGuard<'_, T> {
    lock.write().unwrap_or_else(PoisonError::into_inner)
}
