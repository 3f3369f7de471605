//! The relay: makes events of what is in the outbox.
//!
//! The writer that stores the event deletes the row in the same transaction, and where the row is
//! gone it stores nothing: so a row becomes one event, whoever relays it, whatever is killed, and
//! however often it is tried. That one node relays at a time only spares work; one that is lost is
//! followed by another when its time is over.

use std::collections::HashMap;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::join_all;
use ploy_webhooks::store::{StoreError, StoreErrorKind};
use ploy_webhooks::{Clock, EventId, EventType, NewEvent, Publication, SystemClock, WorkspaceId};
use sqlx::Row;
use sqlx::postgres::{PgConnection, PgRow};
use tokio::time::{sleep, timeout};

use crate::PostgresStore;
use crate::error::{corrupt, write_error};
use crate::events::answered;
use crate::relayed::{Composing, Subscriptions};
use crate::wire::Uuid;

/// So many at once: no more than one batch of a writer.
const ROWS: i32 = 512;
/// And so many bytes of payload.
const BYTES: i64 = 8 << 20;
/// How long after a failure it is tried again.
const AGAIN_AFTER: Duration = Duration::from_secs(1);

impl PostgresStore {
    /// Makes events of what apps put into the [`Outbox`](crate::Outbox), for good: to be spawned on
    /// a node, or on all of them, of which one is at work at a time. Ends when the store is
    /// [closed](Self::close).
    ///
    /// What fails is logged and tried again, beginning with one row alone. A row that fails by
    /// itself does not keep those behind it: it is put off for a minute each time, and says why in
    /// its column `failure`.
    ///
    /// # Cancel safety
    ///
    /// It may be dropped at any time. What it was at is stored once, now or by the next relay.
    pub async fn relay_outbox(self: &Arc<Self>) {
        let relay = Uuid::from(EventId::mint(SystemClock.now()));
        let mut closed = self.shared.pool.close_event();
        // Either end is an end.
        let _ = closed.do_until(self.relay_for_good(relay)).await;
    }

    async fn relay_for_good(self: &Arc<Self>, relay: Uuid) {
        let mut rows_max = ROWS;
        loop {
            let mut filled = pin!(self.shared.outbox_filled.notified());
            // From now on nothing is missed; what came before is found by the look.
            filled.as_mut().enable();
            match self.relay_some(relay, rows_max).await {
                Ok(0) => drop(timeout(self.shared.settings.outbox_poll, filled).await),
                Ok(_) => rows_max = ROWS,
                Err(error) => {
                    tracing::warn!(%error, "the outbox cannot be relayed now");
                    rows_max = 1;
                    sleep(AGAIN_AFTER).await;
                }
            }
        }
    }

    /// Relays what is next in the outbox, so many rows at most, and says how many that were. One that
    /// fails with nothing beside it is put off.
    async fn relay_some(self: &Arc<Self>, relay: Uuid, rows_max: i32) -> Result<usize, StoreError> {
        let rows = self.take(relay, rows_max).await?;
        match (self.relay_taken(&rows).await, &rows[..]) {
            (Ok(()), _) => {}
            // Whatever it is: tried for good, it would keep all others. Others are why it is too much.
            (Err(error), [alone]) if rows_max == 1 && error.kind() != StoreErrorKind::Busy => {
                self.put_off(number(alone)?, &error).await?;
            }
            (Err(error), _) => return Err(error),
        }
        Ok(rows.len())
    }

    async fn relay_taken(self: &Arc<Self>, rows: &[PgRow]) -> Result<(), StoreError> {
        let (events, composed) = self.compose(rows).await?;
        self.store_taken(events).await?;
        composed
    }

    async fn take(&self, relay: Uuid, rows_max: i32) -> Result<Vec<PgRow>, StoreError> {
        self.change("take from the outbox", async |connection| {
            let taken = sqlx::query(TAKE).bind(relay).bind(rows_max).bind(BYTES);
            taken.fetch_all(connection).await.map_err(failed)
        })
        .await
    }

