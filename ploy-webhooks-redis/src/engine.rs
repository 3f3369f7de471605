//! The server, or the Cluster: which node has which slot, and calls on them.
//!
//! A call goes to the master of its slot, all calls for one node in one go, to several nodes at
//! the same time. Where a node says that it did not carry a call out (it has moved, its script is
//! not known), the call is sent again; where nobody knows, it never is.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, RwLock, Weak};
use std::time::Duration;

use ploy_webhooks::store::StoreError;
use redis::{Cmd, ConnectionAddr, ConnectionInfo, Pipeline, ServerError, Value};
use tokio::sync::Notify;
use tokio::task::JoinSet;

use crate::durable::Wait;
use crate::error::{Failure, refused};
use crate::flight::{Flight, Sent, answer};
use crate::layout::{Layout, SLOTS};
use crate::link::{Backoff, Link, Timeouts};
use crate::script::{Loadable, ScriptCall};
use crate::settings::RedisSettings;
use crate::sharing::{self, Sharing, Unheard};
use crate::topology::{self, Map};

/// How often a call follows from node to node before it is given up.
const REDIRECTS_MAX: usize = 5;

/// The gap between two looks at which node has which slot.
const REFRESH_GAP: Duration = Duration::from_millis(100);

/// Which of a node's connections carries a call. What waits for a disk or a replica keeps no
/// reader waiting.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Via {
    /// Reads.
    Read,
    /// Changes, answered when they are as durable as the settings ask for.
    Write,
    /// The same for batches of events, each flight on a connection of its own.
    Flight(usize),
    /// Changes that nobody has to find again: limits.
    Passing,
}

/// What is asked of the node that has the slot.
#[derive(Clone, Debug)]
pub(crate) struct Call {
    slot: u16,
    pub(crate) cmd: Cmd,
    /// Where the command is a script's.
    pub(crate) script: Option<&'static Loadable>,
}

impl Call {
    pub(crate) fn of_script(slot: u16, script: &'static Loadable, call: ScriptCall) -> Self {
        Self { slot, cmd: call.0, script: Some(script) }
    }

    pub(crate) const fn new(slot: u16, cmd: Cmd) -> Self {
        Self { slot, cmd, script: None }
    }
}

impl Via {
    const fn is_waited_for(self) -> bool {
        matches!(self, Self::Write | Self::Flight(_))
    }
}

/// What comes of a call.
pub(crate) type Answer = Result<Value, Failure>;

/// One node and the connections to it.
#[derive(Debug)]
pub(crate) struct Node {
    pub(crate) server: ConnectionInfo,
    read: Link,
    write: Link,
    passing: Link,
    flights: Vec<Link>,
    sharing: Sharing,
}

impl Node {
    pub(crate) const fn sharing(&self) -> &Sharing {
        &self.sharing
    }

    pub(crate) fn link(&self, via: Via) -> &Link {
        match via {
            Via::Read => &self.read,
            Via::Write => &self.write,
            Via::Passing => &self.passing,
            Via::Flight(number) => &self.flights[number],
        }
    }

    /// Has whatever comes next connect anew.
    fn leave(&self) {
        let links = [&self.read, &self.write, &self.passing];
        links.into_iter().chain(&self.flights).for_each(Link::leave);
    }

    /// What the node says to one command.
    pub(crate) async fn ask(&self, cmd: Cmd) -> Answer {
        let mut commands = Pipeline::with_capacity(1);
        commands.add_command(cmd);
        let answers = self.read.send(&commands).await?;
        answer(answers.into_iter().next().unwrap_or_default())
    }
}

/// The server or the Cluster.
#[derive(Debug)]
pub(crate) struct Engine {
    seeds: Vec<ConnectionInfo>,
    timeouts: Timeouts,
    flights_max: usize,
    /// What writes wait for; nothing until the settings of the server are known.
    wait: OnceLock<Wait>,
    nodes: Mutex<HashMap<String, Arc<Node>>>,
    slots: RwLock<Slots>,
    /// The slots that the store is spread over: a map without all of them is none.
    needed: Vec<u16>,
    /// Notified when the slots are not where they were thought to be.
    moved: Arc<Notify>,
}

