//! What the columns of a product file mean: Shopify's names of both header generations, and ours for what Shopify has
//! none for.
//!
//! Ours are Shopify's name with a language, a currency or a location behind it (`Title [de]`, `Price [USD]`,
//! `Inventory quantity [berlin]`), and names of their own. A file with the column `Variant number` is an export of ours:
//! its cells are taken as they are, space around them included.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::sync::OnceLock;

use commands::catalog::{Kept, Part};
use domain::catalog::Text;

use super::records::Record;

/// Most options that a product of a file may have; Shopify's own have three.
pub const OPTIONS_MAX: u8 = 10;

/// What a column means.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Field {
    Handle,
    /// BCP 47 tag of the row's texts.
    Language,
    Title,
    Description,
    Vendor,
    Category,
    /// Handles of categories.
    Categories,
    /// Categories by their titles, from the root down.
    CategoryPaths,
    Type,
    Tags,
    /// Attributes that have no columns of their own, as JSON.
    Attributes,
    Published,
    Status,
    OptionName(u8),
    OptionValue(u8),
    /// All values of an option in their order, as JSON.
    OptionValues(u8),
    VariantNumber,
    Sku,
    Barcode,
    Price,
    /// ISO 4217 code of the row's prices.
    Currency,
    CompareAt,
    /// Prices that have no columns of their own, as JSON.
    Prices,
    Quantity,
    SafetyStock,
    LowStock,
    Policy,
    Tracker,
    Grams,
    RequiresShipping,
    Taxable,
    TaxCode,
    ImageUrl,
    ImagePosition,
    ImageAlt,
    ImageWidth,
    ImageHeight,
    VariantImage,
}

/// The names of a column in the two generations, in lower case. The same meaning never has two columns in one file.
const COLUMNS: &[(Field, &[&str])] = &[
    (Field::Handle, &["handle", "url handle"]),
    (Field::Title, &["title"]),
    (Field::Description, &["body (html)", "description"]),
    (Field::Vendor, &["vendor"]),
    (Field::Category, &["product category"]),
    (Field::Categories, &["categories"]),
    (Field::Type, &["type"]),
    (Field::Tags, &["tags"]),
    (Field::Published, &["published", "published on online store"]),
    (Field::Status, &["status"]),
    (Field::VariantNumber, &["variant number"]),
    (Field::Sku, &["variant sku", "sku"]),
    (Field::Barcode, &["variant barcode", "barcode"]),
    (Field::Price, &["variant price", "price"]),
    (Field::CompareAt, &["variant compare at price", "compare-at price", "compare at price"]),
    (Field::Prices, &["prices"]),
    (Field::Quantity, &["variant inventory qty", "inventory quantity"]),
    (Field::SafetyStock, &["safety stock"]),
    (Field::LowStock, &["low stock threshold"]),
    (Field::Policy, &["variant inventory policy", "continue selling when out of stock"]),
    (Field::Tracker, &["variant inventory tracker", "inventory tracker"]),
    (Field::Grams, &["variant grams", "weight value (grams)"]),
    (Field::RequiresShipping, &["variant requires shipping", "requires shipping"]),
    (Field::Taxable, &["variant taxable", "charge tax"]),
    (Field::TaxCode, &["variant tax code", "tax code"]),
    (Field::ImageUrl, &["image src", "product image url"]),
    (Field::ImagePosition, &["image position"]),
    (Field::ImageAlt, &["image alt text"]),
    (Field::ImageWidth, &["image width"]),
    (Field::ImageHeight, &["image height"]),
    (Field::VariantImage, &["variant image", "variant image url"]),
];
/// Without these a file has no products to sell.
const REQUIRED: [Field; 3] = [Field::Handle, Field::Title, Field::Price];
/// Fields that may have columns for a language, a currency or a location.
const TAGGED: [Field; 7] =
    [Field::Title, Field::Description, Field::ImageAlt, Field::Price, Field::CompareAt, Field::Quantity, Field::SafetyStock];

/// A column of an attribute.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AttributeColumn {
    pub place: usize,
    pub key: String,
    pub kind: String,
    pub unit: Option<String>,
}

