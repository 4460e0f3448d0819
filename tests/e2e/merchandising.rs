//! Search rules and synonyms as merchants set them and shoppers meet them; what shoppers search for, in sums.

use std::time::{Duration, Instant};

use reqwest::Method;
use serde_json::{Value, json};

use crate::shop::{Answer, Shop, pause};

const SKUS: [&str; 5] = ["LAMP-1", "LAMP-2", "LAMP-3", "LAMP-4", "LAMP-5"];
const WAIT: Duration = Duration::from_secs(60);

/// Five lamps, and their ids.
async fn lamps(settings: &[(&str, &str)]) -> (Shop, Vec<String>) {
    let shop = Shop::with_settings(settings).await;
    shop.products(&SKUS, "10.00", 5);
    let mut ids = Vec::new();
    for sku in SKUS {
        ids.push(shop.get(&format!("/v1/products/{}", sku.to_lowercase())).await.expect(200).str("/id"));
    }
    let until = Instant::now() + WAIT;
    while shop.get("/v1/products?q=product").await.expect(200).int("/total") < 5 {
        assert!(Instant::now() < until);
        pause(Duration::from_millis(20)).await;
    }
    (shop, ids)
}

/// The places of the products of a list among `ids`, once the search has seen `token`; and its total.
async fn found(shop: &Shop, ids: &[String], query: &str, token: &str) -> (Vec<usize>, i64) {
    let answer = shop.get_after(&format!("/v1/products?{query}"), token).await.expect(200);
    let place = |item: &Value| ids.iter().position(|id| item["id"] == json!(id)).unwrap();
    (answer.body["items"].as_array().unwrap().iter().map(place).collect(), answer.int("/total"))
}

