//! [`AddressPolicy`]: where may be connected to.
//!
//! Whoever sets the URL of a delivery chooses what this machine connects to, and this machine
//! reaches much that they do not: its own services, those of the network behind it, and the
//! metadata service of the cloud. So the policy is asked about the *address that is then connected
//! to*, in two places that leave no third way:
//!
//! - A name is looked up once, by [`Lookup`]; what the policy refuses is taken out of the answer,
//!   and the connection is made to what is left. Nothing is looked up again in between, so a name
//!   that changes its address meanwhile (rebinding) changes nothing.
//! - A literal address is never looked up. It is judged before anything is done; by then the URL
//!   has been parsed, and every spelling (decimal, octal, hexadecimal, short, fullwidth) is the one
//!   address that it means.
//!
//! A redirect is never followed, and a connection that is used again was judged when it was made.
//!
//! Names are not judged: `localhost` is refused because it leads to 127.0.0.1, and so is every
//! other name that does.

mod lookup;
mod special;

use std::fmt;
use std::net::{IpAddr, SocketAddr};

use ipnet::{IpNet, Ipv4Net};
use reqwest::Url;
use thiserror::Error;

pub use lookup::{Lookup, SystemLookup};
pub(crate) use lookup::{Nowhere, PolicyResolver};

/// Where may be connected to: kinds of addresses, ranges that are open all the same, and ports.
///
/// An IPv4 address that is written as IPv6 (`::ffff:127.0.0.1`) counts as the IPv4 address that it
/// is, in what is asked and in what is [allowed](Self::allowing).
#[derive(Clone, Debug)]
pub struct AddressPolicy {
    reach: Reach,
    allow: Vec<IpNet>,
    /// `None`: every port.
    ports: Option<Vec<u16>>,
}

/// What is open without being allowed by name.
#[derive(Clone, Copy, Debug)]
enum Reach {
    Public,
    Everything,
}

/// Why an address is not connected to. It says of which kind the address is, and not which one.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum AddressRefused {
    /// The address is not a public one.
    #[error("is {0}")]
    Kind(AddressKind),
    /// The port is not open to anybody.
    #[error("is on port {0}, which is not open to it")]
    Port(u16),
}

/// A kind of address that is not public, such as `a private address (RFC 1918)`.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct AddressKind(&'static str);

impl AddressPolicy {
    /// Public addresses alone: those that are reachable from everywhere and mean the same
    /// everywhere, by the registries of IANA (RFC 6890). For URLs that others set.
    ///
    /// Refused is everything else: loopback, private, link-local, unique-local, shared (CGNAT),
    /// multicast, broadcast, unspecified, documentation, benchmarking and reserved addresses, the
    /// metadata services of clouds, and IPv6 addresses that are a way of writing one of these
    /// (v4-mapped, NAT64), or lead through a relay of somebody else's (6to4, Teredo).
    #[must_use]
    pub const fn public() -> Self {
        Self { reach: Reach::Public, allow: Vec::new(), ports: None }
    }

    /// Every address. For URLs that an operator sets.
    #[must_use]
    pub const fn anywhere() -> Self {
        Self { reach: Reach::Everything, allow: Vec::new(), ports: None }
    }

    /// Opens these ranges too, whatever their addresses are: `127.0.0.0/8` for development, say.
    ///
    /// Only the range that is named is opened. `10.0.0.0/8` does not open what NAT64 makes of it,
    /// and `::/0` opens no IPv4 address.
    #[must_use]
    pub fn allowing(mut self, ranges: impl IntoIterator<Item = IpNet>) -> Self {
        self.allow.extend(ranges.into_iter().map(canonical));
        self
    }

    /// Closes every port but these. Without it every port is open but 0, on which nobody listens.
    #[must_use]
    pub fn on_ports(mut self, ports: impl IntoIterator<Item = u16>) -> Self {
        self.ports = Some(ports.into_iter().collect());
        self
    }

    /// Whether that address may be connected to.
    ///
    /// # Errors
    ///
    /// When it may not: why.
    pub fn check(&self, address: SocketAddr) -> Result<(), AddressRefused> {
        self.check_port(address.port())?;
        self.check_ip(address.ip())
    }

    /// What can be said of a URL before its name is looked up: whether its port is open, and its
    /// host where that is an address.
    pub(crate) fn check_url(&self, url: &Url) -> Result<(), AddressRefused> {
        if let Some(port) = url.port_or_known_default() {
            self.check_port(port)?;
        }
        // The same reading as the connector's: what is an address here is not looked up there.
        let host = url.host_str().unwrap_or_default();
        match host.trim_matches(['[', ']']).parse() {
            Ok(ip) => self.check_ip(ip),
            Err(_) => Ok(()),
        }
    }

    pub(crate) const fn is_anywhere(&self) -> bool {
        matches!(self.reach, Reach::Everything) && self.ports.is_none()
    }

    fn check_port(&self, port: u16) -> Result<(), AddressRefused> {
        let is_open = self.ports.as_ref().is_none_or(|ports| ports.contains(&port));
        if is_open && port != 0 { Ok(()) } else { Err(AddressRefused::Port(port)) }
    }

