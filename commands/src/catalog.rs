//! Catalogue commands: whole products with their keys and their first stock, categories, prices, publishing.
//!
//! A product, the claims of its handle and skus, and the stock items of its new variants are one decision and one append:
//! no product has a taken handle, no variant lacks a stock item. What is put by handle gets its ids from it
//! ([`product_id`] and the others), so that an import finds its products without a read model.

use std::collections::{BTreeSet, HashMap};

use domain::catalog::{
    Category, CategoryCommand, CategoryFacts, CategoryRejection, Price, Product, ProductCommand, ProductEvent, ProductRejection,
    category_claims, claims,
};
use domain::claim::{Claim, ClaimChanges, ClaimCommand, ClaimKey, ClaimRejection};
use domain::event::Event;
use domain::id::{CategoryId, MediaId, OptionId, PriceListId, ProductId, ValueId, VariantId};
use domain::inventory::StockPolicy;
use domain::money::Currency;
use uuid::Uuid;

use crate::answer::{Failure, Refusal};
use crate::inventory::{self, OpeningStock};
use crate::loader::{Loader, version_number};
use crate::streams::{Stop, Streams};

mod put;

pub use put::{Kept, LocatedStock, Part, PutProduct, VariantStock, put_product, rehearse_put};

/// Deepest that categories may be nested.
pub const CATEGORY_DEPTH_MAX: usize = 16;

/// The root of all ids that are made from names.
const NAMESPACE: Uuid = Uuid::from_u128(0x5f0c_4c1d_7b5e_4d0a_9a51_6d61_7962_6f6f);

/// The id of something that has a name: the same name always gives the same id.
pub(crate) fn named_id(kind: &str, name: &str) -> Uuid {
    Uuid::new_v5(&NAMESPACE, format!("{kind}:{name}").as_bytes())
}

fn part_id(of: Uuid, kind: &str, name: &str) -> Uuid {
    Uuid::new_v5(&of, format!("{kind}:{name}").as_bytes())
}

/// Of a product that is put by its handle; handles that claim the same key are the same product.
#[must_use]
pub fn product_id(handle: &str) -> ProductId {
    named_id("product", &ClaimKey::handle(handle).key).into()
}

/// Made from the sku; a variant without one is told apart by the labels of its options.
#[must_use]
pub fn variant_id(product_id: ProductId, sku: Option<&str>, labels: &[&str]) -> VariantId {
    let of = product_id.uuid();
    match sku {
        Some(sku) => part_id(of, "sku", &ClaimKey::sku(sku).key).into(),
        None => part_id(of, "options", &labels.join("/")).into(),
    }
}

#[must_use]
pub fn option_id(product_id: ProductId, name: &str) -> OptionId {
    part_id(product_id.uuid(), "option", name).into()
}

#[must_use]
pub fn value_id(option_id: OptionId, label: &str) -> ValueId {
    part_id(option_id.uuid(), "value", label).into()
}

#[must_use]
pub fn media_id(product_id: ProductId, url: &str) -> MediaId {
    part_id(product_id.uuid(), "media", url).into()
}

#[must_use]
pub fn category_id(handle: &str) -> CategoryId {
    named_id("category", &ClaimKey::category_handle(handle).key).into()
}

/// The store's plain price list of a currency.
#[must_use]
pub fn price_list_id(currency: Currency) -> PriceListId {
    named_id("price_list", currency.as_str()).into()
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PutOutcome {
    Created,
    Changed,
    Unchanged,
}

/// What a put came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Put {
    pub outcome: PutOutcome,
    /// In all streams together.
    pub events: usize,
}

impl Put {
    fn new(existed: bool, events: usize) -> Self {
        let outcome = match (existed, events) {
            (_, 0) => PutOutcome::Unchanged,
            (true, _) => PutOutcome::Changed,
            (false, _) => PutOutcome::Created,
        };
        Self { outcome, events }
    }
}

/// Sets one price of a variant; equal prices append nothing.
pub fn set_price(streams: &mut Streams<'_>, product: Existing, variant_id: VariantId, price: &Price) -> Result<Put, Stop> {
    change_existing(streams, product, ProductCommand::SetPrice { variant_id, price: price.clone() })
}

pub fn publish(streams: &mut Streams<'_>, product: Existing, channel: &str) -> Result<Put, Stop> {
    change_existing(streams, product, ProductCommand::Publish { channel: channel.to_owned() })
}

pub fn unpublish(streams: &mut Streams<'_>, product: Existing, channel: &str) -> Result<Put, Stop> {
    change_existing(streams, product, ProductCommand::Unpublish { channel: channel.to_owned() })
}

/// Takes a product out of the shop for good; its handle and skus are free again.
pub fn archive(streams: &mut Streams<'_>, product: Existing) -> Result<Put, Stop> {
    change_existing(streams, product, ProductCommand::Archive)
}

