//! The append and the stores above it, on a real database: outcomes, assertions, lost answers, two writers at once.

use std::sync::Arc;
use std::time::Duration;

use commands::cqrs::CqrsEventStore;
use commands::loader::Loader;
use cqrs_es::CqrsFramework;
use domain::event::Event;
use domain::id::{LocationId, ReceiptId};
use domain::inventory::{StockCommand, StockEvent, StockItem, StockPolicy};
use futures::future::join_all;
use infra::event_store::{AppendCommand, EventStore, IdempotencyRecord, NewEvent, Outcome, StreamId, StreamVersion};
use infra::sealing::{MasterKey, Sealer};
use infra::task::TaskGroup;
use sqlx::{Connection, PgPool};
use uuid::Uuid;

use crate::shop::{Shop, pause};
use crate::writer::{execute, open, receive, writer};

/// A database of its own on the shop's server, with an empty log.
pub async fn empty_log(shop: &Shop) -> PgPool {
    let url = shop.run_file()["database_url"].as_str().unwrap().to_owned();
    let name = format!("log_{}", Uuid::new_v4().simple());
    let mut admin = sqlx::PgConnection::connect(&url).await.unwrap();
    sqlx::raw_sql(&format!("CREATE DATABASE {name}")).execute(&mut admin).await.unwrap();
    // Without what the shop's own connections are told: by TCP, so that a proxy may stand between.
    let (server, _) = url.split_once("/daybook?").unwrap();
    let pool = infra::postgres::connect(&format!("{server}/{name}"), 10, &[]).await.unwrap();
    infra::postgres::MIGRATOR.run(&pool).await.unwrap();
    pool
}

fn stream(id: &str) -> StreamId {
    StreamId { aggregate_type: "claim", aggregate_id: id.to_owned() }
}

fn at(id: &str, version: i64) -> StreamVersion {
    StreamVersion { stream: stream(id), version }
}

fn event(id: &str, sequence: i64) -> NewEvent {
    NewEvent {
        stream: stream(id),
        sequence,
        event_id: Uuid::new_v4(),
        event_type: "Claimed",
        event_version: 1,
        payload: r#"{"by":"x"}"#.to_owned(),
        metadata: "{}".to_owned(),
        partition: infra::event_store::partition_of(id),
    }
}

/// Writes one event to each stream; only reads the others.
fn command(writes: &[(&str, i64)], reads: &[(&str, i64)]) -> AppendCommand {
    AppendCommand {
        decided_on: writes.iter().chain(reads).map(|(id, version)| at(id, *version)).collect(),
        events: writes.iter().map(|(id, version)| event(id, version + 1)).collect(),
        ..AppendCommand::default()
    }
}

fn keyed(mut command: AppendCommand, key: Uuid, fingerprint: u8) -> AppendCommand {
    command.idempotency = Some(IdempotencyRecord {
        key,
        fingerprint: [fingerprint; 32],
        running: false,
        status: 200,
        problem: None,
        aggregate: Some(at("a", 1)),
    });
    command
}

