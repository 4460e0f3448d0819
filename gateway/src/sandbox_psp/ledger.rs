//! What the provider knows: a fold of its ledger, and what it answers from that.
//!
//! An [`Entry`] is a fact and is believed; deciding is in `operations.rs`. Relies on `desk.rs` for being used by one task only.
//! It grows with the file; `operations.rs` bounds both.

use std::collections::{BTreeSet, HashMap};

use chrono::{DateTime, TimeDelta, Utc};

use super::answer::{
    Balance, Event, ListedOutcome, MethodView, NextAction, Operated, OperationKind, OperationStatus, OperationView, Outcomes,
    PaymentDetail, PaymentStatus, PaymentTotals, PaymentView, Refusal, Totals, event_type,
};
use super::entry::{Answered, Entry, OperationStarted, OutcomeReached, PaymentOpened, Record};
use super::outbox::{Letter, Outbox};
use super::token::Authorise;

/// What the ledger decides with; see the fields of the same name in [`super::SandboxConfig`].
#[derive(Clone, Debug)]
pub(super) struct Terms {
    pub public_url: String,
    pub hold: TimeDelta,
    pub late_delay: TimeDelta,
    pub withhold: TimeDelta,
    pub lost_requests: Option<u32>,
}

pub(super) struct Payment {
    pub opened: PaymentOpened,
    pub created: DateTime<Utc>,
    pub balance: Balance,
    pub decline_code: Option<String>,
    /// In order; the first is the authorisation.
    pub operations: Vec<usize>,
    /// The outcome whose announcement waits for that of a capture.
    withheld: Option<usize>,
}

pub(super) struct Operation {
    pub started: OperationStarted,
    /// The newest outcome.
    pub outcome: Option<usize>,
    settles_at: Option<DateTime<Utc>>,
}

pub(super) struct Outcome {
    at: DateTime<Utc>,
    pub reached: OutcomeReached,
}

pub(super) struct Ledger {
    pub terms: Terms,
    pub payments: Vec<Payment>,
    pub operations: Vec<Operation>,
    pub outcomes: Vec<Outcome>,
    pub answered: HashMap<String, Answered>,
    /// How many requests with a key were swallowed.
    pub lost: HashMap<String, u32>,
    pub outbox: Outbox,
    payment_by_id: HashMap<String, usize>,
    payments_by_reference: HashMap<String, Vec<usize>>,
    settlements: BTreeSet<(DateTime<Utc>, usize)>,
    next_seq: u64,
    draft: Vec<Entry>,
}

impl Ledger {
    pub fn new(terms: Terms) -> Self {
        Self {
            terms,
            payments: Vec::new(),
            operations: Vec::new(),
            outcomes: Vec::new(),
            answered: HashMap::new(),
            lost: HashMap::new(),
            outbox: Outbox::default(),
            payment_by_id: HashMap::new(),
            payments_by_reference: HashMap::new(),
            settlements: BTreeSet::new(),
            next_seq: 1,
            draft: Vec::new(),
        }
    }

    /// Takes over a line of the file. `false`: it doesn't follow on the lines before it.
    #[must_use]
    pub fn replay(&mut self, record: Record) -> bool {
        if record.seq != self.next_seq {
            return false;
        }
        self.next_seq += 1;
        for entry in record.entries {
            if !self.refers_to_known(&entry) {
                return false;
            }
            self.apply(record.at, entry);
        }
        true
    }

    /// Enters a fact: in memory, and in the draft of the next line. Nobody is told before the line is on the disk.
    pub fn enter(&mut self, at: DateTime<Utc>, entry: Entry) {
        self.draft.push(entry.clone());
        self.apply(at, entry);
    }

    /// The line for what was entered since the last call.
    pub fn take_record(&mut self, at: DateTime<Utc>) -> Option<Record> {
        if self.draft.is_empty() {
            return None;
        }
        let record = Record { seq: self.next_seq, at, entries: std::mem::take(&mut self.draft) };
        self.next_seq += 1;
        Some(record)
    }

    /// The pending operation that comes to its end next, and when.
    pub fn next_settlement(&self) -> Option<(DateTime<Utc>, usize)> {
        self.settlements.first().copied()
    }

