//! The addresses that are not public: the special-purpose registries of IANA (RFC 6890) as data.
//!
//! What they list as globally reachable is public here too (the sinks of AS 112, AMT), with two
//! exceptions, in which no receiver of an HTTP request can be: the few anycast addresses of
//! protocols within `192.0.0.0/24` and `2001::/23`, and overlay identifiers (ORCHIDs) within the
//! latter.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::{Ipv4Net, Ipv6Net};

/// Ranges of IPv4, those within others first, each as it is called in a sentence.
const V4: [(Ipv4Net, &str); 21] = [
    (v4(0, 0, 0, 0, 32), "the unspecified address (RFC 1122)"),
    (v4(0, 0, 0, 0, 8), "an address of this network (RFC 791)"),
    (v4(10, 0, 0, 0, 8), "a private address (RFC 1918)"),
    // Alibaba's metadata service.
    (v4(100, 100, 100, 200, 32), "the metadata service of a cloud"),
    (v4(100, 64, 0, 0, 10), "a shared address of a carrier (RFC 6598)"),
    (v4(127, 0, 0, 0, 8), "a loopback address (RFC 1122)"),
    // What nearly every cloud has there gives out credentials of the machine.
    (v4(169, 254, 169, 254, 32), "the metadata service of a cloud"),
    (v4(169, 254, 0, 0, 16), "a link-local address (RFC 3927)"),
    // Azure's platform service: a public address, and answered by the host of the machine.
    (v4(168, 63, 129, 16, 32), "the metadata service of a cloud"),
    (v4(172, 16, 0, 0, 12), "a private address (RFC 1918)"),
    // Oracle's metadata service is in it.
    (v4(192, 0, 0, 0, 24), "an address for protocols (RFC 6890)"),
    (v4(192, 0, 2, 0, 24), "an address for documentation (RFC 5737)"),
    (v4(192, 88, 99, 0, 24), "an address of 6to4 relays (RFC 7526)"),
    (v4(192, 168, 0, 0, 16), "a private address (RFC 1918)"),
    (v4(198, 18, 0, 0, 15), "an address for benchmarks (RFC 2544)"),
    (v4(198, 51, 100, 0, 24), "an address for documentation (RFC 5737)"),
    (v4(203, 0, 113, 0, 24), "an address for documentation (RFC 5737)"),
    (v4(233, 252, 0, 0, 24), "an address for documentation (RFC 6676)"),
    (v4(224, 0, 0, 0, 4), "a multicast address (RFC 5771)"),
    (v4(255, 255, 255, 255, 32), "the broadcast address (RFC 919)"),
    (v4(240, 0, 0, 0, 4), "a reserved address (RFC 1112)"),
];

/// Ranges of IPv6, likewise. What is v4-mapped is not asked about here: it is an IPv4 address.
const V6: [(Ipv6Net, &str); 20] = [
    (v6([0, 0, 0, 0, 0, 0, 0, 0], 128), "the unspecified address (RFC 4291)"),
    (v6([0, 0, 0, 0, 0, 0, 0, 1], 128), "the loopback address (RFC 4291)"),
    (v6([0, 0, 0, 0, 0, 0, 0, 0], 96), "an IPv4-compatible address (RFC 4291)"),
    (v6([0, 0, 0, 0, 0xffff, 0, 0, 0], 96), "an IPv4-translated address (RFC 2765)"),
    (v6([0x64, 0xff9b, 1, 0, 0, 0, 0, 0], 48), "an address of a local NAT64 (RFC 8215)"),
    (v6([0x100, 0, 0, 0, 0, 0, 0, 0], 64), "an address that discards (RFC 6666)"),
    (v6([0x100, 0, 0, 1, 0, 0, 0, 0], 64), "a dummy address (RFC 9780)"),
    (v6([0x2001, 0, 0, 0, 0, 0, 0, 0], 32), "a Teredo address (RFC 4380)"),
    (v6([0x2001, 2, 0, 0, 0, 0, 0, 0], 48), "an address for benchmarks (RFC 5180)"),
    (v6([0x2001, 0, 0, 0, 0, 0, 0, 0], 23), "an address for protocols (RFC 2928)"),
    (v6([0x2001, 0xdb8, 0, 0, 0, 0, 0, 0], 32), "an address for documentation (RFC 3849)"),
    (v6([0x2002, 0, 0, 0, 0, 0, 0, 0], 16), "a 6to4 address (RFC 3056)"),
    (v6([0x3fff, 0, 0, 0, 0, 0, 0, 0], 20), "an address for documentation (RFC 9637)"),
    (v6([0x5f00, 0, 0, 0, 0, 0, 0, 0], 16), "a segment identifier (RFC 9602)"),
    // Amazon's and Google's.
    (v6([0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254], 128), "the metadata service of a cloud"),
    (v6([0xfd20, 0xce, 0, 0, 0, 0, 0, 0x254], 128), "the metadata service of a cloud"),
    (v6([0xfc00, 0, 0, 0, 0, 0, 0, 0], 7), "a unique local address (RFC 4193)"),
    (v6([0xfe80, 0, 0, 0, 0, 0, 0, 0], 10), "a link-local address (RFC 4291)"),
    (v6([0xfec0, 0, 0, 0, 0, 0, 0, 0], 10), "a site-local address (RFC 3879)"),
    (v6([0xff00, 0, 0, 0, 0, 0, 0, 0], 8), "a multicast address (RFC 4291)"),
];

