//! `WooCommerce`'s product CSV, as its own exporter writes it (version 3.1 and later, English column names).
//!
//! Its export is in the order of ids: a variation can stand far behind the product that it is of. Products with
//! variations are held until the file ends, everything else goes in at once.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use domain::catalog::{Attribute, Text};

use super::category::{LEVEL, PATH};
use super::columns::{Columns, Field, OPTIONS_MAX, Row};
use super::group::{Group, HELD_BYTES_MAX, Texts};
use super::{RowError, list, weight};

/// What one column of the file becomes; others are made of several.
const COLUMNS: &[(&str, Field)] = &[
    ("name", Field::Title),
    ("description", Field::Description),
    ("brands", Field::Vendor),
    ("published", Field::Published),
    ("tags", Field::Tags),
    ("categories", Field::CategoryPaths),
    ("images", Field::ImageUrl),
    ("sku", Field::Sku),
    ("gtin, upc, ean, or isbn", Field::Barcode),
    ("regular price", Field::Price),
    ("sale price", Field::CompareAt),
    ("stock", Field::Quantity),
    ("low stock amount", Field::LowStock),
    ("backorders allowed?", Field::Policy),
    ("in stock?", Field::Tracker),
    ("tax status", Field::Taxable),
    ("tax class", Field::TaxCode),
    ("type", Field::RequiresShipping),
];
/// Read beside those.
const OTHERS: [&str; 5] = ["id", "parent", "short description", "date sale price starts", "date sale price ends"];

/// Puts variations to their products.
#[derive(Debug)]
pub struct WooCommerce {
    /// By the column's name in lower case.
    places: HashMap<String, usize>,
    /// Name and values of each attribute.
    attributes: Vec<(usize, usize)>,
    weight: Option<(usize, f64)>,
    /// Where the cells of a made row stand.
    made: BTreeMap<Field, usize>,
    width: usize,
    language: String,
    handles: HashMap<String, String>,
    held: Vec<Variable>,
    /// Held products by `id:44` and by sku.
    index: HashMap<String, usize>,
    orphans: Vec<(String, Texts)>,
    bytes: usize,
}

/// A product with variations, so far.
#[derive(Debug)]
struct Variable {
    handle: String,
    own: Texts,
    variations: Vec<Texts>,
}

impl WooCommerce {
    /// Reads a header; the error says what the file lacks.
    pub fn read(headers: &[String], language: &str) -> Result<(Self, Columns), String> {
        let lower: Vec<String> = headers.iter().map(|name| name.to_lowercase()).collect();
        let places: HashMap<String, usize> = lower.iter().cloned().enumerate().map(|(place, name)| (name, place)).collect();
        for name in ["type", "name", "regular price"] {
            if !places.contains_key(name) {
                return Err(format!("the file has no column {name:?}; its first line must be a header of WooCommerce's product CSV"));
            }
        }
        let mut columns = Columns::default();
        (columns.has_master_rows, columns.may_lack_options) = (true, true);
        let mut made = BTreeMap::new();
        let mut add = |field, name: &str| {
            made.insert(field, columns.add(field, "", name)?);
            Ok::<_, String>(())
        };
        add(Field::Handle, "Name")?;
        add(Field::Attributes, "Attribute 1 value(s)")?;
        add(Field::VariantImage, "Images")?;
        for (name, field) in COLUMNS {
            if let Some(place) = places.get(*name) {
                add(*field, &headers[*place])?;
            }
        }
        let mut attributes = Vec::new();
        for number in 1.. {
            let of = |what: &str| places.get(&format!("attribute {number} {what}")).copied();
            let (Some(name), Some(values)) = (of("name"), of("value(s)")) else { break };
            attributes.push((name, values));
            if number <= OPTIONS_MAX {
                add(Field::OptionName(number), &headers[name])?;
                add(Field::OptionValue(number), &headers[values])?;
                add(Field::OptionValues(number), &headers[values])?;
            }
        }
        let weight = lower.iter().enumerate().find_map(|(place, name)| {
            let unit = name.strip_prefix("weight (")?.strip_suffix(')')?;
            Some((place, weight::grams_of(unit)?))
        });
        if let Some((place, _)) = weight {
            add(Field::Grams, &headers[place])?;
        }
        let is_read = |name: &str| {
            COLUMNS.iter().any(|(known, _)| *known == name)
                || OTHERS.contains(&name)
                || name.starts_with("attribute ")
                || name.starts_with("weight (")
        };
        columns.ignored = headers.iter().zip(&lower).filter(|(_, name)| !is_read(name)).map(|(name, _)| name.clone()).collect();
        let width = columns.headers.len();
        let (language, handles, index) = (language.to_owned(), HashMap::new(), HashMap::new());
        let woo =
            Self { places, attributes, weight, made, width, language, handles, held: Vec::new(), index, orphans: Vec::new(), bytes: 0 };
        Ok((woo, columns))
    }

