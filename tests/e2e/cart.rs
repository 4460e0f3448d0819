//! Carts over HTTP: what they still need, what they may hold, whose they are, and when they are over.

use std::time::Duration;

use reqwest::Method;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::shop::{Answer, Shop, contact, pause};

/// As a customer.
async fn customer(shop: &Shop, token: &str, method: Method, path: &str) -> Answer {
    let bearer = format!("Bearer {token}");
    shop.send(method, path, None, &[("authorization", &bearer)]).await.unwrap()
}

async fn new_cart(shop: &Shop, currency: &str, lines: &[(&str, u32)]) -> String {
    let id = shop.post("/v1/carts", json!({ "currency": currency, "country": "DE" })).await.expect(201).str("/id");
    for (sku, quantity) in lines {
        add(shop, &id, sku, *quantity).await.expect(200);
    }
    id
}

async fn add(shop: &Shop, cart: &str, sku: &str, quantity: u32) -> Answer {
    shop.post(&format!("/v1/carts/{cart}/lines"), json!({ "sku": sku, "quantity": quantity })).await
}

fn lines(cart: &Answer) -> Vec<(String, i64)> {
    let lines = cart.body["lines"].as_array().unwrap();
    lines.iter().map(|line| (line["sku"].as_str().unwrap().to_owned(), line["quantity"].as_i64().unwrap())).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cart_says_what_it_needs_and_holds_no_more_than_the_shop_allows() {
    let shop = Shop::with_settings(&[("DAYBOOK_STORE__CART_LINES_MAX", "2"), ("DAYBOOK_STORE__LINE_QUANTITY_MAX", "5")]).await;
    for sku in ["MUGS-1", "BOWL-1", "DISH-1"] {
        shop.product(sku, "10.00", 50).await;
    }
    let cart = new_cart(&shop, "EUR", &[]).await;
    let missing = |answer: &Answer| answer.body["missing"].clone();
    let path = format!("/v1/carts/{cart}");
    assert_eq!(missing(&shop.get(&path).await.expect(200)), json!(["lines", "contact"]));
    assert_eq!(missing(&add(&shop, &cart, "MUGS-1", 4).await.expect(200)), json!(["contact", "shipping_option"]));
    let refused = add(&shop, &cart, "MUGS-1", 2).await.expect(422);
    assert_eq!(refused.str("/errors/0/code"), "quantity_limit");
    add(&shop, &cart, "BOWL-1", 1).await.expect(200);
    let refused = add(&shop, &cart, "DISH-1", 1).await.expect(422);
    assert_eq!(refused.str("/errors/0/code"), "line_limit");
    let known = shop.put(&format!("{path}/contact"), contact("ines@example.org", "Ines")).await.expect(200);
    assert_eq!(missing(&known), json!(["shipping_option"]));
    assert_eq!(shop.checkout(&cart, "tok_approve").await.expect(422).body["missing"], json!(["shipping_option"]));
    let option = shop.get(&format!("{path}/shipping-options")).await.expect(200).str("/items/0/id");
    let chosen = shop.put(&format!("{path}/shipping-option"), json!({ "id": option })).await.expect(200);
    assert_eq!((missing(&chosen), chosen.body["lines"][0]["price_changed"].clone()), (json!([]), json!(false)));

    // A price that rose is shown, and charged only with consent.
    shop.product("MUGS-1", "11.00", 50).await;
    let renamed = shop.put(&format!("{path}/contact"), contact("ines@example.org", "Ines Falk")).await.expect(200);
    assert_eq!((renamed.body["lines"][0]["price_changed"].clone(), renamed.int("/lines/0/unit_price/amount")), (json!(true), 1_100));
    let changed = shop.checkout(&cart, "tok_approve").await.expect(409);
    assert_eq!((changed.str("/code").as_str(), changed.int("/current_total/amount")), ("cart_changed", 4 * 1_100 + 1_000 + 490));

    // Frozen while its order waits for its payment, open again when that is given up.
    let body = json!({ "payment": { "provider": "sandbox", "token": "tok_decline" }, "expected_total": 5_890 });
    let order = shop.post(&format!("{path}/checkout"), body).await.expect(201);
    assert_eq!(add(&shop, &cart, "BOWL-1", 1).await.expect(409).str("/code"), "cart_closed");
    let cancel = format!("/v1/orders/{}/cancel?token={}", order.str("/id"), order.str("/order_token"));
    shop.post(&cancel, json!({})).await.expect(200);
    assert_eq!(add(&shop, &cart, "BOWL-1", 1).await.expect(200).str("/status"), "open");
    shop.cli(&["verify"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_customer_takes_a_guests_cart_and_finds_it_everywhere() {
    let shop = Shop::empty().await;
    shop.product("MUGS-1", "10.00", 2_000).await;
    shop.product("BOWL-1", "12.00", 50).await;
    let login = |customer: Uuid| shop.cli(&["token", "--role", "shopper", "--subject", &customer.to_string()]).trim().to_owned();
    let (ada, eve) = (login(Uuid::new_v4()), login(Uuid::new_v4()));
    customer(&shop, &ada, Method::GET, "/v1/me/cart").await.expect(404);
    let first = new_cart(&shop, "EUR", &[("MUGS-1", 2)]).await;
    let claim = |cart: &str| format!("/v1/carts/{cart}/claim");
    shop.post(&claim(&first), json!({})).await.expect(401);
    let claimed = customer(&shop, &ada, Method::POST, &claim(&first)).await.expect(200);
    assert_eq!((claimed.str("/id"), lines(&claimed)), (first.clone(), vec![("MUGS-1".to_owned(), 2)]));
    customer(&shop, &ada, Method::POST, &claim(&first)).await.expect(200);
    customer(&shop, &eve, Method::POST, &claim(&first)).await.expect(404);

    // On another device, where nobody knows the cart's id, it has one that works as well.
    let own = customer(&shop, &ada, Method::GET, "/v1/me/cart").await.expect(200).str("/id");
    assert_eq!(lines(&add(&shop, &own, "BOWL-1", 1).await.expect(200)), [("MUGS-1".to_owned(), 2), ("BOWL-1".to_owned(), 1)]);
    let forged = format!("{}0", &own[..own.len() - 1]);
    add(&shop, if forged == own { "none" } else { &forged }, "BOWL-1", 1).await.expect(404);

    // What she put into another cart before she logged in comes on top, as much as a line holds; that cart is over.
    let second = new_cart(&shop, "EUR", &[("MUGS-1", 998), ("BOWL-1", 3)]).await;
    let merged = customer(&shop, &ada, Method::POST, &claim(&second)).await.expect(200);
    assert_eq!((merged.str("/id"), lines(&merged)), (own.clone(), vec![("MUGS-1".to_owned(), 999), ("BOWL-1".to_owned(), 4)]));
    assert_eq!(add(&shop, &second, "BOWL-1", 1).await.expect(409).str("/code"), "cart_closed");
    assert_eq!(customer(&shop, &ada, Method::POST, &claim(&second)).await.expect(409).str("/code"), "cart_closed");
    let dollars = new_cart(&shop, "USD", &[]).await;
    let taken = customer(&shop, &eve, Method::POST, &claim(&dollars)).await.expect(200);
    assert_eq!(taken.str("/currency"), "USD");

    // Checked out by either id it is one order, of the customer; then the next cart is hers.
    shop.put(&format!("/v1/carts/{own}/contact"), contact("ada@example.org", "Ada")).await.expect(200);
    let option = shop.get(&format!("/v1/carts/{own}/shipping-options")).await.expect(200).str("/items/0/id");
    shop.put(&format!("/v1/carts/{first}/shipping-option"), json!({ "id": option })).await.expect(200);
    let order = shop.checkout(&own, "tok_approve").await.expect(201);
    assert_eq!(shop.checkout(&first, "tok_approve").await.expect(201).str("/id"), order.str("/id"));
    customer(&shop, &ada, Method::GET, "/v1/me/cart").await.expect(404);
    let third = new_cart(&shop, "EUR", &[("BOWL-1", 1)]).await;
    assert_eq!(customer(&shop, &ada, Method::POST, &claim(&third)).await.expect(200).str("/id"), third);
    shop.cli(&["verify"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cart_that_nobody_touches_expires_and_one_that_is_being_paid_does_not() {
    let shop = Shop::with_settings(&[("DAYBOOK_STORE__CART_TTL_S", "2")]).await;
    shop.product("MUGS-1", "10.00", 50).await;
    let paying = shop.cart(&[("MUGS-1", 1)]).await;
    shop.checkout(&paying, "tok_decline").await.expect(201);
    let left = new_cart(&shop, "EUR", &[("MUGS-1", 1)]).await;
    let pool = shop.pool().await;
    while shop.get(&format!("/v1/carts/{left}")).await.expect(200).str("/status") != "expired" {
        pause(Duration::from_millis(50)).await;
    }
    assert_eq!(add(&shop, &left, "MUGS-1", 1).await.expect(409).str("/code"), "cart_closed");
    assert_eq!(shop.checkout(&left, "tok_approve").await.expect(409).str("/code"), "cart_closed");
    let status = shop.get(&format!("/v1/carts/{paying}")).await.expect(200).str("/status");
    assert_eq!(status, "completing");
    let waited: (bool, i64) = sqlx::query_as(
        "SELECT bool_and(over.recorded_at >= last.recorded_at + interval '2 s'), count(*) FROM events over
         JOIN events last ON last.aggregate_type = 'cart' AND last.aggregate_id = over.aggregate_id AND last.sequence = over.sequence - 1
         WHERE over.event_type = 'CartExpired'",
    )
    .fetch_one(&pool)
    .await
    .unwrap();
    assert_eq!(waited, (true, 1));
    let actor: Value =
        sqlx::query_scalar("SELECT metadata::json -> 'actor' FROM events WHERE event_type = 'CartExpired'").fetch_one(&pool).await.unwrap();
    assert_eq!(actor["id"], "cart_expiry");
    shop.cli(&["verify"]);
}
