//! What operators define, in memory.

use std::collections::BTreeMap;
use std::num::NonZeroU16;
use std::ops::Bound;

use async_trait::async_trait;

use super::MemoryStore;
use crate::endpoint::Revision;
use crate::id::WorkspaceId;
use crate::store::{Defined, Definition, DefinitionKind, DefinitionStore, StoreError};

/// The definitions of a memory store, by workspace, kind and name.
pub(super) type Definitions = BTreeMap<(WorkspaceId, DefinitionKind, String), (Revision, String)>;

#[async_trait]
impl DefinitionStore for MemoryStore {
    async fn definition(
        &self,
        workspace: &WorkspaceId,
        kind: DefinitionKind,
        name: &str,
    ) -> Result<Option<Definition>, StoreError> {
        let state = self.state();
        let found = state.definitions.get_key_value(&(*workspace, kind, name.to_owned()));
        Ok(found.map(definition))
    }

    async fn definitions(
        &self,
        workspace: &WorkspaceId,
        kind: DefinitionKind,
        after: Option<&str>,
        limit: NonZeroU16,
    ) -> Result<Vec<Definition>, StoreError> {
        let begin = (*workspace, kind, after.unwrap_or_default().to_owned());
        let begin = if after.is_some() { Bound::Excluded(begin) } else { Bound::Included(begin) };
        let state = self.state();
        let listed = state
            .definitions
            .range((begin, Bound::Unbounded))
            .take_while(|((of, named, _), _)| (*of, *named) == (*workspace, kind))
            .take(limit.get().into());
        Ok(listed.map(definition).collect())
    }

    async fn define(
        &self,
        workspace: &WorkspaceId,
        kind: DefinitionKind,
        name: &str,
        expected: Option<Revision>,
        text: &str,
    ) -> Result<Defined, StoreError> {
        let key = (*workspace, kind, name.to_owned());
        let mut state = self.state();
        let standing = state.definitions.get(&key).map(|(revision, _)| *revision);
        if standing != expected {
            return Ok(Defined::Conflict(standing));
        }
        let revision = expected.map_or(Revision::FIRST, Revision::next);
        state.definitions.insert(key, (revision, text.to_owned()));
        Ok(Defined::Defined(revision))
    }

    async fn undefine(
        &self,
        workspace: &WorkspaceId,
        kind: DefinitionKind,
        name: &str,
    ) -> Result<bool, StoreError> {
        let key = (*workspace, kind, name.to_owned());
        Ok(self.state().definitions.remove(&key).is_some())
    }
}

fn definition(
    ((_, _, name), (revision, text)): (&(WorkspaceId, DefinitionKind, String), &(Revision, String)),
) -> Definition {
    Definition { name: name.clone(), revision: *revision, text: text.clone() }
}
