//! The writers: group commit.
//!
//! A writer takes whatever waits, writes it by one call in one transaction, and answers
//! everybody when it is flushed. Fence, deduplication and runs are part of that call: see the
//! function `append` in `migrations/`. There is no timer: while one batch is flushed, the next
//! one gathers.

use std::future::pending;
use std::sync::{Arc, Mutex, MutexGuard};

use ploy_webhooks::EventId;
use ploy_webhooks::store::{Appended, StoreError, StoreErrorKind};
use sqlx::Connection;
use sqlx::postgres::{PgConnection, PgPool};
use tokio::sync::Notify;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use crate::batch::{self, Verdict};
use crate::database::Backend;
use crate::enter::PutDown;
use crate::error::{is_rolled_back, timed_out, write_error};
use crate::generations::Generations;
use crate::queue::{Queue, Waiting};
use crate::settings::{PostgresSettings, SearchIndex};
use crate::tail::{Stored, Tail, least};
use crate::{database, index, relay, stream};

/// The tails of the streams that this node writes.
#[derive(Clone, Debug, Default)]
pub(crate) struct Tails(Arc<Mutex<Vec<Arc<Tail>>>>);

impl Tails {
    pub(crate) fn lock(&self) -> MutexGuard<'_, Vec<Arc<Tail>>> {
        self.0.lock().expect("no holder of the lock panics")
    }
}

/// What all writers of a node share.
#[derive(Clone, Debug)]
pub(crate) struct Shared {
    pub(crate) settings: Arc<PostgresSettings>,
    pub(crate) queue: Arc<Queue>,
    pub(crate) pool: PgPool,
    pub(crate) tails: Tails,
    /// Wakes who waits for runs.
    pub(crate) runs_due: Arc<Notify>,
    /// Wakes who follows the feed, after each commit of this node.
    pub(crate) fed: Arc<Notify>,
    pub(crate) put_down: Arc<PutDown>,
    /// Wakes the relay.
    pub(crate) outbox_filled: Arc<Notify>,
    pub(crate) generations: Arc<Generations>,
}

/// One writer.
#[derive(Debug)]
pub(crate) struct Writer {
    shared: Shared,
    /// `None` after a failure, until a batch asks for another.
    session: Option<Session>,
}

/// A connection with the stream that it holds.
#[derive(Debug)]
struct Session {
    connection: PgConnection,
    tail: Arc<Tail>,
    tails: Tails,
    /// What the tables say of the tail.
    told: Option<EventId>,
    backend: Backend,
    indexer: Option<JoinHandle<()>>,
    runs_due: Arc<Notify>,
    fed: Arc<Notify>,
    put_down: Arc<PutDown>,
    generations: Arc<Generations>,
}

impl Writer {
    /// A writer with a session, so that what is wrong is known at once.
    pub(crate) async fn open(shared: Shared) -> Result<Self, StoreError> {
        let session = Some(Session::begin(&shared).await?);
        Ok(Self { shared, session })
    }

    /// Writes until the queue is closed and empty, and then seals what it wrote.
    pub(crate) async fn run(mut self) {
        let _closing = self.shared.queue.close_after_the_last();
        loop {
            let batch = tokio::select! {
                biased;
                batch = self.shared.queue.next() => batch,
                () = shortened(self.session.as_ref()) => {
                    self.tell().await;
                    continue;
                }
            };
            match batch {
                Some(batch) => {
                    self.write(batch).await;
                    // Those who were answered get to add to the next batch: on a busy runtime
                    // that makes one commit of what would have been several, and on an idle one
                    // it costs nothing.
                    tokio::task::yield_now().await;
                }
                None => break,
            }
        }
        if let Some(session) = self.session {
            session.close(&self.shared.settings).await;
        }
    }

    /// Writes a batch, and after it each event that owes a run of another one by itself: it is
    /// refused unless that was not stored.
    async fn write(&mut self, batch: Vec<Waiting>) {
        let (batch, doubtful) = self.shared.put_down.split(batch, |waiting| &waiting.event);
        if !batch.is_empty() {
            // Whoever waits has been told how it went.
            let _ = self.write_all(batch).await;
        }
        for waiting in doubtful {
            if self.shared.put_down.knows(&waiting.event) {
                let message = "a run with that id is stored already";
                waiting.answer(Err(StoreError::new(StoreErrorKind::Misuse, message)));
            } else {
                let _ = self.write_all(vec![waiting]).await;
            }
        }
    }

    /// Writes a batch, and what it leaves for the next one. Where that fails it has answered so.
    async fn write_all(&mut self, mut batch: Vec<Waiting>) -> Result<(), StoreError> {
        while !batch.is_empty() {
            let before = batch.len();
            batch = self.write_once(batch).await?;
            if batch.len() >= before {
                // The one writer would be at it for good, and everybody behind it would wait.
                let message = "events are left by a batch that says of none what becomes of it";
                let error = StoreError::new(StoreErrorKind::Corrupt, message);
                answer_all(batch, &error);
                return Err(error);
            }
        }
        Ok(())
    }