    pub fn payment_no(&self, id: &str) -> Result<usize, Refusal> {
        self.payment_by_id.get(id).copied().ok_or(Refusal::PaymentNotFound)
    }

    /// The present outcome of an operation; one that has none yet is pending.
    pub fn status_of(&self, operation: usize) -> OperationStatus {
        let outcome = self.operations[operation].outcome;
        outcome.map_or(OperationStatus::Pending, |no| self.outcomes[no].reached.status)
    }

    fn refers_to_known(&self, entry: &Entry) -> bool {
        match entry {
            Entry::PaymentOpened(_) | Entry::RequestLost { .. } => true,
            Entry::OperationStarted(started) => started.payment < self.payments.len(),
            Entry::OutcomeReached(reached) => reached.operation < self.operations.len(),
            Entry::Answered(answered) => answered.operation.max(answered.payment) < self.outcomes.len(),
            Entry::WebhookDelivered(letter) | Entry::WebhookAbandoned(letter) => letter.outcome < self.outcomes.len(),
        }
    }

    fn apply(&mut self, at: DateTime<Utc>, entry: Entry) {
        match entry {
            Entry::PaymentOpened(opened) => self.open(at, opened),
            Entry::OperationStarted(started) => {
                let no = self.operations.len();
                self.payments[started.payment].operations.push(no);
                self.operations.push(Operation { started, outcome: None, settles_at: None });
            }
            Entry::OutcomeReached(reached) => self.reach(at, reached),
            Entry::Answered(answered) => {
                self.answered.insert(answered.idempotency_key.clone(), answered);
            }
            Entry::RequestLost { idempotency_key } => {
                *self.lost.entry(idempotency_key).or_default() += 1;
            }
            Entry::WebhookDelivered(letter) | Entry::WebhookAbandoned(letter) => {
                self.outbox.remove(letter);
                self.release_withheld(at, letter);
            }
        }
    }

    fn open(&mut self, at: DateTime<Utc>, opened: PaymentOpened) {
        let no = self.payments.len();
        self.payment_by_id.insert(opened.id.clone(), no);
        let reference = opened.merchant_reference.clone();
        self.payments_by_reference.entry(reference).or_default().push(no);
        self.payments.push(Payment {
            opened,
            created: at,
            balance: Balance::new(),
            decline_code: None,
            operations: Vec::new(),
            withheld: None,
        });
    }

    fn reach(&mut self, at: DateTime<Utc>, reached: OutcomeReached) {
        let no = self.outcomes.len();
        let operation_no = reached.operation;
        let operation = &mut self.operations[operation_no];
        operation.outcome = Some(no);
        if let Some(before) = std::mem::replace(&mut operation.settles_at, reached.settles_at) {
            self.settlements.remove(&(before, operation_no));
        }
        if let Some(settles_at) = reached.settles_at {
            self.settlements.insert((settles_at, operation_no));
        }
        let kind = operation.started.kind;
        let payment = &mut self.payments[operation.started.payment];
        payment.balance = reached.balance;
        if kind == OperationKind::Authorize && reached.status == OperationStatus::Failed {
            payment.decline_code.clone_from(&reached.code);
        }
        if let Some(announcement) = reached.announcement {
            let is_out_of_order = payment.opened.behaviour.authorise == Authorise::OutOfOrder;
            if is_out_of_order && kind == OperationKind::Authorize {
                payment.withheld = Some(no);
            }
            for copy in 0..announcement.copies {
                self.outbox.add(Letter { outcome: no, copy }, announcement.not_before);
            }
        }
        self.outcomes.push(Outcome { at, reached });
    }

    /// The announcement of a capture has arrived: now the one of its authorisation may go, too late.
    fn release_withheld(&mut self, at: DateTime<Utc>, letter: Letter) {
        let operation = &self.operations[self.outcomes[letter.outcome].reached.operation].started;
        if operation.kind == OperationKind::Capture
            && let Some(outcome) = self.payments[operation.payment].withheld.take()
        {
            self.outbox.hurry(Letter { outcome, copy: 0 }, at);
        }
    }
}

