//! The story of the index: what finds what, what is counted, what survives.

mod brute_force;
mod rules;

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use uuid::Uuid;

use super::{FacetCount, ProductDocument, SearchAnswer, SearchError, SearchIndex, SearchRequest, Sort};

/// A directory that goes with the test.
struct Scratch(PathBuf);

impl Scratch {
    fn new() -> Self {
        let name = format!("daybook-search-{}", Uuid::new_v4().simple());
        Self(std::env::temp_dir().join(name))
    }

    fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn product(number: u128, title: &str) -> ProductDocument {
    ProductDocument {
        product_id: Uuid::from_u128(number),
        handle: format!("product-{number}"),
        title: BTreeMap::from([("en".to_owned(), title.to_owned())]),
        ..ProductDocument::default()
    }
}

fn index_of(products: &[ProductDocument]) -> (Scratch, SearchIndex) {
    let scratch = Scratch::new();
    let index = SearchIndex::open(scratch.path()).unwrap();
    for product in products {
        index.put(product).unwrap();
    }
    index.commit(1, 100).unwrap();
    (scratch, index)
}

fn request(q: &str) -> SearchRequest {
    SearchRequest { q: Some(q.to_owned()), lang: "en".to_owned(), currency: "EUR".to_owned(), limit: 50, ..SearchRequest::default() }
}

fn numbers(answer: &SearchAnswer) -> Vec<u128> {
    answer.product_ids.iter().map(Uuid::as_u128).collect()
}

fn found(index: &SearchIndex, q: &str) -> Vec<u128> {
    numbers(&index.search(&request(q)).unwrap())
}

fn small_shop() -> (Scratch, SearchIndex) {
    let mut lamp = product(1, "Brass Desk Lamp");
    lamp.title.insert("de".to_owned(), "Schreibtischleuchte aus Messing".to_owned());
    lamp.title.insert("zh".to_owned(), "黄铜台灯".to_owned());
    lamp.brand = Some("Lumière".to_owned());
    lamp.kind = Some("Lighting".to_owned());
    lamp.skus = vec!["LMP-001/A".to_owned(), "LMP 002 desk".to_owned()];
    let mut socks = product(2, "Running Socks, Merino");
    socks.title.insert("de".to_owned(), "Laufsocken für kalte Häuser".to_owned());
    socks.attributes = vec![("colour".to_owned(), "Midnight".to_owned())];
    let mut earphones = product(3, "Wireless Earphones");
    earphones.title.insert("zh".to_owned(), "无线蓝牙耳机".to_owned());
    earphones.description.insert("en".to_owned(), "Pairs with every telephone.".to_owned());
    index_of(&[lamp, socks, earphones, product(4, "Desk Organiser")])
}

#[test]
fn words_find_products_in_every_field() {
    let (_scratch, index) = small_shop();
    assert_eq!(found(&index, "organiser"), [4]);
    assert_eq!(found(&index, "LUMIERE"), [1], "brand, case and accent folded");
    assert_eq!(found(&index, "lighting"), [1], "kind");
    assert_eq!(found(&index, "midnight"), [2], "attribute value");
    assert_eq!(found(&index, "telephone"), [3], "description");
    assert_eq!(found(&index, "lmp-001/a"), [1], "article number");
    assert_eq!(found(&index, "lmp 002 Desk"), [1], "one with spaces");
    assert_eq!(found(&index, "product-4"), [4], "handle");
    assert_eq!(found(&index, "LMP-001/A lamp"), [1], "article number and word");
}

#[test]
fn stems_find_other_forms_of_a_word() {
    let (_scratch, index) = small_shop();
    assert_eq!(found(&index, "lamps "), [1]);
    assert_eq!(found(&index, "sock "), [2]);
    assert_eq!(found(&index, "runs "), [2]);
    assert_eq!(found(&index, "Haus "), [2], "German, although the request is English");
}

#[test]
fn german_words_are_found_by_their_ends() {
    let german =
        |number, title: &str| ProductDocument { title: BTreeMap::from([("de".to_owned(), title.to_owned())]), ..product(number, "") };
    let titles = ["Kaffeemühle aus Buche", "Weingläser, 6 Stück", "Messer aus Stahl", "Küchentuch", "Glas für Saft", "Kindertisch"];
    let mut products: Vec<_> = (1..).zip(titles).map(|(number, title)| german(number, title)).collect();
    products[5].description.insert("de".to_owned(), "Ein kleiner Tisch.".to_owned());
    let (_scratch, index) = index_of(&products);
    let found = |q: &str| numbers(&index.search(&SearchRequest { lang: "de-AT".to_owned(), ..request(q) }).unwrap());
    assert_eq!(found("Mühle"), [1]);
    assert_eq!(found("Gläser "), [2, 5], "and other forms of the word");
    assert_eq!(found("Glas "), [5, 2], "the word itself first");
    assert_eq!(found("Küchenmesser"), [3], "no other is nearer");
    assert_eq!(found("Bierglas"), [5, 2]);
    assert_eq!(found("Arbeitstisch"), [6], "any table");
    let answer = index.search(&SearchRequest { lang: "de".to_owned(), ..request("mühle") }).unwrap();
    assert_eq!(answer.marks.highlighted("Kaffeemühle aus Buche").as_deref(), Some("<mark>Kaffeemühle</mark> aus Buche"));
    assert_eq!(super::tests::found(&index, "Mühle"), [0; 0], "in German only");
}

#[test]
fn a_typo_is_found_and_corrected() {
    let (_scratch, index) = small_shop();
    let answer = index.search(&request("brss lamp")).unwrap();
    assert_eq!(numbers(&answer), [1]);
    assert_eq!(answer.did_you_mean.as_deref(), Some("brass lamp"));
    let answer = index.search(&request("Wireles  Erphonse!")).unwrap();
    assert_eq!(numbers(&answer), [3]);
    assert_eq!(answer.did_you_mean.as_deref(), Some("wireless  earphones!"));
    assert_eq!(index.search(&request("lamp")).unwrap().did_you_mean, None);
}

#[test]
fn the_last_word_may_be_unfinished() {
    let (_scratch, index) = small_shop();
    assert_eq!(found(&index, "wirel"), [3]);
    assert_eq!(found(&index, "desk org")[0], 4);
    assert_eq!(found(&index, "lum"), [1], "brands too");
    assert_eq!(found(&index, "wirel "), [0; 0], "a space ends the word");
}

#[test]
fn one_word_is_found_as_two_and_two_as_one() {
    let (_scratch, index) = index_of(&[product(1, "Wireless Headset"), product(2, "Mouse Pad"), product(3, "Mouse with a pad of paper")]);
    assert_eq!(found(&index, "head set"), [1]);
    let (_scratch, wireless) = index_of(&[product(1, "Wi-Fi Printer"), product(2, "Wifi Plug"), product(3, "Fi-Wi")]);
    assert_eq!(found(&wireless, "wifi ")[0], 2);
    assert!(found(&wireless, "wifi ").contains(&1));
    let mut hyphenated = found(&wireless, "wi-fi ");
    hyphenated.sort_unstable();
    assert_eq!(hyphenated, [1, 2, 3]);
    let answer = index.search(&request("mousepad ")).unwrap();
    assert_eq!(numbers(&answer)[0], 2, "the words stand together there");
    assert_eq!(answer.did_you_mean.as_deref(), Some("mouse pad"));
}

#[test]
fn a_typo_of_a_frequent_word_is_noticed_though_a_product_has_it_too() {
    let mut products: Vec<_> = (1..=40).map(|number| product(number, "Desk Lamp")).collect();
    products.push(product(41, "Lampp stand"));
    let (_scratch, index) = index_of(&products);
    let answer = index.search(&request("lampp ")).unwrap();
    assert_eq!((numbers(&answer)[0], answer.total), (41, 41));
    assert_eq!(answer.did_you_mean.as_deref(), Some("lamp"));
}

#[test]
fn a_typo_is_read_as_the_more_frequent_word() {
    let mut products: Vec<_> = (1..=9).map(|number| product(number, "Headset")).collect();
    products.push(product(10, "Heads of lettuce"));
    products.extend((11..100).map(|number| product(number, "Desk Lamp")));
    let (_scratch, index) = index_of(&products);
    assert_eq!(found(&index, "headst ").last(), Some(&10));
}

#[test]
fn chinese_is_found_by_any_part_of_a_title() {
    let (_scratch, index) = small_shop();
    assert_eq!(found(&index, "台灯"), [1]);
    assert_eq!(found(&index, "蓝牙耳机"), [3]);
    assert_eq!(found(&index, "耳机 蓝牙"), [3]);
    assert_eq!(found(&index, "灯"), [1]);
    assert_eq!(found(&index, "铜台"), [1], "no word of the dictionary's");
    assert_eq!(found(&index, "手机"), [0; 0]);
    assert_eq!(found(&index, "藍牙耳機"), [3], "traditional characters");
}

#[test]
fn chinese_is_found_by_its_sound() {
    let (_scratch, index) = small_shop();
    assert_eq!(found(&index, "lanya"), [3]);
    assert_eq!(found(&index, "lanyaerji"), [3]);
    assert_eq!(found(&index, "lan ya er ji"), [3]);
    assert_eq!(found(&index, "lyej"), [3], "initials");
    assert_eq!(found(&index, "taideng"), [1]);
    let spoken = |q: &str| numbers(&index.search(&SearchRequest { lang: "zh-CN".to_owned(), ..request(q) }).unwrap());
    assert_eq!((spoken("lan"), spoken("lanyae"), spoken("taiden"), spoken("deng")), (vec![3], vec![3], vec![1], vec![1]), "unfinished");
    assert_eq!(found(&index, "tai2deng1"), [0; 0], "tones aren't typed");
    assert_eq!(found(&index, "抬灯"), [1], "a character of the same sound");
    assert_eq!(found(&index, "而机"), [3]);
    let (_scratch, index) = index_of(&[product(1, "绿茶"), product(2, "音乐盒")]);
    assert_eq!((found(&index, "lvcha"), found(&index, "lucha")), (vec![1], vec![1]));
    assert_eq!(found(&index, "yinyue"), [2], "the reading that the word has");
}

#[test]
fn scripts_without_spaces_are_cut_into_words() {
    let titles = ["東京都のﾜｲﾔﾚｽｲﾔﾎﾝ", "หูฟังไร้สาย", "무선이어폰", "ＵＳＢ－Ｃ Kabel", "वायरलेस हेडफ़ोन", "Беспроводные наушники"];
    let products: Vec<_> = (1..).zip(titles).map(|(number, title)| product(number, title)).collect();
    let (_scratch, index) = index_of(&products);
    assert_eq!(found(&index, "ワイヤレス"), [1], "half width in the title");
    assert_eq!(found(&index, "東京"), [1]);
    assert_eq!(found(&index, "ไร้สาย"), [2]);
    assert_eq!(found(&index, "이어폰"), [3]);
    assert_eq!(found(&index, "usb-c kabel"), [4], "full width in the title");
    assert_eq!(found(&index, "हेडफ़ोन"), [5]);
    assert_eq!(found(&index, "наушники"), [6]);
}

#[test]
fn products_with_all_words_come_before_those_with_some() {
    let (_scratch, index) = small_shop();
    let answer = index.search(&request("desk lamp")).unwrap();
    assert_eq!(numbers(&answer), [1, 4]);
    assert!(answer.relaxed);
    let by_price = SearchRequest { sort: Sort::PriceAsc, ..request("desk lamp") };
    let answer = index.search(&by_price).unwrap();
    assert_eq!(numbers(&answer), [1], "sorted by price, only what was asked for");
    assert!(!answer.relaxed);
    assert_eq!(found(&index, "the desk with an organiser")[0], 4, "stop words don't matter");
    let german = SearchRequest { lang: "de-AT".to_owned(), ..request("die Laufsocken und der Rest") };
    let answer = index.search(&german).unwrap();
    assert_eq!(numbers(&answer), [2]);
    assert_eq!(found(&index, "with "), [3], "but alone they are looked for");
}

#[test]
fn any_text_is_a_valid_query() {
    let (_scratch, index) = small_shop();
    let long = "lamp ".repeat(10_000);
    let odd = ["", "  \t", "\"", "AND OR NOT", "title:(", "+-!{}[]^~*?:\\/", "🎧", "\0", "a\u{301}", &long];
    for q in odd {
        index.search(&request(q)).unwrap();
    }
    assert_eq!(index.search(&request(" ")).unwrap().total, 4, "white space browses");
    assert_eq!(index.search(&request("🎧")).unwrap().total, 0);
    assert_eq!(found(&index, &long), [1]);
}

#[test]
fn what_sells_comes_first_and_what_is_sold_out_last_among_its_like() {
    let (_scratch, index) = index_of(&[product(1, "Rug"), product(2, "Rug"), product(3, "Rug"), product(4, "Lamp")]);
    let rug = |number| Uuid::from_u128(number);
    index.columns().set_stock(rug(1), false);
    index.columns().set_stock(rug(2), true);
    index.columns().set_stock(rug(3), true);
    index.columns().set_popularity(rug(3), 20);
    assert_eq!(found(&index, "rug "), [3, 2, 1]);
    index.columns().set_popularity(rug(4), u32::MAX);
    assert_eq!(found(&index, "rug lamp"), [4, 3, 2, 1], "of those with some of the words, too");
    index.put(&product(5, "Rug lamp")).unwrap();
    index.commit(1, 101).unwrap();
    assert_eq!(found(&index, "rug lamp")[0], 5, "but never before one with all words");
}

#[test]
fn synonyms_are_found_as_well() {
    use domain::merchandising::{Merchandising, MerchandisingEvent, SynonymSet, Synonyms};
    let (_scratch, index) = index_of(&[product(1, "Notebook 15 inch"), product(2, "Laptop sleeve"), product(3, "Television set stand")]);
    let phrases = |of: &[&str]| of.iter().map(|&phrase| phrase.to_owned()).collect();
    let mut state = Merchandising::default();
    for (key, of) in [("laptop", ["laptop", "notebook"]), ("tv", ["tv", "television set"])] {
        let synonyms = Synonyms::TwoWay { phrases: phrases(&of) };
        state.apply(&MerchandisingEvent::SynonymsDefined(SynonymSet { key: key.to_owned(), language: None, synonyms }));
    }
    index.set_merchandising(&state);
    assert_eq!(found(&index, "laptop "), [2, 1], "what was typed comes first");
    assert_eq!(found(&index, "laptop 15 "), [1, 2]);
    assert_eq!(found(&index, "tv stand"), [3]);
    assert_eq!(found(&index, "tv"), [3]);
    let answer = index.search(&request("laptop ")).unwrap();
    assert_eq!(answer.marks.highlighted("Notebook 15 inch").as_deref(), Some("<mark>Notebook</mark> 15 inch"));
}

#[test]
fn price_and_stock_show_without_a_commit() {
    let (_scratch, index) = small_shop();
    let lamp = Uuid::from_u128(1);
    let in_stock = SearchRequest { in_stock: Some(true), ..request("lamp") };
    assert_eq!(index.search(&in_stock).unwrap().total, 0);
    index.columns().set_stock(lamp, true);
    assert_eq!(index.search(&in_stock).unwrap().total, 1);
    index.columns().set_stock(lamp, false);
    assert_eq!(index.search(&in_stock).unwrap().total, 0);

    let cheap = SearchRequest { price_max: Some(1_000), ..request("lamp") };
    index.columns().set_price(lamp, "EUR", Some(1_001));
    assert_eq!(index.search(&cheap).unwrap().total, 0);
    index.columns().set_price(lamp, "EUR", Some(1_000));
    assert_eq!(index.search(&cheap).unwrap().total, 1);
    index.columns().set_price(lamp, "EUR", None);
    assert_eq!(index.search(&cheap).unwrap().total, 0);
}

#[test]
fn what_is_taken_off_sale_is_gone_without_a_commit() {
    let (_scratch, index) = index_of(&[product(1, "Rug"), product(2, "Rug")]);
    let browse = SearchRequest { facets: vec!["category".to_owned()], ..request("") };
    assert_eq!(index.search(&browse).unwrap().total, 2);
    index.columns().set_published(Uuid::from_u128(2), false);
    assert_eq!((found(&index, "rug"), index.search(&browse).unwrap().total), (vec![1], 1));
    index.columns().set_published(Uuid::from_u128(2), true);
    assert_eq!(found(&index, "rug"), [1, 2]);
}

#[test]
fn facets_that_are_kept_are_right_after_a_withdrawal_and_a_commit() {
    let of_brand = |number| ProductDocument { brand: Some("Alder".to_owned()), ..product(number, "Rug") };
    let (_scratch, index) = index_of(&[of_brand(1), of_brand(2)]);
    let browse = SearchRequest { facets: vec!["brand".to_owned()], ..request("") };
    let count = || index.search(&browse).unwrap().facets["brand"].first().map_or(0, |counted| counted.count);
    assert_eq!((count(), count()), (2, 2));
    index.columns().set_published(Uuid::from_u128(2), false);
    assert_eq!((count(), count()), (1, 1));
    index.put(&of_brand(3)).unwrap();
    index.commit(1, 101).unwrap();
    assert_eq!((count(), count()), (2, 2));
}

#[test]
fn a_product_is_replaced_and_removed() {
    let (_scratch, index) = small_shop();
    index.put(&product(4, "Pencil Tray")).unwrap();
    index.remove(Uuid::from_u128(3));
    assert_eq!(found(&index, "organiser"), [4], "not before the commit");
    index.commit(1, 101).unwrap();
    assert_eq!(found(&index, "organiser"), [0; 0]);
    assert_eq!(found(&index, "pencil"), [4]);
    assert_eq!(found(&index, "earphones"), [0; 0]);
    assert_eq!(index.product_count(), 3);
}

#[test]
fn reopening_keeps_position_and_products() {
    let scratch = Scratch::new();
    let index = SearchIndex::open(scratch.path()).unwrap();
    assert_eq!(index.position(), (0, 0));
    index.put(&product(1, "Kettle")).unwrap();
    index.commit(2, 77).unwrap();
    index.put(&product(2, "Lost Kettle")).unwrap();
    drop(index);

    let index = SearchIndex::open(scratch.path()).unwrap();
    assert_eq!(index.position(), (2, 77));
    let answer = index.search(&request("kettle")).unwrap();
    assert_eq!(numbers(&answer), [1], "what was not committed is put again by its events");
    assert_eq!(answer.position, (2, 77));
    index.commit(2, 78).unwrap();
    drop(index);
    assert_eq!(SearchIndex::open(scratch.path()).unwrap().position(), (2, 78));
}

#[test]
fn an_index_of_another_format_answers_until_the_new_one_is_as_far() {
    let scratch = Scratch::new();
    let index = SearchIndex::open(scratch.path()).unwrap();
    index.put(&product(1, "Kettle")).unwrap();
    index.commit(2, 77).unwrap();
    let (own, older) = (scratch.path().join(&index.format), scratch.path().join("older"));
    drop(index);
    std::fs::rename(&own, &older).unwrap();

    let index = SearchIndex::open(scratch.path()).unwrap();
    assert_eq!((index.built(), index.position(), index.product_count()), ((0, 0), (2, 77), 1));
    index.put(&product(2, "Kettle, too")).unwrap();
    index.commit(2, 50).unwrap();
    assert_eq!((index.built(), found(&index, "kettle ")), ((2, 50), vec![1]), "it is not as far");
    drop(index);
    let index = SearchIndex::open(scratch.path()).unwrap();
    assert_eq!((index.built(), index.position(), found(&index, "kettle ")), ((2, 50), (2, 77), vec![1]), "nor after a restart");
    index.reached(2, 77).unwrap();
    assert_eq!((index.position(), found(&index, "kettle ")), ((2, 77), vec![2]));
    assert!(!older.exists());
    drop(index);

    std::fs::write(own.join("meta.json"), "torn").unwrap();
    assert_eq!(SearchIndex::open(scratch.path()).unwrap().position(), (0, 0));
}

#[test]
fn an_index_of_a_version_that_read_no_compounds_answers_meanwhile() {
    let scratch = Scratch::new();
    let index = SearchIndex::open(scratch.path()).unwrap();
    index.put(&product(1, "Kettle")).unwrap();
    index.commit(2, 77).unwrap();
    let (own, older) = (scratch.path().join(&index.format), scratch.path().join("older"));
    drop(index);
    std::fs::rename(&own, &older).unwrap();
    let meta = std::fs::read_to_string(older.join("meta.json")).unwrap();
    assert!(meta.contains("\"endings\""));
    std::fs::write(older.join("meta.json"), meta.replace("\"endings\"", "\"others\"")).unwrap();

    let index = SearchIndex::open(scratch.path()).unwrap();
    assert_eq!((index.built(), index.position()), ((0, 0), (2, 77)));
    let request = SearchRequest { lang: "de".to_owned(), ..request("kettle Mühle") };
    assert_eq!(numbers(&index.search(&request).unwrap()), [1]);
}

#[test]
fn an_empty_index_answers() {
    let scratch = Scratch::new();
    let index = SearchIndex::open(scratch.path()).unwrap();
    let request =
        SearchRequest { brands: vec!["Alder".to_owned()], facets: vec!["brand".to_owned(), "price".to_owned()], ..request("lamp") };
    let answer = index.search(&request).unwrap();
    assert_eq!((answer.total, answer.next_cursor), (0, None));
    let nothing = |facet: &str| (facet.to_owned(), Vec::new());
    assert_eq!(answer.facets, [nothing("brand"), nothing("price")].into());
}

#[test]
fn a_foreign_cursor_is_refused() {
    let (_scratch, index) = small_shop();
    for cursor in ["", "r", "rubbish", &"é".repeat(30), &format!("p{:048}", 0)] {
        let request = SearchRequest { cursor: Some(cursor.to_owned()), ..request("lamp") };
        assert!(matches!(index.search(&request), Err(SearchError::Cursor)));
    }
}

#[test]
fn price_ranges_start_at_round_prices_and_share_the_hits() {
    let products: Vec<_> = (1..=100).map(|number| product(number, "Rug")).collect();
    let (_scratch, index) = index_of(&products);
    let with_prices = SearchRequest { facets: vec!["price".to_owned()], ..request("rug") };
    let ranges = || {
        let answer = index.search(&with_prices).unwrap();
        answer.facets["price"].clone()
    };
    assert_eq!(ranges(), [], "nothing has a price");
    for number in 1..=100 {
        let amount = i64::try_from(number * 137).unwrap();
        let product_id = Uuid::from_u128(number);
        index.columns().set_price(product_id, "EUR", Some(amount));
    }
    let shown: Vec<_> = ranges().into_iter().map(|range| (range.value, range.count)).collect();
    let expected = [("137-2799", 20), ("2800-5499", 20), ("5500-8299", 20), ("8300-10999", 20), ("11000-13700", 20)];
    assert_eq!(shown, expected.map(|(value, count)| (value.to_owned(), count)));
    for number in 1..=100 {
        let product_id = Uuid::from_u128(number);
        index.columns().set_price(product_id, "EUR", Some(999));
    }
    let all = FacetCount { value: "999-999".to_owned(), count: 100 };
    assert_eq!(ranges(), [all]);
}

#[test]
fn a_product_added_meanwhile_moves_no_other_between_pages() {
    let (_scratch, index) = index_of(&[product(2, "Rug"), product(4, "Rug"), product(6, "Rug")]);
    for number in [2, 4, 6] {
        index.columns().set_price(Uuid::from_u128(number), "EUR", Some(500));
    }
    let mut request = SearchRequest { sort: Sort::PriceAsc, limit: 2, ..request("rug") };
    let first = index.search(&request).unwrap();
    assert_eq!(numbers(&first), [2, 4]);
    index.columns().set_price(Uuid::from_u128(1), "EUR", Some(1));
    index.put(&product(1, "Rug")).unwrap();
    index.commit(1, 101).unwrap();
    request.cursor = first.next_cursor;
    let second = index.search(&request).unwrap();
    assert_eq!((numbers(&second), second.total), (vec![6], 4));
    assert_eq!(second.next_cursor, None);
}
