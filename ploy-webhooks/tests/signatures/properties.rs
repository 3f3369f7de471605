//! What holds for whatever is sent: it verifies as it was signed, and with one bit changed it does
//! not.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use ed25519_dalek::{Signer, SigningKey};
use http::{HeaderMap, HeaderName, HeaderValue};
use ploy_webhooks::verify::{
    Digest, Encoding, Layout, Method, Preset, Scheme, SecretEncoding, SignatureFault, Signed, Unit,
};
use ploy_webhooks::{Secret, Timestamp};
use proptest::prelude::*;
use proptest::sample::Index;

use super::sent::verify;

/// What is sent, before it is signed.
#[derive(Clone, Debug)]
struct Draft {
    id: String,
    url: String,
    body: Vec<u8>,
    key: [u8; 32],
    raw_secret: String,
    now: Timestamp,
}

fn draft() -> impl Strategy<Value = Draft> {
    let body = prop::collection::btree_map("\\PC{0,12}", "\\PC{0,24}", 0..6);
    let parts = (
        "[!-~]{1,40}",
        "https://[a-z]{1,9}\\.example/[a-z0-9-]{1,20}(\\?[a-z]=[a-z%]{0,5})?",
        body,
        any::<[u8; 32]>(),
        "[!-~]{8,80}",
        1_000_000_000_000..4_000_000_000_000_u64,
    );
    parts.prop_map(|(id, url, body, key, raw_secret, millis)| Draft {
        id,
        url,
        body: serde_json::to_vec(&body).expect("texts have a JSON form"),
        key,
        raw_secret,
        now: Timestamp::from_millis(millis),
    })
}

/// A signed request, and by which method of its scheme.
#[derive(Clone, Debug)]
struct Sealed {
    preset: Preset,
    method: &'static Method,
    secret: Secret,
    headers: HeaderMap,
    draft: Draft,
}

impl Draft {
    fn signed(&self) -> Signed<'_> {
        Signed { method: "POST", url: &self.url, body: &self.body }
    }

    /// Signed by the main method of the preset.
    fn signed_by(self, preset: Preset) -> Sealed {
        let scheme = preset.description();
        let secret = match scheme.method.secret.encoding {
            SecretEncoding::Raw => self.raw_secret.clone(),
            SecretEncoding::Hex => hex::encode(self.key),
            SecretEncoding::Base64 => {
                format!("{}{}", scheme.method.secret.prefix, STANDARD.encode(self.key))
            }
        };
        let secret = Secret::from(secret);
        let headers = scheme.sign(&secret, &self.id, self.now, &self.signed());
        let headers = headers.expect("the secret is of its form").into_iter().collect();
        Sealed { preset, method: &scheme.method, secret, headers, draft: self }
    }

    /// Signed by a private key, by the preset's own rule written out.
    fn signed_by_a_key_pair(self, preset: Preset) -> Sealed {
        let pair = SigningKey::from_bytes(&self.key);
        let public = pair.verifying_key();
        let scheme = preset.description();
        let time = (self.now.as_millis() / 1_000).to_string();
        let sign = |before: String| {
            let message = [before.as_bytes(), &self.body].concat();
            pair.sign(&message).to_bytes()
        };
        let (method, secret, signature) = match preset.name() {
            "discord" => (&scheme.method, hex::encode(public), hex::encode(sign(time.clone()))),
            _ => {
                let signature = sign(format!("{}.{time}.", self.id));
                let secret = format!("whpk_{}", STANDARD.encode(public));
                let alternative = scheme.alternative.as_ref().expect("it has two methods");
                (alternative, secret, format!("v1a,{}", STANDARD.encode(signature)))
            }
        };
        let of_time = scheme.timestamp.as_ref().and_then(|source| source.header.as_ref());
        let headers = [
            (Some(&scheme.header), signature),
            (of_time, time),
            (scheme.id.as_ref(), self.id.clone()),
        ];
        let headers = headers.into_iter().filter_map(|(name, value)| {
            Some((name?.clone(), HeaderValue::try_from(value).expect("visible ASCII")))
        });
        let headers = headers.collect();
        Sealed { preset, method, secret: Secret::from(secret), headers, draft: self }
    }
}

