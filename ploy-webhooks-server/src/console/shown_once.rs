//! A key, a secret or a token, on its way from the answer that mints it to the page that shows it.

use std::fmt;

use serde::Deserialize;

/// What is shown this once. `Debug` prints nothing of it.
#[derive(Deserialize)]
#[serde(transparent)]
pub(super) struct ShownOnce(String);

impl ShownOnce {
    pub(super) fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for ShownOnce {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ShownOnce(…)")
    }
}
