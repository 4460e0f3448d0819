//! Imports that go wrong in part or are killed: every bad row is named, the rest is there, and a second run completes it.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use reqwest::Method;
use serde_json::{Value, json};

use crate::shop::{Shop, pause};

fn file(shop: &Shop, name: &str, bytes: impl AsRef<[u8]>) -> PathBuf {
    let path = shop.dir.join(name);
    std::fs::write(&path, bytes).unwrap();
    path
}

/// Exit code and what `--json` says.
fn import(shop: &Shop, what: &str, path: &Path, flags: &[&str]) -> (i32, Value) {
    let (code, out, err) = shop.cli_code(&[&["import", what, path.to_str().unwrap(), "--json"][..], flags].concat());
    (code, serde_json::from_str(&out).unwrap_or_else(|_| panic!("{out}{err}")))
}

fn export(shop: &Shop, what: &str) -> String {
    let path = shop.dir.join(format!("{what}.export"));
    shop.cli(&["export", what, "-o", path.to_str().unwrap()]);
    std::fs::read_to_string(path).unwrap()
}

const HEADER: &str =
    "Handle,Title,Vendor,Option1 Name,Option1 Value,Option2 Name,Option2 Value,Variant SKU,Variant Price,Variant Inventory Qty";

#[tokio::test(flavor = "multi_thread")]
async fn ten_kinds_of_bad_rows_are_named_and_the_rest_goes_in() {
    let shop = Shop::empty().await;
    let long = "x".repeat(281);
    let rows: [(&str, &str); 20] = [
        ("good-1,Good,Maker,,,,,G-1,1.00,1", ""),
        ("unclosed,\"Never closed,Maker,,,,,U-1,1.00,1", "Title row_unreadable"),
        ("good-2,Good,Maker,,,,,G-2,1.00,1", ""),
        ("invalid,B\u{7f}d text,Maker,,,,,I-1,1.00,1", "Title text_invalid"),
        ("good-3,\"Good, with a comma\",Maker,,,,,G-3,1.00,1", ""),
        (",No handle,Maker,,,,,H-1,1.00,1", "Handle handle_missing"),
        ("good-4,Good,Maker,,,,,G-4,1.00,1", ""),
        ("text-price,Text,Maker,,,,,T-1,nine,1", "Variant Price price_not_a_number"),
        ("good-5,Good,Maker,,,,,G-5,1.00,1", ""),
        ("negative,Negative,Maker,,,,,N-1,-1.00,1", "Variant Price price_negative"),
        ("good-6,Good,Maker,,,,,G-6,1.00,1", ""),
        ("decimals,Decimals,Maker,,,,,D-1,1.005,1", "Variant Price price_too_many_decimals"),
        ("good-7,Good,Maker,,,,,G-7,1.00,1", ""),
        ("taken,Taken,Maker,,,,,g-1,1.00,1", "Variant SKU claim_taken"),
        ("good-8,Good,Maker,,,,,G-8,1.00,1", ""),
        ("options,Options,Maker,Size,S,Colour,Red,O-1,1.00,1", "Option2 Value option_value_missing"),
        ("options,,,,M,,,O-2,1.00,1", ""),
        ("fraction,Fraction,Maker,,,,,F-1,1.00,1.5", "Variant Inventory Qty stock_fractional"),
        ("good-9,\"Good \"\"nine\"\"\",Maker,,,,,G-9,1.00,1", ""),
        (&format!("long,{long},Maker,,,,,L-1,1.00,1"), "Title title_too_long"),
    ];
    let mut text = HEADER.to_owned();
    for (row, _) in &rows {
        write!(text, "\n{row}").unwrap();
    }
    // A byte that is no UTF-8.
    let bytes: Vec<u8> = text.bytes().map(|byte| if byte == 0x7f { 0xff } else { byte }).collect();
    let path = file(&shop, "bad.csv", bytes);
    let errors = |told: &Value| -> Vec<(u64, String)> {
        let of = |error: &Value| {
            let text = |name: &str| error[name].as_str().unwrap_or_default().to_owned();
            assert!(text("reason").len() > 10, "{error}");
            (error["line"].as_u64().unwrap(), format!("{} {}", text("column"), text("code")))
        };
        told["errors"].as_array().unwrap().iter().map(of).collect()
    };
    let (code, rehearsed) = import(&shop, "products", &path, &["--dry-run"]);
    assert_eq!((code, rehearsed["created"].as_u64(), rehearsed["refused"].as_u64()), (1, Some(9), Some(11)));

    // The first SKU must be there before another handle wants it: products of one file land in no order.
    let before = format!("{HEADER}\n{}\n", rows[0].0);
    assert_eq!(import(&shop, "products", &file(&shop, "before.csv", before), &[]).0, 0);
    let (code, told) = import(&shop, "products", &path, &[]);
    assert_eq!(code, 1);
    let found = errors(&told);
    assert_eq!(found, errors(&rehearsed), "a dry run says the same of the same file");
    let expected = (2..).zip(&rows).filter(|(_, (_, error))| !error.is_empty()).map(|(line, (_, error))| {
        // Of a product with two rows, the one without the value is meant.
        (if error.starts_with("Option2") { line + 1 } else { line }, (*error).to_owned())
    });
    assert_eq!(found, expected.collect::<Vec<_>>());
    let with_others = |error: &Value| error["lines_refused_too"].as_array().cloned().unwrap_or_default();
    let fallen: Vec<Value> = told["errors"].as_array().unwrap().iter().flat_map(with_others).collect();
    assert_eq!(fallen, [17], "the good row of the product with a bad one");
    assert_eq!(found.len() + fallen.len(), 11, "each refused row is named");
    let count = |name: &str| told[name].as_u64().unwrap();
    assert_eq!((count("rows"), count("refused"), count("created"), count("unchanged")), (20, 11, 8, 1));
    let valid = shop.get("/v1/products?limit=1").await.expect(200).int("/total");
    assert_eq!(u64::try_from(valid).unwrap() + count("refused"), 20);

    // Each variant is a few streams more to look at.
    let mut wide = HEADER.to_owned();
    for n in 0..300 {
        write!(wide, "\nwide,Wide,Maker,Size,{n},,,W-{n},1.00,1").unwrap();
    }
    let (_, rehearsed) = import(&shop, "products", &file(&shop, "wide.csv", wide), &["--dry-run"]);
    assert_eq!((rehearsed["done"].as_bool(), rehearsed["created"].as_u64()), (Some(true), Some(1)), "{rehearsed}");
    let german = file(&shop, "semicolons.csv", "Handle;Title;Variant Price\nmug;Mug;9,90\n");
    let (code, _, said) = shop.cli_code(&["import", "products", german.to_str().unwrap()]);
    assert!(code != 0 && said.contains("by semicolons; save it as CSV"), "{code}: {said}");

    // Nothing would be done a second time, and saying so does nothing.
    let (_, again) = import(&shop, "products", &path, &["--dry-run"]);
    assert_eq!((again["unchanged"].as_u64(), again["created"].as_u64(), again["refused"].as_u64()), (Some(9), Some(0), Some(11)));
}

