//! The tools, by what they work on.

mod endpoints;
mod events;
mod runs;

use schemars::JsonSchema;
use serde::Deserialize;

use crate::api_client::Call;

/// Which page of a list.
#[derive(Debug, Default, Deserialize, JsonSchema)]
struct Page {
    /// How many at most: 1 to 200. Default: 20.
    #[schemars(range(min = 1, max = 200))]
    limit: Option<u16>,
    /// Where to go on: next_cursor of the page before.
    cursor: Option<String>,
}

/// An agent reads all of a page, and asks for more where it has to.
const USUAL_LIMIT: u16 = 20;

impl Page {
    fn of(&self, call: Call) -> Call {
        let limit = self.limit.unwrap_or(USUAL_LIMIT).to_string();
        call.with("limit", &limit).with_some("cursor", self.cursor.as_deref().unwrap_or_default())
    }
}
