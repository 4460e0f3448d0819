//! Finding a shop from the command line: the one that `up` started in a data folder, or the one the environment names.

use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use infra::config::{self, Config};
use serde::{Deserialize, Serialize};

use crate::auth::{Role, Tokens};

/// Where `up` keeps everything unless told otherwise.
pub const DATA_DIR: &str = ".daybook";
/// Life of the token that a command line makes for itself, in minutes.
const OWN_TOKEN_TTL_MIN: i64 = 60;

/// What a running `up` tells others: `<data-dir>/run.json`, readable by its owner only.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct RunFile {
    pub pid: u32,
    pub url: String,
    pub metrics_url: String,
    pub sandbox_url: String,
    pub database_url: String,
    pub nats_url: String,
    /// Absent when the server is not ours.
    pub postgres_pid: Option<u32>,
    pub nats_pid: Option<u32>,
}

/// Secrets of a shop that `up` made: `<data-dir>/secrets.json`, readable by its owner only.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct SecretsFile {
    pub master_key: String,
    pub token_key: String,
    pub sandbox_webhook_secret: String,
}

impl RunFile {
    #[must_use]
    pub fn path(data_dir: &Path) -> PathBuf {
        data_dir.join("run.json")
    }

    pub fn read(data_dir: &Path) -> anyhow::Result<Self> {
        let path = Self::path(data_dir);
        let text = std::fs::read_to_string(&path).with_context(|| {
            format!("no shop runs in {}: start one with `daybook up`, or name its folder with --data-dir", data_dir.display())
        })?;
        let run: Self = serde_json::from_str(&text).with_context(|| {
            format!("{} is damaged: stop the shop and start it with `daybook up`, which writes it anew", path.display())
        })?;
        anyhow::ensure!(
            infra::child_server::holder(data_dir).is_some(),
            "no shop runs in {}: start it with `daybook up`, or name another folder with --data-dir",
            data_dir.display()
        );
        Ok(run)
    }

    pub fn write(&self, data_dir: &Path) -> anyhow::Result<()> {
        write_private(&Self::path(data_dir), &serde_json::to_string_pretty(self)?)
    }
}

impl SecretsFile {
    #[must_use]
    pub fn path(data_dir: &Path) -> PathBuf {
        data_dir.join("secrets.json")
    }

    /// The folder's secrets, made on first use.
    pub fn read_or_make(data_dir: &Path) -> anyhow::Result<Self> {
        let path = Self::path(data_dir);
        if path.exists() {
            let text = std::fs::read_to_string(&path).with_context(|| format!("can't read {}", path.display()))?;
            return serde_json::from_str(&text)
                .with_context(|| format!("{} is damaged: restore it from a backup; without it all personal data is lost", path.display()));
        }
        let data = ["postgres", "servers"].into_iter().any(|name| data_dir.join(name).exists());
        anyhow::ensure!(
            !data,
            "{} is missing, but {} holds a shop's data: restore it from a backup (new secrets would make all personal data unreadable)",
            path.display(),
            data_dir.display()
        );
        // 32 bytes in base64 take 43 characters; the webhook's secret has its padding, as Standard Webhooks writes it.
        let secrets = Self {
            master_key: infra::sealing::MasterKey::generate()?,
            token_key: Tokens::generate_key()?,
            sandbox_webhook_secret: format!("whsec_{}=", infra::sealing::MasterKey::generate()?),
        };
        write_private(&path, &serde_json::to_string_pretty(&secrets)?)?;
        Ok(secrets)
    }
}

/// Writes a file that only its owner reads, whole or not at all.
fn write_private(path: &Path, text: &str) -> anyhow::Result<()> {
    use std::io::Write;
    use std::os::unix::fs::OpenOptionsExt;
    let partial = path.with_extension("partial");
    let mut file = std::fs::OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&partial)
        .with_context(|| format!("can't write {}", partial.display()))?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    std::fs::rename(&partial, path)?;
    Ok(())
}

/// A shop to talk to.
#[derive(Debug, Clone)]
pub struct Shop {
    pub config: Config,
    pub url: String,
}

impl Shop {
    /// By `DATABASE_URL` and `NATS_URL` where they are set, otherwise by the data folder.
    pub fn find(data_dir: &Path) -> anyhow::Result<Self> {
        let mut config = config::load(None)?;
        if config.database_url.is_empty() {
            let run = RunFile::read(data_dir)?;
            let secrets = SecretsFile::read_or_make(data_dir)?;
            config.database_url = run.database_url;
            config.nats_url = run.nats_url;
            config.master_key = secrets.master_key;
            config.token_key = secrets.token_key;
            config.payments.sandbox_url = run.sandbox_url;
            return Ok(Self { config, url: run.url });
        }
        let url = config::variable("DAYBOOK_URL").unwrap_or_else(|| format!("http://{}", config.http.listen));
        Ok(Self { config, url })
    }

    /// A short-lived token of this command line's own.
    pub fn token(&self, role: Role) -> anyhow::Result<String> {
        if let Some(token) = config::variable("DAYBOOK_TOKEN") {
            return Ok(token);
        }
        if self.config.token_key.is_empty() {
            bail!("no signing key: set DAYBOOK_TOKEN to a bearer token, or DAYBOOK_TOKEN_KEY to the shop's key");
        }
        let tokens = Tokens::new(&self.config.token_key)?;
        Ok(tokens.issue(role, "cli", infra::clock::now(), chrono::Duration::minutes(OWN_TOKEN_TTL_MIN))?)
    }
}
