//! The stream of what happens, as commands follow it: over one connection after another.
//!
//! The server says where the client has come to at the end of each page. A client that was cut off
//! within one is told the whole of it again; what it has had already is left out here.

use std::collections::HashMap;
use std::time::Duration;

use reqwest::{Method, Response};

use super::Failure;
use super::client::{Call, Client};

const FIRST_GAP: Duration = Duration::from_millis(200);
const GAP_MAX: Duration = Duration::from_secs(10);
/// How often it is tried to reach a server that was never reached: it may be that there is none.
const FIRST_TRIES_MAX: u32 = 5;
/// No line of a stream is longer.
const LINE_BYTES_MAX: usize = 1 << 20;

/// What happens, from now on.
#[derive(Debug)]
pub(super) struct Feed<'a> {
    client: &'a Client,
    query: [(&'static str, Option<String>); 3],
    seen: Seen,
    open: Option<Open>,
    has_connected: bool,
    backoff: Backoff,
}

/// How far it has come.
#[derive(Debug, Default)]
struct Seen {
    /// Where to go on.
    place: Option<String>,
    /// What was told since that place, each so often,
    told: HashMap<String, u32>,
    /// and of what was told before the connection was lost, what was not told again yet.
    repeats: HashMap<String, u32>,
}

/// Something that the server tells.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Told {
    /// What kind of thing it is.
    pub(super) name: String,
    /// In JSON.
    pub(super) data: String,
}

/// A connection, and what came of it.
#[derive(Debug)]
struct Open {
    response: Response,
    lines: Lines,
}

impl<'a> Feed<'a> {
    /// What of that endpoint and of that type happens; runs too, if they are wanted.
    pub(super) fn new(
        client: &'a Client,
        endpoint: Option<String>,
        event_type: Option<String>,
        runs: Runs,
    ) -> Self {
        let runs = match runs {
            Runs::Told => None,
            Runs::LeftOut => Some("false".to_owned()),
        };
        Self {
            client,
            query: [("endpoint", endpoint), ("type", event_type), ("runs", runs)],
            seen: Seen::default(),
            open: None,
            has_connected: false,
            backoff: Backoff::default(),
        }
    }

    /// The next thing that happens. Connections that are lost are made again, however long that takes;
    /// the first one is given up after a few tries.
    pub(super) async fn next(&mut self) -> Result<Told, Failure> {
        loop {
            let message = match self.message().await {
                Ok(message) => message,
                Err(why) => {
                    self.lose(&why).await;
                    continue;
                }
            };
            let Some(message) = message else {
                self.connect().await?;
                continue;
            };
            self.backoff = Backoff::default();
            if self.seen.place.is_none() && message.id.is_some() {
                eprintln!("waiting for what happens");
            }
            if let Some(told) = self.seen.news(message) {
                return Ok(told);
            }
        }
    }

    /// The next message of the connection; `None` where there is none.
    async fn message(&mut self) -> Result<Option<Message>, String> {
        let Some(Open { response, lines }) = &mut self.open else {
            return Ok(None);
        };
        loop {
            if let Some(message) = lines.message()? {
                return Ok(Some(message));
            }
            match response.chunk().await {
                Ok(Some(chunk)) => lines.bytes.extend_from_slice(&chunk),
                Ok(None) => return Err("the server has ended the stream".to_owned()),
                Err(error) => return Err(crate::log::chain(&error)),
            }
        }
    }

    async fn connect(&mut self) -> Result<(), Failure> {
        let mut call = Call::new(Method::GET, ["events", "stream"]).query(self.query.clone());
        if let Some(place) = &self.seen.place {
            call = call.header("last-event-id", place.clone());
        }
        match self.client.stream(call).await {
            Ok(response) => {
                self.open = Some(Open { response, lines: Lines::default() });
                self.has_connected = true;
                Ok(())
            }
            Err(refusal) if refusal.is_passing() && !self.is_given_up() => {
                self.lose(&refusal.why).await;
                Ok(())
            }
            Err(refusal) => Err(refusal.into()),
        }
    }

    /// Whether the try that has just failed was the last one.
    const fn is_given_up(&self) -> bool {
        !self.has_connected && self.backoff.tries + 1 >= FIRST_TRIES_MAX
    }

    /// Lets go of the connection, and waits before the next one is made.
    async fn lose(&mut self, why: &str) {
        self.open = None;
        self.seen.cut_off();
        self.backoff.wait(why).await;
    }
}

impl Seen {
    /// What the message tells that was not told before.
    fn news(&mut self, Message { id, told }: Message) -> Option<Told> {
        let news = told.filter(|told| !self.is_repeat(&told.data));
        // A stream begins with the place that it was asked to go on from: nothing is behind us yet.
        if id.is_some() && id != self.place {
            *self = Self { place: id, ..Self::default() };
        }
        news
    }

    fn is_repeat(&mut self, data: &str) -> bool {
        *self.told.entry(data.to_owned()).or_default() += 1;
        match self.repeats.get_mut(data) {
            Some(count) if *count > 0 => {
                *count -= 1;
                true
            }
            _ => false,
        }
    }

    /// The connection is lost: what was told since the place is told again.
    fn cut_off(&mut self) {
        // Where it is lost again before all of that was, the rest is still to come.
        for (data, count) in self.told.drain() {
            let repeats = self.repeats.entry(data).or_default();
            *repeats += count;
        }
    }
}

