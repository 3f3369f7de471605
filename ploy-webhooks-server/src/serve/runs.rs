//! What carries runs out in this server, and what is logged and counted of it.

use std::num::NonZeroU16;
use std::sync::Arc;

use async_trait::async_trait;
use ploy_webhooks::limit::RateLimiter;
use ploy_webhooks::store::{StoreError, StoreErrorKind};
use ploy_webhooks::trigger::command::guard::{Guardian, NoGuardian};
use ploy_webhooks::trigger::command::{CommandRunner, CommandSettings};
use ploy_webhooks::trigger::{
    Ended, Gates, Job, Observer, Output, Ploybooks, RunError, Terms, TriggerRunner,
};
use ploy_webhooks::{Lane, LeasedRun, Means, Outcome, RunId};
use ploy_webhooks_delivery::{ClientError, Courier, Deliveries, HttpRunner, HttpSettings};

use thiserror::Error;

use crate::api::Commands;
use crate::log::chain;
use crate::metrics::Metrics;
use crate::store::Store;

/// What carries out what is defined in the store.
pub(super) type Runner = Ploybooks<Arc<dyn Store>, ByMeans>;

/// What carries out what is defined in that store, delivers by that courier at rates that the limiter
/// holds, and has Ploybooks that others than the operator define reach what is public.
pub(super) fn runner(
    store: Arc<dyn Store>,
    commands: Commands,
    courier: Courier,
    public: HttpSettings,
    limiter: Arc<dyn RateLimiter>,
    runs_at_once: NonZeroU16,
) -> Result<Runner, RunnerError> {
    // Receivers that hang leave a quarter to others.
    let deliveries = runs_at_once.get() - runs_at_once.get() / 4;
    let at_once = NonZeroU16::new(deliveries).unwrap_or(NonZeroU16::MIN);
    let public_http = HttpRunner::of_ploybooks(public)?;
    let http = HttpRunner::of_ploybooks(HttpSettings::default())?;
    let commands = match commands {
        Commands::Refused => None,
        Commands::Allowed => {
            let settings = CommandSettings::new(Guardian::this_program()?);
            Some(CommandRunner::of_ploybooks(settings))
        }
    };
    let deliveries = Deliveries::new(store.clone(), courier).limiter(limiter).at_once(at_once);
    Ok(Ploybooks::new(store, ByMeans { commands, http, public_http, deliveries }))
}

/// Why no run can be carried out.
#[derive(Debug, Error)]
pub(crate) enum RunnerError {
    #[error(transparent)]
    Client(#[from] ClientError),
    #[error(transparent)]
    Guardian(#[from] NoGuardian),
}

/// Carries a Ploybook out by the means that it names, and delivers.
#[derive(Debug)]
pub(super) struct ByMeans {
    /// `None` where programs are not to be run.
    commands: Option<CommandRunner>,
    http: HttpRunner,
    /// What reaches no more than deliveries do.
    public_http: HttpRunner,
    deliveries: Deliveries<Arc<dyn Store>>,
}

#[async_trait]
impl TriggerRunner for ByMeans {
    async fn run(&self, job: Job) -> Result<Output, RunError> {
        if job.trigger.destination().is_some() {
            return self.deliveries.run(job).await;
        }
        let means = job.ploybook.as_ref().map(|ploybook| ploybook.run.clone());
        match means {
            Some(Means::Http { public_only: true, .. }) => self.public_http.run(job).await,
            Some(Means::Http { .. }) => self.http.run(job).await,
            Some(Means::Command { .. }) => match &self.commands {
                Some(commands) => commands.run(job).await,
                None => Err(RunError::permanent(
                    "this server runs no programs: start it with the setting `allow_commands = \
                     true`, then retry the run",
                )),
            },
            Some(Means::Function(name)) => Err(RunError::permanent(format!(
                "this server has no functions, and so none with the name `{name}`: have the \
                 Ploybook run a program or an engine, then retry the run"
            ))),
            _ => Err(RunError::permanent("this server does not know how to run that Ploybook")),
        }
    }

    async fn terms(&self, run: &LeasedRun, usual: Terms) -> Result<Terms, RunError> {
        self.deliveries.terms(run, usual).await
    }

    fn gates(&self) -> Option<Gates> {
        self.deliveries.gates()
    }

    async fn look_again(&self, lane: &Lane) {
        self.deliveries.look_again(lane).await;
    }
}

/// Logs what a dispatcher does, and has it counted.
#[derive(Debug)]
pub(super) struct Watch(pub(super) Metrics);

impl Observer for Watch {
    fn claimed(&self, runs: usize) {
        self.0.claimed(runs);
    }

    fn ended(&self, ended: &Ended<'_>) {
        self.0.ended(ended);
        let Ended { run, outcome, after, .. } = *ended;
        let state = outcome.state().as_str();
        let millis = u64::try_from(after.as_millis()).unwrap_or(u64::MAX);
        // What a run says may be anybody's words: it is on record, not in the log.
        match outcome {
            Outcome::Fail { .. } => tracing::warn!(%run, state, millis, "a run has failed"),
            _ => tracing::debug!(%run, state, millis, "an attempt has ended"),
        }
    }

    fn lost(&self, run: &RunId) {
        self.0.lost(run);
        tracing::info!(%run, "an attempt was stopped: its run was called off, deleted or taken over");
    }

    fn unrecorded(&self, run: &RunId) {
        self.0.unrecorded(run);
        tracing::warn!(%run, "the end of an attempt is not on record: the run is carried out again");
    }

    fn store_failed(&self, error: &StoreError) {
        self.0.store_failed(error);
        match error.kind() {
            StoreErrorKind::Busy => tracing::debug!(error = chain(error), "the store is busy"),
            _ => {
                tracing::warn!(error = chain(error), "the store failed while runs were carried out")
            }
        }
    }
}
