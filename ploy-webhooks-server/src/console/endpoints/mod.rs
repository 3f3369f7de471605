//! Endpoints: listed, made, shown, changed, paused, rotated, deleted.

mod form;
pub(super) mod proof;
mod secret;
pub(super) mod view;

use askama::Template;
use axum::Router;
use axum::extract::Path;
use axum::response::Response;
use axum::routing::{get, post};
use http::StatusCode;
use serde_json::json;

use self::form::{EndpointForm, schemes};
use self::view::Endpoint;
use super::Console;
use super::events::Summary;
use super::fault::Fault;
use super::form::{Fields, Members, Posted, number};
use super::loaded::Loaded;
use super::page::{self, Frame, Listing, Pages, Section, html, notice, ok};
use super::refusal::Refusal;
use super::text::Text;
use super::visitor::Visitor;
use crate::api_client::{ApiError, Call};

pub(super) fn routes() -> Router<Console> {
    Router::new()
        .route("/endpoints", get(list).post(create))
        .route("/endpoints/new", get(new))
        .route("/endpoints/{id}", get(show).post(change))
        .route("/endpoints/{id}/pause", post(pause))
        .route("/endpoints/{id}/resume", post(resume))
        .route("/endpoints/{id}/rotate", post(rotate))
        .route("/endpoints/{id}/delete", post(delete))
}

#[derive(Template)]
#[template(path = "endpoints.html")]
struct ListPage {
    frame: Frame,
    notice: Option<&'static str>,
    endpoints: Vec<Endpoint>,
    pages: Pages,
}

async fn list(visitor: Visitor, query: Fields) -> Result<Response, Refusal> {
    let found: Listing<Endpoint> = visitor.api().read(page::list("endpoints", &query)).await?;
    Ok(ok(&ListPage {
        frame: visitor.frame(Section::Endpoints),
        notice: notice(&query),
        pages: Pages::of("/console/endpoints", &query, &[], found.next_cursor.as_deref()),
        endpoints: found.data,
    }))
}

#[derive(Template)]
#[template(path = "endpoint_new.html")]
struct NewPage {
    frame: Frame,
    fault: Fault,
    form: EndpointForm,
    schemes: Vec<&'static str>,
    ploybooks: Vec<Text>,
}

async fn new(visitor: Visitor) -> Result<Response, Refusal> {
    answer_new(&visitor, EndpointForm::default(), Fault::default()).await
}

async fn answer_new(
    visitor: &Visitor,
    form: EndpointForm,
    fault: Fault,
) -> Result<Response, Refusal> {
    let page = NewPage {
        frame: visitor.frame(Section::Endpoints),
        schemes: schemes(),
        ploybooks: super::ploybooks::names(visitor, &form.trigger).await?,
        fault,
        form,
    };
    Ok(html(page.fault.status(), &page))
}

async fn create(Posted { visitor, fields }: Posted) -> Result<Response, Refusal> {
    let form = EndpointForm::filled(&fields);
    let settings = form.settings().and_then(|mut settings| {
        settings.set("auth", auth(&fields, &form)?);
        Ok(settings)
    });
    let settings = match settings {
        Ok(settings) => settings,
        Err(fault) => return answer_new(&visitor, form, fault).await,
    };
    let call = Call::post(&["endpoints"]).json(settings.to_text());
    match visitor.api().read::<Endpoint>(call).await {
        Ok(made) => {
            let page = secret::shown(&visitor, "Endpoint made", StatusCode::CREATED, &made);
            Ok(page.unwrap_or_else(|| page::done(&["endpoints", made.id.raw()], "created")))
        }
        Err(error) => answer_new(&visitor, form, faulty(error)?).await,
    }
}

/// How senders prove who they are, as the form asks for it.
fn auth(fields: &Fields, form: &EndpointForm) -> Result<Members, Fault> {
    let mut auth = Members::default();
    auth.set("scheme", if form.scheme.is_empty() { "api-key" } else { &form.scheme });
    if form.scheme == "api-key" {
        return Ok(auth);
    }
    auth.set_some("secret", fields.trimmed("auth.secret"));
    let tolerance = number("auth.tolerance_seconds", fields.get("auth.tolerance_seconds"))?;
    if let Some(tolerance) = tolerance {
        auth.set("tolerance_seconds", tolerance);
    }
    Ok(auth)
}

/// What is said on the page of the form; what ends the session, or is not about the form, is not.
pub(super) fn faulty(error: ApiError) -> Result<Fault, Refusal> {
    match error.status() {
        StatusCode::UNAUTHORIZED | StatusCode::NOT_FOUND => Err(error.into()),
        status if status.is_server_error() => Err(error.into()),
        _ => Ok(Fault::of(&error)),
    }
}

