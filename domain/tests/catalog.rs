//! Products: created, put again, changed by hand, and what they claim.

#![expect(clippy::unwrap_used, reason = "a test whose facts can't be made should fail")]

use std::collections::BTreeMap;

use cqrs_es::test::TestFramework;
use domain::catalog::{
    Attribute, DetailsPatch, Media, OptionValue, Price, PriceSet, Product, ProductCommand, ProductDraft, ProductEvent, ProductOption,
    ProductPublished, ProductRejection, STOREFRONT, Source, Stage, Text, Variant, VariantPatch, VariantSkuChanged, claims,
};
use domain::claim::ClaimKey;
use domain::id::{MediaId, OptionId, PriceListId, ProductId, ValueId, VariantId};
use domain::money::Money;
use proptest::prelude::*;
use uuid::Uuid;

/// Ids of the n-th draft: each draft brings ids of its own.
fn id<T: From<Uuid>>(draft: u128, n: u128) -> T {
    T::from(Uuid::from_u128(draft << 64 | n))
}

fn text(english: &str) -> Text {
    Text::from([("en".to_owned(), english.to_owned())])
}

fn eur(amount: i64) -> Money {
    Money::new(amount, "EUR".parse().unwrap()).unwrap()
}

fn price(amount: i64, min_quantity: u32) -> Price {
    Price {
        price_list_id: id(0, 1),
        price: eur(amount),
        compare_at: None,
        includes_tax: true,
        min_quantity,
        valid_from: None,
        valid_until: None,
    }
}

/// A pot in two colours, as the n-th draft has it.
fn pot(draft: u128) -> ProductDraft {
    let option_id: OptionId = id(draft, 1);
    let values: [ValueId; 2] = [id(draft, 2), id(draft, 3)];
    let variant = |n: u128, sku: &str| Variant {
        variant_id: id(draft, 10 + n),
        sku: Some(sku.to_owned()),
        option_values: BTreeMap::from([(option_id, values[usize::try_from(n).unwrap()])]),
        requires_shipping: true,
        track_stock: true,
        prices: vec![price(4995, 1)],
        ..Variant::default()
    };
    let variants = vec![variant(0, "POT-R"), variant(1, "POT-B")];
    ProductDraft {
        product_id: id(draft, 0),
        handle: "moka-pot".to_owned(),
        title: text("Moka pot"),
        description: text("For the stove."),
        brand: "Bialetti".to_owned(),
        kind: "coffee maker".to_owned(),
        tags: vec!["coffee".to_owned()],
        options: vec![ProductOption {
            option_id,
            name: text("Colour"),
            values: vec![OptionValue { value_id: values[0], label: text("Red") }, OptionValue { value_id: values[1], label: text("Blue") }],
        }],
        attributes: vec![],
        category_ids: vec![],
        tax_category: "standard".to_owned(),
        media: vec![Media {
            media_id: id(draft, 20),
            url: "https://example.com/pot.webp".to_owned(),
            alt: text("A pot"),
            position: 1,
            variant_ids: vec![variants[0].variant_id],
            width: None,
            height: None,
        }],
        variants,
        published: true,
        source: None,
    }
}

fn imported(draft: ProductDraft, hash: &str) -> ProductDraft {
    let source = Source { system: "shopify".to_owned(), external_id: "moka-pot".to_owned(), hash: hash.to_owned() };
    ProductDraft { source: Some(source), ..draft }
}

fn put(draft: ProductDraft) -> ProductCommand {
    ProductCommand::Put(Box::new(draft))
}

fn created(draft: ProductDraft) -> Vec<ProductEvent> {
    Product::default().decide(put(draft)).unwrap()
}

fn fold(events: &[ProductEvent]) -> Product {
    let mut product = Product::default();
    for event in events {
        product.apply(event);
    }
    product
}

fn after(product: &Product, command: ProductCommand) -> Product {
    let mut after = product.clone();
    for event in product.decide(command).unwrap() {
        after.apply(&event);
    }
    after
}

#[test]
fn a_new_product_comes_with_its_variants_prices_pictures_and_publication() {
    let names: Vec<_> = created(pot(1)).iter().map(cqrs_es::DomainEvent::event_type).collect();
    assert_eq!(
        names,
        ["ProductCreated", "VariantAdded", "PriceSet", "VariantAdded", "PriceSet", "ProductMediaChanged", "ProductPublished"]
    );
    let product = fold(&created(pot(1)));
    assert_eq!(product.stage, Stage::Live);
    assert_eq!(product.variants, pot(1).variants);
}

