//! Workspaces and tokens made, bounded, shown and deleted.

use std::num::NonZeroU16;
use std::path::Path;

use ploy_webhooks::WorkspaceId;
use ploy_webhooks::store::{DefinitionKind, DefinitionStore, EndpointStore};
use ploy_webhooks_sqlite::{SqliteSettings, SqliteStore};
use reqwest::Method;
use serde_json::{Value, json};

use super::{Tenant, minted, ploybook, refused, text, without_runs};
use crate::engine::{Engine, ploybook_by};
use crate::harness::{ROOT_TOKEN, Server, answer, read_to_end, read_until, write};

const DEFAULT: &str = "ws_00000000000000000000000000";

async fn names(server: &Server, list: &str) -> Vec<String> {
    let shown = server.done(Method::GET, list, None).await;
    let name = |one: &Value| one["name"].as_str().unwrap().to_owned();
    shown["data"].as_array().unwrap().iter().map(name).collect()
}

#[tokio::test]
async fn workspaces_are_made_changed_and_listed_and_the_default_one_is_always_there() {
    let server = Server::in_memory().await;
    let path = format!("/workspaces/{DEFAULT}");
    let shown = server.done(Method::GET, &path, None).await;
    let unchanged = json!({
        "id": DEFAULT, "revision": 1, "name": "Default", "created_at": null,
        "limits": {"rate": null},
    });
    assert_eq!(shown, unchanged);
    let listed = server.done(Method::GET, "/workspaces", None).await;
    assert_eq!(listed, json!({"data": [unchanged], "next_cursor": null}));

    let form = json!({"name": "Acme", "limits": {"rate": {"per_second": 5, "burst": 9}}});
    let acme = server.done(Method::POST, "/workspaces", Some(form)).await;
    assert_eq!(acme["limits"], json!({"rate": {"per_second": 5, "burst": 9}}));
    let acme_path = format!("/workspaces/{}", text(&acme, "id"));
    assert_eq!(server.done(Method::GET, &acme_path, None).await, acme);
    server.done(Method::POST, "/workspaces", Some(json!({"name": "Beta"}))).await;

    for (path, change, name, limits) in [
        (&acme_path, json!({"name": "Acme 2"}), "Acme 2", acme["limits"].clone()),
        (&acme_path, json!({"limits": {"rate": null}}), "Acme 2", json!({"rate": null})),
        (&path, json!({"name": "Ours"}), "Ours", json!({"rate": null})),
        (&acme_path, json!({"name": "Acme", "limits": null}), "Acme", json!({"rate": null})),
    ] {
        let changed = server.done(Method::PATCH, path, Some(change)).await;
        assert_eq!((&changed["name"], &changed["limits"]), (&json!(name), &limits));
        assert_eq!(server.done(Method::GET, path, None).await, changed);
    }
    assert_eq!(names(&server, "/workspaces").await, ["Ours", "Acme", "Beta"]);
}

#[tokio::test]
async fn a_list_of_workspaces_has_each_once_in_pages_of_any_size() {
    let server = Server::in_memory().await;
    for name in ["b", "c", "d"] {
        server.done(Method::POST, "/workspaces", Some(json!({"name": name}))).await;
    }
    for change in [json!({}), json!({"name": "Default"})] {
        for limit in [1, 2, 3, 4, 5] {
            let mut found = Vec::new();
            let mut path = format!("/workspaces?limit={limit}");
            loop {
                let page = server.done(Method::GET, &path, None).await;
                let data = page["data"].as_array().unwrap();
                assert!(data.len() <= limit);
                found.extend(data.iter().map(|one| text(one, "name")));
                assert!(found.len() <= 4, "{found:?}");
                let Some(cursor) = page["next_cursor"].as_str() else { break };
                path = format!("/workspaces?limit={limit}&cursor={cursor}");
            }
            assert_eq!(found, ["Default", "b", "c", "d"], "{limit} a page");
        }
        // From now on the default one is kept like any other.
        server.done(Method::PATCH, &format!("/workspaces/{DEFAULT}"), Some(change)).await;
    }
}

