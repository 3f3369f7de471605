//! Senders that sign what they send to an endpoint.

use ploy_webhooks::verify::{Preset, Signed};
use ploy_webhooks::{Clock, Secret, SystemClock, Timestamp};
use ploy_webhooks_tests::{Answer, Request, Server};
use serde_json::{Value, json};

use crate::scene::call;

/// An endpoint whose senders sign by a preset, and the secret that they sign with.
#[derive(Clone, Debug)]
pub(crate) struct Signing {
    pub(crate) scheme: &'static str,
    pub(crate) secret: String,
    pub(crate) id: String,
    pub(crate) path: String,
    pub(crate) url: String,
}

impl Signing {
    /// Makes one, with these settings beside it.
    pub(crate) fn endpoint(server: &Server, scheme: &'static str, settings: Value) -> Self {
        let mut form = settings;
        form["description"] = scheme.into();
        form["auth"] = json!({"scheme": scheme});
        let made = call(server, "POST", "/endpoints", &form);
        Self {
            scheme,
            secret: made.string("signing_secret"),
            id: made.string("id"),
            path: format!("/api/v1/webhook/{}", made.string("slug")),
            url: made.string("url"),
        }
    }

    /// How a destination signs what this endpoint takes.
    pub(crate) fn form(&self) -> Value {
        json!({"scheme": self.scheme, "secret": self.secret})
    }

    /// The headers that prove that body to be from who knows the secret.
    pub(crate) fn headers(&self, then: Timestamp, body: &[u8]) -> Vec<(String, String)> {
        let scheme = Preset::named(self.scheme).expect("a preset").description();
        let content = Signed { method: "POST", url: &self.url, body };
        let secret = Secret::from(self.secret.clone());
        let headers = scheme.sign(&secret, "msg_1", then, &content).expect("it signs");
        let text = |value: &[u8]| String::from_utf8(value.to_vec()).expect("it is ASCII");
        headers.iter().map(|(name, value)| (name.to_string(), text(value.as_bytes()))).collect()
    }

    /// Sends it that body, signed as of then.
    pub(crate) fn send_at(&self, server: &Server, then: Timestamp, body: &str) -> Answer {
        let request = Request::new("POST", &self.path).json(body);
        let request = self
            .headers(then, body.as_bytes())
            .iter()
            .fold(request, |request, (name, value)| request.header(name, value));
        server.connect().send(&request).expect("an answer")
    }

    pub(crate) fn send(&self, server: &Server, body: &str) -> Answer {
        self.send_at(server, SystemClock.now(), body)
    }

    /// The payloads of its events, byte for byte, the newest first.
    pub(crate) fn payloads(&self, server: &Server) -> Vec<Vec<u8>> {
        let listed = server.list(&format!("/events?endpoint={}", self.id));
        let read = |event: &Value| {
            let id = event["id"].as_str().expect("an id");
            call(server, "GET", &format!("/events/{id}/payload"), &Value::Null).body
        };
        listed.iter().map(read).collect()
    }
}