/// Which node has which slot.
#[derive(Debug)]
enum Slots {
    /// One has all.
    Single(Arc<Node>),
    /// The Cluster said so. `None` where it has nobody for a slot.
    Spread(Vec<Option<Arc<Node>>>),
}

impl Engine {
    /// Connects to the first node that answers, and asks it for the others.
    pub(crate) async fn connect(settings: &RedisSettings) -> Result<Arc<Self>, StoreError> {
        topology::provide_cryptography();
        let seeds = settings.nodes()?;
        let timeouts = Timeouts {
            connection: settings.connection_timeout,
            response: settings.response_timeout,
        };
        let engine = Self {
            seeds: seeds.clone(),
            timeouts,
            flights_max: settings.flights_max.get(),
            wait: OnceLock::new(),
            nodes: Mutex::default(),
            slots: RwLock::new(Slots::Spread(Vec::new())),
            needed: Layout::new(&settings.prefix, settings.buckets).slots(),
            moved: Arc::default(),
        };
        let mut failure = None;
        for seed in &seeds {
            let node = engine.node(seed.addr().clone());
            match topology::is_cluster(&node).await {
                Ok(false) if seeds.len() > 1 => {
                    // Nodes that took different ones would share nothing.
                    return Err(refused(format!(
                        "several URLs are given, and {} is no node of a Cluster",
                        seed.addr()
                    )));
                }
                Ok(false) => {
                    *engine.slots_mut() = Slots::Single(node);
                    return Ok(Arc::new(engine));
                }
                Ok(true) => match Map::of(&node).await {
                    Ok(map) if !map.covers(&engine.needed) => {
                        let why = format!("{} does not know who has each slot", seed.addr());
                        failure = Some(Failure::Unsent(why));
                    }
                    Ok(map) => {
                        engine.set_slots(map.masters);
                        let engine = Arc::new(engine);
                        tokio::spawn(refresh(Arc::downgrade(&engine), engine.moved.clone()));
                        return Ok(engine);
                    }
                    Err(error) => failure = Some(error),
                },
                Err(error) => failure = Some(error),
            }
        }
        let failure = failure.unwrap_or_else(|| Failure::Unsent("no node is named".to_owned()));
        Err(failure.of_read("cannot open the Redis store"))
    }

    /// The masters: of the Cluster's slots, or the one server.
    pub(crate) fn masters(&self) -> Vec<Arc<Node>> {
        match &*self.slots() {
            Slots::Single(node) => vec![node.clone()],
            Slots::Spread(slots) => {
                let mut masters: Vec<Arc<Node>> = Vec::new();
                for node in slots.iter().flatten() {
                    if !masters.iter().any(|known| Arc::ptr_eq(known, node)) {
                        masters.push(node.clone());
                    }
                }
                masters
            }
        }
    }

    /// Slots of one number are those that one script may touch at once: on a single server all,
    /// on a Cluster each for itself.
    pub(crate) fn group_of(&self, slot: u16) -> u16 {
        if self.is_cluster() { slot } else { 0 }
    }

    pub(crate) fn is_cluster(&self) -> bool {
        matches!(&*self.slots(), Slots::Spread(_))
    }

    /// From now on, answers to writes wait for this.
    pub(crate) fn wait_for(&self, wait: Wait) {
        // Said once, when the store is opened.
        let _ = self.wait.set(wait);
    }

    /// Whether a write is waited for after its answer.
    pub(crate) fn waits(&self) -> bool {
        self.wait.get().is_some()
    }

    pub(crate) const fn timeouts(&self) -> Timeouts {
        self.timeouts
    }

    /// Makes one call.
    pub(crate) async fn call(self: &Arc<Self>, via: Via, call: Call) -> Answer {
        let mut answers = self.call_all(via, vec![call]).await;
        answers.pop().expect("there is an answer for each call")
    }

