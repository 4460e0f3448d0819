//! Payments: asked for once, told many times, in any order.

#![expect(clippy::unwrap_used, reason = "a test whose facts can't be made should fail")]

use cqrs_es::test::{AggregateTestExecutor, TestFramework};
use domain::event::{Event, Root};
use domain::id::{OperationId, RefundId};
use domain::money::Money;
use domain::payment::{
    AuthorizationRequested, CaptureMode, CaptureRequested, Evidence, OperationKind, Outcome, Payment, PaymentAuthorized, PaymentCaptured,
    PaymentCommand, PaymentCreated, PaymentEvent, PaymentMethod, PaymentRejection, PaymentStatus, ProviderFact, RefundAllocation,
    RefundRequested, Start, VoidRequested, order_payment_status,
};
use proptest::prelude::*;
use uuid::Uuid;

#[path = "payment/facts.rs"]
mod facts;

fn id<T: From<Uuid>>(n: u128) -> T {
    T::from(Uuid::from_u128(n))
}

fn eur(amount: i64) -> Money {
    Money::new(amount, "EUR".parse().unwrap()).unwrap()
}

const TOTAL: i64 = 5000;
const AUTHORIZE: u128 = 1;
const CAPTURE: u128 = 2;
const VOID: u128 = 3;
const REFUND: u128 = 4;

fn start() -> Start {
    Start {
        payment_id: id(1),
        order_id: id(1),
        tender_id: id(1),
        provider: "sandbox".to_owned(),
        amount: eur(TOTAL),
        capture: CaptureMode::Automatic,
        operation_id: id(AUTHORIZE),
        idempotency_key: "key-1".to_owned(),
    }
}

fn started() -> Vec<PaymentEvent> {
    vec![
        PaymentEvent::PaymentCreated(PaymentCreated {
            payment_id: id(1),
            order_id: id(1),
            tender_id: id(1),
            provider: "sandbox".to_owned(),
            amount: eur(TOTAL),
            capture: CaptureMode::Automatic,
        }),
        PaymentEvent::AuthorizationRequested(AuthorizationRequested {
            operation_id: id(AUTHORIZE),
            idempotency_key: "key-1".to_owned(),
            amount: eur(TOTAL),
        }),
    ]
}

fn evidence(operation: u128) -> Evidence {
    Evidence { operation_id: id(operation), source: "webhook".to_owned(), provider_event_id: None, provider_ref: Some("ch_42".to_owned()) }
}

fn record(operation: u128, fact: ProviderFact) -> PaymentCommand {
    PaymentCommand::Record { evidence: evidence(operation), fact }
}

fn authorized_fact() -> ProviderFact {
    ProviderFact::Authorized {
        amount: eur(TOTAL),
        expires_at: None,
        method: PaymentMethod { kind: "card".to_owned(), brand: None },
        last4: None,
    }
}

fn captured_fact(amount: i64) -> ProviderFact {
    ProviderFact::Captured { amount: eur(amount), is_final: true }
}

fn declined_fact() -> ProviderFact {
    ProviderFact::AuthorizationFailed { code: "card_declined".to_owned(), category: "declined".to_owned() }
}

fn authorized() -> PaymentEvent {
    PaymentEvent::PaymentAuthorized(PaymentAuthorized {
        evidence: evidence(AUTHORIZE),
        amount: eur(TOTAL),
        expires_at: None,
        method: PaymentMethod { kind: "card".to_owned(), brand: None },
        last4: None,
    })
}

fn captured(amount: i64) -> PaymentEvent {
    PaymentEvent::PaymentCaptured(PaymentCaptured { evidence: evidence(CAPTURE), amount: eur(amount), is_final: true })
}

fn request_capture(operation: u128, amount: i64) -> PaymentCommand {
    PaymentCommand::RequestCapture {
        operation_id: id(operation),
        idempotency_key: format!("key-{operation}"),
        amount: eur(amount),
        is_final: true,
    }
}

fn capture_requested(operation: u128, amount: i64) -> PaymentEvent {
    PaymentEvent::CaptureRequested(CaptureRequested {
        operation_id: id(operation),
        idempotency_key: format!("key-{operation}"),
        amount: eur(amount),
        is_final: true,
    })
}

