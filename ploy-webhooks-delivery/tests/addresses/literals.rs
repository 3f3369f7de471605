//! URLs whose host is an address, in all spellings, and those that only look otherwise.

use ploy_webhooks::trigger::Remedy;
use ploy_webhooks_delivery::{
    AddressPolicy, ClientError, HttpRunner, HttpSettings, Target, TargetError,
};

use crate::surroundings::{Doors, Sent, public, refused, send, soon, under};

/// Ways of writing a loopback address. They all lead to it where that is allowed.
const LOOPBACK: &[&str] = &[
    "127.0.0.1",
    "127.0.0.1.",
    // Decimal, octal, hexadecimal, short, and all of them.
    "2130706433",
    "017700000001",
    "0x7f000001",
    "0x7F.0.0.1",
    "0177.0.0.1",
    "0177.0.0.01",
    "127.1",
    "127.0.1",
    "0x7f.1",
    "0177.0x0.0.1",
    "127.0x1",
    // Escaped.
    "%31%32%37%2e%30%2e%30%2e%31",
    "127%2e1",
    "%32130706433",
    // What IDNA makes ASCII of: fullwidth digits, other dots, digits in circles.
    "１２７.０.０.１",
    "127。0。0。1",
    "127．0．0．1",
    "①②⑦.⓪.⓪.①",
    "０ｘ７ｆ.1",
    "127.0.0.\u{ad}1",
    // IPv6, and IPv4 in it.
    "[::1]",
    "[0:0:0:0:0:0:0:1]",
    "[0000:0000:0000:0000:0000:0000:0000:0001]",
    "[::0.0.0.1]",
    "[::ffff:127.0.0.1]",
    "[::ffff:7f00:1]",
    "[::FFFF:7F00:0001]",
    "[0:0:0:0:0:ffff:127.0.0.1]",
];

/// Hosts that are no public address, and what is said of them.
const SPECIAL: &[(&str, &str)] = &[
    ("0.0.0.0", "the unspecified address (RFC 1122)"),
    ("0", "the unspecified address (RFC 1122)"),
    ("0x0", "the unspecified address (RFC 1122)"),
    ("[::]", "the unspecified address (RFC 4291)"),
    ("[::ffff:0.0.0.0]", "the unspecified address (RFC 1122)"),
    ("0.0.0.1", "an address of this network (RFC 791)"),
    ("0.1", "an address of this network (RFC 791)"),
    ("127.0.0.2", "a loopback address (RFC 1122)"),
    ("127.255.255.255", "a loopback address (RFC 1122)"),
    ("10.0.0.1", "a private address (RFC 1918)"),
    ("10.1", "a private address (RFC 1918)"),
    ("167772161", "a private address (RFC 1918)"),
    ("012.0.0.1", "a private address (RFC 1918)"),
    ("172.16.0.1", "a private address (RFC 1918)"),
    ("172.31.255.255", "a private address (RFC 1918)"),
    ("192.168.0.1", "a private address (RFC 1918)"),
    ("192.168.257", "a private address (RFC 1918)"),
    ("[::ffff:192.168.0.1]", "a private address (RFC 1918)"),
    ("100.64.0.1", "a shared address of a carrier (RFC 6598)"),
    ("100.127.255.255", "a shared address of a carrier (RFC 6598)"),
    ("169.254.0.1", "a link-local address (RFC 3927)"),
    // Metadata services.
    ("169.254.169.254", "the metadata service of a cloud"),
    ("169.254.43518", "the metadata service of a cloud"),
    ("2852039166", "the metadata service of a cloud"),
    ("0xa9fea9fe", "the metadata service of a cloud"),
    ("0251.0376.0251.0376", "the metadata service of a cloud"),
    ("[::ffff:169.254.169.254]", "the metadata service of a cloud"),
    ("[64:ff9b::a9fe:a9fe]", "the metadata service of a cloud"),
    ("[fd00:ec2::254]", "the metadata service of a cloud"),
    ("[fd20:ce::254]", "the metadata service of a cloud"),
    ("100.100.100.200", "the metadata service of a cloud"),
    ("168.63.129.16", "the metadata service of a cloud"),
    ("192.0.0.192", "an address for protocols (RFC 6890)"),
    ("192.0.2.1", "an address for documentation (RFC 5737)"),
    ("198.51.100.1", "an address for documentation (RFC 5737)"),
    ("203.0.113.1", "an address for documentation (RFC 5737)"),
    ("198.18.0.1", "an address for benchmarks (RFC 2544)"),
    ("198.19.255.255", "an address for benchmarks (RFC 2544)"),
    ("192.88.99.1", "an address of 6to4 relays (RFC 7526)"),
    ("224.0.0.1", "a multicast address (RFC 5771)"),
    ("239.255.255.250", "a multicast address (RFC 5771)"),
    ("240.0.0.1", "a reserved address (RFC 1112)"),
    ("255.255.255.255", "the broadcast address (RFC 919)"),
    ("4294967295", "the broadcast address (RFC 919)"),
    // IPv4 in IPv6.
    ("[::127.0.0.1]", "an IPv4-compatible address (RFC 4291)"),
    ("[::7f00:1]", "an IPv4-compatible address (RFC 4291)"),
    ("[::ffff:0:127.0.0.1]", "an IPv4-translated address (RFC 2765)"),
    ("[64:ff9b::127.0.0.1]", "a loopback address (RFC 1122)"),
    ("[64:ff9b::10.0.0.1]", "a private address (RFC 1918)"),
    ("[64:ff9b:1::127.0.0.1]", "an address of a local NAT64 (RFC 8215)"),
    ("[2002:7f00:1::]", "a 6to4 address (RFC 3056)"),
    ("[2002:c0a8:1::1]", "a 6to4 address (RFC 3056)"),
    ("[2001:0:7f00:1::]", "a Teredo address (RFC 4380)"),
    ("[2001::ffff:80ff:fffe]", "a Teredo address (RFC 4380)"),
    // IPv6.
    ("[fc00::1]", "a unique local address (RFC 4193)"),
    ("[fdff:ffff::1]", "a unique local address (RFC 4193)"),
    ("[fe80::1]", "a link-local address (RFC 4291)"),
    ("[febf::1]", "a link-local address (RFC 4291)"),
    ("[fec0::1]", "a site-local address (RFC 3879)"),
    ("[ff02::1]", "a multicast address (RFC 4291)"),
    ("[2001:db8::1]", "an address for documentation (RFC 3849)"),
    ("[3fff::1]", "an address for documentation (RFC 9637)"),
    ("[2001:2::1]", "an address for benchmarks (RFC 5180)"),
    ("[100::1]", "an address that discards (RFC 6666)"),
    ("[5f00::1]", "a segment identifier (RFC 9602)"),
    ("[4000::1]", "not a global unicast address (RFC 4291)"),
];

