//! Events found by id, endpoint, type, time and substring.
//!
//! Events lie in the order of their commits, which is nearly that of their ids, and no other
//! order is kept: an index by id would cost a tenth of the ingest rate. Instead the history is
//! cut into blocks (see `index.rs`), of which the least and the greatest id are known. A search
//! visits blocks from its nearest end: see `ploy_webhooks::store::nearest`.

use std::collections::BinaryHeap;

use ploy_webhooks::store::grams::{self, Probe};
use ploy_webhooks::store::nearest::{Nearest, Nearness};
use ploy_webhooks::store::{EventQuery, Page, StoreError};
use ploy_webhooks::{EventId, EventSummary, WorkspaceId};
use rusqlite::{Connection, OptionalExtension, params};

use crate::error::store_error;
use crate::events::{self, Origin, Origins};
use crate::index::{Block, ClosedBlocks, SLICE_WORDS, endpoint_term, salt_of, slice_number};

/// So many blocks are read for one page, before it says where to go on: 128 MiB of text.
const BLOCKS_AT_ONCE: usize = 1_024;

/// One page of a query.
pub(crate) struct Search {
    query: EventQuery,
    probe: Probe,
}

/// Blocks that have not been read, the nearest first.
struct Unread<'connection> {
    connection: &'connection Connection,
    segments: Vec<Segment>,
    blocks: BinaryHeap<(Nearness, i64, i64)>,
}

struct Segment {
    nearness: Nearness,
    number: i64,
}

impl Search {
    pub(crate) fn new(query: EventQuery) -> Self {
        let mut probe = Probe::new();
        if let Some(needle) = &query.contains {
            probe.add_needle(needle);
        }
        if let Some(endpoint) = &query.endpoint {
            probe.add_term(endpoint_term(endpoint.as_bytes()));
        } else if query.workspace != WorkspaceId::DEFAULT {
            probe.add_term(grams::workspace_term(&query.workspace));
        }
        if let Some(event_type) = &query.event_type {
            probe.add_term(grams::type_term(event_type.as_str()));
        }
        Self { query, probe }
    }

    pub(crate) fn run(
        self,
        connection: &mut Connection,
        closed: &ClosedBlocks,
    ) -> Result<Page<EventSummary>, StoreError> {
        let Some(range) = self.query.id_range() else {
            return Ok(Page { items: Vec::new(), next: None });
        };
        let failed = |error| store_error("cannot search the events", error);
        let in_memory = self.blocks_in_memory(closed, range);
        let snapshot = connection.transaction().map_err(failed)?;
        let (mut unread, tail) = self.unread(&snapshot, in_memory, range).map_err(failed)?;

        let mut found = Nearest::new(&self.query);
        let mut reader = BlockReader::new(&snapshot, &self, range).map_err(failed)?;
        reader.read(tail, i64::MAX, &mut found)?;
        let mut blocks_read = 0;
        loop {
            let next = unread.nearest(&self, range).map_err(failed)?;
            let Some((nearness, first_seq, last_seq)) = next else {
                break;
            };
            if found.leaves_out(nearness) {
                break;
            }
            // What is nearer than the next block is settled: a page may end there.
            let until = nearness.nearer();
            if blocks_read >= BLOCKS_AT_ONCE && until < self.nearest_of(range.0, range.1) {
                return Ok(found.into_page_until(until));
            }
            reader.read(first_seq, last_seq, &mut found)?;
            blocks_read += 1;
        }
        Ok(found.into_page())
    }

    /// Blocks that are in memory and may hold what is asked for, and the last event of all that
    /// are in memory.
    fn blocks_in_memory(
        &self,
        closed: &ClosedBlocks,
        range: (EventId, EventId),
    ) -> (Vec<Block>, i64) {
        let closed = closed.lock();
        let blocks = closed
            .iter()
            .filter(|closed| closed.block.meets(range) && closed.filter.may_hold(&self.probe))
            .map(|closed| closed.block)
            .collect();
        (blocks, closed.last().map_or(0, |closed| closed.block.last_seq))
    }

