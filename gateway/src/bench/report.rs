//! Tables for people.

use std::fmt::Write as _;

use serde::Serialize;

use super::measure::{Measured, Summary};
use super::store::Report;
use super::{growth, http, log, search};

/// A report for a program or for a person.
pub fn print<R: Serialize>(report: &R, json: bool, text: fn(&R) -> String) -> anyhow::Result<()> {
    if json {
        println!("{}", serde_json::to_string_pretty(report)?);
    } else {
        print!("{}", text(report));
    }
    Ok(())
}

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

/// The report of `bench growth`.
pub fn growth(report: &growth::Report) -> String {
    let mut text = String::new();
    // Writing to a string does not fail.
    let _written = write_growth(&mut text, report);
    text
}

fn write_growth(text: &mut String, report: &growth::Report) -> std::fmt::Result {
    let settings: Vec<String> = report.settings.iter().map(|(name, value)| format!("{name}={value}")).collect();
    writeln!(text, "Postgres: {}\n", settings.join(" "))?;
    writeln!(text, "{:<34}{:>9}{:>9}{:>9}", "single appends (µs)", "p50", "p95", "p99")?;
    for (number, chunk) in report.first.iter().enumerate() {
        let until = (number + 1) * report.first_chunk;
        writeln!(text, "{:<34}{:>9}{:>9}{:>9}", format!("up to the {until}th"), chunk.p50_us, chunk.p95_us, chunk.p99_us)?;
    }
    writeln!(
        text,
        "\n{:>10} {:>10} | {:>18} {:>18} {:>18} {:>18}",
        "events", "growing /s", "append p50/p99 µs", "64 of them", "read a stream", "read 500 events"
    )?;
    for mark in &report.marks {
        let [append, batch, stream, page] = [mark.append, mark.append_64, mark.read_stream, mark.read_page].map(|m| pair(&m));
        writeln!(text, "{:>10} {:>10.0} | {append:>18} {batch:>18} {stream:>18} {page:>18}", mark.events, mark.growing)?;
    }
    writeln!(text, "\n{:<34}{:>9}{:>9}{:>9}{:>9}", "orders, snapshot open (µs)", "/s", "p50", "p95", "p99")?;
    for (minute, measured) in report.export.iter().enumerate() {
        let which = if minute == 0 { "before".to_owned() } else { format!("minute {minute}") };
        writeln!(text, "{which:<34}{:>9.0}{:>9}{:>9}{:>9}", measured.per_second, measured.p50_us, measured.p95_us, measured.p99_us)?;
    }
    Ok(())
}

fn pair(measured: &Measured) -> String {
    format!("{}/{}", measured.p50_us, measured.p99_us)
}

/// The report of `bench http`.
pub fn http(report: &http::Report) -> String {
    let mut text = String::new();
    // Writing to a string does not fail.
    let _written = write_http(&mut text, report);
    text
}

fn write_http(text: &mut String, report: &http::Report) -> std::fmt::Result {
    writeln!(
        text,
        "{} products; ready {:.1} s after the start on an empty folder, {:.1} s on its data",
        report.products, report.start_empty_s, report.start_again_s
    )?;
    for load in report.closed.iter().chain(&report.open) {
        let who = match (load.clients, load.rate) {
            (Some(clients), _) => format!("{clients} shoppers at once"),
            (None, rate) => format!("{} shoppers a second", rate.unwrap_or(0)),
        };
        writeln!(text, "\n{who}: {:.0} orders/s, {} turned away", load.flow.per_second, load.turned_away)?;
        writeln!(text, "{:<24}{:>10}{:>10}{:>10}", "ms", "p50", "p95", "p99")?;
        for (name, step) in load.steps.iter().chain([&("whole visit", load.flow)]) {
            writeln!(text, "{name:<24}{}", times(step))?;
        }
        let cpu: Vec<String> = load.cpu_ms_per_order.iter().map(|(name, cpu)| format!("{name} {cpu:.2}")).collect();
        writeln!(text, "processor time an order (ms): {}", cpu.join(", "))?;
    }
    writeln!(text, "\n{:<24}{:>10}{:>10}{:>10}{:>10}", "reads (ms)", "/s", "p50", "p95", "p99")?;
    for reads in &report.reads {
        for (what, read) in [("product", &reads.detail), ("search", &reads.search)] {
            writeln!(text, "{:<24}{:>10.0}{}", format!("{what}, {} clients", reads.clients), read.per_second, times(read))?;
        }
    }
    writeln!(text, "\n{:<24}{:>10}{:>10}{:>10}", "write answered to (ms)", "p50", "p95", "p99")?;
    for (who, seen) in [("product page", &report.seen_by_read_model), ("search", &report.seen_by_search)] {
        writeln!(text, "{who:<24}{}", times(seen))?;
    }
    write_memory(text, &report.memory)
}

