//! Catalogue commands: whole products with their keys and their first stock, categories, prices, publishing.
//!
//! A product, the claims of its handle and skus, and the stock items of its new variants are one decision and one append:
//! no product has a taken handle, no variant lacks a stock item. What is put by handle gets its ids from it
//! ([`product_id`] and the others), so that an import finds its products without a read model.

use std::collections::{BTreeSet, HashMap};

use domain::catalog::{
    Category, CategoryCommand, CategoryFacts, CategoryRejection, Price, Product, ProductCommand, ProductDraft, ProductEvent,
    ProductRejection, Text, category_claims, claims,
};
use domain::claim::{Claim, ClaimChanges, ClaimCommand, ClaimKey, ClaimRejection};
use domain::event::Event;
use domain::id::{CategoryId, MediaId, OptionId, PriceListId, ProductId, ValueId, VariantId};
use domain::inventory::{StockItem, StockPolicy};
use domain::money::Currency;
use uuid::Uuid;

use crate::answer::{Failure, Refusal};
use crate::inventory::{self, OpeningStock};
use crate::loader::{Loader, version_number};
use crate::streams::{Cache, Stop, Streams};

/// Deepest that categories may be nested.
pub const CATEGORY_DEPTH_MAX: usize = 16;
/// Rounds of loading, and aggregates in memory, of one rehearsed decision.
const REHEARSAL_ROUNDS_MAX: u32 = 64;
const REHEARSAL_AGGREGATES_MAX: usize = 20_000;

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

/// A whole product as it should be, with what is in stock of it.
#[derive(Debug, Clone)]
pub struct PutProduct {
    pub draft: ProductDraft,
    /// By the draft's variant ids. A variant without an entry is opened empty.
    pub stock: Vec<VariantStock>,
    /// Variants that are there already get the given quantity, too.
    pub overwrite_stock: bool,
    /// Whether the log is believed to have the product. Being wrong costs a conflict, nothing else.
    pub known: bool,
}

/// What the stock of a new variant begins with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct VariantStock {
    pub variant_id: VariantId,
    pub policy: StockPolicy,
    /// At the store's first location.
    pub quantity: Option<u32>,
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

