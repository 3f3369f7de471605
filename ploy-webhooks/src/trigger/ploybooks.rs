//! [`Ploybooks`]: finds what a trigger names, and has it carried out as it is defined.

use std::sync::Arc;

use async_trait::async_trait;

use super::gates::Gates;
#[cfg(feature = "conditions")]
use super::judge::Judge;
use super::prompt::Prompt;
use super::remembered::Remembered;
use super::runner::{Job, Output, RunError, Terms, TriggerRunner};
use crate::endpoint::Endpoint;
use crate::fields::MissingField;
use crate::id::{EndpointId, WorkspaceId};
use crate::ploybook::{Ploybook, PloybookName};
use crate::run::{Lane, LeasedRun};
use crate::store::{
    DefinitionKind, DefinitionStore, EndpointStore, RunQueue, StoreError, StoreErrorKind,
};
use crate::task::{Action, Task, Trigger};

/// Carries out triggers as they are defined in a store.
///
/// Looks up the Ploybook that a trigger names, and hands the job to `runner` together with it, the
/// endpoint and its fields, on the Ploybook's own terms. A Ploybook that there is not, or that is
/// disabled, fails the run and says so; so does a required field that is missing. A route is
/// decided, and what it decides on is added to the event as a run of its own. What is to be
/// delivered is handed to `runner` as it is, with the endpoint and its fields.
///
/// What changes in the store is seen within a second.
#[derive(Debug)]
pub struct Ploybooks<S, R> {
    pub(super) store: S,
    runner: R,
    ploybooks: Remembered<(WorkspaceId, PloybookName), Option<Arc<Ploybook>>>,
    endpoints: Remembered<(WorkspaceId, EndpointId), Option<Arc<Endpoint>>>,
    #[cfg(feature = "conditions")]
    pub(super) judge: Judge,
}

impl<S, R> Ploybooks<S, R>
where
    S: DefinitionStore + EndpointStore + RunQueue,
    R: TriggerRunner,
{
    /// Carries out what is defined in `store` with `runner`.
    #[must_use]
    pub fn new(store: S, runner: R) -> Self {
        Self {
            store,
            runner,
            ploybooks: Remembered::new(),
            endpoints: Remembered::new(),
            #[cfg(feature = "conditions")]
            judge: Judge::new(),
        }
    }

    /// The Ploybook, if it may be run, as it was a moment ago; where it may not, as it is now: who
    /// was told to define or enable one, and has done so, is not told it again.
    async fn ploybook(
        &self,
        workspace: WorkspaceId,
        name: &PloybookName,
    ) -> Result<Option<Arc<Ploybook>>, StoreError> {
        let may_be_run =
            |found: &Option<Arc<Ploybook>>| found.as_ref().is_some_and(|ploybook| ploybook.enabled);
        let look_up = async |(workspace, name): &(WorkspaceId, PloybookName)| {
            let kind = DefinitionKind::Ploybook;
            let found = self.store.definition(workspace, kind, name.as_str()).await?;
            let Some(definition) = found else { return Ok(None) };
            let ploybook = serde_json::from_str(&definition.text).map_err(|error| {
                let message = format!("the Ploybook `{name}` cannot be read");
                StoreError::new(StoreErrorKind::Corrupt, message).because(error)
            })?;
            Ok(Some(Arc::new(ploybook)))
        };
        self.ploybooks.get((workspace, name.clone()), may_be_run, look_up).await
    }

    async fn endpoint(
        &self,
        workspace: WorkspaceId,
        id: EndpointId,
    ) -> Result<Option<Arc<Endpoint>>, StoreError> {
        let look_up = async |(workspace, id): &(WorkspaceId, EndpointId)| {
            self.store.endpoint_by_id(workspace, id).await
        };
        self.endpoints.get((workspace, id), |_| true, look_up).await
    }

    /// The same job, with the endpoint and what it names in the payload; or that of this the payload
    /// lacks what it has to have.
    async fn with_endpoint(&self, mut job: Job) -> Result<(Job, Option<MissingField>), RunError> {
        let Some(id) = job.event.endpoint else {
            return Ok((job, None));
        };
        job.endpoint = self.endpoint(job.event.workspace, id).await.map_err(failed)?;
        let named = job.endpoint.as_ref().and_then(|endpoint| endpoint.config.fields.as_ref());
        // Whatever the intake takes is text.
        let payload = std::str::from_utf8(&job.event.payload).unwrap_or_default();
        match named.map(|named| named.take(payload)).transpose() {
            Ok(fields) => job.fields = fields.map(Arc::new).unwrap_or_default(),
            Err(missing) => return Ok((job, Some(missing))),
        }
        Ok((job, None))
    }

    async fn run_ploybook(
        &self,
        job: Job,
        name: &PloybookName,
        is_draft: bool,
    ) -> Result<Output, RunError> {
        match self.ploybook(job.event.workspace, name).await.map_err(failed)? {
            None => Err(RunError::permanent(format!(
                "there is no Ploybook `{name}`: define it, or change the trigger; then retry the run"
            ))),
            Some(ploybook) if !ploybook.enabled => Err(RunError::permanent(format!(
                "the Ploybook `{name}` is disabled: enable it, then retry the run"
            ))),
            ploybook if is_draft => {
                let prompt = Prompt::of(&Job { ploybook, ..job });
                let note = format!(
                    "not run, since the subscription is a draft. The Ploybook `{name}` would have \
                     been told:\n\n"
                );
                Ok((note + &prompt.text()).into())
            }
            ploybook => self.runner.run(Job { ploybook, ..job }).await,
        }
    }
}

#[async_trait]
impl<S, R> TriggerRunner for Ploybooks<S, R>
where
    S: DefinitionStore + EndpointStore + RunQueue,
    R: TriggerRunner,
{
    async fn run(&self, job: Job) -> Result<Output, RunError> {
        let (job, missing) = self.with_endpoint(job).await?;
        let task = match &job.trigger {
            Trigger::Task(task) => task.clone(),
            Trigger::FirstOf(route) => {
                return match missing {
                    None => self.decide(&job, route).await,
                    Some(missing) => Err(RunError::permanent(missing.to_string())),
                };
            }
        };
        match (task.action, missing) {
            // What is delivered is what came; a template says itself what it cannot do without.
            (Action::Destination(_), _) => self.runner.run(job).await,
            (Action::Ploybook(_), Some(missing)) => Err(RunError::permanent(missing.to_string())),
            (Action::Ploybook(name), None) => self.run_ploybook(job, &name, task.draft).await,
        }
    }

    async fn terms(&self, run: &LeasedRun, usual: Terms) -> Result<Terms, RunError> {
        let name = match &run.trigger {
            Trigger::Task(Task { action: Action::Ploybook(name), .. }) => name,
            Trigger::Task(_) => return self.runner.terms(run, usual).await,
            Trigger::FirstOf(_) => return Ok(usual),
        };
        let ploybook = self.ploybook(run.event.workspace, name).await.map_err(failed)?;
        // One that there is not fails the attempt itself.
        Ok(ploybook.map_or(usual.clone(), |ploybook| Terms {
            time_limit: ploybook.time_limit,
            retry: ploybook.retry.clone(),
            ..usual
        }))
    }

    fn gates(&self) -> Option<Gates> {
        self.runner.gates()
    }

    async fn look_again(&self, lane: &Lane) {
        self.runner.look_again(lane).await;
    }
}

/// What a store that fails means for a run: another attempt.
pub(super) fn failed(error: StoreError) -> RunError {
    RunError::retry(format!("the store failed: {error}"))
}