/// A draft that differs from the pot in everything that can differ; `n` for the ids as ever.
fn kettle(draft: u128) -> ProductDraft {
    let attributes =
        vec![Attribute { key: "volume".to_owned(), kind: "number".to_owned(), value: "1.7".to_owned(), unit: Some("l".to_owned()) }];
    let mut kettle = ProductDraft {
        handle: "kettle".to_owned(),
        title: text("Kettle"),
        description: text("For water."),
        brand: "Graef".to_owned(),
        kind: "kettle".to_owned(),
        tags: vec!["tea".to_owned()],
        attributes: attributes.clone(),
        category_ids: vec![id(0, 7)],
        tax_category: "reduced".to_owned(),
        published: false,
        ..imported(pot(draft), "row-2")
    };
    kettle.media[0].alt = text("A kettle");
    let variant = &mut kettle.variants[0];
    variant.barcode = Some("4001627017064".to_owned());
    variant.weight_g = Some(1_200);
    variant.requires_shipping = false;
    variant.track_stock = false;
    variant.attributes = attributes;
    variant.prices = vec![Price { compare_at: Some(eur(6995)), ..price(5995, 1) }];
    kettle
}

#[test]
fn a_product_is_what_its_last_draft_says() {
    let says = |product: &Product, draft: ProductDraft| {
        let ProductDraft { product_id, handle, title, description, brand, kind, tags, options, attributes, category_ids, .. } = draft;
        let expected = Product {
            stage: Stage::Live,
            product_id,
            handle,
            title,
            description,
            brand,
            kind,
            tags,
            options,
            attributes,
            category_ids,
            tax_category: draft.tax_category,
            media: draft.media,
            channels: draft.published.then(|| STOREFRONT.to_owned()).into_iter().collect(),
            variants: draft.variants,
            source: product.source.clone(),
            import_hash: product.import_hash.clone(),
        };
        assert_eq!(*product, expected);
    };
    let first = fold(&created(kettle(1)));
    says(&first, kettle(1));
    assert_eq!(first.source, kettle(1).source);
    let product = after(&fold(&created(pot(1))), put(kettle(1)));
    says(&product, kettle(1));
    assert_eq!(product.import_hash.as_deref(), Some("row-2"));
    let again = ProductDraft { source: None, ..kettle(1) };
    assert_eq!(product.decide(put(again)), Ok(vec![]), "all of it is as the draft says");
    says(&after(&product, put(pot(1))), pot(1));
}

#[test]
fn a_variant_that_weighs_something_else_or_has_another_barcode_is_changed() {
    let product = fold(&created(kettle(1)));
    let mut draft = ProductDraft { source: None, ..kettle(1) };
    draft.variants[0].barcode = Some("8006363018104".to_owned());
    draft.variants[0].weight_g = Some(640);
    let changed = after(&product, put(draft.clone()));
    assert_eq!(changed.variants, draft.variants);
    assert_eq!(product.decide(put(draft)).unwrap().len(), 1);
}

#[test]
fn an_archived_product_exists_and_does_not_change() {
    let product = after(&fold(&created(pot(1))), ProductCommand::Archive);
    assert_eq!((Product::default().exists(), fold(&created(pot(1))).exists(), product.exists()), (false, true, true));
    let publish = ProductCommand::Publish { channel: STOREFRONT.to_owned() };
    assert_eq!(product.decide(publish), Err(ProductRejection::Archived));
}

#[test]
fn putting_an_equal_product_again_appends_nothing_though_its_ids_are_new() {
    TestFramework::<Product>::with(()).given(created(pot(1))).when(put(pot(2))).then_expect_events(vec![]);
}

#[test]
fn a_changed_price_is_one_event() {
    let mut draft = pot(2);
    draft.variants[1].prices = vec![price(4495, 1)];
    let set = PriceSet {
        variant_id: id(1, 11),
        price_list_id: id(0, 1),
        price: eur(4495),
        compare_at: None,
        includes_tax: true,
        min_quantity: 1,
        valid_from: None,
        valid_until: None,
        source_hash: None,
    };
    TestFramework::<Product>::with(()).given(created(pot(1))).when(put(draft)).then_expect_events(vec![ProductEvent::PriceSet(set)]);
}

