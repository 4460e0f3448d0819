//! Products with their variants and prices, from nothing to the archive.

use std::collections::BTreeMap;

use domain::catalog::{
    DetailsPatch, Media, OptionValue, Price, Product, ProductCommand, ProductDraft, ProductOption, ProductRejection, STOREFRONT, Source,
    Text, Variant, VariantField, VariantPatch,
};
use domain::id::VariantId;
use domain::money::Money;

use crate::{Table, eur, id};

variants!(ProductCommand:
    Put, ChangeDetails, ChangeHandle, SetMedia, Categorise, Publish, Unpublish, Archive, AddVariant, ChangeVariant, ChangeSku,
    RemoveVariant, SetPrice, RemovePrice,
);
variants!(ProductRejection:
    NotFound, Archived, TitleMissing, HandleInvalid, VariantNotFound, VariantExists, SkuDuplicate, OptionsDuplicate, OptionUnknown,
    PriceNegative, PriceCurrencies,
);

/// A pot that comes in red, blue and green. `single` has the red one without a price, `priced` with one, `several` has the red and the
/// blue one with all there is; `imported` is priced by a row of an import, `edited` has another price since.
const TABLE: &str = "
live = draft published elsewhere single priced several imported edited
bare = draft published elsewhere
red = single priced several imported edited
gone = archived archived_import
any = absent draft published elsewhere single priced several imported edited archived archived_import

Put without variants
    ProductCreated                                             | absent
    -                                                          | draft elsewhere
    ProductUnpublished                                         | published
    VariantRemoved                                             | red but several
    ProductCategorised VariantRemoved VariantRemoved ProductMediaChanged ProductUnpublished | several
    product_archived                                           | gone

Put with the red one
    ProductCreated VariantAdded PriceSet                       | absent
    VariantAdded PriceSet                                      | draft elsewhere
    VariantAdded PriceSet ProductUnpublished                   | published
    PriceSet                                                   | single edited
    -                                                          | priced imported
    ProductCategorised VariantRemoved ProductMediaChanged ProductUnpublished | several
    product_archived                                           | gone

Put with a price of another list
    ProductCreated VariantAdded PriceSet                       | absent
    VariantAdded PriceSet                                      | draft elsewhere
    VariantAdded PriceSet ProductUnpublished                   | published
    PriceSet                                                   | red but several
    ProductCategorised VariantRemoved PriceSet ProductMediaChanged ProductUnpublished | several
    product_archived                                           | gone

Put with several
    ProductCreated VariantAdded PriceSet VariantAdded PriceSet PriceSet ProductMediaChanged ProductPublished | absent
    ProductCategorised VariantAdded PriceSet VariantAdded PriceSet PriceSet ProductMediaChanged ProductPublished | draft elsewhere
    ProductCategorised VariantAdded PriceSet VariantAdded PriceSet PriceSet ProductMediaChanged | published
    ProductCategorised PriceSet VariantAdded PriceSet PriceSet ProductMediaChanged ProductPublished | single edited
    ProductCategorised VariantAdded PriceSet PriceSet ProductMediaChanged ProductPublished | priced imported
    -                                                          | several
    product_archived                                           | gone

Put with several under other ids
    ProductCreated VariantAdded PriceSet VariantAdded PriceSet PriceSet ProductMediaChanged ProductPublished | absent
    ProductCategorised VariantAdded PriceSet VariantAdded PriceSet PriceSet ProductMediaChanged ProductPublished | draft elsewhere
    ProductCategorised VariantAdded PriceSet VariantAdded PriceSet PriceSet ProductMediaChanged | published
    ProductCategorised PriceSet VariantAdded PriceSet PriceSet ProductMediaChanged ProductPublished | single edited
    ProductCategorised VariantAdded PriceSet PriceSet ProductMediaChanged ProductPublished | priced imported
    -                                                          | several
    product_archived                                           | gone

Put without the price for ten and more
    ProductCreated VariantAdded PriceSet VariantAdded PriceSet ProductMediaChanged ProductPublished | absent
    ProductCategorised VariantAdded PriceSet VariantAdded PriceSet ProductMediaChanged ProductPublished | draft elsewhere
    ProductCategorised VariantAdded PriceSet VariantAdded PriceSet ProductMediaChanged | published
    ProductCategorised PriceSet VariantAdded PriceSet ProductMediaChanged ProductPublished | single edited
    ProductCategorised VariantAdded PriceSet ProductMediaChanged ProductPublished | priced imported
    PriceRemoved                                               | several
    product_archived                                           | gone

