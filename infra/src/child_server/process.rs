//! One server process: whose account it runs under, how it starts, answers and ends, and how it is known again after a crash.

use std::ffi::OsStr;
use std::fs::{File, OpenOptions};
use std::io::{ErrorKind, Read, Seek, SeekFrom};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use tokio::process::{Child, Command};
use tokio::time::timeout;

use super::ChildServerError;

/// Longest wait for a server that doesn't answer at all.
const READY_TIMEOUT: Duration = Duration::from_mins(1);
/// Longest that a refused password may be the word of somebody else, who has our port while our server fails to get it.
const REFUSED_TIMEOUT: Duration = Duration::from_secs(2);
/// Longest wait for a server that says it recovers: Postgres reads up to `max_wal_size` again after a crash.
const RECOVERY_TIMEOUT: Duration = Duration::from_mins(15);
/// Between two looks at a server that starts or ends.
const POLL: Duration = Duration::from_millis(50);
/// Longest wait for the end of a process after SIGKILL.
const KILL_TIMEOUT: Duration = Duration::from_secs(10);
/// Longest run of a program that is only asked something.
const QUESTION_TIMEOUT: Duration = Duration::from_secs(10);
/// A longer log is set aside, once, at the next start.
const LOG_BYTES_MAX: u64 = 10 << 20;
/// How much of a log an error shows.
const TAIL_BYTES: u64 = 4 << 10;
const TAIL_LINES: usize = 15;
/// How much of a log is looked through, from the start of a process.
const SAID_BYTES: u64 = 1 << 20;

/// Whose rights the servers have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Account {
    /// Those of this process.
    Own { uid: u32 },
    /// Those of somebody else, because this process is root and Postgres refuses that.
    Unprivileged { uid: u32, gid: u32 },
}

impl Account {
    /// For root: the owner of `data` where that exists, else `postgres`, else `nobody`.
    pub fn choose(data: Option<&Path>) -> Result<Self, ChildServerError> {
        let owner = data.and_then(|data| data.metadata().ok().map(|found| (found.uid(), found.gid(), data)));
        let uid = effective_uid()?;
        match owner {
            Some((owner, _, data)) if uid != 0 && owner != uid => {
                Err(ChildServerError::Permission { path: data.to_owned(), owner: Some(owner) })
            }
            _ if uid != 0 => Ok(Self::Own { uid }),
            Some((uid, gid, _)) if uid != 0 => Ok(Self::Unprivileged { uid, gid }),
            _ => {
                let users = Path::new("/etc/passwd");
                let text = std::fs::read_to_string(users).map_err(ChildServerError::at("read", users))?;
                let (uid, gid) = user(&text, "postgres").or_else(|| user(&text, "nobody")).unwrap_or((65_534, 65_534));
                Ok(Self::Unprivileged { uid, gid })
            }
        }
    }

    pub fn uid(self) -> u32 {
        match self {
            Self::Own { uid } | Self::Unprivileged { uid, .. } => uid,
        }
    }

    /// `program` under this account, with `death_signal` when the calling thread ends.
    ///
    /// It inherits next to nothing: our keys and a `PGOPTIONS` are not for it. It leads its own process group, since the
    /// terminal's Ctrl-C goes to a whole group, and the servers stop after us. It starts in `/`, since the present
    /// folder may be closed to the account.
    pub fn command(self, program: &Path, death_signal: &str) -> Command {
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", death_signal]);
        if let Self::Unprivileged { uid, gid } = self {
            command.args([format!("--reuid={uid}"), format!("--regid={gid}"), "--clear-groups".to_owned()]);
        }
        command.arg("--").arg(program).env_clear().env("LC_ALL", "C").stdin(Stdio::null()).current_dir("/").process_group(0);
        command.env("PATH", std::env::var_os("PATH").unwrap_or_else(|| "/usr/sbin:/usr/bin:/sbin:/bin".into()));
        if let Some(libraries) = std::env::var_os("LD_LIBRARY_PATH") {
            command.env("LD_LIBRARY_PATH", libraries);
        }
        command
    }

    /// Whether the account may enter the folder, or run the program, `path`. Asked of the kernel in the account's name,
    /// because modes, access lists and mounts all have a say.
    pub async fn may_execute(self, path: &Path) -> Result<bool, ChildServerError> {
        if matches!(self, Self::Own { .. }) {
            return Ok(true);
        }
        let mut command = self.command(Path::new("test"), "KILL");
        command.arg("-x").arg(path);
        let output = question(&mut command).await.map_err(ChildServerError::starting("setpriv"))?;
        match output.status.code() {
            Some(0) => Ok(true),
            Some(1) => Ok(false),
            _ => Err(ChildServerError::Account { uid: self.uid(), reason: String::from_utf8_lossy(&output.stderr).trim().to_owned() }),
        }
    }

