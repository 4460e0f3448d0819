//! The writer where it could be wrong: another writer, a connection that is cut, a standby that is gone, a poisoned command.

use std::sync::Arc;
use std::time::Duration;

use commands::answer::{Actor, CommandError, Done, Origin};
use commands::loader::Loader;
use commands::streams::{Stop, Streams};
use commands::writer::{Limits, Writer, run_until};
use domain::id::{HoldId, LineId, LocationId, OrderId, ReceiptId};
use domain::inventory::{HoldOwner, Reserve, StockCommand, StockItem, StockPolicy};
use futures::future::join_all;
use infra::event_store::EventStore;
use infra::sealing::{MasterKey, Sealer};
use infra::task::TaskGroup;
use serde_json::json;
use sqlx::{Connection, PgConnection, PgPool};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use uuid::Uuid;

use crate::log_store::empty_log;
use crate::shop::{Shop, pause};

/// The log's advisory lock: who holds it makes every append wait.
const LOG_LOCK: i64 = 4_919_131_752_989_213_764;

/// A writer over a log; `appends_by` is the way that its batches take.
pub fn writer(pool: &PgPool, appends_by: &PgPool, tasks: &mut TaskGroup) -> Writer {
    writer_while(infra::leadership::alone(), pool, appends_by, tasks)
}

fn writer_while(active: watch::Receiver<bool>, pool: &PgPool, appends_by: &PgPool, tasks: &mut TaskGroup) -> Writer {
    let sealer = Sealer::new(pool.clone(), MasterKey::parse(&MasterKey::generate().unwrap()).unwrap());
    let store = EventStore::new(appends_by.clone(), Uuid::new_v4());
    let limits = Limits::from(&infra::config::Config::default().writer);
    let (writer, task) = Writer::new(Loader::new(pool.clone(), sealer), store, None, limits, active);
    let stop = tasks.stop_signal();
    tasks.spawn("writer", run_until(task, stop));
    writer
}

pub async fn execute<T: Clone + Send + 'static>(
    writer: &Writer,
    decide: impl Fn(&mut Streams<'_>) -> Result<T, Stop> + Send + 'static,
) -> Result<Done<T>, CommandError> {
    let id = Uuid::new_v4();
    let actor = Actor { kind: "system", id: "test".to_owned() };
    let origin = Origin { actor, command_id: id, correlation_id: id, causation_id: id, request_id: None, traceparent: None };
    writer.execute(&origin, None, decide).await
}

pub fn open(streams: &mut Streams<'_>, id: &str) -> Result<(), Stop> {
    let events = streams.create::<StockItem>(id)?.decide(StockCommand::Open { policy: StockPolicy::Deny, low_stock_threshold: None });
    streams.emit::<StockItem>(id, events.unwrap(), None)
}

pub fn receive(streams: &mut Streams<'_>, id: &str) -> Result<(), Stop> {
    let command = StockCommand::Receive {
        receipt_id: ReceiptId::new(Uuid::new_v4()),
        location_id: LocationId::new(Uuid::from_u128(1)),
        quantity: 1,
        unit_cost: None,
    };
    let events = streams.get::<StockItem>(id)?.decide(command).unwrap();
    streams.emit::<StockItem>(id, events, None)
}

/// Takes one unit, or answers that there is none.
fn reserve(streams: &mut Streams<'_>, id: &str) -> Result<bool, Stop> {
    let now = streams.now;
    let order_id = OrderId::new(Uuid::new_v4());
    let reserve = Reserve {
        hold_id: HoldId::new(Uuid::new_v4()),
        owner: HoldOwner::order(order_id, LineId::new(Uuid::new_v4())),
        quantity: 1,
        expires_at: None,
        allocation_order: vec![LocationId::new(Uuid::from_u128(1))],
        now,
    };
    let Ok(events) = streams.get::<StockItem>(id)?.decide(StockCommand::Reserve(reserve)) else { return Ok(false) };
    streams.emit::<StockItem>(id, events, None)?;
    Ok(true)
}

