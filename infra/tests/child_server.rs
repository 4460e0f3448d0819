//! The private servers of `daybook up`, with the real programs: what the laptop relies on when things go wrong.
//!
//! `nats-server` is taken from `DAYBOOK_NATS_SERVER`, PATH or `target/tools`, Postgres from `DAYBOOK_PG_BIN_DIR`, PATH or
//! Debian's folder.
#![expect(clippy::unwrap_used, reason = "a test whose stage can't be set has failed")]

use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use async_nats::jetstream;
use infra::child_server::{self, ChildServerError, ChildServers, Running, ServerPids, Tools};
use infra::task::CancellationToken;
use infra::{clock, config, postgres};

/// Longest that a test waits for a server to come back.
const RESTART_TIMEOUT: Duration = Duration::from_mins(1);
/// Tells the test program, started by one of its own tests, to be a shop in that folder until it is killed.
const SHOP_VARIABLE: &str = "CHILD_SERVER_TEST_SHOP";

#[tokio::test]
async fn both_servers_answer_and_nothing_acknowledged_can_be_lost() {
    let folder = Folder::new();
    let servers = start(&folder.data_dir()).await.unwrap();
    let pool = postgres::connect(&servers.database_url, 1, &[]).await.unwrap();
    assert_eq!(postgres::durability(&pool).await.unwrap(), all_on());
    let checksums: String = sqlx::query_scalar("SHOW data_checksums").fetch_one(&pool).await.unwrap();
    assert_eq!(checksums, "on");
    let client = connect_nats(&servers.nats_url).await;
    jetstream::new(client).query_account().await.unwrap();
    assert_eq!(servers.database_url.split(':').next(), Some("postgres"));
    servers.stop().await.unwrap();
}

#[tokio::test]
async fn an_edited_configuration_does_not_turn_durability_off() {
    let folder = Folder::new();
    let servers = start(&folder.data_dir()).await.unwrap();
    let data = servers.server_dir.join("postgres");
    servers.stop().await.unwrap();
    for file in ["postgresql.conf", "postgresql.auto.conf"] {
        let mut file = std::fs::OpenOptions::new().append(true).open(data.join(file)).unwrap();
        file.write_all(b"\nfsync = off\nfull_page_writes = off\nsynchronous_commit = off\n").unwrap();
    }
    let servers = start(&folder.data_dir()).await.unwrap();
    let pool = postgres::connect(&servers.database_url, 1, &[]).await.unwrap();
    assert_eq!(postgres::durability(&pool).await.unwrap(), all_on());
    servers.stop().await.unwrap();
}

#[tokio::test]
async fn a_failing_statement_leaves_no_value_in_the_log() {
    let folder = Folder::new();
    let servers = start(&folder.data_dir()).await.unwrap();
    let pool = postgres::connect(&servers.database_url, 1, &[]).await.unwrap();
    sqlx::query("CREATE TABLE person (email text PRIMARY KEY)").execute(&pool).await.unwrap();
    let twice = "INSERT INTO person SELECT $1 FROM generate_series(1, 2)";
    for statement in ["SELECT 'canary@example.org'::uuid", "SELECT $1::text::uuid", twice] {
        let failed = sqlx::query(statement).bind("canary@example.org").execute(&pool).await;
        assert!(failed.is_err(), "{statement}");
    }
    pool.close().await;
    servers.stop().await.unwrap();
    let log = std::fs::read_to_string(folder.data_dir().join("log/postgres.log")).unwrap();
    assert!(log.contains("ready to accept connections") && !log.contains("canary"), "{log}");
}

#[tokio::test]
async fn a_second_start_on_the_same_folder_keeps_the_data() {
    let folder = Folder::new();
    let first = start(&folder.data_dir()).await.unwrap();
    write_a_row(&first.database_url).await;
    publish_a_message(&first.nats_url).await;
    first.stop().await.unwrap();

    let second = start(&folder.data_dir()).await.unwrap();
    assert_eq!(rows(&second.database_url).await, 1);
    assert_eq!(messages(&second.nats_url).await, 1);
    second.stop().await.unwrap();
}

