//! What is left after a stop, a crash or a shop that doesn't answer.

use std::fs::OpenOptions;
use std::io::Write as _;

use commands::provider::FactKind;

use super::*;

fn ledger_file(data_dir: &DataDir) -> PathBuf {
    data_dir.0.join("ledger.jsonl")
}

#[tokio::test]
async fn a_webhook_is_sent_until_it_is_accepted() {
    let (data_dir, mut shop) = (DataDir::new(), Shop::start().await);
    shop.refuse.store(5, Ordering::SeqCst);
    let sandbox = Sandbox::start(&data_dir, &shop).await;
    let authorized = sandbox.authorize("tok_approve").await.unwrap();
    assert_eq!(shop.webhook().await.fact, authorized.fact);
    assert_eq!(shop.refuse.load(Ordering::SeqCst), 0);
    sandbox.stop().await;
}

#[tokio::test]
async fn a_webhook_that_is_never_accepted_is_given_up_for_good() {
    let (data_dir, mut shop) = (DataDir::new(), Shop::start().await);
    shop.refuse.store(3, Ordering::SeqCst);
    let few = SandboxConfig { webhook_attempts_max: 3, ..config(&data_dir, &shop) };
    let sandbox = Sandbox::start_with(few.clone()).await;
    sandbox.authorize("tok_approve").await.unwrap();
    while !std::fs::read_to_string(ledger_file(&data_dir)).unwrap().contains("webhook_abandoned") {
        tokio::task::yield_now().await;
    }
    sandbox.stop().await;
    let sandbox = Sandbox::start_with(few).await;
    sandbox.authorize("tok_decline").await.unwrap();
    assert_eq!(shop.webhook().await.event_type, "payment.declined");
    assert!(shop.webhooks.try_recv().is_err());
    sandbox.stop().await;
}

#[tokio::test]
async fn webhooks_and_pending_outcomes_survive_a_restart() {
    let (data_dir, mut shop) = (DataDir::new(), Shop::start().await);
    shop.refuse.store(u32::MAX, Ordering::SeqCst);
    let sandbox = Sandbox::start(&data_dir, &shop).await;
    let (approve, late) = (request("tok_approve"), request("tok_late_webhook"));
    let authorized = sandbox.provider.authorize(&approve).await.unwrap();
    let pending = sandbox.provider.authorize(&late).await.unwrap();
    assert_eq!(pending.fact.kind, FactKind::AuthorizationPending);
    sandbox.stop().await;

    shop.refuse.store(0, Ordering::SeqCst);
    let sandbox = Sandbox::start(&data_dir, &shop).await;
    let mut told = [shop.webhook().await.fact, shop.webhook().await.fact];
    told.sort_by_key(|fact| fact.merchant_reference != approve.payment_id);
    assert_eq!(told[0], authorized.fact);
    assert_eq!(told[1].merchant_reference, late.payment_id);
    assert_eq!(told[1].kind, FactKind::Authorized);
    let again = sandbox.provider.authorize(&approve).await.unwrap();
    assert_eq!(again, authorized, "keys are remembered");
    sandbox.stop().await;

    let sandbox = Sandbox::start(&data_dir, &shop).await;
    sandbox.authorize("tok_decline").await.unwrap();
    assert_eq!(shop.webhook().await.event_type, "payment.declined", "what was accepted is not sent again");
    sandbox.stop().await;
}

#[tokio::test]
async fn a_torn_last_line_is_cut_off() {
    let (data_dir, shop) = (DataDir::new(), Shop::start().await);
    let sandbox = Sandbox::start(&data_dir, &shop).await;
    let request = request("tok_approve");
    let authorized = sandbox.provider.authorize(&request).await.unwrap();
    sandbox.stop().await;
    let mut file = OpenOptions::new().append(true).open(ledger_file(&data_dir)).unwrap();
    file.write_all(b"{\"seq\":99,\"at\":\"2026-01-01T").unwrap();
    for _ in 0..2 {
        let sandbox = Sandbox::start(&data_dir, &shop).await;
        assert_eq!(sandbox.provider.authorize(&request).await.unwrap(), authorized);
        sandbox.authorize("tok_decline").await.unwrap();
        sandbox.stop().await;
    }
}

#[tokio::test]
async fn a_changed_ledger_is_not_opened() {
    let (data_dir, shop) = (DataDir::new(), Shop::start().await);
    let sandbox = Sandbox::start(&data_dir, &shop).await;
    sandbox.authorize("tok_approve").await.unwrap();
    sandbox.authorize("tok_approve").await.unwrap();
    sandbox.stop().await;
    let lines = std::fs::read_to_string(ledger_file(&data_dir)).unwrap();
    let without_first = lines.split_once('\n').unwrap().1;
    for changed in [without_first.to_owned(), format!("{{}}\n{lines}")] {
        std::fs::write(ledger_file(&data_dir), changed).unwrap();
        let mut refused = Sandbox::start(&data_dir, &shop).await;
        let outcome = refused.server.join_next().await.unwrap().unwrap();
        assert!(matches!(outcome, Err(SandboxError::Corrupt { line: 1, .. })), "{outcome:?}");
    }
}

#[tokio::test]
async fn a_data_directory_has_one_sandbox() {
    let (data_dir, shop) = (DataDir::new(), Shop::start().await);
    let sandbox = Sandbox::start(&data_dir, &shop).await;
    sandbox.authorize("tok_approve").await.unwrap();
    let mut second = Sandbox::start(&data_dir, &shop).await;
    let outcome = second.server.join_next().await.unwrap().unwrap();
    assert!(matches!(outcome, Err(SandboxError::InUse { .. })), "{outcome:?}");
    sandbox.stop().await;
}

#[tokio::test]
async fn a_stop_does_not_wait_for_held_clients() {
    let (data_dir, shop) = (DataDir::new(), Shop::start().await);
    let long = SandboxConfig { hold: PATIENCE * 10, ..config(&data_dir, &shop) };
    let sandbox = Sandbox::start_with(long).await;
    let patient = PaymentProvider::new(&sandbox.url, PATIENCE * 10).unwrap();
    let request = request("tok_timeout_done");
    let mut waiting = JoinSet::new();
    let held = request.clone();
    waiting.spawn(async move { patient.authorize(&held).await });
    while sandbox.provider.find_by_reference(request.payment_id).await.unwrap().is_none() {}
    tokio::time::timeout(PATIENCE, sandbox.stop()).await.unwrap();
    let outcome = waiting.join_next().await.unwrap().unwrap();
    assert!(matches!(outcome, Err(ProviderError::Unknown { .. })), "{outcome:?}");
}
