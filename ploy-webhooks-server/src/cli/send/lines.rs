//! The lines of a file, one at a time, each of bounded length.

use std::io;

use bytes::Bytes;
use tokio::io::{AsyncBufRead, AsyncBufReadExt};

/// The longest line that is sent.
pub(super) const LINE_BYTES_MAX: usize = 16 << 20;

/// A line that is not blank. Lines are numbered from 1, blank ones too.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Line {
    Event { number: u64, text: Bytes },
    TooLong { number: u64 },
}

/// Reads line by line, and never holds more than one.
#[derive(Debug)]
pub(super) struct Lines<R> {
    input: R,
    bytes_max: usize,
    number: u64,
    bytes_read: u64,
}

impl<R: AsyncBufRead + Unpin> Lines<R> {
    pub(super) const fn new(input: R) -> Self {
        Self { input, bytes_max: LINE_BYTES_MAX, number: 0, bytes_read: 0 }
    }

    pub(super) const fn bytes_read(&self) -> u64 {
        self.bytes_read
    }

    /// The next line that is not blank; `None` at the end.
    pub(super) async fn next(&mut self) -> io::Result<Option<Line>> {
        while let Some(line) = self.next_even_if_blank().await? {
            match line {
                Line::Event { text, .. } if text.trim_ascii().is_empty() => {}
                line => return Ok(Some(line)),
            }
        }
        Ok(None)
    }

    async fn next_even_if_blank(&mut self) -> io::Result<Option<Line>> {
        let mut text = Vec::new();
        let mut is_too_long = false;
        let mut is_begun = false;
        loop {
            let available = self.input.fill_buf().await?;
            if available.is_empty() && !is_begun {
                return Ok(None);
            }
            is_begun = true;
            let end = available.iter().position(|&byte| byte == b'\n');
            let part = &available[..end.unwrap_or(available.len())];
            is_too_long |= text.len() + part.len() > self.bytes_max;
            if !is_too_long {
                text.extend_from_slice(part);
            }
            let is_last_part = end.is_some() || available.is_empty();
            let consumed = part.len() + usize::from(end.is_some());
            self.bytes_read += consumed as u64;
            self.input.consume(consumed);
            if is_last_part {
                break;
            }
        }
        self.number += 1;
        let number = self.number;
        if is_too_long {
            return Ok(Some(Line::TooLong { number }));
        }
        if text.last() == Some(&b'\r') {
            text.pop();
        }
        let text = text.into();
        Ok(Some(Line::Event { number, text }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn lines_are_numbered_and_blank_ones_passed_over() {
        let event = |number, text: &'static str| Line::Event { number, text: text.into() };
        let mut lines = Lines::new(&b"{\"a\":1}\r\n\n  \n{ }\n0123456789\nend"[..]);
        lines.bytes_max = 9;
        let mut read = Vec::new();
        while let Some(line) = lines.next().await.unwrap() {
            read.push(line);
        }
        let too_long = Line::TooLong { number: 5 };
        assert_eq!(read, [event(1, "{\"a\":1}"), event(4, "{ }"), too_long, event(6, "end")]);
        assert_eq!(lines.bytes_read(), 31);
    }
}