#[tokio::test]
async fn a_second_shop_on_the_same_folder_is_refused_and_one_beside_it_is_not() {
    let (folder, beside) = (Folder::new(), Folder::new());
    assert_eq!(child_server::holder(&folder.data_dir()), None);
    let first = start(&folder.data_dir()).await.unwrap();
    let refused = start(&folder.data_dir()).await.unwrap_err();
    assert!(matches!(refused, ChildServerError::AlreadyRunning { pid: Some(pid), .. } if pid == std::process::id()), "{refused}");
    assert_eq!(child_server::holder(&folder.data_dir()), Some(std::process::id()));

    let other = start(&beside.data_dir()).await.unwrap();
    write_a_row(&other.database_url).await;
    write_a_row(&first.database_url).await;
    other.stop().await.unwrap();
    first.stop().await.unwrap();
    assert_eq!(child_server::holder(&folder.data_dir()), None);
}

#[tokio::test]
async fn a_server_that_is_killed_runs_again_on_its_port() {
    let folder = Folder::new();
    let mut servers = start(&folder.data_dir()).await.unwrap();
    let (database_url, nats_url) = (servers.database_url.clone(), servers.nats_url.clone());
    write_a_row(&database_url).await;
    publish_a_message(&nats_url).await;

    let mut pids = servers.pids();
    let stop = CancellationToken::new();
    let story = async {
        for _ in 0..2 {
            let before = *pids.borrow_and_update();
            kill("KILL", before.postgres.unwrap());
            kill("KILL", before.nats.unwrap());
            let back = pids.wait_for(|now| differs(before.postgres, now.postgres) && differs(before.nats, now.nats));
            tokio::time::timeout(RESTART_TIMEOUT, back).await.unwrap().unwrap();
            assert_eq!(rows(&database_url).await, 1);
            assert_eq!(messages(&nats_url).await, 1);
        }
        stop.cancel();
    };
    tokio::join!(servers.supervise(&stop), story);
    let pids = *servers.pids().borrow();
    servers.stop().await.unwrap();
    assert!(!lives(pids.postgres.unwrap()) && !lives(pids.nats.unwrap()));
}

#[tokio::test]
async fn a_shop_that_is_killed_takes_its_servers_along_and_starts_again() {
    let folder = Folder::new();
    let (mut shop, pids) = shop_in_its_own_process(&folder.data_dir());
    shop.kill().unwrap();
    shop.wait().unwrap();
    // Whether they are down already or still going down is a matter of luck.
    let servers = start(&folder.data_dir()).await.unwrap();
    assert!(!lives(pids.postgres.unwrap()) && !lives(pids.nats.unwrap()));
    assert_eq!(rows(&servers.database_url).await, 1);
    servers.stop().await.unwrap();
}

#[tokio::test]
async fn servers_that_outlive_their_shop_are_ended_before_the_next_one() {
    let folder = Folder::new();
    let servers = start(&folder.data_dir()).await.unwrap();
    write_a_row(&servers.database_url).await;
    let pids = *servers.pids().borrow();
    let (database_url, nats_url) = (servers.database_url.clone(), servers.nats_url.clone());
    let again = [pids.postgres.unwrap(), pids.nats.unwrap()].map(same_command_on_its_own);
    servers.stop().await.unwrap();
    let outlived = again.map(|mut command| command.spawn().unwrap());
    until_both_answer(&database_url, &nats_url).await;

    let mut said = String::new();
    let progress = |step: &str| said.push_str(step);
    let servers = ChildServers::start(&folder.data_dir(), &tools(), &Running::default(), progress).await.unwrap();
    assert!(said.contains("ending Postgres") && said.contains("ending NATS"), "{said}");
    for mut server in outlived {
        assert!(!lives(server.id()));
        server.wait().unwrap();
    }
    assert_eq!(rows(&servers.database_url).await, 1);
    servers.stop().await.unwrap();
}

#[tokio::test]
async fn everything_killed_at_once_starts_again() {
    let folder = Folder::new();
    let (mut shop, pids) = shop_in_its_own_process(&folder.data_dir());
    kill("KILL", pids.postgres.unwrap());
    kill("KILL", pids.nats.unwrap());
    shop.kill().unwrap();
    shop.wait().unwrap();
    let servers = start(&folder.data_dir()).await.unwrap();
    assert_eq!(rows(&servers.database_url).await, 1);
    servers.stop().await.unwrap();
}

