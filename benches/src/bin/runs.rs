//! Runs on every store: how fast a queue drains, how soon a run begins, and what owing one costs.

use std::error::Error;

use clap::Parser;
use ploy_webhooks_benches::runs::{self, Options};

/// Measures how runs are carried out on the stores.
#[derive(Debug, Parser)]
struct Arguments {
    #[command(flatten)]
    options: Options,
}

fn main() -> Result<(), Box<dyn Error>> {
    let Arguments { options } = Arguments::parse();
    let runtime = tokio::runtime::Runtime::new()?;
    let report = runtime.block_on(runs::run(&options))?;
    if options.json {
        println!("{}", serde_json::to_string_pretty(&report)?);
    } else {
        print!("{report}");
    }
    Ok(())
}
