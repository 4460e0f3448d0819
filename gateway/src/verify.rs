//! `daybook verify`: is the log whole, the stream its copy, every read model its fold, the provider's ledger ours?
//!
//! Looks at everything up to the head that it finds at its beginning, while the shop goes on. Reads the log twice, by
//! position (the log itself and its copy on the stream) and by stream (folds against rows); memory is bounded by pages.
//! Promises that what it reports is a discrepancy and not a copy that is still catching up, and that a report names places
//! and fields, never what is in them: they may be personal.

mod chain;
mod columns;
mod copy;
mod fold;
mod ledger;

use std::fmt::Write as _;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context;
use commands::answer::Position;
use commands::loader::Loader;
use infra::event_log::{self, PAGE_EVENTS_MAX};
use infra::sealing::{MasterKey, SealError, Sealer};
use infra::{postgres, stream};
use serde::Serialize;
use sqlx::PgPool;
use tokio::time::{Instant, timeout};
use utoipa::ToSchema;

use crate::http::problem::Problem;
use crate::shop::Shop;
use chain::Chain;
use copy::Copy;

/// Discrepancies that are listed; more are only counted.
pub const DISCREPANCIES_MAX: usize = 1_000;
/// Connections that the command line opens: one for pages, one for keys, one to spare.
const CONNECTIONS_MAX: u32 = 3;
/// Longest that the command line waits for NATS.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// What `daybook verify` exits with when it found something.
const EXIT_DISCREPANCY: u8 = 3;

/// What is verified.
#[derive(Debug, Clone)]
pub struct Subject {
    pub pool: PgPool,
    pub sealer: Sealer,
    /// `None`: the stream is not checked, and the report says so.
    pub nats: Option<async_nats::Client>,
    /// The sandbox payment provider, if the shop has it.
    pub sandbox_url: Option<String>,
}

