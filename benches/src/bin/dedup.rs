//! What deduplication costs: events a second with a new key each, beside events without keys,
//! on a store that remembers many keys already.

use std::error::Error;

use clap::Parser;
use ploy_webhooks_benches::dedup::{self, Options};

/// Measures what deduplication costs on a store that remembers many keys.
#[derive(Debug, Parser)]
struct Arguments {
    #[command(flatten)]
    options: Options,
}

fn main() -> Result<(), Box<dyn Error>> {
    let Arguments { options } = Arguments::parse();
    let runtime = tokio::runtime::Runtime::new()?;
    let report = runtime.block_on(dedup::run(&options))?;
    if options.json {
        println!("{}", serde_json::to_string_pretty(&report)?);
    } else {
        print!("{report}");
    }
    Ok(())
}
