//! What search forgives: a word with one or two wrong letters, a word of which only the beginning is typed.

use std::collections::{BTreeMap, BTreeSet};

use crate::dice::Dice;
use crate::search::{Found, Icecat};
use crate::typo::{LETTERS_MIN, distance, edits_of, misspelt};

/// Hits on the first page, and on the longest one that may be asked for.
const LIMIT: usize = 10;
const LIMIT_MAX: usize = 200;
const MISSPELT_WORDS: usize = 2_000;
const BEGUN_WORDS: usize = 700;
const PREFIX_LETTERS_MIN: usize = 3;
/// Longer words are on one line of the tables.
const LETTERS_TOLD_APART: usize = 12;
/// Shares of all misspelt words, and of those that no other word of the catalogue is as near to.
const FLOOR_FOUND: f64 = 0.89;
const FLOOR_CORRECTED: f64 = 0.84;
const FLOOR_NEAREST_FOUND: f64 = 0.97;
/// Of all beginnings, some of which are words of descriptions themselves.
const FLOOR_BEGUN: f64 = 0.97;

/// A line of the table.
#[derive(Default)]
struct Tally {
    asked: usize,
    found: usize,
    corrected: usize,
    empty: usize,
    /// Those whose word is nearer than any other one, and how many of them are found.
    nearest: usize,
    nearest_found: usize,
}

impl Tally {
    fn add(&mut self, other: &Self) {
        self.asked += other.asked;
        self.found += other.found;
        self.corrected += other.corrected;
        self.empty += other.empty;
        self.nearest += other.nearest;
        self.nearest_found += other.nearest_found;
    }

    fn print(&self, letters: &str, edits: &str) {
        let [found, corrected, empty] = [self.found, self.corrected, self.empty].map(|count| 100.0 * share(count, self.asked));
        let of_nearest = 100.0 * share(self.nearest_found, self.nearest);
        let (asked, nearest) = (self.asked, self.nearest);
        println!("{letters:10} {edits:5} {asked:5} {found:12.1} % {corrected:11.1} % {empty:9.1} % {nearest:7} {of_nearest:12.1} %");
    }

    fn print_beginnings(&self, letters: &str) {
        let [found, empty] = [self.found, self.empty].map(|count| 100.0 * share(count, self.asked));
        println!("{letters:10} {:5} {found:12.1} % {empty:9.1} %", self.asked);
    }
}

fn share(part: usize, whole: usize) -> f64 {
    let number = |count| f64::from(u32::try_from(count).unwrap());
    number(part) / number(whole.max(1))
}

fn or_more(letters: usize) -> String {
    if letters == LETTERS_TOLD_APART { format!("{letters} or more") } else { letters.to_string() }
}

/// Every word of the catalogue's titles and brands, once.
fn vocabulary<'i>(icecat: &'i Icecat<'_>) -> BTreeSet<&'i str> {
    icecat.words.values().flatten().map(String::as_str).collect()
}

/// Whether a product on the first page has such a word.
fn shows(icecat: &Icecat<'_>, found: &Found, is_wanted: impl Fn(&str) -> bool) -> bool {
    found.skus.iter().any(|sku| icecat.words[sku].iter().any(|word| is_wanted(word)))
}

