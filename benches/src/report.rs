//! What came of a run over HTTP: medians of rounds, and each as a ratio to the bare handler's.

use std::fmt;
use std::io::{self, Write};
use std::time::Duration;

use serde::Serialize;

use crate::load::Measured;
use crate::server::Kind;

/// What a whole run measured. Serialises to what `--json` prints.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct Report {
    /// How many connections there were at once.
    pub connections: usize,
    /// The size of each payload in bytes.
    pub payload_bytes: usize,
    /// Each server.
    pub servers: Vec<ServerReport>,
}

/// What was measured of one server.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct ServerReport {
    /// Which.
    pub kind: Kind,
    /// The median of each figure over the rounds.
    pub median: Figures,
    /// The median over the rounds of each figure by the bare handler's of the same round.
    pub ratio_to_bare: Option<Figures>,
    /// The same by the figures of the app that inserts by hand into the same database.
    pub ratio_to_insert: Option<Figures>,
    /// Every round, in order.
    pub rounds: Vec<Figures>,
}

/// The figures of one round, or their ratios.
#[derive(Clone, Copy, Debug, Serialize)]
#[non_exhaustive]
pub struct Figures {
    /// Answers 202 a second.
    pub requests_per_second: f64,
    /// The median latency, in microseconds.
    pub p50_us: f64,
    /// The latency that one request in a hundred exceeds, in microseconds.
    pub p99_us: f64,
    /// CPU time of the server a request, in the kernel too, in microseconds.
    pub server_cpu_us: f64,
    /// How much of the time the server was running, 1 being one core.
    pub server_busy: f64,
    /// How much of the time the load was running. Near 1, the load is what was measured, and
    /// only the CPU a request says something about the server.
    pub load_busy: f64,
}

/// The CPU time that a round took of each side.
#[derive(Clone, Copy, Debug)]
#[expect(clippy::exhaustive_structs, reason = "a pair with names")]
pub struct CpuUsed {
    /// The server's.
    pub server: Duration,
    /// The load's.
    pub load: Duration,
}

impl Figures {
    /// The figures of one round.
    #[must_use]
    pub fn new(measured: &Measured, cpu: CpuUsed) -> Self {
        let requests = measured.requests as f64;
        let seconds = measured.elapsed.as_secs_f64();
        let quantile = |quantile| measured.latency.value_at_quantile(quantile) as f64 / 1e3;
        Self {
            requests_per_second: requests / seconds,
            p50_us: quantile(0.5),
            p99_us: quantile(0.99),
            server_cpu_us: cpu.server.as_secs_f64() * 1e6 / requests,
            server_busy: cpu.server.as_secs_f64() / seconds,
            load_busy: cpu.load.as_secs_f64() / seconds,
        }
    }

    fn by(self, base: Self) -> Self {
        Self {
            requests_per_second: self.requests_per_second / base.requests_per_second,
            p50_us: self.p50_us / base.p50_us,
            p99_us: self.p99_us / base.p99_us,
            server_cpu_us: self.server_cpu_us / base.server_cpu_us,
            server_busy: self.server_busy / base.server_busy,
            load_busy: self.load_busy / base.load_busy,
        }
    }

    fn median_of(rounds: &[Self]) -> Self {
        let of = |figure: fn(&Self) -> f64| median(rounds.iter().map(figure).collect());
        Self {
            requests_per_second: of(|round| round.requests_per_second),
            p50_us: of(|round| round.p50_us),
            p99_us: of(|round| round.p99_us),
            server_cpu_us: of(|round| round.server_cpu_us),
            server_busy: of(|round| round.server_busy),
            load_busy: of(|round| round.load_busy),
        }
    }
}

impl ServerReport {
    /// A server's rounds, beside the bare handler's in the same run, if there were any, and beside
    /// those of what it replaces.
    #[must_use]
    pub fn new(
        kind: Kind,
        rounds: Vec<Figures>,
        bare: Option<&[Figures]>,
        insert: Option<&[Figures]>,
    ) -> Self {
        let ratios = |base: &[Figures]| {
            let pairs = rounds.iter().zip(base);
            let ratios: Vec<_> = pairs.map(|(round, base)| round.by(*base)).collect();
            Figures::median_of(&ratios)
        };
        Self {
            kind,
            median: Figures::median_of(&rounds),
            ratio_to_bare: bare.map(ratios),
            ratio_to_insert: insert.map(ratios),
            rounds,
        }
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { connections, payload_bytes, servers } = self;
        writeln!(
            f,
            "{connections} connections, {payload_bytes} B; medians of rounds, and (×) by the bare handler's"
        )?;
        writeln!(
            f,
            "{:<8} {:>18} {:>16} {:>16} {:>18} {:>12} {:>10}",
            "server",
            "requests/s",
            "p50 µs",
            "p99 µs",
            "CPU µs/request",
            "server busy",
            "load busy"
        )?;
        for server in servers {
            let (median, ratio) = (server.median, server.ratio_to_bare);
            let cell = |figure: fn(&Figures) -> f64, digits: usize| match &ratio {
                Some(ratio) => format!("{:.digits$} ({:.2}×)", figure(&median), figure(ratio)),
                None => format!("{:.digits$}", figure(&median)),
            };
            writeln!(
                f,
                "{:<8} {:>18} {:>16} {:>16} {:>18} {:>12.2} {:>10.2}",
                server.kind,
                cell(|figures| figures.requests_per_second, 0),
                cell(|figures| figures.p50_us, 0),
                cell(|figures| figures.p99_us, 0),
                cell(|figures| figures.server_cpu_us, 2),
                median.server_busy,
                median.load_busy,
            )?;
        }
        for server in servers {
            if let Some(ratio) = &server.ratio_to_insert {
                writeln!(
                    f,
                    "{} by insert, in the same round: {:.2}× the requests/s, {:.2}× the p50, \
                     {:.2}× the p99",
                    server.kind, ratio.requests_per_second, ratio.p50_us, ratio.p99_us
                )?;
            }
        }
        Ok(())
    }
}

/// To the terminal, so that who waits sees that something happens.
pub(crate) fn show(what: &str) {
    let _shown = write!(io::stderr(), "\r{what:<72}\r");
}

/// The middle one; of an even number, the upper one of the middle.
///
/// # Panics
///
/// When there is none.
#[must_use]
pub fn median(figures: Vec<f64>) -> f64 {
    quantile(figures, 0.5)
}

/// The figure that such a share of them does not exceed, from 0 to 1.
///
/// # Panics
///
/// When there is none.
#[must_use]
pub fn quantile(mut figures: Vec<f64>, share: f64) -> f64 {
    figures.sort_by(f64::total_cmp);
    let place = (figures.len() as f64 * share) as usize;
    figures[place.min(figures.len() - 1)]
}
