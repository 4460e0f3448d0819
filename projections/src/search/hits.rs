//! The hits of a query in their order, page by page.
//!
//! A hit's [`Rank`] is its sort key and, between equal keys, its product id. A page starts after the
//! rank that the last one ended with: no page is too deep, and a product that is added meanwhile moves
//! no other one from page to page. What is pinned stands outside of this order, at its place among all that is shown; so a
//! cursor also says how much was shown.

use std::{cmp::Reverse, collections::BinaryHeap, sync::Arc};

use serde::{Deserialize, Serialize};
use tantivy::{
    DocAddress, DocId, Score, SegmentReader,
    collector::{Collector, SegmentCollector},
    columnar::Column,
};
use uuid::Uuid;

use super::{
    SearchError, View,
    columns::Facts,
    facets::{Facet, SegmentTally, Tally},
    rules::{Curation, SegmentCuration},
    schema,
};

/// Above any score of a text.
const LIFT: f64 = 100_000.0;
/// How much demand lifts: ten units sold by 24 %, a thousand by 69 %.
const DEMAND: f64 = 0.1;
/// What is sold out is still found, by who looks for just that.
const OUT_OF_STOCK: f64 = 0.6;

/// Equal hits come in the order of their ids, which is that of their creation.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Sort {
    /// Without a text to be relevant to, as [`Sort::Popular`].
    #[default]
    Relevance,
    /// Products without a price in the currency come last.
    PriceAsc,
    /// Products without a price in the currency come last.
    PriceDesc,
    Newest,
    Popular,
}

impl Sort {
    fn letter(self) -> char {
        match self {
            Self::Relevance => 'r',
            Self::PriceAsc => 'a',
            Self::PriceDesc => 'd',
            Self::Newest => 'n',
            Self::Popular => 'p',
        }
    }
}

/// The place of a hit: the greater one comes first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Rank {
    key: u64,
    product_id: Reverse<Uuid>,
}

impl Rank {
    pub(super) fn product_id(&self) -> Uuid {
        self.product_id.0
    }
}

/// Where a page begins.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Cursor {
    /// After this one; at the first if nothing but pinned products was shown.
    pub(super) after: Option<Rank>,
    /// Hits on all pages before, pinned ones too.
    pub(super) shown: usize,
}

impl Cursor {
    pub(super) fn to_text(self, sort: Sort) -> String {
        let after = self.after.map(|rank| format!("{:016x}{}", rank.key, rank.product_id().simple()));
        format!("{}{}.{}", sort.letter(), after.unwrap_or_default(), self.shown)
    }

    pub(super) fn parse(sort: Sort, text: &str) -> Result<Self, SearchError> {
        let parse = || {
            let (after, shown) = text.strip_prefix(sort.letter())?.split_once('.')?;
            let rank = || {
                let (key, product_id) = after.split_at_checked(16)?;
                Some(Rank { key: u64::from_str_radix(key, 16).ok()?, product_id: Reverse(Uuid::try_parse(product_id).ok()?) })
            };
            let after = if after.is_empty() { None } else { Some(rank()?) };
            Some(Self { after, shown: shown.parse().ok()? })
        };
        parse().ok_or(SearchError::Cursor)
    }
}

/// Conditions on the columns; they're checked where hits are collected, because the index doesn't know.
#[derive(Clone, Copy, Default)]
pub(super) struct FactFilter {
    pub(super) price_min: Option<i64>,
    pub(super) price_max: Option<i64>,
    pub(super) in_stock: Option<bool>,
}

impl FactFilter {
    fn accepts(self, slot: u32, facts: &Facts) -> bool {
        if !facts.published(slot) {
            return false;
        }
        if self.price_min.is_some() || self.price_max.is_some() {
            let Some(price) = facts.price(slot) else {
                return false;
            };
            if self.price_min.is_some_and(|min| price < min) || self.price_max.is_some_and(|max| price > max) {
                return false;
            }
        }
        self.in_stock.is_none_or(|in_stock| in_stock == facts.in_stock(slot))
    }
}

/// Which hits are wanted.
#[derive(Clone, Copy)]
pub(super) struct Page {
    pub(super) sort: Sort,
    pub(super) from: Cursor,
    pub(super) limit: usize,
}

/// One walk over the matches of a query: counts them, keeps the best, tallies facets.
pub(super) struct Pass<'a> {
    pub(super) view: &'a View,
    pub(super) facts: &'a Facts,
    pub(super) filter: FactFilter,
    pub(super) curation: &'a Arc<Curation>,
    /// Products that come before all others, whatever their score.
    pub(super) lifted: &'a [DocAddress],
    /// `None` when only facets are wanted.
    pub(super) page: Option<Page>,
    pub(super) facets: Vec<&'a Facet>,
}

