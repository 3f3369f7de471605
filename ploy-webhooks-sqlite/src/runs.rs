//! [`RunStore`]: what events owe and what came of it, on record.

use std::time::Duration;

use async_trait::async_trait;
use ploy_webhooks::store::{RunStore, StoreError};
use ploy_webhooks::{
    Attempt, AttemptEnd, EventId, NewRun, Outcome, Run, RunId, RunState, Timestamp, WorkspaceId,
};
use rusqlite::{Connection, Row, params};

use crate::SqliteStore;
use crate::endpoints::json;
use crate::error::{corrupt, store_error};
use crate::search::{self, Place};

/// A run in this state may be claimed, now or later. To be written as it is: this is how SQLite
/// knows that the index of the line is meant.
macro_rules! is_in_line {
    () => {
        "state IN ('queued', 'running', 'retrying')"
    };
}
pub(crate) use is_in_line;

#[async_trait]
impl RunStore for SqliteStore {
    async fn runs(&self, workspace: &WorkspaceId, event: &EventId) -> Result<Vec<Run>, StoreError> {
        let (workspace, event, closed) = (*workspace, *event, self.closed_blocks.clone());
        self.look_ups
            .read(move |connection| {
                let found = search::find(connection, &closed, workspace, event)?;
                let Some(Place { seq, .. }) = found else {
                    return Ok(Vec::new());
                };
                // Runs and attempts of one moment.
                let snapshot = connection.transaction().map_err(failed)?;
                let mut runs = read_runs(&snapshot, event, seq)?;
                read_attempts(&snapshot, seq, &mut runs)?;
                Ok(runs)
            })
            .await
    }
}

fn read_runs(connection: &Connection, event: EventId, seq: i64) -> Result<Vec<Run>, StoreError> {
    let mut select = connection
        .prepare_cached(
            "-- runs()
             SELECT id, trigger, created_at, state FROM runs WHERE event = ?1 ORDER BY id",
        )
        .map_err(failed)?;
    let mut rows = select.query(params![seq]).map_err(failed)?;
    let mut runs = Vec::new();
    while let Some(row) = rows.next().map_err(failed)? {
        let trigger: String = row.get(1).map_err(failed)?;
        let trigger = serde_json::from_str(&trigger)
            .map_err(|error| corrupt("runs", "trigger", seq).because(error))?;
        let mut run = Run::queued(
            RunId::from_bytes(row.get(0).map_err(failed)?),
            event,
            trigger,
            Timestamp::from_millis(row.get(2).map_err(failed)?),
        );
        let state: String = row.get(3).map_err(failed)?;
        run.state = RunState::from_name(&state).ok_or_else(|| corrupt("runs", "state", seq))?;
        runs.push(run);
    }
    Ok(runs)
}

/// Puts the attempts, which come in the order of the runs, where they belong.
fn read_attempts(connection: &Connection, seq: i64, runs: &mut [Run]) -> Result<(), StoreError> {
    let mut select = connection
        .prepare_cached(
            "-- runs()
             SELECT run, number, started_at, ended_at, outcome, after, said
             FROM attempts WHERE event = ?1 ORDER BY run, number",
        )
        .map_err(failed)?;
    let mut rows = select.query(params![seq]).map_err(failed)?;
    let mut runs = runs.iter_mut().peekable();
    while let Some(row) = rows.next().map_err(failed)? {
        let id = RunId::from_bytes(row.get(0).map_err(failed)?);
        while runs.next_if(|run| run.id < id).is_some() {}
        if let Some(run) = runs.peek_mut().filter(|run| run.id == id) {
            run.attempts.push(attempt(row, seq)?);
        }
    }
    Ok(())
}

fn attempt(row: &Row<'_>, seq: i64) -> Result<Attempt, StoreError> {
    let number: u32 = row.get(1).map_err(failed)?;
    let ended_at: Option<u64> = row.get(3).map_err(failed)?;
    Ok(Attempt {
        number: number.try_into().map_err(|_| corrupt("attempts", "number", seq))?,
        started_at: Timestamp::from_millis(row.get(2).map_err(failed)?),
        end: match ended_at {
            Some(millis) => {
                Some(AttemptEnd { at: Timestamp::from_millis(millis), outcome: outcome(row, seq)? })
            }
            None => None,
        },
    })
}

fn outcome(row: &Row<'_>, seq: i64) -> Result<Outcome, StoreError> {
    let state: String = row.get(4).map_err(failed)?;
    let said: Vec<u8> = row.get(6).map_err(failed)?;
    let error = |said| String::from_utf8(said).map_err(|_| corrupt("attempts", "said", seq));
    match RunState::from_name(&state) {
        Some(RunState::Succeeded) => Ok(Outcome::Succeed { output: said.into() }),
        Some(RunState::Failed) => Ok(Outcome::Fail { error: error(said)? }),
        Some(RunState::Retrying) => {
            let after = Duration::from_millis(row.get(5).map_err(failed)?);
            Ok(Outcome::Retry { error: error(said)?, after })
        }
        _ => Err(corrupt("attempts", "outcome", seq)),
    }
}

/// Writes a run that the event at that place owes.
pub(crate) fn insert_run(
    connection: &Connection,
    run: &NewRun,
    seq: i64,
    now: Timestamp,
) -> rusqlite::Result<()> {
    let mut insert = connection.prepare_cached(
        "-- insert_run()
         INSERT INTO runs (event, id, trigger, retry, state, created_at, due_at)
         VALUES (?1, ?2, ?3, ?4, 'queued', ?5, ?6)",
    )?;
    insert.execute(params![
        seq,
        run.id.as_bytes(),
        json(&run.trigger)?,
        json(&run.retry)?,
        now.as_millis(),
        now.after(run.delay).as_millis(),
    ])?;
    Ok(())
}

fn failed(error: rusqlite::Error) -> StoreError {
    store_error("cannot read the runs", error)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_state_is_in_line_unless_it_is_finished() {
        for state in RunState::ALL {
            let text = state.as_str();
            let is_finished = matches!(state, RunState::Succeeded | RunState::Failed);
            assert_eq!(is_in_line!().contains(&format!("'{text}'")), !is_finished, "{text}");
        }
    }
}
