//! The shop of the model: its few streams, and the program's own decisions on them.
//!
//! Nothing is decided here. A command runs the function that the program runs, on [`Streams`] in memory, and lands whole or not
//! at all, as an append does. Each distinct state of an aggregate is kept once and known by a number, so that a state of the
//! model is a few numbers; and a decision, being a function of the streams that it read, is made once for each of their values.

use std::collections::HashMap;
use std::rc::Rc;

use cqrs_es::Aggregate;
use domain::cart::Cart;
use domain::catalog::Product;
use domain::claim::Claim;
use domain::event::{Event, Root};
use domain::inventory::StockItem;
use domain::order::{Order, PlacedOrder};
use domain::payment::Payment;
use domain::setting::Settings;
use infra::event_store::{NewEvent, StreamId};

use super::action::At;
use super::command::{Command, Passed, Told};
use super::goods::{self, Goods};
use super::unsafe_variant::{self, Misread};
use crate::checkout;
use crate::order::{self, Cancel, Due};
use crate::payment::{self, Capture, Refund, RefundOf};
use crate::streams::{Cache, Entry, Stop, Streams, stream_id};

/// Shoppers, each with a cart.
pub(super) const CARTS: usize = 2;
/// Orders that one cart may become, one after the other.
pub(super) const CHECKOUTS: usize = 2;
/// Attempts to pay one order.
pub(super) const ATTEMPTS: usize = 2;
pub(super) const ORDERS: usize = CARTS * CHECKOUTS;
pub(super) const PAYMENTS: usize = ORDERS * ATTEMPTS;
/// The stock, then the carts, orders and payments.
const SLOTS: usize = 1 + CARTS + ORDERS + PAYMENTS;

/// An aggregate's value, by number.
pub(super) type Id = u16;
/// The values of the streams that a decision has read.
type Read = Vec<(usize, Id)>;
/// The value of each stream.
pub(super) type Values = [Id; SLOTS];

pub(super) const STOCK: usize = 0;

pub(super) const fn cart_slot(cart: usize) -> usize {
    1 + cart
}

pub(super) const fn order_slot(order: usize) -> usize {
    1 + CARTS + order
}

pub(super) const fn payment_slot(payment: usize) -> usize {
    1 + CARTS + ORDERS + payment
}

pub(super) const fn order_of(payment: usize) -> usize {
    payment / ATTEMPTS
}

pub(super) const fn cart_of(order: usize) -> usize {
    order / CHECKOUTS
}

/// What a decision came to.
#[derive(Debug, Default)]
pub(super) struct Decision {
    /// Of the streams it wrote, their values after it.
    pub(super) writes: Vec<(usize, Id)>,
    /// `stream: event`, for people.
    pub(super) events: Vec<String>,
    pub(super) refused: Option<String>,
    /// An order's deadline needs no more looking at.
    pub(super) is_done: bool,
    /// A failure of ours; over HTTP it would be a 500.
    pub(super) failed: Option<String>,
}

impl Decision {
    pub(super) fn onto(&self, values: &Values) -> Values {
        let mut after = *values;
        for (slot, id) in &self.writes {
            after[*slot] = *id;
        }
        after
    }
}

#[derive(Clone, Debug)]
#[expect(clippy::large_enum_variant, reason = "a few hundred of them")]
enum Fold {
    Stock(StockItem),
    Cart(Cart),
    Order(Order),
    Payment(Payment),
}

pub(super) struct Shop {
    pub(super) goods: Goods,
    streams: Vec<StreamId>,
    folds: Vec<Fold>,
    ids: HashMap<String, Id>,
    /// The value of each stream before its first event.
    absent: Values,
    /// Which streams a command has been seen to read.
    read_by: HashMap<Command, Vec<Vec<usize>>>,
    made: HashMap<(Command, Read), Rc<Decision>>,
}

