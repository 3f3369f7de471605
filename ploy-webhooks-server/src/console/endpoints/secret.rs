//! The page that shows a key or a secret, this once, and how to send with it.

use askama::Template;
use axum::response::Response;
use http::StatusCode;

use super::proof::Proof;
use super::view::Endpoint;
use crate::console::page::{Frame, Section, html};
use crate::console::shell_word::quoted;
use crate::console::visitor::Visitor;

const EXAMPLE: &str = r#"{"hello":"world"}"#;

#[derive(Template)]
#[template(path = "endpoint_secret.html")]
struct SecretPage<'a> {
    frame: Frame,
    title: &'static str,
    endpoint: &'a Endpoint,
    what: &'static str,
    secret: &'a str,
    command: Option<String>,
}

/// The answer to a form that has set a secret: nothing else ever shows it.
pub(super) fn shown(
    visitor: &Visitor,
    title: &'static str,
    status: StatusCode,
    endpoint: &Endpoint,
) -> Option<Response> {
    let (what, secret) = match (&endpoint.api_key, &endpoint.signing_secret) {
        (Some(key), _) => ("API key", key.expose()),
        (None, Some(secret)) => ("Signing secret", secret.expose()),
        (None, None) => return None,
    };
    let page = SecretPage {
        frame: visitor.frame(Section::Endpoints),
        title,
        endpoint,
        what,
        secret,
        command: command(endpoint, secret),
    };
    Some(html(status, &page))
}

/// A command that sends an event, where whoever has the secret can send one.
fn command(endpoint: &Endpoint, secret: &str) -> Option<String> {
    let url = quoted(endpoint.url.raw());
    let scheme = endpoint.auth.scheme.raw();
    let curl = |proof: &str| {
        format!(
            "curl -X POST {url} \\\n  -H {} \\\n  -H 'Content-Type: application/json' \\\n  -d {}",
            quoted(proof),
            quoted(EXAMPLE)
        )
    };
    match Proof::of(endpoint)? {
        Proof::Key => Some(curl(&format!("Authorization: Bearer {secret}"))),
        Proof::Token(header) => Some(curl(&format!("{header}: {secret}"))),
        // The sender's public key, likewise.
        Proof::Signature if secret.starts_with("whpk_") => None,
        Proof::Signature => Some(format!(
            "echo {} | PLOY_SECRET={} \\\n  ploy-webhooks send --url {url} --scheme {}",
            quoted(EXAMPLE),
            quoted(secret),
            quoted(scheme)
        )),
    }
}
