//! The pictures of a product: kept as the URLs that the file has.

use commands::catalog;
use domain::catalog::{Media, Text, Variant};

use super::columns::{Field, Row};
use super::product::{Reading, VariantRow};

/// The longest URL of a picture.
pub const URL_BYTES_MAX: usize = 2_048;

impl Reading<'_> {
    /// The pictures in the order of their positions, each once; pictures of single variants come last.
    pub fn media(&mut self, rows: &[Row], variant_rows: &[VariantRow<'_>], variants: &[Variant]) -> Vec<Media> {
        let mut media: Vec<(u32, Media)> = Vec::new();
        for row in rows {
            let Some(url) = self.urls(row, Field::ImageUrl).into_iter().next() else { continue };
            if media.iter().all(|(_, known)| known.url != url) {
                let place = row.get(self.columns, Field::ImagePosition).parse().unwrap_or(u32::MAX);
                let pixels = |field| row.get(self.columns, field).parse().ok();
                let picture = Media {
                    alt: row.text(self.columns, Field::ImageAlt, &self.terms.language),
                    width: pixels(Field::ImageWidth),
                    height: pixels(Field::ImageHeight),
                    ..self.picture(url)
                };
                media.push((place, picture));
            }
        }
        media.sort_by_key(|(place, _)| *place);
        for (VariantRow { row, .. }, variant) in variant_rows.iter().zip(variants) {
            for url in self.urls(row, Field::VariantImage) {
                let known = media.iter().position(|(_, known)| known.url == url);
                let at = known.unwrap_or_else(|| {
                    media.push((u32::MAX, self.picture(url)));
                    media.len() - 1
                });
                if !media[at].1.variant_ids.contains(&variant.variant_id) {
                    media[at].1.variant_ids.push(variant.variant_id);
                }
            }
        }
        let numbered = media.into_iter().zip(1..).map(|((_, media), position)| Media { position, ..media });
        numbered.collect()
    }

    fn picture(&self, url: &str) -> Media {
        let media_id = catalog::media_id(self.product_id, url);
        Media { media_id, url: url.to_owned(), alt: Text::new(), position: 0, variant_ids: Vec::new(), width: None, height: None }
    }

    /// A variant may have several, with a space between them: no URL has one in it.
    fn urls<'r>(&mut self, row: &'r Row, field: Field) -> Vec<&'r str> {
        let cell = row.get(self.columns, field);
        let urls: Vec<&str> = if field == Field::VariantImage { cell.split_whitespace().collect() } else { vec![cell] };
        let mut found = Vec::with_capacity(urls.len());
        for url in urls.into_iter().filter(|url| !url.is_empty()) {
            let is_web = url.starts_with("https://") || url.starts_with("http://") || url.starts_with('/');
            if !is_web || url.len() > URL_BYTES_MAX || url.contains(char::is_whitespace) {
                let reason = format!("a picture's URL begins with https:// and has at most {URL_BYTES_MAX} bytes");
                self.refuse(row, field, "url_invalid", reason);
            } else {
                found.push(url);
            }
        }
        found
    }
}
