//! How long the parts of a request took, measured where they happen.
//!
//! Looking up and connecting happen within the client's pool, out of sight of who sends. They are
//! polled by the task that sends, so they leave their times in a value of that task. Only where
//! another connection comes free first does the pool let its own go on without the request; what
//! was seen of that one then does not count, and nothing that ends later is seen.

use std::cell::Cell;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use http::Extensions;
use hyper_util::client::legacy::connect::{Connection, HttpInfo};
use tokio::time::Instant;
use tower::{Layer, Service};

/// How long the parts of a request took.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Timings {
    /// The look-up of the name. `None` where there was none: the host was an address, or the
    /// connection was there already.
    pub(crate) dns: Option<Duration>,
    /// TCP and TLS, as far as that: it is there only where both were done. `None` where the
    /// connection was there already.
    pub(crate) connect: Option<Duration>,
    /// From the beginning to the head of the answer. `None` where none came.
    pub(crate) first_byte: Option<Duration>,
    /// From the beginning to the end, whichever it was.
    pub(crate) total: Duration,
}

/// What has been seen of the request of this task.
#[derive(Clone, Copy, Debug, Default)]
struct Seen {
    dns: Option<Duration>,
    connect: Option<Duration>,
    /// This end of the connection that was made.
    local: Option<SocketAddr>,
}

tokio::task_local! {
    static SEEN: Cell<Seen>;
}

/// Runs that with its look-ups and connections seen.
pub(super) async fn watched<F: Future>(request: F) -> F::Output {
    SEEN.scope(Cell::default(), request).await
}

/// A name has been looked up, successfully or not.
pub(crate) fn looked_up(dns: Duration) {
    see(|seen| seen.dns = Some(dns));
}

/// The answer comes over the connection of which this is our end. If that is not the one that was
/// made for it, it was there already.
pub(super) fn answered_over(local: SocketAddr) {
    see(|seen| {
        if seen.local != Some(local) {
            *seen = Seen::default();
        }
    });
}

/// What is seen outside of a request is let go.
fn see(change: impl FnOnce(&mut Seen)) {
    let _ = SEEN.try_with(|cell| {
        let mut seen = cell.get();
        change(&mut seen);
        cell.set(seen);
    });
}

impl Timings {
    /// Those of a request of this task that began then and ends now.
    pub(super) fn now(begun: Instant, first_byte: Option<Duration>) -> Self {
        let Seen { dns, connect, .. } = SEEN.try_with(Cell::get).unwrap_or_default();
        Self { dns, connect, first_byte, total: begun.elapsed() }
    }
}

/// Sees connections being made.
#[derive(Clone, Copy, Debug)]
pub(super) struct Watch;

/// A connector that is seen connecting.
#[derive(Clone, Debug)]
pub(super) struct Watched<C> {
    connector: C,
}

impl<C> Layer<C> for Watch {
    type Service = Watched<C>;

    fn layer(&self, connector: C) -> Self::Service {
        Watched { connector }
    }
}

impl<C, U> Service<U> for Watched<C>
where
    C: Service<U>,
    C::Response: Connection,
    C::Future: Send + 'static,
{
    type Response = C::Response;
    type Error = C::Error;
    type Future = Pin<Box<dyn Future<Output = Result<C::Response, C::Error>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), C::Error>> {
        self.connector.poll_ready(context)
    }

    fn call(&mut self, to: U) -> Self::Future {
        let connecting = self.connector.call(to);
        Box::pin(async move {
            see(|seen| *seen = Seen::default());
            let begun = Instant::now();
            let connection = connecting.await?;
            let local = local_address(&connection);
            see(|seen| {
                let connect = begun.elapsed().saturating_sub(seen.dns.unwrap_or_default());
                *seen = Seen { connect: Some(connect), local, ..*seen };
            });
            Ok(connection)
        })
    }
}

fn local_address(connection: &impl Connection) -> Option<SocketAddr> {
    let mut about = Extensions::new();
    connection.connected().get_extras(&mut about);
    about.get::<HttpInfo>().map(HttpInfo::local_addr)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is left of a look-up that is over when an answer comes over the connection at 80.
    async fn dns_of_an_answer_over_80(made: Option<SocketAddr>) -> Option<Duration> {
        watched(async {
            looked_up(Duration::from_millis(7));
            see(|seen| seen.local = made);
            answered_over(([127, 0, 0, 1], 80).into());
            Timings::now(Instant::now(), None).dns
        })
        .await
    }

    #[tokio::test]
    async fn what_was_done_for_a_connection_that_is_not_used_does_not_count() {
        let own = Some(([127, 0, 0, 1], 80).into());
        let other = Some(([127, 0, 0, 1], 81).into());
        assert_eq!(dns_of_an_answer_over_80(own).await, Some(Duration::from_millis(7)));
        assert_eq!(dns_of_an_answer_over_80(other).await, None);
        assert_eq!(dns_of_an_answer_over_80(None).await, None);
    }
}
