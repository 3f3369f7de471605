//! A Redis cluster.

use std::collections::HashSet;

use ploy_webhooks_engines::RedisCluster;
use redis::Commands;
use redis::cluster::{ClusterClient, ClusterConnection};

fn connect(cluster: &RedisCluster) -> ClusterConnection {
    let client = ClusterClient::builder(cluster.urls()).retries(16).build().expect("it has nodes");
    client.get_connection().expect("the cluster takes connections")
}

#[test]
fn keys_of_all_slots_are_answered_for() {
    let cluster = RedisCluster::start(3, 0);
    let mut connection = connect(&cluster);
    let keys = keys_of_all_slots();
    for batch in keys.chunks(1024) {
        let mut pipe = redis::cluster::cluster_pipe();
        for key in batch {
            pipe.set(key, key).ignore();
        }
        pipe.query::<()>(&mut connection).unwrap();
    }
    for batch in keys.chunks(1024) {
        let mut pipe = redis::cluster::cluster_pipe();
        for key in batch {
            pipe.get(key);
        }
        assert_eq!(pipe.query::<Vec<usize>>(&mut connection).unwrap(), batch);
    }
}

/// The first number of each slot.
fn keys_of_all_slots() -> Vec<usize> {
    let mut seen = HashSet::new();
    (0..).filter(|key: &usize| seen.insert(slot(key.to_string().as_bytes()))).take(16_384).collect()
}

/// CRC-16/XMODEM modulo the number of slots, as Redis documents it.
fn slot(key: &[u8]) -> u16 {
    let crc = key.iter().fold(0_u16, |crc, byte| {
        (0..8).fold(crc ^ u16::from(*byte) << 8, |crc, _| {
            if crc & 0x8000 == 0 { crc << 1 } else { crc << 1 ^ 0x1021 }
        })
    });
    crc % 16_384
}

#[test]
fn a_cluster_goes_on_when_a_killed_master_is_back() {
    let cluster = RedisCluster::start(3, 0);
    connect(&cluster).set::<_, _, ()>("key", "kept").unwrap();
    for master in 0..3 {
        cluster.kill_master(master);
        cluster.restart(master);
    }
    assert_eq!(connect(&cluster).get::<_, String>("key").unwrap(), "kept");
}

#[test]
fn a_replica_takes_the_place_of_a_killed_or_frozen_master() {
    let cluster = RedisCluster::start(3, 1);
    let mut connection = connect(&cluster);
    for key in 0..100 {
        connection.set::<_, _, ()>(key, "kept").unwrap();
    }
    for node in &cluster.nodes()[..3] {
        // What a replica has not got when its master ends is lost; that is Redis's promise.
        let got: usize = redis::cmd("WAIT").arg(1).arg(0).query(&mut client(node)).unwrap();
        assert_eq!(got, 1);
    }
    cluster.kill_master(0);
    cluster.await_failover(0);
    let mut connection = connect(&cluster);
    for key in 0..100 {
        assert_eq!(connection.get::<_, String>(key).unwrap(), "kept");
    }
    cluster.restart(0);

    cluster.nodes()[1].freeze();
    cluster.await_failover(1);
    cluster.nodes()[1].thaw();
    cluster.await_ok();
}

fn client(node: &ploy_webhooks_engines::Redis) -> redis::Connection {
    let client = redis::Client::open(node.url()).expect("it is a URL");
    client.get_connection().expect("the node takes connections")
}
