//! Workspaces and tokens: who may make which call, and what there is for whom.

mod calls;
mod lifecycle;
mod shell;

use reqwest::{Method, RequestBuilder, StatusCode};
use serde_json::{Value, json};

use crate::harness::{Server, answer};

/// A workspace, and what opens it.
struct Tenant {
    workspace: String,
    /// A token that may write.
    token: String,
}

/// What there is of each kind in the workspace of a tenant: the name or id by which paths have it.
struct Things {
    destination: String,
    endpoint: String,
    event: String,
    run: String,
    subscription: String,
}

impl Tenant {
    async fn on(server: &Server, name: &str) -> Self {
        let made = server.done(Method::POST, "/workspaces", Some(json!({"name": name}))).await;
        let workspace = made["id"].as_str().unwrap().to_owned();
        let token = minted(server, json!({"workspace": workspace, "scope": "write"})).await;
        Self { workspace, token }
    }

    async fn call(
        &self,
        server: &Server,
        method: Method,
        path: &str,
        body: Option<Value>,
    ) -> (StatusCode, Value) {
        answer(server.request(method, path, body).bearer_auth(&self.token)).await
    }

    async fn done(
        &self,
        server: &Server,
        method: Method,
        path: &str,
        body: Option<Value>,
    ) -> Value {
        let (status, answer) = self.call(server, method, path, body).await;
        assert!(status.is_success(), "{path}: {status} {answer}");
        answer
    }

    /// Has one of everything. Its Ploybook is called `page`.
    async fn equipped(&self, server: &Server) -> Things {
        let make =
            async |path: &str, form: Value| self.done(server, Method::POST, path, Some(form)).await;
        make("/ploybooks", ploybook("page")).await;
        let subscription = make("/subscriptions", json!({"ploybook": "page"})).await;
        let destination = make("/destinations", json!({"url": "http://127.0.0.1:9/"})).await;
        let endpoint = make("/endpoints", json!({"description": "Clay"})).await;
        let sent = server.http.post(endpoint["url"].as_str().unwrap());
        let sent = sent.bearer_auth(endpoint["api_key"].as_str().unwrap());
        let sent = sent.header("content-type", "application/json").body(r#"{"lead":"acme"}"#);
        let (status, event) = answer(sent).await;
        assert_eq!(status, 202, "{event}");
        let runs = self.done(server, Method::GET, "/runs", None).await;
        Things {
            destination: text(&destination, "id"),
            endpoint: text(&endpoint, "id"),
            event: text(&event, "id"),
            run: text(&runs["data"][0], "id"),
            subscription: text(&subscription, "id"),
        }
    }
}

impl Things {
    fn ids(&self) -> [&str; 5] {
        [&self.destination, &self.endpoint, &self.event, &self.run, &self.subscription]
    }
}

fn text(answer: &Value, member: &str) -> String {
    answer[member].as_str().unwrap_or_else(|| panic!("`{member}` in {answer}")).to_owned()
}

/// A Ploybook that nothing is asked for: these servers carry no runs out.
fn ploybook(name: &str) -> Value {
    json!({"name": name, "run": {"http": {"url": "http://127.0.0.1:9/"}}})
}

/// A server on which runs stay as they are.
async fn without_runs() -> Server {
    Server::in_memory_with(&[("PLOY_DISPATCH", "false")]).await
}

/// A new token of that form, in clear.
async fn minted(server: &Server, form: Value) -> String {
    text(&server.done(Method::POST, "/tokens", Some(form)).await, "token")
}

/// What is answered to a call that is refused with that status and code.
async fn refused(request: RequestBuilder, status: u16, code: &str) -> String {
    let (answered, problem) = answer(request).await;
    assert_eq!((answered.as_u16(), problem["code"].as_str()), (status, Some(code)), "{problem}");
    text(&problem, "detail")
}