#[tokio::test]
async fn what_is_no_workspace_is_refused_and_named() {
    let server = Server::in_memory().await;
    let path = format!("/workspaces/{DEFAULT}");
    for (method, path, form, named) in [
        (Method::POST, "/workspaces", json!({}), "`name`"),
        (Method::POST, "/workspaces", json!({"name": ""}), "`name`"),
        (Method::POST, "/workspaces", json!({"name": "a", "owner": "b"}), "`owner`"),
        (Method::POST, "/workspaces", json!({"name": "a", "limits": {"rates": 1}}), "`rates`"),
        (Method::POST, "/workspaces", json!({"name": "a", "limits": {"rate": 1}}), "limits.rate"),
        (Method::PATCH, &path, json!({"name": null}), "`name`"),
        (Method::PATCH, &path, json!({"created_at": 1}), "`created_at`"),
        (Method::PATCH, &path, json!({"limits": {"rate": {"per_second": 0}}}), "limits.rate"),
    ] {
        let detail = server.refused(method, path, Some(form), 422).await;
        assert!(detail.contains(named), "{detail}");
    }
    for id in ["ws_01000000000000000000000000", "ws_7zzzzzzzzzzzzzzzzzzzzzzzzz", "x"] {
        let path = format!("/workspaces/{id}");
        server.refused(Method::GET, &path, None, 404).await;
        server.refused(Method::PATCH, &path, Some(json!({"name": "a"})), 404).await;
        server.refused(Method::DELETE, &path, None, 404).await;
    }
    assert_eq!(names(&server, "/workspaces").await, ["Default"]);
}

/// Every node learns of the new bounds as of any change of an endpoint: by its revision.
#[tokio::test]
async fn a_change_of_the_bounds_counts_up_every_endpoint_of_the_workspace() {
    let server = without_runs().await;
    let (ours, theirs) = (Tenant::on(&server, "Ours").await, Tenant::on(&server, "Theirs").await);
    let form = json!({"description": ""});
    for tenant in [&ours, &ours, &theirs] {
        tenant.done(&server, Method::POST, "/endpoints", Some(form.clone())).await;
    }
    let revisions = async |tenant: &Tenant| {
        let shown = tenant.done(&server, Method::GET, "/endpoints", None).await;
        let data = shown["data"].as_array().unwrap();
        data.iter().map(|one| one["revision"].as_u64().unwrap()).collect::<Vec<_>>()
    };
    let path = format!("/workspaces/{}", ours.workspace);
    let bounds = json!({"limits": {"rate": {"per_second": 5}}});
    for (change, expected) in [
        (json!({"name": "Ours still"}), [1, 1]),
        (bounds.clone(), [2, 2]),
        // Who makes a change again may do so because it has failed on the way.
        (bounds, [3, 3]),
        (json!({"limits": null}), [4, 4]),
    ] {
        server.done(Method::PATCH, &path, Some(change)).await;
        assert_eq!(revisions(&ours).await, expected);
        assert_eq!(revisions(&theirs).await, [1]);
    }
}

#[tokio::test]
async fn a_workspace_without_endpoints_is_deleted_with_all_that_is_in_it() {
    let server = without_runs().await;
    let (ours, theirs) = (Tenant::on(&server, "Ours").await, Tenant::on(&server, "Theirs").await);
    let (ours_has, theirs_has) = (ours.equipped(&server).await, theirs.equipped(&server).await);
    let path = format!("/workspaces/{}", ours.workspace);
    let said = server.refused(Method::DELETE, &path, None, 409).await;
    assert!(said.contains("has endpoints"), "{said}");
    ours.done(&server, Method::GET, "/endpoints", None).await;

    let endpoint = format!("/endpoints/{}", ours_has.endpoint);
    ours.done(&server, Method::DELETE, &endpoint, None).await;
    server.done(Method::DELETE, &path, None).await;
    let request = server.request(Method::GET, "/endpoints", None).bearer_auth(&ours.token);
    refused(request, 401, "unauthorized").await;
    let root = server.request(Method::GET, "/ploybooks", None).bearer_auth(ROOT_TOKEN);
    refused(root.header("ploy-workspace", &ours.workspace), 404, "not_found").await;
    server.refused(Method::DELETE, &path, None, 404).await;
    server.refused(Method::GET, &path, None, 404).await;
    let tokens = server.done(Method::GET, "/tokens", None).await;
    assert!(!tokens.to_string().contains(&ours.workspace), "{tokens}");
    assert_eq!(names(&server, "/workspaces").await, ["Default", "Theirs"]);

    for id in theirs_has.ids() {
        let lists = ["/destinations", "/endpoints", "/events", "/runs", "/subscriptions"]
            .map(|list| theirs.done(&server, Method::GET, list, None));
        let mut shown = String::new();
        for list in lists {
            shown.push_str(&list.await.to_string());
        }
        assert!(shown.contains(id), "{shown}");
    }
    let default = format!("/workspaces/{DEFAULT}");
    let said = server.refused(Method::DELETE, &default, None, 409).await;
    assert!(said.contains("always there"), "{said}");
}

