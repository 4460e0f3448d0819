//! Stock as CSV: a row for each variant and location.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use domain::catalog::{Product, Variant};
use domain::inventory::{Level, StockItem};
use domain::setting::{Location, Settings};

use super::Table;
use super::pages::{CutOff, Pages, Pieces};
use super::shape::words;
use crate::app::App;

const HEADER: [&str; 12] = [
    "URL handle",
    "Title",
    "SKU",
    "Variant",
    "Location",
    "On hand",
    "Allocated",
    "Reserved",
    "Safety stock",
    "Incoming",
    "Available",
    "Policy",
];

/// An export of stock, on its way.
#[derive(Debug)]
pub struct StockFile {
    pages: Pages,
    language: String,
    /// In the order in which stock is sold from them.
    locations: Vec<Location>,
    table: Table,
    pieces: Pieces,
}

impl StockFile {
    pub fn begin(app: &Arc<App>, settings: &Settings, raw: bool) -> Result<Self, CutOff> {
        let mut table = Table::new(raw);
        table.row(HEADER)?;
        let mut locations: Vec<Location> = settings.open_locations().into_iter().cloned().collect();
        // Something may have been left at a closed one.
        locations.extend(settings.locations.iter().filter(|location| location.is_closed).cloned());
        Ok(Self {
            pages: Pages::new(app),
            language: app.settings.default_language().to_owned(),
            locations,
            table,
            pieces: Pieces::new(Duration::from_millis(app.config.http.stream_idle_timeout_ms)),
        })
    }

    /// The next piece of the file; `None` after the last.
    pub async fn next(&mut self) -> Result<Option<Bytes>, CutOff> {
        loop {
            if let Some(piece) = self.pieces.next()? {
                return Ok(Some(piece));
            }
            let page = self.pages.next().await?;
            for product in page.iter().flat_map(|page| &page.products) {
                for variant in &product.variants {
                    let stock = page.as_ref().and_then(|page| page.stock_of(variant.variant_id));
                    self.write(product, variant, stock)?;
                }
            }
            self.pieces.push(self.table.take()?);
            if page.is_none() {
                return self.pieces.next();
            }
        }
    }

    /// Every location where something is or was, and the first one in any case.
    fn write(&mut self, product: &Product, variant: &Variant, stock: Option<&StockItem>) -> Result<(), CutOff> {
        let Some(item) = stock else { return Ok(()) };
        let title = words(&product.title, &self.language);
        let labels: Vec<&str> =
            product.options.iter().map(|option| self.label(option, variant)).filter(|label| !label.is_empty()).collect();
        let (labels, policy) = (labels.join(" / "), super::product::policy(item.policy));
        for (index, location) in self.locations.iter().enumerate() {
            let level = item.levels.at(location.facts.location_id);
            if level == Level::default() && index > 0 {
                continue;
            }
            let units = [level.on_hand, level.allocated, level.reserved, level.safety, level.incoming, level.available()];
            let units = units.map(|units| units.to_string());
            let names = [&product.handle, title, variant.sku.as_deref().unwrap_or_default(), &labels, &location.facts.code];
            self.table.row(names.into_iter().chain(units.iter().map(String::as_str)).chain([policy.as_str()]))?;
        }
        Ok(())
    }

    fn label<'o>(&self, option: &'o domain::catalog::ProductOption, variant: &Variant) -> &'o str {
        let value_id = variant.option_values.get(&option.option_id);
        let value = option.values.iter().find(|value| Some(&value.value_id) == value_id);
        value.map_or("", |value| words(&value.label, &self.language))
    }
}
