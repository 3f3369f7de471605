//! An answer that is written while it is read, a piece at a time.
//!
//! Who writes is a task of its own, which waits until the piece before was taken: so a client that
//! reads slowly is held by its socket, and one that does not read any more is let go.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::Body;
use bytes::Bytes;
use hyper::body::Frame;
use thiserror::Error;
use tokio::sync::mpsc;

/// How long a piece may wait to be taken. Who reads at all takes one sooner, since it is a few MiB at
/// most; who has gone without a word would keep its place until the system gives up, which may
/// take hours.
const TAKEN_WITHIN: Duration = Duration::from_secs(60);

/// Where the pieces of an answer are put.
#[derive(Debug)]
pub(super) struct Pieces {
    given: mpsc::Sender<Result<Bytes, BrokenOff>>,
    taken_within: Duration,
}

/// The answer breaks off: its client sees that something is missing.
#[derive(Debug, Error)]
#[error("the answer broke off")]
struct BrokenOff;

/// There is nobody any more whom pieces may be given to.
#[derive(Debug)]
pub(super) struct NobodyThere;

/// A body, and where its pieces are put. It ends when that is dropped.
pub(super) fn body_in_pieces() -> (Pieces, Body) {
    in_pieces(TAKEN_WITHIN)
}

fn in_pieces(taken_within: Duration) -> (Pieces, Body) {
    let (given, taken) = mpsc::channel(1);
    (Pieces { given, taken_within }, Body::new(InPieces(taken)))
}

impl Pieces {
    /// Gives a piece as soon as the one before it is taken.
    pub(super) async fn give(&self, piece: Bytes) -> Result<(), NobodyThere> {
        let given = self.given.send_timeout(Ok(piece), self.taken_within).await;
        given.map_err(|_| NobodyThere)
    }

    /// Ends the answer in the middle, as soon as the piece before is taken.
    pub(super) async fn break_off(self) {
        // Where nobody takes it, it has broken off already.
        let _ = self.given.send_timeout(Err(BrokenOff), self.taken_within).await;
    }

    /// Waits until the client has gone.
    pub(super) async fn client_goes(&self) {
        self.given.closed().await;
    }
}

struct InPieces(mpsc::Receiver<Result<Bytes, BrokenOff>>);

impl hyper::body::Body for InPieces {
    type Data = Bytes;
    type Error = BrokenOff;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BrokenOff>>> {
        self.0.poll_recv(cx).map(|piece| piece.map(|piece| piece.map(Frame::data)))
    }
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt;

    use super::*;

    #[tokio::test]
    async fn who_takes_nothing_is_let_go_and_told_what_was_given() {
        let (pieces, body) = in_pieces(Duration::from_millis(1));
        pieces.give(Bytes::from_static(b"one")).await.unwrap();
        pieces.give(Bytes::from_static(b"two")).await.unwrap_err();
        drop(pieces);
        assert_eq!(body.collect().await.unwrap().to_bytes(), "one");
    }

    #[tokio::test]
    async fn what_breaks_off_does_not_look_whole() {
        let (pieces, body) = body_in_pieces();
        let taking = tokio::spawn(body.collect());
        pieces.give(Bytes::from_static(b"one")).await.unwrap();
        pieces.break_off().await;
        taking.await.unwrap().unwrap_err();
    }
}
