//! From the text of a query to tantivy queries.
//!
//! Each word is looked for in every field and scored by the best of them. Products with all the words
//! are wanted; where these are few, products with some of the words come after them. A word that no
//! product has is read in other ways: as a typo, as two words written together, as Chinese by its sound.
//! Where all of that finds little, the words that are known are read in these ways too ([`Width::Wide`]).

use tantivy::{
    DocAddress, DocSet, Score, Searcher, TERMINATED, Term,
    query::{
        BooleanQuery, BoostQuery, ConstScoreQuery, DisjunctionMaxQuery, EmptyQuery, EnableScoring, Occur, PhraseQuery, Query, TermQuery,
    },
    schema::{Field, IndexRecordOption},
};

use super::{
    QUERY_CHARS_MAX, QUERY_WORDS_MAX,
    analysis::{PREFIX_CHARS_MAX, QueryAnalyser, QueryWord, is_language},
    compounds, fuzzy,
    marks::Marks,
    pinyin,
    rules::Synonyms,
    schema::{self, Fields},
    words::{self, HYPHEN, is_unspaced},
};

/// Weights from the judged queries of the Chorus data set: chosen on one half of them, held against the other
/// (`tests/accept/relevance.rs`). The order matters, the digits little.
const TITLE: Score = 3.0;
const TITLE_STEM: Score = 1.6;
const BRAND: Score = 3.0;
const DESCRIPTION: Score = 1.4;
const KEYWORD: Score = 0.7;
/// The last word may be unfinished, but more often it is not.
const PREFIX: Score = 1.0;
/// What the other fields of a word add to its best one.
const TIE: Score = 0.2;
/// Words that stand together in a title.
const PHRASE: Score = 1.0;
const PHRASE_SLOP: u32 = 1;
/// For each edit between the word typed and the word found.
const EDIT: Score = 0.85;
/// How much less a rare variant of a typo counts than the most frequent one: the ratio of their frequencies to this power.
const COMMON: f64 = 0.4;
/// One word as two, two as one.
const RESPACED: Score = 0.8;
/// A word that is the end of a longer one, and what ends a word that nobody has.
const COMPOUND: Score = 0.5;
/// Other Chinese characters that sound the same, or a word spelled by its sound.
const SOUND: Score = 0.6;
/// How much more a spelling counts for who speaks Chinese.
const SPELLED: Score = 5.0;
/// Another word that the merchant says means the same.
const SYNONYM: Score = 0.8;
/// Initials say little.
const INITIALS: Score = 0.3;
/// A whole article number: nothing else is meant.
const CODE: Score = 1_000.0;

/// Letters of the shorter part of a word that is read as two.
const HALF_LETTERS_MIN: usize = 2;
/// A known word is taken for a typo of one that so many times as many products have.
const TYPO_FREQUENCY: u64 = 20;

/// A word that more products have, and more than this share of all, is not enough to be found by beside one that fewer have.
const COMMON_DOCUMENTS: u64 = 1_000;
const COMMON_SHARE: u64 = 50;

/// In how many ways a word is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Width {
    /// As typed; only what no product has is read in other ways.
    AsTyped,
    Wide,
}

pub(super) struct TextPlan {
    /// Matches products that have all the words.
    pub(super) strict: Box<dyn Query>,
    /// Matches products that have some of them; `None` when that would be the same.
    pub(super) relaxed: Option<Box<dyn Query>>,
    pub(super) did_you_mean: Option<String>,
    /// What is to be seen in a text that was found.
    pub(super) marks: Marks,
    /// An article number: there is no other way to read it.
    pub(super) is_code: bool,
}

/// `None` when the text is only white space.
pub(super) fn plan(
    searcher: &Searcher,
    fields: &Fields,
    analyser: &QueryAnalyser,
    text: &str,
    (lang, synonyms): (&str, &Synonyms),
    width: Width,
) -> tantivy::Result<Option<TextPlan>> {
    let text: String = text.chars().take(QUERY_CHARS_MAX).collect();
    let text = words::fold(&text);
    if text.trim().is_empty() {
        return Ok(None);
    }
    let mut reader = Reader { searcher, fields, analyser: analyser.clone(), lang, synonyms, width, marks: Marks::default() };
    let parts = reader.parts(&text)?;
    let strict = all_of(&parts, phrase(fields, &parts));
    if let Some(code) = reader.code(&text)? {
        let strict = any(vec![code, strict]);
        return Ok(Some(TextPlan { strict, relaxed: None, did_you_mean: None, marks: reader.marks, is_code: true }));
    }
    let several = parts.len() > 1 || parts.iter().any(|part| part.loose.len() > 1);
    let common = COMMON_DOCUMENTS.max(searcher.num_docs() / COMMON_SHARE);
    let relaxed = several.then(|| some_of(&parts, common, phrase(fields, &parts)));
    Ok(Some(TextPlan { strict, relaxed, did_you_mean: corrected(&text, &parts), marks: reader.marks, is_code: false }))
}

