//! How each request proves who sends it: by a key, or by a signature.

use ploy_webhooks::verify::{Preset, SignatureScheme, Signed};
use ploy_webhooks::{Clock, EventId, Secret, SystemClock};
use reqwest::header::{AUTHORIZATION, HeaderMap, HeaderValue};

use crate::cli::Failure;
use crate::cli::client::bearer;

#[derive(Debug)]
pub(super) enum Proof {
    Key(HeaderValue),
    Signature { scheme: &'static SignatureScheme, secret: Secret },
}

impl Proof {
    pub(super) fn key(key: &str) -> Result<Self, Failure> {
        Ok(Self::Key(bearer(key)?))
    }

    pub(super) fn signature(name: &str, secret: Secret) -> Result<Self, Failure> {
        let Some(preset) = Preset::named(name) else {
            let known: Vec<_> = Preset::all().map(|preset| preset.name()).collect();
            let known = known.join(", ");
            return Err(Failure::Usage(format!("--scheme is one of {known}, not `{name}`")));
        };
        let scheme = preset.description();
        // What is wrong with the secret is said once, not for each event.
        let nothing = Signed { method: "POST", url: "", body: b"{}" };
        let signed = scheme.sign(&secret, "none", SystemClock.now(), &nothing);
        signed.map_err(|error| Failure::Usage(format!("--secret: {error}")))?;
        Ok(Self::Signature { scheme, secret })
    }

    /// The name of a delivery, the same for each of its attempts.
    pub(super) fn mint_delivery() -> String {
        EventId::mint(SystemClock.now()).to_string().replacen(EventId::PREFIX, "msg", 1)
    }

    /// The headers of one attempt, which is signed anew: a signature has a time.
    pub(super) fn headers(&self, delivery: &str, url: &str, body: &[u8]) -> HeaderMap {
        match self {
            Self::Key(value) => HeaderMap::from_iter([(AUTHORIZATION, value.clone())]),
            Self::Signature { scheme, secret } => {
                let request = Signed { method: "POST", url, body };
                let signed = scheme.sign(secret, delivery, SystemClock.now(), &request);
                let signed = signed.expect("the secret was tried at the start");
                signed.into_iter().collect()
            }
        }
    }
}
