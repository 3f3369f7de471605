//! [`RunStore`]: what events owe, on record.

use async_trait::async_trait;
use ploy_webhooks::store::{Page, RunQuery, RunStore, StoreError};
use ploy_webhooks::{EventId, Run, RunId, WorkspaceId};
use redis::Value;

use crate::RedisStore;
use crate::engine::{Call, Via};
use crate::error::corrupt;
use crate::events::Content;
use crate::owner::Owner;
use crate::run_pages;
use crate::run_record::parse_run;
use crate::script::{self, ScriptCall};
use crate::value;

#[async_trait]
impl RunStore for RedisStore {
    async fn runs(&self, workspace: &WorkspaceId, event: &EventId) -> Result<Vec<Run>, StoreError> {
        let Some(found) = self.find(*workspace, *event, Content::Left).await? else {
            return Ok(Vec::new());
        };
        let bucket = self.layout.bucket_of(found.owner);
        let call = ScriptCall::small(&script::RUNS, &bucket.tag);
        let stored_with: Vec<u8> = found.entry.owes.iter().flat_map(|id| *id.as_bytes()).collect();
        let call = call.text(found.owner).bytes(event.as_bytes()).bytes(stored_with);
        let call = Call::of_script(bucket.slot, &script::RUNS, call);
        let answer = self.engine.call(Via::Read, call).await;
        let answer = answer.map_err(|failure| failure.of_read("cannot read the runs"))?;
        let runs = value::array(answer).ok_or_else(|| corrupt("a run"))?.into_iter();
        let mut runs: Vec<_> = runs.map(parse_run).collect::<Result<_, _>>()?;
        runs.sort_unstable_by_key(|run| run.id);
        Ok(runs)
    }

    async fn run(&self, workspace: &WorkspaceId, id: &RunId) -> Result<Option<Run>, StoreError> {
        Ok(self.find_run(*workspace, *id).await?.map(|(_, run)| run))
    }

    async fn list_runs(&self, query: &RunQuery) -> Result<Page<Run, RunQuery>, StoreError> {
        run_pages::page(self, query).await
    }
}

impl RedisStore {
    /// The workspace's run with that id, and whose it is. Its id does not say that, so all buckets
    /// are asked at once.
    pub(crate) async fn find_run(
        &self,
        workspace: WorkspaceId,
        id: RunId,
    ) -> Result<Option<(Owner, Run)>, StoreError> {
        let published = self.layout.bucket_of(Owner::Workspace(workspace)).number;
        let calls = self.over_all_buckets(&script::FIND_RUN, |call, buckets| {
            let place = buckets.iter().position(|bucket| bucket.number == published);
            call.text(workspace).text(place.map_or(0, |place| place + 1)).bytes(id.as_bytes())
        });
        let mut failure = None;
        for answer in self.engine.call_all(Via::Read, calls).await {
            match answer {
                Ok(answer) if value::is_nil(&answer) => {}
                Ok(answer) => return parse_found(answer).map(Some),
                Err(refusal) => failure = failure.or(Some(refusal)),
            }
        }
        // Only where it is found nowhere does it matter that somebody did not answer.
        match failure {
            Some(failure) => Err(failure.of_read("cannot look the run up")),
            None => Ok(None),
        }
    }
}

fn parse_found(answer: Value) -> Result<(Owner, Run), StoreError> {
    let broken = || corrupt("a run");
    let [owner, run] = value::parts(answer).ok_or_else(broken)?;
    let owner = value::bytes(owner).and_then(|name| Owner::named(&name)).ok_or_else(broken)?;
    Ok((owner, parse_run(run)?))
}
