//! Work on the tables that the writer does between two batches.

use ploy_webhooks::store::{StoreError, StoreErrorKind};
use ploy_webhooks::{EndpointId, Revision, WorkspaceId};
use rusqlite::{Connection, TransactionBehavior};
use tokio::sync::oneshot;

use crate::dedup::Refiled;
use crate::error::{commit_kind, store_error};
use crate::queue::Queue;

/// Work that waits for the writer.
pub(crate) struct Task {
    /// The work. It answers its caller itself; given no connection, it says why.
    pub(crate) work: Box<dyn FnOnce(OpenConnection<'_>) -> TaskEnd + Send>,
    /// About how much it adds to the log.
    pub(crate) log_bytes: usize,
}

/// The writer's connection, or why there is none.
pub(crate) type OpenConnection<'a> = Result<&'a mut Connection, StoreError>;

/// How a task ended.
pub(crate) enum TaskEnd {
    Done(Option<Change>),
    /// It failed so, and the connection is not to be trusted any more.
    Failed(StoreErrorKind),
}

/// What a task did that the writer has to know of.
pub(crate) enum Change {
    Set(EndpointId, Known),
    Removed(EndpointId),
    /// What is known of the numbers of triggers does not hold any more.
    TriggersMarked,
    /// Deduplication keys lie elsewhere in the tables.
    KeysRefiled(Refiled),
}

/// What the writer knows of an endpoint without asking the tables.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Known {
    pub(crate) number: i64,
    pub(crate) workspace: WorkspaceId,
    pub(crate) revision: Revision,
}

/// What comes of work that the writer was given.
#[derive(Debug)]
pub(crate) struct Answer<T>(oneshot::Receiver<Result<T, StoreError>>);

/// Gives the writer something to do.
pub(crate) fn give<T: Send + 'static>(
    queue: &Queue,
    log_bytes: usize,
    work: impl FnOnce(&mut Connection) -> Result<(T, Option<Change>), StoreError> + Send + 'static,
) -> Result<Answer<T>, StoreError> {
    let (answer, answered) = oneshot::channel();
    let work = Box::new(move |connection: OpenConnection<'_>| {
        let (outcome, end) = match connection.and_then(work) {
            Ok((value, change)) => (Ok(value), TaskEnd::Done(change)),
            Err(error) => {
                let end = TaskEnd::Failed(error.kind());
                (Err(error), end)
            }
        };
        // A caller that has gone is not missed: what it asked for is done.
        let _ = answer.send(outcome);
        end
    });
    queue.push_task(Task { work, log_bytes })?;
    Ok(Answer(answered))
}

impl<T> Answer<T> {
    pub(crate) async fn recv(self) -> Result<T, StoreError> {
        self.0.await.unwrap_or_else(|_| Err(writer_stopped()))
    }

    /// For threads.
    pub(crate) fn blocking_recv(self) -> Result<T, StoreError> {
        self.0.blocking_recv().unwrap_or_else(|_| Err(writer_stopped()))
    }
}

fn writer_stopped() -> StoreError {
    StoreError::new(StoreErrorKind::Indeterminate, "the writer has stopped")
}

/// Does it in a transaction of its own, and flushes that.
pub(crate) fn commit<T>(
    connection: &mut Connection,
    work: impl FnOnce(&Connection) -> rusqlite::Result<T>,
) -> Result<T, StoreError> {
    transact(connection, |connection| work(connection).map_err(cannot_change))
}

/// As [`commit`], for work that says itself what went wrong.
pub(crate) fn transact<T>(
    connection: &mut Connection,
    work: impl FnOnce(&Connection) -> Result<T, StoreError>,
) -> Result<T, StoreError> {
    let transaction = connection
        .transaction_with_behavior(TransactionBehavior::Immediate)
        .map_err(cannot_change)?;
    let value = work(&transaction)?;
    transaction.commit().map_err(|error| {
        let message = format!("cannot commit a change: {error}");
        StoreError::new(commit_kind(&error), message).because(error)
    })?;
    Ok(value)
}

fn cannot_change(error: rusqlite::Error) -> StoreError {
    store_error("cannot change the tables", error)
}

/// As [`commit`], and does not flush: for what works behind the events, which can be done again
/// and becomes durable with the next batch of them.
///
/// A failure leaves the connection as it is: it is not used again.
pub(crate) fn commit_unflushed<T>(
    connection: &mut Connection,
    work: impl FnOnce(&Connection) -> rusqlite::Result<T>,
) -> Result<T, StoreError> {
    let failed = |error| store_error("cannot set the flushing", error);
    let synchronous: i64 =
        connection.pragma_query_value(None, "synchronous", |row| row.get(0)).map_err(failed)?;
    connection.pragma_update(None, "synchronous", "normal").map_err(failed)?;
    let value = commit(connection, work)?;
    connection.pragma_update(None, "synchronous", synchronous).map_err(failed)?;
    Ok(value)
}
