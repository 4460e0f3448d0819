//! A product as shoppers see it: in their language and currency, with what can be had now.

use std::collections::{BTreeMap, HashMap};

use chrono::{DateTime, Utc};
use commands::cart::price_of;
use domain::catalog::{Media, Product, ProductOption, Stage, Text, Variant};
use domain::id::{CategoryId, VariantId};
use domain::money::Currency;
use projections::product::{attribute_text, has_markup, is_published, plain_text};
use projections::search::Marks;
use projections::stock::{Availability, StockLevel};
use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;
use uuid::Uuid;

use crate::app::App;
use crate::http::caller::Caller;
use crate::http::money::MoneyBody;
use crate::http::problem::Problem;

#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct ProductBody {
    pub id: Uuid,
    pub handle: String,
    pub title: String,
    /// Plain text.
    pub description: String,
    /// As the merchant wrote it, where that is HTML.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub description_html: Option<String>,
    pub brand: String,
    #[serde(rename = "type")]
    pub kind: String,
    pub tags: Vec<String>,
    /// Handles.
    pub categories: Vec<String>,
    /// Texts by key; a list where a key has several.
    #[schema(value_type = Object)]
    pub attributes: BTreeMap<String, Value>,
    /// `active`, `draft` or `archived`.
    pub status: &'static str,
    pub options: Vec<OptionBody>,
    pub media: Vec<MediaBody>,
    pub variants: Vec<VariantBody>,
    /// The lowest price of a variant; null when none is sold in this currency.
    pub price_from: Option<MoneyBody>,
    pub prices_include_tax: bool,
    pub in_stock: bool,
    /// Of the product's stream, for `If-Match`.
    pub version: i64,
    /// In the answer to a search: what was found, in HTML.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub highlights: Option<HighlightsBody>,
}

/// Texts with the words that were found in `<mark>`; everything else is escaped. A text without any is absent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct HighlightsBody {
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(example = "Brass <mark>desk</mark> lamp")]
    pub title: Option<String>,
    /// Of a long one what is around the first word.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct OptionBody {
    pub name: String,
    pub values: Vec<String>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct MediaBody {
    pub id: Uuid,
    pub url: String,
    pub alt: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub width: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub height: Option<u32>,
    /// Empty: it shows every variant.
    pub variant_ids: Vec<Uuid>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct VariantBody {
    pub id: Uuid,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sku: Option<String>,
    pub title: String,
    /// Labels by the name of the option.
    pub options: BTreeMap<String, String>,
    #[schema(value_type = Object)]
    pub attributes: BTreeMap<String, Value>,
    /// Null when it is not sold in this currency.
    pub price: Option<MoneyBody>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub compare_at: Option<MoneyBody>,
    /// Units that can be had at once; the shop admits to a bounded number.
    pub available: i64,
    /// `in_stock`, `backorder` or `out_of_stock`.
    pub availability: &'static str,
    pub in_stock: bool,
}

/// Whom an answer is for: what it is written and priced in.
#[derive(Debug, Clone)]
pub struct Presentation {
    /// Most wanted first; never empty.
    pub languages: Vec<String>,
    pub currency: Currency,
    pub available_shown_max: i64,
    pub prices_include_tax: bool,
    /// When prices must hold.
    pub now: DateTime<Utc>,
}

impl Presentation {
    /// `lang` counts before `Accept-Language`, and that before the shop's own languages.
    pub async fn new(app: &App, caller: &Caller, lang: Option<&str>, currency: Currency) -> Result<Self, Problem> {
        let settings = &app.settings;
        let accepted = caller.header("accept-language").map(accepted_languages).unwrap_or_default();
        let asked = lang.into_iter().map(str::to_owned).chain(accepted).filter(|tag| !tag.is_empty());
        Ok(Self {
            languages: asked.chain(settings.languages.iter().cloned()).collect(),
            currency,
            available_shown_max: settings.available_shown_max,
            prices_include_tax: app.terms(0).await?.prices_include_tax,
            now: infra::clock::now(),
        })
    }

    /// The text in the most wanted language that it has: as asked for, else of the same tongue (`de` for `de-AT`), else any.
    #[must_use]
    pub fn text<'t>(&self, text: &'t Text) -> &'t str {
        let tongue = |tag: &str| tag.split('-').next().unwrap_or_default().to_ascii_lowercase();
        for wanted in &self.languages {
            let exact = text.iter().find(|(tag, _)| tag.eq_ignore_ascii_case(wanted));
            if let Some((_, found)) = exact.or_else(|| text.iter().find(|(tag, _)| tongue(tag) == tongue(wanted))) {
                return found;
            }
        }
        text.values().next().map(String::as_str).unwrap_or_default()
    }
}

