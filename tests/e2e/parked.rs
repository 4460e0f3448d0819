//! What a read model can't apply: its stream waits, all others go on, and nothing is lost.

use reqwest::Method;
use serde_json::json;

use crate::shop::Shop;

const LIMIT: &str = "ALTER TABLE stock_v1.stock ADD CONSTRAINT shelf_is_full CHECK (on_hand < 100)";
const NO_LIMIT: &str = "ALTER TABLE stock_v1.stock DROP CONSTRAINT shelf_is_full";

async fn receive(shop: &Shop, sku: &str, quantity: u32) -> String {
    let body = json!({ "quantity": quantity });
    shop.staff(Method::POST, &format!("/v1/admin/stock/{sku}/receive"), Some(body)).await.expect(200).token.unwrap()
}

/// On hand in the read model of what a position has seen, by SKU.
async fn on_hand(shop: &Shop, token: &str) -> Vec<i64> {
    let shown = shop.staff_after("/v1/admin/stock/MOKA-3", token).await.expect(200);
    let other = shop.staff_after("/v1/admin/stock/CUP-1", token).await.expect(200);
    vec![shown.int("/on_hand"), other.int("/on_hand")]
}

/// The same while the first one's stream waits: it is not shown as what it is not.
async fn on_hand_while_parked(shop: &Shop, parked: &str, token: &str) -> Vec<i64> {
    let position = |token: &str| token.split_once('.').unwrap().1.parse::<i64>().unwrap();
    let refused = shop.staff_after("/v1/admin/stock/MOKA-3", token).await.expect(503);
    assert_eq!(refused.str("/code"), "read_model_behind");
    let shown = shop.staff(Method::GET, "/v1/admin/stock/MOKA-3", None).await.expect(200);
    assert!(position(&shown.token.clone().unwrap()) < position(parked), "{:?} has not seen {parked}", shown.token);
    shop.get_after("/v1/products/moka-3", token).await.expect(503);
    shop.get("/v1/products/moka-3").await.expect(200);
    let other = shop.staff_after("/v1/admin/stock/CUP-1", token).await.expect(200);
    vec![shown.int("/on_hand"), other.int("/on_hand")]
}

async fn parked(shop: &Shop) -> Vec<(String, String)> {
    let listed = shop.staff(Method::GET, "/v1/ops/parked", None).await.expect(200);
    let items = listed.body["items"].as_array().unwrap();
    items.iter().map(|item| (item["id"].as_str().unwrap().to_owned(), item["error"].as_str().unwrap().to_owned())).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_that_a_read_model_refuses_waits_until_it_is_tried_again_or_passed_over() {
    let shop = Shop::empty().await;
    shop.product("MOKA-3", "12.00", 50).await;
    shop.product("CUP-1", "3.00", 7).await;
    let pool = shop.pool().await;
    sqlx::raw_sql(LIMIT).execute(&pool).await.unwrap();
    let refused = receive(&shop, "MOKA-3", 60).await;
    receive(&shop, "MOKA-3", 1).await;
    let token = receive(&shop, "CUP-1", 1).await;

    assert_eq!(on_hand_while_parked(&shop, &refused, &token).await, [50, 8], "the other stream goes on");
    let waiting = parked(&shop).await;
    let (first, second) = (&waiting[0], &waiting[1]);
    assert!(first.1.ends_with("SQLSTATE 23514, constraint shelf_is_full"), "{waiting:?}");
    assert!(second.1.starts_with("waits behind"), "{waiting:?}");
    let status = shop.staff(Method::GET, "/v1/ops/status", None).await.expect(200);
    let stock = status.body["projections"].as_array().unwrap().iter().find(|p| p["name"] == "stock").unwrap().clone();
    assert_eq!((stock["parked"].as_i64(), stock["lag_events"].as_i64()), (Some(2), Some(0)));
    assert_eq!(shop.cli_code(&["verify"]).0, 3, "a row that is behind its stream is named");

    let act = async |id: &str, action: &str| shop.staff(Method::POST, &format!("/v1/ops/parked/{id}/{action}"), None).await;
    let still = act(&first.0, "retry").await.expect(409);
    assert!(still.str("/detail").contains("still can't be applied"), "{}", still.text);
    let late = act(&second.0, "retry").await.expect(409);
    assert!(late.str("/detail").contains(&first.0), "{}", late.text);
    act("stock:1", "retry").await.expect(404);
    act(&first.0, "forget").await.expect(404);

    sqlx::raw_sql(NO_LIMIT).execute(&pool).await.unwrap();
    let listed = shop.cli(&["parked"]);
    assert!(listed.contains(&first.0) && listed.contains("shelf_is_full"), "{listed}");
    assert_eq!(shop.cli(&["parked", "--retry", &first.0]), "2 events of the stream are released\n");
    let token = receive(&shop, "MOKA-3", 1).await;
    assert_eq!(on_hand(&shop, &token).await, [112, 8], "nothing waits any more");
    assert_eq!(parked(&shop).await, []);
    shop.cli(&["verify"]);

    sqlx::raw_sql(&LIMIT.replace("100", "200")).execute(&pool).await.unwrap();
    let token = receive(&shop, "MOKA-3", 88).await;
    assert_eq!(on_hand_while_parked(&shop, &token, &token).await, [112, 8]);
    let (code, _, err) = shop.cli_code(&["rebuild", "product", "--watch"]);
    assert_eq!(code, 0, "{err}");
    let (id, _) = parked(&shop).await.remove(0);
    act(&id, "discard").await.expect(200);
    let token = receive(&shop, "MOKA-3", 1).await;
    assert_eq!(on_hand(&shop, &token).await, [113, 8], "as if it had not been");
    let (code, out, _) = shop.cli_code(&["verify"]);
    assert!(code == 3 && out.contains("read model stock_v1.stock/"), "it is not the fold any more: {out}");

    sqlx::raw_sql(NO_LIMIT).execute(&pool).await.unwrap();
    shop.cli(&["rebuild", "stock", "--watch"]);
    assert_eq!(on_hand(&shop, &token).await, [201, 8]);
    shop.cli(&["verify"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_order_that_its_read_model_refuses_is_not_said_to_be_unknown() {
    let shop = Shop::empty().await;
    shop.product("MOKA-3", "12.00", 50).await;
    let pool = shop.pool().await;
    let limit = r#"ALTER TABLE "order_v2"."order" ADD CONSTRAINT too_young CHECK (version > 1000) NOT VALID"#;
    sqlx::raw_sql(limit).execute(&pool).await.unwrap();
    let cart = shop.cart(&[("MOKA-3", 1)]).await;
    let order = shop.checkout(&cart, "tok_approve").await.expect(201);
    let page = format!("/v1/orders/{}?token={}", order.str("/id"), order.str("/order_token"));
    let written = order.token.clone().unwrap();
    assert_eq!(shop.get_after(&page, &written).await.expect(503).str("/code"), "read_model_behind");
    assert_eq!(shop.get(&page).await.expect(503).str("/code"), "read_model_behind");

    sqlx::raw_sql(r#"ALTER TABLE "order_v2"."order" DROP CONSTRAINT too_young"#).execute(&pool).await.unwrap();
    let (id, _) = parked(&shop).await.remove(0);
    shop.cli(&["parked", "--retry", &id]);
    assert_eq!(shop.get_after(&page, &written).await.expect(200).str("/status"), "confirmed");
    shop.cli(&["verify"]);
}
