//! Servers over loopback, each beside a bare handler in the same run: requests a second,
//! latency, CPU a request.

use std::error::Error;

use clap::{Parser, Subcommand};
use ploy_webhooks_benches::http::{self, Options};
use ploy_webhooks_benches::server::{self, Serve};

/// Measures the intake over HTTP beside a bare handler.
#[derive(Debug, Parser)]
#[command(args_conflicts_with_subcommands = true)]
struct Arguments {
    #[command(subcommand)]
    part: Option<Part>,
    #[command(flatten)]
    options: Options,
}

#[derive(Debug, Subcommand)]
enum Part {
    /// Be one of the servers.
    #[command(hide = true)]
    Serve(Serve),
}

fn main() -> Result<(), Box<dyn Error>> {
    let Arguments { part, options } = Arguments::parse();
    if let Some(Part::Serve(serve)) = part {
        return Ok(server::serve(serve)?);
    }
    let report = http::run(&options)?;
    if options.json {
        println!("{}", serde_json::to_string_pretty(&report)?);
    } else {
        print!("{report}");
    }
    Ok(())
}