/// Whether what becomes of runs is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Runs {
    Told,
    LeftOut,
}

/// How long is waited before something is tried again: twice as long each time.
#[derive(Debug, Default)]
pub(super) struct Backoff {
    tries: u32,
}

impl Backoff {
    /// Says what went wrong, once, and waits.
    pub(super) async fn wait(&mut self, why: &str) {
        if self.tries == 0 {
            eprintln!("{why}; trying again");
        }
        let gap = FIRST_GAP.saturating_mul(2_u32.saturating_pow(self.tries)).min(GAP_MAX);
        self.tries = self.tries.saturating_add(1);
        // So that many that were cut off at once do not come back at once.
        tokio::time::sleep(gap.mul_f64(0.5 + fastrand::f64() / 2.0)).await;
    }
}

/// What one message of a stream says.
#[derive(Debug, Default, PartialEq, Eq)]
struct Message {
    /// The place that it ends.
    id: Option<String>,
    /// `None` where it says no more than that.
    told: Option<Told>,
}

/// What came and is not read yet, in lines (the HTML standard, 9.2.5).
#[derive(Debug, Default)]
struct Lines {
    bytes: Vec<u8>,
    /// The message that the lines so far belong to.
    id: Option<String>,
    name: Option<String>,
    data: Option<String>,
}

impl Lines {
    /// The next message that is here whole.
    fn message(&mut self) -> Result<Option<Message>, String> {
        let mut read = 0;
        let mut message = None;
        while let Some(length) = self.bytes[read..].iter().position(|&byte| byte == b'\n') {
            let line = &self.bytes[read..read + length];
            let line = String::from_utf8_lossy(line.strip_suffix(b"\r").unwrap_or(line));
            read += length + 1;
            if line.is_empty() {
                let told = self
                    .data
                    .take()
                    .map(|data| Told { name: self.name.take().unwrap_or_default(), data });
                self.name = None;
                message = Some(Message { id: self.id.take(), told });
                break;
            }
            let (field, value) = line.split_once(':').unwrap_or((&line, ""));
            let value = value.strip_prefix(' ').unwrap_or(value).to_owned();
            match field {
                "id" => self.id = Some(value),
                "event" => self.name = Some(value),
                "data" => self.data = Some(value),
                _ => {}
            }
        }
        self.bytes.drain(..read);
        match self.bytes.len() > LINE_BYTES_MAX {
            true => Err("the server says something else than a stream of events".to_owned()),
            false => Ok(message),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(name: &str, data: &str) -> Option<Told> {
        Some(Told { name: name.to_owned(), data: data.to_owned() })
    }

    #[test]
    fn messages_are_read_however_they_are_cut() {
        let text = "retry: 1000\nid: a\n\n:\n\nevent: accepted\r\ndata: {\"é\":1}\r\nid: b\r\n\r\n\
                    event: gap\ndata:{}\n\n";
        for size in 1..text.len() {
            let (mut lines, mut messages) = (Lines::default(), Vec::new());
            for chunk in text.as_bytes().chunks(size) {
                lines.bytes.extend_from_slice(chunk);
                while let Some(message) = lines.message().unwrap() {
                    messages.push(message);
                }
            }
            let id = |id: &str| Some(id.to_owned());
            let expected = [
                Message { id: id("a"), told: None },
                Message { id: None, told: None },
                Message { id: id("b"), told: told("accepted", "{\"é\":1}") },
                Message { id: None, told: told("gap", "{}") },
            ];
            assert_eq!(messages, expected, "in pieces of {size}");
        }
    }

    /// Cut off amid a page, twice; two things that are told in the same words are two.
    #[test]
    fn what_was_told_before_is_not_told_again() {
        let message = |id: Option<&str>, data: &str| Message {
            id: id.map(str::to_owned),
            told: told("run", data),
        };
        let begin = |id: &str| Message { id: Some(id.to_owned()), told: None };
        let mut seen = Seen::default();
        let news = |seen: &mut Seen, message| seen.news(message).map(|told| told.data);
        let some = |data: &str| Some(data.to_owned());
        assert_eq!(news(&mut seen, begin("a")), None);
        assert_eq!(news(&mut seen, message(None, "1")), some("1"));
        assert_eq!(news(&mut seen, message(None, "1")), some("1"));
        seen.cut_off();
        assert_eq!(news(&mut seen, begin("a")), None);
        assert_eq!(news(&mut seen, message(None, "1")), None);
        seen.cut_off();
        assert_eq!(news(&mut seen, begin("a")), None);
        assert_eq!(news(&mut seen, message(None, "1")), None);
        assert_eq!(news(&mut seen, message(None, "1")), None);
        assert_eq!(news(&mut seen, message(None, "2")), some("2"));
        assert_eq!(news(&mut seen, message(Some("b"), "3")), some("3"));
        seen.cut_off();
        assert_eq!(news(&mut seen, begin("b")), None);
        assert_eq!(news(&mut seen, message(None, "3")), some("3"), "another, in the same words");
    }

    #[test]
    fn a_line_without_an_end_is_no_stream() {
        let mut lines = Lines { bytes: vec![b'x'; LINE_BYTES_MAX + 1], ..Lines::default() };
        assert!(lines.message().is_err());
    }
}
