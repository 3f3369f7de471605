//! Replay: events run again what is wired to them.

use reqwest::Method;
use serde_json::json;

use crate::engine::{Engine, ploybook_at};
use crate::harness::Server;

async fn with_ploybooks(names: &[&str]) -> Server {
    let server = Server::in_memory().await;
    let url = Engine::that_names_ploybooks().await;
    for name in names {
        server.done(Method::POST, "/ploybooks", Some(ploybook_at(&url, name))).await;
    }
    server
}

#[tokio::test]
async fn an_event_runs_again_what_is_wired_to_it_now() {
    let server = with_ploybooks(&["before", "now", "also"]).await;
    let form = json!({"description": "", "trigger": {"ploybook": "before"}});
    let endpoint = server.create(form).await;
    let event = &server.accepted(&endpoint, &["{}"]).await[0];
    let first = &server.ended(event, 1).await[0];
    let change = json!({"trigger": {"ploybook": "now"}});
    server.done(Method::PATCH, &format!("/endpoints/{}", endpoint.id), Some(change)).await;
    let also = json!({"ploybook": "also"});
    server.done(Method::POST, "/subscriptions", Some(also)).await;

    let path = format!("/events/{event}/replay");
    let replayed = server.done(Method::POST, &path, None).await;
    let added = replayed["runs"].as_array().unwrap();
    let names: Vec<_> = added.iter().map(|run| &run["trigger"]["ploybook"]).collect();
    assert_eq!(names, ["now", "also"]);
    let runs = server.ended(event, 3).await;
    assert_eq!(&runs[0], first, "what there was is as it was");
    for (run, added) in runs[1..].iter().zip(added) {
        assert_eq!((&run["id"], &run["state"]), (&added["id"], &json!("succeeded")));
    }
    let events = server.done(Method::GET, "/events", None).await;
    assert_eq!(events["data"].as_array().unwrap().len(), 1, "the event is not copied");
}

#[tokio::test]
async fn what_nothing_is_wired_to_is_not_replayed() {
    let server = Server::in_memory().await;
    let endpoint = server.create(json!({"description": ""})).await;
    let event = &server.accepted(&endpoint, &["{}"]).await[0];
    let path = format!("/events/{event}/replay");
    let said = server.refused(Method::POST, &path, None, 409).await;
    assert!(said.contains("set a trigger") && said.contains("subscribe"), "{said}");
    for id in ["evt_00000000000000000000000000", "x"] {
        server.refused(Method::POST, &format!("/events/{id}/replay"), None, 404).await;
    }
    let shown = server.shell(&["events", "replay", event]).await;
    assert_eq!((shown.status.code(), shown.stdout.len()), (Some(1), 0));
    let message = String::from_utf8(shown.stderr).unwrap();
    assert!(message.contains("409") && message.contains("set a trigger"), "{message}");
}

#[tokio::test]
async fn what_a_search_finds_is_replayed_from_the_shell() {
    let server = with_ploybooks(&["page"]).await;
    let wired = json!({"description": "", "trigger": {"ploybook": "page"}});
    let (wired, plain) =
        (server.create(wired).await, server.create(json!({"description": ""})).await);
    let events =
        server.accepted(&wired, &[r#"{"a":"ACME"}"#, r#"{"a":"acme"}"#, r#"{"a":"other"}"#]).await;
    for event in &events {
        server.ended(event, 1).await;
    }
    let runs_of = async |event: &str| {
        let path = format!("/runs?event={event}");
        server.done(Method::GET, &path, None).await["data"].as_array().unwrap().len()
    };

    let one = server.printed(&["events", "replay", &events[2]]).await;
    assert_eq!((one.as_str(), runs_of(&events[2]).await), ("runs added: 1\n", 2));
    let json = server.printed(&["events", "replay", &events[2], "--json"]).await;
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!(json["runs"].as_array().unwrap().len(), 1);

    let rate = ["--rate", "1000/s"];
    let found = [&["events", "replay", "--contains", "acme"], &rate[..]].concat();
    assert_eq!(server.printed(&found).await, "replayed 2, runs added 2, failed 0\n");
    let counts = [runs_of(&events[0]).await, runs_of(&events[1]).await, runs_of(&events[2]).await];
    assert_eq!(counts, [2, 2, 3]);

    // The oldest comes first, and the bound is said.
    let bounded = server.shell(&[&found[..], &["--max", "1"]].concat()).await;
    assert_eq!(bounded.status.code(), Some(0));
    assert_eq!(bounded.stdout, b"replayed 1, runs added 1, failed 0\n");
    assert!(String::from_utf8(bounded.stderr).unwrap().contains("--max 1 was reached"));
    assert_eq!((runs_of(&events[0]).await, runs_of(&events[1]).await), (3, 2));

    let unwired = &server.accepted(&plain, &[r#"{"a":"acme"}"#]).await[0];
    let partly = server.shell(&found).await;
    assert_eq!(partly.status.code(), Some(1), "one is wired to nothing");
    assert_eq!(partly.stdout, b"replayed 2, runs added 2, failed 1\n");
    assert!(String::from_utf8(partly.stderr).unwrap().contains(unwired));
    let nothing = ["events", "replay", "--contains", "nowhere"];
    assert_eq!(server.printed(&nothing).await, "replayed 0, runs added 0, failed 0\n");
    let only = ["events", "replay", "--endpoint", &wired.id, "--rate", "1000", "--json"];
    let json: serde_json::Value = serde_json::from_str(&server.printed(&only).await).unwrap();
    assert_eq!(json, json!({"replayed": 3, "runs_added": 3, "failed": 0}));
}

#[tokio::test]
async fn a_wrong_call_of_replay_exits_with_2() {
    let server = Server::in_memory().await;
    for args in [
        &["events", "replay"][..],
        &["events", "replay", "evt_00000000000000000000000000", "--contains", "x"],
        &["events", "replay", "evt_00000000000000000000000000", "--type", "x"],
        &["events", "replay", "--contains", "x", "--rate", "0"],
        &["events", "replay", "--contains", "x", "--rate", "fast"],
        &["events", "replay", "--contains", "x", "--max", "many"],
    ] {
        let output = server.shell(args).await;
        assert_eq!((output.status.code(), output.stdout.len()), (Some(2), 0), "{args:?}");
    }
    let refused = server.shell(&["events", "replay", "--endpoint", "x"]).await;
    assert_eq!(refused.status.code(), Some(1));
    assert!(String::from_utf8(refused.stderr).unwrap().contains("`endpoint`"));
}
