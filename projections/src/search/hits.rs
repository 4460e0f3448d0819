//! The hits of a query in their order, page by page.
//!
//! A hit's [`Rank`] is its sort key and, between equal keys, its product id. A page starts after the
//! rank that the last one ended with: no page is too deep, and a product that is added meanwhile moves
//! no other one from page to page.

use std::{cmp::Reverse, collections::BinaryHeap, sync::Arc};

use serde::{Deserialize, Serialize};
use tantivy::{
    DocId, Score, SegmentReader,
    collector::{Collector, SegmentCollector},
    columnar::Column,
};
use uuid::Uuid;

use super::{
    SearchError, View,
    columns::Facts,
    facets::{Facet, SegmentTally, Tally},
    schema::{self, ProductIds},
};

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

    pub(super) fn to_cursor(self, sort: Sort) -> String {
        format!("{}{:016x}{}", sort.letter(), self.key, self.product_id().simple())
    }

    pub(super) fn from_cursor(sort: Sort, cursor: &str) -> Result<Self, SearchError> {
        let parse = || {
            let rest = cursor.strip_prefix(sort.letter())?;
            let (key, product_id) = rest.split_at_checked(16)?;
            Some(Self { key: u64::from_str_radix(key, 16).ok()?, product_id: Reverse(Uuid::try_parse(product_id).ok()?) })
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
    pub(super) after: Option<Rank>,
    pub(super) limit: usize,
}

/// One walk over the matches of a query: counts them, keeps the best, tallies facets.
pub(super) struct Pass<'a> {
    pub(super) view: &'a View,
    pub(super) facts: &'a Facts,
    pub(super) filter: FactFilter,
    /// `None` when only facets are wanted.
    pub(super) page: Option<Page>,
    pub(super) facets: Vec<&'a Facet>,
}

#[derive(Default)]
pub(super) struct PassAnswer {
    pub(super) total: usize,
    /// The page's hits, the first one first.
    pub(super) ranks: Vec<Rank>,
    /// Hits of this page and all later ones.
    pub(super) remaining: usize,
    /// In the order of the facets asked for.
    pub(super) tallies: Vec<Tally>,
}

impl Collector for Pass<'_> {
    type Fruit = PassAnswer;
    type Child = SegmentPass;

    fn for_segment(&self, _: u32, segment: &SegmentReader) -> tantivy::Result<SegmentPass> {
        let page = match self.page {
            Some(page) => Some(SegmentPage {
                key: SegmentKey::of(page.sort, segment)?,
                product_ids: ProductIds::of(segment)?,
                page,
                best: BinaryHeap::with_capacity(page.limit + 1),
                remaining: 0,
            }),
            None => None,
        };
        let tallies = self.facets.iter();
        Ok(SegmentPass {
            slots: self.view.slots_of(segment),
            facts: self.facts.clone(),
            filter: self.filter,
            total: 0,
            page,
            tallies: tallies.map(|facet| SegmentTally::of(facet, segment)).collect::<Result<_, _>>()?,
        })
    }

    fn requires_scoring(&self) -> bool {
        self.page.is_some_and(|page| page.sort == Sort::Relevance)
    }

    fn merge_fruits(&self, segments: Vec<tantivy::Result<PassAnswer>>) -> tantivy::Result<PassAnswer> {
        let mut answer = PassAnswer::default();
        for segment in segments {
            let segment = segment?;
            answer.total += segment.total;
            answer.remaining += segment.remaining;
            answer.ranks.extend(segment.ranks);
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
        Ok(answer)
    }
}

pub(super) struct SegmentPass {
    slots: Arc<[u32]>,
    facts: Facts,
    filter: FactFilter,
    total: usize,
    page: Option<SegmentPage>,
    tallies: Vec<SegmentTally>,
}

impl SegmentCollector for SegmentPass {
    type Fruit = tantivy::Result<PassAnswer>;

    fn collect(&mut self, document: DocId, score: Score) {
        let slot = usize::try_from(document).ok().and_then(|document| self.slots.get(document));
        let Some(&slot) = slot else {
            return;
        };
        if !self.filter.accepts(slot, &self.facts) {
            return;
        }
        self.total += 1;
        for tally in &mut self.tallies {
            tally.add(document, slot, &self.facts);
        }
        if let Some(page) = &mut self.page {
            page.offer(document, score, slot, &self.facts);
        }
    }

    fn harvest(self) -> tantivy::Result<PassAnswer> {
        let tallies = self.tallies.into_iter().map(SegmentTally::harvest);
        let tallies = tallies.collect::<Result<_, _>>()?;
        let (ranks, remaining) = match self.page {
            Some(page) => (page.best.into_iter().map(|rank| rank.0).collect(), page.remaining),
            None => (Vec::new(), 0),
        };
        Ok(PassAnswer { total: self.total, ranks, remaining, tallies })
    }
}

/// The best hits of one segment. Ids are read only where keys are equal or a hit gets in: most don't.
struct SegmentPage {
    key: SegmentKey,
    product_ids: ProductIds,
    page: Page,
    /// The worst of the best on top.
    best: BinaryHeap<Reverse<Rank>>,
    remaining: usize,
}

impl SegmentPage {
    fn offer(&mut self, document: DocId, score: Score, slot: u32, facts: &Facts) {
        let key = self.key.get(document, score, slot, facts);
        let rank = || Rank { key, product_id: Reverse(self.product_ids.get(document)) };
        if let Some(after) = self.page.after
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

    fn get(&self, document: DocId, score: Score, slot: u32, facts: &Facts) -> u64 {
        match self {
            // The bits of floats that aren't negative are in the order of the floats.
            Self::Score => u64::from(score.max(0.0).to_bits()),
            Self::PriceAsc => facts.price(slot).map_or(0, |price| u64::MAX - tantivy::i64_to_u64(price)),
            Self::PriceDesc => facts.price(slot).map_or(0, tantivy::i64_to_u64),
            Self::CreatedAt(column) => column.first(document).map_or(0, tantivy::i64_to_u64),
            Self::Popularity => tantivy::i64_to_u64(facts.popularity(slot)),
        }
    }
}
