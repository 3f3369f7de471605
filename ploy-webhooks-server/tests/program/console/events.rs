//! Events: found, shown with what became of them, replayed; their runs tried again.

use reqwest::Method;
use serde_json::json;

use super::{Browser, Form, copied};
use crate::harness::Server;

#[tokio::test]
async fn filters_are_in_the_address_and_find() {
    let server = Server::in_memory().await;
    let one =
        server.create(json!({"description": "One", "event_type": {"pointer": "/kind"}})).await;
    let two = server.create(json!({"description": "Two"})).await;
    let of_one = server.accepted(&one, &[r#"{"kind":"lead","who":"ACME Inc."}"#]).await;
    let of_two = server.accepted(&two, &[r#"{"who":"100%_\" other"}"#]).await;
    let browser = Browser::of_root(&server).await;
    for (query, found, left_out) in [
        (format!("endpoint={}", one.id), &of_one[0], &of_two[0]),
        ("type=lead".to_owned(), &of_one[0], &of_two[0]),
        ("contains=acme".to_owned(), &of_one[0], &of_two[0]),
        ("contains=100%25_%5C%22".to_owned(), &of_two[0], &of_one[0]),
    ] {
        let page = browser.page(&format!("/console/events?{query}")).await;
        assert!(page.contains(found.as_str()) && !page.contains(left_out.as_str()), "{query}");
    }
    let page = browser.page("/console/events?contains=acme").await;
    assert!(page.contains("who&#34;:&#34;<mark>ACME</mark> Inc."), "{page}");
    let nothing = browser.page("/console/events?from=2001-01-01T00:00&to=2001-01-02").await;
    assert!(nothing.contains("No event is so"), "{nothing}");
    let wrong = browser.get("/console/events?endpoint=nonsense").await;
    assert_eq!(wrong.status, 422);
    assert!(wrong.body.contains("`endpoint`"), "{}", wrong.body);
}

#[tokio::test]
async fn an_event_is_sent_again_by_its_command_byte_for_byte() {
    let server = Server::in_memory().await;
    let endpoint = server.create(json!({"description": "Clay"})).await;
    let payloads =
        ["{\"a\": \"it's $(x) `y` %s \\\\ \\n\"}", "{\"rtl\":\"\u{202e}%d\\\\\",\n\t\"b\":1e5}\n"];
    let events = server.accepted(&endpoint, &payloads).await;
    let browser = Browser::of_root(&server).await;
    for (event, payload) in events.iter().zip(payloads) {
        let command = copied(&browser.page(&format!("/console/events/{event}")).await, "command");
        assert!(!command.contains('\u{202e}'));
        let command = command.replace("<key>", &endpoint.key);
        let sent =
            tokio::process::Command::new("sh").args(["-c", &command]).output().await.unwrap();
        let sent: serde_json::Value = serde_json::from_slice(&sent.stdout).unwrap();
        let again = format!("/console/events/{}/payload", sent["id"].as_str().unwrap());
        assert_eq!(browser.page(&again).await, payload, "{command}");
    }
}

#[tokio::test]
async fn what_failed_is_shown_and_tried_again() {
    let server = Server::in_memory().await;
    let ploybook = json!({"name": "page", "run": {"http": {"url": "http://127.0.0.1:9/"}},
        "retry": {"attempts_max": 1}});
    server.done(Method::POST, "/ploybooks", Some(ploybook)).await;
    let form = json!({"description": "Clay", "trigger": {"ploybook": "page"}});
    let endpoint = server.create(form).await;
    let events = server.accepted(&endpoint, &["{}"]).await;
    let run = server.ended(&events[0], 1).await[0]["id"].as_str().unwrap().to_owned();
    let browser = Browser::of_root(&server).await;
    let (event, run) = (format!("/console/events/{}", events[0]), format!("/console/runs/{run}"));
    for path in ["/console", &event, "/console/runs?state=failed"] {
        let page = browser.page(path).await;
        assert!(page.contains(&run) && page.contains("cannot connect"), "{path}: {page}");
    }
    let shown = browser.page(&run).await;
    assert!(shown.contains("<h4>Error</h4>") && shown.contains("took"), "{shown}");
    assert!(browser.press(&run, &format!("{run}/retry")).await.contains("tried again"));
    // It has ended by now, or it has not: what cannot be done is said in words, on the page.
    server.run_in(run.rsplit_once('/').unwrap().1, "failed").await;
    let fields = [("form_token", &*browser.form_token().await)];
    let cancel = browser.request(Method::POST, &format!("{run}/cancel")).form(&fields);
    let page = browser.send(cancel).await;
    assert_eq!(page.status, 409);
    assert!(page.body.contains("nothing to call off"), "{}", page.body);

    let replayed = browser.press(&event, &format!("{event}/replay")).await;
    assert!(replayed.contains("Replayed"), "{replayed}");
    server.ended(&events[0], 2).await;
}
