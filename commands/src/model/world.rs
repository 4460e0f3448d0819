//! A state of the model and the steps that lead on from it: whatever shopper, second tab, reactor, provider, network and clock
//! may do next.
//!
//! A crash needs no step of its own. What dies after its append has done what it did, and its caller never hears of it; what dies
//! before has done nothing; and a call whose outcome was not recorded is one whose answer is never heard, to be made again.

use std::fmt;
use std::rc::Rc;

use domain::cart::CartStage;
use domain::money::Money;
use domain::order::OrderStage;
use domain::payment::{CaptureMode, Operation, OperationKind, Outcome};

use super::goods;
use super::invariant::{self, Rule};
use super::provider::{Account, Amount, Answer, OPERATIONS, Request};
use super::shop::{self, ATTEMPTS, CHECKOUTS, Command, Decision, Id, ORDERS, PAYMENTS, Said, Shop, Told, Values};
use super::unsafe_variant::{self, Misread, UnsafeVariant};

/// How large a model is, and what its provider may do.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bounds {
    pub(super) units: u32,
    /// How often each cart is checked out at most; 0: there is no such shopper.
    pub(super) checkouts: [u32; shop::CARTS],
    /// To pay an order of each cart.
    pub(super) attempts: [usize; shop::CARTS],
    /// An authorisation may stay pending, or ask for the shopper, before it is decided.
    pub(super) slow: bool,
    /// Captures, voids and refunds that are possible may be refused all the same.
    pub(super) refuses: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct State {
    pub(super) values: Values,
    pub(super) accounts: [Account; PAYMENTS],
    /// What an unsafe program keeps in mind between two appends.
    seen_stock: [Option<Id>; shop::CARTS],
    to_conclude: Option<PutOff>,
}

/// An outcome whose consequence was not appended yet, and the payment before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct PutOff {
    payment: u8,
    place: u8,
    said: Said,
    before: Id,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Action {
    /// By the shopper, or again in another tab.
    CheckOut {
        cart: usize,
    },
    Pay {
        order: usize,
    },
    Cancel {
        order: usize,
    },
    Deadline {
        order: usize,
    },
    /// The reactor makes a call; of its answer nothing is said yet.
    Call {
        payment: usize,
        place: usize,
    },
    /// The reactor has nothing to call with.
    CannotCall {
        payment: usize,
        place: usize,
    },
    /// The request never arrives.
    Lose {
        payment: usize,
        place: usize,
    },
    Answer {
        payment: usize,
        place: usize,
        answer: Answer,
    },
    /// The reactor waits no longer for an answer.
    TimeOut {
        payment: usize,
        place: usize,
    },
    /// An outcome is heard of: by answer, webhook or query, for the first time or again.
    Hear {
        payment: usize,
        place: usize,
    },
    /// Unsafe ones: look at the stock; carry out what was put off; forget it.
    Look {
        cart: usize,
    },
    Conclude,
    Crash,
}