#[tokio::test]
async fn a_pid_file_that_names_somebody_else_stops_nobody_and_no_start() {
    let folder = Folder::new();
    let servers = start(&folder.data_dir()).await.unwrap();
    let data = servers.server_dir.clone();
    servers.stop().await.unwrap();
    let mut somebody = Command::new("cat").stdin(Stdio::piped()).spawn().unwrap();
    std::fs::write(data.join("postgres/postmaster.pid"), format!("{}\n", somebody.id())).unwrap();
    std::fs::write(data.join("nats/nats-server.pid"), somebody.id().to_string()).unwrap();
    let servers = start(&folder.data_dir()).await.unwrap();
    assert!(lives(somebody.id()));
    servers.stop().await.unwrap();
    somebody.kill().unwrap();
    somebody.wait().unwrap();
}

#[tokio::test]
async fn a_shop_below_a_private_home_works() {
    let folder = Folder::new();
    let home = folder.0.join("home");
    std::fs::create_dir(&home).unwrap();
    std::fs::set_permissions(&home, std::fs::Permissions::from_mode(0o700)).unwrap();
    // Programs in a private home, such as `target/tools` of a clone there, can't be run by somebody else either.
    let nats_server = home.join("nats-server");
    std::fs::copy(child_server::find_nats(&tools()).await.unwrap().path, &nats_server).unwrap();
    let tools = Tools { nats_server: Some(nats_server), ..tools() };
    let data_dir = home.join("shop");

    let first = ChildServers::start(&data_dir, &tools, &Running::default(), |_| {}).await.unwrap();
    let server_dir = first.server_dir.clone();
    let root = std::fs::metadata(&home).unwrap().uid() == 0;
    assert_eq!(server_dir.starts_with("/var/lib/daybook"), root, "{}", server_dir.display());
    write_a_row(&first.database_url).await;
    first.stop().await.unwrap();

    // Opening the home changes nothing: the data stay where they are.
    std::fs::set_permissions(&home, std::fs::Permissions::from_mode(0o755)).unwrap();
    let second = ChildServers::start(&data_dir, &tools, &Running::default(), |_| {}).await.unwrap();
    assert_eq!(second.server_dir, server_dir);
    assert_eq!(rows(&second.database_url).await, 1);
    second.stop().await.unwrap();

    // A folder that is removed and made again is a new shop; the old data are kept, and said to be.
    std::fs::set_permissions(&home, std::fs::Permissions::from_mode(0o700)).unwrap();
    std::fs::remove_dir_all(&data_dir).unwrap();
    let third = ChildServers::start(&data_dir, &tools, &Running::default(), |_| {}).await.unwrap();
    assert_eq!(third.server_dir != server_dir, root);
    let pool = postgres::connect(&third.database_url, 1, &[]).await.unwrap();
    assert!(sqlx::query("SELECT id FROM kept").fetch_optional(&pool).await.is_err());
    pool.close().await;
    let elsewhere = third.server_dir.clone();
    third.stop().await.unwrap();

    if root {
        std::fs::remove_dir_all(&elsewhere).unwrap();
        let gone = ChildServers::start(&data_dir, &tools, &Running::default(), |_| {}).await.unwrap_err();
        assert!(matches!(gone, ChildServerError::ServersGone { .. }), "{gone}");
        std::fs::remove_dir_all(&server_dir).unwrap();
    }
}

#[tokio::test]
async fn servers_that_run_already_are_used_and_not_started() {
    let folder = Folder::new();
    let running = Running { database_url: Some("postgres://elsewhere/shop".to_owned()), nats_url: Some("nats://elsewhere".to_owned()) };
    let servers = ChildServers::start(&folder.data_dir(), &Tools::default(), &running, |_| {}).await.unwrap();
    assert_eq!((servers.database_url.as_str(), servers.nats_url.as_str()), ("postgres://elsewhere/shop", "nats://elsewhere"));
    assert_eq!((servers.postgres_port, servers.nats_port), (None, None));
    assert_eq!(*servers.pids().borrow(), ServerPids::default());
    servers.stop().await.unwrap();
}

