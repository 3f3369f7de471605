//! What a saboteur does wrong with runs.

use std::num::NonZeroU16;
use std::time::Duration;

use async_trait::async_trait;
use ploy_webhooks::store::{
    Altered, Claim, Lanes, Page, RunQuery, RunQueue, RunStore, StoreError, Tenure,
};
use ploy_webhooks::{
    EndpointId, EventId, Lease, LeasedRun, NewRun, Outcome, Run, RunId, RunState, Trigger,
    WorkspaceId,
};

use super::{Fault, Saboteur, dawdle};

/// Longer than any test.
const FOR_EVER: Duration = Duration::from_secs(1 << 32);

#[async_trait]
impl RunStore for Saboteur {
    async fn runs(&self, workspace: &WorkspaceId, event: &EventId) -> Result<Vec<Run>, StoreError> {
        let mut runs = self.store.runs(workspace, event).await?;
        for run in &mut runs {
            if self.fault == Fault::ForgetsEarlierAttempts {
                let earlier = run.attempts.len().saturating_sub(1);
                run.attempts.drain(..earlier);
            }
            let ends = run.attempts.iter_mut().filter_map(|attempt| attempt.end.as_mut());
            for end in ends.filter(|_| self.fault == Fault::DropsOutputs) {
                if let Outcome::Succeed { output } = &mut end.outcome {
                    output.clear();
                }
            }
        }
        Ok(runs)
    }

    async fn run(&self, workspace: &WorkspaceId, id: &RunId) -> Result<Option<Run>, StoreError> {
        if self.fault == Fault::FindsOnlyOwedRuns {
            let events: Vec<_> = self.aside().appended.iter().map(|event| event.id).collect();
            for event in events {
                let runs = self.store.runs(workspace, &event).await?;
                let first = runs.into_iter().next().filter(|run| run.id == *id);
                if first.is_some() {
                    return Ok(first);
                }
            }
            return Ok(None);
        }
        self.store.run(workspace, id).await
    }

    async fn list_runs(&self, query: &RunQuery) -> Result<Page<Run, RunQuery>, StoreError> {
        let mut query = query.clone();
        if self.fault == Fault::ListsAnyDestination {
            query.destination = None;
        }
        let mut page = self.store.list_runs(&query).await?;
        if let (Fault::SkipsOneBetweenPages, Some(next)) = (self.fault, &mut page.next)
            && let Some(skipped) = self.store.list_runs(next).await?.items.first()
        {
            next.below = Some(skipped.id);
        }
        Ok(page)
    }
}

#[async_trait]
impl RunQueue for Saboteur {
    async fn claim(&self, claim: &Claim<'_>) -> Result<Vec<LeasedRun>, StoreError> {
        if let Some(left_over) = self.aside().left_over.pop() {
            return Ok(vec![left_over]);
        }
        let mut claimed = match self.fault {
            Fault::ClaimsWithoutALock => self.claim_in_two_steps(claim).await?,
            Fault::LeasesNeverEnd => self.store.claim(&Claim { lease: FOR_EVER, ..*claim }).await?,
            Fault::ForgetsWorkers => {
                let nobody = "nobody".parse().expect("the name of a worker");
                self.store.claim(&Claim { worker: &nobody, ..*claim }).await?
            }
            Fault::IgnoresLanes => {
                let lanes = Lanes::new(NonZeroU16::MAX);
                self.store.claim(&Claim { lanes: &lanes, ..*claim }).await?
            }
            Fault::IgnoresBounds => {
                let mut lanes = claim.lanes.clone();
                lanes.unbound();
                self.store.claim(&Claim { lanes: &lanes, ..*claim }).await?
            }
            Fault::ServesOneLane => self.claim_in_one_lane(claim).await?,
            _ => self.store.claim(claim).await?,
        };
        let leases = claimed.iter().map(|leased| (leased.lease.run, leased.lease));
        self.aside().leases.extend(leases);
        match self.fault {
            Fault::LosesOneOfAFullClaim if claimed.len() == usize::from(claim.max.get()) => {
                claimed.pop();
            }
            Fault::ForgetsLosses => {
                for leased in &mut claimed {
                    leased.is_after_loss = false;
                }
            }
            Fault::ForgetsRoutes => {
                for leased in &mut claimed {
                    if let Trigger::FirstOf(route) = &leased.trigger {
                        leased.trigger = Trigger::Task(route.rules[0].task());
                    }
                }
            }
            Fault::ClaimsWithoutPayloads => {
                for leased in &mut claimed {
                    leased.event.payload.clear();
                }
            }
            _ => {}
        }
        Ok(claimed)
    }

