//! What happens, told as it happens: `GET /events/stream`.

use std::collections::BTreeSet;
use std::time::Duration;

use ploy_webhooks_engines::{Postgres, Redis};
use reqwest::{Method, RequestBuilder, Response};
use serde_json::{Value, json};
use tokio::time::timeout;

use crate::engine::{Engine, ploybook_at};
use crate::harness::{ROOT_TOKEN, Server, answer, program, read_until, write};

/// How long it is waited for what ought to happen before a test says that it does not.
const PATIENCE: Duration = Duration::from_secs(60);

/// A stream as a client reads it.
struct Stream {
    response: Response,
    text: String,
    /// The last place that was told.
    id: String,
}

/// Something that was told: what, and in which words.
#[derive(Debug, PartialEq)]
struct Told {
    name: String,
    data: Value,
}

impl Stream {
    /// Opens one, and reads where it begins.
    async fn open(request: RequestBuilder) -> Self {
        let response = request.send().await.unwrap();
        assert_eq!(response.status(), 200, "{:?}", response.text().await);
        let mut stream = Self { response, text: String::new(), id: String::new() };
        assert_eq!(stream.message().await, Some(None), "a stream begins with its place");
        assert_ne!(stream.id, "");
        stream
    }

    async fn of(server: &Server, query: &str) -> Self {
        Self::open(request(server, query)).await
    }

    /// The next message, and what it tells; `None` where the stream has ended.
    async fn message(&mut self) -> Option<Option<Told>> {
        while !self.text.contains("\n\n") {
            let chunk = timeout(PATIENCE, self.response.chunk()).await.expect("it is not silent");
            // A connection that is reset is an end too.
            let chunk = chunk.ok().flatten()?;
            self.text.push_str(std::str::from_utf8(&chunk).unwrap());
        }
        let (message, rest) = self.text.split_once("\n\n").unwrap();
        let (mut name, mut data) = (String::new(), None);
        for line in message.lines() {
            match line.split_once(": ") {
                Some(("id", id)) => id.clone_into(&mut self.id),
                Some(("event", event)) => event.clone_into(&mut name),
                Some(("data", json)) => data = Some(serde_json::from_str(json).unwrap()),
                _ => {}
            }
        }
        self.text = rest.to_owned();
        Some(data.map(|data| Told { name, data }))
    }

    /// The next thing that is told.
    async fn told(&mut self) -> Told {
        loop {
            let message = self.message().await.expect("the stream goes on");
            if let Some(told) = message {
                return told;
            }
        }
    }

    /// The ids of the next events, of which nothing else is told.
    async fn accepted(&mut self, count: usize) -> Vec<String> {
        let mut ids = Vec::new();
        while ids.len() < count {
            let told = self.told().await;
            assert_eq!(told.name, "accepted", "{told:?}");
            ids.push(told.data["id"].as_str().unwrap().to_owned());
        }
        ids
    }

    /// Waits for the end of the stream.
    async fn end(mut self) {
        let ended = async { while self.message().await.is_some() {} };
        timeout(PATIENCE, ended).await.expect("the stream ends");
    }
}

fn request(server: &Server, query: &str) -> RequestBuilder {
    server.request(Method::GET, &format!("/events/stream{query}"), None).bearer_auth(ROOT_TOKEN)
}

