//! One attempt to pay, from its intent to the last refund.

use domain::payment::{
    AuthorizationRequested, CaptureMode, CaptureRequested, Evidence, OperationKind, Payment, PaymentCommand, PaymentCreated, PaymentEvent,
    PaymentMethod, PaymentRejection, PaymentStatus, ProviderFact, RefundAllocation, RefundRequested, Start, VoidRequested,
};

use crate::{Table, Variants, check_reached, eur, id};

variants!(PaymentRejection:
    NotFound, Exists, AmountNotPositive, NotCapturable, AlreadyCaptured, CaptureInProgress, NothingToVoid, NotRefundable, AllocationWrong, DisputeOpen, Money,
);
variants!(PaymentStatus:
    None, Pending, RequiresAction, Authorized, PartiallyPaid, Paid, PartiallyRefunded, Refunded, Voided, Failed, Disputed,
);

/// Each thing that the provider may say is a command of its own here.
impl Variants for PaymentCommand {
    const NAMES: &'static [&'static str] = &[
        "Start",
        "RequestCapture",
        "RequestVoid",
        "RequestRefund",
        "ActionRequired",
        "Authorized",
        "AuthorizationFailed",
        "AuthorizationExpired",
        "Captured",
        "CaptureFailed",
        "Voided",
        "VoidFailed",
        "RefundPending",
        "RefundSucceeded",
        "RefundFailed",
        "RefundReversed",
        "Unknown",
        "DisputeOpened",
        "DisputeWon",
        "DisputeLost",
    ];

    fn variant(&self) -> &'static str {
        match self {
            Self::Start(_) => "Start",
            Self::RequestCapture { .. } => "RequestCapture",
            Self::RequestVoid { .. } => "RequestVoid",
            Self::RequestRefund(_) => "RequestRefund",
            Self::Record { fact, .. } => match fact {
                ProviderFact::ActionRequired { .. } => "ActionRequired",
                ProviderFact::Authorized { .. } => "Authorized",
                ProviderFact::AuthorizationFailed { .. } => "AuthorizationFailed",
                ProviderFact::AuthorizationExpired { .. } => "AuthorizationExpired",
                ProviderFact::Captured { .. } => "Captured",
                ProviderFact::CaptureFailed { .. } => "CaptureFailed",
                ProviderFact::Voided { .. } => "Voided",
                ProviderFact::VoidFailed { .. } => "VoidFailed",
                ProviderFact::RefundPending { .. } => "RefundPending",
                ProviderFact::RefundSucceeded { .. } => "RefundSucceeded",
                ProviderFact::RefundFailed { .. } => "RefundFailed",
                ProviderFact::RefundReversed { .. } => "RefundReversed",
                ProviderFact::Unknown { .. } => "Unknown",
                ProviderFact::DisputeOpened { .. } => "DisputeOpened",
                ProviderFact::DisputeWon { .. } => "DisputeWon",
                ProviderFact::DisputeLost { .. } => "DisputeLost",
            },
        }
    }
}

/// An attempt at 50.00. Operation 1 authorises, 2 captures, 3 voids, 4 refunds; `part` of it is 20.00.
/// What the provider says is said of these; 7 is an operation that nobody asked for.
const TABLE: &str = "
started = requested action unknown failed authorized lapsed capturing capture_failed captured_part captured_last captured voiding giving_up voided void_failed refunding refunded_part refunded reversed disputed lost
taken = captured refunding refunded_part refunded reversed disputed lost
open = requested action unknown giving_up

Start
    PaymentCreated AuthorizationRequested                      | absent
    -                                                          | started

Start of another amount
    PaymentCreated AuthorizationRequested                      | absent
    payment_exists                                             | started

Start of nothing
    amount_not_positive                                        | absent
    payment_exists                                             | started

RequestCapture as 2, all
    payment_not_found                                          | absent
    payment_not_capturable                                     | failed lapsed voiding voided open
    CaptureRequested                                           | authorized void_failed
    -                                                          | capturing capture_failed captured_part captured_last taken

RequestCapture as 7, all
    payment_not_found                                          | absent
    payment_not_capturable                                     | started but authorized capture_failed void_failed
    CaptureRequested                                           | authorized capture_failed void_failed

