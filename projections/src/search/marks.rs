//! What was found, marked in the texts that it was found in.

use std::{
    collections::BTreeSet,
    ops::Range,
    sync::{LazyLock, Mutex, PoisonError},
};

use unicode_normalization::char::is_combining_mark;

use super::{
    analysis::{QueryAnalyser, QueryWord},
    words::{self, Reading},
};

/// Characters of a description that are shown around what was found in it.
const EXTRACT_CHARS: usize = 180;
/// Characters of it before the first word that was found.
const LEAD_CHARS: usize = 50;
/// Marks of one text; a longer one is not read to its end.
const MARKS_MAX: usize = 100;

/// The words of a query in every form in which they were looked for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Marks {
    words: BTreeSet<String>,
    /// The last word, when it may be unfinished.
    pub(super) prefix: Option<String>,
}

impl Marks {
    pub(super) fn add(&mut self, word: &QueryWord) {
        if !word.stop_word {
            self.words.extend(word.stems.iter().cloned());
        }
    }

    /// The text as HTML, what was found in `<mark>`; `None` if nothing was.
    #[must_use]
    pub fn highlighted(&self, text: &str) -> Option<String> {
        let found = self.found_in(text);
        (!found.is_empty()).then(|| html(text, 0..text.len(), &found))
    }

    /// As [`Self::highlighted`], of a long text only what is around the first word that was found.
    #[must_use]
    pub fn extract(&self, text: &str) -> Option<String> {
        let found = self.found_in(text);
        let first = found.first()?.start;
        let starts = || text.char_indices().map(|(at, _)| at);
        let from = text[..first].char_indices().rev().map(|(at, _)| at).take(LEAD_CHARS).last().unwrap_or(first);
        // Words are not cut where that can be helped.
        let from = if from == 0 { 0 } else { text[from..first].find(char::is_whitespace).map_or(from, |space| from + space + 1) };
        let to = starts().filter(|at| *at > from).nth(EXTRACT_CHARS).unwrap_or(text.len());
        let to =
            if to == text.len() { to } else { text[from..to].rfind(char::is_whitespace).map_or(to, |space| (from + space).max(first)) };
        let last = found.iter().filter(|range| range.start < to).map(|range| range.end).max().unwrap_or(to);
        let to = to.max(last);
        let (before, after) = (if from > 0 { "… " } else { "" }, if to < text.len() { " …" } else { "" });
        Some(format!("{before}{}{after}", html(text, from..to, &found)))
    }

    /// Of all that is looked for. Analysis leaves a word's first letter as it is, so most words of a text need none.
    fn first_letters(&self) -> u128 {
        let words = self.words.iter().chain(&self.prefix);
        words.filter_map(|word| word.chars().next()).fold(0, |letters, c| letters | letter(c))
    }

    /// Bytes of the text, in order, without overlaps.
    fn found_in(&self, text: &str) -> Vec<Range<usize>> {
        /// Words are cut by it alone; the queries have theirs.
        static ANALYSER: LazyLock<Mutex<QueryAnalyser>> = LazyLock::new(|| Mutex::new(QueryAnalyser::new()));
        let mut found: Vec<Range<usize>> = Vec::new();
        if self.words.is_empty() && self.prefix.is_none() {
            return found;
        }
        let folded = Folded::of(text);
        let first_letters = self.first_letters();
        let mut analyser = None;
        for span in words::cut(&folded.text, Reading::Index) {
            if folded.text[span.from..].chars().next().is_some_and(|c| c.is_ascii() && first_letters & letter(c) == 0) {
                continue;
            }
            let analyser = analyser.get_or_insert_with(|| ANALYSER.lock().unwrap_or_else(PoisonError::into_inner).clone());
            let is_found = |word: &QueryWord| {
                let begins = self.prefix.as_ref().is_some_and(|prefix| word.plain.starts_with(prefix.as_str()));
                begins || word.stems.iter().any(|stem| self.words.contains(stem))
            };
            // What the dictionary cuts further is found by its parts.
            let words = analyser.words(&folded.text[span.from..span.to], "");
            if words.len() != 1 || !is_found(&words[0]) {
                continue;
            }
            let range = folded.original(span.from)..folded.original(span.to);
            if let Some(last) = found.last_mut().filter(|last| range.start <= last.end) {
                last.end = last.end.max(range.end);
            } else if found.len() < MARKS_MAX {
                found.push(range);
            } else {
                break;
            }
        }
        found
    }
}

/// A bit for each letter of ASCII, none for others.
fn letter(c: char) -> u128 {
    if c.is_ascii() { 1 << u32::from(c.to_ascii_lowercase()) } else { 0 }
}

