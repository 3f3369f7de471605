//! Servers over loopback, each beside a bare handler in the same run.

use std::io::{self, Write};
use std::thread;
use std::time::Duration;

use clap::Args;
use thiserror::Error;

use crate::cpu;
use crate::load::{Load, LoadError};
use crate::report::{CpuUsed, Figures, Report, ServerReport};
use crate::server::{Kind, Server};

/// What is run.
#[derive(Clone, Debug, Args)]
#[expect(clippy::exhaustive_structs, reason = "arguments of a program")]
pub struct Options {
    /// Which servers, in the order of a round. Those that need a server of Postgres or Redis are
    /// run only when they are named here.
    #[arg(long, value_delimiter = ',', default_value = "bare,memory,sqlite")]
    pub kinds: Vec<Kind>,
    /// How many keep-alive connections, each with one request under way.
    #[arg(long, default_value_t = 64)]
    pub connections: usize,
    /// The size of each payload in bytes, at least 200.
    #[arg(long, default_value_t = 1024)]
    pub payload: usize,
    /// How often each server is measured; they take turns.
    #[arg(long, default_value_t = 5)]
    pub rounds: usize,
    /// How long each measurement takes.
    #[arg(long, default_value_t = 3.0)]
    pub seconds: f64,
    /// How long the load runs before a measurement.
    #[arg(long, default_value_t = 0.5)]
    pub warm_up_seconds: f64,
    /// The core that each server keeps to.
    #[arg(long, default_value_t = 0)]
    pub server_core: usize,
    /// The core that the load keeps to.
    #[arg(long, default_value_t = 1)]
    pub load_core: usize,
    /// Leave it to the system which core runs what.
    #[arg(long)]
    pub unpinned: bool,
    /// Print everything as JSON.
    #[arg(long)]
    pub json: bool,
}

/// Why a run came to nothing.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum RunError {
    /// Nothing is asked for.
    #[error("at least one kind, one round and one connection are needed")]
    Empty,
    /// A core or a process could not be had.
    #[error("cannot pin or start")]
    System(#[from] io::Error),
    /// A load failed.
    #[error("the load on `{kind}` failed")]
    Load {
        /// The server that was loaded.
        kind: Kind,
        /// What went wrong.
        source: LoadError,
    },
}

/// Measures each server in each round.
///
/// # Errors
///
/// When anything but 202 is answered, or a server does not run.
pub fn run(options: &Options) -> Result<Report, RunError> {
    if options.kinds.is_empty() || options.rounds == 0 || options.connections == 0 {
        return Err(RunError::Empty);
    }
    let mut measured = vec![Vec::new(); options.kinds.len()];
    for round in 1..=options.rounds {
        for (kind, rounds) in options.kinds.iter().zip(&mut measured) {
            rounds.push(measure(*kind, options)?);
            // To the terminal, so that who waits sees that something happens.
            let _shown = write!(io::stderr(), "\rround {round}: {kind:<8}");
        }
    }
    let _shown = write!(io::stderr(), "\r{:24}\r", "");
    let rounds_of = |kind: Kind| {
        let place = options.kinds.iter().position(|other| *other == kind)?;
        Some(measured[place].clone())
    };
    let (bare, insert) = (rounds_of(Kind::Bare), rounds_of(Kind::Insert));
    let servers = options.kinds.iter().zip(measured);
    let servers = servers.map(|(kind, rounds)| {
        let by_hand = insert.as_deref().filter(|_| *kind == Kind::Postgres);
        ServerReport::new(*kind, rounds, bare.as_deref(), by_hand)
    });
    Ok(Report {
        connections: options.connections,
        payload_bytes: options.payload,
        servers: servers.collect(),
    })
}

/// One round of one server: a process of its own, so that none inherits another's memory.
fn measure(kind: Kind, options: &Options) -> Result<Figures, RunError> {
    let core = (!options.unpinned).then_some(options.server_core);
    let server = Server::start(kind, core)?;
    // A thread of its own, because the next server is not to keep to the load's core.
    thread::scope(|scope| {
        let load = scope.spawn(|| load(kind, server, options));
        load.join().expect("the load does not panic")
    })
}

fn load(kind: Kind, mut server: Server, options: &Options) -> Result<Figures, RunError> {
    if !options.unpinned {
        cpu::pin(options.load_core)?;
    }
    let failed = |source| RunError::Load { kind, source };
    let mut load =
        Load::connect(server.target(), options.connections, options.payload).map_err(failed)?;
    load.run(Duration::from_secs_f64(options.warm_up_seconds)).map_err(failed)?;
    let (server_before, load_before) = (server.cpu_used()?, cpu::used());
    let measured = load.run(Duration::from_secs_f64(options.seconds)).map_err(failed)?;
    let used =
        CpuUsed { server: server.cpu_used()? - server_before, load: cpu::used() - load_before };
    Ok(Figures::new(&measured, used))
}
