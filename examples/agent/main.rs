//! How do I have an agent carry my runs out?
//!
//! `cargo run -p ploy-webhooks-examples --example agent` prints a `curl` that works, and what the
//! agent says to what is sent.

mod chat;
mod intake;
mod mock;

use std::env;
use std::error::Error;
use std::sync::Arc;

use axum::Router;
use chat::ChatRunner;
use ploy_webhooks::Outcome;
use ploy_webhooks::store::MemoryStore;
use ploy_webhooks::trigger::{DispatcherSettings, Ended, Observer};
use tokio::net::TcpListener;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let store = Arc::new(MemoryStore::new());
    let (ingest, slug, key) = intake::open(&store, agent().await?).await?;
    let settings = DispatcherSettings::new("agent-1".parse()?);
    let _dispatcher = ingest.dispatch_observed(settings, Printer);

    let app = Router::new().route_service("/api/v1/webhook/{slug}", ingest);
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    println!(
        "curl -i http://{}/api/v1/webhook/{slug} -H 'Authorization: Bearer {}' \
         -H 'Content-Type: application/json' -d '{{\"hello\":\"agent\"}}'",
        listener.local_addr()?,
        key.expose(),
    );
    axum::serve(listener, app).await?;
    Ok(())
}

/// The agent that the environment names, or one on this machine that only counts words.
async fn agent() -> Result<ChatRunner, Box<dyn Error>> {
    let Ok(base) = env::var("OPENAI_BASE_URL") else {
        let (base, _) = mock::start(mock::count).await?;
        return ChatRunner::new(&base, "mock", "mock");
    };
    let named = |name| env::var(name).map_err(|_| format!("set {name} beside OPENAI_BASE_URL"));
    ChatRunner::new(&base, &named("OPENAI_API_KEY")?, &named("OPENAI_MODEL")?)
}

/// Prints what comes of each attempt. It stays on record too.
#[derive(Debug)]
struct Printer;

impl Observer for Printer {
    fn ended(&self, &Ended { run, outcome, after, .. }: &Ended<'_>) {
        match outcome {
            Outcome::Succeed { output } => {
                println!("{run}, after {after:?}: {}", String::from_utf8_lossy(output));
            }
            Outcome::Retry { error, .. } => println!("{run}: {error}; it is tried again"),
            Outcome::Fail { error } => println!("{run}: {error}"),
        }
    }
}
