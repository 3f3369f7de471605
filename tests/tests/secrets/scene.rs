//! A run that has every kind of secret, and keeps account of them and of all that is answered.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::path::Path;
use std::time::{Duration, Instant};

use ploy_webhooks::verify::{Preset, SignatureScheme};
use ploy_webhooks::{Clock, SystemClock, Timestamp};
use ploy_webhooks_tests::{Answer, Request};
use serde_json::{Value, json};

use crate::node::{self, Node};
use crate::senders::{Sender, public_key, secret_of};

const ROOT_TOKEN: &str = "root-token-of-the-tests-of-secrets-0123456789";
const MASTER_KEY: &str = "YS1tYXN0ZXIta2V5LXRoYXQtaXMtbm90LXRvbGQtb3I=";
const NEXT_MASTER_KEY: &str = "dGhlLW5leHQtbWFzdGVyLWtleS1pcy1uZWl0aGVyLiE=";
const ENGINE_SECRET: &str = "whsec_YS1zZWNyZXQtb2YtdGhlLWVuZ2luZS0wMTIzNDU2Nzg=";
/// The same for each start: some schemes sign it.
const PUBLIC_URL: (&str, &str) = ("PLOY_PUBLIC_URL", "https://hooks.example.com");
const BODY: &str = r#"{"some":"event"}"#;
/// Longer than anything takes that is waited for.
const A_WHILE: Duration = Duration::from_secs(60);

/// What shows a secret, in the one answer that does.
const SHOWN_ONCE: [&str; 3] = ["api_key", "signing_secret", "token"];

/// Secrets, each with its name.
pub(crate) type Secrets = Vec<(String, String)>;
/// What was answered, printed or kept, each with its place.
pub(crate) type Heard = Vec<(String, Vec<u8>)>;

pub(crate) struct Scene<'a> {
    store: &'a str,
    folder: &'a Path,
    secrets: Secrets,
    /// Without what is shown once.
    heard: Heard,
    senders: Vec<Sender>,
    keys: Vec<(String, String)>,
}

impl<'a> Scene<'a> {
    pub(crate) fn new(store: &'a str, folder: &'a Path) -> Self {
        let secrets = [
            ("the root token", ROOT_TOKEN),
            ("the master key", MASTER_KEY),
            ("the next master key", NEXT_MASTER_KEY),
            ("the secret of the engine", ENGINE_SECRET),
        ];
        let secrets = secrets.map(|(name, secret)| (name.to_owned(), secret.to_owned())).to_vec();
        Self { store, folder, secrets, heard: Vec::new(), senders: Vec::new(), keys: Vec::new() }
    }

    /// Everything that a server is asked for, and what senders do.
    pub(crate) fn first_start(&mut self) {
        let variables = [
            ("PLOY_ROOT_TOKEN", ROOT_TOKEN),
            ("PLOY_MASTER_KEY", MASTER_KEY),
            ("ENGINE_SECRET", ENGINE_SECRET),
            PUBLIC_URL,
            ("PLOY_KEPT_HEADERS", "user-agent,x-proof,webhook-id"),
        ];
        let node = Node::start(self.folder, "first", self.store, &variables);
        self.tenants(&node);
        self.keys(&node);
        self.schemes(&node);
        self.a_scheme_of_ones_own(&node);
        self.rotations(&node);
        self.failing_runs(&node);
        self.mistakes(&node);
        self.commands(&node);
        self.look_around(&node);
        node.stop();
    }

    /// The same store under another master key.
    pub(crate) fn second_start(&mut self) {
        let variables = [
            ("PLOY_ROOT_TOKEN", ROOT_TOKEN),
            ("PLOY_MASTER_KEY", NEXT_MASTER_KEY),
            ("PLOY_MASTER_KEY_PREVIOUS", MASTER_KEY),
            PUBLIC_URL,
        ];
        let node = Node::start(self.folder, "second", self.store, &variables);
        for sender in self.senders.clone() {
            let answer = self.signed(&node, &sender, SystemClock.now(), BODY);
            assert_eq!(answer.status, 202, "{}", answer.json());
        }
        self.look_around(&node);
        node.stop();
        let wrong = [("PLOY_ROOT_TOKEN", ROOT_TOKEN), ("PLOY_MASTER_KEY", MASTER_KEY)];
        let arguments = ["serve", "--listen", "127.0.0.1:0", "--store", self.store];
        let refused = self.printed(&arguments, &wrong);
        assert_eq!(refused.status.code(), Some(1));
        self.heard.push(("a start that is refused".to_owned(), refused.stdout));
    }

