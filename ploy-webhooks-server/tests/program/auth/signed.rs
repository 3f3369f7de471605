//! Events that are signed, and what is nearly so.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use ed25519_dalek::{Signer, SigningKey};
use ploy_webhooks::verify::Preset;
use reqwest::Method;
use reqwest::header::{HeaderMap, HeaderName, HeaderValue};
use serde_json::{Value, json};

use super::{Sender, in_seconds, is, presets, said, seconds_ago};
use crate::harness::{Server, answer};

const BODY: &str = r#"{"some":"event"}"#;

fn header_of(scheme: &str) -> HeaderName {
    Preset::named(scheme).unwrap().description().header.clone()
}

async fn events(server: &Server, sender: &Sender) -> usize {
    let found = server.done(Method::GET, &format!("/events?endpoint={}", sender.id), None).await;
    found["data"].as_array().unwrap().len()
}

#[tokio::test]
async fn what_is_signed_by_any_preset_is_taken_and_what_is_nearly_so_is_not() {
    let server = Server::in_memory().await;
    for scheme in presets() {
        let sender = Sender::on(&server, scheme, json!({"dedup": {"off": true}})).await;
        assert_eq!(sender.send(&server, BODY).await, is(202, ""), "{scheme}");

        let post = async |headers: HeaderMap, body: &str| {
            let (status, answer) = sender.post(&server, headers, body).await;
            let text = answer.to_string();
            assert!(!text.contains(&sender.secret), "{scheme}: {text}");
            said((status, answer))
        };
        let wrong = is(401, "invalid_signature");
        assert_eq!(post(HeaderMap::new(), BODY).await, wrong, "{scheme}: none");
        let name = header_of(scheme);
        let mut twice = sender.sign(BODY);
        let value = twice[&name].clone();
        twice.append(name.clone(), value.clone());
        assert_eq!(post(twice, BODY).await, wrong, "{scheme}: twice");
        let mut cut = sender.sign(BODY);
        let length = value.len();
        let value = HeaderValue::from_bytes(&cut[&name].as_bytes()[..length - 4]).unwrap();
        cut.insert(name.clone(), value);
        assert_eq!(post(cut, BODY).await, wrong, "{scheme}: cut off");
        for garbage in ["", "x", "v1=", "t=,v1=", "=,;", "\u{e9}"] {
            let mut headers = sender.sign(BODY);
            headers.insert(name.clone(), HeaderValue::from_bytes(garbage.as_bytes()).unwrap());
            assert_eq!(post(headers, BODY).await, wrong, "{scheme}: {garbage}");
        }
        if scheme != "gitlab" {
            let another = r#"{"some":"Event"}"#;
            assert_eq!(post(sender.sign(BODY), another).await, wrong, "{scheme}: another body");
        }
        if scheme != "discord" {
            let other = Sender::on(&server, scheme, json!({})).await;
            let other = Sender { url: sender.url.clone(), ..other };
            assert_eq!(post(other.sign(BODY), BODY).await, wrong, "{scheme}: another's secret");
        }
        let has_time = Preset::named(scheme).unwrap().description().timestamp.is_some();
        for time in [seconds_ago(310), in_seconds(310)].into_iter().filter(|_| has_time) {
            let stale = is(401, "stale_timestamp");
            assert_eq!(post(sender.sign_at(time, BODY), BODY).await, stale, "{scheme}");
        }
        for time in [seconds_ago(280), in_seconds(280)] {
            assert_eq!(post(sender.sign_at(time, BODY), BODY).await, is(202, ""), "{scheme}");
        }
        assert_eq!(events(&server, &sender).await, 3, "{scheme}");
    }
}

#[tokio::test]
async fn a_bearer_key_is_no_signature_and_a_signature_no_key() {
    let server = Server::in_memory().await;
    let keyed = server.create(json!({"description": ""})).await;
    let signing = Sender::on(&server, "github", json!({})).await;
    let mut headers = HeaderMap::new();
    let bearer = format!("Bearer {}", keyed.key).parse().unwrap();
    headers.insert(reqwest::header::AUTHORIZATION, bearer);
    let refused = said(signing.post(&server, headers, BODY).await);
    assert_eq!(refused, is(401, "invalid_signature"));
    let as_keyed = Sender { slug: keyed.slug.clone(), ..signing.clone() };
    assert_eq!(as_keyed.send(&server, BODY).await, is(401, "unauthorized"));
    let bearer_secret = format!("Bearer {}", signing.secret);
    let request = signing.request(&server, HeaderMap::new(), BODY);
    let refused = said(answer(request.header("authorization", bearer_secret)).await);
    assert_eq!(refused, is(401, "invalid_signature"));
}

