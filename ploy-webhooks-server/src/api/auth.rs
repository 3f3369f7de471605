//! Who is let in: whoever shows the root token, or a token that opens a workspace.
//!
//! A token is looked up for each call, so one that is revoked opens nothing any more, on any node.

use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::Response;
use http::header::AUTHORIZATION;
use http::{HeaderMap, HeaderName, Method, StatusCode};
use ploy_webhooks::{Clock, Secret, SecretDigest, SystemClock, Workspace, WorkspaceId};

use super::Api;
use super::caller::{Access, Caller};
use super::problem::Problem;
use super::removal;
use super::to_its_end::to_its_end;
use super::token::Token;

/// In which workspace the root token acts.
const PLOY_WORKSPACE: HeaderName = HeaderName::from_static("ploy-workspace");

/// Lets a request through with its [`Caller`].
pub(super) async fn admit(
    State(api): State<Api>,
    mut request: Request,
    next: Next,
) -> Result<Response, Problem> {
    let shown = Shown::of(request.headers())?;
    let caller = shown.identify(&api).await?;
    caller.check(request.method())?;
    request.extensions_mut().insert(shown);
    request.extensions_mut().insert(caller);
    if caller.workspace == WorkspaceId::DEFAULT || *request.method() != Method::POST {
        return Ok(next.run(request).await);
    }
    to_its_end(async move {
        let answer = next.run(request).await;
        if answer.status() == StatusCode::CREATED {
            refuse_what_outlives(&api, &caller.workspace).await?;
        }
        Ok(answer)
    })
    .await
}

/// What a request shows of who sends it: not the token, but what tells whether it opens anything,
/// now and later.
#[derive(Clone, Debug)]
pub(super) struct Shown {
    digest: SecretDigest,
    is_well_formed: bool,
    /// The workspace that is named, as it is written.
    named: Option<Vec<u8>>,
}

impl Shown {
    fn of(headers: &HeaderMap) -> Result<Self, Problem> {
        let shown = only(headers, &AUTHORIZATION)?;
        let shown = bearer(shown.ok_or(Problem::Unauthorized("Authorization is missing"))?)?;
        Ok(Self {
            digest: SecretDigest::of(shown),
            is_well_formed: Secret::is_well_formed(shown),
            named: only(headers, &PLOY_WORKSPACE)?.map(<[u8]>::to_vec),
        })
    }

    /// Who that is, by what is known now.
    pub(super) async fn identify(&self, api: &Api) -> Result<Caller, Problem> {
        // Digests compare in constant time.
        if self.digest == api.parts.root {
            let workspace = match &self.named {
                Some(text) => existing(api, text).await?,
                None => WorkspaceId::DEFAULT,
            };
            return Ok(Caller { workspace, access: Access::Root });
        }
        // Whoever guesses does not get as far as the store.
        let token = match self.is_well_formed {
            true => Token::look_up(api.store(), &self.digest).await?,
            false => None,
        };
        let token = token.ok_or(Problem::Unauthorized("the token is not valid"))?;
        if token.has_expired(SystemClock.now()) {
            return Err(Problem::Unauthorized("the token has expired"));
        }
        if self.named.is_some() {
            return Err(Problem::Forbidden(
                "only the root token chooses a workspace with `Ploy-Workspace`: leave it out",
            ));
        }
        Ok(Caller { workspace: token.workspace, access: Access::Token(token.scope) })
    }
}

async fn existing(api: &Api, text: &[u8]) -> Result<WorkspaceId, Problem> {
    let id = std::str::from_utf8(text).ok().and_then(|text| text.parse().ok());
    let id = id.ok_or(Problem::NoWorkspace)?;
    // There always is that one.
    if id != WorkspaceId::DEFAULT && Workspace::look_up(api.store(), &id).await?.is_none() {
        return Err(Problem::NoWorkspace);
    }
    Ok(id)
}

/// Takes back what was made in a workspace that was deleted meanwhile: nobody could reach it any
/// more.
async fn refuse_what_outlives(api: &Api, workspace: &WorkspaceId) -> Result<(), Problem> {
    match Workspace::look_up(api.store(), workspace).await {
        Ok(None) => {
            removal::empty(api.store(), workspace).await?;
            Err(Problem::NotFound)
        }
        // What was made stands, and its key is shown this once: a failure here must not hide it.
        Ok(Some(_)) | Err(_) => Ok(()),
    }
}

/// The value of a header that is given once.
fn only<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Result<Option<&'a [u8]>, Problem> {
    let mut values = headers.get_all(name).iter();
    match (values.next(), values.next()) {
        (value, None) => Ok(value.map(http::HeaderValue::as_bytes)),
        (_, Some(_)) if *name == AUTHORIZATION => {
            Err(Problem::Unauthorized("Authorization is given more than once"))
        }
        (_, Some(_)) => Err(Problem::invalid(format!("`{name}` is given more than once"))),
    }
}

fn bearer(value: &[u8]) -> Result<&str, Problem> {
    std::str::from_utf8(value)
        .ok()
        .and_then(|text| text.split_once(' '))
        .filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"))
        .map(|(_, token)| token)
        .ok_or(Problem::Unauthorized("Authorization is not `Bearer <token>`"))
}
