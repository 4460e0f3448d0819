//! Search over 19,406 real products as shoppers ask for them, over HTTP.

use std::collections::{HashMap, HashSet};
use std::time::Instant;

use futures::StreamExt;
use serde_json::Value;

use crate::import::records;
use crate::shop::Shop;
use crate::{recall, relevance};

/// Searches that are under way at a time.
const SEARCHES_AT_ONCE: usize = 4;

/// A shop that sells the real catalogue.
pub struct Icecat<'s> {
    shop: &'s Shop,
    /// Of title and brand, in lower case, by SKU.
    pub words: HashMap<String, HashSet<String>>,
}

/// What a search found.
pub struct Found {
    pub total: i64,
    /// On the first page.
    pub skus: Vec<String>,
    pub did_you_mean: Option<String>,
}

impl<'s> Icecat<'s> {
    fn of(shop: &'s Shop) -> Self {
        let (header, rows) = records();
        let column = |name: &str| header.iter().position(|title| title == name).unwrap();
        let (sku, title, brand) = (column("Variant SKU"), column("Title"), column("Vendor"));
        let words = rows.iter().map(|row| (row[sku].to_owned(), words(&row[title]).chain(words(&row[brand])).collect()));
        Self { shop, words: words.collect() }
    }

    /// The answers to these queries in their order.
    pub async fn found(&self, queries: &[String], limit: usize) -> Vec<Found> {
        let limit = &limit.to_string();
        let searches = queries.iter().map(|q| async move { found(&self.shop.listing(&[("q", q), ("limit", limit)]).await.body) });
        futures::stream::iter(searches).buffered(SEARCHES_AT_ONCE).collect().await
    }
}

fn found(body: &Value) -> Found {
    let items = body["items"].as_array().unwrap();
    Found {
        total: body["total"].as_i64().unwrap(),
        skus: items.iter().map(|item| item["variants"][0]["sku"].as_str().unwrap().to_owned()).collect(),
        did_you_mean: body["did_you_mean"].as_str().map(str::to_owned),
    }
}

/// The words of a text in lower case.
fn words(text: &str) -> impl Iterator<Item = String> {
    text.split(|c: char| !c.is_alphanumeric()).filter(|word| !word.is_empty()).map(str::to_lowercase)
}

pub async fn shoppers_find_what_they_mean(shop: &Shop) {
    let icecat = Icecat::of(shop);
    let began = Instant::now();
    relevance::judged_queries_are_answered_well(&icecat).await;
    recall::misspelt_words_are_found(&icecat).await;
    recall::beginnings_of_words_are_found(&icecat).await;
    println!("\nsearched for {:.1} s", began.elapsed().as_secs_f64());
}
