//! What a run carries out: one task, or the first of several rules that holds.

use std::fmt;
use std::sync::Arc;

use serde::ser::SerializeMap;
use serde::{Deserialize, Serialize, Serializer};

use crate::id::{DestinationId, SubscriptionId};
use crate::ploybook::PloybookName;
use crate::run::Lane;

/// What a run carries out.
///
/// In JSON that of a [`Task`], or `{"rules":[…],"group":"leads"}`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "TriggerForm")]
#[expect(clippy::exhaustive_enums, reason = "whoever carries runs out acts on each of these")]
pub enum Trigger {
    /// One thing is done.
    Task(Task),
    /// The first rule whose condition holds, as the rules were when the event was accepted. The
    /// run decides; what is decided on is a run of its own.
    FirstOf(Route),
}

/// One thing that is done because of an event.
///
/// In JSON `{"ploybook":"page"}` or `{"destination":"dst_…"}`, with `"subscription":"sub_…"` beside
/// it where one had it run, and `"draft":true` where it is only recorded.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_structs, reason = "whoever carries runs out reads all of it")]
pub struct Task {
    /// What is done.
    pub action: Action,
    /// What had it run; `None` where that was the trigger of an endpoint.
    pub subscription: Option<SubscriptionId>,
    /// Whether it is not done, and only put on record: what had it run is not published yet.
    pub draft: bool,
}

/// What can be done because of an event.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_enums, reason = "whoever carries runs out acts on each of these")]
pub enum Action {
    /// A Ploybook is run.
    Ploybook(PloybookName),
    /// The event is delivered.
    Destination(DestinationId),
}

/// Rules of which one is followed at most.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_structs, reason = "what decides reads all of it")]
pub struct Route {
    /// The group that the rules make up; `None` for a rule that stands alone.
    pub group: Option<String>,
    /// The rules, in the order in which they are tried.
    pub rules: Arc<[Rule]>,
}

/// A condition, and what is done where it holds.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "RuleForm")]
#[expect(clippy::exhaustive_structs, reason = "what decides reads all of it")]
pub struct Rule {
    /// The subscription that the rule is.
    pub subscription: SubscriptionId,
    /// The condition, in CEL; `None` always holds.
    pub condition: Option<String>,
    /// What is done.
    pub action: Action,
    /// Whether it is only put on record, as in [`Task::draft`].
    pub draft: bool,
}

impl Trigger {
    /// The trigger of an endpoint that is wired to that Ploybook.
    #[must_use]
    pub const fn ploybook(name: PloybookName) -> Self {
        Self::Task(Task { action: Action::Ploybook(name), subscription: None, draft: false })
    }

    /// The destination that the run delivers to, if that is what it does.
    #[must_use]
    pub const fn destination(&self) -> Option<DestinationId> {
        match self {
            Self::Task(Task { action: Action::Destination(id), .. }) => Some(*id),
            Self::Task(_) | Self::FirstOf(_) => None,
        }
    }

    /// The lane of a run that carries this out, of an event from that lane: each destination has
    /// one of its own, whatever is delivered there.
    #[must_use]
    pub fn lane(&self, origin: Lane) -> Lane {
        self.destination().map_or(origin, Lane::Destination)
    }
}

impl Rule {
    /// What is done where the rule is followed.
    #[must_use]
    pub fn task(&self) -> Task {
        let Self { subscription, action, draft, .. } = self;
        Task { action: action.clone(), subscription: Some(*subscription), draft: *draft }
    }
}

impl Action {
    fn serialize_into<M: SerializeMap>(&self, form: &mut M) -> Result<(), M::Error> {
        match self {
            Self::Ploybook(name) => form.serialize_entry("ploybook", name.as_str()),
            Self::Destination(id) => form.serialize_entry("destination", id),
        }
    }

    /// The one that is there of the two.
    pub(crate) fn of_form(
        ploybook: Option<PloybookName>,
        destination: Option<DestinationId>,
    ) -> Result<Self, &'static str> {
        match (ploybook, destination) {
            (Some(name), None) => Ok(Self::Ploybook(name)),
            (None, Some(id)) => Ok(Self::Destination(id)),
            _ => Err("expected either `ploybook` or `destination`"),
        }
    }
}

/// As a Ploybook `` `page` ``, or a destination `dst_…`.
impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ploybook(name) => write!(f, "the Ploybook `{name}`"),
            Self::Destination(id) => write!(f, "the destination {id}"),
        }
    }
}

