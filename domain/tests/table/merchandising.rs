//! Search rules and synonyms, from none to as many as there may be.

use chrono::{DateTime, Utc};
use domain::merchandising::{
    Boost, BoostTarget, Condition, Matching, Merchandising, MerchandisingCommand, MerchandisingEvent, MerchandisingRejection, Pin,
    RULES_MAX, SYNONYM_SETS_MAX, SearchRule, SearchRuleEnded, SynonymSet, Synonyms, SynonymsRemoved,
};

use crate::{Table, id};

variants!(MerchandisingCommand: CreateRule, ChangeRule, EndRule, DefineSynonyms, RemoveSynonyms);
variants!(MerchandisingRejection: RuleNotFound, RuleExists, RulesTooMany, RuleInvalid, SynonymsNotFound, SynonymsTooMany, SynonymsInvalid);

/// Rule 1 and the synonyms "tv" are there, were there, or are to be there.
const TABLE: &str = "
without_rule = nothing ended defined removed

CreateRule 1
    SearchRuleCreated                                          | without_rule
    search_rule_exists                                         | ruled changed full

CreateRule without an effect
    search_rule_invalid                                        | without_rule
    search_rule_exists                                         | ruled changed full

CreateRule 5000
    SearchRuleCreated                                          | without_rule ruled changed
    search_rules_too_many                                      | full

ChangeRule 1 to what it was made
    search_rule_not_found                                      | without_rule
    -                                                          | ruled full
    SearchRuleChanged                                          | changed

ChangeRule 1 in its title
    search_rule_not_found                                      | without_rule
    SearchRuleChanged                                          | ruled full
    -                                                          | changed

ChangeRule 1 to no condition that holds
    search_rule_not_found                                      | without_rule
    search_rule_invalid                                        | ruled changed full

EndRule 1
    search_rule_not_found                                      | without_rule
    SearchRuleEnded                                            | ruled changed full

DefineSynonyms tv
    SynonymsDefined                                            | nothing ruled changed ended removed full
    -                                                          | defined

DefineSynonyms tv with others
    SynonymsDefined                                            | nothing ruled changed ended defined removed full

DefineSynonyms of one
    synonyms_invalid                                           | nothing ruled changed ended defined removed
    synonyms_too_many                                          | full

RemoveSynonyms tv
    synonyms_not_found                                         | nothing ruled changed ended removed
    SynonymsRemoved                                            | defined full
";

fn now() -> DateTime<Utc> {
    "2026-11-10T12:00:00Z".parse().unwrap()
}

fn rule(n: u128) -> SearchRule {
    SearchRule {
        rule_id: id(n),
        title: "Lamps".to_owned(),
        condition: Condition::Query { text: "lamp".to_owned(), matching: Matching::Exact },
        valid_from: None,
        valid_until: None,
        pins: vec![Pin { product_id: id(10), position: 1 }],
        hidden: vec![],
        boosts: vec![Boost { target: BoostTarget::Brand { brand: "Acme".to_owned() }, percent: 150 }],
    }
}

fn two_way(key: &str, phrases: &[&str]) -> SynonymSet {
    let phrases = phrases.iter().map(|&phrase| phrase.to_owned()).collect();
    SynonymSet { key: key.to_owned(), language: None, synonyms: Synonyms::TwoWay { phrases } }
}

fn after(events: &[MerchandisingEvent]) -> Merchandising {
    let mut merchandising = Merchandising::default();
    for event in events {
        merchandising.apply(event);
    }
    merchandising
}

fn states() -> Vec<(&'static str, Merchandising)> {
    let created = |n| MerchandisingEvent::SearchRuleCreated(Box::new(rule(n)));
    let changed = MerchandisingEvent::SearchRuleChanged(Box::new(SearchRule { title: "Others".to_owned(), ..rule(1) }));
    let ended = MerchandisingEvent::SearchRuleEnded(SearchRuleEnded { rule_id: id(1), ended_at: now() });
    let defined = |key: &str| MerchandisingEvent::SynonymsDefined(two_way(key, &["tv", "television set"]));
    let removed = MerchandisingEvent::SynonymsRemoved(SynonymsRemoved { key: "tv".to_owned() });
    let rules = (1..=RULES_MAX as u128).map(created);
    // Another set under this key, so that defining it changes something.
    let others = MerchandisingEvent::SynonymsDefined(two_way("tv", &["tv", "telly", "box"]));
    let sets = (1..SYNONYM_SETS_MAX).map(|n| defined(&n.to_string()));
    vec![
        ("nothing", after(&[])),
        ("ruled", after(&[created(1)])),
        ("changed", after(&[created(1), changed])),
        ("ended", after(&[created(1), ended])),
        ("defined", after(&[defined("tv")])),
        ("removed", after(&[defined("tv"), removed])),
        ("full", after(&rules.chain([others]).chain(sets).collect::<Vec<_>>())),
    ]
}

fn commands() -> Vec<(&'static str, MerchandisingCommand)> {
    let create = |rule| MerchandisingCommand::CreateRule(Box::new(rule));
    let change = |rule| MerchandisingCommand::ChangeRule(Box::new(rule));
    let blank = Condition::Query { text: " \t ".to_owned(), matching: Matching::Contains };
    vec![
        ("CreateRule 1", create(rule(1))),
        ("CreateRule without an effect", create(SearchRule { pins: vec![], boosts: vec![], ..rule(1) })),
        ("CreateRule 5000", create(rule(5_000))),
        ("ChangeRule 1 to what it was made", change(rule(1))),
        ("ChangeRule 1 in its title", change(SearchRule { title: "Others".to_owned(), ..rule(1) })),
        ("ChangeRule 1 to no condition that holds", change(SearchRule { condition: blank, ..rule(1) })),
        ("EndRule 1", MerchandisingCommand::EndRule { rule_id: id(1), at: now() }),
        ("DefineSynonyms tv", MerchandisingCommand::DefineSynonyms(two_way("tv", &[" TV ", "television  set", "tv"]))),
        ("DefineSynonyms tv with others", MerchandisingCommand::DefineSynonyms(two_way("tv", &["tv", "telly"]))),
        ("DefineSynonyms of one", MerchandisingCommand::DefineSynonyms(two_way("alone", &["tv", "TV"]))),
        ("RemoveSynonyms tv", MerchandisingCommand::RemoveSynonyms { key: "tv".to_owned() }),
    ]
}

#[test]
fn merchandising_in_every_state() {
    Table {
        text: TABLE,
        states: states(),
        commands: commands(),
        decide: Merchandising::decide,
        code: MerchandisingRejection::code,
        events_elsewhere: &[],
        refusals_elsewhere: &[],
    }
    .check();
}
