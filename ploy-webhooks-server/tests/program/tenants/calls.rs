//! Every call of the API, made by whoever may not make it.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;

use reqwest::{Method, RequestBuilder};
use serde_json::{Value, json};
use tokio::time::Instant;

use super::{Tenant, Things, minted, ploybook, refused, text, without_runs};
use crate::harness::{ROOT_TOKEN, Server, answer};

/// A call, and with what body it would succeed.
struct Row {
    method: Method,
    path: &'static str,
    body: Option<Value>,
}

/// Every call of the API: one that is not here fails `every_call_has_a_row`.
fn rows() -> Vec<Row> {
    let get = |path| Row { method: Method::GET, path, body: None };
    let delete = |path| Row { method: Method::DELETE, path, body: None };
    let ask = |path| Row { method: Method::POST, path, body: None };
    let post = |path, body| Row { method: Method::POST, path, body: Some(body) };
    let patch = |path, body| Row { method: Method::PATCH, path, body: Some(body) };
    vec![
        get("/activity"),
        ask("/backup"),
        get("/destinations"),
        post("/destinations", json!({"url": "http://127.0.0.1:9/"})),
        get("/destinations/{id}"),
        patch("/destinations/{id}", json!({"status": "paused"})),
        delete("/destinations/{id}"),
        get("/destinations/{id}/confirm"),
        ask("/destinations/{id}/retry"),
        ask("/destinations/{id}/rotate"),
        ask("/destinations/{id}/test"),
        ask("/destinations/{id}/verify"),
        get("/endpoints"),
        post("/endpoints", json!({"description": "made"})),
        get("/endpoints/{id}"),
        patch("/endpoints/{id}", json!({"status": "paused"})),
        ask("/endpoints/{id}/rotate"),
        delete("/endpoints/{id}"),
        get("/events"),
        post("/events", json!({"type": "made", "payload": {}})),
        get("/events/stream"),
        get("/events/export"),
        get("/events/{id}"),
        get("/events/{id}/payload"),
        ask("/events/{id}/replay"),
        get("/openapi.json"),
        get("/ploybooks"),
        post("/ploybooks", ploybook("made")),
        get("/ploybooks/{name}"),
        patch("/ploybooks/{name}", json!({"enabled": false})),
        delete("/ploybooks/{name}"),
        get("/runs"),
        get("/runs/{id}"),
        ask("/runs/{id}/retry"),
        ask("/runs/{id}/cancel"),
        get("/subscriptions"),
        post("/subscriptions", json!({"ploybook": "made"})),
        post("/subscriptions/test", json!({"condition": "true", "event_id": "{event}"})),
        get("/subscriptions/{id}"),
        patch("/subscriptions/{id}", json!({"enabled": false})),
        delete("/subscriptions/{id}"),
        get("/tokens"),
        post("/tokens", json!({"scope": "write"})),
        get("/tokens/{id}"),
        delete("/tokens/{id}"),
        get("/workspaces"),
        post("/workspaces", json!({"name": "made"})),
        get("/workspaces/{id}"),
        patch("/workspaces/{id}", json!({"name": "changed"})),
        delete("/workspaces/{id}"),
    ]
}

impl Row {
    /// Whether it is for the root token alone.
    fn is_of_root(&self) -> bool {
        ["/backup", "/tokens", "/workspaces"].iter().any(|path| self.path.starts_with(path))
    }

    /// Whether it takes no token: it is opened by what a link has, and there is nothing without; or
    /// is for everybody.
    fn is_open(&self) -> bool {
        self.path.ends_with("/confirm") || self.path == "/openapi.json"
    }

    /// Whether what it shows changes while nobody calls: it says what has happened of late.
    fn is_of_the_moment(&self) -> bool {
        self.path == "/activity"
    }

    /// Whether its answer ends by itself.
    fn has_an_end(&self) -> bool {
        !self.path.ends_with("/stream")
    }

    /// Whether it is about one thing, by its path or by its body.
    fn names_something(&self) -> bool {
        self.path.contains('{') || self.body.as_ref().is_some_and(|body| *body != self.body_of("_"))
    }

    /// The body, about that event where it is about one.
    fn body_of(&self, event: &str) -> Value {
        let body = self.body.as_ref().map(Value::to_string).unwrap_or_default();
        serde_json::from_str(&body.replace("{event}", event)).unwrap_or_default()
    }

