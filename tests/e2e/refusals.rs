//! Every "no" of the rules is met over HTTP, says its problem code, and has a page.
//!
//! The list of rejections is read from `domain`'s sources, so that a new one without a row here fails.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use futures::StreamExt;
use reqwest::Method;
use serde_json::{Value, json};

use crate::payment::View;
use crate::shop::{Answer, Shop, contact, pause};

/// Rejections that no request can meet, and why: what stands before them, or that nothing outside can make their state.
const UNMET: &[(&str, &str)] = &[
    ("order_exists", "an order's id is fresh"),
    ("order_without_lines", "an empty cart is refused as incomplete before"),
    ("totals_wrong", "totals are summed by the pricing that the order is placed with"),
    ("tenders_wrong", "the only tender is the total"),
    ("payment_exists", "a payment's id is fresh"),
    ("refund_allocation_wrong", "allocations are cut from the lines they are for"),
    ("dispute_open", "the sandbox has no disputes"),
    ("cart_exists", "a cart's id is fresh"),
    ("line_exists", "a line's id is fresh"),
    ("order_of_other_cart", "only the order that a cart has become reopens or completes it"),
    ("stock_not_found", "stock is opened with its variant"),
    ("location_missing", "the store always has a location"),
    ("hold_exists", "a hold's id is made of its order and line"),
    ("hold_not_found", "only an order's own holds are asked for"),
    ("hold_expired", "an order's holds have no clock"),
    ("allocation_not_found", "only an order's own allocations are asked for"),
    ("not_allocated", "an order's own units bound what is asked for"),
    ("transfer_exists", "a transfer's id is fresh"),
    ("promotion_exists", "a promotion's id is fresh"),
    ("coupon_exists", "a coupon's id is fresh"),
    ("search_rule_exists", "a rule's id is fresh"),
    ("claim_taken", "the holder's own rejection is said: already_exists"),
    ("subject_linked_to_itself", "nothing outside links subjects"),
    ("discount_negative", "discounts are amounts taken off by the rules"),
    ("discount_target_missing", "discounts are made for the lines there are"),
    ("price_negative", "a price is checked where it comes in: the importer's row error"),
    ("currency_unknown", "a currency is checked against the store's: unsupported_currency"),
    ("currency_without_minor_unit", "the configuration is refused at the start"),
    ("price_not_a_number", "the importer's row error"),
    ("price_too_many_decimals", "the importer's row error"),
    ("exponent_wrong", "said of the field that can't be read"),
    ("money_overflow", "a cart's limits keep its sums in range; the importer's row error for a price"),
    ("currency_mismatch", "a cart's prices are looked up in its own currency: unsupported_currency"),
    ("product_not_found", "products come in by import, whose rows say what is wrong"),
    ("product_archived", "import"),
    ("title_missing", "import"),
    ("handle_invalid", "import"),
    ("variant_not_found", "import"),
    ("variant_exists", "import"),
    ("sku_duplicate", "import"),
    ("options_duplicate", "import"),
    ("option_unknown", "import"),
    ("category_not_found", "import"),
    ("category_exists", "import"),
    ("category_archived", "import"),
    ("category_own_parent", "import"),
];

/// What is refused as unprocessable though no field of the request is to blame.
const ABOUT_NO_FIELD: [&str; 1] = ["cart_incomplete"];

