//! The network between a store and its engine, which a test can delay, deafen and cut.

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use tokio::sync::watch;
use url::Url;

use crate::ports;

/// How long bytes are waited for before a test gives up.
const PATIENCE: Duration = Duration::from_secs(60);

/// How much is on its way at most before the sender is made to wait.
const CHUNKS: usize = 256;

/// A TCP proxy before a server. Its connections are cut when it is dropped.
#[derive(Debug)]
pub struct Proxy {
    address: SocketAddr,
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    target: SocketAddr,
    state: Mutex<State>,
    /// How many bytes the server is given, those included that are just being written: it may
    /// have answered them already.
    sending: AtomicU64,
    /// How many bytes the server was given.
    sent: watch::Sender<u64>,
    /// How many bytes of answers were swallowed.
    swallowed: watch::Sender<u64>,
}

#[derive(Debug)]
struct State {
    /// None while it is cut.
    listener: Option<Arc<TcpListener>>,
    connections: Vec<Arc<Link>>,
    delay: Duration,
    /// What a client sends that is to get no answer; nothing at all is in every send.
    unanswered: Option<Vec<u8>>,
}

/// A connection of a client and its continuation to the server.
#[derive(Debug)]
struct Link {
    client: TcpStream,
    server: TcpStream,
    /// Whether its answers are swallowed from now on.
    deaf: AtomicBool,
    /// Whether an answer was swallowed, so that no later one would make sense.
    lossy: AtomicBool,
}

#[derive(Clone, Copy)]
enum Direction {
    ToServer,
    ToClient,
}

