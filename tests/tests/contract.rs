//! Every row of the contract's ingest table, over raw sockets, on every store.

use std::collections::HashSet;

use ploy_webhooks_tests::{Answer, Connection, Endpoint, Request, Server, object_of};
use serde_json::{Value, json};

const PROGRAM: &str = env!("CARGO_BIN_EXE_ploy-webhooks-under-test");
const LIMIT: usize = 1_048_576;

/// Runs a test against the program on each store.
fn on_each_store(flags: &[(&str, &str)], test: impl Fn(&Server)) {
    ploy_webhooks_tests::on_each_store(|store| test(&Server::start(PROGRAM, store, flags)));
}

fn send(server: &Server, request: &Request) -> Answer {
    server.connect().send(request).expect("an answer")
}

/// What every answer has, and what an error has besides.
fn assert_refused(answer: &Answer, status: u16, code: &str, what: &str) {
    let json = answer.json();
    assert_eq!(answer.status, status, "{what}: {json}");
    assert_eq!(answer.header("content-type"), Some("application/problem+json"), "{what}");
    assert_eq!(answer.header("cache-control"), Some("no-store"), "{what}");
    assert_eq!(json["status"], status, "{what}");
    assert_eq!(json["code"], code, "{what}: {json}");
    assert!(json["title"].is_string() && json["detail"].is_string(), "{what}: {json}");
}

