//! `daybook bench search`: how fast a large catalogue is indexed from the log and searched over HTTP, what it takes of disk and
//! memory, and how soon a search shows that something was sold out, has another price or is gone.
//!
//! The catalogue is generated ([`catalogue`] says how) and written to a log through the writer. The shop is a `daybook up` of
//! its own with the default configuration; its shoppers are here, and spend processor time of the same machine.

mod catalogue;
mod filling;
mod freshness;
mod queries;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, ensure};
use serde::Serialize;

use super::http::process::Processes;
use super::http::{Memory, OwnShop};
use super::report;
use crate::shop::{RunFile, Shop};
use catalogue::Catalogue;
pub use filling::Filled;
pub use freshness::{Freshness, Seen};
pub use queries::Row;

/// The deepest page that is measured must be there.
const PRODUCTS_MIN: u64 = 11_000;

#[derive(Debug, Clone)]
pub struct Options {
    /// Sizes of the catalogue.
    pub products: Vec<u64>,
    /// Length of each measurement.
    pub seconds: f64,
    /// Measurements of each kind of question; the median counts.
    pub rounds: usize,
    pub clients: Vec<usize>,
    /// Changes a second while it is measured how soon one is seen; 0 leaves that out.
    pub updates: u32,
    pub json: bool,
}

#[derive(Debug, Serialize)]
pub struct Report {
    pub rounds: usize,
    pub seconds: f64,
    pub sizes: Vec<Size>,
}

/// Everything of one size of the catalogue.
#[derive(Debug, Serialize)]
pub struct Size {
    pub products: u64,
    pub filled: Filled,
    /// From the start of the program on the filled folder to a shop that is ready.
    pub start_s: f64,
    pub questions: Vec<Row>,
    pub memory: Vec<Memory>,
    pub freshness: Option<Freshness>,
}

pub async fn run(options: Options) -> anyhow::Result<()> {
    ensure!(options.products.iter().all(|products| *products >= PRODUCTS_MIN), "a catalogue has at least {PRODUCTS_MIN} products here");
    let catalogue = Catalogue::new()?;
    let mut sizes = Vec::new();
    for &products in &options.products {
        eprintln!("  {products} products");
        let folder = std::env::temp_dir().join(format!("daybook-bench-{}", infra::clock::new_id().simple()));
        let size = measure(&options, &catalogue, products, &folder).await;
        sizes.push(size.with_context(|| format!("the shop's folder is left for a look: {}", folder.display()))?);
        std::fs::remove_dir_all(&folder)?;
    }
    let report = Report { rounds: options.rounds, seconds: options.seconds, sizes };
    report::print(&report, options.json, report::search)
}

async fn measure(options: &Options, catalogue: &Arc<Catalogue>, products: u64, folder: &Path) -> anyhow::Result<Size> {
    let filled = filling::fill(folder, catalogue, products).await?;
    eprintln!("  filled in {:.0} s; the shop starts", filled.seconds);
    let (own, start_s) = OwnShop::start(folder, false).await?;
    let shop = Shop::find(folder)?;
    let found = queries::fetch_json(&queries::client()?, &queries::list(&shop.url, &[("limit", "1")])?).await?;
    ensure!(found["total"] == products, "the shop shows {} of {products} products", found["total"]);
    let processes = Processes::new(&RunFile::read(folder)?);
    let idle = processes.usage()?;
    let round = Duration::from_secs_f64(options.seconds);
    let questions = queries::measure(&shop.url, catalogue, products, &options.clients, options.rounds, round).await?;
    let loaded = processes.usage()?;
    let freshness = match options.updates {
        0 => None,
        updates => {
            eprintln!("  how soon a change is seen, under {updates} a second");
            Some(freshness::measure(&shop, catalogue, products, updates).await?)
        }
    };
    drop(own);
    let memory = idle.into_iter().zip(loaded);
    let memory = memory.map(|(idle, loaded)| Memory { process: idle.name, idle_mb: idle.memory_mb, loaded_mb: loaded.memory_mb }).collect();
    Ok(Size { products, filled, start_s, questions, memory, freshness })
}
