//! What the intake costs in process: nanoseconds and allocations a call, beside the parts that
//! it cannot do without.

use std::error::Error;

use clap::Parser;
use ploy_webhooks_benches::payload::Shape;
use ploy_webhooks_benches::pipeline::{Fixture, Part, calls_a_store, keep_freed_memory};
use ploy_webhooks_benches::report::median;
use serde::Serialize;

/// Measures the intake in process, beside its unavoidable parts.
#[derive(Debug, Parser)]
struct Options {
    /// The sizes of payloads in bytes.
    #[arg(long, value_delimiter = ',', default_value = "200,1024,16384,1048576")]
    payloads: Vec<usize>,
    /// How often everything is measured; figures are medians.
    #[arg(long, default_value_t = 51)]
    rounds: usize,
    /// Print everything as JSON.
    #[arg(long)]
    json: bool,
}

/// The figures of one payload; times in nanoseconds.
#[derive(Debug, Serialize)]
struct Row {
    shape: &'static str,
    payload_bytes: usize,
    call_ns: f64,
    request_ns: f64,
    check_ns: f64,
    digest_ns: f64,
    append_ns: f64,
    /// Not among the unavoidable parts; the buffer that an event keeps has to be filled all the
    /// same.
    copy_ns: f64,
    /// (call − request) / (check + digest + append).
    ratio: f64,
    /// (call − request − copy) / (check + digest + append).
    ratio_without_copy: f64,
    allocations_request: f64,
    /// Beyond those of the request.
    allocations_call: f64,
}

fn main() -> Result<(), Box<dyn Error>> {
    let options = Options::parse();
    keep_freed_memory();
    let mut rows = Vec::new();
    for shape in [Shape::Flat, Shape::Nested] {
        for &payload_bytes in &options.payloads {
            rows.push(measure(shape, payload_bytes, options.rounds.max(1)));
        }
    }
    if options.json {
        println!("{}", serde_json::to_string_pretty(&rows)?);
        return Ok(());
    }
    println!(
        "{:<7} {:>9} {:>10} {:>8} {:>9} {:>7} {:>7} {:>9} {:>6} {:>9} {:>12}",
        "shape",
        "bytes",
        "call ns",
        "request",
        "check",
        "digest",
        "append",
        "copy",
        "ratio",
        "w/o copy",
        "allocations",
    );
    for row in &rows {
        println!(
            "{:<7} {:>9} {:>10.0} {:>8.0} {:>9.0} {:>7.0} {:>7.0} {:>9.0} {:>6.2} {:>9.2} {:>12}",
            row.shape,
            row.payload_bytes,
            row.call_ns,
            row.request_ns,
            row.check_ns,
            row.digest_ns,
            row.append_ns,
            row.copy_ns,
            row.ratio,
            row.ratio_without_copy,
            format!("{:.2} + {:.1}", row.allocations_call, row.allocations_request),
        );
    }
    Ok(())
}

fn measure(shape: Shape, payload_bytes: usize, rounds: usize) -> Row {
    let calls = calls_a_store(payload_bytes);
    let mut samples = [const { Vec::new() }; Part::ALL.len()];
    for round in 0..=rounds {
        for (part, samples) in Part::ALL.into_iter().zip(&mut samples) {
            let mut fixture = Fixture::new(shape, payload_bytes);
            let nanos = fixture.time(part, calls).as_nanos() as f64 / calls as f64;
            // The first round fetches memory from the system.
            if round > 0 {
                samples.push(nanos);
            }
        }
    }
    let [call, request, check, digest, append, copy] = samples;
    let ratios = |copies: f64| {
        let parts = |round: usize| check[round] + digest[round] + append[round];
        let added = |round: usize| call[round] - request[round] - copies * copy[round];
        median((0..rounds).map(|round| added(round) / parts(round)).collect())
    };
    let (ratio, ratio_without_copy) = (ratios(0.0), ratios(1.0));
    let allocations_request = allocations(Part::Request, shape, payload_bytes);
    Row {
        shape: shape.name(),
        payload_bytes,
        ratio,
        ratio_without_copy,
        call_ns: median(call),
        request_ns: median(request),
        check_ns: median(check),
        digest_ns: median(digest),
        append_ns: median(append),
        copy_ns: median(copy),
        allocations_request,
        allocations_call: allocations(Part::Call, shape, payload_bytes) - allocations_request,
    }
}

fn allocations(part: Part, shape: Shape, payload_bytes: usize) -> f64 {
    let calls = calls_a_store(payload_bytes);
    let mut fixture = Fixture::new(shape, payload_bytes);
    let counted = allocation_counter::measure(|| {
        fixture.time(part, calls);
    });
    counted.count_total as f64 / calls as f64
}
