//! What `/openapi.json` promises is what the program does.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use reqwest::Method;
use serde_json::{Value, json};

use crate::shop::{Answer, Shop, contact, pause};

/// Paths whose routes are for the staff, whatever the document says of them.
const STAFF_PATHS: [&str; 5] = ["/v1/admin/", "/v1/ops/", "/v1/events", "/v1/streams/", "/v1/schemas/"];

/// An operation of the document.
struct Operation<'a> {
    method: Method,
    path: &'a str,
    said: &'a Value,
}

fn operations(document: &Value) -> Vec<Operation<'_>> {
    let paths = document["paths"].as_object().unwrap();
    paths
        .iter()
        .flat_map(|(path, methods)| {
            let methods = methods.as_object().unwrap().iter();
            methods.map(move |(method, said)| Operation { method: method.to_uppercase().parse().unwrap(), path, said })
        })
        .collect()
}

/// The path with something in each of its places.
fn filled(path: &str) -> String {
    path.split('/').map(|part| if part.starts_with('{') { "x" } else { part }).collect::<Vec<_>>().join("/")
}

#[tokio::test(flavor = "multi_thread")]
async fn who_may_not_is_told_so_before_anything_else_of_the_request_is_read() {
    let shop = Shop::empty().await;
    let document = shop.get("/openapi.json").await.expect(200).body;
    let shopper = format!("Bearer {}", shop.cli(&["token", "--role", "shopper"]).trim());
    let mut asked = 0;
    for Operation { method, path, said } in operations(&document) {
        let is_for_staff = said["security"].as_array().is_some_and(|all| !all.is_empty()) && said["tags"][0] != "shoppers";
        assert_eq!(is_for_staff, STAFF_PATHS.iter().any(|staff| path.starts_with(staff)), "{method} {path}");
        if !is_for_staff {
            continue;
        }
        for (kind, garbage) in [("application/json", "{"), ("application/json", r#"{"no": "such field"}"#), ("text/plain", "garbage")] {
            for (bearer, status, code) in [(None, 401, "unauthenticated"), (Some(&shopper), 403, "forbidden")] {
                let url = format!("{}{}?no_such_parameter=1", shop.url, filled(path));
                let mut request = shop.http.request(method.clone(), url).header("content-type", kind).body(garbage);
                if let Some(bearer) = bearer {
                    request = request.header("authorization", bearer);
                }
                let answer = request.send().await.unwrap();
                assert_eq!(answer.status(), status, "{method} {path} {garbage}");
                let problem: Value = answer.json().await.unwrap();
                assert_eq!(problem["code"], code, "{method} {path} {garbage}");
                assert!(said["responses"][status.to_string()].is_object(), "{method} {path} does not say {status}");
            }
        }
        asked += 1;
    }
    assert!(asked > 50, "only {asked} routes are for the staff");
}

/// Answers held against the document. Stricter than it: what it does not name is not there, so that no answer says more than it.
struct Contract {
    document: Value,
    compiler: boon::Compiler,
    schemas: boon::Schemas,
    /// The operations that were answered as they promise.
    kept: BTreeSet<String>,
}

/// Longest wait for the provider to take an order's money.
const PAID_WAIT: Duration = Duration::from_secs(30);
const DOCUMENT: &str = "http://shop.example/openapi.json";

impl Contract {
    fn new(document: &Value) -> Self {
        let mut strict = document.clone();
        close(&mut strict);
        let mut compiler = boon::Compiler::new();
        compiler.enable_format_assertions();
        compiler.add_resource(DOCUMENT, strict).unwrap();
        Self { document: document.clone(), compiler, schemas: boon::Schemas::new(), kept: BTreeSet::new() }
    }

    /// The template that a path is of: the one with the fewest places.
    fn path_of(&self, path: &str) -> String {
        let parts: Vec<&str> = path.split('?').next().unwrap().split('/').collect();
        let is_of = |template: &&String| {
            let places: Vec<&str> = template.split('/').collect();
            places.len() == parts.len() && places.iter().zip(&parts).all(|(place, part)| place.starts_with('{') || place == part)
        };
        let templates = self.document["paths"].as_object().unwrap().keys().filter(is_of);
        templates.min_by_key(|template| template.matches('{').count()).unwrap_or_else(|| panic!("{path} is not in the document")).clone()
    }

    /// Whether an answer is as its operation says.
    #[track_caller]
    fn check(&mut self, method: &Method, path: &str, answer: &Answer) {
        let template = self.path_of(path);
        let name = format!("{method} {template} {}", answer.status.as_u16());
        let escaped = template.replace('~', "~0").replace('/', "~1");
        let method = method.as_str().to_lowercase();
        let responses = &self.document["paths"][&template][&method]["responses"];
        let status = answer.status.as_u16().to_string();
        let said = if responses[&status].is_object() { status.as_str() } else { "default" };
        let kind = answer.headers["content-type"].to_str().unwrap();
        assert!(responses[said]["content"][kind]["schema"].is_object(), "{name} answers {kind}, of which the document says nothing");
        assert!(said != "default" || !answer.status.is_success(), "{name} is not in the document");
        let place = format!("{DOCUMENT}#/paths/{escaped}/{method}/responses/{said}/content/{}/schema", kind.replace('/', "~1"));
        let schema = self.compiler.compile(&place, &mut self.schemas).unwrap_or_else(|error| panic!("{name}: {error:#}"));
        if let Err(error) = self.schemas.validate(&answer.body, schema) {
            panic!("{name}: {error:#}\n{}", answer.text);
        }
        // And it would have been found otherwise.
        let mut other = answer.body.clone();
        other["a_field_of_which_the_document_says_nothing"] = true.into();
        let is_open = document_allows_more(&self.document, &responses[said]["content"][kind]["schema"]);
        assert_eq!(self.schemas.validate(&other, schema).is_ok(), is_open, "{name}");
        self.kept.insert(name);
    }
}

/// Whether an answer may have fields that its schema does not name: a problem may, its facts.
fn document_allows_more(document: &Value, schema: &Value) -> bool {
    let name = schema["$ref"].as_str().and_then(|place| place.strip_prefix("#")).unwrap();
    document.pointer(name).unwrap()["additionalProperties"].is_object()
}

/// Lets no schema of an object have fields that it does not name.
fn close(schema: &mut Value) {
    match schema {
        Value::Object(fields) => {
            fields.values_mut().for_each(close);
            if fields.get("properties").is_some_and(Value::is_object) && !fields.contains_key("additionalProperties") {
                fields.insert("additionalProperties".to_owned(), false.into());
            }
        }
        Value::Array(items) => items.iter_mut().for_each(close),
        _ => {}
    }
}

/// A shop whose every answer is held against its document.
struct Promised<'a> {
    shop: &'a Shop,
    contract: Contract,
    /// Seen by every read that follows.
    token: String,
}

