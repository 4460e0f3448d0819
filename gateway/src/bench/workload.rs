//! The four kinds of command that the store is measured with, for our writer and for the stock postgres-es.

use std::sync::Arc;

use commands::answer::{Actor, CommandError, Failure, Origin};
use commands::streams::{Stop, Streams};
use commands::writer::{Idempotency, Writer};
use cqrs_es::{Aggregate, AggregateError};
use domain::cart::{Address, ShipTo};
use domain::id::{HoldId, LineId, LocationId, OrderId, ReceiptId, SubjectId, VariantId};
use domain::inventory::{HoldOwner, Reserve, StockCommand, StockItem, StockPolicy};
use domain::money::{Money, Rounding};
use domain::order::{Order, OrderCommand, OrderItem, OrderLine, OrderPlaced, PREPAID, Tender};
use domain::personal::{Personal, Purpose};
use domain::pricing::{LineRequest, QuoteRequest, ShippingOption, TaxRate, price};
use infra::sealing::KeyScope;
use postgres_es::{PostgresCqrs, postgres_cqrs};
use serde::Serialize;
use sqlx::PgPool;
use uuid::Uuid;

/// Existing aggregates that the commands of [`Kind::Existing`] and [`Kind::PlaceOrder`] fall on.
pub const AGGREGATES: u64 = 1_000;
/// Times that a command is repeated after a conflict by those who leave that to the caller.
pub const RETRIES_MAX: u64 = 10_000;
/// Units that nobody can sell out.
const PLENTY: u32 = 1_000_000_000;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// Each command begins an aggregate.
    New,
    /// Each changes one of a thousand.
    Existing,
    /// All change the same one.
    Hot,
    /// An order and a hold on the stock of each of its three lines.
    PlaceOrder,
}

impl Kind {
    pub const ALL: [Self; 4] = [Self::New, Self::Existing, Self::Hot, Self::PlaceOrder];

    pub fn title(self) -> &'static str {
        match self {
            Self::New => "(a) new aggregates",
            Self::Existing => "(b) 1,000 aggregates",
            Self::Hot => "(c) one hot aggregate",
            Self::PlaceOrder => "(d) place order, 4 streams",
        }
    }

    /// The aggregates that must be there before.
    fn aggregates(self) -> u64 {
        match self {
            Self::New => 0,
            Self::Hot => 1,
            Self::Existing | Self::PlaceOrder => AGGREGATES,
        }
    }
}

/// The commands of one measurement; ids differ from those of every other one.
#[derive(Debug, Clone)]
pub struct Commands {
    pub kind: Kind,
    run: Uuid,
    facts: Arc<OrderPlaced>,
    location_id: LocationId,
}

impl Commands {
    pub fn new(kind: Kind) -> anyhow::Result<Self> {
        let location_id = LocationId::new(Uuid::from_u128(1));
        Ok(Self { kind, run: infra::clock::new_id(), facts: Arc::new(order()?), location_id })
    }

    fn id(&self, what: &str, number: u64) -> Uuid {
        Uuid::new_v5(&self.run, format!("{what}{number}").as_bytes())
    }

    fn stock_id(&self, number: u64) -> String {
        self.id("stock", number).to_string()
    }

    /// Which aggregates a command falls on: scattered, and the same for every side.
    fn targets(number: u64) -> [u64; 3] {
        let scattered = number.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32;
        [scattered % AGGREGATES, (scattered + 331) % AGGREGATES, (scattered + 677) % AGGREGATES]
    }

    fn open() -> StockCommand {
        StockCommand::Open { policy: StockPolicy::Deny, low_stock_threshold: None }
    }

    fn receive(&self, number: u64, quantity: u32) -> StockCommand {
        let receipt_id = ReceiptId::new(self.id("receipt", number));
        StockCommand::Receive { receipt_id, location_id: self.location_id, quantity, unit_cost: None }
    }

    fn reserve(&self, number: u64, line: &OrderLine) -> StockCommand {
        let order_id = OrderId::new(self.id("order", number));
        StockCommand::Reserve(Reserve {
            hold_id: HoldId::new(Uuid::new_v5(&order_id.uuid(), line.line_id.uuid().as_bytes())),
            owner: HoldOwner::order(order_id, line.line_id),
            quantity: line.quantity,
            expires_at: None,
            allocation_order: vec![self.location_id],
            now: self.facts.placed_at,
        })
    }

    /// The order of a command; its lines are of the stock that the command falls on.
    fn place(&self, number: u64) -> Box<OrderPlaced> {
        let mut facts = Box::new((*self.facts).clone());
        facts.order_id = OrderId::new(self.id("order", number));
        facts.number = format!("{number:09}");
        // A shopper of this run alone: each run has a master key of its own.
        facts.subject_id = SubjectId::new(self.run);
        for (line, target) in facts.lines.iter_mut().zip(Self::targets(number)) {
            line.variant_id = Some(VariantId::new(self.id("stock", target)));
        }
        facts
    }

