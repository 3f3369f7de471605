//! What a saboteur does wrong with the feed.

use std::time::Duration;

use async_trait::async_trait;
use ploy_webhooks::store::{Change, Changes, FeedQuery, FeedStore, Position, StoreError};
use ploy_webhooks::{EventSummary, WorkspaceId};

use super::{Fault, Saboteur};

impl Saboteur {
    /// Passes over events with ids before one that was told: who goes on after the last id.
    fn skip_late_ids(&self, items: &mut Vec<Change>) {
        let mut aside = self.aside();
        items.retain(|change| match change {
            Change::Accepted(summary) if Some(summary.id) < aside.last_told => false,
            Change::Accepted(summary) => {
                aside.last_told = Some(summary.id);
                true
            }
            _ => true,
        });
    }

    /// What is told in every workspace that has an endpoint.
    async fn changes_of_all(&self, query: &FeedQuery) -> Result<Changes, StoreError> {
        let mut changes = self.store.changes(query).await?;
        let others: Vec<WorkspaceId> =
            self.aside().made.values().map(|made| made.workspace).collect();
        for workspace in others.into_iter().filter(|other| *other != query.workspace) {
            let query = FeedQuery::after(workspace, query.after.clone());
            changes.items.extend(self.store.changes(&query).await?.items);
        }
        Ok(changes)
    }
}

#[async_trait]
impl FeedStore for Saboteur {
    async fn changes(&self, query: &FeedQuery) -> Result<Changes, StoreError> {
        let mut query = query.clone();
        if self.fault == Fault::FeedTakesAnyPosition && self.store.changes(&query).await.is_err() {
            query.after = self.store.end().await?;
        }
        let mut changes = match self.fault {
            Fault::FeedShowsAnybody => self.changes_of_all(&query).await?,
            _ => self.store.changes(&query).await?,
        };
        match self.fault {
            Fault::FeedForgetsRuns => {
                changes.items.retain(|change| matches!(change, Change::Accepted(_)));
            }
            Fault::FeedSkipsLateIds => self.skip_late_ids(&mut changes.items),
            // Who is told a page twice goes on after the second time.
            Fault::FeedRepeatsPages => {
                let again = changes.items.clone();
                changes.items.extend(again);
            }
            Fault::FeedTellsOfDeleted if !changes.has_more => {
                let gone: Vec<_> = self.aside().appended.iter().map(EventSummary::from).collect();
                let told = |summary: &EventSummary| {
                    let told = Change::Accepted(summary.clone());
                    changes.items.contains(&told)
                };
                let gone: Vec<_> = gone.into_iter().filter(|summary| !told(summary)).collect();
                changes.items.extend(gone.into_iter().map(Change::Accepted));
            }
            _ => {}
        }
        Ok(changes)
    }

    async fn end(&self) -> Result<Position, StoreError> {
        self.store.end().await
    }

    async fn changed(&self, after: &Position, at_most: Duration) -> Result<(), StoreError> {
        if self.fault == Fault::WaitsOutItsTime {
            tokio::time::sleep(at_most).await;
            return Ok(());
        }
        if self.fault == Fault::FeedTakesAnyPosition {
            return Ok(());
        }
        self.store.changed(after, at_most).await
    }
}
