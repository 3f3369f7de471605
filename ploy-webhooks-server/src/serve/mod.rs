//! `serve`: everything that the server is, from the open store to the last flush.

mod activity;
mod connection;
mod figures;
mod first_start;
mod front;
pub(crate) mod keys;
mod listener;
mod retention;
mod runs;
mod signals;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use ploy_webhooks::{Ingest, SecretDigest};
use ploy_webhooks_delivery::Courier;
use ploy_webhooks_postgres::{EndpointChange, EndpointChanges};
use thiserror::Error;
use tokio::net::TcpListener;

use self::activity::Activity;
use self::first_start::FirstStart;
use self::front::{Front, Intake};
use self::keys::KeysError;
use self::listener::{ConnectionSettings, Listener};
use self::retention::Sweeper;
use self::runs::RunnerError;
use self::signals::Signals;
use crate::api::{self, Api, Backups};
use crate::config::{self, Config, ConfigError};
use crate::console;
use crate::mcp;
use crate::metrics::Metrics;
use crate::store::{OpenError, OpenStore};

/// Why the server did not start.
#[derive(Debug, Error)]
pub(crate) enum ServeError {
    #[error(transparent)]
    Config(#[from] ConfigError),
    #[error(transparent)]
    Open(#[from] OpenError),
    #[error("cannot listen on `{address}`")]
    Bind { address: String, source: std::io::Error },
    #[error("cannot listen for signals")]
    Signals(#[source] std::io::Error),
    #[error("cannot prepare the store")]
    Prepare(#[source] ploy_webhooks::store::StoreError),
    #[error("the secrets of the store cannot be opened")]
    Keys(#[from] KeysError),
    #[error("cannot carry runs out")]
    Runner(#[from] RunnerError),
    #[error("cannot print to standard output")]
    Print(#[source] std::io::Error),
}

/// Serves until a signal, then finishes what is in flight and flushes.
pub(crate) async fn serve(
    config: &Config,
    chosen_root: Option<SecretDigest>,
) -> Result<(), ServeError> {
    // All that can be wrong with the settings is found before the store is made.
    let (listen, url) = (config.listen()?, config.store()?);
    let (mut bounds, public_url) = (config.bounds()?, config.public_url()?);
    let (proxies, delivery) = (config.proxies()?, config.delivery()?);
    let backup_folder = config.backup_folder()?;
    let (dispatcher, master_keys) = (config.dispatcher()?, config::master_keys_from_env()?);
    let mut signals = Signals::listen().map_err(ServeError::Signals)?;
    let mut open = OpenStore::open(&url).await?;
    let outcome = async {
        let (socket, address) = bind(listen).await?;
        let listening_on = format!("http://{}", reachable(address));
        let public_url = public_url.unwrap_or_else(|| listening_on.clone());

        let master_key_file = config.master_key_file.as_deref();
        let keyring = keys::keyring(&*open.store, &url, master_keys, master_key_file).await?;
        bounds.public_url = Some(format!("{public_url}/api/v1/webhook/"));
        let first_start =
            FirstStart { store: &open.store, public_url: &public_url, server_url: &listening_on };
        let root = first_start.prepare(chosen_root).await?;
        first_start::print(&format!("listening on {listening_on}\n"))?;

        let store = open.store.clone();
        let courier = Courier::new(keyring.clone(), delivery.clone());
        let courier = courier.map_err(RunnerError::Client)?;
        let limiter = open.limiter.clone();
        let commands = config.commands();
        let (at_once, couriers) = (dispatcher.concurrency, courier.clone());
        let runner = runs::runner(store.clone(), commands, couriers, delivery, limiter, at_once)?;
        let metrics = Metrics::default();
        let in_flight_bytes_max = bounds.in_flight_bytes_max;
        let ingest = Ingest::builder(store.clone(), store.clone())
            .runner(runner)
            .definitions(store.clone())
            .keyring(keyring.clone())
            .settings(bounds)
            .limiter(open.limiter.clone())
            .observer(metrics.clone())
            .build()
            .map_err(ConfigError::Bounds)?;
        let watch = runs::Watch(metrics.clone());
        let dispatcher = config.dispatch.then(|| ingest.dispatch_observed(dispatcher, watch));
        if let Some(changes) = open.changes.take() {
            tokio::spawn(forget_changed(ingest.clone(), changes));
        }
        if let Some(outbox) = open.outbox() {
            // Until the store is closed.
            tokio::spawn(async move { outbox.relay_outbox().await });
        }
        let sweeper = config
            .retention_sweep()
            .map(|every| tokio::spawn(Sweeper::new(store.clone(), every).sweep_for_ever()));
        let mut activity = Activity::new(ingest.clone(), metrics.clone(), store.clone());
        let (console_keyring, console_url) = (keyring.clone(), public_url.clone());
        let mut api = Api::builder(store, keyring, courier, root, public_url)
            .commands(config.commands())
            .payload_bytes_max(config.body_bytes_max())
            .streams_max(config.streams_max as usize);
        if let Some((store, folder)) = open.sqlite().zip(backup_folder) {
            api = api.backups(Backups::new(store, folder));
        }
        let figures = figures::route(metrics, ingest.clone(), in_flight_bytes_max);
        let api = api.build();
        let calls = api::router(api.clone());
        let mut router = calls.clone().merge(mcp::router(calls.clone())).merge(figures);
        if config.console {
            router = router.merge(console::router(calls, console_keyring, &console_url));
        }
        let front = Front::new(ingest, router, proxies);
        let listener = Listener::new(socket, front, ConnectionSettings::of(config));
        let connections = tokio::select! {
            connections = listener.accept_until(signals.next()) => connections,
            () = activity.hand_over_for_ever() => unreachable!("it hands over for ever"),
        };
        tracing::info!(open = connections.count(), "stopping");
        if let Some(sweeper) = sweeper {
            // What it has not come to goes after the next start.
            sweeper.abort();
        }
        api.end_streams();
        let grace = config.shutdown_grace();
        let runs_end = async {
            if let Some(dispatcher) = dispatcher {
                dispatcher.drain(grace).await;
            }
        };
        let connections_end = async {
            if tokio::time::timeout(grace, connections.shutdown()).await.is_err() {
                tracing::warn!("connections were still open when the grace ended");
            }
        };
        tokio::select! {
            ((), ()) = async { tokio::join!(connections_end, runs_end) } => {
                activity.hand_over().await;
            }
            () = signals.next() => tracing::warn!("stopping at once"),
        }
        Ok(())
    }
    .await;
    open.close().await;
    outcome
}

/// Lets go of endpoints that other nodes have changed, until the store is closed.
async fn forget_changed(ingest: Intake, mut changes: EndpointChanges) {
    while let Some(change) = changes.next().await {
        match change {
            EndpointChange::Of(slug) => ingest.forget(&slug),
            EndpointChange::Unknown => ingest.forget_all(),
        }
    }
}

async fn bind(address: &str) -> Result<(TcpListener, SocketAddr), ServeError> {
    let failed = |source| ServeError::Bind { address: address.to_owned(), source };
    let socket = TcpListener::bind(address).await.map_err(failed)?;
    let bound = socket.local_addr().map_err(failed)?;
    Ok((socket, bound))
}

/// An address that can be connected to: who listens on all of them is reached on this machine.
fn reachable(mut address: SocketAddr) -> SocketAddr {
    if address.ip().is_unspecified() {
        address.set_ip(match address {
            SocketAddr::V4(_) => IpAddr::V4(Ipv4Addr::LOCALHOST),
            SocketAddr::V6(_) => IpAddr::V6(Ipv6Addr::LOCALHOST),
        });
    }
    address
}