    /// Makes one small call that writes, together with others that come at the same time.
    pub(crate) async fn call_shared(self: &Arc<Self>, call: Call, unheard: Unheard) -> Answer {
        match self.node_for(&call, Target::Master) {
            Some(node) => sharing::call(self, &node, call, unheard).await,
            None => self.call(Via::Write, call).await,
        }
    }

    /// Makes the calls, in no order; there is an answer for each, in theirs.
    pub(crate) async fn call_all(self: &Arc<Self>, via: Via, calls: Vec<Call>) -> Vec<Answer> {
        let mut answers: Vec<Option<Answer>> = calls.iter().map(|_| None).collect();
        let mut left: Vec<(usize, Call, Target)> =
            calls.into_iter().enumerate().map(|(n, call)| (n, call, Target::Master)).collect();
        for _ in 0..=REDIRECTS_MAX {
            let mut again = Vec::new();
            for sent in self.send(via, left).await {
                match self.next_try(&sent) {
                    Some(target) => again.push((sent.number, sent.call, target)),
                    None => answers[sent.number] = Some(sent.answer),
                }
            }
            left = again;
            if left.is_empty() {
                break;
            }
        }
        for (number, ..) in left {
            let why = "the slots are moving from node to node".to_owned();
            answers[number] = Some(Err(Failure::Unsent(why)));
        }
        answers.into_iter().map(|answer| answer.expect("each call is answered or left")).collect()
    }

    /// Sends each call to its node.
    async fn send(&self, via: Via, calls: Vec<(usize, Call, Target)>) -> Vec<Sent> {
        let mut answered = Vec::with_capacity(calls.len());
        let mut flights: Vec<Flight> = Vec::new();
        for (number, call, target) in calls {
            let is_loading = matches!(target, Target::Loading(_));
            let Some(node) = self.node_for(&call, target) else {
                let why = format!("no node has the slot {}", call.slot);
                answered.push(Sent { number, call, answer: Err(Failure::Unsent(why)), node: None });
                self.moved.notify_one();
                continue;
            };
            let place = flights.iter().position(|flight| Arc::ptr_eq(&flight.node, &node));
            let place = place.unwrap_or_else(|| {
                flights.push(Flight { node, calls: Vec::new() });
                flights.len() - 1
            });
            flights[place].calls.push((number, call, is_loading));
        }
        let wait = self.wait.get().filter(|_| via.is_waited_for());
        let wait = wait.map(|wait| (*wait, self.timeouts.response / 2));
        if flights.len() == 1 {
            let flight = flights.pop().expect("there is one");
            answered.extend(flight.fly(via, wait).await);
            return answered;
        }
        let mut under_way: JoinSet<_> =
            (flights.into_iter()).map(|flight| flight.fly(via, wait)).collect();
        while let Some(sent) = under_way.join_next().await {
            answered.extend(sent.expect("no flight panics"));
        }
        answered
    }

    fn node_for(&self, call: &Call, target: Target) -> Option<Arc<Node>> {
        match (target, &*self.slots()) {
            (Target::Moved(node) | Target::Loading(node), _) => Some(node),
            (Target::Master, Slots::Single(node)) => Some(node.clone()),
            (Target::Master, Slots::Spread(slots)) => {
                slots.get(usize::from(call.slot)).cloned().flatten()
            }
        }
    }

    /// Where a call is sent again that was not carried out; `None` where it is over.
    fn next_try(&self, sent: &Sent) -> Option<Target> {
        let error = match &sent.answer {
            Ok(_) | Err(Failure::NotDurable(..)) => return None,
            Err(Failure::Unsent(_) | Failure::Unanswered(_)) => {
                // Perhaps another node has taken its place.
                self.moved.notify_one();
                return None;
            }
            Err(Failure::Server(error)) => error,
        };
        let node = sent.node.as_ref()?;
        match error.code() {
            "NOSCRIPT" if sent.call.script.is_some() => Some(Target::Loading(node.clone())),
            "MOVED" if self.is_cluster() => {
                let target = self.node(redirection(error, &node.server)?);
                self.moved.notify_one();
                if let Slots::Spread(slots) = &mut *self.slots_mut()
                    && let Some(place) = slots.get_mut(usize::from(sent.call.slot))
                {
                    *place = Some(target.clone());
                }
                Some(Target::Moved(target))
            }
            // `ASK` is not followed: some of a slot's keys have moved and some have not, and a
            // script on either side would see a part of what it decides by. Scripts name a key
            // that never exists, so a slot is refused as a whole until it has moved.
            code @ ("READONLY" | "CLUSTERDOWN" | "MASTERDOWN" | "ASK") => {
                if code == "READONLY" {
                    // A replica now: the address may lead to another server meanwhile.
                    node.leave();
                }
                self.moved.notify_one();
                None
            }
            _ => None,
        }
    }

