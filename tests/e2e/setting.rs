//! The store's settings: written down with the first change, and every order placed by those in force at its position.

use reqwest::Method;
use serde_json::{Value, json};

use crate::shop::{Answer, Shop, contact};

impl Shop {
    async fn set(&self, method: Method, path: &str, body: Value) -> Answer {
        self.staff(method, &format!("/v1/admin/{path}"), Some(body)).await
    }

    /// A product of this weight, ten in stock.
    async fn heavy_product(&self, sku: &str, price: &str, grams: u32) {
        let csv = format!(
            "Handle,Title,Vendor,Published,Variant SKU,Variant Price,Variant Inventory Qty,Variant Grams,Status\n{},{sku},Maker,TRUE,{sku},{price},10,{grams},active\n",
            sku.to_lowercase()
        );
        let file = self.dir.join(format!("{sku}.csv"));
        std::fs::write(&file, csv).unwrap();
        self.cli(&["import", "products", file.to_str().unwrap()]);
    }

    /// What a cart is offered, by the options' titles, after a write.
    async fn options(&self, cart: &str, token: &str) -> Vec<(String, i64)> {
        let shown = self.get_after(&format!("/v1/carts/{cart}/shipping-options"), token).await.expect(200);
        let of = |option: &Value| (option["title"].as_str().unwrap().to_owned(), option["price"]["amount"].as_i64().unwrap());
        shown.body["items"].as_array().unwrap().iter().map(of).collect()
    }
}

fn eur(amount: i64) -> Value {
    json!({ "amount": amount, "currency": "EUR" })
}

fn tax(title: &str, rate_ppm: u32, compound: bool) -> Value {
    json!({ "title": title, "country": "DE", "category": "standard", "rate_ppm": rate_ppm, "compound": compound })
}

#[tokio::test(flavor = "multi_thread")]
async fn the_first_change_writes_the_configuration_down() {
    let shop = Shop::empty().await;
    let before = shop.staff(Method::GET, "/v1/admin/settings", None).await.expect(200);
    assert_eq!((&before.body["is_written"], before.headers["etag"].to_str().unwrap()), (&json!(false), "\"0\""));
    assert_eq!(shop.staff(Method::GET, "/v1/streams/setting/store", None).await.status.as_u16(), 404);
    let listed = async |path: &str| shop.staff(Method::GET, &format!("/v1/admin/{path}"), None).await.expect(200).body;
    let paths = ["tax-rates", "shipping-methods", "locations"];
    let mut configured = Vec::new();
    for path in paths {
        configured.push(listed(path).await);
    }
    // What changes nothing writes nothing.
    shop.set(Method::PATCH, "settings", json!({ "prices_include_tax": before.body["prices_include_tax"] })).await.expect(200);
    assert_eq!(shop.staff(Method::GET, "/v1/streams/setting/store", None).await.status.as_u16(), 404);

    let bearer = format!("Bearer {}", shop.token);
    let first = [("authorization", bearer.as_str()), ("if-match", "\"0\""), ("idempotency-key", "luxury")];
    let luxury = json!({ "title": "Luxury", "country": "DE", "category": "luxury", "rate_ppm": 50_000 });
    let added = shop.send(Method::POST, "/v1/admin/tax-rates", Some(luxury.clone()), &first).await.unwrap().expect(201);
    let again = shop.send(Method::POST, "/v1/admin/tax-rates", Some(luxury), &first).await.unwrap().expect(201);
    assert!(again.replayed && again.text == added.text);
    let stale = shop.send(Method::PATCH, "/v1/admin/settings", Some(json!({ "rounding": "half_even" })), &first[..2]).await.unwrap();
    assert_eq!(stale.expect(409).str("/code"), "version_conflict");

    let stream = shop.staff(Method::GET, "/v1/streams/setting/store", None).await.expect(200);
    let types: Vec<&str> = stream.body["events"].as_array().unwrap().iter().map(|event| event["type"].as_str().unwrap()).collect();
    assert_eq!(types[..2], ["setting.StoreTermsSet", "setting.LocationAdded"]);
    assert_eq!(types.last(), Some(&"setting.TaxRateSet"));
    for (path, before) in paths.iter().zip(&configured) {
        let mut after = listed(path).await;
        if *path == "tax-rates" {
            let new = after["items"].as_array_mut().unwrap().pop().unwrap();
            assert_eq!(new["id"], added.body["id"]);
        }
        assert_eq!(after["items"], before["items"], "{path}: ids and values are those of the configuration");
    }

    // In pages, each as long as asked for.
    let page = listed("tax-rates?limit=2").await;
    let next = listed(&format!("tax-rates?limit=2&cursor={}", page["next_cursor"].as_str().unwrap())).await;
    assert_eq!(next["items"], json!([configured[0]["items"][2], configured[0]["items"][3]]));

    let id = added.str("/id");
    let twice = json!({ "title": "Luxury", "country": "DE", "category": "luxury", "rate_ppm": 60_000 });
    assert_eq!(shop.set(Method::POST, "tax-rates", twice.clone()).await.expect(409).str("/held_by"), id);
    assert_eq!(shop.set(Method::PUT, &format!("tax-rates/{id}"), twice).await.expect(200).int("/rate_ppm"), 60_000);
    shop.staff(Method::DELETE, &format!("/v1/admin/tax-rates/{id}"), None).await.expect(204);
    shop.staff(Method::GET, &format!("/v1/admin/tax-rates/{id}"), None).await.expect(404);
    let wrong =
        shop.set(Method::POST, "tax-rates", json!({ "title": "", "country": "de", "category": "x", "rate_ppm": 1 })).await.expect(422);
    assert_eq!((wrong.str("/errors/0/pointer"), wrong.str("/errors/1/pointer")), ("/title".to_owned(), "/country".to_owned()));
    let cents = json!({ "title": "Post", "prices": [{ "amount": 5, "currency": "EUR", "exponent": 0 }] });
    assert_eq!(shop.set(Method::POST, "shipping-methods", cents).await.expect(422).str("/errors/0/pointer"), "/prices/0");

    let manager = shop.cli(&["token", "--role", "support"]);
    let support = format!("Bearer {}", manager.trim());
    for path in ["settings", "locations", "tax-rates", "shipping-methods"] {
        let path = format!("/v1/admin/{path}");
        shop.get(&path).await.expect(401);
        shop.send(Method::GET, &path, None, &[("authorization", &support)]).await.unwrap().expect(403);
    }
    let (code, out, err) = shop.cli_code(&["verify"]);
    assert_eq!(code, 0, "{out}{err}");
}