/// A product to be changed, and the version that the caller believes it to have.
#[derive(Debug, Clone, Copy)]
pub struct Existing {
    pub product_id: ProductId,
    pub expected_version: Option<i64>,
}

/// Any change of a product that is there.
pub fn change_existing(streams: &mut Streams<'_>, product: Existing, command: ProductCommand) -> Result<Put, Stop> {
    let id = product.product_id.to_string();
    let version = streams.version::<Product>(&id)?;
    check_version(product.expected_version, version)?;
    let before = streams.get::<Product>(&id)?.clone();
    let (after, mut events) = change_product(streams, &before, command)?;
    for variant in after.variants.iter().filter(|variant| before.variant(variant.variant_id).is_none()) {
        let variant_id = variant.variant_id;
        let policy = StockPolicy::default();
        let opening = OpeningStock { variant_id, policy, quantity: None, low_stock_threshold: None, located: Vec::new() };
        events += inventory::open(streams, &opening, false)?;
    }
    Ok(Put::new(true, events))
}

/// Makes a category what the facts say.
pub fn put_category(streams: &mut Streams<'_>, wanted: &CategoryFacts) -> Result<Put, Stop> {
    check_ancestors(streams, wanted)?;
    let id = wanted.category_id.to_string();
    let before = streams.get::<Category>(&id)?.clone();
    let mut after = before.clone();
    let mut events = Vec::new();
    let commands = match &before {
        Category::Live(_) => vec![
            CategoryCommand::Change { handle: wanted.handle.clone(), title: wanted.title.clone() },
            CategoryCommand::Move { parent_id: wanted.parent_id, position: wanted.position },
        ],
        Category::Absent | Category::Archived(_) => vec![CategoryCommand::Create(wanted.clone())],
    };
    for command in commands {
        let decided = after.decide(command).map_err(|rejection| category_refusal(&rejection))?;
        for event in &decided {
            after.apply(event);
        }
        events.extend(decided);
    }
    let mut count = events.len();
    let changes = category_claims(&events, &before);
    streams.emit::<Category>(&id, events, None)?;
    count += change_claims(streams, &changes, &id)?;
    Ok(Put::new(before != Category::Absent, count))
}

/// Creates a category unless it is there already, whatever it is by now.
pub fn add_category(streams: &mut Streams<'_>, wanted: &CategoryFacts) -> Result<Put, Stop> {
    match streams.get::<Category>(&wanted.category_id.to_string())? {
        Category::Absent => put_category(streams, wanted),
        Category::Live(_) | Category::Archived(_) => Ok(Put::new(true, 0)),
    }
}

/// Those of the given products that the log has, as they stand there. One read, however many.
pub async fn stored(loader: &Loader, ids: &[ProductId]) -> Result<HashMap<ProductId, Product>, Failure> {
    let names: Vec<String> = ids.iter().map(ToString::to_string).collect();
    let rows: Vec<(String, String, String, String)> = sqlx::query_as(
        "SELECT aggregate_id, event_type, event_version, payload::text
         FROM events WHERE aggregate_type = 'product' AND aggregate_id = ANY ($1) ORDER BY aggregate_id, sequence",
    )
    .bind(&names)
    .fetch_all(loader.pool())
    .await?;
    let by_name: HashMap<&str, ProductId> = names.iter().map(String::as_str).zip(ids.iter().copied()).collect();
    let mut products: HashMap<ProductId, Product> = HashMap::new();
    for (name, event_type, event_version, payload) in &rows {
        let event = ProductEvent::from_payload(event_type, version_number(event_version), payload)?;
        if let Some(id) = by_name.get(name.as_str()) {
            products.entry(*id).or_default().apply(&event);
        }
    }
    Ok(products)
}

/// Refuses a command that was meant for another version than there is.
pub(crate) fn check_version(expected: Option<i64>, version: i64) -> Result<(), Stop> {
    match expected {
        Some(expected) if expected != version => {
            let detail = "it has changed since it was read; read it again and repeat";
            Err(Refusal::new("version_conflict", detail).fact("current_version", version).into())
        }
        _ => Ok(()),
    }
}

/// Decides, takes and releases the keys, and adds the events; returns the product after them and how many there are.
fn change_product(streams: &mut Streams<'_>, before: &Product, command: ProductCommand) -> Result<(Product, usize), Stop> {
    let draft_id = match &command {
        ProductCommand::Put(draft) => draft.product_id,
        _ => before.product_id,
    };
    let id = draft_id.to_string();
    let events = before.decide(command).map_err(|rejection| product_refusal(&rejection))?;
    let mut after = before.clone();
    for event in &events {
        after.apply(event);
    }
    let changes = claims(&events, before);
    let mut count = events.len();
    streams.emit::<Product>(&id, events, None)?;
    count += change_claims(streams, &changes, &id)?;
    Ok((after, count))
}

