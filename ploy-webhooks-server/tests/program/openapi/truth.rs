//! Every operation is called, and answers as it is described: where it succeeds, and where it
//! refuses.

use std::collections::BTreeSet;
use std::sync::Mutex;

use reqwest::{Method, RequestBuilder};
use serde_json::{Value, json};

use super::contract;
use crate::harness::{ROOT_TOKEN, Server};
use crate::receiver::{Receiver, delivering_here};

/// Who calls, and remembers what was called.
struct Caller<'a> {
    server: &'a Server,
    succeeded: Mutex<BTreeSet<String>>,
}

impl Caller<'_> {
    /// A call with the root token.
    async fn call(&self, method: Method, path: &str, body: Option<Value>) -> (u16, Value) {
        let request = self.server.request(method.clone(), path, body).bearer_auth(ROOT_TOKEN);
        self.sent(method, &format!("/api/v1{path}"), request).await
    }

    /// A request, whose answer is held against the description.
    async fn sent(&self, method: Method, path: &str, request: RequestBuilder) -> (u16, Value) {
        let operation = contract::operation(&method, path);
        let operation = operation.unwrap_or_else(|| panic!("{method} {path} is not described"));
        let answer = request.send().await.unwrap();
        let (status, headers) = (answer.status().as_u16(), answer.headers().clone());
        let body = answer.bytes().await.unwrap();
        if let Some(fault) = contract::fault(operation, status, &headers, &body) {
            panic!("{method} {path}: {fault}");
        }
        if status < 300 {
            let id = operation["operationId"].as_str().unwrap().to_owned();
            self.succeeded.lock().unwrap().insert(id);
        }
        (status, serde_json::from_slice(&body).unwrap_or(Value::Null))
    }

    async fn done(&self, method: Method, path: &str, body: Option<Value>) -> Value {
        let (status, answer) = self.call(method, path, body).await;
        assert!(status < 300, "{path}: {status} {answer}");
        answer
    }

    /// A call that is answered without an end.
    async fn hears(&self, path: &str) {
        let request = self.server.request(Method::GET, path, None).bearer_auth(ROOT_TOKEN);
        let operation = contract::operation(&Method::GET, &format!("/api/v1{path}")).unwrap();
        let answer = request.send().await.unwrap();
        let fault = contract::fault(operation, answer.status().as_u16(), answer.headers(), b"");
        assert_eq!(fault, None);
        let id = operation["operationId"].as_str().unwrap().to_owned();
        self.succeeded.lock().unwrap().insert(id);
    }

    async fn get(&self, path: &str) -> Value {
        self.done(Method::GET, path, None).await
    }

    async fn post(&self, path: &str, body: Value) -> Value {
        self.done(Method::POST, path, Some(body)).await
    }

    async fn patch(&self, path: &str, body: Value) -> Value {
        self.done(Method::PATCH, path, Some(body)).await
    }

    async fn delete(&self, path: &str) {
        self.done(Method::DELETE, path, None).await;
    }

    async fn refused(&self, method: Method, path: &str, body: Option<Value>, with: u16) {
        let (status, answer) = self.call(method, path, body).await;
        assert_eq!(status, with, "{path}: {answer}");
    }

    /// Sends an event to an endpoint.
    async fn send(&self, made: &Value, key: &str, payload: &str) -> (u16, Value) {
        let path = format!("/api/v1/webhook/{}", text(made, "slug"));
        let request = self.server.http.post(format!("{}{path}", self.server.url));
        let request = request.bearer_auth(key).header("content-type", "application/json");
        self.sent(Method::POST, &path, request.body(payload.to_owned())).await
    }
}

fn text<'a>(answer: &'a Value, member: &str) -> &'a str {
    answer[member].as_str().unwrap_or_else(|| panic!("`{member}` in {answer}"))
}

