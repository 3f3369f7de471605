//! The master key: made once, asked for ever after, replaced with its predecessor beside it.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use ploy_webhooks_engines::Postgres;
use serde_json::json;
use tokio::process::Command;

use super::Sender;
use crate::harness::{ROOT_TOKEN, Server, program};

const FIRST: &str = "AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE=";
const SECOND: &str = "AgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgI=";

type Environment<'a> = &'a [(&'a str, &'a str)];

fn serve(folder: &Path, environment: Environment<'_>) -> Command {
    let mut command = program(&["serve", "--listen", "127.0.0.1:0"]);
    command.current_dir(folder).env("PLOY_ROOT_TOKEN", ROOT_TOKEN);
    command.envs(environment.iter().copied());
    command
}

/// What a server says that does not start.
async fn refused(folder: &Path, environment: Environment<'_>) -> String {
    refused_with(1, folder, environment).await
}

async fn refused_with(code: i32, folder: &Path, environment: Environment<'_>) -> String {
    let output = serve(folder, environment).output().await.unwrap();
    let message = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(code), "{message}");
    assert_eq!(output.stdout.len(), 0, "{message}");
    for key in [FIRST, SECOND] {
        assert!(!message.contains(key), "{message}");
    }
    message
}

async fn stop(server: Server) {
    server.terminate();
    assert_eq!(server.exit_code().await, Some(0));
}

/// A store with a secret in it.
async fn begun(folder: &Path, environment: Environment<'_>) -> Sender {
    let server = Server::in_folder(folder, environment).await;
    let sender = Sender::on(&server, "stripe", json!({})).await;
    stop(server).await;
    sender
}

/// That this start works, and the secret in the store too.
async fn assert_opens(folder: &Path, environment: Environment<'_>, sender: &Sender) {
    let server = Server::in_folder(folder, environment).await;
    let sender = Sender { url: String::new(), ..sender.clone() };
    assert_eq!(sender.send(&server, "{}").await.0, 202);
    stop(server).await;
}

#[tokio::test]
async fn the_first_start_makes_a_file_for_its_user_alone() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("ploy-data");
    let sender = begun(folder.path(), &[]).await;
    let path = data.join("master.key");
    let key = std::fs::read_to_string(&path).unwrap();
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    assert!(key.len() == 45 && key.ends_with("=\n"), "a line of base64");
    let mut names: Vec<_> = std::fs::read_dir(&data).unwrap().collect();
    names.retain(|entry| {
        entry.as_ref().unwrap().file_name().to_string_lossy().starts_with("master")
    });
    assert_eq!(names.len(), 1, "no draft is left: {names:?}");
    assert_opens(folder.path(), &[], &sender).await;
    assert_eq!(std::fs::read_to_string(&path).unwrap(), key);
    // In the environment it is the same key.
    std::fs::remove_file(&path).unwrap();
    assert_opens(folder.path(), &[("PLOY_MASTER_KEY", key.trim())], &sender).await;
    assert!(!path.exists(), "who gives the key keeps it");
}

#[tokio::test]
async fn a_file_that_others_may_read_is_warned_of() {
    let folder = tempfile::tempdir().unwrap();
    let sender = begun(folder.path(), &[]).await;
    let path = folder.path().join("ploy-data/master.key");
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o640)).unwrap();
    let mut server = Server::in_folder(folder.path(), &[]).await;
    let warning = server.log_line("chmod 600").await;
    assert!(warning.contains("WARN") && warning.contains("master.key"), "{warning}");
    let sender = Sender { url: String::new(), ..sender };
    assert_eq!(sender.send(&server, "{}").await.0, 202);
}

#[tokio::test]
async fn a_store_whose_key_is_gone_or_another_is_not_opened_and_not_changed() {
    let folder = tempfile::tempdir().unwrap();
    let sender = begun(folder.path(), &[]).await;
    let path = folder.path().join("ploy-data/master.key");
    let why = refused(folder.path(), &[("PLOY_MASTER_KEY", SECOND)]).await;
    assert!(why.contains("another master key"), "{why}");
    assert_opens(folder.path(), &[], &sender).await;

    let aside = folder.path().join("aside.key");
    std::fs::rename(&path, &aside).unwrap();
    let why = refused(folder.path(), &[]).await;
    let named = ["master.key", "missing", "PLOY_MASTER_KEY"];
    assert!(named.iter().all(|word| why.contains(word)), "{why}");
    assert!(!path.exists(), "no other key is made");
    let aside_text = aside.to_str().unwrap();
    assert_opens(folder.path(), &[("PLOY_MASTER_KEY_FILE", aside_text)], &sender).await;

    std::fs::write(&path, SECOND).unwrap();
    let why = refused(folder.path(), &[]).await;
    assert!(why.contains("another master key"), "{why}");
    std::fs::rename(&aside, &path).unwrap();
    assert_opens(folder.path(), &[], &sender).await;
}

/// What `check` says of the store as it is: its exit code, and its words.
async fn checked(folder: &Path, environment: Environment<'_>) -> (Option<i32>, String) {
    let mut command = program(&["check"]);
    let output =
        command.current_dir(folder).envs(environment.iter().copied()).output().await.unwrap();
    (output.status.code(), String::from_utf8(output.stderr).unwrap())
}

