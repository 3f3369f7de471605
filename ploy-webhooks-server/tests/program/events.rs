//! `/events`.

use reqwest::Method;
use serde_json::{Value, json};

use crate::harness::{ROOT_TOKEN, Server};

fn ids(list: &Value) -> Vec<String> {
    let data = list["data"].as_array().unwrap();
    data.iter().map(|event| event["id"].as_str().unwrap().to_owned()).collect()
}

#[tokio::test]
async fn an_event_is_shown_as_it_was_sent() {
    let server = Server::in_memory_with(&[("PLOY_DISPATCH", "false")]).await;
    let endpoint = server
        .create(json!({"description": "", "trigger": {"ploybook": "page"}, "event_type": {"pointer": "/t"}}))
        .await;
    let payload = r#"{ "t":"a.b", "n":1.0E+2, "n":1e400, "s":"\ud800\u0000é" }"#;
    let id = &server.accepted(&endpoint, &[payload]).await[0];

    let client = &server.http;
    let get = async |path: String| {
        let request = client.get(format!("{}/api/v1/events/{path}", server.url));
        request.bearer_auth(ROOT_TOKEN).send().await.unwrap()
    };
    let shown = get(id.clone()).await.text().await.unwrap();
    assert!(shown.contains(&format!(r#""payload":{payload},"#)), "{shown}");
    // A tree cannot hold 1e400 or a lone surrogate: only what is around the payload is read.
    let around: Value = serde_json::from_str(&shown.replace(payload, "null")).unwrap();
    assert_eq!(around["id"], **id);
    assert_eq!(around["endpoint_id"], endpoint.id);
    assert_eq!((&around["type"], &around["size"]), (&json!("a.b"), &json!(payload.len())));
    assert_eq!(around["source"], "127.0.0.1");
    let run = &around["runs"][0];
    assert_eq!((&run["event_id"], &run["state"]), (&around["id"], &json!("queued")));
    assert_eq!((&run["trigger"], &run["attempts"]), (&json!({"ploybook": "page"}), &json!([])));

    let raw = get(format!("{id}/payload")).await;
    for (name, value) in [
        ("content-type", "application/json"),
        ("cache-control", "no-store"),
        ("x-content-type-options", "nosniff"),
    ] {
        assert_eq!(raw.headers()[name], value);
    }
    assert_eq!(raw.text().await.unwrap(), payload);
    assert_eq!(get("evt_00000000000000000000000000".to_owned()).await.status(), 404);
    assert_eq!(get("nonsense/payload".to_owned()).await.status(), 404);
}

#[tokio::test]
async fn headers_that_are_no_text_are_shown_all_the_same() {
    let server = Server::in_memory().await;
    let endpoint = server.create(json!({"description": ""})).await;
    let response = server
        .http
        .post(server.ingest_url(&endpoint))
        .bearer_auth(&endpoint.key)
        .header("content-type", "application/json")
        .header("x-request-id", "one")
        .header("x-request-id", reqwest::header::HeaderValue::from_bytes(b"\xff").unwrap())
        .body("{}")
        .send()
        .await
        .unwrap();
    assert_eq!(response.status(), 202);
    let (_, list) = server.get("/events").await;
    let (_, event) = server.get(&format!("/events/{}", ids(&list)[0])).await;
    assert_eq!(event["headers"], json!({"x-request-id": "one, \u{fffd}"}));
}

#[tokio::test]
async fn events_are_found_by_what_is_asked_for() {
    let server = Server::in_memory().await;
    let typed = server.create(json!({"description": "", "event_type": {"pointer": "/t"}})).await;
    let plain = server.create(json!({"description": ""})).await;
    let sent =
        server.accepted(&typed, &[r#"{"t":"paid","v":"100%"}"#, r#"{"t":"sent","v":"a_b"}"#]).await;
    let other = server.accepted(&plain, &[r#"{"v":"ACME \"q\""}"#]).await;
    let all: Vec<_> = sent.iter().chain(&other).cloned().collect();
    let newest_first: Vec<_> = all.iter().rev().cloned().collect();

    let (_, event) = server.get(&format!("/events/{}", sent[1])).await;
    let then = event["received_at"].as_str().unwrap();
    for (query, expected) in [
        (String::new(), &newest_first[..]),
        ("order=asc".to_owned(), &all),
        (format!("endpoint={}", plain.id), &other),
        ("type=paid".to_owned(), &sent[..1]),
        ("contains=acme".to_owned(), &other),
        ("contains=%25".to_owned(), &sent[..1]),
        ("contains=a_b".to_owned(), &sent[1..]),
        ("contains=%5C%22q".to_owned(), &other),
        ("contains=nowhere".to_owned(), &[]),
        ("from=2000-01-01T00:00:00Z&type=sent".to_owned(), &sent[1..]),
        ("to=2000-01-01T00:00:00%2B02:00".to_owned(), &[]),
        ("from=9000-01-01T00:00:00Z".to_owned(), &[]),
    ] {
        let (status, list) = server.get(&format!("/events?{query}")).await;
        assert_eq!(status, 200, "{query}: {list}");
        assert_eq!(ids(&list), expected, "{query}");
    }
    let (_, since) = server.get(&format!("/events?from={then}")).await;
    assert!(ids(&since).contains(&sent[1]), "`from` is inclusive");
    let (_, before) = server.get(&format!("/events?to={then}")).await;
    assert!(!ids(&before).contains(&sent[1]), "`to` is exclusive");
    let (_, list) = server.get("/events").await;
    for absent in ["headers", "payload", "runs"] {
        assert_eq!(list["data"][0].get(absent), None, "{absent}");
    }
}

#[tokio::test]
async fn a_cursor_goes_on_with_its_own_query() {
    let server = Server::in_memory().await;
    let endpoint = server.create(json!({"description": ""})).await;
    let sent = server.accepted(&endpoint, &[r#"{"a":1}"#; 5]).await;
    let mut walked = Vec::new();
    let mut path = "/events?order=asc&limit=2&contains=A".to_owned();
    let mut cursors = Vec::new();
    loop {
        let (status, list) = server.get(&path).await;
        assert_eq!(status, 200, "{list}");
        walked.extend(ids(&list));
        let Some(cursor) = list["next_cursor"].as_str() else {
            break;
        };
        path = format!("/events?cursor={cursor}");
        cursors.push(cursor.to_owned());
    }
    assert_eq!(walked, sent);

    let cursor = &cursors[0];
    let (status, list) = server.get(&format!("/events?cursor={cursor}&contains=a&limit=1")).await;
    assert_eq!((status.as_u16(), ids(&list)), (200, sent[2..3].to_vec()), "the same again, fewer");
    for differing in ["contains=b", "order=desc", "type=x", "from=2000-01-01T00:00:00Z"] {
        let (status, _) = server.get(&format!("/events?cursor={cursor}&{differing}")).await;
        assert_eq!(status, 422, "{differing}");
    }
}

#[tokio::test]
async fn what_cannot_be_searched_for_is_named() {
    let server = Server::in_memory().await;
    for query in [
        "endpoint=x",
        "from=yesterday",
        "to=1",
        "contains=",
        "type=",
        "order=up",
        "limit=1000",
        "cursor=!",
        "cursor=e30",
        "colour=red",
    ] {
        let (status, problem) = server.get(&format!("/events?{query}")).await;
        assert_eq!(status, 422, "{query}: {problem}");
        let name = format!("`{}`", query.split('=').next().unwrap());
        assert!(problem["detail"].as_str().unwrap().contains(&name), "{problem}");
    }
}

#[tokio::test]
async fn a_page_has_fifty_and_two_hundred_at_most() {
    let server = Server::in_memory().await;
    let endpoint = server.create(json!({"description": ""})).await;
    server.accepted(&endpoint, &["{}"; 201]).await;
    for (query, count) in [("", 50), ("?limit=1", 1), ("?limit=200", 200)] {
        let list = server.done(Method::GET, &format!("/events{query}"), None).await;
        assert_eq!(list["data"].as_array().unwrap().len(), count, "{query}");
    }
    server.refused(Method::GET, "/events?limit=201", None, 422).await;
}
