//! The differences between what a product is and what it should be, each as the event that closes it.

use super::product::{Price, Variant};
use super::{
    DetailsPatch, Media, PriceRemoved, PriceSet, Product, ProductCategorised, ProductDetailsChanged, ProductEvent, ProductHandleChanged,
    ProductMediaChanged, ProductPublished, ProductUnpublished, VariantAdded, VariantChanged, VariantField, VariantRemoved,
    VariantSkuChanged,
};
use crate::id::{CategoryId, VariantId};

impl Product {
    pub(super) fn details_changed(&self, wanted: DetailsPatch) -> Option<ProductEvent> {
        let changed = ProductDetailsChanged {
            title: wanted.title.filter(|title| *title != self.title),
            description: wanted.description.filter(|description| *description != self.description),
            brand: wanted.brand.filter(|brand| *brand != self.brand),
            kind: wanted.kind.filter(|kind| *kind != self.kind),
            tags: wanted.tags.filter(|tags| *tags != self.tags),
            options: wanted.options.filter(|options| *options != self.options),
            attributes: wanted.attributes.filter(|attributes| *attributes != self.attributes),
            tax_category: wanted.tax_category.filter(|category| *category != self.tax_category),
            source_hash: None,
        };
        (changed != ProductDetailsChanged::default()).then_some(ProductEvent::ProductDetailsChanged(changed))
    }

    pub(super) fn handle_changed(&self, wanted: &str) -> Option<ProductEvent> {
        (self.handle != wanted).then(|| {
            ProductEvent::ProductHandleChanged(ProductHandleChanged { old: self.handle.clone(), new: wanted.to_owned(), source_hash: None })
        })
    }

    pub(super) fn media_changed(&self, media: Vec<Media>) -> Option<ProductEvent> {
        (self.media != media).then_some(ProductEvent::ProductMediaChanged(ProductMediaChanged { media, source_hash: None }))
    }

    pub(super) fn categorised(&self, category_ids: Vec<CategoryId>) -> Option<ProductEvent> {
        (self.category_ids != category_ids)
            .then_some(ProductEvent::ProductCategorised(ProductCategorised { category_ids, source_hash: None }))
    }

    pub(super) fn published(&self, channel: &str, wanted: bool) -> Option<ProductEvent> {
        let channel = channel.to_owned();
        match (self.channels.contains(&channel), wanted) {
            (false, true) => Some(ProductEvent::ProductPublished(ProductPublished { channel, source_hash: None })),
            (true, false) => Some(ProductEvent::ProductUnpublished(ProductUnpublished { channel, source_hash: None })),
            _ => None,
        }
    }
}

/// A variant and all its prices.
pub(super) fn variant_added(variant: &Variant) -> Vec<ProductEvent> {
    let bare = Variant { prices: vec![], ..variant.clone() };
    let added = ProductEvent::VariantAdded(VariantAdded {
        variant_id: variant.variant_id,
        sku: variant.sku.clone(),
        barcode: variant.barcode.clone(),
        option_values: variant.option_values.clone(),
        weight_g: variant.weight_g,
        requires_shipping: variant.requires_shipping,
        track_stock: variant.track_stock,
        attributes: variant.attributes.clone(),
        source_hash: None,
    });
    let prices = variant.prices.iter().filter_map(|price| price_set(&bare, price));
    std::iter::once(added).chain(prices).collect()
}

pub(super) fn variant_removed(variant_id: VariantId) -> ProductEvent {
    ProductEvent::VariantRemoved(VariantRemoved { variant_id, source_hash: None })
}

pub(super) fn variant_changed(current: &Variant, wanted: &Variant) -> Option<ProductEvent> {
    let nothing = VariantChanged { variant_id: current.variant_id, ..VariantChanged::default() };
    let mut changed = nothing.clone();
    match &wanted.barcode {
        Some(barcode) if current.barcode.as_ref() != Some(barcode) => {
            changed.barcode = Some(barcode.clone());
        }
        None if current.barcode.is_some() => changed.cleared.push(VariantField::Barcode),
        _ => {}
    }
    match wanted.weight_g {
        Some(weight) if current.weight_g != Some(weight) => changed.weight_g = Some(weight),
        None if current.weight_g.is_some() => changed.cleared.push(VariantField::Weight),
        _ => {}
    }
    changed.option_values = (current.option_values != wanted.option_values).then(|| wanted.option_values.clone());
    changed.requires_shipping = (current.requires_shipping != wanted.requires_shipping).then_some(wanted.requires_shipping);
    changed.track_stock = (current.track_stock != wanted.track_stock).then_some(wanted.track_stock);
    changed.attributes = (current.attributes != wanted.attributes).then(|| wanted.attributes.clone());
    (changed != nothing).then_some(ProductEvent::VariantChanged(changed))
}

