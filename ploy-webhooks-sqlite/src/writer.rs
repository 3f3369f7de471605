//! The one writer: group commit.
//!
//! It takes whatever waits, writes it in one transaction, flushes once and answers everybody.
//! Fence and deduplication are decided inside that transaction, by the one thread that also
//! changes endpoints: so a change that has returned is before every later commit, and nothing
//! has to be locked for it.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use ploy_webhooks::store::{Appended, StoreError, StoreErrorKind};
use ploy_webhooks::{
    Clock, Dedup, EndpointId, EventId, NewEvent, Revision, SystemClock, Timestamp, WorkspaceId,
};
use rusqlite::{
    CachedStatement, Connection, OptionalExtension, Transaction, TransactionBehavior, params,
};

use crate::checkpoint::{self, LogGrowth};
use crate::database;
use crate::error::{commit_kind, kind, store_error};
use crate::lane::LaneKey;
use crate::line::Line;
use crate::owed::{self, Arrivals};
use crate::progress::{Progress, Written};
use crate::queue::{Queue, Waiting, Work};
use crate::settings::SqliteSettings;
use crate::task::{Change, Known, Task, TaskEnd};
use crate::triggers::TriggerNumbers;

/// The writer's thread, from its start to the close of the queue.
pub(crate) struct Writer {
    settings: SqliteSettings,
    queue: Arc<Queue>,
    progress: Arc<Progress>,
    log_growth: Arc<LogGrowth>,
    line: Arc<Line>,
    /// `None` after a failure, until the database can be opened again.
    session: Option<Session>,
    /// The greatest place that was ever given to an event. What is indexed may be deleted, and a
    /// place that came again would be taken for indexed.
    last_seq: i64,
    /// Whether something has failed so that nobody can say what of the log is on the disk.
    log_is_suspect: bool,
}

/// A connection, and what holds as long as it alone writes.
struct Session {
    connection: Connection,
    endpoints: HashMap<EndpointId, Known>,
    triggers: TriggerNumbers,
    last_seq: i64,
    /// How many runs have arrived since the last were filed. Tasks file them too, and do not say
    /// so: it may be fewer.
    owed: usize,
}

/// Why a whole batch was not written.
struct BatchFailure {
    kind: StoreErrorKind,
    message: String,
}

impl Writer {
    pub(crate) fn new(
        settings: SqliteSettings,
        connection: Connection,
        queue: Arc<Queue>,
        progress: Arc<Progress>,
        log_growth: Arc<LogGrowth>,
        line: Arc<Line>,
    ) -> Result<Self, StoreError> {
        let session = Session::begin(connection, 0)?;
        let last_seq = session.last_seq;
        let session = Some(session);
        let log_is_suspect = false;
        Ok(Self { settings, queue, progress, log_growth, line, session, last_seq, log_is_suspect })
    }

    /// Writes until the queue is closed and empty, then puts the log into the database.
    pub(crate) fn run(mut self) {
        let _closing = self.queue.close_at_the_end();
        loop {
            // Whoever is about to add to the next batch gets to do so: on a busy core that makes
            // one commit of what would have been two, and on an idle one it costs nothing.
            std::thread::yield_now();
            match self.queue.next() {
                Work::Tasks(tasks) => tasks.into_iter().for_each(|task| self.carry_out(task)),
                Work::Batch(batch) => self.write(batch),
                Work::End => break,
            }
        }
        if let Some(session) = self.session.filter(|_| !self.log_growth.is_stopped()) {
            // What is in the log is durable already; this only leaves a single file behind.
            let _ = checkpoint::truncate(&session.connection);
        }
    }

    fn carry_out(&mut self, task: Task) {
        self.log_growth.add(task.log_bytes);
        let (connection, known) = match self.session() {
            Ok(Session { connection, endpoints, triggers, .. }) => {
                (Ok(connection), Some((endpoints, triggers)))
            }
            Err(error) => (Err(error), None),
        };
        match ((task.work)(connection), known) {
            (TaskEnd::Done(Some(Change::Set(id, known))), Some((endpoints, _))) => {
                endpoints.insert(id, known);
            }
            (TaskEnd::Done(Some(Change::Removed(id))), Some((endpoints, _))) => {
                endpoints.remove(&id);
            }
            (TaskEnd::Done(Some(Change::TriggersMarked)), Some((_, triggers))) => {
                *triggers = TriggerNumbers::default();
            }
            (TaskEnd::Done(_), _) => {}
            (TaskEnd::Failed(kind), _) => self.end_session(kind),
        }
    }

