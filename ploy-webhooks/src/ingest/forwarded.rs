//! Where a request comes from that proxies have passed on.
//!
//! Whoever sends can write any header, so an address that a header tells is believed only as far
//! as the operator's own proxies have written it: from the peer of the connection backwards, for
//! as long as each one is a proxy that is trusted.

use std::net::{IpAddr, SocketAddr};

use http::HeaderMap;
use http::header::{FORWARDED, HeaderName};
use ipnet::IpNet;

/// The proxies whose word on where a request comes from is taken, and how they give it.
///
/// ```
/// use http::HeaderMap;
/// use ploy_webhooks::ingest::{ForwardedHeader, TrustedProxies};
///
/// let proxies =
///     TrustedProxies::new(vec!["10.0.0.0/8".parse()?], ForwardedHeader::XForwardedFor);
/// let mut headers = HeaderMap::new();
/// headers.insert("x-forwarded-for", "192.0.2.66, 203.0.113.9, 10.0.0.7".parse()?);
/// // The first of the three is what the sender says of itself.
/// assert_eq!(proxies.source("10.0.0.1".parse()?, &headers), Some("203.0.113.9".parse()?));
/// assert_eq!(proxies.source("198.51.100.4".parse()?, &headers), Some("198.51.100.4".parse()?));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TrustedProxies {
    ranges: Vec<IpNet>,
    header: ForwardedHeader,
}

/// How proxies say whom they pass on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[expect(clippy::exhaustive_enums, reason = "there is no third one in use")]
pub enum ForwardedHeader {
    /// `X-Forwarded-For`: addresses with commas between them, each with a port or without.
    #[default]
    XForwardedFor,
    /// `Forwarded` (RFC 7239).
    Forwarded,
}

impl TrustedProxies {
    /// Proxies with addresses in these ranges, which say whom they pass on in that header. They
    /// must set it or append to it, and never pass one on that they do not look at.
    #[must_use]
    pub const fn new(ranges: Vec<IpNet>, header: ForwardedHeader) -> Self {
        Self { ranges, header }
    }

    /// Where a request comes from that came over a connection from `peer`. `None` where a trusted
    /// proxy says something that is no address: then it is not known, and on no allow-list.
    #[must_use]
    pub fn source(&self, peer: IpAddr, headers: &HeaderMap) -> Option<IpAddr> {
        let mut nearest = peer.to_canonical();
        let values = headers.get_all(self.header.name());
        for value in values.iter().rev() {
            if !self.trusts(nearest) {
                break;
            }
            for element in self.header.elements(value.as_bytes())?.into_iter().rev() {
                if !self.trusts(nearest) {
                    break;
                }
                nearest = self.header.address(element)?.to_canonical();
            }
        }
        Some(nearest)
    }

    fn trusts(&self, address: IpAddr) -> bool {
        self.ranges.iter().any(|range| range.contains(&address))
    }
}

impl ForwardedHeader {
    const fn name(self) -> HeaderName {
        match self {
            Self::XForwardedFor => HeaderName::from_static("x-forwarded-for"),
            Self::Forwarded => FORWARDED,
        }
    }

    /// The elements of a value of the header; `None` where it is not of its form.
    fn elements(self, value: &[u8]) -> Option<Vec<&str>> {
        let value = std::str::from_utf8(value).ok()?;
        let elements = match self {
            Self::XForwardedFor => value.split(',').collect(),
            Self::Forwarded => split_unquoted(value, ',')?,
        };
        // Empty elements are no elements (RFC 9110 §5.6.1).
        Some(elements.into_iter().filter(|element| !element.trim().is_empty()).collect())
    }

    /// The address that an element of the header is of.
    fn address(self, element: &str) -> Option<IpAddr> {
        match self {
            Self::XForwardedFor => address(element.trim()),
            Self::Forwarded => {
                let mut pairs = split_unquoted(element, ';')?.into_iter();
                let node = pairs.find_map(|pair| {
                    let (name, node) = pair.split_once('=')?;
                    name.trim().eq_ignore_ascii_case("for").then(|| node.trim())
                })?;
                let quoted = node.strip_prefix('"').and_then(|node| node.strip_suffix('"'));
                address(quoted.unwrap_or(node))
            }
        }
    }
}

/// The parts between separators that stand in no quoted string (RFC 9110 §5.6.4): what a sender has
/// a proxy quote, its `Host` for one, is no part of its own. `None` where a string does not end.
fn split_unquoted(text: &str, separator: char) -> Option<Vec<&str>> {
    let (mut parts, mut begin, mut is_quoted, mut is_escaped) = (Vec::new(), 0, false, false);
    for (place, char) in text.char_indices() {
        match char {
            _ if is_escaped => is_escaped = false,
            '\\' if is_quoted => is_escaped = true,
            '"' => is_quoted = !is_quoted,
            _ if char == separator && !is_quoted => {
                parts.push(&text[begin..place]);
                begin = place + separator.len_utf8();
            }
            _ => {}
        }
    }
    parts.push(&text[begin..]);
    (!is_quoted).then_some(parts)
}

