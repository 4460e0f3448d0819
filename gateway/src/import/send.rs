//! The command line's side: streams a file to a shop, shows how far it is, and waits until everybody can see it.

use std::path::Path;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use commands::answer::Position;
use futures::StreamExt;
use indicatif::{ProgressBar, ProgressStyle};
use serde::Serialize;
use tokio_util::io::ReaderStream;

use super::tree::ListOutcome;
use super::{Format, Progress, Request, RowError};
use crate::auth::Role;
use crate::http::ops::StatusBody;
use crate::shop::Shop;

/// Bytes of the file that are sent at a time.
const PIECE_BYTES: usize = 64 << 10;
/// The longest line of an answer.
const LINE_BYTES_MAX: usize = 4 << 20;
/// How often the shop is asked whether its read models have come so far.
const POLL_INTERVAL: Duration = Duration::from_millis(50);
/// How often the command line shows that it still works.
const SPINNER_INTERVAL: Duration = Duration::from_millis(100);
/// Longest that no read model moves before we give up.
const STALLED_TIMEOUT: Duration = Duration::from_mins(1);
/// Bad rows that the table shows; `--json` has all that the shop tells.
const ERRORS_SHOWN_MAX: usize = 50;

/// What an import came to.
#[derive(Debug, Serialize)]
struct Summary {
    #[serde(flatten)]
    progress: Progress,
    dry_run: bool,
    /// From the start until read models and search had everything.
    seconds: f64,
    rows_per_second: f64,
}

/// Imports a file; exit code 1 when a row was refused.
pub async fn send(shop: &Shop, file: &Path, request: &Request, json: bool) -> anyhow::Result<ExitCode> {
    let started = Instant::now();
    let opened = tokio::fs::File::open(file).await.with_context(|| format!("can't read {}", file.display()))?;
    let about = opened.metadata().await?;
    ensure!(about.is_file(), "{} is not a file", file.display());
    let bar = ProgressBar::new(about.len());
    let style = "{bar:32} {bytes}/{total_bytes}  {msg}";
    bar.set_style(ProgressStyle::with_template(style).unwrap_or_else(|_| ProgressStyle::default_bar()));
    // A shop that takes its time leaves our connection full: no reason to give it up, as this setting would after 30 s.
    let client = reqwest::Client::builder().tcp_user_timeout(None).build()?;
    let token = shop.token(Role::Owner)?;
    let sent = bar.clone();
    let pieces = ReaderStream::with_capacity(opened, PIECE_BYTES).inspect(move |piece| {
        if let Ok(piece) = piece {
            sent.inc(piece.len() as u64);
        }
    });
    let mut parameters = vec![
        ("currency", request.currency.as_str()),
        ("stock", if request.overwrite_stock { "overwrite" } else { "create" }),
        ("dry_run", if request.dry_run { "true" } else { "false" }),
        ("formulas", if request.raw_cells { "raw" } else { "escape" }),
    ];
    parameters.extend(request.language.as_deref().map(|language| ("language", language)));
    match &request.format {
        Format::Shopify => {}
        Format::WooCommerce => parameters.push(("format", "woocommerce")),
        Format::Mapped(text) => parameters.push(("map", text)),
    }
    let url = reqwest::Url::parse_with_params(&format!("{}/v1/admin/imports", shop.url), parameters)?;
    let response = client
        .post(url)
        .bearer_auth(&token)
        .header("content-type", "text/csv")
        .body(reqwest::Body::wrap_stream(pieces))
        .send()
        .await
        .map_err(|error| {
            let answers = !error.is_connect();
            anyhow::Error::new(error).context(if answers {
                format!("the shop at {} did not take the whole file; what went in stays as it is, and its log says why", shop.url)
            } else {
                format!("no shop answers at {}", shop.url)
            })
        })?;
    if !response.status().is_success() {
        bail!("the shop refuses the import: {}", reason(response).await);
    }
    let mut progress = read_progress(response, &bar, started).await?;
    if progress.done && !request.dry_run {
        bar.set_message("waiting for read models and search");
        if let Some(position) = &progress.position {
            wait_until_seen(&client, shop, &token, position.parse()?, &bar).await?;
        }
    }
    bar.finish_and_clear();
    progress.errors.sort_by_key(|error| error.line);
    let seconds = started.elapsed().as_secs_f64();
    let summary = Summary { rows_per_second: per_second(progress.rows, seconds), progress, dry_run: request.dry_run, seconds };
    if json {
        println!("{}", serde_json::to_string(&summary)?);
    } else {
        print_summary(&summary);
    }
    let Progress { done, refused, problem, .. } = summary.progress;
    match problem {
        Some(problem) => bail!("{} ({})", problem.detail, problem.code),
        None if !done => bail!("the answer broke off; import the same file again, what went in already stays as it is"),
        None => Ok(if refused == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }),
    }
}

