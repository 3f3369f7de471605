//! Names that lead where nothing may be connected to.

use std::net::SocketAddr;
use std::sync::Arc;

use ploy_webhooks::trigger::{Remedy, TriggerRunner};
use ploy_webhooks_delivery::{AddressPolicy, HttpRunner, HttpSettings, Target};

use crate::surroundings::{Doors, Sent, Zone, job, open_to_v4, public, refused, send, soon, under};

const OK: &str = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";
const OK_AND_CLOSE: &str = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\nconnection: close\r\n\r\nok";

/// Answers of a name server, and what is said of the first address.
const ANSWERS: &[(&[&str], &str)] = &[
    (&["127.0.0.1"], "a loopback address (RFC 1122)"),
    (&["127.8.8.8"], "a loopback address (RFC 1122)"),
    (&["::1"], "the loopback address (RFC 4291)"),
    (&["127.0.0.1", "::1"], "a loopback address (RFC 1122)"),
    (&["::1", "127.0.0.1"], "the loopback address (RFC 4291)"),
    (&["::ffff:127.0.0.1"], "a loopback address (RFC 1122)"),
    (&["::ffff:10.0.0.1"], "a private address (RFC 1918)"),
    (&["::ffff:169.254.169.254"], "the metadata service of a cloud"),
    (&["::127.0.0.1"], "an IPv4-compatible address (RFC 4291)"),
    (&["64:ff9b::127.0.0.1"], "a loopback address (RFC 1122)"),
    (&["64:ff9b::192.168.0.1"], "a private address (RFC 1918)"),
    (&["2002:7f00:1::"], "a 6to4 address (RFC 3056)"),
    (&["2001:0:7f00:1::"], "a Teredo address (RFC 4380)"),
    (&["0.0.0.0"], "the unspecified address (RFC 1122)"),
    (&["::"], "the unspecified address (RFC 4291)"),
    (&["10.0.0.1", "192.168.0.1", "127.0.0.1"], "a private address (RFC 1918)"),
    (&["100.64.0.1"], "a shared address of a carrier (RFC 6598)"),
    (&["169.254.169.254"], "the metadata service of a cloud"),
    (&["169.254.1.1"], "a link-local address (RFC 3927)"),
    (&["224.0.0.251"], "a multicast address (RFC 5771)"),
    (&["255.255.255.255"], "the broadcast address (RFC 919)"),
    (&["fd00:ec2::254"], "the metadata service of a cloud"),
    (&["fd12:3456::1"], "a unique local address (RFC 4193)"),
    (&["fe80::1"], "a link-local address (RFC 4291)"),
    (&["ff02::fb"], "a multicast address (RFC 4291)"),
    (&["2001:db8::1"], "an address for documentation (RFC 3849)"),
];

fn found_by(zone: &Arc<Zone>) -> HttpSettings {
    let mut settings = public();
    settings.lookup = zone.clone();
    settings
}

#[tokio::test]
async fn a_name_is_refused_by_its_address() {
    let doors = Doors::open();
    for (answer, kind) in ANSWERS {
        let zone = Zone::answering([answer]);
        let url = format!("http://public.example:{}/hunter2?hunter2", doors.port);
        let error = refused(&url, &found_by(&zone)).await;
        assert!(!doors.were_reached(), "{answer:?}");
        // It may lead elsewhere another time.
        assert_eq!(error.remedy(), Remedy::Again, "{answer:?}: {error}");
        let message = error.into_message();
        let origin = format!("http://public.example:{}", doors.port);
        let expected = format!("{origin} is not connected to: the address of its name is {kind}");
        assert_eq!(message, expected, "{answer:?}");
        assert_eq!(zone.asked(), 1);
    }
}

#[tokio::test]
async fn names_of_this_machine_are_refused_as_it_finds_them() {
    let doors = Doors::open();
    for host in ["localhost", "LOCALHOST", "ｌｏｃａｌｈｏｓｔ", "ⓛⓞⓒⓐⓛⓗⓞⓢⓣ", "%6cocalhost"]
    {
        for scheme in ["http", "https"] {
            let url = format!("{scheme}://{host}:{}/", doors.port);
            let error = refused(&url, &public()).await;
            assert!(!doors.were_reached(), "{url}");
            assert!(error.to_string().contains("loopback address"), "{url}: {error}");
        }
    }
    // Not every machine knows these. Where it does, they are no way around.
    for host in ["localhost.", "foo.localhost", "foo.localhost.", "ip6-localhost"] {
        let url = format!("http://{host}:{}/", doors.port);
        let message = refused(&url, &public()).await.into_message();
        assert!(!doors.were_reached(), "{url}");
        let is_refused = message.contains("loopback address") || message.contains("cannot connect");
        assert!(is_refused, "{url}: {message}");
    }
}

#[tokio::test]
async fn of_a_mixed_answer_only_what_is_allowed_is_tried() {
    let doors = Doors::open();
    doors.answer_v4(OK_AND_CLOSE);
    let url = format!("http://public.example:{}/", doors.port);
    for answer in [
        &["::1", "127.0.0.1"][..],
        &["127.0.0.1", "::1"],
        &["::1", "::ffff:127.0.0.1", "0.0.0.0"],
        &["10.0.0.1", "fe80::1", "::1", "127.0.0.1", "169.254.169.254"],
    ] {
        let zone = Zone::answering([answer]);
        match send(&url, &open_to_v4(&zone)).await {
            Sent::Done(output) => assert_eq!(output.into_bytes(), "ok"),
            Sent::Failed(error) => panic!("{answer:?}: {error}"),
            Sent::Never(error) => panic!("{answer:?}: {error}"),
        }
        assert!(!doors.v6_was_reached(), "{answer:?}");
        assert_eq!(zone.asked(), 1, "{answer:?}");
    }
}

