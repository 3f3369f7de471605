//! Postgres, started, killed and frozen.

use std::pin::pin;
use std::time::Duration;

use ploy_webhooks_engines::Postgres;
use sqlx::postgres::PgConnection;
use sqlx::{AssertSqlSafe, Connection};

async fn connect(url: &str) -> PgConnection {
    PgConnection::connect(url).await.expect("the server takes connections")
}

async fn run(connection: &mut PgConnection, sql: &str) {
    sqlx::raw_sql(AssertSqlSafe(sql)).execute(connection).await.expect("the server takes it");
}

async fn setting(connection: &mut PgConnection, name: &str) -> String {
    let show = AssertSqlSafe(format!("SHOW {name}"));
    sqlx::query_scalar(show).fetch_one(connection).await.expect("there is such a setting")
}

#[tokio::test]
async fn databases_of_the_shared_server_are_apart() {
    let postgres = Postgres::shared();
    let (one, other) = (postgres.database(), postgres.database());
    for url in [one, other] {
        run(&mut connect(&url).await, "CREATE TABLE event (id int)").await;
    }
}

#[tokio::test]
async fn commits_are_durable_unless_a_test_wants_otherwise() {
    let postgres = Postgres::start_with(&[("max_connections", "8")]);
    let mut connection = connect(postgres.url()).await;
    let expected = [("fsync", "on"), ("synchronous_commit", "on"), ("max_connections", "8")];
    for (name, value) in expected {
        assert_eq!(setting(&mut connection, name).await, value, "{name}");
    }
    assert_eq!(setting(&mut connection, "server_encoding").await, "UTF8");
}

#[tokio::test]
async fn a_committed_row_outlives_a_kill_and_an_orderly_end() {
    let postgres = Postgres::start();
    let url = postgres.database();
    let mut connection = connect(&url).await;
    run(&mut connection, "CREATE TABLE event (id int); INSERT INTO event VALUES (1)").await;
    run(&mut connection, "BEGIN; INSERT INTO event VALUES (2)").await;

    postgres.kill();
    connection.ping().await.unwrap_err();
    PgConnection::connect(&url).await.unwrap_err();

    postgres.restart();
    postgres.stop();
    postgres.restart();
    let ids: Vec<i32> = sqlx::query_scalar("SELECT id FROM event")
        .fetch_all(&mut connect(&url).await)
        .await
        .unwrap();
    assert_eq!(ids, [1]);
}

#[tokio::test]
async fn a_frozen_server_answers_when_it_is_thawed() {
    let postgres = Postgres::start();
    let mut connection = connect(postgres.url()).await;

    postgres.freeze();
    let mut answer = pin!(connection.ping());
    // Whatever the machine's pace, it cannot come.
    tokio::time::timeout(Duration::from_millis(200), &mut answer).await.unwrap_err();

    postgres.thaw();
    answer.await.unwrap();
}

#[tokio::test]
async fn a_frozen_server_can_be_killed_and_stopped() {
    let postgres = Postgres::start();
    // One backend at least is there to be frozen.
    let _connection = connect(postgres.url()).await;
    postgres.freeze();
    postgres.kill();
    postgres.restart();
    postgres.freeze();
    postgres.stop();
    postgres.restart();
    connect(postgres.url()).await.ping().await.unwrap();
}
