//! How good the order of the answers is: NDCG@10 on the queries that people judged, as they stand and misspelt.
//!
//! The gain of a product rated r is 2^r − 1, discounted by the binary logarithm of its place plus one; the ideal order is that
//! of the judged products. Few products are judged for a query, so there are two readings: raw, where a product that nobody
//! judged counts as irrelevant, and condensed, where it is passed over. The weights of the search were chosen on one half of
//! the queries; the other half says how good they are.

use std::collections::{BTreeMap, HashMap};

use crate::import::data;
use crate::search::{Found, Icecat};
use crate::typo::misspelt_query;

/// Ratings by SKU.
type Judgements = HashMap<String, f64>;

const PLACES: usize = 10;
/// Hits that are looked through for ten judged ones.
const LIMIT: usize = 50;
const TYPO_SEEDS: [u64; 3] = [1, 2, 3];
/// What a prototype with other weights reached on the clean queries of this part of the catalogue, and on misspelt ones.
const FLOOR_CLEAN: Ndcg = Ndcg { raw: 0.774, condensed: 0.833 };
const FLOOR_MISSPELT: Ndcg = Ndcg { raw: 0.691, condensed: 0.747 };

#[derive(Clone, Copy, Default)]
struct Ndcg {
    raw: f64,
    condensed: f64,
}

impl Ndcg {
    fn of(found: &Found, judged: &Judgements) -> Self {
        let mut ideal: Vec<f64> = judged.values().copied().collect();
        ideal.sort_by(|a, b| b.total_cmp(a));
        let best = discounted(ideal.into_iter());
        let ratings = found.skus.iter().map(|sku| judged.get(sku).copied());
        Self { raw: discounted(ratings.clone().map(Option::unwrap_or_default)) / best, condensed: discounted(ratings.flatten()) / best }
    }

    fn mean(of: impl Iterator<Item = Self>) -> Self {
        let (mut sum, mut count) = (Self::default(), 0.0);
        for one in of {
            sum = Self { raw: sum.raw + one.raw, condensed: sum.condensed + one.condensed };
            count += 1.0;
        }
        Self { raw: sum.raw / count, condensed: sum.condensed / count }
    }

    fn assert_at_least(self, floor: Self, what: &str) {
        assert!(self.raw >= floor.raw && self.condensed >= floor.condensed, "{what}: {self} is below {floor}");
    }
}

impl std::fmt::Display for Ndcg {
    fn fmt(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result {
        write!(f, "{:.4} / {:.4}", self.raw, self.condensed)
    }
}

fn discounted(ratings: impl Iterator<Item = f64>) -> f64 {
    ratings.take(PLACES).zip(2_u32..).map(|(rating, place)| (rating.exp2() - 1.0) / f64::from(place).log2()).sum()
}

/// Those queries for which somebody rated a product above 0.
fn judged() -> BTreeMap<String, Judgements> {
    let mut judged: BTreeMap<String, Judgements> = BTreeMap::new();
    for row in csv::Reader::from_path(data("icecat/judgements.csv")).unwrap().records() {
        let row = row.unwrap();
        judged.entry(row[0].to_owned()).or_default().insert(row[1].to_owned(), row[2].parse().unwrap());
    }
    judged.retain(|_, ratings| ratings.values().any(|rating| *rating > 0.0));
    judged
}

/// Whether the weights were chosen with this query in sight. By FNV-1a: stays the same whatever else is judged.
fn is_tuned_on(query: &str) -> bool {
    let hash = query.bytes().fold(0x811c_9dc5_u32, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193));
    (hash >> 7) & 1 == 0
}

/// All queries in one spelling.
struct Run {
    ndcg: Vec<Ndcg>,
    empty: usize,
}

impl Run {
    async fn of(icecat: &Icecat<'_>, judged: &BTreeMap<String, Judgements>, spelled: impl Fn(&str) -> String) -> Self {
        let queries: Vec<String> = judged.keys().map(|query| spelled(query)).collect();
        let answers = icecat.found(&queries, LIMIT).await;
        let ndcg = answers.iter().zip(judged.values()).map(|(found, judged)| Ndcg::of(found, judged)).collect();
        Self { ndcg, empty: answers.iter().filter(|found| found.skus.is_empty()).count() }
    }

    fn mean(&self, is_counted: &[bool]) -> Ndcg {
        Ndcg::mean(self.ndcg.iter().zip(is_counted).filter(|(_, is_counted)| **is_counted).map(|(one, _)| *one))
    }
}

pub async fn judged_queries_are_answered_well(icecat: &Icecat<'_>) {
    let judged = judged();
    let clean = Run::of(icecat, &judged, str::to_owned).await;
    let mut misspelt = Vec::new();
    for seed in TYPO_SEEDS {
        misspelt.push(Run::of(icecat, &judged, |query| misspelt_query(query, seed)).await);
    }
    let of_all = |is_counted: &[bool]| Ndcg::mean(misspelt.iter().map(|run| run.mean(is_counted)));

    println!("\nNDCG@10, raw / condensed  queries  clean              misspelt (mean)    seed 1             seed 2             seed 3");
    let tuned: Vec<bool> = judged.keys().map(|query| is_tuned_on(query)).collect();
    let held_out: Vec<bool> = tuned.iter().map(|tuned| !tuned).collect();
    let all = vec![true; judged.len()];
    for (name, queries) in [("all queries", &all), ("half tuned on", &tuned), ("half held out", &held_out)] {
        let count = queries.iter().filter(|is_counted| **is_counted).count();
        let seeds: Vec<String> = misspelt.iter().map(|run| run.mean(queries).to_string()).collect();
        println!("{name:25} {count:7}  {}    {}    {}", clean.mean(queries), of_all(queries), seeds.join("    "));
    }
    let empty: Vec<usize> = misspelt.iter().map(|run| run.empty).collect();
    println!("answers without a product: {} clean, {empty:?} misspelt", clean.empty);

    clean.mean(&all).assert_at_least(FLOOR_CLEAN, "clean");
    of_all(&all).assert_at_least(FLOOR_MISSPELT, "misspelt");
}
