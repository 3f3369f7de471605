//! The table of checks as code: one line a check, in the order of the [manual](super).

use std::sync::Arc;

use bytes::Bytes;
use http::HeaderMap;
use http_body::Body;

use super::budget::{Budget, Reservation};
use super::cache::EndpointCache;
use super::check::{self, body};
use super::compose::{self, WhatIsSigned};
use super::in_time::in_time;
use super::known::{Known, Proof};
use super::observer::{Stage, Stages, Watcher};
use super::rates::Rates;
use super::refusal::Outage;
use super::response::{Accepted, Received};
use super::service::SourceAddress;
use super::{Refusal, Settings};
use crate::clock::{Clock, Timestamp};
use crate::endpoint::Endpoint;
use crate::id::CredentialId;
use crate::limit::{LimitKey, RateLimiter};
use crate::limits::Rate;
use crate::store::{Appended, EventStore, KeyStore, StoreError};
use crate::verify::{HandshakeReply, Presented, Proven, Signed, Verifier};

/// What the clones of an intake share.
pub(super) struct Pipeline<E, K> {
    pub(super) events: E,
    pub(super) endpoints: EndpointCache<K>,
    pub(super) limiter: Arc<dyn RateLimiter>,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) budget: Budget,
    pub(super) settings: Settings,
    pub(super) watcher: Watcher,
}

/// Who sends: what the checks of the sender look at.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sender<'a> {
    pub(super) slug: &'a str,
    /// What follows the path, as it was sent; schemes that sign a URL sign it too.
    pub(super) query: Option<&'a str>,
    pub(super) headers: &'a HeaderMap,
    pub(super) source: Option<std::net::IpAddr>,
}

/// What came of a request, and what is said of it besides.
pub(super) struct Taken {
    pub(super) outcome: Result<Received, Refusal>,
    pub(super) trail: Trail,
}

/// What a request leaves behind on its way.
#[derive(Debug, Default)]
pub(super) struct Trail {
    /// The endpoint that it was for, as it was seen last.
    pub(super) endpoint: Option<Arc<Known>>,
    /// By what the sender has proved itself to it, if it has.
    credential: Option<CredentialId>,
    /// When it got as far as the store, if it did.
    appended_at: Option<Timestamp>,
    pub(super) rates: Rates,
    /// How often the endpoint was looked up in the store.
    pub(super) look_ups: u32,
    /// How long the body is, once it is read.
    pub(super) body_bytes: Option<usize>,
    pub(super) stages: Stages,
}

/// An endpoint, and the sender that has proved itself to it.
struct Admitted<'a> {
    endpoint: Arc<Known>,
    sender: Standing<'a>,
}

/// How far a sender has proved itself.
#[derive(Clone, Copy)]
enum Standing<'a> {
    /// By a key.
    Keyed(CredentialId),
    /// Not yet: its signature is over a body that was not read. Its headers were right at that
    /// time.
    Claims(Presented<'a>, Timestamp),
    /// By a signature.
    Signed(Proven, Presented<'a>),
}

impl Trail {
    fn saw(&mut self, endpoint: &Arc<Known>, sender: Option<Standing<'_>>) {
        self.endpoint = Some(endpoint.clone());
        self.credential = sender.and_then(Standing::credential);
    }
}

impl Admitted<'_> {
    /// Whether the endpoint is in that state.
    fn is_as(&self, seen: &Endpoint) -> bool {
        (self.endpoint.id, self.endpoint.revision) == (seen.id, seen.revision)
    }

    /// What the sender is told, where it does not send an event yet but asks something first.
    fn handshake(&self, payload: &[u8]) -> Option<HandshakeReply> {
        match (&self.endpoint.proof, self.sender) {
            (Proof::Signature(verifier), Standing::Signed(proven, _)) => {
                // Most schemes have none, and need not know that the payload is text.
                verifier.scheme().description().handshake?;
                verifier.handshake(proven, compose::text(payload))
            }
            _ => None,
        }
    }
}

