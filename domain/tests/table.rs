//! Every command in every state: the events that follow from it, or the name of the refusal.
//!
//! A table stands in its module as text. Under each command are its outcomes, one a line, each with
//! the states in which the command has it: the types of the events in their order, the code of a
//! refusal, or `-` where nothing needs to happen. A line with `=` gives several states one name, and
//! `x but y z` is all of x without y and z. No table can be incomplete: a cell that is missing,
//! a variant of a command without a row, an event or a refusal that no cell names, all fail the test,
//! and a new variant doesn't compile before it is named here. What fails prints the whole table as
//! the rules have it, to be read before it is believed.

#![expect(clippy::unwrap_used, reason = "a test whose facts can't be made should fail")]

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;

use domain::event::Event;
use domain::money::Money;
use uuid::Uuid;

/// Names the variants of an enum, by a match that leaves none out.
macro_rules! variants {
    ($enum:ty: $($variant:ident),+ $(,)?) => {
        impl $crate::Variants for $enum {
            const NAMES: &'static [&'static str] = &[$(stringify!($variant)),+];

            fn variant(&self) -> &'static str {
                match self {
                    $(Self::$variant { .. } => stringify!($variant),)+
                }
            }
        }
    };
}

#[path = "table/cart.rs"]
mod cart;
#[path = "table/category.rs"]
mod category;
#[path = "table/claim.rs"]
mod claim;
#[path = "table/merchandising.rs"]
mod merchandising;
#[path = "table/order.rs"]
mod order;
#[path = "table/payment.rs"]
mod payment;
#[path = "table/product.rs"]
mod product;
#[path = "table/promotion.rs"]
mod promotion;
#[path = "table/setting.rs"]
mod setting;
#[path = "table/stock.rs"]
mod stock;
#[path = "table/subject.rs"]
mod subject;

fn id<T: From<Uuid>>(n: u128) -> T {
    T::from(Uuid::from_u128(n))
}

fn eur(amount: i64) -> Money {
    Money::new(amount, "EUR".parse().unwrap()).unwrap()
}

trait Variants {
    const NAMES: &'static [&'static str];

    fn variant(&self) -> &'static str;
}