    /// Writes a batch, and returns what the next one is to say of.
    async fn write_once(&mut self, batch: Vec<Waiting>) -> Result<Vec<Waiting>, StoreError> {
        let session = match &mut self.session {
            Some(session) => session,
            none => match Session::begin(&self.shared).await {
                Ok(session) => none.insert(session),
                Err(error) => return Err(answered(batch, error)),
            },
        };
        let limit = self.shared.settings.append_timeout;
        match session.write(batch, limit).await {
            Ok(left) => Ok(left),
            Err((batch, error)) if error.kind() == StoreErrorKind::Misuse && batch.len() > 1 => {
                // One event is at fault, and the others are not: each is written by itself.
                self.write_singly(batch).await.map(|()| Vec::new())
            }
            Err((batch, error)) => {
                if error.kind() != StoreErrorKind::Misuse && !is_rolled_back(&error) {
                    self.end_session();
                }
                Err(answered(batch, error))
            }
        }
    }

    /// No row of the outbox is stored before one that was taken with it and may yet be: where that
    /// failed otherwise than by itself, those behind it are told the same.
    async fn write_singly(&mut self, batch: Vec<Waiting>) -> Result<(), StoreError> {
        let mut batch = batch.into_iter();
        while let Some(waiting) = batch.next() {
            let in_order = waiting.outbox_row.is_some();
            let written = Box::pin(self.write_all(vec![waiting])).await;
            match written {
                Err(error) if in_order && error.kind() != StoreErrorKind::Misuse => {
                    return Err(answered(batch.collect(), error));
                }
                // It has been answered, and says nothing of the others.
                Ok(()) | Err(_) => {}
            }
        }
        Ok(())
    }

    /// Tells other nodes that there is less to read. What fails here fails at the next batch.
    async fn tell(&mut self) {
        let limit = self.shared.settings.append_timeout;
        if let Some(session) = &mut self.session
            && session.tell(limit).await.is_err()
        {
            self.end_session();
        }
    }

    /// The server may be amid a commit that does not end, as where a standby does not answer. It
    /// would go on to hold a connection, the stream and its locks.
    fn end_session(&mut self) {
        if let Some(Session { backend, .. }) = &self.session {
            let (backend, pool) = (backend.clone(), self.shared.pool.clone());
            let limit = self.shared.settings.append_timeout;
            tokio::spawn(async move { backend.end(&pool, limit).await });
        }
        self.session = None;
    }
}

async fn shortened(session: Option<&Session>) {
    match session {
        Some(session) => session.tail.shortened.notified().await,
        None => pending().await,
    }
}

/// The error, which the batch has been answered.
fn answered(batch: Vec<Waiting>, error: StoreError) -> StoreError {
    answer_all(batch, &error);
    error
}

fn answer_all(batch: Vec<Waiting>, error: &StoreError) {
    for waiting in batch {
        waiting.answer(Err(StoreError::new(error.kind(), error.to_string())));
    }
}

/// What came of a batch.
enum Written {
    /// It is written: what becomes of each event.
    Whole(Vec<Verdict>),
    /// It is not, since these are not all of the rows of the outbox that it is made of.
    Not { there: Vec<i64> },
}

/// Answers those whose rows of the outbox are gone, and returns the others.
fn leave_out_gone(batch: Vec<Waiting>, there: &[i64]) -> Vec<Waiting> {
    let is_left =
        |waiting: &Waiting| waiting.outbox_row.is_none_or(|row| there.contains(&row.number));
    let (left, gone) = batch.into_iter().partition::<Vec<_>, _>(is_left);
    for waiting in gone {
        let stored_before = waiting.event.id;
        waiting.answer(Ok(Appended::Duplicate(stored_before)));
    }
    left
}

impl Session {
    async fn begin(shared: &Shared) -> Result<Self, StoreError> {
        let Shared { settings, pool, tails, .. } = shared;
        let mut connection = database::connect_writer(settings).await?;
        let what = "cannot begin to write";
        let begun = timeout(settings.append_timeout, async {
            database::check(&mut connection, settings.durability).await?;
            let backend = Backend::of(&mut connection).await?;
            Ok((stream::take(&mut connection).await?, backend))
        });
        let (held, backend) = begun.await.unwrap_or_else(|_| {
            Err(timed_out(StoreErrorKind::Unavailable, what, settings.append_timeout))
        })?;
        let (tail, told) = (Tail::new(held), held.left_from);
        tails.lock().push(tail.clone());
        let indexer = match settings.search_index {
            SearchIndex::Kept => {
                let run = index::run(tail.clone(), pool.clone(), settings.call_timeout);
                Some(tokio::spawn(run))
            }
            SearchIndex::Absent => None,
        };
        Ok(Self {
            connection,
            tail,
            tails: tails.clone(),
            told,
            backend,
            indexer,
            runs_due: shared.runs_due.clone(),
            fed: shared.fed.clone(),
            put_down: shared.put_down.clone(),
            generations: shared.generations.clone(),
        })
    }

