//! How much room is left in which lane.

use std::collections::HashMap;
use std::num::NonZeroU16;

use crate::run::Lane;

/// How many runs more may be under way in each lane: the same number in every one, less what is
/// under way there.
#[derive(Clone, Debug)]
pub struct Lanes {
    each: NonZeroU16,
    under_way: HashMap<Lane, u16>,
}

impl Lanes {
    /// Lanes with that much room, in which nothing is under way.
    #[must_use]
    pub fn new(each: NonZeroU16) -> Self {
        Self { each, under_way: HashMap::new() }
    }

    /// How many runs more may be under way in that lane.
    #[must_use]
    pub fn room(&self, lane: &Lane) -> u16 {
        self.each.get().saturating_sub(self.under_way.get(lane).copied().unwrap_or(0))
    }

    /// How many may be under way in a lane in which nothing is.
    #[must_use]
    pub const fn each(&self) -> NonZeroU16 {
        self.each
    }

    /// The lanes in which something is under way, with the room that is left there.
    pub fn in_use(&self) -> impl Iterator<Item = (Lane, u16)> {
        self.under_way.iter().map(|(lane, taken)| (*lane, self.each.get().saturating_sub(*taken)))
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
    use crate::id::WorkspaceId;

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
}
