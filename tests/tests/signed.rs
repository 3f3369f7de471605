//! Signatures over raw sockets, on every store: the rows of the contract, repeats at the same time
//! on two nodes, and changes that hold on all of them at once.

use std::collections::HashSet;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use ed25519_dalek::{Signer, SigningKey};
use ploy_webhooks::verify::{Preset, Signed};
use ploy_webhooks::{Clock, Secret, SystemClock, Timestamp};
use ploy_webhooks_engines::Postgres;
use ploy_webhooks_tests::{Answer, Request, Server, on_each_shared_store, on_each_store};
use serde_json::{Value, json};
use tempfile::TempDir;

const PROGRAM: &str = env!("CARGO_BIN_EXE_ploy-webhooks-under-test");
const BODY: &str = r#"{"some":"event"}"#;
/// Discord's: nobody but the sender has the private key.
const PRIVATE_KEY: [u8; 32] = [7; 32];

/// Who signs events for one endpoint.
#[derive(Clone)]
struct Sender {
    scheme: &'static str,
    secret: String,
    id: String,
    path: String,
    url: String,
}

impl Sender {
    /// An endpoint whose senders sign by that preset, with these settings beside it.
    fn on(server: &Server, scheme: &'static str, settings: &Value) -> Self {
        let mut form = json!({"description": "", "auth": {"scheme": scheme}});
        if scheme == "discord" {
            let key = SigningKey::from_bytes(&PRIVATE_KEY).verifying_key();
            form["auth"]["secret"] = digits(key.as_bytes()).into();
        }
        for (name, value) in settings.as_object().into_iter().flatten() {
            match (name.as_str(), value.as_object()) {
                ("auth", Some(auth)) => {
                    auth.iter().for_each(|(name, value)| form["auth"][name] = value.clone());
                }
                _ => form[name] = value.clone(),
            }
        }
        let made = server.manage("POST", "/endpoints", Some(&form));
        assert_eq!(made.status, 201, "{scheme}: {}", made.json());
        Self::of(scheme, &made)
    }

    /// By an answer that shows the secret.
    fn of(scheme: &'static str, made: &Answer) -> Self {
        Self {
            scheme,
            secret: made.string("signing_secret"),
            id: made.string("id"),
            path: format!("/api/v1/webhook/{}", made.string("slug")),
            url: made.string("url"),
        }
    }

    fn event(&self, body: &str) -> Request {
        self.event_at(SystemClock.now(), body)
    }

    fn event_at(&self, then: Timestamp, body: &str) -> Request {
        self.signed(then, "msg_1", body, body)
    }

    /// A request with one body and the signature of another.
    fn signed(&self, then: Timestamp, id: &str, signed: &str, body: &str) -> Request {
        let request = Request::new("POST", &self.path).json(body);
        if self.scheme == "discord" {
            let time = (then.as_millis() / 1_000).to_string();
            let signature =
                SigningKey::from_bytes(&PRIVATE_KEY).sign(format!("{time}{signed}").as_bytes());
            return request
                .header("X-Signature-Ed25519", &digits(&signature.to_bytes()))
                .header("X-Signature-Timestamp", &time);
        }
        let scheme = Preset::named(self.scheme).expect("a preset").description();
        let content = Signed { method: "POST", url: &self.url, body: signed.as_bytes() };
        let secret = Secret::from(self.secret.clone());
        let headers = scheme.sign(&secret, id, then, &content).expect("it signs");
        headers.iter().fold(request, |request, (name, value)| {
            request.header(name.as_str(), value.to_str().expect("it is ASCII"))
        })
    }

    fn events(&self, server: &Server) -> usize {
        server.list(&format!("/events?endpoint={}", self.id)).len()
    }
}

