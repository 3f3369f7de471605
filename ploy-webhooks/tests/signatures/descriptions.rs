//! Schemes that operators describe: what is valid survives its text and verifies what it signs;
//! what is not is refused by a message that says where.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::HeaderMap;
use ploy_webhooks::verify::{
    Digest, Method, Scheme, SecretEncoding, SignError, SignatureFault, SignatureScheme, Signed,
};
use ploy_webhooks::{Secret, Timestamp};
use proptest::prelude::*;
use serde_json::{Value, json};
use std::sync::Arc;

use super::sent::verify;

/// A layout without the time, or with it.
fn layout(has_time: bool) -> BoxedStrategy<String> {
    if has_time {
        let separator = prop::sample::select(vec![',', ';', ' ', '&']);
        let time = prop::sample::select(vec!["t", "ts", "x_y"]);
        let signature = prop::sample::select(vec!["v1", "v1a", "h-1"]);
        return (time, signature, separator, any::<bool>())
            .prop_map(|(time, signature, separator, is_first)| match is_first {
                true => format!("{time}={{timestamp}}{separator}{signature}={{signature}}"),
                false => format!("{signature}={{signature}}{separator}{time}={{timestamp}}"),
            })
            .boxed();
    }
    let prefix = "[a-zA-Z0-9.:_]{1,8}[=,]";
    prop_oneof![
        Just("{signature}".to_owned()),
        prefix.prop_map(|prefix| format!("{prefix}{{signature}}")),
        prefix.prop_map(|prefix| format!("[{prefix}]{{signature}}")),
        prefix.prop_map(|prefix| format!("{prefix}{{signature}} ...")),
        "[a-z0-9]{1,8}=".prop_map(|prefix| format!("{prefix}{{signature}},...")),
    ]
    .boxed()
}

/// The members of a method, where the time is in the layout or not.
fn method(has_time: bool, prefix: &'static str) -> impl Strategy<Value = Value> {
    let of_mac = prop::sample::select(vec![
        (json!("hmac-sha256"), false),
        (json!("hmac-sha512"), false),
        (json!("hmac-sha1"), false),
        (json!("ed25519"), true),
    ]);
    let secret_encoding = prop::sample::select(vec!["raw", "hex", "base64"]);
    let encoding = prop::sample::select(vec!["hex", "base64"]);
    (layout(has_time), of_mac, secret_encoding, encoding).prop_map(
        move |(layout, (digest, is_public), secret_encoding, encoding)| {
            let secret_encoding = match secret_encoding {
                "raw" if is_public => "hex",
                other => other,
            };
            json!({
                "layout": layout,
                "digest": digest,
                "encoding": encoding,
                "secret_form": {"prefix": prefix, "encoding": secret_encoding},
            })
        },
    )
}

fn description() -> impl Strategy<Value = Value> {
    let time = prop_oneof![
        Just(None),
        prop::sample::select(vec!["s", "ms"]).prop_map(|unit| Some((false, unit))),
        prop::sample::select(vec!["s", "ms"]).prop_map(|unit| Some((true, unit))),
    ];
    let content = ("[a-z0-9:. ]{0,6}", any::<[bool; 3]>());
    (time, content, any::<[bool; 4]>()).prop_flat_map(|(time, content, options)| {
        let is_beside = matches!(time, Some((true, _)));
        let (literal, [has_id, has_method, has_url]) = content;
        let [has_alternative, has_delivery, has_type, has_handshake] = options;
        let mut signed = literal.clone();
        for (is_there, part) in [
            (has_id, "{id}"),
            (has_method, "{method}"),
            (has_url, "{url}"),
            (time.is_some(), "{timestamp}"),
        ] {
            if is_there {
                signed.push_str(part);
                signed.push_str(&literal);
            }
        }
        signed.push_str("{body}");
        (method(is_beside, "main_"), method(is_beside, "other_")).prop_map(
            move |(mut scheme, alternative)| {
                scheme["header"] = json!("Acme-Signature");
                scheme["signed"] = json!(signed);
                match time {
                    Some((true, unit)) => scheme["timestamp"] = json!({"unit": unit}),
                    Some((false, unit)) => {
                        scheme["timestamp"] = json!({"header": "Acme-Time", "unit": unit});
                    }
                    None => {}
                }
                for (is_there, member, value) in [
                    (has_id, "id", json!("Acme-Id")),
                    (has_alternative, "alternative", alternative.clone()),
                    (has_delivery, "delivery", json!({"header": "acme-delivery"})),
                    (has_type, "event_type", json!({"pointer": "/type/~0"})),
                    (has_handshake, "handshake", json!("confirmation-token")),
                ] {
                    if is_there {
                        scheme[member] = value;
                    }
                }
                scheme
            },
        )
    })
}