RequestCapture as 7, a part
    payment_not_found                                          | absent
    payment_not_capturable                                     | started but authorized capture_failed captured_part void_failed
    CaptureRequested                                           | authorized capture_failed captured_part void_failed

RequestCapture as 7, nothing
    payment_not_found                                          | absent
    amount_not_positive                                        | started

RequestCapture as 7, in yen
    payment_not_found                                          | absent
    currency_mismatch                                          | started

RequestVoid as 3
    payment_not_found                                          | absent
    VoidRequested                                              | authorized capture_failed open but giving_up
    payment_not_voidable                                       | failed lapsed
    payment_capture_in_progress                                | capturing
    payment_already_captured                                   | captured_part captured_last taken
    -                                                          | voiding giving_up voided void_failed

RequestVoid as 7
    payment_not_found                                          | absent
    VoidRequested                                              | authorized capture_failed void_failed open but giving_up
    payment_not_voidable                                       | failed lapsed
    payment_capture_in_progress                                | capturing
    payment_already_captured                                   | captured_part captured_last taken
    -                                                          | voiding giving_up voided

RequestRefund as 4, all
    payment_not_found                                          | absent
    payment_not_refundable                                     | started but captured refunding refunded_part refunded reversed disputed
    RefundRequested                                            | captured
    -                                                          | taken but captured disputed lost
    dispute_open                                               | disputed

RequestRefund as 7, all
    payment_not_found                                          | absent
    payment_not_refundable                                     | started but captured reversed disputed
    RefundRequested                                            | captured reversed
    dispute_open                                               | disputed

RequestRefund as 7, a part
    payment_not_found                                          | absent
    payment_not_refundable                                     | started but captured_part captured_last captured refunding refunded_part reversed disputed
    RefundRequested                                            | captured_part captured_last taken but refunded disputed lost
    dispute_open                                               | disputed

RequestRefund as 7, nothing
    payment_not_found                                          | absent
    amount_not_positive                                        | started

RequestRefund as 7, its lines sum to it
    payment_not_found                                          | absent
    payment_not_refundable                                     | started but captured_part captured_last captured refunding refunded_part reversed disputed
    RefundRequested                                            | captured_part captured_last taken but refunded disputed lost
    dispute_open                                               | disputed

RequestRefund as 7, its lines don't
    payment_not_found                                          | absent
    payment_not_refundable                                     | started but captured_part captured_last captured refunding refunded_part reversed disputed
    refund_allocation_wrong                                    | captured_part captured_last taken but refunded disputed lost
    dispute_open                                               | disputed

ActionRequired
    payment_not_found                                          | absent
    PaymentActionRequired                                      | open but action
    -                                                          | started but requested unknown giving_up

Authorized
    payment_not_found                                          | absent
    PaymentAuthorized                                          | failed open
    -                                                          | started but requested action unknown failed giving_up

AuthorizationFailed
    payment_not_found                                          | absent
    PaymentFailed                                              | open
    -                                                          | started but requested action unknown giving_up

AuthorizationExpired
    payment_not_found                                          | absent
    AuthorizationExpired                                       | started but lapsed
    -                                                          | lapsed

Captured, all of it
    payment_not_found                                          | absent
    PaymentCaptured                                            | started but captured refunding refunded_part refunded reversed disputed lost
    -                                                          | taken

Captured by 7, a part
    payment_not_found                                          | absent
    PaymentCaptured                                            | started

CaptureFailed
    payment_not_found                                          | absent
    CaptureFailed                                              | started but capture_failed
    -                                                          | capture_failed

Voided
    payment_not_found                                          | absent
    PaymentVoided                                              | started but voided
    -                                                          | voided

VoidFailed
    payment_not_found                                          | absent
    VoidFailed                                                 | started but voided void_failed
    -                                                          | voided void_failed

RefundPending
    payment_not_found                                          | absent
    RefundPending                                              | started but refunded_part refunded reversed
    -                                                          | refunded_part refunded reversed

RefundSucceeded, a part
    payment_not_found                                          | absent
    RefundSucceeded                                            | started but refunded_part reversed
    -                                                          | refunded_part reversed

RefundFailed
    payment_not_found                                          | absent
    RefundFailed                                               | started but reversed
    -                                                          | reversed

RefundReversed
    payment_not_found                                          | absent
    RefundReversed                                             | started but reversed
    -                                                          | reversed

