//! What a merchant has said about results: which rules a request meets, what they do to its hits, and which words mean the
//! same. [`Merchandising`] is a value made from the fold of its stream, swapped as a whole when that changes.
//!
//! Of several rules the more special comes first: the whole query, then some of its words, the category, everywhere; of the
//! same kind the older one. It has the place and the product that both pin, the other one's product takes the next free place.
//! What any rule hides is nowhere. Boosts of the same thing multiply.
//!
//! A shopper who sorts by price or date has asked for another order: then rules only hide.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::ops::Range;
use std::sync::Arc;

use chrono::{DateTime, Utc};
use domain::merchandising::{self, BOOST_PERCENT_MAX, Boost, BoostTarget, Condition, Matching, SearchRule, normalised};
use tantivy::columnar::StrColumn;
use tantivy::query::{BooleanQuery, ConstScoreQuery, Occur, Query, TermQuery, TermSetQuery};
use tantivy::schema::IndexRecordOption;
use tantivy::{DocId, SegmentReader};
use uuid::Uuid;

use super::{
    SearchIndex, SearchRequest, Sort, View,
    schema::{self, Fields},
    text::first_matches,
};

/// Most other phrases that one phrase stands for, those of the first sets by their keys.
pub const ALTERNATIVES_MAX: usize = 50;

/// Rules and synonyms as searches use them.
#[derive(Debug, Default)]
pub struct Merchandising {
    /// The oldest first; below, their places here.
    rules: Vec<SearchRule>,
    exact: HashMap<String, Vec<usize>>,
    /// By the first word of their text.
    containing: HashMap<String, Vec<usize>>,
    categories: HashMap<String, Vec<usize>>,
    everywhere: Vec<usize>,
    /// By language tag in small letters; each has the synonyms of its primary language and those for all, too.
    synonyms: HashMap<String, Synonyms>,
    for_all: Synonyms,
}

/// What the rules that a request meets say together.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Applied {
    /// Places from 1 in rising order, each with its product; no product and no place stands there twice.
    pub pinned: Vec<(usize, Uuid)>,
    pub hidden: HashSet<Uuid>,
    /// Each target once.
    pub boosts: Vec<Boost>,
}

impl Merchandising {
    /// `words` cuts a phrase as queries are cut.
    #[must_use]
    pub fn of(state: &merchandising::Merchandising, mut words: impl FnMut(&str) -> Vec<String>) -> Self {
        let mut made = Self { rules: state.oldest_first().into_iter().map(|known| known.rule.clone()).collect(), ..Self::default() };
        for (place, rule) in made.rules.iter().enumerate() {
            let (index, key) = match &rule.condition {
                Condition::Everywhere => {
                    made.everywhere.push(place);
                    continue;
                }
                Condition::Query { text, matching: Matching::Exact } => (&mut made.exact, text.as_str()),
                Condition::Query { text, matching: Matching::Contains } => {
                    (&mut made.containing, text.split(' ').next().unwrap_or_default())
                }
                Condition::Category { handle } => (&mut made.categories, handle.as_str()),
            };
            index.entry(key.to_owned()).or_default().push(place);
        }
        let sets = || state.synonyms.values();
        let languages: BTreeSet<&str> = sets().filter_map(|set| set.language.as_deref()).collect();
        for language in languages {
            let is_spoken = |of: &str| of == language || of == primary(language);
            let spoken = sets().filter(|set| set.language.as_deref().is_none_or(is_spoken));
            made.synonyms.insert(language.to_owned(), Synonyms::made(spoken, &mut words));
        }
        made.for_all = Synonyms::made(sets().filter(|set| set.language.is_none()), &mut words);
        made
    }