/// Keys that are taken are most likely free, so they are not read before the append says otherwise.
fn change_claims(streams: &mut Streams<'_>, changes: &ClaimChanges, holder: &str) -> Result<usize, Stop> {
    streams.need::<Claim>(changes.release.iter().map(ClaimKey::stream_id))?;
    let mut count = 0;
    for key in &changes.release {
        let command = ClaimCommand::Release { by: holder.to_owned() };
        let events = streams.get::<Claim>(&key.stream_id())?.decide(command).map_err(|taken| claim_refusal(key, &taken))?;
        count += events.len();
        streams.emit::<Claim>(&key.stream_id(), events, None)?;
    }
    streams.need_created::<Claim>(changes.take.iter().map(ClaimKey::stream_id))?;
    for key in &changes.take {
        let command = ClaimCommand::Take { by: holder.to_owned() };
        let events = streams.create::<Claim>(&key.stream_id())?.decide(command).map_err(|taken| claim_refusal(key, &taken))?;
        count += events.len();
        streams.emit::<Claim>(&key.stream_id(), events, None)?;
    }
    Ok(count)
}

/// The way up from a category must end, and must not lead through the category itself.
fn check_ancestors(streams: &mut Streams<'_>, wanted: &CategoryFacts) -> Result<(), Stop> {
    let mut above = wanted.parent_id;
    let mut seen = BTreeSet::from([wanted.category_id]);
    while let Some(parent_id) = above {
        if !seen.insert(parent_id) {
            return Err(Refusal::invalid("/parent_id", "category_cycle", "a category can't lie below itself").into());
        }
        if seen.len() > CATEGORY_DEPTH_MAX {
            return Err(Refusal::invalid("/parent_id", "category_too_deep", "the categories are nested too deep").into());
        }
        let Category::Live(parent) = streams.get::<Category>(&parent_id.to_string())? else {
            return Err(Refusal::invalid("/parent_id", "category_not_found", "there is no such parent category").into());
        };
        above = parent.parent_id;
    }
    Ok(())
}

fn product_refusal(rejection: &ProductRejection) -> Refusal {
    let pointer = match rejection {
        ProductRejection::NotFound => return Refusal::not_found("product"),
        ProductRejection::Archived => {
            return Refusal::new("invalid_state", "the product is archived for good; make a new one under another handle");
        }
        ProductRejection::VariantNotFound { .. } => return Refusal::not_found("variant"),
        ProductRejection::VariantExists { .. } => {
            return Refusal::new("already_exists", rejection.to_string());
        }
        ProductRejection::TitleMissing => "/title",
        ProductRejection::HandleInvalid { .. } => "/handle",
        ProductRejection::SkuDuplicate { .. } => "/variants/sku",
        ProductRejection::OptionsDuplicate { .. } | ProductRejection::OptionUnknown { .. } => "/variants/options",
        ProductRejection::PriceNegative { .. } => "/variants/price",
        ProductRejection::PriceCurrencies { .. } => "/variants/compare_at",
    };
    Refusal::invalid(pointer, rejection.code(), rejection.to_string())
}

fn category_refusal(rejection: &CategoryRejection) -> Refusal {
    let pointer = match rejection {
        CategoryRejection::NotFound => return Refusal::not_found("category"),
        CategoryRejection::Archived => {
            return Refusal::new("invalid_state", "the category is archived for good; make a new one under another handle");
        }
        CategoryRejection::Exists => return Refusal::new("already_exists", rejection.to_string()),
        CategoryRejection::TitleMissing => "/title",
        CategoryRejection::HandleInvalid { .. } => "/handle",
        CategoryRejection::OwnParent => "/parent_id",
    };
    Refusal::invalid(pointer, rejection.code(), rejection.to_string())
}

fn claim_refusal(key: &ClaimKey, rejection: &ClaimRejection) -> Refusal {
    let ClaimRejection::Taken { by } = rejection;
    let pointer = if key.kind == "sku" { "/variants/sku" } else { "/handle" };
    let kind = if key.kind == "sku" { "sku" } else { "handle" };
    let detail = format!("the {kind} {} belongs to another object; choose another one", key.key);
    let refusal = Refusal::new("already_exists", detail.clone()).error(pointer, rejection.code(), detail);
    refusal.fact("held_by", by.as_str()).fact(kind, key.key.as_str())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn handles_and_skus_that_claim_the_same_key_have_the_same_id() {
        assert_eq!(product_id("Mug"), product_id(" mug "));
        let of = product_id("mug");
        assert_eq!(variant_id(of, Some("A-1"), &[]), variant_id(of, Some("a-1"), &["S"]));
        assert_ne!(variant_id(of, None, &["S"]), variant_id(of, None, &["M"]));
    }
}
