//! Places for what is long under way: how many there are, and how many of them one workspace has.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use ploy_webhooks::WorkspaceId;

/// One workspace has one in so many of all places: nobody keeps the others out alone.
const SHARES: usize = 4;

/// The places of this process.
#[derive(Debug)]
pub(super) struct Places {
    max: usize,
    taken: Taken,
}

/// One of them, until it is dropped.
#[derive(Debug)]
pub(super) struct Place {
    workspace: WorkspaceId,
    taken: Taken,
}

/// How many each workspace has, where it has any.
#[derive(Clone, Debug, Default)]
struct Taken(Arc<Mutex<HashMap<WorkspaceId, usize>>>);

impl Taken {
    fn lock(&self) -> MutexGuard<'_, HashMap<WorkspaceId, usize>> {
        // Each change is one step: who panicked has left nothing halfway.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Places {
    pub(super) fn new(max: usize) -> Self {
        Self { max, taken: Taken::default() }
    }

    /// A place for that workspace, if there is one at the moment.
    pub(super) fn take(&self, workspace: WorkspaceId) -> Option<Place> {
        let mut taken = self.taken.lock();
        let of_all: usize = taken.values().sum();
        let of_workspace = taken.get(&workspace).copied().unwrap_or_default();
        if of_all >= self.max || of_workspace >= (self.max / SHARES).max(1) {
            return None;
        }
        taken.insert(workspace, of_workspace + 1);
        Some(Place { workspace, taken: self.taken.clone() })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut taken = self.taken.lock();
        match taken.get_mut(&self.workspace) {
            Some(count) if *count > 1 => *count -= 1,
            _ => drop(taken.remove(&self.workspace)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_workspace_leaves_places_to_others() {
        let places = Places::new(8);
        let take = |byte| places.take(WorkspaceId::from_bytes([byte; 16]));
        let first = [take(1).unwrap(), take(1).unwrap()];
        assert!(take(1).is_none(), "a quarter is taken");
        let others: Vec<_> = (2..5).flat_map(|byte| [take(byte), take(byte)]).flatten().collect();
        assert_eq!(others.len(), 6);
        assert!(take(9).is_none(), "all are taken");
        drop(first);
        let _again = take(1).unwrap();
        assert!(take(9).is_some());

        let few = Places::new(2);
        let place = few.take(WorkspaceId::DEFAULT);
        assert!(place.is_some() && few.take(WorkspaceId::DEFAULT).is_none());
        assert!(Places::new(0).take(WorkspaceId::DEFAULT).is_none());
    }
}