/// Makes a product what its draft says; an import that is equal to the last one appends nothing.
pub fn put_product(streams: &mut Streams<'_>, put: &PutProduct) -> Result<Put, Stop> {
    let id = put.draft.product_id.to_string();
    let before = if put.known { streams.get::<Product>(&id)? } else { streams.create::<Product>(&id)? }.clone();
    let hash = put.draft.source.as_ref().map(|source| &source.hash);
    let same_row = hash.is_some() && hash == before.import_hash.as_ref();
    if same_row && !put.overwrite_stock {
        return Ok(Put::new(true, 0));
    }
    let mut draft = put.draft.clone();
    keep_other_languages(&mut draft, &before);
    let command = ProductCommand::Put(Box::new(draft));
    let (after, mut events) = change_product(streams, &before, command)?;
    events += put_stock(streams, put, &before, &after, same_row)?;
    Ok(Put::new(before.exists(), events))
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
        let opening = OpeningStock { variant_id: variant.variant_id, policy: StockPolicy::default(), quantity: None };
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

/// What a put would come to. Decides as [`put_product`] does, on what the log has now, and appends nothing.
pub async fn rehearse_put(loader: &Loader, put: &PutProduct) -> Result<Result<Put, Box<Refusal>>, Failure> {
    let mut cache = Cache::new(REHEARSAL_AGGREGATES_MAX);
    for _ in 0..REHEARSAL_ROUNDS_MAX {
        let mut streams = Streams::new(&mut cache, infra::clock::now(), "{}", true);
        let loads = match put_product(&mut streams, put) {
            Ok(put) => return Ok(Ok(put)),
            Err(Stop::Refused(refusal)) => return Ok(Err(refusal)),
            Err(Stop::Failed(failure)) => return Err(failure),
            Err(Stop::Stale | Stop::Answered) => return Err(Failure::Stopped),
            Err(Stop::Missing(loads)) => loads,
        };
        drop(streams);
        for wanted in loads {
            let entry = (wanted.load)(loader.clone(), wanted.stream.aggregate_id.clone()).await?;
            cache.insert(wanted.stream, entry);
        }
    }
    Err(Failure::Repository("a decision asks for more and more streams".to_owned()))
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

/// A draft speaks only for the languages that it has: a product's other translations stay.
fn keep_other_languages(draft: &mut ProductDraft, before: &Product) {
    complete(&mut draft.title, &before.title);
    complete(&mut draft.description, &before.description);
    for option in &mut draft.options {
        let Some(known) = before.options.iter().find(|known| same_text(&known.name, &option.name)) else { continue };
        complete(&mut option.name, &known.name);
        for value in &mut option.values {
            if let Some(known) = known.values.iter().find(|known| same_text(&known.label, &value.label)) {
                complete(&mut value.label, &known.label);
            }
        }
    }
}

/// Two texts name the same thing when they agree in a language that both have; as the domain has it.
fn same_text(a: &Text, b: &Text) -> bool {
    a.iter().any(|(language, words)| b.get(language) == Some(words))
}

fn complete(text: &mut Text, known: &Text) {
    for (language, words) in known {
        text.entry(language.clone()).or_insert_with(|| words.clone());
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
    for key in &changes.take {
        let command = ClaimCommand::Take { by: holder.to_owned() };
        let events = streams.create::<Claim>(&key.stream_id())?.decide(command).map_err(|taken| claim_refusal(key, &taken))?;
        count += events.len();
        streams.emit::<Claim>(&key.stream_id(), events, None)?;
    }
    Ok(count)
}

/// Opens the stock of new variants; changes that of others only as far as the row itself changed or overwrites it.
fn put_stock(streams: &mut Streams<'_>, put: &PutProduct, before: &Product, after: &Product, same_row: bool) -> Result<usize, Stop> {
    let fresh = !before.exists();
    let mut openings = Vec::with_capacity(after.variants.len());
    for variant in &after.variants {
        let wanted = stock_of(put, variant.variant_id, variant.sku.as_deref());
        let (policy, quantity) = wanted.map_or((StockPolicy::default(), None), |stock| (stock.policy, stock.quantity));
        openings.push(OpeningStock { variant_id: variant.variant_id, policy, quantity });
    }
    if !fresh {
        streams.need::<StockItem>(openings.iter().map(|opening| opening.variant_id.to_string()))?;
    }
    let mut count = 0;
    for opening in &openings {
        let opened = inventory::open(streams, opening, fresh)?;
        count += opened;
        if opened > 0 || before.variant(opening.variant_id).is_none() {
            continue;
        }
        if !same_row {
            count += inventory::set_policy(streams, opening.variant_id, opening.policy)?;
        }
        if let (true, Some(quantity)) = (put.overwrite_stock, opening.quantity) {
            count += inventory::overwrite(streams, opening.variant_id, quantity)?;
        }
    }
    Ok(count)
}

/// The draft's entry for a variant of the product, which may have an older id than the draft gave it.
fn stock_of<'a>(put: &'a PutProduct, variant_id: VariantId, sku: Option<&str>) -> Option<&'a VariantStock> {
    let by_id = put.stock.iter().find(|stock| stock.variant_id == variant_id);
    by_id.or_else(|| {
        let key = ClaimKey::sku(sku?);
        let has_sku = |sku: &Option<String>| sku.as_deref().is_some_and(|sku| ClaimKey::sku(sku) == key);
        let drafted = put.draft.variants.iter().find(|variant| has_sku(&variant.sku))?;
        put.stock.iter().find(|stock| stock.variant_id == drafted.variant_id)
    })
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
    Refusal::new("already_exists", detail.clone()).error(pointer, rejection.code(), detail).fact("held_by", by.as_str())
}

#[cfg(test)]
mod tests {
    use domain::catalog::ProductOption;

    use super::*;

    fn text(words: &[(&str, &str)]) -> Text {
        words.iter().map(|(language, words)| ((*language).to_owned(), (*words).to_owned())).collect()
    }

    fn option(name: Text) -> ProductOption {
        ProductOption { option_id: option_id(product_id("mug"), "x"), name, values: vec![] }
    }

    fn draft() -> ProductDraft {
        ProductDraft {
            product_id: product_id("mug"),
            handle: "mug".to_owned(),
            title: text(&[("en", "Cup")]),
            description: Text::new(),
            brand: String::new(),
            kind: String::new(),
            tags: vec![],
            options: vec![option(text(&[("en", "Size")]))],
            attributes: vec![],
            category_ids: vec![],
            tax_category: "standard".to_owned(),
            media: vec![],
            variants: vec![],
            published: true,
            source: None,
        }
    }

    #[test]
    fn a_draft_in_one_language_leaves_the_other_translations() {
        let before = Product {
            title: text(&[("de", "Becher"), ("en", "Mug")]),
            options: vec![option(text(&[("de", "Größe"), ("en", "Size")]))],
            ..Product::default()
        };
        let mut draft = draft();
        keep_other_languages(&mut draft, &before);
        assert_eq!(draft.title, text(&[("de", "Becher"), ("en", "Cup")]));
        assert_eq!(draft.options[0].name, text(&[("de", "Größe"), ("en", "Size")]));
    }

    #[test]
    fn handles_and_skus_that_claim_the_same_key_have_the_same_id() {
        assert_eq!(product_id("Mug"), product_id(" mug "));
        let of = product_id("mug");
        assert_eq!(variant_id(of, Some("A-1"), &[]), variant_id(of, Some("a-1"), &["S"]));
        assert_ne!(variant_id(of, None, &["S"]), variant_id(of, None, &["M"]));
    }
}
