//! From the text of a query to tantivy queries.
//!
//! Each word is looked for in every field and scored by the best of them. Products with all the words
//! are wanted; where these are few, products with some of the words come after them. A word that no
//! product has is taken for a typo and replaced by the words nearest to it.

use tantivy::{
    Score, Searcher, Term,
    query::{BooleanQuery, BoostQuery, ConstScoreQuery, DisjunctionMaxQuery, EmptyQuery, Occur, PhraseQuery, Query, TermQuery},
    schema::{Field, IndexRecordOption},
};

use super::{
    QUERY_CHARS_MAX, QUERY_WORDS_MAX,
    analysis::{PREFIX_CHARS_MAX, QueryAnalyser, QueryWord, is_unspaced},
    fuzzy,
    schema::{self, Fields},
};

/// Weights from the judged queries of the Chorus data set; the order matters, the digits little.
const TITLE: Score = 3.0;
const TITLE_STEM: Score = 2.4;
const BRAND: Score = 2.0;
const DESCRIPTION: Score = 1.0;
const KEYWORD: Score = 0.7;
/// The last word may be unfinished, but more often it is not.
const PREFIX: Score = 0.3;
/// What the other fields of a word add to its best one.
const TIE: Score = 0.2;
/// Words that stand together in a title.
const PHRASE: Score = 2.0;
const PHRASE_SLOP: u32 = 1;
/// For each edit between the word typed and the word found.
const EDIT: Score = 0.7;
/// A whole article number: nothing else is meant.
const CODE: Score = 1_000.0;
/// Lifts products with all the words over any with some of them. A score has 24 bits: what remains
/// below this is three decimals.
const ALL_WORDS: Score = 10_000.0;

pub(super) struct TextPlan {
    /// Matches products that have all the words.
    pub(super) strict: Box<dyn Query>,
    /// Matches products that have some of them, those with all of them first; `None` when that would
    /// be the same.
    pub(super) relaxed: Option<Box<dyn Query>>,
    pub(super) did_you_mean: Option<String>,
}

/// `None` when the text is only white space.
pub(super) fn plan(
    searcher: &Searcher,
    fields: &Fields,
    analyser: &QueryAnalyser,
    text: &str,
    lang: &str,
) -> tantivy::Result<Option<TextPlan>> {
    let text: String = text.chars().take(QUERY_CHARS_MAX).collect();
    if text.trim().is_empty() {
        return Ok(None);
    }
    let mut reader = Reader { searcher, fields, analyser: analyser.clone(), lang };
    let parts = reader.parts(&text)?;
    let strict = all_of(&parts, phrase(fields, &parts));
    if let Some(code) = reader.code(&text)? {
        return Ok(Some(TextPlan { strict: any(vec![code, strict]), relaxed: None, did_you_mean: None }));
    }
    let relaxed = (parts.len() > 1).then(|| some_of(&parts, phrase(fields, &parts), &*strict));
    Ok(Some(TextPlan { strict, relaxed, did_you_mean: corrected(&text, &parts) }))
}

/// A word of the query, or an article number.
struct Part {
    query: Box<dyn Query>,
    /// Not needed for a match.
    optional: bool,
    /// The word as titles hold it; `None` when no title does.
    in_title: Option<String>,
    /// Bytes of the text, and what was probably meant there.
    correction: Option<(usize, usize, String)>,
}

struct Reader<'a> {
    searcher: &'a Searcher,
    fields: &'a Fields,
    analyser: QueryAnalyser,
    lang: &'a str,
}

