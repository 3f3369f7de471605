//! A lane as it is kept, which says where its runs came from too: the number of an endpoint, or
//! the id of the workspace in which the app published. A number is never used twice, so what is
//! left of a deleted endpoint is nobody's; and SQLite tells the two apart by their types.
//!
//! The lane of a destination is kept in pieces, one for each such origin: the destination's id,
//! and behind it the origin. So what a deleted endpoint left there is told from the rest without
//! a look at each run, and the pieces lie beside each other in the line.

use ploy_webhooks::{DestinationId, Trigger, WorkspaceId};
use rusqlite::ToSql;
use rusqlite::types::{FromSql, FromSqlError, FromSqlResult, ToSqlOutput, Value, ValueRef};

/// Where an event came from: what stands in the columns `endpoint` and `workspace` of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum OriginKey {
    Endpoint(i64),
    Workspace(WorkspaceId),
}

/// What is in a column `lane`: a piece of a destination's lane, or all of another one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct LaneKey {
    pub(crate) destination: Option<DestinationId>,
    pub(crate) origin: OriginKey,
}

impl OriginKey {
    /// The lane of a run that carries this out, of an event from here.
    pub(crate) const fn lane(self, trigger: &Trigger) -> LaneKey {
        LaneKey { destination: trigger.destination(), origin: self }
    }
}

impl LaneKey {
    /// Comes before every lane: the numbers of endpoints begin with 1.
    pub(crate) const BEFORE_ALL: Self = Self { destination: None, origin: OriginKey::Endpoint(0) };

    /// No piece of its lane comes after it, and every lane that comes after a piece does so after
    /// it too.
    pub(crate) const fn end_of_lane(self) -> Self {
        match self.destination {
            None => self,
            Some(_) => Self { origin: LAST_ORIGIN, ..self },
        }
    }

    /// How the pieces of destinations' lanes end that came by that endpoint.
    pub(crate) const fn ending(endpoint: i64) -> [u8; 8] {
        endpoint.to_be_bytes()
    }
}

/// Comes after every other in a destination's lane: no bytes are longer, and none are greater.
const LAST_ORIGIN: OriginKey = OriginKey::Workspace(WorkspaceId::from_bytes([0xff; 16]));

impl ToSql for LaneKey {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        let Some(destination) = &self.destination else {
            return Ok(match &self.origin {
                OriginKey::Endpoint(number) => (*number).into(),
                OriginKey::Workspace(id) => ToSqlOutput::Borrowed(ValueRef::Blob(id.as_bytes())),
            });
        };
        let piece = match &self.origin {
            OriginKey::Endpoint(number) => {
                [destination.as_bytes(), &Self::ending(*number)[..]].concat()
            }
            OriginKey::Workspace(id) => [&destination.as_bytes()[..], id.as_bytes()].concat(),
        };
        Ok(ToSqlOutput::Owned(Value::Blob(piece)))
    }
}

impl FromSql for LaneKey {
    fn column_result(value: ValueRef<'_>) -> FromSqlResult<Self> {
        let ValueRef::Blob(bytes) = value else {
            return OriginKey::column_result(value)
                .map(|origin| Self { destination: None, origin });
        };
        let Some((destination, origin)) = bytes.split_first_chunk::<16>() else {
            return Err(FromSqlError::InvalidBlobSize {
                expected_size: 16,
                blob_size: bytes.len(),
            });
        };
        let origin = match origin.len() {
            0 => {
                let origin = OriginKey::Workspace(WorkspaceId::from_bytes(*destination));
                return Ok(Self { destination: None, origin });
            }
            8 => <[u8; 8]>::column_result(ValueRef::Blob(origin))
                .map(|number| OriginKey::Endpoint(i64::from_be_bytes(number)))?,
            _ => OriginKey::column_result(ValueRef::Blob(origin))?,
        };
        Ok(Self { destination: Some(DestinationId::from_bytes(*destination)), origin })
    }
}

impl FromSql for OriginKey {
    fn column_result(value: ValueRef<'_>) -> FromSqlResult<Self> {
        match value {
            ValueRef::Integer(number) => Ok(Self::Endpoint(number)),
            value => {
                <[u8; 16]>::column_result(value).map(WorkspaceId::from_bytes).map(Self::Workspace)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use rusqlite::{Connection, params};

    use super::*;

    /// In the order of the database, in which a claim goes from one to the next.
    #[test]
    fn pieces_of_a_destination_lie_beside_each_other() {
        let [first, second] = [[3; 16], [4; 16]].map(DestinationId::from_bytes);
        let origins = [
            OriginKey::Endpoint(1),
            OriginKey::Endpoint(256),
            OriginKey::Endpoint(i64::MAX),
            // As the first destination.
            OriginKey::Workspace(WorkspaceId::from_bytes([3; 16])),
            OriginKey::Workspace(WorkspaceId::from_bytes([0xff; 16])),
        ];
        let connection = Connection::open_in_memory().unwrap();
        connection.execute_batch("CREATE TABLE lanes (lane ANY PRIMARY KEY) STRICT").unwrap();
        let lanes = [None, Some(first), Some(second)]
            .into_iter()
            .flat_map(|destination| origins.map(|origin| LaneKey { destination, origin }));
        for lane in lanes {
            connection.execute("INSERT INTO lanes VALUES (?1)", params![lane]).unwrap();
        }
        let read = |select: &str, after: LaneKey| -> Vec<LaneKey> {
            let mut select = connection.prepare(select).unwrap();
            let lanes = select.query_map(params![after], |row| row.get(0)).unwrap();
            lanes.collect::<rusqlite::Result<_>>().unwrap()
        };
        let all = read("SELECT lane FROM lanes WHERE lane > ?1 ORDER BY lane", LaneKey::BEFORE_ALL);
        assert_eq!(all.len(), 15, "left: how many come after what is before all");
        let mut destinations: Vec<_> = all.iter().map(|lane| lane.destination).collect();
        destinations.dedup();
        let expected = [None, Some(first), Some(second), None];
        assert_eq!(destinations, expected, "left: where each lies");
        let next = "SELECT lane FROM lanes WHERE lane > ?1 ORDER BY lane LIMIT 1";
        for (at, lane) in all.iter().enumerate() {
            let others = all[at..].iter().find(|other| {
                lane.destination.is_none_or(|id| other.destination != Some(id)) && *other != lane
            });
            assert_eq!(read(next, lane.end_of_lane()).first(), others, "left: behind {lane:?}");
        }
    }

    #[test]
    fn what_is_no_lane_is_not_read_as_one() {
        for length in (0..40).filter(|length| ![16, 24, 32].contains(length)) {
            let lane = LaneKey::column_result(ValueRef::Blob(&vec![1; length]));
            assert!(lane.is_err(), "{length} bytes are read as {lane:?}");
        }
    }
}
