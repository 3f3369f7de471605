//! What callers change of a destination, and which of its secrets is new by that.

use std::fmt;
use std::time::Duration;

use ploy_webhooks::{Clock, DestinationId, Secret, SystemClock};
use ploy_webhooks_delivery::{Body, Destination, DestinationForm, Signing};
use serde::de::{MapAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::{Map, Value};

use super::unopened;
use crate::api::caller::TenantApi;
use crate::api::definitions::{Defines, merge};
use crate::api::json::of_members;
use crate::api::problem::Problem;

/// The body of `PATCH /destinations/{id}`.
#[derive(Debug)]
pub(super) struct Changes {
    members: Map<String, Value>,
    /// Read by itself: a tree would not keep the order of its members.
    body: Option<Body>,
}

impl<'de> Deserialize<'de> for Changes {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(ChangesVisitor)
    }
}

struct ChangesVisitor;

impl<'de> Visitor<'de> for ChangesVisitor {
    type Value = Changes;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object of changes")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut given: A) -> Result<Changes, A::Error> {
        let mut changes = Changes { members: Map::new(), body: None };
        while let Some(name) = given.next_key::<String>()? {
            if name == "body" {
                changes.body = Some(given.next_value()?);
            } else {
                changes.members.insert(name, given.next_value()?);
            }
        }
        Ok(changes)
    }
}

impl Changes {
    pub(super) fn has_status(&self) -> bool {
        self.members.contains_key("status")
    }

    /// The form of the destination with the changes, in which secrets stay what they are.
    pub(super) fn apply_to(&self, before: &Destination) -> Result<DestinationForm, Problem> {
        let mut members = members_of(&before.form());
        if self.chooses_another_scheme(&members) {
            // What describes the one says nothing of the other.
            members.remove("signing");
        }
        merge(&mut members, &self.members, Destination::SETTINGS);
        let mut form: DestinationForm = of_members(members)?;
        form.body = self.body.as_ref().unwrap_or(&before.body).clone();
        Ok(form)
    }

    fn chooses_another_scheme(&self, members: &Map<String, Value>) -> bool {
        let scheme = self.members.get("signing").and_then(|signing| signing.get("scheme"));
        scheme.is_some_and(|scheme| *scheme != members["signing"]["scheme"])
    }
}

/// The members of the form, but for the body.
pub(super) fn members_of(form: &DestinationForm) -> Map<String, Value> {
    match serde_json::to_value(form) {
        Ok(Value::Object(mut members)) => {
            members.remove("body");
            members
        }
        _ => unreachable!("a destination is an object with string keys"),
    }
}

/// The signing secret that a destination has and did not have before, in clear.
pub(super) fn newest_secret(
    api: &TenantApi,
    id: DestinationId,
    before: Option<&Signing>,
    now: &Signing,
) -> Result<Option<Secret>, Problem> {
    let stood = |id| before.is_some_and(|before| before.secrets().iter().any(|one| one.id == id));
    let newest = now.secrets().last().filter(|newest| !stood(newest.id));
    let opened = newest.map(|newest| newest.open(api.keyring(), id)).transpose();
    opened.map_err(|error| unopened(error.into()))
}

/// The destination with that secret, and for the time of the overlap those before it too.
pub(super) fn rotated(
    api: &TenantApi,
    id: DestinationId,
    before: &Destination,
    secret: &Secret,
    overlap: Duration,
) -> Result<Destination, Problem> {
    if before.signing == Signing::None {
        return Err(Problem::conflict("the destination has no secret to rotate: it signs nothing"));
    }
    let signing = before.signing.rotated(id, api.keyring(), secret, overlap, SystemClock.now());
    let mut destination = before.clone();
    destination.signing = signing.map_err(Problem::invalid)?;
    Ok(destination)
}
