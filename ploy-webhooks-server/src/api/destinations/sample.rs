//! `POST /destinations/{id}/test`: something is sent there, to see whether it arrives.

use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use ploy_webhooks::{DestinationId, EventType};
use ploy_webhooks_delivery::Sample;
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::value::RawValue;

use super::{find, hasty, unopened};
use crate::api::caller::TenantApi;
use crate::api::id::Id;
use crate::api::json::{Json, OptionalJsonBody, present};
use crate::api::openapi::nouns;
use crate::api::problem::Problem;
use crate::api::query::NoParameters;

/// What is sent: an example, where nothing is given.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "Sample")]
pub(super) struct SampleForm {
    #[serde(default, rename = "type", deserialize_with = "present")]
    #[schemars(with = "nouns::EventType")]
    event_type: Option<EventType>,
    /// Byte for byte.
    #[serde(default, deserialize_with = "present")]
    #[schemars(with = "serde_json::Value")]
    payload: Option<Box<RawValue>>,
}

impl SampleForm {
    fn into_sample(self) -> Sample {
        let payload =
            self.payload.map(|payload| Bytes::from(Box::<str>::from(payload).into_boxed_bytes()));
        match (self.event_type, payload) {
            (None, None) => Sample::default(),
            (Some(event_type), None) => Sample::default().of_type(event_type),
            (event_type, Some(payload)) => Sample::new(event_type, payload),
        }
    }
}

/// Sends it whatever the status of the destination is, and answers with what came of it.
pub(super) async fn test(
    api: TenantApi,
    Id(id): Id<DestinationId>,
    _: NoParameters,
    OptionalJsonBody(form): OptionalJsonBody<SampleForm>,
) -> Result<Response, Problem> {
    let (destination, _) = find(&api, id).await?;
    let sent = api.courier().test(*api.workspace(), id, hasty(destination), form.into_sample());
    Ok(Json(sent.await.map_err(unopened)?).into_response())
}
