//! 19,406 real products: all of them, fast; again nothing; one price changed, one event.

use std::path::PathBuf;
use std::time::Instant;

use crate::shop::Shop;

/// A file of the real data.
#[expect(clippy::disallowed_methods, reason = "the tests' own switch")]
pub fn data(file: &str) -> PathBuf {
    let data = std::env::var("DAYBOOK_DATA").expect("DAYBOOK_DATA must name the folder with the real catalogues");
    PathBuf::from(data).join(file)
}

pub fn catalogue() -> PathBuf {
    data("icecat/products.shopify.csv")
}

/// Rows of the file as records, header first.
pub fn records() -> (csv::StringRecord, Vec<csv::StringRecord>) {
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

/// All of them into an empty shop.
pub async fn all_products_come_in(shop: &Shop) {
    let began = Instant::now();
    shop.cli(&["import", "products", catalogue().to_str().unwrap()]);
    let seconds = began.elapsed().as_secs_f64();
    println!("imported in {seconds:.1} s: {:.0} rows/s", 19_406.0 / seconds);
    let found = shop.get("/v1/products?limit=1").await.expect(200);
    assert_eq!(found.int("/total"), 19_406);
}

/// Once more, into the shop that has them.
pub async fn only_what_changed_comes_in_again(shop: &Shop) {
    // The rows in another order: nothing is appended.
    let before = head(shop).await;
    let (header, mut rows) = records();
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    for i in (1..rows.len()).rev() {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        rows.swap(i, usize::try_from(state >> 33).unwrap() % (i + 1));
    }
    let shuffled = shop.dir.join("shuffled.csv");
    write(&shuffled, &header, &rows);
    shop.cli(&["import", "products", shuffled.to_str().unwrap()]);
    assert_eq!(head(shop).await, before);

    // One price changed: one event.
    let price = header.iter().position(|name| name == "Variant Price").unwrap();
    let changed: csv::StringRecord = rows[7].iter().enumerate().map(|(n, field)| if n == price { "1234.56" } else { field }).collect();
    rows[7] = changed;
    let repriced = shop.dir.join("repriced.csv");
    write(&repriced, &header, &rows);
    shop.cli(&["import", "products", repriced.to_str().unwrap()]);
    assert_eq!(head(shop).await, before + 1);

    let verified = shop.cli_code(&["verify"]);
    assert_eq!(verified.0, 0, "{}{}", verified.1, verified.2);
}

/// A mapping file of the project's own.
fn mapping(name: &str) -> String {
    format!("{}/../docs/mappings/{name}", env!("CARGO_MANIFEST_DIR"))
}

#[tokio::test(flavor = "multi_thread")]
async fn another_shop_s_products_come_in_by_a_mapping_file_and_their_translations_after_them() {
    let shop = Shop::empty().await;
    let products = data("spree/products.csv");
    let import = |file: &PathBuf, map: &str| {
        let out = shop.cli(&["import", "products", file.to_str().unwrap(), "--map", &mapping(map), "--currency", "USD", "--json"]);
        serde_json::from_str::<serde_json::Value>(&out).unwrap()
    };
    let told = import(&products, "spree.toml");
    let count = |told: &serde_json::Value, name: &str| told[name].as_u64().unwrap();
    assert_eq!((count(&told, "rows"), count(&told, "created"), count(&told, "refused")), (211, 37, 0));

    let found = shop.get("/v1/products/automatic-espresso-machine?currency=EUR&lang=en").await.expect(200);
    assert_eq!(found.str("/title"), "Automatic Espresso Machine");
    assert_eq!(found.body["variants"].as_array().unwrap().len(), 3);
    assert_eq!(found.str("/variants/0/sku"), "AUTOMATIC-ESPRESSO-MACHINE-MATTE-BLACK");
    assert_eq!(found.str("/variants/0/options/Color"), "Matte Black");
    assert_eq!(found.str("/variants/0/price/currency"), "EUR");
    let dollars = shop.get("/v1/products/automatic-espresso-machine?currency=USD&lang=en").await.expect(200);
    assert_eq!(dollars.int("/variants/0/price/amount"), 87_999);
    assert_eq!(dollars.str("/attributes/wattage"), "1400W");
    assert!(dollars.body["in_stock"].as_bool().unwrap());
    let tree = shop.get("/v1/categories").await.expect(200);
    let kitchen = tree.body["items"].as_array().unwrap().iter().find(|item| item["title"] == "Kitchen").unwrap();
    assert!(kitchen["children"].as_array().unwrap().iter().any(|item| item["title"] == "Coffee Machines"));

    let translations = data("spree/product_translations.csv");
    let told = import(&translations, "spree-translations.toml");
    assert_eq!((count(&told, "rows"), count(&told, "changed"), count(&told, "refused")), (74, 37, 0));
    let german = shop.get("/v1/products/automatic-espresso-machine?currency=USD&lang=de").await.expect(200);
    assert_eq!(german.str("/title"), "Kaffeevollautomat");
    // Nothing else of the product was lost, and the first file changes nothing back.
    let same = ["/variants/0/price", "/variants/2/sku", "/attributes", "/categories", "/media", "/in_stock"];
    assert!(same.iter().all(|pointer| german.body.pointer(pointer) == dollars.body.pointer(pointer)), "{}", german.text);
    let before = head(&shop).await;
    import(&products, "spree.toml");
    import(&translations, "spree-translations.toml");
    assert_eq!(head(&shop).await, before);

    // All of it comes out again, and goes into another shop.
    let exported = shop.dir.join("exported.csv");
    shop.cli(&["export", "products", "-o", exported.to_str().unwrap()]);
    let other = Shop::empty().await;
    other.cli(&["import", "products", exported.to_str().unwrap()]);
    let again = other.dir.join("again.csv");
    other.cli(&["export", "products", "-o", again.to_str().unwrap()]);
    assert_eq!(std::fs::read_to_string(again).unwrap(), std::fs::read_to_string(exported).unwrap());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_large_tree_and_a_chain_of_shops_come_in_and_the_shop_still_sells() {
    let shop = Shop::empty().await;
    let import = |what: &str, file: &str, flags: &[&str]| {
        let path = data(file);
        let began = Instant::now();
        let out = shop.cli(&[&["import", what, path.to_str().unwrap(), "--json"][..], flags].concat());
        println!("{what} in {:.1} s: {out}", began.elapsed().as_secs_f64());
        serde_json::from_str::<serde_json::Value>(&out).unwrap()
    };
    let told = import("categories", "bestbuy/categories.json", &[]);
    assert_eq!((told["items"].as_u64(), told["refused"].as_u64()), (Some(4_584), Some(0)));
    let before = head(&shop).await;
    assert_eq!(import("categories", "bestbuy/categories.json", &[])["changed"].as_u64(), Some(0));
    assert_eq!(head(&shop).await, before);

    shop.product("before", "10.00", 1_000).await;
    let seconds = async |sku: &str| -> f64 {
        let mut times = Vec::new();
        for _ in 0..20 {
            let cart = shop.cart(&[(sku, 1)]).await;
            let began = Instant::now();
            shop.checkout(&cart, "tok_approve").await.expect(201);
            times.push(began.elapsed().as_secs_f64());
        }
        times.sort_by(f64::total_cmp);
        times[times.len() / 2]
    };
    let one = seconds("before").await;
    let told = import("locations", "bestbuy/stores.json", &["--country", "US"]);
    assert_eq!((told["items"].as_u64(), told["created"].as_u64(), told["refused"].as_u64()), (Some(1_565), Some(1_565), Some(0)));
    let many = seconds("before").await;
    println!("median checkout with 1 location {:.1} ms, with 1,566 {:.1} ms", one * 1e3, many * 1e3);
    // A checkout must not grow with the number of places that have nothing of what is bought.
    assert!(many < one * 3.0 + 0.05, "{one:.3} s → {many:.3} s");
}