impl Shop {
    /// A shop with so many units, and its values before anybody buys.
    pub(super) fn open(units: u32, capture: domain::payment::CaptureMode) -> (Self, Values) {
        let goods = Goods::new(units, capture);
        let mut streams = vec![stream_id::<StockItem>(&goods.variant_id.to_string())];
        streams.extend((0..CARTS).map(|cart| stream_id::<Cart>(goods::cart_key(cart).as_str())));
        streams.extend((0..ORDERS).map(|order| stream_id::<Order>(&goods::order_id(order).to_string())));
        streams.extend((0..PAYMENTS).map(|payment| stream_id::<Payment>(&goods::payment_id(payment).to_string())));
        let mut shop = Self {
            goods,
            streams,
            folds: Vec::new(),
            ids: HashMap::new(),
            absent: [0; SLOTS],
            read_by: HashMap::new(),
            made: HashMap::new(),
        };
        let mut values = [0; SLOTS];
        for (slot, value) in values.iter_mut().enumerate() {
            shop.absent[slot] = shop.number(match slot {
                STOCK => Fold::Stock(StockItem::default()),
                _ if slot < order_slot(0) => Fold::Cart(Cart::default()),
                _ if slot < payment_slot(0) => Fold::Order(Order::default()),
                _ => Fold::Payment(Payment::default()),
            });
            *value = shop.absent[slot];
        }
        values[STOCK] = shop.number(Fold::Stock(shop.goods.stock.clone()));
        for cart in 0..CARTS {
            values[cart_slot(cart)] = shop.number(Fold::Cart(shop.goods.cart(cart)));
        }
        (shop, values)
    }

    pub(super) fn stock(&self, values: &Values) -> &StockItem {
        let Fold::Stock(stock) = self.fold(values[STOCK]) else { unreachable!("the first stream is the stock's") };
        stock
    }

    pub(super) fn cart(&self, values: &Values, cart: usize) -> &Cart {
        let Fold::Cart(cart) = self.fold(values[cart_slot(cart)]) else { unreachable!("a cart's stream holds a cart") };
        cart
    }

    /// `None`: not placed.
    pub(super) fn order(&self, values: &Values, order: usize) -> Option<&PlacedOrder> {
        let Fold::Order(order) = self.fold(values[order_slot(order)]) else { unreachable!("an order's stream holds an order") };
        order.placed()
    }

    pub(super) fn payment(&self, values: &Values, payment: usize) -> &Payment {
        let Fold::Payment(payment) = self.fold(values[payment_slot(payment)]) else { unreachable!("a payment's stream holds one") };
        payment
    }

    /// The number of distinct values that streams have had.
    pub(super) fn distinct(&self) -> usize {
        self.folds.len()
    }

    /// Makes a decision, or remembers how it was made on the same values.
    pub(super) fn decide(&mut self, values: &Values, command: Command) -> Rc<Decision> {
        for slots in self.read_by.get(&command).into_iter().flatten() {
            let read = slots.iter().map(|slot| (*slot, values[*slot])).collect();
            if let Some(decision) = self.made.get(&(command, read)) {
                return Rc::clone(decision);
            }
        }
        let (slots, decision) = self.run(values, command, None);
        let decision = Rc::new(decision);
        let read = slots.iter().map(|slot| (*slot, values[*slot])).collect();
        self.made.insert((command, read), Rc::clone(&decision));
        let lists = self.read_by.entry(command).or_default();
        if !lists.contains(&slots) {
            lists.push(slots);
        }
        decision
    }

    /// Makes a decision on something other than what is there, and lands it on what is there, unchecked.
    pub(super) fn decide_misreading(&mut self, values: &Values, command: Command, misread: &Misread) -> Decision {
        self.run(values, command, Some(misread)).1
    }

