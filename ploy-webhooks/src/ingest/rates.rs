//! The fields `RateLimit-Policy` and `RateLimit` (draft-ietf-httpapi-ratelimit-headers-10): what a
//! sender may still send.

use http::{HeaderMap, HeaderName, HeaderValue};

use crate::limits::Rate;

/// The rates that hold for a request, each with how many more would be admitted.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Rates {
    pub(super) endpoint: Option<(Rate, u32)>,
    pub(super) workspace: Option<(Rate, u32)>,
}

const POLICY: HeaderName = HeaderName::from_static("ratelimit-policy");
const LIMIT: HeaderName = HeaderName::from_static("ratelimit");

impl Rates {
    /// Adds the fields, where there are rates.
    pub(super) fn write_to(&self, headers: &mut HeaderMap) {
        if self.endpoint.is_none() && self.workspace.is_none() {
            return;
        }
        let (mut policy, mut limit) = (String::new(), String::new());
        for (name, rate) in [("endpoint", self.endpoint), ("workspace", self.workspace)] {
            let Some((rate, remaining)) = rate else { continue };
            if !policy.is_empty() {
                policy.push_str(", ");
                limit.push_str(", ");
            }
            let at_once = rate.at_once().get();
            let window = seconds_for(at_once, rate);
            let reset = seconds_for(at_once.saturating_sub(remaining), rate);
            policy.push_str(&format!("\"{name}\";q={at_once};w={window}"));
            limit.push_str(&format!("\"{name}\";r={remaining};t={reset}"));
        }
        headers.insert(POLICY, value(policy));
        headers.insert(LIMIT, value(limit));
    }
}

/// In how many whole seconds so many come back.
fn seconds_for(events: u32, rate: Rate) -> u32 {
    events.div_ceil(rate.per_second.get())
}

fn value(text: String) -> HeaderValue {
    HeaderValue::try_from(text).expect("names and numbers are a header value")
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::num::NonZeroU32;

    #[test]
    fn the_fields_say_what_is_left() {
        let rate = |per_second, burst| Rate {
            per_second: NonZeroU32::new(per_second).unwrap(),
            burst: NonZeroU32::new(burst),
        };
        let mut headers = HeaderMap::new();
        Rates::default().write_to(&mut headers);
        assert!(headers.is_empty());
        let rates =
            Rates { endpoint: Some((rate(5, 20), 3)), workspace: Some((rate(100, 0), 100)) };
        rates.write_to(&mut headers);
        assert_eq!(headers["ratelimit-policy"], r#""endpoint";q=20;w=4, "workspace";q=100;w=1"#);
        assert_eq!(headers["ratelimit"], r#""endpoint";r=3;t=4, "workspace";r=100;t=0"#);
    }
}
