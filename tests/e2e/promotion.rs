//! Promotions and coupons over HTTP: what carts show, what orders cost, and how often a coupon is used, also when many want it.

use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::future::join_all;
use reqwest::Method;
use serde_json::{Value, json};

use crate::shop::{Answer, Shop, contact, pause, times};

const HOUR: i64 = 3_600;

/// A promotion as the owner makes it.
async fn promotion(shop: &Shop, body: Value) -> String {
    let made = shop.staff(Method::POST, "/v1/admin/promotions", Some(body)).await.expect(201);
    let id = made.str("/id");
    // Whoever has seen it here is shown carts with it.
    shop.staff_after(&format!("/v1/admin/promotions/{id}"), &made.token.unwrap()).await.expect(200);
    id
}

/// A promotion by coupon, and one coupon with this code.
async fn coupon(shop: &Shop, code: &str, rule: Value, more: Value, coupon: Value) -> String {
    let mut body = json!({ "title": "By coupon", "rule": rule });
    body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    let id = promotion(shop, body).await;
    let mut coupons = json!({ "codes": [code] });
    coupons.as_object_mut().unwrap().extend(coupon.as_object().unwrap().clone());
    shop.staff(Method::POST, &format!("/v1/admin/promotions/{id}/coupons"), Some(coupons)).await.expect(201);
    id
}

async fn apply(shop: &Shop, cart: &str, code: &str) -> Answer {
    shop.post(&format!("/v1/carts/{cart}/coupons"), json!({ "code": code })).await
}

async fn cart_with(shop: &Shop, lines: &[(&str, u32)], code: &str) -> String {
    let cart = shop.cart(lines).await;
    apply(shop, &cart, code).await.expect(200);
    cart
}

async fn checkout_at(shop: &Shop, cart: &str, expected_total: i64) -> Answer {
    let body = json!({ "payment": { "provider": "sandbox", "token": "tok_approve" }, "expected_total": expected_total });
    shop.post(&format!("/v1/carts/{cart}/checkout"), body).await
}

/// The uses of a promotion's only coupon, after a write.
async fn uses(shop: &Shop, promotion: &str, after: &Answer) -> (i64, i64) {
    let token = after.token.as_ref().unwrap();
    let coupons = shop.staff_after(&format!("/v1/admin/promotions/{promotion}/coupons"), token).await.expect(200);
    (coupons.int("/items/0/reserved"), coupons.int("/items/0/redeemed"))
}

fn at(seconds: i64) -> String {
    (infra::clock::now() + chrono::Duration::seconds(seconds)).to_rfc3339()
}

fn amounts(answer: &Answer) -> [i64; 5] {
    ["subtotal", "discount", "shipping", "tax", "total"].map(|name| answer.int(&format!("/totals/{name}/amount")))
}

