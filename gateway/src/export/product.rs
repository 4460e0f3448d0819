//! Products as CSV: Shopify's columns of the newer generation, and ours for what Shopify has none for.
//!
//! A product's first row has its own fields; variants stand one a row, pictures one a row beside them.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use commands::catalog::price_list_id;
use domain::catalog::{Attribute, Media, Price, Product, ProductOption, STOREFRONT, Variant};
use domain::id::LocationId;
use domain::inventory::{StockItem, StockPolicy};
use domain::money::{Currency, Money};
use domain::setting::Settings;

use super::Table;
use super::pages::{CutOff, Page, Pages, Pieces};
use super::shape::{AttributeColumn, Shape, columns_of, has_natural_order, is_plain, words};
use crate::app::App;
use crate::import::list;

/// Most columns that a file may have; a shop with more keeps attributes that nobody can look through.
pub const COLUMNS_MAX: usize = 10_000;

/// A column: its header, and what stands in it.
#[derive(Debug, Clone)]
struct Column {
    header: String,
    cell: Cell,
}

#[derive(Debug, Clone)]
enum Cell {
    Title(String),
    Handle,
    Description(String),
    Vendor,
    Categories,
    Type,
    Tags,
    Published,
    Status,
    Attribute(AttributeColumn),
    VariantNumber,
    Sku,
    Barcode,
    OptionName(usize, String),
    OptionValue(usize, String),
    OptionValues(usize),
    Price(Currency),
    CompareAt(Currency),
    OtherPrices,
    Taxable,
    TaxCode,
    Tracker,
    Quantity(LocationId),
    SafetyStock(LocationId),
    LowStock,
    Policy,
    Grams,
    WeightUnit,
    RequiresShipping,
    VariantAttribute(AttributeColumn),
    ImageUrl,
    ImagePosition,
    ImageAlt(String),
    ImageWidth,
    ImageHeight,
    VariantImage,
}

