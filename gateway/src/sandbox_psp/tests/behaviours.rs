//! What each token does.

use commands::provider::{FactKind, ProviderStatus};
use serde_json::json;

use super::*;

#[tokio::test]
async fn an_approved_payment_is_captured_and_refunded() {
    let (data_dir, mut shop) = (DataDir::new(), Shop::start().await);
    let sandbox = Sandbox::start(&data_dir, &shop).await;
    let authorized = sandbox.authorize("tok_approve").await.unwrap();
    assert_eq!(authorized.fact.kind, FactKind::Authorized);
    assert_eq!(authorized.fact.method.as_ref().unwrap().last4.as_deref(), Some("4242"));
    let told = shop.webhook().await;
    assert_eq!((told.event_type.as_str(), told.fact), ("payment.authorized", authorized.fact));

    let id = authorized.payment.provider_ref;
    let captured = sandbox.provider.capture(&capture(&id, 600, false)).await.unwrap();
    assert_eq!((captured.fact.kind, captured.payment.captured), (FactKind::Captured, 600));
    assert_eq!(shop.webhook().await.fact, captured.fact);
    let refunding = refund(&id, 250);
    let refunded = sandbox.provider.refund(&refunding).await.unwrap();
    assert_eq!((refunded.fact.kind, refunded.payment.refunded), (FactKind::RefundSucceeded, 250));
    assert_eq!(refunded.fact.refund_reference, Some(refunding.refund_id.to_string()));
    assert_eq!(shop.webhook().await.event_type, "refund.succeeded");

    let books = sandbox.get("/v1/ledger").await;
    let payment = &books["payments"][0];
    let totals = ["authorized", "captured", "refunded", "voided"].map(|total| &payment[total]);
    assert_eq!(totals, [1000, 600, 250, 0]);
    sandbox.stop().await;
}

#[tokio::test]
async fn a_declined_card_has_a_code() {
    let (data_dir, mut shop) = (DataDir::new(), Shop::start().await);
    let sandbox = Sandbox::start(&data_dir, &shop).await;
    let declined = sandbox.authorize("tok_decline").await.unwrap();
    assert_eq!(declined.fact.kind, FactKind::Declined);
    assert_eq!(declined.fact.code.as_deref(), Some("card_declined"));
    assert_eq!(declined.payment.decline_code.as_deref(), Some("card_declined"));
    assert_eq!(shop.webhook().await.event_type, "payment.declined");
    let taken = sandbox.provider.capture(&capture(&declined.payment.provider_ref, 1, true)).await;
    assert_eq!(taken.unwrap().fact.code.as_deref(), Some("not_authorized"));
    sandbox.stop().await;
}

#[tokio::test]
async fn the_shopper_decides_an_action() {
    let (data_dir, mut shop) = (DataDir::new(), Shop::start().await);
    let sandbox = Sandbox::start(&data_dir, &shop).await;
    for (result, other, told) in [("success", "failure", "payment.authorized"), ("failure", "success", "payment.declined")] {
        let waiting = sandbox.authorize("tok_3ds").await.unwrap();
        assert_eq!(waiting.fact.kind, FactKind::ActionRequired);
        assert_eq!(shop.webhook().await.event_type, "payment.requires_action");
        let url = waiting.fact.next_action.unwrap().url;
        let page = reqwest::get(&url).await.unwrap().text().await.unwrap();
        assert!(page.contains("value=\"success\"") && page.contains("value=\"failure\""));
        let path = url.strip_prefix(&sandbox.url).unwrap();
        for _ in 0..2 {
            let (status, _) = sandbox.post(path, None, &json!({ "result": result })).await;
            assert_eq!(status, 200, "the same result again changes nothing");
        }
        assert_eq!(shop.webhook().await.event_type, told);
        let (status, refused) = sandbox.post(path, None, &json!({ "result": other })).await;
        assert_eq!((status, &refused["error"]["code"]), (409, &json!("action_not_possible")));
    }
    sandbox.stop().await;
}

#[tokio::test]
async fn the_page_sends_the_shopper_back_to_the_shop() {
    let (data_dir, shop) = (DataDir::new(), Shop::start().await);
    let sandbox = Sandbox::start(&data_dir, &shop).await;
    let return_url = Some("http://shop.example/orders/7?token=a".to_owned());
    let request = AuthorizeRequest { return_url: return_url.clone(), ..request("tok_3ds") };
    let waiting = sandbox.provider.authorize(&request).await.unwrap();
    let browser = reqwest::Client::builder().redirect(reqwest::redirect::Policy::none());
    let click = browser.build().unwrap().post(waiting.fact.next_action.unwrap().url);
    let click = click.header("content-type", "application/x-www-form-urlencoded");
    let answer = click.body("result=success").send().await.unwrap();
    assert_eq!(answer.status(), 303);
    assert_eq!(answer.headers()["location"].to_str().ok(), return_url.as_deref());
    let found = sandbox.provider.find_by_reference(request.payment_id).await.unwrap().unwrap();
    assert_eq!(found.payment.status, ProviderStatus::Authorized);
    sandbox.stop().await;
}