/// Where each column of a file stands.
#[derive(Debug, Default)]
pub struct Columns {
    /// As the file writes them, in the order of the cells.
    pub headers: Vec<String>,
    places: BTreeMap<Field, usize>,
    /// Columns for one language, currency or location.
    tagged: Vec<(Field, String, usize)>,
    pub attributes: Vec<AttributeColumn>,
    pub variant_attributes: Vec<AttributeColumn>,
    pub ignored: Vec<String>,
    /// A product whose variants have rows of their own has one more, first, that is none of them.
    pub has_master_rows: bool,
    /// A variant without a value of an option is good for any.
    pub may_lack_options: bool,
    hashed: OnceLock<Vec<(usize, String)>>,
}

impl Columns {
    /// Reads a header of Shopify's or ours; the error says what the file lacks.
    pub fn read(header: &Record) -> Result<Self, String> {
        let mut columns = Self::default();
        let names: Vec<String> = header.cells.iter().map(|cell| String::from_utf8_lossy(cell).trim().to_owned()).collect();
        let is_ours = names.iter().any(|name| name.eq_ignore_ascii_case("variant number"));
        let mut keys = HashSet::new();
        for name in names {
            let written = super::unescape(&name).to_owned();
            if let Some((field, tag)) = known(&written) {
                columns.add(field, tag, &name)?;
            } else if let Some(metafield) = metafield(&written) {
                let (kind, unit) = if is_ours { metafield.kind() } else { ("text", None) };
                let is_new = keys.insert((metafield.of_variant, metafield.key.to_owned()));
                let key = if is_new || is_ours { metafield.key.to_owned() } else { format!("{}.{}", metafield.namespace, metafield.key) };
                let (kind, unit) = (kind.to_owned(), unit.map(str::to_owned));
                columns.add_attribute(AttributeColumn { place: 0, key, kind, unit }, metafield.of_variant, &name);
            } else {
                if !name.is_empty() {
                    columns.ignored.push(name.clone());
                }
                columns.headers.push(name);
            }
        }
        for field in REQUIRED {
            if !columns.has(field) {
                let names = COLUMNS.iter().find(|(known, _)| *known == field).map_or(&[][..], |(_, names)| *names);
                return Err(format!(
                    "the file has no column {names:?}; its first line must be a header of Shopify's product CSV, or name the file's \
                     own columns by a mapping file (--map)"
                ));
            }
        }
        Ok(columns)
    }

    /// One more column, with the name that the file has for it. `tag`: for one language, currency or location.
    pub fn add(&mut self, field: Field, tag: &str, name: &str) -> Result<usize, String> {
        let place = self.headers.len();
        if let Some(first) = self.at(field, tag) {
            return Err(format!("the columns {:?} and {name:?} mean the same; leave one out", self.headers[first]));
        }
        if tag.is_empty() {
            self.places.insert(field, place);
        } else {
            self.tagged.push((field, tag.to_owned(), place));
        }
        self.headers.push(name.to_owned());
        Ok(place)
    }

    pub fn add_attribute(&mut self, column: AttributeColumn, of_variant: bool, name: &str) -> usize {
        let place = self.headers.len();
        let columns = if of_variant { &mut self.variant_attributes } else { &mut self.attributes };
        columns.push(AttributeColumn { place, ..column });
        self.headers.push(name.to_owned());
        place
    }

    /// A column's name as the file writes it.
    pub fn name(&self, field: Field) -> Option<&str> {
        let place = self.place(field).or_else(|| self.tagged(field).next().map(|(_, place)| place));
        place.map(|place| self.headers[place].as_str())
    }

    /// All columns that mean something but quantities, with what identifies each in either generation; by that name.
    pub fn hashed(&self) -> &[(usize, String)] {
        self.hashed.get_or_init(|| {
            let fields = self.places.iter().map(|(field, place)| (*place, format!("{field:?}")));
            let tagged = self.tagged.iter().map(|(field, tag, place)| (*place, format!("{field:?} {tag}")));
            let attributes = self.attributes.iter().map(|column| (column.place, format!("attribute {}", column.key)));
            let of_variants = self.variant_attributes.iter().map(|column| (column.place, format!("variant attribute {}", column.key)));
            let all = fields.chain(tagged).chain(attributes).chain(of_variants);
            let mut hashed: Vec<(usize, String)> = all.filter(|(place, _)| !self.is_quantity(*place)).collect();
            hashed.sort_by(|a, b| a.1.cmp(&b.1));
            hashed
        })
    }

