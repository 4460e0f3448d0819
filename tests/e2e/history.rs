//! A log that was set back: the lost future is refused, nothing of it is shown, and the copies follow the new history.

use std::path::Path;
use std::process::Command;

use reqwest::Method;
use serde_json::json;

use crate::shop::Shop;

fn sh(script: &str, from: &Path, to: &Path) {
    let status = Command::new("sh").args(["-ec", script, "sh"]).arg(from).arg(to).status().unwrap();
    assert!(status.success(), "{script}");
}

#[tokio::test(flavor = "multi_thread")]
async fn after_a_restore_of_an_older_state_the_lost_future_is_refused() {
    let mut shop = Shop::empty().await;
    shop.product("MOKA-3", "12.00", 50).await;
    let cart = shop.cart(&[("MOKA-3", 2)]).await;
    let kept = shop.checkout(&cart, "tok_approve").await.expect(201);
    let order = format!("/v1/orders/{}", kept.str("/id"));
    shop.stop();
    let (data, older) = (shop.dir.join("postgres"), shop.dir.join("older"));
    sh("cp -a \"$1\" \"$2\"", &data, &older);

    // A hundred events and more that stream, index and clients have seen.
    shop.restart().await;
    let mut lost = String::new();
    let rows: String = (0..60).map(|n| format!("lost-{n},Lost {n},Maker,TRUE,LOST-{n},3.00,1,active\n")).collect();
    let file = shop.dir.join("lost.csv");
    let header = "Handle,Title,Vendor,Published,Variant SKU,Variant Price,Variant Inventory Qty,Status";
    std::fs::write(&file, format!("{header}\n{rows}")).unwrap();
    shop.cli(&["import", "products", file.to_str().unwrap()]);
    for _ in 0..20 {
        lost = shop.post("/v1/carts", json!({ "currency": "EUR", "country": "DE" })).await.expect(201).token.unwrap();
    }
    shop.get_after("/v1/products?q=lost", &lost).await.expect(200);
    assert!(shop.get("/v1/products?q=lost").await.int("/total") > 0, "the index has seen what will be lost");
    shop.kill(true);
    sh("rm -rf \"$1\" && mv \"$2\" \"$1\"", &data, &older);
    shop.restart().await;

    let status = shop.staff(Method::GET, "/v1/ops/status", None).await.expect(200);
    assert_eq!(status.int("/epoch"), 2, "{}", status.text);
    assert!(shop.log().contains("the log has lost its newest events"), "no alarm in\n{}", shop.log());
    let refused = shop.send(Method::GET, "/v1/products?q=lost", None, &[("consistency-token", &lost)]).await.unwrap().expect(409);
    assert_eq!(refused.str("/code"), "write_lost");
    assert_eq!(shop.get("/v1/products?q=lost").await.expect(200).int("/total"), 0, "the index still shows what is lost");
    // What was there before is there still, and its tokens are honoured.
    let token = kept.token.unwrap();
    let bearer = format!("Bearer {}", shop.token);
    let headers = [("authorization", bearer.as_str()), ("consistency-token", token.as_str())];
    let found = shop.send(Method::GET, &order, None, &headers).await.unwrap().expect(200);
    assert_eq!(found.str("/status"), "confirmed");

    let cart = shop.cart(&[("MOKA-3", 1)]).await;
    let sold = shop.checkout(&cart, "tok_approve").await.expect(201);
    let token = sold.token.unwrap();
    assert!(token.starts_with("2."), "{token}");
    shop.staff_after("/v1/admin/orders", &token).await.expect(200);
    let (code, out, err) = shop.cli_code(&["verify"]);
    assert_eq!(code, 0, "{out}{err}");
}