fn secret_of(method: &Method) -> Secret {
    let key = [7; 32];
    let written = match method.secret.encoding {
        SecretEncoding::Raw => "correct horse battery staple".to_owned(),
        SecretEncoding::Hex => hex::encode(key),
        SecretEncoding::Base64 => STANDARD.encode(key),
    };
    Secret::from(format!("{}{written}", method.secret.prefix))
}

/// Whatever is signed by a method of the scheme verifies.
fn assert_verifies_what_it_signs(scheme: &SignatureScheme, method: &Method) {
    let (secret, now) = (secret_of(method), Timestamp::from_millis(1_700_000_000_123));
    let signed = Signed { method: "POST", url: "https://acme.example/in", body: b"{\"a\":1}" };
    if method.digest == Digest::Ed25519 {
        // Of a public key anybody can tell that nothing is signed with it, if it is one at all.
        let refused = scheme.sign(&secret, "one", now, &signed);
        assert!(matches!(refused, Err(SignError::Secret(_))), "{refused:?}");
        return;
    }
    let headers = scheme.sign(&secret, "one", now, &signed).expect("the secret is of its form");
    let headers: HeaderMap = headers.into_iter().collect();
    let custom = || Scheme::Custom(Arc::new(scheme.clone()));
    assert_eq!(verify(custom(), &secret, &headers, &signed, now), Ok(()), "{headers:?}");
    let other = Signed { body: b"{\"a\":2}", ..signed };
    let verified = verify(custom(), &secret, &headers, &other, now);
    assert_eq!(verified, Err(SignatureFault::Wrong));
}

proptest! {
    #[test]
    fn what_is_valid_survives_its_text_and_verifies_what_it_signs(form in description()) {
        let scheme: SignatureScheme = serde_json::from_value(form).expect("it is valid");
        let text = serde_json::to_string(&scheme).expect("it has a JSON form");
        let read: SignatureScheme = serde_json::from_str(&text).expect("it was written so");
        prop_assert_eq!(&read, &scheme);
        let custom = Scheme::Custom(Arc::new(scheme.clone()));
        let text = serde_json::to_string(&custom).expect("it has a JSON form");
        prop_assert_eq!(serde_json::from_str::<Scheme>(&text).expect("it was written so"), custom);

        assert_verifies_what_it_signs(&scheme, &scheme.method);
        if let Some(alternative) = &scheme.alternative {
            assert_verifies_what_it_signs(&scheme, alternative);
        }
    }
}

