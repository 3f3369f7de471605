//! What describes the API to programs: OpenAPI 3.1, made from the table of calls and from the types
//! that are read and written, so that it says what is true.
//!
//! A call is not in the table without an [`Operation`], which says what it takes and what it
//! answers. Schemas are derived from the API's own forms and views; what the core defines, which
//! knows nothing of schemas, has a stand-in in [`nouns`].

mod beside;
mod changes;
mod document;
pub(super) mod nouns;
mod operation;
mod refusals;
mod schemas;

use std::sync::{Arc, OnceLock};

use axum::extract::{Extension, State};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use http::header::CONTENT_TYPE;

pub(super) use self::changes::Changes;
pub(super) use self::document::document;
pub(super) use self::operation::{Operation, call, call_on};
use super::Api;
use super::problem::Problem;
use super::query::NoParameters;
use super::routing::{self, Call};

/// The text of the description, once it was asked for.
#[derive(Clone, Debug, Default)]
pub(super) struct Text(Arc<OnceLock<Bytes>>);

pub(super) fn open_calls() -> [Call; 1] {
    [routing::get(
        "/openapi.json",
        show,
        call("describe_api", "This description.")
            .answers_any("application/json", "The description, in OpenAPI 3.1.")
            .open(),
    )]
}

/// Says of the server that it is at the URL by which senders know it.
async fn show(
    State(api): State<Api>,
    Extension(text): Extension<Text>,
    _: NoParameters,
) -> Result<Response, Problem> {
    let text = text.0.get_or_init(|| {
        let mut document = document();
        document["servers"][0]["url"] = api.parts.public_url.clone().into();
        serde_json::to_vec(&document).expect("a tree has a JSON form").into()
    });
    Ok(([(CONTENT_TYPE, "application/json")], text.clone()).into_response())
}
