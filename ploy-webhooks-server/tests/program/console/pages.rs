//! Every page: that it is there, and what it tells the browser.

use reqwest::Method;
use serde_json::json;

use super::{Browser, between};
use crate::harness::{ROOT_TOKEN, Server};

/// The pages that are there without anything being made.
const PAGES: [&str; 14] = [
    "/console",
    "/console/endpoints",
    "/console/endpoints/new",
    "/console/events",
    "/console/events?contains=x&order=asc",
    "/console/runs",
    "/console/ploybooks",
    "/console/new-ploybook",
    "/console/destinations",
    "/console/destinations/new",
    "/console/subscriptions",
    "/console/subscriptions/new",
    "/console/tokens",
    "/console/workspaces",
];
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; \
                      connect-src 'self'; form-action 'self'; base-uri 'none'; \
                      frame-ancestors 'none'";

#[tokio::test]
async fn every_page_is_a_page_and_strict() {
    let server = Server::in_memory().await;
    let browser = Browser::of_root(&server).await;
    let mut titles = std::collections::BTreeSet::new();
    for path in PAGES.into_iter().chain(["/console/sign-in", "/console/nothing"]) {
        let page = browser.get(path).await;
        let expected = if path.ends_with("nothing") { 404 } else { 200 };
        assert_eq!(page.status, expected, "{path}");
        for (name, value) in [
            ("content-type", "text/html; charset=utf-8"),
            ("content-security-policy", POLICY),
            ("cache-control", "no-store"),
            ("x-content-type-options", "nosniff"),
            ("referrer-policy", "no-referrer"),
            ("cross-origin-opener-policy", "same-origin"),
        ] {
            assert_eq!(page.header(name), value, "{path}");
        }
        let body = &page.body;
        assert!(body.starts_with("<!doctype html>\n<html lang=\"en\">"), "{path}");
        for part in ["<main id=\"main\"", "<h1", "name=\"viewport\""] {
            assert!(body.contains(part), "{path}: {part}");
        }
        titles.insert(between(body, "<title>", "</title>").to_owned());
        for inline in
            ["<script>", " style=", "<style", " onclick=", "javascript:", "http://", "//cdn"]
        {
            // Examples of what to fill in are no addresses that are loaded.
            assert!(!body.contains(inline), "{path}: {inline}");
        }
        let ids: Vec<_> = body.split(" id=\"").skip(1).map(|it| it.split('"').next()).collect();
        let known: std::collections::BTreeSet<_> = ids.iter().collect();
        assert_eq!(ids.len(), known.len(), "{path}: an id is there twice");
        for label in body.split("<label for=\"").skip(1).map(|it| it.split('"').next()) {
            assert!(known.contains(&label), "{path}: {label:?} labels nothing");
        }
    }
    assert_eq!(titles.len(), PAGES.len() + 1, "{titles:?}");
}

#[tokio::test]
async fn the_root_leads_to_the_console_and_the_console_may_be_off() {
    let server = Server::in_memory().await;
    let browser = Browser::at(&server.url);
    let page = browser.get("/").await;
    assert_eq!((page.status.as_u16(), page.location()), (303, "/console"));
    let off = Server::in_memory_with(&[("PLOY_CONSOLE", "false")]).await;
    let browser = Browser::at(&off.url);
    for path in ["/", "/console", "/console/sign-in"] {
        let page = browser.get(path).await;
        assert_eq!(page.status, 404);
        assert_eq!(page.header("content-type"), "application/problem+json");
    }
}

#[tokio::test]
async fn style_and_script_are_kept_by_what_is_in_them_and_the_first_page_is_light() {
    let server = Server::in_memory().await;
    let browser = Browser::of_root(&server).await;
    let page = browser.page("/console").await;
    let mut bytes = page.len();
    let assets = [
        ("<link rel=\"stylesheet\" href=\"", "text/css"),
        ("<script src=\"", "text/javascript; charset=utf-8"),
        ("<link rel=\"icon\" href=\"", "image/svg+xml"),
    ];
    for (before, content_type) in assets {
        let asset = browser.get(between(&page, before, "\"")).await;
        assert_eq!((asset.status.as_u16(), asset.header("content-type")), (200, content_type));
        assert_eq!(asset.header("cache-control"), "public, max-age=31536000, immutable");
        assert_eq!(asset.header("x-content-type-options"), "nosniff");
        bytes += asset.body.len();
    }
    assert!(bytes < 100_000, "{bytes}");
    assert_eq!(browser.get("/console/assets/console.css").await.status, 404);
}

#[tokio::test]
async fn what_is_not_there_is_a_page_that_says_so() {
    let server = Server::in_memory().await;
    let browser = Browser::of_root(&server).await;
    for path in [
        "/console/endpoints/ep_01000000000000000000000000",
        "/console/endpoints/nonsense",
        "/console/events/evt_01000000000000000000000000",
        "/console/events/evt_01000000000000000000000000/payload",
        "/console/runs/run_01000000000000000000000000",
        "/console/ploybooks/nothing",
        "/console/destinations/dst_01000000000000000000000000",
        "/console/subscriptions/sub_01000000000000000000000000",
        "/console/a/b/c",
    ] {
        let page = browser.get(path).await;
        assert_eq!(page.status, 404, "{path}");
        assert!(page.body.contains("Nothing here"), "{path}: {}", page.body);
    }
    let page = browser.send(browser.request(Method::DELETE, "/console/endpoints")).await;
    assert_eq!(page.status, 405);
    assert!(page.header("content-type").starts_with("text/html"));
}

#[tokio::test]
async fn a_list_goes_on_where_its_page_ends() {
    let server = Server::in_memory().await;
    for number in 0..51 {
        server.create(json!({"description": format!("Endpoint number {number:02}")})).await;
    }
    let browser = Browser::of_root(&server).await;
    let first = browser.page("/console/endpoints").await;
    assert!(first.contains("number 00") && !first.contains("number 50"));
    let next = super::form::unescaped(between(
        &first,
        "<nav class=\"pages\" aria-label=\"Pages\"><a href=\"",
        "\"",
    ));
    let second = browser.page(&next).await;
    assert!(second.contains("number 50") && !second.contains("number 00"));
    assert!(second.contains("href=\"/console/endpoints\">First page"));
}

#[tokio::test]
async fn where_there_is_nothing_a_command_says_what_to_do_next() {
    let server = Server::in_memory().await;
    let browser = Browser::of_root(&server).await;
    let program = std::path::Path::new(env!("CARGO_BIN_EXE_ploy-webhooks")).parent().unwrap();
    let path = format!("{}:/usr/bin:/bin", program.display());
    // One that names a destination has to be filled in first: it is understood, and refused.
    for (kind, exit) in
        [("endpoints", 0), ("ploybooks", 0), ("destinations", 0), ("subscriptions", 1)]
    {
        let command = super::copied(&browser.page(&format!("/console/{kind}")).await, "command");
        let mut shell = tokio::process::Command::new("sh");
        shell.args(["-c", &command]).env("PATH", &path);
        shell.env("PLOY_URL", &server.url).env("PLOY_TOKEN", ROOT_TOKEN);
        let said = shell.output().await.unwrap();
        assert_eq!(said.status.code(), Some(exit), "{command}: {said:?}");
    }
}
