//! The private Postgres: a cluster of our own, durable whatever its configuration file says.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::{Duration, Instant};

use sqlx::postgres::PgConnectOptions;
use sqlx::{Connection, PgConnection};
use tokio::process::Command;
use tokio::time::timeout;

use super::place::{Place, make_folder, write_private};
use super::process::{self, Answer, Process};
use super::{ChildServerError, Program, Server, ServerPids, Tools, run_on_a_free_port};

const NAME: &str = "Postgres";
const SECRET: &str = "postgres-password";
const FIX: &str = "install postgresql (on Debian `apt install postgresql`), or set DAYBOOK_PG_BIN_DIR to the folder with \
    `postgres` and `initdb`, or DATABASE_URL to a running server";
/// The oldest that the tests run on.
const MAJOR_MIN: u32 = 15;
/// Where Debian and its kin keep one folder for each major version.
const DEBIAN_DIR: &str = "/usr/lib/postgresql";
const INIT_TIMEOUT: Duration = Duration::from_mins(3);
/// The shutdown checkpoint writes up to `shared_buffers`.
const STOP_TIMEOUT: Duration = Duration::from_mins(1);
/// Longest that the processes of a killed server keep its memory.
const ORPHANS_TIMEOUT: Duration = Duration::from_secs(30);
const ORPHANS_POLL: Duration = Duration::from_millis(200);
const ASK_TIMEOUT: Duration = Duration::from_secs(2);

/// Longest path of a socket, and its longest name in its folder.
const SOCKET_PATH_MAX: usize = 107;
const SOCKET_NAME_MAX: usize = "/.s.PGSQL.65535".len();

/// Given on the command line, which no edit of `postgresql.conf` and no `ALTER SYSTEM` overrules.
const SETTINGS: [(&str, &str); 21] = [
    // What makes an acknowledged event durable.
    ("fsync", "on"),
    ("full_page_writes", "on"),
    ("synchronous_commit", "on"),
    // For this machine only.
    ("listen_addresses", "127.0.0.1"),
    ("max_connections", "200"),
    ("shared_buffers", "256MB"),
    ("max_wal_size", "4GB"),
    // Segments that are kept for the next burst: to make one, 16 MB of zeros and an fsync, holds up the commit that needs it.
    ("min_wal_size", "1GB"),
    ("cluster_name", "daybook"),
    ("timezone", "UTC"),
    // The log goes to our file and has no value of any row: no statement, no parameter, no detail, and not the text of an
    // error, which may quote one (`invalid input syntax for type uuid: "…"`); whoever asked gets it.
    ("log_min_messages", "log"),
    ("logging_collector", "off"),
    ("log_destination", "stderr"),
    ("log_timezone", "UTC"),
    ("log_line_prefix", "%m [%p] "),
    ("log_statement", "none"),
    ("log_min_duration_statement", "-1"),
    ("log_min_error_statement", "panic"),
    ("log_parameter_max_length", "0"),
    ("log_parameter_max_length_on_error", "0"),
    ("log_error_verbosity", "terse"),
];

/// Memory that a backend keeps from one statement to the next, in bytes: glibc would give it back and ask for it again, page by
/// page, which was a twelfth of Postgres's processor time for an order.
const KEPT_MEMORY: [(&str, &str); 2] = [("MALLOC_TRIM_THRESHOLD_", "4194304"), ("MALLOC_TOP_PAD_", "1048576")];

/// The server program that `up` would use for a new data folder.
pub async fn find_postgres(tools: &Tools) -> Result<Program, ChildServerError> {
    find(tools, None).await
}

pub(super) struct Postgres {
    pub port: u16,
    bin_dir: PathBuf,
    data: PathBuf,
    account: process::Account,
    password: String,
    secret: PathBuf,
    process: Process,
}

impl Postgres {
    /// Makes the cluster and the database when they are not there, and returns when the server answers.
    pub async fn start(place: &Place, tools: &Tools, progress: &mut dyn FnMut(&str)) -> Result<Self, ChildServerError> {
        let data = place.server_dir.join("postgres");
        let major = std::fs::read_to_string(data.join("PG_VERSION")).ok().and_then(|text| text.trim().parse().ok());
        let program = find(tools, major.map(|major| (major, data.as_path()))).await?;
        if !place.account.may_execute(&program.path).await? {
            return Err(ChildServerError::Unreachable { path: program.path, uid: place.account.uid() });
        }
        let mut postgres = Self {
            port: 0,
            bin_dir: program.path.parent().map(Path::to_owned).unwrap_or_default(),
            data,
            account: place.account,
            password: place.secret(SECRET)?,
            secret: place.secret_path(SECRET),
            process: process(place),
        };
        if major.is_none() {
            progress(&format!("making a Postgres {} cluster in {}", program.version, postgres.data.display()));
            postgres.init(place).await?;
        }
        progress(&format!("starting Postgres {}", program.version));
        run_on_a_free_port(&mut postgres, progress).await?;
        if let Err(error) = postgres.make_database().await {
            if let Err(error) = postgres.process.stop().await {
                tracing::warn!(%error, "Postgres was stopped hard");
            }
            return Err(error.into());
        }
        Ok(postgres)
    }

