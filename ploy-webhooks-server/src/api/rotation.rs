//! The body of a call that rotates a secret.

use std::time::Duration;

use ploy_webhooks::Secret;
use schemars::JsonSchema;
use serde::Deserialize;

use super::problem::Problem;

const OVERLAP_SECONDS_MAX: u64 = 30 * 86_400;

/// The body of `POST /endpoints/{id}/rotate` and its like.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Rotation {
    /// For how long the secrets before it stay valid.
    #[serde(default)]
    #[schemars(range(max = OVERLAP_SECONDS_MAX))]
    overlap_seconds: u64,
    /// Where it is not for us to mint it.
    #[serde(default)]
    #[schemars(with = "Option<String>")]
    secret: Option<SecretText>,
}

/// A secret in a request: nothing of it is in an error or in `Debug`.
#[derive(Debug, Deserialize)]
#[serde(from = "String")]
struct SecretText(Secret);

impl From<String> for SecretText {
    fn from(text: String) -> Self {
        Self(Secret::from(text))
    }
}

impl Rotation {
    /// The secret that is given, and for how long those before it stay valid.
    pub(super) fn into_parts(self) -> Result<(Option<Secret>, Duration), Problem> {
        if self.overlap_seconds > OVERLAP_SECONDS_MAX {
            return Err(Problem::invalid("`overlap_seconds` is 0 to 2592000 (30 days)"));
        }
        let secret = self.secret.map(|SecretText(secret)| secret);
        Ok((secret, Duration::from_secs(self.overlap_seconds)))
    }
}
