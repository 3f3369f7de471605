//! Real database servers for tests and benches: started in a folder of their own, killed, frozen
//! and cut off as a test wants it, and gone with the process that started them.
//!
//! What a store promises about crashes and networks can only be seen on the engine itself, so
//! nothing here stands in for one. Everything blocks and nothing needs a runtime, so that it can
//! be called from any test; it panics where it fails, with the server's log.

mod cluster;
mod guardian;
mod ports;
mod postgres;
mod proxy;
mod redis;
mod server;

pub use crate::cluster::RedisCluster;
pub use crate::postgres::Postgres;
pub use crate::proxy::Proxy;
pub use crate::redis::Redis;

/// Ends a test that cannot run here, with what to do about it.
fn missing(engine: &str) -> ! {
    panic!(
        "{engine} is not installed: run the tests by `tests/run`, or `sudo apt-get install -y \
         postgresql redis-server`"
    );
}
