//! The command line: one subcommand, one function; tables for people, `--json` for programs.
//!
//! Exit codes: 0 ok, 1 failed, 2 usage, 3 found a discrepancy.

use std::collections::BTreeSet;
use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::builder::PossibleValuesParser;
use clap::{Args, Parser, Subcommand};

use crate::auth::Role;
use crate::roles;
use crate::shop::{self, Shop};

mod events;
mod export;
mod import;
mod parked;
mod projections;
mod tokens;

/// The event-sourced commerce engine.
#[derive(Debug, Parser)]
#[command(
    name = "daybook",
    version,
    propagate_version = true,
    after_help = "Examples:\n  daybook up --demo\n  daybook import products catalogue.csv\n  daybook events --follow --context order"
)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run everything on this machine: private Postgres and NATS, all roles, the sandbox payment provider.
    #[command(after_help = "Example:\n  daybook up --demo --port 8080")]
    Up {
        #[command(flatten)]
        shop: ShopArgs,
        /// Port of the shop; everything else takes free ports.
        #[arg(long, default_value_t = 8080)]
        port: u16,
        /// Fill an empty shop with the demo catalogue.
        #[arg(long)]
        demo: bool,
    },
    /// Run some roles against DATABASE_URL and NATS_URL.
    #[command(after_help = "Example:\n  DATABASE_URL=… NATS_URL=… daybook serve --roles gateway,commands,relay,projector,search,reactor")]
    Serve {
        /// Which roles, separated by commas.
        #[arg(long, value_delimiter = ',', required = true)]
        roles: Vec<roles::Role>,
        /// Configuration file.
        #[arg(long, default_value = None)]
        config: Option<PathBuf>,
    },
    /// Bring the database to the schema that this program needs.
    Migrate {
        #[command(flatten)]
        shop: ShopArgs,
    },
    /// Bring data in.
    Import {
        #[command(subcommand)]
        what: import::Import,
    },
    /// Write the catalogue or its stock as CSV, or what is on sale as a feed.
    Export(export::Options),
    /// Print the event log, as stored, one `CloudEvent` a line.
    #[command(
        after_help = "Examples:\n  daybook events --after 100 --context order\n  daybook events --follow --type OrderPlaced -o orders.ndjson"
    )]
    Events(events::Options),
    /// Print a bearer token.
    #[command(after_help = "Example:\n  curl -H \"Authorization: Bearer $(daybook token --role owner)\" localhost:8080/v1/ops/status")]
    Token {
        #[command(flatten)]
        shop: ShopArgs,
        #[arg(long)]
        role: Role,
        /// Opaque id of who will use it.
        #[arg(long, default_value = "cli")]
        subject: String,
        /// How long it lives: 30m, 12h, 7d.
        #[arg(long, default_value = "12h")]
        ttl: String,
    },
    /// Check that the log is whole, the stream its copy, and every read model its fold; exit code 3 if not.
    Verify {
        #[command(flatten)]
        shop: ShopArgs,
        #[arg(long)]
        json: bool,
    },
    /// Show the read models: how far each is, how far behind.
    Projections {
        #[command(flatten)]
        shop: ShopArgs,
        #[arg(long)]
        json: bool,
    },
    /// List the events that read models could not apply; try one again, or pass it over.
    #[command(after_help = "Examples:\n  daybook parked\n  daybook parked --retry order:1712\n  daybook parked --discard order:1712")]
    Parked {
        #[command(flatten)]
        shop: ShopArgs,
        /// Apply this event and those of its stream behind it, after what it failed on was mended.
        #[arg(long, value_name = "ID", conflicts_with = "discard")]
        retry: Option<String>,
        /// Pass this event over and apply those behind it; `verify` then names the row, and a rebuild tries it again.
        #[arg(long, value_name = "ID")]
        discard: Option<String>,
        #[arg(long)]
        json: bool,
    },
    /// Make a read model anew from the log.
    Rebuild {
        #[command(flatten)]
        shop: ShopArgs,
        #[arg(value_parser = rebuildable())]
        projection: String,
        /// Show progress until it has caught up.
        #[arg(long)]
        watch: bool,
    },
    /// Print the configuration as it is understood, or only check it.
    Config {
        /// Configuration file.
        #[arg(long)]
        config: Option<PathBuf>,
        #[arg(long)]
        check: bool,
    },
    /// Check this machine and the shop on it: programs, settings, durability.
    Doctor {
        #[command(flatten)]
        shop: ShopArgs,
        #[arg(long)]
        json: bool,
    },
    /// Measure this machine: what the engine reaches, beside what others reach on the same servers.
    Bench {
        #[command(subcommand)]
        what: Bench,
    },
    /// Run the sandbox payment provider alone.
    SandboxPsp {
        #[arg(long, default_value_t = 0)]
        port: u16,
        #[arg(long, default_value = ".daybook/sandbox-psp")]
        data_dir: PathBuf,
        /// Where it sends its webhooks.
        #[arg(long)]
        webhook_url: String,
        /// `whsec_` and a key in base64.
        #[arg(long)]
        webhook_secret: String,
    },
}

