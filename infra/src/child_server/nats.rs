//! The private NATS server, whose stream is a copy of the log and can be made again.

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use async_nats::jetstream;
use tokio::time::timeout;

use super::place::{Place, make_folder, write_private};
use super::process::{self, Account, Answer, Process};
use super::{ChildServerError, Program, Server, ServerPids, Tools, run_on_a_free_port};
use crate::stream::SERVER_VERSION_MIN;

const NAME: &str = "NATS";
const SECRET: &str = "nats-password";
const FIX: &str = "run `make up`, which fetches one, or set DAYBOOK_NATS_SERVER to a nats-server of 2.10 or newer (Debian's \
    own is older), or NATS_URL to a running server";
/// How far above our executable `tools/nats-server` may lie: `target/release/..`, and one more for a test's `deps`.
const TOOLS_LEVELS: usize = 3;
const STOP_TIMEOUT: Duration = Duration::from_secs(15);
const ASK_TIMEOUT: Duration = Duration::from_secs(2);

/// The server program that `up` would use.
pub async fn find_nats(tools: &Tools) -> Result<Program, ChildServerError> {
    let candidates = match &tools.nats_server {
        Some(path) => vec![path.clone()],
        None => usual_places(),
    };
    let mut refused = None;
    for path in candidates.iter().filter(|path| path.is_file()) {
        let path = path.clone();
        let found = process::version(&path, 1).await?;
        let mut parts = found.split('.').map(|part| part.parse::<u64>().unwrap_or(0));
        if (parts.next().unwrap_or(0), parts.next().unwrap_or(0)) >= SERVER_VERSION_MIN {
            return Ok(Program { path, version: found });
        }
        refused = Some(ChildServerError::TooOld { path, found, needed: "2.10", fix: FIX });
    }
    Err(refused.unwrap_or_else(|| {
        let looked_in = match &tools.nats_server {
            Some(path) => path.display().to_string(),
            None => "PATH and target/tools".to_owned(),
        };
        ChildServerError::Missing { program: "nats-server", looked_in, fix: FIX }
    }))
}

pub(super) struct Nats {
    pub port: u16,
    program: PathBuf,
    data: PathBuf,
    account: Account,
    password: String,
    secret: PathBuf,
    process: Process,
}

impl Nats {
    pub async fn start(place: &Place, tools: &Tools, progress: &mut dyn FnMut(&str)) -> Result<Self, ChildServerError> {
        let program = find_nats(tools).await?;
        let mut nats = Self {
            port: 0,
            program: reachable(&program.path, place).await?,
            data: place.server_dir.join("nats"),
            account: place.account,
            password: place.secret(SECRET)?,
            secret: place.secret_path(SECRET),
            process: process(place),
        };
        make_folder(&nats.data, 0o700)?;
        nats.account.own(&nats.data)?;
        nats.write_config()?;
        progress(&format!("starting NATS {}", program.version));
        run_on_a_free_port(&mut nats, progress).await?;
        Ok(nats)
    }

    pub fn url(&self) -> String {
        format!("nats://daybook:{}@127.0.0.1:{}", self.password, self.port)
    }

    /// Only what must not or can't be an argument; the paths are arguments, since those need no quoting.
    fn write_config(&self) -> Result<(), ChildServerError> {
        let path = config(&self.data);
        let text = format!(
            "# Written by `daybook up` at every start.\n\
             jetstream: enabled\n\
             max_payload: 1048576\n\
             authorization {{ user: daybook, password: \"{}\" }}\n",
            self.password
        );
        write_private(&path, &text)?;
        self.account.own(&path)
    }

    async fn ask(port: u16, password: &str) -> Answer {
        let options = async_nats::ConnectOptions::with_user_and_password("daybook".to_owned(), password.to_owned());
        let client = match timeout(ASK_TIMEOUT, options.connect(format!("127.0.0.1:{port}"))).await {
            Ok(Ok(client)) => client,
            Ok(Err(error)) if error.kind() == async_nats::ConnectErrorKind::AuthorizationViolation => {
                return Answer::PasswordRefused;
            }
            _ => return Answer::Nothing,
        };
        match timeout(ASK_TIMEOUT, jetstream::new(client).query_account()).await {
            Ok(Ok(_)) => Answer::Ready,
            _ => Answer::Recovering,
        }
    }
}

impl Server for Nats {
    fn process(&mut self) -> &mut Process {
        &mut self.process
    }

    fn set_port(&mut self, port: u16) {
        self.port = port;
    }

    fn pid_of(pids: &mut ServerPids) -> &mut Option<u32> {
        &mut pids.nats
    }

    async fn run(&mut self, _: &mut dyn FnMut(&str)) -> Result<(), ChildServerError> {
        let mut command = self.account.command(&self.program, "TERM");
        command.arg("--config").arg(config(&self.data)).arg("--store_dir").arg(&self.data).arg("--pid").arg(pid_file(&self.data));
        command.args(["--server_name", "daybook", "--addr", "127.0.0.1", "--port", &self.port.to_string(), "--logtime_utc"]);
        self.process.spawn(command)?;
        let (port, password) = (self.port, self.password.as_str());
        let ready = self.process.ready(port, &self.secret, async || Self::ask(port, password).await).await;
        if ready.is_err()
            && let Err(error) = self.process.stop().await
        {
            tracing::warn!(%error, "NATS was stopped hard");
        }
        ready
    }
}

/// Ends a server that outlived the program which started it.
pub(super) async fn end_left_behind(place: &Place, progress: &mut dyn FnMut(&str)) -> Result<(), ChildServerError> {
    let data = place.server_dir.join("nats");
    let text = std::fs::read_to_string(pid_file(&data)).unwrap_or_default();
    match text.trim().parse() {
        Ok(pid) => process(place).end_left_behind(pid, &config(&data), progress).await,
        Err(_) => Ok(()),
    }
}

fn process(place: &Place) -> Process {
    Process::new(NAME, "TERM", STOP_TIMEOUT, place.log("nats.log"))
}

fn config(data: &Path) -> PathBuf {
    data.join("nats-server.conf")
}

fn pid_file(data: &Path) -> PathBuf {
    data.join("nats-server.pid")
}

/// PATH, then `target/tools`, where `make up` puts the one that it fetches.
fn usual_places() -> Vec<PathBuf> {
    let executable = std::env::current_exe().unwrap_or_default();
    let above = executable.ancestors().skip(1).take(TOOLS_LEVELS).map(|folder| folder.join("tools"));
    process::search_path().into_iter().chain(above).map(|folder| folder.join("nats-server")).collect()
}

/// The program where the unprivileged user can run it: one below root's home is copied beside the data.
async fn reachable(program: &Path, place: &Place) -> Result<PathBuf, ChildServerError> {
    let program = program.canonicalize().map_err(ChildServerError::at("find", program))?;
    if place.account.may_execute(&program).await? {
        return Ok(program);
    }
    let copy = place.server_dir.join("nats-server");
    let fresh = copy.with_extension("new");
    std::fs::copy(&program, &fresh).map_err(ChildServerError::at("copy", &program))?;
    std::fs::set_permissions(&fresh, Permissions::from_mode(0o755)).map_err(ChildServerError::at("chmod", &fresh))?;
    std::fs::rename(&fresh, &copy).map_err(ChildServerError::at("rename", &fresh))?;
    Ok(copy)
}
