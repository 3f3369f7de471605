//! The streams that are open: how many there may be, and their end with the server.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};

/// The places of streams, and what ends all of them.
#[derive(Debug)]
pub(super) struct Streams {
    places: Arc<Semaphore>,
    end: watch::Sender<bool>,
}

/// The place of a stream, as long as that is open.
#[derive(Debug)]
pub(super) struct OpenStream {
    _place: OwnedSemaphorePermit,
    end: watch::Receiver<bool>,
}

impl Streams {
    pub(super) fn new(max: usize) -> Self {
        let places = Arc::new(Semaphore::new(max.min(Semaphore::MAX_PERMITS)));
        Self { places, end: watch::Sender::new(false) }
    }

    /// A place, if there is one.
    pub(super) fn open(&self) -> Option<OpenStream> {
        let place = self.places.clone().try_acquire_owned().ok()?;
        Some(OpenStream { _place: place, end: self.end.subscribe() })
    }

    pub(super) fn end(&self) {
        self.places.close();
        self.end.send_replace(true);
    }
}

impl OpenStream {
    /// Waits until all streams end.
    pub(super) async fn ended(&mut self) {
        // Where the API itself is gone, so is the server.
        let _ = self.end.wait_for(|has_ended| *has_ended).await;
    }
}