    fn only_reads(&self) -> bool {
        self.method == Method::GET
    }

    fn call(&self) -> String {
        format!("{} {}", self.method, self.path)
    }
}

/// Two workspaces: one that has something of everything, and another.
struct Scene {
    server: Server,
    ours: Tenant,
    things: Things,
    /// The id of the token of ours.
    token: String,
    theirs: Tenant,
}

impl Scene {
    async fn set() -> Self {
        let server = without_runs().await;
        let ours = Tenant::on(&server, "Ours").await;
        let theirs = Tenant::on(&server, "Theirs").await;
        let things = ours.equipped(&server).await;
        let path = format!("/tokens?workspace={}", ours.workspace);
        let token = text(&server.done(Method::GET, &path, None).await["data"][0], "id");
        Self { server, ours, things, token, theirs }
    }

    /// The call of that row on what is ours.
    fn request(&self, row: &Row) -> RequestBuilder {
        let body = row.body.as_ref().map(|_| row.body_of(&self.things.event));
        self.server.request(row.method.clone(), &self.path(row), body)
    }

    fn path(&self, row: &Row) -> String {
        let named = match row.path.split('/').nth(1).unwrap() {
            "activity" => "",
            "openapi.json" => "",
            "destinations" => &self.things.destination,
            "endpoints" => &self.things.endpoint,
            "events" => &self.things.event,
            "ploybooks" => "page",
            "runs" => &self.things.run,
            "subscriptions" => &self.things.subscription,
            "tokens" => &self.token,
            "workspaces" => &self.ours.workspace,
            "backup" => "",
            kind => panic!("nothing of the kind `{kind}` is ours"),
        };
        row.path.replace("{id}", named).replace("{name}", named)
    }

    /// All that can be read of what is ours, and of all workspaces and tokens.
    async fn dump(&self) -> Vec<Value> {
        let mut dump = Vec::new();
        let lasts = |row: &&Row| {
            row.only_reads() && row.has_an_end() && !row.is_open() && !row.is_of_the_moment()
        };
        for row in rows().iter().filter(lasts) {
            let token = if row.is_of_root() { ROOT_TOKEN } else { &self.ours.token };
            let (status, shown) = answer(self.request(row).bearer_auth(token)).await;
            assert_eq!(status, 200, "{}: {shown}", row.call());
            dump.push(without_uses(shown));
        }
        dump
    }

    /// That each of these calls, with that token, is refused so, and changes nothing.
    async fn refuses(&self, rows: impl Iterator<Item = Row>, token: &str, with: (u16, &str)) {
        let before = self.dump().await;
        let mut calls = 0;
        for row in rows {
            let detail = refused(self.request(&row).bearer_auth(token), with.0, with.1).await;
            assert!(!detail.contains("pwt_"), "{detail}");
            calls += 1;
        }
        assert!(calls > 0);
        assert_eq!(self.dump().await, before, "left: what there is after; right: before");
    }
}

/// What is shown without what senders did: that is counted some time after they did it, and no call
/// of the API has changed it.
fn without_uses(mut shown: Value) -> Value {
    let credentials = shown.get_mut("credentials").and_then(Value::as_array_mut);
    for credential in credentials.into_iter().flatten().filter_map(Value::as_object_mut) {
        credential.retain(|name, _| !matches!(name.as_str(), "uses" | "last_used_at"));
    }
    shown
}

