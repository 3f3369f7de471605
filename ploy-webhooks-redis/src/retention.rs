//! [`RetentionStore`]: events that have been kept for long enough, removed some at a time.
//!
//! All of an owner lies in one bucket, and its index is in the order of ids: so one script looks at
//! the oldest, decides and removes, and nobody comes in between. Nothing else is done meanwhile on
//! that server, so it is given little at once.

use async_trait::async_trait;
use ploy_webhooks::EventId;
use ploy_webhooks::store::{Expired, RetentionStore, StoreError, Sweep, SweepPlace};
use redis::Value;

use crate::RedisStore;
use crate::error::corrupt;
use crate::owner::Owner;
use crate::run_record::millis;
use crate::script::{self, ScriptCall};
use crate::value;

/// So many events are looked at by one script.
const EVENTS_AT_ONCE: u16 = 256;
/// And of payloads so many bytes are freed, and the last one.
const BYTES_AT_ONCE: u32 = 4 << 20;

#[async_trait]
impl RetentionStore for RedisStore {
    async fn expire(&self, sweep: &Sweep) -> Result<Expired, StoreError> {
        let owner = match sweep.endpoint {
            Some(fence) => Owner::Endpoint(fence.endpoint),
            None => Owner::Workspace(sweep.workspace),
        };
        let bucket = self.layout.bucket_of(owner);
        let call =
            ScriptCall::small(&script::EXPIRE, &bucket.tag).text(owner).text(sweep.workspace);
        let call = match sweep.endpoint {
            Some(fence) => call.text(fence.checked_at.get()),
            None => call.bytes(""),
        };
        let call = match sweep.older_than {
            Some(age) => call.text(millis(age)),
            None => call.bytes(""),
        };
        let call = match sweep.from {
            Some(place) => call.bytes([b"[", &place.event().as_bytes()[..]].concat()),
            None => call.bytes("-"),
        };
        let call = call.text(EVENTS_AT_ONCE).text(BYTES_AT_ONCE);
        let answer = self.write(bucket, &script::EXPIRE, call, "cannot remove old events").await?;
        if value::is_nil(&answer) {
            return Ok(Expired::Fenced);
        }
        parse(answer).ok_or_else(|| corrupt("how many events are gone"))
    }
}

fn parse(answer: Value) -> Option<Expired> {
    let [gone, next] = value::parts(answer)?;
    let next = match &value::bytes(next)?[..] {
        [] => None,
        id => Some(SweepPlace::at(&EventId::from_bytes(id.try_into().ok()?))),
    };
    Some(Expired::Swept { events: u64::try_from(value::int(&gone)?).ok()?, next })
}