/// An address, with a port or without.
fn address(text: &str) -> Option<IpAddr> {
    let bare = text.strip_prefix('[').and_then(|text| text.strip_suffix(']')).unwrap_or(text);
    let with_port = || text.parse::<SocketAddr>().ok().map(|address| address.ip());
    bare.parse().ok().or_else(with_port)
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;
    use proptest::prelude::*;

    fn source(header: ForwardedHeader, peer: &str, values: &[&str]) -> Option<String> {
        let ranges = ["10.0.0.0/8", "2001:db8:1::/48"].map(|range| range.parse().unwrap());
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(header.name(), value.parse().unwrap());
        }
        let found = TrustedProxies::new(ranges.to_vec(), header);
        found.source(peer.parse().unwrap(), &headers).map(|address| address.to_string())
    }

    #[test]
    fn the_last_address_that_no_trusted_proxy_has() {
        use ForwardedHeader::{Forwarded, XForwardedFor};
        let some = |address: &str| Some(address.to_owned());
        for (header, peer, values, expected) in [
            (XForwardedFor, "10.0.0.1", &[][..], some("10.0.0.1")),
            (XForwardedFor, "::ffff:10.0.0.1", &["192.0.2.1"], some("192.0.2.1")),
            (XForwardedFor, "192.0.2.9", &["192.0.2.1"], some("192.0.2.9")),
            (XForwardedFor, "10.0.0.1", &["1.1.1.1, 192.0.2.1"], some("192.0.2.1")),
            (XForwardedFor, "10.0.0.1", &["1.1.1.1", "192.0.2.1,10.0.0.2"], some("192.0.2.1")),
            (XForwardedFor, "10.0.0.1", &["10.0.0.3, 10.0.0.2"], some("10.0.0.3")),
            (XForwardedFor, "10.0.0.1", &["192.0.2.1:4711,"], some("192.0.2.1")),
            (XForwardedFor, "10.0.0.1", &["[2001:db8::1]:4711"], some("2001:db8::1")),
            (XForwardedFor, "10.0.0.1", &["::ffff:192.0.2.1"], some("192.0.2.1")),
            (XForwardedFor, "10.0.0.1", &["192.0.2.1, unknown"], None),
            (XForwardedFor, "10.0.0.1", &["garbage, 192.0.2.1"], some("192.0.2.1")),
            (XForwardedFor, "10.0.0.1", &["192.0.2.1, 10.0.0.1 10.0.0.2"], None),
            (Forwarded, "10.0.0.1", &["for=192.0.2.1;proto=https"], some("192.0.2.1")),
            (Forwarded, "10.0.0.1", &["By=x; For=\"[2001:db8::1]:80\""], some("2001:db8::1")),
            (Forwarded, "10.0.0.1", &["for=192.0.2.1, for=10.1.1.1"], some("192.0.2.1")),
            (Forwarded, "10.0.0.1", &["for=_hidden"], None),
            // What a sender names itself, quoted by the proxy, is no word of the proxy.
            (
                Forwarded,
                "10.0.0.1",
                &["for=192.0.2.66;host=\"x,for=203.0.113.9\""],
                some("192.0.2.66"),
            ),
            (
                Forwarded,
                "10.0.0.1",
                &["host=\"x;for=203.0.113.9\";for=192.0.2.66"],
                some("192.0.2.66"),
            ),
            (
                Forwarded,
                "10.0.0.1",
                &["host=\"\\\",for=1.1.1.1\";for=192.0.2.66"],
                some("192.0.2.66"),
            ),
            (Forwarded, "10.0.0.1", &["for=\"x, for=192.0.2.66"], None),
            (Forwarded, "10.0.0.1", &["for=\"192.0.2.66"], None),
            (Forwarded, "10.0.0.1", &["proto=https"], None),
            (Forwarded, "2001:db8:1::1", &["for=\"[2001:db8:1::2]\""], some("2001:db8:1::2")),
        ] {
            assert_eq!(source(header, peer, values), expected, "{header:?} {peer} {values:?}");
        }
    }

    proptest! {
        #[test]
        fn no_header_makes_another_peer_speak(value in "[ -~\u{80}-\u{ff}]{0,64}") {
            let mut headers = HeaderMap::new();
            headers.insert("x-forwarded-for", HeaderValue::from_str(value.trim()).unwrap());
            headers.insert("forwarded", HeaderValue::from_str(value.trim()).unwrap());
            let peer: IpAddr = "192.0.2.9".parse().unwrap();
            for header in [ForwardedHeader::XForwardedFor, ForwardedHeader::Forwarded] {
                let proxies = TrustedProxies::new(vec!["10.0.0.0/8".parse().unwrap()], header);
                if let Some(source) = proxies.source("10.0.0.1".parse().unwrap(), &headers) {
                    prop_assert_eq!(source, source.to_canonical());
                }
                if headers["forwarded"].as_bytes().iter().any(|byte| !b", ".contains(byte)) {
                    prop_assert_eq!(proxies.source(peer, &headers), Some(peer));
                }
            }
        }
    }
}
