//! Which columns an export of products needs, so that nothing is lost: read off all products before the first is written.

use std::collections::BTreeSet;

use domain::catalog::{Attribute, Price, Product, Text};
use domain::id::LocationId;
use domain::inventory::StockItem;

use super::pages::Page;

/// An attribute's column. A product that has an attribute several times takes a column for each.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct AttributeColumn {
    pub key: String,
    pub kind: String,
    pub unit: Option<String>,
    time: usize,
}

impl AttributeColumn {
    /// As the importer reads it.
    pub fn header(&self, owner: &str) -> String {
        let Self { key, kind, unit, .. } = self;
        let meant = match unit {
            Some(unit) => format!(" [{kind} {unit}]"),
            None if kind == "text" => String::new(),
            None => format!(" [{kind}]"),
        };
        format!("{key}{meant} ({owner}.metafields.custom.{key})")
    }
}

/// The columns that not every shop needs.
#[derive(Debug)]
pub struct Shape {
    /// Of the plain columns.
    pub language: String,
    pub languages: BTreeSet<String>,
    pub options: usize,
    pub option_values: BTreeSet<usize>,
    pub attributes: Vec<AttributeColumn>,
    pub variant_attributes: Vec<AttributeColumn>,
    /// Where something lies or is kept back, beside the first location.
    pub stocked: BTreeSet<LocationId>,
    pub kept_back: BTreeSet<LocationId>,
}

impl Shape {
    pub fn new(language: &str) -> Self {
        Self {
            language: language.to_owned(),
            languages: BTreeSet::new(),
            options: 3,
            option_values: BTreeSet::new(),
            attributes: Vec::new(),
            variant_attributes: Vec::new(),
            stocked: BTreeSet::new(),
            kept_back: BTreeSet::new(),
        }
    }

    /// Makes room for what a page has.
    pub fn note(&mut self, page: &Page, first: LocationId) {
        for product in &page.products {
            self.note_product(product);
        }
        for item in page.stock.values() {
            self.note_stock(item, first);
        }
    }

    fn note_product(&mut self, product: &Product) {
        let labels = product.options.iter().flat_map(|option| option.values.iter().map(|value| &value.label).chain([&option.name]));
        let alts = product.media.iter().map(|media| &media.alt);
        for text in labels.chain(alts).chain([&product.title, &product.description]) {
            let others = text.keys().filter(|language| **language != self.language && !self.languages.contains(*language));
            let others: Vec<String> = others.cloned().collect();
            self.languages.extend(others);
        }
        self.options = self.options.max(product.options.len());
        for (index, _) in product.options.iter().enumerate().filter(|(index, _)| !has_natural_order(product, *index)) {
            self.option_values.insert(index);
        }
        note_attributes(&mut self.attributes, &product.attributes);
        for variant in &product.variants {
            note_attributes(&mut self.variant_attributes, &variant.attributes);
        }
    }

    fn note_stock(&mut self, item: &StockItem, first: LocationId) {
        for (location_id, level) in item.levels.iter() {
            if level.on_hand != 0 && *location_id != first {
                self.stocked.insert(*location_id);
            }
            if level.safety != 0 {
                self.kept_back.insert(*location_id);
            }
        }
    }

    /// Whether a page has nothing that the columns have no place for.
    pub fn fits(&self, page: &Page, first: LocationId) -> bool {
        let mut needed =
            Self { attributes: self.attributes.clone(), variant_attributes: self.variant_attributes.clone(), ..Self::new(&self.language) };
        needed.note(page, first);
        needed.attributes.len() == self.attributes.len()
            && needed.variant_attributes.len() == self.variant_attributes.len()
            && needed.options <= self.options
            && needed.languages.is_subset(&self.languages)
            && needed.option_values.is_subset(&self.option_values)
            && needed.stocked.is_subset(&self.stocked)
            && needed.kept_back.is_subset(&self.kept_back)
    }
}

fn note_attributes(columns: &mut Vec<AttributeColumn>, attributes: &[Attribute]) {
    for column in columns_of(attributes) {
        if !columns.contains(&column) {
            columns.push(column);
        }
    }
}

/// The column of each attribute.
pub fn columns_of(attributes: &[Attribute]) -> Vec<AttributeColumn> {
    let mut found: Vec<AttributeColumn> = Vec::with_capacity(attributes.len());
    for Attribute { key, kind, unit, .. } in attributes {
        let is_same = |known: &&AttributeColumn| known.key == *key && known.kind == *kind && known.unit == *unit;
        let time = found.iter().filter(is_same).count();
        found.push(AttributeColumn { key: key.clone(), kind: kind.clone(), unit: unit.clone(), time });
    }
    found
}

/// Whether an option's values are those that its variants have, in the order in which they have them.
pub fn has_natural_order(product: &Product, index: usize) -> bool {
    let option = &product.options[index];
    let mut natural = Vec::new();
    for value_id in product.variants.iter().filter_map(|variant| variant.option_values.get(&option.option_id)) {
        if !natural.contains(value_id) {
            natural.push(*value_id);
        }
    }
    option.values.iter().map(|value| value.value_id).eq(natural)
}

/// The plain price of a list: one unit, at any time, as the shop's prices are meant.
pub fn is_plain(price: &Price, includes_tax: bool) -> bool {
    let has_no_clock = price.valid_from.is_none() && price.valid_until.is_none();
    let is_of_its_currency = price.price_list_id == commands::catalog::price_list_id(price.price.currency());
    let compared = price.compare_at.is_none_or(|amount| !amount.is_zero());
    price.min_quantity == 1 && has_no_clock && is_of_its_currency && price.includes_tax == includes_tax && compared
}

/// A text in one language; empty where it has none.
pub fn words<'t>(text: &'t Text, language: &str) -> &'t str {
    text.get(language).map_or("", String::as_str)
}
