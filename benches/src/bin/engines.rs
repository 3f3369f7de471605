//! Stores on servers of databases, in process, each beside what is written by hand: events a
//! second, latency, CPU an event.

use std::error::Error;

use clap::Parser;
use ploy_webhooks_benches::engines::{self, Options};

/// Measures a store beside what is written by hand for its database.
#[derive(Debug, Parser)]
struct Arguments {
    #[command(flatten)]
    options: Options,
}

fn main() -> Result<(), Box<dyn Error>> {
    let Arguments { options } = Arguments::parse();
    let runtime = tokio::runtime::Runtime::new()?;
    let report = runtime.block_on(engines::run(&options))?;
    if options.json {
        println!("{}", serde_json::to_string_pretty(&report)?);
    } else {
        print!("{report}");
    }
    Ok(())
}
