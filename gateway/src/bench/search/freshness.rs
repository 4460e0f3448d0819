//! How soon a shopper's search shows what was decided, while 500 other changes a second come in.
//!
//! A writer of the bench's own decides them on the shop's log: prices and publishing have no route of their own but the import.
//! The shop's writer has nothing to do meanwhile. Measured is from the command's answer, that is from its commit, to the
//! answer of the first search without a token that shows it; one search after the other asks.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, ensure};
use commands::catalog::{self, Existing};
use commands::inventory::{self, Target};
use commands::loader::Loader;
use commands::streams::{Stop, Streams};
use commands::writer::{Limits, Writer};
use domain::catalog::{DetailsPatch, ProductCommand, STOREFRONT, Text};
use domain::id::ReceiptId;
use infra::event_store::EventStore;
use infra::leadership;
use infra::sealing::{MasterKey, Sealer};
use infra::task::{CancellationToken, TaskGroup};
use infra::{postgres, stream};
use reqwest::{Client, Url};
use serde::Serialize;
use serde_json::Value;
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior, interval};

use super::catalogue::{Catalogue, Random};
use super::queries;
use crate::bench::measure::Measured;
use crate::bench::{raw, workload};
use crate::shop::Shop;

/// Sightings of each kind.
const SIGHTINGS: u64 = 200;
/// Changes come in pulses, so many a second.
const PULSES_PER_S: u32 = 100;
/// Changes that are with the writer at once; a change on top is left out and counted.
const IN_FLIGHT_MAX: usize = 512;
const CONNECTIONS: u32 = 8;
/// Longest that a change may take to be seen.
const SEEN_WAIT: Duration = Duration::from_secs(30);
/// Prices that no product has, in minor units.
const SEEN_AMOUNT: i64 = 10_000_000;

#[derive(Debug, Serialize)]
pub struct Freshness {
    /// Changes a second that were wanted, and that were decided.
    pub updates: u32,
    pub updated_per_s: f64,
    pub left_out: u64,
    pub seen: Seen,
}

/// From the commit to an answer that shows it.
#[derive(Debug, Serialize)]
pub struct Seen {
    pub sold_out: Measured,
    pub price: Measured,
    /// An unpublished product is in no list any more, and in no count.
    pub unlisted: Measured,
    pub uncounted: Measured,
    /// One search that asks whether it shows: nothing is seen more exactly than this.
    pub asking: Measured,
}

/// A shopper who asks again and again.
struct Watch {
    http: Client,
    shop: String,
    asking: Vec<u32>,
}

/// A merchant's commands.
#[derive(Clone)]
struct Merchant {
    writer: Writer,
    catalogue: Arc<Catalogue>,
    products: u64,
}

pub async fn measure(shop: &Shop, catalogue: &Arc<Catalogue>, products: u64, updates: u32) -> anyhow::Result<Freshness> {
    let pool = postgres::connect(&shop.config.database_url, CONNECTIONS, &[]).await?;
    let sealer = Sealer::new(pool.clone(), MasterKey::parse(&shop.config.master_key)?);
    let nats = stream::connect(&shop.config.nats_url).await.context("can't connect to NATS")?;
    let store = EventStore::new(pool.clone(), infra::clock::new_id());
    let limits = Limits::from(&shop.config.writer);
    let (writer, task) = Writer::new(Loader::new(pool.clone(), sealer), store, Some(nats), limits, leadership::alone());
    let mut tasks = TaskGroup::under(&CancellationToken::new());
    tasks.spawn("writer", commands::writer::run_until(task, tasks.stop_signal()));
    let merchant = Merchant { writer, catalogue: Arc::clone(catalogue), products };

    let enough = CancellationToken::new();
    let background = infra::task::spawn(background(merchant.clone(), updates, enough.clone()));
    let seen = sightings(&shop.url, &merchant).await;
    enough.cancel();
    let (decided, left_out, elapsed) = background.await??;
    drop(merchant);
    tasks.shut_down().await;
    pool.close().await;
    #[expect(clippy::cast_precision_loss, reason = "counts stay far below 2^52")]
    let updated_per_s = decided as f64 / elapsed.as_secs_f64();
    Ok(Freshness { updates, updated_per_s, left_out, seen: seen? })
}

/// Changes at an even pace until `stop`; answers how many were decided, how many left out, and how long it was.
async fn background(merchant: Merchant, updates: u32, stop: CancellationToken) -> anyhow::Result<(u64, u64, Duration)> {
    let mut pulses = interval(Duration::from_secs(1) / PULSES_PER_S);
    pulses.set_missed_tick_behavior(MissedTickBehavior::Burst);
    let began = Instant::now();
    let (mut number, mut decided, mut left_out, mut in_flight) = (0, 0, 0, JoinSet::new());
    let mut due = 0;
    while !stop.is_cancelled() {
        pulses.tick().await;
        due += updates;
        while due >= PULSES_PER_S {
            due -= PULSES_PER_S;
            number += 1;
            if in_flight.len() < IN_FLIGHT_MAX {
                let merchant = merchant.clone();
                in_flight.spawn(async move { merchant.change_something(number).await });
            } else {
                left_out += 1;
            }
        }
        while let Some(done) = in_flight.try_join_next() {
            done??;
            decided += 1;
        }
    }
    let elapsed = began.elapsed();
    while let Some(done) = in_flight.join_next().await {
        done??;
    }
    Ok((decided, left_out, elapsed))
}

