//! A filter that knows most keys which a generation has not: a Bloom filter in blocks, so that a
//! question costs one line of the processor's cache.

use crate::wire::Uuid;

/// A block: eight words, in each of which a key sets one bit. It does not lie across two lines of
/// the cache.
#[derive(Clone, Copy, Debug)]
#[repr(align(32))]
struct Block([u32; 8]);

/// One in about five thousand keys that are not there seems to be: of a batch that is asked about
/// twenty generations, a key now and then.
const BITS_A_KEY: u64 = 24;

/// Odd numbers that make eight bits out of one hash: those of Parquet's filters, which are the
/// same.
const SALTS: [u32; 8] = [
    0x47b6_137b,
    0x4497_4d91,
    0x8824_ad5b,
    0xa2b7_289d,
    0x7054_95c7,
    0x2df1_424b,
    0x9efc_4947,
    0x5c6b_fb31,
];

/// The filter.
#[derive(Debug)]
pub(crate) struct Filter {
    blocks: Vec<Block>,
}

impl Filter {
    /// An empty filter for about so many keys: with more, more seem to be there.
    pub(crate) fn for_keys(keys: u64) -> Self {
        let blocks = Self::bytes_for(keys) / size_of::<Block>() as u64;
        let blocks = usize::try_from(blocks).expect("a table has fewer keys than memory has bytes");
        Self { blocks: vec![Block([0; 8]); blocks] }
    }

    /// How much memory that takes.
    pub(crate) fn bytes_for(keys: u64) -> u64 {
        (keys * BITS_A_KEY / 8).next_multiple_of(size_of::<Block>() as u64).max(32)
    }

    pub(crate) fn bytes(&self) -> u64 {
        size_of_val(&self.blocks[..]) as u64
    }

    pub(crate) fn add(&mut self, key: Uuid) {
        let (place, bits) = (self.place(key), bits(key));
        for (word, bit) in self.blocks[place].0.iter_mut().zip(bits) {
            *word |= bit;
        }
    }

    /// Whether it may have been added. A `false` is certain.
    pub(crate) fn may_have(&self, key: Uuid) -> bool {
        self.blocks[self.place(key)].0.iter().zip(bits(key)).all(|(word, bit)| word & bit != 0)
    }

    fn place(&self, key: Uuid) -> usize {
        let hash = u64::from(quarter(key, 3));
        usize::try_from((hash * self.blocks.len() as u64) >> 32).expect("it is one of the blocks")
    }
}

/// A key is part of a digest, and so is each of its parts.
fn quarter(key: Uuid, number: usize) -> u32 {
    let (quarters, _) = key.0.as_chunks();
    u32::from_le_bytes(quarters[number])
}

fn bits(key: Uuid) -> [u32; 8] {
    SALTS.map(|salt| 1 << (quarter(key, 0).wrapping_mul(salt) >> 27))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Bytes that look random.
    fn key(number: u128) -> Uuid {
        let number = (number + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835);
        let number =
            (number ^ (number >> 59)).wrapping_mul(0xbf58_476d_1ce4_e5b9_94d0_49bb_1331_11eb);
        Uuid((number ^ (number >> 63)).to_le_bytes())
    }

    #[test]
    fn what_was_added_is_there_and_little_else_seems_to_be() {
        const KEYS: u128 = 20_000;
        let mut filter = Filter::for_keys(20_000);
        (0..KEYS).for_each(|number| filter.add(key(number)));
        assert!((0..KEYS).all(|number| filter.may_have(key(number))));
        let strange = (KEYS..11 * KEYS).filter(|number| filter.may_have(key(*number))).count();
        assert!(strange < 200, "of 200,000 strange keys {strange} pass");
    }

    #[test]
    fn the_smallest_takes_keys() {
        let mut filter = Filter::for_keys(0);
        filter.add(key(1));
        assert!(filter.may_have(key(1)) && !filter.may_have(key(2)));
    }
}
