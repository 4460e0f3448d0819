//! Files of products as they are read: what goes in, and what is said of what does not.

use super::category::Categories;
use super::columns::Columns;
use super::group::{Parsed, Products};
use super::layout::Layout;
use super::mapping::Mapping;
use super::product::{self, ImportedProduct, Terms};
use super::records::Records;
use super::woocommerce::WooCommerce;
use super::*;

#[derive(Debug, Default)]
struct Read {
    products: Vec<ImportedProduct>,
    errors: Vec<RowError>,
    refused: u64,
}

impl Read {
    /// `(line, column, code)` of every error.
    fn told(&self) -> Vec<(u64, &str, &str)> {
        self.errors.iter().map(|e| (e.line, e.column.as_deref().unwrap_or(""), e.code.as_str())).collect()
    }

    fn handles(&self) -> Vec<&str> {
        self.products.iter().map(|product| product.put.draft.handle.as_str()).collect()
    }

    fn hashes(&self) -> Vec<&str> {
        self.products.iter().filter_map(|product| Some(product.put.draft.source.as_ref()?.hash.as_str())).collect()
    }
}

fn read(file: impl AsRef<[u8]>) -> Read {
    let mut records = Records::new();
    records.push(file.as_ref());
    records.end();
    let header = records.next_record().unwrap().unwrap();
    let terms = Terms { currency: "EUR".parse().unwrap(), language: "en".to_owned(), prices_include_tax: true };
    let columns = Columns::read(&header).unwrap();
    let products = Products::new(columns.headers.clone(), Layout::Plain, columns, terms, Categories::default());
    read_all(products, records)
}

fn read_all(mut products: Products, mut records: Records) -> Read {
    let mut parsed = Vec::new();
    while let Some(record) = records.next_record() {
        parsed.extend(products.push(record));
    }
    parsed.extend(products.finish());
    let mut read = Read::default();
    for parsed in parsed {
        match parsed {
            Parsed::Product(product) => read.products.push(*product),
            Parsed::Refused { rows, errors } => {
                read.refused += rows;
                read.errors.extend(errors);
            }
        }
    }
    read
}

const OLD: &str = "\
Handle,Title,Body (HTML),Vendor,Type,Tags,Published,Option1 Name,Option1 Value,Variant SKU,Variant Barcode,Variant Price,Variant Compare At Price,Variant Inventory Qty,Variant Inventory Policy,Variant Grams,Image Src,Status
tee,Tee,<p>Soft</p>,Loom,Shirt,\"cotton, summer\",TRUE,Size,S,TEE-S,0001,19.90,24.90,5,deny,150,https://cdn.example/tee.jpg,active
tee,,,,,,,,M,TEE-M,0002,19.90,,0,continue,160,,
tee,,,,,,,,,,,,,,,,https://cdn.example/back.jpg,
mug,Mug,,Loom,,,TRUE,Title,Default Title,MUG,,7,,12,deny,,,draft
";
const NEW: &str = "\
Title,URL handle,Description,Vendor,Type,Tags,Published on online store,Status,SKU,Barcode,Option1 name,Option1 value,Price,Compare-at price,Inventory quantity,Continue selling when out of stock,Weight value (grams),Product image URL
Tee,tee,<p>Soft</p>,Loom,Shirt,\"cotton, summer\",TRUE,active,TEE-S,0001,Size,S,19.90,24.90,5,deny,150,https://cdn.example/tee.jpg
,tee,,,,,,,TEE-M,0002,,M,19.90,,0,continue,160,
,tee,,,,,,,,,,,,,,,,https://cdn.example/back.jpg
Mug,mug,,Loom,,,TRUE,draft,MUG,,Title,Default Title,7,,12,deny,,
";

#[test]
fn both_header_generations_say_the_same() {
    let (old, new) = (read(OLD), read(NEW));
    assert_eq!(old.told(), []);
    assert_eq!(new.told(), []);
    assert_eq!(old.handles(), ["tee", "mug"]);
    for (old, new) in old.products.iter().zip(&new.products) {
        assert_eq!(old.put.draft, new.put.draft);
        assert_eq!(old.put.stock, new.put.stock);
    }
}

