//! Ids as Postgres has them: `uuid`, sixteen bytes that sort as the id does.

use ploy_webhooks::limit::LimitKey;
use ploy_webhooks::{DestinationId, EndpointId, EventId, Lane, RunId, WorkspaceId};
use sqlx::encode::IsNull;
use sqlx::error::BoxDynError;
use sqlx::postgres::types::Oid;
use sqlx::postgres::{PgArgumentBuffer, PgHasArrayType, PgTypeInfo, PgValueFormat, PgValueRef};
use sqlx::{Decode, Encode, Postgres, Type};

/// Sixteen bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Uuid(pub(crate) [u8; 16]);

macro_rules! uuids {
    ($($id:ident),*) => {$(
        impl From<$id> for Uuid {
            fn from(id: $id) -> Self {
                Self(*id.as_bytes())
            }
        }

        impl From<Uuid> for $id {
            fn from(uuid: Uuid) -> Self {
                Self::from_bytes(uuid.0)
            }
        }
    )*};
}

uuids!(DestinationId, EndpointId, EventId, RunId, WorkspaceId);

impl From<LimitKey> for Uuid {
    fn from(key: LimitKey) -> Self {
        match key {
            LimitKey::Endpoint(endpoint) => endpoint.into(),
            LimitKey::Workspace(workspace) => workspace.into(),
            LimitKey::Destination(destination) => destination.into(),
        }
    }
}

impl From<Lane> for Uuid {
    fn from(lane: Lane) -> Self {
        match lane {
            Lane::Endpoint(endpoint) => endpoint.into(),
            Lane::Workspace(workspace) => workspace.into(),
            Lane::Destination(destination) => destination.into(),
        }
    }
}

impl Type<Postgres> for Uuid {
    fn type_info() -> PgTypeInfo {
        PgTypeInfo::with_oid(Oid(2950))
    }
}

impl PgHasArrayType for Uuid {
    fn array_type_info() -> PgTypeInfo {
        PgTypeInfo::with_oid(Oid(2951))
    }
}

impl Encode<'_, Postgres> for Uuid {
    fn encode_by_ref(&self, buffer: &mut PgArgumentBuffer) -> Result<IsNull, BoxDynError> {
        buffer.extend_from_slice(&self.0);
        Ok(IsNull::No)
    }
}

impl Decode<'_, Postgres> for Uuid {
    fn decode(value: PgValueRef<'_>) -> Result<Self, BoxDynError> {
        match value.format() {
            PgValueFormat::Binary => Ok(Self(value.as_bytes()?.try_into()?)),
            PgValueFormat::Text => Err("a uuid came as text, and was asked for in binary".into()),
        }
    }
}
