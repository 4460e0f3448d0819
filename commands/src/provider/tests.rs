use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use uuid::Uuid;

use super::*;

const SHORT: Duration = Duration::from_millis(300);
const SECRET: &str = "whsec_plJ3nmyCDGBKInavdOK15jsl";

/// What the canned provider does with the one connection that it takes.
enum Canned {
    Answer(u16, String),
    Silence,
    Close,
}

/// A provider that reads one request and does what it was told. The set owns its task.
async fn canned(canned: Canned) -> (PaymentProvider, JoinSet<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let provider = PaymentProvider::new(&format!("http://{}", listener.local_addr().unwrap()), SHORT).unwrap();
    let mut tasks = JoinSet::new();
    tasks.spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut request = vec![0; 16 * 1024];
        let read = stream.read(&mut request).await.unwrap();
        match canned {
            Canned::Answer(status, body) => {
                let head = format!("HTTP/1.1 {status} x\r\ncontent-length: {}\r\nconnection: close\r\n\r\n", body.len());
                stream.write_all((head + &body).as_bytes()).await.unwrap();
            }
            Canned::Silence => std::future::pending::<()>().await,
            Canned::Close => {}
        }
        String::from_utf8_lossy(&request[..read]).into_owned()
    });
    (provider, tasks)
}

fn authorize_request() -> AuthorizeRequest {
    AuthorizeRequest {
        payment_id: Uuid::nil(),
        idempotency_key: "key-1".to_owned(),
        token: "tok_approve".to_owned(),
        amount: 1299,
        currency: "EUR".to_owned(),
        capture: false,
        return_url: None,
    }
}

fn payment_json() -> serde_json::Value {
    json!({
        "id": "psp_1", "merchant_reference": Uuid::nil(), "status": "authorized", "amount": 1299, "currency": "EUR",
        "authorized": 1299, "captured": 0, "refunded": 0, "voided": 0, "expires_at": "2026-01-08T00:00:00Z",
        "method": {"kind": "card", "brand": "visa", "last4": "4242"}
    })
}

fn operation_json() -> serde_json::Value {
    json!({"id": "op_1", "kind": "authorize", "idempotency_key": "key-1", "status": "succeeded", "amount": 1299, "event_id": "evt_1"})
}

fn event_json() -> String {
    let event = json!({
        "type": "payment.authorized", "id": "evt_1", "created": "2026-01-01T00:00:00Z",
        "data": {"payment": payment_json(), "operation": operation_json()}
    });
    event.to_string()
}

fn sign(id: &str, timestamp: &str, body: &str) -> String {
    use base64::Engine as _;
    use base64::engine::general_purpose::STANDARD;
    use hmac::{Hmac, KeyInit, Mac};
    let key = STANDARD.decode(SECRET.strip_prefix("whsec_").unwrap()).unwrap();
    let mut mac = Hmac::<sha2::Sha256>::new_from_slice(&key).unwrap();
    mac.update(format!("{id}.{timestamp}.{body}").as_bytes());
    format!("v1,{}", STANDARD.encode(mac.finalize().into_bytes()))
}

fn verify(id: &str, timestamp: &str, signature: &str, body: &str, now: i64) -> Result<WebhookEvent, WebhookError> {
    let headers = WebhookHeaders { id, timestamp, signature };
    let now: DateTime<Utc> = DateTime::from_timestamp(now, 0).unwrap();
    verify_webhook(SECRET, &headers, body.as_bytes(), now, WEBHOOK_TOLERANCE)
}

#[tokio::test]
async fn an_answer_becomes_a_fact() {
    let mut opened = payment_json();
    opened["operation"] = operation_json();
    let (provider, mut tasks) = canned(Canned::Answer(201, opened.to_string())).await;
    let answer = provider.authorize(&authorize_request()).await.unwrap();
    assert_eq!(answer.fact.kind, FactKind::Authorized);
    assert_eq!(answer.fact.provider_event_id.as_deref(), Some("evt_1"));
    assert_eq!(answer.fact.merchant_reference, Uuid::nil());
    assert_eq!(answer.payment.authorized, 1299);
    let request = tasks.join_next().await.unwrap().unwrap();
    assert!(request.starts_with("POST /v1/payments HTTP/1.1"));
    assert!(request.contains("idempotency-key: key-1"));
}

#[tokio::test]
async fn a_refused_connection_is_surely_not_sent() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let provider = PaymentProvider::new(&format!("http://{address}"), SHORT).unwrap();
    let outcome = provider.authorize(&authorize_request()).await;
    assert!(matches!(outcome, Err(ProviderError::Unreachable(Some(_)))), "{outcome:?}");
}

#[tokio::test]
async fn silence_is_an_unknown_outcome() {
    let (provider, _tasks) = canned(Canned::Silence).await;
    let outcome = provider.authorize(&authorize_request()).await;
    assert!(matches!(outcome, Err(ProviderError::Unknown { .. })), "{outcome:?}");
}

#[tokio::test]
async fn a_connection_lost_after_the_request_is_an_unknown_outcome() {
    let (provider, _tasks) = canned(Canned::Close).await;
    let outcome = provider.authorize(&authorize_request()).await;
    assert!(matches!(outcome, Err(ProviderError::Unknown { .. })), "{outcome:?}");
}

