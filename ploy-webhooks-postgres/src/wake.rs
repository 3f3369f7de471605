//! `LISTEN`: what other nodes did that this one would like to know at once.
//!
//! Nothing depends on it. An endpoint that was changed elsewhere is refused by the fence, and runs
//! are found by asking. So the connection may be lost; it is mended, and whoever waits is told
//! that something may have been missed.

use std::time::Duration;

use ploy_webhooks::Slug;
use sqlx::Executor;
use sqlx::postgres::PgListener;
use tokio::sync::broadcast;

use crate::database;
use crate::writer::Shared;

/// How long after a failure the connection is made again.
const AGAIN_AFTER: Duration = Duration::from_millis(500);

const CHANNELS: [&str; 3] = ["ploy_endpoints", "ploy_runs", "ploy_outbox"];

/// What changed, by whichever node.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_enums, reason = "a listener knows or does not")]
pub enum EndpointChange {
    /// The endpoint with this slug was changed or deleted.
    Of(Slug),
    /// Any number of endpoints may have been: the connection was lost for a while, or the
    /// listener was too slow.
    Unknown,
}

/// The changes of endpoints, as they are heard of. From
/// [`PostgresStore::endpoint_changes`](crate::PostgresStore::endpoint_changes).
#[derive(Debug)]
pub struct EndpointChanges(pub(crate) broadcast::Receiver<EndpointChange>);

impl EndpointChanges {
    /// The next change; `None` when the store is closed.
    ///
    /// # Cancel safety
    ///
    /// A call that is dropped has taken nothing.
    pub async fn next(&mut self) -> Option<EndpointChange> {
        match self.0.recv().await {
            Ok(change) => Some(change),
            Err(broadcast::error::RecvError::Lagged(_)) => Some(EndpointChange::Unknown),
            Err(broadcast::error::RecvError::Closed) => None,
        }
    }
}

/// Listens for good.
pub(crate) async fn listen(shared: Shared, changes: broadcast::Sender<EndpointChange>) {
    loop {
        if let Err(error) = listen_until_lost(&shared, &changes).await {
            tracing::debug!(%error, "the connection that listens to other nodes is lost");
        }
        missed(&shared, &changes);
        tokio::time::sleep(AGAIN_AFTER).await;
    }
}

async fn listen_until_lost(
    shared: &Shared,
    changes: &broadcast::Sender<EndpointChange>,
) -> sqlx::Result<()> {
    let limit = shared.settings.connect_timeout;
    // A pool each time: a listener that is dropped waits for an answer before it gives its
    // connection back, and a deaf one gives none.
    let pool = database::pool(&shared.settings, 1);
    let mut listener = PgListener::connect_with(&pool).await?;
    listener.eager_reconnect(false);
    match tokio::time::timeout(limit, listener.listen_all(CHANNELS)).await {
        Ok(listening) => listening?,
        Err(_) => return Ok(()),
    }
    // What came before this connection was not heard.
    missed(shared, changes);
    loop {
        let heard = tokio::time::timeout(shared.settings.call_timeout, listener.try_recv()).await;
        match heard {
            Ok(Ok(Some(heard))) => tell(shared, changes, heard.channel(), heard.payload()),
            Ok(Ok(None)) => return Ok(()),
            Ok(Err(error)) => return Err(error),
            // Silence, or a connection that is dead and does not know it.
            Err(_) => match tokio::time::timeout(limit, listener.execute("SELECT 1")).await {
                Ok(Ok(_)) => {}
                Ok(Err(error)) => return Err(error),
                Err(_) => return Ok(()),
            },
        }
    }
}

fn tell(
    shared: &Shared,
    changes: &broadcast::Sender<EndpointChange>,
    channel: &str,
    payload: &str,
) {
    let (schema, slug) = payload.split_once(' ').unwrap_or((payload, ""));
    if schema != shared.settings.schema {
        return;
    }
    match channel {
        "ploy_runs" => shared.runs_due.notify_waiters(),
        "ploy_outbox" => shared.outbox_filled.notify_waiters(),
        _ => {
            let change = slug.parse().map_or(EndpointChange::Unknown, EndpointChange::Of);
            // Nobody has to listen.
            let _ = changes.send(change);
        }
    }
}

fn missed(shared: &Shared, changes: &broadcast::Sender<EndpointChange>) {
    shared.runs_due.notify_waiters();
    shared.outbox_filled.notify_waiters();
    let _ = changes.send(EndpointChange::Unknown);
}
