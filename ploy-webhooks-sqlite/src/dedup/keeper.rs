//! The keeper: a thread that puts keys in order behind the writes.
//!
//! It reads by a connection of its own, and hands the writer a few pages at a time, so that no
//! batch waits for long. What it has begun and not ended is not there: pages without the row of
//! their segment belong to nobody, and are cleared away.

use std::sync::Arc;
use std::time::Duration;

use ploy_webhooks::store::StoreError;
use ploy_webhooks::{Clock, Timestamp};
use rusqlite::{Connection, OptionalExtension, params};

use super::merge::Merge;
use super::segment::{self, Builder, Outline, Page, Segment, pages_of, segment_of};
use super::{Handover, Newest, Refiled};
use crate::database::PAGE_BYTES;
use crate::error::store_error;
use crate::queue::Queue;
use crate::task::{self, Change};

/// Of a filter. One print in about a thousand that are not there seems to be.
const BITS_A_PRINT: u64 = 16;
/// So many segments of a size become one. More, and each new key asks more filters; fewer, and
/// keys are written anew more often.
const MERGED_AT_ONCE: usize = 8;
/// So many pages are written in one transaction, so that no batch waits long for it.
const PAGES_AT_ONCE: usize = 16;
/// So many are cleared away in one.
const PAGES_CLEARED_AT_ONCE: i64 = 64;
/// A segment of which half has expired is written anew, unless the rest will expire so soon.
const SOON: Duration = Duration::from_secs(3_600);
/// When nothing comes, what has expired is looked for this often.
const LOOK_EVERY: Duration = Duration::from_secs(60);
/// What failed is tried again after so long.
const AGAIN_AFTER: Duration = Duration::from_secs(1);

/// Puts keys in order.
#[derive(Debug)]
pub(crate) struct Keeper {
    reader: Connection,
    queue: Arc<Queue>,
    handover: Arc<Handover>,
    clock: Arc<dyn Clock>,
    bounds: Bounds,
    merge: Option<Merge>,
    /// Whether there may be pages that belong to nobody.
    has_litter: bool,
    /// The greatest number that a segment was given; `None` until it is known.
    last_number: Option<i64>,
}

/// How much is held in memory.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bounds {
    /// How many keys make a segment.
    pub(crate) newest: usize,
    /// How large all filters may be.
    pub(crate) filter_bytes: u64,
}

/// What a step came to.
enum Step {
    Done,
    /// There was nothing to do.
    Idle,
}

/// What is worth doing with the segments.
#[derive(Debug, PartialEq, Eq)]
enum Plan {
    Drop(Vec<i64>),
    Merge(Vec<i64>),
    Nothing,
}

impl Keeper {
    pub(crate) fn new(
        reader: Connection,
        queue: Arc<Queue>,
        handover: Arc<Handover>,
        clock: Arc<dyn Clock>,
        bounds: Bounds,
    ) -> Self {
        let (merge, has_litter, last_number) = (None, true, None);
        Self { reader, queue, handover, clock, bounds, merge, has_litter, last_number }
    }

    /// Works until the store is closed. What fails is begun again: until it succeeds, the keys are
    /// where they were.
    pub(crate) fn run(mut self) {
        while !self.handover.is_closed() {
            match self.step() {
                Ok(Step::Done) => {}
                Ok(Step::Idle) => self.handover.wait_for_keys(LOOK_EVERY),
                Err(_) => {
                    self.merge = None;
                    self.has_litter = true;
                    self.handover.wait_for_close(AGAIN_AFTER);
                }
            }
        }
    }

    /// Does what is most urgent, or a piece of it: new keys are not kept waiting for a merge.
    fn step(&mut self) -> Result<Step, StoreError> {
        if let Some(newest) = self.handover.offered() {
            self.file(&newest)?;
        } else if let Some(merge) = self.merge.take() {
            self.go_on(merge)?;
        } else if self.has_litter {
            self.clear_some()?;
        } else {
            let outlines = self.outlines()?;
            match plan(&outlines, self.clock.now(), self.bounds.newest as u64) {
                Plan::Drop(gone) => self.put_in_place(Refiled { gone, ..Refiled::default() })?,
                Plan::Merge(numbers) => self.merge = Some(self.begin(&outlines, &numbers)?),
                Plan::Nothing => return Ok(Step::Idle),
            }
        }
        Ok(Step::Done)
    }

