//! The program dies right after each step of a checkout, a capture, a refund, a void and an expiry. Started again, every order ends as
//! `tests/payment_matrix.toml` says: charged at most once, nothing held for ever.

use futures::StreamExt;
use reqwest::Method;
use serde_json::{Value, json};

use crate::payment::View;
use crate::shop::{Answer, Shop};

/// Shops at once; each has servers of its own.
const SHOPS_AT_ONCE: usize = 3;
/// Each waits in the server for `store.idempotency_wait_ms`, 5 s.
const REPEATS_MAX: usize = 6;
const DIE_AT: &str = "DAYBOOK_TEST_DIE_AT";
const SKU: &str = "STEP-1";

/// What is done, and after which steps of it the program dies in turn.
struct Flow {
    what: What,
    token: &'static str,
    steps: &'static [&'static str],
    /// Order, payment, stock, provider, as in the matrix.
    ends: [&'static str; 4],
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum What {
    Capture,
    CaptureByHand,
    Refund,
    Cancel,
    Expire,
}

const FLOWS: [Flow; 5] = [
    Flow {
        what: What::Capture,
        token: "tok_approve",
        steps: &[
            "checkout.token_kept",
            "checkout.placed",
            "authorize.taken",
            "authorize.called",
            "authorize.recorded",
            "capture.taken",
            "capture.called",
            "capture.recorded",
            "checkout.settled",
            "webhook.recorded",
        ],
        ends: ["confirmed", "paid", "10/1/0", "1/1/0/0"],
    },
    Flow {
        what: What::CaptureByHand,
        token: "tok_approve",
        steps: &["order.commanded", "capture.taken", "capture.called", "capture.recorded"],
        ends: ["confirmed", "paid", "10/1/0", "1/1/0/0"],
    },
    Flow {
        what: What::Refund,
        token: "tok_approve",
        steps: &["order.commanded", "refund.taken", "refund.called", "refund.recorded"],
        ends: ["confirmed", "refunded", "10/1/0", "1/1/1/0"],
    },
    Flow {
        what: What::Cancel,
        token: "tok_approve",
        steps: &["order.commanded", "void.taken", "void.called", "void.recorded"],
        ends: ["cancelled", "voided", "10/0/0", "1/0/0/1"],
    },
    Flow {
        what: What::Expire,
        token: "tok_3ds",
        steps: &["expiry.decided", "expiry.settled", "void.taken", "void.called", "void.recorded"],
        ends: ["expired", "voided", "10/0/0", "0/0/0/0"],
    },
];

#[tokio::test(flavor = "multi_thread")]
async fn whatever_step_it_dies_after_the_order_ends_the_same_and_is_charged_once() {
    let cases = FLOWS.iter().flat_map(|flow| flow.steps.iter().map(move |step| (flow, *step)));
    let ended: Vec<Option<String>> =
        futures::stream::iter(cases).map(|(flow, step)| dies_after(flow, step)).buffer_unordered(SHOPS_AT_ONCE).collect().await;
    let failed: Vec<String> = ended.into_iter().flatten().collect();
    assert!(failed.is_empty(), "{}", failed.join("\n"));
}

async fn dies_after(flow: &Flow, step: &str) -> Option<String> {
    let mut settings = vec![("DAYBOOK_PAYMENTS__PROVIDER_TIMEOUT_MS", "1000"), ("DAYBOOK_PAYMENTS__QUERY_AFTER_MS", "200"), (DIE_AT, step)];
    if matches!(flow.what, What::CaptureByHand | What::Cancel) {
        settings.push(("DAYBOOK_PAYMENTS__CAPTURE", "manual"));
    }
    if flow.what == What::Expire {
        settings.push(("DAYBOOK_STORE__PAYMENT_WINDOW_S", "1"));
    }
    let mut shop = Shop::with_settings(&settings).await;
    shop.product(SKU, "10.00", 10).await;
    let cart = shop.cart(&[(SKU, 1)]).await;
    let mut order = checkout(&shop, &cart, flow.token).await.ok();
    if let Some(order) = &order {
        // A shop that is about to die may not answer.
        let _answer = go_on(&shop, flow.what, order).await;
    }
    shop.restart_after_death(DIE_AT).await;
    // The shopper and the merchant did not see what became of it, and repeat the same calls.
    if order.is_none() {
        order = Some(checkout(&shop, &cart, flow.token).await.unwrap());
    }
    let order = order.unwrap().expect(201);
    let view = View::of(&order, SKU);
    if let Some(answer) = go_on(&shop, flow.what, &order).await {
        answer.unwrap().expect(200);
    }
    let ended = view.until(&shop, |seen| *seen == flow.ends.map(str::to_owned)).await;
    let (code, out, err) = shop.cli_code(&["verify"]);
    let verified = if code == 0 { Ok(()) } else { Err(format!("verify: {out}{err}")) };
    ended.and(verified).err().map(|why| format!("{} after {step}: {why}", flow.token))
}

async fn checkout(shop: &Shop, cart: &str, token: &str) -> reqwest::Result<Answer> {
    let body = json!({ "payment": { "provider": "sandbox", "token": token } });
    repeated(shop, &format!("/v1/carts/{cart}/checkout"), &body, &[("idempotency-key", "checkout"), ("prefer", "wait=10")]).await
}

/// Sent again as long as the answer says to: the call of the process that died waits for its lease to end.
async fn repeated(shop: &Shop, path: &str, body: &Value, headers: &[(&str, &str)]) -> reqwest::Result<Answer> {
    let mut answer = shop.send(Method::POST, path, Some(body.clone()), headers).await?;
    for _ in 0..REPEATS_MAX {
        if answer.body["code"] != "idempotency_in_progress" {
            break;
        }
        answer = shop.send(Method::POST, path, Some(body.clone()), headers).await?;
    }
    Ok(answer)
}

/// What comes after the checkout, done as often as it is asked for with the effect of once; `None`: nothing does.
async fn go_on(shop: &Shop, what: What, order: &Answer) -> Option<reqwest::Result<Answer>> {
    let view = View::of(order, SKU);
    if what == What::Refund {
        view.until(shop, |seen| ["paid", "refunded"].contains(&seen[1].as_str())).await.unwrap();
    }
    let bearer = format!("Bearer {}", shop.token);
    let headers = [("idempotency-key", "go-on"), ("authorization", bearer.as_str())];
    let (path, body) = match what {
        What::Capture | What::Expire => return None,
        What::CaptureByHand => {
            let payment = order.str("/payments/0/id");
            (format!("/v1/admin/orders/{}/payments/{payment}/capture", view.id), json!({}))
        }
        What::Refund => (format!("/v1/admin/orders/{}/refunds", view.id), json!({ "reason": "sent back" })),
        What::Cancel => (format!("/v1/admin/orders/{}/cancel", view.id), json!({ "reason": "changed mind" })),
    };
    Some(repeated(shop, &path, &body, &headers).await)
}