fn request_void() -> PaymentCommand {
    PaymentCommand::RequestVoid { operation_id: id(VOID), idempotency_key: "key-3".to_owned(), reason: "order_expired".to_owned() }
}

fn refund(operation: u128, amount: i64) -> RefundRequested {
    RefundRequested {
        operation_id: id(operation),
        refund_id: id(operation),
        idempotency_key: format!("key-{operation}"),
        amount: eur(amount),
        reason: "returned".to_owned(),
        allocation: vec![],
    }
}

fn refund_succeeded(amount: i64) -> ProviderFact {
    ProviderFact::RefundSucceeded { refund_id: id(REFUND), amount: eur(amount) }
}

fn payment(events: Vec<PaymentEvent>) -> AggregateTestExecutor<Payment> {
    TestFramework::<Payment>::with(()).given(started()).and(events)
}

/// The payment after these commands.
fn after(commands: Vec<PaymentCommand>) -> Payment {
    let mut payment = Payment::default();
    for command in [vec![PaymentCommand::Start(start())], commands].concat() {
        for event in payment.decide(command).unwrap() {
            payment.apply(&event);
        }
    }
    payment
}

#[test]
fn an_attempt_starts_with_its_intent() {
    TestFramework::<Payment>::with(()).given_no_previous_events().when(PaymentCommand::Start(start())).then_expect_events(started());
    payment(vec![]).when(PaymentCommand::Start(start())).then_expect_events(vec![]);
    let other = Start { amount: eur(1), ..start() };
    payment(vec![]).when(PaymentCommand::Start(other)).then_expect_error(PaymentRejection::Exists);
}

#[test]
fn the_same_outcome_twice_is_one_event() {
    payment(vec![]).when(record(AUTHORIZE, authorized_fact())).then_expect_events(vec![authorized()]);
    payment(vec![authorized()]).when(record(AUTHORIZE, authorized_fact())).then_expect_events(vec![]);
}

#[test]
fn a_repeated_webhook_is_known_by_its_id() {
    let told = Evidence { provider_event_id: Some("evt_1".to_owned()), ..evidence(AUTHORIZE) };
    let command = |fact| PaymentCommand::Record { evidence: told.clone(), fact };
    let mut payment = after(vec![command(authorized_fact())]);
    assert_eq!(payment.status(), PaymentStatus::Authorized);
    assert_eq!(payment.decide(command(authorized_fact())), Ok(vec![]));
    payment = after(vec![command(declined_fact())]);
    assert_eq!(payment.decide(command(authorized_fact())), Ok(vec![]));
}

#[test]
fn an_outcome_of_a_payment_that_does_not_exist_is_for_others_to_park() {
    TestFramework::<Payment>::with(())
        .given_no_previous_events()
        .when(record(AUTHORIZE, authorized_fact()))
        .then_expect_error(PaymentRejection::NotFound);
}

#[test]
fn a_capture_that_is_told_before_its_authorisation_implies_it() {
    let payment = after(vec![record(CAPTURE, captured_fact(TOTAL))]);
    assert_eq!((payment.authorized(), payment.captured()), (TOTAL, TOTAL));
    assert_eq!(payment.status(), PaymentStatus::Paid);
    assert_eq!(payment.decide(record(AUTHORIZE, authorized_fact())), Ok(vec![authorized()]));
}

#[test]
fn a_late_pending_does_not_undo_a_success() {
    let payment = after(vec![record(AUTHORIZE, authorized_fact())]);
    let action = ProviderFact::ActionRequired { kind: "redirect".to_owned(), expires_at: None };
    let unknown = ProviderFact::Unknown { operation: OperationKind::Authorize };
    for late in [action, unknown, declined_fact()] {
        assert_eq!(payment.decide(record(AUTHORIZE, late)), Ok(vec![]));
    }
}

#[test]
fn a_success_after_a_refusal_is_believed() {
    let payment = after(vec![record(AUTHORIZE, declined_fact()), record(AUTHORIZE, authorized_fact())]);
    assert_eq!(payment.status(), PaymentStatus::Authorized);
}

