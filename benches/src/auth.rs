//! What it costs to prove a sender, and whether the time that it takes tells anything.
//!
//! - [`cost`]: endpoints whose senders sign beside one whose senders show a key, in units of one
//!   HMAC-SHA256 over the same body.
//! - [`timing`]: answers to senders that are wrong in different places, compared by Welch's t.
//! - [`welch`]: the statistic.
//!
//! Everything runs on one thread over a store that keeps nothing, so that what is measured is the
//! intake. What is compared is measured in turns: who else uses the machine uses it for all.

pub mod cost;
pub mod timing;
mod void;
pub mod welch;

use std::pin::pin;
use std::task::{Context, Poll, Waker};

pub use void::Void;

fn at_once<F: Future>(future: F) -> F::Output {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(output) => output,
        Poll::Pending => panic!("a store that keeps nothing answers at once"),
    }
}