#[tokio::test]
async fn a_timeout_that_was_done_is_found_and_told_later() {
    let (data_dir, mut shop) = (DataDir::new(), Shop::start().await);
    let sandbox = Sandbox::start(&data_dir, &shop).await;
    let request = request("tok_timeout_done+capture_timeout_done");
    assert!(is_unknown(&sandbox.provider.authorize(&request).await));
    let found = sandbox.provider.find_by_reference(request.payment_id).await.unwrap().unwrap();
    let fact = found.fact_of(&request.idempotency_key).unwrap();
    assert_eq!(fact.kind, FactKind::Authorized);
    assert_eq!(shop.webhook().await.fact, *fact);
    let again = sandbox.provider.authorize(&request).await.unwrap();
    assert_eq!(again.fact, *fact, "the same key is answered at once");

    let taking = capture(&found.payment.provider_ref, 1000, true);
    assert!(is_unknown(&sandbox.provider.capture(&taking).await));
    assert_eq!(shop.webhook().await.event_type, "payment.captured");
    let found = sandbox.provider.find_by_reference(request.payment_id).await.unwrap().unwrap();
    assert_eq!(found.fact_of(&taking.idempotency_key).unwrap().kind, FactKind::Captured);
    assert_eq!(found.payment.captured, 1000);
    sandbox.stop().await;
}

#[tokio::test]
async fn a_held_client_gives_up_before_anything_is_told() {
    let (data_dir, mut shop) = (DataDir::new(), Shop::start().await);
    let config = SandboxConfig { hold: PATIENCE * 2, ..config(&data_dir, &shop) };
    let sandbox = Sandbox::start_with(config).await;
    let hasty = PaymentProvider::new(&sandbox.url, Duration::from_millis(100)).unwrap();
    let request = request("tok_timeout_done");
    assert!(is_unknown(&hasty.authorize(&request).await));
    while sandbox.provider.find_by_reference(request.payment_id).await.unwrap().is_none() {}
    assert!(shop.webhooks.try_recv().is_err());
    sandbox.stop().await;
}

#[tokio::test]
async fn a_timeout_that_was_lost_did_nothing() {
    let (data_dir, shop) = (DataDir::new(), Shop::start().await);
    let sandbox = Sandbox::start(&data_dir, &shop).await;
    let request = request("tok_timeout_lost");
    for _ in 0..2 {
        assert!(is_unknown(&sandbox.provider.authorize(&request).await));
        assert_eq!(sandbox.provider.find_by_reference(request.payment_id).await.unwrap(), None);
    }
    assert_eq!(sandbox.get("/v1/ledger").await["payments"], json!([]));
    sandbox.stop().await;
}

#[tokio::test]
async fn a_lost_request_gets_through_when_configured() {
    let (data_dir, shop) = (DataDir::new(), Shop::start().await);
    let config = SandboxConfig { lost_requests: Some(1), ..config(&data_dir, &shop) };
    let sandbox = Sandbox::start_with(config).await;
    let request = request("tok_timeout_lost");
    assert!(is_unknown(&sandbox.provider.authorize(&request).await));
    let second = sandbox.provider.authorize(&request).await.unwrap();
    assert_eq!(second.fact.kind, FactKind::Authorized);
    sandbox.stop().await;
}

#[tokio::test]
async fn a_late_outcome_comes_by_webhook() {
    let (data_dir, mut shop) = (DataDir::new(), Shop::start().await);
    let sandbox = Sandbox::start(&data_dir, &shop).await;
    let pending = sandbox.authorize("tok_late_webhook").await.unwrap();
    assert_eq!(pending.fact.kind, FactKind::AuthorizationPending);
    assert_eq!(pending.payment.status, ProviderStatus::Pending);
    let told = shop.webhook().await;
    assert_eq!(told.fact.kind, FactKind::Authorized);
    assert_eq!(told.fact.idempotency_key, pending.fact.idempotency_key);
    assert_ne!(told.fact.provider_event_id, pending.fact.provider_event_id, "another outcome");
    sandbox.stop().await;
}

