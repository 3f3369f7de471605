//! A body that comes in pieces.

use std::collections::VecDeque;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body, Frame};

/// What a body does after its last piece.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Then {
    End,
    Stall,
    Break,
    /// A byte of white space every so often, for ever.
    Trickle(Duration),
}

/// A body that comes in pieces and does not say how long it is.
#[derive(Debug)]
pub(crate) struct Pieces {
    pieces: VecDeque<Bytes>,
    then: Then,
    next: Option<Pin<Box<tokio::time::Sleep>>>,
}

impl Pieces {
    pub(crate) fn new<const N: usize>(pieces: [&'static [u8]; N], then: Then) -> Self {
        Self { pieces: pieces.map(Bytes::from_static).into(), then, next: None }
    }

    pub(crate) fn of_size(size: usize, then: Then) -> Self {
        Self { pieces: VecDeque::from([Bytes::from(vec![b' '; size])]), then, next: None }
    }
}

impl Body for Pieces {
    type Data = Bytes;
    type Error = &'static str;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, &'static str>>> {
        if let Some(piece) = self.pieces.pop_front() {
            return Poll::Ready(Some(Ok(Frame::data(piece))));
        }
        match self.then {
            Then::End => Poll::Ready(None),
            Then::Stall => Poll::Pending,
            Then::Break => Poll::Ready(Some(Err("the connection was reset"))),
            Then::Trickle(gap) => {
                let new = || Box::pin(tokio::time::sleep(gap));
                let waiting = self.next.get_or_insert_with(new);
                std::task::ready!(waiting.as_mut().poll(cx));
                self.next = None;
                Poll::Ready(Some(Ok(Frame::data(Bytes::from_static(b" ")))))
            }
        }
    }
}
