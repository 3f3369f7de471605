//! [`ApiBuilder`]: what an [`Api`] may be told beside what it needs.

use std::sync::Arc;

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

    /// The API.
    #[must_use]
    pub fn build(self) -> Api {
        Api { parts: Arc::new(self.parts) }
    }
}
