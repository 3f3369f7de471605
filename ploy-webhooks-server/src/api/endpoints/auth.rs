//! How senders are to prove who they are, as callers say it, and what an endpoint keeps of it.

use std::num::NonZeroU32;
use std::time::Duration;

use ploy_webhooks::verify::{Digest, Preset, Scheme, SignatureScheme};
use ploy_webhooks::{
    Auth, Clock, DedupBy, Endpoint, EndpointConfig, EndpointId, KeyDigest, Keyring, Secret,
    SignatureAuth, SigningSecret, SystemClock, Timestamp,
};
use serde::de::Error;
use serde::{Deserialize, Deserializer};
use serde_json::{Map, Value};

use crate::api::problem::Problem;

const TOLERANCE_SECONDS_MAX: u32 = 86_400;

/// `auth`, as it is asked for.
#[derive(Debug)]
pub(super) enum AuthForm {
    ApiKey,
    Signature(Box<SignatureForm>),
}

#[derive(Debug)]
pub(super) struct SignatureForm {
    scheme: Scheme,
    secret: Option<Secret>,
    tolerance_seconds: Option<NonZeroU32>,
    once: Option<bool>,
}

/// A secret in clear, in the one answer that shows it.
#[derive(Clone, Debug)]
pub(super) enum Shown {
    ApiKey(Secret),
    SigningSecret(Secret),
}

impl<'de> Deserialize<'de> for AuthForm {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let mut members = Map::<String, Value>::deserialize(deserializer)?;
        let name: String = take(&mut members, "scheme")?.ok_or_else(|| {
            D::Error::custom("`scheme` is missing: `api-key`, a preset or `custom`")
        })?;
        if name == "api-key" {
            no_more(&members)?;
            return Ok(Self::ApiKey);
        }
        let secret = take::<String, _>(&mut members, "secret")?.map(Secret::from);
        let tolerance_seconds = take::<NonZeroU32, _>(&mut members, "tolerance_seconds")?;
        if tolerance_seconds.is_some_and(|seconds| seconds.get() > TOLERANCE_SECONDS_MAX) {
            return Err(D::Error::custom("`tolerance_seconds` is 1 to 86400"));
        }
        let once = take(&mut members, "once")?;
        let scheme = match Preset::named(&name) {
            Some(preset) => {
                no_more(&members)?;
                Scheme::Preset(preset)
            }
            None if name == "custom" => {
                let scheme = serde_json::from_value::<SignatureScheme>(Value::Object(members));
                Scheme::Custom(scheme.map_err(D::Error::custom)?.into())
            }
            None => return Err(D::Error::custom(no_such_scheme())),
        };
        let form = SignatureForm { scheme, secret, tolerance_seconds, once };
        Ok(Self::Signature(Box::new(form)))
    }
}

fn no_such_scheme() -> String {
    let presets: Vec<_> = Preset::all().map(|preset| preset.name()).collect();
    format!("`scheme` is `api-key`, `custom`, or one of {}", presets.join(", "))
}

/// Takes a member out, if it is there.
fn take<T: serde::de::DeserializeOwned, E: Error>(
    members: &mut Map<String, Value>,
    name: &str,
) -> Result<Option<T>, E> {
    let value = members.remove(name);
    // What a value is says nothing of what it holds: it may be a secret.
    let parse = |value| serde_json::from_value(value);
    value.map(parse).transpose().map_err(|_| E::custom(format!("`{name}` is of another type")))
}

fn no_more<E: Error>(members: &Map<String, Value>) -> Result<(), E> {
    match members.keys().next() {
        None => Ok(()),
        Some(name) => Err(E::custom(format!("unknown field `{name}`"))),
    }
}

impl SignatureForm {
    fn with(&self, mut auth: SignatureAuth) -> SignatureAuth {
        if let Some(tolerance) = self.tolerance_seconds {
            auth.tolerance_seconds = tolerance;
        }
        if let Some(once) = self.once {
            auth.once = once;
        }
        auth
    }
}

/// Refuses to mint a secret for senders that cannot be given one.
fn may_be_minted(scheme: &Scheme) -> Result<(), Problem> {
    match scheme.description().method.digest {
        Digest::Ed25519 => Err(Problem::invalid(
            "`auth.secret`: nobody but the sender makes its keys; give its public key",
        )),
        _ => Ok(()),
    }
}

/// The secret as it is kept, if the scheme can use it.
fn sealed(
    keyring: &Keyring,
    endpoint: EndpointId,
    scheme: &Scheme,
    secret: &Secret,
    now: Timestamp,
) -> Result<SigningSecret, Problem> {
    SigningSecret::seal(keyring, endpoint, scheme, secret, now)
        .map_err(|error| Problem::invalid(format!("`auth.secret`: {error}")))
}

/// Credentials that an endpoint is to have, decided on before it is looked at: what is minted is
/// the same however often a change is tried.
#[derive(Debug)]
pub(super) enum NewAuth {
    ApiKey(Secret),
    /// With the secret that is given, or one that is minted in case it is needed.
    Signature(Box<SignatureForm>, Secret),
}

