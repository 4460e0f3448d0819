//! Facet counts are those of the products themselves: 1,000 random requests against a count over what the API says of each
//! product.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use reqwest::Method;
use serde_json::{Value, json};

use crate::dice::Dice;
use crate::shop::Shop;

const REQUESTS: usize = 1_000;
/// Products that are sold out, of some 260.
const SOLD_OUT: usize = 60;
/// Values that a facet answers.
const FACET_VALUES_MAX: usize = 100;
const PAGE: &str = "200";
const CURRENCIES: [&str; 2] = ["EUR", "USD"];
/// One word and several, in three languages, misspelt, half typed, and one that no product has.
const TEXTS: [&str; 16] = [
    "oak",
    "steel",
    "linen",
    "coffee",
    "wood set",
    "kitchen knife",
    "holz",
    "leder tasche",
    "glass tea",
    "stonware",
    "walnutt board",
    "cof",
    "咖啡",
    "套装",
    "chabei",
    "zzyzx",
];
const ATTRIBUTES: [&str; 9] = ["material", "origin", "colour", "size", "capacity", "dishwasher_safe", "pieces", "warranty_years", "vegan"];

/// A product as the API shows it, reduced to what can be filtered by.
struct Product {
    id: String,
    /// By the name of the facet; those of attributes as `attr.material`.
    values: BTreeMap<String, BTreeSet<String>>,
    price: Option<i64>,
}

/// Each category with its ancestors.
type WaysUp = HashMap<String, Vec<String>>;

/// The products that a text finds.
type Matches = HashMap<&'static str, HashSet<String>>;

fn ways_up(branch: &Value, above: &[String], ways: &mut WaysUp) {
    for category in branch.as_array().unwrap() {
        let way: Vec<String> = above.iter().cloned().chain([text(&category["handle"])]).collect();
        ways_up(&category["children"], &way, ways);
        ways.insert(text(&category["handle"]), way);
    }
}

fn text(value: &Value) -> String {
    value.as_str().unwrap().to_owned()
}

impl Product {
    fn of(body: &Value, ways_up: &WaysUp) -> Self {
        let mut values: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
        let mut add = |facet: &str, value: String| values.entry(facet.to_owned()).or_default().insert(value);
        add("brand", text(&body["brand"]));
        add("in_stock", body["in_stock"].to_string());
        for category in body["categories"].as_array().unwrap() {
            for handle in &ways_up[category.as_str().unwrap()] {
                add("category", handle.clone());
            }
        }
        for owner in std::iter::once(body).chain(body["variants"].as_array().unwrap()) {
            for (key, value) in owner["attributes"].as_object().unwrap() {
                for value in value.as_array().unwrap_or(&vec![value.clone()]) {
                    add(&format!("attr.{key}"), text(value));
                }
            }
        }
        for variant in body["variants"].as_array().unwrap() {
            for (name, label) in variant["options"].as_object().unwrap() {
                add(&format!("attr.{}", name.to_lowercase().replace(' ', "_")), text(label));
            }
        }
        Self { id: text(&body["id"]), values, price: body["price_from"]["amount"].as_i64() }
    }

    fn has(&self, facet: &str, wanted: &[String]) -> bool {
        let values = self.values.get(facet);
        wanted.iter().any(|value| values.is_some_and(|values| values.contains(value)))
    }
}

/// What is asked for.
#[derive(Debug)]
struct Request {
    q: Option<&'static str>,
    currency: &'static str,
    /// Values by facet: alternatives of each other.
    filters: BTreeMap<String, Vec<String>>,
    price_min: Option<i64>,
    price_max: Option<i64>,
    facets: Vec<String>,
}

