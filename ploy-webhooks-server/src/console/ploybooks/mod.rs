//! Ploybooks: listed, made, changed, deleted.

mod form;

use askama::Template;
use axum::Router;
use axum::extract::Path;
use axum::response::Response;
use axum::routing::{get, post};
use serde::Deserialize;

use self::form::{Ploybook, PloybookForm};
use super::Console;
use super::endpoints::faulty;
use super::fault::Fault;
use super::form::{Fields, Posted};
use super::page::{self, Frame, Listing, Pages, Section, html, notice, ok};
use super::refusal::Refusal;
use super::text::Text;
use super::visitor::Visitor;
use crate::api_client::{ApiError, Call};

pub(super) fn routes() -> Router<Console> {
    Router::new()
        .route("/ploybooks", get(list).post(create))
        .route("/new-ploybook", get(new))
        .route("/ploybooks/{name}", get(show).post(change))
        .route("/ploybooks/{name}/delete", post(delete))
}

/// The names of the Ploybooks that an endpoint may be wired to, and that one which it is.
pub(super) async fn names(visitor: &Visitor, current: &str) -> Result<Vec<Text>, ApiError> {
    #[derive(Deserialize)]
    struct Named {
        name: Text,
    }
    let call = Call::get(&["ploybooks"]).with("limit", "200");
    let found: Listing<Named> = visitor.api().read(call).await?;
    let mut names: Vec<Text> = found.data.into_iter().map(|named| named.name).collect();
    if !current.is_empty() && names.iter().all(|name| name.raw() != current) {
        names.push(current.into());
    }
    Ok(names)
}

#[derive(Template)]
#[template(path = "ploybooks.html")]
struct ListPage {
    frame: Frame,
    notice: Option<&'static str>,
    ploybooks: Vec<Ploybook>,
    pages: Pages,
}

async fn list(visitor: Visitor, query: Fields) -> Result<Response, Refusal> {
    let found: Listing<Ploybook> = visitor.api().read(page::list("ploybooks", &query)).await?;
    Ok(ok(&ListPage {
        frame: visitor.frame(Section::Ploybooks),
        notice: notice(&query),
        pages: Pages::of("/console/ploybooks", &query, &[], found.next_cursor.as_deref()),
        ploybooks: found.data,
    }))
}

#[derive(Template)]
#[template(path = "ploybook.html")]
struct FormPage {
    frame: Frame,
    notice: Option<&'static str>,
    fault: Fault,
    form: PloybookForm,
    /// The page of the one that is changed; none where one is made.
    page: Option<String>,
}

impl FormPage {
    fn answer(
        visitor: &Visitor,
        form: PloybookForm,
        name: Option<&str>,
        notice: Option<&'static str>,
        fault: Fault,
    ) -> Response {
        let page = Self {
            frame: visitor.frame(Section::Ploybooks),
            notice,
            fault,
            form,
            page: name.map(|name| page::url(&["ploybooks", name])),
        };
        html(page.fault.status(), &page)
    }
}

async fn new(visitor: Visitor) -> Response {
    FormPage::answer(&visitor, PloybookForm::empty(), None, None, Fault::default())
}

async fn create(Posted { visitor, fields }: Posted) -> Result<Response, Refusal> {
    let form = PloybookForm::filled(&fields);
    let mut members = match form.members() {
        Ok(members) => members,
        Err(fault) => return Ok(FormPage::answer(&visitor, form, None, None, fault)),
    };
    members.set("name", &form.name);
    let call = Call::post(&["ploybooks"]).json(members.to_text());
    match visitor.api().done(call).await {
        Ok(()) => Ok(page::done(&["ploybooks"], "created")),
        Err(error) => Ok(FormPage::answer(&visitor, form, None, None, faulty(error)?)),
    }
}

async fn show(
    visitor: Visitor,
    Path(name): Path<String>,
    query: Fields,
) -> Result<Response, Refusal> {
    let ploybook: Ploybook = visitor.api().read(Call::get(&["ploybooks", &name])).await?;
    let form = PloybookForm::of(&ploybook);
    Ok(FormPage::answer(&visitor, form, Some(&name), notice(&query), Fault::default()))
}

async fn change(
    Path(name): Path<String>,
    Posted { visitor, fields }: Posted,
) -> Result<Response, Refusal> {
    let form = PloybookForm { name: name.clone(), ..PloybookForm::filled(&fields) };
    let members = match form.members() {
        Ok(members) => members,
        Err(fault) => return Ok(FormPage::answer(&visitor, form, Some(&name), None, fault)),
    };
    let call = Call::patch(&["ploybooks", &name]).json(members.to_text());
    match visitor.api().done(call).await {
        Ok(()) => Ok(page::done(&["ploybooks", &name], "changed")),
        Err(error) => Ok(FormPage::answer(&visitor, form, Some(&name), None, faulty(error)?)),
    }
}

async fn delete(Path(name): Path<String>, posted: Posted) -> Result<Response, Refusal> {
    posted.visitor.api().done(Call::delete(&["ploybooks", &name])).await?;
    Ok(page::done(&["ploybooks"], "deleted"))
}