/// A folded text, and where each of its letters stood before.
struct Folded {
    text: String,
    /// Bytes of the folded and of the original text, at the begin of each letter; both rise. Empty where folding changes nothing.
    starts: Vec<(usize, usize)>,
    original_bytes: usize,
}

impl Folded {
    fn of(text: &str) -> Self {
        if text.is_ascii() {
            return Self { text: text.to_owned(), starts: Vec::new(), original_bytes: text.len() };
        }
        let mut folded = Self { text: String::with_capacity(text.len()), starts: Vec::new(), original_bytes: text.len() };
        let mut letters = text.char_indices().peekable();
        while let Some((at, c)) = letters.next() {
            let mut end = at + c.len_utf8();
            // An accent, or the voicing of a half width Kana, becomes one with its letter.
            while let Some((next, mark)) = letters.next_if(|(_, c)| is_combining_mark(*c) || matches!(c, '\u{ff9e}' | '\u{ff9f}')) {
                end = next + mark.len_utf8();
            }
            folded.starts.push((folded.text.len(), at));
            folded.text.push_str(&words::fold(&text[at..end]));
        }
        // Some characters are simplified by their neighbours; that keeps their length.
        let whole = words::fold(text);
        if whole.len() == folded.text.len() {
            folded.text = whole.into_owned();
        }
        folded
    }

    fn original(&self, at: usize) -> usize {
        if self.starts.is_empty() {
            return at;
        }
        let after = self.starts.partition_point(|(start, _)| *start < at);
        self.starts.get(after).map_or(self.original_bytes, |(_, original)| *original)
    }
}

fn html(text: &str, part: Range<usize>, found: &[Range<usize>]) -> String {
    let mut html = String::with_capacity(part.len() + 13 * found.len());
    let mut at = part.start;
    for range in found.iter().filter(|range| part.start <= range.start && range.end <= part.end) {
        escape(&text[at..range.start], &mut html);
        html.push_str("<mark>");
        escape(&text[range.clone()], &mut html);
        html.push_str("</mark>");
        at = range.end;
    }
    escape(&text[at..part.end], &mut html);
    html
}

fn escape(text: &str, html: &mut String) {
    for c in text.chars() {
        match c {
            '&' => html.push_str("&amp;"),
            '<' => html.push_str("&lt;"),
            '>' => html.push_str("&gt;"),
            '"' => html.push_str("&quot;"),
            '\'' => html.push_str("&#39;"),
            c => html.push(c),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn marks(words: &[&str], prefix: Option<&str>) -> Marks {
        let mut analyser = QueryAnalyser::new();
        let mut marks = Marks { prefix: prefix.map(str::to_owned), ..Marks::default() };
        for text in words {
            for word in analyser.words(text, "en") {
                marks.add(&word);
            }
        }
        marks
    }

    #[test]
    fn what_was_found_is_marked_in_any_form_and_nothing_else_is_html() {
        let marks = marks(&["lamps", "手机"], Some("de"));
        let shown = |text| marks.highlighted(text);
        assert_eq!(shown("Lamp & <b>Desk</b>"), Some("<mark>Lamp</mark> &amp; &lt;b&gt;<mark>Desk</mark>&lt;/b&gt;".to_owned()));
        assert_eq!(shown("Chair"), None);
        assert_eq!(shown("ＬＡＭＰＳ und Lämp"), Some("<mark>ＬＡＭＰＳ</mark> und <mark>Lämp</mark>".to_owned()));
        assert_eq!(shown("la\u{308}mp"), Some("<mark>la\u{308}mp</mark>".to_owned()));
        assert_eq!(shown("新手機殼"), Some("新<mark>手機</mark>殼".to_owned()));
    }

    #[test]
    fn an_extract_is_around_the_first_word_found_and_cuts_no_word() {
        let marks = marks(&["lamp"], None);
        let text = format!("{}a lamp {}", "first words ".repeat(20), "last words ".repeat(40));
        let extract = marks.extract(&text).unwrap();
        assert!(extract.starts_with("… ") && extract.ends_with(" words …") | extract.ends_with(" last …"), "{extract}");
        assert!(extract.contains("words a <mark>lamp</mark> last"), "{extract}");
        assert!(extract.chars().count() < EXTRACT_CHARS + 30, "{extract}");
        assert_eq!(marks.extract("A lamp."), Some("A <mark>lamp</mark>.".to_owned()));
        let long = "灯".repeat(1_000) + "lamp" + &"灯".repeat(1_000);
        assert!(marks.extract(&long).unwrap().contains("<mark>lamp</mark>"));
    }
}
