//! What is done with a destination: paused, tried, confirmed, caught up with, rotated, deleted.

use axum::extract::Path;
use axum::response::Response;
use http::StatusCode;
use serde::Deserialize;
use serde_json::json;
use serde_json::value::RawValue;

use super::view::Destination;
use super::{Said, answer, answer_secret};
use crate::api_client::{ApiError, Call};
use crate::console::endpoints::{faulty, rotation};
use crate::console::events::in_full;
use crate::console::form::{Members, Posted};
use crate::console::page;
use crate::console::payload::laid_out;
use crate::console::refusal::Refusal;
use crate::console::text::Text;
use crate::console::visitor::Visitor;

pub(super) async fn pause(Path(id): Path<String>, posted: Posted) -> Result<Response, Refusal> {
    set_status(&posted.visitor, &id, "paused", "held").await
}

pub(super) async fn resume(Path(id): Path<String>, posted: Posted) -> Result<Response, Refusal> {
    set_status(&posted.visitor, &id, "active", "resumed").await
}

async fn set_status(
    visitor: &Visitor,
    id: &str,
    status: &str,
    done: &'static str,
) -> Result<Response, Refusal> {
    let call = Call::patch(&["destinations", id]).json(json!({ "status": status }).to_string());
    match visitor.api().done(call).await {
        Ok(()) => Ok(page::done(&["destinations", id], done)),
        Err(error) => refused(visitor, id, error).await,
    }
}

async fn refused(visitor: &Visitor, id: &str, error: ApiError) -> Result<Response, Refusal> {
    answer(visitor, id, None, Said::fault(faulty(error)?)).await
}

/// Sends an example, and shows what came of it: it is kept nowhere.
pub(super) async fn test(Path(id): Path<String>, posted: Posted) -> Result<Response, Refusal> {
    let visitor = posted.visitor;
    let call = Call::post(&["destinations", &id, "test"]);
    match visitor.api().read::<Box<RawValue>>(call).await {
        Ok(record) => {
            let failed = serde_json::from_str::<Failure>(record.get()).ok();
            let notice = match failed.and_then(|failure| failure.error) {
                Some(why) => format!("The example did not arrive: {}", why.raw()),
                None => "The example arrived.".to_owned(),
            };
            let record = Some(laid_out(record.get()).text);
            let said = Said { notice: Some(notice.into()), record, ..Said::default() };
            answer(&visitor, &id, None, said).await
        }
        Err(error) => refused(&visitor, &id, error).await,
    }
}

/// What is read of a record.
#[derive(Deserialize)]
struct Failure {
    #[serde(default)]
    error: Option<Text>,
}

/// The answer of the API to who asks for a confirmation.
#[derive(Deserialize)]
struct Verification {
    verified: bool,
    record: Box<RawValue>,
}

pub(super) async fn verify(Path(id): Path<String>, posted: Posted) -> Result<Response, Refusal> {
    let visitor = posted.visitor;
    let call = Call::post(&["destinations", &id, "verify"]);
    match visitor.api().read::<Verification>(call).await {
        Ok(Verification { verified, record }) => {
            let notice = match verified {
                true => "Confirmed: whoever receives there wants to.",
                false => {
                    "Asked, and not confirmed yet: whoever receives there may open the link that \
                     was sent, within seven days."
                }
            };
            let record = Some(laid_out(record.get()).text);
            let said = Said { notice: Some(notice.into()), record, ..Said::default() };
            answer(&visitor, &id, None, said).await
        }
        Err(error) => refused(&visitor, &id, error).await,
    }
}

/// How many runs are tried again, and where to go on.
#[derive(Deserialize)]
struct Retried {
    retried: u64,
    next_cursor: Option<String>,
}

pub(super) async fn retry(
    Path(id): Path<String>,
    Posted { visitor, fields }: Posted,
) -> Result<Response, Refusal> {
    let mut members = Members::default();
    members.set_some("since", &in_full(fields.trimmed("since")));
    let call = Call::post(&["destinations", &id, "retry"]).json(members.to_text());
    match visitor.api().read::<Retried>(call).await {
        Ok(Retried { retried, next_cursor }) => {
            let more = match next_cursor {
                Some(_) => " There are more: ask again when these are through.",
                None => "",
            };
            let notice = format!("{retried} failed deliveries are tried again.{more}");
            let said = Said { notice: Some(notice.into()), ..Said::default() };
            answer(&visitor, &id, None, said).await
        }
        Err(error) => refused(&visitor, &id, error).await,
    }
}

pub(super) async fn rotate(
    Path(id): Path<String>,
    Posted { visitor, fields }: Posted,
) -> Result<Response, Refusal> {
    let body = match rotation(&fields) {
        Ok(body) => body,
        Err(fault) => return answer(&visitor, &id, None, Said::fault(fault)).await,
    };
    let call = Call::post(&["destinations", &id, "rotate"]).json(body.to_text());
    match visitor.api().read::<Destination>(call).await {
        Ok(rotated) => {
            let page = answer_secret(&visitor, "Rotated", StatusCode::OK, &rotated);
            Ok(page.unwrap_or_else(|| page::done(&["destinations", &id], "changed")))
        }
        Err(error) => refused(&visitor, &id, error).await,
    }
}

pub(super) async fn delete(Path(id): Path<String>, posted: Posted) -> Result<Response, Refusal> {
    let visitor = posted.visitor;
    match visitor.api().done(Call::delete(&["destinations", &id])).await {
        Ok(()) => Ok(page::done(&["destinations"], "deleted")),
        Err(error) => refused(&visitor, &id, error).await,
    }
}
