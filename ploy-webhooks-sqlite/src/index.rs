//! The index that skips, built behind the writes.
//!
//! The indexer reads what has been committed, fills one block filter after the other, and keeps
//! closed blocks in memory, where searches see them, until sixty-four of them make a segment,
//! which goes into the database. What is not in a closed block yet is the tail: a search reads
//! it directly. So a search is exact at once, ingest waits for nothing, and a crash loses
//! nothing that cannot be read again.

use std::sync::{Arc, Mutex, MutexGuard};

use ploy_webhooks::store::StoreError;
use ploy_webhooks::store::grams::{
    self, BLOCK_EVENTS_MAX, BLOCK_TEXT_BYTES, BlockFilter, FILTER_WORDS, SEGMENT_BLOCKS,
};
use ploy_webhooks::{EventId, EventType, NewEvent};
use rusqlite::{Connection, params};

use crate::error::store_error;
use crate::events::{Origin, Origins};
use crate::progress::Written;
use crate::queue::Queue;
use crate::task;

/// How many words of a filter make a slice of a segment. A slice fits a page of 8 KiB.
const SLICE_FILTER_WORDS: usize = 15;
/// How many words a slice of a segment has.
pub(crate) const SLICE_WORDS: usize = 64 * SLICE_FILTER_WORDS;
/// How many slices a segment has.
pub(crate) const SEGMENT_SLICES: usize = FILTER_WORDS.div_ceil(SLICE_FILTER_WORDS);
/// So many slices are written in one transaction, so that no batch waits long for it.
const SLICES_AT_ONCE: usize = 16;
/// What they add to the log is counted with the events that they index.
const SLICES_LOG_BYTES: usize = 0;
/// How many events are read at once.
const EVENTS_AT_ONCE: usize = 64;

/// A run of events, in the order of their commits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Block {
    pub(crate) first_seq: i64,
    pub(crate) last_seq: i64,
    pub(crate) min_id: EventId,
    pub(crate) max_id: EventId,
}

impl Block {
    const BYTES: usize = 48;

    fn write_to(&self, bytes: &mut Vec<u8>) {
        bytes.extend_from_slice(&self.first_seq.to_be_bytes());
        bytes.extend_from_slice(&self.last_seq.to_be_bytes());
        bytes.extend_from_slice(self.min_id.as_bytes());
        bytes.extend_from_slice(self.max_id.as_bytes());
    }

    /// The blocks of a segment, as they were written.
    pub(crate) fn read_all(bytes: &[u8]) -> impl Iterator<Item = Self> {
        bytes.chunks_exact(Self::BYTES).map(|bytes| {
            let (first_seq, bytes) = bytes.split_first_chunk().expect("48 bytes hold 8");
            let (last_seq, bytes) = bytes.split_first_chunk().expect("40 bytes hold 8");
            let (min_id, bytes) = bytes.split_first_chunk().expect("32 bytes hold 16");
            let (max_id, _) = bytes.split_first_chunk().expect("16 bytes hold 16");
            Self {
                first_seq: i64::from_be_bytes(*first_seq),
                last_seq: i64::from_be_bytes(*last_seq),
                min_id: EventId::from_bytes(*min_id),
                max_id: EventId::from_bytes(*max_id),
            }
        })
    }
}

/// A block that no event is added to any more.
#[derive(Debug)]
pub(crate) struct ClosedBlock {
    pub(crate) block: Block,
    pub(crate) filter: BlockFilter,
}

/// Closed blocks that are not in a segment yet.
#[derive(Clone, Debug, Default)]
pub(crate) struct ClosedBlocks(Arc<Mutex<Vec<ClosedBlock>>>);

impl ClosedBlocks {
    pub(crate) fn lock(&self) -> MutexGuard<'_, Vec<ClosedBlock>> {
        self.0.lock().expect("no holder of the lock panics")
    }
}

/// Builds the index.
#[derive(Debug)]
pub(crate) struct Indexer {
    reader: Connection,
    queue: Arc<Queue>,
    blocks: Blocks,
}

/// What is indexed and not in a segment yet.
#[derive(Debug)]
struct Blocks {
    closed: ClosedBlocks,
    open: OpenBlock,
    /// The number of the segment that the closed blocks will make.
    segment: i64,
    indexed_seq: i64,
    scratch: Vec<u8>,
}

