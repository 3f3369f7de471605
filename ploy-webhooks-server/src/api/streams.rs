//! The streams that are open: how many there may be, and their end with the server.

use ploy_webhooks::WorkspaceId;
use tokio::sync::watch;

use super::places::{Place, Places};

/// The places of streams, and what ends all of them.
#[derive(Debug)]
pub(super) struct Streams {
    places: Places,
    end: watch::Sender<bool>,
}

/// The place of a stream, as long as that is open.
#[derive(Debug)]
pub(super) struct OpenStream {
    _place: Place,
    end: watch::Receiver<bool>,
}

impl Streams {
    pub(super) fn new(max: usize) -> Self {
        Self { places: Places::new(max), end: watch::Sender::new(false) }
    }

    /// A place for that workspace, if there is one; after the end there is none.
    pub(super) fn open(&self, workspace: WorkspaceId) -> Option<OpenStream> {
        if *self.end.borrow() {
            return None;
        }
        let place = self.places.take(workspace)?;
        Some(OpenStream { _place: place, end: self.end.subscribe() })
    }

    pub(super) fn end(&self) {
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