    fn write(&mut self, batch: Vec<Waiting>) {
        // Nothing is kept for a caller that has gone: it was told nothing, or a time-out.
        let batch: Vec<_> =
            batch.into_iter().filter(|waiting| !waiting.answer.is_closed()).collect();
        let written = match self.session() {
            Ok(session) => session.write(&batch),
            Err(error) => Err(BatchFailure { kind: error.kind(), message: error.to_string() }),
        };
        match written {
            Ok(verdicts) => {
                let outcomes = batch.into_iter().zip(verdicts);
                // All are answered before any is indexed.
                let written: Vec<_> = outcomes
                    .filter_map(|(waiting, verdict)| waiting.answer_with(verdict))
                    .collect();
                self.last_seq = written.last().map_or(self.last_seq, |written| written.seq);
                if written.iter().any(|written| !written.event.owes.is_empty()) {
                    self.line.owed.notify_waiters();
                }
                self.log_growth.add(written.iter().map(Written::log_bytes).sum());
                self.progress.committed(written);
            }
            Err(failure) => {
                self.end_session(failure.kind);
                if failure.kind == StoreErrorKind::Refused {
                    // There may be space in the log, once it is moved.
                    self.log_growth.make_due();
                }
                for waiting in batch {
                    let error = StoreError::new(failure.kind, failure.message.clone());
                    let _ = waiting.answer.send(Err(error));
                }
            }
        }
    }

    fn end_session(&mut self, kind: StoreErrorKind) {
        self.session = None;
        self.log_is_suspect |= kind == StoreErrorKind::Indeterminate;
    }

    /// The session, opened again if it broke: when the cause has gone, so has the failure.
    fn session(&mut self) -> Result<&mut Session, StoreError> {
        if self.session.is_none() {
            let connection = database::open_writer(&self.settings)?;
            if self.log_is_suspect {
                // Nothing may be written behind frames that are perhaps not on the disk.
                if self.log_growth.is_stopped() {
                    return Err(StoreError::new(
                        StoreErrorKind::Unavailable,
                        "neither the log nor the database could be flushed to the disk: mend \
                         the disk and start again",
                    ));
                }
                checkpoint::truncate(&connection)?;
                self.log_is_suspect = false;
            }
            self.session = Some(Session::begin(connection, self.last_seq)?);
        }
        Ok(self.session.as_mut().expect("it was opened just now"))
    }
}

/// What becomes of one event of a batch.
enum Verdict {
    /// It is stored, at this place.
    Stored(i64),
    Duplicate(EventId),
    Fenced,
    Refused(StoreError),
}

impl Waiting {
    /// Answers the caller. A stored event is handed on to what works behind the writer.
    fn answer_with(self, verdict: Verdict) -> Option<Written> {
        let Self { event, answer } = self;
        let (outcome, written) = match verdict {
            Verdict::Stored(seq) => (Ok(Appended::Stored), Some(Written { seq, event })),
            Verdict::Duplicate(first) => (Ok(Appended::Duplicate(first)), None),
            Verdict::Fenced => (Ok(Appended::Fenced(Box::new(event))), None),
            Verdict::Refused(error) => (Err(error), None),
        };
        // A caller that has gone meanwhile is not missed: the event is stored.
        let _ = answer.send(outcome);
        written
    }
}

impl Session {
    fn begin(connection: Connection, last_seq: i64) -> Result<Self, StoreError> {
        let failed = |error| store_error("cannot read the endpoints", error);
        let (endpoints, kept_seq) = read_state(&connection).map_err(failed)?;
        let owed = owed::count(&connection).map_err(failed)?;
        let (triggers, last_seq) = (TriggerNumbers::default(), last_seq.max(kept_seq));
        Ok(Self { connection, endpoints, triggers, last_seq, owed })
    }