#[tokio::test]
async fn every_operation_is_called_and_answers_as_it_is_described() {
    let server = delivering_here().await;
    let caller = Caller { server: &server, succeeded: Mutex::default() };
    of_the_server(&caller).await;
    of_tenants(&caller).await;
    of_ploybooks(&caller).await;
    let endpoint = of_endpoints(&caller).await;
    let subscription = of_subscriptions(&caller, &endpoint).await;
    of_destinations(&caller).await;
    of_events_and_runs(&caller, &endpoint).await;
    of_what_goes_on(&caller).await;
    caller.delete(&format!("/subscriptions/{}", text(&subscription, "id"))).await;
    caller.delete("/ploybooks/page").await;
    caller.delete(&format!("/endpoints/{}", text(&endpoint, "id"))).await;

    let folder = tempfile::tempdir().unwrap();
    let server = Server::in_folder(folder.path(), &[("PLOY_BACKUP_FOLDER", "backups")]).await;
    let on_file = Caller { server: &server, ..caller };
    on_file.done(Method::POST, "/backup", None).await;

    let described: BTreeSet<_> = contract::operation_ids().map(str::to_owned).collect();
    let succeeded = on_file.succeeded.into_inner().unwrap();
    assert_eq!(succeeded, described, "left: what was called; right: what is described");
}

async fn of_the_server(caller: &Caller<'_>) {
    for path in ["/health/live", "/health/ready", "/metrics"] {
        let request = caller.server.http.get(format!("{}{path}", caller.server.url));
        assert_eq!(caller.sent(Method::GET, path, request).await.0, 200);
    }
    caller.get("/openapi.json").await;
    caller.refused(Method::GET, "/openapi.json?x=1", None, 422).await;
    let without = caller.server.request(Method::GET, "/endpoints", None);
    assert_eq!(caller.sent(Method::GET, "/api/v1/endpoints", without).await.0, 401);
}

async fn of_tenants(caller: &Caller<'_>) {
    let limits = json!({"rate": {"per_second": 5, "burst": 9}, "retention_seconds": 86_400});
    let made = caller.post("/workspaces", json!({"name": "Acme", "limits": limits})).await;
    let id = text(&made, "id");
    let path = format!("/workspaces/{id}");
    caller.get(&path).await;
    caller.get("/workspaces?limit=1").await;
    caller.patch(&path, json!({"name": "Acme Inc", "limits": {"rate": null}})).await;
    caller.refused(Method::PATCH, &path, Some(json!({"nam": 1})), 422).await;
    caller.refused(Method::GET, "/workspaces/x", None, 404).await;

    let form = json!({"workspace": id, "scope": "read", "expires_in_seconds": 60});
    let token = caller.post("/tokens", form).await;
    let of_token = format!("/tokens/{}", text(&token, "id"));
    caller.get(&of_token).await;
    caller.get(&format!("/tokens?workspace={id}&limit=1")).await;
    caller.refused(Method::GET, "/tokens?limit=0", None, 422).await;
    caller.refused(Method::POST, "/tokens", Some(json!({"scope": "all"})), 422).await;
    for (method, path, with) in [
        (Method::GET, "/endpoints", 200),
        (Method::POST, "/endpoints", 403),
        (Method::GET, "/tokens", 403),
    ] {
        let body = (method == Method::POST).then(|| json!({"description": "x"}));
        let request = caller.server.request(method.clone(), path, body);
        let request = request.bearer_auth(text(&token, "token"));
        assert_eq!(caller.sent(method, &format!("/api/v1{path}"), request).await.0, with);
    }
    caller.delete(&of_token).await;
    caller.delete(&path).await;
    caller.refused(Method::DELETE, "/workspaces/ws_00000000000000000000000000", None, 409).await;
}