pub async fn misspelt_words_are_found(icecat: &Icecat<'_>) {
    let vocabulary = vocabulary(icecat);
    let is_worth = |word: &&str| word.len() >= LETTERS_MIN && word.bytes().all(|byte| byte.is_ascii_lowercase());
    let mut dice = Dice::new(5);
    let words = dice.some_of(vocabulary.iter().copied().filter(is_worth).collect(), MISSPELT_WORDS);
    // What happens to be another word of the catalogue is no typo that anybody could tell.
    let misspelt: Vec<String> = words
        .iter()
        .map(|word| {
            let edits = edits_of(word.len());
            std::iter::repeat_with(|| misspelt(word, edits, &mut dice)).find(|typo| !vocabulary.contains(typo.as_str())).unwrap()
        })
        .collect();
    let answers = icecat.found(&misspelt, LIMIT).await;

    let spelled: Vec<Vec<char>> = vocabulary.iter().map(|word| word.chars().collect()).collect();
    let mut lines: BTreeMap<usize, Tally> = BTreeMap::new();
    let mut missed = Vec::new();
    for ((word, typo), found) in words.iter().zip(&misspelt).zip(&answers) {
        let is_found = shows(icecat, found, |shown| is_same(shown, word));
        let is_nearest = is_nearest(word, typo, &spelled);
        if is_nearest && !is_found {
            missed.push(format!("{typo} for {word}"));
        }
        lines.entry(word.len().min(LETTERS_TOLD_APART)).or_default().add(&Tally {
            asked: 1,
            found: is_found.into(),
            corrected: (found.did_you_mean.as_deref() == Some(word)).into(),
            empty: (found.total == 0).into(),
            nearest: is_nearest.into(),
            nearest_found: (is_nearest && is_found).into(),
        });
    }
    println!("\nmisspelt words\nletters    edits asked  on first page  did_you_mean  no product  nearest  of these on first page");
    let mut all = Tally::default();
    for (letters, tally) in &lines {
        tally.print(&or_more(*letters), &edits_of(*letters).to_string());
        all.add(tally);
    }
    all.print("all", "");
    println!("missed, although nearest: {}", missed.join(", "));
    assert!(share(all.found, all.asked) >= FLOOR_FOUND, "{} of {} misspelt words are found", all.found, all.asked);
    assert!(share(all.corrected, all.asked) >= FLOOR_CORRECTED, "{} of {} misspelt words are corrected", all.corrected, all.asked);
    assert!(share(all.nearest_found, all.nearest) >= FLOOR_NEAREST_FOUND, "{} of {} are found", all.nearest_found, all.nearest);
}

/// The same word, be it in the plural: who mistypes `adapters` is served with an adapter.
fn is_same(one: &str, other: &str) -> bool {
    let (short, long) = if one.len() < other.len() { (one, other) } else { (other, one) };
    matches!(long.strip_prefix(short), Some("" | "s" | "es"))
}

/// Whether a misspelt word is nearer to its own word than to any other.
fn is_nearest(word: &str, typo: &str, vocabulary: &[Vec<char>]) -> bool {
    let (word, typo): (Vec<char>, Vec<char>) = (word.chars().collect(), typo.chars().collect());
    let own = distance(&word, &typo);
    let may_be_as_near = |other: &&Vec<char>| other.len().abs_diff(typo.len()) <= own && **other != word;
    !vocabulary.iter().filter(may_be_as_near).any(|other| distance(other, &typo) <= own)
}

pub async fn beginnings_of_words_are_found(icecat: &Icecat<'_>) {
    let long_enough = |word: &&str| word.chars().count() >= PREFIX_LETTERS_MIN;
    let words = Dice::new(7).some_of(vocabulary(icecat).into_iter().filter(long_enough).collect(), BEGUN_WORDS);
    let mut prefixes: BTreeSet<String> = BTreeSet::new();
    for word in words {
        let ends = word.char_indices().map(|(at, letter)| at + letter.len_utf8());
        prefixes.extend(ends.skip(PREFIX_LETTERS_MIN - 1).map(|end| word[..end].to_owned()));
    }
    let prefixes: Vec<String> = prefixes.into_iter().collect();
    let answers = icecat.found(&prefixes, LIMIT).await;

    let mut lines: BTreeMap<usize, Tally> = BTreeMap::new();
    let mut missed = Vec::new();
    for (prefix, found) in prefixes.iter().zip(&answers) {
        let is_found = shows(icecat, found, |word| word.starts_with(prefix.as_str()));
        if !is_found {
            missed.push(prefix.clone());
        }
        let tally = Tally { asked: 1, found: is_found.into(), empty: (found.total == 0).into(), ..Tally::default() };
        lines.entry(prefix.chars().count().min(LETTERS_TOLD_APART)).or_default().add(&tally);
    }
    println!("\nbeginnings of words\nletters    asked  on first page  no product");
    let mut all = Tally::default();
    for (letters, tally) in &lines {
        tally.print_beginnings(&or_more(*letters));
        all.add(tally);
    }
    all.print_beginnings("all");
    let further = icecat.found(&missed, LIMIT_MAX).await;
    let is_further = |prefix: &str, found: &Found| shows(icecat, found, |word| word.starts_with(prefix));
    let nowhere: Vec<&String> =
        missed.iter().zip(&further).filter(|(prefix, found)| !is_further(prefix, found)).map(|(prefix, _)| prefix).collect();
    println!("not on the first page: {}\nnot among the first {LIMIT_MAX}: {nowhere:?}", missed.join(", "));
    assert_eq!(all.empty, 0, "beginnings without an answer");
    assert!(share(all.found, all.asked) >= FLOOR_BEGUN, "{} of {} beginnings are found", all.found, all.asked);
}
