//! What tenants set as destinations does not lead into the operator's own network.

use std::net::{Ipv4Addr, Ipv6Addr};

use ploy_webhooks_tests::{Server, on_each_store};
use serde_json::{Value, json};

use crate::receiver::{Receiver, Says};
use crate::scene::{
    PROGRAM, attempts, call, destination, publish, start, subscribe, text, the_run, wire,
};

/// What listens on this machine: by IPv4, and where there is IPv6, on the same port by that.
fn loopback() -> (Receiver, Option<Receiver>) {
    let local = Receiver::always(200);
    let port = local.address().port();
    let by_ipv6 = Receiver::at((Ipv6Addr::LOCALHOST, port), |_| Says::status(200));
    (local, by_ipv6)
}

#[test]
fn nothing_on_this_machine_is_connected_to() {
    on_each_store(|store| {
        let server = Server::start(PROGRAM, store, &[]);
        let (by_ipv4, by_ipv6) = loopback();
        let port = by_ipv4.address().port();
        let hosts = [
            "127.0.0.1",
            "127.9.9.9",
            "[::1]",
            "localhost",
            "0x7f000001",
            "2130706433",
            "127.1",
            "0.0.0.0",
            "[::ffff:127.0.0.1]",
            "[::ffff:7f00:1]",
        ];
        let mut urls: Vec<_> =
            hosts.iter().map(|host| format!("http://{host}:{port}/in")).collect();
        urls.push("http://169.254.169.254/latest/meta-data/".to_owned());
        for url in &urls {
            let id = destination(&server, &json!({"url": url, "retry": {"gaps_seconds": []}}));
            let refused = |record: &Value| {
                assert_eq!(record["class"], "address-refused", "{url}: {record}");
                assert_eq!(record["response"], Value::Null, "{url}");
            };
            for how in ["test", "verify"] {
                let path = format!("/destinations/{id}/{how}");
                let said = call(&server, "POST", &path, &Value::Null).json();
                refused(if how == "verify" { &said["record"] } else { &said });
                assert_ne!(said["verified"], true, "{url}");
            }
            subscribe(&server, &json!({"destination": id, "types": [format!("to.{id}")]}));
            publish(&server, &format!("to.{id}"), &json!({}));
            let run = the_run(&server, &id, "failed");
            let [attempt] = attempts(&run) else { panic!("{url}: one attempt: {run}") };
            refused(&attempt["delivery"]);
        }
        assert_eq!(by_ipv4.connections(), 0);
        assert_eq!(by_ipv6.map_or(0, |receiver| receiver.connections()), 0);
    });
}

#[test]
fn a_redirect_is_followed_nowhere() {
    on_each_store(|store| {
        // All of the way there is allowed, so that nothing but this keeps it from being followed.
        let server = start(store);
        let inside = Receiver::always(200);
        for status in [301, 302, 303, 307, 308] {
            let to = inside.url("/secret");
            let answer = Says { headers: vec![("location", to.clone())], ..Says::status(status) };
            let outside = Receiver::start(move |_| answer.clone());
            let form = json!({"url": outside.url("/"), "retry": {"gaps_seconds": []}});
            let id = destination(&server, &form);
            subscribe(&server, &json!({"destination": id, "types": [format!("to.{id}")]}));
            publish(&server, &format!("to.{id}"), &json!({}));
            let run = the_run(&server, &id, "failed");
            let attempt = &attempts(&run)[0];
            assert_eq!(attempt["delivery"]["response"]["status"], status);
            assert_eq!(attempt["delivery"]["response"]["headers"]["location"], to);
            assert!(text(&attempt["error"]).contains("is not followed"), "{attempt}");
            let path = format!("/destinations/{id}/test");
            let tested = call(&server, "POST", &path, &Value::Null).json();
            assert_eq!(tested["response"]["status"], status);
            assert_eq!(outside.got().len(), 2);
        }
        assert_eq!(inside.connections(), 0);
    });
}

#[test]
fn what_is_allowed_allows_nothing_beside_it() {
    on_each_store(|store| {
        let allowed = [("PLOY_DELIVERY_ALLOW", "127.0.0.2")];
        let server = Server::start(PROGRAM, store, &allowed);
        let open = Receiver::at((Ipv4Addr::new(127, 0, 0, 2), 0), |_| Says::status(200));
        let (open, shut) = (open.expect("a free port"), Receiver::always(200));
        let form = |to: &Receiver| json!({"url": to.url("/"), "retry": {"gaps_seconds": []}});
        let (to_open, to_shut) = (wire(&server, &form(&open)), wire(&server, &form(&shut)));
        publish(&server, "contact.created", &json!({}));
        the_run(&server, &to_open, "succeeded");
        let refused = the_run(&server, &to_shut, "failed");
        assert_eq!(attempts(&refused)[0]["delivery"]["class"], "address-refused");
        assert_eq!((open.got().len(), shut.connections()), (1, 0));
    });
}