impl Sealed {
    fn verify(&self) -> Result<(), SignatureFault> {
        let scheme = Scheme::Preset(self.preset);
        verify(scheme, &self.secret, &self.headers, &self.draft.signed(), self.draft.now)
    }

    fn header(&self) -> &'static HeaderName {
        &self.preset.description().header
    }

    fn value(&self, name: &HeaderName) -> &str {
        self.headers[name].to_str().expect("it was signed in text")
    }

    /// The signature, as it is written.
    fn signature(&self) -> &str {
        let value = self.value(self.header());
        let before = match &self.method.layout {
            Layout::Whole { prefix, .. } | Layout::List { prefix, .. } => prefix.clone(),
            Layout::Pairs { signature, .. } => format!("{signature}="),
            other => panic!("a layout that nothing is known of: {other:?}"),
        };
        let place = value.find(&before).expect("it is laid out so") + before.len();
        &value[place..]
    }

    fn bytes_of(&self, signature: &str) -> Option<Vec<u8>> {
        match self.method.encoding {
            Encoding::Hex => hex::decode(signature).ok(),
            Encoding::Base64 => STANDARD.decode(signature).ok(),
        }
    }

    fn written(&self, bytes: &[u8]) -> String {
        match self.method.encoding {
            Encoding::Hex => hex::encode(bytes),
            Encoding::Base64 => STANDARD.encode(bytes),
        }
    }

    fn resigned(&self, signature: &[u8]) -> Option<Self> {
        let value = self.value(self.header()).strip_suffix(self.signature())?;
        let value = HeaderValue::from_bytes(&[value.as_bytes(), signature].concat()).ok()?;
        let mut resigned = self.clone();
        resigned.headers.insert(self.header(), value);
        Some(resigned)
    }

    /// With one bit of that header changed, if what comes of it can stand in one.
    fn with_a_bit_changed(
        &self,
        name: &HeaderName,
        range: std::ops::Range<usize>,
        bit: Index,
    ) -> Option<Self> {
        let mut bytes = self.headers[name].as_bytes().to_vec();
        flip(&mut bytes[range], bit);
        let mut changed = self.clone();
        changed.headers.insert(name, HeaderValue::from_bytes(&bytes).ok()?);
        Some(changed)
    }

    fn assert_every_bit_counts(&self, bit: Index) {
        let name = self.preset.name();
        assert_eq!(self.verify(), Ok(()), "{name}");
        let scheme = self.preset.description();

        let mut changed = self.clone();
        flip(&mut changed.draft.body, bit);
        assert!(changed.verify().is_err(), "{name}: a bit of the body");

        let mut bytes = self.bytes_of(self.signature()).expect("it was written so");
        flip(&mut bytes, bit);
        let changed = self.resigned(self.written(&bytes).as_bytes()).expect("it is text");
        assert_eq!(changed.verify(), Err(SignatureFault::Wrong), "{name}: a bit of the signature");

        let mut text = self.signature().as_bytes().to_vec();
        flip(&mut text, bit);
        if let Some(changed) = self.resigned(&text) {
            let text = String::from_utf8(text).ok();
            let is_the_same =
                text.and_then(|text| self.bytes_of(&text)) == self.bytes_of(self.signature());
            assert_eq!(changed.verify().is_ok(), is_the_same, "{name}: a bit of the text");
        }
        if let Some(id) = &scheme.id {
            let length = self.value(id).len();
            if let Some(changed) = self.with_a_bit_changed(id, 0..length, bit) {
                assert!(changed.verify().is_err(), "{name}: a bit of the id");
            }
        }
        if let Some(source) = &scheme.timestamp {
            let of_time = source.header.as_ref().unwrap_or(&scheme.header);
            let per_second = if source.unit == Unit::Seconds { 1 } else { 1_000 };
            let time = (self.draft.now.as_millis() * per_second / 1_000).to_string();
            let place = self.value(of_time).find(&time).expect("the time is there");
            let range = place..place + time.len();
            if let Some(changed) = self.with_a_bit_changed(of_time, range, bit) {
                assert!(changed.verify().is_err(), "{name}: a bit of the time");
            }
        }
        if scheme.signed.has_url() {
            let mut changed = self.clone();
            changed.draft.url.push('x');
            assert_eq!(changed.verify(), Err(SignatureFault::Wrong), "{name}: the URL");
        }
    }
}