    /// Gives `path`, which this process made, to the account.
    pub fn own(self, path: &Path) -> Result<(), ChildServerError> {
        match self {
            Self::Own { .. } => Ok(()),
            Self::Unprivileged { uid, gid } => {
                std::os::unix::fs::chown(path, Some(uid), Some(gid)).map_err(ChildServerError::at("chown", path))
            }
        }
    }
}

/// What a server said when it was asked whether it is there.
pub(super) enum Answer {
    Ready,
    Recovering,
    Nothing,
    PasswordRefused,
}

#[derive(Debug)]
pub(super) struct Process {
    pub name: &'static str,
    stop_signal: &'static str,
    stop_timeout: Duration,
    log: PathBuf,
    /// Where in the log the present process begins.
    log_start: u64,
    child: Option<Child>,
}

impl Process {
    pub fn new(name: &'static str, stop_signal: &'static str, stop_timeout: Duration, log: PathBuf) -> Self {
        Self { name, stop_signal, stop_timeout, log, log_start: 0, child: None }
    }

    pub fn pid(&self) -> Option<u32> {
        self.child.as_ref().and_then(Child::id)
    }

    /// Starts it; what it says goes to the log.
    pub fn spawn(&mut self, mut command: Command) -> Result<(), ChildServerError> {
        if self.log.metadata().is_ok_and(|log| log.len() > LOG_BYTES_MAX) {
            std::fs::rename(&self.log, self.log.with_extension("log.1")).map_err(ChildServerError::at("rename", &self.log))?;
        }
        let log = OpenOptions::new().create(true).append(true).mode(0o600).open(&self.log);
        let log = log.map_err(ChildServerError::at("open", &self.log))?;
        self.log_start = log.metadata().map_err(ChildServerError::at("read", &self.log))?.len();
        command.stdout(log.try_clone().map_err(ChildServerError::at("open", &self.log))?).stderr(log);
        self.child = Some(command.spawn().map_err(ChildServerError::starting("setpriv"))?);
        Ok(())
    }

    /// Asks until the server is ready; returns early when it ends.
    pub async fn ready(&mut self, port: u16, secret: &Path, mut ask: impl AsyncFnMut() -> Answer) -> Result<(), ChildServerError> {
        let started = Instant::now();
        loop {
            if let Some(child) = &mut self.child
                && let Some(status) = child.try_wait().map_err(ChildServerError::at("wait for", &self.log))?
            {
                return Err(self.ended(port, status.to_string()));
            }
            let answer = ask().await;
            let bound = match answer {
                Answer::Ready => return Ok(()),
                Answer::Recovering => RECOVERY_TIMEOUT,
                Answer::Nothing => READY_TIMEOUT,
                Answer::PasswordRefused => REFUSED_TIMEOUT,
            };
            if started.elapsed() > bound {
                return Err(match answer {
                    Answer::PasswordRefused => ChildServerError::PasswordRefused { server: self.name, secret: secret.to_owned() },
                    _ => ChildServerError::NotReady {
                        server: self.name,
                        waited_s: bound.as_secs(),
                        log: self.log.clone(),
                        log_tail: self.log_tail(),
                    },
                });
            }
            tokio::time::sleep(POLL).await;
        }
    }

    /// Completes with the status when the process ends by itself; never for one that doesn't run.
    pub async fn exited(&mut self) -> String {
        match &mut self.child {
            Some(child) => child.wait().await.map_or_else(|error| error.to_string(), |status| status.to_string()),
            None => std::future::pending().await,
        }
    }

    /// Asks it to end, and kills it past the bound.
    pub async fn stop(&mut self) -> Result<(), ChildServerError> {
        let Some(mut child) = self.child.take() else {
            return Ok(());
        };
        let Some(pid) = child.id() else { return Ok(()) };
        signal(pid, self.stop_signal).await;
        if timeout(self.stop_timeout, child.wait()).await.is_ok() {
            return Ok(());
        }
        if timeout(KILL_TIMEOUT, child.kill()).await.is_err() {
            tracing::error!(server = self.name, pid, "a server doesn't end, not even by SIGKILL");
        }
        Err(ChildServerError::StopTimeout { server: self.name, waited_s: self.stop_timeout.as_secs() })
    }

