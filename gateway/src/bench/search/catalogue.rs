//! The generated catalogue: the same products for the same numbers, on every machine.
//!
//! Words are syllables, 120,000 of them, taken by Zipf's law with exponent 1.05. A title has four to seven words, none of the
//! hundred commonest: nobody names goods "the". A tenth has a Chinese title beside the English one. A description has 40 words
//! of any rank. A product has one variant with a sku and a price, one of 2,000 brands (by Zipf's law too), ten attributes of few
//! values each, and lies in one of 3,000 categories of the third level (15 × 10 × 20). A tenth is sold out.

use std::sync::Arc;

use commands::catalog::{self, PutProduct, VariantStock};
use domain::catalog::{Attribute, CategoryFacts, Price, ProductDraft, Text, Variant};
use domain::id::{ProductId, VariantId};
use domain::inventory::StockPolicy;
use domain::money::{Currency, Money};
use projections::search::ProductDocument;

/// Another seed is another catalogue.
const SEED: u64 = 0x6461_7962_6f6f_6b21;
const VOCABULARY: usize = 120_000;
const ZIPF_EXPONENT: f64 = 1.05;
/// Ranks of words that stand in no title.
const TITLE_RANKS_MIN: usize = 100;
const DESCRIPTION_WORDS: usize = 40;
const BRANDS: usize = 2_000;
/// Categories of the three levels below each other.
const CATEGORIES: [usize; 3] = [15, 10, 20];
/// One in so many has a Chinese title; one in so many is sold out.
const CHINESE: u64 = 10;
const SOLD_OUT: u64 = 10;
/// Prices in minor units: from the lowest up to about a hundred thousand, low ones more often.
const PRICE_MIN: i64 = 199;
/// Keys, and how many values each has.
pub const ATTRIBUTES: [(&str, usize); 10] = [
    ("colour", 12),
    ("size", 8),
    ("material", 10),
    ("style", 6),
    ("season", 4),
    ("fit", 3),
    ("pattern", 8),
    ("origin", 20),
    ("finish", 5),
    ("class", 7),
];
const CONSONANTS: &[u8; 20] = b"bcdfghjklmnpqrstvwxz";
const VOWELS: &[u8; 5] = b"aeiou";
/// Ends of words, so that they differ in length.
const ENDS: [&str; 8] = ["", "n", "r", "s", "l", "ta", "ner", "ling"];
const CHINESE_KINDS: [&str; 24] = [
    "手机",
    "电脑",
    "键盘",
    "鼠标",
    "耳机",
    "相机",
    "台灯",
    "沙发",
    "书桌",
    "椅子",
    "衬衫",
    "外套",
    "皮鞋",
    "背包",
    "手表",
    "茶壶",
    "咖啡机",
    "电饭锅",
    "冰箱",
    "风扇",
    "毛巾",
    "雨伞",
    "玩具",
    "自行车",
];
const CHINESE_LOOKS: [&str; 12] = ["红色", "蓝色", "黑色", "白色", "木制", "便携", "无线", "家用", "儿童", "复古", "轻便", "防水"];

/// The vocabulary and the categories; products are made from their numbers.
pub struct Catalogue {
    currency: Currency,
    words: Vec<String>,
    /// How likely a word of this rank or a commoner one is.
    cumulative: Vec<f64>,
    categories: Vec<CategoryFacts>,
}

/// What a product is generated from.
struct Facts<'c> {
    handle: String,
    sku: String,
    title: Vec<&'c str>,
    chinese: Option<String>,
    description: String,
    brand: String,
    category: usize,
    attributes: Vec<(&'static str, &'c str)>,
    price: i64,
    units: u32,
}

impl Catalogue {
    pub fn new() -> anyhow::Result<Arc<Self>> {
        let mut sum = 0.0;
        let mut cumulative = Vec::with_capacity(VOCABULARY);
        for rank in 1..=u32::try_from(VOCABULARY)? {
            sum += f64::from(rank).powf(-ZIPF_EXPONENT);
            cumulative.push(sum);
        }
        for below in &mut cumulative {
            *below /= sum;
        }
        let words: Vec<String> = (0..VOCABULARY).map(word).collect();
        let categories = categories(&words);
        Ok(Arc::new(Self { currency: "EUR".parse()?, words, cumulative, categories }))
    }

    /// Parents before their children.
    pub fn categories(&self) -> &[CategoryFacts] {
        &self.categories
    }

    pub fn product_id(number: u64) -> ProductId {
        catalog::product_id(&handle(number))
    }

    pub fn variant_id(number: u64) -> VariantId {
        catalog::variant_id(Self::product_id(number), Some(&Self::sku(number)), &[])
    }

    pub fn sku(number: u64) -> String {
        format!("B{number:07}")
    }

    /// Words of its title: what shoppers search for.
    pub fn title_words(&self, number: u64) -> Vec<&str> {
        self.facts(number).title
    }

