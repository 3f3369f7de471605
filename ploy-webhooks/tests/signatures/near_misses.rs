//! What comes near to a right signature: each vector with one thing changed. Most are refused,
//! and some are just another spelling.

use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use ed25519_dalek::SigningKey;
use http::HeaderMap;
use ploy_webhooks::verify::{
    Digest, Encoding, Layout, Method, SecretEncoding, SignatureFault, SignatureScheme,
    TimestampSource, Unit,
};
use ploy_webhooks::{Secret, Timestamp};

use super::sent::Sent;
use super::vectors::{self, Vector};

/// A request, and the code that it is refused with; `None` where it is still right.
type Case = (String, Sent, Option<&'static str>);

const WRONG: Option<&str> = Some("invalid_signature");
const STALE: Option<&str> = Some("stale_timestamp");
const RIGHT: Option<&str> = None;

#[test]
fn the_verifier_tells_what_is_right_from_what_is_near() {
    for vector in vectors::all() {
        for (what, sent, expected) in cases(&vector) {
            let code = sent.verify().err().map(|fault| match fault {
                SignatureFault::Stale => "stale_timestamp",
                _ => "invalid_signature",
            });
            assert_eq!(code, expected, "{}, {}: {what}", vector.preset, vector.name);
        }
    }
}

#[tokio::test]
async fn the_intake_refuses_what_is_near_and_stores_nothing_of_it() {
    for vector in vectors::all().into_iter().filter(Vector::is_for_an_intake) {
        for (what, sent, expected) in cases(&vector) {
            let shown = format!("{}, {}: {what}", vector.preset, vector.name);
            let answer = sent.post().await;
            let Some(code) = expected else {
                assert!(answer.status < 300, "{shown}: {answer:?}");
                continue;
            };
            assert_eq!(answer.status, 401, "{shown}");
            let problem = answer.json();
            assert_eq!(problem["code"], code, "{shown}");
            assert!(answer.payloads.is_empty(), "{shown} is stored");
            let text = problem.to_string();
            assert!(!text.contains(&vector.signature), "{shown}: a signature is in the answer");
            assert!(!text.contains(&sent.secret), "{shown}: a secret is in the answer");
        }
    }
}

fn cases(vector: &Vector) -> Vec<Case> {
    let mut cases = Cases { vector, sent: vector.sent(), found: Vec::new() };
    cases.bodies();
    cases.secrets();
    cases.signatures();
    cases.headers();
    cases.layouts();
    cases.times();
    cases.ids();
    cases.urls();
    cases.found
}

struct Cases<'vector> {
    vector: &'vector Vector,
    sent: Sent,
    found: Vec<Case>,
}

