//! What the provider decides: each request and each settlement becomes entries of the ledger.
//!
//! A request that can be read is carried out or fails as an operation of its own (200, `failed`, a code); a [`Refusal`] means
//! that nothing was entered. The same key is never carried out twice.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use chrono::{DateTime, TimeDelta, Utc};
use serde::Deserialize;
use sha2::{Digest, Sha256};
use uuid::Uuid;

use super::answer::{Balance, Operated, OperationKind, OperationStatus, PaymentDetail, PaymentStatus, Refusal, event_type};
use super::entry::{Announcement, Answered, Entry, OperationStarted, OutcomeReached, PaymentOpened};
use super::ledger::Ledger;
use super::rules::{check, check_amount, check_reference};
use super::token::{Authorise, Behaviour, Operate};

/// How long the shopper may take over a required action.
const ACTION_WINDOW: TimeDelta = TimeDelta::hours(1);
/// How long an authorised amount may be captured.
const AUTHORIZATION_WINDOW: TimeDelta = TimeDelta::days(7);
/// The memory and the file are bounded by these.
const PAYMENTS_MAX: usize = 1_000_000;
const OPERATIONS_PER_PAYMENT_MAX: usize = 100;
const LOST_KEYS_MAX: usize = 100_000;

#[derive(Debug, Deserialize)]
pub(super) struct OpenPayment {
    pub merchant_reference: String,
    pub token: String,
    pub amount: i64,
    pub currency: String,
    #[serde(default)]
    pub capture: bool,
    pub return_url: Option<String>,
}

/// A request to a payment that exists.
#[derive(Debug)]
pub(super) enum Request {
    Capture { amount: i64, is_final: bool },
    Void,
    Refund { amount: i64, refund_reference: String },
}

/// What the shopper did on the page of the bank.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum ActionResult {
    Success,
    Failure,
}

#[derive(Debug)]
pub(super) enum Verdict {
    Answer(Box<Operated>),
    /// Whatever happened, the client is left without an answer.
    Silence,
}

/// What became of an operation, before it is entered.
struct Step<'a> {
    status: OperationStatus,
    amount: i64,
    code: Option<&'a str>,
    balance: Balance,
    settles_at: Option<DateTime<Utc>>,
}

// What may be asked for.
impl Ledger {
    pub fn open_payment(&mut self, now: DateTime<Utc>, key: &str, request: &OpenPayment) -> Result<Verdict, Refusal> {
        let behaviour = check(request)?;
        let fingerprint = fingerprint(&[
            "authorize",
            &request.merchant_reference,
            &request.token,
            &request.amount.to_string(),
            &request.currency,
            &request.capture.to_string(),
            request.return_url.as_deref().unwrap_or_default(),
        ]);
        if let Some(answered) = self.answered_before(key, &fingerprint)? {
            return Ok(answered);
        }
        if self.payments.len() >= PAYMENTS_MAX {
            return Err(Refusal::LedgerFull);
        }
        if behaviour.authorise == Authorise::TimeoutLost && self.swallow(now, key) {
            return Ok(Verdict::Silence);
        }
        let payment = self.payments.len();
        let opened = PaymentOpened {
            id: format!("psp_{}", Uuid::new_v4().simple()),
            merchant_reference: request.merchant_reference.clone(),
            behaviour,
            amount: request.amount,
            currency: request.currency.clone(),
            capture: request.capture,
            return_url: request.return_url.clone(),
            action_expires_at: now + ACTION_WINDOW,
            expires_at: now + AUTHORIZATION_WINDOW,
        };
        self.enter(now, Entry::PaymentOpened(opened));
        let started = operation_of(payment, OperationKind::Authorize, key, request.amount);
        let operation = self.start(now, started);
        let outcome = self.authorise(now, operation);
        let answer = self.answer(now, key, fingerprint, outcome);
        let is_silent = behaviour.authorise == Authorise::TimeoutDone;
        Ok(if is_silent { Verdict::Silence } else { answer })
    }

