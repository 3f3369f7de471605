//! `Retry-After`: when a server wants to be asked again (RFC 9110 §10.2.3).

use std::time::{Duration, UNIX_EPOCH};

use ploy_webhooks::Timestamp;
use reqwest::header::{HeaderMap, RETRY_AFTER};

/// No server has its way for longer.
const GAP_MAX: Duration = Duration::from_secs(86_400);

/// How long to wait, in seconds or until a date; zero for a date in the past, a day at most.
/// `None` where nothing is said, or nothing that can be understood.
pub(crate) fn retry_after(headers: &HeaderMap, now: Timestamp) -> Option<Duration> {
    let value = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    let gap = if !value.is_empty() && value.bytes().all(|byte| byte.is_ascii_digit()) {
        // As many digits as there may be: what does not fit is long.
        value.parse().map_or(GAP_MAX, Duration::from_secs)
    } else {
        let date = httpdate::parse_http_date(value).ok()?;
        // A date before 1970 is in the past.
        let since_epoch = date.duration_since(UNIX_EPOCH).unwrap_or_default();
        since_epoch.saturating_sub(Duration::from_millis(now.as_millis()))
    };
    Some(gap.min(GAP_MAX))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use reqwest::header::HeaderValue;

    fn read(value: &[u8]) -> Option<Duration> {
        // 1994-11-06T08:49:00Z.
        let now = Timestamp::from_millis(784_111_740_000);
        let value = HeaderValue::from_bytes(value).ok()?;
        retry_after(&HeaderMap::from_iter([(RETRY_AFTER, value)]), now)
    }

    #[test]
    fn seconds_and_the_three_forms_of_a_date() {
        let seconds = |value: &str| read(value.as_bytes()).map(|gap| gap.as_secs());
        assert_eq!(seconds("0"), Some(0));
        assert_eq!(seconds(" 120 "), Some(120));
        assert_eq!(seconds("Sun, 06 Nov 1994 08:49:37 GMT"), Some(37));
        assert_eq!(seconds("Sunday, 06-Nov-94 08:49:37 GMT"), Some(37));
        assert_eq!(seconds("Sun Nov  6 08:49:37 1994"), Some(37));
        assert_eq!(seconds("Sun, 06 Nov 1994 08:48:37 GMT"), Some(0));
        assert_eq!(seconds("Fri, 31 Dec 9999 23:59:59 GMT"), Some(86_400));
        assert_eq!(seconds("86401"), Some(86_400));
        assert_eq!(seconds("99999999999999999999999"), Some(86_400));
        for value in ["", "-1", "+1", "1.5", "soon", "Sun, 06 Nov", "1994-11-06T08:49:37Z"] {
            assert_eq!(seconds(value), None, "{value}");
        }
        assert_eq!(retry_after(&HeaderMap::new(), Timestamp::MAX), None);
    }

    proptest! {
        #[test]
        fn nothing_makes_it_panic(value: Vec<u8>) {
            prop_assert!(read(&value).is_none_or(|gap| gap <= GAP_MAX));
        }
    }
}
