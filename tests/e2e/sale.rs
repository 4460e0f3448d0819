//! One sale, from search to the order's history; and the errors that a shopper meets on the way.

use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use reqwest::Method;
use serde_json::json;

use crate::shop::Shop;

#[tokio::test(flavor = "multi_thread")]
async fn a_shopper_finds_buys_and_sees_the_order_while_an_analyst_follows_the_log() {
    let shop = Shop::with_demo().await;

    // The script in the documents, as it stands.
    let script = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/first-sale.sh");
    let token = shop.token.clone();
    let output = Command::new("bash").arg(script).env("SHOP", &shop.url).env("STAFF_TOKEN", token).output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}\n{}", shop.log());
    assert!(said.contains("confirmed"), "{said}");

    // A sold-out unit is no longer offered.
    shop.product("LAST-ONE", "19.99", 1).await;
    let found = shop.get("/v1/products?sku=LAST-ONE&in_stock=true").await.expect(200);
    assert_eq!(found.int("/total"), 1, "{}", found.text);
    let cart = shop.cart(&[("LAST-ONE", 1)]).await;
    let order = shop.checkout(&cart, "tok_approve").await.expect(201);
    assert_eq!(order.str("/status"), "confirmed");
    let token = order.token.clone().unwrap();
    let left = shop.get_after("/v1/products?sku=LAST-ONE&in_stock=true", &token).await.expect(200);
    assert_eq!(left.int("/total"), 0, "{}", left.text);

    // The second shopper is told what is left.
    let late = shop.cart(&[("LAST-ONE", 1)]).await;
    let refused = shop.checkout(&late, "tok_approve").await.expect(409);
    assert_eq!(refused.str("/code"), "insufficient_stock");
    assert_eq!(refused.int("/lines/0/available"), 0);

    // The order's own history: everything has one cause.
    let id = order.str("/id");
    let history = shop.get(&format!("/v1/orders/{id}/events?token={}", order.str("/order_token"))).await.expect(200);
    let types: Vec<&str> = history.body["items"].as_array().unwrap().iter().map(|e| e["type"].as_str().unwrap()).collect();
    assert!(types.contains(&"order.OrderPlaced") && types.contains(&"order.OrderConfirmed"), "{types:?}");

    // A guest without the token, and somebody else, find nothing.
    shop.get(&format!("/v1/orders/{id}")).await.expect(404);
    shop.get(&format!("/v1/orders/{id}?token=wrong")).await.expect(404);

    // What the shop holds is what the log says.
    let verified = shop.cli_code(&["verify"]);
    assert_eq!(verified.0, 0, "{}{}", verified.1, verified.2);
}

/// Whoever looks while the shop sells is not told of wrongs that are none, nor, while read models are made anew, that there is
/// nothing on sale.
#[tokio::test(flavor = "multi_thread")]
async fn a_shop_that_sells_is_verified_and_its_read_models_are_made_anew() {
    let shop = Arc::new(Shop::empty().await);
    shop.product("CUP-1", "5.00", 100_000).await;
    let sold = Arc::new(AtomicU32::new(0));
    let selling: Vec<_> = (0..4)
        .map(|_| {
            let (shop, sold) = (Arc::clone(&shop), Arc::clone(&sold));
            infra::task::spawn(async move {
                loop {
                    buy_patiently(&shop, "CUP-1").await;
                    sold.fetch_add(1, Ordering::SeqCst);
                }
            })
        })
        .collect();
    for _ in 0..3 {
        let before = sold.load(Ordering::SeqCst);
        let (code, out, err) = shop.cli_code(&["verify"]);
        assert_eq!(code, 0, "{out}{err}");
        for projection in ["product", "stock", "cart", "order"] {
            shop.cli(&["rebuild", projection, "--watch"]);
        }
        assert!(sold.load(Ordering::SeqCst) > before, "nobody bought meanwhile");
        let failed = selling.iter().any(tokio::task::JoinHandle::is_finished);
        assert!(!failed, "a shopper was turned away");
    }
    selling.iter().for_each(tokio::task::JoinHandle::abort);
}

