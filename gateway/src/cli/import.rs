//! `daybook import`: data of files brought into a shop.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context;
use clap::{Args, Subcommand, ValueEnum};

use super::ShopArgs;
use crate::import::{Format, Request};
use crate::shop::Shop;

#[derive(Debug, Subcommand)]
pub enum Import {
    /// Products with variants, prices, pictures and stock from a CSV file: Shopify's, `WooCommerce`'s, or any with a mapping file.
    #[command(after_help = MAPPING_HELP)]
    Products(Products),
    /// A tree of categories from a JSON file: a list of {handle, title, parent, position}, or of {id, name, path}.
    #[command(after_help = "Example:\n  daybook import categories categories.json --language en")]
    Categories(List),
    /// Locations from a JSON file: a list of {code, title, address, priority}, or of {id, name, address, city, state, zip}.
    #[command(after_help = "Example:\n  daybook import locations stores.json --country US")]
    Locations(List),
}

/// Shown behind the flags.
const MAPPING_HELP: &str = "\
Examples:
  daybook import products products.csv --currency EUR --stock create
  daybook import products wc-product-export.csv --format woocommerce --dry-run
  daybook import products anything.csv --map anything.toml

A mapping file is TOML and says which column is what. A value is a column's name, or a table with `column` or `constant`,
and `values` (the file's words and what they mean here), `separator` (between several in one cell), `levels` (between a
category and the one below it), `unit` or `unit_column` (of a weight: g, kg, lb, oz):

  product_rows = true                     # a product with variants has a row of its own before theirs
  scattered = true                        # rows of a product may stand apart: they are held until the file ends
  [columns]
  handle = \"slug\"                         # the one that must be there; rows with the same one are a product
  title = \"name\"
  price = \"price\"                         # without it, products that are there are changed, and none is made
  status = { column = \"state\", values = { live = \"active\", hidden = \"draft\" } }
  categories = { column = \"category\", levels = \" -> \" }
  weight = { column = \"weight\", unit = \"kg\" }
  [translations.de]                       # title, description, image_alt in another language;
  title = \"name_de\"                       # or a row for each: [columns] language = \"locale\"
  [prices.USD]                            # price, compare_at in another currency;
  price = \"price_usd\"                     # or a row for each: [columns] currency = \"currency\"
  [stock]                                 # units by location
  berlin = \"qty_berlin\"
  [[options]]
  name = { constant = \"Colour\" }
  value = \"colour\"
  [attributes]
  material = \"material\"
  depth = { column = \"depth\", kind = \"number\", unit = \"mm\" }
  \"*\" = \"custom.*\"                        # all columns whose name begins so

Further columns: description, brand, type, tags, category_handles, published, sku, barcode, compare_at, quantity,
low_stock_threshold, policy, tracked, requires_shipping, taxable, tax_category, image, image_alt, variant_image.
What a file has no column for stays as it is.";

#[derive(Debug, Args)]
pub struct Products {
    #[command(flatten)]
    shop: ShopArgs,
    file: PathBuf,
    #[arg(long, value_enum, default_value_t = FileFormat::Shopify, conflicts_with = "map")]
    format: FileFormat,
    /// Mapping file: TOML that says which column is what (see below).
    #[arg(long, value_name = "MAP.toml")]
    map: Option<PathBuf>,
    /// ISO 4217 code of the file's prices.
    #[arg(long, default_value = "EUR")]
    currency: String,
    /// BCP 47 tag of the file's texts; the store's first language unless given.
    #[arg(long)]
    language: Option<String>,
    /// `create`: stock is taken for new variants only; `overwrite`: for all.
    #[arg(long, value_enum, default_value_t = StockMode::Create)]
    stock: StockMode,
    /// `escape`: an apostrophe before what a spreadsheet would take for a formula is taken off; `raw`: cells are as they are.
    #[arg(long, value_enum, default_value_t = Formulas::Escape)]
    formulas: Formulas,
    /// Say what would be done, and do nothing.
    #[arg(long)]
    dry_run: bool,
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
pub struct List {
    #[command(flatten)]
    shop: ShopArgs,
    file: PathBuf,
    /// BCP 47 tag of the file's words; the store's first language unless given.
    #[arg(long)]
    language: Option<String>,
    /// ISO 3166-1 alpha-2; of locations that don't say theirs.
    #[arg(long)]
    country: Option<String>,
    /// Say what would be done, and do nothing.
    #[arg(long)]
    dry_run: bool,
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum FileFormat {
    Shopify,
    #[value(name = "woocommerce")]
    WooCommerce,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum StockMode {
    Create,
    Overwrite,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Formulas {
    Escape,
    Raw,
}

pub async fn run(what: Import) -> anyhow::Result<ExitCode> {
    match what {
        Import::Products(options) => products(options).await,
        Import::Categories(options) => list("categories", options).await,
        Import::Locations(options) => list("locations", options).await,
    }
}

async fn products(options: Products) -> anyhow::Result<ExitCode> {
    let shop = Shop::find(&options.shop.data_dir)?;
    let format = match (&options.map, options.format) {
        (Some(map), _) => Format::Mapped(std::fs::read_to_string(map).with_context(|| format!("can't read {}", map.display()))?),
        (None, FileFormat::WooCommerce) => Format::WooCommerce,
        (None, FileFormat::Shopify) => Format::Shopify,
    };
    let request = Request {
        format,
        language: options.language,
        raw_cells: options.formulas == Formulas::Raw,
        currency: options.currency,
        overwrite_stock: options.stock == StockMode::Overwrite,
        dry_run: options.dry_run,
    };
    crate::import::send(&shop, &options.file, &request, options.json).await
}

async fn list(what: &str, options: List) -> anyhow::Result<ExitCode> {
    let shop = Shop::find(&options.shop.data_dir)?;
    let mut parameters = vec![("dry_run", if options.dry_run { "true" } else { "false" })];
    parameters.extend(options.language.as_deref().map(|language| ("language", language)));
    parameters.extend(options.country.as_deref().map(|country| ("country", country)));
    crate::import::send_list(&shop, what, &options.file, &parameters, options.json).await
}
