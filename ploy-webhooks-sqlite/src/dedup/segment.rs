//! A segment: keys that are never changed again, in buckets by their prints, each of which fits a
//! page; and a filter, so that a print which it has not costs no page.

use ploy_webhooks::store::bloom::Bloom;
use ploy_webhooks::{EventId, Timestamp};
use rusqlite::types::Type;
use rusqlite::{Connection, OptionalExtension, Row, params};

use super::entry::{Entry, Print};
use super::expiries::{Expiries, Sampler};

/// About as many keys as fill a page of 8 KiB: one in several hundred buckets needs a second.
const BUCKET_KEYS: u64 = 176;
/// So many blocks of a filter fit a page.
const PAGE_BLOCKS: usize = 254;
/// Where the pages of the filter begin.
const FILTER_PAGES: i64 = 1 << 31;

/// The pages of a segment lie here.
pub(super) const fn pages_of(segment: i64) -> std::ops::Range<i64> {
    segment << 32..(segment + 1) << 32
}

/// Whose page that is.
pub(super) const fn segment_of(page: i64) -> i64 {
    page >> 32
}

/// What a segment's row says.
#[derive(Clone, Copy, Debug)]
pub(super) struct Outline {
    pub(super) number: i64,
    pub(super) keys: u64,
    pub(super) buckets: u32,
    pub(super) filter_blocks: u64,
    pub(super) expiries: Expiries,
}

impl Outline {
    /// All segments, in the order in which they were begun.
    pub(super) fn read_all(connection: &Connection) -> rusqlite::Result<Vec<Self>> {
        let mut select = connection.prepare_cached(
            "-- dedup()
             SELECT number, keys, buckets, filter_blocks, expiries FROM dedup_segments
             ORDER BY number",
        )?;
        let outlines = select.query_map([], Self::read)?;
        outlines.collect()
    }

    fn read(row: &Row<'_>) -> rusqlite::Result<Self> {
        let expiries = row.get_ref(4)?.as_blob()?.try_into().map_err(|error| {
            rusqlite::Error::FromSqlConversionFailure(4, Type::Blob, Box::new(error))
        })?;
        Ok(Self {
            number: row.get(0)?,
            keys: row.get(1)?,
            buckets: row.get(2)?,
            filter_blocks: row.get(3)?,
            expiries: Expiries::from_bytes(expiries),
        })
    }

    pub(super) fn insert(&self, connection: &Connection) -> rusqlite::Result<()> {
        let mut insert = connection.prepare_cached(
            "-- dedup()
             INSERT INTO dedup_segments (number, keys, buckets, filter_blocks, expiries)
             VALUES (?1, ?2, ?3, ?4, ?5)",
        )?;
        insert.execute(params![
            self.number,
            self.keys,
            self.buckets,
            self.filter_blocks,
            self.expiries.to_bytes()
        ])?;
        Ok(())
    }
}

/// A segment, with its filter in memory.
#[derive(Debug)]
pub(crate) struct Segment {
    pub(super) outline: Outline,
    filter: Bloom,
}

impl Segment {
    pub(super) fn load(connection: &Connection, outline: Outline) -> rusqlite::Result<Self> {
        let pages = pages_of(outline.number);
        let mut select = connection.prepare_cached(
            "-- dedup()
             SELECT bytes FROM dedup_pages WHERE id >= ?1 AND id < ?2 ORDER BY id",
        )?;
        let mut rows = select.query(params![pages.start + FILTER_PAGES, pages.end])?;
        let mut filter = Bloom::default();
        while let Some(row) = rows.next()? {
            filter.read_page(row.get_ref(0)?.as_blob()?);
        }
        // A filter that is not whole would deny keys that are there.
        match filter.blocks() as u64 == outline.filter_blocks {
            true => Ok(Self { outline, filter }),
            false => Err(damaged("the filter of a segment of keys is not whole")),
        }
    }