#[test]
fn a_row_equal_to_its_last_import_appends_nothing_whatever_changed_since() {
    let edit = ProductEvent::ProductDetailsChanged(DetailsPatch { title: Some(text("The pot")), ..DetailsPatch::default() });
    TestFramework::<Product>::with(())
        .given(created(imported(pot(1), "a")))
        .and(vec![edit])
        .when(put(imported(pot(2), "a")))
        .then_expect_events(vec![]);
}

#[test]
fn what_an_import_changes_remembers_the_row() {
    let mut draft = imported(pot(2), "b");
    draft.title = text("Moka pot, 6 cups");
    let mut product = fold(&created(imported(pot(1), "a")));
    assert_eq!(product.import_hash.as_deref(), Some("a"));
    product = after(&product, put(draft.clone()));
    assert_eq!(product.import_hash.as_deref(), Some("b"));
    product = after(&product, ProductCommand::Unpublish { channel: STOREFRONT.to_owned() });
    assert_eq!(product.decide(put(draft)), Ok(vec![]));
}

#[test]
fn a_variant_that_vanished_from_the_draft_is_removed() {
    let mut draft = pot(2);
    draft.variants.truncate(1);
    let product = after(&fold(&created(pot(1))), put(draft));
    let left: Vec<_> = product.variants.iter().map(|variant| variant.variant_id).collect();
    assert_eq!(left, [id::<VariantId>(1, 10)]);
}

#[test]
fn a_variant_whose_sku_changed_is_found_by_its_options() {
    let mut draft = pot(2);
    draft.variants[0].sku = Some("POT-RED".to_owned());
    let changed =
        VariantSkuChanged { variant_id: id(1, 10), old: Some("POT-R".to_owned()), new: Some("POT-RED".to_owned()), source_hash: None };
    TestFramework::<Product>::with(())
        .given(created(pot(1)))
        .when(put(draft))
        .then_expect_events(vec![ProductEvent::VariantSkuChanged(changed)]);
}

#[test]
fn variants_that_swapped_their_skus_keep_them_and_swap_their_options() {
    let mut draft = pot(2);
    let (first, second) = (draft.variants[0].sku.clone(), draft.variants[1].sku.clone());
    (draft.variants[0].sku, draft.variants[1].sku) = (second, first);
    let before = fold(&created(pot(1)));
    let product = after(&before, put(draft.clone()));
    assert_eq!(product.variant(id(1, 10)).unwrap().sku.as_deref(), Some("POT-R"));
    let values = |product: &Product, n| product.variant(id(1, n)).unwrap().option_values.clone();
    assert_eq!(values(&product, 10), values(&before, 11));
    assert_eq!(product.decide(put(draft)), Ok(vec![]));
}

#[test]
fn prices_of_lists_that_the_draft_does_not_name_stay() {
    let mut draft = pot(1);
    let other_list = Price { price_list_id: id(0, 2), ..price(9900, 1) };
    draft.variants[0].prices = vec![price(4995, 1), price(4495, 10), other_list.clone()];
    let product = after(&fold(&created(draft)), put(pot(2)));
    let mut left = product.variant(id(1, 10)).unwrap().prices.clone();
    left.sort_by_key(|price| price.price_list_id);
    assert_eq!(left, [price(4995, 1), other_list]);
}

#[test]
fn an_archived_product_takes_no_draft() {
    let events = created(pot(1));
    let product = after(&fold(&events), ProductCommand::Archive);
    assert_eq!(product.decide(put(pot(2))), Err(ProductRejection::Archived));
    assert_eq!(product.decide(ProductCommand::Archive), Ok(vec![]));
}

#[test]
fn a_draft_against_the_rules_is_refused_by_name() {
    let refused = |change: fn(&mut ProductDraft)| {
        let mut draft = pot(1);
        change(&mut draft);
        Product::default().decide(put(draft)).unwrap_err().code()
    };
    assert_eq!(refused(|draft| draft.title = text(" ")), "title_missing");
    assert_eq!(refused(|draft| draft.handle = "moka/pot".to_owned()), "handle_invalid");
    assert_eq!(refused(|draft| draft.variants[1].sku = Some(" pot-r".to_owned())), "sku_duplicate");
    assert_eq!(refused(|draft| draft.options.clear()), "option_unknown");
    assert_eq!(refused(|draft| draft.variants[0].prices[0].price = eur(-1)), "price_negative");
    assert_eq!(
        refused(|draft| {
            draft.variants.truncate(1);
            draft.variants[0].option_values.values_mut().for_each(|value_id| *value_id = id(9, 9));
        }),
        "option_unknown"
    );
    let yen = |draft: &mut ProductDraft| draft.variants[0].prices[0].compare_at = Some(Money::new(1, "JPY".parse().unwrap()).unwrap());
    assert_eq!(refused(yen), "currency_mismatch");
    assert_eq!(refused(|draft| draft.variants[1].option_values = draft.variants[0].option_values.clone()), "options_duplicate");
}

