//! One product out of its rows: every cell checked, every error with its line and column.

use std::collections::{BTreeMap, HashMap};

use commands::catalog::{self, PutProduct, VariantStock};
use domain::catalog::{Attribute, Media, OptionValue, Price, ProductDraft, ProductOption, Source, Text, Variant};
use domain::id::{OptionId, ProductId, ValueId, VariantId};
use domain::inventory::{ON_HAND_MAX, StockPolicy};
use domain::money::Money;

use super::RowError;
use super::shopify::{Columns, Field, Row, Terms};

/// The longest title, in characters; the longest of Icecat's 19,406 has 259.
pub const TITLE_CHARS_MAX: usize = 280;
/// The longest URL of a picture.
pub const URL_BYTES_MAX: usize = 2_048;
/// The most grams that a variant weighs.
const GRAMS_MAX: f64 = 1e9;
/// How the source of an imported product is called.
pub const SYSTEM: &str = "shopify";
/// The value that stands for "no options".
const NO_OPTIONS: &str = "default title";

/// A product that can be put.
#[derive(Debug)]
pub struct ImportedProduct {
    /// Of its first row.
    pub line: u64,
    pub rows: u64,
    pub put: PutProduct,
}

/// Makes a product of its rows, or says all that is wrong with them.
pub fn build(handle: &str, rows: &[Row], columns: &Columns, terms: &Terms) -> Result<ImportedProduct, Vec<RowError>> {
    let Some(first) = rows.first() else {
        return Err(Vec::new());
    };
    let mut reading = Reading { columns, terms, product_id: catalog::product_id(handle), errors: Vec::new() };
    let title = reading.title(first);
    let published = reading.published(first);
    let options = reading.options(rows);
    let mut variants: Vec<Variant> = Vec::new();
    let mut stock = Vec::new();
    for row in rows.iter().filter(|row| row.line == first.line || is_variant(row, columns)) {
        let (variant, of_variant) = reading.variant(row, &options);
        stock.push(VariantStock { variant_id: variant.variant_id, ..of_variant });
        variants.push(variant);
    }
    reading.check_duplicates(rows, &variants);
    let media = reading.media(rows, &variants, first);
    let text = |text: &str| Text::from([(terms.language.clone(), text.to_owned())]);
    let get = |field| first.get(columns, field);
    let description = get(Field::Description);
    let draft = ProductDraft {
        product_id: reading.product_id,
        handle: handle.to_owned(),
        title: text(title),
        description: if description.is_empty() { Text::new() } else { text(description) },
        brand: get(Field::Vendor).to_owned(),
        kind: get(Field::Type).to_owned(),
        tags: get(Field::Tags).split(',').map(str::trim).filter(|tag| !tag.is_empty()).map(str::to_owned).collect(),
        options: options.iter().map(|option| option.drafted(&terms.language)).collect(),
        attributes: attributes(first, columns),
        category_ids: Vec::new(),
        tax_category: reading.tax_category(first),
        media,
        variants,
        published,
        source: Some(Source { system: SYSTEM.to_owned(), external_id: handle.to_owned(), hash: hash(rows, columns, terms) }),
    };
    if !reading.errors.is_empty() {
        return Err(reading.errors);
    }
    let put = PutProduct { draft, stock, overwrite_stock: false, known: false };
    Ok(ImportedProduct { line: first.line, rows: rows.len() as u64, put })
}

/// Rows after the first are variants when they say what tells a variant apart; others are pictures.
fn is_variant(row: &Row, columns: &Columns) -> bool {
    let fields = [Field::OptionValue(1), Field::OptionValue(2), Field::OptionValue(3), Field::Sku, Field::Price];
    fields.iter().any(|field| !row.get(columns, *field).is_empty())
}

/// What the rows say, apart from quantities: those are sold and counted, and an import must not undo that unasked.
/// Column order and header generation make no difference.
fn hash(rows: &[Row], columns: &Columns, terms: &Terms) -> String {
    let mut hash = blake3::Hasher::new();
    let mut put = |text: &str| {
        hash.update(&(text.len() as u64).to_be_bytes());
        hash.update(text.as_bytes());
    };
    put(terms.currency.as_str());
    put(&terms.language);
    put(if terms.prices_include_tax { "gross" } else { "net" });
    let quantity = columns.place(Field::Quantity);
    let mut places: Vec<(usize, String)> = columns.meaningful().filter(|(place, _)| Some(*place) != quantity).collect();
    places.sort_by(|a, b| a.1.cmp(&b.1));
    for row in rows {
        put("row");
        for (place, name) in &places {
            let text = row.at(*place);
            if !text.is_empty() {
                put(name);
                put(text);
            }
        }
    }
    hash.finalize().to_hex().to_string()
}

