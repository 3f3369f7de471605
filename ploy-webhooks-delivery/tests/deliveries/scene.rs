//! A store, a dispatcher that delivers, and time that passes when the test says so.

use std::num::NonZeroU16;
use std::sync::Arc;
use std::sync::mpsc;
use std::time::Duration;

use bytes::Bytes;
use ploy_webhooks::store::{
    Defined, DefinitionKind, DefinitionStore, MemoryStore, PageSize, RunQuery, RunStore,
};
use ploy_webhooks::trigger::{Dispatcher, DispatcherSettings, Ploybooks};
use ploy_webhooks::{
    Clock, DestinationId, EventId, Keyring, ManualClock, Outcome, Publication, Published, Run,
    RunState, Secret, Subscription, SubscriptionId, SystemClock, WorkspaceId, publish,
};
use ploy_webhooks_delivery::{
    AddressPolicy, Courier, Deliveries, Destination, DestinationForm, DestinationState,
    HttpSettings, Record,
};
use serde_json::{Value, json};
use tokio::task::yield_now;

pub(crate) const WORKSPACE: WorkspaceId = WorkspaceId::DEFAULT;

/// Everything that delivers. The clock is that of the store; [`pass`](Self::pass) turns it and
/// tokio's together, in tests that have paused time.
#[derive(Debug)]
pub(crate) struct World {
    pub(crate) store: Arc<MemoryStore>,
    pub(crate) clock: Arc<ManualClock>,
    pub(crate) keyring: Keyring,
    _dispatcher: Dispatcher,
    /// While it is there, paused time does not pass by itself.
    _still: mpsc::Sender<()>,
}

impl World {
    pub(crate) fn start() -> Self {
        let clock = Arc::new(ManualClock::new(SystemClock.now()));
        let store = Arc::new(MemoryStore::with_parts(1 << 30, clock.clone()));
        let keyring = Keyring::mint();
        let mut http = HttpSettings::default();
        let local = ["127.0.0.0/8".parse().expect("a range")];
        http.addresses = AddressPolicy::public().allowing(local);
        let courier = Courier::new(keyring.clone(), http).expect("a client").clock(clock.clone());
        let deliveries = Deliveries::new(store.clone(), courier);
        let mut settings = DispatcherSettings::new("test".parse().expect("a name"));
        settings.concurrency = NonZeroU16::new(64).expect("64");
        let runner = Ploybooks::new(store.clone(), deliveries);
        let dispatcher = Dispatcher::start(store.clone(), runner, settings);
        let (still, held) = mpsc::channel::<()>();
        tokio::task::spawn_blocking(move || held.recv());
        Self { store, clock, keyring, _dispatcher: dispatcher, _still: still }
    }

    /// Sets a destination up, and has every published event delivered there.
    pub(crate) async fn wire(&self, form: Value) -> DestinationId {
        let id = self.destination(form).await;
        self.subscribe(json!({"destination": id})).await;
        id
    }

    pub(crate) async fn destination(&self, form: Value) -> DestinationId {
        let id = DestinationId::mint(SystemClock.now());
        self.define(id, form).await;
        id
    }

    /// Sets the destination of that id as it is to be.
    pub(crate) async fn define(&self, id: DestinationId, form: Value) {
        let form: DestinationForm = serde_json::from_str(&form.to_string()).expect("a form");
        let minted = Secret::mint_signing_secret();
        let now = self.clock.now();
        let sealed = form.seal(id, None, &self.keyring, &minted, now).expect("a destination");
        self.keep(id, &sealed).await;
    }

    pub(crate) async fn keep(&self, id: DestinationId, destination: &Destination) {
        let (kind, name) = (DefinitionKind::Destination, id.to_string());
        let standing = self.store.definition(&WORKSPACE, kind, &name).await.expect("it works");
        let expected = standing.map(|standing| standing.revision);
        let text = serde_json::to_string(destination).expect("JSON");
        let defined = self.store.define(&WORKSPACE, kind, &name, expected, &text).await;
        assert!(matches!(defined, Ok(Defined::Defined(_))));
    }

