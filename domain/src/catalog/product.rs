//! One product with all its variants: the commands, the state, and the keys that it holds.

use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use super::difference::{price_removed, price_set, sku_changed, source_hash, variant_added, variant_changed, variant_removed};
use super::rule::{check_handle, check_price, check_title, check_variants};
use super::{
    Attribute, Media, PriceSet, ProductArchived, ProductCreated, ProductDetailsChanged, ProductEvent, ProductOption, Source, Text,
    VariantAdded, VariantChanged, VariantField,
};
use crate::claim::{ClaimChanges, ClaimKey};
use crate::event::Root;
use crate::id::{CategoryId, OptionId, PriceListId, ProductId, ValueId, VariantId};
use crate::money::Money;

/// A whole product as it should be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProductDraft {
    pub product_id: ProductId,
    pub handle: String,
    pub title: Text,
    pub description: Text,
    pub brand: String,
    pub kind: String,
    pub tags: Vec<String>,
    pub options: Vec<ProductOption>,
    pub attributes: Vec<Attribute>,
    pub category_ids: Vec<CategoryId>,
    pub tax_category: String,
    pub media: Vec<Media>,
    pub variants: Vec<VariantDraft>,
    /// On the storefront's channel.
    pub published: bool,
    /// Of an import; a person's edit has none.
    pub source: Option<Source>,
}

/// A variant, as it is and as a draft wants it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Variant {
    pub variant_id: VariantId,
    pub sku: Option<String>,
    pub barcode: Option<String>,
    pub option_values: BTreeMap<OptionId, ValueId>,
    pub weight_g: Option<u32>,
    pub requires_shipping: bool,
    pub track_stock: bool,
    pub attributes: Vec<Attribute>,
    pub prices: Vec<Price>,
}

pub type VariantDraft = Variant;

/// A price of a variant: one per price list and minimum quantity.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Price {
    pub price_list_id: PriceListId,
    pub price: Money,
    pub compare_at: Option<Money>,
    pub includes_tax: bool,
    pub min_quantity: u32,
    pub valid_from: Option<DateTime<Utc>>,
    pub valid_until: Option<DateTime<Utc>>,
}

pub type PriceDraft = Price;

/// The details to change; what is absent stays.
pub type DetailsPatch = ProductDetailsChanged;

/// The fields of a variant to change; what is absent stays.
pub type VariantPatch = VariantChanged;

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ProductCommand {
    /// Makes the product what the draft says, with no event for what is so already.
    Put(Box<ProductDraft>),
    ChangeDetails(DetailsPatch),
    ChangeHandle {
        handle: String,
    },
    SetMedia {
        media: Vec<Media>,
    },
    Categorise {
        category_ids: Vec<CategoryId>,
    },
    Publish {
        channel: String,
    },
    Unpublish {
        channel: String,
    },
    Archive,
    AddVariant(VariantDraft),
    ChangeVariant(VariantPatch),
    ChangeSku {
        variant_id: VariantId,
        new: Option<String>,
    },
    RemoveVariant {
        variant_id: VariantId,
    },
    SetPrice {
        variant_id: VariantId,
        price: PriceDraft,
    },
    RemovePrice {
        variant_id: VariantId,
        price_list_id: PriceListId,
        min_quantity: u32,
    },
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProductRejection {
    #[error("there is no such product")]
    NotFound,
    #[error("the product is archived")]
    Archived,
    #[error("a product needs a title in at least one language")]
    TitleMissing,
    #[error("{handle:?} can't be a part of a URL")]
    HandleInvalid { handle: String },
    #[error("the product has no variant {variant_id}")]
    VariantNotFound { variant_id: VariantId },
    #[error("the product already has the variant {variant_id}")]
    VariantExists { variant_id: VariantId },
    #[error("two variants of the product have the sku {sku}")]
    SkuDuplicate { sku: String },
    #[error("the variants {first} and {second} have the same options")]
    OptionsDuplicate { first: VariantId, second: VariantId },
    #[error("the variant {variant_id} has a value of an option that the product doesn't have")]
    OptionUnknown { variant_id: VariantId },
    #[error("a price of the variant {variant_id} is negative")]
    PriceNegative { variant_id: VariantId },
    #[error("a price of the variant {variant_id} is compared at another currency")]
    PriceCurrencies { variant_id: VariantId },
}

impl ProductRejection {
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::NotFound => "product_not_found",
            Self::Archived => "product_archived",
            Self::TitleMissing => "title_missing",
            Self::HandleInvalid { .. } => "handle_invalid",
            Self::VariantNotFound { .. } => "variant_not_found",
            Self::VariantExists { .. } => "variant_exists",
            Self::SkuDuplicate { .. } => "sku_duplicate",
            Self::OptionsDuplicate { .. } => "options_duplicate",
            Self::OptionUnknown { .. } => "option_unknown",
            Self::PriceNegative { .. } => "price_negative",
            Self::PriceCurrencies { .. } => "currency_mismatch",
        }
    }
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Stage {
    #[default]
    Absent,
    Live,
    Archived,
}

