//! `daybook bench http`: shoppers who search, fill a cart and pay, as fast as they are answered or at an even pace; how soon
//! a write is seen; and what a sale costs each process.
//!
//! The shop is a `daybook up` of its own with the default configuration, as a stranger would start it; its shoppers are
//! here, and spend processor time of the same machine.

pub(super) mod process;
mod shopper;

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use serde::Serialize;
use tokio::time::{Instant, sleep};

use super::measure::{Measured, drive};
use super::report;
use crate::auth::Role;
use crate::shop::{RunFile, Shop};
use process::{Processes, Usage};
use shopper::{STEPS, Shoppers};

/// Longest wait for the shop to be ready: it initialises two servers, or reads what it knows of a million products.
const READY_WAIT: Duration = Duration::from_mins(5);
const POLL: Duration = Duration::from_millis(10);
/// Shoppers that an even pace may have in the shop at once; whoever comes on top is counted as turned away.
const OPEN_LOOP_MAX: usize = 512;
/// Writes whose way to a reader is measured.
const SIGHTINGS: usize = 200;
/// Shoppers who buy while it is measured how soon a write is seen.
const SIGHTING_CLIENTS: usize = 4;

#[derive(Debug, Clone)]
pub struct Options {
    /// A catalogue to sell (Shopify CSV); the demo catalogue unless given.
    pub products: Option<PathBuf>,
    pub seconds: f64,
    pub clients: Vec<usize>,
    /// Shoppers a second of the open loop.
    pub rates: Vec<u32>,
    pub json: bool,
}

#[derive(Debug, Serialize)]
pub struct Report {
    pub products: usize,
    /// From the start of the program on an empty folder to a shop that is ready, and again on its data.
    pub start_empty_s: f64,
    pub start_again_s: f64,
    pub closed: Vec<Load>,
    pub open: Vec<Load>,
    pub reads: Vec<Reads>,
    /// From a write's answer to the answer of a read that has seen it, while others buy.
    pub seen_by_read_model: Measured,
    pub seen_by_search: Measured,
    pub memory: Vec<Memory>,
}

/// Shoppers who buy, whole flows.
#[derive(Debug, Serialize)]
pub struct Load {
    /// Shoppers at once, or shoppers a second.
    pub clients: Option<usize>,
    pub rate: Option<u32>,
    pub flow: Measured,
    pub steps: Vec<(&'static str, Measured)>,
    /// Shoppers who were not let in, since too many were in the shop.
    pub turned_away: u64,
    /// Milliseconds of processor time an order, of each process.
    pub cpu_ms_per_order: Vec<(String, f64)>,
}

#[derive(Debug, Serialize)]
pub struct Reads {
    pub clients: usize,
    pub detail: Measured,
    pub search: Measured,
}

/// Megabytes of a process, shared pages divided among those who share them.
#[derive(Debug, Serialize)]
pub struct Memory {
    pub process: String,
    pub idle_mb: f64,
    pub loaded_mb: f64,
}

/// A shop of our own; ended and removed with the value.
pub(super) struct OwnShop {
    folder: PathBuf,
    child: Child,
}

impl OwnShop {
    /// Starts the program on a folder; answers how long it took to be ready.
    pub(super) async fn start(folder: &Path, demo: bool) -> anyhow::Result<(Self, f64)> {
        std::fs::create_dir_all(folder).with_context(|| format!("can't make {}", folder.display()))?;
        let log = std::fs::File::create(folder.join("bench.log"))?;
        let began = Instant::now();
        let mut command = Command::new(std::env::current_exe()?);
        command.args(["up", "--port", "0", "--data-dir"]).arg(folder).env_remove("DATABASE_URL").env_remove("NATS_URL");
        if demo {
            command.arg("--demo");
        }
        let child = command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log).spawn()?;
        let mut shop = Self { folder: folder.to_owned(), child };
        let http = reqwest::Client::new();
        while began.elapsed() < READY_WAIT {
            if let Ok(run) = RunFile::read(folder)
                && run.pid == shop.child.id()
                && http.get(format!("{}/readyz", run.url)).send().await.is_ok_and(|answer| answer.status().is_success())
            {
                return Ok((shop, began.elapsed().as_secs_f64()));
            }
            if let Some(status) = shop.child.try_wait()? {
                bail!("the shop ended with {status}: {}", std::fs::read_to_string(folder.join("bench.log"))?);
            }
            sleep(POLL).await;
        }
        bail!("the shop is not ready after {READY_WAIT:?}; its log is {}", folder.join("bench.log").display())
    }