#[test]
fn every_call_has_a_row() {
    let tried: BTreeSet<_> = rows().iter().map(Row::call).collect();
    let calls = ploy_webhooks_server::api::calls();
    let taken: BTreeSet<_> =
        calls.iter().map(|(method, path)| format!("{method} {path}")).collect();
    assert_eq!(tried, taken, "left: the calls with a row; right: the calls of the API");

    // A route beside the table would be nowhere else in sight.
    let mut files = vec![Path::new(env!("CARGO_MANIFEST_DIR")).join("src/api")];
    while let Some(path) = files.pop() {
        if path.is_dir() {
            files.extend(std::fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
            continue;
        }
        let may_route = ["mod.rs", "health.rs", "routing.rs"]
            .map(|name| path == Path::new(env!("CARGO_MANIFEST_DIR")).join("src/api").join(name));
        let source = std::fs::read_to_string(&path).unwrap();
        let routes = [".route(", ".nest(", "_service("].iter().any(|call| source.contains(call));
        assert!(may_route.contains(&true) || !routes, "{}: list it in `calls`", path.display());
    }
}

#[tokio::test]
async fn without_a_token_that_is_valid_nothing_is_done() {
    let scene = Scene::set().await;
    let server = &scene.server;
    let in_ours = |form: Value| {
        let mut form = form;
        form["workspace"] = scene.ours.workspace.clone().into();
        form
    };
    let revoked = in_ours(json!({"scope": "write"}));
    let revoked = server.done(Method::POST, "/tokens", Some(revoked)).await;
    server.done(Method::DELETE, &format!("/tokens/{}", text(&revoked, "id")), None).await;
    let expired = minted(server, in_ours(json!({"scope": "write", "expires_in_seconds": 1}))).await;
    let has_expired = async || {
        let request = server.request(Method::GET, "/endpoints", None).bearer_auth(&expired);
        answer(request).await.0 == 401
    };
    let deadline = Instant::now() + Duration::from_secs(60);
    while !has_expired().await {
        assert!(Instant::now() < deadline, "it still opens");
    }

    let never_minted = ploy_webhooks::Secret::mint_token();
    let (other, key) = (Tenant::on(server, "Other").await, ploy_webhooks::Secret::mint_api_key());
    let spoilt = format!("{}0", &other.token[..41]);
    let revoked = text(&revoked, "token");
    for token in [&revoked, &expired, never_minted.expose(), key.expose(), &spoilt, "x", ""] {
        let (open, closed): (Vec<_>, Vec<_>) = rows().into_iter().partition(Row::is_open);
        scene.refuses(closed.into_iter(), token, (401, "unauthorized")).await;
        let of_links = open.into_iter().filter(Row::names_something);
        scene.refuses(of_links, token, (404, "not_found")).await;
    }
    let before = scene.dump().await;
    for row in rows().into_iter().filter(|row| !row.is_open()) {
        let said = refused(scene.request(&row), 401, "unauthorized").await;
        assert!(said.contains("missing"), "{said}");
        let twice = scene.request(&row).bearer_auth(&other.token).bearer_auth(&scene.ours.token);
        refused(twice, 401, "unauthorized").await;
    }
    assert_eq!(scene.dump().await, before);
    let request = server.request(Method::GET, "/endpoints", None).bearer_auth(&expired);
    assert!(refused(request, 401, "unauthorized").await.contains("expired"));
}

#[tokio::test]
async fn in_another_workspace_there_is_none_of_it() {
    let scene = Scene::set().await;
    let Scene { server, things, theirs, .. } = &scene;
    let of_tenants = || rows().into_iter().filter(|row| !row.is_of_root());
    let named = of_tenants().filter(Row::names_something);
    scene.refuses(named, &theirs.token, (404, "not_found")).await;

    let before = scene.dump().await;
    // What they make is theirs, and what they list has nothing of ours.
    for row in of_tenants().filter(|row| !row.names_something() && row.has_an_end()) {
        let (status, shown) = answer(scene.request(&row).bearer_auth(&theirs.token)).await;
        assert!(status.is_success(), "{}: {shown}", row.call());
        for id in things.ids() {
            assert!(!shown.to_string().contains(id), "{}: {shown}", row.call());
        }
    }
    assert_eq!(scene.dump().await, before, "left: what is ours after; right: before");
    let shown = theirs.done(server, Method::GET, "/ploybooks", None).await;
    let names: Vec<_> = shown["data"].as_array().unwrap().iter().map(|one| &one["name"]).collect();
    assert_eq!(names, ["made"]);

    // Nor is it found by naming what is ours.
    for path in [
        format!("/events?endpoint={}", things.endpoint),
        "/events?contains=acme".to_owned(),
        format!("/runs?event={}", things.event),
        format!("/runs?destination={}", things.destination),
    ] {
        let shown = theirs.done(server, Method::GET, &path, None).await;
        assert_eq!(shown["data"], json!([]), "{path}");
    }
}

#[tokio::test]
async fn a_cursor_of_one_workspace_shows_nothing_of_it_in_another() {
    let scene = Scene::set().await;
    let Scene { server, ours, things, theirs, .. } = &scene;
    let endpoint = json!({"description": "second"});
    ours.done(server, Method::POST, "/endpoints", Some(endpoint)).await;
    ours.done(server, Method::POST, "/ploybooks", Some(ploybook("second"))).await;
    ours.done(server, Method::POST, "/subscriptions", Some(json!({"ploybook": "second"}))).await;
    let replay = format!("/events/{}/replay", things.event);
    ours.done(server, Method::POST, &replay, None).await;
    let destination = json!({"url": "https://second.example/"});
    ours.done(server, Method::POST, "/destinations", Some(destination)).await;
    for list in ["/destinations", "/endpoints", "/ploybooks", "/subscriptions", "/runs"] {
        let first = ours.done(server, Method::GET, &format!("{list}?limit=1"), None).await;
        let cursor = text(&first, "next_cursor");
        let path = format!("{list}?cursor={cursor}");
        let second = ours.done(server, Method::GET, &path, None).await;
        assert_ne!(second["data"], json!([]), "{list}");
        let shown = theirs.done(server, Method::GET, &path, None).await;
        assert_eq!(shown["data"], json!([]), "{list}");
    }
}

#[tokio::test]
async fn a_token_that_reads_changes_nothing() {
    let scene = Scene::set().await;
    let form = json!({"workspace": scene.ours.workspace, "scope": "read"});
    let token = minted(&scene.server, form).await;
    let changing = rows().into_iter().filter(|row| !row.only_reads());
    scene.refuses(changing, &token, (403, "forbidden")).await;
    let reading = |row: &Row| row.only_reads() && !row.is_of_root() && !row.is_open();
    for row in rows().into_iter().filter(reading) {
        if row.has_an_end() {
            let read = answer(scene.request(&row).bearer_auth(&token)).await;
            let written = answer(scene.request(&row).bearer_auth(&scene.ours.token)).await;
            assert_eq!(read.0, 200, "{}", row.call());
            assert!(row.is_of_the_moment() || read.1 == written.1, "{}", row.call());
        }
        let head = scene.server.request(Method::HEAD, &scene.path(&row), None);
        let head = head.bearer_auth(&token).send().await.unwrap();
        assert_eq!(head.status(), 200, "HEAD {}", row.path);
    }
}

#[tokio::test]
async fn workspaces_tokens_and_backups_are_for_the_root_token() {
    let scene = Scene::set().await;
    let of_root = || rows().into_iter().filter(Row::is_of_root);
    scene.refuses(of_root(), &scene.ours.token, (403, "forbidden")).await;
    let form = json!({"workspace": scene.ours.workspace, "scope": "read"});
    let token = minted(&scene.server, form).await;
    scene.refuses(of_root(), &token, (403, "forbidden")).await;
}

#[tokio::test]
async fn the_root_token_acts_in_the_workspace_that_it_names() {
    let scene = Scene::set().await;
    let Scene { server, ours, things, .. } = &scene;
    let in_workspace = |method, path: &str, body, id: &str, token: &str| {
        server.request(method, path, body).bearer_auth(token).header("ploy-workspace", id)
    };
    let list = |id: &str, token: &str| in_workspace(Method::GET, "/endpoints", None, id, token);

    let (_, shown) = answer(list(&ours.workspace, ROOT_TOKEN)).await;
    assert_eq!(shown["data"][0]["id"], *things.endpoint);
    let default = "ws_00000000000000000000000000";
    assert_eq!(answer(list(default, ROOT_TOKEN)).await.1["data"], json!([]));
    assert_eq!(server.done(Method::GET, "/endpoints", None).await["data"], json!([]));
    let path = format!("/endpoints/{}", things.endpoint);
    server.refused(Method::GET, &path, None, 404).await;

    let form = Some(json!({"scope": "write"}));
    let made = in_workspace(Method::POST, "/tokens", form, &ours.workspace, ROOT_TOKEN);
    assert_eq!(answer(made).await.1["workspace"], *ours.workspace);

    for id in ["ws_01000000000000000000000000", "ws_7zzzzzzzzzzzzzzzzzzzzzzzzz", "ours", ""] {
        let said = refused(list(id, ROOT_TOKEN), 404, "not_found").await;
        assert!(said.contains("Ploy-Workspace"), "{said}");
    }
    let twice = list(&ours.workspace, ROOT_TOKEN).header("ploy-workspace", &ours.workspace);
    refused(twice, 422, "validation_failed").await;
    // Every other token has a workspace of its own, and may not even name that.
    for id in [&ours.workspace, default] {
        let said = refused(list(id, &ours.token), 403, "forbidden").await;
        assert!(said.contains("leave it out"), "{said}");
    }
}
