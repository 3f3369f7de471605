//! Events found by endpoint, type, time and substring.
//!
//! A search first asks what there is to read: blocks that pass the index, and the tails of
//! streams, which are not indexed yet. It asks in an order in which nothing is lost on its way
//! from the one into the other: this node's memory, then the tails in the tables, then the
//! segments. What it reads twice counts once. Then it reads the nearest pieces first, until a page
//! is full of what is nearer than the rest; see `ploy_webhooks::store::nearest`.

use std::collections::BinaryHeap;
use std::sync::Arc;

use futures_util::TryStreamExt;
use futures_util::stream::BoxStream;
use ploy_webhooks::store::grams::{self, Probe};
use ploy_webhooks::store::nearest::{Nearest, Nearness};
use ploy_webhooks::store::{EventQuery, Order, Page, StoreError};
use ploy_webhooks::{EndpointId, EventId, EventSummary};
use sqlx::Row;
use sqlx::postgres::{PgConnection, PgRow};

use crate::block::{Span, endpoint_term};
use crate::events::{self, read_failed};
use crate::segment::{self, Segment};
use crate::tail::Tail;
use crate::wire::Uuid;

/// So many pieces are read for one page, before it says where to go on: about 128 MiB of text.
const PIECES_AT_ONCE: usize = 1_024;
/// So many pieces are read by one statement.
const PIECES_A_STATEMENT: usize = 8;
/// So many events of a piece are read by one statement, where they have to be read whole.
const EVENTS_A_PIECE: i64 = 512;
/// The bits of so many segments are read by one statement: few at first, since the nearest may
/// be enough.
const SEGMENTS_A_STATEMENT: std::ops::RangeInclusive<usize> = 8..=256;

/// A part of a stream that may hold matches.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Piece {
    nearness: Nearness,
    stream: i32,
    min: EventId,
    max: EventId,
}

/// One page of the query.
pub(crate) async fn page(
    connection: &mut PgConnection,
    tails: &[Arc<Tail>],
    query: &EventQuery,
) -> Result<Page<EventSummary>, StoreError> {
    let empty = Page { items: Vec::new(), next: None };
    let Some(range) = query.id_range() else {
        return Ok(empty);
    };
    let endpoint = match query.endpoint {
        Some(id) => match number_of(connection, id).await? {
            Some(number) => Some(number),
            None => return Ok(empty),
        },
        None => None,
    };
    let probe = probe(query, endpoint);
    let mut unread = Unread::ask(connection, tails, probe, range, query.order).await?;
    let mut found = Nearest::new(query);
    let mut read = 0;
    let mut scratch = Vec::new();
    loop {
        let pieces = unread.nearest(connection, &mut found).await?;
        let Some(nearest) = pieces.first() else {
            return Ok(found.into_page());
        };
        // What is nearer than the next piece is settled: a page may end there.
        let until = nearest.nearness.nearer();
        if read >= PIECES_AT_ONCE && until < Nearness::of_nearest(range.0, range.1, query.order) {
            return Ok(found.into_page_until(until));
        }
        read += pieces.len();
        let mut rows_of_piece = vec![(0, None); pieces.len()];
        // One by one as they come: together they may be large.
        let mut rows = read_pieces(connection, &pieces, range, query, endpoint);
        while let Some(row) = rows.try_next().await.map_err(read_failed)? {
            let place: i64 = row.try_get(0).map_err(read_failed)?;
            let id = EventId::from(row.try_get::<Uuid, _>(1).map_err(read_failed)?);
            let place = usize::try_from(place - 1).unwrap_or_default();
            if let Some((rows, last)) = rows_of_piece.get_mut(place) {
                *rows += 1;
                *last = Some(id);
            }
            if let Some(needle) = &query.contains {
                let payload: &[u8] = row.try_get(6).map_err(read_failed)?;
                if !needle.stands_in(payload, &mut scratch) {
                    continue;
                }
            }
            found.add(summary(&row, id)?);
        }
        drop(rows);
        for (piece, (rows, last)) in pieces.iter().zip(rows_of_piece) {
            if let Some(last) = last.filter(|_| rows == limit_of(query)) {
                unread.put_rest(*piece, last);
            }
        }
    }
}

fn probe(query: &EventQuery, endpoint: Option<i64>) -> Probe {
    let mut probe = Probe::new();
    if let Some(needle) = &query.contains {
        probe.add_needle(needle);
    }
    match endpoint {
        Some(number) => probe.add_term(endpoint_term(number)),
        None => probe.add_term(grams::workspace_term(&query.workspace)),
    }
    if let Some(event_type) = &query.event_type {
        probe.add_term(grams::type_term(event_type.as_str()));
    }
    probe
}

async fn number_of(
    connection: &mut PgConnection,
    id: EndpointId,
) -> Result<Option<i64>, StoreError> {
    sqlx::query_scalar("SELECT number FROM endpoints WHERE id = $1")
        .bind(Uuid::from(id))
        .fetch_optional(connection)
        .await
        .map_err(read_failed)
}

