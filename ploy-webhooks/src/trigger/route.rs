//! How a route is decided: its rules are tried in order, and the first whose condition holds is
//! followed, by a run of its own.

#[cfg(feature = "conditions")]
use std::sync::Arc;
use std::time::Duration;

#[cfg(feature = "conditions")]
use tokio::task::spawn_blocking;

use super::ploybooks::{Ploybooks, failed};
use super::runner::{Job, Output, RunError, TriggerRunner};
#[cfg(feature = "conditions")]
use crate::condition::{Condition, Facts, Verdict};
use crate::id::RunId;
use crate::run::{NewRun, Route, Rule, Trigger};
use crate::store::{DefinitionStore, EndpointStore, RunQueue};

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
        let mut account = String::new();
        for rule in &*route.rules {
            let Rule { subscription, ploybook, .. } = rule;
            match self.decision(rule, job).await? {
                Decision::Follow => {
                    let run = self.follow(rule, job).await?;
                    account.push_str(&format!(
                        "{subscription} is followed: `{ploybook}` is run as {run}\n"
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

    /// Judges the rule's condition, away from the threads of the runtime: it takes as long as its
    /// bounds allow.
    #[cfg(feature = "conditions")]
    async fn decision(&self, rule: &Rule, job: &Job) -> Result<Decision, RunError> {
        let Some(text) = &rule.condition else {
            return Ok(Decision::Follow);
        };
        let compile = async |text: &String| {
            let text = text.clone();
            let compiled = spawn_blocking(move || Condition::compile(&text)).await;
            compiled.map(Arc::new).map_err(|_| interrupted())
        };
        let condition = self.conditions.get(text.clone(), compile).await?;
        let (event, fields) = (job.event.clone(), job.fields.clone());
        let judge = move || match &*condition {
            Ok(condition) => condition.judge(&Facts { event: &event, fields: &fields }),
            Err(error) => Verdict::Unclear(error.to_string()),
        };
        Ok(match spawn_blocking(judge).await.map_err(|_| interrupted())? {
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

    /// Adds the run of a rule to the event, once: an attempt before this one may have done so.
    async fn follow(&self, rule: &Rule, job: &Job) -> Result<RunId, RunError> {
        let id = job.run.of_follower(rule.subscription.as_bytes());
        let (workspace, event) = (&job.event.workspace, &job.event.id);
        if job.attempt.get() > 1 && self.store.run(workspace, &id).await.map_err(failed)?.is_some()
        {
            return Ok(id);
        }
        let (name, subscription) = (rule.ploybook.clone(), Some(rule.subscription));
        let trigger = Trigger::Ploybook { name, subscription };
        let run = NewRun { id, trigger, delay: Duration::ZERO };
        match self.store.enqueue(workspace, event, vec![run]).await.map_err(failed)? {
            true => Ok(id),
            false => Err(RunError::permanent("the event is gone, with its endpoint")),
        }
    }
}

#[cfg(feature = "conditions")]
fn interrupted() -> RunError {
    RunError::retry("judging a condition was interrupted")
}
