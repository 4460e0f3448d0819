//! Whatever is asked and told in whatever order, no money is counted twice or lost.

use std::collections::BTreeMap;

use domain::id::OperationId;
use domain::payment::{
    CaptureRequested, Evidence, Operation, OperationKind, Outcome, Payment, PaymentCommand, PaymentEvent, PaymentStatus, ProviderFact,
    Start, VoidRequested,
};
use proptest::prelude::*;
use proptest::sample::Index;

use crate::{
    AUTHORIZE, CAPTURE, REFUND, TOTAL, VOID, authorized_fact, declined_fact, eur, evidence, id, record, refund, request_capture, start,
    started,
};

/// A second capture and a second refund.
const REST: u128 = 12;
const MORE: u128 = 14;

/// What the provider says of one operation, first things first. The last one is its last word.
type Words = Vec<(u128, ProviderFact)>;

fn captured(amount: i64) -> ProviderFact {
    ProviderFact::Captured { amount: eur(amount), is_final: false }
}

fn unknown(operation: OperationKind) -> ProviderFact {
    ProviderFact::Unknown { operation }
}

fn refund_of(operation: u128, word: &str) -> ProviderFact {
    let (refund_id, amount) = (id(operation), eur(1000));
    match word {
        "pending" => ProviderFact::RefundPending { refund_id, amount },
        "succeeded" => ProviderFact::RefundSucceeded { refund_id, amount },
        "failed" => ProviderFact::RefundFailed { refund_id, amount, code: None },
        _ => ProviderFact::RefundReversed { refund_id, amount, code: None },
    }
}

/// Some of these words are said, in this order.
fn some_of(words: Vec<ProviderFact>, operation: u128) -> impl Strategy<Value = Words> {
    let all = words.len();
    prop::sample::subsequence(words, 0..=all).prop_map(move |said| said.into_iter().map(|fact| (operation, fact)).collect())
}

fn authorization() -> impl Strategy<Value = Words> {
    let action = || ProviderFact::ActionRequired { kind: "redirect".to_owned(), expires_at: None };
    let begin = move || vec![unknown(OperationKind::Authorize), action()];
    let expired = || ProviderFact::AuthorizationExpired { amount: eur(TOTAL) };
    prop_oneof![
        some_of([begin(), vec![declined_fact(), authorized_fact(), expired()]].concat(), AUTHORIZE),
        some_of([begin(), vec![declined_fact()]].concat(), AUTHORIZE),
    ]
}

/// A capture may fall through after it succeeded.
fn capture(operation: u128, amount: i64) -> impl Strategy<Value = Words> {
    let failed = ProviderFact::CaptureFailed { code: "x".to_owned() };
    some_of(vec![unknown(OperationKind::Capture), captured(amount), failed], operation)
}

fn void() -> impl Strategy<Value = Words> {
    let failed = ProviderFact::VoidFailed { code: "x".to_owned() };
    let voided = ProviderFact::Voided { amount: eur(TOTAL) };
    prop_oneof![some_of(vec![unknown(OperationKind::Void), failed], VOID), some_of(vec![unknown(OperationKind::Void), voided], VOID)]
}

/// A refund may fall through or come back after it succeeded.
fn refunding(operation: u128) -> impl Strategy<Value = Words> {
    let words = |last| ["pending", "succeeded", last].map(|word| refund_of(operation, word)).to_vec();
    let begin = vec![unknown(OperationKind::Refund)];
    prop_oneof![some_of([begin.clone(), words("failed")].concat(), operation), some_of([begin, words("reversed")].concat(), operation),]
}

fn dispute() -> impl Strategy<Value = Words> {
    let opened = ProviderFact::DisputeOpened { dispute_id: id(1), amount: eur(TOTAL), reason: "fraudulent".to_owned(), due_at: None };
    let won = ProviderFact::DisputeWon { dispute_id: id(1) };
    let lost = ProviderFact::DisputeLost { dispute_id: id(1), amount: eur(TOTAL), fee: None };
    prop_oneof![some_of(vec![opened.clone(), won], CAPTURE), some_of(vec![opened, lost], CAPTURE)]
}

/// All that the provider says about one payment, operation by operation.
fn everything_said() -> impl Strategy<Value = Vec<Words>> {
    let captures = (capture(CAPTURE, 3000), capture(REST, 2000));
    let refunds = (refunding(REFUND), refunding(MORE));
    (authorization(), captures, void(), refunds, dispute()).prop_map(|(authorization, (one, rest), void, (first, second), dispute)| {
        vec![authorization, one, rest, void, first, second, dispute]
    })
}

