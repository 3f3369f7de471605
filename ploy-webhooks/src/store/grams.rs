//! An index that skips: which blocks of a history cannot hold a needle.
//!
//! A history is cut into blocks of about [`BLOCK_TEXT_BYTES`]. Each has a [`BlockFilter`]: one
//! bit for each sequence of five folded bytes that stands in its payloads, and a few for each
//! term, such as an endpoint's id. A [`Probe`] is what a query asks for; blocks that lack one of
//! its bits are never read. What the bits let through is read and compared, so a search is exact
//! whatever they say.
//!
//! It costs about a microsecond an event to build and a quarter of the text to keep, where an
//! inverted index of trigrams costs a hundred times the one and several times the other. Five
//! bytes, because all the trigrams of digits and letters occur in every block; one bit each,
//! because a needle has several sequences and they vouch for one another.
//!
//! Sixty-four blocks make a segment, [transposed](transpose): the word at place *p* holds bit
//! *p* of all its blocks, so that a probe of eight bits reads eight words, not sixty-four
//! filters. Each segment has a salt of its own: a sequence whose bit is also that of one which
//! stands everywhere is mistaken for it in one segment, not in all.
//!
//! For who writes a store: the stores of this project share it.

use std::ops::Range;

use super::Needle;
use super::needle::fold_into;
use crate::id::WorkspaceId;

/// How much text a block holds, at least, before the next one begins.
pub const BLOCK_TEXT_BYTES: usize = 128 << 10;
/// How many events a block holds at most.
pub const BLOCK_EVENTS_MAX: usize = 1 << 10;
/// How many blocks a segment has.
pub const SEGMENT_BLOCKS: usize = 64;
/// How many bits a filter has, and how many words a transposed segment.
pub const FILTER_BITS: usize = 1 << FILTER_BITS_LOG2;

/// How many words of 64 bits a filter has.
pub const FILTER_WORDS: usize = FILTER_BITS / 64;

const FILTER_BITS_LOG2: u32 = 18;
const GRAM_BYTES: usize = 5;
const GRAM_MASK: u64 = (1 << (8 * GRAM_BYTES)) - 1;
/// A term has nobody to vouch for it.
const TERM_BITS: u64 = 4;
/// So many sequences of a long needle are asked for: evenly spread, they leave next to no block
/// to be read for nothing.
const PROBE_GRAMS_MAX: usize = 12;

/// What stands in one block.
#[derive(Clone, Debug)]
pub struct BlockFilter {
    salt: u64,
    words: Box<[u64; FILTER_WORDS]>,
}

impl BlockFilter {
    /// The filter of an empty block, in a segment with that salt.
    #[must_use]
    pub fn new(salt: u64) -> Self {
        Self { salt, words: Box::new([0; FILTER_WORDS]) }
    }

    /// Adds a payload, folded by [`fold_into`].
    pub fn add_text(&mut self, folded: &[u8]) {
        for window in folded.windows(8) {
            let gram = u64::from_le_bytes(window.try_into().expect("a window of eight bytes"));
            self.set(place(gram & GRAM_MASK, self.salt));
        }
        // The last few sequences have no eight bytes before the end.
        let rest = folded.len().saturating_sub(7);
        for gram in folded[rest..].windows(GRAM_BYTES) {
            self.set(place(gram_of(gram), self.salt));
        }
    }

    /// Adds a term, by a number that is as good as random (a hash, or an id's last bytes).
    pub fn add_term(&mut self, term: u64) {
        for key in keys_of(term) {
            self.set(place(key, self.salt));
        }
    }

    /// Whether the block may hold what the probe asks for.
    #[must_use]
    pub fn may_hold(&self, probe: &Probe) -> bool {
        probe.places(self.salt).all(|place| self.words[place / 64] & (1 << (place % 64)) != 0)
    }

    fn set(&mut self, place: usize) {
        self.words[place / 64 % FILTER_WORDS] |= 1 << (place % 64);
    }
}

/// What a block must hold to hold what a query asks for.
#[derive(Clone, Debug, Default)]
pub struct Probe {
    keys: Vec<u64>,
}

impl Probe {
    /// A probe that every block passes.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Asks for a needle. One of fewer than five bytes asks for nothing.
    pub fn add_needle(&mut self, needle: &Needle) {
        let grams = needle.folded().as_bytes().windows(GRAM_BYTES);
        let step = grams.len().div_ceil(PROBE_GRAMS_MAX).max(1);
        self.keys.extend(grams.step_by(step).map(gram_of));
    }

    /// Asks for a term.
    pub fn add_term(&mut self, term: u64) {
        self.keys.extend(keys_of(term));
    }

    /// The places of the bits in a segment with that salt, each below [`FILTER_BITS`]. All of
    /// them must be set.
    pub fn places(&self, salt: u64) -> impl Iterator<Item = usize> {
        self.keys.iter().map(move |&key| place(key, salt))
    }
}

/// The term of a workspace: an id's last bytes are random.
#[must_use]
pub fn workspace_term(workspace: &WorkspaceId) -> u64 {
    let last = workspace.as_bytes().last_chunk().expect("16 bytes hold 8");
    u64::from_be_bytes(*last).rotate_left(17) ^ 0x5ca1_ab1e
}