impl Standing<'_> {
    const fn credential(self) -> Option<CredentialId> {
        match self {
            Self::Keyed(credential) => Some(credential),
            Self::Signed(proven, _) => Some(proven.credential),
            Self::Claims(..) => None,
        }
    }
}

impl<E: EventStore, K: KeyStore> Pipeline<E, K> {
    /// What the head of the request decides alone.
    pub(super) fn check_head(
        &self,
        head: &http::request::Parts,
        body: &impl Body,
    ) -> Result<(), Refusal> {
        let check = || {
            check::method::check(&head.method)?;
            check::media_type::check(&head.headers)?;
            check::encoding::check(&head.headers)?;
            check::length::check(&head.headers, &body.size_hint(), self.settings.body_bytes_max)
        };
        check().inspect_err(|refusal| self.watcher.tell_refused(refusal))
    }

    /// The rest of the table.
    pub(super) async fn take(&self, sender: Sender<'_>, body: impl Body) -> Taken {
        let mut trail = Trail { stages: self.watcher.stages(), ..Trail::default() };
        let outcome = self.pass(sender, body, &mut trail).await;
        if let Some(endpoint) = &trail.endpoint {
            let now = || trail.appended_at.unwrap_or_else(|| self.clock.now());
            endpoint.counts.count(trail.credential, outcome.as_ref().err(), now);
        }
        self.watcher.tell(&outcome, &mut trail);
        Taken { outcome, trail }
    }

    async fn pass(
        &self,
        sender: Sender<'_>,
        body: impl Body,
        trail: &mut Trail,
    ) -> Result<Received, Refusal> {
        let mut admitted = self.admit(sender, trail).await?;
        if !matches!(admitted.sender, Standing::Claims(..)) {
            self.check_rates(&admitted.endpoint, trail).await?;
        }
        let limit = self.body_bytes_max(&admitted.endpoint);
        if body.size_hint().lower() > limit {
            let changed = self.changed(&admitted.endpoint, sender, None, trail).await?;
            admitted = changed.ok_or(Refusal::PayloadTooLarge { limit })?;
        }
        trail.stages.enter(Stage::Read);
        let (payload, _reservation) = match self.read(body, &admitted.endpoint).await {
            Ok(read) => read,
            Err(refusal) => {
                self.changed(&admitted.endpoint, sender, None, trail).await?;
                return Err(refusal);
            }
        };
        trail.body_bytes = Some(payload.len());
        trail.stages.enter(Stage::Check);
        if let Standing::Claims(presented, at) = admitted.sender {
            admitted =
                self.prove(admitted.endpoint, sender, (presented, at), &payload, trail).await?;
            self.check_rates(&admitted.endpoint, trail).await?;
        }
        if let Err(refusal) = check::json::check(&payload) {
            self.changed(&admitted.endpoint, sender, Some(&payload), trail).await?;
            return Err(refusal);
        }
        trail.stages.enter(Stage::Append);
        self.append(admitted, sender, payload, trail).await
    }

