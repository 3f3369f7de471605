//! No text makes a description of a signature scheme panic; one that is read is written as it was
//! read, and verifies what it signs.
#![no_main]

use std::sync::Arc;
use std::time::Duration;

use http::HeaderMap;
use libfuzzer_sys::fuzz_target;
use ploy_webhooks::verify::{Scheme, SignatureScheme, Signed, Verifier};
use ploy_webhooks::{CredentialId, Secret, Timestamp};

const NOW: Timestamp = Timestamp::from_millis(1_700_000_000_000);

fuzz_target!(|input: (&str, &str, &[u8])| {
    let (text, secret, body) = input;
    let Ok(scheme) = serde_json::from_str::<SignatureScheme>(text) else {
        return;
    };
    let written = serde_json::to_string(&scheme).expect("a scheme has a JSON form");
    let read: SignatureScheme = serde_json::from_str(&written).expect("it was written so");
    assert_eq!(read, scheme);
    let custom = Scheme::Custom(Arc::new(scheme));
    let written = serde_json::to_string(&custom).expect("a scheme has a JSON form");
    assert_eq!(serde_json::from_str::<Scheme>(&written).expect("it was written so"), custom);

    let scheme = custom.description();
    let signed = Signed { method: "POST", url: "https://hooks.example/in/door", body };
    let secret = Secret::from(secret.to_owned());
    let signature = scheme.sign(&secret, "msg_1", NOW, &signed);
    let verifier = Verifier::new(custom.clone(), Duration::from_secs(300));
    let verifier = verifier.with_secret(CredentialId::from_bytes([1; 16]), &secret, None);
    let (Ok(headers), Ok(verifier)) = (signature, verifier) else {
        return;
    };
    // Two headers of one name say two things at once, and a separator may stand in a signature.
    let mut names: Vec<_> = headers.iter().map(|(name, _)| name.clone()).collect();
    let count = names.len();
    names.sort_by(|one, other| one.as_str().cmp(other.as_str()));
    names.dedup();
    let headers: HeaderMap = headers.into_iter().collect();
    let opens = verifier
        .present(&headers, NOW)
        .is_ok_and(|presented| verifier.verify(&presented, &signed, NOW).is_ok());
    let separator = match &scheme.method.layout {
        ploy_webhooks::verify::Layout::List { separator, .. } => Some(*separator),
        _ => None,
    };
    let is_plain = separator.is_none_or(|separator| " ,;&".contains(separator));
    if count == names.len() && is_plain && scheme.signs() && scheme.alternative.is_none() {
        assert!(opens, "{written}");
    }
});
