//! Imports: a file of products is streamed in, decided product by product, and answered line by line.
//!
//! Neither side holds the file. A row that is equal to its last import appends nothing, so that an import that broke off
//! is simply run again. A product goes in whole or not at all: one bad row keeps the product's other rows out, too, since
//! a product without them would lose the variants that they are.

mod category;
mod columns;
mod group;
mod layout;
pub mod list;
mod mapping;
mod media;
mod option;
mod product;
mod records;
mod run;
mod send;
#[cfg(test)]
mod tests;
pub mod tree;
mod weight;
mod woocommerce;

use serde::{Deserialize, Serialize};

pub use mapping::MAPPING_BYTES_MAX;
pub use run::Import;
pub use send::{reason, send, send_list};

/// Bad rows that an answer tells of one by one; the rest are counted.
pub const ERRORS_TOLD_MAX: u64 = 1_000;

/// What a spreadsheet takes for a formula when a cell begins with it.
const FORMULA: [char; 6] = ['=', '+', '-', '@', '\t', '\r'];

/// Whose columns a file has.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Format {
    /// Shopify's, both header generations, and ours.
    #[default]
    Shopify,
    WooCommerce,
    /// Its own, by this mapping file's text.
    Mapped(String),
}

/// How a file is to be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    pub format: Format,
    /// BCP 47 tag of the file's texts; the store's first language unless given.
    pub language: Option<String>,
    /// The cells are as they are: no apostrophe is taken off one that would else be a formula.
    pub raw_cells: bool,
    /// ISO 4217 code of the file's prices.
    pub currency: String,
    /// Stock is taken for variants that are there already, too.
    pub overwrite_stock: bool,
    /// Only say what would be done.
    pub dry_run: bool,
}

/// Why a row was not taken, and where.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct RowError {
    /// In the file, from 1; the header is line 1.
    pub line: u64,
    /// As the file's header writes it; absent where the whole row is meant.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub column: Option<String>,
    #[schema(example = "price_not_a_number")]
    pub code: String,
    pub reason: String,
    /// The other rows of the same product, which were not taken either; with the product's first error.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub lines_refused_too: Vec<u64>,
}

impl RowError {
    fn new(line: u64, column: Option<&str>, code: &str, reason: impl Into<String>) -> Self {
        Self { line, column: column.map(str::to_owned), code: code.to_owned(), reason: reason.into(), lines_refused_too: Vec::new() }
    }

    /// Names all rows of a refused product: those that no error stands at fell with the others.
    fn naming(mut errors: Vec<Self>, lines: &[u64]) -> Vec<Self> {
        let others = lines.iter().copied().filter(|line| errors.iter().all(|error| error.line != *line)).collect();
        if let Some(first) = errors.first_mut() {
            first.lines_refused_too = others;
        }
        errors
    }
}

/// One line of the answer: the counts so far, and the errors since the line before.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(default)]
pub struct Progress {
    /// The last line, and the whole file was read. A last line without it says why in `problem`.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub done: bool,
    /// Records read, the header left out.
    pub rows: u64,
    /// Products created, changed, and equal to what they were.
    pub created: u64,
    pub changed: u64,
    pub unchanged: u64,
    /// Rows that were not taken: the bad ones, and those of a product with a bad one.
    pub refused: u64,
    /// Appended to the log.
    pub events: u64,
    pub errors: Vec<RowError>,
    /// Errors beyond those that were told.
    #[serde(skip_serializing_if = "is_zero")]
    pub errors_omitted: u64,
    /// Columns of the file that mean nothing here; on the last line.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub ignored_columns: Vec<String>,
    /// What stopped the import before the file's end.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub problem: Option<Stopped>,
    /// The consistency token of everything that was done; on the last line.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub position: Option<String>,
}

/// Why an import ended early; what went in before stays.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Stopped {
    pub code: String,
    pub detail: String,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde's signature")]
fn is_zero(number: &u64) -> bool {
    *number == 0
}

/// A cell as a spreadsheet may open it: one that would be a formula gets an apostrophe, which [`unescape`] takes off again.
pub fn escape(cell: &str) -> std::borrow::Cow<'_, str> {
    if cell.trim_start_matches('\'').starts_with(FORMULA) { format!("'{cell}").into() } else { cell.into() }
}

fn unescape(cell: &str) -> &str {
    match cell.strip_prefix('\'') {
        Some(rest) if rest.trim_start_matches('\'').starts_with(FORMULA) => rest,
        _ => cell,
    }
}

/// A name as a part of a URL: its letters and digits in lower case, with `-` for everything between them.
fn slug(name: &str) -> String {
    let lower = name.to_lowercase();
    let words: Vec<&str> = lower.split(|c: char| !c.is_alphanumeric()).filter(|word| !word.is_empty()).collect();
    if words.is_empty() { "unnamed".to_owned() } else { words.join("-") }
}