Put with another title, sku and barcode
    ProductCreated VariantAdded PriceSet                       | absent
    ProductDetailsChanged VariantAdded PriceSet                | draft elsewhere
    ProductDetailsChanged VariantAdded PriceSet ProductUnpublished | published
    ProductDetailsChanged VariantSkuChanged VariantChanged PriceSet | single edited
    ProductDetailsChanged VariantSkuChanged VariantChanged     | priced imported
    ProductDetailsChanged ProductCategorised VariantRemoved VariantSkuChanged VariantChanged ProductMediaChanged ProductUnpublished | several
    product_archived                                           | gone

Put of the row as it was imported
    ProductCreated VariantAdded PriceSet                       | absent
    VariantAdded PriceSet                                      | draft elsewhere
    VariantAdded PriceSet ProductUnpublished                   | published
    PriceSet                                                   | single
    -                                                          | archived_import red but single several
    ProductCategorised VariantRemoved ProductMediaChanged ProductUnpublished | several
    product_archived                                           | archived

Put of the row as it has become
    ProductCreated VariantAdded PriceSet                       | absent
    VariantAdded PriceSet                                      | draft elsewhere
    VariantAdded PriceSet ProductUnpublished                   | published
    PriceSet                                                   | single edited
    -                                                          | priced imported
    ProductCategorised VariantRemoved ProductMediaChanged ProductUnpublished | several
    product_archived                                           | gone

Put with another handle
    ProductCreated                                             | absent
    ProductHandleChanged                                       | draft elsewhere
    ProductHandleChanged ProductUnpublished                    | published
    ProductHandleChanged VariantRemoved                        | red but several
    ProductHandleChanged ProductCategorised VariantRemoved VariantRemoved ProductMediaChanged ProductUnpublished | several
    product_archived                                           | gone

Put with a handle that is a path
    handle_invalid                                             | any

Put without a title
    title_missing                                              | any

Put with one sku twice
    sku_duplicate                                              | any

Put with one colour twice
    options_duplicate                                          | any

Put with an unknown colour
    option_unknown                                             | any

Put with a negative price
    price_negative                                             | any

Put with a price compared in yen
    currency_mismatch                                          | any

ChangeDetails to what they are
    product_not_found                                          | absent
    -                                                          | live
    product_archived                                           | gone

ChangeDetails of the title
    product_not_found                                          | absent
    ProductDetailsChanged                                      | live
    product_archived                                           | gone

ChangeDetails to no title
    product_not_found                                          | absent
    title_missing                                              | live
    product_archived                                           | gone

ChangeDetails to one colour more
    product_not_found                                          | absent
    ProductDetailsChanged                                      | live
    product_archived                                           | gone

ChangeDetails to all colours but blue
    product_not_found                                          | absent
    ProductDetailsChanged                                      | live but several
    option_unknown                                             | several
    product_archived                                           | gone

ChangeDetails to all colours but red
    product_not_found                                          | absent
    ProductDetailsChanged                                      | bare
    option_unknown                                             | red
    product_archived                                           | gone

ChangeHandle to what it is
    product_not_found                                          | absent
    -                                                          | live
    product_archived                                           | gone

ChangeHandle
    product_not_found                                          | absent
    ProductHandleChanged                                       | live
    product_archived                                           | gone

ChangeHandle to a path
    product_not_found                                          | absent
    handle_invalid                                             | live
    product_archived                                           | gone

SetMedia
    product_not_found                                          | absent
    ProductMediaChanged                                        | live but several
    -                                                          | several
    product_archived                                           | gone

SetMedia to none
    product_not_found                                          | absent
    -                                                          | live but several
    ProductMediaChanged                                        | several
    product_archived                                           | gone

Categorise
    product_not_found                                          | absent
    ProductCategorised                                         | live but several
    -                                                          | several
    product_archived                                           | gone

Categorise under nothing
    product_not_found                                          | absent
    -                                                          | live but several
    ProductCategorised                                         | several
    product_archived                                           | gone

Publish
    product_not_found                                          | absent
    ProductPublished                                           | live but published several
    -                                                          | published several
    product_archived                                           | gone

Publish on another channel
    product_not_found                                          | absent
    ProductPublished                                           | live but elsewhere
    -                                                          | elsewhere
    product_archived                                           | gone

