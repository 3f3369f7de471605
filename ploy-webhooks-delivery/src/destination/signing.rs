//! How a receiver knows who sends.

use std::sync::{Arc, LazyLock};
use std::time::Duration;

use http::HeaderName;
use ploy_webhooks::verify::{Digest, Preset, Scheme, SignatureScheme, Signer};
use ploy_webhooks::{
    DestinationId, Keyring, Secret, SignatureAuthError, SigningSecret, Timestamp, UnsealError,
};
use serde::de::Error;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::{Map, Value};

use super::DestinationError;
use super::headers::is_of_the_request;

/// How a receiver knows who sends, as it is kept.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(tag = "scheme", rename_all = "kebab-case")]
#[expect(clippy::exhaustive_enums, reason = "what is sent is signed, bears a token, or neither")]
pub enum Signing {
    /// It does not.
    #[default]
    None,
    /// By a token in the header `Authorization` (RFC 6750 §2.1).
    Bearer {
        /// The tokens, the newest of them last.
        secrets: Vec<SigningSecret>,
    },
    /// By a signature over what is sent.
    Signature {
        /// By which scheme.
        by: Scheme,
        /// The secrets that are valid, the newest of them last.
        secrets: Vec<SigningSecret>,
    },
}

/// How a receiver knows who sends, as callers give and see it: `{"scheme":"standard-webhooks"}`, or
/// another preset, `bearer`, `none`, or `custom` with a description; `secret` beside it is minted
/// where it is left out.
#[derive(Clone, Debug, PartialEq)]
pub struct SigningForm {
    by: By,
    secret: Option<Secret>,
}

#[derive(Clone, Debug, PartialEq)]
enum By {
    None,
    Bearer,
    Scheme(Scheme),
}

static BEARER: LazyLock<Arc<SignatureScheme>> = LazyLock::new(|| {
    let description =
        r#"{"header": "Authorization", "layout": "Bearer {signature}", "digest": "token"}"#;
    serde_json::from_str::<SignatureScheme>(description).expect("it is a description").into()
});

fn bearer() -> Scheme {
    Scheme::Custom(BEARER.clone())
}

impl Default for SigningForm {
    /// By Standard Webhooks, with a secret that is minted.
    fn default() -> Self {
        let preset = Preset::named("standard-webhooks").expect("it comes with the crate");
        Self { by: By::Scheme(Scheme::Preset(preset)), secret: None }
    }
}

impl SigningForm {
    /// By nothing at all.
    #[must_use]
    pub const fn none() -> Self {
        Self { by: By::None, secret: None }
    }

    /// By a token in the header `Authorization`.
    #[must_use]
    pub const fn bearer(token: Secret) -> Self {
        Self { by: By::Bearer, secret: Some(token) }
    }

    /// By that scheme, with that secret.
    #[must_use]
    pub const fn scheme(scheme: Scheme, secret: Secret) -> Self {
        Self { by: By::Scheme(scheme), secret: Some(secret) }
    }

    /// The header that proves it.
    pub(super) fn header(&self) -> Option<HeaderName> {
        self.scheme_of().map(|scheme| scheme.description().header.clone())
    }

    fn scheme_of(&self) -> Option<Scheme> {
        match &self.by {
            By::None => None,
            By::Bearer => Some(bearer()),
            By::Scheme(scheme) => Some(scheme.clone()),
        }
    }

    pub(super) fn seal(
        self,
        id: DestinationId,
        before: Option<&Signing>,
        keyring: &Keyring,
        minted: &Secret,
        now: Timestamp,
    ) -> Result<Signing, DestinationError> {
        let Some(scheme) = self.scheme_of() else {
            return match self.secret {
                None => Ok(Signing::None),
                Some(_) => Err(wrong_secret("nothing is signed with it by the scheme `none`")),
            };
        };
        if let (None, Some(standing)) = (&self.secret, before)
            && standing.scheme().as_ref() == Some(&scheme)
        {
            return Ok(standing.clone());
        }
        check(&scheme)?;
        check_headers(scheme.description())?;
        let secret = self.secret.as_ref().unwrap_or(minted);
        let secrets = vec![sealed(id, keyring, &scheme, secret, now)?];
        Ok(match self.by {
            By::Bearer => Signing::Bearer { secrets },
            By::Scheme(by) => Signing::Signature { by, secrets },
            By::None => Signing::None,
        })
    }
}

fn check(scheme: &Scheme) -> Result<(), DestinationError> {
    match scheme.description().method.digest {
        Digest::Ed25519 => Err(DestinationError::Signing {
            why: "nothing can be signed with the public key that this scheme takes".to_owned(),
        }),
        _ => Ok(()),
    }
}

/// What proves who sends is in headers of its own.
fn check_headers(scheme: &SignatureScheme) -> Result<(), DestinationError> {
    let time = scheme.timestamp.as_ref().and_then(|source| source.header.as_ref());
    let headers = [Some(&scheme.header), scheme.id.as_ref(), time];
    match headers.into_iter().flatten().find(|name| is_of_the_request(name)) {
        None => Ok(()),
        Some(name) => Err(DestinationError::Signing {
            why: format!("`{name}` is set by who sends, and proves nothing"),
        }),
    }
}