#[test]
fn publishing_twice_appends_once() {
    let channel = "wholesale".to_owned();
    let published = ProductPublished { channel: channel.clone(), source_hash: None };
    TestFramework::<Product>::with(())
        .given(created(pot(1)))
        .when(ProductCommand::Publish { channel: channel.clone() })
        .then_expect_events(vec![ProductEvent::ProductPublished(published.clone())]);
    TestFramework::<Product>::with(())
        .given(created(pot(1)))
        .and(vec![ProductEvent::ProductPublished(published)])
        .when(ProductCommand::Publish { channel })
        .then_expect_events(vec![]);
}

#[test]
fn nothing_can_be_done_to_a_product_that_does_not_exist() {
    TestFramework::<Product>::with(())
        .given_no_previous_events()
        .when(ProductCommand::Archive)
        .then_expect_error(ProductRejection::NotFound);
}

#[test]
fn a_field_of_a_variant_can_be_taken_away_again() {
    let mut draft = pot(1);
    draft.variants[0].weight_g = Some(640);
    draft.variants[0].barcode = Some("8006363018104".to_owned());
    let product = after(&fold(&created(draft)), put(pot(2)));
    let variant = product.variant(id(1, 10)).unwrap();
    assert_eq!((variant.weight_g, variant.barcode.as_deref()), (None, None));
}

#[test]
fn a_variant_is_changed_by_hand_in_the_named_fields_only() {
    let product = fold(&created(pot(1)));
    let patch = VariantPatch { variant_id: id(1, 10), track_stock: Some(false), ..VariantPatch::default() };
    let changed = after(&product, ProductCommand::ChangeVariant(patch.clone()));
    assert!(!changed.variant(id(1, 10)).unwrap().track_stock);
    assert_eq!(changed.decide(ProductCommand::ChangeVariant(patch)), Ok(vec![]));
    let unknown = VariantPatch { variant_id: id(9, 9), ..VariantPatch::default() };
    assert_eq!(changed.decide(ProductCommand::ChangeVariant(unknown)), Err(ProductRejection::VariantNotFound { variant_id: id(9, 9) }));
}

#[test]
fn an_option_in_use_can_not_be_taken_away() {
    let product = fold(&created(pot(1)));
    let patch = DetailsPatch { options: Some(vec![]), ..DetailsPatch::default() };
    assert_eq!(product.decide(ProductCommand::ChangeDetails(patch)), Err(ProductRejection::OptionUnknown { variant_id: id(1, 10) }));
}

#[test]
fn a_new_product_claims_its_handle_and_skus() {
    let changes = claims(&created(pot(1)), &Product::default());
    assert_eq!(changes.take, [ClaimKey::handle("moka-pot"), ClaimKey::sku("POT-B"), ClaimKey::sku("POT-R")]);
    assert!(changes.release.is_empty());
}

#[test]
fn a_changed_sku_is_claimed_and_the_old_one_released() {
    let product = fold(&created(pot(1)));
    let command = ProductCommand::ChangeSku { variant_id: id(1, 10), new: Some("POT-RED".to_owned()) };
    let changes = claims(&product.decide(command).unwrap(), &product);
    assert_eq!(changes.take, [ClaimKey::sku("POT-RED")]);
    assert_eq!(changes.release, [ClaimKey::sku("POT-R")]);
}

#[test]
fn a_changed_price_claims_nothing() {
    let product = fold(&created(pot(1)));
    let command = ProductCommand::SetPrice { variant_id: id(1, 10), price: price(1, 1) };
    assert!(claims(&product.decide(command).unwrap(), &product).is_empty());
}

#[test]
fn an_archived_product_gives_all_its_keys_back() {
    let product = fold(&created(pot(1)));
    let changes = claims(&product.decide(ProductCommand::Archive).unwrap(), &product);
    assert_eq!(changes.release.len(), 3);
    assert!(changes.take.is_empty());
}