impl Request {
    /// Most filters are of one product, so that most requests find something.
    fn random(dice: &mut Dice, products: &[Product], matches: &Matches, currency: &'static str) -> Self {
        let model = dice.one_of(products);
        let mut filters: BTreeMap<String, Vec<String>> = BTreeMap::new();
        let wanted = [0, 1, 1, 2, 2, 3][dice.below(6)];
        for facet in dice.some_of(model.values.keys().collect(), wanted) {
            let mut wanted = dice.some_of(model.values[facet].iter().cloned().collect(), 1);
            // Of a category and of the stock only one can be asked for.
            if !matches!(facet.as_str(), "category" | "in_stock") {
                for _ in 0..dice.below(3) {
                    wanted.extend(dice.one_of(products).values.get(facet).into_iter().flatten().take(1).cloned());
                }
            }
            filters.insert(facet.clone(), wanted);
        }
        let found_by: Vec<&'static str> = TEXTS.into_iter().filter(|q| matches[q].contains(&model.id)).collect();
        let q = match dice.below(4) {
            0 => Some(*dice.one_of(&TEXTS)),
            1 | 2 if !found_by.is_empty() => Some(*dice.one_of(&found_by)),
            _ => None,
        };
        let near = model.price.unwrap_or(5_000);
        let spread = i64::try_from(dice.below(4_000)).unwrap();
        let (price_min, price_max) = match dice.below(6) {
            0 => (Some((near - spread).max(0)), Some(near + spread)),
            1 => (Some(near), None),
            2 => (None, Some(near)),
            _ => (None, None),
        };
        let mut facets: BTreeSet<String> = ["brand", "category", "price", "in_stock"].map(str::to_owned).into();
        facets.extend(dice.some_of(ATTRIBUTES.to_vec(), 4).into_iter().map(|key| format!("attr.{key}")));
        facets.extend(filters.keys().cloned());
        Self { q, currency, filters, price_min, price_max, facets: facets.into_iter().collect() }
    }

    fn parameters(&self) -> Vec<(&str, String)> {
        let mut parameters = vec![("currency", self.currency.to_owned()), ("facets", self.facets.join(",")), ("limit", PAGE.to_owned())];
        parameters.extend(self.q.map(|q| ("q", q.to_owned())));
        parameters.extend(self.price_min.map(|price| ("price_min", price.to_string())));
        parameters.extend(self.price_max.map(|price| ("price_max", price.to_string())));
        for (facet, values) in &self.filters {
            let escaped: Vec<String> = values.iter().map(|value| value.replace('\\', r"\\").replace(',', r"\,")).collect();
            let is_list = !matches!(facet.as_str(), "category" | "in_stock");
            parameters.push((facet, if is_list { escaped.join(",") } else { values[0].clone() }));
        }
        parameters
    }

    /// Whether a product passes all filters, but for that of one facet.
    fn passes(&self, product: &Product, without: &str) -> bool {
        let has_price = (self.price_min.is_none() && self.price_max.is_none())
            || product
                .price
                .is_some_and(|price| self.price_min.is_none_or(|min| price >= min) && self.price_max.is_none_or(|max| price <= max));
        (without == "price" || has_price) && self.filters.iter().all(|(facet, wanted)| facet == without || product.has(facet, wanted))
    }
}

/// All pages of a listing.
async fn pages(shop: &Shop, parameters: &[(&str, &str)]) -> Vec<Value> {
    let mut items = Vec::new();
    let mut cursor = String::new();
    loop {
        let mut page = shop.listing(&[parameters, &[("limit", PAGE), ("cursor", &cursor)]].concat()).await.body;
        items.append(page["items"].as_array_mut().unwrap());
        match page["next_cursor"].as_str() {
            Some(next) => next.clone_into(&mut cursor),
            None => break,
        }
    }
    items
}

/// Takes some products off the shelf, with all of their variants; others lose one.
async fn sell_out(shop: &Shop, dice: &mut Dice, items: Vec<Value>) {
    let mut token = String::new();
    for product in dice.some_of(items, SOLD_OUT) {
        let variants = product["variants"].as_array().unwrap();
        let counted = if dice.below(4) == 0 { 1 } else { variants.len() };
        for variant in &variants[..counted] {
            let path = format!("/v1/admin/stock/{}/count", variant["sku"].as_str().unwrap());
            let done = shop.staff(Method::POST, &path, Some(json!({ "quantity": 0 }))).await.expect(200);
            token = done.token.unwrap();
        }
    }
    shop.get_after("/v1/products?limit=1", &token).await.expect(200);
}

