//! [`KeyStore`], [`EndpointStore`] and [`TokenStore`]: the control plane.
//!
//! An endpoint lies in its bucket, where the fence is checked; its slug in another, and names it.
//! No step spans both, so the slug is only a pointer, which is believed when the endpoint agrees:
//!
//! - *create* points the slug at the new id first, then writes the endpoint. Between the two, and
//!   for good where a node dies there, the slug names nothing.
//! - A slug that names nothing may be taken over. Whoever does so *buries* the id that it named:
//!   from then on that id is spent, and if its creation is still under way, it fails. So of
//!   simultaneous creations one wins, and none is half there.
//! - *delete* deletes the endpoint with its history, spends its id, and then frees the slug.

use std::num::NonZeroU16;
use std::sync::Arc;

use async_trait::async_trait;
use ploy_webhooks::store::{
    Created, EndpointPatch, EndpointStore, KeyStore, StoreError, TokenStore, Updated,
};
use ploy_webhooks::{Endpoint, EndpointId, Revision, SecretDigest, Slug, Timestamp, WorkspaceId};
use redis::{Cmd, Value};

use crate::RedisStore;
use crate::engine::{Call, Via};
use crate::error::{corrupt, unavailable};
use crate::layout::Bucket;
use crate::owner::Owner;
use crate::script::{self, ScriptCall};
use crate::value;

/// For how long an id is spent: longer than any creation can be under way.
const SPENT_MILLIS: u64 = 86_400_000;
/// How often a creation finds that the slug has changed hands, before it gives up.
const CLAIMS_MAX: usize = 16;
/// What is read of an endpoint.
const FIELDS: [&str; 6] = ["workspace", "slug", "revision", "created_at", "auth", "config"];

#[async_trait]
impl KeyStore for RedisStore {
    async fn endpoint(&self, slug: &Slug) -> Result<Option<Arc<Endpoint>>, StoreError> {
        let Some(id) = self.slug_owner(slug).await? else {
            return Ok(None);
        };
        let found = self.read_endpoint(id).await?;
        Ok(found.filter(|endpoint| endpoint.slug == *slug).map(Arc::new))
    }
}

#[async_trait]
impl EndpointStore for RedisStore {
    async fn create(&self, endpoint: Endpoint) -> Result<Created, StoreError> {
        if !self.claim_slug(&endpoint).await? {
            return Ok(Created::Taken);
        }
        let bucket = self.layout.bucket_of(Owner::Endpoint(endpoint.id));
        let call = ScriptCall::small(&script::CREATE, &bucket.tag);
        let call = call.text(endpoint.id).text(endpoint.workspace);
        let call = call.bytes("slug").bytes(endpoint.slug.as_str());
        let call = call.bytes("created_at").text(endpoint.created_at.as_millis());
        let call = with_state(call, &endpoint);
        let answer =
            self.write(bucket, &script::CREATE, call, "cannot create the endpoint").await?;
        if matches!(answer, Value::Int(1)) {
            return Ok(Created::Created);
        }
        // The id is spent, or another endpoint's. What was claimed for it names nothing, unless
        // the same endpoint is created twice at once.
        let is_of_owner =
            value::bytes(answer).is_some_and(|s| s == endpoint.slug.as_str().as_bytes());
        if !is_of_owner {
            self.free_slug(&endpoint.slug, endpoint.id).await;
        }
        Ok(Created::Taken)
    }

    async fn endpoint_by_id(
        &self,
        workspace: &WorkspaceId,
        id: &EndpointId,
    ) -> Result<Option<Arc<Endpoint>>, StoreError> {
        let found = self.read_endpoint(*id).await?;
        Ok(found.filter(|endpoint| endpoint.workspace == *workspace).map(Arc::new))
    }

    async fn endpoints(
        &self,
        workspace: &WorkspaceId,
        after: Option<EndpointId>,
        limit: NonZeroU16,
    ) -> Result<Vec<Arc<Endpoint>>, StoreError> {
        let begin = after.map_or("-".to_owned(), |id| format!("({id}"));
        let calls = self.over_all_buckets(&script::LIST, |call, _| {
            call.text(workspace).bytes(&begin).text(limit)
        });
        let mut listed = Vec::new();
        for answer in self.engine.call_all(Via::Read, calls).await {
            let answer = answer.map_err(|failure| failure.of_read("cannot list the endpoints"))?;
            for entry in value::array(answer).ok_or_else(|| corrupt("a list of endpoints"))? {
                let [id, fields] =
                    value::parts(entry).ok_or_else(|| corrupt("a list of endpoints"))?;
                let id = value::text(id).and_then(|text| text.parse().ok());
                let id = id.ok_or_else(|| corrupt("the id of an endpoint"))?;
                // One step reads both, so what is listed is there.
                let endpoint = parse_endpoint(id, fields)?;
                listed.push(Arc::new(endpoint.ok_or_else(|| corrupt("a list of endpoints"))?));
            }
        }
        listed.sort_unstable_by_key(|endpoint| endpoint.id);
        listed.truncate(limit.get().into());
        Ok(listed)
    }

