//! Stock at several locations: sold in their order, moved, counted, promised beyond what is there and no further.

use futures::future::join_all;
use reqwest::Method;
use serde_json::{Value, json};

use crate::shop::{Answer, Shop, times};

impl Shop {
    async fn stock(&self, sku: &str, action: &str, body: Value) -> Answer {
        self.staff(Method::POST, &format!("/v1/admin/stock/{sku}/{action}"), Some(body)).await
    }

    async fn location(&self, code: &str) -> Answer {
        let body = json!({ "code": code, "title": code.to_uppercase(), "address": { "city": "Potsdam", "country": "DE" } });
        self.staff(Method::POST, "/v1/admin/locations", Some(body)).await
    }

    /// How often an event of this type is in a variant's ledger.
    async fn ledger(&self, sku: &str, event: &str) -> usize {
        // A count of nothing changed is an answer of its own: the stock as the log has it.
        let position = self.staff(Method::GET, "/v1/ops/status", None).await.expect(200).int("/head_position");
        let stock = self.staff(Method::GET, &format!("/v1/admin/stock/{sku}?as_of={position}"), None).await.expect(200);
        stock.body["ledger"].as_array().unwrap().iter().filter(|entry| entry["event"] == event).count()
    }

    #[track_caller]
    fn verified(&self) {
        let (code, out, err) = self.cli_code(&["verify"]);
        assert_eq!(code, 0, "{out}{err}");
    }
}

/// `(on_hand, allocated, available, incoming)` at a location.
#[track_caller]
fn level(stock: &Answer, code: &str) -> (i64, i64, i64, i64) {
    let levels = stock.body["levels"].as_array().unwrap();
    let level = levels.iter().find(|level| level["code"] == code).unwrap_or_else(|| panic!("{code} in {}", stock.text));
    let units = |field: &str| level[field].as_i64().unwrap();
    (units("on_hand"), units("allocated"), units("available"), units("incoming"))
}