#[derive(Default)]
pub(super) struct PassAnswer {
    pub(super) total: usize,
    /// The page's hits, the first one first; as many as if nothing were pinned.
    pub(super) ranks: Vec<Rank>,
    /// Hits of this page and all later ones, without pinned ones.
    pub(super) remaining: usize,
    /// Those pinned products that are hits, with the places that they are pinned at.
    pub(super) pinned: Vec<(usize, Uuid)>,
    /// In the order of the facets asked for.
    pub(super) tallies: Vec<Tally>,
}

impl PassAnswer {
    /// The page's products, and where the next one begins. A place beyond the last hit moves up behind it.
    pub(super) fn place(&self, page: Page) -> (Vec<Uuid>, Option<Cursor>) {
        let unpinned = self.total - self.pinned.len();
        let places = self.pinned.iter().zip(1..).map(|(&(position, product_id), nth)| (position.min(unpinned + nth), product_id));
        let mut pins = places.skip_while(|(place, _)| *place <= page.from.shown).peekable();
        let mut ranks = self.ranks.iter();
        let mut next = page.from;
        let mut product_ids = Vec::with_capacity(page.limit);
        while product_ids.len() < page.limit {
            let place = page.from.shown + product_ids.len() + 1;
            if let Some((_, product_id)) = pins.next_if(|pin| pin.0 <= place) {
                product_ids.push(product_id);
            } else if let Some(rank) = ranks.next() {
                next.after = Some(*rank);
                product_ids.push(rank.product_id());
            } else {
                break;
            }
        }
        next.shown += product_ids.len();
        let used = self.ranks.len() - ranks.len();
        let is_more = self.remaining > used || pins.next().is_some();
        (product_ids, is_more.then_some(next))
    }
}

impl Collector for Pass<'_> {
    type Fruit = PassAnswer;
    type Child = SegmentPass;

    fn for_segment(&self, ordinal: u32, segment: &SegmentReader) -> tantivy::Result<SegmentPass> {
        let (product_ids, slots) = self.view.products_of(segment);
        let page = match self.page {
            Some(page) => Some(SegmentPage {
                key: SegmentKey::of(page.sort, segment)?,
                product_ids,
                page,
                lifted: self.lifted.iter().filter(|lifted| lifted.segment_ord == ordinal).map(|lifted| lifted.doc_id).collect(),
                best: BinaryHeap::with_capacity(page.limit + 1),
                remaining: 0,
            }),
            None => None,
        };
        let tallies = self.facets.iter();
        Ok(SegmentPass {
            slots,
            facts: self.facts.clone(),
            filter: self.filter,
            curated: self.curation.for_segment(segment)?,
            total: 0,
            page,
            pinned: Vec::new(),
            tallies: tallies.map(|facet| SegmentTally::of(facet, segment, self.view)).collect::<Result<_, _>>()?,
        })
    }

    fn requires_scoring(&self) -> bool {
        self.page.is_some_and(|page| page.sort == Sort::Relevance)
    }

    fn merge_fruits(&self, segments: Vec<PassAnswer>) -> tantivy::Result<PassAnswer> {
        let mut answer = PassAnswer::default();
        for segment in segments {
            answer.total += segment.total;
            answer.remaining += segment.remaining;
            answer.ranks.extend(segment.ranks);
            answer.pinned.extend(segment.pinned);
            if answer.tallies.is_empty() {
                answer.tallies = segment.tallies;
            } else {
                for (tally, other) in answer.tallies.iter_mut().zip(segment.tallies) {
                    tally.merge(other);
                }
            }
        }
        answer.ranks.sort_unstable_by_key(|&rank| Reverse(rank));
        answer.ranks.truncate(self.page.map_or(0, |page| page.limit));
        answer.pinned.sort_unstable();
        Ok(answer)
    }
}

pub(super) struct SegmentPass {
    slots: Arc<[u32]>,
    facts: Facts,
    filter: FactFilter,
    curated: Option<SegmentCuration>,
    total: usize,
    page: Option<SegmentPage>,
    pinned: Vec<(usize, Uuid)>,
    tallies: Vec<SegmentTally>,
}

impl SegmentCollector for SegmentPass {
    type Fruit = PassAnswer;

    fn collect(&mut self, document: DocId, score: Score) {
        let slot = usize::try_from(document).ok().and_then(|document| self.slots.get(document));
        let Some(&slot) = slot else {
            return;
        };
        let curated = self.curated.as_ref();
        if curated.is_some_and(|curated| curated.is_hidden(slot)) || !self.filter.accepts(slot, &self.facts) {
            return;
        }
        self.total += 1;
        for tally in &mut self.tallies {
            tally.add(document, slot, &self.facts);
        }
        if let Some(page) = &mut self.page {
            match curated.and_then(|curated| curated.pin(slot)) {
                Some(pin) => self.pinned.push(pin),
                None => page.offer(document, score, slot, &self.facts, curated.and_then(|curated| curated.factor(document, slot))),
            }
        }
    }

