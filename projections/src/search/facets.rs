//! Facets: how many hits have each value. Counts are exact, and a facet's own filter is left out of
//! its counts, so that the shopper sees what the alternatives would give.

use serde::{Deserialize, Serialize};
use tantivy::SegmentReader;

use super::{
    View,
    columns::Facts,
    schema,
    values::{Counts, SegmentCounts},
};

/// Ranges that the prices of the hits are cut into, each with about as many hits; fewer when many hits
/// have one price.
const PRICE_RANGES: usize = 5;
/// Prices up to 99 each have a bucket, each power of ten from 100 on has 90.
const PRICE_BUCKETS: usize = 100 + 90 * 17;

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FacetCount {
    /// For prices `min-max` in minor units, both inclusive; for stock `true` or `false`.
    pub value: String,
    pub count: usize,
}

/// What can be counted, and filtered by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Facet {
    Brand,
    Category,
    Attribute(String),
    Price,
    InStock,
}

impl Facet {
    pub(super) fn parse(name: &str) -> Option<Self> {
        match name {
            "brand" => Some(Self::Brand),
            "category" => Some(Self::Category),
            "price" => Some(Self::Price),
            "in_stock" => Some(Self::InStock),
            _ => match name.strip_prefix("attr.")? {
                "" => None,
                key => Some(Self::Attribute(key.to_owned())),
            },
        }
    }
}

/// Counts one facet over the hits of one segment.
pub(super) enum SegmentTally {
    Values(SegmentCounts),
    Prices(PriceTally),
    InStock { yes: usize, no: usize },
}

impl SegmentTally {
    pub(super) fn of(facet: &Facet, segment: &SegmentReader, view: &View) -> tantivy::Result<Self> {
        let column = match facet {
            Facet::Brand => schema::BRAND,
            Facet::Category => schema::CATEGORY,
            Facet::Attribute(key) => &schema::attribute_column(key),
            Facet::Price => return Ok(Self::Prices(PriceTally::new())),
            Facet::InStock => return Ok(Self::InStock { yes: 0, no: 0 }),
        };
        Ok(Self::Values(view.counts_of(segment, column)?))
    }

    pub(super) fn add(&mut self, document: u32, slot: u32, facts: &Facts) {
        match self {
            Self::Values(counts) => counts.add(document),
            Self::Prices(prices) => {
                if let Some(price) = facts.price(slot) {
                    prices.add(price);
                }
            }
            Self::InStock { yes, no } => *if facts.in_stock(slot) { yes } else { no } += 1,
        }
    }

    pub(super) fn harvest(self) -> Tally {
        match self {
            Self::Values(counts) => Tally::Values(counts.into_counts()),
            Self::Prices(prices) => Tally::Prices(prices),
            Self::InStock { yes, no } => Tally::InStock { yes, no },
        }
    }
}

/// One facet over all segments.
pub(super) enum Tally {
    Values(Counts),
    Prices(PriceTally),
    InStock { yes: usize, no: usize },
}

impl Tally {
    pub(super) fn merge(&mut self, other: Self) {
        match (self, other) {
            (Self::Values(counts), Self::Values(other)) => counts.merge(other),
            (Self::Prices(prices), Self::Prices(other)) => prices.merge(&other),
            (Self::InStock { yes, no }, Self::InStock { yes: other_yes, no: other_no }) => {
                *yes += other_yes;
                *no += other_no;
            }
            // Two tallies of one facet are of one kind.
            (Self::Values(_) | Self::Prices(_) | Self::InStock { .. }, _) => {}
        }
    }

    /// Values by count, ranges by price.
    pub(super) fn into_counts(self) -> Vec<FacetCount> {
        match self {
            Self::Values(counts) => counts.most_frequent(),
            Self::Prices(prices) => prices.ranges(),
            Self::InStock { yes, no } => {
                let mut counts =
                    [("true", yes), ("false", no)].map(|(value, count)| FacetCount { value: value.to_owned(), count }).to_vec();
                counts.retain(|counted| counted.count > 0);
                counts.sort_unstable_by(|a, b| b.count.cmp(&a.count).then_with(|| a.value.cmp(&b.value)));
                counts
            }
        }
    }
}

/// How many hits have which price, to two significant digits: the ranges start at such round prices,
/// so their counts are exact although no price is kept.
pub(super) struct PriceTally {
    counts: Vec<usize>,
    lowest: i64,
    highest: i64,
}

impl PriceTally {
    fn new() -> Self {
        Self { counts: vec![0; PRICE_BUCKETS], lowest: i64::MAX, highest: i64::MIN }
    }

    fn add(&mut self, price: i64) {
        if let Some(count) = self.counts.get_mut(bucket_of(price)) {
            *count += 1;
        }
        self.lowest = self.lowest.min(price);
        self.highest = self.highest.max(price);
    }

    fn merge(&mut self, other: &Self) {
        for (count, other) in self.counts.iter_mut().zip(&other.counts) {
            *count += other;
        }
        self.lowest = self.lowest.min(other.lowest);
        self.highest = self.highest.max(other.highest);
    }

    /// A range ends with the bucket that fills its share of the hits still without one.
    fn ranges(&self) -> Vec<FacetCount> {
        let mut ranges = Vec::new();
        let mut remaining: usize = self.counts.iter().sum();
        let (mut start, mut count) = (self.lowest, 0);
        for (bucket, of_bucket) in self.counts.iter().enumerate() {
            count += of_bucket;
            if count == 0 || count * (PRICE_RANGES - ranges.len()) < remaining {
                continue;
            }
            let next = start_of(bucket + 1);
            let end = if count == remaining { self.highest } else { next - 1 };
            ranges.push(FacetCount { value: format!("{start}-{end}"), count });
            remaining -= count;
            (start, count) = (next, 0);
            if remaining == 0 {
                break;
            }
        }
        ranges
    }
}

/// No price is negative; one that is would count as 0.
fn bucket_of(price: i64) -> usize {
    let price = u64::try_from(price).unwrap_or_default();
    let bucket = match price.checked_ilog10() {
        None | Some(0 | 1) => price,
        Some(digits) => 90 * u64::from(digits - 1) + price / 10_u64.pow(digits - 1),
    };
    usize::try_from(bucket).unwrap_or(usize::MAX)
}

/// The lowest price of a bucket.
fn start_of(bucket: usize) -> i64 {
    let bucket = i64::try_from(bucket).unwrap_or(i64::MAX);
    if bucket < 100 {
        return bucket;
    }
    let (decade, digits) = ((bucket - 100) / 90, (bucket - 100) % 90 + 10);
    let unit = (0..=decade).fold(1_i64, |unit, _| unit.saturating_mul(10));
    digits.saturating_mul(unit)
}
