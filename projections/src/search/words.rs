//! Where words begin and end, in any script.
//!
//! Text is folded first: Unicode compatibility forms (full and half width) by NFKC, traditional Chinese characters to
//! simplified ones. Words between spaces are taken as they are. Scripts without spaces are cut by a dictionary: Chinese by
//! jieba, Japanese, Thai, Lao, Khmer and Burmese by ICU. A dictionary cuts a word in a query and in a title differently at
//! times, so the index also holds each character of such scripts and each two neighbours: what one cut misses, they find.

use std::{borrow::Cow, sync::LazyLock};

use icu_segmenter::{WordSegmenter, WordSegmenterBorrowed, options::WordBreakInvariantOptions};
use tantivy::tokenizer::{Token, TokenStream, Tokenizer};
use tantivy_jieba::jieba_rs::Jieba;
use unicode_normalization::{UnicodeNormalization, char::is_combining_mark};

/// Some hundred thousand words; read when the first Chinese text comes.
static CHINESE: LazyLock<Jieba> = LazyLock::new(Jieba::new);
static OTHERS: LazyLock<WordSegmenterBorrowed<'static>> = LazyLock::new(|| WordSegmenter::new_auto(WordBreakInvariantOptions::default()));

/// Bytes of a word with a hyphen that is written without one, too: Blu-ray, T-shirt.
const JOINED_BYTES_MAX: usize = 8;
/// Within a word it may be left out.
pub(super) const HYPHEN: &str = "-";

/// The form in which texts are compared; folding twice changes nothing.
pub(super) fn fold(text: &str) -> Cow<'_, str> {
    if text.is_ascii() {
        return Cow::Borrowed(text);
    }
    // A trademark sign would become two letters of the word before it.
    let folded: String = text.chars().map(|c| if matches!(c, '\u{2120}' | '\u{2122}') { ' ' } else { c }).nfkc().collect();
    Cow::Owned(if folded.chars().any(is_han) { fast2s::convert(&folded) } else { folded })
}

/// What a text is read for.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Reading {
    /// Every word that a query may ask for.
    Index,
    /// The words that are meant, each once.
    Query,
}

/// A word as bytes of the folded text. Where characters aren't separated by spaces each one counts as a position.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Span {
    pub(super) from: usize,
    pub(super) to: usize,
    pub(super) position: usize,
}

/// The words of a folded text, in order.
pub(super) fn cut(text: &str, reading: Reading) -> Vec<Span> {
    let mut spans: Vec<Span> = Vec::new();
    let (mut at, mut position) = (0, 0);
    while let Some(c) = text[at..].chars().next() {
        let Some(kind) = Kind::of(c) else {
            at += c.len_utf8();
            continue;
        };
        let rest = &text[at..];
        let to = at + rest.find(|c| !kind.goes_on_with(c)).unwrap_or(rest.len());
        if kind == Kind::Spaced {
            // Wi-Fi is also looked for as wifi; longer words are not, nor are numbers of articles.
            let is_short =
                |from: usize| text[from..to].split(HYPHEN).flat_map(str::chars).all(char::is_alphabetic) && to - from <= JOINED_BYTES_MAX;
            if reading == Reading::Index
                && let Some(before) = spans.last().copied()
                && &text[before.to..at] == HYPHEN
                && is_short(before.from)
            {
                spans.push(Span { from: before.from, to, position: before.position });
            }
            spans.push(Span { from: at, to, position });
            position += 1;
        } else {
            position += cut_run(&text[at..to], kind, reading, (at, position), &mut spans);
        }
        at = to;
    }
    spans
}

/// The pairs of neighbours in a word without spaces: the word where no dictionary knows it.
pub(super) fn pairs(word: &str) -> impl Iterator<Item = &str> {
    let ends = word.char_indices().skip(1).map(|(at, c)| at + c.len_utf8());
    word.char_indices().zip(ends).map(|((from, _), to)| &word[from..to])
}

pub(super) fn is_han(c: char) -> bool {
    matches!(u32::from(c), 0x3005 | 0x3007 | 0x3400..=0x4dbf | 0x4e00..=0x9fff | 0xf900..=0xfaff | 0x20000..=0x323af)
}