/// What has not been read, the nearest first.
pub(crate) struct Unread {
    probe: Probe,
    range: (EventId, EventId),
    order: Order,
    /// The nearest last.
    segments: Vec<Segment>,
    pieces: BinaryHeap<Piece>,
    segments_a_statement: usize,
}

impl Unread {
    /// Asks what may hold what the probe asks for.
    pub(crate) async fn ask(
        connection: &mut PgConnection,
        tails: &[Arc<Tail>],
        probe: Probe,
        range: (EventId, EventId),
        order: Order,
    ) -> Result<Self, StoreError> {
        let mut unread = Self {
            probe,
            range,
            order,
            segments: Vec::new(),
            pieces: BinaryHeap::new(),
            segments_a_statement: *SEGMENTS_A_STATEMENT.start(),
        };
        for tail in tails {
            let view = tail.view(&unread.probe, range);
            let rest = view.from.map(|min| Span { min, max: range.1 });
            for span in view.blocks.into_iter().chain(rest) {
                unread.put(tail.stream, span);
            }
        }
        let is_own = |stream: i32, tenure: i64| {
            tails.iter().any(|tail| tail.stream == stream && tail.tenure == tenure)
        };
        for (stream, tenure, min) in tails_elsewhere(connection).await? {
            if !is_own(stream, tenure) {
                unread.put(stream, Span { min, max: range.1 });
            }
        }
        unread.segments = segment::list(connection, range).await?;
        unread.segments.sort_unstable_by_key(|segment| unread_nearness(segment.span, range, order));
        Ok(unread)
    }

    /// Takes the nearest pieces out, as many as one statement reads; none where nothing is left
    /// that the page has room for.
    async fn nearest(
        &mut self,
        connection: &mut PgConnection,
        found: &mut Nearest<'_>,
    ) -> Result<Vec<Piece>, StoreError> {
        let mut pieces: Vec<Piece> = Vec::new();
        while pieces.len() < PIECES_A_STATEMENT {
            self.open_nearest(connection).await?;
            let Some(piece) = self.pieces.pop() else {
                break;
            };
            if found.leaves_out(piece.nearness) {
                self.pieces.clear();
                self.segments.clear();
                break;
            }
            pieces.push(piece);
        }
        Ok(pieces)
    }

    /// The pieces that begin first, about so many, and where the next one begins, which is beyond
    /// the beginning of all of them; `None` where there is none.
    pub(crate) async fn take_first(
        &mut self,
        connection: &mut PgConnection,
        at_least: usize,
    ) -> Result<(Vec<(i32, Span)>, Option<EventId>), StoreError> {
        let mut taken = Vec::new();
        loop {
            self.open_nearest(connection).await?;
            let Some(piece) = self.pieces.peek() else {
                return Ok((taken, None));
            };
            if taken.len() >= at_least && piece.min > self.range.0 {
                return Ok((taken, Some(piece.min)));
            }
            taken.push((piece.stream, Span { min: piece.min, max: piece.max }));
            self.pieces.pop();
        }
    }

    /// Everything that is left, in no order.
    pub(crate) async fn all(
        mut self,
        connection: &mut PgConnection,
    ) -> Result<Vec<(i32, Span)>, StoreError> {
        self.segments_a_statement = *SEGMENTS_A_STATEMENT.end();
        while !self.segments.is_empty() {
            self.open(connection).await?;
        }
        let piece = |piece: Piece| (piece.stream, Span { min: piece.min, max: piece.max });
        Ok(self.pieces.into_iter().map(piece).collect())
    }

    /// Opens segments until none of them can hold anything nearer than the nearest piece.
    async fn open_nearest(&mut self, connection: &mut PgConnection) -> Result<(), StoreError> {
        while let Some(segment) = self.segments.last() {
            let nearness = unread_nearness(segment.span, self.range, self.order);
            if self.pieces.peek().is_some_and(|piece| piece.nearness > nearness) {
                break;
            }
            self.open(connection).await?;
        }
        Ok(())
    }

    /// Opens the nearest segments, and adds those of their blocks that pass.
    async fn open(&mut self, connection: &mut PgConnection) -> Result<(), StoreError> {
        let opened = self.segments.len().saturating_sub(self.segments_a_statement);
        let opened = self.segments.split_off(opened);
        self.segments_a_statement =
            (2 * self.segments_a_statement).min(*SEGMENTS_A_STATEMENT.end());
        for (stream, span) in segment::passing(connection, &opened, &self.probe).await? {
            self.put(stream, span);
        }
        Ok(())
    }

    fn put(&mut self, stream: i32, span: Span) {
        if span.meets(self.range) {
            let nearness = unread_nearness(span, self.range, self.order);
            self.pieces.push(Piece { nearness, stream, min: span.min, max: span.max });
        }
    }