    pub fn operate(&mut self, now: DateTime<Utc>, payment_id: &str, key: &str, request: Request) -> Result<Verdict, Refusal> {
        let payment = self.payment_no(payment_id)?;
        let (kind, amount, is_final, reference) = match request {
            Request::Capture { amount, is_final } => (OperationKind::Capture, amount, is_final, None),
            Request::Void => (OperationKind::Void, 0, false, None),
            Request::Refund { amount, refund_reference } => (OperationKind::Refund, amount, false, Some(refund_reference)),
        };
        if kind != OperationKind::Void {
            check_amount(amount)?;
        }
        if let Some(reference) = &reference {
            check_reference("refund_reference", reference)?;
        }
        let fingerprint = fingerprint(&[
            &format!("{kind:?}"),
            payment_id,
            &amount.to_string(),
            &is_final.to_string(),
            reference.as_deref().unwrap_or_default(),
        ]);
        if let Some(answered) = self.answered_before(key, &fingerprint)? {
            return Ok(answered);
        }
        if self.payments[payment].operations.len() >= OPERATIONS_PER_PAYMENT_MAX {
            return Err(Refusal::OperationsFull);
        }
        let behaviour = self.payments[payment].opened.behaviour.operate(kind);
        if behaviour == Operate::TimeoutLost && self.swallow(now, key) {
            return Ok(Verdict::Silence);
        }
        let started = operation_of(payment, kind, key, amount);
        let started = OperationStarted { is_final, refund_reference: reference, ..started };
        let operation = self.start(now, started);
        let outcome = self.carry_out(now, operation);
        let answer = self.answer(now, key, fingerprint, outcome);
        Ok(if behaviour == Operate::TimeoutDone { Verdict::Silence } else { answer })
    }

    /// The shopper came back from the bank. The same result again is no change; another one is refused.
    pub fn act(&mut self, now: DateTime<Utc>, payment_id: &str, result: ActionResult) -> Result<PaymentDetail, Refusal> {
        let payment = self.payment_no(payment_id)?;
        let known = &self.payments[payment];
        let (balance, operation) = (known.balance, known.operations[0]);
        if known.opened.behaviour.authorise != Authorise::ThreeDs {
            return Err(Refusal::ActionNotPossible);
        }
        if balance.status == PaymentStatus::RequiresAction {
            match result {
                ActionResult::Success => self.authorised(now, operation),
                ActionResult::Failure => self.fail(now, operation, "authentication_failed"),
            };
            return Ok(self.detail(payment));
        }
        let has_failed = known.decline_code.as_deref() == Some("authentication_failed");
        let is_same = match result {
            ActionResult::Success => self.status_of(operation) == OperationStatus::Succeeded,
            ActionResult::Failure => has_failed,
        };
        if is_same { Ok(self.detail(payment)) } else { Err(Refusal::ActionNotPossible) }
    }

    /// Brings the next pending operation that is due to its end. `false`: none is.
    pub fn settle_next(&mut self, now: DateTime<Utc>) -> bool {
        let Some((_, operation)) = self.next_settlement().filter(|(due, _)| *due <= now) else {
            return false;
        };
        let started = &self.operations[operation].started;
        let (kind, amount) = (started.kind, started.amount);
        let status = self.payments[started.payment].balance.status;
        match kind {
            OperationKind::Authorize if status == PaymentStatus::RequiresAction => self.fail(now, operation, "action_expired"),
            OperationKind::Authorize => self.authorised(now, operation),
            // Its amount was set aside when it was asked for.
            OperationKind::Capture | OperationKind::Refund => self.succeed(now, operation, amount),
            // The authorisation may have come or failed since.
            OperationKind::Void => match self.voidable(operation) {
                Ok(amount) => self.succeed(now, operation, amount),
                Err(code) => self.fail(now, operation, code),
            },
        };
        true
    }
}