/// Metafields, and Shopify's own category where the file has one.
fn attributes(row: &Row, columns: &Columns) -> Vec<Attribute> {
    let category = ("product_category", row.get(columns, Field::Category));
    let metafields = columns.attributes.iter().map(|(place, key)| (key.as_str(), row.at(*place)));
    let given = std::iter::once(category).chain(metafields).filter(|(_, value)| !value.is_empty());
    let attribute = |(key, value): (&str, &str)| Attribute {
        key: key.to_owned(),
        // A file doesn't say what its values are; a model "7450" is no number.
        kind: "text".to_owned(),
        value: value.to_owned(),
        unit: None,
    };
    given.map(attribute).collect()
}

/// An option, and its values in the order of the file.
struct ImportedOption {
    number: u8,
    option_id: OptionId,
    name: String,
    values: Vec<(ValueId, String)>,
}

impl ImportedOption {
    fn drafted(&self, language: &str) -> ProductOption {
        let text = |text: &str| Text::from([(language.to_owned(), text.to_owned())]);
        let values = self.values.iter().map(|(value_id, label)| OptionValue { value_id: *value_id, label: text(label) });
        ProductOption { option_id: self.option_id, name: text(&self.name), values: values.collect() }
    }
}

/// Reads cells and gathers what is wrong with them.
struct Reading<'a> {
    columns: &'a Columns,
    terms: &'a Terms,
    product_id: ProductId,
    errors: Vec<RowError>,
}