/// What a rendered product is made of, beside itself.
#[derive(Debug, Default)]
pub struct Around {
    pub stock: HashMap<VariantId, StockLevel>,
    pub category_handles: HashMap<CategoryId, String>,
}

/// A product as it is shown.
#[must_use]
pub fn render_product(product: &Product, version: i64, around: &Around, shown: &Presentation) -> ProductBody {
    let variants: Vec<VariantBody> = product.variants.iter().map(|variant| render_variant(product, variant, around, shown)).collect();
    let description = shown.text(&product.description);
    let handles = product.category_ids.iter().filter_map(|id| around.category_handles.get(id));
    let price_from = variants.iter().filter_map(|variant| variant.price.as_ref()).min_by_key(|price| price.amount());
    ProductBody {
        id: product.product_id.uuid(),
        handle: product.handle.clone(),
        title: shown.text(&product.title).to_owned(),
        description: plain_text(description),
        description_html: has_markup(description).then(|| description.to_owned()),
        brand: product.brand.clone(),
        kind: product.kind.clone(),
        tags: product.tags.clone(),
        categories: handles.cloned().collect(),
        attributes: attributes(&product.attributes),
        status: status(product),
        options: product.options.iter().map(|option| render_option(option, shown)).collect(),
        media: media_of(product).map(|media| render_media(media, shown)).collect(),
        price_from: price_from.cloned(),
        prices_include_tax: shown.prices_include_tax,
        in_stock: variants.iter().any(|variant| variant.in_stock),
        variants,
        version,
        highlights: None,
    }
}

/// A product that a search has found.
#[must_use]
pub fn render_hit(product: &Product, version: i64, around: &Around, shown: &Presentation, marks: &Marks) -> ProductBody {
    let body = render_product(product, version, around, shown);
    let found = HighlightsBody { title: marks.highlighted(&body.title), description: marks.extract(&body.description) };
    let highlights = Some(found).filter(|found| found.title.is_some() || found.description.is_some());
    ProductBody { highlights, ..body }
}

fn render_variant(product: &Product, variant: &Variant, around: &Around, shown: &Presentation) -> VariantBody {
    let price = price_of(variant, shown.currency, 1, shown.now).ok();
    let level = around.stock.get(&variant.variant_id);
    let (availability, available) = if variant.track_stock {
        let available = level.map_or(0, |level| level.available);
        (Availability::of(level), available.clamp(0, shown.available_shown_max))
    } else {
        (Availability::InStock, shown.available_shown_max)
    };
    VariantBody {
        id: variant.variant_id.uuid(),
        sku: variant.sku.clone(),
        title: variant_title(product, variant, shown),
        options: variant_options(product, variant, shown).into_iter().collect(),
        attributes: attributes(&variant.attributes),
        price: price.map(|price| price.price.into()),
        compare_at: price.and_then(|price| price.compare_at).map(Into::into),
        available,
        availability: availability.as_str(),
        in_stock: availability == Availability::InStock,
    }
}

/// What tells a variant from the others ("Red / M"); the product's title where it is the only one.
#[must_use]
pub fn variant_title(product: &Product, variant: &Variant, shown: &Presentation) -> String {
    let labels: Vec<String> = variant_options(product, variant, shown).into_iter().map(|(_, label)| label).collect();
    if labels.is_empty() { shown.text(&product.title).to_owned() } else { labels.join(" / ") }
}

/// Name and label of each of a variant's options, in the product's order.
#[must_use]
pub fn variant_options(product: &Product, variant: &Variant, shown: &Presentation) -> Vec<(String, String)> {
    let label = |option: &ProductOption| {
        let value_id = variant.option_values.get(&option.option_id)?;
        let value = option.values.iter().find(|value| value.value_id == *value_id)?;
        Some((shown.text(&option.name).to_owned(), shown.text(&value.label).to_owned()))
    };
    product.options.iter().filter_map(label).collect()
}

/// The picture of a variant: one of its own, else the product's first.
#[must_use]
pub fn image_of(product: &Product, variant_id: VariantId) -> Option<&str> {
    let own = media_of(product).find(|media| media.variant_ids.contains(&variant_id));
    own.or_else(|| media_of(product).next()).map(|media| media.url.as_str())
}

fn media_of(product: &Product) -> impl Iterator<Item = &Media> {
    let mut media: Vec<&Media> = product.media.iter().collect();
    media.sort_by_key(|media| media.position);
    media.into_iter()
}

fn render_option(option: &ProductOption, shown: &Presentation) -> OptionBody {
    let values = option.values.iter().map(|value| shown.text(&value.label).to_owned());
    OptionBody { name: shown.text(&option.name).to_owned(), values: values.collect() }
}