#[tokio::test]
async fn an_answer_that_cannot_be_read_is_an_unknown_outcome() {
    let (provider, _tasks) = canned(Canned::Answer(201, "{\"id\":".to_owned())).await;
    let outcome = provider.authorize(&authorize_request()).await;
    assert!(matches!(outcome, Err(ProviderError::Unknown { .. })), "{outcome:?}");
}

#[tokio::test]
async fn statuses_say_whether_something_may_have_happened() {
    let refused = json!({"error": {"code": "invalid_token"}}).to_string();
    for (status, body, expected) in [
        (400, refused.as_str(), "rejected invalid_token"),
        (404, "<html>", "rejected http_404"),
        (302, "", "unknown"),
        (408, refused.as_str(), "unknown"),
        (500, refused.as_str(), "unknown"),
        (504, "", "unknown"),
        (429, "", "unreachable"),
    ] {
        let (provider, _tasks) = canned(Canned::Answer(status, body.to_owned())).await;
        let outcome = match provider.authorize(&authorize_request()).await.unwrap_err() {
            ProviderError::Rejected { code } => format!("rejected {code}"),
            ProviderError::Unknown { .. } => "unknown".to_owned(),
            ProviderError::Unreachable(_) => "unreachable".to_owned(),
        };
        assert_eq!(outcome, expected, "HTTP {status}");
    }
}

#[tokio::test]
async fn money_under_a_foreign_reference_is_listed_apart() {
    let mut foreign = payment_json();
    foreign["merchant_reference"] = json!("somebody else's");
    let listed = json!({
        "items": [{"payment": payment_json(), "operation": operation_json()}, {"payment": foreign, "operation": operation_json()}],
        "next_after": 2, "has_more": false
    });
    let (provider, _tasks) = canned(Canned::Answer(200, listed.to_string())).await;
    let page = provider.operations_after(0, 100).await.unwrap();
    assert_eq!((page.facts.len(), page.foreign.len(), page.next_cursor), (1, 1, 2));
}

#[test]
fn a_token_is_never_printed() {
    assert!(!format!("{:?}", authorize_request()).contains("tok_"));
}

#[test]
fn a_signed_webhook_is_believed() {
    let body = event_json();
    let signature = format!("v1,AAAA {}", sign("evt_1", "1767225600", &body));
    let event = verify("evt_1", "1767225600", &signature, &body, 1_767_225_700).unwrap();
    assert_eq!(event.event_type, "payment.authorized");
    assert_eq!(event.fact.kind, FactKind::Authorized);
}

#[test]
fn the_published_vector_of_standard_webhooks_is_accepted() {
    let body = r#"{"event_type":"ping","data":{"success":true}}"#;
    let signature = "v1,rAvfW3dJ/X/qxhsaXPOyyCGmRKsaKWcsNccKXlIktD0=";
    let outcome = verify("msg_loFOjxBNrRLzqYUf", "1731705121", signature, body, 1_731_705_121);
    assert_eq!(outcome, Err(WebhookError::NotUnderstood), "signed, but no event of ours");
}

#[test]
fn a_changed_body_id_or_time_is_not_believed() {
    let body = event_json();
    let signature = sign("evt_1", "1767225600", &body);
    let now = 1_767_225_600;
    assert_eq!(verify("evt_1", "1767225600", &signature, &body.replace("1299", "1"), now), Err(WebhookError::SignatureInvalid));
    assert_eq!(verify("evt_2", "1767225600", &signature, &body, now), Err(WebhookError::SignatureInvalid));
    assert_eq!(verify("evt_1", "1767225601", &signature, &body, now), Err(WebhookError::SignatureInvalid));
    assert_eq!(verify("evt_1", "1767225600", "", &body, now), Err(WebhookError::SignatureInvalid));
    assert_eq!(verify("evt_1", "today", &signature, &body, now), Err(WebhookError::HeadersInvalid));
}

#[test]
fn a_webhook_outside_the_tolerance_is_not_believed() {
    let body = event_json();
    let signature = sign("evt_1", "1767225600", &body);
    let tolerance = WEBHOOK_TOLERANCE.num_seconds();
    for now in [1_767_225_600 - tolerance, 1_767_225_600 + tolerance] {
        assert!(verify("evt_1", "1767225600", &signature, &body, now).is_ok());
    }
    for now in [1_767_225_599 - tolerance, 1_767_225_601 + tolerance] {
        assert_eq!(verify("evt_1", "1767225600", &signature, &body, now), Err(WebhookError::OutsideTolerance));
    }
}

#[test]
fn a_bad_secret_is_named() {
    let headers = WebhookHeaders { id: "evt_1", timestamp: "0", signature: "v1," };
    for secret in ["", "whsec_", "whsec_%%%", "plJ3nmyCDGBKInavdOK15jsl"] {
        let outcome = verify_webhook(secret, &headers, b"{}", DateTime::UNIX_EPOCH, TimeDelta::minutes(5));
        assert_eq!(outcome, Err(WebhookError::SecretInvalid), "{secret}");
    }
}