/// Where what is allowed fails, what is not allowed is no way out.
#[tokio::test]
async fn what_is_refused_is_not_fallen_back_on() {
    let doors = Doors::open();
    let url = format!("http://public.example:{}/", doors.port);
    // Nobody listens there, at that port.
    let zone = Zone::answering([&["127.0.0.9", "::1"]]);
    let message = refused(&url, &open_to_v4(&zone)).await.into_message();
    assert!(message.starts_with("cannot connect to http://public.example"), "{message}");
    assert!(!doors.were_reached());
}

#[tokio::test]
async fn a_name_that_changes_its_address_is_judged_at_each_connection_and_looked_up_once() {
    let doors = Doors::open();
    doors.answer_v4(OK_AND_CLOSE);
    // Whoever looked up a second time between judging and connecting would connect to [::1].
    let zone = Zone::answering([&["127.0.0.1"], &["::1"]]);
    let target = Target::at(&format!("http://public.example:{}/", doors.port)).unwrap();
    let runner = HttpRunner::to(target, open_to_v4(&zone)).unwrap();
    assert_eq!(soon(runner.run(job())).await.unwrap().into_bytes(), "ok");
    assert_eq!(zone.asked(), 1);
    assert!(!doors.v6_was_reached());

    let error = soon(runner.run(job())).await.unwrap_err();
    assert_eq!(error.remedy(), Remedy::Again);
    assert!(error.to_string().ends_with("is the loopback address (RFC 4291)"), "{error}");
    assert_eq!(zone.asked(), 2);
    assert!(!doors.v6_was_reached());
}

#[tokio::test]
async fn a_connection_that_is_used_again_was_judged_before() {
    let doors = Doors::open();
    doors.answer_v4(OK);
    let zone = Zone::answering([&["127.0.0.1"], &["::1"]]);
    let target = Target::at(&format!("http://public.example:{}/", doors.port)).unwrap();
    let runner = HttpRunner::to(target, open_to_v4(&zone)).unwrap();
    for _ in 0..3 {
        assert_eq!(soon(runner.run(job())).await.unwrap().into_bytes(), "ok");
    }
    assert_eq!(zone.asked(), 1);
    assert!(!doors.v6_was_reached());
}

#[tokio::test]
async fn a_redirect_to_what_is_refused_is_not_followed() {
    for status in [301, 302, 303, 307, 308] {
        for place in ["http://[::1]:PORT/", "http://localhost:PORT/", "//[::1]:PORT/"] {
            let doors = Doors::open();
            let place = place.replace("PORT", &doors.port.to_string());
            doors.answer_v4(format!(
                "HTTP/1.1 {status} x\r\nlocation: {place}\r\ncontent-length: 0\r\n\
                 connection: close\r\n\r\n"
            ));
            let zone = Zone::answering([&["127.0.0.1"]]);
            let url = format!("http://public.example:{}/", doors.port);
            let error = refused(&url, &open_to_v4(&zone)).await;
            assert_eq!(error.remedy(), Remedy::None);
            let expected = format!("answered {status}");
            assert!(error.to_string().contains(&expected), "{error}");
            assert!(!doors.v6_was_reached(), "{status} {place}");
            assert_eq!(zone.asked(), 1);
        }
    }
}

#[tokio::test]
async fn a_port_in_an_answer_counts_for_nothing() {
    let doors = Doors::open();
    let zone = Zone::answering_with_port(SocketAddr::from(([127, 0, 0, 1], doors.port)));
    let mut settings = open_to_v4(&zone);
    // Whoever listens at that port of this machine, if anybody does, is not meant.
    settings.addresses = settings.addresses.on_ports([80]);
    let _ = send("http://public.example/", &settings).await;
    assert_eq!(zone.asked(), 1);
    assert!(!doors.were_reached());
}

#[tokio::test]
async fn a_name_without_an_address_is_not_found() {
    let zone = Zone::answering([&[]]);
    for policy in [AddressPolicy::public(), AddressPolicy::anywhere()] {
        let mut settings = under(policy);
        settings.lookup = zone.clone();
        let error = refused("http://public.example/", &settings).await;
        assert_eq!(error.remedy(), Remedy::Again);
        let message = error.into_message();
        assert!(message.starts_with("cannot connect to http://public.example: "), "{message}");
        assert!(message.ends_with("the name has no address"), "{message}");
    }
}

/// An address is not looked up, so no name server can say that it is another.
#[tokio::test]
async fn an_address_is_not_looked_up() {
    let doors = Doors::open();
    doors.answer_v4(OK_AND_CLOSE);
    let zone = Zone::answering([&["127.0.0.1"]]);
    for host in ["[::1]", "10.0.0.1", "0xa.1"] {
        refused(&format!("http://{host}:{}/", doors.port), &open_to_v4(&zone)).await;
    }
    let Sent::Done(_) = send(&format!("http://127.1:{}/", doors.port), &open_to_v4(&zone)).await
    else {
        panic!("it is allowed");
    };
    assert_eq!(zone.asked(), 0);
}
