//! Lists: a page, and the cursor to the next one.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ploy_webhooks::store::PageSize;
use schemars::JsonSchema;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::problem::Problem;
use super::query::Parameters;

/// A page of a list.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "{T}List")]
pub(super) struct List<T> {
    pub(super) data: Vec<T>,
    /// Where the next page begins; `null` at the end.
    pub(super) next_cursor: Option<String>,
}

/// A cursor is opaque to whoever carries it: what it holds may change from version to version.
pub(super) fn to_cursor<T: Serialize>(position: &T) -> String {
    let json = serde_json::to_vec(position).expect("positions have a JSON form");
    URL_SAFE_NO_PAD.encode(json)
}

pub(super) fn take_cursor<T: DeserializeOwned>(
    parameters: &mut Parameters,
) -> Result<Option<T>, Problem> {
    parameters.take("cursor", |text| from_cursor(text).ok_or("not a cursor of this list"))
}

/// What a cursor holds; `None` where it is none.
pub(super) fn from_cursor<T: DeserializeOwned>(text: &str) -> Option<T> {
    let json = URL_SAFE_NO_PAD.decode(text).ok()?;
    serde_json::from_slice(&json).ok()
}

pub(super) fn take_limit(parameters: &mut Parameters) -> Result<Option<PageSize>, Problem> {
    parameters.take("limit", |text| {
        text.parse().ok().and_then(PageSize::new).ok_or("not a number from 1 to 200")
    })
}
