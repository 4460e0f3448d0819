//! What is exported goes in again: into an empty shop, and the export of that one is the same, byte for byte.

use std::path::PathBuf;

use reqwest::Method;
use serde_json::Value;

use crate::shop::Shop;

/// What files are known to lose: texts in several languages, line breaks, quotes, formulas, space at the ends, prices and
/// attributes of all kinds, stock at several places, pictures of single variants.
const DIFFICULT: &str = r#"Title,Title [de],URL handle,Description,Description [zh],Vendor,Categories,Type,Tags,Published on online store,Status,Variant number,SKU,Barcode,Option1 name,Option1 name [de],Option1 value,Option1 value [de],Option1 values,Option2 name,Option2 value,Price,Compare-at price,Price [USD],Prices,Charge tax,Tax code,Inventory tracker,Inventory quantity,Inventory quantity [berlin],Safety stock [berlin],Low stock threshold,Continue selling when out of stock,Weight value (grams),Requires shipping,Product image URL,Image position,Image alt text,Image alt text [de],Image width,Image height,Variant image URL,depth [number mm] (product.metafields.custom.depth),depth [number in] (product.metafields.custom.depth),colour (product.metafields.custom.colour),colour (product.metafields.custom.colour),care (variant.metafields.custom.care)
"'=SUM(A1)","Die ""große"" Summe",sum,"  Line one
line two, with ""quotes"" and a comma
","第一行",'@maker,"tools, odd-ones",Tool,"'-sale, a\, b",TRUE,active,1,SUM-S,4006381333931,Size,Größe,S,klein,"[{""de"":""groß"",""en"":""L""},{""de"":""klein"",""en"":""S""},{""en"":""never made""}]",Colour,red,19.90,24.90,21.00,"[{""price_list_id"":""00000000-0000-0000-0000-000000000001"",""price"":{""amount"":1500,""currency"":""EUR"",""exponent"":2},""compare_at"":null,""includes_tax"":true,""min_quantity"":10,""valid_from"":""2027-01-01T00:00:00Z"",""valid_until"":null}]",TRUE,reduced,shopify,5,7,2,3,DENY,150,TRUE,https://cdn.example/a.jpg,1,'+front,vorn,800,600,https://cdn.example/a.jpg https://cdn.example/b.jpg,12.5,0.49,red,blue,wash cold
,,sum,,,,,,,,,2,SUM-L,,,,L,groß,,,blue,29.90,,,,,,,0,3,,5,PREORDER 4,,FALSE,https://cdn.example/b.jpg,2,,,,,https://cdn.example/b.jpg,,,,,
,,sum,,,,,,,,,,,,,,,,,,,,,,,,,,,,,,,,,https://cdn.example/c.jpg,3,,,,,,,,,,
,Nur auf Deutsch,nur-deutsch,,,,,,,FALSE,draft,1,,,Title,,Default Title,,,,,7.00,,,,FALSE,exempt,,,,,5,CONTINUE,,TRUE,,,,,,,,,,,,
"''-twice",,quoted,,,,,,,FALSE,draft,,,,,,,,,,,,,,,TRUE,standard,,,,,,,,,,,,,,,,,,,,
"#;

fn file(shop: &Shop, name: &str, text: impl AsRef<[u8]>) -> PathBuf {
    let path = shop.dir.join(name);
    std::fs::write(&path, text).unwrap();
    path
}

fn export(shop: &Shop, what: &str, flags: &[&str]) -> String {
    let path = shop.dir.join(format!("export-{what}.csv"));
    let path = path.to_str().unwrap();
    shop.cli(&[&["export", what, "-o", path][..], flags].concat());
    std::fs::read_to_string(path).unwrap()
}

