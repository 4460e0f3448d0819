//! A feed of what is on sale: RSS 2.0 with the fields of Google's product data specification.
//!
//! An item to a variant that is published and has a price in the feed's currency; `item_group_id` holds those of a product
//! together.

use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use chrono::{DateTime, Utc};
use commands::catalog::price_list_id;
use domain::catalog::{Media, Product, Text, Variant};
use domain::inventory::StockItem;
use domain::money::Currency;
use projections::product::{is_published, plain_text};

use super::pages::{CutOff, Page, Pages, Pieces};
use crate::app::App;

/// The longest texts that Google takes, in characters.
const TITLE_CHARS_MAX: usize = 150;
const DESCRIPTION_CHARS_MAX: usize = 5_000;
/// Pictures beside the first one.
const MORE_PICTURES_MAX: usize = 10;

/// How the feed is to be written.
#[derive(Debug, Clone)]
pub struct FeedRequest {
    pub language: String,
    pub currency: Currency,
    /// Where the shop is; pages are below it.
    pub shop_url: String,
    /// A product's page, with `{handle}` in it.
    pub link: String,
}

/// A feed on its way.
#[derive(Debug)]
pub struct Feed {
    pages: Pages,
    request: FeedRequest,
    now: DateTime<Utc>,
    pieces: Pieces,
}

impl Feed {
    pub fn begin(app: &Arc<App>, request: FeedRequest) -> Self {
        let mut pieces = Pieces::new(Duration::from_millis(app.config.http.stream_idle_timeout_ms));
        let mut head = String::from(
            "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<rss version=\"2.0\" xmlns:g=\"http://base.google.com/ns/1.0\">\n<channel>\n",
        );
        tag(&mut head, "title", &app.config.store.name);
        tag(&mut head, "link", &request.shop_url);
        tag(&mut head, "description", &app.config.store.name);
        pieces.push(head.into_bytes());
        Self { pages: Pages::new(app), request, now: infra::clock::now(), pieces }
    }

    /// The next piece of the feed; `None` after the last.
    pub async fn next(&mut self) -> Result<Option<Bytes>, CutOff> {
        loop {
            if let Some(piece) = self.pieces.next()? {
                return Ok(Some(piece));
            }
            if self.pages.is_over() {
                return Ok(None);
            }
            let mut text = String::new();
            match self.pages.next().await? {
                Some(page) => {
                    for product in page.products.iter().filter(|product| is_published(product)) {
                        self.items(&mut text, product, &page);
                    }
                }
                None => text.push_str("</channel>\n</rss>\n"),
            }
            self.pieces.push(text.into_bytes());
        }
    }

    fn items(&self, text: &mut String, product: &Product, page: &Page) {
        for variant in &product.variants {
            self.item(text, product, variant, page.stock_of(variant.variant_id));
        }
    }

    fn item(&self, text: &mut String, product: &Product, variant: &Variant, stock: Option<&StockItem>) {
        let Some(price) = variant.unit_price(price_list_id(self.request.currency), 1, self.now) else { return };
        let (plain, id) = (|words: &Text| self.words(words).to_owned(), variant.variant_id.to_string());
        let labels: Vec<String> = product
            .options
            .iter()
            .map(|option| {
                let value_id = variant.option_values.get(&option.option_id);
                option.values.iter().find(|value| Some(&value.value_id) == value_id).map(|value| plain(&value.label)).unwrap_or_default()
            })
            .collect();
        let title = std::iter::once(plain(&product.title)).chain(labels).filter(|part| !part.is_empty()).collect::<Vec<_>>().join(" ");
        let description = plain_text(self.words(&product.description));
        text.push_str("<item>\n");
        tag(text, "g:id", variant.sku.as_deref().unwrap_or(&id));
        tag(text, "g:title", &cut(&title, TITLE_CHARS_MAX));
        tag(text, "g:description", &cut(if description.is_empty() { &title } else { &description }, DESCRIPTION_CHARS_MAX));
        tag(text, "g:link", &self.request.link.replace("{handle}", &product.handle));
        for (name, media) in
            std::iter::once("g:image_link").chain(std::iter::repeat("g:additional_image_link")).zip(pictures(product, variant))
        {
            tag(text, name, &self.absolute(&media.url));
        }
        tag(text, "g:availability", availability(variant, stock));
        match price.compare_at.filter(|compare_at| compare_at.amount() > price.price.amount()) {
            Some(compare_at) => {
                tag(text, "g:price", &compare_at.to_string());
                tag(text, "g:sale_price", &price.price.to_string());
            }
            None => tag(text, "g:price", &price.price.to_string()),
        }
        tag(text, "g:condition", "new");
        let gtin = variant.barcode.as_deref().filter(|barcode| is_gtin(barcode));
        let mpn = variant.sku.as_deref().filter(|_| gtin.is_none());
        let optional = [
            ("g:brand", Some(product.brand.as_str()).filter(|brand| !brand.is_empty())),
            ("g:gtin", gtin),
            ("g:mpn", mpn),
            ("g:product_type", Some(product.kind.as_str()).filter(|kind| !kind.is_empty())),
        ];
        for (name, value) in optional {
            if let Some(value) = value {
                tag(text, name, value);
            }
        }
        if gtin.is_none() && (product.brand.is_empty() || mpn.is_none()) {
            tag(text, "g:identifier_exists", "no");
        }
        if product.variants.len() > 1 {
            tag(text, "g:item_group_id", &product.product_id.to_string());
        }
        if let Some(grams) = variant.weight_g {
            tag(text, "g:shipping_weight", &format!("{grams} g"));
        }
        text.push_str("</item>\n");
    }