#[tokio::test(flavor = "multi_thread")]
async fn each_command_of_a_batch_has_its_own_outcome() {
    use Outcome::{Confirmed, Conflict, KeyReused, Landed, Replayed};
    let shop = Shop::empty().await;
    let pool = empty_log(&shop).await;
    let mut store = EventStore::new(pool.clone(), Uuid::new_v4());
    let key = Uuid::new_v4();

    let first = store.append(&[keyed(command(&[("a", 0), ("b", 0)], &[]), key, 1), command(&[("a", 1)], &[("b", 1)])]).await.unwrap();
    assert_eq!((first.outcomes, first.first_position, first.last_position), (vec![Landed, Landed], 1, 3));

    let second = store
        .append(&[
            command(&[("c", 0)], &[]),
            command(&[("a", 1)], &[]),                 // written on an old version
            command(&[("a", 7)], &[]),                 // a hole
            command(&[("d", 0)], &[("a", 1)]),         // only read, but changed since
            command(&[], &[("a", 2), ("nothing", 0)]), // a refusal that still holds
            command(&[], &[("a", 0)]),                 // a refusal decided on what is not so
            keyed(command(&[("e", 0)], &[]), key, 1),
            keyed(command(&[("e", 0)], &[]), key, 2),
            command(&[("f", 0)], &[("c", 1)]), // on what this batch itself wrote
        ])
        .await
        .unwrap();
    assert_eq!(second.outcomes, [Landed, Conflict, Conflict, Conflict, Confirmed, Conflict, Replayed, KeyReused, Landed]);
    assert_eq!((second.first_position, second.last_position), (4, 5));

    let positions: Vec<i64> = sqlx::query_scalar("SELECT position FROM events ORDER BY position").fetch_all(&pool).await.unwrap();
    assert_eq!(positions, [1, 2, 3, 4, 5]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_answer_is_resolved_and_a_late_batch_is_refused() {
    let shop = Shop::empty().await;
    let pool = empty_log(&shop).await;
    let writer = Uuid::new_v4();
    let mut store = EventStore::new(pool.clone(), writer);
    store.append(&[command(&[("a", 0)], &[])]).await.unwrap();
    let landed = store.resolve().await.unwrap().expect("it landed");
    assert_eq!((landed.outcomes, landed.last_position), (vec![Outcome::Landed], 1));

    // The second batch never arrives; asked for, it is void, and when it comes late it is refused.
    sqlx::query("SELECT append_resolve($1, 2)").bind(writer).execute(&pool).await.unwrap();
    let late = store.append(&[command(&[("b", 0)], &[])]).await;
    assert!(late.is_err());
    assert!(store.resolve().await.unwrap().is_none());
    let events: i64 = sqlx::query_scalar("SELECT count(*) FROM events").fetch_one(&pool).await.unwrap();
    assert_eq!(events, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn two_writers_at_once_leave_one_gapless_log() {
    const BATCHES: i64 = 200;
    let shop = Shop::empty().await;
    let pool = empty_log(&shop).await;
    let write = async |name: &'static str, pool: PgPool| {
        let mut store = EventStore::new(pool, Uuid::new_v4());
        for n in 0..BATCHES {
            let (x, y) = (format!("{name}-{n}-x"), format!("{name}-{n}-y"));
            store.append(&[command(&[(&x, 0)], &[]), command(&[(&y, 0)], &[(&x, 1)])]).await.unwrap();
        }
    };
    tokio::join!(write("one", pool.clone()), write("two", pool.clone()));
    let (events, last): (i64, i64) = sqlx::query_as("SELECT count(*), max(position) FROM events").fetch_one(&pool).await.unwrap();
    assert_eq!((events, last), (4 * BATCHES, 4 * BATCHES));
    let disorder: i64 = sqlx::query_scalar(
        "SELECT count(*) FROM (SELECT recorded_at, lag(recorded_at) OVER (ORDER BY position) AS before FROM events) e WHERE before > recorded_at",
    )
    .fetch_one(&pool)
    .await
    .unwrap();
    assert_eq!(disorder, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_stock_cqrs_framework_works_over_our_store() {
    let shop = Shop::empty().await;
    let pool = empty_log(&shop).await;
    let sealer = Sealer::new(pool.clone(), MasterKey::parse(&MasterKey::generate().unwrap()).unwrap());
    let loader = Loader::new(pool.clone(), sealer);
    let store = || CqrsEventStore::new(loader.clone(), EventStore::new(pool.clone(), Uuid::new_v4()), None);
    let framework: Arc<CqrsFramework<StockItem, _>> = Arc::new(CqrsFramework::new(store(), vec![], ()));
    framework.execute("v", StockCommand::Open { policy: StockPolicy::Deny, low_stock_threshold: None }).await.unwrap();
    let location_id = LocationId::new(Uuid::from_u128(1));
    for n in 0..3 {
        let receipt_id = ReceiptId::new(Uuid::from_u128(n));
        framework.execute("v", StockCommand::Receive { receipt_id, location_id, quantity: 4, unit_cost: None }).await.unwrap();
    }
    let (stock, version) = loader.load::<StockItem>("v").await.unwrap();
    assert_eq!(stock.available(), 12);
    assert!(version >= 4);

    // Ours and theirs see the same stream: a stale write of the framework is a conflict.
    use cqrs_es::EventStore as _;
    let theirs = store();
    let stale = cqrs_es::EventStore::<StockItem>::load_aggregate(&theirs, "v").await.unwrap();
    framework
        .execute("v", StockCommand::Receive { receipt_id: ReceiptId::new(Uuid::from_u128(9)), location_id, quantity: 1, unit_cost: None })
        .await
        .unwrap();
    let events = stock
        .decide(StockCommand::Receive { receipt_id: ReceiptId::new(Uuid::from_u128(8)), location_id, quantity: 1, unit_cost: None })
        .unwrap();
    assert!(theirs.commit(events, stale, std::collections::HashMap::new()).await.is_err());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_long_stream_is_loaded_from_its_snapshot_unless_other_rules_have_folded_it() {
    let shop = Shop::empty().await;
    let pool = empty_log(&shop).await;
    let mut tasks = TaskGroup::default();
    let writer = writer(&pool, &pool, &mut tasks);
    execute(&writer, |streams| open(streams, "moka")).await.unwrap();
    for snapshots in 1..=2 {
        join_all((0..125).map(|_| execute(&writer, |streams| receive(streams, "moka")))).await.into_iter().for_each(|done| {
            done.unwrap();
        });
        while kept(&pool).await.len() < snapshots {
            pause(Duration::from_millis(5)).await;
        }
    }
    let loader = writer.loader();
    let folded = async |position| {
        let (mut state, mut version) = (StockItem::default(), 0);
        for event in infra::event_log::stream(&pool, ("stock", "moka"), 0, position).await.unwrap() {
            state.apply(&StockEvent::from_payload(&event.event_type, 1, &event.payload).unwrap());
            version = event.sequence;
        }
        (serde_json::to_value(state).unwrap(), version)
    };
    let loaded = async |position| {
        let (state, version) = match position {
            i64::MAX => loader.load::<StockItem>("moka").await.unwrap(),
            position => loader.load_as_of::<StockItem>("moka", position).await.unwrap(),
        };
        (serde_json::to_value(state).unwrap(), version)
    };
    let versions = kept(&pool).await;
    for position in [50, versions[0], versions[0] + 30, i64::MAX] {
        assert_eq!(loaded(position).await, folded(position).await, "as of {position}, kept {versions:?}");
    }
    // That it is read at all shows in one that is wrong; that it is not believed any more, in the fold.
    sqlx::raw_sql("UPDATE snapshot SET state = (SELECT state FROM snapshot ORDER BY version LIMIT 1)").execute(&pool).await.unwrap();
    assert_ne!(loaded(i64::MAX).await, folded(i64::MAX).await);
    sqlx::raw_sql("UPDATE snapshot SET fingerprint = 'other rules'").execute(&pool).await.unwrap();
    assert_eq!(loaded(i64::MAX).await, folded(i64::MAX).await);
    for _ in 0..50 {
        execute(&writer, |streams| receive(streams, "moka")).await.unwrap();
    }
    while kept(&pool).await != [300] {
        pause(Duration::from_millis(5)).await;
    }
    drop(writer);
    tasks.shut_down().await;
}

async fn kept(pool: &PgPool) -> Vec<i64> {
    sqlx::query_scalar("SELECT version FROM snapshot ORDER BY version").fetch_all(pool).await.unwrap()
}
