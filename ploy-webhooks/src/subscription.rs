//! A subscription: which events of a workspace run what.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::endpoint::Endpoint;
use crate::event::EventType;
use crate::id::{EndpointId, SubscriptionId};
use crate::ploybook::PloybookName;
use crate::run::{Route, Rule, Trigger};

/// Events of these endpoints and types, that meet a condition, run this.
///
/// Of the subscriptions of one group, the first whose condition holds is followed, in the order of
/// their positions. One without a group is followed whatever others do.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct Subscription {
    /// For people.
    #[serde(default)]
    pub description: String,
    /// Whether it is followed.
    #[serde(default = "enabled")]
    pub enabled: bool,
    /// The endpoints whose events are meant; empty is all of the workspace.
    #[serde(default)]
    pub endpoints: Vec<EndpointId>,
    /// The types of events that are meant; empty is all, and events without a type too.
    #[serde(default)]
    pub types: Vec<TypePattern>,
    /// The condition, in CEL; `None` always holds.
    #[serde(default)]
    pub condition: Option<String>,
    /// What is run.
    pub ploybook: PloybookName,
    /// The group of which it is one.
    #[serde(default)]
    pub group: Option<String>,
    /// Its place in the group; where two are equal, the older one comes first.
    #[serde(default)]
    pub position: u32,
}

const fn enabled() -> bool {
    true
}

/// What is wrong with a subscription, for who sets it. Whether the condition can be understood is
/// not looked at here.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum SubscriptionError {
    /// The description is too long.
    #[error("`description` has at most 500 characters")]
    Description,
    /// Too many endpoints.
    #[error("`endpoints` has at most 100 ids")]
    Endpoints,
    /// Too many types.
    #[error("`types` has at most 100 patterns")]
    Types,
    /// The condition is empty or too long.
    #[error("`condition` has 1 to 2048 bytes")]
    Condition,
    /// The name of the group is empty, too long or cannot be shown.
    #[error("`group` has 1 to 100 characters and no control characters")]
    Group,
}

impl Subscription {
    /// The most subscriptions of a workspace: each is looked at for every event.
    pub const COUNT_MAX: u16 = 200;

    /// One that has every event run that Ploybook.
    #[must_use]
    pub const fn to(ploybook: PloybookName) -> Self {
        Self {
            description: String::new(),
            enabled: true,
            endpoints: Vec::new(),
            types: Vec::new(),
            condition: None,
            ploybook,
            group: None,
            position: 0,
        }
    }

    /// Whether everything is within its bounds.
    ///
    /// # Errors
    ///
    /// The first bound that is broken.
    pub fn check(&self) -> Result<(), SubscriptionError> {
        let is_name = |group: &String| {
            let chars = group.chars().count();
            (1..=100).contains(&chars) && !group.chars().any(char::is_control)
        };
        let is_condition = |condition: &String| (1..=2_048).contains(&condition.len());
        if self.description.chars().count() > 500 {
            Err(SubscriptionError::Description)
        } else if self.endpoints.len() > 100 {
            Err(SubscriptionError::Endpoints)
        } else if self.types.len() > 100 {
            Err(SubscriptionError::Types)
        } else if !self.condition.as_ref().is_none_or(is_condition) {
            Err(SubscriptionError::Condition)
        } else if !self.group.as_ref().is_none_or(is_name) {
            Err(SubscriptionError::Group)
        } else {
            Ok(())
        }
    }

    fn concerns(&self, endpoint: &EndpointId) -> bool {
        self.enabled && (self.endpoints.is_empty() || self.endpoints.contains(endpoint))
    }
}

/// Which types are meant: one (`invoice.paid`), all that begin with some words (`invoice.*`), or
/// every one (`*`).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct TypePattern(Box<str>);

/// A text that is not a pattern of types.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
#[error("not a pattern of types: expected a type, `words.*` or `*`, with no other `*` in it")]
pub struct ParseTypePatternError;

impl TypePattern {
    /// Whether the type is meant.
    #[must_use]
    pub fn matches(&self, event_type: &EventType) -> bool {
        match self.0.strip_suffix('*') {
            // The dot stays with the words: `invoice.*` is not `invoices`.
            Some(words) => event_type.as_str().starts_with(words),
            None => event_type.as_str() == &*self.0,
        }
    }
}