    /// In the feed's language, else in any.
    fn words<'t>(&self, text: &'t Text) -> &'t str {
        text.get(&self.request.language).or_else(|| text.values().next()).map_or("", String::as_str)
    }

    fn absolute(&self, url: &str) -> String {
        if url.starts_with('/') { format!("{}{url}", self.request.shop_url) } else { url.to_owned() }
    }
}

/// The variant's own first, then those of the whole product.
fn pictures<'p>(product: &'p Product, variant: &Variant) -> Vec<&'p Media> {
    let mut pictures: Vec<&Media> =
        product.media.iter().filter(|media| media.variant_ids.is_empty() || media.variant_ids.contains(&variant.variant_id)).collect();
    pictures.sort_by_key(|media| (media.variant_ids.is_empty(), media.position));
    pictures.truncate(1 + MORE_PICTURES_MAX);
    pictures
}

fn availability(variant: &Variant, stock: Option<&StockItem>) -> &'static str {
    use domain::inventory::StockPolicy;
    match stock {
        _ if !variant.track_stock => "in_stock",
        Some(item) if item.available() > 0 => "in_stock",
        Some(item) => match item.policy {
            StockPolicy::Deny => "out_of_stock",
            StockPolicy::Backorder { .. } => "backorder",
            StockPolicy::Preorder { .. } => "preorder",
        },
        None => "out_of_stock",
    }
}

/// A GTIN has 8, 12, 13 or 14 digits, the last of which is made of the others (GS1 General Specifications, 7.9).
fn is_gtin(barcode: &str) -> bool {
    let digits: Vec<u32> = barcode.chars().filter_map(|c| c.to_digit(10)).collect();
    let sum: u32 = digits.iter().rev().zip([1, 3].into_iter().cycle()).map(|(digit, weight)| digit * weight).sum();
    digits.len() == barcode.len() && matches!(digits.len(), 8 | 12 | 13 | 14) && sum.is_multiple_of(10)
}

fn cut(text: &str, chars_max: usize) -> String {
    text.chars().take(chars_max).collect()
}

/// An element with text in it. What XML 1.0 has no way to write is left out.
fn tag(text: &mut String, name: &str, value: &str) {
    let _infallible = write!(text, "<{name}>");
    for character in value.chars() {
        match character {
            '&' => text.push_str("&amp;"),
            '<' => text.push_str("&lt;"),
            '>' => text.push_str("&gt;"),
            '\n' | '\t' | ' '..='\u{d7ff}' | '\u{e000}'..='\u{fffd}' | '\u{10000}'.. => text.push(character),
            _ => {}
        }
    }
    let _infallible = writeln!(text, "</{name}>");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gtin_is_known_by_its_check_digit() {
        assert!(is_gtin("4006381333931") && is_gtin("96385074") && is_gtin("036000291452"));
        assert!(!is_gtin("4006381333932") && !is_gtin("12345") && !is_gtin("400638133393x"));
    }

    #[test]
    fn text_is_written_so_that_xml_reads_it() {
        let mut text = String::new();
        tag(&mut text, "g:title", "Salt & <Pepper>\u{1}");
        assert_eq!(text, "<g:title>Salt &amp; &lt;Pepper&gt;</g:title>\n");
    }
}