    async fn update(
        &self,
        workspace: &WorkspaceId,
        id: &EndpointId,
        expected: Revision,
        patch: EndpointPatch,
    ) -> Result<Updated, StoreError> {
        let Some(before) = self.endpoint_by_id(workspace, id).await? else {
            return Ok(Updated::Missing);
        };
        if before.revision != expected {
            return Ok(Updated::Conflict(before.revision));
        }
        let changed = patch.apply(&before);
        let bucket = self.layout.bucket_of(Owner::Endpoint(*id));
        let call = ScriptCall::small(&script::UPDATE, &bucket.tag);
        let call = with_state(call.text(id).text(workspace).text(expected.get()), &changed);
        let answer =
            self.write(bucket, &script::UPDATE, call, "cannot change the endpoint").await?;
        match answer {
            Value::Int(1) => Ok(Updated::Updated(Arc::new(changed))),
            Value::Int(_) => Ok(Updated::Missing),
            revision => {
                let revision = value::text(revision).and_then(|text| text.parse().ok());
                let revision = revision.ok_or_else(|| corrupt("the revision of an endpoint"))?;
                Ok(Updated::Conflict(Revision::new(revision)))
            }
        }
    }

    async fn delete(&self, workspace: &WorkspaceId, id: &EndpointId) -> Result<bool, StoreError> {
        let bucket = self.layout.bucket_of(Owner::Endpoint(*id));
        let call = ScriptCall::small(&script::DELETE, &bucket.tag);
        let call = call.text(id).text(workspace).text(SPENT_MILLIS);
        let answer =
            self.write(bucket, &script::DELETE, call, "cannot delete the endpoint").await?;
        if value::is_nil(&answer) {
            return Ok(false);
        }
        let slug = value::text(answer).and_then(|text| text.parse().ok());
        self.free_slug(&slug.ok_or_else(|| corrupt("the slug of an endpoint"))?, *id).await;
        Ok(true)
    }
}

#[async_trait]
impl TokenStore for RedisStore {
    async fn root_token(&self) -> Result<Option<SecretDigest>, StoreError> {
        let (slot, key) = self.layout.store_wide("root-token");
        let mut get = redis::cmd("GET");
        get.arg(key);
        let answer = self.engine.call(Via::Read, Call::new(slot, get)).await;
        let answer = answer.map_err(|failure| failure.of_read("cannot read the root token"))?;
        if value::is_nil(&answer) {
            return Ok(None);
        }
        let digest = value::bytes(answer).and_then(|bytes| bytes.try_into().ok());
        let digest = digest.ok_or_else(|| corrupt("the root token"))?;
        Ok(Some(SecretDigest::from_bytes(digest)))
    }

    async fn claim_root_token(
        &self,
        digest: SecretDigest,
        _now: Timestamp,
    ) -> Result<SecretDigest, StoreError> {
        let (slot, key) = self.layout.store_wide("root-token");
        let mut set = redis::cmd("SET");
        set.arg(key).arg(digest.as_bytes()).arg("NX");
        let answer = self.engine.call(Via::Write, Call::new(slot, set)).await;
        answer.map_err(|failure| failure.of_write("cannot set the root token"))?;
        let stands = self.root_token().await?;
        stands.ok_or_else(|| unavailable("the root token that stood a moment ago is gone"))
    }
}

impl RedisStore {
    /// Points the slug at the endpoint. `false` where another endpoint has it.
    async fn claim_slug(&self, endpoint: &Endpoint) -> Result<bool, StoreError> {
        let Endpoint { id, slug, .. } = endpoint;
        for _ in 0..CLAIMS_MAX {
            let (bucket, key) = self.slug_key(slug);
            let mut set = redis::cmd("SET");
            set.arg(key).arg(id.to_string()).arg("NX");
            let answer = self.engine.call(Via::Write, Call::new(bucket.slot, set)).await;
            let answer = answer.map_err(|failure| failure.of_write("cannot claim the slug"))?;
            if !value::is_nil(&answer) {
                return Ok(true);
            }
            match self.slug_owner(slug).await? {
                // Claimed before: by a creation of the same endpoint that was cut off.
                Some(owner) if owner == *id => return Ok(true),
                Some(owner) if self.has_slug(owner, slug).await? => return Ok(false),
                Some(owner) if self.move_slug(slug, owner, Some(*id)).await? => return Ok(true),
                // It has changed hands, or is free.
                Some(_) | None => {}
            }
        }
        Err(unavailable("too many endpoints are created with one slug"))
    }

