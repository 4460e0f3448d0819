//! Random shops and requests, answered by the index and by looking at every product.

use std::collections::{BTreeMap, BTreeSet};

use super::{FacetCount, ProductDocument, Scratch, SearchIndex, SearchRequest, Sort, Uuid, product};

/// Numbers that look random and are the same in every run (Knuth's MMIX generator).
struct Dice(u64);

impl Dice {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % bound
    }

    fn one_of<'a>(&mut self, values: &[&'a str]) -> &'a str {
        let index = usize::try_from(self.below(values.len() as u64)).unwrap();
        values[index]
    }
}

const BRANDS: [&str; 4] = ["Alder", "Birch & Co", "alder", "Cedar"];
const COLOURS: [&str; 4] = ["red", "green", "deep blue", "a.b\\c"];
const SIZES: [&str; 3] = ["S", "M", "L"];
const NOUNS: [&str; 5] = ["chair", "table", "shelf", "lamp", "rug"];

/// A product with its columns, as the brute force sees it.
struct Known {
    document: ProductDocument,
    noun: &'static str,
    price: Option<i64>,
    in_stock: bool,
}

fn random_shop(dice: &mut Dice, size: u128) -> (Scratch, SearchIndex, Vec<Known>) {
    let scratch = Scratch::new();
    let index = SearchIndex::open(scratch.path()).unwrap();
    let mut known = Vec::new();
    for number in 1..=size {
        let noun = dice.one_of(&NOUNS);
        let mut document = product(number, noun);
        document.brand = (dice.below(5) > 0).then(|| dice.one_of(&BRANDS).to_owned());
        document.categories = vec!["home".to_owned(), format!("home-{}", dice.below(3))];
        document.created_at_us = i64::try_from(dice.below(50)).unwrap();
        for _ in 0..dice.below(3) {
            document.attributes.push(("colour.main".to_owned(), dice.one_of(&COLOURS).to_owned()));
        }
        document.attributes.push(("size".to_owned(), dice.one_of(&SIZES).to_owned()));
        let price = (dice.below(8) > 0).then(|| i64::try_from(dice.below(9_000)).unwrap());
        let in_stock = dice.below(3) > 0;
        index.put(&document).unwrap();
        index.columns().set_price(document.product_id, "EUR", price);
        index.columns().set_stock(document.product_id, in_stock);
        known.push(Known { document, noun, price, in_stock });
        if dice.below(60) == 0 {
            index.commit(1, i64::try_from(number).unwrap()).unwrap();
        }
    }
    for _ in 0..size / 10 {
        let place = usize::try_from(dice.below(known.len() as u64)).unwrap();
        index.remove(known.swap_remove(place).document.product_id);
    }
    index.commit(1, 1_000).unwrap();
    (scratch, index, known)
}

fn random_request(dice: &mut Dice) -> SearchRequest {
    let mut request = SearchRequest {
        q: (dice.below(2) == 0).then(|| dice.one_of(&NOUNS).to_owned()),
        facets: ["brand", "category", "price", "in_stock", "attr.colour.main", "attr.size", "attr.none", "odd"].map(str::to_owned).to_vec(),
        currency: "EUR".to_owned(),
        limit: 7,
        ..SearchRequest::default()
    };
    if dice.below(3) == 0 {
        request.category = Some(format!("home-{}", dice.below(3)));
    }
    for _ in 0..dice.below(3) {
        request.brands.push(dice.one_of(&BRANDS).to_owned());
    }
    for (key, values) in [("colour.main", &COLOURS[..]), ("size", &SIZES[..])] {
        for _ in 0..dice.below(3) {
            let of_key = request.attributes.entry(key.to_owned()).or_default();
            of_key.push(dice.one_of(values).to_owned());
        }
    }
    if dice.below(3) == 0 {
        request.price_min = Some(i64::try_from(dice.below(5_000)).unwrap());
        request.price_max = Some(i64::try_from(dice.below(9_000)).unwrap());
    }
    request.in_stock = [None, None, Some(true), Some(false)][usize::try_from(dice.below(4)).unwrap()];
    request
}

impl Known {
    fn values(&self, facet: &str) -> BTreeSet<String> {
        match facet {
            "brand" => self.document.brand.iter().cloned().collect(),
            "category" => self.document.categories.iter().cloned().collect(),
            "in_stock" => BTreeSet::from([self.in_stock.to_string()]),
            _ => {
                let key = facet.strip_prefix("attr.").unwrap_or_default();
                let pairs = self.document.attributes.iter();
                pairs.filter(|pair| pair.0 == key).map(|pair| pair.1.clone()).collect()
            }
        }
    }

