//! What a form was filled in with when its page was loaded, so that saving it changes what was
//! changed in it, and not back what others have changed meanwhile.

use std::collections::BTreeMap;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ploy_webhooks::SecretDigest;
use serde_json::value::RawValue;

use super::form::{Fields, Members};

/// The field of a form that holds it.
const FIELD: &str = "loaded";
/// The members whose own members the API changes one by one.
const MERGED: [&str; 2] = ["headers", "limits"];

/// The digest of each member: as good as the members where all that is asked is whether one is
/// another now, and far shorter.
#[derive(Debug, Default)]
pub(super) struct Loaded(BTreeMap<String, String>);

impl Loaded {
    /// Of the members that a form makes up as it is loaded.
    pub(super) fn of(members: &Members) -> Self {
        let mut digests = BTreeMap::new();
        for (name, value) in members.iter() {
            match parts_of(name, value) {
                Some(parts) => digests.extend(
                    parts.iter().map(|(part, value)| (format!("{name}.{part}"), digest(value))),
                ),
                None => {
                    digests.insert(name.to_owned(), digest(value));
                }
            }
        }
        Self(digests)
    }

    /// As the form has sent it back. Where it has not, everything counts as changed.
    pub(super) fn sent(fields: &Fields) -> Self {
        Self(serde_json::from_str(fields.get(FIELD)).unwrap_or_default())
    }

    /// The text that the form is to send back.
    pub(super) fn to_text(&self) -> String {
        serde_json::to_string(&self.0).expect("digests have string keys only")
    }

    /// Those of the members that are others now.
    pub(super) fn changed(&self, members: &Members) -> Members {
        let mut changed = Members::default();
        for (name, value) in members.iter() {
            match parts_of(name, value) {
                Some(parts) => {
                    let parts = self.changed_parts(name, parts);
                    if !parts.is_empty() {
                        changed.set(name, parts);
                    }
                }
                None if self.0.get(name) != Some(&digest(value)) => changed.set(name, value),
                None => {}
            }
        }
        changed
    }

    /// The parts of a member that are others now; those that are gone are `null`.
    fn changed_parts(
        &self,
        name: &str,
        parts: BTreeMap<String, Box<RawValue>>,
    ) -> BTreeMap<String, Option<Box<RawValue>>> {
        let loaded = |part: &String| self.0.get(&format!("{name}.{part}"));
        let gone = self.0.keys().filter_map(|key| key.strip_prefix(name)?.strip_prefix('.'));
        let gone: Vec<_> = gone.filter(|part| !parts.contains_key(*part)).collect();
        let gone = gone.into_iter().map(|part| (part.to_owned(), None)).collect::<Vec<_>>();
        let is_changed = |part: &String, value: &RawValue| loaded(part) != Some(&digest(value));
        let there = parts.into_iter().filter(|(part, value)| is_changed(part, value));
        there.map(|(part, value)| (part, Some(value))).chain(gone).collect()
    }
}

/// The members of a member that is changed one by one.
fn parts_of(name: &str, value: &RawValue) -> Option<BTreeMap<String, Box<RawValue>>> {
    MERGED.contains(&name).then(|| serde_json::from_str(value.get()).ok())?
}

fn digest(value: &RawValue) -> String {
    URL_SAFE_NO_PAD.encode(SecretDigest::of(value.get()).as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn members(of: &[(&'static str, serde_json::Value)]) -> Members {
        let mut members = Members::default();
        of.iter().for_each(|(name, value)| members.set(name, value));
        members
    }

    #[test]
    fn what_is_as_it_was_loaded_is_not_among_the_changes() {
        let before = members(&[
            ("description", json!("a")),
            ("trigger", json!(null)),
            ("limits", json!({"rate": {"per_second": 5}, "quota": null})),
            ("headers", json!({"x-a": "1", "x-b": "2"})),
        ]);
        let loaded = Loaded::of(&before);
        assert_eq!(loaded.changed(&before).to_text(), "{}");
        let now = members(&[
            ("description", json!("b")),
            ("trigger", json!(null)),
            ("limits", json!({"rate": {"per_second": 5}, "quota": {"events": 1}})),
            ("headers", json!({"x-a": "1", "x-c": "3"})),
        ]);
        let changed: serde_json::Value =
            serde_json::from_str(&loaded.changed(&now).to_text()).unwrap();
        let expected = json!({"description": "b", "limits": {"quota": {"events": 1}},
            "headers": {"x-b": null, "x-c": "3"}});
        assert_eq!(changed, expected);
        let unsent = Loaded::sent(&Fields::default());
        assert_eq!(unsent.changed(&now).to_text(), now.to_text());
    }
}