#[derive(Debug)]
struct OpenBlock {
    filter: BlockFilter,
    block: Option<Block>,
    events: usize,
    text_bytes: usize,
}

impl OpenBlock {
    fn new(segment: i64) -> Self {
        let filter = BlockFilter::new(salt_of(segment));
        Self { filter, block: None, events: 0, text_bytes: 0 }
    }

    /// Adds the block to the closed ones, and begins the one after it.
    fn close(&mut self, closed: &ClosedBlocks, first_segment: i64) {
        let mut closed = closed.lock();
        let blocks = closed.len() + usize::from(self.block.is_some());
        let next = Self::new(first_segment + (blocks / SEGMENT_BLOCKS) as i64);
        let Self { block, filter, .. } = std::mem::replace(self, next);
        closed.extend(block.map(|block| ClosedBlock { block, filter }));
    }

    fn is_full(&self) -> bool {
        self.text_bytes >= BLOCK_TEXT_BYTES || self.events >= BLOCK_EVENTS_MAX
    }

    fn add(&mut self, seq: i64, id: EventId) {
        self.events += 1;
        self.block = Some(match self.block {
            None => Block { first_seq: seq, last_seq: seq, min_id: id, max_id: id },
            Some(block) => Block {
                last_seq: seq,
                min_id: block.min_id.min(id),
                max_id: block.max_id.max(id),
                ..block
            },
        });
    }
}

impl Blocks {
    fn add(&mut self, seq: i64, event: &Indexable<'_>) {
        self.open.add(seq, event.id);
        let filter = &mut self.open.filter;
        match &event.origin {
            Some(origin) => {
                if let Some(endpoint) = origin.endpoint {
                    filter.add_term(endpoint_term(endpoint.as_bytes()));
                }
                filter.add_term(grams::workspace_term(&origin.workspace));
                if let Some(event_type) = event.event_type {
                    filter.add_term(grams::type_term(event_type));
                }
                let text_bytes = grams::add_payload(filter, event.payload, &mut self.scratch);
                self.open.text_bytes += text_bytes;
            }
            None => filter.add_term(ORPHAN_TERM),
        }
        if self.open.is_full() {
            self.open.close(&self.closed, self.segment);
        }
        self.indexed_seq = seq;
    }
}

impl Indexer {
    /// An indexer that goes on after the last segment.
    pub(crate) fn begin(
        reader: Connection,
        queue: Arc<Queue>,
        closed: ClosedBlocks,
    ) -> Result<Self, StoreError> {
        let last = last_segment(&reader)
            .map_err(|error| store_error("cannot read the search index", error))?;
        let (segment, indexed_seq) = last.map_or((0, 0), |(last, last_seq)| (last + 1, last_seq));
        let open = OpenBlock::new(segment);
        let blocks = Blocks { closed, open, segment, indexed_seq, scratch: Vec::new() };
        Ok(Self { reader, queue, blocks })
    }

    /// Indexes events that were just written. What is missing before them is read.
    pub(crate) fn index(&mut self, written: Vec<Written>) -> Result<(), StoreError> {
        for Written { seq, event } in written {
            if seq > self.blocks.indexed_seq + 1 {
                self.catch_up()?;
            }
            if seq > self.blocks.indexed_seq {
                self.blocks.add(seq, &Indexable::from(&event));
            }
        }
        self.seal_segments()
    }

    /// Reads and indexes everything that is in the tables.
    pub(crate) fn catch_up(&mut self) -> Result<(), StoreError> {
        loop {
            let events = self
                .read_some()
                .map_err(|error| store_error("cannot read events for the search index", error))?;
            self.seal_segments()?;
            if events < EVENTS_AT_ONCE {
                return Ok(());
            }
        }
    }

