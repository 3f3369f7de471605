//! How long senders wait that are wrong in different places.

use std::hint::black_box;
use std::num::NonZeroU32;
use std::time::Instant;

use bytes::Bytes;
use fastrand::Rng;
use http::header::AUTHORIZATION;
use http::{HeaderMap, HeaderName, HeaderValue};
use ploy_webhooks::ingest::{Delivery, Received, Refusal};
use ploy_webhooks::verify::{Preset, Scheme, Signed};
use ploy_webhooks::{
    Auth, Clock, Endpoint, EndpointConfig, Ingest, Keyring, Secret, SystemClock, WorkspaceId,
};
use serde::Serialize;

use super::welch::{self, Statistic};
use super::{Void, at_once};

const BODY: &[u8] = br#"{"email":"alex@acme.example","seats":42}"#;

/// What is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[expect(clippy::exhaustive_enums, reason = "benches go through all of them")]
pub enum Class {
    /// A right key, to an endpoint that is not there.
    UnknownSlug,
    /// A key whose first random character is another.
    KeyWrongEarly,
    /// The same once more: what is found between these two is noise.
    KeyWrongEarlyAgain,
    /// A key whose last character is another.
    KeyWrongLate,
    /// The right key.
    KeyRight,
    /// A signature whose first byte is another.
    SignatureWrongEarly,
    /// The same once more.
    SignatureWrongEarlyAgain,
    /// A signature whose last byte is another.
    SignatureWrongLate,
    /// The right signature.
    SignatureRight,
}

impl Class {
    /// All of them.
    pub const ALL: [Self; 9] = [
        Self::UnknownSlug,
        Self::KeyWrongEarly,
        Self::KeyWrongEarlyAgain,
        Self::KeyWrongLate,
        Self::KeyRight,
        Self::SignatureWrongEarly,
        Self::SignatureWrongEarlyAgain,
        Self::SignatureWrongLate,
        Self::SignatureRight,
    ];

    /// Pairs between which there must be no difference, each after one of which there is none.
    pub const PAIRS: [(Self, Self); 4] = [
        (Self::KeyWrongEarly, Self::KeyWrongEarlyAgain),
        (Self::KeyWrongEarly, Self::KeyWrongLate),
        (Self::SignatureWrongEarly, Self::SignatureWrongEarlyAgain),
        (Self::SignatureWrongEarly, Self::SignatureWrongLate),
    ];

    /// Which of the doors it is sent to, and which ends of its value are changed.
    const fn masks(self) -> (usize, [u8; 2]) {
        match self {
            Self::KeyRight => (0, [0, 0]),
            Self::KeyWrongEarly | Self::KeyWrongEarlyAgain => (0, [0xff, 0]),
            Self::KeyWrongLate => (0, [0, 0xff]),
            Self::SignatureRight => (1, [0, 0]),
            Self::SignatureWrongEarly | Self::SignatureWrongEarlyAgain => (1, [0xff, 0]),
            Self::SignatureWrongLate => (1, [0, 0xff]),
            Self::UnknownSlug => (2, [0, 0]),
        }
    }

    const fn is_taken(self) -> bool {
        matches!(self, Self::KeyRight | Self::SignatureRight)
    }
}

/// What was measured.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct Report {
    /// How many samples a class.
    pub samples: usize,
    /// The median latency of each class, in nanoseconds.
    pub medians: Vec<(Class, u32)>,
    /// The pairs that must not differ.
    pub pairs: Vec<(Class, Class, Vec<Statistic>)>,
}

/// Where senders of keys, senders that sign, and senders that have lost their way are sent.
struct Doors([Door; 3]);

struct Door {
    ingest: Ingest<Void, Void>,
    slug: String,
    name: HeaderName,
    /// What is right.
    value: String,
    /// An early and a late character of its secret part.
    ends: [usize; 2],
}

