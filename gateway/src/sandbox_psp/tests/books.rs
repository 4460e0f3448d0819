//! The ledger alone, through thousands of requests made up by chance: its books always balance, and its file says it all.

use std::collections::HashMap;

use serde_json::json;

use super::super::answer::PaymentStatus;
use super::super::entry::Record;
use super::super::ledger::{Ledger, Terms};
use super::super::operations::{ActionResult, OpenPayment, Request, Verdict};
use super::*;

const RUNS: u64 = 20;
const STEPS: u64 = 300;

/// Splitmix64: chance that can be repeated.
struct Chance(u64);

impl Chance {
    fn next(&mut self, below: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        (mixed ^ (mixed >> 31)) % below
    }

    fn pick<'a>(&mut self, words: &[&'a str]) -> &'a str {
        words[usize::try_from(self.next(words.len() as u64)).unwrap()]
    }

    fn amount(&mut self) -> i64 {
        i64::try_from(self.next(700)).unwrap() + 1
    }
}

fn ledger() -> Ledger {
    Ledger::new(Terms {
        public_url: "http://127.0.0.1:1".to_owned(),
        hold: TimeDelta::seconds(15),
        late_delay: TimeDelta::seconds(2),
        withhold: TimeDelta::seconds(10),
        lost_requests: Some(1),
    })
}

fn token(chance: &mut Chance) -> String {
    let words = ["approve", "decline", "3ds", "timeout_done", "late_webhook", "out_of_order"];
    let mut token = format!("tok_{}", chance.pick(&words));
    for operation in ["capture", "void", "refund"] {
        let suffix = chance.pick(&["", "", "decline", "pending", "timeout_done", "timeout_lost"]);
        if !suffix.is_empty() {
            token = format!("{token}+{operation}_{suffix}");
        }
    }
    token
}

fn step(ledger: &mut Ledger, at: DateTime<Utc>, chance: &mut Chance, key: &str) -> Option<Verdict> {
    if ledger.payments.len() < 4 {
        let request: OpenPayment = serde_json::from_value(json!({
            "merchant_reference": "r", "token": token(chance), "amount": 1000, "currency": "EUR",
            "capture": chance.next(4) == 0,
        }))
        .unwrap();
        return ledger.open_payment(at, key, &request).ok();
    }
    let payment = usize::try_from(chance.next(4)).unwrap();
    let id = ledger.payments[payment].opened.id.clone();
    let amount = chance.amount();
    let request = match chance.next(8) {
        0 => Request::Void,
        1..4 => Request::Capture { amount, is_final: chance.next(3) == 0 },
        4..7 => Request::Refund { amount, refund_reference: "r".to_owned() },
        _ => {
            let result = [ActionResult::Success, ActionResult::Failure][payment % 2];
            let _ = ledger.act(at, &id, result);
            return None;
        }
    };
    ledger.operate(at, &id, key, request).ok()
}

fn assert_balanced(ledger: &Ledger, seed: u64) {
    for payment in &ledger.payments {
        let balance = payment.balance;
        let amounts = [balance.authorized, balance.captured, balance.refunded, balance.voided];
        assert!(amounts.iter().all(|amount| *amount >= 0), "seed {seed}: {balance:?}");
        assert!(balance.captured + balance.voided <= balance.authorized, "seed {seed}: {balance:?}");
        assert!(balance.refunded <= balance.captured, "seed {seed}: {balance:?}");
        let is_authorized = matches!(balance.status, PaymentStatus::Authorized | PaymentStatus::Voided);
        assert!(is_authorized || balance.authorized == 0, "seed {seed}: {balance:?}");
    }
}

#[test]
fn the_books_balance_and_the_file_says_it_all() {
    for seed in 0..RUNS {
        let mut chance = Chance(seed);
        let (mut original, mut at) = (ledger(), now());
        let (mut lines, mut answers) = (Vec::new(), HashMap::new());
        for number in 0..STEPS {
            at += TimeDelta::milliseconds(i64::try_from(chance.next(900)).unwrap());
            while original.settle_next(at) {
                assert_balanced(&original, seed);
                lines.extend(original.take_record(at));
            }
            let key = format!("key-{number}");
            if let Some(Verdict::Answer(answer)) = step(&mut original, at, &mut chance, &key) {
                answers.insert(key, serde_json::to_string(&answer).unwrap());
            }
            lines.extend(original.take_record(at));
            assert_balanced(&original, seed);
        }

        let mut copy = ledger();
        for line in lines {
            let line = serde_json::to_string(&line).unwrap();
            assert!(copy.replay(serde_json::from_str::<Record>(&line).unwrap()));
        }
        let books = |ledger: &Ledger| {
            let totals = serde_json::to_string(&ledger.totals_after(0, 100)).unwrap();
            let outcomes = ledger.outcomes_after(0, 10_000).unwrap();
            (totals, serde_json::to_string(&outcomes).unwrap(), ledger.next_settlement())
        };
        assert_eq!(books(&copy), books(&original), "seed {seed}");
        for (key, answer) in answers {
            let answered = &copy.answered[&key];
            let again = copy.operated(answered.operation, answered.payment);
            assert_eq!(serde_json::to_string(&again).unwrap(), answer, "seed {seed}");
        }
        let far = at + TimeDelta::days(30);
        let due = |ledger: &mut Ledger| ledger.outbox.take_due(far, 10_000).0.len();
        assert_eq!(due(&mut copy), due(&mut original), "seed {seed}");
    }
}
