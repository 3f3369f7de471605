//! What a store's author hands to the suite: how the store is opened, closed and opened again.

use std::sync::Arc;
use std::time::Duration;

use crate::endpoint::Endpoint;
use crate::store::{
    ActivityStore, Created, DefinitionStore, EndpointStore, EventStore, FeedStore, HistoryStore,
    KeyStore, RetentionStore, RunQueue, TokenStore,
};

/// One store to be tested, with all nine traits.
///
/// Each test makes a fixture of its own, by evaluating the expression that was given to
/// [`conformance!`](crate::conformance!), and drops it when it ends: a directory or a database
/// that belongs to the test belongs into the fixture.
pub trait Fixture {
    /// The store.
    type Store: EndpointStore
        + RunQueue
        + DefinitionStore
        + TokenStore
        + ActivityStore
        + FeedStore
        + HistoryStore
        + RetentionStore
        + ?Sized;

    /// Opens the store, which is empty. Called once.
    fn open(&self) -> impl Future<Output = Arc<Self::Store>>;

    /// Ends the store, as the end of its process would, and opens what is left of it. The suite
    /// holds no other handle on it.
    ///
    /// A store that keeps nothing beyond its process has nothing to show here: its fixture says
    /// so, and hands the same store back.
    fn reopen(&self, store: Arc<Self::Store>) -> impl Future<Output = Arc<Self::Store>>;

    /// Lets so much time pass by the clock of the store. As it stands it waits, which is right
    /// for every store that goes by a real clock; the suite asks for a few seconds.
    fn elapse(&self, duration: Duration) -> impl Future<Output = ()> {
        tokio::time::sleep(duration)
    }
}

/// One store to be tested that keeps events and whose endpoints are given to it: for
/// `conformance!(events_only: …)`.
///
/// Every [`Fixture`] is one.
pub trait EventsFixture {
    /// The store.
    type Store: EventStore + KeyStore + ?Sized;

    /// Opens the store, with these endpoints and no event. Called once.
    fn open_with(&self, endpoints: Vec<Endpoint>) -> impl Future<Output = Arc<Self::Store>>;

    /// As [`Fixture::reopen`]; the endpoints are still there.
    fn reopen(&self, store: Arc<Self::Store>) -> impl Future<Output = Arc<Self::Store>>;

    /// As [`Fixture::elapse`].
    fn elapse(&self, duration: Duration) -> impl Future<Output = ()> {
        tokio::time::sleep(duration)
    }
}

impl<F: Fixture> EventsFixture for F {
    type Store = F::Store;

    async fn open_with(&self, endpoints: Vec<Endpoint>) -> Arc<Self::Store> {
        let store = self.open().await;
        for endpoint in endpoints {
            let created = store.create(endpoint).await;
            assert_eq!(
                created.expect("an endpoint is created"),
                Created::Created,
                "an endpoint with a new id and a new slug was not created: is the store empty?"
            );
        }
        store
    }

    async fn reopen(&self, store: Arc<Self::Store>) -> Arc<Self::Store> {
        Fixture::reopen(self, store).await
    }

    async fn elapse(&self, duration: Duration) {
        Fixture::elapse(self, duration).await;
    }
}
