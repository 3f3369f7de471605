//! What came of a run: medians of rounds, and each as a ratio to what was measured in the same
//! round.

use std::fmt;
use std::time::Duration;

use serde::Serialize;

use super::callers::Measured;
use super::{Engine, Limit, Options, STORE, STORE_WITHOUT_INDEX};
use crate::report::median;

/// What a whole run measured. Serialises to what `--json` prints.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct Report {
    /// The database.
    pub engine: Engine,
    /// Its name and version.
    pub version: String,
    /// The size of each payload in bytes.
    pub payload_bytes: usize,
    /// The most that it takes at all.
    pub limit: LimitReport,
    /// What was measured for each number of callers.
    pub callers: Vec<CallersReport>,
}

/// The most that the database takes at all.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct LimitReport {
    /// What was tried for it, once each, before the rounds.
    pub tried: Vec<Tried>,
    /// The fastest of them, which is measured in each round.
    pub fastest: Limit,
    /// The median of each figure over the rounds. Latencies are those of a batch.
    pub median: Figures,
    /// Every round, in order.
    pub rounds: Vec<Figures>,
}

/// A way to store that was tried.
#[derive(Clone, Copy, Debug, Serialize)]
#[non_exhaustive]
pub struct Tried {
    /// The way.
    pub limit: Limit,
    /// What it stored.
    pub events_per_second: f64,
}

/// What was measured for a number of callers.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct CallersReport {
    /// How many waited for their answers at once.
    pub callers: usize,
    /// Each subject.
    pub subjects: Vec<SubjectReport>,
    /// By how many per cent the search index lowers the store's rate: the median over the rounds.
    pub index_cost_percent: Option<f64>,
}

/// What was measured of one subject.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct SubjectReport {
    /// Which.
    pub name: &'static str,
    /// The median of each figure over the rounds.
    pub median: Figures,
    /// The median over the rounds of each figure by that of the first subject, which is written
    /// by hand with a command an event, in the same round.
    pub ratio_to_first: Figures,
    /// The median over the rounds of its rate by the limit's.
    pub share_of_limit: f64,
    /// Every round, in order.
    pub rounds: Vec<Figures>,
}

/// The figures of one round, or their ratios.
#[derive(Clone, Copy, Debug, Serialize)]
#[non_exhaustive]
pub struct Figures {
    /// Events that were stored a second.
    pub events_per_second: f64,
    /// The median time that a caller waited, in microseconds.
    pub p50_us: f64,
    /// The time that one call in a hundred exceeded, in microseconds.
    pub p99_us: f64,
    /// CPU time of this process an event, in microseconds.
    pub client_cpu_us: f64,
    /// CPU time of all processes of the server an event, in microseconds.
    pub server_cpu_us: f64,
    /// How long a store took to end, in milliseconds: with a search index, the work on it that
    /// was put off until then.
    pub close_ms: Option<f64>,
}

/// One round.
#[derive(Debug)]
pub(crate) struct Round {
    pub(crate) limit: Figures,
    /// For each number of callers, each subject by its name.
    pub(crate) callers: Vec<Vec<(&'static str, Figures)>>,
}

impl Figures {
    pub(crate) fn new(measured: &Measured, client: Duration, server: Duration) -> Self {
        let events = measured.events as f64;
        let quantile = |quantile| measured.latency.value_at_quantile(quantile) as f64 / 1e3;
        Self {
            events_per_second: events / measured.elapsed.as_secs_f64(),
            p50_us: quantile(0.5),
            p99_us: quantile(0.99),
            client_cpu_us: client.as_secs_f64() * 1e6 / events,
            server_cpu_us: server.as_secs_f64() * 1e6 / events,
            close_ms: None,
        }
    }

    fn by(self, base: Self) -> Self {
        Self {
            events_per_second: self.events_per_second / base.events_per_second,
            p50_us: self.p50_us / base.p50_us,
            p99_us: self.p99_us / base.p99_us,
            client_cpu_us: self.client_cpu_us / base.client_cpu_us,
            server_cpu_us: self.server_cpu_us / base.server_cpu_us,
            close_ms: None,
        }
    }

