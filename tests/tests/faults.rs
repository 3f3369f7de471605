//! A backend that takes nothing: 503, nothing stored, and on again when the cause has gone.

use ploy_webhooks_tests::{Server, Store};
use rusqlite::Connection;
use serde_json::json;
use tempfile::TempDir;

const PROGRAM: &str = env!("CARGO_BIN_EXE_ploy-webhooks-under-test");

#[test]
fn a_locked_database_is_503_until_it_is_free() {
    let folder = TempDir::new().expect("a folder is made");
    let server = Server::start(PROGRAM, Store::Sqlite(folder.path()), &[]);
    let endpoint = server.endpoint(&json!({}));
    let other = Connection::open(folder.path().join("ploy.db")).expect("the file opens");
    other.execute_batch("BEGIN IMMEDIATE").expect("the lock is free");

    let mut connection = server.connect();
    let answer = connection.send(&endpoint.event(r#"{"n":1}"#)).expect("an answer");
    assert_eq!(answer.status, 503, "{}", answer.json());
    assert_eq!(answer.string("code"), "unavailable");
    let seconds = answer.header("retry-after").expect("Retry-After");
    assert!(seconds.parse::<u64>().expect("whole seconds") >= 1);
    assert_eq!(server.events(&endpoint), [], "what was refused is not there");

    other.execute_batch("COMMIT").expect("the lock is given back");
    let answer = connection.send(&endpoint.event(r#"{"n":2}"#)).expect("an answer");
    assert_eq!(answer.status, 202, "it goes on without a restart");
    assert_eq!(server.events(&endpoint), [(answer.string("id"), br#"{"n":2}"#.to_vec())]);
}

/// Not the disk's own limit but the process's: a write past it fails as one to a full disk does.
#[test]
fn a_file_that_cannot_grow_is_503_and_loses_nothing() {
    let folder = TempDir::new().expect("a folder is made");
    let limited = folder.path().join("limited");
    std::fs::write(&limited, format!("trap '' XFSZ\nulimit -f 8192\nexec {PROGRAM} \"$@\"\n"))
        .expect("a script is written");
    let server = Server::start_script(&limited, Store::Sqlite(folder.path()), &[]);
    let endpoint = server.endpoint(&json!({}));
    let mut connection = server.connect();
    let mut kept = Vec::new();
    let refused = loop {
        let payload = format!(r#"{{"n":{},"pad":"{}"}}"#, kept.len(), "x".repeat(500_000));
        let answer = connection.send(&endpoint.event(payload.as_str())).expect("an answer");
        match answer.status {
            202 => kept.push((answer.string("id"), payload.into_bytes())),
            _ => break answer,
        }
        assert!(kept.len() < 100, "8 MiB hold no 50 MB");
    };
    assert_eq!(refused.status, 503, "{}", refused.json());
    assert!(kept.len() > 3);

    // Without the limit, all that was acknowledged is there.
    server.kill();
    let server = Server::start(PROGRAM, Store::Sqlite(folder.path()), &[]);
    let found = server.events(&endpoint);
    for event in &kept {
        assert!(found.contains(event), "{} is lost", event.0);
    }
    let answer = server.connect().send(&endpoint.event("{}")).expect("an answer");
    assert_eq!(answer.status, 202);
}