#[test]
fn rows_that_share_a_handle_are_one_product_with_its_variants_and_pictures() {
    let read = read(OLD);
    let tee = &read.products[0].put.draft;
    assert_eq!(read.products[0].lines.len(), 3);
    assert_eq!(tee.tags, ["cotton", "summer"]);
    assert_eq!(tee.options.len(), 1);
    let skus: Vec<_> = tee.variants.iter().filter_map(|variant| variant.sku.as_deref()).collect();
    assert_eq!(skus, ["TEE-S", "TEE-M"]);
    let urls: Vec<_> = tee.media.iter().map(|media| (media.position, media.url.as_str())).collect();
    assert_eq!(urls, [(1, "https://cdn.example/tee.jpg"), (2, "https://cdn.example/back.jpg")]);
    assert_eq!(tee.variants[0].prices[0].price.to_string(), "19.90 EUR");
    assert_eq!(tee.variants[1].prices[0].compare_at, None);
    let stock: Vec<_> = read.products[0].put.stock.iter().map(|stock| stock.quantity).collect();
    assert_eq!(stock, [Some(5), Some(0)]);
}

#[test]
fn the_default_title_is_no_option_and_a_draft_is_not_published() {
    let read = read(OLD);
    let mug = &read.products[1].put.draft;
    assert!(mug.options.is_empty());
    assert!(!mug.published);
    assert!(read.products[0].put.draft.published);
}

#[test]
fn metafields_become_attributes_under_their_key() {
    let read = read(
        "Handle,Title,Price,colour (product.metafields.attr.colour),Ink type (product.metafields.attr.ink_type)\n\
             pen,Pen,1,Blue,\n",
    );
    let attributes = &read.products[0].put.draft.attributes;
    assert_eq!(attributes.len(), 1);
    assert_eq!((attributes[0].key.as_str(), attributes[0].value.as_str()), ("colour", "Blue"));
}

#[test]
fn quantities_and_the_order_of_columns_make_no_other_row() {
    let first = read("Handle,Title,Price,Inventory quantity\npen,Pen,1,5\n");
    let moved = read("Price,Inventory quantity,Title,Handle\n1,7,Pen,pen\n");
    let dearer = read("Handle,Title,Price,Inventory quantity\npen,Pen,2,5\n");
    assert_eq!(first.hashes(), moved.hashes());
    assert_ne!(first.hashes(), dearer.hashes());
}

/// A file of three products, the middle one with the given cells.
fn told_of(title: &str, price: &str, quantity: &str) -> Vec<(String, String)> {
    let file = format!("Handle,Title,Variant Price,Variant Inventory Qty\na,A,1,1\nb,{title},{price},{quantity}\nc,C,3,3\n");
    let read = read(file);
    assert_eq!(read.handles().first(), Some(&"a"));
    assert_eq!(read.handles().last(), Some(&"c"));
    assert!(read.errors.iter().all(|error| error.line == 3));
    assert_eq!(read.refused, u64::from(!read.errors.is_empty()));
    read.errors.into_iter().map(|error| (error.column.unwrap_or_default(), error.code)).collect()
}

#[test]
fn a_bad_cell_is_told_with_its_column_and_keeps_only_its_product_out() {
    let told = |column: &str, code: &str| vec![(column.to_owned(), code.to_owned())];
    assert_eq!(told_of("B", "2", "2"), []);
    assert_eq!(told_of("", "2", "2"), told("Title", "title_missing"));
    let long = "x".repeat(product::TITLE_CHARS_MAX + 1);
    assert_eq!(told_of(&long, "2", "2"), told("Title", "title_too_long"));
    assert_eq!(told_of("B", "", "2"), told("Variant Price", "price_missing"));
    assert_eq!(told_of("B", "two", "2"), told("Variant Price", "price_not_a_number"));
    assert_eq!(told_of("B", "\"1,299.00\"", "2"), told("Variant Price", "price_not_a_number"));
    assert_eq!(told_of("B", "-2", "2"), told("Variant Price", "price_negative"));
    assert_eq!(told_of("B", "2.005", "2"), told("Variant Price", "price_too_many_decimals"));
    assert_eq!(told_of("B", "2", "1.5"), told("Variant Inventory Qty", "stock_fractional"));
    assert_eq!(told_of("B", "2", "-1"), told("Variant Inventory Qty", "stock_negative"));
    assert_eq!(told_of("B", "2", "many"), told("Variant Inventory Qty", "stock_not_a_number"));
    assert_eq!(told_of("B", "2", "99999999999"), told("Variant Inventory Qty", "stock_too_large"));
    assert_eq!(told_of("B", "2", "2.0"), []);
}

