//! What is waited for before a write counts as durable, where its answer alone does not say so.

use std::time::Duration;

use redis::{Cmd, Value};

use crate::value;

/// What follows a batch of writes on its connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wait {
    /// So many replicas have it (`WAIT`).
    Replicas(u8),
    /// The server has flushed it to its disk (`WAITAOF`).
    OwnDisk,
}

impl Wait {
    pub(crate) fn command(self, at_most: Duration) -> Cmd {
        // Zero would be for ever.
        let millis = u64::try_from(at_most.as_millis()).unwrap_or(u64::MAX).max(1);
        match self {
            Self::Replicas(count) => {
                let mut wait = redis::cmd("WAIT");
                wait.arg(count).arg(millis);
                wait
            }
            Self::OwnDisk => {
                let mut wait = redis::cmd("WAITAOF");
                wait.arg(1).arg(0).arg(millis);
                wait
            }
        }
    }

    /// What is missing, by what the server said.
    pub(crate) fn shortfall(self, answer: Option<Value>) -> Option<String> {
        match self {
            Self::Replicas(wanted) => {
                let have = answer.as_ref().and_then(value::int).unwrap_or(0);
                (have < i64::from(wanted))
                    .then(|| format!("{have} replicas have it, and {wanted} should"))
            }
            Self::OwnDisk => {
                let local = answer.and_then(value::array);
                let local = local.and_then(|parts| value::int(parts.first()?));
                (local != Some(1)).then(|| "the server has not flushed it in time".to_owned())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_acknowledged_is_missing() {
        let is_short = |wait: Wait, answer| wait.shortfall(answer).is_some();
        assert!(!is_short(Wait::Replicas(2), Some(Value::Int(2))));
        assert!(is_short(Wait::Replicas(2), Some(Value::Int(1))));
        assert!(is_short(Wait::Replicas(1), None));
        let flushed = |local| Some(Value::Array(vec![Value::Int(local), Value::Int(0)]));
        assert!(!is_short(Wait::OwnDisk, flushed(1)));
        assert!(is_short(Wait::OwnDisk, flushed(0)));
        assert!(is_short(Wait::OwnDisk, None));
    }
}
