//! How a route is decided: its rules are tried in order, and the first whose condition holds is
//! followed, by a run of its own.

use std::time::Duration;

use super::ploybooks::{Ploybooks, failed};
use super::runner::{Job, Output, RunError, TriggerRunner};
#[cfg(feature = "conditions")]
use crate::condition::Verdict;
use crate::id::RunId;
use crate::run::NewRun;
use crate::store::{DefinitionStore, EndpointStore, RunQueue};
use crate::task::{Route, Rule, Trigger};

/// Whether a rule is followed.
#[cfg_attr(not(feature = "conditions"), expect(dead_code, reason = "nothing is judged"))]
enum Decision {
    Follow,
    /// It is not, for this reason.
    PassOver(String),
}

impl<S, R> Ploybooks<S, R>
where
    S: DefinitionStore + EndpointStore + RunQueue,
    R: TriggerRunner,
{
    /// Decides which rule is followed, has it followed, and gives an account of it, a line a rule.
    pub(super) async fn decide(&self, job: &Job, route: &Route) -> Result<Output, RunError> {
        if job.attempt.get() > 1 {
            // An attempt before this one may have decided it.
            let follower = follower_of(job);
            let known = self.store.run(&job.event.workspace, &follower).await.map_err(failed)?;
            if known.is_some() {
                return Ok(format!("decided by an earlier attempt: {follower} is run\n").into());
            }
        }
        let mut account = String::new();
        for rule in &*route.rules {
            let Rule { subscription, action, .. } = rule;
            match self.decision(rule, job).await? {
                Decision::Follow => {
                    let run = self.follow(rule, job).await?;
                    account.push_str(&format!(
                        "{subscription} is followed: {action} is run as {run}\n"
                    ));
                    return Ok(account.into());
                }
                Decision::PassOver(reason) => {
                    account.push_str(&format!("{subscription} is passed over: {reason}\n"));
                }
            }
        }
        match &route.group {
            Some(group) => {
                account.push_str(&format!("skipped: no condition of the group `{group}` holds\n"));
            }
            None => account.push_str("skipped: its condition does not hold\n"),
        }
        Ok(account.into())
    }

    #[cfg(feature = "conditions")]
    async fn decision(&self, rule: &Rule, job: &Job) -> Result<Decision, RunError> {
        let Some(text) = &rule.condition else {
            return Ok(Decision::Follow);
        };
        Ok(match self.judge.judge(text, job).await? {
            Verdict::Holds => Decision::Follow,
            Verdict::Fails => Decision::PassOver(format!("`{text}` does not hold")),
            Verdict::Unclear(reason) => {
                Decision::PassOver(format!("`{text}` does not hold: {reason}"))
            }
        })
    }

    /// Without conditions, nothing that has one can be decided.
    #[cfg(not(feature = "conditions"))]
    #[expect(clippy::unused_async, reason = "with conditions it waits")]
    async fn decision(&self, rule: &Rule, _: &Job) -> Result<Decision, RunError> {
        match &rule.condition {
            None => Ok(Decision::Follow),
            Some(_) => Err(RunError::permanent(
                "this program was built without conditions (the feature `conditions`), and \
                 cannot decide the route",
            )),
        }
    }

    /// Adds the run of a rule to the event.
    async fn follow(&self, rule: &Rule, job: &Job) -> Result<RunId, RunError> {
        let id = follower_of(job);
        let run = NewRun { id, trigger: Trigger::Task(rule.task()), delay: Duration::ZERO };
        let added = self.store.enqueue(&job.event.workspace, &job.event.id, vec![run]).await;
        match added.map_err(failed)? {
            true => Ok(id),
            false => Err(RunError::permanent("the event is gone, with its endpoint")),
        }
    }
}

/// The run that follows from a route, whichever rule is followed: there is one at most, however
/// often it is decided.
fn follower_of(job: &Job) -> RunId {
    job.run.of_follower(b"route")
}
