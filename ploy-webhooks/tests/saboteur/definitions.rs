//! What a saboteur does wrong with definitions.

use std::num::NonZeroU16;

use async_trait::async_trait;
use ploy_webhooks::store::{Defined, Definition, DefinitionKind, DefinitionStore, StoreError};
use ploy_webhooks::{Revision, WorkspaceId};

use super::{Fault, Saboteur};

#[async_trait]
impl DefinitionStore for Saboteur {
    async fn definition(
        &self,
        workspace: &WorkspaceId,
        kind: DefinitionKind,
        name: &str,
    ) -> Result<Option<Definition>, StoreError> {
        self.store.definition(&self.whose(workspace), kind, name).await
    }

    async fn definitions(
        &self,
        workspace: &WorkspaceId,
        kind: DefinitionKind,
        after: Option<&str>,
        limit: NonZeroU16,
    ) -> Result<Vec<Definition>, StoreError> {
        let listed = self.store.definitions(&self.whose(workspace), kind, after, limit).await?;
        let skipped = usize::from(self.fault == Fault::SkipsOneBetweenPages && after.is_some());
        Ok(listed.into_iter().skip(skipped).collect())
    }

    async fn define(
        &self,
        workspace: &WorkspaceId,
        kind: DefinitionKind,
        name: &str,
        mut expected: Option<Revision>,
        text: &str,
    ) -> Result<Defined, StoreError> {
        let workspace = self.whose(workspace);
        if self.fault == Fault::DefinesWhateverIsExpected {
            let standing = self.store.definition(&workspace, kind, name).await?;
            expected = standing.map(|standing| standing.revision);
        }
        self.store.define(&workspace, kind, name, expected, text).await
    }

    async fn undefine(
        &self,
        workspace: &WorkspaceId,
        kind: DefinitionKind,
        name: &str,
    ) -> Result<bool, StoreError> {
        self.store.undefine(&self.whose(workspace), kind, name).await
    }
}

impl Saboteur {
    fn whose(&self, workspace: &WorkspaceId) -> WorkspaceId {
        match self.fault {
            Fault::SharesDefinitions => WorkspaceId::DEFAULT,
            _ => *workspace,
        }
    }
}