/// Neither what was in it, nor what is made by a call that was let in before.
#[tokio::test]
async fn nothing_is_left_of_a_workspace_that_is_deleted() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::in_folder(folder.path(), &[("PLOY_DISPATCH", "false")]).await;
    let (ours, theirs) = (Tenant::on(&server, "Ours").await, Tenant::on(&server, "Theirs").await);
    let unused = Tenant::on(&server, "Unused").await;
    theirs.equipped(&server).await;
    for tenant in [&ours, &unused] {
        let endpoint = format!("/endpoints/{}", tenant.equipped(&server).await.endpoint);
        tenant.done(&server, Method::DELETE, &endpoint, None).await;
    }

    let mut let_in = Vec::new();
    for (path, body, headers) in [
        ("endpoints", json!({"description": ""}), format!("Bearer {}", ours.token)),
        ("ploybooks", ploybook("late"), format!("Bearer {}", ours.token)),
        (
            "endpoints",
            json!({"description": ""}),
            format!("Bearer {ROOT_TOKEN}\r\nPloy-Workspace: {}", ours.workspace),
        ),
    ] {
        let (mut connection, body) = (server.connect().await, body.to_string());
        let head = format!(
            "POST /api/v1/{path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\
             Authorization: {headers}\r\nContent-Type: application/json\r\n\
             Content-Length: {}\r\nExpect: 100-continue\r\n\r\n",
            body.len()
        );
        write(&mut connection, &head).await;
        // Its body is asked for, so it has been let in.
        read_until(&mut connection, "100 Continue\r\n\r\n").await;
        let_in.push((connection, body));
    }
    for tenant in [&ours, &unused] {
        let path = format!("/workspaces/{}", tenant.workspace);
        server.done(Method::DELETE, &path, None).await;
    }
    for (mut connection, body) in let_in {
        write(&mut connection, &body).await;
        let answer = read_to_end(&mut connection).await;
        assert!(answer.starts_with("HTTP/1.1 404"), "{answer}");
        assert!(!answer.contains("pwk_"), "{answer}");
    }
    server.terminate();
    assert_eq!(server.exit_code().await, Some(0));

    let settings = SqliteSettings::at(folder.path().join("ploy-data/ploy.db"));
    let store = SqliteStore::open(settings).await.unwrap();
    let all = NonZeroU16::new(50).unwrap();
    let left = async |tenant: &Tenant| {
        let workspace = tenant.workspace.parse().unwrap();
        let mut left = store.endpoints(&workspace, None, all).await.unwrap().len();
        for kind in DefinitionKind::ALL {
            left += store.definitions(&workspace, kind, None, all).await.unwrap().len();
            let of_root = store.definitions(&WorkspaceId::ROOT, kind, None, all).await.unwrap();
            left += of_root
                .iter()
                .filter(|one| one.name == tenant.workspace || one.text.contains(&tenant.workspace))
                .count();
        }
        left
    };
    assert_eq!((left(&ours).await, left(&unused).await), (0, 0));
    // An endpoint, a destination, a Ploybook, a subscription, a token and the workspace itself.
    assert_eq!(left(&theirs).await, 6, "what is left of another workspace");
    store.close().await;
}

#[tokio::test]
async fn a_token_is_shown_once_and_its_digest_never() {
    let server = Server::in_memory().await;
    let form = json!({
        "scope": "read", "description": "for the dashboard", "expires_at": "2999-01-01T00:00:00Z",
    });
    let made = server.done(Method::POST, "/tokens", Some(form)).await;
    let token = text(&made, "token");
    assert!(token.len() == 42 && token.starts_with("pwt_"), "{made}");
    let mut shown = made.clone();
    shown.as_object_mut().unwrap().remove("token");
    let path = format!("/tokens/{}", text(&made, "id"));
    assert_eq!(server.done(Method::GET, &path, None).await, shown);
    assert_eq!(shown["workspace"], DEFAULT);
    assert_eq!(shown["expires_at"], "2999-01-01T00:00:00.000Z");
    let members: Vec<_> = shown.as_object().unwrap().keys().collect();
    let expected = ["created_at", "description", "expires_at", "id", "scope", "workspace"];
    assert_eq!(members, expected);
    let listed = server.done(Method::GET, "/tokens", None).await;
    assert_eq!(listed, json!({"data": [shown], "next_cursor": null}));

    server.done(Method::DELETE, &path, None).await;
    server.refused(Method::DELETE, &path, None, 404).await;
    server.refused(Method::GET, &path, None, 404).await;
}

