//! The one writer: group commit.
//!
//! It takes whatever waits, writes it in one transaction, flushes once and answers everybody.
//! Fence and deduplication are decided inside that transaction, by the one thread that also
//! changes endpoints: so a change that has returned is before every later commit, and nothing
//! has to be locked for it.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use ploy_webhooks::store::{Appended, StoreError, StoreErrorKind};
use ploy_webhooks::{Clock, EndpointId, EventId, NewEvent, Revision, Timestamp, WorkspaceId};
use rusqlite::{CachedStatement, Connection, Transaction, TransactionBehavior, params};

use crate::checkpoint::{self, LogGrowth};
use crate::database;
use crate::dedup::{Entry, First, Handover, Keys, Print};
use crate::error::{commit_kind, kind, store_error};
use crate::lane::OriginKey;
use crate::line::Line;
use crate::owed::{self, Arrivals};
use crate::progress::{Progress, Written};
use crate::queue::{Queue, Waiting, Work};
use crate::quotas::Quotas;
use crate::settings::SqliteSettings;
use crate::task::{Change, Known, Task, TaskEnd};
use crate::triggers::TriggerNumbers;

/// The writer's thread, from its start to the close of the queue.
pub(crate) struct Writer {
    settings: SqliteSettings,
    shared: Shared,
    /// `None` after a failure, until the database can be opened again.
    session: Option<Session>,
    /// The greatest place that was ever given to an event. What is indexed may be deleted, and a
    /// place that came again would be taken for indexed.
    last_seq: i64,
    /// Whether something has failed so that nobody can say what of the log is on the disk.
    log_is_suspect: bool,
}

/// What the writer shares with those who give it work, and with those who work behind it.
pub(crate) struct Shared {
    pub(crate) queue: Arc<Queue>,
    pub(crate) progress: Arc<Progress>,
    pub(crate) log_growth: Arc<LogGrowth>,
    pub(crate) line: Arc<Line>,
    pub(crate) handover: Arc<Handover>,
    pub(crate) clock: Arc<dyn Clock>,
}

/// A connection, and what holds as long as it alone writes.
struct Session {
    connection: Connection,
    endpoints: HashMap<EndpointId, Known>,
    triggers: TriggerNumbers,
    keys: Keys,
    quotas: Quotas,
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
    /// A writer with that connection.
    pub(crate) fn new(
        settings: SqliteSettings,
        connection: Connection,
        shared: Shared,
    ) -> Result<Self, StoreError> {
        let keys = load_keys(&connection, &settings, &shared.handover)?;
        let session = Session::begin(connection, keys, 0)?;
        let last_seq = session.last_seq;
        Ok(Self { settings, shared, session: Some(session), last_seq, log_is_suspect: false })
    }

    /// Writes until the queue is closed and empty, then puts the log into the database.
    pub(crate) fn run(mut self) {
        let _closing = self.shared.queue.close_at_the_end();
        loop {
            // Whoever is about to add to the next batch gets to do so: on a busy core that makes
            // one commit of what would have been two, and on an idle one it costs nothing.
            std::thread::yield_now();
            match self.shared.queue.next() {
                Work::Tasks(tasks) => tasks.into_iter().for_each(|task| self.carry_out(task)),
                Work::Batch(batch) => self.write(batch),
                Work::End => break,
            }
        }
        if let Some(session) = self.session.filter(|_| !self.shared.log_growth.is_stopped()) {
            // What is in the log is durable already; this only leaves a single file behind.
            let _ = checkpoint::truncate(&session.connection);
        }
    }

    fn carry_out(&mut self, task: Task) {
        self.shared.log_growth.add(task.log_bytes);
        let (connection, known) = match self.session() {
            Ok(Session { connection, endpoints, triggers, quotas, keys, .. }) => {
                (Ok(connection), Some((endpoints, triggers, quotas, keys)))
            }
            Err(error) => (Err(error), None),
        };
        match ((task.work)(connection), known) {
            (TaskEnd::Done(Some(Change::Set(id, known))), Some((endpoints, ..))) => {
                endpoints.insert(id, known);
            }
            (TaskEnd::Done(Some(Change::Removed(id))), Some((endpoints, _, quotas, _))) => {
                if let Some(known) = endpoints.remove(&id) {
                    quotas.forget(known.number);
                }
            }
            (TaskEnd::Done(Some(Change::TriggersMarked)), Some((_, triggers, ..))) => {
                *triggers = TriggerNumbers::default();
            }
            (TaskEnd::Done(Some(Change::KeysRefiled(refiled))), Some((.., keys))) => {
                keys.follow(refiled);
            }
            (TaskEnd::Done(_), _) => {}
            (TaskEnd::Failed(kind), _) => self.end_session(kind),
        }
    }

