//! Search rules and synonyms: what a merchant may say, and how it is understood.

use domain::id::ProductId;
use domain::merchandising::{
    BOOST_PERCENT_MAX, BOOSTS_MAX, Boost, BoostTarget, Condition, HIDDEN_MAX, Matching, Merchandising, MerchandisingCommand,
    MerchandisingEvent, MerchandisingRejection, PHRASES_MAX, PIN_POSITION_MAX, PINS_MAX, Pin, RULES_MAX, SYNONYM_SETS_MAX, SearchRule,
    SynonymSet, Synonyms, TEXT_CHARS_MAX, normalised,
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
fn what_is_just_within_the_limits_is_taken_and_one_more_is_not() {
    let taken = |change: &dyn Fn(&mut SearchRule)| {
        let mut rule = rule();
        change(&mut rule);
        Merchandising::default().decide(MerchandisingCommand::CreateRule(Box::new(rule))).unwrap();
    };
    taken(&|rule| rule.title = "ö".repeat(TEXT_CHARS_MAX));
    assert_eq!(refused(|rule| rule.title = "ö".repeat(TEXT_CHARS_MAX + 1)), ["/title"]);
    let (at, later) = ("2026-11-10T12:00:00Z".parse().unwrap(), "2026-11-10T12:00:01Z".parse().unwrap());
    taken(&|rule| (rule.valid_from, rule.valid_until) = (Some(at), Some(later)));

    let pins = |count: usize| (1..=u32::try_from(count).unwrap()).map(|n| Pin { product_id: product(n.into()), position: n }).collect();
    taken(&|rule| rule.pins = pins(PINS_MAX));
    taken(&|rule| rule.pins[0].position = PIN_POSITION_MAX);
    let hidden = |count: usize| (0..count as u128).map(|n| product(100 + n)).collect::<Vec<_>>();
    taken(&|rule| (rule.pins, rule.hidden) = (vec![], hidden(HIDDEN_MAX)));
    assert_eq!(refused(|rule| rule.hidden = [hidden(1), hidden(1)].concat()), ["/hidden/1"], "twice");
    let boost = |target, percent| Boost { target, percent };
    let brand = |n: usize| BoostTarget::Brand { brand: format!("Brand {n}") };
    let boosts = |count: usize| (0..count).map(|n| boost(brand(n), 1)).collect::<Vec<_>>();
    taken(&|rule| (rule.pins, rule.boosts) = (vec![], boosts(BOOSTS_MAX)));
    assert_eq!(refused(|rule| rule.boosts = boosts(BOOSTS_MAX + 1)), ["/boosts"]);
    taken(&|rule| rule.boosts = vec![boost(BoostTarget::Product { product_id: product(1) }, BOOST_PERCENT_MAX)]);
    assert_eq!(refused(|rule| rule.boosts = vec![boost(BoostTarget::Brand { brand: " ".to_owned() }, 90)]), ["/boosts/0/brand"]);
    let nowhere = BoostTarget::Category { handle: String::new() };
    assert_eq!(refused(|rule| rule.boosts = vec![boost(nowhere, 90)]), ["/boosts/0/handle"]);

    let set = |key: &str, language: &str, phrases: Vec<String>| SynonymSet {
        key: key.to_owned(),
        language: Some(language.to_owned()),
        synonyms: Synonyms::TwoWay { phrases },
    };
    let taken = |set: SynonymSet| match &Merchandising::default().decide(MerchandisingCommand::DefineSynonyms(set)).unwrap()[..] {
        [MerchandisingEvent::SynonymsDefined(defined)] => defined.clone(),
        other => panic!("{other:?}"),
    };
    let two = || texts(&["a", "b"]);
    taken(set(&"k".repeat(64), "en", two()));
    assert_eq!(refused_synonyms(set(&"k".repeat(65), "en", two())), ["/key"]);
    assert_eq!(refused_synonyms(set("", "en", two())), ["/key"]);
    taken(set("A-1_b.c", &format!("en-{}", "x".repeat(32)), two()));
    assert_eq!(refused_synonyms(set("k", &format!("en-{}", "x".repeat(33)), two())), ["/language"]);
    assert_eq!(refused_synonyms(set("k", "en-", two())), ["/language"]);
    let many = |count: usize| (0..count).map(|n| format!("phrase {n}")).collect::<Vec<_>>();
    taken(set("k", "en", many(PHRASES_MAX)));
    assert_eq!(refused_synonyms(set("k", "en", many(PHRASES_MAX + 1))), ["/phrases"]);
    taken(set("k", "en", texts(&["a", "one two three four five", &"x".repeat(100)])));
    assert_eq!(refused_synonyms(set("k", "en", texts(&["a", "b", &"x".repeat(101)]))), ["/phrases/2"]);
    assert_eq!(refused_synonyms(set("k", "en", texts(&["a", "b", " "]))), ["/phrases/2"]);
    let defined = taken(set("k", "de-AT", texts(&["Sessel", " sessel ", "STUHL"])));
    assert_eq!(defined, set("k", "de-at", texts(&["sessel", "stuhl"])), "as they are compared, each once");
}

#[test]
fn a_store_has_so_many_rules_and_synonyms_and_no_more() {
    let mut state = Merchandising::default();
    let create = |n: usize| MerchandisingCommand::CreateRule(Box::new(SearchRule { rule_id: Uuid::from_u128(n as u128).into(), ..rule() }));
    let define = |n: usize, word: &str| {
        let synonyms = Synonyms::OneWay { from: texts(&[word]), to: texts(&["b"]) };
        MerchandisingCommand::DefineSynonyms(SynonymSet { key: n.to_string(), language: None, synonyms })
    };
    let say = |state: &mut Merchandising, command| {
        let events = state.decide(command)?;
        for event in &events {
            state.apply(event);
        }
        Ok(events.len())
    };
    for n in 0..RULES_MAX {
        assert_eq!(say(&mut state, create(n)), Ok(1));
    }
    assert_eq!(say(&mut state, create(RULES_MAX)), Err(MerchandisingRejection::RulesTooMany));
    assert_eq!(say(&mut state, create(0)), Err(MerchandisingRejection::RuleExists));
    for n in 0..SYNONYM_SETS_MAX {
        assert_eq!(say(&mut state, define(n, "a")), Ok(1));
    }
    assert_eq!(say(&mut state, define(SYNONYM_SETS_MAX, "a")), Err(MerchandisingRejection::SynonymsTooMany));
    assert_eq!(say(&mut state, define(0, "a")), Ok(0), "said already");
    assert_eq!(say(&mut state, define(0, "c")), Ok(1), "in the place of its earlier self");
    assert_eq!(state.synonyms.len(), SYNONYM_SETS_MAX);
}

#[test]
fn a_rule_is_scheduled_then_active_then_over() {
    let at = |time: &str| Some(time.parse().unwrap());
    let dated = SearchRule { valid_from: at("2026-11-10T12:00:00Z"), valid_until: at("2026-11-11T12:00:00Z"), ..rule() };
    let status = |rule: &SearchRule, time: &str| rule.status(time.parse().unwrap());
    assert_eq!(status(&dated, "2026-11-10T11:59:59Z"), "scheduled");
    assert_eq!(status(&dated, "2026-11-10T12:00:00Z"), "active", "from its start on");
    assert_eq!(status(&dated, "2026-11-11T11:59:59Z"), "active");
    assert_eq!(status(&dated, "2026-11-11T12:00:00Z"), "over", "its end is not included");
    let endless = SearchRule { valid_from: None, valid_until: None, ..rule() };
    assert_eq!(status(&endless, "2026-11-10T12:00:00Z"), "active");
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
