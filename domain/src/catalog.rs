//! Products, their variants and prices, and the tree of categories.
//!
//! A product and all its variants are one stream: a change of any of them is decided with all of them
//! in view. Handles and skus are unique over the whole shop, which an aggregate can't see; the claims
//! that an append has to take and release are computed here and taken beside the events.

mod category;
mod difference;
mod product;
mod put;
mod rule;

pub use category::{Category, CategoryCommand, CategoryEvent, CategoryFacts, CategoryRejection, category_claims};
pub use product::{
    DetailsPatch, Price, PriceDraft, Product, ProductCommand, ProductDraft, ProductRejection, Stage, Variant, VariantDraft, VariantPatch,
    claims,
};

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use crate::id::{CategoryId, MediaId, OptionId, PriceListId, ProductId, ValueId, VariantId};
use crate::money::Money;

/// One text in several languages, by language tag (BCP 47).
pub type Text = BTreeMap<String, String>;

/// The channel that a published product appears on unless another is named.
pub const STOREFRONT: &str = "storefront";

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProductOption {
    pub option_id: OptionId,
    pub name: Text,
    pub values: Vec<OptionValue>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OptionValue {
    pub value_id: ValueId,
    pub label: Text,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attribute {
    pub key: String,
    /// `text`, `number` or `boolean` today.
    pub kind: String,
    pub value: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unit: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Media {
    pub media_id: MediaId,
    pub url: String,
    pub alt: Text,
    pub position: u32,
    /// Empty: the picture shows every variant.
    pub variant_ids: Vec<VariantId>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub width: Option<u32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub height: Option<u32>,
}

/// Where an imported product came from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Source {
    pub system: String,
    pub external_id: String,
    /// Of the imported row: an import of an equal row changes nothing.
    pub hash: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProductCreated {
    pub product_id: ProductId,
    pub handle: String,
    pub title: Text,
    pub description: Text,
    pub brand: String,
    #[serde(rename = "type")]
    pub kind: String,
    pub tags: Vec<String>,
    pub options: Vec<ProductOption>,
    pub attributes: Vec<Attribute>,
    pub category_ids: Vec<CategoryId>,
    pub tax_category: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<Source>,
}

/// Only the fields that changed are there.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProductDetailsChanged {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub title: Option<Text>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<Text>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub brand: Option<String>,
    #[serde(default, rename = "type", skip_serializing_if = "Option::is_none")]
    pub kind: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tags: Option<Vec<String>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub options: Option<Vec<ProductOption>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub attributes: Option<Vec<Attribute>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tax_category: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source_hash: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProductHandleChanged {
    pub old: String,
    pub new: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source_hash: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProductMediaChanged {
    pub media: Vec<Media>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source_hash: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProductCategorised {
    pub category_ids: Vec<CategoryId>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source_hash: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProductPublished {
    pub channel: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source_hash: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProductUnpublished {
    pub channel: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source_hash: Option<String>,
}

/// Gone from sale for good; its handle and skus are free again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProductArchived {}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct VariantAdded {
    pub variant_id: VariantId,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sku: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub barcode: Option<String>,
    pub option_values: BTreeMap<OptionId, ValueId>,
    /// In grams.
    #[serde(default, rename = "weight", skip_serializing_if = "Option::is_none")]
    pub weight_g: Option<u32>,
    pub requires_shipping: bool,
    pub track_stock: bool,
    pub attributes: Vec<Attribute>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source_hash: Option<String>,
}

/// A field of a variant that can be taken away again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum VariantField {
    Barcode,
    Weight,
}

/// Only the fields that changed are there; `cleared` names those that have no value any more.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct VariantChanged {
    pub variant_id: VariantId,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub barcode: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub option_values: Option<BTreeMap<OptionId, ValueId>>,
    /// In grams.
    #[serde(default, rename = "weight", skip_serializing_if = "Option::is_none")]
    pub weight_g: Option<u32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub requires_shipping: Option<bool>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub track_stock: Option<bool>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub attributes: Option<Vec<Attribute>>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub cleared: Vec<VariantField>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source_hash: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct VariantSkuChanged {
    pub variant_id: VariantId,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub old: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub new: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source_hash: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct VariantRemoved {
    pub variant_id: VariantId,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source_hash: Option<String>,
}

/// A price replaces the one of the same list and minimum quantity.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PriceSet {
    pub variant_id: VariantId,
    pub price_list_id: PriceListId,
    pub price: Money,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub compare_at: Option<Money>,
    pub includes_tax: bool,
    /// From how many units on the price holds; 1 for the plain price.
    pub min_quantity: u32,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub valid_from: Option<DateTime<Utc>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub valid_until: Option<DateTime<Utc>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source_hash: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PriceRemoved {
    pub variant_id: VariantId,
    pub price_list_id: PriceListId,
    pub min_quantity: u32,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source_hash: Option<String>,
}

events! {
    /// What happened to a product or one of its variants. `source_hash` is the hash of the imported
    /// row that an event comes from.
    pub enum ProductEvent {
        ProductCreated(ProductCreated) = "ProductCreated", 1;
        ProductDetailsChanged(ProductDetailsChanged) = "ProductDetailsChanged", 1;
        ProductHandleChanged(ProductHandleChanged) = "ProductHandleChanged", 1;
        ProductMediaChanged(ProductMediaChanged) = "ProductMediaChanged", 1;
        ProductCategorised(ProductCategorised) = "ProductCategorised", 1;
        ProductPublished(ProductPublished) = "ProductPublished", 1;
        ProductUnpublished(ProductUnpublished) = "ProductUnpublished", 1;
        ProductArchived(ProductArchived) = "ProductArchived", 1;
        VariantAdded(VariantAdded) = "VariantAdded", 1;
        VariantChanged(VariantChanged) = "VariantChanged", 1;
        VariantSkuChanged(VariantSkuChanged) = "VariantSkuChanged", 1;
        VariantRemoved(VariantRemoved) = "VariantRemoved", 1;
        PriceSet(PriceSet) = "PriceSet", 1;
        PriceRemoved(PriceRemoved) = "PriceRemoved", 1;
    }
}