Unpublish
    product_not_found                                          | absent
    -                                                          | live but published several
    ProductUnpublished                                         | published several
    product_archived                                           | gone

Unpublish on another channel
    product_not_found                                          | absent
    -                                                          | live but elsewhere
    ProductUnpublished                                         | elsewhere
    product_archived                                           | gone

Archive
    product_not_found                                          | absent
    ProductArchived                                            | live
    -                                                          | gone

AddVariant, the red one
    product_not_found                                          | absent
    VariantAdded                                               | bare
    variant_exists                                             | red
    product_archived                                           | gone

AddVariant, the green one with a price
    product_not_found                                          | absent
    VariantAdded PriceSet                                      | live
    product_archived                                           | gone

AddVariant with the red one's sku
    product_not_found                                          | absent
    VariantAdded                                               | bare
    sku_duplicate                                              | red
    product_archived                                           | gone

AddVariant with the red one's sku in small letters
    product_not_found                                          | absent
    VariantAdded                                               | bare
    sku_duplicate                                              | red
    product_archived                                           | gone

AddVariant of the red one's colour
    product_not_found                                          | absent
    VariantAdded                                               | bare
    options_duplicate                                          | red
    product_archived                                           | gone

AddVariant of an unknown colour
    product_not_found                                          | absent
    option_unknown                                             | live
    product_archived                                           | gone

AddVariant with a negative price
    product_not_found                                          | absent
    price_negative                                             | live
    product_archived                                           | gone

AddVariant with a price compared in yen
    product_not_found                                          | absent
    currency_mismatch                                          | live
    product_archived                                           | gone

ChangeVariant to what it is
    product_not_found                                          | absent
    variant_not_found                                          | bare
    -                                                          | red
    product_archived                                           | gone

ChangeVariant, the barcode
    product_not_found                                          | absent
    variant_not_found                                          | bare
    VariantChanged                                             | red
    product_archived                                           | gone

ChangeVariant, no barcode
    product_not_found                                          | absent
    variant_not_found                                          | bare
    VariantChanged                                             | red
    product_archived                                           | gone

ChangeVariant, green
    product_not_found                                          | absent
    variant_not_found                                          | bare
    VariantChanged                                             | red
    product_archived                                           | gone

ChangeVariant, blue
    product_not_found                                          | absent
    variant_not_found                                          | bare
    VariantChanged                                             | red but several
    options_duplicate                                          | several
    product_archived                                           | gone

ChangeVariant, an unknown colour
    product_not_found                                          | absent
    variant_not_found                                          | bare
    option_unknown                                             | red
    product_archived                                           | gone

ChangeSku to what it is
    product_not_found                                          | absent
    variant_not_found                                          | bare
    -                                                          | red
    product_archived                                           | gone

ChangeSku
    product_not_found                                          | absent
    variant_not_found                                          | bare
    VariantSkuChanged                                          | red
    product_archived                                           | gone

ChangeSku to none
    product_not_found                                          | absent
    variant_not_found                                          | bare
    VariantSkuChanged                                          | red
    product_archived                                           | gone

ChangeSku to the blue one's
    product_not_found                                          | absent
    variant_not_found                                          | bare
    VariantSkuChanged                                          | red but several
    sku_duplicate                                              | several
    product_archived                                           | gone

RemoveVariant, the red one
    product_not_found                                          | absent
    variant_not_found                                          | bare
    VariantRemoved                                             | red
    product_archived                                           | gone

RemoveVariant, the blue one
    product_not_found                                          | absent
    variant_not_found                                          | live but several
    VariantRemoved                                             | several
    product_archived                                           | gone

SetPrice
    product_not_found                                          | absent
    variant_not_found                                          | bare
    PriceSet                                                   | single edited
    -                                                          | red but single edited
    product_archived                                           | gone

SetPrice for ten and more
    product_not_found                                          | absent
    variant_not_found                                          | bare
    PriceSet                                                   | red
    product_archived                                           | gone

SetPrice, a negative one
    product_not_found                                          | absent
    variant_not_found                                          | bare
    price_negative                                             | red
    product_archived                                           | gone

SetPrice, compared in yen
    product_not_found                                          | absent
    variant_not_found                                          | bare
    currency_mismatch                                          | red
    product_archived                                           | gone

