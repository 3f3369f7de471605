//! Subscriptions: listed, made, changed, tried out on an event, deleted.

mod form;

use askama::Template;
use axum::Router;
use axum::extract::Path;
use axum::response::Response;
use axum::routing::{get, post};
use serde::Deserialize;
use serde_json::json;

use self::form::{Subscription, SubscriptionForm};
use super::Console;
use super::destinations::view::Destination;
use super::endpoints::faulty;
use super::endpoints::view::Endpoint;
use super::events::Summary;
use super::fault::Fault;
use super::form::{Fields, Posted};
use super::page::{self, Frame, Listing, Pages, Section, html, notice, ok};
use super::refusal::Refusal;
use super::text::Text;
use super::visitor::Visitor;
use crate::api_client::{ApiError, Call};

pub(super) fn routes() -> Router<Console> {
    Router::new()
        .route("/subscriptions", get(list).post(create))
        .route("/subscriptions/new", get(new))
        .route("/subscriptions/test", post(test_new))
        .route("/subscriptions/{id}", get(show).post(change))
        .route("/subscriptions/{id}/test", post(test))
        .route("/subscriptions/{id}/delete", post(delete))
}

#[derive(Template)]
#[template(path = "subscriptions.html")]
struct ListPage {
    frame: Frame,
    notice: Option<&'static str>,
    subscriptions: Vec<Subscription>,
    pages: Pages,
}

async fn list(visitor: Visitor, query: Fields) -> Result<Response, Refusal> {
    let call = page::list("subscriptions", &query);
    let found: Listing<Subscription> = visitor.api().read(call).await?;
    Ok(ok(&ListPage {
        frame: visitor.frame(Section::Subscriptions),
        notice: notice(&query),
        pages: Pages::of("/console/subscriptions", &query, &[], found.next_cursor.as_deref()),
        subscriptions: found.data,
    }))
}

/// What came of trying a condition out.
#[derive(Debug, Deserialize)]
struct Verdict {
    matches: bool,
    #[serde(default)]
    reason: Option<Text>,
}

#[derive(Template)]
#[template(path = "subscription.html")]
struct FormPage {
    frame: Frame,
    notice: Option<&'static str>,
    fault: Fault,
    verdict: Option<Verdict>,
    form: SubscriptionForm,
    endpoints: Vec<Endpoint>,
    ploybooks: Vec<Text>,
    destinations: Vec<Destination>,
    events: Vec<Summary>,
    /// The page of the one that is changed; none where one is made.
    page: Option<String>,
}

impl FormPage {
    /// The endpoints that are named and not listed, since they are gone or too many are there. The
    /// form has to send them back: without a name it would mean every endpoint.
    fn named_only(&self) -> impl Iterator<Item = &str> {
        let is_listed = |id: &str| self.endpoints.iter().any(|endpoint| endpoint.id.raw() == id);
        self.form.endpoints.iter().map(String::as_str).filter(move |id| !is_listed(id))
    }

    /// The destination that is named and not listed, likewise.
    fn destination_named_only(&self) -> Option<&str> {
        let named = self.form.action.strip_prefix("destination:")?;
        let is_listed = self.destinations.iter().any(|listed| listed.id.raw() == named);
        (!is_listed).then_some(named)
    }
}

/// What is said on the page of the form.
#[derive(Default)]
struct Said {
    notice: Option<&'static str>,
    fault: Fault,
    verdict: Option<Verdict>,
}

impl Said {
    fn fault(fault: Fault) -> Self {
        Self { fault, ..Self::default() }
    }
}