    fn read_some(&mut self) -> rusqlite::Result<usize> {
        let snapshot = self.reader.transaction()?;
        let mut origins = Origins::new(&snapshot)?;
        let mut select = snapshot.prepare_cached(
            "-- read_some()
             SELECT seq, id, endpoint, workspace, type, payload FROM events
             WHERE seq > ?1 ORDER BY seq LIMIT ?2",
        )?;
        let mut rows = select.query(params![self.blocks.indexed_seq, EVENTS_AT_ONCE])?;
        let mut events = 0;
        while let Some(row) = rows.next()? {
            events += 1;
            let event = Indexable {
                id: EventId::from_bytes(row.get(1)?),
                origin: origins.of(row, 2, 3)?,
                event_type: row.get_ref(4)?.as_str_or_null()?,
                payload: row.get_ref(5)?.as_blob()?,
            };
            self.blocks.add(row.get(0)?, &event);
        }
        Ok(events)
    }

    fn seal_segments(&mut self) -> Result<(), StoreError> {
        while self.blocks.closed.lock().len() >= SEGMENT_BLOCKS {
            self.seal_segment()?;
        }
        Ok(())
    }

    /// Moves sixty-four closed blocks into the database. Searches find them in memory until they
    /// find them there.
    fn seal_segment(&mut self) -> Result<(), StoreError> {
        let segment = self.blocks.segment;
        for first in (0..SEGMENT_SLICES).step_by(SLICES_AT_ONCE) {
            let slices = first..SEGMENT_SLICES.min(first + SLICES_AT_ONCE);
            let slices: Vec<_> = slices.map(|slice| self.slice(slice)).collect();
            write(&self.queue, SLICES_LOG_BYTES, move |connection| {
                insert_slices(connection, slice_number(segment, first), &slices)
            })?;
        }
        let row = SegmentRow::of(&self.blocks.closed.lock()[..SEGMENT_BLOCKS]);
        // Only now is the segment there: slices without it are written over by the next try.
        write(&self.queue, 0, move |connection| row.insert(connection, segment))?;
        self.blocks.closed.lock().drain(..SEGMENT_BLOCKS);
        self.blocks.segment += 1;
        Ok(())
    }

    /// A slice of the segment that the first closed blocks make.
    fn slice(&self, slice: usize) -> Vec<u8> {
        let closed = self.blocks.closed.lock();
        let filters: Vec<_> =
            closed.iter().take(SEGMENT_BLOCKS).map(|block| &block.filter).collect();
        let first = slice * SLICE_FILTER_WORDS;
        let words = first..FILTER_WORDS.min(first + SLICE_FILTER_WORDS);
        let mut bytes = Vec::with_capacity(8 * SLICE_WORDS);
        for word in grams::transpose(&filters, words) {
            bytes.extend_from_slice(&word.to_le_bytes());
        }
        bytes
    }
}

/// Where a slice lies in the table.
pub(crate) const fn slice_number(segment: i64, slice: usize) -> i64 {
    segment * SEGMENT_SLICES as i64 + slice as i64
}

/// What the index takes of an event.
struct Indexable<'event> {
    id: EventId,
    /// `None` where the endpoint is deleted.
    origin: Option<Origin>,
    event_type: Option<&'event str>,
    payload: &'event [u8],
}

impl<'event> From<&'event NewEvent> for Indexable<'event> {
    fn from(event: &'event NewEvent) -> Self {
        let endpoint = event.fence.map(|fence| fence.endpoint);
        Self {
            id: event.id,
            origin: Some(Origin { endpoint, workspace: event.workspace }),
            event_type: event.event_type.as_ref().map(EventType::as_str),
            payload: &event.payload,
        }
    }
}

/// A segment's row, without its bits.
struct SegmentRow {
    last_seq: i64,
    min_id: EventId,
    max_id: EventId,
    blocks: Vec<u8>,
}

impl SegmentRow {
    fn of(closed: &[ClosedBlock]) -> Self {
        let blocks = || closed.iter().map(|closed| closed.block);
        let mut bytes = Vec::with_capacity(closed.len() * Block::BYTES);
        blocks().for_each(|block| block.write_to(&mut bytes));
        Self {
            last_seq: blocks().map(|block| block.last_seq).max().expect("a segment has blocks"),
            min_id: blocks().map(|block| block.min_id).min().expect("a segment has blocks"),
            max_id: blocks().map(|block| block.max_id).max().expect("a segment has blocks"),
            blocks: bytes,
        }
    }

