//! What senders write is text, whatever it is.

use serde_json::json;

use super::{Browser, form};
use crate::harness::Server;

const MARKUP: &str = "<script>alert(1)</script><img src=x onerror=alert(1)>\"'&";

#[tokio::test]
async fn markup_in_payloads_and_descriptions_is_text() {
    let server = Server::in_memory().await;
    let endpoint = server.create(json!({"description": MARKUP})).await;
    let payload = json!({"note": MARKUP}).to_string();
    let events = server.accepted(&endpoint, &[&payload]).await;
    let browser = Browser::of_root(&server).await;
    let event = &events[0];
    for path in [
        "/console/endpoints".to_owned(),
        format!("/console/endpoints/{}", endpoint.id),
        format!("/console/events/{event}"),
        format!("/console/events/{event}?view=raw"),
        "/console/events?contains=%3Cscript%3E".to_owned(),
        format!("/console/events?type={MARKUP}"),
        format!("/console/runs?event={MARKUP}"),
    ] {
        let page = browser.get(&path).await.body;
        assert!(!page.contains("<script>") && !page.contains("<img"), "{path}: {page}");
        assert!(page.contains("&#60;script&#62;"), "{path}: {page}");
    }
    let found = browser.page("/console/events?contains=%3CSCRIPT%3E").await;
    assert!(found.contains("<mark>&#60;script&#62;</mark>"), "{found}");
}

#[tokio::test]
async fn control_characters_are_signs_and_turn_nothing_around() {
    let server = Server::in_memory().await;
    let endpoint = server.create(json!({"description": "abc\u{202e}fdp.exe"})).await;
    let payload = "{\"a\u{202e}b\":\"\u{2066}c\u{7f}\u{9b}31m\",\"d\":1.0e+1,\"d\":2}";
    let events = server.accepted(&endpoint, &[payload]).await;
    let browser = Browser::of_root(&server).await;
    for path in [
        "/console".to_owned(),
        "/console/endpoints".to_owned(),
        "/console/events".to_owned(),
        format!("/console/events/{}", events[0]),
        format!("/console/events/{}?view=raw", events[0]),
    ] {
        let page = browser.page(&path).await;
        // Fields of forms have what they are to send again; they stand by themselves.
        assert!(!page.contains(['\u{202e}', '\u{2066}', '\u{9b}', '\u{7f}']), "{path}: {page}");
    }
    let page = browser.page(&format!("/console/events/{}", events[0])).await;
    assert!(page.contains("<span class=\"sign\">U+202E</span>"), "{page}");
    // The text is laid out and nothing else: both members are there, and the number as it was.
    assert!(page.contains("&#34;d&#34;: 1.0e+1,\n  &#34;d&#34;: 2\n}"), "{page}");
    let bytes = browser.page(&format!("/console/events/{}/payload", events[0])).await;
    assert_eq!(bytes, payload);
}

#[tokio::test]
async fn a_long_line_is_shown_in_part_and_given_whole() {
    let server = Server::in_memory().await;
    let endpoint = server.create(json!({"description": "Long"})).await;
    let long = format!("{{\"x\":\"{}\"}}", "y".repeat(1_048_000));
    let deep = format!("{{\"x\":{}{}}}", "[".repeat(500_000), "]".repeat(500_000));
    let events = server.accepted(&endpoint, &[&long, &deep]).await;
    let browser = Browser::of_root(&server).await;
    for (event, payload) in events.iter().zip([long, deep]) {
        let page = browser.page(&format!("/console/events/{event}")).await;
        assert!(page.len() < 250_000, "{}", page.len());
        assert!(page.contains("This is the beginning of it"));
        let whole = browser.get(&format!("/console/events/{event}/payload")).await;
        assert_eq!(whole.header("content-type"), "text/plain; charset=utf-8");
        assert!(whole.header("content-security-policy").contains("default-src 'none'"));
        assert_eq!(whole.body, payload);
    }
    let found = browser.page("/console/events?contains=yyyy").await;
    assert!(found.contains("<mark>yyyy</mark>") && found.len() < 100_000, "{}", found.len());
}

#[tokio::test]
async fn the_name_of_a_ploybook_stays_in_its_segment() {
    let server = Server::in_memory().await;
    let browser = Browser::of_root(&server).await;
    let name = "a/b?c=d#e <f> & \"g\" %2f ..";
    let fields = [("name", name), ("run.target", "http://127.0.0.1:9/")];
    let made = browser.fill("/console/new-ploybook", "/console/ploybooks", &fields).await;
    let list = browser.follow(&made).await;
    let page = super::between(&list, "<td data-label=\"Name\"><a href=\"", "\"");
    let shown = browser.page(&form::unescaped(page)).await;
    assert!(shown.contains("a/b?c=d#e &#60;f&#62; &#38; &#34;g&#34; %2f .."), "{shown}");
    let gone = browser.press(page, &format!("{page}/delete")).await;
    assert!(gone.contains("No Ploybook yet"));
}