/// The secret as it is kept, if the scheme can sign with it.
fn sealed(
    id: DestinationId,
    keyring: &Keyring,
    scheme: &Scheme,
    secret: &Secret,
    now: Timestamp,
) -> Result<SigningSecret, DestinationError> {
    Signer::new(scheme.clone(), std::slice::from_ref(secret))
        .and_then(|_| SigningSecret::seal(keyring, id, scheme, secret, now))
        .map_err(|error| wrong_secret(error.to_string()))
}

fn wrong_secret(why: impl Into<String>) -> DestinationError {
    DestinationError::Secret { why: why.into() }
}

impl Signing {
    /// The name of the scheme.
    #[must_use]
    pub const fn scheme_name(&self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Bearer { .. } => "bearer",
            Self::Signature { by, .. } => by.name(),
        }
    }

    /// The secrets that are on record, the newest of them last.
    #[must_use]
    pub fn secrets(&self) -> &[SigningSecret] {
        match self {
            Self::None => &[],
            Self::Bearer { secrets } | Self::Signature { secrets, .. } => secrets,
        }
    }

    fn scheme(&self) -> Option<Scheme> {
        match self {
            Self::None => None,
            Self::Bearer { .. } => Some(bearer()),
            Self::Signature { by, .. } => Some(by.clone()),
        }
    }

    /// The same with a new secret, and for the time of the overlap the others too.
    ///
    /// # Errors
    ///
    /// When the scheme cannot use the secret, or there is none to rotate.
    pub fn rotated(
        &self,
        id: DestinationId,
        keyring: &Keyring,
        secret: &Secret,
        overlap: Duration,
        now: Timestamp,
    ) -> Result<Self, DestinationError> {
        let scheme = self.scheme().ok_or_else(|| DestinationError::Signing {
            why: "there is no secret to rotate: nothing is signed".to_owned(),
        })?;
        let new = sealed(id, keyring, &scheme, secret, now)?;
        let rotated = SigningSecret::rotated(self.secrets(), new, overlap, now);
        Ok(match self {
            Self::None => Self::None,
            Self::Bearer { .. } => Self::Bearer { secrets: rotated },
            Self::Signature { by, .. } => Self::Signature { by: by.clone(), secrets: rotated },
        })
    }

    /// What signs with the secrets that are valid now; `None` where nothing is signed.
    pub(crate) fn signer(
        &self,
        id: DestinationId,
        keyring: &Keyring,
        now: Timestamp,
    ) -> Result<Option<Signer>, SignatureAuthError> {
        let Some(scheme) = self.scheme() else { return Ok(None) };
        let valid =
            self.secrets().iter().filter(|secret| secret.expires_at.is_none_or(|end| end > now));
        let opened = valid.map(|secret| secret.open(keyring, id)).collect::<Result<Vec<_>, _>>()?;
        Ok(Some(Signer::new(scheme, &opened)?))
    }

    /// The secrets that a receiver is told in clear.
    pub(crate) fn tokens(
        &self,
        id: DestinationId,
        keyring: &Keyring,
    ) -> Result<Vec<Secret>, UnsealError> {
        let is_told =
            self.scheme().is_some_and(|scheme| scheme.description().method.digest == Digest::Token);
        let told = self.secrets().iter().filter(|_| is_told);
        told.map(|secret| secret.open(keyring, id)).collect()
    }

    pub(super) fn form(self) -> SigningForm {
        let by = match self {
            Self::None => By::None,
            Self::Bearer { .. } => By::Bearer,
            Self::Signature { by, .. } => By::Scheme(by),
        };
        SigningForm { by, secret: None }
    }
}

impl Serialize for SigningForm {
    /// Without the secret.
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut form = Map::new();
        let name = match &self.by {
            By::None => "none",
            By::Bearer => "bearer",
            By::Scheme(scheme) => {
                if let Scheme::Custom(description) = scheme
                    && let Ok(Value::Object(members)) = serde_json::to_value(&**description)
                {
                    form.extend(members);
                }
                scheme.name()
            }
        };
        form.insert("scheme".to_owned(), name.into());
        form.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for SigningForm {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let mut members = Map::<String, Value>::deserialize(deserializer)?;
        let mut text = |name: &str| match members.remove(name) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text)),
            // What a value is says nothing of what it holds: it may be a secret.
            Some(_) => Err(D::Error::custom(format!("`{name}` is of another type"))),
        };
        let name = text("scheme")?.ok_or_else(|| D::Error::custom("`scheme` is missing"))?;
        let secret = text("secret")?.map(Secret::from);
        let by = match &*name {
            "custom" => {
                let description = serde_json::from_value::<SignatureScheme>(Value::Object(members));
                let description = description.map_err(D::Error::custom)?;
                return Ok(Self { by: By::Scheme(Scheme::Custom(description.into())), secret });
            }
            "none" => By::None,
            "bearer" => By::Bearer,
            name => match Preset::named(name) {
                Some(preset) => By::Scheme(Scheme::Preset(preset)),
                None => return Err(D::Error::custom(no_such_scheme())),
            },
        };
        match members.keys().next() {
            None => Ok(Self { by, secret }),
            Some(name) => Err(D::Error::custom(format!("unknown field `{name}`"))),
        }
    }
}

fn no_such_scheme() -> String {
    let presets: Vec<_> = Preset::all().map(|preset| preset.name()).collect();
    format!("`scheme` is `none`, `bearer`, `custom`, or one of {}", presets.join(", "))
}