#[derive(Debug, Args)]
struct ShopArgs {
    /// Folder of the shop that `daybook up` runs; DATABASE_URL goes before it.
    #[arg(long, env = "DAYBOOK_DATA_DIR", default_value = shop::DATA_DIR)]
    data_dir: PathBuf,
}

#[derive(Debug, Subcommand)]
enum Bench {
    /// How long it takes to put one more into a cart, by its lines and by the promotions that are on.
    ///
    /// On a shop of its own that is removed afterwards.
    #[command(after_help = "Example:\n  daybook bench cart --lines 1,10,100 --promotions 0,50")]
    Cart {
        /// Lines of the carts, up to 100.
        #[arg(long, value_delimiter = ',', default_value = "1,10,100")]
        lines: Vec<usize>,
        /// Promotions that are on, in rising order.
        #[arg(long, value_delimiter = ',', default_value = "0,50")]
        promotions: Vec<usize>,
        /// Units that are put into carts for each figure.
        #[arg(long, default_value_t = 1_000)]
        adds: usize,
        #[arg(long)]
        json: bool,
    },
    /// Shoppers who search, fill a cart and pay: orders a second, each step's time, and what an order costs each process.
    ///
    /// On a shop of its own that is removed afterwards.
    #[command(after_help = "Example:\n  daybook bench http --products products.csv --clients 1,8,32 --rates 50,100")]
    Http {
        /// A catalogue to sell (Shopify CSV); the demo catalogue unless given.
        #[arg(long)]
        products: Option<PathBuf>,
        /// Length of each measurement.
        #[arg(long, default_value_t = 10.0)]
        seconds: f64,
        /// Shoppers at once, each coming again when served.
        #[arg(long, value_delimiter = ',', default_value = "1,8,32")]
        clients: Vec<usize>,
        /// Shoppers a second who come at an even pace, served or not.
        #[arg(long, value_delimiter = ',', default_value = "50")]
        rates: Vec<u32>,
        #[arg(long)]
        json: bool,
    },
    /// Whether the log stays as fast as it was: first appends, up to ten million events, and under an export's snapshot.
    ///
    /// Needs about 0.7 GB of disk for each million events, and up to 5 GB beside them.
    #[command(after_help = "Example:\n  daybook bench growth --events 10000000 --minutes 10")]
    Growth {
        /// Size of the log at the end; measured at 0.1, 1, 2, 5 and 10 million.
        #[arg(long, default_value_t = 10_000_000)]
        events: i64,
        /// How long a snapshot is held open while orders are placed.
        #[arg(long, default_value_t = 10)]
        minutes: u32,
        #[arg(long)]
        json: bool,
    },
    /// Events a second of writer, relay and projections, alone and together; and how soon a commit is seen.
    #[command(after_help = "Example:\n  daybook bench log --seconds 10")]
    Log {
        /// How long is written.
        #[arg(long, default_value_t = 10.0)]
        seconds: f64,
        #[arg(long)]
        json: bool,
    },
    /// Searches of a large generated catalogue over HTTP, how fast it is indexed, and how soon a search shows a change.
    ///
    /// On a shop of its own that is removed afterwards. Needs about 20 GB of disk for a million products.
    #[command(after_help = "Example:\n  daybook bench search --products 100000,1000000 --seconds 5 --clients 1,8")]
    Search {
        /// Sizes of the catalogue, each measured by itself.
        #[arg(long, value_delimiter = ',', default_value = "100000")]
        products: Vec<u64>,
        /// Length of a round.
        #[arg(long, default_value_t = 3.0)]
        seconds: f64,
        /// Rounds of each kind of question; the median counts.
        #[arg(long, default_value_t = 3)]
        rounds: usize,
        /// Shoppers who ask at the same time.
        #[arg(long, value_delimiter = ',', default_value = "1,8")]
        clients: Vec<usize>,
        /// Changes a second while it is measured how soon one is seen; 0 leaves that out.
        #[arg(long, default_value_t = 500)]
        updates: u32,
        #[arg(long)]
        json: bool,
    },
    /// Commands a second of our writer, of the stock postgres-es, and of plain inserts of the same rows.
    ///
    /// On a private Postgres, or on the server that DATABASE_URL names, in databases of its own that are dropped afterwards.
    #[command(after_help = "Example:\n  daybook bench store --rounds 5 --clients 1,16,64 --json > store.json")]
    Store {
        /// Rounds of each measurement; the median counts.
        #[arg(long, default_value_t = 5)]
        rounds: usize,
        /// Length of a round.
        #[arg(long, default_value_t = 2.0)]
        seconds: f64,
        /// Clients that give commands at the same time.
        #[arg(long, value_delimiter = ',', default_value = "1,16,64")]
        clients: Vec<usize>,
        #[arg(long)]
        json: bool,
    },
}

