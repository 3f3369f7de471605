//! Figures of this process: counted where things happen, and given out at `/metrics` in the text
//! format of OpenMetrics, which Prometheus reads.
//!
//! | name | what |
//! | --- | --- |
//! | `ploy_ingest_accepted_total{repeat}` | requests that were answered 2xx; `repeat="true"` is one whose event was stored before |
//! | `ploy_ingest_handshakes_total` | senders that asked something before they send, and were told |
//! | `ploy_ingest_refused_total{code}` | requests that were refused, by the code of the answer |
//! | `ploy_ingest_body_bytes_total` | bytes of bodies that were read |
//! | `ploy_ingest_stage_seconds{stage}` | how long `admit`, `read`, `check` and `append` took (histogram) |
//! | `ploy_ingest_endpoint_lookups_total{cache}` | requests that the cache was enough for (`hit`), and that asked the store (`miss`) |
//! | `ploy_ingest_in_flight_bytes`, `…_max` | bytes of bodies that are held, and that may be |
//! | `ploy_ingest_cached_endpoints` | endpoints in the cache |
//! | `ploy_runs_claimed_total` | runs that were claimed here |
//! | `ploy_attempts_total{kind,outcome}` | attempts that have ended here; `kind` is `run` or `delivery`, `outcome` is `succeeded`, `retry` or `failed` |
//! | `ploy_attempt_seconds{kind}` | how long they took (histogram) |
//! | `ploy_attempts_lost_total` | attempts that were stopped, since their run was called off or taken over |
//! | `ploy_attempts_unrecorded_total` | attempts whose end could not be put on record |
//! | `ploy_dispatch_store_errors_total` | calls of the store that failed while runs were carried out |
//!
//! No label takes its values from senders or tenants, so there are no more series than this table
//! has, however many endpoints there are.

mod attempts;
mod exposition;
mod histogram;
mod history;
mod intake;
mod sharded;

use std::sync::Arc;

use ploy_webhooks::ingest::{self, Answered};
use ploy_webhooks::store::{HistoryTally, StoreError};
use ploy_webhooks::trigger::{self, Ended};
use ploy_webhooks::{Outcome, RunId, Timestamp};

use self::attempts::Attempts;
pub(crate) use self::exposition::{CONTENT_TYPE, Gauges};
use self::history::History;
use self::intake::Intake;
use self::sharded::Sharded;

/// What is counted. Clones count on together.
#[derive(Clone, Debug, Default)]
pub(crate) struct Metrics(Arc<Parts>);

#[derive(Debug, Default)]
struct Parts {
    intake: Sharded<Intake>,
    attempts: Sharded<Attempts>,
    history: History,
}

impl Metrics {
    /// What has happened in workspaces since this was asked last, for the bucket of that moment.
    pub(crate) fn take_tallies(&self, now: Timestamp) -> Vec<HistoryTally> {
        self.0.history.take(now)
    }

    /// All figures as they are now, in the text format.
    pub(crate) fn expose(&self, gauges: Gauges) -> String {
        exposition::expose(&self.0, gauges)
    }
}

impl ingest::Observer for Metrics {
    fn answered(&self, answered: &Answered<'_>) {
        self.0.intake.mine().count(answered);
        if let Some(workspace) = answered.workspace {
            self.0.history.of(workspace, |counts| counts.answered(&answered.outcome));
        }
    }
}

impl trigger::Observer for Metrics {
    fn claimed(&self, runs: usize) {
        self.0.attempts.mine().claimed(runs);
    }

    fn ended(&self, ended: &Ended<'_>) {
        self.0.attempts.mine().ended(ended);
        match ended.outcome {
            Outcome::Retry { .. } => {}
            outcome => self.0.history.of(ended.workspace, |counts| counts.ended(outcome)),
        }
    }

    fn lost(&self, _: &RunId) {
        self.0.attempts.mine().lost();
    }

    fn unrecorded(&self, _: &RunId) {
        self.0.attempts.mine().unrecorded();
    }

    fn store_failed(&self, _: &StoreError) {
        self.0.attempts.mine().store_failed();
    }
}
