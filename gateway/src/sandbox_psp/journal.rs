//! The file under the ledger: JSON lines, only ever appended to, on the disk before anybody is answered.
//!
//! A process that is killed while it writes leaves a torn last line; nobody was answered for it, so it is cut off. Any other
//! line that can't be read means that the file was changed by somebody else, and the sandbox doesn't start.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::Path;

use super::SandboxError;
use super::entry::Record;
use super::ledger::{Ledger, Terms};

const FILE_NAME: &str = "ledger.jsonl";

pub(super) struct Journal {
    file: File,
}

/// Opens or creates the file in `data_dir`, takes it for this process alone and folds what it holds.
pub(super) fn open(data_dir: &Path, terms: Terms) -> Result<(Journal, Ledger), SandboxError> {
    fs::create_dir_all(data_dir)?;
    let path = data_dir.join(FILE_NAME);
    let file = OpenOptions::new().read(true).append(true).create(true).open(&path)?;
    file.try_lock().map_err(|error| match error {
        TryLockError::WouldBlock => SandboxError::InUse { path: path.clone() },
        TryLockError::Error(error) => SandboxError::Io(error),
    })?;
    // The name of a new file must survive a crash too.
    File::open(data_dir)?.sync_all()?;
    let mut ledger = Ledger::new(terms);
    let whole_bytes = fold(&file, &path, &mut ledger)?;
    let torn_bytes = file.metadata()?.len() - whole_bytes;
    if torn_bytes > 0 {
        tracing::warn!(torn_bytes, "the last line of the sandbox's ledger was torn and is cut off");
        file.set_len(whole_bytes)?;
        file.sync_all()?;
    }
    Ok((Journal { file }, ledger))
}

impl Journal {
    /// All lines or, after a failure, some part of them that the next start cuts off or finds whole.
    pub fn append(&mut self, records: &[Record]) -> Result<(), SandboxError> {
        let mut lines = Vec::new();
        for record in records {
            serde_json::to_writer(&mut lines, record).map_err(std::io::Error::from)?;
            lines.push(b'\n');
        }
        self.file.write_all(&lines)?;
        self.file.sync_data()?;
        Ok(())
    }
}

/// Returns how many bytes are whole lines.
fn fold(file: &File, path: &Path, ledger: &mut Ledger) -> Result<u64, SandboxError> {
    let mut reader = BufReader::new(file);
    let mut line = Vec::new();
    let mut whole_bytes = 0;
    for number in 1_u64.. {
        line.clear();
        let read = reader.read_until(b'\n', &mut line)?;
        if line.last() != Some(&b'\n') {
            break;
        }
        let record: Option<Record> = serde_json::from_slice(&line).ok();
        if !record.is_some_and(|record| ledger.replay(record)) {
            return Err(SandboxError::Corrupt { path: path.to_owned(), line: number });
        }
        whole_bytes += read as u64;
    }
    Ok(whole_bytes)
}
