//! A state of the model and the steps that lead on from it: whatever shopper, second tab, reactor, provider, network and clock
//! may do next.
//!
//! A crash needs no step of its own. What dies after its append has done what it did, and its caller never hears of it; what dies
//! before has done nothing; and a call whose outcome was not recorded is one whose answer is never heard, to be made again.

use std::rc::Rc;

use domain::cart::CartStage;
use domain::money::Money;
use domain::order::OrderStage;
use domain::payment::{CaptureMode, Operation, OperationKind, Outcome};

use super::action::{Action, At};
use super::command::{Command, Passed, Placing, Said, Told};
use super::goods;
use super::invariant::{self, Rule};
use super::provider::{Account, Amount, Answer, OPERATIONS, Request, Standing};
use super::shop::{self, ATTEMPTS, CHECKOUTS, Decision, ORDERS, PAYMENTS, Shop, Values};
use super::state::{Bounds, Clock, PutOff, State, time_matters};
use super::unsafe_variant::{self, Misread, UnsafeVariant};
use crate::payment;

/// One step that can be made.
pub(super) struct Step {
    pub(super) action: Action,
    pub(super) after: State,
    /// The step itself is wrong, wherever it leads.
    pub(super) fault: Option<String>,
}

pub(super) struct World {
    pub(super) shop: Shop,
    bounds: Bounds,
    variant: Option<UnsafeVariant>,
    rules: &'static [Rule],
    initial: Values,
}

impl World {
    pub(super) fn new(bounds: Bounds, variant: Option<UnsafeVariant>, rules: &'static [Rule]) -> Self {
        let (shop, initial) = Shop::open(bounds.units, bounds.capture);
        Self { shop, bounds, variant, rules, initial }
    }

    pub(super) fn initial(&self) -> State {
        State {
            values: self.initial,
            accounts: [Account::default(); PAYMENTS],
            clocks: [Clock::default(); ORDERS],
            seen_stock: [None; shop::CARTS],
            to_conclude: None,
        }
    }

    pub(super) fn wrong_with(&self, state: &State) -> Option<String> {
        self.rules.iter().find_map(|rule| invariant::wrong_with(*rule, &self.shop, state))
    }

    pub(super) fn wrong_at_the_end(&self, state: &State) -> Option<String> {
        self.rules.contains(&Rule::End).then(|| invariant::wrong_at_the_end(&self.shop, state)).flatten()
    }

    pub(super) fn steps(&mut self, state: &State) -> Vec<Step> {
        let actions = self.actions(state);
        actions.into_iter().map(|action| self.take(state, action).0).collect()
    }

    /// A step for people: what is done, and what is written.
    pub(super) fn tell(&mut self, state: &State, action: Action) -> String {
        let (_, decision) = self.take(state, action);
        let Some(decision) = decision else { return action.to_string() };
        let outcome = match (&decision.refused, &decision.failed) {
            (Some(refused), _) => format!("refused, {refused}"),
            (_, Some(failed)) => format!("failed, {failed}"),
            _ if decision.events.is_empty() => "nothing".to_owned(),
            _ => decision.events.join(", "),
        };
        format!("{action} → {outcome}")
    }

    fn actions(&self, state: &State) -> Vec<Action> {
        let mut actions = Vec::new();
        if state.to_conclude.is_some() {
            actions.extend([Action::Conclude, Action::Crash]);
        }
        for cart in 0..shop::CARTS {
            let looked = self.variant == Some(UnsafeVariant::CheckThenTake)
                && self.to_place(state, cart).is_some_and(|placing| self.is_new(state, placing));
            match state.seen_stock[cart] {
                None if looked => actions.push(Action::Look(cart)),
                _ if self.to_place(state, cart).is_some() => actions.push(Action::CheckOut(cart)),
                _ => {}
            }
        }
        for order in 0..ORDERS {
            let Some(placed) = self.shop.order(&state.values, order) else { continue };
            if self.to_pay(state, order).is_some() {
                actions.push(Action::Pay(order));
            }
            if matches!(placed.stage, OrderStage::PendingPayment | OrderStage::Confirmed { .. }) {
                actions.push(Action::Cancel(order));
            }
            let Clock { passed, is_done } = state.clocks[order];
            if passed != Passed::Patience && time_matters(placed) {
                actions.push(Action::Pass(order));
            }
            if placed.stage == OrderStage::PendingPayment && passed != Passed::Nothing && !is_done {
                actions.push(Action::Deadline(order));
            }
        }
        for payment in 0..PAYMENTS {
            let operations = &self.shop.payment(&state.values, payment).operations;
            assert!(operations.len() <= OPERATIONS, "a payment has more operations than the model has room for");
            for (place, operation) in operations.iter().enumerate() {
                self.actions_of(state, payment, place, operation, &mut actions);
            }
            self.merchants_actions(state, payment, &mut actions);
        }
        actions
    }