    fn write(&mut self, batch: Vec<Waiting>) {
        // Nothing is kept for a caller that has gone: it was told nothing, or a time-out.
        let batch: Vec<_> =
            batch.into_iter().filter(|waiting| !waiting.answer.is_closed()).collect();
        let now = self.shared.clock.now();
        let written = match self.session() {
            Ok(session) => session.write(&batch, now),
            Err(error) => Err(BatchFailure { kind: error.kind(), message: error.to_string() }),
        };
        match written {
            Ok(verdicts) => {
                let outcomes = batch.into_iter().zip(verdicts);
                // All are answered before any is indexed.
                let written: Vec<_> = outcomes
                    .filter_map(|(waiting, verdict)| waiting.answer_with(verdict))
                    .collect();
                self.shared.line.fed.notify_waiters();
                self.last_seq = written.last().map_or(self.last_seq, |written| written.seq);
                if written.iter().any(|written| !written.event.owes.is_empty()) {
                    self.shared.line.owed.notify_waiters();
                }
                self.shared.log_growth.add(written.iter().map(Written::log_bytes).sum());
                self.shared.progress.committed(written);
            }
            Err(failure) => {
                self.end_session(failure.kind);
                if failure.kind == StoreErrorKind::Refused {
                    // There may be space in the log, once it is moved.
                    self.shared.log_growth.make_due();
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
                if self.shared.log_growth.is_stopped() {
                    return Err(StoreError::new(
                        StoreErrorKind::Unavailable,
                        "neither the log nor the database could be flushed to the disk: mend \
                         the disk and start again",
                    ));
                }
                checkpoint::truncate(&connection)?;
                self.log_is_suspect = false;
            }
            let keys = load_keys(&connection, &self.settings, &self.shared.handover)?;
            self.session = Some(Session::begin(connection, keys, self.last_seq)?);
        }
        Ok(self.session.as_mut().expect("it was opened just now"))
    }
}

/// What becomes of one event of a batch.
enum Verdict {
    /// It is stored, at this place.
    Stored(i64),
    Duplicate(EventId),
    OverQuota {
        resets_in: Option<Duration>,
    },
    Fenced,
    Refused(StoreError),
}

impl Waiting {
    /// Answers the caller. A stored event is handed on to what works behind the writer.
    fn answer_with(self, verdict: Verdict) -> Option<Written> {
        let Self { event, answer, .. } = self;
        let (outcome, written) = match verdict {
            Verdict::Stored(seq) => (Ok(Appended::Stored), Some(Written { seq, event })),
            Verdict::Duplicate(first) => (Ok(Appended::Duplicate(first)), None),
            Verdict::OverQuota { resets_in } => (Ok(Appended::OverQuota { resets_in }), None),
            Verdict::Fenced => (Ok(Appended::Fenced(Box::new(event))), None),
            Verdict::Refused(error) => (Err(error), None),
        };
        // A caller that has gone meanwhile is not missed: the event is stored.
        let _ = answer.send(outcome);
        written
    }
}

impl Session {
    fn begin(connection: Connection, keys: Keys, last_seq: i64) -> Result<Self, StoreError> {
        let failed = |error| store_error("cannot read the endpoints", error);
        let (endpoints, kept_seq) = read_state(&connection).map_err(failed)?;
        let owed = owed::count(&connection).map_err(failed)?;
        let quotas = Quotas::load(&connection).map_err(failed)?;
        let (triggers, last_seq) = (TriggerNumbers::default(), last_seq.max(kept_seq));
        Ok(Self { connection, endpoints, triggers, keys, quotas, last_seq, owed })
    }