    /// What is in force for a query, or for what is listed of a category. A pinned product that is not `on_sale` takes no place
    /// from another one.
    #[must_use]
    pub fn rules_for(&self, q: Option<&str>, category: Option<&str>, now: DateTime<Utc>, on_sale: impl Fn(Uuid) -> bool) -> Applied {
        if self.rules.is_empty() {
            return Applied::default();
        }
        let met: Vec<&SearchRule> = self.met(q, category).into_iter().filter(|rule| rule.status(now) == "active").collect();
        let hidden: HashSet<Uuid> = met.iter().flat_map(|rule| &rule.hidden).map(|product_id| product_id.uuid()).collect();
        let mut pinned = BTreeMap::new();
        let mut placed = HashSet::new();
        for pin in met.iter().flat_map(|rule| &rule.pins) {
            let product_id = pin.product_id.uuid();
            if hidden.contains(&product_id) || !on_sale(product_id) || !placed.insert(product_id) {
                continue;
            }
            let mut position = usize::try_from(pin.position).unwrap_or(usize::MAX);
            while pinned.contains_key(&position) {
                position = position.saturating_add(1);
            }
            pinned.insert(position, product_id);
        }
        let mut boosts: BTreeMap<&BoostTarget, u32> = BTreeMap::new();
        for boost in met.iter().flat_map(|rule| &rule.boosts) {
            let percent = boosts.entry(&boost.target).or_insert(100);
            *percent = (percent.saturating_mul(boost.percent) / 100).clamp(1, BOOST_PERCENT_MAX);
        }
        let boosts = boosts.into_iter().map(|(target, percent)| Boost { target: target.clone(), percent });
        Applied { pinned: pinned.into_iter().collect(), hidden, boosts: boosts.collect() }
    }

    /// The synonyms of a shopper who speaks `lang` (BCP 47): those of the tag, of its primary language, and those for all.
    #[must_use]
    pub fn synonyms(&self, lang: &str) -> &Synonyms {
        let tag = lang.to_ascii_lowercase();
        self.synonyms.get(&tag).or_else(|| self.synonyms.get(primary(&tag))).unwrap_or(&self.for_all)
    }

    /// The rules whose condition holds, the more special first.
    fn met(&self, q: Option<&str>, category: Option<&str>) -> Vec<&SearchRule> {
        let query = q.map(normalised).filter(|query| !query.is_empty());
        let mut places: Vec<usize> = Vec::new();
        if let Some(query) = &query {
            places.extend(self.exact.get(query).into_iter().flatten());
            let words: BTreeSet<&str> = query.split(' ').collect();
            let has_all = |place: &&usize| match &self.rules[**place].condition {
                Condition::Query { text, .. } => text.split(' ').all(|word| words.contains(word)),
                _ => false,
            };
            let mut containing: Vec<usize> =
                words.iter().filter_map(|word| self.containing.get(*word)).flatten().filter(has_all).copied().collect();
            containing.sort_unstable();
            places.extend(containing);
        }
        places.extend(category.and_then(|handle| self.categories.get(handle)).into_iter().flatten());
        places.extend(&self.everywhere);
        places.into_iter().map(|place| &self.rules[place]).collect()
    }
}

/// What phrases stand for, in one language.
#[derive(Debug, Default)]
pub struct Synonyms {
    /// By their first word, the longer phrases first.
    phrases: HashMap<String, Vec<Phrase>>,
}

#[derive(Debug)]
struct Phrase {
    words: Vec<String>,
    alternatives: Vec<Vec<String>>,
}

impl Synonyms {
    fn made<'s>(sets: impl Iterator<Item = &'s merchandising::SynonymSet>, words: &mut impl FnMut(&str) -> Vec<String>) -> Self {
        let mut by_words: BTreeMap<Vec<String>, Vec<Vec<String>>> = BTreeMap::new();
        for set in sets {
            let (from, to) = match &set.synonyms {
                merchandising::Synonyms::TwoWay { phrases } => (phrases, phrases),
                merchandising::Synonyms::OneWay { from, to } => (from, to),
            };
            let to: Vec<Vec<String>> = to.iter().map(|phrase| words(phrase)).filter(|phrase| !phrase.is_empty()).collect();
            for phrase in from.iter().map(|phrase| words(phrase)).filter(|phrase| !phrase.is_empty()) {
                let alternatives = by_words.entry(phrase.clone()).or_default();
                for other in &to {
                    if *other != phrase && !alternatives.contains(other) && alternatives.len() < ALTERNATIVES_MAX {
                        alternatives.push(other.clone());
                    }
                }
            }
        }
        let mut phrases: HashMap<String, Vec<Phrase>> = HashMap::new();
        for (words, alternatives) in by_words.into_iter().filter(|(_, alternatives)| !alternatives.is_empty()) {
            phrases.entry(words[0].clone()).or_default().push(Phrase { words, alternatives });
        }
        for starting in phrases.values_mut() {
            starting.sort_by_key(|phrase| std::cmp::Reverse(phrase.words.len()));
        }
        Self { phrases }
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.phrases.is_empty()
    }

    /// Which of these words stand for others: ranges of them in rising order that don't overlap (of those that would, the one
    /// that begins first, of those the longest), each with all that may stand in its place. What was typed is looked for, too:
    /// it is not among the alternatives.
    #[must_use]
    pub fn of(&self, words: &[String]) -> Vec<(Range<usize>, Vec<Vec<String>>)> {
        let mut found = Vec::new();
        let mut at = 0;
        while at < words.len() && !self.is_empty() {
            let starting = self.phrases.get(&words[at]).into_iter().flatten();
            match starting.into_iter().find(|phrase| words[at..].starts_with(&phrase.words)) {
                Some(phrase) => {
                    let end = at + phrase.words.len();
                    found.push((at..end, phrase.alternatives.clone()));
                    at = end;
                }
                None => at += 1,
            }
        }
        found
    }
}

