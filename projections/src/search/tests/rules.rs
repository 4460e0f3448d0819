//! Rules on a real index: pinned products stand where they are pinned on whatever pages, hidden ones are nowhere, boosted ones
//! come before their like.

use domain::merchandising::{Boost, BoostTarget, Condition, Matching, Merchandising, MerchandisingEvent, Pin, SearchRule};

use super::*;

fn id<T: From<Uuid>>(n: u128) -> T {
    Uuid::from_u128(n).into()
}

fn exactly(text: &str) -> Condition {
    Condition::Query { text: text.to_owned(), matching: Matching::Exact }
}

fn rule(condition: Condition) -> SearchRule {
    let title = "Rule".to_owned();
    SearchRule { rule_id: id(1), title, condition, valid_from: None, valid_until: None, pins: vec![], hidden: vec![], boosts: vec![] }
}

fn pins(pins: &[(u32, u128)]) -> Vec<Pin> {
    pins.iter().map(|&(position, product)| Pin { product_id: id(product), position }).collect()
}

fn set(index: &SearchIndex, rule: SearchRule) {
    let mut state = Merchandising::default();
    state.apply(&MerchandisingEvent::SearchRuleCreated(Box::new(rule)));
    index.set_merchandising(&state);
}

/// Ten rugs, which nothing but their numbers tells apart for a query, and a lamp (20).
fn rugs() -> (Scratch, SearchIndex) {
    let mut products: Vec<_> = (1..=10).map(|number| product(number, "Rug")).collect();
    for rug in &mut products {
        rug.brand = Some(if rug.product_id.as_u128() <= 5 { "Alder" } else { "Birch" }.to_owned());
        rug.categories = vec!["rugs".to_owned()];
    }
    products.push(ProductDocument { brand: Some("Alder".to_owned()), ..product(20, "Lamp") });
    let made = index_of(&products);
    for number in 1..=10_u32 {
        made.1.columns().set_price(Uuid::from_u128(number.into()), "EUR", Some(i64::from(number) * 100));
    }
    made
}

/// All pages of a request, which must say the same total.
fn walked(index: &SearchIndex, request: &SearchRequest) -> (Vec<u128>, usize) {
    let (mut all, mut total, mut request) = (Vec::new(), None, request.clone());
    loop {
        let answer = index.search(&request).unwrap();
        assert!(answer.product_ids.len() <= request.limit && !(answer.product_ids.is_empty() && request.cursor.is_some()));
        assert_eq!(*total.get_or_insert(answer.total), answer.total);
        all.extend(numbers(&answer));
        match answer.next_cursor {
            Some(cursor) => request.cursor = Some(cursor),
            None => return (all, total.unwrap_or(0)),
        }
    }
}

#[test]
fn what_is_pinned_stands_at_its_place_once_on_pages_of_any_size() {
    let (_scratch, index) = rugs();
    // Product 20 has no such word, product 99 is not there, place 50 is beyond the last hit.
    set(&index, SearchRule { pins: pins(&[(1, 20), (2, 99), (3, 9), (50, 2)]), ..rule(exactly("rug")) });
    let expected = [20, 1, 9, 3, 4, 5, 6, 7, 8, 10, 2];
    for limit in 1..=12 {
        let request = SearchRequest { limit, ..request("Rug") };
        assert_eq!(walked(&index, &request), (expected.to_vec(), 11), "pages of {limit}");
    }
    assert_eq!(found(&index, "rugs"), [1, 2, 3, 4, 5, 6, 7, 8, 9, 10], "another query");
    let by_price = SearchRequest { sort: Sort::PriceDesc, ..request("rug") };
    assert_eq!(walked(&index, &by_price), ((1..=10).rev().collect(), 10), "another order was asked for");
}

#[test]
fn what_is_pinned_passes_the_filters_and_is_counted_by_facets() {
    let (_scratch, index) = rugs();
    set(&index, SearchRule { pins: pins(&[(1, 20), (2, 1)]), ..rule(exactly("rug")) });
    let alder = SearchRequest { brands: vec!["Alder".to_owned()], ..request("rug") };
    assert_eq!(walked(&index, &alder), (vec![20, 1, 2, 3, 4, 5], 6));
    let birch = SearchRequest { brands: vec!["Birch".to_owned()], facets: vec!["brand".to_owned()], ..request("rug") };
    assert_eq!(walked(&index, &birch), (vec![6, 7, 8, 9, 10], 5));
    let counted = |value: &str, count| FacetCount { value: value.to_owned(), count };
    assert_eq!(index.search(&birch).unwrap().facets["brand"], [counted("Alder", 6), counted("Birch", 5)]);
    let category = SearchRequest { category: Some("rugs".to_owned()), ..request("rug") };
    assert_eq!(walked(&index, &category), (vec![2, 1, 3, 4, 5, 6, 7, 8, 9, 10], 10), "the second place, though the first pin is not there");
    index.remove(Uuid::from_u128(20));
    index.commit(1, 101).unwrap();
    assert_eq!(walked(&index, &alder), (vec![2, 1, 3, 4, 5], 5));
}

