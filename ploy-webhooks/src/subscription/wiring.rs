//! What events run: the trigger of their endpoint, and what the subscriptions of their workspace say.

use std::sync::Arc;
use std::time::Duration;

use super::{Subscription, TypePattern};
use crate::clock::Timestamp;
use crate::endpoint::Endpoint;
use crate::event::EventType;
use crate::id::{EndpointId, RunId, SubscriptionId};
use crate::run::NewRun;
use crate::task::{Route, Rule, Trigger};

/// What the events of one endpoint run: its own trigger, and what the subscriptions of its
/// workspace say. Worked out when the endpoint is looked up, so that an event costs little.
#[derive(Clone, Debug, Default)]
pub(crate) struct Wiring {
    /// The endpoint's own trigger.
    own: Option<Trigger>,
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
        let own = own.map(|own| Trigger::ploybook(own.ploybook.clone()));
        Self { own, ..Self::by(Some(endpoint.id), subscriptions) }
    }

    /// The wiring of what the app publishes itself.
    pub(crate) fn of_published(
        subscriptions: impl IntoIterator<Item = (SubscriptionId, Subscription)>,
    ) -> Self {
        Self::by(None, subscriptions)
    }

    fn by(
        endpoint: Option<EndpointId>,
        subscriptions: impl IntoIterator<Item = (SubscriptionId, Subscription)>,
    ) -> Self {
        let mut concerned: Vec<_> = subscriptions
            .into_iter()
            .filter(|(_, subscription)| subscription.concerns(endpoint.as_ref()))
            .collect();
        concerned.sort_by_key(|(id, subscription)| (subscription.position, *id));
        let mut groups: Vec<Group> = Vec::new();
        for (id, Subscription { types, condition, action, draft, group, .. }) in concerned {
            let rule = (types, Rule { subscription: id, condition, action, draft });
            let known = groups
                .iter_mut()
                .find(|known| known.name.is_some() && known.name.as_deref() == group.as_deref());
            match known {
                Some(known) => known.rules.push(rule),
                None => groups.push(Group { name: group.map(Into::into), rules: vec![rule] }),
            }
        }
        Self { own: None, groups }
    }

    /// The runs that an event of that type owes.
    pub(crate) fn owes(&self, event_type: Option<&EventType>, now: Timestamp) -> Vec<NewRun> {
        let run = |trigger| NewRun { id: RunId::mint(now), trigger, delay: Duration::ZERO };
        self.triggers(event_type).map(run).collect()
    }

    fn triggers(&self, event_type: Option<&EventType>) -> impl Iterator<Item = Trigger> {
        let own = self.own.iter().cloned();
        own.chain(self.groups.iter().filter_map(move |group| group.trigger(event_type)))
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
            [rule @ Rule { condition: None, .. }] => Some(Trigger::Task(rule.task())),
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
    use crate::endpoint::{EndpointConfig, EndpointTrigger};
    use crate::id::WorkspaceId;
    use crate::task::Action;

    fn event_type(text: &str) -> EventType {
        EventType::try_from(text.to_owned()).unwrap()
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
        let name = |action: &Action| match action {
            Action::Ploybook(name) => name.to_string(),
            Action::Destination(id) => id.to_string(),
        };
        match trigger {
            Trigger::Task(task) => vec![name(&task.action)],
            Trigger::FirstOf(route) => route.rules.iter().map(|rule| name(&rule.action)).collect(),
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