/// Written without spaces, or with endings that a prefix does not show.
pub(super) fn is_unspaced(c: char) -> bool {
    Kind::of(c).is_some_and(|kind| kind != Kind::Spaced)
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Spaced,
    /// Chinese and Japanese: characters of the one stand in the other.
    ChineseOrJapanese,
    Korean,
    /// Thai, Lao, Burmese, Khmer: their vowel signs are no letters.
    SouthEastAsian,
}

impl Kind {
    /// Of a character that a word may begin with.
    fn of(c: char) -> Option<Self> {
        match u32::from(c) {
            0x0e01..=0x0eff | 0x1000..=0x109f | 0x1780..=0x17ff if c.is_alphanumeric() => Some(Self::SouthEastAsian),
            0x3041..=0x30ff if c.is_alphanumeric() => Some(Self::ChineseOrJapanese),
            _ if is_han(c) => Some(Self::ChineseOrJapanese),
            0x1100..=0x11ff | 0x3130..=0x318f | 0xac00..=0xd7af => Some(Self::Korean),
            _ => c.is_alphanumeric().then_some(Self::Spaced),
        }
    }

    fn goes_on_with(self, c: char) -> bool {
        // A vowel sign or accent of its own belongs to the letter before it.
        Self::of(c) == Some(self) || is_combining_mark(c)
    }
}

/// Cuts a run of characters without spaces; answers how many there are.
fn cut_run(run: &str, kind: Kind, reading: Reading, (at, position): (usize, usize), spans: &mut Vec<Span>) -> usize {
    let chars: Vec<usize> = run.char_indices().map(|(from, _)| from).chain([run.len()]).collect();
    let count = chars.len() - 1;
    let mut found: Vec<(usize, usize)> = match kind {
        Kind::ChineseOrJapanese if run.chars().all(is_han) => {
            let words = match reading {
                Reading::Index => CHINESE.cut_for_search(run, true),
                Reading::Query => CHINESE.cut(run, true),
            };
            words.iter().map(|word| (word.byte_start, word.byte_end)).collect()
        }
        // Words are spaced here, but endings aren't: neighbours are all there is.
        Kind::Korean if count > 1 => chars.windows(3).map(|pair| (pair[0], pair[2])).collect(),
        Kind::Korean => vec![(0, run.len())],
        _ => {
            let breaks: Vec<usize> = OTHERS.segment_str(run).collect();
            breaks.windows(2).map(|word| (word[0], word[1])).collect()
        }
    };
    if reading == Reading::Index {
        found.extend(chars.windows(2).map(|one| (one[0], one[1])));
        found.extend(chars.windows(3).map(|pair| (pair[0], pair[2])));
        found.sort_unstable();
        found.dedup();
    }
    for (from, to) in found {
        let before = chars.partition_point(|start| *start < from);
        spans.push(Span { from: at + from, to: at + to, position: position + before });
    }
    count
}

/// The words of a text for the index.
#[derive(Clone)]
pub(super) struct Words {
    reading: Reading,
    text: String,
    spans: Vec<Span>,
    token: Token,
}

impl Words {
    pub(super) fn new(reading: Reading) -> Self {
        Self { reading, text: String::new(), spans: Vec::new(), token: Token::default() }
    }
}

impl Tokenizer for Words {
    type TokenStream<'a> = WordStream<'a>;

    fn token_stream<'a>(&'a mut self, text: &'a str) -> WordStream<'a> {
        self.text.clear();
        self.text.push_str(&fold(text));
        self.spans = cut(&self.text, self.reading);
        self.token.reset();
        WordStream { text: &self.text, spans: self.spans.iter(), token: &mut self.token }
    }
}

pub(super) struct WordStream<'a> {
    text: &'a str,
    spans: std::slice::Iter<'a, Span>,
    token: &'a mut Token,
}

impl TokenStream for WordStream<'_> {
    fn advance(&mut self) -> bool {
        let Some(span) = self.spans.next() else { return false };
        self.token.offset_from = span.from;
        self.token.offset_to = span.to;
        self.token.position = span.position;
        self.token.text.clear();
        self.token.text.extend(self.text[span.from..span.to].split(HYPHEN));
        true
    }

    fn token(&self) -> &Token {
        self.token
    }

    fn token_mut(&mut self) -> &mut Token {
        self.token
    }
}
