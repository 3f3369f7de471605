//! Who has signed in, for how long, and what ends it.

use reqwest::Method;
use serde_json::json;

use super::{Browser, Form};
use crate::harness::{ROOT_TOKEN, Server};

#[tokio::test]
async fn a_token_that_is_valid_signs_in_and_no_other() {
    let server = Server::in_memory().await;
    let browser = Browser::at(&server.url);
    for token in ["", "wrong", "pwt_wrong", "a\nb", "é"] {
        let page = browser.sign_in(token).await;
        assert_eq!(page.status, 401, "{token}");
        assert!(page.body.contains("not valid"), "{}", page.body);
        assert!(browser.cookie.borrow().is_none());
    }
    let page = browser.sign_in(&format!(" {ROOT_TOKEN}\n")).await;
    assert_eq!((page.status.as_u16(), page.location()), (303, "/console"));
    assert!(browser.page("/console").await.contains("root token"));
}

#[tokio::test]
async fn the_cookie_is_for_the_console_alone() {
    let flags = async |settings: &[(&str, &str)]| {
        let server = Server::in_memory_with(settings).await;
        let page = Browser::at(&server.url).sign_in(ROOT_TOKEN).await;
        page.header("set-cookie").to_owned()
    };
    let plain = flags(&[]).await;
    assert!(plain.starts_with("ploy_console="), "{plain}");
    for flag in ["; Path=/console;", "; HttpOnly", "; SameSite=Strict", "; Max-Age=43"] {
        assert!(plain.contains(flag), "{flag} in {plain}");
    }
    assert!(!plain.contains("Secure") && !plain.contains("Domain"), "{plain}");
    assert!(!plain.contains(ROOT_TOKEN));
    let secure = flags(&[("PLOY_PUBLIC_URL", "https://hooks.example")]).await;
    assert!(
        secure.starts_with("__Host-ploy_console=")
            && secure.contains("; Secure")
            && secure.contains("; Path=/;"),
        "{secure}"
    );
}

#[tokio::test]
async fn whoever_has_not_signed_in_is_asked_to_and_then_goes_on() {
    let server = Server::in_memory().await;
    let browser = Browser::at(&server.url);
    let page = browser.get("/console/events?contains=a%20b").await;
    let sign_in = page.location().to_owned();
    assert_eq!(page.status, 303);
    assert!(sign_in.starts_with("/console/sign-in?next="), "{sign_in}");
    let went_on = browser.fill(&sign_in, "/console/sign-in", &[("token", ROOT_TOKEN)]).await;
    assert_eq!(went_on.location(), "/console/events?contains=a%20b");

    for elsewhere in [
        "//evil.example/",
        "https://evil.example/console",
        "/api/v1/tokens",
        "/console//evil.example",
        "/consoles",
        "/console\\evil",
        "/console/sign-in",
    ] {
        let fields = [("token", ROOT_TOKEN), ("next", elsewhere)];
        let request = browser.request(Method::POST, "/console/sign-in").form(&fields);
        assert_eq!(browser.send(request).await.location(), "/console", "{elsewhere}");
    }
}

#[tokio::test]
async fn signing_out_ends_it() {
    let server = Server::in_memory().await;
    let browser = Browser::of_root(&server).await;
    let out = browser.fill("/console", "/console/sign-out", &[]).await;
    assert!(browser.follow(&out).await.contains("signed out"));
    assert!(browser.cookie.borrow().is_none());
    assert_eq!(browser.get("/console/tokens").await.status, 303);
}

#[tokio::test]
async fn a_token_that_is_revoked_ends_its_session_at_the_next_page() {
    let server = Server::in_memory().await;
    let made = server.done(Method::POST, "/tokens", Some(json!({"scope": "write"}))).await;
    let browser = Browser::of(&server, made["token"].as_str().unwrap()).await;
    browser.page("/console/events").await;
    let id = made["id"].as_str().unwrap();
    server.done(Method::DELETE, &format!("/tokens/{id}"), None).await;
    let page = browser.get("/console/events").await;
    assert!(browser.follow(&page).await.contains("revoked"));
    assert!(browser.cookie.borrow().is_none());
}

#[tokio::test]
async fn a_session_that_was_altered_is_none() {
    let server = Server::in_memory().await;
    let browser = Browser::of_root(&server).await;
    let cookie = browser.cookie.borrow().clone().unwrap();
    let middle = cookie.len() / 2;
    let other = if cookie.as_bytes()[middle] == b'A' { "B" } else { "A" };
    let spoilt = format!("{}{other}{}", &cookie[..middle], &cookie[middle + 1..]);
    let twice = format!("{cookie}; {cookie}");
    for altered in [spoilt, twice, "ploy_console=".to_owned(), "ploy_console=AAAA".to_owned()] {
        *browser.cookie.borrow_mut() = Some(altered.clone());
        assert_eq!(browser.get("/console").await.status, 303, "{altered}");
    }
    // Nor does one of another server open this one.
    let elsewhere = Browser::of_root(&Server::in_memory().await).await;
    browser.cookie.replace(elsewhere.cookie.take());
    assert_eq!(browser.get("/console").await.status, 303);
}

#[tokio::test]
async fn every_node_with_the_keyring_serves_a_session() {
    let folder = tempfile::tempdir().unwrap();
    let first = Server::in_folder(folder.path(), &[]).await;
    let browser = Browser::of_root(&first).await;
    first.terminate();
    assert_eq!(first.exit_code().await, Some(0));
    let second = Server::in_folder(folder.path(), &[]).await;
    let browser = Browser { url: second.url.clone(), ..browser };
    browser.page("/console").await;
}

#[tokio::test]
async fn whoever_guesses_keeps_nobody_out() {
    let server = Server::in_memory().await;
    let tries = (0..40).map(|place| {
        let browser = Browser::at(&server.url);
        let token = if place == 20 { ROOT_TOKEN } else { "pwt_wrong" };
        async move { browser.sign_in(token).await.status.as_u16() }
    });
    let answers: Vec<_> = futures(tries).await;
    for (place, answer) in answers.into_iter().enumerate() {
        assert_eq!(answer, if place == 20 { 303 } else { 401 }, "{place}");
    }
}

#[tokio::test]
async fn a_form_that_no_page_has_made_is_not_read() {
    let server = Server::in_memory().await;
    let browser = Browser::at(&server.url);
    let fields = vec![("token", "x".repeat(9_000))];
    let request = browser.request(Method::POST, "/console/sign-in").form(&fields);
    assert_eq!(browser.send(request).await.status, 413);
    let fields = vec![("a", "b"); 2_000];
    let request = browser.request(Method::POST, "/console/sign-in").form(&fields);
    assert_eq!(browser.send(request).await.status, 413);
    let browser = Browser::of_root(&server).await;
    let token = browser.form_token().await;
    let fields = [vec![("form_token", token.as_str())], vec![("a", "b"); 1_024]].concat();
    let request = browser.request(Method::POST, "/console/sign-out").form(&fields);
    assert_eq!(browser.send(request).await.status, 413);
}

/// What all of them come to, one beside the other.
async fn futures<T: Send + 'static>(
    all: impl Iterator<Item = impl Future<Output = T> + 'static>,
) -> Vec<T> {
    let tasks = tokio::task::LocalSet::new();
    let handles: Vec<_> = all.map(|one| tasks.spawn_local(one)).collect();
    tasks
        .run_until(async move {
            let mut done = Vec::new();
            for handle in handles {
                done.push(handle.await.unwrap());
            }
            done
        })
        .await
}