    /// Writes a batch: all of what it lets in, or nothing.
    fn write(&mut self, batch: &[Waiting]) -> Result<Vec<Verdict>, BatchFailure> {
        let Self { connection, endpoints, triggers, last_seq, owed } = self;
        let transaction = connection
            .transaction_with_behavior(TransactionBehavior::Immediate)
            .map_err(BatchFailure::before_commit)?;
        let mut writing = Writing::begin(&transaction, endpoints, triggers, *last_seq)
            .map_err(BatchFailure::before_commit)?;
        let verdicts: rusqlite::Result<Vec<_>> =
            batch.iter().map(|waiting| writing.write(&waiting.event)).collect();
        let verdicts = verdicts.map_err(BatchFailure::before_commit)?;
        let written_to = writing.last_seq;
        let arrived = writing.arrivals.count;
        writing.forget_expired().map_err(BatchFailure::before_commit)?;
        drop(writing);
        *owed += arrived;
        if *owed >= owed::OWED_MAX {
            owed::file(&transaction).map_err(BatchFailure::before_commit)?;
            *owed = 0;
        }
        transaction.commit().map_err(BatchFailure::at_commit)?;
        *last_seq = written_to;
        Ok(verdicts)
    }
}

fn read_state(connection: &Connection) -> rusqlite::Result<(HashMap<EndpointId, Known>, i64)> {
    let mut select = connection.prepare("SELECT id, number, workspace, revision FROM endpoints")?;
    let endpoints = select.query_map([], |row| {
        let known = Known {
            number: row.get(1)?,
            workspace: WorkspaceId::from_bytes(row.get(2)?),
            revision: Revision::new(row.get(3)?),
        };
        Ok((EndpointId::from_bytes(row.get(0)?), known))
    })?;
    let endpoints = endpoints.collect::<rusqlite::Result<_>>()?;
    // What is indexed stays counted although it may be deleted: a number that came again would
    // be taken for indexed.
    let last_seq = connection.query_row(
        "SELECT max(coalesce((SELECT max(seq) FROM events), 0),
                    coalesce((SELECT max(last_seq) FROM segments), 0))",
        [],
        |row| row.get(0),
    )?;
    Ok((endpoints, last_seq))
}

impl BatchFailure {
    fn before_commit(error: rusqlite::Error) -> Self {
        let kind = match kind(&error) {
            // No single event is at fault: those have a verdict of their own.
            StoreErrorKind::Misuse => StoreErrorKind::Unavailable,
            kind => kind,
        };
        Self { kind, message: format!("cannot write events: {error}") }
    }

    fn at_commit(error: rusqlite::Error) -> Self {
        Self { kind: commit_kind(&error), message: format!("cannot commit events: {error}") }
    }
}

/// A batch on its way into the tables.
struct Writing<'batch> {
    transaction: &'batch Transaction<'batch>,
    endpoints: &'batch HashMap<EndpointId, Known>,
    insert_event: CachedStatement<'batch>,
    arrivals: Arrivals<'batch>,
    last_seq: i64,
    now: Timestamp,
    keys_remembered: usize,
}

impl<'batch> Writing<'batch> {
    fn begin(
        transaction: &'batch Transaction<'batch>,
        endpoints: &'batch HashMap<EndpointId, Known>,
        triggers: &'batch mut TriggerNumbers,
        last_seq: i64,
    ) -> rusqlite::Result<Self> {
        let insert_event = transaction.prepare_cached(
            "-- append()
             INSERT INTO events (seq, id, endpoint, workspace, type, source, headers, payload)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
        )?;
        let arrivals = Arrivals::begin(transaction, triggers)?;
        let (now, keys_remembered) = (SystemClock.now(), 0);
        Ok(Self { transaction, endpoints, insert_event, arrivals, last_seq, now, keys_remembered })
    }

