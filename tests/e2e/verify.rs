//! Sabotage: whatever is changed behind the engine's back, `verify` finds it, names it and exits with 3.

use sqlx::PgPool;

use crate::shop::Shop;
use crate::stream::undefended;

/// One thing done to a shop's data, what undoes it, and the words by which `verify` names it.
struct Sabotage {
    what: &'static str,
    harm: &'static str,
    undo: &'static str,
    named: &'static [&'static str],
}

/// The first reservation of the order's stock: an event in the middle of the log, of a stream with several.
const RESERVED: &str = "(SELECT min(position) FROM events WHERE event_type = 'StockReserved')";

const SABOTAGES: [Sabotage; 8] = [
    Sabotage {
        what: "a read model's row is deleted",
        harm: "CREATE TABLE kept AS SELECT * FROM stock_v1.stock; DELETE FROM stock_v1.stock",
        undo: "INSERT INTO stock_v1.stock SELECT * FROM kept; DROP TABLE kept",
        named: &["read model stock_v1.stock/", "the row is missing"],
    },
    Sabotage {
        what: "one unit more is shown",
        harm: "UPDATE stock_v1.stock SET on_hand = on_hand + 1",
        undo: "UPDATE stock_v1.stock SET on_hand = on_hand - 1",
        named: &["read model stock_v1.stock/", "column on_hand"],
    },
    Sabotage {
        what: "a row's state has another quantity",
        harm: r#"CREATE TABLE kept AS SELECT id, state FROM "order_v2"."order";
                 UPDATE "order_v2"."order" SET state = replace(state::text, '"quantity":2', '"quantity":3')::json"#,
        undo: r#"UPDATE "order_v2"."order" o SET state = kept.state FROM kept WHERE kept.id = o.id; DROP TABLE kept"#,
        named: &["read model order_v2.order/", "/lines/0/quantity"],
    },
    Sabotage {
        what: "a byte of a payload is changed",
        harm: "UPDATE events SET payload = replace(payload::text, '\"quantity\":2', '\"quantity\":1')::json WHERE position = RESERVED",
        undo: "UPDATE events SET payload = replace(payload::text, '\"quantity\":1', '\"quantity\":2')::json WHERE position = RESERVED",
        named: &["log        batch ", "digest", "copy       position "],
    },
    Sabotage {
        what: "a batch has another hash",
        harm: "UPDATE event_batch SET chain = sha256(chain) WHERE batch = 3; CREATE TABLE kept AS SELECT 1",
        undo: "UPDATE event_batch SET chain = sha256((SELECT chain FROM event_batch WHERE batch = 2) || digest || int8send(first_position) || int8send(last_position)) WHERE batch = 3; DROP TABLE kept",
        named: &["log        batch 3", "the chain is broken"],
    },
    Sabotage {
        what: "an event is missing",
        harm: "CREATE TABLE kept AS SELECT * FROM events WHERE position = RESERVED; DELETE FROM events WHERE position = RESERVED",
        undo: "INSERT INTO events SELECT * FROM kept; DROP TABLE kept",
        named: &["log        position ", "what was between is missing", "stream     stock/", "follows"],
    },
    Sabotage {
        what: "positions have a gap",
        harm: "UPDATE events SET position = position + 1000000 WHERE position = (SELECT max(position) FROM events)",
        undo: "UPDATE events SET position = position - 1000000 WHERE position > 1000000",
        named: &["log        position ", "the head says so"],
    },
    Sabotage {
        what: "two sequences of a stream are swapped",
        harm: "UPDATE events SET sequence = sequence + 1000 WHERE aggregate_type = 'stock' AND sequence < 3;
               UPDATE events SET sequence = 1003 - sequence WHERE sequence > 1000",
        undo: "UPDATE events SET sequence = sequence + 1000 WHERE aggregate_type = 'stock' AND sequence < 3;
               UPDATE events SET sequence = 1003 - sequence WHERE sequence > 1000",
        named: &["stream     stock/", "sequence 2 is at position"],
    },
];

#[tokio::test(flavor = "multi_thread")]
async fn whatever_is_changed_behind_the_engine_is_found_and_named() {
    let mut shop = Shop::empty().await;
    shop.product("MOKA-3", "12.00", 50).await;
    let cart = shop.cart(&[("MOKA-3", 2)]).await;
    let token = shop.checkout(&cart, "tok_approve").await.expect(201).token.unwrap();
    shop.staff_after("/v1/admin/orders", &token).await.expect(200);
    clean(&shop, "to begin with");
    let pool = shop.pool().await;
    for sabotage in &SABOTAGES {
        run(&pool, sabotage.harm).await;
        named(&shop, sabotage.what, sabotage.named);
        run(&pool, sabotage.undo).await;
        clean(&shop, sabotage.what);
    }

    let keep = "INSERT INTO snapshot SELECT 'stock', id, version, position, 'RULES', state FROM stock_v1.stock";
    run(&pool, &keep.replace("RULES", domain::event::FINGERPRINT)).await;
    clean(&shop, "the states that the read model has are kept");
    run(&pool, "UPDATE snapshot SET state = regexp_replace(state::text, ': ?50', ':51')::json").await;
    named(&shop, "a snapshot has one unit more", &["snapshot   stock/", "differs from the fold of its stream in /"]);
    run(&pool, "DELETE FROM snapshot").await;

    undefended(&shop).await.delete_message(5).await.unwrap();
    named(&shop, "a message of the stream is missing", &["copy       position 5", "the stream has lost the message"]);

    let ledger = shop.dir.join("sandbox-psp/ledger.jsonl");
    let entries = std::fs::read_to_string(&ledger).unwrap();
    shop.stop();
    let captured = entries.rfind("\"captured\":").unwrap() + "\"captured\":".len();
    let digits = entries[captured..].find(|c: char| !c.is_ascii_digit()).unwrap();
    let cents: i64 = entries[captured..captured + digits].parse().unwrap();
    assert!(cents > 0, "the order was captured");
    std::fs::write(&ledger, format!("{}{}{}", &entries[..captured], cents + 1, &entries[captured + digits..])).unwrap();
    shop.restart().await;
    named(&shop, "a cent in the provider's ledger", &["ledger     payment/", "captured"]);
}

async fn run(pool: &PgPool, sql: &str) {
    sqlx::raw_sql(&sql.replace("RESERVED", RESERVED)).execute(pool).await.unwrap();
}

#[track_caller]
fn clean(shop: &Shop, when: &str) {
    let (code, out, err) = shop.cli_code(&["verify"]);
    assert_eq!(code, 0, "{when}, undone: {out}{err}");
}

#[track_caller]
fn named(shop: &Shop, what: &str, words: &[&str]) {
    let (code, out, err) = shop.cli_code(&["verify"]);
    assert_eq!(code, 3, "{what}: {out}{err}");
    for word in words {
        assert!(out.contains(word), "{what}: {word:?} is not in\n{out}");
    }
    println!("{what}:\n{}", out.lines().skip_while(|line| !line.contains("discrepanc")).collect::<Vec<_>>().join("\n"));
}