    /// A product's price in minor units.
    pub fn amount(&self, number: u64) -> i64 {
        self.facts(number).price
    }

    pub fn is_in_stock(&self, number: u64) -> bool {
        self.facts(number).units > 0
    }

    /// A word that many Chinese titles have.
    pub fn chinese_word(number: u64) -> &'static str {
        Random::of(number, "query").pick(&CHINESE_KINDS)
    }

    /// The price of a variant.
    pub fn price(&self, amount: i64) -> anyhow::Result<Price> {
        Ok(Price {
            price_list_id: catalog::price_list_id(self.currency),
            price: Money::new(amount, self.currency)?,
            compare_at: None,
            includes_tax: true,
            min_quantity: 1,
            valid_from: None,
            valid_until: None,
        })
    }

    /// A product as an import puts it.
    pub fn product(&self, number: u64) -> anyhow::Result<PutProduct> {
        let facts = self.facts(number);
        let (product_id, variant_id) = (Self::product_id(number), Self::variant_id(number));
        let variant = Variant {
            variant_id,
            sku: Some(facts.sku),
            requires_shipping: true,
            track_stock: true,
            weight_g: Some(500),
            prices: vec![self.price(facts.price)?],
            ..Variant::default()
        };
        let attribute =
            |&(key, value): &(&str, &str)| Attribute { key: key.to_owned(), kind: "text".to_owned(), value: value.to_owned(), unit: None };
        let draft = ProductDraft {
            product_id,
            handle: facts.handle,
            title: title(&facts.title, facts.chinese),
            description: Text::from([("en".to_owned(), facts.description)]),
            brand: facts.brand,
            kind: String::new(),
            tags: vec![],
            options: vec![],
            attributes: facts.attributes.iter().map(attribute).collect(),
            category_ids: vec![self.categories[facts.category].category_id],
            tax_category: "standard".to_owned(),
            media: vec![],
            variants: vec![variant],
            published: true,
            source: None,
        };
        let stock = VariantStock {
            variant_id,
            policy: StockPolicy::Deny,
            quantity: (facts.units > 0).then_some(facts.units),
            low_stock_threshold: None,
            located: Vec::new(),
        };
        Ok(PutProduct { draft, stock: vec![stock], overwrite_stock: false, known: false, kept: Arc::default() })
    }

    /// What the index has of a product.
    pub fn document(&self, number: u64) -> ProductDocument {
        let facts = self.facts(number);
        let mut categories = vec![self.categories[facts.category].handle.clone()];
        while let Some((parent, _)) =
            categories.last().and_then(|handle| handle.rsplit_once('-')).filter(|(parent, _)| parent.contains('-'))
        {
            categories.push(parent.to_owned());
        }
        ProductDocument {
            product_id: Self::product_id(number).uuid(),
            handle: facts.handle,
            title: title(&facts.title, facts.chinese),
            description: [("en".to_owned(), facts.description)].into(),
            brand: Some(facts.brand),
            kind: None,
            tags: vec![],
            categories,
            attributes: facts.attributes.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect(),
            skus: vec![facts.sku],
            created_at_us: i64::try_from(number).unwrap_or(i64::MAX),
        }
    }

    fn facts(&self, number: u64) -> Facts<'_> {
        let mut random = Random::of(number, "product");
        let words = 4 + random.below(4);
        let title = (0..words).map(|_| self.words[self.rank(&mut random, TITLE_RANKS_MIN)].as_str()).collect();
        let chinese = (random.below(CHINESE) == 0).then(|| {
            let [first, second] = [(); 2].map(|()| random.pick(&CHINESE_LOOKS));
            format!("{first}{second}{}", random.pick(&CHINESE_KINDS))
        });
        let description: Vec<&str> = (0..DESCRIPTION_WORDS).map(|_| self.words[self.rank(&mut random, 0)].as_str()).collect();
        let brand = capitalised(&self.words[VOCABULARY / 2 + self.rank(&mut random, 0) % BRANDS]);
        let leaves = CATEGORIES.iter().product::<usize>();
        let category = self.categories.len() - 1 - random.index(leaves);
        let attributes = ATTRIBUTES.iter().enumerate().map(|(place, (key, values))| (*key, self.value(place, random.index(*values))));
        let attributes = attributes.collect();
        let price = PRICE_MIN + i64::try_from(random.below(1_000) * (1 + random.below(100))).unwrap_or(0);
        let units = if random.below(SOLD_OUT) == 0 { 0 } else { 1 + u32::try_from(random.below(200)).unwrap_or(0) };
        Facts {
            handle: handle(number),
            sku: Self::sku(number),
            title,
            chinese,
            description: description.join(" "),
            brand,
            category,
            attributes,
            price,
            units,
        }
    }

    /// The rank of a word, by Zipf's law, that is at least `min`.
    fn rank(&self, random: &mut Random, min: usize) -> usize {
        let skipped = min.checked_sub(1).map_or(0.0, |last| self.cumulative[last]);
        let at = skipped + random.unit() * (1.0 - skipped);
        self.cumulative.partition_point(|below| *below < at).clamp(min, VOCABULARY - 1)
    }

    /// A value of the attribute at this place of the list.
    fn value(&self, place: usize, value: usize) -> &str {
        &self.words[1_000 + place * 50 + value]
    }
}