fn flip(bytes: &mut [u8], bit: Index) {
    let bit = bit.index(bytes.len() * 8);
    bytes[bit / 8] ^= 1 << (bit % 8);
}

fn by_mac() -> impl Iterator<Item = Preset> {
    Preset::all().filter(|preset| {
        !matches!(preset.description().method.digest, Digest::Ed25519 | Digest::Token)
    })
}

/// Pieces that headers of signatures are made of, in no order.
fn jumble() -> impl Strategy<Value = Vec<u8>> {
    let piece = prop_oneof![
        prop::sample::select(vec![
            "t=",
            "ts=",
            "v0=",
            "v1=",
            "h1=",
            "v1,",
            "v1a,",
            "sha1=",
            "sha256=",
            ",",
            ";",
            " ",
            "=",
            "1700000000",
            "1700000000000",
            "00",
            "AA",
            "/+",
            "ab",
            "é",
            "\"",
        ])
        .prop_map(|text| text.as_bytes().to_vec()),
        prop::collection::vec(any::<u8>(), 0..80),
    ];
    prop::collection::vec(piece, 0..24).prop_map(|pieces| pieces.concat())
}

proptest! {
    #[test]
    fn every_bit_counts_of_what_is_signed_by_a_secret(draft in draft(), bit: Index) {
        for preset in by_mac() {
            draft.clone().signed_by(preset).assert_every_bit_counts(bit);
        }
    }

    #[test]
    fn a_secret_opens_what_it_has_signed_alone(draft in draft(), other in draft()) {
        prop_assume!(draft.raw_secret != other.raw_secret && draft.key != other.key);
        for preset in by_mac() {
            let mut sealed = draft.clone().signed_by(preset);
            sealed.secret = Draft { ..other.clone() }.signed_by(preset).secret;
            prop_assert_eq!(sealed.verify(), Err(SignatureFault::Wrong));
        }
    }

    #[test]
    fn no_header_makes_the_verifier_panic(
        signature in jumble(),
        time in jumble(),
        id in jumble(),
        draft in draft(),
    ) {
        for preset in Preset::all() {
            let scheme = preset.description();
            let mut sealed = draft.clone().signed_by_anybody(preset);
            let of_time = scheme.timestamp.as_ref().and_then(|source| source.header.as_ref());
            for (name, value) in
                [(Some(&scheme.header), &signature), (of_time, &time), (scheme.id.as_ref(), &id)]
            {
                let Some(name) = name else { continue };
                sealed.headers.remove(name);
                if let Ok(value) = HeaderValue::from_bytes(value) {
                    sealed.headers.insert(name, value);
                }
            }
            sealed.draft.now = Timestamp::from_millis(1_700_000_000_000);
            prop_assert!(sealed.verify().is_err(), "{}", preset.name());
        }
    }
}

proptest! {
    // A signature by Ed25519 takes milliseconds without optimisation.
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn every_bit_counts_of_what_is_signed_by_a_key_pair(draft in draft(), bit: Index) {
        for name in ["discord", "standard-webhooks", "svix"] {
            let preset = Preset::named(name).expect("a preset");
            draft.clone().signed_by_a_key_pair(preset).assert_every_bit_counts(bit);
        }
    }
}

impl Draft {
    fn signed_by_anybody(self, preset: Preset) -> Sealed {
        match preset.description().method.digest {
            Digest::Ed25519 => {
                let public = SigningKey::from_bytes(&self.key).verifying_key();
                let secret = Secret::from(hex::encode(public));
                let method = &preset.description().method;
                Sealed { preset, method, secret, headers: HeaderMap::new(), draft: self }
            }
            _ => self.signed_by(preset),
        }
    }
}
