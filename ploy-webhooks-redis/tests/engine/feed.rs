//! The feed, where it has been forgotten.

use ploy_webhooks::store::{FeedQuery, FeedStore};
use ploy_webhooks_engines::Redis;
use tokio::task::JoinSet;

use crate::scene::{append, endpoint_of, event, open, settings, workspace};

/// Who was away for long hears that something is missing, and is told the rest; what is kept of a
/// bucket is bounded.
#[tokio::test]
async fn what_is_forgotten_is_said_to_be_missing() {
    // Some more than are kept, and a node of the stream.
    const COUNT: usize = 4_096 + 512;
    let store = std::sync::Arc::new(open(&settings([Redis::shared().url()])).await);
    let workspace = workspace();
    let endpoint = endpoint_of(&store, workspace).await;
    let begin = store.end().await.expect("the store works");
    append(&store, event(&endpoint, "{}")).await.expect("it is stored");
    let query = FeedQuery::after(workspace, begin);
    let first = store.changes(&query).await.expect("the store works");
    assert!(!first.has_gap && first.items.len() == 1, "{first:?}");
    // One at a time, so that each is an entry; of several endpoints in other buckets nothing goes.
    let elsewhere = endpoint_of(&store, workspace).await;
    let mut appends = JoinSet::new();
    let (filling, of_endpoint) = (store.clone(), endpoint.clone());
    appends.spawn(async move {
        for _ in 0..COUNT {
            append(&filling, event(&of_endpoint, "{}")).await.expect("it is stored");
        }
    });
    append(&store, event(&elsewhere, "{}")).await.expect("it is stored");
    appends.join_all().await;

    let (mut told, mut gaps, mut query) = (0, 0, query);
    loop {
        let page = store.changes(&query).await.expect("the store works");
        told += page.items.len();
        gaps += usize::from(page.has_gap);
        query.after = page.next;
        if !page.has_more {
            break;
        }
    }
    assert!(gaps > 0, "nothing is said to be missing");
    assert!((4_096..COUNT + 2).contains(&told), "{told} events are told");
    let end = store.changes(&query).await.expect("the store works");
    assert!(!end.has_gap && end.items.is_empty(), "{end:?}");
}