async fn events(pool: &PgPool) -> i64 {
    sqlx::query_scalar("SELECT count(*) FROM events").fetch_one(pool).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stale_cache_refuses_nothing_wrongly() {
    let shop = Shop::empty().await;
    let pool = empty_log(&shop).await;
    let mut tasks = TaskGroup::default();
    let (one, other) = (writer(&pool, &pool, &mut tasks), writer(&pool, &pool, &mut tasks));
    execute(&one, |streams| open(streams, "moka")).await.unwrap();
    for _ in 0..20 {
        assert!(!execute(&one, |streams| reserve(streams, "moka")).await.unwrap().output, "there is none");
        // Goods come in at the other one; the first one's memory still says that there is nothing.
        execute(&other, |streams| receive(streams, "moka")).await.unwrap();
        assert!(execute(&one, |streams| reserve(streams, "moka")).await.unwrap().output, "one was received");
        assert!(!execute(&other, |streams| reserve(streams, "moka")).await.unwrap().output, "and is sold");
    }
    drop((one, other));
    tasks.shut_down().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_writer_hears_what_others_have_written_before_it_clashes_with_it() {
    let shop = Shop::empty().await;
    let pool = empty_log(&shop).await;
    let mut tasks = TaskGroup::default();
    let (activity, active) = watch::channel(true);
    let (one, other) = (writer_while(active, &pool, &pool, &mut tasks), writer(&pool, &pool, &mut tasks));
    execute(&one, |streams| open(streams, "moka")).await.unwrap();
    execute(&other, |streams| receive(streams, "moka")).await.unwrap();
    execute(&one, |streams| open(streams, "kettle")).await.unwrap();
    assert!(execute(&one, |streams| reserve(streams, "moka")).await.unwrap().output, "heard of with the kettle's append");
    // It stands by while the other one writes, and takes over again.
    activity.send(false).unwrap();
    execute(&other, |streams| receive(streams, "kettle")).await.unwrap();
    activity.send(true).unwrap();
    assert!(execute(&one, |streams| reserve(streams, "kettle")).await.unwrap().output, "what it knew from before is forgotten");
    let clashed: i64 = sqlx::query_scalar("SELECT count(*) FROM event_batch WHERE 1 = ANY (outcomes)").fetch_one(&pool).await.unwrap();
    assert_eq!(clashed, 0, "no command was decided on what was known to be old");
    drop((one, other));
    tasks.shut_down().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_command_only_read_may_not_change_while_its_append_waits() {
    let shop = Shop::empty().await;
    let pool = empty_log(&shop).await;
    let mut tasks = TaskGroup::default();
    let (one, other) = (writer(&pool, &pool, &mut tasks), writer(&pool, &pool, &mut tasks));
    for id in ["read", "written"] {
        execute(&one, move |streams| open(streams, id)).await.unwrap();
    }
    let mut holder = pool.begin().await.unwrap();
    sqlx::query("SELECT pg_advisory_xact_lock($1)").bind(LOG_LOCK).execute(&mut *holder).await.unwrap();
    // The other one's change stands before ours in the queue for the lock.
    let changing = infra::task::spawn(async move { execute(&other, |streams| receive(streams, "read")).await });
    until_waiting(&pool, 1).await;
    let deciding = infra::task::spawn(async move {
        execute(&one, |streams| {
            let seen = streams.get::<StockItem>("read")?.available();
            receive(streams, "written")?;
            Ok(seen)
        })
        .await
    });
    until_waiting(&pool, 2).await;
    holder.commit().await.unwrap();
    changing.await.unwrap().unwrap();
    assert_eq!(deciding.await.unwrap().unwrap().output, 1, "it was decided again on what had changed");
    tasks.shut_down().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_told_to_look_again_finds_what_the_decision_saw() {
    let shop = Shop::empty().await;
    let pool = empty_log(&shop).await;
    let mut tasks = TaskGroup::default();
    let writer = writer(&pool, &pool, &mut tasks);
    let mut holder = pool.begin().await.unwrap();
    sqlx::query("SELECT pg_advisory_xact_lock($1)").bind(LOG_LOCK).execute(&mut *holder).await.unwrap();
    let opening = infra::task::spawn({
        let writer = writer.clone();
        async move { execute(&writer, |streams| open(streams, "moka")).await }
    });
    until_waiting(&pool, 1).await;
    // Decided on a stream that so far only the writer knows.
    let mut looking = infra::task::spawn({
        let (writer, pool) = (writer.clone(), pool.clone());
        async move {
            let answer = execute::<()>(&writer, |streams| {
                assert_eq!(streams.version::<StockItem>("moka")?, 1);
                Err(Stop::Stale)
            });
            (answer.await, events(&pool).await)
        }
    });
    let early = tokio::time::timeout(Duration::from_millis(200), &mut looking).await;
    assert!(early.is_err(), "answered before the log had it: {early:?}");
    holder.commit().await.unwrap();
    let (answer, found) = looking.await.unwrap();
    assert!(matches!(answer, Err(CommandError::Stale)) && found == 1, "{answer:?}, {found} events");
    opening.await.unwrap().unwrap();
    drop(writer);
    tasks.shut_down().await;
}

/// Waits until so many appends stand in the queue for the log's lock.
async fn until_waiting(pool: &PgPool, appends: i64) {
    loop {
        let waiting: i64 =
            sqlx::query_scalar("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted").fetch_one(pool).await.unwrap();
        if waiting >= appends {
            return;
        }
        pause(Duration::from_millis(5)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_that_is_cut_after_the_send_gives_the_right_answer_once() {
    let shop = Shop::empty().await;
    let pool = empty_log(&shop).await;
    let (cut, proxy) = cutting_proxy(&pool).await;
    let mut tasks = TaskGroup::default();
    let writer = writer(&pool, &proxy, &mut tasks);
    execute(&writer, |streams| open(streams, "moka")).await.unwrap();
    for round in 1..=5 {
        let before = events(&pool).await;
        let mut holder = pool.begin().await.unwrap();
        sqlx::query("SELECT pg_advisory_xact_lock($1)").bind(LOG_LOCK).execute(&mut *holder).await.unwrap();
        let sender = writer.clone();
        let receiving = infra::task::spawn(async move { execute(&sender, |streams| receive(streams, "moka")).await });
        until_waiting(&pool, 1).await;
        // The batch is at the server, which will commit it later; whoever sent it learns nothing of that.
        cut.send_modify(|cuts| *cuts += 1);
        until_waiting(&pool, 2).await;
        holder.commit().await.unwrap();
        receiving.await.unwrap().unwrap();
        assert_eq!(events(&pool).await, before + 1, "round {round}");
    }
    drop(writer);
    tasks.shut_down().await;
}

/// A way to the database that closes its clients' sides at each change of the number, and not those of the server.
async fn cutting_proxy(pool: &PgPool) -> (watch::Sender<u32>, PgPool) {
    let options = pool.connect_options();
    let server = (options.get_host().to_owned(), options.get_port());
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let (cut, cuts) = watch::channel(0);
    infra::task::spawn(async move {
        let mut kept = Vec::new();
        while let Ok((client, _)) = listener.accept().await {
            let there = TcpStream::connect(&server).await.unwrap();
            kept.push(infra::task::spawn(pass(client, there, cuts.clone())));
        }
    });
    let through = sqlx::PgPool::connect_lazy_with((*options).clone().host("127.0.0.1").port(port));
    (cut, through)
}

async fn pass(client: TcpStream, server: TcpStream, mut cuts: watch::Receiver<u32>) {
    let (mut from_client, mut to_client) = client.into_split();
    let (mut from_server, mut to_server) = server.into_split();
    cuts.mark_unchanged();
    let (mut up, mut down) = (vec![0; 65_536], vec![0; 65_536]);
    loop {
        tokio::select! {
            _ = cuts.changed() => break,
            read = from_client.read(&mut up) => match read {
                Ok(0) | Err(_) => return,
                Ok(n) => to_server.write_all(&up[..n]).await.unwrap(),
            },
            read = from_server.read(&mut down) => match read {
                Ok(0) | Err(_) => return,
                Ok(n) => to_client.write_all(&down[..n]).await.unwrap(),
            },
        }
    }
    drop((from_client, to_client));
    // The server goes on with what it was sent, and its answer is lost.
    while from_server.read(&mut down).await.is_ok_and(|n| n > 0) {}
}

#[tokio::test(flavor = "multi_thread")]
async fn one_poisoned_command_of_a_batch_fails_and_all_others_land() {
    let shop = Shop::empty().await;
    let pool = empty_log(&shop).await;
    let mut tasks = TaskGroup::default();
    let writer = writer(&pool, &pool, &mut tasks);
    execute(&writer, |streams| open(streams, "first")).await.unwrap();
    // While one batch waits for the lock, the next one fills.
    let mut holder = pool.begin().await.unwrap();
    sqlx::query("SELECT pg_advisory_xact_lock($1)").bind(LOG_LOCK).execute(&mut *holder).await.unwrap();
    let sender = writer.clone();
    let before = infra::task::spawn(async move { execute(&sender, |streams| open(streams, "before")).await });
    until_waiting(&pool, 1).await;
    let commands = (0..64).map(|n| {
        let writer = writer.clone();
        infra::task::spawn(async move {
            // No Postgres takes this id.
            let id = if n == 37 { "poison\0".to_owned() } else { format!("good-{n}") };
            execute(&writer, move |streams| open(streams, &id)).await
        })
    });
    let commands: Vec<_> = commands.collect();
    pause(Duration::from_millis(200)).await;
    holder.commit().await.unwrap();
    before.await.unwrap().unwrap();
    let answers: Vec<_> = join_all(commands).await.into_iter().map(Result::unwrap).collect();
    assert_eq!(answers.iter().filter(|answer| answer.is_ok()).count(), 63);
    assert!(matches!(answers[37], Err(CommandError::Internal(_))), "{:?}", answers[37]);
    assert_eq!(events(&pool).await, 65);
    let most: i32 = sqlx::query_scalar("SELECT max(cardinality(outcomes)) FROM event_batch").fetch_one(&pool).await.unwrap();
    assert!(most > 1, "they were not sent one by one");
    drop(writer);
    tasks.shut_down().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_panicking_decision_fails_alone() {
    let shop = Shop::empty().await;
    let pool = empty_log(&shop).await;
    let mut tasks = TaskGroup::default();
    let writer = writer(&pool, &pool, &mut tasks);
    let answer = execute::<()>(&writer, |_| panic!("a decision that is wrong")).await;
    assert!(matches!(answer, Err(CommandError::Internal(_))));
    execute(&writer, |streams| open(streams, "moka")).await.unwrap();
    drop(writer);
    tasks.shut_down().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_clock_that_is_set_back_an_hour_turns_no_order_around() {
    let shop = Shop::empty().await;
    let pool = empty_log(&shop).await;
    let mut tasks = TaskGroup::default();
    let writer = writer(&pool, &pool, &mut tasks);
    execute(&writer, |streams| open(streams, "moka")).await.unwrap();
    // To the log it is the same whether its newest commit was an hour ahead or its clock goes back by one.
    sqlx::query("UPDATE event_batch SET recorded_at = recorded_at + interval '1 hour'").execute(&pool).await.unwrap();
    sqlx::query("UPDATE events SET recorded_at = recorded_at + interval '1 hour'").execute(&pool).await.unwrap();
    for _ in 0..3 {
        execute(&writer, |streams| receive(streams, "moka")).await.unwrap();
    }
    let disorder: i64 = sqlx::query_scalar(
        "SELECT count(*) FROM (SELECT recorded_at, lag(recorded_at) OVER (ORDER BY batch) AS before FROM event_batch) b WHERE before >= recorded_at",
    )
    .fetch_one(&pool)
    .await
    .unwrap();
    assert_eq!(disorder, 0);
    drop(writer);
    tasks.shut_down().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_synchronous_standby_that_is_gone_is_a_503_and_never_a_false_success() {
    let shop = Arc::new(Shop::empty().await);
    let url = shop.run_file()["database_url"].as_str().unwrap().to_owned();
    let mut admin = PgConnection::connect(&url).await.unwrap();
    let cart = json!({ "currency": "EUR", "country": "DE" });
    shop.post("/v1/carts", cart.clone()).await.expect(201);
    sqlx::raw_sql("ALTER SYSTEM SET synchronous_standby_names = 'gone'").execute(&mut admin).await.unwrap();
    sqlx::raw_sql("SELECT pg_reload_conf()").execute(&mut admin).await.unwrap();
    pause(Duration::from_millis(500)).await;
    let refused = shop.post("/v1/carts", cart.clone()).await.expect(503);
    assert!(refused.headers.contains_key("retry-after"));
    sqlx::raw_sql("ALTER SYSTEM RESET synchronous_standby_names").execute(&mut admin).await.unwrap();
    sqlx::raw_sql("SELECT pg_reload_conf()").execute(&mut admin).await.unwrap();
    loop {
        let answer = shop.post("/v1/carts", cart.clone()).await;
        if answer.status == 201 {
            break;
        }
        answer.expect(503);
        pause(Duration::from_millis(100)).await;
    }
    let verified = shop.cli_code(&["verify"]);
    assert_eq!(verified.0, 0, "{}{}", verified.1, verified.2);
}
