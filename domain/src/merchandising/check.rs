//! Whether a rule or a set of synonyms can be searched by; texts as they are compared.

use std::collections::BTreeSet;

use super::{
    BOOST_PERCENT_MAX, BOOSTS_MAX, Boost, BoostTarget, Condition, HIDDEN_MAX, MerchandisingRejection, PHRASE_CHARS_MAX, PHRASE_WORDS_MAX,
    PHRASES_MAX, PIN_POSITION_MAX, PINS_MAX, SearchRule, SynonymSet, Synonyms, TEXT_CHARS_MAX, normalised,
};
use crate::cart::FieldError;

/// The longest key of a set of synonyms and the longest language tag, in characters.
const KEY_CHARS_MAX: usize = 64;
const LANGUAGE_CHARS_MAX: usize = 35;

/// The rule with its texts as they are compared.
pub(super) fn rule(mut rule: SearchRule) -> Result<SearchRule, MerchandisingRejection> {
    let mut errors = Vec::new();
    text(&mut errors, "/title", &rule.title);
    match &mut rule.condition {
        Condition::Everywhere => {}
        Condition::Query { text: query, .. } => {
            *query = normalised(query);
            text(&mut errors, "/condition/text", query);
        }
        Condition::Category { handle } => text(&mut errors, "/condition/handle", handle),
    }
    if let (Some(from), Some(until)) = (rule.valid_from, rule.valid_until)
        && until <= from
    {
        errors.push(FieldError::new("/valid_until", "dates_invalid", "the end must be after the start"));
    }
    if rule.pins.is_empty() && rule.hidden.is_empty() && rule.boosts.is_empty() {
        errors.push(FieldError::new("/pins", "required", "a rule must pin, hide or boost something: pins, hidden or boosts"));
    }
    pins(&mut errors, &rule);
    hidden(&mut errors, &rule);
    boosts(&mut errors, &rule.boosts);
    if errors.is_empty() { Ok(rule) } else { Err(MerchandisingRejection::RuleInvalid { errors }) }
}

/// The set with its phrases as they are compared, each once.
pub(super) fn synonyms(mut set: SynonymSet) -> Result<SynonymSet, MerchandisingRejection> {
    let mut errors = Vec::new();
    let is_plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    if !(1..=KEY_CHARS_MAX).contains(&set.key.chars().count()) || !set.key.chars().all(is_plain) {
        errors.push(FieldError::new("/key", "invalid", &format!("1 to {KEY_CHARS_MAX} letters, digits, `-`, `_` or `.`")));
    }
    if let Some(language) = &mut set.language {
        language.make_ascii_lowercase();
        let is_tag = language.split('-').all(|part| !part.is_empty() && part.chars().all(|c| c.is_ascii_alphanumeric()));
        if !is_tag || language.len() > LANGUAGE_CHARS_MAX {
            errors.push(FieldError::new("/language", "invalid", "a language tag such as `en` or `de-AT`, or left out for all"));
        }
    }
    match &mut set.synonyms {
        Synonyms::TwoWay { phrases } => distinct(&mut errors, "/phrases", phrases, 2),
        Synonyms::OneWay { from, to } => {
            distinct(&mut errors, "/from", from, 1);
            distinct(&mut errors, "/to", to, 1);
            if from.iter().any(|phrase| to.contains(phrase)) {
                errors.push(FieldError::new("/to", "repeated", "a phrase stands on both sides; what is looked for is found anyway"));
            }
        }
    }
    if errors.is_empty() { Ok(set) } else { Err(MerchandisingRejection::SynonymsInvalid { errors }) }
}

fn text(errors: &mut Vec<FieldError>, pointer: &str, text: &str) {
    if text.trim().is_empty() || text.chars().count() > TEXT_CHARS_MAX {
        errors.push(FieldError::new(pointer, "invalid", &format!("1 to {TEXT_CHARS_MAX} characters")));
    }
}

