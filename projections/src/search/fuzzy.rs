//! Words near a misspelt one. tantivy's own `FuzzyTermQuery` gives every hit the same score; here the
//! term dictionary is asked for the near terms, and these are searched for like any others.

use std::collections::{HashMap, hash_map::Entry};

use tantivy::{Searcher, Term, query::FuzzyTermQuery, schema::Field};

/// Terms that one word becomes.
const VARIANTS_MAX: usize = 16;
/// Shorter words are near to everything.
const LETTERS_MIN: usize = 3;
/// Up to here one edit is forgiven, beyond it two.
const ONE_EDIT_LETTERS_MAX: usize = 7;

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Variant {
    pub(super) term: String,
    /// Edits away from the word; two neighbours swapped are one.
    pub(super) distance: u8,
    /// Products that have it in one of the fields.
    pub(super) documents: u32,
}

/// The nearest terms of these fields: by distance, then those with the same first letter (people rarely
/// miss that one), then the most frequent.
pub(super) fn variants(searcher: &Searcher, fields: &[Field], word: &str) -> tantivy::Result<Vec<Variant>> {
    let letters = word.chars().count();
    // A number is another number, not a typo.
    if letters < LETTERS_MIN || !word.chars().all(char::is_alphabetic) {
        return Ok(Vec::new());
    }
    let distance_max = if letters <= ONE_EDIT_LETTERS_MAX { 1 } else { 2 };
    let mut near = HashMap::new();
    for distance in 1..=distance_max {
        for &field in fields {
            collect(searcher, field, word, distance, &mut near)?;
        }
    }
    let first_letter = word.chars().next();
    let mut ranked: Vec<_> = near
        .into_iter()
        .map(|(term, Near { distance, documents })| {
            let other_start = term.chars().next() != first_letter;
            (distance, other_start, u32::MAX - documents, term)
        })
        .collect();
    ranked.sort_unstable();
    ranked.truncate(VARIANTS_MAX);
    let variants = ranked.into_iter().map(|(distance, _, rarity, term)| Variant { term, distance, documents: u32::MAX - rarity });
    Ok(variants.collect())
}

struct Near {
    distance: u8,
    documents: u32,
}

/// Adds the terms within `distance`; those found at a smaller one keep it.
fn collect(searcher: &Searcher, field: Field, word: &str, distance: u8, near: &mut HashMap<String, Near>) -> tantivy::Result<()> {
    let automaton = FuzzyTermQuery::new(Term::from_field_text(field, word), distance, true).automaton()?;
    for segment in searcher.segment_readers() {
        let index = segment.inverted_index(field)?;
        let mut terms = index.terms().search(&automaton).into_stream()?;
        while let Some((term, info)) = terms.next() {
            let Ok(term) = std::str::from_utf8(term) else {
                continue;
            };
            match near.entry(term.to_owned()) {
                Entry::Vacant(entry) => {
                    entry.insert(Near { distance, documents: info.doc_freq });
                }
                Entry::Occupied(mut entry) if entry.get().distance == distance => {
                    let seen = &mut entry.get_mut().documents;
                    *seen = seen.saturating_add(info.doc_freq);
                }
                Entry::Occupied(_) => {}
            }
        }
    }
    Ok(())
}
