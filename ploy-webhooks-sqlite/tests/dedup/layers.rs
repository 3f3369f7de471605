//! Keys in every layer, and how they leave it.

use std::time::Duration;

use ploy_webhooks::WorkspaceId;
use ploy_webhooks::store::EndpointStore;

use super::{DAY, Ground, NEWEST, append, endpoint, keyed, taken_by};

const SEGMENTS: &str = "SELECT count(*) FROM dedup_segments";
const KEYS: &str = "SELECT coalesce(sum(keys), 0) FROM dedup_segments";
const PAGES: &str = "SELECT count(*) FROM dedup_pages";
const LOG_ROWS: &str = "SELECT count(*) FROM dedup_log";
/// Pages of segments that are not there.
const LITTER: &str = "SELECT count(*) FROM dedup_pages
                      WHERE id >> 32 NOT IN (SELECT number FROM dedup_segments)";

/// Appends so many with new keys, and waits until as many of them as can be are in segments. Each
/// has a commit of its own, and so a row of the log.
async fn remember(
    ground: &Ground,
    store: &ploy_webhooks_sqlite::SqliteStore,
    keys: std::ops::Range<u32>,
    window: Duration,
) -> Vec<ploy_webhooks::EventId> {
    let mut firsts = Vec::new();
    for key in keys {
        firsts.push(append(store, || keyed(key, window)).await.expect("the key is new"));
        ground.until(LOG_ROWS, |rows| rows < NEWEST as i64).await;
    }
    firsts
}

#[tokio::test]
async fn a_key_is_found_in_every_layer_also_after_a_restart() {
    let ground = Ground::new();
    let store = ground.open().await;
    let keys = 8 * NEWEST as u32 + 2 * NEWEST as u32 + 3;
    let firsts = remember(&ground, &store, 0..keys, DAY).await;
    ground.until(SEGMENTS, |segments| segments == 3).await;
    assert_eq!(ground.count("SELECT max(keys) FROM dedup_segments"), 8 * NEWEST as i64);
    assert_eq!(ground.count("SELECT min(keys) FROM dedup_segments"), NEWEST as i64);
    assert_eq!(ground.count(LOG_ROWS), 3);

    let mut store = store;
    for _ in 0..2 {
        for (key, first) in (0..keys).zip(&firsts) {
            let repeated = append(&store, || keyed(key, DAY)).await;
            assert_eq!(repeated, Err(*first), "left: what became of a repeat of key {key}");
        }
        append(&store, || keyed(keys, Duration::ZERO)).await.expect("the key is new");
        store = ground.reopen(store).await;
    }
}

#[tokio::test]
async fn each_window_ends_to_the_millisecond_whatever_it_is_filed_with() {
    let ground = Ground::new();
    let store = ground.open().await;
    let window = |key: u32| match key % 4 {
        0 => Duration::from_secs(1),
        1 => Duration::from_secs(60),
        2 => 2 * DAY,
        _ => 30 * DAY,
    };
    let keys = 9 * NEWEST as u32;
    let mut firsts = Vec::new();
    for key in 0..keys {
        firsts.push(append(&store, || keyed(key, window(key))).await.expect("the key is new"));
    }
    ground.until(LOG_ROWS, |rows| rows < NEWEST as i64).await;
    let mut passed = Duration::ZERO;
    for end in [0, 1, 2, 3].map(window) {
        let shortly_before = end - Duration::from_millis(1) - passed;
        ground.clock.advance(shortly_before);
        for key in (0..keys).filter(|key| window(*key) == end) {
            let first = Err(firsts[key as usize]);
            assert_eq!(append(&store, || keyed(key, 60 * DAY)).await, first, "key {key}, before");
        }
        ground.clock.advance(Duration::from_millis(1));
        passed = end;
        for key in (0..keys).filter(|key| window(*key) == end) {
            let again = append(&store, || keyed(key, 60 * DAY)).await;
            let again = again.unwrap_or_else(|_| panic!("the window of key {key} is over"));
            assert_eq!(append(&store, || keyed(key, DAY)).await, Err(again), "key {key}, after");
        }
    }
}

