//! The log and its copy under load and under attack: two writer processes killed again and again, NATS killed, its data
//! deleted and set back. In the end the log is gapless and in commit order, whatever was acknowledged is in it once, and the
//! stream is the log. Short in `make test`, long in `make soak`; the seed is printed.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, Instant};

use async_nats::jetstream::{self, consumer::DeliverPolicy, consumer::pull::OrderedConfig};
use futures::StreamExt;
use infra::child_server::{ChildServers, Running, Tools};
use infra::event_log::{self, StoredEvent};
use infra::feed::Feed;
use infra::task::{CancellationToken, TaskGroup};
use sqlx::PgPool;

use crate::shop::{pause, send_signal, times};

const WRITERS: usize = 2;
/// What their connections are called.
const WRITER: &str = "log-writer";
/// Fixed, so that a failure can be had again; another one with `DAYBOOK_TEST_SEED`.
const SEED: usize = 20_261_123;

/// Private servers with an empty log, and the processes that write to it.
pub struct Load {
    dir: PathBuf,
    pub servers: ChildServers,
    pub pool: PgPool,
    writers: Writers,
    seed: u64,
    /// Between two commands of a writer's client: 0 is as fast as can be.
    pause_ms: u64,
}

/// Killed at the end, also at that of a test that failed.
struct Writers([Option<Child>; WRITERS]);

impl Load {
    pub async fn start() -> Self {
        let seed = times("DAYBOOK_TEST_SEED", SEED) as u64;
        println!("seed {seed}: again with DAYBOOK_TEST_SEED={seed}");
        let dir = std::env::temp_dir().join(format!("daybook-stress-{}", infra::clock::new_id().simple()));
        std::fs::create_dir_all(&dir).unwrap();
        let variable = |name| infra::config::variable(name).map(PathBuf::from);
        let tools = Tools { postgres_bin_dir: variable("DAYBOOK_PG_BIN_DIR"), nats_server: variable("DAYBOOK_NATS_SERVER") };
        let servers = ChildServers::start(&dir, &tools, &Running::default(), |_| ()).await.unwrap();
        let pool = infra::postgres::connect(&servers.database_url, 20, &[]).await.unwrap();
        infra::postgres::MIGRATOR.run(&pool).await.unwrap();
        Self { dir, servers, pool, writers: Writers([None, None]), seed, pause_ms: 0 }
    }

    fn write(&mut self, n: usize) {
        self.seed = self.seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        let mut command = Command::new(env!("CARGO_BIN_EXE_log-writer"));
        let url = &self.servers.database_url;
        let named = format!("{url}{}application_name={WRITER}", if url.contains('?') { '&' } else { '?' });
        command.arg(named).arg(self.acknowledged(n)).arg((self.seed >> 33).to_string()).arg(self.pause_ms.to_string());
        self.writers.0[n] = Some(command.spawn().unwrap());
    }

    fn acknowledged(&self, n: usize) -> PathBuf {
        self.dir.join(format!("acknowledged-{n}"))
    }

    async fn head(&self) -> i64 {
        event_log::head(&self.pool).await.unwrap().position
    }

    /// Ends the writers and answers the head that they leave: what a killed process sent may still land after its end.
    async fn end_of_writing(&mut self) -> i64 {
        (0..WRITERS).for_each(|n| self.writers.kill(n));
        let left = "SELECT count(*) FROM pg_stat_activity WHERE application_name = $1";
        while sqlx::query_scalar::<_, i64>(left).bind(WRITER).fetch_one(&self.pool).await.unwrap() > 0 {
            pause(Duration::from_millis(5)).await;
        }
        self.head().await
    }

    /// Ends the servers and removes their data; after a failure they stay to be looked at.
    pub async fn end(self) {
        self.pool.close().await;
        self.servers.stop().await.unwrap();
        std::fs::remove_dir_all(&self.dir).unwrap();
    }
}

impl Writers {
    fn kill(&mut self, n: usize) {
        if let Some(mut writer) = self.0[n].take() {
            writer.kill().unwrap();
            writer.wait().unwrap();
        }
    }
}

impl Drop for Writers {
    fn drop(&mut self) {
        (0..WRITERS).for_each(|n| self.kill(n));
    }
}

/// What a reader of the whole log must see: every position, one after the other, in the order of their commits.
#[derive(Default)]
struct Seen {
    position: i64,
    recorded_at: chrono::DateTime<chrono::Utc>,
    sequences: HashMap<String, i64>,
}