    /// The highest number of an option that the file has columns for.
    pub fn options(&self) -> u8 {
        (1..=OPTIONS_MAX).rev().find(|number| self.has(Field::OptionValue(*number))).unwrap_or(0)
    }

    /// Whether the file has the field, for all or for one language, currency or location.
    pub fn has(&self, field: Field) -> bool {
        self.places.contains_key(&field) || self.tagged.iter().any(|(known, ..)| *known == field)
    }

    pub fn place(&self, field: Field) -> Option<usize> {
        self.places.get(&field).copied()
    }

    /// The columns of a field that are for one language, currency or location each.
    pub fn tagged(&self, field: Field) -> impl Iterator<Item = (&str, usize)> {
        self.tagged.iter().filter(move |(known, ..)| *known == field).map(|(_, tag, place)| (tag.as_str(), *place))
    }

    fn at(&self, field: Field, tag: &str) -> Option<usize> {
        if tag.is_empty() { self.place(field) } else { self.tagged(field).find(|(known, _)| *known == tag).map(|(_, place)| place) }
    }

    /// The file is an export of ours.
    pub fn is_ours(&self) -> bool {
        self.has(Field::VariantNumber)
    }

    /// The file has variants, and not only texts of products that are there.
    pub fn has_variants(&self) -> bool {
        self.has(Field::Price)
    }

    /// Columns that say how much there is; an import must not undo what was sold since.
    fn is_quantity(&self, place: usize) -> bool {
        self.place(Field::Quantity) == Some(place) || self.tagged(Field::Quantity).any(|(_, known)| known == place)
    }

    /// What the file says nothing about.
    pub fn kept(&self) -> Kept {
        let parts = [
            (Part::Brand, &[Field::Vendor][..]),
            (Part::Kind, &[Field::Type]),
            (Part::Tags, &[Field::Tags]),
            (Part::TaxCategory, &[Field::Taxable, Field::TaxCode]),
            (Part::Categories, &[Field::Categories, Field::CategoryPaths]),
            (Part::Media, &[Field::ImageUrl, Field::VariantImage]),
            (Part::Published, &[Field::Published, Field::Status]),
            (Part::Variants, &[Field::Price]),
            (Part::Sku, &[Field::Sku]),
            (Part::Barcode, &[Field::Barcode]),
            (Part::Weight, &[Field::Grams]),
            (Part::RequiresShipping, &[Field::RequiresShipping]),
            (Part::TrackStock, &[Field::Tracker]),
            (Part::CompareAt, &[Field::CompareAt]),
            (Part::Policy, &[Field::Policy, Field::Tracker]),
        ];
        let silent = parts.iter().filter(|(_, fields)| !fields.iter().any(|field| self.has(*field)));
        let mut keys: BTreeSet<String> = self.attributes.iter().map(|column| column.key.clone()).collect();
        keys.extend(self.has(Field::Category).then(|| PRODUCT_CATEGORY.to_owned()));
        let variant_keys = self.variant_attributes.iter().map(|column| column.key.clone()).collect();
        Kept {
            parts: silent.map(|(part, _)| *part).collect(),
            // Where they have no columns the file names all that there are.
            attributes_but: (!self.has(Field::Attributes)).then_some(keys),
            variant_attributes_but: Some(variant_keys),
        }
    }
}

/// The attribute that Shopify's own category becomes.
pub const PRODUCT_CATEGORY: &str = "product_category";