/// What is sold out, has another price, is taken off the shop: each of products that nothing else changes.
async fn sightings(shop: &str, merchant: &Merchant) -> anyhow::Result<Seen> {
    let mut watch = Watch { http: queries::client()?, shop: shop.to_owned(), asking: Vec::new() };
    let (mut sold_out, mut price, mut unlisted, mut uncounted) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    let began = Instant::now();
    let mut in_stock = (0..merchant.products / 2).filter(|number| merchant.catalogue.is_in_stock(*number));
    let mut next = || in_stock.next().context("too few products are in stock");
    for _ in 0..SIGHTINGS {
        let product = next()?;
        let sku = Catalogue::sku(product);
        let listed = watch.list(&[("q", &sku), ("in_stock", "true")])?;
        watch.expect(&listed, |answer| shown_price(answer, product).is_some()).await?;
        merchant.sell_out(product).await?;
        sold_out.push(watch.until_seen(&listed, Instant::now(), |answer| shown_price(answer, product).is_none()).await?);

        let product = next()?;
        let (sku, amount) = (Catalogue::sku(product), SEEN_AMOUNT + i64::try_from(product)?);
        let exactly = amount.to_string();
        let listed = watch.list(&[("q", &sku), ("price_min", &exactly), ("price_max", &exactly)])?;
        watch.expect(&listed, |answer| answer["total"] == 0).await?;
        merchant.set_price(product, amount).await?;
        // The filter goes by the index, the answer shows the read model: a shopper has seen it when both say so.
        price.push(watch.until_seen(&listed, Instant::now(), |answer| shown_price(answer, product) == Some(amount)).await?);

        // Nothing else has this price, so the count says whether the index still finds it.
        merchant.unpublish(product).await?;
        let committed = Instant::now();
        unlisted.push(watch.until_seen(&listed, committed, |answer| shown_price(answer, product).is_none()).await?);
        uncounted.push(watch.until_seen(&listed, committed, |answer| answer["total"] == 0).await?);
    }
    let elapsed = began.elapsed();
    let of = |took| Measured::of(took, 0, elapsed);
    Ok(Seen { sold_out: of(sold_out), price: of(price), unlisted: of(unlisted), uncounted: of(uncounted), asking: of(watch.asking) })
}

impl Watch {
    fn list(&self, parameters: &[(&str, &str)]) -> anyhow::Result<Url> {
        queries::list(&self.shop, &[parameters, &[("lang", "en")]].concat())
    }

    /// What must be so before the change, else nothing would be seen.
    async fn expect(&self, url: &Url, is_so: impl Fn(&Value) -> bool) -> anyhow::Result<()> {
        let answer = queries::fetch_json(&self.http, url).await?;
        ensure!(is_so(&answer), "{url} was answered otherwise before the change: {answer}");
        Ok(())
    }

    /// Microseconds from the commit to the first answer that shows it.
    async fn until_seen(&mut self, url: &Url, committed: Instant, is_seen: impl Fn(&Value) -> bool) -> anyhow::Result<u32> {
        loop {
            let asked = Instant::now();
            let answer = queries::fetch_json(&self.http, url).await?;
            self.asking.push(raw::micros(asked.elapsed()));
            if is_seen(&answer) {
                return Ok(raw::micros(committed.elapsed()));
            }
            ensure!(committed.elapsed() < SEEN_WAIT, "{url} does not show what was decided within {SEEN_WAIT:?}");
        }
    }
}

/// The price that a product is listed with; nothing when it is not listed.
fn shown_price(answer: &Value, product: u64) -> Option<i64> {
    let id = Catalogue::product_id(product).to_string();
    let item = answer["items"].as_array()?.iter().find(|item| item["id"] == id.as_str())?;
    item["price_from"]["amount"].as_i64()
}

impl Merchant {
    /// A price, goods that come in, a title: in turn, on products of the upper half, which nobody watches.
    async fn change_something(&self, number: u64) -> anyhow::Result<()> {
        let mut random = Random::of(number, "update");
        let half = self.products / 2;
        let product = half + random.below(self.products - half);
        match number % 3 {
            0 => self.set_price(product, self.catalogue.amount(product) + 1 + i64::try_from(random.below(500))?).await,
            1 => {
                let (at, receipt_id) = (target(product), ReceiptId::new(infra::clock::new_id()));
                self.execute(move |streams| inventory::receive(streams, at, None, receipt_id, 1)).await
            }
            _ => {
                let title = self.catalogue.title_words(random.below(self.products)).join(" ");
                let patch = DetailsPatch { title: Some(Text::from([("en".to_owned(), title)])), ..DetailsPatch::default() };
                let command = ProductCommand::ChangeDetails(patch);
                self.execute(move |streams| catalog::change_existing(streams, existing(product), command.clone()).map(drop)).await
            }
        }
    }

    async fn sell_out(&self, product: u64) -> anyhow::Result<()> {
        let at = target(product);
        self.execute(move |streams| inventory::count(streams, at, None, 0, "the last one is sold")).await
    }

    async fn set_price(&self, product: u64, amount: i64) -> anyhow::Result<()> {
        let (price, variant_id) = (self.catalogue.price(amount)?, Catalogue::variant_id(product));
        self.execute(move |streams| catalog::set_price(streams, existing(product), variant_id, &price).map(drop)).await
    }

    async fn unpublish(&self, product: u64) -> anyhow::Result<()> {
        self.execute(move |streams| catalog::unpublish(streams, existing(product), STOREFRONT).map(drop)).await
    }

    async fn execute(&self, decide: impl Fn(&mut Streams<'_>) -> Result<(), Stop> + Send + 'static) -> anyhow::Result<()> {
        self.writer.execute(&workload::origin(), None, decide).await?;
        Ok(())
    }
}

fn target(product: u64) -> Target {
    Target { variant_id: Catalogue::variant_id(product), expected_version: None }
}

fn existing(product: u64) -> Existing {
    Existing { product_id: Catalogue::product_id(product), expected_version: None }
}