impl Reading<'_> {
    fn refuse(&mut self, row: &Row, field: Field, code: &str, reason: impl Into<String>) {
        self.errors.push(RowError::new(row.line, self.columns.name(field), code, reason));
    }

    fn title<'r>(&mut self, row: &'r Row) -> &'r str {
        let title = row.get(self.columns, Field::Title);
        let length = title.chars().count();
        if title.is_empty() {
            self.refuse(row, Field::Title, "title_missing", "a product's first row needs its title");
        } else if length > TITLE_CHARS_MAX {
            let reason = format!("the title has {length} characters, it may have {TITLE_CHARS_MAX}");
            self.refuse(row, Field::Title, "title_too_long", reason);
        }
        title
    }

    /// Both columns must agree to it; empty cells do.
    fn published(&mut self, row: &Row) -> bool {
        let published = self.flag(row, Field::Published, true);
        let active = match row.get(self.columns, Field::Status).to_lowercase().as_str() {
            "" | "active" => true,
            "draft" | "archived" | "unlisted" => false,
            other => {
                let reason = format!("{other:?} is no status; it may be active, draft or archived");
                self.refuse(row, Field::Status, "status_unknown", reason);
                false
            }
        };
        published && active
    }

    /// The category that tax rates are for: the file's own tax code, where it has one.
    fn tax_category(&mut self, row: &Row) -> String {
        let code = row.get(self.columns, Field::TaxCode).trim().to_lowercase();
        match self.flag(row, Field::Taxable, true) {
            false => "exempt".to_owned(),
            true if code.is_empty() => "standard".to_owned(),
            true => code,
        }
    }

    fn flag(&mut self, row: &Row, field: Field, empty: bool) -> bool {
        match row.get(self.columns, field).to_lowercase().as_str() {
            "" => empty,
            "true" | "yes" | "1" => true,
            "false" | "no" | "0" => false,
            other => {
                self.refuse(row, field, "not_a_flag", format!("{other:?} must be TRUE or FALSE"));
                empty
            }
        }
    }

    /// The options that the first row names, with every value that a row has.
    fn options(&mut self, rows: &[Row]) -> Vec<ImportedOption> {
        let Some(first) = rows.first() else {
            return Vec::new();
        };
        let mut options: Vec<ImportedOption> = Vec::new();
        for number in 1..=3 {
            let (name_field, value_field) = (Field::OptionName(number), Field::OptionValue(number));
            let name = first.get(self.columns, name_field);
            let given = rows.iter().filter(|row| !row.get(self.columns, value_field).is_empty());
            let rows_with_value: Vec<&Row> = given.collect();
            let is_placeholder =
                number == 1 && rows_with_value.iter().all(|row| row.get(self.columns, value_field).to_lowercase() == NO_OPTIONS);
            if rows_with_value.is_empty() || is_placeholder {
                continue;
            }
            if name.is_empty() {
                let reason = "the values of this option have no name; the product's first row must give it";
                self.refuse(first, name_field, "option_name_missing", reason);
                continue;
            }
            if options.iter().any(|option| option.name == name) {
                self.refuse(first, name_field, "option_twice", format!("the product has the option {name:?} twice"));
                continue;
            }
            let option_id = catalog::option_id(self.product_id, name);
            let mut values: Vec<(ValueId, String)> = Vec::new();
            for row in rows_with_value {
                let label = row.get(self.columns, value_field);
                if values.iter().all(|(_, known)| known != label) {
                    values.push((catalog::value_id(option_id, label), label.to_owned()));
                }
            }
            options.push(ImportedOption { number, option_id, name: name.to_owned(), values });
        }
        options
    }

    fn variant(&mut self, row: &Row, options: &[ImportedOption]) -> (Variant, VariantStock) {
        let mut option_values = BTreeMap::new();
        let mut labels = Vec::new();
        for option in options {
            let field = Field::OptionValue(option.number);
            let label = row.get(self.columns, field);
            match option.values.iter().find(|(_, known)| known == label) {
                Some((value_id, _)) => {
                    option_values.insert(option.option_id, *value_id);
                    labels.push(label);
                }
                None => self.refuse(row, field, "option_value_missing", format!("the variant has no {}", option.name)),
            }
        }
        let optional = |text: &str| (!text.is_empty()).then(|| text.to_owned());
        let sku = optional(row.get(self.columns, Field::Sku));
        let variant_id = catalog::variant_id(self.product_id, sku.as_deref(), &labels);
        let tracked = self.tracked(row);
        let variant = Variant {
            variant_id,
            sku,
            barcode: optional(row.get(self.columns, Field::Barcode)),
            option_values,
            weight_g: self.grams(row),
            requires_shipping: self.flag(row, Field::RequiresShipping, true),
            track_stock: tracked,
            attributes: Vec::new(),
            prices: self.price(row).into_iter().collect(),
        };
        let quantity = self.quantity(row);
        let policy = self.policy(row, tracked);
        (variant, VariantStock { variant_id, policy, quantity: quantity.filter(|_| tracked) })
    }

    fn price(&mut self, row: &Row) -> Option<Price> {
        if row.get(self.columns, Field::Price).is_empty() {
            self.refuse(row, Field::Price, "price_missing", "the variant has no price; write 0 if it costs nothing");
            return None;
        }
        let price = self.money(row, Field::Price)?;
        let compare_at = self.money(row, Field::CompareAt);
        Some(Price {
            price_list_id: catalog::price_list_id(self.terms.currency),
            price,
            // Shopify writes 0 where nothing is compared.
            compare_at: compare_at.filter(|amount| !amount.is_zero()),
            includes_tax: self.terms.prices_include_tax,
            min_quantity: 1,
            valid_from: None,
            valid_until: None,
        })
    }

    fn money(&mut self, row: &Row, field: Field) -> Option<Money> {
        let text = row.get(self.columns, field);
        if text.is_empty() {
            return None;
        }
        let parsed = Money::parse_decimal(text, self.terms.currency);
        parsed.map_err(|error| self.refuse(row, field, error.code(), error.to_string())).ok()
    }

    /// Whole units; a spreadsheet's `12.0` is twelve.
    fn quantity(&mut self, row: &Row) -> Option<u32> {
        let text = row.get(self.columns, Field::Quantity);
        if text.is_empty() {
            return None;
        }
        let (whole, decimals) = text.split_once('.').unwrap_or((text, "0"));
        let digits = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
        let (code, reason) = if !digits(whole.strip_prefix('-').unwrap_or(whole)) || !digits(decimals) {
            ("stock_not_a_number", format!("{text:?} is not a whole number"))
        } else if decimals.bytes().any(|byte| byte != b'0') {
            ("stock_fractional", format!("{text} is not a whole number; stock is counted in units"))
        } else if whole.starts_with('-') && whole.bytes().any(|byte| matches!(byte, b'1'..=b'9')) {
            ("stock_negative", format!("{text} is negative; stock is what lies there, 0 or more"))
        } else {
            match whole.trim_start_matches('-').parse::<u32>() {
                Ok(quantity) => return Some(quantity),
                Err(_) => ("stock_too_large", format!("{text} is more than {ON_HAND_MAX}")),
            }
        };
        self.refuse(row, Field::Quantity, code, reason);
        None
    }

    /// Variants whose stock nobody counts can always be sold.
    fn policy(&mut self, row: &Row, tracked: bool) -> StockPolicy {
        let backorder = StockPolicy::Backorder { limit: None };
        match row.get(self.columns, Field::Policy).to_lowercase().as_str() {
            _ if !tracked => backorder,
            "" | "deny" | "false" | "no" => StockPolicy::Deny,
            "continue" | "true" | "yes" => backorder,
            other => {
                let reason = format!("{other:?} is no inventory policy; it may be deny or continue");
                self.refuse(row, Field::Policy, "policy_unknown", reason);
                StockPolicy::Deny
            }
        }
    }

    /// A file with the column names whoever counts the stock; an empty cell is nobody.
    fn tracked(&self, row: &Row) -> bool {
        !self.columns.has(Field::Tracker) || !row.get(self.columns, Field::Tracker).is_empty()
    }

    fn grams(&mut self, row: &Row) -> Option<u32> {
        let text = row.get(self.columns, Field::Grams);
        if text.is_empty() {
            return None;
        }
        match text.parse::<f64>() {
            #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "checked against its range")]
            Ok(grams) if (0.0..=GRAMS_MAX).contains(&grams) => Some(grams.round() as u32).filter(|grams| *grams > 0),
            _ => {
                let reason = format!("{text:?} is no weight in grams");
                self.refuse(row, Field::Grams, "weight_invalid", reason);
                None
            }
        }
    }

    /// No two variants of a product may share a sku or all their options.
    fn check_duplicates(&mut self, rows: &[Row], variants: &[Variant]) {
        let columns = self.columns;
        let first_line = rows.first().map(|row| row.line);
        let variant_rows = rows.iter().filter(|row| Some(row.line) == first_line || is_variant(row, columns));
        let mut skus: HashMap<String, u64> = HashMap::new();
        let mut combinations: HashMap<&BTreeMap<OptionId, ValueId>, u64> = HashMap::new();
        for (row, variant) in variant_rows.zip(variants) {
            if let Some(sku) = &variant.sku
                && let Some(line) = skus.insert(sku.to_lowercase(), row.line)
            {
                self.refuse(row, Field::Sku, "sku_duplicate", format!("line {line} has the same SKU"));
                continue;
            }
            if let Some(line) = combinations.insert(&variant.option_values, row.line) {
                let reason = format!("line {line} is a variant with the same options");
                self.refuse(row, Field::OptionValue(1), "options_duplicate", reason);
            }
        }
    }

    /// The pictures in the order of their positions, each once; pictures of single variants come last.
    fn media(&mut self, rows: &[Row], variants: &[Variant], first: &Row) -> Vec<Media> {
        let mut media: Vec<(u32, Media)> = Vec::new();
        for row in rows {
            if let Some(url) = self.url(row, Field::ImageUrl)
                && media.iter().all(|(_, known)| known.url != url)
            {
                let alt = row.get(self.columns, Field::ImageAlt);
                let alt = if alt.is_empty() { Text::new() } else { Text::from([(self.terms.language.clone(), alt.to_owned())]) };
                let place = row.get(self.columns, Field::ImagePosition).parse().unwrap_or(u32::MAX);
                media.push((place, self.picture(url, alt)));
            }
        }
        media.sort_by_key(|(place, _)| *place);
        let columns = self.columns;
        let variant_rows = rows.iter().filter(|row| row.line == first.line || is_variant(row, columns));
        for (row, variant) in variant_rows.zip(variants) {
            if let Some(url) = self.url(row, Field::VariantImage) {
                let known = media.iter().position(|(_, known)| known.url == url);
                let at = known.unwrap_or_else(|| {
                    media.push((u32::MAX, self.picture(url, Text::new())));
                    media.len() - 1
                });
                media[at].1.variant_ids.push(variant.variant_id);
            }
        }
        let numbered = media.into_iter().zip(1..).map(|((_, media), position)| Media { position, ..media });
        numbered.collect()
    }

    fn picture(&self, url: &str, alt: Text) -> Media {
        let media_id = catalog::media_id(self.product_id, url);
        Media { media_id, url: url.to_owned(), alt, position: 0, variant_ids: Vec::<VariantId>::new(), width: None, height: None }
    }

    fn url<'r>(&mut self, row: &'r Row, field: Field) -> Option<&'r str> {
        let url = row.get(self.columns, field);
        if url.is_empty() {
            return None;
        }
        let is_web = url.starts_with("https://") || url.starts_with("http://");
        if !is_web || url.len() > URL_BYTES_MAX || url.contains(char::is_whitespace) {
            self.refuse(row, field, "url_invalid", format!("a picture's URL begins with https:// and has at most {URL_BYTES_MAX} bytes"));
            return None;
        }
        Some(url)
    }
}