    /// Puts back what is left of a piece beyond that event.
    fn put_rest(&mut self, piece: Piece, last: EventId) {
        let Some(next) = Nearness::of(last, self.order).farther() else {
            return;
        };
        let next = next.id(self.order);
        let (min, max) = match self.order {
            Order::Descending => (piece.min, piece.max.min(next)),
            Order::Ascending => (piece.min.max(next), piece.max),
        };
        if min <= max {
            self.put(piece.stream, Span { min, max });
        }
    }
}

/// How near the nearest is that a span may have within the range.
fn unread_nearness(span: Span, range: (EventId, EventId), order: Order) -> Nearness {
    Nearness::of_nearest(span.min.max(range.0), span.max.min(range.1), order)
}

/// The streams that hold more than is in segments, and from where on.
async fn tails_elsewhere(
    connection: &mut PgConnection,
) -> Result<Vec<(i32, i64, EventId)>, StoreError> {
    const TAILS: &str = "SELECT number, tenure, tail_from FROM streams WHERE tail_from IS NOT NULL";
    let rows = sqlx::query(TAILS).fetch_all(connection).await.map_err(read_failed)?;
    let tail =
        |row: &PgRow| Ok((row.try_get(0)?, row.try_get(1)?, row.try_get::<Uuid, _>(2)?.into()));
    rows.iter().map(tail).collect::<sqlx::Result<_>>().map_err(read_failed)
}

/// How many events of a piece one statement reads.
fn limit_of(query: &EventQuery) -> i64 {
    match query.contains {
        Some(_) => EVENTS_A_PIECE,
        None => i64::from(query.limit.one_more().get()),
    }
}

/// Reads the nearest events of each piece that match but for the needle.
fn read_pieces<'c>(
    connection: &'c mut PgConnection,
    pieces: &[Piece],
    (low, high): (EventId, EventId),
    query: &EventQuery,
    endpoint: Option<i64>,
) -> BoxStream<'c, sqlx::Result<PgRow>> {
    let ids = |id: fn(&Piece) -> EventId| pieces.iter().map(id);
    // The bounds of all of them are known when the plan is made, which then leaves out partitions.
    let min = ids(|piece| piece.min).min().unwrap_or(low).max(low);
    let max = ids(|piece| piece.max).max().unwrap_or(high).min(high);
    sqlx::query(statement(query))
        .bind(pieces.iter().map(|piece| piece.stream).collect::<Vec<_>>())
        .bind(ids(|piece| piece.min).map(|id| Uuid::from(id.max(low))).collect::<Vec<_>>())
        .bind(ids(|piece| piece.max).map(|id| Uuid::from(id.min(high))).collect::<Vec<_>>())
        .bind(Uuid::from(query.workspace))
        .bind(endpoint)
        .bind(query.event_type.as_ref().map(|event_type| event_type.as_str()))
        .bind(limit_of(query))
        .bind(Uuid::from(min))
        .bind(Uuid::from(max))
        .fetch(connection)
}

/// The text that reads pieces: from their near end, with the payload only where it is looked at.
pub(crate) fn statement(query: &EventQuery) -> &'static str {
    macro_rules! text {
        ($payload:literal, $order:literal) => {
            concat!(
                "SELECT p.place, e.id, e.endpoint_id, e.type, e.source, e.size, e.payload
                 FROM unnest($1, $2, $3) WITH ORDINALITY AS p (stream, low, high, place)
                 CROSS JOIN LATERAL (
                     SELECT e.id, n.id AS endpoint_id, e.type, e.source,
                         octet_length(e.payload)::bigint AS size, ",
                $payload,
                " AS payload
                     FROM events e LEFT JOIN endpoints n ON n.number = e.endpoint
                     WHERE e.stream = p.stream AND e.id BETWEEN p.low AND p.high
                         AND e.id BETWEEN $8 AND $9
                         AND coalesce(n.workspace, e.workspace) = $4
                         AND ($5 IS NULL OR e.endpoint = $5) AND ($6 IS NULL OR e.type = $6)
                     ORDER BY e.id ",
                $order,
                " LIMIT $7
                 ) e ORDER BY p.place, e.id ",
                $order
            )
        };
    }
    match (query.contains.is_some(), query.order) {
        (true, Order::Descending) => text!("e.payload", "DESC"),
        (true, Order::Ascending) => text!("e.payload", "ASC"),
        (false, Order::Descending) => text!("NULL::bytea", "DESC"),
        (false, Order::Ascending) => text!("NULL::bytea", "ASC"),
    }
}

fn summary(row: &PgRow, id: EventId) -> Result<EventSummary, StoreError> {
    let size: i64 = row.try_get(5).map_err(read_failed)?;
    Ok(EventSummary {
        id,
        endpoint: events::endpoint_id(row, 2)?,
        event_type: events::event_type(row, 3)?,
        source: events::source(row, 4)?,
        size: size.cast_unsigned(),
    })
}
