//! Callers in a loop, each of which waits for its answer before it goes on.

use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use tokio::task::JoinSet;

use super::report::Figures;
use super::{EnginesError, Load};
use crate::cpu::{self, Family};

/// Somebody who does one thing after the other.
pub(crate) trait Caller: Send + 'static {
    /// Stores some events, and says how many when they are durable.
    fn step(&mut self) -> impl Future<Output = Result<u64, EnginesError>> + Send;
}

/// What came of it.
#[derive(Debug)]
pub(crate) struct Measured {
    /// How many events were stored.
    pub(crate) events: u64,
    /// From the first step to the end of the last.
    pub(crate) elapsed: Duration,
    /// How long a step took, in nanoseconds.
    pub(crate) latency: Histogram<u64>,
}

/// Lets them warm up, and then measures them and what the server has used for them.
pub(crate) async fn measure<C: Caller>(
    callers: Vec<C>,
    load: Load,
    server: Family,
) -> Result<(Vec<C>, Figures), EnginesError> {
    let (callers, _) = run(callers, load.warm_up).await?;
    let (client_before, server_before) = (cpu::used(), server.used()?);
    let (callers, measured) = run(callers, load.measured).await?;
    let client = cpu::used() - client_before;
    let server = server.used()?.saturating_sub(server_before);
    Ok((callers, Figures::new(&measured, client, server)))
}

/// Lets them all go on for so long, each as a task, and hands them back.
async fn run<C: Caller>(
    callers: Vec<C>,
    how_long: Duration,
) -> Result<(Vec<C>, Measured), EnginesError> {
    let begin = Instant::now();
    let mut tasks = JoinSet::new();
    for mut caller in callers {
        tasks.spawn(async move {
            let (mut events, mut latency) = (0, nanoseconds());
            while begin.elapsed() < how_long {
                let called = Instant::now();
                events += caller.step().await?;
                latency.saturating_record(called.elapsed().as_nanos() as u64);
            }
            Ok::<_, EnginesError>((caller, events, latency))
        });
    }
    let mut callers = Vec::with_capacity(tasks.len());
    let mut measured = Measured { events: 0, elapsed: Duration::ZERO, latency: nanoseconds() };
    while let Some(ended) = tasks.join_next().await {
        let (caller, events, latency) = ended??;
        callers.push(caller);
        measured.events += events;
        measured.latency += latency;
    }
    measured.elapsed = begin.elapsed();
    Ok((callers, measured))
}

fn nanoseconds() -> Histogram<u64> {
    Histogram::new_with_max(60_000_000_000, 3).expect("three digits up to a minute")
}
