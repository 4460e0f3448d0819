//! The whole orders of the golden vectors, bought over HTTP: prices, discounts, taxes and shipping as a merchant sets them, every
//! amount to the cent.

use reqwest::Method;
use serde_json::{Value, json};

use crate::shop::{Shop, contact};

/// One order of the vectors goes to each.
const COUNTRIES: [&str; 5] = ["US", "DE", "JP", "KW", "CA"];

/// A merchant's settings, one after the other.
struct Merchant<'s>(&'s Shop);

impl Merchant<'_> {
    async fn set(&self, method: Method, path: &str, body: Value) -> Value {
        let answer = self.0.staff(method, &format!("/v1/admin/{path}"), Some(body)).await;
        assert!(answer.status.is_success(), "{path}: {}", answer.text);
        answer.body
    }

    /// The rate of the first line is the country's standard one, which shipping is taxed by where it is taxed at all.
    async fn taxes(&self, order: &Value, country: &str) {
        for (category, ppm) in categories(order) {
            let shipping = category == "standard" && order["shipping"]["tax"] != 0;
            let body =
                json!({ "title": category, "country": country, "category": category, "rate_ppm": ppm, "applies_to_shipping": shipping });
            self.set(Method::POST, "tax-rates", body).await;
        }
    }

    async fn delivery(&self, order: &Value, country: &str) {
        let included = order["prices_include_tax"] == true;
        let price = if included { &order["shipping"]["gross"] } else { &order["shipping"]["net"] };
        let prices = json!([{ "amount": price, "currency": order["currency"] }]);
        self.set(Method::POST, "shipping-methods", json!({ "title": country, "countries": [country], "prices": prices })).await;
    }

    async fn discount(&self, title: &str, amount: i64, currency: &str, product: Option<&str>) -> String {
        let amounts = json!([{ "amount": amount, "currency": currency }]);
        let mut rule = json!({ "kind": "fixed", "amounts": amounts, "target": if product.is_some() { "line" } else { "order" } });
        if let Some(product) = product {
            rule["product_ids"] = json!([product]);
        }
        let made = self.0.staff(Method::POST, "/v1/admin/promotions", Some(json!({ "title": title, "rule": rule, "automatic": true })));
        let made = made.await.expect(201);
        self.0.staff_after(&format!("/v1/admin/promotions/{}", made.str("/id")), made.token.as_ref().unwrap()).await.expect(200);
        made.str("/id")
    }
}

/// The tax category of each line's rate, and the rates: that of the first line is called standard.
fn categories(order: &Value) -> Vec<(String, i64)> {
    let mut rates: Vec<(String, i64)> = Vec::new();
    for line in order["lines"].as_array().unwrap() {
        let ppm = line["ppm"].as_i64().unwrap();
        if rates.iter().all(|(_, known)| *known != ppm) {
            rates.push((if rates.is_empty() { "standard".to_owned() } else { format!("rate-{ppm}") }, ppm));
        }
    }
    rates
}

/// As a price is written in a file.
fn decimal(amount: i64, exponent: usize) -> String {
    let digits = format!("{amount:0>width$}", width = exponent + 1);
    let (whole, decimals) = digits.split_at(digits.len() - exponent);
    if exponent == 0 { whole.to_owned() } else { format!("{whole}.{decimals}") }
}

fn sku(order: usize, line: usize) -> String {
    format!("VEC-{order}-{line}")
}