#[tokio::test]
async fn a_check_finds_what_a_start_would() {
    let folder = tempfile::tempdir().unwrap();
    begun(folder.path(), &[]).await;
    let path = folder.path().join("ploy-data/master.key");
    assert_eq!(checked(folder.path(), &[]).await, (Some(0), String::new()));
    let (code, why) = checked(folder.path(), &[("PLOY_MASTER_KEY", SECOND)]).await;
    assert!(code == Some(1) && why.contains("another master key"), "{why}");
    let key = std::fs::read_to_string(&path).unwrap();
    std::fs::remove_file(&path).unwrap();
    let (code, why) = checked(folder.path(), &[]).await;
    assert!(code == Some(1) && why.contains("master.key") && why.contains("missing"), "{why}");
    // A key that is being replaced opens it, and the check replaces nothing.
    let both = [("PLOY_MASTER_KEY", SECOND), ("PLOY_MASTER_KEY_PREVIOUS", key.trim())];
    assert_eq!(checked(folder.path(), &both).await.0, Some(0));
    assert_eq!(checked(folder.path(), &[("PLOY_MASTER_KEY", key.trim())]).await.0, Some(0));
}

#[tokio::test]
async fn a_check_finds_it_on_postgres_too() {
    let folder = tempfile::tempdir().unwrap();
    let url = tokio::task::spawn_blocking(|| Postgres::shared().database()).await.unwrap();
    let on = |key| [("PLOY_STORE", url.as_str()), ("PLOY_MASTER_KEY", key)];
    stop(Server::start(serve(folder.path(), &on(FIRST))).await).await;
    assert_eq!(checked(folder.path(), &on(FIRST)).await, (Some(0), String::new()));
    let (code, why) = checked(folder.path(), &on(SECOND)).await;
    assert!(code == Some(1) && why.contains("another master key"), "{why}");
}

#[tokio::test]
async fn a_key_is_replaced_with_its_predecessor_beside_it() {
    let folder = tempfile::tempdir().unwrap();
    let first = [("PLOY_MASTER_KEY", FIRST)];
    let sender = begun(folder.path(), &first).await;
    assert!(!folder.path().join("ploy-data/master.key").exists());
    let why = refused(folder.path(), &[("PLOY_MASTER_KEY", SECOND)]).await;
    assert!(why.contains("previous"), "{why}");
    let unrelated = [
        ("PLOY_MASTER_KEY", SECOND),
        ("PLOY_MASTER_KEY_PREVIOUS", "AwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwM="),
    ];
    refused(folder.path(), &unrelated).await;
    assert_opens(folder.path(), &first, &sender).await;

    let both = [("PLOY_MASTER_KEY", SECOND), ("PLOY_MASTER_KEY_PREVIOUS", FIRST)];
    assert_opens(folder.path(), &both, &sender).await;
    assert_opens(folder.path(), &both, &sender).await;
    assert_opens(folder.path(), &[("PLOY_MASTER_KEY", SECOND)], &sender).await;
    let why = refused(folder.path(), &first).await;
    assert!(why.contains("another master key"), "{why}");
}

#[tokio::test]
async fn what_is_no_key_is_refused_by_its_name_and_not_repeated() {
    let folder = tempfile::tempdir().unwrap();
    refused_with(2, folder.path(), &[("PLOY_MASTER_KEY", "hunter2")]).await;
    assert!(!folder.path().join("ploy-data").exists(), "no store is made before");
    let sender = begun(folder.path(), &[]).await;
    for key in ["", "hunter2", "aHVudGVyMg==", &FIRST[1..], &format!("{FIRST}{FIRST}")] {
        for name in ["PLOY_MASTER_KEY", "PLOY_MASTER_KEY_PREVIOUS"] {
            let why = refused_with(2, folder.path(), &[(name, key)]).await;
            assert!(why.contains(&format!("`{name}`")) && why.contains("openssl rand"), "{why}");
            assert!(key.is_empty() || !why.contains(key), "{why}");
        }
    }
    let path = folder.path().join("ploy-data/master.key");
    let kept = std::fs::read(&path).unwrap();
    for key in ["", "hunter2"] {
        std::fs::write(&path, key).unwrap();
        let why = refused(folder.path(), &[]).await;
        assert!(why.contains("master.key") && !why.contains("hunter2"), "{why}");
    }
    std::fs::write(&path, kept).unwrap();
    assert_opens(folder.path(), &[], &sender).await;
}

#[tokio::test]
async fn servers_that_start_at_once_beside_each_other_agree_on_one_key() {
    let folder = tempfile::tempdir().unwrap();
    let stores: Vec<_> = (0..6).map(|number| format!("sqlite:data/{number}.db")).collect();
    let mut starts = Vec::new();
    for store in &stores {
        let command = serve(folder.path(), &[("PLOY_STORE", store)]);
        starts.push(tokio::spawn(Server::start(command)));
    }
    for start in starts {
        stop(start.await.unwrap()).await;
    }
    for store in &stores {
        stop(Server::start(serve(folder.path(), &[("PLOY_STORE", store)])).await).await;
    }
}

#[tokio::test]
async fn what_is_in_memory_needs_no_key() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(serve(folder.path(), &[("PLOY_STORE", "memory:")])).await;
    let sender = Sender::on(&server, "stripe", json!({})).await;
    assert_eq!(sender.send(&server, "{}").await.0, 202);
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
}
