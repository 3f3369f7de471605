//! How long events are kept: what may be set, what holds, and that events go.

use std::path::Path;
use std::time::Duration;

use bytes::Bytes;
use ploy_webhooks::store::{
    Appended, Created, DefinitionKind, DefinitionStore, EndpointStore, EventQuery, EventStore,
    RunQuery, RunStore,
};
use ploy_webhooks::{
    Clock, Endpoint, EndpointConfig, EventId, Fence, NewEvent, NewRun, Retention, RunId,
    SystemClock, Timestamp, Trigger, Workspace, WorkspaceId,
};
use ploy_webhooks_sqlite::{SqliteSettings, SqliteStore};
use reqwest::Method;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::harness::Server;

const DEFAULT: WorkspaceId = WorkspaceId::DEFAULT;
const HOUR: u64 = 3_600;
const DAY: u64 = 86_400;

/// A store that was written to hours ago, before the server starts on it.
struct Past {
    folder: TempDir,
    store: SqliteStore,
}

impl Past {
    async fn begin() -> Self {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("ploy-data")).unwrap();
        let store = open(folder.path()).await;
        Self { folder, store }
    }

    /// An endpoint that keeps its events for so many seconds.
    async fn endpoint(&self, seconds: Option<u64>) -> Endpoint {
        let mut config = EndpointConfig::default();
        config.limits.retention = seconds.map(|seconds| Retention::from_secs(seconds).unwrap());
        let (endpoint, _) = Endpoint::mint(DEFAULT, config, SystemClock.now());
        let created = self.store.create(endpoint.clone()).await.unwrap();
        assert_eq!(created, Created::Created);
        endpoint
    }

    /// A workspace that keeps its events for so many seconds.
    async fn keeps(&self, id: WorkspaceId, seconds: u64) {
        let mut workspace = Workspace::new("Kept".to_owned(), SystemClock.now());
        workspace.limits.retention = Retention::from_secs(seconds).ok();
        let (kind, text) = (DefinitionKind::Workspace, serde_json::to_string(&workspace).unwrap());
        let root = WorkspaceId::ROOT;
        let kept = self.store.define(&root, kind, &id.to_string(), None, &text).await;
        assert!(matches!(kept.unwrap(), ploy_webhooks::store::Defined::Defined(_)));
    }

    async fn append(&self, event: NewEvent) -> String {
        let id = event.id;
        assert!(matches!(self.store.append(event).await.unwrap(), Appended::Stored));
        id.to_string()
    }

    /// An event that the endpoint took so many seconds ago.
    async fn took(&self, endpoint: &Endpoint, seconds: u64) -> String {
        let fence = Fence { endpoint: endpoint.id, checked_at: endpoint.revision };
        self.append(NewEvent { fence: Some(fence), ..published(DEFAULT, seconds) }).await
    }

    async fn ends(self) -> TempDir {
        self.store.close().await;
        self.folder
    }
}

async fn open(folder: &Path) -> SqliteStore {
    SqliteStore::open(SqliteSettings::at(folder.join("ploy-data/ploy.db"))).await.unwrap()
}

