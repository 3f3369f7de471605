#![doc = include_str!("../README.md")]

mod activity;
mod batch;
mod claim;
mod definitions;
mod durable;
mod endpoints;
mod engine;
mod error;
mod events;
mod feed;
mod flight;
mod history;
mod inspect;
mod layout;
mod limiter;
mod line;
mod link;
mod merge;
mod owner;
mod queue;
mod record;
mod retention;
mod run_pages;
mod run_record;
mod runs;
mod script;
mod search;
mod settings;
mod sharing;
mod startup;
mod topology;
mod url;
mod value;
mod wake;
mod writer;

use std::sync::Arc;

use ploy_webhooks::store::StoreError;
use tokio::sync::{Mutex, Notify};
use tokio::task::JoinHandle;

use crate::engine::Engine;
use crate::layout::Layout;
use crate::queue::Queue;
use crate::wake::Wake;
use crate::writer::Writer;

pub use limiter::RedisLimiter;
pub use settings::{Durability, RedisSettings, UnseenSettings};

/// A store on a Redis server or a Redis Cluster, which any number of nodes share.
///
/// Dropping the store lets what waits be written, as long as the runtime lives;
/// [`close`](Self::close) waits for it.
#[derive(Debug)]
pub struct RedisStore {
    engine: Arc<Engine>,
    layout: Arc<Layout>,
    queue: Arc<Queue>,
    wake: Arc<Wake>,
    /// Wakes who follows the feed, after each change by this node.
    fed: Arc<Notify>,
    scan_events_max: usize,
    scan_bytes_max: u64,
    /// None when it has ended and somebody has waited for it.
    writer: Mutex<Option<JoinHandle<()>>>,
}

impl RedisStore {
    /// Opens the store, and makes it where there is none. Looks first whether the server gives
    /// what the settings promise.
    ///
    /// A store of the format before is opened too, and is of this one from then on. Nodes of the
    /// version before are to be stopped first: they would take deliveries out of line.
    ///
    /// # Errors
    ///
    /// - [`Refused`](ploy_webhooks::store::StoreErrorKind::Refused): the server does not give the
    ///   durability that is asked for, drops what it was given when its memory is full, is a
    ///   replica or too old; or the store was made with other settings, or by a newer version
    ///   or one that is older than the one before.
    /// - [`Unavailable`](ploy_webhooks::store::StoreErrorKind::Unavailable): no node answers.
    /// - [`Misuse`](ploy_webhooks::store::StoreErrorKind::Misuse): a setting is none.
    ///
    /// # Panics
    ///
    /// Outside a tokio runtime.
    pub async fn open(settings: RedisSettings) -> Result<Self, StoreError> {
        settings.check_prefix()?;
        let engine = Engine::connect(&settings).await?;
        startup::check_promises(&engine, &settings).await?;
        let layout = Arc::new(Layout::new(&settings.prefix, settings.buckets));
        startup::agree_on_layout(&engine, &layout).await?;
        let queue = Arc::new(Queue::new(settings.waiting_max, settings.waiting_bytes_max));
        let wake = Arc::new(Wake::default());
        let fed = Arc::new(Notify::new());
        let writer = Writer {
            engine: engine.clone(),
            layout: layout.clone(),
            queue: queue.clone(),
            wake: wake.clone(),
            fed: fed.clone(),
            flights_max: settings.flights_max.get(),
        };
        let writer = tokio::spawn(writer.run());
        Ok(Self {
            engine,
            layout,
            queue,
            wake,
            fed,
            scan_events_max: settings.scan_events_max.get(),
            scan_bytes_max: settings.scan_bytes_max,
            writer: Mutex::new(Some(writer)),
        })
    }

    /// Writes what waits, and ends. Appends that come later are `Unavailable`.
    ///
    /// # Cancel safety
    ///
    /// A call that is dropped has closed the store; what waits is written all the same.
    pub async fn close(&self) {
        self.queue.close();
        // Held meanwhile, so that a second caller waits too.
        let mut writer = self.writer.lock().await;
        if let Some(running) = writer.as_mut() {
            // Fails only where the writer panicked, which it has said already.
            let _ = running.await;
            *writer = None;
        }
    }
}

impl Drop for RedisStore {
    fn drop(&mut self) {
        self.queue.close();
    }
}