fn primary(tag: &str) -> &str {
    tag.split('-').next().unwrap_or(tag)
}

/// [`Applied`] by the places in the columns, as hits are collected with it.
#[derive(Debug, Default)]
pub(super) struct Curation {
    /// A bit for each place that anything below says something about: few have one, and every hit is asked for.
    marked: Vec<u64>,
    hidden: HashSet<u32>,
    pinned: HashMap<u32, (usize, Uuid)>,
    boosted: HashMap<u32, f32>,
    /// Column, value, factor.
    values: Vec<(&'static str, String, f32)>,
}

impl Curation {
    pub(super) fn of(index: &SearchIndex, view: &View, request: &SearchRequest, now: DateTime<Utc>) -> Arc<Self> {
        let facts = index.columns.facts(&request.currency);
        let on_sale = |product_id| {
            let document = TermQuery::new(view.fields.product_term(product_id), IndexRecordOption::Basic);
            let is_there = first_matches(&view.searcher, &document, 1).is_ok_and(|found| !found.is_empty());
            is_there && facts.published(index.columns.slot(product_id))
        };
        let applied = index.merchandising().rules_for(request.q.as_deref(), request.category.as_deref(), now, on_sale);
        let slot = |product_id: &Uuid| index.columns.slot(*product_id);
        let mut curation = Self { hidden: applied.hidden.iter().map(slot).collect(), ..Self::default() };
        if request.sort == Sort::Relevance {
            curation.pinned = applied.pinned.iter().map(|pin| (slot(&pin.1), *pin)).collect();
            for Boost { target, percent } in applied.boosts {
                let factor = f32::from(u16::try_from(percent).unwrap_or(u16::MAX)) / 100.0;
                match target {
                    BoostTarget::Product { product_id } => drop(curation.boosted.insert(slot(&product_id.uuid()), factor)),
                    BoostTarget::Brand { brand } => curation.values.push((schema::BRAND, brand, factor)),
                    BoostTarget::Category { handle } => curation.values.push((schema::CATEGORY, handle, factor)),
                }
            }
        }
        curation.mark();
        Arc::new(curation)
    }

    pub(super) fn hides(&self) -> bool {
        !self.hidden.is_empty()
    }

    fn mark(&mut self) {
        for slot in self.hidden.iter().chain(self.pinned.keys()).chain(self.boosted.keys()) {
            let (word, bit) = bit_of(*slot);
            if self.marked.len() <= word {
                self.marked.resize(word + 1, 0);
            }
            self.marked[word] |= bit;
        }
    }

    fn is_marked(&self, slot: u32) -> bool {
        let (word, bit) = bit_of(slot);
        self.marked.get(word).is_some_and(|bits| bits & bit != 0)
    }

    /// A text's matches and what is pinned beside them.
    pub(super) fn widen(&self, text: Box<dyn Query>, fields: &Fields) -> Box<dyn Query> {
        if self.pinned.is_empty() {
            return text;
        }
        let pinned = TermSetQuery::new(self.pinned.values().map(|(_, product_id)| fields.product_term(*product_id)));
        let unscored = ConstScoreQuery::new(Box::new(pinned), 0.0);
        Box::new(BooleanQuery::new(vec![(Occur::Should, text), (Occur::Should, Box::new(unscored))]))
    }

