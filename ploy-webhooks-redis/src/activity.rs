//! [`ActivityStore`]: what endpoints were sent, and by whom.
//!
//! What is used of a quota is a field of the endpoint, which `append` reads for the fence anyhow;
//! what was observed is a hash beside it. Both go with the endpoint.

use std::collections::BTreeMap;
use std::num::NonZeroU32;

use async_trait::async_trait;
use ploy_webhooks::store::{
    Activity, ActivityStore, OBSERVED_MAX, Observation, Observed, QuotaUse, StoreError,
    StoreErrorKind, Tally,
};
use ploy_webhooks::{EndpointId, QuotaCount, Timestamp, WorkspaceId};
use redis::Value;

use crate::RedisStore;
use crate::engine::{Answer, Call, Via};
use crate::error::corrupt;
use crate::layout::Layout;
use crate::owner::Owner;
use crate::script::{self, ScriptCall};
use crate::value;

/// A call with more names keeps whoever else asks the server waiting for longer than it saves.
const CALL_NAMES_MAX: usize = 512;

/// What was observed, by where it is kept: what goes to one endpoint stands together, and so does
/// what one script can reach.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Name {
    group: u16,
    bucket: u16,
    endpoint: EndpointId,
    workspace: WorkspaceId,
    what: Observed,
}

/// How often it was, and when last.
type Count = (u64, Timestamp);

#[async_trait]
impl ActivityStore for RedisStore {
    async fn observe(&self, observations: Vec<Observation>) -> Result<(), StoreError> {
        let counts = self.added_up(observations);
        let groups = counts.chunk_by(|(one, _), (next, _)| one.group == next.group);
        let calls = groups.flat_map(|counts| counts.chunks(CALL_NAMES_MAX));
        let calls = calls.map(|counts| call_of(&self.layout, counts)).collect();
        outcome_of(self.engine.call_all(Via::Write, calls).await)
    }

    async fn activity(
        &self,
        workspace: &WorkspaceId,
        endpoint: &EndpointId,
    ) -> Result<Option<Activity>, StoreError> {
        let bucket = self.layout.bucket_of(Owner::Endpoint(*endpoint));
        let call = ScriptCall::small(&script::ACTIVITY, &bucket.tag).text(endpoint).text(workspace);
        let call = Call::of_script(bucket.slot, &script::ACTIVITY, call);
        let answer = self.engine.call(Via::Read, call).await;
        let answer = answer.map_err(|failure| failure.of_read("cannot read the activity"))?;
        if value::is_nil(&answer) {
            return Ok(None);
        }
        parse(answer).ok_or_else(|| corrupt("the activity of an endpoint")).map(Some)
    }
}

impl RedisStore {
    /// Each name once.
    fn added_up(&self, observations: Vec<Observation>) -> Vec<(Name, Count)> {
        let mut counts: BTreeMap<Name, Count> = BTreeMap::new();
        for Observation { workspace, endpoint, what, count, last_at } in observations {
            let bucket = self.layout.bucket_of(Owner::Endpoint(endpoint));
            let group = self.engine.group_of(bucket.slot);
            let name = Name { group, bucket: bucket.number, endpoint, workspace, what };
            let (sum, latest) = counts.entry(name).or_insert((0, last_at));
            *sum = sum.saturating_add(count);
            *latest = last_at.max(*latest);
        }
        counts.into_iter().collect()
    }
}

/// The call that adds these up with what is kept. See `scripts/observe.lua` for its arguments.
fn call_of(layout: &Layout, counts: &[(Name, Count)]) -> Call {
    let bucket = |(name, _): &(Name, Count)| &layout.buckets()[usize::from(name.bucket)];
    let in_buckets: Vec<_> =
        counts.chunk_by(|(one, _), (next, _)| one.bucket == next.bucket).collect();
    let keys = in_buckets.iter().map(|counts| &bucket(&counts[0]).tag);
    let mut call = ScriptCall::new(&script::OBSERVE, keys, (7 * counts.len(), 128 * counts.len()));
    let of_one_endpoint = |(one, _): &(Name, Count), (next, _): &(Name, Count)| {
        (one.endpoint, one.workspace) == (next.endpoint, next.workspace)
    };
    call.push_text(OBSERVED_MAX);
    call.push_text(in_buckets.iter().flat_map(|counts| counts.chunk_by(of_one_endpoint)).count());
    for (number, counts) in in_buckets.iter().enumerate() {
        for counts in counts.chunk_by(of_one_endpoint) {
            let (name, _) = &counts[0];
            call.push_text(number + 1);
            call.push_text(name.endpoint);
            call.push_text(name.workspace);
            call.push_text(counts.len());
            for (Name { what, .. }, (count, last_at)) in counts {
                call.push_text(what);
                call.push_text(count);
                call.push_text(last_at.as_millis());
            }
        }
    }
    Call::of_script(bucket(&counts[0]).slot, &script::OBSERVE, call)
}

/// What came of all calls together: who is told that nothing was counted may count it again.
fn outcome_of(answers: Vec<Answer>) -> Result<(), StoreError> {
    let (mut is_counted, mut refusal) = (false, None);
    for answer in answers {
        match answer.map_err(|failure| failure.of_write("cannot add observations up")) {
            Ok(_) => is_counted = true,
            Err(error) if error.kind() == StoreErrorKind::Indeterminate => return Err(error),
            Err(error) => refusal = Some(error),
        }
    }
    match refusal {
        Some(error) if is_counted => Err(StoreError::new(
            StoreErrorKind::Indeterminate,
            format!("some of the observations are added up, and for others: {error}"),
        )),
        Some(error) => Err(error),
        None => Ok(()),
    }
}

/// What `scripts/activity.lua` answers.
fn parse(answer: Value) -> Option<Activity> {
    let [now, quota, observed] = value::parts(answer)?;
    let now = Timestamp::from_millis(value::int(&now)?.try_into().ok()?);
    let quota = match value::is_nil(&quota) {
        true => None,
        false => Some(parse_quota(&value::text(quota)?, now)?),
    };
    let mut texts = value::array(observed)?.into_iter().map(value::text);
    let mut tallies = BTreeMap::new();
    while let Some(name) = texts.next() {
        let name = name?;
        let tally = parse_tally(&name, &texts.next()??)?;
        tallies.insert(name, tally);
    }
    Some(Activity { quota, observed: tallies.into_values().collect() })
}

/// The period in milliseconds (0: the life of the endpoint), its number, how many events.
fn parse_quota(kept: &str, now: Timestamp) -> Option<QuotaUse> {
    let (period_millis, kept) = kept.split_once(' ')?;
    let (number, used) = kept.split_once(' ')?;
    let period_millis: u64 = period_millis.parse().ok()?;
    let period_seconds = NonZeroU32::new((period_millis / 1_000).try_into().ok()?);
    let (number, used): (u64, u64) = (number.parse().ok()?, used.parse().ok()?);
    let count = QuotaCount { period_seconds, period: number, events: used };
    Some(QuotaUse::of(count, now))
}

/// How often, and when last.
fn parse_tally(name: &str, kept: &str) -> Option<Tally> {
    let (count, last_at) = kept.split_once(' ')?;
    let Ok(what) = name.parse();
    let last_at = Timestamp::from_millis(last_at.parse().ok()?);
    Some(Tally { what, count: count.parse().ok()?, last_at })
}