RemovePrice
    product_not_found                                          | absent
    variant_not_found                                          | bare
    -                                                          | single
    PriceRemoved                                               | red but single
    product_archived                                           | gone

RemovePrice for ten and more
    product_not_found                                          | absent
    variant_not_found                                          | bare
    -                                                          | red
    product_archived                                           | gone

RemovePrice of the blue one for ten and more
    product_not_found                                          | absent
    variant_not_found                                          | live but several
    PriceRemoved                                               | several
    product_archived                                           | gone
";

const RED: u128 = 21;
const BLUE: u128 = 22;
const GREEN: u128 = 23;
/// A colour that the pot doesn't come in.
const PINK: u128 = 24;
const OTHER_CHANNEL: &str = "pos";

fn text(english: &str) -> Text {
    Text::from([("en".to_owned(), english.to_owned())])
}

fn colours(values: &[u128]) -> Vec<ProductOption> {
    let value = |colour: &u128| OptionValue { value_id: id(*colour), label: text(&format!("Colour {colour}")) };
    vec![ProductOption { option_id: id(1), name: text("Colour"), values: values.iter().map(value).collect() }]
}

fn price(amount: i64, min_quantity: u32) -> Price {
    Price {
        price_list_id: id(1),
        price: eur(amount),
        compare_at: None,
        includes_tax: true,
        min_quantity,
        valid_from: None,
        valid_until: None,
    }
}

fn negative() -> Price {
    price(-1, 1)
}

fn compared_in_yen() -> Price {
    Price { compare_at: Some(Money::new(5995, "JPY".parse().unwrap()).unwrap()), ..price(4995, 1) }
}

/// The pot in a colour, with the id of the colour for its own.
fn pot(colour: u128, prices: Vec<Price>) -> Variant {
    Variant {
        variant_id: id(colour),
        sku: Some(format!("POT-{colour}")),
        barcode: Some("4006381333931".to_owned()),
        option_values: BTreeMap::from([(id(1), id(colour))]),
        weight_g: Some(500),
        requires_shipping: true,
        track_stock: true,
        attributes: vec![],
        prices,
    }
}

fn with_sku_of(colour: u128, variant: Variant) -> Variant {
    Variant { sku: pot(colour, vec![]).sku, ..variant }
}

fn with_options_of(colour: u128, variant: Variant) -> Variant {
    Variant { option_values: pot(colour, vec![]).option_values, ..variant }
}

fn picture() -> Media {
    Media {
        media_id: id(1),
        url: "https://example.com/pot.webp".to_owned(),
        alt: text("A pot"),
        position: 1,
        variant_ids: vec![],
        width: None,
        height: None,
    }
}

fn draft(variants: Vec<Variant>) -> ProductDraft {
    ProductDraft {
        product_id: id(1),
        handle: "moka-pot".to_owned(),
        title: text("Moka pot"),
        description: text("For the stove."),
        brand: "Bialetti".to_owned(),
        kind: "coffee maker".to_owned(),
        tags: vec![],
        options: colours(&[RED, BLUE, GREEN]),
        attributes: vec![],
        category_ids: vec![],
        tax_category: "standard".to_owned(),
        media: vec![],
        variants,
        published: false,
        source: None,
    }
}

fn several() -> ProductDraft {
    ProductDraft {
        category_ids: vec![id(5)],
        media: vec![picture()],
        published: true,
        ..draft(vec![pot(RED, vec![price(4995, 1)]), pot(BLUE, vec![price(4995, 1), price(4495, 10)])])
    }
}

fn imported(hash: &str) -> ProductDraft {
    let source = Source { system: "shopify".to_owned(), external_id: "moka-pot".to_owned(), hash: hash.to_owned() };
    ProductDraft { source: Some(source), ..draft(vec![pot(RED, vec![price(4995, 1)])]) }
}

/// The same as `several`, by somebody who doesn't know its variants' ids.
fn several_anew() -> ProductDraft {
    let mut anew = several();
    for (variant, own) in anew.variants.iter_mut().zip(91..) {
        variant.variant_id = id(own);
    }
    anew.media[0].media_id = id(99);
    anew
}

fn without_the_price_for_ten() -> ProductDraft {
    let mut fewer = several();
    fewer.variants[1].prices.truncate(1);
    fewer
}

fn renamed() -> ProductDraft {
    let red = Variant { sku: Some("POT-R".to_owned()), barcode: None, ..pot(RED, vec![price(4995, 1)]) };
    ProductDraft { title: text("Pot"), ..draft(vec![red]) }
}