/// A product and its variants as they are.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Product {
    pub stage: Stage,
    pub product_id: ProductId,
    pub handle: String,
    pub title: Text,
    pub description: Text,
    pub brand: String,
    pub kind: String,
    pub tags: Vec<String>,
    pub options: Vec<ProductOption>,
    pub attributes: Vec<Attribute>,
    pub category_ids: Vec<CategoryId>,
    pub tax_category: String,
    pub media: Vec<Media>,
    pub channels: BTreeSet<String>,
    pub variants: Vec<Variant>,
    pub source: Option<Source>,
    /// Of the last import that changed something.
    pub import_hash: Option<String>,
}

impl Product {
    pub fn decide(&self, command: ProductCommand) -> Result<Vec<ProductEvent>, ProductRejection> {
        if let ProductCommand::Put(draft) = command {
            return self.put(*draft);
        }
        match self.stage {
            Stage::Absent => return Err(ProductRejection::NotFound),
            Stage::Archived if command == ProductCommand::Archive => return Ok(vec![]),
            Stage::Archived => return Err(ProductRejection::Archived),
            Stage::Live => {}
        }
        match command {
            // Answered above.
            ProductCommand::Put(_) => Ok(vec![]),
            ProductCommand::ChangeDetails(patch) => {
                if let Some(title) = &patch.title {
                    check_title(title)?;
                }
                self.check_options_in_use(patch.options.as_deref())?;
                Ok(self.details_changed(patch).into_iter().collect())
            }
            ProductCommand::ChangeHandle { handle } => {
                check_handle(&handle)?;
                Ok(self.handle_changed(&handle).into_iter().collect())
            }
            ProductCommand::SetMedia { media } => Ok(self.media_changed(media).into_iter().collect()),
            ProductCommand::Categorise { category_ids } => Ok(self.categorised(category_ids).into_iter().collect()),
            ProductCommand::Publish { channel } => Ok(self.published(&channel, true).into_iter().collect()),
            ProductCommand::Unpublish { channel } => Ok(self.published(&channel, false).into_iter().collect()),
            ProductCommand::Archive => Ok(vec![ProductEvent::ProductArchived(ProductArchived {})]),
            ProductCommand::AddVariant(variant) => {
                if self.variant(variant.variant_id).is_some() {
                    return Err(ProductRejection::VariantExists { variant_id: variant.variant_id });
                }
                let all: Vec<_> = self.variants.iter().chain([&variant]).collect();
                check_variants(&self.options, &all)?;
                Ok(variant_added(&variant))
            }
            ProductCommand::ChangeVariant(patch) => self.change_variant(&patch),
            ProductCommand::ChangeSku { variant_id, new } => self.change_sku(variant_id, new),
            ProductCommand::RemoveVariant { variant_id } => {
                self.existing(variant_id)?;
                Ok(vec![variant_removed(variant_id)])
            }
            ProductCommand::SetPrice { variant_id, price } => {
                let variant = self.existing(variant_id)?;
                check_price(variant_id, &price)?;
                Ok(price_set(variant, &price).into_iter().collect())
            }
            ProductCommand::RemovePrice { variant_id, price_list_id, min_quantity } => {
                let variant = self.existing(variant_id)?;
                let price = variant.price(price_list_id, min_quantity);
                Ok(price.map(|price| price_removed(variant_id, price)).into_iter().collect())
            }
        }
    }

