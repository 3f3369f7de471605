//! The feed, in memory: the last so many changes, numbered in the order in which they were made.

use std::collections::VecDeque;
use std::pin::pin;
use std::time::Duration;

use async_trait::async_trait;
use tokio::time::timeout;

use super::{MemoryStore, State};
use crate::event::EventSummary;
use crate::id::{EventId, RunId, WorkspaceId};
use crate::run::RunState;
use crate::store::{
    Change, Changes, FeedQuery, FeedStore, Position, RunChange, StoreError, StoreErrorKind,
};

/// So many changes are kept, at some fifty bytes each.
const KEPT_MAX: usize = 1 << 16;

/// What was changed, the oldest first.
#[derive(Debug)]
pub(super) struct Feed {
    /// Another in each process: nothing of a store that has ended is known to the next.
    life: u64,
    kept: VecDeque<Noted>,
    /// How many changes there were before the oldest that is kept.
    forgotten: u64,
    /// Whether somebody waits for the next one: who changes something need not ask otherwise.
    pub(super) is_awaited: bool,
}

/// A change, without what is known of it elsewhere.
#[derive(Clone, Copy, Debug)]
enum Noted {
    Accepted(EventId),
    Run { run: RunId, event: EventId, state: RunState, attempt: u32 },
}

impl Default for Feed {
    fn default() -> Self {
        let life = fastrand::u64(..);
        Self { life, kept: VecDeque::new(), forgotten: 0, is_awaited: false }
    }
}

impl Feed {
    pub(super) fn accepted(&mut self, event: EventId) {
        self.note(Noted::Accepted(event));
    }

    pub(super) fn run(&mut self, run: RunId, event: EventId, state: RunState, attempt: u32) {
        self.note(Noted::Run { run, event, state, attempt });
    }

    fn note(&mut self, noted: Noted) {
        if self.kept.len() == KEPT_MAX {
            self.kept.pop_front();
            self.forgotten += 1;
        }
        self.kept.push_back(noted);
    }

    /// How many changes there were in all.
    fn end(&self) -> u64 {
        self.forgotten + self.kept.len() as u64
    }

    fn position(&self, number: u64) -> Position {
        Position::from_bytes([self.life.to_be_bytes(), number.to_be_bytes()].concat())
    }

    /// After how many changes that is; `None` where it is of another store in memory.
    fn number(&self, position: &Position) -> Result<Option<u64>, StoreError> {
        let number = position.as_bytes().split_first_chunk().and_then(|(life, number)| {
            let number = u64::from_be_bytes(number.try_into().ok()?);
            Some((u64::from_be_bytes(*life) == self.life && number <= self.end()).then_some(number))
        });
        number.ok_or_else(|| {
            StoreError::new(StoreErrorKind::Misuse, "the position is none of the store in memory")
        })
    }
}

impl State {
    /// The change, if it is of that workspace and what it is of is still there.
    fn told(&self, noted: Noted, workspace: &WorkspaceId) -> Option<Change> {
        let find = |id| self.event(id).filter(|event| event.workspace == *workspace);
        Some(match noted {
            Noted::Accepted(id) => Change::Accepted(EventSummary::from(find(&id)?)),
            Noted::Run { run, event, state, attempt } => {
                let endpoint = find(&event)?.endpoint;
                Change::Run(RunChange { run, event, endpoint, state, attempt })
            }
        })
    }
}

#[async_trait]
impl FeedStore for MemoryStore {
    async fn changes(&self, query: &FeedQuery) -> Result<Changes, StoreError> {
        let state = self.state();
        let (feed, after) = (&state.feed, state.feed.number(&query.after)?);
        let begin = after.unwrap_or(0).max(feed.forgotten);
        let kept = feed.kept.range(usize::try_from(begin - feed.forgotten).unwrap_or(KEPT_MAX)..);
        let (mut items, mut next) = (Vec::new(), begin);
        for noted in kept.take(Self::SCAN_SLICE) {
            if items.len() == query.limit.get() {
                break;
            }
            next += 1;
            items.extend(state.told(*noted, &query.workspace));
        }
        Ok(Changes {
            items,
            next: feed.position(next),
            has_more: next < feed.end(),
            has_gap: after != Some(begin),
        })
    }

    async fn end(&self) -> Result<Position, StoreError> {
        let state = self.state();
        Ok(state.feed.position(state.feed.end()))
    }

    async fn changed(&self, after: &Position, at_most: Duration) -> Result<(), StoreError> {
        let after = self.state().feed.number(after)?;
        let until_changed = async {
            loop {
                let mut fed = pin!(self.fed.notified());
                // From here on nothing is missed.
                fed.as_mut().enable();
                {
                    let mut state = self.state();
                    if after != Some(state.feed.end()) {
                        return;
                    }
                    state.feed.is_awaited = true;
                }
                fed.await;
            }
        };
        // Nothing was changed in time, which is an answer too.
        let _ = timeout(at_most, until_changed).await;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::{Clock, SystemClock};
    use crate::event::NewEvent;
    use crate::store::{Appended, EventStore};

    #[tokio::test]
    async fn who_comes_back_too_late_is_told_so() {
        let store = MemoryStore::new();
        let begin = store.end().await.unwrap();
        for _ in 0..KEPT_MAX {
            let id = EventId::mint(SystemClock.now());
            let event = NewEvent::published(id, WorkspaceId::DEFAULT, "{}".into());
            assert!(matches!(store.append(event).await.unwrap(), Appended::Stored));
        }
        let query = FeedQuery::after(WorkspaceId::DEFAULT, begin);
        assert!(!store.changes(&query).await.unwrap().has_gap, "all are kept");
        let id = EventId::mint(SystemClock.now());
        let event = NewEvent::published(id, WorkspaceId::DEFAULT, "{}".into());
        assert!(matches!(store.append(event).await.unwrap(), Appended::Stored));
        let page = store.changes(&query).await.unwrap();
        assert!(page.has_gap, "the first is not kept any more");
        assert_eq!(page.items.len(), query.limit.get(), "left: how many are told all the same");
        let rest = FeedQuery { after: page.next, ..query };
        assert!(!store.changes(&rest).await.unwrap().has_gap, "it was said");
    }

    #[tokio::test]
    async fn a_place_of_a_process_before_is_a_gap() {
        let before = MemoryStore::new().end().await.unwrap();
        let store = MemoryStore::new();
        let query = FeedQuery::after(WorkspaceId::DEFAULT, before);
        let page = store.changes(&query).await.unwrap();
        assert!(page.has_gap);
        assert_eq!(page.next, store.end().await.unwrap());
    }
}
