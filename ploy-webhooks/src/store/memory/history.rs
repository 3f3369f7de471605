//! How much has happened, in memory.

use std::collections::BTreeMap;
use std::ops::Range;

use async_trait::async_trait;

use super::MemoryStore;
use crate::clock::Timestamp;
use crate::id::WorkspaceId;
use crate::store::{
    HISTORY_KEPT, HistoryBucket, HistoryCounts, HistoryStore, HistoryTally, StoreError,
};

/// By the tenant, and by when the bucket begins.
pub(super) type Histories = BTreeMap<(WorkspaceId, Timestamp), HistoryCounts>;

#[async_trait]
impl HistoryStore for MemoryStore {
    async fn tally(&self, tallies: Vec<HistoryTally>) -> Result<(), StoreError> {
        let histories = &mut self.state().histories;
        for HistoryTally { workspace, at, counts } in tallies {
            *histories.entry((workspace, at)).or_default() += counts;
            while let Some((&oldest, _)) =
                histories.range((workspace, Timestamp::from_millis(0))..).next()
                && at.since(oldest.1) > HISTORY_KEPT
            {
                histories.remove(&oldest);
            }
        }
        Ok(())
    }

    async fn history(
        &self,
        workspace: &WorkspaceId,
        span: Range<Timestamp>,
    ) -> Result<Vec<HistoryBucket>, StoreError> {
        if span.is_empty() {
            return Ok(Vec::new());
        }
        let state = self.state();
        let buckets = state.histories.range((*workspace, span.start)..(*workspace, span.end));
        Ok(buckets.map(|(&(_, at), &counts)| HistoryBucket { at, counts }).collect())
    }

    async fn forget_history(&self, workspace: &WorkspaceId) -> Result<(), StoreError> {
        self.state().histories.retain(|(of, _), _| of != workspace);
        Ok(())
    }
}
