//! Many at once about the money of one order: exactly as many succeed as may, and the provider's books say the same.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use futures::future::join_all;
use hmac::{Hmac, KeyInit, Mac};
use reqwest::Method;
use serde_json::{Value, json};
use sha2::Sha256;

use super::rounds;
use crate::payment::View;
use crate::shop::{Answer, Shop, pause};

const CALLERS: usize = 100;
/// Longest wait for the provider's last word.
const SETTLED_WAIT: Duration = Duration::from_secs(60);
const SKU: &str = "RACE-1";

/// A shop whose orders are captured by hand or by itself.
async fn shop(capture: &str) -> Arc<Shop> {
    let shop = Shop::with_settings(&[("DAYBOOK_PAYMENTS__CAPTURE", capture), ("DAYBOOK_PAYMENTS__QUERY_AFTER_MS", "500")]).await;
    shop.product(SKU, "10.00", 10_000).await;
    Arc::new(shop)
}

async fn order(shop: &Shop, units: u32, token: &str, wait: &str) -> (Answer, View) {
    let cart = shop.cart(&[(SKU, units)]).await;
    let body = json!({ "payment": { "provider": "sandbox", "token": token } });
    let path = format!("/v1/carts/{cart}/checkout");
    let order = shop.send(Method::POST, &path, Some(body), &[("prefer", wait)]).await.unwrap().expect(201);
    let view = View::of(&order, SKU);
    (order, view)
}

/// So many calls at the same time, the paths in turn.
async fn at_once(shop: &Arc<Shop>, paths: &[(String, Value)]) -> Vec<Answer> {
    let bearer = format!("Bearer {}", shop.token);
    let calls = (0..CALLERS).map(|n| {
        let (shop, bearer, (path, body)) = (Arc::clone(shop), bearer.clone(), paths[n % paths.len()].clone());
        async move { shop.send(Method::POST, &path, Some(body), &[("authorization", bearer.as_str())]).await.unwrap() }
    });
    join_all(calls).await
}

/// How often each was answered: `200`, or the problem's code.
fn tally(answers: &[Answer]) -> BTreeMap<String, usize> {
    let mut tally = BTreeMap::new();
    for answer in answers {
        let word = answer.body["code"].as_str().map_or_else(|| answer.status.as_str().to_owned(), str::to_owned);
        *tally.entry(word).or_default() += 1;
    }
    tally
}