#[tokio::test]
async fn a_duplicate_webhook_has_the_same_id() {
    let (data_dir, mut shop) = (DataDir::new(), Shop::start().await);
    let sandbox = Sandbox::start(&data_dir, &shop).await;
    let authorized = sandbox.authorize("tok_duplicate_webhook").await.unwrap();
    let (first, second) = (shop.webhook().await, shop.webhook().await);
    assert_eq!(first, second);
    assert_eq!(authorized.fact.provider_event_id, Some(first.id));
    sandbox.stop().await;
}

#[tokio::test]
async fn out_of_order_tells_of_the_capture_first() {
    let (data_dir, mut shop) = (DataDir::new(), Shop::start().await);
    let sandbox = Sandbox::start(&data_dir, &shop).await;
    let authorized = sandbox.authorize("tok_out_of_order").await.unwrap();
    assert_eq!(authorized.fact.kind, FactKind::Authorized);
    let taking = capture(&authorized.payment.provider_ref, 1000, true);
    sandbox.provider.capture(&taking).await.unwrap();
    assert_eq!(shop.webhook_types(2).await, ["payment.captured", "payment.authorized"]);
    sandbox.stop().await;
}

#[tokio::test]
async fn out_of_order_does_not_wait_for_a_capture_for_ever() {
    let (data_dir, mut shop) = (DataDir::new(), Shop::start().await);
    let config = SandboxConfig { withhold: LATE_DELAY, ..config(&data_dir, &shop) };
    let sandbox = Sandbox::start_with(config).await;
    sandbox.authorize("tok_out_of_order").await.unwrap();
    assert_eq!(shop.webhook().await.event_type, "payment.authorized");
    sandbox.stop().await;
}

#[tokio::test]
async fn an_operation_behaves_as_its_suffix_says() {
    let (data_dir, mut shop) = (DataDir::new(), Shop::start().await);
    let sandbox = Sandbox::start(&data_dir, &shop).await;
    for (token, expected) in [
        ("tok_approve+capture_decline", vec!["capture.failed"]),
        ("tok_approve+capture_pending", vec!["payment.captured"]),
        ("tok_approve+capture_timeout_lost", vec![]),
        ("tok_approve+void_decline", vec!["void.failed"]),
        ("tok_approve+void_pending", vec!["payment.voided"]),
        ("tok_approve+void_timeout_done", vec!["payment.voided"]),
        ("tok_approve+void_timeout_lost", vec![]),
        ("tok_approve+refund_decline", vec!["payment.captured", "refund.failed"]),
        ("tok_approve+refund_pending", vec!["payment.captured", "refund.pending", "refund.succeeded"]),
        ("tok_approve+refund_timeout_done", vec!["payment.captured", "refund.succeeded"]),
        ("tok_approve+refund_timeout_lost", vec!["payment.captured"]),
    ] {
        let authorized = sandbox.authorize(token).await.unwrap();
        assert_eq!(shop.webhook().await.event_type, "payment.authorized");
        let id = &authorized.payment.provider_ref;
        let outcome = if token.contains("void") {
            sandbox.provider.void(&void(id)).await
        } else {
            let taken = sandbox.provider.capture(&capture(id, 1000, true)).await;
            if token.contains("refund") { sandbox.provider.refund(&refund(id, 10)).await } else { taken }
        };
        assert_eq!(is_unknown(&outcome), token.contains("timeout"), "{token}: {outcome:?}");
        assert_eq!(shop.webhook_types(expected.len()).await, expected, "{token}");
        let found = authorized.fact.merchant_reference;
        let found = sandbox.provider.find_by_reference(found).await.unwrap().unwrap();
        let (is_capture, is_done) = (token.contains("+capture"), token.contains("done"));
        let taken = if is_capture { found.payment.captured } else { found.payment.refunded };
        let changed = taken > 0 || found.payment.voided > 0;
        assert_eq!(changed, token.contains("pending") || is_done, "{token}");
    }
    assert!(shop.webhooks.try_recv().is_err());
    sandbox.stop().await;
}

#[tokio::test]
async fn a_sale_is_authorised_and_captured_in_one() {
    let (data_dir, mut shop) = (DataDir::new(), Shop::start().await);
    let sandbox = Sandbox::start(&data_dir, &shop).await;
    let request = AuthorizeRequest { capture: true, ..request("tok_approve") };
    let sold = sandbox.provider.authorize(&request).await.unwrap();
    assert_eq!((sold.fact.kind, sold.payment.captured), (FactKind::Authorized, 1000));
    let mut told = shop.webhook_types(2).await;
    told.sort();
    assert_eq!(told, ["payment.authorized", "payment.captured"]);
    sandbox.stop().await;
}
