//! What a program says, in bounded memory: the beginning of its output, the end of its errors.

use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncReadExt};

use crate::trigger::attempt::cut_note;

/// How much is read at once.
const READ_BYTES: usize = 64 << 10;
/// How much of the errors is kept.
const TAIL_BYTES: usize = 4 << 10;
/// A note that says what was cut off is never longer.
const NOTE_BYTES: usize = 64;

/// Takes what is said, piece by piece.
pub(super) trait Listen {
    fn hear(&mut self, piece: &[u8]);
}

/// Reads to the end. What a read fails with is an end too: there is nothing more to be had.
pub(super) async fn listen(mut source: impl AsyncRead + Unpin, listener: &mut impl Listen) {
    let mut piece = vec![0; READ_BYTES];
    loop {
        match source.read(&mut piece).await {
            Ok(0) | Err(_) => return,
            Ok(length) => listener.hear(&piece[..length]),
        }
    }
}

/// The beginning of what was said.
#[derive(Debug)]
pub(super) struct Head {
    kept: Vec<u8>,
    bytes_max: usize,
    total: usize,
}

impl Head {
    pub(super) const fn new(bytes_max: usize) -> Self {
        Self { kept: Vec::new(), bytes_max, total: 0 }
    }

    /// All of it, or its beginning and how much is missing: within the bound either way, so that
    /// nobody cuts off the note.
    pub(super) fn into_bytes(mut self) -> Bytes {
        if self.total > self.bytes_max {
            self.kept.truncate(self.bytes_max.saturating_sub(NOTE_BYTES));
            let note = cut_note(self.total - self.kept.len());
            self.kept.extend_from_slice(note.as_bytes());
        }
        self.kept.into()
    }
}

impl Listen for Head {
    fn hear(&mut self, piece: &[u8]) {
        let room = self.bytes_max - self.kept.len();
        self.kept.extend_from_slice(&piece[..room.min(piece.len())]);
        self.total = self.total.saturating_add(piece.len());
    }
}

/// The end of what was said.
#[derive(Debug, Default)]
pub(super) struct Tail {
    kept: Vec<u8>,
    is_cut: bool,
}

impl Tail {
    /// The end of it as text, without blanks around it.
    pub(super) fn into_text(mut self) -> String {
        self.keep_to_the_bound();
        let text = String::from_utf8_lossy(&self.kept);
        let text = text.trim();
        if self.is_cut { format!("… {text}") } else { text.to_owned() }
    }

    fn keep_to_the_bound(&mut self) {
        if self.kept.len() > TAIL_BYTES {
            self.kept.drain(..self.kept.len() - TAIL_BYTES);
            self.is_cut = true;
        }
    }
}

impl Listen for Tail {
    fn hear(&mut self, piece: &[u8]) {
        self.kept.extend_from_slice(piece);
        self.keep_to_the_bound();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head(bytes_max: usize, pieces: &[&[u8]]) -> Bytes {
        let mut head = Head::new(bytes_max);
        for piece in pieces {
            head.hear(piece);
        }
        head.into_bytes()
    }

    #[test]
    fn a_head_is_whole_up_to_its_bound() {
        assert_eq!(head(6, &[b"abc", b"def"]), "abcdef");
        let long = head(100, &[&[b'x'; 70], &[b'y'; 70]]);
        let expected = "x".repeat(36) + "\n… (104 more bytes are not kept)";
        assert_eq!(long, expected);
        assert!(long.len() <= 100);
        assert_eq!(head(0, &[b"abc"]), "\n… (3 more bytes are not kept)");
    }

    #[test]
    fn a_tail_is_the_end() {
        let mut tail = Tail::default();
        for _ in 0..3 {
            tail.hear(&[b'x'; TAIL_BYTES]);
        }
        tail.hear(b" the end\n");
        let text = tail.into_text();
        assert!(text.starts_with("… xxx") && text.ends_with("xxx the end"), "{text}");
        assert_eq!(Tail::default().into_text(), "");
    }
}