#[test]
fn an_unknown_outcome_is_resolved_by_a_later_word() {
    let mut payment = after(vec![record(AUTHORIZE, ProviderFact::Unknown { operation: OperationKind::Authorize })]);
    assert_eq!(payment.status(), PaymentStatus::Pending);
    let open: Vec<OperationId> = payment.open_operations().map(|operation| operation.operation_id).collect();
    assert_eq!(open, [id(AUTHORIZE)]);
    for event in payment.decide(record(AUTHORIZE, authorized_fact())).unwrap() {
        payment.apply(&event);
    }
    assert_eq!(payment.status(), PaymentStatus::Authorized);
    assert_eq!(payment.open_operations().count(), 0);
}

#[test]
fn no_more_is_captured_than_was_authorised() {
    payment(vec![]).when(request_capture(CAPTURE, TOTAL)).then_expect_error(PaymentRejection::NotCapturable { capturable: eur(0) });
    payment(vec![authorized()]).when(request_capture(CAPTURE, TOTAL)).then_expect_events(vec![capture_requested(CAPTURE, TOTAL)]);
    payment(vec![authorized(), capture_requested(CAPTURE, 3000)])
        .when(request_capture(9, 2001))
        .then_expect_error(PaymentRejection::NotCapturable { capturable: eur(2000) });
}

#[test]
fn a_capture_that_was_asked_for_is_not_asked_for_again() {
    payment(vec![authorized(), capture_requested(CAPTURE, TOTAL)]).when(request_capture(CAPTURE, TOTAL)).then_expect_events(vec![]);
}

#[test]
fn a_failed_capture_leaves_the_authorisation() {
    let failed = ProviderFact::CaptureFailed { code: "try_later".to_owned() };
    let payment = after(vec![record(AUTHORIZE, authorized_fact()), request_capture(CAPTURE, TOTAL), record(CAPTURE, failed)]);
    assert_eq!(payment.status(), PaymentStatus::Authorized);
    assert_eq!(payment.capturable(), TOTAL);
}

#[test]
fn an_attempt_is_voided_also_before_its_outcome_is_known() {
    let requested = PaymentEvent::VoidRequested(VoidRequested {
        operation_id: id(VOID),
        idempotency_key: "key-3".to_owned(),
        reason: "order_expired".to_owned(),
    });
    payment(vec![]).when(request_void()).then_expect_events(vec![requested.clone()]);
    payment(vec![authorized()]).when(request_void()).then_expect_events(vec![requested.clone()]);
    payment(vec![authorized(), requested]).when(request_void()).then_expect_events(vec![]);
    payment(vec![authorized(), captured(1)]).when(request_void()).then_expect_error(PaymentRejection::AlreadyCaptured);
    let declined = after(vec![record(AUTHORIZE, declined_fact())]);
    assert_eq!(declined.decide(request_void()), Err(PaymentRejection::NothingToVoid));
}

#[test]
fn a_voided_attempt_is_not_captured() {
    let mut payment = after(vec![record(AUTHORIZE, authorized_fact()), request_void()]);
    assert_eq!(payment.capturable(), 0);
    for event in payment.decide(record(VOID, ProviderFact::Voided { amount: eur(TOTAL) })).unwrap() {
        payment.apply(&event);
    }
    assert_eq!(payment.status(), PaymentStatus::Voided);
    // And when the provider captured all the same, that is a fact.
    assert_eq!(payment.decide(record(CAPTURE, captured_fact(TOTAL))), Ok(vec![captured(TOTAL)]));
}

#[test]
fn no_more_is_refunded_than_was_captured() {
    let request = |operation, amount| PaymentCommand::RequestRefund(refund(operation, amount));
    let mut payment = after(vec![
        record(AUTHORIZE, authorized_fact()),
        request_capture(CAPTURE, TOTAL),
        record(CAPTURE, captured_fact(TOTAL)),
        request(REFUND, 3000),
    ]);
    assert_eq!(payment.status(), PaymentStatus::Paid);
    assert_eq!(payment.decide(request(9, 2001)), Err(PaymentRejection::NotRefundable { refundable: eur(2000) }));
    assert_eq!(payment.decide(request(REFUND, 3000)), Ok(vec![]));
    for event in payment.decide(record(REFUND, refund_succeeded(3000))).unwrap() {
        payment.apply(&event);
    }
    assert_eq!(payment.status(), PaymentStatus::PartiallyRefunded);
    let reversed = ProviderFact::RefundReversed { refund_id: id(REFUND), amount: eur(3000), code: None };
    for event in payment.decide(record(REFUND, reversed)).unwrap() {
        payment.apply(&event);
    }
    assert_eq!((payment.status(), payment.refundable()), (PaymentStatus::Paid, TOTAL));
    assert_eq!(payment.decide(record(REFUND, refund_succeeded(3000))), Ok(vec![]));
}