impl Seen {
    fn take(&mut self, events: &[StoredEvent]) {
        for event in events {
            assert_eq!(event.position, self.position + 1, "a reader missed or doubled an event");
            assert!(event.recorded_at >= self.recorded_at, "position {} was recorded before the one before", event.position);
            let sequence = self.sequences.entry(event.aggregate_id.clone()).or_default();
            assert_eq!(event.sequence, *sequence + 1, "stream {} at position {}", event.aggregate_id, event.position);
            *sequence = event.sequence;
            (self.position, self.recorded_at) = (event.position, event.recorded_at);
        }
    }
}

/// Two readers page through Postgres, two follow the stream; each goes on until it has seen `until`.
fn readers(group: &mut Vec<tokio::task::JoinHandle<Seen>>, pool: &PgPool, feed: &Feed, until: &Arc<AtomicI64>) {
    for reader in 0..4 {
        let (pool, until, mut tail) = (pool.clone(), Arc::clone(until), feed.tail(0));
        group.push(infra::task::spawn(async move {
            let mut seen = Seen::default();
            while seen.position < until.load(Ordering::SeqCst) {
                if reader % 2 == 0 {
                    let page = event_log::following(&pool, seen.position, 700).await.unwrap_or_default();
                    seen.take(&page);
                    if page.is_empty() {
                        pause(Duration::from_millis(5)).await;
                    }
                } else if let Ok(Ok(batch)) = tokio::time::timeout(Duration::from_millis(300), tail.next()).await {
                    seen.take(&batch);
                }
            }
            seen
        }));
    }
}

/// Every line of the clients' own files is in the log, where it was said to be; answers how many there are.
fn acknowledged(load: &Load, seen: &Seen) -> usize {
    let mut lines = 0;
    for n in 0..WRITERS {
        let text = std::fs::read_to_string(load.acknowledged(n)).unwrap();
        // The last line may have been cut off by a kill.
        for line in text.rsplit_once('\n').map_or("", |(whole, _)| whole).lines() {
            let mut parts = line.split(' ');
            let (stream, version) = (parts.next().unwrap(), parts.next().unwrap().parse::<i64>().unwrap());
            let known = seen.sequences.get(stream).copied().unwrap_or(0);
            assert!(known >= version, "{line} was acknowledged, the log has version {known}");
            lines += 1;
        }
    }
    lines
}