    fn median_of(rounds: &[Self]) -> Self {
        let of = |figure: fn(&Self) -> f64| median(rounds.iter().map(figure).collect());
        let close: Vec<_> = rounds.iter().filter_map(|round| round.close_ms).collect();
        Self {
            events_per_second: of(|round| round.events_per_second),
            p50_us: of(|round| round.p50_us),
            p99_us: of(|round| round.p99_us),
            client_cpu_us: of(|round| round.client_cpu_us),
            server_cpu_us: of(|round| round.server_cpu_us),
            close_ms: (!close.is_empty()).then(|| median(close)),
        }
    }
}

impl Report {
    pub(crate) fn new(
        options: &Options,
        version: String,
        tried: Vec<Tried>,
        fastest: Limit,
        rounds: &[Round],
    ) -> Self {
        let limits: Vec<_> = rounds.iter().map(|round| round.limit).collect();
        let limit = LimitReport {
            tried,
            fastest,
            median: Figures::median_of(&limits),
            rounds: limits.clone(),
        };
        let callers = options.callers.iter().enumerate().map(|(place, &callers)| {
            let rounds: Vec<_> = rounds.iter().map(|round| &round.callers[place][..]).collect();
            CallersReport::new(callers, &rounds, &limits)
        });
        Self {
            engine: options.engine,
            version,
            payload_bytes: options.payload,
            limit,
            callers: callers.collect(),
        }
    }
}

impl CallersReport {
    fn new(callers: usize, rounds: &[&[(&'static str, Figures)]], limits: &[Figures]) -> Self {
        let of = |place: usize| rounds.iter().map(move |round| round[place].1);
        let subjects = rounds[0].iter().enumerate().map(|(place, (name, _))| {
            let ratios: Vec<_> = of(place).zip(of(0)).map(|(one, first)| one.by(first)).collect();
            let shares = of(place).zip(limits);
            let shares = shares.map(|(one, limit)| one.events_per_second / limit.events_per_second);
            let rounds: Vec<_> = of(place).collect();
            SubjectReport {
                name,
                median: Figures::median_of(&rounds),
                ratio_to_first: Figures::median_of(&ratios),
                share_of_limit: median(shares.collect()),
                rounds,
            }
        });
        let named = |name| rounds[0].iter().position(|(other, _)| *other == name);
        let index_cost = named(STORE).zip(named(STORE_WITHOUT_INDEX)).map(|(with, without)| {
            let costs = of(with).zip(of(without)).map(|(with, without)| {
                100.0 * (1.0 - with.events_per_second / without.events_per_second)
            });
            median(costs.collect())
        });
        Self { callers, subjects: subjects.collect(), index_cost_percent: index_cost }
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { version, payload_bytes, limit, callers, .. } = self;
        writeln!(f, "{version}, {payload_bytes} B; medians of rounds")?;
        let Limit { way, batch, connections } = limit.fastest;
        writeln!(
            f,
            "the limit: {:.0} events/s by {way:?} of {batch} over {connections} connections, \
             client CPU {:.2} µs and server CPU {:.2} µs an event; a batch takes {:.0} µs",
            limit.median.events_per_second,
            limit.median.client_cpu_us,
            limit.median.server_cpu_us,
            limit.median.p50_us,
        )?;
        for CallersReport { callers, subjects, index_cost_percent } in callers {
            let first = subjects.first().map_or("", |first| first.name);
            writeln!(f, "\n{callers} callers; (×) by {first} in the same round")?;
            writeln!(
                f,
                "  {:<22} {:>17} {:>10} {:>16} {:>17} {:>14} {:>14} {:>9}",
                "",
                "events/s",
                "of limit",
                "p50 µs",
                "p99 µs",
                "client CPU µs",
                "server CPU µs",
                "close ms"
            )?;
            for subject in subjects {
                writeln!(f, "  {subject}")?;
            }
            if let Some(cost) = index_cost_percent {
                writeln!(f, "  the search index costs {cost:.1} % of the rate")?;
            }
        }
        Ok(())
    }
}

impl fmt::Display for SubjectReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (median, ratio) = (self.median, self.ratio_to_first);
        let cell = |figure: fn(&Figures) -> f64, digits: usize| {
            format!("{:.digits$} ({:.2}×)", figure(&median), figure(&ratio))
        };
        write!(
            f,
            "{:<22} {:>17} {:>9.0}% {:>16} {:>17} {:>14} {:>14} {:>9}",
            self.name,
            cell(|figures| figures.events_per_second, 0),
            100.0 * self.share_of_limit,
            cell(|figures| figures.p50_us, 0),
            cell(|figures| figures.p99_us, 0),
            cell(|figures| figures.client_cpu_us, 1),
            cell(|figures| figures.server_cpu_us, 1),
            median.close_ms.map_or(String::new(), |close| format!("{close:.0}")),
        )
    }
}