    /// Makes a segment of new keys.
    fn file(&mut self, newest: &Newest) -> Result<(), StoreError> {
        let live = newest.live(self.clock.now());
        let mut builder = self.builder(live.len() as u64, &self.outlines()?)?;
        for entry in &live {
            builder.add(entry);
            if builder.pages.len() >= PAGES_AT_ONCE {
                self.write_pages(std::mem::take(&mut builder.pages))?;
            }
        }
        let come = self.end(builder)?;
        let filed_to = Some(newest.last_seq);
        self.put_in_place(Refiled { filed_to, gone: Vec::new(), come })?;
        // Here and not by the writer, who follows a moment after it has answered.
        self.handover.withdraw_filed(newest.last_seq);
        Ok(())
    }

    fn begin(&mut self, outlines: &[Outline], numbers: &[i64]) -> Result<Merge, StoreError> {
        let merged: Vec<_> =
            outlines.iter().filter(|outline| numbers.contains(&outline.number)).copied().collect();
        let now = self.clock.now();
        let live = merged.iter().map(|outline| outline.expiries.live(outline.keys, now)).sum();
        Ok(Merge::begin(&merged, self.builder(live, outlines)?))
    }

    /// Merges a few pages more.
    fn go_on(&mut self, mut merge: Merge) -> Result<(), StoreError> {
        let is_left =
            merge.fill(&self.reader, PAGES_AT_ONCE, self.clock.now()).map_err(cannot_read)?;
        if is_left {
            self.write_pages(std::mem::take(&mut merge.builder.pages))?;
            self.merge = Some(merge);
            return Ok(());
        }
        let gone = merge.numbers();
        let come = self.end(merge.builder)?;
        self.put_in_place(Refiled { filed_to: None, gone, come })
    }

    /// Writes the rest of a segment's pages.
    fn end(&self, builder: Builder) -> Result<Option<Arc<Segment>>, StoreError> {
        let Some((segment, mut pages)) = builder.end() else { return Ok(None) };
        while !pages.is_empty() {
            let rest = pages.split_off(pages.len().min(PAGES_AT_ONCE));
            self.write_pages(std::mem::replace(&mut pages, rest))?;
        }
        Ok(Some(Arc::new(segment)))
    }

    /// Has segments take the place of what they were made of, in the tables and for the writer.
    fn put_in_place(&mut self, refiled: Refiled) -> Result<(), StoreError> {
        self.has_litter |= !refiled.gone.is_empty();
        let work = move |connection: &mut Connection| {
            task::commit_unflushed(connection, |connection| refiled.write(connection))?;
            Ok(((), Some(Change::KeysRefiled(refiled))))
        };
        task::give(&self.queue, PAGE_BYTES as usize, work)?.blocking_recv()
    }

    fn write_pages(&self, pages: Vec<Page>) -> Result<(), StoreError> {
        let log_bytes = pages.len() * PAGE_BYTES as usize;
        self.write(log_bytes, move |connection| segment::insert_pages(connection, &pages))
    }

    fn write<T: Send + 'static>(
        &self,
        log_bytes: usize,
        work: impl FnOnce(&Connection) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T, StoreError> {
        crate::index::write(&self.queue, log_bytes, work)
    }

    /// Clears away some pages that belong to nobody.
    fn clear_some(&mut self) -> Result<(), StoreError> {
        let numbers: Vec<_> = self.outlines()?.iter().map(|outline| outline.number).collect();
        let Some(first) = first_of_nobody(&self.reader, &numbers).map_err(cannot_read)? else {
            self.has_litter = false;
            return Ok(());
        };
        self.write(PAGE_BYTES as usize, move |connection| {
            let mut delete = connection.prepare_cached(
                "-- dedup()\n DELETE FROM dedup_pages WHERE id >= ?1 AND id < ?2",
            )?;
            let end = pages_of(segment_of(first)).end.min(first + PAGES_CLEARED_AT_ONCE);
            delete.execute(params![first, end])
        })?;
        Ok(())
    }

    fn outlines(&self) -> Result<Vec<Outline>, StoreError> {
        Outline::read_all(&self.reader).map_err(cannot_read)
    }

