//! Shopify's product CSV, both header generations: which column is which, and which rows are one product.
//!
//! Rows that share a handle stand together; the first has the product's own fields, each a variant, a picture or both.
//! `… (product.metafields.⟨namespace⟩.⟨key⟩)` columns become attributes.

use std::collections::{BTreeMap, HashSet};

use domain::money::Currency;

use super::RowError;
use super::product::{self, ImportedProduct};
use super::records::{Fault, Record};

/// Most rows that one product may have, and most bytes that they may have together.
pub const PRODUCT_ROWS_MAX: usize = 5_000;
pub const PRODUCT_BYTES_MAX: usize = 16 << 20;
/// Most products that one file may have; their handles are remembered, so that rows which stand apart are found.
pub const PRODUCTS_MAX: usize = 5_000_000;

/// What a column means.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Field {
    Handle,
    Title,
    Description,
    Vendor,
    Category,
    Type,
    Tags,
    Published,
    Status,
    OptionName(u8),
    OptionValue(u8),
    Sku,
    Barcode,
    Price,
    CompareAt,
    Quantity,
    Policy,
    Tracker,
    Grams,
    RequiresShipping,
    Taxable,
    ImageUrl,
    ImagePosition,
    ImageAlt,
    VariantImage,
}

/// The names of a column in the two generations, in lower case. The same meaning never has two columns in one file.
const COLUMNS: &[(Field, &[&str])] = &[
    (Field::Handle, &["handle", "url handle"]),
    (Field::Title, &["title"]),
    (Field::Description, &["body (html)", "description"]),
    (Field::Vendor, &["vendor"]),
    (Field::Category, &["product category"]),
    (Field::Type, &["type"]),
    (Field::Tags, &["tags"]),
    (Field::Published, &["published", "published on online store"]),
    (Field::Status, &["status"]),
    (Field::OptionName(1), &["option1 name"]),
    (Field::OptionValue(1), &["option1 value"]),
    (Field::OptionName(2), &["option2 name"]),
    (Field::OptionValue(2), &["option2 value"]),
    (Field::OptionName(3), &["option3 name"]),
    (Field::OptionValue(3), &["option3 value"]),
    (Field::Sku, &["variant sku", "sku"]),
    (Field::Barcode, &["variant barcode", "barcode"]),
    (Field::Price, &["variant price", "price"]),
    (Field::CompareAt, &["variant compare at price", "compare-at price", "compare at price"]),
    (Field::Quantity, &["variant inventory qty", "inventory quantity"]),
    (Field::Policy, &["variant inventory policy", "continue selling when out of stock"]),
    (Field::Tracker, &["variant inventory tracker", "inventory tracker"]),
    (Field::Grams, &["variant grams", "weight value (grams)"]),
    (Field::RequiresShipping, &["variant requires shipping", "requires shipping"]),
    (Field::Taxable, &["variant taxable", "charge tax"]),
    (Field::ImageUrl, &["image src", "product image url"]),
    (Field::ImagePosition, &["image position"]),
    (Field::ImageAlt, &["image alt text"]),
    (Field::VariantImage, &["variant image", "variant image url"]),
];
/// Without these a file has no products to sell.
const REQUIRED: [Field; 3] = [Field::Handle, Field::Title, Field::Price];

/// What the file doesn't say.
#[derive(Debug, Clone)]
pub struct Terms {
    pub currency: Currency,
    /// Of the file's texts.
    pub language: String,
    pub prices_include_tax: bool,
}

/// Where each column of a file stands.
#[derive(Debug)]
pub struct Columns {
    headers: Vec<String>,
    places: BTreeMap<Field, usize>,
    /// Attributes: their place and key.
    pub attributes: Vec<(usize, String)>,
    pub ignored: Vec<String>,
}

