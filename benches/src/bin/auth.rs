//! What proving a sender costs beside one HMAC, and whether the time of an answer tells where a
//! key or a signature is wrong.

use std::error::Error;

use clap::Parser;
use ploy_webhooks_benches::auth::cost::{self, Reads, Row};
use ploy_webhooks_benches::auth::timing::{self, Report};
use serde::Serialize;

/// Measures how senders are told, and what that tells.
#[derive(Debug, Parser)]
struct Options {
    /// The sizes of payloads in bytes.
    #[arg(long, value_delimiter = ',', default_value = "1024,65536")]
    payloads: Vec<usize>,
    /// How often the costs are measured; figures are medians.
    #[arg(long, default_value_t = 2_001)]
    rounds: usize,
    /// How many answers of each kind are timed; 0 leaves it out.
    #[arg(long, default_value_t = 200_000)]
    samples: usize,
    /// Print everything as JSON.
    #[arg(long)]
    json: bool,
}

/// All that was measured.
#[derive(Debug, Serialize)]
struct All {
    cost: Vec<Row>,
    timing: Option<Report>,
}

fn main() -> Result<(), Box<dyn Error>> {
    let options = Options::parse();
    let mut cost = Vec::new();
    for reads in [Reads::Nothing, Reads::Defaults] {
        for &payload_bytes in &options.payloads {
            cost.extend(cost::measure(reads, payload_bytes, options.rounds.max(1)));
        }
    }
    let timing = (options.samples > 0).then(|| timing::measure(options.samples));
    let all = All { cost, timing };
    if options.json {
        println!("{}", serde_json::to_string_pretty(&all)?);
        return Ok(());
    }
    print_cost(&all.cost);
    if let Some(timing) = &all.timing {
        print_timing(timing);
    }
    Ok(())
}

fn print_cost(rows: &[Row]) {
    println!(
        "{:<18} {:<9} {:>7} {:>10} {:>10} {:>10} {:>22}",
        "preset", "reads", "bytes", "signed ns", "keyed ns", "hmac ns", "(signed − keyed)/hmac"
    );
    for row in rows {
        let reads = format!("{:?}", row.reads).to_lowercase();
        println!(
            "{:<18} {:<9} {:>7} {:>10.0} {:>10.0} {:>10.0} {:>22.2}",
            row.preset,
            reads,
            row.payload_bytes,
            row.signed_ns,
            row.keyed_ns,
            row.hmac_ns,
            row.ratio,
        );
    }
}

fn print_timing(report: &Report) {
    println!("\n{} answers of each kind, medians in ns", report.samples);
    for (class, median) in &report.medians {
        println!("  {:<26} {median:>7}", format!("{class:?}"));
    }
    println!("\nWelch's t by the share of samples that is looked at; beyond ±4.5 is a difference");
    for (one, other, statistics) in &report.pairs {
        print!("  {:<53}", format!("{one:?} − {other:?}"));
        for statistic in statistics {
            let (share, t) = (statistic.percentile * 100.0, statistic.t);
            print!("  {share:.0} %: {t:+.2} ({:+.1} ns)", statistic.difference_ns);
        }
        println!();
    }
}
