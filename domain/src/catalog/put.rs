//! Putting a whole product: an import, or a person's edit of everything at once.
//!
//! The draft brings ids of its own for whatever it lists. Where a thing of the draft is one that the
//! product already has (an option by its name, a variant by its sku, a picture by its URL) it takes
//! the existing id, so that carts and orders go on referring to it. What differs after that becomes
//! events; what doesn't, doesn't.

use std::collections::{BTreeMap, BTreeSet};

use super::difference::{price_removed, price_set, sku_changed, stamp, variant_added, variant_changed, variant_removed};
use super::rule::{check_handle, check_title, check_variants};
use super::{
    DetailsPatch, Product, ProductCreated, ProductDraft, ProductEvent, ProductOption, ProductRejection, STOREFRONT, Stage, Text, Variant,
};
use crate::claim::ClaimKey;
use crate::id::{MediaId, OptionId, ValueId, VariantId};

impl Product {
    pub(super) fn put(&self, draft: ProductDraft) -> Result<Vec<ProductEvent>, ProductRejection> {
        if self.equals_last_import(&draft) {
            return Ok(vec![]);
        }
        check_title(&draft.title)?;
        check_handle(&draft.handle)?;
        check_variants(&draft.options, &draft.variants.iter().collect::<Vec<_>>())?;
        let hash = draft.source.as_ref().map(|source| source.hash.clone());
        let mut events = match self.stage {
            Stage::Absent => created(draft),
            Stage::Archived => return Err(ProductRejection::Archived),
            Stage::Live => self.update(draft),
        };
        if let Some(hash) = hash {
            for event in &mut events {
                stamp(event, &hash);
            }
        }
        Ok(events)
    }

    /// An import must not undo what people changed since: only a row that itself changed counts.
    fn equals_last_import(&self, draft: &ProductDraft) -> bool {
        let hash = draft.source.as_ref().map(|source| &source.hash);
        hash.is_some() && hash == self.import_hash.as_ref()
    }

    fn update(&self, draft: ProductDraft) -> Vec<ProductEvent> {
        let draft = self.with_known_ids(draft);
        let mut events = Vec::new();
        events.extend(self.handle_changed(&draft.handle));
        events.extend(self.details_changed(DetailsPatch {
            title: Some(draft.title),
            description: Some(draft.description),
            brand: Some(draft.brand),
            kind: Some(draft.kind),
            tags: Some(draft.tags),
            options: Some(draft.options),
            attributes: Some(draft.attributes),
            tax_category: Some(draft.tax_category),
            source_hash: None,
        }));
        events.extend(self.categorised(draft.category_ids));

        let wanted: BTreeSet<_> = draft.variants.iter().map(|variant| variant.variant_id).collect();
        let vanished = self.variants.iter().filter(|variant| !wanted.contains(&variant.variant_id));
        events.extend(vanished.map(|variant| variant_removed(variant.variant_id)));
        for variant in &draft.variants {
            match self.variant(variant.variant_id) {
                Some(current) => events.extend(variant_differences(current, variant)),
                None => events.extend(variant_added(variant)),
            }
        }
        events.extend(self.media_changed(draft.media));
        events.extend(self.published(STOREFRONT, draft.published));
        events
    }

    fn with_known_ids(&self, mut draft: ProductDraft) -> ProductDraft {
        let known = self.known_options(&mut draft.options);
        for variant in &mut draft.variants {
            variant.option_values = known.translate(&variant.option_values);
        }
        let variant_ids = self.known_variants(&draft.variants);
        for variant in &mut draft.variants {
            variant.variant_id = variant_ids[&variant.variant_id];
        }
        let media_ids: BTreeMap<&str, MediaId> = self.media.iter().map(|media| (media.url.as_str(), media.media_id)).collect();
        for media in &mut draft.media {
            if let Some(media_id) = media_ids.get(media.url.as_str()) {
                media.media_id = *media_id;
            }
            for variant_id in &mut media.variant_ids {
                *variant_id = variant_ids.get(variant_id).copied().unwrap_or(*variant_id);
            }
        }
        draft
    }

