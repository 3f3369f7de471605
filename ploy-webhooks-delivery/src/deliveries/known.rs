//! The destinations that this node is sending to, and what it has learned of each.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use ploy_webhooks::store::DefinitionStore;
use ploy_webhooks::trigger::{Gates, RunError};
use ploy_webhooks::{DestinationId, Lane, Rate, Timestamp, WorkspaceId};
use tokio::sync::{Mutex as AsyncMutex, Notify};
use tokio::time::{Instant, sleep_until};

use super::current::Current;
use super::flow::{Flow, Health};
use super::order::Turns;
use crate::courier::{Courier, Verdict};

/// A change of a destination is seen after this time.
const GOOD_FOR: Duration = Duration::from_secs(1);

/// The destinations that this node is sending to. Each is there from its first run until it has had
/// nothing to do for a minute.
#[derive(Debug, Default)]
pub(super) struct Known {
    entries: Mutex<Entries>,
}

type Entries = HashMap<(DestinationId, WorkspaceId), Arc<Entry>>;

/// A destination, and what is known of it.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) id: DestinationId,
    pub(super) workspace: WorkspaceId,
    /// As it was looked up, and when.
    current: AsyncMutex<Option<(Instant, Option<Arc<Current>>)>>,
    flow: Mutex<Flow>,
    /// A place is free, or there are more of them.
    place: Notify,
    pub(super) turns: Turns,
    /// Held by who changes the count of submissions.
    pub(super) submissions: AsyncMutex<()>,
}

impl Known {
    pub(super) fn entry(&self, id: DestinationId, workspace: WorkspaceId) -> Arc<Entry> {
        let new = || {
            Arc::new(Entry {
                id,
                workspace,
                current: AsyncMutex::default(),
                flow: Mutex::new(Flow::new()),
                place: Notify::new(),
                turns: Turns::default(),
                submissions: AsyncMutex::default(),
            })
        };
        self.entries().entry((id, workspace)).or_insert_with(new).clone()
    }

    /// The one of that id, if it is known.
    pub(super) fn standing(&self, id: DestinationId) -> Option<Arc<Entry>> {
        self.entries().values().find(|entry| entry.id == id).cloned()
    }

    pub(super) fn forget(&self, entry: &Entry) {
        self.entries().remove(&(entry.id, entry.workspace));
    }

    fn entries(&self) -> MutexGuard<'_, Entries> {
        self.entries.lock().expect("no holder of the lock panics")
    }
}

impl Entry {
    /// The destination as it was a moment ago; `None` where there is none.
    pub(super) async fn current(
        &self,
        store: &impl DefinitionStore,
        courier: &Courier,
    ) -> Result<Option<Arc<Current>>, RunError> {
        // Who comes meanwhile waits for the same look-up.
        let mut current = self.current.lock().await;
        if let Some((since, known)) = &*current
            && since.elapsed() < GOOD_FOR
        {
            return Ok(known.clone());
        }
        let asked_at = Instant::now();
        let found = Current::look_up(store, courier, &self.workspace, self.id).await?;
        let found = found.map(Arc::new);
        if let Some(found) = &found {
            let before = current.as_ref().and_then(|(_, before)| before.as_deref());
            self.hear(found, before, courier.now());
        }
        *current = Some((asked_at, found.clone()));
        Ok(found)
    }

    /// Learns from how the destination is set, and how it was.
    fn hear(&self, now: &Current, before: Option<&Current>, time: Timestamp) {
        let mut flow = self.flow();
        if now.why_nothing_is_sent().is_none() {
            flow.open();
        }
        match before {
            None => {
                if let Some(since) = now.state.failing_since {
                    flow.hear_of_failures(time.since(since));
                }
            }
            Some(before) if now.was_mended_since(before) => flow.start_over(),
            Some(_) => {}
        }
    }

    /// What was looked up is old news.
    pub(super) async fn look_up_anew(&self) {
        if let Some((since, _)) = &mut *self.current.lock().await {
            *since = since.checked_sub(GOOD_FOR).unwrap_or(*since);
        }
    }

    /// Counts an attempt as under way, until what is returned is dropped.
    pub(super) fn enter(self: &Arc<Self>, gates: &Gates, current: &Arc<Current>) -> UnderWay {
        self.flow().enter();
        self.set_gate(gates, current);
        UnderWay { entry: self.clone(), gates: gates.clone(), current: current.clone() }
    }

    /// Holds back what waits: nothing is sent for now.
    pub(super) fn shut(&self, gates: &Gates, current: &Current) {
        self.flow().shut();
        self.set_gate(gates, current);
    }

    pub(super) fn is_idle(&self) -> bool {
        self.flow().is_idle()
    }

    pub(super) fn is_proven(&self) -> bool {
        self.flow().is_proven()
    }

    pub(super) fn is_held_back(&self) -> bool {
        self.flow().is_held_back()
    }

    /// Waits for the next slot of that rate.
    pub(super) async fn pace(&self, rate: Rate, gates: &Gates, current: &Current) {
        let slot = self.flow().slot(rate);
        if slot <= Instant::now() {
            return;
        }
        let pacing = Pacing::begin(self);
        sleep_until(slot).await;
        drop(pacing);
        // One more may wait in its place.
        self.set_gate(gates, current);
    }

    /// Waits for one of the places that there are for requests.
    pub(super) async fn place(&self, current: &Current) -> Place<'_> {
        loop {
            // What comes free from here on is not missed.
            let freed = self.place.notified();
            if self.flow().take_place(current.destination().at_once) {
                return Place(self);
            }
            freed.await;
        }
    }

    pub(super) fn see(&self, verdict: Verdict, took: Duration, current: &Current) -> Health {
        let health = self.flow().see(verdict, took, current.destination().at_once);
        // There may be more places than there were.
        self.place.notify_waiters();
        health
    }

    pub(super) fn set_gate(&self, gates: &Gates, current: &Current) {
        let destination = current.destination();
        let (at_once, until) = self.flow().gate(destination.at_once, destination.rate);
        gates.set(Lane::Destination(self.id), at_once, until);
    }

    fn flow(&self) -> MutexGuard<'_, Flow> {
        self.flow.lock().expect("no holder of the lock panics")
    }
}

/// An attempt that is under way. When it is dropped, it is no more, and the next may begin.
#[derive(Debug)]
pub(super) struct UnderWay {
    entry: Arc<Entry>,
    gates: Gates,
    current: Arc<Current>,
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.entry.flow().leave();
        self.entry.set_gate(&self.gates, &self.current);
    }
}

/// A place for a request. When it is dropped, it is free for the next.
#[derive(Debug)]
pub(super) struct Place<'a>(&'a Entry);

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.0.flow().leave_place();
        self.0.place.notify_waiters();
    }
}

/// An attempt that waits for its slot.
struct Pacing<'a>(&'a Entry);

impl<'a> Pacing<'a> {
    fn begin(entry: &'a Entry) -> Self {
        entry.flow().begin_pacing();
        Self(entry)
    }
}

impl Drop for Pacing<'_> {
    fn drop(&mut self) {
        self.0.flow().end_pacing();
    }
}