/// The binary's `main`.
#[must_use]
pub fn main() -> ExitCode {
    if rustls::crypto::aws_lc_rs::default_provider().install_default().is_err() {
        eprintln!("error: another TLS provider is installed already");
        return ExitCode::FAILURE;
    }
    let cli = Cli::parse();
    crate::observe::start_logging();
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("error: the runtime can't start: {error}");
            return ExitCode::FAILURE;
        }
    };
    match runtime.block_on(run(cli.command)) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn run(command: Command) -> anyhow::Result<ExitCode> {
    match command {
        Command::Up { shop, port, demo } => {
            let options = crate::up::Options { data_dir: std::path::absolute(&shop.data_dir)?, port, demo };
            Box::pin(crate::up::run(options)).await?;
        }
        Command::Serve { roles, config } => serve(&roles.into_iter().collect(), config.as_deref()).await?,
        Command::Migrate { shop } => crate::migrate::run(&Shop::find(&shop.data_dir)?.config).await?,
        Command::Import { what } => return import::run(what).await,
        Command::Export(options) => export::run(options).await?,
        Command::Events(options) => events::run(options).await?,
        Command::Token { shop, role, subject, ttl } => tokens::print(&Shop::find(&shop.data_dir)?, role, &subject, &ttl)?,
        Command::Verify { shop, json } => {
            return crate::verify::run(&Shop::find(&shop.data_dir)?, json).await;
        }
        Command::Projections { shop, json } => projections::show(&Shop::find(&shop.data_dir)?, json).await?,
        Command::Parked { shop, retry, discard, json } => {
            let shop = Shop::find(&shop.data_dir)?;
            match (retry, discard) {
                (Some(id), _) => parked::act(&shop, &id, "retry", json).await?,
                (None, Some(id)) => parked::act(&shop, &id, "discard", json).await?,
                (None, None) => parked::list(&shop, json).await?,
            }
        }
        Command::Rebuild { shop, projection, watch } => {
            projections::rebuild(&Shop::find(&shop.data_dir)?, &projection, watch).await?;
        }
        Command::Config { config, check } => show_config(config.as_deref(), check)?,
        Command::Doctor { shop, json } => return crate::doctor::run(&shop.data_dir, json).await,
        Command::Bench { what: Bench::Store { rounds, seconds, clients, json } } => {
            crate::bench::run_store(&crate::bench::StoreOptions { rounds, seconds, clients, json }).await?;
        }
        Command::Bench { what: Bench::Cart { lines, promotions, adds, json } } => {
            Box::pin(crate::bench::run_cart(crate::bench::CartOptions { lines, promotions, adds, json })).await?;
        }
        Command::Bench { what: Bench::Http { products, seconds, clients, rates, json } } => {
            Box::pin(crate::bench::run_http(crate::bench::HttpOptions { products, seconds, clients, rates, json })).await?;
        }
        Command::Bench { what: Bench::Growth { events, minutes, json } } => {
            Box::pin(crate::bench::run_growth(crate::bench::GrowthOptions { events, minutes, json })).await?;
        }
        Command::Bench { what: Bench::Log { seconds, json } } => {
            Box::pin(crate::bench::run_log(crate::bench::LogOptions { seconds, json })).await?;
        }
        Command::Bench { what: Bench::Search { products, seconds, rounds, clients, updates, json } } => {
            let options = crate::bench::SearchOptions { products, seconds, rounds, clients, updates, json };
            Box::pin(crate::bench::run_search(options)).await?;
        }
        Command::SandboxPsp { port, data_dir, webhook_url, webhook_secret } => {
            sandbox_psp(port, data_dir, webhook_url, webhook_secret).await?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

async fn serve(roles: &BTreeSet<roles::Role>, file: Option<&std::path::Path>) -> anyhow::Result<()> {
    roles::check(roles)?;
    let config = infra::config::load(file)?;
    anyhow::ensure!(!config.database_url.is_empty(), "set DATABASE_URL to the shop's Postgres");
    anyhow::ensure!(!config.nats_url.is_empty(), "set NATS_URL to the shop's NATS");
    let metrics_url = crate::observe::serve_metrics(config.http.metrics_listen.parse()?)?;
    let stop = infra::task::CancellationToken::new();
    let mut running = roles::start(config.clone(), roles, None, &stop).await?;
    eprintln!("serving on http://{}, metrics on {metrics_url}", running.address);
    let mut signal = std::pin::pin!(crate::until_signal());
    loop {
        tokio::select! {
            signal = &mut signal => break signal?,
            () = running.until_history_changes() => {}
        }
        running.shut_down().await;
        running = roles::start(config.clone(), roles, None, &stop).await?;
    }
    stop.cancel();
    running.shut_down().await;
    Ok(())
}

async fn sandbox_psp(port: u16, data_dir: PathBuf, webhook_url: String, webhook_secret: String) -> anyhow::Result<()> {
    let listener = roles::bind(([127, 0, 0, 1], port).into()).await?;
    eprintln!("sandbox payment provider on http://{}", listener.local_addr()?);
    let config = crate::sandbox_psp::SandboxConfig::new(data_dir, webhook_url, webhook_secret, infra::clock::now);
    let until = async {
        if let Err(error) = crate::until_signal().await {
            tracing::error!(%error, "signals can't be awaited");
        }
    };
    crate::sandbox_psp::serve(listener, config, until).await?;
    Ok(())
}

/// Writes an answer to standard output. Whoever reads it may have had enough (`daybook verify | head`); the exit code still tells.
pub fn say(text: &str) -> std::io::Result<()> {
    match std::io::stdout().lock().write_all(text.as_bytes()) {
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(()),
        written => written,
    }
}

/// The read models that can be made anew.
fn rebuildable() -> PossibleValuesParser {
    ::projections::NAMES.into_iter().chain([crate::http::ops::SEARCH]).into()
}

fn show_config(file: Option<&std::path::Path>, check: bool) -> anyhow::Result<()> {
    let mut config = infra::config::load(file)?;
    crate::settings::Settings::try_from(&config)?;
    if check {
        println!("the configuration is valid");
        return Ok(());
    }
    let secrets = [&mut config.master_key, &mut config.token_key, &mut config.payments.sandbox_webhook_secret];
    for secret in secrets.into_iter().chain([&mut config.database_url, &mut config.nats_url]) {
        if !secret.is_empty() {
            "(set)".clone_into(secret);
        }
    }
    say(&toml::to_string_pretty(&config)?)?;
    Ok(())
}
