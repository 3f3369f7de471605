//! When the keys of a segment expire, in sixteen moments.

use ploy_webhooks::Timestamp;

const SHARES: usize = 16;
/// As many keys as are asked for the moments: they are in the order of their prints, which says
/// nothing about their time.
const SAMPLES: u64 = 4_096;

/// By when each sixteenth of the keys has expired. The last moment is exact: by then all have. The
/// others are close enough to say what is worth doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Expiries([Timestamp; SHARES]);

impl Expiries {
    pub(super) const BYTES: usize = 8 * SHARES;

    /// By when half of the keys have expired.
    pub(super) fn half_by(&self) -> Timestamp {
        self.0[SHARES / 2 - 1]
    }

    /// By when all have.
    pub(super) fn all_by(&self) -> Timestamp {
        self.0[SHARES - 1]
    }

    /// About how many of so many keys have not expired.
    pub(super) fn live(&self, keys: u64, now: Timestamp) -> u64 {
        let shares = self.0.iter().filter(|moment| **moment > now).count();
        (keys * shares as u64).div_ceil(SHARES as u64)
    }

    pub(super) fn to_bytes(self) -> Vec<u8> {
        self.0.iter().flat_map(|moment| moment.as_millis().to_be_bytes()).collect()
    }

    pub(super) fn from_bytes(bytes: &[u8; Self::BYTES]) -> Self {
        let (moments, _) = bytes.as_chunks();
        let mut moments = moments.iter().map(|moment| u64::from_be_bytes(*moment));
        Self(std::array::from_fn(|_| Timestamp::from_millis(moments.next().unwrap_or(0))))
    }
}

/// Looks at keys as they come.
#[derive(Debug)]
pub(super) struct Sampler {
    every: u64,
    seen: u64,
    samples: Vec<Timestamp>,
    latest: Timestamp,
}

impl Sampler {
    /// For about so many keys.
    pub(super) fn new(keys: u64) -> Self {
        let every = (keys / SAMPLES).max(1);
        let latest = Timestamp::from_millis(0);
        Self { every, seen: 0, samples: Vec::new(), latest }
    }

    pub(super) fn see(&mut self, expires_at: Timestamp) {
        if self.seen.is_multiple_of(self.every) {
            self.samples.push(expires_at);
        }
        self.seen += 1;
        self.latest = self.latest.max(expires_at);
    }

    pub(super) fn seen(&self) -> u64 {
        self.seen
    }

    pub(super) fn expiries(mut self) -> Expiries {
        self.samples.sort_unstable();
        let mut moments = std::array::from_fn(|share| {
            let place = (share + 1) * self.samples.len() / SHARES;
            self.samples.get(place.saturating_sub(1)).copied().unwrap_or(self.latest)
        });
        moments[SHARES - 1] = self.latest;
        Expiries(moments)
    }
}
