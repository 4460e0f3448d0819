//! Records put together to products: rows that share a handle stand together; the first has the product's own fields,
//! each a variant, a picture or both.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use commands::catalog::Kept;

use super::RowError;
use super::category::Categories;
use super::columns::{Columns, Field, Row};
use super::layout::Layout;
use super::product::{self, ImportedProduct, Terms, Workshop};
use super::records::{Fault, Record};

/// Most rows that one product may have, and most bytes that they may have together.
pub const PRODUCT_ROWS_MAX: usize = 5_000;
pub const PRODUCT_BYTES_MAX: usize = 16 << 20;
/// Most bytes of a file whose rows are held until it ends.
pub const HELD_BYTES_MAX: usize = 256 << 20;
/// Most products that one file may have; their handles are remembered, so that rows which stand apart are found.
pub const PRODUCTS_MAX: usize = 5_000_000;

/// A record as text, and what is wrong with it.
#[derive(Debug)]
pub struct Texts {
    pub line: u64,
    /// As the file has them; fewer where the record can't be read.
    pub cells: Vec<String>,
    pub error: Option<RowError>,
}

/// The rows of one product, first to last.
#[derive(Debug)]
pub struct Group {
    pub handle: String,
    pub rows: Vec<Row>,
    /// Of the rows of the file, unreadable ones too.
    lines: Vec<u64>,
    bytes: usize,
    pub errors: Vec<RowError>,
}

/// A product of the file, ready or refused.
#[derive(Debug)]
pub enum Parsed {
    Product(Box<ImportedProduct>),
    Refused { rows: u64, errors: Vec<RowError> },
}

/// Puts rows together to products.
#[derive(Debug)]
pub struct Products {
    pub columns: Columns,
    pub categories: Categories,
    /// Of the file itself, in the order of its cells.
    headers: Vec<String>,
    layout: Layout,
    terms: Terms,
    kept: Arc<Kept>,
    /// An apostrophe before what a spreadsheet would take for a formula is taken off.
    takes_apostrophes_off: bool,
    group: Option<Group>,
    /// Products whose rows stand apart, in the order of their first ones.
    held: Vec<Group>,
    held_at: HashMap<String, usize>,
    held_bytes: usize,
    /// Hashes of the handles whose rows are over.
    seen: HashSet<u64>,
}

impl Products {
    pub fn new(headers: Vec<String>, layout: Layout, columns: Columns, terms: Terms, categories: Categories) -> Self {
        let kept = Arc::new(columns.kept());
        let (group, seen, held, held_at) = (None, HashSet::new(), Vec::new(), HashMap::new());
        Self { columns, categories, headers, layout, terms, kept, takes_apostrophes_off: true, group, held, held_at, held_bytes: 0, seen }
    }

    pub fn with_raw_cells(mut self, raw: bool) -> Self {
        self.takes_apostrophes_off = !raw;
        self
    }

    /// Takes the next row; answers what it completes: the product before it, or itself where it can't be taken.
    pub fn push(&mut self, record: Result<Record, Fault>) -> Vec<Parsed> {
        let texts = self.texts(record);
        if let Layout::WooCommerce(woo) = &mut self.layout {
            let groups = woo.push(texts);
            return groups.into_iter().map(|group| self.build(group)).collect();
        }
        let bytes = texts.cells.iter().map(String::len).sum();
        let Texts { line, cells, error } = texts;
        let rows = match &self.layout {
            Layout::Mapped(mapping) => mapping.rows(line, &cells),
            Layout::Plain | Layout::WooCommerce(_) => vec![Row { line, cells }],
        };
        let handle = rows.first().map(|row| row.get(&self.columns, Field::Handle).trim()).unwrap_or_default().to_owned();
        // Whose row it is can't be known: it stands for itself.
        if handle.is_empty() {
            let column = self.columns.name(Field::Handle);
            let missing = || RowError::new(line, column, "handle_missing", "the row has no handle; every row needs its product's");
            return vec![Parsed::Refused { rows: 1, errors: vec![error.unwrap_or_else(missing)] }];
        }
        if matches!(&self.layout, Layout::Mapped(mapping) if mapping.scattered) {
            return self.hold(line, handle, rows, bytes, error).into_iter().collect();
        }
        let mut completed = Vec::new();
        if self.group.as_ref().is_none_or(|group| group.handle != handle) {
            completed.extend(self.complete());
            self.group = Some(self.begin(line, handle));
        }
        if let Some(group) = &mut self.group {
            group.take(line, rows, bytes, error);
        }
        completed
    }

    /// The products whose rows are over, now that the file is.
    pub fn finish(&mut self) -> Vec<Parsed> {
        if let Layout::WooCommerce(woo) = &mut self.layout {
            let groups = woo.finish();
            return groups.into_iter().map(|group| self.build(group)).collect();
        }
        let held = std::mem::take(&mut self.held);
        let mut finished: Vec<Parsed> = held.into_iter().map(|group| self.build(group)).collect();
        finished.extend(self.complete());
        finished
    }