#[tokio::test]
async fn what_has_expired_takes_up_no_space() {
    let ground = Ground::new();
    let store = ground.open().await;
    remember(&ground, &store, 0..9 * NEWEST as u32, DAY).await;
    assert!(ground.count(PAGES) > 0);
    ground.clock.advance(DAY);
    // The keeper looks when there are keys to file. These have expired when it does.
    remember(&ground, &store, 1_000..1_000 + NEWEST as u32, Duration::ZERO).await;
    ground.until(SEGMENTS, |segments| segments == 0).await;
    ground.until(PAGES, |pages| pages == 0).await;
}

#[tokio::test]
async fn a_segment_of_which_half_has_expired_is_written_anew() {
    let ground = Ground::new();
    let store = ground.open().await;
    let mut firsts = Vec::new();
    for key in 0..NEWEST as u32 {
        let window = if key % 4 == 3 { 30 * DAY } else { DAY };
        firsts.push(append(&store, || keyed(key, window)).await.expect("the key is new"));
    }
    ground.until(KEYS, |keys| keys == NEWEST as i64).await;
    ground.clock.advance(DAY);
    let store = ground.reopen(store).await;
    ground.until(KEYS, |keys| keys == NEWEST as i64 / 4).await;
    for key in (0..NEWEST as u32).filter(|key| key % 4 == 3) {
        assert_eq!(append(&store, || keyed(key, DAY)).await, Err(firsts[key as usize]));
    }
}

#[tokio::test]
async fn what_was_begun_and_not_ended_is_cleared_away_and_harms_nothing() {
    let ground = Ground::new();
    let store = ground.open().await;
    let keys = 9 * NEWEST as u32 + 3;
    let firsts = remember(&ground, &store, 0..keys, DAY).await;
    store.close().await;
    // As after a crash: pages of a segment without its row, and of one that has been merged; and
    // keys that are in the log as well as in a segment.
    ground
        .connection()
        .execute_batch(
            "INSERT INTO dedup_pages (id, bytes)
                 SELECT (1000 << 32) + (id >> 32) * 65536 + (id & 0xfff) + (id >> 31 & 1) * 4096, bytes
                 FROM dedup_pages;
             INSERT INTO dedup_pages (id, bytes) VALUES (1 << 16, x'00');
             INSERT INTO dedup_log (seq, keys)
                 SELECT -id, bytes FROM dedup_pages
                 WHERE id & 0x80000000 = 0 AND id >> 32 IN (SELECT number FROM dedup_segments)",
        )
        .expect("the tables take it");
    assert!(ground.count(LITTER) > 0);
    let store = ground.open().await;
    ground.until(LITTER, |pages| pages == 0).await;
    for (key, first) in (0..keys).zip(&firsts) {
        assert_eq!(append(&store, || keyed(key, DAY)).await, Err(*first), "key {key}");
    }
    // What comes next does not get in the way of what was there.
    remember(&ground, &store, keys..20 * NEWEST as u32, DAY).await;
    for (key, first) in (0..keys).zip(&firsts) {
        assert_eq!(append(&store, || keyed(key, DAY)).await, Err(*first), "key {key}");
    }
}

#[tokio::test]
async fn without_filters_keys_are_found_all_the_same() {
    let ground = Ground::new();
    let mut settings = super::settings(ground.folder.path());
    settings.dedup_filter_bytes_max = 0;
    let open = ploy_webhooks_sqlite::SqliteStore::open_with_clock(settings, ground.clock.clone());
    let store = open.await.expect("the store opens");
    let keys = 9 * NEWEST as u32;
    let firsts = remember(&ground, &store, 0..keys, DAY).await;
    for (key, first) in (0..keys).zip(&firsts) {
        assert_eq!(append(&store, || keyed(key, DAY)).await, Err(*first), "key {key}");
    }
}

#[tokio::test]
async fn a_deleted_endpoints_keys_are_nobodys() {
    let ground = Ground::new();
    let store = ground.open().await;
    let deleted = endpoint(&store).await;
    for key in 0..2 * NEWEST as u32 {
        let event = || taken_by(deleted, keyed(key, DAY));
        append(&store, event).await.expect("the key is new");
    }
    assert!(store.delete(&WorkspaceId::DEFAULT, &deleted.endpoint).await.expect("it is deleted"));
    let other = endpoint(&store).await;
    for key in 0..2 * NEWEST as u32 {
        let event = || taken_by(other, keyed(key, DAY));
        append(&store, event).await.expect("the key is new to this endpoint");
    }
}