    fn check_ip(&self, ip: IpAddr) -> Result<(), AddressRefused> {
        if let Reach::Everything = self.reach {
            return Ok(());
        }
        let ip = ip.to_canonical();
        match special::kind_of(ip) {
            Some(kind) if !self.allow.iter().any(|range| range.contains(&ip)) => {
                Err(AddressRefused::Kind(AddressKind(kind)))
            }
            _ => Ok(()),
        }
    }
}

/// The range as IPv4 where it is one that is written as IPv6.
fn canonical(range: IpNet) -> IpNet {
    let IpNet::V6(v6) = range else { return range };
    v6.addr()
        .to_ipv4_mapped()
        .zip(v6.prefix_len().checked_sub(96))
        .and_then(|(v4, prefix_len)| Ipv4Net::new(v4, prefix_len).ok())
        .map_or(range, IpNet::V4)
}

impl fmt::Display for AddressKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

impl fmt::Debug for AddressKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use proptest::prelude::*;

    use super::*;

    fn is_allowed(policy: &AddressPolicy, ip: impl Into<IpAddr>) -> bool {
        policy.check(SocketAddr::new(ip.into(), 443)).is_ok()
    }

    fn ranges<const N: usize>(texts: [&str; N]) -> [IpNet; N] {
        texts.map(|text| text.parse().unwrap())
    }

    #[test]
    fn public_addresses_are_allowed() {
        for ip in [
            "1.1.1.1",
            "8.8.8.8",
            "100.63.255.255",
            "100.128.0.0",
            "172.15.255.255",
            "172.32.0.0",
            "192.0.1.0",
            "198.17.255.255",
            "198.20.0.0",
            "223.255.255.255",
            "::ffff:8.8.8.8",
            "2606:4700:4700::1111",
            "2001:4860:4860::8888",
            "2001:200::",
            // DNS64 gives these for names that have an IPv4 address alone.
            "64:ff9b::8.8.8.8",
        ] {
            assert!(is_allowed(&AddressPolicy::public(), ip.parse::<IpAddr>().unwrap()), "{ip}");
        }
    }

    #[test]
    fn the_kind_is_said_and_no_more() {
        let said = |address: &str| {
            AddressPolicy::public().check(address.parse().unwrap()).unwrap_err().to_string()
        };
        assert_eq!(said("10.1.2.3:80"), "is a private address (RFC 1918)");
        assert_eq!(said("[::ffff:10.1.2.3]:80"), "is a private address (RFC 1918)");
        assert_eq!(said("[64:ff9b::10.1.2.3]:80"), "is a private address (RFC 1918)");
        assert_eq!(said("[4000::1]:80"), "is not a global unicast address (RFC 4291)");
        assert_eq!(said("8.8.8.8:0"), "is on port 0, which is not open to it");
    }

    #[test]
    fn a_range_is_opened_in_either_writing_and_no_further() {
        for range in ["127.0.0.0/8", "::ffff:127.0.0.0/104"] {
            let policy = AddressPolicy::public().allowing(ranges([range]));
            for ip in ["127.0.0.1", "127.255.255.255", "::ffff:127.0.0.1"] {
                assert!(is_allowed(&policy, ip.parse::<IpAddr>().unwrap()), "{range} {ip}");
            }
            for ip in ["10.0.0.1", "::1", "64:ff9b::127.0.0.1"] {
                assert!(!is_allowed(&policy, ip.parse::<IpAddr>().unwrap()), "{range} {ip}");
            }
        }
        let policy = AddressPolicy::public().allowing(ranges(["::/0"]));
        assert!(is_allowed(&policy, "fd00::1".parse::<IpAddr>().unwrap()));
        assert!(!is_allowed(&policy, Ipv4Addr::LOCALHOST));
    }

    #[test]
    fn ports_are_closed_on_allowed_addresses_too() {
        let policy = AddressPolicy::public().allowing(ranges(["127.0.0.0/8"])).on_ports([443, 0]);
        let port = |port| policy.check(SocketAddr::new(Ipv4Addr::LOCALHOST.into(), port));
        assert_eq!(port(443), Ok(()));
        assert_eq!(port(22), Err(AddressRefused::Port(22)));
        assert_eq!(port(0), Err(AddressRefused::Port(0)));
        assert_eq!(
            AddressPolicy::anywhere().check("10.0.0.1:0".parse().unwrap()),
            Err(AddressRefused::Port(0))
        );
    }

    proptest! {
        #[test]
        fn an_ipv4_address_is_judged_the_same_as_ipv6(bits: u32, other: u32, prefix_len in 0..=32u8) {
            let ip = Ipv4Addr::from_bits(bits);
            let range = Ipv4Net::new(Ipv4Addr::from_bits(other), prefix_len).unwrap();
            for policy in [
                AddressPolicy::public(),
                AddressPolicy::public().allowing([range.into()]),
                AddressPolicy::anywhere(),
            ] {
                let (v4, v6) = (SocketAddr::new(ip.into(), 80), ip.to_ipv6_mapped());
                prop_assert_eq!(policy.check(v4), policy.check(SocketAddr::new(v6.into(), 80)));
            }
        }
    }
}