    /// Whether the product passes all filters, but for that of one facet.
    fn passes(&self, request: &SearchRequest, without: &str) -> bool {
        let has = |facet: &str, wanted: &[String]| {
            facet == without || wanted.is_empty() || wanted.iter().any(|value| self.values(facet).contains(value))
        };
        let category: Vec<_> = request.category.iter().cloned().collect();
        let stock: Vec<_> = request.in_stock.iter().map(ToString::to_string).collect();
        let price_passes = without == "price"
            || (request.price_min.is_none() && request.price_max.is_none())
            || self
                .price
                .is_some_and(|price| request.price_min.is_none_or(|min| price >= min) && request.price_max.is_none_or(|max| price <= max));
        request.q.as_deref().is_none_or(|q| q == self.noun)
            && has("category", &category)
            && has("brand", &request.brands)
            && has("in_stock", &stock)
            && request.attributes.iter().all(|(key, values)| has(&format!("attr.{key}"), values))
            && price_passes
    }
}

#[test]
fn facet_counts_equal_a_brute_force_count() {
    let mut dice = Dice(7);
    let (_scratch, index, known) = random_shop(&mut dice, 400);
    for _ in 0..300 {
        let request = random_request(&mut dice);
        let answer = index.search(&request).unwrap();
        let total = known.iter().filter(|product| product.passes(&request, "")).count();
        assert_eq!(answer.total, total, "{request:?}");
        assert!(!answer.facets.contains_key("odd"));
        for (facet, counts) in &answer.facets {
            let counted: BTreeMap<_, _> = counts.iter().map(|count| (count.value.clone(), count.count)).collect();
            let hits = known.iter().filter(|product| product.passes(&request, facet));
            if facet == "price" {
                let prices: Vec<_> = hits.filter_map(|product| product.price).collect();
                assert_prices_are_covered(counts, &prices);
                continue;
            }
            let mut expected = BTreeMap::new();
            for value in hits.flat_map(|product| product.values(facet)) {
                *expected.entry(value).or_default() += 1;
            }
            assert_eq!(counted, expected, "{facet} of {request:?}");
        }
    }
    index.close().unwrap();
}

fn assert_prices_are_covered(ranges: &[FacetCount], prices: &[i64]) {
    assert_eq!(ranges.iter().map(|range| range.count).sum::<usize>(), prices.len());
    for range in ranges {
        let (min, max) = range.value.split_once('-').unwrap();
        let (min, max): (i64, i64) = (min.parse().unwrap(), max.parse().unwrap());
        let expected = prices.iter().filter(|price| (min..=max).contains(price)).count();
        assert_eq!(range.count, expected, "{}", range.value);
    }
}

#[test]
fn the_cursor_walks_through_all_hits_once_in_order() {
    let mut dice = Dice(11);
    let (_scratch, index, known) = random_shop(&mut dice, 300);
    for sort in [Sort::Relevance, Sort::PriceAsc, Sort::PriceDesc, Sort::Newest, Sort::Popular] {
        for q in [None, Some("lamp"), Some("lamp chair")] {
            let mut request =
                SearchRequest { q: q.map(str::to_owned), currency: "EUR".to_owned(), sort, limit: 7, ..SearchRequest::default() };
            let mut walked = Vec::new();
            let total = loop {
                let answer = index.search(&request).unwrap();
                walked.extend(answer.product_ids);
                request.cursor = answer.next_cursor;
                if request.cursor.is_none() {
                    break answer.total;
                }
            };
            assert_eq!(walked.len(), total, "{sort:?} {q:?}");
            assert_eq!(walked.iter().collect::<BTreeSet<_>>().len(), total, "{sort:?} {q:?}");

            let of = |id: &Uuid| known.iter().find(|known| known.document.product_id == *id).unwrap();
            let in_order = walked.iter().map(of).is_sorted_by_key(|known| match sort {
                Sort::PriceAsc => (known.price.is_none(), known.price.unwrap_or(0)),
                Sort::PriceDesc => (known.price.is_none(), -known.price.unwrap_or(0)),
                Sort::Newest => (false, -known.document.created_at_us),
                Sort::Relevance | Sort::Popular => (false, 0),
            });
            assert!(in_order, "{sort:?} {q:?}");
        }
    }
    index.close().unwrap();
}
