//! Ids and slugs have one spelling: what is read is written the same.
#![no_main]

use libfuzzer_sys::fuzz_target;
use ploy_webhooks::{EndpointId, EventId, RunId, Slug, WorkspaceId};

fuzz_target!(|text: &str| {
    if let Ok(slug) = text.parse::<Slug>() {
        assert_eq!(slug.as_str(), text);
        assert!(text.bytes().all(|byte| byte.is_ascii_graphic()) && text.len() <= 64);
    }
    if let Ok(id) = text.parse::<EndpointId>() {
        assert_eq!(id.to_string(), text);
    }
    if let Ok(id) = text.parse::<EventId>() {
        assert_eq!(id.to_string(), text);
    }
    if let Ok(id) = text.parse::<RunId>() {
        assert_eq!(id.to_string(), text);
    }
    if let Ok(id) = text.parse::<WorkspaceId>() {
        assert_eq!(id.to_string(), text);
    }
});
