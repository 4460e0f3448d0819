//! Many at once: no unit is sold twice, no cart becomes two orders, no order is charged twice.

mod money;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::future::join_all;

use crate::shop::{Answer, Shop, pause, times};

/// Longest wait for the last payment's outcome.
const OUTCOME_WAIT: Duration = Duration::from_secs(60);

/// `make test` runs few rounds, `make soak` all ten.
fn rounds() -> usize {
    times("DAYBOOK_TEST_ROUNDS", 2)
}

/// The newest of the answers' tokens: a read that waits for it has seen all of them.
fn newest(answers: &[Answer]) -> String {
    let position = |token: &String| token.rsplit('.').next().unwrap().parse::<i64>().unwrap();
    answers.iter().filter_map(|a| a.token.clone()).max_by_key(position).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn two_hundred_shoppers_want_fifty_units_and_fifty_get_one() {
    let shop = Arc::new(Shop::empty().await);
    for round in 0..rounds() {
        let sku = format!("HOT-{round}");
        shop.product(&sku, "25.00", 50).await;
        let began = Instant::now();
        let shoppers = (0..200).map(|_| {
            let (shop, sku) = (Arc::clone(&shop), sku.clone());
            async move {
                let cart = shop.cart(&[(&sku, 1)]).await;
                shop.checkout(&cart, "tok_approve").await
            }
        });
        let answers = join_all(shoppers).await;
        let took = began.elapsed();
        let placed = answers.iter().filter(|a| a.status == 201).count();
        let refused = answers.iter().filter(|a| a.status == 409 && a.body["code"] == "insufficient_stock").count();
        println!("round {round}: {placed} placed, {refused} refused in {took:?}");
        assert_eq!((placed, refused), (50, 150), "{:?}", answers.iter().map(|a| a.status.as_u16()).collect::<Vec<_>>());
        // On a busy machine some are answered before their payment's outcome is known.
        let stock = loop {
            let stock = shop.staff_after(&format!("/v1/admin/stock/{sku}"), &newest(&answers)).await.expect(200);
            if stock.int("/reserved") == 0 {
                break stock;
            }
            assert!(began.elapsed() < OUTCOME_WAIT, "{}", stock.text);
            pause(Duration::from_millis(20)).await;
        };
        assert_eq!((stock.int("/on_hand"), stock.int("/allocated"), stock.int("/available")), (50, 50, 0));
    }
    let verified = shop.cli_code(&["verify"]);
    assert_eq!(verified.0, 0, "{}{}", verified.1, verified.2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hundred_shoppers_want_the_last_unit_and_one_gets_it() {
    let shop = Arc::new(Shop::empty().await);
    for round in 0..rounds() {
        let sku = format!("LAST-{round}");
        shop.product(&sku, "25.00", 1).await;
        let line = [(sku.as_str(), 1)];
        let carts = join_all((0..100).map(|_| shop.cart(&line))).await;
        let answers = join_all(carts.iter().map(|cart| shop.checkout(cart, "tok_approve"))).await;
        let placed = answers.iter().filter(|a| a.status == 201).count();
        let refused = answers.iter().filter(|a| a.status == 409 && a.body["code"] == "insufficient_stock").count();
        assert_eq!((placed, refused), (1, 99), "round {round}");
    }
    let verified = shop.cli_code(&["verify"]);
    assert_eq!(verified.0, 0, "{}{}", verified.1, verified.2);
}

#[tokio::test(flavor = "multi_thread")]
async fn two_hundred_checkouts_of_one_cart_make_one_order() {
    let shop = Arc::new(Shop::empty().await);
    shop.product("ONCE-1", "12.00", 500).await;
    let mut last = String::new();
    for round in 0..rounds() {
        let cart = shop.cart(&[("ONCE-1", 1)]).await;
        let calls = (0..200).map(|_| {
            let (shop, cart) = (Arc::clone(&shop), cart.clone());
            async move { shop.checkout(&cart, "tok_approve").await.expect(201) }
        });
        let answers = join_all(calls).await;
        last = newest(&answers);
        let orders: BTreeSet<String> = answers.iter().map(|a| a.str("/id")).collect();
        assert_eq!(orders.len(), 1, "round {round}");
        assert!(answers.iter().all(|a| a.body["status"] == "confirmed"), "round {round}");
    }
    let stock = shop.staff_after("/v1/admin/stock/ONCE-1", &last).await.expect(200);
    assert_eq!(stock.int("/allocated"), i64::try_from(rounds()).unwrap());
}