#[tokio::test(flavor = "multi_thread")]
async fn shipping_costs_by_weight_and_by_amount_and_several_taxes_are_right_to_the_cent() {
    let shop = Shop::empty().await;
    shop.heavy_product("ANVIL-1", "10.00", 900).await;
    // Only two ways of delivery, and neither is the configuration's.
    let configured = shop.staff(Method::GET, "/v1/admin/shipping-methods", None).await.expect(200);
    for method in configured.body["items"].as_array().unwrap() {
        let path = format!("/v1/admin/shipping-methods/{}", method["id"].as_str().unwrap());
        shop.staff(Method::DELETE, &path, None).await.expect(204);
    }
    let tiers = json!([{ "from_grams": 0, "prices": [eur(490)] }, { "from_grams": 1_000, "prices": [eur(790)] }]);
    let by_weight = json!({ "title": "Weight", "countries": ["DE"], "rates": { "by": "weight", "tiers": tiers, "grams_max": 2_700 } });
    shop.set(Method::POST, "shipping-methods", by_weight).await.expect(201);
    let tiers = json!([{ "from": eur(1_500), "price": eur(300) }, { "from": eur(3_000), "price": eur(100) }]);
    let by_amount = json!({ "title": "Amount", "free_from": [eur(4_000)], "rates": { "by": "amount", "tiers": tiers } });
    let set = shop.set(Method::POST, "shipping-methods", by_amount).await.expect(201);
    assert_eq!((set.str("/rates/by"), set.int("/rates/tiers/1/price/exponent")), ("amount".to_owned(), 2));

    let cart = shop.post("/v1/carts", json!({ "currency": "EUR", "country": "DE" })).await.expect(201).str("/id");
    shop.put(&format!("/v1/carts/{cart}/contact"), contact("mira.okafor@example.org", "Mira Okafor")).await.expect(200);
    let line = shop.post(&format!("/v1/carts/{cart}/lines"), json!({ "sku": "ANVIL-1", "quantity": 1 })).await.expect(200);
    let line = format!("/v1/carts/{cart}/lines/{}", line.str("/lines/0/line_id"));
    let (weight, amount) = (|price| ("Weight".to_owned(), price), |price| ("Amount".to_owned(), price));
    let expected = [(1, vec![weight(490)]), (2, vec![weight(790), amount(300)]), (3, vec![weight(790), amount(100)]), (4, vec![amount(0)])];
    for (quantity, offered) in expected {
        let set = shop.send(Method::PATCH, &line, Some(json!({ "quantity": quantity })), &[]).await.unwrap().expect(200);
        assert_eq!(shop.options(&cart, &set.token.unwrap()).await, offered, "{quantity}");
    }

    // 10 % and 5 % on top of it, in the price: 48 and 87 cents of 10.00.
    let rates = shop.staff(Method::GET, "/v1/admin/tax-rates", None).await.expect(200);
    let standard = rates.body["items"].as_array().unwrap().iter().find(|rate| rate["country"] == "DE" && rate["category"] == "standard");
    let path = format!("tax-rates/{}", standard.unwrap()["id"].as_str().unwrap());
    shop.set(Method::PUT, &path, tax("State", 100_000, false)).await.expect(200);
    shop.set(Method::POST, "tax-rates", tax("City", 50_000, true)).await.expect(201);
    shop.set(Method::PATCH, "settings", json!({ "prices_include_tax": true })).await.expect(200);
    shop.send(Method::PATCH, &line, Some(json!({ "quantity": 1 })), &[]).await.unwrap().expect(200);
    let options = shop.get(&format!("/v1/carts/{cart}/shipping-options")).await.expect(200);
    let chosen = shop.put(&format!("/v1/carts/{cart}/shipping-option"), json!({ "id": options.str("/items/0/id") })).await.expect(200);
    let shown = shop.get_after(&format!("/v1/carts/{cart}"), &chosen.token.unwrap()).await.expect(200);
    let taxes = |shown: &Answer| -> Vec<(i64, i64)> {
        let lines = shown.body["tax_lines"].as_array().unwrap();
        lines.iter().map(|tax| (tax["taxable"]["amount"].as_i64().unwrap(), tax["amount"]["amount"].as_i64().unwrap())).collect()
    };
    assert_eq!(taxes(&shown), [(865, 87), (865, 48)]);
    assert_eq!((shown.int("/totals/tax/amount"), shown.int("/totals/total/amount")), (135, 1_490));

    // The same prices without tax: 1.00, and 5 % of 11.00.
    let settings = shop.set(Method::PATCH, "settings", json!({ "prices_include_tax": false })).await.expect(200);
    let shown = shop.get_after(&format!("/v1/carts/{cart}"), &settings.token.clone().unwrap()).await.expect(200);
    assert_eq!(taxes(&shown), [(1_000, 100), (1_000, 55)]);
    assert_eq!((shown.int("/totals/tax/amount"), shown.int("/totals/total/amount")), (155, 1_645));
    assert_eq!(shop.get_after("/v1/store", &settings.token.unwrap()).await.body["prices_include_tax"], json!(false));
    let body = json!({ "payment": { "provider": "sandbox", "token": "tok_approve" }, "expected_total": eur(1_645) });
    let order = shop.post(&format!("/v1/carts/{cart}/checkout"), body).await.expect(201);
    assert_eq!((order.str("/status"), order.int("/totals/total/amount"), taxes(&order)), ("confirmed".to_owned(), 1_645, taxes(&shown)));
    let (code, out, err) = shop.cli_code(&["verify"]);
    assert_eq!(code, 0, "{out}{err}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_order_is_placed_by_the_settings_in_force_or_agreed_to_anew() {
    let shop = Shop::empty().await;
    shop.product("BOWL-1", "10.00", 100).await;
    shop.set(Method::PATCH, "settings", json!({ "prices_include_tax": false })).await.expect(200);
    let rates = shop.staff(Method::GET, "/v1/admin/tax-rates", None).await.expect(200);
    let standard = rates.body["items"].as_array().unwrap().iter().find(|rate| rate["country"] == "DE" && rate["category"] == "standard");
    let rate_path = format!("tax-rates/{}", standard.unwrap()["id"].as_str().unwrap());
    shop.set(Method::PUT, &rate_path, tax("VAT", 200_000, false)).await.expect(200);
    let payment = json!({ "provider": "sandbox", "token": "tok_approve" });

    // The tax has risen since the total was answered: 12.00 and 4.90, then 12.50 and 4.90.
    let cart = shop.cart(&[("BOWL-1", 1)]).await;
    shop.set(Method::PUT, &rate_path, tax("VAT", 250_000, false)).await.expect(200);
    let checkout = format!("/v1/carts/{cart}/checkout");
    for expected in [Value::Null, eur(1_690)] {
        let changed = shop.post(&checkout, json!({ "payment": payment, "expected_total": expected })).await.expect(409);
        assert_eq!((changed.str("/code"), changed.int("/current_total/amount")), ("cart_changed".to_owned(), 1_740));
    }
    let order = shop.post(&checkout, json!({ "payment": payment, "expected_total": eur(1_740) })).await.expect(201);
    assert_eq!((order.int("/totals/total/amount"), order.int("/tax_lines/0/rate_ppm")), (1_740, 250_000));

    // Shipping has become dearer than what was seen; cheaper needs nobody's consent; gone is gone.
    let methods = shop.staff(Method::GET, "/v1/admin/shipping-methods", None).await.expect(200);
    let method_path = format!("shipping-methods/{}", methods.str("/items/0/id"));
    let standard = |price| json!({ "title": "Standard", "countries": ["DE"], "prices": [eur(price)] });
    let cart = shop.cart(&[("BOWL-1", 1)]).await;
    shop.set(Method::PUT, &method_path, standard(590)).await.expect(200);
    let changed = shop.checkout(&cart, "tok_approve").await.expect(409);
    assert_eq!((changed.str("/code"), changed.int("/current_total/amount")), ("cart_changed".to_owned(), 1_840));
    shop.set(Method::PUT, &method_path, standard(390)).await.expect(200);
    let order = shop.checkout(&cart, "tok_approve").await.expect(201);
    assert_eq!((order.int("/totals/shipping/amount"), order.int("/totals/total/amount")), (390, 1_640));
    let cart = shop.cart(&[("BOWL-1", 1)]).await;
    shop.staff(Method::DELETE, &format!("/v1/admin/{method_path}"), None).await.expect(204);
    assert_eq!(shop.checkout(&cart, "tok_approve").await.expect(422).str("/code"), "shipping_unavailable");

    // While the tax goes up and down, every order has the one that the log had when it was placed.
    let mut carts = Vec::new();
    for _ in 0..8 {
        carts.push(shop.cart(&[("BOWL-1", 1)]).await);
    }
    let turning = async {
        for turn in 0..16 {
            shop.set(Method::PUT, &rate_path, tax("VAT", if turn % 2 == 0 { 100_000 } else { 250_000 }, false)).await.expect(200);
        }
    };
    let buying = async {
        let mut orders = Vec::new();
        for cart in &carts {
            let path = format!("/v1/carts/{cart}/checkout");
            let mut expected = Value::Null;
            let placed = loop {
                let answer = shop.post(&path, json!({ "payment": payment, "expected_total": expected })).await;
                if answer.status != 409 {
                    break answer.expect(201);
                }
                assert_eq!(answer.str("/code"), "cart_changed");
                expected = answer.body["current_total"].clone();
            };
            orders.push(placed.str("/id"));
        }
        orders
    };
    let ((), orders) = tokio::join!(turning, buying);
    for order in orders {
        let events = shop.staff(Method::GET, &format!("/v1/streams/order/{order}"), None).await.expect(200);
        let placed = &events.body["events"][0];
        let position: i64 = placed["position"].as_str().unwrap().parse().unwrap();
        let settings = shop.staff(Method::GET, &format!("/v1/streams/setting/store?as_of={position}"), None).await.expect(200);
        let rates = settings.body["state"]["tax_rates"].as_array().unwrap();
        let in_force = rates.iter().find(|rate| rate["title"] == "VAT").unwrap();
        assert_eq!(placed["data"]["taxes"][0]["rate_ppm"], in_force["rate_ppm"], "{position}");
    }
    let (code, out, err) = shop.cli_code(&["verify"]);
    assert_eq!(code, 0, "{out}{err}");
}