Unknown, the authorisation
    payment_not_found                                          | absent
    OperationOutcomeUnknown                                    | requested giving_up
    -                                                          | started but requested giving_up

Unknown, the capture
    payment_not_found                                          | absent
    -                                                          | started but capturing
    OperationOutcomeUnknown                                    | capturing

Unknown, the void
    payment_not_found                                          | absent
    -                                                          | started but voiding giving_up
    OperationOutcomeUnknown                                    | voiding giving_up

Unknown, the refund
    payment_not_found                                          | absent
    -                                                          | started but refunding
    OperationOutcomeUnknown                                    | refunding

Unknown, one that nobody asked for
    payment_not_found                                          | absent
    -                                                          | started

DisputeOpened
    payment_not_found                                          | absent
    DisputeOpened                                              | started but disputed lost
    -                                                          | disputed lost

DisputeWon
    payment_not_found                                          | absent
    DisputeWon                                                 | started

DisputeLost
    payment_not_found                                          | absent
    DisputeLost                                                | started but lost
    -                                                          | lost
";

const TOTAL: i64 = 5000;
const PART: i64 = 2000;

const AUTHORIZE: u128 = 1;
const CAPTURE: u128 = 2;
const VOID: u128 = 3;
const REFUND: u128 = 4;
const OTHER: u128 = 7;

fn evidence(operation: u128) -> Evidence {
    Evidence { operation_id: id(operation), source: "webhook".to_owned(), provider_event_id: None, provider_ref: None }
}

fn said(operation: u128, fact: ProviderFact) -> PaymentCommand {
    PaymentCommand::Record { evidence: evidence(operation), fact }
}

fn authorized() -> ProviderFact {
    ProviderFact::Authorized { amount: eur(TOTAL), expires_at: None, method: PaymentMethod::default(), last4: None }
}

fn action() -> ProviderFact {
    ProviderFact::ActionRequired { kind: "redirect".to_owned(), expires_at: None }
}

fn captured(amount: i64) -> ProviderFact {
    ProviderFact::Captured { amount: eur(amount), is_final: false }
}

fn refunded(amount: i64) -> ProviderFact {
    ProviderFact::RefundSucceeded { refund_id: id(REFUND), amount: eur(amount) }
}

fn opened() -> ProviderFact {
    ProviderFact::DisputeOpened { dispute_id: id(1), amount: eur(TOTAL), reason: "fraudulent".to_owned(), due_at: None }
}

fn start() -> Start {
    Start {
        payment_id: id(1),
        order_id: id(1),
        tender_id: id(1),
        provider: "sandbox".to_owned(),
        amount: eur(TOTAL),
        capture: CaptureMode::Automatic,
        operation_id: id(AUTHORIZE),
        idempotency_key: "key".to_owned(),
    }
}

fn refund(operation: u128, amount: i64) -> RefundRequested {
    RefundRequested {
        operation_id: id(operation),
        refund_id: id(operation),
        idempotency_key: "key".to_owned(),
        amount: eur(amount),
        reason: "returned".to_owned(),
        allocation: vec![],
    }
}

/// What was asked for, as events; what the provider said about it, as it is recorded.
enum Past {
    Capture(i64),
    /// No other one follows.
    LastCapture(i64),
    Void,
    Refund(i64),
    Said(u128, ProviderFact),
}

fn after(past: &[Past]) -> Payment {
    let idempotency_key = "key".to_owned();
    let Start { payment_id, order_id, tender_id, provider, amount, capture, operation_id, .. } = start();
    let mut payment = Payment::default();
    payment.apply(&PaymentEvent::PaymentCreated(PaymentCreated { payment_id, order_id, tender_id, provider, amount, capture }));
    let key = idempotency_key.clone();
    payment.apply(&PaymentEvent::AuthorizationRequested(AuthorizationRequested { operation_id, idempotency_key: key, amount }));
    for step in past {
        let key = idempotency_key.clone();
        let events = match step {
            Past::Capture(amount) | Past::LastCapture(amount) => vec![PaymentEvent::CaptureRequested(CaptureRequested {
                operation_id: id(CAPTURE),
                idempotency_key: key,
                amount: eur(*amount),
                is_final: matches!(step, Past::LastCapture(_)),
            })],
            Past::Void => vec![PaymentEvent::VoidRequested(VoidRequested {
                operation_id: id(VOID),
                idempotency_key: key,
                reason: "order_expired".to_owned(),
            })],
            Past::Refund(amount) => vec![PaymentEvent::RefundRequested(refund(REFUND, *amount))],
            Past::Said(operation, fact) => payment.decide(said(*operation, fact.clone())).unwrap(),
        };
        assert!(!events.is_empty(), "a past of things that happened");
        for event in &events {
            payment.apply(event);
        }
    }
    payment
}

