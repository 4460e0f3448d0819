//! Shoppers, from the search to the order; each request is timed by its step.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, ensure};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use tokio::time::Instant;

/// The steps of a sale, in their order; `line` comes three times.
pub const STEPS: [&str; 9] = ["search", "product", "cart", "line", "contact", "shipping options", "shipping option", "complete", "order"];
/// Products that are bought.
const PRODUCTS_MAX: usize = 500;
const PAGE: usize = 100;
/// Lines of each order.
const LINES: usize = 3;
/// Units of each of them that are put into stock first, so that no shopper is refused.
const UNITS: u32 = 1_000_000;
/// Consecutive numbers choose far-apart products; a prime, so that all have their turn.
const STRIDE: u64 = 7_919;
/// Longest that a read waits for its token.
const WAIT: &str = "wait=10";

struct Bought {
    id: String,
    sku: String,
    /// The longest word of its title.
    word: String,
}

struct Inner {
    http: reqwest::Client,
    url: String,
    staff: String,
    products: Vec<Bought>,
    total: usize,
    steps: [Mutex<Vec<u32>>; STEPS.len()],
}

/// Any number of shoppers; cheap to clone.
#[derive(Clone)]
pub struct Shoppers(Arc<Inner>);

struct Answer {
    token: Option<String>,
    body: Value,
    took_us: u32,
}

impl Answer {
    fn str(&self, pointer: &str) -> anyhow::Result<&str> {
        self.body.pointer(pointer).and_then(Value::as_str).with_context(|| format!("{pointer} is missing in {}", self.body))
    }
}

impl Shoppers {
    /// Looks what the shop has, and fills up the stock of what will be bought.
    pub async fn new(url: &str, staff: String) -> anyhow::Result<Self> {
        let http = reqwest::Client::builder().timeout(Duration::from_secs(30)).build()?;
        let mut inner = Inner { http, url: url.to_owned(), staff, products: Vec::new(), total: 0, steps: Default::default() };
        let mut cursor = String::new();
        while inner.products.len() < PRODUCTS_MAX {
            let page = inner.send(Method::GET, &format!("/v1/products?lang=en&limit={PAGE}{cursor}"), None, &[]).await?;
            inner.total = page.body["total"].as_u64().and_then(|total| usize::try_from(total).ok()).unwrap_or(0);
            let items = page.body["items"].as_array().context("the list has no items")?;
            inner.products.extend(items.iter().filter_map(bought));
            match page.body["next_cursor"].as_str() {
                Some(next) => cursor = format!("&cursor={next}"),
                None => break,
            }
        }
        inner.products.truncate(PRODUCTS_MAX);
        ensure!(inner.products.len() >= LINES, "the shop has too few products to buy {LINES}");
        for product in &inner.products {
            inner.receive(&product.sku, UNITS).await?;
        }
        Ok(Self(Arc::new(inner)))
    }

    /// Products of the shop.
    pub fn products(&self) -> usize {
        self.0.total
    }

    /// How long each step took, since this was last asked.
    pub fn take_steps(&self) -> Vec<Vec<u32>> {
        self.0.steps.iter().map(|took| std::mem::take(&mut *took.lock().unwrap_or_else(PoisonError::into_inner))).collect()
    }

    /// A whole visit: search, a product, a cart of three lines, address, shipping, payment, the order with the write's token.
    pub async fn buy(&self, number: u64) -> anyhow::Result<()> {
        let shop = &self.0;
        let first = shop.product(number);
        shop.step(0, Method::GET, &search_for(first), None, &[]).await?;
        shop.step(1, Method::GET, &format!("/v1/products/{}", first.id), None, &[]).await?;
        let cart = shop.step(2, Method::POST, "/v1/carts", Some(json!({ "currency": "EUR", "country": "DE" })), &[]).await?;
        let cart = format!("/v1/carts/{}", cart.str("/id")?);
        for line in 0..LINES as u64 {
            let wanted = json!({ "sku": shop.product(number + line).sku, "quantity": 1 });
            shop.step(3, Method::POST, &format!("{cart}/lines"), Some(wanted), &[]).await?;
        }
        let address = json!({ "name": "Ines Falk", "line1": "Hafenstraße 4", "city": "Kiel", "postal_code": "24103", "country": "DE" });
        let contact = json!({ "email": format!("shopper-{number}@example.org"), "shipping_address": address });
        shop.step(4, Method::PUT, &format!("{cart}/contact"), Some(contact), &[]).await?;
        let options = shop.step(5, Method::GET, &format!("{cart}/shipping-options"), None, &[]).await?;
        let chosen = json!({ "id": options.str("/items/0/id")? });
        shop.step(6, Method::PUT, &format!("{cart}/shipping-option"), Some(chosen), &[]).await?;
        let payment = json!({ "payment": { "provider": "sandbox", "token": "tok_approve" } });
        let order = shop.step(7, Method::POST, &format!("{cart}/checkout"), Some(payment), &[]).await?;
        ensure!(order.str("/status")? == "confirmed", "the order was not confirmed: {}", order.body);
        let path = format!("/v1/orders/{}?token={}", order.str("/id")?, order.str("/order_token")?);
        let token = order.token.as_deref().unwrap_or_default();
        let seen = shop.step(8, Method::GET, &path, None, &[("consistency-token", token), ("prefer", WAIT)]).await?;
        ensure!(seen.str("/status")? == "confirmed", "the order reads as {}", seen.body);
        Ok(())
    }