    /// What a segment of about so many keys is made with, beside those that are there.
    fn builder(&mut self, keys: u64, outlines: &[Outline]) -> Result<Builder, StoreError> {
        let last = match self.last_number {
            Some(last) => last,
            None => last_number(&self.reader).map_err(cannot_read)?,
        };
        self.last_number = Some(last + 1);
        let filter_bytes = self.bounds.filter_bytes_of(keys, outlines);
        Ok(Builder::new(last + 1, keys, filter_bytes))
    }
}

impl Bounds {
    /// How large the filter of a segment becomes: as large as is good, or its share of what all
    /// may take. That is half, since a segment is in memory together with those that it replaces.
    pub(super) fn filter_bytes_of(&self, keys: u64, outlines: &[Outline]) -> u64 {
        let all = keys + outlines.iter().map(|outline| outline.keys).sum::<u64>();
        let share = u128::from(self.filter_bytes / 2) * u128::from(keys) / u128::from(all.max(1));
        u64::try_from(share).unwrap_or(u64::MAX).min(keys.saturating_mul(BITS_A_PRINT) / 8 + 32)
    }
}

impl Refiled {
    pub(super) fn write(&self, connection: &Connection) -> rusqlite::Result<()> {
        let mut delete = connection
            .prepare_cached("-- dedup()\n DELETE FROM dedup_segments WHERE number = ?1")?;
        for number in &self.gone {
            delete.execute(params![number])?;
        }
        if let Some(segment) = &self.come {
            segment.outline.insert(connection)?;
        }
        if let Some(seq) = self.filed_to {
            connection
                .execute("-- dedup()\n DELETE FROM dedup_log WHERE seq <= ?1", params![seq])?;
        }
        Ok(())
    }
}

/// What is worth doing: first what costs nothing.
fn plan(outlines: &[Outline], now: Timestamp, newest: u64) -> Plan {
    let expired: Vec<_> = numbers(outlines, |outline| outline.expiries.all_by() <= now);
    if !expired.is_empty() {
        return Plan::Drop(expired);
    }
    let rank = |outline: &Outline| (2 * outline.keys / newest.max(1)).max(1).ilog(8);
    let ranks = outlines.iter().map(rank).max().map_or(0, |rank| rank + 1);
    for this_rank in 0..ranks {
        let mut same = numbers(outlines, |outline| rank(outline) == this_rank);
        if same.len() >= MERGED_AT_ONCE {
            same.truncate(MERGED_AT_ONCE);
            return Plan::Merge(same);
        }
    }
    let is_half_empty = |outline: &Outline| {
        outline.expiries.half_by() <= now && outline.expiries.all_by().since(now) > SOON
    };
    let mut half_empty = numbers(outlines, is_half_empty);
    match half_empty.is_empty() {
        true => Plan::Nothing,
        false => {
            half_empty.truncate(MERGED_AT_ONCE);
            Plan::Merge(half_empty)
        }
    }
}

fn numbers(outlines: &[Outline], are_meant: impl Fn(&Outline) -> bool) -> Vec<i64> {
    outlines.iter().filter(|outline| are_meant(outline)).map(|outline| outline.number).collect()
}

/// The first page that belongs to none of these segments, which come in order.
fn first_of_nobody(connection: &Connection, numbers: &[i64]) -> rusqlite::Result<Option<i64>> {
    let mut select = connection.prepare_cached(
        "-- dedup()
         SELECT id FROM dedup_pages WHERE id >= ?1 ORDER BY id LIMIT 1",
    )?;
    let mut from = 0;
    while let Some(page) = select.query_row(params![from], |row| row.get(0)).optional()? {
        if numbers.binary_search(&segment_of(page)).is_err() {
            return Ok(Some(page));
        }
        from = pages_of(segment_of(page)).end;
    }
    Ok(None)
}

/// The greatest number that a segment has, or one of which only pages are left.
pub(super) fn last_number(connection: &Connection) -> rusqlite::Result<i64> {
    connection.query_row(
        "SELECT max(coalesce((SELECT max(number) FROM dedup_segments), 0),
                    coalesce((SELECT max(id) FROM dedup_pages) >> 32, 0))",
        [],
        |row| row.get(0),
    )
}

fn cannot_read(error: rusqlite::Error) -> StoreError {
    store_error("cannot read the deduplication keys", error)
}
