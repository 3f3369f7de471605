//! Redis, started, killed and frozen.

use std::time::Duration;

use ploy_webhooks_engines::Redis;
use redis::{Client, Commands, Connection};

fn connect(redis: &Redis) -> Connection {
    let client = Client::open(redis.url()).expect("it is a URL");
    client.get_connection().expect("the server takes connections")
}

#[test]
fn the_shared_server_takes_keys() {
    let mut connection = connect(Redis::shared());
    connection.set::<_, _, ()>("the_shared_server_takes_keys", 1).unwrap();
    assert_eq!(connection.get::<_, i32>("the_shared_server_takes_keys").unwrap(), 1);
}

#[test]
fn a_server_is_durable_unless_a_test_wants_otherwise() {
    let setting = |redis: &Redis, name: &str| -> (String, String) {
        redis::cmd("CONFIG").arg("GET").arg(name).query(&mut connect(redis)).unwrap()
    };
    let durable = Redis::start();
    for (name, value) in Redis::DURABLE {
        assert_eq!(setting(&durable, name).1, *value, "{name}");
    }
    let other = Redis::start_with(&[("appendonly", "no"), ("save", "60 1")]);
    assert_eq!(setting(&other, "appendonly").1, "no");
    assert_eq!(setting(&other, "save").1, "60 1");
}

#[test]
fn a_key_outlives_a_kill_and_an_orderly_end() {
    let redis = Redis::start();
    let mut connection = connect(&redis);
    connection.set::<_, _, ()>("key", "kept").unwrap();

    redis.kill();
    connection.get::<_, String>("key").unwrap_err();
    Client::open(redis.url()).unwrap().get_connection().err().unwrap();

    redis.restart();
    redis.stop();
    redis.restart();
    assert_eq!(connect(&redis).get::<_, String>("key").unwrap(), "kept");
}

#[test]
fn a_frozen_server_answers_when_it_is_thawed() {
    let redis = Redis::start();
    let mut connection = connect(&redis);
    connection.set::<_, _, ()>("key", "kept").unwrap();

    redis.freeze();
    // Whatever the machine's pace, the answer cannot come.
    connection.set_read_timeout(Some(Duration::from_millis(200))).unwrap();
    assert!(connection.get::<_, String>("key").unwrap_err().is_timeout());

    redis.thaw();
    assert_eq!(connect(&redis).get::<_, String>("key").unwrap(), "kept");
}

#[test]
fn a_frozen_server_can_be_killed() {
    let redis = Redis::start();
    redis.freeze();
    redis.kill();
    redis.restart();
    redis::cmd("PING").query::<()>(&mut connect(&redis)).unwrap();
}
