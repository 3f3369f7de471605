//! How do I serve the intake with hyper alone?
//!
//! `cargo run -p ploy-webhooks-examples --example hyper` prints a `curl` that works.

use std::error::Error;
use std::sync::Arc;

use hyper::Request;
use hyper::body::Incoming;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use hyper_util::service::TowerToHyperService;
use ploy_webhooks::ingest::SourceAddress;
use ploy_webhooks::store::{EndpointStore, MemoryStore};
use ploy_webhooks::{Clock, Endpoint, EndpointConfig, Ingest, SystemClock, WorkspaceId};
use tokio::net::TcpListener;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let store = Arc::new(MemoryStore::new());
    let config = EndpointConfig::default();
    let (endpoint, key) = Endpoint::mint(WorkspaceId::DEFAULT, config, SystemClock.now());
    let slug = endpoint.slug.clone();
    let _created = store.create(endpoint).await?;
    let ingest = Ingest::new(store.clone(), store);

    let listener = TcpListener::bind("127.0.0.1:0").await?;
    println!(
        "curl -i http://{}/{slug} -H 'Authorization: Bearer {}' \
         -H 'Content-Type: application/json' -d '{{\"hello\":\"hyper\"}}'",
        listener.local_addr()?,
        key.expose(),
    );
    loop {
        let (stream, peer) = listener.accept().await?;
        let ingest = TowerToHyperService::new(ingest.clone());
        // A hyper service of one's own around it, only to tell the sender's address.
        let service = hyper::service::service_fn(move |mut request: Request<Incoming>| {
            request.extensions_mut().insert(SourceAddress(peer.ip()));
            hyper::service::Service::call(&ingest, request)
        });
        tokio::spawn(async move {
            let builder = auto::Builder::new(TokioExecutor::new());
            if let Err(error) = builder.serve_connection(TokioIo::new(stream), service).await {
                eprintln!("a connection broke: {error}");
            }
        });
    }
}