/// The IPv4 internet, as hosts see it that have IPv6 alone (RFC 6052).
const NAT64: Ipv6Net = v6([0x64, 0xff9b, 0, 0, 0, 0, 0, 0], 96);

/// All that is given out of IPv6 (RFC 4291). What may be given out one day is not public yet.
const GLOBAL_UNICAST: Ipv6Net = v6([0x2000, 0, 0, 0, 0, 0, 0, 0], 3);

/// Which kind of address it is, as it is called in a sentence; `None` for a public one. A v4-mapped
/// address is to be asked about as the IPv4 address that it is.
pub(super) fn kind_of(ip: IpAddr) -> Option<&'static str> {
    match ip {
        IpAddr::V4(ip) => kind_of_v4(ip),
        IpAddr::V6(ip) if NAT64.contains(&ip) => kind_of_v4(within(ip)),
        IpAddr::V6(ip) => kind_of_v6(ip),
    }
}

fn kind_of_v4(ip: Ipv4Addr) -> Option<&'static str> {
    V4.iter().find(|(range, _)| range.contains(&ip)).map(|(_, kind)| *kind)
}

fn kind_of_v6(ip: Ipv6Addr) -> Option<&'static str> {
    let listed = V6.iter().find(|(range, _)| range.contains(&ip)).map(|(_, kind)| *kind);
    let unlisted = || (!GLOBAL_UNICAST.contains(&ip)).then_some(OTHER);
    listed.or_else(unlisted)
}

const OTHER: &str = "not a global unicast address (RFC 4291)";

/// The IPv4 address at the end of that one.
fn within(ip: Ipv6Addr) -> Ipv4Addr {
    let [.., a, b, c, d] = ip.octets();
    Ipv4Addr::new(a, b, c, d)
}

const fn v4(a: u8, b: u8, c: u8, d: u8, prefix_len: u8) -> Ipv4Net {
    Ipv4Net::new_assert(Ipv4Addr::new(a, b, c, d), prefix_len)
}

const fn v6(segments: [u16; 8], prefix_len: u8) -> Ipv6Net {
    let [a, b, c, d, e, f, g, h] = segments;
    Ipv6Net::new_assert(Ipv6Addr::new(a, b, c, d, e, f, g, h), prefix_len)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn every_range_begins_and_ends_where_it_says() {
        for (range, kind) in V4 {
            assert_eq!(range, range.trunc(), "{kind}");
            assert!(kind_of(range.broadcast().into()).is_some(), "{range}");
        }
        for (range, kind) in V6 {
            assert_eq!(range, range.trunc(), "{kind}");
            assert!(kind_of(range.broadcast().into()).is_some(), "{range}");
        }
    }

    #[test]
    fn no_range_is_hidden_by_one_before_it() {
        for (index, (range, _)) in V4.iter().enumerate() {
            assert!(!V4[..index].iter().any(|(other, _)| other.contains(range)), "{range}");
        }
        for (index, (range, _)) in V6.iter().enumerate() {
            assert!(!V6[..index].iter().any(|(other, _)| other.contains(range)), "{range}");
        }
    }

    proptest! {
        #[test]
        fn every_address_of_a_range_is_special(index in 0..V4.len(), bits: u32) {
            let (range, _) = V4[index];
            let host = bits & range.hostmask().to_bits();
            let ip = Ipv4Addr::from_bits(range.addr().to_bits() | host);
            prop_assert!(range.contains(&ip) && kind_of(ip.into()).is_some(), "{}", ip);
            // And so it is behind NAT64.
            let bits = NAT64.addr().to_bits() | u128::from(ip.to_bits());
            prop_assert_eq!(kind_of(Ipv6Addr::from_bits(bits).into()), kind_of(ip.into()));
        }

        #[test]
        fn every_address_of_a_range_of_ipv6_is_special(index in 0..V6.len(), bits: u128) {
            let (range, _) = V6[index];
            let host = bits & range.hostmask().to_bits();
            let ip = Ipv6Addr::from_bits(range.addr().to_bits() | host);
            prop_assert!(range.contains(&ip) && kind_of(ip.into()).is_some(), "{}", ip);
        }

        #[test]
        fn what_is_not_given_out_is_special(bits: u128) {
            let ip = Ipv6Addr::from_bits(bits);
            prop_assume!(!GLOBAL_UNICAST.contains(&ip) && !NAT64.contains(&ip));
            prop_assert!(kind_of(ip.into()).is_some(), "{}", ip);
        }
    }
}
