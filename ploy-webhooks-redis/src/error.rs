//! What Redis says, as a [`StoreError`].

use ploy_webhooks::store::{StoreError, StoreErrorKind};
use redis::{RedisError, ServerError, Value};

/// Why a call to the server came to nothing.
#[derive(Clone, Debug)]
pub(crate) enum Failure {
    /// It never left this process.
    Unsent(String),
    /// It was sent, and its answer did not come: nobody knows whether it was carried out.
    Unanswered(String),
    /// It was carried out with that answer, and then not made as durable as the settings ask for.
    NotDurable(String, Box<Value>),
    /// The server refused it.
    Server(ServerError),
}

impl Failure {
    pub(crate) fn unanswered(error: &RedisError) -> Self {
        Self::Unanswered(error.to_string())
    }

    /// The error of a call that reads.
    pub(crate) fn of_read(self, what: &str) -> StoreError {
        match self {
            // Reading again does no harm.
            Self::Unsent(why) | Self::Unanswered(why) | Self::NotDurable(why, _) => {
                StoreError::new(StoreErrorKind::Unavailable, format!("{what}: {why}"))
            }
            Self::Server(error) => {
                let kind = kind_of(&error).unwrap_or(StoreErrorKind::Unavailable);
                StoreError::new(kind, format!("{what}: {}", text_of(&error)))
            }
        }
    }

    /// The error of a call that writes.
    pub(crate) fn of_write(self, what: &str) -> StoreError {
        let (kind, why) = match self {
            Self::Unsent(why) => (StoreErrorKind::Unavailable, why),
            Self::Unanswered(why) | Self::NotDurable(why, _) => {
                (StoreErrorKind::Indeterminate, why)
            }
            Self::Server(error) => {
                let kind = kind_of(&error).unwrap_or(StoreErrorKind::Indeterminate);
                (kind, text_of(&error))
            }
        };
        StoreError::new(kind, format!("{what}: {why}"))
    }

    /// The error of a call that stores events. Unlike other calls that write it must not say that
    /// nothing was written where something may have been: a script that finds a key of a wrong
    /// type has perhaps written others before.
    pub(crate) fn of_append(self, what: &str) -> StoreError {
        match self {
            Self::Server(error) if kind_of(&error) == Some(StoreErrorKind::Corrupt) => {
                StoreError::new(
                    StoreErrorKind::Indeterminate,
                    format!("{what}: {}", text_of(&error)),
                )
            }
            other => other.of_write(what),
        }
    }
}

/// What a refusal of the server means. `None` for those that say nothing about whether the call
/// was carried out.
fn kind_of(error: &ServerError) -> Option<StoreErrorKind> {
    Some(match error.code() {
        // Memory is full, or the disk cannot be written to: somebody must act.
        "OOM" | "MISCONF" | "NOPERM" | "NOAUTH" | "WRONGPASS" | "DENIED" => StoreErrorKind::Refused,
        "LOADING" | "READONLY" | "CLUSTERDOWN" | "MASTERDOWN" | "TRYAGAIN" | "BUSY" | "MOVED"
        | "ASK" | "NOSCRIPT" | "NOREPLICAS" | "UNBLOCKED" => StoreErrorKind::Unavailable,
        // A key does not hold what this crate has put there.
        "WRONGTYPE" => StoreErrorKind::Corrupt,
        // The store's keys are not in one slot, or its scripts are not understood.
        "CROSSSLOT" => StoreErrorKind::Misuse,
        _ => return None,
    })
}

fn text_of(error: &ServerError) -> String {
    match error.details() {
        Some(details) => format!("{} {details}", error.code()),
        None => error.code().to_owned(),
    }
}

/// A value that is not as this crate wrote it.
pub(crate) fn corrupt(what: &str) -> StoreError {
    StoreError::new(
        StoreErrorKind::Corrupt,
        format!("Redis: {what} does not hold what was written"),
    )
}

pub(crate) fn misuse(message: &'static str) -> StoreError {
    StoreError::new(StoreErrorKind::Misuse, message)
}

pub(crate) fn refused(message: impl Into<String>) -> StoreError {
    StoreError::new(StoreErrorKind::Refused, message.into())
}

pub(crate) fn unavailable(message: impl Into<String>) -> StoreError {
    StoreError::new(StoreErrorKind::Unavailable, message.into())
}