/// Rejections that were met, and the problem that said them.
#[derive(Default)]
struct Met(BTreeMap<&'static str, String>);

impl Met {
    #[track_caller]
    fn meet(&mut self, rejection: &'static str, answer: &Answer, status: u16, code: &str) {
        let said = (answer.status.as_u16(), answer.body["code"].as_str().unwrap_or_default());
        assert_eq!(said, (status, code), "{rejection}: {}", answer.text);
        assert!(answer.body["detail"].as_str().is_some_and(|detail| !detail.is_empty()), "{rejection}: {}", answer.text);
        let names_fields = answer.body["errors"].as_array().is_some_and(|errors| !errors.is_empty());
        assert!(status != 422 || names_fields || ABOUT_NO_FIELD.contains(&code), "{rejection}: {}", answer.text);
        self.0.insert(rejection, code.to_owned());
    }

    /// The same, of a field, which is named by its place.
    #[track_caller]
    fn meet_field(&mut self, rejection: &'static str, answer: &Answer, pointer: &str) {
        self.meet(rejection, answer, 422, "validation_failed");
        assert_eq!(answer.str("/errors/0/pointer"), pointer, "{rejection}: {}", answer.text);
    }
}

/// The codes in `fn code(&self)` of every rejection in `domain`.
fn rejections() -> BTreeSet<String> {
    let mut codes = BTreeSet::new();
    let mut folders = vec![std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../domain/src")];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
                continue;
            }
            let source = std::fs::read_to_string(path).unwrap();
            for body in source.split("fn code(&self) -> &'static str {").skip(1) {
                let body = &body[..body.find("\n    }\n").unwrap()];
                let quoted = body.lines().filter_map(|line| line.split("=> \"").nth(1)?.split('"').next());
                codes.extend(quoted.map(str::to_owned));
            }
        }
    }
    assert!(codes.len() > 80, "{codes:?}");
    codes
}

