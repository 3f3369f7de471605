//! Every bound of a dispatcher, with its default and its reason.

use std::num::NonZeroU16;
use std::time::Duration;

use super::runner::Terms;
use crate::ploybook::{Ploybook, RetryPolicy};
use crate::run::WorkerName;

/// The bounds of a [`Dispatcher`](super::Dispatcher).
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct DispatcherSettings {
    /// What its attempts are on record under.
    pub worker: WorkerName,
    /// How many runs are under way at once.
    pub concurrency: NonZeroU16,
    /// How many of them may be of one endpoint, or of what the app publishes in one workspace: so
    /// the others get their turn however much waits there.
    pub lane_concurrency: NonZeroU16,
    /// How many of them may be deliveries to one destination of which the runner has not said yet
    /// [how many may be](super::Gates).
    pub destination_concurrency: NonZeroU16,
    /// For how long a run is claimed. It is extended while the run goes on; when the worker is
    /// lost, so long passes until another one has it.
    pub lease: Duration,
    /// How long the store is waited for before it is looked whether something is due that
    /// nobody has told of.
    pub poll: Duration,
    /// On what terms a run is carried out whose runner has none of its own.
    pub terms: Terms,
    /// How many bytes of an output are kept. The rest is cut off, and that is said.
    pub output_bytes_max: usize,
    /// How many bytes of an error are kept, likewise.
    pub error_bytes_max: usize,
}

impl DispatcherSettings {
    /// The usual bounds, for a worker of that name.
    #[must_use]
    pub fn new(worker: WorkerName) -> Self {
        Self {
            worker,
            concurrency: NonZeroU16::new(64).expect("64 is not zero"),
            lane_concurrency: NonZeroU16::new(16).expect("16 is not zero"),
            destination_concurrency: NonZeroU16::MIN,
            lease: Duration::from_secs(30),
            poll: Duration::from_secs(30),
            terms: Terms {
                time_limit: Ploybook::TIME_LIMIT_DEFAULT,
                retry: RetryPolicy::default(),
                uncounted: 0,
            },
            output_bytes_max: 64 << 10,
            error_bytes_max: 8 << 10,
        }
    }
}
