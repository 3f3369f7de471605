//! What is remembered of deduplication keys.
//!
//! A table with a row a key would have every commit change as many pages as it has keys, each in
//! another place. So keys are written in the order of their commits, and put in order later,
//! behind the writes:
//!
//! ```text
//! a commit's keys ──▶ dedup_log, one row         and in memory: the newest keys
//!                         │ so many, by a thread of its own (keeper.rs)
//!                         ▼
//!                     a segment: buckets by print, a page each; its filter in memory
//!                         │ eight of a size
//!                         ▼
//!                     a larger segment, without what has expired
//! ```
//!
//! A key is looked for among the newest, and then in the filters of the segments. A new one passes
//! one filter in a thousand by mistake, and only then a page is read for it; a repeat costs one or
//! two. Everything that decides is done by the writer, in the transaction of the event, so of any
//! number of simultaneous repeats one is stored. What the keeper does changes where a key is found
//! and not whether: a segment takes the place of what it was made of in one transaction. After a
//! crash the tables say what is there; at a start the log and the filters are read, and no bucket.
//!
//! Each key has an end of its own, which is looked at when it is found. A segment is dropped when
//! all in it have expired, without being read, and is written anew when half have.

use std::collections::HashMap;
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::time::Duration;

use ploy_webhooks::{EventId, Timestamp};
use rusqlite::{Connection, params};

mod carry;
mod entry;
mod expiries;
mod keeper;
mod merge;
mod segment;

pub(crate) use self::carry::carry_over;
pub(crate) use self::entry::{Entry, First, Print};
pub(crate) use self::keeper::{Bounds, Keeper};

use self::segment::{Outline, Segment};

/// The newest keys may become so many times as many as a segment takes, while the keeper is busy
/// or fails. Past it, events with keys are refused.
const NEWEST_TIMES_MAX: usize = 8;

/// Keys that are not in a segment yet.
#[derive(Debug, Default)]
pub(crate) struct Newest {
    firsts: HashMap<Print, First>,
    /// How many the log has: more, where keys have come again after their windows.
    logged: usize,
    /// The last of the rows of the log that they are in.
    last_seq: i64,
}

/// All that is remembered, as the writer sees it: nothing of it is known to anybody else before
/// it is committed.
#[derive(Debug)]
pub(crate) struct Keys {
    /// Those since the last were handed to the keeper.
    newest: Newest,
    /// Those that the keeper makes a segment of.
    handed: Option<Arc<Newest>>,
    segments: Vec<Arc<Segment>>,
    /// What is new in the batch that is being written, for its row in the log.
    batch: Vec<u8>,
    newest_max: usize,
    handover: Arc<Handover>,
}

/// What a step of the keeper changed in the tables.
#[derive(Debug, Default)]
pub(crate) struct Refiled {
    /// Keys of the log up to here are in a segment now.
    filed_to: Option<i64>,
    gone: Vec<i64>,
    come: Option<Arc<Segment>>,
}

impl Keys {
    /// What the tables say.
    pub(crate) fn load(
        connection: &Connection,
        newest_max: usize,
        handover: Arc<Handover>,
    ) -> rusqlite::Result<Self> {
        handover.withdraw();
        let mut newest = Newest::for_keys(newest_max);
        let mut select =
            connection.prepare("-- dedup()\n SELECT seq, keys FROM dedup_log ORDER BY seq")?;
        let mut rows = select.query([])?;
        while let Some(row) = rows.next()? {
            newest.last_seq = row.get(0)?;
            for entry in segment::entries(row.get_ref(1)?.as_blob()?)? {
                newest.insert(entry);
            }
        }
        let segments = Outline::read_all(connection)?
            .into_iter()
            .map(|outline| Ok(Arc::new(Segment::load(connection, outline)?)))
            .collect::<rusqlite::Result<_>>()?;
        Ok(Self { newest, handed: None, segments, batch: Vec::new(), newest_max, handover })
    }

    /// The event of which another with this key is a repeat.
    pub(crate) fn first_of(
        &self,
        connection: &Connection,
        print: Print,
        now: Timestamp,
    ) -> rusqlite::Result<Option<EventId>> {
        let newest = [Some(&self.newest), self.handed.as_deref()];
        for newest in newest.into_iter().flatten() {
            if let Some(first) = newest.firsts.get(&print)
                && first.is_live(now)
            {
                return Ok(Some(first.event));
            }
        }
        for segment in self.segments.iter().rev() {
            if let Some(first) = segment.first_of(connection, print, now)? {
                return Ok(Some(first));
            }
        }
        Ok(None)
    }