// What is told from it.
impl Ledger {
    /// The operation as it was at one outcome, with the payment as it was at another (or the same).
    pub fn operated(&self, operation: usize, payment: usize) -> Operated {
        let shown = &self.outcomes[payment].reached;
        let payment_no = self.operations[shown.operation].started.payment;
        Operated { operation: self.operation_view(operation), payment: self.payment_view(payment_no, shown.balance) }
    }

    pub fn detail(&self, payment: usize) -> PaymentDetail {
        let Payment { balance, operations, .. } = &self.payments[payment];
        let outcomes = operations.iter().filter_map(|&no| self.operations[no].outcome);
        PaymentDetail { payment: self.payment_view(payment, *balance), operations: outcomes.map(|no| self.operation_view(no)).collect() }
    }

    pub fn by_reference(&self, merchant_reference: &str) -> Vec<PaymentDetail> {
        let found = self.payments_by_reference.get(merchant_reference);
        found.into_iter().flatten().map(|&no| self.detail(no)).collect()
    }

    pub fn outcomes_after(&self, after: usize, limit: usize) -> Result<Outcomes, Refusal> {
        if after > self.outcomes.len() {
            return Err(Refusal::CursorUnknown);
        }
        let next_after = self.outcomes.len().min(after + limit);
        let listed =
            (after..next_after).map(|no| ListedOutcome { cursor: no + 1, at: self.outcomes[no].at, operated: self.operated(no, no) });
        let has_more = next_after < self.outcomes.len();
        Ok(Outcomes { items: listed.collect(), next_after, has_more })
    }

    pub fn totals_after(&self, after: usize, limit: usize) -> Totals {
        let end = self.payments.len().min(after.saturating_add(limit));
        let payments = self.payments.get(after..end).unwrap_or_default();
        let totals = payments.iter().map(|Payment { opened, balance, .. }| PaymentTotals {
            id: opened.id.clone(),
            merchant_reference: opened.merchant_reference.clone(),
            currency: opened.currency.clone(),
            amount: opened.amount,
            balance: *balance,
        });
        let next_after = (end < self.payments.len()).then_some(end);
        Totals { payments: totals.collect(), next_after }
    }

    /// What a letter says: the same bytes at each attempt. `None`: this outcome is not announced.
    pub fn event(&self, letter: Letter) -> Option<Event> {
        let Outcome { at, reached } = &self.outcomes[letter.outcome];
        let kind = self.operations[reached.operation].started.kind;
        Some(Event {
            name: event_type(kind, reached.status, reached.balance.status)?,
            id: reached.event_id.clone(),
            created: *at,
            data: self.operated(letter.outcome, letter.outcome),
        })
    }

    fn payment_view(&self, payment: usize, balance: Balance) -> PaymentView {
        let Payment { opened, created, decline_code, .. } = &self.payments[payment];
        let is_waiting = balance.status == PaymentStatus::RequiresAction;
        let is_declined = balance.status == PaymentStatus::Declined;
        let url = || format!("{}/v1/payments/{}/action", self.terms.public_url, opened.id);
        PaymentView {
            id: opened.id.clone(),
            merchant_reference: opened.merchant_reference.clone(),
            amount: opened.amount,
            currency: opened.currency.clone(),
            balance,
            decline_code: decline_code.clone().filter(|_| is_declined),
            next_action: is_waiting.then(|| NextAction { kind: "redirect", url: url() }),
            created: *created,
            expires_at: if is_waiting { opened.action_expires_at } else { opened.expires_at },
            method: MethodView { kind: "card", brand: "visa", last4: opened.behaviour.last4() },
        }
    }

    fn operation_view(&self, outcome: usize) -> OperationView {
        let reached = &self.outcomes[outcome].reached;
        let started = &self.operations[reached.operation].started;
        OperationView {
            id: started.id.clone(),
            kind: started.kind,
            idempotency_key: started.idempotency_key.clone(),
            status: reached.status,
            amount: reached.amount,
            code: reached.code.clone(),
            event_id: reached.event_id.clone(),
            refund_reference: started.refund_reference.clone(),
        }
    }
}
