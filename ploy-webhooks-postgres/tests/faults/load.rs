//! Senders that go on through a fault, and what must be there afterwards.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use ploy_webhooks::EventId;
use ploy_webhooks::store::{Appended, StoreErrorKind};
use ploy_webhooks_postgres::PostgresStore;
use sqlx::PgConnection;
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::scene::{append, everything, find, keyed, published, rows, soon};

const SENDERS: u64 = 32;
/// A sender that was refused does not come back at once.
const PAUSE: Duration = Duration::from_millis(5);

/// What became of an event, as its sender was told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Told {
    Stored,
    /// Not stored, for certain.
    Refused,
    /// Perhaps.
    Unknown,
}

/// Senders at work on one node, each event with a payload of its own.
///
/// Those of even numbers repeat an event, under its deduplication key, until they know it stored.
pub(super) struct Load {
    store: Arc<PostgresStore>,
    over: watch::Sender<bool>,
    /// How many were stored, and how many answers were errors.
    answers: watch::Sender<(u64, u64)>,
    senders: JoinSet<Vec<(Bytes, EventId, Told)>>,
}

impl Load {
    pub(super) fn begin(store: &Arc<PostgresStore>) -> Self {
        let (over, answers) = (watch::Sender::new(false), watch::Sender::new((0, 0)));
        let mut senders = JoinSet::new();
        for number in 0..SENDERS {
            let sender = Sender {
                number,
                store: store.clone(),
                over: over.subscribe(),
                answers: answers.clone(),
                told: Vec::new(),
            };
            senders.spawn(sender.run());
        }
        Self { store: store.clone(), over, answers, senders }
    }

    /// Returns when so many more were stored.
    pub(super) async fn await_stored(&self, more: u64) {
        let (stored, _) = *self.answers.borrow();
        let mut answers = self.answers.subscribe();
        let waited = answers.wait_for(|answers| answers.0 >= stored + more);
        drop(soon("events are stored", waited).await);
    }

    /// Returns when so many more were answered with errors.
    pub(super) async fn await_errors(&self, more: u64) {
        let (_, errors) = *self.answers.borrow();
        let mut answers = self.answers.subscribe();
        let waited = answers.wait_for(|answers| answers.1 >= errors + more);
        drop(soon("events are refused", waited).await);
    }

    /// Ends it while the store works, and holds the store to what it has said.
    pub(super) async fn end(mut self, sql: &mut PgConnection) {
        self.over.send_replace(true);
        let mut told = Vec::new();
        while let Some(sender) = soon("the senders end", self.senders.join_next()).await {
            told.extend(sender.expect("a sender is told what it may be told"));
        }
        let rows = rows(sql).await;
        let ids: Vec<EventId> = rows.iter().map(|(id, _)| *id).collect();
        assert!(ids.is_sorted_by(|a, b| a < b), "an id is there twice");
        let found = find(&self.store, everything()).await;
        assert_eq!(found, ids, "left: what is found; right: what is there");

        let there: BTreeMap<EventId, Bytes> = rows.iter().cloned().collect();
        let mut of_payload: BTreeMap<Bytes, u64> = BTreeMap::new();
        for (_, payload) in rows {
            *of_payload.entry(payload).or_default() += 1;
        }
        let mut sent = BTreeSet::new();
        for (payload, id, told) in told {
            match told {
                Told::Stored => {
                    assert_eq!(there.get(&id), Some(&payload), "{id} is acknowledged and not kept");
                    assert_eq!(of_payload[&payload], 1, "an acknowledged event is kept twice");
                }
                Told::Refused => {
                    assert!(!there.contains_key(&id), "{id} is kept though it was refused");
                }
                Told::Unknown => {}
            }
            sent.insert(payload);
        }
        assert!(
            of_payload.keys().all(|payload| sent.contains(payload)),
            "what nobody sent is kept"
        );
    }
}

struct Sender {
    number: u64,
    store: Arc<PostgresStore>,
    over: watch::Receiver<bool>,
    answers: watch::Sender<(u64, u64)>,
    told: Vec<(Bytes, EventId, Told)>,
}

impl Sender {
    async fn run(mut self) -> Vec<(Bytes, EventId, Told)> {
        let mut count = 0;
        while !*self.over.borrow() {
            self.send(count * SENDERS + self.number).await;
            count += 1;
        }
        self.told
    }

    async fn send(&mut self, event: u64) {
        let repeats = self.number.is_multiple_of(2);
        let payload = Bytes::from(format!(r#"{{ "event":{event},"n":1.0, "n":1e0 }}"#));
        loop {
            let new = published(payload.clone());
            let id = new.id;
            let new = if repeats { keyed(new, event) } else { new };
            let (id, told) = match append(&self.store, new).await {
                Ok(Appended::Stored) => (id, Told::Stored),
                // Its first is one that nobody was sure of.
                Ok(Appended::Duplicate(first)) if repeats => (first, Told::Stored),
                Ok(other) => panic!("an event without a fence is {other:?}"),
                Err(error) => match error.kind() {
                    StoreErrorKind::Indeterminate => (id, Told::Unknown),
                    StoreErrorKind::Unavailable | StoreErrorKind::Busy => (id, Told::Refused),
                    kind => panic!("a fault that passes is answered as {kind:?}: {error}"),
                },
            };
            self.told.push((payload.clone(), id, told));
            self.answers.send_modify(|(stored, errors)| match told {
                Told::Stored => *stored += 1,
                Told::Refused | Told::Unknown => *errors += 1,
            });
            if told != Told::Stored {
                tokio::time::sleep(PAUSE).await;
            }
            if told == Told::Stored || !repeats {
                return;
            }
        }
    }
}
