//! How do I bring a store of my own? Mounted like any other.
//!
//! `cargo run -p ploy-webhooks-examples --example own-store` prints a `curl` that works.

mod store;

use std::error::Error;
use std::sync::Arc;

use axum::Router;
use ploy_webhooks::{Clock, Endpoint, EndpointConfig, Ingest, SystemClock, WorkspaceId};
use store::FileStore;
use tokio::net::TcpListener;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let folder = tempfile::tempdir()?;
    let config = EndpointConfig::default();
    let (endpoint, key) = Endpoint::mint(WorkspaceId::DEFAULT, config, SystemClock.now());
    let slug = endpoint.slug.clone();
    let store = Arc::new(FileStore::open(&folder.path().join("events"), vec![endpoint])?);
    let app =
        Router::new().route_service("/api/v1/webhook/{slug}", Ingest::new(store.clone(), store));

    let listener = TcpListener::bind("127.0.0.1:0").await?;
    println!(
        "curl -i http://{}/api/v1/webhook/{slug} -H 'Authorization: Bearer {}' \
         -H 'Content-Type: application/json' -d '{{\"hello\":\"file\"}}'",
        listener.local_addr()?,
        key.expose(),
    );
    axum::serve(listener, app).await?;
    Ok(())
}
