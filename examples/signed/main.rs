//! How do I take webhooks in that are signed, Stripe's for one?
//!
//! `cargo run -p ploy-webhooks-examples --example signed` prints a `curl` that works for as long as
//! its signature is fresh: five minutes.

use std::error::Error;
use std::sync::Arc;

use axum::Router;
use ploy_webhooks::store::EndpointStore;
use ploy_webhooks::verify::{Preset, Scheme, Signed};
use ploy_webhooks::{
    Clock, Endpoint, EndpointConfig, Ingest, Keyring, MasterKey, Secret, SystemClock, WorkspaceId,
};
use ploy_webhooks_sqlite::{SqliteSettings, SqliteStore};
use tokio::net::TcpListener;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let folder = tempfile::tempdir()?;
    let settings = SqliteSettings::at(folder.path().join("ploy.db"));
    let store = Arc::new(SqliteStore::open(settings).await?);

    // Secrets are kept sealed. Your master key comes from wherever you keep such things, and is
    // the same at the next start.
    let master_key = MasterKey::mint();
    let keyring = Keyring::of_store(&store, &master_key, &[]).await?;

    // The secret is the one that Stripe shows for the endpoint.
    let secret = Secret::from("whsec_of_your_dashboard".to_owned());
    let stripe = Preset::named("stripe").ok_or("there is no such preset")?;
    let config = EndpointConfig { description: "Stripe".to_owned(), ..Default::default() };
    let (workspace, now) = (WorkspaceId::DEFAULT, SystemClock.now());
    let scheme = Scheme::Preset(stripe);
    let endpoint = Endpoint::mint_signed(workspace, config, now, &keyring, scheme, &secret)?;
    let slug = endpoint.slug.clone();
    let _created = store.create(endpoint).await?;

    let ingest = Ingest::builder(store.clone(), store).keyring(keyring).build()?;
    let app = Router::new().route_service("/api/v1/webhook/{slug}", ingest);

    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let url = format!("http://{}/api/v1/webhook/{slug}", listener.local_addr()?);
    let body = r#"{"id":"evt_1","type":"invoice.paid"}"#;
    // What Stripe does on its side.
    let request = Signed { method: "POST", url: &url, body: body.as_bytes() };
    let signed = stripe.description().sign(&secret, "", SystemClock.now(), &request)?;
    let mut command = format!("curl -i {url} -H 'Content-Type: application/json' -d '{body}'");
    for (name, value) in signed {
        command.push_str(&format!(" -H '{name}: {}'", value.to_str()?));
    }
    println!("{command}");
    axum::serve(listener, app).await?;
    Ok(())
}
