//! What the processes of a shop cost, as the kernel counts it.

use anyhow::Context;

use crate::shop::RunFile;

/// Ticks of processor time a second, the same on every Linux.
const TICKS_PER_SECOND: f64 = 100.0;

/// One process, with those of its children that it has outlived or that live.
#[derive(Debug, Clone)]
pub struct Usage {
    pub name: String,
    pub cpu_ms: f64,
    pub memory_mb: f64,
}

/// The program, its servers, and the shoppers here.
pub struct Processes {
    named: Vec<(&'static str, u32)>,
}

impl Processes {
    pub fn new(run: &RunFile) -> Self {
        let servers = [("postgres", run.postgres_pid), ("nats-server", run.nats_pid)];
        let mut named = vec![("daybook", run.pid)];
        named.extend(servers.into_iter().filter_map(|(name, pid)| Some((name, pid?))));
        named.push(("shoppers", std::process::id()));
        Self { named }
    }

    pub fn usage(&self) -> anyhow::Result<Vec<Usage>> {
        self.named
            .iter()
            .map(|&(name, pid)| {
                // Only Postgres works in children; those of the program are its servers.
                let (mut cpu_ms, mut memory_mb) = (cpu_ms(pid, name == "postgres")?, memory_mb(pid)?);
                if name == "postgres" {
                    for child in children(pid)? {
                        // It may have ended meanwhile; then its parent has its time.
                        cpu_ms += self::cpu_ms(child, false).unwrap_or(0.0);
                        memory_mb += self::memory_mb(child).unwrap_or(0.0);
                    }
                }
                Ok(Usage { name: name.to_owned(), cpu_ms, memory_mb })
            })
            .collect()
    }
}

/// Fields of `/proc/<pid>/stat` from the state on: the name before it may hold spaces.
fn stat(pid: u32) -> anyhow::Result<Vec<String>> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/stat")).with_context(|| format!("process {pid} is gone"))?;
    let rest = text.rsplit_once(") ").context("an unknown form of /proc/<pid>/stat")?.1;
    Ok(rest.split_whitespace().map(str::to_owned).collect())
}

fn cpu_ms(pid: u32, with_ended_children: bool) -> anyhow::Result<f64> {
    let fields = stat(pid)?;
    // utime, stime, cutime, cstime: fields 14 to 17, of which the first two were cut off with the name.
    let counted = if with_ended_children { 11..15 } else { 11..13 };
    let ticks = fields.get(counted).context("an unknown form of /proc/<pid>/stat")?.iter().map(|text| text.parse::<f64>());
    Ok(ticks.sum::<Result<f64, _>>()? * 1_000.0 / TICKS_PER_SECOND)
}

fn memory_mb(pid: u32) -> anyhow::Result<f64> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/smaps_rollup"))?;
    let line = text.lines().find_map(|line| line.strip_prefix("Pss:")).context("no Pss in smaps_rollup")?;
    let kilobytes: f64 = line.trim().trim_end_matches(" kB").parse()?;
    Ok(kilobytes / 1_024.0)
}

fn children(of: u32) -> anyhow::Result<Vec<u32>> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir("/proc")? {
        let Some(pid) = entry?.file_name().to_str().and_then(|name| name.parse().ok()) else { continue };
        // The parent's id comes after the state.
        if stat(pid).is_ok_and(|fields| fields.get(1).is_some_and(|parent| *parent == of.to_string())) {
            found.push(pid);
        }
    }
    Ok(found)
}
