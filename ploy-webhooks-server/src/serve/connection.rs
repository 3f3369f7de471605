//! A connection that begins in time and ends politely.
//!
//! *Begins in time*: hyper's own time-out for the head of a request starts when it knows which
//! version of HTTP is spoken. Until then, a client that says nothing is waited for here.
//!
//! *Ends politely*: a server that answers before it has read the whole body (413, 408, 401) and
//! closes its socket makes the system send a reset, and the reset may overtake the answer. So
//! the connection is closed for writing first, and what still comes is read and thrown away for
//! a while, until the client has closed its side.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::Sleep;

/// How long a client that was answered early may go on sending.
const LINGER: Duration = Duration::from_secs(2);
/// How much it may go on sending.
const LINGER_BYTES_MAX: usize = 64 << 20;

/// A TCP connection to a client.
#[derive(Debug)]
pub(super) struct Connection {
    stream: TcpStream,
    opening: Option<Opening>,
    lingering: Option<Lingering>,
}

/// What is waited for before hyper's time-outs apply.
#[derive(Debug)]
struct Opening {
    bytes: usize,
    deadline: Pin<Box<Sleep>>,
}

#[derive(Debug)]
struct Lingering {
    bytes_left: usize,
    deadline: Pin<Box<Sleep>>,
}

impl Connection {
    pub(super) fn new(stream: TcpStream, opening_timeout: Duration) -> Self {
        Self {
            stream,
            opening: Some(Opening {
                bytes: 0,
                deadline: Box::pin(tokio::time::sleep(opening_timeout)),
            }),
            lingering: None,
        }
    }

    fn poll_opening(&mut self, cx: &mut Context<'_>, read: &Poll<usize>, new: &[u8]) -> bool {
        let Some(opening) = &mut self.opening else {
            return false;
        };
        match read {
            Poll::Ready(_) => {
                if opening.is_over_with(new) {
                    self.opening = None;
                }
                false
            }
            Poll::Pending => opening.deadline.as_mut().poll(cx).is_ready(),
        }
    }

    /// Throws away what still comes, until the client has closed its side or a bound is reached.
    fn poll_linger(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let lingering = self.lingering.get_or_insert_with(|| Lingering {
            bytes_left: LINGER_BYTES_MAX,
            deadline: Box::pin(tokio::time::sleep(LINGER)),
        });
        let mut scratch = [0; 16 << 10];
        loop {
            if lingering.deadline.as_mut().poll(cx).is_ready() {
                return Poll::Ready(());
            }
            let mut buffer = ReadBuf::new(&mut scratch);
            let read = ready!(Pin::new(&mut self.stream).poll_read(cx, &mut buffer));
            let bytes = buffer.filled().len();
            lingering.bytes_left = lingering.bytes_left.saturating_sub(bytes);
            if read.is_err() || bytes == 0 || lingering.bytes_left == 0 {
                return Poll::Ready(());
            }
        }
    }
}

impl Opening {
    /// The preface of HTTP/2 (RFC 9113 §3.4).
    const PREFACE: &'static [u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
    /// The settings that must follow it: an empty frame has nine bytes.
    const HTTP2_BYTES: usize = Self::PREFACE.len() + 9;

    /// Whether the version is known now, and for HTTP/2 the handshake is done.
    fn is_over_with(&mut self, new: &[u8]) -> bool {
        let expected = Self::PREFACE.get(self.bytes..).unwrap_or_default();
        let compared = expected.len().min(new.len());
        self.bytes += new.len();
        new[..compared] != expected[..compared] || self.bytes >= Self::HTTP2_BYTES
    }
}

impl AsyncRead for Connection {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.opening.is_none() {
            return Pin::new(&mut this.stream).poll_read(cx, buffer);
        }
        let before = buffer.filled().len();
        let read = Pin::new(&mut this.stream).poll_read(cx, buffer)?;
        let new = &buffer.filled()[before..];
        match this.poll_opening(cx, &read.map(|()| new.len()), new) {
            true => Poll::Ready(Err(io::ErrorKind::TimedOut.into())),
            false => read.map(Ok),
        }
    }
}

impl AsyncWrite for Connection {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.lingering.is_none() {
            ready!(Pin::new(&mut self.stream).poll_shutdown(cx))?;
        }
        self.poll_linger(cx).map(Ok)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_opening_ends_when_the_version_is_known() {
        let opening = || Opening { bytes: 0, deadline: Box::pin(tokio::time::sleep(LINGER)) };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        let _context = runtime.enter();
        assert!(opening().is_over_with(b"GET"));
        assert!(opening().is_over_with(b"POST / HTTP/1.1\r\n"));
        let mut http2 = opening();
        assert!(!http2.is_over_with(b"P"));
        assert!(!http2.is_over_with(&Opening::PREFACE[1..]));
        assert!(!http2.is_over_with(&[0; 8]));
        assert!(http2.is_over_with(&[0; 1]));
        let mut other = opening();
        assert!(!other.is_over_with(b"P"));
        assert!(other.is_over_with(b"OST"));
    }
}
