//! `daybook events`: the log as stored, one `CloudEvent` a line, from Postgres itself.

use std::io::{BufWriter, ErrorKind, Write};
use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context;
use clap::{Args, ValueEnum};
use indicatif::ProgressBar;
use infra::event_log::{self, Epoch, PAGE_EVENTS_MAX, StoredEvent};
use infra::feed::Feed;
use infra::{cloud_event, postgres};

use crate::http::event::{Filter, Place, find};
use crate::http::problem::Problem;
use crate::shop::{self, Shop};

const CONNECTIONS_MAX: u32 = 1;
/// How often the progress to a file is drawn anew.
const PROGRESS_INTERVAL: Duration = Duration::from_millis(200);

#[derive(Debug, Args)]
pub struct Options {
    /// Folder of the shop that `daybook up` runs; `DATABASE_URL` goes before it.
    #[arg(long, env = "DAYBOOK_DATA_DIR", default_value = shop::DATA_DIR)]
    data_dir: PathBuf,
    /// Only events after this position, token or time.
    #[arg(long, default_value = "0", value_parser = parse_place)]
    after: Place,
    /// Only events up to this position, which may be one to come, or this token or time.
    #[arg(long, value_parser = parse_place)]
    until: Option<Place>,
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
    let from = find(&pool, "--after", options.after).await.map_err(|problem| refused(&problem))?;
    let until = match options.until {
        None => i64::MAX,
        Some(Place::Position(position)) => position,
        Some(place) => find(&pool, "--until", place).await.map_err(|problem| refused(&problem))?,
    };
    let mut print = Print {
        filter: Filter::new(options.context.as_deref(), options.kind.as_deref(), None),
        epochs: event_log::epochs(&pool).await?,
        until,
        left: options.limit.unwrap_or(u64::MAX),
        bar: match options.output {
            Some(_) => ProgressBar::new_spinner().with_message("events"),
            None => ProgressBar::hidden(),
        },
        output: output(options.output)?,
    };
    print.bar.enable_steady_tick(PROGRESS_INTERVAL);
    let printed = if options.follow {
        let mut tail = Feed::new(pool).tail(from);
        let all = async {
            while print.page(&tail.next().await?)? {}
            anyhow::Ok(())
        };
        tokio::select! {
            printed = all => printed,
            signal = crate::until_signal() => signal,
        }
    } else {
        let mut after = from;
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

fn parse_place(text: &str) -> Result<Place, String> {
    Place::parse(text).ok_or_else(|| "a position like 1200, a token like 1.1200, or a time like 2026-05-01T12:00:00Z".to_owned())
}

fn refused(problem: &Problem) -> anyhow::Error {
    anyhow::anyhow!("{}", problem.detail())
}

#[cfg(test)]
mod tests {
    use commands::answer::Position;

    use super::*;

    #[test]
    fn a_place_is_a_position_or_a_token() {
        assert_eq!(parse_place("1200"), Ok(Place::Position(1_200)));
        assert_eq!(parse_place("2.1200"), Ok(Place::Token(Position { epoch: 2, position: 1_200 })));
        assert!(parse_place("-1").is_err());
        assert!(parse_place("1.-1").is_err());
        assert!(parse_place("yesterday").is_err());
    }
}
