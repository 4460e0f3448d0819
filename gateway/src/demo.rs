//! The demo catalogue: the project's own products, put through the same commands as a merchant's.
//!
//! All ids come from handles, so that seeding again finds what is there. What is there is left alone: it may be the
//! merchant's by now.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use anyhow::{Context, anyhow};
use commands::answer::{CommandError, Done, Origin};
use commands::catalog::{self, Put, PutOutcome, PutProduct, VariantStock};
use domain::catalog::{Attribute, CategoryFacts, OptionValue, Price, ProductDraft, ProductOption, Source, Text, Variant};
use domain::id::{OptionId, ProductId, ValueId};
use domain::inventory::StockPolicy;
use domain::money::{Currency, Money};
use futures::stream::{self, StreamExt, TryStreamExt};
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::app::App;

/// Commands that are with the writer at a time.
pub const COMMANDS_IN_FLIGHT_MAX: usize = 256;
/// How the source of a demo product is called.
const SYSTEM: &str = "demo";
const FILES: [&str; 2] = [include_str!("../demo/a.json"), include_str!("../demo/b.json")];

#[derive(Deserialize)]
struct DemoFile {
    categories: Vec<DemoCategory>,
    #[serde(borrow)]
    products: Vec<&'static RawValue>,
}

#[derive(Deserialize)]
struct DemoCategory {
    handle: String,
    parent: Option<String>,
    title: Text,
}

