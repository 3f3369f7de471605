//! What the description allows in a request, the server takes; what it does not, the server refuses.

use reqwest::Method;
use serde_json::{Value, json};

use super::contract;
use crate::harness::Server;

/// A call, and bodies for it: those that are fine, and those that are not.
struct Row {
    method: Method,
    path: String,
    fine: Vec<Value>,
    wrong: Vec<Value>,
}

async fn rows(server: &Server) -> Vec<Row> {
    let id = |made: Value| made["id"].as_str().unwrap().to_owned();
    let made = async |path: &str, form| id(server.done(Method::POST, path, Some(form)).await);
    let endpoint = made("/endpoints", json!({"description": ""})).await;
    let destination = made("/destinations", json!({"url": "https://a.example/"})).await;
    let subscription = made("/subscriptions", json!({"ploybook": "page"})).await;
    let workspace = made("/workspaces", json!({"name": "Acme"})).await;
    let ploybook = json!({"name": "page", "run": {"function": "f"}});
    server.done(Method::POST, "/ploybooks", Some(ploybook)).await;
    let row = |method, path: String, fine: Value, wrong: Value| {
        let list = |bodies: Value| bodies.as_array().unwrap().clone();
        Row { method, path, fine: list(fine), wrong: list(wrong) }
    };
    let (post, patch) = (Method::POST, Method::PATCH);
    vec![
        row(
            post.clone(),
            "/endpoints".into(),
            json!([
                {"description": "x"},
                {"description": "", "trigger": null, "dedup": {"body": true}, "allow": []},
                {"description": "", "event_type": {"header": "x-type"}, "fields": {"a.b": "/c"}},
                {"description": "", "auth": {"scheme": "github"}, "limits": {"rate": null}},
                {"description": "", "dedup": {"off": true}, "answer": {}},
            ]),
            json!([
                {}, {"description": 1}, {"description": "x".repeat(501)}, {"description": "\n"},
                {"description": "", "status": "paused"}, {"description": "", "auth": null},
                {"description": "", "auth": {"scheme": "gitub"}}, {"description": "", "auth": {}},
                {"description": "", "auth": {"scheme": "github", "tolerance_seconds": 0}},
                {"description": "", "limits": {"rate": {"per_second": 0}}},
                {"description": "", "limits": {"body_bytes": 0}},
                {"description": "", "limits": {"rate": {"per_second": 4_294_967_296_u64}}},
                {"description": "", "dedup": {"body": false}},
                {"description": "", "dedup": {"body": true, "header": "a"}},
                {"description": "", "dedup": {"pointers": []}},
                {"description": "", "dedup": {"body": true, "window_seconds": 2_592_001}},
                {"description": "", "fields": {"a-b": "/c"}}, {"description": "", "answer": {"status": 201}},
                {"description": "", "event_type": {"header": "a", "pointer": "/b"}},
            ]),
        ),
        row(
            patch.clone(),
            format!("/endpoints/{endpoint}"),
            json!([
                {}, {"status": "paused", "trigger": null, "allow": null, "limits": {"quota": null}},
                {"auth": {"scheme": "svix"}}, {"description": "y"},
            ]),
            json!([
                {"status": null}, {"status": "gone"}, {"description": null}, {"limits": null}, {"id": "x"},
            ]),
        ),
        row(
            post.clone(),
            "/ploybooks".into(),
            json!([
                {"name": "a", "run": {"http": {"url": "https://a.example/"}}},
                {"name": "b", "run": {"function": "f"}, "retry": {"attempts_max": 1}, "enabled": false},
            ]),
            json!([
                {"name": "c"}, {"run": {"function": "f"}}, {"name": "", "run": {"function": "f"}},
                {"name": "..", "run": {"function": "f"}}, {"name": "c", "run": {"function": ""}},
                {"name": "c", "run": {"function": "f", "http": {"url": "https://a.example/"}}},
                {"name": "c", "run": {"function": "f"}, "time_limit_seconds": 0},
                {"name": "c", "run": {"function": "f"}, "retry": {"attempts_max": 101}},
                {"name": "c", "run": {"function": "f"}, "retry": {"attempts": 1}},
            ]),
        ),
        row(
            patch.clone(),
            "/ploybooks/page".into(),
            json!([
                {"enabled": false, "description": null, "retry": null},
            ]),
            json!([{"run": null}, {"name": "x"}, {"time_limit_seconds": 86_401}]),
        ),
        row(
            post.clone(),
            "/subscriptions".into(),
            json!([
                {"ploybook": "page"}, {"destination": destination, "types": ["*"], "condition": null},
            ]),
            json!([
                {}, {"ploybook": "page", "destination": destination}, {"ploybook": "page", "types": ["a*b"]},
                {"ploybook": "page", "condition": ""}, {"ploybook": "page", "endpoints": ["evt_0"]},
                {"ploybook": "page", "position": -1}, {"ploybook": "page", "group": ""},
            ]),
        ),
        row(
            patch.clone(),
            format!("/subscriptions/{subscription}"),
            json!([
                {"condition": null, "group": "a", "draft": true, "types": null},
            ]),
            json!([{"draft": "yes"}, {"on": true}]),
        ),
        row(
            post.clone(),
            "/destinations".into(),
            json!([
                {"url": "https://a.example/"}, {"url": "https://a.example/", "method": "put", "body": null},
                {"url": "https://a.example/", "body": {"json": null}, "retry": "day"},
                {"url": "https://a.example/", "headers": {"x-a": {"secret": "b"}}},
                {"url": "https://a.example/", "signing": {"scheme": "bearer", "secret": "x"}},
            ]),
            json!([
                {}, {"url": 1}, {"url": "https://a.example/", "body": "some"},
                {"url": "https://a.example/", "body": {"json": 1, "form": {}}},
                {"url": "https://a.example/", "at_once": 65}, {"url": "https://a.example/", "retry": "week"},
                {"url": "https://a.example/", "method": "HEAD"},
                {"url": "https://a.example/", "disable_after_seconds": 59},
                {"url": "https://a.example/", "status": "disabled"},
                {"url": "https://a.example/", "signing": {"scheme": "x"}},
                {"url": "https://a.example/", "headers": {"x-a": {"secret": false}}},
            ]),
        ),
        row(
            patch.clone(),
            format!("/destinations/{destination}"),
            json!([
                {"rate": {"per_second": 1}, "body": "none", "signing": {"scheme": "none"}}, {"headers": {}},
                {"rate": null, "headers": null, "retry": null, "status": null},
            ]),
            json!([{"url": null}, {"id": 1}, {"missing": "all"}]),
        ),
        row(
            post.clone(),
            format!("/destinations/{destination}/rotate"),
            json!([]),
            json!([
                {"overlap_seconds": 2_592_001}, {"overlap": 1},
            ]),
        ),
        row(
            post.clone(),
            "/events".into(),
            json!([
                {"type": "a", "payload": {}},
            ]),
            json!([
                {"payload": {}}, {"type": "", "payload": {}}, {"type": "a", "payload": []},
                {"type": "a"}, {"type": "a", "payload": {}, "id": 1}, {"type": "a\n", "payload": {}},
            ]),
        ),
        row(
            post.clone(),
            "/tokens".into(),
            json!([
                {"scope": "read"}, {"scope": "write", "description": "x", "expires_in_seconds": 9},
            ]),
            json!([{}, {"scope": "all"}, {"scope": "read", "expires_in_seconds": 0}]),
        ),
        row(
            post,
            "/workspaces".into(),
            json!([{"name": "b"}]),
            json!([
                {}, {"name": ""}, {"name": "x".repeat(101)}, {"name": "b", "limits": {"quota": 1}},
            ]),
        ),
        row(
            patch,
            format!("/workspaces/{workspace}"),
            json!([
                {"name": "c"}, {"limits": {"rate": {"per_second": 1}}}, {"limits": null},
            ]),
            json!([{"name": null}, {"id": 1}, {"limits": 7}]),
        ),
    ]
}

#[tokio::test]
async fn the_description_and_the_server_agree_on_what_is_fine() {
    let server = Server::in_memory_with(&[("PLOY_DISPATCH", "false")]).await;
    let mut faults = Vec::new();
    for Row { method, path, fine, wrong } in rows(&server).await {
        let described = format!("/api/v1{path}");
        let operation = contract::operation(&method, &described).unwrap();
        for body in &fine {
            let (status, answer) = server.call(method.clone(), &path, Some(body.clone())).await;
            let refusal = contract::refusal(operation, body);
            if !status.is_success() || refusal.is_some() {
                faults.push(format!("fine: {method} {path} {body}: {status} {answer} {refusal:?}"));
            }
        }
        for body in &wrong {
            let (status, answer) = server.call(method.clone(), &path, Some(body.clone())).await;
            if status != 422 || contract::refusal(operation, body).is_none() {
                let refusal = contract::refusal(operation, body);
                faults
                    .push(format!("wrong: {method} {path} {body}: {status} {answer} {refusal:?}"));
            }
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}
