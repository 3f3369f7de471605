//! A server that stands still: connections stay open, and nothing is answered.

use std::time::Duration;

use ploy_webhooks::store::{EventStore, KeyStore, StoreErrorKind};
use ploy_webhooks_engines::Postgres;
use ploy_webhooks_postgres::PostgresSettings;

use super::load::Load;
use crate::scene::{
    connect, everything, make_endpoint, open, published, settings, soon, store_one, toggle, until,
};

/// A store that does not wait long; for a connection a little longer, which takes its time on a
/// busy machine.
fn impatient(url: &str) -> PostgresSettings {
    let mut settings = settings(url);
    settings.connect_timeout = Duration::from_secs(3);
    settings.append_timeout = Duration::from_secs(1);
    settings.call_timeout = Duration::from_secs(1);
    settings
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_frozen_server_is_given_up_and_taken_up_again() {
    let postgres = Postgres::start();
    let url = postgres.database();
    let store = open(impatient(&url)).await;
    let endpoint = make_endpoint(&store).await;
    let load = Load::begin(&store);
    load.await_stored(500).await;
    postgres.freeze();
    load.await_errors(50).await;
    let query = everything();
    let (search, change) = tokio::join!(
        soon("a search is given up", store.search(&query)),
        toggle(&store, &endpoint),
    );
    let error = search.expect_err("nothing is answered");
    assert_eq!(error.kind(), StoreErrorKind::Unavailable, "{error}");
    // Whether it was done nobody knows, or it was not begun.
    let error = change.expect_err("nothing is answered");
    let kinds = [StoreErrorKind::Indeterminate, StoreErrorKind::Unavailable];
    assert!(kinds.contains(&error.kind()), "{error}");
    postgres.thaw();
    load.await_stored(500).await;
    load.end(&mut connect(&url).await).await;
    let looked_up = async || store.endpoint(&endpoint.slug).await.is_ok();
    until("look-ups go on", looked_up).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_store_closes_though_its_server_is_frozen() {
    let postgres = Postgres::start();
    let store = open(impatient(&postgres.database())).await;
    make_endpoint(&store).await;
    store_one(&store, published("{}")).await;
    postgres.freeze();
    // Several connections have something under way.
    let query = everything();
    let searches = (0..4).map(|_| store.search(&query));
    let searches = soon("searches are given up", futures_util::future::join_all(searches)).await;
    assert!(searches.iter().all(Result::is_err));
    soon("the store closes", store.close()).await;
}