    /// Imports a catalogue by the program's own command.
    pub(super) fn import(&self, file: &Path) -> anyhow::Result<()> {
        let status = Command::new(std::env::current_exe()?)
            .args(["import", "products", "--data-dir"])
            .arg(&self.folder)
            .arg(file)
            .env_remove("DATABASE_URL")
            .env_remove("NATS_URL")
            .stdout(Stdio::null())
            .status()?;
        ensure!(status.success(), "can't import {}: {status}", file.display());
        Ok(())
    }

    fn stop(&mut self) -> anyhow::Result<()> {
        let pid = self.child.id().to_string();
        ensure!(Command::new("sh").args(["-c", &format!("kill -TERM {pid}")]).status()?.success(), "can't stop the shop");
        self.child.wait()?;
        Ok(())
    }
}

impl Drop for OwnShop {
    fn drop(&mut self) {
        if matches!(self.child.try_wait(), Ok(None)) {
            let _stopped = self.stop();
        }
    }
}

pub async fn run(options: Options) -> anyhow::Result<()> {
    let folder = std::env::temp_dir().join(format!("daybook-bench-{}", infra::clock::new_id().simple()));
    let measured = measure(&options, &folder).await;
    let report = measured.with_context(|| format!("the shop's folder is left for a look: {}", folder.display()))?;
    std::fs::remove_dir_all(&folder)?;
    report::print(&report, options.json, report::http)
}

async fn measure(options: &Options, folder: &Path) -> anyhow::Result<Report> {
    let (mut own, start_empty_s) = OwnShop::start(folder, options.products.is_none()).await?;
    if let Some(file) = &options.products {
        eprintln!("  importing {}", file.display());
        own.import(file)?;
    }
    own.stop()?;
    let (own, start_again_s) = OwnShop::start(folder, false).await?;
    let shop = Shop::find(folder)?;
    let run = RunFile::read(folder)?;
    let processes = Processes::new(&run);
    let shoppers = Shoppers::new(&shop.url, shop.token(Role::Owner)?).await?;
    let idle = processes.usage()?;

    let length = Duration::from_secs_f64(options.seconds);
    let (mut closed, mut open, mut reads) = (Vec::new(), Vec::new(), Vec::new());
    for &clients in &options.clients {
        eprintln!("  {clients} shoppers buy");
        let before = processes.usage()?;
        let buying = shoppers.clone();
        let flow = drive(clients, length, move |_, number| {
            let shoppers = buying.clone();
            async move { shoppers.buy(number).await.map(|()| 0) }
        })
        .await?;
        closed.push(load(&shoppers, Some(clients), None, flow, 0, &processes.usage()?, &before));
    }
    for &rate in &options.rates {
        eprintln!("  {rate} shoppers a second come in");
        let before = processes.usage()?;
        let (flow, turned_away) = open_loop(&shoppers, rate, length).await?;
        open.push(load(&shoppers, None, Some(rate), flow, turned_away, &processes.usage()?, &before));
    }
    let loaded = processes.usage()?;
    for &clients in &options.clients {
        eprintln!("  {clients} shoppers look around");
        let (looking, searching) = (shoppers.clone(), shoppers.clone());
        let detail = drive(clients, length, move |_, number| {
            let shoppers = looking.clone();
            async move { shoppers.detail(number).await.map(|()| 0) }
        });
        let detail = detail.await?;
        let search = drive(clients, length, move |_, number| {
            let shoppers = searching.clone();
            async move { shoppers.search(number).await.map(|()| 0) }
        });
        reads.push(Reads { clients, detail, search: search.await? });
    }
    eprintln!("  how soon a write is seen");
    let (seen_by_read_model, seen_by_search) = sightings(&shoppers).await?;
    let memory = idle.into_iter().zip(loaded);
    let memory = memory.map(|(idle, loaded)| Memory { process: idle.name, idle_mb: idle.memory_mb, loaded_mb: loaded.memory_mb }).collect();
    let products = shoppers.products();
    drop(own);
    Ok(Report { products, start_empty_s, start_again_s, closed, open, reads, seen_by_read_model, seen_by_search, memory })
}

