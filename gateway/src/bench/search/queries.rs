//! What shoppers ask, and how long the answers take over HTTP.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, ensure};
use futures::{StreamExt, TryStreamExt};
use reqwest::{Client, Url};
use serde::Serialize;
use serde_json::Value;

use super::catalogue::{Catalogue, Random};
use crate::bench::measure::{Measured, Summary, drive};

/// Different questions of each kind, asked in turn.
const QUESTIONS: u64 = 512;
/// Requests at once while everything is asked once before it is measured.
const WARM_UP_CLIENTS: usize = 8;
const LIMIT: &str = "20";
/// A walk through a list: pages of so many, and the last ones are measured.
const WALK_LIMIT: &str = "200";
const WALK_PAGES: usize = 50;
const WALK_MEASURED: usize = 5;
const WALKED_ORDERS: [&str; 4] = ["relevance", "price_asc", "price_desc", "newest"];
const FACETS: &str = "brand,category,attr.colour";
/// Letters that a prefix has.
const PREFIX: usize = 3;
const TIMEOUT: Duration = Duration::from_secs(30);

/// What a question is like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    OneWord,
    TwoWords,
    OneWordPriceFacets,
    TwoWordsPriceFacets,
    PrefixSuggested,
    PrefixListed,
    Typo,
    OneWordByPrice,
    AllByPrice,
    AllWithFacets,
    CategoryWithFacets,
    ChineseWord,
}

const KINDS: [(Kind, &str); 12] = [
    (Kind::OneWord, "one word"),
    (Kind::TwoWords, "two words"),
    (Kind::OneWordPriceFacets, "one word, price, 3 facets"),
    (Kind::TwoWordsPriceFacets, "two words, price, 3 facets"),
    (Kind::PrefixSuggested, "3 letters, suggest"),
    (Kind::PrefixListed, "3 letters, list"),
    (Kind::Typo, "typo"),
    (Kind::OneWordByPrice, "one word by price"),
    (Kind::AllByPrice, "all by price"),
    (Kind::AllWithFacets, "all, 3 facets"),
    (Kind::CategoryWithFacets, "category, 3 facets"),
    (Kind::ChineseWord, "Chinese word"),
];

/// One kind of question by so many clients.
#[derive(Debug, Serialize)]
pub struct Row {
    pub question: &'static str,
    pub clients: usize,
    /// What the questions find, the median.
    pub found: u64,
    pub answered: Summary,
}

struct Asked {
    name: &'static str,
    urls: Arc<Vec<Url>>,
    found: u64,
}

/// Asks every kind of question, `rounds` times in turn; the first time, once each, is not measured.
pub async fn measure(
    shop: &str,
    catalogue: &Catalogue,
    products: u64,
    clients: &[usize],
    rounds: usize,
    round: Duration,
) -> anyhow::Result<Vec<Row>> {
    let http = client()?;
    let mut kinds = Vec::new();
    for (kind, name) in KINDS {
        let urls = (0..QUESTIONS).map(|number| question(shop, catalogue, products, kind, name, number)).collect::<anyhow::Result<_>>()?;
        kinds.push((name, urls));
    }
    kinds.extend(walked(&http, shop).await?);
    let mut asked = Vec::new();
    for (name, urls) in kinds {
        eprintln!("  {name}: once each");
        asked.push(Asked {
            name,
            found: ask_once(&http, &urls).await.with_context(|| format!("{name} finds nothing"))?,
            urls: Arc::new(urls),
        });
    }
    let mut measured: Vec<Vec<Vec<Measured>>> = vec![vec![Vec::new(); clients.len()]; asked.len()];
    for number in 0..rounds {
        eprintln!("  questions, round {} of {rounds}", number + 1);
        for (Asked { urls, .. }, by_clients) in asked.iter().zip(&mut measured) {
            for (&clients, rounds) in clients.iter().zip(by_clients) {
                let (http, urls) = (http.clone(), Arc::clone(urls));
                let answered = drive(clients, round, move |_, number| {
                    let (http, urls) = (http.clone(), Arc::clone(&urls));
                    async move {
                        // Below the length of a list, so below `usize`.
                        let url = &urls[usize::try_from(number % urls.len() as u64).unwrap_or(0)];
                        fetch(&http, url).await.map(|_| 0)
                    }
                });
                rounds.push(answered.await?);
            }
        }
    }
    let rows = asked.into_iter().zip(measured).flat_map(|(asked, by_clients)| {
        let Asked { name: question, found, .. } = asked;
        clients.iter().zip(by_clients).map(move |(&clients, rounds)| Row { question, clients, found, answered: Summary::of(&rounds) })
    });
    Ok(rows.collect())
}

pub fn client() -> anyhow::Result<Client> {
    Ok(Client::builder().timeout(TIMEOUT).build()?)
}

/// The list of a shop with these parameters.
pub fn list(shop: &str, parameters: &[(&str, &str)]) -> anyhow::Result<Url> {
    Ok(Url::parse_with_params(&format!("{shop}/v1/products"), parameters)?)
}