#[tokio::test(flavor = "multi_thread")]
async fn what_promotions_take_off_is_shown_and_charged_to_the_cent() {
    let percent = || json!({ "kind": "percent", "ppm": 100_000, "target": "order" });
    for (included, charged) in [("true", [2_997, 300, 490, 509, 3_187]), ("false", [2_997, 300, 490, 605, 3_792])] {
        let shop = Shop::with_settings(&[("DAYBOOK_STORE__PRICES_INCLUDE_TAX", included)]).await;
        shop.product("PENS-1", "9.99", 100).await;
        shop.product("LAMP-1", "20.00", 100).await;
        let tenth = coupon(&shop, "Tenth-10", percent(), json!({}), json!({})).await;
        let cart = shop.cart(&[("PENS-1", 3)]).await;
        // 10 % of 29.97 is 2.997: computed once, rounded once.
        let shown = apply(&shop, &cart, " tenth-10 ").await.expect(200);
        assert_eq!(amounts(&shown), charged, "prices include tax: {included}");
        assert_eq!((shown.int("/discounts/0/amount/amount"), shown.int("/lines/0/discount/amount")), (300, 300));
        assert_eq!((shown.body["coupons"][0]["applied"].clone(), shown.int("/coupons/0/discount/amount")), (json!(true), 300));
        let order = checkout_at(&shop, &cart, charged[4]).await.expect(201);
        assert_eq!((order.str("/status").as_str(), amounts(&order)), ("confirmed", charged));
        assert_eq!(order.str("/discounts/0/promotion_id"), tenth);
        assert_eq!(uses(&shop, &tenth, &order).await, (0, 1));
        let seen = shop.get_after(&format!("/v1/carts/{cart}"), order.token.as_ref().unwrap()).await.expect(200);
        assert_eq!(amounts(&seen), charged, "a cart that was checked out is shown as it was");

        // Five euros off the lamp, ten percent off what is left, allocated by largest remainder; then nothing for delivery.
        let lamp = shop.get("/v1/products/lamp-1").await.expect(200).str("/id");
        let fixed = json!({ "kind": "fixed", "amounts": [{ "amount": 500, "currency": "EUR" }], "target": "line", "product_ids": [lamp] });
        let lamps = promotion(&shop, json!({ "title": "Lamps", "rule": fixed, "automatic": true })).await;
        let free = json!({ "kind": "percent", "ppm": 1_000_000, "target": "shipping" });
        promotion(
            &shop,
            json!({ "title": "Free delivery", "rule": free, "automatic": true, "minimum": [{ "amount": 4_000, "currency": "EUR" }] }),
        )
        .await;
        let cart = shop.cart(&[("PENS-1", 1), ("LAMP-1", 1)]).await;
        let shown = apply(&shop, &cart, "TENTH-10").await.expect(200);
        // (9.99 + 15.00) × 10 % = 2.499: 2.50, of which 1.00 and 1.50.
        assert_eq!((shown.int("/lines/0/discount/amount"), shown.int("/lines/1/discount/amount")), (100, 650));
        assert_eq!(amounts(&shown)[..3], [2_999, 750, 490]);
        let more = json!({ "sku": "LAMP-1", "quantity": 1 });
        let shown = shop.post(&format!("/v1/carts/{cart}/lines"), more).await.expect(200);
        assert_eq!(amounts(&shown)[..3], [4_999, 500 + 450 + 490, 490], "the minimum is of the goods before discounts");
        let order = checkout_at(&shop, &cart, shown.int("/totals/total/amount")).await.expect(201);
        assert_eq!(amounts(&order), amounts(&shown));

        // An exclusive one that comes first stands alone; ended, it is gone.
        let tight = json!({ "kind": "fixed", "amounts": [{ "amount": 1, "currency": "EUR" }], "target": "order" });
        let alone =
            promotion(&shop, json!({ "title": "A cent", "rule": tight, "automatic": true, "exclusive": true, "priority": 5 })).await;
        let cart = shop.cart(&[("LAMP-1", 1)]).await;
        let shown = apply(&shop, &cart, "TENTH-10").await.expect(200);
        assert_eq!((amounts(&shown)[1], shown.str("/coupons/0/reason").as_str()), (1, "not_combinable"));
        for id in [alone, lamps] {
            let ended = shop.staff(Method::POST, &format!("/v1/admin/promotions/{id}/end"), None).await.expect(200);
            assert_eq!(ended.str("/status"), "ended");
            shop.staff_after(&format!("/v1/admin/promotions/{id}"), &ended.token.unwrap()).await.expect(200);
        }
        let shown = shop.get_after(&format!("/v1/carts/{cart}"), shown.token.as_ref().unwrap()).await.expect(200);
        assert_eq!(amounts(&shown)[1], 200);
        shop.cli(&["verify"]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_coupon_that_does_not_apply_says_why_and_is_charged_only_with_consent() {
    let shop = Shop::with_settings(&[("DAYBOOK_HTTP__TRUSTED_PROXIES", "[\"127.0.0.1\"]")]).await;
    shop.product("PENS-1", "10.00", 1_000).await;
    let off = || json!({ "kind": "fixed", "amounts": [{ "amount": 300, "currency": "EUR" }], "target": "order" });

    // A minimum that is not reached.
    let big = coupon(&shop, "BIGCART", off(), json!({ "minimum": [{ "amount": 3_000, "currency": "EUR" }] }), json!({})).await;
    let cart = shop.cart(&[("PENS-1", 2)]).await;
    let shown = apply(&shop, &cart, "BIGCART").await.expect(200);
    assert_eq!((shown.str("/coupons/0/reason").as_str(), shown.int("/coupons/0/minimum/amount")), ("minimum_not_reached", 3_000));
    assert_eq!(amounts(&shown)[1], 0);
    let refused = shop.checkout(&cart, "tok_approve").await.expect(409);
    assert_eq!((refused.str("/code").as_str(), refused.str("/reason").as_str()), ("coupon_not_applicable", "minimum_not_reached"));
    assert_eq!(refused.int("/current_total/amount"), 2_490);
    let order = checkout_at(&shop, &cart, 2_490).await.expect(201);
    assert_eq!((order.int("/totals/discount/amount"), uses(&shop, &big, &order).await), (0, (0, 0)));
    let cart = cart_with(&shop, &[("PENS-1", 3)], "BIGCART").await;
    assert_eq!(shop.checkout(&cart, "tok_approve").await.expect(201).int("/totals/total/amount"), 3_190);

    // Dates: not yet, no more, and over while it is in a cart.
    coupon(&shop, "LATER", off(), json!({ "starts_at": at(HOUR) }), json!({})).await;
    coupon(&shop, "EARLIER", off(), json!({}), json!({ "valid_until": at(-HOUR) })).await;
    let soon = coupon(&shop, "SOON", off(), json!({ "ends_at": at(HOUR) }), json!({})).await;
    let cart = shop.cart(&[("PENS-1", 1)]).await;
    let applied = apply(&shop, &cart, "SOON").await.expect(200).token.unwrap();
    assert_eq!(apply(&shop, &cart, "LATER").await.expect(409).str("/code"), "coupon_not_applicable");
    assert_eq!(apply(&shop, &cart, "EARLIER").await.expect(409).str("/code"), "coupon_expired");
    let patch = json!({ "starts_at": at(-2 * HOUR), "ends_at": at(-HOUR) });
    let changed = shop.staff(Method::PATCH, &format!("/v1/admin/promotions/{soon}"), Some(patch)).await.expect(200);
    shop.staff_after(&format!("/v1/admin/promotions/{soon}"), &changed.token.unwrap()).await.expect(200);
    let shown = shop.get_after(&format!("/v1/carts/{cart}"), &applied).await.expect(200);
    assert_eq!((shown.str("/coupons/0/reason").as_str(), amounts(&shown)[4]), ("expired", 1_490));
    assert_eq!(checkout_at(&shop, &cart, 1_190).await.expect(409).str("/code"), "coupon_expired");
    let removed = shop.send(Method::DELETE, &format!("/v1/carts/{cart}/coupons/soon"), None, &[]).await.unwrap().expect(200);
    assert_eq!(removed.body["coupons"], json!([]));
    let again = shop.send(Method::DELETE, &format!("/v1/carts/{cart}/coupons/soon"), None, &[]).await.unwrap();
    assert_eq!(again.expect(404).str("/code"), "coupon_unknown");
    shop.checkout(&cart, "tok_approve").await.expect(201);

    // Once to an e-mail address, however it is written and whichever cart it is in; a cancelled order gives it back.
    let once = coupon(&shop, "ONCE", off(), json!({}), json!({ "per_subject": 1 })).await;
    let first = cart_with(&shop, &[("PENS-1", 1)], "ONCE").await;
    let pending = shop.checkout(&first, "tok_decline").await.expect(201);
    assert_eq!((pending.str("/status").as_str(), uses(&shop, &once, &pending).await), ("pending_payment", (1, 0)));
    let second = cart_with(&shop, &[("PENS-1", 1)], "ONCE").await;
    shop.put(&format!("/v1/carts/{second}/contact"), contact("Mira.Okafor@Example.org", "Mira")).await.expect(200);
    let refused = shop.checkout(&second, "tok_approve").await.expect(409);
    assert_eq!((refused.str("/code").as_str(), refused.str("/limit").as_str()), ("coupon_exhausted", "per_subject"));
    let others = cart_with(&shop, &[("PENS-1", 1)], "ONCE").await;
    shop.put(&format!("/v1/carts/{others}/contact"), contact("ada@example.org", "Ada")).await.expect(200);
    shop.checkout(&others, "tok_approve").await.expect(201);
    let cancel = format!("/v1/orders/{}/cancel?token={}", pending.str("/id"), pending.str("/order_token"));
    shop.post(&cancel, json!({})).await.expect(200);
    let order = shop.checkout(&second, "tok_approve").await.expect(201);
    assert_eq!((order.int("/totals/discount/amount"), uses(&shop, &once, &order).await), (300, (0, 2)));
    assert_eq!(shop.checkout(&first, "tok_approve").await.expect(409).str("/code"), "coupon_exhausted");

    // Nothing left to pay: confirmed at once, and its coupon redeemed.
    let gift = coupon(&shop, "GIFT", json!({ "kind": "percent", "ppm": 1_000_000, "target": "order" }), json!({}), json!({})).await;
    let free = json!({ "kind": "percent", "ppm": 1_000_000, "target": "shipping" });
    promotion(&shop, json!({ "title": "Free delivery", "rule": free, "automatic": true })).await;
    let cart = cart_with(&shop, &[("PENS-1", 1)], "GIFT").await;
    let order = shop.post(&format!("/v1/carts/{cart}/checkout"), json!({})).await.expect(201);
    assert_eq!((order.str("/status").as_str(), amounts(&order)), ("confirmed", [1_000, 1_490, 490, 0, 0]));
    assert_eq!(uses(&shop, &gift, &order).await, (0, 1));

    // Codes that are made are shown once; guesses are counted, and no code is in the log.
    let made = json!({ "count": 120, "prefix": "gift-", "limit": 1 });
    let made = shop.staff(Method::POST, &format!("/v1/admin/promotions/{once}/coupons"), Some(made)).await.expect(201);
    let code = made.str("/items/2/code");
    assert_eq!(code.len(), "gift-".len() + 12);
    let cart = shop.cart(&[("PENS-1", 1)]).await;
    assert_eq!(apply(&shop, &cart, "GIFT-GUESSED").await.expect(404).str("/code"), "coupon_unknown");
    apply(&shop, &cart, &code.to_lowercase()).await.expect(200);
    let listed = shop.staff(Method::GET, &format!("/v1/admin/promotions/{once}/coupons"), None).await.expect(200);
    assert!(!listed.text.to_uppercase().contains(&code.to_uppercase()));
    let pool = shop.pool().await;
    let told = "SELECT count(*) FROM events WHERE payload::text ILIKE '%' || $1 || '%' OR metadata::text ILIKE '%' || $1 || '%'";
    for secret in [code.as_str(), "bigcart", "mira.okafor"] {
        assert_eq!(sqlx::query_scalar::<_, i64>(told).bind(secret).fetch_one(&pool).await.unwrap(), 0, "{secret}");
    }
    let path = format!("/v1/carts/{cart}/coupons");
    let mut statuses = Vec::new();
    for n in 0..21 {
        let guess = Some(json!({ "code": format!("GUESS-{n}") }));
        statuses.push(shop.send(Method::POST, &path, guess, &[("x-forwarded-for", "203.0.113.9")]).await.unwrap().status.as_u16());
    }
    assert_eq!((statuses[19], statuses[20]), (404, 429), "{statuses:?}");
    shop.cli(&["verify"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hundred_shoppers_want_the_single_use_of_a_coupon_and_one_has_it() {
    let shop = Arc::new(Shop::empty().await);
    shop.product("PENS-1", "10.00", 10_000).await;
    let pool = shop.pool().await;
    for round in 0..times("DAYBOOK_TEST_ROUNDS", 1) {
        let code = format!("SINGLE-{round}");
        let off = json!({ "kind": "percent", "ppm": 500_000, "target": "order" });
        let id = coupon(&shop, &code, off, json!({}), json!({ "limit": 1 })).await;
        let carts = join_all((0..100).map(|_| cart_with(&shop, &[("PENS-1", 1)], &code))).await;
        let began = Instant::now();
        let answers = join_all(carts.iter().map(|cart| shop.checkout(cart, "tok_decline"))).await;
        let took = began.elapsed();
        let won: Vec<&Answer> = answers.iter().filter(|a| a.status == 201).collect();
        let lost = answers.iter().filter(|a| a.status == 409 && a.body["code"] == "coupon_exhausted").count();
        println!("round {round}: {} with the coupon, {lost} refused in {took:?}", won.len());
        assert_eq!((won.len(), lost), (1, 99), "{:?}", answers.iter().map(|a| a.text.clone()).collect::<Vec<_>>());
        assert_eq!((won[0].int("/totals/discount/amount"), uses(&shop, &id, won[0]).await), (500, (1, 0)));

        // Not paid in time: another one has it, for good.
        let late = "UPDATE deadline SET due_at = clock_timestamp() - interval '1 minute' WHERE kind = 'order_payment'";
        sqlx::raw_sql(late).execute(&pool).await.unwrap();
        let order = format!("/v1/orders/{}?token={}", won[0].str("/id"), won[0].str("/order_token"));
        while shop.get(&order).await.expect(200).str("/status") != "expired" {
            pause(Duration::from_millis(20)).await;
        }
        let others = carts.iter().zip(&answers).filter(|(_, answer)| answer.status == 409).map(|(cart, _)| cart);
        let answers = join_all(others.map(|cart| shop.checkout(cart, "tok_approve"))).await;
        let won: Vec<&Answer> = answers.iter().filter(|a| a.status == 201).collect();
        assert_eq!(won.len(), 1, "round {round}");
        assert_eq!((won[0].str("/status").as_str(), uses(&shop, &id, won[0]).await), ("confirmed", (0, 1)));
        let left = answers.iter().filter(|a| a.status == 409 && a.body["code"] == "coupon_exhausted").count();
        assert_eq!(left, 98, "round {round}");
    }
    let verified = shop.cli_code(&["verify"]);
    assert_eq!(verified.0, 0, "{}{}", verified.1, verified.2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_promotion_that_ends_before_the_checkout_is_not_paid_for_without_consent() {
    let shop = Shop::empty().await;
    shop.product("PENS-1", "10.00", 100).await;
    let off = json!({ "kind": "fixed", "amounts": [{ "amount": 300, "currency": "EUR" }], "target": "order" });
    let taken_off = async |cart: &str| amounts(&shop.get(&format!("/v1/carts/{cart}")).await.expect(200))[1];
    // A cart that names no token is shown with what the read models know.
    let shown_with = async |cart: &str, expected: i64| {
        let until = Instant::now() + Duration::from_secs(30);
        while taken_off(cart).await != expected {
            assert!(Instant::now() < until);
            pause(Duration::from_millis(50)).await;
        }
    };
    let stays = promotion(&shop, json!({ "title": "Stays", "rule": off.clone(), "automatic": true })).await;
    let ends = promotion(&shop, json!({ "title": "Today", "rule": off.clone(), "automatic": true })).await;
    let cart = shop.cart(&[("PENS-1", 1)]).await;
    shown_with(&cart, 600).await;
    let ended = shop.staff(Method::POST, &format!("/v1/admin/promotions/{ends}/end"), None).await.expect(200);
    shop.staff_after(&format!("/v1/admin/promotions/{ends}"), &ended.token.unwrap()).await.expect(200);
    let refused = shop.checkout(&cart, "tok_approve").await.expect(409);
    assert_eq!((refused.str("/code").as_str(), refused.int("/current_total/amount")), ("cart_changed", 1_190));
    let ended = shop.staff(Method::POST, &format!("/v1/admin/promotions/{stays}/end"), None).await.expect(200);
    shop.staff_after(&format!("/v1/admin/promotions/{stays}"), &ended.token.unwrap()).await.expect(200);
    shown_with(&cart, 0).await;

    // One that ends by itself, so late that a cart has been seen with it, however slow the machine is.
    let mut seen = None;
    for seconds in [3, 10, 30] {
        promotion(&shop, json!({ "title": "Soon over", "rule": off.clone(), "automatic": true, "ends_at": at(seconds) })).await;
        let cart = shop.cart(&[("PENS-1", 1)]).await;
        if taken_off(&cart).await > 0 {
            seen = Some(cart);
            break;
        }
    }
    let cart = seen.unwrap();
    let until = Instant::now() + Duration::from_secs(60);
    while taken_off(&cart).await > 0 {
        assert!(Instant::now() < until);
        pause(Duration::from_millis(50)).await;
    }
    let refused = shop.checkout(&cart, "tok_approve").await.expect(409);
    assert_eq!((refused.str("/code").as_str(), refused.int("/current_total/amount")), ("cart_changed", 1_490));
    assert_eq!(checkout_at(&shop, &cart, 1_490).await.expect(201).str("/status"), "confirmed");
}
