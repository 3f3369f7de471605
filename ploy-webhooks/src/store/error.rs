//! The one error of every store.

use std::borrow::Cow;
use std::error::Error as StdError;

use thiserror::Error;

/// Why a store did not do what it was asked.
///
/// Match on [`kind`](Self::kind), which says what to do; the message is for people and changes
/// freely. Messages carry no payload and no secret.
#[derive(Debug, Error)]
#[error("{message}")]
pub struct StoreError {
    kind: StoreErrorKind,
    message: Cow<'static, str>,
    source: Option<Box<dyn StdError + Send + Sync>>,
}

/// What the failure of a store means for who called it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum StoreErrorKind {
    /// Nothing was written; the same call may succeed later.
    Unavailable,
    /// Nothing was written: more waits for the store than it takes on at once. The same call may
    /// succeed soon.
    Busy,
    /// It may have been written, or not: the answer was lost. With a deduplication key the same
    /// call can be repeated without harm.
    Indeterminate,
    /// Nothing was written, and nothing will be until somebody acts: the store is full or
    /// read-only.
    Refused,
    /// What is stored cannot be read.
    Corrupt,
    /// The call was wrong: a mistake of the program, never caused by what a sender sends.
    Misuse,
}

impl StoreError {
    /// An error of that kind.
    #[must_use]
    pub fn new(kind: StoreErrorKind, message: impl Into<Cow<'static, str>>) -> Self {
        Self { kind, message: message.into(), source: None }
    }

    /// The same error with what caused it.
    #[must_use]
    pub fn because(self, source: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        Self { source: Some(source.into()), ..self }
    }

    /// What the failure means.
    #[must_use]
    pub const fn kind(&self) -> StoreErrorKind {
        self.kind
    }
}
