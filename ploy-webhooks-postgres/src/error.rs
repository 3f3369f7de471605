//! What Postgres says, as a [`StoreError`].

use std::error::Error;
use std::time::Duration;

use ploy_webhooks::store::{StoreError, StoreErrorKind};
use sqlx::postgres::{PgDatabaseError, PgSeverity};

/// The error of an operation that wrote nothing, or whose writing does no harm.
pub(crate) fn store_error(what: &'static str, error: sqlx::Error) -> StoreError {
    let kind = match kind(&error) {
        StoreErrorKind::Indeterminate => StoreErrorKind::Unavailable,
        kind => kind,
    };
    said(kind, what, error)
}

/// The error of a statement that writes.
pub(crate) fn write_error(what: &'static str, error: sqlx::Error) -> StoreError {
    said(kind(&error), what, error)
}

fn said(kind: StoreErrorKind, what: &'static str, error: sqlx::Error) -> StoreError {
    if is_pooled(&error) {
        return StoreError::new(
            StoreErrorKind::Refused,
            format!(
                "{what}: the connection is not one session. Does a pooler stand between, in \
                 transaction mode? Connect directly, or to a pool in session mode"
            ),
        )
        .because(error);
    }
    StoreError::new(kind, format!("{what}: {}", message(&error))).because(error)
}

/// What went wrong, without the values that the server repeats in its details.
fn message(error: &sqlx::Error) -> String {
    match error {
        sqlx::Error::Database(error) => match error.try_downcast_ref::<PgDatabaseError>() {
            Some(error) => format!("{} ({})", error.message(), error.code()),
            None => error.message().to_owned(),
        },
        sqlx::Error::PoolTimedOut => "no connection came free in time".to_owned(),
        error => error.to_string(),
    }
}

/// The error of something that did not end in its time.
pub(crate) fn timed_out(kind: StoreErrorKind, what: &'static str, after: Duration) -> StoreError {
    StoreError::new(kind, format!("{what}: no answer from Postgres within {after:?}"))
}

/// A row that is not as this crate wrote it.
pub(crate) fn corrupt(table: &str, column: &str) -> StoreError {
    StoreError::new(
        StoreErrorKind::Corrupt,
        format!("table {table}: column {column} does not hold what was written"),
    )
}

/// What the failure of a statement means. By SQLSTATE: see the appendix of Postgres's manual.
pub(crate) fn kind(error: &sqlx::Error) -> StoreErrorKind {
    use StoreErrorKind::{Corrupt, Indeterminate, Misuse, Refused, Unavailable};
    let error = match error {
        sqlx::Error::Database(error) => match error.try_downcast_ref::<PgDatabaseError>() {
            Some(error) => error,
            None => return Indeterminate,
        },
        sqlx::Error::ColumnDecode { .. } | sqlx::Error::Decode(_) => return Corrupt,
        sqlx::Error::Encode(_) => return Misuse,
        sqlx::Error::PoolTimedOut | sqlx::Error::PoolClosed => return Unavailable,
        // The connection broke: what was sent over it may have been done.
        _ => return Indeterminate,
    };
    match error.code() {
        // The session was ended. A commit may have been under way, or done.
        "57P01" | "57P02" | "57P03" | "57P05" => Indeterminate,
        "53100" | "54000" | "55000" => Refused,
        // A standby, or a primary that is one no more.
        "25006" => Unavailable,
        code if code.starts_with("22") || code.starts_with("23") => Misuse,
        code if code.starts_with("28") || code.starts_with("3D") || code.starts_with("42") => {
            Refused
        }
        code if code.starts_with("XX") => Corrupt,
        // Any other error has rolled the statement back.
        _ if error.severity() == PgSeverity::Error => Unavailable,
        _ => Indeterminate,
    }
}

/// Whether the server itself said that it has rolled back, and the session goes on as it was.
pub(crate) fn is_rolled_back(error: &StoreError) -> bool {
    let source = error.source().and_then(|source| source.downcast_ref::<sqlx::Error>());
    let Some(sqlx::Error::Database(error)) = source else {
        return false;
    };
    let error = error.try_downcast_ref::<PgDatabaseError>();
    // A session that may not write will not by itself.
    error.is_some_and(|error| error.severity() == PgSeverity::Error && error.code() != "25006")
}

/// Whether the server rolled back because two waited for each other: tried again, it succeeds.
pub(crate) fn is_deadlock(error: &StoreError) -> bool {
    let source = error.source().and_then(|source| source.downcast_ref::<sqlx::Error>());
    matches!(source, Some(sqlx::Error::Database(error)) if error.code().as_deref() == Some("40P01"))
}

/// Whether the statements of one connection reach several sessions: what was prepared in one is
/// missed in another.
fn is_pooled(error: &sqlx::Error) -> bool {
    let sqlx::Error::Database(error) = error else {
        return false;
    };
    matches!(error.code().as_deref(), Some("26000" | "42P05" | "08P01"))
}
