//! Times as the API writes them: RFC 3339, UTC, milliseconds.

use jiff::Timestamp as Time;
use ploy_webhooks::Timestamp;
use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::{Serialize, Serializer};

use super::openapi::nouns;

/// A time that is written as RFC 3339.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rfc3339(pub(super) Timestamp);

impl Serialize for Rfc3339 {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        // Ids reach to the year 10889, RFC 3339 to 9999.
        let time = i64::try_from(self.0.as_millis())
            .ok()
            .and_then(|millis| Time::from_millisecond(millis).ok())
            .unwrap_or(Time::MAX);
        serializer.collect_str(&time.strftime("%Y-%m-%dT%H:%M:%S.%3fZ"))
    }
}

impl JsonSchema for Rfc3339 {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        nouns::Time::schema_name()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        nouns::Time::json_schema(generator)
    }
}

/// The first whole millisecond that is not before the time written; 1970 for all before it.
pub(super) fn parse(text: &str) -> Result<Timestamp, &'static str> {
    let time: Time =
        text.parse().map_err(|_| "not a time as RFC 3339 writes it, with a `+` as `%2B`")?;
    let nanos = time.as_nanosecond().max(0).unsigned_abs();
    let millis = u64::try_from(nanos.div_ceil(1_000_000)).unwrap_or(u64::MAX);
    Ok(Timestamp::from_millis(millis))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times() {
        let written =
            |millis| serde_json::to_value(Rfc3339(Timestamp::from_millis(millis))).unwrap();
        assert_eq!(written(0), "1970-01-01T00:00:00.000Z");
        assert_eq!(written(1_700_000_000_120), "2023-11-14T22:13:20.120Z");
        assert_eq!(written(u64::MAX), "9999-12-30T22:00:00.999Z");
        let millis = |text| parse(text).map(Timestamp::as_millis);
        assert_eq!(millis("2023-11-14T23:13:20.1200001+01:00"), Ok(1_700_000_000_121));
        assert_eq!(millis("1960-01-01T00:00:00Z"), Ok(0));
        for text in ["", "2023-11-14", "now", "2023-11-14T22:13:20", "1700000000"] {
            assert!(parse(text).is_err(), "{text}");
        }
    }
}
