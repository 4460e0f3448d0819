//! Closed-loop clients, and what they saw.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use serde::Serialize;
use tokio::time::Instant;

/// One measurement.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct Measured {
    pub per_second: f64,
    pub p50_us: u32,
    pub p95_us: u32,
    pub p99_us: u32,
    pub count: u64,
    /// Attempts that had to be made again.
    pub retries: u64,
}

/// Runs `clients` at once, each giving its next command when its last was answered, for `duration`; `command` gets the
/// client's number and a number that no other call has, and answers how often it had to try again.
pub async fn drive<F, A>(clients: usize, duration: Duration, command: F) -> anyhow::Result<Measured>
where
    F: Fn(usize, u64) -> A + Send + Sync + 'static,
    A: Future<Output = anyhow::Result<u64>> + Send,
{
    drive_with_pauses(clients, duration, Duration::ZERO, command).await
}

/// The same with clients who wait a while before their next command; the wait is not measured.
pub async fn drive_with_pauses<F, A>(clients: usize, duration: Duration, pause: Duration, command: F) -> anyhow::Result<Measured>
where
    F: Fn(usize, u64) -> A + Send + Sync + 'static,
    A: Future<Output = anyhow::Result<u64>> + Send,
{
    let command = Arc::new(command);
    let numbers = Arc::new(AtomicU64::new(0));
    let stop = Arc::new(AtomicBool::new(false));
    let began = Instant::now();
    let mut tasks = Vec::with_capacity(clients);
    for client in 0..clients {
        let (command, numbers, stop) = (Arc::clone(&command), Arc::clone(&numbers), Arc::clone(&stop));
        tasks.push(infra::task::spawn(async move {
            let (mut took, mut retries) = (Vec::new(), 0);
            while !stop.load(Ordering::Relaxed) {
                let sent = Instant::now();
                retries += command(client, numbers.fetch_add(1, Ordering::Relaxed)).await?;
                took.push(u32::try_from(sent.elapsed().as_micros()).unwrap_or(u32::MAX));
                if !pause.is_zero() {
                    tokio::time::sleep(pause).await;
                }
            }
            Ok::<_, anyhow::Error>((took, retries))
        }));
    }
    tokio::time::sleep(duration).await;
    stop.store(true, Ordering::Relaxed);
    let (mut took, mut retries) = (Vec::new(), 0);
    for task in tasks {
        let (of_one, again) = task.await??;
        took.extend(of_one);
        retries += again;
    }
    Ok(Measured::of(took, retries, began.elapsed()))
}

impl Measured {
    #[expect(clippy::cast_precision_loss, reason = "counts stay far below 2^52")]
    pub fn of(mut took: Vec<u32>, retries: u64, elapsed: Duration) -> Self {
        took.sort_unstable();
        let at = |percent: usize| took.get((took.len() * percent / 100).min(took.len().saturating_sub(1))).copied().unwrap_or(0);
        Self {
            per_second: took.len() as f64 / elapsed.as_secs_f64(),
            p50_us: at(50),
            p95_us: at(95),
            p99_us: at(99),
            count: took.len() as u64,
            retries,
        }
    }
}

/// What several rounds of one measurement say.
#[derive(Debug, Clone, Serialize)]
pub struct Summary {
    /// Medians of the rounds.
    pub per_second: f64,
    pub p50_us: u32,
    pub p99_us: u32,
    /// The slowest and the fastest round.
    pub spread: (f64, f64),
    pub retries: u64,
    pub rounds: usize,
}

impl Summary {
    pub fn of(rounds: &[Measured]) -> Self {
        let mut rates: Vec<f64> = rounds.iter().map(|m| m.per_second).collect();
        rates.sort_by(f64::total_cmp);
        let middle = |mut values: Vec<u32>| {
            values.sort_unstable();
            values.get(values.len() / 2).copied().unwrap_or(0)
        };
        Self {
            per_second: median(&rates),
            p50_us: middle(rounds.iter().map(|m| m.p50_us).collect()),
            p99_us: middle(rounds.iter().map(|m| m.p99_us).collect()),
            spread: (rates.first().copied().unwrap_or(0.0), rates.last().copied().unwrap_or(0.0)),
            retries: rounds.iter().map(|m| m.retries).sum(),
            rounds: rounds.len(),
        }
    }
}

/// Of sorted values.
fn median(sorted: &[f64]) -> f64 {
    let middle = sorted.len() / 2;
    match sorted.len() {
        0 => 0.0,
        n if n % 2 == 1 => sorted[middle],
        _ => f64::midpoint(sorted[middle - 1], sorted[middle]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_summary_takes_the_median_round_and_shows_the_spread() {
        let round = |per_second: f64| Measured { per_second, p50_us: 1, p95_us: 2, p99_us: 2, count: 1, retries: 1 };
        let summary = Summary::of(&[round(30.0), round(10.0), round(20.0)]);
        assert_eq!((summary.per_second, summary.spread, summary.retries), (20.0, (10.0, 30.0), 3));
    }

    #[test]
    fn the_percentiles_of_a_measurement_are_those_of_its_answers() {
        let measured = Measured::of((1..=100).rev().collect(), 0, Duration::from_secs(2));
        assert_eq!((measured.p50_us, measured.p99_us, measured.per_second), (51, 100, 50.0));
    }
}
