//! Whatever the payment provider does, each order ends as `tests/payment_matrix.toml` says, and the two ledgers are equal. The provider
//! is seen through its own HTTP only.

use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::StreamExt;
use reqwest::Method;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::shop::{Answer, Shop, pause};

/// Cases under way at once in one shop.
const CASES_AT_ONCE: usize = 8;
/// Longest that a case may take to its terminal state.
const TERMINAL_WAIT: Duration = Duration::from_secs(60);

#[derive(Deserialize)]
struct Matrix {
    case: Vec<Case>,
}

/// `token [action]`, what is done, order, payment, stock, provider.
#[derive(Deserialize, Clone)]
struct Case(String, String, String, String, String, String);

impl Case {
    fn token(&self) -> &str {
        self.0.split(' ').next().unwrap()
    }

    fn action(&self) -> Option<&str> {
        self.0.split(' ').nth(1)
    }

    fn expected(&self) -> [String; 4] {
        [self.2.clone(), self.3.clone(), self.4.clone(), self.5.clone()]
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_order_ends_as_the_matrix_says_and_the_ledgers_are_equal() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/payment_matrix.toml");
    let matrix: Matrix = toml::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
    let quick = [("DAYBOOK_PAYMENTS__PROVIDER_TIMEOUT_MS", "700"), ("DAYBOOK_PAYMENTS__QUERY_AFTER_MS", "200")];
    let manual = ("DAYBOOK_PAYMENTS__CAPTURE", "manual");
    let known_soon = ("DAYBOOK_PAYMENTS__UNKNOWN_MAX_S", "2");
    let short = ("DAYBOOK_STORE__PAYMENT_WINDOW_S", "1");
    let shops = [
        (["capture", "refund"].as_slice(), vec![quick[0], quick[1], known_soon]),
        (&["authorise", "void"], vec![quick[0], quick[1], known_soon, manual]),
        (&["expire"], vec![quick[0], quick[1], known_soon, manual, short]),
    ];
    let mut failed = Vec::new();
    for (kinds, settings) in shops {
        let cases: Vec<Case> = matrix.case.iter().filter(|case| kinds.contains(&case.1.as_str())).cloned().collect();
        assert!(!cases.is_empty());
        let shop = Arc::new(Shop::with_settings(&settings).await);
        let skus: Vec<String> = (0..cases.len()).map(|index| format!("CASE-{index}")).collect();
        shop.products(&skus.iter().map(String::as_str).collect::<Vec<_>>(), "10.00", 10);
        let running = cases.into_iter().zip(skus).map(|(case, sku)| {
            let shop = Arc::clone(&shop);
            async move { run(&shop, &case, &sku).await.err().map(|why| format!("{} {}: {why}", case.0, case.1)) }
        });
        let ended: Vec<Option<String>> = futures::stream::iter(running).buffer_unordered(CASES_AT_ONCE).collect().await;
        failed.extend(ended.into_iter().flatten());
        ledgers_are_equal(&shop).await;
        let (code, out, err) = shop.cli_code(&["verify"]);
        assert_eq!(code, 0, "{kinds:?}: {out}{err}");
    }
    assert!(failed.is_empty(), "{}", failed.join("\n"));
}

/// One case to its terminal state; or what it is instead.
async fn run(shop: &Shop, case: &Case, sku: &str) -> Result<(), String> {
    let cart = shop.cart(&[(sku, 1)]).await;
    let body = json!({ "payment": { "provider": "sandbox", "token": case.token() } });
    let path = format!("/v1/carts/{cart}/checkout");
    let wait = if case.1 == "void" { "wait=0" } else { "wait=5" };
    let order = shop.send(Method::POST, &path, Some(body), &[("prefer", wait)]).await.unwrap().expect(201);
    let view = View::of(&order, sku);
    if case.1 == "void" {
        view.until_called(shop).await?;
    }
    if let Some(action) = case.action() {
        view.until(shop, |seen| seen[1] == "requires_action").await?;
        let shown = view.order(shop).await;
        let url = shown.body.pointer("/payments/0/next_action/url").and_then(Value::as_str);
        let url = url.ok_or_else(|| format!("no next action in {}", shown.text))?;
        let acted = shop.http.post(url).json(&json!({ "result": action })).send().await.unwrap();
        assert!(acted.status().is_success(), "{}", acted.text().await.unwrap());
        view.until(shop, |seen| !seen[1].starts_with("requires_action")).await?;
    }
    let is_resolved = ["tok_approve", "tok_duplicate", "tok_out", "tok_3ds"].iter().any(|known| case.token().starts_with(known));
    let mut expected = case.expected();
    match case.1.as_str() {
        "authorise" | "capture" | "expire" => {}
        "void" => {
            if is_resolved && (case.action() == Some("success") || !case.token().starts_with("tok_3ds")) {
                view.until(shop, |seen| seen[0] == "confirmed").await?;
            }
            shop.post(&format!("/v1/orders/{}/cancel?token={}", view.id, view.token), json!({})).await.expect(200);
        }
        "refund" => {
            let refused = case.2.strip_prefix("refused ");
            if refused.is_none() {
                view.until(shop, |seen| seen[1] == "paid").await?;
            } else if case.0.contains("capture_decline") {
                view.until(shop, |seen| seen[0] == "confirmed!").await?;
            }
            let path = format!("/v1/admin/orders/{}/refunds", view.id);
            let answer = shop.staff(Method::POST, &path, Some(json!({ "reason": "sent back" }))).await;
            if let Some(code) = refused {
                assert_eq!((answer.status.as_u16(), answer.str("/code").as_str()), (409, code), "{}", answer.text);
                expected[0] = if case.3 == "authorized" { "confirmed!".to_owned() } else { "pending_payment".to_owned() };
            } else {
                answer.expect(200);
            }
        }
        other => panic!("{other} is nothing that is done with an order"),
    }
    view.until(shop, |seen| seen[..3] == expected[..3] && expected[3].split('|').any(|books| books == seen[3])).await
}

/// An order as all who know of it see it.
pub struct View {
    pub id: String,
    pub token: String,
    /// The position of its checkout.
    pub written: String,
    pub sku: String,
    pub total: i64,
}

impl View {
    pub fn of(order: &Answer, sku: &str) -> Self {
        Self {
            id: order.str("/id"),
            token: order.str("/order_token"),
            written: order.token.clone().unwrap(),
            sku: sku.to_owned(),
            total: order.int("/totals/total/amount"),
        }
    }

