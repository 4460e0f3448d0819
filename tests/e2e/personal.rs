//! What is personal stays where it can be erased, and is gone afterwards.

use std::path::Path;
use std::process::Command;

use reqwest::Method;
use serde_json::json;

use crate::shop::{Shop, contact};

const CANARIES: [&str; 3] = ["canary.quetzal@example.org", "Quetzalina Vanterpool", "Zanzibarweg 4711"];

/// Tables (outside the read models) whose rows, as text, hold a canary.
async fn tables_with(pool: &sqlx::PgPool, canary: &str, read_models_too: bool) -> Vec<String> {
    let tables: Vec<(String, String)> = sqlx::query_as(
        "SELECT table_schema, table_name FROM information_schema.tables
         WHERE table_type = 'BASE TABLE' AND table_schema NOT IN ('pg_catalog', 'information_schema')",
    )
    .fetch_all(pool)
    .await
    .unwrap();
    let mut found = Vec::new();
    for (schema, table) in tables {
        if schema != "public" && !read_models_too {
            continue;
        }
        let query = format!("SELECT count(*) FROM {schema}.\"{table}\" t WHERE t::text LIKE '%' || $1 || '%'");
        let rows: i64 = sqlx::query_scalar(&query).bind(canary).fetch_one(pool).await.unwrap();
        if rows > 0 {
            found.push(format!("{schema}.{table}"));
        }
    }
    found
}

/// Files below a folder that hold a canary.
fn files_with(dir: &Path, canary: &str) -> String {
    let output = Command::new("grep").args(["-rla", canary]).arg(dir).output().unwrap();
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_shoppers_data_is_sealed_everywhere_and_gone_when_erased() {
    let shop = Shop::empty().await;
    shop.product("BOOK-1", "18.00", 5).await;
    let cart = shop.cart(&[("BOOK-1", 1)]).await;
    let mut person = contact(CANARIES[0], CANARIES[1]);
    person["shipping_address"]["line1"] = CANARIES[2].into();
    shop.put(&format!("/v1/carts/{cart}/contact"), person).await.expect(200);
    let order = shop.checkout(&cart, "tok_approve").await.expect(201);
    let (id, token) = (order.str("/id"), order.token.clone().unwrap());
    let shown = shop.get_after(&format!("/v1/orders/{id}?token={}", order.str("/order_token")), &token).await.expect(200);
    assert_eq!(shown.str("/contact/email"), CANARIES[0]);

    // Known to the read models, and to nothing else.
    let pool = shop.pool().await;
    let export = shop.cli(&["events"]);
    let api = shop.staff(Method::GET, "/v1/events", None).await.expect(200);
    for canary in CANARIES {
        assert_eq!(tables_with(&pool, canary, false).await, Vec::<String>::new());
        assert!(!tables_with(&pool, canary, true).await.is_empty(), "the read models should know {canary}");
        for folder in ["nats", "search", "log", "test.log", "sandbox-psp"] {
            assert_eq!(files_with(&shop.dir.join(folder), canary), "", "in {folder}");
        }
        assert!(!export.contains(canary) && !api.text.contains(canary));
    }
    // No bearer secret either: the cart's id is known by its hash only.
    assert_eq!(tables_with(&pool, &cart, true).await, Vec::<String>::new());
    assert!(!export.contains(&cart));

    // Erased: nowhere. The order stays, its sums stay, the person is gone.
    let subject: String = {
        let text: String =
            sqlx::query_scalar("SELECT subject_id::text FROM order_v2.\"order\" WHERE id = $1").bind(&id).fetch_one(&pool).await.unwrap();
        text
    };
    // Not before what was bought has left: it needs its address.
    let refused = shop.staff(Method::POST, &format!("/v1/admin/customers/{subject}/erase"), None).await.expect(409);
    assert_eq!(refused.str("/code"), "orders_open");
    let until = std::time::Instant::now() + std::time::Duration::from_secs(30);
    loop {
        let paid = shop.get(&format!("/v1/orders/{id}?token={}", order.str("/order_token"))).await.expect(200);
        if paid.str("/payment_status") == "paid" {
            break;
        }
        assert!(std::time::Instant::now() < until, "{}", paid.text);
        crate::shop::pause(std::time::Duration::from_millis(20)).await;
    }
    let shipped = shop.staff(Method::POST, &format!("/v1/admin/orders/{id}/fulfilments"), Some(json!({}))).await.expect(200);
    assert_eq!(shipped.str("/status"), "completed");
    shop.staff_after(&format!("/v1/orders/{id}"), shipped.token.as_deref().unwrap()).await.expect(200);
    let erased = shop.staff(Method::POST, &format!("/v1/admin/customers/{subject}/erase"), None).await.expect(200);
    let after = erased.token.clone().unwrap();
    let shown = shop.get_after(&format!("/v1/orders/{id}?token={}", order.str("/order_token")), &after).await.expect(200);
    assert!(shown.body["contact"]["email"].is_null(), "{}", shown.text);
    assert_eq!(shown.int("/totals/total/amount"), order.int("/totals/total/amount"));
    // The read model of carts follows by itself.
    let bought = shop.get_after(&format!("/v1/carts/{cart}"), &after).await.expect(200);
    assert!(bought.body["contact"]["email"].is_null(), "{}", bought.text);
    for canary in CANARIES {
        assert_eq!(tables_with(&pool, canary, true).await, Vec::<String>::new());
    }

    // What a command answers is its decision's own state, which was in memory before the erasure.
    let open = shop.cart(&[("BOOK-1", 1)]).await;
    let open = format!("/v1/carts/{open}");
    let told = shop.put(&format!("{open}/contact"), contact(CANARIES[0], CANARIES[1])).await.expect(200);
    shop.get_after(&open, told.token.as_deref().unwrap()).await.expect(200);
    let subject: String = sqlx::query_scalar("SELECT subject_id::text FROM cart_v2.cart WHERE state::text LIKE '%' || $1 || '%'")
        .bind(CANARIES[0])
        .fetch_one(&pool)
        .await
        .unwrap();
    shop.staff(Method::POST, &format!("/v1/admin/customers/{subject}/erase"), None).await.expect(200);
    let german = Some(json!({ "language": "de" }));
    let changed = shop.send(Method::PATCH, &open, german, &[]).await.unwrap().expect(200);
    assert!(changed.body["contact"]["email"].is_null(), "{}", changed.text);
    shop.get_after(&open, changed.token.as_deref().unwrap()).await.expect(200);

    // A rebuild, which reads the log anew, brings nothing back.
    for projection in ["order", "cart"] {
        shop.cli(&["rebuild", projection, "--watch"]);
    }
    for canary in CANARIES {
        assert_eq!(tables_with(&pool, canary, true).await, Vec::<String>::new());
    }
    let verified = shop.cli_code(&["verify"]);
    assert_eq!(verified.0, 0, "{}{}", verified.1, verified.2);
}
