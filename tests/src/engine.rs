//! A Ploybook engine over plain sockets, which keeps account of what it is asked to run: by whom,
//! how often, and what of it at the same time.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

/// What the engine is to do with a run.
#[derive(Clone, Copy, Debug)]
#[expect(clippy::exhaustive_structs, reason = "tests build it from its parts")]
pub struct Verdict {
    /// The status that it answers.
    pub status: u16,
    /// How long it takes for that.
    pub after: Duration,
}

/// What the engine was asked to run.
#[derive(Debug, Default)]
#[non_exhaustive]
pub struct Account {
    /// The attempts of each run that were begun.
    pub begun: BTreeMap<String, Vec<u32>>,
    /// The runs that were answered 200.
    pub done: BTreeSet<String>,
    /// What was under way twice at the same time, or begun twice: described.
    pub faults: Vec<String>,
    under_way: BTreeSet<String>,
}

/// An engine that listens for as long as the test runs.
#[derive(Debug)]
pub struct Engine {
    address: SocketAddr,
    account: Arc<Mutex<Account>>,
}

impl Engine {
    /// Starts an engine that answers as `decide` says: by the run and the number of its attempt.
    ///
    /// # Panics
    ///
    /// When it cannot listen.
    #[must_use]
    pub fn start(decide: impl Fn(&str, u32) -> Verdict + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("it is bound");
        let account = Arc::<Mutex<Account>>::default();
        let (decide, kept) = (Arc::new(decide), account.clone());
        std::thread::spawn(move || {
            for connection in listener.incoming().flatten() {
                let (decide, account) = (decide.clone(), kept.clone());
                std::thread::spawn(move || serve(connection, &*decide, &account));
            }
        });
        Self { address, account }
    }

    /// Where runs are sent.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}/run", self.address)
    }

    /// What it was asked to run so far.
    ///
    /// # Panics
    ///
    /// When the engine has panicked.
    pub fn account(&self) -> MutexGuard<'_, Account> {
        lock(&self.account)
    }
}

fn lock(account: &Mutex<Account>) -> MutexGuard<'_, Account> {
    account.lock().expect("the engine has not panicked")
}

/// Serves one connection until it is closed.
fn serve(connection: TcpStream, decide: &dyn Fn(&str, u32) -> Verdict, account: &Mutex<Account>) {
    let mut reader = BufReader::new(connection.try_clone().expect("a socket has two ends"));
    while let Some((run, attempt)) = read_request(&mut reader) {
        {
            let mut account = lock(account);
            if !account.under_way.insert(run.clone()) {
                account.faults.push(format!("{run} is under way twice, in attempt {attempt}"));
            }
            let begun = account.begun.entry(run.clone()).or_default();
            if begun.contains(&attempt) {
                account.faults.push(format!("attempt {attempt} of {run} was begun twice"));
            } else {
                begun.push(attempt);
            }
        }
        let verdict = decide(&run, attempt);
        let is_there = wait(&connection, verdict.after);
        {
            let mut account = lock(account);
            account.under_way.remove(&run);
            if is_there && verdict.status == 200 {
                account.done.insert(run);
            }
        }
        let head = format!("HTTP/1.1 {} Whatever\r\ncontent-length: 2\r\n\r\nok", verdict.status);
        if !is_there || (&connection).write_all(head.as_bytes()).is_err() {
            return;
        }
    }
}

/// Waits for so long, and says whether who asked is still there.
fn wait(connection: &TcpStream, how_long: Duration) -> bool {
    let until = Instant::now() + how_long;
    loop {
        let left = until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return true;
        }
        connection.set_read_timeout(Some(left)).expect("more than no time");
        match connection.peek(&mut [0]) {
            Ok(0) => return false,
            // Nobody sends a second request before the first is answered.
            Ok(_) => return true,
            Err(error) if matches!(error.kind(), std::io::ErrorKind::WouldBlock) => {}
            Err(_) => return false,
        }
    }
}

/// The run and the attempt of the next request.
fn read_request(reader: &mut BufReader<TcpStream>) -> Option<(String, u32)> {
    reader.get_ref().set_read_timeout(None).ok()?;
    let (mut run, mut attempt, mut length) = (None, None, 0);
    let mut line = String::new();
    reader.read_line(&mut line).ok().filter(|&read| read > 0)?;
    loop {
        line.clear();
        reader.read_line(&mut line).ok().filter(|&read| read > 0)?;
        let Some((name, value)) = line.trim_end().split_once(':') else {
            break;
        };
        match name.to_ascii_lowercase().as_str() {
            "webhook-id" => run = Some(value.trim().to_owned()),
            "ploy-attempt" => attempt = value.trim().parse().ok(),
            "content-length" => length = value.trim().parse().ok()?,
            _ => {}
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    Some((run?, attempt?))
}