/// The operations that we asked for ourselves; the provider may do others of its own accord.
fn asked_for(masks: &[bool]) -> Vec<PaymentEvent> {
    let capture = |operation, amount| {
        PaymentEvent::CaptureRequested(CaptureRequested {
            operation_id: id(operation),
            idempotency_key: format!("key-{operation}"),
            amount: eur(amount),
            is_final: false,
        })
    };
    let void = VoidRequested { operation_id: id(VOID), idempotency_key: "key-3".to_owned(), reason: "order_expired".to_owned() };
    let asked = vec![
        capture(CAPTURE, 3000),
        capture(REST, 2000),
        PaymentEvent::VoidRequested(void),
        PaymentEvent::RefundRequested(refund(REFUND, 1000)),
        PaymentEvent::RefundRequested(refund(MORE, 1000)),
    ];
    asked.into_iter().zip(masks).filter_map(|(event, asked)| asked.then_some(event)).collect()
}

fn hear(payment: &mut Payment, command: PaymentCommand) {
    for event in payment.decide(command).unwrap() {
        payment.apply(&event);
    }
}

fn fold(events: &[PaymentEvent]) -> Payment {
    let mut payment = Payment::default();
    for event in events {
        payment.apply(event);
    }
    payment
}

/// Where the money is, whatever the order was in which it was heard of.
fn picture(payment: &Payment) -> (PaymentStatus, BTreeMap<OperationId, (OperationKind, Outcome)>, [i64; 5]) {
    let outcomes = payment.operations.iter().map(|operation| (operation.operation_id, (operation.kind, operation.outcome.clone())));
    let money = [payment.authorized(), payment.captured(), payment.refunded(), payment.capturable(), payment.refundable()];
    (payment.status(), outcomes.collect(), money)
}

/// The words twice and in any order, each with the provider's own id of it or without.
fn in_any_order() -> impl Strategy<Value = (Vec<Words>, Words, Vec<bool>, bool)> {
    (everything_said(), prop::collection::vec(any::<bool>(), 5), any::<bool>()).prop_flat_map(|(said, asked, named)| {
        let twice: Words = [said.concat(), said.concat()].concat();
        (Just(said), Just(twice).prop_shuffle(), Just(asked), Just(named))
    })
}

/// An event id per word: what is told again is told under the same one.
fn told(operation: u128, fact: &ProviderFact, named: bool) -> Evidence {
    Evidence { provider_event_id: named.then(|| format!("{operation} {fact:?}")), ..evidence(operation) }
}

/// Whether a capture or refund falls through after its success.
fn falls_through(words: &Words) -> bool {
    let success = |fact: &ProviderFact| matches!(fact, ProviderFact::Captured { .. } | ProviderFact::RefundSucceeded { .. });
    let failure = |fact: &ProviderFact| matches!(fact, ProviderFact::CaptureFailed { .. } | ProviderFact::RefundFailed { .. });
    words.iter().any(|(_, fact)| success(fact)) && words.iter().any(|(_, fact)| failure(fact))
}

fn any_request() -> impl Strategy<Value = PaymentCommand> {
    let operation = || 20..26_u128;
    let amount = || -1..=TOTAL;
    prop_oneof![
        Just(PaymentCommand::Start(start())),
        Just(PaymentCommand::Start(Start { amount: eur(1), ..start() })),
        (operation(), amount()).prop_map(|(operation, amount)| request_capture(operation, amount)),
        (operation(), amount()).prop_map(|(operation, amount)| PaymentCommand::RequestRefund(refund(operation, amount))),
        operation().prop_map(|operation| PaymentCommand::RequestVoid {
            operation_id: id(operation),
            idempotency_key: format!("key-{operation}"),
            reason: "order_expired".to_owned()
        }),
    ]
}

/// What an honest provider may answer to an operation that waits: never more than was asked for, and
/// no money out of what was let go of.
fn answer(payment: &Payment, operation: &Operation, pick: u8) -> Option<ProviderFact> {
    let (amount, code) = (operation.amount, "x".to_owned());
    let refund_id = operation.refund_id.unwrap_or_else(|| id(1));
    Some(match (operation.kind, pick % 4) {
        (kind, 0) => ProviderFact::Unknown { operation: kind },
        (OperationKind::Authorize, 1) => ProviderFact::ActionRequired { kind: "redirect".to_owned(), expires_at: None },
        (OperationKind::Authorize, 2) => declined_fact(),
        (OperationKind::Authorize, _) => authorized_fact(),
        (OperationKind::Capture, 1) => ProviderFact::CaptureFailed { code },
        (OperationKind::Capture, _) if payment.voided() => return None,
        (OperationKind::Capture, _) => ProviderFact::Captured { amount, is_final: false },
        (OperationKind::Void, 1) => ProviderFact::VoidFailed { code },
        (OperationKind::Void, _) if payment.captured() > 0 => return None,
        (OperationKind::Void, _) => ProviderFact::Voided { amount },
        (OperationKind::Refund, 1) => ProviderFact::RefundFailed { refund_id, amount, code: None },
        (OperationKind::Refund, 2) => ProviderFact::RefundPending { refund_id, amount },
        (OperationKind::Refund, _) => ProviderFact::RefundSucceeded { refund_id, amount },
    })
}