    pub async fn order(&self, shop: &Shop) -> Answer {
        shop.get_after(&format!("/v1/orders/{}?token={}", self.id, self.token), &self.written).await.expect(200)
    }

    /// Waits until nothing of it waits for the provider and it is as it should be.
    pub async fn until(&self, shop: &Shop, is_so: impl Fn(&[String; 4]) -> bool) -> Result<(), String> {
        let until = Instant::now() + TERMINAL_WAIT;
        loop {
            let (seen, is_settled) = self.seen(shop).await;
            if is_settled && is_so(&seen) {
                return Ok(());
            }
            if Instant::now() > until {
                return Err(format!("is {seen:?}, settled: {is_settled}; {}", self.operations(shop).await));
            }
            pause(Duration::from_millis(100)).await;
        }
    }

    /// Waits until the provider has been asked, whether it took notice or not.
    async fn until_called(&self, shop: &Shop) -> Result<(), String> {
        let until = Instant::now() + TERMINAL_WAIT;
        loop {
            let payments = self.operations(shop).await;
            let path = format!("/v1/payments?merchant_reference={}", payments[0]["id"].as_str().unwrap_or_default());
            let is_there = provider(shop, &path).await["items"][0].is_object();
            if is_there || payments[0]["operations"][0]["outcome"] == "unknown" {
                return Ok(());
            }
            if Instant::now() > until {
                return Err(format!("the provider was not asked: {payments}"));
            }
            pause(Duration::from_millis(20)).await;
        }
    }

    pub async fn operations(&self, shop: &Shop) -> Value {
        let payments = shop.staff_after(&format!("/v1/admin/orders/{}/payments", self.id), &self.written).await.expect(200);
        payments.body["items"].clone()
    }

