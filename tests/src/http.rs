//! HTTP/1.1 by hand.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use serde_json::Value;

/// How long an answer is waited for before a test gives up.
const PATIENCE: Duration = Duration::from_secs(30);

/// A connection that is kept open.
#[derive(Debug)]
pub struct Connection {
    reader: BufReader<TcpStream>,
}

/// A request, written as it stands.
#[derive(Clone, Debug)]
pub struct Request {
    method: String,
    path: String,
    headers: Vec<(String, String)>,
    body: Vec<u8>,
}

/// An answer, read whole.
#[derive(Clone, Debug)]
pub struct Answer {
    /// The status code.
    pub status: u16,
    /// The header lines, names in lowercase.
    pub headers: Vec<(String, String)>,
    /// The body.
    pub body: Vec<u8>,
}

impl Request {
    /// A request with a `Host`, and no other header.
    #[must_use]
    pub fn new(method: &str, path: &str) -> Self {
        let headers = vec![("Host".to_owned(), "localhost".to_owned())];
        Self { method: method.to_owned(), path: path.to_owned(), headers, body: Vec::new() }
    }

    /// The same with one header more.
    #[must_use]
    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    /// The same with a bearer credential.
    #[must_use]
    pub fn bearer(self, credential: &str) -> Self {
        self.header("Authorization", &format!("Bearer {credential}"))
    }

    /// The same with a JSON body and what belongs to it.
    #[must_use]
    pub fn json(self, body: impl Into<Vec<u8>>) -> Self {
        self.header("Content-Type", "application/json").body(body)
    }

    /// The same with a body and its length.
    #[must_use]
    pub fn body(mut self, body: impl Into<Vec<u8>>) -> Self {
        self.body = body.into();
        let length = self.body.len().to_string();
        self.header("Content-Length", &length)
    }

    /// The head as it is sent, with its last empty line.
    #[must_use]
    pub fn head(&self) -> Vec<u8> {
        let mut head = format!("{} {} HTTP/1.1\r\n", self.method, self.path);
        for (name, value) in &self.headers {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        head.push_str("\r\n");
        head.into_bytes()
    }

    /// All of it as it is sent.
    #[must_use]
    pub fn bytes(&self) -> Vec<u8> {
        [self.head(), self.body.clone()].concat()
    }
}

impl Connection {
    /// Connects.
    ///
    /// # Errors
    ///
    /// When nobody listens.
    pub fn open(address: SocketAddr) -> io::Result<Self> {
        let stream = TcpStream::connect(address)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        Ok(Self { reader: BufReader::new(stream) })
    }

    /// Writes bytes as they are.
    ///
    /// # Errors
    ///
    /// When the connection is closed.
    pub fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.reader.get_mut().write_all(bytes)
    }

    /// Sends a request and reads its answer.
    ///
    /// # Errors
    ///
    /// When the connection breaks, or what comes is no answer.
    pub fn send(&mut self, request: &Request) -> io::Result<Answer> {
        self.write(&request.bytes())?;
        self.answer(&request.method)
    }

    /// Reads the answer to a request with that method. Interim answers are passed over.
    ///
    /// # Errors
    ///
    /// When the connection breaks, or what comes is no answer.
    pub fn answer(&mut self, method: &str) -> io::Result<Answer> {
        loop {
            let answer = self.one_answer(method)?;
            if answer.status >= 200 {
                return Ok(answer);
            }
        }
    }

    fn one_answer(&mut self, method: &str) -> io::Result<Answer> {
        let invalid = |what: &str| io::Error::new(io::ErrorKind::InvalidData, what.to_owned());
        let status_line = self.line()?;
        let status = status_line.strip_prefix("HTTP/1.1 ").and_then(|rest| rest.get(..3));
        let status =
            status.and_then(|code| code.parse().ok()).ok_or_else(|| invalid(&status_line))?;
        let mut headers = Vec::new();
        loop {
            let line = self.line()?;
            if line.is_empty() {
                break;
            }
            let (name, value) = line.split_once(':').ok_or_else(|| invalid(&line))?;
            headers.push((name.to_ascii_lowercase(), value.trim().to_owned()));
        }
        let mut answer = Answer { status, headers, body: Vec::new() };
        if status >= 200 && status != 204 && method != "HEAD" {
            let length = answer.header("content-length").and_then(|length| length.parse().ok());
            let length: usize = length.ok_or_else(|| invalid("an answer without a length"))?;
            answer.body = vec![0; length];
            self.reader.read_exact(&mut answer.body)?;
        }
        Ok(answer)
    }

    fn line(&mut self) -> io::Result<String> {
        let mut line = String::new();
        if self.reader.read_line(&mut line)? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        Ok(line.trim_end_matches(['\r', '\n']).to_owned())
    }

    /// Whether the server has closed the connection, or does so now. What it still sends is
    /// passed over.
    pub fn is_closed(&mut self) -> bool {
        let mut rest = Vec::new();
        match self.reader.read_to_end(&mut rest) {
            Ok(_) => true,
            Err(error) => error.kind() == io::ErrorKind::ConnectionReset,
        }
    }
}

impl Answer {
    /// The only header of that name; `None` where there is none.
    ///
    /// # Panics
    ///
    /// When there are several.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        let mut values = self.headers.iter().filter(|(known, _)| known == name);
        let value = values.next().map(|(_, value)| value.as_str());
        assert!(values.next().is_none(), "{name} is there twice");
        value
    }

    /// The body as JSON.
    ///
    /// # Panics
    ///
    /// When it is none.
    #[must_use]
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| {
            panic!("no JSON ({error}): {:?}", String::from_utf8_lossy(&self.body))
        })
    }

    /// The member of that name, which is a string.
    ///
    /// # Panics
    ///
    /// When there is no such member.
    #[must_use]
    pub fn string(&self, name: &str) -> String {
        let json = self.json();
        let value = json[name].as_str();
        value.unwrap_or_else(|| panic!("no `{name}` in {json}")).to_owned()
    }
}