#[tokio::test(flavor = "multi_thread")]
async fn stock_is_sold_from_the_locations_in_their_order_and_moved_between_them() {
    let shop = Shop::empty().await;
    shop.product("MUG-1", "8.00", 3).await;
    let main = shop.staff(Method::GET, "/v1/admin/locations", None).await.expect(200).str("/items/0/id");
    let attic = shop.location("attic").await.expect(201);
    assert_eq!((attic.str("/status"), attic.int("/priority")), ("active".to_owned(), 1));
    assert_eq!(shop.location("Attic").await.expect(409).str("/code"), "already_exists");
    let stocked = shop.stock("MUG-1", "receive", json!({ "location": "attic", "quantity": 2 })).await.expect(200);
    assert_eq!((level(&stocked, "main"), level(&stocked, "attic")), ((3, 0, 3, 0), (2, 0, 2, 0)));

    // Four of five: the first location is emptied first.
    let cart = shop.cart(&[("MUG-1", 4)]).await;
    let order = shop.checkout(&cart, "tok_approve").await.expect(201);
    assert_eq!(order.str("/status"), "confirmed");
    let stock = shop.staff_after("/v1/admin/stock/MUG-1", &order.token.clone().unwrap()).await.expect(200);
    let parts = json!([
        { "location": main, "quantity": 3, "backordered": false },
        { "location": attic.str("/id"), "quantity": 1, "backordered": false },
    ]);
    assert_eq!(stock.body["allocations"][0]["parts"], parts, "{}", stock.text);
    assert_eq!(stock.str("/allocations/0/order_id"), order.str("/id"));

    // Only what nobody was promised moves, at once or by way of a van that loses one.
    shop.stock("MUG-1", "receive", json!({ "quantity": 5 })).await.expect(200);
    let refused = shop.stock("MUG-1", "transfer", json!({ "from": "main", "to": "attic", "quantity": 6 })).await.expect(409);
    assert_eq!((refused.str("/code"), refused.int("/available")), ("insufficient_stock".to_owned(), 5));
    let moved = json!({ "from": "main", "to": attic.str("/id"), "quantity": 5 });
    let bearer = format!("Bearer {}", shop.token);
    let once = [("authorization", bearer.as_str()), ("idempotency-key", "move")];
    let first = shop.send(Method::POST, "/v1/admin/stock/MUG-1/transfer", Some(moved.clone()), &once).await.unwrap().expect(200);
    let again = shop.send(Method::POST, "/v1/admin/stock/MUG-1/transfer", Some(moved), &once).await.unwrap().expect(200);
    assert!(again.replayed && again.text == first.text);
    assert_eq!((level(&first, "main"), level(&first, "attic")), ((3, 3, 0, 0), (7, 1, 6, 0)));
    let sent = shop.stock("MUG-1", "transfers", json!({ "from": "attic", "to": "main", "quantity": 2 })).await.expect(201);
    assert_eq!((level(&sent, "main"), level(&sent, "attic"), sent.int("/available")), ((3, 3, 0, 2), (5, 1, 4, 0), 4));
    let arrival = format!("transfers/{}/receive", sent.str("/transfers/0/transfer_id"));
    let refused = shop.stock("MUG-1", &arrival, json!({ "received": 3 })).await.expect(422);
    assert_eq!((refused.str("/code"), refused.int("/dispatched")), ("transfer_quantity".to_owned(), 2));
    let arrived = shop.stock("MUG-1", &arrival, json!({ "received": 1 })).await.expect(200);
    assert_eq!((level(&arrived, "main"), arrived.int("/on_hand"), arrived.int("/incoming")), ((4, 3, 1, 0), 9, 0));
    shop.stock("MUG-1", &arrival, json!({ "received": 1 })).await.expect(404);

    // What can't be is said with its own code.
    let unknown = shop.stock("MUG-1", "receive", json!({ "location": "cellar", "quantity": 1 })).await.expect(422);
    assert_eq!((unknown.str("/code"), unknown.str("/errors/0/pointer")), ("location_unknown".to_owned(), "/location".to_owned()));
    let gone = shop.stock("MUG-1", "adjust", json!({ "delta": -5, "reason": "lost" })).await.expect(409);
    assert_eq!((gone.str("/code"), gone.int("/on_hand")), ("not_on_hand".to_owned(), 4));
    let many = shop.stock("MUG-1", "receive", json!({ "quantity": u32::MAX })).await.expect(422);
    assert_eq!(many.str("/code"), "quantity_too_large");
    let itself = shop.stock("MUG-1", "transfer", json!({ "from": "main", "to": "main", "quantity": 1 })).await.expect(422);
    assert_eq!(itself.str("/errors/0/code"), "transfer_to_itself");
    for code in ["location_unknown", "not_on_hand", "quantity_too_large", "transfer_quantity", "location_in_use", "location_closed"] {
        shop.get(&format!("/problems/{code}")).await.expect(200);
    }

    // A location that something lies at stays; an empty one closes, takes nothing more, and its code is free.
    let attic_path = format!("/v1/admin/locations/{}", attic.str("/id"));
    let used = shop.staff(Method::DELETE, &attic_path, None).await.expect(409);
    assert_eq!((used.str("/code"), used.int("/variants")), ("location_in_use".to_owned(), 1));
    shop.location("kiosk").await.expect(201);
    let closed = shop.staff(Method::DELETE, "/v1/admin/locations/kiosk", None).await.expect(200);
    assert_eq!(closed.str("/status"), "closed");
    let refused = shop.stock("MUG-1", "receive", json!({ "location": "kiosk", "quantity": 1 })).await.expect(409);
    assert_eq!(refused.str("/code"), "location_closed");
    let renamed = shop.staff(Method::PATCH, "/v1/admin/locations/kiosk", Some(json!({ "title": "Kiosk" }))).await.expect(409);
    assert_eq!(renamed.str("/code"), "location_closed");
    shop.location("kiosk").await.expect(201);

    // Another order of the locations counts from the next order on; a guest changes nothing, and nobody an older version.
    let last = Some(json!({ "priority": 9 }));
    let stale = [("authorization", bearer.as_str()), ("if-match", "\"1\"")];
    let refused = shop.send(Method::PATCH, "/v1/admin/locations/main", last.clone(), &stale).await.unwrap().expect(409);
    assert_eq!(refused.str("/code"), "version_conflict");
    shop.send(Method::PATCH, "/v1/admin/locations/main", last.clone(), &[]).await.unwrap().expect(401);
    shop.staff(Method::PATCH, "/v1/admin/locations/main", last).await.expect(200);
    let cart = shop.cart(&[("MUG-1", 2)]).await;
    let order = shop.checkout(&cart, "tok_approve").await.expect(201);
    let stock = shop.staff_after("/v1/admin/stock/MUG-1", &order.token.unwrap()).await.expect(200);
    assert_eq!((level(&stock, "main"), level(&stock, "attic")), ((4, 3, 1, 0), (5, 3, 2, 0)));
    shop.verified();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backorder_goes_to_its_limit_and_each_line_is_crossed_once() {
    let shop = Shop::empty().await;
    shop.product("LAMP-1", "20.00", 3).await;
    let denied = shop.stock("LAMP-1", "policy", json!({ "policy": "deny", "limit": 2 })).await.expect(422);
    assert_eq!(denied.str("/errors/0/pointer"), "/limit");
    let wanted = json!({ "policy": "backorder", "limit": 2, "low_stock_threshold": 1 });
    let policy = shop.stock("LAMP-1", "policy", wanted).await.expect(200);
    assert_eq!((policy.str("/policy"), policy.int("/limit"), policy.int("/low_stock_threshold")), ("backorder".to_owned(), 2, 1));

    let buy = async |quantity| {
        let cart = shop.cart(&[("LAMP-1", quantity)]).await;
        shop.checkout(&cart, "tok_approve").await
    };
    let order = buy(4).await.expect(201);
    assert_eq!(order.str("/status"), "confirmed");
    let stock = shop.staff_after("/v1/admin/stock/LAMP-1", &order.token.unwrap()).await.expect(200);
    assert_eq!((stock.int("/available"), stock.int("/levels/0/backordered")), (-1, 1));
    let beyond = buy(2).await.expect(409);
    assert_eq!((beyond.str("/code"), beyond.int("/lines/0/available")), ("insufficient_stock".to_owned(), 1));
    buy(1).await.expect(201);
    assert_eq!(buy(1).await.expect(409).int("/lines/0/available"), 0);

    // Two come in for those who wait: nothing to be sold yet. Three more are.
    shop.stock("LAMP-1", "receive", json!({ "quantity": 2 })).await.expect(200);
    assert_eq!(shop.ledger("LAMP-1", "BackInStock").await, 0);
    let back = shop.stock("LAMP-1", "receive", json!({ "quantity": 3 })).await.expect(200);
    assert_eq!(back.int("/available"), 3);
    for event in ["LowStockReached", "OutOfStock", "BackInStock"] {
        assert_eq!(shop.ledger("LAMP-1", event).await, 1, "{event}");
    }
    // What is kept back is not sold, and keeping it back crosses the lines like a sale.
    let kept = json!({ "policy": "deny", "safety": [{ "location": "main", "quantity": 3 }] });
    let kept = shop.stock("LAMP-1", "policy", kept).await.expect(200);
    assert_eq!((kept.int("/safety"), kept.int("/available")), (3, 0));
    assert_eq!(buy(1).await.expect(409).int("/lines/0/available"), 0);
    assert_eq!((shop.ledger("LAMP-1", "LowStockReached").await, shop.ledger("LAMP-1", "OutOfStock").await), (2, 2));
    shop.verified();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_count_below_what_is_promised_is_a_shortfall_and_the_order_is_still_served() {
    let shop = Shop::empty().await;
    shop.product("VASE-2", "30.00", 2).await;
    let cart = shop.cart(&[("VASE-2", 2)]).await;
    let order = shop.checkout(&cart, "tok_decline").await.expect(201);
    assert_eq!(order.str("/status"), "pending_payment");
    let held = shop.staff_after("/v1/admin/stock/VASE-2", &order.token.clone().unwrap()).await.expect(200);
    assert_eq!((held.str("/holds/0/owner/id"), held.int("/holds/0/parts/0/quantity")), (order.str("/id"), 2));
    let counted = shop.stock("VASE-2", "count", json!({ "quantity": 0, "reason": "broken" })).await.expect(200);
    assert_eq!((counted.int("/on_hand"), counted.int("/reserved"), counted.int("/available")), (0, 2, -2));
    shop.stock("VASE-2", "count", json!({ "quantity": 0, "reason": "broken" })).await.expect(200);
    assert_eq!(shop.ledger("VASE-2", "StockShortfall").await, 1);
    let late = shop.cart(&[("VASE-2", 1)]).await;
    assert_eq!(shop.checkout(&late, "tok_approve").await.expect(409).str("/code"), "insufficient_stock");

    let paid = shop.checkout(&cart, "tok_approve").await.expect(201);
    assert_eq!((paid.str("/id"), paid.str("/status")), (order.str("/id"), "confirmed".to_owned()));
    let stock = shop.staff_after("/v1/admin/stock/VASE-2", &paid.token.unwrap()).await.expect(200);
    assert_eq!(level(&stock, "main"), (0, 2, -2, 0));
    assert_eq!(stock.body["holds"], json!([]));
    // The last two that come in are theirs.
    let came = shop.stock("VASE-2", "receive", json!({ "quantity": 2 })).await.expect(200);
    assert_eq!(came.int("/available"), 0);
    shop.verified();
}

#[tokio::test(flavor = "multi_thread")]
async fn the_last_units_of_two_locations_are_sold_once_while_they_are_moved_about() {
    let shop = Shop::empty().await;
    shop.location("attic").await.expect(201);
    for round in 0..times("DAYBOOK_TEST_ROUNDS", 1) {
        let sku = format!("LAST-{round}");
        shop.product(&sku, "5.00", 5).await;
        shop.stock(&sku, "receive", json!({ "location": "attic", "quantity": 5 })).await.expect(200);
        let shoppers = join_all((0..100).map(|_| async {
            let cart = shop.cart(&[(&sku, 1)]).await;
            shop.checkout(&cart, "tok_approve").await
        }));
        let moving = async {
            for turn in 0..20 {
                let (from, to) = if turn % 2 == 0 { ("main", "attic") } else { ("attic", "main") };
                let moved = shop.stock(&sku, "transfer", json!({ "from": from, "to": to, "quantity": 2 })).await;
                assert!(moved.status == 200 || moved.body["code"] == "insufficient_stock", "{}", moved.text);
            }
        };
        let (answers, ()) = tokio::join!(shoppers, moving);
        let confirmed = answers.iter().filter(|a| a.status == 201 && a.body["status"] == "confirmed").count();
        let refused = answers.iter().filter(|a| a.status == 409 && a.body["code"] == "insufficient_stock").count();
        assert_eq!((confirmed, refused), (10, 90), "{:?}", answers.iter().map(|a| a.status.as_u16()).collect::<Vec<_>>());
        for (event, times) in [("LowStockReached", 1), ("OutOfStock", 1), ("BackInStock", 0), ("StockShortfall", 0)] {
            assert_eq!(shop.ledger(&sku, event).await, times, "{event}");
        }
    }
    shop.verified();
}
