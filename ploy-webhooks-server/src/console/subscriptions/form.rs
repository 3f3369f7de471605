//! A subscription as the API answers it, and as a form holds it.

use std::sync::LazyLock;

use serde::Deserialize;

use crate::console::fault::Fault;
use crate::console::form::{Fields, Members, lines, number};
use crate::console::page;
use crate::console::text::{State, Text};

/// A subscription, as the API answers it.
#[derive(Debug, Deserialize)]
pub(super) struct Subscription {
    pub(super) id: Text,
    pub(super) description: Text,
    pub(super) enabled: bool,
    pub(super) endpoints: Vec<Text>,
    pub(super) types: Vec<Text>,
    pub(super) condition: Option<Text>,
    #[serde(default)]
    pub(super) ploybook: Option<Text>,
    #[serde(default)]
    pub(super) destination: Option<Text>,
    pub(super) draft: bool,
    pub(super) group: Option<Text>,
    pub(super) position: u32,
}

impl Subscription {
    pub(super) fn page(&self) -> String {
        page::url(&["subscriptions", self.id.raw()])
    }

    pub(super) fn state(&self) -> State {
        match (self.enabled, self.draft) {
            (false, _) => "disabled".into(),
            (true, true) => "draft".into(),
            (true, false) => "enabled".into(),
        }
    }

    pub(super) fn target(&self) -> &Text {
        static NOTHING: LazyLock<Text> = LazyLock::new(Text::default);
        self.ploybook.as_ref().or(self.destination.as_ref()).unwrap_or(&NOTHING)
    }
}

/// A subscription as a form holds it, and the event that its condition is tried out on.
#[derive(Debug, Default)]
pub(super) struct SubscriptionForm {
    pub(super) description: String,
    pub(super) enabled: bool,
    pub(super) endpoints: Vec<String>,
    pub(super) types: String,
    pub(super) condition: String,
    /// `ploybook:<name>` or `destination:<id>`.
    pub(super) action: String,
    pub(super) draft: bool,
    pub(super) group: String,
    pub(super) position: String,
    pub(super) event: String,
}

impl SubscriptionForm {
    pub(super) fn of(subscription: &Subscription) -> Self {
        let text = |text: &Option<Text>| text.clone().unwrap_or_default().raw().to_owned();
        let types: Vec<_> = subscription.types.iter().map(Text::raw).collect();
        Self {
            description: subscription.description.raw().to_owned(),
            enabled: subscription.enabled,
            endpoints: subscription.endpoints.iter().map(|id| id.raw().to_owned()).collect(),
            types: types.join("\n"),
            condition: text(&subscription.condition),
            action: match (&subscription.ploybook, &subscription.destination) {
                (Some(name), _) => format!("ploybook:{}", name.raw()),
                (None, Some(id)) => format!("destination:{}", id.raw()),
                (None, None) => String::new(),
            },
            draft: subscription.draft,
            group: text(&subscription.group),
            position: subscription.position.to_string(),
            event: String::new(),
        }
    }

    pub(super) fn filled(fields: &Fields) -> Self {
        let text = |name: &str| fields.get(name).to_owned();
        Self {
            description: text("description"),
            enabled: fields.has("enabled"),
            endpoints: fields.all("endpoints").map(str::to_owned).collect(),
            types: text("types"),
            condition: text("condition"),
            action: text("action"),
            draft: fields.has("draft"),
            group: text("group"),
            position: text("position"),
            event: fields.trimmed("event_id").to_owned(),
        }
    }

    /// Whether the events of that endpoint are meant by its id.
    pub(super) fn means(&self, endpoint: &Text) -> bool {
        self.endpoints.iter().any(|id| id == endpoint.raw())
    }

    pub(super) fn members(&self) -> Result<Members, Fault> {
        let some = |text: &str| Some(text.trim().to_owned()).filter(|text| !text.is_empty());
        let mut members = Members::default();
        members.set("description", &self.description);
        members.set("enabled", self.enabled);
        members.set("endpoints", &self.endpoints);
        members.set("types", lines(&self.types));
        members.set("condition", some(&self.condition));
        members.set("draft", self.draft);
        members.set("group", some(&self.group));
        members.set("position", number("position", &self.position)?.unwrap_or(0));
        match self.action.split_once(':') {
            Some(("ploybook", name)) => members.set("ploybook", name),
            Some(("destination", id)) => members.set("destination", id),
            _ => return Err(Fault::at_member("action", "choose what is to be done")),
        }
        Ok(members)
    }

    /// The changes to what does something else: that has to be taken back by its name.
    pub(super) fn changes(&self, before: &Subscription) -> Result<Members, Fault> {
        let mut members = self.members()?;
        match self.action.split_once(':') {
            Some(("ploybook", _)) if before.destination.is_some() => {
                members.set("destination", None::<&str>);
            }
            Some(("destination", _)) if before.ploybook.is_some() => {
                members.set("ploybook", None::<&str>);
            }
            _ => {}
        }
        Ok(members)
    }
}
