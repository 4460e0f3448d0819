//! The private Postgres and NATS servers of `daybook up`: found, initialised, started, watched, restarted, stopped.
//!
//! Relies on Linux, `/bin/sh`, `setpriv` (util-linux) and the servers' own binaries. Promises that acknowledged data is
//! durable whatever `postgresql.conf` says, that one data folder serves one `daybook up`, that no server outlives it for
//! long, and that a start after `kill -9` recovers by itself.
//!
//! The kernel sends a parent-death signal when the *thread* that forked ends, not when the process does. So `start` and
//! `supervise`, the only two that fork, are polled in the future that `main` blocks on, never in a spawned task: a worker
//! thread that goes idle would take the servers with it.
//!
//! ```text
//! <data-dir>/lock            held while `daybook up` lives; contains its process id
//!           /secrets/        passwords of the two servers
//!           /log/            what the two servers say; `<name>.log.1` is the part before
//!           /postgres/ nats/ their data, or, where the unprivileged user can't come here,
//!           /servers ->      a link to the folder below /var/lib/daybook that has them
//! ```

mod nats;
mod place;
mod postgres;
mod process;

use std::fmt;
use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use tokio::sync::watch;

use crate::task::CancellationToken;
use nats::Nats;
use place::Place;
use postgres::Postgres;
use process::Process;

pub use nats::find_nats;
pub use place::holder;
pub use postgres::find_postgres;

/// Ports tried when each is taken by somebody else between choosing and binding it.
const PORT_ATTEMPTS_MAX: u32 = 5;
/// Wait before a dead server is started again; doubled at each failure, forgotten after a life longer than the longest.
const RESTART_PAUSE_MIN: Duration = Duration::from_millis(100);
const RESTART_PAUSE_MAX: Duration = Duration::from_secs(30);

/// The servers that this process started, and how to reach them and those that ran already.
pub struct ChildServers {
    pub database_url: String,
    pub nats_url: String,
    /// `None` when `Running` named the server. 127.0.0.1 only; the same after a restart by `supervise`.
    pub postgres_port: Option<u16>,
    pub nats_port: Option<u16>,
    /// The folder with `postgres/` and `nats/`: the data folder, or the one below `/var/lib/daybook` in its place.
    pub server_dir: PathBuf,
    postgres: Option<Postgres>,
    nats: Option<Nats>,
    pids: watch::Sender<ServerPids>,
    /// Last, so that the data folder is released after the servers.
    _place: Place,
}

/// Process ids; `None` while a server is down, starting, or not ours.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ServerPids {
    pub postgres: Option<u32>,
    pub nats: Option<u32>,
}

/// Where the servers' programs are, if not at a usual place (`DAYBOOK_PG_BIN_DIR`, `DAYBOOK_NATS_SERVER`).
#[derive(Debug, Clone, Default)]
pub struct Tools {
    pub postgres_bin_dir: Option<PathBuf>,
    pub nats_server: Option<PathBuf>,
}

/// Servers that need no start, since somebody runs them (`DATABASE_URL`, `NATS_URL`).
#[derive(Debug, Clone, Default)]
pub struct Running {
    pub database_url: Option<String>,
    pub nats_url: Option<String>,
}

/// A server's program and its version, as `doctor` shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Program {
    pub path: PathBuf,
    pub version: String,
}

