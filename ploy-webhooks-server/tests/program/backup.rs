//! A backup of a server that goes on, and what is there where it is put in place.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use reqwest::Method;
use serde_json::{Value, json};

use crate::engine::Engine;
use crate::harness::{ROOT_TOKEN, Server, answer, program};

const SECRET: &str = "a secret that only the sender knows";

const SETTINGS: [(&str, &str); 2] = [("PLOY_BACKUP_FOLDER", "backups"), ("PLOY_DISPATCH", "false")];

/// Has the sender show its secret, which the server can compare only where it opens it.
async fn signed(server: &Server, slug: &str, secret: &str) -> u16 {
    let request = server.http.post(format!("{}/api/v1/webhook/{slug}", server.url));
    let request = request.header("x-gitlab-token", secret).body("{}");
    answer(request.header("content-type", "application/json")).await.0.as_u16()
}

/// Sends from several connections until told to stop; what was accepted meanwhile.
async fn load(server: Arc<Server>, slug: String, key: String, stop: Arc<AtomicBool>) -> usize {
    let mut sent = 0;
    while !stop.load(Ordering::Relaxed) {
        let request = server.http.post(format!("{}/api/v1/webhook/{slug}", server.url));
        let request = request.header("content-type", "application/json").bearer_auth(&key);
        let (status, said) = answer(request.body(json!({"load": sent}).to_string())).await;
        assert_eq!(status, 202, "{said}");
        sent += 1;
    }
    sent
}

/// Puts the backup and the master key where a server finds them.
fn restore(backup: &Path, from: &Path, to: &Path) {
    let data = to.join("ploy-data");
    std::fs::create_dir(&data).unwrap();
    std::fs::copy(backup, data.join("ploy.db")).unwrap();
    std::fs::copy(from.join("ploy-data/master.key"), data.join("master.key")).unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn all_that_was_accepted_before_a_backup_is_in_it() {
    let (before, after) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let engine = Engine::start().await;
    let server = Arc::new(Server::in_folder(before.path(), &SETTINGS).await);
    server.done(Method::POST, "/ploybooks", Some(engine.ploybook("page"))).await;
    let auth = json!({"scheme": "gitlab", "secret": SECRET});
    let form = json!({"description": "GitLab", "auth": auth});
    let gitlab = server.done(Method::POST, "/endpoints", Some(form)).await;
    let gitlab = gitlab["slug"].as_str().unwrap().to_owned();
    let wired = json!({"description": "wired", "trigger": {"ploybook": "page"}});
    let wired = server.create(wired).await;
    let busy = server.create(json!({"description": "busy"})).await;
    let owing = server.accepted(&wired, &[r#"{"owes":"a run"}"#]).await.remove(0);

    let stop = Arc::new(AtomicBool::new(false));
    let senders: Vec<_> = (0..4)
        .map(|_| {
            let (slug, key) = (busy.slug.clone(), busy.key.clone());
            tokio::spawn(load(server.clone(), slug, key, stop.clone()))
        })
        .collect();
    let texts: Vec<_> = (0..200).map(|number| format!(r#"{{ "n" : {number}.0 }}"#)).collect();
    let payloads: Vec<_> = texts.iter().map(String::as_str).collect();
    let accepted = server.accepted(&busy, &payloads).await;
    let file = PathBuf::from(server.printed(&["backup"]).await.trim());
    stop.store(true, Ordering::Relaxed);
    for sender in senders {
        assert!(sender.await.unwrap() > 0, "nothing was sent meanwhile");
    }
    assert_eq!(file.parent(), Some(&*before.path().canonicalize().unwrap().join("backups")));
    let mode = std::fs::metadata(&file).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600, "it is for its user alone");
    let files = std::fs::read_dir(before.path().join("backups")).unwrap().count();
    assert_eq!(files, 1, "left: how many files there are, of which one is the backup");

    restore(&file, before.path(), after.path());
    let restored = Server::in_folder(after.path(), &[]).await;
    for (id, payload) in accepted.iter().zip(&payloads) {
        let path = format!("{}/api/v1/events/{id}/payload", restored.url);
        let kept = restored.http.get(path).bearer_auth(ROOT_TOKEN).send().await.unwrap();
        assert_eq!(kept.text().await.unwrap(), **payload);
    }
    assert_eq!(signed(&restored, &gitlab, SECRET).await, 202);
    assert_eq!(signed(&restored, &gitlab, "another").await, 401);
    let asked = engine.asked().await;
    assert_eq!(asked.body["data"]["event_id"], *owing);
    asked.answer("200 OK", "done").await;
    let runs = restored.ended(&owing, 1).await;
    assert_eq!(runs[0]["state"], "succeeded");
    restored.accepted(&busy, &[r#"{"after":"the restore"}"#]).await;
}

#[tokio::test]
async fn every_backup_is_a_file_of_its_own_and_says_how_large_it_is() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::in_folder(folder.path(), &SETTINGS).await;
    let mut names = Vec::new();
    for _ in 0..2 {
        let made: Value =
            serde_json::from_str(&server.printed(&["backup", "--json"]).await).unwrap();
        let file = made["file"].as_str().unwrap();
        assert_eq!(made["bytes"], std::fs::metadata(file).unwrap().len());
        names.push(file.to_owned());
    }
    assert!(names[0] < names[1], "{names:?}");
}

#[tokio::test]
async fn without_a_folder_none_is_made_and_where_it_cannot_be_it_is_said() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::in_folder(folder.path(), &[]).await;
    let said = server.refused(Method::POST, "/backup", None, 409).await;
    assert!(said.contains("`backup_folder`"), "{said}");
    server.terminate();
    assert_eq!(server.exit_code().await, Some(0));

    std::fs::write(folder.path().join("backups"), "a file").unwrap();
    let server = Server::in_folder(folder.path(), &SETTINGS).await;
    let said = server.refused(Method::POST, "/backup", None, 409).await;
    assert!(said.contains("backups"), "{said}");
    assert_eq!(server.shell(&["backup"]).await.status.code(), Some(1));
}

#[tokio::test]
async fn a_folder_for_backups_of_another_store_is_a_mistake() {
    let mut command = program(&["serve", "--listen", "127.0.0.1:0", "--store", "memory:"]);
    let output = command.env("PLOY_BACKUP_FOLDER", "backups").output().await.unwrap();
    assert_eq!(output.status.code(), Some(2));
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains("`backup_folder`"), "{said}");
}
