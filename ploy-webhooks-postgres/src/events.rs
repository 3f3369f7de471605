//! [`EventStore`]: events in, and out again.

use std::net::IpAddr;

use async_trait::async_trait;
use bytes::Bytes;
use ploy_webhooks::store::{Appended, EventQuery, EventStore, Page, StoreError, StoreErrorKind};
use ploy_webhooks::{
    EndpointId, Event, EventId, EventSummary, EventType, KeptHeaders, NewEvent, WorkspaceId,
};
use sqlx::Row;
use sqlx::postgres::PgRow;
use tokio::time::timeout;

use crate::PostgresStore;
use crate::error::{corrupt, store_error};
use crate::queue::Answer;
use crate::search;
use crate::wire::Uuid;

#[async_trait]
impl EventStore for PostgresStore {
    async fn append(&self, event: NewEvent) -> Result<Appended, StoreError> {
        answered(self.shared.queue.push(event)?).await
    }

    async fn event(
        &self,
        workspace: &WorkspaceId,
        id: &EventId,
    ) -> Result<Option<Event>, StoreError> {
        self.call("look an event up", async |connection| {
            sqlx::query(EVENT)
                .bind(Uuid::from(*id))
                .bind(Uuid::from(*workspace))
                .fetch_optional(connection)
                .await
                .map_err(read_failed)?
                .map(|row| event(&row))
                .transpose()
        })
        .await
    }

    async fn search(&self, query: &EventQuery) -> Result<Page<EventSummary>, StoreError> {
        let limit = self.shared.settings.call_timeout;
        let _running = timeout(limit, self.searches.acquire())
            .await
            .map_err(|_| StoreError::new(StoreErrorKind::Busy, "too many searches are under way"))?
            .map_err(|_| StoreError::new(StoreErrorKind::Unavailable, "the store is closed"))?;
        let tails = self.shared.tails.lock().clone();
        self.call("search the events", async |connection| {
            search::page(connection, &tails, query).await
        })
        .await
    }
}

/// What becomes of an event that waits.
pub(crate) async fn answered(answer: Answer) -> Result<Appended, StoreError> {
    answer.await.unwrap_or_else(|_| {
        Err(StoreError::new(StoreErrorKind::Indeterminate, "the writers have stopped"))
    })
}

/// One index probe a stream, in the partition of the id's time.
pub(crate) const EVENT: &str = "
    SELECT e.id, n.id, coalesce(n.workspace, e.workspace), e.type, e.source, e.headers, e.payload
    FROM streams s
    JOIN events e ON e.stream = s.number AND e.id = $1
    LEFT JOIN endpoints n ON n.number = e.endpoint
    WHERE coalesce(n.workspace, e.workspace) = $2 LIMIT 1";

/// The event of a row: its id, endpoint, workspace, type, source, headers and payload.
pub(crate) fn event(row: &PgRow) -> Result<Event, StoreError> {
    let headers: Option<&[u8]> = row.try_get(5).map_err(read_failed)?;
    let headers = match headers {
        Some(lines) => {
            KeptHeaders::from_lines(lines).ok_or_else(|| corrupt("events", "headers"))?
        }
        None => KeptHeaders::default(),
    };
    let payload: Vec<u8> = row.try_get(6).map_err(read_failed)?;
    Ok(Event {
        id: row.try_get::<Uuid, _>(0).map_err(read_failed)?.into(),
        endpoint: endpoint_id(row, 1)?,
        workspace: row.try_get::<Uuid, _>(2).map_err(read_failed)?.into(),
        event_type: event_type(row, 3)?,
        source: source(row, 4)?,
        headers,
        payload: Bytes::from(payload),
    })
}

pub(crate) fn endpoint_id(row: &PgRow, column: usize) -> Result<Option<EndpointId>, StoreError> {
    let id: Option<Uuid> = row.try_get(column).map_err(read_failed)?;
    Ok(id.map(Into::into))
}

pub(crate) fn event_type(row: &PgRow, column: usize) -> Result<Option<EventType>, StoreError> {
    let text: Option<String> = row.try_get(column).map_err(read_failed)?;
    text.map(EventType::try_from).transpose().map_err(|_| corrupt("events", "type"))
}

pub(crate) fn source(row: &PgRow, column: usize) -> Result<Option<IpAddr>, StoreError> {
    let bytes: Option<&[u8]> = row.try_get(column).map_err(read_failed)?;
    let address = |bytes: &[u8]| match bytes.len() {
        4 => <[u8; 4]>::try_from(bytes).ok().map(IpAddr::from),
        16 => <[u8; 16]>::try_from(bytes).ok().map(IpAddr::from),
        _ => None,
    };
    match bytes.map(address) {
        Some(None) => Err(corrupt("events", "source")),
        Some(known) => Ok(known),
        None => Ok(None),
    }
}

pub(crate) fn read_failed(error: sqlx::Error) -> StoreError {
    store_error("cannot read the events", error)
}
