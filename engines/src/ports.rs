//! Ports for servers.
//!
//! They are picked below the range that systems take the ports of outgoing connections from: a
//! killed server must get its port back, and no connection may have taken it meanwhile.

use std::collections::HashSet;
use std::net::{Ipv4Addr, TcpListener};
use std::sync::{Mutex, PoisonError};

/// What a Redis in a cluster adds to its port for the bus between the nodes.
const BUS: u16 = 10_000;

/// With the bus they end before 32,768, where Linux begins with outgoing connections.
const PICKED: std::ops::Range<u16> = 10_240..22_240;

/// A port that is free, and free 10,000 above, and that this process has not picked before.
///
/// Another process may take it before the server does, which then has to be given another.
pub(crate) fn pick() -> u16 {
    static PICKED_BEFORE: Mutex<Option<HashSet<u16>>> = Mutex::new(None);
    let mut before = PICKED_BEFORE.lock().unwrap_or_else(PoisonError::into_inner);
    let before = before.get_or_insert_default();
    for _ in 0..PICKED.len() {
        let port = fastrand::u16(PICKED);
        if !before.contains(&port) && is_free(port) && is_free(port + BUS) {
            before.insert(port);
            return port;
        }
    }
    panic!("no port is free between {} and {}", PICKED.start, PICKED.end);
}

fn is_free(port: u16) -> bool {
    TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok()
}