    /// Takes a row; answers the product that it is, unless it has or is a variation.
    pub fn push(&mut self, texts: Texts) -> Option<Group> {
        let types: Vec<&str> = self.cell(&texts, "type").split(',').map(str::trim).collect();
        let is = |kind: &str| types.iter().any(|word| word.eq_ignore_ascii_case(kind));
        if is("variation") {
            self.bytes += texts.cells.iter().map(String::len).sum::<usize>();
            let parent = self.cell(&texts, "parent").to_lowercase();
            match self.index.get(&parent).copied() {
                _ if self.bytes > HELD_BYTES_MAX => return Some(too_large(texts.line)),
                Some(at) => self.held[at].variations.push(texts),
                None => self.orphans.push((parent, texts)),
            }
            return None;
        }
        if let Some(error) = texts.error {
            return Some(refused(error));
        }
        let (is_variable, is_simple) = (is("variable"), is("simple"));
        if !is_variable && !is_simple {
            let reason = format!("a product of the type {:?} has no price of its own, so it can't be sold here", self.cell(&texts, "type"));
            return Some(refused(RowError::new(texts.line, Some("Type"), "type_unsupported", reason)));
        }
        let Some(handle) = self.handle(&texts) else {
            return Some(refused(RowError::new(texts.line, Some("Name"), "title_missing", "a product needs its name")));
        };
        if is_simple {
            let mut group = Group::new(handle);
            let rows = self.rows(&texts, &group.handle, &BTreeSet::new());
            let bytes = texts.cells.iter().map(String::len).sum();
            group.take(texts.line, rows, bytes, None);
            return Some(group);
        }
        self.bytes += texts.cells.iter().map(String::len).sum::<usize>();
        if self.bytes > HELD_BYTES_MAX {
            return Some(too_large(texts.line));
        }
        let at = self.held.len();
        for key in [format!("id:{}", self.cell(&texts, "id")), self.cell(&texts, "sku").to_lowercase()] {
            if !key.is_empty() {
                self.index.entry(key).or_insert(at);
            }
        }
        self.held.push(Variable { handle, own: texts, variations: Vec::new() });
        None
    }

    /// The products with variations, now that all variations are known.
    pub fn finish(&mut self) -> Vec<Group> {
        let mut groups = Vec::new();
        for (parent, texts) in std::mem::take(&mut self.orphans) {
            if let Some(at) = self.index.get(&parent).copied() {
                self.held[at].variations.push(texts);
                continue;
            }
            let reason = format!("the file has no variable product {parent:?}, by its SKU or as id:⟨ID⟩");
            let error = RowError::new(texts.line, Some("Parent"), "parent_missing", reason);
            groups.push(refused(texts.error.unwrap_or(error)));
        }
        for variable in std::mem::take(&mut self.held) {
            groups.push(self.variable(variable));
        }
        groups
    }