pub(super) fn sku_changed(current: &Variant, wanted: &Variant) -> Option<ProductEvent> {
    (current.sku != wanted.sku).then(|| {
        ProductEvent::VariantSkuChanged(VariantSkuChanged {
            variant_id: current.variant_id,
            old: current.sku.clone(),
            new: wanted.sku.clone(),
            source_hash: None,
        })
    })
}

pub(super) fn price_set(variant: &Variant, wanted: &Price) -> Option<ProductEvent> {
    if variant.price(wanted.price_list_id, wanted.min_quantity) == Some(wanted) {
        return None;
    }
    Some(ProductEvent::PriceSet(PriceSet {
        variant_id: variant.variant_id,
        price_list_id: wanted.price_list_id,
        price: wanted.price,
        compare_at: wanted.compare_at,
        includes_tax: wanted.includes_tax,
        min_quantity: wanted.min_quantity,
        valid_from: wanted.valid_from,
        valid_until: wanted.valid_until,
        source_hash: None,
    }))
}

pub(super) fn price_removed(variant_id: VariantId, price: &Price) -> ProductEvent {
    ProductEvent::PriceRemoved(PriceRemoved {
        variant_id,
        price_list_id: price.price_list_id,
        min_quantity: price.min_quantity,
        source_hash: None,
    })
}

pub(super) fn source_hash(event: &ProductEvent) -> Option<&String> {
    match event {
        ProductEvent::ProductCreated(created) => created.source.as_ref().map(|source| &source.hash),
        ProductEvent::ProductArchived(_) => None,
        ProductEvent::ProductDetailsChanged(ProductDetailsChanged { source_hash, .. })
        | ProductEvent::ProductHandleChanged(ProductHandleChanged { source_hash, .. })
        | ProductEvent::ProductMediaChanged(ProductMediaChanged { source_hash, .. })
        | ProductEvent::ProductCategorised(ProductCategorised { source_hash, .. })
        | ProductEvent::ProductPublished(ProductPublished { source_hash, .. })
        | ProductEvent::ProductUnpublished(ProductUnpublished { source_hash, .. })
        | ProductEvent::VariantAdded(VariantAdded { source_hash, .. })
        | ProductEvent::VariantChanged(VariantChanged { source_hash, .. })
        | ProductEvent::VariantSkuChanged(VariantSkuChanged { source_hash, .. })
        | ProductEvent::VariantRemoved(VariantRemoved { source_hash, .. })
        | ProductEvent::PriceSet(PriceSet { source_hash, .. })
        | ProductEvent::PriceRemoved(PriceRemoved { source_hash, .. }) => source_hash.as_ref(),
    }
}

/// Notes which imported row an event comes from.
pub(super) fn stamp(event: &mut ProductEvent, hash: &str) {
    match event {
        // The creation carries its whole source.
        ProductEvent::ProductCreated(_) | ProductEvent::ProductArchived(_) => {}
        ProductEvent::ProductDetailsChanged(ProductDetailsChanged { source_hash, .. })
        | ProductEvent::ProductHandleChanged(ProductHandleChanged { source_hash, .. })
        | ProductEvent::ProductMediaChanged(ProductMediaChanged { source_hash, .. })
        | ProductEvent::ProductCategorised(ProductCategorised { source_hash, .. })
        | ProductEvent::ProductPublished(ProductPublished { source_hash, .. })
        | ProductEvent::ProductUnpublished(ProductUnpublished { source_hash, .. })
        | ProductEvent::VariantAdded(VariantAdded { source_hash, .. })
        | ProductEvent::VariantChanged(VariantChanged { source_hash, .. })
        | ProductEvent::VariantSkuChanged(VariantSkuChanged { source_hash, .. })
        | ProductEvent::VariantRemoved(VariantRemoved { source_hash, .. })
        | ProductEvent::PriceSet(PriceSet { source_hash, .. })
        | ProductEvent::PriceRemoved(PriceRemoved { source_hash, .. }) => {
            *source_hash = Some(hash.to_owned());
        }
    }
}