fn load(
    shoppers: &Shoppers,
    clients: Option<usize>,
    rate: Option<u32>,
    flow: Measured,
    turned_away: u64,
    after: &[Usage],
    before: &[Usage],
) -> Load {
    #[expect(clippy::cast_precision_loss, reason = "counts stay far below 2^52")]
    let orders = flow.count.max(1) as f64;
    let cpu = before.iter().zip(after).map(|(before, after)| (after.name.clone(), (after.cpu_ms - before.cpu_ms) / orders));
    let length = Duration::from_secs_f64(orders / flow.per_second);
    let steps = STEPS.iter().copied().zip(shoppers.take_steps()).map(|(name, took)| (name, Measured::of(took, 0, length)));
    Load { clients, rate, flow, steps: steps.collect(), turned_away, cpu_ms_per_order: cpu.collect() }
}

/// Shoppers come at an even pace, whether those before them are served or not; each is timed from when it should have come.
async fn open_loop(shoppers: &Shoppers, rate: u32, length: Duration) -> anyhow::Result<(Measured, u64)> {
    let (began, gap) = (Instant::now(), Duration::from_secs(1) / rate);
    let (mut took, mut turned_away, mut number) = (Vec::new(), 0, 0_u32);
    let mut inside = tokio::task::JoinSet::new();
    while gap * number < length {
        let due = began + gap * number;
        tokio::time::sleep_until(due).await;
        if inside.len() < OPEN_LOOP_MAX {
            let shoppers = shoppers.clone();
            inside.spawn(async move {
                shoppers.buy(u64::from(number)).await?;
                anyhow::Ok(u32::try_from(due.elapsed().as_micros()).unwrap_or(u32::MAX))
            });
        } else {
            turned_away += 1;
        }
        number += 1;
        while let Some(done) = inside.try_join_next() {
            took.push(done??);
        }
    }
    while let Some(done) = inside.join_next().await {
        took.push(done??);
    }
    Ok((Measured::of(took, 0, began.elapsed()), turned_away))
}

/// Goods come in one product after the other, and a product page and a search are asked for with the write's token.
async fn sightings(shoppers: &Shoppers) -> anyhow::Result<(Measured, Measured)> {
    let stop = infra::task::CancellationToken::new();
    let mut buying = tokio::task::JoinSet::new();
    for client in 0..SIGHTING_CLIENTS {
        let (shoppers, stop) = (shoppers.clone(), stop.clone());
        buying.spawn(async move {
            let mut number = client as u64;
            while !stop.is_cancelled() {
                shoppers.buy(number).await?;
                number += SIGHTING_CLIENTS as u64;
            }
            anyhow::Ok(())
        });
    }
    let (mut read_model, mut search) = (Vec::new(), Vec::new());
    let began = Instant::now();
    for number in 0..SIGHTINGS as u64 {
        read_model.push(shoppers.seen_by_read_model(number).await?);
        search.push(shoppers.seen_by_search(number).await?);
    }
    stop.cancel();
    while let Some(done) = buying.join_next().await {
        done??;
    }
    shoppers.take_steps();
    Ok((Measured::of(read_model, 0, began.elapsed()), Measured::of(search, 0, began.elapsed())))
}
