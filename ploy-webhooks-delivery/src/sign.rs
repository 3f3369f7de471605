//! Signatures by Standard Webhooks (<https://www.standardwebhooks.com>), for whatever is sent.

use std::fmt;
use std::str::FromStr;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit, Mac};
use ploy_webhooks::Timestamp;
use sha2::Sha256;
use thiserror::Error;

/// A secret that requests are signed with: in text `whsec_` and the base64 of 24 to 64 bytes.
///
/// The base64 is that of RFC 4648 §4, padding included: receivers that decode it strictly are the
/// rule. `Debug` prints no part of it.
#[derive(Clone)]
pub struct SigningSecret(Hmac<Sha256>);

/// A text that is no signing secret, or not some of them. It does not repeat the text.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
#[error("expected `whsec_` and the base64, with its padding, of 24 to 64 bytes")]
pub struct ParseSignerError;

impl FromStr for SigningSecret {
    type Err = ParseSignerError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let key = text
            .strip_prefix("whsec_")
            .and_then(|encoded| STANDARD.decode(encoded).ok())
            .filter(|key| (24..=64).contains(&key.len()))
            .ok_or(ParseSignerError)?;
        Ok(Self(Hmac::new_from_slice(&key).expect("HMAC takes keys of any length")))
    }
}

impl fmt::Debug for SigningSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SigningSecret(…)")
    }
}

/// Signs requests, with one secret, or with several while an old one is being replaced.
///
/// In text the secrets, with blanks or line ends between them.
#[derive(Clone, Debug)]
pub struct Signer {
    /// One at least.
    secrets: Vec<SigningSecret>,
}

impl Signer {
    /// One that signs with this secret.
    #[must_use]
    pub fn new(secret: SigningSecret) -> Self {
        Self { secrets: vec![secret] }
    }

    /// The same, which signs with that secret too: a receiver that knows either is content.
    #[must_use]
    pub fn and(mut self, secret: SigningSecret) -> Self {
        self.secrets.push(secret);
        self
    }

    /// The value of the header `webhook-signature`: for each secret `v1,` and the base64 of the
    /// HMAC-SHA256 over `{id}.{timestamp}.{body}`, with blanks between them.
    ///
    /// `id` is what `webhook-id` says and has no `.` in it, so that nothing can be moved from one
    /// part to another. The time is signed in whole seconds, as `webhook-timestamp` says it.
    #[must_use]
    pub fn sign(&self, id: &str, time: Timestamp, body: &[u8]) -> String {
        let seconds = time.as_millis() / 1_000;
        let before_body = format!("{id}.{seconds}.");
        let mut signatures = String::new();
        for SigningSecret(keyed) in &self.secrets {
            if !signatures.is_empty() {
                signatures.push(' ');
            }
            signatures.push_str("v1,");
            // The parts are hashed where they are: nothing of a large body is copied.
            let hash = keyed.clone().chain_update(&before_body).chain_update(body).finalize();
            STANDARD.encode_string(hash.into_bytes(), &mut signatures);
        }
        signatures
    }
}

impl From<SigningSecret> for Signer {
    fn from(secret: SigningSecret) -> Self {
        Self::new(secret)
    }
}

impl FromStr for Signer {
    type Err = ParseSignerError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let secrets: Vec<_> =
            text.split_ascii_whitespace().map(str::parse).collect::<Result<_, _>>()?;
        if secrets.is_empty() { Err(ParseSignerError) } else { Ok(Self { secrets }) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ploy_webhooks::{Clock, SystemClock};
    use proptest::prelude::*;
    use standardwebhooks::Webhook;

    fn at(seconds: u64) -> Timestamp {
        Timestamp::from_millis(seconds * 1_000 + 999)
    }

    /// From the tests of the reference implementations.
    #[test]
    fn the_official_vectors() {
        let signer: Signer = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw".parse().unwrap();
        let signature = signer.sign(
            "msg_p5jXN8AQM9LWM0D4loKWxJek",
            at(1_614_265_330),
            br#"{"test": 2432232314}"#,
        );
        assert_eq!(signature, "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");

        let signer: Signer = "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD".parse().unwrap();
        let signature = signer.sign(
            "msg_27UH4WbU6Z5A5EzD8u03UvzRbpk",
            at(1_649_367_553),
            br#"{"email":"test@example.com","username":"test_user"}"#,
        );
        assert_eq!(signature, "v1,tZ1I4/hDygAJgO5TYxiSd6Sd0kDW6hPenDe+bTa3Kkw=");
    }

    #[test]
    fn several_secrets_sign_one_after_the_other() {
        let old = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
        let new = "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD";
        let sign = |signer: &Signer| signer.sign("run_1", at(1), b"{}");
        let both: Signer = format!(" {old}\n{new}\n").parse().unwrap();
        let apart = [old, new].map(|text| sign(&text.parse().unwrap()));
        assert_eq!(sign(&both), apart.join(" "));
        let built = Signer::new(old.parse().unwrap()).and(new.parse().unwrap());
        assert_eq!(sign(&built), sign(&both));
    }

    #[test]
    fn what_is_no_secret_is_refused() {
        let of_length = |bytes: usize| format!("whsec_{}", STANDARD.encode(vec![7; bytes]));
        for bytes in [24, 25, 64] {
            assert!(of_length(bytes).parse::<SigningSecret>().is_ok(), "{bytes}");
        }
        let unpadded = of_length(25).trim_end_matches('=').to_owned();
        for text in [
            "",
            " ",
            "whsec_",
            "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
            "whpk_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
            "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaS-",
            "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw,whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
            "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw hunter2",
            &unpadded,
            &of_length(23),
            &of_length(65),
        ] {
            assert_eq!(text.parse::<Signer>().unwrap_err(), ParseSignerError, "{text}");
        }
    }

    #[test]
    fn nothing_of_a_secret_is_printed() {
        let signer: Signer = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw".parse().unwrap();
        assert_eq!(format!("{signer:?}"), "Signer { secrets: [SigningSecret(…)] }");
    }

    proptest! {
        #[test]
        fn the_reference_verifies_what_is_signed(
            keys in prop::collection::vec(prop::collection::vec(any::<u8>(), 24..=64), 1..4),
            id in "[a-z0-9_]{1,40}",
            body: String,
        ) {
            let texts: Vec<_> =
                keys.iter().map(|key| format!("whsec_{}", STANDARD.encode(key))).collect();
            let signer: Signer = texts.join(" ").parse().unwrap();
            // It compares with the machine's own time.
            let now = SystemClock.now();
            let signature = signer.sign(&id, now, body.as_bytes());
            let headers = |signature: &str| -> http::HeaderMap {
                [
                    ("webhook-id", id.clone()),
                    ("webhook-timestamp", (now.as_millis() / 1_000).to_string()),
                    ("webhook-signature", signature.to_owned()),
                ]
                .map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap()))
                .into_iter()
                .collect()
            };
            for text in &texts {
                let receiver = Webhook::new(text).unwrap();
                prop_assert!(receiver.verify(body.as_bytes(), &headers(&signature)).is_ok());
                let changed = format!("{body}.");
                prop_assert!(receiver.verify(changed.as_bytes(), &headers(&signature)).is_err());
            }
            for (text, alone) in texts.iter().zip(signature.split(' ')) {
                let seconds = i64::try_from(now.as_millis() / 1_000).unwrap();
                let expected = Webhook::new(text).unwrap().sign(&id, seconds, body.as_bytes());
                prop_assert_eq!(alone, expected.unwrap());
            }
        }
    }
}