    /// The event that first had the key, if it is here and has not expired.
    pub(super) fn first_of(
        &self,
        connection: &Connection,
        print: Print,
        now: Timestamp,
    ) -> rusqlite::Result<Option<EventId>> {
        if self.outline.expiries.all_by() <= now || !self.filter.may_have(print.filtered()) {
            return Ok(None);
        }
        let bucket = print.bucket(self.outline.buckets);
        let mut select = connection.prepare_cached(
            "-- append()
             SELECT bytes FROM dedup_pages WHERE id = ?1",
        )?;
        let page = pages_of(self.outline.number).start + i64::from(bucket);
        // A bucket without keys has no page.
        let found = select.query_row(params![page], |row| {
            let mut entries = entries(row.get_ref(0)?.as_blob()?)?;
            Ok(entries.find(|entry| entry.print == print && entry.first.is_live(now)))
        });
        Ok(found.optional()?.flatten().map(|entry| entry.first.event))
    }
}

/// The keys of a row.
pub(super) fn entries(bytes: &[u8]) -> rusqlite::Result<impl Iterator<Item = Entry>> {
    Entry::read_all(bytes).ok_or_else(|| damaged("a row of keys does not hold what was written"))
}

fn damaged(what: &'static str) -> rusqlite::Error {
    rusqlite::Error::FromSqlConversionFailure(0, Type::Blob, what.into())
}

/// A page, and where it goes.
pub(super) type Page = (i64, Vec<u8>);

pub(super) fn insert_pages(connection: &Connection, pages: &[Page]) -> rusqlite::Result<()> {
    let mut insert = connection
        .prepare_cached("-- dedup()\n INSERT INTO dedup_pages (id, bytes) VALUES (?1, ?2)")?;
    for (id, bytes) in pages {
        insert.execute(params![id, bytes])?;
    }
    Ok(())
}

/// A segment on its way.
#[derive(Debug)]
pub(super) struct Builder {
    number: i64,
    buckets: u32,
    /// That to which the last key belongs.
    bucket: u32,
    bytes: Vec<u8>,
    filter: Bloom,
    sampler: Sampler,
    /// Full pages, until they are taken.
    pub(super) pages: Vec<Page>,
}

impl Builder {
    /// A segment of about so many keys.
    pub(super) fn new(number: i64, keys: u64, filter_bytes: u64) -> Self {
        let buckets = keys.div_ceil(BUCKET_KEYS).clamp(1, FILTER_PAGES as u64);
        Self {
            number,
            buckets: u32::try_from(buckets).expect("it was clamped"),
            bucket: 0,
            bytes: Vec::new(),
            filter: Bloom::of_bytes(filter_bytes),
            sampler: Sampler::new(keys),
            pages: Vec::new(),
        }
    }

    /// Adds a key, in the order of the prints.
    pub(super) fn add(&mut self, entry: &Entry) {
        let bucket = entry.print.bucket(self.buckets);
        if bucket != self.bucket {
            self.end_bucket();
            self.bucket = bucket;
        }
        entry.write_to(&mut self.bytes);
        self.filter.add(entry.print.filtered());
        self.sampler.see(entry.first.expires_at);
    }

    fn end_bucket(&mut self) {
        if !self.bytes.is_empty() {
            let capacity = self.bytes.capacity();
            let bytes = std::mem::replace(&mut self.bytes, Vec::with_capacity(capacity));
            self.pages.push((pages_of(self.number).start + i64::from(self.bucket), bytes));
        }
    }

    /// The segment, and what is left of its pages; `None` where there was no key.
    pub(super) fn end(mut self) -> Option<(Segment, Vec<Page>)> {
        self.end_bucket();
        let keys = self.sampler.seen();
        let first = pages_of(self.number).start + FILTER_PAGES;
        self.pages.extend((first..).zip(self.filter.pages(PAGE_BLOCKS)));
        let outline = Outline {
            number: self.number,
            keys,
            buckets: self.buckets,
            filter_blocks: self.filter.blocks() as u64,
            expiries: self.sampler.expiries(),
        };
        (keys > 0).then_some((Segment { outline, filter: self.filter }, self.pages))
    }
}
