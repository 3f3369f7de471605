//! Keys of a file that an earlier version made.

use ploy_webhooks::{Clock, EndpointId, EventId, Fence, Revision, SystemClock, WorkspaceId};
use rusqlite::{Connection, params};

use super::{DAY, Ground, append, keyed, taken_by};

/// A file as this store made it when each key had a row: 20 keys of an endpoint, 20 of one that
/// is deleted, and 20 of published events. The last half of each has expired.
fn file_of_version_3(ground: &Ground, endpoint: EndpointId) -> Vec<EventId> {
    let before = Connection::open(ground.folder.path().join("ploy.db")).expect("the file is made");
    for migration in [
        include_str!("../../migrations/0001_init.sql"),
        include_str!("../../migrations/0002_line.sql"),
        include_str!("../../migrations/0003_lanes.sql"),
        "PRAGMA application_id = 0x706c6f79; PRAGMA user_version = 3",
    ] {
        before.execute_batch(migration).expect("the old tables take it");
    }
    before
        .execute(
            "INSERT INTO endpoints (number, id, workspace, slug, revision, created_at, auth, config)
             VALUES (3, ?1, ?2, 'abcdefghijklmnopqrstuvwxyz', 1, 1, '{}', '{}')",
            params![endpoint.as_bytes(), WorkspaceId::DEFAULT.as_bytes()],
        )
        .expect("the old tables take it");
    let mut firsts = Vec::new();
    for number in [3, 9, 0] {
        for key in 0..20 {
            let dedup = keyed(key, DAY).dedup.expect("it has a key");
            let mut key_bytes = dedup.key.as_bytes().to_vec();
            if number == 0 {
                key_bytes.extend_from_slice(WorkspaceId::DEFAULT.as_bytes());
            }
            let now = ground.clock.now();
            let expires_at = if key < 10 { now.after(DAY) } else { now };
            let event = EventId::mint(SystemClock.now());
            before
                .execute(
                    "INSERT INTO dedup (endpoint, key, event, expires_at) VALUES (?1, ?2, ?3, ?4)",
                    params![number, key_bytes, event.as_bytes(), expires_at.as_millis()],
                )
                .expect("the old tables take it");
            firsts.push(event);
        }
    }
    firsts
}

#[tokio::test]
async fn keys_of_an_earlier_version_are_remembered_to_the_end_of_their_windows() {
    let ground = Ground::new();
    let endpoint = EndpointId::mint(SystemClock.now());
    let firsts = file_of_version_3(&ground, endpoint);
    let store = ground.open().await;
    let fence = Fence { endpoint, checked_at: Revision::FIRST };
    for key in 0..20 {
        let taken = append(&store, || taken_by(fence, keyed(key, DAY))).await;
        let published = append(&store, || keyed(key, DAY)).await;
        if key < 10 {
            assert_eq!(taken, Err(firsts[key as usize]));
            assert_eq!(published, Err(firsts[40 + key as usize]));
        } else {
            assert!(taken.is_ok() && published.is_ok(), "the window of key {key} was over");
        }
    }
    assert_eq!(ground.count("SELECT count(*) FROM sqlite_schema WHERE name LIKE 'dedup_b%'"), 0);
    ground.clock.advance(DAY);
    assert!(append(&store, || keyed(0, DAY)).await.is_ok(), "its window is over by now");
}