/// What keeps the servers from running, each with its fix.
#[derive(Debug, thiserror::Error)]
pub enum ChildServerError {
    #[error("{} is in use by a running `daybook up`{}; stop that one first, or name another folder with --data-dir",
        .data_dir.display(), .pid.map(|pid| format!(" (process {pid})")).unwrap_or_default())]
    AlreadyRunning { data_dir: PathBuf, pid: Option<u32> },
    #[error("{program} was not found in {looked_in}; {fix}")]
    Missing { program: &'static str, looked_in: String, fix: &'static str },
    #[error("{} is version {found}, and {needed} or newer is needed; {fix}", .path.display())]
    TooOld { path: PathBuf, found: String, needed: &'static str, fix: &'static str },
    #[error("{} doesn't run: {reason}", .path.display())]
    DoesNotRun { path: PathBuf, reason: String },
    #[error("{} was made by PostgreSQL {major}, which was not found; install postgresql-{major} or set DAYBOOK_PG_BIN_DIR \
        (or carry the data over with pg_upgrade)", .path.display())]
    OtherMajor { path: PathBuf, major: u32 },
    #[error("no permission on {}{}; make it yours with `sudo chown -R \"$(id -un)\" {}`, or name another folder with --data-dir",
        .path.display(), .owner.map(|uid| format!(", which belongs to uid {uid}")).unwrap_or_default(), .path.display())]
    Permission { path: PathBuf, owner: Option<u32> },
    #[error("no permission to make {}; make it yours with `sudo install -d -o \"$(id -un)\" {}`, or name another folder with --data-dir",
        .path.display(), .path.display())]
    NoFolder { path: PathBuf },
    #[error("the servers run as uid {uid}, since Postgres refuses root, and that user can't get to {}; \
        `chmod a+x` each folder above it, and `chmod a+rx` a program", .path.display())]
    Unreachable { path: PathBuf, uid: u32 },
    #[error("can't run the servers as uid {uid}, and Postgres refuses root; start `daybook up` as an ordinary user ({reason})")]
    Account { uid: u32, reason: String },
    #[error("{} points to a folder that is gone; restore it, or remove {} to begin anew", .link.display(), .data_dir.display())]
    ServersGone { link: PathBuf, data_dir: PathBuf },
    #[error("the disk is full below {}; make room and start again", .path.display())]
    DiskFull { path: PathBuf },
    #[error("initdb failed in {}:\n{output}", .path.display())]
    Init { path: PathBuf, output: String },
    #[error("{server}, process {pid}, was left behind by an earlier run and doesn't end; end it with `sudo kill -9 {pid}`")]
    LeftBehind { server: &'static str, pid: u32 },
    #[error("port {port} was taken before {server} had it")]
    PortTaken { server: &'static str, port: u16 },
    #[error("{server} refuses the password in {}; restore that file", .secret.display())]
    PasswordRefused { server: &'static str, secret: PathBuf },
    #[error("{server} ended while starting ({status}); the end of {}:\n{log_tail}", .log.display())]
    Exited { server: &'static str, status: String, log: PathBuf, log_tail: String },
    #[error("{server} didn't answer within {waited_s} s; the end of {}:\n{log_tail}", .log.display())]
    NotReady { server: &'static str, waited_s: u64, log: PathBuf, log_tail: String },
    #[error("{server} didn't stop within {waited_s} s and was killed; it recovers at its next start")]
    StopTimeout { server: &'static str, waited_s: u64 },
    #[error("can't make the database")]
    Database(#[from] sqlx::Error),
    #[error("no port is free")]
    NoFreePort(#[source] std::io::Error),
    #[error("can't {action} {}", .path.display())]
    Io { action: &'static str, path: PathBuf, source: std::io::Error },
}

/// Without the URLs, which have the passwords.
impl fmt::Debug for ChildServers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ChildServers")
            .field("postgres_port", &self.postgres_port)
            .field("nats_port", &self.nats_port)
            .field("server_dir", &self.server_dir)
            .field("pids", &*self.pids.borrow())
            .finish_non_exhaustive()
    }
}

impl ChildServers {
    /// Takes the data folder, ends what an earlier run left behind, starts what `running` doesn't name and returns when
    /// both answer. Fails without leaving a server behind.
    ///
    /// To be polled on the main thread: see the module's documentation.
    pub async fn start(
        data_dir: &Path,
        tools: &Tools,
        running: &Running,
        mut progress: impl FnMut(&str),
    ) -> Result<Self, ChildServerError> {
        let progress: &mut dyn FnMut(&str) = &mut progress;
        let place = Place::take(data_dir, progress).await?;
        nats::end_left_behind(&place, progress).await?;
        postgres::end_left_behind(&place, progress).await?;

        let mut postgres = None;
        if running.database_url.is_none() {
            postgres = Some(Postgres::start(&place, tools, progress).await?);
        }
        let mut nats = None;
        if running.nats_url.is_none() {
            match Nats::start(&place, tools, progress).await {
                Ok(started) => nats = Some(started),
                Err(error) => {
                    if let Some(mut postgres) = postgres
                        && let Err(error) = postgres.process().stop().await
                    {
                        tracing::warn!(%error, "Postgres was stopped hard");
                    }
                    return Err(error);
                }
            }
        }
        let pids = ServerPids {
            postgres: postgres.as_mut().and_then(|server| server.process().pid()),
            nats: nats.as_mut().and_then(|server| server.process().pid()),
        };
        Ok(Self {
            database_url: running.database_url.clone().or(postgres.as_ref().map(Postgres::url)).unwrap_or_default(),
            nats_url: running.nats_url.clone().or(nats.as_ref().map(Nats::url)).unwrap_or_default(),
            postgres_port: postgres.as_ref().map(|server| server.port),
            nats_port: nats.as_ref().map(|server| server.port),
            server_dir: place.server_dir.clone(),
            postgres,
            nats,
            pids: watch::Sender::new(pids),
            _place: place,
        })
    }

    /// The servers' process ids, now and after each restart.
    #[must_use]
    pub fn pids(&self) -> watch::Receiver<ServerPids> {
        self.pids.subscribe()
    }

    /// Starts again, on its port, each server that ends by itself; for ever, with bounded back-off, until `stop`.
    ///
    /// To be polled on the main thread: see the module's documentation.
    pub async fn supervise(&mut self, stop: &CancellationToken) {
        tokio::join!(keep_running(self.postgres.as_mut(), &self.pids, stop), keep_running(self.nats.as_mut(), &self.pids, stop));
    }

    /// Stops NATS, then Postgres with its open transactions rolled back (fast shutdown); kills what takes too long.
    pub async fn stop(mut self) -> Result<(), ChildServerError> {
        let nats = match &mut self.nats {
            Some(server) => server.process().stop().await,
            None => Ok(()),
        };
        let postgres = match &mut self.postgres {
            Some(server) => server.process().stop().await,
            None => Ok(()),
        };
        nats.and(postgres)
    }
}

/// What the two servers have in common.
trait Server {
    fn process(&mut self) -> &mut Process;
    fn set_port(&mut self, port: u16);
    fn pid_of(pids: &mut ServerPids) -> &mut Option<u32>;
    /// Starts it on its port and returns when it answers; ends it when it doesn't.
    async fn run(&mut self, progress: &mut dyn FnMut(&str)) -> Result<(), ChildServerError>;
}

/// Runs the server on a free port; on another one when that is lost between choosing and binding.
async fn run_on_a_free_port(server: &mut impl Server, progress: &mut dyn FnMut(&str)) -> Result<(), ChildServerError> {
    let mut attempt = 1;
    loop {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).map_err(ChildServerError::NoFreePort)?;
        server.set_port(listener.local_addr().map_err(ChildServerError::NoFreePort)?.port());
        drop(listener);
        match server.run(progress).await {
            Err(ChildServerError::PortTaken { .. }) if attempt < PORT_ATTEMPTS_MAX => attempt += 1,
            outcome => return outcome,
        }
    }
}

async fn keep_running<S: Server>(server: Option<&mut S>, pids: &watch::Sender<ServerPids>, stop: &CancellationToken) {
    let Some(server) = server else {
        return stop.cancelled().await;
    };
    let name = server.process().name;
    let mut pause = RESTART_PAUSE_MIN;
    loop {
        let up_since = Instant::now();
        let status = tokio::select! {
            () = stop.cancelled() => return,
            status = server.process().exited() => status,
        };
        pids.send_modify(|pids| *S::pid_of(pids) = None);
        tracing::error!(server = name, %status, "a server ended by itself and is started again");
        if up_since.elapsed() > RESTART_PAUSE_MAX {
            pause = RESTART_PAUSE_MIN;
        }
        loop {
            let restart = async {
                tokio::time::sleep(pause).await;
                server.run(&mut |step| tracing::info!(server = name, "{step}")).await
            };
            let outcome = tokio::select! {
                () = stop.cancelled() => return,
                outcome = restart => outcome,
            };
            pause = (pause * 2).min(RESTART_PAUSE_MAX);
            match outcome {
                Ok(()) => break,
                Err(error) => {
                    tracing::error!(server = name, %error, next_try_ms = pause.as_millis(), "a server didn't start");
                }
            }
        }
        let pid = server.process().pid();
        pids.send_modify(|pids| *S::pid_of(pids) = pid);
        tracing::info!(server = name, pid, "a server runs again");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{clock, config};

    #[tokio::test]
    async fn a_port_that_another_shop_has_is_told_from_other_failures() {
        let folder = std::env::temp_dir().join(format!("daybook-taken-port-{}", clock::new_id()));
        let mut one = start(&folder.join("one")).await;
        let other = start(&folder.join("other")).await;
        // The other shop's servers know the user and refuse the password: that must not be taken for an answer of ours.
        taken(one.postgres.as_mut().unwrap(), other.postgres_port.unwrap()).await;
        taken(one.nats.as_mut().unwrap(), other.nats_port.unwrap()).await;
        run_on_a_free_port(one.postgres.as_mut().unwrap(), &mut |_| ()).await.unwrap();
        run_on_a_free_port(one.nats.as_mut().unwrap(), &mut |_| ()).await.unwrap();
        one.stop().await.unwrap();
        other.stop().await.unwrap();
        std::fs::remove_dir_all(&folder).unwrap();
    }

    async fn taken(server: &mut impl Server, port: u16) {
        server.process().stop().await.unwrap();
        server.set_port(port);
        let error = server.run(&mut |_| ()).await.unwrap_err();
        assert!(matches!(error, ChildServerError::PortTaken { .. }), "{error}");
    }

    async fn start(data_dir: &Path) -> ChildServers {
        let tools = Tools {
            postgres_bin_dir: config::variable("DAYBOOK_PG_BIN_DIR").map(PathBuf::from),
            nats_server: config::variable("DAYBOOK_NATS_SERVER").map(PathBuf::from),
        };
        ChildServers::start(data_dir, &tools, &Running::default(), |_| {}).await.unwrap()
    }
}