#[test]
fn the_price_with_the_largest_minimum_that_is_reached_holds() {
    let now = "2026-11-22T10:00:00Z".parse().unwrap();
    let later = "2026-11-23T00:00:00Z".parse().unwrap();
    let variant = Variant {
        prices: vec![price(4995, 1), price(4495, 10), Price { valid_from: Some(later), ..price(3995, 5) }],
        ..Variant::default()
    };
    let list: PriceListId = id(0, 1);
    let unit = |quantity, at| variant.unit_price(list, quantity, at).unwrap().price.amount();
    assert_eq!(unit(1, now), 4995);
    assert_eq!(unit(9, now), 4995);
    assert_eq!(unit(10, now), 4495);
    assert_eq!(unit(9, later), 3995);
    assert_eq!(variant.unit_price(id(0, 3), 1, now), None);
    let until_later = Price { valid_until: Some(later), ..price(1, 1) };
    assert!(until_later.holds_at(now));
    assert!(!until_later.holds_at(later), "the end is not included");
    assert!(!until_later.holds_at("2026-11-24T00:00:00Z".parse().unwrap()));
}

fn any_draft() -> impl Strategy<Value = ProductDraft> {
    let variant = (any::<bool>(), 0..3_i64, any::<bool>(), prop::option::of(0..3_u32));
    let variants = prop::collection::btree_map(0..4_u128, variant, 0..4);
    (variants, 0..3_u8, any::<bool>(), 2..5_u128, 0..2_u8).prop_map(|(variants, title, published, draft, handle)| {
        let option_id: OptionId = id(draft, 1);
        let value = |n: u128| OptionValue { value_id: id(draft, 100 + n), label: text(&format!("Value {n}")) };
        let variants = variants.into_iter().map(|(n, (has_sku, amount, track_stock, weight_g))| Variant {
            variant_id: id(draft, n),
            sku: has_sku.then(|| format!("SKU-{n}")),
            option_values: BTreeMap::from([(option_id, id(draft, 100 + n))]),
            weight_g,
            track_stock,
            attributes: vec![Attribute { key: "tier".to_owned(), kind: "number".to_owned(), value: amount.to_string(), unit: None }],
            prices: (1..=amount).map(|tier| price(1000 * tier, u32::try_from(tier).unwrap())).collect(),
            ..Variant::default()
        });
        ProductDraft {
            handle: format!("handle-{handle}"),
            title: text(&format!("Title {title}")),
            options: vec![ProductOption { option_id, name: text("Size"), values: (0..4).map(value).collect() }],
            media: vec![Media { media_id: MediaId::from(Uuid::from_u128(draft)), ..pot(draft).media[0].clone() }],
            variants: variants.collect(),
            published,
            product_id: ProductId::from(Uuid::from_u128(1)),
            ..pot(draft)
        }
    })
}

proptest! {
    #[test]
    fn putting_is_idempotent(first in any_draft(), second in any_draft()) {
        let product = fold(&created(first));
        let product = after(&product, put(second.clone()));
        prop_assert_eq!(product.decide(put(second)), Ok(vec![]));
    }

    #[test]
    fn claims_lead_from_one_product_to_the_next(first in any_draft(), second in any_draft()) {
        let events = created(first);
        let mut held: std::collections::BTreeSet<_> = claims(&events, &Product::default()).take.into_iter().collect();
        let before = fold(&events);
        let events = before.decide(put(second)).unwrap();
        let changes = claims(&events, &before);
        for key in &changes.release {
            prop_assert!(held.remove(key));
        }
        for key in changes.take {
            prop_assert!(held.insert(key));
        }
        let product = after(&before, ProductCommand::Archive);
        let mut now = before;
        for event in &events {
            now.apply(event);
        }
        let released = claims(&now.decide(ProductCommand::Archive).unwrap(), &now).release;
        prop_assert_eq!(held.into_iter().collect::<Vec<_>>(), released);
        prop_assert_eq!(product.stage, Stage::Archived);
    }

    #[test]
    fn a_product_survives_its_snapshot(draft in any_draft()) {
        let product = fold(&created(draft));
        let json = serde_json::to_string(&product).unwrap();
        prop_assert_eq!(serde_json::from_str::<Product>(&json).unwrap(), product);
    }
}