    /// What a command decides, over the streams of our writer.
    pub fn decide(&self, streams: &mut Streams<'_>, number: u64) -> Result<(), Stop> {
        match self.kind {
            Kind::New => {
                let id = self.stock_id(number);
                let events = streams.create::<StockItem>(&id)?.decide(Self::open()).map_err(|e| refused(&e))?;
                streams.emit::<StockItem>(&id, events, None)
            }
            Kind::Existing => self.change(streams, Self::targets(number)[0], self.receive(number, 1)),
            Kind::Hot => self.change(streams, 0, self.receive(number, 1)),
            Kind::PlaceOrder => {
                streams.need::<StockItem>(Self::targets(number).map(|target| self.stock_id(target)))?;
                let facts = self.place(number);
                for (line, target) in facts.lines.iter().zip(Self::targets(number)) {
                    self.change(streams, target, self.reserve(number, line))?;
                }
                let id = facts.order_id.to_string();
                let scope = KeyScope { subject_id: facts.subject_id.uuid(), purpose: Purpose::Order.as_str() };
                let events = streams.create::<Order>(&id)?.decide(OrderCommand::Place(facts)).map_err(|e| refused(&e))?;
                streams.emit::<Order>(&id, events, Some(scope))
            }
        }
    }

    fn change(&self, streams: &mut Streams<'_>, target: u64, command: StockCommand) -> Result<(), Stop> {
        let id = self.stock_id(target);
        let events = streams.get::<StockItem>(&id)?.decide(command).map_err(|e| refused(&e))?;
        streams.emit::<StockItem>(&id, events, None)
    }

    /// Makes the aggregates that the commands fall on, through our writer.
    pub async fn prepare(&self, writer: &Writer) -> anyhow::Result<()> {
        let commands = (0..self.kind.aggregates()).map(|number| {
            let (this, writer) = (self.clone(), writer.clone());
            async move {
                let decide = move |streams: &mut Streams<'_>| {
                    let id = this.stock_id(number);
                    let mut item = streams.create::<StockItem>(&id)?.clone();
                    let mut events = Vec::new();
                    for command in [Self::open(), this.receive(u64::MAX - number, PLENTY)] {
                        let more = item.decide(command).map_err(|e| refused(&e))?;
                        for event in &more {
                            item.apply(event);
                        }
                        events.extend(more);
                    }
                    streams.emit::<StockItem>(&id, events, None)
                };
                writer.execute(&origin(), None, decide).await.map(|_| ())
            }
        });
        futures::future::try_join_all(commands).await?;
        Ok(())
    }

    /// One command through our writer.
    pub async fn ours(&self, writer: &Writer, number: u64) -> anyhow::Result<u64> {
        let this = self.clone();
        // A shopper's checkout has a key; stock movements of the back office need none.
        let idempotency =
            (self.kind == Kind::PlaceOrder).then(|| Idempotency { key: self.id("key", number), fingerprint: [0; 32], running: false });
        let done = writer.execute(&origin(), idempotency, move |streams| this.decide(streams, number)).await;
        match done {
            Ok(_) => Ok(0),
            Err(CommandError::Contended) => anyhow::bail!("a command met more conflicts than it may"),
            Err(error) => Err(error.into()),
        }
    }

    /// The same with the stock postgres-es: an order is four commands there, since an append is of one stream.
    pub async fn theirs(&self, stock: &Theirs, number: u64) -> anyhow::Result<u64> {
        match self.kind {
            Kind::New => retry(&stock.stock, &self.stock_id(number), Self::open).await,
            Kind::Existing => retry(&stock.stock, &self.stock_id(Self::targets(number)[0]), || self.receive(number, 1)).await,
            Kind::Hot => retry(&stock.stock, &self.stock_id(0), || self.receive(number, 1)).await,
            Kind::PlaceOrder => {
                let facts = self.place(number);
                let mut retries = 0;
                for (line, target) in facts.lines.iter().zip(Self::targets(number)) {
                    retries += retry(&stock.stock, &self.stock_id(target), || self.reserve(number, line)).await?;
                }
                let id = facts.order_id.to_string();
                Ok(retries + retry(&stock.order, &id, || OrderCommand::Place(facts.clone())).await?)
            }
        }
    }

    pub async fn prepare_theirs(&self, theirs: &Theirs) -> anyhow::Result<()> {
        for number in 0..self.kind.aggregates() {
            retry(&theirs.stock, &self.stock_id(number), Self::open).await?;
            retry(&theirs.stock, &self.stock_id(number), || self.receive(u64::MAX - number, PLENTY)).await?;
        }
        Ok(())
    }
}

/// The stock framework over a database of its own.
pub struct Theirs {
    stock: PostgresCqrs<StockItem>,
    order: PostgresCqrs<Order>,
}

