//! Merchandising: what a merchant says about search results. Rules pin, hide, boost and bury products where a condition
//! holds; synonyms say which words mean the same.
//!
//! One stream, as the store's settings are: how many rules and synonyms there are is bounded by one decision, and whoever
//! follows the log has all of them from one place. What has ended is out of the state; the log remembers it. Each rule counts
//! its own changes, so that two people who work on two rules are not in each other's way. Synonyms stand here and not among
//! the settings, since no order rests on them: a checkout asserts the version of the settings' stream.

mod check;

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use crate::cart::FieldError;
use crate::event::Root;
use crate::id::{ProductId, SearchRuleId};

/// The id of the one stream.
pub const STORE: &str = "store";

/// Most rules that have not ended, and most sets of synonyms: each search index keeps all of them in memory.
pub const RULES_MAX: usize = 1_000;
pub const SYNONYM_SETS_MAX: usize = 1_000;

/// Most products that a rule pins, hides, and most things that it boosts.
pub const PINS_MAX: usize = 50;
pub const HIDDEN_MAX: usize = 200;
pub const BOOSTS_MAX: usize = 50;

/// The lowest place that a product may be pinned at.
pub const PIN_POSITION_MAX: u32 = 100;

/// How much a boost may lift, in percent; 100 changes nothing.
pub const BOOST_PERCENT_MAX: u32 = 1_000;

/// The longest title, query, brand or handle, in characters.
pub const TEXT_CHARS_MAX: usize = 200;

/// Most phrases on each side of a set of synonyms, and words and characters of a phrase.
pub const PHRASES_MAX: usize = 50;
pub const PHRASE_WORDS_MAX: usize = 5;
pub const PHRASE_CHARS_MAX: usize = 100;

/// Where a rule is in force.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Condition {
    Everywhere,
    /// The words that are searched for, compared as [`normalised`] leaves them.
    Query {
        text: String,
        matching: Matching,
    },
    /// The category that is listed, itself and not those below it.
    Category {
        handle: String,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Matching {
    /// The query is the text.
    Exact,
    /// The query has all words of the text, in any order, among others.
    Contains,
}

/// A product at a place of the result, counted from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pin {
    pub product_id: ProductId,
    pub position: u32,
}

/// What is lifted (above 100 percent) or buried (below).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Boost {
    #[serde(flatten)]
    pub target: BoostTarget,
    pub percent: u32,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum BoostTarget {
    /// Exactly as products have it.
    Brand {
        brand: String,
    },
    /// The products of a category and of those below it.
    Category {
        handle: String,
    },
    Product {
        product_id: ProductId,
    },
}

/// A rule with everything that it says; a change says all of it anew.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SearchRule {
    pub rule_id: SearchRuleId,
    pub title: String,
    pub condition: Condition,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub valid_from: Option<DateTime<Utc>>,
    /// Not included.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub valid_until: Option<DateTime<Utc>>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub pins: Vec<Pin>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub hidden: Vec<ProductId>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub boosts: Vec<Boost>,
}

impl SearchRule {
    /// `scheduled`, `active` or `over`.
    #[must_use]
    pub fn status(&self, now: DateTime<Utc>) -> &'static str {
        match (self.valid_from, self.valid_until) {
            (_, Some(until)) if until <= now => "over",
            (Some(from), _) if from > now => "scheduled",
            _ => "active",
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SearchRuleEnded {
    pub rule_id: SearchRuleId,
    pub ended_at: DateTime<Utc>,
}

/// Phrases that find each other's products. `key` is the merchant's own name of the set.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SynonymSet {
    pub key: String,
    /// BCP 47, in small letters: shoppers who speak it. Absent: everybody.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub language: Option<String>,
    #[serde(flatten)]
    pub synonyms: Synonyms,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Synonyms {
    /// Each finds what the others find.
    TwoWay { phrases: Vec<String> },
    /// Who looks for one of `from` finds the products of `to`, too; not the other way round.
    OneWay { from: Vec<String>, to: Vec<String> },
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SynonymsRemoved {
    pub key: String,
}

events! {
    /// What a merchant has said about search results.
    pub enum MerchandisingEvent {
        SearchRuleCreated(Box<SearchRule>) = "SearchRuleCreated", 1;
        SearchRuleChanged(Box<SearchRule>) = "SearchRuleChanged", 1;
        SearchRuleEnded(SearchRuleEnded) = "SearchRuleEnded", 1;
        SynonymsDefined(SynonymSet) = "SynonymsDefined", 1;
        SynonymsRemoved(SynonymsRemoved) = "SynonymsRemoved", 1;
    }
}

/// Wishes that are fulfilled already are no-ops.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MerchandisingCommand {
    CreateRule(Box<SearchRule>),
    /// The whole rule as it is to be.
    ChangeRule(Box<SearchRule>),
    EndRule {
        rule_id: SearchRuleId,
        at: DateTime<Utc>,
    },
    /// Adds a set, or puts it in the place of the one with its key.
    DefineSynonyms(SynonymSet),
    RemoveSynonyms {
        key: String,
    },
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MerchandisingRejection {
    #[error("there is no such search rule")]
    RuleNotFound,
    #[error("the search rule exists already")]
    RuleExists,
    #[error("a store has at most {RULES_MAX} search rules")]
    RulesTooMany,
    #[error("some fields of the rule are missing or wrong")]
    RuleInvalid { errors: Vec<FieldError> },
    #[error("there are no such synonyms")]
    SynonymsNotFound,
    #[error("a store has at most {SYNONYM_SETS_MAX} sets of synonyms")]
    SynonymsTooMany,
    #[error("some fields of the synonyms are missing or wrong")]
    SynonymsInvalid { errors: Vec<FieldError> },
}

impl MerchandisingRejection {
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::RuleNotFound => "search_rule_not_found",
            Self::RuleExists => "search_rule_exists",
            Self::RulesTooMany => "search_rules_too_many",
            Self::RuleInvalid { .. } => "search_rule_invalid",
            Self::SynonymsNotFound => "synonyms_not_found",
            Self::SynonymsTooMany => "synonyms_too_many",
            Self::SynonymsInvalid { .. } => "synonyms_invalid",
        }
    }
}

/// A rule as it is, how often something was said about it, and its place among all that were ever made.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct VersionedRule {
    #[serde(flatten)]
    pub rule: SearchRule,
    pub version: i64,
    pub number: u64,
}

