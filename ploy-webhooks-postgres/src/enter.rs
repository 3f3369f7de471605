//! What is owed, entered in the line: behind the writers, who put it down as it came.
//!
//! An append pays for one row a batch; the rows and index entries of each run are made here, over
//! a connection of its own. Nothing depends on it: whoever looks for runs enters them first where
//! that is not done yet, whichever node has stored them.

use std::time::Duration;

use ploy_webhooks::store::{StoreError, StoreErrorKind};
use sqlx::postgres::PgConnection;
use tokio::time::{sleep, timeout};

use crate::database;
use crate::error::{store_error, timed_out};
use crate::writer::Shared;

/// The batches that are entered by one transaction: whoever claims may wait for it.
const SHEETS: i32 = 64;
/// Between two transactions. Nobody waits longer for it: who looks for runs enters them.
const GAP: Duration = Duration::from_millis(10);
/// How long after a failure it is tried again.
const AGAIN_AFTER: Duration = Duration::from_secs(1);

const WHAT: &str = "cannot enter runs";

/// Enters for good what this node's writers put down.
pub(crate) async fn run(shared: Shared) {
    let mut connection = None;
    loop {
        shared.runs_put_down.notified().await;
        let limit = shared.settings.call_timeout;
        let entered = timeout(limit, enter(&shared, &mut connection)).await;
        let entered =
            entered.unwrap_or_else(|_| Err(timed_out(StoreErrorKind::Unavailable, WHAT, limit)));
        if let Err(error) = entered {
            tracing::debug!(%error, "runs are left to whoever looks for them");
            connection = None;
            sleep(AGAIN_AFTER).await;
            shared.runs_put_down.notify_one();
        }
        sleep(GAP).await;
    }
}

async fn enter(shared: &Shared, kept: &mut Option<PgConnection>) -> Result<(), StoreError> {
    let connection = match kept {
        Some(connection) => connection,
        none => none.insert(database::connect_enterer(&shared.settings).await?),
    };
    while enter_some(connection).await? > 0 {}
    Ok(())
}

/// Enters all that was put down before, by whichever node.
pub(crate) async fn enter_all(connection: &mut PgConnection) -> Result<(), StoreError> {
    while enter_some(connection).await? > 0 {}
    Ok(())
}

async fn enter_some(connection: &mut PgConnection) -> Result<i32, StoreError> {
    sqlx::query_scalar("SELECT enter_runs($1)")
        .bind(SHEETS)
        .fetch_one(connection)
        .await
        .map_err(|error| store_error(WHAT, error))
}
