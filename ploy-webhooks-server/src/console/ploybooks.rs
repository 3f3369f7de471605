//! Ploybooks: listed, made, changed, deleted.

use askama::Template;
use axum::Router;
use axum::extract::Path;
use axum::response::Response;
use axum::routing::{get, post};
use serde::Deserialize;
use serde_json::{Value, json};

use super::Console;
use super::endpoints::faulty;
use super::fault::Fault;
use super::form::{Fields, Members, Posted, number};
use super::page::{self, Frame, Listing, Pages, Section, html, notice, ok};
use super::refusal::Refusal;
use super::text::{State, Text};
use super::visitor::Visitor;
use crate::api_client::{ApiError, Call};

pub(super) fn routes() -> Router<Console> {
    Router::new()
        .route("/ploybooks", get(list).post(create))
        .route("/ploybooks/new", get(new))
        .route("/ploybooks/{name}", get(show).post(change))
        .route("/ploybooks/{name}/delete", post(delete))
}

/// A Ploybook, as the API answers it.
#[derive(Debug, Deserialize)]
struct Ploybook {
    name: Text,
    description: Text,
    enabled: bool,
    run: Means,
    instructions: Text,
    time_limit_seconds: u64,
    #[serde(default)]
    retry: Value,
    takes_requests: bool,
}

/// How it is run.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Means {
    Function(Text),
    Command {
        argv: Vec<Text>,
        #[serde(default)]
        folder: Option<Text>,
    },
    Http {
        url: Text,
        #[serde(default)]
        secret_env: Option<Text>,
    },
}

impl Ploybook {
    fn page(&self) -> String {
        page::url(&["ploybooks", self.name.raw()])
    }

    fn state(&self) -> State {
        if self.enabled { "enabled".into() } else { "disabled".into() }
    }
}

impl Means {
    const fn kind(&self) -> &'static str {
        match self {
            Self::Function(_) => "function",
            Self::Command { .. } => "command",
            Self::Http { .. } => "http",
        }
    }

    /// The one thing that says how it is run: a URL, a program a line an argument, a name.
    fn target(&self) -> Text {
        match self {
            Self::Function(name) => name.clone(),
            Self::Http { url, .. } => url.clone(),
            Self::Command { argv, .. } => {
                argv.iter().map(Text::raw).collect::<Vec<_>>().join("\n").into()
            }
        }
    }
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

/// A Ploybook as a form holds it.
#[derive(Debug)]
struct PloybookForm {
    name: String,
    description: String,
    enabled: bool,
    kind: String,
    target: String,
    folder: String,
    secret_env: String,
    instructions: String,
    time_limit: String,
    attempts: String,
    takes_requests: bool,
}

impl PloybookForm {
    fn empty() -> Self {
        Self {
            name: String::new(),
            description: String::new(),
            enabled: true,
            kind: "http".to_owned(),
            target: String::new(),
            folder: String::new(),
            secret_env: String::new(),
            instructions: String::new(),
            time_limit: "60".to_owned(),
            attempts: "4".to_owned(),
            takes_requests: true,
        }
    }

    fn of(ploybook: &Ploybook) -> Self {
        let (folder, secret_env) = match &ploybook.run {
            Means::Command { folder, .. } => (folder.clone(), None),
            Means::Http { secret_env, .. } => (None, secret_env.clone()),
            Means::Function(_) => (None, None),
        };
        let text = |text: Option<Text>| text.unwrap_or_default().raw().to_owned();
        Self {
            name: ploybook.name.raw().to_owned(),
            description: ploybook.description.raw().to_owned(),
            enabled: ploybook.enabled,
            kind: ploybook.run.kind().to_owned(),
            target: ploybook.run.target().raw().to_owned(),
            folder: text(folder),
            secret_env: text(secret_env),
            instructions: ploybook.instructions.raw().to_owned(),
            time_limit: ploybook.time_limit_seconds.to_string(),
            // Where gaps are listed, they say how often.
            attempts: ploybook.retry["attempts_max"]
                .as_u64()
                .map(|it| it.to_string())
                .unwrap_or_default(),
            takes_requests: ploybook.takes_requests,
        }
    }

    fn filled(fields: &Fields) -> Self {
        let text = |name: &str| fields.get(name).to_owned();
        Self {
            name: text("name"),
            description: text("description"),
            enabled: fields.has("enabled"),
            kind: text("run"),
            target: text("run.target"),
            folder: text("run.command.folder"),
            secret_env: text("run.http.secret_env"),
            instructions: text("instructions"),
            time_limit: text("time_limit_seconds"),
            attempts: text("retry.attempts_max"),
            takes_requests: fields.has("takes_requests"),
        }
    }

    fn members(&self) -> Result<Members, Fault> {
        let mut members = Members::default();
        members.set("description", &self.description);
        members.set("enabled", self.enabled);
        members.set("run", self.run());
        members.set("instructions", &self.instructions);
        if let Some(seconds) = number("time_limit_seconds", &self.time_limit)? {
            members.set("time_limit_seconds", seconds);
        }
        if let Some(attempts) = number("retry.attempts_max", &self.attempts)? {
            members.set("retry", json!({ "attempts_max": attempts }));
        }
        members.set("takes_requests", self.takes_requests);
        Ok(members)
    }

    fn run(&self) -> Value {
        let target = self.target.trim();
        let some = |text: &str| Some(text.trim().to_owned()).filter(|text| !text.is_empty());
        match self.kind.as_str() {
            "function" => json!({ "function": target }),
            "command" => {
                let argv: Vec<_> = target.lines().collect();
                match some(&self.folder) {
                    Some(folder) => json!({"command": {"argv": argv, "folder": folder}}),
                    None => json!({"command": {"argv": argv}}),
                }
            }
            _ => match some(&self.secret_env) {
                Some(name) => json!({"http": {"url": target, "secret_env": name}}),
                None => json!({"http": {"url": target}}),
            },
        }
    }
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
