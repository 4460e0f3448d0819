//! A server that goes away under load: whoever asks waits within a bound or is told when to come again; nothing is answered
//! that did not happen.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::time::{Duration, Instant};

use futures::future::join_all;
use reqwest::Method;
use serde_json::json;

use crate::shop::{Shop, pause, send_signal};

const CLIENTS: usize = 8;
/// Longest that an answer may take, whatever is away: the append's wait and what it takes to learn its outcome.
const ANSWER_MAX: Duration = Duration::from_secs(15);
/// Commands that are acknowledged before and after each blow.
const ACKNOWLEDGED: i64 = 100;

/// Receives one unit after the other, each until it is acknowledged; answers how many and how often it was told to come again.
async fn receive(shop: Arc<Shop>, acknowledged: Arc<AtomicI64>, stop: Arc<AtomicBool>) -> (i64, i64) {
    let (mut received, mut told_to_wait) = (0, 0);
    while !stop.load(Ordering::SeqCst) {
        let (bearer, key) = (format!("Bearer {}", shop.token), infra::clock::new_id().to_string());
        loop {
            let (asked, headers) = (Instant::now(), [("authorization", bearer.as_str()), ("idempotency-key", key.as_str())]);
            let body = Some(json!({ "quantity": 1 }));
            let answer = shop.send(Method::POST, "/v1/admin/stock/MOKA-3/receive", body, &headers).await.unwrap();
            assert!(asked.elapsed() < ANSWER_MAX, "{:?} for {}", asked.elapsed(), answer.text);
            if answer.status == 200 {
                break;
            }
            let answer = answer.expect(503);
            assert!(answer.headers.contains_key("retry-after"), "{}", answer.text);
            told_to_wait += 1;
            pause(Duration::from_millis(50)).await;
        }
        received += 1;
        acknowledged.fetch_add(1, Ordering::SeqCst);
    }
    (received, told_to_wait)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_goes_away_under_load_costs_time_and_nothing_else() {
    let shop = Arc::new(Shop::empty().await);
    shop.product("MOKA-3", "12.00", 0).await;
    let (acknowledged, stop) = (Arc::new(AtomicI64::new(0)), Arc::new(AtomicBool::new(false)));
    let clients: Vec<_> =
        (0..CLIENTS).map(|_| infra::task::spawn(receive(Arc::clone(&shop), Arc::clone(&acknowledged), Arc::clone(&stop)))).collect();
    let more = async |count: i64| {
        let from = acknowledged.load(Ordering::SeqCst);
        while acknowledged.load(Ordering::SeqCst) < from + count {
            pause(Duration::from_millis(5)).await;
        }
    };
    more(ACKNOWLEDGED).await;
    for server in ["nats_pid", "postgres_pid"] {
        let pid = shop.run_file()[server].as_u64().unwrap();
        send_signal("KILL", pid);
        more(ACKNOWLEDGED).await;
        while shop.run_file()[server] == pid {
            pause(Duration::from_millis(20)).await;
        }
        more(ACKNOWLEDGED).await;
    }

    // NATS stands still: orders are taken, and what they did is read.
    let nats = shop.run_file()["nats_pid"].as_u64().unwrap();
    send_signal("STOP", nats);
    more(ACKNOWLEDGED).await;
    let cart = shop.cart(&[("MOKA-3", 1)]).await;
    let order = shop.checkout(&cart, "tok_approve").await.expect(201);
    assert_eq!(order.str("/status"), "confirmed");
    let path = format!("/v1/orders/{}?token={}", order.str("/id"), order.str("/order_token"));
    assert_eq!(shop.get_after(&path, &order.token.unwrap()).await.expect(200).str("/status"), "confirmed");
    send_signal("CONT", nats);

    stop.store(true, Ordering::SeqCst);
    let (mut received, mut told_to_wait) = (0, 0);
    for ended in join_all(clients).await {
        let (units, waits) = ended.unwrap();
        (received, told_to_wait) = (received + units, told_to_wait + waits);
    }
    println!("{received} units received, {told_to_wait} answers 503");
    let last = shop.staff(Method::POST, "/v1/admin/stock/MOKA-3/receive", Some(json!({ "quantity": 1 }))).await.expect(200);
    let stock = shop.staff_after("/v1/admin/stock/MOKA-3", &last.token.unwrap()).await.expect(200);
    assert_eq!(stock.int("/on_hand"), received + 1, "each acknowledged unit is there, once");
    shop.cli(&["verify"]);
}
