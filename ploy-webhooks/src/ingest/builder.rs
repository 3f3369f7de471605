//! [`Builder`]: an [`Ingest`] with parts or settings of one's own.

use std::fmt;
use std::sync::Arc;

use super::budget::Budget;
use super::cache::EndpointCache;
use super::known::Secrets;
use super::observer::{Observer, Watcher};
use super::pipeline::Pipeline;
use super::service::Ingest;
use super::{Settings, SettingsError};
use crate::clock::{Clock, SystemClock};
use crate::limit::{LocalLimiter, RateLimiter};
use crate::seal::Keyring;
use crate::store::{DefinitionStore, EventStore, KeyStore};
use crate::trigger::TriggerRunner;

/// Assembles an [`Ingest`] with parts or settings of one's own.
#[must_use]
pub struct Builder<E, K, T = ()> {
    events: E,
    keys: K,
    runner: T,
    definitions: Option<Arc<dyn DefinitionStore>>,
    keyring: Option<Keyring>,
    limiter: Arc<dyn RateLimiter>,
    clock: Arc<dyn Clock>,
    settings: Settings,
    watcher: Watcher,
}

impl<E: EventStore, K: KeyStore> Builder<E, K> {
    pub(super) fn new(events: E, keys: K) -> Self {
        Self {
            events,
            keys,
            runner: (),
            definitions: None,
            keyring: None,
            limiter: Arc::new(LocalLimiter::new()),
            clock: Arc::new(SystemClock),
            settings: Settings::default(),
            watcher: Watcher::default(),
        }
    }

    /// What carries out the runs that events owe, once it is told to
    /// [`dispatch`](Ingest::dispatch). Default: nothing does.
    pub fn runner<T: TriggerRunner>(self, runner: T) -> Builder<E, K, T> {
        let Self { events, keys, runner: (), definitions, keyring, limiter, clock, .. } = self;
        let Self { settings, watcher, .. } = self;
        Builder { events, keys, runner, definitions, keyring, limiter, clock, settings, watcher }
    }
}

impl<E: EventStore, K: KeyStore, T> Builder<E, K, T> {
    /// What opens the secrets of endpoints whose senders sign: the one that they were sealed by.
    /// Default: none, and who signs is answered 503.
    pub fn keyring(self, keyring: Keyring) -> Self {
        Self { keyring: Some(keyring), ..self }
    }

    /// Where subscriptions and the bounds of workspaces are. Default: there are none.
    pub fn definitions(self, definitions: impl DefinitionStore) -> Self {
        Self { definitions: Some(Arc::new(definitions)), ..self }
    }

    /// The bounds. Default: those of [`Settings`].
    pub fn settings(self, settings: Settings) -> Self {
        Self { settings, ..self }
    }

    /// What limits rates. Default: a [`LocalLimiter`], which counts what this process sees.
    pub fn limiter(self, limiter: impl RateLimiter) -> Self {
        Self { limiter: Arc::new(limiter), ..self }
    }

    /// Where the time comes from. Default: the machine.
    pub fn clock(self, clock: impl Clock) -> Self {
        Self { clock: Arc::new(clock), ..self }
    }

    /// Who is told what becomes of each request. Default: nobody, and nothing is measured.
    pub fn observer(self, observer: impl Observer) -> Self {
        Self { watcher: Watcher(Some(Arc::new(observer))), ..self }
    }

    /// The intake.
    ///
    /// # Errors
    ///
    /// When the settings contradict themselves; the error names the one.
    pub fn build(self) -> Result<Ingest<E, K, T>, SettingsError> {
        self.settings.check()?;
        Ok(self.assemble())
    }

    pub(super) fn assemble(self) -> Ingest<E, K, T> {
        let Self { events, keys, runner, definitions, keyring, limiter, clock, .. } = self;
        let Self { settings, watcher, .. } = self;
        let secrets = Secrets { keyring, knows_its_url: settings.public_url.is_some() };
        let cached_max = settings.cached_endpoints_max;
        let endpoints = EndpointCache::new(keys, definitions, secrets, cached_max);
        let budget = Budget::new(settings.in_flight_bytes_max);
        let pipeline = Pipeline { events, endpoints, limiter, clock, budget, settings, watcher };
        Ingest::of(pipeline, runner)
    }
}

impl<E: fmt::Debug, K: fmt::Debug, T> fmt::Debug for Builder<E, K, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Builder")
            .field("events", &self.events)
            .field("keys", &self.keys)
            .field("settings", &self.settings)
            .finish_non_exhaustive()
    }
}