async fn answer(
    visitor: &Visitor,
    form: SubscriptionForm,
    id: Option<&str>,
    Said { notice, fault, verdict }: Said,
) -> Result<Response, Refusal> {
    let api = visitor.api();
    let many = |kind: &str| Call::get(&[kind]).with("limit", "200");
    let current = form.action.strip_prefix("ploybook:").unwrap_or_default();
    let (endpoints, ploybooks, destinations, events) = tokio::join!(
        api.read::<Listing<Endpoint>>(many("endpoints")),
        super::ploybooks::names(visitor, current),
        api.read::<Listing<Destination>>(many("destinations")),
        api.read::<Listing<Summary>>(Call::get(&["events"]).with("limit", "20")),
    );
    let page = FormPage {
        frame: visitor.frame(Section::Subscriptions),
        notice,
        fault,
        verdict,
        form,
        endpoints: endpoints?.data,
        ploybooks: ploybooks?,
        destinations: destinations?.data,
        events: events?.data,
        page: id.map(|id| page::url(&["subscriptions", id])),
    };
    Ok(html(page.fault.status(), &page))
}

async fn new(visitor: Visitor) -> Result<Response, Refusal> {
    let form =
        SubscriptionForm { enabled: true, position: "0".to_owned(), ..SubscriptionForm::default() };
    answer(&visitor, form, None, Said::default()).await
}

async fn create(Posted { visitor, fields }: Posted) -> Result<Response, Refusal> {
    let form = SubscriptionForm::filled(&fields);
    let members = match form.members() {
        Ok(members) => members,
        Err(fault) => return answer(&visitor, form, None, Said::fault(fault)).await,
    };
    let call = Call::post(&["subscriptions"]).json(members.to_text());
    match visitor.api().done(call).await {
        Ok(()) => Ok(page::done(&["subscriptions"], "created")),
        Err(error) => answer(&visitor, form, None, Said::fault(faulty(error)?)).await,
    }
}

async fn find(visitor: &Visitor, id: &str) -> Result<Subscription, ApiError> {
    visitor.api().read(Call::get(&["subscriptions", id])).await
}

async fn show(
    visitor: Visitor,
    Path(id): Path<String>,
    query: Fields,
) -> Result<Response, Refusal> {
    let form = SubscriptionForm::of(&find(&visitor, &id).await?);
    let said = Said { notice: notice(&query), ..Said::default() };
    answer(&visitor, form, Some(&id), said).await
}

async fn change(
    Path(id): Path<String>,
    Posted { visitor, fields }: Posted,
) -> Result<Response, Refusal> {
    let form = SubscriptionForm::filled(&fields);
    let members = match form.changes(&find(&visitor, &id).await?) {
        Ok(members) => members,
        Err(fault) => return answer(&visitor, form, Some(&id), Said::fault(fault)).await,
    };
    let call = Call::patch(&["subscriptions", &id]).json(members.to_text());
    match visitor.api().done(call).await {
        Ok(()) => Ok(page::done(&["subscriptions", &id], "changed")),
        Err(error) => answer(&visitor, form, Some(&id), Said::fault(faulty(error)?)).await,
    }
}

async fn test_new(posted: Posted) -> Result<Response, Refusal> {
    try_out(posted, None).await
}

async fn test(Path(id): Path<String>, posted: Posted) -> Result<Response, Refusal> {
    try_out(posted, Some(&id)).await
}

/// Tries the condition out as it is filled in; nothing of the form is kept but on the page.
async fn try_out(
    Posted { visitor, fields }: Posted,
    id: Option<&str>,
) -> Result<Response, Refusal> {
    let form = SubscriptionForm::filled(&fields);
    let body = json!({"condition": form.condition, "event_id": form.event}).to_string();
    let tried = visitor.api().read(Call::post(&["subscriptions", "test"]).json(body)).await;
    let said = match tried {
        Ok(verdict) => Said { verdict: Some(verdict), ..Said::default() },
        Err(error) if error.status() == http::StatusCode::NOT_FOUND => {
            Said::fault(Fault::at_member("event_id", "there is no such event in this workspace"))
        }
        Err(error) => Said::fault(faulty(error)?),
    };
    answer(&visitor, form, id, said).await
}

async fn delete(Path(id): Path<String>, posted: Posted) -> Result<Response, Refusal> {
    posted.visitor.api().done(Call::delete(&["subscriptions", &id])).await?;
    Ok(page::done(&["subscriptions"], "deleted"))
}
