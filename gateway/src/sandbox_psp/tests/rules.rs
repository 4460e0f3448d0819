//! What is done once, what is refused, and what can be read again.

use commands::provider::{FactKind, ProviderStatus};
use serde_json::json;

use super::*;

#[tokio::test]
async fn a_key_is_carried_out_once() {
    let (data_dir, shop) = (DataDir::new(), Shop::start().await);
    let sandbox = Sandbox::start(&data_dir, &shop).await;
    let request = request("tok_approve");
    let mut tries = JoinSet::new();
    for _ in 0..8 {
        let (provider, request) = (sandbox.provider.clone(), request.clone());
        tries.spawn(async move { provider.authorize(&request).await.unwrap() });
    }
    let answers = tries.join_all().await;
    assert!(answers.iter().all(|answer| *answer == answers[0]));
    let path = format!("/v1/payments?merchant_reference={}", request.payment_id);
    assert_eq!(sandbox.get(&path).await["items"].as_array().unwrap().len(), 1);

    let other = AuthorizeRequest { amount: 1, ..request.clone() };
    let refused = rejected(sandbox.provider.authorize(&other).await);
    assert_eq!(refused, "idempotency_key_reused");

    let id = &answers[0].payment.provider_ref;
    let taking = capture(id, 400, false);
    let first = sandbox.provider.capture(&taking).await.unwrap();
    assert_eq!(sandbox.provider.capture(&taking).await.unwrap(), first);
    let again = sandbox.provider.authorize(&request).await.unwrap();
    assert_eq!(again, answers[0], "as it was answered, not as it is now");
    sandbox.stop().await;
}

#[tokio::test]
async fn nothing_is_taken_or_given_back_twice() {
    let (data_dir, shop) = (DataDir::new(), Shop::start().await);
    let sandbox = Sandbox::start(&data_dir, &shop).await;
    let provider = &sandbox.provider;
    let id = sandbox.authorize("tok_approve").await.unwrap().payment.provider_ref;
    let code = |answer: ProviderAnswer| answer.fact.code.unwrap_or_else(|| "done".to_owned());

    assert_eq!(code(provider.refund(&refund(&id, 1)).await.unwrap()), "not_captured");
    assert_eq!(code(provider.capture(&capture(&id, 1001, false)).await.unwrap()), "amount_too_large");
    assert_eq!(code(provider.capture(&capture(&id, 700, false)).await.unwrap()), "done");
    assert_eq!(code(provider.capture(&capture(&id, 301, false)).await.unwrap()), "amount_too_large");
    let last = provider.capture(&capture(&id, 200, true)).await.unwrap();
    assert_eq!((last.payment.captured, last.payment.voided), (900, 100), "the rest is let go");
    assert_eq!(code(provider.capture(&capture(&id, 1, true)).await.unwrap()), "amount_too_large");
    assert_eq!(code(provider.void(&void(&id)).await.unwrap()), "already_captured");
    assert_eq!(code(provider.refund(&refund(&id, 901)).await.unwrap()), "amount_too_large");
    assert_eq!(code(provider.refund(&refund(&id, 900)).await.unwrap()), "done");
    assert_eq!(code(provider.refund(&refund(&id, 1)).await.unwrap()), "amount_too_large");
    sandbox.stop().await;
}

#[tokio::test]
async fn what_is_pending_is_set_aside() {
    let (data_dir, shop) = (DataDir::new(), Shop::start().await);
    let config = SandboxConfig { late_delay: PATIENCE * 2, ..config(&data_dir, &shop) };
    let sandbox = Sandbox::start_with(config).await;
    let provider = &sandbox.provider;
    let id = sandbox.authorize("tok_approve+capture_pending").await.unwrap().payment.provider_ref;
    let taken = async |amount| provider.capture(&capture(&id, amount, false)).await.unwrap().fact;
    assert_eq!(taken(600).await.kind, FactKind::CapturePending);
    assert_eq!(taken(401).await.code.as_deref(), Some("amount_too_large"));
    assert_eq!(taken(400).await.kind, FactKind::CapturePending);
    let voided = provider.void(&void(&id)).await.unwrap();
    assert_eq!(voided.fact.code.as_deref(), Some("operation_pending"));
    sandbox.stop().await;
}