#[tokio::test(flavor = "multi_thread")]
async fn the_whole_orders_of_the_vectors_are_bought_to_the_cent() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../domain/golden/money_vectors.json");
    let vectors: Value = serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
    let orders = vectors["orders"].as_array().unwrap();
    assert_eq!(orders.len(), COUNTRIES.len());
    let countries = serde_json::to_string(&COUNTRIES).unwrap();
    let settings = [("DAYBOOK_STORE__CURRENCIES", r#"["EUR", "USD", "JPY", "KWD"]"#), ("DAYBOOK_STORE__COUNTRIES", &countries)];
    let shop = Shop::with_settings(&settings).await;
    let merchant = Merchant(&shop);
    // The merchant's own rates and ways of delivery, none of the configuration's.
    for (list, path) in [("tax-rates", "tax-rates"), ("shipping-methods", "shipping-methods")] {
        let configured = shop.staff(Method::GET, &format!("/v1/admin/{list}"), None).await.expect(200);
        for item in configured.body["items"].as_array().unwrap() {
            shop.staff(Method::DELETE, &format!("/v1/admin/{path}/{}", item["id"].as_str().unwrap()), None).await.expect(204);
        }
    }
    for (n, (order, country)) in orders.iter().zip(COUNTRIES).enumerate() {
        merchant.set(Method::PATCH, "settings", json!({ "prices_include_tax": order["prices_include_tax"] })).await;
        merchant.taxes(order, country).await;
        merchant.delivery(order, country).await;
        products(&shop, order, n);
        let promotions = discounts(&merchant, order, n).await;
        bought(&shop, order, n, country).await;
        for id in promotions {
            let ended = shop.staff(Method::POST, &format!("/v1/admin/promotions/{id}/end"), None).await.expect(200);
            shop.staff_after(&format!("/v1/admin/promotions/{id}"), &ended.token.unwrap()).await.expect(200);
        }
    }
    let (code, out, err) = shop.cli_code(&["verify"]);
    assert_eq!(code, 0, "{out}{err}");
}

fn products(shop: &Shop, order: &Value, n: usize) {
    let exponent = usize::try_from(order["exponent"].as_u64().unwrap()).unwrap();
    let mut csv = "Handle,Title,Published,Variant SKU,Variant Price,Variant Tax Code,Variant Inventory Qty,Status\n".to_owned();
    for (l, line) in order["lines"].as_array().unwrap().iter().enumerate() {
        let (category, _) = categories(order).into_iter().find(|(_, ppm)| line["ppm"] == *ppm).unwrap();
        let (sku, price) = (sku(n, l), decimal(line["unit"].as_i64().unwrap(), exponent));
        csv += &format!("{},{sku},TRUE,{sku},{price},{category},100,active\n", sku.to_lowercase());
    }
    let file = shop.dir.join(format!("vector-{n}.csv"));
    std::fs::write(&file, csv).unwrap();
    shop.cli(&["import", "products", file.to_str().unwrap(), "--currency", order["currency"].as_str().unwrap()]);
}

/// Line discounts by product, the rest of the discount on the order.
async fn discounts(merchant: &Merchant<'_>, order: &Value, n: usize) -> Vec<String> {
    let currency = order["currency"].as_str().unwrap();
    let mut made = Vec::new();
    let mut rest = order["discount_total"].as_i64().unwrap();
    for (l, line) in order["lines"].as_array().unwrap().iter().enumerate() {
        let amount = line["line_discount"].as_i64().unwrap();
        if amount > 0 {
            let product = merchant.0.get(&format!("/v1/products/{}", sku(n, l).to_lowercase())).await.expect(200).str("/id");
            made.push(merchant.discount("On a line", amount, currency, Some(&product)).await);
            rest -= amount;
        }
    }
    if rest > 0 {
        made.push(merchant.discount("On the order", rest, currency, None).await);
    }
    made
}

async fn bought(shop: &Shop, vector: &Value, n: usize, country: &str) {
    let new = json!({ "currency": vector["currency"], "country": country });
    let cart = shop.post("/v1/carts", new).await.expect(201).str("/id");
    let cart = format!("/v1/carts/{cart}");
    for (l, line) in vector["lines"].as_array().unwrap().iter().enumerate() {
        shop.post(&format!("{cart}/lines"), json!({ "sku": sku(n, l), "quantity": line["qty"] })).await.expect(200);
    }
    let mut buyer = contact("mira.okafor@example.org", "Mira Okafor");
    buyer["shipping_address"]["country"] = json!(country);
    shop.put(&format!("{cart}/contact"), buyer).await.expect(200);
    let options = shop.get(&format!("{cart}/shipping-options")).await.expect(200);
    let shown = shop.put(&format!("{cart}/shipping-option"), json!({ "id": options.str("/items/0/id") })).await.expect(200);
    let pay = json!({ "payment": { "provider": "sandbox", "token": "tok_approve" }, "expected_total": vector["total"] });
    let headers = [("prefer", "wait=10")];
    let order = shop.send(Method::POST, &format!("{cart}/checkout"), Some(pay), &headers).await.unwrap().expect(201);
    assert_eq!(order.str("/status"), "confirmed", "{}", order.text);
    for answer in [&shown, &order] {
        for (l, line) in vector["lines"].as_array().unwrap().iter().enumerate() {
            let discount = line["line_discount"].as_i64().unwrap() + line["order_discount"].as_i64().unwrap();
            let wanted = [&line["unit"], &json!(discount), &line["tax"], &line["gross"]].map(|value| value.as_i64().unwrap());
            let said = ["unit_price", "discount", "tax", "total"].map(|name| answer.int(&format!("/lines/{l}/{name}/amount")));
            // A line's total is with its tax.
            assert_eq!(said, wanted, "vector {n}, line {l}: {}", answer.text);
        }
        let said = ["discount", "tax", "total"].map(|name| answer.int(&format!("/totals/{name}/amount")));
        let wanted = ["discount_total", "tax_total", "total"].map(|name| vector[name].as_i64().unwrap());
        assert_eq!(said, wanted, "vector {n}: {}", answer.text);
        assert_eq!(answer.body["totals"]["total"]["exponent"], vector["exponent"]);
    }
    let shipping = order.int("/shipping_lines/0/total/amount");
    assert_eq!(shipping, vector["shipping"]["gross"].as_i64().unwrap(), "vector {n}: {}", order.text);
}