/// The most frequent values of a facet as the API writes them.
fn counted<'p>(facet: &str, products: impl Iterator<Item = &'p Product>) -> Vec<(String, u64)> {
    let mut counts: BTreeMap<&str, u64> = BTreeMap::new();
    for value in products.filter_map(|product| product.values.get(facet)).flatten() {
        *counts.entry(value).or_default() += 1;
    }
    let mut counts: Vec<(String, u64)> = counts.into_iter().map(|(value, count)| (value.to_owned(), count)).collect();
    counts.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
    counts.truncate(FACET_VALUES_MAX);
    counts
}

/// Ranges follow each other, hold every product that has a price, and count right.
fn assert_ranges_hold(ranges: &[(String, u64)], prices: &[i64], request: &Request) {
    let mut above = -1;
    for (range, count) in ranges {
        let (min, max) = range.split_once('-').unwrap();
        let (min, max): (i64, i64) = (min.parse().unwrap(), max.parse().unwrap());
        assert!(above < min && min <= max, "{ranges:?} of {request:?}");
        above = max;
        let within = prices.iter().filter(|price| (min..=max).contains(price)).count();
        assert_eq!(*count, within as u64, "{range} of {request:?}");
    }
    assert_eq!(ranges.iter().map(|(_, count)| count).sum::<u64>(), prices.len() as u64, "{request:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn facet_counts_equal_a_count_over_the_products() {
    let shop = Shop::with_demo().await;
    let mut dice = Dice::new(1);
    let stocked = pages(&shop, &[]).await;
    sell_out(&shop, &mut dice, stocked).await;

    let tree = shop.get("/v1/categories").await.expect(200);
    let mut ways = WaysUp::new();
    ways_up(&tree.body["items"], &[], &mut ways);
    let mut products: HashMap<&str, Vec<Product>> = HashMap::new();
    for currency in CURRENCIES {
        let items = pages(&shop, &[("currency", currency)]).await;
        products.insert(currency, items.iter().map(|item| Product::of(item, &ways)).collect());
    }
    // What a text finds without any filter.
    let mut matches = Matches::new();
    for q in TEXTS {
        matches.insert(q, pages(&shop, &[("q", q)]).await.iter().map(|item| text(&item["id"])).collect());
    }

    let (mut compared, mut with_filters, mut empty) = (0, 0, 0);
    for _ in 0..REQUESTS {
        let currency = *dice.one_of(&CURRENCIES);
        let products = &products[currency];
        let request = Request::random(&mut dice, products, &matches, currency);
        let parameters = request.parameters();
        let parameters: Vec<(&str, &str)> = parameters.iter().map(|(name, value)| (*name, value.as_str())).collect();
        let answer = shop.listing(&parameters).await.body;

        let matching: Vec<&Product> =
            products.iter().filter(|product| request.q.is_none_or(|q| matches[q].contains(&product.id))).collect();
        let hits = |without: &'static str| matching.iter().copied().filter(|&product| request.passes(product, without));
        let expected: BTreeSet<&str> = hits("").map(|product| product.id.as_str()).collect();
        assert_eq!(answer["total"], json!(expected.len()), "{request:?}");
        let items: BTreeSet<&str> = answer["items"].as_array().unwrap().iter().map(|item| item["id"].as_str().unwrap()).collect();
        assert!(items.is_subset(&expected) && (answer["next_cursor"].is_string() || items.len() == expected.len()), "{request:?}");
        for facet in &request.facets {
            let answered = answer["facets"][facet].as_array().unwrap().iter();
            let answered: Vec<(String, u64)> = answered.map(|one| (text(&one["value"]), one["count"].as_u64().unwrap())).collect();
            let hits = matching.iter().copied().filter(|product| request.passes(product, facet));
            if facet == "price" {
                assert_ranges_hold(&answered, &hits.filter_map(|product| product.price).collect::<Vec<_>>(), &request);
            } else {
                assert_eq!(answered, counted(facet, hits), "{facet} of {request:?}");
            }
            compared += answered.len();
        }
        with_filters += usize::from(!request.filters.is_empty() || request.price_min.is_some() || request.price_max.is_some());
        empty += usize::from(expected.is_empty());
    }
    println!("{REQUESTS} requests, {with_filters} with filters, {empty} without a hit: {compared} counts are right");
    assert!(with_filters > REQUESTS / 2 && empty < REQUESTS / 2);
}
