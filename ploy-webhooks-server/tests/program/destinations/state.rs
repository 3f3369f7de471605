//! How deliveries go, as whoever delivers puts it on record.

use ploy_webhooks::{Clock, SecretDigest, SystemClock, Timestamp, WorkspaceId};
use ploy_webhooks_delivery::{Confirmation, DestinationState, Disabled, Verified};
use reqwest::Method;
use serde_json::{Value, json};

use super::runs::{id_of, serving, store_of};
use super::{made, path_of, text};

#[tokio::test]
async fn a_disabled_destination_says_so_until_it_is_given_a_status() {
    let folder = tempfile::tempdir().unwrap();
    let server = serving(folder.path()).await;
    let url = json!({"url": "https://hooks.example/"});
    made(&server, url.clone()).await;
    let failing = made(&server, url.clone()).await;
    made(&server, url).await;
    let store = store_of(server, folder.path()).await;
    let (at, now) = (Timestamp::from_millis(1_700_000_000_000), SystemClock.now());
    let workspace = &WorkspaceId::DEFAULT;
    let changed = DestinationState::change(&store, workspace, id_of(&failing), |state| {
        (state.submissions, state.failing_since) = (7, Some(at));
        let url = SecretDigest::of("https://hooks.example/");
        state.verified = Some(Verified { at, url });
        state.disabled = Some(Disabled { at, reason: "it is gone".to_owned() });
        // One that has come to its end.
        let token = SecretDigest::of("hunter2");
        state.confirmation = Some(Confirmation { token, url, expires_at: now });
        Some(())
    });
    changed.await.unwrap();
    store.close().await;

    let server = serving(folder.path()).await;
    let path = path_of(&failing);
    let shown = server.done(Method::GET, &path, None).await;
    let time = "2023-11-14T22:13:20.000Z";
    let state = json!({
        "submissions": 7, "failing_since": time, "verified_at": time,
        "disabled": {"at": time, "reason": "it is gone"},
    });
    assert_eq!((&shown["status"], &shown["state"]), (&json!("disabled"), &state));
    let listed = server.done(Method::GET, "/destinations", None).await;
    let statuses = |list: &Value| -> Vec<String> {
        let data = list["data"].as_array().unwrap().iter();
        data.map(|one| text(one, "status").to_owned()).collect()
    };
    assert_eq!(statuses(&listed), ["active", "disabled", "active"]);
    assert_eq!(listed["data"][1], shown);
    let page = server.done(Method::GET, "/destinations?limit=1", None).await;
    let cursor = text(&page, "next_cursor");
    let page = server.done(Method::GET, &format!("/destinations?cursor={cursor}"), None).await;
    assert_eq!(statuses(&page), ["disabled", "active"]);

    let link = format!("{}/api/v1{path}/confirm?workspace={workspace}&token=hunter2", server.url);
    assert_eq!(server.http.get(link).send().await.unwrap().status(), 404);

    let change = Some(json!({"description": "x"}));
    let shown = server.done(Method::PATCH, &path, change).await;
    assert_eq!((&shown["status"], &shown["state"]), (&json!("disabled"), &state));
    let shown = server.done(Method::PATCH, &path, Some(json!({"status": "paused"}))).await;
    let state = json!({
        "submissions": 7, "failing_since": null, "verified_at": time, "disabled": null,
    });
    assert_eq!((&shown["status"], &shown["state"]), (&json!("paused"), &state));

    // What was on record of it goes with it.
    assert_eq!(server.call(Method::DELETE, &path, None).await.0, 204);
    let store = store_of(server, folder.path()).await;
    let (_, revision) = DestinationState::of(&store, workspace, id_of(&failing)).await.unwrap();
    assert_eq!(revision, None);
    store.close().await;
}