fn assert_accepted(answer: &Answer, what: &str) -> String {
    let body = String::from_utf8_lossy(&answer.body);
    assert_eq!(answer.status, 202, "{what}: {body}");
    assert_eq!(answer.header("content-type"), Some("application/json"), "{what}");
    assert_eq!(answer.header("cache-control"), Some("no-store"), "{what}");
    let id = answer.string("id");
    assert_eq!(body, format!(r#"{{"id":"{id}","status":"accepted"}}"#), "{what}");
    id
}

#[test]
fn any_method_but_post_is_405() {
    on_each_store(&[], |server| {
        let endpoint = server.endpoint(&json!({}));
        for method in ["GET", "HEAD", "OPTIONS", "PUT", "PATCH", "DELETE", "PURGE"] {
            let request = Request::new(method, &endpoint.path).bearer(&endpoint.key);
            let answer = send(server, &request);
            assert_eq!(answer.status, 405, "{method}");
            assert_eq!(answer.header("allow"), Some("POST"), "{method}");
            assert_eq!(answer.header("cache-control"), Some("no-store"), "{method}");
            if method != "HEAD" {
                assert_refused(&answer, 405, "method_not_allowed", method);
            }
        }
    });
}

#[test]
fn any_content_but_json_is_415() {
    on_each_store(&[], |server| {
        let endpoint = server.endpoint(&json!({}));
        let request = || Request::new("POST", &endpoint.path).bearer(&endpoint.key);
        assert_refused(&send(server, &request().body("{}")), 415, "unsupported_media_type", "none");
        let twice = request().header("Content-Type", "application/json").json("{}");
        assert_refused(&send(server, &twice), 415, "unsupported_media_type", "twice");
        for value in [
            "application/json, application/json",
            "json",
            "application/",
            "application/json; charset",
            "text/json",
            "application/vnd.api+json",
            "application/x-www-form-urlencoded",
            "multipart/form-data; boundary=x",
            "application/json; charset=latin1",
            "application/json; charset=\"utf-16\"",
        ] {
            let answer = send(server, &request().header("Content-Type", value).body("{}"));
            assert_refused(&answer, 415, "unsupported_media_type", value);
        }
        for value in [
            "application/json",
            "APPLICATION/JSON",
            "application/json; charset=utf-8",
            "application/json; charset=\"UTF-8\"",
            "application/json;version=1; x=\"y;z\"",
        ] {
            let answer = send(server, &request().header("Content-Type", value).body("{}"));
            assert_accepted(&answer, value);
        }
        for value in ["gzip", "br", "identity, gzip"] {
            let answer = send(server, &endpoint.event("{}").header("Content-Encoding", value));
            assert_refused(&answer, 415, "unsupported_media_type", value);
            assert_eq!(answer.header("accept-encoding"), Some("identity"));
        }
        let identity = endpoint.event("{}").header("Content-Encoding", "identity");
        assert_accepted(&send(server, &identity), "identity");
    });
}

fn chunked(endpoint: &Endpoint, body: &[u8]) -> Vec<u8> {
    let head = Request::new("POST", &endpoint.path)
        .bearer(&endpoint.key)
        .header("Content-Type", "application/json")
        .header("Transfer-Encoding", "chunked")
        .head();
    let mut bytes = head;
    for chunk in body.chunks(50_000) {
        bytes.extend_from_slice(format!("{:x}\r\n", chunk.len()).as_bytes());
        bytes.extend_from_slice(chunk);
        bytes.extend_from_slice(b"\r\n");
    }
    bytes.extend_from_slice(b"0\r\n\r\n");
    bytes
}

/// Sends all of it, though the server may have answered before; then reads the answer.
fn send_to_the_end(connection: &mut Connection, bytes: &[u8]) -> Answer {
    for part in bytes.chunks(65_536) {
        if connection.write(part).is_err() {
            break;
        }
    }
    connection.answer("POST").expect("the answer arrives although the body was not wanted")
}

#[test]
fn one_byte_over_the_limit_is_413() {
    on_each_store(&[], |server| {
        let endpoint = server.endpoint(&json!({}));
        let largest = object_of(LIMIT);
        let too_large = object_of(LIMIT + 1);
        assert_accepted(&send(server, &endpoint.event(largest.clone())), "declared, at the limit");
        let answer = send_to_the_end(&mut server.connect(), &chunked(&endpoint, &largest));
        assert_accepted(&answer, "chunked, at the limit");
        for (bytes, what) in [
            (endpoint.event(too_large.clone()).bytes(), "declared"),
            (endpoint.event(object_of(8 * LIMIT)).bytes(), "declared, by far"),
            (chunked(&endpoint, &too_large), "chunked"),
            (chunked(&endpoint, &object_of(8 * LIMIT)), "chunked, by far"),
        ] {
            let mut connection = server.connect();
            let answer = send_to_the_end(&mut connection, &bytes);
            assert_refused(&answer, 413, "payload_too_large", what);
            assert!(connection.is_closed(), "{what}");
        }
        assert_eq!(server.events(&endpoint).len(), 2, "nothing else was stored");
    });
}

#[test]
fn a_declared_length_over_the_limit_is_413_before_a_byte_is_sent() {
    on_each_store(&[], |server| {
        let endpoint = server.endpoint(&json!({}));
        let head = Request::new("POST", &endpoint.path)
            .header("Content-Type", "application/json")
            .header("Content-Length", &(LIMIT + 1).to_string())
            .header("Expect", "100-continue")
            .head();
        let mut connection = server.connect();
        connection.write(&head).expect("the head is sent");
        assert_refused(
            &connection.answer("POST").expect("it answers"),
            413,
            "payload_too_large",
            "",
        );
    });
}

#[test]
fn an_endpoint_that_is_not_there_is_404() {
    on_each_store(&[], |server| {
        let endpoint = server.endpoint(&json!({}));
        let slug = endpoint.path.rsplit('/').next().expect("a slug").to_owned();
        let encoded = format!("%{:02x}{}", slug.as_bytes()[0], &slug[1..]);
        let deleted = server.endpoint(&json!({}));
        assert_eq!(
            server.manage("DELETE", &format!("/endpoints/{}", deleted.id), None).status,
            204
        );
        for path in [
            "/api/v1/webhook/no-such-endpoint".to_owned(),
            deleted.path.clone(),
            format!("/api/v1/webhook/{encoded}"),
            format!("/api/v1/webhook/{}", slug.to_uppercase()),
            "/api/v1/webhook/".to_owned(),
            format!("{}/", endpoint.path),
        ] {
            let request = Request::new("POST", &path).bearer(&endpoint.key).json("{}");
            assert_refused(&send(server, &request), 404, "endpoint_not_found", &path);
        }
    });
}

#[test]
fn an_address_that_is_not_allowed_is_403_before_any_key_is_looked_at() {
    on_each_store(&[], |server| {
        let elsewhere = server.endpoint(&json!({"allow": ["203.0.113.0/24", "2001:db8::/32"]}));
        let request = Request::new("POST", &elsewhere.path).bearer("a wrong one").json("{}");
        assert_refused(&send(server, &request), 403, "address_not_allowed", "elsewhere");
        let here = server.endpoint(&json!({"allow": ["127.0.0.0/8"]}));
        assert_accepted(&send(server, &here.event("{}")), "here");
    });
}

#[test]
fn whoever_is_not_the_sender_is_401() {
    on_each_store(&[], |server| {
        let endpoint = server.endpoint(&json!({}));
        let other = server.endpoint(&json!({}));
        let request = || Request::new("POST", &endpoint.path).json("{}");
        let key = &endpoint.key;

        let missing = send(server, &request());
        assert_refused(&missing, 401, "unauthorized", "missing");
        assert_eq!(missing.header("www-authenticate"), Some(r#"Bearer realm="webhook""#));

        let wrong_forms = [
            (format!("Basic {key}"), "scheme"),
            (format!("Bearer \"{key}\""), "quotes"),
            (format!("Bearer  {key}"), "space"),
            (format!("Bearer\t{key}"), "space"),
            ("Bearer".to_owned(), "empty"),
            (format!("Bearer {key}x"), "not valid"),
            ("Bearer wrong".to_owned(), "not valid"),
            (format!("Bearer {}", other.key), "not valid"),
        ];
        let mut answers: Vec<_> = wrong_forms
            .iter()
            .map(|(value, how)| (send(server, &request().header("Authorization", value)), *how))
            .collect();
        answers.push((send(server, &request().bearer(key).bearer(key)), "more than once"));
        for (answer, how) in answers {
            assert_refused(&answer, 401, "unauthorized", how);
            let challenge = answer.header("www-authenticate");
            assert_eq!(challenge, Some(r#"Bearer realm="webhook", error="invalid_token""#));
            assert!(answer.string("detail").contains(how), "{how}: {}", answer.json());
            assert!(!answer.string("detail").contains(key), "the key is echoed");
        }
        for scheme in ["bearer", "BEARER", "BeArEr"] {
            let answer =
                send(server, &request().header("Authorization", &format!("{scheme} {key}")));
            assert_accepted(&answer, scheme);
        }
    });
}

#[test]
fn a_paused_endpoint_is_403_for_its_sender_alone() {
    on_each_store(&[], |server| {
        let endpoint = server.endpoint(&json!({}));
        let path = format!("/endpoints/{}", endpoint.id);
        assert_accepted(&send(server, &endpoint.event("{}")), "active");
        assert_eq!(server.manage("PATCH", &path, Some(&json!({"status": "paused"}))).status, 200);
        assert_refused(&send(server, &endpoint.event("{}")), 403, "endpoint_paused", "paused");
        let stranger = Request::new("POST", &endpoint.path).bearer("wrong").json("{}");
        assert_refused(&send(server, &stranger), 401, "unauthorized", "a stranger");
        assert_eq!(server.manage("PATCH", &path, Some(&json!({"status": "active"}))).status, 200);
        assert_accepted(&send(server, &endpoint.event("{}")), "resumed");
    });
}

#[test]
fn over_the_rate_is_429_for_the_sender_alone() {
    on_each_store(&[], |server| {
        let limits = json!({"limits": {"rate": {"per_second": 1, "burst": 3}}});
        let endpoint = server.endpoint(&limits);
        let stranger = Request::new("POST", &endpoint.path).bearer("wrong").json("{}");
        for _ in 0..10 {
            assert_refused(&send(server, &stranger), 401, "unauthorized", "spends nothing");
        }
        let mut connection = server.connect();
        let mut next = || connection.send(&endpoint.event("{}")).expect("an answer");
        for _ in 0..3 {
            assert_accepted(&next(), "within the burst");
        }
        // On a machine that stalls, a token may come back between two of them.
        let refused = (0..100).map(|_| next()).find(|answer| answer.status != 202);
        let refused = refused.expect("a hundred at once are within a rate of one a second");
        assert_refused(&refused, 429, "rate_limited", "over the burst");
        let seconds = refused.header("retry-after").expect("Retry-After");
        assert!(seconds.parse::<u64>().expect("whole seconds") >= 1);
    });
}

#[test]
fn a_body_that_trickles_is_408_and_the_connection_ends() {
    on_each_store(&[("PLOY_BODY_TIMEOUT_MS", "400")], |server| {
        let endpoint = server.endpoint(&json!({}));
        let mut connection = server.connect();
        let request = endpoint.event(vec![b' '; 1_000]);
        connection.write(&request.head()).expect("the head is sent");
        // Byte after byte, until the server has had enough: no byte extends its patience.
        for _ in 0..40 {
            if connection.write(b" ").is_err() {
                break;
            }
            std::thread::sleep(std::time::Duration::from_millis(20));
        }
        let answer = connection.answer("POST").expect("it answers");
        assert_refused(&answer, 408, "request_timeout", "trickle");
        assert_eq!(answer.header("connection"), Some("close"));
        assert!(connection.is_closed());
    });
}

#[test]
fn what_is_not_one_json_object_is_400() {
    on_each_store(&[], |server| {
        let endpoint = server.endpoint(&json!({}));
        let mut connection = server.connect();
        let malformed: &[(&[u8], usize, usize)] = &[
            (b"", 1, 1),
            (b"\xef\xbb\xbf{}", 1, 1),
            (b"{\"a\":\"\xff\"}", 1, 7),
            (b"{\"a\":\n  secret}", 2, 3),
            (b"{\"a\":1}x", 1, 8),
            (b"{\"a\":1", 1, 6),
            (b"{\"a\":1,}", 1, 8),
            (b"{'a':1}", 1, 2),
        ];
        for (body, line, column) in malformed {
            let answer = connection.send(&endpoint.event(*body)).expect("an answer");
            let what = String::from_utf8_lossy(body);
            assert_refused(&answer, 400, "invalid_json", &what);
            let detail = answer.string("detail");
            assert!(detail.contains(&format!("line {line}, column {column}")), "{what}: {detail}");
            assert!(!detail.contains("secret"), "the body is echoed: {detail}");
        }
        for body in ["[]", "1", "\"secret\"", "null", " true ", "\n [{}]"] {
            let answer = connection.send(&endpoint.event(body)).expect("an answer");
            assert_refused(&answer, 400, "not_an_object", body);
            assert!(!answer.string("detail").contains("secret"));
        }
        assert_eq!(server.events(&endpoint).len(), 0);
    });
}

#[test]
fn unusual_objects_are_kept_byte_for_byte() {
    on_each_store(&[], |server| {
        let endpoint = server.endpoint(&json!({}));
        let depth = (LIMIT - 10) / 2;
        let deep = format!("{{\"a\":{}{}}}", "[".repeat(depth), "]".repeat(depth));
        let objects = [
            "{}".to_owned(),
            " {\"a\" :\t1 ,\r\n \"a\": 2}\n".to_owned(),
            r#"{"n":[0,-0,1E5,1e-7,1.50,1e999,123456789012345678901234567890]}"#.to_owned(),
            r#"{"s":"\ud800 \u0000 \udc00\ud800 \/ é 🦀"}"#.to_owned(),
            deep,
        ];
        let mut connection = server.connect();
        for object in &objects {
            let answer = connection.send(&endpoint.event(object.as_bytes())).expect("an answer");
            let id = assert_accepted(&answer, &object[..object.len().min(80)]);
            let kept = server.manage("GET", &format!("/events/{id}/payload"), None);
            assert_eq!(kept.status, 200);
            assert!(
                kept.body == object.as_bytes(),
                "not verbatim: {}",
                &object[..object.len().min(80)]
            );
        }
    });
}

#[test]
fn a_repeat_is_202_with_the_first_id() {
    on_each_store(&[], |server| {
        let rules: [(Value, &str, &str); 3] = [
            (
                json!({"header": "Idempotency-Key", "window_seconds": 60}),
                r#"{"x":1}"#,
                r#"{"x":2}"#,
            ),
            (json!({"pointers": ["/a", "/b/0"]}), r#"{"a":1,"b":[2],"c":3}"#, r#"{"b":[2],"a":1}"#),
            (json!({"body": true}), r#"{"same":1}"#, r#"{"same":1}"#),
        ];
        for (rule, first, repeat) in rules {
            let endpoint = server.endpoint(&json!({"dedup": rule}));
            let event = |payload: &str| endpoint.event(payload).header("Idempotency-Key", "k-1");
            let id = assert_accepted(&send(server, &event(first)), "the first");
            let again = send(server, &event(repeat));
            assert_eq!(again.status, 202);
            assert_eq!(again.json(), json!({"id": id, "status": "accepted", "duplicate": true}));
            assert_eq!(server.events(&endpoint).len(), 1, "nothing new is stored");
        }
        // Simultaneous repeats: one is stored, and all are told its id.
        let endpoint = server.endpoint(&json!({"dedup": {"body": true}}));
        let ids: HashSet<String> = std::thread::scope(|scope| {
            let senders: Vec<_> = (0..16)
                .map(|_| scope.spawn(|| send(server, &endpoint.event("{}")).string("id")))
                .collect();
            senders.into_iter().map(|sender| sender.join().expect("it sends")).collect()
        });
        assert_eq!(ids.len(), 1);
        assert_eq!(server.events(&endpoint).len(), 1);
        // Without its key an event is refused, where one is required.
        let required = json!({"dedup": {"header": "x-key", "required": true}});
        let answer = send(server, &server.endpoint(&required).event("{}"));
        assert_refused(&answer, 400, "deduplication_key_missing", "required");
    });
}

#[test]
fn too_much_in_flight_is_503() {
    let flags = [("PLOY_IN_FLIGHT_BYTES_MAX", "1400000"), ("PLOY_BODY_BYTES_MAX", "1000000")];
    on_each_store(&flags, |server| {
        let endpoint = server.endpoint(&json!({}));
        let half = endpoint.event(vec![b' '; 1_000_000]);
        // Where two grow at once, either may be refused for the other's sake, the one that was to
        // hold the budget too; and what was sent may take a moment to arrive. So: until one holds.
        let mut stalled = Vec::new();
        let refused = (0..100).find_map(|_| {
            let mut connection = server.connect();
            connection.write(&half.bytes()[..900_000]).expect("most of it is sent");
            stalled.push(connection);
            Some(send(server, &half)).filter(|answer| answer.status == 503)
        });
        let refused = refused.expect("the budget is used up");
        assert_refused(&refused, 503, "unavailable", "in flight");
        assert!(refused.header("retry-after").is_some());
        assert_accepted(&send(server, &endpoint.event("{}")), "a small one has room");
    });
}

#[test]
fn the_first_fault_of_several_is_the_answer() {
    on_each_store(&[], |server| {
        let endpoint = server.endpoint(&json!({"allow": ["203.0.113.0/24"]}));
        let paused = server.endpoint(&json!({}));
        let pause = json!({"status": "paused"});
        assert_eq!(
            server.manage("PATCH", &format!("/endpoints/{}", paused.id), Some(&pause)).status,
            200
        );
        let wrong = |method: &str, path: &str| Request::new(method, path);
        let huge = (LIMIT + 1).to_string();
        let head = |path: &str| wrong("POST", path).header("Content-Type", "application/json");
        let cases = [
            (wrong("PUT", "/api/v1/webhook/none").body("x"), 405),
            (wrong("POST", "/api/v1/webhook/none").body("x"), 415),
            (head("/api/v1/webhook/none").header("Content-Length", &huge), 413),
            (head("/api/v1/webhook/none").body("x"), 404),
            (head(&endpoint.path).body("x"), 403),
            (head(&paused.path).body("x"), 401),
            (paused.event("x"), 403),
        ];
        for (request, status) in cases {
            assert_eq!(send(server, &request).status, status, "{request:?}");
        }
    });
}
