//! How senders prove who they are.

use ploy_webhooks::verify::Preset;
use schemars::{JsonSchema, json_schema};

use super::endpoint::ValueSource;
use super::text::{may_be_left_out, one_of, schemas};

/// How senders are to prove who they are.
#[derive(JsonSchema)]
#[serde(untagged, deny_unknown_fields)]
pub(in crate::api) enum AuthForm {
    /// A key, which is minted.
    ApiKey {
        #[schemars(extend("const" = "api-key"))]
        scheme: String,
    },
    /// A signature by a scheme that has a name.
    Preset {
        scheme: PresetName,
        /// Minted where it is left out, if the scheme lets us.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        #[schemars(with = "String")]
        secret: Option<String>,
        #[serde(default = "five_minutes")]
        #[schemars(range(min = 1, max = 86_400))]
        tolerance_seconds: u32,
        /// Whether what is signed is taken once.
        #[serde(default)]
        once: bool,
    },
    /// A signature by a scheme that is described.
    Custom(CustomAuth),
}

/// A signature by a scheme that is described here.
#[derive(JsonSchema)]
pub(in crate::api) struct CustomAuth {
    #[schemars(extend("const" = "custom"))]
    scheme: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "String")]
    secret: Option<String>,
    #[serde(default = "five_minutes")]
    #[schemars(range(min = 1, max = 86_400))]
    tolerance_seconds: u32,
    #[serde(default)]
    once: bool,
    #[serde(flatten)]
    described: SignatureScheme,
}

const fn five_minutes() -> u32 {
    300
}

/// Where a signature is, what it signs, how its secret is written.
#[derive(JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::api) struct SignatureScheme {
    /// The header that the signature is in.
    header: SignatureHeader,
    /// Where the signature stands in it: as the header looks, with `{signature}` and `{timestamp}` in
    /// their places.
    #[serde(default = "alone", skip_serializing_if = "may_be_left_out")]
    layout: String,
    #[serde(default, skip_serializing_if = "may_be_left_out")]
    digest: Digest,
    #[serde(default, skip_serializing_if = "may_be_left_out")]
    encoding: Encoding,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    timestamp: Option<TimestampSource>,
    /// The header of the id that is signed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    id: Option<SignatureHeader>,
    /// What is signed: `{id}`, `{timestamp}`, `{method}`, `{url}`, `{body}`, and what stands between
    /// them.
    #[serde(default = "body")]
    signed: String,
    #[serde(default, skip_serializing_if = "may_be_left_out")]
    secret_form: SecretForm,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    alternative: Option<Method>,
    /// Where the id of a delivery is, which is the same for its repeats.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    delivery: Option<ValueSource>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    event_type: Option<ValueSource>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    handshake: Option<Handshake>,
}

fn alone() -> String {
    "{signature}".to_owned()
}

fn body() -> String {
    "{body}".to_owned()
}

/// Another way in which it may be made; the form of a secret tells which.
#[derive(JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "SignatureMethod")]
pub(super) struct Method {
    #[serde(default = "alone", skip_serializing_if = "may_be_left_out")]
    layout: String,
    #[serde(default, skip_serializing_if = "may_be_left_out")]
    digest: Digest,
    #[serde(default, skip_serializing_if = "may_be_left_out")]
    encoding: Encoding,
    #[serde(default, skip_serializing_if = "may_be_left_out")]
    secret_form: SecretForm,
}

/// How a secret is written.
#[derive(Default, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(rename = "SecretFormat")]
pub(super) struct SecretForm {
    /// What stands before it and is no part of it.
    #[serde(skip_serializing_if = "may_be_left_out")]
    prefix: String,
    encoding: SecretEncoding,
}

/// Where the time is that is signed.
#[derive(JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct TimestampSource {
    /// The header that it is in; left out, it is beside the signature, where `layout` says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    header: Option<SignatureHeader>,
    unit: Unit,
}

schemas! {
    PresetName = one_of(Preset::all().map(|preset| preset.name()));
    Digest = one_of(["hmac-sha256", "hmac-sha512", "hmac-sha1", "ed25519", "token"]);
    Encoding = one_of(["hex", "base64"]);
    SecretEncoding = one_of(["raw", "hex", "base64"]);
    Unit = one_of(["s", "ms"]);
    Handshake = one_of(["slack", "zoom", "discord", "confirmation-token"]);
    SignatureHeader = json_schema!({
        "type": "string", "minLength": 1, "pattern": "^[!#$%&'*+.^_`|~0-9A-Za-z-]+$",
    });
}
