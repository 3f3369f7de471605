//! A subscription: which events of a workspace run what.

mod wiring;

use std::fmt;
use std::num::NonZeroU16;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use thiserror::Error;

pub(crate) use self::wiring::Wiring;
use crate::endpoint::Endpoint;
use crate::event::EventType;
use crate::id::{DestinationId, EndpointId, SubscriptionId, WorkspaceId};
use crate::ploybook::PloybookName;
use crate::store::{
    Definition, DefinitionKind, DefinitionStore, EndpointPatch, EndpointStore, StoreError,
    StoreErrorKind,
};
use crate::task::Action;

/// Events of these endpoints and types, that meet a condition, run a Ploybook or are delivered to a
/// destination.
///
/// In JSON `{"types":["invoice.*"],"destination":"dst_…"}`, and so on. Of the subscriptions of one group, the first whose condition holds is followed, in the order of
/// their positions. One without a group is followed whatever others do.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "SubscriptionForm", into = "SubscriptionForm")]
#[non_exhaustive]
pub struct Subscription {
    /// For people.
    pub description: String,
    /// Whether it is followed.
    pub enabled: bool,
    /// The endpoints whose events are meant; empty is all of the workspace.
    pub endpoints: Vec<EndpointId>,
    /// The types of events that are meant; empty is all, and events without a type too.
    pub types: Vec<TypePattern>,
    /// The condition, in CEL; `None` always holds.
    pub condition: Option<String>,
    /// What is done.
    pub action: Action,
    /// Whether it is not published yet: it is followed, but what it would have done is only put on
    /// record.
    pub draft: bool,
    /// The group of which it is one.
    pub group: Option<String>,
    /// Its place in the group; where two are equal, the older one comes first.
    pub position: u32,
}

/// A subscription's form in JSON.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct SubscriptionForm {
    #[serde(default)]
    description: String,
    #[serde(default = "enabled")]
    enabled: bool,
    #[serde(default)]
    endpoints: Vec<EndpointId>,
    #[serde(default)]
    types: Vec<TypePattern>,
    #[serde(default)]
    condition: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    ploybook: Option<PloybookName>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    destination: Option<DestinationId>,
    #[serde(default)]
    draft: bool,
    #[serde(default)]
    group: Option<String>,
    #[serde(default)]
    position: u32,
}

const fn enabled() -> bool {
    true
}

impl TryFrom<SubscriptionForm> for Subscription {
    type Error = &'static str;

    fn try_from(form: SubscriptionForm) -> Result<Self, Self::Error> {
        Ok(Self {
            description: form.description,
            enabled: form.enabled,
            endpoints: form.endpoints,
            types: form.types,
            condition: form.condition,
            action: Action::of_form(form.ploybook, form.destination)?,
            draft: form.draft,
            group: form.group,
            position: form.position,
        })
    }
}