    fn actions_of(&self, state: &State, payment: usize, place: usize, operation: &Operation, actions: &mut Vec<Action>) {
        let (account, at) = (&state.accounts[payment], At { payment, place });
        match account.requests[place] {
            Request::Unsent if operation.outcome.is_open() => {
                let ours = self.shop.payment(&state.values, payment);
                let may = match operation.kind {
                    // What is given up is sent no more.
                    OperationKind::Authorize => !payment::is_given_up(ours),
                    // There must be something to let go of.
                    OperationKind::Void => account.standing != Standing::NeverHeardOf,
                    OperationKind::Capture | OperationKind::Refund => true,
                };
                actions.extend(may.then_some(Action::Call(at)));
            }
            Request::Sent => {
                if operation.kind == OperationKind::Authorize {
                    actions.push(Action::Lose(at));
                }
                actions.extend(self.answers(operation.kind, false).map(|answer| Action::Answer(at, answer)));
            }
            Request::Pending => {
                actions.extend(self.answers(operation.kind, true).map(|answer| Action::Answer(at, answer)));
            }
            Request::Unsent | Request::Succeeded | Request::Failed => {}
        }
        let waits = operation.kind == OperationKind::Authorize || self.bounds.slow;
        if waits && account.requests[place] != Request::Unsent && operation.outcome == Outcome::Requested {
            actions.push(Action::TimeOut(at));
        }
        if account.not_found & (1 << place) != 0 {
            actions.push(Action::GiveUp(at));
        } else if account.standing == Standing::NeverHeardOf && operation.outcome.is_open() {
            let ours = self.shop.payment(&state.values, payment);
            let asks = match operation.kind {
                OperationKind::Authorize => payment::is_given_up(ours),
                OperationKind::Void => !ours.awaits(OperationKind::Authorize),
                OperationKind::Capture | OperationKind::Refund => false,
            };
            actions.extend(asks.then_some(Action::AskInVain(at)));
        }
        if operation.kind == OperationKind::Capture && operation.outcome.is_open() {
            actions.push(Action::Park(at));
        }
        if account.says(place, operation.kind).is_some() {
            actions.push(Action::Hear(at));
        }
    }

    fn merchants_actions(&self, state: &State, payment: usize, actions: &mut Vec<Action>) {
        let operations = &self.shop.payment(&state.values, payment).operations;
        let asked = |kind| operations.iter().filter(|operation| operation.kind == kind).count();
        if operations.is_empty() || operations.len() == OPERATIONS {
            return;
        }
        if self.bounds.capture == CaptureMode::Manual && asked(OperationKind::Capture) == 0 {
            actions.push(Action::Capture(payment));
        }
        if self.bounds.merchant && asked(OperationKind::Void) == 0 {
            actions.push(Action::Void(payment));
        }
        if self.bounds.merchant && asked(OperationKind::Refund) == 0 {
            actions.push(Action::Refund(payment));
        }
    }

    fn answers(&self, kind: OperationKind, is_pending: bool) -> impl Iterator<Item = Answer> {
        let authorize = kind == OperationKind::Authorize;
        let slow = authorize && self.bounds.slow && !is_pending;
        let declines = authorize || self.bounds.refuses;
        let answers = [(Answer::Approve, true), (Answer::Decline, declines), (Answer::Wait, slow), (Answer::AskShopper, slow)];
        answers.into_iter().filter(|(_, may)| *may).map(|(answer, _)| answer)
    }

    /// The order that a checkout of this cart would make or pay again; `None`: beyond the model's bounds.
    fn to_place(&self, state: &State, cart: usize) -> Option<Placing> {
        let aggregate = self.shop.cart(&state.values, cart);
        match aggregate.stage {
            CartStage::Open if aggregate.checkouts < self.bounds.checkouts[cart] => {
                let order = cart * CHECKOUTS + usize::try_from(aggregate.checkouts).ok()?;
                Some(Placing { cart, order, payment: Some(order * ATTEMPTS) })
            }
            CartStage::Completing { .. } | CartStage::Completed { .. } => {
                let order = cart * CHECKOUTS + usize::try_from(aggregate.checkouts).ok()?.checked_sub(1)?;
                Some(Placing { cart, order, payment: self.to_pay(state, order) })
            }
            _ => None,
        }
    }

    fn is_new(&self, state: &State, placing: Placing) -> bool {
        self.shop.order(&state.values, placing.order).is_none()
    }

