//! Deliveries, from each store: how many events a second one node delivers to a receiver on this
//! machine that answers at once, beside a plain loop of the HTTP client that sends the same bodies
//! to it. Both take turns.

use std::collections::HashSet;
use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::num::NonZeroU16;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use axum::Router;
use axum::extract::ConnectInfo;
use bytes::Bytes;
use clap::Args;
use http::StatusCode;
use ploy_webhooks::store::{
    Appended, Defined, DefinitionKind, DefinitionStore, PageSize, RunQuery, StoreError,
};
use ploy_webhooks::trigger::{Dispatcher, DispatcherSettings, Ploybooks};
use ploy_webhooks::{
    Action, Clock, DestinationId, EventId, Keyring, NewEvent, NewRun, RunId, RunState, Secret,
    SystemClock, Task, Trigger, WorkspaceId,
};
use ploy_webhooks_delivery::{
    AddressPolicy, ClientError, Courier, Deliveries, DestinationError, DestinationForm,
    HttpSettings,
};
use serde::Serialize;
use thiserror::Error;
use tokio::sync::Notify;
use tokio::task::{JoinError, JoinSet};

use crate::payload::{Pool, Shape};
use crate::report::{median, show};
use crate::runs::stores::Opened;
use crate::runs::{Kind, RunsError, Store};

const WORKSPACE: WorkspaceId = WorkspaceId::DEFAULT;

/// What is run.
#[derive(Clone, Debug, Args)]
#[expect(clippy::exhaustive_structs, reason = "arguments of a program")]
pub struct Options {
    /// Which stores.
    #[arg(long, value_delimiter = ',', default_value = "sqlite")]
    pub stores: Vec<Kind>,
    /// How many events are delivered in a round.
    #[arg(long, default_value_t = 20_000)]
    pub events: usize,
    /// How many requests are under way at once, in the loop too.
    #[arg(long, default_value_t = 16)]
    pub at_once: u16,
    /// How often both are measured.
    #[arg(long, default_value_t = 5)]
    pub rounds: usize,
    /// The size of each payload in bytes, at least 200.
    #[arg(long, default_value_t = 1024)]
    pub payload: usize,
    /// Print everything as JSON.
    #[arg(long)]
    pub json: bool,
}

