//! The data folder: who has it, where its servers' data lie, and the servers' passwords.

use std::fmt::Write;
use std::fs::{DirBuilder, File, OpenOptions, Permissions, TryLockError};
use std::io::{ErrorKind, Read, Write as _};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use aws_lc_rs::rand;
use sha2::{Digest, Sha256};

use super::ChildServerError;
use super::process::Account;

/// Where the servers' data lie when the unprivileged user can't get into the data folder.
const ELSEWHERE: &str = "/var/lib/daybook";
/// The link from the data folder to there.
const POINTER: &str = "servers";
/// Longest wait for a process that was killed to be gone, or for one that only looks.
const LOCK_TIMEOUT: Duration = Duration::from_secs(1);
const LOCK_POLL: Duration = Duration::from_millis(20);
/// Random bytes in a password; it is written as hex, so that it needs no quoting anywhere.
const PASSWORD_BYTES: usize = 32;

/// A data folder that is ours until this is dropped.
#[derive(Debug)]
pub(super) struct Place {
    pub data_dir: PathBuf,
    pub server_dir: PathBuf,
    pub account: Account,
    _locks: Vec<Lock>,
}

/// Released by the kernel whenever and however this process ends.
#[derive(Debug)]
struct Lock(File);

impl Drop for Lock {
    /// Said, and not left to the closing of the file: a child that is being started has a copy of it until its `exec`.
    fn drop(&mut self) {
        if let Err(error) = self.0.unlock() {
            tracing::warn!(%error, "a lock is released only when this process ends");
        }
    }
}

/// The process that has `data_dir` now, for `down` and `doctor`; `None` when nobody has.
#[must_use]
pub fn holder(data_dir: &Path) -> Option<u32> {
    let mut file = File::open(data_dir.join("lock")).ok()?;
    match file.try_lock_shared() {
        Err(TryLockError::WouldBlock) => read_pid(&mut file),
        _ => None,
    }
}

impl Place {
    /// Makes the folder if need be, locks it, and decides where its servers' data lie and whose they are.
    pub async fn take(data_dir: &Path, progress: &mut dyn FnMut(&str)) -> Result<Self, ChildServerError> {
        // Open to pass through, not to read: the unprivileged user has its data in here.
        make_folder(data_dir, 0o711).map_err(|error| match error {
            ChildServerError::Permission { .. } => ChildServerError::NoFolder { path: data_dir.to_owned() },
            other => other,
        })?;
        let data_dir = data_dir.canonicalize().map_err(ChildServerError::at("find", data_dir))?;
        let mut locks = vec![lock(&data_dir).await?];
        make_folder(&data_dir.join("log"), 0o700)?;
        make_folder(&data_dir.join("secrets"), 0o700)?;

        let known = known_server_dir(&data_dir)?;
        let account = Account::choose(known.as_ref().map(|dir| dir.join("postgres")).as_deref())?;
        let server_dir = match known {
            Some(dir) => dir,
            None if account.may_execute(&data_dir).await? => data_dir.clone(),
            None => make_elsewhere(&data_dir, progress)?,
        };
        if !account.may_execute(&server_dir).await? {
            return Err(ChildServerError::Unreachable { path: server_dir, uid: account.uid() });
        }
        if server_dir != data_dir {
            // A copy of the data folder has the same pointer, and would start a second server on the same data.
            locks.push(lock(&server_dir).await?);
        }
        Ok(Self { data_dir, server_dir, account, _locks: locks })
    }

    pub fn log(&self, name: &str) -> PathBuf {
        self.data_dir.join("log").join(name)
    }

    pub fn secret_path(&self, name: &str) -> PathBuf {
        self.data_dir.join("secrets").join(name)
    }

    /// The password of that name, made at first use.
    pub fn secret(&self, name: &str) -> Result<String, ChildServerError> {
        let path = self.secret_path(name);
        match std::fs::read_to_string(&path) {
            Ok(text) => Ok(text.trim().to_owned()),
            Err(error) if error.kind() == ErrorKind::NotFound => {
                let mut bytes = [0; PASSWORD_BYTES];
                let random = rand::fill(&mut bytes).map_err(|_| std::io::Error::other("no random bytes"));
                random.map_err(ChildServerError::at("make", &path))?;
                let password = hex(&bytes);
                // Under another name first: a crash must leave no half password behind.
                let fresh = path.with_extension("new");
                write_private(&fresh, &password)?;
                std::fs::rename(&fresh, &path).map_err(ChildServerError::at("rename", &fresh))?;
                Ok(password)
            }
            Err(error) => Err(ChildServerError::at("read", &path)(error)),
        }
    }
}

