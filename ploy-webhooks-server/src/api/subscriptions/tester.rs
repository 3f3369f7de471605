//! `POST /subscriptions/test`: whether a condition holds of an event that is kept, before anything
//! is wired to it.

use axum::response::{IntoResponse, Response};
use ploy_webhooks::{Condition, ConditionError, Event, EventId, Facts, Fields, Verdict};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tokio::sync::Semaphore;
use tokio::task::{JoinError, spawn_blocking};

use crate::api::caller::TenantApi;
use crate::api::json::{Json, JsonBody};
use crate::api::openapi::{Operation, call, nouns};
use crate::api::problem::Problem;
use crate::api::query::NoParameters;

/// One is judged at a time: it may compute for a tenth of a second and take 100 MiB, which is not
/// to be had as often as somebody asks.
static SEAT: Semaphore = Semaphore::const_new(1);

/// The body of `POST /subscriptions/test`.
#[derive(Debug, Deserialize, JsonSchema)]
#[schemars(rename = "ConditionTest")]
#[serde(deny_unknown_fields)]
pub(super) struct TestForm {
    /// As that of a subscription.
    #[schemars(length(min = 1, max = 2048))]
    condition: String,
    /// The event that it is judged on.
    #[schemars(with = "nouns::EventId")]
    event_id: EventId,
}

/// What came of it.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "ConditionTested")]
struct Tested {
    /// Whether it holds.
    matches: bool,
    /// Why it cannot be judged on this event, and so does not hold.
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
}

pub(super) fn operation() -> Operation {
    call("test_condition", "Judge a condition on an event that is kept.")
        .answers::<Tested>()
        .takes::<TestForm>()
        .conflicts()
        .details("It changes nothing, and needs the scope `write` as every `POST` does.")
}

/// Judges as a subscription is judged: with the fields that the endpoint of the event names.
pub(super) async fn test(
    api: TenantApi,
    _: NoParameters,
    JsonBody(TestForm { condition, event_id }): JsonBody<TestForm>,
) -> Result<Response, Problem> {
    if condition.is_empty() {
        return Err(Problem::invalid("`condition` has 1 to 2048 bytes"));
    }
    // Nobody waits in line with an event in hand: who comes back may find it free.
    let seat =
        SEAT.try_acquire().map_err(|_| Problem::Busy("another condition is being tested"))?;
    let event = api.store().event(api.workspace(), &event_id).await?;
    let event = event.ok_or(Problem::NotFound)?;
    let fields = fields_of(&api, &event).await?;
    let judged = spawn_blocking(move || {
        // Until it is judged, whether or not somebody still waits for it.
        let _seat = seat;
        let facts = Facts { event: &event, fields: &fields };
        Condition::compile(&condition).map(|condition| condition.judge(&facts))
    });
    let tested = match judged.await.map_err(interrupted)? {
        Ok(Verdict::Holds) => Tested { matches: true, reason: None },
        Ok(Verdict::Fails) => Tested { matches: false, reason: None },
        Ok(Verdict::Unclear(reason)) => Tested { matches: false, reason: Some(reason) },
        Err(ConditionError::NoThread) => return Err(Problem::Unavailable(None)),
        Err(error) => return Err(Problem::invalid(format!("`condition`: {error}"))),
    };
    Ok(Json(tested).into_response())
}

/// The fields that the endpoint names in the payload. A run of an event without a field that is
/// required fails before any condition is judged, and here it is said.
async fn fields_of(api: &TenantApi, event: &Event) -> Result<Fields, Problem> {
    let Some(id) = event.endpoint else { return Ok(Fields::default()) };
    let endpoint = api.store().endpoint_by_id(api.workspace(), &id).await?;
    let named = endpoint.as_ref().and_then(|endpoint| endpoint.config.fields.as_ref());
    let payload = std::str::from_utf8(&event.payload).unwrap_or_default();
    let taken = named.map(|named| named.take(payload)).transpose();
    taken
        .map(Option::unwrap_or_default)
        .map_err(|missing| Problem::conflict(format!("the event cannot be judged: {missing}")))
}

fn interrupted(error: JoinError) -> Problem {
    tracing::error!(%error, "a condition was not judged");
    Problem::Unavailable(None)
}