async fn of_ploybooks(caller: &Caller<'_>) {
    let run = json!({"http": {"url": "http://127.0.0.1:9/"}});
    caller.post("/ploybooks", json!({"name": "page", "run": run})).await;
    caller
        .refused(Method::POST, "/ploybooks", Some(json!({"name": "page", "run": run})), 409)
        .await;
    caller.refused(Method::POST, "/ploybooks", Some(json!({"name": "page"})), 422).await;
    caller.post("/ploybooks", json!({
        "name": "full/?", "description": "Pages", "enabled": false, "run": {"function": "page"},
        "instructions": "Make a page.", "time_limit_seconds": 120, "retry": {"gaps_seconds": [1, 2]},
        "takes_requests": false,
    })).await;
    caller.get("/ploybooks").await;
    caller.get("/ploybooks/page").await;
    let changes = json!({"retry": {"attempts_max": 2}, "enabled": null, "description": "One"});
    caller.patch("/ploybooks/page", changes).await;
    caller.refused(Method::PATCH, "/ploybooks/page", Some(json!({"run": {"x": 1}})), 422).await;
    caller.delete("/ploybooks/full%2F%3F").await;
    caller.refused(Method::GET, "/ploybooks/full%2F%3F", None, 404).await;
}

/// Makes endpoints of every kind, and returns one that has a trigger and its key.
async fn of_endpoints(caller: &Caller<'_>) -> Value {
    let full = json!({
        "description": "Clay", "trigger": {"ploybook": "page"}, "auth": {"scheme": "api-key"},
        "limits": {
            "rate": {"per_second": 50, "burst": 90}, "quota": {"events": 9, "period_seconds": 60},
            "body_bytes": 4096, "retention_seconds": 3600,
        },
        "dedup": {"pointers": ["/id"], "window_seconds": 60, "required": true},
        "allow": ["127.0.0.0/8", "::1/128"], "event_type": {"pointer": "/type"},
        "fields": {"email": "/email", "score": {"pointer": "/score", "default": 0}},
        "answer": {"status": 200, "body": {"received": true}},
    });
    let made = caller.post("/endpoints", full).await;
    let path = format!("/endpoints/{}", text(&made, "id"));
    let key = text(&made, "api_key");
    assert_eq!(caller.send(&made, key, r#"{"id":1,"type":"lead"}"#).await.0, 200);
    assert_eq!(caller.send(&made, key, r#"{"type":"lead"}"#).await.0, 400);
    assert_eq!(caller.send(&made, "pwk_x", "{}").await.0, 401);
    caller.patch(&path, json!({"status": "paused"})).await;
    assert_eq!(caller.send(&made, key, r#"{"id":1}"#).await.0, 403);
    caller
        .patch(&path, json!({"status": "active", "answer": null, "limits": {"quota": null}}))
        .await;
    assert_eq!(caller.send(&made, key, r#"{"id":1,"type":"lead"}"#).await.0, 202);
    caller.patch(&path, json!({"limits": {"rate": {"per_second": 1}}})).await;
    let mut statuses = BTreeSet::new();
    for _ in 0..9 {
        statuses.insert(caller.send(&made, key, r#"{"id":2}"#).await.0);
    }
    assert!(statuses.contains(&429), "{statuses:?}");
    caller.patch(&path, json!({"limits": {"rate": null}})).await;
    caller.get(&path).await;

    for auth in [
        json!({"scheme": "standard-webhooks"}),
        json!({"scheme": "stripe", "secret": "whsec_x", "tolerance_seconds": 9, "once": true}),
        json!({
            "scheme": "custom", "header": "x-acme", "layout": "t={timestamp},v1={signature}",
            "timestamp": {"unit": "ms"}, "signed": "{timestamp}.{body}", "encoding": "base64",
            "digest": "hmac-sha512", "secret": "hunter2", "delivery": {"header": "x-id"},
            "event_type": {"pointer": "/type"}, "secret_form": {"prefix": "hunter"},
        }),
    ] {
        let signed = json!({"description": "Signed", "auth": auth, "dedup": {"body": true}});
        let signed = caller.post("/endpoints", signed).await;
        assert_eq!(caller.send(&signed, "x", "{}").await.0, 401);
        caller.delete(&format!("/endpoints/{}", text(&signed, "id"))).await;
    }
    let rotate = format!("{path}/rotate");
    caller.done(Method::POST, &rotate, None).await;
    let rotated = caller.post(&rotate, json!({"overlap_seconds": 60})).await;
    caller.refused(Method::POST, &rotate, Some(json!({"overlap_seconds": -1})), 422).await;
    caller.refused(Method::POST, "/endpoints", Some(json!({"descriptio": ""})), 422).await;
    caller.get("/endpoints?limit=1").await;
    caller.refused(Method::GET, "/endpoints?cursor=x", None, 422).await;
    rotated
}

async fn of_subscriptions(caller: &Caller<'_>, endpoint: &Value) -> Value {
    let made = caller
        .post(
            "/subscriptions",
            json!({
                "description": "Leads", "ploybook": "page", "endpoints": [endpoint["id"]],
                "types": ["lead", "lead.*"], "condition": "true", "group": "leads", "position": 3,
                "draft": false, "enabled": true,
            }),
        )
        .await;
    let path = format!("/subscriptions/{}", text(&made, "id"));
    caller.get(&path).await;
    caller.get("/subscriptions").await;
    caller.patch(&path, json!({"draft": true, "condition": null, "types": null})).await;
    caller.refused(Method::PATCH, &path, Some(json!({"condition": "("})), 422).await;
    caller.refused(Method::POST, "/subscriptions", Some(json!({})), 422).await;
    made
}

async fn of_destinations(caller: &Caller<'_>) {
    let receiver = Receiver::start().await;
    let made = caller
        .post(
            "/destinations",
            json!({
                "url": receiver.url, "description": "CRM", "status": "unverified", "method": "PUT",
                "headers": {"X-Plain": "{{ event.id }}", "X-Api-Key": {"secret": "hunter2"}},
                "body": {"json": {"z": "{{ event.id }}", "a": [1, true, null]}}, "missing": "empty",
                "signing": {"scheme": "stripe", "secret": "hunter2"}, "time_limit_seconds": 7,
                "retry": {"attempts_max": 3}, "rate": {"per_second": 5}, "at_once": 2,
                "max_submissions": 100, "order_by": "/customer", "disable_after_seconds": 3600,
            }),
        )
        .await;
    let path = format!("/destinations/{}", text(&made, "id"));
    caller.get(&path).await;
    let (test, verify) = (format!("{path}/test"), format!("{path}/verify"));
    let sample = json!({"type": "lead", "payload": {"a": 1}});
    let answered = async {
        receiver.received().await.answer("200 OK", "thanks").await;
        receiver.received().await.answer("500 Oops", "no").await;
        let asked = receiver.received().await;
        let question: Value = serde_json::from_slice(&asked.body).unwrap();
        asked.answer("200 OK", "later").await;
        text(&question, "confirmation_url").to_owned()
    };
    let asking = async {
        caller.post(&test, sample).await;
        caller.done(Method::POST, &test, None).await;
        caller.done(Method::POST, &verify, None).await;
    };
    let (link, ()) = tokio::join!(answered, asking);
    let link = link.strip_prefix(&caller.server.url).unwrap();
    for with in [200, 404] {
        let request = caller.server.http.get(format!("{}{link}", caller.server.url));
        assert_eq!(caller.sent(Method::GET, link, request).await.0, with);
    }
    caller.post(&format!("{path}/rotate"), json!({"overlap_seconds": 9})).await;
    caller.post(&format!("{path}/retry"), json!({"since": "2026-01-31T09:00:00Z"})).await;
    caller.patch(&path, json!({
        "signing": {"scheme": "custom", "header": "x-acme", "secret": "hunter2"}, "rate": null,
        "headers": {"X-Plain": null, "X-Api-Key": {"secret": true}}, "body": {"form": {"a": "b"}},
        "retry": "day", "disable_after_seconds": null, "status": "draft",
    })).await;
    caller.get("/destinations").await;
    for body in ["payload", "none"] {
        caller.patch(&path, json!({"body": body, "signing": {"scheme": "bearer"}})).await;
    }
    caller.refused(Method::POST, "/destinations", Some(json!({"url": "ftp://x"})), 422).await;
    caller.refused(Method::POST, &format!("{path}/retry"), Some(json!({"cursor": "x"})), 422).await;
    caller.delete(&path).await;
    caller.refused(Method::DELETE, &path, None, 404).await;
}

async fn of_what_goes_on(caller: &Caller<'_>) {
    caller.get("/activity").await;
    caller.get("/activity?from=2026-01-01T00:00:00Z&to=2026-01-02T00:00:00Z").await;
    caller.refused(Method::GET, "/activity?from=x", None, 422).await;
    caller.refused(Method::POST, "/backup", None, 409).await;
    caller.hears("/events/stream?runs=false").await;
    caller.refused(Method::GET, "/events/stream?runs=1", None, 422).await;
}

/// Its endpoint names a field that its payload does not have.
async fn of_an_event_that_cannot_be_judged(caller: &Caller<'_>) {
    let required = json!({"pointer": "/email", "required": true});
    let made = caller
        .post("/endpoints", json!({"description": "Asks", "fields": {"email": required}}))
        .await;
    let (status, event) = caller.send(&made, text(&made, "api_key"), "{}").await;
    assert_eq!(status, 202);
    let form = json!({"condition": "true", "event_id": event["id"]});
    caller.refused(Method::POST, "/subscriptions/test", Some(form), 409).await;
    caller.delete(&format!("/endpoints/{}", text(&made, "id"))).await;
}

async fn of_events_and_runs(caller: &Caller<'_>, endpoint: &Value) {
    caller.post("/events", json!({"type": "lead", "payload": {"a": 1}})).await;
    caller.refused(Method::POST, "/events", Some(json!({"type": "", "payload": {}})), 422).await;
    caller.refused(Method::POST, "/events", Some(json!({"type": "x", "payload": 1})), 422).await;
    let id = text(endpoint, "id");
    let listed = caller
        .get(&format!(
            "/events?endpoint={id}&from=2020-01-01T00:00:00Z&to=2100-01-01T00:00:00Z&contains=lead&\
         type=lead&order=asc&limit=1"
        ))
        .await;
    caller.refused(Method::GET, "/events?order=up", None, 422).await;
    caller.get(&format!("/events/export?endpoint={id}&order=desc")).await;
    caller.refused(Method::GET, "/events/export?after=x", None, 422).await;
    caller.refused(Method::GET, "/events/export?limit=1", None, 422).await;
    let event = text(&listed["data"][0], "id");
    for condition in ["type == 'lead'", "payload.none.nothing"] {
        let form = json!({"condition": condition, "event_id": event});
        caller.post("/subscriptions/test", form).await;
    }
    let form = json!({"condition": "(", "event_id": event});
    caller.refused(Method::POST, "/subscriptions/test", Some(form), 422).await;
    of_an_event_that_cannot_be_judged(caller).await;
    let path = format!("/events/{event}");
    caller.get(&path).await;
    caller.get(&format!("{path}/payload")).await;
    caller.done(Method::POST, &format!("{path}/replay"), None).await;

    let runs = caller.get("/runs?state=queued&limit=1").await;
    let path = format!("/runs/{}", text(&runs["data"][0], "id"));
    caller.get(&path).await;
    caller.refused(Method::POST, &format!("{path}/retry"), None, 409).await;
    caller.done(Method::POST, &format!("{path}/cancel"), None).await;
    caller.refused(Method::POST, &format!("{path}/cancel"), None, 409).await;
    caller.done(Method::POST, &format!("{path}/retry"), None).await;
    caller.refused(Method::GET, "/runs?state=lost", None, 422).await;
    caller.refused(Method::GET, "/runs/run_0", None, 404).await;
}
