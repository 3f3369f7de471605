//! Destinations: listed, made, shown, changed, tried, confirmed, deleted.

mod act;
mod form;
pub(super) mod view;

use askama::Template;
use axum::Router;
use axum::extract::Path;
use axum::response::Response;
use axum::routing::{get, post};
use http::StatusCode;

use self::form::{DestinationForm, schemes};
use self::view::Destination;
use super::Console;
use super::endpoints::faulty;
use super::fault::Fault;
use super::form::{Fields, Posted};
use super::loaded::Loaded;
use super::page::{self, Frame, Listing, Pages, Section, html, notice, ok};
use super::refusal::Refusal;
use super::runs::Run;
use super::text::Text;
use super::visitor::Visitor;
use crate::api_client::Call;

const METHODS: [&str; 5] = ["POST", "PUT", "PATCH", "GET", "DELETE"];
const STATUSES: [&str; 4] = ["active", "paused", "unverified", "draft"];

pub(super) fn routes() -> Router<Console> {
    Router::new()
        .route("/destinations", get(list).post(create))
        .route("/destinations/new", get(new))
        .route("/destinations/{id}", get(show).post(change))
        .route("/destinations/{id}/pause", post(act::pause))
        .route("/destinations/{id}/resume", post(act::resume))
        .route("/destinations/{id}/test", post(act::test))
        .route("/destinations/{id}/verify", post(act::verify))
        .route("/destinations/{id}/retry", post(act::retry))
        .route("/destinations/{id}/rotate", post(act::rotate))
        .route("/destinations/{id}/delete", post(act::delete))
}

#[derive(Template)]
#[template(path = "destinations.html")]
struct ListPage {
    frame: Frame,
    notice: Option<&'static str>,
    destinations: Vec<Destination>,
    pages: Pages,
}

async fn list(visitor: Visitor, query: Fields) -> Result<Response, Refusal> {
    let call = page::list("destinations", &query);
    let found: Listing<Destination> = visitor.api().read(call).await?;
    Ok(ok(&ListPage {
        frame: visitor.frame(Section::Destinations),
        notice: notice(&query),
        pages: Pages::of("/console/destinations", &query, &[], found.next_cursor.as_deref()),
        destinations: found.data,
    }))
}

#[derive(Template)]
#[template(path = "destination_new.html")]
struct NewPage {
    frame: Frame,
    fault: Fault,
    form: DestinationForm,
    schemes: Vec<String>,
    methods: [&'static str; 5],
    statuses: [&'static str; 4],
}

async fn new(visitor: Visitor) -> Response {
    answer_new(&visitor, DestinationForm::empty(), Fault::default())
}

fn answer_new(visitor: &Visitor, form: DestinationForm, fault: Fault) -> Response {
    let page = NewPage {
        frame: visitor.frame(Section::Destinations),
        schemes: schemes(&form.scheme),
        methods: METHODS,
        statuses: STATUSES,
        fault,
        form,
    };
    html(page.fault.status(), &page)
}

#[derive(Template)]
#[template(path = "destination_secret.html")]
struct SecretPage<'a> {
    frame: Frame,
    title: &'static str,
    destination: &'a Destination,
    secret: &'a str,
}

/// The answer to a form that has set a secret: nothing else ever shows it.
fn answer_secret(
    visitor: &Visitor,
    title: &'static str,
    status: StatusCode,
    destination: &Destination,
) -> Option<Response> {
    let secret = destination.signing_secret.as_ref()?.expose();
    let frame = visitor.frame(Section::Destinations);
    Some(html(status, &SecretPage { frame, title, destination, secret }))
}

async fn create(Posted { visitor, fields }: Posted) -> Result<Response, Refusal> {
    let form = DestinationForm::filled(&fields);
    let members = match form.members(fields.trimmed("signing.secret")) {
        Ok(members) => members,
        Err(fault) => return Ok(answer_new(&visitor, form, fault)),
    };
    let call = Call::post(&["destinations"]).json(members.to_text());
    match visitor.api().read::<Destination>(call).await {
        Ok(made) => {
            let page = answer_secret(&visitor, "Destination made", StatusCode::CREATED, &made);
            Ok(page.unwrap_or_else(|| page::done(&["destinations", made.id.raw()], "created")))
        }
        Err(error) => Ok(answer_new(&visitor, form, faulty(error)?)),
    }
}

#[derive(Template)]
#[template(path = "destination.html")]
struct ShowPage {
    frame: Frame,
    said: Said,
    destination: Destination,
    form: DestinationForm,
    schemes: Vec<String>,
    methods: [&'static str; 5],
    failures: Vec<Run>,
}

/// What is said on the page of a destination of what was just done.
#[derive(Debug, Default)]
struct Said {
    notice: Option<Text>,
    fault: Fault,
    /// What came of a request that was sent by hand, laid out.
    record: Option<Text>,
}

impl Said {
    fn fault(fault: Fault) -> Self {
        Self { fault, ..Self::default() }
    }
}

async fn show(
    visitor: Visitor,
    Path(id): Path<String>,
    query: Fields,
) -> Result<Response, Refusal> {
    let said = Said { notice: notice(&query).map(Text::from), ..Said::default() };
    answer(&visitor, &id, None, said).await
}

/// The page of a destination; with the form as it was filled in, where something is wrong with that.
async fn answer(
    visitor: &Visitor,
    id: &str,
    filled: Option<DestinationForm>,
    said: Said,
) -> Result<Response, Refusal> {
    let api = visitor.api();
    let failed = Call::get(&["runs"]).with("destination", id).with("state", "failed");
    let (destination, failures) = tokio::join!(
        api.read::<Destination>(Call::get(&["destinations", id])),
        api.read::<Listing<Run>>(failed.with("limit", "10")),
    );
    let destination = destination?;
    let form = filled.unwrap_or_else(|| DestinationForm::of(&destination));
    let page = ShowPage {
        frame: visitor.frame(Section::Destinations),
        schemes: schemes(&form.scheme),
        methods: METHODS,
        failures: failures?.data,
        said,
        form,
        destination,
    };
    Ok(html(page.said.fault.status(), &page))
}

async fn change(
    Path(id): Path<String>,
    Posted { visitor, fields }: Posted,
) -> Result<Response, Refusal> {
    let form = DestinationForm::filled(&fields);
    let changes = match form.changes() {
        Ok(changes) => Loaded::sent(&fields).changed(&changes),
        Err(fault) => return answer(&visitor, &id, Some(form), Said::fault(fault)).await,
    };
    let call = Call::patch(&["destinations", &id]).json(changes.to_text());
    match visitor.api().read::<Destination>(call).await {
        Ok(now) => {
            let page = answer_secret(&visitor, "Signing changed", StatusCode::OK, &now);
            Ok(page.unwrap_or_else(|| page::done(&["destinations", &id], "changed")))
        }
        Err(error) => answer(&visitor, &id, Some(form), Said::fault(faulty(error)?)).await,
    }
}