    /// What is to be read: blocks and segments, and where the tail begins. A block that has
    /// become part of a segment since it was seen in memory is counted once, as the snapshot
    /// has it.
    fn unread<'connection>(
        &self,
        snapshot: &'connection Connection,
        (in_memory, memory_end): (Vec<Block>, i64),
        range: (EventId, EventId),
    ) -> rusqlite::Result<(Unread<'connection>, i64)> {
        let segments_end =
            snapshot.query_row("SELECT coalesce(max(last_seq), 0) FROM segments", [], |row| {
                row.get(0)
            })?;
        let mut unread = Unread {
            connection: snapshot,
            segments: self.segments(snapshot, range)?,
            blocks: BinaryHeap::new(),
        };
        for block in in_memory.into_iter().filter(|block| block.first_seq > segments_end) {
            unread.blocks.push(self.entry(&block));
        }
        Ok((unread, memory_end.max(segments_end) + 1))
    }

    /// The segments whose ids meet the range, the nearest last.
    fn segments(
        &self,
        snapshot: &Connection,
        (low, high): (EventId, EventId),
    ) -> rusqlite::Result<Vec<Segment>> {
        let mut select = snapshot.prepare_cached(
            "-- search()
             SELECT number, min_id, max_id FROM segments WHERE max_id >= ?1 AND min_id <= ?2",
        )?;
        let rows = select.query_map(params![low.as_bytes(), high.as_bytes()], |row| {
            let (min, max) = (row.get(1)?, row.get(2)?);
            let nearest = self.nearest_of(EventId::from_bytes(min), EventId::from_bytes(max));
            Ok(Segment { nearness: nearest, number: row.get(0)? })
        })?;
        let mut segments = rows.collect::<rusqlite::Result<Vec<_>>>()?;
        segments.sort_unstable_by_key(|segment| segment.nearness);
        Ok(segments)
    }

    fn nearness(&self, id: EventId) -> Nearness {
        Nearness::of(id, self.query.order)
    }

    fn nearest_of(&self, low: EventId, high: EventId) -> Nearness {
        Nearness::of_nearest(low, high, self.query.order)
    }

    fn entry(&self, block: &Block) -> (Nearness, i64, i64) {
        (self.nearest_of(block.min_id, block.max_id), block.first_seq, block.last_seq)
    }
}

impl Block {
    fn meets(&self, (low, high): (EventId, EventId)) -> bool {
        self.max_id >= low && self.min_id <= high
    }
}

impl Unread<'_> {
    /// Takes the nearest block out. A segment is opened when it is nearest, and adds those of
    /// its blocks that may hold what is asked for.
    fn nearest(
        &mut self,
        search: &Search,
        range: (EventId, EventId),
    ) -> rusqlite::Result<Option<(Nearness, i64, i64)>> {
        while let Some(segment) = self.segments.last() {
            if self.blocks.peek().is_some_and(|&(nearness, ..)| nearness > segment.nearness) {
                break;
            }
            let number = segment.number;
            self.segments.pop();
            self.open(search, number, range)?;
        }
        Ok(self.blocks.pop())
    }

    fn open(
        &mut self,
        search: &Search,
        number: i64,
        range: (EventId, EventId),
    ) -> rusqlite::Result<()> {
        let mask = passing(self.connection, number, &search.probe)?;
        if mask == 0 {
            return Ok(());
        }
        let mut select = self
            .connection
            .prepare_cached("-- search()\n SELECT blocks FROM segments WHERE number = ?1")?;
        let blocks: Vec<u8> = select.query_row(params![number], |row| row.get(0))?;
        for (place, block) in Block::read_all(&blocks).enumerate() {
            if mask & (1 << place) != 0 && block.meets(range) {
                self.blocks.push(search.entry(&block));
            }
        }
        Ok(())
    }
}

/// Which blocks of a segment pass the probe.
pub(crate) fn passing(
    connection: &Connection,
    segment: i64,
    probe: &Probe,
) -> rusqlite::Result<u64> {
    let mut select = connection
        .prepare_cached("-- search()\n SELECT words FROM segment_bits WHERE slice = ?1")?;
    let mut mask = u64::MAX;
    for place in probe.places(salt_of(segment)) {
        let (slice, word) = (place / SLICE_WORDS, place % SLICE_WORDS);
        let slice = slice_number(segment, slice);
        let bits = select.query_row(params![slice], |row| {
            let words = row.get_ref(0)?.as_blob()?;
            Ok(words.get(8 * word..8 * word + 8).and_then(|bytes| bytes.try_into().ok()))
        });
        // A slice that cannot be read excludes nothing.
        mask &= bits.optional()?.flatten().map_or(u64::MAX, u64::from_le_bytes);
        if mask == 0 {
            break;
        }
    }
    Ok(mask)
}

/// Reads blocks and keeps what matches.
struct BlockReader<'search> {
    select: rusqlite::CachedStatement<'search>,
    origins: Origins<'search>,
    search: &'search Search,
    range: (EventId, EventId),
    scratch: Vec<u8>,
}

