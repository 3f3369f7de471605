//! The management API as the commands call it.

use std::time::Duration;

use reqwest::header::{AUTHORIZATION, CONTENT_TYPE, HeaderValue};
use reqwest::{Method, Response, StatusCode, Url};
use serde::Deserialize;

use super::output::harmless;
use super::{Failure, ServerArgs, suggest};
use crate::log::chain;
use crate::url::http_url;

const TIMEOUT: Duration = Duration::from_secs(30);
/// A stream says something more often than that, or its connection is dead.
const SILENCE_MAX: Duration = Duration::from_secs(45);

/// A server, the token for it, and the workspace that is chosen with it.
#[derive(Debug)]
pub(super) struct Client {
    http: reqwest::Client,
    /// For answers that do not end.
    streaming: reqwest::Client,
    base: Url,
    authorization: HeaderValue,
    workspace: Option<HeaderValue>,
}

/// One call of the API.
#[derive(Debug)]
pub(super) struct Call<'a> {
    pub(super) method: Method,
    /// The segments of the path after `/api/v1`.
    pub(super) path: Vec<&'a str>,
    /// The parameters that are given.
    pub(super) query: Vec<(&'static str, Option<String>)>,
    /// In JSON, as it is sent.
    pub(super) body: Option<String>,
    /// A header more.
    header: Option<(&'static str, String)>,
    /// How long it may take.
    within: Duration,
}

impl<'a> Call<'a> {
    pub(super) fn new(method: Method, path: impl Into<Vec<&'a str>>) -> Self {
        let (path, query) = (path.into(), Vec::new());
        Self { method, path, query, body: None, header: None, within: TIMEOUT }
    }

    /// The same with these parameters more.
    pub(super) fn query<const N: usize>(
        mut self,
        query: [(&'static str, Option<String>); N],
    ) -> Self {
        self.query.extend(query);
        self
    }

    pub(super) fn body(self, body: serde_json::Value) -> Self {
        self.text(body.to_string())
    }

    /// The same with a body whose bytes matter.
    pub(super) fn text(self, body: String) -> Self {
        Self { body: Some(body), ..self }
    }

    pub(super) fn header(self, name: &'static str, value: String) -> Self {
        Self { header: Some((name, value)), ..self }
    }

    /// The same with more patience, for what waits for others.
    pub(super) fn within(self, within: Duration) -> Self {
        Self { within, ..self }
    }
}

impl Client {
    pub(super) fn of(server: &ServerArgs) -> Result<Self, Failure> {
        if server.token.is_empty() {
            return Err(Failure::Usage("set PLOY_TOKEN to a token of the server".to_owned()));
        }
        let (base, authorization) = (http_url(&server.url)?, bearer(&server.token)?);
        let workspace = server.workspace().map(HeaderValue::from_str).transpose();
        let workspace = workspace
            .map_err(|_| Failure::Usage("`--workspace` is the id of a workspace".to_owned()))?;
        let (http, streaming) = (http(TIMEOUT)?, streaming()?);
        Ok(Self { http, streaming, base, authorization, workspace })
    }

    /// The body of a successful answer; anything else is a failure in the server's words.
    pub(super) async fn call(&self, call: Call<'_>) -> Result<Vec<u8>, Failure> {
        Ok(self.try_call(call).await?)
    }

    /// As [`call`](Self::call), for who acts on how it was refused.
    pub(super) async fn try_call(&self, call: Call<'_>) -> Result<Vec<u8>, Refusal> {
        let within = call.within;
        let response = self.send(&self.http, call, Some(within)).await?;
        Ok(response.bytes().await?.into())
    }

    /// A successful answer that is read as it comes.
    pub(super) async fn stream(&self, call: Call<'_>) -> Result<Response, Refusal> {
        self.send(&self.streaming, call, None).await
    }

    async fn send(
        &self,
        http: &reqwest::Client,
        call: Call<'_>,
        within: Option<Duration>,
    ) -> Result<Response, Refusal> {
        let path = call.path.clone();
        let mut request = http
            .request(call.method, self.url(&call.path, &call.query))
            .header(AUTHORIZATION, self.authorization.clone());
        if let Some(within) = within {
            request = request.timeout(within);
        }
        if let Some(workspace) = &self.workspace {
            request = request.header("ploy-workspace", workspace.clone());
        }
        if let Some((name, value)) = call.header {
            request = request.header(name, value);
        }
        if let Some(body) = call.body {
            request = request.header(CONTENT_TYPE, "application/json").body(body);
        }
        let response = request.send().await?;
        let status = response.status();
        if status.is_success() {
            return Ok(response);
        }
        let body = response.bytes().await?;
        let hint = match status {
            StatusCode::NOT_FOUND => suggest::about_path(&path),
            _ => None,
        };
        let hint = hint.map(|hint| format!("; {hint}")).unwrap_or_default();
        let why = format!("{status}: {}{hint}", detail(&body));
        Err(Refusal { status: Some(status), why })
    }

    fn url(&self, path: &[&str], query: &[(&str, Option<String>)]) -> Url {
        let mut url = self.base.clone();
        url.path_segments_mut()
            .expect("http and https URLs have a path")
            .pop_if_empty()
            .extend(["api", "v1"])
            .extend(path);
        for (name, value) in query {
            if let Some(value) = value {
                url.query_pairs_mut().append_pair(name, value);
            }
        }
        url
    }
}

/// A call that did not succeed, and why.
#[derive(Debug)]
pub(super) struct Refusal {
    /// What the server answered, where it did.
    pub(super) status: Option<StatusCode>,
    pub(super) why: String,
}

impl Refusal {
    /// Whether the same call may succeed later.
    pub(super) fn is_passing(&self) -> bool {
        let is_passing = |status: StatusCode| {
            status.is_server_error()
                || [StatusCode::TOO_MANY_REQUESTS, StatusCode::REQUEST_TIMEOUT].contains(&status)
        };
        self.status.is_none_or(is_passing)
    }
}

impl From<reqwest::Error> for Refusal {
    fn from(error: reqwest::Error) -> Self {
        Self { status: None, why: chain(&error) }
    }
}

impl From<Refusal> for Failure {
    fn from(refusal: Refusal) -> Self {
        Self::Failed(refusal.why)
    }
}

/// As [`http`], for answers that do not end.
fn streaming() -> Result<reqwest::Client, Failure> {
    built(builder().connect_timeout(TIMEOUT).read_timeout(SILENCE_MAX))
}

/// An HTTP client. It follows no redirect: what is sent is meant for this server alone.
pub(super) fn http(timeout: Duration) -> Result<reqwest::Client, Failure> {
    built(builder().timeout(timeout))
}

fn builder() -> reqwest::ClientBuilder {
    reqwest::Client::builder()
        .user_agent(concat!("ploy-webhooks/", env!("CARGO_PKG_VERSION")))
        .redirect(reqwest::redirect::Policy::none())
}

fn built(builder: reqwest::ClientBuilder) -> Result<reqwest::Client, Failure> {
    builder.build().map_err(|error| Failure::Failed(chain(&error)))
}

/// The header that shows a key or a token, kept out of `Debug` output.
pub(super) fn bearer(secret: &str) -> Result<HeaderValue, Failure> {
    let mut value: HeaderValue = format!("Bearer {secret}")
        .parse()
        .map_err(|_| Failure::Usage("the key or token has characters that none has".to_owned()))?;
    value.set_sensitive(true);
    Ok(value)
}

/// What a problem says for people, made harmless; empty where the answer is no problem.
pub(super) fn detail(body: &[u8]) -> String {
    #[derive(Deserialize)]
    struct Problem {
        detail: String,
    }
    serde_json::from_slice::<Problem>(body)
        .map(|problem| harmless(&problem.detail))
        .unwrap_or_default()
}

/// Reads an answer that the commands understand.
pub(super) fn parse<'a, T: Deserialize<'a>>(body: &'a [u8]) -> Result<T, Failure> {
    serde_json::from_slice(body)
        .map_err(|error| Failure::Failed(format!("the server answered something else: {error}")))
}