    /// `None` where nothing is said about any hit.
    pub(super) fn for_segment(self: &Arc<Self>, segment: &SegmentReader) -> tantivy::Result<Option<SegmentCuration>> {
        if self.marked.is_empty() && self.values.is_empty() {
            return Ok(None);
        }
        let mut values = Vec::with_capacity(self.values.len());
        for (column, value, factor) in &self.values {
            if let Some(column) = segment.fast_fields().str(column)?
                && let Some(place) = column.dictionary().term_ord(value)?
            {
                values.push((column, place, *factor));
            }
        }
        Ok(Some(SegmentCuration { curation: Arc::clone(self), values }))
    }
}

/// A curation as one segment needs it.
pub(super) struct SegmentCuration {
    curation: Arc<Curation>,
    /// Column, the place of a value in its dictionary, factor.
    values: Vec<(StrColumn, u64, f32)>,
}

impl SegmentCuration {
    pub(super) fn is_hidden(&self, slot: u32) -> bool {
        self.curation.is_marked(slot) && self.curation.hidden.contains(&slot)
    }

    pub(super) fn pin(&self, slot: u32) -> Option<(usize, Uuid)> {
        if self.curation.is_marked(slot) { self.curation.pinned.get(&slot).copied() } else { None }
    }

    /// What a hit's relevance is multiplied with; `None` for all hits of a search where nothing is boosted.
    pub(super) fn factor(&self, document: DocId, slot: u32) -> Option<f32> {
        let curation = &*self.curation;
        if curation.boosted.is_empty() && curation.values.is_empty() {
            return None;
        }
        let own = if curation.is_marked(slot) { curation.boosted.get(&slot).copied() } else { None };
        let matching = self.values.iter().filter(|(column, place, _)| column.ords().values_for_doc(document).any(|value| value == *place));
        Some(matching.fold(own.unwrap_or(1.0), |factor, (_, _, by)| factor * by))
    }
}

/// The word of a bitmap that has a slot's bit, and the bit.
fn bit_of(slot: u32) -> (usize, u64) {
    (usize::try_from(slot / 64).unwrap_or(usize::MAX), 1 << (slot % 64))
}

#[cfg(test)]
mod tests {
    use domain::merchandising::{MerchandisingEvent, Pin, SynonymSet};

    use super::*;

    fn id<T: From<Uuid>>(n: u128) -> T {
        Uuid::from_u128(n).into()
    }

    fn query(text: &str, matching: Matching) -> Condition {
        Condition::Query { text: text.to_owned(), matching }
    }

    /// A rule that pins product 10 + `n` first and boosts Acme by half.
    fn rule(n: u128, condition: Condition) -> SearchRule {
        SearchRule {
            rule_id: id(n),
            title: n.to_string(),
            condition,
            valid_from: None,
            valid_until: None,
            pins: vec![Pin { product_id: id(10 + n), position: 1 }],
            hidden: vec![],
            boosts: vec![Boost { target: BoostTarget::Brand { brand: "Acme".to_owned() }, percent: 150 }],
        }
    }

    fn of(rules: Vec<SearchRule>, sets: Vec<SynonymSet>) -> Merchandising {
        let mut state = merchandising::Merchandising::default();
        for rule in rules {
            state.apply(&MerchandisingEvent::SearchRuleCreated(Box::new(rule)));
        }
        for set in sets {
            state.apply(&MerchandisingEvent::SynonymsDefined(set));
        }
        Merchandising::of(&state, words)
    }

    fn words(text: &str) -> Vec<String> {
        text.split(' ').map(str::to_owned).collect()
    }

    fn at(time: &str) -> DateTime<Utc> {
        time.parse().unwrap()
    }

    fn now() -> DateTime<Utc> {
        at("2026-11-10T12:00:00Z")
    }

    fn pinned(rules: &Merchandising, q: Option<&str>, category: Option<&str>) -> Vec<(usize, u128)> {
        rules
            .rules_for(q, category, now(), |_| true)
            .pinned
            .into_iter()
            .map(|(position, product_id)| (position, product_id.as_u128()))
            .collect()
    }

    #[test]
    fn a_condition_is_the_query_some_of_its_words_the_category_or_nothing() {
        let category = Condition::Category { handle: "lamps".to_owned() };
        let exact = query("desk lamp", Matching::Exact);
        let rules = of(vec![rule(1, exact), rule(2, query("lamp red", Matching::Contains)), rule(3, category)], vec![]);
        assert_eq!(pinned(&rules, Some(" Desk  LAMP"), None), [(1, 11)]);
        assert_eq!(pinned(&rules, Some("desk lamps"), None), []);
        assert_eq!(pinned(&rules, Some("a red desk lamp"), None), [(1, 12)]);
        assert_eq!(pinned(&rules, Some("lamp"), None), []);
        assert_eq!(pinned(&rules, None, Some("lamps")), [(1, 13)]);
        assert_eq!(pinned(&rules, Some(" "), Some("desks")), []);
        let everywhere = of(vec![rule(4, Condition::Everywhere)], vec![]);
        assert_eq!((pinned(&everywhere, None, None), pinned(&everywhere, Some("x"), None)), (vec![(1, 14)], vec![(1, 14)]));
    }

