//! The store in memory keeps every promise: bare, in an `Arc`, and as a trait object.

use std::sync::Arc;
use std::time::Duration;

use ploy_webhooks::conformance::Fixture;
use ploy_webhooks::store::{
    ActivityStore, DefinitionStore, EndpointStore, FeedStore, HistoryStore, MemoryStore,
    RetentionStore, RunQueue, TokenStore,
};
use ploy_webhooks::{Clock, ManualClock};

/// All traits, as an app names them that chooses its store at run time.
trait Store:
    EndpointStore
    + RunQueue
    + DefinitionStore
    + TokenStore
    + ActivityStore
    + FeedStore
    + HistoryStore
    + RetentionStore
{
}

impl<S> Store for S where
    S: EndpointStore
        + RunQueue
        + DefinitionStore
        + TokenStore
        + ActivityStore
        + FeedStore
        + HistoryStore
        + RetentionStore
        + ?Sized
{
}

/// A memory store by a clock that the test turns.
#[derive(Debug, Default)]
struct Memory(Arc<ManualClock>);

impl Memory {
    fn store(&self) -> MemoryStore {
        let clock = Arc::clone(&self.0) as Arc<dyn Clock>;
        MemoryStore::with_parts(MemoryStore::PAYLOAD_BYTES_MAX, clock)
    }
}

/// A fixture of that name, whose store is of that type.
macro_rules! fixture {
    ($name:ident, $store:ty, $wrap:expr) => {
        #[derive(Debug, Default)]
        struct $name(Memory);

        impl Fixture for $name {
            type Store = $store;

            async fn open(&self) -> Arc<$store> {
                $wrap(self.0.store())
            }

            // Nothing survives the process, so there is nothing to show.
            async fn reopen(&self, store: Arc<$store>) -> Arc<$store> {
                store
            }

            async fn elapse(&self, duration: Duration) {
                self.0.0.advance(duration);
            }
        }
    };
}

fixture!(Bare, MemoryStore, Arc::new);
fixture!(InArc, Arc<MemoryStore>, |store| Arc::new(Arc::new(store)));
fixture!(Object, dyn Store, |store| Arc::new(store) as Arc<dyn Store>);

mod bare {
    ploy_webhooks::conformance!(super::Bare::default());
}

mod in_arc {
    ploy_webhooks::conformance!(super::InArc::default());
}

mod object {
    ploy_webhooks::conformance!(super::Object::default());
}