/// Why a run came to nothing.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum DeliveriesError {
    /// A store could not be opened, or failed.
    #[error(transparent)]
    Store(#[from] RunsError),
    /// The receiver cannot be started.
    #[error(transparent)]
    System(#[from] io::Error),
    /// The HTTP client cannot be set up.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// The destination is none.
    #[error(transparent)]
    Destination(#[from] DestinationError),
    /// The loop was not answered.
    #[error("the plain loop was not answered")]
    Loop(#[from] reqwest::Error),
    /// Something was not delivered.
    #[error("{0} runs have not succeeded")]
    NotDelivered(usize),
    /// A task panicked.
    #[error("a task panicked")]
    Task(#[from] JoinError),
}

impl From<StoreError> for DeliveriesError {
    fn from(error: StoreError) -> Self {
        Self::Store(error.into())
    }
}

/// What a whole run measured.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct Report {
    /// Each store.
    pub stores: Vec<StoreReport>,
}

/// What was measured of one store.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct StoreReport {
    /// Which.
    pub kind: Kind,
    /// Events delivered a second, from the start of the dispatcher until the last was on record: the
    /// median of the rounds.
    pub delivered_per_second: f64,
    /// Requests a second of the plain loop, likewise.
    pub loop_per_second: f64,
    /// The first as a part of the second, the median of the rounds.
    pub ratio: f64,
    /// Over how many connections the deliveries of the last round went.
    pub connections: usize,
}

/// Measures every store that is asked for.
///
/// # Errors
///
/// When a store fails, or something is not delivered.
pub async fn run(options: &Options) -> Result<Report, DeliveriesError> {
    let receiver = Receiver::start()?;
    let mut stores = Vec::new();
    for &kind in &options.stores {
        let (mut delivered, mut looped, mut ratio) = (Vec::new(), Vec::new(), Vec::new());
        let mut connections = 0;
        for round in 1..=options.rounds.max(1) {
            show(&format!("{kind:?}: round {round}"));
            let plain = plain_loop(&receiver, options).await?;
            receiver.forget();
            let rate = deliver(kind, &receiver, options).await?;
            connections = receiver.connections();
            delivered.push(rate);
            looped.push(plain);
            ratio.push(rate / plain);
        }
        stores.push(StoreReport {
            kind,
            delivered_per_second: median(delivered),
            loop_per_second: median(looped),
            ratio: median(ratio),
            connections,
        });
    }
    show("");
    Ok(Report { stores })
}

/// A receiver that answers at once, on a thread of its own.
struct Receiver {
    address: SocketAddr,
    desk: Arc<Desk>,
}

#[derive(Default)]
struct Desk {
    taken: AtomicUsize,
    peers: Mutex<HashSet<SocketAddr>>,
    moved: Notify,
}

impl Receiver {
    fn start() -> io::Result<Self> {
        let listener = std::net::TcpListener::bind("127.0.0.1:0")?;
        listener.set_nonblocking(true)?;
        let (address, desk) = (listener.local_addr()?, Arc::new(Desk::default()));
        let of_thread = desk.clone();
        thread::spawn(move || serve(listener, of_thread));
        Ok(Self { address, desk })
    }

    fn url(&self) -> String {
        format!("http://{}/in", self.address)
    }

    fn forget(&self) {
        self.desk.taken.store(0, Ordering::Relaxed);
        self.desk.peers.lock().expect("no holder of the lock panics").clear();
    }

    fn connections(&self) -> usize {
        self.desk.peers.lock().expect("no holder of the lock panics").len()
    }

    async fn has_taken(&self, count: usize) {
        while self.desk.taken.load(Ordering::Relaxed) < count {
            // Looked at again now and then, in case the last word was missed.
            let moved = self.desk.moved.notified();
            let _ = tokio::time::timeout(Duration::from_millis(5), moved).await;
        }
    }
}

fn serve(listener: std::net::TcpListener, desk: Arc<Desk>) {
    let take = move |ConnectInfo(peer): ConnectInfo<SocketAddr>, _body: Bytes| {
        desk.peers.lock().expect("no holder of the lock panics").insert(peer);
        if (desk.taken.fetch_add(1, Ordering::Relaxed) + 1).is_multiple_of(100) {
            desk.moved.notify_waiters();
        }
        async { StatusCode::NO_CONTENT }
    };
    let app = Router::new().fallback(take).into_make_service_with_connect_info::<SocketAddr>();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.expect("a runtime is built").block_on(async {
        let listener = tokio::net::TcpListener::from_std(listener).expect("within the runtime");
        axum::serve(listener, app).await.expect("it serves for ever");
    });
}

fn payload(pool: &Pool, number: usize) -> Bytes {
    Bytes::from(pool.numbered(number as u64).into_bytes())
}

/// Sends as many bodies with the HTTP client and nothing else, and says how many a second.
async fn plain_loop(receiver: &Receiver, options: &Options) -> Result<f64, DeliveriesError> {
    let client = reqwest::Client::builder().no_proxy().build()?;
    let pool = Arc::new(Pool::new(Shape::Flat, options.payload));
    let next = Arc::new(AtomicUsize::new(0));
    let (events, begin) = (options.events, Instant::now());
    let mut senders = JoinSet::new();
    for _ in 0..options.at_once {
        let (client, url) = (client.clone(), receiver.url());
        let (pool, next) = (pool.clone(), next.clone());
        senders.spawn(async move {
            loop {
                let number = next.fetch_add(1, Ordering::Relaxed);
                if number >= events {
                    return Ok::<_, reqwest::Error>(());
                }
                let request = client.post(&url).header("content-type", "application/json");
                let answer = request.body(payload(&pool, number)).send().await?;
                answer.error_for_status()?.bytes().await?;
            }
        });
    }
    while let Some(ended) = senders.join_next().await {
        ended??;
    }
    Ok(events as f64 / begin.elapsed().as_secs_f64())
}

/// Has events wait for a destination, delivers them, and says how many a second.
async fn deliver(
    kind: Kind,
    receiver: &Receiver,
    options: &Options,
) -> Result<f64, DeliveriesError> {
    let opened = Opened::open(kind).await?;
    let (store, keyring) = (opened.store.clone(), Keyring::mint());
    let id = define(&store, &keyring, &receiver.url(), options.at_once).await?;
    owe(&store, id, options).await?;

    let mut http = HttpSettings::default();
    http.addresses = AddressPolicy::public().allowing([receiver.address.ip().into()]);
    let deliveries = Deliveries::new(store.clone(), Courier::new(keyring, http)?);
    let runner = Ploybooks::new(store.clone(), deliveries);
    let worker = "bench".parse().expect("the name of a worker");
    let begin = Instant::now();
    let dispatcher = Dispatcher::start(store.clone(), runner, DispatcherSettings::new(worker));
    receiver.has_taken(options.events).await;
    // The last of them is on record when this returns.
    dispatcher.drain(Duration::from_secs(60)).await;
    let rate = options.events as f64 / begin.elapsed().as_secs_f64();

    let left = options.events - succeeded(&store, options.events).await?;
    opened.close().await;
    if left == 0 { Ok(rate) } else { Err(DeliveriesError::NotDelivered(left)) }
}

async fn define(
    store: &Arc<dyn Store>,
    keyring: &Keyring,
    url: &str,
    at_once: u16,
) -> Result<DestinationId, DeliveriesError> {
    let now = SystemClock.now();
    let id = DestinationId::mint(now);
    let mut form = DestinationForm::to(url.parse().expect("it is a URL"));
    form.at_once = NonZeroU16::new(at_once).unwrap_or(NonZeroU16::MIN);
    let destination = form.seal(id, None, keyring, &Secret::mint_signing_secret(), now)?;
    let text = serde_json::to_string(&destination).expect("destinations have a form in JSON");
    let (kind, name) = (DefinitionKind::Destination, id.to_string());
    match store.define(&WORKSPACE, kind, &name, None, &text).await? {
        Defined::Defined(_) => Ok(id),
        Defined::Conflict(_) => Err(RunsError::NotStored.into()),
    }
}

/// Stores the events, each of which is to be delivered.
async fn owe(
    store: &Arc<dyn Store>,
    destination: DestinationId,
    options: &Options,
) -> Result<(), DeliveriesError> {
    let pool = Pool::new(Shape::Flat, options.payload);
    let mut appends = JoinSet::new();
    for number in 0..options.events {
        if appends.len() == 256
            && let Some(appended) = appends.join_next().await
        {
            appended??;
        }
        let now = SystemClock.now();
        let action = Action::Destination(destination);
        let trigger = Trigger::Task(Task { action, subscription: None, draft: false });
        let owes = vec![NewRun { id: RunId::mint(now), trigger, delay: Duration::ZERO }];
        let event = NewEvent::published(EventId::mint(now), WORKSPACE, payload(&pool, number));
        let (store, event) = (store.clone(), NewEvent { owes, ..event });
        appends.spawn(async move {
            match store.append(event).await? {
                Appended::Stored => Ok(()),
                _ => Err(RunsError::NotStored),
            }
        });
    }
    while let Some(appended) = appends.join_next().await {
        appended??;
    }
    Ok(())
}

async fn succeeded(store: &Arc<dyn Store>, at_most: usize) -> Result<usize, DeliveriesError> {
    let mut query = RunQuery::all(WORKSPACE);
    (query.state, query.limit) = (Some(RunState::Succeeded), PageSize::MAX);
    let (mut rest, mut count) = (Some(query), 0);
    while let Some(query) = rest.filter(|_| count < at_most) {
        let page = store.list_runs(&query).await?;
        count += page.items.len();
        rest = page.next;
    }
    Ok(count)
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "{:<10}{:>14}{:>14}{:>8}{:>14}",
            "store", "delivered/s", "plain loop/s", "ratio", "connections"
        )?;
        for store in &self.stores {
            writeln!(
                f,
                "{:<10}{:>14.0}{:>14.0}{:>8.2}{:>14}",
                format!("{:?}", store.kind).to_lowercase(),
                store.delivered_per_second,
                store.loop_per_second,
                store.ratio,
                store.connections,
            )?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(flavor = "multi_thread")]
    async fn every_store_is_measured() {
        let options = Options {
            stores: vec![Kind::Memory, Kind::Sqlite, Kind::Postgres, Kind::Redis],
            events: 50,
            at_once: 4,
            rounds: 1,
            payload: 300,
            json: false,
        };
        let report = run(&options).await.unwrap();
        assert_eq!(report.stores.len(), 4);
        for store in &report.stores {
            assert!(store.ratio > 0.0 && (1..=8).contains(&store.connections), "{report}");
        }
    }
}