    /// Gives the draft's options and values the ids of those with the same text.
    fn known_options(&self, wanted: &mut [ProductOption]) -> KnownOptions {
        let mut known = KnownOptions::default();
        for option in wanted {
            let Some(current) = self.options.iter().find(|current| same_text(&current.name, &option.name)) else {
                continue;
            };
            known.options.insert(option.option_id, current.option_id);
            option.option_id = current.option_id;
            for value in &mut option.values {
                let same = current.values.iter().find(|current| same_text(&current.label, &value.label));
                if let Some(current) = same {
                    known.values.insert(value.value_id, current.value_id);
                    value.value_id = current.value_id;
                }
            }
        }
        known
    }

    /// Which variant of the product each variant of the draft is: the one with its id, else with its
    /// sku, else with its options. Each is found once; what isn't found keeps its own id.
    fn known_variants(&self, wanted: &[Variant]) -> BTreeMap<VariantId, VariantId> {
        let same_sku = |current: &Variant, variant: &Variant| match (&current.sku, &variant.sku) {
            (Some(current), Some(wanted)) => ClaimKey::sku(current) == ClaimKey::sku(wanted),
            _ => false,
        };
        let signs: [Sign<'_>; 3] = [&|current, variant| current.variant_id == variant.variant_id, &same_sku, &|current, variant| {
            current.option_values == variant.option_values
        }];
        let mut found = BTreeMap::new();
        let mut left: Vec<&Variant> = self.variants.iter().collect();
        for same in signs {
            for variant in wanted {
                if found.contains_key(&variant.variant_id) {
                    continue;
                }
                if let Some(index) = left.iter().position(|current| same(current, variant)) {
                    found.insert(variant.variant_id, left.remove(index).variant_id);
                }
            }
        }
        for variant in wanted {
            found.entry(variant.variant_id).or_insert(variant.variant_id);
        }
        found
    }
}

#[derive(Default)]
struct KnownOptions {
    options: BTreeMap<OptionId, OptionId>,
    values: BTreeMap<ValueId, ValueId>,
}

impl KnownOptions {
    fn translate(&self, option_values: &BTreeMap<OptionId, ValueId>) -> BTreeMap<OptionId, ValueId> {
        let translated = option_values.iter().map(|(option_id, value_id)| {
            let option_id = self.options.get(option_id).copied().unwrap_or(*option_id);
            let value_id = self.values.get(value_id).copied().unwrap_or(*value_id);
            (option_id, value_id)
        });
        translated.collect()
    }
}

/// Whether a variant of the product is the one that a draft means.
type Sign<'a> = &'a dyn Fn(&Variant, &Variant) -> bool;

/// Two texts name the same thing when they agree in a language that both have.
fn same_text(a: &Text, b: &Text) -> bool {
    a.iter().any(|(language, text)| b.get(language) == Some(text))
}

fn created(draft: ProductDraft) -> Vec<ProductEvent> {
    let nothing = Product::default();
    let mut events = vec![ProductEvent::ProductCreated(ProductCreated {
        product_id: draft.product_id,
        handle: draft.handle,
        title: draft.title,
        description: draft.description,
        brand: draft.brand,
        kind: draft.kind,
        tags: draft.tags,
        options: draft.options,
        attributes: draft.attributes,
        category_ids: draft.category_ids,
        tax_category: draft.tax_category,
        source: draft.source,
    })];
    events.extend(draft.variants.iter().flat_map(variant_added));
    events.extend(nothing.media_changed(draft.media));
    events.extend(nothing.published(STOREFRONT, draft.published));
    events
}

/// A draft speaks only for the price lists that it names: prices of other lists stay.
fn variant_differences(current: &Variant, wanted: &Variant) -> Vec<ProductEvent> {
    let mut events = Vec::new();
    events.extend(sku_changed(current, wanted));
    events.extend(variant_changed(current, wanted));
    let lists: BTreeSet<_> = wanted.prices.iter().map(|price| price.price_list_id).collect();
    let vanished = current
        .prices
        .iter()
        .filter(|price| lists.contains(&price.price_list_id) && wanted.price(price.price_list_id, price.min_quantity).is_none());
    events.extend(vanished.map(|price| price_removed(current.variant_id, price)));
    events.extend(wanted.prices.iter().filter_map(|price| price_set(current, price)));
    events
}