#[tokio::test]
async fn what_happens_is_told_as_it_happens() {
    let server = Server::in_memory().await;
    let engine = Engine::that_names_ploybooks().await;
    server.done(Method::POST, "/ploybooks", Some(ploybook_at(&engine, "page"))).await;
    let form = json!({"description": "", "trigger": {"ploybook": "page"}});
    let endpoint = server.create(form).await;
    server.accepted(&endpoint, &["{}"]).await;

    let mut stream = Stream::of(&server, "").await;
    let headers = stream.response.headers();
    assert_eq!(headers["content-type"], "text/event-stream");
    assert_eq!(headers["cache-control"], "no-store");
    assert_eq!(headers["x-accel-buffering"], "no");
    let event = server.accepted(&endpoint, &[r#"{"n":1}"#]).await.remove(0);
    let mut told = Vec::new();
    // What becomes of the run before may still be told.
    while !told.iter().any(|told: &Told| told.data["state"] == "succeeded") {
        let next = stream.told().await;
        if next.data["id"] == *event || next.data["event_id"] == *event {
            told.push(next);
        }
    }
    let list = server.done(Method::GET, "/events?limit=1", None).await;
    assert_eq!(told[0], Told { name: "accepted".to_owned(), data: list["data"][0].clone() });
    let runs = server.done(Method::GET, &format!("/events/{event}"), None).await;
    let run = &runs["runs"][0]["id"];
    for (told, state) in told[1..].iter().zip(["running", "succeeded"]) {
        let data = json!({"id": run, "event_id": event, "endpoint_id": endpoint.id,
            "state": state, "attempt": 1});
        assert_eq!(*told, Told { name: "run".to_owned(), data });
    }
    assert_eq!(told.len(), 3, "{told:?}");
}

#[tokio::test]
async fn only_what_is_asked_for_is_told() {
    let server = Server::in_memory().await;
    let [one, other] = [
        server.create(json!({"description": ""})).await,
        server.create(json!({"description": ""})).await,
    ];
    let publish = async |kind: &str| {
        let form = json!({"type": kind, "payload": {}});
        let made = server.done(Method::POST, "/events", Some(form)).await;
        made["id"].as_str().unwrap().to_owned()
    };
    let mut of_one = Stream::of(&server, &format!("?endpoint={}", one.id)).await;
    let mut of_type = Stream::of(&server, "?type=order.paid").await;
    publish("order.made").await;
    let paid = publish("order.paid").await;
    server.accepted(&other, &["{}"]).await;
    let first = server.accepted(&one, &["{}"]).await;
    assert_eq!(of_one.accepted(1).await, first);
    assert_eq!(of_type.accepted(1).await, std::slice::from_ref(&paid));
    let second = publish("order.paid").await;
    assert_eq!(of_type.accepted(1).await, [second]);
    let mut of_event = Stream::open(
        request(&server, &format!("?event={paid}")).header("last-event-id", &of_type.id),
    )
    .await;
    server.accepted(&other, &["{}"]).await;
    let replayed = server.shell(&["events", "replay", &paid]).await;
    assert!(!replayed.status.success(), "nothing is wired to it");
    let run = json!({"name": "page", "run": {"http": {"url": "http://127.0.0.1:9/"}},
        "retry": {"attempts_max": 1}});
    server.done(Method::POST, "/ploybooks", Some(run)).await;
    server.done(Method::POST, "/subscriptions", Some(json!({"ploybook": "page"}))).await;
    server.done(Method::POST, &format!("/events/{paid}/replay"), None).await;
    let third = publish("order.paid").await;
    assert_eq!(of_type.accepted(1).await, [third], "and no run, which has no type");
    let told = of_event.told().await;
    assert_eq!((told.name.as_str(), &told.data["state"]), ("run", &json!("queued")));
    assert_eq!(told.data["event_id"], *paid);

    for (query, why) in [
        ("?endpoint=x", "`endpoint`"),
        ("?event=x", "`event`"),
        ("?runs=yes", "`runs`"),
        ("?type=", "`type`"),
        ("?from=2026-01-01T00:00:00Z", "`from`"),
        ("?runs=true&runs=true", "more than once"),
    ] {
        let said = server.refused(Method::GET, &format!("/events/stream{query}"), None, 422).await;
        assert!(said.contains(why), "{query}: {said}");
    }
}

#[tokio::test]
async fn what_is_no_place_is_refused() {
    let server = Server::in_memory().await;
    for place in ["", "x", "é", "AAAA", "not base64url!"] {
        let (status, problem) = answer(request(&server, "").header("last-event-id", place)).await;
        assert_eq!(status, 422, "{place}: {problem}");
        assert!(problem["detail"].as_str().unwrap().contains("Last-Event-ID"), "{problem}");
    }
    let twice = request(&server, "").header("last-event-id", "a").header("last-event-id", "b");
    assert_eq!(answer(twice).await.0, 422);
}

#[tokio::test]
async fn a_stream_goes_on_after_a_restart_where_it_was() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::in_folder(folder.path(), &[]).await;
    let endpoint = server.create(json!({"description": ""})).await;
    let mut stream = Stream::of(&server, "").await;
    let begin = stream.id.clone();
    let mut all = server.accepted(&endpoint, &["{}", "{}"]).await;
    assert_eq!(stream.accepted(2).await, all);
    let place = stream.id.clone();
    all.extend(server.accepted(&endpoint, &["{}"]).await);
    server.terminate();
    assert_eq!(server.exit_code().await, Some(0));
    stream.end().await;

    let again = Server::in_folder(folder.path(), &[]).await;
    all.extend(again.accepted(&endpoint, &["{}", "{}"]).await);
    let mut rest = Stream::open(request(&again, "").header("last-event-id", place)).await;
    assert_eq!(rest.accepted(3).await, all[2..]);
    let mut whole = Stream::open(request(&again, "").header("last-event-id", begin)).await;
    assert_eq!(whole.accepted(5).await, all);
}

/// A process that keeps nothing has nothing to go on with, and says so.
#[tokio::test]
async fn what_is_not_kept_is_said_to_be_missing() {
    let server = Server::in_memory().await;
    let place = Stream::of(&server, "").await.id;
    let another = Server::in_memory().await;
    let mut stream = Stream::open(request(&another, "").header("last-event-id", place)).await;
    assert_eq!(stream.told().await, Told { name: "gap".to_owned(), data: json!({}) });
    let endpoint = another.create(json!({"description": ""})).await;
    let event = another.accepted(&endpoint, &["{}"]).await;
    assert_eq!(stream.accepted(1).await, event);
}

#[tokio::test]
async fn a_stop_does_not_wait_for_streams() {
    let mut server = Server::in_memory_with(&[("PLOY_SHUTDOWN_GRACE_MS", "3600000")]).await;
    let stream = Stream::of(&server, "").await;
    server.terminate();
    server.log_line("stopping").await;
    stream.end().await;
    let stopped = timeout(PATIENCE, server.exit_code()).await;
    assert_eq!(stopped.expect("it stops long before its grace ends"), Some(0));
}

#[tokio::test]
async fn no_more_streams_are_open_than_may_be() {
    // Of which one workspace has a quarter.
    let server = Server::in_memory_with(&[("PLOY_STREAMS_MAX", "8")]).await;
    let theirs = server.done(Method::POST, "/workspaces", Some(json!({"name": "Theirs"}))).await;
    let theirs = theirs["id"].as_str().unwrap();
    let streams = [Stream::of(&server, "").await, Stream::of(&server, "").await];
    let refused = request(&server, "").send().await.unwrap();
    assert_eq!(refused.status(), 503);
    assert_eq!(refused.headers()["retry-after"], "10");
    let _of_theirs = Stream::open(request(&server, "").header("ploy-workspace", theirs)).await;
    drop(streams);
    let opened = async {
        // The server hears of it when the connections are closed.
        while request(&server, "").send().await.unwrap().status() != 200 {}
    };
    timeout(PATIENCE, opened).await.expect("what is closed makes room");
}

#[tokio::test]
async fn the_stream_of_a_revoked_token_ends() {
    let server = Server::in_memory().await;
    let made = server.done(Method::POST, "/tokens", Some(json!({"scope": "read"}))).await;
    let token = made["token"].as_str().unwrap();
    let path = "/events/stream";
    let request = server.request(Method::GET, path, None).bearer_auth(token);
    let stream = Stream::open(request).await;
    let id = made["id"].as_str().unwrap();
    server.done(Method::DELETE, &format!("/tokens/{id}"), None).await;
    stream.end().await;
}

/// What others do is no word to this client, nor does it put off when its token is asked for.
#[tokio::test]
async fn the_stream_of_a_revoked_token_ends_while_others_are_busy() {
    let server = Server::in_memory().await;
    let theirs = server.done(Method::POST, "/workspaces", Some(json!({"name": "Theirs"}))).await;
    let form = json!({"workspace": theirs["id"], "scope": "read"});
    let made = server.done(Method::POST, "/tokens", Some(form)).await;
    let token = made["token"].as_str().unwrap();
    let request = server.request(Method::GET, "/events/stream", None).bearer_auth(token);
    let mut stream = Stream::open(request).await;
    let begin = stream.id.clone();
    let busy = async {
        loop {
            let form = Some(json!({"type": "made", "payload": {}}));
            server.done(Method::POST, "/events", form).await;
        }
    };
    let ends = async {
        assert_eq!(stream.message().await, Some(None), "nothing of ours");
        assert_ne!(stream.id, begin, "the place behind what others have done");
        let id = made["id"].as_str().unwrap();
        server.done(Method::DELETE, &format!("/tokens/{id}"), None).await;
        stream.end().await;
    };
    tokio::select! {
        () = busy => {}
        () = ends => {}
    }
}

#[tokio::test]
async fn workspaces_are_told_their_own() {
    let server = Server::in_memory().await;
    let made = server.done(Method::POST, "/workspaces", Some(json!({"name": "Theirs"}))).await;
    let form = json!({"workspace": made["id"], "scope": "write"});
    let token = server.done(Method::POST, "/tokens", Some(form)).await;
    let token = token["token"].as_str().unwrap();
    let theirs = |method, path: &str, body| server.request(method, path, body).bearer_auth(token);
    let mut ours = Stream::of(&server, "").await;
    let mut of_theirs = Stream::open(theirs(Method::GET, "/events/stream", None)).await;
    let form = Some(json!({"type": "made", "payload": {}}));
    let mine = server.done(Method::POST, "/events", form.clone()).await;
    let (_, other) = answer(theirs(Method::POST, "/events", form)).await;
    assert_eq!(ours.accepted(1).await, [mine["id"].as_str().unwrap()]);
    assert_eq!(of_theirs.accepted(1).await, [other["id"].as_str().unwrap()]);
    // Nor by a place of ours.
    let request = theirs(Method::GET, "/events/stream", None).header("last-event-id", &ours.id);
    let mut of_theirs = Stream::open(request).await;
    let form = Some(json!({"type": "made", "payload": {}}));
    server.done(Method::POST, "/events", form.clone()).await;
    let (_, last) = answer(theirs(Method::POST, "/events", form)).await;
    let told = of_theirs.told().await;
    assert!([&other["id"], &last["id"]].contains(&&told.data["id"]), "{told:?}");
}

/// A client that does not read is held by its socket; it is told all when it does, and nobody else
/// waits for it.
#[tokio::test]
async fn who_reads_late_is_told_all() {
    const COUNT: usize = 2_000;
    let server = Server::in_memory().await;
    let mut late = server.connect().await;
    let head = format!(
        "GET /api/v1/events/stream HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {ROOT_TOKEN}\r\n\r\n"
    );
    write(&mut late, &head).await;
    read_until(&mut late, "id: ").await;
    let mut prompt = Stream::of(&server, "").await;
    let form = json!({"type": "x".repeat(256), "payload": {}});
    let mut published = BTreeSet::new();
    for _ in 0..COUNT {
        let made = server.done(Method::POST, "/events", Some(form.clone())).await;
        published.insert(made["id"].as_str().unwrap().to_owned());
    }
    let last = published.last().unwrap();
    assert_eq!(prompt.accepted(COUNT).await.last(), Some(last));
    let read = read_until(&mut late, last).await;
    let told: BTreeSet<_> = read
        .split(r#"{"id":""#)
        .skip(1)
        .map(|rest| rest.split('"').next().unwrap().to_owned())
        .collect();
    assert_eq!(told.len(), COUNT, "left: how many events were told");
    assert_eq!(told, published);
}

/// Two nodes on one store: what one takes the other tells, and either goes on for the other.
async fn nodes_tell_of_each_other(url: &str) {
    let node = async || {
        let mut command = program(&["serve", "--listen", "127.0.0.1:0", "--store", url]);
        command
            .env("PLOY_ROOT_TOKEN", ROOT_TOKEN)
            .env("PLOY_MASTER_KEY", "YS1tYXN0ZXIta2V5LWZvci10ZXN0cy1vZi0zMi1ieXQ=");
        Server::start(command).await
    };
    let (one, other) = (node().await, node().await);
    let endpoint = one.create(json!({"description": ""})).await;
    let mut stream = Stream::of(&other, "").await;
    let begin = stream.id.clone();
    let mut all = Vec::new();
    for _ in 0..3 {
        all.extend(one.accepted(&endpoint, &["{}"]).await);
        all.extend(other.accepted(&endpoint, &["{}"]).await);
    }
    assert_eq!(stream.accepted(all.len()).await, all, "left: what the other node tells");
    let place = stream.id.clone();
    other.terminate();
    assert_eq!(other.exit_code().await, Some(0));
    stream.end().await;
    let more = one.accepted(&endpoint, &["{}", "{}"]).await;
    let mut rest = Stream::open(request(&one, "").header("last-event-id", place)).await;
    assert_eq!(rest.accepted(more.len()).await, more, "left: what the first node goes on with");
    all.extend(more);
    let mut whole = Stream::open(request(&one, "").header("last-event-id", begin)).await;
    let told: BTreeSet<_> = whole.accepted(all.len()).await.into_iter().collect();
    assert_eq!(told, all.into_iter().collect(), "left: what is told from the begin");
}

#[tokio::test]
async fn nodes_on_postgres_tell_of_each_other() {
    let url = tokio::task::spawn_blocking(|| Postgres::shared().database()).await.unwrap();
    nodes_tell_of_each_other(&url).await;
}

#[tokio::test]
async fn nodes_on_redis_tell_of_each_other() {
    let redis = tokio::task::spawn_blocking(Redis::start).await.unwrap();
    nodes_tell_of_each_other(redis.url()).await;
}