    fn insert(&self, connection: &Connection, number: i64) -> rusqlite::Result<()> {
        connection.execute(
            "INSERT OR REPLACE INTO segments (number, last_seq, min_id, max_id, blocks)
             VALUES (?1, ?2, ?3, ?4, ?5)",
            params![
                number,
                self.last_seq,
                self.min_id.as_bytes(),
                self.max_id.as_bytes(),
                self.blocks
            ],
        )?;
        Ok(())
    }
}

fn insert_slices(connection: &Connection, first: i64, slices: &[Vec<u8>]) -> rusqlite::Result<()> {
    let mut insert = connection
        .prepare_cached("INSERT OR REPLACE INTO segment_bits (slice, words) VALUES (?1, ?2)")?;
    for (slice, words) in (first..).zip(slices) {
        insert.execute(params![slice, words])?;
    }
    Ok(())
}

fn last_segment(connection: &Connection) -> rusqlite::Result<Option<(i64, i64)>> {
    use rusqlite::OptionalExtension;
    connection
        .query_row(
            "SELECT number, last_seq FROM segments ORDER BY number DESC LIMIT 1",
            [],
            |row| Ok((row.get(0)?, row.get(1)?)),
        )
        .optional()
}

/// A segment, and between which places its events lie.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SegmentSpan {
    pub(crate) number: i64,
    pub(crate) first_seq: i64,
    pub(crate) last_seq: i64,
}

impl SegmentSpan {
    /// Whether there is nothing left of it. The newest always has something: it says what is
    /// indexed. Once it is so, it stays so: places are not given again.
    pub(crate) fn is_empty(&self, connection: &Connection) -> rusqlite::Result<bool> {
        let mut select = connection.prepare_cached(
            "-- is_empty()
             SELECT NOT EXISTS (SELECT 1 FROM events WHERE seq BETWEEN ?1 AND ?2)
                 AND ?3 < (SELECT max(number) FROM segments)",
        )?;
        select.query_row(params![self.first_seq, self.last_seq, self.number], |row| row.get(0))
    }

    /// Deletes it with its bits.
    pub(crate) fn delete(&self, connection: &Connection) -> rusqlite::Result<()> {
        let slices = (slice_number(self.number, 0), slice_number(self.number + 1, 0));
        connection.execute("DELETE FROM segments WHERE number = ?1", params![self.number])?;
        connection.execute(
            "DELETE FROM segment_bits WHERE slice >= ?1 AND slice < ?2",
            params![slices.0, slices.1],
        )?;
        Ok(())
    }
}

/// The segments of which nothing is left.
pub(crate) fn empty_segments(connection: &Connection) -> rusqlite::Result<Vec<SegmentSpan>> {
    let mut select = connection.prepare("SELECT number, last_seq FROM segments ORDER BY number")?;
    let rows = select.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?;
    let (mut empty, mut first_seq) = (Vec::new(), 0);
    for row in rows {
        let (number, last_seq) = row?;
        let span = SegmentSpan { number, first_seq, last_seq };
        if span.is_empty(connection)? {
            empty.push(span);
        }
        first_seq = last_seq + 1;
    }
    Ok(empty)
}

/// Lets the writer do something behind the events, and waits for it. For threads.
pub(crate) fn write<T: Send + 'static>(
    queue: &Queue,
    log_bytes: usize,
    work: impl FnOnce(&Connection) -> rusqlite::Result<T> + Send + 'static,
) -> Result<T, StoreError> {
    let work = |connection: &mut Connection| Ok((task::commit_unflushed(connection, work)?, None));
    task::give(queue, log_bytes, work)?.blocking_recv()
}

/// What a segment's filters are salted with.
pub(crate) const fn salt_of(segment: i64) -> u64 {
    (segment as u64 + 1).wrapping_mul(0xd6e8_feb8_6659_fd93)
}

/// An id's last bytes are random.
pub(crate) fn endpoint_term(id: &[u8; 16]) -> u64 {
    u64::from_be_bytes(*id.last_chunk().expect("16 bytes hold 8"))
}

/// Stands for events whose endpoint was deleted before they were indexed.
pub(crate) const ORPHAN_TERM: u64 = 0x0e9a_6e0f_2d41_77c3;
