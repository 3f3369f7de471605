//! Runs: carried out when an event was accepted, tried again, called off.

use reqwest::Method;
use serde_json::{Value, json};

use crate::engine::{Engine, ploybook_at, ploybook_by};
use crate::harness::{Endpoint, Server};

async fn wired_to(server: &Server, ploybook: &str) -> Endpoint {
    server.create(json!({"description": "", "trigger": {"ploybook": ploybook}})).await
}

fn outcomes(run: &Value) -> Vec<Option<&str>> {
    let attempts = run["attempts"].as_array().unwrap();
    attempts.iter().map(|attempt| attempt["outcome"].as_str()).collect()
}

fn last_error(run: &Value) -> &str {
    let attempts = run["attempts"].as_array().unwrap();
    attempts.last().unwrap()["error"].as_str().unwrap()
}

fn ids(list: &Value) -> Vec<&str> {
    let data = list["data"].as_array().unwrap();
    data.iter().map(|run| run["id"].as_str().unwrap()).collect()
}

/// Tries a run again, which is to succeed.
async fn retried(server: &Server, id: &str) -> Value {
    server.done(Method::POST, &format!("/runs/{id}/retry"), None).await;
    server
        .until(&format!("/runs/{id}"), |run| {
            run["state"] == "succeeded" || run["state"] == "failed"
        })
        .await
}

#[tokio::test]
async fn an_event_runs_a_program_and_what_it_says_is_on_record() {
    let folder = tempfile::tempdir().unwrap();
    let server =
        Server::in_memory_with(&[("PLOY_ALLOW_COMMANDS", "true"), ("PLOY_WORKER", "node-1")]).await;
    let script = r#"printf '%s of %s: ' "$PLOY_PLOYBOOK" "$PLOY_EVENT_ID"; cat"#;
    let ploybook = ploybook_by(script, folder.path(), "say it again");
    server.done(Method::POST, "/ploybooks", Some(ploybook)).await;
    let endpoint = wired_to(&server, "say it again").await;
    let payload = r#"{ "n":1.00, "s":"$(id) `id` ; --help" }"#;
    let event = &server.accepted(&endpoint, &[payload]).await[0];
    let run = &server.ended(event, 1).await[0];
    assert_eq!(run["state"], "succeeded", "{run}");
    assert_eq!(
        (&run["event_id"], &run["trigger"]),
        (&json!(event), &json!({"ploybook": "say it again"}))
    );
    let attempt = &run["attempts"][0];
    assert_eq!(attempt["output"], format!("say it again of {event}: {payload}"));
    assert_eq!((&attempt["number"], &attempt["worker"]), (&json!(1), &json!("node-1")));
    assert_eq!((&attempt["outcome"], &attempt["error"]), (&json!("succeeded"), &Value::Null));
    assert!(attempt["started_at"].as_str() <= attempt["ended_at"].as_str(), "{attempt}");

    let id = run["id"].as_str().unwrap();
    assert_eq!(&server.done(Method::GET, &format!("/runs/{id}"), None).await, run);
    for query in [
        String::new(),
        format!("?event={event}"),
        format!("?event={event}&state=succeeded"),
        "?state=succeeded".to_owned(),
    ] {
        let list = server.done(Method::GET, &format!("/runs{query}"), None).await;
        assert_eq!(list, json!({"data": [run], "next_cursor": null}), "{query}");
    }
    for query in [format!("?event={event}&state=failed"), "?state=queued".to_owned()] {
        let list = server.done(Method::GET, &format!("/runs{query}"), None).await;
        assert_eq!(list["data"], json!([]), "{query}");
    }
}