#[tokio::test(flavor = "multi_thread")]
async fn every_rejection_is_met_over_http_and_its_problem_has_a_page() {
    let shop = Shop::with_settings(&[
        ("DAYBOOK_PAYMENTS__CAPTURE", "manual"),
        ("DAYBOOK_PAYMENTS__ATTEMPTS_MAX", "2"),
        ("DAYBOOK_STORE__CART_LINES_MAX", "2"),
        ("DAYBOOK_STORE__CURRENCIES", r#"["EUR", "USD"]"#),
    ])
    .await;
    shop.products(&["NO-1", "NO-2", "NO-3"], "10.00", 50);
    let mut met = Met::default();
    carts(&shop, &mut met).await;
    orders(&shop, &mut met).await;
    payments(&shop, &mut met).await;
    stock(&shop, &mut met).await;
    settings(&shop, &mut met).await;
    promotions(&shop, &mut met).await;
    merchandising(&shop, &mut met).await;
    people(&shop, &mut met).await;

    for code in met.0.values() {
        shop.get(&format!("/problems/{code}")).await.expect(200);
    }
    let unmet: BTreeSet<String> = UNMET.iter().map(|(code, _)| (*code).to_owned()).collect();
    let known: BTreeSet<String> = met.0.keys().map(|code| (*code).to_owned()).chain(unmet.iter().cloned()).collect();
    assert_eq!(known, rejections(), "each has a row here, and no row is of none");
    assert!(met.0.keys().all(|code| !unmet.contains(*code)), "what is met is not unmet");
    println!("{} rejections met over HTTP, {} that nothing outside can meet", met.0.len(), unmet.len());
    let (code, out, err) = shop.cli_code(&["verify"]);
    assert_eq!(code, 0, "{out}{err}");
}

async fn carts(shop: &Shop, met: &mut Met) {
    let cart = shop.post("/v1/carts", json!({ "currency": "EUR" })).await.expect(201).str("/id");
    let path = format!("/v1/carts/{cart}");
    let lines = format!("{path}/lines");
    let line = |sku: &str, quantity: u32| json!({ "sku": sku, "quantity": quantity });
    met.meet("cart_not_found", &shop.post("/v1/carts/none/lines", line("NO-1", 1)).await, 404, "not_found");
    met.meet_field("quantity_zero", &shop.post(&lines, line("NO-1", 0)).await, "/quantity");
    met.meet_field("quantity_limit", &shop.post(&lines, line("NO-1", 1_000)).await, "/quantity");
    met.meet_field(
        "country_invalid",
        &shop.send(Method::PATCH, &path, Some(json!({ "country": "Germany" })), &[]).await.unwrap(),
        "/country",
    );
    met.meet_field("contact_invalid", &shop.put(&format!("{path}/contact"), contact("no", "Mira")).await, "/email");
    met.meet("checkout_incomplete", &shop.post(&format!("{path}/checkout"), json!({})).await, 422, "cart_incomplete");
    shop.post(&lines, line("NO-1", 1)).await.expect(200);
    shop.post(&lines, line("NO-2", 1)).await.expect(200);
    met.meet_field("line_limit", &shop.post(&lines, line("NO-3", 1)).await, "");
    met.meet_field("currency_fixed", &shop.send(Method::PATCH, &path, Some(json!({ "currency": "USD" })), &[]).await.unwrap(), "/currency");
    let gone = shop.send(Method::DELETE, &format!("{lines}/NO-3"), None, &[]).await.unwrap();
    met.meet("line_not_found", &gone, 404, "not_found");

    let pending = shop.cart(&[("NO-1", 1)]).await;
    shop.checkout(&pending, "tok_decline").await.expect(201);
    met.meet("checkout_in_progress", &shop.post(&format!("/v1/carts/{pending}/lines"), line("NO-1", 1)).await, 409, "cart_closed");
    let bought = shop.cart(&[("NO-1", 1)]).await;
    shop.checkout(&bought, "tok_approve").await.expect(201);
    met.meet("cart_completed", &shop.post(&format!("/v1/carts/{bought}/lines"), line("NO-1", 1)).await, 409, "cart_closed");
}

async fn order(shop: &Shop, units: u32, token: &str) -> View {
    let cart = shop.cart(&[("NO-1", units)]).await;
    let body = json!({ "payment": { "provider": "sandbox", "token": token } });
    let headers = [("prefer", "wait=10")];
    let order = shop.send(Method::POST, &format!("/v1/carts/{cart}/checkout"), Some(body), &headers).await.unwrap().expect(201);
    View::of(&order, "NO-1")
}

async fn merchant(shop: &Shop, view: &View, action: &str, body: Value) -> Answer {
    shop.staff(Method::POST, &format!("/v1/admin/orders/{}/{action}", view.id), Some(body)).await
}

async fn orders(shop: &Shop, met: &mut Met) {
    let none = "/v1/admin/orders/0198f3a2-0000-7000-8000-000000000000/hold";
    met.meet("order_not_found", &shop.staff(Method::POST, none, Some(json!({ "reason": "x" }))).await, 404, "not_found");
    let unpaid = order(shop, 1, "tok_decline").await;
    met.meet("order_status", &merchant(shop, &unpaid, "fulfilments", json!({})).await, 409, "order_status");
    let paid = order(shop, 3, "tok_approve").await;
    let units = |quantity: u32| json!({ "lines": [{ "line_id": "NO-1", "quantity": quantity }], "reason": "broken" });
    met.meet("line_not_cancellable", &merchant(shop, &paid, "cancel", units(4)).await, 409, "line_not_cancellable");
    let four = json!({ "lines": [{ "line_id": "NO-1", "quantity": 4 }] });
    met.meet("line_not_shippable", &merchant(shop, &paid, "fulfilments", four).await, 409, "line_not_shippable");
    let nowhere = "fulfilments/0198f3a2-0000-7000-8000-000000000000/deliver";
    met.meet("shipment_not_found", &merchant(shop, &paid, nowhere, json!({})).await, 404, "not_found");
    merchant(shop, &paid, "hold", json!({ "reason": "fraud" })).await.expect(200);
    met.meet("order_on_hold", &merchant(shop, &paid, "fulfilments", json!({})).await, 409, "order_on_hold");
    merchant(shop, &paid, "release", json!({ "reason": "checked" })).await.expect(200);
    let one = json!({ "lines": [{ "line_id": "NO-1", "quantity": 1 }] });
    merchant(shop, &paid, "fulfilments", one).await.expect(200);
    met.meet("order_shipped", &merchant(shop, &paid, "cancel", json!({ "reason": "late" })).await, 409, "order_shipped");
}

async fn payments(shop: &Shop, met: &mut Met) {
    let paid = order(shop, 2, "tok_approve").await;
    let payment = paid.operations(shop).await[0]["id"].as_str().unwrap().to_owned();
    let nobodys = "payments/0198f3a2-0000-7000-8000-000000000000/void";
    met.meet("payment_not_found", &merchant(shop, &paid, nobodys, json!({})).await, 404, "not_found");
    met.meet("payment_not_refundable", &merchant(shop, &paid, "refunds", json!({ "reason": "x" })).await, 409, "payment_not_refundable");
    let capture = format!("payments/{payment}/capture");
    let much = merchant(shop, &paid, &capture, json!({ "amount": 1_000_000 })).await;
    met.meet("payment_not_capturable", &much, 409, "payment_not_capturable");
    met.meet_field("amount_not_positive", &merchant(shop, &paid, &capture, json!({ "amount": 0 })).await, "/amount");
    merchant(shop, &paid, &capture, json!({})).await.expect(200);
    paid.until(shop, |seen| seen[1] == "paid").await.unwrap();
    let void = merchant(shop, &paid, &format!("payments/{payment}/void"), json!({})).await;
    met.meet("payment_already_captured", &void, 409, "payment_already_captured");

    let let_go = order(shop, 1, "tok_approve").await;
    let payment = let_go.operations(shop).await[0]["id"].as_str().unwrap().to_owned();
    merchant(shop, &let_go, &format!("payments/{payment}/void"), json!({})).await.expect(200);
    let_go.until(shop, |seen| seen[0] == "confirmed!" && seen[1] == "voided").await.unwrap();
    merchant(shop, &let_go, "release", json!({ "reason": "looked at" })).await.expect(200);
    met.meet("order_not_covered", &merchant(shop, &let_go, "fulfilments", json!({})).await, 409, "order_not_covered");

    let slow = order(shop, 1, "tok_approve+capture_pending").await;
    let payment = slow.operations(shop).await[0]["id"].as_str().unwrap().to_owned();
    merchant(shop, &slow, &format!("payments/{payment}/capture"), json!({})).await.expect(200);
    let void = merchant(shop, &slow, &format!("payments/{payment}/void"), json!({})).await;
    met.meet("payment_capture_in_progress", &void, 409, "payment_capture_in_progress");

    let failed = order(shop, 1, "tok_decline").await;
    let payment = failed.operations(shop).await[0]["id"].as_str().unwrap().to_owned();
    let void = merchant(shop, &failed, &format!("payments/{payment}/void"), json!({})).await;
    met.meet("payment_not_voidable", &void, 409, "payment_not_voidable");
    let again = format!("/v1/orders/{}/payments?token={}", failed.id, failed.token);
    let late = json!({ "provider": "sandbox", "token": "tok_late_webhook" });
    shop.send(Method::POST, &again, Some(late.clone()), &[("prefer", "wait=0")]).await.unwrap().expect(201);
    met.meet("payment_in_progress", &shop.post(&again, late.clone()).await, 409, "payment_in_progress");
    failed.until(shop, |seen| seen[0] == "confirmed").await.unwrap();
    assert_eq!(shop.post(&again, late.clone()).await.expect(409).str("/code"), "order_needs_no_payment");
    let twice = order(shop, 1, "tok_decline").await;
    let again = format!("/v1/orders/{}/payments?token={}", twice.id, twice.token);
    let declined = json!({ "provider": "sandbox", "token": "tok_decline" });
    shop.send(Method::POST, &again, Some(declined), &[("prefer", "wait=10")]).await.unwrap().expect(201);
    twice.until(shop, |seen| seen[1] == "failed").await.unwrap();
    assert_eq!(shop.post(&again, late).await.expect(409).str("/code"), "payment_attempts_exhausted");
}

async fn stock(shop: &Shop, met: &mut Met) {
    let at = async |action: &str, body: Value| shop.staff(Method::POST, &format!("/v1/admin/stock/NO-2/{action}"), Some(body)).await;
    let cart = shop.cart(&[("NO-3", 51)]).await;
    met.meet("insufficient_stock", &shop.checkout(&cart, "tok_approve").await, 409, "insufficient_stock");
    met.meet("quantity_too_large", &at("receive", json!({ "quantity": u32::MAX })).await, 422, "quantity_too_large");
    met.meet("not_on_hand", &at("adjust", json!({ "delta": -51, "reason": "lost" })).await, 409, "not_on_hand");
    met.meet_field("reason_missing", &at("adjust", json!({ "delta": 1, "reason": "" })).await, "/reason");
    let attic = json!({ "code": "attic", "title": "Attic" });
    shop.staff(Method::POST, "/v1/admin/locations", Some(attic)).await.expect(201);
    met.meet_field("transfer_to_itself", &at("transfer", json!({ "from": "main", "to": "main", "quantity": 1 })).await, "/to");
    let sent = at("transfers", json!({ "from": "main", "to": "attic", "quantity": 2 })).await.expect(201);
    let arrival = format!("transfers/{}/receive", sent.str("/transfers/0/transfer_id"));
    met.meet("transfer_quantity", &at(&arrival, json!({ "received": 3 })).await, 422, "transfer_quantity");
    at(&arrival, json!({ "received": 2 })).await.expect(200);
    met.meet("transfer_not_found", &at(&arrival, json!({ "received": 1 })).await, 404, "not_found");
}

async fn settings(shop: &Shop, met: &mut Met) {
    let set = async |method: Method, path: &str, body: Option<Value>| shop.staff(method, &format!("/v1/admin/{path}"), body).await;
    let attic = json!({ "code": "attic", "title": "Attic" });
    met.meet("location_code_taken", &set(Method::POST, "locations", Some(attic)).await, 409, "already_exists");
    met.meet("location_not_found", &set(Method::DELETE, "locations/nowhere", None).await, 404, "not_found");
    met.meet("location_in_use", &set(Method::DELETE, "locations/attic", None).await, 409, "location_in_use");
    set(Method::POST, "locations", Some(json!({ "code": "kiosk", "title": "Kiosk" }))).await.expect(201);
    set(Method::DELETE, "locations/kiosk", None).await.expect(200);
    let renamed = set(Method::PATCH, "locations/kiosk", Some(json!({ "title": "Again" }))).await;
    met.meet("location_closed", &renamed, 409, "location_closed");
    let mut more = 0;
    let many = loop {
        let body = json!({ "code": format!("shelf-{more}"), "title": "Shelf" });
        let answer = set(Method::POST, "locations", Some(body)).await;
        if answer.status != 201 {
            break answer;
        }
        more += 1;
    };
    met.meet("too_many", &many, 409, "invalid_state");
    let tax = json!({ "title": "Luxury", "country": "DE", "category": "luxury", "rate_ppm": 50_000 });
    set(Method::POST, "tax-rates", Some(tax.clone())).await.expect(201);
    met.meet("tax_rate_exists", &set(Method::POST, "tax-rates", Some(tax)).await, 409, "already_exists");
    let none = "0198f3a2-0000-7000-8000-000000000000";
    met.meet("tax_rate_not_found", &set(Method::DELETE, &format!("tax-rates/{none}"), None).await, 404, "not_found");
    let method = set(Method::DELETE, &format!("shipping-methods/{none}"), None).await;
    met.meet("shipping_method_not_found", &method, 404, "not_found");
    let nameless = json!({ "title": "", "country": "DE", "category": "x", "rate_ppm": 1 });
    met.meet_field("invalid", &set(Method::POST, "tax-rates", Some(nameless)).await, "/title");
}

async fn promotions(shop: &Shop, met: &mut Met) {
    let set = async |method: Method, path: &str, body: Value| shop.staff(method, &format!("/v1/admin/promotions{path}"), Some(body)).await;
    let percent = |ppm: u32| json!({ "kind": "percent", "ppm": ppm, "target": "order" });
    let cents = |amount: i64| json!([{ "amount": amount, "currency": "EUR" }]);
    met.meet(
        "promotion_not_found",
        &set(Method::PATCH, "/0198f3a2-0000-7000-8000-000000000000", json!({ "title": "x" })).await,
        404,
        "not_found",
    );
    met.meet_field("title_invalid", &set(Method::POST, "", json!({ "title": "", "rule": percent(1) })).await, "/title");
    met.meet_field("percent_invalid", &set(Method::POST, "", json!({ "title": "x", "rule": percent(0) })).await, "/rule/ppm");
    let nothing = json!({ "kind": "fixed", "amounts": [], "target": "order" });
    met.meet_field("amounts_invalid", &set(Method::POST, "", json!({ "title": "x", "rule": nothing })).await, "/rule/amounts");
    let filtered = json!({ "kind": "percent", "ppm": 1, "target": "order", "product_ids": ["0198f3a2-0000-7000-8000-000000000000"] });
    met.meet_field("filter_invalid", &set(Method::POST, "", json!({ "title": "x", "rule": filtered })).await, "/rule/target");
    met.meet_field(
        "minimum_invalid",
        &set(Method::POST, "", json!({ "title": "x", "rule": percent(1), "minimum": cents(-1) })).await,
        "/minimum",
    );
    let dates = json!({ "title": "x", "rule": percent(1), "starts_at": "2026-02-01T00:00:00Z", "ends_at": "2026-01-01T00:00:00Z" });
    met.meet_field("dates_invalid", &set(Method::POST, "", dates).await, "/ends_at");
    let automatic = set(Method::POST, "", json!({ "title": "All", "rule": percent(1), "automatic": true })).await.expect(201).str("/id");
    let coupons = set(Method::POST, &format!("/{automatic}/coupons"), json!({ "count": 1 })).await;
    met.meet("promotion_automatic", &coupons, 409, "invalid_state");
    set(Method::POST, &format!("/{automatic}/end"), json!({})).await.expect(200);
    met.meet("promotion_ended", &set(Method::PATCH, &format!("/{automatic}"), json!({ "title": "x" })).await, 409, "invalid_state");

    let by_coupon = set(Method::POST, "", json!({ "title": "Some", "rule": percent(10_000) })).await.expect(201).str("/id");
    let coupons = format!("/{by_coupon}/coupons");
    met.meet_field("limit_invalid", &set(Method::POST, &coupons, json!({ "count": 1, "limit": 0 })).await, "/limit");
    met.meet_field("per_subject_invalid", &set(Method::POST, &coupons, json!({ "count": 1, "per_subject": 0 })).await, "/per_subject");
    let backwards = json!({ "count": 1, "valid_from": "2026-02-01T00:00:00Z", "valid_until": "2026-01-01T00:00:00Z" });
    met.meet_field("dates_invalid", &set(Method::POST, &coupons, backwards).await, "/valid_until");
    set(Method::POST, &coupons, json!({ "codes": ["ONLY-ONE"], "limit": 1 })).await.expect(201);
    let (first, second) = (shop.cart(&[("NO-3", 1)]).await, shop.cart(&[("NO-3", 1)]).await);
    for cart in [&first, &second] {
        shop.post(&format!("/v1/carts/{cart}/coupons"), json!({ "code": "ONLY-ONE" })).await.expect(200);
    }
    shop.checkout(&first, "tok_approve").await.expect(201);
    met.meet("coupon_unusable", &shop.checkout(&second, "tok_approve").await, 409, "coupon_exhausted");
    let cart = shop.cart(&[("NO-3", 1)]).await;
    let codes: Vec<String> = (0..=domain::cart::COUPONS_MAX).map(|n| format!("MANY-{n}")).collect();
    set(Method::POST, &coupons, json!({ "codes": codes })).await.expect(201);
    let mut applied = Vec::new();
    for code in codes {
        applied.push(shop.post(&format!("/v1/carts/{cart}/coupons"), json!({ "code": code })).await);
    }
    met.meet_field("coupon_limit", applied.last().unwrap(), "/code");
    fill(shop, met, &by_coupon).await;
}

/// A promotion holds so many coupons and no more.
async fn fill(shop: &Shop, met: &mut Met, promotion: &str) {
    let path = format!("/v1/admin/promotions/{promotion}/coupons");
    loop {
        let answer = shop.staff(Method::POST, &path, Some(json!({ "count": 200 }))).await;
        if answer.status != 201 {
            return met.meet("coupons_too_many", &answer, 409, "invalid_state");
        }
    }
}

async fn merchandising(shop: &Shop, met: &mut Met) {
    let set = async |method: Method, path: &str, body: Value| shop.staff(method, &format!("/v1/admin/{path}"), Some(body)).await;
    let none = "search-rules/0198f3a2-0000-7000-8000-000000000000";
    met.meet("search_rule_not_found", &set(Method::PATCH, none, json!({ "title": "x" })).await, 404, "not_found");
    let rule = |title: &str| {
        let boosts = json!([{ "kind": "brand", "brand": "Maker", "percent": 120 }]);
        json!({ "title": title, "condition": { "kind": "everywhere" }, "boosts": boosts })
    };
    met.meet_field("search_rule_invalid", &set(Method::POST, "search-rules", rule("")).await, "/title");
    let many = until_refused(domain::merchandising::RULES_MAX, |_| set(Method::POST, "search-rules", rule("x"))).await;
    met.meet("search_rules_too_many", &many, 409, "invalid_state");
    met.meet("synonyms_not_found", &set(Method::DELETE, "synonyms/tv", Value::Null).await, 404, "not_found");
    let two_way = json!({ "kind": "two_way", "phrases": ["tv", "television set"] });
    met.meet_field("synonyms_invalid", &set(Method::PUT, "synonyms/tv", json!({ "kind": "two_way", "phrases": ["tv"] })).await, "/phrases");
    let put = async |n: usize| set(Method::PUT, &format!("synonyms/tv-{n}"), two_way.clone()).await;
    let many = until_refused(domain::merchandising::SYNONYM_SETS_MAX, put).await;
    met.meet("synonyms_too_many", &many, 409, "invalid_state");
}

/// The answer to one more than there may be.
async fn until_refused(max: usize, make: impl AsyncFn(usize) -> Answer) -> Answer {
    let made = futures::stream::iter(0..max).map(|n| make(n)).buffer_unordered(32).collect::<Vec<_>>().await;
    assert!(made.iter().all(|answer| answer.status.is_success()), "{}", made[0].text);
    make(max).await
}

async fn people(shop: &Shop, met: &mut Met) {
    let taken = shop.post("/v1/carts", json!({ "currency": "EUR" })).await.expect(201).str("/id");
    let open = shop.cart(&[("NO-2", 1)]).await;
    let path = format!("/v1/carts/{open}");
    let told = shop.put(&format!("{path}/contact"), contact("erase.me@example.org", "Mira Okafor")).await.expect(200);
    shop.get_after(&path, told.token.as_ref().unwrap()).await.expect(200);
    let subject: String = sqlx::query_scalar("SELECT subject_id::text FROM cart_v2.cart WHERE state::text LIKE '%erase.me%'")
        .fetch_one(&shop.pool().await)
        .await
        .unwrap();
    shop.staff(Method::POST, &format!("/v1/admin/customers/{subject}/erase"), None).await.expect(200);
    let erased = shop.put(&format!("{path}/contact"), contact("mira.okafor@example.org", "Mira Okafor")).await;
    met.meet("subject_erased", &erased, 410, "subject_erased");

    // Two customers, one cart.
    let claim = async |customer: &str| {
        let token = shop.cli(&["token", "--role", "shopper", "--subject", customer]);
        let bearer = format!("Bearer {}", token.trim());
        shop.send(Method::POST, &format!("/v1/carts/{taken}/claim"), None, &[("authorization", &bearer)]).await.unwrap()
    };
    claim("0198f3a2-0000-7000-8000-00000000000a").await.expect(200);
    met.meet("cart_of_other_customer", &claim("0198f3a2-0000-7000-8000-00000000000b").await, 404, "not_found");

    let hasty = Shop::with_settings(&[("DAYBOOK_STORE__CART_TTL_S", "1")]).await;
    let last = hasty.staff(Method::DELETE, "/v1/admin/locations/main", None).await;
    met.meet("last_location", &last, 409, "invalid_state");
    hasty.product("NO-1", "10.00", 5).await;
    let left = hasty.post("/v1/carts", json!({ "currency": "EUR" })).await.expect(201).str("/id");
    let until = Instant::now() + Duration::from_secs(60);
    while hasty.get(&format!("/v1/carts/{left}")).await.expect(200).str("/status") != "expired" {
        assert!(Instant::now() < until);
        pause(Duration::from_millis(50)).await;
    }
    let added = hasty.post(&format!("/v1/carts/{left}/lines"), json!({ "sku": "NO-1", "quantity": 1 })).await;
    met.meet("cart_expired", &added, 409, "cart_closed");
}