fn states() -> Vec<(&'static str, Product)> {
    use ProductCommand::{Archive, Publish, SetPrice};
    let after = |commands: Vec<ProductCommand>| {
        let mut product = Product::default();
        for command in commands {
            for event in product.decide(command).unwrap() {
                product.apply(&event);
            }
        }
        product
    };
    let by_hand = SetPrice { variant_id: id(RED), price: price(3995, 1) };
    vec![
        ("absent", after(vec![])),
        ("draft", after(vec![put(draft(vec![]))])),
        ("published", after(vec![put(draft(vec![])), Publish { channel: STOREFRONT.to_owned() }])),
        ("elsewhere", after(vec![put(draft(vec![])), Publish { channel: OTHER_CHANNEL.to_owned() }])),
        ("single", after(vec![put(draft(vec![pot(RED, vec![])]))])),
        ("priced", after(vec![put(draft(vec![pot(RED, vec![price(4995, 1)])]))])),
        ("several", after(vec![put(several())])),
        ("imported", after(vec![put(imported("row"))])),
        ("edited", after(vec![put(imported("row")), by_hand])),
        ("archived", after(vec![put(several()), Archive])),
        ("archived_import", after(vec![put(imported("row")), Archive])),
    ]
}

fn put(draft: ProductDraft) -> ProductCommand {
    ProductCommand::Put(Box::new(draft))
}

fn commands() -> Vec<(&'static str, ProductCommand)> {
    [puts(), changes_of_the_product(), changes_of_variants(), changes_of_prices()].concat()
}

fn puts() -> Vec<(&'static str, ProductCommand)> {
    let green = |price| draft(vec![pot(GREEN, vec![price])]);
    let of_another_list = Price { price_list_id: id(2), ..price(5995, 1) };
    vec![
        ("Put without variants", put(draft(vec![]))),
        ("Put with the red one", put(draft(vec![pot(RED, vec![price(4995, 1)])]))),
        ("Put with a price of another list", put(draft(vec![pot(RED, vec![of_another_list])]))),
        ("Put with several", put(several())),
        ("Put with several under other ids", put(several_anew())),
        ("Put without the price for ten and more", put(without_the_price_for_ten())),
        ("Put with another title, sku and barcode", put(renamed())),
        ("Put of the row as it was imported", put(imported("row"))),
        ("Put of the row as it has become", put(imported("another row"))),
        ("Put with another handle", put(ProductDraft { handle: "pot".to_owned(), ..draft(vec![]) })),
        ("Put with a handle that is a path", put(ProductDraft { handle: "pots/moka".to_owned(), ..draft(vec![]) })),
        ("Put without a title", put(ProductDraft { title: text(" "), ..draft(vec![]) })),
        ("Put with one sku twice", put(draft(vec![pot(RED, vec![]), with_sku_of(RED, pot(GREEN, vec![]))]))),
        ("Put with one colour twice", put(draft(vec![pot(RED, vec![]), with_options_of(RED, pot(GREEN, vec![]))]))),
        ("Put with an unknown colour", put(draft(vec![pot(PINK, vec![])]))),
        ("Put with a negative price", put(green(negative()))),
        ("Put with a price compared in yen", put(green(compared_in_yen()))),
    ]
}

fn changes_of_the_product() -> Vec<(&'static str, ProductCommand)> {
    use ProductCommand::{Archive, Categorise, ChangeDetails, ChangeHandle, Publish, SetMedia, Unpublish};
    let options = |values: &[u128]| ChangeDetails(DetailsPatch { options: Some(colours(values)), ..DetailsPatch::default() });
    let title = |english| ChangeDetails(DetailsPatch { title: Some(text(english)), ..DetailsPatch::default() });
    let handle = |handle: &str| ChangeHandle { handle: handle.to_owned() };
    vec![
        ("ChangeDetails to what they are", title("Moka pot")),
        ("ChangeDetails of the title", title("Pot")),
        ("ChangeDetails to no title", title(" ")),
        ("ChangeDetails to one colour more", options(&[RED, BLUE, GREEN, PINK])),
        ("ChangeDetails to all colours but blue", options(&[RED, GREEN])),
        ("ChangeDetails to all colours but red", options(&[BLUE, GREEN])),
        ("ChangeHandle to what it is", handle("moka-pot")),
        ("ChangeHandle", handle("pot")),
        ("ChangeHandle to a path", handle("pots/moka")),
        ("SetMedia", SetMedia { media: vec![picture()] }),
        ("SetMedia to none", SetMedia { media: vec![] }),
        ("Categorise", Categorise { category_ids: vec![id(5)] }),
        ("Categorise under nothing", Categorise { category_ids: vec![] }),
        ("Publish", Publish { channel: STOREFRONT.to_owned() }),
        ("Publish on another channel", Publish { channel: OTHER_CHANNEL.to_owned() }),
        ("Unpublish", Unpublish { channel: STOREFRONT.to_owned() }),
        ("Unpublish on another channel", Unpublish { channel: OTHER_CHANNEL.to_owned() }),
        ("Archive", Archive),
    ]
}

