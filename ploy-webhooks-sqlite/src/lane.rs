//! A lane as it is kept: the number of an endpoint, or the id of the workspace in which the app
//! published. A number is never used twice, so what is left of a deleted endpoint is nobody's;
//! and SQLite tells the two apart by their types.

use ploy_webhooks::WorkspaceId;
use rusqlite::ToSql;
use rusqlite::types::{FromSql, FromSqlResult, ToSqlOutput, ValueRef};

/// What is in a column `lane`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LaneKey {
    Endpoint(i64),
    Workspace(WorkspaceId),
}

impl LaneKey {
    /// Comes before every lane: the numbers of endpoints begin with 1.
    pub(crate) const BEFORE_ALL: Self = Self::Endpoint(0);
}

impl ToSql for LaneKey {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(match self {
            Self::Endpoint(number) => (*number).into(),
            Self::Workspace(id) => ToSqlOutput::Borrowed(ValueRef::Blob(id.as_bytes())),
        })
    }
}

impl FromSql for LaneKey {
    fn column_result(value: ValueRef<'_>) -> FromSqlResult<Self> {
        match value {
            ValueRef::Integer(number) => Ok(Self::Endpoint(number)),
            value => {
                <[u8; 16]>::column_result(value).map(WorkspaceId::from_bytes).map(Self::Workspace)
            }
        }
    }
}