#[tokio::test(flavor = "multi_thread")]
async fn readers_of_a_log_whose_writers_are_killed_miss_nothing_and_double_nothing() {
    let (seconds, kills) = (times("DAYBOOK_TEST_STRESS_S", 8) as u64, times("DAYBOOK_TEST_STRESS_KILLS", 4));
    let events_min = times("DAYBOOK_TEST_STRESS_EVENTS", 4_000) as i64;
    let mut load = Load::start().await;
    // Two cores must do for the readers and the copy too.
    load.pause_ms = 2;
    let stop = CancellationToken::new();
    let nats = infra::stream::connect(&load.servers.nats_url).await.unwrap();
    let feed = Feed::new(load.pool.clone());
    let mut copying = TaskGroup::under(&stop);
    copying.spawn("feed", infra::feed::run(feed.clone(), nats.clone(), copying.stop_signal()));
    copying.spawn("relay", infra::relay::run(load.pool.clone(), nats.clone(), copying.stop_signal()));
    let until = Arc::new(AtomicI64::new(i64::MAX));
    let mut reading = Vec::new();
    readers(&mut reading, &load.pool, &feed, &until);
    (0..WRITERS).for_each(|n| load.write(n));
    let began = Instant::now();
    for kill in 0..kills {
        let due = Duration::from_secs(seconds) * u32::try_from(kill + 1).unwrap() / u32::try_from(kills + 1).unwrap();
        pause(due.saturating_sub(began.elapsed())).await;
        load.writers.kill(kill % WRITERS);
        load.write(kill % WRITERS);
    }
    while began.elapsed() < Duration::from_secs(seconds) || load.head().await < events_min {
        pause(Duration::from_millis(20)).await;
    }
    let head = load.end_of_writing().await;
    let elapsed = began.elapsed();
    until.store(head, Ordering::SeqCst);
    let mut all = Vec::new();
    for reader in reading {
        all.push(reader.await.unwrap());
    }
    assert!(all.iter().all(|seen| seen.position == head));
    let lines = acknowledged(&load, &all[0]);
    println!(
        "{head} events in {:.1} s from {WRITERS} processes, {kills} kills, {lines} acknowledged commands, 4 readers at the head",
        elapsed.as_secs_f64()
    );
    assert!(lines > 0 && head >= events_min);
    the_stream_is_the_log(&load, &nats).await;
    copying.shut_down().await;
    load.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_stream_is_the_log_again_after_kills_loss_and_a_cut_off_tail() {
    let kills = times("DAYBOOK_TEST_NATS_KILLS", 2);
    let mut load = Load::start().await;
    let stop = CancellationToken::new();
    let nats = infra::stream::connect(&load.servers.nats_url).await.unwrap();
    let mut copying = TaskGroup::under(&stop);
    // One of the two stands by; that both were active for a moment is what the chain is for.
    for name in ["relay", "another relay"] {
        copying.spawn(name, infra::relay::run(load.pool.clone(), nats.clone(), copying.stop_signal()));
    }
    load.write(0);
    let data = load.servers.server_dir.join("nats");
    let older = load.dir.join("older");
    let pids = load.servers.pids();
    let supervised = stop.clone();
    let head = {
        let Load { servers, pool, .. } = &mut load;
        let attack = attack(pool, &nats, pids, &data, &older, kills);
        tokio::select! {
            () = servers.supervise(&supervised) => unreachable!("it goes on until it is stopped"),
            head = attack => head,
        }
    };
    println!("{head} events, {kills} kills of nats-server, its data deleted once and set back once");
    load.end_of_writing().await;
    the_stream_is_the_log(&load, &nats).await;
    copying.shut_down().await;
    load.end().await;
}

/// Kills NATS under load; at one kill its data goes, at one its data is an older state.
async fn attack(
    pool: &PgPool,
    nats: &async_nats::Client,
    mut pids: tokio::sync::watch::Receiver<infra::child_server::ServerPids>,
    data: &Path,
    older: &Path,
    kills: usize,
) -> i64 {
    let head = async || event_log::head(pool).await.unwrap().position;
    for kill in 0..kills + 2 {
        let from = head().await;
        while head().await < from + 500 || stream_last(nats).await < from {
            pause(Duration::from_millis(20)).await;
        }
        let pid = pids.borrow_and_update().nats.unwrap();
        send_signal("STOP", pid.into());
        // Stopped, it changes nothing any more and is not started again; so its files can be copied or exchanged.
        if kill == kills {
            exchange(data, older, "cp -a \"$1\" \"$2\"");
        }
        let lost = ["", "rm -rf \"$1\"/jetstream", "rm -rf \"$1\"/jetstream && cp -a \"$2\"/jetstream \"$1\""];
        exchange(data, older, lost[(kill + 2).saturating_sub(kills).min(2)]);
        send_signal("KILL", pid.into());
        while pids.borrow().nats.is_none_or(|now| now == pid) {
            pids.changed().await.unwrap();
        }
    }
    head().await
}

fn exchange(data: &Path, older: &Path, script: &str) {
    let status = Command::new("sh").args(["-ec", script, "sh"]).arg(data).arg(older).status().unwrap();
    assert!(status.success(), "{script}");
}

async fn stream_last(nats: &async_nats::Client) -> i64 {
    let stream = jetstream::new(nats.clone()).get_stream(infra::stream::STREAM).await;
    stream.map_or(0, |stream| i64::try_from(stream.cached_info().state.last_sequence).unwrap())
}

/// Waits until the relay has brought the stream to the head, then compares every message with its event.
async fn the_stream_is_the_log(load: &Load, nats: &async_nats::Client) {
    let head = load.head().await;
    while stream_last(nats).await < head {
        pause(Duration::from_millis(50)).await;
    }
    let stream = jetstream::new(nats.clone()).get_stream(infra::stream::STREAM).await.unwrap();
    let config = OrderedConfig { deliver_policy: DeliverPolicy::All, ..OrderedConfig::default() };
    let mut messages = stream.create_consumer(config).await.unwrap().messages().await.unwrap();
    let mut position = 0;
    while position < head {
        for event in event_log::following(&load.pool, position, 1_000).await.unwrap() {
            let message = messages.next().await.unwrap().unwrap();
            let sequence = i64::try_from(message.info().unwrap().stream_sequence).unwrap();
            let id = message.headers.as_ref().and_then(|headers| headers.get("Nats-Msg-Id")).unwrap().as_str().to_owned();
            assert_eq!((sequence, id), (event.position, event.event_id.to_string()));
            position = event.position;
        }
    }
    println!("the stream has {position} messages, each the event at its position");
}
