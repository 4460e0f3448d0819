//! 19,406 real products: all of them, fast; again nothing; one price changed, one event.

use std::path::PathBuf;
use std::time::Instant;

use crate::shop::Shop;

#[expect(clippy::disallowed_methods, reason = "the tests' own switch")]
fn catalogue() -> PathBuf {
    let data = std::env::var("DAYBOOK_DATA").expect("DAYBOOK_DATA must name the folder with the real catalogues");
    PathBuf::from(data).join("icecat/products.shopify.csv")
}

/// Rows of the file as records, header first.
fn records() -> (csv::StringRecord, Vec<csv::StringRecord>) {
    let mut reader = csv::ReaderBuilder::new().flexible(true).from_path(catalogue()).unwrap();
    let header = reader.headers().unwrap().clone();
    (header, reader.records().map(Result::unwrap).collect())
}

fn write(path: &PathBuf, header: &csv::StringRecord, rows: &[csv::StringRecord]) {
    let mut writer = csv::Writer::from_path(path).unwrap();
    writer.write_record(header).unwrap();
    for row in rows {
        writer.write_record(row).unwrap();
    }
    writer.flush().unwrap();
}

async fn head(shop: &Shop) -> i64 {
    sqlx::query_scalar("SELECT last_position FROM event_batch ORDER BY batch DESC LIMIT 1").fetch_one(&shop.pool().await).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn nineteen_thousand_real_products_come_in_once() {
    let shop = Shop::empty().await;
    let began = Instant::now();
    shop.cli(&["import", "products", catalogue().to_str().unwrap()]);
    let seconds = began.elapsed().as_secs_f64();
    println!("imported in {seconds:.1} s: {:.0} rows/s", 19_406.0 / seconds);
    let found = shop.get("/v1/products?limit=1").await.expect(200);
    assert_eq!(found.int("/total"), 19_406);

    // Again, the rows in another order: nothing is appended.
    let before = head(&shop).await;
    let (header, mut rows) = records();
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    for i in (1..rows.len()).rev() {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        rows.swap(i, usize::try_from(state >> 33).unwrap() % (i + 1));
    }
    let shuffled = shop.dir.join("shuffled.csv");
    write(&shuffled, &header, &rows);
    shop.cli(&["import", "products", shuffled.to_str().unwrap()]);
    assert_eq!(head(&shop).await, before);

    // One price changed: one event.
    let price = header.iter().position(|name| name == "Variant Price").unwrap();
    let changed: csv::StringRecord = rows[7].iter().enumerate().map(|(n, field)| if n == price { "1234.56" } else { field }).collect();
    rows[7] = changed;
    let repriced = shop.dir.join("repriced.csv");
    write(&repriced, &header, &rows);
    shop.cli(&["import", "products", repriced.to_str().unwrap()]);
    assert_eq!(head(&shop).await, before + 1);

    let verified = shop.cli_code(&["verify"]);
    assert_eq!(verified.0, 0, "{}{}", verified.1, verified.2);
}