    pub async fn detail(&self, number: u64) -> anyhow::Result<()> {
        let path = format!("/v1/products/{}", self.0.product(number).id);
        self.0.send(Method::GET, &path, None, &[]).await.map(drop)
    }

    pub async fn search(&self, number: u64) -> anyhow::Result<()> {
        self.0.send(Method::GET, &search_for(self.0.product(number)), None, &[]).await.map(drop)
    }

    /// Microseconds from the answer of a write to the answer of a product page that has seen it.
    pub async fn seen_by_read_model(&self, number: u64) -> anyhow::Result<u32> {
        let product = self.0.product(number);
        self.0.seen(number, &format!("/v1/products/{}", product.id)).await
    }

    /// The same of a search.
    pub async fn seen_by_search(&self, number: u64) -> anyhow::Result<u32> {
        self.0.seen(number, &search_for(self.0.product(number))).await
    }
}

impl Inner {
    fn product(&self, number: u64) -> &Bought {
        let index = number.wrapping_mul(STRIDE) % self.products.len() as u64;
        // Below the length of a list, so below `usize`.
        &self.products[usize::try_from(index).unwrap_or(0)]
    }

    async fn receive(&self, sku: &str, quantity: u32) -> anyhow::Result<Answer> {
        let bearer = format!("Bearer {}", self.staff);
        let path = format!("/v1/admin/stock/{sku}/receive");
        let key = infra::clock::new_id().to_string();
        self.send(Method::POST, &path, Some(json!({ "quantity": quantity })), &[("authorization", &bearer), ("idempotency-key", &key)])
            .await
    }

    async fn seen(&self, number: u64, path: &str) -> anyhow::Result<u32> {
        let written = self.receive(&self.product(number).sku, 1).await?;
        let token = written.token.context("the write has no token")?;
        Ok(self.send(Method::GET, path, None, &[("consistency-token", &token), ("prefer", WAIT)]).await?.took_us)
    }

    async fn step(&self, step: usize, method: Method, path: &str, body: Option<Value>, headers: &[(&str, &str)]) -> anyhow::Result<Answer> {
        let answer = self.send(method, path, body, headers).await?;
        self.steps[step].lock().unwrap_or_else(PoisonError::into_inner).push(answer.took_us);
        Ok(answer)
    }

    async fn send(&self, method: Method, path: &str, body: Option<Value>, headers: &[(&str, &str)]) -> anyhow::Result<Answer> {
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
        ensure!(
            matches!(status, StatusCode::OK | StatusCode::CREATED),
            "{method} {path} was answered {status}: {}",
            String::from_utf8_lossy(&text)
        );
        let token = headers.get("consistency-token").and_then(|value| value.to_str().ok()).map(str::to_owned);
        Ok(Answer { token, body: serde_json::from_slice(&text)?, took_us })
    }
}

fn search_for(product: &Bought) -> String {
    format!("/v1/products?q={}&in_stock=true&facets=brand,category&limit=20&lang=en", product.word)
}

/// What there is to buy of an item of the list; nothing when it has no SKU, or no word to search for.
fn bought(item: &Value) -> Option<Bought> {
    let variant = item["variants"].as_array()?.first()?;
    let words = item["title"].as_str()?.split(|c: char| !c.is_ascii_alphanumeric());
    let word = words.max_by_key(|word| word.len()).filter(|word| word.len() > 2)?;
    Some(Bought { id: item["id"].as_str()?.to_owned(), sku: variant["sku"].as_str()?.to_owned(), word: word.to_owned() })
}
