//! `daybook doctor`: what this machine and the shop on it lack, each with its fix.

use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use infra::child_server::{self, Program, Tools};
use infra::config;
use infra::postgres::{self, MIGRATOR};
use infra::stream;
use serde::Serialize;
use sqlx::PgPool;
use tokio::process::Command;
use tokio::time::timeout;

use crate::shop::Shop;

const CONNECTIONS_MAX: u32 = 1;
/// Longest wait for any one server.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(5);
/// Free space below which a shop should not be run, in MiB.
const DISK_FREE_MIN_MIB: u64 = 1_024;
/// Most that the machine's clock may differ from the database's: what bearer tokens allow.
const CLOCK_DIFFERENCE_MAX: TimeDelta = TimeDelta::seconds(5);

#[derive(Debug, Serialize)]
struct Checked {
    check: &'static str,
    ok: bool,
    /// What was found.
    found: String,
    /// What to do about it.
    #[serde(skip_serializing_if = "Option::is_none")]
    fix: Option<String>,
}

/// A check's outcome: what was found, or what is wrong and its fix.
type Outcome = Result<String, (String, String)>;

/// Exit code 1 if any check fails.
pub async fn run(data_dir: &Path, json: bool) -> anyhow::Result<ExitCode> {
    let checks = checks(data_dir).await;
    crate::cli::say(&if json { serde_json::to_string_pretty(&checks)? + "\n" } else { table(&checks) })?;
    Ok(if checks.iter().all(|checked| checked.ok) { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

async fn checks(data_dir: &Path) -> Vec<Checked> {
    let mut checks = Vec::new();
    let mut add = |check, outcome: Outcome| {
        checks.push(match outcome {
            Ok(found) => Checked { check, ok: true, found, fix: None },
            Err((found, fix)) => Checked { check, ok: false, found, fix: Some(fix) },
        });
    };
    let shop = Shop::find(data_dir);
    if shop.is_err() {
        // What a start needs; beside a shop that runs its servers are looked at themselves.
        let tools = Tools {
            postgres_bin_dir: config::variable("DAYBOOK_PG_BIN_DIR").map(Into::into),
            nats_server: config::variable("DAYBOOK_NATS_SERVER").map(Into::into),
        };
        add("postgres program", program(child_server::find_postgres(&tools).await, "`make up` installs it, or set DAYBOOK_PG_BIN_DIR"));
        add("nats-server program", program(child_server::find_nats(&tools).await, "`make up` installs it, or set DAYBOOK_NATS_SERVER"));
    }
    add("disk", disk(data_dir).await);
    add("shop", running(data_dir, shop.as_ref()).await);
    let Ok(shop) = shop else { return checks };
    let connecting = timeout(ANSWER_TIMEOUT, postgres::connect(&shop.config.database_url, CONNECTIONS_MAX, &[])).await;
    match connecting {
        Ok(Ok(pool)) => {
            add("database", version(&pool).await);
            add("schema", schema(&pool).await);
            add("durability", durability(&pool).await);
            add("clock", clock(&pool).await);
        }
        Ok(Err(error)) => add("database", unreachable(&error)),
        Err(elapsed) => add("database", unreachable(&elapsed)),
    }
    add("nats", nats(&shop.config.nats_url).await);
    checks
}

fn unreachable(error: &dyn std::error::Error) -> Outcome {
    Err((error.to_string(), "start the shop with `daybook up`, or check DATABASE_URL".to_owned()))
}

fn program(found: Result<Program, child_server::ChildServerError>, fix: &str) -> Outcome {
    found.map(|Program { path, version }| format!("{version} ({})", path.display())).map_err(|error| (error.to_string(), fix.to_owned()))
}

/// Whether the shop's process lives and answers.
async fn running(data_dir: &Path, shop: Result<&Shop, &anyhow::Error>) -> Outcome {
    let shop = shop.map_err(|error| (format!("{error:#}"), "start it with `daybook up`".to_owned()))?;
    let process = child_server::holder(data_dir).map_or_else(String::new, |pid| format!(", process {pid}"));
    let client = reqwest::Client::builder().timeout(ANSWER_TIMEOUT).build();
    let answer = match client {
        Ok(client) => client.get(format!("{}/readyz", shop.url)).send().await,
        Err(error) => Err(error),
    };
    match answer {
        Ok(response) if response.status().is_success() => Ok(format!("ready at {}{process}", shop.url)),
        Ok(response) => {
            let body: serde_json::Value = response.json().await.unwrap_or_default();
            let not_ready = body["not_ready"].as_array().into_iter().flatten();
            let details: Vec<&str> = not_ready.filter_map(|entry| entry["detail"].as_str()).collect();
            Err((format!("not ready at {}{process}", shop.url), details.join("; ")))
        }
        Err(error) => Err((
            format!("{} does not answer{process}: {error}", shop.url),
            "start it with `daybook up`, or set DAYBOOK_URL to where its gateway is".to_owned(),
        )),
    }
}

/// `df`, for the standard library can't say it.
async fn disk(data_dir: &Path) -> Outcome {
    let known = data_dir.ancestors().find(|folder| folder.is_dir()).unwrap_or(Path::new("."));
    let unknown = |reason: String| (reason, "run `df` on the data folder".to_owned());
    let output = Command::new("df").arg("-Pk").arg("--").arg(known).output().await.map_err(|error| unknown(error.to_string()))?;
    let text = String::from_utf8_lossy(&output.stdout);
    let free_mib = free_mib(&text).ok_or_else(|| unknown("`df` says nothing that can be read".to_owned()))?;
    let found = format!("{free_mib} MiB free at {}", known.display());
    if free_mib < DISK_FREE_MIN_MIB {
        return Err((found, format!("make room, {DISK_FREE_MIN_MIB} MiB at least, or move the shop with --data-dir")));
    }
    Ok(found)
}

/// The fourth column of the second line of POSIX `df -Pk`.
fn free_mib(text: &str) -> Option<u64> {
    let free_kib: u64 = text.lines().nth(1)?.split_whitespace().nth(3)?.parse().ok()?;
    Some(free_kib / 1_024)
}

async fn version(pool: &PgPool) -> Outcome {
    let version: Result<String, _> = sqlx::query_scalar("SHOW server_version").fetch_one(pool).await;
    version.map(|version| format!("PostgreSQL {version}")).or_else(|error| unreachable(&error))
}

async fn schema(pool: &PgPool) -> Outcome {
    let fix = || "run `daybook migrate`".to_owned();
    let applied: Result<Option<i64>, _> =
        sqlx::query_scalar("SELECT max(version) FROM _sqlx_migrations WHERE success").fetch_one(pool).await;
    let applied = applied.map_err(|error| (error.to_string(), fix()))?.unwrap_or(0);
    let needed = MIGRATOR.iter().map(|migration| migration.version).max().unwrap_or(0);
    if applied < needed {
        return Err((format!("at {applied}, {needed} is needed"), fix()));
    }
    let known: Vec<String> =
        sqlx::query_scalar("SELECT projection FROM checkpoint").fetch_all(pool).await.map_err(|error| (error.to_string(), fix()))?;
    let missing: Vec<&str> = projections::NAMES.into_iter().filter(|name| !known.iter().any(|k| k == name)).collect();
    if !missing.is_empty() {
        return Err((format!("read models are missing: {}", missing.join(", ")), fix()));
    }
    Ok(format!("log at {applied}, all {} read models", projections::NAMES.len()))
}

/// An acknowledged event must survive a crash: nothing that makes it so may be off.
async fn durability(pool: &PgPool) -> Outcome {
    let settings = postgres::durability(pool).await.or_else(|error| unreachable(&error).map(|_| Vec::new()))?;
    let text: Vec<String> = settings.iter().map(|(name, value)| format!("{name}={value}")).collect();
    // `remote_apply` and `remote_write` wait for more than this server's disk.
    let off = |value: &str| matches!(value, "off" | "local");
    match settings.iter().find(|(_, value)| off(value)) {
        None if settings.len() == 3 => Ok(text.join(", ")),
        None => Err((text.join(", "), "Postgres does not know a setting that it must have on".to_owned())),
        Some((name, _)) => {
            Err((text.join(", "), format!("set {name} = on in postgresql.conf and reload: acknowledged orders can be lost")))
        }
    }
}

async fn clock(pool: &PgPool) -> Outcome {
    let asked = infra::clock::now();
    let times: Result<(DateTime<Utc>, Option<DateTime<Utc>>), _> =
        sqlx::query_as("SELECT clock_timestamp(), (SELECT max(recorded_at) FROM event_batch)").fetch_one(pool).await;
    let (database, newest) = times.map_err(|error| (error.to_string(), "run `daybook migrate`".to_owned()))?;
    let difference = (database - asked).abs();
    let fix = || "set the clocks of both machines with NTP".to_owned();
    if difference > CLOCK_DIFFERENCE_MAX {
        return Err((format!("{} ms from the database's", difference.num_milliseconds()), fix()));
    }
    if let Some(newest) = newest.filter(|newest| *newest > database + CLOCK_DIFFERENCE_MAX) {
        return Err((format!("the newest events are of {newest}, in the future"), fix()));
    }
    Ok(format!("{} ms from the database's", difference.num_milliseconds()))
}

async fn nats(url: &str) -> Outcome {
    let fix = || "start the shop with `daybook up`, or check NATS_URL".to_owned();
    let client = match timeout(ANSWER_TIMEOUT, stream::connect(url)).await {
        Ok(Ok(client)) => client,
        Ok(Err(error)) => return Err((error.to_string(), fix())),
        Err(_elapsed) => return Err(("does not answer".to_owned(), fix())),
    };
    let version = client.server_info().version;
    let context = async_nats::jetstream::new(client);
    match timeout(ANSWER_TIMEOUT, context.query_account()).await {
        Ok(Ok(account)) => Ok(format!("nats-server {version}, JetStream with {} stream(s)", account.streams)),
        Ok(Err(error)) => {
            Err((format!("nats-server {version} without JetStream: {error}"), "start it with `nats-server --jetstream`".to_owned()))
        }
        Err(_elapsed) => Err((format!("JetStream of nats-server {version} does not answer"), fix())),
    }
}

fn table(checks: &[Checked]) -> String {
    let width = checks.iter().map(|checked| checked.check.len()).max().unwrap_or(0);
    checks.iter().fold(String::new(), |text, Checked { check, ok, found, fix }| {
        let mark = if *ok { "ok  " } else { "FAIL" };
        let fix = fix.as_ref().map_or_else(String::new, |fix| format!("{:pad$}fix: {fix}\n", "", pad = width + 8));
        text + &format!("{mark}  {check:<width$}  {found}\n{fix}")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_free_space_is_the_fourth_column() {
        let text = "Filesystem 1024-blocks Used Available Capacity Mounted on\n/dev/vda1 100000 20000 81920 20% /\n";
        assert_eq!(free_mib(text), Some(80));
        assert_eq!(free_mib(""), None);
    }

    #[test]
    fn a_failed_check_says_its_fix_below_it() {
        let checks = [
            Checked { check: "disk", ok: true, found: "80 MiB".to_owned(), fix: None },
            Checked { check: "schema", ok: false, found: "at 1".to_owned(), fix: Some("migrate".to_owned()) },
        ];
        assert_eq!(table(&checks), "ok    disk    80 MiB\nFAIL  schema  at 1\n              fix: migrate\n");
    }
}
