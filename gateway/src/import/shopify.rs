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
pub const PRODUCT_ROWS_MAX: u64 = 5_000;
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
    TaxCode,
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
    (Field::TaxCode, &["variant tax code", "tax code"]),
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
        if self.count > PRODUCT_ROWS_MAX || self.bytes > PRODUCT_BYTES_MAX {
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

#[cfg(test)]
mod tests {
    use super::super::records::Records;
    use super::*;

    #[derive(Debug, Default)]
    struct Read {
        products: Vec<ImportedProduct>,
        errors: Vec<RowError>,
        refused: u64,
    }

    impl Read {
        /// `(line, column, code)` of every error.
        fn told(&self) -> Vec<(u64, &str, &str)> {
            self.errors.iter().map(|e| (e.line, e.column.as_deref().unwrap_or(""), e.code.as_str())).collect()
        }

        fn handles(&self) -> Vec<&str> {
            self.products.iter().map(|product| product.put.draft.handle.as_str()).collect()
        }

        fn hashes(&self) -> Vec<&str> {
            self.products.iter().filter_map(|product| Some(product.put.draft.source.as_ref()?.hash.as_str())).collect()
        }
    }

    fn read(file: impl AsRef<[u8]>) -> Read {
        let mut records = Records::new();
        records.push(file.as_ref());
        records.end();
        let header = records.next_record().unwrap().unwrap();
        let terms = Terms { currency: "EUR".parse().unwrap(), language: "en".to_owned(), prices_include_tax: true };
        let mut products = Products::new(Columns::read(&header).unwrap(), terms);
        let mut parsed = Vec::new();
        while let Some(record) = records.next_record() {
            parsed.extend(products.push(record));
        }
        parsed.extend(products.finish());
        let mut read = Read::default();
        for parsed in parsed {
            match parsed {
                Parsed::Product(product) => read.products.push(*product),
                Parsed::Refused { rows, errors } => {
                    read.refused += rows;
                    read.errors.extend(errors);
                }
            }
        }
        read
    }

    const OLD: &str = "\
Handle,Title,Body (HTML),Vendor,Type,Tags,Published,Option1 Name,Option1 Value,Variant SKU,Variant Barcode,Variant Price,Variant Compare At Price,Variant Inventory Qty,Variant Inventory Policy,Variant Grams,Image Src,Status
tee,Tee,<p>Soft</p>,Loom,Shirt,\"cotton, summer\",TRUE,Size,S,TEE-S,0001,19.90,24.90,5,deny,150,https://cdn.example/tee.jpg,active
tee,,,,,,,,M,TEE-M,0002,19.90,,0,continue,160,,
tee,,,,,,,,,,,,,,,,https://cdn.example/back.jpg,
mug,Mug,,Loom,,,TRUE,Title,Default Title,MUG,,7,,12,deny,,,draft
";
    const NEW: &str = "\
Title,URL handle,Description,Vendor,Type,Tags,Published on online store,Status,SKU,Barcode,Option1 name,Option1 value,Price,Compare-at price,Inventory quantity,Continue selling when out of stock,Weight value (grams),Product image URL
Tee,tee,<p>Soft</p>,Loom,Shirt,\"cotton, summer\",TRUE,active,TEE-S,0001,Size,S,19.90,24.90,5,deny,150,https://cdn.example/tee.jpg
,tee,,,,,,,TEE-M,0002,,M,19.90,,0,continue,160,
,tee,,,,,,,,,,,,,,,,https://cdn.example/back.jpg
Mug,mug,,Loom,,,TRUE,draft,MUG,,Title,Default Title,7,,12,deny,,
";

    #[test]
    fn both_header_generations_say_the_same() {
        let (old, new) = (read(OLD), read(NEW));
        assert_eq!(old.told(), []);
        assert_eq!(new.told(), []);
        assert_eq!(old.handles(), ["tee", "mug"]);
        for (old, new) in old.products.iter().zip(&new.products) {
            assert_eq!(old.put.draft, new.put.draft);
            assert_eq!(old.put.stock, new.put.stock);
        }
    }

    #[test]
    fn rows_that_share_a_handle_are_one_product_with_its_variants_and_pictures() {
        let read = read(OLD);
        let tee = &read.products[0].put.draft;
        assert_eq!(read.products[0].rows, 3);
        assert_eq!(tee.tags, ["cotton", "summer"]);
        assert_eq!(tee.options.len(), 1);
        let skus: Vec<_> = tee.variants.iter().filter_map(|variant| variant.sku.as_deref()).collect();
        assert_eq!(skus, ["TEE-S", "TEE-M"]);
        let urls: Vec<_> = tee.media.iter().map(|media| (media.position, media.url.as_str())).collect();
        assert_eq!(urls, [(1, "https://cdn.example/tee.jpg"), (2, "https://cdn.example/back.jpg")]);
        assert_eq!(tee.variants[0].prices[0].price.to_string(), "19.90 EUR");
        assert_eq!(tee.variants[1].prices[0].compare_at, None);
        let stock: Vec<_> = read.products[0].put.stock.iter().map(|stock| stock.quantity).collect();
        assert_eq!(stock, [Some(5), Some(0)]);
    }

    #[test]
    fn the_default_title_is_no_option_and_a_draft_is_not_published() {
        let read = read(OLD);
        let mug = &read.products[1].put.draft;
        assert!(mug.options.is_empty());
        assert!(!mug.published);
        assert!(read.products[0].put.draft.published);
    }

    #[test]
    fn metafields_become_attributes_under_their_key() {
        let read = read(
            "Handle,Title,Price,colour (product.metafields.attr.colour),Ink type (product.metafields.attr.ink_type)\n\
             pen,Pen,1,Blue,\n",
        );
        let attributes = &read.products[0].put.draft.attributes;
        assert_eq!(attributes.len(), 1);
        assert_eq!((attributes[0].key.as_str(), attributes[0].value.as_str()), ("colour", "Blue"));
    }

    #[test]
    fn quantities_and_the_order_of_columns_make_no_other_row() {
        let first = read("Handle,Title,Price,Inventory quantity\npen,Pen,1,5\n");
        let moved = read("Price,Inventory quantity,Title,Handle\n1,7,Pen,pen\n");
        let dearer = read("Handle,Title,Price,Inventory quantity\npen,Pen,2,5\n");
        assert_eq!(first.hashes(), moved.hashes());
        assert_ne!(first.hashes(), dearer.hashes());
    }

    /// A file of three products, the middle one with the given cells.
    fn told_of(title: &str, price: &str, quantity: &str) -> Vec<(String, String)> {
        let file = format!("Handle,Title,Variant Price,Variant Inventory Qty\na,A,1,1\nb,{title},{price},{quantity}\nc,C,3,3\n");
        let read = read(file);
        assert_eq!(read.handles().first(), Some(&"a"));
        assert_eq!(read.handles().last(), Some(&"c"));
        assert!(read.errors.iter().all(|error| error.line == 3));
        assert_eq!(read.refused, u64::from(!read.errors.is_empty()));
        read.errors.into_iter().map(|error| (error.column.unwrap_or_default(), error.code)).collect()
    }

    #[test]
    fn a_bad_cell_is_told_with_its_column_and_keeps_only_its_product_out() {
        let told = |column: &str, code: &str| vec![(column.to_owned(), code.to_owned())];
        assert_eq!(told_of("B", "2", "2"), []);
        assert_eq!(told_of("", "2", "2"), told("Title", "title_missing"));
        let long = "x".repeat(product::TITLE_CHARS_MAX + 1);
        assert_eq!(told_of(&long, "2", "2"), told("Title", "title_too_long"));
        assert_eq!(told_of("B", "", "2"), told("Variant Price", "price_missing"));
        assert_eq!(told_of("B", "two", "2"), told("Variant Price", "price_not_a_number"));
        assert_eq!(told_of("B", "\"1,299.00\"", "2"), told("Variant Price", "price_not_a_number"));
        assert_eq!(told_of("B", "-2", "2"), told("Variant Price", "price_negative"));
        assert_eq!(told_of("B", "2.005", "2"), told("Variant Price", "price_too_many_decimals"));
        assert_eq!(told_of("B", "2", "1.5"), told("Variant Inventory Qty", "stock_fractional"));
        assert_eq!(told_of("B", "2", "-1"), told("Variant Inventory Qty", "stock_negative"));
        assert_eq!(told_of("B", "2", "many"), told("Variant Inventory Qty", "stock_not_a_number"));
        assert_eq!(told_of("B", "2", "99999999999"), told("Variant Inventory Qty", "stock_too_large"));
        assert_eq!(told_of("B", "2", "2.0"), []);
    }

    #[test]
    fn a_row_without_handle_is_told_and_the_rest_goes_in() {
        let read = read("Handle,Title,Price\na,A,1\n,B,2\nc,C,3\n");
        assert_eq!(read.told(), [(3, "Handle", "handle_missing")]);
        assert_eq!(read.handles(), ["a", "c"]);
    }

    #[test]
    fn text_that_is_not_utf_8_costs_its_own_row() {
        let read = read(b"Handle,Title,Price\na,A,1\nb,B\xff,2\nc,C,3\n");
        assert_eq!(read.told(), [(3, "Title", "text_invalid")]);
        assert_eq!(read.handles(), ["a", "c"]);
    }

    #[test]
    fn an_unclosed_quote_costs_its_own_row() {
        let read = read("Handle,Title,Price\na,A,1\nb,\"B,2\nc,C,3\nd,\"D\",4\n");
        assert_eq!(read.told(), [(3, "Title", "row_unreadable")]);
        assert_eq!(read.handles(), ["a", "c", "d"]);
    }

    #[test]
    fn a_product_with_a_bad_variant_is_kept_out_whole() {
        let read = read("Handle,Title,Option1 Name,Option1 Value,Price\na,A,Size,S,1\na,,,M,x\nb,B,,,2\n");
        assert_eq!(read.told(), [(3, "Price", "price_not_a_number")]);
        assert_eq!((read.refused, read.handles()), (2, vec!["b"]));
    }

    #[test]
    fn rows_with_missing_cells_and_rows_that_stand_apart_are_refused() {
        let read = read("Handle,Title,Price\na,A,1\nb,B\nc,C,3\na,A,1\n");
        assert_eq!(read.told(), [(3, "", "row_cells"), (5, "Handle", "rows_apart")]);
        assert_eq!(read.handles(), ["a", "c"]);
    }

    #[test]
    fn variants_with_the_same_sku_or_options_are_told_at_the_second_one() {
        let file = "Handle,Title,Option1 Name,Option1 Value,SKU,Price\n\
                    a,A,Size,S,X,1\na,,,M,x,1\nb,B,Size,S,Y,1\nb,,,S,Z,1\n";
        assert_eq!(read(file).told(), [(3, "SKU", "sku_duplicate"), (5, "Option1 Value", "options_duplicate")]);
    }

    #[test]
    fn a_file_without_a_price_column_is_refused_as_a_whole() {
        let mut records = Records::new();
        records.push(b"Handle,Title\n");
        let header = records.next_record().unwrap().unwrap();
        assert!(Columns::read(&header).unwrap_err().contains("variant price"));
    }
}
