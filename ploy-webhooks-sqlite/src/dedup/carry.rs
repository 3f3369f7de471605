//! Carries keys over from the table of earlier versions, which had a row a key.

use ploy_webhooks::store::StoreError;
use ploy_webhooks::{DedupKey, EventId, Timestamp, WorkspaceId};
use rusqlite::types::Type;
use rusqlite::{Connection, OptionalExtension, params};

use super::Refiled;
use super::entry::{Entry, First, Print};
use super::keeper::{Bounds, last_number};
use super::segment::{Builder, Outline, insert_pages};
use crate::task;

/// Moves what has not expired into segments, so many keys in each transaction, and then drops the
/// table: a start that is broken off goes on with the next one.
pub(crate) fn carry_over(
    connection: &mut Connection,
    bounds: Bounds,
    now: Timestamp,
) -> Result<(), StoreError> {
    while task::commit(connection, |connection| {
        let is_there = is_there(connection)?;
        if is_there {
            carry_some(connection, bounds, now)?;
        }
        Ok(is_there)
    })? {}
    Ok(())
}

fn is_there(connection: &Connection) -> rusqlite::Result<bool> {
    let found =
        connection
            .query_row("SELECT 1 FROM sqlite_schema WHERE name = 'dedup_before'", [], |_| Ok(()));
    Ok(found.optional()?.is_some())
}

fn carry_some(connection: &Connection, bounds: Bounds, now: Timestamp) -> rusqlite::Result<()> {
    let mut select = connection.prepare_cached(
        "SELECT old.endpoint, old.key, old.event, old.expires_at, endpoints.id
         FROM dedup_before AS old LEFT JOIN endpoints ON endpoints.number = old.endpoint
         ORDER BY old.endpoint, old.key LIMIT ?1",
    )?;
    let mut rows = select.query(params![bounds.newest])?;
    let (mut live, mut last) = (Vec::new(), None);
    while let Some(row) = rows.next()? {
        let (number, key): (i64, Vec<u8>) = (row.get(0)?, row.get(1)?);
        let first = First {
            event: EventId::from_bytes(row.get(2)?),
            expires_at: Timestamp::from_millis(row.get(3)?),
        };
        let endpoint: Option<[u8; 16]> = row.get(4)?;
        let print = print(number, endpoint, &key)?;
        live.extend(print.filter(|_| first.is_live(now)).map(|print| Entry { print, first }));
        last = Some((number, key));
    }
    let Some((number, key)) = last else {
        return connection.execute_batch("DROP TABLE dedup_before");
    };
    live.sort_unstable_by_key(|entry| entry.print);
    let outlines = Outline::read_all(connection)?;
    let keys = live.len() as u64;
    let filter_bytes = bounds.filter_bytes_of(keys, &outlines);
    let mut builder = Builder::new(last_number(connection)? + 1, keys, filter_bytes);
    live.iter().for_each(|entry| builder.add(entry));
    if let Some((segment, pages)) = builder.end() {
        insert_pages(connection, &pages)?;
        let come = Some(segment.into());
        Refiled { come, ..Refiled::default() }.write(connection)?;
    }
    connection.execute(
        "DELETE FROM dedup_before WHERE (endpoint, key) <= (?1, ?2)",
        params![number, key],
    )?;
    Ok(())
}

/// What stands for a key of the old table; `None` where its endpoint is deleted. A published
/// event's key had its workspace behind it.
fn print(number: i64, endpoint: Option<[u8; 16]>, key: &[u8]) -> rusqlite::Result<Option<Print>> {
    let damaged = || {
        let what = "a deduplication key is not as it was written";
        rusqlite::Error::FromSqlConversionFailure(1, Type::Blob, what.into())
    };
    let (key, workspace) = key.split_first_chunk().ok_or_else(damaged)?;
    let key = DedupKey::from_bytes(*key);
    if number == 0 {
        let workspace = workspace.try_into().map_err(|_| damaged())?;
        return Ok(Some(Print::of_workspace(WorkspaceId::from_bytes(workspace), &key)));
    }
    Ok(endpoint.map(|endpoint| Print::of_endpoint(&endpoint, &key)))
}
