//! The schemes of senders that people really use, as data: `presets.json`.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use super::scheme::SignatureScheme;

/// A signature scheme that comes with the crate.
#[derive(Clone, Copy, Debug)]
pub struct Preset {
    name: &'static str,
    scheme: &'static SignatureScheme,
}

static PRESETS: LazyLock<BTreeMap<&'static str, SignatureScheme>> = LazyLock::new(|| {
    serde_json::from_str(include_str!("presets.json")).expect("the presets are descriptions")
});

impl Preset {
    /// The preset of that name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        PRESETS.get_key_value(name).map(|(name, scheme)| Self { name, scheme })
    }

    /// All of them, in the order of their names.
    pub fn all() -> impl Iterator<Item = Self> {
        PRESETS.iter().map(|(name, scheme)| Self { name, scheme })
    }

    /// Its name.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        self.name
    }

    /// What it says.
    #[must_use]
    pub const fn description(&self) -> &'static SignatureScheme {
        self.scheme
    }
}

impl PartialEq for Preset {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name
    }
}

impl Eq for Preset {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_preset_is_written_as_it_is_read() {
        let written: serde_json::Value =
            serde_json::from_str(include_str!("presets.json")).unwrap();
        assert_eq!(Preset::all().count(), 19);
        for preset in Preset::all() {
            let text = serde_json::to_string(preset.description()).unwrap();
            let read: SignatureScheme = serde_json::from_str(&text).unwrap();
            assert_eq!(read, *preset.description(), "{}", preset.name());
            let header = written[preset.name()]["header"].as_str().unwrap();
            assert!(preset.description().header == header, "{}", preset.name());
        }
    }
}