    pub(crate) async fn subscribe(&self, form: Value) {
        let subscription: Subscription = serde_json::from_value(form).expect("a subscription");
        let id = SubscriptionId::mint(SystemClock.now()).to_string();
        let text = serde_json::to_string(&subscription).expect("JSON");
        let kind = DefinitionKind::Subscription;
        let defined = self.store.define(&WORKSPACE, kind, &id, None, &text).await;
        assert!(matches!(defined, Ok(Defined::Defined(_))));
    }

    pub(crate) async fn publish(&self, event_type: &str, payload: impl Into<Bytes>) -> EventId {
        let event_type = event_type.to_owned().try_into().expect("a type");
        let publication = Publication::new(WORKSPACE, event_type, payload.into());
        match publish(&*self.store, publication).await.expect("the memory store works") {
            Published::Stored { event, .. } => event,
            Published::Duplicate(_) => panic!("there is no key"),
        }
    }

    pub(crate) async fn runs(&self, event: EventId) -> Vec<Run> {
        self.store.runs(&WORKSPACE, &event).await.expect("the memory store works")
    }

    pub(crate) async fn run(&self, event: EventId) -> Run {
        let [run] = &self.runs(event).await[..] else { panic!("the event owes one run") };
        run.clone()
    }

    pub(crate) async fn count(&self, destination: DestinationId, state: RunState) -> usize {
        let mut query = RunQuery::all(WORKSPACE);
        query.limit = PageSize::MAX;
        (query.state, query.destination) = (Some(state), Some(destination));
        let (mut rest, mut count) = (Some(query), 0);
        while let Some(query) = rest {
            let page = self.store.list_runs(&query).await.expect("the memory store works");
            count += page.items.len();
            rest = page.next;
        }
        count
    }

    pub(crate) async fn state(&self, id: DestinationId) -> DestinationState {
        DestinationState::of(&*self.store, &WORKSPACE, id).await.expect("it works").0
    }

    /// Has so much time pass, a step at a time, and everything happen that is due by then.
    pub(crate) async fn pass(&self, time: Duration, step: Duration) {
        let mut left = time;
        while !left.is_zero() {
            let step = step.min(left);
            left -= step;
            self.clock.advance(step);
            tokio::time::advance(step).await;
            self.settle().await;
        }
    }

    /// Lets everything happen that is due now.
    pub(crate) async fn settle(&self) {
        let mut quiet = 0;
        // What waits for its time does so under way.
        for _ in 0..60 {
            if quiet == 3 {
                break;
            }
            // Sockets are looked at every so many turns.
            for _ in 0..150 {
                yield_now().await;
            }
            let mut running = RunQuery::all(WORKSPACE);
            running.state = Some(RunState::Running);
            let page = self.store.list_runs(&running).await.expect("the memory store works");
            quiet = if page.items.is_empty() { quiet + 1 } else { 0 };
        }
    }
}

/// What is on record of each attempt that ended.
pub(crate) fn records(run: &Run) -> Vec<Record> {
    let ends = run.attempts.iter().filter_map(|attempt| attempt.end.as_ref());
    ends.map(|end| {
        let text = match &end.outcome {
            Outcome::Succeed { output } => String::from_utf8_lossy(output).into_owned(),
            Outcome::Retry { error, .. } | Outcome::Fail { error } => error.clone(),
        };
        Record::of_text(&text).unwrap_or_else(|| panic!("no record: {text}"))
    })
    .collect()
}

/// How long apart attempts were to be.
pub(crate) fn gaps(run: &Run) -> Vec<Duration> {
    let ends = run.attempts.iter().filter_map(|attempt| attempt.end.as_ref());
    ends.filter_map(|end| match &end.outcome {
        Outcome::Retry { after, .. } => Some(*after),
        Outcome::Succeed { .. } | Outcome::Fail { .. } => None,
    })
    .collect()
}

/// Waits, by the machine's own time, until that holds.
pub(crate) async fn until<T>(mut holds: impl AsyncFnMut() -> Option<T>) -> T {
    let by = std::time::Instant::now() + Duration::from_secs(60);
    loop {
        if let Some(value) = holds().await {
            return value;
        }
        assert!(std::time::Instant::now() < by, "it does not come to pass");
        yield_now().await;
    }
}
