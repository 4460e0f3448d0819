//! `daybook bench cart`: what it costs to put one more into a cart that has many lines, in a shop that has many promotions.
//!
//! The answer of each is the whole cart, priced anew: its lines, what the promotions take off, tax. The shop is a `daybook up` of
//! its own.

use std::fmt::Write as _;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, ensure};
use reqwest::{Method, StatusCode};
use serde::Serialize;
use serde_json::{Value, json};
use tokio::time::Instant;

use super::http::OwnShop;
use super::measure::Measured;
use super::report;
use crate::auth::Role;
use crate::shop::Shop;

/// Products of the shop: as many as a cart may have lines.
const PRODUCTS: usize = 100;
/// Times that one cart is added to before the next one is filled: a line holds 999.
const ADDS_OF_A_CART: usize = 200;
/// Not measured, so that what is read first is in memory.
const WARM_UP: usize = 20;

#[derive(Debug, Clone)]
pub struct Options {
    /// Lines of the carts, up to 100.
    pub lines: Vec<usize>,
    /// Promotions that are on; in rising order.
    pub promotions: Vec<usize>,
    /// Units that are put into carts for each figure.
    pub adds: usize,
    pub json: bool,
}

#[derive(Debug, Serialize)]
pub struct Report {
    pub figures: Vec<Figure>,
}

#[derive(Debug, Serialize)]
pub struct Figure {
    pub lines: usize,
    pub promotions: usize,
    pub add: Measured,
}

pub async fn run(options: Options) -> anyhow::Result<()> {
    ensure!(options.lines.iter().all(|lines| (1..=PRODUCTS).contains(lines)), "a cart has 1 to {PRODUCTS} lines");
    ensure!(options.promotions.is_sorted(), "promotions are only added: name them in rising order");
    let folder = std::env::temp_dir().join(format!("daybook-bench-{}", infra::clock::new_id().simple()));
    let measured = measure(&options, &folder).await;
    let report = measured.with_context(|| format!("the shop's folder is left for a look: {}", folder.display()))?;
    std::fs::remove_dir_all(&folder)?;
    report::print(&report, options.json, table)
}

async fn measure(options: &Options, folder: &Path) -> anyhow::Result<Report> {
    let (own, _) = OwnShop::start(folder, false).await?;
    let file = folder.join("products.csv");
    std::fs::write(&file, catalogue())?;
    own.import(&file)?;
    let shop = Shop::find(folder)?;
    let owner = format!("Bearer {}", shop.token(Role::Owner)?);
    let client = Client { http: reqwest::Client::builder().timeout(Duration::from_secs(30)).build()?, url: shop.url.clone() };
    let mut figures = Vec::new();
    let mut made = 0;
    for &promotions in &options.promotions {
        while made < promotions {
            let body = promotion(&client, made).await?;
            let (answer, token, _) = client.send(Method::POST, "/v1/admin/promotions", Some(body), &[("authorization", &owner)]).await?;
            let path = format!("/v1/admin/promotions/{}", answer["id"].as_str().unwrap_or_default());
            let seen = [("authorization", owner.as_str()), ("consistency-token", &token), ("prefer", "wait=10")];
            client.send(Method::GET, &path, None, &seen).await?;
            made += 1;
        }
        for &lines in &options.lines {
            eprintln!("  {lines} lines, {promotions} promotions");
            let add = adds(&client, lines, options.adds).await?;
            figures.push(Figure { lines, promotions, add });
        }
    }
    drop(own);
    Ok(Report { figures })
}