fn import(shop: &Shop, path: &std::path::Path, flags: &[&str]) -> Value {
    let (code, out, err) = shop.cli_code(&[&["import", "products", path.to_str().unwrap(), "--json"][..], flags].concat());
    assert_eq!(code, 0, "{out}{err}");
    serde_json::from_str(&out).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_export_goes_into_an_empty_shop_and_comes_out_the_same() {
    let shop = Shop::with_demo().await;
    import(&shop, &file(&shop, "difficult.csv", DIFFICULT), &[]);
    let (products, stock) = (export(&shop, "products", &[]), export(&shop, "stock", &[]));
    // Nothing that was in the file is missing from the export.
    for part in ["'=SUM(A1)", "Die \"\"große\"\" Summe", "  Line one\nline two", "第一行", "\"'-sale, a\\, b\"", "PREORDER 4", "never made"]
    {
        assert!(products.contains(part), "{part}:\n{products}");
    }
    assert!(products.contains("depth [number mm] (product.metafields.custom.depth),depth [number in]"), "{products}");
    assert!(products.contains("2027-01-01T00:00:00Z") && products.contains("https://cdn.example/a.jpg https://cdn.example/b.jpg"));
    assert!(stock.contains("sum,'=SUM(A1),SUM-S,S / red,berlin,7,0,0,2,0,5,DENY"), "{stock}");

    let empty = Shop::empty().await;
    let done = import(&empty, &file(&empty, "products.csv", &products), &[]);
    assert_eq!((done["refused"].as_u64(), done["created"].as_u64()), (Some(0), Some(261)));
    assert_eq!(export(&empty, "products", &[]), products);
    assert_eq!(export(&empty, "stock", &[]), stock);
    assert_eq!(empty.cli_code(&["verify"]).0, 0);

    // The shop's own export changes nothing in it.
    let done = import(&shop, &file(&shop, "own.csv", &products), &["--stock", "overwrite"]);
    assert_eq!((done["changed"].as_u64(), done["created"].as_u64(), done["events"].as_u64()), (Some(0), Some(0), Some(0)), "{done}");
}

#[tokio::test(flavor = "multi_thread")]
async fn raw_cells_are_as_they_are_and_go_in_as_they_are() {
    let shop = Shop::empty().await;
    let text = "Handle,Title,Variant SKU,Variant Price\nsum,=1+1,-A,1\nquoted,'=2,B,2\n";
    import(&shop, &file(&shop, "raw.csv", text), &["--formulas", "raw"]);
    let raw = export(&shop, "products", &["--formulas", "raw"]);
    assert!(raw.contains("\n'=2,quoted,") && raw.contains("\n=1+1,sum,"), "{raw}");
    let escaped = export(&shop, "products", &[]);
    assert!(escaped.contains("\n''=2,quoted,") && escaped.contains("\n'=1+1,sum,") && escaped.contains(",'-A,"), "{escaped}");
    let empty = Shop::empty().await;
    import(&empty, &file(&empty, "raw.csv", &raw), &["--formulas", "raw"]);
    assert_eq!(export(&empty, "products", &[]), escaped);
}

#[tokio::test(flavor = "multi_thread")]
async fn exports_are_for_managers_and_the_feed_is_for_all() {
    let shop = Shop::empty().await;
    let text = "Handle,Title,Body (HTML),Vendor,Published,Variant SKU,Variant Barcode,Variant Price,Variant Compare At Price,\
                Variant Inventory Qty,Image Src\n\
                tea,Tea & <Cup>,<p>Hot &amp; good</p>,Leaf,TRUE,TEA,4006381333931,4.00,5.00,3,https://cdn.example/tea.jpg\n\
                old,Old,,,FALSE,OLD,,1,,1,\n";
    import(&shop, &file(&shop, "tea.csv", text), &[]);
    for path in ["/v1/admin/exports/products", "/v1/admin/exports/stock"] {
        shop.get(path).await.expect(401);
        let answer = shop.staff(Method::GET, path, None).await.expect(200);
        assert!(answer.headers["content-type"].to_str().unwrap().starts_with("text/csv"));
        assert!(answer.token.is_some());
    }
    shop.get("/v1/exports/google.xml?link=https://x.example").await.expect(400);
    let feed = shop.get("/v1/exports/google.xml?link=https://shop.example/p/%7Bhandle%7D").await.expect(200).text;
    for part in [
        "<g:id>TEA</g:id>",
        "<g:title>Tea &amp; &lt;Cup&gt;</g:title>",
        "<g:description>Hot &amp; good</g:description>",
        "<g:link>https://shop.example/p/tea</g:link>",
        "<g:image_link>https://cdn.example/tea.jpg</g:image_link>",
        "<g:availability>in_stock</g:availability>",
        "<g:price>5.00 EUR</g:price>",
        "<g:sale_price>4.00 EUR</g:sale_price>",
        "<g:gtin>4006381333931</g:gtin>",
        "<g:brand>Leaf</g:brand>",
    ] {
        assert!(feed.contains(part), "{part}: {feed}");
    }
    assert!(feed.ends_with("</channel>\n</rss>\n") && !feed.contains("OLD"), "{feed}");
}