impl FromStr for TypePattern {
    type Err = ParseTypePatternError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let words = match text.strip_suffix('*') {
            Some("") => return Ok(Self(text.into())),
            Some(words) if words.ends_with('.') && words != "." => words,
            Some(_) => return Err(ParseTypePatternError),
            None => text,
        };
        let is_type = EventType::try_from(text.to_owned()).is_ok() && !words.contains('*');
        if is_type { Ok(Self(text.into())) } else { Err(ParseTypePatternError) }
    }
}

impl TryFrom<String> for TypePattern {
    type Error = ParseTypePatternError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<TypePattern> for String {
    fn from(pattern: TypePattern) -> Self {
        pattern.0.into()
    }
}

impl fmt::Display for TypePattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What the events of one endpoint run: its own trigger, and what the subscriptions of its
/// workspace say. Worked out when the endpoint is looked up, so that an event costs little.
#[derive(Clone, Debug, Default)]
pub(crate) struct Wiring {
    triggers: Vec<Trigger>,
    groups: Vec<Group>,
}

/// Subscriptions of which the first that holds is followed, some of them for certain types alone.
#[derive(Clone, Debug)]
struct Group {
    name: Option<Arc<str>>,
    rules: Vec<(Vec<TypePattern>, Rule)>,
}

impl Wiring {
    /// The wiring of an endpoint, by the subscriptions of its workspace.
    pub(crate) fn of(
        endpoint: &Endpoint,
        subscriptions: impl IntoIterator<Item = (SubscriptionId, Subscription)>,
    ) -> Self {
        let own = endpoint.config.trigger.as_ref();
        let triggers = own.map(|own| Trigger::ploybook(own.ploybook.clone())).into_iter().collect();
        let mut concerned: Vec<_> = subscriptions
            .into_iter()
            .filter(|(_, subscription)| subscription.concerns(&endpoint.id))
            .collect();
        concerned.sort_by_key(|(id, subscription)| (subscription.position, *id));
        let mut groups: Vec<Group> = Vec::new();
        for (id, Subscription { types, condition, ploybook, group, .. }) in concerned {
            let rule = (types, Rule { subscription: id, condition, ploybook });
            let known = groups
                .iter_mut()
                .find(|known| known.name.is_some() && known.name.as_deref() == group.as_deref());
            match known {
                Some(known) => known.rules.push(rule),
                None => groups.push(Group { name: group.map(Into::into), rules: vec![rule] }),
            }
        }
        Self { triggers, groups }
    }

    /// What an event of that type runs.
    pub(crate) fn triggers(&self, event_type: Option<&EventType>) -> impl Iterator<Item = Trigger> {
        let own = self.triggers.iter().cloned();
        own.chain(self.groups.iter().filter_map(move |group| group.trigger(event_type)))
    }

