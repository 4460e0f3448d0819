//! Tables for people.

use std::fmt::Write as _;

use super::log;
use super::measure::Summary;
use super::store::Report;

/// The report of `bench log`.
pub fn log(report: &log::Report) -> String {
    let settings: Vec<String> = report.settings.iter().map(|(name, value)| format!("{name}={value}")).collect();
    let mut text = format!("Postgres: {}\n{} events, of orders of four streams each\n\n", settings.join(" "), report.events);
    let speeds = [
        ("writer alone", report.writer),
        ("relay alone", report.relay),
        ("rebuild of stock", report.rebuild_stock),
        ("rebuild of order", report.rebuild_order),
        ("rebuild of both at once", report.rebuild_both),
        ("writer, with all others running", report.together_writer),
        ("all, to the last checkpoint", report.together_all),
    ];
    for (name, speed) in speeds {
        // Writing to a string does not fail.
        let _written = writeln!(text, "{name:<34}{speed:>9.0} events/s");
    }
    let seen = &report.seen;
    text + &format!(
        "\ncommit to reader at {} events/s: p50 {} µs, p99 {} µs ({} events)\n",
        report.pace, seen.p50_us, seen.p99_us, seen.count
    )
}

/// The report of `bench store`.
pub fn store(report: &Report) -> String {
    let mut text = String::new();
    let settings: Vec<String> = report.settings.iter().map(|(name, value)| format!("{name}={value}")).collect();
    // Writing to a string does not fail.
    let _written = write_store(&mut text, report, &settings.join(" "));
    text
}

fn write_store(text: &mut String, report: &Report, settings: &str) -> std::fmt::Result {
    writeln!(text, "Postgres: {settings}")?;
    writeln!(
        text,
        "{} rounds of {} s, sides in turn; medians, in brackets the slowest and the fastest round\n",
        report.rounds, report.seconds
    )?;
    writeln!(
        text,
        "{:<27}{:>8} | {:>9} {:>17} {:>8} {:>8} | {:>9} {:>17} {:>8} {:>9} | {:>7}",
        "commands", "clients", "ours /s", "", "p50 µs", "p99 µs", "pg-es /s", "", "p50 µs", "p99 µs", "ratio"
    )?;
    for row in &report.commands {
        writeln!(
            text,
            "{:<27}{:>8} | {:>9.0} {:>17} {:>8} {:>8} | {:>9.0} {:>17} {:>8} {:>9} | {:>6.1}×",
            row.kind.title(),
            row.clients,
            row.ours.per_second,
            spread(&row.ours),
            row.ours.p50_us,
            row.ours.p99_us,
            row.postgres_es.per_second,
            spread(&row.postgres_es),
            row.postgres_es.p50_us,
            row.postgres_es.p99_us,
            row.ratio
        )?;
    }
    writeln!(text, "\nAn order is one append of ours; with postgres-es it is four commands, one after the other, that can fail apart.\n")?;
    writeln!(
        text,
        "{:<10}{:>9} | {:>10} {:>17} {:>8} | {:>10} {:>17} {:>8} | {:>10} | {:>8} {:>14}",
        "streams", "commands", "append /s", "", "p99 µs", "raw /s", "", "p99 µs", "events /s", "of raw", "of events only"
    )?;
    for row in &report.batches {
        writeln!(
            text,
            "{:<10}{:>9} | {:>10.0} {:>17} {:>8} | {:>10.0} {:>17} {:>8} | {:>10.0} | {:>7.0}% {:>13.0}%",
            row.streams,
            row.commands_a_batch,
            row.append.per_second,
            spread(&row.append),
            row.append.p99_us,
            row.raw.per_second,
            spread(&row.raw),
            row.raw.p99_us,
            row.raw_events_only.per_second,
            row.of_raw * 100.0,
            row.of_raw_events_only * 100.0
        )?;
    }
    writeln!(text, "\nraw: the same rows of events, idempotency and event_batch by plain inserts in one transaction, nothing checked;")?;
    writeln!(text, "events: the rows of events alone, in one statement\n")?;
    writeln!(
        text,
        "one at a time: a command p50 {} µs, p99 {} µs; one inserted row p50 {} µs, p99 {} µs; {:+.0} %",
        report.single.writer.p50_us,
        report.single.writer.p99_us,
        report.single.insert.p50_us,
        report.single.insert.p99_us,
        report.single.longer_percent
    )
}

fn spread(summary: &Summary) -> String {
    format!("({:.0}–{:.0})", summary.spread.0, summary.spread.1)
}