#[test]
fn a_row_without_handle_is_told_and_the_rest_goes_in() {
    let read = read("Handle,Title,Price\na,A,1\n,B,2\nc,C,3\n");
    assert_eq!(read.told(), [(3, "Handle", "handle_missing")]);
    assert_eq!(read.handles(), ["a", "c"]);
}

#[test]
fn text_that_is_not_utf_8_costs_its_own_row() {
    let read = read(b"Handle,Title,Price\na,A,1\nb,B\xff,2\nc,C,3\n");
    assert_eq!(read.told(), [(3, "Title", "text_invalid")]);
    assert_eq!(read.handles(), ["a", "c"]);
}

#[test]
fn an_unclosed_quote_costs_its_own_row() {
    let read = read("Handle,Title,Price\na,A,1\nb,\"B,2\nc,C,3\nd,\"D\",4\n");
    assert_eq!(read.told(), [(3, "Title", "row_unreadable")]);
    assert_eq!(read.handles(), ["a", "c", "d"]);
}

#[test]
fn a_product_with_a_bad_variant_is_kept_out_whole() {
    let read = read("Handle,Title,Option1 Name,Option1 Value,Price\na,A,Size,S,1\na,,,M,x\nb,B,,,2\n");
    assert_eq!(read.told(), [(3, "Price", "price_not_a_number")]);
    assert_eq!((read.refused, read.handles()), (2, vec!["b"]));
}

#[test]
fn rows_with_missing_cells_and_rows_that_stand_apart_are_refused() {
    let read = read("Handle,Title,Price\na,A,1\nb,B\nc,C,3\na,A,1\n");
    assert_eq!(read.told(), [(3, "", "row_cells"), (5, "Handle", "rows_apart")]);
    assert_eq!(read.handles(), ["a", "c"]);
}

#[test]
fn variants_with_the_same_sku_or_options_are_told_at_the_second_one() {
    let file = "Handle,Title,Option1 Name,Option1 Value,SKU,Price\n\
                    a,A,Size,S,X,1\na,,,M,x,1\nb,B,Size,S,Y,1\nb,,,S,Z,1\n";
    assert_eq!(read(file).told(), [(3, "SKU", "sku_duplicate"), (5, "Option1 Value", "options_duplicate")]);
}

#[test]
fn a_file_without_a_price_column_is_refused_as_a_whole() {
    let mut records = Records::new();
    records.push(b"Handle,Title\n");
    let header = records.next_record().unwrap().unwrap();
    assert!(Columns::read(&header).unwrap_err().contains("variant price"));
}

/// A file with this layout.
fn read_as(file: &str, layout: impl Fn(&[String]) -> (Layout, Columns)) -> Read {
    let mut records = Records::new();
    records.push(file.as_bytes());
    records.end();
    let header = records.next_record().unwrap().unwrap();
    let headers: Vec<String> = header.cells.into_iter().map(|cell| String::from_utf8(cell).unwrap()).collect();
    let terms = Terms { currency: "EUR".parse().unwrap(), language: "en".to_owned(), prices_include_tax: true };
    let (layout, columns) = layout(&headers);
    read_all(Products::new(headers, layout, columns, terms, Categories::default()), records)
}

fn woo(file: &str) -> Read {
    read_as(file, |headers| {
        let (woo, columns) = WooCommerce::read(headers, "en").unwrap();
        (Layout::WooCommerce(Box::new(woo)), columns)
    })
}

const WOO: &str = "\
ID,Type,SKU,Name,Published,\"Short description\",Description,\"Tax status\",\"In stock?\",Stock,\"Backorders allowed?\",\"Weight (kg)\",\"Sale price\",\"Regular price\",Categories,Tags,Images,Parent,\"Attribute 1 name\",\"Attribute 1 value(s)\",\"Attribute 1 visible\",\"Attribute 1 global\",\"Attribute 2 name\",\"Attribute 2 value(s)\"
10,variable,TEE,Linen tee,1,Short,Long,taxable,1,,0,.2,,,\"Clothing > Tees, Sale\",\"linen, summer\",\"https://cdn.example/a.jpg, https://cdn.example/b.jpg\",,Colour,\"Red, Blue\",1,1,Fabric,Linen
11,simple,CAP,Cap,-1,,Warm,none,1,7,notify,,\"12,50\",15,Hats,,,,Colour,Green,1,1,,
12,\"simple, virtual\",SONG,Song,1,,,taxable,0,,0,,,1,,,,,,,,,,
13,grouped,SET,Set,1,,,taxable,1,,0,,,,,,,,,,,,,
20,variation,TEE-R,Linen tee - Red,1,,,taxable,1,3,0,,,20,,,https://cdn.example/b.jpg,TEE,Colour,Red,,1,,
21,variation,,Linen tee - Blue,1,,,taxable,1,0,1,,18,20,,,,id:10,Colour,Blue,,1,,
22,variation,LOST,Lost,1,,,taxable,1,0,0,,,20,,,,id:99,Colour,Blue,,1,,
";

