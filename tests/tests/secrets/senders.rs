//! Senders that sign, rightly and wrongly.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use ed25519_dalek::{Signer, SigningKey};
use ploy_webhooks::verify::{SignatureScheme, Signed};
use ploy_webhooks::{Secret, Timestamp};
use ploy_webhooks_tests::Request;
use serde_json::Value;

/// Discord's: nobody but the sender has the private key.
const PRIVATE_KEY: [u8; 32] = [7; 32];

/// Who signs events for one endpoint.
#[derive(Clone)]
pub(crate) struct Sender {
    pub(crate) scheme: SignatureScheme,
    pub(crate) secret: String,
    pub(crate) id: String,
    pub(crate) path: String,
    url: String,
}

impl Sender {
    /// By an answer that shows the secret.
    pub(crate) fn of(scheme: &SignatureScheme, made: &Value) -> Self {
        let text = |name: &str| made[name].as_str().unwrap_or_else(|| panic!("{made}")).to_owned();
        Self {
            scheme: scheme.clone(),
            secret: text("signing_secret"),
            id: text("id"),
            path: format!("/api/v1/webhook/{}", text("slug")),
            url: text("url"),
        }
    }

    /// Another secret of the same form.
    pub(crate) fn with_another_secret(&self, text: &str) -> Self {
        Self { secret: secret_of(text), ..self.clone() }
    }

    /// This body, signed as of then, and the value of the signature's header.
    pub(crate) fn event(&self, then: Timestamp, body: &str) -> (Request, String) {
        let headers = match self.scheme.header.as_str() {
            "x-signature-ed25519" => by_private_key(then, body),
            _ => self.by_secret(then, body),
        };
        let request = Request::new("POST", &self.path).json(body);
        let signature = headers[0].1.clone();
        let add = |request: Request, (name, value): (String, String)| request.header(&name, &value);
        (headers.into_iter().fold(request, add), signature)
    }

    fn by_secret(&self, then: Timestamp, body: &str) -> Vec<(String, String)> {
        let request = Signed { method: "POST", url: &self.url, body: body.as_bytes() };
        let secret = Secret::from(self.secret.clone());
        let id = format!("msg_{:016x}", fastrand::u64(..));
        let headers = self.scheme.sign(&secret, &id, then, &request).expect("it signs");
        let text = |value: &[u8]| String::from_utf8(value.to_vec()).expect("it is ASCII");
        headers.iter().map(|(name, value)| (name.to_string(), text(value.as_bytes()))).collect()
    }
}

fn by_private_key(then: Timestamp, body: &str) -> Vec<(String, String)> {
    let time = (then.as_millis() / 1_000).to_string();
    let signature = SigningKey::from_bytes(&PRIVATE_KEY).sign(format!("{time}{body}").as_bytes());
    vec![
        ("x-signature-ed25519".to_owned(), digits(&signature.to_bytes())),
        ("x-signature-timestamp".to_owned(), time),
    ]
}

/// In the form that every scheme takes whose secrets are shared.
pub(crate) fn secret_of(text: &str) -> String {
    format!("whsec_{}", STANDARD.encode(text))
}

/// Discord's, which is no secret.
pub(crate) fn public_key() -> String {
    digits(SigningKey::from_bytes(&PRIVATE_KEY).verifying_key().as_bytes())
}

fn digits(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