    /// Makes events of rows, up to the first of which none can be made now, and says why that is.
    /// Those of which none can be made at all are put off.
    async fn compose(
        self: &Arc<Self>,
        rows: &[PgRow],
    ) -> Result<(Vec<(i64, NewEvent)>, Result<(), StoreError>), StoreError> {
        let mut of_workspaces: HashMap<WorkspaceId, Arc<Subscriptions>> = HashMap::new();
        let mut under_way = Vec::with_capacity(rows.len());
        for row in rows {
            let number = number(row)?;
            let workspace: Uuid = row.try_get(2).map_err(failed)?;
            let subscriptions = of_workspaces.entry(workspace.into()).or_default().clone();
            under_way.push(async move { (number, self.compose_one(row, subscriptions).await) });
        }
        let mut events = Vec::with_capacity(rows.len());
        for (number, composed) in join_all(under_way).await {
            match composed {
                Ok(event) => events.push((number, event)),
                Err(error) if is_of_the_row(&error) => self.put_off(number, &error).await?,
                Err(error) => return Ok((events, Err(error))),
            }
        }
        Ok((events, Ok(())))
    }

    async fn compose_one(
        self: &Arc<Self>,
        row: &PgRow,
        subscriptions: Arc<Subscriptions>,
    ) -> Result<NewEvent, StoreError> {
        let (event, publication) = publication(row)?;
        let Publication { payload, .. } = &publication;
        if payload.len() as u64 > self.shared.settings.waiting_bytes_max {
            // It would be told for good that others have to go first.
            let message = "the payload is larger than `waiting_bytes_max` of the store";
            return Err(StoreError::new(StoreErrorKind::Misuse, message));
        }
        Composing::compose(Arc::clone(self), (event, publication), subscriptions).await
    }

    /// Stores events in their order, whole or up to one that is refused for now: nothing behind that
    /// is stored before it.
    async fn store_taken(&self, events: Vec<(i64, NewEvent)>) -> Result<(), StoreError> {
        let (answers, mut all) = self.shared.queue.push_take(events);
        for (number, answer) in answers {
            match answered(answer).await {
                // Stored, or a repeat of another one: by its key, or since it was relayed before.
                Ok(_) => {}
                Err(error) if error.kind() == StoreErrorKind::Misuse => {
                    self.put_off(number, &error).await?
                }
                Err(error) => all = all.and(Err(error)),
            }
        }
        all
    }

    async fn put_off(&self, number: i64, error: &StoreError) -> Result<(), StoreError> {
        tracing::error!(number, %error, "a row of the outbox cannot be made an event of");
        self.change("put a row of the outbox off", async |connection| {
            let put_off = sqlx::query(PUT_OFF).bind(number).bind(error.to_string());
            put_off.execute(connection).await.map(drop).map_err(failed)
        })
        .await
    }
}

const TAKE: &str = "SELECT number, id, workspace, type, key, payload FROM take_outbox($1, $2, $3)";
const PUT_OFF: &str = "UPDATE outbox SET not_before = clock_timestamp() + interval '1 minute',
    failure = $2 WHERE number = $1";
/// In one order, so that two relays never wait for each other in a circle.
const DELETE: &str = "DELETE FROM outbox WHERE number IN (
        SELECT number FROM outbox WHERE number = ANY ($1) ORDER BY number FOR UPDATE
    ) RETURNING number";

/// Deletes these rows, and says which were there.
pub(crate) async fn delete(
    connection: &mut PgConnection,
    numbers: &[i64],
) -> Result<Vec<i64>, StoreError> {
    sqlx::query_scalar(DELETE).bind(numbers).fetch_all(connection).await.map_err(failed)
}

fn number(row: &PgRow) -> Result<i64, StoreError> {
    row.try_get(0).map_err(failed)
}

/// What is to be published, and the id that the event will have.
fn publication(row: &PgRow) -> Result<(EventId, Publication), StoreError> {
    let (id, workspace): (Uuid, Uuid) =
        (row.try_get(1).map_err(failed)?, row.try_get(2).map_err(failed)?);
    let event_type: String = row.try_get(3).map_err(failed)?;
    let event_type = EventType::try_from(event_type)
        .map_err(|error| corrupt("outbox", "type").because(error))?;
    let key: Option<Vec<u8>> = row.try_get(4).map_err(failed)?;
    let key = key.map(String::from_utf8).transpose();
    let payload: Vec<u8> = row.try_get(5).map_err(failed)?;
    let mut publication = Publication::new(workspace.into(), event_type, Bytes::from(payload));
    publication.idempotency_key = key.map_err(|error| corrupt("outbox", "key").because(error))?;
    Ok((id.into(), publication))
}

/// Whether an event can be made of others.
fn is_of_the_row(error: &StoreError) -> bool {
    matches!(error.kind(), StoreErrorKind::Misuse | StoreErrorKind::Corrupt)
}

fn failed(error: sqlx::Error) -> StoreError {
    write_error("cannot relay the outbox", error)
}
