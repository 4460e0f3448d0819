//! Search rules and synonyms: what a merchant may say, and how it is understood.

use domain::id::ProductId;
use domain::merchandising::{
    Boost, BoostTarget, Condition, HIDDEN_MAX, Matching, Merchandising, MerchandisingCommand, MerchandisingEvent, MerchandisingRejection,
    PINS_MAX, Pin, SearchRule, SynonymSet, Synonyms, normalised,
};
use uuid::Uuid;

fn product(n: u128) -> ProductId {
    Uuid::from_u128(n).into()
}

fn rule() -> SearchRule {
    SearchRule {
        rule_id: Uuid::from_u128(1).into(),
        title: "Lamps".to_owned(),
        condition: Condition::Query { text: "  Desk\tLAMP ".to_owned(), matching: Matching::Exact },
        valid_from: None,
        valid_until: None,
        pins: vec![Pin { product_id: product(10), position: 1 }],
        hidden: vec![],
        boosts: vec![],
    }
}

fn refused(change: impl FnOnce(&mut SearchRule)) -> Vec<String> {
    let mut rule = rule();
    change(&mut rule);
    match Merchandising::default().decide(MerchandisingCommand::CreateRule(Box::new(rule))) {
        Err(MerchandisingRejection::RuleInvalid { errors }) => errors.into_iter().map(|error| error.pointer).collect(),
        other => panic!("{other:?}"),
    }
}

fn refused_synonyms(set: SynonymSet) -> Vec<String> {
    match Merchandising::default().decide(MerchandisingCommand::DefineSynonyms(set)) {
        Err(MerchandisingRejection::SynonymsInvalid { errors }) => errors.into_iter().map(|error| error.pointer).collect(),
        other => panic!("{other:?}"),
    }
}

fn texts(texts: &[&str]) -> Vec<String> {
    texts.iter().map(|&text| text.to_owned()).collect()
}

#[test]
fn texts_are_compared_without_case_and_superfluous_space() {
    assert_eq!(normalised("  Desk\u{3000}LAMP\0 "), "desk lamp");
    let events = Merchandising::default().decide(MerchandisingCommand::CreateRule(Box::new(rule()))).unwrap();
    let [MerchandisingEvent::SearchRuleCreated(created)] = events.as_slice() else { panic!("{events:?}") };
    assert_eq!(created.condition, Condition::Query { text: "desk lamp".to_owned(), matching: Matching::Exact });
}

#[test]
fn each_field_of_a_rule_that_is_wrong_is_named() {
    assert_eq!(refused(|rule| rule.title = " ".to_owned()), ["/title"]);
    assert_eq!(refused(|rule| rule.condition = Condition::Category { handle: String::new() }), ["/condition/handle"]);
    let at = "2026-11-10T12:00:00Z".parse().unwrap();
    assert_eq!(refused(|rule| (rule.valid_from, rule.valid_until) = (Some(at), Some(at))), ["/valid_until"]);
    assert_eq!(refused(|rule| rule.pins.clear()), ["/pins"]);
    assert_eq!(refused(|rule| rule.pins[0].position = 0), ["/pins/0/position"]);
    assert_eq!(refused(|rule| rule.pins[0].position = 101), ["/pins/0/position"]);
    let twice = refused(|rule| rule.pins.push(rule.pins[0]));
    assert_eq!(twice, ["/pins/1/position", "/pins/1/product_id"]);
    assert_eq!(refused(|rule| rule.hidden = vec![product(10)]), ["/hidden/0"], "pinned and hidden");
    let many = |count: usize| (0..=count as u128).map(|n| product(100 + n)).collect();
    assert_eq!(refused(|rule| rule.hidden = many(HIDDEN_MAX)), ["/hidden"]);
    let pins = (1..=u32::try_from(PINS_MAX).unwrap() + 1).map(|n| Pin { product_id: product(n.into()), position: n });
    assert_eq!(refused(|rule| rule.pins = pins.collect()), ["/pins"]);
    let boost = |percent| Boost { target: BoostTarget::Brand { brand: "Acme".to_owned() }, percent };
    assert_eq!(refused(|rule| rule.boosts = vec![boost(0), boost(1_001)]), ["/boosts/0/percent", "/boosts/1/percent", "/boosts/1"]);
}

#[test]
fn each_field_of_synonyms_that_is_wrong_is_named() {
    let set =
        |key: &str, language: Option<&str>, synonyms| SynonymSet { key: key.to_owned(), language: language.map(str::to_owned), synonyms };
    let two_way = |phrases: &[&str]| Synonyms::TwoWay { phrases: texts(phrases) };
    let one_way = |from: &[&str], to: &[&str]| Synonyms::OneWay { from: texts(from), to: texts(to) };
    assert_eq!(refused_synonyms(set("a b", None, two_way(&["a", "b"]))), ["/key"]);
    assert_eq!(refused_synonyms(set("a", Some("de_AT"), two_way(&["a", "b"]))), ["/language"]);
    assert_eq!(refused_synonyms(set("a", None, two_way(&["a"]))), ["/phrases"]);
    assert_eq!(refused_synonyms(set("a", None, two_way(&["a", "one two three four five six"]))), ["/phrases/1"]);
    assert_eq!(refused_synonyms(set("a", None, one_way(&[], &["b"]))), ["/from"]);
    assert_eq!(refused_synonyms(set("a", None, one_way(&["a"], &["A"]))), ["/to"]);
}

#[test]
fn a_rule_counts_its_own_changes_only() {
    let mut state = Merchandising::default();
    for n in [1, 2] {
        let rule = SearchRule { rule_id: Uuid::from_u128(n).into(), ..rule() };
        for event in state.decide(MerchandisingCommand::CreateRule(Box::new(rule))).unwrap() {
            state.apply(&event);
        }
    }
    let changed = SearchRule { title: "Others".to_owned(), ..rule() };
    for event in state.decide(MerchandisingCommand::ChangeRule(Box::new(changed))).unwrap() {
        state.apply(&event);
    }
    let versions: Vec<(u64, i64)> = state.oldest_first().iter().map(|rule| (rule.number, rule.version)).collect();
    assert_eq!(versions, [(1, 2), (2, 1)]);
}