impl Promised<'_> {
    async fn send(&mut self, method: Method, path: &str, body: Option<Value>, bearer: Option<&str>) -> Answer {
        let bearer = bearer.map(|token| format!("Bearer {token}"));
        let mut headers = vec![("prefer", "wait=15")];
        headers.extend(bearer.as_deref().map(|bearer| ("authorization", bearer)));
        if method == Method::GET && !self.token.is_empty() {
            headers.push(("consistency-token", &self.token));
        }
        let answer = self.shop.send(method.clone(), path, body, &headers).await.unwrap();
        self.contract.check(&method, path, &answer);
        if method != Method::GET {
            self.token = answer.token.clone().unwrap_or_default();
        }
        answer
    }

    async fn shopper(&mut self, method: Method, path: &str, body: Value) -> Answer {
        self.send(method, path, Some(body), None).await
    }

    async fn staff(&mut self, method: Method, path: &str, body: Value) -> Answer {
        let token = self.shop.token.clone();
        self.send(method, path, Some(body), Some(&token)).await
    }

    async fn get(&mut self, path: &str) -> Answer {
        self.send(Method::GET, path, None, None).await.expect(200)
    }

    async fn staff_get(&mut self, path: &str) -> Answer {
        let token = self.shop.token.clone();
        self.send(Method::GET, path, None, Some(&token)).await.expect(200)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_whole_sale_is_answered_as_the_document_says() {
    let shop = Shop::with_demo().await;
    let document = shop.get("/openapi.json").await.expect(200).body;
    let mut shop = Promised { shop: &shop, contract: Contract::new(&document), token: String::new() };
    let sku = a_promotion_begins(&mut shop).await;
    let order = a_shopper_buys(&mut shop, &sku).await;
    merchants_handle(&mut shop, &order, &sku).await;
    refusals_are_problems(&mut shop, &sku).await;
    for path in ["/v1/livez", "/v1/readyz", "/v1/store", "/v1/categories", "/v1/suggest?q=be"] {
        shop.get(path).await;
    }
    for path in ["locations", "tax-rates", "shipping-methods", "settings"] {
        shop.staff_get(&format!("/v1/admin/{path}")).await;
    }
    for path in ["status", "parked", "unmatched"] {
        shop.staff_get(&format!("/v1/ops/{path}")).await;
    }
    shop.staff_get(&format!("/v1/streams/order/{order}")).await;
    assert!(shop.contract.kept.len() > 45, "{:#?}", shop.contract.kept);
}

/// One by coupon, and one without; returns what is bought.
async fn a_promotion_begins(shop: &mut Promised<'_>) -> String {
    let found = shop.get("/v1/products?limit=3&facets=brand,price").await;
    shop.get(&format!("/v1/products/{}", found.str("/items/0/handle"))).await;
    let percent = json!({ "kind": "percent", "ppm": 100_000, "target": "order" });
    let minimum = json!([{ "amount": 1, "currency": "EUR" }]);
    let by_coupon = json!({ "title": "Ten percent", "rule": percent, "minimum": minimum });
    let by_coupon = shop.staff(Method::POST, "/v1/admin/promotions", by_coupon).await.expect(201).str("/id");
    let fixed = json!({ "kind": "fixed", "amounts": [{ "amount": 50, "currency": "EUR" }], "target": "line",
        "variant_ids": [found.str("/items/0/variants/0/id")] });
    let automatic = json!({ "title": "All", "rule": fixed, "automatic": true, "starts_at": "2020-01-01T00:00:00Z" });
    shop.staff(Method::POST, "/v1/admin/promotions", automatic).await.expect(201);
    let path = format!("/v1/admin/promotions/{by_coupon}");
    let coupons = json!({ "codes": ["TEN-OFF"], "limit": 5, "per_subject": 2 });
    shop.staff(Method::POST, &format!("{path}/coupons"), coupons).await.expect(201);
    shop.staff(Method::PATCH, &path, json!({ "priority": 2 })).await.expect(200);
    for path in [&path, &format!("{path}/coupons"), "/v1/admin/promotions?limit=1"] {
        shop.staff_get(path).await;
    }
    found.str("/items/0/variants/0/sku")
}

/// Returns the order's id.
async fn a_shopper_buys(shop: &mut Promised<'_>, sku: &str) -> String {
    let cart = shop.shopper(Method::POST, "/v1/carts", json!({ "currency": "EUR", "country": "DE" })).await.expect(201).str("/id");
    let cart = format!("/v1/carts/{cart}");
    let line = shop.shopper(Method::POST, &format!("{cart}/lines"), json!({ "sku": sku, "quantity": 1 })).await.expect(200);
    let line = format!("{cart}/lines/{}", line.str("/lines/0/line_id"));
    shop.shopper(Method::PATCH, &line, json!({ "quantity": 2 })).await.expect(200);
    shop.shopper(Method::POST, &format!("{cart}/coupons"), json!({ "code": "ten-off" })).await.expect(200);
    let mut contact = contact("mira.okafor@example.org", "Mira Okafor");
    contact["billing_address"] = contact["shipping_address"].clone();
    contact["billing_address"]["line2"] = "Second floor".into();
    shop.shopper(Method::PUT, &format!("{cart}/contact"), contact).await.expect(200);
    let option = shop.get(&format!("{cart}/shipping-options")).await.str("/items/0/id");
    shop.shopper(Method::PUT, &format!("{cart}/shipping-option"), json!({ "id": option })).await.expect(200);
    shop.get(&cart).await;
    let payment = |token: &str| json!({ "payment": { "provider": "sandbox", "token": token } });
    let waits = shop.shopper(Method::POST, &format!("{cart}/checkout"), payment("tok_3ds")).await.expect(201);
    assert!(waits.body["payments"][0]["next_action"]["url"].is_string(), "{}", waits.text);
    let (order, token) = (waits.str("/id"), waits.str("/order_token"));
    let another = json!({ "provider": "sandbox", "token": "tok_approve" });
    shop.shopper(Method::POST, &format!("/v1/orders/{order}/payments?token={token}"), another).await.expect(201);
    shop.get(&format!("/v1/orders/{order}?token={token}")).await;
    shop.get(&format!("/v1/orders/{order}/events?token={token}")).await;
    order
}

async fn merchants_handle(shop: &mut Promised<'_>, order: &str, sku: &str) {
    let path = format!("/v1/admin/orders/{order}");
    let line = shop.staff_get(&format!("/v1/orders/{order}")).await.str("/lines/0/line_id");
    shop.staff(Method::POST, &format!("{path}/hold"), json!({ "reason": "look" })).await.expect(200);
    shop.staff(Method::POST, &format!("{path}/release"), json!({ "reason": "fine" })).await.expect(200);
    let one = json!([{ "line_id": line, "quantity": 1 }]);
    let shipped = shop.staff(Method::POST, &format!("{path}/fulfilments"), json!({ "lines": one, "tracking": "T-1" })).await.expect(200);
    let deliver = format!("{path}/fulfilments/{}/deliver", shipped.str("/fulfilments/0/id"));
    shop.staff(Method::POST, &deliver, json!({})).await.expect(200);
    let until = Instant::now() + PAID_WAIT;
    while shop.staff_get(&format!("/v1/orders/{order}")).await.str("/payment_status") != "paid" {
        assert!(Instant::now() < until, "its money is not taken:\n{}", shop.shop.log());
        pause(Duration::from_millis(20)).await;
    }
    shop.staff(Method::POST, &format!("{path}/refunds"), json!({ "lines": one, "reason": "broken" })).await.expect(200);
    let payments = shop.staff_get(&format!("{path}/payments")).await;
    let refund = payments.body["items"].as_array().unwrap().iter().flat_map(|payment| payment["operations"].as_array().unwrap());
    assert!(refund.filter(|operation| operation["lines"][0]["net"].is_object()).count() == 1, "{}", payments.text);
    shop.staff_get("/v1/admin/orders?limit=1").await;
    // Who need not know sees an order without whose it is.
    let analyst = shop.shop.cli(&["token", "--role", "analyst"]).trim().to_owned();
    let sealed = shop.send(Method::GET, &format!("/v1/orders/{order}"), None, Some(&analyst)).await.expect(200);
    assert_eq!(sealed.body["contact"], json!({ "sealed": true }));
    let stock = format!("/v1/admin/stock/{sku}");
    shop.staff(Method::POST, &format!("{stock}/receive"), json!({ "quantity": 3 })).await.expect(200);
    let attic = json!({ "code": "attic", "title": "Attic", "address": { "city": "Potsdam", "country": "DE" } });
    shop.staff(Method::POST, "/v1/admin/locations", attic).await.expect(201);
    shop.staff(Method::POST, &format!("{stock}/transfers"), json!({ "from": "main", "to": "attic", "quantity": 1 })).await.expect(201);
    shop.staff_get(&stock).await;
}

async fn refusals_are_problems(shop: &mut Promised<'_>, sku: &str) {
    let cart = shop.shopper(Method::POST, "/v1/carts", json!({ "currency": "EUR" })).await.expect(201).str("/id");
    shop.shopper(Method::POST, &format!("/v1/carts/{cart}/lines"), json!({ "sku": sku, "quantity": 0 })).await.expect(422);
    shop.shopper(Method::POST, &format!("/v1/carts/{cart}/checkout"), json!({})).await.expect(422);
    shop.send(Method::GET, "/v1/carts/none", None, None).await.expect(404);
    shop.send(Method::GET, "/v1/admin/orders", None, None).await.expect(401);
    shop.staff(Method::POST, &format!("/v1/admin/stock/{sku}/adjust"), json!({ "delta": -9_999, "reason": "lost" })).await.expect(409);
    shop.send(Method::GET, "/v1/products?limit=0", None, None).await.expect(400);
}