#[test]
fn what_is_hidden_is_in_no_page_total_or_facet() {
    let (_scratch, index) = rugs();
    let hidden = vec![id(1), id(10), id(20)];
    set(&index, SearchRule { hidden, ..rule(Condition::Everywhere) });
    for sort in [Sort::Relevance, Sort::PriceAsc, Sort::Newest] {
        let request = SearchRequest { facets: vec!["brand".to_owned()], sort, limit: 3, ..request("rug") };
        let (mut all, total) = walked(&index, &request);
        all.sort_unstable();
        assert_eq!((all, total), ((2..=9).collect(), 8));
        let answer = index.search(&request).unwrap();
        assert_eq!(answer.facets["brand"].iter().map(|counted| counted.count).collect::<Vec<_>>(), [4, 4]);
    }
    assert_eq!(index.search(&request("lamp")).unwrap().total, 0);
    index.set_merchandising(&Merchandising::default());
    assert_eq!(found(&index, "lamp"), [20]);
}

#[test]
fn what_is_boosted_comes_before_its_like_and_what_is_buried_after_it() {
    let (_scratch, index) = rugs();
    let boost = |target, percent| Boost { target, percent };
    let brand = BoostTarget::Brand { brand: "Birch".to_owned() };
    let one = BoostTarget::Product { product_id: id(3) };
    set(&index, SearchRule { boosts: vec![boost(brand.clone(), 120), boost(one, 50)], ..rule(exactly("rug")) });
    for limit in [2, 50] {
        let request = SearchRequest { limit, ..request("rug") };
        assert_eq!(walked(&index, &request), (vec![6, 7, 8, 9, 10, 1, 2, 4, 5, 3], 10), "pages of {limit}");
    }

    // While a category is browsed, popularity is what is multiplied.
    for number in 1..=10_u32 {
        index.columns().set_popularity(Uuid::from_u128(number.into()), number * 10);
    }
    let browse = SearchRequest { category: Some("rugs".to_owned()), limit: 4, ..request("") };
    assert_eq!(walked(&index, &browse).0, [10, 9, 8, 7, 6, 5, 4, 3, 2, 1]);
    let lamps = BoostTarget::Category { handle: "rugs".to_owned() };
    let in_category = Condition::Category { handle: "rugs".to_owned() };
    set(&index, SearchRule { boosts: vec![boost(brand, 10), boost(lamps, 200)], ..rule(in_category) });
    assert_eq!(walked(&index, &browse).0, [5, 4, 3, 2, 1, 10, 9, 8, 7, 6]);
    assert_eq!(walked(&index, &SearchRequest { sort: Sort::Popular, ..browse }).0, [10, 9, 8, 7, 6, 5, 4, 3, 2, 1], "asked for");
}

/// Random rules over pages of random sizes, held against lists that are put together by hand.
#[test]
fn any_rule_gives_what_a_list_by_hand_would_have() {
    let (_scratch, index) = rugs();
    let plain: Vec<u128> = (1..=10).collect();
    // A linear congruential generator: the same rules each time.
    let mut state = 7_u64;
    let mut dice = |sides: u64| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) % sides
    };
    for round in 0..300 {
        let mut products: Vec<u128> = plain.iter().copied().chain([20, 99]).collect();
        let mut positions: Vec<u32> = (1..=15).collect();
        let mut take = |from: &mut Vec<u128>| from.remove(usize::try_from(dice(from.len() as u64)).unwrap());
        let hidden: Vec<u128> = (0..3).map(|_| take(&mut products)).take(round % 4).collect();
        let pinned: Vec<u128> = (0..4).map(|_| take(&mut products)).take(round % 5).collect();
        let mut pins: Vec<(u32, u128)> = Vec::new();
        for product in pinned {
            let position = positions.remove(usize::try_from(dice(positions.len() as u64)).unwrap());
            pins.push((position, product));
        }
        let limit = usize::try_from(1 + dice(12)).unwrap();
        set(
            &index,
            SearchRule {
                pins: pins.iter().map(|&(position, product)| Pin { product_id: id(product), position }).collect(),
                hidden: hidden.iter().map(|&product| id(product)).collect(),
                ..rule(exactly("rug"))
            },
        );
        let is_pinned = |product: u128| pins.iter().any(|(_, pinned)| *pinned == product);
        let mut expected: Vec<u128> = plain.iter().copied().filter(|product| !hidden.contains(product) && !is_pinned(*product)).collect();
        pins.sort_unstable();
        for (position, product) in pins.iter().filter(|(_, product)| *product != 99) {
            let at = (usize::try_from(*position).unwrap() - 1).min(expected.len());
            expected.insert(at, *product);
        }
        let total = expected.len();
        let request = SearchRequest { limit, ..request("rug") };
        assert_eq!(walked(&index, &request), (expected, total), "round {round}: {pins:?}, hidden {hidden:?}, pages of {limit}");
    }
}