fn write_memory(text: &mut String, memory: &[http::Memory]) -> std::fmt::Result {
    writeln!(text, "\n{:<24}{:>10}{:>10}", "memory (MB)", "idle", "loaded")?;
    for memory in memory {
        writeln!(text, "{:<24}{:>10.0}{:>10.0}", memory.process, memory.idle_mb, memory.loaded_mb)?;
    }
    Ok(())
}

fn times(measured: &Measured) -> String {
    let ms = |us: u32| f64::from(us) / 1_000.0;
    format!("{:>10.2}{:>10.2}{:>10.2}", ms(measured.p50_us), ms(measured.p95_us), ms(measured.p99_us))
}

/// The report of `bench search`.
pub fn search(report: &search::Report) -> String {
    let mut text = String::new();
    // Writing to a string does not fail.
    let _written = write_search(&mut text, report);
    text
}

fn write_search(text: &mut String, report: &search::Report) -> std::fmt::Result {
    writeln!(text, "generated catalogues; {} rounds of {} s, questions in turn; medians", report.rounds, report.seconds)?;
    for size in &report.sizes {
        let search::Filled { events, index_mb, database_mb, seconds, .. } = size.filled;
        writeln!(text, "\n{} products, {events} events; filled in {seconds:.0} s", size.products)?;
        let speeds = [
            ("written to the log", size.filled.events_written_per_s, "events/s"),
            ("stream and read models", size.filled.events_followed_per_s, "events/s"),
            ("indexed from the log", size.filled.documents_indexed_per_s, "documents/s"),
            ("put and committed alone", size.filled.documents_put_per_s, "documents/s"),
        ];
        for (name, speed, unit) in speeds {
            writeln!(text, "{name:<28}{speed:>10.0} {unit}")?;
        }
        writeln!(text, "index {index_mb:.0} MB, database {database_mb:.0} MB")?;
        writeln!(
            text,
            "an empty index opens after {:.1} s; the filled shop is ready after {:.1} s",
            size.filled.replica_open_s, size.start_s
        )?;
        writeln!(text, "\n{:<28}{:>8}{:>10}{:>10}{:>10}{:>10}", "questions over HTTP (ms)", "clients", "found", "/s", "p50", "p99")?;
        for row in &size.questions {
            let search::Row { question, clients, found, answered } = row;
            let [p50, p99] = [answered.p50_us, answered.p99_us].map(|us| f64::from(us) / 1_000.0);
            writeln!(text, "{question:<28}{clients:>8}{found:>10}{:>10.0}{p50:>10.2}{p99:>10.2}", answered.per_second)?;
        }
        write_memory(text, &size.memory)?;
        if let Some(freshness) = &size.freshness {
            write_freshness(text, freshness)?;
        }
    }
    Ok(())
}

fn write_freshness(text: &mut String, freshness: &search::Freshness) -> std::fmt::Result {
    let search::Freshness { updates, updated_per_s, left_out, .. } = freshness;
    writeln!(text, "\nunder {updates} changes a second ({updated_per_s:.0} decided, {left_out} left out)")?;
    writeln!(text, "{:<28}{:>10}{:>10}{:>10}{:>10}", "commit to visible (ms)", "seen", "p50", "p95", "p99")?;
    let search::Seen { sold_out, price, unlisted, uncounted, asking } = &freshness.seen;
    let seen = [
        ("the last unit is sold", sold_out),
        ("another price", price),
        ("unpublished: in no list", unlisted),
        ("unpublished: in no count", uncounted),
        ("one search that asks", asking),
    ];
    for (what, measured) in seen {
        writeln!(text, "{what:<28}{:>10}{}", measured.count, times(measured))?;
    }
    Ok(())
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
    let (ours, theirs) = report.commands.iter().fold((0, 0), |sum, row| (sum.0 + row.ours.retries, sum.1 + row.postgres_es.retries));
    writeln!(text, "\nbatches of ours with a conflict: {ours}; commands that postgres-es had to repeat for a conflict: {theirs}")?;
    writeln!(text, "An order is one append of ours; with postgres-es it is four commands, one after the other, that can fail apart.\n")?;
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
