//! One product out of its rows: every cell checked, every error with its line and column.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use commands::catalog::{self, Kept, LocatedStock, PutProduct, VariantStock};
use domain::catalog::{Attribute, Price, ProductDraft, Source, Text, Variant};
use domain::claim::ClaimKey;
use domain::id::{OptionId, ProductId, ValueId};
use domain::inventory::{ON_HAND_MAX, StockPolicy};
use domain::money::{Currency, Money};

use super::RowError;
use super::category::Categories;
use super::columns::{AttributeColumn, Columns, Field, PRODUCT_CATEGORY, Row};
use super::option::ImportedOption;

/// The longest title, in characters; the longest of Icecat's 19,406 has 259.
pub const TITLE_CHARS_MAX: usize = 280;
/// The most grams that a variant weighs.
const GRAMS_MAX: f64 = 1e9;
/// How the source of an imported product is called.
pub const SYSTEM: &str = "shopify";

/// What the file doesn't say.
#[derive(Debug, Clone)]
pub struct Terms {
    pub currency: Currency,
    /// Of the file's texts.
    pub language: String,
    pub prices_include_tax: bool,
}

/// A product that can be put.
#[derive(Debug)]
pub struct ImportedProduct {
    /// Of all its rows, the first one first.
    pub lines: Vec<u64>,
    /// Where each SKU stands, as claims compare it.
    pub skus: Vec<(String, u64)>,
    pub put: PutProduct,
}

/// What all products of a file are made with.
pub struct Workshop<'a> {
    pub columns: &'a Columns,
    pub terms: &'a Terms,
    pub categories: &'a mut Categories,
    pub kept: &'a Arc<Kept>,
}

/// Makes a product of its rows, or says all that is wrong with them. `lines`: of its rows in the file.
pub fn build(handle: &str, rows: &[Row], lines: &[u64], workshop: Workshop<'_>) -> Result<ImportedProduct, Vec<RowError>> {
    let Workshop { columns, terms, categories, kept } = workshop;
    let Some(first) = rows.first() else {
        return Err(Vec::new());
    };
    let mut reading = Reading { columns, terms, product_id: catalog::product_id(handle), errors: Vec::new() };
    let title = reading.title(rows);
    let published = reading.published(first);
    let variant_rows = reading.variant_rows(rows);
    let options = reading.options(first, &variant_rows);
    let (mut variants, mut stock): (Vec<Variant>, Vec<VariantStock>) = (Vec::new(), Vec::new());
    for row in &variant_rows {
        let (variant, of_variant) = reading.variant(row, &options);
        stock.push(of_variant);
        variants.push(variant);
    }
    reading.check_duplicates(&variant_rows, &variants);
    let sku_lines =
        variant_rows.iter().zip(&variants).filter_map(|(of, variant)| Some((ClaimKey::sku(variant.sku.as_deref()?).key, of.row.line)));
    let skus = sku_lines.collect();
    let media = reading.media(rows, &variant_rows, &variants);
    let mut attributes = reading.attributes(first, &columns.attributes);
    attributes.extend(reading.other_attributes(first));
    let get = |field| first.get(columns, field);
    let mut draft = ProductDraft {
        product_id: reading.product_id,
        handle: handle.to_owned(),
        title,
        description: reading.texts(rows, Field::Description),
        brand: get(Field::Vendor).to_owned(),
        kind: get(Field::Type).to_owned(),
        tags: reading.tags(first),
        options: options.iter().map(ImportedOption::drafted).collect(),
        attributes,
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
    draft.category_ids = categories.of_product(get(Field::Categories), get(Field::CategoryPaths), &terms.language).map_err(|reason| {
        let column = columns.name(Field::Categories).or_else(|| columns.name(Field::CategoryPaths));
        vec![RowError::new(first.line, column, "category_invalid", reason)]
    })?;
    let put = PutProduct { draft, stock, overwrite_stock: false, known: false, kept: Arc::clone(kept) };
    Ok(ImportedProduct { lines: lines.to_vec(), skus, put })
}

/// A row that is a variant, and rows that only say its price in further currencies.
pub struct VariantRow<'r> {
    pub row: &'r Row,
    prices: Vec<&'r Row>,
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
    for row in rows {
        put("row");
        for (place, name) in columns.hashed() {
            let text = row.at(*place);
            if !text.is_empty() {
                put(name);
                put(text);
            }
        }
    }
    hash.finalize().to_hex().to_string()
}