    fn variable(&self, of: Variable) -> Group {
        let mut group = Group::new(of.handle);
        // What tells variations apart; a variation without a value is good for any.
        let named = of.variations.iter().flat_map(|texts| self.attributes_of(texts)).filter(|(_, value)| !value.is_empty());
        let options: BTreeSet<String> = named.map(|(name, _)| name.to_lowercase()).collect();
        let bytes = |texts: &Texts| texts.cells.iter().map(String::len).sum::<usize>();
        let rows = self.rows(&of.own, &group.handle, &options);
        let parent_names: Vec<String> = self.attributes_of(&of.own).map(|(name, _)| name.to_lowercase()).collect();
        group.take(of.own.line, rows, bytes(&of.own), None);
        for texts in of.variations {
            let row = self.variation(&texts, &group.handle, &parent_names);
            let (line, bytes) = (texts.line, bytes(&texts));
            group.take(line, vec![row], bytes, texts.error);
        }
        group
    }

    /// The rows that a product's own row means: itself, and one for each further picture. `options`: what its variations are
    /// told apart by, in lower case.
    fn rows(&self, texts: &Texts, handle: &str, options: &BTreeSet<String>) -> Vec<Row> {
        let mut row = self.row(texts, handle);
        let (mut others, language) = (Vec::new(), &self.language);
        for (number, (name, values)) in (1_u8..=u8::MAX).zip(self.attributes_of(texts)).filter(|(_, (name, _))| !name.is_empty()) {
            if options.contains(&name.to_lowercase()) && number <= OPTIONS_MAX {
                let labels = list::split(values).into_iter().map(|label| Text::from([(language.clone(), label.trim().to_owned())]));
                self.set(&mut row, Field::OptionName(number), name.to_owned());
                let labels = serde_json::to_string(&labels.collect::<Vec<_>>()).unwrap_or_default();
                self.set(&mut row, Field::OptionValues(number), labels);
            } else if !values.is_empty() {
                others.push(attribute(&super::slug(name).replace('-', "_"), &list::split(values).join(", ")));
            }
        }
        let short = self.cell(texts, "short description");
        if self.cell(texts, "description").is_empty() {
            self.set(&mut row, Field::Description, short.to_owned());
        } else if !short.is_empty() {
            others.push(attribute("short_description", short));
        }
        self.set(&mut row, Field::Attributes, serde_json::to_string(&others).unwrap_or_default());
        let mut pictures = list::split(self.cell(texts, "images")).into_iter();
        self.set(&mut row, Field::ImageUrl, pictures.next().unwrap_or_default());
        let mut rows = vec![row];
        for picture in pictures {
            let mut row = Row { line: texts.line, cells: vec![String::new(); self.width] };
            self.set(&mut row, Field::Handle, handle.to_owned());
            self.set(&mut row, Field::ImageUrl, picture);
            rows.push(row);
        }
        rows
    }

    fn variation(&self, texts: &Texts, handle: &str, parent_names: &[String]) -> Row {
        let mut row = self.row(texts, handle);
        for (name, value) in self.attributes_of(texts) {
            let at = parent_names.iter().position(|known| *known == name.to_lowercase());
            if let Some(number) = at.and_then(|at| u8::try_from(at + 1).ok()) {
                self.set(&mut row, Field::OptionValue(number), value.to_owned());
            }
        }
        let picture = list::split(self.cell(texts, "images")).into_iter().next().unwrap_or_default();
        self.set(&mut row, Field::VariantImage, picture);
        row
    }

