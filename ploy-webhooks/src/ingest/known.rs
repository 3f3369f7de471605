//! An endpoint as the pipeline knows it: with all that its state makes of a request, made ready.

use std::ops::Deref;
use std::sync::Arc;
use std::time::Duration;

use super::counts::Counts;
use super::refusal::Outage;
use crate::auth::{Auth, KeyDigest};
use crate::endpoint::{DedupBy, DedupRule, Endpoint};
use crate::limits::Rate;
use crate::seal::Keyring;
use crate::subscription::Wiring;
use crate::value_source::ValueSource;
use crate::verify::{SignatureScheme, Verifier};

/// An endpoint, and what its events run.
#[derive(Debug)]
pub(super) struct Known {
    endpoint: Arc<Endpoint>,
    pub(super) wiring: Wiring,
    pub(super) proof: Proof,
    pub(super) dedup: Option<DedupRule>,
    /// The rate of all endpoints of its workspace together.
    pub(super) workspace_rate: Option<Rate>,
    /// What was observed of its senders.
    pub(super) counts: Arc<Counts>,
}

/// How a sender proves who it is.
#[derive(Debug)]
pub(super) enum Proof {
    Key,
    Signature(Box<Verifier>),
    /// By a signature that this process cannot verify.
    Impossible(Outage),
}

impl Known {
    pub(super) fn new(
        endpoint: Arc<Endpoint>,
        wiring: Wiring,
        workspace_rate: Option<Rate>,
        secrets: &Secrets,
    ) -> Self {
        let proof = secrets.proof_of(&endpoint);
        let dedup = dedup_of(&endpoint);
        let counts = Arc::new(Counts::of(&endpoint));
        Self { endpoint, wiring, proof, dedup, workspace_rate, counts }
    }

    /// The keys of senders that show one.
    pub(super) fn keys(&self) -> &[KeyDigest] {
        match &self.auth {
            Auth::ApiKey { keys } => keys,
            Auth::Signature(_) => &[],
        }
    }

    /// For how long what was signed is remembered, where it is taken once: for as long as the
    /// time in it may be presented, which may lie ahead too.
    pub(super) fn once(&self) -> Option<Duration> {
        match &self.endpoint.auth {
            Auth::Signature(auth) if auth.once => {
                let has_time = auth.scheme.description().timestamp.is_some();
                Some(auth.tolerance() * if has_time { 2 } else { 1 })
            }
            _ => None,
        }
    }

    /// Where the type of an event is read from: as the operator has it, or else as the scheme of
    /// its signature knows it.
    pub(super) fn event_type(&self) -> Option<&ValueSource> {
        self.config.event_type.as_ref().or_else(|| self.scheme()?.event_type.as_ref())
    }

    pub(super) fn scheme(&self) -> Option<&SignatureScheme> {
        scheme_of(&self.endpoint)
    }
}

fn scheme_of(endpoint: &Endpoint) -> Option<&SignatureScheme> {
    match &endpoint.auth {
        Auth::ApiKey { .. } => None,
        Auth::Signature(signature) => Some(signature.scheme.description()),
    }
}

/// How a repeat is recognised: as the operator has it, or else by what the scheme of its signature
/// calls a delivery.
fn dedup_of(endpoint: &Endpoint) -> Option<DedupRule> {
    let by = match &endpoint.config.dedup {
        Some(DedupRule { by: DedupBy::Nothing, .. }) => return None,
        Some(rule) => return Some(rule.clone()),
        None => match scheme_of(endpoint)?.delivery.clone()? {
            ValueSource::Header(name) => DedupBy::Header(name),
            ValueSource::Pointer(pointer) => DedupBy::Pointers(vec![pointer]),
        },
    };
    Some(DedupRule::new(by))
}

impl Deref for Known {
    type Target = Endpoint;

    fn deref(&self) -> &Endpoint {
        &self.endpoint
    }
}

/// What it takes to verify signatures, besides the endpoint.
#[derive(Debug, Default)]
pub(super) struct Secrets {
    pub(super) keyring: Option<Keyring>,
    /// Whether this process knows the URL that senders know it by.
    pub(super) knows_its_url: bool,
}

impl Secrets {
    fn proof_of(&self, endpoint: &Endpoint) -> Proof {
        let Auth::Signature(signature) = &endpoint.auth else {
            return Proof::Key;
        };
        if signature.scheme.description().signed.has_url() && !self.knows_its_url {
            return Proof::Impossible(Outage::NoPublicUrl);
        }
        let Some(keyring) = &self.keyring else {
            return Proof::Impossible(Outage::NoKeyring);
        };
        match signature.verifier(endpoint.id, keyring) {
            Ok(verifier) => Proof::Signature(Box::new(verifier)),
            Err(error) => Proof::Impossible(Outage::Secrets(error)),
        }
    }
}
