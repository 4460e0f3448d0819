//! The webhooks that are still to be sent: a fold of the ledger plus, in memory only, how often each was tried.

use std::collections::{BTreeSet, HashMap};

use chrono::{DateTime, TimeDelta, Utc};
use serde::{Deserialize, Serialize};

/// One webhook to be sent: an outcome, and which of its copies.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub(super) struct Letter {
    pub outcome: usize,
    pub copy: u8,
}

/// Bounded by the ledger: a letter is there once from its outcome until it is delivered or given up.
#[derive(Default)]
pub(super) struct Outbox {
    waiting: BTreeSet<(DateTime<Utc>, Letter)>,
    letters: HashMap<Letter, Progress>,
}

struct Progress {
    /// `None`: it is being sent.
    due: Option<DateTime<Utc>>,
    attempts: u32,
}

/// How a letter that was refused is tried again.
#[derive(Clone, Copy, Debug)]
pub(super) struct Retries {
    pub first: TimeDelta,
    /// The wait doubles up to this.
    pub longest: TimeDelta,
    pub attempts_max: u32,
}

impl Outbox {
    pub fn add(&mut self, letter: Letter, due: DateTime<Utc>) {
        self.waiting.insert((due, letter));
        self.letters.insert(letter, Progress { due: Some(due), attempts: 0 });
    }

    pub fn remove(&mut self, letter: Letter) {
        if let Some(Progress { due: Some(due), .. }) = self.letters.remove(&letter) {
            self.waiting.remove(&(due, letter));
        }
    }

    /// The letters that are due, earliest first, and when the next one will be. They count as being sent from now on.
    pub fn take_due(&mut self, now: DateTime<Utc>, max: usize) -> (Vec<Letter>, Option<DateTime<Utc>>) {
        let mut taken = Vec::new();
        while let Some(&(due, letter)) = self.waiting.first() {
            if due > now || taken.len() == max {
                return (taken, Some(due));
            }
            self.waiting.pop_first();
            if let Some(progress) = self.letters.get_mut(&letter) {
                progress.due = None;
                progress.attempts += 1;
            }
            taken.push(letter);
        }
        (taken, None)
    }

    /// Puts a letter that was refused back. `false`: its attempts are used up.
    pub fn put_back(&mut self, letter: Letter, now: DateTime<Utc>, retries: &Retries) -> bool {
        let Some(progress) = self.letters.get_mut(&letter) else {
            return true;
        };
        if progress.attempts >= retries.attempts_max {
            return false;
        }
        let due = now + backoff(progress.attempts, retries);
        progress.due = Some(due);
        self.waiting.insert((due, letter));
        true
    }

    /// Makes a letter that waits due at once.
    pub fn hurry(&mut self, letter: Letter, now: DateTime<Utc>) {
        if let Some(Progress { due: Some(due), .. }) = self.letters.get_mut(&letter)
            && *due > now
        {
            self.waiting.remove(&(*due, letter));
            *due = now;
            self.waiting.insert((now, letter));
        }
    }
}

/// Doubles with each attempt, bounded.
fn backoff(attempts: u32, retries: &Retries) -> TimeDelta {
    let doublings = attempts.saturating_sub(1).min(30);
    let doubled = retries.first.checked_mul(1 << doublings);
    doubled.unwrap_or(retries.longest).min(retries.longest)
}

#[cfg(test)]
mod tests {
    use super::*;

    const RETRIES: Retries = Retries { first: TimeDelta::seconds(1), longest: TimeDelta::seconds(5), attempts_max: 3 };

    fn at(seconds: i64) -> DateTime<Utc> {
        DateTime::from_timestamp(seconds, 0).unwrap()
    }

    #[test]
    fn a_letter_is_taken_when_it_is_due_and_only_once() {
        let letter = Letter { outcome: 7, copy: 0 };
        let mut outbox = Outbox::default();
        outbox.add(letter, at(10));
        assert_eq!(outbox.take_due(at(9), 8), (vec![], Some(at(10))));
        assert_eq!(outbox.take_due(at(10), 8), (vec![letter], None));
        assert_eq!(outbox.take_due(at(10), 8), (vec![], None));
    }

    #[test]
    fn a_refused_letter_waits_longer_each_time_until_it_is_given_up() {
        let letter = Letter { outcome: 7, copy: 0 };
        let mut outbox = Outbox::default();
        outbox.add(letter, at(0));
        let mut waits = Vec::new();
        let mut now = at(0);
        loop {
            outbox.take_due(now, 8);
            if !outbox.put_back(letter, now, &RETRIES) {
                break;
            }
            let next = outbox.take_due(now, 0).1.unwrap();
            waits.push((next - now).num_seconds());
            now = next;
        }
        assert_eq!(waits, [1, 2]);
        assert_eq!(backoff(30, &RETRIES), TimeDelta::seconds(5));
    }
}