#[tokio::test]
async fn tokens_are_listed_by_their_workspaces_in_pages() {
    let server = Server::in_memory().await;
    let (ours, theirs) = (Tenant::on(&server, "Ours").await, Tenant::on(&server, "Theirs").await);
    for _ in 0..4 {
        for tenant in [&ours, &theirs] {
            minted(&server, json!({"workspace": tenant.workspace, "scope": "read"})).await;
        }
    }
    for (filter, count) in [
        (format!("workspace={}&", ours.workspace), 5),
        (format!("workspace={}&", theirs.workspace), 5),
        (format!("workspace={DEFAULT}&"), 0),
        (String::new(), 10),
    ] {
        for limit in [1, 3, 5, 200] {
            let first = format!("/tokens?{filter}limit={limit}");
            let mut path = first.clone();
            let mut ids = Vec::new();
            loop {
                let page = server.done(Method::GET, &path, None).await;
                let data = page["data"].as_array().unwrap();
                assert!(data.len() <= limit);
                ids.extend(data.iter().map(|one| text(one, "id")));
                assert!(ids.len() <= count, "{first}");
                for one in data {
                    assert!(filter.is_empty() || filter.contains(&text(one, "workspace")));
                }
                let Some(cursor) = page["next_cursor"].as_str() else { break };
                path = format!("{first}&cursor={cursor}");
            }
            assert_eq!(ids.len(), count, "{first}");
            assert!(ids.is_sorted_by(|one, next| one < next), "{ids:?}");
        }
    }
    let path = format!("/tokens?workspace={}&limit=1", ours.workspace);
    let cursor = text(&server.done(Method::GET, &path, None).await, "next_cursor");
    let path = format!("/tokens?cursor={cursor}");
    assert!(server.refused(Method::GET, &path, None, 422).await.contains("`workspace`"));
}

#[tokio::test]
async fn what_is_no_token_is_refused_and_named() {
    let server = Server::in_memory().await;
    let elsewhere = "ws_01000000000000000000000000";
    for (form, named) in [
        (json!({}), "`scope`"),
        (json!({"scope": "root"}), "`scope`"),
        (json!({"scope": "read", "digest": "0"}), "`digest`"),
        (json!({"scope": "read", "description": "a".repeat(501)}), "`description`"),
        (json!({"scope": "read", "workspace": elsewhere}), "`workspace`"),
        (json!({"scope": "read", "workspace": "ws_7zzzzzzzzzzzzzzzzzzzzzzzzz"}), "`workspace`"),
        (json!({"scope": "read", "workspace": "ours"}), "`workspace`"),
        (json!({"scope": "read", "expires_at": "tomorrow"}), "`expires_at`"),
        (json!({"scope": "read", "expires_at": "2020-01-01T00:00:00Z"}), "expired"),
        (json!({"scope": "read", "expires_in_seconds": 0}), "`expires_in_seconds`"),
        (
            json!({"scope": "read", "expires_in_seconds": 9, "expires_at": "2999-01-01T00:00:00Z"}),
            "not both",
        ),
    ] {
        let detail = server.refused(Method::POST, "/tokens", Some(form), 422).await;
        assert!(detail.contains(named), "{detail}");
    }
    assert_eq!(server.done(Method::GET, "/tokens", None).await["data"], json!([]));
}

#[tokio::test]
async fn tokens_and_workspaces_outlast_the_server_which_makes_no_endpoint_then() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::in_folder(folder.path(), &[]).await;
    let tenant = Tenant::on(&server, "Acme").await;
    let things = tenant.equipped(&server).await;
    server.terminate();
    assert_eq!(server.exit_code().await, Some(0));

    let server = Server::in_folder(folder.path(), &[]).await;
    assert!(!server.greeting.contains("no endpoint"), "{}", server.greeting);
    let shown = tenant.done(&server, Method::GET, "/endpoints", None).await;
    assert_eq!(shown["data"][0]["id"], *things.endpoint);
}

#[tokio::test]
async fn what_a_tenant_defines_reaches_what_is_public_alone() {
    let (server, engine) = (Server::in_memory().await, Engine::start().await);
    let tenant = Tenant::on(&server, "Acme").await;
    let form = engine.ploybook("page");
    let made = tenant.done(&server, Method::POST, "/ploybooks", Some(form)).await;
    assert_eq!(made["run"]["http"]["public_only"], true, "{made}");
    let open = json!({"run": {"http": {"url": engine.url, "public_only": false}}});
    let changed = tenant.done(&server, Method::PATCH, "/ploybooks/page", Some(open)).await;
    assert_eq!(changed["run"]["http"]["public_only"], true, "{changed}");

    let form = Some(json!({"description": "", "trigger": {"ploybook": "page"}}));
    let endpoint = tenant.done(&server, Method::POST, "/endpoints", form).await;
    let sent = server.http.post(text(&endpoint, "url")).bearer_auth(text(&endpoint, "api_key"));
    let (_, event) = answer(sent.header("content-type", "application/json").body("{}")).await;
    let path = format!("/events/{}", text(&event, "id"));
    let run = loop {
        let shown = tenant.done(&server, Method::GET, &path, None).await;
        if shown["runs"][0]["state"] == "failed" {
            break shown["runs"][0].clone();
        }
    };
    let error = text(&run["attempts"][0], "error");
    assert!(error.contains("loopback"), "{error}");
}

