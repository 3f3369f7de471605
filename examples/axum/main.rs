//! How do I mount the intake in my axum app?
//!
//! `cargo run -p ploy-webhooks-examples --example axum` prints a `curl` that works.

use std::error::Error;
use std::net::SocketAddr;
use std::sync::Arc;

use axum::Router;
use axum::extract::{ConnectInfo, Request};
use axum::middleware::{Next, from_fn};
use axum::response::Response;
use axum::routing::get;
use ploy_webhooks::ingest::SourceAddress;
use ploy_webhooks::store::EndpointStore;
use ploy_webhooks::{Clock, Endpoint, EndpointConfig, Ingest, SystemClock, WorkspaceId};
use ploy_webhooks_sqlite::{SqliteSettings, SqliteStore};
use tokio::net::TcpListener;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let folder = tempfile::tempdir()?;
    let settings = SqliteSettings::at(folder.path().join("ploy.db"));
    let store = Arc::new(SqliteStore::open(settings).await?);

    // An endpoint, as your own settings page would make it.
    let config = EndpointConfig { description: "Clay enrichment".to_owned(), ..Default::default() };
    let (endpoint, key) = Endpoint::mint(WorkspaceId::DEFAULT, config, SystemClock.now());
    let slug = endpoint.slug.clone();
    let _created = store.create(endpoint).await?;

    let ingest = Ingest::new(store.clone(), store);
    let app = Router::new()
        .route_service("/api/v1/webhook/{slug}", ingest)
        .layer(from_fn(tell_source))
        .route("/", get(async || "the rest of the app"));

    let listener = TcpListener::bind("127.0.0.1:0").await?;
    println!(
        "curl -i http://{}/api/v1/webhook/{slug} -H 'Authorization: Bearer {}' \
         -H 'Content-Type: application/json' -d '{{\"hello\":\"axum\"}}'",
        listener.local_addr()?,
        key.expose(),
    );
    axum::serve(listener, app.into_make_service_with_connect_info::<SocketAddr>()).await?;
    Ok(())
}

/// Tells the intake whom a request comes from, for allow-lists and the record. Behind a proxy,
/// this is where to read the header that the proxy sets.
async fn tell_source(
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    mut request: Request,
    next: Next,
) -> Response {
    request.extensions_mut().insert(SourceAddress(peer.ip()));
    next.run(request).await
}
