//! [`EventStore`]: events in, and out again.

use std::collections::HashMap;
use std::net::IpAddr;

use async_trait::async_trait;
use bytes::Bytes;
use ploy_webhooks::store::{Appended, EventQuery, EventStore, Page, StoreError, StoreErrorKind};
use ploy_webhooks::{
    EndpointId, Event, EventId, EventSummary, EventType, KeptHeaders, NewEvent, WorkspaceId,
};
use rusqlite::{CachedStatement, Connection, OptionalExtension, Row, params};
use tokio::sync::oneshot;

use crate::SqliteStore;
use crate::dedup::Print;
use crate::error::{corrupt, store_error};
use crate::lane::{LaneKey, OriginKey};
use crate::queue::Waiting;
use crate::search::{self, Place, Search};

#[async_trait]
impl EventStore for SqliteStore {
    async fn append(&self, event: NewEvent) -> Result<Appended, StoreError> {
        let (answer, answered) = oneshot::channel();
        let print = Print::of(&event);
        self.queue.push(Waiting { event, print, answer })?;
        answered.await.unwrap_or_else(|_| {
            Err(StoreError::new(StoreErrorKind::Indeterminate, "the writer has stopped"))
        })
    }

    async fn event(
        &self,
        workspace: &WorkspaceId,
        id: &EventId,
    ) -> Result<Option<Event>, StoreError> {
        let (workspace, id, closed) = (*workspace, *id, self.closed_blocks.clone());
        self.look_ups
            .read(move |connection| match search::find(connection, &closed, workspace, id)? {
                Some(place) => read_event(connection, id, place),
                None => Ok(None),
            })
            .await
    }

    async fn search(&self, query: &EventQuery) -> Result<Page<EventSummary>, StoreError> {
        let (query, closed) = (query.clone(), self.closed_blocks.clone());
        self.searches.read(move |connection| Search::new(query).run(connection, &closed)).await
    }
}

fn read_event(
    connection: &Connection,
    id: EventId,
    place: Place,
) -> Result<Option<Event>, StoreError> {
    let failed = |error| store_error("cannot read the event", error);
    let Place { seq, origin } = place;
    let mut select = connection
        .prepare_cached(
            "-- event()
             SELECT type, source, headers, payload FROM events WHERE seq = ?1",
        )
        .map_err(failed)?;
    let mut rows = select.query(params![seq]).map_err(failed)?;
    let Some(row) = rows.next().map_err(failed)? else {
        // Deleted since it was found; its place is not given again.
        return Ok(None);
    };
    Ok(Some(Event {
        id,
        workspace: origin.workspace,
        endpoint: origin.endpoint,
        event_type: event_type(row, 0, seq)?,
        headers: headers(row, 2, seq)?,
        source: source(row, 1, seq)?,
        payload: Bytes::from(row.get::<_, Vec<u8>>(3).map_err(failed)?),
    }))
}

pub(crate) fn event_type(
    row: &Row<'_>,
    column: usize,
    seq: i64,
) -> Result<Option<EventType>, StoreError> {
    let text: Option<String> =
        row.get(column).map_err(|error| store_error("cannot read the event", error))?;
    text.map(EventType::try_from).transpose().map_err(|_| corrupt("events", "type", seq))
}

pub(crate) fn headers(row: &Row<'_>, column: usize, seq: i64) -> Result<KeptHeaders, StoreError> {
    let lines: Option<Vec<u8>> =
        row.get(column).map_err(|error| store_error("cannot read the event", error))?;
    lines.map_or(Ok(KeptHeaders::default()), |lines| {
        KeptHeaders::from_lines(&lines).ok_or_else(|| corrupt("events", "headers", seq))
    })
}

pub(crate) fn source(row: &Row<'_>, column: usize, seq: i64) -> Result<Option<IpAddr>, StoreError> {
    let bytes: Option<Vec<u8>> =
        row.get(column).map_err(|error| store_error("cannot read the event", error))?;
    let address = |bytes: Vec<u8>| match bytes.len() {
        4 => <[u8; 4]>::try_from(bytes).ok().map(IpAddr::from),
        16 => <[u8; 16]>::try_from(bytes).ok().map(IpAddr::from),
        _ => None,
    };
    match bytes.map(address) {
        Some(None) => Err(corrupt("events", "source", seq)),
        Some(known) => Ok(known),
        None => Ok(None),
    }
}

/// An address as it is kept: its four or sixteen bytes.
pub(crate) fn source_bytes(address: IpAddr) -> Vec<u8> {
    match address {
        IpAddr::V4(address) => address.octets().to_vec(),
        IpAddr::V6(address) => address.octets().to_vec(),
    }
}

/// Whose an event is.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Origin {
    pub(crate) endpoint: Option<EndpointId>,
    pub(crate) workspace: WorkspaceId,
}

/// Whose the events are that a statement reads: each endpoint is looked up once.
pub(crate) struct Origins<'connection> {
    select: CachedStatement<'connection>,
    known: HashMap<i64, Option<Origin>>,
}

impl<'connection> Origins<'connection> {
    pub(crate) fn new(connection: &'connection Connection) -> rusqlite::Result<Self> {
        let select = connection.prepare_cached(
            "-- origins()
             SELECT id, workspace FROM endpoints WHERE number = ?1",
        )?;
        Ok(Self { select, known: HashMap::new() })
    }

    /// Whose the event of this row is; `None` where its endpoint is deleted.
    pub(crate) fn of(
        &mut self,
        row: &Row<'_>,
        endpoint_column: usize,
        workspace_column: usize,
    ) -> rusqlite::Result<Option<Origin>> {
        self.of_key(match row.get(endpoint_column)? {
            Some(number) => OriginKey::Endpoint(number),
            None => OriginKey::Workspace(WorkspaceId::from_bytes(row.get(workspace_column)?)),
        })
    }

    /// Whose the runs of this lane are, as [`of`](Self::of).
    pub(crate) fn of_lane(&mut self, lane: LaneKey) -> rusqlite::Result<Option<Origin>> {
        self.of_key(lane.origin)
    }

    /// Whose the events are from there, as [`of`](Self::of).
    pub(crate) fn of_key(&mut self, key: OriginKey) -> rusqlite::Result<Option<Origin>> {
        let number = match key {
            OriginKey::Endpoint(number) => number,
            OriginKey::Workspace(workspace) => {
                return Ok(Some(Origin { endpoint: None, workspace }));
            }
        };
        if let Some(known) = self.known.get(&number) {
            return Ok(*known);
        }
        let origin = self
            .select
            .query_row(params![number], |row| {
                Ok(Origin {
                    endpoint: Some(EndpointId::from_bytes(row.get(0)?)),
                    workspace: WorkspaceId::from_bytes(row.get(1)?),
                })
            })
            .optional()?;
        self.known.insert(number, origin);
        Ok(origin)
    }
}
