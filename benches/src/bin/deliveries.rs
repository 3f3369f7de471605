//! Deliveries to a local receiver, from every store, beside a plain loop of the HTTP client.

use std::error::Error;

use clap::Parser;
use ploy_webhooks_benches::deliveries::{self, Options};

/// Measures how fast events are delivered.
#[derive(Debug, Parser)]
struct Arguments {
    #[command(flatten)]
    options: Options,
}

fn main() -> Result<(), Box<dyn Error>> {
    let Arguments { options } = Arguments::parse();
    let runtime = tokio::runtime::Runtime::new()?;
    let report = runtime.block_on(deliveries::run(&options))?;
    if options.json {
        println!("{}", serde_json::to_string_pretty(&report)?);
    } else {
        print!("{report}");
    }
    Ok(())
}