#[tokio::test]
async fn a_void_ends_an_authorisation_that_never_came() {
    let (data_dir, mut shop) = (DataDir::new(), Shop::start().await);
    let sandbox = Sandbox::start(&data_dir, &shop).await;
    let waiting = sandbox.authorize("tok_3ds").await.unwrap();
    let voided = sandbox.provider.void(&void(&waiting.payment.provider_ref)).await.unwrap();
    assert_eq!((voided.fact.kind, voided.fact.amount), (FactKind::Voided, 0));
    assert_eq!(voided.payment.status, ProviderStatus::Voided);
    let mut told = shop.webhook_types(3).await;
    told.sort();
    assert_eq!(told, ["payment.declined", "payment.requires_action", "payment.voided"]);
    let path = format!("/v1/payments/{}/action", waiting.payment.provider_ref);
    let (status, _) = sandbox.post(&path, None, &json!({ "result": "success" })).await;
    assert_eq!(status, 409);
    sandbox.stop().await;
}

#[tokio::test]
async fn a_request_that_cannot_be_read_is_refused() {
    let (data_dir, shop) = (DataDir::new(), Shop::start().await);
    let sandbox = Sandbox::start(&data_dir, &shop).await;
    let good = json!({ "merchant_reference": "r", "token": "tok_approve", "amount": 1, "currency": "EUR" });
    let with = |field: &str, value: serde_json::Value| {
        let mut body = good.clone();
        body[field] = value;
        body
    };
    for (key, body, code) in [
        (Some("k"), with("token", json!("tok_free_money")), "invalid_token"),
        (Some("k"), with("amount", json!(0)), "invalid_request"),
        (Some("k"), with("amount", json!(1.5)), "invalid_request"),
        (Some("k"), with("amount", json!(i64::MAX)), "invalid_request"),
        (Some("k"), with("currency", json!("eur")), "invalid_request"),
        (Some("k"), with("merchant_reference", json!("")), "invalid_request"),
        (Some("k"), with("return_url", json!("javascript:alert(1)")), "invalid_request"),
        (None, good.clone(), "idempotency_key_missing"),
        (Some(""), good.clone(), "idempotency_key_missing"),
    ] {
        let (status, answer) = sandbox.post("/v1/payments", key, &body).await;
        assert_eq!((status, answer["error"]["code"].as_str()), (400, Some(code)), "{body}");
    }
    let (status, answer) = sandbox.post("/v1/payments/psp_0/void", Some("k"), &json!({})).await;
    assert_eq!((status, answer["error"]["code"].as_str()), (404, Some("payment_not_found")));
    assert_eq!(sandbox.get("/v1/ledger").await["payments"], json!([]));
    sandbox.stop().await;
}

#[tokio::test]
async fn the_list_of_operations_can_be_read_to_its_end() {
    let (data_dir, mut shop) = (DataDir::new(), Shop::start().await);
    let sandbox = Sandbox::start(&data_dir, &shop).await;
    sandbox.authorize("tok_late_webhook").await.unwrap();
    shop.webhook().await;
    sandbox.authorize("tok_decline").await.unwrap();
    let (mut kinds, mut cursor) = (Vec::new(), 0);
    loop {
        let page = sandbox.provider.operations_after(cursor, 2).await.unwrap();
        kinds.extend(page.facts.iter().map(|fact| fact.kind));
        cursor = page.next_cursor;
        if !page.has_more {
            break;
        }
    }
    let expected = [FactKind::AuthorizationPending, FactKind::Authorized, FactKind::Declined];
    assert_eq!(kinds, expected);
    let beyond = sandbox.provider.operations_after(cursor + 1, 2).await;
    assert!(matches!(beyond, Err(ProviderError::Rejected { code }) if code == "cursor_unknown"));
    sandbox.stop().await;
}
