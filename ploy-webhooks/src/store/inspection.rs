//! What a store is found to be, without opening it.

use super::error::StoreError;

/// What is found of a store that is not opened: for who wants to know beforehand whether it would be.
#[derive(Debug)]
#[expect(clippy::exhaustive_structs, reason = "every store builds it from what it has found")]
pub struct Inspection {
    /// The engine and its version, for people.
    pub engine: String,
    /// Whether what is kept is laid out as this version of the store lays it out.
    pub format: Format,
    /// The settings of the engine that matter, each by its name: of several servers, for each.
    pub settings: Vec<(String, String)>,
    /// Why the store would not be opened, if it would not.
    pub refusal: Option<StoreError>,
}

/// Whether what is kept is laid out as this version of a store lays it out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_enums, reason = "whoever inspects acts on each of these")]
pub enum Format {
    /// There is no store yet: to open it makes it.
    Missing,
    /// It is of an earlier version: to open it brings it up to date.
    Behind {
        /// Its version.
        version: u32,
        /// The version that it will be of.
        needs: u32,
    },
    /// It is up to date.
    Current {
        /// Its version.
        version: u32,
    },
}

impl Format {
    /// The format of a store of that version, where this one is needed. Of a later one too, which is
    /// refused by who finds it.
    #[must_use]
    pub const fn of(version: u32, needs: u32) -> Self {
        match version < needs {
            true => Self::Behind { version, needs },
            false => Self::Current { version },
        }
    }
}