impl Action {
    /// Nobody may rely on a shopper who comes back.
    pub(super) const fn is_voluntary(self) -> bool {
        matches!(self, Self::CheckOut { .. } | Self::Pay { .. } | Self::Cancel { .. } | Self::Look { .. })
    }
}

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
        let (shop, initial) = Shop::open(bounds.units, CaptureMode::Automatic);
        Self { shop, bounds, variant, rules, initial }
    }

    pub(super) fn initial(&self) -> State {
        State { values: self.initial, accounts: [Account::default(); PAYMENTS], seen_stock: [None; shop::CARTS], to_conclude: None }
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
            let looked = self.variant == Some(UnsafeVariant::CheckThenTake) && self.to_place(state, cart).is_some_and(|new| new.is_new);
            match state.seen_stock[cart] {
                None if looked => actions.push(Action::Look { cart }),
                _ if self.to_place(state, cart).is_some() => actions.push(Action::CheckOut { cart }),
                _ => {}
            }
        }
        for order in 0..ORDERS {
            let Some(placed) = self.shop.order(&state.values, order) else { continue };
            if self.to_pay(state, order).is_some() {
                actions.push(Action::Pay { order });
            }
            if matches!(placed.stage, OrderStage::PendingPayment | OrderStage::Confirmed { .. }) {
                actions.push(Action::Cancel { order });
            }
            if placed.stage == OrderStage::PendingPayment {
                actions.push(Action::Deadline { order });
            }
        }
        for payment in 0..PAYMENTS {
            let operations = &self.shop.payment(&state.values, payment).operations;
            assert!(operations.len() <= OPERATIONS, "a payment has more operations than the model has room for");
            for (place, operation) in operations.iter().enumerate() {
                self.actions_of(state, payment, place, operation, &mut actions);
            }
        }
        actions
    }

    fn actions_of(&self, state: &State, payment: usize, place: usize, operation: &Operation, actions: &mut Vec<Action>) {
        let account = &state.accounts[payment];
        match account.requests[place] {
            Request::Unsent if operation.outcome.is_open() => {
                let operations = &self.shop.payment(&state.values, payment).operations;
                let can = operation.kind == OperationKind::Authorize || operations.iter().any(|o| o.provider_ref.is_some());
                actions.push(if can { Action::Call { payment, place } } else { Action::CannotCall { payment, place } });
            }
            Request::Sent => {
                actions.push(Action::Lose { payment, place });
                actions.extend(self.answers(operation.kind, false).map(|answer| Action::Answer { payment, place, answer }));
            }
            Request::Pending => {
                actions.extend(self.answers(operation.kind, true).map(|answer| Action::Answer { payment, place, answer }));
            }
            Request::Unsent | Request::Succeeded | Request::Failed => {}
        }
        if account.requests[place] != Request::Unsent && operation.outcome == Outcome::Requested {
            actions.push(Action::TimeOut { payment, place });
        }
        if account.says(place, operation.kind).is_some() {
            actions.push(Action::Hear { payment, place });
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
                Some(Placing { order, payment: Some(order * ATTEMPTS), is_new: true })
            }
            CartStage::Completing { .. } | CartStage::Completed { .. } => {
                let order = cart * CHECKOUTS + usize::try_from(aggregate.checkouts).ok()?.checked_sub(1)?;
                Some(Placing { order, payment: self.to_pay(state, order), is_new: false })
            }
            _ => None,
        }
    }

    /// The next attempt to pay an order.
    fn to_pay(&self, state: &State, order: usize) -> Option<usize> {
        let attempts = self.shop.order(&state.values, order)?.payments.len();
        (attempts < self.bounds.attempts[shop::cart_of(order)]).then_some(order * ATTEMPTS + attempts)
    }

    fn take(&mut self, state: &State, action: Action) -> (Step, Option<Rc<Decision>>) {
        let mut after = *state;
        let decision = match action {
            Action::CheckOut { cart } => self.check_out(state, &mut after, cart),
            Action::Pay { order } => self.to_pay(state, order).map(|payment| self.pay(state, order, payment)),
            Action::Cancel { order } => Some(self.shop.decide(&state.values, Command::Cancel { order })),
            Action::Deadline { order } => Some(self.shop.decide(&state.values, Command::Expire { order })),
            Action::Call { payment, place } => {
                after.accounts[payment].requests[place] = Request::Sent;
                None
            }
            Action::Lose { payment, place } => {
                after.accounts[payment].requests[place] = Request::Unsent;
                None
            }
            Action::Answer { payment, place, answer } => {
                let operation = &self.shop.payment(&state.values, payment).operations[place];
                after.accounts[payment] = state.accounts[payment].carry_out(place, operation.kind, narrow(operation.amount), answer);
                None
            }
            Action::CannotCall { payment, place } => {
                let said = match self.shop.payment(&state.values, payment).operations[place].kind {
                    OperationKind::Authorize => Said::Declined,
                    OperationKind::Capture => Said::CaptureFailed,
                    OperationKind::Void => Said::VoidFailed,
                    OperationKind::Refund => Said::RefundFailed,
                };
                Some(self.record(state, &mut after, payment, place, said))
            }
            Action::TimeOut { payment, place } => Some(self.record(state, &mut after, payment, place, Said::Unknown)),
            Action::Hear { payment, place } => {
                let kind = self.shop.payment(&state.values, payment).operations[place].kind;
                let said = state.accounts[payment].says(place, kind);
                said.map(|said| self.record(state, &mut after, payment, place, said))
            }
            Action::Look { cart } => {
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
        }
        let looked_for = self.rules.contains(&Rule::Answers);
        let fault = decision.as_ref().filter(|_| looked_for).and_then(|decision| fault(action, decision));
        (Step { action, after, fault }, decision)
    }

    fn check_out(&mut self, state: &State, after: &mut State, cart: usize) -> Option<Rc<Decision>> {
        let Placing { order, payment, is_new } = self.to_place(state, cart)?;
        let command = Command::Place { cart, order, payment };
        let Some(seen) = after.seen_stock[cart].take().filter(|_| is_new) else {
            return Some(self.shop.decide(&state.values, command));
        };
        let misread = Misread { reads: vec![(shop::STOCK, seen)], events_not_landed: 0 };
        Some(Rc::new(self.shop.decide_misreading(&state.values, command, &misread)))
    }

    fn pay(&mut self, state: &State, order: usize, payment: usize) -> Rc<Decision> {
        let command = match self.variant {
            Some(UnsafeVariant::TwoLiveAttempts) => Command::Unsafe(unsafe_variant::Command::PayBeside { order, payment }),
            _ => Command::Pay { order, payment },
        };
        self.shop.decide(&state.values, command)
    }

    fn told(&self, state: &State, payment: usize, place: usize, said: Said) -> Told {
        let operation = &self.shop.payment(&state.values, payment).operations[place];
        // How much was let go of is for the provider to say.
        let amount = if said == Said::Voided { state.accounts[payment].voided } else { narrow(operation.amount) };
        Told { payment, operation_id: operation.operation_id, refund_id: operation.refund_id, said, amount }
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

struct Placing {
    order: usize,
    payment: Option<usize>,
    is_new: bool,
}

/// A decision never fails, and what the provider says is never refused.
fn fault(action: Action, decision: &Decision) -> Option<String> {
    let heard = matches!(action, Action::Hear { .. } | Action::TimeOut { .. } | Action::CannotCall { .. } | Action::Deadline { .. });
    match (&decision.failed, &decision.refused) {
        (Some(failed), _) => Some(format!("a decision fails: {failed}")),
        (_, Some(refused)) if heard => Some(format!("a fact is refused: {refused}")),
        _ => None,
    }
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (order, payment) = (|order: usize| goods::order_name(order), |payment: usize| goods::payment_name(payment));
        let operation = |place: usize| if place == 0 { "authorisation".to_owned() } else { format!("operation {}", place + 1) };
        match *self {
            Self::CheckOut { cart } => write!(f, "cart {} is checked out", goods::cart_name(cart)),
            Self::Pay { order: number } => write!(f, "the shopper pays order {} again", order(number)),
            Self::Cancel { order: number } => write!(f, "the shopper cancels order {}", order(number)),
            Self::Deadline { order: number } => write!(f, "the deadline of order {} passes", order(number)),
            Self::Call { payment: number, place } => write!(f, "{} of {} is sent", operation(place), payment(number)),
            Self::CannotCall { payment: number, place } => write!(f, "{} of {} can't be sent", operation(place), payment(number)),
            Self::Lose { payment: number, place } => write!(f, "{} of {} is lost on its way", operation(place), payment(number)),
            Self::Answer { payment: number, place, answer } => {
                write!(f, "the provider decides on {} of {}: {answer:?}", operation(place), payment(number))
            }
            Self::TimeOut { payment: number, place } => write!(f, "{} of {} is waited for no longer", operation(place), payment(number)),
            Self::Hear { payment: number, place } => write!(f, "the outcome of {} of {} is heard", operation(place), payment(number)),
            Self::Look { cart } => write!(f, "the checkout of cart {} looks at the stock", goods::cart_name(cart)),
            Self::Conclude => write!(f, "what follows is appended"),
            Self::Crash => write!(f, "the process dies"),
        }
    }
}