/// An event that the app published so many seconds ago.
fn published(workspace: WorkspaceId, seconds: u64) -> NewEvent {
    let now = SystemClock.now();
    let time = Timestamp::from_millis(now.as_millis() - seconds * 1_000);
    let mut bytes = *EventId::mint(now).as_bytes();
    bytes[..6].copy_from_slice(&time.as_millis().to_be_bytes()[2..]);
    let payload = Bytes::from_static(br#"{"a":"needle"}"#);
    NewEvent::published(EventId::from_bytes(bytes), workspace, payload)
}

/// The events that are listed, by their ids.
async fn listed(server: &Server) -> Vec<String> {
    let list = server.done(Method::GET, "/events?order=asc&contains=needle", None).await;
    let ids = list["data"].as_array().unwrap().iter();
    ids.map(|event| event["id"].as_str().unwrap().to_owned()).collect()
}

async fn is_gone(server: &Server, event: &str) {
    let path = format!("/events/{event}");
    let waited = async {
        while server.get(&path).await.0 != 404 {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), waited).await.expect("the event goes");
}

#[tokio::test]
async fn events_go_when_their_time_is_over() {
    let past = Past::begin().await;
    let (hours, by_workspace) = (past.endpoint(Some(HOUR)).await, past.endpoint(None).await);
    past.keeps(DEFAULT, DAY).await;
    let stays = [
        past.took(&by_workspace, DAY / 2).await,
        past.append(published(DEFAULT, DAY / 2)).await,
        past.took(&hours, HOUR / 2).await,
    ];
    let goes = [
        past.append(published(DEFAULT, 2 * DAY)).await,
        past.took(&hours, 2 * HOUR).await,
        past.took(&by_workspace, 2 * DAY).await,
    ];
    let folder = past.ends().await;

    let mut server = Server::in_folder(folder.path(), &[]).await;
    for event in &goes {
        is_gone(&server, event).await;
        server.refused(Method::GET, &format!("/events/{event}/payload"), None, 404).await;
    }
    assert_eq!(listed(&server).await, stays);
    let line = server.log_line("events went").await;
    assert!(line.contains("events=3") && !line.contains("needle"), "{line}");
}

/// What cannot be read of one workspace keeps nothing of another.
#[tokio::test]
async fn a_workspace_that_cannot_be_read_is_passed_over() {
    let past = Past::begin().await;
    let [broken, whole] = [1, 2].map(|byte| WorkspaceId::from_bytes([byte; 16]));
    let (root, kind) = (WorkspaceId::ROOT, DefinitionKind::Workspace);
    let kept = past.store.define(&root, kind, &broken.to_string(), None, "{").await;
    assert!(matches!(kept.unwrap(), ploy_webhooks::store::Defined::Defined(_)));
    past.keeps(whole, HOUR).await;
    past.append(published(broken, DAY)).await;
    past.append(published(whole, DAY)).await;
    let folder = past.ends().await;

    let mut server = Server::in_folder(folder.path(), &[]).await;
    let swept = async {
        let passed_over = server.log_line("of a workspace stay").await;
        assert!(passed_over.contains(&broken.to_string()), "{passed_over}");
        server.log_line("events went").await
    };
    let line = tokio::time::timeout(Duration::from_secs(60), swept).await.expect("it goes on");
    assert!(line.contains("events=1"), "{line}");
}

/// What was shortened or lengthened while nobody swept holds when somebody does.
#[tokio::test]
async fn what_holds_at_the_time_of_the_sweep_decides() {
    let past = Past::begin().await;
    let lengthened = past.endpoint(Some(HOUR)).await;
    let freed = past.endpoint(Some(HOUR)).await;
    let (shortened, last) = (past.endpoint(Some(30 * DAY)).await, past.endpoint(Some(HOUR)).await);
    let stays = [past.took(&lengthened, 2 * HOUR).await, past.took(&freed, 3 * HOUR).await];
    let goes = [past.took(&shortened, 2 * DAY).await, past.took(&last, 2 * DAY).await];
    let folder = past.ends().await;

    let never = [("PLOY_RETENTION_SWEEP_SECONDS", "0")];
    let server = Server::in_folder(folder.path(), &never).await;
    for (endpoint, seconds) in [(&lengthened, json!(DAY / 2)), (&freed, Value::Null)] {
        let change = json!({"limits": {"retention_seconds": seconds}});
        server.done(Method::PATCH, &format!("/endpoints/{}", endpoint.id), Some(change)).await;
    }
    // Shorter than what one of its endpoints has set.
    let change = json!({"limits": {"retention_seconds": DAY}});
    server.done(Method::PATCH, &format!("/workspaces/{DEFAULT}"), Some(change)).await;
    for event in stays.iter().chain(&goes) {
        server.done(Method::GET, &format!("/events/{event}"), None).await;
    }
    server.terminate();
    assert_eq!(server.exit_code().await, Some(0));

    let server = Server::in_folder(folder.path(), &[]).await;
    // Endpoints are swept in the order of their ids.
    for event in &goes {
        is_gone(&server, event).await;
    }
    let mut left = listed(&server).await;
    left.sort();
    let mut stays = stays.to_vec();
    stays.sort();
    assert_eq!(left, stays);
}

#[tokio::test]
async fn a_retention_is_set_shown_changed_and_lifted() {
    let server = Server::in_memory().await;
    let workspace = format!("/workspaces/{DEFAULT}");
    let kept = |seconds: Value| json!({"limits": {"retention_seconds": seconds}});
    let shown = server.done(Method::PATCH, &workspace, Some(kept(json!(7 * DAY)))).await;
    assert_eq!(shown["limits"], json!({"rate": null, "retention_seconds": 7 * DAY}));

    let form = json!({"description": "", "limits": {"retention_seconds": DAY}});
    let made = server.done(Method::POST, "/endpoints", Some(form)).await;
    assert_eq!(made["limits"]["retention_seconds"], DAY);
    let path = format!("/endpoints/{}", made["id"].as_str().unwrap());
    for (seconds, shown) in
        [(json!(7 * DAY), json!(7 * DAY)), (json!(HOUR), json!(HOUR)), (Value::Null, Value::Null)]
    {
        let changed = server.done(Method::PATCH, &path, Some(kept(seconds))).await;
        assert_eq!(changed["limits"]["retention_seconds"], shown, "{changed}");
        let found = server.done(Method::GET, &path, None).await;
        assert_eq!(found["limits"], changed["limits"]);
    }
    // Not the other bounds.
    let rate = json!({"limits": {"rate": {"per_second": 5}}});
    let shown = server.done(Method::PATCH, &workspace, Some(rate)).await;
    assert_eq!(shown["limits"]["retention_seconds"], 7 * DAY);
    let shown = server.done(Method::PATCH, &workspace, Some(kept(Value::Null))).await;
    assert_eq!(shown["limits"], json!({"rate": {"per_second": 5, "burst": null}}));
}

#[tokio::test]
async fn what_is_no_retention_is_refused_and_named() {
    let server = Server::in_memory().await;
    let workspace = format!("/workspaces/{DEFAULT}");
    let endpoint = server.create(json!({"description": ""})).await;
    let endpoint = format!("/endpoints/{}", endpoint.id);
    let kept = |seconds: Value| json!({"limits": {"retention_seconds": seconds}});
    let made =
        |seconds: Value| json!({"description": "", "limits": {"retention_seconds": seconds}});
    let named = |seconds: Value| json!({"name": "a", "limits": {"retention_seconds": seconds}});
    let too_long = json!(101 * 365 * DAY);
    for seconds in [json!(0), json!(HOUR - 1), too_long, json!(-1), json!(1.5), json!("30d")] {
        for (method, path, form) in [
            (Method::PATCH, &*workspace, kept(seconds.clone())),
            (Method::POST, "/workspaces", named(seconds.clone())),
            (Method::PATCH, &*endpoint, kept(seconds.clone())),
            (Method::POST, "/endpoints", made(seconds.clone())),
        ] {
            let detail = server.refused(method, path, Some(form), 422).await;
            assert!(detail.contains("retention_seconds"), "{seconds}: {detail}");
        }
    }
    server.done(Method::PATCH, &workspace, Some(kept(json!(DAY)))).await;
    for (method, path, form) in [
        (Method::PATCH, &*endpoint, kept(json!(DAY + 1))),
        (Method::POST, "/endpoints", made(json!(DAY + 1))),
    ] {
        let detail = server.refused(method, path, Some(form), 422).await;
        assert!(detail.contains("retention_seconds") && detail.contains("86400"), "{detail}");
    }
    server.done(Method::PATCH, &endpoint, Some(kept(json!(DAY)))).await;
}

#[tokio::test]
async fn a_retention_is_set_from_the_shell() {
    let server = Server::in_memory().await;
    let made = server.printed(&["workspaces", "create", "Acme", "--retention-seconds", "86400"]);
    assert!(made.await.contains("86400 s"));
    let id = DEFAULT.to_string();
    let set = ["workspaces", "set", &id, "--retention-seconds", "604800", "--rate", "5", "--json"];
    let set: Value = serde_json::from_str(&server.printed(&set).await).unwrap();
    assert_eq!(set["limits"]["retention_seconds"], 604_800);
    let made = ["endpoints", "create", "--retention-seconds", "3600"];
    assert!(server.printed(&made).await.contains("3600 s"));
    let lifted = ["workspaces", "set", &id, "--no-retention", "--no-rate", "--json"];
    let lifted: Value = serde_json::from_str(&server.printed(&lifted).await).unwrap();
    assert_eq!(lifted["limits"], json!({"rate": null}));
    let output = server.shell(&["endpoints", "create", "--retention-seconds", "60"]).await;
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stderr).contains("3600 seconds (an hour)"));
}