    /// By socket where there can be one: a round trip then takes fewer steps than by TCP.
    pub fn url(&self) -> String {
        let socket = self.socket_dir().map_or_else(String::new, |folder| format!("&host={folder}"));
        format!("postgres://daybook:{}@127.0.0.1:{}/daybook?sslmode=disable{socket}", self.password, self.port)
    }

    /// The data folder, which nobody else may enter, if its path is short and plain enough for a socket, a setting and a URL.
    fn socket_dir(&self) -> Option<&str> {
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"/._-".contains(&byte);
        self.data.to_str().filter(|path| path.len() + SOCKET_NAME_MAX <= SOCKET_PATH_MAX && path.bytes().all(plain))
    }

    /// `initdb` beside the final place, then a rename: a crash leaves no half cluster behind.
    async fn init(&self, place: &Place) -> Result<(), ChildServerError> {
        let fresh = place.server_dir.join("postgres.new");
        if fresh.exists() {
            std::fs::remove_dir_all(&fresh).map_err(ChildServerError::at("remove", &fresh))?;
        }
        make_folder(&fresh, 0o700)?;
        self.account.own(&fresh)?;
        let password_file = place.server_dir.join("postgres.password");
        write_private(&password_file, &self.password)?;
        self.account.own(&password_file)?;

        let mut command = self.account.command(&self.bin_dir.join("initdb"), "KILL");
        command.args(["--username=daybook", "--auth=scram-sha-256", "--data-checksums", "--encoding=UTF8"]);
        // Sorted by bytes, so that an upgrade of the system's locales breaks no index; letters still have their case.
        command.args(["--locale=C", "--lc-ctype=C.UTF-8", "--no-instructions"]);
        command.arg("--pwfile").arg(&password_file).arg("--pgdata").arg(&fresh).kill_on_drop(true);
        let output = timeout(INIT_TIMEOUT, command.output()).await;
        std::fs::remove_file(&password_file).map_err(ChildServerError::at("remove", &password_file))?;

        let failed = |output: String| {
            if process::says_disk_full(&output) {
                ChildServerError::DiskFull { path: place.server_dir.clone() }
            } else {
                ChildServerError::Init { path: place.server_dir.clone(), output }
            }
        };
        let Ok(output) = output else {
            return Err(failed(format!("it took longer than {} s", INIT_TIMEOUT.as_secs())));
        };
        let output = output.map_err(ChildServerError::starting("setpriv"))?;
        if !output.status.success() {
            return Err(failed(process::tail(&[output.stdout, output.stderr].concat())));
        }
        std::fs::rename(&fresh, &self.data).map_err(ChildServerError::at("rename", &fresh))?;
        let folder = File::open(&place.server_dir).and_then(|folder| folder.sync_all());
        folder.map_err(ChildServerError::at("sync", &place.server_dir))
    }

    async fn make_database(&self) -> Result<(), sqlx::Error> {
        let mut connection = PgConnection::connect_with(&self.options()?.database("postgres")).await?;
        let there = sqlx::query_scalar::<_, bool>("SELECT EXISTS (SELECT FROM pg_database WHERE datname = 'daybook')");
        if !there.fetch_one(&mut connection).await? {
            sqlx::query("CREATE DATABASE daybook").execute(&mut connection).await?;
        }
        connection.close().await
    }

    async fn ask(options: &PgConnectOptions) -> Answer {
        match timeout(ASK_TIMEOUT, PgConnection::connect_with(options)).await {
            Ok(Ok(connection)) => {
                // It answers; that the goodbye is lost is nothing to us.
                drop(connection.close().await);
                Answer::Ready
            }
            Ok(Err(sqlx::Error::Database(error))) => match error.code().as_deref() {
                Some("57P03") => Answer::Recovering,
                Some("28P01") => Answer::PasswordRefused,
                _ => Answer::Nothing,
            },
            _ => Answer::Nothing,
        }
    }

    fn options(&self) -> Result<PgConnectOptions, sqlx::Error> {
        PgConnectOptions::from_str(&self.url())
    }

    fn command(&self) -> Command {
        // INT is Postgres's fast shutdown; its TERM would wait for the clients.
        let mut command = self.account.command(&self.bin_dir.join("postgres"), "INT");
        command.envs(KEPT_MEMORY);
        command.arg("-D").arg(&self.data).args(["-p", &self.port.to_string()]);
        command.args(["-c", &format!("unix_socket_directories={}", self.socket_dir().unwrap_or_default())]);
        for (name, value) in SETTINGS {
            command.args(["-c", &format!("{name}={value}")]);
        }
        command
    }
}