    /// The next attempt to pay an order.
    fn to_pay(&self, state: &State, order: usize) -> Option<usize> {
        let attempts = self.shop.order(&state.values, order)?.payments.len();
        (attempts < self.bounds.attempts[shop::cart_of(order)]).then_some(order * ATTEMPTS + attempts)
    }

    fn take(&mut self, state: &State, action: Action) -> (Step, Option<Rc<Decision>>) {
        let mut after = *state;
        let decision = match action {
            Action::CheckOut(cart) => self.check_out(state, &mut after, cart),
            Action::Pay(order) => self.to_pay(state, order).map(|payment| self.pay(state, payment)),
            Action::Cancel(order) => Some(self.shop.decide(&state.values, Command::Cancel(order))),
            Action::Pass(order) => {
                after.clocks[order].passed = match state.clocks[order].passed {
                    Passed::Nothing => Passed::Deadline,
                    Passed::Deadline | Passed::Patience => Passed::Patience,
                };
                None
            }
            Action::Deadline(order) => {
                let expired = self.shop.decide(&state.values, Command::Expire(order, state.clocks[order].passed));
                after.clocks[order].is_done = expired.is_done;
                Some(expired)
            }
            Action::Call(At { payment, place }) => {
                after.accounts[payment].requests[place] = Request::Sent;
                None
            }
            Action::Lose(At { payment, place }) => {
                after.accounts[payment].requests[place] = Request::Unsent;
                None
            }
            Action::Answer(At { payment, place }, answer) => {
                let operation = &self.shop.payment(&state.values, payment).operations[place];
                after.accounts[payment] = state.accounts[payment].carry_out(place, operation.kind, narrow(operation.amount), answer);
                None
            }
            Action::AskInVain(At { payment, place }) => {
                after.accounts[payment].not_found |= 1 << place;
                None
            }
            Action::GiveUp(At { payment, place }) => {
                after.accounts[payment].not_found &= !(1 << place);
                let said = match self.shop.payment(&state.values, payment).operations[place].kind {
                    OperationKind::Authorize => Said::NeverArrived,
                    _ => Said::NothingToVoid,
                };
                Some(self.record(state, &mut after, payment, place, said))
            }
            Action::Park(At { payment, place }) => {
                let operation_id = self.shop.payment(&state.values, payment).operations[place].operation_id;
                Some(self.shop.decide(&state.values, Command::Park(payment, operation_id)))
            }
            Action::Capture(payment) => Some(self.shop.decide(&state.values, Command::Capture(self.next(state, payment)))),
            Action::Void(payment) => Some(self.shop.decide(&state.values, Command::Void(self.next(state, payment)))),
            Action::Refund(payment) => Some(self.shop.decide(&state.values, Command::Refund(self.next(state, payment)))),
            Action::TimeOut(At { payment, place }) => Some(self.record(state, &mut after, payment, place, Said::Unknown)),
            Action::Hear(At { payment, place }) => {
                let kind = self.shop.payment(&state.values, payment).operations[place].kind;
                let said = state.accounts[payment].says(place, kind);
                said.map(|said| self.record(state, &mut after, payment, place, said))
            }
            Action::Look(cart) => {
                after.seen_stock[cart] = Some(state.values[shop::STOCK]);
                None
            }
            Action::Conclude => {
                after.to_conclude = None;
                state.to_conclude.map(|PutOff { payment, place, said, before }| {
                    let told = self.told(state, usize::from(payment), usize::from(place), said);
                    let misread = Misread { reads: vec![(shop::payment_slot(told.payment), before)], events_not_landed: 1 };
                    Rc::new(self.shop.decide_misreading(&state.values, Command::Record(told), &misread))
                })
            }
            Action::Crash => {
                after.to_conclude = None;
                None
            }
        };
        if let Some(decision) = &decision {
            after.values = decision.onto(&state.values);
            self.forget(&mut after);
        }
        let looked_for = self.rules.contains(&Rule::Answers);
        let fault = decision.as_ref().filter(|_| looked_for).and_then(|decision| invariant::fault(action, decision));
        (Step { action, after, fault }, decision)
    }

    /// The operation that a payment would have next.
    fn next(&self, state: &State, payment: usize) -> At {
        At { payment, place: self.shop.payment(&state.values, payment).operations.len() }
    }

