//! What is searched for: the parameters of `GET /events`, or where a cursor goes on.

use ploy_webhooks::store::{EventQuery, Needle, Order, PageSize};
use ploy_webhooks::{EventId, EventType, WorkspaceId};

use crate::api::openapi::{Operation, nouns};
use crate::api::page::{take_cursor, take_limit};
use crate::api::problem::Problem;
use crate::api::query::Parameters;
use crate::api::time;

/// The query that the parameters ask for.
///
/// A cursor carries the query that it goes on with, so conditions may be left out or given
/// again, but not differ. Nothing of it is trusted: the workspace is the caller's, and the size
/// of a page is within its bounds.
pub(super) fn take_query(
    mut parameters: Parameters,
    workspace: WorkspaceId,
) -> Result<EventQuery, Problem> {
    let given = take_conditions(&mut parameters, workspace)?;
    let limit = take_limit(&mut parameters)?;
    let cursor = take_cursor::<EventQuery>(&mut parameters)?;
    parameters.finish()?;

    let mut query = match cursor {
        Some(cursor) if given.differ_from(&cursor) => {
            return Err(Problem::ValidationFailed(
                "the conditions differ from those that the cursor was made for; leave them out, \
                 or begin without the cursor"
                    .to_owned(),
            ));
        }
        Some(cursor) => cursor,
        None => given.into_query(),
    };
    query.workspace = workspace;
    query.limit = limit.unwrap_or(query.limit);
    Ok(query)
}

/// An operation that takes these conditions.
pub(super) fn describe(operation: Operation) -> Operation {
    operation
        .query::<nouns::EndpointId>("endpoint", "Only what this endpoint took.")
        .query::<nouns::Time>("from", "Only what was received then or later.")
        .query::<nouns::Time>("to", "Only what was received before.")
        .query::<nouns::Needle>(
            "contains",
            "Only payloads in which this stands, literally, in any case of letters.",
        )
        .query::<nouns::EventType>("type", "Only events of this type.")
        .query::<nouns::Order>("order", "The oldest first (`asc`), or the newest (`desc`).")
}

/// The query of an export: the oldest first where nothing else is said, beyond the event that the
/// one before ended with.
pub(super) fn take_export_query(
    mut parameters: Parameters,
    workspace: WorkspaceId,
) -> Result<EventQuery, Problem> {
    let Conditions { mut query, order } = take_conditions(&mut parameters, workspace)?;
    query.beyond = parameters.take("after", str::parse::<EventId>)?;
    parameters.finish()?;
    query.order = order.unwrap_or(Order::Ascending);
    query.limit = PageSize::MAX;
    Ok(query)
}

/// The conditions that were given, as a query, and whether there was an order among them.
struct Conditions {
    query: EventQuery,
    order: Option<Order>,
}

fn take_conditions(
    parameters: &mut Parameters,
    workspace: WorkspaceId,
) -> Result<Conditions, Problem> {
    let mut query = EventQuery::all(workspace);
    query.endpoint = parameters.take("endpoint", str::parse)?;
    query.from = parameters.take("from", time::parse)?;
    query.to = parameters.take("to", time::parse)?;
    query.contains = parameters.take("contains", Needle::new)?;
    query.event_type = parameters.take("type", |text| EventType::try_from(text.to_owned()))?;
    let order = parameters.take("order", |text| match text {
        "asc" => Ok(Order::Ascending),
        "desc" => Ok(Order::Descending),
        _ => Err("neither `asc` nor `desc`"),
    })?;
    Ok(Conditions { query, order })
}

impl Conditions {
    fn differ_from(&self, cursor: &EventQuery) -> bool {
        fn differs<T: PartialEq>(given: &Option<T>, carried: &Option<T>) -> bool {
            given.is_some() && given != carried
        }
        differs(&self.query.endpoint, &cursor.endpoint)
            || differs(&self.query.from, &cursor.from)
            || differs(&self.query.to, &cursor.to)
            || differs(&self.query.contains, &cursor.contains)
            || differs(&self.query.event_type, &cursor.event_type)
            || differs(&self.order, &Some(cursor.order))
    }

    fn into_query(mut self) -> EventQuery {
        self.query.order = self.order.unwrap_or_default();
        self.query
    }
}