#[test]
fn a_refund_that_fails_after_it_succeeded_is_not_refunded() {
    let payment = after(vec![
        record(CAPTURE, captured_fact(TOTAL)),
        PaymentCommand::RequestRefund(refund(REFUND, TOTAL)),
        record(REFUND, refund_succeeded(TOTAL)),
        record(REFUND, ProviderFact::RefundFailed { refund_id: id(REFUND), amount: eur(TOTAL), code: None }),
    ]);
    assert_eq!((payment.status(), payment.refunded()), (PaymentStatus::Paid, 0));
}

#[test]
fn a_refunds_lines_sum_to_its_amount() {
    let line = |net, tax| RefundAllocation { line_id: id(1), quantity: Some(1), net: eur(net), tax: eur(tax) };
    let request = |lines| PaymentCommand::RequestRefund(RefundRequested { allocation: lines, ..refund(REFUND, 1190) });
    payment(vec![captured(TOTAL)]).when(request(vec![line(1000, 100)])).then_expect_error(PaymentRejection::AllocationWrong);
    let good = RefundRequested { allocation: vec![line(500, 95), line(500, 95)], ..refund(REFUND, 1190) };
    payment(vec![captured(TOTAL)])
        .when(PaymentCommand::RequestRefund(good.clone()))
        .then_expect_events(vec![PaymentEvent::RefundRequested(good)]);
}

#[test]
fn what_refunds_gave_back_of_a_line_is_what_succeeded_and_what_may() {
    let part = |line, quantity, net, tax| RefundAllocation { line_id: id(line), quantity, net: eur(net), tax: eur(tax) };
    let request = |operation, allocation: Vec<RefundAllocation>| {
        let amount = allocation.iter().map(|part| part.net.amount() + part.tax.amount()).sum();
        PaymentCommand::RequestRefund(RefundRequested { allocation, ..refund(operation, amount) })
    };
    let commands = vec![
        record(CAPTURE, captured_fact(TOTAL)),
        request(REFUND, vec![part(1, Some(1), 1000, 190), part(2, Some(3), 200, 38)]),
        request(9, vec![part(1, Some(2), 500, 95), part(1, None, 100, 19)]),
    ];
    let of = |payment: &Payment, line| {
        let refunded = payment.refunded_of(id(line));
        (refunded.units, refunded.net, refunded.tax)
    };
    let asked = after(commands.clone());
    assert_eq!((of(&asked, 1), of(&asked, 2), of(&asked, 3)), ((3, 1600, 304), (3, 200, 38), (0, 0, 0)));
    assert_eq!(asked.kept(), TOTAL - 1428 - 714);
    let ended = |fact| after([commands.clone(), vec![record(REFUND, fact)]].concat());
    let succeeded = ended(refund_succeeded(1428));
    assert_eq!((of(&succeeded, 1), of(&succeeded, 2), succeeded.kept()), (of(&asked, 1), of(&asked, 2), asked.kept()));
    let failed = ended(ProviderFact::RefundFailed { refund_id: id(REFUND), amount: eur(1428), code: None });
    assert_eq!((of(&failed, 1), of(&failed, 2), failed.kept()), ((2, 600, 114), (0, 0, 0), TOTAL - 714));
}

/// A surplus of the order goes back under an id that is made of what it follows from; a merchant's refund has one of its own.
fn surplus_id() -> RefundId {
    Uuid::new_v5(&Uuid::NAMESPACE_OID, b"the cancellation that it follows from").into()
}

fn merchants_id() -> RefundId {
    // Version 7, as every id that is newly made.
    Uuid::from_u128(0x0190_0000_0000_7000_8000_0000_0000_0001).into()
}