    #[test]
    fn the_more_special_rule_has_the_place_and_what_is_hidden_is_pinned_by_none() {
        let everywhere = SearchRule { hidden: vec![id(13)], ..rule(1, Condition::Everywhere) };
        let contains = query("lamp", Matching::Contains);
        let rules = of(vec![everywhere, rule(2, contains.clone()), rule(3, contains), rule(4, query("lamp", Matching::Exact))], vec![]);
        assert_eq!(pinned(&rules, Some("lamp"), None), [(1, 14), (2, 12), (3, 11)]);
        let without_first = rules.rules_for(Some("lamp"), None, now(), |product_id| product_id != Uuid::from_u128(14));
        assert_eq!(without_first.pinned, [(1, id(12)), (2, id(11))], "what is not on sale leaves its place to the others");
        let applied = rules.rules_for(Some("lamp"), None, now(), |_| true);
        assert_eq!(applied.hidden, HashSet::from([id(13)]));
        let acme = |percent| vec![Boost { target: BoostTarget::Brand { brand: "Acme".to_owned() }, percent }];
        assert_eq!(applied.boosts, acme(505), "1.5 of four rules multiplied, each rounded down");
        assert_eq!(rules.rules_for(None, None, now(), |_| true).boosts, acme(150));
    }

    #[test]
    fn a_rule_is_in_force_from_its_start_until_its_end() {
        let dated = SearchRule { valid_from: Some(at("2026-11-01T00:00:00Z")), valid_until: Some(now()), ..rule(1, Condition::Everywhere) };
        let rules = of(vec![dated], vec![]);
        for (time, count) in
            [("2026-10-31T23:59:59Z", 0), ("2026-11-01T00:00:00Z", 1), ("2026-11-10T11:59:59Z", 1), ("2026-11-10T12:00:00Z", 0)]
        {
            assert_eq!(rules.rules_for(None, None, at(time), |_| true).pinned.len(), count, "{time}");
        }
    }

    #[test]
    fn synonyms_of_several_words_stand_for_each_other_in_their_language() {
        let set = |key: &str, language: Option<&str>, synonyms| SynonymSet {
            key: key.to_owned(),
            language: language.map(str::to_owned),
            synonyms,
        };
        let texts = |texts: &[&str]| texts.iter().map(|&text| text.to_owned()).collect::<Vec<_>>();
        let two_way = |phrases: &[&str]| merchandising::Synonyms::TwoWay { phrases: texts(phrases) };
        let one_way = merchandising::Synonyms::OneWay { from: texts(&["phone"]), to: texts(&["smartphone"]) };
        let sets = vec![
            set("a", Some("en"), two_way(&["tv", "television set", "telly"])),
            set("b", None, one_way),
            set("c", Some("de-at"), two_way(&["sessel", "stuhl"])),
            set("d", Some("en"), two_way(&["tv stand", "lowboard"])),
        ];
        let rules = of(vec![], sets);
        let found = |lang: &str, text: &str| rules.synonyms(lang).of(&words(text));
        let others = |texts: &[&str]| texts.iter().map(|text| words(text)).collect::<Vec<_>>();
        assert_eq!(found("en", "a tv and phone"), [(1..2, others(&["television set", "telly"])), (3..4, others(&["smartphone"]))]);
        assert_eq!(found("en-GB", "television set"), [(0..2, others(&["tv", "telly"]))]);
        assert_eq!(found("en", "tv stand"), [(0..2, others(&["lowboard"]))], "the longest of those that begin there");
        assert_eq!(found("en", "smartphone"), [], "one way");
        assert_eq!(found("de", "tv phone sessel"), [(1..2, others(&["smartphone"]))]);
        assert_eq!(found("de-AT", "sessel"), [(0..1, others(&["stuhl"]))]);
        assert_eq!(found("", "phone").len(), 1);
    }
}