impl NewAuth {
    /// What is asked for; a key, where nothing is.
    pub(super) fn of(form: Option<AuthForm>) -> Self {
        match form {
            None | Some(AuthForm::ApiKey) => Self::ApiKey(Secret::mint_api_key()),
            Some(AuthForm::Signature(form)) => {
                let secret = form.secret.clone().unwrap_or_else(Secret::mint_signing_secret);
                Self::Signature(form, secret)
            }
        }
    }

    /// The credentials of a new endpoint of that id.
    pub(super) fn create(
        &self,
        endpoint: EndpointId,
        keyring: &Keyring,
        now: Timestamp,
    ) -> Result<(Auth, Shown), Problem> {
        match self {
            Self::ApiKey(key) => Ok((Auth::api_key(key.digest()), Shown::ApiKey(key.clone()))),
            Self::Signature(form, secret) => {
                if form.secret.is_none() {
                    may_be_minted(&form.scheme)?;
                }
                let sealed = sealed(keyring, endpoint, &form.scheme, secret, now)?;
                let auth = SignatureAuth::new(form.scheme.clone(), sealed);
                Ok((Auth::Signature(form.with(auth)), Shown::SigningSecret(secret.clone())))
            }
        }
    }

    /// The credentials of that endpoint after the change, and what is new among them: with
    /// another scheme or another secret, those that it had are of no use any more.
    pub(super) fn change(
        &self,
        endpoint: &Endpoint,
        keyring: &Keyring,
        now: Timestamp,
    ) -> Result<(Auth, Option<Shown>), Problem> {
        match (self, &endpoint.auth) {
            (Self::ApiKey(_), auth @ Auth::ApiKey { .. }) => Ok((auth.clone(), None)),
            (Self::Signature(form, _), Auth::Signature(auth))
                if form.secret.is_none() && form.scheme == auth.scheme =>
            {
                Ok((Auth::Signature(form.with(auth.clone())), None))
            }
            _ => {
                let (auth, shown) = self.create(endpoint.id, keyring, now)?;
                Ok((auth, Some(shown)))
            }
        }
    }
}

/// A new credential in place of the one that an endpoint has.
#[derive(Debug)]
pub(super) struct Rotated {
    pub(super) given: Option<Secret>,
    /// Minted in case none was given.
    pub(super) key: Secret,
    pub(super) signing_secret: Secret,
    pub(super) overlap: Duration,
}

impl Rotated {
    pub(super) fn new(given: Option<Secret>, overlap: Duration) -> Self {
        let (key, signing_secret) = (Secret::mint_api_key(), Secret::mint_signing_secret());
        Self { given, key, signing_secret, overlap }
    }

    /// The credentials of that endpoint with the new one.
    pub(super) fn apply(
        &self,
        endpoint: &Endpoint,
        keyring: &Keyring,
    ) -> Result<(Auth, Shown), Problem> {
        let now = SystemClock.now();
        match &endpoint.auth {
            Auth::ApiKey { .. } if self.given.is_some() => {
                Err(Problem::invalid("`secret`: keys are minted; leave it out"))
            }
            Auth::ApiKey { keys } => {
                let keys = KeyDigest::rotated(keys, self.key.digest(), self.overlap, now);
                Ok((Auth::ApiKey { keys }, Shown::ApiKey(self.key.clone())))
            }
            Auth::Signature(auth) => {
                let secret = match &self.given {
                    Some(secret) => secret,
                    None => {
                        may_be_minted(&auth.scheme)?;
                        &self.signing_secret
                    }
                };
                let sealed = sealed(keyring, endpoint.id, &auth.scheme, secret, now)?;
                let auth = auth.rotated(sealed, self.overlap, now);
                Ok((Auth::Signature(auth), Shown::SigningSecret(secret.clone())))
            }
            _ => Err(Problem::conflict("the endpoint has no credential to rotate")),
        }
    }
}

/// Refuses what would promise more than can be kept: what is taken once has to be told by what was
/// signed.
pub(super) fn check(auth: &Auth, config: &EndpointConfig) -> Result<(), Problem> {
    let Auth::Signature(SignatureAuth { scheme, once: true, .. }) = auth else {
        return Ok(());
    };
    let description = scheme.description();
    if !description.signs() {
        return Err(Problem::invalid(format!(
            "`auth.once`: the scheme `{}` signs nothing by which a repeat could be told",
            scheme.name()
        )));
    }
    match config.dedup.as_ref().map(|rule| &rule.by) {
        Some(DedupBy::Header(name)) if !description.signs_header(name) => {
            Err(Problem::invalid(format!(
                "`dedup.header`: `{name}` is not signed, so that with `auth.once` whoever repeats a \
                 request could change it; leave `dedup` out, or deduplicate by `pointers` or `body`"
            )))
        }
        _ => Ok(()),
    }
}
