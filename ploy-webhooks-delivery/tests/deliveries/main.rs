//! Events that are delivered: from the store, through the dispatcher, to receivers on real sockets.

mod drafts;
mod holding;
mod order;
mod outage;
mod pace;
mod receiver;
mod records;
mod retries;
mod scene;
mod signing;