    /// What can make no difference any more makes no other state.
    fn forget(&mut self, state: &mut State) {
        for order in 0..ORDERS {
            if !self.shop.order(&state.values, order).is_some_and(time_matters) {
                state.clocks[order] = Clock::default();
            }
        }
        for payment in 0..PAYMENTS {
            let operations = &self.shop.payment(&state.values, payment).operations;
            for (place, _) in operations.iter().enumerate().filter(|(_, operation)| !operation.outcome.is_open()) {
                state.accounts[payment].not_found &= !(1 << place);
            }
            if self.variant != Some(UnsafeVariant::OutcomeThenConsequence) && self.is_over(state, payment) {
                self.shop.blank(&mut state.values, payment);
                state.accounts[payment] = Account::default();
            }
        }
    }

    /// An attempt of which nothing is left, to be said or to be done, with no money in it: it is as if it had not been. Most states
    /// would otherwise differ only in how something came to nothing.
    fn is_over(&mut self, state: &State, payment: usize) -> bool {
        let (ours, theirs) = (self.shop.payment(&state.values, payment), &state.accounts[payment]);
        let Some(placed) = self.shop.order(&state.values, shop::order_of(payment)) else { return false };
        let ended = matches!(placed.stage, OrderStage::Cancelled { .. } | OrderStage::Expired { .. });
        let is_live = placed.live_payment.as_ref().is_some_and(|live| live.payment_id == goods::payment_id(payment));
        let is_open = ours.open_operations().next().is_some();
        let is_under_way = theirs.requests.iter().any(|request| matches!(request, Request::Sent | Request::Pending));
        let is_empty = theirs.kept() == 0 && theirs.capturable() == 0 && (ended || theirs.captured == 0);
        if ours.created.is_none() || is_live || is_open || is_under_way || !is_empty {
            return false;
        }
        let kinds: Vec<OperationKind> = ours.operations.iter().map(|operation| operation.kind).collect();
        kinds.into_iter().enumerate().all(|(place, kind)| {
            let Some(said) = state.accounts[payment].says(place, kind) else { return true };
            let told = self.told(state, payment, place, said);
            self.shop.decide(&state.values, Command::Record(told)).events.is_empty()
        })
    }

    fn check_out(&mut self, state: &State, after: &mut State, cart: usize) -> Option<Rc<Decision>> {
        let placing = self.to_place(state, cart)?;
        let command = Command::Place(placing);
        let Some(seen) = after.seen_stock[cart].take().filter(|_| self.is_new(state, placing)) else {
            return Some(self.shop.decide(&state.values, command));
        };
        let misread = Misread { reads: vec![(shop::STOCK, seen)], events_not_landed: 0 };
        Some(Rc::new(self.shop.decide_misreading(&state.values, command, &misread)))
    }

    fn pay(&mut self, state: &State, payment: usize) -> Rc<Decision> {
        let command = match self.variant {
            Some(UnsafeVariant::TwoLiveAttempts) => Command::Unsafe(unsafe_variant::Command::PayBeside(payment)),
            _ => Command::Pay(payment),
        };
        self.shop.decide(&state.values, command)
    }

    fn told(&self, state: &State, payment: usize, place: usize, said: Said) -> Told {
        let operation = &self.shop.payment(&state.values, payment).operations[place];
        // How much was let go of is for the provider to say.
        let amount = if said == Said::Voided { state.accounts[payment].voided } else { narrow(operation.amount) };
        let passed = state.clocks[shop::order_of(payment)].passed;
        Told { payment, operation_id: operation.operation_id, refund_id: operation.refund_id, said, amount, passed }
    }

    fn record(&mut self, state: &State, after: &mut State, payment: usize, place: usize, said: Said) -> Rc<Decision> {
        let told = self.told(state, payment, place, said);
        match self.variant {
            Some(UnsafeVariant::OutcomeThenConsequence) if state.to_conclude.is_none() => {
                let alone = self.shop.decide(&state.values, Command::Unsafe(unsafe_variant::Command::RecordAlone(told)));
                if !alone.events.is_empty() {
                    let narrow = |number: usize| u8::try_from(number).expect("a small model");
                    let before = state.values[shop::payment_slot(payment)];
                    after.to_conclude = Some(PutOff { payment: narrow(payment), place: narrow(place), said, before });
                }
                alone
            }
            // One thing at a time.
            Some(UnsafeVariant::OutcomeThenConsequence) => Rc::default(),
            Some(variant) => match variant.misread(&mut self.shop, &state.values, &told) {
                Some(misread) => Rc::new(self.shop.decide_misreading(&state.values, Command::Record(told), &misread)),
                None => self.shop.decide(&state.values, Command::Record(told)),
            },
            None => self.shop.decide(&state.values, Command::Record(told)),
        }
    }
}

fn narrow(amount: Money) -> Amount {
    Amount::try_from(amount.amount()).expect("small amounts")
}
