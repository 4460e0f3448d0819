//! How text becomes terms, in the index and in queries alike.
//!
//! A word is lower-cased and folded to ASCII. Scripts written without spaces are cut into single
//! characters and pairs, so that any two neighbours are found; a dictionary (jieba) would take the
//! place of [`Words`] and of nothing else. A language that has a stemmer adds the stems.

use tantivy::tokenizer::{
    AsciiFoldingFilter, BoxTokenStream, Language, LowerCaser, RawTokenizer, RemoveLongFilter, StopWordFilter, TextAnalyzer, Token,
    TokenStream, Tokenizer, TokenizerManager,
};

/// Words as written.
pub(super) const PLAIN: &str = "daybook_plain";
/// Words reduced to their stem, of text that [`tagged`] has marked with its language.
pub(super) const STEMS: &str = "daybook_stems";
/// Every beginning of every word.
pub(super) const PREFIXES: &str = "daybook_prefixes";

/// Bytes of the longest word; what is longer is not language.
const WORD_BYTES_MAX: usize = 60;
/// Characters of the longest prefix that is indexed.
pub(super) const PREFIX_CHARS_MAX: usize = 20;
/// U+001F, the unit separator: nobody types it.
const TAG_END: char = '\u{1f}';

/// The languages with a stemmer. A query is stemmed in all of them: a shopper on the German page may
/// well type an English word.
const STEMMED: [(&str, Language); 2] = [("en", Language::English), ("de", Language::German)];

pub(super) fn register(tokenizers: &TokenizerManager) {
    tokenizers.register(PLAIN, plain(Pairs::AndSingles));
    tokenizers.register(STEMS, TextAnalyzer::from(StemsByLanguage::default()));
    tokenizers.register(PREFIXES, TextAnalyzer::from(Prefixes::default()));
}

/// Marks a text with its language for [`STEMS`].
pub(super) fn tagged(lang: &str, text: &str) -> String {
    format!("{lang}{TAG_END}{text}")
}

/// A word of a query.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct QueryWord {
    pub(super) plain: String,
    /// Every form under which the stemmed fields may hold it, `plain` included.
    pub(super) stems: Vec<String>,
    /// "the", "mit": required only when the query has nothing else.
    pub(super) stop_word: bool,
    /// Bytes of the analysed text that it was read from.
    pub(super) from: usize,
    pub(super) to: usize,
}

/// Reads the words of a query, and knows the stems of each.
#[derive(Clone)]
pub(super) struct QueryAnalyser {
    plain: TextAnalyzer,
    stemmers: Vec<TextAnalyzer>,
    /// By language; they leave nothing of a stop word.
    stop_words: Vec<(&'static str, TextAnalyzer)>,
}

impl QueryAnalyser {
    pub(super) fn new() -> Self {
        let stop_words = STEMMED.into_iter().filter_map(|(lang, language)| {
            let filter = StopWordFilter::new(language)?;
            let words = TextAnalyzer::builder(RawTokenizer::default());
            Some((lang, words.filter(filter).build()))
        });
        Self {
            plain: plain(Pairs::Only),
            stemmers: STEMMED.map(|(_, language)| stems(language, Pairs::Only)).to_vec(),
            stop_words: stop_words.collect(),
        }
    }

    /// The words of a text by a shopper who speaks `lang`: "die" is nothing in German only.
    pub(super) fn words(&mut self, text: &str, lang: &str) -> Vec<QueryWord> {
        let mut words = Vec::new();
        let mut tokens = self.plain.token_stream(text);
        while let Some(token) = tokens.next() {
            let (from, to) = (token.offset_from, token.offset_to);
            let plain = token.text.clone();
            let mut stems = vec![plain.clone()];
            for stemmer in &mut self.stemmers {
                if let Some(stem) = stemmer.token_stream(&text[from..to]).next()
                    && !stems.contains(&stem.text)
                {
                    stems.push(stem.text.clone());
                }
            }
            let mut stop_words = self.stop_words.iter_mut();
            let stop_word =
                stop_words.find(|(spoken, _)| is_language(lang, spoken)).is_some_and(|(_, others)| !others.token_stream(&plain).advance());
            words.push(QueryWord { plain, stems, stop_word, from, to });
        }
        words
    }
}

/// Whether a language tag (BCP 47: `de`, `de-AT`) is of this language.
fn is_language(tag: &str, language: &str) -> bool {
    let primary = tag.split('-').next().unwrap_or_default();
    primary.eq_ignore_ascii_case(language)
}

/// Chinese, Japanese, Korean: written without spaces, or with endings that a prefix does not show.
pub(super) fn is_unspaced(c: char) -> bool {
    matches!(u32::from(c),
        0x3040..=0x30ff | 0x3400..=0x4dbf | 0x4e00..=0x9fff | 0xac00..=0xd7af | 0xf900..=0xfaff
        | 0x20000..=0x323af)
}

fn plain(pairs: Pairs) -> TextAnalyzer {
    TextAnalyzer::builder(Words::new(pairs))
        .filter(RemoveLongFilter::limit(WORD_BYTES_MAX))
        .filter(LowerCaser)
        .filter(AsciiFoldingFilter)
        .build()
}

/// Stemmed before folding: the German stemmer must see the umlaut.
fn stems(language: Language, pairs: Pairs) -> TextAnalyzer {
    TextAnalyzer::builder(Words::new(pairs))
        .filter(RemoveLongFilter::limit(WORD_BYTES_MAX))
        .filter(LowerCaser)
        .filter(tantivy::tokenizer::Stemmer::new(language))
        .filter(AsciiFoldingFilter)
        .build()
}

/// What an unspaced run becomes. The index holds single characters too, for one-character queries; a
/// query of two and more asks for pairs only, or 手机 (telephone) would find 手 (hand).
#[derive(Clone, Copy)]
enum Pairs {
    AndSingles,
    Only,
}

/// Splits at everything that is neither letter nor digit.
#[derive(Clone)]
struct Words {
    pairs: Pairs,
    token: Token,
}

impl Words {
    fn new(pairs: Pairs) -> Self {
        Self { pairs, token: Token::default() }
    }
}

impl Tokenizer for Words {
    type TokenStream<'a> = WordStream<'a>;