#[test]
fn a_surplus_that_goes_back_no_longer_covers_the_order_and_goodwill_does() {
    let refunds = |refund_id| {
        let amount = eur(2000);
        let request = PaymentCommand::RequestRefund(RefundRequested { refund_id, ..refund(REFUND, 2000) });
        let asked = vec![record(CAPTURE, captured_fact(TOTAL)), request];
        let ended = |fact| after([asked.clone(), vec![record(REFUND, fact)]].concat());
        [
            after(asked.clone()),
            ended(ProviderFact::Unknown { operation: OperationKind::Refund }),
            ended(ProviderFact::RefundPending { refund_id, amount }),
            ended(ProviderFact::RefundSucceeded { refund_id, amount }),
            ended(ProviderFact::RefundFailed { refund_id, amount, code: None }),
            ended(ProviderFact::RefundReversed { refund_id, amount, code: None }),
        ]
    };
    let is_surplus = |payments: &[Payment]| payments.iter().all(|payment| payment.operation(id(REFUND)).unwrap().is_surplus());
    let (surplus, goodwill) = (refunds(surplus_id()), refunds(merchants_id()));
    assert!(is_surplus(&surplus) && !is_surplus(&goodwill));
    assert_eq!(surplus.each_ref().map(Payment::covering), [3000, 3000, 3000, 3000, TOTAL, TOTAL]);
    assert_eq!(goodwill.each_ref().map(Payment::covering), [TOTAL; 6]);
    assert_eq!(goodwill.each_ref().map(Payment::kept), surplus.each_ref().map(Payment::kept), "either way the money is gone");
    let captured = after(vec![record(CAPTURE, captured_fact(TOTAL))]);
    assert!(!captured.operation(id(CAPTURE)).unwrap().is_surplus(), "what is no refund is none of a surplus");
}

#[test]
fn money_covers_once_it_is_captured_and_until_a_dispute_is_lost() {
    let authorized = [record(AUTHORIZE, authorized_fact()), request_capture(CAPTURE, 4000)];
    let then = |facts: &[ProviderFact]| {
        let told = facts.iter().map(|fact| record(CAPTURE, fact.clone()));
        after(authorized.iter().cloned().chain(told).collect()).covering()
    };
    let opened = ProviderFact::DisputeOpened { dispute_id: id(1), amount: eur(1500), reason: "fraudulent".to_owned(), due_at: None };
    let lost = ProviderFact::DisputeLost { dispute_id: id(1), amount: eur(1500), fee: None };
    let won = ProviderFact::DisputeWon { dispute_id: id(1) };
    assert_eq!(then(&[]), 0, "asked for is not taken");
    assert_eq!(then(&[captured_fact(4000)]), 4000);
    assert_eq!(then(&[captured_fact(4000), opened.clone()]), 4000);
    assert_eq!(then(&[captured_fact(4000), opened.clone(), won]), 4000);
    assert_eq!(then(&[captured_fact(4000), opened, lost]), 2500);
}

#[test]
fn a_capture_is_being_taken_from_its_request_to_the_first_word_on_it() {
    let request = |operation, amount| PaymentCommand::RequestCapture {
        operation_id: id(operation),
        idempotency_key: format!("key-{operation}"),
        amount: eur(amount),
        is_final: false,
    };
    let asked = vec![record(AUTHORIZE, authorized_fact()), request(CAPTURE, 3000), request(9, 500)];
    let then = |fact| after([asked.clone(), vec![record(CAPTURE, fact)]].concat()).being_captured();
    assert_eq!(after(vec![record(AUTHORIZE, authorized_fact())]).being_captured(), 0, "an authorisation is no capture");
    assert_eq!(after(asked.clone()).being_captured(), 3500);
    assert_eq!(then(ProviderFact::Unknown { operation: OperationKind::Capture }), 500);
    assert_eq!(then(captured_fact(3000)), 500);
    assert_eq!(then(ProviderFact::CaptureFailed { code: "try_later".to_owned() }), 500);
}

#[test]
fn nothing_is_refunded_while_a_dispute_is_open() {
    let opened = ProviderFact::DisputeOpened { dispute_id: id(1), amount: eur(TOTAL), reason: "fraudulent".to_owned(), due_at: None };
    let mut payment = after(vec![record(CAPTURE, captured_fact(TOTAL)), record(CAPTURE, opened)]);
    assert_eq!(payment.status(), PaymentStatus::Disputed);
    let request = PaymentCommand::RequestRefund(refund(REFUND, TOTAL));
    assert_eq!(payment.decide(request.clone()), Err(PaymentRejection::DisputeOpen));
    for event in payment.decide(record(CAPTURE, ProviderFact::DisputeWon { dispute_id: id(1) })).unwrap() {
        payment.apply(&event);
    }
    assert_eq!(payment.decide(request).unwrap().len(), 1);
}

