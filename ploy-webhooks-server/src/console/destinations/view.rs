//! A destination as the API answers it, in what the pages show.

use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;

use crate::console::endpoints::view::Rate;
use crate::console::page;
use crate::console::shown_once::ShownOnce;
use crate::console::text::{State, Text};
use crate::console::time::Moment;

/// A destination.
#[derive(Debug, Deserialize)]
pub(in crate::console) struct Destination {
    pub(in crate::console) id: Text,
    pub(in crate::console) description: Text,
    pub(in crate::console) url: Text,
    pub(in crate::console) status: State,
    pub(in crate::console) method: Text,
    pub(in crate::console) headers: Value,
    pub(in crate::console) body: Box<RawValue>,
    pub(in crate::console) missing: Text,
    pub(in crate::console) signing: Signing,
    pub(in crate::console) time_limit_seconds: u64,
    pub(in crate::console) retry: Value,
    pub(in crate::console) rate: Option<Rate>,
    pub(in crate::console) at_once: u64,
    pub(in crate::console) max_submissions: Option<u64>,
    pub(in crate::console) order_by: Option<Text>,
    pub(in crate::console) disable_after_seconds: Option<u64>,
    pub(in crate::console) state: Course,
    #[serde(default)]
    pub(in crate::console) secrets: Vec<Secret>,
    /// In the answers that set it.
    #[serde(default)]
    pub(in crate::console) signing_secret: Option<ShownOnce>,
}

/// How a receiver knows who sends.
#[derive(Debug, Deserialize)]
pub(in crate::console) struct Signing {
    pub(in crate::console) scheme: Text,
}

/// How deliveries go.
#[derive(Debug, Deserialize)]
pub(in crate::console) struct Course {
    pub(in crate::console) submissions: u64,
    pub(in crate::console) failing_since: Option<Moment>,
    pub(in crate::console) disabled: Option<Disabled>,
    pub(in crate::console) verified_at: Option<Moment>,
}

#[derive(Debug, Deserialize)]
pub(in crate::console) struct Disabled {
    pub(in crate::console) at: Moment,
    pub(in crate::console) reason: Text,
}

/// A signing secret, by its name.
#[derive(Debug, Deserialize)]
pub(in crate::console) struct Secret {
    pub(in crate::console) id: Text,
    pub(in crate::console) expires_at: Option<Moment>,
}

impl Destination {
    pub(in crate::console) fn page(&self) -> String {
        page::url(&["destinations", self.id.raw()])
    }

    /// What it is called on pages: nobody has to describe one.
    pub(in crate::console) fn title(&self) -> &Text {
        if self.description.is_empty() { &self.url } else { &self.description }
    }

    /// Whether somebody should look at it.
    pub(in crate::console) fn is_troubled(&self) -> bool {
        self.state.disabled.is_some()
            || self.state.failing_since.is_some()
            || self.status.is("unverified")
            || self.status.is("paused")
    }

    pub(in crate::console) fn signs(&self) -> bool {
        self.signing.scheme.raw() != "none"
    }
}
