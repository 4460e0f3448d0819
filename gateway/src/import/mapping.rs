//! Mapping files: which column of any CSV file is what, written down in TOML.
//!
//! The file's rows become rows as Shopify's would be, so that everything behind this module is the same for both.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::category::{LEVEL, PATH};
use super::columns::{AttributeColumn, Columns, Field, OPTIONS_MAX, Row};
use super::weight;

/// The longest mapping file: it travels with the request's line.
pub const MAPPING_BYTES_MAX: usize = 8 << 10;

/// The names that a mapping file has for what it maps.
const FIELDS: &[(&str, Field)] = &[
    ("handle", Field::Handle),
    ("language", Field::Language),
    ("title", Field::Title),
    ("description", Field::Description),
    ("brand", Field::Vendor),
    ("type", Field::Type),
    ("tags", Field::Tags),
    ("categories", Field::CategoryPaths),
    ("category_handles", Field::Categories),
    ("published", Field::Published),
    ("status", Field::Status),
    ("sku", Field::Sku),
    ("barcode", Field::Barcode),
    ("price", Field::Price),
    ("currency", Field::Currency),
    ("compare_at", Field::CompareAt),
    ("quantity", Field::Quantity),
    ("low_stock_threshold", Field::LowStock),
    ("policy", Field::Policy),
    ("tracked", Field::Tracker),
    ("weight", Field::Grams),
    ("requires_shipping", Field::RequiresShipping),
    ("taxable", Field::Taxable),
    ("tax_category", Field::TaxCode),
    ("image", Field::ImageUrl),
    ("image_alt", Field::ImageAlt),
    ("variant_image", Field::VariantImage),
];

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct MappingFile {
    columns: BTreeMap<String, Source>,
    /// Texts by language.
    #[serde(default)]
    translations: BTreeMap<String, BTreeMap<String, Source>>,
    /// Prices by currency.
    #[serde(default)]
    prices: BTreeMap<String, BTreeMap<String, Source>>,
    /// Quantities by location.
    #[serde(default)]
    stock: BTreeMap<String, Source>,
    #[serde(default)]
    options: Vec<OptionSource>,
    #[serde(default)]
    attributes: BTreeMap<String, AttributeSource>,
    /// A product whose variants have rows of their own has one more, first, that is none of them.
    #[serde(default)]
    product_rows: bool,
    /// Rows of a product may stand apart: all are held until the file ends.
    #[serde(default)]
    scattered: bool,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct OptionSource {
    name: Source,
    value: Source,
}

/// A column's name, or more about where a value comes from.
#[derive(Debug, Clone, Deserialize)]
#[serde(untagged)]
enum Source {
    Column(String),
    Detailed(Box<Detailed>),
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Detailed {
    column: Option<String>,
    /// The same for all rows.
    constant: Option<String>,
    /// What the file's words mean here; others stay as they are.
    #[serde(default)]
    values: BTreeMap<String, String>,
    /// Between several of them in one cell.
    separator: Option<String>,
    /// Between the levels of a category's path.
    levels: Option<String>,
    /// Of a weight.
    unit: Option<String>,
    unit_column: Option<String>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(untagged)]
enum AttributeSource {
    Column(String),
    Detailed(AttributeDetails),
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct AttributeDetails {
    column: String,
    #[serde(default = "text")]
    kind: String,
    unit: Option<String>,
}

fn text() -> String {
    "text".to_owned()
}

/// A mapping file, held against the header of a file.
#[derive(Debug)]
pub struct Mapping {
    /// One for each cell of a made row.
    cells: Vec<Cell>,
    /// Rows of a product may stand apart.
    pub scattered: bool,
}

#[derive(Debug)]
struct Cell {
    from: From,
    values: BTreeMap<String, String>,
    shape: Shape,
}

#[derive(Debug)]
enum From {
    Place(usize),
    Constant(String),
}

#[derive(Debug)]
enum Shape {
    Plain,
    /// Written with commas here.
    List {
        separator: String,
    },
    Paths {
        separator: Option<String>,
        levels: String,
    },
    Weight {
        grams: f64,
        unit_place: Option<usize>,
    },
}

impl Mapping {
    /// Reads a mapping file for a file with this header; the error says what doesn't fit.
    pub fn read(text: &str, headers: &[String]) -> Result<(Self, Columns), String> {
        let file: MappingFile = toml::from_str(text).map_err(|error| format!("the mapping file can't be read: {}", error.message()))?;
        let mut making = Making { headers, columns: Columns::default(), cells: Vec::new(), used: Vec::new() };
        making.columns.has_master_rows = file.product_rows;
        for (name, source) in &file.columns {
            making.field(name, "", source)?;
        }
        for (tag, fields) in file.translations.iter().chain(&file.prices) {
            for (name, source) in fields {
                making.field(name, tag, source)?;
            }
        }
        for (location, source) in &file.stock {
            making.field("quantity", location, source)?;
        }
        for (number, option) in (1..).zip(&file.options) {
            if number > OPTIONS_MAX {
                return Err(format!("the mapping file has more than {OPTIONS_MAX} options"));
            }
            making.add(Field::OptionName(number), "", &option.name)?;
            making.add(Field::OptionValue(number), "", &option.value)?;
        }
        for (key, source) in &file.attributes {
            making.attribute(key, source)?;
        }
        let (mapping, columns) = making.finish()?;
        Ok((Self { scattered: file.scattered, ..mapping }, columns))
    }

    /// The row that a row of the file means.
    pub fn rows(&self, line: u64, file: &[String]) -> Vec<Row> {
        vec![Row { line, cells: self.cells.iter().map(|cell| cell.read(file)).collect() }]
    }
}

impl Cell {
    fn read(&self, file: &[String]) -> String {
        let at = |place: usize| file.get(place).map_or("", String::as_str);
        let written = match &self.from {
            From::Place(place) => at(*place),
            From::Constant(constant) => constant,
        };
        let meant = self.values.get(written).map_or(written, String::as_str);
        match &self.shape {
            Shape::Plain => meant.to_owned(),
            Shape::List { separator } => meant.split(separator.as_str()).map(str::trim).collect::<Vec<_>>().join(","),
            Shape::Paths { separator, levels } => {
                let paths = separator.as_ref().map_or_else(|| vec![meant], |separator| meant.split(separator.as_str()).collect());
                let path = |path: &str| path.split(levels.as_str()).map(str::trim).collect::<Vec<_>>().join(&LEVEL.to_string());
                paths.into_iter().map(path).collect::<Vec<_>>().join(&PATH.to_string())
            }
            Shape::Weight { grams, unit_place } => {
                let unit = unit_place.map(at).filter(|unit| !unit.is_empty());
                weight::in_grams(meant, unit.and_then(weight::grams_of).unwrap_or(*grams))
            }
        }
    }
}

struct Making<'h> {
    headers: &'h [String],
    columns: Columns,
    cells: Vec<Cell>,
    used: Vec<usize>,
}

impl Making<'_> {
    fn field(&mut self, name: &str, tag: &str, source: &Source) -> Result<(), String> {
        let Some((_, field)) = FIELDS.iter().find(|(known, _)| *known == name) else {
            let names: Vec<&str> = FIELDS.iter().map(|(known, _)| *known).collect();
            return Err(format!("the mapping file maps {name:?}, which is none of {}", names.join(", ")));
        };
        self.add(*field, tag, source)
    }

    fn add(&mut self, field: Field, tag: &str, source: &Source) -> Result<(), String> {
        let details = match source {
            Source::Column(column) => Detailed { column: Some(column.clone()), ..Detailed::default() },
            Source::Detailed(details) => Detailed::clone(details),
        };
        let (from, name) = match (&details.column, &details.constant) {
            (Some(column), None) => (From::Place(self.place(column)?), column.clone()),
            (None, Some(constant)) => (From::Constant(constant.clone()), "(the mapping file)".to_owned()),
            _ => return Err("each value of a mapping file is of a `column` or a `constant`, and not of both".to_owned()),
        };
        let shape = match field {
            Field::CategoryPaths => {
                Shape::Paths { separator: details.separator, levels: details.levels.unwrap_or_else(|| " > ".to_owned()) }
            }
            Field::Tags | Field::Categories => Shape::List { separator: details.separator.unwrap_or_else(|| ",".to_owned()) },
            Field::Grams => {
                let unit = details.unit.as_deref().unwrap_or("g");
                let grams = weight::grams_of(unit).ok_or_else(|| format!("the unit {unit:?} of a weight may be g, kg, lb or oz"))?;
                let unit_place = details.unit_column.as_deref().map(|column| self.place(column)).transpose()?;
                Shape::Weight { grams, unit_place }
            }
            _ => Shape::Plain,
        };
        self.columns.add(field, tag, &name)?;
        self.cells.push(Cell { from, values: details.values, shape });
        Ok(())
    }

    /// `*` in key and column stands for the rest of a column's name.
    fn attribute(&mut self, key: &str, source: &AttributeSource) -> Result<(), String> {
        let details = match source {
            AttributeSource::Column(column) => AttributeDetails { column: column.clone(), kind: text(), unit: None },
            AttributeSource::Detailed(details) => details.clone(),
        };
        let found: Vec<(String, usize)> = match details.column.split_once('*') {
            None => vec![(key.to_owned(), self.place(&details.column)?)],
            Some((before, after)) => {
                let rest = |name: &str| Some(name.strip_prefix(before)?.strip_suffix(after)?.to_owned());
                let all = self.headers.iter().enumerate().filter_map(|(place, name)| Some((rest(name)?, place)));
                all.map(|(rest, place)| (key.replace('*', &rest), place)).collect()
            }
        };
        for (key, place) in found {
            self.used.push(place);
            let column = AttributeColumn { place: 0, key, kind: details.kind.clone(), unit: details.unit.clone() };
            self.columns.add_attribute(column, false, &self.headers[place]);
            self.cells.push(Cell { from: From::Place(place), values: BTreeMap::new(), shape: Shape::Plain });
        }
        Ok(())
    }

    fn place(&mut self, column: &str) -> Result<usize, String> {
        let found = self.headers.iter().position(|name| name == column);
        let place = found.ok_or_else(|| format!("the file has no column {column:?}, which the mapping file names"))?;
        self.used.push(place);
        Ok(place)
    }

    fn finish(mut self) -> Result<(Mapping, Columns), String> {
        if !self.columns.has(Field::Handle) {
            return Err("the mapping file must say which column the `handle` is".to_owned());
        }
        if self.columns.has(Field::Price) && !self.columns.has(Field::Title) {
            return Err("the mapping file maps a price and no `title`; without a price it is for products that are there".to_owned());
        }
        let unused = self.headers.iter().enumerate().filter(|(place, name)| !self.used.contains(place) && !name.is_empty());
        self.columns.ignored = unused.map(|(_, name)| name.clone()).collect();
        Ok((Mapping { cells: self.cells, scattered: false }, self.columns))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAP: &str = r#"
        product_rows = true
        [columns]
        handle = "slug"
        title = "name"
        price = "price"
        status = { column = "state", values = { live = "active" } }
        categories = { column = "category", levels = " -> " }
        weight = { column = "weight", unit = "kg", unit_column = "unit" }
        brand = { constant = "Kiln" }
        [translations.de]
        title = "name_de"
        [stock]
        berlin = "qty"
        [[options]]
        name = { constant = "Colour" }
        value = "colour"
        [attributes]
        "*" = "field.*"
    "#;

    #[test]
    fn a_row_becomes_what_the_mapping_file_says() {
        let names = ["slug", "name", "name_de", "price", "state", "category", "weight", "unit", "qty", "colour", "field.glaze", "x"];
        let headers: Vec<String> = names.iter().map(ToString::to_string).collect();
        let (mapping, columns) = Mapping::read(MAP, &headers).unwrap();
        let file = ["mug", "Mug", "Becher", "9", "live", "Table -> Cups", "0.3", "", "4", "red", "matt", "?"];
        let rows = mapping.rows(2, &file.map(str::to_owned));
        let get = |field| rows[0].get(&columns, field).to_owned();
        assert_eq!([get(Field::Handle), get(Field::Status), get(Field::Vendor), get(Field::Grams)], ["mug", "active", "Kiln", "300"]);
        assert_eq!(get(Field::CategoryPaths), format!("Table{LEVEL}Cups"));
        assert_eq!(rows[0].text(&columns, Field::Title, "en").get("de").map(String::as_str), Some("Becher"));
        assert_eq!((get(Field::OptionName(1)), get(Field::OptionValue(1))), ("Colour".to_owned(), "red".to_owned()));
        assert_eq!((columns.attributes[0].key.as_str(), rows[0].at(columns.attributes[0].place)), ("glaze", "matt"));
        assert_eq!(columns.tagged(Field::Quantity).next().map(|(code, _)| code), Some("berlin"));
        assert_eq!(columns.ignored, ["x"]);
    }

    #[test]
    fn what_does_not_fit_is_said() {
        let read = |text: &str| Mapping::read(text, &["slug".to_owned(), "name".to_owned()]).unwrap_err();
        assert!(read("[columns]\nhandle = \"sluk\"").contains("no column \"sluk\""));
        assert!(read("[columns]\nhandel = \"slug\"").contains("none of handle"));
        assert!(read("[columns]\ntitle = \"name\"").contains("`handle`"));
        assert!(read("[columns]\nhandle = {}").contains("`column` or a `constant`"));
        assert!(read("columns = 3").contains("can't be read"));
    }
}
