//! What the server counts: the figures of `/metrics`, and how much has happened in a workspace.

use std::collections::BTreeMap;

use reqwest::Method;
use serde_json::{Value, json};

use crate::engine::ploybook_by;
use crate::harness::Server;

/// The figures by their names and labels, as they stand in the text.
async fn figures(server: &Server) -> BTreeMap<String, f64> {
    let response = server.http.get(format!("{}/metrics", server.url)).send().await.unwrap();
    assert_eq!(response.status(), 200);
    let content_type = response.headers()["content-type"].to_str().unwrap();
    assert!(content_type.starts_with("application/openmetrics-text"), "{content_type}");
    assert_eq!(response.headers()["cache-control"], "no-store");
    let text = response.text().await.unwrap();
    assert!(text.ends_with("# EOF\n"), "{text}");
    let figures = text.lines().filter(|line| !line.starts_with('#')).map(|line| {
        let (name, value) = line.rsplit_once(' ').unwrap();
        (name.to_owned(), value.parse().unwrap())
    });
    figures.collect()
}

#[tokio::test]
async fn requests_are_counted_by_what_became_of_them() {
    let server = Server::in_memory().await;
    let before = figures(&server).await;
    assert_eq!(before[r#"ploy_ingest_accepted_total{repeat="false"}"#], 0.0);
    let dedup = json!({"pointers": ["/id"], "window_seconds": 60});
    let endpoint = server.create(json!({"description": "", "dedup": dedup})).await;
    server.accepted(&endpoint, &[r#"{"id":1}"#, r#"{"id":2}"#, r#"{"id":1}"#]).await;
    assert_eq!(server.send(&endpoint, "wrong", "{}").await.0, 401);
    assert_eq!(server.send(&endpoint, &endpoint.key, "[]").await.0, 400);
    let get = server.http.get(server.ingest_url(&endpoint)).send().await.unwrap();
    assert_eq!(get.status(), 405);

    let figures = figures(&server).await;
    let expected = [
        (r#"accepted_total{repeat="false"}"#, 2.0),
        (r#"accepted_total{repeat="true"}"#, 1.0),
        (r#"refused_total{code="unauthorized"}"#, 1.0),
        (r#"refused_total{code="not_an_object"}"#, 1.0),
        (r#"refused_total{code="method_not_allowed"}"#, 1.0),
        (r#"refused_total{code="rate_limited"}"#, 0.0),
        ("body_bytes_total", 3.0 * 8.0 + 2.0),
        (r#"stage_seconds_count{stage="admit"}"#, 5.0),
        (r#"stage_seconds_count{stage="read"}"#, 4.0),
        (r#"stage_seconds_count{stage="append"}"#, 3.0),
        (r#"stage_seconds_bucket{le="+Inf",stage="append"}"#, 3.0),
        ("in_flight_bytes", 0.0),
        ("in_flight_bytes_max", 268_435_456.0),
        ("cached_endpoints", 1.0),
    ];
    for (name, value) in expected {
        assert_eq!(figures[&format!("ploy_ingest_{name}")], value, "{name}");
    }
    let hits = figures[r#"ploy_ingest_endpoint_lookups_total{cache="hit"}"#];
    let misses = figures[r#"ploy_ingest_endpoint_lookups_total{cache="miss"}"#];
    assert!(hits >= 2.0 && hits + misses == 5.0, "{hits} {misses}");
}

/// The dashboard shows nothing that is not counted.
#[tokio::test]
async fn the_dashboard_asks_for_figures_that_there_are() {
    let server = Server::in_memory().await;
    let figures = figures(&server).await;
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/../deploy/grafana.json");
    let dashboard = std::fs::read_to_string(file).unwrap();
    let _dashboard: Value = serde_json::from_str(&dashboard).unwrap();
    let is_of_a_name = |char: char| char.is_ascii_lowercase() || char == '_';
    let names = dashboard.match_indices("ploy_").map(|(at, _)| {
        let name = &dashboard[at..];
        &name[..name.find(|char| !is_of_a_name(char)).unwrap()]
    });
    let mut count = 0;
    for name in names {
        let is_there = figures.keys().any(|figure| figure.split('{').next() == Some(name));
        assert!(is_there, "{name}");
        count += 1;
    }
    assert!(count >= 12, "{count}");
}

#[tokio::test]
async fn there_are_no_more_series_than_at_the_start() {
    let server = Server::in_memory().await;
    let names = |figures: BTreeMap<String, f64>| figures.into_keys().collect::<Vec<_>>();
    let before = names(figures(&server).await);
    for description in ["one", "two"] {
        let endpoint = server.create(json!({"description": description})).await;
        server.accepted(&endpoint, &["{}"]).await;
    }
    let gone = format!("{}/api/v1/webhook/nobody", server.url);
    let nobody = server.http.post(gone).header("content-type", "application/json");
    assert_eq!(nobody.body("{}").send().await.unwrap().status(), 404);
    assert_eq!(names(figures(&server).await), before);
}

/// An endpoint whose events run a Ploybook that fails where the payload says so.
async fn wired(server: &Server, folder: &std::path::Path) -> crate::harness::Endpoint {
    let script = r#"case "$(cat)" in *fail*) exit 3;; *) echo done;; esac"#;
    let mut ploybook = ploybook_by(script, folder, "work");
    ploybook["retry"] = json!({"attempts_max": 1});
    server.done(Method::POST, "/ploybooks", Some(ploybook)).await;
    server.create(json!({"description": "", "trigger": {"ploybook": "work"}})).await
}

#[tokio::test]
async fn attempts_are_counted_by_how_they_ended() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::in_memory_with(&[("PLOY_ALLOW_COMMANDS", "true")]).await;
    let endpoint = wired(&server, folder.path()).await;
    for id in server.accepted(&endpoint, &["{}", "{}", r#"{"do":"fail"}"#]).await {
        server.ended(&id, 1).await;
    }
    let figures = figures(&server).await;
    let expected = [
        ("runs_claimed_total", 3.0),
        (r#"attempts_total{kind="run",outcome="succeeded"}"#, 2.0),
        (r#"attempts_total{kind="run",outcome="failed"}"#, 1.0),
        (r#"attempts_total{kind="delivery",outcome="failed"}"#, 0.0),
        (r#"attempt_seconds_count{kind="run"}"#, 3.0),
    ];
    for (name, value) in expected {
        assert_eq!(figures[&format!("ploy_{name}")], value, "{name}");
    }
}

/// What has happened, added up over all buckets.
fn sums(activity: &Value) -> [u64; 4] {
    assert_eq!(activity["step_seconds"], 300);
    let buckets = activity["data"].as_array().unwrap();
    ["accepted", "refused", "succeeded", "failed"]
        .map(|name| buckets.iter().map(|bucket| bucket[name].as_u64().unwrap()).sum())
}

#[tokio::test]
async fn it_is_shown_how_much_has_happened_also_after_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let settings = [("PLOY_ALLOW_COMMANDS", "true")];
    let server = Server::in_folder(folder.path(), &settings).await;
    let endpoint = wired(&server, folder.path()).await;
    for id in server.accepted(&endpoint, &["{}", "{}", r#"{"do":"fail"}"#]).await {
        server.ended(&id, 1).await;
    }
    assert_eq!(server.send(&endpoint, "wrong", "{}").await.0, 401);
    server.terminate();
    assert_eq!(server.exit_code().await, Some(0));

    let server = Server::in_folder(folder.path(), &settings).await;
    let shown = server.done(Method::GET, "/activity", None).await;
    assert_eq!(sums(&shown), [3, 1, 2, 1]);
    let long_ago = "/activity?from=2020-01-01T00:00:00.000Z&to=2020-01-02T00:00:00.000Z";
    assert_eq!(sums(&server.done(Method::GET, long_ago, None).await), [0; 4]);
    let backwards = "/activity?from=2020-01-02T00:00:00.000Z&to=2020-01-01T00:00:00.000Z";
    server.refused(Method::GET, backwards, None, 422).await;
    server.refused(Method::GET, "/activity?endpoint=x", None, 422).await;
}

#[tokio::test]
async fn what_happens_in_a_workspace_is_shown_there_alone() {
    let server = Server::in_memory().await;
    let dedup = json!({"pointers": ["/id"], "window_seconds": 60});
    let endpoint = server.create(json!({"description": "", "dedup": dedup})).await;
    // What comes once more is no event once more. The refusal is counted after it.
    server.accepted(&endpoint, &[r#"{"id":1}"#, r#"{"id":1}"#]).await;
    assert_eq!(server.send(&endpoint, "wrong", "{}").await.0, 401);
    let made = json!({"name": "another"});
    let other = server.done(Method::POST, "/workspaces", Some(made)).await;
    let other = other["id"].as_str().unwrap();
    server.until("/activity", |shown| sums(shown) == [1, 1, 0, 0]).await;
    let request = server.request(Method::GET, "/activity", None);
    let request = request.bearer_auth(crate::harness::ROOT_TOKEN).header("ploy-workspace", other);
    assert_eq!(sums(&crate::harness::answer(request).await.1), [0; 4]);
}
