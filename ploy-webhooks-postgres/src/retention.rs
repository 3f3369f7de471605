//! [`RetentionStore`]: events that have been kept for long enough, removed in short transactions.
//!
//! They are looked for as a search does it, piece by piece in the order of ids over all streams, and
//! removed by the function `expire_events`, which decides once more. A partition of which nothing is
//! left goes as a whole: see `partitions.rs`.

use async_trait::async_trait;
use ploy_webhooks::store::grams::{self, Probe};
use ploy_webhooks::store::{Expired, Order, RetentionStore, StoreError, Sweep, SweepPlace};
use ploy_webhooks::{EventId, Fence, Timestamp};
use sqlx::Row;
use sqlx::postgres::PgConnection;

use crate::PostgresStore;
use crate::block::{Span, endpoint_term};
use crate::endpoints::stripe_of;
use crate::enter::enter_all;
use crate::error::{store_error, write_error};
use crate::search::Unread;
use crate::tail::Tail;
use crate::wire::Uuid;

/// So many events are removed by one transaction.
const EVENTS_AT_ONCE: i64 = 512;
/// And of payloads so many bytes, and the last one: a large one is many rows.
const BYTES_AT_ONCE: i64 = 4 << 20;
/// So many pieces are looked at by one call.
const PIECES_AT_ONCE: usize = 64;

const WHAT: &str = "cannot remove old events";

#[async_trait]
impl RetentionStore for PostgresStore {
    async fn expire(&self, sweep: &Sweep) -> Result<Expired, StoreError> {
        let tails = self.shared.tails.lock().clone();
        self.change("remove old events", async |connection| expire(connection, &tails, sweep).await)
            .await
    }
}

async fn expire(
    connection: &mut PgConnection,
    tails: &[std::sync::Arc<Tail>],
    sweep: &Sweep,
) -> Result<Expired, StoreError> {
    let Some((now, number)) = begin(connection, sweep).await? else {
        return Ok(Expired::Fenced);
    };
    let first = sweep.from.map_or(EventId::from_bytes([0; 16]), SweepPlace::event);
    let Some(last) = sweep.last_at(now).filter(|last| first <= *last) else {
        return Ok(Expired::Swept { events: 0, next: None });
    };
    // What is not entered keeps its event.
    enter_all(connection).await?;
    let mut probe = Probe::new();
    match number {
        Some(number) => probe.add_term(endpoint_term(number)),
        None => probe.add_term(grams::workspace_term(&sweep.workspace)),
    }
    let mut unread = Unread::ask(connection, tails, probe, (first, last), Order::Ascending).await?;
    let (pieces, rest) = unread.take_first(connection, PIECES_AT_ONCE).await?;
    let found = look(connection, &pieces, sweep, number, (first, last), rest).await?;
    let next = found.next.or(rest).map(|event| SweepPlace::at(&event));
    if found.ids.is_empty() {
        return Ok(Expired::Swept { events: 0, next });
    }
    let removed = remove(connection, sweep, &found).await?;
    Ok(removed.map_or(Expired::Fenced, |events| Expired::Swept { events, next }))
}

/// The time, and the number of the endpoint, if there is one; `None` where it is not at that
/// revision.
async fn begin(
    connection: &mut PgConnection,
    sweep: &Sweep,
) -> Result<Option<(Timestamp, Option<i64>)>, StoreError> {
    const BEGIN: &str = "
        SELECT (extract(epoch FROM clock_timestamp()) * 1000)::bigint,
            (SELECT number FROM endpoints WHERE id = $1 AND workspace = $2 AND revision = $3)";
    let (endpoint, revision) = named(sweep);
    let (now, number): (i64, Option<i64>) = sqlx::query_as(BEGIN)
        .bind(endpoint)
        .bind(Uuid::from(sweep.workspace))
        .bind(revision)
        .fetch_one(connection)
        .await
        .map_err(|error| store_error(WHAT, error))?;
    let now = Timestamp::from_millis(u64::try_from(now).unwrap_or_default());
    Ok((number.is_some() == sweep.endpoint.is_some()).then_some((now, number)))
}

