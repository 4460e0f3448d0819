//! Every state that can be reached, the near ones first, so that the first way to a violation is a shortest one.

use std::collections::HashMap;
use std::fmt;
use std::hash::{BuildHasher, RandomState};

use super::action::Action;
use super::state::State;
use super::world::World;

/// A model this small has fewer states; more say that its bounds are wrong.
const STATES_MAX: usize = 3_000_000;

/// What a search has seen.
pub(super) struct Explored {
    pub(super) states: usize,
    pub(super) transitions: usize,
    /// Steps to the farthest state.
    pub(super) depth: u32,
    /// States in which nothing is left to do, unless a shopper wants something.
    pub(super) ends: usize,
    pub(super) violation: Option<Violation>,
}

pub(super) struct Violation {
    pub(super) what: String,
    /// The way there, with what each step wrote.
    pub(super) trace: Vec<String>,
}

struct Seen {
    state: State,
    depth: u32,
    /// How it was reached first.
    from: Option<(u32, Action)>,
}

/// Where each state stands in the list, without a second copy of it.
#[derive(Default)]
struct Numbers {
    by_hash: HashMap<u64, u32>,
    hasher: RandomState,
}

impl Numbers {
    /// The number of a state; a new one goes to the end of the list.
    fn of(&mut self, seen: &mut Vec<Seen>, new: Seen) -> u32 {
        let mut hash = self.hasher.hash_one(new.state);
        loop {
            match self.by_hash.get(&hash) {
                Some(number) if seen[*number as usize].state == new.state => return *number,
                // Another state of the same hash: this one goes to the next place.
                Some(_) => hash = hash.wrapping_add(1),
                None => break,
            }
        }
        let number = number_of(seen.len());
        self.by_hash.insert(hash, number);
        seen.push(new);
        number
    }
}

/// Looks at every state; ends early at the first violation.
pub(super) fn explore(world: &mut World) -> Explored {
    let mut seen = Vec::new();
    let mut numbers = Numbers::default();
    numbers.of(&mut seen, Seen { state: world.initial(), depth: 0, from: None });
    let mut steps_back: Vec<(u32, u32)> = Vec::new();
    let mut ends = Vec::new();
    let mut transitions = 0;
    let mut violation = None;
    let mut next = 0;
    while next < seen.len() && violation.is_none() {
        let (number, Seen { state, depth, .. }) = (number_of(next), &seen[next]);
        let (state, depth) = (*state, *depth);
        if let Some(what) = world.wrong_with(&state) {
            violation = Some(Violation { what, trace: trace(world, &seen, next, None) });
            break;
        }
        let mut leads_on = false;
        for step in world.steps(&state) {
            transitions += 1;
            if let Some(what) = step.fault {
                violation = Some(Violation { what, trace: trace(world, &seen, next, Some(step.action)) });
                break;
            }
            if step.after == state {
                continue;
            }
            leads_on |= !step.action.is_voluntary();
            let known = numbers.of(&mut seen, Seen { state: step.after, depth: depth + 1, from: Some((number, step.action)) });
            if !step.action.is_voluntary() {
                steps_back.push((known, number));
            }
        }
        if !leads_on && violation.is_none() {
            ends.push(number);
            violation = world.wrong_at_the_end(&state).map(|what| Violation { what, trace: trace(world, &seen, next, None) });
        }
        assert!(seen.len() < STATES_MAX, "the model has no end in sight");
        next += 1;
    }
    if violation.is_none()
        && let Some(stuck) = cannot_end(&mut steps_back, &ends, seen.len())
    {
        let what = "from here nothing leads to a state in which all is settled".to_owned();
        violation = Some(Violation { what, trace: trace(world, &seen, stuck, None) });
    }
    let depth = seen.last().map_or(0, |seen| seen.depth);
    Explored { states: seen.len(), transitions, depth, ends: ends.len(), violation }
}

/// The nearest state from which no end can be reached.
fn cannot_end(steps_back: &mut [(u32, u32)], ends: &[u32], states: usize) -> Option<usize> {
    steps_back.sort_unstable();
    let mut can = vec![false; states];
    let mut waiting = ends.to_vec();
    while let Some(number) = waiting.pop() {
        if std::mem::replace(&mut can[number as usize], true) {
            continue;
        }
        let first = steps_back.partition_point(|(to, _)| *to < number);
        waiting.extend(steps_back[first..].iter().take_while(|(to, _)| *to == number).map(|(_, from)| *from));
    }
    can.iter().position(|can| !can)
}

fn trace(world: &mut World, seen: &[Seen], to: usize, last: Option<Action>) -> Vec<String> {
    let mut way = Vec::new();
    let mut at = to;
    while let Some((before, action)) = seen[at].from {
        way.push((before as usize, action));
        at = before as usize;
    }
    way.reverse();
    way.extend(last.map(|action| (to, action)));
    way.into_iter().map(|(before, action)| world.tell(&seen[before].state, action)).collect()
}

fn number_of(place: usize) -> u32 {
    u32::try_from(place).expect("fewer states than that")
}

impl fmt::Display for Explored {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { states, transitions, depth, ends, .. } = self;
        write!(f, "{states} states, {transitions} transitions, depth {depth}, {ends} ends")?;
        match &self.violation {
            None => write!(f, ", 0 violations"),
            Some(violation) => write!(f, "; {violation}"),
        }
    }
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "violated: {}", self.what)?;
        for (step, text) in self.trace.iter().enumerate() {
            write!(f, "\n  {:>2}. {text}", step + 1)?;
        }
        Ok(())
    }
}
