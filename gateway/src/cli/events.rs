//! `daybook events`: the log as stored, one `CloudEvent` a line, from Postgres itself.

use std::io::{BufWriter, ErrorKind, Write};
use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context;
use clap::{Args, ValueEnum};
use commands::answer::Position;
use indicatif::ProgressBar;
use infra::event_log::{self, Epoch, PAGE_EVENTS_MAX, StoredEvent};
use infra::feed::Feed;
use infra::{cloud_event, postgres};

use crate::http::event::Filter;
use crate::shop::{self, Shop};

const CONNECTIONS_MAX: u32 = 1;
/// How often the progress to a file is drawn anew.
const PROGRESS_INTERVAL: Duration = Duration::from_millis(200);

#[derive(Debug, Args)]
pub struct Options {
    /// Folder of the shop that `daybook up` runs; `DATABASE_URL` goes before it.
    #[arg(long, env = "DAYBOOK_DATA_DIR", default_value = shop::DATA_DIR)]
    data_dir: PathBuf,
    /// Only events after this position or token.
    #[arg(long, default_value = "0", value_parser = parse_place)]
    after: i64,
    /// Only events up to this position or token.
    #[arg(long, value_parser = parse_place)]
    until: Option<i64>,
    /// Most events that are printed.
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..))]
    limit: Option<u64>,
    /// Go on with what is written from now on, until interrupted.
    #[arg(long)]
    follow: bool,
    /// Only of these contexts, separated by commas.
    #[arg(long)]
    context: Option<String>,
    /// Only of these event types, separated by commas.
    #[arg(long = "type")]
    kind: Option<String>,
    #[arg(long, value_enum, default_value_t = Format::Ndjson)]
    format: Format,
    /// Write to this file instead of standard output.
    #[arg(short, long)]
    output: Option<PathBuf>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Format {
    Ndjson,
}

pub async fn run(options: Options) -> anyhow::Result<()> {
    let shop = Shop::find(&options.data_dir)?;
    let pool = postgres::connect(&shop.config.database_url, CONNECTIONS_MAX, &[])
        .await
        .context("can't connect to Postgres; is the shop up? (`daybook doctor` says more)")?;
    let Format::Ndjson = options.format;
    let mut print = Print {
        filter: Filter::new(options.context.as_deref(), options.kind.as_deref(), None),
        epochs: event_log::epochs(&pool).await?,
        until: options.until.unwrap_or(i64::MAX),
        left: options.limit.unwrap_or(u64::MAX),
        bar: match options.output {
            Some(_) => ProgressBar::new_spinner().with_message("events"),
            None => ProgressBar::hidden(),
        },
        output: output(options.output)?,
    };
    print.bar.enable_steady_tick(PROGRESS_INTERVAL);
    let printed = if options.follow {
        let mut tail = Feed::new(pool).tail(options.after);
        let all = async {
            while print.page(&tail.next().await?)? {}
            anyhow::Ok(())
        };
        tokio::select! {
            printed = all => printed,
            signal = crate::until_signal() => signal,
        }
    } else {
        let mut after = options.after;
        loop {
            let events = event_log::page(&pool, after, print.until, PAGE_EVENTS_MAX).await?;
            let Some(last) = events.last() else {
                break Ok(());
            };
            after = last.position;
            match print.page(&events) {
                Ok(true) => {}
                Ok(false) => break Ok(()),
                Err(error) => break Err(error),
            }
        }
    };
    print.bar.finish_and_clear();
    match printed {
        Err(error) if is_closed(&error) => Ok(()),
        printed => printed,
    }
}

struct Print {
    filter: Filter,
    epochs: Vec<Epoch>,
    until: i64,
    left: u64,
    output: Box<dyn Write>,
    bar: ProgressBar,
}

impl Print {
    /// Prints what is wanted of a page; `false` when nothing more is.
    fn page(&mut self, events: &[StoredEvent]) -> anyhow::Result<bool> {
        for event in events.iter().filter(|event| event.position <= self.until) {
            if self.left == 0 {
                break;
            }
            if self.filter.wants(event) {
                let json = cloud_event::to_json(event, event_log::epoch_at(&self.epochs, event.position))?;
                writeln!(self.output, "{json}")?;
                self.left -= 1;
                self.bar.inc(1);
            }
        }
        self.output.flush()?;
        let past = events.last().is_some_and(|last| last.position >= self.until);
        Ok(self.left > 0 && !past)
    }
}

fn output(file: Option<PathBuf>) -> anyhow::Result<Box<dyn Write>> {
    Ok(match file {
        None => Box::new(BufWriter::new(std::io::stdout())),
        Some(path) => {
            let file = std::fs::File::create(&path).with_context(|| format!("can't write {}", path.display()))?;
            Box::new(BufWriter::new(file))
        }
    })
}

/// Whoever read our output has had enough: `daybook events | head`.
fn is_closed(error: &anyhow::Error) -> bool {
    error.downcast_ref::<std::io::Error>().is_some_and(|error| error.kind() == ErrorKind::BrokenPipe)
}

/// `1200`, or the token `1.1200`.
fn parse_place(text: &str) -> Result<i64, String> {
    let position = text.parse().ok().or_else(|| text.parse::<Position>().ok().map(|token| token.position));
    position.filter(|&position| position >= 0).ok_or_else(|| "a position like 1200, or a token like 1.1200".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_a_position_or_a_token() {
        assert_eq!(parse_place("1200"), Ok(1_200));
        assert_eq!(parse_place("2.1200"), Ok(1_200));
        assert!(parse_place("-1").is_err());
        assert!(parse_place("yesterday").is_err());
    }
}