    /// The secrets, and all that was answered and printed.
    pub(crate) fn end(self) -> (Secrets, Heard) {
        (self.secrets, self.heard)
    }

    fn is_secret(&mut self, name: impl Into<String>, secret: impl Into<String>) {
        self.secrets.push((name.into(), secret.into()));
    }

    fn send(&mut self, node: &Node, what: &str, request: &Request) -> Answer {
        let answer = node.connect().send(request).expect("an answer");
        self.heard.push((format!("the headers of {what}"), format!("{:?}", answer.headers).into()));
        answer
    }

    fn heard(&mut self, node: &Node, what: &str, request: &Request) -> Answer {
        let answer = self.send(node, what, request);
        self.heard.push((what.to_owned(), answer.body.clone()));
        answer
    }

    /// A call of the management API; what it shows once is a secret from then on.
    fn manage(&mut self, node: &Node, method: &str, path: &str, body: Option<&Value>) -> Value {
        let mut request = Request::new(method, &format!("/api/v1{path}")).bearer(ROOT_TOKEN);
        if let Some(body) = body {
            request = request.json(body.to_string());
        }
        let what = format!("{method} {path}");
        let answer = self.send(node, &what, &request);
        let answer = answer.json();
        let mut shown = answer.clone();
        for name in SHOWN_ONCE {
            let secret = shown.as_object_mut().and_then(|members| members.remove(name));
            if let Some(Value::String(secret)) = secret
                && secret != public_key()
            {
                self.is_secret(format!("{name} of {what}"), secret);
            }
        }
        self.heard.push((what, shown.to_string().into()));
        answer
    }

    fn made(&mut self, node: &Node, path: &str, body: &Value) -> Value {
        let made = self.manage(node, "POST", path, Some(body));
        assert!(made["code"].is_null(), "{path}: {made}");
        made
    }

    /// Sends an event that is signed; its signature is a secret too.
    fn signed(&mut self, node: &Node, sender: &Sender, then: Timestamp, body: &str) -> Answer {
        let (request, signature) = sender.event(then, body);
        let name = format!("a signature in {}", sender.scheme.header);
        for part in signature.split([',', ';', '=']).filter(|part| part.len() >= 20) {
            self.is_secret(&name, part);
        }
        self.is_secret(&name, signature);
        self.heard(node, "a signed event", &request)
    }

    fn tenants(&mut self, node: &Node) {
        let workspace = self.made(node, "/workspaces", &json!({"name": "Acme"}));
        let workspace = workspace["id"].as_str().expect("an id").to_owned();
        for scope in ["read", "write"] {
            let token =
                self.made(node, "/tokens", &json!({"workspace": workspace, "scope": scope}));
            let token = token["token"].as_str().expect("a token").to_owned();
            for (method, path) in
                [("GET", "/endpoints"), ("POST", "/ploybooks"), ("GET", "/tokens")]
            {
                let request = Request::new(method, &format!("/api/v1{path}")).bearer(&token);
                self.heard(node, "a call of a tenant", &request.json("{}"));
            }
        }
    }

    fn keys(&mut self, node: &Node) {
        for name in ["one", "other"] {
            let made = self.made(node, "/endpoints", &json!({"description": name}));
            let text = |member: &str| made[member].as_str().expect(member).to_owned();
            self.keys.push((format!("/api/v1/webhook/{}", text("slug")), text("api_key")));
        }
        let (path, key) = self.keys[0].clone();
        let wrong = "pwk_a-wrong-key-that-somebody-took-for-right";
        self.is_secret("a wrong key", wrong);
        for authorization in [
            format!("Bearer {key}"),
            format!("Bearer {wrong}"),
            format!("Bearer \"{key}\""),
            format!("Basic {key}"),
            format!("Bearer {}", self.keys[1].1),
            key.clone(),
        ] {
            self.is_secret("an Authorization", authorization.clone());
            let request = Request::new("POST", &path).header("Authorization", &authorization);
            for body in [BODY, "not json"] {
                self.heard(node, "an event with a key", &request.clone().json(body));
            }
            self.heard(node, "an event that is none", &request.header("Content-Type", "text/x"));
        }
    }