/// `Title [de]` → the title in German; the tag is empty for a plain column.
fn known(name: &str) -> Option<(Field, &str)> {
    let (plain, tag) = name.strip_suffix(']').and_then(|name| name.rsplit_once(" [")).unwrap_or((name, ""));
    let plain = plain.to_lowercase();
    if let Some(field) = option_field(&plain) {
        return Some((field, tag)).filter(|_| tag.is_empty() || !matches!(field, Field::OptionValues(_)));
    }
    let (field, _) = COLUMNS.iter().find(|(_, names)| names.contains(&plain.as_str()))?;
    (tag.is_empty() || TAGGED.contains(field)).then_some((*field, tag))
}

/// `option2 value` → the second option's value.
fn option_field(name: &str) -> Option<Field> {
    let (number, what) = name.strip_prefix("option")?.split_once(' ')?;
    let number: u8 = number.parse().ok().filter(|number| (1..=OPTIONS_MAX).contains(number))?;
    match what {
        "name" => Some(Field::OptionName(number)),
        "value" => Some(Field::OptionValue(number)),
        "values" => Some(Field::OptionValues(number)),
        _ => None,
    }
}

/// `colour (product.metafields.attr.colour)`, taken apart.
struct Metafield<'a> {
    label: &'a str,
    namespace: &'a str,
    key: &'a str,
    of_variant: bool,
}

impl<'a> Metafield<'a> {
    /// Ours say in brackets what a value is that is no text: `depth [number mm] (…)`.
    fn kind(&self) -> (&'a str, Option<&'a str>) {
        let written = self.label.trim_end().strip_suffix(']').and_then(|label| label.rsplit_once('['));
        match written.map(|(_, written)| written.split_once(' ').unwrap_or((written, ""))) {
            None => ("text", None),
            Some((kind, unit)) => (kind, Some(unit).filter(|unit| !unit.is_empty())),
        }
    }
}

fn metafield(header: &str) -> Option<Metafield<'_>> {
    let (label, path) = header.strip_suffix(')')?.rsplit_once('(')?;
    let of_product = path.strip_prefix("product.metafields.");
    let path_of = of_product.or_else(|| path.strip_prefix("variant.metafields."))?;
    let (namespace, key) = path_of.split_once('.').filter(|(namespace, key)| !namespace.is_empty() && !key.is_empty())?;
    Some(Metafield { label, namespace, key, of_variant: of_product.is_none() })
}

/// One row of a product, as text.
#[derive(Debug)]
pub struct Row {
    pub line: u64,
    pub cells: Vec<String>,
}

impl Row {
    /// Empty where the file has no such column.
    pub fn get(&self, columns: &Columns, field: Field) -> &str {
        columns.place(field).map_or("", |place| self.at(place))
    }

    pub fn at(&self, place: usize) -> &str {
        self.cells.get(place).map_or("", String::as_str)
    }

    /// A text in all its languages; the plain column is in the file's own.
    pub fn text(&self, columns: &Columns, field: Field, language: &str) -> Text {
        let plain = columns.place(field).map(|place| (language, place));
        let all = plain.into_iter().chain(columns.tagged(field));
        all.map(|(language, place)| (language, self.at(place)))
            .filter(|(_, words)| !words.is_empty())
            .map(|(language, words)| (language.to_owned(), words.to_owned()))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_known_by_both_generations_and_by_what_we_add() {
        assert_eq!(known("Variant SKU"), Some((Field::Sku, "")));
        assert_eq!(known("Title [de]"), Some((Field::Title, "de")));
        assert_eq!(known("Option2 value [zh]"), Some((Field::OptionValue(2), "zh")));
        assert_eq!(known("Inventory quantity [berlin]"), Some((Field::Quantity, "berlin")));
        assert_eq!(known("SKU [de]"), None);
        assert_eq!(known("Option11 value"), None);
    }

    #[test]
    fn a_metafield_says_what_its_value_is_where_it_is_ours() {
        let ours = metafield("depth [number mm] (product.metafields.custom.depth)").unwrap();
        assert_eq!((ours.key, ours.kind(), ours.of_variant), ("depth", ("number", Some("mm")), false));
        let plain = metafield("Ink (variant.metafields.a.ink.type)").unwrap();
        assert_eq!((plain.namespace, plain.key, plain.kind(), plain.of_variant), ("a", "ink.type", ("text", None), true));
        assert!(metafield("Weight (grams)").is_none());
    }
}
