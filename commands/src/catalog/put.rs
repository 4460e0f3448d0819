//! Putting a whole product with the stock of its variants: what an import and the demo catalogue do.
//!
//! A draft speaks for what its source has: other languages, price lists and attributes stay, and so does whatever
//! [`Kept`] names, so that a file of translations loses neither prices nor pictures.

use std::collections::BTreeSet;
use std::sync::Arc;

use domain::catalog::{Product, ProductCommand, ProductDraft, Text, Variant};
use domain::claim::ClaimKey;
use domain::id::VariantId;
use domain::inventory::{StockItem, StockPolicy};

use super::{Put, change_product};
use crate::answer::{Failure, Refusal};
use crate::inventory::{self, OpeningStock};
use crate::loader::Loader;
use crate::streams::{Cache, Stop, Streams};

/// Rounds of loading, and aggregates in memory, of one rehearsed decision.
const REHEARSAL_ROUNDS_MAX: u32 = 64;
const REHEARSAL_AGGREGATES_MAX: usize = 20_000;

/// A whole product as it should be, with what is in stock of it.
#[derive(Debug, Clone)]
pub struct PutProduct {
    pub draft: ProductDraft,
    /// By the draft's variant ids. A variant without an entry is opened empty.
    pub stock: Vec<VariantStock>,
    /// Variants that are there already get the given quantities, too.
    pub overwrite_stock: bool,
    /// Whether the log is believed to have the product. Being wrong costs a conflict, nothing else.
    pub known: bool,
    /// What stays as it is where the product is there already; the same for all products of a source.
    pub kept: Arc<Kept>,
}

/// What the stock of a new variant begins with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VariantStock {
    pub variant_id: VariantId,
    pub policy: StockPolicy,
    /// At the store's first location.
    pub quantity: Option<u32>,
    /// As every item's, unless given.
    pub low_stock_threshold: Option<u32>,
    /// At locations by their codes.
    pub located: Vec<LocatedStock>,
}

/// Stock at one location; what is absent is not said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LocatedStock {
    /// A location's code or id.
    pub location: String,
    pub quantity: Option<u32>,
    /// Units never sold.
    pub safety: Option<u32>,
}

/// A part of a product that a source may say nothing about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Part {
    Brand,
    Kind,
    Tags,
    TaxCategory,
    Categories,
    Media,
    Published,
    /// With the options that tell them apart.
    Variants,
    Sku,
    Barcode,
    Weight,
    RequiresShipping,
    TrackStock,
    CompareAt,
    /// Whether a variant is sold beyond what is there.
    Policy,
}

/// What a draft doesn't speak for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Kept {
    pub parts: BTreeSet<Part>,
    /// Attributes under other keys than these stay; with `None` none do.
    pub attributes_but: Option<BTreeSet<String>>,
    pub variant_attributes_but: Option<BTreeSet<String>>,
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
    if before.exists() {
        put.kept.keep(&mut draft, &before);
    }
    keep_other_languages(&mut draft, &before);
    let command = ProductCommand::Put(Box::new(draft));
    let (after, mut events) = change_product(streams, &before, command)?;
    events += put_stock(streams, put, &before, &after, same_row)?;
    Ok(Put::new(before.exists(), events))
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

impl Kept {
    fn keeps(&self, part: Part) -> bool {
        self.parts.contains(&part)
    }

    fn keep(&self, draft: &mut ProductDraft, before: &Product) {
        if self.keeps(Part::Brand) {
            draft.brand.clone_from(&before.brand);
        }
        if self.keeps(Part::Kind) {
            draft.kind.clone_from(&before.kind);
        }
        if self.keeps(Part::Tags) {
            draft.tags.clone_from(&before.tags);
        }
        if self.keeps(Part::TaxCategory) {
            draft.tax_category.clone_from(&before.tax_category);
        }
        if self.keeps(Part::Categories) {
            draft.category_ids.clone_from(&before.category_ids);
        }
        if self.keeps(Part::Media) {
            draft.media.clone_from(&before.media);
        }
        if self.keeps(Part::Published) {
            draft.published = before.channels.contains(domain::catalog::STOREFRONT);
        }
        keep_attributes(&mut draft.attributes, &before.attributes, self.attributes_but.as_ref());
        if self.keeps(Part::Variants) {
            draft.options.clone_from(&before.options);
            draft.variants.clone_from(&before.variants);
            return;
        }
        for variant in &mut draft.variants {
            let same_sku = |known: &&Variant| match (&known.sku, &variant.sku) {
                (Some(known), Some(wanted)) => ClaimKey::sku(known) == ClaimKey::sku(wanted),
                _ => false,
            };
            let known = before.variant(variant.variant_id).or_else(|| before.variants.iter().find(same_sku));
            if let Some(known) = known {
                self.keep_variant(variant, known);
            }
        }
    }