#[derive(Template)]
#[template(path = "endpoint.html")]
struct ShowPage {
    frame: Frame,
    notice: Option<&'static str>,
    fault: Fault,
    endpoint: Endpoint,
    form: EndpointForm,
    ploybooks: Vec<Text>,
    events: Vec<Summary>,
}

async fn show(
    visitor: Visitor,
    Path(id): Path<String>,
    query: Fields,
) -> Result<Response, Refusal> {
    answer(&visitor, &id, None, notice(&query), Fault::default()).await
}

/// The page of an endpoint; with the form as it was filled in, where something is wrong with that.
async fn answer(
    visitor: &Visitor,
    id: &str,
    filled: Option<EndpointForm>,
    notice: Option<&'static str>,
    fault: Fault,
) -> Result<Response, Refusal> {
    let api = visitor.api();
    let endpoint: Endpoint = api.read(Call::get(&["endpoints", id])).await?;
    let form = filled.unwrap_or_else(|| EndpointForm::of(&endpoint));
    let last = Call::get(&["events"]).with("endpoint", id).with("limit", "10");
    let (events, ploybooks) = tokio::join!(
        api.read::<Listing<Summary>>(last),
        super::ploybooks::names(visitor, &form.trigger),
    );
    let page = ShowPage {
        frame: visitor.frame(Section::Endpoints),
        notice,
        endpoint,
        form,
        ploybooks: ploybooks?,
        events: events?.data,
        fault,
    };
    Ok(html(page.fault.status(), &page))
}

async fn change(
    Path(id): Path<String>,
    Posted { visitor, fields }: Posted,
) -> Result<Response, Refusal> {
    let form = EndpointForm::filled(&fields);
    let settings = match form.settings() {
        Ok(settings) => Loaded::sent(&fields).changed(&settings),
        Err(fault) => return answer(&visitor, &id, Some(form), None, fault).await,
    };
    let call = Call::patch(&["endpoints", &id]).json(settings.to_text());
    match visitor.api().done(call).await {
        Ok(()) => Ok(page::done(&["endpoints", &id], "changed")),
        Err(error) => answer(&visitor, &id, Some(form), None, faulty(error)?).await,
    }
}

async fn pause(Path(id): Path<String>, posted: Posted) -> Result<Response, Refusal> {
    set_status(&posted.visitor, &id, "paused", "paused").await
}

async fn resume(Path(id): Path<String>, posted: Posted) -> Result<Response, Refusal> {
    set_status(&posted.visitor, &id, "active", "resumed").await
}

async fn set_status(
    visitor: &Visitor,
    id: &str,
    status: &str,
    done: &'static str,
) -> Result<Response, Refusal> {
    let body = json!({ "status": status }).to_string();
    match visitor.api().done(Call::patch(&["endpoints", id]).json(body)).await {
        Ok(()) => Ok(page::done(&["endpoints", id], done)),
        Err(error) => answer(visitor, id, None, None, faulty(error)?).await,
    }
}

async fn rotate(
    Path(id): Path<String>,
    Posted { visitor, fields }: Posted,
) -> Result<Response, Refusal> {
    let body = rotation(&fields);
    let body = match body {
        Ok(body) => body,
        Err(fault) => return answer(&visitor, &id, None, None, fault).await,
    };
    let call = Call::post(&["endpoints", &id, "rotate"]).json(body.to_text());
    match visitor.api().read::<Endpoint>(call).await {
        Ok(rotated) => {
            let page = secret::shown(&visitor, "Rotated", StatusCode::OK, &rotated);
            Ok(page.unwrap_or_else(|| page::done(&["endpoints", &id], "changed")))
        }
        Err(error) => answer(&visitor, &id, None, None, faulty(error)?).await,
    }
}

/// The body of a call that rotates a secret.
pub(super) fn rotation(fields: &Fields) -> Result<Members, Fault> {
    let mut members = Members::default();
    members.set_some("secret", fields.trimmed("secret"));
    let overlap = number("overlap_seconds", fields.get("overlap_seconds"))?;
    members.set("overlap_seconds", overlap.unwrap_or(0));
    Ok(members)
}

async fn delete(
    Path(id): Path<String>,
    Posted { visitor, fields }: Posted,
) -> Result<Response, Refusal> {
    let api = visitor.api();
    let endpoint: Endpoint = api.read(Call::get(&["endpoints", &id])).await?;
    if fields.trimmed("confirm") != endpoint.slug.raw() {
        let why = "type the slug of this endpoint as it stands there, to delete it";
        return answer(&visitor, &id, None, None, Fault::at_member("confirm", why)).await;
    }
    match api.done(Call::delete(&["endpoints", &id])).await {
        Ok(()) => Ok(page::done(&["endpoints"], "deleted")),
        Err(error) => answer(&visitor, &id, None, None, faulty(error)?).await,
    }
}