/// The term of an event type. FNV-1a: the same for good, unlike the standard library's hash.
#[must_use]
pub fn type_term(event_type: &str) -> u64 {
    event_type.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

/// Multiplicative hashing (Knuth, *The Art of Computer Programming*, §6.4): the upper bits of the
/// product are the good ones.
const fn place(key: u64, salt: u64) -> usize {
    ((key ^ salt).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> (64 - FILTER_BITS_LOG2)) as usize
}

/// Several keys for one term, beyond the 40 bits of a sequence.
fn keys_of(term: u64) -> impl Iterator<Item = u64> {
    (1..=TERM_BITS).map(move |bit| term.wrapping_mul(2 * bit + 1).rotate_left(13 * bit as u32))
}

fn gram_of(bytes: &[u8]) -> u64 {
    bytes.iter().rev().fold(0, |gram, &byte| (gram << 8) | u64::from(byte))
}

/// These words of up to sixty-four filters side by side: bit *b* of the result's word at place
/// *p* is bit *p* of what was asked for of block *b*.
///
/// # Panics
///
/// When there are more than [`SEGMENT_BLOCKS`] filters, or words past [`FILTER_WORDS`].
#[must_use]
pub fn transpose(filters: &[&BlockFilter], words: Range<usize>) -> Vec<u64> {
    assert!(filters.len() <= SEGMENT_BLOCKS, "a segment has 64 blocks");
    let mut transposed = Vec::with_capacity(64 * words.len());
    for word in words {
        let mut square = [0; SEGMENT_BLOCKS];
        for (row, filter) in square.iter_mut().zip(filters) {
            *row = filter.words[word];
        }
        transpose_square(&mut square);
        transposed.extend_from_slice(&square);
    }
    transposed
}

/// Transposes 64 × 64 bits by swapping ever smaller quarters (Warren, *Hacker's Delight*, §7-3,
/// for rows that begin with their lowest bit).
fn transpose_square(rows: &mut [u64; 64]) {
    let mut size = 32;
    let mut mask = u64::from(u32::MAX);
    while size > 0 {
        let mut row = 0;
        while row < 64 {
            let swapped = ((rows[row] >> size) ^ rows[row + size]) & mask;
            rows[row] ^= swapped << size;
            rows[row + size] ^= swapped;
            row = (row + size + 1) & !size;
        }
        size /= 2;
        mask ^= mask << size;
    }
}

/// Folds a payload and adds it; `scratch` is overwritten. Returns how much text it was.
pub fn add_payload(filter: &mut BlockFilter, payload: &[u8], scratch: &mut Vec<u8>) -> usize {
    scratch.clear();
    fold_into(payload, scratch);
    filter.add_text(scratch);
    scratch.len()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const SALT: u64 = 0x5a17;

    fn filter_of(payload: &str) -> BlockFilter {
        let mut filter = BlockFilter::new(SALT);
        add_payload(&mut filter, payload.as_bytes(), &mut Vec::new());
        filter
    }

    fn probe_of(needle: &str) -> Probe {
        let mut probe = Probe::new();
        probe.add_needle(&Needle::new(needle).unwrap());
        probe
    }

    #[test]
    fn a_block_that_lacks_the_needle_is_skipped() {
        let filter = filter_of(r#"{"email":"alex@acme.com"}"#);
        assert!(filter.may_hold(&probe_of("ALEX@ACME")));
        assert!(!filter.may_hold(&probe_of("sam@acme.com")));
        assert!(filter.may_hold(&probe_of("zzzz")), "too short to tell");
    }

    #[test]
    fn terms_are_told_apart() {
        let mut filter = BlockFilter::new(SALT);
        for term in 0..100u64 {
            filter.add_term(term.wrapping_mul(0x1234_5678_9abc_def1));
        }
        let held = |term: u64| {
            let mut probe = Probe::new();
            probe.add_term(term.wrapping_mul(0x1234_5678_9abc_def1));
            filter.may_hold(&probe)
        };
        assert!((0..100).all(held));
        assert!((100..2_000).filter(|&term| held(term)).count() < 3);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(32))]

        #[test]
        fn every_part_of_a_payload_passes(
            payload in "\\PC{0,60}",
            from: prop::sample::Index,
            to: prop::sample::Index,
        ) {
            let chars: Vec<char> = payload.chars().collect();
            let (from, to) = (from.index(chars.len() + 1), to.index(chars.len() + 1));
            let part: String = chars[from.min(to)..from.max(to)].iter().collect();
            if !part.is_empty() {
                prop_assert!(filter_of(&payload).may_hold(&probe_of(&part)));
            }
        }

        #[test]
        fn a_segment_says_what_its_filters_say(payloads in prop::collection::vec("[a-f]{0,40}", 1..64)) {
            let filters: Vec<_> = payloads.iter().map(|payload| filter_of(payload)).collect();
            let words = transpose(&filters.iter().collect::<Vec<_>>(), 0..FILTER_WORDS);
            prop_assert_eq!(words.len(), FILTER_BITS);
            for needle in ["abcde", "fedcba", "aaaaa"] {
                let probe = probe_of(needle);
                let mask = probe.places(SALT).fold(u64::MAX, |mask, place| mask & words[place]);
                for (block, filter) in filters.iter().enumerate() {
                    prop_assert_eq!(mask & (1 << block) != 0, filter.may_hold(&probe));
                }
            }
        }
    }
}
