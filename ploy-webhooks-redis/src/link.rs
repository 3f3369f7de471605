//! One connection to one server, made again when it breaks.
//!
//! A call is sent once. What comes of it when the connection breaks is told apart by when that
//! happened: before anything was sent it was not carried out; afterwards, nobody knows. The
//! crate's own reconnecting clients blur this, so none of them is used.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, Client, ConnectionInfo, Pipeline, PushInfo, PushKind, Value};
use tokio::sync::Notify;
use tokio::time::Instant;

use crate::error::Failure;

/// The gap after the first failure to connect; each later one is twice the one before.
const GAP_FIRST: Duration = Duration::from_millis(20);
/// No gap is longer, so that a server which is back is found within about a second.
const GAP_MAX: Duration = Duration::from_millis(1_000);

/// How long what may take.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Timeouts {
    pub(crate) connection: Duration,
    pub(crate) response: Duration,
}

/// A connection that is made when it is needed.
#[derive(Debug)]
pub(crate) struct Link {
    server: ConnectionInfo,
    timeouts: Timeouts,
    live: Mutex<Option<Live>>,
    /// Held by who connects: the others wait, and then use the same connection.
    connecting: tokio::sync::Mutex<()>,
    backoff: Arc<Backoff>,
}

/// A connection, and whether it has ended.
#[derive(Clone, Debug)]
struct Live {
    connection: MultiplexedConnection,
    ended: Arc<AtomicBool>,
}

/// The attempts to connect to a server that failed since the last one that succeeded. All links
/// to it share this: when one has found it, all try at once.
#[derive(Debug, Default)]
pub(crate) struct Backoff(Mutex<Attempts>);

#[derive(Debug, Default)]
struct Attempts {
    gap: Duration,
    next_at: Option<Instant>,
    why: String,
}

impl Backoff {
    /// Why it is too early to try again.
    fn too_early(&self) -> Option<String> {
        let attempts = self.attempts();
        let is_early = attempts.next_at.is_some_and(|at| Instant::now() < at);
        is_early.then(|| attempts.why.clone())
    }

    fn succeeded(&self) {
        *self.attempts() = Attempts::default();
    }

    fn failed(&self, why: &str) {
        let mut attempts = self.attempts();
        attempts.gap = (attempts.gap * 2).clamp(GAP_FIRST, GAP_MAX);
        attempts.next_at = Some(Instant::now() + attempts.gap);
        attempts.why = why.to_owned();
    }

    fn attempts(&self) -> MutexGuard<'_, Attempts> {
        self.0.lock().expect("no holder of the lock panics")
    }
}

impl Link {
    pub(crate) fn new(server: ConnectionInfo, timeouts: Timeouts, backoff: Arc<Backoff>) -> Self {
        Self { server, timeouts, live: Mutex::default(), connecting: Default::default(), backoff }
    }

    /// Sends the commands in one go, and gives their answers, refusals among them.
    pub(crate) async fn send(&self, commands: &Pipeline) -> Result<Vec<Value>, Failure> {
        let mut live = self.connect().await?;
        match live.connection.send_packed_commands(commands, 0, commands.len()).await {
            Ok(answers) => Ok(answers),
            Err(error) => {
                // After a time-out the answers that are still to come are for nobody, and
                // whatever follows would wait behind them.
                live.ended.store(true, Ordering::Release);
                Err(Failure::unanswered(&error))
            }
        }
    }

    /// The connection; a new one where there is none, or none that lives.
    async fn connect(&self) -> Result<Live, Failure> {
        if let Some(live) = self.alive() {
            return Ok(live);
        }
        let _connecting = self.connecting.lock().await;
        if let Some(live) = self.alive() {
            return Ok(live);
        }
        if let Some(why) = self.backoff.too_early() {
            return Err(Failure::Unsent(why));
        }
        match open(&self.server, self.timeouts, Notice::none()).await {
            Ok(live) => {
                self.backoff.succeeded();
                *self.live() = Some(live.clone());
                Ok(live)
            }
            Err(why) => {
                self.backoff.failed(&why);
                Err(Failure::Unsent(why))
            }
        }
    }

    /// Has the next call connect anew. What is under way is still answered.
    pub(crate) fn leave(&self) {
        *self.live() = None;
    }

    fn alive(&self) -> Option<Live> {
        self.live().as_ref().filter(|live| !live.ended.load(Ordering::Acquire)).cloned()
    }

    fn live(&self) -> MutexGuard<'_, Option<Live>> {
        self.live.lock().expect("no holder of the lock panics")
    }
}

/// Whom a connection tells of what the server says unasked, and of its own end.
#[derive(Clone, Debug)]
struct Notice(Option<Arc<Notify>>);

impl Notice {
    const fn none() -> Self {
        Self(None)
    }

    fn give(&self) {
        if let Some(notify) = &self.0 {
            notify.notify_one();
        }
    }
}

async fn open(server: &ConnectionInfo, timeouts: Timeouts, notice: Notice) -> Result<Live, String> {
    let why = |error: redis::RedisError| format!("cannot connect to {}: {error}", server.addr());
    let ended = Arc::new(AtomicBool::new(false));
    let told = ended.clone();
    let config = AsyncConnectionConfig::new()
        .set_connection_timeout(Some(timeouts.connection))
        .set_response_timeout(Some(timeouts.response))
        .set_push_sender(move |push: PushInfo| {
            if push.kind == PushKind::Disconnection {
                told.store(true, Ordering::Release);
            }
            notice.give();
            Ok::<_, redis::aio::SendError>(())
        });
    let client = Client::open(server.clone()).map_err(why)?;
    let connection = client.get_multiplexed_async_connection_with_config(&config);
    // The crate's own time-out leaves the handshake out.
    let connection = tokio::time::timeout(timeouts.connection, connection).await;
    let connection = connection
        .map_err(|_| format!("cannot connect to {}: no answer in time", server.addr()))?
        .map_err(why)?;
    Ok(Live { connection, ended })
}

/// A subscription to one channel.
#[derive(Debug)]
pub(crate) struct Subscription {
    live: Live,
}

impl Subscription {
    /// Subscribes. From then on `messages` is notified of each message, and of the end.
    pub(crate) async fn open(
        server: &ConnectionInfo,
        timeouts: Timeouts,
        channel: &str,
        messages: Arc<Notify>,
    ) -> Result<Self, String> {
        let mut live = open(server, timeouts, Notice(Some(messages))).await?;
        live.connection.subscribe(channel).await.map_err(|error| error.to_string())?;
        Ok(Self { live })
    }

    /// Whether it has ended.
    pub(crate) fn has_ended(&self) -> bool {
        self.live.ended.load(Ordering::Acquire)
    }
}
