//! The load: keep-alive connections to one server, each with one request under way.
//!
//! It has to cost less than any server that it measures, so it does nothing that it need not:
//! one thread, no runtime, requests that are built once and numbered in place, answers of which
//! only the status and the length are looked at.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use memchr::memmem;
use mio::{Events, Interest, Poll, Token};
use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::payload::{Payload, Shape};

/// Where a load goes to.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[expect(clippy::exhaustive_structs, reason = "a server says where it is")]
pub struct Target {
    /// The server.
    pub address: SocketAddr,
    /// The path that requests are sent to.
    pub path: String,
    /// The API key that they carry.
    pub key: String,
}

/// Why there is nothing to measure.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum LoadError {
    /// A connection broke.
    #[error("a connection failed")]
    Connection(#[from] io::Error),
    /// A request was not accepted.
    #[error("a request was not answered 202 but: {0}")]
    NotAccepted(String),
    /// The server does not speak HTTP/1.1 as this load understands it.
    #[error("an answer has no `content-length`, or more than {ANSWER_BYTES_MAX} bytes")]
    Answer,
    /// Nothing came for a long time.
    #[error("no answer within {} s", PATIENCE.as_secs())]
    Silence,
}

/// What a load measured.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Measured {
    /// How many requests were sent, and answered 202.
    pub requests: u64,
    /// From the first request to the last answer.
    pub elapsed: Duration,
    /// From the sending of a request to the end of its answer, in nanoseconds.
    pub latency: Histogram<u64>,
}

/// Connections to a server, open and idle.
#[derive(Debug)]
pub struct Load {
    poll: Poll,
    events: Events,
    connections: Vec<Connection>,
    sent: u64,
}

const ANSWER_BYTES_MAX: usize = 4 << 10;
const PATIENCE: Duration = Duration::from_secs(20);

impl Load {
    /// Opens so many connections, whose requests carry payloads of that size.
    ///
    /// # Errors
    ///
    /// When a connection cannot be opened.
    pub fn connect(
        target: &Target,
        connections: usize,
        payload_bytes: usize,
    ) -> Result<Self, LoadError> {
        let poll = Poll::new()?;
        let mut opened = Vec::with_capacity(connections);
        for place in 0..connections {
            let mut connection = Connection::open(target, payload_bytes, place as u64)?;
            let interest = Interest::READABLE | Interest::WRITABLE;
            poll.registry().register(&mut connection.stream, Token(place), interest)?;
            opened.push(connection);
        }
        Ok(Self {
            poll,
            events: Events::with_capacity(connections.max(1)),
            connections: opened,
            sent: 0,
        })
    }

    /// Sends over every connection, a request after each answer, for that long; then waits for
    /// the last answers. So every request that the server was sent is in the measurement, and
    /// before and after it the server has nothing to do.
    ///
    /// # Errors
    ///
    /// When a connection fails, or anything but 202 is answered.
    pub fn run(&mut self, duration: Duration) -> Result<Measured, LoadError> {
        let mut latency = Histogram::new_with_bounds(1, 60_000_000_000, 3)
            .expect("the bounds ascend and the precision is at most 5");
        let begin = Instant::now();
        let end = begin + duration;
        let sent_before = self.sent;
        for connection in &mut self.connections {
            self.sent += 1;
            connection.send(self.sent, Instant::now())?;
        }
        let mut under_way = self.connections.len();
        while under_way > 0 {
            self.wait()?;
            for event in &self.events {
                let connection = &mut self.connections[event.token().0];
                connection.write()?;
                if !connection.read()? {
                    continue;
                }
                let now = Instant::now();
                latency.saturating_record(nanos(now - connection.sent_at));
                if now < end {
                    self.sent += 1;
                    connection.send(self.sent, now)?;
                } else {
                    under_way -= 1;
                }
            }
        }
        Ok(Measured { requests: self.sent - sent_before, elapsed: begin.elapsed(), latency })
    }

    fn wait(&mut self) -> Result<(), LoadError> {
        loop {
            match self.poll.poll(&mut self.events, Some(PATIENCE)) {
                Ok(()) if self.events.is_empty() => return Err(LoadError::Silence),
                Ok(()) => return Ok(()),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error.into()),
            }
        }
    }
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

#[derive(Debug)]
struct Connection {
    stream: mio::net::TcpStream,
    payload: Payload,
    head: Vec<u8>,
    /// The head and the payload, of which `written` bytes are sent.
    request: Vec<u8>,
    written: usize,
    is_answered: bool,
    answer: Vec<u8>,
    read: usize,
    sent_at: Instant,
}