    /// Writes one event, or says why it is not written. An error is the whole batch's.
    fn write(&mut self, event: &NewEvent) -> rusqlite::Result<Verdict> {
        let endpoint = match event.fence {
            None => None,
            Some(fence) => match self.endpoints.get(&fence.endpoint) {
                Some(known)
                    if known.revision == fence.checked_at && known.workspace == event.workspace =>
                {
                    Some(known.number)
                }
                _ => return Ok(Verdict::Fenced),
            },
        };
        if let Some(dedup) = event.dedup
            && let Some(first) = self.first_of(endpoint, event.workspace, dedup)?
        {
            return Ok(Verdict::Duplicate(first));
        }
        // What can be refused of an event is refused before anything of it is written, so that
        // nothing has to be undone: a savepoint costs as much as the run that it is for.
        if let Some(refusal) = owed::refusal(&event.owes, &HashSet::new()) {
            return Ok(Verdict::Refused(refusal));
        }
        let seq = self.last_seq + 1;
        if let Err(error) = self.insert(event, endpoint, seq) {
            return of_this_event_alone(error);
        }
        let lane = endpoint.map_or(LaneKey::Workspace(event.workspace), LaneKey::Endpoint);
        self.arrivals.write(&event.owes, seq, lane, self.now)?;
        if let Some(dedup) = event.dedup {
            self.remember(endpoint, dedup, event)?;
        }
        self.last_seq = seq;
        Ok(Verdict::Stored(seq))
    }

    fn insert(
        &mut self,
        event: &NewEvent,
        endpoint: Option<i64>,
        seq: i64,
    ) -> rusqlite::Result<()> {
        self.insert_event.execute(params![
            seq,
            event.id.as_bytes(),
            endpoint,
            endpoint.is_none().then(|| event.workspace.as_bytes()),
            event.event_type.as_ref().map(|event_type| event_type.as_str()),
            event.source.map(crate::events::source_bytes),
            (!event.headers.is_empty()).then(|| event.headers.as_lines()),
            &event.payload[..],
        ])?;
        Ok(())
    }

    fn first_of(
        &self,
        endpoint: Option<i64>,
        workspace: WorkspaceId,
        dedup: Dedup,
    ) -> rusqlite::Result<Option<EventId>> {
        let mut select = self.transaction.prepare_cached(
            "-- append()
             SELECT event FROM dedup WHERE endpoint = ?1 AND key = ?2 AND expires_at > ?3",
        )?;
        let (endpoint, key) = dedup_key(endpoint, workspace, dedup);
        let values = params![endpoint, key, self.now.as_millis()];
        select.query_row(values, |row| row.get(0).map(EventId::from_bytes)).optional()
    }

    fn remember(
        &mut self,
        endpoint: Option<i64>,
        dedup: Dedup,
        first: &NewEvent,
    ) -> rusqlite::Result<()> {
        let mut insert = self.transaction.prepare_cached(
            "-- append()
             INSERT OR REPLACE INTO dedup (endpoint, key, event, expires_at)
             VALUES (?1, ?2, ?3, ?4)",
        )?;
        let (endpoint, key) = dedup_key(endpoint, first.workspace, dedup);
        insert.execute(params![
            endpoint,
            key,
            first.id.as_bytes(),
            self.now.after(dedup.window).as_millis(),
        ])?;
        self.keys_remembered += 1;
        Ok(())
    }

    /// Forgets up to two expired keys for each that was remembered, so that they become fewer
    /// with every batch, and no batch pays for all.
    fn forget_expired(&self) -> rusqlite::Result<()> {
        if self.keys_remembered == 0 {
            return Ok(());
        }
        let mut delete = self.transaction.prepare_cached(
            "-- append()
             DELETE FROM dedup WHERE (endpoint, key) IN
                 (SELECT endpoint, key FROM dedup WHERE expires_at <= ?1 LIMIT ?2)",
        )?;
        delete.execute(params![self.now.as_millis(), 2 * self.keys_remembered])?;
        Ok(())
    }
}

/// A key belongs to the endpoint that took the event, or to the workspace that published it.
fn dedup_key(endpoint: Option<i64>, workspace: WorkspaceId, dedup: Dedup) -> (i64, Vec<u8>) {
    let mut key = dedup.key.as_bytes().to_vec();
    if endpoint.is_none() {
        key.extend_from_slice(workspace.as_bytes());
    }
    (endpoint.unwrap_or(0), key)
}

/// Sorts what is wrong with one event from what is wrong with the database.
fn of_this_event_alone(error: rusqlite::Error) -> rusqlite::Result<Verdict> {
    match kind(&error) {
        StoreErrorKind::Misuse => {
            Ok(Verdict::Refused(store_error("cannot store the event", error)))
        }
        _ => Err(error),
    }
}
