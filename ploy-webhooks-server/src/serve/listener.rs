//! Takes connections, up to a bound, and serves HTTP/1.1 and HTTP/2 on each.

use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use hyper_util::server::graceful::GracefulShutdown;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::connection::Connection;
use super::front::Front;
use crate::config::Config;
use crate::log::chain;

/// The bounds of connections.
#[derive(Clone, Copy, Debug)]
pub(super) struct ConnectionSettings {
    connections_max: usize,
    header_read_timeout: Duration,
}

impl ConnectionSettings {
    pub(super) const fn of(config: &Config) -> Self {
        Self {
            connections_max: config.connections_max as usize,
            header_read_timeout: config.header_read_timeout(),
        }
    }
}

/// A listening socket with what serves its connections.
#[derive(Debug)]
pub(super) struct Listener {
    socket: TcpListener,
    front: Front,
    http: auto::Builder<TokioExecutor>,
    opening_timeout: Duration,
    places: Arc<Semaphore>,
    graceful: GracefulShutdown,
}

/// A connection, and its place among those that are allowed.
type Accepted = (TcpStream, SocketAddr, OwnedSemaphorePermit);

impl Listener {
    pub(super) fn new(socket: TcpListener, front: Front, settings: ConnectionSettings) -> Self {
        Self {
            socket,
            front,
            http: http(settings),
            opening_timeout: settings.header_read_timeout,
            places: Arc::new(Semaphore::new(settings.connections_max)),
            graceful: GracefulShutdown::new(),
        }
    }

    /// Takes connections until `stop`, closes the socket, and returns what waits for the
    /// connections that are open.
    pub(super) async fn accept_until(self, stop: impl Future<Output = ()>) -> GracefulShutdown {
        let mut stop = pin!(stop);
        loop {
            let accepted = tokio::select! {
                biased;
                () = &mut stop => return self.graceful,
                accepted = self.accept() => accepted,
            };
            match accepted {
                Ok(accepted) => self.spawn(accepted),
                Err(error) if is_of_one_connection(&error) => {}
                Err(error) => {
                    // Out of file descriptors or memory: trying again at once would only spin.
                    tracing::error!(error = chain(&error), "cannot accept connections");
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
            }
        }
    }

    /// Waits for a place first, so that what is too much waits in the backlog of the system.
    async fn accept(&self) -> io::Result<Accepted> {
        let places = self.places.clone();
        let place = places.acquire_owned().await;
        let place = place.expect("the semaphore is never closed");
        let (stream, peer) = self.socket.accept().await?;
        Ok((stream, peer, place))
    }

    fn spawn(&self, (stream, peer, place): Accepted) {
        // An answer is one small write: waiting for more to send would only delay it. Fails
        // where the client is gone already, which the first read will tell.
        let _ = stream.set_nodelay(true);
        let io = TokioIo::new(Connection::new(stream, self.opening_timeout));
        let service = self.front.for_peer(peer.ip().to_canonical());
        let connection = self.http.serve_connection(io, service).into_owned();
        let served = self.graceful.watch(connection);
        tokio::spawn(async move {
            if let Err(error) = served.await {
                tracing::debug!(%peer, error = chain(&*error), "connection ended");
            }
            drop(place);
        });
    }
}

fn http(settings: ConnectionSettings) -> auto::Builder<TokioExecutor> {
    let mut http = auto::Builder::new(TokioExecutor::new());
    http.http1()
        .timer(TokioTimer::new())
        .header_read_timeout(settings.header_read_timeout)
        .max_buf_size(64 << 10)
        // A sender that closes its side after the request still waits for the answer.
        .half_close(true);
    http.http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(256)
        .max_header_list_size(16 << 10)
        .keep_alive_interval(Duration::from_secs(20))
        .keep_alive_timeout(Duration::from_secs(20));
    http
}

/// Whether only the connection that was about to be accepted has failed.
fn is_of_one_connection(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::ConnectionRefused
            | io::ErrorKind::Interrupted
    )
}
