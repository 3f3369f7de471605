//! Every store that the program has, each empty.

use ploy_webhooks_engines::{Postgres, Redis};
use tempfile::TempDir;

use crate::server::Store;

/// Runs a test on each store: in memory, in a file, and on real servers that this process starts.
///
/// # Panics
///
/// When a store cannot be made.
pub fn on_each_store(test: impl Fn(Store<'_>)) {
    test(Store::Memory);
    let folder = TempDir::new().expect("a folder is made");
    test(Store::Sqlite(folder.path()));
    on_each_shared_store(test);
}

/// Runs a test on each store that several nodes can share.
///
/// # Panics
///
/// When a store cannot be made.
pub fn on_each_shared_store(test: impl Fn(Store<'_>)) {
    test(Store::At(&Postgres::shared().database()));
    // A store of its own on the same server, by a prefix that no other has.
    let prefix = fastrand::u64(..);
    test(Store::At(&format!("{}?prefix=test-{prefix:016x}", Redis::shared().url())));
}