impl Columns {
    /// Reads a header; the error says what the file lacks.
    pub fn read(header: &Record) -> Result<Self, String> {
        let mut columns = Self { headers: Vec::new(), places: BTreeMap::new(), attributes: Vec::new(), ignored: Vec::new() };
        let mut keys = HashSet::new();
        for (place, cell) in header.cells.iter().enumerate() {
            let name = String::from_utf8_lossy(cell).trim().to_owned();
            let lower = name.to_lowercase();
            let known = COLUMNS.iter().find(|(_, names)| names.contains(&lower.as_str()));
            if let Some((field, _)) = known {
                if let Some(first) = columns.places.insert(*field, place) {
                    return Err(format!("the columns {:?} and {name:?} mean the same; leave one out", columns.headers[first]));
                }
            } else if let Some((namespace, key)) = metafield(&lower) {
                let key = if keys.insert(key.to_owned()) { key.to_owned() } else { format!("{namespace}.{key}") };
                columns.attributes.push((place, key));
            } else if !name.is_empty() {
                columns.ignored.push(name.clone());
            }
            columns.headers.push(name);
        }
        for field in REQUIRED {
            if !columns.places.contains_key(&field) {
                let names = COLUMNS.iter().find(|(known, _)| *known == field).map_or(&[][..], |(_, names)| *names);
                let detail = format!("the file has no column {names:?}; its first line must be a header of Shopify's product CSV");
                return Err(detail);
            }
        }
        Ok(columns)
    }

    /// A column's name as the file writes it.
    pub fn name(&self, field: Field) -> Option<&str> {
        self.places.get(&field).map(|place| self.headers[*place].as_str())
    }

    /// All columns that mean something, with what identifies each in either generation.
    pub fn meaningful(&self) -> impl Iterator<Item = (usize, String)> {
        let fields = self.places.iter().map(|(field, place)| (*place, format!("{field:?}")));
        fields.chain(self.attributes.iter().map(|(place, key)| (*place, format!("attribute {key}"))))
    }

    pub fn has(&self, field: Field) -> bool {
        self.places.contains_key(&field)
    }

    pub fn place(&self, field: Field) -> Option<usize> {
        self.places.get(&field).copied()
    }
}

/// `colour (product.metafields.attr.colour)` → `(attr, colour)`.
fn metafield(header: &str) -> Option<(&str, &str)> {
    let (_, path) = header.strip_suffix(')')?.rsplit_once("(product.metafields.")?;
    path.split_once('.').filter(|(namespace, key)| !namespace.is_empty() && !key.is_empty())
}

/// One row of a product, as text.
#[derive(Debug)]
pub struct Row {
    pub line: u64,
    cells: Vec<String>,
}

impl Row {
    /// A cell without the space around it; empty where the file has no such column.
    pub fn get(&self, columns: &Columns, field: Field) -> &str {
        columns.place(field).map_or("", |place| self.at(place))
    }

    pub fn at(&self, place: usize) -> &str {
        self.cells.get(place).map_or("", |cell| cell.trim())
    }
}

/// The rows of one product, first to last.
#[derive(Debug)]
struct Group {
    handle: String,
    rows: Vec<Row>,
    /// Rows counted, unreadable ones too.
    count: u64,
    bytes: usize,
    errors: Vec<RowError>,
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
    terms: Terms,
    group: Option<Group>,
    /// Hashes of the handles whose rows are over.
    seen: HashSet<u64>,
}

impl Products {
    pub fn new(columns: Columns, terms: Terms) -> Self {
        Self { columns, terms, group: None, seen: HashSet::new() }
    }