    pub fn apply(&mut self, event: &ProductEvent) {
        match event {
            ProductEvent::ProductCreated(created) => self.create(created),
            ProductEvent::ProductDetailsChanged(changed) => self.change_details(changed),
            ProductEvent::ProductHandleChanged(changed) => self.handle.clone_from(&changed.new),
            ProductEvent::ProductMediaChanged(changed) => self.media.clone_from(&changed.media),
            ProductEvent::ProductCategorised(changed) => {
                self.category_ids.clone_from(&changed.category_ids);
            }
            ProductEvent::ProductPublished(published) => {
                self.channels.insert(published.channel.clone());
            }
            ProductEvent::ProductUnpublished(unpublished) => {
                self.channels.remove(&unpublished.channel);
            }
            ProductEvent::ProductArchived(_) => self.stage = Stage::Archived,
            ProductEvent::VariantAdded(added) => self.variants.push(Variant::from(added)),
            ProductEvent::VariantChanged(changed) => {
                self.edit(changed.variant_id, |v| v.change(changed));
            }
            ProductEvent::VariantSkuChanged(changed) => {
                self.edit(changed.variant_id, |variant| {
                    variant.sku.clone_from(&changed.new);
                });
            }
            ProductEvent::VariantRemoved(removed) => {
                self.variants.retain(|variant| variant.variant_id != removed.variant_id);
            }
            ProductEvent::PriceSet(set) => self.edit(set.variant_id, |variant| {
                variant.prices.retain(|price| !price.replaced_by(set.price_list_id, set.min_quantity));
                variant.prices.push(Price::from(set));
            }),
            ProductEvent::PriceRemoved(removed) => self.edit(removed.variant_id, |variant| {
                variant.prices.retain(|price| !price.replaced_by(removed.price_list_id, removed.min_quantity));
            }),
        }
        if let Some(hash) = source_hash(event) {
            self.import_hash = Some(hash.clone());
        }
    }

    #[must_use]
    pub fn exists(&self) -> bool {
        self.stage != Stage::Absent
    }

    #[must_use]
    pub fn variant(&self, variant_id: VariantId) -> Option<&Variant> {
        self.variants.iter().find(|variant| variant.variant_id == variant_id)
    }

    fn existing(&self, variant_id: VariantId) -> Result<&Variant, ProductRejection> {
        self.variant(variant_id).ok_or(ProductRejection::VariantNotFound { variant_id })
    }

    /// An option that a variant still has a value of can't be taken away.
    fn check_options_in_use(&self, options: Option<&[ProductOption]>) -> Result<(), ProductRejection> {
        let Some(options) = options else {
            return Ok(());
        };
        check_variants(options, &self.variants.iter().collect::<Vec<_>>())
    }

    fn change_variant(&self, patch: &VariantPatch) -> Result<Vec<ProductEvent>, ProductRejection> {
        let current = self.existing(patch.variant_id)?;
        let mut wanted = current.clone();
        wanted.change(patch);
        let others = self.variants.iter().filter(|v| v.variant_id != patch.variant_id);
        check_variants(&self.options, &others.chain([&wanted]).collect::<Vec<_>>())?;
        Ok(variant_changed(current, &wanted).into_iter().collect())
    }

    fn change_sku(&self, variant_id: VariantId, new: Option<String>) -> Result<Vec<ProductEvent>, ProductRejection> {
        let current = self.existing(variant_id)?;
        let wanted = Variant { sku: new, ..current.clone() };
        let others = self.variants.iter().filter(|variant| variant.variant_id != variant_id);
        check_variants(&self.options, &others.chain([&wanted]).collect::<Vec<_>>())?;
        Ok(sku_changed(current, &wanted).into_iter().collect())
    }

    fn create(&mut self, created: &ProductCreated) {
        *self = Self {
            stage: Stage::Live,
            product_id: created.product_id,
            handle: created.handle.clone(),
            title: created.title.clone(),
            description: created.description.clone(),
            brand: created.brand.clone(),
            kind: created.kind.clone(),
            tags: created.tags.clone(),
            options: created.options.clone(),
            attributes: created.attributes.clone(),
            category_ids: created.category_ids.clone(),
            tax_category: created.tax_category.clone(),
            source: created.source.clone(),
            ..Self::default()
        };
    }

