//! The text that `/metrics` answers: OpenMetrics 1.0.

use std::fmt;
use std::sync::Arc;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::text::encode;
use prometheus_client::encoding::{
    DescriptorEncoder, EncodeLabelSet, EncodeMetric, MetricEncoder, NoLabelSet,
};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::{Registry, Unit};

use super::histogram::Seen;
use super::{Parts, attempts, intake};

/// What the answer is.
pub(crate) const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// What is not counted but stands somewhere at any moment.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Gauges {
    pub(crate) in_flight_bytes: u64,
    pub(crate) in_flight_bytes_max: u64,
    pub(crate) cached_endpoints: usize,
}

/// What is exposed: totals, read once.
#[derive(Debug)]
struct Figures {
    intake: intake::Totals,
    attempts: attempts::Totals,
    gauges: Gauges,
}

pub(super) fn expose(parts: &Parts, gauges: Gauges) -> String {
    let figures = Figures {
        intake: intake::Totals::of(&parts.intake),
        attempts: attempts::Totals::of(&parts.attempts),
        gauges,
    };
    let mut registry = Registry::with_prefix("ploy");
    registry.register_collector(Box::new(Arc::new(figures)));
    let mut text = String::with_capacity(16 << 10);
    encode(&mut text, &registry).expect("a string takes all that is written");
    text
}

impl Collector for Figures {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let mut page = Page(&mut encoder);
        self.encode_intake(&mut page)?;
        self.encode_attempts(&mut page)
    }
}

impl Figures {
    fn encode_intake(&self, page: &mut Page<'_, '_>) -> fmt::Result {
        let Self { intake, gauges, .. } = self;
        page.counters(
            "ingest_accepted",
            "Requests that were answered 2xx, by whether their event was stored before",
            [([("repeat", "false")], intake.stored), ([("repeat", "true")], intake.repeats)],
        )?;
        page.counter(
            "ingest_handshakes",
            "Senders that asked something before they send",
            intake.handshakes,
        )?;
        page.counters(
            "ingest_refused",
            "Requests that were refused, by the code of the answer",
            intake.refused.iter().map(|&(code, count)| ([("code", code)], count)),
        )?;
        page.counter("ingest_body_bytes", "Bytes of bodies that were read", intake.body_bytes)?;
        page.histograms(
            "ingest_stage",
            "How long the stages of a request took",
            intake.stages.iter().map(|(stage, seen)| ([("stage", *stage)], seen)),
        )?;
        page.counters(
            "ingest_endpoint_lookups",
            "Requests by whether what the cache had of their endpoint was enough",
            [([("cache", "hit")], intake.cache_hits), ([("cache", "miss")], intake.cache_misses)],
        )?;
        page.gauge(
            "ingest_in_flight_bytes",
            "Bytes of bodies that are held",
            gauges.in_flight_bytes,
        )?;
        page.gauge(
            "ingest_in_flight_bytes_max",
            "Bytes of bodies that may be held",
            gauges.in_flight_bytes_max,
        )?;
        page.gauge(
            "ingest_cached_endpoints",
            "Endpoints in the cache",
            gauges.cached_endpoints as u64,
        )
    }

    fn encode_attempts(&self, page: &mut Page<'_, '_>) -> fmt::Result {
        let attempts = &self.attempts;
        page.counter("runs_claimed", "Runs that were claimed here", attempts.claimed)?;
        page.counters(
            "attempts",
            "Attempts that have ended here, by what they were of and how they ended",
            attempts
                .ended
                .iter()
                .map(|&([kind, outcome], count)| ([("kind", kind), ("outcome", outcome)], count)),
        )?;
        page.histograms(
            "attempt",
            "How long attempts took",
            attempts.took.iter().map(|(kind, seen)| ([("kind", *kind)], seen)),
        )?;
        page.counter(
            "attempts_lost",
            "Attempts that were stopped, since their run was called off or taken over",
            attempts.lost,
        )?;
        page.counter(
            "attempts_unrecorded",
            "Attempts whose end could not be put on record",
            attempts.unrecorded,
        )?;
        page.counter(
            "dispatch_store_errors",
            "Calls of the store that failed while runs were carried out",
            attempts.store_errors,
        )
    }
}

/// What is written on, one metric after the other. Counters get their `_total` by the format, and
/// times their `_seconds`.
struct Page<'a, 'encoder>(&'a mut DescriptorEncoder<'encoder>);

impl Page<'_, '_> {
    fn counter(&mut self, name: &str, help: &str, count: u64) -> fmt::Result {
        let metric = self.0.encode_descriptor(name, help, None, MetricType::Counter)?;
        ConstCounter::new(count).encode(metric)
    }

    fn gauge(&mut self, name: &str, help: &str, value: u64) -> fmt::Result {
        let metric = self.0.encode_descriptor(name, help, None, MetricType::Gauge)?;
        ConstGauge::new(i64::try_from(value).unwrap_or(i64::MAX)).encode(metric)
    }

    fn counters<const N: usize>(
        &mut self,
        name: &str,
        help: &str,
        counts: impl IntoIterator<Item = ([(&'static str, &'static str); N], u64)>,
    ) -> fmt::Result
    where
        [(&'static str, &'static str); N]: EncodeLabelSet,
    {
        let mut family = self.0.encode_descriptor(name, help, None, MetricType::Counter)?;
        for (labels, count) in counts {
            ConstCounter::new(count).encode(family.encode_family(&labels)?)?;
        }
        Ok(())
    }

    fn histograms<'seen, const N: usize>(
        &mut self,
        name: &str,
        help: &str,
        histograms: impl IntoIterator<Item = ([(&'static str, &'static str); N], &'seen Seen)>,
    ) -> fmt::Result
    where
        [(&'static str, &'static str); N]: EncodeLabelSet,
    {
        let unit = Some(&Unit::Seconds);
        let mut family = self.0.encode_descriptor(name, help, unit, MetricType::Histogram)?;
        for (labels, seen) in histograms {
            write_seen(seen, family.encode_family(&labels)?)?;
        }
        Ok(())
    }
}

fn write_seen(seen: &Seen, mut encoder: MetricEncoder<'_>) -> fmt::Result {
    encoder.encode_histogram::<NoLabelSet>(seen.seconds, seen.count, &seen.buckets, None)
}