impl From<Subscription> for SubscriptionForm {
    fn from(subscription: Subscription) -> Self {
        let (ploybook, destination) = match subscription.action {
            Action::Ploybook(name) => (Some(name), None),
            Action::Destination(id) => (None, Some(id)),
        };
        Self {
            description: subscription.description,
            enabled: subscription.enabled,
            endpoints: subscription.endpoints,
            types: subscription.types,
            condition: subscription.condition,
            ploybook,
            destination,
            draft: subscription.draft,
            group: subscription.group,
            position: subscription.position,
        }
    }
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
        Self::of_all(Action::Ploybook(ploybook))
    }

    /// One that has every event delivered there.
    #[must_use]
    pub const fn to_destination(destination: DestinationId) -> Self {
        Self::of_all(Action::Destination(destination))
    }

    const fn of_all(action: Action) -> Self {
        Self {
            description: String::new(),
            enabled: true,
            endpoints: Vec::new(),
            types: Vec::new(),
            condition: None,
            action,
            draft: false,
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

    /// Whether it is about events of that endpoint, or of what the app publishes.
    fn concerns(&self, endpoint: Option<&EndpointId>) -> bool {
        let is_meant = |endpoint| self.endpoints.contains(endpoint);
        self.enabled && (self.endpoints.is_empty() || endpoint.is_some_and(is_meant))
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

/// Every subscription of a workspace.
pub(crate) async fn all(
    store: &(impl DefinitionStore + ?Sized),
    workspace: &WorkspaceId,
) -> Result<Vec<(SubscriptionId, Subscription)>, StoreError> {
    // More than a workspace is allowed: of several that are made at the same time, all may be.
    const ALL: NonZeroU16 = NonZeroU16::new(2 * Subscription::COUNT_MAX).expect("it is not zero");
    let kind = DefinitionKind::Subscription;
    let listed = store.definitions(workspace, kind, None, ALL).await?;
    listed
        .into_iter()
        .map(|definition| {
            let id = definition.name.parse().map_err(|error| unreadable(&definition, error))?;
            let subscription = serde_json::from_str(&definition.text);
            Ok((id, subscription.map_err(|error| unreadable(&definition, error))?))
        })
        .collect()
}

fn unreadable(
    definition: &Definition,
    source: impl std::error::Error + Send + Sync + 'static,
) -> StoreError {
    let message = format!("the subscription `{}` cannot be read", definition.name);
    StoreError::new(StoreErrorKind::Corrupt, message).because(source)
}

/// Has the events of endpoints run what the subscriptions of their workspace say now: to be called
/// after a subscription was set or deleted, with the endpoints that it meant before and means now;
/// none is all of them.
///
/// It counts up their revisions. So when this returns, no event is accepted any more by what was
/// wired before, on any node, as with every change of an endpoint. Where it fails, it may hold for
/// some endpoints and not yet for others: call it again.
///
/// # Errors
///
/// Any [`StoreError`].
pub async fn rewire(
    store: &(impl EndpointStore + ?Sized),
    workspace: &WorkspaceId,
    endpoints: &[EndpointId],
) -> Result<(), StoreError> {
    const PAGE: NonZeroU16 = NonZeroU16::new(200).expect("it is not zero");
    if !endpoints.is_empty() {
        for id in endpoints {
            if let Some(endpoint) = store.endpoint_by_id(workspace, id).await? {
                count_up(store, &endpoint).await?;
            }
        }
        return Ok(());
    }
    let mut after = None;
    loop {
        let page = store.endpoints(workspace, after, PAGE).await?;
        let Some(last) = page.last() else {
            return Ok(());
        };
        after = Some(last.id);
        for endpoint in &page {
            count_up(store, endpoint).await?;
        }
    }
}

async fn count_up(
    store: &(impl EndpointStore + ?Sized),
    endpoint: &Endpoint,
) -> Result<(), StoreError> {
    let Endpoint { workspace, id, revision, .. } = endpoint;
    // Whoever else has changed it since has counted it up as well, and whoever has deleted it
    // more than that.
    let _ = store.update(workspace, id, *revision, EndpointPatch::default()).await?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

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
            "condition": "payload.icp_score >= 80", "ploybook": "outreach", "draft": true,
            "group": "leads", "position": 1,
        });
        let subscription: Subscription = serde_json::from_value(form.clone()).unwrap();
        assert_eq!(subscription.check(), Ok(()));
        assert_eq!(serde_json::to_value(subscription).unwrap(), form);
        let least: Subscription =
            serde_json::from_value(serde_json::json!({"ploybook": "outreach"})).unwrap();
        assert_eq!(least, Subscription::to("outreach".parse().unwrap()));
        let id = DestinationId::from_bytes([5; 16]);
        let delivered: Subscription =
            serde_json::from_value(serde_json::json!({"destination": id})).unwrap();
        assert_eq!(delivered, Subscription::to_destination(id));
        for form in [serde_json::json!({}), serde_json::json!({"destination": id, "ploybook": "x"})]
        {
            assert!(serde_json::from_value::<Subscription>(form).is_err());
        }
    }
}
