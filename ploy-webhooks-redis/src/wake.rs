//! Who waits for runs, and is told that there are some.
//!
//! A node that stores runs says so on a channel of the server; each node that waits for some
//! listens. Nothing depends on a message: who waits also looks when the next run is due, and
//! from time to time.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::sync::futures::Notified;

use crate::engine::Engine;
use crate::link::Subscription;

/// The gap after a subscription that broke, or could not be made.
const GAP: Duration = Duration::from_secs(1);

/// Tells those who wait on this node.
#[derive(Debug, Default)]
pub(crate) struct Wake {
    waiting: Notify,
    messages: Arc<Notify>,
    is_listening: AtomicBool,
}

impl Wake {
    /// There may be something to claim.
    pub(crate) fn tell(&self) {
        // One that nobody waits for yet is kept for the next.
        self.waiting.notify_one();
        self.waiting.notify_waiters();
    }

    /// Waits until there may be something to claim.
    pub(crate) fn told(&self) -> Notified<'_> {
        self.waiting.notified()
    }

    /// Listens to the other nodes from now on. Who never waits for runs has no connection for it.
    pub(crate) fn listen(self: &Arc<Self>, engine: &Arc<Engine>, channel: String) {
        if !self.is_listening.swap(true, Ordering::AcqRel) {
            let messages = self.messages.clone();
            let (wake, engine) = (Arc::downgrade(self), Arc::downgrade(engine));
            tokio::spawn(listen(wake, engine, channel, messages));
        }
    }
}

impl Drop for Wake {
    fn drop(&mut self) {
        // Whoever listens finds that there is nobody to tell.
        self.messages.notify_one();
    }
}

/// Listens, on whatever node answers, until nobody is there to be told.
async fn listen(wake: Weak<Wake>, engine: Weak<Engine>, channel: String, messages: Arc<Notify>) {
    loop {
        let Some(nodes) = engine.upgrade().map(|engine| (engine.masters(), engine.timeouts()))
        else {
            return;
        };
        let (nodes, timeouts) = nodes;
        for node in nodes {
            let subscribed =
                Subscription::open(&node.server, timeouts, &channel, messages.clone()).await;
            let Ok(subscription) = subscribed else { continue };
            // Something may have been said before.
            while let Some(wake) = wake.upgrade() {
                wake.tell();
                drop(wake);
                if subscription.has_ended() {
                    break;
                }
                messages.notified().await;
            }
            break;
        }
        if wake.strong_count() == 0 {
            return;
        }
        tokio::time::sleep(GAP).await;
    }
}