fn assert_money_adds_up(payment: &Payment) {
    let waiting = |kind| -> i64 { payment.open_operations().filter(|open| open.kind == kind).map(|open| open.amount.amount()).sum() };
    let (authorized, captured, refunded) = (payment.authorized(), payment.captured(), payment.refunded());
    assert!(0 <= captured && captured <= authorized && authorized <= TOTAL);
    assert!(0 <= refunded && refunded + waiting(OperationKind::Refund) <= captured);
    assert!(0 <= payment.capturable() && captured + payment.capturable() <= authorized);
    assert_eq!(payment.refundable(), captured - refunded - waiting(OperationKind::Refund));
    assert_eq!(payment.kept(), payment.refundable());
    let mut ids: Vec<_> = payment.operations.iter().map(|operation| operation.operation_id).collect();
    ids.sort_unstable();
    ids.dedup();
    assert_eq!(ids.len(), payment.operations.len(), "an operation is asked for once");
}

/// What is over is not open again.
fn assert_last_words_stand(before: &Payment, after: &Payment) {
    for operation in &before.operations {
        let now = after.operation(operation.operation_id).unwrap();
        assert!(operation.outcome.is_open() || !now.outcome.is_open(), "{operation:?} became {now:?}");
        assert_eq!((now.kind, &now.idempotency_key), (operation.kind, &operation.idempotency_key));
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1024))]

    #[test]
    fn facts_end_in_the_same_status_in_any_order_and_however_often((said, any_order, asked, named) in in_any_order()) {
        // Of what falls through after its success the word that comes last counts: the next test.
        let honest = |(operation, _): &(u128, ProviderFact)| !said.iter().any(|words| falls_through(words) && words[0].0 == *operation);
        let mut in_order = fold(&[started(), asked_for(&asked)].concat());
        let mut shuffled = in_order.clone();
        for (operation, fact) in said.concat().into_iter().filter(honest) {
            hear(&mut in_order, record(operation, fact));
        }
        for (operation, fact) in any_order.into_iter().filter(honest) {
            let evidence = told(operation, &fact, named);
            hear(&mut shuffled, PaymentCommand::Record { evidence, fact });
        }
        prop_assert_eq!(picture(&shuffled), picture(&in_order));
    }

    /// As the reconciliation with the provider's books tells it.
    #[test]
    fn the_last_words_told_again_settle_everything((said, any_order, asked, named) in in_any_order()) {
        let mut in_order = fold(&[started(), asked_for(&asked)].concat());
        let mut shuffled = in_order.clone();
        for (operation, fact) in said.concat() {
            hear(&mut in_order, record(operation, fact));
        }
        for (operation, fact) in any_order {
            let evidence = told(operation, &fact, named);
            hear(&mut shuffled, PaymentCommand::Record { evidence, fact });
        }
        for (operation, fact) in said.into_iter().filter_map(|words| words.last().cloned()) {
            hear(&mut shuffled, record(operation, fact));
        }
        prop_assert_eq!(picture(&shuffled), picture(&in_order));
    }

    #[test]
    fn any_sequence_of_requests_and_answers_keeps_the_money_together(
        steps in prop::collection::vec((any_request(), any::<bool>(), any::<Index>(), any::<u8>()), 1..40),
    ) {
        let mut payment = Payment::default();
        let mut log = Vec::new();
        for (request, ask, which, pick) in steps {
            let before = payment.clone();
            let command = if ask || payment.operations.is_empty() {
                request
            } else {
                let operation = which.get(&payment.operations);
                let Some(fact) = operation.outcome.is_open().then(|| answer(&payment, operation, pick)).flatten() else { continue };
                PaymentCommand::Record { evidence: Evidence { operation_id: operation.operation_id, ..evidence(1) }, fact }
            };
            let told = matches!(command, PaymentCommand::Record { .. });
            let decided = payment.decide(command.clone());
            prop_assert!(!told || decided.is_ok(), "a fact is never refused");
            for event in decided.unwrap_or_default() {
                payment.apply(&event);
                log.push(event);
            }
            assert_money_adds_up(&payment);
            assert_last_words_stand(&before, &payment);
            if told {
                prop_assert_eq!(payment.decide(command), Ok(vec![]), "told again it is no news");
            }
        }
        prop_assert_eq!(&fold(&log), &payment);
        let json = serde_json::to_string(&payment).unwrap();
        prop_assert_eq!(serde_json::from_str::<Payment>(&json).unwrap(), payment);
    }

    /// Whatever order events are read in, also before their payment exists, nothing panics.
    #[test]
    fn every_event_is_believed((said, _, asked, _) in in_any_order(), order in prop::collection::vec(any::<Index>(), 1..60)) {
        let mut log = [started(), asked_for(&asked)].concat();
        let mut payment = fold(&log);
        for (operation, fact) in said.concat() {
            for event in payment.decide(record(operation, fact)).unwrap() {
                payment.apply(&event);
                log.push(event);
            }
        }
        let mut other = Payment::default();
        for index in order {
            other.apply(index.get(&log));
        }
        let _ = (picture(&other), other.decide(PaymentCommand::Start(start())));
    }
}
