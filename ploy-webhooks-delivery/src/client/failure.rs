//! Why there is no answer, in a word and in words.

use std::error::Error;
use std::io::{self, ErrorKind};

use serde::{Deserialize, Serialize};

use super::Exchange;
use super::timings::Timings;
use crate::address::{AddressRefused, Nowhere};
use crate::excerpt::causes;

/// How much is said of a failure. Those who cause it have a part in the words: the names in a
/// certificate, for example.
const MESSAGE_BYTES_MAX: usize = 1 << 10;

/// Why something was not delivered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum FailureClass {
    /// The policy refuses the address or the port; nothing was connected to.
    AddressRefused,
    /// The name was not found.
    Dns,
    /// Nobody there, or the way is closed.
    Connect,
    /// A certificate that is not trusted, or no TLS at all.
    Tls,
    /// It took longer than it may: to connect, or altogether.
    Timeout,
    /// An answer that breaks off or is no HTTP.
    BrokenAnswer,
    /// There is nothing that could be sent: not by HTTP, for example.
    Unusable,
    /// An answer that is no success.
    Status,
    /// The event does not fill in a template.
    Template,
    /// The receiver takes no more.
    Exhausted,
    /// The destination is not there, or its secrets do not open.
    Destination,
}

/// That there is no answer, or no end of one that would be a success.
#[derive(Clone, Debug)]
pub(crate) struct NoAnswer {
    pub(crate) class: FailureClass,
    /// For people: scheme, host and port, and what went wrong, in harmless characters. Nothing
    /// else of the URL, and 1 KiB at most.
    pub(crate) message: String,
    pub(crate) timings: Timings,
    is_permanent: bool,
}

impl NoAnswer {
    /// Whether the same request fails however often it is sent: what refuses it is in the URL. A
    /// name that leads to a refused address may lead elsewhere another time.
    pub(crate) const fn is_permanent(&self) -> bool {
        self.is_permanent
    }
}

impl Exchange<'_> {
    /// The URL itself says that it leads where nothing may be connected to.
    pub(super) fn refused(&self, refused: AddressRefused) -> NoAnswer {
        let message = format!("{} is not connected to: it {refused}", self.origin());
        NoAnswer { is_permanent: true, ..self.no_answer(FailureClass::AddressRefused, message) }
    }

    /// The time is over.
    pub(super) fn too_late(&self) -> NoAnswer {
        let message = format!("{} has not answered within {:?}", self.origin(), self.time_limit);
        self.no_answer(FailureClass::Timeout, message)
    }

    /// What that error means.
    pub(super) fn failed(&self, error: reqwest::Error) -> NoAnswer {
        let error = error.without_url();
        let class = class_of(&error);
        let origin = self.origin();
        let message = match class {
            FailureClass::Unusable => format!("{origin} cannot be asked: {}", causes(&error)),
            FailureClass::AddressRefused => {
                let refused = find::<Nowhere>(&error).expect("it is by this that it is known");
                format!("{origin} is not connected to: {refused}")
            }
            FailureClass::Timeout => {
                let limit = self.client.settings.connect_timeout.min(self.time_limit);
                format!("cannot connect to {origin} within {limit:?}")
            }
            FailureClass::Dns | FailureClass::Connect | FailureClass::Tls => {
                format!("cannot connect to {origin}: {}", causes(&error))
            }
            _ => {
                format!("{origin} has not answered to the end: {}", causes(&error))
            }
        };
        let is_permanent = class == FailureClass::Unusable;
        NoAnswer { is_permanent, ..self.no_answer(class, message) }
    }

    fn no_answer(&self, class: FailureClass, message: String) -> NoAnswer {
        let (message, timings) = (shortened(message), self.timings());
        NoAnswer { class, message, timings, is_permanent: false }
    }

    /// Scheme, host and port: what may be said of where it was sent.
    fn origin(&self) -> String {
        self.url.origin().ascii_serialization()
    }
}

fn class_of(error: &reqwest::Error) -> FailureClass {
    if error.is_builder() {
        FailureClass::Unusable
    } else if find::<Nowhere>(error).is_some() {
        FailureClass::AddressRefused
    } else if !error.is_connect() {
        FailureClass::BrokenAnswer
    } else if error.is_timeout() {
        FailureClass::Timeout
    } else if error.is_dns() {
        FailureClass::Dns
    } else if is_of_tls(error) {
        FailureClass::Tls
    } else {
        FailureClass::Connect
    }
}

/// Whether it is TLS that failed. Its errors, and the end of the connection amid its handshake,
/// are of kinds that a connection that is not made does not have.
fn is_of_tls(error: &reqwest::Error) -> bool {
    let kind = find::<io::Error>(error).map(innermost).map(io::Error::kind);
    matches!(kind, Some(ErrorKind::InvalidData | ErrorKind::UnexpectedEof))
}

/// The error that was wrapped first. Those around it say no kind, and do not name it their source.
fn innermost(error: &io::Error) -> &io::Error {
    match error.get_ref().and_then(|inner| inner.downcast_ref()) {
        Some(inner) => innermost(inner),
        None => error,
    }
}

/// The first error of that type among the causes.
fn find<E: Error + 'static>(error: &reqwest::Error) -> Option<&E> {
    let mut next = error.source();
    while let Some(cause) = next {
        if let Some(found) = cause.downcast_ref() {
            return Some(found);
        }
        next = cause.source();
    }
    None
}

fn shortened(mut message: String) -> String {
    if message.len() > MESSAGE_BYTES_MAX {
        message.truncate(message.floor_char_boundary(MESSAGE_BYTES_MAX - '…'.len_utf8()));
        message.push('…');
    }
    message
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_as_long_as_it_may_be_and_whole() {
        assert_eq!(shortened("é".repeat(512)), "é".repeat(512));
        assert_eq!(shortened("é".repeat(513)), format!("{}…", "é".repeat(510)));
    }
}
