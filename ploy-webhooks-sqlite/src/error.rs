//! What SQLite says, as a [`StoreError`].

use std::error::Error as _;

use ploy_webhooks::store::{StoreError, StoreErrorKind};
use rusqlite::ffi::ErrorCode;

/// The error of an operation that wrote nothing.
pub(crate) fn store_error(what: &'static str, error: rusqlite::Error) -> StoreError {
    StoreError::new(kind(&error), format!("{what}: {error}")).because(error)
}

/// What a commit that failed means. For want of space or of a lock it has written nothing; of
/// any other failure nobody can say.
pub(crate) fn commit_kind(error: &rusqlite::Error) -> StoreErrorKind {
    match (kind(error), error.sqlite_error_code()) {
        (StoreErrorKind::Refused, _) => StoreErrorKind::Refused,
        (_, Some(ErrorCode::DatabaseBusy)) => StoreErrorKind::Unavailable,
        _ => StoreErrorKind::Indeterminate,
    }
}

/// A row that is not as this crate wrote it.
pub(crate) fn corrupt(table: &str, column: &str, row: i64) -> StoreError {
    StoreError::new(
        StoreErrorKind::Corrupt,
        format!("table {table}, row {row}: column {column} does not hold what was written"),
    )
}

/// Whether what cannot be read is one row, and the rest of the file can be.
pub(crate) fn is_of_a_row(error: &StoreError) -> bool {
    let source = error.source().and_then(|source| source.downcast_ref::<rusqlite::Error>());
    error.kind() == StoreErrorKind::Corrupt
        && source.is_none_or(|source| source.sqlite_error_code().is_none())
}

pub(crate) fn kind(error: &rusqlite::Error) -> StoreErrorKind {
    use rusqlite::Error::{
        FromSqlConversionFailure, IntegralValueOutOfRange, InvalidColumnType, Utf8Error,
    };
    // What is read is not of the form in which it was written.
    if let FromSqlConversionFailure(..)
    | InvalidColumnType(..)
    | IntegralValueOutOfRange(..)
    | Utf8Error(..) = error
    {
        return StoreErrorKind::Corrupt;
    }
    match error.sqlite_error_code() {
        Some(ErrorCode::DiskFull | ErrorCode::ReadOnly | ErrorCode::PermissionDenied) => {
            StoreErrorKind::Refused
        }
        Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => StoreErrorKind::Corrupt,
        Some(ErrorCode::ConstraintViolation | ErrorCode::TooBig | ErrorCode::TypeMismatch) => {
            StoreErrorKind::Misuse
        }
        _ => StoreErrorKind::Unavailable,
    }
}
