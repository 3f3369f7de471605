//! How much room is left in which lane.

use std::collections::{HashMap, HashSet};
use std::num::NonZeroU16;

use crate::run::Lane;

/// How many runs more may be under way in each lane: a usual number, or one that is set for the
/// lane, less what is under way there.
#[derive(Clone, Debug)]
pub struct Lanes {
    each: NonZeroU16,
    each_destination: NonZeroU16,
    under_way: HashMap<Lane, u16>,
    bounds: HashMap<Lane, u16>,
}

impl Lanes {
    /// Lanes with that much room, in which nothing is under way.
    #[must_use]
    pub fn new(each: NonZeroU16) -> Self {
        let (under_way, bounds) = (HashMap::new(), HashMap::new());
        Self { each, each_destination: each, under_way, bounds }
    }

    /// The same, with that much room in the lane of each destination instead.
    #[must_use]
    pub fn with_destinations(self, each_destination: NonZeroU16) -> Self {
        Self { each_destination, ..self }
    }

    /// How many runs more may be under way in that lane.
    #[must_use]
    pub fn room(&self, lane: &Lane) -> u16 {
        let usual = match lane {
            Lane::Endpoint(_) | Lane::Workspace(_) => self.each,
            Lane::Destination(_) => self.each_destination,
        };
        let most = self.bounds.get(lane).copied().unwrap_or(usual.get());
        most.saturating_sub(self.under_way.get(lane).copied().unwrap_or(0))
    }

    /// How many may be under way in a lane that is not [in use](Self::in_use), and no
    /// destination's.
    #[must_use]
    pub const fn each(&self) -> NonZeroU16 {
        self.each
    }

    /// The same for the lane of a destination.
    #[must_use]
    pub const fn each_destination(&self) -> NonZeroU16 {
        self.each_destination
    }

    /// The lanes in which something is under way, or for which a number is set, each once, with
    /// the room that is left there.
    pub fn in_use(&self) -> impl Iterator<Item = (Lane, u16)> {
        let lanes: HashSet<_> = self.under_way.keys().chain(self.bounds.keys()).collect();
        lanes.into_iter().map(|lane| (*lane, self.room(lane)))
    }

    /// No more than that many are to be under way in that lane; 0 is none.
    pub fn bound(&mut self, lane: Lane, most: u16) {
        self.bounds.insert(lane, most);
    }

    /// Every lane has its usual number again.
    pub fn unbound(&mut self) {
        self.bounds.clear();
    }

    /// One more is under way in that lane.
    pub fn enter(&mut self, lane: Lane) {
        *self.under_way.entry(lane).or_default() += 1;
    }

    /// One less is under way in that lane.
    pub fn leave(&mut self, lane: Lane) {
        if let Some(taken) = self.under_way.get_mut(&lane) {
            *taken -= 1;
            if *taken == 0 {
                self.under_way.remove(&lane);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::{DestinationId, WorkspaceId};

    #[test]
    fn room_goes_and_comes() {
        let lane = Lane::Workspace(WorkspaceId::DEFAULT);
        let mut lanes = Lanes::new(NonZeroU16::new(2).unwrap());
        assert_eq!(lanes.room(&lane), 2);
        lanes.enter(lane);
        lanes.enter(lane);
        assert_eq!((lanes.room(&lane), lanes.in_use().collect()), (0, vec![(lane, 0)]));
        lanes.leave(lane);
        lanes.leave(lane);
        assert_eq!((lanes.room(&lane), lanes.in_use().count()), (2, 0));
    }

    #[test]
    fn a_number_that_is_set_counts_instead_of_the_usual_one() {
        let (set, other) = ([1; 16], [2; 16]);
        let [set, other] = [set, other].map(|id| Lane::Destination(DestinationId::from_bytes(id)));
        let mut lanes = Lanes::new(NonZeroU16::new(2).unwrap()).with_destinations(NonZeroU16::MIN);
        lanes.bound(set, 5);
        lanes.enter(set);
        assert_eq!((lanes.room(&set), lanes.room(&other)), (4, 1));
        assert_eq!(lanes.in_use().collect::<Vec<_>>(), [(set, 4)]);
        lanes.bound(set, 0);
        assert_eq!(lanes.room(&set), 0);
        lanes.unbound();
        lanes.leave(set);
        assert_eq!((lanes.room(&set), lanes.in_use().count()), (1, 0));
    }
}
