//! A stop while runs are under way: they are finished, or begun again by the next start.

use reqwest::Method;
use serde_json::{Value, json};

use crate::engine::{Engine, ploybook_by};
use crate::harness::Server;

async fn under_way(server: &Server, ploybook: Value) -> String {
    let name = ploybook["name"].clone();
    server.done(Method::POST, "/ploybooks", Some(ploybook)).await;
    let form = json!({"description": "", "trigger": {"ploybook": name}});
    let endpoint = server.create(form).await;
    let event = &server.accepted(&endpoint, &["{}"]).await[0];
    let event = server.done(Method::GET, &format!("/events/{event}"), None).await;
    let run = event["runs"][0]["id"].as_str().unwrap().to_owned();
    server.run_in(&run, "running").await;
    run
}

#[tokio::test]
async fn a_stop_waits_for_what_is_under_way() {
    let folder = tempfile::tempdir().unwrap();
    let mut server = Server::in_folder(folder.path(), &[]).await;
    let engine = Engine::start().await;
    let run = under_way(&server, engine.ploybook("page")).await;
    let asked = engine.asked().await;
    server.terminate();
    server.log_line("stopping").await;
    asked.answer("200 OK", "done in time").await;
    assert_eq!(server.exit_code().await, Some(0));

    let again = Server::in_folder(folder.path(), &[]).await;
    let run = again.done(Method::GET, &format!("/runs/{run}"), None).await;
    assert_eq!(run["state"], "succeeded");
    assert_eq!(run["attempts"].as_array().unwrap().len(), 1, "{run}");
    assert_eq!(run["attempts"][0]["output"], "done in time");
}

#[tokio::test]
async fn what_is_not_done_when_the_grace_ends_is_done_by_the_next_start() {
    let folder = tempfile::tempdir().unwrap();
    let hasty = [("PLOY_SHUTDOWN_GRACE_MS", "50")];
    let server = Server::in_folder(folder.path(), &hasty).await;
    let engine = Engine::start().await;
    let run = under_way(&server, engine.ploybook("page")).await;
    let asked = engine.asked().await;
    server.terminate();
    asked.hung_up().await;
    assert_eq!(server.exit_code().await, Some(0));

    let again = Server::in_folder(folder.path(), &hasty).await;
    let asked = engine.asked().await;
    assert_eq!(asked.body["data"]["run_id"], *run);
    assert_eq!(asked.body["data"]["attempt"], 2);
    asked.answer("200 OK", "").await;
    let run = again.run_in(&run, "succeeded").await;
    let first = &run["attempts"][0];
    assert_eq!(first["outcome"], "retry", "{first}");
    assert!(first["error"].as_str().unwrap().contains("shut down"), "{first}");
}

#[tokio::test]
async fn a_program_that_is_interrupted_is_run_again_by_the_next_start() {
    let folder = tempfile::tempdir().unwrap();
    let settings = [("PLOY_SHUTDOWN_GRACE_MS", "50"), ("PLOY_ALLOW_COMMANDS", "true")];
    let server = Server::in_folder(folder.path(), &settings).await;
    let script =
        r#"[ "$PLOY_ATTEMPT" = 1 ] && exec /bin/sleep 100000; echo "attempt $PLOY_ATTEMPT""#;
    let run = under_way(&server, ploybook_by(script, folder.path(), "slow")).await;
    server.terminate();
    assert_eq!(server.exit_code().await, Some(0));

    let again = Server::in_folder(folder.path(), &settings).await;
    let run = again.run_in(&run, "succeeded").await;
    assert_eq!(run["attempts"][0]["outcome"], "retry", "{run}");
    assert_eq!(run["attempts"][1]["output"], "attempt 2\n");
}
