//! How do I mount the intake and the management API in my axum app?
//!
//! `cargo run -p ploy-webhooks-examples --example manage` prints two `curl`s that work.

use std::error::Error;
use std::sync::Arc;

use axum::Router;
use axum::routing::get;
use ploy_webhooks::store::EndpointStore;
use ploy_webhooks::{
    Clock, Endpoint, EndpointConfig, Ingest, Keyring, Secret, SystemClock, WorkspaceId,
};
use ploy_webhooks_delivery::{AddressPolicy, Courier, HttpSettings};
use ploy_webhooks_server::api::{self, Api};
use ploy_webhooks_sqlite::{SqliteSettings, SqliteStore};
use tokio::net::TcpListener;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let public_url = format!("http://{}/hooks", listener.local_addr()?);
    let folder = tempfile::tempdir()?;
    let store = SqliteStore::open(SqliteSettings::at(folder.path().join("ploy.db"))).await?;
    let store = Arc::new(store);

    // One that is minted is gone with the process: `Keyring::of_store` keeps one under a master key.
    let keyring = Keyring::mint();
    let mut delivery = HttpSettings::default();
    delivery.addresses = AddressPolicy::public();
    let courier = Courier::new(keyring.clone(), delivery)?;
    let token = Secret::mint_token();
    let api =
        Api::builder(store.clone(), keyring.clone(), courier, token.digest(), public_url.clone());
    let ingest = Ingest::builder(store.clone(), store.clone())
        .definitions(store.clone())
        .keyring(keyring)
        .build()?;

    // The intake first: the API knows nothing at its address.
    let hooks = Router::new()
        .route_service("/api/v1/webhook/{slug}", ingest)
        .fallback_service(api::router(api.build()));
    let app = Router::new().nest("/hooks", hooks).route("/", get(async || "the rest of the app"));

    // An endpoint to begin with; others are made over the API.
    let config = EndpointConfig { description: "First".to_owned(), ..Default::default() };
    let (endpoint, key) = Endpoint::mint(WorkspaceId::DEFAULT, config, SystemClock.now());
    let slug = endpoint.slug.clone();
    let _created = store.create(endpoint).await?;
    println!(
        "curl -i {public_url}/api/v1/webhook/{slug} -H 'Authorization: Bearer {}' \
         -H 'Content-Type: application/json' -d '{{\"hello\":\"manage\"}}'",
        key.expose(),
    );
    println!("curl -i {public_url}/api/v1/events -H 'Authorization: Bearer {}'", token.expose());
    axum::serve(listener, app).await?;
    Ok(())
}