impl Doors {
    fn hang() -> Self {
        let (now, config) = (SystemClock.now(), EndpointConfig::default());
        let workspace = WorkspaceId::DEFAULT;
        let (keyed, key) = Endpoint::mint(workspace, config.clone(), now);

        let (keyring, secret) = (Keyring::mint(), Secret::mint_signing_secret());
        let scheme = Scheme::Preset(Preset::named("clay").expect("a preset"));
        let body = Signed { method: "POST", url: "", body: BODY };
        let headers = scheme.description().sign(&secret, "", now, &body);
        let (header, signature) = headers.expect("any secret will do").remove(0);
        let signed = Endpoint::mint_signed(workspace, config, now, &keyring, scheme, &secret);
        let mut signed = signed.expect("any secret will do");
        if let Auth::Signature(auth) = &mut signed.auth {
            auth.tolerance_seconds = NonZeroU32::MAX;
        }

        let open = |endpoint: Endpoint, name, value: String, ends| {
            let slug = endpoint.slug.to_string();
            let store = Void::of(endpoint);
            let ingest = Ingest::builder(store.clone(), store).keyring(keyring.clone()).build();
            let ingest = ingest.expect("the default settings can be kept");
            Door { ingest, slug, name, value, ends }
        };
        let bearer = format!("Bearer {}", key.expose());
        let ends = ["Bearer pwk_".len(), bearer.len() - 1];
        let by_key = || open(keyed.clone(), AUTHORIZATION, bearer.clone(), ends);
        let mut nowhere = by_key();
        nowhere.slug.push('0');
        let signature = signature.to_str().expect("digits").to_owned();
        // The last but one is the first digit of the last byte.
        let ends = [0, signature.len() - 2];
        Self([by_key(), open(signed, header, signature, ends), nowhere])
    }

    /// The time of one request, in nanoseconds. Each is made anew and in the same way, so that
    /// none of those that are compared has a place in memory or a branch of its own.
    fn sample(&self, class: Class) -> u32 {
        let (door, masks) = class.masks();
        let door = &self.0[door];
        let value = changed(&door.value, door.ends, masks);
        let value = HeaderValue::from_bytes(&value).expect("it is visible ASCII");
        let headers = HeaderMap::from_iter([(door.name.clone(), value)]);
        let (elapsed, taken) = timed(&door.ingest, &door.slug, &headers);
        assert_eq!(taken.is_ok(), class.is_taken(), "{class:?}");
        elapsed
    }
}

/// The text with the characters changed whose masks are set. A digit becomes a digit and a letter
/// a letter: reading a text may depend on what is in it, which its sender knows.
fn changed(text: &str, places: [usize; 2], masks: [u8; 2]) -> Vec<u8> {
    let mut text = text.as_bytes().to_vec();
    for (place, mask) in places.into_iter().zip(masks) {
        let right = text[place];
        let first = match right {
            b'0'..=b'9' => b'0',
            b'a'..=b'z' => b'a',
            _ => b'A',
        };
        let other = first + ((right - first) ^ 1);
        text[place] = right ^ ((right ^ other) & mask);
    }
    text
}

fn timed(
    ingest: &Ingest<Void, Void>,
    slug: &str,
    headers: &HeaderMap,
) -> (u32, Result<Received, Refusal>) {
    let payload = Bytes::from_static(BODY);
    let delivery = Delivery { slug, headers, source: None, payload };
    let begin = Instant::now();
    let taken = black_box(at_once(ingest.submit(black_box(delivery))));
    let elapsed = begin.elapsed().as_nanos();
    (u32::try_from(elapsed).unwrap_or(u32::MAX), taken)
}

/// Takes so many samples of each class, in turns whose order is drawn anew.
#[must_use]
pub fn measure(samples: usize) -> Report {
    let doors = Doors::hang();
    let mut rng = Rng::with_seed(1);
    let mut order = Class::ALL;
    let mut taken = Class::ALL.map(|_| Vec::with_capacity(samples));
    let warm_up = samples / 20;
    for turn in 0..warm_up + samples {
        rng.shuffle(&mut order);
        for class in order {
            let elapsed = doors.sample(class);
            if turn >= warm_up {
                taken[place(class)].push(elapsed);
            }
        }
    }
    let medians = Class::ALL.map(|class| (class, median(&taken[place(class)])));
    let pairs = Class::PAIRS
        .map(|(one, other)| (one, other, welch::compare(&taken[place(one)], &taken[place(other)])));
    Report { samples, medians: medians.to_vec(), pairs: pairs.to_vec() }
}

fn place(class: Class) -> usize {
    class as usize
}

fn median(samples: &[u32]) -> u32 {
    let mut samples = samples.to_vec();
    let middle = samples.len() / 2;
    *samples.select_nth_unstable(middle).1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_class_is_answered_as_it_should_be() {
        let report = measure(40);
        assert_eq!(report.medians.len(), Class::ALL.len());
        assert_eq!(report.pairs.len(), Class::PAIRS.len());
    }
}