/// Puts units into carts that have so many lines, one after the other.
async fn adds(client: &Client, lines: usize, number: usize) -> anyhow::Result<Measured> {
    let mut took = Vec::with_capacity(number);
    let began = Instant::now();
    while took.len() < number {
        let cart = json!({ "currency": "EUR", "country": "DE" });
        let (cart, ..) = client.send(Method::POST, "/v1/carts", Some(cart), &[]).await?;
        let path = format!("/v1/carts/{}/lines", cart["id"].as_str().context("the cart has no id")?);
        for n in 0..lines {
            client.send(Method::POST, &path, Some(json!({ "sku": sku(n), "quantity": 1 })), &[]).await?;
        }
        for n in 0..WARM_UP + ADDS_OF_A_CART.min(number - took.len()) {
            let one_more = json!({ "sku": sku(n % lines), "quantity": 1 });
            let (cart, _, us) = client.send(Method::POST, &path, Some(one_more), &[]).await?;
            ensure!(cart["lines"].as_array().map(Vec::len) == Some(lines), "the cart has not {lines} lines");
            if n >= WARM_UP {
                took.push(us);
            }
        }
    }
    Ok(Measured::of(took, 0, began.elapsed()))
}

/// Half of them on single products, half on the whole order.
async fn promotion(client: &Client, n: usize) -> anyhow::Result<Value> {
    let priority = i64::try_from(n).unwrap_or(0);
    let title = format!("Promotion {n}");
    if n % 2 == 1 {
        let rule = json!({ "kind": "percent", "ppm": 10_000, "target": "order" });
        return Ok(json!({ "title": title, "rule": rule, "automatic": true, "priority": priority }));
    }
    let (product, ..) = client.send(Method::GET, &format!("/v1/products/{}", sku(n % PRODUCTS).to_lowercase()), None, &[]).await?;
    let rule =
        json!({ "kind": "fixed", "amounts": [{ "amount": 10, "currency": "EUR" }], "target": "line", "product_ids": [product["id"]] });
    Ok(json!({ "title": title, "rule": rule, "automatic": true, "priority": priority }))
}

fn sku(n: usize) -> String {
    format!("CARD-{n}")
}

fn catalogue() -> String {
    let mut csv = "Handle,Title,Vendor,Published,Variant SKU,Variant Price,Variant Inventory Qty,Status\n".to_owned();
    for n in 0..PRODUCTS {
        let sku = sku(n);
        // Writing to a string does not fail.
        let _written = writeln!(csv, "{},Greeting card {n},Paperworks,TRUE,{sku},{}.49,1000000,active", sku.to_lowercase(), 1 + n % 9);
    }
    csv
}

struct Client {
    http: reqwest::Client,
    url: String,
}

impl Client {
    /// The answer's body, its token, and how long it took in microseconds.
    async fn send(
        &self,
        method: Method,
        path: &str,
        body: Option<Value>,
        headers: &[(&str, &str)],
    ) -> anyhow::Result<(Value, String, u32)> {
        let mut request = self.http.request(method.clone(), format!("{}{path}", self.url));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        if let Some(body) = body {
            request = request.json(&body);
        }
        let sent = Instant::now();
        let response = request.send().await?;
        let (status, headers) = (response.status(), response.headers().clone());
        let text = response.bytes().await?;
        let took_us = u32::try_from(sent.elapsed().as_micros()).unwrap_or(u32::MAX);
        let said = || String::from_utf8_lossy(&text).into_owned();
        ensure!(matches!(status, StatusCode::OK | StatusCode::CREATED), "{method} {path} was answered {status}: {}", said());
        let token = headers.get("consistency-token").and_then(|value| value.to_str().ok()).unwrap_or_default().to_owned();
        Ok((serde_json::from_slice(&text)?, token, took_us))
    }
}

fn table(report: &Report) -> String {
    let mut text = format!("{:>6}{:>12}{:>12}{:>12}{:>12}{:>8}\n", "lines", "promotions", "p50 µs", "p95 µs", "p99 µs", "adds");
    for Figure { lines, promotions, add } in &report.figures {
        // Writing to a string does not fail.
        let _written = writeln!(text, "{lines:>6}{promotions:>12}{:>12}{:>12}{:>12}{:>8}", add.p50_us, add.p95_us, add.p99_us, add.count);
    }
    text
}