    fn token_stream<'a>(&'a mut self, text: &'a str) -> WordStream<'a> {
        self.token.reset();
        WordStream { text, at: 0, pairs: self.pairs, pair_due: false, in_run: false, token: &mut self.token }
    }
}

struct WordStream<'a> {
    text: &'a str,
    at: usize,
    pairs: Pairs,
    /// The single character at `at` was emitted, its pair was not.
    pair_due: bool,
    /// A pair was emitted that ends with the character at `at`.
    in_run: bool,
    token: &'a mut Token,
}

impl WordStream<'_> {
    fn emit(&mut self, to: usize) {
        self.token.offset_from = self.at;
        self.token.offset_to = to;
        self.token.position = self.token.position.wrapping_add(1);
        self.token.text.clear();
        self.token.text.push_str(&self.text[self.at..to]);
    }

    fn emit_word(&mut self) {
        let rest = &self.text[self.at..];
        let length = rest.find(|c: char| !c.is_alphanumeric() || is_unspaced(c)).unwrap_or(rest.len());
        let to = self.at + length;
        self.emit(to);
        self.at = to;
    }

    /// Emits the character at `at`, its pair, or nothing when a pair holds it already.
    fn emit_unspaced(&mut self, c: char) -> bool {
        let next = self.at + c.len_utf8();
        let neighbour = self.text[next..].chars().next().filter(|&c| is_unspaced(c)).map(|c| next + c.len_utf8());
        let (emitted, moves) = match (self.pairs, neighbour) {
            (Pairs::AndSingles, Some(end)) if self.pair_due => (Some(end), true),
            (Pairs::AndSingles, Some(_)) => (Some(next), false),
            (Pairs::Only, Some(end)) => (Some(end), true),
            (Pairs::Only, None) if self.in_run => (None, true),
            (_, None) => (Some(next), true),
        };
        if let Some(to) = emitted {
            self.emit(to);
        }
        self.pair_due = !moves;
        self.in_run = neighbour.is_some();
        if moves {
            self.at = next;
        }
        emitted.is_some()
    }
}

impl TokenStream for WordStream<'_> {
    fn advance(&mut self) -> bool {
        while let Some(c) = self.text[self.at..].chars().next() {
            if is_unspaced(c) {
                if self.emit_unspaced(c) {
                    return true;
                }
            } else if c.is_alphanumeric() {
                self.emit_word();
                return true;
            } else {
                self.at += c.len_utf8();
            }
        }
        false
    }

    fn token(&self) -> &Token {
        self.token
    }

    fn token_mut(&mut self) -> &mut Token {
        self.token
    }
}

/// Chooses the stemmer by the tag of each text.
#[derive(Clone)]
struct StemsByLanguage {
    plain: TextAnalyzer,
    stemmers: [(&'static str, TextAnalyzer); STEMMED.len()],
}

impl Default for StemsByLanguage {
    fn default() -> Self {
        Self { plain: plain(Pairs::AndSingles), stemmers: STEMMED.map(|(lang, language)| (lang, stems(language, Pairs::AndSingles))) }
    }
}

impl Tokenizer for StemsByLanguage {
    type TokenStream<'a> = BoxTokenStream<'a>;

    fn token_stream<'a>(&'a mut self, text: &'a str) -> BoxTokenStream<'a> {
        let (tag, text) = text.split_once(TAG_END).unwrap_or(("", text));
        for (language, stemmer) in &mut self.stemmers {
            if is_language(tag, language) {
                return stemmer.token_stream(text);
            }
        }
        self.plain.token_stream(text)
    }
}

/// Emits every beginning of every word. Unspaced words are short and found whole.
#[derive(Clone)]
struct Prefixes {
    plain: TextAnalyzer,
}

impl Default for Prefixes {
    fn default() -> Self {
        Self { plain: plain(Pairs::AndSingles) }
    }
}

impl Tokenizer for Prefixes {
    type TokenStream<'a> = PrefixStream<'a>;

    fn token_stream<'a>(&'a mut self, text: &'a str) -> PrefixStream<'a> {
        PrefixStream { words: self.plain.token_stream(text), ends: Vec::new(), token: Token::default() }
    }
}

struct PrefixStream<'a> {
    words: BoxTokenStream<'a>,
    /// Where the prefixes of the current word end, the next one last.
    ends: Vec<usize>,
    token: Token,
}

impl TokenStream for PrefixStream<'_> {
    fn advance(&mut self) -> bool {
        while self.ends.is_empty() {
            if !self.words.advance() {
                return false;
            }
            let word = &self.words.token().text;
            if word.chars().next().is_some_and(is_unspaced) {
                continue;
            }
            let ends = word.char_indices().map(|(at, c)| at + c.len_utf8());
            self.ends.extend(ends.take(PREFIX_CHARS_MAX));
        }
        let Some(end) = self.ends.pop() else {
            return false;
        };
        let word = self.words.token();
        self.token.position = word.position;
        self.token.offset_from = word.offset_from;
        self.token.offset_to = word.offset_to;
        self.token.text.clear();
        self.token.text.push_str(&word.text[..end]);
        true
    }

    fn token(&self) -> &Token {
        &self.token
    }

    fn token_mut(&mut self) -> &mut Token {
        &mut self.token
    }
}
