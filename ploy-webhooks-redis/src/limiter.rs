//! The limiter of all nodes: one count for each rate, kept by the server and by its clock.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use ploy_webhooks::Rate;
use ploy_webhooks::limit::{Admission, LimitKey, RateLimiter};
use ploy_webhooks::store::StoreError;

use crate::RedisStore;
use crate::engine::{Call, Engine, Via};
use crate::error::corrupt;
use crate::layout::Layout;
use crate::script::{self, ScriptCall};
use crate::settings::RedisSettings;
use crate::startup;
use crate::value;

/// Limits each endpoint and workspace by what all nodes together see of it.
///
/// Works beside any store. Nodes that have the same server and the same
/// [`prefix`](RedisSettings::prefix) share their counts.
///
/// A count is kept in memory alone, whatever the durability: a server that restarts may begin
/// with a full burst.
#[derive(Debug)]
pub struct RedisLimiter {
    engine: Arc<Engine>,
    layout: Arc<Layout>,
}

impl RedisLimiter {
    /// Connects to the server. Of the settings it uses the URLs, the prefix and the time-outs.
    ///
    /// # Errors
    ///
    /// - [`Unavailable`](ploy_webhooks::store::StoreErrorKind::Unavailable): no node answers.
    /// - [`Refused`](ploy_webhooks::store::StoreErrorKind::Refused): the server is too old, or a
    ///   replica.
    /// - [`Misuse`](ploy_webhooks::store::StoreErrorKind::Misuse): a setting is none.
    ///
    /// # Panics
    ///
    /// Outside a tokio runtime.
    pub async fn connect(settings: RedisSettings) -> Result<Self, StoreError> {
        settings.check_prefix()?;
        let engine = Engine::connect(&settings).await?;
        for node in engine.masters() {
            startup::check_server(&node).await?;
        }
        let layout = Layout::new(&settings.prefix, settings.buckets);
        Ok(Self { engine, layout: Arc::new(layout) })
    }
}

impl RedisStore {
    /// A limiter on the server of the store, over its connections.
    #[must_use]
    pub fn limiter(&self) -> RedisLimiter {
        RedisLimiter { engine: self.engine.clone(), layout: self.layout.clone() }
    }
}

#[async_trait]
impl RateLimiter for RedisLimiter {
    async fn check(&self, of: LimitKey, rate: Rate) -> Result<Admission, StoreError> {
        let (slot, key) = self.layout.rate_of(of);
        let call = ScriptCall::small(&script::ADMIT, &key);
        let call = call.text(rate.per_second).text(rate.at_once());
        let call = Call::of_script(slot, &script::ADMIT, call);
        let answer = self.engine.call(Via::Passing, call).await;
        // Whether it was counted or not, nothing was stored, and it may be asked again.
        let answer = answer.map_err(|failure| failure.of_read("cannot check the rate"))?;
        value::int(&answer).and_then(parse).ok_or_else(|| corrupt("the count of a rate"))
    }
}

/// What `scripts/admit.lua` answers.
fn parse(answer: i64) -> Option<Admission> {
    Some(match u64::try_from(answer) {
        Ok(micros @ 1..) => Admission::Exceeded { retry_after: Duration::from_micros(micros) },
        _ => Admission::Admitted { remaining: answer.unsigned_abs().try_into().ok()? },
    })
}