/// A whole visit of one who repeats what is answered 503, and takes every other answer for the truth.
async fn buy_patiently(shop: &Shop, sku: &str) {
    let found = patiently(shop, Method::GET, &format!("/v1/products?sku={sku}"), None).await.expect(200);
    assert_eq!(found.int("/total"), 1, "{}", found.text);
    let categories = patiently(shop, Method::GET, "/v1/categories", None).await.expect(200);
    assert!(categories.body["items"].is_array(), "{}", categories.text);
    let cart = patiently(shop, Method::POST, "/v1/carts", Some(json!({ "currency": "EUR", "country": "DE" }))).await.expect(201);
    let cart = format!("/v1/carts/{}", cart.str("/id"));
    let line = Some(json!({ "sku": sku, "quantity": 1 }));
    patiently(shop, Method::POST, &format!("{cart}/lines"), line).await.expect(200);
    let contact = Some(crate::shop::contact("mira.okafor@example.org", "Mira Okafor"));
    patiently(shop, Method::PUT, &format!("{cart}/contact"), contact).await.expect(200);
    let options = patiently(shop, Method::GET, &format!("{cart}/shipping-options"), None).await.expect(200);
    let option = Some(json!({ "id": options.str("/items/0/id") }));
    let chosen = patiently(shop, Method::PUT, &format!("{cart}/shipping-option"), option).await.expect(200);
    let shown = patiently(shop, Method::GET, &format!("{cart}?token_position={}", chosen.token.unwrap()), None).await.expect(200);
    assert!(shown.int("/lines/0/available") > 0, "{}", shown.text);
    let payment = Some(json!({ "payment": { "provider": "sandbox", "token": "tok_approve" } }));
    let order = patiently(shop, Method::POST, &format!("{cart}/checkout"), payment).await.expect(201);
    let path = format!("/v1/orders/{}?token={}", order.str("/id"), order.str("/order_token"));
    patiently(shop, Method::GET, &format!("{path}&token_position={}", order.token.unwrap()), None).await.expect(200);
}

