//! The tools, by what they work on.

mod endpoints;
mod events;
mod runs;

use crate::api_client::Call;

/// An agent reads all of a page, and asks for more where it has to.
const USUAL_LIMIT: u16 = 20;

/// The call for that page of a list. Each tool names the two by itself: what is flattened into it
/// would take whatever else an agent makes up.
fn page_of(call: Call, limit: Option<u16>, cursor: Option<&str>) -> Call {
    let limit = limit.unwrap_or(USUAL_LIMIT).to_string();
    call.with("limit", &limit).with_some("cursor", cursor.unwrap_or_default())
}

/// The call with those of the parameters that are given.
fn with_given(call: Call, parameters: &[(&str, &Option<String>)]) -> Call {
    parameters.iter().fold(call, |call, (name, value)| {
        call.with_some(name, value.as_deref().unwrap_or_default())
    })
}