    /// Whether no event runs anything.
    pub(crate) const fn is_empty(&self) -> bool {
        self.triggers.is_empty() && self.groups.is_empty()
    }
}

impl Group {
    fn trigger(&self, event_type: Option<&EventType>) -> Option<Trigger> {
        let is_meant = |types: &[TypePattern]| {
            types.is_empty()
                || event_type.is_some_and(|found| types.iter().any(|types| types.matches(found)))
        };
        let meant = self.rules.iter().filter(|(types, _)| is_meant(types)).map(|(_, rule)| rule);
        let mut rules: Vec<Rule> = Vec::new();
        for rule in meant {
            rules.push(rule.clone());
            if rule.condition.is_none() {
                // What comes after it is never reached.
                break;
            }
        }
        match &rules[..] {
            [] => None,
            // There is nothing to decide.
            [Rule { subscription, condition: None, ploybook }] => Some(Trigger::Ploybook {
                name: ploybook.clone(),
                subscription: Some(*subscription),
            }),
            _ => Some(Trigger::FirstOf(Route {
                group: self.name.as_deref().map(str::to_owned),
                rules: rules.into(),
            })),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Timestamp;
    use crate::endpoint::{EndpointConfig, EndpointTrigger};
    use crate::id::WorkspaceId;

    fn event_type(text: &str) -> EventType {
        EventType::try_from(text.to_owned()).unwrap()
    }

    #[test]
    fn patterns() {
        let matches = |pattern: &str, text: &str| {
            pattern.parse::<TypePattern>().unwrap().matches(&event_type(text))
        };
        assert!(matches("invoice.paid", "invoice.paid"));
        assert!(!matches("invoice.paid", "invoice.paid.late"));
        assert!(matches("invoice.*", "invoice.paid"));
        assert!(!matches("invoice.*", "invoices.paid"));
        assert!(!matches("invoice.*", "invoice"));
        assert!(matches("*", "anything"));
        for text in ["", "a*", "*.a", "a.*.b", "**", ".*", "a b.*.*"] {
            assert_eq!(text.parse::<TypePattern>(), Err(ParseTypePatternError), "{text}");
        }
    }

    #[test]
    fn json_form() {
        let form = serde_json::json!({
            "description": "hot", "enabled": true,
            "endpoints": [EndpointId::from_bytes([3; 16])], "types": ["lead.*"],
            "condition": "payload.icp_score >= 80", "ploybook": "outreach",
            "group": "leads", "position": 1,
        });
        let subscription: Subscription = serde_json::from_value(form.clone()).unwrap();
        assert_eq!(subscription.check(), Ok(()));
        assert_eq!(serde_json::to_value(subscription).unwrap(), form);
        let least: Subscription =
            serde_json::from_value(serde_json::json!({"ploybook": "outreach"})).unwrap();
        assert_eq!(least, Subscription::to("outreach".parse().unwrap()));
    }

    fn wiring(config: EndpointConfig, subscriptions: Vec<Subscription>) -> Wiring {
        let now = Timestamp::from_millis(0);
        let (endpoint, _) = Endpoint::mint(WorkspaceId::DEFAULT, config, now);
        let numbered = (1..).map(|n| SubscriptionId::from_bytes([n; 16])).zip(subscriptions);
        Wiring::of(&endpoint, numbered)
    }

    fn to(name: &str) -> Subscription {
        Subscription::to(name.parse().unwrap())
    }

    fn rules(trigger: &Trigger) -> Vec<String> {
        match trigger {
            Trigger::Ploybook { name, .. } => vec![name.to_string()],
            Trigger::FirstOf(route) => {
                route.rules.iter().map(|rule| rule.ploybook.to_string()).collect()
            }
        }
    }

    #[test]
    fn groups_are_in_the_order_of_their_positions_and_end_where_nothing_is_asked() {
        let when = |condition: &str, position, name| Subscription {
            condition: Some(condition.to_owned()),
            group: Some("leads".to_owned()),
            position,
            ..to(name)
        };
        let wiring = wiring(
            EndpointConfig::default(),
            vec![
                Subscription { group: Some("leads".to_owned()), position: 7, ..to("rest") },
                when("b", 2, "nurture"),
                when("a", 1, "outreach"),
                when("c", 9, "never"),
                Subscription { enabled: false, ..to("off") },
            ],
        );
        let triggers: Vec<_> = wiring.triggers(None).collect();
        assert_eq!(
            triggers.iter().map(rules).collect::<Vec<_>>(),
            [["outreach", "nurture", "rest"]]
        );
        assert!(
            matches!(&triggers[0], Trigger::FirstOf(route) if route.group.as_deref() == Some("leads"))
        );
    }

    #[test]
    fn types_and_endpoints_are_told_apart() {
        let paid = |name| Subscription { types: vec!["invoice.*".parse().unwrap()], ..to(name) };
        let elsewhere = vec![EndpointId::from_bytes([9; 16])];
        let trigger = Some(EndpointTrigger { ploybook: "own".parse().unwrap() });
        let wiring = wiring(
            EndpointConfig { trigger, ..EndpointConfig::default() },
            vec![
                paid("paid"),
                to("all"),
                Subscription { endpoints: elsewhere, ..to("elsewhere") },
                Subscription { condition: Some("true".to_owned()), ..paid("asked") },
            ],
        );
        let of = |event_type: Option<&EventType>| {
            wiring.triggers(event_type).map(|trigger| rules(&trigger).concat()).collect::<Vec<_>>()
        };
        assert_eq!(of(None), ["own", "all"]);
        assert_eq!(of(Some(&event_type("invoice.paid"))), ["own", "paid", "all", "asked"]);
    }
}