/// A catalogue with everything that an import makes: categories, locations, pictures, variants.
fn catalogue(products: usize) -> String {
    let mut text = "Title,Title [de],URL handle,Categories,Variant number,SKU,Option1 name,Option1 value,Price,Tax code,Inventory tracker,\
                    Inventory quantity,Inventory quantity [north],Product image URL,depth [number mm] (product.metafields.custom.depth)"
        .to_owned();
    for n in 0..products {
        let category = n % 7;
        write!(
            text,
            "\nProduct {n},Produkt {n},p-{n},shelf-{category},1,P-{n}-S,Size,S,{n}.50,standard,shopify,{n},3,https://cdn.example/{n}.jpg,{n}\
             \n,,p-{n},,2,P-{n}-L,,L,{n}.90,,shopify,1,,,"
        )
        .unwrap();
    }
    text
}

#[tokio::test(flavor = "multi_thread")]
async fn an_import_that_is_killed_is_completed_by_the_next_one() {
    let text = catalogue(800);
    let whole = Shop::empty().await;
    let (code, told) = import(&whole, "products", &file(&whole, "all.csv", &text), &[]);
    assert_eq!((code, told["created"].as_u64()), (0, Some(800)));

    let mut killed = Shop::empty().await;
    let path = file(&killed, "all.csv", &text);
    let mut child = Command::new(env!("CARGO_BIN_EXE_daybook-under-test"))
        .args(["import", "products", path.to_str().unwrap()])
        .env("DAYBOOK_DATA_DIR", &killed.dir)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let pool = killed.pool().await;
    let landed = async || -> i64 {
        sqlx::query_scalar("SELECT count(*) FROM events WHERE event_type = 'ProductCreated'").fetch_one(&pool).await.unwrap()
    };
    while landed().await < 200 {
        assert!(child.try_wait().unwrap().is_none(), "it was over before it was killed");
        pause(Duration::from_millis(2)).await;
    }
    drop(pool);
    killed.kill(true);
    assert!(!child.wait().unwrap().success());
    killed.restart().await;
    let pool = killed.pool().await;
    let there: i64 = sqlx::query_scalar("SELECT count(*) FROM events WHERE event_type = 'ProductCreated'").fetch_one(&pool).await.unwrap();
    assert!((200..800).contains(&there), "{there} of 800 were in: it was not killed in the middle");

    let (code, told) = import(&killed, "products", &path, &[]);
    assert_eq!((code, told["created"].as_i64(), told["unchanged"].as_i64()), (0, Some(800 - there), Some(there)));
    for what in ["products", "stock"] {
        assert_eq!(export(&killed, what), export(&whole, what), "{what}");
    }
    assert_eq!(killed.cli_code(&["verify"]).0, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn categories_and_locations_go_in_as_a_list_and_come_out_as_one() {
    let shop = Shop::empty().await;
    let tree = json!([
        { "id": "c2", "name": "Cups", "path": [{ "id": "c0", "name": "All" }, { "id": "c1", "name": "Table" }, { "id": "c2", "name": "Cups" }] },
        { "id": "c1", "name": "Table", "path": [{ "id": "c0", "name": "All" }, { "id": "c1", "name": "Table" }] },
        { "handle": "mugs", "title": { "en": "Mugs", "de": "Becher" }, "parent": "c2" },
        { "handle": "lost", "title": "Lost", "parent": "nowhere" },
    ]);
    let path = file(&shop, "tree.json", tree.to_string());
    let (code, dry) = import(&shop, "categories", &path, &["--dry-run"]);
    assert_eq!((code, dry["created"].as_u64(), dry["refused"].as_u64()), (1, Some(4), Some(1)));
    assert_eq!(shop.get("/v1/categories").await.expect(200).body["items"], json!([]));
    let (code, told) = import(&shop, "categories", &path, &[]);
    assert_eq!((code, told["created"].as_u64(), told["errors"][0]["code"].as_str()), (1, Some(4), Some("parent_unknown")));
    let shown = shop.get("/v1/categories?lang=de").await.expect(200);
    assert_eq!(shown.str("/items/0/children/0/children/0/children/0/title"), "Becher");
    let (_, again) = import(&shop, "categories", &path, &[]);
    assert_eq!((again["unchanged"].as_u64(), again["changed"].as_u64()), (Some(4), Some(0)));

    let stores = json!([
        { "id": 1000, "name": "Mall", "address": "340 W Market", "address2": "", "city": "Bloomington", "state": "MN", "zip": "55425" },
        { "id": 1002, "name": "Tempe", "address": "1900 E Rio Salado", "city": "Tempe", "state": "AZ", "zip": "85281" },
        { "id": "not a code", "name": "?" },
    ]);
    let path = file(&shop, "stores.json", stores.to_string());
    let (code, told) = import(&shop, "locations", &path, &["--country", "US"]);
    assert_eq!((code, told["created"].as_u64(), told["errors"][0]["item"].as_u64()), (1, Some(2), Some(3)));
    let (_, again) = import(&shop, "locations", &path, &["--country", "US"]);
    assert_eq!((again["unchanged"].as_u64(), again["refused"].as_u64()), (Some(2), Some(1)));
    let listed = shop.staff(Method::GET, "/v1/admin/locations", None).await.expect(200);
    assert_eq!(listed.str("/items/1/address/region"), "MN");

    // Both come out as lists that go into another shop and come out the same.
    let other = Shop::empty().await;
    for what in ["categories", "locations"] {
        let exported = export(&shop, what);
        assert_eq!(import(&other, what, &file(&other, what, &exported), &[]).0, 0);
        assert_eq!(export(&other, what), exported);
    }
    for path in ["/v1/admin/imports/categories", "/v1/admin/imports/locations"] {
        shop.post(path, json!([])).await.expect(401);
        shop.staff(Method::POST, path, Some(json!({ "no": "list" }))).await.expect(400);
    }
}