    /// Order, payment, stock, provider; and whether each operation has come to an outcome, or to none for good.
    async fn seen(&self, shop: &Shop) -> ([String; 4], bool) {
        let order = self.order(shop).await;
        let hold = if order.body["on_hold"] == json!(true) { "!" } else { "" };
        let stock = shop.staff(Method::GET, &format!("/v1/admin/stock/{}", self.sku), None).await.expect(200);
        let level = format!("{}/{}/{}", stock.int("/on_hand"), stock.int("/allocated"), stock.int("/reserved"));
        let payments = self.operations(shop).await;
        let payment_id = payments[0]["id"].as_str().unwrap_or_default();
        let found = provider(shop, &format!("/v1/payments?merchant_reference={payment_id}")).await;
        let part = |name: &str| match found["items"][0][name].as_i64().unwrap_or(0) {
            0 => "0",
            amount if amount == self.total => "1",
            _ => "?",
        };
        let books = format!("{}/{}/{}/{}", part("authorized"), part("captured"), part("refunded"), part("voided"));
        let operations = payments.as_array().into_iter().flatten().flat_map(|p| p["operations"].as_array().into_iter().flatten());
        let is_settled = operations.clone().all(|o| !["requested", "pending"].contains(&o["outcome"].as_str().unwrap()));
        let seen = [format!("{}{hold}", order.str("/status")), order.str("/payment_status"), level, books];
        (seen, is_settled)
    }
}

async fn provider(shop: &Shop, path: &str) -> Value {
    let url = shop.run_file()["sandbox_url"].as_str().unwrap().to_owned();
    shop.http.get(format!("{url}{path}")).send().await.unwrap().json().await.unwrap()
}

/// The provider's sums of all payments are ours, to the cent.
async fn ledgers_are_equal(shop: &Shop) {
    let ledger = provider(shop, "/v1/ledger?after=0&limit=10000").await;
    let theirs = ledger["payments"].as_array().unwrap();
    let orders = shop.staff(Method::GET, "/v1/admin/orders?limit=200", None).await.expect(200);
    let mut ours = Vec::new();
    for order in orders.body["items"].as_array().unwrap() {
        let path = format!("/v1/admin/orders/{}/payments", order["id"].as_str().unwrap());
        ours.extend(shop.staff(Method::GET, &path, None).await.expect(200).body["items"].as_array().unwrap().clone());
    }
    for name in ["authorized", "captured", "refunded"] {
        let their_sum: i64 = theirs.iter().map(|payment| payment[name].as_i64().unwrap()).sum();
        let our_sum: i64 = ours.iter().map(|payment| payment[name]["amount"].as_i64().unwrap()).sum();
        assert_eq!(their_sum, our_sum, "{name}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn money_that_is_nobodys_is_parked_until_a_person_has_settled_it() {
    let shop = Shop::with_settings(&[("DAYBOOK_PAYMENTS__RECONCILE_INTERVAL_S", "1")]).await;
    shop.product("OURS-1", "10.00", 5).await;
    let order = shop.checkout(&shop.cart(&[("OURS-1", 1)]).await, "tok_approve").await.expect(201);
    let ours = order.str("/payments/0/id");
    View::of(&order, "OURS-1").until(&shop, |seen| seen[1] == "paid").await.unwrap();
    // Of nobody's payments one is declined, which moves no money; and one is a second one under a payment of ours.
    for (reference, token, amount) in [("nobody", "tok_decline", 1), ("somebody-else", "tok_approve", 4_200), (&ours, "tok_approve", 1_490)]
    {
        let sandbox = shop.run_file()["sandbox_url"].as_str().unwrap().to_owned();
        let paid = json!({ "merchant_reference": reference, "token": token, "amount": amount, "currency": "EUR", "capture": true });
        let request = shop.http.post(format!("{sandbox}/v1/payments")).header("idempotency-key", format!("theirs-{amount}")).json(&paid);
        assert!(request.send().await.unwrap().status().is_success());
    }
    let until = Instant::now() + TERMINAL_WAIT;
    let parked = loop {
        let list = shop.staff(Method::GET, "/v1/ops/unmatched", None).await.expect(200);
        if list.body["items"].as_array().unwrap().len() == 2 {
            break list;
        }
        assert!(Instant::now() < until, "{}\n{}", list.text, shop.log());
        pause(Duration::from_millis(50)).await;
    };
    let items = parked.body["items"].as_array().unwrap();
    for (reference, amount) in [("somebody-else", 4_200), (ours.as_str(), 1_490)] {
        let item = items.iter().find(|item| item["merchant_reference"] == reference).unwrap();
        assert_eq!(item["amount"]["amount"], amount, "{}", parked.text);
        assert_eq!(shop.cli_code(&["verify"]).0, 3, "{reference}");
        let settle = format!("/v1/ops/unmatched/{}/settle", item["provider_ref"].as_str().unwrap());
        shop.staff(Method::POST, &settle, None).await.expect(204);
    }
    shop.staff(Method::POST, "/v1/ops/unmatched/unheard-of/settle", None).await.expect(404);
    let (code, out, err) = shop.cli_code(&["verify"]);
    assert_eq!(code, 0, "{out}{err}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_leaves_is_paid_for_whatever_a_merchant_does_by_hand() {
    let shop = Shop::with_settings(&[("DAYBOOK_PAYMENTS__CAPTURE", "manual")]).await;
    shop.product("HAND-1", "10.00", 50).await;
    let order = async |units: u32| {
        let order = shop.checkout(&shop.cart(&[("HAND-1", units)]).await, "tok_approve").await.expect(201);
        (format!("/v1/admin/orders/{}", order.str("/id")), order.str("/payments/0/id"), View::of(&order, "HAND-1"))
    };
    let post = async |path: String, body: Value| shop.staff(Method::POST, &path, Some(body)).await;

    // A part of the money taken for the last time, the rest let go of.
    let (path, payment, view) = order(1).await;
    view.until(&shop, |seen| seen[1] == "authorized").await.unwrap();
    let before = shop.staff(Method::GET, "/v1/ops/status", None).await.expect(200).int("/head_position");
    post(format!("{path}/payments/{payment}/capture"), json!({ "amount": 1, "final": true })).await.expect(200);
    view.until(&shop, |seen| seen[1] == "partially_paid").await.unwrap();
    assert_eq!(post(format!("{path}/fulfilments"), json!({})).await.expect(409).str("/code"), "order_not_covered");
    let then = shop.staff(Method::GET, &format!("{path}/payments?as_of={before}"), None).await.expect(200);
    assert_eq!(then.str("/items/0/status"), "authorized");

    // One of three leaves, the others are cancelled: what has left can't be let go of, and is paid for by a third.
    let (path, payment, view) = order(3).await;
    view.until(&shop, |seen| seen[1] == "authorized").await.unwrap();
    let one = json!({ "lines": [{ "line_id": "HAND-1", "quantity": 1 }] });
    post(format!("{path}/fulfilments"), one).await.expect(200);
    assert_eq!(post(format!("{path}/payments/{payment}/void"), json!({})).await.expect(409).str("/code"), "order_shipped");
    let two = json!({ "lines": [{ "line_id": "HAND-1", "quantity": 2 }], "reason": "sold_out" });
    let cancelled = post(format!("{path}/cancel"), two).await.expect(200);
    assert_eq!(cancelled.int("/totals/amount_due/amount"), 1_490);
    let about = json!({ "lines": [{ "line_id": "HAND-1", "quantity": 1 }], "reason": "Jane called" });
    assert_eq!(post(format!("{path}/cancel"), about).await.expect(422).str("/errors/0/pointer"), "/reason");
    post(format!("{path}/payments/{payment}/capture"), json!({})).await.expect(200);
    view.until(&shop, |seen| seen[0] == "completed" && seen[1] == "paid").await.unwrap();
    let paid = shop.staff(Method::GET, "/v1/admin/orders?payment_status=paid", None).await.expect(200);
    assert_eq!(paid.str("/items/0/id"), view.id, "{}", paid.text);
    let (code, out, err) = shop.cli_code(&["verify"]);
    assert_eq!(code, 0, "{out}{err}");
}
