//! Deadlines: durable, fired once, whatever happens to the program meanwhile.

use std::time::Duration;

use reqwest::Method;

use crate::shop::{Shop, pause};

/// Orders that wait for their payment.
async fn unpaid(shop: &Shop, orders: usize) {
    for _ in 0..orders {
        let cart = shop.cart(&[("MOKA-3", 2)]).await;
        assert_eq!(shop.checkout(&cart, "tok_decline").await.expect(201).str("/status"), "pending_payment");
    }
}

async fn reserved(shop: &Shop) -> i64 {
    shop.staff(Method::GET, "/v1/admin/stock/MOKA-3", None).await.expect(200).int("/reserved")
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unpaid_order_gives_its_stock_back_once_at_its_deadline() {
    let mut shop = Shop::empty().await;
    shop.product("MOKA-3", "12.00", 10).await;
    unpaid(&shop, 3).await;
    let pool = shop.pool().await;
    let expired = async |pool| -> i64 {
        sqlx::query_scalar("SELECT count(*) FROM events WHERE event_type = 'OrderExpired'").fetch_one(pool).await.unwrap()
    };
    sqlx::raw_sql("CREATE TABLE kept AS SELECT * FROM deadline").execute(&pool).await.unwrap();
    let hour = "UPDATE deadline SET due_at = clock_timestamp() + interval '1 hour'";
    sqlx::raw_sql(hour).execute(&pool).await.unwrap();
    pool.close().await;

    // The program ends with its servers; the deadline passes meanwhile.
    shop.kill(true);
    shop.restart().await;
    let pool = shop.pool().await;
    assert_eq!((expired(&pool).await, reserved(&shop).await), (0, 6), "not before its time");
    sqlx::raw_sql("UPDATE deadline SET due_at = clock_timestamp() - interval '1 minute'").execute(&pool).await.unwrap();
    while reserved(&shop).await > 0 {
        pause(Duration::from_millis(20)).await;
    }
    while sqlx::query_scalar::<_, i64>("SELECT count(*) FROM deadline").fetch_one(&pool).await.unwrap() > 0 {
        pause(Duration::from_millis(20)).await;
    }
    assert_eq!(expired(&pool).await, 3);

    // It may die between what a deadline does and the end of its row, or its clock may go back: it fires again, to no effect.
    let again = "INSERT INTO deadline SELECT deadline_id, kind, aggregate_type, aggregate_id, clock_timestamp() FROM kept";
    sqlx::raw_sql(again).execute(&pool).await.unwrap();
    while sqlx::query_scalar::<_, i64>("SELECT count(*) FROM deadline").fetch_one(&pool).await.unwrap() > 0 {
        pause(Duration::from_millis(20)).await;
    }
    assert_eq!((expired(&pool).await, reserved(&shop).await), (3, 0));
    shop.cli(&["verify"]);
}
