//! The management API as the commands call it.

use std::time::Duration;

use reqwest::header::{AUTHORIZATION, CONTENT_TYPE, HeaderValue};
use reqwest::{Method, StatusCode, Url};
use serde::Deserialize;

use super::output::harmless;
use super::{Failure, ServerArgs, suggest};
use crate::log::chain;
use crate::url::http_url;

const TIMEOUT: Duration = Duration::from_secs(30);

/// A server, the token for it, and the workspace that is chosen with it.
#[derive(Debug)]
pub(super) struct Client {
    http: reqwest::Client,
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
        Ok(Self { http: http(TIMEOUT)?, base, authorization, workspace })
    }

    /// The body of a successful answer; anything else is a failure in the server's words.
    pub(super) async fn call(&self, call: Call<'_>) -> Result<Vec<u8>, Failure> {
        let path = call.path.clone();
        let response = self.send(call).await?;
        let status = response.status();
        let body = response.bytes().await.map_err(|error| Failure::Failed(chain(&error)))?;
        if status.is_success() {
            return Ok(body.into());
        }
        let hint = match status {
            StatusCode::NOT_FOUND => suggest::about_path(&path),
            _ => None,
        };
        let hint = hint.map(|hint| format!("; {hint}")).unwrap_or_default();
        Err(Failure::Failed(format!("{status}: {}{hint}", detail(&body))))
    }

    /// An answer of which only the head is read yet, whatever it is.
    pub(super) async fn send(&self, call: Call<'_>) -> Result<reqwest::Response, Failure> {
        let mut request = self
            .http
            .request(call.method, self.url(&call.path, &call.query)?)
            .timeout(call.within)
            .header(AUTHORIZATION, self.authorization.clone());
        if let Some(workspace) = &self.workspace {
            request = request.header("ploy-workspace", workspace.clone());
        }
        if let Some((name, value)) = call.header {
            request = request.header(name, value);
        }
        if let Some(body) = call.body {
            request = request.header(CONTENT_TYPE, "application/json").body(body);
        }
        request.send().await.map_err(|error| Failure::Failed(chain(&error)))
    }

    fn url(&self, path: &[&str], query: &[(&str, Option<String>)]) -> Result<Url, Failure> {
        let mut url = self.base.clone();
        url.path_segments_mut()
            .map_err(|()| Failure::Usage("the URL of the server has no path".to_owned()))?
            .pop_if_empty()
            .extend(["api", "v1"])
            .extend(path);
        for (name, value) in query {
            if let Some(value) = value {
                url.query_pairs_mut().append_pair(name, value);
            }
        }
        Ok(url)
    }
}

/// An HTTP client. It follows no redirect: what is sent is meant for this server alone.
pub(super) fn http(timeout: Duration) -> Result<reqwest::Client, Failure> {
    reqwest::Client::builder()
        .user_agent(concat!("ploy-webhooks/", env!("CARGO_PKG_VERSION")))
        .timeout(timeout)
        .redirect(reqwest::redirect::Policy::none())
        .build()
        .map_err(|error| Failure::Failed(chain(&error)))
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
