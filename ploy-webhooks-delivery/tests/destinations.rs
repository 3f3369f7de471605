//! Destinations as callers give and see them, and as they are kept.

use ploy_webhooks::{Clock, DestinationId, Keyring, Secret, SystemClock};
use ploy_webhooks_delivery::{Destination, DestinationError, DestinationForm};
use serde_json::{Value, json};

fn form(form: &Value) -> Result<DestinationForm, serde_json::Error> {
    serde_json::from_str(&form.to_string())
}

fn sealed(form_of: &Value) -> Result<Destination, DestinationError> {
    let (id, now) = (DestinationId::mint(SystemClock.now()), SystemClock.now());
    let form = form(form_of).expect("a form");
    form.seal(id, None, &Keyring::mint(), &Secret::mint_signing_secret(), now)
}

#[test]
fn what_is_shown_can_be_given_again_and_shows_no_secret() {
    let (keyring, minted) = (Keyring::mint(), Secret::mint_signing_secret());
    let (id, now) = (DestinationId::mint(SystemClock.now()), SystemClock.now());
    let given = json!({
        "description": "CRM", "url": "https://crm.example/{{contact.id}}?a={{a}}",
        "status": "paused", "method": "patch",
        "headers": {"X-Team": "{{team}}", "Authorization": {"secret": "Bearer hunter2"}},
        "body": {"form": {"mail": "{{contact.email}}"}}, "missing": "empty",
        "signing": {"scheme": "crm", "secret": "hunter3"},
        "time_limit_seconds": 7, "retry": "day", "rate": {"per_second": 5},
        "at_once": 3, "max_submissions": 50_000, "order_by": "/contact/id",
        "disable_after_seconds": null,
    });
    let kept =
        form(&given).expect("a form").seal(id, None, &keyring, &minted, now).expect("sealed");
    let text = serde_json::to_string(&kept).expect("JSON");
    let read: Destination = serde_json::from_str(&text).expect("it is read as it is written");
    assert_eq!(read, kept);
    let shown = serde_json::to_value(kept.form()).expect("JSON");
    let mut expected = given;
    expected["method"] = "PATCH".into();
    expected["headers"]["Authorization"] = json!({"secret": true});
    expected["signing"] = json!({"scheme": "crm"});
    expected["rate"]["burst"] = Value::Null;
    assert_eq!(shown, expected);
    for text in [text, format!("{kept:?} {:?}", form(&shown)), shown.to_string()] {
        assert!(!text.contains("hunter"), "{text}");
    }
    let again = form(&shown).expect("a form").seal(id, Some(&kept), &keyring, &minted, now);
    assert_eq!(again.expect("nothing is missing"), kept);
}

#[test]
fn what_is_out_of_bounds_is_named() {
    let with = |member: &str, value: Value| {
        let mut form = json!({"url": "https://a.example/"});
        form[member] = value;
        sealed(&form).map(drop).map_err(|error| error.to_string())
    };
    for (member, value) in [
        ("time_limit_seconds", json!(0)),
        ("time_limit_seconds", json!(3_601)),
        ("at_once", json!(65)),
        ("disable_after_seconds", json!(59)),
        ("retry", json!({"attempts_max": 101})),
        ("retry", json!({"gaps_seconds": [86_401]})),
        ("description", json!("x".repeat(501))),
        ("headers", json!({"Host": "a"})),
        ("headers", json!({"content-length": "1"})),
        ("headers", json!({"Ploy-Event-Id": "1"})),
        ("headers", json!({"webhook-signature": "1"})),
        ("headers", json!({"a b": "1"})),
        ("headers", json!({"X-A": "1", "x-a": "2"})),
        ("headers", json!({"X-A": {"secret": "a\r\nb"}})),
        ("headers", json!({"X-A": {"secret": true}})),
        ("signing", json!({"scheme": "discord"})),
        ("signing", json!({"scheme": "standard-webhooks", "secret": "whsec_!"})),
        ("signing", json!({"scheme": "none", "secret": "x"})),
        ("signing", json!({"scheme": "custom", "header": "Host", "digest": "token"})),
        ("signing", json!({"scheme": "custom", "header": "Ploy-Test", "digest": "token"})),
    ] {
        let error = with(member, value.clone()).expect_err(&format!("{member}: {value}"));
        assert!(error.starts_with(&format!("`{member}")), "{member}: {error}");
    }
    let get = json!({"url": "https://a.example/", "method": "GET", "body": "payload"});
    assert_eq!(sealed(&get).unwrap_err(), DestinationError::Body);
}

#[test]
fn what_is_no_form_is_refused_where_it_is_wrong() {
    for (wrong, why) in [
        (json!({"url": "ftp://a.example/"}), "http"),
        (json!({"url": "https://{{host}}/"}), "host"),
        (json!({"url": "https://a.example/", "headers": {"X": "{{ a | shell }}"}}), "shell"),
        (json!({"url": "https://a.example/", "headers": {"X": ["abc"]}}), "a text or"),
        (json!({"url": "https://a.example/", "body": {"json": {"a": "{{ a"}}}), "a"),
        (json!({"url": "https://a.example/", "body": {"xml": 1}}), "json"),
        (json!({"url": "https://a.example/", "method": "CONNECT"}), "POST"),
        (json!({"url": "https://a.example/", "retry": "weekly"}), "default"),
        (json!({"url": "https://a.example/", "signing": {"scheme": "md5"}}), "stripe"),
        (json!({"url": "https://a.example/", "signing": {"scheme": "clay", "x": 1}}), "`x`"),
        (json!({"url": "https://a.example/", "order_by": "contact"}), "pointer"),
        (json!({"url": "https://a.example/", "colour": "red"}), "colour"),
        (json!({}), "url"),
    ] {
        let error = form(&wrong).expect_err(&wrong.to_string()).to_string();
        assert!(error.contains(why), "{wrong}: {error}");
    }
}
