//! Answers a request: text, filters, facets, one page of hits.

use std::{collections::BTreeMap, iter, sync::Arc};

use tantivy::{
    DocAddress, Searcher,
    query::{AllQuery, BooleanQuery, ConstScoreQuery, Occur, Query, TermSetQuery},
};

use super::{
    FACETS_MAX, FILTER_VALUES_MAX, LIMIT_MAX, SearchAnswer, SearchError, SearchIndex, SearchRequest, Sort, View,
    columns::Facts,
    facets::{Facet, FacetCount, Tally},
    hits::{Cursor, FactFilter, Page, Pass, PassAnswer},
    rules::Curation,
    schema::Fields,
    text::{self, TextPlan, Width, first_matches},
};

/// With fewer products that have all the words as they are typed, the words are read in more ways.
const NARROW_ENOUGH: usize = 3;
/// With fewer products that have all the words, those with some of them follow. A fixed number and not
/// the page's limit, and counted before filters: what is found must not depend on how much of it is
/// asked for, or a facet would promise other counts than its filter then gives.
const STRICT_ENOUGH: usize = 10;

pub(super) fn search(index: &SearchIndex, request: &SearchRequest) -> Result<SearchAnswer, SearchError> {
    let view = &*index.view();
    let (fields, analyser) = (&view.fields, &index.analyser);
    let text = match &request.q {
        Some(q) => {
            let merchandising = index.merchandising();
            let spoken = (request.lang.as_str(), merchandising.synonyms(&request.lang));
            let plan = |width| text::plan(&view.searcher, fields, analyser, q, spoken, width);
            match plan(Width::AsTyped)? {
                Some(narrow) if !narrow.is_code && first_matches(&view.searcher, &*narrow.strict, NARROW_ENOUGH)?.len() < NARROW_ENOUGH => {
                    let wide = plan(Width::Wide)?;
                    wide.map(|wide| TextPlan { did_you_mean: narrow.did_you_mean.or(wide.did_you_mean), ..wide })
                }
                narrow => narrow,
            }
        }
        None => None,
    };
    let sort = match request.sort {
        Sort::Relevance if text.is_none() => Sort::Popular,
        sort => sort,
    };
    let from = request.cursor.as_deref().map(|cursor| Cursor::parse(sort, cursor)).transpose()?.unwrap_or_default();
    let page = Page { sort, from, limit: request.limit.clamp(1, LIMIT_MAX) };
    let curation = Curation::of(index, view, request, infra::clock::now());

    let (did_you_mean, marks) = text.as_ref().map(|plan| (plan.did_you_mean.clone(), plan.marks.clone())).unwrap_or_default();
    let mut chosen = text.map(|plan| Chosen::of(&view.searcher, plan, sort)).transpose()?;
    if let Some(chosen) = &mut chosen {
        chosen.query = curation.widen(chosen.query.box_clone(), fields);
    }
    let walk =
        Walk { view, text: chosen.as_ref(), filters: filters(fields, request), facts: index.columns.facts(&request.currency), curation };

    let facets: Vec<(String, Facet)> =
        request.facets.iter().take(FACETS_MAX).filter_map(|name| Some((name.clone(), Facet::parse(name)?))).collect();
    let mut counted = BTreeMap::new();
    let mut uncounted = Vec::new();
    for (name, facet) in facets {
        match walk.cached(&facet) {
            Some(known) => drop(counted.insert(name, known)),
            None => uncounted.push((name, facet)),
        }
    }
    // A facet without a filter of its own is counted over the hits themselves.
    let (filtered, unfiltered): (Vec<_>, Vec<_>) = uncounted.into_iter().partition(|(_, facet)| walk.filters_by(facet));
    let hits = walk.pass(None, Some(page), &unfiltered)?;
    let (product_ids, next) = hits.place(page);
    counted.extend(walk.counts(&unfiltered, hits.tallies));
    for facet in filtered {
        let own = [facet];
        let pass = walk.pass(Some(&own[0].1), None, &own)?;
        counted.extend(walk.counts(&own, pass.tallies));
    }

    Ok(SearchAnswer {
        next_cursor: next.map(|cursor| cursor.to_text(sort)),
        product_ids,
        total: hits.total,
        relaxed: chosen.as_ref().is_some_and(|chosen| chosen.is_relaxed),
        facets: counted,
        did_you_mean,
        marks,
        position: view.position,
    })
}

/// The strict query, or the relaxed one where the strict one finds too little. Sorted by anything but
/// relevance, products with some of the words would bury those with all of them, so there they stand in
/// only for nothing at all.
struct Chosen {
    query: Box<dyn Query>,
    is_relaxed: bool,
    /// The few products with all the words, among those with some.
    with_all_words: Vec<DocAddress>,
}

impl Chosen {
    fn of(searcher: &Searcher, plan: TextPlan, sort: Sort) -> tantivy::Result<Self> {
        let enough = if sort == Sort::Relevance { STRICT_ENOUGH } else { 1 };
        if let Some(relaxed) = plan.relaxed {
            let with_all_words = first_matches(searcher, &*plan.strict, enough)?;
            if with_all_words.len() < enough {
                return Ok(Self { query: relaxed, is_relaxed: true, with_all_words });
            }
        }
        Ok(Self { query: plan.strict, is_relaxed: false, with_all_words: Vec::new() })
    }
}