fn states() -> Vec<(&'static str, Payment)> {
    use Past::{Capture, LastCapture, Refund, Said, Void};
    let authorized = || Said(AUTHORIZE, authorized());
    let unknown = |operation, kind| Said(operation, ProviderFact::Unknown { operation: kind });
    let captured = |amount| Said(CAPTURE, captured(amount));
    let declined = ProviderFact::AuthorizationFailed { code: "card_declined".to_owned(), category: "declined".to_owned() };
    let expired = ProviderFact::AuthorizationExpired { amount: eur(TOTAL) };
    let capture_failed = ProviderFact::CaptureFailed { code: "try_later".to_owned() };
    let voided = ProviderFact::Voided { amount: eur(TOTAL) };
    let void_failed = ProviderFact::VoidFailed { code: "try_later".to_owned() };
    let refunded = |amount| Said(REFUND, refunded(amount));
    let reversed = ProviderFact::RefundReversed { refund_id: id(REFUND), amount: eur(TOTAL), code: None };
    let lost = ProviderFact::DisputeLost { dispute_id: id(1), amount: eur(TOTAL), fee: None };
    vec![
        ("absent", Payment::default()),
        ("requested", after(&[])),
        ("action", after(&[Said(AUTHORIZE, action())])),
        ("unknown", after(&[unknown(AUTHORIZE, OperationKind::Authorize)])),
        ("failed", after(&[Said(AUTHORIZE, declined)])),
        ("authorized", after(&[authorized()])),
        ("lapsed", after(&[authorized(), Said(AUTHORIZE, expired)])),
        ("capturing", after(&[authorized(), Capture(TOTAL)])),
        ("capture_failed", after(&[authorized(), Capture(TOTAL), Said(CAPTURE, capture_failed)])),
        ("captured_part", after(&[authorized(), Capture(PART), captured(PART)])),
        ("captured_last", after(&[authorized(), LastCapture(PART), captured(PART)])),
        ("captured", after(&[authorized(), Capture(TOTAL), captured(TOTAL)])),
        ("voiding", after(&[authorized(), Void])),
        ("giving_up", after(&[Void])),
        ("voided", after(&[authorized(), Void, Said(VOID, voided)])),
        ("void_failed", after(&[authorized(), Void, Said(VOID, void_failed)])),
        ("refunding", after(&[authorized(), Capture(TOTAL), captured(TOTAL), Refund(PART)])),
        ("refunded_part", after(&[authorized(), Capture(TOTAL), captured(TOTAL), Refund(PART), refunded(PART)])),
        ("refunded", after(&[authorized(), Capture(TOTAL), captured(TOTAL), Refund(TOTAL), refunded(TOTAL)])),
        ("reversed", after(&[authorized(), Capture(TOTAL), captured(TOTAL), Refund(TOTAL), refunded(TOTAL), Said(REFUND, reversed)])),
        ("disputed", after(&[authorized(), Capture(TOTAL), captured(TOTAL), Said(CAPTURE, opened())])),
        ("lost", after(&[authorized(), Capture(TOTAL), captured(TOTAL), Said(CAPTURE, opened()), Said(CAPTURE, lost)])),
    ]
}