    fn harvest(self) -> PassAnswer {
        let tallies = self.tallies.into_iter().map(SegmentTally::harvest).collect();
        let (ranks, remaining) = match self.page {
            Some(page) => (page.best.into_iter().map(|rank| rank.0).collect(), page.remaining),
            None => (Vec::new(), 0),
        };
        PassAnswer { total: self.total, ranks, remaining, pinned: self.pinned, tallies }
    }
}

/// The best hits of one segment.
struct SegmentPage {
    key: SegmentKey,
    product_ids: Arc<[Uuid]>,
    page: Page,
    lifted: Vec<DocId>,
    /// The worst of the best on top.
    best: BinaryHeap<Reverse<Rank>>,
    remaining: usize,
}

impl SegmentPage {
    fn offer(&mut self, document: DocId, score: Score, slot: u32, facts: &Facts, factor: Option<f32>) {
        let score = f64::from(score) + if self.lifted.contains(&document) { LIFT } else { 0.0 };
        let key = match factor {
            None => self.key.get(document, score, slot, facts),
            Some(factor) => self.key.boosted(document, score, slot, facts, factor),
        };
        let product_id = || usize::try_from(document).ok().and_then(|document| self.product_ids.get(document)).copied();
        let rank = || Rank { key, product_id: Reverse(product_id().unwrap_or_default()) };
        if let Some(after) = self.page.from.after
            && (key > after.key || (key == after.key && rank() >= after))
        {
            return;
        }
        self.remaining += 1;
        if self.best.len() < self.page.limit {
            let rank = rank();
            self.best.push(Reverse(rank));
        } else if let Some(Reverse(worst)) = self.best.peek()
            && key >= worst.key
        {
            let rank = rank();
            if rank > *worst {
                self.best.pop();
                self.best.push(Reverse(rank));
            }
        }
    }
}

/// What a sort compares, as a number of which the greater comes first.
enum SegmentKey {
    Score,
    PriceAsc,
    PriceDesc,
    CreatedAt(Column<i64>),
    Popularity,
}

impl SegmentKey {
    fn of(sort: Sort, segment: &SegmentReader) -> tantivy::Result<Self> {
        Ok(match sort {
            Sort::Relevance => Self::Score,
            Sort::PriceAsc => Self::PriceAsc,
            Sort::PriceDesc => Self::PriceDesc,
            Sort::Newest => Self::CreatedAt(segment.fast_fields().i64(schema::CREATED_AT_US)?),
            Sort::Popular => Self::Popularity,
        })
    }

    fn get(&self, document: DocId, score: f64, slot: u32, facts: &Facts) -> u64 {
        match self {
            Self::Score => relevance(score, 1.0, slot, facts),
            Self::PriceAsc => facts.price(slot).map_or(0, |price| u64::MAX - tantivy::i64_to_u64(price)),
            Self::PriceDesc => facts.price(slot).map_or(0, tantivy::i64_to_u64),
            Self::CreatedAt(column) => column.first(document).map_or(0, tantivy::i64_to_u64),
            Self::Popularity => tantivy::i64_to_u64(facts.popularity(slot)),
        }
    }

    /// As [`Self::get`] where something is boosted: then all hits of a search have such keys. One that nobody has bought yet
    /// can be lifted, too.
    fn boosted(&self, document: DocId, score: f64, slot: u32, facts: &Facts, factor: f32) -> u64 {
        match self {
            Self::Score => relevance(score, factor, slot, facts),
            Self::Popularity => {
                let bought = u32::try_from(facts.popularity(slot).max(0)).unwrap_or(u32::MAX);
                (f64::from(factor) * (f64::from(bought) + 1.0)).to_bits()
            }
            Self::PriceAsc | Self::PriceDesc | Self::CreatedAt(_) => self.get(document, score, slot, facts),
        }
    }
}

/// How well the text matches, more where the product sells and less where there is none, as a number to compare. No factor lifts a
/// product with some of the words over one with all.
fn relevance(score: f64, factor: f32, slot: u32, facts: &Facts) -> u64 {
    let (tier, text) = if score >= LIFT { (LIFT, score - LIFT) } else { (0.0, score) };
    let sold = u32::try_from(facts.popularity(slot).max(0)).unwrap_or(u32::MAX);
    let demand = 1.0 + DEMAND * f64::from(sold).ln_1p();
    let supply = if facts.in_stock(slot) { 1.0 } else { OUT_OF_STOCK };
    let relevance = tier + text * f64::from(factor) * demand * supply;
    // The bits of floats that aren't negative are in the order of the floats.
    relevance.max(0.0).to_bits()
}