impl<'search> BlockReader<'search> {
    fn new(
        snapshot: &'search Connection,
        search: &'search Search,
        range: (EventId, EventId),
    ) -> rusqlite::Result<Self> {
        let select = snapshot.prepare_cached(
            "-- search()
             SELECT seq, id, endpoint, workspace, type, source, length(payload), payload
             FROM events WHERE seq BETWEEN ?1 AND ?2",
        )?;
        let origins = Origins::new(snapshot)?;
        Ok(Self { select, origins, search, range, scratch: Vec::new() })
    }

    fn read(
        &mut self,
        first_seq: i64,
        last_seq: i64,
        found: &mut Nearest<'_>,
    ) -> Result<(), StoreError> {
        let failed = |error| store_error("cannot search the events", error);
        let Self { select, origins, search, range, scratch } = self;
        let query = &search.query;
        let mut rows = select.query(params![first_seq, last_seq]).map_err(failed)?;
        while let Some(row) = rows.next().map_err(failed)? {
            let id = EventId::from_bytes(row.get(1).map_err(failed)?);
            if id < range.0 || id > range.1 || found.leaves_out(search.nearness(id)) {
                continue;
            }
            let Some(origin) = origins.of(row, 2, 3).map_err(failed)? else {
                continue;
            };
            if origin.workspace != query.workspace
                || query.endpoint.is_some_and(|endpoint| origin.endpoint != Some(endpoint))
            {
                continue;
            }
            let seq = row.get(0).map_err(failed)?;
            let event_type = events::event_type(row, 4, seq)?;
            if query.event_type.is_some() && query.event_type != event_type {
                continue;
            }
            if let Some(needle) = &query.contains {
                let payload = row.get_ref(7).map_err(failed)?;
                let payload = payload.as_blob().map_err(|error| failed(error.into()))?;
                if !needle.stands_in(payload, scratch) {
                    continue;
                }
            }
            let summary = EventSummary {
                id,
                endpoint: origin.endpoint,
                event_type,
                source: events::source(row, 5, seq)?,
                size: row.get(6).map_err(failed)?,
            };
            found.add(summary);
        }
        Ok(())
    }
}

/// Where an event lies, and whose it is.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Place {
    pub(crate) seq: i64,
    pub(crate) origin: Origin,
}

/// Where the workspace's event with that id lies.
pub(crate) fn find(
    connection: &mut Connection,
    closed: &ClosedBlocks,
    workspace: WorkspaceId,
    id: EventId,
) -> Result<Option<Place>, StoreError> {
    let failed = |error| store_error("cannot look the event up", error);
    let search = Search { query: EventQuery::all(workspace), probe: Probe::new() };
    let in_memory = search.blocks_in_memory(closed, (id, id));
    let snapshot = connection.transaction().map_err(failed)?;
    let (mut unread, tail) = search.unread(&snapshot, in_memory, (id, id)).map_err(failed)?;
    let mut origins = Origins::new(&snapshot).map_err(failed)?;
    let mut select = snapshot
        .prepare_cached(
            "-- find()
             SELECT seq, endpoint, workspace FROM events WHERE seq BETWEEN ?1 AND ?2 AND id = ?3",
        )
        .map_err(failed)?;
    let mut range = (tail, i64::MAX);
    loop {
        let mut rows = select.query(params![range.0, range.1, id.as_bytes()]).map_err(failed)?;
        if let Some(row) = rows.next().map_err(failed)? {
            let origin = origins.of(row, 1, 2).map_err(failed)?;
            let theirs = origin.filter(|origin| origin.workspace == workspace);
            let seq = row.get(0).map_err(failed)?;
            return Ok(theirs.map(|origin| Place { seq, origin }));
        }
        match unread.nearest(&search, (id, id)).map_err(failed)? {
            Some((_, first_seq, last_seq)) => range = (first_seq, last_seq),
            None => return Ok(None),
        }
    }
}

/// Runs of events that may pass the probe: blocks that do, and the tail.
pub(crate) fn ranges(
    connection: &mut Connection,
    closed: &ClosedBlocks,
    probe: Probe,
) -> rusqlite::Result<Vec<(i64, i64)>> {
    let all = (EventId::from_bytes([0; 16]), EventId::from_bytes([0xff; 16]));
    let search = Search { query: EventQuery::all(WorkspaceId::DEFAULT), probe };
    let in_memory = search.blocks_in_memory(closed, all);
    let snapshot = connection.transaction()?;
    let (mut unread, tail) = search.unread(&snapshot, in_memory, all)?;
    let mut ranges = vec![(tail, i64::MAX)];
    while let Some((_, first_seq, last_seq)) = unread.nearest(&search, all)? {
        ranges.push((first_seq, last_seq));
    }
    Ok(ranges)
}
