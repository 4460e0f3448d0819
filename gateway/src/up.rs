//! `daybook up`: everything on this machine, from an empty folder to a shop that sells.
//!
//! Private Postgres and NATS servers are child processes; they are started and watched from the main thread, because the
//! signal that ends them with us is tied to the thread that made them.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context;
use infra::child_server::{self, ChildServers, Tools};
use infra::config::{self, Config};
use infra::task::{CancellationToken, TaskGroup};
use tokio::net::TcpListener;
use tokio::time::Instant;

use crate::roles::{self, Running};
use crate::sandbox_psp::{self, SandboxConfig};
use crate::settings::Settings;
use crate::shop::{RunFile, SecretsFile};
use crate::{demo, migrate};

/// Longest wait for a killed program of this shop to let go of its port.
const DYING_WAIT: Duration = Duration::from_secs(2);
const DYING_POLL: Duration = Duration::from_millis(50);

#[derive(Debug, Clone)]
pub struct Options {
    pub data_dir: PathBuf,
    pub port: u16,
    pub demo: bool,
}

/// The port; one that a program of this shop has which was just killed is waited for.
async fn own_port(options: &Options) -> anyhow::Result<TcpListener> {
    let until = Instant::now() + DYING_WAIT;
    loop {
        let error = match roles::bind(([127, 0, 0, 1], options.port).into()).await {
            Ok(listener) => return Ok(listener),
            Err(error) => error,
        };
        let Some(run) = RunFile::read(&options.data_dir).ok().filter(|run| Path::new(&format!("/proc/{}", run.pid)).exists()) else {
            return Err(error);
        };
        anyhow::ensure!(Instant::now() < until, "this shop runs already as process {}: {}", run.pid, run.url);
        tokio::time::sleep(DYING_POLL).await;
    }
}

/// Runs until SIGINT or SIGTERM.
pub async fn run(options: Options) -> anyhow::Result<()> {
    let mut config = config::load(None)?;
    Settings::try_from(&config)?;
    // The port first: a taken one is said before anything is started.
    let listener = own_port(&options).await?;
    let stop = CancellationToken::new();
    let tools = Tools {
        postgres_bin_dir: config::variable("DAYBOOK_PG_BIN_DIR").map(PathBuf::from),
        nats_server: config::variable("DAYBOOK_NATS_SERVER").map(PathBuf::from),
    };
    std::fs::create_dir_all(&options.data_dir)
        .with_context(|| format!("can't make the folder {}: choose another with --data-dir", options.data_dir.display()))?;
    // Before the servers: a folder with data and without its secrets is not opened.
    let secrets = SecretsFile::read_or_make(&options.data_dir)?;
    let named = |url: &str| (!url.is_empty()).then(|| url.to_owned());
    let theirs = child_server::Running { database_url: named(&config.database_url), nats_url: named(&config.nats_url) };
    let mut servers = ChildServers::start(&options.data_dir, &tools, &theirs, |step| eprintln!("  {step}")).await?;
    let sandbox = TcpListener::bind(("127.0.0.1", 0)).await?;
    let url = format!("http://127.0.0.1:{}", listener.local_addr()?.port());
    let sandbox_url = format!("http://127.0.0.1:{}", sandbox.local_addr()?.port());
    configure(&mut config, &options, &servers, &secrets, &url, &sandbox_url);
    let metrics_url = crate::observe::serve_metrics("127.0.0.1:0".parse()?)?;

    let mut side = TaskGroup::under(&stop);
    let webhook_url = format!("{url}/v1/webhooks/payments/sandbox");
    let sandbox_dir = options.data_dir.join("sandbox-psp");
    let sandbox_config = SandboxConfig::new(sandbox_dir, webhook_url, secrets.sandbox_webhook_secret.clone(), infra::clock::now);
    let sandbox_stop = side.stop_signal();
    side.spawn("sandbox-psp", async move {
        if let Err(error) = sandbox_psp::serve(sandbox, sandbox_config, sandbox_stop.cancelled_owned()).await {
            tracing::error!(error = &error as &dyn std::error::Error, "the sandbox payment provider ended");
        }
    });
    migrate::run(&config).await?;
    let mut running = roles::start(config.clone(), &roles::ALL.into(), Some(listener), &stop).await?;
    if options.demo {
        demo::seed(&running.app).await?;
    }
    running.until_caught_up().await?;
    let run = RunFile {
        pid: std::process::id(),
        url: url.clone(),
        metrics_url: metrics_url.clone(),
        sandbox_url,
        database_url: servers.database_url.clone(),
        nats_url: servers.nats_url.clone(),
        postgres_pid: None,
        nats_pid: None,
    };
    let pids = servers.pids();
    let ended = {
        let mut watched = std::pin::pin!(async {
            tokio::select! {
                signal = crate::until_signal() => signal,
                () = servers.supervise(&stop) => Ok(()),
                written = keep_run_file(run, pids, &options.data_dir, &url, &metrics_url) => written,
            }
        });
        loop {
            tokio::select! {
                ended = &mut watched => break ended,
                () = running.until_history_changes() => {}
            }
            running.shut_down().await;
            running = roles::start(config.clone(), &roles::ALL.into(), None, &stop).await?;
        }
    };
    shut_down(running, side, servers, &stop).await?;
    ended
}

/// Writes `run.json`, and again whenever a server was restarted; says that the shop is up after the first time.
async fn keep_run_file(
    mut run: RunFile,
    mut pids: tokio::sync::watch::Receiver<child_server::ServerPids>,
    data_dir: &std::path::Path,
    url: &str,
    metrics_url: &str,
) -> anyhow::Result<()> {
    let mut first = true;
    loop {
        let now = *pids.borrow_and_update();
        (run.postgres_pid, run.nats_pid) = (now.postgres, now.nats);
        run.write(data_dir)?;
        if std::mem::take(&mut first) {
            print_urls(url, metrics_url);
        }
        if pids.changed().await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}

fn configure(config: &mut Config, options: &Options, servers: &ChildServers, secrets: &SecretsFile, url: &str, sandbox_url: &str) {
    config.database_url.clone_from(&servers.database_url);
    config.nats_url.clone_from(&servers.nats_url);
    config.master_key.clone_from(&secrets.master_key);
    config.token_key.clone_from(&secrets.token_key);
    config.search_dir = options.data_dir.join("search");
    url.trim_start_matches("http://").clone_into(&mut config.http.listen);
    url.clone_into(&mut config.http.public_url);
    config.rate.exempt_loopback = true;
    config.payments.sandbox = true;
    sandbox_url.clone_into(&mut config.payments.sandbox_url);
    config.payments.sandbox_webhook_secret.clone_from(&secrets.sandbox_webhook_secret);
}

fn print_urls(url: &str, metrics_url: &str) {
    println!("Daybook is up.");
    println!("  shop        {url}/");
    println!("  API         {url}/v1/store");
    println!("  reference   {url}/docs");
    println!("  metrics     {metrics_url}");
    println!("  staff token daybook token --role owner");
}

async fn shut_down(running: Running, side: TaskGroup, servers: ChildServers, stop: &CancellationToken) -> anyhow::Result<()> {
    eprintln!("stopping: requests, then the log, then the servers");
    stop.cancel();
    running.shut_down().await;
    side.shut_down().await;
    servers.stop().await?;
    Ok(())
}