#[tokio::test]
async fn what_is_missing_or_too_old_is_named_with_its_fix() {
    let folder = Folder::new();
    let missing = Tools { postgres_bin_dir: Some(folder.0.clone()), nats_server: Some(folder.0.join("nats-server")) };
    let postgres = child_server::find_postgres(&missing).await.unwrap_err().to_string();
    assert!(postgres.contains("was not found") && postgres.contains("DAYBOOK_PG_BIN_DIR"), "{postgres}");
    let nats = child_server::find_nats(&missing).await.unwrap_err().to_string();
    assert!(nats.contains("was not found") && nats.contains("DAYBOOK_NATS_SERVER"), "{nats}");

    program(&folder.0.join("nats-server"), "echo nats-server: v2.9.10");
    let old = child_server::find_nats(&missing).await.unwrap_err().to_string();
    assert!(old.contains("2.9.10") && old.contains("2.10"), "{old}");
    program(&folder.0.join("initdb"), "exit 1");
    program(&folder.0.join("postgres"), "echo 'postgres (PostgreSQL) 12.3'");
    let old = child_server::find_postgres(&missing).await.unwrap_err().to_string();
    assert!(old.contains("12.3") && old.contains("15 or newer"), "{old}");
    program(&folder.0.join("postgres"), "echo 'postgres (PostgreSQL) 17beta1 (Debian)'");
    assert_eq!(child_server::find_postgres(&missing).await.unwrap().version, "17beta1");

    // `initdb` fails at once: its words are passed on, and the folder is free again.
    program(&folder.0.join("initdb"), "echo 'could not write: No space left on device' >&2; exit 1");
    let tools = Tools { nats_server: None, ..missing };
    std::fs::set_permissions(&folder.0, std::fs::Permissions::from_mode(0o755)).unwrap();
    let full = ChildServers::start(&folder.data_dir(), &tools, &Running::default(), |_| {}).await.unwrap_err();
    assert!(matches!(full, ChildServerError::DiskFull { .. }), "{full}");
    assert_eq!(child_server::holder(&folder.data_dir()), None);
}

#[tokio::test]
async fn data_of_another_major_version_are_left_alone() {
    let folder = Folder::new();
    let data = folder.data_dir().join("postgres");
    std::fs::create_dir_all(&data).unwrap();
    std::fs::write(data.join("PG_VERSION"), "9\n").unwrap();
    let refused = start(&folder.data_dir()).await.unwrap_err();
    assert!(matches!(refused, ChildServerError::OtherMajor { major: 9, .. }), "{refused}");
}

/// Not a test of its own: the shop that the tests above start in another process and kill.
#[tokio::test]
async fn a_shop_to_be_killed() {
    let Some(data_dir) = config::variable(SHOP_VARIABLE) else {
        return;
    };
    let servers = start(Path::new(&data_dir)).await.unwrap();
    write_a_row(&servers.database_url).await;
    let pids = *servers.pids().borrow();
    println!("\nshop {} {}", pids.postgres.unwrap(), pids.nats.unwrap());
    std::future::pending::<()>().await;
}

fn shop_in_its_own_process(data_dir: &Path) -> (std::process::Child, ServerPids) {
    let mut shop = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "a_shop_to_be_killed", "--nocapture"])
        .env(SHOP_VARIABLE, data_dir)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let lines = BufReader::new(shop.stdout.take().unwrap()).lines();
    let ready = lines.map(Result::unwrap).find(|line| line.starts_with("shop ")).unwrap();
    let pids: Vec<u32> = ready.split(' ').skip(1).map(|pid| pid.parse().unwrap()).collect();
    (shop, ServerPids { postgres: Some(pids[0]), nats: Some(pids[1]) })
}

/// The command line of the server `pid`, as its user, but without a death signal.
fn same_command_on_its_own(pid: u32) -> Command {
    let process = std::fs::metadata(format!("/proc/{pid}")).unwrap();
    let line = std::fs::read_to_string(format!("/proc/{pid}/cmdline")).unwrap();
    let mut command = Command::new("setpriv");
    if process.uid() != std::fs::metadata("/proc/self").unwrap().uid() {
        command.arg(format!("--reuid={}", process.uid())).arg(format!("--regid={}", process.gid())).arg("--clear-groups");
    }
    command.arg("--").args(line.trim_end_matches('\0').split('\0')).current_dir("/").stdout(Stdio::null()).stderr(Stdio::null());
    command
}

