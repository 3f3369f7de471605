//! Looking for a rare text among a million events: at rest, during ingest, and what the index
//! costs.

use std::error::Error;

use clap::Parser;
use ploy_webhooks_benches::search::{self, Latency, Options, Report};

/// Measures search and what its index costs.
#[derive(Debug, Parser)]
struct Arguments {
    #[command(flatten)]
    options: Options,
}

fn main() -> Result<(), Box<dyn Error>> {
    let Arguments { options } = Arguments::parse();
    let runtime = tokio::runtime::Runtime::new()?;
    let mut reports = Vec::new();
    for filler in &options.fillers {
        let report = runtime.block_on(search::run(&options, *filler))?;
        if !options.json {
            print(&report);
        }
        reports.push(report);
    }
    if options.json {
        println!("{}", serde_json::to_string_pretty(&reports)?);
    }
    Ok(())
}

fn print(report: &Report) {
    println!("{:?}: {} events filled with {:?}", report.store, report.events, report.filler);
    println!("  ingest {:.0} events/s", report.ingest_per_second);
    if let Some(rate) = report.ingest_per_second_without_index {
        let cost = 100.0 * (1.0 - report.ingest_per_second / rate);
        println!("  ingest {rate:.0} events/s without an index: keeping it costs {cost:.1} %");
    }
    println!("  ingest {:.0} events/s while searches run", report.ingest_per_second_while_searched);
    println!(
        "  {:<18} {:>5} {:>28} {:>28}",
        "ms: median (first, p99)", "found", "at rest", "during ingest"
    );
    for needle in &report.needles {
        println!(
            "  {:<23} {:>5} {:>28} {:>28}",
            needle.kind,
            needle.found,
            cell(needle.at_rest_ms),
            cell(needle.during_ingest_ms)
        );
    }
}

fn cell(latency: Latency) -> String {
    let Latency { first, median, p99, .. } = latency;
    format!("{median:.1} ({first:.1}, {p99:.1})")
}