    async fn extend(&self, lease: &Lease, by: Duration) -> Result<Tenure, StoreError> {
        let tenure = match self.fault {
            Fault::ForgetsToExtend => Tenure::Held,
            Fault::ExtendsOnlyForward if by < Duration::from_secs(3_600) => Tenure::Held,
            _ => self.store.extend(&self.lease_taken_for(lease), by).await?,
        };
        Ok(self.tenure_told(tenure))
    }

    async fn finish(&self, lease: &Lease, mut outcome: Outcome) -> Result<Tenure, StoreError> {
        match (self.fault, &mut outcome) {
            (Fault::IgnoresTheGapsOfRetries, Outcome::Retry { after, .. }) => {
                *after = Duration::ZERO;
            }
            (Fault::NeverTriesAgain, Outcome::Retry { after, .. }) => *after = FOR_EVER,
            (
                Fault::CutsErrorsAtNul,
                Outcome::Retry { error, .. } | Outcome::Fail { error, .. },
            ) => error.truncate(error.find('\0').unwrap_or(error.len())),
            _ => {}
        }
        if self.fault == Fault::RecordsInTwoSteps {
            return self.finish_in_two_steps(lease, outcome).await;
        }
        let tenure = self.store.finish(&self.lease_taken_for(lease), outcome).await?;
        Ok(self.tenure_told(tenure))
    }

    async fn wait(&self, at_most: Duration, lanes: &Lanes) -> Result<(), StoreError> {
        match self.fault {
            Fault::WaitsOutItsTime => tokio::time::sleep(at_most).await,
            Fault::IgnoresLanes => {
                self.store.wait(at_most, &Lanes::new(NonZeroU16::MAX)).await?;
            }
            _ => self.store.wait(at_most, lanes).await?,
        }
        Ok(())
    }

    async fn enqueue(
        &self,
        workspace: &WorkspaceId,
        event: &EventId,
        mut runs: Vec<NewRun>,
    ) -> Result<bool, StoreError> {
        let mut workspace = *workspace;
        if self.fault == Fault::EnqueuesForAnybody
            && let Some(known) = self.aside().appended.iter().find(|known| known.id == *event)
        {
            workspace = known.workspace;
        }
        self.delay_wrongly(&mut runs);
        let added = self.store.enqueue(&workspace, event, runs).await?;
        Ok(added || self.fault == Fault::SaysAddedToAll)
    }

    async fn requeue(&self, workspace: &WorkspaceId, run: &RunId) -> Result<Altered, StoreError> {
        match self.fault {
            Fault::RequeuesWhatSucceeded => {
                let altered = self.store.requeue(workspace, run).await?;
                match altered {
                    Altered::Refused(RunState::Succeeded) => Ok(Altered::Done),
                    altered => Ok(altered),
                }
            }
            _ => self.store.requeue(workspace, run).await,
        }
    }