fn pins(errors: &mut Vec<FieldError>, rule: &SearchRule) {
    too_many(errors, "/pins", rule.pins.len(), PINS_MAX);
    let (mut positions, mut products) = (BTreeSet::new(), BTreeSet::new());
    for (index, pin) in rule.pins.iter().enumerate() {
        if !(1..=PIN_POSITION_MAX).contains(&pin.position) {
            let detail = format!("a place from 1 to {PIN_POSITION_MAX}");
            errors.push(FieldError::new(format!("/pins/{index}/position"), "invalid", &detail));
        } else if !positions.insert(pin.position) {
            errors.push(FieldError::new(format!("/pins/{index}/position"), "repeated", "another product is pinned there"));
        }
        if !products.insert(pin.product_id) {
            errors.push(FieldError::new(format!("/pins/{index}/product_id"), "repeated", "the product is pinned already"));
        }
    }
}

fn hidden(errors: &mut Vec<FieldError>, rule: &SearchRule) {
    too_many(errors, "/hidden", rule.hidden.len(), HIDDEN_MAX);
    let mut products = BTreeSet::new();
    for (index, product_id) in rule.hidden.iter().enumerate() {
        if rule.pins.iter().any(|pin| pin.product_id == *product_id) {
            errors.push(FieldError::new(format!("/hidden/{index}"), "contradictory", "the rule pins this product; do one of both"));
        }
        if !products.insert(product_id) {
            errors.push(FieldError::new(format!("/hidden/{index}"), "repeated", "the product is hidden already"));
        }
    }
}

fn boosts(errors: &mut Vec<FieldError>, boosts: &[Boost]) {
    too_many(errors, "/boosts", boosts.len(), BOOSTS_MAX);
    let mut targets = BTreeSet::new();
    for (index, boost) in boosts.iter().enumerate() {
        if !(1..=BOOST_PERCENT_MAX).contains(&boost.percent) {
            let detail = format!("1 to {BOOST_PERCENT_MAX} percent: below 100 buries, above lifts; hide what is not to be seen");
            errors.push(FieldError::new(format!("/boosts/{index}/percent"), "invalid", &detail));
        }
        match &boost.target {
            BoostTarget::Brand { brand } => text(errors, &format!("/boosts/{index}/brand"), brand),
            BoostTarget::Category { handle } => text(errors, &format!("/boosts/{index}/handle"), handle),
            BoostTarget::Product { .. } => {}
        }
        if !targets.insert(&boost.target) {
            errors.push(FieldError::new(format!("/boosts/{index}"), "repeated", "it is boosted already"));
        }
    }
}

fn too_many(errors: &mut Vec<FieldError>, pointer: &str, count: usize, max: usize) {
    if count > max {
        errors.push(FieldError::new(pointer, "too_many", &format!("at most {max}; make another rule for more")));
    }
}

fn distinct(errors: &mut Vec<FieldError>, pointer: &str, phrases: &mut Vec<String>, min: usize) {
    for phrase in phrases.iter_mut() {
        *phrase = normalised(phrase);
    }
    for (index, phrase) in phrases.iter().enumerate() {
        let words = phrase.split(' ').count();
        if phrase.is_empty() || phrase.chars().count() > PHRASE_CHARS_MAX || words > PHRASE_WORDS_MAX {
            let detail = format!("1 to {PHRASE_WORDS_MAX} words of at most {PHRASE_CHARS_MAX} characters together");
            errors.push(FieldError::new(format!("{pointer}/{index}"), "invalid", &detail));
        }
    }
    let mut seen = BTreeSet::new();
    phrases.retain(|phrase| seen.insert(phrase.clone()));
    if !(min..=PHRASES_MAX).contains(&phrases.len()) {
        errors.push(FieldError::new(pointer, "invalid", &format!("{min} to {PHRASES_MAX} different phrases")));
    }
}