    fn run(&mut self, values: &Values, command: Command, misread: Option<&Misread>) -> (Vec<usize>, Decision) {
        let mut cache = Cache::new(1_000);
        let mut slots = Vec::new();
        let (ended, mut decided) = loop {
            let now = match command {
                Command::Expire(_, passed) | Command::Record(Told { passed, .. }) => goods::at(passed),
                _ => goods::at(Passed::Nothing),
            };
            let mut streams = Streams::new(&mut cache, now, "{}", true);
            let ended = self.call(&mut streams, command);
            let decided = streams.finish();
            let Err(Stop::Missing(loads)) = ended else { break (ended, decided) };
            for load in loads {
                let slot = self.streams.iter().position(|stream| *stream == load.stream);
                let entry = match slot {
                    Some(slot) => self.entry(values, slot, misread),
                    None => self.unchanging(&load.stream),
                };
                slots.extend(slot.filter(|slot| !slots.contains(slot)));
                cache.insert(load.stream, entry);
            }
        };
        let mut decision = Decision::default();
        match ended {
            Ok(is_done) => decision.is_done = is_done,
            Err(Stop::Refused(refusal)) => {
                decision.refused = Some(format!("{}: {}", refusal.code, refusal.detail));
                return (slots, decision);
            }
            Err(stop) => {
                decision.failed = Some(format!("{stop:?}"));
                return (slots, decision);
            }
        }
        let skipped = misread.map_or(0, |misread| misread.events_not_landed);
        let landed: Vec<NewEvent> = decided.events.iter().skip(skipped).map(|pending| pending.event.clone()).collect();
        let mut written = Vec::new();
        for event in &landed {
            let Some(slot) = self.streams.iter().position(|stream| *stream == event.stream) else { continue };
            decision.events.push(format!("{}: {}", self.name(slot), event.event_type));
            if !written.contains(&slot) {
                written.push(slot);
            }
        }
        decided.take_effect(&mut cache);
        for slot in written {
            let fold = match misread {
                None => self.peek(&cache, slot),
                Some(_) => self.grown(values[slot], landed.iter().filter(|event| event.stream == self.streams[slot])),
            };
            let id = self.number(fold);
            decision.writes.push((slot, id));
        }
        (slots, decision)
    }

    /// `true`: of an order's deadline, that nothing more is to be done with it.
    fn call(&self, streams: &mut Streams<'_>, command: Command) -> Result<bool, Stop> {
        let order = |payment: usize| goods::order_id(order_of(payment));
        match command {
            Command::Place(placing) => checkout::place(streams, &self.goods.checkout(placing)).map(drop),
            Command::Pay(payment) => payment::pay(streams, order(payment), &self.goods.attempt(payment)).map(drop),
            Command::Cancel(order) => {
                let cancel = Cancel { by: "shopper", reason: "changed their mind".to_owned(), if_match: None };
                order::cancel(streams, goods::order_id(order), &cancel).map(drop)
            }
            Command::Expire(order, _) => {
                return order::expire(streams, goods::order_id(order), goods::PATIENCE).map(|due| due == Due::Done);
            }
            Command::Record(told) => payment::record(streams, &goods::reported(&told), goods::late()),
            Command::Park(payment, operation_id) => payment::park(streams, goods::payment_id(payment), operation_id),
            Command::Capture(At { payment, place }) => {
                let operation_id = goods::merchants(payment, place);
                let capture = Capture { operation_id, amount: None, is_final: true, if_match: None };
                payment::capture(streams, order(payment), goods::payment_id(payment), capture).map(drop)
            }
            Command::Void(At { payment, place }) => {
                let operation_id = goods::merchants(payment, place);
                payment::void(streams, order(payment), goods::payment_id(payment), operation_id, None).map(drop)
            }
            Command::Refund(At { payment, place }) => {
                let operation_id = goods::merchants(payment, place);
                let refund = Refund { operation_id, of: RefundOf::Rest, reason: "asked for".to_owned(), if_match: None };
                payment::refund(streams, order(payment), &refund).map(drop)
            }
            Command::Unsafe(command) => unsafe_variant::decide(streams, &self.goods, command),
        }?;
        Ok(false)
    }

    fn entry(&self, values: &Values, slot: usize, misread: Option<&Misread>) -> Entry {
        let id = misread.and_then(|misread| misread.read_as(slot)).unwrap_or(values[slot]);
        // How many events there were decides nothing here; whether there was one does.
        let version = i64::from(id != self.absent[slot]);
        match self.fold(id).clone() {
            Fold::Stock(stock) => Entry::new(stock, version),
            Fold::Cart(cart) => Entry::new(cart, version),
            Fold::Order(order) => Entry::new(order, version),
            Fold::Payment(payment) => Entry::new(payment, version),
        }
    }