/// A folder that is there is left as it is.
pub(super) fn make_folder(path: &Path, mode: u32) -> Result<(), ChildServerError> {
    if path.is_dir() {
        return Ok(());
    }
    DirBuilder::new().recursive(true).mode(mode).create(path).map_err(ChildServerError::at("make", path))?;
    // The mode above is cut by the umask.
    std::fs::set_permissions(path, Permissions::from_mode(mode)).map_err(ChildServerError::at("chmod", path))
}

/// Writes a file that only its owner may read, and waits for the disk.
pub(super) fn write_private(path: &Path, text: &str) -> Result<(), ChildServerError> {
    let write = || -> std::io::Result<()> {
        let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path)?;
        file.set_permissions(Permissions::from_mode(0o600))?;
        file.write_all(text.as_bytes())?;
        file.sync_all()
    };
    write().map_err(ChildServerError::at("write", path))
}

async fn lock(dir: &Path) -> Result<Lock, ChildServerError> {
    let path = dir.join("lock");
    let file = OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o644).open(&path);
    let mut file = file.map_err(ChildServerError::at("open", dir))?;
    let asked = Instant::now();
    loop {
        match file.try_lock() {
            Ok(()) => break,
            Err(TryLockError::WouldBlock) if asked.elapsed() < LOCK_TIMEOUT => {
                tokio::time::sleep(LOCK_POLL).await;
            }
            Err(TryLockError::WouldBlock) => {
                return Err(ChildServerError::AlreadyRunning { data_dir: dir.to_owned(), pid: read_pid(&mut file) });
            }
            Err(TryLockError::Error(error)) => {
                return Err(ChildServerError::at("lock", &path)(error));
            }
        }
    }
    let write = |file: &mut File| -> std::io::Result<()> {
        file.set_len(0)?;
        writeln!(file, "{}", std::process::id())
    };
    write(&mut file).map_err(ChildServerError::at("write", &path))?;
    Ok(Lock(file))
}

/// `None` too while the holder has not yet written it.
fn read_pid(file: &mut File) -> Option<u32> {
    let mut text = String::new();
    file.read_to_string(&mut text).ok()?;
    text.trim().parse().ok()
}

/// Where an earlier run put the servers' data. Once chosen, it stays: a folder whose mode changes must not turn into an
/// empty shop.
fn known_server_dir(data_dir: &Path) -> Result<Option<PathBuf>, ChildServerError> {
    let link = data_dir.join(POINTER);
    if link.is_symlink() {
        let gone = |_| ChildServerError::ServersGone { link: link.clone(), data_dir: data_dir.to_owned() };
        return link.canonicalize().map(Some).map_err(gone);
    }
    Ok(data_dir.join("postgres").exists().then(|| data_dir.to_owned()))
}

/// A new folder below `/var/lib/daybook` and the link to it. One that has data but no link belongs to a data folder that
/// was removed: it is kept, and not brought back to life.
fn make_elsewhere(data_dir: &Path, progress: &mut dyn FnMut(&str)) -> Result<PathBuf, ChildServerError> {
    let name = hex(&Sha256::digest(data_dir.as_os_str().as_bytes())[..8]);
    let mut dir = Path::new(ELSEWHERE).join(&name);
    let mut generation = 1;
    while dir.join("postgres").exists() {
        progress(&format!("{} has the data of a folder that was removed; remove it too if you don't need it", dir.display()));
        generation += 1;
        dir.set_file_name(format!("{name}-{generation}"));
    }
    make_folder(Path::new(ELSEWHERE), 0o755)?;
    make_folder(&dir, 0o711)?;
    let link = data_dir.join(POINTER);
    std::os::unix::fs::symlink(&dir, &link).map_err(ChildServerError::at("make", &link))?;
    progress(&format!("the servers' data lie in {}, since their user can't get into {}", dir.display(), data_dir.display()));
    Ok(dir)
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}