/// What was looked at and what is wrong.
#[derive(Debug, Default, Serialize, ToSchema)]
pub struct Report {
    /// The head that was verified up to.
    #[schema(example = "1.1200")]
    pub head: String,
    pub batches: u64,
    pub events: u64,
    pub streams: u64,
    /// Messages of the stream that were compared with the log.
    pub messages: u64,
    /// Rows of read models that were compared with the fold of their stream.
    pub rows: u64,
    /// Payments of the provider's ledger that were compared with ours.
    pub payments: u64,
    pub duration_ms: u64,
    pub discrepancies: Vec<Discrepancy>,
    /// Discrepancies that are not listed, for there are too many.
    pub left_out: u64,
    /// What could not be checked, and why.
    pub unchecked: Vec<String>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct Discrepancy {
    pub check: Check,
    /// A position, a stream, a row.
    pub place: String,
    pub detail: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Check {
    /// Positions, batches, the hash chain.
    Log,
    /// The sequences of one stream, and that its events can be read.
    Stream,
    /// `JetStream` against the log.
    Copy,
    /// States that were kept of a stream, against its fold.
    Snapshot,
    /// Rows against folds.
    ReadModel,
    /// The payment provider's ledger against ours.
    Ledger,
}

/// How far a verification is; both readings of the log count.
#[derive(Debug, Clone, Copy)]
pub struct Progress {
    pub step: &'static str,
    pub done: u64,
    pub total: u64,
}

/// Told about progress now and then.
pub type Watcher<'a> = &'a (dyn Fn(Progress) + Sync);

/// Why a verification could not be finished.
#[derive(Debug, thiserror::Error)]
pub enum VerifyError {
    #[error("the database can't be read")]
    Database(#[from] sqlx::Error),
    #[error("personal data can't be opened")]
    Seal(#[from] SealError),
    #[error("a fold can't be written as JSON")]
    Encode(#[from] serde_json::Error),
    #[error("a stream can't be loaded")]
    Load(#[from] commands::answer::Failure),
}

impl From<VerifyError> for Problem {
    fn from(error: VerifyError) -> Self {
        match error {
            VerifyError::Database(error) => error.into(),
            error => Self::failure(&error),
        }
    }
}

impl Discrepancy {
    fn new(check: Check, place: impl Into<String>, detail: impl Into<String>) -> Self {
        Self { check, place: place.into(), detail: detail.into() }
    }
}

impl Report {
    fn add(&mut self, found: impl IntoIterator<Item = Discrepancy>) {
        for discrepancy in found {
            if self.discrepancies.len() < DISCREPANCIES_MAX {
                self.discrepancies.push(discrepancy);
            } else {
                self.left_out += 1;
            }
        }
    }
}

/// Verifies everything; answers what is wrong. Only what keeps it from looking is an error.
pub async fn verify(subject: &Subject, watch: Watcher<'_>) -> Result<Report, VerifyError> {
    let began = Instant::now();
    let head = event_log::head(&subject.pool).await?;
    let position = Position { epoch: head.epoch, position: head.position };
    let mut report = Report { head: position.to_string(), ..Report::default() };
    log(subject, head.position, &mut report, watch).await?;
    fold::read_models(subject, head.position, &mut report, watch).await?;
    if let Some(url) = &subject.sandbox_url {
        let loader = Loader::new(subject.pool.clone(), subject.sealer.clone());
        ledger::compare(&loader, url, &mut report).await?;
    }
    report.duration_ms = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX);
    Ok(report)
}

/// The log by position: its chain, and its copy on the stream.
async fn log(subject: &Subject, head: i64, report: &mut Report, watch: Watcher<'_>) -> Result<(), VerifyError> {
    let pool = &subject.pool;
    let mut chain = Chain::begin(pool).await?;
    let mut copy = Copy::begin(pool, subject.nats.as_ref(), head, report).await?;
    let total = 2 * u64::try_from(head).unwrap_or(0);
    let mut after = 0;
    loop {
        let page = event_log::page(pool, after, head, PAGE_EVENTS_MAX).await?;
        let Some(last) = page.last() else { break };
        after = last.position;
        for event in &page {
            chain.take(pool, event, report).await?;
            copy.take(event, report).await;
        }
        report.events += page.len() as u64;
        watch(Progress { step: "the log and its copy", done: report.events, total });
    }
    chain.finish(pool, head, report).await?;
    copy.finish(report);
    Ok(())
}

/// The command: a list for people or JSON for programs. Exit code 3 for a discrepancy, 1 when something was not checked.
pub async fn run(shop: &Shop, json: bool) -> anyhow::Result<ExitCode> {
    let pool = postgres::connect(&shop.config.database_url, CONNECTIONS_MAX, &[])
        .await
        .context("can't connect to Postgres; is the shop up? (`daybook doctor` says more)")?;
    let master = MasterKey::parse(&shop.config.master_key).context("master_key: personal data can't be opened without it")?;
    let nats = timeout(CONNECT_TIMEOUT, stream::connect(&shop.config.nats_url)).await.ok().and_then(Result::ok);
    let subject = Subject {
        sealer: Sealer::new(pool.clone(), master),
        pool,
        nats,
        sandbox_url: Some(shop.config.payments.sandbox_url.clone()).filter(|url| !url.is_empty()),
    };
    let bar = indicatif::ProgressBar::no_length();
    bar.set_style(indicatif::ProgressStyle::with_template("{msg} {wide_bar} {percent} % {eta}")?);
    let report = verify(&subject, &|progress| {
        bar.set_length(progress.total);
        bar.set_position(progress.done);
        bar.set_message(progress.step);
    })
    .await?;
    bar.finish_and_clear();
    crate::cli::say(&if json { serde_json::to_string_pretty(&report)? + "\n" } else { told(&report)? })?;
    Ok(match (report.discrepancies.is_empty(), report.unchecked.is_empty()) {
        (false, _) => ExitCode::from(EXIT_DISCREPANCY),
        (true, false) => ExitCode::FAILURE,
        (true, true) => ExitCode::SUCCESS,
    })
}

fn told(report: &Report) -> Result<String, std::fmt::Error> {
    let Report { head, batches, events, streams, messages, rows, payments, .. } = report;
    let mut text = String::new();
    writeln!(text, "verified up to {head} in {:.1} s:", Duration::from_millis(report.duration_ms).as_secs_f64())?;
    writeln!(text, "  log          {events} events in {batches} batches, {streams} streams")?;
    writeln!(text, "  stream       {messages} messages")?;
    writeln!(text, "  read models  {rows} rows")?;
    writeln!(text, "  ledger       {payments} payments")?;
    for unchecked in &report.unchecked {
        writeln!(text, "not checked: {unchecked}")?;
    }
    if report.discrepancies.is_empty() {
        writeln!(text, "no discrepancy{}", if report.unchecked.is_empty() { "" } else { " in what was checked" })?;
        return Ok(text);
    }
    let found = report.discrepancies.len() as u64 + report.left_out;
    writeln!(text, "{found} {}:", if found == 1 { "discrepancy" } else { "discrepancies" })?;
    for Discrepancy { check, place, detail } in &report.discrepancies {
        writeln!(text, "  {:<10} {place}: {detail}", check.name())?;
    }
    if report.left_out > 0 {
        writeln!(text, "  … and {} more", report.left_out)?;
    }
    Ok(text)
}

impl Check {
    fn name(self) -> &'static str {
        match self {
            Self::Log => "log",
            Self::Stream => "stream",
            Self::Copy => "copy",
            Self::Snapshot => "snapshot",
            Self::ReadModel => "read model",
            Self::Ledger => "ledger",
        }
    }
}
