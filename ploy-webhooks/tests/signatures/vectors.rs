//! Signatures that others have made: by the senders' own libraries and documents where those
//! publish any (`published`), otherwise by another implementation of their rule.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use http::{HeaderMap, HeaderName, HeaderValue};
use ploy_webhooks::verify::{Digest, Preset, Scheme, Verifier};
use ploy_webhooks::{CredentialId, Timestamp};
use serde::Deserialize;
use serde_json::{Map, Value};

use super::sent::Sent;

/// One signed request.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Vector {
    pub(crate) preset: String,
    pub(crate) name: String,
    /// Where it is from.
    #[serde(rename = "source")]
    _source: String,
    /// Whether the sender has published signature and secret as they stand here.
    #[serde(rename = "published")]
    _published: bool,
    /// The URL that is signed; of no account where the scheme signs none.
    url: Option<String>,
    headers: BTreeMap<String, String>,
    body: String,
    secret: String,
    /// The right signature, as it stands in its header.
    pub(crate) signature: String,
    /// When it was signed, where that is signed.
    timestamp_ms: Option<u64>,
    /// What the sender is to be told, where it asks something.
    handshake: Option<Reply>,
    #[serde(default, rename = "notes")]
    _notes: String,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Reply {
    status: u16,
    body: Option<Value>,
}

/// All of them.
pub(crate) fn all() -> Vec<Vector> {
    serde_json::from_str(include_str!("vectors.json")).expect("the vectors are of that form")
}

impl Vector {
    /// The request when it was signed.
    pub(crate) fn sent(&self) -> Sent {
        let header = |(name, value): (&String, &String)| {
            let name: HeaderName = name.parse().expect("a header name");
            (name, HeaderValue::from_str(value).expect("a header value"))
        };
        let signed_at = self.timestamp_ms.unwrap_or(1_700_000_000_000);
        Sent {
            preset: Preset::named(&self.preset).expect("a preset"),
            secret: self.secret.clone(),
            url: self.url.clone().unwrap_or_else(|| "https://hooks.example/in/hook".to_owned()),
            headers: self.headers.iter().map(header).collect::<HeaderMap>(),
            body: self.body.clone().into_bytes(),
            now: Timestamp::from_millis(signed_at),
        }
    }

    /// Whether an intake can be sent it: JSON objects, to addresses that end in a slug.
    pub(crate) fn is_for_an_intake(&self) -> bool {
        let is_object = serde_json::from_str::<Map<String, Value>>(&self.body).is_ok();
        is_object && self.sent().slug().is_some()
    }
}

#[test]
fn every_preset_has_a_vector_that_an_intake_can_be_sent() {
    let vectors = all();
    let names = vectors.iter().filter(|vector| vector.is_for_an_intake());
    let names: BTreeSet<_> = names.map(|vector| vector.preset.as_str()).collect();
    let presets: BTreeSet<_> = Preset::all().map(|preset| preset.name()).collect();
    assert_eq!(names, presets);
}

#[test]
fn every_vector_verifies() {
    for vector in all() {
        let verified = vector.sent().verify();
        assert_eq!(verified, Ok(()), "{}: {}", vector.preset, vector.name);
    }
}

#[tokio::test]
async fn every_vector_is_taken_by_an_intake() {
    for vector in all().into_iter().filter(Vector::is_for_an_intake) {
        let answer = vector.sent().post().await;
        match &vector.handshake {
            None => {
                assert_eq!(answer.status, 202, "{}: {answer:?}", vector.name);
                assert_eq!(answer.payloads, [vector.body.as_bytes()], "{}", vector.name);
            }
            Some(reply) => {
                assert_eq!(answer.status, reply.status, "{}: {answer:?}", vector.name);
                let told = (!answer.body.is_empty()).then(|| answer.json());
                assert_eq!(told, reply.body, "{}", vector.name);
                assert!(answer.payloads.is_empty(), "{} is stored", vector.name);
            }
        }
    }
}

/// What is made here is what the senders make.
#[test]
fn every_vector_is_signed_the_same_here() {
    let mut count = 0;
    for vector in all() {
        let sent = vector.sent();
        let scheme = sent.scheme();
        let is_public = sent.secret.starts_with("whpk_") || scheme.method.digest == Digest::Ed25519;
        if is_public {
            continue;
        }
        let id = scheme.id.as_ref().map_or("", |name| sent.value(name));
        let signed = scheme.sign(&sent.secret(), id, sent.now, &sent.signed());
        let headers: HeaderMap = signed.expect("it can be signed with").into_iter().collect();
        let value = headers[&scheme.header].to_str().expect("a signature is text");
        assert!(value.contains(&vector.signature), "{}: {}", vector.preset, vector.name);
        for (name, value) in headers.iter().filter(|(name, _)| **name != scheme.header) {
            assert_eq!(value, sent.headers[name], "{}: {}", vector.preset, vector.name);
        }
        count += 1;
    }
    assert!(count >= 40, "{count} were looked at");
}

/// Neither what is sent nor what it is compared with.
#[test]
fn nothing_that_is_secret_is_printed() {
    for vector in all() {
        let sent = vector.sent();
        let (scheme, now) = (Scheme::Preset(sent.preset), sent.now);
        let verifier = Verifier::new(scheme, Duration::from_secs(300));
        let verifier = verifier.with_secret(CredentialId::mint(now), &sent.secret(), None);
        let verifier = verifier.expect("the scheme can use the secret");
        let presented = verifier.present(&sent.headers, now).expect("it is of its form");
        let proven = verifier.verify(&presented, &sent.signed(), now).expect("it is right");
        let shown = format!("{verifier:?} {presented:?} {proven:?} {:?}", sent.secret());
        assert!(!shown.contains(&vector.signature), "{}: {shown}", vector.name);
        // A word of a few letters may stand in the name of a member.
        let is_telling = sent.secret.len() > 6;
        assert!(!(is_telling && shown.contains(&sent.secret)), "{}: {shown}", vector.name);
    }
}