    /// A stream that no step of the model changes.
    fn unchanging(&self, stream: &StreamId) -> Entry {
        match stream.aggregate_type {
            <Product as Aggregate>::TYPE => Entry::new(self.goods.product.clone(), 1),
            // Numbers of orders, which differ.
            <Claim as Aggregate>::TYPE => Entry::new(Claim::default(), 0),
            // As configured.
            <Settings as Aggregate>::TYPE => Entry::new(Settings::default(), 0),
            _ => panic!("the model has no stream {}/{}", stream.aggregate_type, stream.aggregate_id),
        }
    }

    fn peek(&self, cache: &Cache, slot: usize) -> Fold {
        let id = &self.streams[slot].aggregate_id;
        let fold = match self.fold(self.absent[slot]) {
            Fold::Stock(_) => cache.peek::<StockItem>(id).cloned().map(Fold::Stock),
            Fold::Cart(_) => cache.peek::<Cart>(id).cloned().map(Fold::Cart),
            Fold::Order(_) => cache.peek::<Order>(id).cloned().map(Fold::Order),
            Fold::Payment(_) => cache.peek::<Payment>(id).cloned().map(Fold::Payment),
        };
        fold.expect("what a decision wrote to is in its cache")
    }

    fn grown<'e>(&self, id: Id, events: impl Iterator<Item = &'e NewEvent>) -> Fold {
        fn apply<'e, A: Root>(aggregate: &mut A, events: impl Iterator<Item = &'e NewEvent>) {
            for event in events {
                let event = A::Event::from_payload(event.event_type, event.event_version, &event.payload);
                aggregate.apply(event.expect("an event that was just written can be read"));
            }
        }
        let mut fold = self.fold(id).clone();
        match &mut fold {
            Fold::Stock(stock) => apply(stock, events),
            Fold::Cart(cart) => apply(cart, events),
            Fold::Order(order) => apply(order, events),
            Fold::Payment(payment) => apply(payment, events),
        }
        fold
    }

    /// Makes a payment one that has not begun.
    pub(super) fn blank(&self, values: &mut Values, payment: usize) {
        values[payment_slot(payment)] = self.absent[payment_slot(payment)];
    }

    /// The number of an order that differs from another in what `change` does to it.
    pub(super) fn order_but(&mut self, values: &Values, order: usize, change: impl FnOnce(&mut PlacedOrder)) -> Id {
        let Fold::Order(mut changed) = self.fold(values[order_slot(order)]).clone() else { unreachable!("it is an order's slot") };
        if let Order::Placed(placed) = &mut changed {
            change(placed);
        }
        self.number(Fold::Order(changed))
    }

    /// The number of a cart that differs from another in what `change` does to it.
    pub(super) fn cart_but(&mut self, values: &Values, cart: usize, change: impl FnOnce(&mut Cart)) -> Id {
        let mut changed = self.cart(values, cart).clone();
        change(&mut changed);
        self.number(Fold::Cart(changed))
    }

    fn fold(&self, id: Id) -> &Fold {
        &self.folds[usize::from(id)]
    }

    fn number(&mut self, fold: Fold) -> Id {
        let json = match &fold {
            Fold::Stock(stock) => serde_json::to_string(&("stock", stock)),
            Fold::Cart(cart) => serde_json::to_string(&("cart", cart)),
            Fold::Order(order) => serde_json::to_string(&("order", order)),
            Fold::Payment(payment) => serde_json::to_string(&("payment", payment)),
        };
        let next = Id::try_from(self.folds.len()).expect("a small shop has few distinct values");
        let id = *self.ids.entry(json.expect("aggregates can be written")).or_insert(next);
        if id == next {
            self.folds.push(fold);
        }
        id
    }

    fn name(&self, slot: usize) -> String {
        match self.fold(self.absent[slot]) {
            Fold::Stock(_) => "stock".to_owned(),
            Fold::Cart(_) => format!("cart {}", goods::cart_name(slot - cart_slot(0))),
            Fold::Order(_) => format!("order {}", goods::order_name(slot - order_slot(0))),
            Fold::Payment(_) => format!("payment {}", goods::payment_name(slot - payment_slot(0))),
        }
    }
}
