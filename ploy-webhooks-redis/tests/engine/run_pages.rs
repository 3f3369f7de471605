//! Lists of runs over several owners and buckets, while there come more, and when they are large.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::scene::{PATIENCE, append, claim, endpoint_of, event, open, run, settings};
use ploy_webhooks::store::{PageSize, RunQuery, RunQueue, RunStore, Tenure};
use ploy_webhooks::{NewEvent, Outcome, RunId, RunState, WorkspaceId};
use ploy_webhooks_engines::{Redis, RedisCluster};
use ploy_webhooks_redis::{RedisSettings, RedisStore};

/// What a query finds, page by page.
async fn pages(store: &RedisStore, query: RunQuery) -> Vec<Vec<RunId>> {
    let mut pages = Vec::new();
    let mut next = Some(query);
    while let Some(query) = next {
        let page = store.list_runs(&query).await.expect("listing works");
        assert!(page.items.len() <= query.limit.get());
        assert!(page.items.iter().all(|run| query.state.is_none_or(|state| state == run.state)));
        pages.push(page.items.iter().map(|run| run.id).collect());
        next = page.next;
    }
    pages
}

fn query(workspace: WorkspaceId, state: Option<RunState>, limit: u16) -> RunQuery {
    let mut query = RunQuery::all(workspace);
    query.state = state;
    query.limit = PageSize::new(limit).expect("a page size");
    query
}

async fn lists_are_whole_while_runs_are_added(settings: &RedisSettings) {
    let store = Arc::new(open(settings).await);
    let workspace = crate::scene::workspace();
    let mut endpoints = Vec::new();
    for _ in 0..20 {
        endpoints.push(endpoint_of(&store, workspace).await);
    }
    let mut before = BTreeSet::new();
    for number in 0_usize..100 {
        let mut owes = vec![run(), run(), run()];
        owes[1].delay = PATIENCE * 60;
        before.extend(owes.iter().map(|run| run.id));
        let event = NewEvent { owes, ..event(&endpoints[number * number % 20], "{}") };
        append(&store, event).await.expect("it is stored");
    }
    let is_over = Arc::new(AtomicBool::new(false));
    let adding = tokio::spawn({
        let (store, is_over, endpoints) = (store.clone(), is_over.clone(), endpoints.clone());
        async move {
            let mut number = 0;
            while !is_over.load(Ordering::Acquire) {
                number += 1;
                let event = NewEvent { owes: vec![run()], ..event(&endpoints[number % 20], "{}") };
                append(&store, event).await.expect("it is stored");
                // They change their lists meanwhile, too.
                for leased in claim(&store, 1, PATIENCE).await {
                    let end = store.finish(&leased.lease, Outcome::Fail { error: String::new() });
                    assert_eq!(end.await.expect("ending works"), Tenure::Held);
                }
            }
        }
    });
    for limit in [7, 50, 200] {
        let found = pages(&store, query(workspace, None, limit)).await.concat();
        assert!(found.windows(2).all(|pair| pair[0] > pair[1]), "sorted, and each once");
        let found: BTreeSet<_> = found.into_iter().collect();
        let missing = before.difference(&found).count();
        assert_eq!(missing, 0, "left: how many were there throughout and are not listed");
    }
    is_over.store(true, Ordering::Release);
    adding.await.expect("adding works");

    let all = pages(&store, query(workspace, None, 200)).await.concat();
    let mut by_state = Vec::new();
    for state in RunState::ALL {
        by_state.extend(pages(&store, query(workspace, Some(state), 30)).await.concat());
    }
    by_state.sort_unstable_by(|a, b| b.cmp(a));
    assert_eq!(by_state, all, "left: the runs of all states; right: all runs");
    let elsewhere = query(crate::scene::workspace(), None, 50);
    assert_eq!(pages(&store, elsewhere).await.concat(), []);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn lists_are_whole_while_runs_are_added_on_a_server() {
    lists_are_whole_while_runs_are_added(&settings([Redis::shared().url()])).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn lists_are_whole_while_runs_are_added_on_a_cluster() {
    let cluster = tokio::task::block_in_place(|| RedisCluster::start(3, 0));
    lists_are_whole_while_runs_are_added(&settings(cluster.urls())).await;
}

/// A page ends where its runs have said enough, and the next goes on there.
#[tokio::test]
async fn a_page_is_bounded_by_what_its_runs_have_said() {
    const OUTPUT: usize = 1 << 20;
    let store = open(&settings([Redis::shared().url()])).await;
    let endpoint = endpoint_of(&store, crate::scene::workspace()).await;
    let owes: Vec<_> = (0..10).map(|_| run()).collect();
    append(&store, NewEvent { owes, ..event(&endpoint, "{}") }).await.unwrap();
    for leased in claim(&store, 10, PATIENCE).await {
        let output = vec![b'x'; OUTPUT].into();
        let end = store.finish(&leased.lease, Outcome::Succeed { output }).await;
        assert_eq!(end.unwrap(), Tenure::Held);
    }
    let pages = pages(&store, query(endpoint.workspace, None, 50)).await;
    assert_eq!(pages.concat().len(), 10);
    assert!(pages.iter().all(|page| page.len() * OUTPUT <= 4 << 20), "{pages:?}");
    assert!(pages.len() <= 5, "{} pages", pages.len());
}