    /// Writes a batch: all of what it lets in, or nothing.
    fn write(&mut self, batch: &[Waiting], now: Timestamp) -> Result<Vec<Verdict>, BatchFailure> {
        let Self { connection, endpoints, triggers, keys, quotas, last_seq, owed } = self;
        let transaction = connection
            .transaction_with_behavior(TransactionBehavior::Immediate)
            .map_err(BatchFailure::before_commit)?;
        let mut writing = Writing {
            transaction: &transaction,
            endpoints,
            insert_event: insert_event(&transaction).map_err(BatchFailure::before_commit)?,
            arrivals: Arrivals::begin(&transaction, triggers)
                .map_err(BatchFailure::before_commit)?,
            keys,
            quotas,
            last_seq: *last_seq,
            now,
        };
        let verdicts: rusqlite::Result<Vec<_>> =
            batch.iter().map(|waiting| writing.write(&waiting.event, waiting.print)).collect();
        let verdicts = verdicts.map_err(BatchFailure::before_commit)?;
        let written_to = writing.last_seq;
        let arrived = writing.arrivals.count;
        drop(writing);
        keys.write(&transaction, written_to).map_err(BatchFailure::before_commit)?;
        quotas.write(&transaction).map_err(BatchFailure::before_commit)?;
        *owed += arrived;
        if *owed >= owed::OWED_MAX {
            owed::file(&transaction).map_err(BatchFailure::before_commit)?;
            *owed = 0;
        }
        transaction.commit().map_err(BatchFailure::at_commit)?;
        *last_seq = written_to;
        keys.hand_over();
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
    // be taken for indexed. So does what stands in the log of keys, and what was ever told.
    let last_seq = connection.query_row(
        "SELECT max(coalesce((SELECT max(seq) FROM events), 0),
                    coalesce((SELECT max(last_seq) FROM segments), 0),
                    coalesce((SELECT max(seq) FROM dedup_log), 0),
                    (SELECT seq FROM forgotten))",
        [],
        |row| row.get(0),
    )?;
    Ok((endpoints, last_seq))
}

fn load_keys(
    connection: &Connection,
    settings: &SqliteSettings,
    handover: &Arc<Handover>,
) -> Result<Keys, StoreError> {
    Keys::load(connection, settings.dedup_newest.get(), handover.clone())
        .map_err(|error| store_error("cannot read the deduplication keys", error))
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
    keys: &'batch mut Keys,
    quotas: &'batch mut Quotas,
    last_seq: i64,
    now: Timestamp,
}

fn insert_event<'batch>(
    transaction: &'batch Transaction<'batch>,
) -> rusqlite::Result<CachedStatement<'batch>> {
    transaction.prepare_cached(
        "-- append()
         INSERT INTO events (seq, id, endpoint, workspace, type, source, headers, payload)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
    )
}

impl Writing<'_> {
    /// Writes one event, or says why it is not written. An error is the whole batch's.
    fn write(&mut self, event: &NewEvent, print: Option<Print>) -> rusqlite::Result<Verdict> {
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
        if let Some(print) = print {
            if let Some(first) = self.keys.first_of(self.transaction, print, self.now)? {
                return Ok(Verdict::Duplicate(first));
            }
            if self.keys.is_full() {
                return Ok(Verdict::Refused(StoreError::new(
                    StoreErrorKind::Unavailable,
                    "too many deduplication keys wait to be put in order: is the disk full, or too \
                     slow, or the file damaged?",
                )));
            }
        }
        let counted = event.quota.zip(endpoint);
        if let Some((quota, endpoint)) = counted
            && self.quotas.is_used_up(endpoint, quota, self.now)
        {
            return Ok(Verdict::OverQuota { resets_in: quota.resets_in(self.now) });
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
        let origin = endpoint.map_or(OriginKey::Workspace(event.workspace), OriginKey::Endpoint);
        self.arrivals.write(&event.owes, seq, origin, self.now)?;
        if let (Some(print), Some(dedup)) = (print, event.dedup) {
            let expires_at = self.now.after(dedup.window);
            self.keys.remember(Entry { print, first: First { event: event.id, expires_at } });
        }
        if let Some((quota, endpoint)) = counted {
            self.quotas.count(endpoint, quota, self.now);
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
