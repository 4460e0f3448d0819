//! Chinese by its sound. Who types 手机 may write shouji, shou ji or sj, or by another character of the same sound: the index
//! holds the syllables of every title, without tones, and the initials of every few characters that stand together.

use std::{collections::HashSet, sync::LazyLock};

use pinyin::{Pinyin, ToPinyin, ToPinyinMulti};
use tantivy::tokenizer::{BoxTokenStream, Token, Tokenizer};

use super::{
    analysis::Listed,
    words::{fold, is_han},
};

/// Characters of the shortest and the longest run whose initials are found: of one there are too many.
const INITIALS_MIN: usize = 2;
const INITIALS_MAX: usize = 6;
/// Syllables that an unfinished one may become; a single letter says nothing.
const ENDINGS_MAX: usize = 24;
/// Initials of one run, where its characters have several readings.
const SPELLINGS_MAX: usize = 8;
/// Letters of the longest syllable: zhuang, shuang, chuang.
const SYLLABLE_LETTERS_MAX: usize = 6;
/// Letters of a word that is looked at as syllables.
const LETTERS_MAX: usize = 40;

/// All syllables there are, as they are typed.
static SYLLABLES: LazyLock<HashSet<String>> = LazyLock::new(|| {
    let characters = ('\u{4e00}'..='\u{9fff}').filter_map(|c| c.to_pinyin_multi());
    characters.flat_map(|readings| readings.into_iter().flat_map(typed)).collect()
});

/// The ways to type a reading: ü is v on a keyboard, and u for who has no key.
fn typed(reading: Pinyin) -> Vec<String> {
    let plain = reading.plain();
    if plain.contains(['ü', 'v']) {
        return vec![plain.replace('ü', "v"), plain.replace(['ü', 'v'], "u")];
    }
    vec![plain.to_owned()]
}

/// The syllables of Chinese text, one for each character, in its most usual reading; `None` for other text.
pub(super) fn syllables(text: &str) -> Option<Vec<String>> {
    let of_char = |c: char| c.to_pinyin().and_then(|reading| typed(reading).into_iter().next());
    (!text.is_empty() && text.chars().all(is_han)).then(|| text.chars().map(of_char).collect()).flatten()
}

/// A word in Latin letters as syllables, the fewest that make it up; `None` when it is not made of any.
pub(super) fn split(word: &str) -> Option<Vec<&str>> {
    if word.len() > LETTERS_MAX || !word.bytes().all(|b| b.is_ascii_lowercase()) {
        return None;
    }
    // For each end, the start of the last syllable of the best way to get there, and how many syllables it took.
    let mut best: Vec<Option<(usize, usize)>> = vec![None; word.len() + 1];
    best[0] = Some((0, 0));
    for end in 1..=word.len() {
        for start in end.saturating_sub(SYLLABLE_LETTERS_MAX)..end {
            let Some((_, before)) = best[start] else { continue };
            if best[end].is_none_or(|(_, count)| before + 1 < count) && SYLLABLES.contains(&word[start..end]) {
                best[end] = Some((start, before + 1));
            }
        }
    }
    let mut syllables = Vec::new();
    let mut end = word.len();
    while end > 0 {
        let (start, _) = best[end]?;
        syllables.push(&word[start..end]);
        end = start;
    }
    syllables.reverse();
    Some(syllables)
}

/// As [`split`], of a word whose last syllable may be unfinished: the whole ones, and all that the last one may become; in each way
/// to read it so.
pub(super) fn split_unfinished(word: &str) -> Vec<(Vec<&str>, Vec<&'static str>)> {
    let mut readings = Vec::new();
    for letters in 1..SYLLABLE_LETTERS_MAX.min(word.len() + 1) {
        let Some((whole, begun)) = word.split_at_checked(word.len() - letters) else { continue };
        let Some(whole) = split(whole) else { continue };
        let mut endings: Vec<&str> = SYLLABLES.iter().map(String::as_str).filter(|syllable| syllable.starts_with(begun)).collect();
        if !endings.is_empty() && endings.len() <= ENDINGS_MAX {
            endings.sort_unstable();
            readings.push((whole, endings));
        }
    }
    readings
}

/// Whether a word may be the initials of some characters.
pub(super) fn may_be_initials(word: &str) -> bool {
    (INITIALS_MIN..=INITIALS_MAX).contains(&word.len()) && word.bytes().all(|b| b.is_ascii_lowercase())
}

/// The syllables of a text's Chinese characters, every reading, at the position of the character.
#[derive(Clone, Default)]
pub(super) struct Syllables;

impl Tokenizer for Syllables {
    type TokenStream<'a> = BoxTokenStream<'a>;

    fn token_stream<'a>(&'a mut self, text: &'a str) -> BoxTokenStream<'a> {
        let mut tokens = Vec::new();
        for (position, c) in fold(text).chars().enumerate().filter(|(_, c)| is_han(*c)) {
            let readings = c.to_pinyin_multi().into_iter().flatten();
            let mut spelled: Vec<String> = readings.flat_map(typed).collect();
            spelled.sort_unstable();
            spelled.dedup();
            tokens.extend(spelled.into_iter().map(|text| Token { text, position, ..Token::default() }));
        }
        BoxTokenStream::new(Listed::new(tokens))
    }
}

/// The letters that a character's readings begin with.
fn first_letters(c: char) -> Vec<&'static str> {
    let mut letters: Vec<&str> = c.to_pinyin_multi().into_iter().flatten().map(Pinyin::first_letter).collect();
    // The most usual reading comes first, and stays so.
    let mut seen = HashSet::new();
    letters.retain(|letter| seen.insert(*letter));
    letters
}

/// The initials of every few Chinese characters that stand together: sj of 手机.
#[derive(Clone, Default)]
pub(super) struct Initials;

impl Tokenizer for Initials {
    type TokenStream<'a> = BoxTokenStream<'a>;

    fn token_stream<'a>(&'a mut self, text: &'a str) -> BoxTokenStream<'a> {
        let text = fold(text);
        let mut tokens = Vec::new();
        for run in text.split(|c| !is_han(c)) {
            let letters: Vec<Vec<&str>> = run.chars().map(first_letters).collect();
            for size in INITIALS_MIN..=INITIALS_MAX.min(letters.len()) {
                for some in letters.windows(size) {
                    let spelled = some.iter().fold(vec![String::new()], |begun, next| {
                        let longer = begun.iter().flat_map(|text| next.iter().map(move |letter| format!("{text}{letter}")));
                        longer.take(SPELLINGS_MAX).collect()
                    });
                    tokens.extend(spelled.into_iter().map(|text| Token { text, position: 0, ..Token::default() }));
                }
            }
        }
        BoxTokenStream::new(Listed::new(tokens))
    }
}