    fn keep_variant(&self, variant: &mut Variant, known: &Variant) {
        if self.keeps(Part::Sku) {
            variant.sku.clone_from(&known.sku);
        }
        if self.keeps(Part::Barcode) {
            variant.barcode.clone_from(&known.barcode);
        }
        if self.keeps(Part::Weight) {
            variant.weight_g = known.weight_g;
        }
        if self.keeps(Part::RequiresShipping) {
            variant.requires_shipping = known.requires_shipping;
        }
        if self.keeps(Part::TrackStock) {
            variant.track_stock = known.track_stock;
        }
        if self.keeps(Part::CompareAt) {
            for price in &mut variant.prices {
                price.compare_at = known.price(price.price_list_id, price.min_quantity).and_then(|known| known.compare_at);
            }
        }
        keep_attributes(&mut variant.attributes, &known.attributes, self.variant_attributes_but.as_ref());
    }
}

/// Attributes that a source has no column for stay where they stand; its own follow.
fn keep_attributes(
    wanted: &mut Vec<domain::catalog::Attribute>,
    before: &[domain::catalog::Attribute],
    spoken_for: Option<&BTreeSet<String>>,
) {
    let Some(spoken_for) = spoken_for else { return };
    let mut given = std::mem::take(wanted);
    for known in before {
        if !spoken_for.contains(&known.key) {
            wanted.push(known.clone());
        } else if let Some(at) = given.iter().position(|attribute| attribute.key == known.key) {
            wanted.push(given.remove(at));
        }
    }
    wanted.append(&mut given);
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
    for media in &mut draft.media {
        if let Some(known) = before.media.iter().find(|known| known.url == media.url) {
            complete(&mut media.alt, &known.alt);
            media.width = media.width.or(known.width);
            media.height = media.height.or(known.height);
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

/// Opens the stock of new variants; changes that of others only as far as the row itself changed or overwrites it.
fn put_stock(streams: &mut Streams<'_>, put: &PutProduct, before: &Product, after: &Product, same_row: bool) -> Result<usize, Stop> {
    let fresh = !before.exists();
    let nothing_said = |variant_id| VariantStock {
        variant_id,
        policy: StockPolicy::default(),
        quantity: None,
        low_stock_threshold: None,
        located: Vec::new(),
    };
    let items = after.variants.iter().map(|variant| variant.variant_id.to_string());
    if fresh {
        streams.need_created::<StockItem>(items)?;
    } else {
        streams.need::<StockItem>(items)?;
    }
    let mut count = 0;
    for variant in &after.variants {
        let variant_id = variant.variant_id;
        let said = stock_of(put, variant_id, variant.sku.as_deref());
        let stock = said.cloned().unwrap_or_else(|| nothing_said(variant_id));
        let VariantStock { policy, quantity, low_stock_threshold, located, .. } = stock;
        let opening = OpeningStock { variant_id, policy, quantity, low_stock_threshold, located };
        let opened = inventory::open(streams, &opening, fresh)?;
        count += opened;
        if opened > 0 || before.variant(variant_id).is_none() || said.is_none() {
            continue;
        }
        if !same_row && !put.kept.keeps(Part::Policy) {
            count += inventory::set_policy(streams, variant_id, opening.policy)?;
        }
        if put.overwrite_stock {
            count += inventory::overwrite(streams, &opening)?;
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

#[cfg(test)]
mod tests {
    use domain::catalog::{Attribute, ProductOption};

    use super::super::{option_id, product_id};
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

    fn attribute(key: &str, value: &str) -> Attribute {
        Attribute { key: key.to_owned(), kind: "text".to_owned(), value: value.to_owned(), unit: None }
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
    fn what_a_source_says_nothing_about_stays() {
        let variant = Variant { sku: Some("MUG".to_owned()), weight_g: Some(300), ..Variant::default() };
        let before = Product {
            brand: "Kiln".to_owned(),
            attributes: vec![attribute("glaze", "blue"), attribute("size", "S")],
            variants: vec![variant.clone()],
            ..Product::default()
        };
        let kept = Kept {
            parts: BTreeSet::from([Part::Brand, Part::Weight]),
            attributes_but: Some(BTreeSet::from(["size".to_owned(), "new".to_owned()])),
            variant_attributes_but: None,
        };
        let mut wanted = draft();
        wanted.attributes = vec![attribute("new", "1"), attribute("size", "L")];
        wanted.variants = vec![Variant { weight_g: None, ..variant.clone() }];
        kept.keep(&mut wanted, &before);
        assert_eq!((wanted.brand.as_str(), wanted.variants[0].weight_g), ("Kiln", Some(300)));
        assert_eq!(wanted.attributes, [attribute("glaze", "blue"), attribute("size", "L"), attribute("new", "1")]);

        let mut translated = draft();
        Kept { parts: BTreeSet::from([Part::Variants]), ..Kept::default() }.keep(&mut translated, &before);
        assert_eq!(translated.variants, [variant]);
    }
}
