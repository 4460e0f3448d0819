//! German writes words together, and the last one says what a thing is: who looks for a Mühle wants the Kaffeemühle, and where
//! no Weinglas is to be had, glasses are nearer than nothing. So the index holds the long words of German titles from their end,
//! and a word of a query that few products have is also read as the end of theirs, or by its own longest known end.

use std::{
    cmp::Reverse,
    collections::{BTreeSet, HashMap},
};

use tantivy::{
    Searcher,
    schema::Field,
    tokenizer::{BoxTokenStream, TextAnalyzer, Token, Tokenizer},
};

use super::analysis::{self, Listed};

/// The language whose titles are read so.
pub(super) const LANGUAGE: &str = "de";
/// Letters of the shortest word that something stands at the end of, and of the shortest first part.
const PART_LETTERS_MIN: usize = 3;
/// Letters of the shortest end; shorter ones end too much.
const END_LETTERS_MIN: usize = 4;
/// Words that one end becomes, those of the most products.
const WORDS_MAX: usize = 16;
/// Words that are looked at for them.
const WORDS_READ_MAX: usize = 2_000;
/// What stands between two parts: Küche-n-messer, Arbeit-s-platte, Kind-er-stuhl.
const LINKS: [&str; 6] = ["", "s", "n", "en", "es", "er"];

/// The long words of a German title and their stems, last letter first, so that what ends alike stands together.
#[derive(Clone)]
pub(super) struct Endings {
    /// A stemmer takes Kindertisch for an adjective and leaves Kindert.
    words: TextAnalyzer,
    stems: TextAnalyzer,
}

impl Default for Endings {
    fn default() -> Self {
        let [words, stems] = analysis::german();
        Self { words, stems }
    }
}

impl Tokenizer for Endings {
    type TokenStream<'a> = BoxTokenStream<'a>;

    fn token_stream<'a>(&'a mut self, text: &'a str) -> BoxTokenStream<'a> {
        let mut tokens = Vec::new();
        let (tag, text) = analysis::untagged(text);
        if analysis::is_language(tag, LANGUAGE) {
            for analyser in [&mut self.words, &mut self.stems] {
                analyser.token_stream(text).process(&mut |token| {
                    let is_long = token.text.chars().count() >= PART_LETTERS_MIN + END_LETTERS_MIN;
                    if is_long && token.text.chars().all(char::is_alphabetic) {
                        tokens.push(Token { text: reversed(&token.text), position: 0, ..Token::default() });
                    }
                });
            }
        }
        BoxTokenStream::new(Listed::new(tokens))
    }
}

/// The words and stems of titles that end with one of these, those of the most products first.
pub(super) fn ending_with(searcher: &Searcher, endings: Field, stems: &[String]) -> tantivy::Result<Vec<String>> {
    let mut found: HashMap<String, u32> = HashMap::new();
    for stem in stems.iter().filter(|stem| stem.chars().count() >= END_LETTERS_MIN) {
        let begin = reversed(stem);
        let is_longer = |term: &str| term[begin.len()..].chars().count() >= PART_LETTERS_MIN;
        for segment in searcher.segment_readers() {
            let index = segment.inverted_index(endings)?;
            let mut terms = index.terms().range().ge(begin.as_bytes()).into_stream()?;
            let mut read = 0;
            while read < WORDS_READ_MAX
                && let Some((term, info)) = terms.next()
                && term.starts_with(begin.as_bytes())
            {
                read += 1;
                if let Ok(term) = std::str::from_utf8(term)
                    && is_longer(term)
                {
                    *found.entry(reversed(term)).or_default() += info.doc_freq;
                }
            }
        }
    }
    let by_frequency: BTreeSet<(Reverse<u32>, String)> = found.into_iter().map(|(stem, documents)| (Reverse(documents), stem)).collect();
    Ok(by_frequency.into_iter().take(WORDS_MAX).map(|(_, stem)| stem).collect())
}

/// The ways to cut a word in two, the longest end first.
pub(super) fn cuts(word: &str) -> impl Iterator<Item = (&str, &str)> {
    let cuts = word.char_indices().skip(PART_LETTERS_MIN).map(|(at, _)| word.split_at(at));
    cuts.take_while(|(_, end)| end.chars().count() >= END_LETTERS_MIN)
}

/// The first part without the letters that link it, in every way that there is.
pub(super) fn unlinked(part: &str) -> impl Iterator<Item = &str> {
    LINKS.iter().filter_map(|link| part.strip_suffix(link)).filter(|rest| rest.chars().count() >= PART_LETTERS_MIN)
}

fn reversed(word: &str) -> String {
    word.chars().rev().collect()
}
