//! What a saboteur does wrong with history.

use std::ops::Range;

use async_trait::async_trait;
use ploy_webhooks::store::{HistoryBucket, HistoryStore, HistoryTally, StoreError};
use ploy_webhooks::{Timestamp, WorkspaceId};

use super::{Fault, Saboteur};

#[async_trait]
impl HistoryStore for Saboteur {
    async fn tally(&self, mut tallies: Vec<HistoryTally>) -> Result<(), StoreError> {
        match self.fault {
            Fault::TalliesTheLastOnly => drop(tallies.drain(..tallies.len().max(1) - 1)),
            Fault::SharesHistory => {
                for tally in &mut tallies {
                    tally.workspace = WorkspaceId::DEFAULT;
                }
            }
            Fault::KeepsAllHistory => {
                // Told in an order in which nothing is ever old.
                let aside = &mut self.aside().tallies;
                aside.append(&mut tallies);
            }
            _ => {}
        }
        self.store.tally(tallies).await
    }

    async fn history(
        &self,
        workspace: &WorkspaceId,
        span: Range<Timestamp>,
    ) -> Result<Vec<HistoryBucket>, StoreError> {
        match self.fault {
            Fault::SharesHistory => self.store.history(&WorkspaceId::DEFAULT, span).await,
            Fault::KeepsAllHistory => {
                let aside = self.aside();
                let ours = aside.tallies.iter().filter(|tally| tally.workspace == *workspace);
                let ours = ours.filter(|tally| span.contains(&tally.at));
                let bucket = |tally: &HistoryTally| {
                    let HistoryTally { at, counts, .. } = *tally;
                    HistoryBucket { at, counts }
                };
                Ok(ours.map(bucket).collect())
            }
            Fault::SpansHaveTheirEnd => {
                let span = span.start..span.end.after(std::time::Duration::from_millis(1));
                self.store.history(workspace, span).await
            }
            _ => self.store.history(workspace, span).await,
        }
    }

    async fn forget_history(&self, workspace: &WorkspaceId) -> Result<(), StoreError> {
        match self.fault {
            Fault::KeepsTheHistoryOfDeleted => Ok(()),
            _ => self.store.forget_history(workspace).await,
        }
    }
}