impl Reader<'_> {
    /// The text piece by piece: what stands between spaces is an article number or one or more words.
    fn parts(&mut self, text: &str) -> tantivy::Result<Vec<Part>> {
        let unfinished_at = text.trim_end().len();
        let is_unfinished = unfinished_at == text.len();
        let mut parts = Vec::new();
        for piece in text.split_whitespace() {
            if parts.len() >= QUERY_WORDS_MAX {
                break;
            }
            let at = offset_in(text, piece);
            let mut words = self.analyser.words(piece, self.lang);
            words.truncate(QUERY_WORDS_MAX - parts.len());
            let mut of_piece = Vec::new();
            for word in &words {
                let is_last = is_unfinished && at + word.to == unfinished_at;
                of_piece.push(self.part(word, at, is_last)?);
            }
            if let Some(code) = self.code(piece)? {
                of_piece =
                    vec![Part { query: any(vec![code, all_of(&of_piece, None)]), optional: false, in_title: None, correction: None }];
            }
            parts.append(&mut of_piece);
        }
        // "The Who": stop words count when there is nothing else.
        if parts.iter().all(|part| part.optional) {
            for part in &mut parts {
                part.optional = false;
            }
        }
        Ok(parts)
    }

    fn part(&mut self, word: &QueryWord, at: usize, is_last: bool) -> tantivy::Result<Part> {
        let mut clauses = Vec::new();
        self.push_clauses(word, 1.0, &mut clauses)?;
        if is_last && !word.plain.chars().any(is_unspaced) {
            let prefix = word.plain.chars().take(PREFIX_CHARS_MAX).collect::<String>();
            self.push(self.fields.prefixes, &prefix, PREFIX, &mut clauses)?;
        }
        let mut correction = None;
        if clauses.is_empty() {
            let dictionaries = [self.fields.title, self.fields.brand_words];
            let variants = fuzzy::variants(self.searcher, &dictionaries, &word.plain)?;
            correction = variants.first().map(|best| (at + word.from, at + word.to, best.term.clone()));
            for variant in variants {
                let boost = EDIT.powi(i32::from(variant.distance));
                for word in self.analyser.words(&variant.term, self.lang) {
                    self.push_clauses(&word, boost, &mut clauses)?;
                }
            }
        }
        let title = Term::from_field_text(self.fields.title, &word.plain);
        let in_title = self.searcher.doc_freq(&title)? > 0;
        Ok(Part {
            query: Box::new(DisjunctionMaxQuery::with_tie_breaker(clauses, TIE)),
            optional: word.stop_word,
            in_title: in_title.then(|| word.plain.clone()),
            correction,
        })
    }

    /// The word in each field that has it.
    fn push_clauses(&self, word: &QueryWord, boost: Score, clauses: &mut Vec<Box<dyn Query>>) -> tantivy::Result<()> {
        self.push(self.fields.title, &word.plain, TITLE * boost, clauses)?;
        self.push(self.fields.brand_words, &word.plain, BRAND * boost, clauses)?;
        for stem in &word.stems {
            self.push(self.fields.title_stems, stem, TITLE_STEM * boost, clauses)?;
            self.push(self.fields.description, stem, DESCRIPTION * boost, clauses)?;
            self.push(self.fields.keywords, stem, KEYWORD * boost, clauses)?;
        }
        Ok(())
    }

    fn push(&self, field: Field, word: &str, boost: Score, clauses: &mut Vec<Box<dyn Query>>) -> tantivy::Result<()> {
        let term = Term::from_field_text(field, word);
        if self.searcher.doc_freq(&term)? > 0 {
            let query = TermQuery::new(term, IndexRecordOption::WithFreqs);
            clauses.push(Box::new(BoostQuery::new(Box::new(query), boost)));
        }
        Ok(())
    }

    /// The text as an article number, if there is such an article.
    fn code(&self, text: &str) -> tantivy::Result<Option<Box<dyn Query>>> {
        let term = Term::from_field_text(self.fields.code, &schema::code_of(text));
        if self.searcher.doc_freq(&term)? == 0 {
            return Ok(None);
        }
        let query = TermQuery::new(term, IndexRecordOption::Basic);
        Ok(Some(Box::new(ConstScoreQuery::new(Box::new(query), CODE))))
    }
}

fn all_of(parts: &[Part], phrase: Option<Box<dyn Query>>) -> Box<dyn Query> {
    if parts.is_empty() {
        return Box::new(EmptyQuery);
    }
    let clauses = parts.iter().map(|part| {
        let occur = if part.optional { Occur::Should } else { Occur::Must };
        (occur, part.query.box_clone())
    });
    let bonus = phrase.map(|phrase| (Occur::Should, phrase));
    Box::new(BooleanQuery::new(clauses.chain(bonus).collect()))
}

fn some_of(parts: &[Part], phrase: Option<Box<dyn Query>>, strict: &dyn Query) -> Box<dyn Query> {
    let needed = parts.iter().filter(|part| !part.optional);
    let needed = any(needed.map(|part| part.query.box_clone()).collect());
    let all_words = ConstScoreQuery::new(strict.box_clone(), ALL_WORDS);
    let mut clauses = vec![(Occur::Must, needed), (Occur::Should, Box::new(all_words) as _)];
    for part in parts.iter().filter(|part| part.optional) {
        clauses.push((Occur::Should, part.query.box_clone()));
    }
    clauses.extend(phrase.map(|phrase| (Occur::Should, phrase)));
    Box::new(BooleanQuery::new(clauses))
}

fn any(queries: Vec<Box<dyn Query>>) -> Box<dyn Query> {
    Box::new(BooleanQuery::union(queries))
}

fn phrase(fields: &Fields, parts: &[Part]) -> Option<Box<dyn Query>> {
    let words = parts.iter().filter_map(|part| part.in_title.as_deref());
    let terms: Vec<_> = words.map(|word| Term::from_field_text(fields.title, word)).collect();
    if terms.len() < 2 {
        return None;
    }
    let mut phrase = PhraseQuery::new(terms);
    phrase.set_slop(PHRASE_SLOP);
    Some(Box::new(BoostQuery::new(Box::new(phrase), PHRASE)))
}

/// The text with its corrections, if there are any.
fn corrected(text: &str, parts: &[Part]) -> Option<String> {
    let mut corrected = String::new();
    let mut copied = 0;
    for (from, to, word) in parts.iter().filter_map(|part| part.correction.as_ref()) {
        corrected.push_str(&text[copied..*from]);
        corrected.push_str(word);
        copied = *to;
    }
    (copied > 0).then(|| {
        corrected.push_str(text[copied..].trim_end());
        corrected
    })
}

fn offset_in(text: &str, piece: &str) -> usize {
    piece.as_ptr().addr() - text.as_ptr().addr()
}
