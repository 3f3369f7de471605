//! A receiver on a real socket, which answers as it is told and remembers what it got, and when.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream, ToSocketAddrs};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::scene::A_WHILE;

/// A request as it came.
#[derive(Clone, Debug)]
pub(crate) struct Got {
    pub(crate) method: String,
    pub(crate) path: String,
    headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
    /// When all of it was there.
    pub(crate) at: Instant,
}

/// What is answered.
#[derive(Clone, Debug)]
pub(crate) struct Says {
    pub(crate) status: u16,
    pub(crate) headers: Vec<(&'static str, String)>,
    pub(crate) body: Vec<u8>,
    /// How long it takes for that.
    pub(crate) after: Duration,
}

/// What decides on an answer.
type Decide = Arc<dyn Fn(&Got) -> Says + Send + Sync>;

/// Listens for as long as the test runs.
#[derive(Clone)]
pub(crate) struct Receiver {
    address: SocketAddr,
    desk: Arc<Desk>,
}

struct Desk {
    decide: Mutex<Decide>,
    book: Mutex<Book>,
    news: Condvar,
}

#[derive(Default)]
struct Book {
    connections: usize,
    got: Vec<Got>,
}

impl Got {
    /// The only header of that name.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let mut values = self.headers.iter().filter(|(known, _)| known == name);
        let value = values.next().map(|(_, value)| value.as_str());
        assert!(values.next().is_none(), "{name} is there twice");
        value
    }

    /// The header of that name, which is there.
    pub(crate) fn text(&self, name: &str) -> &str {
        self.header(name).unwrap_or_else(|| panic!("no `{name}` in {:?}", self.headers))
    }

    pub(crate) fn headers(&self) -> impl Iterator<Item = (&str, &str)> {
        self.headers.iter().map(|(name, value)| (name.as_str(), value.as_str()))
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).expect("a JSON body")
    }
}

impl Says {
    pub(crate) const fn status(status: u16) -> Self {
        Self { status, headers: Vec::new(), body: Vec::new(), after: Duration::ZERO }
    }

    pub(crate) fn text(status: u16, body: &str) -> Self {
        Self { body: body.into(), ..Self::status(status) }
    }
}

impl Receiver {
    /// One that decides on each request by itself.
    pub(crate) fn start(decide: impl Fn(&Got) -> Says + Send + Sync + 'static) -> Self {
        Self::at("127.0.0.1:0", decide).expect("a free port")
    }

    /// One that answers each request with that status.
    pub(crate) fn always(status: u16) -> Self {
        Self::start(move |_| Says::status(status))
    }

    /// One at that address; `None` where it cannot be listened on.
    pub(crate) fn at(
        address: impl ToSocketAddrs,
        decide: impl Fn(&Got) -> Says + Send + Sync + 'static,
    ) -> Option<Self> {
        let listener = TcpListener::bind(address).ok()?;
        let desk = Arc::new(Desk {
            decide: Mutex::new(Arc::new(decide)),
            book: Mutex::default(),
            news: Condvar::new(),
        });
        let receiver = Self { address: listener.local_addr().ok()?, desk: desk.clone() };
        std::thread::spawn(move || {
            for connection in listener.incoming().flatten() {
                desk.book().connections += 1;
                let desk = desk.clone();
                std::thread::spawn(move || desk.serve(connection));
            }
        });
        Some(receiver)
    }

    /// Has it decide so from now on.
    pub(crate) fn now(&self, decide: impl Fn(&Got) -> Says + Send + Sync + 'static) {
        *self.desk.decide.lock().expect("no receiver has panicked") = Arc::new(decide);
    }

    pub(crate) const fn address(&self) -> SocketAddr {
        self.address
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// What it got so far, in the order in which it came.
    pub(crate) fn got(&self) -> Vec<Got> {
        self.desk.book().got.clone()
    }

    /// How often it was connected to.
    pub(crate) fn connections(&self) -> usize {
        self.desk.book().connections
    }

    /// Waits until it has got so many requests.
    pub(crate) fn has_got(&self, count: usize) -> Vec<Got> {
        let is_less = |book: &mut Book| book.got.len() < count;
        let waited = self.desk.news.wait_timeout_while(self.desk.book(), A_WHILE, is_less);
        let (book, _) = waited.expect("no receiver has panicked");
        assert!(book.got.len() >= count, "{} requests came, not {count}", book.got.len());
        book.got.clone()
    }
}

impl Desk {
    fn book(&self) -> MutexGuard<'_, Book> {
        self.book.lock().expect("no receiver has panicked")
    }

    /// Serves one connection until it is closed.
    fn serve(&self, connection: TcpStream) {
        let mut reader = BufReader::new(connection.try_clone().expect("a socket has two ends"));
        while let Some(got) = read(&mut reader) {
            self.book().got.push(got.clone());
            self.news.notify_all();
            let decide = self.decide.lock().expect("no receiver has panicked").clone();
            let says = decide(&got);
            std::thread::sleep(says.after);
            if (&connection).write_all(&written(&says)).is_err() {
                return;
            }
        }
    }
}

fn written(says: &Says) -> Vec<u8> {
    let mut head = format!("HTTP/1.1 {} Whatever\r\n", says.status);
    for (name, value) in &says.headers {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    head.push_str(&format!("content-length: {}\r\n\r\n", says.body.len()));
    [head.as_bytes(), &says.body].concat()
}

/// The next request; `None` when there is none any more.
fn read(reader: &mut BufReader<TcpStream>) -> Option<Got> {
    let line = |reader: &mut BufReader<TcpStream>| {
        let mut line = String::new();
        reader.read_line(&mut line).ok().filter(|&read| read > 0)?;
        Some(line.trim_end_matches(['\r', '\n']).to_owned())
    };
    let first = line(reader)?;
    let mut words = first.split(' ').map(str::to_owned);
    let (method, path) = (words.next()?, words.next()?);
    let mut headers = Vec::new();
    loop {
        let line = line(reader)?;
        let Some((name, value)) = line.split_once(':') else { break };
        headers.push((name.to_ascii_lowercase(), value.trim().to_owned()));
    }
    let length = headers.iter().find(|(name, _)| name == "content-length");
    let mut body = vec![0; length.map_or(Some(0), |(_, length)| length.parse().ok())?];
    reader.read_exact(&mut body).ok()?;
    Some(Got { method, path, headers, body, at: Instant::now() })
}
