//! Forms that no page of the console has sent.

use reqwest::Method;
use reqwest::header::{COOKIE, ORIGIN};

use super::{Browser, Form, form};
use crate::harness::{ROOT_TOKEN, Server};

const SITE: &str = "sec-fetch-site";

#[tokio::test]
async fn a_form_from_elsewhere_does_nothing() {
    let server = Server::in_memory().await;
    let browser = Browser::of_root(&server).await;
    let token = browser.form_token().await;
    let fields =
        [("form_token", token.as_str()), ("description", "forged"), ("auth.scheme", "api-key")];
    let own = server.url.clone();
    let port = own.rsplit_once(':').unwrap().1;
    let other_port = format!("http://127.0.0.1:{}", port.parse::<u16>().unwrap() ^ 1);
    for (name, value) in [
        (SITE, "cross-site"),
        (SITE, "same-site"),
        (SITE, ""),
        ("origin", "https://evil.example"),
        ("origin", &other_port),
        ("origin", "http://127.0.0.1"),
        ("origin", "nonsense"),
        ("origin", ""),
    ] {
        let request = browser.request(Method::POST, "/console/endpoints").form(&fields);
        let page = browser.send(request.header(name, value)).await;
        assert_eq!(page.status, 403, "{name}: {value}");
        assert!(page.body.contains("another site"), "{}", page.body);
    }
    let request = browser.request(Method::POST, "/console/endpoints").form(&fields);
    let twice = request.header(ORIGIN, &own).header(ORIGIN, &own);
    assert_eq!(browser.send(twice).await.status, 403);
    assert!(browser.page("/console/endpoints").await.contains("No endpoint yet"));

    // From here, as browsers send it: with TLS or without, whatever the policy for referrers is.
    for headers in [
        &[(SITE, "same-origin"), ("origin", own.as_str())][..],
        &[(SITE, "same-origin"), ("origin", "null")],
        &[(SITE, "none")],
        &[("origin", "null")],
        &[],
    ] {
        let mut request = browser.request(Method::POST, "/console/endpoints").form(&fields);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        assert_eq!(browser.send(request).await.status, 201, "{headers:?}");
    }
}

#[tokio::test]
async fn behind_a_proxy_the_public_url_is_here_too() {
    let server = Server::in_memory_with(&[("PLOY_PUBLIC_URL", "https://hooks.example")]).await;
    let browser = Browser::of_root(&server).await;
    let out = async |origin: &str| {
        let filled = form::of(&browser.page("/console").await, "/console/sign-out");
        let request = browser.request(Method::POST, "/console/workspaces").form(&filled);
        browser.send(request.header(ORIGIN, origin)).await.status.as_u16()
    };
    assert_eq!(out("https://hooks.example").await, 422);
    assert_eq!(out("http://hooks.example").await, 403);
}

#[tokio::test]
async fn a_form_of_another_session_does_nothing() {
    let server = Server::in_memory().await;
    let (browser, other) = (Browser::of_root(&server).await, Browser::of_root(&server).await);
    let theirs = other.form_token().await;
    for token in ["", "guess", &theirs] {
        let fields = [("form_token", token), ("name", "forged")];
        let page =
            browser.send(browser.request(Method::POST, "/console/workspaces").form(&fields)).await;
        assert_eq!(page.status, 403, "{token}");
        assert!(page.body.contains("another session"), "{}", page.body);
    }
    let none = browser.request(Method::POST, "/console/workspaces").form(&[("name", "forged")]);
    assert_eq!(browser.send(none).await.status, 403);
    assert!(!browser.page("/console/workspaces").await.contains("forged"));
    // What is no form is none.
    let json = browser.request(Method::POST, "/console/workspaces").body("{}");
    assert_eq!(browser.send(json.header("content-type", "application/json")).await.status, 415);
    let long =
        browser.request(Method::POST, "/console/workspaces").form(&[("name", "a".repeat(600_000))]);
    assert_eq!(browser.send(long).await.status, 413);
}

#[tokio::test]
async fn nobody_is_signed_in_by_somebody_else() {
    let server = Server::in_memory().await;
    let browser = Browser::at(&server.url);
    let fields = [("token", ROOT_TOKEN)];
    let signed_in = async |name: &str, value: &str| {
        let request = browser.request(Method::POST, "/console/sign-in").form(&fields);
        browser.send(request.header(name, value)).await.status.as_u16()
    };
    assert_eq!(signed_in(SITE, "cross-site").await, 403);
    assert_eq!(signed_in("origin", "https://evil.example").await, 403);
    // A page in a sandbox says no more of itself than the console's own does where there is no TLS:
    // then it takes what the form was sent with.
    assert_eq!(signed_in("origin", "null").await, 403);
    let page = browser.get("/console/sign-in").await;
    let cookie = page.header("set-cookie").split(';').next().unwrap().to_owned();
    let mut filled = form::of(&page.body, "/console/sign-in");
    filled.retain(|(name, _)| name != "token");
    filled.push(("token".to_owned(), ROOT_TOKEN.to_owned()));
    let request = browser.request(Method::POST, "/console/sign-in").form(&filled);
    let request = request.header(ORIGIN, "null").header(COOKIE, cookie);
    assert_eq!(browser.send(request).await.status, 303);
}
