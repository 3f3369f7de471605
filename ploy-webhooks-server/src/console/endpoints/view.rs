//! An endpoint as the API answers it, in what the pages show.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::value::RawValue;

use crate::console::shown_once::ShownOnce;
use crate::console::text::{State, Text};
use crate::console::time::Moment;

/// An endpoint.
#[derive(Debug, Deserialize)]
pub(in crate::console) struct Endpoint {
    pub(in crate::console) id: Text,
    pub(in crate::console) slug: Text,
    pub(in crate::console) url: Text,
    pub(in crate::console) description: Text,
    pub(in crate::console) status: State,
    pub(in crate::console) created_at: Moment,
    pub(in crate::console) auth: Auth,
    #[serde(default)]
    pub(in crate::console) credentials: Vec<Credential>,
    #[serde(default)]
    pub(in crate::console) trigger: Option<Trigger>,
    #[serde(default)]
    pub(in crate::console) limits: Limits,
    #[serde(default)]
    pub(in crate::console) dedup: Option<Dedup>,
    #[serde(default)]
    pub(in crate::console) allow: Option<Vec<Text>>,
    #[serde(default)]
    pub(in crate::console) event_type: Option<Box<RawValue>>,
    #[serde(default)]
    pub(in crate::console) fields: Option<Box<RawValue>>,
    /// In the answer that shows one endpoint.
    #[serde(default)]
    pub(in crate::console) activity: Option<Activity>,
    /// In the answers that set it.
    #[serde(default)]
    pub(in crate::console) api_key: Option<ShownOnce>,
    #[serde(default)]
    pub(in crate::console) signing_secret: Option<ShownOnce>,
}

/// How senders prove who they are.
#[derive(Debug, Deserialize)]
pub(in crate::console) struct Auth {
    pub(in crate::console) scheme: Text,
    #[serde(default)]
    pub(in crate::console) tolerance_seconds: Option<u32>,
    #[serde(default)]
    pub(in crate::console) once: Option<bool>,
}

/// A key or a secret, by its name.
#[derive(Debug, Deserialize)]
pub(in crate::console) struct Credential {
    pub(in crate::console) id: Text,
    pub(in crate::console) expires_at: Option<Moment>,
    #[serde(default)]
    pub(in crate::console) uses: u64,
    #[serde(default)]
    pub(in crate::console) last_used_at: Option<Moment>,
}

/// What its events run.
#[derive(Debug, Deserialize)]
pub(in crate::console) struct Trigger {
    pub(in crate::console) ploybook: Text,
}

/// Its bounds.
#[derive(Debug, Default, Deserialize)]
pub(in crate::console) struct Limits {
    #[serde(default)]
    pub(in crate::console) rate: Option<Rate>,
    #[serde(default)]
    pub(in crate::console) quota: Option<Quota>,
    #[serde(default)]
    pub(in crate::console) body_bytes: Option<u64>,
}

#[derive(Debug, Deserialize)]
pub(in crate::console) struct Rate {
    pub(in crate::console) per_second: u64,
    #[serde(default)]
    pub(in crate::console) burst: Option<u64>,
}

#[derive(Debug, Deserialize)]
pub(in crate::console) struct Quota {
    pub(in crate::console) events: u64,
    #[serde(default)]
    pub(in crate::console) period_seconds: Option<u64>,
}

/// How a repeat is recognised.
#[derive(Debug, Deserialize)]
pub(in crate::console) struct Dedup {
    #[serde(default)]
    pub(in crate::console) header: Option<Text>,
    #[serde(default)]
    pub(in crate::console) pointers: Option<Vec<Text>>,
    #[serde(default)]
    pub(in crate::console) body: Option<bool>,
    #[serde(default)]
    pub(in crate::console) off: Option<bool>,
    #[serde(default)]
    pub(in crate::console) window_seconds: u64,
    #[serde(default)]
    pub(in crate::console) required: bool,
}

/// What it was sent.
#[derive(Debug, Deserialize)]
pub(in crate::console) struct Activity {
    #[serde(default)]
    pub(in crate::console) quota: Option<QuotaUse>,
    /// By the code of the answer.
    #[serde(default)]
    pub(in crate::console) refused: BTreeMap<String, Refused>,
}

#[derive(Debug, Deserialize)]
pub(in crate::console) struct QuotaUse {
    pub(in crate::console) events: u64,
    pub(in crate::console) used: u64,
    pub(in crate::console) resets_at: Option<Moment>,
}

#[derive(Debug, Deserialize)]
pub(in crate::console) struct Refused {
    pub(in crate::console) count: u64,
    pub(in crate::console) last_at: Moment,
}

impl Endpoint {
    /// What it is called on pages: nobody has to describe one.
    pub(in crate::console) fn title(&self) -> &Text {
        if self.description.is_empty() { &self.slug } else { &self.description }
    }

    /// The page of it.
    pub(in crate::console) fn page(&self) -> String {
        crate::console::page::url(&["endpoints", self.id.raw()])
    }

    pub(in crate::console) fn is_paused(&self) -> bool {
        self.status.is("paused")
    }

    /// Whether it takes keys, which are minted and never given.
    pub(in crate::console) fn takes_keys(&self) -> bool {
        self.auth.scheme.raw() == "api-key"
    }
}
