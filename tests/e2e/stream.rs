//! The copy in JetStream, hurt in ways that the server lets happen: no reader of the log notices.

use std::process::{Child, Command};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_nats::jetstream::{self, stream};
use infra::event_store::{AppendCommand, EventStore, NewEvent, StreamId, StreamVersion};
use infra::feed::{self, Feed};
use infra::stream::{CLAIM_CHECK_HEADER, STREAM};
use infra::task::{CancellationToken, TaskGroup};
use reqwest::Method;
use serde_json::json;

use crate::shop::{Shop, pause};
use crate::stress::Load;

/// The largest message that the server of the first test takes.
const PAYLOAD_MAX: usize = 8_192;

/// The stream that forbids neither deletion nor purge, filled by the relay up to where it was.
pub async fn undefended(shop: &Shop) -> stream::Stream {
    let client = infra::stream::connect(shop.run_file()["nats_url"].as_str().unwrap()).await.unwrap();
    let context = jetstream::new(client);
    let found = context.get_stream(STREAM).await.unwrap().cached_info().clone();
    context.delete_stream(STREAM).await.unwrap();
    let config = stream::Config { deny_delete: false, deny_purge: false, ..found.config };
    let stream = loop {
        // The relay may have made it again before us.
        match context.create_stream(config.clone()).await {
            Ok(stream) => break stream,
            Err(_) => drop(context.delete_stream(STREAM).await),
        }
    };
    while stream.get_info().await.unwrap().state.last_sequence < found.state.last_sequence {
        pause(Duration::from_millis(20)).await;
    }
    stream
}

fn note(sequence: i64, text: &str) -> AppendCommand {
    let stream = StreamId { aggregate_type: "stock", aggregate_id: "moka".to_owned() };
    let event = NewEvent {
        stream: stream.clone(),
        sequence,
        event_id: infra::clock::new_id(),
        event_type: "Noted",
        event_version: 1,
        payload: json!({ "text": text }).to_string(),
        metadata: "{}".to_owned(),
        partition: 0,
    };
    AppendCommand { decided_on: vec![StreamVersion { stream, version: sequence - 1 }], events: vec![event], ..AppendCommand::default() }
}

/// Ends with the value, also with that of a test that failed.
struct Server(Child);

impl Drop for Server {
    fn drop(&mut self) {
        let _ended = self.0.kill().and_then(|()| self.0.wait());
    }
}