/// The rules that have not ended and the synonyms.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Merchandising {
    pub rules: BTreeMap<SearchRuleId, VersionedRule>,
    /// Those that have ended, too.
    pub rules_made: u64,
    pub synonyms: BTreeMap<String, SynonymSet>,
}

impl Merchandising {
    pub fn decide(&self, command: MerchandisingCommand) -> Result<Vec<MerchandisingEvent>, MerchandisingRejection> {
        match command {
            MerchandisingCommand::CreateRule(rule) => self.create_rule(*rule),
            MerchandisingCommand::ChangeRule(rule) => self.change_rule(*rule),
            MerchandisingCommand::EndRule { rule_id, at } => {
                self.rules.get(&rule_id).ok_or(MerchandisingRejection::RuleNotFound)?;
                Ok(vec![MerchandisingEvent::SearchRuleEnded(SearchRuleEnded { rule_id, ended_at: at })])
            }
            MerchandisingCommand::DefineSynonyms(set) => self.define_synonyms(set),
            MerchandisingCommand::RemoveSynonyms { key } => {
                self.synonyms.get(&key).ok_or(MerchandisingRejection::SynonymsNotFound)?;
                Ok(vec![MerchandisingEvent::SynonymsRemoved(SynonymsRemoved { key })])
            }
        }
    }

    pub fn apply(&mut self, event: &MerchandisingEvent) {
        match event {
            MerchandisingEvent::SearchRuleCreated(rule) => {
                self.rules_made += 1;
                self.rules.insert(rule.rule_id, VersionedRule { rule: (**rule).clone(), version: 1, number: self.rules_made });
            }
            MerchandisingEvent::SearchRuleChanged(rule) => {
                if let Some(known) = self.rules.get_mut(&rule.rule_id) {
                    known.version += 1;
                    known.rule = (**rule).clone();
                }
            }
            MerchandisingEvent::SearchRuleEnded(ended) => {
                self.rules.remove(&ended.rule_id);
            }
            MerchandisingEvent::SynonymsDefined(set) => {
                self.synonyms.insert(set.key.clone(), set.clone());
            }
            MerchandisingEvent::SynonymsRemoved(removed) => {
                self.synonyms.remove(&removed.key);
            }
        }
    }

    /// The rules, the oldest first.
    #[must_use]
    pub fn oldest_first(&self) -> Vec<&VersionedRule> {
        let mut rules: Vec<&VersionedRule> = self.rules.values().collect();
        rules.sort_unstable_by_key(|rule| rule.number);
        rules
    }

    fn create_rule(&self, rule: SearchRule) -> Result<Vec<MerchandisingEvent>, MerchandisingRejection> {
        if self.rules.contains_key(&rule.rule_id) {
            return Err(MerchandisingRejection::RuleExists);
        }
        if self.rules.len() >= RULES_MAX {
            return Err(MerchandisingRejection::RulesTooMany);
        }
        Ok(vec![MerchandisingEvent::SearchRuleCreated(Box::new(check::rule(rule)?))])
    }

    fn change_rule(&self, wanted: SearchRule) -> Result<Vec<MerchandisingEvent>, MerchandisingRejection> {
        let known = self.rules.get(&wanted.rule_id).ok_or(MerchandisingRejection::RuleNotFound)?;
        let wanted = check::rule(wanted)?;
        Ok(if known.rule == wanted { vec![] } else { vec![MerchandisingEvent::SearchRuleChanged(Box::new(wanted))] })
    }

    fn define_synonyms(&self, wanted: SynonymSet) -> Result<Vec<MerchandisingEvent>, MerchandisingRejection> {
        let known = self.synonyms.get(&wanted.key);
        if known.is_none() && self.synonyms.len() >= SYNONYM_SETS_MAX {
            return Err(MerchandisingRejection::SynonymsTooMany);
        }
        let wanted = check::synonyms(wanted)?;
        Ok(if known == Some(&wanted) { vec![] } else { vec![MerchandisingEvent::SynonymsDefined(wanted)] })
    }
}

/// How queries and phrases are compared: in small letters, one space between words, none around them.
#[must_use]
pub fn normalised(text: &str) -> String {
    text.to_lowercase().split(|c: char| c.is_whitespace() || c.is_control()).filter(|word| !word.is_empty()).collect::<Vec<_>>().join(" ")
}

aggregate!(Merchandising = "merchandising", MerchandisingCommand => MerchandisingEvent, MerchandisingRejection);

impl Root for Merchandising {
    const CONTEXT: &'static str = "merchandising";
    const LONG_LIVED: bool = true;
}