// What becomes of it. Each returns the number of the outcome that it entered.
impl Ledger {
    fn authorise(&mut self, now: DateTime<Utc>, operation: usize) -> usize {
        let payment = &self.payments[self.operations[operation].started.payment];
        let action_expires_at = payment.opened.action_expires_at;
        match payment.opened.behaviour.authorise {
            Authorise::Decline => self.fail(now, operation, "card_declined"),
            Authorise::ThreeDs => {
                let status = PaymentStatus::RequiresAction;
                self.keep_pending(now, operation, status, action_expires_at)
            }
            Authorise::LateWebhook => {
                let settles_at = now + self.terms.late_delay;
                self.keep_pending(now, operation, PaymentStatus::Pending, settles_at)
            }
            Authorise::Approve | Authorise::TimeoutDone | Authorise::TimeoutLost | Authorise::DuplicateWebhook | Authorise::OutOfOrder => {
                self.authorised(now, operation)
            }
        }
    }

    fn authorised(&mut self, now: DateTime<Utc>, operation: usize) -> usize {
        let OperationStarted { payment, amount, idempotency_key, .. } = self.operations[operation].started.clone();
        let outcome = self.succeed(now, operation, amount);
        let opened = &self.payments[payment].opened;
        if opened.capture && opened.behaviour.capture != Operate::TimeoutLost {
            let capture = operation_of(payment, OperationKind::Capture, &idempotency_key, amount);
            let capture = self.start(now, OperationStarted { is_final: true, ..capture });
            self.carry_out(now, capture);
        }
        outcome
    }

    fn carry_out(&mut self, now: DateTime<Utc>, operation: usize) -> usize {
        let OperationStarted { payment, kind, .. } = self.operations[operation].started;
        let possible = match kind {
            OperationKind::Authorize => return self.authorise(now, operation),
            OperationKind::Capture => self.capturable(now, operation),
            OperationKind::Void => self.voidable(operation),
            OperationKind::Refund => self.refundable(operation),
        };
        match (possible, self.payments[payment].opened.behaviour.operate(kind)) {
            (Err(code), _) => self.fail(now, operation, code),
            (Ok(_), Operate::Decline) => self.fail(now, operation, declined(kind)),
            (Ok(_), Operate::Pending) => {
                let status = self.payments[payment].balance.status;
                self.keep_pending(now, operation, status, now + self.terms.late_delay)
            }
            (Ok(amount), Operate::Succeed | Operate::TimeoutDone | Operate::TimeoutLost) => self.succeed(now, operation, amount),
        }
    }

    fn succeed(&mut self, now: DateTime<Utc>, operation: usize, amount: i64) -> usize {
        let OperationStarted { payment, kind, is_final, .. } = self.operations[operation].started;
        let mut balance = self.payments[payment].balance;
        match kind {
            OperationKind::Authorize => {
                balance.status = PaymentStatus::Authorized;
                balance.authorized = amount;
            }
            OperationKind::Capture => {
                balance.captured += amount;
                if is_final {
                    balance.voided += self.open_amount(operation) - amount;
                }
            }
            OperationKind::Void => {
                if matches!(balance.status, PaymentStatus::Pending | PaymentStatus::RequiresAction) {
                    let authorization = self.payments[payment].operations[0];
                    self.fail(now, authorization, "voided");
                }
                balance.voided += amount;
                if balance.captured == 0 {
                    balance.status = PaymentStatus::Voided;
                }
            }
            OperationKind::Refund => balance.refunded += amount,
        }
        let status = OperationStatus::Succeeded;
        self.reached(now, operation, &Step { status, amount, code: None, balance, settles_at: None })
    }

    fn fail(&mut self, now: DateTime<Utc>, operation: usize, code: &str) -> usize {
        let OperationStarted { payment, kind, amount, .. } = self.operations[operation].started;
        let mut balance = self.payments[payment].balance;
        if kind == OperationKind::Authorize {
            balance.status = PaymentStatus::Declined;
        }
        let status = OperationStatus::Failed;
        let step = Step { status, amount, code: Some(code), balance, settles_at: None };
        self.reached(now, operation, &step)
    }

    fn keep_pending(&mut self, now: DateTime<Utc>, operation: usize, status: PaymentStatus, settles_at: DateTime<Utc>) -> usize {
        let OperationStarted { payment, amount, .. } = self.operations[operation].started;
        let balance = Balance { status, ..self.payments[payment].balance };
        let step = Step { status: OperationStatus::Pending, amount, code: None, balance, settles_at: Some(settles_at) };
        self.reached(now, operation, &step)
    }

