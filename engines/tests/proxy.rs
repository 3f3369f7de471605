//! The network between a client and a server.

use std::io::ErrorKind;
use std::net::TcpStream;
use std::pin::pin;
use std::time::Duration;

use ploy_webhooks_engines::{Postgres, Proxy, Redis};
use redis::{Client, Commands, Connection};
use sqlx::Connection as _;
use sqlx::postgres::PgConnection;

/// Long enough for whatever passes to have passed; an answer that does not come takes as long.
const MOMENT: Duration = Duration::from_millis(200);

/// How long an event is waited for before a test gives up.
const PATIENCE: Duration = Duration::from_secs(60);

/// A proxy to the shared Redis, and a connection through it.
fn redis() -> (Proxy, Connection) {
    let proxy = Proxy::start(Redis::shared().address());
    let connection = connect(&proxy);
    (proxy, connection)
}

fn connect(proxy: &Proxy) -> Connection {
    let client = Client::open(proxy.url(Redis::shared().url())).expect("it is a URL");
    client.get_connection().expect("the proxy takes connections")
}

fn ping(connection: &mut Connection) -> redis::RedisResult<()> {
    redis::cmd("PING").query(connection)
}

#[test]
fn a_cut_connection_ends_and_no_new_one_is_taken_until_it_is_restored() {
    let (proxy, mut connection) = redis();
    ping(&mut connection).unwrap();

    proxy.cut();
    ping(&mut connection).unwrap_err();
    let refused = TcpStream::connect(proxy.address()).unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::ConnectionRefused);

    proxy.restore();
    ping(&mut connect(&proxy)).unwrap();
}

#[test]
fn a_delay_is_to_each_direction() {
    let (proxy, mut connection) = redis();
    let delay = Duration::from_millis(100);
    proxy.delay(delay);
    let start = std::time::Instant::now();
    ping(&mut connection).unwrap();
    // Not how fast anything is, but what was asked for.
    assert!(start.elapsed() >= 2 * delay);

    proxy.restore();
    ping(&mut connection).unwrap();
}

#[tokio::test]
async fn what_is_sent_reaches_the_server_though_its_answer_is_swallowed() {
    let (proxy, mut connection) = redis();
    let (sent, swallowed) = (proxy.sent(), proxy.swallowed());
    connection.set_read_timeout(Some(MOMENT)).unwrap();

    proxy.swallow_answers();
    let answer = connection.set::<_, _, ()>("swallowed", "kept");
    assert!(answer.unwrap_err().is_timeout());
    proxy.sent_beyond(sent).await;
    proxy.swallowed_beyond(swallowed).await;

    proxy.restore();
    let mut later = connect(&proxy);
    assert_eq!(later.get::<_, String>("swallowed").unwrap(), "kept");
}

#[tokio::test]
async fn answers_to_what_was_sent_before_arrive() {
    let postgres = Postgres::shared();
    let proxy = Proxy::start(postgres.address());
    let mut connection = PgConnection::connect(&proxy.url(postgres.url())).await.unwrap();
    let sent = proxy.sent();
    {
        let mut earlier = pin!(sqlx::raw_sql("SELECT pg_sleep(0.5)").execute(&mut connection));
        // The query is on its way when the answers begin to be swallowed.
        tokio::select! {
            _ = &mut earlier => panic!("it is answered before it is sent"),
            _ = proxy.sent_beyond(sent) => {}
        }
        proxy.swallow_later_answers();
        earlier.await.unwrap();
    }
    let mut later = pin!(sqlx::raw_sql("SELECT 1").execute(&mut connection));
    tokio::select! {
        _ = &mut later => panic!("its answer is swallowed"),
        _ = proxy.swallowed_beyond(0) => {}
    }
    // A connection that missed an answer ends, rather than take a later one for it.
    proxy.restore();
    tokio::time::timeout(PATIENCE, later).await.unwrap().unwrap_err();
}

#[tokio::test]
async fn a_commit_is_done_though_its_answer_is_lost() {
    let postgres = Postgres::shared();
    let database = postgres.database();
    let proxy = Proxy::start(postgres.address());
    let mut connection = PgConnection::connect(&proxy.url(&database)).await.unwrap();
    sqlx::raw_sql("CREATE TABLE event (id int)").execute(&mut connection).await.unwrap();

    proxy.swallow_answers_to(b"COMMIT");
    let mut transaction = connection.begin().await.unwrap();
    sqlx::raw_sql("INSERT INTO event VALUES (1)").execute(&mut *transaction).await.unwrap();
    let mut commit = pin!(transaction.commit());
    tokio::select! {
        _ = &mut commit => panic!("its answer is swallowed"),
        _ = proxy.swallowed_beyond(0) => {}
    }
    proxy.cut();
    commit.await.unwrap_err();

    let mut direct = PgConnection::connect(&database).await.unwrap();
    let count: i64 =
        sqlx::query_scalar("SELECT count(*) FROM event").fetch_one(&mut direct).await.unwrap();
    assert_eq!(count, 1);
}

#[tokio::test]
async fn much_at_once_comes_whole_and_in_order() {
    let (proxy, mut connection) = redis();
    proxy.delay(Duration::from_millis(1));
    let bytes: Vec<u8> = (0..1 << 22).map(|i: u32| (i % 251) as u8).collect();
    connection.set::<_, _, ()>("much", &bytes).unwrap();
    assert!(connection.get::<_, Vec<u8>>("much").unwrap() == bytes);
}