/// Written by hand, without a copy in between: every event that owes a run pays for it.
impl Serialize for Trigger {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut form = serializer.serialize_map(None)?;
        match self {
            Self::Task(Task { action, subscription, draft }) => {
                action.serialize_into(&mut form)?;
                if let Some(subscription) = subscription {
                    form.serialize_entry("subscription", subscription)?;
                }
                if *draft {
                    form.serialize_entry("draft", draft)?;
                }
            }
            Self::FirstOf(Route { group, rules }) => {
                if let Some(group) = group {
                    form.serialize_entry("group", group)?;
                }
                form.serialize_entry("rules", &rules[..])?;
            }
        }
        form.end()
    }
}

impl Serialize for Rule {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Self { subscription, condition, action, draft } = self;
        let mut form = serializer.serialize_map(None)?;
        form.serialize_entry("subscription", subscription)?;
        if let Some(condition) = condition {
            form.serialize_entry("condition", condition)?;
        }
        action.serialize_into(&mut form)?;
        if *draft {
            form.serialize_entry("draft", draft)?;
        }
        form.end()
    }
}

/// A trigger's form in JSON.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct TriggerForm {
    ploybook: Option<PloybookName>,
    destination: Option<DestinationId>,
    subscription: Option<SubscriptionId>,
    #[serde(default)]
    draft: bool,
    group: Option<String>,
    rules: Option<Vec<Rule>>,
}

impl TryFrom<TriggerForm> for Trigger {
    type Error = &'static str;

    fn try_from(form: TriggerForm) -> Result<Self, Self::Error> {
        let TriggerForm { ploybook, destination, subscription, draft, group, rules } = form;
        match rules {
            None if group.is_none() => {
                let action = Action::of_form(ploybook, destination)?;
                Ok(Self::Task(Task { action, subscription, draft }))
            }
            Some(rules)
                if ploybook.is_none()
                    && destination.is_none()
                    && subscription.is_none()
                    && !draft =>
            {
                Ok(Self::FirstOf(Route { group, rules: rules.into() }))
            }
            _ => Err("a trigger has one of `ploybook`, `destination` and `rules`"),
        }
    }
}

/// A rule's form in JSON.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RuleForm {
    subscription: SubscriptionId,
    condition: Option<String>,
    ploybook: Option<PloybookName>,
    destination: Option<DestinationId>,
    #[serde(default)]
    draft: bool,
}

impl TryFrom<RuleForm> for Rule {
    type Error = &'static str;

    fn try_from(form: RuleForm) -> Result<Self, Self::Error> {
        let RuleForm { subscription, condition, ploybook, destination, draft } = form;
        let action = Action::of_form(ploybook, destination)?;
        Ok(Self { subscription, condition, action, draft })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn triggers_keep_their_json_form() {
        for form in [
            serde_json::json!({"ploybook": "page"}),
            serde_json::json!({"ploybook": "page", "subscription": SubscriptionId::from_bytes([7; 16])}),
            serde_json::json!({
                "destination": DestinationId::from_bytes([9; 16]),
                "subscription": SubscriptionId::from_bytes([7; 16]), "draft": true,
            }),
            serde_json::json!({"group": "leads", "rules": [
                {"subscription": SubscriptionId::from_bytes([7; 16]), "condition": "true", "ploybook": "page"},
                {"subscription": SubscriptionId::from_bytes([8; 16]), "ploybook": "page", "draft": true},
                {"subscription": SubscriptionId::from_bytes([9; 16]), "destination": DestinationId::from_bytes([9; 16])},
            ]}),
        ] {
            let trigger: Trigger = serde_json::from_value(form.clone()).unwrap();
            assert_eq!(serde_json::to_value(trigger).unwrap(), form);
        }
        for form in [
            serde_json::json!({}),
            serde_json::json!({"ploybook": "page", "rules": []}),
            serde_json::json!({"ploybook": "page", "x": 1}),
            serde_json::json!({"ploybook": "page", "destination": DestinationId::from_bytes([9; 16])}),
            serde_json::json!({"draft": true, "rules": []}),
            serde_json::json!({"group": "leads"}),
        ] {
            assert!(serde_json::from_value::<Trigger>(form.clone()).is_err(), "{form}");
        }
    }
}
