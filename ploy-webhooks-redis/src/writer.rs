//! The one writer of a node: group commit.
//!
//! It takes whatever waits and sends it as one script call, or on a Cluster as one for each slot,
//! all in one flight. The script looks at fence and deduplication key of each event where the
//! endpoint and the key are, and nothing else is carried out meanwhile: so a change that has
//! returned is before every later batch, whichever node sends it.
//!
//! A batch is sent once. Where nobody knows whether it was carried out, that is the answer.

use std::collections::BTreeMap;
use std::sync::Arc;

use tokio::sync::{Notify, mpsc};

use crate::batch::{Checked, Part};
use crate::engine::{Engine, Via};
use crate::layout::Layout;
use crate::queue::{Queue, Waiting};
use crate::wake::Wake;

/// What the writer works with.
#[derive(Debug)]
pub(crate) struct Writer {
    pub(crate) engine: Arc<Engine>,
    pub(crate) layout: Arc<Layout>,
    pub(crate) queue: Arc<Queue>,
    pub(crate) wake: Arc<Wake>,
    pub(crate) fed: Arc<Notify>,
    pub(crate) flights_max: usize,
}

impl Writer {
    /// Writes until the queue is closed and empty, and all that is under way has been answered.
    pub(crate) async fn run(self) {
        let (landed, mut landing) = mpsc::unbounded_channel();
        // The first flight is taken first, so that who waits alone has a connection that is warm.
        let mut free: Vec<usize> = (0..self.flights_max).rev().collect();
        let writer = Arc::new(self);
        while writer.queue.filled().await {
            while let Ok(flight) = landing.try_recv() {
                free.push(flight);
            }
            let flight = match free.pop() {
                Some(flight) => flight,
                None => landing.recv().await.expect("a sender is here"),
            };
            // Whoever is about to add to the next batch gets to do so: on a busy core that makes
            // one flight of what would have been two, and on an idle one it costs nothing.
            tokio::task::yield_now().await;
            let batch = writer.queue.take_batch();
            let landed = Landing { flight, landed: landed.clone() };
            let writer = writer.clone();
            tokio::spawn(async move {
                writer.write(landed.flight, batch).await;
                drop(landed);
            });
        }
        while free.len() < writer.flights_max {
            free.push(landing.recv().await.expect("a sender is here"));
        }
    }

    async fn write(&self, flight: usize, batch: Vec<Waiting>) {
        // Nothing is kept for a caller that has gone: it was told nothing, or a time-out.
        let batch: Vec<_> =
            batch.into_iter().filter(|waiting| !waiting.answer.is_closed()).collect();
        let parts = self.parts(batch);
        let calls = parts.iter().map(|part| part.call(&self.layout, self.engine.waits()));
        let calls: Vec<_> = calls.collect();
        let answers = self.engine.call_all(Via::Flight(flight), calls).await;
        for (part, answer) in parts.into_iter().zip(answers) {
            if part.answer(answer) {
                self.wake.tell();
            }
        }
        self.fed.notify_waiters();
    }

    /// A batch, by what one script can write, and within that by what is checked as one.
    fn parts(&self, batch: Vec<Waiting>) -> Vec<Part> {
        let mut parts: BTreeMap<u16, Part> = BTreeMap::new();
        for waiting in batch {
            let checked = Checked::of(&waiting.event);
            let bucket = self.layout.bucket_of(checked.owner);
            let part = parts.entry(self.engine.group_of(bucket.slot));
            part.or_insert_with(|| Part::new(bucket.slot)).add(checked, waiting);
        }
        parts.into_values().collect()
    }
}

/// Gives a flight back, also when it panics.
struct Landing {
    flight: usize,
    landed: mpsc::UnboundedSender<usize>,
}

impl Drop for Landing {
    fn drop(&mut self) {
        // A writer that has ended needs none.
        let _ = self.landed.send(self.flight);
    }
}
