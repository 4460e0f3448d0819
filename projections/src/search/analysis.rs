//! How text becomes terms, in the index and in queries alike.
//!
//! A word ([`words`](super::words)) is lower-cased and folded to ASCII. A language that has a stemmer adds the stems. Chinese is
//! also found by its sound ([`pinyin`](super::pinyin)).

use tantivy::tokenizer::{
    AsciiFoldingFilter, BoxTokenStream, Language, LowerCaser, RawTokenizer, RemoveLongFilter, StopWordFilter, TextAnalyzer, Token,
    TokenStream, Tokenizer, TokenizerManager,
};

use super::{
    compounds::Endings,
    pinyin::{Initials, Syllables},
    words::{Reading, Words, is_unspaced},
};

/// Words as written.
pub(super) const PLAIN: &str = "daybook_plain";
/// Words reduced to their stem, of text that [`tagged`] has marked with its language.
pub(super) const STEMS: &str = "daybook_stems";
/// Every beginning of every word.
pub(super) const PREFIXES: &str = "daybook_prefixes";
/// Chinese characters by their sound.
pub(super) const SYLLABLES: &str = "daybook_syllables";
pub(super) const INITIALS: &str = "daybook_initials";
/// Long German words from their end, of text that [`tagged`] has marked.
pub(super) const ENDINGS: &str = "daybook_endings";

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
    tokenizers.register(PLAIN, plain(Reading::Index));
    tokenizers.register(STEMS, TextAnalyzer::from(StemsByLanguage::default()));
    tokenizers.register(PREFIXES, TextAnalyzer::from(Prefixes::default()));
    tokenizers.register(SYLLABLES, TextAnalyzer::from(Syllables));
    tokenizers.register(INITIALS, TextAnalyzer::from(Initials));
    tokenizers.register(ENDINGS, TextAnalyzer::from(Endings::default()));
}

/// Marks a text with its language for [`STEMS`].
pub(super) fn tagged(lang: &str, text: &str) -> String {
    format!("{lang}{TAG_END}{text}")
}

/// The language of a text, empty where [`tagged`] has not marked it, and the text.
pub(super) fn untagged(text: &str) -> (&str, &str) {
    text.split_once(TAG_END).unwrap_or(("", text))
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
    /// Among the words of the text; a character without spaces around it counts as one.
    pub(super) position: usize,
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
            plain: plain(Reading::Query),
            stemmers: STEMMED.map(|(_, language)| stems(language, Reading::Query)).to_vec(),
            stop_words: stop_words.collect(),
        }
    }

    /// The words of a folded text by a shopper who speaks `lang`: "die" is nothing in German only.
    pub(super) fn words(&mut self, text: &str, lang: &str) -> Vec<QueryWord> {
        let mut words = Vec::new();
        let mut tokens = self.plain.token_stream(text);
        while let Some(token) = tokens.next() {
            let (from, to, position) = (token.offset_from, token.offset_to, token.position);
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
            words.push(QueryWord { plain, stems, stop_word, from, to, position });
        }
        words
    }
}

/// Whether a language tag (BCP 47: `de`, `de-AT`) is of this language.
pub(super) fn is_language(tag: &str, language: &str) -> bool {
    let primary = tag.split('-').next().unwrap_or_default();
    primary.eq_ignore_ascii_case(language)
}

fn plain(reading: Reading) -> TextAnalyzer {
    TextAnalyzer::builder(Words::new(reading))
        .filter(RemoveLongFilter::limit(WORD_BYTES_MAX))
        .filter(LowerCaser)
        .filter(AsciiFoldingFilter)
        .build()
}

/// Stemmed before folding: the German stemmer must see the umlaut.
fn stems(language: Language, reading: Reading) -> TextAnalyzer {
    TextAnalyzer::builder(Words::new(reading))
        .filter(RemoveLongFilter::limit(WORD_BYTES_MAX))
        .filter(LowerCaser)
        .filter(tantivy::tokenizer::Stemmer::new(language))
        .filter(AsciiFoldingFilter)
        .build()
}

/// The words of German texts as the index has them, and their stems.
pub(super) fn german() -> [TextAnalyzer; 2] {
    [plain(Reading::Index), stems(Language::German, Reading::Index)]
}

/// Chooses the stemmer by the tag of each text.
#[derive(Clone)]
struct StemsByLanguage {
    plain: TextAnalyzer,
    stemmers: [(&'static str, TextAnalyzer); STEMMED.len()],
}

impl Default for StemsByLanguage {
    fn default() -> Self {
        Self { plain: plain(Reading::Index), stemmers: STEMMED.map(|(lang, language)| (lang, stems(language, Reading::Index))) }
    }
}

impl Tokenizer for StemsByLanguage {
    type TokenStream<'a> = BoxTokenStream<'a>;

    fn token_stream<'a>(&'a mut self, text: &'a str) -> BoxTokenStream<'a> {
        let (tag, text) = untagged(text);
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
        Self { plain: plain(Reading::Index) }
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

/// Tokens that are known at once.
pub(super) struct Listed {
    tokens: Vec<Token>,
    /// The place after the current token.
    next: usize,
}

impl Listed {
    pub(super) fn new(tokens: Vec<Token>) -> Self {
        Self { tokens, next: 0 }
    }
}

impl TokenStream for Listed {
    fn advance(&mut self) -> bool {
        self.next += 1;
        self.next <= self.tokens.len()
    }

    fn token(&self) -> &Token {
        &self.tokens[self.next - 1]
    }

    fn token_mut(&mut self) -> &mut Token {
        &mut self.tokens[self.next - 1]
    }
}