/// A second server of the same program that takes no message beyond [`PAYLOAD_MAX`], and its address.
async fn small_server(load: &Load) -> (Server, String) {
    let program = format!("/proc/{}/exe", load.servers.pids().borrow().nats.unwrap());
    let folder = load.servers.server_dir.join("small");
    std::fs::create_dir(&folder).unwrap();
    let here = folder.display();
    let config = format!(
        "listen: \"127.0.0.1:-1\"\nports_file_dir: \"{here}\"\nmax_payload: {PAYLOAD_MAX}\njetstream {{ store_dir: \"{here}\" }}\n"
    );
    let file = folder.join("nats-server.conf");
    std::fs::write(&file, config).unwrap();
    let log = folder.join("log");
    let mut server =
        Server(Command::new(std::fs::read_link(program).unwrap()).arg("--config").arg(file).arg("--log").arg(log).spawn().unwrap());
    loop {
        let files = std::fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path());
        let ports = files.into_iter().find(|file| file.extension().is_some_and(|extension| extension == "ports"));
        let ports = ports.and_then(|file| serde_json::from_str::<serde_json::Value>(&std::fs::read_to_string(file).unwrap()).ok());
        if let Some(ports) = ports {
            return (server, ports["nats"][0].as_str().unwrap().to_owned());
        }
        assert_eq!(server.0.try_wait().unwrap(), None, "the server ended");
        pause(Duration::from_millis(20)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_that_the_server_takes_no_message_for_is_read_from_the_log() {
    let load = Load::start().await;
    let (server, url) = small_server(&load).await;
    let nats = infra::stream::connect(&url).await.unwrap();
    assert_eq!(nats.server_info().max_payload, PAYLOAD_MAX);
    let mut tasks = TaskGroup::under(&CancellationToken::new());
    let feed = Feed::new(load.pool.clone());
    tasks.spawn("relay", infra::relay::run(load.pool.clone(), nats.clone(), tasks.stop_signal()));
    tasks.spawn("feed", feed::run(feed.clone(), nats.clone(), tasks.stop_signal()));
    let mut store = EventStore::new(load.pool.clone(), infra::clock::new_id());
    let mut tail = feed.tail(0);
    for (sequence, length) in (1..).zip([10, 3 * PAYLOAD_MAX, 10]) {
        let text = "x".repeat(length);
        store.append(&[note(sequence, &text)]).await.unwrap();
        let batch = tail.next().await.unwrap();
        assert_eq!((batch.len(), batch[0].position), (1, sequence));
        assert!(batch[0].payload.contains(&text), "the whole event reaches its reader");
    }
    let stream = jetstream::new(nats).get_stream(STREAM).await.unwrap();
    while stream.get_info().await.unwrap().state.last_sequence < 3 {
        pause(Duration::from_millis(10)).await;
    }
    for (sequence, is_claim_check) in [(1, false), (2, true), (3, false)] {
        let message = stream.get_raw_message(sequence).await.unwrap();
        assert_eq!(message.headers.get(CLAIM_CHECK_HEADER).is_some(), is_claim_check, "message {sequence}");
        assert_eq!(message.payload.is_empty(), is_claim_check, "message {sequence}");
    }
    tasks.shut_down().await;
    drop(server);
    load.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_purge_and_deletions_in_the_stream_reach_no_read_model() {
    let shop = Arc::new(Shop::empty().await);
    shop.product("MOKA-3", "12.00", 0).await;
    let stream = undefended(&shop).await;
    let stop = Arc::new(AtomicBool::new(false));
    let receiving = infra::task::spawn({
        let (shop, stop) = (Arc::clone(&shop), Arc::clone(&stop));
        async move {
            let (mut received, mut token) = (0, String::new());
            while !stop.load(Ordering::SeqCst) {
                let body = Some(json!({ "quantity": 1 }));
                let answer = shop.staff(Method::POST, "/v1/admin/stock/MOKA-3/receive", body).await.expect(200);
                (received, token) = (received + 1, answer.token.unwrap());
            }
            (received, token)
        }
    });
    let last = async || stream.get_info().await.unwrap().state.last_sequence;
    let grown = async |by: u64| {
        let from = last().await;
        while last().await < from + by {
            pause(Duration::from_millis(5)).await;
        }
    };
    for _ in 0..5 {
        grown(20).await;
        let newest = last().await;
        for sequence in [newest - 7, newest - 1, newest] {
            stream.delete_message(sequence).await.unwrap();
        }
    }
    stream.purge().await.unwrap();
    grown(20).await;
    stop.store(true, Ordering::SeqCst);
    let (received, token) = receiving.await.unwrap();
    let stock = shop.staff_after("/v1/admin/stock/MOKA-3", &token).await.expect(200);
    assert_eq!(stock.int("/on_hand"), received, "every one was applied, once");
    // What a purge takes away is not missing: a stream keeps what it keeps, readers of older events have the log.
    shop.cli(&["verify"]);
}

/// A commit without events (of a refusal) has the last position of the one before it. Which of the two an index finds first depends on
/// where their rows lie, and must not matter.
#[tokio::test(flavor = "multi_thread")]
async fn commits_without_events_do_not_stop_the_relay() {
    let shop = Shop::empty().await;
    shop.product("TIN-1", "3.00", 1).await;
    let cart = shop.cart(&[("TIN-1", 2)]).await;
    shop.checkout(&cart, "tok_approve").await.expect(409);
    let pool = shop.pool().await;
    // The row of the last commit that has events now lies behind those of the refusal.
    let moved = "BEGIN;
                 CREATE TABLE kept AS SELECT * FROM event_batch WHERE last_position >= first_position ORDER BY last_position DESC LIMIT 1;
                 DELETE FROM event_batch b USING kept WHERE b.batch = kept.batch;
                 INSERT INTO event_batch SELECT * FROM kept;
                 COMMIT";
    sqlx::raw_sql(moved).execute(&pool).await.unwrap();
    let changed = shop.post(&format!("/v1/carts/{cart}/lines"), json!({ "sku": "TIN-1", "quantity": 1 })).await.expect(200);
    let position: i64 = changed.token.unwrap().split_once('.').unwrap().1.parse().unwrap();
    let until = std::time::Instant::now() + Duration::from_secs(60);
    while shop.staff(Method::GET, "/v1/ops/status", None).await.expect(200).body["relay_position"].as_i64() < Some(position) {
        assert!(std::time::Instant::now() < until, "{}", shop.log());
        pause(Duration::from_millis(20)).await;
    }
}