/// A word of the query, some that are read together, or an article number.
struct Part {
    query: Box<dyn Query>,
    /// Any of which is better than nothing.
    loose: Vec<Box<dyn Query>>,
    /// Not needed for a match.
    optional: bool,
    /// Products that have it, about; 0 where that isn't known.
    documents: u64,
    /// The words that titles hold, by position in the query.
    in_title: Vec<(usize, String)>,
    /// Bytes of the text, and what was probably meant there.
    correction: Option<Correction>,
}

struct Correction {
    from: usize,
    to: usize,
    text: String,
}

impl Part {
    /// Several parts that may together be read in another way, too.
    fn together(parts: Vec<Self>, other: Box<dyn Query>) -> Self {
        let query = dis_max(vec![all_of(&parts, None), other.box_clone()]);
        let mut together = Self { query, loose: vec![other], optional: false, documents: 0, in_title: Vec::new(), correction: None };
        for part in parts {
            together.loose.extend(part.loose);
            together.in_title.extend(part.in_title);
        }
        together
    }
}

struct Reader<'a> {
    searcher: &'a Searcher,
    fields: &'a Fields,
    analyser: QueryAnalyser,
    lang: &'a str,
    synonyms: &'a Synonyms,
    width: Width,
    marks: Marks,
}

impl Reader<'_> {
    /// The text piece by piece: what stands between spaces is an article number or one or more words.
    fn parts(&mut self, text: &str) -> tantivy::Result<Vec<Part>> {
        let unfinished_at = text.trim_end().len();
        let is_unfinished = unfinished_at == text.len();
        let mut parts: Vec<Part> = Vec::new();
        // The word that each part is, nothing where it is several or a number.
        let mut names: Vec<String> = Vec::new();
        // The piece before, when it was one word of one part.
        let mut before: Option<String> = None;
        let mut position = 0;
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
                of_piece.push(self.part(word, (at, position), is_last)?);
            }
            let mut of_names: Vec<String> = words.iter().map(|word| word.plain.clone()).collect();
            position += words.last().map_or(0, |last| last.position + 1);
            if let Some(code) = self.code(piece)? {
                let query = any(vec![code, all_of(&of_piece, None)]);
                of_piece = vec![Part {
                    loose: vec![query.box_clone()],
                    query,
                    optional: false,
                    documents: 0,
                    in_title: Vec::new(),
                    correction: None,
                }];
                of_names = vec![String::new()];
            } else if let [first, second] = &words[..]
                && piece.contains(HYPHEN)
                && let Some(joined) = self.joined(&first.plain, &second.plain)?
            {
                of_piece = vec![Part::together(of_piece, joined)];
                of_names = vec![String::new()];
            } else if self.width == Width::Wide
                && words.len() > 1
                && let Some(sound) = self.sound_of(piece)
            {
                of_piece = vec![Part::together(of_piece, sound)];
                of_names = vec![String::new()];
            }
            let single = words.first().filter(|word| words.len() == 1 && !word.stop_word).map(|word| word.plain.clone());
            if self.width == Width::Wide
                && let (Some(first), Some(second)) = (&before, &single)
                && let Some(joined) = self.joined(first, second)?
                && let Some(first) = parts.pop()
            {
                of_piece.insert(0, first);
                of_piece = vec![Part::together(of_piece, joined)];
                names.pop();
                of_names = vec![String::new()];
                before = None;
            } else {
                before = single;
            }
            parts.append(&mut of_piece);
            names.append(&mut of_names);
        }
        self.add_synonyms(&mut parts, &mut names)?;
        if self.width == Width::Wide || self.speaks_chinese() {
            self.join_syllables(&mut parts, &names)?;
        }
        // "The Who": stop words count when there is nothing else.
        if parts.iter().all(|part| part.optional) {
            for part in &mut parts {
                part.optional = false;
            }
        }
        Ok(parts)
    }

    /// What means the same as some of the words is found as well.
    fn add_synonyms(&mut self, parts: &mut Vec<Part>, names: &mut Vec<String>) -> tantivy::Result<()> {
        let synonyms = self.synonyms;
        for (range, alternatives) in synonyms.of(names).into_iter().rev() {
            let mut queries: Vec<Box<dyn Query>> = Vec::new();
            for phrase in alternatives {
                let mut words = Vec::new();
                for word in self.analyser.words(&phrase.join(" "), self.lang) {
                    let mut clauses = Vec::new();
                    self.push_clauses(&word, SYNONYM, &mut clauses)?;
                    words.push((Occur::Must, dis_max(clauses)));
                }
                queries.push(Box::new(BooleanQuery::new(words)));
            }
            let meant: Vec<Part> = parts.drain(range.clone()).collect();
            parts.insert(range.start, Part::together(meant, dis_max(queries)));
            names.splice(range, [String::new()]);
        }
        Ok(())
    }

    /// Words that are syllables, one after the other, are read as Chinese that was typed apart, where a title has it so.
    fn join_syllables(&self, parts: &mut Vec<Part>, names: &[String]) -> tantivy::Result<()> {
        let spelled: Vec<Option<Vec<&str>>> = names.iter().map(|name| pinyin::split(name).filter(|split| !split.is_empty())).collect();
        let mut end = spelled.len();
        while end > 0 {
            let begin = spelled[..end].iter().rposition(Option::is_none).map_or(0, |at| at + 1);
            let syllables: Vec<&str> = spelled[begin..end].iter().flatten().flatten().copied().collect();
            if end > begin + 1
                && let Some(sound) = self.sound(&syllables)
                && !first_matches(self.searcher, &*sound, 1)?.is_empty()
            {
                let meant: Vec<Part> = parts.drain(begin..end).collect();
                parts.insert(begin, Part::together(meant, sound));
            }
            end = begin.saturating_sub(1);
        }
        Ok(())
    }

    /// `at` is where the word's piece begins: bytes of the text, and words before it.
    fn part(&mut self, word: &QueryWord, at: (usize, usize), is_last: bool) -> tantivy::Result<Part> {
        let mut clauses = Vec::new();
        self.push_clauses(word, 1.0, &mut clauses)?;
        let is_unspaced = word.plain.chars().any(is_unspaced);
        let mut documents = self.documents_with(word)?;
        if is_last && !is_unspaced {
            let prefix = word.plain.chars().take(PREFIX_CHARS_MAX).collect::<String>();
            documents = documents.max(self.searcher.doc_freq(&Term::from_field_text(self.fields.prefixes, &prefix))?);
            self.push(self.fields.prefixes, &prefix, PREFIX, &mut clauses)?;
            self.marks.prefix = Some(prefix);
        }
        let mut correction = None;
        if clauses.is_empty() || (self.width == Width::Wide && !word.stop_word) {
            if is_unspaced {
                self.read_unspaced(word, &mut clauses)?;
            } else {
                let (meant, as_others) = self.read_otherwise(word, documents, &mut clauses)?;
                (correction, documents) = (meant, documents.max(as_others));
            }
        }
        if self.speaks_chinese() && !is_unspaced {
            self.push_initials(word, &mut clauses)?;
            clauses.extend(self.spelled(&word.plain, is_last, SPELLED));
        }
        let title = Term::from_field_text(self.fields.title, &word.plain);
        let in_title = self.searcher.doc_freq(&title)? > 0;
        let query = dis_max(clauses);
        Ok(Part {
            loose: vec![query.box_clone()],
            query,
            optional: word.stop_word,
            documents,
            in_title: if in_title { vec![(at.1 + word.position, word.plain.clone())] } else { Vec::new() },
            correction: correction.map(|text| Correction { from: at.0 + word.from, to: at.0 + word.to, text }),
        })
    }

    /// The word in each field that has it.
    fn push_clauses(&mut self, word: &QueryWord, boost: Score, clauses: &mut Vec<Box<dyn Query>>) -> tantivy::Result<()> {
        self.marks.add(word);
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

    /// A word that the dictionary has cut as no title was: by its pairs of characters; and other characters of its sound.
    fn read_unspaced(&self, word: &QueryWord, clauses: &mut Vec<Box<dyn Query>>) -> tantivy::Result<()> {
        if clauses.is_empty() {
            let mut pairs = Vec::new();
            for pair in words::pairs(&word.plain) {
                let mut of_pair = Vec::new();
                self.push(self.fields.title, pair, TITLE, &mut of_pair)?;
                self.push(self.fields.description, pair, DESCRIPTION, &mut of_pair)?;
                self.push(self.fields.keywords, pair, KEYWORD, &mut of_pair)?;
                pairs.push((Occur::Must, dis_max(of_pair)));
            }
            if !pairs.is_empty() {
                clauses.push(Box::new(BoostQuery::new(Box::new(BooleanQuery::new(pairs)), RESPACED)));
            }
        }
        clauses.extend(self.sound_of(&word.plain));
        Ok(())
    }

    /// A word between spaces that is no word of the catalogue's: as two words, as a typo, as Chinese by its sound. Answers what was
    /// probably meant.
    fn read_otherwise(
        &mut self,
        word: &QueryWord,
        documents: u64,
        clauses: &mut Vec<Box<dyn Query>>,
    ) -> tantivy::Result<(Option<String>, u64)> {
        let known = clauses.len();
        let mut meant = None;
        if let Some((first, second)) = self.halves(&word.plain)? {
            let mut halves = Vec::new();
            let boost = if known == 0 { RESPACED } else { RESPACED / 2.0 };
            for half in [first, second] {
                for word in self.analyser.words(half, self.lang) {
                    let mut of_half = Vec::new();
                    self.push_clauses(&word, boost, &mut of_half)?;
                    halves.push((Occur::Must, dis_max(of_half)));
                }
            }
            clauses.push(Box::new(BooleanQuery::new(halves)));
            meant = (known == 0).then(|| format!("{first} {second}"));
        }
        let names = [self.fields.title, self.fields.brand_words];
        let mut variants = fuzzy::variants(self.searcher, &names, &word.plain)?;
        let is_name = !variants.is_empty();
        if !is_name && known == 0 {
            variants = fuzzy::variants(self.searcher, &[self.fields.description, self.fields.keywords], &word.plain)?;
        }
        if known > 0 {
            variants.retain(|variant| u64::from(variant.documents) >= TYPO_FREQUENCY * documents);
        }
        // What other texts hold are stems, which nobody is asked whether they were meant.
        if meant.is_none() && is_name {
            meant = variants.first().map(|best| best.term.clone());
        }
        let most = variants.iter().map(|variant| variant.documents).max().unwrap_or(1);
        let as_others = variants.iter().map(|variant| u64::from(variant.documents)).sum();
        for variant in variants {
            let boost = EDIT.powi(i32::from(variant.distance)) * commonness(variant.documents, most);
            for word in self.analyser.words(&variant.term, self.lang) {
                self.push_clauses(&word, boost, clauses)?;
            }
        }
        if is_language(self.lang, compounds::LANGUAGE) {
            if known == 0 {
                clauses.extend(self.by_its_end(&word.plain)?);
            }
            self.push_compounds(word, clauses)?;
        }
        if !self.speaks_chinese() {
            clauses.extend(self.spelled(&word.plain, false, 1.0));
        }
        if clauses.is_empty() {
            self.push_initials(word, clauses)?;
        }
        Ok((meant, as_others))
    }

    /// Words of titles that end with this one.
    fn push_compounds(&mut self, word: &QueryWord, clauses: &mut Vec<Box<dyn Query>>) -> tantivy::Result<()> {
        let Some(endings) = self.fields.endings else { return Ok(()) };
        for longer in compounds::ending_with(self.searcher, endings, &word.stems)? {
            let longer = QueryWord { plain: longer.clone(), stems: vec![longer], stop_word: false, ..word.clone() };
            self.push_clauses(&longer, COMPOUND, clauses)?;
        }
        Ok(())
    }

    /// A word by the longest end of it that is a word of the catalogue's, more so with its first part.
    fn by_its_end(&mut self, word: &str) -> tantivy::Result<Option<Box<dyn Query>>> {
        for (first, end) in compounds::cuts(word) {
            let mut clauses = Vec::new();
            for word in self.analyser.words(end, self.lang) {
                if self.documents_with(&word)? == 0 {
                    continue;
                }
                self.push(self.fields.title, &word.plain, TITLE * COMPOUND, &mut clauses)?;
                for stem in &word.stems {
                    self.push(self.fields.title_stems, stem, TITLE_STEM * COMPOUND, &mut clauses)?;
                }
                self.push_compounds(&word, &mut clauses)?;
                self.marks.add(&word);
            }
            if clauses.is_empty() {
                continue;
            }
            let mut of_first = Vec::new();
            for first in compounds::unlinked(first) {
                for word in self.analyser.words(first, self.lang) {
                    self.push_clauses(&word, COMPOUND, &mut of_first)?;
                }
            }
            let parts = vec![(Occur::Must, dis_max(clauses)), (Occur::Should, dis_max(of_first))];
            return Ok(Some(Box::new(BooleanQuery::new(parts))));
        }
        Ok(None)
    }

    fn push_initials(&self, word: &QueryWord, clauses: &mut Vec<Box<dyn Query>>) -> tantivy::Result<()> {
        if pinyin::may_be_initials(&word.plain) {
            self.push(self.fields.initials, &word.plain, INITIALS, clauses)?;
        }
        Ok(())
    }

    /// Who does types Latin letters for Chinese words more often than for others.
    fn speaks_chinese(&self) -> bool {
        is_language(self.lang, "zh")
    }

    /// Products that have the word in some field, about.
    fn documents_with(&self, word: &QueryWord) -> tantivy::Result<u64> {
        let names = [self.fields.title, self.fields.brand_words].map(|field| Term::from_field_text(field, &word.plain));
        let texts = [self.fields.title_stems, self.fields.description, self.fields.keywords];
        let stems = word.stems.iter().flat_map(|stem| texts.map(|field| Term::from_field_text(field, stem)));
        let mut most = 0;
        for term in names.into_iter().chain(stems) {
            most = most.max(self.searcher.doc_freq(&term)?);
        }
        Ok(most)
    }

    /// A word as two that stand together in a title; of several ways the one whose rarer half is the most frequent.
    fn halves<'w>(&self, word: &'w str) -> tantivy::Result<Option<(&'w str, &'w str)>> {
        let mut best: Option<(u64, (&str, &str))> = None;
        for (at, _) in word.char_indices().skip(HALF_LETTERS_MIN) {
            let (first, second) = word.split_at(at);
            if second.chars().count() < HALF_LETTERS_MIN {
                break;
            }
            let terms = [first, second].map(|half| Term::from_field_text(self.fields.title, half));
            let frequency = self.searcher.doc_freq(&terms[0])?.min(self.searcher.doc_freq(&terms[1])?);
            if frequency > best.map_or(0, |(best, _)| best)
                && !first_matches(self.searcher, &PhraseQuery::new(terms.to_vec()), 1)?.is_empty()
            {
                best = Some((frequency, (first, second)));
            }
        }
        Ok(best.map(|(_, halves)| halves))
    }

    /// Two words as one.
    fn joined(&mut self, first: &str, second: &str) -> tantivy::Result<Option<Box<dyn Query>>> {
        let joined = format!("{first}{second}");
        let mut clauses = Vec::new();
        for word in self.analyser.words(&joined, self.lang) {
            self.push_clauses(&word, RESPACED, &mut clauses)?;
        }
        Ok((!clauses.is_empty()).then(|| dis_max(clauses)))
    }

    /// Chinese characters that sound as these do.
    fn sound_of(&self, text: &str) -> Option<Box<dyn Query>> {
        let syllables = pinyin::syllables(text)?;
        self.sound(&syllables.iter().map(String::as_str).collect::<Vec<_>>())
    }

    /// A word in Latin letters as the sound of Chinese ones; the last of all may be unfinished.
    fn spelled(&self, word: &str, is_last: bool, boost: Score) -> Option<Box<dyn Query>> {
        let mut readings: Vec<Box<dyn Query>> = Vec::new();
        if is_last {
            for (whole, endings) in pinyin::split_unfinished(word) {
                readings.extend(endings.into_iter().filter_map(|ending| self.sound(&[whole.as_slice(), &[ending]].concat())));
            }
        }
        if let Some(syllables) = pinyin::split(word) {
            readings.extend(self.sound(&syllables));
        }
        (!readings.is_empty()).then(|| Box::new(BoostQuery::new(dis_max(readings), boost)) as _)
    }

    fn sound(&self, syllables: &[&str]) -> Option<Box<dyn Query>> {
        let terms: Vec<Term> = syllables.iter().map(|syllable| Term::from_field_text(self.fields.syllables, syllable)).collect();
        let query: Box<dyn Query> = match &terms[..] {
            [] => return None,
            [one] => Box::new(TermQuery::new(one.clone(), IndexRecordOption::WithFreqs)),
            _ => Box::new(PhraseQuery::new(terms)),
        };
        Some(Box::new(BoostQuery::new(query, SOUND)))
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

/// A rare word scores high by itself; as the reading of a typo it is the less likely one.
#[expect(clippy::cast_possible_truncation, reason = "a weight")]
fn commonness(documents: u32, most: u32) -> Score {
    (f64::from(documents) / f64::from(most.max(1))).powf(COMMON) as Score
}

/// The first products that a query matches, in the index's order, at most `wanted`.
pub(super) fn first_matches(searcher: &Searcher, query: &dyn Query, wanted: usize) -> tantivy::Result<Vec<DocAddress>> {
    let weight = query.weight(EnableScoring::disabled_from_searcher(searcher))?;
    let mut found = Vec::new();
    for (ordinal, segment) in (0..).zip(searcher.segment_readers()) {
        let mut matches = weight.scorer(segment, 1.0)?;
        let mut document = matches.doc();
        while document != TERMINATED {
            if !segment.is_deleted(document) {
                found.push(DocAddress::new(ordinal, document));
                if found.len() >= wanted {
                    return Ok(found);
                }
            }
            document = matches.advance();
        }
    }
    Ok(found)
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

/// Products with one of the words at least; words that are as common as `common` count beside a rarer one, but don't find.
fn some_of(parts: &[Part], common: u64, phrase: Option<Box<dyn Query>>) -> Box<dyn Query> {
    let has_rare = parts.iter().any(|part| !part.optional && (1..=common).contains(&part.documents));
    let (needed, others): (Vec<&Part>, Vec<&Part>) = parts.iter().partition(|part| !(part.optional || has_rare && part.documents > common));
    let needed = any(needed.into_iter().flat_map(|part| &part.loose).map(|query| query.box_clone()).collect());
    let mut clauses = vec![(Occur::Must, needed)];
    for part in others {
        clauses.push((Occur::Should, part.query.box_clone()));
    }
    clauses.extend(phrase.map(|phrase| (Occur::Should, phrase)));
    Box::new(BooleanQuery::new(clauses))
}

fn any(queries: Vec<Box<dyn Query>>) -> Box<dyn Query> {
    Box::new(BooleanQuery::union(queries))
}

/// Matches what any of these does; scores as the best of them. None of them: nothing.
fn dis_max(queries: Vec<Box<dyn Query>>) -> Box<dyn Query> {
    Box::new(DisjunctionMaxQuery::with_tie_breaker(queries, TIE))
}

/// The words that titles hold, standing as they do in the query.
fn phrase(fields: &Fields, parts: &[Part]) -> Option<Box<dyn Query>> {
    let words = parts.iter().flat_map(|part| &part.in_title);
    let terms: Vec<_> = words.map(|(position, word)| (*position, Term::from_field_text(fields.title, word))).collect();
    if terms.len() < 2 {
        return None;
    }
    let phrase = PhraseQuery::new_with_offset_and_slop(terms, PHRASE_SLOP);
    Some(Box::new(BoostQuery::new(Box::new(phrase), PHRASE)))
}

/// The text with its corrections, if there are any.
fn corrected(text: &str, parts: &[Part]) -> Option<String> {
    let mut corrected = String::new();
    let mut copied = 0;
    for correction in parts.iter().filter_map(|part| part.correction.as_ref()) {
        corrected.push_str(&text[copied..correction.from]);
        corrected.push_str(&correction.text);
        copied = correction.to;
    }
    (copied > 0).then(|| {
        corrected.push_str(text[copied..].trim_end());
        corrected
    })
}

fn offset_in(text: &str, piece: &str) -> usize {
    piece.as_ptr().addr() - text.as_ptr().addr()
}
