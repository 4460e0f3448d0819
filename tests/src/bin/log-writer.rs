//! A writer process for the stress tests: gives commands to a writer of its own, as fast as it answers, until it is killed.
//!
//! `log-writer DATABASE_URL FILE SEED PAUSE_MS`: after each answer it appends `<stream> <version> <epoch>.<position>` to FILE, so the
//! file has nothing that was not acknowledged. Each client pauses before its next command. A second process on the same streams makes conflicts.

use std::io::Write;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use commands::answer::{Actor, CommandError, Origin};
use commands::loader::Loader;
use commands::streams::Streams;
use commands::writer::{Limits, Writer};
use domain::id::{LocationId, ReceiptId};
use domain::inventory::{StockCommand, StockItem, StockPolicy};
use infra::event_store::EventStore;
use infra::sealing::{MasterKey, Sealer};
use uuid::Uuid;

/// Commands under way at once.
const CLIENTS: u64 = 64;
/// Streams that all processes write to.
const SHARED: u64 = 400;

#[tokio::main]
async fn main() {
    let mut arguments = std::env::args().skip(1);
    let (url, file) = (arguments.next().unwrap(), arguments.next().unwrap());
    let (seed, pause_ms) = (arguments.next().unwrap().parse::<u64>().unwrap(), arguments.next().unwrap().parse::<u64>().unwrap());
    let file = Arc::new(Mutex::new(std::fs::OpenOptions::new().create(true).append(true).open(file).unwrap()));
    let pool = infra::postgres::connect(&url, 8, &[]).await.unwrap();
    let sealer = Sealer::new(pool.clone(), MasterKey::parse(&MasterKey::generate().unwrap()).unwrap());
    let store = EventStore::new(pool.clone(), infra::clock::new_id());
    let limits = Limits::from(&infra::config::Config::default().writer);
    let (writer, task) = Writer::new(Loader::new(pool, sealer), store, None, limits, infra::leadership::alone());
    let mut clients = tokio::task::JoinSet::new();
    for client in 0..CLIENTS {
        let (writer, file) = (writer.clone(), Arc::clone(&file));
        clients.spawn(async move {
            let mut random = seed.wrapping_mul(1_000_003).wrapping_add(client);
            loop {
                random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                give(&writer, &file, random >> 33).await;
                if pause_ms > 0 {
                    tokio::time::sleep(Duration::from_millis(pause_ms)).await;
                }
            }
        });
    }
    task.await;
}

/// Three of four commands begin a stream, the fourth changes one that all processes change.
async fn give(writer: &Writer, file: &Mutex<std::fs::File>, random: u64) {
    let shared = random.is_multiple_of(4);
    let id = if shared { format!("shared-{}", random / 4 % SHARED) } else { infra::clock::new_id().to_string() };
    let receipt_id = ReceiptId::new(infra::clock::new_id());
    let stream = id.clone();
    let decide = move |streams: &mut Streams<'_>| {
        if !shared {
            streams.create::<StockItem>(&id)?;
        }
        let version = streams.version::<StockItem>(&id)?;
        let command = if version == 0 {
            StockCommand::Open { policy: StockPolicy::Deny, low_stock_threshold: None }
        } else {
            StockCommand::Receive { receipt_id, location_id: LocationId::new(Uuid::from_u128(1)), quantity: 1, unit_cost: None }
        };
        let events = streams.get::<StockItem>(&id)?.decide(command).unwrap();
        let after = version + i64::try_from(events.len()).unwrap();
        streams.emit::<StockItem>(&id, events, None)?;
        Ok(after)
    };
    let command_id = infra::clock::new_id();
    let actor = Actor { kind: "system", id: "stress".to_owned() };
    let origin = Origin { actor, command_id, correlation_id: command_id, causation_id: command_id, request_id: None, traceparent: None };
    match writer.execute(&origin, None, decide).await {
        Ok(done) => {
            let line = format!("{stream} {} {}\n", done.output, done.position);
            file.lock().unwrap().write_all(line.as_bytes()).unwrap();
        }
        Err(CommandError::Contended | CommandError::Unavailable | CommandError::Overloaded) => {}
        Err(error) => panic!("{error}"),
    }
}