    /// Keeps a row for its product until the file ends.
    fn hold(&mut self, line: u64, handle: String, rows: Vec<Row>, bytes: usize, error: Option<RowError>) -> Option<Parsed> {
        self.held_bytes += bytes;
        if self.held_bytes > HELD_BYTES_MAX {
            let reason = format!("a file whose rows stand apart may have {HELD_BYTES_MAX} bytes; split it");
            return Some(Parsed::Refused { rows: 1, errors: vec![RowError::new(line, None, "file_too_large", reason)] });
        }
        let at = *self.held_at.entry(domain::claim::ClaimKey::handle(&handle).key).or_insert_with(|| {
            self.held.push(Group::new(handle));
            self.held.len() - 1
        });
        self.held[at].take(line, rows, bytes, error);
        None
    }

    fn complete(&mut self) -> Option<Parsed> {
        let group = self.group.take()?;
        Some(self.build(group))
    }

    fn build(&mut self, group: Group) -> Parsed {
        let refused = |errors, lines: &[u64]| Parsed::Refused { rows: lines.len() as u64, errors: RowError::naming(errors, lines) };
        if !group.errors.is_empty() {
            return refused(group.errors, &group.lines);
        }
        let Self { columns, terms, categories, kept, .. } = self;
        match product::build(&group.handle, &group.rows, &group.lines, Workshop { columns, terms, categories, kept }) {
            Ok(product) => Parsed::Product(Box::new(product)),
            Err(errors) => refused(errors, &group.lines),
        }
    }

    /// The cells as text. Those of a file that is not ours without the space around them.
    fn texts(&self, record: Result<Record, Fault>) -> Texts {
        let (line, cells, mut error) = match record {
            Ok(Record { line, cells }) => {
                let (found, expected) = (cells.len(), self.headers.len());
                let reason = format!("the row has {found} cells, the header has {expected}");
                let error = (found != expected).then(|| RowError::new(line, None, "row_cells", reason));
                (line, cells, error)
            }
            Err(Fault { line, cells, reason }) => {
                let column = self.headers.get(cells.len()).map(String::as_str);
                let error = RowError::new(line, column, "row_unreadable", reason.to_string());
                (line, cells, Some(error))
            }
        };
        let is_ours = self.columns.is_ours();
        let mut texts = Vec::with_capacity(cells.len());
        for (place, cell) in cells.into_iter().enumerate() {
            let text = String::from_utf8(cell).unwrap_or_else(|_| {
                let column = self.headers.get(place).map(String::as_str);
                let reason = "the cell is not UTF-8 text; save the file as UTF-8";
                error.get_or_insert_with(|| RowError::new(line, column, "text_invalid", reason));
                String::new()
            });
            let trimmed = if is_ours { text.as_str() } else { text.trim() };
            let meant = if self.takes_apostrophes_off { super::unescape(trimmed) } else { trimmed };
            let meant = if is_ours { meant } else { meant.trim() };
            texts.push(if meant.len() == text.len() { text } else { meant.to_owned() });
        }
        Texts { line, cells: texts, error }
    }

    fn begin(&mut self, line: u64, handle: String) -> Group {
        let mut group = Group::new(handle);
        let column = self.columns.name(Field::Handle);
        if self.seen.len() >= PRODUCTS_MAX {
            let reason = format!("the file has more than {PRODUCTS_MAX} products; split it");
            group.errors.push(RowError::new(line, column, "too_many_products", reason));
        } else if !self.seen.insert(hash(&group.handle)) {
            let reason = "rows of this product stand further up; the rows of a product must stand together";
            group.errors.push(RowError::new(line, column, "rows_apart", reason));
        }
        group
    }
}

impl Group {
    pub fn new(handle: String) -> Self {
        Self { handle, rows: Vec::new(), lines: Vec::new(), bytes: 0, errors: Vec::new() }
    }

    /// One row of the file, and the rows that it means.
    pub fn take(&mut self, line: u64, rows: Vec<Row>, bytes: usize, error: Option<RowError>) {
        self.lines.push(line);
        self.bytes += bytes;
        if let Some(error) = error {
            self.errors.push(error);
            return;
        }
        if self.lines.len() > PRODUCT_ROWS_MAX || self.bytes > PRODUCT_BYTES_MAX {
            self.rows.clear();
            if self.errors.iter().all(|error| error.code != "product_too_large") {
                let reason = format!("a product may have {PRODUCT_ROWS_MAX} rows and {PRODUCT_BYTES_MAX} bytes");
                self.errors.push(RowError::new(line, None, "product_too_large", reason));
            }
            return;
        }
        self.rows.extend(rows);
    }
}

/// Handles that claim the same key are the same.
fn hash(handle: &str) -> u64 {
    let key = domain::claim::ClaimKey::handle(handle).key;
    let mut bytes = [0; 8];
    bytes.copy_from_slice(&blake3::hash(key.as_bytes()).as_bytes()[..8]);
    u64::from_le_bytes(bytes)
}
