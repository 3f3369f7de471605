//! The program from outside: started as a process, spoken to over raw sockets, killed.
//!
//! Nothing here knows how the server is made. What it says is read byte by byte, so that a
//! client's leniency hides nothing.

mod engine;
mod http;
mod payload;
mod server;
mod stores;

pub use engine::{Account, Engine, Verdict};
pub use http::{Answer, Connection, Request};
pub use payload::object_of;
pub use server::{Endpoint, Server, Store};
pub use stores::{on_each_shared_store, on_each_store};