fn verified(shop: &Shop) {
    let (code, out, err) = shop.cli_code(&["verify"]);
    assert_eq!(code, 0, "{out}{err}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_storefront_and_a_hundred_webhooks_confirm_an_order_once() {
    let shop = shop("automatic").await;
    let secrets: Value = serde_json::from_str(&std::fs::read_to_string(shop.dir.join("secrets.json")).unwrap()).unwrap();
    let secret = secrets["sandbox_webhook_secret"].as_str().unwrap().to_owned();
    for _ in 0..rounds() {
        let cart = shop.cart(&[(SKU, 1)]).await;
        let placed = shop.checkout(&cart, "tok_approve").await.expect(201);
        let view = View::of(&placed, SKU);
        let events = provider_events(&shop, &placed.str("/payments/0/id")).await;
        let calls = (0..CALLERS).map(|n| {
            let (shop, cart, event, secret) = (Arc::clone(&shop), cart.clone(), events[n % events.len()].clone(), secret.clone());
            async move {
                if n % 4 == 0 {
                    return shop.checkout(&cart, "tok_approve").await.expect(201);
                }
                webhook(&shop, &secret, &event).await.expect(204)
            }
        });
        join_all(calls).await;
        let paid = ["confirmed", "paid"].map(str::to_owned);
        view.until(&shop, |seen| seen[..2] == paid && seen[3] == "1/1/0/0").await.unwrap();
    }
    let pool = shop.pool().await;
    for event_type in ["OrderConfirmed", "PaymentAuthorized", "PaymentCaptured", "StockAllocated"] {
        let count: i64 =
            sqlx::query_scalar("SELECT count(*) FROM events WHERE event_type = $1").bind(event_type).fetch_one(&pool).await.unwrap();
        assert_eq!(count, i64::try_from(rounds()).unwrap(), "{event_type}");
    }
    verified(&shop);
}

/// All that the provider has said of a payment, as it would say it again.
async fn provider_events(shop: &Shop, payment_id: &str) -> Vec<Value> {
    let url = shop.run_file()["sandbox_url"].as_str().unwrap().to_owned();
    let until = Instant::now() + SETTLED_WAIT;
    loop {
        let list: Value = shop.http.get(format!("{url}/v1/operations?after=0&limit=1000")).send().await.unwrap().json().await.unwrap();
        let ours = list["items"].as_array().unwrap().iter().filter(|item| item["payment"]["merchant_reference"] == payment_id);
        let events: Vec<Value> = ours
            .map(|item| {
                let id = item["operation"]["event_id"].clone();
                json!({ "type": "payment.updated", "id": id, "created": "2026-01-01T00:00:00Z", "data": item })
            })
            .collect();
        // The authorisation's and the capture's.
        if events.len() >= 2 {
            return events;
        }
        assert!(Instant::now() < until, "{list}");
        pause(Duration::from_millis(20)).await;
    }
}

async fn webhook(shop: &Shop, secret: &str, event: &Value) -> Answer {
    let id = event["id"].as_str().unwrap();
    let key = STANDARD.decode(secret.strip_prefix("whsec_").unwrap()).unwrap();
    let (body, timestamp) = (event.to_string(), infra::clock::now().timestamp().to_string());
    let mut mac = Hmac::<Sha256>::new_from_slice(&key).unwrap();
    mac.update(format!("{id}.{timestamp}.{body}").as_bytes());
    let signature = format!("v1,{}", STANDARD.encode(mac.finalize().into_bytes()));
    let headers = [("webhook-id", id), ("webhook-timestamp", timestamp.as_str()), ("webhook-signature", signature.as_str())];
    shop.send(Method::POST, "/v1/webhooks/payments/sandbox", Some(event.clone()), &headers).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hundred_attempts_to_pay_one_order_charge_it_once() {
    let shop = shop("automatic").await;
    for round in 0..rounds() {
        let (declined, view) = order(&shop, 1, "tok_decline", "wait=10").await;
        assert_eq!(declined.str("/payment_status"), "failed");
        let path = format!("/v1/orders/{}/payments?token={}", view.id, view.token);
        let answers = at_once(&shop, &[(path, json!({ "provider": "sandbox", "token": "tok_approve" }))]).await;
        let tally = tally(&answers);
        assert_eq!(tally.get("201"), Some(&1), "round {round}: {tally:?}");
        let refused = tally.get("payment_in_progress").unwrap_or(&0) + tally.get("order_needs_no_payment").unwrap_or(&0);
        assert_eq!(refused, CALLERS - 1, "round {round}: {tally:?}");
        view.until(&shop, |seen| seen[0] == "confirmed" && seen[1] == "paid").await.unwrap();
        let captured = view.operations(&shop).await;
        let charged: i64 = captured.as_array().unwrap().iter().map(|payment| payment["captured"]["amount"].as_i64().unwrap()).sum();
        assert_eq!(charged, view.total, "round {round}: {captured}");
    }
    verified(&shop);
}

#[tokio::test(flavor = "multi_thread")]
async fn of_captures_and_voids_at_once_one_has_the_money() {
    let shop = shop("manual").await;
    for round in 0..rounds() {
        let (placed, view) = order(&shop, 1, "tok_approve", "wait=10").await;
        let payment = format!("/v1/admin/orders/{}/payments/{}", view.id, placed.str("/payments/0/id"));
        let answers = at_once(&shop, &[(format!("{payment}/capture"), json!({})), (format!("{payment}/void"), json!({}))]).await;
        let captures: Vec<Answer> = answers.iter().step_by(2).cloned().collect();
        let voids: Vec<Answer> = answers.iter().skip(1).step_by(2).cloned().collect();
        let (captured, voided) = (tally(&captures), tally(&voids));
        // A void that is under way is not asked for twice: the others are answered as the first.
        let is_captured = captured.get("200") == Some(&1) && !voided.contains_key("200");
        let is_voided = !captured.contains_key("200") && voided.contains_key("200");
        assert!(is_captured || is_voided, "round {round}: {captured:?} {voided:?}");
        let ends = if is_captured { ["confirmed", "paid", "1/1/0/0"] } else { ["confirmed!", "voided", "1/0/0/1"] };
        view.until(&shop, |seen| [&seen[0], &seen[1], &seen[3]] == ends).await.unwrap();
    }
    verified(&shop);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_line_is_refunded_once_however_many_ask() {
    let shop = shop("automatic").await;
    for round in 0..rounds() {
        let (_, view) = order(&shop, 3, "tok_approve", "wait=10").await;
        view.until(&shop, |seen| seen[1] == "paid").await.unwrap();
        let path = format!("/v1/admin/orders/{}/refunds", view.id);
        let unit = json!({ "lines": [{ "line_id": SKU, "quantity": 1 }], "reason": "broken" });
        let tally = tally(&at_once(&shop, &[(path, unit)]).await);
        assert_eq!(tally, BTreeMap::from([("200".to_owned(), 3), ("line_not_refundable".to_owned(), CALLERS - 3)]), "round {round}");
        view.until(&shop, |seen| seen[1] == "partially_refunded").await.unwrap();
        let shown = view.order(&shop).await;
        assert_eq!(shown.int("/totals/refunded/amount"), shown.int("/lines/0/total/amount"), "round {round}: {}", shown.text);
    }
    verified(&shop);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_order_is_either_cancelled_or_shipped() {
    let shop = shop("automatic").await;
    for round in 0..rounds() {
        let (_, view) = order(&shop, 2, "tok_approve", "wait=10").await;
        view.until(&shop, |seen| seen[1] == "paid").await.unwrap();
        let cancel = (format!("/v1/orders/{}/cancel?token={}", view.id, view.token), json!({}));
        let ship = (format!("/v1/admin/orders/{}/fulfilments", view.id), json!({}));
        let answers = at_once(&shop, &[cancel, ship]).await;
        let cancels: Vec<Answer> = answers.iter().step_by(2).cloned().collect();
        let ships: Vec<Answer> = answers.iter().skip(1).step_by(2).cloned().collect();
        let (cancelled, shipped) = (tally(&cancels), tally(&ships));
        let is_cancelled = cancelled.contains_key("200") && !shipped.contains_key("200");
        let is_shipped = !cancelled.contains_key("200") && shipped.get("200") == Some(&1);
        assert!(is_cancelled || is_shipped, "round {round}: {cancelled:?} {shipped:?}");
        let ends = if is_cancelled { ["cancelled", "refunded", "1/1/1/0"] } else { ["completed", "paid", "1/1/0/0"] };
        view.until(&shop, |seen| [&seen[0], &seen[1], &seen[3]] == ends).await.unwrap();
    }
    verified(&shop);
}

#[tokio::test(flavor = "multi_thread")]
async fn money_that_comes_at_the_deadline_buys_the_goods_or_goes_back() {
    let settings = [("DAYBOOK_STORE__PAYMENT_WINDOW_S", "6"), ("DAYBOOK_PAYMENTS__QUERY_AFTER_MS", "500")];
    let shop = Arc::new(Shop::with_settings(&settings).await);
    shop.product(SKU, "10.00", 10_000).await;
    for round in 0..rounds() {
        let before = shop.staff(Method::GET, &format!("/v1/admin/stock/{SKU}"), None).await.expect(200).int("/allocated");
        let orders = join_all((0..CALLERS).map(|_| async {
            let (placed, view) = order(&shop, 1, "tok_3ds", "wait=10").await;
            (placed, view, Instant::now())
        }))
        .await;
        let acts = orders.iter().enumerate().map(|(n, (placed, _, answered))| {
            let (shop, url) = (Arc::clone(&shop), placed.str("/payments/0/next_action/url"));
            // Spread over the second around the deadline.
            let at = *answered + Duration::from_millis(5_500 + 10 * u64::try_from(n).unwrap());
            async move {
                pause(at.saturating_duration_since(Instant::now())).await;
                let _acted = shop.http.post(url).json(&json!({ "result": "success" })).send().await.unwrap();
            }
        });
        join_all(acts).await;
        let mut confirmed = 0;
        for (_, view, _) in &orders {
            let ends = |seen: &[String; 4]| match seen[0].as_str() {
                "confirmed" => seen[1] == "paid" && seen[3] == "1/1/0/0",
                "expired" => seen[1] == "voided" && ["0/0/0/0", "1/0/0/1"].contains(&seen[3].as_str()),
                _ => false,
            };
            view.until(&shop, ends).await.unwrap();
            confirmed += i64::from(view.order(&shop).await.str("/status") == "confirmed");
        }
        println!("round {round}: {confirmed} of {} paid in time", orders.len());
        let stock = shop.staff(Method::GET, &format!("/v1/admin/stock/{SKU}"), None).await.expect(200);
        assert_eq!((stock.int("/allocated") - before, stock.int("/reserved")), (confirmed, 0), "round {round}");
    }
    verified(&shop);
}
