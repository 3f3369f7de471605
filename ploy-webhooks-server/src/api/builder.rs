//! [`ApiBuilder`]: what an [`Api`] may be told beside what it needs.

use std::sync::Arc;

use super::streams::Streams;
use super::{Api, Backups, Commands, Parts};

/// An [`Api`] that is being set up: see [`Api::builder`].
#[derive(Debug)]
#[must_use = "`build` makes the API"]
pub struct ApiBuilder {
    parts: Parts,
}

impl ApiBuilder {
    pub(super) const fn new(parts: Parts) -> Self {
        Self { parts }
    }

    /// Whether Ploybooks may run programs. Default: they may not.
    pub fn commands(mut self, commands: Commands) -> Self {
        self.parts.commands = commands;
        self
    }

    /// The longest payload that may be published, in bytes: that of the intake, so that what
    /// carries runs out meets nothing longer. Default: 1 MiB.
    pub fn payload_bytes_max(mut self, bytes: usize) -> Self {
        self.parts.payload_bytes_max = bytes;
        self
    }

    /// Where backups are made. Default: nowhere, and who asks for one is told so.
    pub fn backups(mut self, backups: Backups) -> Self {
        self.parts.backups = Some(backups);
        self
    }

    /// How many streams of events may be open where nothing else is said.
    pub const STREAMS_MAX: usize = 256;

    /// How many streams of events may be open at once, of all callers together; those of one
    /// workspace are a quarter of them at most, and one at least. Default:
    /// [`STREAMS_MAX`](Self::STREAMS_MAX).
    pub fn streams_max(mut self, streams: usize) -> Self {
        self.parts.streams = Streams::new(streams);
        self
    }

    /// The API.
    #[must_use]
    pub fn build(self) -> Api {
        Api { parts: Arc::new(self.parts) }
    }
}