    async fn cancel(&self, workspace: &WorkspaceId, run: &RunId) -> Result<Altered, StoreError> {
        let found = self.store.run(workspace, run).await?;
        match (self.fault, found.filter(|run| run.state == RunState::Running)) {
            (Fault::CancelsOnlyWhatWaits, Some(_)) => Ok(Altered::Done),
            (Fault::RequeuesAtOnce, Some(_)) => {
                let lease = self.aside().leases.get(run).copied();
                let lease = lease.expect("what runs was claimed");
                let _held = self.store.extend(&lease, Duration::ZERO).await?;
                self.store.cancel(workspace, run).await
            }
            _ => self.store.cancel(workspace, run).await,
        }
    }
}

impl Saboteur {
    /// Looks for runs that are due, and takes them afterwards.
    async fn claim_in_two_steps(&self, claim: &Claim<'_>) -> Result<Vec<LeasedRun>, StoreError> {
        let seen = self.store.claim(&Claim { lease: Duration::ZERO, ..*claim }).await?;
        dawdle().await;
        for leased in &seen {
            let _whatever = self.store.extend(&leased.lease, claim.lease).await?;
        }
        Ok(seen)
    }

    /// Gives nothing while anything waits in a full lane, as a store with a single line would.
    async fn claim_in_one_lane(&self, claim: &Claim<'_>) -> Result<Vec<LeasedRun>, StoreError> {
        let full: Vec<_> = claim.lanes.in_use().filter(|(_, room)| *room == 0).collect();
        let lanes = Lanes::new(NonZeroU16::MAX);
        let worker = claim.worker;
        let (max, lease) = (NonZeroU16::MAX, Duration::ZERO);
        let due = self.store.claim(&Claim { worker, max, lease, lanes: &lanes }).await?;
        if due.iter().any(|due| full.iter().any(|(lane, _)| *lane == due.lane())) {
            return Ok(Vec::new());
        }
        self.store.claim(claim).await
    }

    /// Looks whether the lease holds, and records afterwards.
    async fn finish_in_two_steps(
        &self,
        lease: &Lease,
        outcome: Outcome,
    ) -> Result<Tenure, StoreError> {
        if self.aside().leases.get(&lease.run) != Some(lease) {
            return Ok(Tenure::Lost);
        }
        dawdle().await;
        let _whatever = self.store.finish(lease, outcome).await?;
        self.aside().leases.remove(&lease.run);
        Ok(Tenure::Held)
    }

    /// The lease by which it is judged.
    fn lease_taken_for(&self, lease: &Lease) -> Lease {
        let aside = self.aside();
        let last = aside.leases.get(&lease.run).filter(|_| self.fault == Fault::IgnoresTheAttempt);
        *last.unwrap_or(lease)
    }

    fn tenure_told(&self, tenure: Tenure) -> Tenure {
        match self.fault {
            Fault::SaysHeldToAll => Tenure::Held,
            _ => tenure,
        }
    }

    pub(super) fn delay_wrongly(&self, runs: &mut [NewRun]) {
        if self.fault == Fault::IgnoresDelays {
            for run in runs {
                run.delay = Duration::ZERO;
            }
        }
    }

    /// Keeps what is due of an endpoint that is about to be deleted.
    pub(super) async fn keep_runs_of(&self, endpoint: &EndpointId) -> Result<(), StoreError> {
        let (worker, lanes) = ("saboteur".parse(), Lanes::new(NonZeroU16::MAX));
        let worker = &worker.expect("the name of a worker");
        let (max, lease) = (NonZeroU16::MAX, Duration::ZERO);
        let mut due = self.store.claim(&Claim { worker, max, lease, lanes: &lanes }).await?;
        due.retain(|leased| leased.event.endpoint == Some(*endpoint));
        self.aside().left_over = due;
        Ok(())
    }

    /// Frees every run that is under a lease, as a store would that keeps leases in its memory.
    pub(crate) async fn forget_leases(&self) {
        let leases: Vec<_> = self.aside().leases.values().copied().collect();
        for lease in leases {
            let freed = self.store.extend(&lease, Duration::ZERO).await;
            let _whatever = freed.expect("the memory store works");
        }
    }
}
