//! Connections that are not to be had, and those that are ended by the server.

use std::sync::Arc;
use std::time::Duration;

use ploy_webhooks::store::{EventStore, KeyStore, StoreErrorKind};
use ploy_webhooks_engines::Postgres;
use ploy_webhooks_postgres::{PostgresSettings, PostgresStore};
use sqlx::{Connection, PgConnection};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::load::Load;
use crate::scene::{
    Database, WORKSPACE, append, connect, make_endpoint, open, published, run, settings, soon,
    store_one, until,
};

const END_ALL: &str = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity
    WHERE datname = current_database() AND application_name = 'ploy-webhooks'";

/// Takes every connection that is free, until it is told to give them all back.
struct Crowd {
    is_full: watch::Receiver<bool>,
    over: watch::Sender<bool>,
    task: JoinHandle<()>,
}

impl Crowd {
    fn gather(url: String) -> Self {
        let (full, is_full) = watch::channel(false);
        let over = watch::Sender::new(false);
        let mut until_over = over.subscribe();
        let task = tokio::spawn(async move {
            let mut crowd = Vec::new();
            while !*until_over.borrow() {
                match PgConnection::connect(&url).await {
                    Ok(connection) => crowd.push(connection),
                    Err(_) => {
                        full.send_replace(true);
                        let a_moment = Duration::from_millis(5);
                        let _ = tokio::time::timeout(a_moment, until_over.changed()).await;
                    }
                }
            }
        });
        Self { is_full, over, task }
    }

    async fn await_full(&mut self) {
        drop(soon("connections run out", self.is_full.wait_for(|full| *full)).await);
    }

    async fn leave(self) {
        self.over.send_replace(true);
        soon("the crowd leaves", self.task).await.expect("it leaves");
    }
}

fn impatient(url: &str) -> PostgresSettings {
    let mut settings = settings(url);
    settings.connect_timeout = Duration::from_secs(2);
    settings
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_store_without_a_connection_to_be_had_does_not_open_and_says_why() {
    let postgres = Postgres::start_with(&[("max_connections", "12")]);
    let url = postgres.database();
    let mut crowd = Crowd::gather(url.clone());
    crowd.await_full().await;
    let opened = soon("opening is given up", PostgresStore::open(impatient(&url))).await;
    let error = opened.expect_err("there is no connection left");
    assert_eq!(error.kind(), StoreErrorKind::Unavailable, "{error}");
    assert!(error.to_string().contains("too many clients"), "{error}");
    crowd.leave().await;
    let settings = impatient(&url);
    until("the store opens", async || PostgresStore::open(settings.clone()).await.is_ok()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_store_that_lost_all_connections_and_gets_none_goes_on_when_it_does() {
    let postgres = Postgres::start_with(&[("max_connections", "20")]);
    let url = postgres.database();
    let store = open(impatient(&url)).await;
    let endpoint = make_endpoint(&store).await;
    let mut sql = connect(&url).await;
    let before = store_one(&store, published("{}")).await;
    let mut crowd = Crowd::gather(url.clone());
    crowd.await_full().await;
    run(&mut sql, END_ALL).await;

    let mut refused = Vec::new();
    until("appends are refused for want of a connection", async || {
        let event = published("{}");
        let id = event.id;
        match append(&store, event).await {
            // It may be sent over a connection whose end is not known yet.
            Err(error) if error.kind() == StoreErrorKind::Indeterminate => false,
            Err(error) => {
                assert_eq!(error.kind(), StoreErrorKind::Unavailable, "{error}");
                refused.push(id);
                refused.len() >= 4
            }
            // There was one connection that the crowd was too slow for.
            Ok(_) => {
                run(&mut sql, END_ALL).await;
                false
            }
        }
    })
    .await;
    until("look-ups are refused for want of a connection", async || {
        match store.endpoint(&endpoint.slug).await {
            Err(error) => {
                assert_eq!(error.kind(), StoreErrorKind::Unavailable, "{error}");
                true
            }
            Ok(_) => {
                run(&mut sql, END_ALL).await;
                false
            }
        }
    })
    .await;

    crowd.leave().await;
    until("appends go on", async || append(&store, published("{}")).await.is_ok()).await;
    assert!(store.event(&WORKSPACE, &before).await.expect("a look-up").is_some());
    for id in refused {
        assert!(store.event(&WORKSPACE, &id).await.expect("a look-up").is_none(), "{id}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connections_that_an_operator_ends_under_load_are_made_again() {
    let database = Database::new().await;
    let store = database.node().await;
    let mut sql = database.sql().await;
    let load = Load::begin(&store);
    for _ in 0..10 {
        load.await_stored(100).await;
        run(&mut sql, END_ALL).await;
    }
    load.await_stored(100).await;
    load.end(&mut sql).await;
}

/// As operators set it, to be rid of what was forgotten.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_ends_idle_sessions_fails_no_append() {
    let database = Database::new().await;
    let mut sql = database.sql().await;
    let set = "DO $$ BEGIN EXECUTE format(
        'ALTER DATABASE %I SET idle_session_timeout = 100', current_database()); END $$";
    run(&mut sql, set).await;
    let store: Arc<PostgresStore> = database.node().await;
    for _ in 0..3 {
        // Idle since the store is, and ended by the server.
        let mut idle = database.sql().await;
        until("an idle session is ended", async || {
            let pid: i32 = sqlx::query_scalar("SELECT pg_backend_pid()")
                .fetch_one(&mut idle)
                .await
                .expect("it is not idle");
            let ended = soon("its end", tokio::time::sleep(Duration::from_millis(150)));
            ended.await;
            let there: i64 =
                sqlx::query_scalar("SELECT count(*) FROM pg_stat_activity WHERE pid = $1")
                    .bind(pid)
                    .fetch_one(&mut database.sql().await)
                    .await
                    .expect("the sessions can be read");
            there == 0
        })
        .await;
        store_one(&store, published("{}")).await;
    }
}