    /// What a product and a variation have alike.
    fn row(&self, texts: &Texts, handle: &str) -> Row {
        let mut row = Row { line: texts.line, cells: vec![String::new(); self.width] };
        for (name, field) in COLUMNS {
            self.set(&mut row, *field, self.cell(texts, name).to_owned());
        }
        let is = |kind: &str| self.cell(texts, "type").split(',').any(|word| word.trim().eq_ignore_ascii_case(kind));
        let flag = |yes: bool| if yes { "TRUE" } else { "FALSE" }.to_owned();
        self.set(&mut row, Field::Handle, handle.to_owned());
        self.set(&mut row, Field::ImageUrl, String::new());
        // -1 is a draft, 0 is private, 2 is pending.
        self.set(&mut row, Field::Published, flag(self.cell(texts, "published") == "1"));
        self.set(&mut row, Field::RequiresShipping, flag(!is("virtual")));
        self.set(&mut row, Field::Taxable, flag(!self.cell(texts, "tax status").eq_ignore_ascii_case("none")));
        let (regular, sale) = (decimal(self.cell(texts, "regular price")), decimal(self.cell(texts, "sale price")));
        // A sale with dates ends: its price must not stay for ever.
        let has_dates = OTHERS[3..].iter().any(|name| !self.cell(texts, name).is_empty());
        let (price, compare_at) = if sale.is_empty() || has_dates { (regular, String::new()) } else { (sale, regular) };
        self.set(&mut row, Field::Price, price);
        self.set(&mut row, Field::CompareAt, compare_at);
        // Without a number nobody counts: it is there, or it is not.
        let in_stock = matches!(self.cell(texts, "in stock?"), "1" | "");
        let is_counted = !self.cell(texts, "stock").is_empty() || !in_stock;
        self.set(&mut row, Field::Tracker, if is_counted { "woocommerce" } else { "" }.to_owned());
        let paths = list::split(self.cell(texts, "categories"));
        let levels = |path: String| path.split(" > ").collect::<Vec<_>>().join(&LEVEL.to_string());
        self.set(&mut row, Field::CategoryPaths, paths.into_iter().map(levels).collect::<Vec<_>>().join(&PATH.to_string()));
        if let Some((place, grams)) = self.weight {
            let written = texts.cells.get(place).map_or("", String::as_str);
            self.set(&mut row, Field::Grams, weight::in_grams(&decimal(written), grams));
        }
        row
    }

    fn attributes_of<'t>(&'t self, texts: &'t Texts) -> impl Iterator<Item = (&'t str, &'t str)> {
        let at = |place: usize| texts.cells.get(place).map_or("", String::as_str);
        self.attributes.iter().map(move |(name, values)| (at(*name), at(*values)))
    }

    fn cell<'t>(&self, texts: &'t Texts, name: &str) -> &'t str {
        self.places.get(name).and_then(|place| texts.cells.get(*place)).map_or("", String::as_str)
    }

    fn set(&self, row: &mut Row, field: Field, text: String) {
        if let Some(cell) = self.made.get(&field).and_then(|place| row.cells.get_mut(*place)) {
            *cell = text;
        }
    }

    /// Its export has no slugs, so that the handle is made of the name; of another product with the name, of its id too.
    fn handle(&mut self, texts: &Texts) -> Option<String> {
        let name = self.cell(texts, "name");
        let slug = super::slug(name);
        if name.is_empty() {
            return None;
        }
        let id = self.cell(texts, "id").to_owned();
        let first = self.handles.entry(slug.clone()).or_insert_with(|| id.clone());
        Some(if *first == id { slug } else { format!("{slug}-{id}") })
    }
}

fn attribute(key: &str, value: &str) -> Attribute {
    Attribute { key: key.to_owned(), kind: "text".to_owned(), value: value.to_owned(), unit: None }
}

/// Written as the shop's country does; there are no thousands' separators.
fn decimal(text: &str) -> String {
    if text.contains('.') { text.to_owned() } else { text.replace(',', ".") }
}

fn refused(error: RowError) -> Group {
    let mut group = Group::new(String::new());
    group.take(error.line, Vec::new(), 0, Some(error));
    group
}

fn too_large(line: u64) -> Group {
    let reason = format!("products with variations take more than {HELD_BYTES_MAX} bytes in this file; split it");
    refused(RowError::new(line, None, "file_too_large", reason))
}
