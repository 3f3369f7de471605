//! [`HistoryStore`]: how much has happened in a workspace, and when: a hash a workspace.

use std::collections::BTreeMap;
use std::ops::Range;

use async_trait::async_trait;
use ploy_webhooks::store::{
    HISTORY_KEPT, HistoryBucket, HistoryCounts, HistoryStore, HistoryTally, StoreError,
};
use ploy_webhooks::{Timestamp, WorkspaceId};
use redis::{Cmd, Value};

use crate::RedisStore;
use crate::engine::{Call, Via};
use crate::error::corrupt;
use crate::layout::Bucket;
use crate::owner::Owner;
use crate::script::{self, ScriptCall};
use crate::value;

#[async_trait]
impl HistoryStore for RedisStore {
    async fn tally(&self, tallies: Vec<HistoryTally>) -> Result<(), StoreError> {
        let mut of_workspaces = BTreeMap::<_, Vec<_>>::new();
        for tally in tallies {
            of_workspaces.entry(tally.workspace).or_default().push(tally);
        }
        let calls = of_workspaces.values().map(|tallies| self.call_of(tallies)).collect();
        for answer in self.engine.call_all(Via::Write, calls).await {
            answer.map_err(|failure| failure.of_write("cannot keep how much has happened"))?;
        }
        Ok(())
    }

    async fn history(
        &self,
        workspace: &WorkspaceId,
        span: Range<Timestamp>,
    ) -> Result<Vec<HistoryBucket>, StoreError> {
        let (bucket, key) = self.history_of(workspace);
        let mut get = Cmd::new();
        get.arg("HGETALL").arg(key);
        let answer = self.engine.call(Via::Read, Call::new(bucket.slot, get)).await;
        let answer = answer.map_err(|failure| failure.of_read("cannot read the history"))?;
        let mut buckets = parse(answer).ok_or_else(|| corrupt("the history of a workspace"))?;
        buckets.retain(|bucket| span.contains(&bucket.at));
        buckets.sort_unstable_by_key(|bucket| bucket.at);
        Ok(buckets)
    }

    async fn forget_history(&self, workspace: &WorkspaceId) -> Result<(), StoreError> {
        let (bucket, key) = self.history_of(workspace);
        let mut delete = Cmd::new();
        delete.arg("UNLINK").arg(key);
        let answer = self.engine.call(Via::Write, Call::new(bucket.slot, delete)).await;
        answer.map_err(|failure| failure.of_write("cannot forget the history"))?;
        Ok(())
    }
}

impl RedisStore {
    fn history_of(&self, workspace: &WorkspaceId) -> (&Bucket, String) {
        let bucket = self.layout.bucket_of(Owner::Workspace(*workspace));
        (bucket, bucket.key(format_args!("history:{workspace}")))
    }

    /// The call that adds up what is of one workspace. See `scripts/tally.lua` for its arguments.
    fn call_of(&self, tallies: &[HistoryTally]) -> Call {
        let workspace = tallies[0].workspace;
        let bucket = self.layout.bucket_of(Owner::Workspace(workspace));
        let keys = std::iter::once(&bucket.tag);
        let room = (2 + 5 * tallies.len(), 64 * (1 + tallies.len()));
        let mut call = ScriptCall::new(&script::TALLY, keys, room);
        call.push_text(workspace);
        call.push_text(HISTORY_KEPT.as_millis());
        for HistoryTally { at, counts, .. } in tallies {
            call.push_text(at.as_millis());
            let HistoryCounts { accepted, refused, succeeded, failed } = counts;
            for count in [accepted, refused, succeeded, failed] {
                call.push_text(count);
            }
        }
        Call::of_script(bucket.slot, &script::TALLY, call)
    }
}

fn parse(answer: Value) -> Option<Vec<HistoryBucket>> {
    let Value::Map(kept) = answer else { return None };
    kept.into_iter()
        .map(|(at, counts)| parse_bucket(&value::text(at)?, &value::text(counts)?))
        .collect()
}

fn parse_bucket(at: &str, counts: &str) -> Option<HistoryBucket> {
    let at = Timestamp::from_millis(at.parse().ok()?);
    let mut counts = counts.split(' ').map(|count| count.parse().ok());
    let mut count = || counts.next()?;
    let counts = HistoryCounts {
        accepted: count()?,
        refused: count()?,
        succeeded: count()?,
        failed: count()?,
    };
    Some(HistoryBucket { at, counts })
}