#[test]
fn woocommerce_variations_come_to_their_products_wherever_they_stand() {
    let read = woo(WOO);
    assert_eq!(read.told(), [(5, "Type", "type_unsupported"), (8, "Parent", "parent_missing")]);
    assert_eq!((read.refused, read.handles()), (2, vec!["cap", "song", "linen-tee"]));
    let [cap, song, tee] = [0, 1, 2].map(|at| &read.products[at].put);
    assert_eq!((cap.draft.published, cap.draft.tax_category.as_str()), (false, "exempt"));
    assert_eq!(cap.draft.variants[0].prices[0].price.to_string(), "12.50 EUR");
    assert_eq!(cap.draft.variants[0].prices[0].compare_at.unwrap().to_string(), "15.00 EUR");
    assert_eq!((cap.stock[0].quantity, cap.stock[0].policy), (Some(7), domain::inventory::StockPolicy::Backorder { limit: None }));
    assert_eq!((cap.draft.attributes[0].key.as_str(), cap.draft.attributes[0].value.as_str()), ("colour", "Green"));
    assert!(!song.draft.variants[0].requires_shipping && song.draft.variants[0].track_stock);

    assert_eq!((read.products[2].lines.len(), tee.draft.variants.len(), tee.draft.category_ids.len()), (3, 2, 2));
    assert_eq!(tee.draft.tags, ["linen", "summer"]);
    let labels: Vec<&str> = tee.draft.options[0].values.iter().map(|value| value.label["en"].as_str()).collect();
    assert_eq!((tee.draft.options.len(), labels), (1, vec!["Red", "Blue"]));
    let keys: Vec<&str> = tee.draft.attributes.iter().map(|attribute| attribute.key.as_str()).collect();
    assert_eq!(keys, ["fabric", "short_description"]);
    let pictures: Vec<_> = tee.draft.media.iter().map(|media| (media.url.as_str(), media.variant_ids.len())).collect();
    assert_eq!(pictures, [("https://cdn.example/a.jpg", 0), ("https://cdn.example/b.jpg", 1)]);
    assert_eq!(tee.draft.variants[1].prices[0].price.to_string(), "18.00 EUR");
}

#[test]
fn rows_in_another_currency_add_a_price_and_rows_in_another_language_a_text() {
    let mapped = |map: &'static str, file: &str| {
        read_as(file, move |headers| {
            let (mapping, columns) = Mapping::read(map, headers).unwrap();
            (Layout::Mapped(Box::new(mapping)), columns)
        })
    };
    let map = "product_rows = true\nscattered = true\n[columns]\nhandle = \"h\"\ntitle = \"t\"\nsku = \"s\"\nprice = \"p\"\ncurrency = \"c\"\n\
                   [[options]]\nname = \"n\"\nvalue = \"v\"\n";
    let read = mapped(
        map,
        "h,t,s,p,c,n,v\nmug,Mug,MUG,0,USD,,\nmug,,R,9,USD,Colour,Red\nmug,,B,9,USD,Colour,Blue\ncup,Cup,C,1,USD,,\nmug,,R,8,EUR,,\nmug,,B,8,EUR,,\n",
    );
    // The product's own row has no options, so that the first variant names them.
    assert_eq!(read.told(), []);
    let draft = &read.products[0].put.draft;
    let prices: Vec<String> = draft.variants[0].prices.iter().map(|price| price.price.to_string()).collect();
    assert_eq!((draft.variants.len(), prices), (2, vec!["9.00 USD".to_owned(), "8.00 EUR".to_owned()]));

    let map = "[columns]\nhandle = \"h\"\nlanguage = \"l\"\ntitle = \"t\"\n";
    let read = mapped(map, "h,l,t\nmug,de,Becher\nmug,fr,Tasse\n");
    let put = &read.products[0].put;
    assert_eq!((put.draft.title["de"].as_str(), put.draft.title["fr"].as_str()), ("Becher", "Tasse"));
    assert!(put.kept.parts.contains(&commands::catalog::Part::Variants));
}
