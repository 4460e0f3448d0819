//! `kill -9` under load: what was acknowledged is there, exactly once.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use futures::future::join_all;
use reqwest::Method;
use serde_json::json;
use tokio::sync::Mutex;

use crate::shop::{Shop, pause, times};

const SHOPPERS: usize = 16;
/// Floors between two kills.
const ACKNOWLEDGED_MIN: usize = 50;
/// Longest that anything may stay undone after the last start.
const STUCK_MAX: Duration = Duration::from_secs(60);

fn kills() -> usize {
    times("DAYBOOK_TEST_KILLS", 4)
}

/// What the clients know to be done: their own file of acknowledgements.
#[derive(Default)]
struct Acknowledged {
    /// `(cart, sku)` of lines added, each in a cart of its own.
    lines: Mutex<Vec<(String, i64)>>,
    /// Orders that were answered.
    orders: Mutex<BTreeSet<String>>,
    commands: AtomicUsize,
    in_flight: AtomicUsize,
}

#[tokio::test(flavor = "multi_thread")]
async fn every_acknowledged_command_survives_a_kill_exactly_once() {
    let mut shop = Shop::empty().await;
    shop.product("STOCK-1", "5.00", 100_000).await;
    let port = shop.url.rsplit(':').next().unwrap().to_owned();
    let known = Arc::new(Acknowledged::default());
    let mut in_flight_at_kill = Vec::new();
    for kill in 0..kills() {
        let stop = Arc::new(AtomicBool::new(false));
        let before = known.commands.load(Ordering::SeqCst);
        let url = shop.url.clone();
        let load: Vec<_> =
            (0..SHOPPERS).map(|n| infra::task::spawn(buy_until(url.clone(), n, Arc::clone(&known), Arc::clone(&stop)))).collect();
        while known.commands.load(Ordering::SeqCst) < before + ACKNOWLEDGED_MIN || known.in_flight.load(Ordering::SeqCst) == 0 {
            pause(Duration::from_millis(2)).await;
        }
        in_flight_at_kill.push(known.in_flight.load(Ordering::SeqCst));
        shop.kill(kill % 2 == 1);
        stop.store(true, Ordering::SeqCst);
        join_all(load).await;
        shop.restart().await;
    }
    println!(
        "{} kills, {} commands acknowledged, in flight at the kills: {in_flight_at_kill:?}, first port {port}",
        kills(),
        known.commands.load(Ordering::SeqCst)
    );
    assert!(in_flight_at_kill.iter().all(|&n| n >= 1));
    nothing_is_stuck(&shop).await;

    for (cart, quantity) in known.lines.lock().await.iter() {
        let found = shop.get(&format!("/v1/carts/{cart}")).await.expect(200);
        assert_eq!(found.int("/lines/0/quantity"), *quantity, "a line was lost or doubled: {}", found.text);
    }
    for order in known.orders.lock().await.iter() {
        let found = shop.staff(Method::GET, &format!("/v1/orders/{order}"), None).await.expect(200);
        assert_eq!(found.str("/status"), "confirmed", "{}", found.text);
    }
    let verified = shop.cli_code(&["verify"]);
    assert_eq!(verified.0, 0, "{}{}", verified.1, verified.2);
}

/// What a killed program left undone is done by the next one: calls to the provider, answers that were promised, orders.
async fn nothing_is_stuck(shop: &Shop) {
    let (pool, until) = (shop.pool().await, Instant::now() + STUCK_MAX);
    loop {
        let left: (i64, i64, i64) = sqlx::query_as(
            r#"SELECT (SELECT count(*) FROM effect), (SELECT count(*) FROM idempotency WHERE state = 'running'),
                      (SELECT count(*) FROM order_v2."order" WHERE status <> 'confirmed')"#,
        )
        .fetch_one(&pool)
        .await
        .unwrap();
        if left == (0, 0, 0) {
            return;
        }
        assert!(Instant::now() < until, "after {STUCK_MAX:?}: {left:?} calls, answers, orders");
        pause(Duration::from_millis(50)).await;
    }
}

/// Buys one thing after the other; writes down what was acknowledged, nothing else.
async fn buy_until(url: String, n: usize, known: Arc<Acknowledged>, stop: Arc<AtomicBool>) {
    let http = reqwest::Client::builder().timeout(Duration::from_secs(10)).build().unwrap();
    let send = async |method: Method, path: String, body: serde_json::Value| {
        known.in_flight.fetch_add(1, Ordering::SeqCst);
        let answer = http.request(method, format!("{url}{path}")).json(&body).send().await;
        let answer = match answer {
            Ok(response) => Some((response.status().as_u16(), response.json::<serde_json::Value>().await.unwrap_or_default())),
            Err(_) => None,
        };
        known.in_flight.fetch_sub(1, Ordering::SeqCst);
        let (status, body) = answer?;
        if (200..300).contains(&status) {
            known.commands.fetch_add(1, Ordering::SeqCst);
            return Some(body);
        }
        None
    };
    while !stop.load(Ordering::SeqCst) {
        let bought = async {
            let cart = send(Method::POST, "/v1/carts".to_owned(), json!({ "currency": "EUR", "country": "DE" })).await?;
            let cart = cart["id"].as_str()?.to_owned();
            let quantity = 1 + i64::try_from(n % 3).unwrap();
            send(Method::POST, format!("/v1/carts/{cart}/lines"), json!({ "sku": "STOCK-1", "quantity": quantity })).await?;
            known.lines.lock().await.push((cart.clone(), quantity));
            send(Method::PUT, format!("/v1/carts/{cart}/contact"), crate::shop::contact("kim@example.org", "Kim Doe")).await?;
            let options =
                http.get(format!("{url}/v1/carts/{cart}/shipping-options")).send().await.ok()?.json::<serde_json::Value>().await.ok()?;
            send(Method::PUT, format!("/v1/carts/{cart}/shipping-option"), json!({ "id": options["items"][0]["id"] })).await?;
            let body = json!({ "payment": { "provider": "sandbox", "token": "tok_approve" } });
            let order = send(Method::POST, format!("/v1/carts/{cart}/checkout"), body).await?;
            if order["status"] == "confirmed" {
                known.orders.lock().await.insert(order["id"].as_str()?.to_owned());
            }
            Some(())
        };
        bought.await;
    }
}