    /// Whether no more can be remembered for now: the keeper does not keep up.
    pub(crate) fn is_full(&self) -> bool {
        self.newest.logged >= NEWEST_TIMES_MAX * self.newest_max
    }

    /// Remembers a key within the batch. Where the batch comes to nothing, all is to be loaded
    /// again.
    pub(crate) fn remember(&mut self, entry: Entry) {
        entry.write_to(&mut self.batch);
        self.newest.insert(entry);
    }

    /// Writes down what the batch has remembered, under the place of its last event.
    pub(crate) fn write(&mut self, connection: &Connection, last_seq: i64) -> rusqlite::Result<()> {
        if self.batch.is_empty() {
            return Ok(());
        }
        let mut insert = connection
            .prepare_cached("-- append()\n INSERT INTO dedup_log (seq, keys) VALUES (?1, ?2)")?;
        insert.execute(params![last_seq, self.batch])?;
        self.newest.last_seq = last_seq;
        self.batch.clear();
        Ok(())
    }

    /// Hands what has gathered to the keeper, when it is as much as a segment takes. All of it is
    /// committed.
    pub(crate) fn hand_over(&mut self) {
        if self.handed.is_none() && self.newest.logged >= self.newest_max {
            let newest = std::mem::replace(&mut self.newest, Newest::for_keys(self.newest_max));
            let newest = Arc::new(newest);
            self.handed = Some(newest.clone());
            self.handover.offer(newest);
        }
    }

    /// Follows what the keeper has changed in the tables.
    pub(crate) fn follow(&mut self, Refiled { filed_to, gone, come }: Refiled) {
        self.segments.retain(|segment| !gone.contains(&segment.outline.number));
        self.segments.extend(come);
        if filed_to.is_some() && self.handed.as_ref().map(|handed| handed.last_seq) == filed_to {
            self.handed = None;
            self.hand_over();
        }
    }
}

impl Newest {
    fn for_keys(count: usize) -> Self {
        Self { firsts: HashMap::with_capacity(count), logged: 0, last_seq: 0 }
    }

    fn insert(&mut self, Entry { print, first }: Entry) {
        self.firsts.insert(print, first);
        self.logged += 1;
    }

    /// Those that have not expired, in the order of their prints.
    fn live(&self, now: Timestamp) -> Vec<Entry> {
        let live = self.firsts.iter().filter(|(_, first)| first.is_live(now));
        let mut live: Vec<_> =
            live.map(|(print, first)| Entry { print: *print, first: *first }).collect();
        live.sort_unstable_by_key(|entry| entry.print);
        live
    }
}

/// Where the writer leaves keys for the keeper.
#[derive(Debug, Default)]
pub(crate) struct Handover {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    offered: Option<Arc<Newest>>,
    closed: bool,
}

impl Handover {
    fn offer(&self, newest: Arc<Newest>) {
        self.state().offered = Some(newest);
        self.changed.notify_one();
    }

    fn withdraw(&self) {
        self.state().offered = None;
    }

    /// Takes away what has been filed up to there, if nothing newer was offered meanwhile.
    fn withdraw_filed(&self, filed_to: i64) {
        self.state().offered.take_if(|newest| newest.last_seq == filed_to);
    }

    fn offered(&self) -> Option<Arc<Newest>> {
        self.state().offered.clone()
    }

    pub(crate) fn close(&self) {
        self.state().closed = true;
        self.changed.notify_one();
    }

    fn is_closed(&self) -> bool {
        self.state().closed
    }

    /// Waits for so long, or until keys are offered, or the store is closed.
    fn wait_for_keys(&self, at_most: Duration) {
        let idle = |state: &mut State| state.offered.is_none() && !state.closed;
        drop(self.changed.wait_timeout_while(self.state(), at_most, idle));
    }

    /// Waits for so long, or until the store is closed.
    fn wait_for_close(&self, at_most: Duration) {
        drop(self.changed.wait_timeout_while(self.state(), at_most, |state| !state.closed));
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no holder of the lock panics")
    }
}
