//! Segments: blocks whose bits are in the tables, side by side, so that one word tells of all.

use std::collections::HashMap;
use std::sync::Arc;

use ploy_webhooks::EventId;
use ploy_webhooks::store::StoreError;
use ploy_webhooks::store::grams::{self, FILTER_BITS, FILTER_WORDS, Probe};
use sqlx::postgres::PgConnection;
use sqlx::{Connection, Row};

use crate::block::{ClosedBlock, SEGMENT_BLOCKS, Span};
use crate::error::store_error;
use crate::wire::Uuid;

/// How many words of a filter make a slice of a segment: its bytes fill a page of 8 KiB, so that
/// a slice stands in its row and a word is read by one look-up.
const SLICE_FILTER_WORDS: usize = 31;
/// How many places, that is words, a slice has.
const SLICE_WORDS: usize = 64 * SLICE_FILTER_WORDS;
/// A word has a bit a block.
const WORD_BYTES: usize = SEGMENT_BLOCKS / 8;
const SEGMENT_SLICES: usize = FILTER_WORDS.div_ceil(SLICE_FILTER_WORDS);

const _: () = assert!(SLICE_WORDS * WORD_BYTES < 8_000 && FILTER_BITS == 64 * FILTER_WORDS);

/// A segment, without its bits.
#[derive(Debug)]
pub(crate) struct Segment {
    pub(crate) number: i64,
    pub(crate) salt: u64,
    pub(crate) span: Span,
}

/// The rows of a new segment.
pub(crate) struct SegmentRows {
    stream: i32,
    salt: u64,
    spans: Vec<Span>,
    slices: Vec<Vec<u8>>,
}

impl SegmentRows {
    /// The rows of the segment that these blocks make, and how many of them it takes: those that
    /// share the first one's salt.
    ///
    /// # Panics
    ///
    /// When there is none.
    pub(crate) fn of(stream: i32, blocks: &[Arc<ClosedBlock>]) -> (Self, usize) {
        let salt = blocks[0].salt;
        let blocks = blocks.iter().take_while(|block| block.salt == salt);
        let filters: Vec<_> = blocks.clone().map(|block| &block.filter).collect();
        let slice = |number: usize| {
            let first = number * SLICE_FILTER_WORDS;
            let words = first..FILTER_WORDS.min(first + SLICE_FILTER_WORDS);
            let mut bytes = Vec::with_capacity(SLICE_WORDS * WORD_BYTES);
            for word in grams::transpose(&filters, words) {
                bytes.extend_from_slice(&word.to_le_bytes()[..WORD_BYTES]);
            }
            bytes
        };
        let slices = (0..SEGMENT_SLICES).map(slice).collect();
        let spans: Vec<_> = blocks.map(|block| block.span).collect();
        let taken = spans.len();
        (Self { stream, salt, spans, slices }, taken)
    }

    /// Writes them, in one transaction.
    pub(crate) async fn insert(&self, connection: &mut PgConnection) -> Result<(), StoreError> {
        let failed = |error| store_error("cannot write a segment of the search index", error);
        let span = self.spans.iter().copied().reduce(Span::with).expect("a segment has blocks");
        let mut transaction = connection.begin().await.map_err(failed)?;
        let number: i64 = sqlx::query_scalar(
            "INSERT INTO segments (stream, salt, min_id, max_id, blocks)
             VALUES ($1, $2, $3, $4, $5) RETURNING number",
        )
        .bind(self.stream)
        .bind(self.salt.cast_signed())
        .bind(Uuid::from(span.min))
        .bind(Uuid::from(span.max))
        .bind(Span::write_all(self.spans.iter().copied()))
        .fetch_one(&mut *transaction)
        .await
        .map_err(failed)?;
        sqlx::query(
            "INSERT INTO segment_bits (segment, slice, words)
             SELECT $1, slice - 1, words FROM unnest($2) WITH ORDINALITY AS s (words, slice)",
        )
        .bind(number)
        .bind(self.slices.iter().map(Vec::as_slice).collect::<Vec<_>>())
        .execute(&mut *transaction)
        .await
        .map_err(failed)?;
        transaction.commit().await.map_err(failed)
    }
}