    /// The endpoint, if it takes events of this sender. Nobody is refused on the word of the
    /// cache: it may be older than the key that the sender was just given.
    async fn admit<'a>(
        &self,
        sender: Sender<'a>,
        trail: &mut Trail,
    ) -> Result<Admitted<'a>, Refusal> {
        let Some(endpoint) = self.endpoints.seen(sender.slug) else {
            return self.admit_afresh(sender, None, trail).await;
        };
        let checked = self.check_sender(&endpoint, sender, None);
        self.admit_unless_changed(endpoint, checked, sender, None, trail).await
    }

    /// The endpoint, if what was signed is what came.
    async fn prove<'a>(
        &self,
        endpoint: Arc<Known>,
        sender: Sender<'a>,
        (presented, at): (Presented<'a>, Timestamp),
        payload: &Bytes,
        trail: &mut Trail,
    ) -> Result<Admitted<'a>, Refusal> {
        let checked = match &endpoint.proof {
            Proof::Signature(verifier) => {
                self.check_signature(&endpoint, verifier, sender, (presented, at), payload)
            }
            Proof::Key | Proof::Impossible(_) => {
                self.check_sender(&endpoint, sender, Some(payload))
            }
        };
        let admitted =
            self.admit_unless_changed(endpoint, checked, sender, Some(payload), trail).await?;
        // The body may have been read by the bound of an older state.
        self.check_size(payload, &admitted.endpoint)?;
        Ok(admitted)
    }

    /// What was found, unless it was a refusal by a state that is no longer.
    async fn admit_unless_changed<'a>(
        &self,
        endpoint: Arc<Known>,
        checked: Result<Standing<'a>, Refusal>,
        sender: Sender<'a>,
        payload: Option<&Bytes>,
        trail: &mut Trail,
    ) -> Result<Admitted<'a>, Refusal> {
        match checked {
            Ok(standing) => {
                trail.saw(&endpoint, Some(standing));
                Ok(Admitted { endpoint, sender: standing })
            }
            Err(refusal) => {
                let now = self.look_up(sender, trail).await?;
                // Nobody has a signature verified twice for nothing.
                if Arc::ptr_eq(&now, &endpoint) {
                    return Err(refusal);
                }
                self.admit_to(now, sender, payload, trail)
            }
        }
    }

    async fn admit_afresh<'a>(
        &self,
        sender: Sender<'a>,
        payload: Option<&Bytes>,
        trail: &mut Trail,
    ) -> Result<Admitted<'a>, Refusal> {
        let endpoint = self.look_up(sender, trail).await?;
        self.admit_to(endpoint, sender, payload, trail)
    }

    fn admit_to<'a>(
        &self,
        endpoint: Arc<Known>,
        sender: Sender<'a>,
        payload: Option<&Bytes>,
        trail: &mut Trail,
    ) -> Result<Admitted<'a>, Refusal> {
        let sender = self.check_sender(&endpoint, sender, payload)?;
        trail.saw(&endpoint, Some(sender));
        Ok(Admitted { endpoint, sender })
    }

    /// The endpoint as it is now.
    async fn look_up(&self, sender: Sender<'_>, trail: &mut Trail) -> Result<Arc<Known>, Refusal> {
        trail.look_ups += 1;
        let look_up = in_time(self.settings.append_timeout, self.endpoints.fresh(sender.slug));
        let endpoint = match look_up.await {
            Some(found) => found.map_err(|error| self.store_failed(error))?,
            None => return Err(self.unavailable(Outage::StoreTooSlow)),
        };
        let endpoint = endpoint.ok_or(Refusal::EndpointNotFound)?;
        trail.saw(&endpoint, None);
        Ok(endpoint)
    }

    /// The endpoint as it is now, if that is not how it was seen: asked before a sender is
    /// refused by what may be old. A store that cannot tell changes nothing.
    async fn changed<'a>(
        &self,
        seen: &Endpoint,
        sender: Sender<'a>,
        payload: Option<&Bytes>,
        trail: &mut Trail,
    ) -> Result<Option<Admitted<'a>>, Refusal> {
        match self.admit_afresh(sender, payload, trail).await {
            Ok(now) if now.is_as(seen) => Ok(None),
            Ok(now) => Ok(Some(now)),
            Err(Refusal::Unavailable { .. }) => Ok(None),
            Err(refusal) => Err(refusal),
        }
    }

    /// Who signs is checked twice: what its headers say before the body is read, so that nobody
    /// makes the process hold one for nothing, and the signature when it is there.
    fn check_sender<'a>(
        &self,
        endpoint: &Known,
        sender: Sender<'a>,
        payload: Option<&Bytes>,
    ) -> Result<Standing<'a>, Refusal> {
        check::address::check(endpoint, sender.source)?;
        let standing = match &endpoint.proof {
            Proof::Key => {
                let keys = endpoint.keys();
                Standing::Keyed(check::credential::check(keys, sender.headers, &*self.clock)?)
            }
            Proof::Impossible(outage) => return Err(self.unavailable(outage.clone())),
            Proof::Signature(verifier) => {
                let now = self.clock.now();
                let presented = check::signature::present(verifier, sender.headers, now)?;
                return match payload {
                    None => Ok(Standing::Claims(presented, now)),
                    Some(payload) => {
                        let claims = (presented, now);
                        self.check_signature(endpoint, verifier, sender, claims, payload)
                    }
                };
            }
        };
        check::status::check(endpoint)?;
        Ok(standing)
    }

    fn check_signature<'a>(
        &self,
        endpoint: &Known,
        verifier: &Verifier,
        sender: Sender<'a>,
        (presented, at): (Presented<'a>, Timestamp),
        payload: &Bytes,
    ) -> Result<Standing<'a>, Refusal> {
        let url = self.url_of(endpoint, sender);
        let signed = Signed { method: "POST", url: &url, body: payload };
        let proven = check::signature::verify(verifier, &presented, &signed, at)?;
        check::status::check(endpoint)?;
        Ok(Standing::Signed(proven, presented))
    }

    /// The URL that the sender was told; empty where nothing signs it.
    fn url_of(&self, endpoint: &Known, sender: Sender<'_>) -> String {
        let scheme = endpoint.scheme().filter(|scheme| scheme.signed.has_url());
        match (scheme, &self.settings.public_url) {
            (Some(_), Some(base)) => {
                let query = sender.query.map(|query| format!("?{query}")).unwrap_or_default();
                format!("{base}{}{query}", sender.slug)
            }
            _ => String::new(),
        }
    }

    /// What was signed, where that is taken once.
    fn signed<'a>(
        &self,
        admitted: &'a Admitted<'_>,
        sender: Sender<'_>,
    ) -> Option<WhatIsSigned<'a>> {
        match (&admitted.endpoint.proof, admitted.sender) {
            (Proof::Signature(verifier), Standing::Signed(_, presented)) => {
                let window = admitted.endpoint.once()?;
                let url = self.url_of(&admitted.endpoint, sender);
                Some(WhatIsSigned { verifier, presented, url, window })
            }
            _ => None,
        }
    }

    async fn check_rates(&self, endpoint: &Known, trail: &mut Trail) -> Result<(), Refusal> {
        if let Some(rate) = endpoint.config.limits.rate {
            let of = LimitKey::Endpoint(endpoint.id);
            self.check_rate(of, rate, &mut trail.rates.endpoint).await?;
        }
        if let Some(rate) = endpoint.workspace_rate {
            let of = LimitKey::Workspace(endpoint.workspace);
            self.check_rate(of, rate, &mut trail.rates.workspace).await?;
        }
        Ok(())
    }

    async fn check_rate(
        &self,
        of: LimitKey,
        rate: Rate,
        remains: &mut Option<(Rate, u32)>,
    ) -> Result<(), Refusal> {
        *remains = Some((rate, 0));
        let checked = check::rate::check(of, rate, &self.limiter);
        let remaining = match in_time(self.settings.append_timeout, checked).await {
            Some(Ok(verdict)) => verdict?,
            Some(Err(error)) => return Err(self.store_failed(error)),
            None => return Err(self.unavailable(Outage::StoreTooSlow)),
        };
        *remains = Some((rate, remaining));
        Ok(())
    }

    async fn read(
        &self,
        body: impl Body,
        endpoint: &Endpoint,
    ) -> Result<(Bytes, Reservation<'_>), Refusal> {
        let allowance = body::Allowance {
            bytes_max: self.body_bytes_max(endpoint),
            timeout: self.settings.body_timeout,
        };
        let read = body::read(body, allowance, &self.budget).await;
        read.map_err(|fault| match fault {
            body::Fault::Refused(refusal) => refusal,
            body::Fault::OutOfBudget => self.unavailable(Outage::BodiesInFlight),
        })
    }

    fn body_bytes_max(&self, endpoint: &Endpoint) -> u64 {
        let own = endpoint.config.limits.body_bytes.unwrap_or(u64::MAX);
        own.min(self.settings.body_bytes_max)
    }

    fn check_size(&self, payload: &Bytes, endpoint: &Endpoint) -> Result<(), Refusal> {
        let limit = self.body_bytes_max(endpoint);
        let is_within = payload.len() as u64 <= limit;
        is_within.then_some(()).ok_or(Refusal::PayloadTooLarge { limit })
    }

    /// Appends the event under the state that it was checked against. Where that has changed
    /// meanwhile, the sender is checked against the new one, a few times at most.
    async fn append<'a>(
        &self,
        mut admitted: Admitted<'a>,
        sender: Sender<'a>,
        mut payload: Bytes,
        trail: &mut Trail,
    ) -> Result<Received, Refusal> {
        const ROUNDS: usize = 3;
        for _ in 0..ROUNDS {
            let now = self.clock.now();
            trail.appended_at = Some(now);
            let endpoint = &admitted.endpoint;
            if let Some(reply) = admitted.handshake(&payload) {
                // There is no append by which a state that is old would be found out.
                let now = self.admit_afresh(sender, Some(&payload), trail).await?;
                if now.is_as(endpoint) {
                    return Ok(Received::Handshake(reply));
                }
                admitted = now;
                continue;
            }
            let kept_headers = &self.settings.kept_headers;
            let signed = self.signed(&admitted, sender);
            let event = match compose::event(endpoint, &sender, signed, kept_headers, payload, now)
            {
                Ok(event) => event,
                Err(compose::KeyMissing(back)) => {
                    payload = back;
                    let changed = self.changed(endpoint, sender, Some(&payload), trail).await?;
                    admitted = changed.ok_or(Refusal::DedupKeyMissing)?;
                    continue;
                }
            };
            let id = event.id;
            match in_time(self.settings.append_timeout, self.events.append(event)).await {
                Some(Ok(Appended::Stored)) => {
                    return Ok(Received::Event(Accepted { id, duplicate: false }));
                }
                Some(Ok(Appended::Duplicate(id))) => {
                    return Ok(Received::Event(Accepted { id, duplicate: true }));
                }
                Some(Ok(Appended::OverQuota { resets_in })) => {
                    return Err(Refusal::QuotaExceeded { resets_in });
                }
                Some(Ok(Appended::Fenced(event))) => payload = event.payload,
                Some(Err(error)) => return Err(self.store_failed(error)),
                None => return Err(self.unavailable(Outage::StoreTooSlow)),
            }
            admitted = self.admit_afresh(sender, Some(&payload), trail).await?;
            self.check_size(&payload, &admitted.endpoint)?;
        }
        Err(self.unavailable(Outage::EndpointChanging))
    }

    fn store_failed(&self, error: StoreError) -> Refusal {
        self.unavailable(Outage::Store(Arc::new(error)))
    }

    const fn unavailable(&self, outage: Outage) -> Refusal {
        Refusal::Unavailable { outage, retry_after: self.settings.retry_after }
    }
}

impl<'a> Sender<'a> {
    /// The slug is the last segment of the path; where the service is mounted is the app's
    /// business.
    pub(super) fn of(head: &'a http::request::Parts) -> Self {
        let path = head.uri.path();
        Self {
            slug: path.rsplit_once('/').map_or(path, |(_, last)| last),
            query: head.uri.query(),
            headers: &head.headers,
            source: head.extensions.get().map(|SourceAddress(address)| *address),
        }
    }
}