/// Reads cells and gathers what is wrong with them.
pub struct Reading<'a> {
    pub columns: &'a Columns,
    pub terms: &'a Terms,
    pub product_id: ProductId,
    pub errors: Vec<RowError>,
}

impl Reading<'_> {
    pub fn refuse(&mut self, row: &Row, field: Field, code: &str, reason: impl Into<String>) {
        self.errors.push(RowError::new(row.line, self.columns.name(field), code, reason));
    }

    /// A text of the product: of its first row, or of a row for each language where the file has such.
    fn texts(&self, rows: &[Row], field: Field) -> Text {
        if !self.columns.has(Field::Language) {
            return rows.first().map_or_else(Text::new, |first| first.text(self.columns, field, &self.terms.language));
        }
        let of_row = |row: &Row| row.text(self.columns, field, self.language(row));
        rows.iter().flat_map(of_row).collect()
    }

    fn language<'r>(&'r self, row: &'r Row) -> &'r str {
        Some(row.get(self.columns, Field::Language)).filter(|tag| !tag.is_empty()).unwrap_or(&self.terms.language)
    }

    fn title(&mut self, rows: &[Row]) -> Text {
        let title = self.texts(rows, Field::Title);
        let Some(first) = rows.first() else { return title };
        let length = title.values().map(|words| words.chars().count()).max().unwrap_or_default();
        if title.values().all(|words| words.trim().is_empty()) && self.columns.has_variants() {
            self.refuse(first, Field::Title, "title_missing", "a product's first row needs its title");
        } else if length > TITLE_CHARS_MAX {
            let reason = format!("the title has {length} characters, it may have {TITLE_CHARS_MAX}");
            self.refuse(first, Field::Title, "title_too_long", reason);
        }
        title
    }

    /// Both columns must agree to it; empty cells do.
    fn published(&mut self, row: &Row) -> bool {
        let published = self.flag(row, Field::Published, true);
        let active = match row.get(self.columns, Field::Status).to_lowercase().as_str() {
            "" | "active" => true,
            // Shopify's archived products can come back; ours can't, so that they stay drafts here.
            "draft" | "archived" | "unlisted" => false,
            other => {
                let reason = format!("{other:?} is no status; it may be active, draft or archived");
                self.refuse(row, Field::Status, "status_unknown", reason);
                false
            }
        };
        published && active
    }

    /// Separated by commas; in a file of ours a comma within a tag is written `\,`.
    fn tags(&self, row: &Row) -> Vec<String> {
        let cell = row.get(self.columns, Field::Tags);
        if self.columns.is_ours() {
            return super::list::split(cell);
        }
        cell.split(',').map(str::trim).filter(|tag| !tag.is_empty()).map(str::to_owned).collect()
    }

    /// The category that tax rates are for: the file's own tax code, where it has one.
    fn tax_category(&mut self, row: &Row) -> String {
        let code = row.get(self.columns, Field::TaxCode);
        if self.columns.is_ours() {
            return code.to_owned();
        }
        let code = code.to_lowercase();
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

    /// Metafields, and Shopify's own category where the file has one. A file doesn't say what its values are, unless it is
    /// ours; a model "7450" is no number.
    fn attributes(&self, row: &Row, columns: &[AttributeColumn]) -> Vec<Attribute> {
        let category = row.get(self.columns, Field::Category);
        let category = Some(category).filter(|category| !category.is_empty() && std::ptr::eq(columns, self.columns.attributes.as_slice()));
        let category = category.map(|value| Attribute {
            key: PRODUCT_CATEGORY.to_owned(),
            kind: "text".to_owned(),
            value: value.to_owned(),
            unit: None,
        });
        let of_columns = columns.iter().filter(|column| !row.at(column.place).is_empty()).map(|column| Attribute {
            key: column.key.clone(),
            kind: column.kind.clone(),
            value: row.at(column.place).to_owned(),
            unit: column.unit.clone(),
        });
        category.into_iter().chain(of_columns).collect()
    }

    /// Attributes that a layout has put into one cell.
    fn other_attributes(&self, row: &Row) -> Vec<Attribute> {
        serde_json::from_str(row.get(self.columns, Field::Attributes)).unwrap_or_default()
    }

    /// The first row is a variant unless the file has a row of its own for the product; others are when they say what
    /// tells a variant apart, and pictures otherwise.
    fn variant_rows<'r>(&self, rows: &'r [Row]) -> Vec<VariantRow<'r>> {
        let columns = self.columns;
        if !columns.has_variants() {
            return Vec::new();
        }
        let has_options = |row: &Row| (1..=columns.options()).any(|number| !row.text(columns, Field::OptionValue(number), "").is_empty());
        let says_so = |row: &Row| has_options(row) || [Field::Sku, Field::Price].iter().any(|field| !row.get(columns, *field).is_empty());
        let has_price = |row: &Row| !row.get(columns, Field::Price).is_empty();
        let only_others = |has: &dyn Fn(&Row) -> bool| rows.first().is_some_and(|row| !has(row)) && rows.iter().skip(1).any(has);
        let is_master = columns.has_master_rows && (only_others(&has_options) || only_others(&has_price));
        let is_variant = |(index, row): (usize, &Row)| match (columns.is_ours(), index) {
            (true, _) => !row.get(columns, Field::VariantNumber).is_empty(),
            (false, 0) => !is_master,
            (false, _) => says_so(row),
        };
        let mut found: Vec<VariantRow<'r>> = Vec::new();
        let mut by_sku: HashMap<String, usize> = HashMap::new();
        for (_, row) in rows.iter().enumerate().filter(|(index, row)| is_variant((*index, row))) {
            let sku = row.get(columns, Field::Sku).to_lowercase();
            let currency = |row: &Row| row.get(columns, Field::Currency).to_uppercase();
            let known = by_sku.get(&sku).copied().filter(|_| columns.has(Field::Currency) && !sku.is_empty());
            match known.map(|at| &mut found[at]) {
                Some(known) if known.prices.iter().chain([&known.row]).all(|other| currency(other) != currency(row)) => {
                    known.prices.push(row);
                }
                _ => {
                    by_sku.entry(sku).or_insert(found.len());
                    found.push(VariantRow { row, prices: Vec::new() });
                }
            }
        }
        found
    }

    fn variant(&mut self, of: &VariantRow<'_>, options: &[ImportedOption]) -> (Variant, VariantStock) {
        let row = of.row;
        let mut option_values = BTreeMap::new();
        let mut labels = Vec::new();
        for option in options {
            let field = Field::OptionValue(option.number);
            match option.value(&row.text(self.columns, field, &self.terms.language)) {
                Some((value_id, label)) => {
                    option_values.insert(option.option_id, value_id);
                    labels.push(label);
                }
                None if self.columns.is_ours() || self.columns.may_lack_options => {}
                None => self.refuse(row, field, "option_value_missing", format!("the variant has no {}", option.label())),
            }
        }
        let optional = |text: &str| (!text.is_empty()).then(|| text.to_owned());
        let sku = optional(row.get(self.columns, Field::Sku));
        let variant_id = catalog::variant_id(self.product_id, sku.as_deref(), &labels);
        let tracked = self.tracked(row);
        let mut prices: Vec<Price> = Vec::new();
        for row in std::iter::once(&row).chain(&of.prices) {
            prices.extend(self.prices(row));
        }
        let variant = Variant {
            variant_id,
            sku,
            barcode: optional(row.get(self.columns, Field::Barcode)),
            option_values,
            weight_g: self.grams(row),
            requires_shipping: self.flag(row, Field::RequiresShipping, true),
            track_stock: tracked,
            attributes: self.attributes(row, &self.columns.variant_attributes),
            prices,
        };
        let counted = tracked || self.columns.is_ours();
        let stock = VariantStock {
            variant_id,
            policy: self.policy(row, counted),
            quantity: self.quantity(row, self.columns.place(Field::Quantity)).filter(|_| counted),
            low_stock_threshold: self.quantity(row, self.columns.place(Field::LowStock)),
            located: if counted { self.located(row) } else { Vec::new() },
        };
        (variant, stock)
    }

    /// Of the file's or the row's currency, of the currencies that have columns, and those that have none.
    fn prices(&mut self, row: &Row) -> Vec<Price> {
        let mut prices = Vec::new();
        let is_required = !self.columns.is_ours() && self.columns.place(Field::Price).is_some();
        if is_required && row.get(self.columns, Field::Price).is_empty() {
            self.refuse(row, Field::Price, "price_missing", "the variant has no price; write 0 if it costs nothing");
            return prices;
        }
        let named = row.get(self.columns, Field::Currency);
        let own = if named.is_empty() { Ok(self.terms.currency) } else { named.to_uppercase().parse::<Currency>() };
        match own {
            Ok(currency) => {
                let (price, compare_at) = (self.columns.place(Field::Price), self.columns.place(Field::CompareAt));
                prices.extend(self.price(row, currency, price, compare_at));
            }
            Err(error) => self.refuse(row, Field::Currency, "currency_unknown", error.to_string()),
        }
        for (code, place) in self.columns.tagged(Field::Price) {
            let compare_at = self.columns.tagged(Field::CompareAt).find(|(known, _)| *known == code).map(|(_, place)| place);
            match code.parse::<Currency>() {
                Ok(currency) => prices.extend(self.price(row, currency, Some(place), compare_at)),
                Err(error) => self.errors.push(self.error_at(row, place, "currency_unknown", error.to_string())),
            }
        }
        let others = row.get(self.columns, Field::Prices);
        if !others.is_empty() {
            match serde_json::from_str::<Vec<Price>>(others) {
                Ok(others) => prices.extend(others),
                Err(error) => {
                    let reason = format!("these are no prices as an export writes them: {error}");
                    self.refuse(row, Field::Prices, "prices_invalid", reason);
                }
            }
        }
        prices
    }

    fn price(&mut self, row: &Row, currency: Currency, price: Option<usize>, compare_at: Option<usize>) -> Option<Price> {
        let price = self.money(row, price?, currency)?;
        let compare_at = compare_at.and_then(|place| self.money(row, place, currency));
        Some(Price {
            price_list_id: catalog::price_list_id(currency),
            price,
            // Shopify writes 0 where nothing is compared.
            compare_at: compare_at.filter(|amount| !amount.is_zero()),
            includes_tax: self.terms.prices_include_tax,
            min_quantity: 1,
            valid_from: None,
            valid_until: None,
        })
    }

    fn error_at(&self, row: &Row, place: usize, code: &str, reason: String) -> RowError {
        RowError::new(row.line, self.columns.headers.get(place).map(String::as_str), code, reason)
    }

    fn money(&mut self, row: &Row, place: usize, currency: Currency) -> Option<Money> {
        let text = row.at(place);
        if text.is_empty() {
            return None;
        }
        let parsed = Money::parse_decimal(text, currency);
        parsed.map_err(|error| self.errors.push(self.error_at(row, place, error.code(), error.to_string()))).ok()
    }

    fn located(&mut self, row: &Row) -> Vec<LocatedStock> {
        let mut located: Vec<LocatedStock> = Vec::new();
        for field in [Field::Quantity, Field::SafetyStock] {
            for (code, place) in self.columns.tagged(field) {
                let Some(units) = self.quantity(row, Some(place)) else { continue };
                let at = located.iter().position(|known| known.location == code).unwrap_or_else(|| {
                    located.push(LocatedStock { location: code.to_owned(), quantity: None, safety: None });
                    located.len() - 1
                });
                match field {
                    Field::Quantity => located[at].quantity = Some(units),
                    _ => located[at].safety = Some(units),
                }
            }
        }
        located
    }

    /// Whole units; a spreadsheet's `12.0` is twelve.
    fn quantity(&mut self, row: &Row, place: Option<usize>) -> Option<u32> {
        let place = place?;
        let text = row.at(place);
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
        self.errors.push(self.error_at(row, place, code, reason));
        None
    }

    /// Variants whose stock nobody counts can always be sold. With a number: no more units than that beyond what is there.
    fn policy(&mut self, row: &Row, counted: bool) -> StockPolicy {
        if !counted {
            return StockPolicy::Backorder { limit: None };
        }
        let cell = row.get(self.columns, Field::Policy).to_lowercase();
        let (word, limit) = cell.split_once(' ').map_or((cell.as_str(), Ok(None)), |(word, limit)| (word, limit.parse().map(Some)));
        match (word, limit) {
            ("" | "deny" | "false" | "no" | "0", Ok(None)) => StockPolicy::Deny,
            ("continue" | "true" | "yes" | "notify" | "1" | "backorder", Ok(limit)) => StockPolicy::Backorder { limit },
            ("preorder", Ok(limit)) => StockPolicy::Preorder { limit },
            _ => {
                let reason = format!("{cell:?} is no inventory policy; it may be deny or continue, or backorder or preorder with a number");
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
    fn check_duplicates(&mut self, rows: &[VariantRow<'_>], variants: &[Variant]) {
        let mut skus: HashMap<String, u64> = HashMap::new();
        let mut combinations: HashMap<&BTreeMap<OptionId, ValueId>, u64> = HashMap::new();
        for (VariantRow { row, .. }, variant) in rows.iter().zip(variants) {
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
}