/// What a row is of.
struct Row<'p> {
    product: &'p Product,
    /// Only the first row has the product's own fields.
    is_first: bool,
    variant: Option<(usize, &'p Variant)>,
    stock: Option<&'p StockItem>,
    picture: Option<(usize, &'p Media)>,
}

/// An export of products, on its way.
#[derive(Debug)]
pub struct ProductFile {
    pages: Pages,
    columns: Vec<Column>,
    shape: Shape,
    first: LocationId,
    currencies: Vec<Currency>,
    includes_tax: bool,
    table: Table,
    pieces: Pieces,
}

impl ProductFile {
    /// Looks through all products once, for the columns that they need.
    pub async fn begin(app: &Arc<App>, settings: &Settings, raw: bool) -> Result<Self, CutOff> {
        let open = settings.open_locations();
        let first = open.first().map(|location| location.facts.location_id).unwrap_or_default();
        let mut shape = Shape::new(app.settings.default_language());
        let mut pages = Pages::new(app);
        while let Some(page) = pages.next().await? {
            shape.note(&page, first);
        }
        let currencies = app.settings.currencies.clone();
        let columns = columns(&shape, &currencies, settings, first);
        if columns.len() > COLUMNS_MAX {
            return Err(CutOff::TooWide);
        }
        let mut table = Table::new(raw);
        table.row(columns.iter().map(|column| column.header.as_str()))?;
        let includes_tax = settings.prices_include_tax;
        let pieces = Pieces::new(Duration::from_millis(app.config.http.stream_idle_timeout_ms));
        Ok(Self { pages: Pages::new(app), columns, shape, first, currencies, includes_tax, table, pieces })
    }

    /// The next piece of the file; `None` after the last.
    pub async fn next(&mut self) -> Result<Option<Bytes>, CutOff> {
        loop {
            if let Some(piece) = self.pieces.next()? {
                return Ok(Some(piece));
            }
            let page = self.pages.next().await?;
            if let Some(page) = &page {
                if !self.shape.fits(page, self.first) {
                    return Err(CutOff::Changed);
                }
                for product in &page.products {
                    self.write(product, page)?;
                }
            }
            self.pieces.push(self.table.take()?);
            if page.is_none() {
                return self.pieces.next();
            }
        }
    }

    fn write(&mut self, product: &Product, page: &Page) -> Result<(), CutOff> {
        let mut pictures: Vec<&Media> = product.media.iter().collect();
        pictures.sort_by_key(|media| media.position);
        let mut urls = std::collections::HashSet::new();
        pictures.retain(|media| urls.insert(media.url.as_str()));
        for index in 0..product.variants.len().max(pictures.len()).max(1) {
            let variant = product.variants.get(index).map(|variant| (index, variant));
            let row = Row {
                product,
                is_first: index == 0,
                variant,
                stock: variant.and_then(|(_, variant)| page.stock_of(variant.variant_id)),
                picture: pictures.get(index).map(|media| (index, *media)),
            };
            let mut cells = Vec::with_capacity(self.columns.len());
            for column in &self.columns {
                cells.push(self.cell(&column.cell, &row, page)?);
            }
            self.table.row(cells.iter().map(String::as_str))?;
        }
        Ok(())
    }

    fn cell(&self, cell: &Cell, row: &Row<'_>, page: &Page) -> Result<String, CutOff> {
        if matches!(cell, Cell::Handle) {
            return Ok(row.product.handle.clone());
        }
        let of_product = of_product(cell, row.product, page, &self.shape)?.filter(|_| row.is_first);
        let of_variant = || row.variant.map(|(index, variant)| self.of_variant(cell, row.product, index, variant, row.stock)).transpose();
        let of_picture = || row.picture.map(|(index, media)| of_picture(cell, index, media));
        Ok(match of_product {
            Some(text) => text,
            None => of_variant()?.flatten().or_else(|| of_picture().flatten()).unwrap_or_default(),
        })
    }

    fn of_variant(
        &self,
        cell: &Cell,
        product: &Product,
        index: usize,
        variant: &Variant,
        stock: Option<&StockItem>,
    ) -> Result<Option<String>, CutOff> {
        let price = |currency: &Currency| {
            let listed = variant.price(price_list_id(*currency), 1);
            listed.filter(|price| is_plain(price, self.includes_tax))
        };
        let text = |text: &Option<String>| text.clone().unwrap_or_default();
        Ok(Some(match cell {
            Cell::VariantNumber => (index + 1).to_string(),
            Cell::Sku => text(&variant.sku),
            Cell::Barcode => text(&variant.barcode),
            Cell::OptionValue(number, language) => match product.options.get(*number) {
                Some(option) => label_of(option, variant, language),
                None => default_title(product, *number, language, &self.shape, "Default Title"),
            },
            Cell::Price(currency) => price(currency).map(|price| decimal(price.price)).unwrap_or_default(),
            Cell::CompareAt(currency) => price(currency).and_then(|price| price.compare_at).map(decimal).unwrap_or_default(),
            Cell::OtherPrices => {
                let has_column = |price: &Price| self.currencies.contains(&price.price.currency()) && is_plain(price, self.includes_tax);
                let mut others: Vec<&Price> = variant.prices.iter().filter(|price| !has_column(price)).collect();
                others.sort_by_key(|price| (price.price.currency(), price.price_list_id, price.min_quantity));
                if others.is_empty() { String::new() } else { serde_json::to_string(&others)? }
            }
            Cell::Tracker if variant.track_stock => "shopify".to_owned(),
            Cell::Tracker => String::new(),
            Cell::Quantity(location_id) => {
                let on_hand = stock.map(|item| item.levels.at(*location_id).on_hand);
                on_hand.filter(|units| *units != 0 || *location_id == self.first).map(|units| units.to_string()).unwrap_or_default()
            }
            Cell::SafetyStock(location_id) => {
                let safety = stock.map(|item| item.levels.at(*location_id).safety);
                safety.filter(|units| *units != 0).map(|units| units.to_string()).unwrap_or_default()
            }
            Cell::LowStock => stock.map(|item| item.low_stock_threshold.to_string()).unwrap_or_default(),
            Cell::Policy => stock.map(|item| policy(item.policy)).unwrap_or_default(),
            Cell::Grams => variant.weight_g.map(|grams| grams.to_string()).unwrap_or_default(),
            Cell::WeightUnit => variant.weight_g.map(|_| "g".to_owned()).unwrap_or_default(),
            Cell::RequiresShipping => flag(variant.requires_shipping),
            Cell::VariantAttribute(column) => attribute(&variant.attributes, column),
            Cell::VariantImage => {
                let shown = product.media.iter().filter(|media| media.variant_ids.contains(&variant.variant_id));
                let mut urls: Vec<&str> = shown.map(|media| media.url.as_str()).collect();
                urls.dedup();
                urls.join(" ")
            }
            _ => return Ok(None),
        }))
    }
}

fn of_product(cell: &Cell, product: &Product, page: &Page, shape: &Shape) -> Result<Option<String>, CutOff> {
    Ok(Some(match cell {
        Cell::Title(language) => words(&product.title, language).to_owned(),
        Cell::Description(language) => words(&product.description, language).to_owned(),
        Cell::Vendor => product.brand.clone(),
        Cell::Categories => {
            let handles = product.category_ids.iter().filter_map(|id| page.categories.get(id));
            handles.map(String::as_str).collect::<Vec<_>>().join(", ")
        }
        Cell::Type => product.kind.clone(),
        Cell::Tags => list::join(product.tags.iter().map(String::as_str)),
        Cell::Published => flag(product.channels.contains(STOREFRONT)),
        Cell::Status => if product.channels.contains(STOREFRONT) { "active" } else { "draft" }.to_owned(),
        Cell::Attribute(column) => attribute(&product.attributes, column),
        Cell::OptionName(number, language) => match product.options.get(*number) {
            Some(option) => words(&option.name, language).to_owned(),
            None => default_title(product, *number, language, shape, "Title"),
        },
        Cell::OptionValues(number) => match product.options.get(*number) {
            Some(option) if !has_natural_order(product, *number) => {
                serde_json::to_string(&option.values.iter().map(|value| &value.label).collect::<Vec<_>>())?
            }
            _ => String::new(),
        },
        Cell::Taxable => flag(product.tax_category != "exempt"),
        Cell::TaxCode => product.tax_category.clone(),
        _ => return Ok(None),
    }))
}

fn of_picture(cell: &Cell, index: usize, media: &Media) -> Option<String> {
    let pixels = |pixels: Option<u32>| pixels.map(|pixels| pixels.to_string()).unwrap_or_default();
    Some(match cell {
        Cell::ImageUrl => media.url.clone(),
        Cell::ImagePosition => (index + 1).to_string(),
        Cell::ImageAlt(language) => words(&media.alt, language).to_owned(),
        Cell::ImageWidth => pixels(media.width),
        Cell::ImageHeight => pixels(media.height),
        _ => return None,
    })
}

/// Shopify wants an option of every product that has a variant.
fn default_title(product: &Product, number: usize, language: &str, shape: &Shape, text: &str) -> String {
    let is_wanted = number == 0 && language == shape.language && product.options.is_empty() && !product.variants.is_empty();
    if is_wanted { text.to_owned() } else { String::new() }
}

fn label_of(option: &ProductOption, variant: &Variant, language: &str) -> String {
    let value_id = variant.option_values.get(&option.option_id);
    let value = option.values.iter().find(|value| Some(&value.value_id) == value_id);
    value.map(|value| words(&value.label, language).to_owned()).unwrap_or_default()
}

fn attribute(attributes: &[Attribute], column: &AttributeColumn) -> String {
    let at = columns_of(attributes).iter().position(|known| known == column);
    at.map(|at| attributes[at].value.clone()).unwrap_or_default()
}

fn flag(is: bool) -> String {
    if is { "TRUE" } else { "FALSE" }.to_owned()
}

pub fn policy(policy: StockPolicy) -> String {
    match policy {
        StockPolicy::Deny => "DENY".to_owned(),
        StockPolicy::Backorder { limit: None } => "CONTINUE".to_owned(),
        StockPolicy::Backorder { limit: Some(limit) } => format!("BACKORDER {limit}"),
        StockPolicy::Preorder { limit: None } => "PREORDER".to_owned(),
        StockPolicy::Preorder { limit: Some(limit) } => format!("PREORDER {limit}"),
    }
}

/// `12.99`: an amount without its currency.
pub fn decimal(money: Money) -> String {
    let written = money.to_string();
    written.split_once(' ').map_or(written.clone(), |(amount, _)| amount.to_owned())
}

fn columns(shape: &Shape, currencies: &[Currency], settings: &Settings, first: LocationId) -> Vec<Column> {
    let mut columns: Vec<Column> = Vec::new();
    let mut add = |header: &str, cell: Cell| columns.push(Column { header: header.to_owned(), cell });
    let in_languages = |add: &mut dyn FnMut(&str, Cell), header: &str, cell: &dyn Fn(String) -> Cell| {
        add(header, cell(shape.language.clone()));
        for language in &shape.languages {
            add(&format!("{header} [{language}]"), cell(language.clone()));
        }
    };
    in_languages(&mut add, "Title", &Cell::Title);
    add("URL handle", Cell::Handle);
    in_languages(&mut add, "Description", &Cell::Description);
    for (header, cell) in [
        ("Vendor", Cell::Vendor),
        ("Categories", Cell::Categories),
        ("Type", Cell::Type),
        ("Tags", Cell::Tags),
        ("Published on online store", Cell::Published),
        ("Status", Cell::Status),
        ("Variant number", Cell::VariantNumber),
        ("SKU", Cell::Sku),
        ("Barcode", Cell::Barcode),
    ] {
        add(header, cell);
    }
    for number in 0..shape.options {
        let option = format!("Option{}", number + 1);
        in_languages(&mut add, &format!("{option} name"), &|language| Cell::OptionName(number, language));
        in_languages(&mut add, &format!("{option} value"), &|language| Cell::OptionValue(number, language));
        if shape.option_values.contains(&number) {
            add(&format!("{option} values"), Cell::OptionValues(number));
        }
    }
    for (index, currency) in currencies.iter().enumerate() {
        let tag = if index == 0 { String::new() } else { format!(" [{currency}]") };
        add(&format!("Price{tag}"), Cell::Price(*currency));
        add(&format!("Compare-at price{tag}"), Cell::CompareAt(*currency));
    }
    add("Prices", Cell::OtherPrices);
    add("Charge tax", Cell::Taxable);
    add("Tax code", Cell::TaxCode);
    add("Inventory tracker", Cell::Tracker);
    add("Inventory quantity", Cell::Quantity(first));
    for location in settings.open_locations() {
        let (location_id, code) = (location.facts.location_id, &location.facts.code);
        if shape.stocked.contains(&location_id) {
            add(&format!("Inventory quantity [{code}]"), Cell::Quantity(location_id));
        }
        if shape.kept_back.contains(&location_id) {
            add(&format!("Safety stock [{code}]"), Cell::SafetyStock(location_id));
        }
    }
    for (header, cell) in [
        ("Low stock threshold", Cell::LowStock),
        ("Continue selling when out of stock", Cell::Policy),
        ("Weight value (grams)", Cell::Grams),
        ("Weight unit for display", Cell::WeightUnit),
        ("Requires shipping", Cell::RequiresShipping),
        ("Product image URL", Cell::ImageUrl),
        ("Image position", Cell::ImagePosition),
    ] {
        add(header, cell);
    }
    in_languages(&mut add, "Image alt text", &Cell::ImageAlt);
    add("Image width", Cell::ImageWidth);
    add("Image height", Cell::ImageHeight);
    add("Variant image URL", Cell::VariantImage);
    for column in &shape.attributes {
        add(&column.header("product"), Cell::Attribute(column.clone()));
    }
    for column in &shape.variant_attributes {
        add(&column.header("variant"), Cell::VariantAttribute(column.clone()));
    }
    columns
}