    /// Ends the process `pid` if it is a server of ours, known by the argument `mark` in its command line: a pid alone
    /// may have been given to somebody else since.
    pub async fn end_left_behind(&self, pid: u32, mark: &Path, progress: &mut dyn FnMut(&str)) -> Result<(), ChildServerError> {
        if !has_argument(pid, mark) {
            return Ok(());
        }
        progress(&format!("ending {}, process {pid}, left behind by an earlier run", self.name));
        for (name, bound) in [(self.stop_signal, self.stop_timeout), ("KILL", KILL_TIMEOUT)] {
            signal(pid, name).await;
            // One that was halted sees the signal only when it goes on.
            signal(pid, "CONT").await;
            let asked = Instant::now();
            while asked.elapsed() < bound {
                if !has_argument(pid, mark) {
                    return Ok(());
                }
                tokio::time::sleep(POLL).await;
            }
        }
        Err(ChildServerError::LeftBehind { server: self.name, pid })
    }

    /// The error for a process that ended while starting.
    fn ended(&self, port: u16, status: String) -> ChildServerError {
        let log_tail = self.log_tail();
        if log_tail.to_lowercase().contains("address already in use") {
            ChildServerError::PortTaken { server: self.name, port }
        } else if says_disk_full(&log_tail) {
            ChildServerError::DiskFull { path: self.log.clone() }
        } else {
            ChildServerError::Exited { server: self.name, status, log: self.log.clone(), log_tail }
        }
    }

    fn log_tail(&self) -> String {
        let length = self.log.metadata().map_or(0, |log| log.len());
        tail(&self.read_log(self.log_start.max(length.saturating_sub(TAIL_BYTES)), TAIL_BYTES))
    }

    /// Whether the present process has said so; others that still write to its log may have said much since.
    pub fn has_said(&self, what: &str) -> bool {
        String::from_utf8_lossy(&self.read_log(self.log_start, SAID_BYTES)).contains(what)
    }

    /// A part of the log; nothing when it can't be read.
    fn read_log(&self, from: u64, length: u64) -> Vec<u8> {
        let read = || -> std::io::Result<Vec<u8>> {
            let mut log = File::open(&self.log)?;
            log.seek(SeekFrom::Start(from))?;
            let mut bytes = Vec::new();
            log.take(length).read_to_end(&mut bytes)?;
            Ok(bytes)
        };
        read().unwrap_or_default()
    }
}

impl ChildServerError {
    /// The error of a file or folder, told by what can be done about it.
    pub(super) fn at(action: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> Self {
        move |source| match source.kind() {
            ErrorKind::PermissionDenied => {
                let nearest = path.ancestors().find_map(|path| path.metadata().ok().map(|found| (path, found.uid())));
                let (path, owner) = nearest.map_or((path, None), |(path, owner)| (path, Some(owner)));
                Self::Permission { path: path.to_owned(), owner }
            }
            ErrorKind::StorageFull | ErrorKind::QuotaExceeded => Self::DiskFull { path: path.to_owned() },
            _ => Self::Io { action, path: path.to_owned(), source },
        }
    }

    /// The error of a program that can't be started.
    pub(super) fn starting(program: &'static str) -> impl FnOnce(std::io::Error) -> Self {
        move |source| match source.kind() {
            ErrorKind::NotFound => Self::Missing {
                program,
                looked_in: "PATH".to_owned(),
                fix: "install util-linux (Linux only), or name running \
                    servers with DATABASE_URL and NATS_URL",
            },
            _ => Self::DoesNotRun { path: program.into(), reason: source.to_string() },
        }
    }
}

/// Runs a program for its output, within a bound.
pub(super) async fn question(command: &mut Command) -> std::io::Result<std::process::Output> {
    let output = command.stdin(Stdio::null()).kill_on_drop(true).output();
    timeout(QUESTION_TIMEOUT, output).await.unwrap_or_else(|_| Err(ErrorKind::TimedOut.into()))
}

/// The version in what `<program> --version` says after `words_before` words, without a `v`: `15.18`, `2.15.1`.
pub(super) async fn version(program: &Path, words_before: usize) -> Result<String, ChildServerError> {
    let does_not_run = |reason: String| ChildServerError::DoesNotRun { path: program.to_owned(), reason };
    let output = question(Command::new(program).arg("--version")).await.map_err(|error| does_not_run(error.to_string()))?;
    let text = String::from_utf8_lossy(&output.stdout);
    let version = text.split_whitespace().nth(words_before).map(|word| word.trim_start_matches('v').to_owned());
    version.ok_or_else(|| does_not_run(format!("--version says `{}`", text.trim())))
}

/// The folders of PATH.
pub(super) fn search_path() -> Vec<PathBuf> {
    std::env::var_os("PATH").map(|path| std::env::split_paths(&path).collect()).unwrap_or_default()
}

/// Whether a server complains about the disk, in its own ways of saying so.
pub(super) fn says_disk_full(text: &str) -> bool {
    let text = text.to_lowercase();
    text.contains("no space left on device") || text.contains("check free disk space")
}

/// The last lines of what a program said.
pub(super) fn tail(output: &[u8]) -> String {
    let text = String::from_utf8_lossy(output);
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(TAIL_LINES)..].join("\n")
}

