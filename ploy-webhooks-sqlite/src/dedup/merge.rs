//! Makes one segment of several, without what has expired, a few pages at a time.

use std::cmp::Reverse;
use std::vec::IntoIter;

use ploy_webhooks::Timestamp;
use rusqlite::{Connection, params};

use super::entry::Entry;
use super::segment::{Builder, Outline, entries, pages_of};

/// So many buckets of a segment are read at once.
const BUCKETS_AT_ONCE: u32 = 16;

/// Segments that are read from their first bucket to their last, and what they become.
#[derive(Debug)]
pub(super) struct Merge {
    inputs: Vec<Input>,
    pub(super) builder: Builder,
}

impl Merge {
    pub(super) fn begin(segments: &[Outline], builder: Builder) -> Self {
        Self { inputs: segments.iter().map(Input::begin).collect(), builder }
    }

    /// The numbers of the segments that are merged.
    pub(super) fn numbers(&self) -> Vec<i64> {
        self.inputs.iter().map(|input| input.outline.number).collect()
    }

    /// Goes on until so many pages are full; `false` where nothing is left.
    pub(super) fn fill(
        &mut self,
        reader: &Connection,
        pages: usize,
        now: Timestamp,
    ) -> rusqlite::Result<bool> {
        while self.builder.pages.len() < pages {
            match self.next(reader)? {
                Some(entry) if entry.first.is_live(now) => self.builder.add(&entry),
                Some(_) => {}
                None => return Ok(false),
            }
        }
        Ok(true)
    }

    /// The next print, with the end that is farthest where it is in several segments: only the
    /// latest can be live, as long as the clock goes forward.
    fn next(&mut self, reader: &Connection) -> rusqlite::Result<Option<Entry>> {
        let order = |entry: &Entry| (entry.print, Reverse(entry.first.expires_at));
        let mut next: Option<Entry> = None;
        for input in &mut self.inputs {
            next = next.into_iter().chain(input.peek(reader)?).min_by_key(order);
        }
        if let Some(next) = next {
            self.inputs.iter_mut().for_each(|input| input.pass(next));
        }
        Ok(next)
    }
}

/// A segment that is being read.
#[derive(Debug)]
struct Input {
    outline: Outline,
    next_bucket: u32,
    read: IntoIter<Entry>,
}

impl Input {
    fn begin(outline: &Outline) -> Self {
        Self { outline: *outline, next_bucket: 0, read: Vec::new().into_iter() }
    }

    fn peek(&mut self, reader: &Connection) -> rusqlite::Result<Option<Entry>> {
        while self.read.as_slice().is_empty() && self.next_bucket < self.outline.buckets {
            self.read_buckets(reader)?;
        }
        Ok(self.read.as_slice().first().copied())
    }

    fn read_buckets(&mut self, reader: &Connection) -> rusqlite::Result<()> {
        let end = self.outline.buckets.min(self.next_bucket + BUCKETS_AT_ONCE);
        let first_page = pages_of(self.outline.number).start;
        // Each read has a snapshot of its own: one for all would keep the log from beginning anew.
        // Nobody else deletes these pages.
        let mut select = reader.prepare_cached(
            "-- dedup()
             SELECT bytes FROM dedup_pages WHERE id >= ?1 AND id < ?2 ORDER BY id",
        )?;
        let pages = params![first_page + i64::from(self.next_bucket), first_page + i64::from(end)];
        let mut rows = select.query(pages)?;
        let mut read = Vec::new();
        while let Some(row) = rows.next()? {
            let first = read.len();
            read.extend(entries(row.get_ref(0)?.as_blob()?)?);
            // Prints are in order from bucket to bucket, and within one as they were added.
            debug_assert!(read[first..].is_sorted_by_key(|entry: &Entry| entry.print));
        }
        self.read = read.into_iter();
        self.next_bucket = end;
        Ok(())
    }

    /// Leaves out what has that print.
    fn pass(&mut self, entry: Entry) {
        if self.read.as_slice().first().is_some_and(|next| next.print == entry.print) {
            self.read.next();
        }
    }
}
