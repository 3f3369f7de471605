//! What this process observes of senders: counted in place, handed over now and then.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};

use super::refusal::Refusal;
use crate::clock::Timestamp;
use crate::endpoint::Endpoint;
use crate::id::{CredentialId, EndpointId, WorkspaceId};
use crate::store::{Observation, Observations, Observed};

/// The counts of one endpoint in one of its states. No lock, no look-up: a request that counts
/// has its endpoint in hand.
#[derive(Debug)]
pub(super) struct Counts {
    workspace: WorkspaceId,
    endpoint: EndpointId,
    credentials: Vec<(CredentialId, Count)>,
    refusals: [Count; Refusal::COUNTED.len()],
}

#[derive(Debug, Default)]
struct Count {
    count: AtomicU64,
    last_at: AtomicU64,
}

impl Counts {
    pub(super) fn of(endpoint: &Endpoint) -> Self {
        let credentials = endpoint.auth.credentials();
        Self {
            workspace: endpoint.workspace,
            endpoint: endpoint.id,
            credentials: credentials.into_iter().map(|(id, _)| (id, Count::default())).collect(),
            refusals: Default::default(),
        }
    }

    /// Counts one request: by what its sender has proved itself, and why it was refused.
    pub(super) fn count(
        &self,
        credential: Option<CredentialId>,
        refusal: Option<&Refusal>,
        now: impl FnOnce() -> Timestamp,
    ) {
        let used = credential.and_then(|credential| {
            self.credentials.iter().find(|(id, _)| *id == credential).map(|(_, count)| count)
        });
        let refused = refusal.and_then(|refusal| {
            let code = refusal.code();
            Refusal::COUNTED.iter().position(|counted| *counted == code)
        });
        let refused = refused.map(|place| &self.refusals[place]);
        if used.is_some() || refused.is_some() {
            let now = now();
            used.into_iter().chain(refused).for_each(|count| count.one_more(now));
        }
    }

    fn take(&self, into: &mut Observations) {
        let credentials =
            self.credentials.iter().map(|(id, count)| (Observed::Credential(*id), count));
        let refusals = Refusal::COUNTED.iter().zip(&self.refusals);
        let refusals = refusals.map(|(code, count)| (Observed::Refusal((*code).into()), count));
        for (what, count) in credentials.chain(refusals) {
            let taken = count.count.swap(0, Ordering::Relaxed);
            if taken > 0 {
                let last_at = Timestamp::from_millis(count.last_at.load(Ordering::Relaxed));
                let Self { workspace, endpoint, .. } = *self;
                into.add(Observation { workspace, endpoint, what, count: taken, last_at });
            }
        }
    }
}

impl Count {
    fn one_more(&self, now: Timestamp) {
        // Time first: whoever takes the count finds a time. Most requests find theirs written.
        if self.last_at.load(Ordering::Relaxed) < now.as_millis() {
            self.last_at.fetch_max(now.as_millis(), Ordering::Relaxed);
        }
        self.count.fetch_add(1, Ordering::Relaxed);
    }
}

/// The counts that are to be handed over.
#[derive(Debug)]
pub(super) struct AllCounts {
    counts_max: usize,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    counts: Vec<Arc<Counts>>,
    /// Of those that no request counts on any more.
    done: Observations,
}

impl AllCounts {
    /// Where so many endpoints are cached at most.
    pub(super) fn new(cached_max: usize) -> Self {
        let counts_max = cached_max.saturating_mul(2).max(1_024);
        Self { counts_max, state: Mutex::default() }
    }

    /// Takes a new endpoint's, which nobody else counts on yet.
    pub(super) fn add(&self, added: &Arc<Counts>) {
        let mut state = self.lock();
        if state.counts.len() >= self.counts_max {
            let State { counts, done } = &mut *state;
            counts.retain(|counts| {
                let stays = is_in_use(counts);
                if !stays {
                    counts.take(done);
                }
                stays
            });
        }
        state.counts.push(added.clone());
    }

    /// What was counted since it was taken last, each name of each endpoint once.
    pub(super) fn take(&self) -> Vec<Observation> {
        let mut state = self.lock();
        let mut taken = std::mem::take(&mut state.done);
        state.counts.retain(|counts| {
            // Asked before the counts are taken: a request that counts holds on to them.
            let stays = is_in_use(counts);
            counts.take(&mut taken);
            stays
        });
        taken.into_vec()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no holder of the lock panics")
    }
}

/// Only the endpoint that they are of is cloned, never the counts: where this is the last handle,
/// nobody will count any more.
fn is_in_use(counts: &Arc<Counts>) -> bool {
    Arc::strong_count(counts) > 1
}