/// What is no description, and what its message has to name.
fn invalid() -> Vec<(Value, &'static str)> {
    let plain = json!({"header": "acme-signature"});
    let timed = json!({
        "header": "acme-signature",
        "layout": "t={timestamp},v1={signature}",
        "timestamp": {"unit": "s"},
        "signed": "{timestamp}.{body}",
    });
    let with = |base: &Value, members: Value| {
        let mut form = base.clone();
        for (name, value) in members.as_object().expect("members") {
            form[name] = value.clone();
        }
        form
    };
    vec![
        (json!({}), "header"),
        (with(&plain, json!({"header": "a b"})), "`header`"),
        (with(&plain, json!({"header": ""})), "`header`"),
        (with(&plain, json!({"headers": "x"})), "`headers`"),
        (with(&plain, json!({"layout": "v1={sig}"})), "`layout`"),
        (with(&plain, json!({"layout": "{signature} and more"})), "`layout`"),
        (with(&plain, json!({"layout": "é{signature}"})), "`layout`"),
        (with(&timed, json!({"layout": "t={timestamp},t={signature}"})), "`layout`"),
        (with(&plain, json!({"digest": "md5"})), "`hmac-sha256`"),
        (with(&plain, json!({"encoding": "base32"})), "`base64`"),
        (with(&plain, json!({"timestamp": {"unit": "s"}})), "`timestamp`"),
        (with(&plain, json!({"timestamp": {"unit": "minutes"}})), "`ms`"),
        (with(&plain, json!({"timestamp": {}})), "`unit`"),
        (with(&plain, json!({"timestamp": {"unit": "s", "zone": "UTC"}})), "`zone`"),
        (with(&plain, json!({"signed": "{timestamp}{body}"})), "`timestamp`"),
        (with(&timed, json!({"signed": "{body}"})), "`timestamp`"),
        (with(&timed, json!({"layout": "{signature}"})), "`layout`"),
        (with(&timed, json!({"timestamp": {"unit": "s", "header": "x-time"}})), "`layout`"),
        (
            with(&timed, json!({"timestamp": {"unit": "s", "header": "x time"}})),
            "`timestamp.header`",
        ),
        (with(&plain, json!({"signed": "{id}{body}"})), "`id`"),
        (with(&plain, json!({"id": "x-id"})), "`id`"),
        (with(&plain, json!({"id": "x id", "signed": "{id}{body}"})), "`id`"),
        (with(&plain, json!({"signed": ""})), "`signed`"),
        (with(&plain, json!({"signed": "{url}"})), "`signed`"),
        (with(&plain, json!({"signed": "{body}{body}"})), "`signed`"),
        (with(&plain, json!({"signed": "{payload}"})), "`signed`"),
        (with(&plain, json!({"signed": format!("{}{{body}}", "x".repeat(200))})), "`signed`"),
        (with(&timed, json!({"digest": "token"})), "`token`"),
        (with(&plain, json!({"digest": "token", "signed": "{url}{body}"})), "`token`"),
        (with(&plain, json!({"digest": "token", "id": "x-id"})), "`token`"),
        (
            with(
                &plain,
                json!({"digest": "token", "alternative": {"secret_form": {"prefix": "a"}}}),
            ),
            "`alternative`",
        ),
        (with(&plain, json!({"digest": "ed25519"})), "`encoding`"),
        (with(&plain, json!({"secret_form": {"encoding": "base32"}})), "`base64`"),
        (with(&plain, json!({"secret_form": {"suffix": "x"}})), "`suffix`"),
        (with(&plain, json!({"alternative": {}})), "`alternative`"),
        (
            with(
                &plain,
                json!({
                    "secret_form": {"prefix": "a_"},
                    "alternative": {"secret_form": {"prefix": "a_"}},
                }),
            ),
            "`alternative`",
        ),
        // Every secret of the one would be taken for one of the other.
        (
            with(
                &plain,
                json!({
                    "secret_form": {"prefix": "a_b_"},
                    "alternative": {"secret_form": {"prefix": "a_"}},
                }),
            ),
            "`alternative`",
        ),
        (
            with(
                &plain,
                json!({
                    "alternative": {"digest": "token", "secret_form": {"prefix": "a_"}},
                }),
            ),
            "`token`",
        ),
        (
            with(
                &plain,
                json!({
                    "alternative": {
                        "layout": "t={timestamp},v1={signature}", "secret_form": {"prefix": "a_"},
                    },
                }),
            ),
            "`layout`",
        ),
        (with(&plain, json!({"delivery": {"header": "authorization"}})), "`header`"),
        (with(&plain, json!({"delivery": {"body": "x"}})), "`body`"),
        (with(&plain, json!({"event_type": {"pointer": "type"}})), "pointer"),
        (with(&plain, json!({"handshake": "facebook"})), "`slack`"),
    ]
}

#[test]
fn what_is_no_description_is_told_where() {
    for (form, named) in invalid() {
        for read in [
            serde_json::from_value::<SignatureScheme>(form.clone()).map(|_scheme| ()),
            serde_json::from_value::<Scheme>(form.clone()).map(|_scheme| ()),
        ] {
            let message = read.expect_err(&form.to_string()).to_string();
            assert!(message.contains(named), "{form}: {message}");
        }
    }
}

#[test]
fn a_preset_is_named_and_nothing_else_is() {
    let named = |text: &str| serde_json::from_str::<Scheme>(text);
    assert_eq!(named("\"stripe\"").expect("a preset").name(), "stripe");
    for text in
        ["\"Stripe\"", "\"\"", "\"custom\"", "\"api-key\"", "7", "null", "[]", "[\"stripe\"]"]
    {
        let message = named(text).expect_err(text).to_string();
        assert!(message.contains("signature scheme"), "{text}: {message}");
    }
}