/// Texts after the scheme that are no URL to send to, with the port where it says so.
const NEVER: &[(&str, TargetError)] = &[
    // Zones.
    ("[fe80::1%25eth0]:PORT", TargetError::Form),
    ("[fe80::1%eth0]:PORT", TargetError::Form),
    ("[::1%25lo]:PORT", TargetError::Form),
    // What comes before `@` is not the host.
    ("public.example@127.0.0.1:PORT", TargetError::Credentials),
    ("public.example:443@127.0.0.1:PORT", TargetError::Credentials),
    ("public.example%2f@127.0.0.1:PORT", TargetError::Credentials),
    (":@127.0.0.1:PORT@[::1]:PORT", TargetError::Credentials),
    // No addresses, though they look it.
    ("127.0.0.256:PORT", TargetError::Form),
    ("1.2.3.4.5:PORT", TargetError::Form),
    ("0x100000000:PORT", TargetError::Form),
    ("4294967296:PORT", TargetError::Form),
    ("127.0.0.08:PORT", TargetError::Form),
    ("[127.0.0.1]:PORT", TargetError::Form),
    ("[::ffff:127.1]:PORT", TargetError::Form),
    ("[::1]%00.public.example:PORT", TargetError::Form),
    ("127.0.0.1%00.public.example:PORT", TargetError::Form),
    ("127.0.0.1:PORT0000", TargetError::Form),
];

#[tokio::test]
async fn a_loopback_address_is_refused_in_every_spelling() {
    let doors = Doors::open();
    for scheme in ["http", "https"] {
        for host in LOOPBACK {
            let url = format!("{scheme}://{host}:{}/hunter2?hunter2", doors.port);
            let error = refused(&url, &public()).await;
            assert!(!doors.were_reached(), "{url}");
            assert_eq!(error.remedy(), Remedy::None, "{url}: {error}");
            let message = error.into_message();
            assert!(message.contains("loopback address (RFC "), "{url}: {message}");
            assert!(message.starts_with(&format!("{scheme}://")), "{url}: {message}");
            assert!(!message.contains("hunter2"), "{url}: {message}");
        }
    }
}

/// So the listeners see what comes to them, and the spellings lead to them.
#[tokio::test]
async fn where_everything_is_allowed_every_spelling_leads_there() {
    let doors = Doors::open();
    for host in LOOPBACK {
        let url = format!("http://{host}:{}/", doors.port);
        let settings = under(AddressPolicy::anywhere());
        tokio::select! {
            () = soon(doors.reached()) => {}
            _ = send(&url, &settings) => assert!(doors.were_reached(), "{url}"),
        }
    }
}