    fn schemes(&mut self, node: &Node) {
        for preset in Preset::all() {
            let name = preset.name();
            let given = match name {
                "discord" => public_key(),
                name => secret_of(&format!("a secret that is given to {name}")),
            };
            let minted = (name != "discord").then(|| json!({"scheme": name}));
            for auth in
                [Some(json!({"scheme": name, "secret": given})), minted].into_iter().flatten()
            {
                let made =
                    self.made(node, "/endpoints", &json!({"description": name, "auth": auth}));
                let sender = Sender::of(preset.description(), &made);
                self.sends_rightly_and_wrongly(node, &sender);
                self.senders.push(sender);
            }
        }
    }

    fn sends_rightly_and_wrongly(&mut self, node: &Node, sender: &Sender) {
        let now = SystemClock.now();
        let answer = self.signed(node, sender, now, BODY);
        assert_eq!(answer.status, 202, "{}", answer.json());
        assert_eq!(self.signed(node, sender, now, "not json").status, 400);
        let long_ago = Timestamp::from_millis(now.as_millis() - 400_000);
        self.signed(node, sender, long_ago, BODY);
        if sender.secret != public_key() {
            let wrong =
                sender.with_another_secret(&format!("another secret than that of {}", sender.id));
            self.is_secret("a wrong secret", wrong.secret.clone());
            assert_eq!(self.signed(node, &wrong, now, BODY).status, 401);
        }
        let bearer = Request::new("POST", &sender.path).bearer(&sender.secret).json(BODY);
        self.heard(node, "a secret as a key", &bearer);
    }

    /// In a header whose name says nothing, which is to be kept with events.
    fn a_scheme_of_ones_own(&mut self, node: &Node) {
        for digest in ["token", "hmac-sha512"] {
            let description = json!({"header": "x-proof", "digest": digest});
            let mut auth = description.clone();
            auth["scheme"] = "custom".into();
            let made = self.made(node, "/endpoints", &json!({"description": "own", "auth": auth}));
            let scheme: SignatureScheme = serde_json::from_value(description).expect("a scheme");
            let sender = Sender::of(&scheme, &made);
            self.sends_rightly_and_wrongly(node, &sender);
            self.senders.push(sender);
        }
    }

    fn rotations(&mut self, node: &Node) {
        let mut rotated = Vec::new();
        for sender in
            self.senders.clone().into_iter().filter(|sender| sender.secret != public_key())
        {
            let path = format!("/endpoints/{}/rotate", sender.id);
            let answer = self.made(node, &path, &json!({"overlap_seconds": 3_600}));
            let given = secret_of(&format!("the next secret of {}", sender.id));
            self.is_secret("a secret that is given", given.clone());
            let minted = Sender::of(&sender.scheme, &answer);
            let answer = self.made(node, &path, &json!({"overlap_seconds": 0, "secret": given}));
            self.signed(node, &minted, SystemClock.now(), BODY);
            rotated.push(Sender::of(&sender.scheme, &answer));
        }
        self.senders = rotated;
        // From a key to a scheme and back.
        let made = self.made(node, "/endpoints", &json!({"description": "to and fro"}));
        let path = format!("/endpoints/{}", made["id"].as_str().expect("an id"));
        for auth in [json!({"scheme": "stripe"}), json!({"scheme": "api-key"})] {
            self.manage(node, "PATCH", &path, Some(&json!({"auth": auth})));
        }
        self.made(node, &format!("{path}/rotate"), &json!({"overlap_seconds": 60}));
    }

