//! A run: one execution that an event owes.

use std::fmt;
use std::num::NonZeroU32;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use serde::ser::SerializeMap;
use serde::{Deserialize, Serialize, Serializer};
use thiserror::Error;

use crate::clock::Timestamp;
use crate::event::Event;
use crate::id::{DestinationId, EndpointId, EventId, RunId, SubscriptionId, WorkspaceId};
use crate::ploybook::PloybookName;

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

/// What shares a bound on how many runs are under way at once: what is delivered to one
/// destination; all else that the events of one endpoint run, or those that the app publishes in
/// one workspace.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[expect(clippy::exhaustive_enums, reason = "stores keep each of these")]
pub enum Lane {
    /// What an endpoint took.
    Endpoint(EndpointId),
    /// What the app published.
    Workspace(WorkspaceId),
    /// What is delivered there, wherever it came from.
    Destination(DestinationId),
}

/// Who carries out an attempt, for people to recognise: 1 to 64 visible ASCII characters.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct WorkerName(Arc<str>);

/// A text that is not the name of a worker.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
#[error("not the name of a worker: expected 1 to 64 visible ASCII characters")]
pub struct ParseWorkerNameError;

impl WorkerName {
    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for WorkerName {
    type Err = ParseWorkerNameError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let is_name =
            (1..=64).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_graphic());
        if is_name { Ok(Self(text.into())) } else { Err(ParseWorkerNameError) }
    }
}

impl fmt::Display for WorkerName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for WorkerName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A run that an event is about to owe.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_structs, reason = "whoever appends an event builds it from its parts")]
pub struct NewRun {
    /// Its name, for good: what a runner is idempotent with.
    pub id: RunId,
    /// What it runs.
    pub trigger: Trigger,
    /// How long it waits before its first attempt, by the store's clock.
    pub delay: Duration,
}

/// A run on record.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Run {
    /// Its name.
    pub id: RunId,
    /// The event that owes it.
    pub event: EventId,
    /// What it runs.
    pub trigger: Trigger,
    /// Where it stands.
    pub state: RunState,
    /// When it was made.
    pub created_at: Timestamp,
    /// What was tried so far, in order.
    pub attempts: Vec<Attempt>,
}

impl Run {
    /// A run that waits for its first attempt.
    #[must_use]
    pub const fn queued(
        id: RunId,
        event: EventId,
        trigger: Trigger,
        created_at: Timestamp,
    ) -> Self {
        Self { id, event, trigger, state: RunState::Queued, created_at, attempts: Vec::new() }
    }
}

impl Run {
    /// How many bytes its attempts have said.
    #[must_use]
    pub fn outcome_bytes(&self) -> u64 {
        let ends = self.attempts.iter().filter_map(|attempt| attempt.end.as_ref());
        ends.map(|end| end.outcome.bytes()).sum()
    }
}

/// Where a run stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum RunState {
    /// Waits for its first attempt.
    Queued,
    /// An attempt is under way, or was when its worker was lost.
    Running,
    /// Waits for its next attempt.
    Retrying,
    /// Done.
    Succeeded,
    /// Given up.
    Failed,
    /// Called off by hand.
    Cancelled,
}

impl RunState {
    /// Every state.
    pub const ALL: [Self; 6] = [
        Self::Queued,
        Self::Running,
        Self::Retrying,
        Self::Succeeded,
        Self::Failed,
        Self::Cancelled,
    ];

    /// Whether a run in this state is carried out without anybody asking for it, now or later.
    #[must_use]
    pub const fn is_in_line(self) -> bool {
        matches!(self, Self::Queued | Self::Running | Self::Retrying)
    }

    /// Whether a run in this state may be [requeued](crate::store::RunQueue::requeue).
    #[must_use]
    pub const fn may_be_requeued(self) -> bool {
        matches!(self, Self::Retrying | Self::Failed | Self::Cancelled)
    }

    /// Its name, the same as in JSON: for a store to keep.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Queued => "queued",
            Self::Running => "running",
            Self::Retrying => "retrying",
            Self::Succeeded => "succeeded",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
        }
    }

    /// The state with that name, as a store has kept it.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.as_str() == name)
    }
}

/// One try of a run, on record.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_structs, reason = "every store builds it from its parts")]
pub struct Attempt {
    /// Counts the attempts of the run, beginning with 1.
    pub number: NonZeroU32,
    /// When it was claimed.
    pub started_at: Timestamp,
    /// Who claimed it.
    pub worker: WorkerName,
    /// How it ended and when; `None` while it is under way, and for good where its lease ended
    /// without a word.
    pub end: Option<AttemptEnd>,
}

/// The end of an attempt.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_structs, reason = "every store builds it from its parts")]
pub struct AttemptEnd {
    /// When.
    pub at: Timestamp,
    /// How.
    pub outcome: Outcome,
}

/// What came of an attempt.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_enums, reason = "callers and stores act on each of these")]
pub enum Outcome {
    /// It is done.
    Succeed {
        /// What it said.
        output: Bytes,
    },
    /// It failed and is to be tried again.
    Retry {
        /// What went wrong.
        error: String,
        /// How long to wait before, by the store's clock.
        after: Duration,
    },
    /// It failed and is given up.
    Fail {
        /// What went wrong.
        error: String,
    },
}

impl Outcome {
    /// How many bytes it says.
    #[must_use]
    pub const fn bytes(&self) -> u64 {
        let bytes = match self {
            Self::Succeed { output } => output.len(),
            Self::Retry { error, .. } | Self::Fail { error } => error.len(),
        };
        bytes as u64
    }

    /// Where a run stands after it.
    #[must_use]
    pub const fn state(&self) -> RunState {
        match self {
            Self::Succeed { .. } => RunState::Succeeded,
            Self::Retry { .. } => RunState::Retrying,
            Self::Fail { .. } => RunState::Failed,
        }
    }
}

/// The right to carry out one attempt of a run, for a time.
///
/// The attempt is the fencing token: when a run is claimed again, what the earlier lease says
/// counts no more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_structs, reason = "every store builds it from its parts")]
pub struct Lease {
    /// The run.
    pub run: RunId,
    /// Which attempt of it.
    pub attempt: NonZeroU32,
    /// Where the store keeps the run, in whatever terms it likes; 0 where it needs none.
    pub place: u64,
}

/// A run that was claimed, with all that its attempt needs.
#[derive(Clone, Debug)]
#[expect(clippy::exhaustive_structs, reason = "every store builds it from its parts")]
pub struct LeasedRun {
    /// The right to carry it out.
    pub lease: Lease,
    /// Whether the lease before this one ended without a word: its worker may have been lost
    /// through this very run.
    pub is_after_loss: bool,
    /// What it runs.
    pub trigger: Trigger,
    /// The event that owes it.
    pub event: Event,
}

impl LeasedRun {
    /// The lane that it is carried out in.
    #[must_use]
    pub fn lane(&self) -> Lane {
        self.trigger.lane(self.event.lane())
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

    #[test]
    fn names_of_workers_can_be_written_anywhere() {
        assert!("node-1:4711".parse::<WorkerName>().is_ok());
        for text in ["", "a b", "é", "a\n", &"w".repeat(65)] {
            assert_eq!(text.parse::<WorkerName>(), Err(ParseWorkerNameError), "{text}");
        }
    }

    #[test]
    fn a_state_has_one_name() {
        for state in RunState::ALL {
            assert_eq!(serde_json::to_value(state).unwrap(), state.as_str());
            assert_eq!(RunState::from_name(state.as_str()), Some(state));
        }
        assert_eq!(RunState::from_name("lost"), None);
    }
}
