//! The body is within the limit and arrives in time: read once, into one buffer that ends up
//! exactly as large as the body.

use std::pin::{Pin, pin};
use std::time::Duration;

use bytes::{Buf, Bytes};
use http_body::Body;

use crate::ingest::Refusal;
use crate::ingest::budget::{Budget, Reservation};
use crate::ingest::in_time::in_time;

/// What a body may take.
#[derive(Clone, Copy, Debug)]
pub(in crate::ingest) struct Allowance {
    pub(in crate::ingest) bytes_max: u64,
    pub(in crate::ingest) timeout: Duration,
}

/// Why a body was not read.
#[derive(Debug)]
pub(in crate::ingest) enum Fault {
    Refused(Refusal),
    OutOfBudget,
}

/// The body, and the part of the budget that it takes up for as long as that is held.
pub(in crate::ingest) async fn read<B: Body>(
    body: B,
    allowance: Allowance,
    budget: &Budget,
) -> Result<(Bytes, Reservation<'_>), Fault> {
    let too_large = Refusal::PayloadTooLarge { limit: allowance.bytes_max };
    if body.size_hint().lower() > allowance.bytes_max {
        return Err(Fault::Refused(too_large));
    }
    match in_time(allowance.timeout, collect(pin!(body), allowance.bytes_max, budget)).await {
        Some(outcome) => outcome,
        None => Err(Fault::Refused(Refusal::RequestTimeout { allowed: allowance.timeout })),
    }
}

async fn collect<'budget, B: Body>(
    mut body: Pin<&mut B>,
    bytes_max: u64,
    budget: &'budget Budget,
) -> Result<(Bytes, Reservation<'budget>), Fault> {
    let declared = body.size_hint().exact();
    let mut reservation = budget.reserve_none();
    let mut buffer = Vec::new();
    while let Some(frame) = std::future::poll_fn(|cx| body.as_mut().poll_frame(cx)).await {
        let frame = frame.map_err(|_| Fault::Refused(Refusal::BodyInterrupted))?;
        let Ok(mut data) = frame.into_data() else {
            continue;
        };
        let length = buffer.len() as u64 + data.remaining() as u64;
        if length > bytes_max {
            return Err(Fault::Refused(Refusal::PayloadTooLarge { limit: bytes_max }));
        }
        if length > buffer.capacity() as u64 {
            let capacity = grown(length, declared.unwrap_or(bytes_max));
            if !reservation.grow_to(capacity) {
                return Err(Fault::OutOfBudget);
            }
            let capacity = usize::try_from(capacity).expect("a body that is held fits into memory");
            buffer.reserve_exact(capacity - buffer.len());
        }
        while data.has_remaining() {
            let chunk = data.chunk();
            buffer.extend_from_slice(chunk);
            let read = chunk.len();
            data.advance(read);
        }
    }
    if declared.is_none() {
        // What is kept from here on is the body, not the room that was left for more of it.
        buffer.shrink_to_fit();
    }
    Ok((Bytes::from(buffer), reservation))
}

/// A buffer grows with what has come, not with what was announced: by doubling, up to what the
/// body has at most. One that comes in one piece gets its exact size at once.
fn grown(length: u64, expected: u64) -> u64 {
    const FIRST: u64 = 16 << 10;
    if length >= expected || expected <= FIRST {
        return length.max(expected);
    }
    length.next_power_of_two().max(FIRST).min(expected)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buffers_grow_with_what_has_come() {
        assert_eq!(grown(1_024, 1_024), 1_024);
        assert_eq!(grown(1, 1_024), 1_024);
        assert_eq!(grown(1, 1 << 20), 16 << 10);
        assert_eq!(grown(20_000, 1 << 20), 32 << 10);
        assert_eq!(grown(600_000, 1_000_000), 1_000_000);
    }
}