#[test]
fn a_capture_of_the_providers_own_may_be_the_last_one() {
    let part = |is_final| ProviderFact::Captured { amount: eur(2000), is_final };
    let left = |is_final| after(vec![record(AUTHORIZE, authorized_fact()), record(CAPTURE, part(is_final))]).capturable();
    assert_eq!((left(false), left(true)), (3000, 0));
}

#[test]
fn a_payment_knows_the_providers_name_of_it() {
    assert_eq!(after(vec![]).provider_ref(), None);
    assert_eq!(after(vec![record(AUTHORIZE, authorized_fact())]).provider_ref(), Some("ch_42"));
    assert!(!after(vec![]).is_another("ch_43"), "nothing is known yet");
    let known = after(vec![record(AUTHORIZE, authorized_fact())]);
    assert_eq!((known.is_another("ch_42"), known.is_another("ch_43")), (false, true), "a second payment under our reference");
}

#[test]
fn an_unknown_outcome_says_of_what() {
    let asked = after(vec![record(AUTHORIZE, authorized_fact()), request_capture(CAPTURE, TOTAL)]);
    let unknown = |payment: &Payment, operation, kind| {
        let events = payment.decide(record(operation, ProviderFact::Unknown { operation: kind })).unwrap();
        let PaymentEvent::OperationOutcomeUnknown(unknown) = events[0].clone() else { panic!("{events:?}") };
        unknown.operation
    };
    assert_eq!(unknown(&after(vec![]), AUTHORIZE, OperationKind::Authorize), "authorize");
    assert_eq!(unknown(&asked, CAPTURE, OperationKind::Capture), "capture");
    assert_eq!([OperationKind::Void, OperationKind::Refund].map(OperationKind::as_str), ["void", "refund"]);
}

#[test]
fn what_a_lost_dispute_took_is_not_refunded_once_more() {
    let lost = |amount| ProviderFact::DisputeLost { dispute_id: id(1), amount: eur(amount), fee: None };
    let payment = after(vec![record(CAPTURE, captured_fact(TOTAL)), record(CAPTURE, lost(2000))]);
    let request = |amount| payment.decide(PaymentCommand::RequestRefund(refund(REFUND, amount)));
    assert_eq!(request(3001), Err(PaymentRejection::NotRefundable { refundable: eur(3000) }));
    assert_eq!(request(3000).unwrap().len(), 1);
    assert_eq!((payment.charged_back(), payment.kept()), (2000, 3000));
}

#[test]
fn a_payment_is_read_together_with_its_order() {
    let payment = after(vec![]);
    assert_eq!(payment.partition_key("p-1"), start().order_id.to_string());
    assert_eq!(Payment::default().partition_key("p-1"), "p-1");
}

#[test]
fn the_words_for_one_attempt_follow_its_operations() {
    let action = ProviderFact::ActionRequired { kind: "redirect".to_owned(), expires_at: None };
    let expired = ProviderFact::AuthorizationExpired { amount: eur(TOTAL) };
    let status = |commands| after(commands).status().as_str();
    assert_eq!(Payment::default().status().as_str(), "none");
    assert_eq!(status(vec![]), "pending");
    assert_eq!(status(vec![record(AUTHORIZE, action)]), "requires_action");
    assert_eq!(status(vec![record(AUTHORIZE, declined_fact())]), "failed");
    assert_eq!(status(vec![record(AUTHORIZE, authorized_fact())]), "authorized");
    assert_eq!(status(vec![record(AUTHORIZE, authorized_fact()), record(AUTHORIZE, expired)]), "voided");
    assert_eq!(status(vec![record(CAPTURE, captured_fact(1))]), "partially_paid");
    assert_eq!(status(vec![record(CAPTURE, captured_fact(TOTAL))]), "paid");
    assert_eq!(status(vec![record(CAPTURE, captured_fact(TOTAL)), record(REFUND, refund_succeeded(TOTAL))]), "refunded");
}

