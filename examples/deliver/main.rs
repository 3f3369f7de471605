//! How do I send my app's own events to whoever wants them?
//!
//! `cargo run -p ploy-webhooks-examples --example deliver` publishes an event, and prints what a
//! receiver on this machine gets of it.

use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::http::HeaderMap;
use bytes::Bytes;
use ploy_webhooks::store::{DefinitionKind, DefinitionStore};
use ploy_webhooks::trigger::{Dispatcher, DispatcherSettings, Ploybooks};
use ploy_webhooks::{
    Clock, DestinationId, EventType, Keyring, MasterKey, Publication, Secret, Subscription,
    SubscriptionId, SystemClock, WorkspaceId, publish,
};
use ploy_webhooks_delivery::{AddressPolicy, Courier, Deliveries, DestinationForm, HttpSettings};
use ploy_webhooks_sqlite::{SqliteSettings, SqliteStore};
use tokio::net::TcpListener;
use tokio::sync::mpsc;

const WORKSPACE: WorkspaceId = WorkspaceId::DEFAULT;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let folder = tempfile::tempdir()?;
    let settings = SqliteSettings::at(folder.path().join("ploy.db"));
    let store = Arc::new(SqliteStore::open(settings).await?);
    let keyring = Keyring::of_store(&store, &MasterKey::mint(), &[]).await?;
    let (url, mut received) = receiver().await?;

    // Where to, and how. The receiver is given the secret, by which it knows who sends.
    let form = format!(
        r#"{{
            "url": "{url}/invoices",
            "body": {{"json": {{"text": "{{{{client.name}}}} has paid {{{{amount}}}}"}}}}
        }}"#
    );
    let form: DestinationForm = serde_json::from_str(&form)?;
    let (id, now) = (DestinationId::mint(SystemClock.now()), SystemClock.now());
    let secret = Secret::mint_signing_secret();
    let destination = form.seal(id, None, &keyring, &secret, now)?;
    let text = serde_json::to_string(&destination)?;
    let kind = DefinitionKind::Destination;
    let _defined = store.define(&WORKSPACE, kind, &id.to_string(), None, &text).await?;

    // Which events.
    let mut invoices = Subscription::to_destination(id);
    invoices.types = vec!["invoice.*".parse()?];
    let name = SubscriptionId::mint(now).to_string();
    let text = serde_json::to_string(&invoices)?;
    let kind = DefinitionKind::Subscription;
    let _defined = store.define(&WORKSPACE, kind, &name, None, &text).await?;

    // Nothing within your network is reached, but for what you name: here, this machine.
    let mut http = HttpSettings::default();
    http.addresses = AddressPolicy::public().allowing(["127.0.0.0/8".parse()?]);
    let deliveries = Deliveries::new(store.clone(), Courier::new(keyring, http)?);
    let runner = Ploybooks::new(store.clone(), deliveries);
    let dispatcher =
        Dispatcher::start(store.clone(), runner, DispatcherSettings::new("node-1".parse()?));

    let event_type = EventType::try_from("invoice.paid".to_owned())?;
    let payload = Bytes::from(r#"{"client":{"name":"Acme \"Inc.\""},"amount":129.5}"#);
    let published = publish(&*store, Publication::new(WORKSPACE, event_type, payload)).await?;
    println!("{published:?}");
    println!("{}", received.recv().await.ok_or("the receiver is gone")?);
    dispatcher.drain(Duration::from_secs(5)).await;
    store.close().await;
    Ok(())
}

/// A receiver that says what it gets.
async fn receiver() -> Result<(String, mpsc::UnboundedReceiver<String>), Box<dyn Error>> {
    let (tell, told) = mpsc::unbounded_channel();
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let url = format!("http://{}", listener.local_addr()?);
    let app = Router::new().fallback(take).with_state(tell);
    tokio::spawn(async move { axum::serve(listener, app).await });
    Ok((url, told))
}

async fn take(State(tell): State<mpsc::UnboundedSender<String>>, headers: HeaderMap, body: String) {
    let signature = headers.get("webhook-signature").is_some();
    // Whoever listens may be gone.
    let _ = tell.send(format!("received, signed: {signature}: {body}"));
}
