//! The live products of a shop, a page at a time, with their stock.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use domain::catalog::Product;
use domain::id::{CategoryId, VariantId};
use domain::inventory::StockItem;
use projections::product::Listed;
use tokio::time::Instant;

use crate::app::App;

/// Products that are read at a time.
const PAGE_PRODUCTS: i64 = 200;
/// Most bytes that are handed on at once: a slow caller is one that takes longer than the idle time-out for so many.
const PIECE_BYTES_MAX: usize = 64 << 10;

/// Why an export was cut off after it had begun. The answer ends without its end, so that nobody takes it for whole.
#[derive(Debug, thiserror::Error)]
pub enum CutOff {
    #[error("the read models can't be read")]
    Rows(#[from] sqlx::Error),
    #[error("the read models are being made anew")]
    BeingMade,
    #[error("a product got a column that the header does not have; export again")]
    Changed,
    #[error("the products have too many different attributes for one table")]
    TooWide,
    #[error("a row can't be written")]
    Csv(#[from] csv::Error),
    #[error("a cell can't be written")]
    Json(#[from] serde_json::Error),
    #[error("the table's buffer can't be taken")]
    Table,
    #[error("nothing was taken for too long")]
    Idle,
}

/// A walk over the live products by handle.
#[derive(Debug)]
pub struct Pages {
    app: Arc<App>,
    after: String,
    ended: bool,
    is_over: bool,
}

/// Some products, and what they are shown with.
#[derive(Debug, Default)]
pub struct Page {
    pub products: Vec<Product>,
    pub stock: HashMap<String, StockItem>,
    pub categories: HashMap<CategoryId, String>,
}

impl Page {
    pub fn stock_of(&self, variant_id: VariantId) -> Option<&StockItem> {
        self.stock.get(&variant_id.to_string())
    }
}

impl Pages {
    pub fn new(app: &Arc<App>) -> Self {
        Self { app: Arc::clone(app), after: String::new(), ended: false, is_over: false }
    }

    /// Whether the end was said.
    pub fn is_over(&self) -> bool {
        self.is_over
    }

    /// The next page; `None` after the last.
    pub async fn next(&mut self) -> Result<Option<Page>, CutOff> {
        if self.ended {
            self.is_over = true;
            return Ok(None);
        }
        // A rebuild empties the tables: what is read then is not all there is.
        for projection in ["product", "stock"] {
            self.app.checkpoints.of(projection).await.map_err(|_| CutOff::BeingMade)?;
        }
        let listed = projections::product::listed(&self.app.pool, &self.after, PAGE_PRODUCTS).await?;
        self.ended = i64::try_from(listed.len()).is_ok_and(|length| length < PAGE_PRODUCTS);
        let mut page = Page::default();
        let mut variants = Vec::new();
        let mut categories: Vec<CategoryId> = Vec::new();
        for Listed { key, product } in listed {
            variants.extend(product.variants.iter().map(|variant| variant.variant_id.to_string()));
            categories.extend(&product.category_ids);
            page.products.push(product);
            self.after = key;
        }
        let rows = projections::state::rows::<StockItem>(&self.app.pool, "stock", &variants).await?;
        page.stock = rows.into_iter().map(|row| (row.id, row.state)).collect();
        categories.sort_unstable();
        categories.dedup();
        page.categories = projections::product::category_handles(&self.app.pool, &categories).await?;
        Ok(Some(page))
    }
}

/// An answer in pieces: made of a page when the caller has room for more.
#[derive(Debug)]
pub struct Pieces {
    ready: VecDeque<bytes::Bytes>,
    asked: Instant,
    idle_timeout: Duration,
}

impl Pieces {
    pub fn new(idle_timeout: Duration) -> Self {
        Self { ready: VecDeque::new(), asked: Instant::now(), idle_timeout }
    }

    pub fn push(&mut self, text: Vec<u8>) {
        let mut rest = bytes::Bytes::from(text);
        while !rest.is_empty() {
            self.ready.push_back(rest.split_to(rest.len().min(PIECE_BYTES_MAX)));
        }
        self.asked = Instant::now();
    }

    /// The next piece that is ready.
    pub fn next(&mut self) -> Result<Option<bytes::Bytes>, CutOff> {
        let waited = self.asked.elapsed();
        self.asked = Instant::now();
        if waited > self.idle_timeout { Err(CutOff::Idle) } else { Ok(self.ready.pop_front()) }
    }
}