impl Theirs {
    /// The columns and the key that postgres-es 0.5 asks for.
    pub const DDL: &'static str = "CREATE TABLE events (
        aggregate_type text NOT NULL, aggregate_id text NOT NULL, sequence bigint NOT NULL CHECK (sequence >= 0),
        event_type text NOT NULL, event_version text NOT NULL, payload json NOT NULL, metadata json NOT NULL,
        PRIMARY KEY (aggregate_type, aggregate_id, sequence))";

    pub fn new(pool: &PgPool) -> Self {
        Self { stock: postgres_cqrs(pool.clone(), vec![], ()), order: postgres_cqrs(pool.clone(), vec![], ()) }
    }
}

/// Gives a command until no other one was faster; answers how often it was.
async fn retry<A: Aggregate>(cqrs: &PostgresCqrs<A>, id: &str, command: impl Fn() -> A::Command) -> anyhow::Result<u64>
where
    A::Error: Send + Sync + 'static,
{
    for attempt in 0..RETRIES_MAX {
        match cqrs.execute(id, command()).await {
            Ok(()) => return Ok(attempt),
            Err(AggregateError::AggregateConflict) => {}
            Err(error) => return Err(error.into()),
        }
    }
    anyhow::bail!("a command met {RETRIES_MAX} conflicts")
}

fn refused(error: &impl std::fmt::Display) -> Stop {
    Stop::Failed(Failure::Repository(error.to_string()))
}

/// Metadata as a shopper's request has it.
pub fn origin() -> Origin {
    let id = infra::clock::new_id();
    let actor = Actor { kind: "guest", id: "bench".to_owned() };
    Origin { actor, command_id: id, correlation_id: id, causation_id: id, request_id: Some(id.to_string()), traceparent: None }
}

/// An order of three lines, priced as a checkout does it.
fn order() -> anyhow::Result<OrderPlaced> {
    let currency = "EUR".parse()?;
    let eur = |amount| Money::new(amount, currency);
    let id = |n: u128| Uuid::from_u128(n);
    let mut lines = Vec::new();
    for (n, (unit, quantity)) in (1..).zip([(1_999, 1), (500, 2), (12_900, 1)]) {
        lines.push(LineRequest {
            line_id: LineId::new(id(n)),
            unit_price: eur(unit)?,
            quantity,
            tax_category: "standard".to_owned(),
            requires_shipping: true,
        });
    }
    let ship_to = ShipTo { country: "DE".to_owned(), region: None };
    let quote = price(&QuoteRequest {
        currency,
        prices_include_tax: true,
        rounding: Rounding::HalfUp,
        ship_to: Some(ship_to.clone()),
        lines,
        discounts: vec![],
        tax_rates: vec![TaxRate {
            tax_id: id(1).into(),
            title: "VAT 19 %".to_owned(),
            country: "DE".to_owned(),
            region: None,
            category: "standard".to_owned(),
            rate_ppm: 190_000,
            compound: false,
            applies_to_shipping: true,
        }],
        shipping: Some(ShippingOption {
            method_id: id(1).into(),
            title: "Parcel".to_owned(),
            price: eur(490)?,
            tax_category: "standard".to_owned(),
        }),
    })?;
    let item = OrderItem {
        kind: "product".to_owned(),
        variant_id: None,
        product_id: Some(id(1).into()),
        sku: Some("MOKA-3".to_owned()),
        title: "Moka pot, three cups".to_owned(),
        options: vec![],
        parent_line_id: None,
        price_source: "price_list".to_owned(),
    };
    let tender =
        Tender { tender_id: id(1).into(), kind: "payment".to_owned(), reference: "sandbox".to_owned(), amount: quote.totals.total };
    Ok(OrderPlaced {
        order_id: id(1).into(),
        number: String::new(),
        source: "checkout".to_owned(),
        channel: "storefront".to_owned(),
        cart: None,
        checkout_no: Some(1),
        subject_id: id(1).into(),
        customer_id: None,
        placed_at: infra::clock::now(),
        language: "en".to_owned(),
        currency: quote.currency,
        prices_include_tax: quote.prices_include_tax,
        rounding: quote.rounding,
        ship_to,
        lines: quote.lines.into_iter().map(|line| OrderLine::new(item.clone(), line)).collect(),
        shipping_lines: quote.shipping_lines,
        discounts: quote.discounts,
        coupons: vec![],
        taxes: quote.taxes,
        fees: vec![],
        totals: quote.totals,
        holds: vec![],
        tenders: vec![tender],
        terms: PREPAID.to_owned(),
        payment_deadline: None,
        email: Personal::Known("mira.okafor@example.org".to_owned()),
        phone: None,
        shipping_address: Personal::Known(Address::default()),
        billing_address: None,
        note: None,
    })
}
