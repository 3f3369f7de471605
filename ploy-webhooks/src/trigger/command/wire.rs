//! What a guardian and the process that has started it say to each other.
//!
//! They talk over a socket, which is the guardian's standard input. The guardian says [`HELLO`];
//! it is told the payload, after its length; when all is over it says its [`Report`]. It has
//! nothing more to hear after the payload, so that the end of the stream can mean one thing: the
//! program is to be ended.

use std::io;

/// The hidden argument by which a program is asked to be a guardian.
pub(super) const MARK: &str = "--ploy-guard-v1";
/// The name under which a guardian is seen among processes. Not that of the program which it is:
/// whoever ends all processes of that name must not end their guardians first.
pub(super) const NAME: &str = "ploy-guard";
/// By this a guardian is told from a program that is none.
pub(super) const HELLO: [u8; 8] = *b"PLOYGRD1";

/// How many bytes the length of the payload takes.
pub(super) const LENGTH_BYTES: usize = 8;
/// How many bytes a report takes.
pub(super) const REPORT_BYTES: usize = 5;

/// What has come of the program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Report {
    /// It has ended with that status.
    Exit(i32),
    /// It was ended by that signal.
    Signal(i32),
    /// It could not be started, with that error of the operating system.
    NotStarted(i32),
    /// Its folder could not be entered.
    NoFolder(i32),
    /// The guardian cannot be one here.
    NoGuard(i32),
}

impl Report {
    pub(super) fn to_bytes(self) -> [u8; REPORT_BYTES] {
        let (tag, number) = match self {
            Self::Exit(code) => (b'E', code),
            Self::Signal(signal) => (b'S', signal),
            Self::NotStarted(error) => (b'N', error),
            Self::NoFolder(error) => (b'F', error),
            Self::NoGuard(error) => (b'G', error),
        };
        let [a, b, c, d] = number.to_be_bytes();
        [tag, a, b, c, d]
    }

    pub(super) fn from_bytes([tag, number @ ..]: [u8; REPORT_BYTES]) -> Option<Self> {
        let number = i32::from_be_bytes(number);
        Some(match tag {
            b'E' => Self::Exit(number),
            b'S' => Self::Signal(number),
            b'N' => Self::NotStarted(number),
            b'F' => Self::NoFolder(number),
            b'G' => Self::NoGuard(number),
            _ => return None,
        })
    }
}

/// The number of an error, for a report; 0 where the operating system has not numbered it.
pub(super) fn number_of(error: &io::Error) -> i32 {
    error.raw_os_error().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_comes_as_it_was_sent() {
        for report in [
            Report::Exit(255),
            Report::Signal(9),
            Report::NotStarted(2),
            Report::NoFolder(i32::MAX),
            Report::NoGuard(-1),
        ] {
            assert_eq!(Report::from_bytes(report.to_bytes()), Some(report));
        }
        assert_eq!(Report::from_bytes(*b"x\0\0\0\0"), None);
    }
}
