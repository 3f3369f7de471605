//! How does a row of a Clay table become a page of its own, and the page's URL a cell of the row?
//!
//! `cargo run -p ploy-webhooks-examples --example clay-to-page` plays it through, on this machine
//! alone: the rows of `leads.jsonl` are sent to an endpoint, each runs the Ploybook `Generate ABM
//! page for prospect`, which makes a page from `page.html` for `/for/{company-slug}` and posts its
//! URL to a table that stands in for Clay's.

mod ploybook;
mod table;

use std::error::Error;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use ploy_webhooks::store::{DefinitionKind, DefinitionStore, EndpointStore, RunQuery, RunStore};
use ploy_webhooks::trigger::{DispatcherSettings, Ploybooks};
use ploy_webhooks::{
    Clock, Endpoint, EndpointConfig, EndpointTrigger, Ingest, Means, Ploybook, Run, SystemClock,
    WorkspaceId,
};
use ploy_webhooks_sqlite::{SqliteSettings, SqliteStore};
use tokio::net::TcpListener;

use self::ploybook::PageMaker;
use self::table::Table;

const WORKSPACE: WorkspaceId = WorkspaceId::DEFAULT;
const PLOYBOOK: &str = "Generate ABM page for prospect";

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let here = Path::new(env!("CARGO_MANIFEST_DIR")).join("clay-to-page");
    // Where the pages go: a folder that is given, or one that is thrown away.
    let thrown_away = tempfile::tempdir()?;
    let site = std::env::args_os().nth(1).map_or(thrown_away.path().join("site"), PathBuf::from);
    let store =
        Arc::new(SqliteStore::open(SqliteSettings::at(thrown_away.path().join("ploy.db"))).await?);

    // The table that stands in for Clay's: it takes URLs by webhook.
    let table = Arc::new(Table::default());
    let (table_url, _) = serve(table.router()).await?;

    // The Ploybook, and the endpoint that it is wired to.
    let mut ploybook = Ploybook::new(Means::Function("page".to_owned()));
    ploybook.instructions =
        "Rewrite the hero for the prospect, publish, return the URL.".to_owned();
    let definition = serde_json::to_string(&ploybook)?;
    let _defined =
        store.define(&WORKSPACE, DefinitionKind::Ploybook, PLOYBOOK, None, &definition).await?;
    let config = EndpointConfig {
        description: "Clay enrichment".to_owned(),
        trigger: Some(EndpointTrigger { ploybook: PLOYBOOK.parse()? }),
        fields: Some(serde_json::from_str(include_str!("fields.json"))?),
        ..EndpointConfig::default()
    };
    let (endpoint, key) = Endpoint::mint(WORKSPACE, config, SystemClock.now());
    let slug = endpoint.slug.clone();
    let _created = store.create(endpoint).await?;

    // The intake, and what carries out what its events owe.
    let pages = PageMaker::new(&site, "https://pages.example.com", &table_url)?;
    let ingest = Ingest::builder(store.clone(), store.clone())
        .runner(Ploybooks::new(store.clone(), pages))
        .definitions(store.clone())
        .build()?;
    let dispatcher = ingest.dispatch(DispatcherSettings::new("example".parse()?));
    let app = Router::new().route_service("/api/v1/webhook/{slug}", ingest);
    let (intake_url, _) = serve(app).await?;

    // Clay sends its rows.
    let url = format!("{intake_url}/api/v1/webhook/{slug}");
    send(&url, key.expose(), &here.join("leads.jsonl")).await?;

    // What was made of them.
    until_all_is_done(&store).await?;
    dispatcher.drain(Duration::from_secs(10)).await;
    for (company, url) in table.rows() {
        println!("{company}: {url}");
    }
    for run in store.list_runs(&RunQuery::all(WORKSPACE)).await?.items {
        println!("{} {}", run.id, run.state.as_str());
    }
    println!("the pages are in {}", site.display());
    store.close().await;
    Ok(())
}

/// Serves an app on a free port, and says where.
async fn serve(app: Router) -> Result<(String, tokio::task::JoinHandle<()>), Box<dyn Error>> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let url = format!("http://{}", listener.local_addr()?);
    let serving = tokio::spawn(async move {
        // It ends with the program.
        let _ = axum::serve(listener, app).await;
    });
    Ok((url, serving))
}

/// The command `ploy-webhooks send`, as anybody would run it from a shell.
async fn send(url: &str, key: &str, rows: &Path) -> Result<(), Box<dyn Error>> {
    let words = ["ploy-webhooks", "send", "--url", url, "--key", key, "--rate", "50/s"];
    let mut arguments: Vec<OsString> = words.iter().map(OsString::from).collect();
    arguments.push(rows.into());
    // It brings a runtime of its own, so it has a thread of its own.
    let sent = tokio::task::spawn_blocking(|| ploy_webhooks_server::run(arguments)).await?;
    match sent == std::process::ExitCode::SUCCESS {
        true => Ok(()),
        false => Err("not every row was accepted".into()),
    }
}

async fn until_all_is_done(store: &SqliteStore) -> Result<(), Box<dyn Error>> {
    while store.list_runs(&RunQuery::all(WORKSPACE)).await?.items.iter().any(is_owed) {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    Ok(())
}

const fn is_owed(run: &Run) -> bool {
    run.state.is_in_line()
}
