//! An event as the API answers it, in what the pages show.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde::de::IgnoredAny;

use crate::console::page;
use crate::console::payload::Excerpt;
use crate::console::runs::Run;
use crate::console::text::Text;
use crate::console::time::Moment;

/// An event in a list.
#[derive(Debug, Deserialize)]
pub(in crate::console) struct Summary {
    pub(in crate::console) id: Text,
    pub(in crate::console) endpoint_id: Option<Text>,
    pub(in crate::console) received_at: Moment,
    #[serde(rename = "type")]
    pub(in crate::console) event_type: Option<Text>,
    pub(in crate::console) size: u64,
    pub(in crate::console) source: Option<Text>,
    /// Where what was searched for stands in its payload.
    #[serde(skip)]
    pub(in crate::console) excerpt: Option<Excerpt>,
}

/// An event by itself, but for its payload: that is asked for as it came.
#[derive(Debug, Deserialize)]
pub(in crate::console) struct Event {
    #[serde(flatten)]
    pub(in crate::console) summary: Summary,
    /// Passed over, however deep it is: whatever is not named here is put into a tree.
    #[serde(rename = "payload")]
    _payload: IgnoredAny,
    pub(in crate::console) headers: BTreeMap<String, Text>,
    pub(in crate::console) runs: Vec<Run>,
}

impl Summary {
    pub(in crate::console) fn page(&self) -> String {
        page::url(&["events", self.id.raw()])
    }

    /// The page of the endpoint that it came by, if it came by one.
    pub(in crate::console) fn endpoint_page(&self) -> Option<String> {
        self.endpoint_id.as_ref().map(|id| page::url(&["endpoints", id.raw()]))
    }

    /// Its size in its largest unit.
    pub(in crate::console) fn bytes(&self) -> String {
        let in_units = |unit: u64, name: &str| {
            let tenths = self.size.saturating_mul(10) / unit;
            format!("{}.{} {name}", tenths / 10, tenths % 10)
        };
        match self.size {
            size @ 0..1_024 => format!("{size} B"),
            1_024..1_048_576 => in_units(1 << 10, "KiB"),
            _ => in_units(1 << 20, "MiB"),
        }
    }
}
