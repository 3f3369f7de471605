//! What is around a request: listeners that must not be reached, names that lead somewhere, and
//! the run that is sent.

use std::collections::VecDeque;
use std::io::{self, ErrorKind};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener};
use std::num::NonZeroU32;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use ploy_webhooks::trigger::{Job, Output, RunError, TriggerRunner};
use ploy_webhooks::{
    Clock, Event, EventId, Lease, LeasedRun, NewEvent, RunId, SystemClock, Trigger, WorkspaceId,
};
use ploy_webhooks_delivery::{
    AddressPolicy, HttpRunner, HttpSettings, Lookup, Target, TargetError,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::timeout;

/// Listeners on both loopback addresses, at the same port.
pub(crate) struct Doors {
    v4: TcpListener,
    v6: TcpListener,
    pub(crate) port: u16,
}

impl Doors {
    pub(crate) fn open() -> Self {
        for _ in 0..100 {
            let v4 = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
            let port = v4.local_addr().unwrap().port();
            // Somebody else may have it there.
            let Ok(v6) = TcpListener::bind((Ipv6Addr::LOCALHOST, port)) else { continue };
            v4.set_nonblocking(true).unwrap();
            v6.set_nonblocking(true).unwrap();
            return Self { v4, v6, port };
        }
        panic!("there is a port that is free on 127.0.0.1 and [::1]");
    }

    /// Whether anybody has connected to either. A connection is here before whoever makes it hears
    /// of that, so none is missed.
    pub(crate) fn were_reached(&self) -> bool {
        was_reached(&self.v4) || was_reached(&self.v6)
    }

    pub(crate) fn v6_was_reached(&self) -> bool {
        was_reached(&self.v6)
    }

    /// When somebody connects to either.
    pub(crate) async fn reached(&self) {
        let [v4, v6] = [&self.v4, &self.v6].map(asynchronous);
        tokio::select! {
            reached = v4.accept() => { reached.unwrap(); }
            reached = v6.accept() => { reached.unwrap(); }
        }
    }

    /// From now on, each request to 127.0.0.1 gets these bytes, and its connection is closed where
    /// they say so.
    pub(crate) fn answer_v4(&self, bytes: impl Into<String>) {
        let (v4, bytes) = (asynchronous(&self.v4), bytes.into());
        tokio::spawn(async move {
            while let Ok((mut connection, _)) = v4.accept().await {
                let bytes = bytes.clone();
                tokio::spawn(async move {
                    let mut request = [0; 1 << 14];
                    // Requests of tests are so short that they come in one piece, or their head does.
                    while connection.read(&mut request).await.is_ok_and(|length| length > 0) {
                        connection.write_all(bytes.as_bytes()).await.unwrap();
                        if bytes.contains("connection: close") {
                            return;
                        }
                    }
                });
            }
        });
    }
}

fn was_reached(listener: &TcpListener) -> bool {
    match listener.accept() {
        Ok(_) => true,
        Err(error) if error.kind() == ErrorKind::WouldBlock => false,
        Err(error) => panic!("{error}"),
    }
}

fn asynchronous(listener: &TcpListener) -> tokio::net::TcpListener {
    tokio::net::TcpListener::from_std(listener.try_clone().unwrap()).unwrap()
}

/// A name server for one name.
#[derive(Debug)]
pub(crate) struct Zone {
    answers: Mutex<VecDeque<Vec<SocketAddr>>>,
    asked: AtomicUsize,
}

impl Zone {
    /// The answers to one look-up after the other, the last one for ever. Texts without a port.
    pub(crate) fn answering<const N: usize>(answers: [&[&str]; N]) -> Arc<Self> {
        let address = |text: &&str| SocketAddr::new(text.parse().unwrap(), 0);
        let answers = answers.map(|answer| answer.iter().map(address).collect());
        Arc::new(Self { answers: Mutex::new(answers.into()), asked: AtomicUsize::new(0) })
    }

    /// One that answers with an address that has a port.
    pub(crate) fn answering_with_port(address: SocketAddr) -> Arc<Self> {
        let answers = Mutex::new(VecDeque::from([vec![address]]));
        Arc::new(Self { answers, asked: AtomicUsize::new(0) })
    }

    pub(crate) fn asked(&self) -> usize {
        self.asked.load(Ordering::SeqCst)
    }
}

#[async_trait]
impl Lookup for Zone {
    async fn lookup(&self, _host: &str) -> io::Result<Vec<SocketAddr>> {
        self.asked.fetch_add(1, Ordering::SeqCst);
        let mut answers = self.answers.lock().unwrap();
        if answers.len() > 1 {
            return Ok(answers.pop_front().expect("there is more than one"));
        }
        Ok(answers.front().cloned().unwrap_or_default())
    }
}

/// Public addresses, as the machine finds them.
pub(crate) fn public() -> HttpSettings {
    under(AddressPolicy::public())
}

pub(crate) fn under(policy: AddressPolicy) -> HttpSettings {
    let mut settings = HttpSettings::default();
    settings.addresses = policy;
    settings
}

/// As that name server has it, where 127.0.0.0/8 is open.
pub(crate) fn open_to_v4(zone: &Arc<Zone>) -> HttpSettings {
    let policy = AddressPolicy::public().allowing(["127.0.0.0/8".parse().unwrap()]);
    let mut settings = under(policy);
    settings.lookup = zone.clone();
    settings
}

/// What became of a run that was sent there.
pub(crate) enum Sent {
    /// The URL is none to send to.
    Never(TargetError),
    Failed(RunError),
    Done(Output),
}

/// Sends a run there by a client of its own.
pub(crate) async fn send(url: &str, settings: &HttpSettings) -> Sent {
    let target = match Target::at(url) {
        Ok(target) => target,
        Err(error) => return Sent::Never(error),
    };
    let runner = HttpRunner::to(target, settings.clone()).unwrap();
    match soon(runner.run(job())).await {
        Ok(output) => Sent::Done(output),
        Err(error) => Sent::Failed(error),
    }
}

/// What is said of a run that could not be sent there.
pub(crate) async fn refused(url: &str, settings: &HttpSettings) -> RunError {
    match send(url, settings).await {
        Sent::Failed(error) => error,
        Sent::Never(error) => panic!("{url}: {error}"),
        Sent::Done(_) => panic!("{url} was sent to"),
    }
}

pub(crate) fn job() -> Job {
    let now = SystemClock.now();
    let event = NewEvent::published(EventId::mint(now), WorkspaceId::DEFAULT, "{}".into());
    let leased = LeasedRun {
        lease: Lease { run: RunId::mint(now), attempt: NonZeroU32::MIN, place: 0 },
        is_after_loss: false,
        trigger: Trigger::ploybook("page".parse().unwrap()),
        event: Event::from(event),
    };
    Job::new(leased, Duration::from_secs(20))
}

/// Whatever is awaited in a test comes, or never does.
pub(crate) async fn soon<F: Future>(future: F) -> F::Output {
    timeout(Duration::from_secs(30), future).await.expect("it should have come to that")
}