fn digits(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn send(server: &Server, request: &Request) -> Answer {
    server.connect().send(request).expect("an answer")
}

fn assert_refused(answer: &Answer, status: u16, code: &str, what: &str) {
    let json = answer.json();
    assert_eq!((answer.status, &json["code"]), (status, &code.into()), "{what}: {json}");
    assert_eq!(answer.header("content-type"), Some("application/problem+json"), "{what}");
    assert_eq!(answer.header("cache-control"), Some("no-store"), "{what}");
}

fn with_server(test: impl Fn(&Server)) {
    on_each_store(|store| test(&Server::start(PROGRAM, store, &[])));
}

fn long_ago() -> Timestamp {
    Timestamp::from_millis(SystemClock.now().as_millis() - 310_000)
}

fn far_ahead() -> Timestamp {
    SystemClock.now().after(Duration::from_secs(310))
}

#[test]
fn a_signature_that_is_missing_malformed_wrong_or_stale_is_401() {
    with_server(|server| {
        for preset in Preset::all() {
            let (name, scheme) = (preset.name(), preset.description());
            let sender = Sender::on(server, name, &json!({}));
            let accepted = send(server, &sender.event(BODY));
            assert_eq!(accepted.status, 202, "{name}: {}", accepted.json());

            let bare = Request::new("POST", &sender.path).json(BODY);
            let missing = send(server, &bare);
            assert_refused(&missing, 401, "invalid_signature", name);
            assert_eq!(missing.header("www-authenticate"), Some(r#"Signature realm="webhook""#));
            let malformed = bare.clone().header(scheme.header.as_str(), "what is this");
            assert_refused(&send(server, &malformed), 401, "invalid_signature", name);
            let repeated = sender.event(BODY).header(scheme.header.as_str(), "again");
            assert_refused(&send(server, &repeated), 401, "invalid_signature", name);
            let mut strangers = vec![bare.bearer(&sender.secret)];
            if scheme.signs() {
                let now = SystemClock.now();
                strangers.push(sender.signed(now, "msg_1", BODY, r#"{"some":"Event"}"#));
            }
            if name != "discord" {
                let other = Sender::on(server, name, &json!({}));
                strangers.push(Sender { secret: other.secret, ..sender.clone() }.event(BODY));
            }
            for request in strangers {
                assert_refused(&send(server, &request), 401, "invalid_signature", name);
            }
            for then in [long_ago(), far_ahead()] {
                let stale = send(server, &sender.event_at(then, BODY));
                match scheme.timestamp {
                    Some(_) => assert_refused(&stale, 401, "stale_timestamp", name),
                    None => assert_eq!(stale.status, 202, "{name}"),
                }
            }
            let kept = server.events(&ploy_webhooks_tests::Endpoint {
                id: sender.id.clone(),
                path: sender.path.clone(),
                key: String::new(),
            });
            assert!(kept.iter().all(|(_, payload)| payload == BODY.as_bytes()), "{name}");
        }
    });
}

#[test]
fn a_signature_is_looked_at_after_the_address_and_before_all_else() {
    with_server(|server| {
        let elsewhere = Sender::on(server, "stripe", &json!({"allow": ["203.0.113.0/24"]}));
        let unsigned = |sender: &Sender, body: &str| Request::new("POST", &sender.path).json(body);
        for request in [elsewhere.event(BODY), unsigned(&elsewhere, BODY)] {
            assert_refused(&send(server, &request), 403, "address_not_allowed", "elsewhere");
        }
        let sender = Sender::on(server, "stripe", &json!({"limits": {"body_bytes": 100}}));
        let refused = send(server, &unsigned(&sender, "not json"));
        assert_refused(&refused, 401, "invalid_signature", "not even JSON");
        assert_refused(&send(server, &sender.event("not json")), 400, "invalid_json", "signed");
        assert_refused(&send(server, &sender.event("[]")), 400, "not_an_object", "signed");
        let large = "x".repeat(101);
        let refused = send(server, &unsigned(&sender, &large));
        assert_refused(&refused, 401, "invalid_signature", "nobody's body is read");
        assert_refused(&send(server, &sender.event(&large)), 413, "payload_too_large", "signed");

        let pause = json!({"status": "paused"});
        let path = format!("/endpoints/{}", sender.id);
        assert_eq!(server.manage("PATCH", &path, Some(&pause)).status, 200);
        assert_refused(&send(server, &sender.event(BODY)), 403, "endpoint_paused", "signed");
        let wrong = Sender { secret: "wrong".to_owned(), ..sender };
        assert_refused(&send(server, &wrong.event(BODY)), 401, "invalid_signature", "a stranger");
    });
}

#[test]
fn strangers_spend_nothing_of_a_rate_or_a_quota() {
    with_server(|server| {
        let quota = json!({"limits": {"quota": {"events": 2}}});
        let rate = json!({"limits": {"rate": {"per_second": 1, "burst": 2}}});
        for (limits, code) in [(quota, "quota_exceeded"), (rate, "rate_limited")] {
            let sender = Sender::on(server, "github", &limits);
            let wrong = Sender { secret: "wrong".to_owned(), ..sender.clone() };
            for _ in 0..10 {
                let refused = send(server, &wrong.event(BODY));
                assert_refused(&refused, 401, "invalid_signature", "a stranger");
                assert!(refused.header("ratelimit").is_none());
            }
            for _ in 0..2 {
                assert_eq!(send(server, &sender.event(BODY)).status, 202, "{code}");
            }
            // On a machine that stalls, a token may come back between two of them.
            let next = |_| send(server, &sender.event(BODY));
            let refused = (0..100).map(next).find(|answer| answer.status != 202);
            let refused = refused.expect("a hundred at once are more than either allows");
            assert_refused(&refused, 429, code, "over the bound");
            let remains = refused.header("ratelimit").map(|left| left.contains("\"endpoint\";r=0"));
            assert_eq!(remains, (code == "rate_limited").then_some(true));
            assert_eq!(refused.header("retry-after").is_some(), code == "rate_limited");
            let shown = server.manage("GET", &format!("/endpoints/{}", sender.id), None).json();
            if code == "quota_exceeded" {
                assert_eq!(sender.events(server), 2);
                assert_eq!(shown["activity"]["quota"]["remaining"], 0, "{shown}");
            }
        }
    });
}

/// What is signed at one moment, sent by many at once to all of these: how many ids they are told,
/// and how many events there are.
fn at_once(nodes: &[Server], sender: &Sender, requests: &[Request]) -> (usize, usize) {
    let ids: HashSet<String> = std::thread::scope(|scope| {
        let senders: Vec<_> = (0..24)
            .map(|number| {
                let (node, request) =
                    (&nodes[number % nodes.len()], &requests[number % requests.len()]);
                scope.spawn(move || {
                    let answer = send(node, request);
                    assert_eq!(answer.status, 202, "{}", answer.json());
                    answer.string("id")
                })
            })
            .collect();
        senders.into_iter().map(|sender| sender.join().expect("it sends")).collect()
    });
    (ids.len(), sender.events(&nodes[0]))
}

/// Repeats by a name that the scheme has for a delivery, and repeats of what was signed.
fn repeats(nodes: &[Server]) {
    let now = SystemClock.now();
    // By a header that is signed: each attempt is signed anew.
    let sender = Sender::on(&nodes[0], "svix", &json!({}));
    let attempts: Vec<_> = (0..5)
        .map(|attempt| now.after(Duration::from_secs(attempt)))
        .map(|then| sender.signed(then, "msg_7", BODY, BODY))
        .collect();
    assert_eq!(at_once(nodes, &sender, &attempts), (1, 1), "by a header");
    let another = send(&nodes[0], &sender.signed(now, "msg_8", BODY, BODY));
    assert_eq!(another.json().get("duplicate"), None);
    // By a place in the payload.
    let sender = Sender::on(&nodes[0], "stripe", &json!({}));
    let attempts: Vec<_> = (0..5)
        .map(|attempt| sender.event(&format!(r#"{{"id":"evt_7","attempt":{attempt}}}"#)))
        .collect();
    assert_eq!(at_once(nodes, &sender, &attempts), (1, 1), "by a place in the payload");
    let other = send(&nodes[0], &sender.event(r#"{"id":"evt_8"}"#));
    assert_eq!(other.json().get("duplicate"), None);
    // By a header that is not signed: whoever repeats it may change it, unless it is taken once.
    for (once, events) in [(false, 2), (true, 1)] {
        let sender = Sender::on(&nodes[0], "github", &json!({"auth": {"once": once}}));
        let deliveries: Vec<_> = ["one", "other"]
            .map(|delivery| sender.event(BODY).header("X-GitHub-Delivery", delivery))
            .to_vec();
        assert_eq!(at_once(nodes, &sender, &deliveries), (events, events), "once: {once}");
    }
    // Where the scheme has no name for a delivery, what was signed is all there is.
    for (once, events) in [(false, 24), (true, 1)] {
        let sender = Sender::on(&nodes[0], "clay", &json!({"auth": {"once": once}}));
        assert_eq!(at_once(nodes, &sender, &[sender.event(BODY)]), (events, events));
    }
}

#[test]
fn of_repeats_at_the_same_time_one_is_taken() {
    on_each_store(|store| repeats(&[Server::start(PROGRAM, store, &[])]));
}

/// Nodes that know each other by the same address, which some schemes sign.
fn two_nodes(store: ploy_webhooks_tests::Store<'_>) -> [Server; 2] {
    let public = [("PLOY_PUBLIC_URL", "https://hooks.example.com")];
    [Server::start(PROGRAM, store, &public), Server::start(PROGRAM, store, &public)]
}

#[test]
fn of_repeats_on_two_nodes_one_is_taken() {
    on_each_shared_store(|store| repeats(&two_nodes(store)));
}

#[test]
fn a_secret_that_is_replaced_on_one_node_is_dead_on_all() {
    on_each_shared_store(|store| {
        let [one, other] = two_nodes(store);
        for scheme in ["stripe", "hubspot", "standard-webhooks"] {
            let first = Sender::on(&one, scheme, &json!({}));
            for node in [&one, &other] {
                assert_eq!(send(node, &first.event(BODY)).status, 202, "{scheme}");
            }
            let path = format!("/endpoints/{}/rotate", first.id);
            let second = Sender::of(first.scheme, &one.manage("POST", &path, None));
            for node in [&other, &one] {
                let refused = send(node, &first.event(BODY));
                assert_refused(&refused, 401, "invalid_signature", scheme);
                assert_eq!(send(node, &second.event(BODY)).status, 202, "{scheme}");
            }
            let key = json!({"auth": {"scheme": "api-key"}});
            let path = format!("/endpoints/{}", first.id);
            let key = other.manage("PATCH", &path, Some(&key)).string("api_key");
            for node in [&one, &other] {
                assert_refused(&send(node, &second.event(BODY)), 401, "unauthorized", scheme);
                let keyed = Request::new("POST", &first.path).bearer(&key).json(BODY);
                assert_eq!(send(node, &keyed).status, 202, "{scheme}");
            }
        }
    });
}

/// A start of the program in that folder, by the key that it finds or makes there.
fn start_in(folder: &Path, store: &str) -> Child {
    Command::new(PROGRAM)
        .args(["serve", "--listen", "127.0.0.1:0", "--store", store])
        .current_dir(folder)
        .env_clear()
        .env("PLOY_ROOT_TOKEN", "a-root-token-for-tests-of-32-or-more-characters")
        .stdout(Stdio::piped())
        .spawn()
        .expect("the program starts")
}

/// Whether it came to listen before it ended.
fn listens(node: &mut Child) -> bool {
    let mut lines = BufReader::new(node.stdout.as_mut().expect("it is piped")).lines();
    lines.any(|line| line.expect("it prints text").starts_with("listening on"))
}

#[test]
fn nodes_that_start_at_once_on_a_new_store_agree_on_one_master_key() {
    let store = Postgres::shared().database();
    let folder = TempDir::new().expect("a folder is made");
    for round in 0..2 {
        let mut nodes: Vec<_> = (0..4).map(|_| start_in(folder.path(), &store)).collect();
        let listening = nodes.iter_mut().filter_map(|node| listens(node).then_some(())).count();
        for mut node in nodes {
            node.kill().expect("it can be killed");
            node.wait().expect("it ends");
        }
        assert_eq!(listening, 4, "in round {round}");
    }
    let key = folder.path().join("ploy-data/master.key");
    assert!(std::fs::read_to_string(key).is_ok_and(|key| key.len() == 45));
}