async fn patiently(shop: &Shop, method: Method, path: &str, body: Option<serde_json::Value>) -> crate::shop::Answer {
    let until = std::time::Instant::now() + std::time::Duration::from_secs(30);
    loop {
        let answer = shop.send(method.clone(), path, body.clone(), &[]).await.unwrap();
        if answer.status.as_u16() != 503 || std::time::Instant::now() > until {
            return answer;
        }
        crate::shop::pause(std::time::Duration::from_millis(20)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_declined_card_leaves_the_stock_and_lets_the_shopper_try_again() {
    let shop = Shop::empty().await;
    shop.product("LAMP-1", "40.00", 2).await;
    let cart = shop.cart(&[("LAMP-1", 1)]).await;
    let declined = shop.checkout(&cart, "tok_decline").await.expect(201);
    assert_eq!(declined.str("/status"), "pending_payment");
    assert_eq!(declined.str("/payment_status"), "failed");
    // The same cart with another card: the same order, now paid.
    let paid = shop.checkout(&cart, "tok_approve").await.expect(201);
    assert_eq!(paid.str("/id"), declined.str("/id"));
    assert_eq!(paid.str("/status"), "confirmed", "{}", paid.text);
    let stock = shop.staff_after("/v1/admin/stock/LAMP-1", &paid.token.unwrap()).await.expect(200);
    assert_eq!((stock.int("/on_hand"), stock.int("/allocated"), stock.int("/reserved")), (2, 1, 0), "{}", stock.text);
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_input_gets_an_error_that_says_the_fix() {
    let shop = Shop::empty().await;
    shop.product("MUG-1", "9.50", 5).await;
    let cart = shop.post("/v1/carts", json!({ "currency": "EUR" })).await.expect(201).str("/id");
    let lines = format!("/v1/carts/{cart}/lines");

    let cases = [
        (shop.post("/v1/carts", json!({ "currency": "XXQ" })).await, 422, "unsupported_currency"),
        (shop.post(&lines, json!({ "sku": "NOPE", "quantity": 1 })).await, 404, "not_found"),
        (shop.post(&lines, json!({ "sku": "MUG-1", "quantity": 0 })).await, 422, "validation_failed"),
        (shop.post(&lines, json!({ "sku": "MUG-1", "quantity": 1000 })).await, 422, "validation_failed"),
        (shop.post(&lines, json!({ "sku": 7 })).await, 422, "validation_failed"),
        (shop.get_after("/v1/products", "1.-1").await, 400, "invalid_parameter"),
        (shop.put(&format!("/v1/carts/{cart}/contact"), crate::shop::contact("mira@example.org", "Mi\0ra")).await, 422, "invalid_text"),
        (shop.post(&format!("/v1/carts/{cart}/checkout"), json!({})).await, 422, "cart_incomplete"),
        (shop.get("/v1/carts/unknown").await, 404, "not_found"),
        (shop.get("/v1/nowhere").await, 404, "not_found"),
        (shop.get("/v1/ops/status").await, 401, "unauthenticated"),
        (shop.send(Method::DELETE, "/v1/store", None, &[]).await.unwrap(), 405, "method_not_allowed"),
        (shop.send(Method::GET, "/v1/products", None, &[("authorization", "Bearer x")]).await.unwrap(), 401, "invalid_token"),
        (shop.get_after("/v1/products", "1.999999999").await, 409, "position_unknown"),
        (shop.get("/v1/products/%00").await, 400, "invalid_parameter"),
        (shop.staff(Method::GET, "/v1/events?after=1.-3", None).await, 400, "invalid_parameter"),
        (shop.staff(Method::POST, "/v1/admin/customers/0198f3a2-0000-7000-8000-000000000000/erase", None).await, 404, "not_found"),
        (shop.staff(Method::GET, "/v1/events?after=1.999999999", None).await, 409, "position_unknown"),
        (shop.put(&format!("/v1/carts/{cart}/contact"), json!({ "email": "no", "shipping_address": { "name": "", "line1": "", "city": "", "postal_code": "", "country": "Germany" } })).await, 422, "validation_failed"),
    ];
    for (answer, status, code) in cases {
        assert_eq!((answer.status.as_u16(), answer.body["code"].as_str()), (status, Some(code)), "{}", answer.text);
        assert_eq!(answer.headers["content-type"], "application/problem+json");
        assert!(answer.body["request_id"].is_string(), "{}", answer.text);
        shop.get(&format!("/problems/{code}")).await.expect(200);
    }
    let said = |answer: &crate::shop::Answer| (answer.str("/errors/0/pointer"), answer.str("/errors/0/code"));
    let option = shop.put(&format!("/v1/carts/{cart}/shipping-option"), json!({ "id": "none" })).await.expect(422);
    assert_eq!(said(&option), ("/id".to_owned(), "shipping_unavailable".to_owned()));
    let unoffered = shop.get("/v1/products?currency=XXQ").await.expect(422);
    assert_eq!(said(&unoffered), ("?currency".to_owned(), "unsupported_currency".to_owned()));
    let unoffered = shop.post("/v1/carts", json!({ "currency": "XXQ" })).await.expect(422);
    assert_eq!(said(&unoffered), ("/currency".to_owned(), "unsupported_currency".to_owned()));
    let contact = format!("/v1/carts/{cart}/contact");
    let unstorable = shop.put(&contact, crate::shop::contact("mira@example.org", "Mi\0ra")).await.expect(422);
    assert_eq!(said(&unstorable), ("/shipping_address/name".to_owned(), "invalid_text".to_owned()));
    let much = shop.staff(Method::POST, "/v1/admin/stock/MUG-1/adjust", Some(json!({ "delta": 10_i64.pow(12), "reason": "found" }))).await;
    assert_eq!(said(&much.expect(422)), ("/delta".to_owned(), "quantity_too_large".to_owned()));
    let negative = shop.post(&lines, json!({ "sku": "MUG-1", "quantity": -1 })).await.expect(422);
    assert_eq!((negative.str("/errors/0/pointer"), negative.str("/errors/0/code")), ("/quantity".to_owned(), "invalid".to_owned()));
    assert!(negative.str("/detail").ends_with("expected a whole number that is not negative"), "{}", negative.text);
    for (args, code, said) in [
        (["rebuild", "nothing"].as_slice(), 2, "possible values: product, stock, cart, order, promotion, search"),
        (&["serve", "--roles", "gateway,commands,search"], 1, "name commands and reactor both"),
        (&["events", "--after", "1.999999999"], 1, "never written"),
        (&["events", "--after", "999999999"], 1, "the log ends at"),
        (&["events", "--after", "1.-3"], 2, "a token like 1.1200"),
    ] {
        let (exited, out, err) = shop.cli_code(args);
        assert_eq!(exited, code, "{args:?}: {out}{err}");
        assert!(err.contains(said), "{args:?}: {err}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_left_the_shop_is_shown_so_in_the_cart_and_is_not_sold() {
    let shop = Shop::empty().await;
    shop.product("GONE-1", "9.50", 5).await;
    let cart = shop.cart(&[("GONE-1", 1)]).await;
    let file = shop.dir.join("archived.csv");
    std::fs::write(&file, "Handle,Title,Variant SKU,Variant Price,Status\ngone-1,Product GONE-1,GONE-1,9.50,archived\n").unwrap();
    shop.cli(&["import", "products", file.to_str().unwrap()]);
    let shown = shop.get(&format!("/v1/carts/{cart}")).await.expect(200);
    assert_eq!((shown.int("/lines/0/available"), shown.body["lines"][0]["total"].is_null()), (0, true), "{}", shown.text);
    assert_eq!(shown.str("/lines/0/title"), "Product GONE-1");
    let refused = shop.checkout(&cart, "tok_approve").await.expect(409);
    assert_eq!((refused.str("/code"), refused.str("/lines/0/sku")), ("insufficient_stock".to_owned(), "GONE-1".to_owned()));
}

#[tokio::test(flavor = "multi_thread")]
async fn of_staff_those_who_serve_shoppers_change_orders_and_see_whose_they_are() {
    let shop = Shop::empty().await;
    shop.product("VASE-1", "30.00", 3).await;
    let cart = shop.cart(&[("VASE-1", 1)]).await;
    let order = shop.checkout(&cart, "tok_decline").await.expect(201);
    let (id, written) = (order.str("/id"), order.token.clone().unwrap());
    let payment = json!({ "provider": "sandbox", "token": "tok_approve" });
    for (role, sees, changes) in [("analyst", false, 403), ("operator", false, 403), ("fulfilment", true, 403), ("support", true, 200)] {
        let bearer = format!("Bearer {}", shop.cli(&["token", "--role", role]).trim());
        let headers = [("authorization", bearer.as_str()), ("consistency-token", written.as_str()), ("prefer", "wait=15")];
        for path in [format!("/v1/orders/{id}"), format!("/v1/orders/{id}?as_of={}", written.split_once('.').unwrap().1)] {
            let shown = shop.send(Method::GET, &path, None, &headers).await.unwrap().expect(200);
            assert_eq!(shown.body["contact"]["email"].is_string(), sees, "{role}: {}", shown.text);
        }
        let list = shop.send(Method::GET, "/v1/admin/orders", None, &headers).await.unwrap().expect(200);
        assert_eq!(list.body["items"][0]["contact"]["email"].is_string(), sees, "{role}: {}", list.text);
        if changes == 403 {
            shop.send(Method::POST, &format!("/v1/orders/{id}/payments"), Some(payment.clone()), &headers).await.unwrap().expect(403);
        }
        shop.send(Method::POST, &format!("/v1/orders/{id}/cancel"), Some(json!({})), &headers).await.unwrap().expect(changes);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_repeated_request_with_a_key_is_done_once() {
    let shop = Shop::empty().await;
    shop.product("PEN-1", "3.20", 5).await;
    let cart = shop.post("/v1/carts", json!({ "currency": "EUR" })).await.expect(201).str("/id");
    let path = format!("/v1/carts/{cart}/lines");
    let key = [("idempotency-key", "one-line")];
    let body = json!({ "sku": "PEN-1", "quantity": 2 });
    let first = shop.send(Method::POST, &path, Some(body.clone()), &key).await.unwrap().expect(200);
    let again = shop.send(Method::POST, &path, Some(body), &key).await.unwrap().expect(200);
    assert!(again.replayed && !first.replayed);
    assert_eq!(first.text, again.text);
    assert_eq!(again.int("/lines/0/quantity"), 2);
    let other = shop.send(Method::POST, &path, Some(json!({ "sku": "PEN-1", "quantity": 1 })), &key).await.unwrap().expect(422);
    assert_eq!(other.str("/code"), "idempotency_key_reused");

    // A refusal is repeated too, even when the stock has come meanwhile.
    let cart = shop.cart(&[("PEN-1", 9)]).await;
    let checkout = format!("/v1/carts/{cart}/checkout");
    let key = [("idempotency-key", "one-order")];
    let body = json!({ "payment": { "provider": "sandbox", "token": "tok_approve" } });
    let refused = shop.send(Method::POST, &checkout, Some(body.clone()), &key).await.unwrap().expect(409);
    shop.staff(Method::POST, "/v1/admin/stock/PEN-1/receive", Some(json!({ "quantity": 20 }))).await.expect(200);
    let again = shop.send(Method::POST, &checkout, Some(body.clone()), &key).await.unwrap().expect(409);
    assert_eq!(refused.body["lines"], again.body["lines"]);
    assert!(again.replayed);
    let placed = shop.send(Method::POST, &checkout, Some(body.clone()), &[("idempotency-key", "another")]).await.unwrap().expect(201);
    let repeated = shop.send(Method::POST, &checkout, Some(body), &[("idempotency-key", "another")]).await.unwrap().expect(201);
    assert_eq!(placed.text, repeated.text);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_line_added_while_the_cart_is_checked_out_never_reads_as_sold_out() {
    let shop = Shop::empty().await;
    shop.product("OAT-1", "2.00", 500).await;
    shop.product("RYE-1", "2.50", 500).await;
    for _ in 0..10 {
        let cart = shop.cart(&[("OAT-1", 1)]).await;
        let path = format!("/v1/carts/{cart}/lines");
        let added = shop.post(&path, json!({ "sku": "RYE-1", "quantity": 1 }));
        let (order, _) = tokio::join!(shop.checkout(&cart, "tok_approve"), added);
        assert_eq!(order.status.as_u16(), 201, "{}", order.text);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn one_guest_never_gets_another_guests_cart() {
    let shop = Shop::empty().await;
    let body = json!({ "currency": "EUR" });
    let guessed = [("idempotency-key", "1")];
    let refused = shop.send(Method::POST, "/v1/carts", Some(body.clone()), &guessed).await.unwrap().expect(400);
    assert_eq!(refused.str("/code"), "invalid_parameter");
    let key = [("idempotency-key", "6e1bd2b6-9a0e-4a51-9a37-0d8f7b1f6a11")];
    let first = shop.send(Method::POST, "/v1/carts", Some(body.clone()), &key).await.unwrap().expect(201);
    let again = shop.send(Method::POST, "/v1/carts", Some(body), &key).await.unwrap().expect(201);
    assert_eq!(first.str("/id"), again.str("/id"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cancelled_order_gives_its_stock_back_and_opens_its_cart() {
    let shop = Shop::empty().await;
    shop.product("VASE-1", "30.00", 1).await;
    let cart = shop.cart(&[("VASE-1", 1)]).await;
    let order = shop.checkout(&cart, "tok_decline").await.expect(201);
    let path = format!("/v1/orders/{}/cancel?token={}", order.str("/id"), order.str("/order_token"));
    let stale = shop.send(Method::POST, &path, None, &[("if-match", "\"99\"")]).await.unwrap().expect(409);
    assert_eq!(stale.str("/code"), "version_conflict");
    let cancelled = shop.post(&path, json!({})).await.expect(200);
    assert_eq!(cancelled.str("/status"), "cancelled");
    let stock = shop.staff_after("/v1/admin/stock/VASE-1", &cancelled.token.unwrap()).await.expect(200);
    assert_eq!((stock.int("/reserved"), stock.int("/available")), (0, 1));
    let again = shop.checkout(&cart, "tok_approve").await.expect(201);
    assert_eq!(again.str("/status"), "confirmed");
    assert_ne!(again.str("/id"), order.str("/id"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_buyer_watches_the_order_live() {
    let shop = Shop::empty().await;
    shop.product("VASE-1", "30.00", 1).await;
    let cart = shop.cart(&[("VASE-1", 1)]).await;
    let order = shop.checkout(&cart, "tok_decline").await.expect(201);
    let own = format!("{}?token={}", order.str("/id"), order.str("/order_token"));
    shop.get(&format!("/v1/orders/{}/live?token=wrong", order.str("/id"))).await.expect(404);
    let mut watched = shop.http.get(format!("{}/v1/orders/{own}", shop.url).replace('?', "/live?")).send().await.unwrap();
    let mut seen = String::new();
    for (status, then) in [("pending_payment", "cancel"), ("cancelled", "")] {
        while !seen.contains(&format!("\"status\":\"{status}\",\"on_hold\"")) {
            let chunk = watched.chunk().await.unwrap().expect("the stream ended");
            seen += std::str::from_utf8(&chunk).unwrap();
        }
        if !then.is_empty() {
            shop.post(&format!("/v1/orders/{own}").replace('?', "/cancel?"), json!({})).await.expect(200);
        }
    }
}
