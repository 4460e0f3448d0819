//! `daybook export`: files of a shop's catalogue.

use std::io::{IsTerminal, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use clap::{Args, ValueEnum};
use futures::StreamExt;
use indicatif::ProgressBar;

use super::ShopArgs;
use super::import::Formulas;
use crate::auth::Role;
use crate::shop::Shop;

#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  daybook export products -o products.csv\n  daybook export stock --formulas raw\n  daybook export google -o feed.xml"
)]
pub struct Options {
    #[command(flatten)]
    shop: ShopArgs,
    #[arg(value_enum)]
    what: What,
    /// File to write, whole or not at all; standard output unless given.
    #[arg(short, long)]
    output: Option<PathBuf>,
    /// `escape`: what a spreadsheet would take for a formula gets an apostrophe, which an import takes off; `raw`: as it is.
    #[arg(long, value_enum, default_value_t = Formulas::Escape)]
    formulas: Formulas,
    /// Say on standard output what was written to the file.
    #[arg(long, requires = "output")]
    json: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum What {
    /// Everything that is known of products, as CSV that can be imported again.
    Products,
    /// What lies where of every variant, as CSV.
    Stock,
    /// The categories, as JSON that can be imported again.
    Categories,
    /// The locations, as JSON that can be imported again.
    Locations,
    /// What is on sale, as Google Merchant Center reads it.
    Google,
}

pub async fn run(options: Options) -> anyhow::Result<()> {
    let shop = Shop::find(&options.shop.data_dir)?;
    let formulas = if options.formulas == Formulas::Raw { "?formulas=raw" } else { "" };
    let path = match options.what {
        What::Products => format!("/v1/admin/exports/products{formulas}"),
        What::Stock => format!("/v1/admin/exports/stock{formulas}"),
        What::Categories => "/v1/admin/exports/categories".to_owned(),
        What::Locations => "/v1/admin/exports/locations".to_owned(),
        What::Google => "/v1/exports/google.xml".to_owned(),
    };
    let token = shop.token(Role::Owner)?;
    let response = reqwest::Client::new().get(format!("{}{path}", shop.url)).bearer_auth(token).send().await;
    let response = response.with_context(|| format!("no shop answers at {}", shop.url))?;
    if !response.status().is_success() {
        bail!("the shop refuses the export: {}", crate::import::reason(response).await);
    }
    let bytes = match &options.output {
        None => write(response, &mut std::io::stdout().lock(), std::io::stdout().is_terminal()).await?,
        Some(path) => write_file(response, path).await?,
    };
    if options.json {
        println!("{}", serde_json::json!({ "file": options.output, "bytes": bytes }));
    }
    Ok(())
}

/// A file that is not whole never has the name of one that is.
async fn write_file(response: reqwest::Response, path: &Path) -> anyhow::Result<u64> {
    let partial = PathBuf::from(format!("{}.partial", path.display()));
    let mut file = std::fs::File::create(&partial).with_context(|| format!("can't write {}", partial.display()))?;
    let written = write(response, &mut file, false).await;
    if written.is_ok() {
        file.sync_all()?;
        std::fs::rename(&partial, path).with_context(|| format!("can't write {}", path.display()))?;
    } else {
        std::fs::remove_file(&partial)?;
    }
    written
}

async fn write(response: reqwest::Response, output: &mut dyn Write, is_terminal: bool) -> anyhow::Result<u64> {
    let bar = if is_terminal { ProgressBar::hidden() } else { ProgressBar::no_length() };
    bar.set_style(indicatif::ProgressStyle::with_template("{bytes} exported, {bytes_per_sec}")?);
    let mut pieces = response.bytes_stream();
    let mut bytes = 0;
    while let Some(piece) = pieces.next().await {
        let piece = piece.context("the export broke off and is not whole; run it again")?;
        match output.write_all(&piece) {
            // Whoever reads our output has had enough: `daybook export products | head`.
            Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => break,
            written => written?,
        }
        bytes += piece.len() as u64;
        bar.set_position(bytes);
    }
    output.flush()?;
    bar.finish_and_clear();
    Ok(bytes)
}
