//! Search rules and synonyms. Each public function is a decision, to be run by the writer.
//!
//! All of them are one stream; `If-Match` is about one rule all the same, since each counts its own changes.

use chrono::{DateTime, Utc};
use domain::id::{ProductId, SearchRuleId};
use domain::merchandising::{
    Boost, Condition, Merchandising, MerchandisingCommand, MerchandisingRejection, Pin, STORE, SearchRule, SynonymSet, VersionedRule,
};

use crate::answer::{FieldError, Refusal};
use crate::catalog::check_version;
use crate::streams::{Stop, Streams};

/// A rule that must be there, at the version that the caller has seen if it said one.
#[derive(Debug, Clone, Copy)]
pub struct RuleAt {
    pub rule_id: SearchRuleId,
    pub if_match: Option<i64>,
}

/// What is to be different about a rule; what is absent stays.
#[derive(Debug, Clone, Default)]
pub struct Patch {
    pub title: Option<String>,
    pub condition: Option<Condition>,
    pub valid_from: Option<Option<DateTime<Utc>>>,
    pub valid_until: Option<Option<DateTime<Utc>>>,
    pub pins: Option<Vec<Pin>>,
    pub hidden: Option<Vec<ProductId>>,
    pub boosts: Option<Vec<Boost>>,
}

pub fn create_rule(streams: &mut Streams<'_>, rule: &SearchRule) -> Result<VersionedRule, Stop> {
    decide(streams, 201, MerchandisingCommand::CreateRule(Box::new(rule.clone())))?;
    rule_after(streams, rule.rule_id)
}

pub fn change_rule(streams: &mut Streams<'_>, at: RuleAt, patch: &Patch) -> Result<VersionedRule, Stop> {
    let known = known(streams, at)?;
    let Patch { title, condition, valid_from, valid_until, pins, hidden, boosts } = patch.clone();
    let wanted = SearchRule {
        rule_id: at.rule_id,
        title: title.unwrap_or(known.title),
        condition: condition.unwrap_or(known.condition),
        valid_from: valid_from.unwrap_or(known.valid_from),
        valid_until: valid_until.unwrap_or(known.valid_until),
        pins: pins.unwrap_or(known.pins),
        hidden: hidden.unwrap_or(known.hidden),
        boosts: boosts.unwrap_or(known.boosts),
    };
    decide(streams, 200, MerchandisingCommand::ChangeRule(Box::new(wanted)))?;
    rule_after(streams, at.rule_id)
}

/// Ends it now and for ever: it is out of every list, the log remembers it.
pub fn end_rule(streams: &mut Streams<'_>, at: RuleAt) -> Result<(), Stop> {
    known(streams, at)?;
    let now = streams.now;
    decide(streams, 204, MerchandisingCommand::EndRule { rule_id: at.rule_id, at: now })
}

/// Adds a set of synonyms, or puts it in the place of the one with its key; answers it as it is kept.
pub fn define_synonyms(streams: &mut Streams<'_>, set: &SynonymSet) -> Result<SynonymSet, Stop> {
    decide(streams, 200, MerchandisingCommand::DefineSynonyms(set.clone()))?;
    let (after, _) = streams.outcome::<Merchandising>(STORE)?;
    after.synonyms.get(&set.key).cloned().ok_or_else(|| Refusal::not_found("set of synonyms").into())
}

pub fn remove_synonyms(streams: &mut Streams<'_>, key: &str) -> Result<(), Stop> {
    decide(streams, 204, MerchandisingCommand::RemoveSynonyms { key: key.to_owned() })
}

fn known(streams: &mut Streams<'_>, at: RuleAt) -> Result<SearchRule, Stop> {
    let known = streams.get::<Merchandising>(STORE)?.rules.get(&at.rule_id);
    let known = known.ok_or_else(|| refusal(MerchandisingRejection::RuleNotFound))?;
    check_version(at.if_match, known.version)?;
    Ok(known.rule.clone())
}

fn rule_after(streams: &mut Streams<'_>, rule_id: SearchRuleId) -> Result<VersionedRule, Stop> {
    let (after, _) = streams.outcome::<Merchandising>(STORE)?;
    after.rules.get(&rule_id).cloned().ok_or_else(|| refusal(MerchandisingRejection::RuleNotFound).into())
}

fn decide(streams: &mut Streams<'_>, status: u16, command: MerchandisingCommand) -> Result<(), Stop> {
    let events = streams.get::<Merchandising>(STORE)?.decide(command).map_err(refusal)?;
    streams.emit::<Merchandising>(STORE, events, None)?;
    streams.answer_with::<Merchandising>(status, STORE);
    Ok(())
}

/// A domain's "no" in the words of the interface.
fn refusal(rejection: MerchandisingRejection) -> Refusal {
    let detail = rejection.to_string();
    match rejection {
        MerchandisingRejection::RuleNotFound => Refusal::not_found("search rule"),
        MerchandisingRejection::SynonymsNotFound => Refusal::not_found("set of synonyms"),
        MerchandisingRejection::RuleExists => Refusal::new("already_exists", detail),
        MerchandisingRejection::RulesTooMany => Refusal::new("invalid_state", format!("{detail}; end one first")),
        MerchandisingRejection::SynonymsTooMany => Refusal::new("invalid_state", format!("{detail}; remove one first")),
        MerchandisingRejection::RuleInvalid { errors } | MerchandisingRejection::SynonymsInvalid { errors } => {
            let errors = errors.into_iter().map(|e| FieldError { pointer: e.pointer, code: e.code, detail: e.detail });
            Refusal { errors: errors.collect(), ..Refusal::new("validation_failed", format!("{detail}; see errors")) }
        }
    }
}