fn render_media(media: &Media, shown: &Presentation) -> MediaBody {
    MediaBody {
        id: media.media_id.uuid(),
        url: media.url.clone(),
        alt: shown.text(&media.alt).to_owned(),
        width: media.width,
        height: media.height,
        variant_ids: media.variant_ids.iter().map(|id| id.uuid()).collect(),
    }
}

fn attributes(attributes: &[domain::catalog::Attribute]) -> BTreeMap<String, Value> {
    let mut texts: BTreeMap<String, Value> = BTreeMap::new();
    for attribute in attributes {
        let text = Value::String(attribute_text(attribute));
        match texts.entry(attribute.key.clone()).or_default() {
            Value::Array(several) => several.push(text),
            empty @ Value::Null => *empty = text,
            one => *one = Value::Array(vec![one.take(), text]),
        }
    }
    texts
}

fn status(product: &Product) -> &'static str {
    match product.stage {
        Stage::Archived => "archived",
        _ if is_published(product) => "active",
        _ => "draft",
    }
}

/// The languages of an `Accept-Language` header (RFC 9110 §12.5.4), most wanted first.
fn accepted_languages(header: &str) -> Vec<String> {
    let mut accepted: Vec<(u16, &str)> = header
        .split(',')
        .filter_map(|part| {
            let (tag, parameters) = part.split_once(';').unwrap_or((part, ""));
            let quality = parameters.trim().strip_prefix("q=").map_or(Some(1_000), thousandths)?;
            let is_tag = tag.trim().bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
            (quality > 0 && is_tag && !tag.trim().is_empty()).then_some((quality, tag.trim()))
        })
        .collect();
    accepted.sort_by_key(|(quality, _)| std::cmp::Reverse(*quality));
    accepted.into_iter().map(|(_, tag)| tag.to_owned()).collect()
}

/// A weight of RFC 9110 §12.4.2, `0.8`, in thousandths.
fn thousandths(weight: &str) -> Option<u16> {
    let (whole, decimals) = weight.trim().split_once('.').unwrap_or((weight.trim(), ""));
    let digits = format!("{whole}{decimals:0<3}");
    (decimals.len() <= 3).then(|| digits.parse().ok()).flatten().filter(|weight| *weight <= 1_000)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::Settings;
    use infra::config::Config;

    fn shown(languages: &[&str]) -> Presentation {
        let settings = Settings::try_from(&Config::default()).unwrap();
        Presentation {
            languages: languages.iter().map(|&tag| tag.to_owned()).collect(),
            currency: settings.default_currency(),
            available_shown_max: 10,
            prices_include_tax: true,
            now: DateTime::UNIX_EPOCH,
        }
    }

    #[test]
    fn a_text_comes_in_the_nearest_language() {
        let text = Text::from([("de", "Hut"), ("en", "hat"), ("zh-Hans", "帽子")].map(|(tag, t)| (tag.to_owned(), t.to_owned())));
        assert_eq!(shown(&["de-AT", "en"]).text(&text), "Hut");
        assert_eq!(shown(&["zh"]).text(&text), "帽子");
        assert_eq!(shown(&["fr", "en"]).text(&text), "hat");
        assert_eq!(shown(&["fr"]).text(&text), "Hut");
        assert_eq!(shown(&["fr"]).text(&Text::new()), "");
    }

    #[test]
    fn accepted_languages_come_by_their_weight() {
        assert_eq!(accepted_languages("da, en-GB;q=0.8, de;q=0.85, *;q=0.1, fr;q=0, x;q=2"), ["da", "de", "en-GB"]);
    }

    #[test]
    fn an_attribute_that_repeats_is_a_list() {
        let attribute = |key: &str, value: &str, unit: Option<&str>| domain::catalog::Attribute {
            key: key.to_owned(),
            kind: "text".to_owned(),
            value: value.to_owned(),
            unit: unit.map(str::to_owned),
        };
        let texts = attributes(&[attribute("port", "USB", None), attribute("width", "3", Some("cm")), attribute("port", "HDMI", None)]);
        assert_eq!(serde_json::to_string(&texts).unwrap(), r#"{"port":["USB","HDMI"],"width":"3 cm"}"#);
    }

    #[test]
    fn what_is_sold_without_counting_is_always_there() {
        let variant = Variant { track_stock: false, ..Variant::default() };
        let product = Product { variants: vec![variant, Variant { track_stock: true, ..Variant::default() }], ..Product::default() };
        let body = render_product(&product, 1, &Around::default(), &shown(&["en"]));
        let seen: Vec<_> = body.variants.iter().map(|variant| (variant.available, variant.availability)).collect();
        assert_eq!(seen, [(10, "in_stock"), (0, "out_of_stock")]);
        assert!(body.in_stock && body.price_from.is_none());
    }
}