fn changes_of_variants() -> Vec<(&'static str, ProductCommand)> {
    use ProductCommand::{AddVariant, ChangeSku, ChangeVariant, RemoveVariant};
    let patch = || VariantPatch { variant_id: id(RED), ..VariantPatch::default() };
    let colour = |colour| ChangeVariant(VariantPatch { option_values: Some(pot(colour, vec![]).option_values), ..patch() });
    let barcode = |barcode: &str| ChangeVariant(VariantPatch { barcode: Some(barcode.to_owned()), ..patch() });
    let sku = |sku: Option<&str>| ChangeSku { variant_id: id(RED), new: sku.map(str::to_owned) };
    vec![
        ("AddVariant, the red one", AddVariant(pot(RED, vec![]))),
        ("AddVariant, the green one with a price", AddVariant(pot(GREEN, vec![price(4995, 1)]))),
        ("AddVariant with the red one's sku", AddVariant(with_sku_of(RED, pot(GREEN, vec![])))),
        (
            "AddVariant with the red one's sku in small letters",
            AddVariant(Variant { sku: Some("pot-21".to_owned()), ..pot(GREEN, vec![]) }),
        ),
        ("AddVariant of the red one's colour", AddVariant(with_options_of(RED, pot(GREEN, vec![])))),
        ("AddVariant of an unknown colour", AddVariant(pot(PINK, vec![]))),
        ("AddVariant with a negative price", AddVariant(pot(GREEN, vec![negative()]))),
        ("AddVariant with a price compared in yen", AddVariant(pot(GREEN, vec![compared_in_yen()]))),
        ("ChangeVariant to what it is", barcode("4006381333931")),
        ("ChangeVariant, the barcode", barcode("73513537")),
        ("ChangeVariant, no barcode", ChangeVariant(VariantPatch { cleared: vec![VariantField::Barcode], ..patch() })),
        ("ChangeVariant, green", colour(GREEN)),
        ("ChangeVariant, blue", colour(BLUE)),
        ("ChangeVariant, an unknown colour", colour(PINK)),
        ("ChangeSku to what it is", sku(Some("POT-21"))),
        ("ChangeSku", sku(Some("POT-R"))),
        ("ChangeSku to none", sku(None)),
        ("ChangeSku to the blue one's", sku(Some("POT-22"))),
        ("RemoveVariant, the red one", RemoveVariant { variant_id: id(RED) }),
        ("RemoveVariant, the blue one", RemoveVariant { variant_id: id(BLUE) }),
    ]
}

fn changes_of_prices() -> Vec<(&'static str, ProductCommand)> {
    let set = |price| ProductCommand::SetPrice { variant_id: id(RED), price };
    let remove = |colour, min_quantity| {
        let variant_id: VariantId = id(colour);
        ProductCommand::RemovePrice { variant_id, price_list_id: id(1), min_quantity }
    };
    vec![
        ("SetPrice", set(price(4995, 1))),
        ("SetPrice for ten and more", set(price(4495, 10))),
        ("SetPrice, a negative one", set(negative())),
        ("SetPrice, compared in yen", set(compared_in_yen())),
        ("RemovePrice", remove(RED, 1)),
        ("RemovePrice for ten and more", remove(RED, 10)),
        ("RemovePrice of the blue one for ten and more", remove(BLUE, 10)),
    ]
}

#[test]
fn a_product_in_every_state() {
    Table {
        text: TABLE,
        states: states(),
        commands: commands(),
        decide: Product::decide,
        code: ProductRejection::code,
        events_elsewhere: &[],
        refusals_elsewhere: &[],
    }
    .check();
}