/// The endpoint and its revision, as they are bound.
fn named(sweep: &Sweep) -> (Option<Uuid>, Option<i64>) {
    let Fence { endpoint, checked_at } = match sweep.endpoint {
        Some(fence) => fence,
        None => return (None, None),
    };
    (Some(endpoint.into()), Some(checked_at.get().cast_signed()))
}

/// What a call has found to remove.
#[derive(Default)]
struct Found {
    streams: Vec<i32>,
    ids: Vec<Uuid>,
    /// Where it goes on, if there may be more in the same pieces.
    next: Option<EventId>,
}

/// Looks for the first of them in the pieces, before that event.
async fn look(
    connection: &mut PgConnection,
    pieces: &[(i32, Span)],
    sweep: &Sweep,
    number: Option<i64>,
    (low, high): (EventId, EventId),
    before: Option<EventId>,
) -> Result<Found, StoreError> {
    let ids = |id: fn(&Span) -> EventId| pieces.iter().map(move |(_, span)| id(span));
    let rows = sqlx::query(LOOK)
        .bind(pieces.iter().map(|(stream, _)| *stream).collect::<Vec<_>>())
        .bind(ids(|span| span.min).map(|id| Uuid::from(id.max(low))).collect::<Vec<_>>())
        .bind(ids(|span| span.max).map(|id| Uuid::from(id.min(high))).collect::<Vec<_>>())
        .bind(number)
        .bind(Uuid::from(sweep.workspace))
        .bind(Uuid::from(low))
        .bind(Uuid::from(high))
        .bind(before.map(Uuid::from))
        .bind(EVENTS_AT_ONCE)
        .fetch_all(connection)
        .await
        .map_err(|error| store_error(WHAT, error))?;
    let (mut found, mut bytes) = (Found::default(), 0);
    let is_full = i64::try_from(rows.len()).is_ok_and(|rows| rows == EVENTS_AT_ONCE);
    for row in &rows {
        let read = || Ok::<_, sqlx::Error>((row.try_get(0)?, row.try_get(1)?, row.try_get(2)?));
        let (stream, id, size): (i32, Uuid, i64) =
            read().map_err(|error| store_error(WHAT, error))?;
        if bytes >= BYTES_AT_ONCE {
            found.next = Some(id.into());
            return Ok(found);
        }
        bytes += size;
        found.streams.push(stream);
        found.ids.push(id);
    }
    if is_full {
        // It is looked at once more: another stream may have the same id.
        found.next = found.ids.last().map(|id| EventId::from(*id));
    }
    Ok(found)
}

/// In the order of ids. A piece may be there twice, and then so is what is in it.
const LOOK: &str = "
    SELECT DISTINCT e.stream, e.id, e.size FROM unnest($1, $2, $3) AS p (stream, low, high)
    CROSS JOIN LATERAL (
        SELECT e.stream, e.id, octet_length(e.payload)::bigint AS size FROM events e
        WHERE e.stream = p.stream AND e.id BETWEEN p.low AND p.high AND e.id BETWEEN $6 AND $7
            AND ($8 IS NULL OR e.id < $8)
            AND e.endpoint IS NOT DISTINCT FROM $4 AND ($4 IS NOT NULL OR e.workspace = $5)
        ORDER BY e.id LIMIT $9
    ) e ORDER BY e.id, e.stream LIMIT $9";

/// Removes those whose runs are over; how many. `None` where the endpoint has changed since they
/// were found.
async fn remove(
    connection: &mut PgConnection,
    sweep: &Sweep,
    found: &Found,
) -> Result<Option<u64>, StoreError> {
    let (endpoint, revision) = named(sweep);
    let removed: Option<i64> = sqlx::query_scalar("SELECT expire_events($1, $2, $3, $4, $5, $6)")
        .bind(sweep.endpoint.map(|fence| stripe_of(fence.endpoint)))
        .bind(endpoint)
        .bind(revision)
        .bind(Uuid::from(sweep.workspace))
        .bind(&found.streams)
        .bind(&found.ids)
        .fetch_one(connection)
        .await
        .map_err(|error| write_error(WHAT, error))?;
    Ok(removed.map(i64::unsigned_abs))
}
