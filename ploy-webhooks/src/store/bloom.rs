//! A filter that knows most keys which a set has not: a Bloom filter in blocks, so that a question
//! costs one line of the processor's cache.
//!
//! For who writes a store: the stores of this project share it, for their deduplication keys.

/// A block: eight words, in each of which a key sets one bit. It does not lie across two lines
/// of the cache.
#[derive(Clone, Copy, Debug)]
#[repr(align(32))]
struct Block([u32; 8]);

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

/// The filter. One without blocks knows nothing.
///
/// Keys are given as 64 bits that are as good as random, as those of a digest are. With sixteen
/// bits a key, one in about a thousand keys that are not there seems to be; with twenty-four, one
/// in about five thousand.
#[derive(Clone, Debug, Default)]
pub struct Bloom {
    blocks: Vec<Block>,
}

impl Bloom {
    /// How many bytes a block has.
    pub const BLOCK_BYTES: usize = size_of::<Block>();

    /// An empty filter of at most so many bytes.
    #[must_use]
    pub fn of_bytes(bytes: u64) -> Self {
        let blocks = u32::try_from(bytes / Self::BLOCK_BYTES as u64).unwrap_or(u32::MAX);
        Self { blocks: vec![Block([0; 8]); blocks as usize] }
    }

    /// How many blocks it has.
    #[must_use]
    pub fn blocks(&self) -> usize {
        self.blocks.len()
    }

    /// Adds a key.
    pub fn add(&mut self, hash: u64) {
        let place = self.place(hash);
        if let Some(block) = self.blocks.get_mut(place) {
            for (word, bit) in block.0.iter_mut().zip(bits(hash)) {
                *word |= bit;
            }
        }
    }

    /// Whether a key may have been added. A `false` is certain.
    #[must_use]
    pub fn may_have(&self, hash: u64) -> bool {
        let Some(block) = self.blocks.get(self.place(hash)) else { return true };
        block.0.iter().zip(bits(hash)).all(|(word, bit)| word & bit != 0)
    }

    fn place(&self, hash: u64) -> usize {
        (((hash >> 32) * self.blocks.len() as u64) >> 32) as usize
    }

    /// Its blocks in pages of so many.
    pub fn pages(&self, blocks: usize) -> impl Iterator<Item = Vec<u8>> {
        self.blocks
            .chunks(blocks)
            .map(|page| page.iter().flat_map(|block| block.0).flat_map(u32::to_le_bytes).collect())
    }

    /// Adds the blocks of a page that was written; what is left of it over is left out.
    pub fn read_page(&mut self, bytes: &[u8]) {
        let (words, _) = bytes.as_chunks();
        let (blocks, _) = words.as_chunks::<8>();
        self.blocks.extend(blocks.iter().map(|words| Block(words.map(u32::from_le_bytes))));
    }
}

fn bits(hash: u64) -> [u32; 8] {
    SALTS.map(|salt| 1 << ((hash as u32).wrapping_mul(salt) >> 27))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Numbers that look random.
    fn hash(number: u64) -> u64 {
        let number = (number + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let number = (number ^ (number >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let number = (number ^ (number >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        number ^ (number >> 31)
    }

    #[test]
    fn what_was_added_is_there_and_little_else_seems_to_be() {
        const KEYS: u64 = 20_000;
        let mut filter = Bloom::of_bytes(KEYS * 16 / 8);
        (0..KEYS).for_each(|number| filter.add(hash(number)));
        let mut read = Bloom::default();
        filter.pages(254).for_each(|page| read.read_page(&page));
        assert!((0..KEYS).all(|number| read.may_have(hash(number))));
        let false_ones = (KEYS..11 * KEYS).filter(|number| read.may_have(hash(*number)));
        let false_ones = false_ones.count() as u64;
        assert!(false_ones < 10 * KEYS / 250, "of 200,000 strange keys {false_ones} pass");
    }

    #[test]
    fn a_filter_without_blocks_knows_nothing() {
        let mut filter = Bloom::of_bytes(31);
        filter.add(hash(1));
        assert!(filter.may_have(hash(2)));
    }
}