/// The segments whose ids meet the range.
pub(crate) async fn list(
    connection: &mut PgConnection,
    (low, high): (EventId, EventId),
) -> Result<Vec<Segment>, StoreError> {
    let failed = |error| store_error("cannot read the search index", error);
    let rows = sqlx::query(
        "SELECT number, salt, min_id, max_id FROM segments
         WHERE max_id >= $1 AND min_id <= $2",
    )
    .bind(Uuid::from(low))
    .bind(Uuid::from(high))
    .fetch_all(connection)
    .await
    .map_err(failed)?;
    let segment = |row: &sqlx::postgres::PgRow| {
        let (min, max): (Uuid, Uuid) = (row.try_get(2)?, row.try_get(3)?);
        Ok(Segment {
            number: row.try_get(0)?,
            salt: row.try_get::<i64, _>(1)?.cast_unsigned(),
            span: Span { min: min.into(), max: max.into() },
        })
    };
    rows.iter().map(segment).collect::<sqlx::Result<_>>().map_err(failed)
}

/// The blocks of these segments that may hold what the probe asks for, each with its stream.
pub(crate) async fn passing(
    connection: &mut PgConnection,
    segments: &[Segment],
    probe: &Probe,
) -> Result<Vec<(i32, Span)>, StoreError> {
    let failed = |error| store_error("cannot read the search index", error);
    let masks = masks(connection, segments, probe).await.map_err(failed)?;
    let passing: Vec<_> = segments
        .iter()
        .filter(|segment| masks.get(&segment.number) != Some(&0))
        .map(|segment| segment.number)
        .collect();
    if passing.is_empty() {
        return Ok(Vec::new());
    }
    let rows = sqlx::query("SELECT number, stream, blocks FROM segments WHERE number = ANY($1)")
        .bind(passing)
        .fetch_all(connection)
        .await
        .map_err(failed)?;
    let mut spans = Vec::new();
    for row in rows {
        let number: i64 = row.try_get(0).map_err(failed)?;
        let stream = row.try_get(1).map_err(failed)?;
        let blocks: &[u8] = row.try_get(2).map_err(failed)?;
        // A segment whose bits are gone excludes nothing.
        let mask = masks.get(&number).copied().unwrap_or(u64::MAX);
        let blocks = Span::read_all(blocks).enumerate();
        let passing = blocks.filter(|(place, _)| mask & (1 << place) != 0);
        spans.extend(passing.map(|(_, span)| (stream, span)));
    }
    Ok(spans)
}

/// Which blocks of each segment pass, a bit a block. A segment that is not there excludes
/// nothing.
async fn masks(
    connection: &mut PgConnection,
    segments: &[Segment],
    probe: &Probe,
) -> sqlx::Result<HashMap<i64, u64>> {
    let (mut numbers, mut slices, mut places) = (Vec::new(), Vec::new(), Vec::new());
    for segment in segments {
        for place in probe.places(segment.salt) {
            numbers.push(segment.number);
            slices.push(i16::try_from(place / SLICE_WORDS).expect("a segment has few slices"));
            let byte = WORD_BYTES * (place % SLICE_WORDS);
            places.push(i32::try_from(byte).expect("a slice has few bytes"));
        }
    }
    if numbers.is_empty() {
        return Ok(HashMap::new());
    }
    let rows = sqlx::query(
        "SELECT p.segment, bit_and((
             SELECT get_byte(b.words, p.byte)::bigint
                 | (get_byte(b.words, p.byte + 1)::bigint << 8)
                 | (get_byte(b.words, p.byte + 2)::bigint << 16)
                 | (get_byte(b.words, p.byte + 3)::bigint << 24)
             FROM segment_bits b WHERE b.segment = p.segment AND b.slice = p.slice))
         FROM unnest($1, $2, $3) AS p (segment, slice, byte) GROUP BY p.segment",
    )
    .bind(numbers)
    .bind(slices)
    .bind(places)
    .fetch_all(connection)
    .await?;
    let mask = |row: &sqlx::postgres::PgRow| {
        let mask: Option<i64> = row.try_get(1)?;
        Ok((row.try_get(0)?, mask.map_or(u64::MAX, i64::cast_unsigned)))
    };
    rows.iter().map(mask).collect()
}