    /// The node with that address, with the credentials and the certificates of the first.
    fn node(&self, address: ConnectionAddr) -> Arc<Node> {
        let server = self.seeds[0].clone().set_addr(address.clone());
        let mut nodes = self.nodes.lock().expect("no holder of the lock panics");
        let made = || {
            let backoff = Arc::new(Backoff::default());
            let link = || Link::new(server.clone(), self.timeouts, backoff.clone());
            Arc::new(Node {
                read: link(),
                write: link(),
                passing: link(),
                flights: (0..self.flights_max).map(|_| link()).collect(),
                sharing: Sharing::default(),
                server,
            })
        };
        nodes.entry(address.to_string()).or_insert_with(made).clone()
    }

    fn set_slots(&self, ranges: Vec<topology::Master>) {
        let mut slots = vec![None; usize::from(SLOTS)];
        for topology::Master { address, first, last } in ranges {
            let node = self.node(address);
            let range = usize::from(first)..=usize::from(last);
            slots[range].fill(Some(node));
        }
        *self.slots_mut() = Slots::Spread(slots);
        // Nodes that have gone are not asked for ever.
        let masters = self.masters();
        let mut nodes = self.nodes.lock().expect("no holder of the lock panics");
        nodes.retain(|_, node| masters.iter().any(|master| Arc::ptr_eq(master, node)));
    }

    fn slots(&self) -> std::sync::RwLockReadGuard<'_, Slots> {
        self.slots.read().expect("no holder of the lock panics")
    }

    fn slots_mut(&self) -> std::sync::RwLockWriteGuard<'_, Slots> {
        self.slots.write().expect("no holder of the lock panics")
    }

    fn known_nodes(&self) -> Vec<Arc<Node>> {
        let nodes: MutexGuard<'_, _> = self.nodes.lock().expect("no holder of the lock panics");
        let mut known: Vec<_> = nodes.values().cloned().collect();
        drop(nodes);
        for seed in &self.seeds {
            let node = self.node(seed.addr().clone());
            if !known.iter().any(|other| Arc::ptr_eq(other, &node)) {
                known.push(node);
            }
        }
        known
    }
}

/// Looks again at which node has which slot, whenever that is in doubt, as long as there is
/// somebody to tell.
async fn refresh(engine: Weak<Engine>, moved: Arc<Notify>) {
    loop {
        moved.notified().await;
        let Some(engine) = engine.upgrade() else { return };
        let mut asked: JoinSet<_> = (engine.known_nodes().into_iter())
            .map(|node| async move { Map::of(&node).await })
            .collect();
        if let Some(map) = topology::best_map(&mut asked, &engine.needed).await {
            engine.set_slots(map.masters);
        }
        drop((asked, engine));
        tokio::time::sleep(REFRESH_GAP).await;
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        // Whoever waits to refresh finds that there is nothing left.
        self.moved.notify_one();
    }
}

/// Where a call is sent.
enum Target {
    /// To whoever has its slot.
    Master,
    /// To the node that has it now.
    Moved(Arc<Node>),
    /// To the same node again, with its script.
    Loading(Arc<Node>),
}

/// Where `MOVED 3999 127.0.0.1:6381` points to.
fn redirection(error: &ServerError, from: &ConnectionInfo) -> Option<ConnectionAddr> {
    let (_slot, address) = error.details()?.split_once(' ')?;
    let (host, port) = address.rsplit_once(':')?;
    Some(topology::address(from.addr(), host, port.parse().ok()?))
}