    /// Whether the endpoint has the slug; if not, it never will.
    async fn has_slug(&self, id: EndpointId, slug: &Slug) -> Result<bool, StoreError> {
        let bucket = self.layout.bucket_of(Owner::Endpoint(id));
        let call = ScriptCall::small(&script::BURY, &bucket.tag);
        let call = call.text(id).bytes(slug.as_str()).text(SPENT_MILLIS);
        let answer = self.write(bucket, &script::BURY, call, "cannot claim the slug").await?;
        Ok(matches!(answer, Value::Int(1)))
    }

    /// Gives the slug from one endpoint to another or to none. Whether the one still had it.
    async fn move_slug(
        &self,
        slug: &Slug,
        from: EndpointId,
        to: Option<EndpointId>,
    ) -> Result<bool, StoreError> {
        let (bucket, key) = self.slug_key(slug);
        let call = ScriptCall::small(&script::MOVE_SLUG, &key).text(from);
        let call = call.bytes(to.map_or(String::new(), |id| id.to_string()));
        let answer = self.write(bucket, &script::MOVE_SLUG, call, "cannot move the slug").await?;
        Ok(matches!(answer, Value::Int(1)))
    }

    /// Frees a slug that names nothing any more. Where that fails it goes on to name nothing, and
    /// whoever wants it takes it over.
    async fn free_slug(&self, slug: &Slug, id: EndpointId) {
        let _ = self.move_slug(slug, id, None).await;
    }

    async fn slug_owner(&self, slug: &Slug) -> Result<Option<EndpointId>, StoreError> {
        let (bucket, key) = self.slug_key(slug);
        let mut get = redis::cmd("GET");
        get.arg(key);
        let answer = self.engine.call(Via::Read, Call::new(bucket.slot, get)).await;
        let answer = answer.map_err(|failure| failure.of_read("cannot look the slug up"))?;
        if value::is_nil(&answer) {
            return Ok(None);
        }
        let id = value::text(answer).and_then(|text| text.parse().ok());
        id.ok_or_else(|| corrupt("a slug")).map(Some)
    }

    fn slug_key(&self, slug: &Slug) -> (&Bucket, String) {
        let bucket = self.layout.bucket_of_slug(slug);
        (bucket, bucket.key(format_args!("slug:{slug}")))
    }

    async fn read_endpoint(&self, id: EndpointId) -> Result<Option<Endpoint>, StoreError> {
        let bucket = self.layout.bucket_of(Owner::Endpoint(id));
        let mut get = Cmd::new();
        get.arg("HMGET").arg(bucket.key(format_args!("endpoint:{id}"))).arg(&FIELDS);
        let answer = self.engine.call(Via::Read, Call::new(bucket.slot, get)).await;
        let answer = answer.map_err(|failure| failure.of_read("cannot read the endpoint"))?;
        parse_endpoint(id, answer)
    }

    pub(crate) async fn write(
        &self,
        bucket: &Bucket,
        script: &'static script::Known,
        call: ScriptCall,
        what: &str,
    ) -> Result<Value, StoreError> {
        let call = Call::of_script(bucket.slot, script, call);
        let answer = self.engine.call(Via::Write, call).await;
        answer.map_err(|failure| failure.of_write(what))
    }
}

/// What of an endpoint changes, as names and values.
fn with_state(call: ScriptCall, endpoint: &Endpoint) -> ScriptCall {
    let call = call.bytes("revision").text(endpoint.revision.get());
    let call = call.bytes("auth").bytes(json(&endpoint.auth));
    call.bytes("config").bytes(json(&endpoint.config))
}

fn json(value: &impl serde::Serialize) -> Vec<u8> {
    serde_json::to_vec(value).expect("all that an endpoint has, has a form in JSON")
}

/// The endpoint with these [`FIELDS`]; `None` where there is none.
fn parse_endpoint(id: EndpointId, fields: Value) -> Result<Option<Endpoint>, StoreError> {
    let broken = || corrupt("an endpoint");
    let fields: [Value; FIELDS.len()] = value::parts(fields).ok_or_else(broken)?;
    if fields.iter().all(value::is_nil) {
        return Ok(None);
    }
    parse_fields(id, fields).ok_or_else(broken).map(Some)
}

fn parse_fields(id: EndpointId, fields: [Value; FIELDS.len()]) -> Option<Endpoint> {
    let [workspace, slug, revision, created_at, auth, config] = fields;
    let number = |value| value::text(value)?.parse().ok();
    let mut endpoint = Endpoint::new(
        id,
        value::text(workspace)?.parse().ok()?,
        value::text(slug)?.parse().ok()?,
        Timestamp::from_millis(number(created_at)?),
        serde_json::from_slice(&value::bytes(auth)?).ok()?,
        serde_json::from_slice(&value::bytes(config)?).ok()?,
    );
    endpoint.revision = Revision::new(number(revision)?);
    Some(endpoint)
}
