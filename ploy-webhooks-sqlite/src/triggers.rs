//! What runs carry out, each text once in the tables: many runs share few of them, and one that
//! is made of rules is longer than all else that a run writes.
//!
//! A text that was looked up stays there until the writer is told to forget its number (see
//! `unnamed.rs`), so numbers may be remembered until then, as long as nothing is undone.

use std::collections::HashMap;

use ploy_webhooks::Trigger;
use ploy_webhooks::store::StoreError;
use rusqlite::{CachedStatement, Connection, OptionalExtension, params};

use crate::error::{corrupt, store_error};
use crate::unnamed::UNMARK;

/// So many bytes of text are remembered; past it, all are looked up again.
const KNOWN_BYTES_MAX: usize = 1 << 20;

/// The numbers of texts, for who writes runs.
#[derive(Debug, Default)]
pub(crate) struct TriggerNumbers {
    known: HashMap<Vec<u8>, i64>,
    known_bytes: usize,
    /// The one that was asked for before, which is mostly the one that is asked for next.
    last: Option<(Trigger, i64)>,
    text: Vec<u8>,
}

impl TriggerNumbers {
    /// The number of that trigger's text, which is written where it is not there.
    ///
    /// If that is undone, nothing may be asked of this any more.
    pub(crate) fn of(
        &mut self,
        connection: &Connection,
        trigger: &Trigger,
    ) -> rusqlite::Result<i64> {
        if let Some((last, number)) = &self.last
            && last == trigger
        {
            return Ok(*number);
        }
        let number = self.of_text(connection, trigger)?;
        self.last = Some((trigger.clone(), number));
        Ok(number)
    }

    fn of_text(&mut self, connection: &Connection, trigger: &Trigger) -> rusqlite::Result<i64> {
        self.text.clear();
        serde_json::to_writer(&mut self.text, trigger)
            .map_err(|error| rusqlite::Error::ToSqlConversionFailure(error.into()))?;
        if let Some(number) = self.known.get(&self.text) {
            return Ok(*number);
        }
        let number = look_up_or_write(connection, str::from_utf8(&self.text)?)?;
        if self.known_bytes + self.text.len() > KNOWN_BYTES_MAX {
            self.known.clear();
            self.known_bytes = 0;
        }
        self.known_bytes += self.text.len();
        self.known.insert(self.text.clone(), number);
        Ok(number)
    }
}

fn look_up_or_write(connection: &Connection, text: &str) -> rusqlite::Result<i64> {
    let mut select = connection
        .prepare_cached("-- trigger_number()\n SELECT number FROM triggers WHERE text = ?1")?;
    let number: Option<i64> = select.query_row(params![text], |row| row.get(0)).optional()?;
    if let Some(number) = number {
        connection.prepare_cached(UNMARK)?.execute(params![number])?;
        return Ok(number);
    }
    let mut insert = connection
        .prepare_cached("-- trigger_number()\n INSERT INTO triggers (text) VALUES (?1)")?;
    insert.insert(params![text])
}

/// The triggers of numbers, for who reads runs: each is read once.
pub(crate) struct TriggersRead<'connection> {
    select: CachedStatement<'connection>,
    known: HashMap<i64, Trigger>,
}

impl<'connection> TriggersRead<'connection> {
    pub(crate) fn new(connection: &'connection Connection) -> rusqlite::Result<Self> {
        let select = connection
            .prepare_cached("-- trigger()\n SELECT text FROM triggers WHERE number = ?1")?;
        Ok(Self { select, known: HashMap::new() })
    }

    pub(crate) fn get(&mut self, number: i64) -> Result<Trigger, StoreError> {
        if let Some(trigger) = self.known.get(&number) {
            return Ok(trigger.clone());
        }
        let text: Option<String> = self
            .select
            .query_row(params![number], |row| row.get(0))
            .optional()
            .map_err(|error| store_error("cannot read a trigger", error))?;
        let text = text.ok_or_else(|| corrupt("triggers", "number", number))?;
        let trigger: Trigger = serde_json::from_str(&text)
            .map_err(|error| corrupt("triggers", "text", number).because(error))?;
        self.known.insert(number, trigger.clone());
        Ok(trigger)
    }
}