#[test]
fn the_word_for_an_order_follows_all_its_attempts() {
    let declined = after(vec![record(AUTHORIZE, declined_fact())]);
    let pending = after(vec![]);
    let paid = after(vec![record(CAPTURE, captured_fact(TOTAL))]);
    let half = after(vec![record(CAPTURE, captured_fact(TOTAL / 2))]);
    let status = |payments: &[&Payment]| order_payment_status(eur(TOTAL), payments.iter().copied()).as_str();
    assert_eq!(status(&[]), "none");
    assert_eq!(status(&[&declined]), "failed");
    assert_eq!(status(&[&declined, &pending]), "pending");
    assert_eq!(status(&[&declined, &paid]), "paid");
    assert_eq!(status(&[&half]), "partially_paid");
    assert_eq!(status(&[&half, &half]), "paid");
}

#[test]
fn a_payment_survives_its_snapshot() {
    let payment = after(vec![
        record(AUTHORIZE, authorized_fact()),
        request_capture(CAPTURE, TOTAL),
        record(CAPTURE, ProviderFact::CaptureFailed { code: "x".to_owned() }),
    ]);
    assert_eq!(payment.operation(id(CAPTURE)).unwrap().outcome, Outcome::Failed { code: "x".to_owned() });
    let json = serde_json::to_string(&payment).unwrap();
    assert_eq!(serde_json::from_str::<Payment>(&json).unwrap(), payment);
    assert_eq!(json.matches("is_final").count(), 1, "of one that is none it isn't written: {json}");
}

fn any_fact() -> impl Strategy<Value = (u128, ProviderFact)> {
    let amount = 1..=TOTAL;
    prop_oneof![
        Just((AUTHORIZE, authorized_fact())),
        Just((AUTHORIZE, declined_fact())),
        Just((AUTHORIZE, ProviderFact::Unknown { operation: OperationKind::Authorize })),
        Just((AUTHORIZE, ProviderFact::ActionRequired { kind: "redirect".to_owned(), expires_at: None })),
        amount.clone().prop_map(|amount| (CAPTURE, captured_fact(amount))),
        Just((CAPTURE, ProviderFact::CaptureFailed { code: "x".to_owned() })),
        Just((VOID, ProviderFact::Voided { amount: eur(TOTAL) })),
        Just((VOID, ProviderFact::VoidFailed { code: "x".to_owned() })),
        amount.prop_map(|amount| (REFUND, refund_succeeded(amount))),
        Just((REFUND, ProviderFact::RefundPending { refund_id: id(REFUND), amount: eur(1) })),
        Just((REFUND, ProviderFact::RefundReversed { refund_id: id(REFUND), amount: eur(1), code: None })),
        Just((CAPTURE, ProviderFact::DisputeWon { dispute_id: id(1) })),
    ]
}

proptest! {
    #[test]
    fn no_provider_fact_is_ever_refused_and_none_counts_twice(facts in prop::collection::vec(any_fact(), 1..20)) {
        let mut payment = after(vec![]);
        for (operation, fact) in facts {
            let command = record(operation, fact);
            for event in payment.decide(command.clone()).unwrap() {
                prop_assert!(PaymentEvent::TYPES.iter().any(|(name, _)| *name == event.name()));
                payment.apply(&event);
            }
            prop_assert_eq!(payment.decide(command), Ok(vec![]));
            prop_assert!(payment.captured() <= payment.authorized());
        }
    }

    #[test]
    fn what_we_ask_for_never_exceeds_what_there_is(
        captures in prop::collection::vec(1..=TOTAL, 0..6),
        refunds in prop::collection::vec(1..=TOTAL, 0..6),
    ) {
        let mut payment = after(vec![record(AUTHORIZE, authorized_fact())]);
        for (operation, amount) in (10..).zip(captures) {
            let asked = payment.decide(request_capture(operation, amount));
            prop_assert_eq!(asked.is_ok(), amount <= payment.capturable());
            for event in asked.unwrap_or_default() {
                payment.apply(&event);
                for event in payment.decide(record(operation, captured_fact(amount))).unwrap() {
                    payment.apply(&event);
                }
            }
        }
        for (operation, amount) in (20..).zip(refunds) {
            let asked = payment.decide(PaymentCommand::RequestRefund(refund(operation, amount)));
            prop_assert_eq!(asked.is_ok(), amount <= payment.refundable());
            for event in asked.unwrap_or_default() {
                payment.apply(&event);
            }
        }
        prop_assert!(payment.captured() <= TOTAL && payment.refundable() >= 0);
    }
}