#[tokio::test]
async fn a_signature_that_is_refused_says_where_it_belongs() {
    let server = Server::in_memory().await;
    let sender = Sender::on(&server, "stripe", json!({})).await;
    let response = sender.request(&server, HeaderMap::new(), BODY).send().await.unwrap();
    assert_eq!(response.status(), 401);
    assert_eq!(response.headers()["www-authenticate"], r#"Signature realm="webhook""#);
    assert_eq!(response.headers()["content-type"], "application/problem+json");
    let problem: Value = serde_json::from_slice(&response.bytes().await.unwrap()).unwrap();
    assert!(problem["detail"].as_str().unwrap().contains("stripe-signature"), "{problem}");
}

#[tokio::test]
async fn the_url_that_is_signed_is_the_one_that_is_shown() {
    let public = [("PLOY_PUBLIC_URL", "https://hooks.example.com/base/")];
    for (server, begin) in [
        (Server::in_memory().await, "http://127.0.0.1:"),
        (Server::in_memory_with(&public).await, "https://hooks.example.com/base/api/v1/webhook/"),
    ] {
        for scheme in ["hubspot", "square"] {
            let sender = Sender::on(&server, scheme, json!({})).await;
            assert!(sender.url.starts_with(begin), "{}", sender.url);
            assert_eq!(sender.send(&server, BODY).await, is(202, ""), "{scheme}");
            for url in [
                "",
                "https://hooks.example.com/",
                &format!("{}/", sender.url),
                &format!("{}?a=b", sender.url),
                &sender.url.replace("http", "HTTP"),
            ] {
                let elsewhere = Sender { url: url.to_owned(), ..sender.clone() };
                let refused = elsewhere.send(&server, BODY).await;
                assert_eq!(refused, is(401, "invalid_signature"), "{scheme} {url}");
            }
            // What is asked besides is part of the URL.
            let url = format!("{}?a=b%20c&d", sender.url);
            let asking = Sender { url, ..sender.clone() };
            let local = format!("{}/api/v1/webhook/{}?a=b%20c&d", server.url, sender.slug);
            let request = server.http.post(local).headers(asking.sign(BODY));
            let request = request.header("content-type", "application/json").body(BODY);
            assert_eq!(said(answer(request).await), is(202, ""), "{scheme}");
        }
    }
}

#[tokio::test]
async fn one_right_signature_of_several_is_enough() {
    let server = Server::in_memory().await;
    for scheme in ["stripe", "svix"] {
        let sender = Sender::on(&server, scheme, json!({})).await;
        let name = header_of(scheme);
        let mut headers = sender.sign(BODY);
        let value = headers[&name].to_str().unwrap().to_owned();
        let several = match scheme {
            "stripe" => value.replace(",v1=", &format!(",v1={},v0=x,v1=", "0".repeat(64))),
            _ => format!("v1,AAAA v1a,AAAA {value}"),
        };
        headers.insert(name, several.parse().unwrap());
        assert_eq!(said(sender.post(&server, headers, BODY).await), is(202, ""), "{scheme}");
    }
}

#[tokio::test]
async fn standard_webhooks_are_signed_by_a_private_key_too() {
    let server = Server::in_memory().await;
    let key = SigningKey::from_bytes(&super::PRIVATE_KEY);
    let public = format!("whpk_{}", STANDARD.encode(key.verifying_key().as_bytes()));
    let form =
        json!({"description": "", "auth": {"scheme": "standard-webhooks", "secret": public}});
    let made = server.done(Method::POST, "/endpoints", Some(form)).await;
    let sender = Sender::of("standard-webhooks", &made);
    let time = (seconds_ago(0).as_millis() / 1_000).to_string();
    let signature = key.sign(format!("msg_1.{time}.{BODY}").as_bytes());
    let send = async |version: &str| {
        let value = format!("{version},{}", STANDARD.encode(signature.to_bytes()));
        let request = sender.request(&server, HeaderMap::new(), BODY);
        let request = request.header("webhook-id", "msg_1").header("webhook-timestamp", &time);
        said(answer(request.header("webhook-signature", value)).await)
    };
    assert_eq!(send("v1").await, is(401, "invalid_signature"));
    assert_eq!(send("v1a").await, is(202, ""));
}
