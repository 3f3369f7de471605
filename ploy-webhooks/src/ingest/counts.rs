//! What this process observes of senders: counted in place, handed over now and then.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use super::refusal::Refusal;
use crate::clock::Timestamp;
use crate::endpoint::Endpoint;
use crate::id::{CredentialId, EndpointId, WorkspaceId};
use crate::store::{Observation, Observed};

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

    /// A sender has proved itself with that credential.
    pub(super) fn used(&self, credential: CredentialId, now: Timestamp) {
        if let Some((_, count)) = self.credentials.iter().find(|(id, _)| *id == credential) {
            count.one_more(now);
        }
    }

    /// A request was refused.
    pub(super) fn refused(&self, refusal: &Refusal, now: impl FnOnce() -> Timestamp) {
        let code = refusal.code();
        if let Some(place) = Refusal::COUNTED.iter().position(|counted| *counted == code) {
            self.refusals[place].one_more(now());
        }
    }

    fn take(&self, into: &mut Vec<Observation>) {
        let credentials =
            self.credentials.iter().map(|(id, count)| (Observed::Credential(*id), count));
        let refusals = Refusal::COUNTED.iter().zip(&self.refusals);
        let refusals = refusals.map(|(code, count)| (Observed::Refusal((*code).into()), count));
        for (what, count) in credentials.chain(refusals) {
            let taken = count.count.swap(0, Ordering::Relaxed);
            if taken > 0 {
                let last_at = Timestamp::from_millis(count.last_at.load(Ordering::Relaxed));
                let Self { workspace, endpoint, .. } = *self;
                into.push(Observation { workspace, endpoint, what, count: taken, last_at });
            }
        }
    }
}

impl Count {
    fn one_more(&self, now: Timestamp) {
        // Time first: whoever takes the count finds a time.
        self.last_at.fetch_max(now.as_millis(), Ordering::Relaxed);
        self.count.fetch_add(1, Ordering::Relaxed);
    }
}

/// The counts that are to be handed over.
#[derive(Debug)]
pub(super) struct AllCounts {
    counts_max: usize,
    counts: Mutex<Vec<Arc<Counts>>>,
}

impl AllCounts {
    /// Where so many endpoints are cached at most.
    pub(super) fn new(cached_max: usize) -> Self {
        let counts_max = cached_max.saturating_mul(2).max(1_024);
        Self { counts_max, counts: Mutex::default() }
    }

    /// Takes a new endpoint's, which nobody else counts on yet. Where nobody ever asks for what
    /// was counted, those that no request counts on any more are let go of.
    pub(super) fn add(&self, added: &Arc<Counts>) {
        let mut counts = self.lock();
        if counts.len() >= self.counts_max {
            counts.retain(is_in_use);
        }
        counts.push(added.clone());
    }

    /// What was counted since it was taken last.
    pub(super) fn take(&self) -> Vec<Observation> {
        let mut taken = Vec::new();
        self.lock().retain(|counts| {
            // Asked before the counts are taken: a request that counts holds on to them.
            let stays = is_in_use(counts);
            counts.take(&mut taken);
            stays
        });
        taken
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<Arc<Counts>>> {
        self.counts.lock().expect("no holder of the lock panics")
    }
}

/// Only the endpoint that they are of is cloned, never the counts: where this is the last handle,
/// nobody will count any more.
fn is_in_use(counts: &Arc<Counts>) -> bool {
    Arc::strong_count(counts) > 1
}