struct Table<S, C, E, R> {
    text: &'static str,
    states: Vec<(&'static str, S)>,
    /// By their headings in the text; the first word is the variant.
    commands: Vec<(&'static str, C)>,
    decide: fn(&S, C) -> Result<Vec<E>, R>,
    code: fn(&R) -> &'static str,
    /// Types of events that no command of the table writes, with the reason.
    events_elsewhere: &'static [(&'static str, &'static str)],
    /// Refusals that no cell can show, with the reason.
    refusals_elsewhere: &'static [(&'static str, &'static str)],
}

/// How wide the column of outcomes is printed.
const WIDTH: usize = 58;

/// Outcomes by command and state.
type Cells<'a> = BTreeMap<(&'a str, &'a str), String>;

impl<S, C: Clone + Variants, E: Event, R: Variants> Table<S, C, E, R> {
    /// Holds the text against the rules.
    fn check(&self) {
        let (actual, reached) = self.decide_all();
        let written = self.written();
        let mut wrong = String::new();
        for (cell, outcome) in &actual {
            let said = written.get(cell).map_or("no such cell", String::as_str);
            if said != outcome {
                let (command, state) = cell;
                writeln!(wrong, "{command}, {state}: {outcome}; the table has: {said}").unwrap();
            }
        }
        assert!(wrong.is_empty(), "{wrong}\nthe table as the rules have it:\n{}", self.render(&actual));
        assert_eq!(written.len(), actual.len(), "the text has cells of no command or state");
        self.check_complete(&reached);
        println!("{} commands in {} states: {} cells", self.commands.len(), self.states.len(), actual.len());
    }

    /// The cells as the rules have them, and all that came out of them: types of events, variants of
    /// commands and refusals.
    fn decide_all(&self) -> (Cells<'_>, BTreeSet<&'static str>) {
        let mut cells = Cells::new();
        let mut reached = BTreeSet::new();
        for (heading, command) in &self.commands {
            assert_eq!(heading.split([' ', ',']).next(), Some(command.variant()), "a heading starts with its command");
            reached.insert(command.variant());
            for (name, state) in &self.states {
                let outcome = match (self.decide)(state, command.clone()) {
                    Ok(events) if events.is_empty() => "-".to_owned(),
                    Ok(events) => {
                        reached.extend(events.iter().map(Event::name));
                        events.iter().map(Event::name).collect::<Vec<_>>().join(" ")
                    }
                    Err(refusal) => {
                        reached.insert(refusal.variant());
                        (self.code)(&refusal).to_owned()
                    }
                };
                assert!(cells.insert((*heading, *name), outcome).is_none(), "{heading}, {name} stands there twice");
            }
        }
        (cells, reached)
    }

    fn written(&self) -> Cells<'static> {
        let mut cells = Cells::new();
        let mut heading = "";
        for line in self.text.lines().filter(|line| !line.trim().is_empty() && !line.contains(" = ")) {
            if !line.starts_with(' ') {
                heading = line.trim();
                continue;
            }
            let (outcome, states) = line.split_once('|').unwrap_or_else(|| panic!("no states in: {line}"));
            let (states, without) = states.split_once(" but ").unwrap_or((states, ""));
            let without = self.expand(without);
            for state in self.expand(states).into_iter().filter(|state| !without.contains(state)) {
                let twice = cells.insert((heading, state), outcome.trim().to_owned());
                assert!(twice.is_none(), "{heading}, {state} stands there twice");
            }
        }
        cells
    }

    /// The names of several states, with those states.
    fn groups(&self) -> Vec<(&'static str, Vec<&'static str>)> {
        let lines = self.text.lines().filter_map(|line| line.split_once(" = "));
        lines.map(|(name, states)| (name.trim(), states.split_whitespace().collect())).collect()
    }

    fn expand(&self, words: &'static str) -> Vec<&'static str> {
        let groups = self.groups();
        let mut states = Vec::new();
        for word in words.split_whitespace() {
            match groups.iter().find(|(name, _)| *name == word) {
                Some((_, group)) => states.extend(group),
                None => states.push(word),
            }
        }
        states
    }

    fn check_complete(&self, reached: &BTreeSet<&str>) {
        let events = E::TYPES.iter().map(|(name, _)| *name);
        let elsewhere = self.events_elsewhere.iter().chain(self.refusals_elsewhere).map(|(name, _)| *name);
        let elsewhere: BTreeSet<_> = elsewhere.collect();
        for name in C::NAMES.iter().copied().chain(events).chain(R::NAMES.iter().copied()) {
            assert!(
                reached.contains(name) != elsewhere.contains(name),
                "{name} comes out of no cell, or is said to be elsewhere and isn't"
            );
        }
    }

    /// The outcomes of a command in the order of the states that first have them.
    fn render(&self, cells: &Cells<'_>) -> String {
        let mut text = String::new();
        for (name, states) in self.groups() {
            writeln!(text, "{name} = {}", states.join(" ")).unwrap();
        }
        for (heading, _) in &self.commands {
            writeln!(text, "\n{heading}").unwrap();
            let mut outcomes: Vec<(&str, Vec<&str>)> = Vec::new();
            for (state, _) in &self.states {
                let outcome = cells[&(*heading, *state)].as_str();
                match outcomes.iter_mut().find(|(known, _)| *known == outcome) {
                    Some((_, states)) => states.push(state),
                    None => outcomes.push((outcome, vec![state])),
                }
            }
            for (outcome, states) in outcomes {
                writeln!(text, "    {outcome:<WIDTH$} | {}", self.shortest(&states)).unwrap();
            }
        }
        text
    }

    /// States by the name of a group where most of it is among them.
    fn shortest(&self, states: &[&str]) -> String {
        let plain = states.join(" ");
        let grouped = self.groups().into_iter().map(|(name, group)| {
            let others = states.iter().copied().filter(|state| !group.contains(state));
            let without: Vec<_> = group.iter().copied().filter(|state| !states.contains(state)).collect();
            let but = if without.is_empty() { vec![] } else { [vec!["but"], without].concat() };
            others.chain([name]).chain(but).collect::<Vec<_>>().join(" ")
        });
        grouped.chain([plain]).min_by_key(String::len).unwrap()
    }
}

/// Every variant is the one of some state.
fn check_reached<T: Variants>(those: impl IntoIterator<Item = T>) {
    let reached: BTreeSet<_> = those.into_iter().map(|one| one.variant()).collect();
    let all: BTreeSet<_> = T::NAMES.iter().copied().collect();
    assert_eq!(reached, all);
}