impl Cases<'_> {
    fn add(&mut self, what: impl Into<String>, sent: Sent, expected: Option<&'static str>) {
        self.found.push((what.into(), sent, expected));
    }

    fn scheme(&self) -> &'static SignatureScheme {
        self.sent.scheme()
    }

    /// The method that the vector's secret is for.
    fn method(&self) -> &'static Method {
        let alternative = self.scheme().alternative.as_ref();
        let is_for = |method: &&Method| self.sent.secret.starts_with(&method.secret.prefix);
        alternative.filter(is_for).unwrap_or(&self.scheme().method)
    }

    /// The request with another value of the signature's header.
    fn headed(&self, value: &str) -> Sent {
        self.sent.clone().with(&self.scheme().header, value)
    }

    /// The request with another signature in the place of the right one.
    fn resigned(&self, signature: &str) -> Sent {
        let value = self.sent.value(&self.scheme().header);
        self.headed(&value.replace(&self.vector.signature, signature))
    }

    fn bodies(&mut self) {
        if !self.scheme().signs() {
            return;
        }
        let length = self.sent.body.len();
        for place in [0, length / 2, length - 1] {
            let mut sent = self.sent.clone();
            sent.body[place] ^= 1;
            self.add(format!("a bit of the body changed at {place}"), sent, WRONG);
        }
        let mut sent = self.sent.clone();
        sent.body.push(b'\n');
        self.add("a line end behind the body", sent, WRONG);
        let mut sent = self.sent.clone();
        sent.body.pop();
        self.add("the last byte of the body missing", sent, WRONG);
    }

    fn secrets(&mut self) {
        let method = self.method();
        let secret = self.sent.secret.clone();
        let bare = secret.strip_prefix(&method.secret.prefix).unwrap_or(&secret);
        let prefix = &secret[..secret.len() - bare.len()];
        let others = match (method.digest, method.secret.encoding) {
            (Digest::Ed25519, encoding) => {
                let other = SigningKey::from_bytes(&[7; 32]).verifying_key();
                vec![match encoding {
                    SecretEncoding::Base64 => STANDARD.encode(other.as_bytes()),
                    _ => hex::encode(other.as_bytes()),
                }]
            }
            (_, SecretEncoding::Base64) => {
                let mut bytes = STANDARD.decode(bare).expect("the secret is base64");
                bytes[0] ^= 1;
                vec![STANDARD.encode(bytes)]
            }
            _ => vec![format!("{bare}x"), bare[..bare.len() - 1].to_owned(), format!("X{bare}")],
        };
        for other in others {
            let sent = Sent { secret: format!("{prefix}{other}"), ..self.sent.clone() };
            self.add("another secret", sent, WRONG);
        }
    }

    fn signatures(&mut self) {
        let right = self.vector.signature.clone();
        let swapped = |place: usize| {
            let mut bytes = right.clone().into_bytes();
            bytes[place] = if bytes[place] == b'0' { b'1' } else { b'0' };
            String::from_utf8(bytes).expect("it is ASCII")
        };
        for (what, other) in [
            ("nothing in the place of the signature", String::new()),
            ("the first digit changed", swapped(0)),
            ("a digit in the middle changed", swapped(right.len() / 2)),
            ("a digit less", right[..right.len() - 1].trim_end_matches('=').to_owned()),
            ("a byte less", right[..right.len() - 4].to_owned()),
            ("a digit more", format!("{right}0")),
            ("a byte more", format!("{right}00")),
            ("the signature twice over", format!("{right}{right}")),
            ("a prefix more", format!("0x{right}")),
            ("in quotes", format!("\"{right}\"")),
        ] {
            // Without its padding it is the same signature.
            let expected =
                if other == right.trim_end_matches('=') && other != right { RIGHT } else { WRONG };
            self.add(what, self.resigned(&other), expected);
        }
        if self.method().digest == Digest::Token {
            self.add("in capitals", self.resigned(&right.to_uppercase()), WRONG);
            return;
        }
        match self.method().encoding {
            Encoding::Hex => self.add("in capitals", self.resigned(&right.to_uppercase()), RIGHT),
            Encoding::Base64 => {
                let unpadded = right.trim_end_matches('=');
                self.add("without padding", self.resigned(unpadded), RIGHT);
                let url_safe = right.replace('+', "-").replace('/', "_");
                if url_safe != right {
                    self.add("in base64 for URLs", self.resigned(&url_safe), WRONG);
                }
                let bytes = STANDARD.decode(&right).expect("the signature is base64");
                self.add("in hexadecimal digits", self.resigned(&hex::encode(bytes)), WRONG);
            }
        }
        self.other_digests();
    }

    /// The same by another digest under the same secret. What a public key says is known to
    /// everybody, so nothing keyed by it may open.
    fn other_digests(&mut self) {
        for digest in [Digest::HmacSha1, Digest::HmacSha256, Digest::HmacSha512] {
            if digest == self.method().digest {
                continue;
            }
            let mut other = self.scheme().clone();
            other.method.digest = digest;
            if let Some(alternative) = &mut other.alternative {
                alternative.digest = digest;
            }
            let id = other.id.as_ref().map_or("", |name| self.sent.value(name)).to_owned();
            let mut secrets = vec![self.sent.secret()];
            if let Some(key) = self.sent.secret.strip_prefix("whpk_") {
                secrets.push(Secret::from(format!("whsec_{key}")));
            }
            for secret in secrets {
                let headers = other.sign(&secret, &id, self.sent.now, &self.sent.signed());
                let headers: HeaderMap = headers.expect("a key").into_iter().collect();
                let value = headers[&other.header].to_str().expect("a signature is text");
                self.add(format!("by {digest:?}"), self.headed(value), WRONG);
            }
        }
    }

    fn headers(&mut self) {
        let name = &self.scheme().header;
        let value = self.sent.value(name).to_owned();
        self.add("no signature", self.sent.clone().without(name), WRONG);
        self.add("the header twice", self.sent.clone().twice(name), WRONG);
        self.add("the header empty", self.headed(""), WRONG);
        self.add("a header that is no text", self.headed(&format!("{value}é")), WRONG);
    }

    fn layouts(&mut self) {
        let value = self.sent.value(&self.scheme().header).to_owned();
        let right = self.vector.signature.clone();
        let label = match &self.method().layout {
            Layout::Whole { prefix, .. } | Layout::List { prefix, .. } => prefix.clone(),
            Layout::Pairs { signature, .. } => format!("{signature}="),
            other => panic!("a layout that nothing is known of: {other:?}"),
        };
        let is_optional = matches!(self.method().layout, Layout::Whole { is_optional: true, .. });
        if !label.is_empty() && value.contains(&label) {
            let expected = if is_optional { RIGHT } else { WRONG };
            self.add("no prefix", self.headed(&value.replace(&label, "")), expected);
            let other = value.replace(&label, &format!("x{label}"));
            self.add("another prefix", self.headed(&other), WRONG);
        }
        match &self.method().layout {
            Layout::Pairs { separator, .. } => self.pairs(*separator, &value, &label, &right),
            Layout::List { separator, .. } => self.list(*separator, &label, &right),
            _ => self.add("two in one header", self.headed(&format!("{value},{value}")), WRONG),
        }
    }

    fn pairs(&mut self, separator: char, value: &str, label: &str, right: &str) {
        let pairs: Vec<&str> = value.split(separator).collect();
        let joined = |pairs: &[&str], with: &str| pairs.join(&format!("{separator}{with}"));
        let reversed: Vec<&str> = pairs.iter().rev().copied().collect();
        self.add("pairs in another order", self.headed(&joined(&reversed, "")), RIGHT);
        self.add("blanks between pairs", self.headed(&joined(&pairs, " ")), RIGHT);
        let more = format!("x=1{separator}{value}{separator}{separator}nothing{separator}=");
        self.add("pairs that say nothing", self.headed(&more), RIGHT);
        let before = format!("{label}00{separator}{value}");
        self.add("a wrong one before the right one", self.headed(&before), RIGHT);
        self.add(
            "only the time",
            self.headed(&value.replace(&format!("{label}{right}"), "")),
            WRONG,
        );
        let signatures = value.matches(label).count();
        for (count, expected) in [(16, RIGHT), (17, WRONG)] {
            let others = format!("{separator}{label}00").repeat(count - signatures);
            let headed = self.headed(&format!("{value}{others}"));
            self.add(format!("{count} signatures"), headed, expected);
        }
    }

    fn list(&mut self, separator: char, label: &str, right: &str) {
        let one = format!("{label}{right}");
        for (what, value, expected) in [
            ("one that is unknown before", format!("v9,x{separator}{one}"), RIGHT),
            ("a wrong one before", format!("{label}AAAA{separator}{one}"), RIGHT),
            ("the right one twice", format!("{one}{separator}{one}"), RIGHT),
            ("two blanks", format!("{label}AAAA{separator}{separator}{one}"), RIGHT),
            ("a comma between", format!("{label}AAAA,{one}"), WRONG),
            ("16 signatures", format!("{one}{}", format!("{separator}{label}A").repeat(15)), RIGHT),
            ("17 signatures", format!("{one}{}", format!("{separator}{label}A").repeat(16)), WRONG),
        ] {
            self.add(what, self.headed(&value), expected);
        }
    }

    fn times(&mut self) {
        let Some(source) = &self.scheme().timestamp else { return };
        let per_second = match source.unit {
            Unit::Seconds => 1,
            Unit::Milliseconds => 1_000,
        };
        let time = self.sent.now.as_millis() * per_second / 1_000;
        let far = 301 * per_second;
        for (text, expected) in [
            ((time + 1).to_string(), WRONG),
            ((time - 1).to_string(), WRONG),
            (format!("0{time}"), WRONG),
            ((time + far).to_string(), STALE),
            ((time - far).to_string(), STALE),
            // The other unit.
            ((time * 1_000).to_string(), STALE),
            ((time / 1_000).to_string(), STALE),
            ("0".to_owned(), STALE),
            (u64::MAX.to_string(), STALE),
            (String::new(), WRONG),
            (format!("-{time}"), WRONG),
            (format!("+{time}"), WRONG),
            (format!("{time}.0"), WRONG),
            (format!("{time}x"), WRONG),
            ("9".repeat(40), WRONG),
        ] {
            let sent = self.retimed(source, time, &text);
            self.add(format!("the time {text:?}"), sent, expected);
        }
        for (offset, expected) in [(300_000, RIGHT), (300_001, STALE)] {
            let late = Sent {
                now: self.sent.now.after(Duration::from_millis(offset)),
                ..self.sent.clone()
            };
            self.add(format!("{offset} ms late"), late, expected);
            let now = Timestamp::from_millis(self.sent.now.as_millis() - offset);
            let early = Sent { now, ..self.sent.clone() };
            self.add(format!("{offset} ms early"), early, expected);
        }
        match &source.header {
            Some(name) => {
                self.add("no time", self.sent.clone().without(name), WRONG);
                self.add("the time twice", self.sent.clone().twice(name), WRONG);
            }
            None => {
                let value = self.sent.value(&self.scheme().header).to_owned();
                let pair = value.split([',', ';']).next().expect("the time comes first").to_owned();
                self.add("no time", self.headed(&value[pair.len() + 1..]), WRONG);
                self.add("the time twice", self.headed(&format!("{pair},{pair};{value}")), WRONG);
            }
        }
    }

    fn retimed(&self, source: &TimestampSource, time: u64, text: &str) -> Sent {
        match &source.header {
            Some(name) => self.sent.clone().with(name, text),
            None => {
                let value = self.sent.value(&self.scheme().header);
                self.headed(&value.replacen(&format!("={time}"), &format!("={text}"), 1))
            }
        }
    }

    fn ids(&mut self) {
        let Some(name) = &self.scheme().id else { return };
        let id = self.sent.value(name).to_owned();
        self.add("another id", self.sent.clone().with(name, &format!("{id}x")), WRONG);
        self.add("an empty id", self.sent.clone().with(name, ""), WRONG);
        self.add("no id", self.sent.clone().without(name), WRONG);
        self.add("the id twice", self.sent.clone().twice(name), WRONG);
    }

    fn urls(&mut self) {
        let url = self.sent.url.clone();
        let expected = if self.scheme().signed.has_url() { WRONG } else { RIGHT };
        for other in [
            format!("{url}{}x=1", if url.contains('?') { '&' } else { '?' }),
            url.replacen("https", "http", 1),
            url.replacen("://", "://x.", 1),
        ] {
            self.add(format!("at {other}"), Sent { url: other, ..self.sent.clone() }, expected);
        }
    }
}