#[tokio::test]
async fn every_kind_of_special_address_is_refused_by_its_name() {
    let doors = Doors::open();
    for (host, kind) in SPECIAL {
        let url = format!("http://{host}:{}/", doors.port);
        let error = refused(&url, &public()).await;
        assert!(!doors.were_reached(), "{url}");
        assert_eq!(error.remedy(), Remedy::None, "{url}: {error}");
        let message = error.into_message();
        let end = format!(" is not connected to: it is {kind}");
        assert!(message.ends_with(&end), "{url}: {message}");
    }
}

#[tokio::test]
async fn what_only_looks_like_another_host_is_no_url() {
    let doors = Doors::open();
    for (rest, expected) in NEVER {
        let url = format!("http://{}/", rest.replace("PORT", &doors.port.to_string()));
        match send(&url, &public()).await {
            Sent::Never(error) => assert_eq!(error, *expected, "{url}"),
            Sent::Failed(error) => panic!("{url}: {error}"),
            Sent::Done(_) => panic!("{url} was sent to"),
        }
        assert!(!doors.were_reached(), "{url}");
    }
}

#[tokio::test]
async fn what_stands_before_the_host_or_after_it_does_not_hide_it() {
    let doors = Doors::open();
    let port = doors.port;
    for url in [
        format!(r"http:\\127.0.0.1:{port}\public.example"),
        format!("http:127.0.0.1:{port}"),
        format!("http:///127.0.0.1:{port}"),
        format!("  HTTP://127.0.0.1:{port}/"),
        format!("http://127.0.0.1:{port}#@public.example/"),
        format!("http://127.0.0.1:{port}?@public.example/"),
        format!(r"http://127.0.0.1:{port}\@public.example/"),
        format!("http://127.0.0.1:{port}/@public.example"),
        format!("ht\ntp://127.0.\t0.1:{port}/"),
        format!("http://@127.0.0.1:{port}/"),
        format!("http://:@127.0.0.1:{port}/"),
    ] {
        let error = refused(&url, &public()).await;
        assert!(!doors.were_reached(), "{url}");
        assert!(error.to_string().ends_with("is a loopback address (RFC 1122)"), "{url}: {error}");
    }
}

#[tokio::test]
async fn a_port_that_is_not_open_is_refused_wherever_it_is() {
    let doors = Doors::open();
    let loopback = "127.0.0.0/8".parse().unwrap();
    let settings = under(AddressPolicy::public().allowing([loopback]).on_ports([443]));
    for (url, port) in [
        (format!("http://127.0.0.1:{}/", doors.port), doors.port),
        (format!("http://localhost:{}/", doors.port), doors.port),
        ("http://public.example/".to_owned(), 80),
        ("https://public.example:22/".to_owned(), 22),
        ("https://public.example:0/".to_owned(), 0),
    ] {
        let error = refused(&url, &settings).await;
        assert!(!doors.were_reached(), "{url}");
        assert_eq!(error.remedy(), Remedy::None, "{url}: {error}");
        let end = format!("it is on port {port}, which is not open to it");
        assert!(error.to_string().ends_with(&end), "{url}: {error}");
    }
    let error = refused("http://1.1.1.1:0/", &public()).await;
    assert!(error.to_string().contains("port 0"), "{error}");
}

#[tokio::test]
async fn what_is_allowed_is_sent_to_and_nothing_beside_it() {
    let doors = Doors::open();
    doors.answer_v4("HTTP/1.1 200 OK\r\ncontent-length: 2\r\nconnection: close\r\n\r\nok");
    let loopback = "127.0.0.0/8".parse().unwrap();
    let settings = under(AddressPolicy::public().allowing([loopback]).on_ports([doors.port]));
    for host in ["127.0.0.1", "2130706433", "[::ffff:127.0.0.1]"] {
        match send(&format!("http://{host}:{}/", doors.port), &settings).await {
            Sent::Done(output) => assert_eq!(output.into_bytes(), "ok"),
            Sent::Failed(error) => panic!("{host}: {error}"),
            Sent::Never(error) => panic!("{host}: {error}"),
        }
    }
    for host in ["[::1]", "[::127.0.0.1]", "[64:ff9b::127.0.0.1]"] {
        refused(&format!("http://{host}:{}/", doors.port), &settings).await;
        assert!(!doors.v6_was_reached(), "{host}");
    }
}

#[test]
fn a_proxy_that_would_connect_for_it_is_not_set_up() {
    let target = || Target::at("https://public.example").unwrap();
    let with_proxy = |policy| {
        let mut settings = under(policy);
        settings.proxy_from_environment = true;
        HttpRunner::to(target(), settings)
    };
    for policy in [AddressPolicy::public(), AddressPolicy::anywhere().on_ports([443])] {
        assert!(matches!(with_proxy(policy), Err(ClientError::ProxyBesidePolicy)));
    }
    assert!(with_proxy(AddressPolicy::anywhere()).is_ok());
    assert!(HttpRunner::to(target(), HttpSettings::default()).is_ok());
}
