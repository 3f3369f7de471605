//! A server that is killed.

use ploy_webhooks_engines::Postgres;

use super::load::Load;
use crate::scene::{connect, make_endpoint, open, settings, toggle};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_acknowledged_outlives_kills_of_the_server_under_load() {
    let postgres = Postgres::start();
    let url = postgres.database();
    let store = open(settings(&url)).await;
    let load = Load::begin(&store);
    for _ in 0..2 {
        load.await_stored(500).await;
        postgres.kill();
        load.await_errors(100).await;
        postgres.restart();
    }
    load.await_stored(500).await;
    load.end(&mut connect(&url).await).await;
    // The rest of the node goes on, too.
    let endpoint = make_endpoint(&store).await;
    toggle(&store, &endpoint).await.expect("the endpoint is changed");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_orderly_restart_of_the_server_under_load_loses_nothing() {
    let postgres = Postgres::start();
    let url = postgres.database();
    let store = open(settings(&url)).await;
    let load = Load::begin(&store);
    load.await_stored(500).await;
    postgres.stop();
    load.await_errors(100).await;
    postgres.restart();
    load.await_stored(500).await;
    load.end(&mut connect(&url).await).await;
}
