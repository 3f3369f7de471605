//! No header and no body makes the verifier panic, and nothing but the right signature opens: what
//! was signed does, and with one bit changed it does not.
#![no_main]

use std::sync::LazyLock;
use std::time::Duration;

use http::{HeaderMap, HeaderValue};
use libfuzzer_sys::fuzz_target;
use ploy_webhooks::verify::{Digest, Preset, Scheme, Signed, Verifier};
use ploy_webhooks::{CredentialId, Secret, Timestamp};

const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
/// The public key of RFC 8032 §7.1, TEST 1.
const PUBLIC_KEY: &str = "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a";
const NOW: Timestamp = Timestamp::from_millis(1_700_000_000_000);

static VERIFIERS: LazyLock<Vec<(Preset, Verifier)>> = LazyLock::new(|| {
    let verifiers = Preset::all().map(|preset| {
        let verifier = Verifier::new(Scheme::Preset(preset), Duration::from_secs(300));
        let id = CredentialId::from_bytes([1; 16]);
        let verifier = verifier.with_secret(id, &secret(preset), None);
        (preset, verifier.expect("the secret is of its form"))
    });
    verifiers.collect()
});

fn secret(preset: Preset) -> Secret {
    Secret::from(match preset.description().method.digest {
        Digest::Ed25519 => PUBLIC_KEY.to_owned(),
        _ => SECRET.to_owned(),
    })
}

fn opens(verifier: &Verifier, headers: &HeaderMap, signed: &Signed<'_>) -> bool {
    let presented = verifier.present(headers, NOW);
    presented.is_ok_and(|presented| verifier.verify(&presented, signed, NOW).is_ok())
}

fuzz_target!(|input: (u8, &[u8], &[u8], &[u8], &[u8], u16)| {
    let (which, signature, time, id, body, bit) = input;
    let (preset, verifier) = &VERIFIERS[usize::from(which) % VERIFIERS.len()];
    let scheme = preset.description();
    let url = "https://hooks.example/in/door";
    let signed = Signed { method: "POST", url, body };

    let of_time = scheme.timestamp.as_ref().and_then(|source| source.header.as_ref());
    let mut headers = HeaderMap::new();
    for (name, value) in
        [(Some(&scheme.header), signature), (of_time, time), (scheme.id.as_ref(), id)]
    {
        if let (Some(name), Ok(value)) = (name, HeaderValue::from_bytes(value)) {
            headers.insert(name, value);
        }
    }
    // Nobody guesses a MAC; a token may be read here.
    let is_token = scheme.method.digest == Digest::Token && signature == SECRET.as_bytes();
    assert_eq!(opens(verifier, &headers, &signed), is_token, "{}", preset.name());

    let id = std::str::from_utf8(id).ok().filter(|id| !id.is_empty()).unwrap_or("msg_1");
    let Ok(headers) = scheme.sign(&secret(*preset), id, NOW, &signed) else {
        return;
    };
    let headers: HeaderMap = headers.into_iter().collect();
    let is_text = headers.values().all(|value| value.to_str().is_ok());
    assert_eq!(opens(verifier, &headers, &signed), is_text, "{}", preset.name());
    if body.is_empty() || !scheme.signs() {
        return;
    }
    let mut other = body.to_vec();
    let bit = usize::from(bit) % (body.len() * 8);
    other[bit / 8] ^= 1 << (bit % 8);
    let other = Signed { body: &other, ..signed };
    assert!(!opens(verifier, &headers, &other), "{}", preset.name());
});