    /// Takes the next row; answers what it completes: the product before it, or itself where it can't be taken.
    pub fn push(&mut self, record: Result<Record, Fault>) -> Vec<Parsed> {
        let (line, cells, fault) = match record {
            Ok(record) => {
                let (found, expected) = (record.cells.len(), self.columns.headers.len());
                let reason = format!("the row has {found} cells, the header has {expected}");
                let fault = (found != expected).then(|| RowError::new(record.line, None, "row_cells", reason));
                (record.line, record.cells, fault)
            }
            Err(fault) => {
                let column = self.columns.headers.get(fault.cells.len()).map(String::as_str);
                let error = RowError::new(fault.line, column, "row_unreadable", fault.reason.to_string());
                (fault.line, fault.cells, Some(error))
            }
        };
        let handle = match self.handle(line, &cells) {
            Ok(handle) => handle,
            // Whose row it is can't be known: it stands for itself.
            Err(error) => {
                return vec![Parsed::Refused { rows: 1, errors: vec![fault.unwrap_or(error)] }];
            }
        };
        let mut completed = Vec::new();
        if self.group.as_ref().is_none_or(|group| group.handle != handle) {
            completed.extend(self.finish());
            self.group = Some(self.begin(line, handle));
        }
        if let Some(group) = &mut self.group {
            group.take(&self.columns, line, cells, fault);
        }
        completed
    }

    /// The product whose rows are over.
    pub fn finish(&mut self) -> Option<Parsed> {
        let group = self.group.take()?;
        if !group.errors.is_empty() {
            return Some(Parsed::Refused { rows: group.count, errors: group.errors });
        }
        Some(match product::build(&group.handle, &group.rows, &self.columns, &self.terms) {
            Ok(product) => Parsed::Product(Box::new(product)),
            Err(errors) => Parsed::Refused { rows: group.count, errors },
        })
    }

    fn handle(&self, line: u64, cells: &[Vec<u8>]) -> Result<String, RowError> {
        let column = self.columns.name(Field::Handle);
        let cell = self.columns.place(Field::Handle).and_then(|place| cells.get(place));
        let text = std::str::from_utf8(cell.map_or(&[], Vec::as_slice))
            .map_err(|_| RowError::new(line, column, "text_invalid", "the handle is not UTF-8 text; save the file as UTF-8"))?;
        let handle = text.trim();
        if handle.is_empty() {
            return Err(RowError::new(line, column, "handle_missing", "the row has no handle; every row needs its product's"));
        }
        Ok(handle.to_owned())
    }

    fn begin(&mut self, line: u64, handle: String) -> Group {
        let mut group = Group { handle, rows: Vec::new(), count: 0, bytes: 0, errors: Vec::new() };
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
    fn take(&mut self, columns: &Columns, line: u64, cells: Vec<Vec<u8>>, fault: Option<RowError>) {
        self.count += 1;
        self.bytes += cells.iter().map(Vec::len).sum::<usize>();
        let readable = fault.is_none();
        self.errors.extend(fault);
        if !readable {
            return;
        }
        if self.count as usize > PRODUCT_ROWS_MAX || self.bytes > PRODUCT_BYTES_MAX {
            self.rows.clear();
            if self.errors.iter().all(|error| error.code != "product_too_large") {
                let reason = format!("a product may have {PRODUCT_ROWS_MAX} rows and {PRODUCT_BYTES_MAX} bytes");
                self.errors.push(RowError::new(line, None, "product_too_large", reason));
            }
            return;
        }
        let mut texts = Vec::with_capacity(cells.len());
        for (place, cell) in cells.into_iter().enumerate() {
            texts.push(String::from_utf8(cell).unwrap_or_else(|_| {
                let column = columns.headers.get(place).map(String::as_str);
                let reason = "the cell is not UTF-8 text; save the file as UTF-8";
                self.errors.push(RowError::new(line, column, "text_invalid", reason));
                String::new()
            }));
        }
        self.rows.push(Row { line, cells: texts });
    }
}

/// Handles that claim the same key are the same.
fn hash(handle: &str) -> u64 {
    let key = domain::claim::ClaimKey::handle(handle).key;
    let mut bytes = [0; 8];
    bytes.copy_from_slice(&blake3::hash(key.as_bytes()).as_bytes()[..8]);
    u64::from_le_bytes(bytes)
}