fn commands() -> Vec<(&'static str, PaymentCommand)> {
    let capture = |operation, amount| PaymentCommand::RequestCapture {
        operation_id: id(operation),
        idempotency_key: "key".to_owned(),
        amount,
        is_final: true,
    };
    let void = |operation| PaymentCommand::RequestVoid {
        operation_id: id(operation),
        idempotency_key: "key".to_owned(),
        reason: "order_expired".to_owned(),
    };
    let refund_of = |operation, amount| PaymentCommand::RequestRefund(refund(operation, amount));
    let of_lines = |net, tax| {
        let allocation = vec![RefundAllocation { line_id: id(1), quantity: Some(1), net: eur(net), tax: eur(tax) }];
        PaymentCommand::RequestRefund(RefundRequested { allocation, ..refund(OTHER, PART) })
    };
    let yen = domain::money::Money::new(1, "JPY".parse().unwrap()).unwrap();
    let (refund_id, amount) = (id(REFUND), eur(PART));
    let declined = ProviderFact::AuthorizationFailed { code: "card_declined".to_owned(), category: "declined".to_owned() };
    let code = || "try_later".to_owned();
    let unknown = |operation| ProviderFact::Unknown { operation };
    vec![
        ("Start", PaymentCommand::Start(start())),
        ("Start of another amount", PaymentCommand::Start(Start { amount: eur(1), ..start() })),
        ("Start of nothing", PaymentCommand::Start(Start { amount: eur(0), ..start() })),
        ("RequestCapture as 2, all", capture(CAPTURE, eur(TOTAL))),
        ("RequestCapture as 7, all", capture(OTHER, eur(TOTAL))),
        ("RequestCapture as 7, a part", capture(OTHER, eur(PART))),
        ("RequestCapture as 7, nothing", capture(OTHER, eur(0))),
        ("RequestCapture as 7, in yen", capture(OTHER, yen)),
        ("RequestVoid as 3", void(VOID)),
        ("RequestVoid as 7", void(OTHER)),
        ("RequestRefund as 4, all", refund_of(REFUND, TOTAL)),
        ("RequestRefund as 7, all", refund_of(OTHER, TOTAL)),
        ("RequestRefund as 7, a part", refund_of(OTHER, PART)),
        ("RequestRefund as 7, nothing", refund_of(OTHER, 0)),
        ("RequestRefund as 7, its lines sum to it", of_lines(PART - 300, 300)),
        ("RequestRefund as 7, its lines don't", of_lines(PART - 300, 299)),
        ("ActionRequired", said(AUTHORIZE, action())),
        ("Authorized", said(AUTHORIZE, authorized())),
        ("AuthorizationFailed", said(AUTHORIZE, declined)),
        ("AuthorizationExpired", said(AUTHORIZE, ProviderFact::AuthorizationExpired { amount: eur(TOTAL) })),
        ("Captured, all of it", said(CAPTURE, captured(TOTAL))),
        ("Captured by 7, a part", said(OTHER, captured(PART))),
        ("CaptureFailed", said(CAPTURE, ProviderFact::CaptureFailed { code: code() })),
        ("Voided", said(VOID, ProviderFact::Voided { amount: eur(TOTAL) })),
        ("VoidFailed", said(VOID, ProviderFact::VoidFailed { code: code() })),
        ("RefundPending", said(REFUND, ProviderFact::RefundPending { refund_id, amount })),
        ("RefundSucceeded, a part", said(REFUND, refunded(PART))),
        ("RefundFailed", said(REFUND, ProviderFact::RefundFailed { refund_id, amount, code: Some(code()) })),
        ("RefundReversed", said(REFUND, ProviderFact::RefundReversed { refund_id, amount, code: None })),
        ("Unknown, the authorisation", said(AUTHORIZE, unknown(OperationKind::Authorize))),
        ("Unknown, the capture", said(CAPTURE, unknown(OperationKind::Capture))),
        ("Unknown, the void", said(VOID, unknown(OperationKind::Void))),
        ("Unknown, the refund", said(REFUND, unknown(OperationKind::Refund))),
        ("Unknown, one that nobody asked for", said(OTHER, unknown(OperationKind::Refund))),
        ("DisputeOpened", said(CAPTURE, opened())),
        ("DisputeWon", said(CAPTURE, ProviderFact::DisputeWon { dispute_id: id(1) })),
        ("DisputeLost", said(CAPTURE, ProviderFact::DisputeLost { dispute_id: id(1), amount: eur(TOTAL), fee: None })),
    ]
}

#[test]
fn a_payment_in_every_state() {
    check_reached(states().into_iter().map(|(_, payment)| payment.status()));
    Table {
        text: TABLE,
        states: states(),
        commands: commands(),
        decide: Payment::decide,
        code: PaymentRejection::code,
        events_elsewhere: &[],
        refusals_elsewhere: &[],
    }
    .check();
}
