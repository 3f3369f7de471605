//! Builds the index that skips, behind the writes.
//!
//! Each stream has an indexer on the node that writes it. It gets what was committed, fills one
//! block filter after the other, and keeps closed blocks in memory, where this node's searches
//! see them, until they make a segment, which goes into the tables. What is not in a closed
//! block yet is read directly. So a search is exact at once, ingest waits for nothing, and a crash
//! loses nothing that cannot be read again: whoever takes the stream over reads its tail.

use std::sync::Arc;
use std::time::Duration;

use ploy_webhooks::store::{StoreError, StoreErrorKind};
use ploy_webhooks::{EventId, EventType};
use sqlx::Row;
use sqlx::postgres::{PgConnection, PgPool, PgRow};

use crate::block::{BlockBuilder, Indexable, SEGMENT_BLOCKS};
use crate::database::within;
use crate::error::store_error;
use crate::segment::SegmentRows;
use crate::tail::{Due, Stored, Tail, least};
use crate::wire::Uuid;

/// How many events are read at once.
const EVENTS_AT_ONCE: usize = 64;
/// After a failure the indexer waits so long. Nothing depends on it but the speed of a search.
const AGAIN_AFTER: Duration = Duration::from_secs(1);

/// Builds the index of one stream, until its tail ends.
pub(crate) async fn run(tail: Arc<Tail>, pool: PgPool, call_timeout: Duration) {
    let tables = Tables { pool, call_timeout };
    let mut builder = BlockBuilder::new();
    loop {
        match tail.next().await {
            Due::Index(events) => builder = index(&tail, builder, events).await,
            Due::CatchUp(from) => builder = catch_up(&tail, &tables, builder, from).await,
            Due::Seal => {
                builder.close();
                tail.indexed(builder.take_closed(), None);
                // What cannot be sealed now is read by who takes the stream over.
                while seal(&tail, &tables, 1).await.unwrap_or(false) {}
                return;
            }
            Due::End => return,
        }
        seal_full(&tail, &tables).await;
    }
}

/// Moves blocks into segments, as many as make whole ones. As long as that fails nothing more is
/// indexed, so that what is in memory does not grow.
async fn seal_full(tail: &Tail, tables: &Tables) {
    while tail.goes_on() {
        match seal(tail, tables, SEGMENT_BLOCKS).await {
            Ok(true) => {}
            Ok(false) => return,
            Err(error) => {
                tracing::warn!(%error, "the search index waits");
                tokio::time::sleep(AGAIN_AFTER).await;
            }
        }
    }
}

/// Indexes what the writer handed over.
async fn index(tail: &Tail, builder: BlockBuilder, events: Vec<Stored>) -> BlockBuilder {
    let built = build(builder, move |builder| {
        for Stored { event, endpoint } in &events {
            builder.add(&Indexable {
                id: event.id,
                endpoint: *endpoint,
                workspace: Some(event.workspace),
                event_type: event.event_type.as_ref().map(EventType::as_str),
                payload: &event.payload,
            });
        }
    });
    let mut builder = built.await;
    tail.indexed(builder.take_closed(), builder.open_from());
    builder
}

/// Reads and indexes what is in the tables, from an id on.
async fn catch_up(
    tail: &Tail,
    tables: &Tables,
    mut builder: BlockBuilder,
    from: EventId,
) -> BlockBuilder {
    let mut beyond = None;
    loop {
        let rows = match tables.read_some(tail.stream, from, beyond).await {
            Ok(rows) => rows,
            Err(error) => {
                tracing::debug!(%error, "the search index waits");
                tokio::time::sleep(AGAIN_AFTER).await;
                if tail.is_abandoned() {
                    return builder;
                }
                continue;
            }
        };
        let is_last = rows.len() < EVENTS_AT_ONCE;
        beyond = rows.last().map_or(beyond, |row| Some(row.id));
        builder = build(builder, move |builder| {
            for row in &rows {
                builder.add(&row.indexable());
            }
        })
        .await;
        let unread = beyond.filter(|_| !is_last);
        tail.indexed(builder.take_closed(), least([builder.open_from(), unread]));
        seal_full(tail, tables).await;
        if is_last {
            return builder;
        }
    }
}

/// Adds to blocks on a blocking thread: it computes for longer than a task should.
async fn build(
    mut builder: BlockBuilder,
    add: impl FnOnce(&mut BlockBuilder) + Send + 'static,
) -> BlockBuilder {
    compute(move || {
        add(&mut builder);
        builder
    })
    .await
}

async fn compute<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    tokio::task::spawn_blocking(work).await.expect("building the index does not panic")
}

/// An event as the tables have it.
struct IndexedRow {
    id: EventId,
    endpoint: Option<i64>,
    workspace: Option<Uuid>,
    event_type: Option<String>,
    payload: Vec<u8>,
}

impl IndexedRow {
    fn indexable(&self) -> Indexable<'_> {
        Indexable {
            id: self.id,
            endpoint: self.endpoint,
            workspace: self.workspace.map(Into::into),
            event_type: self.event_type.as_deref(),
            payload: &self.payload,
        }
    }
}

/// The way to the tables.
struct Tables {
    pool: PgPool,
    call_timeout: Duration,
}

impl Tables {
    async fn within<T>(
        &self,
        what: &'static str,
        work: impl AsyncFnOnce(&mut PgConnection) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        within(&self.pool, self.call_timeout, what, StoreErrorKind::Unavailable, work).await
    }

    async fn read_some(
        &self,
        stream: i32,
        from: EventId,
        beyond: Option<EventId>,
    ) -> Result<Vec<IndexedRow>, StoreError> {
        let what = "cannot read events for the search index";
        let failed = |error| store_error(what, error);
        self.within(what, async |connection| {
            let rows = sqlx::query(
                "SELECT e.id, e.endpoint, coalesce(n.workspace, e.workspace), e.type, e.payload
                 FROM events e LEFT JOIN endpoints n ON n.number = e.endpoint
                 WHERE e.stream = $1 AND e.id >= $2 AND ($3 IS NULL OR e.id > $3)
                 ORDER BY e.id LIMIT $4",
            )
            .bind(stream)
            .bind(Uuid::from(beyond.unwrap_or(from)))
            .bind(beyond.map(Uuid::from))
            .bind(EVENTS_AT_ONCE as i64)
            .fetch_all(connection)
            .await
            .map_err(failed)?;
            let row = |row: &PgRow| {
                Ok(IndexedRow {
                    id: row.try_get::<Uuid, _>(0)?.into(),
                    endpoint: row.try_get(1)?,
                    workspace: row.try_get(2)?,
                    event_type: row.try_get(3)?,
                    payload: row.try_get(4)?,
                })
            };
            rows.iter().map(row).collect::<sqlx::Result<_>>().map_err(failed)
        })
        .await
    }
}

/// Moves the oldest blocks into a segment, where there are so many; says whether it did. Searches
/// find them in memory until they find them in the tables.
async fn seal(tail: &Tail, tables: &Tables, blocks_min: usize) -> Result<bool, StoreError> {
    let oldest = tail.oldest(blocks_min);
    if oldest.is_empty() {
        return Ok(false);
    }
    let stream = tail.stream;
    let (rows, blocks) = compute(move || SegmentRows::of(stream, &oldest)).await;
    let what = "cannot write a segment of the search index";
    tables.within(what, async |connection| rows.insert(connection).await).await?;
    tail.sealed(blocks);
    Ok(true)
}
