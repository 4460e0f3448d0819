//! `daybook projections` and `daybook rebuild`.

use std::fmt::Write;
use std::time::Duration;

use anyhow::{Context, bail};
use indicatif::{ProgressBar, ProgressStyle};
use infra::postgres;
use serde::de::DeserializeOwned;

use crate::auth::Role;
use crate::http::ops::{self, ActionBody, ProjectionStatus, StatusBody};
use crate::shop::Shop;

use super::say;

const CONNECTIONS_MAX: u32 = 1;
/// Longest wait for an answer of the shop.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);
/// How often a rebuild is looked at.
const WATCH_INTERVAL: Duration = Duration::from_millis(250);

/// Asks the shop; where it does not answer, the database, which knows all but the search replica.
pub async fn show(shop: &Shop, json: bool) -> anyhow::Result<()> {
    let projections = match status(shop).await {
        Ok(status) => status.projections,
        Err(error) => {
            eprintln!("{error:#}; from the database, without the search replica:");
            let pool = postgres::connect(&shop.config.database_url, CONNECTIONS_MAX, &[])
                .await
                .context("can't connect to Postgres either; `daybook doctor` says more")?;
            ops::projections(&pool, None).await?
        }
    };
    if json {
        say(&(serde_json::to_string_pretty(&projections)? + "\n"))?;
    } else {
        say(&table(&projections))?;
    }
    Ok(())
}

/// Has a read model made anew; with `watch` returns when it has caught up.
pub async fn rebuild(shop: &Shop, name: &str, watch: bool) -> anyhow::Result<()> {
    let request = client()?.post(format!("{}/v1/ops/projections/{name}/rebuild", shop.url));
    let begun: ActionBody = answer(shop, request).await?;
    if !watch {
        println!("{name} is being made anew from {} events; `daybook projections` shows how far it is", begun.head_position);
        return Ok(());
    }
    let bar = ProgressBar::new(u64::try_from(begun.head_position)?);
    bar.set_style(ProgressStyle::with_template("{msg} {wide_bar} {pos}/{len} events, {per_sec}, {eta}")?);
    bar.set_message(name.to_owned());
    let parked = loop {
        let status = status(shop).await?;
        let found = status.projections.iter().find(|projection| projection.name == name);
        let found = found.with_context(|| format!("the shop has no read model {name} any more"))?;
        bar.set_position(u64::try_from(found.checkpoint.min(begun.head_position))?);
        if found.checkpoint >= begun.head_position && found.status != "rebuilding" {
            break found.parked;
        }
        if found.status == "paused" {
            bar.abandon();
            bail!("{name} is paused: resume it with POST /v1/ops/projections/{name}/resume");
        }
        tokio::time::sleep(WATCH_INTERVAL).await;
    };
    bar.finish_and_clear();
    println!("{name} is made anew up to position {}, in {:.1} s", begun.head_position, bar.elapsed().as_secs_f64());
    if parked > 0 {
        bail!("{parked} events could not be applied: `daybook parked` lists them and why");
    }
    Ok(())
}

async fn status(shop: &Shop) -> anyhow::Result<StatusBody> {
    answer(shop, client()?.get(format!("{}/v1/ops/status", shop.url))).await
}

pub(super) fn client() -> anyhow::Result<reqwest::Client> {
    Ok(reqwest::Client::builder().timeout(ANSWER_TIMEOUT).build()?)
}

pub(super) async fn answer<T: DeserializeOwned>(shop: &Shop, request: reqwest::RequestBuilder) -> anyhow::Result<T> {
    let response = request.bearer_auth(shop.token(Role::Operator)?).send().await;
    let response = response.with_context(|| format!("the shop at {} does not answer", shop.url))?;
    if response.status().is_success() {
        return Ok(response.json().await?);
    }
    let status = response.status();
    let problem: serde_json::Value = response.json().await.unwrap_or_default();
    bail!("{}", problem["detail"].as_str().map_or_else(|| format!("the shop answers {status}"), str::to_owned))
}

/// Columns as wide as their widest entry; numbers to the right.
fn table(projections: &[ProjectionStatus]) -> String {
    let mut rows = vec![["name", "version", "status", "checkpoint", "lag events", "lag ms", "parked"].map(str::to_owned)];
    rows.extend(projections.iter().map(|p| {
        let ProjectionStatus { name, version, status, checkpoint, lag_events, lag_ms, parked, .. } = p;
        let numbers = [checkpoint, lag_events, lag_ms, parked].map(i64::to_string);
        let [checkpoint, lag_events, lag_ms, parked] = numbers;
        [name.clone(), version.to_string(), status.clone(), checkpoint, lag_events, lag_ms, parked]
    }));
    let widths: Vec<usize> = (0..7).map(|column| rows.iter().map(|row| row[column].len()).max().unwrap_or(0)).collect();
    rows.iter().fold(String::new(), |mut text, row| {
        for (column, (cell, width)) in row.iter().zip(&widths).enumerate() {
            let gap = if column == 0 { "" } else { "  " };
            let is_word = column == 0 || column == 2;
            let _infallible = if is_word { write!(text, "{gap}{cell:<width$}") } else { write!(text, "{gap}{cell:>width$}") };
        }
        text + "\n"
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_aligned() {
        let product = ProjectionStatus {
            name: "product".to_owned(),
            version: 1,
            status: "live".to_owned(),
            checkpoint: 120_000,
            lag_events: 3,
            lag_ms: 12,
            events_per_second: 0,
            partitions: Vec::new(),
            parked: 0,
        };
        let expected = "name     version  status  checkpoint  lag events  lag ms  parked\n\
                        product        1  live        120000           3      12       0\n";
        assert_eq!(table(&[product]), expected);
    }
}
