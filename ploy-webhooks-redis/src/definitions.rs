//! [`DefinitionStore`]: what operators define by name.
//!
//! A workspace's definitions lie in the bucket of the workspace, those of a kind side by side: one
//! step checks the revision and writes.

use std::num::NonZeroU16;

use async_trait::async_trait;
use ploy_webhooks::store::{Defined, Definition, DefinitionKind, DefinitionStore, StoreError};
use ploy_webhooks::{Revision, WorkspaceId};
use redis::{Cmd, Value};

use crate::RedisStore;
use crate::engine::{Call, Via};
use crate::error::corrupt;
use crate::layout::{Bucket, name_of_kind};
use crate::owner::Owner;
use crate::script::{self, Known, ScriptCall};
use crate::value;

#[async_trait]
impl DefinitionStore for RedisStore {
    async fn definition(
        &self,
        workspace: &WorkspaceId,
        kind: DefinitionKind,
        name: &str,
    ) -> Result<Option<Definition>, StoreError> {
        let bucket = self.bucket_of_definitions(workspace);
        let mut get = Cmd::new();
        get.arg("HGET")
            .arg(bucket.key(format_args!("{}:{workspace}", name_of_kind(kind))))
            .arg(name);
        let answer = self.engine.call(Via::Read, Call::new(bucket.slot, get)).await;
        let answer = answer.map_err(|failure| failure.of_read("cannot read the definition"))?;
        if value::is_nil(&answer) {
            return Ok(None);
        }
        let definition = parse(name.to_owned(), answer);
        definition.ok_or_else(broken).map(Some)
    }

    async fn definitions(
        &self,
        workspace: &WorkspaceId,
        kind: DefinitionKind,
        after: Option<&str>,
        limit: NonZeroU16,
    ) -> Result<Vec<Definition>, StoreError> {
        let begin = after.map_or("-".to_owned(), |name| format!("({name}"));
        let (bucket, call) = self.on_definitions(&script::DEFINITIONS, workspace, kind);
        let call = call.bytes(begin).text(limit);
        let call = Call::of_script(bucket.slot, &script::DEFINITIONS, call);
        let answer = self.engine.call(Via::Read, call).await;
        let answer = answer.map_err(|failure| failure.of_read("cannot list the definitions"))?;
        let listed = value::array(answer).ok_or_else(broken)?.into_iter().map(|entry| {
            let [name, kept] = value::parts(entry)?;
            parse(value::text(name)?, kept)
        });
        listed.collect::<Option<_>>().ok_or_else(broken)
    }

    async fn define(
        &self,
        workspace: &WorkspaceId,
        kind: DefinitionKind,
        name: &str,
        expected: Option<Revision>,
        text: &str,
    ) -> Result<Defined, StoreError> {
        let revision = expected.map_or(Revision::FIRST, Revision::next);
        let (bucket, call) = self.on_definitions(&script::DEFINE, workspace, kind);
        let call = call.bytes(name);
        let call = match expected {
            Some(expected) => call.text(expected.get()),
            None => call.bytes(""),
        };
        let call = call.text(revision.get()).bytes(text);
        let call = Call::of_script(bucket.slot, &script::DEFINE, call);
        let answer = self.engine.call(Via::Write, call).await;
        match answer.map_err(|failure| failure.of_write("cannot set the definition"))? {
            Value::Int(1) => Ok(Defined::Defined(revision)),
            stands => match &*value::text(stands).ok_or_else(broken)? {
                "" => Ok(Defined::Conflict(None)),
                stands => {
                    let stands = stands.parse().map_err(|_| broken())?;
                    Ok(Defined::Conflict(Some(Revision::new(stands))))
                }
            },
        }
    }

    async fn undefine(
        &self,
        workspace: &WorkspaceId,
        kind: DefinitionKind,
        name: &str,
    ) -> Result<bool, StoreError> {
        let (bucket, call) = self.on_definitions(&script::UNDEFINE, workspace, kind);
        let call = Call::of_script(bucket.slot, &script::UNDEFINE, call.bytes(name));
        let answer = self.engine.call(Via::Write, call).await;
        let answer = answer.map_err(|failure| failure.of_write("cannot delete the definition"))?;
        Ok(matches!(answer, Value::Int(1)))
    }
}

impl RedisStore {
    fn bucket_of_definitions(&self, workspace: &WorkspaceId) -> &Bucket {
        self.layout.bucket_of(Owner::Workspace(*workspace))
    }

    fn on_definitions(
        &self,
        script: &'static Known,
        workspace: &WorkspaceId,
        kind: DefinitionKind,
    ) -> (&Bucket, ScriptCall) {
        let bucket = self.bucket_of_definitions(workspace);
        let call = ScriptCall::small(script, &bucket.tag);
        (bucket, call.bytes(name_of_kind(kind)).text(workspace))
    }
}

/// A definition: its revision, `:`, and its text.
fn parse(name: String, kept: Value) -> Option<Definition> {
    let kept = value::text(kept)?;
    let (revision, text) = kept.split_once(':')?;
    Some(Definition {
        name,
        revision: Revision::new(revision.parse().ok()?),
        text: text.to_owned(),
    })
}

fn broken() -> StoreError {
    corrupt("a definition")
}