    /// Writes a batch, and answers for it if it was written, but for those that it returns: what
    /// becomes of them is said by the next batch. Otherwise none of it was, or nobody knows, as the
    /// error says.
    async fn write(
        &mut self,
        batch: Vec<Waiting>,
        limit: std::time::Duration,
    ) -> Result<Vec<Waiting>, (Vec<Waiting>, StoreError)> {
        let least_id = batch.iter().map(|waiting| waiting.event.id).min();
        let from = least([self.tail.from(), least_id]);
        let news = from.filter(|_| from != self.told);
        let what = "cannot tell whether events were stored";
        let verdicts = match timeout(limit, self.append(news, &batch)).await {
            Ok(Ok(Written::Whole(verdicts))) => verdicts,
            Ok(Ok(Written::Not { there })) => return Ok(leave_out_gone(batch, &there)),
            Ok(Err(error)) => return Err((batch, error)),
            Err(_) => {
                return Err((batch, timed_out(StoreErrorKind::Indeterminate, what, limit)));
            }
        };
        self.told = from;
        Ok(self.answer(batch, verdicts, least_id))
    }

    /// What is made of rows of the outbox is stored with their deletion; where one of them is gone,
    /// nothing is.
    async fn append(
        &mut self,
        tail_from: Option<EventId>,
        batch: &[Waiting],
    ) -> Result<Written, StoreError> {
        let Self { connection, generations, tail, .. } = self;
        let rows = batch.iter().filter_map(|waiting| Some(waiting.outbox_row?.number));
        let rows: Vec<i64> = rows.collect();
        if rows.is_empty() {
            let verdicts = batch::append(connection, generations, tail.stream, tail_from, batch);
            return verdicts.await.map(Written::Whole);
        }
        let failed = |error| write_error("cannot store events of the outbox", error);
        let mut transaction = connection.begin().await.map_err(failed)?;
        let there = relay::delete(&mut transaction, &rows).await?;
        if there.len() < rows.len() {
            transaction.rollback().await.map_err(failed)?;
            return Ok(Written::Not { there });
        }
        let verdicts =
            batch::append(&mut transaction, generations, tail.stream, tail_from, batch).await?;
        transaction.commit().await.map_err(failed)?;
        Ok(Written::Whole(verdicts))
    }

    /// Searches see the events before anybody is told, and all are told before any is indexed.
    fn answer(
        &self,
        batch: Vec<Waiting>,
        verdicts: Vec<Verdict>,
        least_id: Option<EventId>,
    ) -> Vec<Waiting> {
        if let Some(least_id) = least_id {
            self.tail.committed(least_id);
        }
        let mut stored = Vec::with_capacity(batch.len());
        let (mut owed, mut again) = (Vec::new(), Vec::new());
        for (waiting, verdict) in batch.into_iter().zip(verdicts) {
            match verdict {
                Verdict::Stored(endpoint) => {
                    owed.extend(waiting.event.owes.iter().map(|run| run.id));
                    stored.push(Stored { event: waiting.answer_stored(), endpoint });
                }
                Verdict::Duplicate(first) => waiting.answer(Ok(Appended::Duplicate(first))),
                Verdict::OverQuota { resets_in } => {
                    waiting.answer(Ok(Appended::OverQuota { resets_in }));
                }
                Verdict::Fenced => waiting.answer_fenced(),
                Verdict::Again => again.push(waiting),
            }
        }
        self.fed.notify_waiters();
        match self.indexer {
            Some(_) => self.tail.feed(stored),
            None => self.tail.leave(),
        }
        if !owed.is_empty() {
            self.put_down.add(owed.into_iter());
            self.runs_due.notify_waiters();
        }
        again
    }

    async fn tell(&mut self, limit: std::time::Duration) -> Result<(), StoreError> {
        let from = self.tail.from();
        if from == self.told {
            return Ok(());
        }
        let told = stream::set_tail_from(&mut self.connection, self.tail.stream, from);
        let what = "cannot shorten the tail of a stream";
        timeout(limit, told)
            .await
            .unwrap_or_else(|_| Err(timed_out(StoreErrorKind::Unavailable, what, limit)))?;
        self.told = from;
        Ok(())
    }

    /// Seals what is left, so that nobody has to read it directly. What fails is made up for by
    /// whoever takes the stream next.
    async fn close(mut self, settings: &PostgresSettings) {
        self.tail.close();
        if let Some(indexer) = self.indexer.take() {
            let _ = timeout(settings.call_timeout, indexer).await;
            let _ = self.tell(settings.append_timeout).await;
        }
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        self.tail.abandon();
        self.tails.lock().retain(|tail| !Arc::ptr_eq(tail, &self.tail));
    }
}