#[tokio::test]
async fn a_run_is_carried_out_by_the_ploybook_of_its_own_workspace() {
    let server = Server::in_memory_with(&[("PLOY_DELIVERY_ALLOW", "127.0.0.0/8")]).await;
    let (ours, theirs) = (Tenant::on(&server, "Ours").await, Tenant::on(&server, "Theirs").await);
    let (engine, other) = (Engine::start().await, Engine::start().await);
    for (tenant, engine) in [(&theirs, &other), (&ours, &engine)] {
        let form = engine.ploybook("page");
        tenant.done(&server, Method::POST, "/ploybooks", Some(form)).await;
    }
    let form = Some(json!({"description": "", "trigger": {"ploybook": "page"}}));
    // Theirs, too, so that a subscription of one workspace that reached the other would be seen.
    theirs.done(&server, Method::POST, "/subscriptions", Some(json!({"ploybook": "page"}))).await;
    let endpoint = ours.done(&server, Method::POST, "/endpoints", form).await;
    let sent = server.http.post(text(&endpoint, "url")).bearer_auth(text(&endpoint, "api_key"));
    let sent = sent.header("content-type", "application/json").body("{}");
    let (_, event) = answer(sent).await;
    let asked = engine.asked().await;
    assert_eq!(asked.body["data"]["event_id"], event["id"]);
    let path = format!("/events/{}", text(&event, "id"));
    let shown = ours.done(&server, Method::GET, &path, None).await;
    assert_eq!(shown["runs"].as_array().unwrap().len(), 1, "{shown}");
    assert_eq!(shown["workspace_id"], *ours.workspace);
}

/// What a variable of the server holds may be another tenant's secret.
#[tokio::test]
async fn only_the_root_token_names_variables_of_the_server() {
    let server = Server::in_memory().await;
    let tenant = Tenant::on(&server, "Acme").await;
    let http = json!({"url": "https://engine.example/run", "secret_env": "ENGINE_SECRET"});
    let form = json!({"name": "page", "run": {"http": http}});
    let request = server.request(Method::POST, "/ploybooks", Some(form.clone()));
    let said = refused(request.bearer_auth(&tenant.token), 403, "forbidden").await;
    assert!(said.contains("`run.http.secret_env`"), "{said}");
    let request = server.request(Method::POST, "/ploybooks", Some(form)).bearer_auth(ROOT_TOKEN);
    let (status, shown) = answer(request.header("ploy-workspace", &tenant.workspace)).await;
    assert_eq!(status.as_u16(), 201, "{shown}");
}

/// A program reaches all that the server reaches: it is beyond any workspace.
#[tokio::test]
async fn only_the_root_token_has_programs_run() {
    let server = Server::in_memory_with(&[("PLOY_ALLOW_COMMANDS", "true")]).await;
    let tenant = Tenant::on(&server, "Acme").await;
    let program = ploybook_by("true", Path::new(env!("CARGO_TARGET_TMPDIR")), "page");
    let request = server.request(Method::POST, "/ploybooks", Some(program.clone()));
    let said = refused(request.bearer_auth(&tenant.token), 403, "forbidden").await;
    assert!(said.contains("`run.command`"), "{said}");
    tenant.done(&server, Method::POST, "/ploybooks", Some(ploybook("page"))).await;
    let change = Some(json!({"run": program["run"]}));
    let request = server.request(Method::PATCH, "/ploybooks/page", change.clone());
    refused(request.bearer_auth(&tenant.token), 403, "forbidden").await;

    let request = server.request(Method::PATCH, "/ploybooks/page", change).bearer_auth(ROOT_TOKEN);
    let (status, shown) = answer(request.header("ploy-workspace", &tenant.workspace)).await;
    assert_eq!((status.as_u16(), &shown["run"]), (200, &program["run"]));
    let change = Some(json!({"enabled": false}));
    tenant.done(&server, Method::PATCH, "/ploybooks/page", change).await;
}
