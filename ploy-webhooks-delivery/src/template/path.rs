//! Paths: where a field is, such as `contact.emails[0]`.

use super::tree::{self, Members};
use minijinja::Value;

/// What a path begins at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Root {
    Event,
    Delivery,
    Fields,
    Payload,
}

#[derive(Debug)]
pub(super) enum Step {
    Member(Box<str>),
    /// From the end where it is negative. In an object, the member of that name.
    Item(i64),
}

/// Where a field is.
#[derive(Debug)]
pub(super) struct Path {
    pub(super) written: Box<str>,
    pub(super) root: Root,
    pub(super) steps: Vec<Step>,
    /// Whether a `default` or an `is defined` follows.
    pub(super) is_optional: bool,
}

impl Path {
    /// The path that begins with a name.
    pub(super) fn from(name: &str) -> Self {
        let (root, steps) = match name {
            "event" => (Root::Event, Vec::new()),
            "delivery" => (Root::Delivery, Vec::new()),
            "fields" => (Root::Fields, Vec::new()),
            "payload" => (Root::Payload, Vec::new()),
            _ => (Root::Payload, vec![Step::Member(name.into())]),
        };
        Self { written: name.into(), root, steps, is_optional: false }
    }

    /// What there is under `event` and `delivery`, where this path leads to something else.
    pub(super) fn wrong_name(&self) -> Option<&'static str> {
        let (names, known) = match self.root {
            Root::Event => (
                &Members::EVENT[..],
                "`id`, `type`, `received_at`, `endpoint_id` and `workspace_id`",
            ),
            Root::Delivery => (&Members::DELIVERY[..], "`id` and `attempt`"),
            Root::Fields | Root::Payload => return None,
        };
        let is_known = match &self.steps[..] {
            [] => true,
            [Step::Member(name)] => names.contains(&&**name),
            _ => false,
        };
        (!is_known).then_some(known)
    }

    /// What it leads to from there.
    pub(super) fn follow<'tree>(&self, root: &'tree Value) -> Option<&'tree Value> {
        self.steps.iter().try_fold(root, |value, step| match step {
            Step::Member(name) => tree::member(value, name),
            Step::Item(place) => tree::item(value, *place),
        })
    }
}