/// Whatever its age, and whatever it owes.
#[tokio::test]
async fn what_was_published_in_a_workspace_goes_with_it() {
    let past = Past::begin().await;
    let [ours, theirs] = [1, 2].map(|byte| WorkspaceId::from_bytes([byte; 16]));
    for workspace in [ours, theirs] {
        past.keeps(workspace, DAY).await;
        past.append(published(workspace, 0)).await;
        past.append(published(workspace, HOUR)).await;
        let now = SystemClock.now();
        let run = NewRun {
            id: RunId::mint(now),
            trigger: Trigger::ploybook("page".parse().unwrap()),
            delay: Duration::ZERO,
        };
        past.append(NewEvent { owes: vec![run], ..published(workspace, 1) }).await;
    }
    let folder = past.ends().await;
    let server = Server::in_folder(folder.path(), &[("PLOY_DISPATCH", "false")]).await;
    server.done(Method::DELETE, &format!("/workspaces/{ours}"), None).await;
    server.terminate();
    assert_eq!(server.exit_code().await, Some(0));

    let store = open(folder.path()).await;
    for (workspace, events, runs) in [(ours, 0, 0), (theirs, 3, 1)] {
        let found = store.search(&EventQuery::all(workspace)).await.unwrap().items.len();
        let listed = store.list_runs(&RunQuery::all(workspace)).await.unwrap().items.len();
        assert_eq!((found, listed), (events, runs), "{workspace}");
    }
    store.close().await;
}