impl Server for Postgres {
    fn process(&mut self) -> &mut Process {
        &mut self.process
    }

    fn set_port(&mut self, port: u16) {
        self.port = port;
    }

    fn pid_of(pids: &mut ServerPids) -> &mut Option<u32> {
        &mut pids.postgres
    }

    async fn run(&mut self, progress: &mut dyn FnMut(&str)) -> Result<(), ChildServerError> {
        let options = self.options()?.database("postgres");
        let asked = Instant::now();
        loop {
            self.process.spawn(self.command())?;
            let mut recovers = false;
            let ask = async || {
                let answer = Self::ask(&options).await;
                if matches!(answer, Answer::Recovering) && !std::mem::replace(&mut recovers, true) {
                    progress("Postgres reads its write-ahead log");
                }
                answer
            };
            match self.process.ready(self.port, &self.secret, ask).await {
                Ok(()) => return Ok(()),
                // After a kill -9 its processes end only when they notice, and until then keep the memory they share.
                Err(ChildServerError::Exited { .. })
                    if self.process.has_said("pre-existing shared memory block") && asked.elapsed() < ORPHANS_TIMEOUT =>
                {
                    tokio::time::sleep(ORPHANS_POLL).await;
                }
                Err(error) => {
                    if let Err(error) = self.process.stop().await {
                        tracing::warn!(%error, "Postgres was stopped hard");
                    }
                    return Err(error);
                }
            }
        }
    }
}

/// Ends a server that outlived the program which started it.
pub(super) async fn end_left_behind(place: &Place, progress: &mut dyn FnMut(&str)) -> Result<(), ChildServerError> {
    let data = place.server_dir.join("postgres");
    let pid_file = data.join("postmaster.pid");
    let text = std::fs::read_to_string(&pid_file).unwrap_or_default();
    let Some(pid) = text.lines().next().and_then(|line| line.trim().parse().ok()) else {
        return Ok(());
    };
    process(place).end_left_behind(pid, &data, progress).await?;
    // Postgres looks only whether the process exists, and would refuse to start for a dead one that nobody has waited for
    // (a container without an init), or for somebody else's (container pids begin anew). Its own check, that nobody
    // has the cluster's shared memory, stays.
    if process::is_dead_or_not(pid, "postgres") && pid_file.exists() {
        std::fs::remove_file(&pid_file).map_err(ChildServerError::at("remove", &pid_file))?;
    }
    Ok(())
}

fn process(place: &Place) -> Process {
    Process::new(NAME, "INT", STOP_TIMEOUT, place.log("postgres.log"))
}

/// The first fitting program: the folder that was named, PATH, Debian's folders from the newest. Data that exist are
/// opened only by the major version that made them.
async fn find(tools: &Tools, made_by: Option<(u32, &Path)>) -> Result<Program, ChildServerError> {
    let folders = match &tools.postgres_bin_dir {
        Some(folder) => vec![folder.clone()],
        None => [process::search_path(), debian_folders()].concat(),
    };
    let mut refused = None;
    for folder in &folders {
        let path = folder.join("postgres");
        if !path.is_file() || !folder.join("initdb").is_file() {
            continue;
        }
        let found = process::version(&path, 2).await?;
        let digits = found.split(|character: char| !character.is_ascii_digit()).next();
        let major: u32 = digits.and_then(|digits| digits.parse().ok()).unwrap_or(0);
        match made_by {
            Some((needed, data)) if major != needed => {
                refused = Some(ChildServerError::OtherMajor { path: data.to_owned(), major: needed });
            }
            None if major < MAJOR_MIN => {
                refused = Some(ChildServerError::TooOld { path, found, needed: "15", fix: FIX });
            }
            _ => {
                return Ok(Program { path, version: found });
            }
        }
    }
    Err(refused.unwrap_or_else(|| {
        let looked_in = match &tools.postgres_bin_dir {
            Some(folder) => folder.display().to_string(),
            None => format!("PATH and {DEBIAN_DIR}"),
        };
        ChildServerError::Missing { program: "PostgreSQL (`postgres` and `initdb`)", looked_in, fix: FIX }
    }))
}

fn debian_folders() -> Vec<PathBuf> {
    let versions = std::fs::read_dir(DEBIAN_DIR).into_iter().flatten().flatten();
    let mut versions: Vec<(u32, PathBuf)> =
        versions.filter_map(|entry| Some((entry.file_name().to_str()?.parse().ok()?, entry.path().join("bin")))).collect();
    versions.sort_by_key(|&(major, _)| std::cmp::Reverse(major));
    versions.into_iter().map(|(_, folder)| folder).collect()
}