    fn change_details(&mut self, changed: &ProductDetailsChanged) {
        assign(&mut self.title, changed.title.as_ref());
        assign(&mut self.description, changed.description.as_ref());
        assign(&mut self.brand, changed.brand.as_ref());
        assign(&mut self.kind, changed.kind.as_ref());
        assign(&mut self.tags, changed.tags.as_ref());
        assign(&mut self.options, changed.options.as_ref());
        assign(&mut self.attributes, changed.attributes.as_ref());
        assign(&mut self.tax_category, changed.tax_category.as_ref());
    }

    fn edit(&mut self, variant_id: VariantId, change: impl FnOnce(&mut Variant)) {
        if let Some(variant) = self.variants.iter_mut().find(|v| v.variant_id == variant_id) {
            change(variant);
        }
    }
}

/// What has to be claimed and released along with these events, given the product before them.
#[must_use]
pub fn claims(events: &[ProductEvent], before: &Product) -> ClaimChanges {
    let mut after = before.clone();
    for event in events {
        after.apply(event);
    }
    ClaimChanges::between(&held(before), &held(&after))
}

/// The keys that a product holds: its handle and the skus of its variants, as long as it lives.
fn held(product: &Product) -> BTreeSet<ClaimKey> {
    if product.stage != Stage::Live {
        return BTreeSet::new();
    }
    let skus = product.variants.iter().filter_map(|variant| variant.sku.as_deref());
    skus.map(ClaimKey::sku).chain([ClaimKey::handle(&product.handle)]).collect()
}

aggregate!(Product = "product", ProductCommand => ProductEvent, ProductRejection);

impl Root for Product {
    const CONTEXT: &'static str = "catalog";
    const LONG_LIVED: bool = true;
}

impl Variant {
    #[must_use]
    pub fn price(&self, price_list_id: PriceListId, min_quantity: u32) -> Option<&Price> {
        self.prices.iter().find(|price| price.replaced_by(price_list_id, min_quantity))
    }

    /// The price of one unit when `quantity` are bought from this list at this time: of the prices
    /// that hold, the one with the largest minimum quantity.
    #[must_use]
    pub fn unit_price(&self, price_list_id: PriceListId, quantity: u32, at: DateTime<Utc>) -> Option<&Price> {
        self.prices
            .iter()
            .filter(|price| price.price_list_id == price_list_id && price.min_quantity <= quantity)
            .filter(|price| price.holds_at(at))
            .max_by_key(|price| price.min_quantity)
    }

    fn change(&mut self, changed: &VariantChanged) {
        for field in &changed.cleared {
            match field {
                VariantField::Barcode => self.barcode = None,
                VariantField::Weight => self.weight_g = None,
            }
        }
        self.barcode = changed.barcode.clone().or(self.barcode.take());
        self.weight_g = changed.weight_g.or(self.weight_g);
        assign(&mut self.option_values, changed.option_values.as_ref());
        assign(&mut self.requires_shipping, changed.requires_shipping.as_ref());
        assign(&mut self.track_stock, changed.track_stock.as_ref());
        assign(&mut self.attributes, changed.attributes.as_ref());
    }
}

impl Price {
    #[must_use]
    pub fn holds_at(&self, at: DateTime<Utc>) -> bool {
        self.valid_from.is_none_or(|from| from <= at) && self.valid_until.is_none_or(|until| at < until)
    }

    fn replaced_by(&self, price_list_id: PriceListId, min_quantity: u32) -> bool {
        self.price_list_id == price_list_id && self.min_quantity == min_quantity
    }
}

impl From<&VariantAdded> for Variant {
    fn from(added: &VariantAdded) -> Self {
        Self {
            variant_id: added.variant_id,
            sku: added.sku.clone(),
            barcode: added.barcode.clone(),
            option_values: added.option_values.clone(),
            weight_g: added.weight_g,
            requires_shipping: added.requires_shipping,
            track_stock: added.track_stock,
            attributes: added.attributes.clone(),
            prices: vec![],
        }
    }
}

impl From<&PriceSet> for Price {
    fn from(set: &PriceSet) -> Self {
        Self {
            price_list_id: set.price_list_id,
            price: set.price,
            compare_at: set.compare_at,
            includes_tax: set.includes_tax,
            min_quantity: set.min_quantity,
            valid_from: set.valid_from,
            valid_until: set.valid_until,
        }
    }
}

fn assign<T: Clone>(current: &mut T, changed: Option<&T>) {
    if let Some(new) = changed {
        current.clone_from(new);
    }
}
