//! No server outlives the process that started it.
//!
//! The tests start their own binary again as that process, and kill it.

use std::io::{BufRead, BufReader};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use ploy_webhooks_engines::{Postgres, Redis};

const PATIENCE: Duration = Duration::from_secs(60);

/// Makes the test below that it names into the process that is killed.
const ROLE: &str = "PLOY_ENGINES_ROLE";

#[test]
#[ignore = "the other tests start it"]
fn owner() {
    // A developer who runs the ignored tests has no role for it.
    let Ok(role) = std::env::var(ROLE) else { return };
    let postgres = Postgres::start();
    let redis = Redis::start();
    if role == "frozen" {
        postgres.freeze();
        redis.freeze();
    }
    println!("\nserver {} {}", postgres.address(), postgres.folder().display());
    println!("server {} {}", redis.address(), redis.folder().display());
    match &*role {
        "panic" => panic!("as it was asked to"),
        "exit" => std::process::exit(0),
        _ => loop {
            std::thread::park();
        },
    }
}

/// Starts the owner and returns when its servers run.
fn start(role: &str) -> (Child, Vec<(SocketAddr, PathBuf)>) {
    let mut owner = Command::new(std::env::current_exe().expect("it has a name"))
        .args(["--exact", "owner", "--ignored", "--nocapture"])
        .env(ROLE, role)
        .stdout(Stdio::piped())
        .spawn()
        .expect("it starts");
    let lines =
        BufReader::new(owner.stdout.take().expect("it is piped")).lines().map_while(Result::ok);
    let servers = lines
        .filter_map(|line| {
            let (address, folder) = line.strip_prefix("server ")?.split_once(' ')?;
            Some((address.parse().expect("an address"), folder.into()))
        })
        .take(2)
        .collect();
    (owner, servers)
}

/// No event tells of the end of a process that is not ours, so it is asked for.
fn await_end(servers: Vec<(SocketAddr, PathBuf)>) {
    assert_eq!(servers.len(), 2, "both servers started");
    let deadline = Instant::now() + PATIENCE;
    for (address, folder) in servers {
        while TcpStream::connect(address).is_ok() || Path::new(&folder).exists() {
            assert!(Instant::now() < deadline, "{address} or {} is left", folder.display());
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

#[test]
fn servers_end_when_their_owner_is_killed() {
    let (mut owner, servers) = start("running");
    for (address, folder) in &servers {
        TcpStream::connect(address).unwrap();
        assert!(folder.exists());
    }
    owner.kill().unwrap();
    owner.wait().unwrap();
    await_end(servers);
}

#[test]
fn frozen_servers_end_when_their_owner_is_killed() {
    let (mut owner, servers) = start("frozen");
    owner.kill().unwrap();
    owner.wait().unwrap();
    await_end(servers);
}

#[test]
fn servers_end_when_their_owner_panics_or_exits() {
    for role in ["panic", "exit"] {
        let (mut owner, servers) = start(role);
        owner.wait().unwrap();
        await_end(servers);
    }
}

#[test]
fn servers_end_when_they_are_dropped() {
    let redis = Redis::start();
    let (address, folder) = (redis.address(), redis.folder().to_owned());
    drop(redis);
    TcpStream::connect(address).unwrap_err();
    assert!(!folder.exists());
}