    /// Runs that an engine is asked for, which fails.
    fn failing_runs(&mut self, node: &Node) {
        let engine = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let url = format!("http://{}/run", engine.local_addr().expect("it is bound"));
        let asked = std::thread::spawn(move || refuse_one(&engine));
        let ploybook = json!({
            "name": "page",
            "run": {"http": {"url": url, "secret_env": "ENGINE_SECRET"}},
            "retry": {"attempts_max": 1},
        });
        self.made(node, "/ploybooks", &ploybook);
        let form = json!({"description": "", "trigger": {"ploybook": "page"}});
        let made = self.made(node, "/endpoints", &form);
        let text = |member: &str| made[member].as_str().expect(member).to_owned();
        let path = format!("/api/v1/webhook/{}", text("slug"));
        let event = Request::new("POST", &path).bearer(&text("api_key")).json(BODY);
        let event = self.heard(node, "an event that is run", &event).string("id");
        let signature = asked.join().expect("the engine is asked");
        self.is_secret("a signature for the engine", signature);
        let deadline = Instant::now() + A_WHILE;
        loop {
            let event = self.manage(node, "GET", &format!("/events/{event}"), None);
            if event["runs"][0]["state"] == "failed" {
                return;
            }
            assert!(Instant::now() < deadline, "still: {event}");
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Secrets where they do not belong.
    fn mistakes(&mut self, node: &Node) {
        let secret = secret_of("a secret in another's place");
        self.is_secret("a secret in another's place", secret.clone());
        let id = self.senders[0].id.clone();
        let (endpoint, rotate) = (format!("/endpoints/{id}"), format!("/endpoints/{id}/rotate"));
        for (path, body) in [
            ("/endpoints", json!({"description": "", "auth": secret})),
            ("/endpoints", json!({"description": "", "auth": {"scheme": secret}})),
            (
                "/endpoints",
                json!({"description": "", "auth": {"scheme": "stripe", "secret": [secret]}}),
            ),
            (
                "/endpoints",
                json!({"description": "", "auth": {"scheme": "stripe", "once": secret}}),
            ),
            (
                "/endpoints",
                json!({"description": "", "auth": {"scheme": "api-key", "secret": secret}}),
            ),
            (
                "/endpoints",
                json!({"description": "", "auth": {
                    "scheme": "custom", "header": "x", "secret_form": secret,
                }}),
            ),
            (
                "/endpoints",
                json!({"description": "", "auth": {"scheme": "discord", "secret": secret}}),
            ),
            ("/endpoints", json!({"description": "", "limits": secret})),
            (&rotate, json!({"overlap_seconds": secret})),
            (&rotate, json!({"secret": {"is": secret}})),
            (&rotate, json!(secret)),
            ("/tokens", json!({"scope": "read", "expires_in_seconds": secret})),
            ("/workspaces", json!({"name": [secret]})),
        ] {
            let answer = self.manage(node, "POST", path, Some(&body));
            assert_eq!(answer["status"], 422, "{path} {body}: {answer}");
        }
        let broken = format!(r#"{{"auth":{{"scheme":"stripe","secret":"{secret}""#);
        for (method, path) in [("POST", "/endpoints"), ("PATCH", &endpoint), ("POST", &rotate)] {
            let request = Request::new(method, &format!("/api/v1{path}")).bearer(ROOT_TOKEN);
            self.heard(node, "a body that breaks off", &request.json(broken.clone()));
        }
        let wrong = "a-wrong-token-that-somebody-took-for-right";
        self.is_secret("a wrong token", wrong);
        for path in ["/endpoints", "/tokens", "/nothing"] {
            let request = Request::new("GET", &format!("/api/v1{path}"));
            self.heard(node, "a call with a wrong token", &request.clone().bearer(wrong));
            let basic = format!("Basic {ROOT_TOKEN}");
            self.heard(
                node,
                "a call with another scheme",
                &request.header("Authorization", &basic),
            );
        }
    }

    fn commands(&mut self, node: &Node) {
        let url = node.url();
        let variables = [("PLOY_URL", &*url), ("PLOY_TOKEN", ROOT_TOKEN)];
        let made =
            self.printed(&["endpoints", "create", "--scheme", "stripe", "--json"], &variables);
        let stripe: Value = serde_json::from_slice(&made.stdout).expect("an endpoint");
        let secret = stripe["signing_secret"].as_str().expect("a secret").to_owned();
        self.is_secret("a secret from the shell", secret.clone());
        let id = stripe["id"].as_str().expect("an id").to_owned();
        let given = secret_of("a secret that is given in the shell");
        self.is_secret("a secret that is given in the shell", given.clone());
        let rotation = [variables[0], variables[1], ("PLOY_NEW_SECRET", &given)];
        assert!(self.printed(&["endpoints", "rotate", &id], &rotation).status.success());
        for args in [
            &["endpoints", "list"][..],
            &["endpoints", "show", &id],
            &["endpoints", "show", &id, "--json"],
            &["endpoints", "pause", &id],
            &["endpoints", "resume", &id],
            &["endpoints", "show", "nothing"],
            &["events", "list"],
            &["runs", "list"],
            &["tokens", "list"],
        ] {
            let shown = self.printed(args, &variables);
            self.heard.push((args.join(" "), shown.stdout));
        }
        let file = self.folder.join("events.jsonl");
        std::fs::write(&file, BODY).expect("it is written");
        let file = file.to_str().expect("it is text").to_owned();
        let slug = stripe["slug"].as_str().expect("a slug");
        let target = format!("{url}/api/v1/webhook/{slug}");
        let key = self.keys[0].1.clone();
        let url_of_key = format!("{url}{}", self.keys[0].0);
        for (args, variables, code) in [
            (
                ["send", "--url", &target, "--scheme", "stripe", &file],
                [("PLOY_SECRET", &*given)],
                0,
            ),
            (
                ["send", "--url", &target, "--scheme", "stripe", &file],
                [("PLOY_SECRET", &*secret)],
                1,
            ),
            (
                ["send", "--url", &target, "--scheme", "discord", &file],
                [("PLOY_SECRET", &*secret)],
                2,
            ),
            (["send", "--url", &target, "--rate", "100", &file], [("PLOY_KEY", &*key)], 1),
            (["send", "--url", &url_of_key, "--rate", "100", &file], [("PLOY_KEY", &*key)], 0),
        ] {
            let sent = self.printed(&args, &variables);
            assert_eq!(sent.status.code(), Some(code), "{args:?}");
            self.heard.push((args.join(" "), sent.stdout));
        }
        for args in
            [&["send", "--help"][..], &["endpoints", "create", "--help"], &["serve", "--help"]]
        {
            let variables =
                [("PLOY_SECRET", &*given), ("PLOY_KEY", &*key), ("PLOY_TOKEN", ROOT_TOKEN)];
            let help = self.printed(args, &variables);
            self.heard.push((args.join(" "), help.stdout));
        }
    }

    /// Runs a command, whose standard error shows nothing secret ever.
    fn printed(&mut self, args: &[&str], variables: &[(&str, &str)]) -> std::process::Output {
        let output = node::shell(args, variables);
        self.heard.push((format!("the messages of {args:?}"), output.stderr.clone()));
        output
    }

    /// Everything that the API shows.
    fn look_around(&mut self, node: &Node) {
        for list in
            ["endpoints", "events", "runs", "ploybooks", "subscriptions", "tokens", "workspaces"]
        {
            let mut path = format!("/{list}?limit=200");
            loop {
                let page = self.manage(node, "GET", &path, None);
                for item in page["data"].as_array().expect("a list") {
                    let of = item["id"].as_str().or(item["name"].as_str()).expect("an id");
                    self.manage(node, "GET", &format!("/{list}/{of}"), None);
                }
                match page["next_cursor"].as_str() {
                    Some(cursor) => path = format!("/{list}?limit=200&cursor={cursor}"),
                    None => break,
                }
            }
        }
        for path in ["/health/live", "/health/ready"] {
            self.heard(node, path, &Request::new("GET", path));
        }
    }
}

/// Answers one request with a failure, and returns its signature.
fn refuse_one(engine: &TcpListener) -> String {
    let (connection, _) = engine.accept().expect("the program asks");
    let mut reader = BufReader::new(&connection);
    let (mut signature, mut length) = (None, 0);
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).expect("a head");
        let Some((name, value)) = line.trim_end().split_once(": ") else {
            if line.trim_end().is_empty() {
                break;
            }
            continue;
        };
        match name.to_ascii_lowercase().as_str() {
            "webhook-signature" => signature = Some(value.to_owned()),
            "content-length" => length = value.parse().expect("a number"),
            _ => {}
        }
    }
    reader.read_exact(&mut vec![0; length]).expect("a body");
    let answer = b"HTTP/1.1 500 Whatever\r\ncontent-length: 4\r\nconnection: close\r\n\r\nnope";
    (&connection).write_all(answer).expect("it is heard");
    signature.expect("it is signed")
}