impl Proxy {
    /// A proxy to that server on a port of its own, which passes everything on.
    ///
    /// # Panics
    ///
    /// When it cannot listen.
    #[must_use]
    pub fn start(target: SocketAddr) -> Self {
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, ports::pick()));
        let state =
            State { listener: None, connections: vec![], delay: Duration::ZERO, unanswered: None };
        let shared = Shared {
            target,
            state: Mutex::new(state),
            sending: AtomicU64::new(0),
            sent: watch::Sender::new(0),
            swallowed: watch::Sender::new(0),
        };
        let proxy = Self { address, shared: Arc::new(shared) };
        proxy.restore();
        proxy
    }

    /// Where it listens.
    #[must_use]
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// That URL of the server, by way of the proxy.
    ///
    /// # Panics
    ///
    /// When it is no URL of a host.
    #[must_use]
    pub fn url(&self, of_server: &str) -> String {
        let mut url = Url::parse(of_server).expect("it is a URL");
        url.set_ip_host(self.address.ip()).expect("a URL of a host");
        url.set_port(Some(self.address.port())).expect("a URL of a host");
        url.into()
    }

    /// Closes every connection, and refuses new ones.
    pub fn cut(&self) {
        let mut state = self.shared.state();
        if let Some(listener) = state.listener.take() {
            // Ends the accept that is waited in. It fails only where that has ended.
            let _ = rustix::net::shutdown(&*listener, rustix::net::Shutdown::Both);
        }
        for link in state.connections.drain(..) {
            link.close();
        }
    }

    /// Passes everything on again, at once. Connections that missed an answer are closed, as no
    /// later answer would make sense to them.
    ///
    /// # Panics
    ///
    /// When it was cut, and another process took the port meanwhile.
    pub fn restore(&self) {
        let mut state = self.shared.state();
        state.delay = Duration::ZERO;
        state.unanswered = None;
        state.connections.retain(|link| {
            link.deaf.store(false, Ordering::SeqCst);
            let lossy = link.lossy.load(Ordering::SeqCst);
            if lossy {
                link.close();
            }
            !lossy
        });
        if state.listener.is_none() {
            let listener = TcpListener::bind(self.address).expect("the port of the proxy is free");
            let listener = Arc::new(listener);
            state.listener = Some(listener.clone());
            let shared = self.shared.clone();
            thread::spawn(move || shared.accept(&listener));
        }
    }

    /// Delays what is sent from now on by this, in each direction.
    pub fn delay(&self, delay: Duration) {
        self.shared.state().delay = delay;
    }

    /// Passes nothing on to the clients any more, though the server gets all that they send: what
    /// a commit looks like whose answer is lost.
    pub fn swallow_answers(&self) {
        let mut state = self.shared.state();
        state.unanswered = Some(Vec::new());
        for link in &state.connections {
            link.deaf.store(true, Ordering::SeqCst);
        }
    }

    /// As [`swallow_answers`](Self::swallow_answers), but on each connection only from the first
    /// bytes on that its client sends after this: answers to what it sent before still arrive,
    /// unless it sends more before it has them.
    pub fn swallow_later_answers(&self) {
        self.swallow_answers_to(b"");
    }

    /// As [`swallow_later_answers`](Self::swallow_later_answers), but on each connection only from
    /// the bytes on that hold these, such as `COMMIT`. They have to be sent in one piece, as short
    /// commands are.
    pub fn swallow_answers_to(&self, request: &[u8]) {
        self.shared.state().unanswered = Some(request.to_owned());
    }

    /// How many bytes the server was given so far, all included that it has answered.
    #[must_use]
    pub fn sent(&self) -> u64 {
        self.shared.sending.load(Ordering::SeqCst)
    }

    /// Returns when the server was given more bytes than these, and then how many.
    ///
    /// # Panics
    ///
    /// When that takes too long.
    pub async fn sent_beyond(&self, bytes: u64) -> u64 {
        beyond(&self.shared.sent, bytes).await
    }

    /// How many bytes of answers were swallowed so far.
    #[must_use]
    pub fn swallowed(&self) -> u64 {
        *self.shared.swallowed.borrow()
    }

    /// Returns when more bytes of answers than these were swallowed, and then how many: the server
    /// has done what it was asked, and the client does not know.
    ///
    /// # Panics
    ///
    /// When that takes too long.
    pub async fn swallowed_beyond(&self, bytes: u64) -> u64 {
        beyond(&self.shared.swallowed, bytes).await
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.cut();
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        // What a panic can interrupt in here leaves it whole.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn accept(self: Arc<Self>, listener: &Arc<TcpListener>) {
        loop {
            let client = listener.accept();
            if !self.state().is_current(listener) {
                return;
            }
            // What fails here shows to the client as a connection that ends at once, as when the
            // server is gone.
            let Ok((client, _)) = client else { continue };
            let Ok(server) = TcpStream::connect(self.target) else { continue };
            let _ = self.clone().connect(listener, client, server);
        }
    }

    fn connect(
        self: Arc<Self>,
        listener: &Arc<TcpListener>,
        client: TcpStream,
        server: TcpStream,
    ) -> io::Result<()> {
        client.set_nodelay(true)?;
        server.set_nodelay(true)?;
        let link =
            Link { client, server, deaf: AtomicBool::new(false), lossy: AtomicBool::new(false) };
        let link = Arc::new(link);
        let mut state = self.state();
        if !state.is_current(listener) {
            return Ok(());
        }
        state.connections.push(link.clone());
        drop(state);
        for direction in [Direction::ToServer, Direction::ToClient] {
            let (chunks, due) = sync_channel(CHUNKS);
            let (shared, of_reader) = (self.clone(), link.clone());
            thread::spawn(move || shared.read(&of_reader, direction, &chunks));
            let (shared, of_writer) = (self.clone(), link.clone());
            thread::spawn(move || shared.write(&of_writer, direction, due));
        }
        Ok(())
    }

    /// Takes what one side sends, and says when the other may have it.
    fn read(&self, link: &Link, direction: Direction, chunks: &SyncSender<(Instant, Vec<u8>)>) {
        let mut from = match direction {
            Direction::ToServer => &link.client,
            Direction::ToClient => &link.server,
        };
        let mut buffer = vec![0; 64 * 1024];
        while let Ok(read @ 1..) = from.read(&mut buffer) {
            let due = Instant::now() + self.state().delay;
            if chunks.send((due, buffer[..read].to_owned())).is_err() {
                break;
            }
        }
    }

    /// Gives the other side what it may have, and closes both where there is no more.
    fn write(&self, link: &Arc<Link>, direction: Direction, due: Receiver<(Instant, Vec<u8>)>) {
        for (due, chunk) in due {
            thread::sleep(due.saturating_duration_since(Instant::now()));
            let passed = match direction {
                Direction::ToServer => self.pass_to_server(link, &chunk),
                Direction::ToClient => self.pass_to_client(link, &chunk),
            };
            if passed.is_err() {
                break;
            }
        }
        link.close();
        self.state().connections.retain(|open| !Arc::ptr_eq(open, link));
    }

    fn pass_to_server(&self, link: &Link, chunk: &[u8]) -> io::Result<()> {
        {
            // Decided before the server has it, since its answer may be quick. Under the lock, so
            // that it is not decided by what `restore` has ended.
            let state = self.state();
            if let Some(unanswered) = &state.unanswered
                && holds(chunk, unanswered)
            {
                link.deaf.store(true, Ordering::SeqCst);
            }
        }
        self.sending.fetch_add(chunk.len() as u64, Ordering::SeqCst);
        (&link.server).write_all(chunk)?;
        self.sent.send_modify(|sent| *sent += chunk.len() as u64);
        Ok(())
    }

    fn pass_to_client(&self, link: &Link, chunk: &[u8]) -> io::Result<()> {
        {
            let _state = self.state();
            if link.deaf.load(Ordering::SeqCst) {
                link.lossy.store(true, Ordering::SeqCst);
                self.swallowed.send_modify(|swallowed| *swallowed += chunk.len() as u64);
                return Ok(());
            }
        }
        (&link.client).write_all(chunk)
    }
}

impl State {
    /// Whether there was no cut since this was made.
    fn is_current(&self, listener: &Arc<TcpListener>) -> bool {
        self.listener.as_ref().is_some_and(|current| Arc::ptr_eq(current, listener))
    }
}

impl Link {
    fn close(&self) {
        for stream in [&self.client, &self.server] {
            // It fails where that side has closed it.
            let _ = stream.shutdown(Shutdown::Both);
        }
    }
}

fn holds(chunk: &[u8], part: &[u8]) -> bool {
    part.is_empty() || chunk.windows(part.len()).any(|window| window == part)
}

async fn beyond(counter: &watch::Sender<u64>, bytes: u64) -> u64 {
    let mut counter = counter.subscribe();
    let more = counter.wait_for(|count| *count > bytes);
    let more = tokio::time::timeout(PATIENCE, more).await.expect("no bytes came");
    *more.expect("the proxy is there while it is asked")
}
