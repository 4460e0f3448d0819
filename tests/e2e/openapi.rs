//! What `/openapi.json` promises is what the program does.

use reqwest::Method;
use serde_json::Value;

use crate::shop::Shop;

/// Paths whose routes are for the staff, whatever the document says of them.
const STAFF_PATHS: [&str; 5] = ["/v1/admin/", "/v1/ops/", "/v1/events", "/v1/streams/", "/v1/schemas/"];

/// An operation of the document.
struct Operation<'a> {
    method: Method,
    path: &'a str,
    said: &'a Value,
}

fn operations(document: &Value) -> Vec<Operation<'_>> {
    let paths = document["paths"].as_object().unwrap();
    paths
        .iter()
        .flat_map(|(path, methods)| {
            let methods = methods.as_object().unwrap().iter();
            methods.map(move |(method, said)| Operation { method: method.to_uppercase().parse().unwrap(), path, said })
        })
        .collect()
}

/// The path with something in each of its places.
fn filled(path: &str) -> String {
    path.split('/').map(|part| if part.starts_with('{') { "x" } else { part }).collect::<Vec<_>>().join("/")
}

#[tokio::test(flavor = "multi_thread")]
async fn who_may_not_is_told_so_before_anything_else_of_the_request_is_read() {
    let shop = Shop::empty().await;
    let document = shop.get("/openapi.json").await.expect(200).body;
    let shopper = format!("Bearer {}", shop.cli(&["token", "--role", "shopper"]).trim());
    let mut asked = 0;
    for Operation { method, path, said } in operations(&document) {
        let is_for_staff = said["security"].as_array().is_some_and(|all| !all.is_empty()) && said["tags"][0] != "shoppers";
        assert_eq!(is_for_staff, STAFF_PATHS.iter().any(|staff| path.starts_with(staff)), "{method} {path}");
        if !is_for_staff {
            continue;
        }
        for (kind, garbage) in [("application/json", "{"), ("application/json", r#"{"no": "such field"}"#), ("text/plain", "garbage")] {
            for (bearer, status, code) in [(None, 401, "unauthenticated"), (Some(&shopper), 403, "forbidden")] {
                let url = format!("{}{}?no_such_parameter=1", shop.url, filled(path));
                let mut request = shop.http.request(method.clone(), url).header("content-type", kind).body(garbage);
                if let Some(bearer) = bearer {
                    request = request.header("authorization", bearer);
                }
                let answer = request.send().await.unwrap();
                assert_eq!(answer.status(), status, "{method} {path} {garbage}");
                let problem: Value = answer.json().await.unwrap();
                assert_eq!(problem["code"], code, "{method} {path} {garbage}");
                assert!(said["responses"][status.to_string()].is_object(), "{method} {path} does not say {status}");
            }
        }
        asked += 1;
    }
    assert!(asked > 50, "only {asked} routes are for the staff");
}