async fn rule(shop: &Shop, body: Value) -> (String, String) {
    let made = shop.staff(Method::POST, "/v1/admin/search-rules", Some(body)).await.expect(201);
    (format!("/v1/admin/search-rules/{}", made.str("/id")), made.token.unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rule_pins_hides_and_boosts_between_its_dates_until_it_is_ended() {
    let (mut shop, ids) = lamps(&[]).await;
    let all = "q=product&facets=brand";
    let (plain, total) = found(&shop, &ids, all, "1.1").await;
    assert_eq!((plain.len(), total), (5, 5));
    let (last, first) = (plain[4], plain[0]);

    let exact = json!({ "kind": "query", "text": " PRODUCT ", "matching": "exact" });
    let body = json!({
        "title": "Lamps", "condition": exact, "valid_from": "2020-01-01T00:00:00Z",
        "pins": [{ "product_id": ids[last], "position": 2 }], "hidden": [ids[first]],
    });
    let (path, token) = rule(&shop, body.clone()).await;
    let curated = (vec![plain[1], last, plain[2], plain[3]], 4);
    assert_eq!(found(&shop, &ids, all, &token).await, curated);
    let answer = shop.get(&format!("/v1/products?{all}&limit=1")).await.expect(200);
    assert_eq!((answer.int("/facets/brand/0/count"), answer.int("/total")), (4, 4));
    let second = shop.get(&format!("/v1/products?{all}&limit=1&cursor={}", answer.str("/next_cursor"))).await.expect(200);
    assert_eq!(second.str("/items/0/id"), ids[last]);
    assert_eq!(found(&shop, &ids, "q=product+lamp", &token).await.1, 5, "another query");

    // It is as it was after a restart and after the index was made anew.
    shop.stop();
    shop.restart().await;
    assert_eq!(found(&shop, &ids, all, &token).await, curated);
    shop.staff(Method::POST, "/v1/ops/projections/search/rebuild", None).await.expect(202);
    assert_eq!(found(&shop, &ids, all, &token).await, curated);

    // A change is of what it names; what is over or to come takes no effect.
    let shown = shop.staff(Method::GET, &path, None).await.expect(200);
    assert_eq!((shown.str("/condition/text"), shown.str("/status"), shown.int("/version")), ("product".into(), "active".into(), 1));
    for (dates, status) in [
        (json!({ "valid_until": "2020-02-01T00:00:00Z" }), "over"),
        (json!({ "valid_from": "2999-01-01T00:00:00Z", "valid_until": null }), "scheduled"),
    ] {
        let changed = shop.staff(Method::PATCH, &path, Some(dates)).await.expect(200);
        assert_eq!((changed.str("/status").as_str(), changed.str("/title").as_str()), (status, "Lamps"));
        assert_eq!(found(&shop, &ids, all, &changed.token.unwrap()).await, (plain.clone(), 5), "{status}");
    }
    let stale = [("authorization", format!("Bearer {}", shop.token)), ("if-match", "\"1\"".to_owned())];
    let stale: Vec<(&str, &str)> = stale.iter().map(|(name, value)| (*name, value.as_str())).collect();
    let patch = || Some(json!({ "valid_from": null, "hidden": [] }));
    let refused = shop.send(Method::PATCH, &path, patch(), &stale).await.unwrap().expect(409);
    assert_eq!((refused.str("/code").as_str(), refused.int("/current_version")), ("version_conflict", 3));
    let changed = shop.staff(Method::PATCH, &path, patch()).await.expect(200);
    assert_eq!(found(&shop, &ids, all, &changed.token.unwrap()).await, (vec![plain[0], last, plain[1], plain[2], plain[3]], 5));

    let ended = shop.staff(Method::POST, &format!("{path}/end"), None).await.expect(204);
    assert_eq!(found(&shop, &ids, all, &ended.token.unwrap()).await, (plain.clone(), 5));
    shop.staff(Method::GET, &path, None).await.expect(404);
    shop.staff(Method::POST, &format!("{path}/end"), None).await.expect(404);

    // Buried, while nothing is searched for.
    let (browsed, _) = found(&shop, &ids, "in_stock=true", "1.1").await;
    let bury = json!([{ "kind": "product", "product_id": ids[browsed[0]], "percent": 1 }]);
    let (_, token) = rule(&shop, json!({ "title": "Least", "condition": { "kind": "everywhere" }, "boosts": bury })).await;
    let (buried, _) = found(&shop, &ids, "in_stock=true", &token).await;
    assert_eq!((&buried[..4], buried[4]), (&browsed[1..], browsed[0]));
    let (asked, _) = found(&shop, &ids, "in_stock=true&sort=popular", &token).await;
    assert_eq!(asked, browsed, "another order was asked for");

    let history = shop.staff(Method::GET, "/v1/streams/merchandising/store", None).await.expect(200);
    let types: Vec<&str> = history.body["events"].as_array().unwrap().iter().filter_map(|e| e["type"].as_str()).collect();
    assert_eq!((types.len(), types[0], types[4]), (6, "merchandising.SearchRuleCreated", "merchandising.SearchRuleEnded"));
    let (code, out, err) = shop.cli_code(&["verify"]);
    assert_eq!(code, 0, "{out}{err}");
}

#[tokio::test(flavor = "multi_thread")]
async fn staff_see_rules_and_synonyms_and_managers_change_them() {
    let shop = Shop::empty().await;
    let body = json!({ "title": "Rule", "condition": { "kind": "everywhere" }, "boosts": [{ "kind": "brand", "brand": "Maker", "percent": 150 }] });
    let one_way = json!({ "language": "de-AT", "kind": "one_way", "from": ["Fauteuil"], "to": [" Sessel ", "sessel"] });
    let lists = ["/v1/admin/search-rules", "/v1/admin/synonyms", "/v1/admin/search-queries"];
    for path in lists {
        shop.get(path).await.expect(401);
    }
    for role in ["shopper", "support", "fulfilment", "manager", "owner", "analyst", "operator"] {
        let bearer = format!("Bearer {}", shop.cli(&["token", "--role", role]).trim());
        let send = async |method: Method, path: &str, body: Option<&Value>| {
            shop.send(method, path, body.cloned(), &[("authorization", bearer.as_str())]).await.unwrap()
        };
        for path in lists {
            send(Method::GET, path, None).await.expect(if role == "shopper" { 403 } else { 200 });
        }
        let may = matches!(role, "manager" | "owner");
        let made = send(Method::POST, lists[0], Some(&body)).await.expect(if may { 201 } else { 403 });
        send(Method::PUT, "/v1/admin/synonyms/chairs", Some(&one_way)).await.expect(if may { 200 } else { 403 });
        send(Method::DELETE, "/v1/admin/synonyms/chairs", None).await.expect(if may { 204 } else { 403 });
        if may {
            let path = format!("{}/{}", lists[0], made.str("/id"));
            send(Method::PATCH, &path, Some(&json!({ "title": "Other" }))).await.expect(200);
            send(Method::POST, &format!("{path}/end"), None).await.expect(204);
        }
    }

    // Synonyms come back as they are compared; a repeated key is answered as before.
    let bearer = format!("Bearer {}", shop.token);
    let headers = [("authorization", bearer.as_str()), ("idempotency-key", "once")];
    for replayed in [false, true] {
        let answer = shop.send(Method::PUT, "/v1/admin/synonyms/chairs", Some(one_way.clone()), &headers).await.unwrap().expect(200);
        assert_eq!((answer.replayed, answer.str("/language"), &answer.body["to"]), (replayed, "de-at".to_owned(), &json!(["sessel"])));
        let answer = shop.send(Method::POST, lists[0], Some(body.clone()), &headers).await.unwrap().expect(201);
        assert_eq!((answer.replayed, answer.int("/version")), (replayed, 1));
    }
    shop.staff(Method::POST, lists[0], Some(body)).await.expect(201);
    let page = shop.staff(Method::GET, "/v1/admin/search-rules?limit=1", None).await.expect(200);
    let next = format!("/v1/admin/search-rules?limit=1&cursor={}", page.str("/next_cursor"));
    let rest = shop.staff(Method::GET, &next, None).await.expect(200);
    assert!(page.str("/items/0/id") != rest.str("/items/0/id") && rest.body["next_cursor"].is_null());
    assert_eq!(shop.staff(Method::GET, "/v1/admin/synonyms/chairs", None).await.expect(200).str("/from/0"), "fauteuil");
    let removed = shop.staff(Method::DELETE, "/v1/admin/synonyms/chairs", None).await.expect(204);
    assert!(removed.token.is_some());
    assert_eq!(shop.staff(Method::GET, "/v1/admin/synonyms", None).await.expect(200).body["items"], json!([]));
}

#[tokio::test(flavor = "multi_thread")]
async fn searches_are_counted_by_query_with_what_they_found_and_what_was_clicked() {
    let (mut shop, ids) = lamps(&[("DAYBOOK_SEARCH__QUERY_LOG_FLUSH_MS", "20")]).await;
    let search = async |query: &str| shop.get(&format!("/v1/products?{query}")).await.expect(200);
    let first = search("q=+Lamp&lang=en-GB&limit=2").await;
    let query_id = first.str("/query_id");
    assert_eq!(search("q=LAMP&lang=en&limit=2").await.str("/query_id"), query_id, "the same for everybody");
    assert_ne!(search("q=lamp&lang=de").await.str("/query_id"), query_id);
    let later = search(&format!("q=lamp&lang=en&limit=2&cursor={}", first.str("/next_cursor"))).await;
    assert_eq!(later.str("/query_id"), query_id, "counted once, and clicked on any page");
    search("q=unicorn%0A+saddle").await;
    search("q=unicorn+saddle").await;
    assert!(search("q=mira%40example.org").await.body["query_id"].is_null(), "an e-mail address is not kept");
    assert!(search("in_stock=true").await.body["query_id"].is_null());

    let click = async |query_id: &str, product_id: &str, position: u32| -> Answer {
        let body = json!({ "query_id": query_id, "product_id": product_id, "position": position });
        shop.post("/v1/search-clicks", body).await
    };
    click(&query_id, &ids[0], 1).await.expect(202);
    click(&query_id, &ids[1], 4).await.expect(202);
    let nothing = "0198f3a2-0000-7000-8000-000000000000";
    click(nothing, &ids[1], 1).await.expect(202);
    click(&query_id, nothing, 1).await.expect(404);
    assert_eq!(click(&query_id, &ids[0], 0).await.expect(422).str("/errors/0/pointer"), "/position");

    let list = "/v1/admin/search-queries";
    let counted = |answer: &Answer, query: &str, language: &str| {
        let items = answer.body["items"].as_array().unwrap().iter();
        items.into_iter().find(|item| item["query"] == query && item["language"] == language).cloned().unwrap_or_default()
    };
    let until = Instant::now() + WAIT;
    let answer = loop {
        let answer = shop.staff(Method::GET, list, None).await.expect(200);
        if counted(&answer, "lamp", "en")["clicks"] == 2 && counted(&answer, "unicorn saddle", "en")["count"] == 2 {
            break answer;
        }
        assert!(Instant::now() < until, "{}", answer.text);
        pause(Duration::from_millis(20)).await;
    };
    let of = |query: &str, language: &str, counts: [i64; 3], rate: f64, position: Value| {
        json!({ "query": query, "language": language, "count": counts[0], "zero_results": counts[1], "clicks": counts[2],
            "click_through_rate": rate, "mean_click_position": position })
    };
    assert_eq!(counted(&answer, "lamp", "en"), of("lamp", "en", [2, 0, 2], 1.0, json!(2.5)));
    assert_eq!(counted(&answer, "lamp", "de"), of("lamp", "de", [1, 0, 0], 0.0, Value::Null));
    assert!(!answer.text.contains("mira"));
    let zero = shop.staff(Method::GET, &format!("{list}?zero_results=true"), None).await.expect(200);
    assert_eq!(zero.body["items"], json!([of("unicorn saddle", "en", [2, 2, 0], 0.0, Value::Null)]));

    // Page by page in either order, each once.
    for (sort, by) in [("count", "count"), ("ctr", "click_through_rate")] {
        let (mut path, mut seen) = (format!("{list}?sort={sort}&limit=1"), Vec::new());
        loop {
            let page = shop.staff(Method::GET, &path, None).await.expect(200);
            seen.extend(page.body["items"].as_array().unwrap().clone());
            let Some(cursor) = page.body["next_cursor"].as_str() else { break };
            path = format!("{list}?sort={sort}&limit=1&cursor={cursor}");
        }
        let total = answer.body["items"].as_array().unwrap().len();
        assert!(seen.len() == total && seen.is_sorted_by(|a, b| a[by].as_f64() >= b[by].as_f64()), "{seen:?}");
        assert!(seen.iter().zip(&seen[1..]).all(|(a, b)| a != b), "{seen:?}");
    }
    let yesterday = shop.staff(Method::GET, &format!("{list}?from=2020-01-01&to=2020-01-02"), None).await.expect(200);
    assert_eq!(yesterday.body["items"], json!([]));
    for wrong in ["from=2020-01-02&to=2020-01-01", "sort=best", "limit=0", "from=today"] {
        assert_eq!(
            shop.staff(Method::GET, &format!("{list}?{wrong}"), None).await.expect(400).str("/code"),
            "invalid_parameter",
            "{wrong}"
        );
    }
    assert_eq!(shop.staff(Method::GET, &format!("{list}?cursor=x"), None).await.expect(400).str("/code"), "invalid_cursor");

    // What was counted is kept, and a click after a restart still belongs to its query; nothing of it is in the log.
    shop.stop();
    shop.restart().await;
    shop.post("/v1/search-clicks", json!({ "query_id": query_id, "product_id": ids[0], "position": 1 })).await.expect(202);
    let until = Instant::now() + WAIT;
    while counted(&shop.staff(Method::GET, list, None).await.expect(200), "lamp", "en")["clicks"] != 3 {
        assert!(Instant::now() < until);
        pause(Duration::from_millis(20)).await;
    }
    let told = "SELECT count(*) FROM events WHERE payload::text ILIKE '%unicorn%' OR metadata::text ILIKE '%unicorn%'";
    assert_eq!(sqlx::query_scalar::<_, i64>(told).fetch_one(&shop.pool().await).await.unwrap(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_shop_that_counts_no_searches_keeps_none() {
    let (mut shop, _) = lamps(&[("DAYBOOK_SEARCH__QUERY_LOG_DAYS", "0"), ("DAYBOOK_SEARCH__QUERY_LOG_FLUSH_MS", "1")]).await;
    assert!(shop.get("/v1/products?q=lamp").await.expect(200).body["query_id"].is_null());
    shop.stop();
    shop.restart().await;
    assert_eq!(shop.staff(Method::GET, "/v1/admin/search-queries", None).await.expect(200).body["items"], json!([]));
}