fn handle(number: u64) -> String {
    format!("product-{number}")
}

fn title(words: &[&str], chinese: Option<String>) -> Text {
    let english = ("en".to_owned(), capitalised(&words.join(" ")));
    [english].into_iter().chain(chinese.map(|title| ("zh".to_owned(), title))).collect()
}

/// Handles name the way down: `c-3`, `c-3-7`, `c-3-7-12`.
fn categories(words: &[String]) -> Vec<CategoryFacts> {
    let mut all = Vec::new();
    let mut above: Vec<Option<String>> = vec![None];
    for (level, count) in CATEGORIES.into_iter().enumerate() {
        let mut here = Vec::with_capacity(above.len() * count);
        for parent in &above {
            for position in 0..count {
                let handle = format!("{}-{position}", parent.as_deref().unwrap_or("c"));
                let name = capitalised(&words[2_000 + level * 10_000 + here.len()]);
                all.push(CategoryFacts {
                    category_id: catalog::category_id(&handle),
                    handle: handle.clone(),
                    title: Text::from([("en".to_owned(), name)]),
                    parent_id: parent.as_deref().map(catalog::category_id),
                    position: u32::try_from(position).unwrap_or(0),
                });
                here.push(Some(handle));
            }
        }
        above = here;
    }
    all
}

/// The word of a rank: three syllables and an end. Different ranks have different syllables.
fn word(rank: usize) -> String {
    // A prime that shares no factor with the vocabulary: neighbours in rank are no neighbours in spelling.
    let mut rest = rank * 7_919 % VOCABULARY;
    let mut word = String::new();
    for _ in 0..3 {
        let syllable = rest % 100;
        word.push(char::from(CONSONANTS[syllable / VOWELS.len()]));
        word.push(char::from(VOWELS[syllable % VOWELS.len()]));
        rest /= 100;
    }
    word + ENDS[rank % ENDS.len()]
}

fn capitalised(text: &str) -> String {
    let mut letters = text.chars();
    letters.next().map(|first| first.to_uppercase().chain(letters).collect()).unwrap_or_default()
}

/// `SplitMix64`: small, and the same everywhere.
pub struct Random(u64);

impl Random {
    /// The numbers of one thing; `what` keeps different uses of the same number apart.
    pub fn of(number: u64, what: &str) -> Self {
        let start = what.bytes().fold(SEED ^ number, |state, byte| state.wrapping_mul(0x0100_0000_01b3) ^ u64::from(byte));
        let mut random = Self(start);
        random.next();
        random
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// From 0 up to `end`, which is not reached.
    pub fn below(&mut self, end: u64) -> u64 {
        self.next() % end
    }

    pub fn index(&mut self, length: usize) -> usize {
        usize::try_from(self.below(length as u64)).unwrap_or(0)
    }

    pub fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.index(from.len())]
    }

    /// From 0 up to 1.
    fn unit(&mut self) -> f64 {
        f64::from(u32::try_from(self.next() >> 32).unwrap_or(0)) / (f64::from(u32::MAX) + 1.0)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn every_rank_has_a_word_of_its_own() {
        let words: HashSet<String> = (0..VOCABULARY).map(word).collect();
        assert_eq!(words.len(), VOCABULARY);
    }

    #[test]
    fn a_product_is_the_same_each_time_and_its_document_is_of_it() {
        let [catalogue, again] = [(); 2].map(|()| Catalogue::new().unwrap());
        for number in [0, 1, 19_405] {
            let put = catalogue.product(number).unwrap();
            assert_eq!(put.draft, again.product(number).unwrap().draft);
            let document = catalogue.document(number);
            assert_eq!((document.product_id, &document.title), (put.draft.product_id.uuid(), &put.draft.title));
            let leaf = catalogue.categories().iter().find(|c| c.category_id == put.draft.category_ids[0]).unwrap();
            let root = leaf.handle.split('-').take(2).collect::<Vec<_>>().join("-");
            assert_eq!((&document.categories[0], &document.categories[2], document.categories.len()), (&leaf.handle, &root, 3));
        }
    }

    #[test]
    fn there_are_three_thousand_leaves_below_parents_that_come_first() {
        let catalogue = Catalogue::new().unwrap();
        let mut known = HashSet::new();
        for category in catalogue.categories() {
            assert!(category.parent_id.is_none_or(|parent| known.contains(&parent)), "{}", category.handle);
            assert!(known.insert(category.category_id));
        }
        assert_eq!(known.len(), 15 + 150 + 3_000);
    }
}
