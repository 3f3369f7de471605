//! Where a request comes from, as proxies say it, and who of them is believed.

use reqwest::Method;
use reqwest::header::HeaderMap;
use serde_json::json;

use super::{Sender, is, said};
use crate::harness::{ROOT_TOKEN, Server, program};

/// What is answered to a signed event with these headers besides.
async fn sent(server: &Server, sender: &Sender, headers: &[(&'static str, &str)]) -> (u16, String) {
    let mut all: HeaderMap = sender.sign("{}");
    for (name, value) in headers {
        all.append(*name, value.parse().unwrap());
    }
    said(sender.post(server, all, "{}").await)
}

async fn behind(settings: &[(&str, &str)]) -> (Server, Sender) {
    let server = Server::in_memory_with(settings).await;
    let allow = json!({"allow": ["203.0.113.0/24", "2001:db8::/32"]});
    let sender = Sender::on(&server, "github", allow).await;
    (server, sender)
}

#[tokio::test]
async fn a_peer_that_is_not_trusted_is_not_believed() {
    let forged = ["203.0.113.9", "203.0.113.9, 127.0.0.1", "127.0.0.1, 203.0.113.9"];
    for settings in [&[][..], &[("PLOY_TRUSTED_PROXIES", "10.0.0.0/8,192.0.2.1")]] {
        let (server, sender) = behind(settings).await;
        for value in forged {
            let answer = sent(&server, &sender, &[("x-forwarded-for", value)]).await;
            assert_eq!(answer, is(403, "address_not_allowed"), "{value}");
        }
        let answer = sent(&server, &sender, &[("forwarded", "for=203.0.113.9")]).await;
        assert_eq!(answer, is(403, "address_not_allowed"));
        let change = Some(json!({"allow": ["127.0.0.1/32"]}));
        server.done(Method::PATCH, &sender.path(), change).await;
        let answer = sent(&server, &sender, &[("x-forwarded-for", "8.8.8.8")]).await;
        assert_eq!(answer, is(202, ""), "nor when it says something worse of itself");
    }
}

#[tokio::test]
async fn of_what_trusted_proxies_say_the_nearest_stranger_counts() {
    let trusted = [("PLOY_TRUSTED_PROXIES", "127.0.0.0/8, 10.0.0.0/8")];
    let (server, sender) = behind(&trusted).await;
    let (yes, no) = (is(202, ""), is(403, "address_not_allowed"));
    for (values, expected) in [
        (&["203.0.113.9"][..], &yes),
        (&["[2001:db8::1]:4711"], &yes),
        (&["8.8.8.8, 203.0.113.9"], &yes),
        (&["203.0.113.9, 8.8.8.8"], &no),
        (&["203.0.113.9, 10.1.2.3"], &yes),
        (&["203.0.113.9", "8.8.8.8, 10.1.2.3"], &no),
        (&["8.8.8.8", "203.0.113.9, 10.1.2.3"], &yes),
        (&["203.0.113.9, unknown"], &no),
        (&["203.0.113.9, 203.0.113.900"], &no),
        (&[], &no),
    ] {
        let headers: Vec<_> = values.iter().map(|value| ("x-forwarded-for", *value)).collect();
        assert_eq!(sent(&server, &sender, &headers).await, *expected, "{values:?}");
    }
    let other_header = sent(&server, &sender, &[("forwarded", "for=203.0.113.9")]).await;
    assert_eq!(other_header, no, "the one header that the proxies set is read");
    let (_, answer) = {
        let mut headers = sender.sign("{}");
        headers.insert("x-forwarded-for", "8.8.8.8, 203.0.113.77".parse().unwrap());
        sender.post(&server, headers, "{}").await
    };
    let event = format!("/events/{}", answer["id"].as_str().unwrap());
    assert_eq!(server.done(Method::GET, &event, None).await["source"], "203.0.113.77");
}

#[tokio::test]
async fn the_standard_header_is_read_where_it_is_set() {
    let settings = [("PLOY_TRUSTED_PROXIES", "127.0.0.1"), ("PLOY_FORWARDED_HEADER", "Forwarded")];
    let (server, sender) = behind(&settings).await;
    let (yes, no) = (is(202, ""), is(403, "address_not_allowed"));
    for (value, expected) in [
        ("for=203.0.113.9;proto=https;by=10.0.0.1", &yes),
        ("For=\"[2001:db8::1]:4711\"", &yes),
        ("for=8.8.8.8, for=203.0.113.9", &yes),
        ("for=203.0.113.9, for=8.8.8.8", &no),
        ("for=203.0.113.9, for=unknown", &no),
        ("for=203.0.113.9, for=_hidden", &no),
        ("by=203.0.113.9", &no),
    ] {
        assert_eq!(sent(&server, &sender, &[("forwarded", value)]).await, *expected, "{value}");
    }
    let other_header = sent(&server, &sender, &[("x-forwarded-for", "203.0.113.9")]).await;
    assert_eq!(other_header, no);
}

#[tokio::test]
async fn settings_that_say_nothing_are_refused_at_the_start() {
    for (name, value, named) in [
        ("PLOY_TRUSTED_PROXIES", "10.0.0.0/8,everybody", "everybody"),
        ("PLOY_TRUSTED_PROXIES", "10.0.0.0/33", "10.0.0.0/33"),
        ("PLOY_TRUSTED_PROXIES", "proxy.internal", "proxy.internal"),
        ("PLOY_FORWARDED_HEADER", "x-real-ip", "x-real-ip"),
    ] {
        let mut command = program(&["serve", "--listen", "127.0.0.1:0", "--store", "memory:"]);
        let output = command.env("PLOY_ROOT_TOKEN", ROOT_TOKEN).env(name, value).output();
        let output = output.await.unwrap();
        let message = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(2), "{message}");
        let setting = name.trim_start_matches("PLOY_").to_ascii_lowercase();
        assert!(message.contains(named) && message.contains(&setting), "{message}");
    }
}