async fn until_both_answer(database_url: &str, nats_url: &str) {
    let answer = async {
        let mut tick = tokio::time::interval(Duration::from_millis(50));
        while postgres::connect(database_url, 1, &[]).await.is_err() {
            tick.tick().await;
        }
        while try_connect_nats(nats_url).await.is_err() {
            tick.tick().await;
        }
    };
    tokio::time::timeout(RESTART_TIMEOUT, answer).await.unwrap();
}

async fn start(data_dir: &Path) -> Result<ChildServers, ChildServerError> {
    ChildServers::start(data_dir, &tools(), &Running::default(), |_| {}).await
}

fn tools() -> Tools {
    Tools {
        postgres_bin_dir: config::variable("DAYBOOK_PG_BIN_DIR").map(PathBuf::from),
        nats_server: config::variable("DAYBOOK_NATS_SERVER").map(PathBuf::from),
    }
}

fn all_on() -> Vec<(String, String)> {
    ["fsync", "full_page_writes", "synchronous_commit"].map(|name| (name.to_owned(), "on".to_owned())).to_vec()
}

async fn write_a_row(url: &str) {
    let pool = postgres::connect(url, 1, &[]).await.unwrap();
    sqlx::query("CREATE TABLE IF NOT EXISTS kept (id int)").execute(&pool).await.unwrap();
    sqlx::query("INSERT INTO kept VALUES (1)").execute(&pool).await.unwrap();
    pool.close().await;
}

async fn rows(url: &str) -> i64 {
    let pool = postgres::connect(url, 1, &[]).await.unwrap();
    sqlx::query_scalar("SELECT count(*) FROM kept").fetch_one(&pool).await.unwrap()
}

async fn connect_nats(url: &str) -> async_nats::Client {
    try_connect_nats(url).await.unwrap()
}

async fn try_connect_nats(url: &str) -> Result<async_nats::Client, async_nats::ConnectError> {
    let address: async_nats::ServerAddr = url.parse().unwrap();
    let (user, password) = (address.username().unwrap().to_owned(), address.password().unwrap().to_owned());
    async_nats::ConnectOptions::with_user_and_password(user, password).connect(address).await
}

async fn publish_a_message(url: &str) {
    let context = jetstream::new(connect_nats(url).await);
    let stream = jetstream::stream::Config { name: "KEPT".to_owned(), subjects: vec!["kept".to_owned()], ..Default::default() };
    context.create_stream(stream).await.unwrap();
    context.publish("kept", "one".into()).await.unwrap().await.unwrap();
}

async fn messages(url: &str) -> u64 {
    let context = jetstream::new(connect_nats(url).await);
    context.get_stream("KEPT").await.unwrap().get_info().await.unwrap().state.messages
}

fn differs(before: Option<u32>, now: Option<u32>) -> bool {
    now.is_some() && now != before
}

fn kill(signal: &str, pid: u32) {
    let status = Command::new("sh").args(["-c", "kill -s \"$1\" \"$2\"", "sh", signal, &pid.to_string()]).status();
    assert!(status.unwrap().success());
}

/// A zombie has no command line.
fn lives(pid: u32) -> bool {
    std::fs::read(format!("/proc/{pid}/cmdline")).is_ok_and(|line| !line.is_empty())
}

fn program(path: &Path, script: &str) {
    std::fs::write(path, format!("#!/bin/sh\n{script}\n")).unwrap();
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755)).unwrap();
}

/// A temporary folder, removed with the test.
struct Folder(PathBuf);

impl Folder {
    fn new() -> Self {
        let path = std::env::temp_dir().join(format!("daybook-child-server-{}", clock::new_id()));
        std::fs::create_dir(&path).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
        Self(path)
    }

    fn data_dir(&self) -> PathBuf {
        self.0.join("shop")
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // A test that failed has servers that still go down and write here; what stays is in the temporary folder.
        drop(std::fs::remove_dir_all(&self.0));
    }
}