#[derive(Deserialize)]
struct DemoProduct {
    handle: String,
    title: Text,
    description: Text,
    brand: String,
    #[serde(rename = "type")]
    kind: String,
    tags: Vec<String>,
    categories: Vec<String>,
    tax_category: String,
    attributes: BTreeMap<String, DemoAttribute>,
    options: Vec<DemoOption>,
    variants: Vec<DemoVariant>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum DemoAttribute {
    Number(i64),
    Text(String),
}

#[derive(Deserialize)]
struct DemoOption {
    name: Text,
    values: Vec<DemoValue>,
}

#[derive(Deserialize)]
struct DemoValue {
    key: String,
    label: Text,
}

/// `options` names one value of each option of the product, in their order; prices are minor units by currency.
#[derive(Deserialize)]
struct DemoVariant {
    sku: String,
    options: Vec<String>,
    price: BTreeMap<String, i64>,
    #[serde(default)]
    compare_at: BTreeMap<String, i64>,
    stock: u32,
    weight_g: u32,
}

/// Puts the demo catalogue into the shop; a second time appends nothing.
pub async fn seed(app: &App) -> anyhow::Result<()> {
    let id = infra::clock::new_id();
    let origin = Origin::system("demo", id, id, id);
    let mut categories = Vec::new();
    let mut products = Vec::new();
    let terms = app.terms(0).await.map_err(|problem| anyhow::anyhow!("{}", problem.detail())).context("the store's settings")?;
    for text in FILES {
        let file: DemoFile = serde_json::from_str(text).context("the demo catalogue")?;
        categories.extend(file.categories);
        for raw in file.products {
            products.push(product(raw, terms.prices_include_tax).context("the demo catalogue")?);
        }
    }
    let total = (categories.len(), products.len());
    let ids: Vec<ProductId> = products.iter().map(|put| put.draft.product_id).collect();
    let stored = catalog::stored(&app.loader, &ids).await?;
    products.retain(|put| !stored.contains_key(&put.draft.product_id));
    let mut categories_put = 0;
    if !products.is_empty() {
        // Parents before children, so one after the other.
        for facts in ordered(&categories)? {
            let done = app.writer.execute(&origin, None, move |streams| catalog::add_category(streams, &facts)).await;
            categories_put += usize::from(has_changed(done)?);
        }
    }
    let products_put = put_all(app, &origin, products).await?;
    eprintln!("demo catalogue: {} products in {} categories, {products_put} and {categories_put} of them put now", total.1, total.0);
    Ok(())
}

/// Puts the products, a bounded number at a time; answers how many changed anything.
async fn put_all(app: &App, origin: &Origin, products: Vec<PutProduct>) -> anyhow::Result<usize> {
    let putting = products.into_iter().map(|put| async move {
        let done = app.writer.execute(origin, None, move |streams| catalog::put_product(streams, &put)).await;
        Ok::<_, anyhow::Error>(usize::from(has_changed(done)?))
    });
    stream::iter(putting).buffer_unordered(COMMANDS_IN_FLIGHT_MAX).try_fold(0, async |sum, one| Ok(sum + one)).await
}

/// A refusal is no failure: the merchant uses a handle or sku of the demo otherwise, or has archived it.
fn has_changed(done: Result<Done<Put>, CommandError>) -> anyhow::Result<bool> {
    match done {
        Ok(done) => Ok(done.output.outcome != PutOutcome::Unchanged),
        Err(CommandError::Refused(refusal, _)) => {
            tracing::warn!(code = refusal.code, reason = refusal.detail, "a part of the demo catalogue is left out");
            Ok(false)
        }
        Err(error) => Err(error).context("the demo catalogue can't be stored"),
    }
}

/// The categories, every parent before its children, siblings numbered as they stand.
fn ordered(categories: &[DemoCategory]) -> anyhow::Result<Vec<CategoryFacts>> {
    let mut siblings: HashMap<Option<&str>, u32> = HashMap::new();
    let mut ordered: Vec<CategoryFacts> = Vec::with_capacity(categories.len());
    for category in categories {
        let parent_id = category.parent.as_deref().map(catalog::category_id);
        if let Some(parent_id) = parent_id
            && ordered.iter().all(|known| known.category_id != parent_id)
        {
            return Err(anyhow!("the category {} stands before its parent", category.handle));
        }
        let position = siblings.entry(category.parent.as_deref()).or_default();
        ordered.push(CategoryFacts {
            category_id: catalog::category_id(&category.handle),
            handle: category.handle.clone(),
            title: category.title.clone(),
            parent_id,
            position: *position,
        });
        *position += 1;
    }
    Ok(ordered)
}

fn product(raw: &RawValue, includes_tax: bool) -> anyhow::Result<PutProduct> {
    let demo: DemoProduct = serde_json::from_str(raw.get())?;
    let product_id = catalog::product_id(&demo.handle);
    let options: Vec<ProductOption> = demo.options.iter().map(|option| product_option(product_id, option)).collect();
    let mut variants = Vec::with_capacity(demo.variants.len());
    let mut stock = Vec::with_capacity(demo.variants.len());
    for demo_variant in &demo.variants {
        let variant = variant(&demo, &options, product_id, demo_variant, includes_tax)?;
        let quantity = Some(demo_variant.stock);
        let policy = StockPolicy::Deny;
        stock.push(VariantStock { variant_id: variant.variant_id, policy, quantity, low_stock_threshold: None, located: Vec::new() });
        variants.push(variant);
    }
    let attribute = |(key, value): (&String, &DemoAttribute)| {
        let (kind, value) = match value {
            DemoAttribute::Number(number) => ("number", number.to_string()),
            DemoAttribute::Text(text) => ("text", text.clone()),
        };
        Attribute { key: key.clone(), kind: kind.to_owned(), value, unit: None }
    };
    let hash = blake3::hash(raw.get().as_bytes()).to_hex().to_string();
    let draft = ProductDraft {
        product_id,
        attributes: demo.attributes.iter().map(attribute).collect(),
        category_ids: demo.categories.iter().map(|handle| catalog::category_id(handle)).collect(),
        source: Some(Source { system: SYSTEM.to_owned(), external_id: demo.handle.clone(), hash }),
        handle: demo.handle,
        title: demo.title,
        description: demo.description,
        brand: demo.brand,
        kind: demo.kind,
        tags: demo.tags,
        options,
        tax_category: demo.tax_category,
        media: Vec::new(),
        variants,
        published: true,
    };
    Ok(PutProduct { draft, stock, overwrite_stock: false, known: false, kept: Arc::default() })
}

fn product_option(product_id: ProductId, option: &DemoOption) -> ProductOption {
    let name = option.name.values().next().map_or("", String::as_str);
    let option_id = catalog::option_id(product_id, name);
    let value = |value: &DemoValue| OptionValue { value_id: catalog::value_id(option_id, &value.key), label: value.label.clone() };
    ProductOption { option_id, name: option.name.clone(), values: option.values.iter().map(value).collect() }
}

fn variant(
    demo: &DemoProduct,
    options: &[ProductOption],
    product_id: ProductId,
    variant: &DemoVariant,
    includes_tax: bool,
) -> anyhow::Result<Variant> {
    anyhow::ensure!(variant.options.len() == options.len(), "{} has {} options", variant.sku, options.len());
    let mut option_values: BTreeMap<OptionId, ValueId> = BTreeMap::new();
    for ((option, drafted), key) in demo.options.iter().zip(options).zip(&variant.options) {
        anyhow::ensure!(option.values.iter().any(|value| value.key == *key), "{}: {key} is no value of its option", variant.sku);
        option_values.insert(drafted.option_id, catalog::value_id(drafted.option_id, key));
    }
    let mut prices = Vec::with_capacity(variant.price.len());
    for (code, amount) in &variant.price {
        let currency: Currency = code.parse()?;
        let compare_at = variant.compare_at.get(code).map(|amount| Money::new(*amount, currency)).transpose()?;
        prices.push(Price {
            price_list_id: catalog::price_list_id(currency),
            price: Money::new(*amount, currency)?,
            compare_at,
            includes_tax,
            min_quantity: 1,
            valid_from: None,
            valid_until: None,
        });
    }
    Ok(Variant {
        variant_id: catalog::variant_id(product_id, Some(&variant.sku), &[]),
        sku: Some(variant.sku.clone()),
        barcode: None,
        option_values,
        weight_g: Some(variant.weight_g),
        requires_shipping: true,
        track_stock: true,
        attributes: Vec::new(),
        prices,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn every_demo_product_can_be_put_and_has_a_category_of_the_catalogue() {
        let mut categories = HashSet::new();
        let mut puts = Vec::new();
        for text in FILES {
            let file: DemoFile = serde_json::from_str(text).unwrap();
            categories.extend(ordered(&file.categories).unwrap().into_iter().map(|facts| facts.category_id));
            puts.extend(file.products.into_iter().map(|raw| product(raw, true).unwrap()));
        }
        assert!(puts.len() >= 200);
        let nothing = domain::catalog::Product::default();
        for put in puts {
            assert!(put.draft.category_ids.iter().all(|id| categories.contains(id)), "{}", put.draft.handle);
            let command = domain::catalog::ProductCommand::Put(Box::new(put.draft));
            assert!(nothing.decide(command).is_ok());
        }
    }
}