/// A condition, known by the facet it belongs to.
struct Filter {
    facet: Facet,
    condition: Condition,
}

#[derive(Debug)]
enum Condition {
    Indexed(TermSetQuery),
    Price { min: Option<i64>, max: Option<i64> },
    InStock(bool),
}

fn filters(fields: &Fields, request: &SearchRequest) -> Vec<Filter> {
    let mut filters = Vec::new();
    let mut push = |facet, condition| filters.push(Filter { facet, condition });
    if let Some(category) = &request.category {
        let term = fields.category_term(category);
        push(Facet::Category, Condition::Indexed(TermSetQuery::new([term])));
    }
    if !request.brands.is_empty() {
        let brands = request.brands.iter().take(FILTER_VALUES_MAX);
        let terms = brands.map(|brand| fields.brand_term(brand));
        push(Facet::Brand, Condition::Indexed(TermSetQuery::new(terms)));
    }
    for (key, values) in request.attributes.iter().take(FILTER_VALUES_MAX) {
        let values = values.iter().take(FILTER_VALUES_MAX);
        let terms = values.map(|value| fields.attribute_term(key, value));
        let facet = Facet::Attribute(key.clone());
        push(facet, Condition::Indexed(TermSetQuery::new(terms)));
    }
    if request.price_min.is_some() || request.price_max.is_some() {
        let (min, max) = (request.price_min, request.price_max);
        push(Facet::Price, Condition::Price { min, max });
    }
    if let Some(in_stock) = request.in_stock {
        push(Facet::InStock, Condition::InStock(in_stock));
    }
    filters
}

/// What all passes of one request share.
struct Walk<'a> {
    view: &'a View,
    text: Option<&'a Chosen>,
    filters: Vec<Filter>,
    facts: Facts,
    curation: Arc<Curation>,
}

impl Walk<'_> {
    fn filters_by(&self, facet: &Facet) -> bool {
        self.filters.iter().any(|filter| filter.facet == *facet)
    }

    /// What these hits are known by, where nothing about them or about the facet changes but by a commit: what is browsed most
    /// is counted once.
    fn cache_key(&self, facet: &Facet) -> Option<String> {
        let is_static = |facet: &Facet| !matches!(facet, Facet::Price | Facet::InStock);
        let others = || self.filters.iter().filter(|filter| filter.facet != *facet);
        if self.text.is_some() || self.curation.hides() || !is_static(facet) || !others().all(|filter| is_static(&filter.facet)) {
            return None;
        }
        let filters = others().map(|filter| &filter.condition).collect::<Vec<_>>();
        Some(format!("{} {facet:?} {filters:?}", self.facts.withdrawals))
    }

    fn cached(&self, facet: &Facet) -> Option<Vec<FacetCount>> {
        self.view.cached(&self.cache_key(facet)?)
    }

    /// The answer's part for each facet; an index without documents has tallied nothing.
    fn counts(&self, facets: &[(String, Facet)], tallies: Vec<Tally>) -> BTreeMap<String, Vec<FacetCount>> {
        let counts = tallies.into_iter().map(Tally::into_counts).chain(iter::repeat(Vec::new()));
        let of_facet = |((name, facet), counts): (&(String, Facet), Vec<FacetCount>)| {
            if let Some(key) = self.cache_key(facet) {
                self.view.cache(key, &counts);
            }
            (name.clone(), counts)
        };
        facets.iter().zip(counts).map(of_facet).collect()
    }

    /// Walks over what text and filters match, the filter of one facet left out.
    fn pass(&self, without: Option<&Facet>, page: Option<Page>, facets: &[(String, Facet)]) -> tantivy::Result<PassAnswer> {
        let mut clauses: Vec<(Occur, Box<dyn Query>)> = Vec::new();
        if let Some(text) = self.text {
            clauses.push((Occur::Must, text.query.box_clone()));
        }
        let mut fact_filter = FactFilter::default();
        for filter in self.filters.iter().filter(|filter| Some(&filter.facet) != without) {
            match &filter.condition {
                Condition::Indexed(terms) => {
                    let unscored = ConstScoreQuery::new(Box::new(terms.clone()), 0.0);
                    clauses.push((Occur::Must, Box::new(unscored)));
                }
                Condition::Price { min, max } => {
                    fact_filter.price_min = *min;
                    fact_filter.price_max = *max;
                }
                Condition::InStock(in_stock) => fact_filter.in_stock = Some(*in_stock),
            }
        }
        if clauses.is_empty() {
            clauses.push((Occur::Must, Box::new(AllQuery)));
        }
        let pass = Pass {
            view: self.view,
            facts: &self.facts,
            filter: fact_filter,
            curation: &self.curation,
            lifted: self.text.map_or(&[], |text| &text.with_all_words),
            page,
            facets: facets.iter().map(|(_, facet)| facet).collect(),
        };
        self.view.searcher.search(&BooleanQuery::new(clauses), &pass)
    }
}