/// The body of an answer that must be good.
pub async fn fetch(http: &Client, url: &Url) -> anyhow::Result<bytes::Bytes> {
    let response = http.get(url.clone()).send().await?;
    let status = response.status();
    let body = response.bytes().await?;
    ensure!(status.is_success(), "{url} was answered {status}: {}", String::from_utf8_lossy(&body));
    Ok(body)
}

pub async fn fetch_json(http: &Client, url: &Url) -> anyhow::Result<Value> {
    Ok(serde_json::from_slice(&fetch(http, url).await?)?)
}

/// Asks everything once; answers how many products a question finds, in the middle.
async fn ask_once(http: &Client, urls: &[Url]) -> anyhow::Result<u64> {
    let totals = futures::stream::iter(urls).map(|url| async move {
        let answer = fetch_json(http, url).await?;
        let suggested = answer["items"].as_array().map(Vec::len).map(|items| items as u64);
        answer["total"].as_u64().or(suggested).context("an answer has no items")
    });
    let mut totals: Vec<u64> = totals.buffer_unordered(WARM_UP_CLIENTS).try_collect().await?;
    totals.sort_unstable();
    totals.get(totals.len() / 2).copied().filter(|found| *found > 0).context("half of the questions find no product")
}

fn question(shop: &str, catalogue: &Catalogue, products: u64, kind: Kind, name: &str, number: u64) -> anyhow::Result<Url> {
    let mut random = Random::of(number, name);
    let product = random.below(products);
    let words = catalogue.title_words(product);
    let word = random.pick(&words);
    let prefix = &word[..PREFIX];
    let two_words = words[..2].join(" ");
    // The word's first two syllables lose their last vowel: no word is written so.
    let typo = format!("{}{}", &word[..PREFIX], &word[PREFIX + 1..]);
    // Around the price of the product that the words are of.
    let amount = catalogue.amount(product);
    let (price_min, price_max) = ((amount / 2).to_string(), (amount * 2).to_string());
    let mut parameters = vec![("limit", LIMIT), ("lang", "en")];
    match kind {
        Kind::OneWord => parameters.push(("q", word)),
        Kind::TwoWords => parameters.push(("q", &two_words)),
        Kind::OneWordPriceFacets => {
            parameters.extend([("q", word), ("price_min", &price_min), ("price_max", &price_max), ("facets", FACETS)]);
        }
        Kind::TwoWordsPriceFacets => {
            parameters.extend([("q", two_words.as_str()), ("price_min", &price_min), ("price_max", &price_max), ("facets", FACETS)]);
        }
        Kind::PrefixSuggested => {
            return Ok(Url::parse_with_params(&format!("{shop}/v1/suggest"), [("q", prefix), ("lang", "en")])?);
        }
        Kind::PrefixListed => parameters.push(("q", prefix)),
        Kind::Typo => parameters.push(("q", &typo)),
        Kind::OneWordByPrice => parameters.extend([("q", word), ("sort", "price_asc")]),
        Kind::AllByPrice => parameters.push(("sort", "price_asc")),
        Kind::AllWithFacets => parameters.push(("facets", FACETS)),
        Kind::CategoryWithFacets => {
            let category = &catalogue.categories()[random.index(catalogue.categories().len())];
            // Of every level as often: else nearly all would be leaves.
            let levels: Vec<&str> = category.handle.split('-').collect();
            let handle = levels[..2 + random.index(3).min(levels.len() - 2)].join("-");
            return list(shop, &[("limit", LIMIT), ("lang", "en"), ("category", &handle), ("facets", FACETS)]);
        }
        Kind::ChineseWord => return list(shop, &[("limit", LIMIT), ("lang", "zh"), ("q", Catalogue::chinese_word(number))]),
    }
    list(shop, &parameters)
}

/// Walks through the whole list page by page, in several orders; answers the last pages, and twenty more from there.
async fn walked(http: &Client, shop: &str) -> anyhow::Result<[(&'static str, Vec<Url>); 2]> {
    let (mut large, mut small) = (Vec::new(), Vec::new());
    for order in WALKED_ORDERS {
        let mut cursor = None;
        for page in 1..=WALK_PAGES {
            let page_of = |limit, cursor: Option<&str>| {
                let mut parameters = vec![("limit", limit), ("lang", "en"), ("sort", order)];
                parameters.extend(cursor.map(|cursor| ("cursor", cursor)));
                list(shop, &parameters)
            };
            let url = page_of(WALK_LIMIT, cursor.as_deref())?;
            if page + WALK_MEASURED > WALK_PAGES {
                large.push(url.clone());
                small.push(page_of(LIMIT, cursor.as_deref())?);
            }
            let answer = fetch_json(http, &url).await?;
            cursor = Some(answer["next_cursor"].as_str().with_context(|| format!("there is no page after the {page}th"))?.to_owned());
        }
    }
    Ok([("50th page of 200", large), ("20 more after 10,000", small)])
}