#[tokio::test]
async fn an_event_runs_an_engine_until_it_says_that_it_is_done() {
    let server = Server::in_memory().await;
    let engine = Engine::start().await;
    let mut ploybook = engine.ploybook("page");
    ploybook["instructions"] = json!("Make a page.");
    ploybook["retry"] = json!({"attempts_max": 2, "first_gap_seconds": 0});
    server.done(Method::POST, "/ploybooks", Some(ploybook)).await;
    let endpoint = wired_to(&server, "page").await;
    let event = &server.accepted(&endpoint, &[r#"{"email":"a@b.io"}"#]).await[0];

    let asked = engine.asked().await;
    let run = asked.body["data"]["run_id"].as_str().unwrap().to_owned();
    assert!(asked.head.to_lowercase().contains(&format!("webhook-id: {run}")), "{}", asked.head);
    let data = &asked.body["data"];
    assert_eq!((&data["event_id"], &data["ploybook"]), (&json!(event), &json!("page")));
    assert_eq!(data["instructions"], "Make a page.");
    assert_eq!(data["payload"], json!({"email": "a@b.io"}));
    let running = server.run_in(&run, "running").await;
    assert_eq!(outcomes(&running), [None], "{running}");
    asked.answer("503 Not Now", "later").await;

    let asked = engine.asked().await;
    assert_eq!(
        (&asked.body["data"]["run_id"], &asked.body["data"]["attempt"]),
        (&json!(run), &json!(2))
    );
    asked.answer("200 OK", "https://pages.example/acme").await;
    let run = server.run_in(&run, "succeeded").await;
    assert_eq!(outcomes(&run), [Some("retry"), Some("succeeded")]);
    assert!(run["attempts"][0]["error"].as_str().unwrap().contains("503"), "{run}");
    assert_eq!(run["attempts"][1]["output"], "https://pages.example/acme");
}

#[tokio::test]
async fn what_is_wired_to_no_ploybook_fails_until_it_is_defined_and_tried_again() {
    let server = Server::in_memory().await;
    let url = Engine::that_names_ploybooks().await;
    let endpoint = wired_to(&server, "page").await;
    let event = &server.accepted(&endpoint, &["{}"]).await[0];
    let failed = &server.ended(event, 1).await[0];
    assert_eq!((&failed["state"], outcomes(failed)), (&json!("failed"), vec![Some("failed")]));
    assert!(last_error(failed).contains("there is no Ploybook `page`"), "{failed}");

    let ploybook = ploybook_at(&url, "page");
    server.done(Method::POST, "/ploybooks", Some(ploybook)).await;
    let id = failed["id"].as_str().unwrap();
    let run = retried(&server, id).await;
    assert_eq!(outcomes(&run), [Some("failed"), Some("succeeded")]);
    assert_eq!((&run["id"], &run["trigger"]), (&failed["id"], &failed["trigger"]));
}

#[tokio::test]
async fn a_disabled_ploybook_fails_until_it_is_enabled_and_tried_again() {
    let server = Server::in_memory().await;
    let url = Engine::that_names_ploybooks().await;
    let mut ploybook = ploybook_at(&url, "page");
    ploybook["enabled"] = json!(false);
    server.done(Method::POST, "/ploybooks", Some(ploybook)).await;
    let endpoint = wired_to(&server, "page").await;
    let event = &server.accepted(&endpoint, &["{}"]).await[0];
    let failed = &server.ended(event, 1).await[0];
    assert_eq!(failed["state"], "failed");
    assert!(last_error(failed).contains("`page` is disabled: enable it"), "{failed}");

    server.done(Method::PATCH, "/ploybooks/page", Some(json!({"enabled": true}))).await;
    let run = retried(&server, failed["id"].as_str().unwrap()).await;
    assert_eq!(outcomes(&run), [Some("failed"), Some("succeeded")]);
    assert_eq!(run["attempts"][1]["output"], "did page");
}

#[tokio::test]
async fn a_run_under_way_is_called_off_and_may_be_tried_again() {
    // A lease is extended after a third of it, and that is when a worker hears of it.
    let server = Server::in_memory_with(&[("PLOY_RUN_LEASE_MS", "3000")]).await;
    let engine = Engine::start().await;
    server.done(Method::POST, "/ploybooks", Some(engine.ploybook("page"))).await;
    let endpoint = wired_to(&server, "page").await;
    server.accepted(&endpoint, &["{}"]).await;
    let asked = engine.asked().await;
    let id = asked.body["data"]["run_id"].as_str().unwrap().to_owned();
    let path = format!("/runs/{id}");
    let busy = server.refused(Method::POST, &format!("{path}/retry"), None, 409).await;
    assert!(busy.contains("running") && busy.contains("without being told"), "{busy}");

    let cancelled = server.done(Method::POST, &format!("{path}/cancel"), None).await;
    assert_eq!(cancelled["state"], "cancelled");
    asked.hung_up().await;
    let again = server.refused(Method::POST, &format!("{path}/cancel"), None, 409).await;
    assert!(again.contains("cancelled already"), "{again}");
    assert_eq!(server.done(Method::GET, &path, None).await["state"], "cancelled");

    let retried = server.done(Method::POST, &format!("{path}/retry"), None).await;
    assert_ne!(retried["state"], "cancelled");
    let asked = engine.asked().await;
    assert_eq!(asked.body["data"]["run_id"], *id);
    asked.answer("200 OK", "done").await;
    let run = server.run_in(&id, "succeeded").await;
    assert_eq!(outcomes(&run), [None, Some("succeeded")]);
    for call in ["retry", "cancel"] {
        let said = server.refused(Method::POST, &format!("{path}/{call}"), None, 409).await;
        let what_to_do = if call == "retry" { "replay its event" } else { "nothing to call off" };
        assert!(said.contains("succeeded") && said.contains(what_to_do), "{said}");
    }
}

#[tokio::test]
async fn a_run_that_waits_is_called_off_or_tried_at_once() {
    let server = Server::in_memory().await;
    let engine = Engine::start().await;
    let mut ploybook = engine.ploybook("page");
    ploybook["retry"] =
        json!({"attempts_max": 2, "first_gap_seconds": 80_000, "gap_max_seconds": 80_000});
    server.done(Method::POST, "/ploybooks", Some(ploybook)).await;
    let endpoint = wired_to(&server, "page").await;
    server.accepted(&endpoint, &["{}"; 2]).await;
    let mut waiting = Vec::new();
    for _ in 0..2 {
        let asked = engine.asked().await;
        let id = asked.body["data"]["run_id"].as_str().unwrap().to_owned();
        asked.answer("503 Not Now", "").await;
        server.run_in(&id, "retrying").await;
        waiting.push(id);
    }
    let path = format!("/runs/{}/cancel", waiting[0]);
    assert_eq!(server.done(Method::POST, &path, None).await["state"], "cancelled");
    server.done(Method::POST, &format!("/runs/{}/retry", waiting[1]), None).await;
    let asked = engine.asked().await;
    assert_eq!(asked.body["data"]["run_id"], *waiting[1]);
    asked.answer("200 OK", "").await;
    server.run_in(&waiting[1], "succeeded").await;
}

#[tokio::test]
async fn runs_are_listed_newest_first_a_page_at_a_time() {
    let server = Server::in_memory().await;
    let endpoint = wired_to(&server, "nowhere").await;
    let events = server.accepted(&endpoint, &["{}"; 5]).await;
    let mut expected = Vec::new();
    for event in &events {
        expected.insert(0, server.ended(event, 1).await[0]["id"].as_str().unwrap().to_owned());
    }
    let mut walked = Vec::new();
    let mut path = "/runs?state=failed&limit=2".to_owned();
    loop {
        let list = server.done(Method::GET, &path, None).await;
        walked.extend(ids(&list).into_iter().map(str::to_owned));
        let Some(cursor) = list["next_cursor"].as_str() else { break };
        let differs = format!("/runs?state=queued&cursor={cursor}");
        server.refused(Method::GET, &differs, None, 422).await;
        path = format!("/runs?state=failed&limit=2&cursor={cursor}");
    }
    assert_eq!(walked, expected);
    for query in ["state=done", "event=x", "limit=0", "cursor=!", "trigger=page"] {
        let detail = server.refused(Method::GET, &format!("/runs?{query}"), None, 422).await;
        let name = query.split('=').next().unwrap();
        assert!(detail.contains(&format!("`{name}`")), "{detail}");
    }
    let nothing =
        server.done(Method::GET, "/runs?event=evt_00000000000000000000000000", None).await;
    assert_eq!(nothing["data"], json!([]));
}

#[tokio::test]
async fn runs_that_there_are_not_are_not_found() {
    let server = Server::in_memory().await;
    for id in ["run_00000000000000000000000000", "evt_00000000000000000000000000", "x"] {
        server.refused(Method::GET, &format!("/runs/{id}"), None, 404).await;
        for call in ["retry", "cancel"] {
            server.refused(Method::POST, &format!("/runs/{id}/{call}"), None, 404).await;
        }
    }
}

#[tokio::test]
async fn a_run_belongs_to_the_trigger_that_held_when_its_event_was_accepted() {
    let server = Server::in_memory().await;
    let url = Engine::that_names_ploybooks().await;
    for name in ["first", "second"] {
        let ploybook = ploybook_at(&url, name);
        server.done(Method::POST, "/ploybooks", Some(ploybook)).await;
    }
    let endpoint = wired_to(&server, "first").await;
    let path = format!("/endpoints/{}", endpoint.id);
    let mut sent: Vec<(String, Option<&str>)> = Vec::new();
    for trigger in [Some("first"), Some("second"), None, Some("first"), None, Some("second")] {
        let named = trigger.map(|name| json!({"ploybook": name}));
        let shown = server.done(Method::PATCH, &path, Some(json!({"trigger": named}))).await;
        assert_eq!(shown["trigger"], json!(named));
        let events = server.accepted(&endpoint, &["{}"; 3]).await;
        sent.extend(events.into_iter().map(|event| (event, trigger)));
    }
    for (event, trigger) in sent {
        let runs = server.ended(&event, trigger.iter().count()).await;
        let triggers: Vec<_> = runs.iter().map(|run| run["trigger"].clone()).collect();
        let expected: Vec<_> = trigger.iter().map(|name| json!({"ploybook": name})).collect();
        assert_eq!(triggers, expected);
        for run in runs {
            assert_eq!(run["attempts"][0]["output"], format!("did {}", trigger.unwrap()));
        }
    }
}