impl Connection {
    fn open(target: &Target, payload_bytes: usize, seed: u64) -> io::Result<Self> {
        let stream = TcpStream::connect(target.address)?;
        stream.set_nodelay(true)?;
        stream.set_nonblocking(true)?;
        let payload = Payload::new(Shape::Flat, payload_bytes, seed);
        let head = head(target, payload.as_bytes().len());
        Ok(Self {
            stream: mio::net::TcpStream::from_std(stream),
            request: [&head, payload.as_bytes()].concat(),
            payload,
            written: usize::MAX,
            head,
            is_answered: true,
            answer: vec![0; ANSWER_BYTES_MAX],
            read: 0,
            sent_at: Instant::now(),
        })
    }

    fn send(&mut self, number: u64, now: Instant) -> io::Result<()> {
        let number_end = self.payload.set_number(number);
        self.request[self.head.len()..][..number_end]
            .copy_from_slice(&self.payload.as_bytes()[..number_end]);
        self.written = 0;
        self.read = 0;
        self.is_answered = false;
        self.sent_at = now;
        self.write()
    }

    /// Sends what is left of the request, as far as the socket takes it.
    fn write(&mut self) -> io::Result<()> {
        while let Some(rest @ [_, ..]) = self.request.get(self.written..) {
            match self.stream.write(rest) {
                Ok(count) => self.written += count,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Reads what has come; `true` when that completes the answer.
    fn read(&mut self) -> Result<bool, LoadError> {
        while !self.is_answered {
            match self.stream.read(&mut self.answer[self.read..]) {
                Ok(0) if self.read == ANSWER_BYTES_MAX => return Err(LoadError::Answer),
                Ok(0) => return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into()),
                Ok(count) => {
                    self.read += count;
                    self.is_answered = is_complete(&self.answer[..self.read])?;
                    if self.is_answered {
                        return Ok(true);
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(false),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(false)
    }
}

fn head(target: &Target, length: usize) -> Vec<u8> {
    let Target { address, path, key } = target;
    format!(
        "POST {path} HTTP/1.1\r\n\
         host: {address}\r\n\
         user-agent: ploy-webhooks-benches\r\n\
         accept: */*\r\n\
         content-type: application/json\r\n\
         authorization: Bearer {key}\r\n\
         content-length: {length}\r\n\
         \r\n"
    )
    .into_bytes()
}

/// Whether the whole answer is there, and says 202.
fn is_complete(answer: &[u8]) -> Result<bool, LoadError> {
    let Some(head_end) = memmem::find(answer, b"\r\n\r\n") else {
        return Ok(false);
    };
    if !answer.starts_with(b"HTTP/1.1 202 ") {
        let text = String::from_utf8_lossy(answer).into_owned();
        return Err(LoadError::NotAccepted(text));
    }
    let length = content_length(&answer[..head_end]).ok_or(LoadError::Answer)?;
    Ok(answer.len() >= head_end + 4 + length)
}

fn content_length(head: &[u8]) -> Option<usize> {
    const NAME: &[u8] = b"\r\ncontent-length: ";
    let begin = memmem::find(head, NAME)? + NAME.len();
    let digits = head[begin..].iter().take_while(|byte| byte.is_ascii_digit());
    digits.into_iter().try_fold(0usize, |length, digit| {
        length.checked_mul(10)?.checked_add(usize::from(digit - b'0'))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers() {
        let complete = |text: &str| is_complete(text.as_bytes());
        assert!(!complete("HTTP/1.1 202 Acc").unwrap());
        assert!(!complete("HTTP/1.1 202 Accepted\r\ncontent-length: 2\r\n\r\n{").unwrap());
        assert!(complete("HTTP/1.1 202 Accepted\r\ncontent-length: 2\r\n\r\n{}").unwrap());
        assert!(complete("HTTP/1.1 202 Accepted\r\ncontent-length: 0\r\n\r\n").unwrap());
        assert!(matches!(
            complete("HTTP/1.1 202 Accepted\r\ntransfer-encoding: chunked\r\n\r\n"),
            Err(LoadError::Answer)
        ));
        assert!(matches!(
            complete("HTTP/1.1 503 Service Unavailable\r\ncontent-length: 0\r\n\r\n"),
            Err(LoadError::NotAccepted(_))
        ));
    }
}