/// Whether `argument` is in the command line of the live process `pid`; a zombie has none.
fn has_argument(pid: u32, argument: &Path) -> bool {
    let line = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    line.split(|&byte| byte == 0).any(|found| OsStr::from_bytes(found) == argument.as_os_str())
}

/// Whether there is an entry for `pid`, but not of a live process of the program `name`.
pub(super) fn is_dead_or_not(pid: u32, name: &str) -> bool {
    let entry = |file: &str| std::fs::read_to_string(format!("/proc/{pid}/{file}")).unwrap_or_default();
    let found = entry("comm");
    // A zombie keeps its name, and has no command line.
    !found.is_empty() && (found.trim() != name || entry("cmdline").is_empty())
}

/// By the shell's own `kill`: a minimal system has no program of that name, and we no unsafe code. A process that is gone
/// is fine.
async fn signal(pid: u32, name: &str) {
    let mut command = Command::new("sh");
    command.args(["-c", "kill -s \"$1\" \"$2\"", "sh", name, &pid.to_string()]);
    if let Err(error) = question(&mut command).await {
        tracing::warn!(pid, signal = name, %error, "can't send a signal");
    }
}

fn effective_uid() -> Result<u32, ChildServerError> {
    let status = Path::new("/proc/self/status");
    let text = std::fs::read_to_string(status).map_err(ChildServerError::at("read", status))?;
    let uids = text.lines().find_map(|line| line.strip_prefix("Uid:")).unwrap_or_default();
    let effective = uids.split_whitespace().nth(1).and_then(|uid| uid.parse().ok());
    effective.ok_or_else(|| ChildServerError::at("read", status)(ErrorKind::InvalidData.into()))
}

/// `(uid, gid)` of a user of `/etc/passwd`.
fn user(passwd: &str, name: &str) -> Option<(u32, u32)> {
    let mut fields = passwd.lines().map(|line| line.split(':')).find_map(|mut fields| (fields.next() == Some(name)).then_some(fields))?;
    let uid = fields.nth(1)?.parse().ok()?;
    Some((uid, fields.next()?.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_user_is_found_by_its_whole_name() {
        let passwd = "root:x:0:0:root:/root:/bin/bash\npostgresql:x:7:8::/:\npostgres:x:101:104:PostgreSQL:/var/lib:/bin/bash\n";
        assert_eq!(user(passwd, "postgres"), Some((101, 104)));
        assert_eq!(user(passwd, "nobody"), None);
    }

    #[test]
    fn a_process_is_known_by_a_whole_argument() {
        let own = std::process::id();
        let program = std::env::args_os().next().unwrap();
        assert!(has_argument(own, Path::new(&program)));
        assert!(!has_argument(own, Path::new("/nowhere")));
        assert!(!has_argument(u32::MAX, Path::new(&program)));
        let name = std::fs::read_to_string("/proc/self/comm").unwrap();
        assert!(!is_dead_or_not(own, name.trim()) && is_dead_or_not(own, "postgres"));
        assert!(!is_dead_or_not(u32::MAX, "postgres"));
    }

    #[test]
    fn a_tail_is_the_last_lines() {
        let text: Vec<String> = (1..=TAIL_LINES + 2).map(|line| line.to_string()).collect();
        assert!(tail(text.join("\n").as_bytes()).starts_with("3\n4\n"));
        assert_eq!(tail(b""), "");
    }

    #[test]
    fn what_a_process_said_is_found_behind_what_orphans_say() {
        let log = std::env::temp_dir().join(format!("daybook-log-{}", crate::clock::new_id().simple()));
        let orphans = "terminating connection due to unexpected postmaster exit\n".repeat(10 * TAIL_LINES);
        std::fs::write(&log, format!("an earlier start\nshared memory block is in use\n{orphans}")).unwrap();
        let mut process = Process::new("Postgres", "INT", Duration::ZERO, log.clone());
        process.log_start = "an earlier start\n".len() as u64;
        assert!(process.has_said("shared memory block") && !process.log_tail().contains("shared memory block"));
        assert!(!process.has_said("an earlier start"));
        std::fs::remove_file(log).unwrap();
    }
}
