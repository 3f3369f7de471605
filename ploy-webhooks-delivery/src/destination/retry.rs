//! How often a delivery is tried.

use std::fmt;
use std::time::Duration;

use ploy_webhooks::RetryPolicy;
use serde::de::value::MapAccessDeserializer;
use serde::de::{Error, MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// How often a delivery is tried. In JSON `"default"`, `"day"`, or a [`RetryPolicy`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[expect(clippy::exhaustive_enums, reason = "a policy has a name or is described")]
pub enum Retry {
    /// Four attempts, with gaps of 5, 10 and 20 seconds.
    #[default]
    Default,
    /// Nine attempts, with eight gaps that make up a day: 5 seconds, 5 minutes, half an hour, and 1,
    /// 2, 4, 7 and 9.5 hours.
    Day,
    /// As it says.
    Own(RetryPolicy),
}

/// The gaps of [`Retry::Day`], in seconds.
const DAY: [u64; 8] = [5, 300, 1_800, 3_600, 7_200, 14_400, 25_200, 34_200];

impl Retry {
    /// What it says.
    #[must_use]
    pub fn policy(&self) -> RetryPolicy {
        match self {
            Self::Default => RetryPolicy::default(),
            Self::Day => RetryPolicy::listed(DAY.map(Duration::from_secs)),
            Self::Own(policy) => policy.clone(),
        }
    }
}

impl Serialize for Retry {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Default => serializer.serialize_str("default"),
            Self::Day => serializer.serialize_str("day"),
            Self::Own(policy) => policy.serialize(serializer),
        }
    }
}

impl<'de> Deserialize<'de> for Retry {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(RetryVisitor)
    }
}

/// Tells the forms by what they are, so that the fault of a policy is told where it is.
struct RetryVisitor;

impl<'de> Visitor<'de> for RetryVisitor {
    type Value = Retry;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(r#""default", "day", or an object that says how often and how long apart"#)
    }

    fn visit_str<E: Error>(self, name: &str) -> Result<Retry, E> {
        match name {
            "default" => Ok(Retry::Default),
            "day" => Ok(Retry::Day),
            _ => Err(E::custom("there is no retry policy of that name: `default` or `day`")),
        }
    }

    fn visit_map<A: MapAccess<'de>>(self, members: A) -> Result<Retry, A::Error> {
        RetryPolicy::deserialize(MapAccessDeserializer::new(members)).map(Retry::Own)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn policies_have_names_or_are_described() {
        let read = |text: &str| serde_json::from_str::<Retry>(text);
        assert_eq!(read(r#""default""#).unwrap().policy(), RetryPolicy::default());
        let day = read(r#""day""#).unwrap().policy();
        assert_eq!(day.attempts_max.get(), 9);
        let whole: Duration = (1..=8).map(|attempt| day.gap_after(attempt, 1.0)).sum();
        // A day and five minutes, if jitter takes nothing of it.
        assert_eq!(whole.as_secs(), 86_705);
        let own = read(r#"{"attempts_max":2}"#).unwrap();
        assert_eq!(own.policy().attempts_max.get(), 2);
        for text in [r#""days""#, "7", r#"{"attempts":2}"#] {
            assert!(read(text).is_err(), "{text}");
        }
        for retry in [Retry::Default, Retry::Day, own] {
            let text = serde_json::to_string(&retry).unwrap();
            assert_eq!(read(&text).unwrap(), retry);
        }
    }
}