/// Imports a list of categories or locations; exit code 1 when an object was refused.
pub async fn send_list(shop: &Shop, what: &str, file: &Path, parameters: &[(&str, &str)], json: bool) -> anyhow::Result<ExitCode> {
    let started = Instant::now();
    let list = tokio::fs::read(file).await.with_context(|| format!("can't read {}", file.display()))?;
    let bar = ProgressBar::new_spinner().with_message(format!("importing {what}"));
    bar.enable_steady_tick(SPINNER_INTERVAL);
    let (client, token) = (reqwest::Client::new(), shop.token(Role::Owner)?);
    let url = reqwest::Url::parse_with_params(&format!("{}/v1/admin/imports/{what}", shop.url), parameters)?;
    let request = client.post(url).bearer_auth(&token).header("content-type", "application/json").body(list);
    let response = request.send().await.with_context(|| format!("no shop answers at {}", shop.url))?;
    if !response.status().is_success() {
        bail!("the shop refuses the import: {}", reason(response).await);
    }
    let outcome: ListOutcome = response.json().await.context("the shop's answer is not what this program knows")?;
    wait_until_seen(&client, shop, &token, outcome.position.parse()?, &bar).await?;
    bar.finish_and_clear();
    if json {
        println!("{}", serde_json::to_string(&outcome)?);
    } else {
        println!("items      {:>9}", outcome.items);
        println!("created    {:>9}", outcome.created);
        println!("changed    {:>9}", outcome.changed);
        println!("unchanged  {:>9}", outcome.unchanged);
        println!("refused    {:>9}", outcome.refused);
        println!("time       {:>9.1} s", started.elapsed().as_secs_f64());
        for error in outcome.errors.iter().take(ERRORS_SHOWN_MAX) {
            println!("item {} {}: {}", error.item, error.id, error.reason);
        }
    }
    Ok(if outcome.refused == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Follows the answer to its last line; the errors of all lines are gathered in it.
async fn read_progress(response: reqwest::Response, bar: &ProgressBar, started: Instant) -> anyhow::Result<Progress> {
    let mut pieces = response.bytes_stream();
    let mut buffer: Vec<u8> = Vec::new();
    let mut errors: Vec<RowError> = Vec::new();
    let mut newest = Progress::default();
    while let Some(piece) = pieces.next().await {
        buffer.extend_from_slice(&piece.context("the answer broke off; import the same file again")?);
        while let Some(end) = buffer.iter().position(|byte| *byte == b'\n') {
            let line: Vec<u8> = buffer.drain(..=end).collect();
            newest = serde_json::from_slice(&line).context("the shop's answer is not what this program knows")?;
            errors.append(&mut newest.errors);
            bar.set_message(format!("{} rows, {:.0} rows/s", newest.rows, per_second(newest.rows, started.elapsed().as_secs_f64())));
        }
        if buffer.len() > LINE_BYTES_MAX {
            bail!("the shop's answer is not what this program knows: a line has more than {LINE_BYTES_MAX} bytes");
        }
    }
    Ok(Progress { errors, ..newest })
}

/// Waits until every read model and the search index have what was written.
async fn wait_until_seen(client: &reqwest::Client, shop: &Shop, token: &str, position: Position, bar: &ProgressBar) -> anyhow::Result<()> {
    let mut slowest_before = 0;
    let mut moved_at = Instant::now();
    loop {
        let response = client.get(format!("{}/v1/ops/status", shop.url)).bearer_auth(token).send().await?;
        if !response.status().is_success() {
            bail!("the import is done, but the shop does not say how far its read models are: {}", reason(response).await);
        }
        let status: StatusBody = response.json().await?;
        let behind = status.projections.iter().filter(|projection| projection.checkpoint < position.position);
        let Some(slowest) = behind.min_by_key(|projection| projection.checkpoint) else {
            return Ok(());
        };
        if slowest.checkpoint != slowest_before {
            slowest_before = slowest.checkpoint;
            moved_at = Instant::now();
        }
        if moved_at.elapsed() > STALLED_TIMEOUT {
            bail!("the import is done, but {} stays at {} of {}", slowest.name, slowest.checkpoint, position.position);
        }
        bar.set_message(format!("waiting for {}: {} of {}", slowest.name, slowest.checkpoint, position.position));
        tokio::time::sleep(POLL_INTERVAL).await;
    }
}

/// The sentence of a problem document.
pub async fn reason(response: reqwest::Response) -> String {
    let status = response.status();
    let body: serde_json::Value = response.json().await.unwrap_or_default();
    body["detail"].as_str().map_or_else(|| status.to_string(), str::to_owned)
}

/// The other rows of a refused product, ranges of them as such.
fn fell_with_it(lines: &[u64]) -> String {
    if lines.is_empty() {
        return String::new();
    }
    let mut ranges: Vec<(u64, u64)> = Vec::new();
    for line in lines {
        match ranges.last_mut() {
            Some((_, last)) if *last + 1 == *line => *last = *line,
            _ => ranges.push((*line, *line)),
        }
    }
    let written = |(first, last): &(u64, u64)| if first == last { first.to_string() } else { format!("{first}-{last}") };
    format!(" (not taken with it: line {})", ranges.iter().map(written).collect::<Vec<_>>().join(", "))
}

#[expect(clippy::cast_precision_loss, reason = "a speed for people")]
fn per_second(rows: u64, seconds: f64) -> f64 {
    (rows as f64 / seconds.max(0.001)).round()
}

fn print_summary(summary: &Summary) {
    let progress = &summary.progress;
    let would = if summary.dry_run { " (dry run: nothing was done)" } else { "" };
    println!("rows       {:>9}{would}", progress.rows);
    println!("created    {:>9} products", progress.created);
    println!("changed    {:>9} products", progress.changed);
    println!("unchanged  {:>9} products", progress.unchanged);
    println!("refused    {:>9} rows", progress.refused);
    println!("events     {:>9}", progress.events);
    println!("time       {:>9.1} s, {:.0} rows/s", summary.seconds, summary.rows_per_second);
    if !progress.ignored_columns.is_empty() {
        println!("columns without a meaning here: {}", progress.ignored_columns.join(", "));
    }
    for error in progress.errors.iter().take(ERRORS_SHOWN_MAX) {
        let column = error.column.as_deref().map(|column| format!(", {column}")).unwrap_or_default();
        println!("line {}{column}: {}{}", error.line, error.reason, fell_with_it(&error.lines_refused_too));
    }
    let told = progress.errors.len() as u64 + progress.errors_omitted;
    let shown = progress.errors.len().min(ERRORS_SHOWN_MAX) as u64;
    if told > shown {
        println!("and {} more", told - shown);
    }
}