    fn start(&mut self, now: DateTime<Utc>, started: OperationStarted) -> usize {
        self.enter(now, Entry::OperationStarted(started));
        self.operations.len() - 1
    }

    fn reached(&mut self, now: DateTime<Utc>, operation: usize, step: &Step<'_>) -> usize {
        let OperationStarted { payment, kind, .. } = self.operations[operation].started;
        let behaviour = self.payments[payment].opened.behaviour;
        let announced = event_type(kind, step.status, step.balance.status).is_some();
        let announcement = Announcement {
            copies: if behaviour.authorise == Authorise::DuplicateWebhook { 2 } else { 1 },
            not_before: now + self.announcement_delay(kind, behaviour),
        };
        let reached = OutcomeReached {
            operation,
            event_id: format!("evt_{}", Uuid::new_v4().simple()),
            status: step.status,
            amount: step.amount,
            code: step.code.map(str::to_owned),
            balance: step.balance,
            settles_at: step.settles_at,
            announcement: announced.then_some(announcement),
        };
        self.enter(now, Entry::OutcomeReached(reached));
        self.outcomes.len() - 1
    }

    /// A client that is left without an answer has given up before it hears from the webhook.
    fn announcement_delay(&self, kind: OperationKind, behaviour: Behaviour) -> TimeDelta {
        match (kind, behaviour.authorise) {
            (OperationKind::Authorize, Authorise::TimeoutDone) => self.terms.hold,
            (OperationKind::Authorize, Authorise::OutOfOrder) => self.terms.withhold,
            _ if behaviour.operate(kind) == Operate::TimeoutDone => self.terms.hold,
            _ => TimeDelta::zero(),
        }
    }
}

// The keys.
impl Ledger {
    fn answered_before(&self, key: &str, fingerprint: &str) -> Result<Option<Verdict>, Refusal> {
        let Some(answered) = self.answered.get(key) else {
            return Ok(None);
        };
        if answered.fingerprint != fingerprint {
            return Err(Refusal::IdempotencyKeyReused);
        }
        let operated = self.operated(answered.operation, answered.payment);
        Ok(Some(Verdict::Answer(Box::new(operated))))
    }

    fn answer(&mut self, now: DateTime<Utc>, key: &str, fingerprint: String, operation: usize) -> Verdict {
        let payment = self.outcomes.len() - 1;
        let idempotency_key = key.to_owned();
        let answered = Answered { idempotency_key, fingerprint, operation, payment };
        self.enter(now, Entry::Answered(answered));
        Verdict::Answer(Box::new(self.operated(operation, payment)))
    }

    /// `true`: the request is lost on its way. A configured number of requests with one key are, or all.
    fn swallow(&mut self, now: DateTime<Utc>, key: &str) -> bool {
        let Some(lost_requests) = self.terms.lost_requests else {
            return true;
        };
        let lost = self.lost.get(key).copied().unwrap_or_default();
        if lost >= lost_requests || self.lost.len() >= LOST_KEYS_MAX {
            return false;
        }
        self.enter(now, Entry::RequestLost { idempotency_key: key.to_owned() });
        true
    }
}

fn operation_of(payment: usize, kind: OperationKind, key: &str, amount: i64) -> OperationStarted {
    OperationStarted {
        id: format!("op_{}", Uuid::new_v4().simple()),
        payment,
        kind,
        idempotency_key: key.to_owned(),
        amount,
        is_final: false,
        refund_reference: None,
    }
}

fn declined(kind: OperationKind) -> &'static str {
    match kind {
        OperationKind::Authorize => "card_declined",
        OperationKind::Capture => "capture_declined",
        OperationKind::Void => "void_declined",
        OperationKind::Refund => "refund_declined",
    }
}

/// Of the parts with their lengths, so that no two requests look alike.
fn fingerprint(parts: &[&str]) -> String {
    let mut hash = Sha256::new();
    for part in parts {
        hash.update(part.len().to_le_bytes());
        hash.update(part.as_bytes());
    }
    URL_SAFE_NO_PAD.encode(hash.finalize())
}
