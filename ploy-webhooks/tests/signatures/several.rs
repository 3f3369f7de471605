//! What is signed with several secrets at once, while one of them is being replaced.

use std::time::Duration;

use http::HeaderMap;
use ploy_webhooks::verify::{
    Digest, Preset, Scheme, SecretError, SignatureScheme, Signed, Signer, Verifier,
};
use ploy_webhooks::{CredentialId, Secret, Timestamp};

const NOW: Timestamp = Timestamp::from_millis(1_700_000_000_000);
const SIGNED: Signed<'_> = Signed { method: "POST", url: "https://a.example/x", body: b"{}" };

fn is_content(scheme: &Scheme, secret: &Secret, headers: &HeaderMap) -> bool {
    let verifier = Verifier::new(scheme.clone(), Duration::from_secs(300));
    let id = CredentialId::mint(NOW);
    let verifier = verifier.with_secret(id, secret, None).expect("the secret is of the scheme");
    let presented = verifier.present(headers, NOW).expect("the headers are there");
    verifier.verify(&presented, &SIGNED, NOW).is_ok()
}

fn secrets() -> [Secret; 2] {
    [(); 2].map(|()| Secret::mint_signing_secret())
}

#[test]
fn receivers_of_either_secret_are_content_where_a_header_has_several_signatures() {
    let mut with_several = Vec::new();
    for preset in Preset::all() {
        let scheme = Scheme::Preset(preset);
        if preset.description().method.digest == Digest::Ed25519 {
            continue;
        }
        let [old, new] = secrets();
        let signer = Signer::new(scheme.clone(), &[old.clone(), new.clone()]).expect("two secrets");
        let headers = signer.sign("msg_1", NOW, &SIGNED).expect("it is signed");
        let headers: HeaderMap = headers.into_iter().collect();
        assert!(is_content(&scheme, &old, &headers), "{}: the old secret", preset.name());
        if is_content(&scheme, &new, &headers) {
            with_several.push(preset.name());
        }
        let [stranger, _] = secrets();
        assert!(!is_content(&scheme, &stranger, &headers), "{}: any secret", preset.name());
    }
    let expected = ["calendly", "paddle", "standard-webhooks", "stripe", "svix", "toolplex"];
    assert_eq!(with_several, expected, "left: where the new secret is content too");
}

#[test]
fn a_header_that_has_several_signatures_is_as_the_scheme_says() {
    let value = |name: &str| {
        let [old, new] = secrets();
        let preset = Preset::named(name).expect("a preset");
        let signer = Signer::new(Scheme::Preset(preset), &[old, new]).expect("two secrets");
        let headers = signer.sign("msg_1", NOW, &SIGNED).expect("it is signed");
        headers[0].1.to_str().expect("visible ASCII").to_owned()
    };
    let stripe = value("stripe");
    let names: Vec<_> = stripe.split(',').filter_map(|pair| pair.split_once('=')).collect();
    assert_eq!(names.iter().map(|pair| pair.0).collect::<Vec<_>>(), ["t", "v1", "v1"]);
    let standard = value("standard-webhooks");
    assert_eq!(standard.split(' ').filter(|item| item.starts_with("v1,")).count(), 2);
    assert_eq!(value("clay").len(), 64, "one signature in hexadecimal digits");
}

#[test]
fn a_bearer_token_is_a_scheme_too() {
    let scheme: SignatureScheme = serde_json::from_str(
        r#"{"header": "Authorization", "layout": "Bearer {signature}", "digest": "token"}"#,
    )
    .expect("a description");
    let signer = Signer::new(Scheme::Custom(scheme.into()), &[Secret::from("hunter2".to_owned())]);
    let headers = signer.expect("a token").sign("", NOW, &SIGNED).expect("it is signed");
    assert_eq!(headers[0].1, "Bearer hunter2");
    assert!(headers[0].1.is_sensitive());
}

#[test]
fn nothing_is_signed_without_a_secret_or_with_a_public_key() {
    let discord = Scheme::Preset(Preset::named("discord").expect("a preset"));
    let public = "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a";
    let signer = Signer::new(discord, &[Secret::from(public.to_owned())]);
    assert_eq!(signer.unwrap_err(), SecretError::SignsNothing);
    let clay = Scheme::Preset(Preset::named("clay").expect("a preset"));
    assert_eq!(Signer::new(clay, &[]).unwrap_err(), SecretError::Empty);
}
